//! What became of a change.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Action;
use crate::snapshot::{FallbackSnapshot, PoolSnapshot, State, WindowSnapshot};

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
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Receipt {
    /// Of a circuit breaker.
    Breaker(BreakerReceipt),
    /// Of a connection pool.
    Pool(PoolReceipt),
    /// Of a fallback.
    Fallback(FallbackReceipt),
}

impl Receipt {
    /// What became of it.
    #[must_use]
    pub const fn outcome(&self) -> ChangeOutcome {
        match self {
            Self::Breaker(receipt) => receipt.outcome,
            Self::Pool(receipt) => receipt.outcome,
            Self::Fallback(receipt) => receipt.outcome,
        }
    }

    /// One sentence for a person.
    #[must_use]
    pub fn detail(&self) -> &str {
        match self {
            Self::Breaker(receipt) => &receipt.detail,
            Self::Pool(receipt) => &receipt.detail,
            Self::Fallback(receipt) => &receipt.detail,
        }
    }

    /// How it was before and how it is after, as JSON has it.
    #[must_use]
    pub fn before_and_after(&self) -> [Value; 2] {
        match self {
            Self::Breaker(receipt) => [json!(receipt.before), json!(receipt.after)],
            Self::Pool(receipt) => [json!(receipt.before), json!(receipt.after)],
            Self::Fallback(receipt) => [json!(receipt.before), json!(receipt.after)],
        }
    }
}

/// What one replica answered to a change of a breaker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BreakerReceipt {
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

/// What one replica answered to a change of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolReceipt {
    /// The pool's name.
    pub pool: String,
    /// The replica.
    pub replica: String,
    /// What was asked for.
    pub action: Action,
    /// Its limits before.
    pub before: PoolLimits,
    /// Its limits after, as far as known.
    pub after: PoolLimits,
    /// What became of it.
    pub outcome: ChangeOutcome,
    /// How many connections a recycling replaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired: Option<u32>,
    /// One sentence for a person.
    pub detail: String,
}

/// How many connections a pool may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolLimits {
    /// Connections that are kept.
    pub pool_size: u32,
    /// Connections beyond these in a rush.
    pub max_overflow: u32,
}

impl PoolLimits {
    /// Those of now.
    #[must_use]
    pub const fn of(pool: &PoolSnapshot) -> Self {
        Self {
            pool_size: pool.pool_size,
            max_overflow: pool.max_overflow,
        }
    }
}

impl std::fmt::Display for PoolLimits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} + {}", self.pool_size, self.max_overflow)
    }
}

/// What one replica answered to a change of a fallback.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FallbackReceipt {
    /// The fallback's name: the service that it stands in for.
    pub service: String,
    /// The replica.
    pub replica: String,
    /// What was asked for.
    pub action: Action,
    /// Its switch before.
    pub before: FallbackSwitch,
    /// Its switch after, as far as known.
    pub after: FallbackSwitch,
    /// What became of it.
    pub outcome: ChangeOutcome,
    /// How many answers in memory a purge forgets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purged: Option<u64>,
    /// One sentence for a person.
    pub detail: String,
}

/// Whether a fallback answers, and whether somebody said so by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FallbackSwitch {
    /// Whether it answers in place of the upstream.
    pub enabled: bool,
    /// `false`: as the configuration says.
    pub by_hand: bool,
}

impl FallbackSwitch {
    /// That of now.
    #[must_use]
    pub const fn of(fallback: &FallbackSnapshot) -> Self {
        Self {
            enabled: fallback.enabled,
            by_hand: fallback.switched.is_some(),
        }
    }
}

/// For after "it is".
impl std::fmt::Display for FallbackSwitch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match (self.enabled, self.by_hand) {
            (true, false) => "on, as the configuration says",
            (false, false) => "off, as the configuration says",
            (true, true) => "switched on by hand",
            (false, true) => "switched off by hand",
        })
    }
}
