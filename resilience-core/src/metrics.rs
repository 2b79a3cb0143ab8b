//! Prometheus metrics, rendered from a [`Snapshot`]: the runbook's names, and
//! the conventional ones beside them.
//!
//! Nothing is counted here. A scrape takes one snapshot and turns it into
//! families, so two series of one scrape never disagree, and the sidecar renders
//! a black box with the very same code.

use prometheus::{
    TextEncoder,
    core::{Collector, Desc},
    proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType},
};

use crate::snapshot::{
    BreakerSnapshot, CallTotals, DurationHistogram, HttpSnapshot, KeyedSnapshot, PoolSnapshot,
    Snapshot,
};

/// The text of `/metrics` for one snapshot.
#[must_use]
pub fn render(snapshot: &Snapshot) -> String {
    encode(&families(snapshot))
}

/// Families in the text format; what cannot be encoded is left out, because
/// half an answer is worth more to a scrape than none.
#[must_use]
pub fn encode(families: &[MetricFamily]) -> String {
    let mut text = String::new();
    for family in families
        .iter()
        .filter(|family| !family.get_metric().is_empty())
    {
        // Infallible but for an empty family, which was sorted out.
        let _ = TextEncoder::new().encode_utf8(std::slice::from_ref(family), &mut text);
    }
    text
}

/// The content type of [`render`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Puts the metrics of a service into a `prometheus::Registry` of the caller's.
///
/// ```
/// # use resilience_core::metrics::SnapshotCollector;
/// # fn show(take: impl Fn() -> resilience_core::snapshot::Snapshot + Send + Sync + 'static) {
/// let registry = prometheus::Registry::new();
/// registry.register(Box::new(SnapshotCollector::new(take))).expect("registered once");
/// # }
/// ```
pub struct SnapshotCollector {
    take: Box<dyn Fn() -> Snapshot + Send + Sync>,
    // A registry tells collectors apart by their descriptions.
    description: Option<Desc>,
}

impl SnapshotCollector {
    /// Takes a snapshot at each scrape.
    pub fn new(take: impl Fn() -> Snapshot + Send + Sync + 'static) -> Self {
        let help = "State of the circuit".to_owned();
        let label = vec!["service".to_owned()];
        let description = Desc::new(
            "circuit_breaker_state".to_owned(),
            help,
            label,
            Default::default(),
        );
        Self {
            take: Box::new(take),
            description: description.ok(),
        }
    }
}

impl std::fmt::Debug for SnapshotCollector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotCollector").finish_non_exhaustive()
    }
}

impl Collector for SnapshotCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.description.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = families(&(self.take)());
        families.retain(|family| !family.get_metric().is_empty());
        families
    }
}

/// All families of one snapshot; those without a series are empty.
#[must_use]
pub fn families(snapshot: &Snapshot) -> Vec<MetricFamily> {
    let mut families = breakers(&snapshot.breakers, &calls_by_name(snapshot));
    families.extend(keyed(&snapshot.keyed));
    families.extend(pools(&snapshot.pools));
    families.extend(http(&snapshot.http));
    families.extend(process(snapshot));
    families
}

/// The calls of breakers and families. One of each may have the same name, and
/// no label tells them apart: a key is never a label.
fn calls_by_name(snapshot: &Snapshot) -> Vec<(&str, CallTotals)> {
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

fn breakers(breakers: &[BreakerSnapshot], calls: &[(&str, CallTotals)]) -> Vec<MetricFamily> {
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

fn keyed(families: &[KeyedSnapshot]) -> Vec<MetricFamily> {
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

fn pools(pools: &[PoolSnapshot]) -> Vec<MetricFamily> {
    let each = |value: fn(&PoolSnapshot) -> u32| {
        pools
            .iter()
            .map(move |p| (vec![("pool", p.name.as_str())], f64::from(value(p))))
    };
    vec![
        gauge(
            "db_connection_pool_size",
            "The limit now: pool_size + max_overflow",
            each(|pool| pool.size),
        ),
        gauge(
            "db_connection_pool_in_use",
            "Connections checked out",
            each(|pool| pool.in_use),
        ),
    ]
}

fn http(http: &HttpSnapshot) -> Vec<MetricFamily> {
    let statuses: Vec<String> = http.series.iter().map(|s| s.status.to_string()).collect();
    let labelled = || {
        http.series.iter().zip(&statuses).map(|(series, status)| {
            let labels = vec![
                ("method", series.method.as_str()),
                ("route", series.route.as_str()),
                ("status", status.as_str()),
            ];
            (labels, series)
        })
    };
    vec![
        counter(
            "http_requests_total",
            "Finished requests",
            labelled().map(|(labels, series)| (labels, number(series.count))),
        ),
        histogram(
            "http_server_request_duration_seconds",
            "Time until the head of the response was ready",
            labelled().map(|(labels, series)| (labels, &series.durations)),
        ),
        gauge(
            "http_requests_in_flight",
            "Requests that have started and not finished",
            [(vec![], number(http.in_flight))],
        ),
        counter(
            "http_requests_folded_total",
            "Requests counted under the route `other` because the table of series was full",
            [(vec![], number(http.folded))],
        ),
    ]
}

fn process(snapshot: &Snapshot) -> Vec<MetricFamily> {
    let config = &snapshot.config;
    let reloads = [
        (
            vec![("result", "applied")],
            number(config.reloads_succeeded),
        ),
        (vec![("result", "refused")], number(config.reloads_refused)),
    ];
    let build = vec![
        ("service", snapshot.service.as_str()),
        ("version", snapshot.version.as_str()),
    ];
    let refused = number(snapshot.black_box.refused);
    let failures = number(snapshot.black_box.write_failures);
    vec![
        counter(
            "config_reloads_total",
            "Attempts to reload the configuration",
            reloads,
        ),
        gauge(
            "config_last_reload_successful",
            "1 if the configuration file as it is now is in force",
            [(vec![], f64::from(u8::from(config.last_reload_successful)))],
        ),
        counter(
            "black_box_refused_total",
            "Black boxes found at the start that could not be believed",
            [(vec![], refused)],
        ),
        counter(
            "black_box_write_failures_total",
            "Writes of the black box that failed",
            [(vec![], failures)],
        ),
        gauge(
            "build_info",
            "Always 1; the labels say what runs",
            [(build, 1.0)],
        ),
    ]
}

type Labels<'a> = Vec<(&'a str, &'a str)>;

fn gauge<'a>(
    name: &str,
    help: &str,
    series: impl IntoIterator<Item = (Labels<'a>, f64)>,
) -> MetricFamily {
    family(name, help, MetricType::GAUGE, series, |metric, value| {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    })
}

fn counter<'a>(
    name: &str,
    help: &str,
    series: impl IntoIterator<Item = (Labels<'a>, f64)>,
) -> MetricFamily {
    family(name, help, MetricType::COUNTER, series, |metric, value| {
        let mut counter = Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    })
}

fn histogram<'a>(
    name: &str,
    help: &str,
    series: impl IntoIterator<Item = (Labels<'a>, &'a DurationHistogram)>,
) -> MetricFamily {
    family(
        name,
        help,
        MetricType::HISTOGRAM,
        series,
        |metric, durations| {
            // Saturating: a snapshot from a file may say anything.
            let mut seen = 0_u64;
            let bucket = |(count, bound): (&u64, f64)| {
                seen = seen.saturating_add(*count);
                let mut bucket = Bucket::default();
                bucket.set_cumulative_count(seen);
                bucket.set_upper_bound(bound);
                bucket
            };
            let buckets = durations
                .counts
                .iter()
                .zip(DurationHistogram::BOUNDS)
                .map(bucket)
                .collect();
            let mut histogram = Histogram::default();
            histogram.set_bucket(buckets);
            let all = durations.counts.iter().copied();
            histogram.set_sample_count(all.fold(0, u64::saturating_add));
            histogram.set_sample_sum(durations.sum_seconds);
            metric.set_histogram(histogram);
        },
    )
}

fn family<'a, V>(
    name: &str,
    help: &str,
    kind: MetricType,
    series: impl IntoIterator<Item = (Labels<'a>, V)>,
    mut set: impl FnMut(&mut Metric, V),
) -> MetricFamily {
    let label = |(name, value): (&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value.to_owned());
        pair
    };
    let metrics = series.into_iter().map(|(labels, value)| {
        let mut metric = Metric::default();
        metric.set_label(labels.into_iter().map(label).collect());
        set(&mut metric, value);
        metric
    });
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics.collect());
    family
}

/// Metrics are floats; beyond 2^53 the last digits go, and nothing else.
#[expect(clippy::cast_precision_loss, reason = "said above")]
const fn number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BreakerConfig, ByHand, ErrorClass, Registry, snapshot::OverrideKind};

    fn snapshot() -> Snapshot {
        let registry = Registry::new();
        let breaker = registry.get_or_create("payment_api", &BreakerConfig::default());
        for _ in 0..20 {
            breaker
                .try_acquire()
                .unwrap()
                .failure(ErrorClass::http(503));
        }
        let _ = breaker.try_acquire();
        Snapshot {
            breakers: registry.snapshot(),
            ..Snapshot::of_nothing("payments-api")
        }
    }

    #[test]
    fn the_runbooks_names_are_there_to_the_letter() {
        let text = render(&snapshot());
        for line in [
            "circuit_breaker_state{service=\"payment_api\"} 2",
            "circuit_breaker_slow_calls_running{service=\"payment_api\"} 0",
            "circuit_breaker_failures_total{service=\"payment_api\"} 20",
            "circuit_breaker_calls_total{service=\"payment_api\",outcome=\"rejected\"} 1",
            "circuit_breaker_transitions_total{service=\"payment_api\",from=\"CLOSED\",to=\"OPEN\",cause=\"failure_rate\"} 1",
            "circuit_breaker_call_duration_seconds_count{service=\"payment_api\"} 20",
            "circuit_breaker_call_duration_seconds_bucket{service=\"payment_api\",le=\"+Inf\"} 20",
            "build_info{service=\"payments-api\",version=\"0\"} 1",
        ] {
            assert!(
                text.lines().any(|l| l == line),
                "{line} is missing in:\n{text}"
            );
        }
    }

    #[test]
    fn each_breaker_has_one_state_series_whatever_its_state() {
        let text = render(&snapshot());
        let series = text
            .lines()
            .filter(|l| l.starts_with("circuit_breaker_state{"))
            .count();
        assert_eq!(series, 1);
    }

    #[test]
    fn an_override_is_one_series_of_its_kind_while_it_is_set_and_none_without_it() {
        let registry = Registry::new();
        let breaker = registry.get_or_create("payment_api", &BreakerConfig::default());
        let rendered = || {
            let text = render(&Snapshot {
                breakers: registry.snapshot(),
                ..Snapshot::of_nothing("payments-api")
            });
            let line = |name: &str| {
                let lines = text.lines().filter(|line| line.starts_with(name));
                lines.map(str::to_owned).collect::<Vec<_>>()
            };
            [
                line("circuit_breaker_override{"),
                line("circuit_breaker_state{"),
                line("circuit_breaker_computed_state{"),
            ]
        };
        let one =
            |name: &str, value: u8| vec![format!("{name}{{service=\"payment_api\"}} {value}")];
        let set = |kind: &str| {
            let labels = format!("service=\"payment_api\",kind=\"{kind}\"");
            vec![format!("circuit_breaker_override{{{labels}}} 1")]
        };
        let (state, computed) = ("circuit_breaker_state", "circuit_breaker_computed_state");
        assert_eq!(rendered(), [vec![], one(state, 0), one(computed, 0)]);

        let by = ByHand::default();
        for (kind, word, meets) in [
            (OverrideKind::ForcedOpen, "forced_open", 2),
            (OverrideKind::Disabled, "disabled", 0),
            (OverrideKind::MetricsOnly, "metrics_only", 0),
        ] {
            breaker.set_override(kind, None, &by).unwrap();
            let expected = [set(word), one(state, meets), one(computed, 0)];
            assert_eq!(rendered(), expected);
        }
        for _ in 0..20 {
            breaker.try_acquire().unwrap().failure(ErrorClass::TIMEOUT);
        }
        let expected = [set("metrics_only"), one(state, 0), one(computed, 2)];
        assert_eq!(rendered(), expected);
        breaker.enable(&by).unwrap();
        assert_eq!(rendered(), [vec![], one(state, 2), one(computed, 2)]);
    }

    #[test]
    fn a_family_has_the_same_series_whatever_its_keys_are() {
        let registry = Registry::new();
        let config = BreakerConfig::default();
        let tenants = registry.keyed("tenants", &config, crate::KeyedConfig::default());
        let series = || {
            let snapshot = Snapshot {
                keyed: registry.keyed_snapshot(),
                ..Snapshot::of_nothing("payments-api")
            };
            let text = render(&snapshot);
            let of_family = |line: &&str| line.contains("service=\"tenants\"");
            let lines: Vec<_> = text.lines().filter(of_family).map(str::to_owned).collect();
            lines
        };
        let before = series();
        for key in 0..100 {
            let breaker = tenants.get(format!("tenant-{key}"));
            while let Ok(permit) = breaker.try_acquire() {
                permit.failure(ErrorClass::TIMEOUT);
            }
        }
        let after = series();
        assert_eq!(after.len(), before.len());
        for line in [
            "circuit_breaker_keyed{service=\"tenants\",state=\"OPEN\"} 100",
            "circuit_breaker_keyed{service=\"tenants\",state=\"CLOSED\"} 0",
            "circuit_breaker_keyed_evicted_total{service=\"tenants\"} 0",
            "circuit_breaker_keyed_overflowed_total{service=\"tenants\"} 0",
            "circuit_breaker_failures_total{service=\"tenants\"} 2000",
            "circuit_breaker_calls_total{service=\"tenants\",outcome=\"rejected\"} 100",
        ] {
            assert!(
                after.iter().any(|l| l == line),
                "{line} is missing: {after:#?}"
            );
        }
        assert!(!after.iter().any(|line| line.contains("tenant-")));
    }

    #[test]
    fn a_breaker_and_a_family_of_one_name_are_one_series() {
        let mut snapshot = snapshot();
        let registry = Registry::new();
        let config = BreakerConfig::default();
        let family = registry.keyed("payment_api", &config, crate::KeyedConfig::default());
        let permit = family.get("a").try_acquire().unwrap();
        permit.failure(ErrorClass::TIMEOUT);
        snapshot.keyed = registry.keyed_snapshot();
        let text = render(&snapshot);
        let series: Vec<_> = text
            .lines()
            .filter(|l| l.starts_with("circuit_breaker_failures_total{"))
            .collect();
        let one = "circuit_breaker_failures_total{service=\"payment_api\"} 21";
        assert_eq!(series, [one]);
    }

    #[test]
    fn a_registry_takes_the_collector_and_gathers_the_same() {
        let registry = prometheus::Registry::new();
        registry
            .register(Box::new(SnapshotCollector::new(snapshot)))
            .unwrap();
        let names: Vec<_> = registry
            .gather()
            .iter()
            .map(|f| f.name().to_owned())
            .collect();
        assert!(
            names.contains(&"circuit_breaker_state".to_owned()),
            "{names:?}"
        );
    }

    #[test]
    fn counts_that_no_process_reaches_are_shown_at_their_limit() {
        let mut snapshot = snapshot();
        snapshot.breakers[0].durations.counts = vec![u64::MAX; 12];
        let line = "circuit_breaker_call_duration_seconds_count{service=\"payment_api\"} 18446744073709552000";
        assert!(render(&snapshot).lines().any(|l| l == line));
    }
}
