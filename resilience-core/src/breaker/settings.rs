//! The settings in force, as atomics that the request path reads for nothing.
//!
//! Each field may change between two reads of one call. That is harmless: a
//! call is judged by a threshold that was in force while it ran, and what must
//! change together (the window's shape) changes with a new generation.

use std::time::Duration;

use super::{
    config::{BreakerConfig, BreakerOptions, Window},
    pieces::Pieces,
    running::quarters,
};
use crate::{
    clock::{ceil_ms, saturating_ns},
    sync::{AtomicU64, Ordering::Relaxed},
};

// ordering: Relaxed throughout. No field publishes another (see above).
#[derive(Debug)]
pub(super) struct Settings {
    /// Failure and slow threshold in hundredths of a percent and the minimum
    /// of calls, in one word because each outcome needs all three.
    rates: AtomicU64,
    /// `u64::MAX`: nothing is timed.
    slow_ns: AtomicU64,
    /// Quarters of the slow-call limit.
    quarters: AtomicU64,
    /// [`Shape`] in one word.
    shape: AtomicU64,
    wait_ms: AtomicU64,
    wait_max_ms: AtomicU64,
    /// In hundredths.
    wait_multiplier: AtomicU64,
    /// In hundredths of a percent.
    wait_jitter: AtomicU64,
    lease_ms: AtomicU64,
    /// 0: half-open waits for ever.
    patience_ms: AtomicU64,
    /// 0: it closes at once.
    ramp_ms: AtomicU64,
    /// `half_open_permits`, and [`AUTOMATIC`] beside them.
    permits: AtomicU64,
}

/// Thresholds of one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rates(u64);

/// What a window is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// The last so many calls.
    Calls(u32),
    /// Ten buckets of such pieces of time.
    Buckets(Pieces),
}

/// Which rate reached its threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Breach {
    Failures,
    Slow,
}

const TIMED_BUCKETS: u64 = 1 << 63;
const AUTOMATIC: u64 = 1 << 63;
/// A time window's buckets.
pub(super) const BUCKETS: u32 = 10;

impl Settings {
    pub(super) fn new(config: &BreakerConfig) -> Self {
        let zero = || AtomicU64::new(0);
        let settings = Self {
            rates: zero(),
            slow_ns: zero(),
            quarters: zero(),
            shape: zero(),
            wait_ms: zero(),
            wait_max_ms: zero(),
            wait_multiplier: zero(),
            wait_jitter: zero(),
            lease_ms: zero(),
            patience_ms: zero(),
            ramp_ms: zero(),
            permits: zero(),
        };
        settings.store(config);
        settings
    }

    pub(super) fn store(&self, config: &BreakerConfig) {
        let options = config.options();
        let minimum = match options.window {
            Window::Calls(calls) => options.minimum_calls.min(calls),
            Window::Time(_) => options.minimum_calls,
        };
        let failure = hundredths(options.failure_rate_threshold);
        let slow = hundredths(options.slow_call_rate_threshold);
        let rates = failure << 48 | slow << 32 | u64::from(minimum);
        let limit = options.slow_call_duration;
        let automatic = if options.automatic_half_open {
            AUTOMATIC
        } else {
            0
        };
        for (setting, value) in [
            (&self.rates, rates),
            (&self.slow_ns, limit.map_or(u64::MAX, saturating_ns)),
            (
                &self.quarters,
                limit.map_or(0, |limit| quarters(limit).bits()),
            ),
            (&self.shape, shape_word(options.window)),
            (&self.wait_ms, ceil_ms(options.wait_in_open)),
            (&self.wait_max_ms, ceil_ms(options.wait_max)),
            (&self.wait_multiplier, hundredths(options.wait_multiplier)),
            (&self.wait_jitter, hundredths_or_none(options.wait_jitter)),
            (&self.lease_ms, ceil_ms(options.probe_lease)),
            (
                &self.patience_ms,
                options.half_open_max_wait.map_or(0, ceil_ms),
            ),
            (&self.ramp_ms, options.ramp_up.map_or(0, ceil_ms)),
            (
                &self.permits,
                automatic | u64::from(options.half_open_permits),
            ),
        ] {
            setting.store(value, Relaxed);
        }
    }

    #[inline]
    pub(super) fn rates(&self) -> Rates {
        Rates(self.rates.load(Relaxed))
    }

    /// The limit above which a call is slow; `u64::MAX`: nothing is timed.
    #[inline]
    pub(super) fn slow_ns(&self) -> u64 {
        self.slow_ns.load(Relaxed)
    }

    /// The quarters of that limit.
    #[inline]
    pub(super) fn quarters(&self) -> Pieces {
        Pieces::from_bits(self.quarters.load(Relaxed))
    }

    /// Whether the window is the last so many calls.
    #[inline]
    pub(super) fn counts_calls(&self) -> bool {
        self.shape.load(Relaxed) & TIMED_BUCKETS == 0
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "stored from a u32")]
    pub(super) fn shape(&self) -> Shape {
        let word = self.shape.load(Relaxed);
        if word & TIMED_BUCKETS == 0 {
            Shape::Calls(word as u32)
        } else {
            Shape::Buckets(Pieces::from_bits(word & !TIMED_BUCKETS))
        }
    }

    /// How long to stay open after so many openings in a row, before this one.
    pub(super) fn wait_ms(&self, openings: u32) -> u64 {
        let (base, most) = (self.wait_ms.load(Relaxed), self.wait_max_ms.load(Relaxed));
        let multiplier = self.wait_multiplier.load(Relaxed);
        let mut wait = base;
        // The limit is reached in a few dozen steps, or there is no growth.
        for _ in 0..openings.min(MOST_STEPS) {
            wait = (wait * multiplier / 100).min(most.max(base));
        }
        wait
    }

    /// The same, moved at random within `wait_jitter`; at least 1 ms.
    pub(super) fn jittered_wait_ms(&self, openings: u32) -> u64 {
        let wait = self.wait_ms(openings);
        let spread = wait * self.wait_jitter.load(Relaxed) / 10_000;
        if spread == 0 {
            return wait;
        }
        fastrand::u64(wait - spread..=wait + spread).max(1)
    }

    /// The longest that a wait after so many openings can be.
    pub(super) fn longest_wait_ms(&self, openings: u32) -> u64 {
        let wait = self.wait_ms(openings);
        wait + wait * self.wait_jitter.load(Relaxed) / 10_000
    }

    pub(super) fn lease_ms(&self) -> u64 {
        self.lease_ms.load(Relaxed)
    }

    /// How long half-open may take to decide; 0: for ever.
    pub(super) fn patience_ms(&self) -> u64 {
        self.patience_ms.load(Relaxed)
    }

    /// How long it takes to close; 0: no time.
    pub(super) fn ramp_ms(&self) -> u64 {
        self.ramp_ms.load(Relaxed)
    }

    #[expect(clippy::cast_possible_truncation, reason = "stored from a u32")]
    pub(super) fn permits(&self) -> u32 {
        (self.permits.load(Relaxed) & !AUTOMATIC) as u32
    }

    /// Whether an open circuit becomes half-open without a call.
    pub(super) fn is_automatic(&self) -> bool {
        self.permits.load(Relaxed) & AUTOMATIC != 0
    }
}

/// From 1 ms to a day in the smallest steps there are, 1 %, are 1,836.
const MOST_STEPS: u32 = 2_000;

/// Whether calls of the one are counted in the same places as those of the other.
pub(super) fn same_places(a: &BreakerOptions, b: &BreakerOptions) -> bool {
    a.window == b.window && a.slow_call_duration == b.slow_call_duration
}

/// How long a bucket of a time window is.
pub(super) fn bucket(window: Duration) -> Duration {
    window / BUCKETS
}

impl Rates {
    #[expect(clippy::cast_possible_truncation, reason = "stored from a u32")]
    pub(super) const fn minimum(self) -> u32 {
        self.0 as u32
    }

    /// The breach, if `failures` or `slow` of `calls` is one. `>=`, as in
    /// resilience4j; the minimum of calls is the caller's business.
    #[inline]
    pub(super) fn breach(self, calls: u32, failures: u32, slow: u32) -> Option<Breach> {
        let reached = |part: u32, threshold: u64| {
            part > 0 && u64::from(part) * 10_000 >= threshold * u64::from(calls)
        };
        if reached(failures, self.0 >> 48) {
            Some(Breach::Failures)
        } else if reached(slow, self.0 >> 32 & 0xFFFF) {
            Some(Breach::Slow)
        } else {
            None
        }
    }
}

/// The shape of a window as one word.
fn shape_word(window: Window) -> u64 {
    match window {
        Window::Calls(calls) => u64::from(calls),
        Window::Time(time) => TIMED_BUCKETS | Pieces::of(bucket(time)).bits(),
    }
}

/// The same for what may be nothing.
fn hundredths_or_none(percent: f64) -> u64 {
    if percent > 0.0 {
        hundredths(percent)
    } else {
        0
    }
}

/// Hundredths of a percent, at least one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "validated: above 0, up to 100"
)]
fn hundredths(percent: f64) -> u64 {
    ((percent * 100.0).round() as u64).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::breaker::BreakerOptions;

    fn settings(options: BreakerOptions) -> Settings {
        Settings::new(&BreakerConfig::try_from(options).unwrap())
    }

    #[test]
    fn a_count_window_clamps_the_minimum_to_its_size() {
        let options = BreakerOptions {
            window: Window::Calls(5),
            ..BreakerOptions::default()
        };
        assert_eq!(settings(options).rates().minimum(), 5);
    }

    #[test]
    fn a_rate_breaches_at_its_threshold_and_not_below() {
        let rates = settings(BreakerOptions::default()).rates();
        assert_eq!(rates.breach(20, 10, 0), Some(Breach::Failures));
        assert_eq!(rates.breach(20, 9, 19), None);
        assert_eq!(rates.breach(20, 9, 20), Some(Breach::Slow));
    }

    #[test]
    fn the_smallest_threshold_still_needs_one_failure() {
        let rates = settings(BreakerOptions {
            failure_rate_threshold: 0.000_1,
            ..BreakerOptions::default()
        })
        .rates();
        assert_eq!(rates.breach(100, 0, 0), None);
        assert_eq!(rates.breach(100, 1, 0), Some(Breach::Failures));
    }

    #[test]
    fn both_shapes_come_back_as_they_went_in() {
        assert_eq!(
            settings(BreakerOptions::default()).shape(),
            Shape::Calls(100)
        );
        let timed = BreakerOptions {
            window: Window::Time(Duration::from_secs(60)),
            ..BreakerOptions::default()
        };
        let buckets = Shape::Buckets(Pieces::of(Duration::from_secs(6)));
        assert_eq!(settings(timed).shape(), buckets);
    }

    #[test]
    fn the_wait_grows_with_each_opening_in_a_row_up_to_its_maximum() {
        let settings = settings(BreakerOptions {
            wait_in_open: Duration::from_secs(10),
            wait_multiplier: 1.5,
            wait_max: Duration::from_secs(30),
            ..BreakerOptions::default()
        });
        let waits = [0, 1, 2, 3, 9].map(|openings| settings.wait_ms(openings));
        assert_eq!(waits, [10_000, 15_000, 22_500, 30_000, 30_000]);
    }

    #[test]
    fn a_wait_longer_than_the_maximum_stays_as_it_is() {
        let settings = settings(BreakerOptions {
            wait_in_open: Duration::from_secs(3_600),
            wait_multiplier: 2.0,
            ..BreakerOptions::default()
        });
        assert_eq!(settings.wait_ms(5), 3_600_000);
    }

    #[test]
    fn jitter_stays_within_its_share_and_uses_it() {
        let settings = settings(BreakerOptions {
            wait_in_open: Duration::from_secs(10),
            wait_jitter: 20.0,
            ..BreakerOptions::default()
        });
        let waits: Vec<u64> = (0..1_000).map(|_| settings.jittered_wait_ms(0)).collect();
        assert!(waits.iter().all(|wait| (8_000..=12_000).contains(wait)));
        assert!(waits.iter().any(|wait| *wait < 9_000));
        assert!(waits.iter().any(|wait| *wait > 11_000));
        assert_eq!(settings.longest_wait_ms(0), 12_000);
    }
}
