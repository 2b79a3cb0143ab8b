//! Other circuit breakers, set up and driven as ours is, and what the benches
//! measure them with.
//!
//! The benches are the files beside this folder; how to read their numbers is in
//! `benches/README.md`.
#![forbid(unsafe_code)]

pub mod floor;
pub mod peers;
pub mod summary;
pub mod sync;
pub mod threads;
