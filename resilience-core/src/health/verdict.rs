//! `live`, `ready` and `startup` as pure functions of a snapshot.

use std::time::Duration;

use ::http::{
    HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::snapshot::{CheckSnapshot, HealthSnapshot, HealthStatus, Severity};

/// The media type of a [`Verdict`].
pub const HEALTH_JSON: &str = "application/health+json";

/// Without a beat for longer than this the service's runtime makes no progress.
///
/// It beats ten times a second, so 5 s are fifty missed beats: more than any
/// pause of a healthy process on a busy machine, and short beside the
/// half minute after which an orchestrator restarts what is not live.
pub const HEARTBEAT_LIMIT: Duration = Duration::from_secs(5);

/// What to answer a probe.
///
/// As a response it is `application/health+json`: 200 for `pass` and `warn`,
/// 503 for `fail`, never cached.
///
/// # Source
///
/// draft-inadarei-api-health-check-06; `ageSeconds` is an addition of ours.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The answer.
    pub status: HealthStatus,
    /// Why it is not `pass`, all reasons in one line.
    pub output: Option<String>,
    /// The checks it rests on, each with the status it was counted with.
    pub checks: Vec<CheckSnapshot>,
}

/// Does the process make progress? A replica that fails this is restarted, so
/// nothing but its own runtime is looked at: a database that is down is no
/// reason to restart every service that uses it.
///
/// `heartbeat_age` is `None` before the first beat; that the service comes up
/// at all is the business of [`startup`].
#[must_use]
pub fn live(_: &HealthSnapshot, heartbeat_age: Option<Duration>) -> Verdict {
    match heartbeat_age {
        Some(age) if age > HEARTBEAT_LIMIT => Verdict::fail(format!(
            "the runtime of the service has made no progress for {} s, expected a beat within {} s",
            age.as_secs(),
            HEARTBEAT_LIMIT.as_secs()
        )),
        _ => Verdict::pass(),
    }
}

/// Has the start come to its end? Stays so for ever.
#[must_use]
pub fn startup(health: &HealthSnapshot) -> Verdict {
    if health.started {
        Verdict::pass()
    } else {
        Verdict::fail(NOT_STARTED.to_owned())
    }
}

/// Should requests be sent to this replica? Started, not draining, and no
/// critical check has failed or is still without an answer.
///
/// A check of severity `warn` that fails makes it `warn`, which is 200: an open
/// circuit is shown, but a replica that answers "the payment API is down"
/// at once is of more use than none. A check that is off is not looked at.
#[must_use]
pub fn ready(health: &HealthSnapshot) -> Verdict {
    let mut status = HealthStatus::Pass;
    let mut reasons = Vec::new();
    if !health.started {
        status = HealthStatus::Fail;
        reasons.push(NOT_STARTED.to_owned());
    }
    if health.draining {
        status = HealthStatus::Fail;
        reasons.push("the service is draining: it takes no new requests".to_owned());
    }
    let mut checks = Vec::new();
    for check in health.checks.iter().filter(|c| c.severity != Severity::Off) {
        let check = CheckSnapshot {
            status: weighed(check),
            ..check.clone()
        };
        status = worse(status, check.status);
        if check.status != HealthStatus::Pass {
            let why = check.output.as_deref().unwrap_or("it does not say why");
            reasons.push(format!("{}: {why}", check.name));
        }
        checks.push(check);
    }
    Verdict {
        status,
        output: (!reasons.is_empty()).then(|| reasons.join("; ")),
        checks,
    }
}

const NOT_STARTED: &str = "the service has not finished its start: `grep startup` in its log \
                           shows the step it is at";

fn weighed(check: &CheckSnapshot) -> HealthStatus {
    let status = match check.at {
        Some(_) => check.status,
        None => HealthStatus::Fail,
    };
    match (check.severity, status) {
        (Severity::Warn, HealthStatus::Fail) => HealthStatus::Warn,
        (_, status) => status,
    }
}

fn worse(a: HealthStatus, b: HealthStatus) -> HealthStatus {
    use HealthStatus::{Fail, Pass, Warn};
    match (a, b) {
        (Fail, _) | (_, Fail) => Fail,
        (Warn, _) | (_, Warn) => Warn,
        (Pass, Pass) => Pass,
    }
}

impl Verdict {
    /// All is well.
    #[must_use]
    pub fn pass() -> Self {
        Self {
            status: HealthStatus::Pass,
            output: None,
            checks: Vec::new(),
        }
    }

    /// It is not, because of this.
    #[must_use]
    pub fn fail(output: String) -> Self {
        Self {
            status: HealthStatus::Fail,
            output: Some(output),
            checks: Vec::new(),
        }
    }

    /// 200, or 503 for `fail`.
    #[must_use]
    pub fn http_status(&self) -> StatusCode {
        match self.status {
            HealthStatus::Pass | HealthStatus::Warn => StatusCode::OK,
            HealthStatus::Fail => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The body, with the checks' ages as of `now`.
    #[must_use]
    pub fn to_json(&self, now: Timestamp) -> Value {
        let mut body = Map::new();
        body.insert("status".to_owned(), json!(self.status));
        if let Some(output) = &self.output {
            body.insert("output".to_owned(), json!(output));
        }
        if !self.checks.is_empty() {
            let checks = self.checks.iter();
            let checks: Map<_, _> = checks
                .map(|check| (check.name.clone(), json!([check_json(check, now)])))
                .collect();
            body.insert("checks".to_owned(), checks.into());
        }
        body.into()
    }
}

fn check_json(check: &CheckSnapshot, now: Timestamp) -> Value {
    let mut body = Map::new();
    body.insert("status".to_owned(), json!(check.status));
    // The draft wants it left out of what passes.
    if let Some(output) = &check.output
        && check.status != HealthStatus::Pass
    {
        body.insert("output".to_owned(), json!(output));
    }
    if let Some(at) = check.at {
        body.insert("time".to_owned(), json!(format!("{at:.3}")));
        // A clock that was set back makes no negative age.
        let age = u64::try_from(now.duration_since(at).as_millis()).unwrap_or(0);
        let age = Duration::from_millis(age).as_secs_f64();
        body.insert("ageSeconds".to_owned(), json!(age));
    }
    body.into()
}

impl IntoResponse for Verdict {
    fn into_response(self) -> Response {
        let headers = [
            (CONTENT_TYPE, HeaderValue::from_static(HEALTH_JSON)),
            (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        let body = self.to_json(Timestamp::now()).to_string();
        (self.http_status(), headers, body).into_response()
    }
}

#[cfg(test)]
mod tests;
