//! The admin API, for any [`AdminSource`]: the service's own socket and the
//! sidecar serve this very router.
//!
//! GET changes nothing. Every answer says how old it is (`Age`, and
//! `X-State-Age-Ms` for those who want to know better) and what is known of
//! the service (`X-Service-Condition`).

use std::time::Duration;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{
        DefaultBodyLimit, Path, RawQuery, State as Source,
        rejection::{BytesRejection, PathRejection},
    },
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::{
    AdminSource, Condition, Observed, Receipt, ResetError, ResetOutcome, ResetRequest, Unavailable,
    explain::Explanation,
};
use crate::{
    problem::Problem,
    snapshot::{BreakerSnapshot, State},
};

/// Who asks, as found out by whoever stands before the router.
pub const ACTOR_HEADER: &str = "x-admin-actor";

/// Until when a change may be made (RFC 3339). What lies unread in the socket of
/// a stopped process cannot be taken back, and must not be done an hour later.
pub const NOT_AFTER_HEADER: &str = "x-admin-not-after";

/// The largest request body that is read.
pub const MOST_BODY: usize = 4 * 1024;

/// The longest header or reason that is taken: each is kept in the flight
/// recorder.
const MOST_TEXT: usize = 500;

/// A reset is watched for at most this long.
const LONGEST_WATCH: Duration = Duration::from_secs(60);

/// How often a watched breaker is looked at.
const WATCH_EVERY: Duration = Duration::from_millis(100);

/// The admin API over `source`.
pub fn admin_router<S: AdminSource>(source: S) -> Router {
    Router::new()
        .route("/admin/circuit-breaker", get(list::<S>))
        .route("/admin/circuit-breaker/{svc}", get(detail::<S>))
        .route("/admin/circuit-breaker/{svc}/state", get(state::<S>))
        .route("/admin/circuit-breaker/{svc}/reset", post(reset::<S>))
        .route("/admin/circuit-breaker/{svc}/explain", get(explain::<S>))
        .route("/admin/circuit-breaker/{svc}/events", get(events::<S>))
        .route("/admin/pools", get(pools::<S>))
        .route("/admin/config", get(config::<S>))
        .layer(DefaultBodyLimit::max(MOST_BODY))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .with_state(source)
}

async fn list<S: AdminSource>(Source(source): Source<S>) -> Result<Response, Problem> {
    let observed = source.observe().await?;
    let snapshot = &observed.snapshot;
    let breakers: Vec<_> = snapshot.breakers.iter().map(Overview::of).collect();
    Ok(aged(
        &observed,
        &json!({
            "replica": snapshot.replica,
            "condition": observed.condition,
            "breakers": breakers,
        }),
    ))
}

async fn detail<S: AdminSource>(
    Source(source): Source<S>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let observed = source.observe().await?;
    let breaker = find(&observed, name)?;
    Ok(aged(
        &observed,
        &json!({
            "overview": Overview::of(breaker),
            "since": breaker.since,
            "probes_in_flight": breaker.probes_in_flight,
            "totals": breaker.totals,
            "transitions": breaker.transitions,
            "open_ms_total": breaker.open_ms_total,
            "config": breaker.config.values,
        }),
    ))
}

async fn state<S: AdminSource>(
    Source(source): Source<S>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let observed = source.observe().await?;
    let breaker = find(&observed, name)?;
    Ok(aged(&observed, &json!({ "state": breaker.state })))
}

async fn explain<S: AdminSource>(
    Source(source): Source<S>,
    name: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let observed = source.observe().await?;
    let breaker = find(&observed, name)?;
    // Of a black box, as of the moment it was written: its age stands beside.
    let explanation = Explanation::of(breaker, observed.snapshot.taken_at);
    let wants_json = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("application/json"));
    Ok(if wants_json {
        aged(&observed, &explanation)
    } else {
        let mut text = explanation.summary;
        if observed.condition != Condition::Live {
            let (condition, age) = (observed.condition.as_str(), observed.age.as_secs());
            text += &format!(" The service is {condition}: this is as of {age} s ago.");
        }
        let mut response = format!("{text}\n").into_response();
        date(&observed, &mut response);
        response
    })
}

async fn events<S: AdminSource>(
    Source(source): Source<S>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let observed = source.observe().await?;
    let breaker = find(&observed, name)?;
    Ok(aged(
        &observed,
        &json!({ "service": breaker.name, "events": breaker.events }),
    ))
}

async fn pools<S: AdminSource>(Source(source): Source<S>) -> Result<Response, Problem> {
    let observed = source.observe().await?;
    Ok(aged(
        &observed,
        &json!({ "pools": observed.snapshot.pools }),
    ))
}

async fn config<S: AdminSource>(Source(source): Source<S>) -> Result<Response, Problem> {
    let observed = source.observe().await?;
    Ok(aged(&observed, &observed.snapshot.config))
}

async fn reset<S: AdminSource>(
    Source(source): Source<S>,
    name: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let Path(name) = name.map_err(bad_path)?;
    let query = ResetQuery::parse(query.as_deref().unwrap_or_default())?;
    let body = body.map_err(|rejection| {
        Problem::new(
            rejection.status(),
            format!("the body was not taken: {}", rejection.body_text()),
        )
        .advice(format!(
            "send no body, or JSON of at most {MOST_BODY} bytes"
        ))
    })?;
    let mut request = read_request(&body)?;
    request.actor = text_of(&headers, ACTOR_HEADER)?;
    request.idempotency_key = text_of(&headers, "idempotency-key")?;
    request.dry_run = query.dry_run;
    check_not_after(&headers)?;
    let mut receipt = source.reset(&name, request).await?;
    if receipt.outcome == ResetOutcome::Applied
        && let Some(watch) = query.watch
    {
        self::watch(&source, &mut receipt, watch).await;
    }
    let status = match receipt.outcome {
        ResetOutcome::Pending => StatusCode::ACCEPTED,
        ResetOutcome::Applied | ResetOutcome::DryRun | ResetOutcome::Reopened => StatusCode::OK,
    };
    Ok((status, Json(receipt)).into_response())
}

/// Looks after a reset for a while and says so if the circuit opens again.
async fn watch<S: AdminSource>(source: &S, receipt: &mut Receipt, watch: Duration) {
    let started = tokio::time::Instant::now();
    let mut ticks = tokio::time::interval(WATCH_EVERY);
    while started.elapsed() < watch {
        ticks.tick().await;
        let Ok(observed) = source.observe().await else {
            continue;
        };
        let breaker = observed
            .snapshot
            .breakers
            .iter()
            .find(|b| b.name == receipt.service);
        if let Some(breaker) = breaker
            && breaker.state != State::Closed
        {
            receipt.after = breaker.state;
            receipt.generation = breaker.generation;
            receipt.outcome = ResetOutcome::Reopened;
            receipt.detail = format!("re-opened after {} ms", started.elapsed().as_millis());
            return;
        }
    }
    receipt.detail = format!("still closed after {} ms", started.elapsed().as_millis());
}

/// What `reset` takes in its query.
#[derive(Debug, Default, PartialEq)]
struct ResetQuery {
    dry_run: bool,
    watch: Option<Duration>,
}

impl ResetQuery {
    fn parse(query: &str) -> Result<Self, Problem> {
        let mut parsed = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            match (key, value) {
                ("dry_run", "" | "true") => parsed.dry_run = true,
                ("dry_run", "false") => parsed.dry_run = false,
                ("watch", given) => parsed.watch = Some(watch_of(given)?),
                _ => return Err(bad_query(pair)),
            }
        }
        Ok(parsed)
    }
}

fn watch_of(given: &str) -> Result<Duration, Problem> {
    humantime::parse_duration(given)
        .ok()
        .filter(|watch| *watch <= LONGEST_WATCH)
        .ok_or_else(|| bad_query(&format!("watch={given}")))
}

fn bad_query(given: &str) -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        format!("the query `{given}` is not known"),
    )
    .advice("allowed are `dry_run` and `watch=5s` (a duration of at most 60s)")
}

fn read_request(body: &[u8]) -> Result<ResetRequest, Problem> {
    if body.is_empty() {
        return Ok(ResetRequest::default());
    }
    let refused = |why: String| {
        Problem::bad_request(format!("the body is not what a reset takes: {why}"))
            .advice(r#"send no body, or {"reason": "…", "if_generation": 7}, both optional"#)
    };
    // serde reads a struct from an array, too: `[]` would be a reset.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(refused("it is not a JSON object".to_owned()));
    }
    let request: ResetRequest =
        serde_json::from_slice(body).map_err(|error| refused(error.to_string()))?;
    if request
        .reason
        .as_ref()
        .is_some_and(|reason| reason.len() > MOST_TEXT)
    {
        return Err(Problem::bad_request("the reason is too long")
            .advice(format!("say it in {MOST_TEXT} bytes")));
    }
    Ok(request)
}

fn check_not_after(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(given) = text_of(headers, NOT_AFTER_HEADER)? else {
        return Ok(());
    };
    let not_after: Timestamp = given.parse().map_err(|_| {
        Problem::bad_request(format!(
            "`{NOT_AFTER_HEADER}` is `{given}`, which is no time"
        ))
        .advice("send a time such as 2025-01-02T03:04:05Z, or leave the header out")
    })?;
    if Timestamp::now() > not_after {
        let detail = format!("the request was good until {given}, and is too late");
        return Err(Problem::new(StatusCode::PRECONDITION_FAILED, detail)
            .advice("look at the breaker again, then ask again if it is still wanted"));
    }
    Ok(())
}

/// A header's text, if it is there; one that cannot be kept is refused rather
/// than passed over.
fn text_of(headers: &HeaderMap, name: &str) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    match value.to_str() {
        Ok(text) if !text.is_empty() && text.len() <= MOST_TEXT => Ok(Some(text.to_owned())),
        _ => Err(
            Problem::bad_request(format!("the header `{name}` cannot be read")).advice(format!(
                "send 1 to {MOST_TEXT} visible ASCII characters, or leave it out"
            )),
        ),
    }
}

fn find(
    observed: &Observed,
    name: Result<Path<String>, PathRejection>,
) -> Result<&BreakerSnapshot, Problem> {
    let Path(name) = name.map_err(bad_path)?;
    let breakers = &observed.snapshot.breakers;
    breakers
        .iter()
        .find(|breaker| breaker.name == name)
        .ok_or_else(|| {
            let names = breakers.iter().map(|breaker| breaker.name.as_str());
            ResetError::Unknown {
                nearest: nearest(&name, names),
                name,
            }
            .into()
        })
}

/// The names most like `wanted`, best first, at most three.
#[must_use]
pub fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut likely: Vec<(f64, &str)> = names
        .map(|name| (strsim::jaro_winkler(wanted, name), name))
        .filter(|(likeness, _)| *likeness > 0.7)
        .collect();
    likely.sort_by(|a, b| b.0.total_cmp(&a.0));
    likely
        .into_iter()
        .take(3)
        .map(|(_, name)| name.to_owned())
        .collect()
}

/// One breaker in a list.
#[derive(Serialize)]
struct Overview<'a> {
    service: &'a str,
    state: State,
    enabled: bool,
    generation: u32,
    since: Timestamp,
    retry_after_ms: Option<u64>,
    calls: u32,
    failures: u32,
    slow: u32,
    failure_ratio: f64,
    slow_call_ratio: f64,
}

impl<'a> Overview<'a> {
    fn of(breaker: &'a BreakerSnapshot) -> Self {
        let window = breaker.window;
        Self {
            service: &breaker.name,
            state: breaker.state,
            enabled: breaker.enabled,
            generation: breaker.generation,
            since: breaker.since,
            retry_after_ms: breaker.retry_after_ms,
            calls: window.calls,
            failures: window.failures,
            slow: window.slow,
            failure_ratio: window.failure_ratio(),
            slow_call_ratio: window.slow_ratio(),
        }
    }
}

/// A JSON answer that says how old it is.
fn aged(observed: &Observed, body: &impl Serialize) -> Response {
    let mut response = Json(body).into_response();
    date(observed, &mut response);
    response
}

fn date(observed: &Observed, response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(header::AGE, HeaderValue::from(observed.age.as_secs()));
    let age_ms = u64::try_from(observed.age.as_millis()).unwrap_or(u64::MAX);
    headers.insert("x-state-age-ms", HeaderValue::from(age_ms));
    let condition = HeaderValue::from_static(observed.condition.as_str());
    headers.insert("x-service-condition", condition);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

fn bad_path(rejection: PathRejection) -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        format!(
            "the name in the path cannot be read: {}",
            rejection.body_text()
        ),
    )
    .advice("GET /admin/circuit-breaker lists the names")
}

async fn method_not_allowed() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "the path does not take this method",
    )
    .advice("use a method of the `Allow` header: GET reads, POST changes")
}

async fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is nothing at this path")
        .advice("begin at GET /admin/circuit-breaker")
}

impl From<Unavailable> for Problem {
    fn from(unavailable: Unavailable) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, unavailable.what).advice(unavailable.advice)
    }
}

impl From<ResetError> for Problem {
    fn from(error: ResetError) -> Self {
        let detail = error.to_string();
        match error {
            ResetError::Unknown { nearest, .. } => {
                let advice = match nearest.first() {
                    Some(name) => format!("did you mean `{name}`?"),
                    None => "GET /admin/circuit-breaker lists the names".to_owned(),
                };
                Self::new(StatusCode::NOT_FOUND, detail).advice(advice).with("nearest", nearest)
            }
            ResetError::Moved { expected, actual } => Self::new(StatusCode::CONFLICT, detail).advice("look at the breaker again, then reset it with its generation of now")
            .with("expected", expected)
            .with("actual", actual),
            ResetError::Disabled => Self::new(StatusCode::CONFLICT, detail).advice("set `enabled: true` for it in the configuration; it lets every call through now")
            .with("reason", "disabled"),
            ResetError::Overridden(kind) => Self::new(StatusCode::CONFLICT, detail).advice("POST …/enable removes the override; a reset does not")
            .with("reason", "overridden").with("override", kind.as_str()),
            ResetError::NotOverridden => Self::new(StatusCode::CONFLICT, detail).advice("there is nothing to remove")
            .with("reason", "not_overridden"),
            ResetError::Unavailable(unavailable) => unavailable.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_of_a_reset_is_read_or_refused() {
        let parse = |query| ResetQuery::parse(query).map_err(|problem| problem.status);
        let dry = ResetQuery {
            dry_run: true,
            watch: None,
        };
        assert_eq!(parse("dry_run"), Ok(dry));
        let watched = ResetQuery {
            dry_run: false,
            watch: Some(Duration::from_secs(5)),
        };
        assert_eq!(parse("dry_run=false&watch=5s"), Ok(watched));
        for bad in ["watch=", "watch=2m", "watch=5", "dryrun", "dry_run=maybe"] {
            assert_eq!(parse(bad), Err(StatusCode::BAD_REQUEST), "{bad}");
        }
    }

    #[test]
    fn the_body_of_a_reset_is_an_object_or_nothing() {
        let read = |body: &str| read_request(body.as_bytes()).map_err(|problem| problem.status);
        assert_eq!(read(""), Ok(ResetRequest::default()));
        assert_eq!(read(" {}"), Ok(ResetRequest::default()));
        for bad in ["[]", r#"["why", 1]"#, "null", "7", " ", "{", r#"{"x": 1}"#] {
            assert_eq!(read(bad), Err(StatusCode::BAD_REQUEST), "{bad}");
        }
    }

    #[test]
    fn a_request_that_comes_too_late_is_refused() {
        let check = |given: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(NOT_AFTER_HEADER, given.parse().unwrap());
            check_not_after(&headers).map_err(|problem| problem.status)
        };
        assert_eq!(check("2999-01-01T00:00:00Z"), Ok(()));
        assert_eq!(
            check("2001-01-01T00:00:00Z"),
            Err(StatusCode::PRECONDITION_FAILED)
        );
        assert_eq!(check("soon"), Err(StatusCode::BAD_REQUEST));
        assert!(check_not_after(&HeaderMap::new()).is_ok());
    }

    #[test]
    fn a_reason_or_a_key_that_cannot_be_kept_is_refused_and_not_passed_over() {
        let long = "x".repeat(MOST_TEXT + 1);
        let body = json!({ "reason": long }).to_string();
        assert!(read_request(body.as_bytes()).is_err());
        assert!(read_request(br#"{"reason": "the provider is back"}"#).is_ok());
        assert!(read_request(br#"{"reasons": "typo"}"#).is_err());
        let mut headers = HeaderMap::new();
        headers.insert("idempotency-key", long.parse().unwrap());
        assert!(text_of(&headers, "idempotency-key").is_err());
    }

    #[test]
    fn the_nearest_names_come_first_and_strangers_not_at_all() {
        let names = ["payment_api", "fraud_api", "payout_api", "ledger"];
        let found = nearest("paymnet_api", names.into_iter());
        assert_eq!(found.first().map(String::as_str), Some("payment_api"));
        assert!(!found.contains(&"ledger".to_owned()));
        assert!(nearest("", names.into_iter()).is_empty());
    }
}
