//! The right to make one call.

use std::mem::ManuallyDrop;

use super::{
    cell::Cell,
    outcome::{ErrorClass, Outcome},
    word::{DEADLINE_MAX_MS, Phase, Word},
};
use crate::snapshot::OverrideKind;

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

/// What a permit remembers of its admission. Two words: it travels through
/// every future of a guarded service.
#[derive(Clone, Copy, Debug)]
pub(super) struct Admission {
    /// When it was admitted; [`UNTIMED`] if calls are not timed.
    pub(super) started_ns: u64,
    /// The state word that admitted it, so that one comparison tells whether it
    /// is still in force; a probe's has its slot in place of the deadline.
    pub(super) word: Word,
}

/// Nobody looked at the clock.
pub(super) const UNTIMED: u64 = u64::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Admitted while closed, or while closing.
    Call,
    /// Admitted while half-open, in this slot.
    Probe(u8),
    /// Admitted because somebody wants metrics only; it would have been refused.
    Observed,
    /// Admitted by a disabled breaker: leaves no trace.
    Untracked,
}

impl Admission {
    #[inline]
    pub(super) const fn call(word: Word, started_ns: u64) -> Self {
        Self { started_ns, word }
    }

    pub(super) fn probe(word: Word, slot: u8, started_ns: u64) -> Self {
        let word = word.until(slot.into());
        Self { started_ns, word }
    }

    /// One that would have been refused, or one that nobody counts.
    pub(super) fn past(word: Word, started_ns: u64) -> Self {
        let word = word.until(NO_SLOT);
        Self { started_ns, word }
    }

    #[inline]
    pub(super) const fn generation(self) -> u32 {
        self.word.generation()
    }

    pub(super) fn kind(self) -> Kind {
        let slot = self.word.deadline_ms();
        match self.word.phase() {
            _ if self.word.mode() == Some(OverrideKind::Disabled) => Kind::Untracked,
            Phase::Closed => Kind::Call,
            Phase::Ramp if slot != NO_SLOT => Kind::Call,
            Phase::HalfOpen if slot != NO_SLOT => Kind::Probe(u8::try_from(slot).unwrap_or(0)),
            Phase::HalfOpen | Phase::Open | Phase::Ramp => Kind::Observed,
        }
    }
}

/// No slot, and no deadline that was ever set: the clock's last millisecond.
const NO_SLOT: u64 = DEADLINE_MAX_MS;

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
