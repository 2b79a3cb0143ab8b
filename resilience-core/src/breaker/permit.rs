//! The right to make one call.

use std::mem::ManuallyDrop;

use super::{
    cell::{Admission, Cell},
    outcome::{ErrorClass, Outcome},
};

/// The right to make one call, from
/// [`try_acquire`](super::CircuitBreaker::try_acquire). Tell it how the call
/// went. Dropped untold, it counts as cancelled: neither success nor failure,
/// and a probe's slot is free again.
#[derive(Debug)]
#[must_use = "a permit that is dropped counts as a cancelled call"]
pub struct Permit {
    cell: &'static Cell,
    admission: Admission,
}

impl Permit {
    #[inline]
    pub(super) const fn new(cell: &'static Cell, admission: Admission) -> Self {
        Self { cell, admission }
    }

    /// The call was answered as it should be.
    #[inline]
    pub fn success(self) {
        self.record(Outcome::Success);
    }

    /// The call failed, and that speaks against the upstream.
    #[inline]
    pub fn failure(self, class: ErrorClass) {
        self.record(Outcome::Failure(class));
    }

    /// The call's outcome says nothing about the upstream.
    #[inline]
    pub fn ignore(self) {
        self.record(Outcome::Ignored);
    }

    /// The call went like this.
    #[inline]
    pub fn record(self, outcome: Outcome) {
        // Told: its drop would count it as cancelled.
        let told = ManuallyDrop::new(self);
        told.cell.record(told.admission, outcome);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.cell.cancel(self.admission);
    }
}
