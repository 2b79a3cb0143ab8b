//! The last good answer, labelled, when an upstream cannot be asked.
//!
//! `terms` says how long an answer may be used, `record` is an answer as a store
//! keeps it, `store` holds records beyond this process.

mod counts;
mod handle;
mod key;
mod record;
mod rules;
mod settings;
mod shelf;
pub mod store;
mod terms;
mod wall;

pub use handle::{Fallback, FallbackBuilder};
pub use key::Key;
pub use record::Record;
pub use terms::Terms;
pub use wall::{ManualWallClock, WallClock};
