//! The state machine, moved by hand.

use super::*;
use crate::{clock::ManualClock, snapshot::Cause};

const MS: Duration = Duration::from_millis(1);
const BAD: ErrorClass = ErrorClass::TIMEOUT;

fn breaker(options: BreakerOptions) -> (CircuitBreaker, ManualClock) {
    let (clock, hand) = Clock::manual();
    let config = BreakerConfig::try_from(options).unwrap();
    (
        CircuitBreaker::with_clock("payment_api", config, clock),
        hand,
    )
}

/// Trips at the second of two failures, waits 5 s, lets two probes through.
fn small() -> BreakerOptions {
    BreakerOptions {
        window: Window::Calls(4),
        minimum_calls: 2,
        wait_in_open: Duration::from_secs(5),
        half_open_permits: 2,
        probe_lease: Duration::from_secs(1),
        ..BreakerOptions::default()
    }
}

fn tripped() -> (CircuitBreaker, ManualClock) {
    let (breaker, hand) = breaker(small());
    fail(&breaker, 2);
    assert_eq!(breaker.state(), State::Open);
    (breaker, hand)
}

fn fail(breaker: &CircuitBreaker, times: u32) {
    for _ in 0..times {
        breaker.try_acquire().unwrap().failure(BAD);
    }
}

fn succeed(breaker: &CircuitBreaker, times: u32) {
    for _ in 0..times {
        breaker.try_acquire().unwrap().success();
    }
}

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
fn the_window_slides_a_million_successes_do_not_hide_an_outage() {
    let (breaker, _hand) = breaker(BreakerOptions {
        window: Window::Calls(100),
        ..BreakerOptions::default()
    });
    succeed(&breaker, 1_000_000);
    fail(&breaker, 49);
    assert_eq!(breaker.state(), State::Closed);
    fail(&breaker, 1);
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
    hand.advance(4_999 * MS);
    let rejected = breaker.try_acquire().unwrap_err();
    assert_eq!(rejected.retry_after, MS);
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
    hand.advance(Duration::from_secs(5));
    let probes = [
        breaker.try_acquire().unwrap(),
        breaker.try_acquire().unwrap(),
    ];
    assert_eq!(
        breaker.try_acquire().unwrap_err().retry_after,
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
    hand.advance(Duration::from_secs(5));
    fail(&breaker, 2);
    assert_eq!(
        breaker.try_acquire().unwrap_err().retry_after,
        Duration::from_secs(5)
    );
    assert_eq!(breaker.snapshot().events[0].cause, Cause::ProbesFailed);
}

#[test]
fn a_success_admitted_before_the_outage_does_not_close_a_half_open_circuit() {
    let (breaker, hand) = breaker(small());
    let old = [(); 4].map(|()| breaker.try_acquire().unwrap());
    fail(&breaker, 2);
    hand.advance(Duration::from_secs(5));
    let probe = breaker.try_acquire().unwrap();
    old.into_iter().for_each(Permit::success);
    assert_eq!(breaker.state(), State::HalfOpen);
    let totals = breaker.snapshot().totals;
    assert_eq!((totals.stale, totals.success), (4, 4));
    probe.success();
}

#[test]
fn a_hung_probe_does_not_block_recovery() {
    let (breaker, hand) = tripped();
    hand.advance(Duration::from_secs(5));
    let hung = [
        breaker.try_acquire().unwrap(),
        breaker.try_acquire().unwrap(),
    ];
    hand.advance(Duration::from_secs(1));
    succeed(&breaker, 2);
    assert_eq!(breaker.state(), State::Closed);
    hung.into_iter().for_each(|probe| probe.failure(BAD));
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn cancelled_and_ignored_probes_neither_close_nor_wedge_it() {
    let (breaker, hand) = tripped();
    hand.advance(Duration::from_secs(5));
    for _ in 0..6 {
        drop(breaker.try_acquire().unwrap());
        breaker.try_acquire().unwrap().ignore();
    }
    assert_eq!(breaker.state(), State::HalfOpen);
    let totals = breaker.snapshot().totals;
    assert_eq!((totals.cancelled, totals.ignored), (6, 6));
    succeed(&breaker, 2);
    assert_eq!(breaker.state(), State::Closed);
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
fn a_reset_closes_says_what_it_threw_away_and_disarms_what_was_armed() {
    let (breaker, hand) = tripped();
    let reset = Reset {
        actor: Some("on-call".into()),
        ..Reset::default()
    };
    let done = breaker.reset(&reset).unwrap();
    assert_eq!((done.before, done.after), (State::Open, State::Closed));
    assert_eq!((done.discarded.calls, done.discarded.failures), (2, 2));
    hand.advance(Duration::from_secs(60));
    succeed(&breaker, 1);
    assert_eq!(breaker.state(), State::Closed);
    let event = &breaker.snapshot().events[0];
    assert_eq!(
        (event.cause, event.actor.as_deref()),
        (Cause::Reset, Some("on-call"))
    );
}

#[test]
fn a_reset_of_another_generation_or_a_dry_run_changes_nothing() {
    let (breaker, _hand) = tripped();
    let moved = Reset {
        if_generation: Some(7),
        ..Reset::default()
    };
    assert_eq!(
        breaker.reset(&moved),
        Err(ResetRefused::Moved { actual: 1 })
    );
    let dry = Reset {
        if_generation: Some(1),
        dry_run: true,
        ..Reset::default()
    };
    assert_eq!(breaker.reset(&dry).unwrap().after, State::Open);
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn new_thresholds_keep_the_window_and_a_new_shape_empties_it() {
    let (breaker, _hand) = breaker(BreakerOptions {
        minimum_calls: 4,
        ..small()
    });
    fail(&breaker, 1);
    breaker.configure(BreakerConfig::try_from(small()).unwrap());
    assert_eq!(breaker.snapshot().window.failures, 1);
    fail(&breaker, 1);
    assert_eq!(breaker.state(), State::Open);
    breaker.reset(&Reset::default()).unwrap();
    fail(&breaker, 1);
    let wider = BreakerOptions {
        window: Window::Calls(200),
        ..small()
    };
    breaker.configure(BreakerConfig::try_from(wider).unwrap());
    assert_eq!(breaker.snapshot().window.calls, 0);
}

#[test]
fn switched_off_it_lets_all_through_and_counts_nothing_until_switched_on() {
    let (breaker, _hand) = tripped();
    let config = |enabled| BreakerConfig::try_from(BreakerOptions { enabled, ..small() }).unwrap();
    let before = breaker.snapshot().totals;
    breaker.configure(config(false));
    fail(&breaker, 50);
    let snapshot = breaker.snapshot();
    assert_eq!((snapshot.gauge(), snapshot.totals), (0, before));
    assert_eq!(
        breaker.reset(&Reset::default()),
        Err(ResetRefused::Disabled)
    );
    breaker.configure(config(true));
    fail(&breaker, 2);
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn a_restored_circuit_waits_for_the_rest_and_never_longer_than_configured() {
    let (rest, hand) = breaker(small());
    rest.restore_open(2 * Duration::from_secs(1), &[]);
    assert_eq!(
        rest.try_acquire().unwrap_err().retry_after,
        Duration::from_secs(2)
    );
    hand.advance(Duration::from_secs(2));
    assert!(rest.try_acquire().is_ok());

    let (long, _hand) = breaker(small());
    long.restore_open(Duration::from_secs(500), &[]);
    assert_eq!(
        long.try_acquire().unwrap_err().retry_after,
        Duration::from_secs(5)
    );
}

#[test]
fn the_flight_recorder_of_a_former_process_stands_behind_the_events_of_this_one() {
    let (former, _hand) = tripped();
    former.reset(&Reset::default()).unwrap();
    let (breaker, _hand) = breaker(small());
    breaker.restore_open(Duration::ZERO, &former.snapshot().events);
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
fn an_observer_may_read_the_breaker_and_sees_each_transition() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let registry = Registry::new();
    let config = BreakerConfig::try_from(small()).unwrap();
    let breaker = registry.get_or_create("payment_api", &config);
    let (log, reader) = (Arc::clone(&seen), breaker.clone());
    registry.observe(
        &(Arc::new(move |event: &BreakerEvent, name: &str| {
            log.lock()
                .push((name.to_owned(), event.to, reader.snapshot().state));
        }) as Observer),
    );
    fail(&breaker, 2);
    breaker.reset(&Reset::default()).unwrap();
    let expected = [State::Open, State::Closed].map(|to| ("payment_api".to_owned(), to, to));
    assert_eq!(*seen.lock(), expected);
}

#[test]
fn the_last_handle_frees_the_cell_and_a_permit_of_its_former_life_is_stale_in_the_next() {
    let owner = Owner::take("former", BreakerConfig::default(), Clock::default());
    let cell = owner.cell;
    let permit = Permit::new(cell, cell.try_acquire().unwrap());
    cell.retire();
    cell.reuse("next", BreakerConfig::default());
    permit.failure(BAD);
    let snapshot = cell.snapshot();
    assert_eq!(snapshot.name, "next");
    assert_eq!((snapshot.window.calls, snapshot.totals.stale), (0, 1));
    assert_eq!(snapshot.totals.success, 0);
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

#[test]
fn time_spent_open_is_counted_and_the_present_opening_too() {
    let (breaker, hand) = tripped();
    hand.advance(Duration::from_secs(3));
    assert_eq!(breaker.snapshot().open_ms_total, 3_000);
    breaker.reset(&Reset::default()).unwrap();
    hand.advance(Duration::from_secs(3));
    assert_eq!(breaker.snapshot().open_ms_total, 3_000);
}

#[test]
fn threads_that_storm_a_half_open_circuit_get_no_more_than_its_permits() {
    let (breaker, hand) = breaker(BreakerOptions {
        half_open_permits: 3,
        ..small()
    });
    fail(&breaker, 2);
    hand.advance(Duration::from_secs(5));
    let admitted: Vec<Permit> = std::thread::scope(|scope| {
        let storm: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    (0..100)
                        .filter_map(|_| breaker.try_acquire().ok())
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        storm
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_eq!(admitted.len(), 3);
}

#[cfg(feature = "tower")]
mod tower_layer {
    use super::*;
    use tower_test::{assert_request_eq, mock};

    fn layer(breaker: &CircuitBreaker) -> CircuitBreakerLayer {
        CircuitBreakerLayer::new(breaker.clone())
    }

    #[tokio::test]
    async fn an_open_breaker_answers_although_the_inner_service_is_not_ready() {
        let (breaker, _hand) = tripped();
        let (mut service, mut handle) = mock::spawn_layer::<&str, &str, _>(layer(&breaker));
        handle.allow(0);
        assert!(service.poll_ready().is_ready());
        let error = service.call("early").await.unwrap_err();
        assert!(matches!(error, CallError::Open { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn a_service_that_was_not_ready_is_not_called_when_the_wait_ends_meanwhile() {
        let (breaker, hand) = tripped();
        let (mut service, mut handle) = mock::spawn_layer::<&str, &str, _>(layer(&breaker));
        handle.allow(0);
        assert!(service.poll_ready().is_ready());
        hand.advance(Duration::from_secs(5));
        let error = service.call("early").await.unwrap_err();
        assert!(matches!(error, CallError::Open { .. }), "{error:?}");
        // It does not stay ready on the strength of that.
        assert!(service.poll_ready().is_pending());
    }

    #[tokio::test]
    async fn answers_and_errors_are_recorded_and_a_dropped_call_is_neither() {
        let (breaker, _hand) = breaker(small());
        let (mut service, mut handle) = mock::spawn_layer::<&str, &str, _>(layer(&breaker));
        assert!(service.poll_ready().is_ready());
        let call = service.call("good");
        assert_request_eq!(handle, "good").send_response("answer");
        assert_eq!(call.await.unwrap(), "answer");

        assert!(service.poll_ready().is_ready());
        drop(service.call("dropped"));
        assert_request_eq!(handle, "dropped").send_response("too late");

        assert!(service.poll_ready().is_ready());
        let call = service.call("bad");
        assert_request_eq!(handle, "bad")
            .send_error(std::io::Error::from(std::io::ErrorKind::TimedOut));
        assert!(matches!(call.await.unwrap_err(), CallError::Inner(_)));

        let snapshot = breaker.snapshot();
        let totals = snapshot.totals;
        assert_eq!(
            (totals.success, totals.failure, totals.cancelled),
            (1, 1, 1)
        );
        assert_eq!(snapshot.state, State::Open);
        assert_eq!(snapshot.events[0].classes[0].class, "timeout");
    }
}
