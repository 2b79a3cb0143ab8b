//! The control plane: the admin API, the thread that serves it, the black box.
//!
//! A thread of its own with a runtime of its own serves the API on a Unix
//! socket, so it answers while the service's runtime is wedged. It publishes
//! the black box, which answers when the process cannot.

mod change;
pub(crate) mod concerns;
mod explain;
mod local;
mod receipt;
mod refusal;
mod request;
mod routes;
pub mod socket;
mod source;
mod thread;
mod words;

pub use crate::blackbox;
pub use change::{Action, ChangeError, ChangeRequest, NewLimits, Subject};
pub use explain::Explanation;
pub(crate) use explain::why;
pub use local::BLOCKED_AFTER;
pub use receipt::{
    BreakerReceipt, ChangeOutcome, FallbackReceipt, FallbackSwitch, PoolLimits, PoolReceipt,
    Receipt,
};
pub use request::{ACTOR_HEADER, MOST_BODY, NOT_AFTER_HEADER};
pub use routes::{admin_router, nearest};
pub use source::{AdminSource, Condition, Observed, Unavailable};

pub(crate) use local::{LocalSource, TakeSnapshot};
pub use thread::ControlError;
pub(crate) use thread::{ControlThread, Plan};
pub(crate) use words::{effect, until};
