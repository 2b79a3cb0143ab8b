//! What the log says of a pool.

use std::{panic::Location, sync::atomic::Ordering::Relaxed, time::Duration};

use super::{
    desk::{Overdue, place_of},
    dial::ConnectError,
    error::PoolError,
    inner::Inner,
};

/// The words that the runbook greps for, at most once a second: in an incident
/// every caller has the same to say.
pub(super) fn no_connection(inner: &Inner, error: &PoolError) {
    let now_ms = inner.clock.now_ns() / 1_000_000;
    let last_ms = inner.exhaustion_told_ms.load(Relaxed);
    if last_ms != 0 && now_ms.saturating_sub(last_ms) < 1_000 {
        return;
    }
    let told = now_ms.max(1);
    // Of several that come at once, one tells.
    if inner
        .exhaustion_told_ms
        .compare_exchange(last_ms, told, Relaxed, Relaxed)
        .is_ok()
    {
        tracing::warn!(class = error.class(), pool = &*inner.name, "{error}");
    }
}

pub(super) fn server_is_down(inner: &Inner, error: &ConnectError) {
    tracing::warn!(
        class = "database_connect",
        pool = &*inner.name,
        kind = error.kind().as_str(),
        "the database cannot be reached, callers wait while one prober tries again: {error}"
    );
}

pub(super) fn server_is_back(inner: &Inner) {
    tracing::info!(pool = &*inner.name, "the database answers again");
}

pub(super) fn slow(
    inner: &Inner,
    place: &Location<'_>,
    statement: Option<&str>,
    took: Duration,
    limit: Duration,
) {
    tracing::warn!(
        class = "slow_query",
        pool = &*inner.name,
        place = place_of(place),
        statement = statement.unwrap_or("(prepared elsewhere)"),
        "Slow query detected ({}ms > {}ms)",
        took.as_millis(),
        limit.as_millis()
    );
}

pub(super) fn repeated(inner: &Inner, place: &Location<'_>, statement: &str, times: u32) {
    tracing::warn!(
        class = "repeated_query",
        pool = &*inner.name,
        place = place_of(place),
        statement = super::statement::normalise(statement),
        "the same statement {times} times in one request: one with a JOIN or an IN may do (N+1)"
    );
}

/// With the correlation id of the request that holds it, if one does: this is
/// written by a task that works for none.
pub(super) fn leak(inner: &Inner, overdue: &Overdue) {
    tracing::warn!(
        class = "pool_leak",
        pool = &*inner.name,
        place = place_of(overdue.place),
        held_ms = overdue.held_ns / 1_000_000,
        statement = overdue.statement.as_deref().unwrap_or("none"),
        correlation_id = overdue.correlation_id(),
        "Connection leak suspected: it is held for longer than leak_threshold"
    );
}

pub(super) fn late_return(inner: &Inner, overdue: &Overdue) {
    tracing::info!(
        class = "pool_leak",
        pool = &*inner.name,
        place = place_of(overdue.place),
        held_ms = overdue.held_ns / 1_000_000,
        // The line's own goes before that of the span it is written in.
        correlation_id = overdue.correlation_id(),
        "a connection that was suspected to be leaked was returned"
    );
}
