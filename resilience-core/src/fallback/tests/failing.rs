//! What is served when the upstream fails, and what is said when nothing is.

use std::error::Error;

use tower::ServiceBuilder;

use super::*;
use crate::{
    BreakerConfig, BreakerOptions, CallError, CircuitBreaker, CircuitBreakerLayer, ErrorClass,
    Outcome, Window, snapshot::State,
};

#[tokio::test]
async fn when_it_fails_the_last_good_answer_is_served_until_its_stale_limit() {
    let (fallback, hands) = fallback(&config());
    let upstream = Upstream::open();
    let rates = rates(&fallback, &upstream);
    get(&rates, "EUR").await;
    upstream.is(Mood::Down);
    hands.clock.advance(STALE_LIMIT - Duration::from_nanos(1));
    hands.wall.set("2026-01-01T13:00:00Z".parse().unwrap());
    let answer = ask(&rates, "EUR").await.unwrap();
    assert_eq!((*answer, answer.served().source()), (1, Source::Stale));
    assert_eq!(answer.served().age(), Duration::from_millis(3_599_999));
    assert_eq!(
        answer.served().as_of(),
        "2026-01-01T12:00:00.001Z".parse().unwrap()
    );
    assert!(answer.served().is_degraded());

    hands.clock.advance(SECOND);
    let error = ask(&rates, "EUR").await.unwrap_err();
    let dead_for = SECOND - Duration::from_nanos(1);
    assert_eq!(error.tried(), &Tried::TooOld { dead_for });
    assert!(error.source().unwrap().downcast_ref::<Down>().is_some());
    assert_eq!(fails(&rates, "USD").await, Tried::NothingStored);

    let seen = fallback.snapshot();
    let responses = seen.responses;
    assert_eq!((responses.stale, responses.dead, responses.miss), (1, 1, 1));
    assert_eq!(seen.age.counts.iter().sum::<u64>(), 1);
    assert_eq!(seen.age.counts[5], 1, "within the hour");
    assert!((seen.age.sum_seconds - 3_599.999).abs() < 1e-6);
    // It is the last good answer still: a raised limit finds it.
    let mut longer = config();
    longer.stale_limit = 2 * STALE_LIMIT;
    fallback.configure(&longer);
    assert_eq!(get(&rates, "EUR").await, (1, Source::Stale));
}

#[tokio::test]
async fn an_answer_that_is_judged_a_failure_does_not_take_the_place_of_a_good_one() {
    let (fallback, hands) = fallback(&config());
    let upstream = Upstream::open();
    // Odd numbers are failures from the second on, ten is nobody's business.
    let judge = |result: Result<&u64, &Down>| match result {
        Ok(10) => Outcome::Ignored,
        Ok(number) if *number > 1 => Outcome::Failure(ErrorClass::OTHER),
        Ok(_) => Outcome::Success,
        Err(_) => Outcome::Ignored,
    };
    let rates = layer(&fallback).classify(judge).layer(upstream.clone());
    let rates = Rates::new(rates);
    get(&rates, "EUR").await;
    hands.clock.advance(TTL);
    assert_eq!(get(&rates, "EUR").await, (1, Source::Stale));
    // Where nothing is stored, the failure is what there is.
    let answer = ask(&rates, "USD").await.unwrap();
    assert_eq!(*answer, 3);
    assert_eq!(answer.served().tried(), Some(&Tried::NothingStored));
    assert_eq!(fallback.snapshot().cache.entries, 1, "and is not kept");

    upstream.asked.store(9, SeqCst);
    assert_eq!(get(&rates, "EUR").await, (10, Source::Live));
    assert_eq!(
        get(&rates, "EUR").await,
        (1, Source::Stale),
        "kept as it was"
    );
    upstream.is(Mood::Down);
    assert_eq!(fails(&rates, "EUR").await, Tried::NotAFailure);
}

#[tokio::test]
async fn a_call_that_panics_counts_as_a_failure() {
    let (fallback, hands) = fallback(&config());
    let upstream = Upstream::open();
    let rates = rates(&fallback, &upstream);
    get(&rates, "EUR").await;
    hands.clock.advance(TTL);
    upstream.is(Mood::Panics);
    assert_eq!(get(&rates, "EUR").await, (1, Source::Stale));
    let error = ask(&rates, "USD").await.unwrap_err();
    assert_eq!(error.why_lost(), Some(crate::cache::Lost::Panicked));
    assert_eq!(error.tried(), &Tried::NothingStored);
    let seen = fallback.snapshot();
    assert_eq!((seen.responses.stale, seen.responses.miss), (1, 1));
    assert_eq!(seen.cache.fetching, 0);
    // And the next one is made.
    upstream.is(Mood::Well);
    assert_eq!(get(&rates, "EUR").await.1, Source::Live);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_takes_longer_than_two_minutes_counts_as_a_failure() {
    let (fallback, hands) = fallback(&config());
    let upstream = Upstream::open();
    let rates = rates(&fallback, &upstream);
    get(&rates, "EUR").await;
    hands.clock.advance(TTL);
    upstream.is(Mood::Hangs);
    let began = tokio::time::Instant::now();
    assert_eq!(get(&rates, "EUR").await, (1, Source::Stale));
    assert_eq!(began.elapsed().as_secs(), 120);
    let error = ask(&rates, "USD").await.unwrap_err();
    assert!(
        error.to_string().contains("took longer than 120s"),
        "{error}"
    );
    assert!(error.source().is_none());
    assert_eq!(fallback.snapshot().cache.fetching, 0);
}

#[tokio::test]
async fn while_it_is_off_nothing_stored_is_served_and_answers_are_kept_all_the_same() {
    let mut config = config();
    config.enabled = false;
    let (fallback, hands) = fallback(&config);
    let upstream = Upstream::open();
    let rates = rates(&fallback, &upstream);
    assert_eq!(get(&rates, "EUR").await, (1, Source::Live));
    assert_eq!(get(&rates, "EUR").await, (2, Source::Live));
    hands.clock.advance(TTL);
    upstream.is(Mood::Down);
    let error = ask(&rates, "EUR").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the call failed; its fallback is switched off"
    );

    // In the incident: by the switch, or by the configuration.
    assert!(fallback.switch(Some(true), Some("oncall".into()), Some("down".into())));
    assert_eq!(get(&rates, "EUR").await, (2, Source::Stale));
    let by = fallback.snapshot().switched.unwrap();
    assert_eq!((by.actor.as_deref(), by.since), (Some("oncall"), noon()));
    // What is configured meanwhile waits until it is switched back.
    fallback.configure(&config);
    assert!(fallback.snapshot().enabled);
    assert!(!fallback.switch(None, None, None));
    assert!(fallback.snapshot().switched.is_none());
    assert_eq!(fails(&rates, "EUR").await, Tried::SwitchedOff);
    config.enabled = true;
    fallback.configure(&config);
    assert_eq!(get(&rates, "EUR").await, (2, Source::Stale));
}

#[tokio::test]
async fn a_switch_is_taken_over_from_the_process_before() {
    let (before, _hands) = fallback(&config());
    before.switch(
        Some(false),
        Some("oncall".into()),
        Some("wrong rates".into()),
    );
    let left = before.snapshot();
    let (after, hands) = fallback(&config());
    hands.wall.set("2026-01-02T12:00:00Z".parse().unwrap());
    after.restore(&left);
    let seen = after.snapshot();
    assert!(!seen.enabled);
    assert_eq!(seen.switched, left.switched);
    // One that nobody has switched takes nothing away.
    after.restore(&fallback(&config()).0.snapshot());
    assert!(!after.snapshot().enabled);
}

#[tokio::test]
async fn behind_an_open_circuit_the_last_good_answer_is_served_and_the_refusal_told() {
    let (fallback, hands) = fallback(&config());
    let upstream = Upstream::open();
    let breaker = CircuitBreaker::new("rates", tripping());
    let rates = ServiceBuilder::new()
        .layer(FallbackLayer::new(fallback.clone(), key))
        .layer(CircuitBreakerLayer::new(breaker.clone()))
        .service(upstream.clone());
    let ask = |currency| rates.clone().oneshot(currency);
    assert_eq!(*ask("EUR").await.unwrap(), 1);
    hands.clock.advance(TTL);
    upstream.is(Mood::Down);
    for _ in 0..3 {
        let answer = ask("EUR").await.unwrap();
        assert_eq!((*answer, answer.served().source()), (1, Source::Stale));
    }
    assert_eq!(breaker.state(), State::Open);
    let asked = upstream.asked();
    let answer = ask("EUR").await.unwrap();
    assert_eq!((*answer, answer.served().source()), (1, Source::Stale));
    let error = ask("USD").await.unwrap_err();
    assert_eq!(error.source().unwrap().to_string(), "Circuit is open");
    assert!(matches!(error.upstream(), Some(CallError::Open { .. })));
    assert_eq!(upstream.asked(), asked, "it was left alone");
    assert_eq!(fallback.snapshot().responses.stale, 4);
}

fn tripping() -> BreakerConfig {
    BreakerConfig::try_from(BreakerOptions {
        window: Window::Calls(2),
        minimum_calls: 2,
        ..BreakerOptions::default()
    })
    .unwrap()
}

#[tokio::test]
async fn a_service_that_fails_to_become_ready_has_failed() {
    #[derive(Clone)]
    struct NeverReady;
    impl Service<&'static str> for NeverReady {
        type Response = u64;
        type Error = Down;
        type Future = std::future::Ready<Result<u64, Down>>;
        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Down>> {
            Poll::Ready(Err(Down))
        }
        fn call(&mut self, _: &'static str) -> Self::Future {
            unreachable!("it is not ready")
        }
    }
    let (fallback, _hands) = fallback(&config());
    let rates = Rates::new(layer(&fallback).layer(NeverReady));
    assert_eq!(fails(&rates, "EUR").await, Tried::NothingStored);
    assert_eq!(fails(&rates, "-").await, Tried::NotForThis);
}
