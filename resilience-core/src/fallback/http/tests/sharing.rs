//! Who is given what another has asked for, and who is not.

use super::*;

/// As many callers at one time, each with headers of its own; all that they get. `first`
/// is how many calls are made before one is answered.
async fn at_one_time(
    client: &Client,
    upstream: &Upstream,
    how_many: usize,
    first: u64,
    headers: impl Fn(usize) -> Vec<(&'static str, &'static str)>,
) -> Vec<Answer> {
    let callers: Vec<_> = (0..how_many)
        .map(|number| {
            let (client, request) = (client.clone(), request("GET", &headers(number)));
            tokio::spawn(async move { send(&client, request).await.unwrap() })
        })
        .collect();
    // As many as do not wait for one another, and no more.
    until(|| upstream.asked() == first).await;
    for _ in 0..10 * how_many {
        tokio::task::yield_now().await;
    }
    assert_eq!(upstream.asked(), first);
    upstream.answer(Semaphore::MAX_PERMITS >> 1);
    let mut answers = Vec::new();
    for caller in callers {
        answers.push(caller.await.unwrap());
    }
    answers
}

#[tokio::test]
async fn a_thousand_callers_make_one_call_and_one_of_them_is_said_to_have_asked() {
    let (fallback, _hands) = fallback(&config());
    let upstream = Upstream::numbers(&[]).shut();
    let client = client(&fallback, &upstream);
    let answers = at_one_time(&client, &upstream, 1_000, 1, |_| vec![]).await;
    assert_eq!(upstream.asked(), 1);
    assert!(answers.iter().all(|answer| answer.body == "1"));
    let collapsed = answers
        .iter()
        .filter(|answer| answer.cache_status() == "fwd=uri-miss; stored; collapsed");
    assert_eq!(collapsed.count(), 999);
}

#[tokio::test]
async fn a_failure_is_shared_with_those_who_waited() {
    let (fallback, _hands) = fallback(&config());
    let upstream = Upstream::numbers(&[]).shut();
    upstream.answers(503);
    let client = client(&fallback, &upstream);
    let answers = at_one_time(&client, &upstream, 100, 1, |_| vec![]).await;
    assert_eq!(upstream.asked(), 1);
    for answer in answers {
        assert_eq!((answer.status, answer.body.as_str()), (503, "sorry"));
    }
    assert_eq!(fallback.snapshot().responses.miss, 100);
}

#[tokio::test]
async fn an_answer_that_may_not_be_shared_goes_to_who_asked_and_the_others_ask_themselves() {
    for headers in [
        &[("cache-control", "private")][..],
        &[("set-cookie", "session=1")],
        &[("cache-control", "no-store")],
    ] {
        for status in [200, 500] {
            let (fallback, _hands) = fallback(&config());
            let upstream = Upstream::numbers(&[]).shut();
            let headers: &'static [_] = Vec::leak(headers.to_vec());
            upstream.now_says(move |number, _| Ok(response(status, headers, &number.to_string())));
            let client = client(&fallback, &upstream);
            let answers = at_one_time(&client, &upstream, 10, 1, |_| vec![]).await;
            let mut bodies: Vec<_> = answers.into_iter().map(|answer| answer.body).collect();
            bodies.sort_unstable();
            bodies.dedup();
            assert_eq!(bodies.len(), 10, "{status} {headers:?}");
        }
    }
}

#[tokio::test]
async fn who_waits_for_an_answer_in_another_language_asks_for_the_own() {
    let (fallback, _hands) = fallback(&config());
    let upstream = Upstream::new(|_, parts| {
        let language = parts.headers["accept-language"].to_str().unwrap();
        Ok(response(200, &[("vary", "accept-language")], language))
    })
    .shut();
    let client = client(&fallback, &upstream);
    let language = |number| ["en", "de", "fr", "it"][number % 4];
    let answers = at_one_time(&client, &upstream, 100, 1, |number| {
        vec![("accept-language", language(number))]
    })
    .await;
    for (number, answer) in answers.iter().enumerate() {
        assert_eq!(answer.body, language(number));
    }
    assert_eq!(upstream.asked(), 4, "one for each language");
}

#[tokio::test]
async fn with_credentials_each_asks_for_itself_and_nothing_of_it_is_kept() {
    for name in ["authorization", "cookie"] {
        let (fallback, hands) = fallback(&config());
        let upstream = Upstream::numbers(&[]).shut();
        let client = client(&fallback, &upstream);
        let who = |number| vec![(name, ["ada", "bob"][number % 2])];
        let answers = at_one_time(&client, &upstream, 10, 10, who).await;
        assert_eq!(upstream.asked(), 10);
        assert!(
            answers
                .iter()
                .all(|answer| answer.cache_status() == "fwd=uri-miss")
        );
        assert_eq!(fallback.snapshot().cache.entries, 0);
        hands.clock.advance(TTL);
        upstream.is_down();
        let error = send(&client, request("GET", &[(name, "ada")]))
            .await
            .unwrap_err();
        assert_eq!(error.tried(), &Tried::NothingStored);
    }
}

#[tokio::test]
async fn a_public_answer_to_one_with_credentials_is_for_all() {
    let (fallback, _hands) = fallback(&config());
    let upstream = Upstream::numbers(&[("cache-control", "public, max-age=60")]);
    let client = client(&fallback, &upstream);
    let ada = [("authorization", "ada")];
    assert_eq!(get(&client, &ada).await, both("1", "fwd=uri-miss; stored"));
    assert_eq!(get(&client, &[]).await, both("1", "hit; ttl=60"));
    assert_eq!(
        get(&client, &[("cookie", "bob")]).await,
        both("1", "hit; ttl=60")
    );
}

#[tokio::test]
async fn with_one_identity_credentials_make_no_difference() {
    let (fallback, _hands) = fallback(&config());
    let upstream = Upstream::numbers(&[("cache-control", "private")]).shut();
    let client: Client = HttpFallbackLayer::new(fallback.clone())
        .one_identity()
        .layer(upstream.clone());
    let answers = at_one_time(&client, &upstream, 10, 1, |_| vec![("authorization", "us")]).await;
    assert!(answers.iter().all(|answer| answer.body == "1"));
    assert_eq!(upstream.asked(), 1);
    // A layer without that does not find them.
    let other = super::client(&fallback, &upstream);
    assert_eq!(get(&other, &[]).await.0, "2");
}
