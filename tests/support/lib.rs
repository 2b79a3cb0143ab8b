//! What the tests across crates share: the whole picture in real processes,
//! and ways to look at it precisely.
//!
//! Everything in here is for tests: what goes wrong panics with what was seen.
#![forbid(unsafe_code)]

pub mod client;
mod http;
pub mod lone;
mod metrics;
mod processes;
mod stack;
mod storms;
mod wait;

pub use http::{Answer, get, post, send, try_get};
pub use metrics::Metrics;
pub use processes::{descendants, is_running};
pub use stack::{BREAKER, Stack, StackBuilder};
pub use storms::kills;
pub use wait::{SOON, eventually};
