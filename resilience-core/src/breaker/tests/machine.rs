//! The state machine, moved by hand.

use super::*;

#[test]
fn nothing_trips_below_the_minimum_and_a_success_can_trip_too() {
    let (breaker, _hand) = breaker(BreakerOptions {
        minimum_calls: 3,
        ..small()
    });
    fail(&breaker, 2);
    assert_eq!(breaker.state(), State::Closed);
    succeed(&breaker, 1);
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn a_time_window_trips_and_forgets() {
    let (breaker, hand) = breaker(BreakerOptions {
        window: Window::Time(Duration::from_secs(10)),
        minimum_calls: 4,
        ..small()
    });
    fail(&breaker, 3);
    hand.advance(Duration::from_secs(10));
    fail(&breaker, 3);
    assert_eq!(breaker.state(), State::Closed);
    fail(&breaker, 1);
    assert_eq!(breaker.state(), State::Open);
    let totals = breaker.snapshot().totals;
    assert_eq!((totals.success, totals.failure), (0, 7));
}

#[test]
fn an_open_circuit_refuses_with_the_time_left_until_the_wait_is_over() {
    let (breaker, hand) = tripped();
    hand.advance(5_000 * MS);
    let rejected = breaker.try_acquire().unwrap_err();
    assert_eq!(rejected.retry_after(), MS);
    assert_eq!(rejected.to_string(), "Circuit is open");
    hand.advance(MS);
    let probe = breaker.try_acquire().unwrap();
    assert_eq!(breaker.state(), State::HalfOpen);
    probe.success();
}

#[test]
fn the_flight_recorder_has_the_wait_as_configured_also_between_two_ticks() {
    let (breaker, hand) = breaker(small());
    hand.advance(MS / 3);
    fail(&breaker, 2);
    assert_eq!(breaker.snapshot().events[0].wait_ms, Some(5_000));
}

#[test]
fn half_open_admits_its_permits_and_no_more() {
    let (breaker, hand) = tripped();
    hand.advance(WAIT);
    let probes = [
        breaker.try_acquire().unwrap(),
        breaker.try_acquire().unwrap(),
    ];
    assert_eq!(
        breaker.try_acquire().unwrap_err().retry_after(),
        Duration::ZERO
    );
    assert_eq!(breaker.snapshot().probes_in_flight, 2);
    probes.into_iter().for_each(Permit::success);
    assert_eq!(breaker.state(), State::Closed);
    assert_eq!(breaker.snapshot().window, WindowSnapshot::default());
}

#[test]
fn failing_probes_open_it_again_with_the_whole_wait() {
    let (breaker, hand) = tripped();
    hand.advance(WAIT);
    fail(&breaker, 2);
    assert_eq!(breaker.try_acquire().unwrap_err().retry_after(), WAIT);
    assert_eq!(breaker.snapshot().events[0].cause, Cause::ProbesFailed);
}

#[test]
fn slow_calls_trip_and_a_call_at_the_limit_is_not_slow() {
    let (breaker, hand) = breaker(BreakerOptions {
        slow_call_duration: Some(100 * MS),
        ..small()
    });
    let call = |takes| {
        let permit = breaker.try_acquire().unwrap();
        hand.advance(takes);
        permit.success();
    };
    call(100 * MS);
    call(101 * MS);
    assert_eq!(breaker.snapshot().window.slow, 1);
    for _ in 0..3 {
        call(101 * MS);
    }
    assert_eq!(breaker.state(), State::Open);
    assert_eq!(breaker.snapshot().events[0].cause, Cause::SlowCallRate);
}

#[test]
fn time_spent_open_is_counted_and_the_present_opening_too() {
    let (breaker, hand) = tripped();
    hand.advance(Duration::from_secs(3));
    assert_eq!(breaker.snapshot().open_ms_total, 3_000);
    breaker.reset(&ByHand::default()).unwrap();
    hand.advance(Duration::from_secs(3));
    assert_eq!(breaker.snapshot().open_ms_total, 3_000);
    // Each opening adds to it, also one that nobody looked at.
    fail(&breaker, 2);
    hand.advance(Duration::from_secs(2));
    breaker.reset(&ByHand::default()).unwrap();
    assert_eq!(breaker.snapshot().open_ms_total, 5_000);
}

#[test]
fn an_event_names_the_threshold_that_was_reached() {
    let options = BreakerOptions {
        failure_rate_threshold: 30.0,
        slow_call_rate_threshold: 60.0,
        slow_call_duration: Some(100 * MS),
        ..small()
    };
    let threshold = |breaker: &CircuitBreaker| breaker.snapshot().events[0].threshold_percent;
    let (failing, _hand) = breaker(options.clone());
    fail(&failing, 2);
    assert_eq!(threshold(&failing), Some(30.0));
    let (slow, hand) = breaker(options);
    let calls = [(); 2].map(|()| slow.try_acquire().unwrap());
    hand.advance(101 * MS);
    calls.into_iter().for_each(Permit::success);
    assert_eq!(threshold(&slow), Some(60.0));
    slow.reset(&ByHand::default()).unwrap();
    assert_eq!(threshold(&slow), None);
}

#[test]
fn the_wait_grows_while_it_opens_again_and_again_and_recovery_starts_it_anew() {
    let (breaker, hand) = breaker(BreakerOptions {
        wait_multiplier: 2.0,
        wait_max: Duration::from_secs(12),
        ..small()
    });
    let waits = |openings: u32| {
        assert_eq!(breaker.snapshot().openings, openings);
        let left = breaker.try_acquire().unwrap_err().retry_after();
        hand.advance(left);
        left - MS
    };
    fail(&breaker, 2);
    for (openings, seconds) in [(1, 5), (2, 10), (3, 12), (4, 12)] {
        assert_eq!(waits(openings), Duration::from_secs(seconds));
        fail(&breaker, 2);
    }
    waits(5);
    succeed(&breaker, 2);
    assert_eq!(
        (breaker.state(), breaker.snapshot().openings),
        (State::Closed, 0)
    );
    fail(&breaker, 2);
    assert_eq!(waits(1), Duration::from_secs(5));
}

#[test]
fn half_open_that_cannot_decide_opens_again_after_its_longest_wait() {
    let (breaker, hand) = breaker(BreakerOptions {
        half_open_max_wait: Some(Duration::from_secs(2)),
        ..small()
    });
    fail(&breaker, 2);
    hand.advance(WAIT);
    breaker.try_acquire().unwrap().success();
    hand.advance(1_999 * MS);
    assert_eq!(breaker.state(), State::HalfOpen);
    hand.advance(MS);
    assert_eq!(breaker.try_acquire().unwrap_err().retry_after(), WAIT);
    let event = &breaker.snapshot().events[0];
    assert_eq!(
        (event.cause, event.window.calls),
        (Cause::HalfOpenTimeout, 1)
    );
}

#[test]
fn it_closes_by_a_growing_share_of_the_calls() {
    let (breaker, hand) = breaker(BreakerOptions {
        ramp_up: Some(Duration::from_secs(10)),
        ..small()
    });
    fail(&breaker, 2);
    hand.advance(WAIT);
    succeed(&breaker, 2);
    let admitted = || {
        (0..1_000)
            .filter_map(|_| breaker.try_acquire().ok().map(Permit::success))
            .count()
    };
    for (second, share) in [(0, 100), (2, 280), (5, 550), (9, 910)] {
        let snapshot = breaker.snapshot();
        assert_eq!(snapshot.state, State::HalfOpen);
        assert_eq!(
            snapshot.ramp_percent,
            Some(u8::try_from(share / 10).unwrap())
        );
        assert_eq!(admitted(), share, "after {second} s");
        hand.advance(Duration::from_secs(match second {
            0 => 2,
            2 => 3,
            5 => 4,
            _ => 1,
        }));
    }
    assert_eq!(admitted(), 1_000);
    let snapshot = breaker.snapshot();
    assert_eq!(
        (snapshot.state, snapshot.ramp_percent),
        (State::Closed, None)
    );
    assert_eq!(snapshot.events[0].cause, Cause::RampFinished);
}

#[test]
fn failures_while_it_closes_open_it_again_with_a_longer_wait() {
    let (breaker, hand) = breaker(BreakerOptions {
        ramp_up: Some(Duration::from_secs(10)),
        wait_multiplier: 2.0,
        ..small()
    });
    fail(&breaker, 2);
    hand.advance(WAIT);
    succeed(&breaker, 2);
    hand.advance(Duration::from_secs(5));
    let admitted = (0..100).filter_map(|_| breaker.try_acquire().ok());
    admitted.take(2).for_each(|permit| permit.failure(BAD));
    assert_eq!(
        breaker.try_acquire().unwrap_err().retry_after(),
        Duration::from_secs(10) + MS
    );
}

#[test]
fn half_open_decides_after_the_smaller_of_minimum_and_permits() {
    for (minimum_calls, half_open_permits, outcomes) in [(3, 10, 3), (10, 3, 3)] {
        let (breaker, hand) = breaker(BreakerOptions {
            window: Window::Calls(10),
            minimum_calls,
            half_open_permits,
            ..small()
        });
        fail(&breaker, minimum_calls);
        hand.advance(WAIT);
        succeed(&breaker, outcomes - 1);
        assert_eq!(breaker.state(), State::HalfOpen);
        succeed(&breaker, 1);
        assert_eq!(breaker.state(), State::Closed);
    }
}

#[test]
fn a_storm_of_threads_loses_no_outcome() {
    for window in [Window::Calls(100), Window::Time(Duration::from_secs(60))] {
        let (breaker, _hand) = breaker(BreakerOptions {
            window,
            failure_rate_threshold: 100.0,
            slow_call_duration: Some(Duration::from_secs(3_600)),
            ..BreakerOptions::default()
        });
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let breaker = &breaker;
                scope.spawn(move || {
                    for call in 0..5_000 {
                        let permit = breaker.try_acquire().unwrap();
                        match (call + thread) % 10 {
                            0 => permit.failure(BAD),
                            1 => permit.ignore(),
                            2 => drop(permit),
                            _ => permit.success(),
                        }
                    }
                });
            }
        });
        let snapshot = breaker.snapshot();
        let totals = snapshot.totals;
        assert_eq!(
            (
                totals.success,
                totals.failure,
                totals.ignored,
                totals.cancelled
            ),
            (28_000, 4_000, 4_000, 4_000)
        );
        assert_eq!(
            (totals.stale, totals.rejected, snapshot.slow_running),
            (0, 0, 0)
        );
        assert_eq!(snapshot.durations.counts.iter().sum::<u64>(), 32_000);
        if window == Window::Time(Duration::from_secs(60)) {
            assert_eq!(
                (snapshot.window.calls, snapshot.window.failures),
                (32_000, 4_000)
            );
        }
    }
}
