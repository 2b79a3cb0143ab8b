//! What HTTP says about keeping an answer, an answer in bytes, and the layer for it.
//!
//! The layer is `layer`, `service` and `future`; `exchange` makes a call and `heard` reads what its
//! answer says, `stored` is what is kept, `other` is another service to ask.
//!
//! The rest is pure: no clock, no task, nothing that is shared. `wanted` reads a
//! request, `keep` an answer, both with the parser in `directives`; `key` and `vary`
//! say under which key an answer is kept, `answer` is what is kept, `body` reads and
//! gives bodies, `cache_status` says in a header what was done.

mod answer;
mod body;
mod cache_status;
mod directives;
mod exchange;
mod future;
mod heard;
mod hop;
mod hot;
mod keep;
mod key;
mod layer;
mod lines;
mod other;
mod service;
mod shared;
mod stored;
#[cfg(test)]
mod tests;
mod vary;
mod wanted;

pub(crate) use answer::{Given, HttpAnswer};
pub use body::FallbackBody;
pub(crate) use body::{Collected, collect};
pub(crate) use cache_status::{CacheStatus, Forwarded, age, append};
pub use future::HttpResponseFuture;
pub(crate) use keep::{Keep, terms};
pub use layer::HttpFallbackLayer;
pub use other::{AskOther, NoOther, Other};
pub use service::HttpFallbackService;
pub(crate) use vary::{Vary, variant_key};
pub(crate) use wanted::{Ask, Wanted, passes, wanted};
