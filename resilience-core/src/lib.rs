//! Resilience for Rust API services: a circuit breaker, health, metrics, logs,
//! live configuration and a control thread that answers when the service does not.
#![forbid(unsafe_code)]

#[cfg(feature = "black-box")]
pub mod blackbox;
#[cfg(feature = "tower")]
mod boxed;
pub mod breaker;
#[cfg(feature = "cache")]
pub mod cache;
pub mod clock;
#[cfg(feature = "config")]
pub mod config;
#[cfg(feature = "service")]
pub mod control;
#[cfg(feature = "fallback")]
pub mod fallback;
#[cfg(any(
    feature = "retry",
    all(feature = "service", any(feature = "fallback", feature = "postgres"))
))]
pub mod guides;
#[cfg(feature = "http")]
pub mod health;
#[cfg(feature = "http")]
pub mod http;
mod line;
#[cfg(feature = "log")]
pub mod log;
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(any(feature = "black-box", feature = "config"))]
mod one_line;
#[cfg(feature = "postgres")]
pub mod pool;
#[cfg(feature = "http")]
pub mod problem;
#[cfg(any(feature = "http", feature = "postgres"))]
mod request;
#[cfg(feature = "retry")]
pub mod retry;
#[cfg(feature = "service")]
mod service;
pub mod snapshot;
mod stripes;
mod sync;

/// The README's examples, compiled and run.
#[cfg(all(doctest, feature = "service"))]
#[doc = include_str!("../../README.md")]
pub struct Readme;

#[cfg(feature = "tower")]
pub use boxed::BoxedError;
pub use breaker::{
    BreakerConfig, BreakerConfigError, BreakerOptions, ByHand, CallError, ChangeRefused, Changed,
    CircuitBreaker, ErrorClass, KeyedBreakers, KeyedConfig, KeyedOptions, KeyedSubscription,
    Outcome, Permit, Registry, Rejected, Subscription, Window,
};
#[cfg(feature = "tower")]
pub use breaker::{
    CircuitBreakerLayer, CircuitBreakerService, Classify, ErrorsFail, HttpStatusFails,
    KeyedBreakerLayer, KeyedBreakerService,
};
pub use clock::{Clock, ManualClock};
#[cfg(feature = "http")]
pub use health::Health;
#[cfg(feature = "http")]
pub use http::{CorrelationId, CorrelationIdLayer, HttpMetrics, HttpMetricsLayer};
#[cfg(feature = "http")]
pub use problem::Problem;
#[cfg(feature = "retry")]
pub use retry::{RetryConfig, RetryConfigError, RetryOptions, RetryPolicy};
#[cfg(feature = "service")]
pub use service::{Resilience, ResilienceBuilder, StartError};
