//! What connection pools count.

use prometheus::proto::MetricFamily;

use super::series::{Labels, counter, gauge, histogram, number};
use crate::snapshot::{PoolDurations, PoolSnapshot, PoolTotals, ServerState};

/// A gauge: name, help, value.
type Gauge = (&'static str, &'static str, fn(&PoolSnapshot) -> u32);
type Counter = (&'static str, &'static str, fn(&PoolTotals) -> u64);
type Durations = (
    &'static str,
    &'static str,
    fn(&PoolSnapshot) -> &PoolDurations,
);

const GAUGES: [Gauge; 6] = [
    (
        "db_connection_pool_size",
        "The limit now: pool_size + max_overflow",
        |pool| pool.size,
    ),
    (
        "db_connection_pool_in_use",
        "Connections checked out",
        |pool| pool.in_use,
    ),
    (
        "db_connection_pool_open",
        "Connections that exist: in use, idle, and on their way in or out",
        |pool| pool.open,
    ),
    (
        "db_connection_pool_idle",
        "Connections that are open and wait for a caller",
        |pool| pool.idle,
    ),
    (
        "db_connection_pool_waiting",
        "Callers that wait for a connection",
        |pool| pool.waiting,
    ),
    (
        "db_connection_pool_up",
        "0 while no connection to the server can be made, else 1",
        // Nobody has asked it yet, or one connection was lost: nothing to
        // wake anybody for.
        |pool| u32::from(pool.server != ServerState::Down),
    ),
];

const COUNTERS: [Counter; 9] = [
    (
        "db_connection_pool_timeouts_total",
        "Callers that got no connection in time",
        |totals| totals.timeouts,
    ),
    (
        "db_connection_pool_leaks_total",
        "Connections that were out for longer than leak_threshold",
        |totals| totals.leaks,
    ),
    (
        "db_connection_pool_dials_total",
        "Attempts to make a connection",
        |totals| totals.dials,
    ),
    (
        "db_connection_pool_dial_failures_total",
        "Attempts to make a connection that failed",
        |totals| totals.dial_failures,
    ),
    (
        "db_connection_pool_recycled_total",
        "Connections ended by the pool: too old, idle for too long, or in doubt",
        |totals| totals.recycled,
    ),
    (
        "db_connection_pool_cleaned_total",
        "Sessions that were cleaned before the next user got them",
        |totals| totals.cleaned,
    ),
    (
        "db_cancelled_queries_total",
        "Statements that were given up and cancelled on the server",
        |totals| totals.cancelled,
    ),
    (
        "db_slow_queries_total",
        "Statements slower than slow_query",
        |totals| totals.slow_queries,
    ),
    (
        "db_repeated_queries_total",
        "Times that one request repeated a statement too often",
        |totals| totals.repeated_queries,
    ),
];

const HISTOGRAMS: [Durations; 4] = [
    (
        "db_connection_pool_wait_seconds",
        "How long callers waited for a connection",
        |pool| &pool.wait,
    ),
    (
        "db_connection_pool_use_seconds",
        "How long connections were out",
        |pool| &pool.usage,
    ),
    (
        "db_connection_pool_connect_seconds",
        "How long it took to make a connection",
        |pool| &pool.connect,
    ),
    (
        "db_query_duration_seconds",
        "How long statements took",
        |pool| &pool.query,
    ),
];

pub(super) fn pools(pools: &[PoolSnapshot]) -> Vec<MetricFamily> {
    let gauges = GAUGES.iter().map(|(name, help, value)| {
        let series = pools
            .iter()
            .map(|pool| (label(pool), f64::from(value(pool))));
        gauge(name, help, series)
    });
    let counters = COUNTERS.iter().map(|(name, help, value)| {
        let series = pools
            .iter()
            .map(|pool| (label(pool), number(value(&pool.totals))));
        counter(name, help, series)
    });
    let histograms = HISTOGRAMS.iter().map(|(name, help, value)| {
        // Empty in a snapshot of a version that did not measure them.
        let measured = pools
            .iter()
            .filter(|pool| !value(pool).counts.is_empty())
            .map(|pool| (label(pool), value(pool)));
        histogram(name, help, measured)
    });
    gauges.chain(counters).chain(histograms).collect()
}

fn label(pool: &PoolSnapshot) -> Labels<'_> {
    vec![("pool", pool.name.as_str())]
}
