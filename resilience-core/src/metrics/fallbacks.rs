//! What fallbacks and their stores count.

use prometheus::proto::MetricFamily;

use super::series::{Labels, counter, gauge, histogram, number};
use crate::snapshot::{FallbackSnapshot, StoreSnapshot};

pub(super) fn fallbacks(fallbacks: &[FallbackSnapshot]) -> Vec<MetricFamily> {
    let each = |value: fn(&FallbackSnapshot) -> u64| {
        fallbacks
            .iter()
            .map(move |one| (label(one), number(value(one))))
    };
    let responses = fallbacks.iter().flat_map(|one| {
        let counts = one.responses;
        [
            ("live", counts.live),
            ("fresh", counts.fresh),
            ("stale", counts.stale),
            ("miss", counts.miss),
            ("dead", counts.dead),
            ("static", counts.fixed),
            ("service", counts.other),
        ]
        .map(|(source, count)| (with(label(one), "source", source), number(count)))
    });
    let by_hand = fallbacks
        .iter()
        .filter(|one| one.switched.is_some())
        .map(|one| (label(one), 1.0));
    // Empty in a snapshot of a version that did not measure them.
    let ages = fallbacks
        .iter()
        .filter(|one| !one.age.counts.is_empty())
        .map(|one| (label(one), &one.age));
    vec![
        counter(
            "fallback_responses_total",
            "Answers by where they came from; miss and dead: the upstream failed and nothing \
             that is young enough was stored",
            responses,
        ),
        histogram(
            "fallback_age_seconds",
            "How old the answers were that were served stale",
            ages,
        ),
        gauge(
            "fallback_enabled",
            "1 while it answers in place of the upstream, 0 while it is off",
            each(|one| one.enabled.into()),
        ),
        gauge(
            "fallback_switched_by_hand",
            "1 while it is switched on or off by hand; no series without that",
            by_hand,
        ),
        gauge(
            "fallback_cache_entries",
            "Answers in memory",
            each(|one| one.cache.entries),
        ),
        gauge(
            "fallback_cache_bytes",
            "Bytes counted for them",
            each(|one| one.cache.bytes),
        ),
        counter(
            "fallback_cache_evictions_total",
            "Answers that had to make room for others",
            each(|one| one.cache.evictions),
        ),
        counter(
            "fallback_coalesced_total",
            "Callers that waited for the call of another",
            each(|one| one.cache.coalesced),
        ),
        counter(
            "fallback_unreadable_total",
            "Stored records that were not used: of another format or type, or from the future",
            each(|one| one.unreadable),
        ),
    ]
}

pub(super) fn stores(stores: &[StoreSnapshot]) -> Vec<MetricFamily> {
    let up = stores
        .iter()
        .map(|one| (of(one), f64::from(u8::from(one.up))));
    let pending = stores.iter().map(|one| (of(one), number(one.pending)));
    let results = |count: fn(&StoreSnapshot) -> Vec<(&'static str, u64)>| {
        stores.iter().flat_map(move |one| {
            let counted = count(one).into_iter();
            counted.map(|(result, count)| (with(of(one), "result", result), number(count)))
        })
    };
    vec![
        gauge(
            "fallback_store_up",
            "0 while the store does not do what it is asked for, else 1",
            up,
        ),
        counter(
            "fallback_store_reads_total",
            "Reads of the store; unreadable: what was found is damaged or of another format",
            results(|one| {
                vec![
                    ("hit", one.read_hits),
                    ("miss", one.read_misses),
                    ("failed", one.read_failures),
                    ("unreadable", one.unreadable),
                ]
            }),
        ),
        counter(
            "fallback_store_writes_total",
            "Records for the store; failed: not written, or no room to wait in",
            results(|one| vec![("written", one.written), ("failed", one.not_written)]),
        ),
        gauge(
            "fallback_store_pending",
            "Records that wait to be written",
            pending,
        ),
        counter(
            "fallback_store_shadow_reads_total",
            "Stored records that were read again to see that they can be",
            results(|one| {
                let passed = one.shadow_reads.saturating_sub(one.shadow_failures);
                vec![("passed", passed), ("failed", one.shadow_failures)]
            }),
        ),
    ]
}

fn label(fallback: &FallbackSnapshot) -> Labels<'_> {
    vec![("service", fallback.name.as_str())]
}

fn of(store: &StoreSnapshot) -> Labels<'_> {
    vec![("store", store.kind.as_str())]
}

fn with<'a>(mut labels: Labels<'a>, name: &'a str, value: &'a str) -> Labels<'a> {
    labels.push((name, value));
    labels
}
