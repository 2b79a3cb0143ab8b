//! One picture of a service at one instant: what metrics, the admin API and the
//! black box are all rendered from.
//!
//! Only plain data lives here. Reading the cells is the business of their
//! owners ([`Registry::snapshot`](crate::Registry), the pool, the HTTP
//! metrics); rendering is the business of [`metrics`](crate::metrics) and
//! the control routes. That is why a snapshot read from the black box of a
//! dead process can be shown exactly like one taken a microsecond ago.

mod cache;
mod fallback;
mod keyed;
mod pool;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use cache::CacheSnapshot;
pub use fallback::{
    AgeHistogram, FallbackResponses, FallbackSnapshot, StoreErrorSnapshot, StoreSnapshot,
    SwitchSnapshot,
};
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

/// State of a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    /// Calls flow.
    Closed,
    /// A few probes are let through.
    HalfOpen,
    /// Calls are refused.
    Open,
}

impl State {
    /// The value of `circuit_breaker_state`: 0 closed, 1 half-open, 2 open.
    #[must_use]
    pub const fn gauge(self) -> u8 {
        match self {
            Self::Closed => 0,
            Self::HalfOpen => 1,
            Self::Open => 2,
        }
    }

    /// The word used in JSON, labels and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "CLOSED",
            Self::HalfOpen => "HALF_OPEN",
            Self::Open => "OPEN",
        }
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an operator can set in place of the state machine's own judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverrideKind {
    /// Every call is refused.
    ForcedOpen,
    /// Every call is let through and nothing is counted.
    Disabled,
    /// Every call is let through and counted; the state machine goes on and
    /// shows what it would have done.
    MetricsOnly,
}

impl OverrideKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::ForcedOpen, Self::Disabled, Self::MetricsOnly];

    /// The word used in JSON, labels and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ForcedOpen => "forced_open",
            Self::Disabled => "disabled",
            Self::MetricsOnly => "metrics_only",
        }
    }

    /// The same for a sentence: `forced open`.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::ForcedOpen => "forced open",
            Self::Disabled => "disabled",
            Self::MetricsOnly => "metrics only",
        }
    }
}

impl std::fmt::Display for OverrideKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An override in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverrideSnapshot {
    /// What is set.
    pub kind: OverrideKind,
    /// Who set it.
    pub actor: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// When.
    pub since: Timestamp,
    /// When it ends by itself; `None`: when somebody removes it.
    pub expires_at: Option<Timestamp>,
}

/// One breaker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BreakerSnapshot {
    /// Its name, the `service` label.
    pub name: String,
    /// The state callers meet: an open circuit whose wait is over is still
    /// `OPEN` until it moves on, with `retry_after_ms` 0.
    pub state: State,
    /// What the state machine says; the same as `state` unless it is overridden
    /// or switched off.
    #[serde(default = "closed")]
    pub computed_state: State,
    /// What an operator has set.
    #[serde(default, rename = "override")]
    pub overridden: Option<OverrideSnapshot>,
    /// `false`: configured off; every call flows and nothing is counted.
    pub enabled: bool,
    /// Grows with each transition.
    pub generation: u32,
    /// When it entered this state.
    pub since: Timestamp,
    /// While the state machine says open: milliseconds until it lets a probe
    /// through.
    pub retry_after_ms: Option<u64>,
    /// While closing: the share of the calls that is let through, in percent.
    #[serde(default)]
    pub ramp_percent: Option<u8>,
    /// How often it has opened since it was last closed.
    #[serde(default)]
    pub openings: u32,
    /// Calls in the current window (in half-open: the probes).
    pub window: WindowSnapshot,
    /// Calls that still run and are slow already; not in the window yet.
    #[serde(default)]
    pub slow_running: u32,
    /// While half-open: probes in flight.
    pub probes_in_flight: u32,
    /// Since the process started; these never go back.
    pub totals: CallTotals,
    /// How long finished calls took; empty when slow calls are not timed.
    pub durations: DurationHistogram,
    /// Transitions by edge and cause since the process started.
    pub transitions: Vec<TransitionCount>,
    /// Time spent open since the process started, in milliseconds, the
    /// present opening included.
    pub open_ms_total: u64,
    /// The flight recorder, newest first.
    pub events: Vec<BreakerEvent>,
    /// What is in force.
    pub config: BreakerSettings,
}

const fn closed() -> State {
    State::Closed
}

impl BreakerSnapshot {
    /// Value of `circuit_breaker_state`: forced open is 2, disabled 0.
    #[must_use]
    pub const fn gauge(&self) -> u8 {
        self.state.gauge()
    }

    /// The event that led to the present state.
    #[must_use]
    pub fn cause(&self) -> Option<&BreakerEvent> {
        self.events.iter().find(|event| event.changed_the_state())
    }
}

/// Calls in a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WindowSnapshot {
    /// Finished calls in it.
    pub calls: u32,
    /// Of these, failed.
    pub failures: u32,
    /// Of these, slow.
    pub slow: u32,
}

impl WindowSnapshot {
    /// Failed share of the calls, 0 to 1; 0 for an empty window.
    #[must_use]
    pub fn failure_ratio(&self) -> f64 {
        ratio(self.failures, self.calls)
    }

    /// Slow share of the calls, 0 to 1; 0 for an empty window.
    #[must_use]
    pub fn slow_ratio(&self) -> f64 {
        ratio(self.slow, self.calls)
    }
}

fn ratio(part: u32, whole: u32) -> f64 {
    if whole == 0 {
        0.0
    } else {
        f64::from(part) / f64::from(whole)
    }
}

/// Calls since the process started, by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallTotals {
    /// Answered as they should be.
    pub success: u64,
    /// Failed.
    pub failure: u64,
    /// Finished with an outcome that says nothing about the upstream.
    pub ignored: u64,
    /// Refused by the breaker.
    pub rejected: u64,
    /// Given up by the caller: the permit was dropped.
    pub cancelled: u64,
    /// Slower than the threshold; also counted as success or failure.
    pub slow: u64,
    /// Finished in a later generation than they were admitted in; also counted
    /// as success or failure, and ignored by the state machine.
    pub stale: u64,
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

/// How often a breaker went from one state to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransitionCount {
    /// Left.
    pub from: State,
    /// Entered.
    pub to: State,
    /// Why.
    pub cause: Cause,
    /// How often.
    pub count: u64,
}

/// Why a breaker changed its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The failure rate reached its threshold.
    FailureRate,
    /// The slow call rate reached its threshold.
    SlowCallRate,
    /// The wait in open was over.
    WaitElapsed,
    /// The probes succeeded.
    ProbesSucceeded,
    /// The probes failed.
    ProbesFailed,
    /// Somebody reset it.
    Reset,
    /// The state of the process before the restart was taken over.
    Restored,
    /// The configuration was changed; it may have switched the breaker on or off.
    Config,
    /// Half-open took longer than `half_open_max_wait`.
    HalfOpenTimeout,
    /// The growing share of calls has reached all of them.
    RampFinished,
    /// Somebody forced it open.
    ForcedOpen,
    /// Somebody disabled it.
    Disabled,
    /// Somebody wanted metrics only.
    MetricsOnly,
    /// Somebody removed an override.
    OverrideRemoved,
    /// An override ended by itself.
    OverrideExpired,
}

impl Cause {
    /// The word used in JSON, labels and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FailureRate => "failure_rate",
            Self::SlowCallRate => "slow_call_rate",
            Self::WaitElapsed => "wait_elapsed",
            Self::ProbesSucceeded => "probes_succeeded",
            Self::ProbesFailed => "probes_failed",
            Self::Reset => "reset",
            Self::Restored => "restored",
            Self::Config => "config",
            Self::HalfOpenTimeout => "half_open_timeout",
            Self::RampFinished => "ramp_finished",
            Self::ForcedOpen => "forced_open",
            Self::Disabled => "disabled",
            Self::MetricsOnly => "metrics_only",
            Self::OverrideRemoved => "override_removed",
            Self::OverrideExpired => "override_expired",
        }
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One entry of the flight recorder: a transition, an override, or a change of
/// the configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BreakerEvent {
    /// When.
    pub at: Timestamp,
    /// State left: the state machine's, or, where an override was set or
    /// ended, the one that callers met.
    pub from: State,
    /// State entered, likewise.
    pub to: State,
    /// Why.
    pub cause: Cause,
    /// Generation entered.
    pub generation: u32,
    /// The window at that moment, before it was emptied.
    pub window: WindowSnapshot,
    /// The threshold that was reached, in percent, where there is one.
    pub threshold_percent: Option<f64>,
    /// The first error classes of that window with their counts.
    pub classes: Vec<ClassCount>,
    /// Calls that were still running and slow already.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub slow_running: u32,
    /// Milliseconds it will stay open, for a transition to open.
    pub wait_ms: Option<u64>,
    /// The override in force afterwards (`disabled` also if the configuration
    /// says so).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<OverrideKind>,
    /// When an override that was set ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// What changed in the configuration: `wait_in_open: 60s -> 30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Who asked, for a change by hand.
    pub actor: Option<String>,
    /// Why they asked.
    pub reason: Option<String>,
}

impl BreakerEvent {
    /// Whether it is more than a change of settings.
    #[must_use]
    pub fn changed_the_state(&self) -> bool {
        self.cause != Cause::Config || self.from != self.to
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
const fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// An error class and how often it was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassCount {
    /// Such as `timeout`, `connect` or `http_503`.
    pub class: String,
    /// How often.
    pub count: u32,
}

/// A breaker's settings, and where each came from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BreakerSettings {
    /// Key (as in the YAML) and value (as one would write it), in file order.
    pub values: Vec<Setting>,
}

/// One effective setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Full key, dots between its parts.
    pub key: String,
    /// Value as it would be written in the file.
    pub value: String,
    /// `default`, `config.yaml:12`, or `APP__DATABASE__POOL_SIZE`.
    pub origin: String,
}

/// What the health checks last said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HealthSnapshot {
    /// The service has called `Health::started`.
    pub started: bool,
    /// The service has called `Health::draining`.
    pub draining: bool,
    /// All checks, by name.
    pub checks: Vec<CheckSnapshot>,
}

/// Verdict of a health check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// All is well.
    Pass,
    /// Something wants attention; the replica still serves.
    Warn,
    /// It does not work.
    Fail,
}

/// How much a check weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A failure makes the replica not ready.
    Critical,
    /// A failure is shown as a warning.
    Warn,
    /// Not asked at all.
    Off,
}

/// One health check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckSnapshot {
    /// Name, such as `database`.
    pub name: String,
    /// How much it weighs.
    pub severity: Severity,
    /// Last verdict; a check that has not finished yet is `Fail`.
    pub status: HealthStatus,
    /// When that verdict was reached; `None` before the first.
    pub at: Option<Timestamp>,
    /// What was found, for a person.
    pub output: Option<String>,
}

/// The configuration in force and how the last reload went.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConfigSnapshot {
    /// Path of the file, if there is one.
    pub file: Option<String>,
    /// Reloads that were taken over.
    pub reloads_succeeded: u64,
    /// Reloads that were refused.
    pub reloads_refused: u64,
    /// Whether the last attempt to load it was taken over.
    pub last_reload_successful: bool,
    /// When the configuration in force was loaded.
    pub loaded_at: Option<Timestamp>,
    /// Why the last reload was refused.
    pub last_error: Option<String>,
    /// Every effective value and where it came from.
    pub values: Vec<Setting>,
}

/// HTTP requests of the service's own port.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HttpSnapshot {
    /// Requests that have started and not finished.
    pub in_flight: u64,
    /// Finished requests; bounded, what did not fit is under route `other`.
    pub series: Vec<HttpSeries>,
    /// Requests that were counted under `other` because the table was full.
    pub folded: u64,
}

/// Finished requests of one method, route and status.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HttpSeries {
    /// Method, `other` for one that HTTP does not define.
    pub method: String,
    /// The route's pattern, never the raw path; `unmatched` where none is.
    pub route: String,
    /// Status code.
    pub status: u16,
    /// How many.
    pub count: u64,
    /// How long they took until the response head was ready.
    pub durations: DurationHistogram,
}

/// How it goes with the black box file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlackBoxSnapshot {
    /// Files found at the start that could not be believed and were set aside.
    pub refused: u64,
    /// Writes that failed.
    pub write_failures: u64,
}
