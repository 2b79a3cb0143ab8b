//! The middleware around a real router.

use std::time::Duration;

use ::http::{Method, Request};
use axum::{Router, body::Body, routing::get};
use tower::ServiceExt;

use super::*;
use crate::{
    http::{CorrelationIdLayer, HttpMetrics, HttpMetricsLayer},
    log::{LogOptions, testing::logged_async},
};

fn app(metrics: &HttpMetrics) -> Router {
    let api = Router::new()
        .route("/users/{id}", get(async || "hello"))
        .route("/broken", get(async || StatusCode::SERVICE_UNAVAILABLE))
        .route(
            "/hangs",
            get(async || std::future::pending::<StatusCode>().await),
        )
        .route(
            "/panics",
            get(async || {
                tokio::task::yield_now().await;
                assert!(std::hint::black_box(false), "on purpose");
            }),
        );
    Router::new()
        .nest("/api", api)
        .layer(HttpMetricsLayer::new(metrics.clone()))
}

fn request(method: &str, path: &str) -> Request<Body> {
    let method: Method = method.parse().expect("a method");
    let request = Request::builder().method(method).uri(path);
    request.body(Body::empty()).expect("a request")
}

async fn send(app: &Router, method: &str, path: &str) {
    let response = app.clone().oneshot(request(method, path)).await;
    drop(response.expect("infallible"));
}

fn seen(metrics: &HttpMetrics) -> Vec<(String, String, u16, u64)> {
    let series = metrics.snapshot().series;
    series
        .into_iter()
        .map(|s| (s.method, s.route, s.status, s.count))
        .collect()
}

fn one(method: &str, route: &str, status: u16, count: u64) -> (String, String, u16, u64) {
    (method.to_owned(), route.to_owned(), status, count)
}

#[tokio::test]
async fn the_route_is_the_pattern_and_never_the_raw_path() {
    let metrics = HttpMetrics::new();
    let app = app(&metrics);
    for n in 0..300 {
        send(&app, "GET", &format!("/api/users/{n}")).await;
        send(&app, "GET", &format!("/nothing/{n}")).await;
        send(&app, &format!("METHOD{n}"), "/nothing").await;
        send(&app, &format!("METHOD{n}"), "/api/users/1").await;
    }
    send(&app, "DELETE", "/api/users/1").await;
    assert_eq!(
        seen(&metrics),
        [
            one("GET", "/api/users/{id}", 200, 300),
            one("other", "/api/users/{id}", 405, 301),
            one("GET", "unmatched", 404, 300),
            one("other", "unmatched", 404, 300),
        ]
    );
    assert_eq!(metrics.snapshot().folded, 0);
    assert_eq!(metrics.snapshot().in_flight, 0);
}

#[tokio::test]
async fn a_full_table_folds_and_says_how_often() {
    let metrics = HttpMetrics::with_limit(1);
    let app = app(&metrics);
    send(&app, "GET", "/api/users/1").await;
    send(&app, "GET", "/api/broken").await;
    send(&app, "GET", "/api/users/2").await;
    assert_eq!(
        seen(&metrics),
        [
            one("GET", "/api/users/{id}", 200, 2),
            one("other", "other", 500, 1)
        ]
    );
    assert_eq!(metrics.snapshot().folded, 1);
}

#[tokio::test]
async fn a_request_dropped_in_flight_is_counted_as_closed_by_the_client() {
    let metrics = HttpMetrics::new();
    let hanging = app(&metrics).oneshot(request("GET", "/api/hangs"));
    let mut hanging = Box::pin(hanging);
    let mut cx = Context::from_waker(std::task::Waker::noop());
    assert!(hanging.as_mut().poll(&mut cx).is_pending());
    assert_eq!(metrics.snapshot().in_flight, 1);
    assert_eq!(seen(&metrics), []);
    drop(hanging);
    assert_eq!(metrics.snapshot().in_flight, 0);
    assert_eq!(seen(&metrics), [one("GET", "/api/hangs", 499, 1)]);
}

#[test]
fn a_handler_that_panics_is_counted_and_logged_as_500() {
    let metrics = HttpMetrics::new();
    let lines = logged_async(LogOptions::new("svc"), {
        let app = app(&metrics);
        async move {
            let call = tokio::spawn(app.oneshot(request("GET", "/api/panics")));
            assert!(call.await.expect_err("a panic").is_panic());
        }
    });
    assert_eq!(seen(&metrics), [one("GET", "/api/panics", 500, 1)]);
    assert_eq!(metrics.snapshot().in_flight, 0);
    assert!(lines[0].contains(" http_500 method:GET route:/api/panics status:500 "));
}

#[tokio::test]
async fn the_time_until_the_head_is_ready_is_in_the_histogram() {
    let metrics = HttpMetrics::new();
    metrics
        .start(&Method::GET, None)
        .finish(StatusCode::OK)
        .log_if_failed("x");
    let durations = &metrics.snapshot().series[0].durations;
    assert_eq!(durations.counts.iter().sum::<u64>(), 1);
    assert!(durations.sum_seconds > 0.0);
    assert!(durations.sum_seconds < Duration::from_secs(60).as_secs_f64());
}

#[test]
fn a_5xx_is_logged_as_an_error_with_its_correlation_id_whatever_the_order() {
    let inside = |metrics: &HttpMetrics| app(metrics).layer(CorrelationIdLayer::new());
    let outside = |metrics: &HttpMetrics| {
        let layer = HttpMetricsLayer::new(metrics.clone());
        Router::new()
            .route("/api/broken", get(async || StatusCode::SERVICE_UNAVAILABLE))
            .route("/api/users/{id}", get(async || "hello"))
            .layer(CorrelationIdLayer::new())
            .layer(layer)
    };
    let metrics = HttpMetrics::new();
    for app in [inside(&metrics), outside(&metrics)] {
        let lines = logged_async(LogOptions::new("svc"), async move {
            for path in ["/api/broken", "/api/users/1"] {
                let mut request = request("GET", path);
                let id = ::http::HeaderValue::from_static("abc123");
                request.headers_mut().insert("x-correlation-id", id);
                drop(app.clone().oneshot(request).await);
            }
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
        let fields: Vec<_> = lines[0].split(' ').skip(1).take(8).collect();
        assert_eq!(
            fields,
            [
                "ERROR",
                "svc",
                "http",
                "http_503",
                "method:GET",
                "route:/api/broken",
                "status:503",
                "correlation_id:abc123"
            ]
        );
        assert!(lines[0].contains(" answered after "), "{lines:?}");
    }
}
