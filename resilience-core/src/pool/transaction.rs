//! Transactions: rolled back unless they are committed.

use std::ops::Deref;

use tokio_postgres::IsolationLevel;

use super::{connection::Connection, error::QueryError};

/// A transaction. It has the methods of its [`Connection`].
///
/// Dropped without [`commit`](Self::commit), it is rolled back before anything
/// else is done on the connection.
#[derive(Debug)]
pub struct Transaction<'a> {
    connection: &'a Connection,
    /// 0: the transaction itself; else the number of the savepoint.
    depth: u32,
    done: bool,
}

/// Says how a transaction is to be.
#[derive(Debug)]
#[must_use = "nothing is begun before `start`"]
pub struct TransactionBuilder<'a> {
    connection: &'a Connection,
    isolation: Option<IsolationLevel>,
    read_only: Option<bool>,
    deferrable: Option<bool>,
}

impl<'a> TransactionBuilder<'a> {
    // A mutable one, so that there is one transaction at a time.
    pub(super) const fn new(connection: &'a mut Connection) -> Self {
        Self {
            connection,
            isolation: None,
            read_only: None,
            deferrable: None,
        }
    }

    /// Its isolation level; the server's default if this is not called.
    pub const fn isolation_level(mut self, level: IsolationLevel) -> Self {
        self.isolation = Some(level);
        self
    }

    /// Whether it only reads.
    pub const fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = Some(read_only);
        self
    }

    /// Whether it may wait for a snapshot that needs no retry.
    pub const fn deferrable(mut self, deferrable: bool) -> Self {
        self.deferrable = Some(deferrable);
        self
    }

    /// Begins it.
    ///
    /// # Errors
    ///
    /// [`QueryError`].
    pub async fn start(self) -> Result<Transaction<'a>, QueryError> {
        let modes = [
            self.isolation.map(|level| match level {
                IsolationLevel::ReadUncommitted => "ISOLATION LEVEL READ UNCOMMITTED",
                IsolationLevel::ReadCommitted => "ISOLATION LEVEL READ COMMITTED",
                IsolationLevel::RepeatableRead => "ISOLATION LEVEL REPEATABLE READ",
                _ => "ISOLATION LEVEL SERIALIZABLE",
            }),
            self.read_only
                .map(|only| if only { "READ ONLY" } else { "READ WRITE" }),
            self.deferrable
                .map(|may| if may { "DEFERRABLE" } else { "NOT DEFERRABLE" }),
        ];
        let modes: Vec<&str> = modes.into_iter().flatten().collect();
        let script = format!("BEGIN {}", modes.join(", "));
        Transaction::begin(self.connection, script.trim(), 0).await
    }
}

impl<'a> Transaction<'a> {
    async fn begin(
        connection: &'a Connection,
        script: &str,
        depth: u32,
    ) -> Result<Self, QueryError> {
        // Before the answer: one that is given up may have begun all the same.
        let mut transaction = Self {
            connection,
            depth,
            done: false,
        };
        match connection.run_own(script).await {
            Ok(()) => Ok(transaction),
            Err(error) => {
                // Refused by the server, so there is nothing to undo.
                transaction.done = error.as_db_error().is_some();
                Err(error)
            }
        }
    }

    /// Makes what was done in it last.
    ///
    /// # Errors
    ///
    /// [`QueryError`]. Where the connection was lost, or the answer did not come in
    /// time, it may have been committed.
    pub async fn commit(self) -> Result<(), QueryError> {
        self.finish("COMMIT", "RELEASE SAVEPOINT").await
    }

    /// Undoes what was done in it, and waits until that is so.
    ///
    /// # Errors
    ///
    /// [`QueryError`].
    pub async fn rollback(self) -> Result<(), QueryError> {
        self.finish("ROLLBACK", "ROLLBACK TO SAVEPOINT").await
    }

    /// A transaction within this one: a savepoint.
    ///
    /// # Errors
    ///
    /// [`QueryError`].
    pub async fn transaction(&mut self) -> Result<Transaction<'_>, QueryError> {
        let depth = self.depth + 1;
        let script = format!("SAVEPOINT sp_{depth}");
        Transaction::begin(self.connection, &script, depth).await
    }

    async fn finish(mut self, whole: &str, savepoint: &str) -> Result<(), QueryError> {
        let script = match self.depth {
            0 => whole.to_owned(),
            depth => format!("{savepoint} sp_{depth}"),
        };
        let finished = self.connection.run_own(&script).await;
        // What the server refused is undone when this is dropped.
        self.done = finished.is_ok();
        finished
    }
}

impl Deref for Transaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.connection.session().desk.undo_later(self.depth);
        }
    }
}
