//! Prometheus metrics, rendered from a [`Snapshot`]: the runbook's names, and
//! the conventional ones beside them.
//!
//! Nothing is counted here. A scrape takes one snapshot and turns it into
//! families, so two series of one scrape never disagree, and the sidecar renders
//! a black box with the very same code.

mod breakers;
mod fallbacks;
mod http;
mod keyed;
mod pools;
mod process;
mod series;
#[cfg(test)]
mod tests;

use prometheus::{
    TextEncoder,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use crate::snapshot::Snapshot;
use breakers::{breakers, calls_by_name};
use fallbacks::{fallbacks, stores};
use http::http;
use keyed::keyed;
use pools::pools;
use process::process;

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
    families.extend(fallbacks(&snapshot.fallbacks));
    families.extend(stores(&snapshot.stores));
    families.extend(http(&snapshot.http));
    families.extend(process(snapshot));
    families
}
