//! The calls of the last so many seconds, in ten buckets.
//!
//! Calls are counted by each thread in a stripe of its own, what is bad about
//! them for all: the closed path shares nothing but a word that is only read
//! while all goes well. A bucket carries the generation and the tenth of the
//! window that it counts; a stale one is taken over by whoever comes first.
//! Rates are summed over stripes and buckets only while there is something bad
//! in the window.

use super::{Mark, Recorded, Tally};
use crate::{
    breaker::{easy, pieces::Pieces, settings::BUCKETS, totals::Stripe, word::Word},
    stripes::{Pen, Stripes},
    sync::{
        AtomicU64,
        Ordering::{Acquire, Relaxed, SeqCst},
        fence,
    },
};

/// Places for buckets: more than there are in a window, so that a mask finds one.
const PLACES: usize = 16;

/// Words of `tag << 32 | count`, each at its tenth's place.
type Buckets = [AtomicU64; PLACES];

#[derive(Debug)]
pub(in crate::breaker) struct TimeWindow {
    /// Tag of the last bucket that something bad went into; all ones: none.
    alarm: AtomicU64,
    failures: Buckets,
    slow: Buckets,
    /// Calls that were taken over from the window before: the buckets have
    /// counted them twice.
    replayed: AtomicU64,
}

/// One stripe's part.
#[derive(Debug, Default)]
pub(in crate::breaker) struct Calls {
    buckets: Buckets,
    /// Calls of buckets that were taken over.
    retired: AtomicU64,
}

/// The calls of one bucket over all stripes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::breaker) struct Held {
    /// How many buckets ago, the present one being 0.
    pub(in crate::breaker) age: u32,
    calls: u32,
    failures: u32,
    slow: u32,
}

const NO_ALARM: u64 = u64::MAX;

impl Calls {
    /// Adds a good call to the bucket at `place`, which is of the right tenth.
    #[inline]
    pub(in crate::breaker) fn add(&self, pen: Pen, place: usize) {
        pen.add(&self.buckets[place & (PLACES - 1)], 1);
    }
}

impl TimeWindow {
    pub(in crate::breaker) fn new() -> Self {
        Self {
            alarm: AtomicU64::new(NO_ALARM),
            failures: Default::default(),
            slow: Default::default(),
            replayed: AtomicU64::new(0),
        }
    }

    /// Adds a call that finished at `now_ns`.
    pub(in crate::breaker) fn record(
        &self,
        stripes: &Stripes<Stripe>,
        word: Word,
        pieces: Pieces,
        now_ns: u64,
        mark: Mark,
    ) -> Recorded {
        let (generation, epoch) = (word.generation(), epoch(now_ns, pieces));
        let (tag, place) = (tag(generation, epoch), place(epoch));
        let (stripe, pen) = stripes.here();
        let own = &stripe.calls;
        count(pen, &own.buckets[place], tag, 1, Some(&own.retired));
        if mark.is_good() {
            // ordering: Relaxed. A call that races with the first bad one may
            // miss it; the bad one then does the sum.
            let alarm = self.alarm.load(Relaxed);
            if !belongs(alarm, generation, epoch) {
                if is_earlier(alarm, tag) {
                    // Should somebody have raised it anew, it stays.
                    let _ = self
                        .alarm
                        .compare_exchange(alarm, NO_ALARM, Relaxed, Relaxed);
                }
                return Recorded::Healthy;
            }
            // ordering: SeqCst fence. Two calls in two stripes each add and then
            // sum; without it both could miss the other's add, and nobody trip.
            fence(SeqCst);
        } else {
            for (bad, buckets) in [(mark.failure, &self.failures), (mark.slow, &self.slow)] {
                if bad {
                    count(Pen::shared(), &buckets[place], tag, 1, None);
                }
            }
            self.raise(stripes, tag);
        }
        Recorded::Holds(self.sum(stripes, generation, epoch))
    }

    /// Whether the window of `generation` holds nothing bad at `now_ns`.
    pub(in crate::breaker) fn is_healthy(
        &self,
        generation: u32,
        pieces: Pieces,
        now_ns: u64,
    ) -> bool {
        !belongs(self.alarm.load(Relaxed), generation, epoch(now_ns, pieces))
    }

    /// Where calls at `now_ns` are counted.
    pub(in crate::breaker) fn place(pieces: Pieces, now_ns: u64) -> usize {
        place(epoch(now_ns, pieces))
    }

    /// What the window holds at `now_ns`.
    pub(in crate::breaker) fn tally(
        &self,
        stripes: &Stripes<Stripe>,
        generation: u32,
        pieces: Pieces,
        now_ns: u64,
    ) -> Tally {
        self.sum(stripes, generation, epoch(now_ns, pieces))
    }

    /// All calls ever recorded.
    pub(in crate::breaker) fn calls_ever(&self, stripes: &Stripes<Stripe>) -> u64 {
        let of = |stripe: &Stripe| {
            let retired = stripe.calls.retired.load(Acquire);
            // ordering: Acquire. Pairs with `Pen`: who finds a failed call finds
            // that it failed, and does not take it for a success.
            let held = |word: &AtomicU64| u64::from(low32(word.load(Acquire)));
            retired + stripe.calls.buckets.iter().map(held).sum::<u64>()
        };
        let all: u64 = stripes.iter().map(of).sum();
        all.saturating_sub(self.replayed.load(Relaxed))
    }

    /// What the window holds at `now_ns`, bucket by bucket.
    pub(in crate::breaker) fn held(
        &self,
        stripes: &Stripes<Stripe>,
        generation: u32,
        pieces: Pieces,
        now_ns: u64,
    ) -> Vec<Held> {
        let epoch = epoch(now_ns, pieces);
        let of = |age: u32| {
            let then = epoch - u64::from(age);
            let (tag, place) = (tag(generation, then), place(then));
            let held = |word: &AtomicU64| {
                let word = word.load(Relaxed);
                if word >> 32 == tag { low32(word) } else { 0 }
            };
            let calls = stripes
                .iter()
                .map(|stripe| held(&stripe.calls.buckets[place]));
            Held {
                age,
                calls: calls.fold(0, u32::saturating_add),
                failures: held(&self.failures[place]),
                slow: held(&self.slow[place]),
            }
        };
        (0..BUCKETS).map(of).filter(|held| held.calls > 0).collect()
    }

    /// Puts what a bucket of the window before held into this generation's, as
    /// calls of `ago_ns` before now, unless they are too old for it.
    pub(in crate::breaker) fn replay(
        &self,
        stripes: &Stripes<Stripe>,
        generation: u32,
        pieces: Pieces,
        now_ns: u64,
        ago_ns: u64,
        held: Held,
    ) {
        let epoch = epoch(now_ns.saturating_sub(ago_ns), pieces);
        if self::epoch(now_ns, pieces) - epoch >= u64::from(BUCKETS) {
            return;
        }
        // First, so that the sum is too small in between and never too large.
        self.replayed.fetch_add(u64::from(held.calls), Relaxed);
        let (tag, place) = (tag(generation, epoch), place(epoch));
        let (stripe, pen) = stripes.here();
        let own = &stripe.calls;
        count(
            pen,
            &own.buckets[place],
            tag,
            held.calls,
            Some(&own.retired),
        );
        for (addend, buckets) in [(held.failures, &self.failures), (held.slow, &self.slow)] {
            if addend > 0 {
                count(Pen::shared(), &buckets[place], tag, addend, None);
                self.raise(stripes, tag);
            }
        }
    }

    /// Lets every thread know that there is something bad in the window.
    fn raise(&self, stripes: &Stripes<Stripe>, tag: u64) {
        // Never back: what is older, of a window taken over or of a thread that
        // was held up, would be over while something bad is still in the window.
        let _ = self.alarm.fetch_update(Relaxed, Relaxed, |seen| {
            (!is_later(seen, tag)).then_some(tag)
        });
        easy::forbid(stripes);
    }

    fn sum(&self, stripes: &Stripes<Stripe>, generation: u32, epoch: u64) -> Tally {
        let held = |buckets: &Buckets| {
            let held = |word: &AtomicU64| {
                // ordering: Acquire. Pairs with `Pen::add`: who finds a failure
                // below finds its call.
                let word = word.load(Acquire);
                if belongs(word >> 32, generation, epoch) {
                    low32(word)
                } else {
                    0
                }
            };
            buckets.iter().map(held).fold(0, u32::saturating_add)
        };
        // The calls last: a thread held up in between may see too many of them,
        // and too low a rate, but never a failure without its call. Whoever
        // brought the failures that it missed sums them up itself.
        let (failures, slow) = (held(&self.failures), held(&self.slow));
        let calls = stripes.iter().map(|stripe| held(&stripe.calls.buckets));
        Tally {
            calls: calls.fold(0, u32::saturating_add),
            failures,
            slow,
        }
    }
}

/// Adds to a bucket's word, taking it over if it counts another tenth.
fn count(pen: Pen, word: &AtomicU64, tag: u64, addend: u32, retired: Option<&AtomicU64>) {
    // ordering: Relaxed. Counts publish nothing; `record` has a fence.
    let mut seen = word.load(Relaxed);
    // A call that was held up for a whole window counts where it arrives
    // rather than wiping what is newer.
    while seen >> 32 != tag && !is_later(seen >> 32, tag) {
        match pen.replace(word, seen, tag << 32 | u64::from(addend)) {
            Ok(()) => {
                if let Some(retired) = retired {
                    pen.add(retired, u64::from(low32(seen)));
                }
                return;
            }
            Err(actual) => seen = actual,
        }
    }
    pen.add(word, u64::from(addend));
}

const EPOCH_BITS: u32 = 24;
const EPOCH_MASK: u64 = (1 << EPOCH_BITS) - 1;

/// Which tenth of a window it is, counted from the clock's origin. It starts
/// at one window, so that the zeroes of a new bucket belong to the past.
#[inline]
fn epoch(now_ns: u64, pieces: Pieces) -> u64 {
    pieces.number(now_ns) + u64::from(BUCKETS)
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "less than the places")]
const fn place(epoch: u64) -> usize {
    epoch as usize & (PLACES - 1)
}

/// 8 bits of generation over 24 of epoch. They come round after 256
/// generations within one tenth, or after 19 days without a single call.
#[inline]
fn tag(generation: u32, epoch: u64) -> u64 {
    u64::from(generation & 0xFF) << EPOCH_BITS | epoch & EPOCH_MASK
}

/// Whether a bucket's tag is of this generation and of the last ten tenths.
#[inline]
fn belongs(bucket: u64, generation: u32, epoch: u64) -> bool {
    let age = epoch.wrapping_sub(bucket) & EPOCH_MASK;
    bucket >> EPOCH_BITS == u64::from(generation & 0xFF) && age < u64::from(BUCKETS)
}

/// Whether tag `a` is of the same generation as `b` and a later tenth.
fn is_later(a: u64, b: u64) -> bool {
    let ahead = a.wrapping_sub(b) & EPOCH_MASK;
    a >> EPOCH_BITS == b >> EPOCH_BITS && ahead != 0 && ahead < EPOCH_MASK / 2
}

/// Whether alarm `a` is of an earlier generation than tag `b`, or of the same
/// and an earlier tenth.
fn is_earlier(a: u64, b: u64) -> bool {
    let generations = (b >> EPOCH_BITS).wrapping_sub(a >> EPOCH_BITS) & 0xFF;
    a != NO_ALARM
        && if generations == 0 {
            is_later(b, a)
        } else {
            generations < 0x80
        }
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
const fn low32(word: u64) -> u32 {
    word as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: Mark = Mark {
        failure: false,
        slow: false,
    };
    const BAD: Mark = Mark {
        failure: true,
        slow: false,
    };
    const SECOND: u64 = 1_000_000_000;

    /// A window with its stripes.
    struct TestWindow {
        window: TimeWindow,
        stripes: Stripes<Stripe>,
    }

    impl TestWindow {
        fn new() -> Self {
            Self {
                window: TimeWindow::new(),
                stripes: Stripes::new(),
            }
        }

        fn record(&self, generation: u32, pieces: Pieces, now_ns: u64, mark: Mark) -> Recorded {
            let word = (0..generation).fold(Word::first(None), |word, _| word.closed());
            self.window
                .record(&self.stripes, word, pieces, now_ns, mark)
        }

        fn tally(&self, generation: u32, pieces: Pieces, now_ns: u64) -> Tally {
            self.window.tally(&self.stripes, generation, pieces, now_ns)
        }

        fn calls_ever(&self) -> u64 {
            self.window.calls_ever(&self.stripes)
        }

        fn held(&self, generation: u32, pieces: Pieces, now_ns: u64) -> Vec<Held> {
            self.window.held(&self.stripes, generation, pieces, now_ns)
        }

        fn replay(&self, generation: u32, pieces: Pieces, now_ns: u64, held: Held) {
            let ago_ns = u64::from(held.age) * SECOND;
            self.window
                .replay(&self.stripes, generation, pieces, now_ns, ago_ns, held);
        }
    }

    fn seconds() -> Pieces {
        Pieces::of(std::time::Duration::from_secs(1))
    }

    #[test]
    fn a_good_call_in_a_good_window_sums_nothing() {
        let window = TestWindow::new();
        assert_eq!(window.record(0, seconds(), 0, GOOD), Recorded::Healthy);
        assert_eq!(window.tally(0, seconds(), 0).calls, 1);
    }

    #[test]
    fn calls_leave_with_their_bucket() {
        let window = TestWindow::new();
        window.record(0, seconds(), 0, BAD);
        let held = |at: u64| window.tally(0, seconds(), at * SECOND).failures;
        assert_eq!(held(9), 1);
        assert_eq!(held(10), 0);
        assert_eq!(window.calls_ever(), 1);
    }

    #[test]
    fn a_call_that_was_held_up_wipes_nothing_that_is_newer() {
        let window = TestWindow::new();
        let newest = PLACES as u64 + 4;
        for _ in 0..3 {
            window.record(0, seconds(), newest * SECOND, BAD);
        }
        // Long ago, in the same place.
        window.record(0, seconds(), 4 * SECOND, BAD);
        let tally = window.tally(0, seconds(), newest * SECOND);
        assert_eq!((tally.calls, tally.failures), (4, 4));
        assert_eq!(window.calls_ever(), 4);
    }

    #[test]
    fn a_new_generation_starts_empty() {
        let window = TestWindow::new();
        window.record(0, seconds(), SECOND, BAD);
        assert_eq!(window.tally(1, seconds(), SECOND), Tally::default());
        assert_eq!(window.record(1, seconds(), SECOND, GOOD), Recorded::Healthy);
        assert_eq!(window.tally(1, seconds(), SECOND).calls, 1);
        assert_eq!(window.calls_ever(), 2);
    }

    #[test]
    fn a_window_of_another_length_takes_over_what_is_young_enough_and_counts_none_twice() {
        let window = TestWindow::new();
        for at in 0..10 {
            window.record(0, seconds(), at * SECOND, if at < 5 { BAD } else { GOOD });
        }
        let now = 9 * SECOND;
        // Five seconds in ten halves: those of second 5 and later are young enough.
        let halves = Pieces::of(std::time::Duration::from_millis(500));
        let held = window.held(0, seconds(), now);
        for &held in &held {
            window.replay(1, halves, now, held);
        }
        let kept = window.tally(1, halves, now);
        assert_eq!((kept.calls, kept.failures), (5, 0));
        let twenty = Pieces::of(std::time::Duration::from_secs(2));
        for &held in &held {
            window.replay(2, twenty, now, held);
        }
        let kept = window.tally(2, twenty, now);
        assert_eq!((kept.calls, kept.failures), (10, 5));
        assert_eq!(window.calls_ever(), 10);
    }

    #[test]
    fn a_window_taken_over_is_looked_at_until_the_newest_of_what_is_bad_has_left() {
        let window = TestWindow::new();
        for at in [0, 5] {
            window.record(0, seconds(), at * SECOND, BAD);
        }
        let now = 9 * SECOND;
        for held in window.held(0, seconds(), now) {
            window.replay(1, seconds(), now, held);
        }
        let both = Tally {
            calls: 2,
            failures: 1,
            slow: 0,
        };
        let then = window.record(1, seconds(), 12 * SECOND, GOOD);
        assert_eq!(then, Recorded::Holds(both));
        let then = window.record(1, seconds(), 15 * SECOND, GOOD);
        assert_eq!(then, Recorded::Healthy);
    }

    proptest! {
        #[test]
        fn the_window_is_the_calls_of_its_last_ten_buckets(
            steps in prop::collection::vec((0u64..4_000, any::<bool>()), 1..200),
        ) {
            let window = TestWindow::new();
            let (mut now_ms, mut model) = (0, Vec::new());
            for (step, failure) in steps {
                now_ms += step;
                model.push((now_ms / 1_000, failure));
                window.record(0, seconds(), now_ms * 1_000_000, Mark { failure, slow: false });
                let inside = || model.iter().filter(|call| call.0 + u64::from(BUCKETS) > now_ms / 1_000);
                let tally = window.tally(0, seconds(), now_ms * 1_000_000);
                prop_assert_eq!(tally.calls as usize, inside().count());
                prop_assert_eq!(tally.failures as usize, inside().filter(|call| call.1).count());
            }
        }
    }

    #[test]
    fn threads_lose_no_call() {
        let window = TestWindow::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for call in 0..10_000u64 {
                        window.record(0, seconds(), call / 5_000 * SECOND, BAD);
                    }
                });
            }
        });
        assert_eq!(window.calls_ever(), 40_000);
        assert_eq!(window.tally(0, seconds(), SECOND).failures, 40_000);
    }
}
