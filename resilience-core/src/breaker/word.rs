//! The state word: all that callers must agree on, in 64 bits, and the
//! transitions as pure functions on it.
//!
//! ```text
//!  63                      26 25            4 3  2 1   0
//! ┌──────────────────────────┬───────────────┬────┬─────┐
//! │ deadline, ms of the clock│  generation   │mode│state│
//! └──────────────────────────┴───────────────┴────┴─────┘
//! ```
//!
//! 38 bits of milliseconds reach 8.7 years of the clock; 22 bits of generation
//! make a permit ambiguous only if its call outlives four million transitions.

use crate::snapshot::State;

pub(super) const GENERATION_BITS: u32 = 22;
pub(super) const GENERATION_MASK: u32 = (1 << GENERATION_BITS) - 1;

const GENERATION_SHIFT: u32 = 4;
const DEADLINE_SHIFT: u32 = GENERATION_SHIFT + GENERATION_BITS;
pub(super) const DEADLINE_MAX_MS: u64 = (1 << (64 - DEADLINE_SHIFT)) - 1;

const CLOSED: u64 = 0;
const HALF_OPEN: u64 = 1;
const OPEN: u64 = 2;
const STATE_MASK: u64 = 0b11;
const DISABLED: u64 = 0b01 << 2;
const MODE_MASK: u64 = 0b11 << 2;

/// One value of the state word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word(pub(super) u64);

impl Word {
    /// Closed, enabled, first generation of a new cell.
    pub(super) const INITIAL: Self = Self(CLOSED);

    /// Calls flow and are counted: the one question of the fast path.
    #[inline]
    pub(super) const fn flows(self) -> bool {
        self.0 & (STATE_MASK | MODE_MASK) == CLOSED
    }

    pub(super) const fn state(self) -> State {
        match self.0 & STATE_MASK {
            CLOSED => State::Closed,
            HALF_OPEN => State::HalfOpen,
            _ => State::Open,
        }
    }

    pub(super) const fn is_disabled(self) -> bool {
        self.0 & MODE_MASK == DISABLED
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "masked to 22 bits")]
    pub(super) const fn generation(self) -> u32 {
        (self.0 >> GENERATION_SHIFT) as u32 & GENERATION_MASK
    }

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

    pub(super) fn half_open(self) -> Self {
        self.next(HALF_OPEN, 0)
    }

    pub(super) fn closed(self) -> Self {
        self.next(CLOSED, 0)
    }

    pub(super) fn disabled(self) -> Self {
        self.next(CLOSED | DISABLED, 0)
    }

    // Every transition leaves through here: no way to change the state and
    // keep the generation, or to leave an old deadline armed.
    fn next(self, state_and_mode: u64, deadline_ms: u64) -> Self {
        let deadline = deadline_ms.min(DEADLINE_MAX_MS) << DEADLINE_SHIFT;
        let generation = u64::from(self.next_generation()) << GENERATION_SHIFT;
        Self(deadline | generation | state_and_mode)
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
            for (next, state, deadline) in [
                (word.open_until(deadline), State::Open, deadline),
                (word.half_open(), State::HalfOpen, 0),
                (word.closed(), State::Closed, 0),
                (word.disabled(), State::Closed, 0),
            ] {
                prop_assert_eq!(next.state(), state);
                prop_assert_eq!(next.deadline_ms(), deadline);
                prop_assert_eq!(next.generation(), word.next_generation());
                prop_assert!(is_newer(next.generation(), word.generation()));
                prop_assert!(!is_newer(word.generation(), next.generation()));
            }
            prop_assert!(word.closed().flows());
            prop_assert!(!word.disabled().flows());
            prop_assert!(word.disabled().is_disabled());
        }
    }

    #[test]
    fn a_deadline_beyond_the_field_is_clamped_and_does_not_spill() {
        let word = Word::INITIAL.open_until(u64::MAX);
        assert_eq!(word.deadline_ms(), DEADLINE_MAX_MS);
        assert_eq!(word.state(), State::Open);
        assert_eq!(word.generation(), 1);
    }
}
