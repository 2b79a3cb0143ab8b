//! What is done to a database while a pool is in use, and what is measured.

mod abandon;
mod dirty;
mod freeze;
mod kill;
mod resize;

use std::time::{Duration, Instant};

pub(crate) use abandon::abandon;
pub(crate) use dirty::dirty;
pub(crate) use freeze::freeze;
pub(crate) use kill::{Outage, kill};
pub(crate) use resize::resize;

use crate::crowd::CALLERS;

/// Connections of a pool, in all programs with many callers.
const POOL_SIZE: u32 = 8;
/// How long the callers of an outage wait for a connection: longer than it.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long everybody may take to be served again; who takes longer is given up.
pub(crate) const GIVE_UP: Duration = Duration::from_secs(20);

const _: () = assert!(CALLERS > POOL_SIZE as usize, "some of them have to wait");

/// From one instant to another in milliseconds; 0 if the other was earlier.
fn ms_between(from: Instant, to: Instant) -> f64 {
    ms(to.saturating_duration_since(from))
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
