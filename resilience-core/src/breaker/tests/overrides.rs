//! What an operator sets in place of the state machine's judgement.

use super::*;

const HOUR: Duration = Duration::from_secs(3_600);

fn by() -> ByHand {
    ByHand {
        actor: Some("on-call".into()),
        reason: Some("INC-7".into()),
        ..ByHand::default()
    }
}

fn set(breaker: &CircuitBreaker, kind: OverrideKind, lasts: Option<Duration>) {
    breaker.set_override(kind, lasts, &by()).unwrap();
}

#[test]
fn forced_open_refuses_until_its_end_and_says_until_when() {
    let (breaker, hand) = breaker(small());
    set(&breaker, OverrideKind::ForcedOpen, Some(HOUR));
    assert_eq!(breaker.try_acquire().unwrap_err().retry_after(), HOUR);
    let snapshot = breaker.snapshot();
    assert_eq!(
        (snapshot.state, snapshot.computed_state),
        (State::Open, State::Closed)
    );
    assert_eq!(snapshot.gauge(), 2);
    let overridden = snapshot.overridden.unwrap();
    assert_eq!(overridden.actor.as_deref(), Some("on-call"));
    assert_eq!(overridden.reason.as_deref(), Some("INC-7"));
    assert_eq!(
        overridden.expires_at.unwrap() - overridden.since,
        jiff::Span::new().seconds(3_600).fieldwise()
    );
    hand.advance(HOUR - MS);
    assert!(breaker.try_acquire().is_err());
    hand.advance(MS);
    breaker.try_acquire().unwrap().success();
    let event = &breaker.snapshot().events[0];
    assert_eq!(event.cause, Cause::OverrideExpired);
    assert_eq!((event.from, event.to), (State::Open, State::Closed));
    assert_eq!(event.actor.as_deref(), Some("on-call"));
}

#[test]
fn disabled_lets_all_through_and_counts_nothing() {
    let (breaker, _hand) = tripped();
    let before = breaker.snapshot().totals;
    set(&breaker, OverrideKind::Disabled, Some(HOUR));
    fail(&breaker, 50);
    let snapshot = breaker.snapshot();
    assert_eq!((snapshot.gauge(), snapshot.totals), (0, before));
    assert_eq!(
        (snapshot.state, snapshot.computed_state),
        (State::Closed, State::Open)
    );
}

#[test]
fn metrics_only_lets_all_through_and_shows_what_it_would_have_done() {
    let (breaker, hand) = breaker(small());
    set(&breaker, OverrideKind::MetricsOnly, None);
    fail(&breaker, 2);
    let snapshot = breaker.snapshot();
    assert_eq!(
        (snapshot.state, snapshot.computed_state),
        (State::Closed, State::Open)
    );
    assert_eq!(snapshot.gauge(), 0);
    assert_eq!(snapshot.events[0].cause, Cause::FailureRate);
    // It refuses nothing, and no metric says that the circuit was open.
    fail(&breaker, 3);
    let snapshot = breaker.snapshot();
    assert_eq!((snapshot.totals.failure, snapshot.totals.rejected), (5, 0));
    assert_eq!(snapshot.open_ms_total, 0);
    assert!(
        snapshot
            .transitions
            .iter()
            .all(|t| t.cause != Cause::FailureRate)
    );
    // The wait goes by, probes are probes, and they would have closed it.
    hand.advance(WAIT);
    let probes = [(); 4].map(|()| breaker.try_acquire().unwrap());
    assert_eq!(breaker.snapshot().computed_state, State::HalfOpen);
    assert_eq!(breaker.snapshot().probes_in_flight, 2);
    probes.into_iter().for_each(Permit::success);
    assert_eq!(breaker.snapshot().computed_state, State::Closed);
    assert_eq!(breaker.snapshot().totals.success, 4);
}

#[test]
fn an_override_is_in_force_for_all_of_its_time_also_from_between_two_milliseconds() {
    let (breaker, hand) = breaker(small());
    hand.advance(MS / 2);
    set(&breaker, OverrideKind::ForcedOpen, Some(10 * MS));
    hand.advance(10 * MS - Duration::from_nanos(1));
    assert_eq!(breaker.state(), State::Open);
    hand.advance(MS);
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn an_override_is_replaced_by_the_next_and_its_end_with_it() {
    let (breaker, hand) = breaker(small());
    set(&breaker, OverrideKind::ForcedOpen, Some(MS));
    set(&breaker, OverrideKind::Disabled, Some(HOUR));
    hand.advance(HOUR - MS);
    assert_eq!(
        breaker.snapshot().overridden.unwrap().kind,
        OverrideKind::Disabled
    );
    hand.advance(MS);
    assert_eq!(breaker.snapshot().overridden, None);
}

#[test]
fn what_was_open_waits_for_the_rest_when_the_override_is_gone() {
    let (breaker, hand) = tripped();
    set(&breaker, OverrideKind::Disabled, None);
    hand.advance(Duration::from_secs(2));
    breaker.enable(&by()).unwrap();
    let left = breaker.try_acquire().unwrap_err().retry_after();
    assert_eq!(left, WAIT - Duration::from_secs(2));
}

#[test]
fn probes_from_before_an_override_are_void_after_it() {
    let (breaker, hand) = tripped();
    hand.advance(WAIT);
    let old = [(); 2].map(|()| breaker.try_acquire().unwrap());
    set(&breaker, OverrideKind::ForcedOpen, None);
    breaker.enable(&by()).unwrap();
    assert_eq!(breaker.state(), State::HalfOpen);
    assert_eq!(breaker.snapshot().probes_in_flight, 0);
    old.into_iter().for_each(|probe| probe.failure(BAD));
    assert_eq!(breaker.state(), State::HalfOpen);
    succeed(&breaker, 2);
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn a_reset_removes_no_override_and_says_so() {
    let (breaker, _hand) = breaker(small());
    for kind in [OverrideKind::ForcedOpen, OverrideKind::Disabled] {
        set(&breaker, kind, None);
        assert_eq!(breaker.reset(&by()), Err(ChangeRefused::Overridden(kind)));
    }
    set(&breaker, OverrideKind::MetricsOnly, None);
    fail(&breaker, 2);
    breaker.reset(&by()).unwrap();
    assert_eq!(breaker.snapshot().computed_state, State::Closed);
}

#[test]
fn a_dry_run_or_another_generation_sets_nothing() {
    let (breaker, _hand) = breaker(small());
    let dry = ByHand {
        dry_run: true,
        ..by()
    };
    breaker
        .set_override(OverrideKind::ForcedOpen, None, &dry)
        .unwrap();
    let moved = ByHand {
        if_generation: Some(7),
        ..by()
    };
    assert_eq!(
        breaker.set_override(OverrideKind::ForcedOpen, None, &moved),
        Err(ChangeRefused::Moved { actual: 0 })
    );
    assert_eq!(breaker.snapshot().overridden, None);
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn an_override_outlives_a_change_of_the_configuration_and_then_gives_way_to_it() {
    let (breaker, hand) = breaker(small());
    set(&breaker, OverrideKind::ForcedOpen, Some(HOUR));
    let off = BreakerOptions {
        enabled: false,
        ..small()
    };
    breaker.configure(BreakerConfig::try_from(off).unwrap());
    assert_eq!(breaker.state(), State::Open);
    hand.advance(HOUR);
    let snapshot = breaker.snapshot();
    assert_eq!((snapshot.state, snapshot.enabled), (State::Closed, false));
    fail(&breaker, 10);
    assert_eq!(breaker.snapshot().totals.failure, 0);
}

#[test]
fn time_forced_open_is_time_open() {
    let (breaker, hand) = breaker(small());
    set(&breaker, OverrideKind::ForcedOpen, None);
    hand.advance(Duration::from_secs(3));
    assert_eq!(breaker.snapshot().open_ms_total, 3_000);
    breaker.enable(&by()).unwrap();
    hand.advance(Duration::from_secs(3));
    assert_eq!(breaker.snapshot().open_ms_total, 3_000);
}

#[test]
fn forced_open_while_open_is_one_stretch_of_time() {
    let (breaker, hand) = tripped();
    hand.advance(Duration::from_secs(3));
    set(&breaker, OverrideKind::ForcedOpen, None);
    hand.advance(Duration::from_secs(3));
    assert_eq!(breaker.snapshot().open_ms_total, 6_000);
}
