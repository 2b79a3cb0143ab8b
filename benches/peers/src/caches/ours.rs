//! Our fallback, as it is measured.

use resilience_core::{
    config::{Config, FallbackConfig},
    fallback::{Fallback, HttpFallbackLayer, HttpFallbackService},
};
use tower::Layer;

/// Settings: all defaults, but for memory for every answer of a bench.
#[must_use]
pub fn keeps_for(ttl: &str) -> FallbackConfig {
    let text = format!("fallback: {{ttl: {ttl}, memory: 4GiB}}");
    let config = Config::parse("bench.yaml", &text, []).expect("these settings are allowed");
    config.fallback("rates").clone()
}

/// A fallback whose answers are fresh for longer than any bench takes.
#[must_use]
pub fn fallback() -> Fallback {
    Fallback::new("rates", &keeps_for("1h"))
}

/// Our layer around a service.
#[must_use]
pub fn ours<S>(fallback: Fallback, origin: S) -> HttpFallbackService<S> {
    HttpFallbackLayer::new(fallback).layer(origin)
}
