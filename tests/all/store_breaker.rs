//! The circuit breaker before a store of the fallback, as an on-call sees it.

use resilience_core::blackbox;
use resilience_examples::{RedisOptions, TemporaryRedis, process::Signal};
use resilience_tests::lone::{Api, Ground, RELOADED, SOON, eventually, metric};

const OURS: &str = "/admin/circuit-breaker/fallback_redis";

/// Circuits are critical here, and what the file says of breakers would have this one
/// stay closed for long.
fn config(redis: &TemporaryRedis, ttl: &str) -> String {
    format!(
        "\
resilience: {{circuit_breaker: {{enabled: false, wait_in_open: 300s}}}}
health: {{ready: {{circuit_breakers: critical}}}}
fallback: {{ttl: {ttl}, store: redis, redis: {{url: '{}'}}}}
services: {{payment_api: {{}}}}
",
        redis.url()
    )
}

/// Asks for what is not in memory, each time another, until the store is or is not
/// asked any more.
async fn ask_until(what: &str, api: &Api, day: &mut u32, state: &str) {
    let state = format!(r#"{{"state":"{state}"}}"#);
    eventually(what, SOON, async || {
        *day += 1;
        let date = format!("20{:02}-01-{:02}", *day / 28, *day % 28 + 1);
        let rate = api.get(&format!("/rates/EUR?on={date}")).await;
        assert_eq!(rate.status, 200, "{rate:?}");
        (api.socket.get(&format!("{OURS}/state")).await.text() == state).then_some(())
    })
    .await;
}

#[tokio::test]
async fn is_seen_and_changed_like_any_other_and_takes_no_replica_out_of_service() {
    let ground = Ground::start().await;
    let redis = TemporaryRedis::start(RedisOptions::default()).await;
    let redis = redis.unwrap();
    let file = ground.write("config.yaml", &config(&redis, "1h"));
    let api = ground.api().fallback().config(&file).start().await;
    let sidecar = ground.sidecar(&[]).await;
    let state = async || sidecar.admin.get(&format!("{OURS}/state")).await.text();
    assert_eq!(state().await, r#"{"state":"CLOSED"}"#);
    let mut day = 0;

    // Is Redis's breaker open?
    redis.freeze();
    ask_until("it opens", &api, &mut day, "OPEN").await;
    let explained = sidecar.admin.get(&format!("{OURS}/explain")).await;
    let said = explained.text();
    assert!(said.contains("fallback_redis is"), "{said}");
    let text = sidecar.public.get("/metrics").await.text();
    let opened = r#"circuit_breaker_open_seconds_total{service="fallback_redis"}"#;
    assert!(metric(&text, opened).is_some(), "{text}");
    let ready = api.get("/health/ready").await;
    assert_eq!(ready.status, 200, "{ready:?}");
    let checks = &ready.json()["checks"];
    assert_eq!(checks["circuit_breakers"][0]["status"], "pass", "{checks}");
    assert_eq!(checks["fallbacks"][0]["status"], "warn", "{checks}");
    // The store says it once, and the circuit, which tries every second, nothing.
    api.logged(1, &["cannot be read from the fallback's store"])
        .await;
    assert!(api.lines(&["Circuit is", "fallback_redis"]).is_empty());

    // What the file says of breakers is not for this one, at the start or later.
    ground.write("config.yaml", &config(&redis, "2h"));
    eventually("the file is read", RELOADED, async || {
        let shown = api.socket.get("/admin/fallback/payment_api").await;
        (shown.json()["ttl_ms"] == 7_200_000).then_some(())
    })
    .await;
    let settings = &api.socket.get(OURS).await.json()["config"];
    for (key, value) in [("enabled", "true"), ("wait_in_open", "1s")] {
        let found = resilience_tests::lone::setting(settings, key);
        assert_eq!(found, (value.to_owned(), "built in".to_owned()), "{key}");
    }

    // A reset is a reset, and without a store that answers it opens again.
    let receipt = sidecar.admin.post(&format!("{OURS}/reset")).await;
    assert_eq!(receipt.json()["outcome"], "applied", "{receipt:?}");
    ask_until("it opens again", &api, &mut day, "OPEN").await;
    redis.thaw();
    ask_until("it closes", &api, &mut day, "CLOSED").await;

    // Left alone by hand, which outlives a kill, and said by health and log.
    let why = r#"{"reason": "INC-7: redis is moved"}"#;
    let force = format!("{OURS}/force-open");
    let receipt = sidecar.admin.post_json(&force, why).await;
    assert_eq!(receipt.json()["outcome"], "applied", "{receipt:?}");
    api.logged(1, &["Circuit is open", "fallback_redis", "INC-7"])
        .await;
    let black_box = ground.run_dir().join("payments-api.blackbox");
    eventually("it is in the black box", SOON, async || {
        let written = blackbox::read(&black_box).ok()?;
        written.breaker("fallback_redis")?.overridden.clone()
    })
    .await;
    api.child.signal(Signal::KILL).unwrap();
    api.child.wait_exit(SOON).await.unwrap();
    drop(api);
    let api = ground.api().fallback().config(&file).start().await;
    let shown = api.socket.get(OURS).await.json()["overview"].clone();
    assert_eq!(shown["state"], "OPEN", "{shown}");
    assert_eq!(shown["override"]["reason"], "INC-7: redis is moved");
    assert_eq!(api.get("/rates/EUR").await.status, 200);
    eventually("health says so", SOON, async || {
        let ready = api.get("/health/ready").await;
        assert_eq!(ready.status, 200, "{ready:?}");
        let said = ready.json()["checks"]["fallbacks"][0]["output"].to_string();
        said.contains("fallback_redis is OPEN (forced_open")
            .then_some(())
    })
    .await;
    let receipt = sidecar.admin.post(&format!("{OURS}/enable")).await;
    assert_eq!(receipt.json()["after"], "CLOSED", "{receipt:?}");
    // A name nearly right is helped on.
    let typo = sidecar
        .admin
        .post("/admin/circuit-breaker/fallback_redi/reset");
    let problem = typo.await.problem(404).to_string();
    assert!(problem.contains("fallback_redis"), "{problem}");
}
