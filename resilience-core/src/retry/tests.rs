//! The policy alone, and in the stack it is made for.

use std::{io, time::Duration};

use tokio::time::Instant;
use tower::{
    Layer, ServiceBuilder, ServiceExt,
    retry::{Policy, RetryLayer, budget::Budget},
};
use tower_test::{
    assert_request_eq,
    mock::{self, Handle, Mock},
};

use super::*;
use crate::{
    BreakerConfig, BreakerOptions, CallError, CircuitBreaker, CircuitBreakerLayer, Clock,
    ErrorClass, breaker::CircuitBreakerService, snapshot::State,
};

type Outcome = Result<&'static str, CallError<io::Error>>;

const MS: Duration = Duration::from_millis(1);

fn config(options: RetryOptions) -> RetryConfig {
    RetryConfig::try_from(options).unwrap()
}

/// Nothing is free: five successes pay for a retry.
fn poor() -> RetryOptions {
    RetryOptions {
        free_retries_per_second: 0,
        ..RetryOptions::default()
    }
}

fn open(retry_after: Duration) -> Outcome {
    Err(CallError::Open { retry_after })
}

fn failed() -> Outcome {
    Err(CallError::Inner(io::Error::other("broken")))
}

/// The wait before the next attempt of a call that ended so.
fn wait<R>(policy: &mut RetryPolicy<R>, mut ended: Outcome) -> Option<Duration>
where
    R: Retryable<&'static str, &'static str, io::Error>,
{
    let sleep = policy.retry(&mut "request", &mut ended)?;
    Some(sleep.deadline() - Instant::now())
}

/// Opens at one failure, for a second.
fn breaker() -> CircuitBreaker {
    let options = BreakerOptions {
        minimum_calls: 1,
        wait_in_open: 900 * MS,
        half_open_permits: 1,
        ..BreakerOptions::default()
    };
    let config = BreakerConfig::try_from(options).unwrap();
    CircuitBreaker::with_clock("payment_api", config, Clock::tokio())
}

fn tripped() -> CircuitBreaker {
    let breaker = breaker();
    breaker.try_acquire().unwrap().failure(ErrorClass::TIMEOUT);
    assert_eq!(breaker.state(), State::Open);
    breaker
}

type Client<R> = tower::retry::Retry<
    RetryPolicy<R>,
    CircuitBreakerService<Mock<&'static str, &'static str>, crate::ErrorsFail>,
>;

fn client<R: Clone>(
    policy: &RetryPolicy<R>,
    breaker: &CircuitBreaker,
) -> (Client<R>, Handle<&'static str, &'static str>) {
    let (upstream, handle) = mock::pair();
    let client = ServiceBuilder::new()
        .layer(RetryLayer::new(policy.clone()))
        .layer(CircuitBreakerLayer::new(breaker.clone()))
        .service(upstream);
    (client, handle)
}

/// What the call ends with, while the upstream does its part. Time is paused,
/// so the hour is over at once if both wait for something that never comes.
async fn both<T>(call: impl Future<Output = T>, upstream: impl Future<Output = ()>) -> T {
    let together = async { tokio::join!(call, upstream).0 };
    let hour = Duration::from_secs(3_600);
    tokio::time::timeout(hour, together).await.expect("an end")
}

#[tokio::test(start_paused = true)]
async fn a_refused_call_waits_as_long_as_the_circuit_asks_for_and_at_most_a_backoff_more() {
    let policy = RetryPolicy::with_seed(RetryConfig::default(), 1);
    let waits: Vec<Duration> = (0..40)
        .map(|_| wait(&mut policy.clone(), open(700 * MS)).unwrap())
        .collect();
    assert!(waits.iter().all(|w| (700 * MS..=751 * MS).contains(w)));
    // Not all at once: that is what the jitter is for.
    let apart = *waits.iter().max().unwrap() - *waits.iter().min().unwrap();
    assert!(apart > 30 * MS, "{apart:?}");
    assert_eq!(policy.retries(), 40);
}

#[tokio::test(start_paused = true)]
async fn a_circuit_that_stays_open_for_too_long_is_not_waited_for_and_costs_no_budget() {
    let policy = RetryPolicy::new(config(RetryOptions {
        successes_per_retry: 1,
        ..poor()
    }));
    wait(&mut policy.clone(), Ok("paid in"));
    for _ in 0..10 {
        assert_eq!(wait(&mut policy.clone(), open(1_001 * MS)), None);
    }
    assert_eq!((policy.retries(), policy.budget_exhausted()), (0, 0));
    assert!(wait(&mut policy.clone(), open(1_000 * MS)).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_refused_call_is_made_when_the_circuit_lets_a_probe_through() {
    let policy = RetryPolicy::new(RetryConfig::default());
    let breaker = tripped();
    let (client, mut handle) = client(&policy, &breaker);
    let began = Instant::now();
    let answer = both(client.oneshot("rates"), async {
        assert_request_eq!(handle, "rates").send_response("1.0876");
    })
    .await;
    assert_eq!(answer.unwrap(), "1.0876");
    assert!((901 * MS..=1_000 * MS).contains(&began.elapsed()));
    assert_eq!(policy.retries(), 1);
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn by_default_nothing_that_was_sent_is_sent_again() {
    let policy = RetryPolicy::new(RetryConfig::default());
    let (client, mut handle) = client(&policy, &breaker());
    let answer = both(client.oneshot("pay"), async {
        assert_request_eq!(handle, "pay").send_error(io::Error::other("broken"));
    })
    .await;
    assert!(matches!(answer, Err(CallError::Inner(_))), "{answer:?}");
    // The client is gone, so the handle would have the retry or the end.
    assert!(handle.next_request().await.is_none());
    assert_eq!(policy.retries(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_idempotent_call_is_made_as_often_as_allowed_and_every_attempt_is_judged() {
    let policy = RetryPolicy::idempotent(RetryConfig::default());
    let config = BreakerConfig::default();
    let breaker = CircuitBreaker::with_clock("rates", config, Clock::tokio());
    let (client, mut handle) = client(&policy, &breaker);
    let answer = both(client.oneshot("rates"), async {
        for _ in 0..3 {
            assert_request_eq!(handle, "rates").send_error(io::Error::other("broken"));
        }
    })
    .await;
    assert!(matches!(answer, Err(CallError::Inner(_))), "{answer:?}");
    assert!(handle.next_request().await.is_none());
    assert_eq!(policy.retries(), 2);
    assert_eq!(breaker.snapshot().totals.failure, 3);
}

#[tokio::test(start_paused = true)]
async fn each_backoff_may_be_twice_as_long_up_to_the_cap() {
    let policy = RetryPolicy::idempotent(config(RetryOptions {
        most_attempts: 5,
        base: 100 * MS,
        cap: 300 * MS,
        free_retries_per_second: 1_000,
        ..RetryOptions::default()
    }));
    let mut longest = [Duration::ZERO; 4];
    for _ in 0..500 {
        let mut call = policy.clone();
        for longest in &mut longest {
            *longest = wait(&mut call, failed()).unwrap().max(*longest);
        }
        assert_eq!(wait(&mut call, failed()), None, "a sixth attempt");
    }
    for (longest, ceiling_ms) in longest.into_iter().zip([100, 200, 300, 300]) {
        let ceiling = ceiling_ms * MS;
        let expected = ceiling * 9 / 10..=ceiling + MS;
        assert!(expected.contains(&longest), "{longest:?} of {ceiling:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn successes_pay_for_retries_of_every_clone_and_an_empty_budget_is_counted() {
    let policy = RetryPolicy::idempotent(config(poor()));
    assert_eq!(wait(&mut policy.clone(), failed()), None);
    for _ in 0..5 {
        wait(&mut policy.clone(), Ok("answer"));
    }
    assert!(wait(&mut policy.clone(), failed()).is_some());
    assert_eq!(wait(&mut policy.clone(), failed()), None);
    assert_eq!((policy.retries(), policy.budget_exhausted()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_success_counts_as_long_as_the_window_and_no_longer() {
    let policy = RetryPolicy::idempotent(config(poor()));
    for _ in 0..5 {
        wait(&mut policy.clone(), Ok("answer"));
    }
    tokio::time::advance(12_000 * MS).await;
    assert_eq!(wait(&mut policy.clone(), failed()), None);
}

#[test]
fn a_retry_costs_exactly_as_many_successes_as_were_asked_for() {
    for successes_per_retry in 1..=1_000 {
        let policy = RetryPolicy::new(config(RetryOptions {
            successes_per_retry,
            budget_window: Duration::from_secs(60),
            ..poor()
        }));
        let budget = &policy.shared.budget;
        (1..successes_per_retry).for_each(|_| budget.deposit());
        assert!(!budget.withdraw(), "{successes_per_retry}");
        budget.deposit();
        assert!(budget.withdraw(), "{successes_per_retry}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_closure_judges_request_and_answer() {
    let judge = |request: &&'static str, result: Result<&&'static str, &io::Error>| {
        *request == "request" && matches!(result, Ok(&"busy"))
    };
    let policy = RetryPolicy::new(RetryConfig::default()).retry_if(judge);
    assert!(wait(&mut policy.clone(), Ok("busy")).is_some());
    assert_eq!(wait(&mut policy.clone(), Ok("answer")), None);
    assert_eq!(wait(&mut policy.clone(), failed()), None);
    // What was never sent does not concern it.
    assert!(wait(&mut policy.clone(), open(Duration::ZERO)).is_some());
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_takes_no_slot_of_the_bulkhead() {
    let breaker = tripped();
    let (upstream, _handle) = mock::pair::<&str, &str>();
    let bulkhead = ServiceBuilder::new().concurrency_limit(1).service(upstream);
    let guarded = CircuitBreakerLayer::new(breaker).layer(bulkhead.clone());
    let refusing = guarded.ready_oneshot().await.unwrap();
    let other = tokio::time::timeout(1_000 * MS, bulkhead.ready_oneshot()).await;
    assert!(other.is_ok(), "the slot is taken");
    drop(refusing);
}

#[test]
fn the_defaults_are_allowed() {
    assert_eq!(config(RetryOptions::default()), RetryConfig::default());
}

#[test]
fn what_is_outside_of_what_is_allowed_is_refused_by_name() {
    fn refused(key: &str, set: impl FnOnce(&mut RetryOptions)) {
        let mut options = RetryOptions::default();
        set(&mut options);
        let error = RetryConfig::try_from(options).unwrap_err();
        assert_eq!(error.key, key);
        assert!(error.to_string().starts_with(&format!("`{key}` is ")));
    }
    refused("most_attempts", |o| o.most_attempts = 0);
    refused("most_attempts", |o| o.most_attempts = 11);
    refused("base", |o| o.base = Duration::ZERO);
    refused("base", |o| o.base = 60_001 * MS);
    refused("cap", |o| o.cap = o.base - MS);
    refused("cap", |o| o.cap = Duration::MAX);
    refused("patience", |o| o.patience = Duration::from_secs(3_601));
    refused("budget_window", |o| o.budget_window = 999 * MS);
    refused("budget_window", |o| o.budget_window = 60_001 * MS);
    refused("successes_per_retry", |o| o.successes_per_retry = 0);
    refused("successes_per_retry", |o| o.successes_per_retry = 1_001);
    refused("free_retries_per_second", |o| {
        o.free_retries_per_second = 1_001;
    });
}
