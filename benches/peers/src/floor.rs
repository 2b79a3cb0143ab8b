//! What a call cannot do without, as cheap as it can be had on this machine.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rustix::time::{ClockId, clock_gettime};

/// One count. The bounds of `closed_count_*`, alone and contended.
#[inline]
pub fn count(counter: &AtomicU64) -> u64 {
    // ordering: Relaxed. A count and nothing else, the cheapest there is.
    counter.fetch_add(1, Relaxed)
}

/// One read of the kernel's coarse clock, in nanoseconds.
///
/// Not `resilience_core::Clock`: if that grew slower, its own floor would hide it.
#[inline]
#[must_use]
pub fn coarse_clock_ns() -> i64 {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_clock_never_goes_back() {
        let before = coarse_clock_ns();
        assert!(before > 0);
        assert!(coarse_clock_ns() >= before);
    }
}
