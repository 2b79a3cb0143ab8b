//! Retries for a call behind a circuit breaker: a policy for tower's
//! [`RetryLayer`](tower::retry::RetryLayer).
//!
//! tower has the layer and the budget. What it has not is here: backoff with
//! full jitter, and an answer to [`CallError::Open`](crate::CallError) that
//! waits until the circuit lets a probe through, or does not wait at all.

mod backoff;
mod config;
mod policy;
mod retryable;
#[cfg(test)]
mod tests;

pub use config::{RetryConfig, RetryConfigError, RetryOptions};
pub use policy::RetryPolicy;
pub use retryable::{EveryError, OnlyRefused, Retryable};
