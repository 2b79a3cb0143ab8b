//! What families of breakers count.

use prometheus::proto::MetricFamily;

use super::series::{counter, gauge, number};
use crate::snapshot::KeyedSnapshot;

pub(super) fn keyed(families: &[KeyedSnapshot]) -> Vec<MetricFamily> {
    let states = families.iter().flat_map(|k| {
        let not_closed = k.open.saturating_add(k.half_open);
        let closed = k.members.saturating_sub(not_closed);
        [
            ("CLOSED", closed),
            ("HALF_OPEN", k.half_open),
            ("OPEN", k.open),
        ]
        .map(|(state, count)| {
            let labels = vec![("service", k.name.as_str()), ("state", state)];
            (labels, f64::from(count))
        })
    });
    let each = |value: fn(&KeyedSnapshot) -> u64| {
        families
            .iter()
            .map(move |k| (vec![("service", k.name.as_str())], number(value(k))))
    };
    vec![
        gauge(
            "circuit_breaker_keyed",
            "Breakers of a family, by the state of their circuits",
            states,
        ),
        gauge(
            "circuit_breaker_keyed_capacity",
            "How many breakers a family may hold",
            each(|k| k.capacity.into()),
        ),
        counter(
            "circuit_breaker_keyed_evicted_total",
            "Breakers that went because they were idle or room was needed",
            each(|k| k.evicted),
        ),
        counter(
            "circuit_breaker_keyed_overflowed_total",
            "Lookups of keys that shared a breaker because there was no room",
            each(|k| k.overflowed),
        ),
    ]
}
