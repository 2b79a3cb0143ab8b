//! Why a breaker is in its state: one sentence for a person, and the facts.

use jiff::{Timestamp, Unit};
use serde::Serialize;

use crate::snapshot::{BreakerEvent, BreakerSnapshot, Cause, State};

/// Why a breaker is in its state.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// The breaker.
    pub service: String,
    /// Its state.
    pub state: State,
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
        let event = breaker.events.first();
        Self {
            service: breaker.name.clone(),
            state: breaker.state,
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
        if breaker.enabled {
            breaker.state.as_str()
        } else {
            "disabled"
        },
        breaker.since.strftime("%Y-%m-%d %H:%M:%S UTC"),
        ago(breaker.since, now),
    );
    match event {
        Some(event) => text += &format!(": {}.", why(event)),
        None => text += ", when the process started.",
    }
    match breaker.state {
        State::Open => {
            let wait = breaker.retry_after_ms.map_or(0, |ms| (ms + 500) / 1000);
            if wait > 0 {
                text += &format!(" Calls are refused; a probe is let through in {wait} s.");
            } else {
                text += " The wait is over: the next call is a probe.";
            }
        }
        State::HalfOpen => {
            let done = breaker.window.calls;
            text += &format!(
                " {} in flight, {done} finished, {} of them failed.",
                plural(breaker.probes_in_flight, "probe"),
                breaker.window.failures,
            );
        }
        State::Closed if breaker.enabled => {
            text += &format!(
                " The window holds {}, {} of them failed.",
                plural(breaker.window.calls, "call"),
                breaker.window.failures,
            );
        }
        State::Closed => text += " Every call is let through and nothing is counted.",
    }
    text
}

fn why(event: &BreakerEvent) -> String {
    let window = event.window;
    let threshold = event
        .threshold_percent
        .map_or_else(String::new, |percent| format!(" (threshold {percent}%)"));
    let rate = |part: u32, of_what: &str, how: &str| {
        format!(
            "{part} of the last {} {how}{threshold}",
            plural(window.calls, of_what)
        )
    };
    let mut why = match event.cause {
        Cause::FailureRate => rate(window.failures, "call", "failed"),
        Cause::SlowCallRate => rate(window.slow, "call", "were slow"),
        Cause::ProbesFailed if window.failures > 0 => rate(window.failures, "probe", "failed"),
        Cause::ProbesFailed => rate(window.slow, "probe", "were slow"),
        Cause::ProbesSucceeded => format!("{} succeeded", plural(window.calls, "probe")),
        Cause::WaitElapsed => "the wait in open was over".to_owned(),
        Cause::Restored => "it was open when the process was last seen".to_owned(),
        Cause::Config => "the configuration was changed".to_owned(),
        Cause::Reset => "it was reset".to_owned(),
    };
    if !event.classes.is_empty() {
        let classes: Vec<String> = event
            .classes
            .iter()
            .map(|c| format!("{} × {}", c.count, c.class))
            .collect();
        why += &format!(", errors: {}", classes.join(", "));
    }
    if let Some(actor) = &event.actor {
        why += &format!(" by {actor}");
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
    use crate::{BreakerConfig, CircuitBreaker, ErrorClass, Reset};

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
        let reset = Reset {
            actor: Some("loopback".into()),
            reason: Some("provider is back".into()),
            ..Reset::default()
        };
        breaker.reset(&reset).unwrap();
        let summary = Explanation::of(&breaker.snapshot(), Timestamp::now()).summary;
        assert!(
            summary.contains("it was reset by loopback because \"provider is back\""),
            "{summary}"
        );
    }
}
