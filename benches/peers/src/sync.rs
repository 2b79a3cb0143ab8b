//! One call of a breaker without a future.

use resilience_core::{CircuitBreaker, ErrorClass};

/// A breaker that can be asked and told by plain code.
///
/// `succeed` is in line for all of them: what is measured is the breaker, in the
/// middle of its caller's code, and not a call of this adapter.
pub trait SyncBreaker: Sync {
    /// Makes one call that is answered well; whether it was let through.
    fn succeed(&self) -> bool;

    /// Makes one call that fails; whether it was let through.
    fn fail(&self) -> bool;
}

impl SyncBreaker for CircuitBreaker {
    #[inline(always)]
    fn succeed(&self) -> bool {
        match self.try_acquire() {
            Ok(permit) => {
                permit.success();
                true
            }
            Err(_) => false,
        }
    }

    #[inline]
    fn fail(&self) -> bool {
        match self.try_acquire() {
            Ok(permit) => {
                permit.failure(ErrorClass::OTHER);
                true
            }
            Err(_) => false,
        }
    }
}
