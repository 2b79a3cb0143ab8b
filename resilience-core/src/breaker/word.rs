//! The state word: all that callers must agree on, in 64 bits, and the
//! transitions as pure functions on it.
//!
//! ```text
//!  63                      26 25            4 3  2 1   0
//! ┌──────────────────────────┬───────────────┬────┬─────┐
//! │ deadline, ms of the clock│  generation   │mode│phase│
//! └──────────────────────────┴───────────────┴────┴─────┘
//! ```
//!
//! 38 bits of milliseconds reach 8.7 years of the clock; 22 bits of generation
//! make a permit ambiguous only if its call outlives four million transitions.

use crate::snapshot::{OverrideKind, State};

pub(super) const GENERATION_BITS: u32 = 22;
pub(super) const GENERATION_MASK: u32 = (1 << GENERATION_BITS) - 1;

const GENERATION_SHIFT: u32 = 4;
const DEADLINE_SHIFT: u32 = GENERATION_SHIFT + GENERATION_BITS;
pub(super) const DEADLINE_MAX_MS: u64 = (1 << (64 - DEADLINE_SHIFT)) - 1;

const CLOSED: u64 = 0;
const HALF_OPEN: u64 = 1;
const OPEN: u64 = 2;
const RAMP: u64 = 3;
const PHASE_MASK: u64 = 0b11;

const DISABLED: u64 = 0b01 << 2;
const FORCED_OPEN: u64 = 0b10 << 2;
const METRICS_ONLY: u64 = 0b11 << 2;
const MODE_MASK: u64 = 0b11 << 2;

/// One value of the state word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word(pub(super) u64);

/// Where the state machine is, whatever an operator has set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Closed,
    HalfOpen,
    Open,
    /// Closing: a growing share of the calls is let through.
    Ramp,
}

impl Phase {
    /// The state that people know: a circuit that is closing still refuses
    /// some calls, and so is half-open.
    pub(super) const fn state(self) -> State {
        match self {
            Self::Closed => State::Closed,
            Self::HalfOpen | Self::Ramp => State::HalfOpen,
            Self::Open => State::Open,
        }
    }
}

impl Word {
    /// Closed, first generation of a new cell.
    pub(super) fn first(mode: Option<OverrideKind>) -> Self {
        Self(mode_bits(mode) | CLOSED)
    }

    /// Calls flow and are counted: the one question of the fast path.
    #[inline]
    pub(super) const fn flows(self) -> bool {
        self.0 & (PHASE_MASK | MODE_MASK) == CLOSED
    }

    /// Calls are refused until [`deadline_ms`](Self::deadline_ms), and nobody
    /// has set anything by hand: the second question.
    #[inline]
    pub(super) const fn refuses(self) -> bool {
        self.0 & (PHASE_MASK | MODE_MASK) == OPEN
    }

    #[inline]
    pub(super) const fn phase(self) -> Phase {
        match self.0 & PHASE_MASK {
            CLOSED => Phase::Closed,
            HALF_OPEN => Phase::HalfOpen,
            OPEN => Phase::Open,
            _ => Phase::Ramp,
        }
    }

    /// What is set by hand, or, for [`OverrideKind::Disabled`], by the
    /// configuration.
    #[inline]
    pub(super) const fn mode(self) -> Option<OverrideKind> {
        match self.0 & MODE_MASK {
            DISABLED => Some(OverrideKind::Disabled),
            FORCED_OPEN => Some(OverrideKind::ForcedOpen),
            METRICS_ONLY => Some(OverrideKind::MetricsOnly),
            _ => None,
        }
    }

    /// The state that callers meet.
    pub(super) const fn effective(self) -> State {
        match self.mode() {
            None => self.phase().state(),
            Some(OverrideKind::ForcedOpen) => State::Open,
            Some(OverrideKind::Disabled | OverrideKind::MetricsOnly) => State::Closed,
        }
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "masked to 22 bits")]
    pub(super) const fn generation(self) -> u32 {
        (self.0 >> GENERATION_SHIFT) as u32 & GENERATION_MASK
    }

    /// While open, when the wait ends; while half-open, when the patience with
    /// the probes ends (0: never); while closing, when it is done.
    #[inline]
    pub(super) const fn deadline_ms(self) -> u64 {
        self.0 >> DEADLINE_SHIFT
    }

    pub(super) const fn next_generation(self) -> u32 {
        (self.generation() + 1) & GENERATION_MASK
    }

    pub(super) fn open_until(self, deadline_ms: u64) -> Self {
        self.next(OPEN, deadline_ms)
    }

    pub(super) fn half_open(self, patience_ends_ms: u64) -> Self {
        self.next(HALF_OPEN, patience_ends_ms)
    }

    pub(super) fn ramp_until(self, deadline_ms: u64) -> Self {
        self.next(RAMP, deadline_ms)
    }

    pub(super) fn closed(self) -> Self {
        self.next(CLOSED, 0)
    }

    /// The same phase in a new generation.
    pub(super) fn renewed(self) -> Self {
        self.next(self.0 & PHASE_MASK, self.deadline_ms())
    }

    /// The same phase under another mode.
    pub(super) fn with_mode(self, mode: Option<OverrideKind>) -> Self {
        Self(self.renewed().0 & !MODE_MASK | mode_bits(mode))
    }

    /// The same generation, closed.
    pub(super) const fn started_anew(self) -> Self {
        Self(self.0 << (64 - DEADLINE_SHIFT) >> (64 - DEADLINE_SHIFT) & !PHASE_MASK)
    }

    /// The same with another deadline.
    pub(super) fn until(self, deadline_ms: u64) -> Self {
        let deadline = deadline_ms.min(DEADLINE_MAX_MS) << DEADLINE_SHIFT;
        Self(self.0 << (64 - DEADLINE_SHIFT) >> (64 - DEADLINE_SHIFT) | deadline)
    }

    // Every transition leaves through here: no way to change the state and
    // keep the generation, to lose what was set by hand, or to leave an old
    // deadline armed.
    fn next(self, phase: u64, deadline_ms: u64) -> Self {
        let deadline = deadline_ms.min(DEADLINE_MAX_MS) << DEADLINE_SHIFT;
        let generation = u64::from(self.next_generation()) << GENERATION_SHIFT;
        Self(deadline | generation | self.0 & MODE_MASK | phase)
    }
}

const fn mode_bits(mode: Option<OverrideKind>) -> u64 {
    match mode {
        None => 0,
        Some(OverrideKind::Disabled) => DISABLED,
        Some(OverrideKind::ForcedOpen) => FORCED_OPEN,
        Some(OverrideKind::MetricsOnly) => METRICS_ONLY,
    }
}

/// Whether generation `a` comes after `b`, across the wrap.
pub(super) const fn is_newer(a: u32, b: u32) -> bool {
    let distance = a.wrapping_sub(b) & GENERATION_MASK;
    distance != 0 && distance < (1 << (GENERATION_BITS - 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_transition_bumps_the_generation_and_keeps_the_fields_apart(
            bits: u64, deadline in 0..=DEADLINE_MAX_MS,
        ) {
            let word = Word(bits);
            for (next, phase, deadline) in [
                (word.open_until(deadline), Phase::Open, deadline),
                (word.half_open(deadline), Phase::HalfOpen, deadline),
                (word.ramp_until(deadline), Phase::Ramp, deadline),
                (word.closed(), Phase::Closed, 0),
                (word.renewed(), word.phase(), word.deadline_ms()),
            ] {
                prop_assert_eq!(next.phase(), phase);
                prop_assert_eq!(next.deadline_ms(), deadline);
                prop_assert_eq!(next.mode(), word.mode());
                prop_assert_eq!(next.generation(), word.next_generation());
                prop_assert!(is_newer(next.generation(), word.generation()));
                prop_assert!(!is_newer(word.generation(), next.generation()));
            }
            for mode in [
                None,
                Some(OverrideKind::Disabled),
                Some(OverrideKind::ForcedOpen),
                Some(OverrideKind::MetricsOnly),
            ] {
                let next = word.with_mode(mode);
                prop_assert_eq!(next.mode(), mode);
                prop_assert_eq!(next.phase(), word.phase());
                prop_assert_eq!(next.deadline_ms(), word.deadline_ms());
                prop_assert_eq!(next.generation(), word.next_generation());
                prop_assert_eq!(next.closed().flows(), mode.is_none());
                prop_assert_eq!(next.open_until(1).refuses(), mode.is_none());
                let anew = next.started_anew();
                prop_assert_eq!(anew.generation(), next.generation());
                prop_assert_eq!((anew.phase(), anew.deadline_ms(), anew.mode()), (Phase::Closed, 0, mode));
                let later = next.until(deadline);
                prop_assert_eq!(later.generation(), next.generation());
                prop_assert_eq!((later.phase(), later.deadline_ms(), later.mode()), (next.phase(), deadline, mode));
            }
        }
    }

    #[test]
    fn a_deadline_beyond_the_field_is_clamped_and_does_not_spill() {
        let word = Word::first(None).open_until(u64::MAX);
        assert_eq!(word.deadline_ms(), DEADLINE_MAX_MS);
        assert_eq!(word.phase(), Phase::Open);
        assert_eq!(word.generation(), 1);
    }
}
