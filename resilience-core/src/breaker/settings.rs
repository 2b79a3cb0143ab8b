//! The settings in force, as atomics that the request path reads for nothing.
//!
//! Each field may change between two reads of one call. That is harmless: a
//! call is judged by a threshold that was in force while it ran, and what must
//! change together (the window's shape) changes with a new generation.

use std::time::Duration;

use super::config::{BreakerConfig, Window};
use crate::{
    clock::{ceil_ms, saturating_ns},
    sync::{AtomicU32, AtomicU64, Ordering::Relaxed},
};

// ordering: Relaxed throughout. No field publishes another (see above).
#[derive(Debug)]
pub(super) struct Settings {
    /// Failure and slow threshold in hundredths of a percent and the minimum
    /// of calls, in one word because each outcome needs all three.
    rates: AtomicU64,
    /// `u64::MAX`: nothing is timed.
    slow_ns: AtomicU64,
    shape: AtomicU64,
    wait_ms: AtomicU64,
    lease_ms: AtomicU64,
    permits: AtomicU32,
}

/// Thresholds of one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rates(u64);

/// What a window is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// The last so many calls.
    Calls(u32),
    /// Ten buckets of so many milliseconds.
    Buckets { bucket_ms: u64 },
}

/// Which rate reached its threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Breach {
    Failures,
    Slow,
}

const TIMED_BUCKETS: u64 = 1 << 63;
/// A time window's buckets.
pub(super) const BUCKETS: u32 = 10;

impl Settings {
    pub(super) fn new(config: &BreakerConfig) -> Self {
        let settings = Self {
            rates: AtomicU64::new(0),
            slow_ns: AtomicU64::new(0),
            shape: AtomicU64::new(0),
            wait_ms: AtomicU64::new(0),
            lease_ms: AtomicU64::new(0),
            permits: AtomicU32::new(0),
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
        let slow_ns = options.slow_call_duration.map_or(u64::MAX, saturating_ns);
        self.rates.store(rates, Relaxed);
        self.slow_ns.store(slow_ns, Relaxed);
        self.shape.store(shape_word(options.window), Relaxed);
        self.wait_ms.store(ceil_ms(options.wait_in_open), Relaxed);
        self.lease_ms.store(ceil_ms(options.probe_lease), Relaxed);
        self.permits.store(options.half_open_permits, Relaxed);
    }

    #[inline]
    pub(super) fn rates(&self) -> Rates {
        Rates(self.rates.load(Relaxed))
    }

    /// The limit above which a call is slow; `None` times nothing.
    #[inline]
    pub(super) fn slow_ns(&self) -> Option<u64> {
        let slow_ns = self.slow_ns.load(Relaxed);
        (slow_ns != u64::MAX).then_some(slow_ns)
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "stored from a u32")]
    pub(super) fn shape(&self) -> Shape {
        let word = self.shape.load(Relaxed);
        if word & TIMED_BUCKETS == 0 {
            Shape::Calls(word as u32)
        } else {
            let bucket_ms = word & !TIMED_BUCKETS;
            Shape::Buckets { bucket_ms }
        }
    }

    pub(super) fn wait_ms(&self) -> u64 {
        self.wait_ms.load(Relaxed)
    }

    pub(super) fn lease_ms(&self) -> u64 {
        self.lease_ms.load(Relaxed)
    }

    pub(super) fn permits(&self) -> u32 {
        self.permits.load(Relaxed)
    }
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
        Window::Time(time) => TIMED_BUCKETS | bucket_ms(time),
    }
}

fn bucket_ms(window: Duration) -> u64 {
    // Validated: 1 s to 1 h.
    ceil_ms(window).div_ceil(u64::from(BUCKETS))
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
        assert_eq!(settings(timed).shape(), Shape::Buckets { bucket_ms: 6_000 });
    }
}
