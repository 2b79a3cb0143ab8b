//! How long a retry waits.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Exponential backoff with full jitter: a wait that is uniform between nothing
/// and a ceiling, which doubles with each retry up to a cap.
///
/// # Source
///
/// M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015:
/// of the jitters compared there, this one made the fewest calls.
#[derive(Debug)]
pub(super) struct Backoff {
    base: Duration,
    cap: Duration,
    /// A seed for the next wait. Not a generator, because a policy is cloned
    /// for each call, and clones of a generator all draw the same numbers.
    seed: AtomicU64,
}

impl Backoff {
    pub(super) const fn new(base: Duration, cap: Duration, seed: u64) -> Self {
        Self {
            base,
            cap,
            seed: AtomicU64::new(seed),
        }
    }

    /// The wait before the retry after `retries` others.
    pub(super) fn next(&self, retries: u32) -> Duration {
        let doubled = 2_u32
            .checked_pow(retries)
            .and_then(|factor| self.base.checked_mul(factor));
        let ceiling = doubled.map_or(self.cap, |doubled| doubled.min(self.cap));
        let ceiling_ns = u64::try_from(ceiling.as_nanos()).unwrap_or(u64::MAX);
        // ordering: Relaxed. Each draw needs another seed, and nothing else
        // hangs on it. The step is odd, so no seed comes again in 2^64 draws.
        let seed = self.seed.fetch_add(0x9E37_79B9_7F4A_7C15, Relaxed);
        Duration::from_nanos(fastrand::Rng::with_seed(seed).u64(0..=ceiling_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Duration = Duration::from_millis(100);
    const CAP: Duration = Duration::from_millis(350);

    /// Waits before the retry after `retries` others.
    fn drawn(backoff: &Backoff, retries: u32) -> Vec<Duration> {
        (0..4_000).map(|_| backoff.next(retries)).collect()
    }

    #[test]
    fn waits_are_uniform_below_a_ceiling_that_doubles_up_to_the_cap() {
        let backoff = Backoff::new(BASE, CAP, 1);
        for (retries, ceiling_ms) in [(0, 100), (1, 200), (2, 350), (3, 350), (200, 350)] {
            let ceiling = Duration::from_millis(ceiling_ms);
            let waits = drawn(&backoff, retries);
            assert!(waits.iter().all(|&wait| wait <= ceiling));
            // A tenth of them in each tenth: 400, give or take five deviations of 19.
            for tenth in 0..10 {
                let part = (ceiling * tenth / 10)..(ceiling * (tenth + 1) / 10);
                let inside = waits.iter().filter(|wait| part.contains(*wait)).count();
                assert!((305..=495).contains(&inside), "{inside} in {part:?}");
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_waits_and_another_gives_others() {
        let waits = |seed| drawn(&Backoff::new(BASE, CAP, seed), 0);
        assert_eq!(waits(7), waits(7));
        assert_ne!(waits(7), waits(8));
    }
}
