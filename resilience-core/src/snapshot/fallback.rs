//! A fallback in a [`Snapshot`](super::Snapshot).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::CacheSnapshot;

/// The fallback of one service: what it holds now, and what was counted since it
/// was made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FallbackSnapshot {
    /// The service, the `service` label.
    pub name: String,
    /// Whether it answers in place of the upstream.
    pub enabled: bool,
    /// Whether the configuration says so.
    pub configured: bool,
    /// Who switched it by hand, if somebody did; the configuration does not count
    /// until that is undone.
    pub switched: Option<SwitchSnapshot>,
    /// `cache`, `static`, `service` or `none`.
    pub strategy: String,
    /// Where answers are kept: `memory`, `file` or `redis`.
    pub store: String,
    /// How long an answer is fresh, unless the upstream says otherwise.
    pub ttl_ms: u64,
    /// How old an answer may be to be served when the upstream fails.
    pub stale_limit_ms: u64,
    /// How callers were answered.
    pub responses: FallbackResponses,
    /// How old the answers were that were served stale.
    pub age: AgeHistogram,
    /// The answers in memory.
    pub cache: CacheSnapshot,
    /// Age of the oldest answer in memory, if there is one; may be an answer that
    /// was replaced within the last minute.
    pub oldest_ms: Option<u64>,
    /// Records of the second level that were not used: of another format or type,
    /// or from the future by more than a minute.
    pub unreadable: u64,
}

/// Who switched a fallback on or off by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchSnapshot {
    /// Who.
    pub actor: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// When.
    pub since: Timestamp,
}

/// Answers by where they came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FallbackResponses {
    /// From the upstream.
    pub live: u64,
    /// Stored, and as good as asking.
    pub fresh: u64,
    /// Stored, past its time, and better than a failure.
    pub stale: u64,
    /// The upstream failed, and nothing was stored.
    pub miss: u64,
    /// The upstream failed, and what was stored was too old.
    pub dead: u64,
    /// The upstream failed, and the fixed answer was given.
    pub fixed: u64,
    /// The upstream failed, and another service answered.
    pub other: u64,
}

/// A histogram of ages with the bounds of [`AgeHistogram::BOUNDS`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AgeHistogram {
    /// Counts per bucket (not cumulative), one more than there are bounds.
    pub counts: Vec<u64>,
    /// Sum of all ages in seconds.
    pub sum_seconds: f64,
}

impl AgeHistogram {
    /// Upper bounds in seconds, inclusive: a second to a week.
    pub const BOUNDS: [f64; 10] = [
        1.0, 10.0, 60.0, 300.0, 900.0, 3_600.0, 21_600.0, 86_400.0, 259_200.0, 604_800.0,
    ];
}

/// A store beyond this process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StoreSnapshot {
    /// `file` or `redis`, the `store` label.
    pub kind: String,
    /// Where it is: a path, or host and port. Never with a password.
    pub place: String,
    /// Whether the last thing asked of it was done.
    pub up: bool,
    /// Why not, and when that was last so; also when it is up again.
    pub last_error: Option<StoreErrorSnapshot>,
    /// Reads that found something.
    pub read_hits: u64,
    /// Reads that found nothing.
    pub read_misses: u64,
    /// Reads that failed, took too long, or were not tried while it is down.
    pub read_failures: u64,
    /// Records of another format, or damaged: skipped.
    pub unreadable: u64,
    /// Records written.
    pub written: u64,
    /// Records that could not be written, or had no room in the queue.
    pub not_written: u64,
    /// Records that wait to be written.
    pub pending: u64,
    /// Stored records that were read again and decoded, to see that they can be.
    pub shadow_reads: u64,
    /// Those that could not.
    pub shadow_failures: u64,
}

/// Why a store failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreErrorSnapshot {
    /// When.
    pub at: Timestamp,
    /// `timeout`, `open` or `failed`.
    pub kind: String,
    /// What it was, on one line.
    pub message: String,
}
