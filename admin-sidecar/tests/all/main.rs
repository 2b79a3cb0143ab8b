//! The sidecar beside a service that answers, hangs, dies and comes back.
// The helpers are tests too, which clippy.toml does not see.
#![allow(clippy::unwrap_used)]

mod binary;
mod database;
mod fallbacks;
mod guards;
mod overrides;
mod pools;
mod reads;
mod resets;
mod support;
