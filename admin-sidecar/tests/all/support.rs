//! A service on a real Unix socket, a sidecar on real ports, and a small client.

use std::{
    collections::HashMap,
    fs::Permissions,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use admin_sidecar::{Args, Settings, Sidecar};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path as UrlPath, RawQuery, State as Shared},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use clap::Parser;
use parking_lot::Mutex;
use resilience_core::{
    control::{
        Action, BreakerReceipt, ChangeOutcome, FallbackReceipt, FallbackSwitch, PoolLimits,
        PoolReceipt,
    },
    snapshot::{FORMAT, OverrideSnapshot, Snapshot, State, SwitchSnapshot, WindowSnapshot},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixListener},
    task::JoinHandle,
};

/// The promise for every answer.
pub(crate) const BOUND: Duration = Duration::from_millis(500);

/// A picture of `api` with the open breaker `payment_api`, the pool `main` and the fallback
/// `rates`.
pub(crate) fn snapshot(pid: u32) -> Snapshot {
    let now = jiff::Timestamp::now();
    serde_json::from_value(json!({
        "format": FORMAT, "service": "api", "replica": format!("host.{pid}"), "pid": pid,
        "version": "1.2.3", "started_at": now, "taken_at": now, "heartbeat_age_ms": 20,
        "breakers": [{
            "name": "payment_api", "state": "OPEN", "enabled": true, "generation": 7,
            "since": now, "retry_after_ms": 30_000,
            "window": {"calls": 0, "failures": 0, "slow": 0}, "probes_in_flight": 0,
            "totals": {"success": 1, "failure": 2, "ignored": 0, "rejected": 3, "cancelled": 0,
                "slow": 0, "stale": 0},
            "durations": {"counts": [], "sum_seconds": 0.0}, "transitions": [],
            "open_ms_total": 0, "events": [], "config": {"values": []},
        }],
        "pools": [{
            "name": "main", "size": 30, "pool_size": 20, "max_overflow": 10, "in_use": 2,
            "holders": [
                {"place": "src/a.rs:1", "held_ms": 61_000, "suspected_leak": true},
                {"place": "src/b.rs:2", "held_ms": 5},
            ],
        }],
        "fallbacks": [{
            "name": "rates", "enabled": true, "configured": true, "strategy": "cache",
            "store": "redis", "responses": {"stale": 5}, "cache": {"entries": 3},
            "oldest_ms": 61_000,
        }],
        "stores": [{"kind": "redis", "place": "10.0.0.7:6379", "up": false}],
        "health": {"started": true, "draining": false, "checks": []},
        "config": {"file": null, "reloads_succeeded": 0, "reloads_refused": 0,
            "last_reload_successful": true, "loaded_at": null, "last_error": null, "values": []},
        "http": {"in_flight": 0, "series": [], "folded": 0},
    }))
    .unwrap()
}

/// What the service did.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) snapshot: Snapshot,
    /// Receipts by idempotency key: their number is how often it was changed.
    pub(crate) applied: HashMap<String, BreakerReceipt>,
    /// The same of the pool.
    pub(crate) pool_changes: HashMap<String, PoolReceipt>,
    /// The same of the fallback.
    pub(crate) fallback_changes: HashMap<String, FallbackReceipt>,
    pub(crate) actors: Vec<String>,
    pub(crate) asked: u32,
}

/// A service that does what the protocol says.
#[derive(Clone, Debug)]
pub(crate) struct Service(pub(crate) Arc<Mutex<Inner>>);

impl Service {
    pub(crate) fn new(snapshot: Snapshot) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            snapshot,
            applied: HashMap::new(),
            pool_changes: HashMap::new(),
            fallback_changes: HashMap::new(),
            actors: Vec::new(),
            asked: 0,
        })))
    }

    /// One of this process, which is alive.
    pub(crate) fn live() -> Self {
        Self::new(snapshot(std::process::id()))
    }

    fn router(&self) -> Router {
        Router::new()
            .route("/snapshot", get(picture))
            .route("/admin/circuit-breaker/{svc}/{action}", post(change))
            .route("/admin/pools/{name}/{action}", post(change_pool))
            .route("/admin/fallback/{svc}/{action}", post(change_fallback))
            .with_state(self.clone())
    }

    pub(crate) fn resets(&self) -> usize {
        self.changes(Action::Reset)
    }

    pub(crate) fn changes(&self, action: Action) -> usize {
        let inner = self.0.lock();
        let made = inner.applied.values().filter(|made| made.action == action);
        made.count()
    }
}

async fn picture(Shared(service): Shared<Service>) -> Json<Snapshot> {
    let mut inner = service.0.lock();
    inner.asked += 1;
    inner.snapshot.taken_at = jiff::Timestamp::now();
    Json(inner.snapshot.clone())
}

async fn change(
    Shared(service): Shared<Service>,
    UrlPath((svc, action)): UrlPath<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    let asked: Value = serde_json::from_slice(&body).unwrap();
    let action = Action::OF_BREAKERS
        .into_iter()
        .find(|one| one.path() == action);
    let action = action.unwrap();
    let mut inner = service.0.lock();
    if svc != "payment_api" {
        let body = Json(json!({"nearest": ["payment_api"]}));
        return (StatusCode::NOT_FOUND, body).into_response();
    }
    let generation = inner.snapshot.breakers[0].generation;
    if let Some(expected) = asked["if_generation"].as_u64()
        && expected != u64::from(generation)
    {
        let body = Json(json!({"expected": expected, "actual": generation}));
        return (StatusCode::CONFLICT, body).into_response();
    }
    inner.actors.push(header("x-admin-actor"));
    let key = header("idempotency-key");
    if let Some(receipt) = inner.applied.get(&key) {
        return Json(receipt.clone()).into_response();
    }
    let breaker = &mut inner.snapshot.breakers[0];
    let after = match action {
        Action::ForceOpen => State::Open,
        _ => State::Closed,
    };
    breaker.overridden = action.sets().map(|kind| OverrideSnapshot {
        kind,
        actor: None,
        reason: asked["reason"].as_str().map(str::to_owned),
        since: jiff::Timestamp::now(),
        expires_at: None,
    });
    let receipt = BreakerReceipt {
        service: svc,
        replica: "host.1".to_owned(),
        action,
        before: breaker.state,
        after,
        outcome: ChangeOutcome::Applied,
        generation: generation + 1,
        expires_at: asked["for"]
            .as_str()
            .map(|lasts| jiff::Timestamp::now() + humantime::parse_duration(lasts).unwrap()),
        discarded: WindowSnapshot::default(),
        detail: "closed".to_owned(),
    };
    breaker.state = after;
    breaker.generation += 1;
    inner.applied.insert(key, receipt.clone());
    Json(receipt).into_response()
}

async fn change_pool(
    Shared(service): Shared<Service>,
    UrlPath((pool, action)): UrlPath<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let asked: Value = serde_json::from_slice(&body).unwrap();
    let action = Action::OF_POOLS
        .into_iter()
        .find(|one| one.path() == action)
        .unwrap();
    let mut inner = service.0.lock();
    let key = headers["idempotency-key"].to_str().unwrap().to_owned();
    if let Some(receipt) = inner.pool_changes.get(&key) {
        return Json(receipt.clone()).into_response();
    }
    let known = inner.snapshot.pools.iter_mut().find(|one| one.name == pool);
    let Some(known) = known else {
        let body = Json(json!({"nearest": ["main"]}));
        return (StatusCode::NOT_FOUND, body).into_response();
    };
    if query.as_deref() == Some("dry_run") {
        return StatusCode::NOT_IMPLEMENTED.into_response();
    }
    let before = PoolLimits::of(known);
    let given = |limit: &str| asked[limit].as_u64().map(|limit| limit.try_into().unwrap());
    known.pool_size = given("pool_size").unwrap_or(known.pool_size);
    known.max_overflow = given("max_overflow").unwrap_or(known.max_overflow);
    let receipt = PoolReceipt {
        pool,
        replica: "host.1".to_owned(),
        action,
        before,
        after: PoolLimits::of(known),
        outcome: ChangeOutcome::Applied,
        retired: (action == Action::Recycle).then_some(3),
        detail: "done".to_owned(),
    };
    inner.pool_changes.insert(key, receipt.clone());
    Json(receipt).into_response()
}

async fn change_fallback(
    Shared(service): Shared<Service>,
    UrlPath((svc, action)): UrlPath<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let asked: Value = serde_json::from_slice(&body).unwrap();
    let action = Action::OF_FALLBACKS
        .into_iter()
        .find(|one| one.path() == action)
        .unwrap();
    let mut inner = service.0.lock();
    let key = headers["idempotency-key"].to_str().unwrap().to_owned();
    if let Some(receipt) = inner.fallback_changes.get(&key) {
        return Json(receipt.clone()).into_response();
    }
    if query.as_deref() == Some("dry_run") {
        return StatusCode::NOT_IMPLEMENTED.into_response();
    }
    let mut fallbacks = inner.snapshot.fallbacks.iter_mut();
    let Some(known) = fallbacks.find(|one| one.name == svc) else {
        let body = Json(json!({"nearest": ["rates"]}));
        return (StatusCode::NOT_FOUND, body).into_response();
    };
    let before = FallbackSwitch::of(known);
    let mut purged = None;
    match action {
        Action::Purge => purged = Some(std::mem::take(&mut known.cache.entries)),
        Action::SwitchOn => (known.enabled, known.switched) = (true, None),
        _ => {
            known.enabled = false;
            known.switched = Some(SwitchSnapshot {
                actor: None,
                reason: asked["reason"].as_str().map(str::to_owned),
                since: jiff::Timestamp::now(),
            });
        }
    }
    let receipt = FallbackReceipt {
        service: svc,
        replica: "host.1".to_owned(),
        action,
        before,
        after: FallbackSwitch::of(known),
        outcome: ChangeOutcome::Applied,
        purged,
        detail: "done".to_owned(),
    };
    inner.fallback_changes.insert(key, receipt.clone());
    Json(receipt).into_response()
}

/// A run directory with a sidecar that looks into it.
#[derive(Debug)]
pub(crate) struct Rig {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) admin: SocketAddr,
    pub(crate) public: SocketAddr,
    sidecar: JoinHandle<()>,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.sidecar.abort();
    }
}

impl Rig {
    pub(crate) async fn start(more: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let run_dir = dir.path().to_str().unwrap().to_owned();
        let mut args = vec![
            "admin-sidecar",
            "--run-dir",
            &run_dir,
            "--admin-listen",
            "127.0.0.1:0",
            "--public-listen",
            "127.0.0.1:0",
        ];
        args.extend(more);
        let settings = Settings::try_from(Args::try_parse_from(args).unwrap()).unwrap();
        let sidecar = Sidecar::bind(&settings).await.unwrap();
        let (admin, public) = (
            sidecar.admin_addr().unwrap(),
            sidecar.public_addr().unwrap(),
        );
        let sidecar = tokio::spawn(sidecar.run(std::future::pending()));
        Self {
            dir,
            admin,
            public,
            sidecar,
        }
    }

    /// The same with a service that answers.
    pub(crate) async fn live(more: &[&str]) -> (Self, Service, JoinHandle<()>) {
        let (rig, service) = (Self::start(more).await, Service::live());
        let server = rig.serve(&service);
        (rig, service, server)
    }

    /// The same with a service that is stopped, until somebody [`wake`]s it.
    pub(crate) async fn hung() -> (Self, Service, UnixListener) {
        let (rig, service) = (Self::start(&[]).await, Service::live());
        rig.write_black_box(&snapshot(std::process::id()));
        let listener = rig.hang();
        (rig, service, listener)
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("api.sock")
    }

    /// A service that answers.
    pub(crate) fn serve(&self, service: &Service) -> JoinHandle<()> {
        wake(self.hang(), service)
    }

    /// A socket that accepts, as the kernel does for a stopped process, and
    /// never answers.
    pub(crate) fn hang(&self) -> UnixListener {
        let _ = std::fs::remove_file(self.socket());
        UnixListener::bind(self.socket()).unwrap()
    }

    pub(crate) fn write_black_box(&self, snapshot: &Snapshot) {
        let path = self.dir.path().join("api.blackbox");
        resilience_core::control::blackbox::write(&path, snapshot).expect("a box");
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        ask(self.admin, "GET", path, &[], "").await
    }

    pub(crate) async fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        ask(self.admin, "POST", path, headers, body).await
    }

    pub(crate) async fn reset(&self) -> Answer {
        self.post(RESET, &[], "").await
    }

    /// Waits until the last line of the audit log says that this came of it.
    pub(crate) async fn until_written_down(&self, outcome: &str) {
        until("the outcome is written down", || async {
            let audit = self.audit();
            audit.last().is_some_and(|line| line["outcome"] == outcome)
        })
        .await;
    }

    pub(crate) fn audit(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.dir.path().join("audit.jsonl"));
        let text = text.unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

/// The path of an action on the breaker.
pub(crate) fn path(action: Action) -> String {
    format!("/admin/circuit-breaker/payment_api/{}", action.path())
}

/// With what a request comes that may change things, where [`token_file`] is set.
pub(crate) const BEARER: (&str, &str) = ("Authorization", "Bearer 0123456789abcdef");

/// A file with the token in it.
pub(crate) fn token_file(dir: &tempfile::TempDir) -> String {
    let path = dir.path().join("token");
    std::fs::write(&path, "0123456789abcdef\n").unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A body's type.
pub(crate) const JSON: (&str, &str) = ("Content-Type", "application/json");
pub(crate) const RESET: &str = "/admin/circuit-breaker/payment_api/reset";
pub(crate) const STATE: &str = "/admin/circuit-breaker/payment_api/state";

/// The stopped process goes on: it takes what lies in its socket.
pub(crate) fn wake(listener: UnixListener, service: &Service) -> JoinHandle<()> {
    let router = service.router();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() })
}

/// The number of a process that has ended.
pub(crate) fn dead_pid() -> u32 {
    let mut child = std::process::Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    child.id()
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
    pub(crate) took: Duration,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// An error with a body that says what to do.
    pub(crate) fn assert_problem(&self, status: u16) {
        assert_eq!(self.status, status, "{self:?}");
        let head = self.head.to_ascii_lowercase();
        assert!(head.contains("application/problem+json"), "{self:?}");
        let body = self.json();
        assert_eq!(body["status"], status, "{self:?}");
        assert!(!body["detail"].as_str().unwrap().is_empty(), "{self:?}");
    }
}

/// A bare HTTP/1.1 request, as curl sends it. `Host` may be replaced.
pub(crate) async fn ask(
    to: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let begun = Instant::now();
    let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|(name, _)| *name == "Host") {
        request += &format!("Host: localhost:{}\r\n", to.port());
    }
    if !body.is_empty() {
        request += &format!("Content-Length: {}\r\n", body.len());
    }
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    let mut stream = TcpStream::connect(to).await.unwrap();
    let bytes = [request.as_bytes(), b"\r\n", body.as_bytes()].concat();
    stream.write_all(&bytes).await.unwrap();
    let mut answer = Vec::new();
    // A server may refuse a body before it has read it, and reset.
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    Answer {
        status: head[9..12].parse().unwrap(),
        head: head.to_owned(),
        body: body.to_owned(),
        took: begun.elapsed(),
    }
}

/// Asks until it holds; a condition that never comes fails by name.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds().await {
        assert!(Instant::now() < deadline, "never came: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
