//! A cache line of one's own.

/// Keeps what many threads write away from what they only read. 128 bytes: two
/// lines, because the prefetcher fetches them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Lined<T>(pub(crate) T);
