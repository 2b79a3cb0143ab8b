//! Overrides set through the sidecar: in force over a kill and a restart until
//! their end, and taken once by a service that was stopped.

use std::{
    fs,
    time::{Duration, SystemTime},
};

use resilience_core::control::blackbox;
use resilience_examples::process::Signal;
use resilience_tests::{Answer, BREAKER, SOON, Stack, eventually, post};
use serde_json::{Value, json};

/// POSTs what an operator does to the breaker.
async fn act(stack: &Stack, action: &str, body: &str) -> Answer {
    let admin = stack.admin_url();
    let url = format!("{admin}/admin/circuit-breaker/{BREAKER}/{action}");
    post(url, body.to_owned()).await
}

/// The override as the list shows it.
async fn shown(stack: &Stack) -> Value {
    let detail = stack.detail().await.in_time(200).json();
    detail["overview"]["override"].clone()
}

fn causes(events: &[Value]) -> Vec<&str> {
    let causes = events.iter().map(|event| event["cause"].as_str().unwrap());
    causes.collect()
}

/// Lines of the audit log: action and outcome.
fn audited(stack: &Stack) -> Vec<(String, String)> {
    let log = fs::read_to_string(stack.run_dir().join("audit.jsonl")).unwrap_or_default();
    log.lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|line| {
            let word = |key: &str| line[key].as_str().unwrap().to_owned();
            (word("action"), word("outcome"))
        })
        .collect()
}

#[tokio::test]
async fn an_override_is_kept_over_a_kill_and_a_restart_and_ends_by_itself() {
    let mut stack = Stack::start().await;
    // Long enough for a restart on a loaded machine.
    let body = r#"{"for": "15s", "reason": "their maintenance"}"#;
    let receipt = act(&stack, "force-open", body).await.in_time(200).json();
    assert_eq!(receipt["action"], "force_open", "{receipt}");
    assert_eq!(receipt["outcome"], "applied", "{receipt}");
    let set = shown(&stack).await;
    assert_eq!(set["kind"], "forced_open", "{set}");
    assert_eq!(set["reason"], "their maintenance", "{set}");
    assert_eq!(set["expires_at"], receipt["expires_at"], "{set}");
    assert!(
        set["actor"].as_str().unwrap().starts_with("loopback "),
        "{set}"
    );
    assert_eq!(stack.rate().await.status(), 503);

    let path = stack.run_dir().join("payments-api.blackbox");
    eventually(SOON, async || {
        let written = blackbox::read(&path).map_err(|error| error.to_string())?;
        let mut breakers = written.breakers.iter();
        let set = breakers.find_map(|one| one.overridden.clone());
        set.map(|_| ()).ok_or_else(|| "no override".to_owned())
    })
    .await;
    stack.kill_api().await;
    stack.wait_for_condition("dead").await;
    // The black box tells of it as the service did.
    assert_eq!(shown(&stack).await, set);
    let refused = act(&stack, "enable", "").await.in_time(503).problem(503);
    assert!(refused.text().contains("an override until its end"));

    stack.start_api().await;
    stack.wait_for_condition("live").await;
    assert_eq!(shown(&stack).await, set);
    assert_eq!(stack.rate().await.status(), 503);
    let explained = stack.breaker("explain").await.text();
    for part in [
        "payment_api is forced open since ",
        " by loopback ",
        "because \"their maintenance\"",
        "Without the override it would be CLOSED",
    ] {
        assert!(explained.contains(part), "{explained}");
    }
    // A warning: it is ready all the same.
    let ready = stack.public("/health/ready").await.in_time(200).json();
    assert_eq!(ready["status"], "warn", "{ready}");
    let circuits = &ready["checks"]["circuit_breakers"][0]["output"];
    let said = "payment_api is OPEN (forced_open until 2";
    assert!(circuits.as_str().unwrap().starts_with(said), "{ready}");
    let service = ("service", BREAKER);
    let kind = [service, ("kind", "forced_open")];
    for metrics in [stack.api_metrics().await, stack.metrics().await] {
        assert_eq!(metrics.value("circuit_breaker_override", &kind), Some(1.0));
        let value = |name| metrics.value(name, &[service]);
        assert_eq!(value("circuit_breaker_state"), Some(2.0));
        assert_eq!(value("circuit_breaker_computed_state"), Some(0.0));
    }

    let end = receipt["expires_at"].as_str().unwrap();
    let end = humantime::parse_rfc3339(end).unwrap();
    stack.wait_for_state("CLOSED").await;
    // The two clocks that it is measured with differ by less than that.
    let slack = Duration::from_millis(50);
    assert!(SystemTime::now() + slack >= end, "too early");
    assert_eq!(shown(&stack).await, Value::Null);
    assert_eq!(stack.rate().await.status(), 200);
    let events = stack.events().await;
    assert_eq!(
        causes(&events),
        ["override_expired", "restored", "forced_open"]
    );
    assert_eq!(events[0]["reason"], "their maintenance", "{events:?}");
    let metrics = stack.metrics().await;
    assert_eq!(metrics.sum("circuit_breaker_override", &[service]), 0.0);
    let again = act(&stack, "enable", "").await.problem(409).json();
    assert_eq!(again["reason"], "not_overridden", "{again}");
}

#[tokio::test]
async fn a_stopped_service_takes_a_waiting_override_exactly_once() {
    let stack = Stack::start().await;
    stack.api().signal(Signal::STOP).unwrap();
    stack.wait_for_condition("hung").await;
    let body = r#"{"for": "1h", "reason": "INC-7"}"#;
    let receipt = act(&stack, "disable", body).await.in_time(202).json();
    assert_eq!(receipt["outcome"], "pending", "{receipt}");
    let detail = receipt["detail"].as_str().unwrap();
    assert!(detail.contains("hung for "), "{detail}");
    // Asked for again, it is the same; something else has to wait its turn.
    act(&stack, "disable", body).await.in_time(202);
    for (action, body) in [("force-open", ""), ("reset", ""), ("disable", "")] {
        let behind = act(&stack, action, body).await.in_time(409).problem(409);
        assert_eq!(behind.json()["pending"], "disable", "{behind:?}");
    }
    // It is tried again and again meanwhile.
    eventually(SOON, async || {
        let state = stack.breaker("state").await.in_time(200);
        let age: u64 = state.header("x-state-age-ms").unwrap().parse().unwrap();
        (age > 2_500).then_some(()).ok_or(format!("{state:?}"))
    })
    .await;

    stack.api().signal(Signal::CONT).unwrap();
    eventually(SOON, async || match audited(&stack) {
        seen if seen.last().is_some_and(|last| last.1 == "applied") => Ok(()),
        seen => Err(format!("{seen:?}")),
    })
    .await;
    let outcomes: Vec<_> = audited(&stack);
    let line = |action: &str, outcome: &str| (action.to_owned(), outcome.to_owned());
    assert_eq!(
        outcomes,
        [
            line("disable", "pending"),
            line("disable", "pending"),
            line("force_open", "behind_pending"),
            line("reset", "behind_pending"),
            line("disable", "behind_pending"),
            line("disable", "applied"),
        ]
    );
    let set = shown(&stack).await;
    assert_eq!(set["kind"], "disabled", "{set}");
    // An hour from when it was taken.
    let instant = |key: &str| humantime::parse_rfc3339(set[key].as_str().unwrap()).unwrap();
    let lasts = instant("expires_at").duration_since(instant("since"));
    assert_eq!(lasts.unwrap(), Duration::from_secs(3_600));
    // None of the other tries has set it again.
    let receipt = act(&stack, "enable", "").await.in_time(200).json();
    assert_eq!(receipt["outcome"], "applied", "{receipt}");
    let events = stack.events().await;
    assert_eq!(causes(&events), ["override_removed", "disabled"]);
    assert_eq!(shown(&stack).await, json!(null));
}
