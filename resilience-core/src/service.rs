//! Everything a service links, put together.

use std::{
    fmt,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{Router, http::header, routing::get};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::{sync::Notify, task::AbortHandle};

use crate::{
    breaker::{CircuitBreaker, Observer, Registry},
    clock::Clock,
    config::{Config, ConfigErrors, ConfigStore, LogFormat, LogLevel, Reload, process_env},
    control::{
        ControlError, ControlThread, LocalSource, Plan, TakeSnapshot,
        blackbox::{self, BlackBoxError},
        socket::Name,
    },
    health::{Health, health_router},
    http::{CorrelationIdLayer, HttpMetrics, HttpMetricsLayer},
    log::{self, LogHandle, LogOptions},
    metrics,
    snapshot::{
        BlackBoxSnapshot, BreakerEvent, BreakerSnapshot, FORMAT, HealthStatus, PoolSnapshot,
        Snapshot, State,
    },
};

/// The service's own runtime beats this often.
const HEARTBEAT: Duration = Duration::from_millis(100);

/// Events in one snapshot, over all breakers: a black box stays small.
const MOST_EVENTS: usize = 4_096;

/// An open circuit in a black box older than this is not taken over.
const OLDEST_TRIP: Duration = Duration::from_secs(24 * 60 * 60);

/// Keys that are read and checked, and do nothing so far: whoever sets one is
/// told so.
const NOT_IN_FORCE: [&str; 3] = ["fallback", "database.slow_query", "database.leak_threshold"];

/// Breakers by name, live configuration, health, metrics, logs and the control
/// thread of one service.
///
/// A handle; when the last clone is gone the control thread stops.
///
/// # Example
///
/// ```no_run
/// use axum::{Router, routing::get};
/// use resilience_core::Resilience;
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let resilience = Resilience::builder("payments-api").config_file("config.yaml").start()?;
/// let breaker = resilience.breaker("payment_api");
/// let app = resilience.wrap(Router::new().route("/", get(|| async { "hello" })));
/// resilience.health().started();
/// # let _ = (breaker, app);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Resilience {
    parts: Arc<Parts>,
    _running: Arc<Running>,
}

/// What a snapshot is taken of.
struct Parts {
    name: String,
    version: String,
    replica: String,
    started_at: Timestamp,
    registry: Registry,
    config: ConfigStore,
    health: Health,
    http: HttpMetrics,
    pools: Mutex<Vec<TakePool>>,
    clock: Clock,
    /// Clock reading of the last beat; 0 before the first.
    heartbeat_ns: AtomicU64,
    /// What the process before this one left.
    former: Option<Snapshot>,
    refused_black_boxes: u64,
    write_failures: Arc<AtomicU64>,
    log: Option<LogHandle>,
    creation: Mutex<()>,
}

type TakePool = Box<dyn Fn() -> PoolSnapshot + Send + Sync>;

/// What stops when the last handle is gone.
struct Running {
    heartbeat: AbortHandle,
    _control: ControlThread,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.heartbeat.abort();
    }
}

/// Builds a [`Resilience`].
#[derive(Clone, Debug)]
pub struct ResilienceBuilder {
    name: String,
    version: String,
    config_file: Option<PathBuf>,
    run_dir: PathBuf,
    log: bool,
}

impl ResilienceBuilder {
    /// The YAML file; looked at once a second from then on. Default: none,
    /// only defaults and environment.
    #[must_use]
    pub fn config_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.config_file = Some(path.into());
        self
    }

    /// Where the socket and the black box lie, shared with the sidecar.
    /// Default: `/run/resilience`.
    #[must_use]
    pub fn run_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.run_dir = path.into();
        self
    }

    /// The version that `build_info` shows, usually
    /// `env!("CARGO_PKG_VERSION")`. Default: `unknown`.
    #[must_use]
    pub fn version(mut self, version: &str) -> Self {
        self.version = version.to_owned();
        self
    }

    /// Leaves the log alone: the service has a tracing subscriber of its own.
    #[must_use]
    pub const fn without_log(mut self) -> Self {
        self.log = false;
        self
    }

    /// Reads the configuration, takes over what the process before left, and
    /// starts the control thread. To be called in the service's tokio runtime,
    /// whose heartbeat it starts.
    ///
    /// # Errors
    ///
    /// [`StartError`]; its [`report`](StartError::report) says it on standard
    /// error and gives the exit code.
    pub fn start(self) -> Result<Resilience, StartError> {
        // First of all: what follows is logged, and so is its failure.
        let log = self
            .log
            .then(|| log::init(LogOptions::new(&self.name)).ok())
            .flatten();
        let started = self.assemble(log);
        match &started {
            Ok(_) => log::startup("control", "the admin API listens on its socket"),
            Err(error) => log::startup_failed(error.step(), error),
        }
        started
    }

    fn assemble(self, log: Option<LogHandle>) -> Result<Resilience, StartError> {
        if !is_name(&self.name) {
            return Err(StartError::Name(self.name));
        }
        // Without a runtime there is no heartbeat: say so before anything is made.
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| StartError::NoRuntime)?;
        let config = ConfigStore::load(self.config_file.as_deref(), process_env())?;
        log::startup("configuration", source_of(config.path()));
        let name = Name::take(&self.run_dir, &self.name)
            .map_err(|error| StartError::Control(error.into()))?;
        let black_box = blackbox::path(&self.run_dir, &self.name);
        let (former, refused_black_boxes) = read_former(&black_box, &self.name);
        let parts = Arc::new(Parts {
            replica: format!("{}.{}", host_name(), std::process::id()),
            name: self.name,
            version: self.version,
            started_at: Timestamp::now(),
            registry: Registry::new(),
            config,
            health: Health::new(),
            http: HttpMetrics::new(),
            pools: Mutex::default(),
            clock: Clock::default(),
            heartbeat_ns: AtomicU64::new(0),
            former,
            refused_black_boxes,
            write_failures: Arc::default(),
            log,
            creation: Mutex::default(),
        });
        let changed = Arc::new(Notify::new());
        parts.registry.observe(&observer(Arc::clone(&changed)));
        parts.apply(&parts.config.current());
        parts.watch_circuits();
        let heartbeat = runtime.spawn(beat(Arc::clone(&parts))).abort_handle();
        let take: TakeSnapshot = {
            let parts = Arc::clone(&parts);
            Arc::new(move || parts.snapshot())
        };
        let plan = Plan {
            black_box,
            source: LocalSource::new(Arc::clone(&take), parts.registry.clone()),
            take,
            changed,
            write_failures: Arc::clone(&parts.write_failures),
            poll: {
                let parts = Arc::clone(&parts);
                Box::new(move || parts.poll_config())
            },
        };
        let control = ControlThread::start(name, plan).inspect_err(|_| heartbeat.abort())?;
        let running = Arc::new(Running {
            heartbeat,
            _control: control,
        });
        Ok(Resilience {
            parts,
            _running: running,
        })
    }
}

impl Resilience {
    /// Begins to build one for the service of that name: letters, digits,
    /// `-`, `_` and `.`, as it names files.
    #[must_use]
    pub fn builder(name: &str) -> ResilienceBuilder {
        ResilienceBuilder {
            name: name.to_owned(),
            version: "unknown".to_owned(),
            config_file: None,
            run_dir: PathBuf::from("/run/resilience"),
            log: true,
        }
    }

    /// The breaker for the upstream of that name, with its settings from
    /// `services.<name>` or the defaults; if it was open when the process
    /// before this one was last seen, open for the rest of its wait.
    #[must_use]
    pub fn breaker(&self, name: &str) -> CircuitBreaker {
        self.parts.breaker(name, &self.parts.config.current())
    }

    /// The breakers by name.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.parts.registry
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        self.parts.config.current()
    }

    /// The health of the service: tell it when the start is done and when it
    /// drains, and register checks.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.parts.health
    }

    /// A picture of everything.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.parts.snapshot()
    }

    /// Adds `/health/live`, `/health/ready`, `/health/startup` and `/metrics` to
    /// the service's routes, and correlation ids and HTTP metrics around them.
    pub fn wrap(&self, router: Router) -> Router {
        let (health, scraped) = (Arc::clone(&self.parts), Arc::clone(&self.parts));
        let metrics = get(move || {
            let text = metrics::render(&scraped.snapshot());
            std::future::ready(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text))
        });
        router
            .merge(health_router(move || {
                std::future::ready((health.health.snapshot(), health.heartbeat_age()))
            }))
            .route("/metrics", metrics)
            .layer(HttpMetricsLayer::new(self.parts.http.clone()))
            .layer(CorrelationIdLayer::new())
    }

    /// Shows a PostgreSQL pool in metrics, the admin API and `/health/ready`,
    /// where it is the check `database`.
    #[cfg(feature = "postgres")]
    pub fn add_pool(&self, pool: &crate::pool::Pool) {
        use crate::health::CheckOk;

        let shown = pool.clone();
        self.parts
            .pools
            .lock()
            .push(Box::new(move || shown.snapshot()));
        let (pool, severity) = (pool.clone(), self.config().ready().database);
        let (every, within) = (Duration::from_secs(1), Duration::from_secs(2));
        let added = self
            .parts
            .health
            .register("database", severity, every, within, move || {
                let pool = pool.clone();
                async move { pool.ping().await.map(|()| CheckOk::Pass) }
            });
        if let Err(error) = added {
            tracing::error!(class = "health", "the pool is not watched: {error}");
        }
    }
}

impl fmt::Debug for Resilience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resilience")
            .field("name", &self.parts.name)
            .field("registry", &self.parts.registry)
            .finish_non_exhaustive()
    }
}

impl Parts {
    fn breaker(&self, name: &str, config: &Config) -> CircuitBreaker {
        if let Some(breaker) = self.registry.find(name) {
            return breaker;
        }
        // Two that ask for a new name at once must not both restore it.
        let _one = self.creation.lock();
        if let Some(breaker) = self.registry.find(name) {
            return breaker;
        }
        let breaker = self.registry.get_or_create(name, &config.breaker(name));
        breaker.describe(config.breaker_settings(name));
        self.restore(&breaker, name);
        breaker
    }

    /// Takes over what the process before this one left of a breaker.
    fn restore(&self, breaker: &CircuitBreaker, name: &str) {
        let Some(former) = &self.former else { return };
        let Some(left) = former.breakers.iter().find(|b| b.name == name) else {
            return;
        };
        let wait = match (left.state, left.retry_after_ms) {
            (State::Open, Some(wait_ms)) => Duration::from_millis(wait_ms),
            _ => Duration::ZERO,
        };
        // Should the wall clock have been set back, none of the wait is over:
        // too long by seconds, and never longer than the wait itself.
        let since = Timestamp::now().duration_since(former.taken_at);
        let passed = Duration::try_from(since).unwrap_or_default();
        let remaining = if passed > OLDEST_TRIP {
            Duration::ZERO
        } else {
            wait.saturating_sub(passed)
        };
        breaker.restore_open(remaining, &left.events);
    }

    /// Puts a configuration in force.
    fn apply(&self, config: &Config) {
        if let Some(log) = &self.log {
            let logging = config.logging();
            log.set_level(level_of(logging.level));
            log.set_format(match logging.format {
                LogFormat::Json => log::Format::Json,
                _ => log::Format::Text,
            });
        }
        for name in config.services() {
            self.breaker(name, config);
        }
        for breaker in self.registry.all() {
            let name = breaker.name();
            breaker.configure(config.breaker(&name));
            breaker.describe(config.breaker_settings(&name));
        }
        self.health
            .set_severity("database", config.ready().database);
        self.health
            .set_severity("circuit_breakers", config.ready().circuit_breakers);
        for key in NOT_IN_FORCE {
            if config.set_explicitly(key) {
                tracing::warn!("`{key}` is set, and this version does not put it to use yet");
            }
        }
    }

    fn poll_config(&self) {
        let before = self.config.current();
        match self.config.poll() {
            Reload::Unchanged => {}
            Reload::Applied(config) => {
                self.apply(&config);
                if config.database() != before.database() {
                    tracing::warn!("`database` was changed: it takes effect at the next start");
                }
                tracing::info!(
                    "the configuration was reloaded from {}",
                    source_of(self.config.path())
                );
            }
            Reload::Refused(errors) => tracing::error!(
                class = "config",
                "the configuration was not reloaded, the last good one stays in force: {errors}"
            ),
        }
    }

    /// An open circuit is a warning of `/health/ready`, never the reason why
    /// every replica is drained at once.
    fn watch_circuits(&self) {
        let registry = self.registry.clone();
        let severity = self.config.current().ready().circuit_breakers;
        let added = self
            .health
            .register_fn("circuit_breakers", severity, move || {
                let open: Vec<String> = registry
                    .all()
                    .iter()
                    .filter(|breaker| breaker.state() != State::Closed)
                    .map(|breaker| format!("{} is {}", breaker.name(), breaker.state()))
                    .collect();
                if open.is_empty() {
                    (HealthStatus::Pass, None)
                } else {
                    (HealthStatus::Fail, Some(open.join(", ")))
                }
            });
        debug_assert!(added.is_ok(), "the first check of that name");
    }

    fn heartbeat_age(&self) -> Option<Duration> {
        match self.heartbeat_ns.load(Relaxed) {
            0 => None,
            beat => Some(Duration::from_nanos(
                self.clock.now_ns().saturating_sub(beat),
            )),
        }
    }

    fn snapshot(&self) -> Snapshot {
        let heartbeat_age = self.heartbeat_age();
        Snapshot {
            format: FORMAT,
            service: self.name.clone(),
            replica: self.replica.clone(),
            pid: std::process::id(),
            version: self.version.clone(),
            started_at: self.started_at,
            taken_at: Timestamp::now(),
            heartbeat_age_ms: heartbeat_age
                .map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            breakers: within_budget(self.registry.snapshot()),
            pools: self.pools.lock().iter().map(|take| take()).collect(),
            health: self.health.snapshot(),
            config: self.config.snapshot(),
            http: self.http.snapshot(),
            black_box: BlackBoxSnapshot {
                refused: self.refused_black_boxes,
                write_failures: self.write_failures.load(Relaxed),
            },
        }
    }
}

/// Leaves out the oldest events of a service with very many breakers.
fn within_budget(mut breakers: Vec<BreakerSnapshot>) -> Vec<BreakerSnapshot> {
    let each = (MOST_EVENTS / breakers.len().max(1)).max(2);
    for breaker in &mut breakers {
        breaker.events.truncate(each);
    }
    breakers
}

/// Whether `name` can be part of a file's name and of a label.
fn is_name(name: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(good) && !name.starts_with('.')
}

/// Why a service did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration is wrong.
    #[error("{0}")]
    Config(#[from] ConfigErrors),
    /// The control plane could not start.
    #[error("{error}{cause}", error = .0, cause = cause_of(.0))]
    Control(#[from] ControlError),
    /// The service's name cannot name files.
    #[error(
        "the service's name is `{0}`, allowed: 1 to 64 letters, digits, `-`, `_` and `.`, \
         not beginning with `.`"
    )]
    Name(String),
    /// There is no tokio runtime here.
    #[error(
        "there is no tokio runtime here; call `start` inside of the service's `#[tokio::main]`"
    )]
    NoRuntime,
}

impl StartError {
    const fn step(&self) -> &'static str {
        match self {
            Self::Config(_) => "configuration",
            Self::Control(_) => "control",
            Self::Name(_) => "name",
            Self::NoRuntime => "runtime",
        }
    }

    /// Says it on standard error, and gives the exit code to end with: 78 for
    /// a wrong configuration (`EX_CONFIG` of `sysexits.h`), else 1.
    #[must_use]
    pub fn report(&self) -> ExitCode {
        // Standard error may be closed; the log has it as well.
        let _ = writeln!(std::io::stderr(), "startup: {self}");
        match self {
            Self::Config(_) => ExitCode::from(78),
            Self::Control(_) | Self::Name(_) | Self::NoRuntime => ExitCode::FAILURE,
        }
    }
}

fn cause_of(error: &ControlError) -> String {
    let source = std::error::Error::source(error);
    source.map_or_else(String::new, |source| format!(": {source}"))
}

async fn beat(parts: Arc<Parts>) {
    let mut ticks = tokio::time::interval(HEARTBEAT);
    loop {
        ticks.tick().await;
        // Never 0, which means that there was none.
        parts
            .heartbeat_ns
            .store(parts.clock.now_ns().max(1), Relaxed);
    }
}

/// Logs each transition and has it published at once.
fn observer(changed: Arc<Notify>) -> Observer {
    Arc::new(move |event: &BreakerEvent, name: &str| {
        changed.notify_one();
        let (from, to, cause) = (event.from.as_str(), event.to.as_str(), event.cause.as_str());
        match event.to {
            State::Open => tracing::warn!(
                target: "circuit_breaker",
                service = name, from, to, cause,
                calls = event.window.calls,
                failures = event.window.failures,
                slow = event.window.slow,
                wait_ms = event.wait_ms,
                "Circuit is open"
            ),
            State::HalfOpen | State::Closed => tracing::info!(
                target: "circuit_breaker",
                service = name, from, to, cause, actor = event.actor, reason = event.reason,
                "Circuit is {}",
                if event.to == State::Closed { "closed" } else { "half-open" }
            ),
        }
    })
}

const fn level_of(level: LogLevel) -> tracing::Level {
    match level {
        LogLevel::Error => tracing::Level::ERROR,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Debug => tracing::Level::DEBUG,
        LogLevel::Trace => tracing::Level::TRACE,
    }
}

/// The black box of the process before this one, and how many were refused.
fn read_former(path: &Path, service: &str) -> (Option<Snapshot>, u64) {
    let refusal = match blackbox::read(path) {
        Ok(former) if former.service == service => {
            log::startup(
                "black box",
                format!("taken over, written at {}", former.taken_at),
            );
            return (Some(former), 0);
        }
        Ok(former) => format!("it belongs to `{}`", former.service),
        Err(BlackBoxError::Missing(_)) => return (None, 0),
        Err(error) => error.to_string(),
    };
    let aside = match blackbox::set_aside(path) {
        Ok(aside) => format!("set aside as `{}`", aside.display()),
        Err(error) => format!("could not be set aside: {error}"),
    };
    tracing::warn!(
        target: "startup",
        class = "black_box",
        "the black box was refused and {aside}; every circuit starts closed: {refusal}"
    );
    (None, 1)
}

fn source_of(file: Option<&Path>) -> String {
    file.map_or_else(
        || "defaults and environment".to_owned(),
        |file| format!("`{}` and the environment", file.display()),
    )
}

fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ErrorClass, snapshot::Cause};

    fn builder(dir: &Path) -> ResilienceBuilder {
        Resilience::builder("payments-api")
            .run_dir(dir)
            .without_log()
    }

    fn trip(resilience: &Resilience) -> CircuitBreaker {
        let breaker = resilience.breaker("payment_api");
        while let Ok(permit) = breaker.try_acquire() {
            permit.failure(ErrorClass::http(503));
        }
        breaker
    }

    #[tokio::test]
    async fn an_open_circuit_is_open_for_the_rest_of_its_wait_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let before = builder(dir.path()).start().unwrap();
        let left = trip(&before).try_acquire().unwrap_err().retry_after;
        drop(before);
        let after = builder(dir.path()).start().unwrap();
        let breaker = after.breaker("payment_api");
        let rest = breaker.try_acquire().unwrap_err().retry_after;
        assert!(
            rest <= left && rest > Duration::from_secs(50),
            "{rest:?} of {left:?}"
        );
        let causes: Vec<_> = breaker.snapshot().events.iter().map(|e| e.cause).collect();
        assert_eq!(causes, [Cause::Restored, Cause::FailureRate]);
    }

    #[tokio::test]
    async fn a_trip_older_than_the_wait_is_not_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let before = builder(dir.path()).start().unwrap();
        trip(&before);
        drop(before);
        let path = blackbox::path(dir.path(), "payments-api");
        let mut old = blackbox::read(&path).unwrap();
        old.taken_at -= Duration::from_secs(61);
        blackbox::write(&path, &old).unwrap();
        let after = builder(dir.path()).start().unwrap();
        assert_eq!(after.breaker("payment_api").state(), State::Closed);
    }

    #[tokio::test]
    async fn a_black_box_of_another_service_is_set_aside_and_counted() {
        let dir = tempfile::tempdir().unwrap();
        let path = blackbox::path(dir.path(), "payments-api");
        blackbox::write(&path, &Snapshot::of_nothing("stranger")).unwrap();
        let resilience = builder(dir.path()).start().unwrap();
        assert_eq!(resilience.snapshot().black_box.refused, 1);
        assert!(dir.path().join("payments-api.blackbox.refused").exists());
    }

    #[tokio::test]
    async fn a_name_that_leaves_the_run_directory_is_refused() {
        for name in ["../etc", "", ".hidden", "a b"] {
            let error = Resilience::builder(name).without_log().start().unwrap_err();
            assert!(matches!(error, StartError::Name(_)), "{error}");
        }
    }

    #[test]
    fn without_a_runtime_it_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let error = builder(dir.path()).start().unwrap_err();
        assert!(matches!(error, StartError::NoRuntime), "{error}");
    }
}
