//! The tower service that chooses a breaker for each call.

use std::{
    borrow::Cow,
    task::{Context, Poll},
};

use tower_service::Service;

use super::KeyedBreakers;
use crate::breaker::{classify::Classify, error::CallError, future::ResponseFuture};

/// Service made by [`KeyedBreakerLayer`](super::KeyedBreakerLayer).
#[derive(Clone, Debug)]
pub struct KeyedBreakerService<S, K, C> {
    inner: S,
    breakers: KeyedBreakers,
    key: K,
    classify: C,
}

impl<S, K, C> KeyedBreakerService<S, K, C> {
    pub(super) const fn new(inner: S, breakers: KeyedBreakers, key: K, classify: C) -> Self {
        Self {
            inner,
            breakers,
            key,
            classify,
        }
    }
}

impl<S, K, C, Request> Service<Request> for KeyedBreakerService<S, K, C>
where
    S: Service<Request>,
    K: Fn(&Request) -> Cow<'_, str>,
    C: Classify<S::Response, S::Error> + Clone,
{
    type Response = S::Response;
    type Error = CallError<S::Error>;
    type Future = ResponseFuture<S::Future, C>;

    /// Ready when the inner service is: which breaker to ask is not known yet.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(CallError::Inner)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let key = (self.key)(&request);
        match self.breakers.get(key).try_acquire() {
            Ok(permit) => {
                ResponseFuture::called(self.inner.call(request), permit, self.classify.clone())
            }
            Err(rejected) => ResponseFuture::refused(rejected),
        }
    }
}
