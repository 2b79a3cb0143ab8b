//! Exactly the last N calls.
//!
//! While nothing bad is in the window, the order of the good calls in it does
//! not matter: each thread counts its own in its stripe. As soon as there is
//! something bad, a call takes the next index of a shared cursor and looks at its
//! slot of the ring: a failed or slow one, and a good one that takes such a
//! call's slot, swap it and move the difference to the tally. The tally is
//! always the sum of the slots, however the threads interleave; once it is back
//! at zero, all slots are good, and the threads count for themselves again.
//!
//! So what the stripes hold came before all that is bad in the ring, and fills
//! up a window whose ring is not full. A call that counts in its stripe while
//! another brings the first bad one comes before it. Threads without a stripe
//! of their own always take an index.

use std::sync::OnceLock;

use super::{Mark, Recorded, Tally};
use crate::{
    breaker::{
        easy,
        totals::Stripe,
        word::{GENERATION_BITS, GENERATION_MASK, is_newer},
    },
    stripes::{Pen, Stripes},
    sync::{
        AtomicU32, AtomicU64,
        Ordering::{AcqRel, Acquire, Relaxed, Release},
    },
};

/// Rings of 64, 128, … 16,384 slots; made when first needed, kept for reuse.
const RING_SIZES: usize = 9;
const SMALLEST_RING: u32 = 64;

/// The cursor is brought back once its count passes this, long before it could
/// run into the generation above it.
const REBASE_AT: u32 = 1 << 31;

#[derive(Debug)]
pub(in crate::breaker) struct CountWindow {
    /// `generation << 32 | calls of this generation that took an index`.
    cursor: AtomicU64,
    /// `generation << 42 | void << 28 | slow << 14 | failures`.
    tally: AtomicU64,
    /// Indices of former generations and of the cursor's former rounds.
    retired: AtomicU64,
    /// Calls that were taken over from the window before: they have been
    /// counted twice.
    replayed: AtomicU64,
    rings: [OnceLock<Box<[AtomicU32]>>; RING_SIZES],
}

/// One stripe's part: the good calls that took no index, of a stripe with one
/// writer.
#[derive(Debug, Default)]
pub(in crate::breaker) struct Good {
    /// All there ever were.
    calls: AtomicU64,
    /// `generation << 42 | calls before it`, of the generation that the last one
    /// was of. Wraps after four trillion calls of one thread in one generation.
    since: AtomicU64,
}

impl Good {
    /// Adds a call of the same generation as the last one.
    #[inline]
    pub(in crate::breaker) fn add(&self, pen: Pen) {
        pen.add(&self.calls, 1);
    }

    /// Adds a call, perhaps the first one, of `generation`.
    fn add_of(&self, pen: Pen, generation: u32) {
        if generation_of(self.since.load(Relaxed), SINCE_SHIFT) != generation {
            let before = self.calls.load(Relaxed) & SINCE_MASK;
            let since = u64::from(generation) << SINCE_SHIFT | before;
            // ordering: Release. See `of`.
            self.since.store(since, Release);
        }
        self.add(pen);
    }

    fn of(&self, generation: u32) -> u64 {
        // ordering: Acquire. Pairs with `Pen`: the calls before a generation
        // are seen by whoever sees its beginning.
        let since = self.since.load(Acquire);
        if generation_of(since, SINCE_SHIFT) == generation {
            self.calls.load(Acquire).wrapping_sub(since) & SINCE_MASK
        } else {
            0
        }
    }
}

impl CountWindow {
    pub(in crate::breaker) fn new() -> Self {
        Self {
            cursor: AtomicU64::new(0),
            tally: AtomicU64::new(0),
            retired: AtomicU64::new(0),
            replayed: AtomicU64::new(0),
            rings: [const { OnceLock::new() }; RING_SIZES],
        }
    }

    /// Makes an empty window of `generation`. To be called before the
    /// generation is entered; any number of threads may.
    pub(in crate::breaker) fn begin(&self, generation: u32) {
        // The tally first: whoever finds the new cursor finds the new tally.
        advance(&self.tally, TALLY_SHIFT, generation);
        if let Some(old) = advance(&self.cursor, 32, generation) {
            // ordering: Relaxed. A statistic.
            self.retired.fetch_add(u64::from(low32(old)), Relaxed);
        }
    }

    /// Whether it is the window of `generation` and holds nothing bad.
    pub(in crate::breaker) fn is_healthy(&self, generation: u32) -> bool {
        // ordering: Acquire. Pairs with `shift`.
        self.tally.load(Acquire) == u64::from(generation) << TALLY_SHIFT
    }

    /// Adds a call to the window of `size`.
    pub(in crate::breaker) fn record(
        &self,
        stripes: &Stripes<Stripe>,
        generation: u32,
        size: u32,
        mark: Mark,
    ) -> Recorded {
        let (stripe, pen) = stripes.here();
        if mark.is_good() && pen.is_alone() && self.is_healthy(generation) {
            stripe.good.add_of(pen, generation);
            return Recorded::Healthy;
        }
        // ordering: AcqRel. Pairs with `begin`: the tally that belongs to this
        // cursor is seen.
        let taken = self.cursor.fetch_add(1, AcqRel);
        let (owner, index) = (generation_of(taken, 32), low32(taken));
        if index >= REBASE_AT {
            self.rebase(size);
        }
        if owner != generation {
            // The index is spent; a void keeps it from counting as a call.
            self.place(owner, index, size, VOID);
            return Recorded::TooLate;
        }
        let bits = u32::from(mark.failure) * FAILURE + u32::from(mark.slow) * SLOW;
        self.place(owner, index, size, bits);
        if !mark.is_good() {
            easy::forbid(stripes);
        } else if self.is_healthy(generation) {
            return Recorded::Healthy;
        }
        Recorded::Holds(self.tally(stripes, generation, size))
    }

    /// Puts the calls that a window of `old_size` held into this generation's.
    pub(in crate::breaker) fn replay(
        &self,
        stripes: &Stripes<Stripe>,
        generation: u32,
        size: u32,
        marks: &[Mark],
    ) {
        let newest = marks.len().saturating_sub(size as usize);
        for mark in &marks[newest..] {
            // First, so that the sum is too small in between and never too large.
            self.replayed.fetch_add(1, Relaxed);
            self.record(stripes, generation, size, *mark);
        }
    }

    /// The calls that the window of `size` holds, oldest first.
    pub(in crate::breaker) fn marks(
        &self,
        stripes: &Stripes<Stripe>,
        generation: u32,
        size: u32,
    ) -> Vec<Mark> {
        let cursor = self.cursor.load(Acquire);
        if generation_of(cursor, 32) != generation {
            return Vec::new();
        }
        let (end, ring) = (low32(cursor), self.ring(size));
        let held = |index: u32| {
            let slot = &ring[(index % size) as usize];
            let bits = bits_of(slot.load(Relaxed), generation);
            (bits & VOID == 0).then_some(Mark {
                failure: bits & FAILURE != 0,
                slow: bits & SLOW != 0,
            })
        };
        let before = good(stripes, generation, size.saturating_sub(end));
        std::iter::repeat_n(Mark::default(), before as usize)
            .chain((end.saturating_sub(size)..end).filter_map(held))
            .collect()
    }

    /// What the window of `size` holds now.
    pub(in crate::breaker) fn tally(
        &self,
        stripes: &Stripes<Stripe>,
        generation: u32,
        size: u32,
    ) -> Tally {
        // ordering: Acquire. Pairs with `shift`. The tally first: a thread held
        // up in between may see too many calls, and too low a rate, but never a
        // failure without its call. Whoever brought the failures that it
        // missed looks itself.
        let tally = self.tally.load(Acquire);
        let cursor = self.cursor.load(Acquire);
        if generation_of(tally, TALLY_SHIFT) != generation
            || generation_of(cursor, 32) != generation
        {
            return Tally::default();
        }
        let field = |shift: u32| low32(tally >> shift & FIELD_MASK);
        let placed = low32(cursor).min(size);
        let calls = placed + good(stripes, generation, size - placed);
        Tally {
            calls: calls.saturating_sub(field(28)),
            failures: field(0),
            slow: field(14),
        }
    }

    /// All calls ever recorded, voids included.
    pub(in crate::breaker) fn calls_ever(&self, stripes: &Stripes<Stripe>) -> u64 {
        // Retired first: a call may be missed between the two, never counted twice.
        let retired = self.retired.load(Acquire);
        let placed = retired + u64::from(low32(self.cursor.load(Acquire)));
        let good = stripes
            .iter()
            .map(|stripe| stripe.good.calls.load(Acquire))
            .sum::<u64>();
        (placed + good).saturating_sub(self.replayed.load(Relaxed))
    }

    fn place(&self, generation: u32, index: u32, size: u32, bits: u32) {
        let slot = &self.ring(size)[(index % size) as usize];
        let tagged = generation << SLOT_SHIFT | bits;
        // ordering: Relaxed. Slots publish nothing; the tally is kept equal
        // to their sum by the atomicity of `swap` alone.
        let seen = slot.load(Relaxed);
        if bits == 0 && bits_of(seen, generation) == 0 {
            return;
        }
        let old = bits_of(slot.swap(tagged, Relaxed), generation);
        if old != bits {
            self.shift(generation, old, bits);
        }
    }

    /// Moves the tally from `old` bits to `new` bits.
    fn shift(&self, generation: u32, old: u32, new: u32) {
        let update = |tally: u64| {
            (generation_of(tally, TALLY_SHIFT) == generation)
                .then(|| tally + spread(new) - spread(old))
        };
        // ordering: AcqRel. The last of several failing calls sees the sum of all.
        let _ = self.tally.fetch_update(AcqRel, Relaxed, update);
    }

    fn ring(&self, size: u32) -> &[AtomicU32] {
        let slots = size.max(SMALLEST_RING).next_power_of_two();
        let class = (slots / SMALLEST_RING).trailing_zeros() as usize;
        self.rings[class.min(RING_SIZES - 1)]
            .get_or_init(|| (0..slots).map(|_| AtomicU32::new(EMPTY)).collect())
    }

    #[cold]
    fn rebase(&self, size: u32) {
        let surplus = u64::from(REBASE_AT / size * size - size);
        let update = |cursor: u64| (low32(cursor) >= REBASE_AT).then(|| cursor - surplus);
        // ordering: AcqRel, so as not to weaken the cursor's chain.
        if self.cursor.fetch_update(AcqRel, Relaxed, update).is_ok() {
            self.retired.fetch_add(surplus, Relaxed);
        }
    }
}

/// The good calls that took no index, as far as there is room for them.
fn good(stripes: &Stripes<Stripe>, generation: u32, room: u32) -> u32 {
    if room == 0 {
        return 0;
    }
    let all: u64 = stripes
        .iter()
        .map(|stripe| stripe.good.of(generation))
        .sum();
    u32::try_from(all).unwrap_or(u32::MAX).min(room)
}

const FAILURE: u32 = 1;
const SLOW: u32 = 2;
const VOID: u32 = 4;
const SLOT_SHIFT: u32 = 3;
/// No generation reaches into the top bits, so this belongs to none.
const EMPTY: u32 = u32::MAX;

const SINCE_SHIFT: u32 = 42;
const SINCE_MASK: u64 = (1 << SINCE_SHIFT) - 1;

const TALLY_SHIFT: u32 = 42;
const FIELD_MASK: u64 = (1 << 14) - 1;

/// The outcome in a slot, if it is of this generation.
#[inline]
const fn bits_of(slot: u32, generation: u32) -> u32 {
    if slot >> SLOT_SHIFT == generation {
        slot & (FAILURE | SLOW | VOID)
    } else {
        0
    }
}

/// An outcome's bits as addends of the tally's fields.
fn spread(bits: u32) -> u64 {
    let bit = |mask: u32| u64::from(bits & mask != 0);
    bit(FAILURE) | bit(SLOW) << 14 | bit(VOID) << 28
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
const fn low32(word: u64) -> u32 {
    word as u32
}

#[inline]
const fn generation_of(word: u64, shift: u32) -> u32 {
    low32(word >> shift) & GENERATION_MASK
}

/// Sets `word` to an empty one of `generation` unless it is there or beyond;
/// returns what it replaced.
pub(in crate::breaker) fn advance(word: &AtomicU64, shift: u32, generation: u32) -> Option<u64> {
    const { assert!(GENERATION_BITS <= 22) };
    // ordering: AcqRel. Releases what was prepared before, acquires what
    // another thread prepared for the same generation.
    word.fetch_update(AcqRel, Acquire, |seen| {
        is_newer(generation, generation_of(seen, shift)).then(|| u64::from(generation) << shift)
    })
    .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    const GOOD: Mark = Mark {
        failure: false,
        slow: false,
    };
    const BAD: Mark = Mark {
        failure: true,
        slow: false,
    };

    /// A window with its stripes.
    struct TestWindow {
        window: CountWindow,
        stripes: Stripes<Stripe>,
    }

    impl TestWindow {
        fn new() -> Self {
            Self {
                window: CountWindow::new(),
                stripes: Stripes::new(),
            }
        }

        fn record(&self, generation: u32, size: u32, mark: Mark) -> Recorded {
            self.window.record(&self.stripes, generation, size, mark)
        }

        fn tally(&self, generation: u32, size: u32) -> Tally {
            self.window.tally(&self.stripes, generation, size)
        }

        fn calls_ever(&self) -> u64 {
            self.window.calls_ever(&self.stripes)
        }

        fn marks(&self, generation: u32, size: u32) -> Vec<Mark> {
            self.window.marks(&self.stripes, generation, size)
        }

        fn begin_with(&self, generation: u32, size: u32, marks: &[Mark]) {
            self.window.begin(generation);
            self.window.replay(&self.stripes, generation, size, marks);
        }
    }

    /// Several threads may be between two reads of a stripe that they share, and it
    /// says of which generation its calls are.
    #[test]
    fn a_good_call_of_a_thread_that_shares_its_stripe_takes_an_index() {
        const THREADS: u32 = 40;
        let test = TestWindow::new();
        test.window.begin(1);
        let all_there = std::sync::Barrier::new(THREADS as usize);
        let sharing: u32 = std::thread::scope(|scope| {
            let call = || {
                all_there.wait();
                test.record(1, 100, GOOD);
                let (_, pen) = test.stripes.here();
                // Its place goes to another thread when this one ends.
                all_there.wait();
                u32::from(!pen.is_alone())
            };
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(call)).collect();
            threads.into_iter().map(|one| one.join().unwrap()).sum()
        });
        assert!(sharing > 0, "seventeen stripes at most have one thread");
        assert_eq!(low32(test.window.cursor.load(Relaxed)), sharing);
        assert_eq!(test.tally(1, 100).calls, THREADS);
    }

    proptest! {
        #[test]
        fn the_window_is_exactly_the_last_n_calls(
            size in 1u32..200,
            marks in prop::collection::vec((any::<bool>(), any::<bool>()), 0..600),
        ) {
            let window = TestWindow::new();
            let mut model = VecDeque::new();
            for (failure, slow) in marks {
                let recorded = window.record(0, size, Mark { failure, slow });
                model.push_back((failure, slow));
                if model.len() > size as usize {
                    model.pop_front();
                }
                let expected = Tally {
                    calls: u32::try_from(model.len()).unwrap(),
                    failures: u32::try_from(model.iter().filter(|m| m.0).count()).unwrap(),
                    slow: u32::try_from(model.iter().filter(|m| m.1).count()).unwrap(),
                };
                match recorded {
                    Recorded::Healthy => prop_assert_eq!((expected.failures, expected.slow), (0, 0)),
                    other => prop_assert_eq!(other, Recorded::Holds(expected)),
                }
                prop_assert_eq!(window.tally(0, size), expected);
            }
            let held: Vec<_> = window.marks(0, size).iter().map(|m| (m.failure, m.slow)).collect();
            prop_assert_eq!(held, Vec::from(model));
        }
    }

    #[test]
    fn a_new_generation_starts_empty_and_an_old_call_leaves_no_trace_in_it() {
        let window = TestWindow::new();
        for _ in 0..10 {
            window.record(0, 10, BAD);
        }
        window.window.begin(1);
        assert_eq!(window.tally(1, 10), Tally::default());
        assert_eq!(window.record(0, 10, BAD), Recorded::TooLate);
        assert_eq!(window.tally(1, 10), Tally::default());
        let one = Tally {
            calls: 1,
            failures: 1,
            slow: 0,
        };
        assert_eq!(window.record(1, 10, BAD), Recorded::Holds(one));
        assert_eq!(window.calls_ever(), 12);
    }

    #[test]
    fn a_window_of_another_size_takes_over_the_newest_calls_and_counts_none_twice() {
        let window = TestWindow::new();
        for call in 0..15 {
            window.record(0, 10, if call % 3 == 0 { BAD } else { GOOD });
        }
        let marks = window.marks(0, 10);
        // 5 to 14: bad are 6, 9, 12.
        assert_eq!(marks.iter().filter(|mark| mark.failure).count(), 3);
        window.begin_with(1, 4, &marks);
        let newest = Tally {
            calls: 4,
            failures: 1,
            slow: 0,
        };
        assert_eq!(window.tally(1, 4), newest);
        assert_eq!(window.calls_ever(), 15);
        window.begin_with(2, 100, &marks);
        assert_eq!(
            (window.tally(2, 100).calls, window.tally(2, 100).failures),
            (10, 3)
        );
        assert_eq!(window.calls_ever(), 15);
    }

    #[test]
    fn a_late_begin_does_not_bring_an_old_generation_back() {
        let window = TestWindow::new();
        window.window.begin(7);
        window.record(7, 10, BAD);
        window.window.begin(3);
        window.window.begin(7);
        assert_eq!(window.tally(7, 10).failures, 1);
    }

    #[test]
    fn the_tally_is_the_sum_of_the_slots_after_a_storm_of_threads() {
        let window = TestWindow::new();
        let calls = if cfg!(miri) { 50 } else { 20_000 };
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let window = &window;
                scope.spawn(move || {
                    for call in 0..calls {
                        window.record(0, 100, if (call + thread) % 3 == 0 { BAD } else { GOOD });
                    }
                });
            }
        });
        let held: u32 = window.window.ring(100)[..100]
            .iter()
            .map(|slot| bits_of(slot.load(Relaxed), 0) & FAILURE)
            .sum();
        assert_eq!(window.tally(0, 100).failures, held);
        assert_eq!(window.calls_ever(), 4 * calls);
    }

    #[test]
    fn the_cursor_is_brought_back_before_it_overflows() {
        let window = TestWindow::new();
        window.window.cursor.store(u64::from(REBASE_AT), Relaxed);
        let full = Tally {
            calls: 100,
            failures: 1,
            slow: 0,
        };
        assert_eq!(window.record(0, 100, BAD), Recorded::Holds(full));
        assert!(low32(window.window.cursor.load(Relaxed)) < 300);
        for _ in 0..99 {
            assert_eq!(window.record(0, 100, GOOD), Recorded::Holds(full));
        }
        let forgotten = Tally {
            failures: 0,
            ..full
        };
        assert_eq!(window.record(0, 100, GOOD), Recorded::Healthy);
        assert_eq!(window.tally(0, 100), forgotten);
        assert_eq!(window.calls_ever(), u64::from(REBASE_AT) + 101);
    }
}
