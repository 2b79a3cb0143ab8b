//! circuitbreaker-rs: atomic counters, and two reads of `Instant` a call.

use circuitbreaker_rs::{BreakerError, CircuitBreaker, DefaultPolicy};
use resilience_benches::drive::Failed;

use super::WAIT_IN_OPEN;
use crate::sync::SyncBreaker;

/// Closed.
#[must_use]
pub fn closed() -> CircuitBreaker<DefaultPolicy, Failed> {
    CircuitBreaker::<DefaultPolicy, _>::builder()
        .cooldown(WAIT_IN_OPEN)
        .build()
}

/// Open.
#[must_use]
pub fn open() -> CircuitBreaker<DefaultPolicy, Failed> {
    let breaker = closed();
    while breaker.fail() {}
    breaker
}

impl SyncBreaker for CircuitBreaker<DefaultPolicy, Failed> {
    #[inline(always)]
    fn succeed(&self) -> bool {
        self.call(|| Ok(())).is_ok()
    }

    #[inline]
    fn fail(&self) -> bool {
        !matches!(self.call(|| Err::<(), _>(Failed)), Err(BreakerError::Open))
    }
}
