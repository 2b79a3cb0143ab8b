//! A circuit breaker in a [`Snapshot`](super::Snapshot).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{DurationHistogram, Setting};

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
