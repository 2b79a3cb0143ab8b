//! Every interleaving of a few threads at one breaker, as far as loom's bound on
//! preemptions reaches.
//!
//! `scripts/loom.sh` builds this with `--cfg loom`, which puts loom's atomics and
//! locks under `resilience_core::sync`. Threads are few and calls fewer: each
//! atomic operation is a place where another thread may go on. What is looked
//! at after the threads have ended costs nothing.
#![cfg(loom)]

use std::time::Duration;

use loom::thread;
use resilience_core::{
    BreakerConfig, BreakerOptions, ByHand, CircuitBreaker, Clock, ErrorClass, ManualClock, Permit,
    Window,
    snapshot::{BreakerSnapshot, Cause, OverrideKind, State},
};

const WAIT: Duration = Duration::from_millis(10);
const LEASE: Duration = Duration::from_millis(5);

/// Two failures of two calls open it; one probe decides.
fn options() -> BreakerOptions {
    BreakerOptions {
        window: Window::Calls(2),
        minimum_calls: 2,
        failure_rate_threshold: 100.0,
        slow_call_duration: None,
        wait_in_open: WAIT,
        half_open_permits: 1,
        probe_lease: LEASE,
        ..BreakerOptions::default()
    }
}

fn breaker(options: BreakerOptions) -> (CircuitBreaker, ManualClock) {
    let (clock, hand) = Clock::manual();
    let config = BreakerConfig::try_from(options).unwrap();
    (CircuitBreaker::with_clock("model", config, clock), hand)
}

fn opened() -> (CircuitBreaker, ManualClock) {
    let (breaker, hand) = breaker(options());
    for _ in 0..2 {
        breaker.try_acquire().unwrap().failure(ErrorClass::OTHER);
    }
    (breaker, hand)
}

/// Runs the model with at most `preemptions` of them, and as many threads as it
/// starts.
fn model(preemptions: usize, run: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    // A snapshot alone reads some hundred cells.
    builder.max_branches = 20_000;
    builder.check(run);
}

/// Does `a` and `b` at once.
fn at_once<A: Send + 'static, B: Send + 'static>(
    a: impl FnOnce() -> A + Send + 'static,
    b: impl FnOnce() -> B + Send + 'static,
) -> (A, B) {
    let other = thread::spawn(b);
    let a = a();
    (a, other.join().unwrap())
}

/// Does all three at once.
fn three_at_once<A: Send + 'static, B: Send + 'static, C: Send + 'static>(
    a: impl FnOnce() -> A + Send + 'static,
    b: impl FnOnce() -> B + Send + 'static,
    c: impl FnOnce() -> C + Send + 'static,
) -> (A, B, C) {
    let third = thread::spawn(c);
    let (a, b) = at_once(a, b);
    (a, b, third.join().unwrap())
}

fn causes(snapshot: &BreakerSnapshot) -> Vec<Cause> {
    let mut causes: Vec<_> = snapshot.events.iter().map(|event| event.cause).collect();
    causes.reverse();
    causes
}

fn fail(permit: Permit) {
    permit.failure(ErrorClass::OTHER);
}

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

/// However the change falls into the call that would have opened the short way.
fn a_call_told_after_a_change_is_stale_in(
    window: Window,
    change: impl Fn(&CircuitBreaker) + Clone + Send + Sync + 'static,
) {
    model(3, move || {
        let (breaker, _hand) = breaker(BreakerOptions {
            window,
            ..options()
        });
        let (first, second) = (
            breaker.try_acquire().unwrap(),
            breaker.try_acquire().unwrap(),
        );
        let (changed, change) = (breaker.clone(), change.clone());
        let other = thread::spawn(move || change(&changed));
        first.success();
        other.join().unwrap();
        let before = breaker.snapshot().totals.stale;
        second.success();
        assert_eq!(breaker.snapshot().totals.stale, before + 1);
    });
}

fn reset(breaker: &CircuitBreaker) {
    breaker.reset(&ByHand::default()).unwrap();
}

fn force_open(breaker: &CircuitBreaker) {
    let forced = OverrideKind::ForcedOpen;
    breaker
        .set_override(forced, None, &ByHand::default())
        .unwrap();
}

#[test]
fn a_call_told_after_a_change_is_stale_also_where_the_one_before_opened_the_short_way() {
    a_call_told_after_a_change_is_stale_in(Window::Calls(2), reset);
    a_call_told_after_a_change_is_stale_in(Window::Calls(2), force_open);
}

#[test]
fn the_same_in_a_time_window() {
    let window = Window::Time(Duration::from_secs(10));
    a_call_told_after_a_change_is_stale_in(window, reset);
    a_call_told_after_a_change_is_stale_in(window, force_open);
}

#[test]
fn one_of_two_that_ask_when_the_wait_is_over_is_the_probe() {
    model(3, || {
        let (breaker, hand) = opened();
        hand.advance(WAIT * 2);
        let ask = |breaker: CircuitBreaker| move || breaker.try_acquire().ok();
        let (a, b) = at_once(ask(breaker.clone()), ask(breaker.clone()));
        assert_eq!(u32::from(a.is_some()) + u32::from(b.is_some()), 1);
        let snapshot = breaker.snapshot();
        assert_eq!(snapshot.state, State::HalfOpen);
        assert_eq!(snapshot.probes_in_flight, 1);
        assert_eq!(snapshot.totals.rejected, 1);
        drop((a, b));
        assert_eq!(breaker.snapshot().probes_in_flight, 0);
    });
}

#[test]
fn a_probe_that_is_given_up_or_told_leaves_room_for_exactly_one() {
    model(3, || {
        let (breaker, hand) = opened();
        hand.advance(WAIT * 2);
        let probe = breaker.try_acquire().unwrap();
        let asker = breaker.clone();
        let ((), next) = at_once(move || drop(probe), move || asker.try_acquire().ok());
        // Before or after the other had gone.
        let in_flight = u32::from(next.is_some());
        assert_eq!(breaker.snapshot().probes_in_flight, in_flight);
        assert_eq!(breaker.state(), State::HalfOpen);
        drop(next);
    });
}

#[test]
fn of_a_probe_whose_lease_has_ended_and_its_heir_only_the_heir_counts() {
    model(3, || {
        let (breaker, hand) = opened();
        hand.advance(WAIT * 2);
        let silent = breaker.try_acquire().unwrap();
        hand.advance(LEASE);
        let heir = breaker.clone();
        let ((), heir) = at_once(
            move || fail(silent),
            move || heir.try_acquire().map(Permit::success).is_ok(),
        );
        let snapshot = breaker.snapshot();
        // The silent one may speak up before its slot is taken; not afterwards.
        let state = if heir { State::Closed } else { State::Open };
        assert_eq!(snapshot.state, state);
        assert_eq!(snapshot.totals.stale, u64::from(heir));
    });
}

#[test]
fn a_probe_and_a_reset_at_once_end_closed_whatever_the_probe_says() {
    model(3, || {
        let (breaker, hand) = opened();
        hand.advance(WAIT * 2);
        let probe = breaker.try_acquire().unwrap();
        let by_hand = breaker.clone();
        at_once(
            move || fail(probe),
            move || by_hand.reset(&ByHand::default()).unwrap(),
        );
        let snapshot = breaker.snapshot();
        assert_eq!(snapshot.state, State::Closed);
        assert_eq!(snapshot.events[0].cause, Cause::Reset);
        assert_eq!(snapshot.window.calls, 0);
        // Though the probe may have begun to open it once more.
        assert_eq!(snapshot.openings, 0);
    });
}

#[test]
fn a_trip_and_a_reset_at_once_leave_one_order_and_both_in_the_recorder() {
    model(2, || {
        let (breaker, _hand) = breaker(options());
        fail(breaker.try_acquire().unwrap());
        let last = breaker.try_acquire().unwrap();
        let by_hand = breaker.clone();
        at_once(
            move || fail(last),
            move || by_hand.reset(&ByHand::default()).unwrap(),
        );
        let snapshot = breaker.snapshot();
        // Reset last: closed. Trip last is no trip: its window was emptied.
        assert_eq!(snapshot.state, State::Closed);
        let causes = causes(&snapshot);
        assert!(
            causes == [Cause::Reset] || causes == [Cause::FailureRate, Cause::Reset],
            "{causes:?}"
        );
        assert_eq!(snapshot.totals.failure, 2);
    });
}

#[test]
fn a_trip_and_an_override_at_once_end_overridden() {
    model(2, || {
        let (breaker, _hand) = breaker(options());
        fail(breaker.try_acquire().unwrap());
        let last = breaker.try_acquire().unwrap();
        let by_hand = breaker.clone();
        at_once(
            move || fail(last),
            move || {
                let by = ByHand::default();
                by_hand
                    .set_override(OverrideKind::Disabled, None, &by)
                    .unwrap();
            },
        );
        let snapshot = breaker.snapshot();
        assert_eq!(snapshot.state, State::Closed);
        assert!(snapshot.overridden.is_some());
        assert!(breaker.try_acquire().is_ok());
    });
}

#[test]
fn an_override_whose_time_is_over_ends_once_for_all_who_ask() {
    model(2, || {
        let (breaker, hand) = breaker(options());
        let by = ByHand::default();
        breaker
            .set_override(OverrideKind::ForcedOpen, Some(WAIT), &by)
            .unwrap();
        hand.advance(WAIT);
        let ask = |breaker: CircuitBreaker| move || drop(breaker.try_acquire());
        at_once(ask(breaker.clone()), ask(breaker.clone()));
        let snapshot = breaker.snapshot();
        assert_eq!(
            causes(&snapshot),
            [Cause::ForcedOpen, Cause::OverrideExpired]
        );
        assert_eq!((snapshot.state, snapshot.overridden), (State::Closed, None));
    });
}

#[test]
fn of_two_overrides_at_once_the_word_and_the_record_are_the_same() {
    model(2, || {
        let (breaker, _hand) = breaker(options());
        let set = |breaker: CircuitBreaker, kind| {
            move || {
                breaker
                    .set_override(kind, None, &ByHand::default())
                    .unwrap()
            }
        };
        at_once(
            set(breaker.clone(), OverrideKind::ForcedOpen),
            set(breaker.clone(), OverrideKind::Disabled),
        );
        let snapshot = breaker.snapshot();
        let expected = match snapshot.overridden.unwrap().kind {
            OverrideKind::ForcedOpen => State::Open,
            _ => State::Closed,
        };
        assert_eq!(snapshot.state, expected);
        assert_eq!(breaker.try_acquire().is_ok(), expected == State::Closed);
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

#[test]
fn a_probe_that_another_thread_made_room_for_opens_it_for_the_second_time() {
    model(3, || {
        let (breaker, hand) = opened();
        hand.advance(WAIT * 2);
        let probe = |breaker: CircuitBreaker| move || breaker.try_acquire().map(fail).is_ok();
        let (a, b) = at_once(probe(breaker.clone()), probe(breaker.clone()));
        assert!(a ^ b);
        let snapshot = breaker.snapshot();
        assert_eq!((snapshot.state, snapshot.openings), (State::Open, 2));
    });
}

#[test]
fn a_trip_a_reset_and_a_call_at_once_end_closed_and_each_is_accounted_for() {
    // With two preemptions it takes half a minute and finds no more.
    model(1, || {
        let (breaker, _hand) = breaker(options());
        fail(breaker.try_acquire().unwrap());
        let last = breaker.try_acquire().unwrap();
        let (by_hand, caller) = (breaker.clone(), breaker.clone());
        let ((), _, called) = three_at_once(
            move || fail(last),
            move || by_hand.reset(&ByHand::default()).unwrap(),
            move || caller.try_acquire().map(Permit::success).is_ok(),
        );
        let snapshot = breaker.snapshot();
        assert_eq!(snapshot.state, State::Closed);
        assert_eq!(snapshot.events[0].cause, Cause::Reset);
        let totals = snapshot.totals;
        assert_eq!((totals.failure, totals.success), (2, u64::from(called)));
        assert_eq!(totals.rejected, u64::from(!called));
    });
}

#[test]
fn two_probes_that_finish_while_a_third_call_asks_close_it_once() {
    model(2, || {
        let (breaker, hand) = breaker(BreakerOptions {
            half_open_permits: 2,
            ..options()
        });
        for _ in 0..2 {
            fail(breaker.try_acquire().unwrap());
        }
        hand.advance(WAIT * 2);
        let (a, b) = (
            breaker.try_acquire().unwrap(),
            breaker.try_acquire().unwrap(),
        );
        let asker = breaker.clone();
        let ((), (), third) = three_at_once(
            move || a.success(),
            move || b.success(),
            move || asker.try_acquire().ok(),
        );
        let snapshot = breaker.snapshot();
        let expected = [
            Cause::FailureRate,
            Cause::WaitElapsed,
            Cause::ProbesSucceeded,
        ];
        assert_eq!(causes(&snapshot), expected);
        assert_eq!(snapshot.totals.rejected, u64::from(third.is_none()));
        drop(third);
        let totals = breaker.snapshot().totals;
        assert_eq!((totals.success, totals.stale), (2, 0));
    });
}

#[test]
fn an_override_that_ends_while_it_is_replaced_leaves_the_new_one() {
    model(2, || {
        let (breaker, hand) = breaker(options());
        let set = |breaker: &CircuitBreaker, kind, lasts| {
            breaker
                .set_override(kind, lasts, &ByHand::default())
                .unwrap()
        };
        set(&breaker, OverrideKind::ForcedOpen, Some(WAIT));
        hand.advance(WAIT);
        let (caller, by_hand) = (breaker.clone(), breaker.clone());
        at_once(
            move || drop(caller.try_acquire()),
            move || set(&by_hand, OverrideKind::Disabled, None),
        );
        let snapshot = breaker.snapshot();
        assert_eq!(snapshot.overridden.unwrap().kind, OverrideKind::Disabled);
        assert_eq!(snapshot.state, State::Closed);
        assert!(breaker.try_acquire().is_ok());
    });
}
