//! Resilience for Rust API services.
#![forbid(unsafe_code)]

pub mod breaker;
#[cfg(feature = "control")]
pub mod control;
#[cfg(feature = "http")]
pub mod health;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "log")]
pub mod log;
#[cfg(feature = "http")]
pub mod problem;
pub mod snapshot;

pub use breaker::{BreakerConfig, BreakerConfigError, BreakerOptions, Window};
#[cfg(feature = "http")]
pub use health::Health;
#[cfg(feature = "http")]
pub use http::{CorrelationId, CorrelationIdLayer, HttpMetrics, HttpMetricsLayer};
#[cfg(feature = "http")]
pub use problem::Problem;
