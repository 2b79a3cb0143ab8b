//! Why a breaker is in its state: one sentence for a person, and the facts.

use jiff::{Timestamp, Unit};
use serde::Serialize;

use super::{instant, until};
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
        let event = breaker.cause();
        Self {
            service: breaker.name.clone(),
            state: breaker.state,
            computed_state: breaker.computed_state,
            overridden: breaker.overridden.clone(),
            since: breaker.since,
            summary: summary(breaker, event, now),
            event: event.cloned(),
            retry_after_ms: breaker.retry_after_ms,
        }
    }
}

fn summary(breaker: &BreakerSnapshot, event: Option<&BreakerEvent>, now: Timestamp) -> String {
    let mut text = format!(
        "{} is {} since {} ({} ago)",
        breaker.name,
        match &breaker.overridden {
            Some(set) => set.kind.words(),
            None if breaker.enabled => breaker.state.as_str(),
            None => "disabled",
        },
        instant(breaker.since),
        ago(breaker.since, now),
    );
    match event {
        Some(event) => text += &format!(": {}.", why(event)),
        None => text += ", when the process started.",
    }
    match &breaker.overridden {
        Some(set) => text += &overridden(breaker, set),
        None if !breaker.enabled => text += " Every call is let through and nothing is counted.",
        None => text += &outlook(breaker),
    }
    text
}

/// What an override does, until when, and what the state machine says meanwhile.
fn overridden(breaker: &BreakerSnapshot, set: &OverrideSnapshot) -> String {
    let does = match set.kind {
        OverrideKind::ForcedOpen => "Every call is refused",
        OverrideKind::Disabled => "Every call is let through and nothing is counted",
        OverrideKind::MetricsOnly => "Every call is let through and counted",
    };
    let until = until(set.expires_at);
    let computed = breaker.computed_state;
    format!(" {does} {until}. Without it, it would be {computed}.")
}

/// What comes next if nobody interferes.
fn outlook(breaker: &BreakerSnapshot) -> String {
    let (window, failures) = (breaker.window, breaker.window.failures);
    let running = match breaker.slow_running {
        0 => String::new(),
        slow => format!(" {} still running and slow already.", plural(slow, "call")),
    };
    match breaker.computed_state {
        State::Open => match breaker.retry_after_ms.map_or(0, |ms| (ms + 500) / 1000) {
            0 => " The wait is over: the next call is a probe.".to_owned(),
            wait => format!(" Calls are refused; a probe is let through in {wait} s."),
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

fn why(event: &BreakerEvent) -> String {
    let window = event.window;
    let threshold = event
        .threshold_percent
        .map_or_else(String::new, |percent| format!(" (threshold {percent}%)"));
    let rate = |part: u32, of_what: &str, how: &str| {
        let all = window.calls
            + if how == "failed" {
                0
            } else {
                event.slow_running
            };
        format!(
            "{part} of the last {} {how}{threshold}",
            plural(all, of_what)
        )
    };
    let slow = window.slow + event.slow_running;
    let mut why = match event.cause {
        Cause::FailureRate => rate(window.failures, "call", "failed"),
        Cause::SlowCallRate => rate(slow, "call", "were slow"),
        Cause::ProbesFailed if window.failures > 0 => rate(window.failures, "probe", "failed"),
        Cause::ProbesFailed => rate(slow, "probe", "were slow"),
        Cause::ProbesSucceeded => format!("{} succeeded", plural(window.calls, "probe")),
        Cause::WaitElapsed => "the wait in open was over".to_owned(),
        Cause::HalfOpenTimeout => format!(
            "half-open took too long: only {} had finished",
            plural(window.calls, "probe")
        ),
        Cause::RampFinished => "the growing share of calls has reached all of them".to_owned(),
        Cause::Restored => "it was so when the process was last seen".to_owned(),
        Cause::Config => "the configuration was changed".to_owned(),
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
    // Of an override that ended by itself: who had set it.
    let by = if event.cause == Cause::OverrideExpired {
        ", set by"
    } else {
        " by"
    };
    if let Some(actor) = &event.actor {
        why += &format!("{by} {actor}");
    }
    if let Some(reason) = &event.reason {
        why += &format!(" because \"{reason}\"");
    }
    why
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
    use super::*;
    use crate::{BreakerConfig, ByHand, CircuitBreaker, ErrorClass};

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
}
