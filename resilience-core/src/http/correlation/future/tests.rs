//! The middleware around a real router.

use ::http::Request as HttpRequest;
use axum::{Extension, Router, body::Body, response::IntoResponse, routing::get};
use tower::ServiceExt;

use super::*;
use crate::{
    http::CorrelationIdLayer,
    log::{LogOptions, testing::logged_async},
};

fn app() -> Router {
    async fn handler(Extension(id): Extension<CorrelationId>) -> impl IntoResponse {
        tracing::info!("before");
        tokio::task::yield_now().await;
        tracing::info!("after");
        id.to_string()
    }
    Router::new()
        .route("/", get(handler))
        .layer(CorrelationIdLayer::new())
}

async fn answered(headers: &[(&str, &str)]) -> (String, String) {
    let mut request = HttpRequest::get("/");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).expect("a request");
    let response = app().oneshot(request).await.expect("infallible");
    let header = response.headers()[X_CORRELATION_ID]
        .to_str()
        .expect("ASCII");
    let header = header.to_owned();
    let body = axum::body::to_bytes(response.into_body(), 1024).await;
    let body = String::from_utf8(body.expect("a body").to_vec()).expect("UTF-8");
    (header, body)
}

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[tokio::test]
async fn a_given_id_reaches_the_handler_and_comes_back() {
    let (header, body) =
        answered(&[("x-correlation-id", "abc123"), ("traceparent", TRACEPARENT)]).await;
    assert_eq!((header.as_str(), body.as_str()), ("abc123", "abc123"));
}

#[tokio::test]
async fn without_a_valid_id_the_trace_id_is_taken() {
    for id in ["has space", "", "quote\"", &"x".repeat(129)] {
        let (header, body) =
            answered(&[("x-correlation-id", id), ("traceparent", TRACEPARENT)]).await;
        assert_eq!(header, "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(body, header);
    }
}

#[tokio::test]
async fn without_either_an_id_is_made() {
    let (first, body) = answered(&[("traceparent", "00-nonsense")]).await;
    let (second, _) = answered(&[]).await;
    assert_eq!(first, body);
    assert_eq!(first.len(), 32);
    assert_ne!(first, second);
}

#[test]
fn each_line_of_a_request_has_its_id_and_no_other_ones() {
    let lines = logged_async(LogOptions::new("svc"), async {
        let one = answered(&[("x-correlation-id", "one")]);
        let two = answered(&[("x-correlation-id", "two")]);
        // On one thread: each `yield_now` lets the other request go on.
        tokio::join!(one, two);
        tracing::info!("outside");
    });
    let count = |what: &str| lines.iter().filter(|l| l.contains(what)).count();
    assert_eq!(count(" correlation_id:one before"), 1, "{lines:?}");
    assert_eq!(count(" correlation_id:one after"), 1, "{lines:?}");
    assert_eq!(count(" correlation_id:two before"), 1, "{lines:?}");
    assert_eq!(count(" correlation_id:two after"), 1, "{lines:?}");
    assert_eq!(count(" - outside"), 1, "{lines:?}");
}

#[tokio::test]
async fn the_request_that_is_polled_is_the_current_one_and_no_other() {
    async fn handler() -> String {
        let current = || Request::current().map(|request| request.correlation_id().to_string());
        let before = current();
        tokio::task::yield_now().await;
        let spawned = tokio::spawn(async move { current() });
        format!("{before:?} {:?} {:?}", current(), spawned.await.unwrap())
    }
    let app = Router::new()
        .route("/", get(handler))
        .layer(CorrelationIdLayer::new());
    let answered = async |id: &'static str| {
        let request = HttpRequest::get("/").header(X_CORRELATION_ID, id);
        let request = request.body(Body::empty()).unwrap();
        let body = app.clone().oneshot(request).await.unwrap().into_body();
        axum::body::to_bytes(body, 1024).await.unwrap()
    };
    // On one thread, so that each yield lets the other request go on.
    let (one, two) = tokio::join!(answered("one"), answered("two"));
    assert_eq!(one, r#"Some("one") Some("one") None"#);
    assert_eq!(two, r#"Some("two") Some("two") None"#);
    assert!(Request::current().is_none());
}
