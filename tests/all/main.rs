//! Tests of behaviour across crates, one module each.
// The helpers are tests too, which clippy.toml does not see.
#![allow(clippy::unwrap_used)]

mod faults;
mod rb004;
