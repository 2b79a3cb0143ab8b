//! What HTTP says about keeping an answer, and an answer in bytes.
//!
//! All of this is pure: no clock, no task, nothing that is shared. `wanted` reads a
//! request, `keep` an answer, both with the parser in `directives`; `key` and `vary`
//! say under which key an answer is kept, `answer` is what is kept, `body` reads and
//! gives bodies, `cache_status` says in a header what was done.

mod answer;
mod body;
mod cache_status;
mod directives;
mod hop;
mod keep;
mod key;
mod vary;
mod wanted;

pub(crate) use answer::{BadAnswer, HttpAnswer};
pub use body::FallbackBody;
pub(crate) use body::{Collected, collect};
pub(crate) use cache_status::{CacheStatus, Forwarded, append};
pub(crate) use keep::{Keep, terms};
pub(crate) use vary::{BadVary, Vary, variant_key};
pub(crate) use wanted::{Ask, Wanted, wanted};
