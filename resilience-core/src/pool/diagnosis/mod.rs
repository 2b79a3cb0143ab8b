//! What the database says of itself: the runbook's statistics as typed answers.
//!
//! Each answer is a file here: its structs, its SQL, and how a row is judged.
//! `ask.rs` is how all of them are asked. They read what PostgreSQL 13 and later
//! keep in memory or in the catalogue, and never a row of a table.

mod activity;
mod ask;
mod columns;
mod connections;
mod error;
mod idle;
mod leaks;
mod listing;
mod locks;
mod missing_indexes;
mod statements;
mod table_sizes;
mod terminate;
mod words;

use tokio_postgres::Client;

pub use activity::ActiveStatement;
pub use ask::{ANSWERS_WITHIN, STATEMENT_TIMEOUT};
pub use columns::UnindexedColumn;
pub use connections::{ConnectionGroup, Connections};
pub use error::DiagnosisError;
pub use idle::IdleBackend;
pub use leaks::{SUSPECTED_AFTER, SuspectedLeak};
pub use listing::{Limit, LimitError, Listing};
pub use locks::BlockedLock;
pub use missing_indexes::{MissingIndexes, SuspectedTable};
pub use statements::{SlowStatement, SlowStatements};
pub use table_sizes::TableSize;
pub use terminate::{BackendEnd, EndOutcome, Refusal, Terminate, Terminated};

/// Asks one database about itself, over a connection of its own.
///
/// Every question is a transaction that reads only, with a timeout of
/// [`STATEMENT_TIMEOUT`] at the server and of [`ANSWERS_WITHIN`] here. Answers
/// are about the database that the connection is to, and bounded: a
/// [`Limit`] of rows, 1,000 characters of a statement. Dropping a question
/// leaves the connection usable; the server may go on with it until its timeout.
///
/// A role that is not in `pg_monitor` sees little of other roles' sessions. The
/// answer's `advice` then says so.
///
/// # Example
///
/// ```no_run
/// use resilience_core::pool::diagnosis::Diagnosis;
///
/// # async fn example(client: &tokio_postgres::Client) -> Result<(), Box<dyn std::error::Error>> {
/// for lock in Diagnosis::new(client).locks().await?.rows {
///     eprintln!("{} waits for {}", lock.blocked_pid, lock.blocking_pid);
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Source
///
/// The views: PostgreSQL documentation, *The Cumulative Statistics System*.
#[derive(Clone, Copy)]
pub struct Diagnosis<'a> {
    client: &'a Client,
    limit: Limit,
}

impl<'a> Diagnosis<'a> {
    /// Asks nothing yet. The connection must not be inside a transaction.
    #[must_use]
    pub fn new(client: &'a Client) -> Self {
        Self {
            client,
            limit: Limit::default(),
        }
    }

    /// The same with another bound on the rows of an answer.
    #[must_use]
    pub fn limit(self, limit: Limit) -> Self {
        Self { limit, ..self }
    }
}

impl std::fmt::Debug for Diagnosis<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Diagnosis")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}
