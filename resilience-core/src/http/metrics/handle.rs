//! The counts of a service's HTTP requests.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use ::http::StatusCode;
use axum::extract::MatchedPath;

use super::table::{Method, Table};
use crate::snapshot::HttpSnapshot;

/// How many series there are at most, what is folded aside.
const LIMIT: usize = 200;

/// Counts of finished HTTP requests, and of those in flight. Cheap to clone.
///
/// **Start and end.** A request is in flight from the call of the service
/// until the head of its response is ready; then it is counted, with the time
/// this took. A streamed body is not waited for. A request dropped before (the
/// client hung up, a timeout outside of this layer) is counted with status
/// 499, which nginx gave the meaning *client closed request*; one whose
/// handler panics with status 500.
///
/// **Labels** come from code, never from the request: the route is the
/// pattern that matched, `unmatched` where none did (then the raw path could be
/// anything), and a method HTTP does not define is `other`. So is the method of
/// a 405, where the client has chosen one that the route does not have: it
/// could fill the table by trying them all.
///
/// **Bound.** 200 series. What comes later is counted under route and method
/// `other` with the first status of its class (200, 400, …), and how many
/// these are is said in [`HttpSnapshot::folded`].
///
/// **Cost.** A known series takes a load of a pointer, a hash of the route and
/// a few atomic additions; no lock, no allocation. A new one copies the table,
/// under a lock.
#[derive(Clone)]
pub struct HttpMetrics {
    shared: Arc<Shared>,
}

struct Shared {
    in_flight: AtomicU64,
    table: Table,
}

impl HttpMetrics {
    /// Nothing counted yet.
    #[must_use]
    pub fn new() -> Self {
        Self::with_limit(LIMIT)
    }

    pub(super) fn with_limit(limit: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                in_flight: AtomicU64::new(0),
                table: Table::new(limit),
            }),
        }
    }

    /// What was counted so far.
    #[must_use]
    pub fn snapshot(&self) -> HttpSnapshot {
        HttpSnapshot {
            in_flight: self.shared.in_flight.load(Relaxed),
            series: self.shared.table.snapshot(),
            folded: self.shared.table.folded(),
        }
    }

    /// The request is handed to the handler: [`InFlight::leave`] comes after.
    pub(super) fn start(&self, method: &::http::Method, route: Option<MatchedPath>) -> InFlight {
        // ordering: Relaxed here and below, a gauge that publishes nothing.
        self.shared.in_flight.fetch_add(1, Relaxed);
        InFlight {
            metrics: self.clone(),
            method: Method::of(method),
            route,
            since: Instant::now(),
            inside: true,
            counted: false,
        }
    }
}

impl Default for HttpMetrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for HttpMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpMetrics").finish_non_exhaustive()
    }
}

/// A request in flight; counted once, at the latest on drop.
#[derive(Debug)]
pub(super) struct InFlight {
    metrics: HttpMetrics,
    method: Method,
    route: Option<MatchedPath>,
    since: Instant,
    /// The handler's code is running: still set on drop, it has panicked. Not
    /// `std::thread::panicking`, which is over by the time of the drop when a
    /// layer outside catches the panic.
    inside: bool,
    counted: bool,
}

impl InFlight {
    pub(super) fn enter(&mut self) {
        self.inside = true;
    }

    pub(super) fn leave(&mut self) {
        self.inside = false;
    }

    pub(super) fn finish(&mut self, status: StatusCode) -> Finished<'_> {
        let took = self.since.elapsed();
        let method = if status == StatusCode::METHOD_NOT_ALLOWED {
            Method::OTHER
        } else {
            self.method
        };
        let route = self.route.as_ref().map_or("unmatched", MatchedPath::as_str);
        if !self.counted {
            self.counted = true;
            let shared = &self.metrics.shared;
            shared.table.record(method, route, status, took);
            shared.in_flight.fetch_sub(1, Relaxed);
        }
        Finished {
            method: self.method.as_str(),
            route,
            status,
            took,
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.counted {
            return;
        }
        if self.inside {
            self.finish(StatusCode::INTERNAL_SERVER_ERROR)
                .log_if_failed("the handler panicked");
        } else {
            let closed = StatusCode::from_u16(499).expect("499 is between 100 and 999");
            self.finish(closed);
        }
    }
}

/// How a request ended.
pub(super) struct Finished<'a> {
    method: &'static str,
    route: &'a str,
    status: StatusCode,
    took: Duration,
}

impl Finished<'_> {
    /// Logs a 5xx at ERROR, with class `http_500`, `http_503` and so on.
    pub(super) fn log_if_failed(&self, why: &str) {
        if self.status.is_server_error() {
            let status = self.status.as_u16();
            tracing::error!(
                target: "http",
                class = %format_args!("http_{status}"),
                method = self.method,
                route = self.route,
                status,
                "{why} after {} ms",
                self.took.as_millis()
            );
        }
    }
}
