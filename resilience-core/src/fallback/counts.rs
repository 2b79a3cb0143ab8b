//! What a fallback counts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::{
    snapshot::{AgeHistogram, FallbackResponses},
    stripes::Stripes,
    sync,
};

/// On cache lines of their own (two, because they are fetched in pairs): every
/// answer writes here.
// ordering: Relaxed throughout. Statistics publish nothing.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Counts {
    often: Stripes<Often>,
    pub(crate) live: AtomicU64,
    pub(crate) miss: AtomicU64,
    pub(crate) dead: AtomicU64,
    pub(crate) fixed: AtomicU64,
    pub(crate) other: AtomicU64,
    /// Those of the fresh that a run has found, in the second level.
    pub(crate) fresh_by_run: AtomicU64,
    /// Callers that waited for the run of another.
    pub(crate) coalesced: AtomicU64,
    /// Records that could not be used.
    pub(crate) unreadable: AtomicU64,
}

/// What is done so often, and costs so little else, that threads would meet at its counts.
#[derive(Debug, Default)]
struct Often {
    fresh: sync::AtomicU64,
    stale: sync::AtomicU64,
    runs: sync::AtomicU64,
    ages: Ages,
}

/// Ages of stale answers, by the bounds of [`AgeHistogram`].
#[derive(Debug, Default)]
struct Ages {
    counts: [sync::AtomicU64; AgeHistogram::BOUNDS.len() + 1],
    sum_ms: sync::AtomicU64,
}

impl Counts {
    /// A fresh answer was given.
    #[inline]
    pub(crate) fn fresh(&self) {
        let (often, pen) = self.often.here();
        pen.add(&often.fresh, 1);
    }

    /// A run was begun.
    #[inline]
    pub(crate) fn run(&self) {
        let (often, pen) = self.often.here();
        pen.add(&often.runs, 1);
    }

    /// A stale answer of that age was given.
    #[inline]
    pub(crate) fn stale(&self, age_ms: u64) {
        let (often, pen) = self.often.here();
        let bucket = BOUNDS_MS.iter().position(|bound| age_ms <= *bound);
        pen.add(&often.stale, 1);
        pen.add(&often.ages.counts[bucket.unwrap_or(BOUNDS_MS.len())], 1);
        pen.add(&often.ages.sum_ms, age_ms);
    }

    /// Runs that were begun.
    pub(super) fn runs(&self) -> u64 {
        self.sum(|often| &often.runs)
    }

    pub(super) fn responses(&self) -> FallbackResponses {
        let of = |count: &AtomicU64| count.load(Relaxed);
        FallbackResponses {
            live: of(&self.live),
            fresh: self.sum(|often| &often.fresh),
            stale: self.sum(|often| &often.stale),
            miss: of(&self.miss),
            dead: of(&self.dead),
            fixed: of(&self.fixed),
            other: of(&self.other),
        }
    }

    pub(super) fn ages(&self) -> AgeHistogram {
        let sum_ms = self.sum(|often| &often.ages.sum_ms);
        let bucket = |bucket: usize| self.sum(|often| &often.ages.counts[bucket]);
        AgeHistogram {
            counts: (0..=BOUNDS_MS.len()).map(bucket).collect(),
            sum_seconds: std::time::Duration::from_millis(sum_ms).as_secs_f64(),
        }
    }

    fn sum(&self, of: impl Fn(&Often) -> &sync::AtomicU64) -> u64 {
        let counts = self.often.iter().map(|often| of(often).load(Relaxed));
        counts.fold(0, u64::wrapping_add)
    }
}

/// Counts one more.
#[inline]
pub(crate) fn one(count: &AtomicU64) {
    count.fetch_add(1, Relaxed);
}

const BOUNDS_MS: [u64; AgeHistogram::BOUNDS.len()] = {
    let mut ms = [0; AgeHistogram::BOUNDS.len()];
    let mut index = 0;
    while index < ms.len() {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let bound = (AgeHistogram::BOUNDS[index] * 1e3) as u64;
        ms[index] = bound;
        index += 1;
    }
    ms
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_on_a_bound_is_in_its_bucket() {
        let counts = Counts::default();
        for age_ms in [0, 1_000, 1_001, u64::MAX >> 1] {
            counts.stale(age_ms);
        }
        let counts = counts.ages().counts;
        assert_eq!((counts[0], counts[1], counts.last()), (2, 1, Some(&1)));
        assert_eq!(counts.len(), AgeHistogram::BOUNDS.len() + 1);
    }
}
