//! The bounded table of series: reads without a lock, grows by copying.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use ::http::{Method as HttpMethod, StatusCode};
use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::snapshot::{DurationHistogram, HttpSeries};

/// Route, and method, of what did not fit.
const OTHER: &str = "other";

/// The methods that get a series of their own: those a service can define a
/// handler for. Any other token is data from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Method(&'static str);

impl Method {
    pub(super) const OTHER: Self = Self(OTHER);

    pub(super) fn of(method: &HttpMethod) -> Self {
        const KNOWN: [&str; 9] = [
            "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "CONNECT", "TRACE",
        ];
        let known = KNOWN.into_iter().find(|known| *known == method.as_str());
        Self(known.unwrap_or(OTHER))
    }

    pub(super) fn as_str(self) -> &'static str {
        self.0
    }
}

/// Counts by method, route and status; see [`HttpMetrics`](super::HttpMetrics)
/// for what it promises.
///
/// The table is replaced as a whole when a series is added, which happens at
/// most `limit` times in the life of a process. In exchange a request that
/// finds its series takes no lock and touches no cache line that another
/// route writes to.
pub(super) struct Table {
    limit: usize,
    routes: ArcSwap<Routes>,
    /// Held while a series is added, so that two of them are not lost to each
    /// other.
    growing: Mutex<()>,
    /// One per status class, 1xx to 9xx, made beforehand: what is folded can
    /// never need room itself.
    overflow: [Series; 9],
    folded: AtomicU64,
}

type Routes = HashMap<Arc<str>, Vec<(Method, StatusCode, Arc<Series>)>>;

impl Table {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            routes: ArcSwap::default(),
            growing: Mutex::new(()),
            overflow: std::array::from_fn(|_| Series::default()),
            folded: AtomicU64::new(0),
        }
    }

    pub(super) fn record(&self, method: Method, route: &str, status: StatusCode, took: Duration) {
        if let Some(series) = find(&self.routes.load(), method, route, status) {
            return series.record(took);
        }
        match self.add(method, route, status) {
            Some(series) => series.record(took),
            None => {
                // A status is 100 to 999, so its class is 1 to 9.
                let class = usize::from(status.as_u16() / 100).clamp(1, 9);
                self.overflow[class - 1].record(took);
                self.folded.fetch_add(1, Relaxed);
            }
        }
    }

    fn add(&self, method: Method, route: &str, status: StatusCode) -> Option<Arc<Series>> {
        // A full table never shrinks: seen before the lock, so that folding
        // costs none.
        if size(&self.routes.load()) >= self.limit {
            return None;
        }
        let _growing = self.growing.lock();
        let old = self.routes.load_full();
        if let Some(series) = find(&old, method, route, status) {
            return Some(Arc::clone(series));
        }
        if size(&old) >= self.limit {
            return None;
        }
        let mut new = Routes::clone(&old);
        let series = Arc::<Series>::default();
        new.entry(route.into())
            .or_default()
            .push((method, status, Arc::clone(&series)));
        self.routes.store(Arc::new(new));
        Some(series)
    }

    pub(super) fn folded(&self) -> u64 {
        self.folded.load(Relaxed)
    }

    /// All series, in the order of route, method and status.
    pub(super) fn snapshot(&self) -> Vec<HttpSeries> {
        let routes = self.routes.load();
        let mut all: Vec<_> = routes
            .iter()
            .flat_map(|(route, series)| {
                series.iter().map(|(method, status, series)| {
                    series.snapshot(*method, route, status.as_u16())
                })
            })
            .collect();
        let folded = (1..)
            .zip(&self.overflow)
            .map(|(class, series)| series.snapshot(Method::OTHER, OTHER, class * 100));
        all.extend(folded.filter(|series| series.count > 0));
        all.sort_by(|a, b| (&a.route, &a.method, a.status).cmp(&(&b.route, &b.method, b.status)));
        all
    }
}

fn find<'a>(
    routes: &'a Routes,
    method: Method,
    route: &str,
    status: StatusCode,
) -> Option<&'a Arc<Series>> {
    // A handful a route: cheaper to walk through than to hash.
    let of_route = routes.get(route)?;
    let found = of_route
        .iter()
        .find(|(m, s, _)| *m == method && *s == status);
    found.map(|(_, _, series)| series)
}

fn size(routes: &Routes) -> usize {
    routes.values().map(Vec::len).sum()
}

/// Counts of one series.
///
/// ordering: Relaxed throughout. Each cell only grows and publishes nothing; a
/// snapshot taken in the middle of a `record` may lack its time and have its
/// count, as if it were taken a moment earlier.
#[derive(Default)]
struct Series {
    buckets: [AtomicU64; DurationHistogram::BOUNDS.len() + 1],
    /// 584 years of requests fit in.
    sum_ns: AtomicU64,
}

impl Series {
    fn record(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = DurationHistogram::BOUNDS.partition_point(|bound| *bound < seconds);
        self.buckets[bucket].fetch_add(1, Relaxed);
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.sum_ns.fetch_add(ns, Relaxed);
    }

    fn snapshot(&self, method: Method, route: &str, status: u16) -> HttpSeries {
        let sum_seconds = Duration::from_nanos(self.sum_ns.load(Relaxed)).as_secs_f64();
        let counts: Vec<u64> = self.buckets.iter().map(|b| b.load(Relaxed)).collect();
        HttpSeries {
            method: method.as_str().to_owned(),
            route: route.to_owned(),
            status,
            // Not a cell of its own: so that it always agrees with the buckets.
            count: counts.iter().sum(),
            durations: DurationHistogram {
                counts,
                sum_seconds,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn status(code: u16) -> StatusCode {
        StatusCode::from_u16(code).expect("a status")
    }

    #[test]
    fn a_duration_on_a_bound_is_in_the_bucket_below_it() {
        let table = Table::new(10);
        for took in [Duration::ZERO, 5 * MS, 6 * MS, 10_000 * MS, 10_001 * MS] {
            table.record(Method("GET"), "/a", status(200), took);
        }
        let series = &table.snapshot()[0];
        assert_eq!(
            series.durations.counts,
            [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]
        );
        assert_eq!(series.count, 5);
        assert!((series.durations.sum_seconds - 20.012).abs() < 1e-9);
    }

    #[test]
    fn what_does_not_fit_is_folded_by_status_class_and_counted() {
        let table = Table::new(2);
        let record = |route, code| table.record(Method("GET"), route, status(code), MS);
        record("/a", 200);
        record("/b", 200);
        record("/c", 200);
        record("/a", 503);
        record("/d", 504);
        record("/a", 200);
        let seen: Vec<_> = table.snapshot();
        let seen: Vec<_> = seen
            .iter()
            .map(|s| (s.method.as_str(), s.route.as_str(), s.status, s.count))
            .collect();
        assert_eq!(
            seen,
            [
                ("GET", "/a", 200, 2),
                ("GET", "/b", 200, 1),
                ("other", "other", 200, 1),
                ("other", "other", 500, 2),
            ]
        );
        assert_eq!(table.folded(), 3);
    }

    #[test]
    fn no_request_is_lost_while_the_table_grows() {
        let table = Table::new(50);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for n in 0..2_000_u16 {
                        let route = format!("/{}", n % 100);
                        table.record(Method("GET"), &route, status(200), MS);
                    }
                });
            }
        });
        let series = table.snapshot();
        assert_eq!(series.len(), 51);
        assert_eq!(series.iter().map(|s| s.count).sum::<u64>(), 8_000);
    }
}
