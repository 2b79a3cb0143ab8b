//! What this replica can do, told truthfully and at once.
//!
//! - [`Health`] runs the checks in the background, each with a deadline, and
//!   keeps their last results: a probe never waits for a database.
//! - [`verdict`] turns a [`HealthSnapshot`](crate::snapshot::HealthSnapshot)
//!   into `live`, `ready` and `startup`. Pure functions, so that a service and
//!   the sidecar, which may have read the snapshot from the black box, cannot
//!   disagree.
//! - [`health_router`] answers them under `/health/`.

mod check;
mod registry;
mod routes;
pub mod verdict;

pub use check::CheckOk;
pub use registry::{Health, RegisterError};
pub use routes::health_router;
pub use verdict::Verdict;
