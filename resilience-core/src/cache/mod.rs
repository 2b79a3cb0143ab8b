//! Answers that are kept for a while.

mod freshness;

pub use freshness::{Freshness, Lifetime, age_ns};
