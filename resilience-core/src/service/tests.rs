//! The start, and what is taken over from the process before.

mod fallbacks;

use std::{path::Path, time::Duration};

use super::*;
use crate::{
    ByHand, ErrorClass,
    control::blackbox,
    snapshot::{Cause, HealthStatus, OverrideKind, State},
};

fn builder(dir: &Path) -> ResilienceBuilder {
    Resilience::builder("payments-api")
        .run_dir(dir)
        .without_log()
}

fn trip(resilience: &Resilience) -> CircuitBreaker {
    let breaker = resilience.breaker("payment_api");
    while let Ok(permit) = breaker.try_acquire() {
        permit.failure(ErrorClass::http(503));
    }
    breaker
}

#[tokio::test]
async fn an_open_circuit_is_open_for_the_rest_of_its_wait_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let before = builder(dir.path()).start().unwrap();
    let left = trip(&before).try_acquire().unwrap_err().retry_after();
    drop(before);
    let after = builder(dir.path()).start().unwrap();
    let breaker = after.breaker("payment_api");
    let rest = breaker.try_acquire().unwrap_err().retry_after();
    assert!(
        rest <= left && rest > Duration::from_secs(50),
        "{rest:?} of {left:?}"
    );
    let causes: Vec<_> = breaker.snapshot().events.iter().map(|e| e.cause).collect();
    assert_eq!(causes, [Cause::Restored, Cause::FailureRate]);
}

#[tokio::test]
async fn a_trip_older_than_the_wait_is_not_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let before = builder(dir.path()).start().unwrap();
    trip(&before);
    drop(before);
    let path = blackbox::path(dir.path(), "payments-api");
    let mut old = blackbox::read(&path).unwrap();
    old.taken_at -= Duration::from_secs(61);
    blackbox::write(&path, &old).unwrap();
    let after = builder(dir.path()).start().unwrap();
    assert_eq!(after.breaker("payment_api").state(), State::Closed);
}

#[tokio::test]
async fn the_circuit_of_a_key_is_open_for_the_rest_of_its_wait_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let before = builder(dir.path()).start().unwrap();
    let tenants = before.keyed_breakers("payment_api");
    while let Ok(permit) = tenants.get("tenant-7").try_acquire() {
        permit.failure(ErrorClass::http(503));
    }
    let _ = tenants.get("tenant-8");
    let shown = &before.snapshot().keyed[0];
    assert_eq!((shown.members, shown.open), (2, 1));
    assert!(!shown.not_closed[0].config.values.is_empty());
    drop((before, tenants));

    let after = builder(dir.path()).start().unwrap();
    let tenants = after.keyed_breakers("payment_api");
    let rest = tenants.get("tenant-7").try_acquire().unwrap_err();
    assert!(rest.retry_after() > Duration::from_secs(50), "{rest:?}");
    assert!(tenants.get("tenant-8").try_acquire().is_ok());
}

#[tokio::test]
async fn the_settings_of_a_family_are_those_of_its_service_and_change_live() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.yaml");
    let waits = |seconds: u32| {
        let breaker = format!("{{wait_in_open: {seconds}s}}");
        let text = format!("services: {{payment_api: {{circuit_breaker: {breaker}}}}}");
        std::fs::write(&file, text).unwrap();
    };
    waits(30);
    let resilience = builder(dir.path()).config_file(&file).start().unwrap();
    let tenants = resilience.keyed_breakers("payment_api");
    let wait = |key: &str| {
        let breaker = tenants.get(key);
        while let Ok(permit) = breaker.try_acquire() {
            permit.failure(ErrorClass::http(503));
        }
        breaker.try_acquire().unwrap_err().retry_after().as_secs()
    };
    assert!((29..=30).contains(&wait("a")));
    let there = tenants.get("b");
    waits(300);
    resilience.parts.poll_config();
    assert!((299..=300).contains(&wait("b")));
    assert!((299..=300).contains(&wait("c")));
    drop(there);
}

#[tokio::test]
async fn a_black_box_of_another_service_is_set_aside_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let path = blackbox::path(dir.path(), "payments-api");
    blackbox::write(&path, &Snapshot::of_nothing("stranger")).unwrap();
    let resilience = builder(dir.path()).start().unwrap();
    assert_eq!(resilience.snapshot().black_box.refused, 1);
    assert!(dir.path().join("payments-api.blackbox.refused").exists());
}

#[tokio::test]
async fn a_changed_database_section_is_put_in_force_and_only_what_changed_undoes_a_resize() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.yaml");
    let write = |database: &str| std::fs::write(&file, format!("database: {database}")).unwrap();
    write("{pool_size: 20, max_overflow: 10}");
    let resilience = builder(dir.path()).config_file(&file).start().unwrap();
    let pool = testing::FakePool::named("main", 20, 10);
    resilience.parts.pools.add(Arc::new(pool.clone()));
    resilience.parts.poll_config();
    assert_eq!(pool.configured(), []);

    pools::ManagedPool::resize(&pool, 40, 5);
    write("{pool_size: 20, max_overflow: 10, slow_query: 250ms}");
    resilience.parts.poll_config();
    assert_eq!(pool.limits(), (40, 5));
    let configured = pool.configured();
    let slow_query = configured.last().unwrap().slow_query;
    assert_eq!(slow_query, Some(Duration::from_millis(250)));

    write("{pool_size: 25, max_overflow: 10, slow_query: 250ms}");
    resilience.parts.poll_config();
    assert_eq!(pool.limits(), (25, 5));
    assert_eq!(resilience.snapshot().pools[0].size, 30);
}

#[tokio::test]
async fn a_pool_takes_the_place_of_one_of_the_same_name() {
    let pools = Pools::default();
    pools.add(Arc::new(testing::FakePool::named("main", 1, 0)));
    pools.add(Arc::new(testing::FakePool::named("main", 2, 0)));
    let sizes: Vec<_> = pools.snapshot().iter().map(|pool| pool.size).collect();
    assert_eq!(sizes, [2]);
}

fn by() -> ByHand {
    ByHand {
        actor: Some("on-call".into()),
        ..ByHand::default()
    }
}

/// Verdict and words of the check `circuit_breakers`.
fn circuits(resilience: &Resilience) -> (HealthStatus, String) {
    check(resilience, "circuit_breakers")
}

fn check(resilience: &Resilience, name: &str) -> (HealthStatus, String) {
    let checks = resilience.snapshot().health.checks;
    let check = checks.iter().find(|one| one.name == name).unwrap();
    (check.status, check.output.clone().unwrap_or_default())
}

#[tokio::test]
async fn health_names_each_override_until_when_and_by_whom_and_an_open_circuit() {
    let dir = tempfile::tempdir().unwrap();
    let resilience = builder(dir.path()).start().unwrap();
    let breaker = resilience.breaker("payment_api");
    assert_eq!(circuits(&resilience), (HealthStatus::Pass, String::new()));

    let until_removed = "until somebody removes the override";
    for (kind, word) in [
        (OverrideKind::Disabled, "disabled"),
        (OverrideKind::MetricsOnly, "metrics_only"),
    ] {
        breaker.set_override(kind, None, &by()).unwrap();
        let said = format!("payment_api is {word} {until_removed}, set by on-call");
        assert_eq!(circuits(&resilience), (HealthStatus::Warn, said));
    }
    let hour = Some(Duration::from_secs(3_600));
    let forced = OverrideKind::ForcedOpen;
    breaker
        .set_override(forced, hour, &ByHand::default())
        .unwrap();
    let end = breaker.snapshot().overridden.unwrap().expires_at.unwrap();
    let end = end.strftime("%Y-%m-%d %H:%M:%S UTC");
    let said = format!("payment_api is OPEN (forced_open until {end})");
    assert_eq!(circuits(&resilience), (HealthStatus::Fail, said));
    breaker.enable(&by()).unwrap();
    trip(&resilience);
    let said = "payment_api is OPEN".to_owned();
    assert_eq!(circuits(&resilience), (HealthStatus::Fail, said));
}

#[tokio::test]
async fn an_override_is_in_force_after_a_restart_with_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let before = builder(dir.path()).start().unwrap();
    let hour = Some(Duration::from_secs(3_600));
    let (lasting, forever) = (before.breaker("payment_api"), before.breaker("fraud_api"));
    lasting
        .set_override(OverrideKind::Disabled, hour, &by())
        .unwrap();
    forever
        .set_override(OverrideKind::ForcedOpen, None, &by())
        .unwrap();
    let left = [&lasting, &forever].map(|breaker| breaker.snapshot().overridden);
    drop((before, lasting, forever));

    let after = builder(dir.path()).start().unwrap();
    let found = ["payment_api", "fraud_api"].map(|name| after.breaker(name).snapshot().overridden);
    assert_eq!(found, left);
    assert!(after.breaker("fraud_api").try_acquire().is_err());
}

#[tokio::test]
async fn an_override_outlives_a_process_that_never_asked_for_its_breaker() {
    let dir = tempfile::tempdir().unwrap();
    let start = || builder(dir.path()).start().unwrap();
    let before = start();
    let (breaker, ended) = (before.breaker("payment_api"), before.breaker("fraud_api"));
    breaker
        .set_override(OverrideKind::ForcedOpen, None, &by())
        .unwrap();
    let moment = Some(Duration::from_millis(1));
    ended
        .set_override(OverrideKind::Disabled, moment, &by())
        .unwrap();
    drop((before, breaker, ended));
    let path = blackbox::path(dir.path(), "payments-api");
    let mut left = blackbox::read(&path).unwrap();
    for breaker in &mut left.breakers {
        // Not told of as ended yet.
        let set = breaker.overridden.as_mut();
        if let Some(end) = set.and_then(|set| set.expires_at.as_mut()) {
            *end = left.taken_at;
        }
    }
    blackbox::write(&path, &left).unwrap();

    for _ in 0..2 {
        let between = start();
        let all = between.snapshot().breakers;
        let names: Vec<_> = all.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["payment_api"], "what has ended makes none");
        drop(between);
    }
    let after = start();
    assert!(after.breaker("payment_api").try_acquire().is_err());
    // Removed, it is made no more.
    after.breaker("payment_api").enable(&by()).unwrap();
    drop(after);
    assert!(start().snapshot().breakers.is_empty());
}

#[tokio::test]
async fn the_end_of_an_override_is_published_though_nobody_asks() {
    let dir = tempfile::tempdir().unwrap();
    let resilience = builder(dir.path()).start().unwrap();
    let breaker = resilience.breaker("payment_api");
    let moment = Some(Duration::from_millis(300));
    breaker
        .set_override(OverrideKind::ForcedOpen, moment, &by())
        .unwrap();
    let path = blackbox::path(dir.path(), "payments-api");
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let written = blackbox::read(&path).ok();
        let left = written.and_then(|written| written.breakers.first().cloned());
        if left.is_some_and(|left| left.events[0].cause == Cause::OverrideExpired) {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "never written");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_name_that_leaves_the_run_directory_is_refused() {
    for name in ["../etc", "", ".hidden", "a b"] {
        let error = Resilience::builder(name).without_log().start().unwrap_err();
        assert!(matches!(error, StartError::Name(_)), "{error}");
    }
}

#[test]
fn without_a_runtime_it_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let error = builder(dir.path()).start().unwrap_err();
    assert!(matches!(error, StartError::NoRuntime), "{error}");
}
