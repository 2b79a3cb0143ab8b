//! Changes by hand: who asks, what was done, why not.

use crate::snapshot::{OverrideKind, State, WindowSnapshot};

/// Who changes a breaker by hand, why, and on what condition.
///
/// # Example
///
/// ```
/// use resilience_core::{BreakerConfig, ByHand, CircuitBreaker};
///
/// let breaker = CircuitBreaker::new("payment_api", BreakerConfig::default());
/// let by = ByHand {
///     actor: Some("on-call".into()),
///     reason: Some("the provider is back".into()),
///     ..ByHand::default()
/// };
/// let changed = breaker.reset(&by)?;
/// assert_eq!(changed.discarded.calls, 0);
/// # Ok::<(), resilience_core::ChangeRefused>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ByHand {
    /// Who asks, for the flight recorder.
    pub actor: Option<String>,
    /// Why, for the flight recorder.
    pub reason: Option<String>,
    /// Only if the breaker is still in this generation.
    pub if_generation: Option<u32>,
    /// Say what would happen, change nothing.
    pub dry_run: bool,
}

/// What a change by hand found and did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Changed {
    /// The state that callers met before.
    pub before: State,
    /// The state that they meet now; of a dry run the same as before.
    pub after: State,
    /// The generation now in force.
    pub generation: u32,
    /// What the discarded window held; of an open circuit, the window that
    /// opened it.
    pub discarded: WindowSnapshot,
}

/// Why a change by hand was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeRefused {
    /// The configuration has switched it off.
    #[error("the breaker is disabled by configuration")]
    Disabled,
    /// An override is in force, and a reset does not remove it.
    #[error("the breaker is overridden: {0}")]
    Overridden(OverrideKind),
    /// There is no override to remove.
    #[error("no override is in force")]
    NotOverridden,
    /// It is in another generation.
    #[error("the breaker is in generation {actual} by now")]
    Moved {
        /// The generation it is in.
        actual: u32,
    },
}
