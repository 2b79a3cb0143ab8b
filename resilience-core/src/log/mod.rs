//! Log lines that `grep`, `cut` and `sort` work on.
//!
//! ```text
//! TIME LEVEL SERVICE TARGET CLASS key:value… message
//! 2026-01-02T03:04:05.678Z ERROR payments-api http http_503 route:/payments correlation_id:abc123 answered 503
//! ```
//!
//! What an on-call engineer may rely on:
//!
//! - One record is one line, and fields are parted by single spaces. The
//!   first five never hold a space: field 2 is the level, field 5 the error
//!   class (`-` where there is none). Therefore
//!   `grep ERROR | cut -d' ' -f5 | sort | uniq -c` is the error distribution.
//! - No data can end a line, start one, or pass for one of its first five
//!   fields: control characters are escaped and values that could be
//!   misread are quoted as in JSON.
//! - A record of another level never contains the letters `ERROR`: `grep` has
//!   no idea of fields, and an `INFO` line about `ERROR_CODE` would be counted
//!   as an error of class `-`. They are written `error` there, inside words
//!   too, in every field. Lines of level ERROR are left as they are.
//! - A line is shorter than 16 KiB: that is where container runtimes cut lines
//!   in two. What is too long ends in `…`.
//!
//! JSON lines have the same fields under their names: `time`, `level`,
//! `service`, `target`, `class`, `message`, `fields`.

mod collect;
mod filter;
mod handle;
mod layer;
mod record;
mod span;
#[cfg(test)]
pub(crate) mod testing;
mod text;

pub use filter::{LogFilter, LogFilterError};
pub use handle::{LogError, LogHandle, LogOptions, init};
pub use layer::LineLayer;
pub use record::{Format, FormatError, Record};
pub use span::{STARTUP, correlation_span, startup, startup_failed};
