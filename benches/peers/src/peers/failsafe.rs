//! failsafe: a state machine behind a lock.

use std::task::{Context, Poll};

use failsafe::{
    Any, CircuitBreaker, Config, Error, FailurePolicy, StateMachine, backoff,
    failure_policy::consecutive_failures, futures,
};
use resilience_benches::drive::{Failed, Request, Upstream};
use tower::Service;

use super::WAIT_IN_OPEN;
use crate::sync::SyncBreaker;

/// Closed, default policy.
#[must_use]
pub fn closed() -> StateMachine<impl FailurePolicy + Send + Sync + 'static, ()> {
    Config::new().build()
}

/// Open. By another policy, whose wait can be set; a refusal asks no policy.
#[must_use]
pub fn open() -> StateMachine<impl FailurePolicy + Send + Sync + 'static, ()> {
    let policy = consecutive_failures(5, backoff::constant(WAIT_IN_OPEN));
    let breaker = Config::new().failure_policy(policy).build();
    while breaker.fail() {}
    breaker
}

impl<P: FailurePolicy + Send + Sync> SyncBreaker for StateMachine<P, ()> {
    #[inline(always)]
    fn succeed(&self) -> bool {
        self.call(|| Ok::<_, Failed>(())).is_ok()
    }

    #[inline]
    fn fail(&self) -> bool {
        !matches!(self.call(|| Err::<(), _>(Failed)), Err(Error::Rejected))
    }
}

/// The adapter: a service whose calls go through the state machine.
#[derive(Debug)]
pub struct Guarded<P> {
    inner: Upstream,
    breaker: StateMachine<P, ()>,
}

impl<P> Guarded<P> {
    /// A service that is ready, behind this breaker.
    #[must_use]
    pub const fn new(breaker: StateMachine<P, ()>) -> Self {
        Self {
            inner: Upstream,
            breaker,
        }
    }
}

// By hand: a derived one would ask for a policy that can be cloned.
impl<P> Clone for Guarded<P> {
    fn clone(&self) -> Self {
        Self::new(self.breaker.clone())
    }
}

impl<P: FailurePolicy + Send + Sync> Service<Request> for Guarded<P> {
    type Response = ();
    type Error = Error<Failed>;
    type Future = futures::ResponseFuture<<Upstream as Service<Request>>::Future, P, (), Any>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Error::Inner)
    }

    #[inline]
    fn call(&mut self, request: Request) -> Self::Future {
        futures::CircuitBreaker::call(&self.breaker, self.inner.call(request))
    }
}
