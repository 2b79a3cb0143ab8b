//! The last good answer, labelled, when an upstream cannot be asked.
//!
//! [`Fallback`] is the handle of one service: its settings, its switch, its answers.
//! [`FallbackLayer`] puts it around a tower service of any kind, [`HttpFallbackLayer`]
//! around one of HTTP.
//!
//! From the inside out: `terms` and `rules` say what an answer of some age is good
//! for, `shelf` holds the answers of one type, `flow` is the way of one call,
//! whatever is called; `layer`, `service` and `future` are that for tower, and `http` for
//! HTTP. `record` is an answer as a store keeps it, `store` holds records beyond this
//! process.

mod codec;
mod counts;
mod error;
mod flow;
mod future;
mod handle;
mod http;
mod key;
mod layer;
mod oneshot;
mod record;
mod rules;
mod served;
mod service;
mod settings;
mod shelf;
pub mod store;
mod terms;
#[cfg(test)]
mod tests;
mod wall;

pub use codec::{BoxError, Codec};
pub use error::{FallbackError, Tried};
pub use future::ResponseFuture;
pub use handle::{Fallback, FallbackBuilder};
pub use http::{
    AskOther, FallbackBody, HttpFallbackLayer, HttpFallbackService, HttpResponseFuture, NoOther,
    Other,
};
pub use key::Key;
pub use layer::FallbackLayer;
pub use record::{Record, RecordError};
pub use rules::OLDEST;
pub use served::{Answered, Served, Source};
pub use service::FallbackService;
pub use terms::Terms;
pub use wall::{ManualWallClock, WallClock};
