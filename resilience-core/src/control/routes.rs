//! The admin API, for any [`AdminSource`]: the service's own socket and the
//! sidecar serve this very router.
//!
//! GET changes nothing. Every answer says how old it is (`Age`, and
//! `X-State-Age-Ms` for those who want to know better) and what is known of
//! the service (`X-Service-Condition`).

mod fallbacks;
mod pools;

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
    routing::{MethodRouter, get, post},
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::{
    Action, AdminSource, BreakerReceipt, ChangeError, ChangeOutcome, ChangeRequest, Condition,
    MOST_BODY, Observed, Receipt, Subject, explain::Explanation, request,
};
use crate::{
    problem::Problem,
    snapshot::{BreakerSnapshot, KeyedSnapshot, OverrideSnapshot, State},
};

/// How often a watched breaker is looked at.
const WATCH_EVERY: Duration = Duration::from_millis(100);

/// The admin API over `source`.
pub fn admin_router<S: AdminSource>(source: S) -> Router {
    let mut router = Router::new()
        .route("/admin/circuit-breaker", get(list::<S>))
        .route("/admin/circuit-breaker/{svc}", get(detail::<S>))
        .route("/admin/circuit-breaker/{svc}/state", get(state::<S>))
        .route("/admin/circuit-breaker/{svc}/explain", get(explain::<S>))
        .route("/admin/circuit-breaker/{svc}/events", get(events::<S>))
        .route("/admin/pools", get(pools::list::<S>))
        .route("/admin/pools/{name}", get(pools::detail::<S>))
        .route(
            "/admin/pools/{name}/connections",
            get(pools::connections::<S>),
        )
        .route("/admin/fallback", get(fallbacks::list::<S>))
        .route("/admin/fallback/{svc}", get(fallbacks::detail::<S>))
        .route("/admin/config", get(config::<S>));
    // POST …/reset, /force-open, /disable, /metrics-only, /enable; /resize, /recycle;
    // /enable, /disable, /purge
    for action in Action::all() {
        let listed = action.subject().path();
        let path = format!("{listed}/{{svc}}/{}", action.path());
        router = router.route(&path, by_hand(action));
    }
    router
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
            "keyed": snapshot.keyed.iter().map(Family::of).collect::<Vec<_>>(),
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

async fn config<S: AdminSource>(Source(source): Source<S>) -> Result<Response, Problem> {
    let observed = source.observe().await?;
    Ok(aged(&observed, &observed.snapshot.config))
}

/// All changes are one handler: they differ in what they ask for.
fn by_hand<S: AdminSource>(action: Action) -> MethodRouter<S> {
    post(
        move |Source(source): Source<S>,
              name: Result<Path<String>, PathRejection>,
              RawQuery(query): RawQuery,
              headers: HeaderMap,
              body: Result<Bytes, BytesRejection>| async move {
            let Path(name) = name.map_err(|error| bad_path(action.subject(), &error))?;
            let query = query.unwrap_or_default();
            let (request, watched) = request::read(action, &query, &headers, body)?;
            change(&source, &name, request, watched).await
        },
    )
}

async fn change<S: AdminSource>(
    source: &S,
    name: &str,
    request: ChangeRequest,
    watched: Option<Duration>,
) -> Result<Response, Problem> {
    let mut receipt = source.change(name, request).await?;
    if let (Receipt::Breaker(receipt), Some(watched)) = (&mut receipt, watched)
        && receipt.outcome == ChangeOutcome::Applied
    {
        watch(source, receipt, watched).await;
    }
    let status = match receipt.outcome() {
        ChangeOutcome::Pending => StatusCode::ACCEPTED,
        ChangeOutcome::Applied | ChangeOutcome::DryRun | ChangeOutcome::Reopened => StatusCode::OK,
    };
    Ok((status, Json(receipt)).into_response())
}

/// Looks after a reset for a while and says so if the circuit opens again.
async fn watch<S: AdminSource>(source: &S, receipt: &mut BreakerReceipt, watch: Duration) {
    let started = tokio::time::Instant::now();
    let mut ticks = tokio::time::interval(WATCH_EVERY);
    while started.elapsed() < watch {
        ticks.tick().await;
        let Ok(observed) = source.observe().await else {
            continue;
        };
        if let Some(breaker) = observed.snapshot.breaker(&receipt.service)
            && breaker.state != State::Closed
        {
            receipt.after = breaker.state;
            receipt.generation = breaker.generation;
            receipt.outcome = ChangeOutcome::Reopened;
            receipt.detail = format!("re-opened after {} ms", started.elapsed().as_millis());
            return;
        }
    }
    receipt.detail = format!("still closed after {} ms", started.elapsed().as_millis());
}

fn find(
    observed: &Observed,
    name: Result<Path<String>, PathRejection>,
) -> Result<&BreakerSnapshot, Problem> {
    let Path(name) = name.map_err(|error| bad_path(Subject::Breaker, &error))?;
    let snapshot = &observed.snapshot;
    snapshot.breaker(&name).ok_or_else(|| {
        let names = snapshot.all_breakers().map(|breaker| breaker.name.as_str());
        ChangeError::Unknown {
            subject: Subject::Breaker,
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
    /// What the state machine says; the same unless it is overridden.
    computed_state: State,
    #[serde(rename = "override")]
    overridden: Option<&'a OverrideSnapshot>,
    enabled: bool,
    generation: u32,
    since: Timestamp,
    retry_after_ms: Option<u64>,
    ramp_percent: Option<u8>,
    openings: u32,
    calls: u32,
    failures: u32,
    slow: u32,
    slow_running: u32,
    failure_ratio: f64,
    slow_call_ratio: f64,
}

impl<'a> Overview<'a> {
    fn of(breaker: &'a BreakerSnapshot) -> Self {
        let window = breaker.window;
        Self {
            service: &breaker.name,
            state: breaker.state,
            computed_state: breaker.computed_state,
            overridden: breaker.overridden.as_ref(),
            enabled: breaker.enabled,
            generation: breaker.generation,
            since: breaker.since,
            retry_after_ms: breaker.retry_after_ms,
            ramp_percent: breaker.ramp_percent,
            openings: breaker.openings,
            calls: window.calls,
            failures: window.failures,
            slow: window.slow,
            slow_running: breaker.slow_running,
            failure_ratio: window.failure_ratio(),
            slow_call_ratio: window.slow_ratio(),
        }
    }
}

/// One family in a list, with its members that are not closed.
#[derive(Serialize)]
struct Family<'a> {
    service: &'a str,
    members: u32,
    open: u32,
    half_open: u32,
    capacity: u32,
    evicted: u64,
    overflowed: u64,
    not_closed: Vec<Overview<'a>>,
}

impl<'a> Family<'a> {
    fn of(family: &'a KeyedSnapshot) -> Self {
        Self {
            service: &family.name,
            members: family.members,
            open: family.open,
            half_open: family.half_open,
            capacity: family.capacity,
            evicted: family.evicted,
            overflowed: family.overflowed,
            not_closed: family.not_closed.iter().map(Overview::of).collect(),
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

fn bad_path(subject: Subject, rejection: &PathRejection) -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        format!(
            "the name in the path cannot be read: {}",
            rejection.body_text()
        ),
    )
    .advice(format!("GET {} lists the names", subject.path()))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BreakerConfig, ByHand, CircuitBreaker, ErrorClass, snapshot::OverrideKind};

    #[tokio::test]
    async fn a_member_of_a_family_is_explained_and_reset_by_its_name() {
        use tower::ServiceExt;

        let registry = crate::Registry::new();
        let (config, limits) = (BreakerConfig::default(), crate::KeyedConfig::default());
        let tenants = registry.keyed("payment_api", &config, limits);
        while let Ok(permit) = tenants.get("tenant-7").try_acquire() {
            permit.failure(ErrorClass::TIMEOUT);
        }
        let shown = registry.clone();
        let take = move || crate::snapshot::Snapshot {
            keyed: shown.keyed_snapshot(),
            ..crate::snapshot::Snapshot::of_nothing("payments-api")
        };
        let source = super::super::LocalSource::new(std::sync::Arc::new(take), registry);
        let router = admin_router(source);
        let ask = async |method: &str, path: &str| {
            let request = axum::http::Request::builder()
                .method(method)
                .uri(format!("/admin/circuit-breaker{path}"))
                .body(axum::body::Body::empty())
                .unwrap();
            let response = router.clone().oneshot(request).await.unwrap();
            let body = axum::body::to_bytes(response.into_body(), 100_000)
                .await
                .unwrap();
            String::from_utf8(body.to_vec()).unwrap()
        };
        let member = "/payment_api:tenant-7";
        assert_eq!(
            ask("GET", &format!("{member}/state")).await,
            r#"{"state":"OPEN"}"#
        );
        assert!(
            ask("GET", "")
                .await
                .contains(r#""service":"payment_api:tenant-7""#)
        );
        let why = ask("GET", &format!("{member}/explain")).await;
        assert!(
            why.starts_with("payment_api:tenant-7 is OPEN since "),
            "{why}"
        );
        let receipt = ask("POST", &format!("{member}/reset")).await;
        assert!(receipt.contains(r#""after":"CLOSED""#), "{receipt}");
        let none = ask("POST", "/payment_api:tenant-8/reset").await;
        assert!(none.contains("there is no circuit breaker"), "{none}");
        assert_eq!(tenants.all().len(), 1);
    }

    #[test]
    fn a_list_shows_what_callers_meet_and_what_the_state_machine_says() {
        let breaker = CircuitBreaker::new("payment_api", BreakerConfig::default());
        while let Ok(permit) = breaker.try_acquire() {
            permit.failure(ErrorClass::TIMEOUT);
        }
        let open = breaker.snapshot();
        let shown = json!(Overview::of(&open));
        assert_eq!(
            (&shown["state"], &shown["openings"]),
            (&json!("OPEN"), &json!(1))
        );
        assert_eq!(shown["override"], json!(null));
        let by = ByHand {
            actor: Some("on-call".into()),
            reason: Some("INC-7".into()),
            ..ByHand::default()
        };
        let kind = OverrideKind::Disabled;
        breaker.set_override(kind, None, &by).unwrap();
        let snapshot = breaker.snapshot();
        let shown = json!(Overview::of(&snapshot));
        let set = json!({
            "kind": "disabled", "actor": "on-call", "reason": "INC-7",
            "since": snapshot.overridden.as_ref().unwrap().since, "expires_at": null,
        });
        for (key, value) in [
            ("state", json!("CLOSED")),
            ("computed_state", json!("OPEN")),
            ("override", set),
            ("ramp_percent", json!(null)),
            ("slow_running", json!(0)),
        ] {
            assert_eq!(shown[key], value, "{key} of {shown}");
        }
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
