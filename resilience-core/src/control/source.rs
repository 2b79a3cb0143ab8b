//! Where the admin API gets its answers: in the service itself, or, in the
//! sidecar, over the socket with the black box behind it.

use std::{future::Future, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{ChangeError, ChangeRequest, Receipt};
use crate::snapshot::Snapshot;

/// Answers the admin API.
pub trait AdminSource: Clone + Send + Sync + 'static {
    /// The newest picture of the service that can be had in time.
    fn observe(&self) -> impl Future<Output = Result<Observed, Unavailable>> + Send;

    /// Makes a change to the breaker, the pool or the fallback of that name, or says
    /// why it did not.
    fn change(
        &self,
        name: &str,
        request: ChangeRequest,
    ) -> impl Future<Output = Result<Receipt, ChangeError>> + Send;
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
