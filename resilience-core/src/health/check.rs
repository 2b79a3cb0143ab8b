//! One background check: run with a deadline, and distrusted when it is silent.

use std::{future::Future, sync::Arc, time::Duration};

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::snapshot::{CheckSnapshot, HealthStatus, Severity};

/// Most bytes of what a check says about itself.
const MAX_OUTPUT: usize = 512;

/// What a check that has come to an end without an error found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckOk {
    /// All is well.
    Pass,
    /// It works, and this wants attention.
    Warn(String),
}

/// A check's cell: written by its supervisor, read by snapshots.
#[derive(Debug)]
pub(super) struct Check {
    name: String,
    interval: Duration,
    deadline: Duration,
    state: Mutex<State>,
    /// Wakes the supervisor when the severity has changed.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    severity: Severity,
    last: Option<Answer>,
    /// When the last answer came, or, before the first, when it was first
    /// asked; what the silence is measured from.
    heard: Instant,
}

#[derive(Clone, Debug)]
struct Answer {
    status: HealthStatus,
    output: Option<String>,
    at: Timestamp,
}

impl Check {
    pub(super) fn new(
        name: String,
        severity: Severity,
        interval: Duration,
        deadline: Duration,
    ) -> Self {
        Self {
            name,
            interval,
            deadline,
            state: Mutex::new(State {
                severity,
                last: None,
                heard: Instant::now(),
            }),
            changed: Notify::new(),
        }
    }

    pub(super) fn set_severity(&self, severity: Severity) {
        let mut state = self.state.lock();
        if state.severity == severity {
            return;
        }
        if severity == Severity::Off || state.severity == Severity::Off {
            // What was found before it was switched off proves nothing now.
            state.last = None;
            state.heard = Instant::now();
        }
        state.severity = severity;
        drop(state);
        self.changed.notify_one();
    }

    pub(super) fn snapshot(&self) -> CheckSnapshot {
        let state = self.state.lock();
        let (severity, last) = (state.severity, state.last.clone());
        let silent = state.heard.elapsed();
        drop(state);
        let (status, at, output) = match last {
            // A supervisor on a blocked runtime writes nothing any more: its
            // last `pass` must not stand for ever.
            Some(last) if severity != Severity::Off && silent > self.patience() => (
                HealthStatus::Fail,
                Some(last.at),
                Some(format!(
                    "no answer for {} s, expected one every {:?}: the runtime of the service may be blocked",
                    silent.as_secs(),
                    self.interval
                )),
            ),
            Some(last) => (last.status, Some(last.at), last.output),
            None => (HealthStatus::Fail, None, Some("no answer yet".to_owned())),
        };
        CheckSnapshot {
            name: self.name.clone(),
            severity,
            status,
            at,
            output,
        }
    }

    /// How long an answer is believed: three rounds, so that one which the
    /// scheduler delayed does not take a replica out of service.
    fn patience(&self) -> Duration {
        self.interval
            .saturating_mul(3)
            .saturating_add(self.deadline)
    }

    /// Asks again and again; ends when it is aborted.
    pub(super) async fn supervise<F, Fut>(self: Arc<Self>, check: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<CheckOk, String>> + Send + 'static,
    {
        let check = Arc::new(check);
        loop {
            // A statement of its own: the lock ends before the next await.
            let severity = self.state.lock().severity;
            if severity == Severity::Off {
                self.changed.notified().await;
                continue;
            }
            let found = self.ask(&check).await;
            self.note(found);
            tokio::select! {
                () = sleep(self.interval) => {}
                () = self.changed.notified() => {}
            }
        }
    }

    async fn ask<F, Fut>(&self, check: &Arc<F>) -> Result<CheckOk, String>
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<CheckOk, String>> + Send + 'static,
    {
        // A task of its own, so that a panic of the check is an answer and
        // not the end of the supervisor. The set aborts it when dropped.
        let mut run = JoinSet::new();
        let check = Arc::clone(check);
        run.spawn(async move { check().await });
        match timeout(self.deadline, run.join_next()).await {
            Ok(Some(Ok(found))) => found,
            Ok(Some(Err(error))) if error.is_panic() => Err("the check panicked".to_owned()),
            Ok(_) => Err("the check was aborted".to_owned()),
            Err(_) => Err(format!("no answer within {:?}", self.deadline)),
        }
    }

    fn note(&self, found: Result<CheckOk, String>) {
        let (status, output) = match found {
            Ok(CheckOk::Pass) => (HealthStatus::Pass, None),
            Ok(CheckOk::Warn(text)) => (HealthStatus::Warn, Some(clip(text))),
            Err(text) => (HealthStatus::Fail, Some(clip(text))),
        };
        let mut state = self.state.lock();
        if state.severity == Severity::Off {
            // Switched off while it was being asked.
            return;
        }
        let severity = state.severity;
        let before = state.last.replace(Answer {
            status,
            output: output.clone(),
            at: Timestamp::now(),
        });
        state.heard = Instant::now();
        drop(state);
        if before.map(|answer| answer.status) != Some(status) {
            self.log(status, severity, output.as_deref().unwrap_or_default());
        }
    }

    /// Once for each change, not once for each round.
    fn log(&self, status: HealthStatus, severity: Severity, output: &str) {
        let check = self.name.as_str();
        match status {
            HealthStatus::Pass => tracing::info!(target: "health", check, "health check passes"),
            HealthStatus::Fail if severity == Severity::Critical => tracing::error!(
                target: "health", class = "health_check", check,
                "health check fails: {output}"
            ),
            HealthStatus::Fail => tracing::warn!(
                target: "health", class = "health_check", check,
                "health check fails: {output}"
            ),
            HealthStatus::Warn => tracing::warn!(
                target: "health", class = "health_check", check,
                "health check warns: {output}"
            ),
        }
    }
}

/// What a check says is kept, published and shown: it must not be a whole page.
pub(super) fn clip(mut text: String) -> String {
    if text.len() > MAX_OUTPUT {
        text.truncate(text.floor_char_boundary(MAX_OUTPUT));
        text.push('…');
    }
    text
}
