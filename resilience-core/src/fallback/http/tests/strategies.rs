//! A fixed answer, another service.

use super::*;

#[tokio::test]
async fn the_fixed_answer_is_given_when_the_upstream_fails() {
    let mut config = config();
    config.strategy = FallbackStrategy::Static;
    let (fallback, _hands) = fallback(&config);
    let upstream = Upstream::numbers(&[]);
    let fixed = Response::builder()
        .header("content-type", "application/json")
        .body(Bytes::from("[]"))
        .unwrap();
    let client: Client = HttpFallbackLayer::new(fallback.clone())
        .answer(fixed)
        .layer(upstream.clone());
    assert_eq!(get(&client, &[]).await, both("1", "fwd=bypass; stored"));
    upstream.answers(503);
    let answer = send(&client, request("GET", &[])).await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, "[]"));
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(answer.source(), Source::Fixed);
    assert!(answer.headers.get("age").is_none());
    assert_eq!(fallback.snapshot().responses.fixed, 1);
}

#[tokio::test]
async fn the_configured_answer_is_given_where_the_code_has_none_and_follows_the_configuration() {
    let configured = |body: &str| {
        let answer = format!("{{status: 203, content_type: text/plain, body: {body}}}");
        let text = format!("{{strategy: static, answer: {answer}}}");
        let text = format!("services: {{rates: {{fallback: {text}}}}}");
        let config = crate::config::Config::parse("config.yaml", text, []).unwrap();
        config.fallback("rates").clone()
    };
    let (fallback, _hands) = fallback(&configured("none"));
    let upstream = Upstream::numbers(&[]);
    let client: Client = HttpFallbackLayer::new(fallback.clone()).layer(upstream.clone());
    upstream.answers(503);
    let answer = send(&client, request("GET", &[])).await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (203, "none"));
    assert_eq!(answer.headers["content-type"], "text/plain");
    assert_eq!(answer.source(), Source::Fixed);
    fallback.configure(&configured("later"));
    let answer = send(&client, request("GET", &[])).await.unwrap();
    assert_eq!(answer.body, "later");
    // One in the code goes before it.
    let client: Client = HttpFallbackLayer::new(fallback)
        .answer(Response::new(Bytes::from("code")))
        .layer(upstream);
    let answer = send(&client, request("GET", &[])).await.unwrap();
    assert_eq!(answer.body, "code");
}

#[tokio::test]
async fn another_service_is_asked_with_the_same_request_and_judged_alike() {
    let mut config = config();
    config.strategy = FallbackStrategy::Service;
    let (fallback, _hands) = fallback(&config);
    let upstream = Upstream::numbers(&[]);
    let other = Upstream::new(|_, parts| {
        let id = parts.headers["x-correlation-id"].to_str().unwrap();
        Ok(response(
            200,
            &[],
            &format!("{} {} {id}", parts.method, parts.uri),
        ))
    });
    let client = HttpFallbackLayer::new(fallback.clone())
        .other(other.clone())
        .layer(upstream.clone());
    let ask = || send(&client, request("GET", &[("x-correlation-id", "abc")]));
    assert_eq!(ask().await.unwrap().body, "1");
    assert_eq!(other.asked(), 0);
    upstream.answers(503);
    let answer = ask().await.unwrap();
    assert_eq!(answer.body, "GET http://rates.example/EUR abc");
    assert_eq!(answer.source(), Source::Other);
    other.answers(500);
    let answer = ask().await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (503, "sorry"));
    let message = "it answered 500 Internal Server Error".into();
    assert_eq!(
        answer.served.unwrap().tried(),
        Some(&Tried::OtherFailed { message })
    );
}
