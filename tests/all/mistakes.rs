//! What goes wrong in other breakers' dashboards and admin APIs, and must not in
//! ours: each test refutes one such mistake. Those of the breaker itself are
//! refuted beside it.

use std::{collections::BTreeMap, fs};

use http::Method;
use resilience_core::{
    ByHand, CircuitBreaker, ErrorClass, Resilience, metrics,
    snapshot::{OverrideKind, State},
};
use resilience_tests::{
    Metrics, SOON, eventually, get,
    lone::{Door, QUICK},
};
use serde_json::json;
use tempfile::TempDir;

const NAME: &str = "payment_api";

/// Trips on the second failure and probes after a moment.
const NIMBLE: &str = "\
resilience:
  circuit_breaker:
    window: {calls: 10}
    minimum_calls: 2
    wait_in_open: 20ms
    half_open_permits: 1
services:
  payment_api: {}
";

/// A service within this process.
fn start(config: &str) -> (TempDir, Resilience) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.yaml");
    fs::write(&file, config).unwrap();
    let resilience = Resilience::builder("payments-api")
        .config_file(file)
        .run_dir(dir.path())
        .without_log()
        .start()
        .unwrap();
    resilience.health().started();
    (dir, resilience)
}

fn scrape(resilience: &Resilience) -> Metrics {
    Metrics::read(&metrics::render(&resilience.snapshot()))
}

fn trip(breaker: &CircuitBreaker) {
    while let Ok(permit) = breaker.try_acquire() {
        permit.failure(ErrorClass::http(503));
    }
    assert_eq!(breaker.state(), State::Open);
}

/// Sends a probe when the wait is over; the circuit closes if it succeeds.
async fn probe(breaker: &CircuitBreaker) -> resilience_core::Permit {
    eventually(SOON, async || {
        breaker.try_acquire().map_err(|refused| refused.to_string())
    })
    .await
}

#[tokio::test]
async fn a_state_gauge_does_not_set_the_new_label_and_leave_the_old_one_at_1() {
    let (_dir, resilience) = start(NIMBLE);
    let breaker = resilience.breaker(NAME);
    let by = ByHand::default();
    let service = [("service", NAME)];
    let check = |state: f64, kind: Option<&str>| {
        let metrics = scrape(&resilience);
        // One series, whose value is the state: there is no label to be left.
        assert_eq!(metrics.count("circuit_breaker_state"), 1, "{metrics:?}");
        let value = metrics.value("circuit_breaker_state", &service);
        assert_eq!(value, Some(state), "{metrics:?}");
        // What is labelled by its kind is there for as long as it is so.
        let overrides = metrics.count("circuit_breaker_override");
        assert_eq!(overrides, usize::from(kind.is_some()), "{metrics:?}");
        if let Some(kind) = kind {
            let labels = [("service", NAME), ("kind", kind)];
            let value = metrics.value("circuit_breaker_override", &labels);
            assert_eq!(value, Some(1.0), "{metrics:?}");
        }
    };
    check(0.0, None);
    trip(&breaker);
    check(2.0, None);
    let permit = probe(&breaker).await;
    check(1.0, None);
    permit.success();
    check(0.0, None);
    for (kind, state) in [
        (OverrideKind::ForcedOpen, 2.0),
        (OverrideKind::Disabled, 0.0),
        (OverrideKind::MetricsOnly, 0.0),
    ] {
        breaker.set_override(kind, None, &by).unwrap();
        check(state, Some(kind.as_str()));
    }
    breaker.enable(&by).unwrap();
    check(0.0, None);
}

#[tokio::test]
async fn a_mistyped_name_does_not_create_a_breaker_and_is_not_answered_changed_successfully() {
    let (dir, resilience) = start(QUICK);
    let socket = Door::Unix(dir.path().join("payments-api.sock"));
    for action in ["reset", "force-open", "disable", "metrics-only", "enable"] {
        for query in ["", "?dry_run"] {
            let path = format!("/admin/circuit-breaker/paymant_api/{action}{query}");
            let refused = socket.ask(Method::POST, &path, &[], "").await;
            let refused = refused.problem(404);
            assert_eq!(refused["nearest"], json!([NAME]), "{path}");
        }
    }
    let list = socket.get("/admin/circuit-breaker").await.json();
    let names: Vec<_> = list["breakers"].as_array().unwrap().iter().collect();
    assert_eq!(names.len(), 1, "{list}");
    assert_eq!(resilience.registry().all().len(), 1);
    assert_eq!(scrape(&resilience).count("circuit_breaker_state"), 1);
}

#[tokio::test]
async fn an_open_breaker_does_not_make_health_down_and_drain_every_replica() {
    let (_dir, resilience) = start(QUICK);
    let breaker = resilience.breaker(NAME);
    let app = resilience.wrap(axum::Router::new());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    // The first beat of the runtime is a part of being alive.
    eventually(SOON, async || {
        let live = get(format!("{url}/health/live")).await;
        (live.status() == 200)
            .then_some(())
            .ok_or(format!("{live:?}"))
    })
    .await;

    let check = async |status: &str, said: &str| {
        for path in ["live", "ready", "startup"] {
            let health = get(format!("{url}/health/{path}")).await;
            assert_eq!(health.status(), 200, "{health:?}");
        }
        let ready = get(format!("{url}/health/ready")).await;
        assert_eq!(ready.json()["status"], status, "{ready:?}");
        assert!(ready.text().contains(said), "{ready:?}");
    };
    check("pass", "circuit_breakers").await;
    trip(&breaker);
    check("warn", "payment_api is OPEN").await;
    let by = ByHand::default();
    for (kind, said) in [
        (OverrideKind::ForcedOpen, "payment_api is OPEN (forced_open"),
        (OverrideKind::Disabled, "payment_api is disabled"),
    ] {
        breaker.set_override(kind, None, &by).unwrap();
        check("warn", said).await;
    }
    breaker.enable(&by).unwrap();
    breaker.reset(&by).unwrap();
    check("pass", "circuit_breakers").await;
    server.abort();
}

#[tokio::test]
async fn a_counter_does_not_start_anew_at_each_transition_and_a_short_opening_does_not_vanish() {
    let (_dir, resilience) = start(NIMBLE);
    let breaker = resilience.breaker(NAME);
    let by = ByHand::default();
    let mut before: BTreeMap<String, f64> = BTreeMap::new();
    let mut grows = |what: &str| {
        let now = scrape(&resilience).counters();
        for (series, value) in &before {
            let seen = now.get(series);
            let went_on = seen.is_some_and(|seen| seen >= value);
            assert!(went_on, "{what}: {series} went from {value} to {seen:?}");
        }
        before.clone_from(&now);
        now
    };
    let transitions = |counters: &BTreeMap<String, f64>, to: &str| -> f64 {
        let to = format!("to=\"{to}\"");
        let of = counters.iter().filter(|(series, _)| {
            series.starts_with("circuit_breaker_transitions_total{") && series.contains(&to)
        });
        of.map(|(_, count)| count).sum()
    };

    grows("the beginning");
    for round in 1..=3 {
        let number = f64::from(round);
        trip(&breaker);
        grows("open");
        probe(&breaker).await.success();
        grows("closed by a probe");
        // Opened and closed again between two scrapes.
        trip(&breaker);
        breaker.reset(&by).unwrap();
        let counters = grows("reset");
        assert_eq!(
            transitions(&counters, "OPEN"),
            2.0 * number + (number - 1.0)
        );
        for kind in [OverrideKind::MetricsOnly, OverrideKind::Disabled] {
            breaker.set_override(kind, None, &by).unwrap();
            breaker.try_acquire().unwrap().success();
            grows(kind.as_str());
        }
        breaker
            .set_override(OverrideKind::ForcedOpen, None, &by)
            .unwrap();
        assert!(breaker.try_acquire().is_err());
        breaker.enable(&by).unwrap();
        let counters = grows("enabled");
        let failures = r#"circuit_breaker_failures_total{service="payment_api"}"#;
        assert_eq!(counters[failures], 4.0 * number, "{counters:?}");
        assert_eq!(transitions(&counters, "OPEN"), 3.0 * number);
    }
    let open = r#"circuit_breaker_open_seconds_total{service="payment_api"}"#;
    // Three waits at least.
    assert!(grows("the end")[open] >= 0.06);
}
