//! What a pool counts.

use std::time::Duration;

use crate::{
    clock::saturating_ns,
    snapshot::{PoolDurations, PoolTotals},
    stripes::Stripes,
    sync::{AtomicU64, Ordering::Relaxed},
};

// ordering: Relaxed throughout. Statistics publish nothing.
#[derive(Debug, Default)]
pub(super) struct Stats {
    pub(super) timeouts: AtomicU64,
    pub(super) leaks: AtomicU64,
    pub(super) dial_failures: AtomicU64,
    pub(super) recycled: AtomicU64,
    pub(super) cancelled: AtomicU64,
    pub(super) cleaned: AtomicU64,
    pub(super) slow: AtomicU64,
    pub(super) repeated: AtomicU64,
    pub(super) dials: AtomicU64,
    pub(super) wait: Histogram,
    pub(super) usage: Histogram,
    pub(super) connect: Histogram,
    pub(super) query: Histogram,
}

impl Stats {
    pub(super) fn totals(&self) -> PoolTotals {
        let of = |count: &AtomicU64| count.load(Relaxed);
        PoolTotals {
            // Each waited, if for no time at all.
            checkouts: self.wait.count(),
            timeouts: of(&self.timeouts),
            leaks: of(&self.leaks),
            dials: of(&self.dials),
            dial_failures: of(&self.dial_failures),
            recycled: of(&self.recycled),
            cancelled: of(&self.cancelled),
            cleaned: of(&self.cleaned),
            slow_queries: of(&self.slow),
            repeated_queries: of(&self.repeated),
        }
    }
}

/// Counts one more.
pub(super) fn one(count: &AtomicU64) {
    count.fetch_add(1, Relaxed);
}

/// Durations by the bounds of [`PoolDurations`].
#[derive(Debug, Default)]
pub(super) struct Histogram(Stripes<Counts>);

/// What one thread has noted.
#[derive(Debug, Default)]
struct Counts {
    by_bound: [AtomicU64; PoolDurations::BOUNDS.len() + 1],
    sum_ns: AtomicU64,
}

impl Histogram {
    pub(super) fn note(&self, ns: u64) {
        let (counts, pen) = self.0.here();
        let bucket = BOUNDS_NS.iter().position(|bound| ns <= *bound);
        pen.add(&counts.by_bound[bucket.unwrap_or(BOUNDS_NS.len())], 1);
        if ns > 0 {
            pen.add(&counts.sum_ns, ns);
        }
    }

    pub(super) fn note_time(&self, time: Duration) {
        self.note(saturating_ns(time));
    }

    fn count(&self) -> u64 {
        self.by_bound().iter().sum()
    }

    pub(super) fn picture(&self) -> PoolDurations {
        let sum_ns = self.0.iter().map(|counts| counts.sum_ns.load(Relaxed));
        PoolDurations {
            counts: self.by_bound().into(),
            sum_seconds: Duration::from_nanos(sum_ns.sum()).as_secs_f64(),
        }
    }

    fn by_bound(&self) -> [u64; PoolDurations::BOUNDS.len() + 1] {
        let mut all = [0; PoolDurations::BOUNDS.len() + 1];
        for counts in self.0.iter() {
            for (sum, count) in all.iter_mut().zip(&counts.by_bound) {
                *sum += count.load(Relaxed);
            }
        }
        all
    }
}

const BOUNDS_NS: [u64; PoolDurations::BOUNDS.len()] = {
    let mut ns = [0; PoolDurations::BOUNDS.len()];
    let mut index = 0;
    while index < ns.len() {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let bound = (PoolDurations::BOUNDS[index] * 1e9) as u64;
        ns[index] = bound;
        index += 1;
    }
    ns
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_on_a_bound_is_in_its_bucket() {
        let histogram = Histogram::default();
        for ns in [0, 500_000, 500_001, u64::MAX >> 1] {
            histogram.note(ns);
        }
        let counts = histogram.picture().counts;
        assert_eq!((counts[0], counts[1], counts.last()), (2, 1, Some(&1)));
        assert_eq!(histogram.count(), 4);
    }
}
