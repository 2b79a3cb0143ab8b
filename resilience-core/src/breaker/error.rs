//! Why a guarded call gave no answer of its own.

use std::time::Duration;

/// The breaker refused. The text is what the runbook greps for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Circuit is open")]
pub struct Rejected {
    /// Time until a probe is let through; zero while all probes are in flight.
    pub retry_after: Duration,
}

/// Error of a guarded call.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError<E> {
    /// The breaker refused; the call was never made.
    #[error("Circuit is open")]
    Open {
        /// Time until a probe is let through; zero while all probes are in
        /// flight.
        retry_after: Duration,
    },
    /// The call was made and failed.
    #[error("call failed")]
    Inner(#[source] E),
}

impl<E> From<Rejected> for CallError<E> {
    fn from(rejected: Rejected) -> Self {
        Self::Open {
            retry_after: rejected.retry_after,
        }
    }
}
