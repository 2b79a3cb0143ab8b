//! Settings that change while calls are under way.

use super::*;

#[test]
fn new_thresholds_keep_the_window_and_the_state() {
    let (breaker, _hand) = breaker(BreakerOptions {
        minimum_calls: 4,
        ..small()
    });
    fail(&breaker, 1);
    breaker.configure(BreakerConfig::try_from(small()).unwrap());
    assert_eq!(breaker.snapshot().window.failures, 1);
    fail(&breaker, 1);
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn a_window_of_another_size_keeps_the_calls_that_it_has_room_for() {
    let (breaker, _hand) = breaker(BreakerOptions {
        window: Window::Calls(10),
        minimum_calls: 10,
        ..small()
    });
    succeed(&breaker, 5);
    fail(&breaker, 3);
    let resize = |window| {
        let options = BreakerOptions {
            window,
            minimum_calls: 10,
            failure_rate_threshold: 100.0,
            ..small()
        };
        breaker.configure(BreakerConfig::try_from(options).unwrap());
        let window = breaker.snapshot().window;
        (window.calls, window.failures)
    };
    assert_eq!(resize(Window::Calls(200)), (8, 3));
    assert_eq!(resize(Window::Calls(4)), (4, 3));
    assert_eq!(resize(Window::Time(Duration::from_secs(60))), (0, 0));
    fail(&breaker, 2);
    succeed(&breaker, 2);
    assert_eq!(resize(Window::Time(Duration::from_secs(600))), (4, 2));
    let totals = breaker.snapshot().totals;
    assert_eq!((totals.success, totals.failure, totals.stale), (7, 5, 0));
}

#[test]
fn another_slow_call_limit_keeps_the_window_and_lets_go_of_what_runs() {
    let (breaker, hand) = breaker(small());
    fail(&breaker, 1);
    let _running = breaker.try_acquire().unwrap();
    let options = BreakerOptions {
        slow_call_duration: Some(100 * MS),
        ..small()
    };
    breaker.configure(BreakerConfig::try_from(options).unwrap());
    hand.advance(Duration::from_secs(60));
    let snapshot = breaker.snapshot();
    assert_eq!((snapshot.window.failures, snapshot.slow_running), (1, 0));
}

#[test]
fn a_change_is_an_event_that_says_what_changed_and_no_change_is_none() {
    let (breaker, _hand) = tripped();
    let since = breaker.snapshot().since;
    breaker.configure(BreakerConfig::try_from(small()).unwrap());
    assert_eq!(breaker.snapshot().events[0].cause, Cause::FailureRate);
    let options = BreakerOptions {
        wait_in_open: Duration::from_secs(7),
        ramp_up: Some(Duration::from_secs(1)),
        ..small()
    };
    breaker.configure(BreakerConfig::try_from(options).unwrap());
    let snapshot = breaker.snapshot();
    let event = &snapshot.events[0];
    assert_eq!(event.cause, Cause::Config);
    assert_eq!(
        event.detail.as_deref(),
        Some("wait_in_open: 5s -> 7s, ramp_up: off -> 1s")
    );
    // It is open for the same reason and since the same moment as before.
    assert_eq!((snapshot.state, snapshot.since), (State::Open, since));
    assert_eq!(snapshot.cause().unwrap().cause, Cause::FailureRate);
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
        breaker.reset(&ByHand::default()),
        Err(ChangeRefused::Disabled)
    );
    breaker.configure(config(true));
    fail(&breaker, 2);
    assert_eq!(breaker.state(), State::Open);
}
