//! RB-004 B: the payment provider stays down, and rates go on from what was kept.

use std::{ops::Range, time::Duration};

use resilience_examples::{Fault, Mode, process::Signal};
use resilience_tests::lone::{
    Answer, Api, BREAKER, FALLBACK, Ground, RELOADED, SOON, Sidecar, eventually, metric,
};

/// Asks the provider each time: a stored rate is for when that fails.
const CONFIG: &str = "\
resilience:
  circuit_breaker:
    window: {calls: 10}
    minimum_calls: 5
    wait_in_open: 60s
fallback: {enabled: true, strategy: cache, ttl: 1ms, store: file}
services:
  payment_api: {}
";

async fn rate(api: &Api) -> Answer {
    api.get("/rates/EUR").await
}

async fn state(api: &Api) -> String {
    api.socket.get(&format!("{BREAKER}/state")).await.text()
}

/// Breaks the provider and asks for the rate until the circuit is open: the last
/// answer before that and the first one after. No answer is anything but `status`.
async fn break_provider(ground: &Ground, api: &Api, status: &[u16]) -> [Answer; 2] {
    ground.stub.set_fault(Mode::Fail.into());
    let mut before = None;
    eventually("the circuit opens", SOON, async || {
        let answer = rate(api).await;
        assert!(status.contains(&answer.status), "{answer:?}");
        before.get_or_insert(answer);
        (state(api).await == r#"{"state":"OPEN"}"#).then_some(())
    })
    .await;
    let after = rate(api).await;
    assert!(status.contains(&after.status), "{after:?}");
    [before.expect("it was asked"), after]
}

/// Of one source, as the sidecar shows it.
async fn responses(sidecar: &Sidecar, source: &str) -> f64 {
    let text = sidecar.public.get("/metrics").await.text();
    let series = format!(r#"fallback_responses_total{{service="payment_api",source="{source}"}}"#);
    metric(&text, &series).unwrap_or_else(|| panic!("no {series} in:\n{text}"))
}

/// The answer is the one that was kept, and says so to programs and to people.
fn assert_kept(answer: &Answer, live: &Answer) {
    assert_eq!(answer.status, 200, "{answer:?}");
    let said = answer.header("cache-status");
    assert!(said.starts_with("payment_api; fwd=stale"), "{answer:?}");
    assert!(said.ends_with("; detail=stale-if-error"), "{answer:?}");
    let age: u64 = answer.header("age").parse().expect("an age in seconds");
    assert!(age < 60, "{answer:?}");
    let (kept, live) = (answer.json(), live.json());
    for key in ["currency", "rate", "as_of"] {
        assert_eq!(kept[key], live[key], "{answer:?}");
    }
    let note = kept["note"].as_str().unwrap_or_default();
    let said = note.strip_prefix("cached rate as of ").unwrap_or_default();
    // When it was asked for is when the provider reckoned it, but for moments.
    let minute = &live["as_of"].as_str().expect("a time")[11..16];
    let seconds = |time: &str| {
        let number = |at: Range<usize>| time.get(at)?.parse::<u32>().ok();
        Some(number(0..2)? * 3_600 + number(3..5)? * 60)
    };
    let apart = seconds(said).zip(seconds(minute));
    let apart = apart.map(|(said, live)| said.abs_diff(live));
    assert!(apart.is_some_and(|s| s <= 60 || s == 86_340), "{answer:?}");
}

#[tokio::test]
async fn rates_go_on_while_the_provider_is_down_until_somebody_switches_that_off() {
    let ground = Ground::start().await;
    let config = ground.write("config.yaml", CONFIG);
    let api = ground.api().fallback().config(config).start().await;
    let sidecar = ground.sidecar(&[]).await;

    let live = rate(&api).await;
    assert_eq!(live.status, 200, "{live:?}");
    let asked = "payment_api; fwd=uri-miss; stored";
    assert_eq!(live.header("cache-status"), asked);
    assert_eq!(live.header("age"), "");
    assert!(live.json()["note"].is_null(), "{live:?}");

    // Broken: the same rate as before, before the circuit opens and after, when the
    // provider is not asked any more.
    let [failed, refused] = break_provider(&ground, &api, &[200]).await;
    assert_kept(&failed, &live);
    assert!(failed.header("cache-status").contains("; fwd-status=503;"));
    assert_kept(&refused, &live);
    assert_eq!(
        refused.header("cache-status"),
        "payment_api; fwd=stale; detail=stale-if-error"
    );
    let reached = ground.stub.counts();
    for _ in 0..3 {
        assert_kept(&rate(&api).await, &live);
    }
    assert_eq!(ground.stub.counts(), reached);
    // What is not kept fails as ever.
    let other = api.get("/rates/CHF").await;
    assert_eq!(other.problem(503)["detail"], "Circuit is open");

    eventually("the sidecar shows it", SOON, async || {
        let stale = responses(&sidecar, "stale").await;
        (stale >= 5.0 && responses(&sidecar, "miss").await == 1.0).then_some(())
    })
    .await;
    assert_eq!(responses(&sidecar, "live").await, 1.0);
    let shown = sidecar.admin.get("/admin/fallback").await.json();
    let ours = &shown["fallbacks"][0];
    assert_eq!(ours["service"], "payment_api", "{shown}");
    assert_eq!(ours["store"], "file", "{shown}");
    assert!(ours["oldest_ms"].as_u64().is_some(), "{shown}");

    // Off by hand: the failure reaches the callers. On again: it does not.
    let why = r#"{"reason": "INC-7: rates moved"}"#;
    let off = format!("{FALLBACK}/disable");
    let receipt = sidecar.admin.post_json(&off, why).await;
    assert_eq!(receipt.status, 200, "{receipt:?}");
    assert_eq!(receipt.json()["outcome"], "applied", "{receipt:?}");
    assert_eq!(rate(&api).await.problem(503)["detail"], "Circuit is open");
    api.logged(1, &["ERROR", "Circuit is open", "fallback:switched_off"])
        .await;
    let shown = api.socket.get(FALLBACK).await.json();
    assert_eq!(shown["enabled"], false, "{shown}");
    assert_eq!(shown["switched"]["reason"], "INC-7: rates moved", "{shown}");
    // As the runbook's commands are: without a body.
    let receipt = sidecar.admin.post(&format!("{FALLBACK}/enable")).await;
    assert_eq!(receipt.json()["after"]["enabled"], true, "{receipt:?}");
    assert_kept(&rate(&api).await, &live);

    // Forgotten: there is nothing to go on with, in memory or in the file.
    let receipt = sidecar.admin.post(&format!("{FALLBACK}/purge")).await;
    assert_eq!(receipt.json()["purged"], 1, "{receipt:?}");
    assert_eq!(rate(&api).await.problem(503)["detail"], "Circuit is open");
}

#[tokio::test]
async fn the_runbooks_lines_in_the_file_bring_back_what_was_kept_while_it_was_off() {
    let ground = Ground::start().await;
    let off = CONFIG.replace("enabled: true", "enabled: false");
    let config = ground.write("config.yaml", &off);
    let api = ground.api().fallback().config(config).start().await;
    let live = rate(&api).await;
    assert_eq!(live.status, 200, "{live:?}");
    let kept = "payment_api; fwd=bypass; stored";
    assert_eq!(live.header("cache-status"), kept);
    let [_, refused] = break_provider(&ground, &api, &[502, 503]).await;
    assert_eq!(refused.problem(503)["detail"], "Circuit is open");

    // RB-004 B, to the letter.
    let snippet = "\
fallback:
  enabled: true
  strategy: cache  # Use cached data
";
    let before = CONFIG.lines().filter(|line| !line.starts_with("fallback:"));
    let before: Vec<_> = before.collect();
    ground.write("config.yaml", &format!("{}\n{snippet}", before.join("\n")));
    let answer = eventually("the rates are there", RELOADED, async || {
        let answer = rate(&api).await;
        (answer.status == 200).then_some(answer)
    })
    .await;
    // The runbook says nothing of `ttl`, and by the default this one is still fresh.
    let said = answer.header("cache-status");
    assert!(said.starts_with("payment_api; hit; ttl="), "{answer:?}");
    assert!(!answer.header("age").is_empty(), "{answer:?}");
    assert_eq!(answer.json()["as_of"], live.json()["as_of"], "{answer:?}");
    assert_eq!(state(&api).await, r#"{"state":"OPEN"}"#);
    assert!(matches!(api.child.try_exit(), Ok(None)), "no restart");
    // Where answers are kept is settled at the start, and the log says so.
    api.logged(1, &["`fallback.store`", "next start"]).await;
}

#[tokio::test]
async fn a_killed_service_that_comes_back_while_the_provider_is_down_still_has_the_rate() {
    let ground = Ground::start().await;
    let config = ground.write("config.yaml", CONFIG);
    let api = ground.api().fallback().config(&config).start().await;
    let live = rate(&api).await;
    eventually("it is written", SOON, async || {
        let written = r#"fallback_store_writes_total{store="file",result="written"}"#;
        (api.metric(written).await >= 1.0).then_some(())
    })
    .await;
    break_provider(&ground, &api, &[200]).await;
    api.child.signal(Signal::KILL).unwrap();
    api.child.wait_exit(SOON).await.unwrap();
    drop(api);

    let api = ground.api().fallback().config(&config).start().await;
    let answer = eventually("the file is read", SOON, async || {
        // A read that takes longer than its few milliseconds counts as none.
        let answer = rate(&api).await;
        (answer.status == 200).then_some(answer)
    })
    .await;
    assert_kept(&answer, &live);
    // The circuit came back open, too.
    assert_eq!(state(&api).await, r#"{"state":"OPEN"}"#);
}

#[tokio::test]
async fn how_long_the_provider_says_a_rate_may_be_kept_goes_before_the_configuration() {
    let ground = Ground::start().await;
    let config = ground.write("config.yaml", CONFIG);
    let api = ground.api().fallback().config(config).start().await;
    ground.stub.set_fault(Fault {
        max_age: Some(Duration::from_secs(600)),
        ..Fault::default()
    });
    assert_eq!(rate(&api).await.status, 200);
    let hit = api.get("/rates/eur").await;
    let said = hit.header("cache-status");
    let ttl = said.strip_prefix("payment_api; hit; ttl=");
    let ttl: u64 = ttl.and_then(|ttl| ttl.parse().ok()).expect(said);
    assert!((500..=600).contains(&ttl), "{hit:?}");
    assert!(hit.json()["note"].is_null(), "{hit:?}");
    assert_eq!(ground.stub.counts().answered, 1);
    assert_eq!(api.get("/rates/EUR?on=2026-01-31").await.status, 200);
    assert_eq!(ground.stub.counts().answered, 2);
}

#[tokio::test]
async fn what_cannot_be_a_rate_is_refused_before_anybody_is_asked() {
    let ground = Ground::start().await;
    let api = ground.api().fallback().start().await;
    for (path, word) in [
        ("/rates/EURO", "three letters"),
        ("/rates/E1R", "three letters"),
        ("/rates/%C3%A9E", "three letters"),
        ("/rates/EUR?on=yesterday", "2026-01-31"),
        ("/rates/EUR?on=2026-01-31%26a", "2026-01-31"),
    ] {
        let refused = api.get(path).await.problem(400);
        let detail = refused["detail"].as_str().unwrap();
        assert!(detail.contains(word), "{path}: {detail}");
    }
    assert_eq!(ground.stub.counts(), Default::default());
    // Three letters, and no currency: the provider's 404 is no outage.
    api.get("/rates/XXX").await.problem(404);
}
