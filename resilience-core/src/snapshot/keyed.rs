//! A family of keyed breakers.

use serde::{Deserialize, Serialize};

use super::{BreakerSnapshot, CallTotals};

/// A family of breakers, one for each key; see
/// [`KeyedBreakers`](crate::KeyedBreakers).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyedSnapshot {
    /// Its name, the `service` label.
    pub name: String,
    /// Breakers that it holds.
    pub members: u32,
    /// Of these, open.
    pub open: u32,
    /// Of these, half-open.
    pub half_open: u32,
    /// How many it may hold.
    pub capacity: u32,
    /// Breakers that went because they were idle or room was needed.
    pub evicted: u64,
    /// Lookups that were given the breaker `other`.
    pub overflowed: u64,
    /// Calls of all that it holds or held; these never go back.
    pub totals: CallTotals,
    /// At most sixteen that are not closed or are overridden, with their last
    /// few events; those that have been so for longest first.
    pub not_closed: Vec<BreakerSnapshot>,
}

impl std::ops::AddAssign for CallTotals {
    // Saturating: a snapshot from a file may say anything.
    fn add_assign(&mut self, other: Self) {
        *self = self.with(other, u64::saturating_add);
    }
}

impl CallTotals {
    /// The larger of each.
    pub(crate) fn at_least(self, other: Self) -> Self {
        self.with(other, u64::max)
    }

    fn with(self, other: Self, both: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            success: both(self.success, other.success),
            failure: both(self.failure, other.failure),
            ignored: both(self.ignored, other.ignored),
            rejected: both(self.rejected, other.rejected),
            cancelled: both(self.cancelled, other.cancelled),
            slow: both(self.slow, other.slow),
            stale: both(self.stale, other.stale),
        }
    }
}
