//! What is served when the upstream fails.

use tower::{ServiceBuilder, service_fn};

use super::*;
use crate::{BreakerConfig, CallError, CircuitBreaker, CircuitBreakerLayer};

const STALE: &str = "fwd=stale; detail=stale-if-error";

#[tokio::test]
async fn instead_of_a_5xx_or_an_error_the_last_good_answer_is_served_and_labelled() {
    let (fallback, hands) = fallback(&config());
    let upstream = Upstream::numbers(&[]);
    let client = client(&fallback, &upstream);
    get(&client, &[]).await;
    hands.clock.advance(TTL);
    upstream.answers(503);
    let answer = send(&client, request("GET", &[])).await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, "1"));
    assert_eq!(
        answer.cache_status(),
        "fwd=stale; fwd-status=503; detail=stale-if-error"
    );
    assert_eq!(answer.headers["age"], "300");
    let served = answer.served.as_ref().unwrap();
    assert_eq!(served.source(), Source::Stale);
    assert_eq!(served.age(), TTL);
    upstream.is_down();
    assert_eq!(get(&client, &[]).await, both("1", STALE));
    let seen = fallback.snapshot().responses;
    assert_eq!((seen.live, seen.stale), (1, 2));
}

#[tokio::test]
async fn where_nothing_is_stored_the_failure_is_passed_on_as_it_is() {
    let (fallback, _hands) = fallback(&config());
    let upstream = Upstream::numbers(&[]);
    let client = client(&fallback, &upstream);
    upstream.answers(503);
    let answer = send(&client, request("GET", &[])).await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (503, "sorry"));
    assert_eq!(answer.cache_status(), "fwd=uri-miss");
    assert_eq!(answer.served.unwrap().tried(), Some(&Tried::NothingStored));
    upstream.is_down();
    let error = send(&client, request("GET", &[])).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the call failed; no good answer is stored for it"
    );
    assert_eq!(fallback.snapshot().responses.miss, 2);
    assert_eq!(fallback.snapshot().cache.entries, 0);
}

#[tokio::test]
async fn what_the_upstream_forbids_to_be_served_stale_is_not_unless_that_is_overridden() {
    let mut config = config();
    let (fallback, hands) = fallback(&config);
    let upstream = Upstream::numbers(&[("cache-control", "max-age=10, must-revalidate")]);
    let client = client(&fallback, &upstream);
    get(&client, &[]).await;
    hands.clock.advance(12 * SECOND);
    upstream.is_down();
    let error = send(&client, request("GET", &[])).await.unwrap_err();
    assert_eq!(
        error.tried(),
        &Tried::TooOld {
            dead_for: 2 * SECOND
        }
    );
    assert_eq!(fallback.snapshot().responses.dead, 1);
    config.obey_cache_control = false;
    fallback.configure(&config);
    assert_eq!(get(&client, &[]).await, both("1", "hit; ttl=288"));
    hands.clock.advance(TTL);
    assert_eq!(get(&client, &[]).await, both("1", STALE));
}

/// A body that ends in the middle.
fn broken() -> TestBody {
    use http_body::{Body, Frame, SizeHint};
    struct Broken(bool);
    impl Body for Broken {
        type Data = Bytes;
        type Error = Down;
        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Down>>> {
            let first = std::mem::replace(&mut self.0, false);
            Poll::Ready(Some(if first {
                Ok(Frame::data(Bytes::from("half")))
            } else {
                Err(Down)
            }))
        }
        fn size_hint(&self) -> SizeHint {
            SizeHint::default()
        }
    }
    Broken(true).boxed_unsync()
}

#[tokio::test]
async fn an_upstream_that_fails_in_the_middle_of_a_body_has_failed() {
    let (fallback, hands) = fallback(&config());
    let upstream = Upstream::numbers(&[]);
    let client = client(&fallback, &upstream);
    get(&client, &[]).await;
    hands.clock.advance(TTL);
    upstream.now_says(|_, _| Ok(Response::new(broken())));
    assert_eq!(get(&client, &[]).await, both("1", STALE));
    // Where nothing is stored it is seen by who reads on.
    fallback.purge();
    let response = client.clone().oneshot(request("GET", &[])).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.into_body().collect().await.is_err());
    assert_eq!(fallback.snapshot().cache.entries, 0);
    assert_eq!(fallback.snapshot().responses.miss, 1);
}

#[tokio::test]
async fn while_it_is_off_answers_are_kept_and_not_served() {
    let (fallback, hands) = fallback(&config());
    fallback.switch(Some(false), None, None);
    let upstream = Upstream::numbers(&[]);
    let client = client(&fallback, &upstream);
    assert_eq!(get(&client, &[]).await, both("1", "fwd=bypass; stored"));
    assert_eq!(get(&client, &[]).await, both("2", "fwd=bypass; stored"));
    hands.clock.advance(TTL);
    upstream.answers(500);
    let answer = send(&client, request("GET", &[])).await.unwrap();
    assert_eq!(answer.status, 500);
    assert_eq!(answer.served.unwrap().tried(), Some(&Tried::SwitchedOff));
    fallback.switch(Some(true), None, None);
    assert_eq!(get(&client, &[]).await.0, "2");
}

#[tokio::test]
async fn a_failure_that_is_too_large_to_be_shared_is_passed_on_whole() {
    let mut config = config();
    config.largest_body = 3;
    let (fallback, _hands) = fallback(&config);
    let upstream = Upstream::numbers(&[]);
    upstream.answers(502);
    let client = client(&fallback, &upstream);
    let answer = send(&client, request("GET", &[])).await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (502, "sorry"));
}

/// What a handler of axum has to be.
fn sent<F: Future + Send + 'static>(future: F) -> F {
    future
}

#[tokio::test(start_paused = true)]
async fn around_a_breaker_and_a_timeout_it_can_be_awaited_in_any_handler() {
    let (fallback, _hands) = fallback(&config());
    let breaker = CircuitBreaker::new("rates", BreakerConfig::default());
    let client = ServiceBuilder::new()
        .layer(HttpFallbackLayer::new(fallback))
        .layer(CircuitBreakerLayer::http(breaker.clone()))
        .timeout(SECOND)
        .service(service_fn(|_: Request<Empty<Bytes>>| async {
            std::future::pending::<Result<Response<TestBody>, Down>>().await
        }));
    let asked = sent(async move {
        let response = client.oneshot(request("GET", &[])).await;
        let error = response.map(|_| ()).unwrap_err();
        let timeout = matches!(error.upstream(), Some(CallError::Inner(_)));
        (timeout, error.tried().clone())
    });
    assert_eq!(
        tokio::spawn(asked).await.unwrap(),
        (true, Tried::NothingStored)
    );
    let seen = breaker.snapshot();
    assert_eq!(seen.totals.failure, 1);
}
