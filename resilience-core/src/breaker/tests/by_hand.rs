//! Resets and overrides.

use super::*;

#[test]
fn a_reset_closes_and_says_who_asked_and_what_it_threw_away() {
    let (breaker, _hand) = tripped();
    let reset = ByHand {
        actor: Some("on-call".into()),
        ..ByHand::default()
    };
    let done = breaker.reset(&reset).unwrap();
    assert_eq!((done.before, done.after), (State::Open, State::Closed));
    assert_eq!((done.discarded.calls, done.discarded.failures), (2, 2));
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
    let moved = ByHand {
        if_generation: Some(7),
        ..ByHand::default()
    };
    assert_eq!(
        breaker.reset(&moved),
        Err(ChangeRefused::Moved { actual: 1 })
    );
    let dry = ByHand {
        if_generation: Some(1),
        dry_run: true,
        ..ByHand::default()
    };
    assert_eq!(breaker.reset(&dry).unwrap().after, State::Open);
    assert_eq!(breaker.state(), State::Open);
}
