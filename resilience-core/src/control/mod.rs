//! The control plane: admin routes, the thread that serves them, the black box.

mod source;

pub use source::{
    AdminSource, Condition, Observed, Receipt, ResetError, ResetOutcome, ResetRequest, Unavailable,
};
