//! HTTP requests in a [`Snapshot`](super::Snapshot).

use serde::{Deserialize, Serialize};

use super::DurationHistogram;

/// HTTP requests of the service's own port.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HttpSnapshot {
    /// Requests that have started and not finished.
    pub in_flight: u64,
    /// Finished requests; bounded, what did not fit is under route `other`.
    pub series: Vec<HttpSeries>,
    /// Requests that were counted under `other` because the table was full.
    pub folded: u64,
}

/// Finished requests of one method, route and status.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HttpSeries {
    /// Method, `other` for one that HTTP does not define.
    pub method: String,
    /// The route's pattern, never the raw path; `unmatched` where none is.
    pub route: String,
    /// Status code.
    pub status: u16,
    /// How many.
    pub count: u64,
    /// How long they took until the response head was ready.
    pub durations: DurationHistogram,
}
