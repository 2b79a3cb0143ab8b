//! The wall clock: what an age means in another process, and on a clock face.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use jiff::Timestamp;

/// Says what time it is. It may be set, and so it may jump: ages of answers in
/// memory are measured with a [`Clock`](crate::Clock) instead.
#[derive(Clone, Debug, Default)]
pub struct WallClock(Source);

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    System,
    Manual(Arc<AtomicU64>),
}

impl WallClock {
    /// A clock that stands still until its [`ManualWallClock`] is set.
    #[must_use]
    pub fn manual(now: Timestamp) -> (Self, ManualWallClock) {
        let now_ms = Arc::new(AtomicU64::new(since_1970_ms(now)));
        let hand = ManualWallClock {
            now_ms: Arc::clone(&now_ms),
        };
        (Self(Source::Manual(now_ms)), hand)
    }

    /// Milliseconds since 1970; zero before that.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        match &self.0 {
            Source::System => system_ms(),
            // ordering: Relaxed. The count publishes nothing but itself.
            Source::Manual(now_ms) => now_ms.load(Relaxed),
        }
    }
}

/// Sets the [`WallClock`] it was made with.
#[derive(Clone, Debug)]
pub struct ManualWallClock {
    now_ms: Arc<AtomicU64>,
}

impl ManualWallClock {
    /// Sets the clock, forward or back.
    pub fn set(&self, now: Timestamp) {
        self.now_ms.store(since_1970_ms(now), Relaxed);
    }
}

/// The kernel's coarse clock: each answer that was stored is handed out with the
/// time, and a tick of some milliseconds is no matter.
#[cfg(target_os = "linux")]
#[inline]
fn system_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    let ms = now.tv_sec.saturating_mul(1_000) + now.tv_nsec / 1_000_000;
    u64::try_from(ms).unwrap_or(0)
}

#[cfg(not(target_os = "linux"))]
fn system_ms() -> u64 {
    since_1970_ms(Timestamp::now())
}

fn since_1970_ms(time: Timestamp) -> u64 {
    u64::try_from(time.as_millisecond()).unwrap_or(0)
}

/// The time of day of a reading; the last one there is, of one beyond that.
pub(super) fn timestamp(ms: u64) -> Timestamp {
    let ms = i64::try_from(ms).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX)
}
