//! Who goes, who stays, and what is kept of those who went.

use super::*;

/// A family with members `0`, `1`, … that were used a second apart.
fn filled(capacity: u32) -> (KeyedBreakers, ManualClock) {
    let (family, hand) = family(capacity);
    for key in 0..capacity {
        let _ = family.get(key.to_string());
        hand.advance(SECOND);
    }
    (family, hand)
}

#[test]
fn one_key_is_one_breaker_and_another_key_another() {
    let (family, _hand) = family(8);
    trip(&family.get("a"));
    assert_eq!(family.get("a").state(), State::Open);
    assert_eq!(family.get("b").state(), State::Closed);
    assert_eq!(&*family.get("a").name(), "api:a");
}

#[test]
fn a_new_key_at_the_cap_makes_an_eighth_go_and_those_idle_longest() {
    let (family, _hand) = filled(16);
    let _ = family.get("0");
    let _ = family.get("new");
    let gone: Vec<_> = (0..16)
        .filter(|key| !has(&family, &key.to_string()))
        .collect();
    assert_eq!(gone, [1, 2]);
    let snapshot = family.snapshot();
    assert_eq!((snapshot.members, snapshot.evicted), (15, 2));
}

#[test]
fn to_look_a_known_key_up_evicts_nobody() {
    let (family, hand) = filled(4);
    hand.advance(2 * IDLE);
    let _ = family.get("3");
    assert_eq!(family.snapshot().members, 4);
}

#[test]
fn those_that_are_open_or_overridden_stay_though_they_are_idle_longest() {
    let (family, _hand) = filled(4);
    trip(&family.find("api:0").unwrap());
    let by = ByHand::default();
    let metrics_only = OverrideKind::MetricsOnly;
    let overridden = family.find("api:1").unwrap();
    overridden.set_override(metrics_only, None, &by).unwrap();
    let _ = family.get("new");
    assert!(has(&family, "0") && has(&family, "1") && !has(&family, "2"));
    assert!(has(&family, "3") && has(&family, "new"));
}

#[test]
fn keys_without_a_place_share_one_breaker_until_there_is_room() {
    let (family, hand) = filled(2);
    for key in ["0", "1"] {
        trip(&family.get(key));
    }
    let other = family.get("new");
    assert_eq!(&*other.name(), "api:other");
    trip(&other);
    assert_eq!(family.get("newer").state(), State::Open);
    let snapshot = family.snapshot();
    assert_eq!((snapshot.members, snapshot.overflowed), (2, 2));
    assert_eq!((snapshot.open, snapshot.not_closed.len()), (2, 3));
    assert_eq!(snapshot.totals.failure, 6);

    family.get("0").reset(&ByHand::default()).unwrap();
    hand.advance(LOOK_AGAIN);
    assert_eq!(&*family.get("new").name(), "api:new");
    assert!(!has(&family, "0") && has(&family, "1"));
}

#[test]
fn tidy_lets_those_go_that_are_idle_and_nobody_else() {
    let (family, hand) = filled(4);
    hand.advance(IDLE - 3 * SECOND);
    family.tidy();
    assert!(!has(&family, "0") && !has(&family, "1"));
    assert!(has(&family, "2") && has(&family, "3"));
}

#[test]
fn an_open_circuit_is_kept_for_its_wait_and_the_idle_time_and_then_goes() {
    let (family, hand) = family(4);
    trip(&family.get("a"));
    hand.advance(IDLE + 4 * SECOND);
    family.tidy();
    assert!(has(&family, "a"));
    hand.advance(2 * SECOND);
    family.tidy();
    assert!(!has(&family, "a"));
}

#[test]
fn a_family_of_open_circuits_that_nobody_asks_for_has_room_again() {
    let (family, hand) = filled(2);
    for key in ["0", "1"] {
        trip(&family.get(key));
    }
    hand.advance(IDLE + 6 * SECOND);
    assert_eq!(&*family.get("new").name(), "api:new");
}

#[test]
fn an_override_is_never_forgotten() {
    let (family, hand) = filled(1);
    let overridden = family.get("0");
    let (open, by) = (OverrideKind::ForcedOpen, ByHand::default());
    overridden.set_override(open, None, &by).unwrap();
    hand.advance(100 * IDLE);
    family.tidy();
    assert_eq!(&*family.get("new").name(), "api:other");
    assert!(has(&family, "0"));
}

#[test]
fn a_handle_that_is_still_held_works_on_and_is_not_the_familys_any_more() {
    let (family, hand) = family(1);
    let held = family.get("a");
    hand.advance(SECOND);
    let _ = family.get("b");
    trip(&held);
    assert_eq!(family.snapshot().open, 0);
    assert_eq!(held.state(), State::Open);
    hand.advance(SECOND);
    assert_eq!(family.get("a").state(), State::Closed);
}

#[test]
fn the_calls_of_those_who_went_stay_counted() {
    let (family, hand) = family(8);
    for key in 0..100 {
        family.get(key.to_string()).try_acquire().unwrap().success();
        hand.advance(SECOND);
        assert_eq!(family.snapshot().totals.success, key + 1);
    }
    hand.advance(IDLE);
    family.tidy();
    let snapshot = family.snapshot();
    assert_eq!((snapshot.members, snapshot.evicted), (0, 100));
    assert_eq!(snapshot.totals.success, 100);
}

#[test]
fn only_sixteen_are_shown_and_those_that_are_open_for_longest() {
    let (family, _hand) = family(128);
    for key in 0..100 {
        let breaker = family.get(format!("{key:03}"));
        // Each longer in its state than the next, also for a wall clock that
        // stands still: the name decides.
        trip(&breaker);
        for _ in 0..12 {
            breaker.reset(&ByHand::default()).unwrap();
        }
        trip(&breaker);
    }
    let snapshot = family.snapshot();
    let names: Vec<_> = snapshot.not_closed.iter().map(|b| &*b.name).collect();
    let expected: Vec<_> = (0..16).map(|key| format!("api:{key:03}")).collect();
    assert_eq!(
        (snapshot.open, names),
        (100, expected.iter().map(|n| &**n).collect())
    );
    assert!(snapshot.not_closed.iter().all(|b| b.events.len() == 8));
}

#[test]
fn a_key_that_is_too_long_to_remember_shares_a_breaker() {
    let (family, _hand) = family(4);
    let long = "x".repeat(1 << 20);
    assert_eq!(&*family.get(&long).name(), "api:other");
    let longest = "x".repeat(KeyedBreakers::LONGEST_KEY);
    let breaker = family.get(&longest);
    assert!(breaker.name().len() < 140);
    let found = family.find(&breaker.name()).unwrap();
    assert_eq!(found.name(), breaker.name());
    // A key with the same beginning is somebody else.
    let nearly = "x".repeat(KeyedBreakers::LONGEST_KEY - 1);
    trip(&family.get(&nearly));
    assert_eq!(breaker.state(), State::Closed);
}
