//! Time, injected: coarse by default, by hand in tests.

use std::{
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use crate::sync::{AtomicU64, Ordering::Relaxed};

/// A monotonic clock.
///
/// The default reads the kernel's coarse clock: a few nanoseconds a read, and
/// steps of one to ten milliseconds (one timer tick), which is finer than any
/// wait or slow-call limit worth having.
#[derive(Clone, Debug, Default)]
pub struct Clock(Source);

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    Coarse,
    Precise,
    #[cfg(any(feature = "http", feature = "retry"))]
    Tokio(tokio::time::Instant),
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// The default: the kernel's coarse monotonic clock, or the precise one
    /// where there is none.
    #[must_use]
    pub const fn coarse() -> Self {
        Self(Source::Coarse)
    }

    /// `std::time::Instant`: nanosecond steps, several times the cost.
    #[must_use]
    pub const fn precise() -> Self {
        Self(Source::Precise)
    }

    /// tokio's clock, which `tokio::time::pause` and `advance` move.
    #[cfg(any(feature = "http", feature = "retry"))]
    #[must_use]
    pub fn tokio() -> Self {
        Self(Source::Tokio(tokio::time::Instant::now()))
    }

    /// A clock that stands still until its [`ManualClock`] is moved.
    #[must_use]
    pub fn manual() -> (Self, ManualClock) {
        let now = Arc::new(AtomicU64::new(0));
        (Self(Source::Manual(Arc::clone(&now))), ManualClock { now })
    }

    /// Nanoseconds since an origin that stays the same for this clock.
    #[inline]
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        // Nothing but the default in line: each call of a breaker reads it.
        if self.is_default() {
            coarse_ns()
        } else {
            self.other_ns()
        }
    }

    #[cold]
    fn other_ns(&self) -> u64 {
        match &self.0 {
            Source::Coarse => coarse_ns(),
            Source::Precise => precise_ns(),
            #[cfg(any(feature = "http", feature = "retry"))]
            Source::Tokio(origin) => saturating_ns(origin.elapsed()),
            // ordering: Relaxed. The count publishes nothing but itself.
            Source::Manual(now) => now.load(Relaxed),
        }
    }

    /// The reading of the precise clock at an instant, which was just now; another clock is
    /// read.
    #[cfg(feature = "postgres")]
    #[inline]
    pub(crate) fn ns_at(&self, instant: Instant) -> u64 {
        match &self.0 {
            Source::Precise => precise_ns_at(instant),
            _ => self.now_ns(),
        }
    }

    /// How far a reading may be behind, in milliseconds, rounded up.
    pub(crate) fn tick_ms(&self) -> u64 {
        match &self.0 {
            Source::Coarse => coarse_tick_ms(),
            _ => 1,
        }
    }

    /// Whether it is the process-wide default.
    #[inline]
    pub(crate) const fn is_default(&self) -> bool {
        matches!(self.0, Source::Coarse)
    }
}

/// Moves the [`Clock`] it was made with.
#[derive(Clone, Debug)]
pub struct ManualClock {
    now: Arc<AtomicU64>,
}

impl ManualClock {
    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        // ordering: Relaxed, as in `now_ns`.
        self.now.fetch_add(saturating_ns(by), Relaxed);
    }
}

#[cfg(target_os = "linux")]
#[inline]
fn coarse_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    // Both parts are positive: the clock counts from boot.
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

#[cfg(target_os = "linux")]
fn coarse_tick_ms() -> u64 {
    static TICK: LazyLock<u64> = LazyLock::new(|| {
        let tick = rustix::time::clock_getres(rustix::time::ClockId::MonotonicCoarse);
        tick.tv_nsec.unsigned_abs().div_ceil(1_000_000).max(1)
    });
    *TICK
}

#[cfg(not(target_os = "linux"))]
#[inline]
fn coarse_ns() -> u64 {
    precise_ns()
}

#[cfg(not(target_os = "linux"))]
fn coarse_tick_ms() -> u64 {
    1
}

#[inline]
fn precise_ns() -> u64 {
    precise_ns_at(Instant::now())
}

#[inline]
fn precise_ns_at(instant: Instant) -> u64 {
    static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    saturating_ns(instant.saturating_duration_since(*ORIGIN))
}

/// A duration in nanoseconds; 584 years at most.
pub(crate) fn saturating_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A duration in milliseconds, rounded up, so that a wait is never cut short.
pub(crate) fn ceil_ms(duration: Duration) -> u64 {
    saturating_ns(duration).div_ceil(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_by_hand() {
        let (clock, hand) = Clock::manual();
        assert_eq!(clock.now_ns(), 0);
        hand.advance(Duration::from_millis(3));
        assert_eq!(clock.now_ns(), 3_000_000);
    }

    #[test]
    fn the_coarse_clock_never_goes_back() {
        let clock = Clock::default();
        let mut last = clock.now_ns();
        for _ in 0..100_000 {
            let now = clock.now_ns();
            assert!(now >= last);
            last = now;
        }
        assert!(last > 0);
    }
}
