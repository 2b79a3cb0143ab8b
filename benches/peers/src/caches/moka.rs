//! What one writes who wants a cache before a service and has ten minutes: moka, and
//! a layer around it.

use std::{
    fmt,
    future::{Ready, ready},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use moka::sync::Cache;
use tower::Service;

use super::{Body, key};

/// Answers from memory what is there, and keeps what is not. Its `sync` cache: the
/// `future` one costs more on a hit. One call for many would be `get_with`, which makes
/// the callers wait in their threads.
#[derive(Clone)]
pub struct Plain<S> {
    inner: S,
    cache: Cache<String, Response<Body>>,
}

impl<S> Plain<S> {
    pub(super) fn new(entries: u64, fresh_for: Duration, inner: S) -> Self {
        let cache = Cache::builder()
            .max_capacity(entries)
            .time_to_live(fresh_for)
            .build();
        Self { inner, cache }
    }

    /// Does now what moka does in the background of calls.
    pub fn settle(&self) {
        self.cache.run_pending_tasks();
    }
}

impl<S> Service<Request<Body>> for Plain<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = PlainFuture<S::Error>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let key = key(&request);
        if let Some(response) = self.cache.get(&key) {
            return PlainFuture(State::Hit(ready(Ok(response))));
        }
        let (call, cache) = (self.inner.call(request), self.cache.clone());
        let miss = Box::pin(async move {
            let response = call.await?;
            cache.insert(key, response.clone());
            Ok(response)
        });
        PlainFuture(State::Miss(miss))
    }
}

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Response future of [`Plain`].
pub struct PlainFuture<E>(State<E>);

enum State<E> {
    Hit(Ready<Result<Response<Body>, E>>),
    Miss(Boxed<Result<Response<Body>, E>>),
}

impl<E> Future for PlainFuture<E> {
    type Output = Result<Response<Body>, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.get_mut().0 {
            State::Hit(hit) => Pin::new(hit).poll(cx),
            State::Miss(miss) => miss.as_mut().poll(cx),
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for Plain<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plain")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

impl<E> fmt::Debug for PlainFuture<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlainFuture").finish_non_exhaustive()
    }
}
