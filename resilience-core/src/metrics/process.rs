//! What runs, and with which settings.

use prometheus::proto::MetricFamily;

use super::series::{counter, gauge, number};
use crate::snapshot::Snapshot;

pub(super) fn process(snapshot: &Snapshot) -> Vec<MetricFamily> {
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
