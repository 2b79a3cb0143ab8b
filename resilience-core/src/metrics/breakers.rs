//! What breakers count.

use prometheus::proto::MetricFamily;

use super::series::{Labels, counter, gauge, histogram, number};
use crate::snapshot::{BreakerSnapshot, CallTotals, Snapshot};

/// The calls of breakers and families. One of each may have the same name, and
/// no label tells them apart: a key is never a label.
pub(super) fn calls_by_name(snapshot: &Snapshot) -> Vec<(&str, CallTotals)> {
    let breakers = snapshot
        .breakers
        .iter()
        .map(|b| (b.name.as_str(), b.totals));
    let families = snapshot.keyed.iter().map(|k| (k.name.as_str(), k.totals));
    let mut calls: Vec<(&str, CallTotals)> = breakers.collect();
    for (name, totals) in families {
        match calls.iter_mut().find(|(other, _)| *other == name) {
            Some((_, sum)) => *sum += totals,
            None => calls.push((name, totals)),
        }
    }
    calls
}

pub(super) fn breakers(
    breakers: &[BreakerSnapshot],
    calls: &[(&str, CallTotals)],
) -> Vec<MetricFamily> {
    let each = |value: fn(&BreakerSnapshot) -> f64| -> Vec<(Labels<'_>, f64)> {
        breakers
            .iter()
            .map(|b| (vec![("service", b.name.as_str())], value(b)))
            .collect()
    };
    let failures = calls
        .iter()
        .map(|(name, totals)| (vec![("service", *name)], number(totals.failure)));
    let outcomes = calls.iter().flat_map(|(name, totals)| {
        [
            ("success", totals.success),
            ("failure", totals.failure),
            ("ignored", totals.ignored),
            ("rejected", totals.rejected),
            ("cancelled", totals.cancelled),
        ]
        .map(|(outcome, count)| {
            (
                vec![("service", *name), ("outcome", outcome)],
                number(count),
            )
        })
    });
    let transitions = breakers.iter().flat_map(|b| {
        b.transitions.iter().map(|t| {
            let labels = vec![
                ("service", b.name.as_str()),
                ("from", t.from.as_str()),
                ("to", t.to.as_str()),
                ("cause", t.cause.as_str()),
            ];
            (labels, number(t.count))
        })
    });
    let overrides = breakers.iter().filter_map(|b| {
        let set = b.overridden.as_ref()?;
        let labels = vec![("service", b.name.as_str()), ("kind", set.kind.as_str())];
        Some((labels, 1.0))
    });
    let durations = breakers
        .iter()
        .filter(|b| !b.durations.counts.is_empty())
        .map(|b| (vec![("service", b.name.as_str())], &b.durations));
    vec![
        gauge(
            "circuit_breaker_state",
            "State of the circuit: 0 closed, 1 half-open, 2 open; forced open is 2, disabled 0",
            each(|b| f64::from(b.gauge())),
        ),
        gauge(
            "circuit_breaker_computed_state",
            "What the state machine says, whatever is set by hand: 0 closed, 1 half-open, 2 open",
            each(|b| f64::from(b.computed_state.gauge())),
        ),
        gauge(
            "circuit_breaker_override",
            "1 while an override of this kind is set by hand; no series without one",
            overrides,
        ),
        gauge(
            "circuit_breaker_slow_calls_running",
            "Calls that still run and are slower than slow_call_duration already",
            each(|b| f64::from(b.slow_running)),
        ),
        counter(
            "circuit_breaker_failures_total",
            "Calls that failed",
            failures,
        ),
        counter("circuit_breaker_calls_total", "Calls by outcome", outcomes),
        counter(
            "circuit_breaker_slow_calls_total",
            "Calls slower than slow_call_duration",
            each(|b| number(b.totals.slow)),
        ),
        counter(
            "circuit_breaker_stale_calls_total",
            "Calls that finished in a later generation than they were admitted in",
            each(|b| number(b.totals.stale)),
        ),
        counter(
            "circuit_breaker_transitions_total",
            "Changes of state",
            transitions,
        ),
        counter(
            "circuit_breaker_open_seconds_total",
            "Time spent open",
            each(|b| number(b.open_ms_total) / 1000.0),
        ),
        gauge(
            "circuit_breaker_failure_ratio",
            "Failed share of the calls in the window",
            each(|b| b.window.failure_ratio()),
        ),
        gauge(
            "circuit_breaker_slow_call_ratio",
            "Slow share of the calls in the window",
            each(|b| b.window.slow_ratio()),
        ),
        histogram(
            "circuit_breaker_call_duration_seconds",
            "How long finished calls took",
            durations,
        ),
    ]
}
