//! Where the admin API gets its answers: in the service itself, or, in the
//! sidecar, over the socket with the black box behind it.

use std::{future::Future, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::snapshot::{OverrideKind, Snapshot, State, WindowSnapshot};

/// Answers the admin API.
pub trait AdminSource: Clone + Send + Sync + 'static {
    /// The newest picture of the service that can be had in time.
    fn observe(&self) -> impl Future<Output = Result<Observed, Unavailable>> + Send;

    /// Resets one breaker to closed, or says why it did not.
    fn reset(
        &self,
        breaker: &str,
        request: ResetRequest,
    ) -> impl Future<Output = Result<Receipt, ResetError>> + Send;
}

/// A snapshot and how it was come by.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The picture.
    pub snapshot: Arc<Snapshot>,
    /// How old it is: next to nothing for a live answer.
    pub age: Duration,
    /// What is known of the service.
    pub condition: Condition,
}

/// What is known of the service process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// It answered, and its runtime makes progress.
    Live,
    /// It answered, but its own runtime has not made progress for a while.
    RuntimeBlocked,
    /// Its process exists but does not answer: stopped, or starved.
    Hung,
    /// Its process is gone.
    Dead,
}

impl Condition {
    /// The word used in headers and JSON.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::RuntimeBlocked => "runtime-blocked",
            Self::Hung => "hung",
            Self::Dead => "dead",
        }
    }
}

/// Nothing at all is known of the service.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{what}")]
pub struct Unavailable {
    /// What was looked for and where, such as `no socket and no black box in /run/app`.
    pub what: String,
    /// What the reader can do now.
    pub advice: String,
}

/// A reset as asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResetRequest {
    /// Why; goes to the flight recorder and the audit log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Only if the breaker is still in this generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_generation: Option<u32>,
    /// Who asks. Set by whoever authenticated them (header `X-Admin-Actor`
    /// on the socket), never taken from the body.
    #[serde(skip)]
    pub actor: Option<String>,
    /// The `Idempotency-Key` header: the same key gets the same receipt.
    #[serde(skip)]
    pub idempotency_key: Option<String>,
    /// The `?dry_run` query: say what would happen, change nothing.
    #[serde(skip)]
    pub dry_run: bool,
}

/// What became of a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResetOutcome {
    /// The breaker is closed, its window empty.
    Applied,
    /// It would be applied; nothing was changed.
    DryRun,
    /// The service has not taken it yet; it is asked again until it does.
    Pending,
    /// It was applied, and the circuit left CLOSED again while being watched.
    Reopened,
}

/// What one replica answered to a reset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// The breaker's name.
    pub service: String,
    /// The replica.
    pub replica: String,
    /// State before.
    pub before: State,
    /// State after, as far as known.
    pub after: State,
    /// What became of it.
    pub outcome: ResetOutcome,
    /// The generation now in force.
    pub generation: u32,
    /// What the discarded window held.
    pub discarded: WindowSnapshot,
    /// One sentence for a person: `the service has not taken it: hung for 41 s`.
    pub detail: String,
}

/// Why a breaker was not reset.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResetError {
    /// There is no breaker of that name.
    #[error("there is no circuit breaker `{name}`")]
    Unknown {
        /// What was asked for.
        name: String,
        /// The names most like it, best first.
        nearest: Vec<String>,
    },
    /// `if_generation` no longer holds.
    #[error("the breaker is in generation {actual}, not {expected}")]
    Moved {
        /// What was expected.
        expected: u32,
        /// What it is.
        actual: u32,
    },
    /// The breaker is switched off by configuration; there is nothing to reset.
    #[error("the breaker is disabled by configuration")]
    Disabled,
    /// An override is in force; a reset does not remove it.
    #[error("the breaker is overridden: {0}")]
    Overridden(OverrideKind),
    /// There is no override to remove.
    #[error("no override is in force")]
    NotOverridden,
    /// The service cannot be asked.
    #[error(transparent)]
    Unavailable(Unavailable),
}
