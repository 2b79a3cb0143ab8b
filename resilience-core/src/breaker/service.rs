//! The tower service.

use std::task::{Context, Poll};

use tower_service::Service;

use super::{
    CircuitBreaker,
    classify::Classify,
    error::{CallError, Rejected},
    future::ResponseFuture,
    parking::Place,
};

/// Service made by [`CircuitBreakerLayer`](super::CircuitBreakerLayer).
///
/// While the circuit is open it is ready at once, to refuse: it does not wait
/// for an inner service that is not. Who waits for one already is woken when the
/// circuit opens.
#[derive(Debug)]
pub struct CircuitBreakerService<S, C> {
    pub(super) inner: S,
    breaker: CircuitBreaker,
    classify: C,
    ready: Ready,
    /// While it waits for the inner service.
    place: Option<Place>,
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
            place: None,
        }
    }

    fn ready_as<E>(&mut self, ready: Ready) -> Poll<Result<(), E>> {
        self.ready = ready;
        self.place = None;
        Poll::Ready(Ok(()))
    }

    /// Waits for an inner service that is not ready, until it is or the circuit
    /// opens.
    #[cold]
    fn wait<E>(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), E>> {
        // Whoever opens the circuit wakes us; perhaps somebody just has.
        let cell = self.breaker.cell;
        let place = self.place.get_or_insert_with(|| Place::new(cell));
        place.wait(cx.waker());
        // A look, too: should all calls hang, nobody else may come by.
        cell.state();
        match cell.refusal() {
            Some(rejected) => self.ready_as(Ready::ToRefuse(rejected)),
            None => Poll::Pending,
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
    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if matches!(self.ready, Ready::Inner) {
            return Poll::Ready(Ok(()));
        }
        // The inner service is not asked while open: it might keep something
        // ready for a call that is not made, such as a slot of a bulkhead.
        if let Some(rejected) = self.breaker.cell.refusal() {
            return self.ready_as(Ready::ToRefuse(rejected));
        }
        if let Poll::Ready(ready) = self.inner.poll_ready(cx) {
            ready.map_err(CallError::Inner)?;
            return self.ready_as(Ready::Inner);
        }
        self.wait(cx)
    }

    #[inline]
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
        match self.breaker.try_acquire_mostly_closed() {
            Ok(permit) => {
                self.ready = Ready::No;
                ResponseFuture::called(self.inner.call(request), permit, self.classify.clone())
            }
            Err(rejected) => ResponseFuture::refused(rejected),
        }
    }
}
