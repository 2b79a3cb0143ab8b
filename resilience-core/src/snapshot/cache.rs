//! A cache in a picture of a service.

use serde::{Deserialize, Serialize};

/// One cache: what it holds now, and what was counted since it was made.
///
/// Each caller is a hit, a miss or coalesced. Taken while it is in use, the
/// numbers need not be of the same instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CacheSnapshot {
    /// Callers that got a stored answer.
    pub hits: u64,
    /// Callers that had to fetch: so many fetches were begun.
    pub misses: u64,
    /// Callers that waited for the fetch of another.
    pub coalesced: u64,
    /// Fetches that run now.
    pub fetching: u64,
    /// Answers that had to make room for others.
    pub evictions: u64,
    /// Answers that were not stored because they did not fit.
    pub too_large: u64,
    /// Answers stored, whatever their age.
    pub entries: u64,
    /// Bytes that are counted for them.
    pub bytes: u64,
    /// The most it may hold.
    pub most_bytes: u64,
}
