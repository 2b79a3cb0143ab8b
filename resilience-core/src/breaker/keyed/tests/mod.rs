//! A family as a whole.

mod eviction;
#[cfg(feature = "tower")]
mod layer;
mod model;
mod together;

use super::*;
use crate::{
    BreakerOptions, ByHand, ErrorClass, ManualClock, Window,
    snapshot::{OverrideKind, State},
};

const SECOND: Duration = Duration::from_secs(1);
const IDLE: Duration = Duration::from_secs(600);

/// Trips at the second of two failures, waits 5 s.
fn small() -> BreakerConfig {
    BreakerConfig::try_from(BreakerOptions {
        window: Window::Calls(4),
        minimum_calls: 2,
        wait_in_open: 5 * SECOND,
        ..BreakerOptions::default()
    })
    .unwrap()
}

fn limits(capacity: u32) -> KeyedConfig {
    KeyedConfig::try_from(KeyedOptions {
        capacity,
        idle: IDLE,
    })
    .unwrap()
}

fn family(capacity: u32) -> (KeyedBreakers, ManualClock) {
    let (clock, hand) = Clock::manual();
    let family = KeyedBreakers::with_clock("api", &small(), limits(capacity), clock);
    (family, hand)
}

fn trip(breaker: &CircuitBreaker) {
    for _ in 0..2 {
        let permit = breaker.try_acquire().unwrap();
        permit.failure(ErrorClass::TIMEOUT);
    }
    assert_eq!(breaker.state(), State::Open);
}

/// Whether there is a member of that key, without using it.
fn has(family: &KeyedBreakers, key: &str) -> bool {
    family.find(&name::full("api", key)).is_some()
}
