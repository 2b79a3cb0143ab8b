//! The peers, each in its default settings but for the wait in open, which
//! outlives the bench.
//!
//! | peer | window | calls without a future | tower |
//! |---|---|---|---|
//! | failsafe | success rate of 30 s, or five failures in a row | yes | an adapter of ours |
//! | recloser | the last 100 calls | yes | an adapter of ours |
//! | circuitbreaker-rs | all calls since the last transition; times each | yes | no |
//! | seatbelt | failure rate of 30 s | no | its own |
//! | tower-resilience-circuitbreaker | the last 100 calls | no | its own |
//!
//! An adapter is what its future-aware API asks for and no more: no box, and no
//! `poll_ready` of its own.

pub mod circuitbreaker_rs;
pub mod failsafe;
pub mod recloser;
pub mod seatbelt;
pub mod tower_resilience;

use std::time::Duration;

/// Long enough that no bench outlives it.
const WAIT_IN_OPEN: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests;
