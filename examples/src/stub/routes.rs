//! What the stub answers when it is well, and `/fault`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, Path, rejection::BytesRejection},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{
    StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use serde_json::{Value, json};

use super::{
    fault::{Fault, FaultError},
    state::State,
};

/// The path that no fault touches.
pub(super) const FAULT: &str = "/fault";

const MAX_BODY: usize = 64 * 1024;
/// US dollars for one unit of the currency; made up.
const RATES: [(&str, f64); 6] = [
    ("CHF", 1.1286),
    ("EUR", 1.0876),
    ("GBP", 1.2661),
    ("JPY", 0.0061),
    ("SEK", 0.0962),
    ("USD", 1.0),
];

pub(super) fn payments(state: Arc<State>) -> Router {
    let rates = Arc::clone(&state);
    let rate = move |currency: Path<String>| async move { rate(&rates, &currency) };
    finish(
        control_routes(state)
            .route("/health", get(|| async { Json(json!({"status": "pass"})) }))
            .route("/rates/{currency}", get(rate))
            .route("/charges", post(charge)),
    )
}

pub(super) fn control(state: Arc<State>) -> Router {
    finish(control_routes(state))
}

/// The answer of an upstream that is down.
pub(super) fn broken() -> Response {
    problem(
        StatusCode::SERVICE_UNAVAILABLE,
        "the payment provider is broken",
        "somebody has told this stub to fail; POST {\"mode\": \"ok\"} to /fault mends it",
    )
}

fn control_routes(state: Arc<State>) -> Router {
    let shown = Arc::clone(&state);
    let get_fault = move || async move { show(&shown) };
    let set_fault = move |body: Result<Bytes, BytesRejection>| async move {
        let body = match body {
            Ok(body) => body,
            Err(error) => {
                return problem(error.status(), "the body was not read", &error.body_text());
            }
        };
        match Fault::parse(&body) {
            Ok(fault) => {
                state.set_fault(fault);
                show(&state).into_response()
            }
            Err(error) => refuse_fault(&error),
        }
    };
    Router::new().route(FAULT, get(get_fault).post(set_fault))
}

fn finish(router: Router) -> Router {
    router
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .fallback(|| async {
            let paths = "there are GET /health, GET /rates/{currency}, POST /charges, and GET and POST /fault (on the control port, that alone)";
            problem(StatusCode::NOT_FOUND, "no such path", paths)
        })
        .method_not_allowed_fallback(|| async {
            let allowed = "the header `allow` says which methods this path takes";
            problem(StatusCode::METHOD_NOT_ALLOWED, "wrong method", allowed)
        })
}

fn show(state: &State) -> Json<Value> {
    let fault = state.fault();
    Json(json!({
        "mode": fault.mode,
        "latency": humantime::format_duration(fault.latency).to_string(),
        "ratio": fault.ratio,
        "max_age": fault.max_age.map(|max_age| humantime::format_duration(max_age).to_string()),
        "counts": state.counts(),
    }))
}

fn refuse_fault(error: &FaultError) -> Response {
    let status = match error {
        FaultError::Syntax(_) => StatusCode::BAD_REQUEST,
        FaultError::Shape(_) | FaultError::Value { .. } => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let detail = format!(
        "{error}; expected {{\"mode\": \"ok|fail|slow|hang|refuse|flaky\", \"latency\": \"2s\", \"ratio\": 0.5, \"max_age\": \"5s\"}}"
    );
    problem(status, "not a fault", &detail)
}

/// The rate of today, or of the day in `?on=`: the same number, since all are made up.
fn rate(state: &State, currency: &str) -> Response {
    let wanted = currency.to_ascii_uppercase();
    let Some((currency, rate)) = RATES.iter().find(|(name, _)| *name == wanted) else {
        let known: Vec<&str> = RATES.iter().map(|(name, _)| *name).collect();
        let detail = format!("there are rates for {}", known.join(", "));
        return problem(StatusCode::NOT_FOUND, "no such currency", &detail);
    };
    let as_of = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
    let rate = Json(json!({"currency": currency, "rate": rate, "as_of": as_of}));
    let mut response = rate.into_response();
    if let Some(max_age) = state.fault().max_age {
        let kept = format!("max-age={}", max_age.as_secs());
        let kept = http::HeaderValue::try_from(kept).expect("digits");
        response.headers_mut().insert(CACHE_CONTROL, kept);
    }
    response
}

/// Takes any JSON object and gives it back with an id.
async fn charge(body: Result<Bytes, BytesRejection>) -> Response {
    static CHARGES: AtomicU64 = AtomicU64::new(0);
    let body = match body {
        Ok(body) => body,
        Err(error) => return problem(error.status(), "the body was not read", &error.body_text()),
    };
    let Ok(Value::Object(mut charge)) = serde_json::from_slice(&body) else {
        let expected =
            "the body must be a JSON object, such as {\"amount\": 1250, \"currency\": \"EUR\"}";
        return problem(StatusCode::BAD_REQUEST, "not a charge", expected);
    };
    // ordering: Relaxed. The numbers must differ; they publish nothing.
    let number = CHARGES.fetch_add(1, Ordering::Relaxed) + 1;
    // With the process id, so that a restarted stub gives no id twice.
    let id = format!("ch_{}_{number:06}", std::process::id());
    charge.insert("id".to_owned(), id.into());
    charge.insert("status".to_owned(), "succeeded".into());
    (StatusCode::CREATED, Json(Value::Object(charge))).into_response()
}

fn problem(status: StatusCode, title: &str, detail: &str) -> Response {
    let body = json!({"title": title, "status": status.as_u16(), "detail": detail});
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let kind = http::HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
