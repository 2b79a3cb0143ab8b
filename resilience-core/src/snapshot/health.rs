//! The health checks in a [`Snapshot`](super::Snapshot).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

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
