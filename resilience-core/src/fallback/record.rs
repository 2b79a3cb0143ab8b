//! An answer as a store keeps it.

use bytes::Bytes;

use super::Terms;

/// An answer in bytes, with what must be known to use it in another process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When somebody began to ask for it, in milliseconds since 1970 by the wall
    /// clock: the answer may be younger and is not older.
    pub asked_at_ms: u64,
    /// How long the upstream lets it be used.
    pub terms: Terms,
    /// What the payload is, and in which version of its format: `http/1`.
    pub kind: Box<str>,
    /// The answer.
    pub payload: Bytes,
}
