//! The last good answer, labelled, when an upstream cannot be asked.
//!
//! `terms` says how long an answer may be used, `record` is an answer as a store
//! keeps it, `store` holds records beyond this process.

mod key;
mod record;
pub mod store;
mod terms;

pub use key::Key;
pub use record::{Record, RecordError};
pub use terms::Terms;
