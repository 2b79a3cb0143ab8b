//! The calls over which a closed breaker reckons its rates.
//!
//! Both kinds cost a call O(1), whatever their length, and start empty in each
//! generation without being cleared: what belongs to another generation
//! carries its number and does not count.

mod count;
mod time;

pub(super) use count::{CountWindow, Good};
pub(super) use time::{Calls, Held, TimeWindow};

use crate::snapshot::WindowSnapshot;

/// What one finished call adds to a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) failure: bool,
    pub(super) slow: bool,
}

impl Mark {
    #[inline]
    pub(super) const fn is_good(self) -> bool {
        !self.failure && !self.slow
    }
}

/// What a window holds after a call.
pub(super) type Tally = WindowSnapshot;

/// What became of a call that was told to a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Recorded {
    /// The window holds it and nothing bad.
    Healthy,
    /// The window now holds this.
    Holds(Tally),
    /// The window has gone on to a later generation.
    TooLate,
}
