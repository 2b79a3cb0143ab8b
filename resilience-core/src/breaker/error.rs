//! Why a guarded call gave no answer of its own.

use std::time::Duration;

/// The breaker refused. The text is what the runbook greps for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Circuit is open")]
pub struct Rejected {
    retry_after_ns: u64,
}

impl Rejected {
    #[inline]
    pub(super) const fn new(retry_after_ns: u64) -> Self {
        Self { retry_after_ns }
    }

    /// Time until a call may be let through; zero where that is any moment:
    /// all probes are in flight, or the circuit is closing and this call was
    /// not of the share that it lets through.
    ///
    /// Worked out when asked for: a division that a caller who only wants to
    /// know whether it was refused does not pay.
    #[must_use]
    pub const fn retry_after(&self) -> Duration {
        Duration::from_nanos(self.retry_after_ns)
    }
}

/// Error of a guarded call.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError<E> {
    /// The breaker refused; the call was never made.
    #[error("Circuit is open")]
    Open {
        /// As [`Rejected::retry_after`].
        retry_after: Duration,
    },
    /// The call was made and failed.
    #[error("call failed")]
    Inner(#[source] E),
}

impl<E> From<Rejected> for CallError<E> {
    fn from(rejected: Rejected) -> Self {
        Self::Open {
            retry_after: rejected.retry_after(),
        }
    }
}
