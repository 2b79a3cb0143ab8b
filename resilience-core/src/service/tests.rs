//! The start, and what is taken over from the process before.

use std::{path::Path, time::Duration};

use super::*;
use crate::{
    ByHand, ErrorClass,
    config::FallbackStore,
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

#[tokio::test]
async fn a_changed_fallback_section_is_put_in_force_and_its_store_waits_for_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.yaml");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    write("services: {rates: {fallback: {ttl: 60s}}}");
    let resilience = builder(dir.path()).config_file(&file).start().unwrap();
    let rates = testing::FakeFallback::named("rates", true);
    resilience.parts.fallbacks.add(Arc::new(rates.clone()));
    resilience.parts.poll_config();
    assert_eq!(rates.configured(), []);

    write("services: {rates: {fallback: {ttl: 90s, enabled: false, store: file}}}");
    resilience.parts.poll_config();
    let [now] = rates.configured().try_into().unwrap();
    assert_eq!((now.ttl, now.enabled), (Duration::from_secs(90), false));
    assert_eq!(now.store, FallbackStore::Memory);
    let shown = &resilience.snapshot().fallbacks[0];
    assert_eq!((shown.enabled, &*shown.name), (false, "rates"));
    assert_eq!(resilience.snapshot().stores, []);
}

#[tokio::test]
async fn a_store_that_cannot_be_opened_is_shown_and_the_service_starts_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.yaml");
    // A folder for the answers is to be made where there is a file.
    std::fs::write(
        &file,
        "fallback: {store: file, file: {path: config.yaml/a.redb}}",
    )
    .unwrap();
    let resilience = builder(dir.path())
        .state_dir(dir.path())
        .config_file(&file)
        .start()
        .unwrap();
    let [store] = resilience.snapshot().stores.try_into().unwrap();
    assert_eq!((&*store.kind, store.up), ("file", false));
    assert_eq!(Path::new(&store.place), file.join("a.redb"));
    let why = store.last_error.unwrap().message;
    assert!(!why.is_empty());
}

#[cfg(feature = "fallback-file")]
#[tokio::test]
async fn what_is_kept_in_the_file_is_there_after_an_orderly_restart() {
    use crate::fallback::{Key, Record, Terms};

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.yaml");
    let text = "services: {rates: {fallback: {store: file}}}\nfallback: {file: {size: 1MiB}}";
    std::fs::write(&file, text).unwrap();
    let start = || {
        let builder = builder(dir.path()).state_dir(dir.path().join("state"));
        builder.config_file(&file).start().unwrap()
    };
    let record = Record {
        asked_at_ms: 1,
        terms: Terms::default(),
        kind: "rates/1".into(),
        payload: "1.08".into(),
    };
    let before = start();
    let shown = before.snapshot().stores;
    assert_eq!((shown.len(), shown[0].up), (1, true), "{shown:?}");
    let second = before
        .parts
        .stores
        .second_level(FallbackStore::File)
        .unwrap();
    second.keep("rates", &Key::from("EUR"), record.clone(), u64::MAX);
    assert_eq!(before.fallback("rates").snapshot().store, "file");
    assert!(
        before
            .parts
            .stores
            .second_level(FallbackStore::Memory)
            .is_none()
    );
    drop(before);
    // At once, and not when the writer's pause is over.
    assert_eq!(second.snapshot().written, 1);
    drop(second);
    // The heartbeat lets go of its parts, and so of the file, when the runtime runs.
    tokio::task::yield_now().await;

    let after = start();
    assert!(after.snapshot().stores[0].up);
    let second = after
        .parts
        .stores
        .second_level(FallbackStore::File)
        .unwrap();
    // On a busy machine a read may take longer than its 4 ms.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while second.read("rates", &Key::from("EUR")).await.as_ref() != Some(&record) {
        assert!(
            tokio::time::Instant::now() < deadline,
            "it is gone: {:?}",
            second.snapshot()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[cfg(feature = "fallback-redis")]
#[tokio::test]
async fn a_redis_that_is_not_there_stops_no_start_and_its_password_is_shown_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.yaml");
    let url = "redis://app:hunter2@127.0.0.1:1/3";
    std::fs::write(
        &file,
        format!("fallback: {{store: redis, redis: {{url: '{url}'}}}}"),
    )
    .unwrap();
    let resilience = builder(dir.path()).config_file(&file).start().unwrap();
    let rates = resilience.fallback("rates");
    assert_eq!(rates.snapshot().store, "redis");
    let shown = serde_json::to_string(&resilience.snapshot()).unwrap();
    assert!(shown.contains("127.0.0.1:1"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[cfg(feature = "fallback")]
#[tokio::test]
async fn a_switch_by_hand_is_in_force_after_a_restart_and_a_warning_of_health() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.yaml");
    std::fs::write(&file, "services: {fraud: {fallback: {enabled: false}}}").unwrap();
    let start = || builder(dir.path()).config_file(&file).start().unwrap();
    let before = start();
    let shown = |resilience: &Resilience, name: &str| {
        let shown = resilience.fallback(name).snapshot();
        (shown.enabled, shown.configured, shown.switched)
    };
    assert_eq!(shown(&before, "rates"), (true, true, None));
    assert_eq!(shown(&before, "fraud"), (false, false, None));
    assert_eq!(fallbacks(&before), (HealthStatus::Pass, String::new()));
    let (actor, reason) = (Some("on-call".to_owned()), Some("INC-7".to_owned()));
    // Two handles of one name are one fallback.
    before
        .fallback("rates")
        .switch(Some(false), actor.clone(), reason.clone());
    before.fallback("fraud").switch(Some(true), actor, reason);
    let left = ["rates", "fraud", "ledger"].map(|name| shown(&before, name));
    drop(before);

    let after = start();
    let found = ["rates", "fraud", "ledger"].map(|name| shown(&after, name));
    assert_eq!(found, left);
    assert!(!found[0].0 && found[1].0 && found[0].2.is_some() && found[2].2.is_none());
    let (verdict, said) = fallbacks(&after);
    assert_eq!(verdict, HealthStatus::Warn);
    assert!(
        said.contains("rates is switched off by hand by on-call because \"INC-7\""),
        "{said}"
    );
    let names: Vec<_> = after
        .snapshot()
        .fallbacks
        .into_iter()
        .map(|one| one.name)
        .collect();
    assert_eq!(names, ["fraud", "ledger", "rates"]);
    after.fallback("rates").switch(None, None, None);
    after.fallback("fraud").switch(None, None, None);
    assert_eq!(fallbacks(&after), (HealthStatus::Pass, String::new()));
}

#[cfg(feature = "fallback")]
#[tokio::test]
async fn a_reload_reaches_a_fallback_and_leaves_the_switch_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.yaml");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    write("fallback: {ttl: 60s}");
    let resilience = builder(dir.path()).config_file(&file).start().unwrap();
    let rates = resilience.fallback("rates");
    rates.switch(Some(false), None, None);
    write("fallback: {ttl: 90s, strategy: none}");
    resilience.parts.poll_config();
    let shown = rates.snapshot();
    assert_eq!((shown.ttl_ms, &*shown.strategy), (90_000, "none"));
    assert!(!shown.enabled && shown.switched.is_some());
}

/// Verdict and words of the check `fallbacks`.
#[cfg(feature = "fallback")]
fn fallbacks(resilience: &Resilience) -> (HealthStatus, String) {
    check(resilience, "fallbacks")
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
