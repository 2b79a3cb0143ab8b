//! Why a breaker is in its state: one sentence for a person, and the facts.

use jiff::{Timestamp, Unit};
use serde::Serialize;

use super::words::{by_whom, effect, instant, set_to, until};
use crate::snapshot::{
    BreakerEvent, BreakerSnapshot, Cause, OverrideKind, OverrideSnapshot, State,
};

/// Why a breaker is in its state.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// The breaker.
    pub service: String,
    /// The state that callers meet.
    pub state: State,
    /// What the state machine says.
    pub computed_state: State,
    /// What an operator has set.
    #[serde(rename = "override", skip_serializing_if = "Option::is_none")]
    pub overridden: Option<OverrideSnapshot>,
    /// Since when.
    pub since: Timestamp,
    /// All of it in a sentence or three.
    pub summary: String,
    /// The transition that led here; `None` if there was none yet.
    pub event: Option<BreakerEvent>,
    /// Milliseconds until a probe is let through.
    pub retry_after_ms: Option<u64>,
}

impl Explanation {
    /// Explains `breaker` as of `now`.
    #[must_use]
    pub fn of(breaker: &BreakerSnapshot, now: Timestamp) -> Self {
        let (since, event) = match &breaker.overridden {
            Some(set) => (set.since, setting(breaker, set)),
            None if breaker.enabled => (breaker.since, breaker.cause()),
            None => {
                let event = switching_off(breaker);
                (event.map_or(breaker.since, |event| event.at), event)
            }
        };
        Self {
            service: breaker.name.clone(),
            state: breaker.state,
            computed_state: breaker.computed_state,
            overridden: breaker.overridden.clone(),
            since,
            summary: summary(breaker, since, event, now),
            event: event.cloned(),
            retry_after_ms: breaker.retry_after_ms,
        }
    }
}

/// The event that set the override, or took it over from the process before.
fn setting<'a>(breaker: &'a BreakerSnapshot, set: &OverrideSnapshot) -> Option<&'a BreakerEvent> {
    let mut all = breaker.events.iter();
    all.find(|event| event.mode == Some(set.kind) && !is_judgement(event))
}

/// The event since which the configuration's `enabled: false` is in force.
fn switching_off(breaker: &BreakerSnapshot) -> Option<&BreakerEvent> {
    let mut found = None;
    for event in &breaker.events {
        if event.mode != Some(OverrideKind::Disabled) {
            break;
        }
        found = Some(event);
        // What was disabled before that was so by hand.
        if matches!(event.cause, Cause::OverrideRemoved | Cause::OverrideExpired) {
            break;
        }
    }
    found
}

fn summary(
    breaker: &BreakerSnapshot,
    since: Timestamp,
    event: Option<&BreakerEvent>,
    now: Timestamp,
) -> String {
    let is = match &breaker.overridden {
        Some(set) => set_to(set.kind),
        None if breaker.enabled => breaker.state.as_str(),
        None => "disabled by configuration",
    };
    let (name, ago) = (&breaker.name, ago(since, now));
    let begin = format!("{name} is {is} since {} ({ago} ago)", instant(since));
    match (&breaker.overridden, event) {
        (Some(set), _) => begin + &overridden(breaker, set),
        (None, Some(event)) => format!("{begin}: {}.{}", why(event), outlook(breaker)),
        (None, None) => format!("{begin}, when the process started.{}", outlook(breaker)),
    }
}

/// Who has set it, what it does until when, and what the state machine says
/// meanwhile.
fn overridden(breaker: &BreakerSnapshot, set: &OverrideSnapshot) -> String {
    let by = by_whom(set.actor.as_deref(), set.reason.as_deref());
    let (does, until) = (effect(set.kind), until(set.expires_at));
    let mut text = format!("{by}. {does} {until}.");
    if !breaker.enabled {
        return text + " Without the override it would be disabled by configuration.";
    }
    let computed = breaker.computed_state;
    text += &format!(" Without the override it would be {computed}");
    let came = breaker.events.iter().find(|event| is_judgement(event));
    if let Some(event) = came.filter(|event| event.to == computed && computed != State::Closed) {
        text += &format!(": {}", why(event));
    }
    text + "."
}

/// Whether the state machine itself came to another state, which it does under
/// an override, too.
fn is_judgement(event: &BreakerEvent) -> bool {
    match event.cause {
        Cause::FailureRate
        | Cause::SlowCallRate
        | Cause::WaitElapsed
        | Cause::ProbesSucceeded
        | Cause::ProbesFailed
        | Cause::HalfOpenTimeout
        | Cause::RampFinished
        | Cause::Reset => true,
        Cause::Restored => event.mode.is_none(),
        Cause::Config
        | Cause::ForcedOpen
        | Cause::Disabled
        | Cause::MetricsOnly
        | Cause::OverrideRemoved
        | Cause::OverrideExpired => false,
    }
}

/// What comes next if nobody interferes.
fn outlook(breaker: &BreakerSnapshot) -> String {
    if !breaker.enabled {
        return format!(" {}.", effect(OverrideKind::Disabled));
    }
    let (window, failures) = (breaker.window, breaker.window.failures);
    let running = match breaker.slow_running {
        0 => String::new(),
        slow => format!(" {} still running and slow already.", plural(slow, "call")),
    };
    match breaker.computed_state {
        State::Open => match breaker.retry_after_ms.unwrap_or(0) {
            0 => " The wait is over: the next call is a probe.".to_owned(),
            ms => {
                let wait = ((ms + 500) / 1000).max(1);
                format!(" Calls are refused; a probe is let through in {wait} s.")
            }
        },
        State::HalfOpen => match breaker.ramp_percent {
            Some(percent) => format!(
                " It is closing: {percent}% of the calls are let through; {} finished, {failures} of them failed.{running}",
                plural(window.calls, "call"),
            ),
            None => format!(
                " {} in flight, {} finished, {failures} of them failed.{running}",
                plural(breaker.probes_in_flight, "probe"),
                window.calls,
            ),
        },
        State::Closed => format!(
            " The window holds {}, {failures} of them failed.{running}",
            plural(window.calls, "call"),
        ),
    }
}

/// What happened, for after a colon: who or what brought the event about.
pub(crate) fn why(event: &BreakerEvent) -> String {
    let window = event.window;
    let threshold = event
        .threshold_percent
        .map_or_else(String::new, |percent| format!(" (threshold {percent}%)"));
    let failed = |of_what: &str| {
        let (part, all) = (window.failures, plural(window.calls, of_what));
        format!("{part} of the last {all} failed{threshold}")
    };
    let slow = |of_what: &str| {
        // Those that still run are in no window yet.
        let part = window.slow.saturating_add(event.slow_running);
        let all = plural(window.calls.saturating_add(event.slow_running), of_what);
        let were = if part == 1 { "was" } else { "were" };
        format!("{part} of the last {all} {were} slow{threshold}")
    };
    let mut why = match event.cause {
        Cause::FailureRate => failed("call"),
        Cause::SlowCallRate => slow("call"),
        Cause::ProbesFailed if window.failures > 0 => failed("probe"),
        Cause::ProbesFailed => slow("probe"),
        Cause::ProbesSucceeded => format!("{} succeeded", plural(window.calls, "probe")),
        Cause::WaitElapsed => "the wait in open was over".to_owned(),
        Cause::HalfOpenTimeout => format!(
            "half-open took too long: only {} had finished",
            plural(window.calls, "probe")
        ),
        Cause::RampFinished => "the growing share of calls has reached all of them".to_owned(),
        Cause::Restored if event.mode.is_none() => {
            "it was open when the process was last seen".to_owned()
        }
        Cause::Restored => "it was so when the process was last seen".to_owned(),
        Cause::Config => match &event.detail {
            Some(detail) => format!("the configuration was changed ({detail})"),
            None => "the configuration was changed".to_owned(),
        },
        Cause::Reset => "it was reset".to_owned(),
        Cause::ForcedOpen => "it was forced open".to_owned(),
        Cause::Disabled => "it was disabled".to_owned(),
        Cause::MetricsOnly => "it was set to metrics only".to_owned(),
        Cause::OverrideRemoved => "its override was removed".to_owned(),
        Cause::OverrideExpired => "its override ended".to_owned(),
    };
    if event.slow_running > 0 {
        why += &format!(", {} of them still running", event.slow_running);
    }
    if !event.classes.is_empty() {
        let classes: Vec<String> = event
            .classes
            .iter()
            .map(|c| format!("{} × {}", c.count, c.class))
            .collect();
        why += &format!(", errors: {}", classes.join(", "));
    }
    let by = by_whom(event.actor.as_deref(), event.reason.as_deref());
    // Of an override that ended by itself or was taken over: who had set it.
    if matches!(event.cause, Cause::OverrideExpired | Cause::Restored) && !by.is_empty() {
        why += ", set";
    }
    why + &by
}

fn plural(count: u32, noun: &str) -> String {
    if count == 1 {
        format!("1 {noun}")
    } else {
        format!("{count} {noun}s")
    }
}

/// Such as `41 s` or `1 h 12 min`.
fn ago(since: Timestamp, now: Timestamp) -> String {
    let seconds = now
        .since((Unit::Second, since))
        .map_or(0, |span| span.get_seconds().max(0));
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
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
            summary
                .contains("20 of the last 20 calls failed (threshold 50%), errors: 20 × http_503."),
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
                "5 of the last 14 calls were slow (threshold 30%), 4 of them still running"
                    .to_owned(),
            ),
            (
                rate(Cause::ProbesFailed, 50.0),
                "6 of the last 10 probes failed (threshold 50%)".to_owned(),
            ),
            (
                slow_probes(2, 1),
                "3 of the last 3 probes were slow (threshold 80%), 1 of them still running"
                    .to_owned(),
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
            head("set to metrics only")
                + " Every call is let through and counted until T."
                + would_be
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
}
