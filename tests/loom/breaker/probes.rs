//! Who is let through when the wait is over.

use super::*;

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
