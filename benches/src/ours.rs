//! Our breakers, as they are measured.

use std::time::Duration;

use resilience_core::{
    BreakerConfig, BreakerOptions, CircuitBreaker, CircuitBreakerLayer, CircuitBreakerService,
    ErrorClass, ErrorsFail, Window,
};
use tower_layer::Layer;

use crate::drive::Upstream;

/// Long enough that no bench outlives it.
const WAIT_IN_OPEN: Duration = Duration::from_secs(3600);

/// Closed, an exact window of the last 100 calls, calls untimed.
#[must_use]
pub fn count() -> CircuitBreaker {
    breaker(untimed())
}

/// Closed, the largest exact window, the last 10,000 calls, calls untimed.
#[must_use]
pub fn largest_count() -> CircuitBreaker {
    breaker(BreakerOptions {
        window: Window::Calls(10_000),
        ..untimed()
    })
}

/// Closed, a window of the last minute, calls untimed, default clock.
#[must_use]
pub fn time() -> CircuitBreaker {
    breaker(BreakerOptions {
        window: Window::Time(Duration::from_secs(60)),
        ..untimed()
    })
}

/// Closed, all defaults: an exact window of the last 100 calls, slow calls timed.
#[must_use]
pub fn slow_call() -> CircuitBreaker {
    breaker(BreakerOptions::default())
}

/// Closed, a window of the last minute, slow calls timed.
#[must_use]
pub fn time_slow_call() -> CircuitBreaker {
    breaker(BreakerOptions {
        window: Window::Time(Duration::from_secs(60)),
        ..BreakerOptions::default()
    })
}

/// Open, for longer than any bench takes.
#[must_use]
pub fn open() -> CircuitBreaker {
    let breaker = count();
    trip(&breaker);
    breaker
}

/// Fails calls until they are refused.
pub fn trip(breaker: &CircuitBreaker) {
    while let Ok(permit) = breaker.try_acquire() {
        permit.failure(ErrorClass::OTHER);
    }
}

/// A service that is ready, behind the layer.
#[must_use]
pub fn layered(breaker: CircuitBreaker) -> CircuitBreakerService<Upstream, ErrorsFail> {
    CircuitBreakerLayer::new(breaker).layer(Upstream)
}

fn untimed() -> BreakerOptions {
    BreakerOptions {
        slow_call_duration: None,
        ..BreakerOptions::default()
    }
}

fn breaker(options: BreakerOptions) -> CircuitBreaker {
    let options = BreakerOptions {
        wait_in_open: WAIT_IN_OPEN,
        ..options
    };
    let config = BreakerConfig::try_from(options).expect("these options are within their limits");
    CircuitBreaker::new("bench", config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_in_the_state_that_it_is_measured_in() {
        for closed in [
            count(),
            largest_count(),
            time(),
            slow_call(),
            time_slow_call(),
        ] {
            assert!(closed.try_acquire().is_ok());
        }
        assert!(open().try_acquire().is_err());
    }
}
