//! What is put through the programs: pools, behind one trait.

mod bb8;
mod deadpool;
mod ours;
mod sqlx;

use std::{error::Error, time::Duration};

pub(crate) use self::{bb8::Bb8, deadpool::Deadpool, ours::Ours, sqlx::Sqlx};

/// How a pool is to be set up. What a peer has no setting for it goes without:
/// that is part of what is compared.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) url: String,
    /// Connections at most.
    pub(crate) size: u32,
    /// How long a caller waits for a connection.
    pub(crate) patience: Duration,
    /// How long a caller waits for the answer to a statement; `None` is the
    /// pool's own default.
    pub(crate) query_deadline: Option<Duration>,
}

/// A pool. A handle: clones share the connections.
pub(crate) trait Subject: Clone + Send + Sync + 'static {
    type Session: Session;

    /// Its name in the table and in the summary.
    const NAME: &'static str;

    /// # Errors
    ///
    /// What it finds wrong with the plan. It connects later.
    fn build(plan: &Plan) -> Result<Self, Failure>;

    /// A session; back in the pool when dropped.
    ///
    /// # Errors
    ///
    /// The pool's own.
    fn get(&self) -> impl Future<Output = Result<Self::Session, Failure>> + Send;

    /// Sets how many connections there may be.
    ///
    /// # Errors
    ///
    /// [`NotSupported`] where a pool's size is fixed.
    fn resize(&self, size: u32) -> Result<(), NotSupported> {
        let _ = size;
        Err(NotSupported)
    }
}

/// A connection that belongs to the caller until it is dropped.
pub(crate) trait Session: Send + 'static {
    /// Runs statements and waits until they are done.
    ///
    /// # Errors
    ///
    /// The database's, or that of the connection.
    fn run(&mut self, sql: &str) -> impl Future<Output = Result<(), Failure>> + Send;

    /// The one text that a query answers.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    fn ask(&mut self, sql: &str) -> impl Future<Output = Result<String, Failure>> + Send;
}

/// What stood in the way, with its causes, as one line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Failure(String);

impl Failure {
    pub(crate) fn new(error: &(dyn Error + 'static)) -> Self {
        let mut line = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            line += &format!(": {error}");
            cause = error.source();
        }
        Self(line)
    }
}

/// The pool has no such thing.
#[derive(Debug)]
pub(crate) struct NotSupported;
