//! The database's own statistics over a connection of the pool.

use std::{future::Future, panic::Location, time::Duration};

use super::{
    Connection, Pool, PoolError,
    diagnosis::{
        ActiveStatement, BlockedLock, Connections, Diagnosis, DiagnosisError, IdleBackend, Limit,
        Listing, MissingIndexes, SlowStatements, SuspectedLeak, TableSize, Terminate, Terminated,
    },
};

impl Pool {
    /// Takes a connection to ask the database about itself.
    ///
    /// For a service that looks at itself. To find out why a pool is exhausted, ask
    /// over a connection that is not the pool's, as the sidecar does
    /// (`GET /admin/db/…`): this one waits in the queue like any other caller.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get).
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(pool: resilience_core::pool::Pool) -> Result<(), Box<dyn std::error::Error>> {
    /// for running in pool.diagnosis().await?.activity().await?.rows {
    ///     println!("{}: {:?}", running.pid, running.statement);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn diagnosis(&self) -> impl Future<Output = Result<PoolDiagnosis, PoolError>> + Send + '_ {
        let connection = self.get_at(Location::caller());
        async move {
            Ok(PoolDiagnosis {
                connection: connection.await?,
                limit: Limit::default(),
            })
        }
    }
}

/// A [`Diagnosis`] that holds a connection of a [`Pool`]; back in it when dropped, or
/// closed, if it was lost or a question had no answer in time.
///
/// Each question is that of [`Diagnosis`] with the same name and has its errors.
#[derive(Debug)]
pub struct PoolDiagnosis {
    connection: Connection,
    limit: Limit,
}

impl PoolDiagnosis {
    /// The same with another bound on the rows of an answer.
    #[must_use]
    pub fn limit(self, limit: Limit) -> Self {
        Self { limit, ..self }
    }

    fn questions(&self) -> Diagnosis<'_> {
        Diagnosis::new(self.connection.raw()).limit(self.limit)
    }

    /// Nobody may have a connection next on which an answer is still to come.
    fn asked<T>(&self, answer: Result<T, DiagnosisError>) -> Result<T, DiagnosisError> {
        if answer.as_ref().is_err_and(DiagnosisError::lost_connection) {
            self.connection.session().desk.break_off();
        }
        answer
    }

    /// The statements that run now.
    ///
    /// # Errors
    ///
    /// [`DiagnosisError`], as for every question here.
    pub async fn activity(&self) -> Result<Listing<ActiveStatement>, DiagnosisError> {
        self.asked(self.questions().activity().await)
    }

    /// The statements that take longest.
    ///
    /// # Errors
    ///
    /// [`DiagnosisError`].
    pub async fn slow_statements(&self) -> Result<SlowStatements, DiagnosisError> {
        self.asked(self.questions().slow_statements().await)
    }

    /// The largest tables.
    ///
    /// # Errors
    ///
    /// [`DiagnosisError`].
    pub async fn table_sizes(&self) -> Result<Listing<TableSize>, DiagnosisError> {
        self.asked(self.questions().table_sizes().await)
    }

    /// Where an index may be missing.
    ///
    /// # Errors
    ///
    /// [`DiagnosisError`].
    pub async fn missing_indexes(&self) -> Result<MissingIndexes, DiagnosisError> {
        self.asked(self.questions().missing_indexes().await)
    }

    /// How many connections there are, by what they do.
    ///
    /// # Errors
    ///
    /// [`DiagnosisError`].
    pub async fn connections(&self) -> Result<Connections, DiagnosisError> {
        self.asked(self.questions().connections().await)
    }

    /// The connections that look as if nobody would give them back.
    ///
    /// # Errors
    ///
    /// [`DiagnosisError`].
    pub async fn leaks(&self) -> Result<Listing<SuspectedLeak>, DiagnosisError> {
        self.asked(self.questions().leaks().await)
    }

    /// The connections that have been idle for longer than this.
    ///
    /// # Errors
    ///
    /// [`DiagnosisError`].
    pub async fn idle(
        &self,
        longer_than: Duration,
    ) -> Result<Listing<IdleBackend>, DiagnosisError> {
        self.asked(self.questions().idle(longer_than).await)
    }

    /// Who waits for a lock, and for whom.
    ///
    /// # Errors
    ///
    /// [`DiagnosisError`].
    pub async fn locks(&self) -> Result<Listing<BlockedLock>, DiagnosisError> {
        self.asked(self.questions().locks().await)
    }

    /// Ends backends, never its own. Others of this pool may be among them.
    ///
    /// # Errors
    ///
    /// [`DiagnosisError`]. Some may have been ended.
    pub async fn terminate(
        &self,
        whom: Terminate,
        dry_run: bool,
    ) -> Result<Terminated, DiagnosisError> {
        self.asked(self.questions().terminate(whom, dry_run).await)
    }
}
