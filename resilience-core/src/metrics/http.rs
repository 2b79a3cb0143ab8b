//! The requests of the service itself.

use prometheus::proto::MetricFamily;

use super::series::{counter, gauge, histogram, number};
use crate::snapshot::HttpSnapshot;

pub(super) fn http(http: &HttpSnapshot) -> Vec<MetricFamily> {
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
