//! A change as an operator asks for it, and what became of it.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Unavailable;
use crate::snapshot::{OverrideKind, State, WindowSnapshot};

/// What an operator can do to a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Close it, with an empty window.
    Reset,
    /// Refuse every call.
    ForceOpen,
    /// Let every call through and count nothing.
    Disable,
    /// Let every call through and count.
    MetricsOnly,
    /// Remove the override.
    Enable,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Reset,
        Self::ForceOpen,
        Self::Disable,
        Self::MetricsOnly,
        Self::Enable,
    ];

    /// The word used in JSON, labels and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::ForceOpen => "force_open",
            Self::Disable => "disable",
            Self::MetricsOnly => "metrics_only",
            Self::Enable => "enable",
        }
    }

    /// The last segment of its path, `POST /admin/circuit-breaker/{svc}/…`.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::ForceOpen => "force-open",
            Self::MetricsOnly => "metrics-only",
            Self::Reset | Self::Disable | Self::Enable => self.as_str(),
        }
    }

    /// The override that it sets, if it sets one.
    #[must_use]
    pub const fn sets(self) -> Option<OverrideKind> {
        match self {
            Self::ForceOpen => Some(OverrideKind::ForcedOpen),
            Self::Disable => Some(OverrideKind::Disabled),
            Self::MetricsOnly => Some(OverrideKind::MetricsOnly),
            Self::Reset | Self::Enable => None,
        }
    }
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A change as asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeRequest {
    /// What to do.
    pub action: Action,
    /// How long an override lasts; `None`: until somebody removes it. Nothing
    /// to the other actions.
    pub lasts: Option<Duration>,
    /// Why; goes to the flight recorder and the audit log.
    pub reason: Option<String>,
    /// Only if the breaker is still in this generation.
    pub if_generation: Option<u32>,
    /// Who asks. Set by whoever authenticated them (header `X-Admin-Actor`
    /// on the socket), never taken from the body.
    pub actor: Option<String>,
    /// The `Idempotency-Key` header: the same key gets the same receipt.
    pub idempotency_key: Option<String>,
    /// The `?dry_run` query: say what would happen, change nothing.
    pub dry_run: bool,
}

impl ChangeRequest {
    /// Asks for it without conditions, in nobody's name; an override lasts until
    /// somebody removes it.
    #[must_use]
    pub const fn new(action: Action) -> Self {
        Self {
            action,
            lasts: None,
            reason: None,
            if_generation: None,
            actor: None,
            idempotency_key: None,
            dry_run: false,
        }
    }

    /// Whether both ask for the same thing, for the same time; who asks, why
    /// and on what condition is another matter.
    #[must_use]
    pub fn is_same_change(&self, other: &Self) -> bool {
        (self.action, self.lasts) == (other.action, other.lasts)
    }
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeOutcome {
    /// It was made.
    Applied,
    /// It would be made; nothing was changed.
    DryRun,
    /// The service has not taken it yet; it is asked again until it does.
    Pending,
    /// It was made, and the circuit left CLOSED again while being watched.
    Reopened,
}

/// What one replica answered to a change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// The breaker's name.
    pub service: String,
    /// The replica.
    pub replica: String,
    /// What was asked for.
    pub action: Action,
    /// State before.
    pub before: State,
    /// State after, as far as known.
    pub after: State,
    /// What became of it.
    pub outcome: ChangeOutcome,
    /// The generation now in force.
    pub generation: u32,
    /// When the override that was set ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// What the discarded window held.
    pub discarded: WindowSnapshot,
    /// One sentence for a person: `the service has not taken it: hung for 41 s`.
    pub detail: String,
}

/// Why a change was not made.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
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
    /// The service has not taken another change of this breaker yet, and two
    /// that wait would be made in an order that nobody chose.
    #[error("another change of the breaker is pending: {0}")]
    Pending(Action),
    /// The idempotency key belongs to another change.
    #[error("the Idempotency-Key was used for another change of the breaker: {0}")]
    KeyUsed(Action),
    /// The service cannot be asked.
    #[error(transparent)]
    Unavailable(Unavailable),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_labels_say_the_same_word() {
        for action in Action::ALL {
            assert_eq!(serde_json::json!(action), action.as_str());
        }
    }
}
