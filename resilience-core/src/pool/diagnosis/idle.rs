//! Connections that nobody uses.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_postgres::types::Type;

use super::{Diagnosis, DiagnosisError, Listing};

/// A connection that waits for its next statement, outside of a transaction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IdleBackend {
    /// The backend's process id.
    pub pid: i32,
    /// Since its last statement ended.
    pub idle_seconds: f64,
    /// Its role.
    pub user: Option<String>,
    /// `application_name` of its connection.
    pub application: Option<String>,
    /// Its client's address; none for a Unix socket.
    pub client: Option<String>,
    /// The last statement, its first 1,000 characters.
    pub statement: Option<String>,
}

const SELECT: &str = "
    SELECT pid, extract(epoch FROM clock_timestamp() - state_change)::float8 AS idle_seconds,
        usename AS \"user\", application_name AS application, host(client_addr) AS client,
        left(query, 1000) AS statement
    FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend'
        AND pid <> pg_backend_pid() AND state = 'idle'
        AND clock_timestamp() - state_change > make_interval(secs => $1)
    ORDER BY state_change";

impl Diagnosis<'_> {
    /// The connections that have been idle for longer than this, longest first;
    /// not our own. A pool's spare connections are among them.
    ///
    /// # Errors
    ///
    /// [`DiagnosisError`]: why there is no answer.
    pub async fn idle(
        &self,
        longer_than: Duration,
    ) -> Result<Listing<IdleBackend>, DiagnosisError> {
        let seconds = longer_than.as_secs_f64();
        self.list(SELECT, &[(&seconds, Type::FLOAT8)]).await
    }
}
