//! Restarts, listeners, and cells that go from one breaker to the next.

use super::*;
use crate::snapshot::CallTotals;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn ago(time: Duration) -> Timestamp {
    Timestamp::now() - jiff::SignedDuration::try_from(time).unwrap()
}

/// A breaker that takes over from `former` after `pause`.
fn restarted(
    former: &CircuitBreaker,
    options: BreakerOptions,
    pause: Duration,
) -> (CircuitBreaker, ManualClock) {
    let (breaker, hand) = breaker(options);
    let now = Timestamp::now();
    breaker.restore(&former.snapshot(), ago(pause), now, DAY);
    (breaker, hand)
}

#[test]
fn a_restored_circuit_waits_for_the_rest_and_no_longer() {
    let (former, _hand) = tripped();
    let (breaker, hand) = restarted(&former, small(), Duration::from_secs(3));
    let left = breaker.try_acquire().unwrap_err().retry_after();
    assert!(left <= Duration::from_secs(2) + 2 * MS, "{left:?}");
    hand.advance(left);
    assert!(breaker.try_acquire().is_ok());
}

#[test]
fn a_restored_circuit_never_waits_longer_than_it_would_now() {
    let (former, _hand) = breaker(BreakerOptions {
        wait_in_open: Duration::from_secs(500),
        ..small()
    });
    fail(&former, 2);
    let (breaker, _hand) = restarted(&former, small(), Duration::ZERO);
    assert_eq!(breaker.try_acquire().unwrap_err().retry_after(), WAIT);
}

#[test]
fn a_trip_that_is_too_old_is_not_taken_over() {
    let (former, _hand) = breaker(BreakerOptions {
        wait_in_open: DAY,
        ..small()
    });
    fail(&former, 2);
    // Most of its wait is left.
    let (oldest, now) = (Duration::from_secs(3_600), Timestamp::now());
    for (pause, state) in [(oldest, State::Open), (oldest + MS, State::Closed)] {
        let (breaker, _hand) = breaker(small());
        let taken_at = now - jiff::SignedDuration::try_from(pause).unwrap();
        breaker.restore(&former.snapshot(), taken_at, now, oldest);
        assert_eq!(breaker.state(), state, "after {pause:?}");
    }
}

#[test]
fn a_restored_circuit_goes_on_backing_off() {
    let options = || BreakerOptions {
        wait_multiplier: 2.0,
        ..small()
    };
    let (former, hand) = breaker(options());
    fail(&former, 2);
    hand.advance(WAIT);
    fail(&former, 2);
    assert_eq!(former.snapshot().openings, 2);
    let (breaker, hand) = restarted(&former, options(), Duration::ZERO);
    let left = breaker.try_acquire().unwrap_err().retry_after();
    assert!(left > Duration::from_secs(9), "{left:?}");
    hand.advance(left);
    fail(&breaker, 2);
    let left = breaker.try_acquire().unwrap_err().retry_after();
    assert_eq!(left, Duration::from_secs(20) + MS);
}

#[test]
fn an_override_is_kept_over_a_restart_until_its_end() {
    let (former, _hand) = breaker(small());
    let by = ByHand {
        actor: Some("on-call".into()),
        reason: Some("their maintenance".into()),
        ..ByHand::default()
    };
    let hour = Duration::from_secs(3_600);
    former
        .set_override(OverrideKind::ForcedOpen, Some(hour), &by)
        .unwrap();
    let (breaker, hand) = restarted(&former, small(), Duration::ZERO);
    let snapshot = breaker.snapshot();
    assert_eq!(snapshot.overridden, former.snapshot().overridden);
    assert_eq!(
        (snapshot.state, snapshot.events[0].cause),
        (State::Open, Cause::Restored)
    );
    hand.advance(hour - Duration::from_secs(5));
    assert!(breaker.try_acquire().is_err());
    hand.advance(Duration::from_secs(6));
    assert!(breaker.try_acquire().is_ok());
    assert_eq!(breaker.snapshot().events[0].cause, Cause::OverrideExpired);
}

#[test]
fn an_override_that_ended_meanwhile_is_not_taken_over_and_one_without_an_end_is() {
    let (former, _hand) = breaker(small());
    let by = ByHand::default();
    former
        .set_override(OverrideKind::ForcedOpen, Some(MS), &by)
        .unwrap();
    let left = former.snapshot();
    let (breaker, _hand) = breaker(small());
    let later = Timestamp::now() + jiff::SignedDuration::from_secs(1);
    breaker.restore(&left, later, later, DAY);
    assert_eq!(breaker.snapshot().overridden, None);
    assert_eq!(breaker.state(), State::Closed);

    former
        .set_override(OverrideKind::MetricsOnly, None, &by)
        .unwrap();
    let (breaker, hand) = restarted(&former, small(), Duration::ZERO);
    hand.advance(1_000 * DAY);
    assert_eq!(
        breaker.snapshot().overridden.unwrap().kind,
        OverrideKind::MetricsOnly
    );
}

#[test]
fn an_override_does_not_outlast_its_time_though_the_wall_clock_was_set_back() {
    let (former, _hand) = breaker(small());
    let hour = Duration::from_secs(3_600);
    former
        .set_override(OverrideKind::ForcedOpen, Some(hour), &ByHand::default())
        .unwrap();
    let (breaker, hand) = breaker(small());
    breaker.restore(&former.snapshot(), ago(DAY), ago(DAY), DAY);
    assert_eq!(breaker.state(), State::Open);
    hand.advance(hour);
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn the_flight_recorder_of_a_former_process_stands_behind_the_events_of_this_one() {
    let (former, _hand) = tripped();
    former.reset(&ByHand::default()).unwrap();
    let (breaker, _hand) = restarted(&former, small(), Duration::ZERO);
    assert_eq!(breaker.state(), State::Closed);
    fail(&breaker, 2);
    let causes: Vec<_> = breaker.snapshot().events.iter().map(|e| e.cause).collect();
    assert_eq!(
        causes,
        [Cause::FailureRate, Cause::Reset, Cause::FailureRate]
    );
    assert_eq!(breaker.snapshot().transitions.len(), 1);
}

#[test]
fn a_subscription_hears_everything_until_it_is_dropped_and_may_change_the_breaker() {
    let (breaker, _hand) = breaker(small());
    let heard = Arc::new(Mutex::new(Vec::new()));
    let (log, handle) = (Arc::clone(&heard), breaker.clone());
    let subscription = breaker.subscribe(move |event| {
        log.lock().push(event.cause);
        if event.cause == Cause::FailureRate {
            handle.reset(&ByHand::default()).unwrap();
        }
    });
    fail(&breaker, 2);
    breaker.configure(BreakerConfig::default());
    drop(subscription);
    breaker.reset(&ByHand::default()).unwrap();
    assert_eq!(
        *heard.lock(),
        [Cause::FailureRate, Cause::Reset, Cause::Config]
    );
}

#[test]
fn a_listener_that_panics_harms_neither_the_call_nor_the_other_listeners() {
    let (breaker, _hand) = breaker(small());
    let heard = Arc::new(Mutex::new(0));
    let log = Arc::clone(&heard);
    let _bad = breaker.subscribe(|_| panic!("on purpose"));
    let _good = breaker.subscribe(move |_| *log.lock() += 1);
    fail(&breaker, 2);
    assert_eq!((breaker.state(), *heard.lock()), (State::Open, 1));
}

#[test]
fn a_permit_of_a_cells_former_life_leaves_no_trace_in_the_next() {
    let owner = Owner::take("former", BreakerConfig::default(), Clock::default());
    let cell = owner.cell;
    let permit = Permit::new(cell, cell.try_acquire().unwrap());
    let dropped = Permit::new(cell, cell.try_acquire().unwrap());
    cell.retire();
    cell.reuse("next", BreakerConfig::default());
    permit.failure(BAD);
    drop(dropped);
    let snapshot = cell.snapshot();
    assert_eq!(snapshot.name, "next");
    assert_eq!(snapshot.window.calls, 0);
    assert_eq!(snapshot.totals, CallTotals::default());
}

#[test]
fn nor_does_one_that_could_have_gone_the_short_way() {
    let untimed = BreakerOptions {
        slow_call_duration: None,
        ..BreakerOptions::default()
    };
    let config = BreakerConfig::try_from(untimed).unwrap();
    let owner = Owner::take("former", config.clone(), Clock::default());
    let cell = owner.cell;
    let permit = || Permit::new(cell, cell.try_acquire().unwrap());
    let late = permit();
    permit().success();
    cell.retire();
    cell.reuse("next", config);
    late.success();
    let snapshot = cell.snapshot();
    assert_eq!(snapshot.window.calls, 0);
    assert_eq!(snapshot.totals, CallTotals::default());
}

#[test]
fn the_end_of_an_override_of_a_cells_former_life_ends_nothing_in_the_next() {
    let (clock, hand) = Clock::manual();
    let cell = Cell::new("former", BreakerConfig::default(), clock);
    cell.set_override(OverrideKind::ForcedOpen, Some(MS), &ByHand::default())
        .unwrap();
    cell.retire();
    let off = BreakerOptions {
        enabled: false,
        ..small()
    };
    cell.reuse("next", BreakerConfig::try_from(off).unwrap());
    hand.advance(MS);
    let snapshot = cell.snapshot();
    assert_eq!((snapshot.state, snapshot.events), (State::Closed, vec![]));
}

#[test]
fn the_last_handle_makes_permits_that_are_still_out_stale() {
    let breaker = CircuitBreaker::new("short-lived", BreakerConfig::default());
    let (cell, clone) = (breaker.cell, breaker.clone());
    let generation = breaker.snapshot().generation;
    drop(breaker);
    assert_eq!(clone.snapshot().generation, generation);
    drop(clone);
    // Another breaker may have got the cell by now; that is later still.
    assert_ne!(cell.snapshot().generation, generation);
}
