//! The probes of a half-open circuit: so many slots, each with a lease.
//!
//! A slot is one word, `start | generation | status`; the value that an
//! acquirer wrote is its token. Whoever finishes a probe exchanges that very
//! token, so a probe whose lease ended, or whose generation is over, finds its
//! token gone and changes nothing.

use std::sync::OnceLock;

use super::{
    settings::{Breach, Rates},
    window::{Mark, Tally},
    word::{DEADLINE_MAX_MS, GENERATION_MASK, is_newer},
};
use crate::sync::{
    AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed},
};

/// The most `half_open_permits` that can be configured.
pub(super) const MOST_PROBES: u8 = 128;

/// Slots that every breaker has; more are made when they are first needed.
const FIRST_SLOTS: usize = 16;

const STATUS_MASK: u64 = 0b11;
const FREE: u64 = 0;
const FLYING: u64 = 1;
const DONE: u64 = 2;
const GENERATION_SHIFT: u32 = 2;
const START_SHIFT: u32 = 26;
const TALLY_SHIFT: u32 = 42;

#[derive(Debug)]
pub(super) struct Probes {
    first: [AtomicU64; FIRST_SLOTS],
    more: OnceLock<Box<[AtomicU64]>>,
    /// `generation << 42 | slow << 28 | failures << 14 | finished`.
    tally: AtomicU64,
}

/// The right to make one probe.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probe {
    pub(super) slot: u8,
    token: u64,
}

impl Probe {
    /// The probe that was begun in `slot` at `start_ms`.
    pub(super) fn new(slot: u8, generation: u32, start_ms: u64) -> Self {
        let start = start_ms.min(DEADLINE_MAX_MS) << START_SHIFT;
        let token = start | u64::from(generation) << GENERATION_SHIFT | FLYING;
        Self { slot, token }
    }
}

/// What the finished probes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Not enough of them yet.
    Wait,
    Close,
    Reopen(Breach),
}

impl Probes {
    pub(super) fn new() -> Self {
        Self {
            first: std::array::from_fn(|_| AtomicU64::new(0)),
            more: OnceLock::new(),
            tally: AtomicU64::new(0),
        }
    }

    /// Makes all slots of `generation` free. To be called before the
    /// generation is entered; any number of threads may.
    pub(super) fn begin(&self, generation: u32) {
        // ordering: AcqRel, released to those who enter the generation later.
        let _ = self.tally.fetch_update(AcqRel, Acquire, |seen| {
            is_newer(generation, generation_of(seen, TALLY_SHIFT))
                .then(|| u64::from(generation) << TALLY_SHIFT)
        });
    }

    /// Takes a slot that is free or whose lease has ended.
    pub(super) fn acquire(
        &self,
        generation: u32,
        permits: u32,
        now_ms: u64,
        lease_ms: u64,
    ) -> Option<Probe> {
        let available = |word: u64| {
            generation_of(word, GENERATION_SHIFT) != generation
                || match word & STATUS_MASK {
                    FREE => true,
                    FLYING => (word >> START_SHIFT).saturating_add(lease_ms) <= now_ms,
                    _ => false,
                }
        };
        // A slot lost to another thread is not asked again: that thread got
        // it, and the next slot is as good.
        (0..MOST_PROBES).take(permits as usize).find_map(|slot| {
            let word = self.slot(slot);
            let probe = Probe::new(slot, generation, now_ms);
            // ordering: Relaxed. A slot publishes nothing but itself.
            let seen = word.load(Relaxed);
            let taken = available(seen)
                && word
                    .compare_exchange(seen, probe.token, Relaxed, Relaxed)
                    .is_ok();
            taken.then_some(probe)
        })
    }

    /// Gives a slot back without an outcome. `false`: it was no longer held.
    pub(super) fn release(&self, probe: Probe) -> bool {
        self.exchange(probe, FREE)
    }

    /// Takes the outcome of a probe. `false`: its lease had ended, or its
    /// generation; the outcome counts for nothing.
    pub(super) fn finish(&self, probe: Probe, mark: Mark) -> bool {
        if !self.exchange(probe, DONE) {
            return false;
        }
        let generation = generation_of(probe.token, GENERATION_SHIFT);
        let add = 1 | u64::from(mark.failure) << 14 | u64::from(mark.slow) << 28;
        // ordering: AcqRel. The last probe to finish sees the outcomes of all.
        self.tally
            .fetch_update(AcqRel, Acquire, |seen| {
                (generation_of(seen, TALLY_SHIFT) == generation).then(|| seen + add)
            })
            .is_ok()
    }

    /// What the finished probes of `generation` say, and those that have been
    /// running for so long that they are slow whatever becomes of them.
    pub(super) fn verdict(
        &self,
        generation: u32,
        permits: u32,
        rates: Rates,
        overdue: u32,
    ) -> Verdict {
        let tally = self.tally(generation);
        let needed = rates.minimum().min(permits);
        if tally.calls >= needed {
            return match rates.breach(tally.calls, tally.failures, tally.slow) {
                Some(breach) => Verdict::Reopen(breach),
                None => Verdict::Close,
            };
        }
        let (calls, slow) = (tally.calls + overdue, tally.slow + overdue);
        // Those that still run can only speak for opening it.
        match rates.breach(calls, 0, slow) {
            Some(breach) if calls >= needed => Verdict::Reopen(breach),
            _ => Verdict::Wait,
        }
    }

    /// The finished probes of `generation`.
    pub(super) fn tally(&self, generation: u32) -> Tally {
        let word = self.tally.load(Acquire);
        if generation_of(word, TALLY_SHIFT) != generation {
            return Tally::default();
        }
        let field = |shift: u32| u32::try_from(word >> shift & 0x3FFF).unwrap_or(0);
        Tally {
            calls: field(0),
            failures: field(14),
            slow: field(28),
        }
    }

    /// How many probes of `generation` are in flight.
    pub(super) fn flying(&self, generation: u32) -> u32 {
        self.flying_since(generation, u64::MAX)
    }

    /// How many of them began before `before_ms`.
    pub(super) fn flying_since(&self, generation: u32, before_ms: u64) -> u32 {
        let flies = |word: &&AtomicU64| {
            let word = word.load(Relaxed);
            word & STATUS_MASK == FLYING
                && generation_of(word, GENERATION_SHIFT) == generation
                && word >> START_SHIFT < before_ms
        };
        let more = self.more.get().into_iter().flatten();
        let flying = self.first.iter().chain(more).filter(flies).count();
        u32::try_from(flying).unwrap_or(u32::MAX)
    }

    fn exchange(&self, probe: Probe, status: u64) -> bool {
        let next = probe.token & !STATUS_MASK | status;
        // ordering: Relaxed, as in `acquire`.
        self.slot(probe.slot)
            .compare_exchange(probe.token, next, Relaxed, Relaxed)
            .is_ok()
    }

    fn slot(&self, slot: u8) -> &AtomicU64 {
        let slot = usize::from(slot);
        self.first.get(slot).unwrap_or_else(|| {
            let make = || {
                (FIRST_SLOTS..MOST_PROBES.into())
                    .map(|_| AtomicU64::new(0))
                    .collect()
            };
            &self.more.get_or_init(make)[slot - FIRST_SLOTS]
        })
    }
}

#[expect(clippy::cast_possible_truncation, reason = "masked to 22 bits")]
const fn generation_of(word: u64, shift: u32) -> u32 {
    (word >> shift) as u32 & GENERATION_MASK
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::breaker::{BreakerConfig, settings::Settings};

    const GOOD: Mark = Mark {
        failure: false,
        slow: false,
    };

    #[test]
    fn no_more_probes_than_permits_are_in_flight() {
        let probes = Probes::new();
        probes.begin(2);
        for _ in 0..3 {
            assert!(probes.acquire(2, 3, 0, 100).is_some());
        }
        assert!(probes.acquire(2, 3, 99, 100).is_none());
        assert_eq!(probes.flying(2), 3);
    }

    #[test]
    fn a_silent_probe_loses_its_slot_when_its_lease_ends_and_its_outcome_then_counts_nothing() {
        let probes = Probes::new();
        probes.begin(2);
        let silent = probes.acquire(2, 1, 0, 100).unwrap();
        let heir = probes.acquire(2, 1, 100, 100).unwrap();
        assert!(!probes.finish(silent, GOOD));
        assert!(!probes.release(silent));
        assert_eq!(probes.tally(2).calls, 0);
        assert!(probes.finish(heir, GOOD));
        assert_eq!(probes.tally(2).calls, 1);
    }

    #[test]
    fn a_released_slot_is_free_and_a_finished_one_is_not() {
        let probes = Probes::new();
        probes.begin(2);
        let probe = probes.acquire(2, 1, 0, 100).unwrap();
        assert!(probes.release(probe));
        let probe = probes.acquire(2, 1, 0, 100).unwrap();
        assert!(probes.finish(probe, GOOD));
        assert!(probes.acquire(2, 1, 1_000, 100).is_none());
    }

    #[test]
    fn slots_of_an_older_generation_are_free_and_their_probes_count_nothing() {
        let probes = Probes::new();
        probes.begin(2);
        let old = probes.acquire(2, 1, 0, 100).unwrap();
        probes.begin(4);
        assert!(!probes.finish(old, GOOD));
        assert!(probes.acquire(4, 1, 0, 100).is_some());
        assert_eq!(probes.tally(4), Tally::default());
    }

    #[test]
    fn there_are_as_many_slots_as_can_be_configured() {
        let probes = Probes::new();
        probes.begin(2);
        let all: Vec<_> = (0..200)
            .filter_map(|_| probes.acquire(2, 128, 0, 100))
            .collect();
        assert_eq!((all.len(), probes.flying(2)), (128, 128));
        assert!(all.into_iter().all(|probe| probes.finish(probe, GOOD)));
        assert_eq!(probes.tally(2).calls, 128);
    }

    #[test]
    fn probes_that_still_run_past_the_limit_can_open_it_and_never_close_it() {
        let probes = Probes::new();
        probes.begin(2);
        let rates = Settings::new(&BreakerConfig::default()).rates();
        for _ in 0..10 {
            probes.acquire(2, 10, 0, 30_000).unwrap();
        }
        let overdue = |at: u64| probes.flying_since(2, at);
        assert_eq!((overdue(0), overdue(1)), (0, 10));
        assert_eq!(probes.verdict(2, 10, rates, 9), Verdict::Wait);
        assert_eq!(
            probes.verdict(2, 10, rates, 10),
            Verdict::Reopen(Breach::Slow)
        );
        for slot in 0..10 {
            probes.finish(Probe::new(slot, 2, 0), GOOD);
        }
        assert_eq!(probes.verdict(2, 10, rates, 0), Verdict::Close);
    }
}
