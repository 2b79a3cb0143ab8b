//! Other things to do than to serve the last good answer.

use tower::service_fn;

use super::*;
use crate::{ErrorClass, Outcome};

fn with(strategy: FallbackStrategy) -> FallbackConfig {
    let mut config = config();
    config.strategy = strategy;
    config
}

#[tokio::test]
async fn the_fixed_answer_is_given_when_the_call_fails() {
    let (fallback, _hands) = fallback(&with(FallbackStrategy::Static));
    let upstream = Upstream::open();
    let rates = Rates::new(layer(&fallback).answer(42).layer(upstream.clone()));
    assert_eq!(get(&rates, "EUR").await, (1, Source::Live));
    assert_eq!(
        get(&rates, "EUR").await,
        (2, Source::Live),
        "nothing stored is served"
    );
    upstream.is(Mood::Down);
    assert_eq!(get(&rates, "EUR").await, (42, Source::Fixed));
    assert_eq!(fails(&rates, "-").await, Tried::NotForThis);
    assert_eq!(fallback.snapshot().responses.fixed, 1);
    fallback.switch(Some(false), None, None);
    assert_eq!(fails(&rates, "EUR").await, Tried::SwitchedOff);
    fallback.switch(None, None, None);
    // And with the other strategy, put in force by a reload, the last good one.
    fallback.configure(&with(FallbackStrategy::Cache));
    assert_eq!(get(&rates, "EUR").await, (2, Source::Fresh));
}

#[tokio::test]
async fn without_a_fixed_answer_and_without_another_service_the_error_says_so() {
    let (fallback, _hands) = fallback(&with(FallbackStrategy::Static));
    let upstream = Upstream::open();
    upstream.is(Mood::Down);
    let rates = rates(&fallback, &upstream);
    assert_eq!(fails(&rates, "EUR").await, Tried::NothingFixed);
    fallback.configure(&with(FallbackStrategy::Service));
    assert_eq!(fails(&rates, "EUR").await, Tried::NoOther);
    assert_eq!(fallback.snapshot().responses.miss, 2);
}

#[tokio::test]
async fn another_service_is_asked_when_the_call_fails_and_only_then() {
    let (fallback, _hands) = fallback(&with(FallbackStrategy::Service));
    let (upstream, other) = (Upstream::open(), Upstream::open());
    other.asked.store(100, SeqCst);
    let rates = Rates::new(
        layer(&fallback)
            .other(other.clone())
            .layer(upstream.clone()),
    );
    assert_eq!(get(&rates, "EUR").await, (1, Source::Live));
    assert_eq!(other.asked(), 100);
    upstream.is(Mood::Down);
    assert_eq!(get(&rates, "EUR").await, (101, Source::Other));
    other.is(Mood::Down);
    let error = ask(&rates, "EUR").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the call failed, and so did the other service: down"
    );
    assert!(error.upstream().is_some());
    assert_eq!(fallback.snapshot().responses.other, 1);
}

#[tokio::test]
async fn an_answer_of_the_other_service_that_is_judged_a_failure_is_one() {
    let (fallback, _hands) = fallback(&with(FallbackStrategy::Service));
    let judge = |result: Result<&u64, &Down>| match result {
        Ok(0) | Err(_) => Outcome::Failure(ErrorClass::TIMEOUT),
        Ok(_) => Outcome::Success,
    };
    let zero = service_fn(|_: &'static str| async { Ok::<_, Down>(0) });
    let rates = Rates::new(layer(&fallback).classify(judge).other(zero).layer(zero));
    let answer = ask(&rates, "EUR").await.unwrap();
    assert_eq!(*answer, 0, "its own failure");
    let Some(Tried::OtherFailed { message }) = answer.served().tried() else {
        panic!("{answer:?}")
    };
    assert_eq!(&**message, "its answer is a failure (timeout)");
}

#[tokio::test]
async fn with_no_strategy_calls_are_passed_on_and_nothing_is_kept() {
    let (fallback, _hands) = fallback(&with(FallbackStrategy::None));
    let upstream = Upstream::open();
    let rates = rates(&fallback, &upstream);
    assert_eq!(get(&rates, "EUR").await, (1, Source::Live));
    assert_eq!(get(&rates, "EUR").await, (2, Source::Live));
    upstream.is(Mood::Down);
    assert_eq!(fails(&rates, "EUR").await, Tried::NotForThis);
    assert_eq!(fallback.snapshot().cache.entries, 0);
}

#[cfg(feature = "http")]
#[test]
fn a_strategy_that_has_nothing_to_give_is_warned_of_once_and_not_with_each_failure() {
    use crate::log::{LogOptions, testing::logged_async};

    for (strategy, advice) in [
        (FallbackStrategy::Static, "strategy `static`"),
        (FallbackStrategy::Service, "strategy `service`"),
    ] {
        let lines = logged_async(LogOptions::new("api"), async {
            let (fallback, _hands) = fallback(&with(strategy));
            let upstream = Upstream::open();
            // Two layers of one fallback, and one of another.
            let (one, two) = (rates(&fallback, &upstream), rates(&fallback, &upstream));
            assert_eq!(get(&one, "EUR").await, (1, Source::Live));
            upstream.is(Mood::Down);
            for _ in 0..3 {
                assert!(ask(&one, "EUR").await.is_err());
                assert!(ask(&two, "GBP").await.is_err());
            }
            let (fallback, _hands) = super::fallback(&with(strategy));
            assert!(ask(&rates(&fallback, &upstream), "EUR").await.is_err());
        });
        assert_eq!(lines.len(), 2, "{lines:#?}");
        for line in lines {
            assert!(line.contains(" WARN ") && line.contains(advice), "{line}");
            assert!(line.contains("fallback:rates"), "{line}");
        }
    }
}
