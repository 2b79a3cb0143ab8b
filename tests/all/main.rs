//! Tests of behaviour across crates, one module each.
// The helpers are tests too, which clippy.toml does not see.
#![allow(clippy::unwrap_used)]

mod admin_changes;
mod admin_input;
mod admin_token;
mod black_box;
mod configuration;
mod database;
mod database_admin;
mod diagnosis;
mod fallback;
mod fallback_coalescing;
mod fallback_storm;
mod faults;
mod logs;
mod mistakes;
mod overrides;
mod pools;
mod rb004;
mod rb005;
mod rb006;
mod store_breaker;
