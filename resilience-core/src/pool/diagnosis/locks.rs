//! Who waits for whose lock.

use serde::{Deserialize, Serialize};

use super::{Diagnosis, DiagnosisError, Listing};

/// A backend that waits for a lock, and one that stands in its way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BlockedLock {
    /// Who waits.
    pub blocked_pid: i32,
    /// Who holds the lock, or is in line before it. 0 is a prepared transaction.
    pub blocking_pid: i32,
    /// Since it waits. PostgreSQL 13 does not note that: there since the
    /// statement began, which is longer.
    pub waited_seconds: Option<f64>,
    /// What is locked: `relation`, `tuple`, `transactionid`, `advisory`, …
    pub lock: String,
    /// The table, if it is known: of a row's lock, the row's table.
    pub relation: Option<String>,
    /// The mode that is wanted, such as `AccessExclusiveLock`.
    pub mode: String,
    /// The modes that the other holds on it; none: it is only in line before.
    pub held_modes: Vec<String>,
    /// `application_name` of who waits.
    pub blocked_application: Option<String>,
    /// The statement that waits, its first 1,000 characters.
    pub blocked_statement: Option<String>,
    /// The role of who is in the way.
    pub blocking_user: Option<String>,
    /// `application_name` of who is in the way.
    pub blocking_application: Option<String>,
    /// What it does, such as `idle in transaction`.
    pub blocking_state: Option<String>,
    /// Since its transaction began.
    pub blocking_transaction_seconds: Option<f64>,
    /// It waits for a lock itself: look for who is in its way.
    pub blocking_waits: bool,
    /// Its current or last statement, its first 1,000 characters. The one that
    /// took the lock may have been an earlier one.
    pub blocking_statement: Option<String>,
}

/// `waitstart` came with PostgreSQL 14; by way of JSON it may be missing.
///
/// Who waits for a row waits for the transaction that has it (no table there),
/// and holds the row's own lock meanwhile, which names the table.
const SELECT: &str = "
    WITH held AS MATERIALIZED (SELECT * FROM pg_locks),
    waiting AS MATERIALIZED (
        SELECT DISTINCT ON (l.pid) l.*, (to_jsonb(l) ->> 'waitstart')::timestamptz AS since
        FROM held l WHERE NOT l.granted ORDER BY l.pid
    )
    SELECT w.pid AS blocked_pid, b.pid AS blocking_pid,
        extract(epoch FROM clock_timestamp() - coalesce(w.since, a.query_start))::float8
            AS waited_seconds,
        w.locktype AS lock,
        (SELECT format('%I.%I', n.nspname, c.relname)
            FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE c.oid = coalesce(w.relation, (SELECT t.relation FROM held t
                WHERE t.pid = w.pid AND t.locktype = 'tuple' AND t.granted LIMIT 1))) AS relation,
        w.mode,
        ARRAY(SELECT h.mode FROM held h
            WHERE h.pid = b.pid AND h.granted AND h.locktype = w.locktype
                AND h.database IS NOT DISTINCT FROM w.database
                AND h.relation IS NOT DISTINCT FROM w.relation
                AND h.page IS NOT DISTINCT FROM w.page
                AND h.tuple IS NOT DISTINCT FROM w.tuple
                AND h.virtualxid IS NOT DISTINCT FROM w.virtualxid
                AND h.transactionid IS NOT DISTINCT FROM w.transactionid
                AND h.classid IS NOT DISTINCT FROM w.classid
                AND h.objid IS NOT DISTINCT FROM w.objid
                AND h.objsubid IS NOT DISTINCT FROM w.objsubid
            ORDER BY h.mode) AS held_modes,
        a.application_name AS blocked_application, left(a.query, 1000) AS blocked_statement,
        o.usename AS blocking_user, o.application_name AS blocking_application,
        o.state AS blocking_state,
        extract(epoch FROM clock_timestamp() - o.xact_start)::float8
            AS blocking_transaction_seconds,
        EXISTS (SELECT FROM waiting x WHERE x.pid = b.pid) AS blocking_waits,
        left(o.query, 1000) AS blocking_statement
    FROM waiting w
    JOIN pg_stat_activity a ON a.pid = w.pid AND a.datname = current_database()
    CROSS JOIN LATERAL (SELECT DISTINCT unnest(pg_blocking_pids(w.pid)) AS pid) b
    LEFT JOIN pg_stat_activity o ON o.pid = b.pid
    ORDER BY waited_seconds DESC NULLS LAST, w.pid, b.pid";

impl Diagnosis<'_> {
    /// Who waits for a lock and who stands in the way, the longest wait first;
    /// one row for each that stands in the way.
    ///
    /// Stops the server's lock manager for a moment.
    ///
    /// # Errors
    ///
    /// [`DiagnosisError`]: why there is no answer.
    pub async fn locks(&self) -> Result<Listing<BlockedLock>, DiagnosisError> {
        self.list(SELECT, &[]).await
    }
}
