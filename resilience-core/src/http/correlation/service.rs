//! Finds or makes the id when a request comes in.

use std::task::{Context, Poll};

use ::http::{Request, Response};
use tower_service::Service;

use super::{CorrelationId, CorrelationIdFuture};
use crate::{log::correlation_span, request};

/// Service made by [`CorrelationIdLayer`](super::CorrelationIdLayer).
#[derive(Clone, Debug)]
pub struct CorrelationIdService<S> {
    pub(super) inner: S,
}

impl<S, B, R> Service<Request<B>> for CorrelationIdService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = CorrelationIdFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let id = CorrelationId::of(request.headers());
        let span = correlation_span(id.as_str());
        request.extensions_mut().insert(id.clone());
        // `call` may already work and log; it belongs to the request too.
        let mut current = Some(request::Request::new(id.text()));
        let inner =
            request::Request::within(&mut current, || span.in_scope(|| self.inner.call(request)));
        CorrelationIdFuture {
            inner,
            span,
            id,
            current,
        }
    }
}
