//! What is given again without another look, and when that is over.

use super::*;

/// Three times the same: the first asks, the second finds, and from the third on it is
/// ready to be given again.
async fn warm(client: &Client) {
    for _ in 0..3 {
        let answer = send(client, request("GET", &[])).await.unwrap();
        assert_eq!(answer.body, "1");
    }
}

/// Where the value of `Cache-Status` is in memory: made for each answer that is looked for,
/// and one for all that are given again.
async fn where_it_is(client: &Client) -> (Response<FallbackBody<TestBody>>, *const u8) {
    let response = client.clone().oneshot(request("GET", &[])).await.unwrap();
    let at = response.headers()["cache-status"].as_bytes().as_ptr();
    (response, at)
}

#[tokio::test]
async fn what_is_given_again_is_one_response_and_says_how_old_it_is() {
    let (fallback, hands) = fallback(&config());
    let upstream = Upstream::numbers(&[("x-a", "1"), ("etag", "\"e\"")]);
    let client = client(&fallback, &upstream);
    warm(&client).await;
    let (one, other) = (where_it_is(&client).await, where_it_is(&client).await);
    assert_eq!(one.1, other.1, "both are handles of one");
    for seconds in [0, 7, 8] {
        hands.clock.advance(seconds * SECOND);
        let first = send(&client, request("GET", &[])).await.unwrap();
        let again = send(&client, request("GET", &[])).await.unwrap();
        assert_eq!(first.headers, again.headers);
        assert_eq!((first.body, again.body), ("1".to_owned(), "1".to_owned()));
    }
    let answer = send(&client, request("GET", &[])).await.unwrap();
    assert_eq!(answer.headers["age"], "15");
    assert_eq!(answer.cache_status(), "hit; ttl=285");
    assert_eq!(answer.headers["x-a"], "1");
    let seen = fallback.snapshot();
    assert_eq!((seen.responses.live, seen.responses.fresh), (1, 11));
    assert_eq!(upstream.asked(), 1);
}

#[tokio::test]
async fn it_is_over_when_the_answer_is_no_longer_fresh_or_too_old_for_who_asks() {
    let (fallback, hands) = fallback(&config());
    let upstream = Upstream::numbers(&[]);
    let client = client(&fallback, &upstream);
    warm(&client).await;
    hands.clock.advance(10 * SECOND);
    warm(&client).await;
    let picky = [("cache-control", "max-age=9")];
    assert_eq!(get(&client, &picky).await.0, "2");
    for _ in 0..3 {
        assert_eq!(get(&client, &[]).await, both("2", "hit; ttl=300"));
    }
    hands.clock.advance(TTL);
    assert_eq!(get(&client, &[]).await, both("3", "fwd=stale; stored"));
}

#[tokio::test]
async fn it_is_over_when_anything_has_changed() {
    let shorter = {
        let mut config = config();
        config.ttl = SECOND;
        config
    };
    let none = {
        let mut config = config();
        config.strategy = FallbackStrategy::None;
        config
    };
    type Change = Box<dyn Fn(&crate::fallback::Fallback)>;
    let table: [(&str, Change, &str); 4] = [
        (
            "purge",
            Box::new(|rates| _ = rates.purge()),
            "fwd=uri-miss; stored",
        ),
        (
            "off",
            Box::new(|rates| _ = rates.switch(Some(false), None, None)),
            "fwd=bypass; stored",
        ),
        (
            "ttl",
            Box::new(move |rates| rates.configure(&shorter)),
            "fwd=stale; stored",
        ),
        ("none", Box::new(move |rates| rates.configure(&none)), ""),
    ];
    for (what, change, done) in table {
        let (fallback, hands) = fallback(&config());
        let upstream = Upstream::numbers(&[]);
        let client = client(&fallback, &upstream);
        warm(&client).await;
        hands.clock.advance(2 * SECOND);
        warm(&client).await;
        change(&fallback);
        assert_eq!(get(&client, &[]).await, both("2", done), "{what}");
    }
}

#[tokio::test]
async fn it_is_over_when_it_was_forgotten_or_another_layer_has_brought_a_newer_one() {
    let (fallback, _hands) = fallback(&config());
    let upstream = Upstream::numbers(&[]);
    let (client, other) = (client(&fallback, &upstream), client(&fallback, &upstream));
    warm(&client).await;
    send(&other, request("POST", &[])).await.unwrap();
    assert_eq!(get(&client, &[]).await, both("3", "fwd=uri-miss; stored"));
    for _ in 0..3 {
        assert_eq!(get(&client, &[]).await.0, "3");
    }
    assert_eq!(get(&other, &[("cache-control", "no-cache")]).await.0, "4");
    assert_eq!(get(&client, &[]).await, both("4", "hit; ttl=300"));
}

#[tokio::test]
async fn something_else_that_changes_makes_it_be_looked_for_once() {
    let (fallback, _hands) = fallback(&config());
    let upstream = Upstream::numbers(&[]);
    let client = client(&fallback, &upstream);
    warm(&client).await;
    let before = where_it_is(&client).await;
    let mut elsewhere = request("GET", &[]);
    *elsewhere.uri_mut() = http::Uri::from_static("http://rates.example/USD");
    send(&client, elsewhere).await.unwrap();
    let looked_for = where_it_is(&client).await;
    assert_ne!(before.1, looked_for.1);
    assert_eq!(
        before.1,
        where_it_is(&client).await.1,
        "and then it is ready as before"
    );
}

/// Their keys end alike, so that one takes the place of the other.
#[tokio::test]
async fn answers_to_other_questions_are_never_given() {
    let (fallback, _hands) = fallback(&config());
    let upstream = Upstream::new(|_, asked| Ok(response(200, &[], asked.uri.host().unwrap())));
    let client = client(&fallback, &upstream);
    for _ in 0..4 {
        for (host, uri) in [
            ("one.example", "http://one.example/rates/EUR"),
            ("two.example", "http://two.example/rates/EUR"),
            ("two.example", "http://two.example/rates/EUR"),
            ("two.example", "http://two.example/rates/EUR"),
        ] {
            let mut request = request("GET", &[]);
            *request.uri_mut() = http::Uri::from_static(uri);
            assert_eq!(send(&client, request).await.unwrap().body, host);
        }
    }
    assert_eq!(upstream.asked(), 2);
}

/// More of them than a thread has places, and all are asked the same.
#[tokio::test]
async fn layers_never_give_each_others_answers() {
    let all: Vec<_> = (0..40)
        .map(|number: u32| {
            let (fallback, _hands) = fallback(&config());
            let says = number.to_string();
            let upstream = Upstream::new(move |_, _| Ok(response(200, &[], &says)));
            client(&fallback, &upstream)
        })
        .collect();
    for _ in 0..2 {
        for (number, client) in all.iter().enumerate() {
            for _ in 0..4 {
                assert_eq!(get(client, &[]).await.0, number.to_string());
            }
        }
    }
}

#[tokio::test]
async fn what_differs_by_headers_is_looked_for_each_time() {
    let (fallback, _hands) = fallback(&config());
    let upstream = Upstream::new(|_, asked| {
        let language = asked.headers["accept-language"].to_str().unwrap();
        Ok(response(200, &[("vary", "accept-language")], language))
    });
    let client = client(&fallback, &upstream);
    for language in ["de", "de", "de", "de", "fr", "fr", "fr", "fr", "de"] {
        let (body, _) = get(&client, &[("accept-language", language)]).await;
        assert_eq!(body, language);
    }
    assert_eq!(upstream.asked(), 2);
}

#[tokio::test]
async fn a_call_that_fails_elsewhere_changes_nothing() {
    let (fallback, _hands) = fallback(&config());
    let upstream = Upstream::numbers(&[]);
    let client = client(&fallback, &upstream);
    warm(&client).await;
    let before = where_it_is(&client).await;
    upstream.is_down();
    let mut elsewhere = request("GET", &[]);
    *elsewhere.uri_mut() = http::Uri::from_static("http://rates.example/USD");
    send(&client, elsewhere).await.unwrap_err();
    assert_eq!(before.1, where_it_is(&client).await.1);
}

#[test]
fn what_was_forgotten_by_another_thread_is_over_here_too() {
    use std::{sync::mpsc, thread};
    let (fallback, _hands) = fallback(&config());
    let client = client(&fallback, &Upstream::numbers(&[]));
    let (warmed, is_warm) = mpsc::channel();
    let (purged, is_purged) = mpsc::channel();
    let other = thread::spawn(move || {
        tokio_test::block_on(warm(&client));
        warmed.send(()).unwrap();
        is_purged.recv().unwrap();
        tokio_test::block_on(get(&client, &[]))
    });
    is_warm.recv().unwrap();
    fallback.purge();
    purged.send(()).unwrap();
    let answer = other.join().unwrap();
    assert_eq!(answer, both("2", "fwd=uri-miss; stored"));
}
