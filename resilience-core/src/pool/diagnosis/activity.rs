//! What runs now.

use serde::{Deserialize, Serialize};

use super::{Diagnosis, DiagnosisError, Listing};

/// A statement that runs now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActiveStatement {
    /// The backend's process id.
    pub pid: i32,
    /// Since the statement began.
    pub running_seconds: Option<f64>,
    /// Since the transaction began.
    pub transaction_seconds: Option<f64>,
    /// What kind of thing it waits for, such as `Lock` or `IO`; none: it works.
    pub wait_event_type: Option<String>,
    /// What it waits for.
    pub wait_event: Option<String>,
    /// Who holds, or is in line before it for, the lock it waits for. 0 is a
    /// prepared transaction.
    pub blocked_by: Vec<i32>,
    /// Who waits for it; at most 50.
    pub blocks: Vec<i32>,
    /// Its role.
    pub user: Option<String>,
    /// `application_name` of its connection.
    pub application: Option<String>,
    /// Its client's address; none for a Unix socket.
    pub client: Option<String>,
    /// Its first 1,000 characters.
    pub statement: Option<String>,
}

/// `pg_blocking_pids` stops the lock manager for a moment, so it is asked only
/// for those who wait for a lock.
const SELECT: &str = "
    WITH waiting AS MATERIALIZED (
        SELECT pid, pg_blocking_pids(pid) AS blockers
        FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'
    )
    SELECT a.pid,
        extract(epoch FROM clock_timestamp() - a.query_start)::float8 AS running_seconds,
        extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS transaction_seconds,
        a.wait_event_type, a.wait_event,
        coalesce((SELECT w.blockers FROM waiting w WHERE w.pid = a.pid), '{}') AS blocked_by,
        (ARRAY(SELECT w.pid FROM waiting w WHERE a.pid = ANY (w.blockers)))[1:50] AS blocks,
        a.usename AS \"user\", a.application_name AS application, host(a.client_addr) AS client,
        left(a.query, 1000) AS statement
    FROM pg_stat_activity a
    WHERE a.datname = current_database() AND a.state = 'active'
        AND a.backend_type = 'client backend' AND a.pid <> pg_backend_pid()
    ORDER BY a.query_start NULLS LAST";

impl Diagnosis<'_> {
    /// The statements that run now, the longest first; not our own question.
    ///
    /// # Errors
    ///
    /// [`DiagnosisError`]: why there is no answer.
    pub async fn activity(&self) -> Result<Listing<ActiveStatement>, DiagnosisError> {
        self.list(SELECT, &[]).await
    }
}
