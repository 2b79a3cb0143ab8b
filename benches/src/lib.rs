//! What the benches of `resilience-core` share: our breakers as they are
//! measured, a service that is always ready, and a way to drive it.
//!
//! How to read the numbers is in `benches/README.md`.
#![forbid(unsafe_code)]

pub mod ceilings;
pub mod drive;
pub mod ours;
