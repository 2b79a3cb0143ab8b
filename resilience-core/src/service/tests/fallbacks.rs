//! Fallbacks and their stores in a whole service.

use super::*;
use crate::config::FallbackStore;

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

#[cfg(feature = "fallback-file")]
#[tokio::test]
async fn a_file_in_use_at_the_start_is_taken_when_it_is_free_with_what_was_kept_meanwhile() {
    use std::convert::Infallible;

    use tower::{ServiceBuilder, ServiceExt, service_fn};

    use crate::fallback::{Codec, FallbackLayer, Key, store::FileStore};

    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.yaml");
    std::fs::write(&config, "fallback: {store: file, file: {path: a.redb}}").unwrap();
    let start = || {
        let builder = builder(dir.path()).state_dir(dir.path());
        builder.config_file(&config).start().unwrap()
    };
    // Asks the upstream, if nothing is stored.
    let ask = async |resilience: &Resilience, currency: &'static str, upstream: f64| {
        let key = |currency: &&str| Some(Key::from(*currency));
        let layer = FallbackLayer::new(resilience.fallback("rates"), key);
        let rates = ServiceBuilder::new()
            .layer(layer.codec(Codec::json("rates/1")))
            .service(service_fn(move |_: &str| async move {
                Ok::<_, Infallible>(upstream)
            }));
        *rates.oneshot(currency).await.unwrap()
    };
    let holder = FileStore::open(dir.path().join("a.redb"), 1 << 20).unwrap();
    let before = start();
    let store = || before.snapshot().stores.remove(0);
    let why = store().last_error.unwrap().message;
    assert!(
        !store().up && why.contains("used by another process"),
        "{why}"
    );
    assert_eq!(ask(&before, "EUR", 1.08).await, 1.08);
    let (verdict, said) = fallbacks(&before);
    assert_eq!(verdict, HealthStatus::Warn);
    assert!(said.contains("the file store is down"), "{said}");
    until("it is tried and told", || store().pending == 1).await;

    drop(holder);
    until("it is written", || store().written == 1).await;
    // A read has failed, and the next one may come in time: it is up when one does.
    let up = async || {
        let missed = ["GBP", "CHF", "JPY", "SEK", "NOK", "DKK", "PLN", "CZK"];
        for currency in missed {
            assert_eq!(ask(&before, currency, 0.85).await, 0.85);
            if store().up {
                break;
            }
        }
        store()
    };
    assert!(up().await.up, "{:?}", store());
    assert_eq!(fallbacks(&before), (HealthStatus::Pass, String::new()));
    drop(before);
    tokio::task::yield_now().await;

    let after = start();
    let [store] = after.snapshot().stores.try_into().unwrap();
    assert!(store.up, "{store:?}");
    // On a busy machine a read may take longer than its few milliseconds, and what
    // the upstream says then is kept in place of it.
    let rate = ask(&after, "EUR", 9.99).await;
    let read = &after.snapshot().stores[0];
    assert!(rate == 1.08 || read.read_failures > 0, "{rate}: {read:?}");
}

/// Waits until it is so.
#[cfg(feature = "fallback-file")]
async fn until(what: &str, is: impl Fn() -> bool) {
    let until = tokio::time::Instant::now() + Duration::from_secs(20);
    while !is() {
        assert!(tokio::time::Instant::now() < until, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
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

#[cfg(feature = "fallback")]
#[tokio::test]
async fn a_switch_by_hand_outlives_a_process_that_never_asked_for_its_fallback() {
    let dir = tempfile::tempdir().unwrap();
    let start = || builder(dir.path()).start().unwrap();
    let before = start();
    let why = Some("INC-7".to_owned());
    let by = Some("on-call".to_owned());
    before.fallback("rates").switch(Some(false), by, why);
    let left = before.fallback("rates").snapshot().switched;
    let _ = before.fallback("fraud");
    drop(before);
    for _ in 0..2 {
        let between = start();
        let [shown] = between.snapshot().fallbacks.try_into().unwrap();
        assert_eq!((&*shown.name, shown.enabled), ("rates", false));
        // It is told before somebody asks for it.
        assert_eq!(fallbacks(&between).0, HealthStatus::Warn);
        drop(between);
    }
    let after = start();
    let rates = after.fallback("rates");
    assert_eq!(rates.snapshot().switched, left);
    assert!(left.is_some() && !rates.snapshot().enabled);
    // Switched back, it is made no more until the code asks for it.
    rates.switch(None, None, None);
    drop((after, rates));
    assert_eq!(start().snapshot().fallbacks, []);
}

/// Verdict and words of the check `fallbacks`.
#[cfg(feature = "fallback")]
fn fallbacks(resilience: &Resilience) -> (HealthStatus, String) {
    check(resilience, "fallbacks")
}
