//! A change as an operator asks for it, and what became of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Unavailable;
use crate::snapshot::OverrideKind;

/// What a change is made to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A circuit breaker.
    Breaker,
    /// A connection pool.
    Pool,
    /// The fallback of a service.
    Fallback,
}

impl Subject {
    /// Its name in a sentence.
    #[must_use]
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Breaker => "circuit breaker",
            Self::Pool => "pool",
            Self::Fallback => "fallback",
        }
    }

    /// Where they are listed; a name and an action follow it.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Breaker => "/admin/circuit-breaker",
            Self::Pool => "/admin/pools",
            Self::Fallback => "/admin/fallback",
        }
    }
}

/// What an operator can do.
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
    /// Give a pool other limits.
    Resize,
    /// Replace every connection of a pool, none before it is returned.
    Recycle,
    /// Let a fallback answer in place of the upstream: `/enable`. Another word than
    /// [`Enable`](Self::Enable), which removes an override: this sets one, if the
    /// configuration says otherwise.
    SwitchOn,
    /// Let every failure through to the caller: `/disable`.
    SwitchOff,
    /// Forget every answer of a fallback.
    Purge,
}

impl Action {
    /// All that can be done to a breaker.
    pub const OF_BREAKERS: [Self; 5] = [
        Self::Reset,
        Self::ForceOpen,
        Self::Disable,
        Self::MetricsOnly,
        Self::Enable,
    ];

    /// All that can be done to a pool.
    pub const OF_POOLS: [Self; 2] = [Self::Resize, Self::Recycle];

    /// All that can be done to a fallback.
    pub const OF_FALLBACKS: [Self; 3] = [Self::SwitchOn, Self::SwitchOff, Self::Purge];

    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        let others = Self::OF_POOLS.into_iter().chain(Self::OF_FALLBACKS);
        Self::OF_BREAKERS.into_iter().chain(others)
    }

    /// What it is done to.
    #[must_use]
    pub const fn subject(self) -> Subject {
        match self {
            Self::Reset | Self::ForceOpen | Self::Disable | Self::MetricsOnly | Self::Enable => {
                Subject::Breaker
            }
            Self::Resize | Self::Recycle => Subject::Pool,
            Self::SwitchOn | Self::SwitchOff | Self::Purge => Subject::Fallback,
        }
    }

    /// The word used in JSON, labels and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::ForceOpen => "force_open",
            Self::Disable => "disable",
            Self::MetricsOnly => "metrics_only",
            Self::Enable => "enable",
            Self::Resize => "resize",
            Self::Recycle => "recycle",
            Self::SwitchOn => "switch_on",
            Self::SwitchOff => "switch_off",
            Self::Purge => "purge",
        }
    }

    /// The last segment of its path, such as `POST /admin/circuit-breaker/{svc}/…`.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::ForceOpen => "force-open",
            Self::MetricsOnly => "metrics-only",
            Self::SwitchOn => "enable",
            Self::SwitchOff => "disable",
            Self::Reset
            | Self::Disable
            | Self::Enable
            | Self::Resize
            | Self::Recycle
            | Self::Purge => self.as_str(),
        }
    }

    /// The override that it sets, if it sets one.
    #[must_use]
    pub const fn sets(self) -> Option<OverrideKind> {
        match self {
            Self::ForceOpen => Some(OverrideKind::ForcedOpen),
            Self::Disable => Some(OverrideKind::Disabled),
            Self::MetricsOnly => Some(OverrideKind::MetricsOnly),
            Self::Reset
            | Self::Enable
            | Self::Resize
            | Self::Recycle
            | Self::SwitchOn
            | Self::SwitchOff
            | Self::Purge => None,
        }
    }
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The limits that a pool is to have; what is not given stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NewLimits {
    /// Connections that are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool_size: Option<u32>,
    /// Connections beyond these in a rush.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_overflow: Option<u32>,
}

/// A change as asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeRequest {
    /// What to do.
    pub action: Action,
    /// How long an override lasts; `None`: until somebody removes it. Nothing
    /// to the other actions.
    pub lasts: Option<Duration>,
    /// The limits that a resized pool is to have. Nothing to the other actions.
    pub limits: NewLimits,
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
            limits: NewLimits {
                pool_size: None,
                max_overflow: None,
            },
            reason: None,
            if_generation: None,
            actor: None,
            idempotency_key: None,
            dry_run: false,
        }
    }

    /// Whether both ask for the same thing, for the same time, with the same
    /// limits; who asks, why and on what condition is another matter.
    #[must_use]
    pub fn is_same_change(&self, other: &Self) -> bool {
        let asked = |request: &Self| (request.action, request.lasts, request.limits);
        asked(self) == asked(other)
    }
}

/// Why a change was not made.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// There is nothing of that name.
    #[error("there is no {} `{name}`", .subject.noun())]
    Unknown {
        /// Of what.
        subject: Subject,
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
    /// The service has not taken another change of the same thing yet, and two
    /// that wait would be made in an order that nobody chose.
    #[error("another change of the {noun} is pending: {0}", noun = .0.subject().noun())]
    Pending(Action),
    /// The idempotency key belongs to another change.
    #[error("the Idempotency-Key was used for another change of the {noun}: {0}", noun = .0.subject().noun())]
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
        for action in Action::all() {
            assert_eq!(serde_json::json!(action), action.as_str());
        }
    }

    #[test]
    fn no_two_actions_have_one_path() {
        let path = |action: &Action| (action.subject().path(), action.path());
        let paths: std::collections::HashSet<_> = Action::all().map(|one| path(&one)).collect();
        assert_eq!(paths.len(), Action::all().count());
    }
}
