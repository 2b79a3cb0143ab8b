//! Resilience for Rust API services.
#![forbid(unsafe_code)]

pub mod breaker;
#[cfg(feature = "config")]
pub mod config;
#[cfg(feature = "control")]
pub mod control;
pub mod snapshot;

pub use breaker::{BreakerConfig, BreakerConfigError, BreakerOptions, Window};
