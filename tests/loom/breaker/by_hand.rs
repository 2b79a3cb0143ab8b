//! Changes by hand in the middle of calls.

use super::*;

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
