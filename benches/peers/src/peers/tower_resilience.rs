//! tower-resilience-circuitbreaker: a tower service with a boxed future and
//! tokio's mutex.

use std::task::Context;

use resilience_benches::drive::{Request, Upstream, call};
use tower::Layer;
use tower_resilience_circuitbreaker::{CircuitBreaker, CircuitBreakerLayer, DefaultClassifier};

use super::WAIT_IN_OPEN;

/// A closed service that is ready.
///
/// # Panics
///
/// Never: the settings are allowed.
#[must_use]
pub fn closed() -> CircuitBreaker<Upstream, DefaultClassifier> {
    CircuitBreakerLayer::builder()
        .wait_duration_in_open(WAIT_IN_OPEN)
        .build()
        .expect("the defaults are valid")
        .layer(Upstream)
}

/// The same, open.
#[must_use]
pub fn open(context: &mut Context<'_>) -> CircuitBreaker<Upstream, DefaultClassifier> {
    let mut service = closed();
    // It asks for 100 calls before it opens.
    for _ in 0..1_000 {
        call(&mut service, Request::Fail, context);
    }
    service
}
