//! Slow calls, finished and still running.

use super::*;

/// Slow above 100 ms; opens when 4 of 4 are.
fn options() -> BreakerOptions {
    BreakerOptions {
        window: Window::Calls(8),
        minimum_calls: 4,
        slow_call_duration: Some(100 * MS),
        ..small()
    }
}

#[test]
fn calls_that_still_run_past_the_limit_open_the_circuit_when_the_next_one_asks() {
    let (breaker, hand) = breaker(options());
    let hung = [(); 4].map(|()| breaker.try_acquire().unwrap());
    hand.advance(100 * MS);
    succeed(&breaker, 1);
    assert_eq!(breaker.state(), State::Closed);
    // Seen up to a quarter of the limit late, and never early.
    hand.advance(26 * MS);
    breaker.reset(&ByHand::default()).unwrap();
    drop(hung);

    let hung = [(); 4].map(|()| breaker.try_acquire().unwrap());
    hand.advance(126 * MS);
    drop(breaker.try_acquire());
    let snapshot = breaker.snapshot();
    assert_eq!(snapshot.state, State::Open);
    let event = &snapshot.events[0];
    assert_eq!(event.cause, Cause::SlowCallRate);
    assert_eq!((event.slow_running, event.window.calls), (4, 0));
    // Their outcomes are those of another generation.
    hung.into_iter().for_each(Permit::success);
    assert_eq!(breaker.snapshot().totals.stale, 4);
}

#[test]
fn a_mere_look_sees_them_too_though_nobody_calls() {
    let (breaker, hand) = breaker(options());
    let _hung = [(); 4].map(|()| breaker.try_acquire().unwrap());
    hand.advance(126 * MS);
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn fewer_than_the_minimum_do_not() {
    let (breaker, hand) = breaker(options());
    let hung = [(); 3].map(|()| breaker.try_acquire().unwrap());
    hand.advance(Duration::from_secs(3_600));
    assert_eq!(breaker.state(), State::Closed);
    assert_eq!(breaker.snapshot().slow_running, 3);
    hung.into_iter().for_each(Permit::success);
    let snapshot = breaker.snapshot();
    assert_eq!((snapshot.slow_running, snapshot.window.slow), (0, 3));
}

#[test]
fn good_calls_in_the_window_outweigh_a_few_that_hang() {
    let (breaker, hand) = breaker(BreakerOptions {
        slow_call_rate_threshold: 50.0,
        ..options()
    });
    succeed(&breaker, 8);
    let _hung: Vec<_> = (0..7).map(|_| breaker.try_acquire().unwrap()).collect();
    hand.advance(126 * MS);
    assert_eq!(breaker.state(), State::Closed);
    let _one_more = breaker.try_acquire().unwrap();
    hand.advance(126 * MS);
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn calls_that_hang_from_before_a_reset_do_not_open_it_again() {
    let (breaker, hand) = breaker(options());
    let _hung = [(); 10].map(|()| breaker.try_acquire().unwrap());
    breaker.reset(&ByHand::default()).unwrap();
    hand.advance(Duration::from_secs(60));
    succeed(&breaker, 10);
    assert_eq!(breaker.state(), State::Closed);
    assert_eq!(breaker.snapshot().slow_running, 0);
}

#[test]
fn cancelled_and_ignored_calls_no_longer_run() {
    let (breaker, hand) = breaker(options());
    for _ in 0..10 {
        drop(breaker.try_acquire().unwrap());
        breaker.try_acquire().unwrap().ignore();
    }
    hand.advance(Duration::from_secs(60));
    assert_eq!(breaker.snapshot().slow_running, 0);
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn probes_that_hang_open_the_circuit_again_before_their_leases_end() {
    let (breaker, hand) = breaker(BreakerOptions {
        probe_lease: Duration::from_secs(30),
        ..options()
    });
    fail(&breaker, 4);
    hand.advance(WAIT);
    let _hung = [(); 2].map(|()| breaker.try_acquire().unwrap());
    hand.advance(101 * MS);
    assert_eq!(breaker.state(), State::Open);
    let event = &breaker.snapshot().events[0];
    assert_eq!((event.cause, event.slow_running), (Cause::ProbesFailed, 2));
}

#[test]
fn with_a_time_window_it_is_the_same() {
    let (breaker, hand) = breaker(BreakerOptions {
        window: Window::Time(Duration::from_secs(10)),
        ..options()
    });
    let _hung = [(); 4].map(|()| breaker.try_acquire().unwrap());
    hand.advance(126 * MS);
    drop(breaker.try_acquire());
    assert_eq!(breaker.state(), State::Open);
}
