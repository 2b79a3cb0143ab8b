//! The probes through a real router.

use ::http::{Request, header};
use axum::{
    body::{Body, to_bytes},
    response::Response,
};
use serde_json::Value;
use tower::ServiceExt;

use super::*;
use crate::snapshot::{CheckSnapshot, HealthStatus, Severity};

fn database_down() -> HealthSnapshot {
    HealthSnapshot {
        started: true,
        draining: false,
        checks: vec![CheckSnapshot {
            name: "database".to_owned(),
            severity: Severity::Critical,
            status: HealthStatus::Fail,
            at: Some(jiff::Timestamp::now()),
            output: Some("connection refused".to_owned()),
        }],
    }
}

async fn send(method: &str, path: &str, health: HealthSnapshot, age: Duration) -> Response {
    let app: Router = Router::new().merge(health_router(move || {
        std::future::ready((health.clone(), Some(age)))
    }));
    let request = Request::builder().method(method).uri(path);
    let request = request.body(Body::empty()).expect("a request");
    app.oneshot(request).await.expect("infallible")
}

async fn json(response: Response) -> Value {
    let body = to_bytes(response.into_body(), 4096).await.expect("a body");
    serde_json::from_slice(&body).expect("JSON")
}

#[tokio::test]
async fn with_the_database_down_it_is_live_and_started_and_not_ready() {
    for (path, status, word) in [
        ("/health/live", 200, "pass"),
        ("/health/startup", 200, "pass"),
        ("/health/ready", 503, "fail"),
    ] {
        let response = send("GET", path, database_down(), Duration::ZERO).await;
        assert_eq!(response.status(), status, "{path}");
        let headers = response.headers();
        assert_eq!(headers[header::CONTENT_TYPE], "application/health+json");
        assert_eq!(headers[header::CACHE_CONTROL], "no-store");
        assert_eq!(json(response).await["status"], word, "{path}");
    }
}

#[tokio::test]
async fn a_blocked_runtime_is_not_live() {
    let health = HealthSnapshot::default();
    let response = send("GET", "/health/live", health, Duration::from_secs(41)).await;
    assert_eq!(response.status(), 503);
    let reason = json(response).await["output"].to_string();
    assert!(reason.contains("no progress for 41 s"), "{reason}");
}

#[tokio::test]
async fn head_has_the_status_and_no_body() {
    let response = send("HEAD", "/health/ready", database_down(), Duration::ZERO).await;
    assert_eq!(response.status(), 503);
    let body = to_bytes(response.into_body(), 4096).await.expect("a body");
    assert!(body.is_empty());
}

#[tokio::test]
async fn nothing_but_get_and_head_is_answered() {
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let health = HealthSnapshot::default();
        let response = send(method, "/health/live", health, Duration::ZERO).await;
        assert_eq!(response.status(), 405, "{method}");
        assert_eq!(response.headers()[header::ALLOW], "GET,HEAD");
        let content_type = &response.headers()[header::CONTENT_TYPE];
        assert_eq!(content_type, "application/problem+json");
    }
}
