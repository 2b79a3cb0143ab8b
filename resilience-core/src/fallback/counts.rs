//! What a fallback counts.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

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
    pub(crate) live: AtomicU64,
    pub(crate) fresh: Striped,
    pub(crate) stale: AtomicU64,
    pub(crate) miss: AtomicU64,
    pub(crate) dead: AtomicU64,
    pub(crate) fixed: AtomicU64,
    pub(crate) other: AtomicU64,
    /// Those of `fresh` that a run has found, in the second level.
    pub(crate) fresh_by_run: AtomicU64,
    /// Runs that were begun.
    pub(crate) runs: AtomicU64,
    /// Callers that waited for the run of another.
    pub(crate) coalesced: AtomicU64,
    /// Records that could not be used.
    pub(crate) unreadable: AtomicU64,
    pub(crate) ages: Ages,
}

impl Counts {
    pub(super) fn responses(&self) -> FallbackResponses {
        let of = |count: &AtomicU64| count.load(Relaxed);
        FallbackResponses {
            live: of(&self.live),
            fresh: self.fresh.count(),
            stale: of(&self.stale),
            miss: of(&self.miss),
            dead: of(&self.dead),
            fixed: of(&self.fixed),
            other: of(&self.other),
        }
    }
}

/// A count of what is done so often that threads would meet at it.
pub(crate) struct Striped(Stripes<sync::AtomicU64>);

impl Striped {
    /// Counts one more.
    #[inline]
    pub(crate) fn one(&self) {
        let (stripe, pen) = self.0.here();
        pen.add(stripe, 1);
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.iter().map(|stripe| stripe.load(Relaxed)).sum()
    }
}

impl Default for Striped {
    fn default() -> Self {
        Self(Stripes::new())
    }
}

impl fmt::Debug for Striped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Striped").field(&self.count()).finish()
    }
}

/// Counts one more.
#[inline]
pub(crate) fn one(count: &AtomicU64) {
    count.fetch_add(1, Relaxed);
}

/// Ages by the bounds of [`AgeHistogram`].
#[derive(Debug, Default)]
pub(crate) struct Ages {
    counts: [AtomicU64; AgeHistogram::BOUNDS.len() + 1],
    sum_ms: AtomicU64,
}

impl Ages {
    pub(crate) fn note(&self, age_ms: u64) {
        let bucket = BOUNDS_MS.iter().position(|bound| age_ms <= *bound);
        one(&self.counts[bucket.unwrap_or(BOUNDS_MS.len())]);
        self.sum_ms.fetch_add(age_ms, Relaxed);
    }

    pub(super) fn picture(&self) -> AgeHistogram {
        let sum_ms = self.sum_ms.load(Relaxed);
        AgeHistogram {
            counts: self
                .counts
                .iter()
                .map(|count| count.load(Relaxed))
                .collect(),
            sum_seconds: std::time::Duration::from_millis(sum_ms).as_secs_f64(),
        }
    }
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
        let ages = Ages::default();
        for age_ms in [0, 1_000, 1_001, u64::MAX >> 1] {
            ages.note(age_ms);
        }
        let counts = ages.picture().counts;
        assert_eq!((counts[0], counts[1], counts.last()), (2, 1, Some(&1)));
        assert_eq!(counts.len(), AgeHistogram::BOUNDS.len() + 1);
    }
}
