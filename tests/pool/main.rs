//! The pool against a real PostgreSQL that is killed, frozen, restarted, cut off.
#![allow(missing_docs, clippy::unwrap_used)]

mod abandoned;
mod checkout;
mod diagnosis;
mod dirty;
mod errors;
mod exhausted;
mod failover;
mod idle;
mod leaks;
mod network;
mod outage;
mod resize;
mod silence;
mod storm;
mod support;
mod tls;
