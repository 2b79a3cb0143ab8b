//! The stores of the fallback: real servers, real processes, and what goes wrong
//! with them.
#![allow(missing_docs, clippy::unwrap_used)]

mod file;
mod redis;
mod redis_faults;
mod redis_tls;
mod storm;
mod support;
