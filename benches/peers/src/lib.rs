//! Other circuit breakers, pools and caches, set up and driven as ours are, and what the
//! benches measure them with.
//!
//! The benches are the files beside this folder; how to read their numbers is in
//! `benches/README.md`.
#![forbid(unsafe_code)]

pub mod caches;
pub mod floor;
pub mod peers;
pub mod pools;
pub mod summary;
pub mod sync;
pub mod threads;
