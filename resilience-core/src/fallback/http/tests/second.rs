//! Answers over HTTP that another process has kept.

use super::*;
use crate::fallback::tests::second::{process, second_level};

const STALE: &str = "fwd=stale; detail=stale-if-error";

#[tokio::test]
async fn after_a_restart_each_variant_is_found_also_when_one_of_them_was_fetched_anew() {
    let (second, config) = (second_level(), config());
    let upstream = Upstream::numbers(&[("vary", "accept-language"), ("x-kept", "yes")]);
    let (en, de) = ([("accept-language", "en")], [("accept-language", "de")]);
    let before = client(&process(&config, &second, 0).0, &upstream);
    get(&before, &en).await;
    get(&before, &de).await;

    let after = client(&process(&config, &second, 400).0, &upstream);
    assert_eq!(get(&after, &en).await, both("3", "fwd=uri-miss; stored"));
    upstream.is_down();
    let answer = send(&after, request("GET", &de)).await.unwrap();
    assert_eq!((answer.body.as_str(), answer.cache_status()), ("2", STALE));
    assert_eq!(
        (&answer.headers["age"], &answer.headers["x-kept"]),
        (&"400".parse().unwrap(), &"yes".parse().unwrap())
    );
    // And after the next one.
    let later = client(&process(&config, &second, 500).0, &upstream);
    assert_eq!(get(&later, &en).await, both("3", "hit; ttl=200"));
    assert_eq!(get(&later, &de).await, both("2", STALE));
}

#[tokio::test]
async fn what_was_changed_or_is_gone_is_forgotten_in_the_second_level_too() {
    let (second, config) = (second_level(), config());
    for vary in [&[("vary", "accept-language")][..], &[]] {
        let upstream = Upstream::numbers(Vec::leak(vary.to_vec()));
        for forgets in ["POST", "GET"] {
            let before = client(&process(&config, &second, 0).0, &upstream);
            upstream.now_says(move |_, _| Ok(response(200, Vec::leak(vary.to_vec()), "old")));
            get(&before, &[]).await;
            upstream.answers(if forgets == "GET" { 404 } else { 204 });
            let anew = [("cache-control", "no-cache")];
            send(&before, request(forgets, &anew)).await.unwrap();
            upstream.is_down();
            let after = client(&process(&config, &second, 0).0, &upstream);
            let error = send(&after, request("GET", &[])).await.unwrap_err();
            assert_eq!(error.tried(), &Tried::NothingStored, "{vary:?} {forgets}");
        }
    }
}
