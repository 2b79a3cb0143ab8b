//! The breaker as a whole.

mod against_model;
mod by_hand;
mod call;
#[cfg(feature = "tower")]
mod layer;
// Whose features bring tokio's clock.
#[cfg(any(feature = "http", feature = "retry"))]
mod layer_in_time;
mod life;
mod machine;
mod mistakes;
mod model;
mod overrides;
#[cfg(feature = "tower")]
mod parking;
#[cfg(feature = "tower")]
mod readiness;
mod settings;
mod slow;

use super::*;
use crate::{
    clock::ManualClock,
    snapshot::{BreakerEvent, Cause, WindowSnapshot},
};

const MS: Duration = Duration::from_millis(1);
/// The wait of [`small`] is over: strictly after five seconds.
const WAIT: Duration = Duration::from_millis(5_001);
const BAD: ErrorClass = ErrorClass::TIMEOUT;

fn breaker(options: BreakerOptions) -> (CircuitBreaker, ManualClock) {
    let (clock, hand) = Clock::manual();
    let config = BreakerConfig::try_from(options).unwrap();
    (
        CircuitBreaker::with_clock("payment_api", config, clock),
        hand,
    )
}

/// Trips at the second of two failures, waits 5 s, lets two probes through.
fn small() -> BreakerOptions {
    BreakerOptions {
        window: Window::Calls(4),
        minimum_calls: 2,
        wait_in_open: Duration::from_secs(5),
        half_open_permits: 2,
        probe_lease: Duration::from_secs(1),
        ..BreakerOptions::default()
    }
}

fn tripped() -> (CircuitBreaker, ManualClock) {
    let (breaker, hand) = breaker(small());
    fail(&breaker, 2);
    assert_eq!(breaker.state(), State::Open);
    (breaker, hand)
}

/// Half-open, with room for one probe.
fn half_open() -> CircuitBreaker {
    let (breaker, hand) = breaker(BreakerOptions {
        half_open_permits: 1,
        ..small()
    });
    fail(&breaker, 2);
    hand.advance(WAIT);
    breaker
}

fn fail(breaker: &CircuitBreaker, times: u32) {
    for _ in 0..times {
        breaker.try_acquire().unwrap().failure(BAD);
    }
}

fn succeed(breaker: &CircuitBreaker, times: u32) {
    for _ in 0..times {
        breaker.try_acquire().unwrap().success();
    }
}
