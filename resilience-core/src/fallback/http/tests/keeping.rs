//! What is kept, for whom, and until when.

use super::*;

#[tokio::test]
async fn an_answer_is_kept_with_its_status_headers_body_and_trailers() {
    let (fallback, hands) = fallback(&config());
    let upstream = Upstream::new(|_, _| {
        let trailers = HeaderMap::from_iter([(
            http::HeaderName::from_static("x-sum"),
            http::HeaderValue::from_static("7"),
        )]);
        let body = Full::new(Bytes::from("1.08"))
            .with_trailers(async move { Some(Ok::<_, Infallible>(trailers)) });
        let mut response = response(203, &[("content-type", "text/plain")], "");
        *response.body_mut() = whole(body);
        Ok(response)
    });
    let client = client(&fallback, &upstream);
    let live = send(&client, request("GET", &[])).await.unwrap();
    assert_eq!(live.cache_status(), "fwd=uri-miss; stored");
    assert!(live.headers.get("age").is_none());
    hands.clock.advance(60 * SECOND);
    let kept = send(&client, request("GET", &[])).await.unwrap();
    assert_eq!(kept.cache_status(), "hit; ttl=240");
    assert_eq!(kept.headers["age"], "60");
    assert_eq!(
        (live.source(), kept.source()),
        (Source::Live, Source::Fresh)
    );
    for answer in [live, kept] {
        assert_eq!((answer.status, answer.body.as_str()), (203, "1.08"));
        assert_eq!(answer.headers["content-type"], "text/plain");
        assert_eq!(answer.trailers.unwrap()["x-sum"], "7");
    }
    assert_eq!(upstream.asked(), 1);
}

#[tokio::test]
async fn how_old_it_was_when_it_came_counts() {
    let (fallback, hands) = fallback(&config());
    let upstream = Upstream::numbers(&[("age", "100"), ("cache-control", "max-age=150")]);
    let client = client(&fallback, &upstream);
    let live = send(&client, request("GET", &[])).await.unwrap();
    assert_eq!(live.headers["age"], "100");
    hands.clock.advance(49 * SECOND);
    let kept = send(&client, request("GET", &[])).await.unwrap();
    assert_eq!(
        (&kept.headers["age"], kept.cache_status()),
        (&"149".parse().unwrap(), "hit; ttl=1")
    );
    hands.clock.advance(SECOND);
    assert_eq!(get(&client, &[]).await, both("2", "fwd=stale; stored"));
}

#[tokio::test]
async fn what_others_have_said_in_cache_status_stays_before_our_word() {
    let (fallback, _hands) = fallback(&config());
    let upstream = Upstream::numbers(&[("cache-status", "edge; hit")]);
    let client = client(&fallback, &upstream);
    for expected in ["rates; fwd=uri-miss; stored", "rates; hit; ttl=300"] {
        let answer = send(&client, request("GET", &[])).await.unwrap();
        let values: Vec<_> = answer.headers.get_all("cache-status").iter().collect();
        assert_eq!(values, ["edge; hit", expected]);
    }
}

#[tokio::test]
async fn other_methods_ranges_and_conditions_are_passed_on_untouched() {
    let (fallback, _hands) = fallback(&config());
    let upstream = Upstream::numbers(&[]);
    let client = client(&fallback, &upstream);
    for (method, headers) in [
        ("HEAD", &[][..]),
        ("OPTIONS", &[]),
        ("GET", &[("range", "bytes=0-1")]),
        ("GET", &[("if-none-match", "\"a\"")]),
    ] {
        for _ in 0..2 {
            let answer = send(&client, request(method, headers)).await.unwrap();
            assert_eq!((answer.cache_status(), &answer.served), ("", &None));
        }
    }
    assert_eq!(upstream.asked(), 8);
    assert_eq!(fallback.snapshot().cache.entries, 0);
    upstream.is_down();
    let error = send(&client, request("HEAD", &[])).await.unwrap_err();
    assert_eq!(error.tried(), &Tried::NotForThis);
}

#[tokio::test]
async fn answers_that_are_not_to_be_kept_are_not() {
    for header in [
        ("cache-control", "no-store"),
        ("cache-control", "private, max-age=60"),
        ("set-cookie", "session=1"),
        ("vary", "*"),
    ] {
        let (fallback, _hands) = fallback(&config());
        let headers: &'static [_] = Vec::leak(vec![header]);
        let upstream = Upstream::numbers(headers);
        let client = client(&fallback, &upstream);
        assert_eq!(get(&client, &[]).await, both("1", "fwd=uri-miss"));
        assert_eq!(get(&client, &[]).await, both("2", "fwd=uri-miss"));
        assert_eq!(fallback.snapshot().cache.entries, 0, "{header:?}");
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_passed_on_whole_and_not_kept() {
    let mut config = config();
    config.largest_body = 10;
    let (fallback, _hands) = fallback(&config);
    let upstream = Upstream::new(|number, _| {
        let body = if number == 1 {
            "0123456789a"
        } else {
            "0123456789"
        };
        Ok(response(200, &[], body))
    });
    let client = client(&fallback, &upstream);
    assert_eq!(get(&client, &[]).await, both("0123456789a", "fwd=uri-miss"));
    assert_eq!(
        get(&client, &[]).await,
        both("0123456789", "fwd=uri-miss; stored")
    );
    assert_eq!(get(&client, &[]).await.1, "hit; ttl=300");
}

#[tokio::test]
async fn answers_differ_by_the_headers_that_they_name() {
    let (fallback, hands) = fallback(&config());
    let upstream = Upstream::new(|number, parts| {
        let language = parts.headers["accept-language"].to_str().unwrap();
        Ok(response(
            200,
            &[("vary", "Accept-Language")],
            &format!("{language}{number}"),
        ))
    });
    let client = client(&fallback, &upstream);
    let (en, de) = ([("accept-language", "en")], [("accept-language", "de")]);
    assert_eq!(get(&client, &en).await, both("en1", "fwd=uri-miss; stored"));
    assert_eq!(
        get(&client, &de).await,
        both("de2", "fwd=vary-miss; stored")
    );
    assert_eq!(get(&client, &en).await, both("en1", "hit; ttl=300"));
    assert_eq!(get(&client, &de).await, both("de2", "hit; ttl=300"));
    // Each is the last good one of its own.
    hands.clock.advance(TTL);
    upstream.answers(503);
    let stale = "fwd=stale; fwd-status=503; detail=stale-if-error";
    assert_eq!(get(&client, &en).await, both("en1", stale));
    assert_eq!(get(&client, &de).await, both("de2", stale));
    let fr = send(&client, request("GET", &[("accept-language", "fr")]))
        .await
        .unwrap();
    assert_eq!((fr.status, fr.cache_status()), (503, "fwd=vary-miss"));
    // The note of the names is no answer.
    assert_eq!(fallback.snapshot().oldest_ms, Some(300_000));
    assert_eq!(fallback.purge(), 2);
}

#[tokio::test]
async fn what_changes_a_resource_makes_all_its_answers_be_forgotten_if_it_succeeds() {
    let (fallback, _hands) = fallback(&config());
    let upstream = Upstream::numbers(&[("vary", "accept-language")]);
    let client = client(&fallback, &upstream);
    let (en, de) = ([("accept-language", "en")], [("accept-language", "de")]);
    get(&client, &en).await;
    get(&client, &de).await;
    upstream.answers(500);
    send(&client, request("POST", &[])).await.unwrap();
    upstream.is_down();
    send(&client, request("DELETE", &[])).await.unwrap_err();
    assert_eq!(
        get(&client, &en).await.1,
        "hit; ttl=300",
        "nothing was changed"
    );

    for (number, method) in ["POST", "PUT", "PATCH", "DELETE"].iter().enumerate() {
        upstream.asked.store(number as u64 * 10, SeqCst);
        upstream.answers(204);
        send(&client, request(method, &[])).await.unwrap();
        upstream.now_says(|number, _| {
            Ok(response(
                200,
                &[("vary", "accept-language")],
                &number.to_string(),
            ))
        });
        let first = (number * 10 + 2).to_string();
        let second = (number * 10 + 3).to_string();
        assert_eq!(get(&client, &en).await.0, first);
        // Not the one from before, although its note is the same again.
        assert_eq!(get(&client, &de).await.0, second);
    }
}

#[tokio::test]
async fn an_answer_asked_for_before_a_change_is_not_kept_after_it() {
    let (fallback, _hands) = fallback(&config());
    let upstream = Upstream::numbers(&[("vary", "accept-language")]);
    let client = client(&fallback, &upstream);
    let en = [("accept-language", "en")];
    get(&client, &en).await;
    let shut = Upstream { ..upstream.clone() }.shut();
    let slow = super::client(&fallback, &shut);
    let de = [("accept-language", "de")];
    let asked = request("GET", &de);
    let caller = tokio::spawn(async move { send(&slow, asked).await.unwrap() });
    until(|| upstream.asked() == 2).await;
    send(&client, request("POST", &[])).await.unwrap();
    shut.answer(1);
    assert_eq!(caller.await.unwrap().body, "2");
    assert_eq!(get(&client, &de).await, both("4", "fwd=uri-miss; stored"));
}

#[tokio::test]
async fn what_is_not_found_any_more_is_no_longer_the_last_good_answer() {
    for status in [404, 410] {
        let (fallback, hands) = fallback(&config());
        let upstream = Upstream::numbers(&[]);
        let client = client(&fallback, &upstream);
        get(&client, &[]).await;
        hands.clock.advance(TTL);
        upstream.answers(status);
        let gone = send(&client, request("GET", &[])).await.unwrap();
        assert_eq!((gone.status, gone.cache_status()), (status, "fwd=stale"));
        upstream.is_down();
        let error = send(&client, request("GET", &[])).await.unwrap_err();
        assert_eq!(error.tried(), &Tried::NothingStored);
    }
}

#[tokio::test]
async fn a_request_may_ask_for_no_stored_answer_or_for_none_but_that() {
    let (fallback, hands) = fallback(&config());
    let upstream = Upstream::numbers(&[]);
    let client = client(&fallback, &upstream);
    let only = [("cache-control", "only-if-cached")];
    let none = send(&client, request("GET", &only)).await.unwrap();
    assert_eq!(
        (none.status, none.cache_status()),
        (504, "detail=only-if-cached")
    );
    assert_eq!(upstream.asked(), 0);
    get(&client, &[]).await;
    assert_eq!(get(&client, &only).await, both("1", "hit; ttl=300"));
    let anew = [("cache-control", "no-cache")];
    assert_eq!(get(&client, &anew).await, both("2", "fwd=request; stored"));
    assert_eq!(get(&client, &[]).await, both("2", "hit; ttl=300"));
    let unseen = [("cache-control", "no-store")];
    assert_eq!(get(&client, &unseen).await.0, "2");
    // Not older than so much.
    hands.clock.advance(10 * SECOND);
    assert_eq!(
        get(&client, &[("cache-control", "max-age=10")]).await.0,
        "2"
    );
    let young = [("cache-control", "max-age=9")];
    assert_eq!(get(&client, &young).await, both("3", "fwd=stale; stored"));
    upstream.is_down();
    let error = send(&client, request("GET", &anew)).await.unwrap_err();
    assert_eq!(error.tried(), &Tried::NothingStored);
}

#[tokio::test]
async fn the_upstream_may_let_a_stale_answer_be_served_while_it_is_asked() {
    let (fallback, hands) = fallback(&config());
    let upstream = Upstream::numbers(&[("cache-control", "max-age=10, stale-while-revalidate=20")]);
    let client = client(&fallback, &upstream);
    get(&client, &[]).await;
    hands.clock.advance(22 * SECOND);
    let told = "hit; ttl=-12; detail=stale-while-revalidate";
    assert_eq!(get(&client, &[]).await, both("1", told));
    until(|| fallback.snapshot().cache.fetching == 0).await;
    assert_eq!(get(&client, &[]).await, both("2", "hit; ttl=10"));
}
