//! One picture of a service at one instant: what metrics, the admin API and the
//! black box are all rendered from.
//!
//! Only plain data lives here. Reading the cells is the business of their
//! owners ([`Registry::snapshot`](crate::Registry), the pool, the HTTP
//! metrics); rendering is the business of [`metrics`](crate::metrics) and
//! the control routes. That is why a snapshot read from the black box of a
//! dead process can be shown exactly like one taken a microsecond ago.

mod breaker;
mod cache;
mod config;
mod fallback;
mod health;
mod http;
mod keyed;
mod pool;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use breaker::{
    BreakerEvent, BreakerSettings, BreakerSnapshot, CallTotals, Cause, ClassCount, OverrideKind,
    OverrideSnapshot, State, TransitionCount, WindowSnapshot,
};
pub use cache::CacheSnapshot;
pub use config::{ConfigSnapshot, Setting};
pub use fallback::{
    AgeHistogram, FallbackResponses, FallbackSnapshot, StoreErrorSnapshot, StoreSnapshot,
    SwitchSnapshot,
};
pub use health::{CheckSnapshot, HealthSnapshot, HealthStatus, Severity};
pub use http::{HttpSeries, HttpSnapshot};
pub use keyed::KeyedSnapshot;
pub use pool::{
    ConnectErrorSnapshot, HolderSnapshot, PoolDurations, PoolSnapshot, PoolTotals, ServerState,
};

/// The layout of [`Snapshot`] as written to the black box. A reader refuses a
/// larger number than its own.
pub const FORMAT: u32 = 2;

/// Everything a service process says about itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// [`FORMAT`] of the writer.
    pub format: u32,
    /// Name of the service, e.g. `payments-api`.
    pub service: String,
    /// Which replica: the host name, a dot, the process id.
    pub replica: String,
    /// Process id.
    pub pid: u32,
    /// Version of the service that was given to the builder.
    pub version: String,
    /// When the process started.
    pub started_at: Timestamp,
    /// When this picture was taken.
    pub taken_at: Timestamp,
    /// Age of the last beat of the service's own runtime, in milliseconds; it
    /// beats ten times a second, so a large age means a blocked runtime.
    /// `None` before the first beat.
    pub heartbeat_age_ms: Option<u64>,
    /// All circuit breakers, by name.
    pub breakers: Vec<BreakerSnapshot>,
    /// All families of keyed breakers, by name.
    #[serde(default)]
    pub keyed: Vec<KeyedSnapshot>,
    /// All connection pools, by name.
    pub pools: Vec<PoolSnapshot>,
    /// All fallbacks, by name.
    #[serde(default)]
    pub fallbacks: Vec<FallbackSnapshot>,
    /// The stores that fallbacks use beyond this process.
    #[serde(default)]
    pub stores: Vec<StoreSnapshot>,
    /// The health checks' last results.
    pub health: HealthSnapshot,
    /// The configuration in force.
    pub config: ConfigSnapshot,
    /// Finished HTTP requests by method, route and status.
    pub http: HttpSnapshot,
    /// How it goes with the black box itself.
    #[serde(default)]
    pub black_box: BlackBoxSnapshot,
}

impl Snapshot {
    /// The breaker of that name, also one of a family that is not closed.
    #[must_use]
    pub fn breaker(&self, name: &str) -> Option<&BreakerSnapshot> {
        self.all_breakers().find(|breaker| breaker.name == name)
    }

    /// The connection pool of that name.
    #[must_use]
    pub fn pool(&self, name: &str) -> Option<&PoolSnapshot> {
        self.pools.iter().find(|pool| pool.name == name)
    }

    /// The fallback of that name.
    #[must_use]
    pub fn fallback(&self, name: &str) -> Option<&FallbackSnapshot> {
        self.fallbacks.iter().find(|fallback| fallback.name == name)
    }

    /// The store that a fallback uses beyond memory, if it uses one.
    #[must_use]
    pub fn store_of(&self, fallback: &FallbackSnapshot) -> Option<&StoreSnapshot> {
        self.stores
            .iter()
            .find(|store| store.kind == fallback.store)
    }

    /// The breakers, and those of the families that are not closed.
    pub fn all_breakers(&self) -> impl Iterator<Item = &BreakerSnapshot> {
        let keyed = self.keyed.iter().flat_map(|family| &family.not_closed);
        self.breakers.iter().chain(keyed)
    }

    /// A service of which nothing is known but its name.
    #[must_use]
    pub fn of_nothing(service: &str) -> Self {
        let now = Timestamp::now();
        Self {
            format: FORMAT,
            service: service.to_owned(),
            replica: String::new(),
            pid: std::process::id(),
            version: "0".to_owned(),
            started_at: now,
            taken_at: now,
            heartbeat_age_ms: None,
            breakers: Vec::new(),
            keyed: Vec::new(),
            pools: Vec::new(),
            fallbacks: Vec::new(),
            stores: Vec::new(),
            health: HealthSnapshot::default(),
            config: ConfigSnapshot::default(),
            http: HttpSnapshot::default(),
            black_box: BlackBoxSnapshot::default(),
        }
    }
}

/// A histogram of seconds with the bounds of [`DurationHistogram::BOUNDS`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DurationHistogram {
    /// Calls per bucket (not cumulative), one more than there are bounds: the
    /// last is above every bound.
    pub counts: Vec<u64>,
    /// Sum of all durations in seconds.
    pub sum_seconds: f64,
}

impl DurationHistogram {
    /// Upper bounds in seconds, inclusive.
    pub const BOUNDS: [f64; 11] = [
        0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    ];
}

/// How it goes with the black box file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlackBoxSnapshot {
    /// Files found at the start that could not be believed and were set aside.
    pub refused: u64,
    /// Writes that failed.
    pub write_failures: u64,
}
