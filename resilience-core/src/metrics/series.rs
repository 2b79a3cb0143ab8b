//! Families and series in the words of the `prometheus` crate.

use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

use crate::snapshot::{AgeHistogram, DurationHistogram, PoolDurations};

pub(super) type Labels<'a> = Vec<(&'a str, &'a str)>;

pub(super) fn gauge<'a>(
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

pub(super) fn counter<'a>(
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

/// A histogram as a snapshot has it.
pub(super) struct Buckets<'a> {
    counts: &'a [u64],
    bounds: &'static [f64],
    sum_seconds: f64,
}

impl<'a> From<&'a DurationHistogram> for Buckets<'a> {
    fn from(durations: &'a DurationHistogram) -> Self {
        Self {
            counts: &durations.counts,
            bounds: &DurationHistogram::BOUNDS,
            sum_seconds: durations.sum_seconds,
        }
    }
}

impl<'a> From<&'a PoolDurations> for Buckets<'a> {
    fn from(durations: &'a PoolDurations) -> Self {
        Self {
            counts: &durations.counts,
            bounds: &PoolDurations::BOUNDS,
            sum_seconds: durations.sum_seconds,
        }
    }
}

impl<'a> From<&'a AgeHistogram> for Buckets<'a> {
    fn from(ages: &'a AgeHistogram) -> Self {
        Self {
            counts: &ages.counts,
            bounds: &AgeHistogram::BOUNDS,
            sum_seconds: ages.sum_seconds,
        }
    }
}

pub(super) fn histogram<'a>(
    name: &str,
    help: &str,
    series: impl IntoIterator<Item = (Labels<'a>, impl Into<Buckets<'a>>)>,
) -> MetricFamily {
    family(
        name,
        help,
        MetricType::HISTOGRAM,
        series,
        |metric, found| {
            let found: Buckets<'_> = found.into();
            // Saturating: a snapshot from a file may say anything.
            let mut seen = 0_u64;
            let bucket = |(count, bound): (&u64, &f64)| {
                seen = seen.saturating_add(*count);
                let mut bucket = Bucket::default();
                bucket.set_cumulative_count(seen);
                bucket.set_upper_bound(*bound);
                bucket
            };
            let buckets = found.counts.iter().zip(found.bounds).map(bucket).collect();
            let mut histogram = Histogram::default();
            histogram.set_bucket(buckets);
            let all = found.counts.iter().copied();
            histogram.set_sample_count(all.fold(0, u64::saturating_add));
            histogram.set_sample_sum(found.sum_seconds);
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
pub(super) const fn number(count: u64) -> f64 {
    count as f64
}
