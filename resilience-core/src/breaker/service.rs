//! The tower service.

use std::task::{Context, Poll, ready};

use tower_service::Service;

use super::{CircuitBreaker, classify::Classify, error::CallError, future::ResponseFuture};

/// Service made by [`CircuitBreakerLayer`](super::CircuitBreakerLayer).
///
/// It is always ready: while the circuit is open it must refuse although the
/// inner service is not ready. A call then finds the inner service ready or
/// not: see [`poll_ready`](Self::poll_ready).
#[derive(Debug)]
pub struct CircuitBreakerService<S, C> {
    inner: S,
    breaker: CircuitBreaker,
    classify: C,
    /// The inner service said that it is ready, and has not been called since.
    inner_ready: bool,
}

impl<S, C> CircuitBreakerService<S, C> {
    pub(super) const fn new(inner: S, breaker: CircuitBreaker, classify: C) -> Self {
        Self {
            inner,
            breaker,
            classify,
            inner_ready: false,
        }
    }
}

// A clone's inner service has not been polled, whatever this one's says.
impl<S: Clone, C: Clone> Clone for CircuitBreakerService<S, C> {
    fn clone(&self) -> Self {
        Self::new(
            self.inner.clone(),
            self.breaker.clone(),
            self.classify.clone(),
        )
    }
}

impl<S, C, Request> Service<Request> for CircuitBreakerService<S, C>
where
    S: Service<Request>,
    C: Classify<S::Response, S::Error> + Clone,
{
    type Response = S::Response;
    type Error = CallError<S::Error>;
    type Future = ResponseFuture<S::Future, C>;

    /// Ready when the inner service is, or at once if the circuit refuses
    /// anyway: an open breaker does not wait for a service that hangs.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if self.inner_ready {
            return Poll::Ready(Ok(()));
        }
        // The inner service is not asked while open: it might keep something
        // ready for a call that is not made, such as a slot of a bulkhead.
        if self.breaker.cell.refusal().is_some() {
            return Poll::Ready(Ok(()));
        }
        ready!(self.inner.poll_ready(cx)).map_err(CallError::Inner)?;
        self.inner_ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        // Asked here and not in `poll_ready`: a service that is ready but
        // never called would sit on a probe's slot.
        if !self.inner_ready {
            // Polled while open. Should the wait have ended since, refusing
            // is right all the same: the inner service may not be called.
            let retry_after = self.breaker.cell.refuse();
            return ResponseFuture::refused(retry_after);
        }
        match self.breaker.try_acquire() {
            Ok(permit) => {
                self.inner_ready = false;
                ResponseFuture::called(self.inner.call(request), permit, self.classify.clone())
            }
            Err(rejected) => ResponseFuture::refused(rejected.retry_after),
        }
    }
}
