//! A connection pool in a [`Snapshot`](super::Snapshot).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One connection pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PoolSnapshot {
    /// Its name, the `pool` label.
    pub name: String,
    /// The limit now: `pool_size` + `max_overflow`.
    pub size: u32,
    /// Connections that are kept when nobody uses them.
    pub pool_size: u32,
    /// Connections beyond those in a rush.
    pub max_overflow: u32,
    /// Connections that exist: in use, idle, and on their way in or out.
    pub open: u32,
    /// Checked out.
    pub in_use: u32,
    /// Open and waiting for a caller.
    pub idle: u32,
    /// Callers that wait for a connection.
    pub waiting: u32,
    /// Whether the server answers, as far as the pool knows.
    pub server: ServerState,
    /// Since when that is so.
    pub server_since: Option<Timestamp>,
    /// The last time that no connection could be made, and why; also when the
    /// server is up again.
    pub last_connect_error: Option<ConnectErrorSnapshot>,
    /// What was counted since the pool was made.
    pub totals: PoolTotals,
    /// How long callers waited for a connection.
    pub wait: PoolDurations,
    /// How long connections were out.
    pub usage: PoolDurations,
    /// How long it took to make a connection.
    pub connect: PoolDurations,
    /// How long statements took.
    pub query: PoolDurations,
    /// Who holds connections, those that hold theirs longest first; at most
    /// [`PoolSnapshot::MOST_HOLDERS`].
    pub holders: Vec<HolderSnapshot>,
}

impl PoolSnapshot {
    /// So many holders are in a snapshot.
    pub const MOST_HOLDERS: usize = 64;
}

/// Whether the server answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerState {
    /// Nobody has asked it yet, or a connection was lost and no other made since.
    #[default]
    Unknown,
    /// The last connection could be made.
    Up,
    /// None can be made; one prober keeps trying.
    Down,
}

/// Why no connection could be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectErrorSnapshot {
    /// When.
    pub at: Timestamp,
    /// `refused`, `auth`, `too_many_connections`, `starting_up`, `timeout`, `tls`
    /// or `other`.
    pub kind: String,
    /// What the server or the system said, on one line.
    pub message: String,
}

/// Counts of a pool. They never go back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PoolTotals {
    /// Connections handed out.
    pub checkouts: u64,
    /// Callers that got none in time.
    pub timeouts: u64,
    /// Connections that were out for longer than `leak_threshold`.
    pub leaks: u64,
    /// Attempts to make a connection.
    pub dials: u64,
    /// Those that failed.
    pub dial_failures: u64,
    /// Connections ended by the pool: too old, idle for too long, in doubt.
    pub recycled: u64,
    /// Statements that were given up and cancelled on the server.
    pub cancelled: u64,
    /// Sessions that were cleaned before the next user got them.
    pub cleaned: u64,
    /// Statements slower than `slow_query`.
    pub slow_queries: u64,
    /// Times that one request repeated a statement too often (N+1).
    pub repeated_queries: u64,
}

/// A histogram of seconds with the bounds of [`PoolDurations::BOUNDS`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PoolDurations {
    /// Counts per bucket (not cumulative), one more than there are bounds.
    pub counts: Vec<u64>,
    /// Sum of all durations in seconds.
    pub sum_seconds: f64,
}

impl PoolDurations {
    /// Upper bounds in seconds, inclusive. Finer than those of breakers at the
    /// low end: a local statement takes some hundred microseconds.
    pub const BOUNDS: [f64; 14] = [
        0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    ];
}

/// Who holds a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HolderSnapshot {
    /// Where in the code it was checked out: `src/orders.rs:42`.
    pub place: String,
    /// For how long, in milliseconds.
    pub held_ms: u64,
    /// The request that did, if there was one.
    pub correlation_id: Option<String>,
    /// The last statement on it, without literals.
    pub last_sql: Option<String>,
    /// Whether a statement is running on it right now.
    pub busy: bool,
    /// The server process that serves it (`pg_stat_activity.pid`).
    pub backend_pid: Option<i32>,
    /// Held for longer than `leak_threshold`.
    pub suspected_leak: bool,
}
