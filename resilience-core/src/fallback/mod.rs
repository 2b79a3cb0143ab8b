//! The last good answer, labelled, when an upstream cannot be asked.
//!
//! `terms` says how long an answer may be used, `record` is an answer as a store
//! keeps it, `store` holds records beyond this process.

#[allow(
    dead_code,
    unused_imports,
    reason = "for the HTTP layer, which comes next"
)]
mod http;
mod key;
mod record;
pub mod store;
mod terms;

pub use http::FallbackBody;
pub use key::Key;
pub use record::Record;
pub use terms::Terms;
