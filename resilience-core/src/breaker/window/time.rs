//! The calls of the last so many seconds, in ten buckets.
//!
//! Threads write to shards of their own, so the closed path shares nothing but
//! a word that is only read while all goes well. A bucket carries the
//! generation and the tenth of the window that it counts; a stale one is
//! taken over by whoever comes first. Rates are summed over shards and buckets
//! only while there is something bad in the window.

use std::{cell::Cell, sync::OnceLock};

use super::{Mark, Tally};
use crate::{
    breaker::settings::BUCKETS,
    sync::{
        AtomicU32, AtomicU64,
        Ordering::{AcqRel, Relaxed, SeqCst},
    },
};

const MOST_SHARDS: usize = 8;

#[derive(Debug)]
pub(in crate::breaker) struct TimeWindow {
    /// Made when first needed: most breakers count calls.
    shards: OnceLock<Box<[Shard]>>,
    /// Tag of the last bucket that something bad went into; all ones: none.
    alarm: AtomicU64,
}

// 128: two cache lines, because the prefetcher fetches them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    buckets: [Bucket; BUCKETS as usize],
    /// Calls of buckets that were taken over.
    retired: AtomicU64,
}

/// Each word is `tag << 32 | count`.
#[derive(Debug, Default)]
struct Bucket {
    calls: AtomicU64,
    failures: AtomicU64,
    slow: AtomicU64,
}

const NO_ALARM: u64 = u64::MAX;

impl TimeWindow {
    pub(in crate::breaker) fn new() -> Self {
        Self {
            shards: OnceLock::new(),
            alarm: AtomicU64::new(NO_ALARM),
        }
    }

    /// Adds a call that finished at `now_ns`; returns what the window then
    /// holds if that can matter, `None` if it holds nothing bad.
    #[inline]
    pub(in crate::breaker) fn record(
        &self,
        generation: u32,
        bucket_ms: u64,
        now_ns: u64,
        mark: Mark,
    ) -> Option<Tally> {
        let shards = self.shards();
        let shard = &shards[shard_of_this_thread() & (shards.len() - 1)];
        let epoch = epoch(now_ns, bucket_ms);
        let tag = tag(generation, epoch);
        let bucket = &shard.buckets[index(epoch)];
        count(&bucket.calls, tag, Some(&shard.retired));
        if mark.failure {
            count(&bucket.failures, tag, None);
        }
        if mark.slow {
            count(&bucket.slow, tag, None);
        }
        if mark.is_good() {
            // ordering: Relaxed. A call that races with the first bad one may
            // miss it; the bad one then does the sum.
            let alarm = self.alarm.load(Relaxed);
            if !belongs(alarm, generation, epoch) {
                return None;
            }
        } else {
            self.alarm.store(tag, Relaxed);
        }
        // ordering: SeqCst fence. Two calls in two shards each add and then
        // sum; without it both could miss the other's add, and nobody trip.
        std::sync::atomic::fence(SeqCst);
        Some(self.sum(generation, epoch))
    }

    /// What the window holds at `now_ns`.
    pub(in crate::breaker) fn tally(&self, generation: u32, bucket_ms: u64, now_ns: u64) -> Tally {
        self.sum(generation, epoch(now_ns, bucket_ms))
    }

    /// All calls ever recorded.
    pub(in crate::breaker) fn calls_ever(&self) -> u64 {
        let of = |shard: &Shard| {
            let retired = shard.retired.load(Relaxed);
            let held = |bucket: &Bucket| u64::from(low32(bucket.calls.load(Relaxed)));
            retired + shard.buckets.iter().map(held).sum::<u64>()
        };
        self.shards
            .get()
            .map_or(0, |shards| shards.iter().map(of).sum())
    }

    fn sum(&self, generation: u32, epoch: u64) -> Tally {
        let mut tally = Tally::default();
        let held = |word: &AtomicU64| {
            let word = word.load(Relaxed);
            if belongs(word >> 32, generation, epoch) {
                low32(word)
            } else {
                0
            }
        };
        for bucket in self
            .shards
            .get()
            .into_iter()
            .flatten()
            .flat_map(|s| &s.buckets)
        {
            tally.calls = tally.calls.saturating_add(held(&bucket.calls));
            tally.failures = tally.failures.saturating_add(held(&bucket.failures));
            tally.slow = tally.slow.saturating_add(held(&bucket.slow));
        }
        tally
    }

    #[inline]
    fn shards(&self) -> &[Shard] {
        self.shards.get_or_init(|| {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            let shards = cores.next_power_of_two().min(MOST_SHARDS);
            (0..shards).map(|_| Shard::default()).collect()
        })
    }
}

/// Adds one to a bucket's word, taking it over if it counts another tenth.
#[inline]
fn count(word: &AtomicU64, tag: u64, retired: Option<&AtomicU64>) {
    // ordering: Relaxed. Counts publish nothing; `record` has a fence.
    let mut seen = word.load(Relaxed);
    // A call that was held up for a whole window counts where it arrives
    // rather than wiping what is newer.
    while seen >> 32 != tag && !is_later(seen >> 32, tag) {
        match word.compare_exchange(seen, tag << 32 | 1, AcqRel, Relaxed) {
            Ok(_) => {
                if let Some(retired) = retired {
                    retired.fetch_add(u64::from(low32(seen)), Relaxed);
                }
                return;
            }
            Err(actual) => seen = actual,
        }
    }
    word.fetch_add(1, Relaxed);
}

const EPOCH_BITS: u32 = 24;
const EPOCH_MASK: u64 = (1 << EPOCH_BITS) - 1;

/// Which tenth of a window it is, counted from the clock's origin. It starts
/// at one window, so that the zeroes of a new bucket belong to the past.
fn epoch(now_ns: u64, bucket_ms: u64) -> u64 {
    now_ns / (bucket_ms * 1_000_000) + u64::from(BUCKETS)
}

#[expect(clippy::cast_possible_truncation, reason = "less than ten")]
fn index(epoch: u64) -> usize {
    (epoch % u64::from(BUCKETS)) as usize
}

/// 8 bits of generation over 24 of epoch. They come round after 256
/// generations within one tenth, or after 19 days without a single call.
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

#[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
const fn low32(word: u64) -> u32 {
    word as u32
}

/// Threads are dealt to shards in the order in which they first call.
#[inline]
fn shard_of_this_thread() -> usize {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    thread_local! {
        static SHARD: Cell<Option<u32>> = const { Cell::new(None) };
    }
    SHARD.with(|shard| {
        let number = shard.get().unwrap_or_else(|| {
            let number = NEXT.fetch_add(1, Relaxed);
            shard.set(Some(number));
            number
        });
        number as usize
    })
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

    #[test]
    fn a_good_call_in_a_good_window_sums_nothing() {
        let window = TimeWindow::new();
        assert_eq!(window.record(0, 1_000, 0, GOOD), None);
        assert_eq!(window.tally(0, 1_000, 0).calls, 1);
    }

    #[test]
    fn calls_leave_with_their_bucket() {
        let window = TimeWindow::new();
        window.record(0, 1_000, 0, BAD);
        let held = |at: u64| window.tally(0, 1_000, at * SECOND).failures;
        assert_eq!(held(9), 1);
        assert_eq!(held(10), 0);
        assert_eq!(window.calls_ever(), 1);
    }

    #[test]
    fn a_new_generation_starts_empty() {
        let window = TimeWindow::new();
        window.record(0, 1_000, SECOND, BAD);
        assert_eq!(window.tally(1, 1_000, SECOND), Tally::default());
        assert_eq!(window.record(1, 1_000, SECOND, GOOD), None);
        assert_eq!(window.tally(1, 1_000, SECOND).calls, 1);
        assert_eq!(window.calls_ever(), 2);
    }

    proptest! {
        #[test]
        fn the_window_is_the_calls_of_its_last_ten_buckets(
            steps in prop::collection::vec((0u64..4_000, any::<bool>()), 1..200),
        ) {
            let window = TimeWindow::new();
            let (mut now_ms, mut model) = (0, Vec::new());
            for (step, failure) in steps {
                now_ms += step;
                model.push((now_ms / 1_000, failure));
                window.record(0, 1_000, now_ms * 1_000_000, Mark { failure, slow: false });
                let inside = || model.iter().filter(|call| call.0 + u64::from(BUCKETS) > now_ms / 1_000);
                let tally = window.tally(0, 1_000, now_ms * 1_000_000);
                prop_assert_eq!(tally.calls as usize, inside().count());
                prop_assert_eq!(tally.failures as usize, inside().filter(|call| call.1).count());
            }
        }
    }

    #[test]
    fn threads_lose_no_call() {
        let window = TimeWindow::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for call in 0..10_000u64 {
                        window.record(0, 1_000, call / 5_000 * SECOND, BAD);
                    }
                });
            }
        });
        assert_eq!(window.calls_ever(), 40_000);
        assert_eq!(window.tally(0, 1_000, SECOND).failures, 40_000);
    }
}
