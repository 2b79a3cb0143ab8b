//! The control plane: the admin API, the thread that serves it, the black box.
//!
//! A thread of its own with a runtime of its own serves the API on a Unix
//! socket, so it answers while the service's runtime is wedged. It publishes
//! the black box, which answers when the process cannot.

mod explain;
mod local;
mod routes;
pub mod socket;
mod source;
mod thread;

pub use crate::blackbox;
pub use explain::Explanation;
pub use local::BLOCKED_AFTER;
pub use routes::{ACTOR_HEADER, MOST_BODY, NOT_AFTER_HEADER, admin_router, nearest};
pub use source::{
    AdminSource, Condition, Observed, Receipt, ResetError, ResetOutcome, ResetRequest, Unavailable,
};

pub(crate) use local::{LocalSource, TakeSnapshot};
pub use thread::ControlError;
pub(crate) use thread::{ControlThread, Plan};
