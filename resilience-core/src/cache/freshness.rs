//! Fresh, stale or dead: what an answer of some age is still good for.

use std::time::Duration;

use crate::clock::saturating_ns;

/// What an answer is good for at some instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Freshness {
    /// Younger than `ttl`: as good as asking.
    Fresh,
    /// Past its `ttl`, but better than a failure.
    Stale,
    /// Too old for anything.
    Dead,
}

/// How long an answer is good, and for what. Both limits are ages, counted
/// from the same instant.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use resilience_core::cache::{Freshness, Lifetime};
///
/// let rates = Lifetime::new(Duration::from_secs(300), Duration::from_secs(24 * 3600));
/// let stored_at_ns = 0;
/// assert_eq!(rates.at(stored_at_ns, 299_999_999_999), Freshness::Fresh);
/// assert_eq!(rates.at(stored_at_ns, 300_000_000_000), Freshness::Stale);
/// ```
///
/// # Source
///
/// RFC 9111, section 4.2 (fresh while the lifetime is *greater than* the age),
/// and RFC 5861 for what is stale and still served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    ttl_ns: u64,
    stale_limit_ns: u64,
}

impl Lifetime {
    /// Fresh while younger than `ttl`, then stale while younger than
    /// `stale_limit`, then dead. A `ttl` of zero is never fresh, and a
    /// `stale_limit` of at most `ttl` never stale.
    #[must_use]
    pub fn new(ttl: Duration, stale_limit: Duration) -> Self {
        Self {
            ttl_ns: saturating_ns(ttl),
            stale_limit_ns: saturating_ns(stale_limit),
        }
    }

    /// Fresh while younger than `ttl`, and then nothing.
    #[must_use]
    pub fn fresh_only(ttl: Duration) -> Self {
        Self::new(ttl, Duration::ZERO)
    }

    /// What an answer stored at `stored_at_ns` is good for at `now_ns`; both are
    /// readings of one [`Clock`](crate::Clock).
    #[inline]
    #[must_use]
    pub const fn at(self, stored_at_ns: u64, now_ns: u64) -> Freshness {
        let age_ns = age_ns(stored_at_ns, now_ns);
        if age_ns < self.ttl_ns {
            Freshness::Fresh
        } else if age_ns < self.stale_limit_ns {
            Freshness::Stale
        } else {
            Freshness::Dead
        }
    }
}

/// The age at `now_ns` of what was stored at `stored_at_ns`.
///
/// What seems to come from the future is new: it was stored by a thread that
/// read the clock a moment later than this one.
#[inline]
#[must_use]
pub const fn age_ns(stored_at_ns: u64, now_ns: u64) -> u64 {
    now_ns.saturating_sub(stored_at_ns)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Freshness::*, *};

    const MINUTE: Duration = Duration::from_secs(60);
    const HOUR: Duration = Duration::from_secs(3_600);

    fn ns(duration: Duration) -> u64 {
        saturating_ns(duration)
    }

    #[test]
    fn each_limit_is_the_first_instant_that_is_past_it() {
        let lifetime = Lifetime::new(MINUTE, HOUR);
        assert_eq!(lifetime.at(7, 7), Fresh);
        assert_eq!(lifetime.at(7, 7 + ns(MINUTE) - 1), Fresh);
        assert_eq!(lifetime.at(7, 7 + ns(MINUTE)), Stale);
        assert_eq!(lifetime.at(7, 7 + ns(HOUR) - 1), Stale);
        assert_eq!(lifetime.at(7, 7 + ns(HOUR)), Dead);
    }

    #[test]
    fn a_limit_of_zero_is_off() {
        assert_eq!(Lifetime::new(Duration::ZERO, MINUTE).at(7, 7), Stale);
        assert_eq!(Lifetime::fresh_only(Duration::ZERO).at(7, 7), Dead);
        assert_eq!(Lifetime::fresh_only(MINUTE).at(0, ns(MINUTE)), Dead);
    }

    #[test]
    fn a_stale_limit_below_the_ttl_takes_nothing_from_what_is_fresh() {
        let lifetime = Lifetime::new(HOUR, MINUTE);
        assert_eq!(lifetime.at(0, ns(HOUR) - 1), Fresh);
        assert_eq!(lifetime.at(0, ns(HOUR)), Dead);
    }

    #[test]
    fn what_comes_from_the_future_is_new() {
        assert_eq!(age_ns(u64::MAX, 0), 0);
        assert_eq!(Lifetime::new(MINUTE, HOUR).at(u64::MAX, 0), Fresh);
    }

    /// Instants anywhere, and often within a few steps of the ends and of zero.
    fn instant() -> impl Strategy<Value = u64> {
        prop_oneof![any::<u64>(), 0..9_u64, u64::MAX - 9..=u64::MAX]
    }

    fn limit() -> impl Strategy<Value = Duration> {
        prop_oneof![
            instant().prop_map(Duration::from_nanos),
            Just(Duration::MAX)
        ]
    }

    proptest! {
        /// Against the same said in integers that cannot overflow.
        #[test]
        fn wherever_the_clock_jumps_the_verdict_is_that_of_exact_arithmetic(
            ttl in limit(),
            stale_limit in limit(),
            stored_at in instant(),
            reads in proptest::collection::vec(instant(), 1..20),
        ) {
            let lifetime = Lifetime::new(ttl, stale_limit);
            let in_range = |limit: Duration| limit.as_nanos().min(u128::from(u64::MAX));
            for now in reads {
                let age = (i128::from(now) - i128::from(stored_at)).max(0).unsigned_abs();
                let exact = if age < in_range(ttl) {
                    Fresh
                } else if age < in_range(stale_limit) {
                    Stale
                } else {
                    Dead
                };
                prop_assert_eq!(lifetime.at(stored_at, now), exact);
            }
        }

        #[test]
        fn nothing_gets_better_with_age(
            ttl in limit(),
            stale_limit in limit(),
            stored_at in instant(),
            (one, other) in (instant(), instant()),
        ) {
            let lifetime = Lifetime::new(ttl, stale_limit);
            let (sooner, later) = (one.min(other), one.max(other));
            prop_assert!(lifetime.at(stored_at, sooner) <= lifetime.at(stored_at, later));
        }
    }
}
