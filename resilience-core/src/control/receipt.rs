//! What became of a change.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Action;
use crate::snapshot::{PoolSnapshot, State, WindowSnapshot};

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
}

impl Receipt {
    /// What became of it.
    #[must_use]
    pub const fn outcome(&self) -> ChangeOutcome {
        match self {
            Self::Breaker(receipt) => receipt.outcome,
            Self::Pool(receipt) => receipt.outcome,
        }
    }

    /// One sentence for a person.
    #[must_use]
    pub fn detail(&self) -> &str {
        match self {
            Self::Breaker(receipt) => &receipt.detail,
            Self::Pool(receipt) => &receipt.detail,
        }
    }

    /// How it was before and how it is after, as JSON has it.
    #[must_use]
    pub fn before_and_after(&self) -> [Value; 2] {
        match self {
            Self::Breaker(receipt) => [json!(receipt.before), json!(receipt.after)],
            Self::Pool(receipt) => [json!(receipt.before), json!(receipt.after)],
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
