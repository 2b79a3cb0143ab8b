//! Following the breaker's flight recorder.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use serde::Deserialize;

use super::BREAKER;
use crate::client::Client;

/// One transition, as the admin API tells it. What else it tells is left out.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Event {
    /// When, RFC 3339.
    pub at: String,
    /// State left.
    pub from: String,
    /// State entered.
    pub to: String,
    /// Why.
    pub cause: String,
    /// Generation entered.
    pub generation: u64,
    /// How long it will stay open.
    #[serde(default)]
    pub wait_ms: Option<u64>,
    /// The calls that the decision was made on.
    #[serde(default)]
    pub window: Option<Calls>,
    /// Why somebody asked for it.
    #[serde(default)]
    pub reason: Option<String>,
}

/// Calls of a window.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct Calls {
    /// All.
    pub calls: u64,
    /// Those that failed.
    pub failures: u64,
    /// Those that were slow.
    pub slow: u64,
}

#[derive(Debug, Deserialize)]
struct Answer {
    events: Vec<Event>,
}

/// Reads the flight recorder again and again, and tells what is new.
#[derive(Debug)]
pub struct Events {
    client: Client,
    url: String,
    last: Option<(SystemTime, u64)>,
    /// What was wrong at the last look, so that it is said once.
    trouble: Option<String>,
}

impl Events {
    /// Follows the breaker through the admin API at `admin`, `http://…`.
    #[must_use]
    pub fn new(admin: &str) -> Self {
        Self {
            client: Client::new(Duration::from_secs(2)),
            url: format!("{admin}/admin/circuit-breaker/{BREAKER}/events"),
            last: None,
            trouble: None,
        }
    }

    /// One line for each transition since the last look, oldest first, and one
    /// when the admin API stops answering or answers again.
    pub async fn next_lines(&mut self) -> Vec<String> {
        match self.look().await {
            Ok(events) => {
                let mut lines: Vec<String> = Vec::new();
                if self.trouble.take().is_some() {
                    lines.push("the admin API answers again".to_owned());
                }
                lines.extend(self.fresh(events).iter().map(Event::to_string));
                lines
            }
            Err(trouble) => {
                let news = self.trouble.is_none();
                let line = format!("the admin API does not tell of transitions: {trouble}");
                self.trouble = Some(trouble);
                if news { vec![line] } else { Vec::new() }
            }
        }
    }

    async fn look(&self) -> Result<Vec<Event>, String> {
        let answer = self
            .client
            .get(&self.url)
            .await
            .map_err(|error| error.to_string())?;
        if answer.status() != 200 {
            return Err(format!("{} from {}", answer.status(), self.url));
        }
        let answer: Answer = serde_json::from_slice(answer.body())
            .map_err(|error| format!("{} gave something else: {error}", self.url))?;
        Ok(answer.events)
    }

    /// Those later than the last one told, oldest first. By time first: the
    /// generation starts anew with the service.
    fn fresh(&mut self, newest_first: Vec<Event>) -> Vec<Event> {
        let mut fresh: Vec<_> = newest_first
            .into_iter()
            .filter_map(|event| Some(((event.time()?, event.generation), event)))
            .filter(|(key, _)| self.last.is_none_or(|last| *key > last))
            .collect();
        fresh.reverse();
        if let Some((key, _)) = fresh.last() {
            self.last = Some(*key);
        }
        fresh.into_iter().map(|(_, event)| event).collect()
    }
}

impl Event {
    fn time(&self) -> Option<SystemTime> {
        humantime::parse_rfc3339(&self.at).ok()
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Seconds do; the date is today's.
        let time = self.at.get(11..19).unwrap_or(&self.at);
        write!(
            f,
            "{time}Z  {BREAKER}  {} → {}  {}",
            self.from, self.to, self.cause
        )?;
        if let Some(window) = self.window.filter(|window| window.calls > 0) {
            let Calls {
                calls,
                failures,
                slow,
            } = window;
            write!(f, "  ({failures} of {calls} calls failed, {slow} slow)")?;
        }
        if let Some(wait) = self.wait_ms {
            let wait = humantime::format_duration(Duration::from_millis(wait));
            write!(f, "  probes in {wait}")?;
        }
        match &self.reason {
            Some(reason) => write!(f, "  “{reason}”"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(at: &str, generation: u64) -> Event {
        serde_json::from_value(serde_json::json!({
            "at": at, "from": "CLOSED", "to": "OPEN", "cause": "failure_rate",
            "generation": generation, "wait_ms": 10_000,
            "window": {"calls": 6, "failures": 5, "slow": 0}, "classes": [],
        }))
        .unwrap()
    }

    fn generations(events: &[Event]) -> Vec<u64> {
        events.iter().map(|event| event.generation).collect()
    }

    #[test]
    fn each_transition_is_told_once_oldest_first_also_across_a_restart() {
        let mut events = Events::new("http://127.0.0.1:1");
        let one = event("2026-01-01T10:00:00.123456789Z", 1);
        let two = event("2026-01-01T10:00:01Z", 2);
        let same_instant = event("2026-01-01T10:00:01Z", 3);
        let after_restart = event("2026-01-01T10:00:05.5Z", 1);

        let first = events.fresh(vec![two.clone(), one.clone()]);
        assert_eq!(generations(&first), [1, 2]);
        assert!(events.fresh(vec![two.clone(), one]).is_empty());
        assert_eq!(generations(&events.fresh(vec![same_instant, two])), [3]);
        assert_eq!(generations(&events.fresh(vec![after_restart])), [1]);
    }

    #[test]
    fn a_transition_is_one_line() {
        assert_eq!(
            event("2026-01-01T10:00:00.123Z", 1).to_string(),
            "10:00:00Z  payment_api  CLOSED → OPEN  failure_rate  (5 of 6 calls failed, 0 slow)  probes in 10s"
        );
    }

    #[tokio::test]
    async fn an_admin_api_that_is_gone_is_told_once() {
        let mut events = Events::new("http://127.0.0.1:1");
        let first = events.next_lines().await;
        assert!(first[0].contains("cannot connect"), "{first:?}");
        assert!(events.next_lines().await.is_empty());
    }
}
