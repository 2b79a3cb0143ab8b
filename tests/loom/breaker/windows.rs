//! Calls that end at once, and what the window holds of them.

use super::*;

#[test]
fn two_failures_on_two_threads_open_a_count_window_once() {
    model(3, || {
        let (breaker, _hand) = breaker(options());
        let other = breaker.clone();
        let call = |breaker: CircuitBreaker| move || fail(breaker.try_acquire().unwrap());
        at_once(call(breaker.clone()), call(other));
        let snapshot = breaker.snapshot();
        assert_eq!(causes(&snapshot), [Cause::FailureRate]);
        assert_eq!(snapshot.state, State::Open);
        assert_eq!((snapshot.totals.failure, snapshot.totals.success), (2, 0));
    });
}

#[test]
fn two_failures_on_two_threads_open_a_time_window_once() {
    model(2, || {
        let (breaker, _hand) = breaker(BreakerOptions {
            window: Window::Time(Duration::from_secs(10)),
            ..options()
        });
        let other = breaker.clone();
        let call = |breaker: CircuitBreaker| move || fail(breaker.try_acquire().unwrap());
        at_once(call(breaker.clone()), call(other));
        let snapshot = breaker.snapshot();
        assert_eq!(causes(&snapshot), [Cause::FailureRate]);
        assert_eq!(snapshot.totals.failure, 2);
    });
}

#[test]
fn a_success_and_a_failure_at_once_are_both_in_the_window_and_open_nothing() {
    for window in [Window::Calls(2), Window::Time(Duration::from_secs(10))] {
        model(2, move || {
            let (breaker, _hand) = breaker(BreakerOptions {
                window,
                ..options()
            });
            let (good, bad) = (breaker.clone(), breaker.clone());
            at_once(
                move || good.try_acquire().unwrap().success(),
                move || fail(bad.try_acquire().unwrap()),
            );
            let snapshot = breaker.snapshot();
            assert_eq!(snapshot.state, State::Closed);
            assert_eq!((snapshot.window.calls, snapshot.window.failures), (2, 1));
            assert_eq!((snapshot.totals.success, snapshot.totals.failure), (1, 1));
        });
    }
}

#[test]
fn a_failure_leaves_the_window_after_two_good_calls_though_one_thread_was_on_the_short_way() {
    model(3, || {
        let (breaker, _hand) = breaker(options());
        let other = breaker.clone();
        let succeed = |breaker: &CircuitBreaker| breaker.try_acquire().unwrap().success();
        let calls = breaker.clone();
        at_once(
            move || {
                succeed(&calls);
                succeed(&calls);
            },
            move || fail(other.try_acquire().unwrap()),
        );
        succeed(&breaker);
        succeed(&breaker);
        let snapshot = breaker.snapshot();
        assert_eq!((snapshot.window.calls, snapshot.window.failures), (2, 0));
        assert_eq!((snapshot.totals.success, snapshot.totals.failure), (4, 1));
    });
}

#[test]
fn a_good_call_and_the_first_bad_one_of_a_time_window_do_not_miss_each_other() {
    model(3, || {
        let (breaker, _hand) = breaker(BreakerOptions {
            window: Window::Time(Duration::from_secs(10)),
            minimum_calls: 3,
            failure_rate_threshold: 30.0,
            ..options()
        });
        let (good, bad) = (breaker.clone(), breaker.clone());
        at_once(
            move || good.try_acquire().unwrap().success(),
            move || fail(bad.try_acquire().unwrap()),
        );
        // The third call, and a good one: the first to meet the minimum.
        breaker.try_acquire().unwrap().success();
        assert_eq!(causes(&breaker.snapshot()), [Cause::FailureRate]);
    });
}

#[test]
fn a_timed_call_that_begins_here_and_finishes_there_runs_no_longer() {
    model(2, || {
        let (breaker, hand) = breaker(BreakerOptions {
            slow_call_duration: Some(Duration::from_millis(4)),
            ..options()
        });
        let permit = breaker.try_acquire().unwrap();
        let (here, there) = (breaker.clone(), breaker.clone());
        at_once(
            move || drop(here.try_acquire()),
            move || {
                permit.success();
                drop(there);
            },
        );
        hand.advance(Duration::from_secs(1));
        let snapshot = breaker.snapshot();
        assert_eq!((snapshot.slow_running, snapshot.state), (0, State::Closed));
    });
}

#[test]
fn a_call_and_a_window_of_another_size_at_once_lose_no_call() {
    model(2, || {
        let (breaker, _hand) = breaker(options());
        breaker.try_acquire().unwrap().success();
        let (caller, by_hand) = (breaker.clone(), breaker.clone());
        at_once(
            move || caller.try_acquire().unwrap().success(),
            move || {
                let wider = BreakerOptions {
                    window: Window::Calls(3),
                    ..options()
                };
                by_hand.configure(BreakerConfig::try_from(wider).unwrap());
            },
        );
        let snapshot = breaker.snapshot();
        assert_eq!(snapshot.totals.success, 2);
        assert!((1..=2).contains(&snapshot.window.calls));
    });
}

#[test]
fn a_success_and_a_failure_at_once_open_a_time_window_that_only_both_together_can_open() {
    model(2, || {
        let (breaker, _hand) = breaker(BreakerOptions {
            window: Window::Time(Duration::from_secs(10)),
            minimum_calls: 3,
            failure_rate_threshold: 60.0,
            ..options()
        });
        // Each call counts in its thread's stripe, and sums up both, because of this.
        fail(breaker.try_acquire().unwrap());
        let (good, bad) = (
            breaker.try_acquire().unwrap(),
            breaker.try_acquire().unwrap(),
        );
        at_once(move || fail(bad), move || good.success());
        assert_eq!(causes(&breaker.snapshot()), [Cause::FailureRate]);
    });
}

#[test]
fn whoever_looks_while_calls_fail_sees_no_failure_without_its_call_and_no_success() {
    for window in [Window::Calls(3), Window::Time(Duration::from_secs(10))] {
        model(2, move || {
            let (breaker, _hand) = breaker(BreakerOptions {
                window,
                minimum_calls: 3,
                ..options()
            });
            fail(breaker.try_acquire().unwrap());
            let (last, reader) = (breaker.try_acquire().unwrap(), breaker.clone());
            let ((), seen) = at_once(move || fail(last), move || reader.snapshot());
            assert!(
                seen.window.failures <= seen.window.calls,
                "{:?}",
                seen.window
            );
            assert_eq!(seen.totals.success, 0);
        });
    }
}

#[test]
fn a_call_that_finds_its_window_gone_is_no_call_of_the_next() {
    model(3, || {
        let (breaker, _hand) = breaker(options());
        let late = breaker.try_acquire().unwrap();
        let by_hand = breaker.clone();
        at_once(
            move || late.success(),
            move || by_hand.reset(&ByHand::default()).unwrap(),
        );
        assert_eq!(breaker.snapshot().window.calls, 0);
        for _ in 0..2 {
            breaker.try_acquire().unwrap().success();
        }
        let snapshot = breaker.snapshot();
        assert_eq!((snapshot.window.calls, snapshot.window.failures), (2, 0));
        assert_eq!(snapshot.totals.success, 3);
    });
}

#[test]
fn a_call_that_is_held_up_for_a_whole_window_is_counted_out_with_its_slot() {
    model(2, || {
        let (breaker, _hand) = breaker(BreakerOptions {
            window: Window::Calls(3),
            minimum_calls: 3,
            ..options()
        });
        let (held_up, others) = (breaker.try_acquire().unwrap(), breaker.clone());
        // The last of them may come to the slot that the one held up has been given.
        at_once(
            move || fail(held_up),
            move || {
                for _ in 0..2 {
                    others.try_acquire().unwrap().success();
                }
                fail(others.try_acquire().unwrap());
            },
        );
        for _ in 0..3 {
            breaker.try_acquire().unwrap().success();
        }
        let window = breaker.snapshot().window;
        assert_eq!((window.calls, window.failures), (3, 0));
    });
}
