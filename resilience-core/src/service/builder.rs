//! From a name to a running service.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;

#[cfg(feature = "fallback")]
use super::events::observer_of_store;
use super::{
    Resilience, Running, StartError,
    events::observer,
    fallbacks::Fallbacks,
    parts::{Parts, source_of},
    pools::Pools,
    stores::{self, Stores},
};
use crate::{
    breaker::Registry,
    clock::Clock,
    config::{ConfigStore, process_env},
    control::{
        ControlThread, LocalSource, Plan, TakeSnapshot,
        blackbox::{self, BlackBoxError},
        socket::Name,
    },
    health::Health,
    http::HttpMetrics,
    log::{self, LogHandle, LogOptions},
    snapshot::Snapshot,
};

/// The service's own runtime beats this often.
const HEARTBEAT: Duration = Duration::from_millis(100);

/// Builds a [`Resilience`].
#[derive(Clone, Debug)]
pub struct ResilienceBuilder {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) config_file: Option<PathBuf>,
    pub(super) run_dir: PathBuf,
    pub(super) state_dir: Option<PathBuf>,
    pub(super) log: bool,
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

    /// Where the answers of fallbacks are kept with `store: file`, unless
    /// `fallback.file.path` is absolute: a place that survives a reboot, which
    /// [`run_dir`](Self::run_dir) is not. Default: what systemd gives with
    /// `StateDirectory=`, else `/var/lib/resilience/<name>`.
    #[must_use]
    pub fn state_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.state_dir = Some(path.into());
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
        let at_the_start = config.current();
        let stores = {
            let given = std::env::var("STATE_DIRECTORY").ok();
            let default = || stores::state_dir(&self.name, given.as_deref());
            let state_dir = self.state_dir.clone().unwrap_or_else(default);
            Arc::new(Stores::open(&at_the_start, &self.name, &state_dir))
        };
        let parts = Arc::new(Parts {
            replica: format!("{}.{}", host_name(), std::process::id()),
            name: self.name,
            version: self.version,
            started_at: Timestamp::now(),
            registry: Registry::new(),
            config,
            health: Health::new(),
            http: HttpMetrics::new(),
            pools: Pools::default(),
            fallbacks: Fallbacks::default(),
            #[cfg(feature = "fallback")]
            made: parking_lot::Mutex::default(),
            stores,
            at_the_start,
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
        #[cfg(feature = "fallback")]
        parts.show_stores(&observer_of_store(Arc::clone(&changed)));
        parts.apply(&parts.config.current());
        parts.take_over_by_hand();
        parts.watch_circuits();
        let heartbeat = runtime.spawn(beat(Arc::clone(&parts))).abort_handle();
        let take: TakeSnapshot = {
            let parts = Arc::clone(&parts);
            Arc::new(move || parts.snapshot())
        };
        let plan = Plan {
            black_box,
            source: LocalSource::new(Arc::clone(&take), parts.registry.clone())
                .with_pools(parts.pools.clone())
                .with_fallbacks(parts.fallbacks.clone()),
            take,
            changed,
            write_failures: Arc::clone(&parts.write_failures),
            poll: {
                let parts = Arc::clone(&parts);
                Box::new(move || {
                    parts.poll_config();
                    parts.tidy();
                })
            },
        };
        let control = ControlThread::start(name, plan).inspect_err(|_| heartbeat.abort())?;
        let running = Arc::new(Running {
            heartbeat,
            stores: Arc::clone(&parts.stores),
            _control: control,
        });
        Ok(Resilience {
            parts,
            _running: running,
        })
    }
}

/// Whether `name` can be part of a file's name and of a label.
fn is_name(name: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(good) && !name.starts_with('.')
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

fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}
