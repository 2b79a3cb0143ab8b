//! Settings, listeners, restarts, and many threads at once.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::snapshot::Cause;

#[test]
fn other_settings_reach_those_that_are_there_and_those_to_come() {
    let (family, _hand) = family(2);
    let there = family.get("a");
    let mut options = small().options().clone();
    options.wait_in_open = 60 * SECOND;
    let other = BreakerConfig::try_from(options).unwrap();
    family.configure(&other);
    for breaker in [there, family.get("b")] {
        trip(&breaker);
        let left = breaker.try_acquire().unwrap_err().retry_after();
        assert!(left > 50 * SECOND, "{left:?}");
    }
    let shared = family.get("c");
    trip(&shared);
    family.configure(&small());
    shared.reset(&ByHand::default()).unwrap();
    trip(&shared);
    let left = shared.try_acquire().unwrap_err().retry_after();
    assert!(left < 6 * SECOND, "{left:?}");
}

#[test]
fn of_two_changes_that_meet_the_later_is_in_force_everywhere() {
    let (family, _hand) = family(8);
    let members = ["a", "b", "c"].map(|key| family.get(key));
    let (inside, once) = (family.clone(), AtomicBool::new(true));
    let _subscription = family.subscribe(move |_, _| {
        if once.swap(false, std::sync::atomic::Ordering::Relaxed) {
            inside.configure(&small());
        }
    });
    family.configure(&BreakerConfig::default());
    for breaker in members {
        trip(&breaker);
    }
}

#[test]
fn a_subscription_hears_all_members_with_their_keys_until_it_is_dropped() {
    let (family, _hand) = family(2);
    let there = family.get("a");
    let heard = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&heard);
    let _bad = family.subscribe(|_, _| panic!("on purpose"));
    let subscription =
        family.subscribe(move |key, event| log.lock().push((key.to_owned(), event.cause)));
    trip(&there);
    trip(&family.get("b"));
    trip(&family.get("c"));
    drop(subscription);
    there.reset(&ByHand::default()).unwrap();
    let expected = ["a", "b", "other"].map(|key| (key.to_owned(), Cause::FailureRate));
    assert_eq!(*heard.lock(), expected);
}

/// A listener runs in the middle of whatever changed the state.
#[test]
fn a_listener_may_do_anything_with_the_family() {
    let (family, hand) = family(1);
    let inside = family.clone();
    let _subscription = family.subscribe(move |key, _| {
        if key == "a" {
            let _ = inside.get("made by a listener");
            inside.tidy();
            inside.configure(&BreakerConfig::default());
            let _ = (inside.snapshot(), inside.find("api:a"));
        }
    });
    trip(&family.get("a"));
    hand.advance(2 * IDLE);
    family.tidy();
    family.configure(&small());
    let _ = family.get("b");
    assert_eq!(family.snapshot().members, 1);
}

#[test]
fn an_observer_of_the_registry_hears_members_by_name() {
    let registry = crate::Registry::new();
    let before = registry.keyed("before", &small(), limits(2));
    let _ = before.get("a");
    let heard = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&heard);
    registry.observe(
        &(Arc::new(move |_: &_, name: &str| log.lock().push(name.to_owned())) as Observer),
    );
    trip(&before.get("a"));
    trip(&before.get("b"));
    trip(&registry.keyed("after", &small(), limits(2)).get("c"));
    assert_eq!(*heard.lock(), ["before:a", "before:b", "after:c"]);
}

#[test]
fn a_registry_finds_members_that_there_are_and_makes_none() {
    let registry = crate::Registry::new();
    let family = registry.keyed("api", &small(), limits(8));
    assert!(registry.find("api:a").is_none());
    trip(&family.get("a"));
    assert_eq!(registry.find("api:a").unwrap().state(), State::Open);
    let again = registry.keyed("api", &small(), limits(4)).snapshot();
    assert_eq!((again.members, again.capacity), (1, 8));
    assert!(registry.find("api").is_none());
    assert!(registry.all().is_empty());
}

#[test]
fn what_was_open_before_a_restart_is_open_for_the_rest_of_its_wait() {
    let (before, _hand) = family(4);
    trip(&before.get("a"));
    trip(&before.get("long".repeat(100)));
    let _ = before.get("closed");
    let left = before.snapshot();
    let (after, hand) = family(4);
    after.restore(&left, Timestamp::now(), 60 * SECOND);
    assert_eq!(after.snapshot().members, 1);
    let breaker = after.get("a");
    assert_eq!(breaker.snapshot().events[0].cause, Cause::Restored);
    let wait = breaker.try_acquire().unwrap_err().retry_after();
    assert!(wait <= 6 * SECOND, "{wait:?}");
    hand.advance(wait);
    assert!(breaker.try_acquire().is_ok());
}

#[test]
fn of_a_snapshot_of_another_family_nothing_is_taken_over() {
    let (before, _hand) = family(4);
    trip(&before.get("a"));
    let mut left = before.snapshot();
    for name in ["a", "apia", "other:a", "api:other", ""] {
        left.not_closed[0].name = name.to_owned();
        let (after, _hand) = family(4);
        after.restore(&left, Timestamp::now(), 60 * SECOND);
        assert_eq!(after.snapshot().members, 0, "{name}");
    }
}

/// Peers' mistake 15, for families: a counter that starts anew.
#[test]
fn however_threads_come_and_go_the_cap_holds_and_no_counter_goes_back() {
    let family = KeyedBreakers::new("threads", &BreakerConfig::default(), limits(16));
    let done = AtomicBool::new(false);
    let calls = 20_000;
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..3u64)
            .map(|worker| {
                let family = &family;
                scope.spawn(move || {
                    for call in 0..calls {
                        let key = (call * (worker + 7) / 3) % 61;
                        if let Ok(permit) = family.get(key.to_string()).try_acquire() {
                            permit.success();
                        }
                    }
                })
            })
            .collect();
        let reader = scope.spawn(|| {
            let mut last = family.snapshot();
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let next = family.snapshot();
                assert!(next.members <= 16, "{}", next.members);
                assert!(next.totals.success >= last.totals.success);
                assert!(next.evicted >= last.evicted);
                last = next;
            }
        });
        for worker in workers {
            worker.join().unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        reader.join().unwrap();
    });
    let snapshot = family.snapshot();
    assert!(snapshot.totals.success <= 3 * calls);
    assert!(snapshot.evicted > 0 && snapshot.overflowed == 0);
}
