//! The circuit breaker.

mod config;

pub use config::{BreakerConfig, BreakerConfigError, BreakerOptions, Window};
