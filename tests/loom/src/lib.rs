//! See `breaker.rs`.
