//! What the sidecar takes from `resilience-core`, in one place.

use std::path::Path;

use axum::{
    Json, Router,
    extract::{Path as UrlPath, Request, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::StatusCode;
use resilience_core::{
    control::{
        AdminSource, Condition, Observed, ResetError, ResetOutcome, ResetRequest, Unavailable,
    },
    snapshot::{HealthSnapshot, HealthStatus, Severity, Snapshot},
};
use serde_json::{Value, json};

/// Reads a black box; `None` if there is none.
///
/// # Errors
///
/// Why it cannot be believed, in a sentence.
pub fn read_black_box(path: &Path) -> Result<Option<Snapshot>, String> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| error.to_string()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

/// The service's own ready verdict.
#[must_use]
pub fn ready(health: &HealthSnapshot) -> HealthStatus {
    if !health.started || health.draining {
        return HealthStatus::Fail;
    }
    let mut verdict = HealthStatus::Pass;
    for check in &health.checks {
        match (check.severity, check.status) {
            (Severity::Critical, HealthStatus::Fail) => return HealthStatus::Fail,
            (Severity::Off, _) | (_, HealthStatus::Pass) => {}
            _ => verdict = HealthStatus::Warn,
        }
    }
    verdict
}

/// Names most like `name`, best first.
pub fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut scored: Vec<_> = names
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .filter(|(score, _)| *score > 0.6)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    scored
        .into_iter()
        .take(3)
        .map(|(_, known)| known.to_owned())
        .collect()
}

/// Prometheus text of a snapshot.
#[must_use]
pub fn render_metrics(snapshot: &Snapshot) -> String {
    use std::fmt::Write as _;
    let mut text = "# TYPE circuit_breaker_state gauge\n".to_owned();
    for breaker in &snapshot.breakers {
        let _ = writeln!(
            text,
            "circuit_breaker_state{{service={:?}}} {}",
            breaker.name,
            breaker.gauge()
        );
    }
    text
}

/// Log lines to standard output.
pub fn init_log(service: &'static str) {
    use tracing_subscriber::layer::SubscriberExt;
    let subscriber = tracing_subscriber::registry().with(Lines { service });
    // A second call, as in tests, changes nothing.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

struct Lines {
    service: &'static str,
}

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Lines {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        use std::io::Write as _;
        let meta = event.metadata();
        if *meta.level() > tracing::Level::INFO {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let class = fields.class.as_deref().unwrap_or("-");
        let (now, level, target) = (jiff::Timestamp::now(), meta.level(), meta.target());
        let _ = writeln!(
            std::io::stdout().lock(),
            "{now} {level} {} {target} {class}{} {}",
            self.service,
            fields.rest,
            fields.message
        );
    }
}

#[derive(Default)]
struct Fields {
    class: Option<String>,
    rest: String,
    message: String,
}

impl tracing::field::Visit for Fields {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        use std::fmt::Write as _;
        let text = format!("{value:?}");
        match field.name() {
            "message" => self.message = text,
            "class" => self.class = Some(text.trim_matches('"').to_owned()),
            name => {
                let _ = write!(self.rest, " {name}:{text}");
            }
        }
    }
}

/// The admin API over a source.
pub fn admin_router<S: AdminSource>(source: S) -> Router {
    Router::new()
        .route("/admin/circuit-breaker", get(list::<S>))
        .route("/admin/circuit-breaker/{svc}/state", get(state::<S>))
        .route("/admin/circuit-breaker/{svc}/reset", post(reset::<S>))
        .with_state(source)
}

async fn list<S: AdminSource>(State(source): State<S>) -> Response {
    match source.observe().await {
        Ok(seen) => {
            let body = json!({"breakers": seen.snapshot.breakers});
            labelled(&seen, body)
        }
        Err(error) => unavailable(&error),
    }
}

async fn state<S: AdminSource>(State(source): State<S>, UrlPath(svc): UrlPath<String>) -> Response {
    let seen = match source.observe().await {
        Ok(seen) => seen,
        Err(error) => return unavailable(&error),
    };
    match seen.snapshot.breakers.iter().find(|b| b.name == svc) {
        Some(breaker) => labelled(&seen, json!({"state": breaker.state})),
        None => {
            let names = seen.snapshot.breakers.iter().map(|b| b.name.as_str());
            let near = nearest(&svc, names);
            problem(
                StatusCode::NOT_FOUND,
                "no such breaker",
                &json!({"nearest": near}),
            )
        }
    }
}

async fn reset<S: AdminSource>(
    State(source): State<S>,
    UrlPath(svc): UrlPath<String>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    let header = |name: &str| Some(head.headers.get(name)?.to_str().ok()?.to_owned());
    let body = axum::body::to_bytes(body, 4096).await.unwrap_or_default();
    let mut asked = ResetRequest::default();
    if !body.is_empty() {
        match serde_json::from_slice(&body) {
            Ok(parsed) => asked = parsed,
            Err(error) => return problem(StatusCode::BAD_REQUEST, &error.to_string(), &json!({})),
        }
    }
    asked.actor = header("x-admin-actor");
    asked.idempotency_key = header("idempotency-key");
    asked.dry_run = head
        .uri
        .query()
        .is_some_and(|query| query.contains("dry_run"));
    match source.reset(&svc, asked).await {
        Ok(receipt) => {
            let status = match receipt.outcome {
                ResetOutcome::Pending => StatusCode::ACCEPTED,
                _ => StatusCode::OK,
            };
            (status, Json(receipt)).into_response()
        }
        Err(error) => {
            let text = error.to_string();
            match error {
                ResetError::Unknown { nearest, .. } => {
                    problem(StatusCode::NOT_FOUND, &text, &json!({"nearest": nearest}))
                }
                ResetError::Moved { expected, actual } => {
                    let more = json!({"expected": expected, "actual": actual});
                    problem(StatusCode::CONFLICT, &text, &more)
                }
                ResetError::Disabled => {
                    problem(StatusCode::CONFLICT, &text, &json!({"reason": "disabled"}))
                }
                ResetError::Unavailable(error) => unavailable(&error),
                _ => problem(StatusCode::INTERNAL_SERVER_ERROR, &text, &json!({})),
            }
        }
    }
}

fn labelled(seen: &Observed, body: Value) -> Response {
    let mut response = Json(body).into_response();
    if seen.condition != Condition::Live {
        let age = seen.age.as_secs().to_string();
        for (name, value) in [
            ("x-service-condition", seen.condition.as_str()),
            ("age", &age),
        ] {
            if let Ok(value) = value.parse() {
                response.headers_mut().insert(name, value);
            }
        }
    }
    response
}

fn unavailable(error: &Unavailable) -> Response {
    let more = json!({"advice": error.advice});
    problem(StatusCode::SERVICE_UNAVAILABLE, &error.what, &more)
}

fn problem(status: StatusCode, detail: &str, more: &Value) -> Response {
    let mut body = json!({"status": status.as_u16(), "detail": detail});
    if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
        body.extend(more.clone());
    }
    let kind = [(http::header::CONTENT_TYPE, "application/problem+json")];
    (status, kind, body.to_string()).into_response()
}
