//! The tower service.

use std::task::{Context, Poll, ready};

use tower_service::Service;

use super::{
    CircuitBreaker,
    classify::Classify,
    error::{CallError, Rejected},
    future::ResponseFuture,
};

/// Service made by [`CircuitBreakerLayer`](super::CircuitBreakerLayer).
///
/// It is always ready: while the circuit is open it must refuse although the
/// inner service is not ready. A call then finds the inner service ready or
/// not: see [`poll_ready`](Self::poll_ready).
#[derive(Debug)]
pub struct CircuitBreakerService<S, C> {
    pub(super) inner: S,
    breaker: CircuitBreaker,
    classify: C,
    ready: Ready,
}

/// What the last `poll_ready` has promised.
#[derive(Clone, Copy, Debug)]
enum Ready {
    No,
    /// The inner service said that it is ready, and has not been called since.
    Inner,
    /// The circuit was open; the inner service may not be called.
    ToRefuse(Rejected),
}

impl<S, C> CircuitBreakerService<S, C> {
    pub(super) const fn new(inner: S, breaker: CircuitBreaker, classify: C) -> Self {
        Self {
            inner,
            breaker,
            classify,
            ready: Ready::No,
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
        if matches!(self.ready, Ready::Inner) {
            return Poll::Ready(Ok(()));
        }
        // The inner service is not asked while open: it might keep something
        // ready for a call that is not made, such as a slot of a bulkhead.
        if let Some(rejected) = self.breaker.cell.refusal() {
            self.ready = Ready::ToRefuse(rejected);
            return Poll::Ready(Ok(()));
        }
        self.ready = Ready::No;
        ready!(self.inner.poll_ready(cx)).map_err(CallError::Inner)?;
        self.ready = Ready::Inner;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        // Asked here and not in `poll_ready`: a service that is ready but
        // never called would sit on a probe's slot.
        match self.ready {
            Ready::Inner => {}
            // Should the wait have ended since, refusing is right all the same:
            // the inner service may not be called.
            Ready::ToRefuse(rejected) => {
                self.ready = Ready::No;
                self.breaker.cell.refuse();
                return ResponseFuture::refused(rejected);
            }
            // Called without having been asked: tower allows a panic, too.
            Ready::No => {
                self.breaker.cell.refuse();
                return ResponseFuture::refused(Rejected::new(0));
            }
        }
        match self.breaker.try_acquire() {
            Ok(permit) => {
                self.ready = Ready::No;
                ResponseFuture::called(self.inner.call(request), permit, self.classify.clone())
            }
            Err(rejected) => ResponseFuture::refused(rejected),
        }
    }
}
