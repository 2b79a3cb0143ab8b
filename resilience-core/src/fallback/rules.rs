//! What an answer of some age is still good for.
//!
//! All limits are ages, counted from when the upstream made the answer; what the
//! upstream said and what is configured meet here and nowhere else.

use std::time::Duration;

use super::Terms;
use crate::{clock::saturating_ns, config::FallbackConfig};

/// No answer that is as old is used for anything, whatever is configured: an age
/// that the configuration would not take either, so that no way around it does.
pub const OLDEST: Duration = Duration::from_secs(30 * 24 * 3600);

#[expect(clippy::cast_possible_truncation, reason = "2.6e15")]
const OLDEST_NS: u64 = OLDEST.as_nanos() as u64;

/// A record that seems to come from later than now by more than this is not used:
/// one of the two clocks is wrong, and so its age is anything.
pub(super) const MOST_AHEAD_MS: u64 = 60_000;

/// The configured side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    ttl_ns: u64,
    stale_limit_ns: u64,
    refresh_ns: u64,
    obey: bool,
}

/// What an answer is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Use {
    /// As good as asking.
    Fresh,
    /// To be handed out while a newer one is fetched.
    WhileRefreshing,
    /// Better than a failure.
    OnFailure,
    /// Nothing, since so many nanoseconds.
    Dead(u64),
}

/// The ages at which an answer gets worse, none below the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) fresh_ns: u64,
    refresh_ns: u64,
    stale_ns: u64,
}

impl Rules {
    pub(super) fn new(config: &FallbackConfig) -> Self {
        Self {
            ttl_ns: saturating_ns(config.ttl),
            stale_limit_ns: saturating_ns(config.stale_limit).min(OLDEST_NS),
            refresh_ns: config.stale_while_revalidate.map_or(0, saturating_ns),
            obey: config.obey_cache_control,
        }
    }

    /// The limits of an answer about which the upstream said `terms`.
    ///
    /// Nothing that the upstream says lifts `stale_limit`: that is how much of a
    /// past an operator is ready to show, also as fresh.
    pub(crate) fn limits(self, terms: &Terms) -> Limits {
        let terms = if self.obey { *terms } else { Terms::default() };
        let said = |seconds: u32| u64::from(seconds) * 1_000_000_000;
        // Not cut yet: what comes after it is counted from what was said.
        let fresh_ns = terms.fresh_for.map_or(self.ttl_ns, said);
        let after = |more_ns: u64| fresh_ns.saturating_add(more_ns);
        let most = if terms.never_stale {
            fresh_ns
        } else {
            let said = terms.stale_if_error.map(said);
            said.map_or(u64::MAX, after)
        };
        let stale_ns = most.min(self.stale_limit_ns);
        let refresh_ns = after(terms.stale_while_revalidate.map_or(self.refresh_ns, said));
        let fresh_ns = fresh_ns.min(self.stale_limit_ns);
        Limits {
            fresh_ns,
            refresh_ns: refresh_ns.min(stale_ns),
            stale_ns,
        }
    }

    /// For how long after it was asked for an answer may be of use, in milliseconds,
    /// whatever settings of the upstream's side are in force then.
    pub(super) fn useful_ms(self, terms: &Terms) -> u64 {
        (self.stale_limit_ns / 1_000_000).saturating_sub(u64::from(terms.age) * 1_000)
    }
}

impl Limits {
    #[inline]
    pub(crate) const fn at(self, age_ns: u64) -> Use {
        if age_ns < self.fresh_ns {
            Use::Fresh
        } else if age_ns < self.refresh_ns {
            Use::WhileRefreshing
        } else if age_ns < self.stale_ns {
            Use::OnFailure
        } else {
            Use::Dead(age_ns - self.stale_ns)
        }
    }
}

/// How old a record is by two wall clocks, in milliseconds; `None` if it comes from
/// the future by more than clocks differ.
pub(super) fn record_age_ms(terms: &Terms, asked_at_ms: u64, now_ms: u64) -> Option<u64> {
    if asked_at_ms > now_ms.saturating_add(MOST_AHEAD_MS) {
        return None;
    }
    let kept_for_ms = now_ms.saturating_sub(asked_at_ms);
    Some(kept_for_ms.saturating_add(u64::from(terms.age) * 1_000))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Config;

    const SECOND: u64 = 1_000_000_000;

    fn config(ttl_s: u64, stale_limit_s: u64) -> FallbackConfig {
        let mut config = Config::default().fallback("rates").clone();
        config.ttl = Duration::from_secs(ttl_s);
        config.stale_limit = Duration::from_secs(stale_limit_s);
        config
    }

    fn at(config: &FallbackConfig, terms: &Terms, age_s: u64) -> Use {
        Rules::new(config).limits(terms).at(age_s * SECOND)
    }

    #[test]
    fn without_a_word_of_the_upstream_the_configuration_decides() {
        let mut config = config(300, 3_600);
        let terms = Terms::default();
        assert_eq!(at(&config, &terms, 299), Use::Fresh);
        assert_eq!(at(&config, &terms, 300), Use::OnFailure);
        assert_eq!(at(&config, &terms, 3_599), Use::OnFailure);
        assert_eq!(at(&config, &terms, 3_600), Use::Dead(0));
        assert_eq!(at(&config, &terms, 3_607), Use::Dead(7 * SECOND));
        config.stale_while_revalidate = Some(Duration::from_secs(60));
        assert_eq!(at(&config, &terms, 359), Use::WhileRefreshing);
        assert_eq!(at(&config, &terms, 360), Use::OnFailure);
    }

    #[test]
    fn the_upstream_says_how_long_it_is_fresh_and_may_shorten_the_stale_limit_only() {
        let config = config(300, 3_600);
        let mut terms = Terms {
            fresh_for: Some(10),
            stale_if_error: Some(90),
            stale_while_revalidate: Some(20),
            ..Terms::default()
        };
        assert_eq!(at(&config, &terms, 9), Use::Fresh);
        assert_eq!(at(&config, &terms, 29), Use::WhileRefreshing);
        assert_eq!(at(&config, &terms, 30), Use::OnFailure);
        assert_eq!(at(&config, &terms, 99), Use::OnFailure);
        assert_eq!(at(&config, &terms, 100), Use::Dead(0));
        terms.stale_if_error = Some(u32::MAX);
        assert_eq!(at(&config, &terms, 3_599), Use::OnFailure);
        assert_eq!(at(&config, &terms, 3_600), Use::Dead(0));
        terms.fresh_for = Some(u32::MAX);
        assert_eq!(at(&config, &terms, 3_599), Use::Fresh);
        assert_eq!(at(&config, &terms, 3_600), Use::Dead(0));
    }

    #[test]
    fn what_may_never_be_stale_is_fresh_or_dead() {
        let mut config = config(300, 3_600);
        config.stale_while_revalidate = Some(Duration::from_secs(60));
        let terms = Terms {
            never_stale: true,
            stale_if_error: Some(90),
            ..Terms::default()
        };
        assert_eq!(at(&config, &terms, 299), Use::Fresh);
        assert_eq!(at(&config, &terms, 300), Use::Dead(0));
        config.obey_cache_control = false;
        assert_eq!(at(&config, &terms, 300), Use::WhileRefreshing);
        assert_eq!(at(&config, &terms, 3_599), Use::OnFailure);
    }

    #[test]
    fn nothing_is_used_for_longer_than_thirty_days_whatever_is_configured() {
        let config = config(u64::MAX >> 30, u64::MAX >> 30);
        let terms = Terms {
            fresh_for: Some(u32::MAX),
            ..Terms::default()
        };
        let oldest = OLDEST.as_secs();
        for terms in [terms, Terms::default()] {
            assert_eq!(at(&config, &terms, oldest - 1), Use::Fresh);
            assert_eq!(at(&config, &terms, oldest), Use::Dead(0));
        }
        assert_eq!(
            Rules::new(&config).useful_ms(&terms),
            u64::try_from(OLDEST.as_millis()).unwrap()
        );
    }

    #[test]
    fn a_record_from_the_future_by_more_than_a_minute_has_no_age() {
        let terms = Terms {
            age: 2,
            ..Terms::default()
        };
        assert_eq!(record_age_ms(&terms, 1_000_000, 1_000_005), Some(2_005));
        assert_eq!(record_age_ms(&terms, 1_060_000, 1_000_000), Some(2_000));
        assert_eq!(record_age_ms(&terms, 1_060_001, 1_000_000), None);
        assert_eq!(record_age_ms(&terms, u64::MAX, u64::MAX), Some(2_000));
    }

    fn seconds() -> impl Strategy<Value = u64> {
        prop_oneof![
            0..5_000_u64,
            2_591_990..2_592_010_u64,
            Just(u64::from(u32::MAX)),
            Just(u64::MAX)
        ]
    }

    fn said() -> impl Strategy<Value = Option<u32>> {
        prop_oneof![
            Just(None),
            (0..5_000_u32).prop_map(Some),
            any::<u32>().prop_map(Some)
        ]
    }

    prop_compose! {
        fn any_terms()(
            age in any::<u32>(),
            fresh_for in said(),
            stale_while_revalidate in said(),
            stale_if_error in said(),
            never_stale in any::<bool>(),
        ) -> Terms {
            Terms { age, fresh_for, stale_while_revalidate, stale_if_error, never_stale }
        }
    }

    prop_compose! {
        fn any_config()(
            ttl in seconds(),
            stale_limit in seconds(),
            refresh in proptest::option::of(seconds()),
            obey in any::<bool>(),
        ) -> FallbackConfig {
            let mut config = config(ttl, stale_limit);
            config.stale_while_revalidate = refresh.map(Duration::from_secs);
            config.obey_cache_control = obey;
            config
        }
    }

    /// The same said in integers that cannot overflow, straight from the words.
    fn exact(config: &FallbackConfig, terms: &Terms, age_ns: u128) -> Use {
        let ns = |duration: Duration| duration.as_nanos();
        let s = |seconds: u32| u128::from(seconds) * u128::from(SECOND);
        let obey = config.obey_cache_control;
        let said = |value: Option<u32>| value.filter(|_| obey).map(s);
        let limit = ns(config.stale_limit).min(ns(OLDEST));
        let fresh = said(terms.fresh_for).unwrap_or(ns(config.ttl));
        let mut stale = limit;
        if let Some(more) = said(terms.stale_if_error) {
            stale = stale.min(fresh + more);
        }
        if obey && terms.never_stale {
            stale = stale.min(fresh);
        }
        let more = said(terms.stale_while_revalidate)
            .unwrap_or(config.stale_while_revalidate.map_or(0, ns));
        if age_ns < fresh && age_ns < limit {
            Use::Fresh
        } else if age_ns < fresh + more && age_ns < stale {
            Use::WhileRefreshing
        } else if age_ns < stale {
            Use::OnFailure
        } else {
            Use::Dead(u64::try_from(age_ns - stale).unwrap())
        }
    }

    proptest! {
        #[test]
        fn whatever_is_said_and_configured_the_verdict_is_that_of_exact_arithmetic(
            config in any_config(),
            terms in any_terms(),
            ages in proptest::collection::vec(
                prop_oneof![any::<u64>(), seconds().prop_map(|s| s.saturating_mul(SECOND))],
                1..20,
            ),
        ) {
            let limits = Rules::new(&config).limits(&terms);
            for age_ns in ages {
                let verdict = limits.at(age_ns);
                prop_assert_eq!(verdict, exact(&config, &terms, u128::from(age_ns)));
                if age_ns >= OLDEST_NS {
                    prop_assert!(matches!(verdict, Use::Dead(_)));
                }
            }
        }

        #[test]
        fn nothing_gets_better_with_age(
            config in any_config(),
            terms in any_terms(),
            (one, other) in (any::<u64>(), any::<u64>()),
        ) {
            let limits = Rules::new(&config).limits(&terms);
            prop_assert!(limits.at(one.min(other)) <= limits.at(one.max(other)));
        }

        #[test]
        fn wherever_the_wall_clock_jumps_a_record_is_as_old_as_it_can_be_told(
            terms in any_terms(),
            asked_at_ms in any::<u64>(),
            reads in proptest::collection::vec(any::<u64>(), 1..20),
        ) {
            for now_ms in reads {
                let ahead = i128::from(asked_at_ms) - i128::from(now_ms);
                let exact = (ahead <= 60_000).then(|| {
                    let age = (-ahead).max(0) + i128::from(terms.age) * 1_000;
                    u64::try_from(age).unwrap_or(u64::MAX)
                });
                prop_assert_eq!(record_age_ms(&terms, asked_at_ms, now_ms), exact);
            }
        }
    }
}
