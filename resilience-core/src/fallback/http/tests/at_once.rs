//! A call that fails at once, as one does that an open circuit refuses, while memory has
//! an answer for that.

use std::future::{Ready, ready};

use tokio_test::{assert_pending, assert_ready, task};
use tower::{ServiceBuilder, service_fn};

use super::*;

/// After its answer is stored and stale.
async fn stale(fallback: &crate::fallback::Fallback, hands: &crate::fallback::tests::Hands) {
    let upstream = Upstream::numbers(&[]);
    get(&client(fallback, &upstream), &[]).await;
    hands.clock.advance(TTL);
}

/// When a stale answer has been given so often that it is ready to be given again.
async fn in_an_outage() -> (Upstream, Client, crate::fallback::tests::Hands) {
    let (fallback, hands) = fallback(&config());
    stale(&fallback, &hands).await;
    let upstream = Upstream::numbers(&[]);
    upstream.is_down();
    let client = client(&fallback, &upstream);
    for _ in 0..3 {
        get(&client, &[]).await;
    }
    (upstream, client, hands)
}

#[test]
fn it_is_answered_at_the_first_poll_and_needs_no_runtime() {
    answered_at_the_first_poll();
}

#[tokio::test]
async fn it_is_answered_at_the_first_poll_in_a_runtime() {
    answered_at_the_first_poll();
}

fn answered_at_the_first_poll() {
    let (fallback, hands) = fallback(&config());
    let upstream = Upstream::numbers(&[]);
    let first = client(&fallback, &upstream).oneshot(request("GET", &[]));
    let body = assert_ready!(task::spawn(first).poll())
        .unwrap()
        .into_body();
    assert_ready!(task::spawn(body.collect()).poll()).unwrap();
    hands.clock.advance(TTL);
    let asked = Arc::new(AtomicU64::new(0));
    let counts = Arc::clone(&asked);
    let refused = service_fn(move |_: Request<Empty<Bytes>>| -> Ready<Said> {
        counts.fetch_add(1, SeqCst);
        ready(Err(Down))
    });
    let client = ServiceBuilder::new()
        .layer(HttpFallbackLayer::new(fallback.clone()))
        .service(refused);
    // The first is looked for, and from the third on it is ready to be given again.
    for (calls, age) in [(1, 300), (2, 300), (3, 300), (4, 307), (5, 307)] {
        if calls == 4 {
            hands.clock.advance(7 * SECOND);
        }
        let mut call = task::spawn(client.clone().oneshot(request("GET", &[])));
        let response = assert_ready!(call.poll()).unwrap();
        assert_eq!(response.headers()["age"], *age.to_string());
        let status = &response.headers()["cache-status"];
        assert_eq!(status, "rates; fwd=stale; detail=stale-if-error");
        let served: &Served = response.extensions().get().unwrap();
        assert_eq!(served.source(), Source::Stale);
        assert_eq!(served.age(), Duration::from_secs(age));
        assert_eq!(asked.load(SeqCst), calls);
    }
    let seen = fallback.snapshot();
    assert_eq!((seen.responses.stale, seen.cache.misses), (5, 6));
    assert_eq!(seen.age.sum_seconds, 1_514.0);
    assert_eq!(seen.cache.fetching, 0);
}

/// There is no task to be had before it is polled.
#[test]
fn one_that_was_asked_for_outside_of_a_runtime_is_made_when_it_is_polled_in_one() {
    let (fallback, hands) = fallback(&config());
    tokio_test::block_on(stale(&fallback, &hands));
    let upstream = Upstream::numbers(&[]).shut();
    let call = client(&fallback, &upstream).call(request("GET", &[]));
    assert_eq!(upstream.asked(), 0);
    upstream.answer(1);
    let answer = tokio_test::block_on(async { read(call.await.unwrap()).await });
    assert_eq!(
        (answer.body.as_str(), answer.cache_status()),
        ("1", "fwd=stale; stored")
    );
}

/// It was made when it was asked for, and others wait for it.
#[tokio::test]
async fn one_that_nobody_polls_answers_those_who_wait() {
    let (fallback, hands) = fallback(&config());
    stale(&fallback, &hands).await;
    let upstream = Upstream::numbers(&[]).shut();
    let mut client = client(&fallback, &upstream);
    let never_polled = client.call(request("GET", &[]));
    let mut waits = task::spawn(client.clone().oneshot(request("GET", &[])));
    assert_pending!(waits.poll());
    drop(never_polled);
    upstream.answer(1);
    let answer = read(waits.into_inner().await.unwrap()).await;
    assert_eq!(answer.cache_status(), "fwd=stale; stored; collapsed");
    assert_eq!(
        (upstream.asked(), fallback.snapshot().cache.coalesced),
        (1, 1)
    );
}

/// Nobody waits for what is somebody's own, and nobody is given it: the first time as when
/// the answer is ready to be given again.
#[tokio::test]
async fn a_call_with_credentials_is_nobody_elses() {
    for warm in [1, 3] {
        let (fallback, hands) = fallback(&config());
        stale(&fallback, &hands).await;
        let upstream = Upstream::numbers(&[]).shut();
        let mut client = client(&fallback, &upstream);
        upstream.is_down();
        for _ in 0..warm {
            upstream.answer(1);
            get(&client, &[]).await;
        }
        upstream.now_says(|_, asked| {
            let whose = asked.headers.get("authorization");
            let whose = whose.map_or("all", |value| value.to_str().unwrap());
            Ok(response(200, &[("cache-control", "private")], whose))
        });
        let own = client.call(request("GET", &[("authorization", "mine")]));
        let other = task::spawn(client.call(request("GET", &[])));
        let (mut own, mut other) = (task::spawn(own), other);
        assert_pending!(own.poll());
        assert_pending!(other.poll());
        assert_eq!(upstream.asked(), warm + 2, "each is asked for by itself");
        upstream.answer(2);
        let own = read(own.into_inner().await.unwrap()).await;
        let other = read(other.into_inner().await.unwrap()).await;
        assert_eq!((own.body.as_str(), other.body.as_str()), ("mine", "all"));
    }
}

#[tokio::test]
async fn one_that_was_given_again_is_not_given_when_it_is_too_old() {
    let (_, client, hands) = in_an_outage().await;
    hands.clock.advance(3_300 * SECOND);
    let error = send(&client, request("GET", &[])).await.unwrap_err();
    assert!(matches!(error.tried(), Tried::TooOld { .. }), "{error}");
}

#[tokio::test]
async fn who_forbids_to_ask_is_told_that_there_is_nothing_fresh() {
    let (upstream, client, _hands) = in_an_outage().await;
    let only = [("cache-control", "only-if-cached")];
    let answer = send(&client, request("GET", &only)).await.unwrap();
    assert_eq!(answer.status, 504);
    assert_eq!(upstream.asked(), 3);
}

/// The request is gone when it is known by which of its headers the answer differs.
#[tokio::test]
async fn answers_that_differ_by_headers_stand_in_each_for_their_own() {
    let (fallback, hands) = fallback(&config());
    let upstream = Upstream::new(speaks);
    let client = client(&fallback, &upstream);
    let ask = async |language| get(&client, &[("accept-language", language)]).await;
    for language in ["de", "fr"] {
        ask(language).await;
    }
    hands.clock.advance(TTL);
    upstream.is_down();
    for language in ["de", "fr", "fr", "fr", "de"] {
        let done = "fwd=stale; detail=stale-if-error";
        assert_eq!(ask(language).await, both(language, done));
    }
    upstream.now_says(speaks);
    assert_eq!(ask("fr").await, both("fr", "fwd=stale; stored"));
    assert_eq!(ask("fr").await, both("fr", "hit; ttl=300"));
    assert_eq!(ask("de").await, both("de", "fwd=stale; stored"));
}

/// Also when only the URI is, and the answers are elsewhere.
#[tokio::test]
async fn an_answer_is_not_kept_if_it_was_forgotten_while_the_call_was_made() {
    let (fallback, hands) = fallback(&config());
    let upstream = Upstream::new(speaks);
    let client = client(&fallback, &upstream);
    let german = [("accept-language", "de")];
    get(&client, &german).await;
    hands.clock.advance(TTL);
    let changes = HttpFallbackLayer::new(fallback.clone()).layer(Upstream::numbers(&[]));
    upstream.now_says(move |number, asked| {
        let change = changes.clone().oneshot(request("POST", &[]));
        assert!(assert_ready!(task::spawn(change).poll()).is_ok());
        speaks(number, asked)
    });
    assert_eq!(get(&client, &german).await.0, "de");
    upstream.now_says(speaks);
    assert_eq!(
        get(&client, &german).await,
        both("de", "fwd=uri-miss; stored")
    );
}

/// As one that lets in a few at a time.
#[tokio::test]
async fn a_service_that_is_not_ready_is_waited_for() {
    for (method, calls) in [("HEAD", 2), ("POST", 2), ("GET", 3)] {
        let (fallback, hands) = fallback(&config());
        let upstream = Upstream::numbers(&[]);
        let shut = upstream.clone().shut();
        if method == "GET" {
            get(&client(&fallback, &upstream), &[]).await;
            hands.clock.advance(TTL);
        }
        let one_at_a_time = tower::limit::ConcurrencyLimit::new(shut.clone(), 1);
        let mut client = HttpFallbackLayer::new(fallback.clone()).layer(one_at_a_time);
        let mut elsewhere = request("HEAD", &[]);
        *elsewhere.uri_mut() = http::Uri::from_static("http://rates.example/USD");
        let mut first = task::spawn(client.call(elsewhere));
        let mut second = task::spawn(client.call(request(method, &[])));
        assert_pending!(first.poll());
        assert_pending!(second.poll());
        assert_eq!(shut.asked(), calls - 1, "{method}");
        shut.answer(2);
        assert_ready!(first.poll()).unwrap();
        drop(first);
        let answer = read(second.into_inner().await.unwrap()).await;
        assert_eq!(
            (answer.body.as_str(), shut.asked()),
            (&*calls.to_string(), calls)
        );
    }
}

fn speaks(_: u64, asked: &request::Parts) -> Said {
    let language = asked.headers["accept-language"].to_str().unwrap();
    Ok(response(200, &[("vary", "accept-language")], language))
}

#[tokio::test]
async fn one_that_does_not_fail_at_once_is_made_once_for_all_and_outlives_who_made_it() {
    let (fallback, hands) = fallback(&config());
    stale(&fallback, &hands).await;
    let upstream = Upstream::numbers(&[]).shut();
    let client = client(&fallback, &upstream);
    let mut callers: Vec<_> = (0..3)
        .map(|_| task::spawn(client.clone().oneshot(request("GET", &[]))))
        .collect();
    for caller in &mut callers {
        assert_pending!(caller.poll());
    }
    assert_eq!(upstream.asked(), 1);
    drop(callers.remove(0));
    upstream.is_down();
    upstream.answer(1);
    for caller in callers {
        let answer = read(caller.into_inner().await.unwrap()).await;
        assert_eq!(answer.body, "1");
        assert_eq!(answer.source(), Source::Stale);
    }
    assert_eq!(upstream.asked(), 1);
}

#[tokio::test]
async fn a_failure_for_which_the_answer_is_too_old_is_told_and_the_call_is_not_made_again() {
    let (fallback, hands) = fallback(&config());
    stale(&fallback, &hands).await;
    hands.clock.advance(3_300 * SECOND);
    let upstream = Upstream::numbers(&[]);
    upstream.is_down();
    let client = client(&fallback, &upstream);
    let error = send(&client, request("GET", &[])).await.unwrap_err();
    assert_eq!(
        error.tried(),
        &Tried::TooOld {
            dead_for: Duration::ZERO
        }
    );
    assert_eq!(upstream.asked(), 1);
}

#[tokio::test]
async fn an_answer_that_is_there_at_once_is_the_one_that_is_given_and_kept() {
    let (fallback, hands) = fallback(&config());
    stale(&fallback, &hands).await;
    let upstream = Upstream::new(|_, _| Ok(response(200, &[], "new")));
    let client = client(&fallback, &upstream);
    assert_eq!(get(&client, &[]).await, both("new", "fwd=stale; stored"));
    assert_eq!(get(&client, &[]).await, both("new", "hit; ttl=300"));
    assert_eq!(upstream.asked(), 1);
}

#[tokio::test]
async fn one_that_panics_has_failed() {
    let (fallback, hands) = fallback(&config());
    stale(&fallback, &hands).await;
    let upstream = Upstream::new(|_, _| panic!("a bug of the client"));
    let client = client(&fallback, &upstream);
    for _ in 0..2 {
        let answer = send(&client, request("GET", &[])).await.unwrap();
        assert_eq!(
            (answer.source(), answer.body.as_str()),
            (Source::Stale, "1")
        );
    }
    assert_eq!(fallback.snapshot().cache.fetching, 0);
}

/// What is not a failure is for who asked to read, also when it is an error.
#[tokio::test]
async fn an_error_that_is_ignored_is_told() {
    let (fallback, hands) = fallback(&config());
    stale(&fallback, &hands).await;
    let upstream = Upstream::numbers(&[]);
    upstream.is_down();
    let client = HttpFallbackLayer::new(fallback.clone())
        .classify(NothingFails)
        .layer(upstream.clone());
    let error = client
        .oneshot(request("GET", &[]))
        .await
        .map(|_| ())
        .unwrap_err();
    assert_eq!(error.tried(), &Tried::NotAFailure);
    assert_eq!(upstream.asked(), 1);
}

#[derive(Clone)]
struct NothingFails;

impl<R, E> crate::Classify<R, E> for NothingFails {
    fn classify(&self, _: Result<&R, &E>) -> crate::Outcome {
        crate::Outcome::Ignored
    }
}
