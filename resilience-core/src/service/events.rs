//! What the log says of what happens to a breaker.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::{
    breaker::Observer,
    control::{effect, until, why},
    snapshot::{BreakerEvent, Cause, OverrideKind, State},
};

/// Logs each event and has it published at once.
pub(super) fn observer(changed: Arc<Notify>) -> Observer {
    Arc::new(move |event: &BreakerEvent, name: &str| {
        changed.notify_one();
        log(event, name);
    })
}

/// The same for the breaker before a fallback's store: only what is done to it by hand
/// is logged. The store itself says, once, that it is down; its breaker tries it every
/// second.
#[cfg(feature = "fallback")]
pub(super) fn observer_of_store(changed: Arc<Notify>) -> Observer {
    Arc::new(move |event: &BreakerEvent, name: &str| {
        changed.notify_one();
        let undone = [Cause::Reset, Cause::OverrideRemoved, Cause::OverrideExpired];
        if is_set_by_hand(event) || undone.contains(&event.cause) {
            log(event, name);
        }
    })
}

fn log(event: &BreakerEvent, name: &str) {
    let (from, to, cause) = (event.from.as_str(), event.to.as_str(), event.cause.as_str());
    let message = sentence(event, name);
    if is_warning(event) {
        tracing::warn!(
            target: "circuit_breaker",
            service = name, from, to, cause,
            calls = event.window.calls,
            failures = event.window.failures,
            slow = event.window.slow,
            wait_ms = event.wait_ms,
            "{message}"
        );
    } else {
        tracing::info!(target: "circuit_breaker", service = name, from, to, cause, "{message}");
    }
}

/// Whether callers are refused, or nothing protects the upstream any more.
fn is_warning(event: &BreakerEvent) -> bool {
    is_open(event) || is_set_by_hand(event)
}

/// Whether callers have been refused since this event. Of a machine whose
/// judgement is only looked at, they are not.
fn is_open(event: &BreakerEvent) -> bool {
    event.to == State::Open && event.changed_the_state() && !is_only_looked_at(event)
}

fn is_only_looked_at(event: &BreakerEvent) -> bool {
    event.mode == Some(OverrideKind::MetricsOnly) && !is_set_by_hand(event)
}

/// Whether an override was set, or taken over from the process before.
fn is_set_by_hand(event: &BreakerEvent) -> bool {
    match event.cause {
        Cause::ForcedOpen | Cause::Disabled | Cause::MetricsOnly => true,
        Cause::Restored => event.mode.is_some(),
        _ => false,
    }
}

/// `Circuit is open` stands where it is, and nowhere else: people grep for it.
fn sentence(event: &BreakerEvent, name: &str) -> String {
    let (why, until) = (why(event), until(event.expires_at));
    if !event.changed_the_state() {
        let detail = event.detail.as_deref().unwrap_or("as before");
        return format!("{name} has other settings: {detail}");
    }
    match event.mode {
        Some(OverrideKind::ForcedOpen) if is_set_by_hand(event) => {
            format!("Circuit is open {until}: {why}")
        }
        Some(kind) if is_set_by_hand(event) => {
            let does = effect(kind).replacen("Every", "every", 1);
            format!("{name}: {does} {until}: {why}")
        }
        Some(OverrideKind::MetricsOnly) => {
            let would_be = event.to;
            format!("{name} would be {would_be}, but for its override: {why}")
        }
        _ => {
            let is = match event.to {
                State::Open => "open",
                State::Closed => "closed",
                // From half-open to half-open: a growing share of the calls.
                State::HalfOpen if event.from == State::HalfOpen => "closing",
                State::HalfOpen => "half-open",
            };
            format!("Circuit is {is}: {why}")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        BreakerConfig, BreakerOptions, ByHand, CircuitBreaker, Clock, ErrorClass, Registry,
        log::{LogOptions, testing::logged_with},
    };

    fn options() -> BreakerOptions {
        BreakerOptions {
            minimum_calls: 2,
            half_open_permits: 1,
            ramp_up: Some(Duration::from_secs(1)),
            ..BreakerOptions::default()
        }
    }

    fn config(options: BreakerOptions) -> BreakerConfig {
        BreakerConfig::try_from(options).unwrap()
    }

    fn fail(breaker: &CircuitBreaker) {
        for _ in 0..2 {
            breaker
                .try_acquire()
                .unwrap()
                .failure(ErrorClass::http(503));
        }
    }

    /// Level and message of what is logged while `run` works on a breaker, the
    /// instants blotted out.
    fn logged(run: impl FnOnce(&CircuitBreaker)) -> Vec<String> {
        let lines = logged_with(LogOptions::new("api"), |_| {
            let registry = Registry::new();
            let breaker = registry.get_or_create("payment_api", &config(options()));
            registry.observe(&observer(Arc::default()));
            run(&breaker);
        });
        lines.iter().map(|line| shown(line)).collect()
    }

    /// `WARN Circuit is open until T: …`.
    fn shown(line: &str) -> String {
        let level = line.split(' ').nth(1).unwrap();
        let of = ["Circuit ", "payment_api"];
        let begin = of
            .iter()
            .filter_map(|begin| line.find(&format!(" {begin}")));
        let mut message = line[begin.min().unwrap() + 1..].to_owned();
        if let Some(at) = message.find("until 2") {
            message.replace_range(at + 6..at + 29, "T");
        }
        format!("{level} {message}")
    }

    #[test]
    fn an_override_reads_well_from_its_beginning_to_its_end() {
        let by = ByHand {
            actor: Some("on-call".into()),
            reason: Some("ERROR budget, INC-7".into()),
            ..ByHand::default()
        };
        let hour = Some(Duration::from_secs(3_600));
        let lines = logged(|breaker| {
            let set = |kind, lasts| breaker.set_override(kind, lasts, &by).unwrap();
            set(OverrideKind::ForcedOpen, hour);
            set(OverrideKind::Disabled, None);
            set(OverrideKind::MetricsOnly, hour);
            fail(breaker);
            breaker.enable(&ByHand::default()).unwrap();
            breaker.reset(&by).unwrap();
        });
        // By whom and why. Only a record of level ERROR has that word.
        let by = "by on-call because \"error budget, INC-7\"";
        assert_eq!(
            lines,
            [
                format!("WARN Circuit is open until T: it was forced open {by}"),
                format!(
                    "WARN payment_api: every call is let through and nothing is counted until \
                     somebody removes the override: it was disabled {by}"
                ),
                format!(
                    "WARN payment_api: every call is let through and counted until T: it was set \
                     to metrics only {by}"
                ),
                "INFO payment_api would be OPEN, but for its override: 2 of the last 2 calls \
                 failed (threshold 50%), errors: 2 × http_503"
                    .to_owned(),
                "WARN Circuit is open: its override was removed".to_owned(),
                format!("INFO Circuit is closed: it was reset {by}"),
            ]
        );
    }

    #[test]
    fn a_circuit_reads_well_from_its_opening_to_its_closing() {
        let (clock, hand) = Clock::manual();
        let lines = logged_with(LogOptions::new("api"), |_| {
            let breaker = CircuitBreaker::with_clock("payment_api", config(options()), clock);
            let _listens = breaker.subscribe(|event| log(event, "payment_api"));
            fail(&breaker);
            hand.advance(Duration::from_secs(61));
            breaker.try_acquire().unwrap().success();
            hand.advance(Duration::from_secs(1));
            let _ = breaker.state();
            let minute = Some(Duration::from_secs(60));
            let by = ByHand {
                actor: Some("on-call".into()),
                ..ByHand::default()
            };
            breaker
                .set_override(OverrideKind::ForcedOpen, minute, &by)
                .unwrap();
            hand.advance(Duration::from_secs(60));
            let _ = breaker.state();
        });
        let lines: Vec<_> = lines.iter().map(|line| shown(line)).collect();
        assert_eq!(
            lines,
            [
                "WARN Circuit is open: 2 of the last 2 calls failed (threshold 50%), errors: 2 × \
                 http_503",
                "INFO Circuit is half-open: the wait in open was over",
                "INFO Circuit is closing: 1 probe succeeded",
                "INFO Circuit is closed: the growing share of calls has reached all of them",
                "WARN Circuit is open until T: it was forced open by on-call",
                "INFO Circuit is closed: its override ended, set by on-call",
            ]
        );
    }

    #[test]
    fn a_change_of_the_configuration_says_what_changed() {
        let lines = logged(|breaker| {
            let longer = BreakerOptions {
                wait_in_open: Duration::from_secs(30),
                ..options()
            };
            breaker.configure(config(longer.clone()));
            fail(breaker);
            breaker.configure(config(BreakerOptions {
                enabled: false,
                ..longer.clone()
            }));
            breaker.configure(config(longer));
        });
        assert_eq!(
            [&lines[0], &lines[2]],
            [
                "INFO payment_api has other settings: wait_in_open: 60s -> 30s",
                "INFO Circuit is closed: the configuration was changed (enabled: true -> false)",
            ]
        );
        assert_eq!(lines.len(), 4, "{lines:?}");
    }
}
