//! Futures that are awaited through the breaker, without tower.

use std::future;

use tokio_test::{assert_pending, assert_ready, assert_ready_err, assert_ready_ok, task};

use super::*;

type Answer = Result<u32, &'static str>;

#[test]
fn an_answer_is_a_success_and_an_error_a_failure_that_comes_back_as_it_was() {
    let (breaker, _hand) = breaker(small());
    let call = |answer: Answer| task::spawn(breaker.call(future::ready(answer))).poll();
    assert_eq!(assert_ready_ok!(call(Ok(7))), 7);
    assert_eq!(
        assert_ready_err!(call(Err("broken"))),
        CallError::Inner("broken")
    );
    let snapshot = breaker.snapshot();
    assert_eq!((snapshot.totals.success, snapshot.totals.failure), (1, 1));
    assert_eq!(snapshot.state, State::Open);
}

#[test]
fn a_future_that_is_refused_is_dropped_and_never_polled() {
    let (breaker, _hand) = tripped();
    let owned = Arc::new(());
    let held = Arc::clone(&owned);
    let mut call = task::spawn(breaker.call(async move {
        drop(held);
        panic!("polled") as Answer
    }));
    let refused = CallError::Open { retry_after: WAIT };
    assert_eq!(assert_ready!(call.poll()), Err(refused));
    assert_eq!(Arc::strong_count(&owned), 1);
}

#[test]
fn nothing_is_asked_before_the_first_poll() {
    let breaker = half_open();
    let call = breaker.call(future::pending::<Answer>());
    assert_eq!(breaker.snapshot().probes_in_flight, 0);
    drop(call);
    assert_eq!(breaker.snapshot().totals.cancelled, 0);
}

#[test]
fn a_call_that_is_dropped_half_way_counts_as_neither_outcome_and_gives_its_probe_back() {
    let breaker = half_open();
    let mut call = task::spawn(breaker.call(future::pending::<Answer>()));
    assert_pending!(call.poll());
    assert!(breaker.try_acquire().is_err());
    drop(call);
    let snapshot = breaker.snapshot();
    assert_eq!((snapshot.totals.cancelled, snapshot.window.calls), (1, 0));
    succeed(&breaker, 1);
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn a_future_that_panics_gives_its_probe_back() {
    let breaker = half_open();
    let mut call = task::spawn(breaker.call(async { panic!("on purpose") as Answer }));
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| call.poll()));
    assert!(panic.is_err());
    let snapshot = breaker.snapshot();
    assert_eq!(
        (snapshot.totals.cancelled, snapshot.probes_in_flight),
        (1, 0)
    );
    succeed(&breaker, 1);
    assert_eq!(breaker.state(), State::Closed);
}
