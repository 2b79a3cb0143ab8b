//! Each cause and each override has its sentence.

use std::time::Duration;

use super::*;
use crate::{
    BreakerConfig, BreakerOptions, ByHand, CircuitBreaker, Clock, ErrorClass, ManualClock,
    snapshot::{ClassCount, WindowSnapshot},
};

#[test]
fn it_names_the_rate_the_threshold_the_errors_and_the_next_probe() {
    let breaker = CircuitBreaker::new("payment_api", BreakerConfig::default());
    for _ in 0..20 {
        breaker
            .try_acquire()
            .unwrap()
            .failure(ErrorClass::http(503));
    }
    let summary = Explanation::of(&breaker.snapshot(), Timestamp::now()).summary;
    assert!(
        summary.starts_with("payment_api is OPEN since "),
        "{summary}"
    );
    assert!(
        summary.contains("20 of the last 20 calls failed (threshold 50%), errors: 20 × http_503."),
        "{summary}"
    );
    assert!(
        summary.ends_with("a probe is let through in 60 s."),
        "{summary}"
    );
}

#[test]
fn it_names_who_reset_it_and_why() {
    let breaker = CircuitBreaker::new("payment_api", BreakerConfig::default());
    let reset = ByHand {
        actor: Some("loopback".into()),
        reason: Some("provider is back".into()),
        ..ByHand::default()
    };
    breaker.reset(&reset).unwrap();
    let summary = Explanation::of(&breaker.snapshot(), Timestamp::now()).summary;
    assert!(
        summary.contains("it was reset by loopback because \"provider is back\""),
        "{summary}"
    );
}

/// An event of that cause as the state machine would write it.
fn event(cause: Cause) -> BreakerEvent {
    BreakerEvent {
        at: Timestamp::UNIX_EPOCH,
        from: State::Closed,
        to: State::Open,
        cause,
        generation: 1,
        window: WindowSnapshot {
            calls: 10,
            failures: 6,
            slow: 1,
        },
        threshold_percent: None,
        classes: Vec::new(),
        slow_running: 0,
        wait_ms: None,
        mode: None,
        expires_at: None,
        detail: None,
        actor: None,
        reason: None,
    }
}

#[test]
fn each_cause_has_its_sentence() {
    let rate = |cause, percent| BreakerEvent {
        threshold_percent: Some(percent),
        ..event(cause)
    };
    let by_hand = |cause| BreakerEvent {
        actor: Some("on-call".into()),
        reason: Some("INC-7".into()),
        ..event(cause)
    };
    let slow_probes = |slow, slow_running| BreakerEvent {
        window: WindowSnapshot {
            calls: 2,
            failures: 0,
            slow,
        },
        slow_running,
        ..rate(Cause::ProbesFailed, 80.0)
    };
    let one_class = BreakerEvent {
        classes: vec![ClassCount {
            class: "timeout".into(),
            count: 6,
        }],
        ..rate(Cause::FailureRate, 50.0)
    };
    let configured = BreakerEvent {
        detail: Some("enabled: true -> false".into()),
        ..event(Cause::Config)
    };
    let by = "by on-call because \"INC-7\"";
    let table = [
        (
            one_class,
            "6 of the last 10 calls failed (threshold 50%), errors: 6 × timeout".to_owned(),
        ),
        (
            rate(Cause::SlowCallRate, 12.5),
            "1 of the last 10 calls was slow (threshold 12.5%)".to_owned(),
        ),
        (
            BreakerEvent {
                slow_running: 4,
                ..rate(Cause::SlowCallRate, 30.0)
            },
            "5 of the last 14 calls were slow (threshold 30%), 4 of them still running".to_owned(),
        ),
        (
            rate(Cause::ProbesFailed, 50.0),
            "6 of the last 10 probes failed (threshold 50%)".to_owned(),
        ),
        (
            slow_probes(2, 1),
            "3 of the last 3 probes were slow (threshold 80%), 1 of them still running".to_owned(),
        ),
        (
            event(Cause::ProbesSucceeded),
            "10 probes succeeded".to_owned(),
        ),
        (
            event(Cause::WaitElapsed),
            "the wait in open was over".to_owned(),
        ),
        (
            event(Cause::HalfOpenTimeout),
            "half-open took too long: only 10 probes had finished".to_owned(),
        ),
        (
            event(Cause::RampFinished),
            "the growing share of calls has reached all of them".to_owned(),
        ),
        (
            event(Cause::Restored),
            "it was open when the process was last seen".to_owned(),
        ),
        (
            BreakerEvent {
                mode: Some(OverrideKind::Disabled),
                ..by_hand(Cause::Restored)
            },
            format!("it was so when the process was last seen, set {by}"),
        ),
        (
            configured,
            "the configuration was changed (enabled: true -> false)".to_owned(),
        ),
        (event(Cause::Reset), "it was reset".to_owned()),
        (by_hand(Cause::Reset), format!("it was reset {by}")),
        (
            by_hand(Cause::ForcedOpen),
            format!("it was forced open {by}"),
        ),
        (by_hand(Cause::Disabled), format!("it was disabled {by}")),
        (
            by_hand(Cause::MetricsOnly),
            format!("it was set to metrics only {by}"),
        ),
        (
            by_hand(Cause::OverrideRemoved),
            format!("its override was removed {by}"),
        ),
        (
            by_hand(Cause::OverrideExpired),
            format!("its override ended, set {by}"),
        ),
        (
            event(Cause::OverrideExpired),
            "its override ended".to_owned(),
        ),
    ];
    for (event, sentence) in table {
        assert_eq!(why(&event), sentence, "{event:?}");
    }
}

fn breaker(options: BreakerOptions) -> (CircuitBreaker, ManualClock) {
    let (clock, hand) = Clock::manual();
    let config = BreakerConfig::try_from(options).unwrap();
    let breaker = CircuitBreaker::with_clock("payment_api", config, clock);
    (breaker, hand)
}

/// The explanation without its instants: `since T`.
fn explained(breaker: &CircuitBreaker) -> String {
    let mut text = Explanation::of(&breaker.snapshot(), Timestamp::now()).summary;
    for before in ["since ", "until "] {
        if let Some(at) = text.find(&format!("{before}2")) {
            text.replace_range(at + 6..at + 29, "T");
        }
    }
    text.replace("T (0 s ago)", "T").replace("T (1 s ago)", "T")
}

#[test]
fn each_override_says_who_until_when_and_what_would_be_without_it() {
    let by = ByHand {
        actor: Some("on-call".into()),
        reason: Some("INC-7".into()),
        ..ByHand::default()
    };
    let hour = Some(Duration::from_secs(3_600));
    let two = BreakerOptions {
        minimum_calls: 2,
        ..BreakerOptions::default()
    };
    let (breaker, hand) = breaker(two.clone());
    let set = |kind, lasts, by: &ByHand| breaker.set_override(kind, lasts, by).unwrap();
    let head = |is| format!("payment_api is {is} since T by on-call because \"INC-7\".");

    set(OverrideKind::ForcedOpen, hour, &by);
    assert_eq!(
        explained(&breaker),
        head("forced open")
            + " Every call is refused until T. Without the override it would be CLOSED."
    );
    set(OverrideKind::MetricsOnly, hour, &by);
    for _ in 0..2 {
        breaker.try_acquire().unwrap().failure(ErrorClass::TIMEOUT);
    }
    let would_be = " Without the override it would be OPEN: 2 of the last 2 calls failed \
                    (threshold 50%), errors: 2 × timeout.";
    assert_eq!(
        explained(&breaker),
        head("set to metrics only") + " Every call is let through and counted until T." + would_be
    );
    set(OverrideKind::Disabled, None, &ByHand::default());
    assert_eq!(
        explained(&breaker),
        "payment_api is disabled since T. Every call is let through and nothing is counted \
         until somebody removes the override."
            .to_owned()
            + would_be
    );
    breaker.enable(&by).unwrap();
    assert_eq!(
        explained(&breaker),
        "payment_api is OPEN since T: its override was removed by on-call because \"INC-7\". \
         Calls are refused; a probe is let through in 60 s."
    );
    hand.advance(Duration::from_millis(59_900));
    let almost = explained(&breaker);
    assert!(almost.ends_with("is let through in 1 s."), "{almost}");
    hand.advance(Duration::from_secs(1));
    let over = explained(&breaker);
    assert!(over.ends_with("the next call is a probe."), "{over}");

    // Switched off by the configuration, alone and below an override.
    breaker.reset(&by).unwrap();
    let off = BreakerOptions {
        enabled: false,
        ..two
    };
    breaker.configure(BreakerConfig::try_from(off).unwrap());
    assert_eq!(
        explained(&breaker),
        "payment_api is disabled by configuration since T: the configuration was changed \
         (enabled: true -> false). Every call is let through and nothing is counted."
    );
    set(OverrideKind::ForcedOpen, hour, &by);
    assert_eq!(
        explained(&breaker),
        head("forced open")
            + " Every call is refused until T. Without the override it would be disabled by \
               configuration."
    );
}

#[test]
fn the_event_of_an_override_is_the_one_that_set_it() {
    let two = BreakerOptions {
        minimum_calls: 1,
        ..BreakerOptions::default()
    };
    let (breaker, _hand) = breaker(two);
    let by = ByHand::default();
    breaker
        .set_override(OverrideKind::MetricsOnly, None, &by)
        .unwrap();
    breaker.try_acquire().unwrap().failure(ErrorClass::TIMEOUT);
    let snapshot = breaker.snapshot();
    let explanation = Explanation::of(&snapshot, Timestamp::now());
    assert_eq!(explanation.event.unwrap().cause, Cause::MetricsOnly);
    assert_eq!(explanation.since, snapshot.overridden.unwrap().since);
    assert_eq!(snapshot.events[0].cause, Cause::FailureRate);
}
