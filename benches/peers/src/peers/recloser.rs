//! recloser: ring buffers behind an epoch-guarded pointer.

use std::task::{Context, Poll};

use recloser::{AnyError, AsyncRecloser, Error, Recloser, RecloserFuture};
use resilience_benches::drive::{Failed, Request, Upstream};
use tower::Service;

use super::WAIT_IN_OPEN;
use crate::sync::SyncBreaker;

/// Closed.
#[must_use]
pub fn closed() -> Recloser {
    Recloser::custom().open_wait(WAIT_IN_OPEN).build()
}

/// Open.
#[must_use]
pub fn open() -> Recloser {
    let breaker = closed();
    while breaker.fail() {}
    breaker
}

impl SyncBreaker for Recloser {
    #[inline(always)]
    fn succeed(&self) -> bool {
        self.call(|| Ok::<_, Failed>(())).is_ok()
    }

    #[inline]
    fn fail(&self) -> bool {
        !matches!(self.call(|| Err::<(), _>(Failed)), Err(Error::Rejected))
    }
}

/// The adapter: a service whose calls go through the recloser.
#[derive(Clone, Debug)]
pub struct Guarded {
    inner: Upstream,
    breaker: AsyncRecloser,
}

impl Guarded {
    /// A service that is ready, behind this breaker.
    #[must_use]
    pub fn new(breaker: Recloser) -> Self {
        Self {
            inner: Upstream,
            breaker: AsyncRecloser::from(breaker),
        }
    }
}

impl Service<Request> for Guarded {
    type Response = ();
    type Error = Error<Failed>;
    type Future = RecloserFuture<<Upstream as Service<Request>>::Future, AnyError>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Error::Inner)
    }

    #[inline]
    fn call(&mut self, request: Request) -> Self::Future {
        self.breaker.call(self.inner.call(request))
    }
}
