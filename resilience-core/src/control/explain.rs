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
mod tests;
