//! How large the tables are, and how much of them is dead.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Diagnosis, DiagnosisError, Listing};

/// A table with its indexes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableSize {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub table: String,
    /// All of it, for people, such as `12 GB`.
    pub size: String,
    /// All of it: rows, long values, indexes.
    pub total_bytes: i64,
    /// Of these, its indexes.
    pub index_bytes: i64,
    /// The number of its indexes.
    pub indexes: i64,
    /// Rows, estimated; none if no statistics know.
    pub live_rows: Option<i64>,
    /// Rows that were deleted or replaced, and are not cleaned up yet, estimated.
    pub dead_rows: Option<i64>,
    /// When it was last cleaned up, by hand or by itself.
    pub last_vacuum: Option<Timestamp>,
    /// When the planner's statistics were last made.
    pub last_analyze: Option<Timestamp>,
    /// It is locked, so its size is as of the last vacuum or analyze.
    pub estimated: bool,
}

/// To measure a table is to open it, which waits while somebody has it locked, or
/// is in line to lock it: one `ALTER TABLE` would take the whole answer with it.
/// So what is locked is not measured, but read off the catalogue.
const SELECT: &str = "
    WITH locked AS MATERIALIZED (
        SELECT coalesce(i.indrelid, t.oid, l.relation) AS relation
        FROM pg_locks l
        LEFT JOIN pg_index i ON i.indexrelid = l.relation
        LEFT JOIN pg_class t ON t.reltoastrelid = l.relation
        WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
            AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    ),
    kept AS MATERIALIZED (
        SELECT c.oid, n.nspname, c.relname, c.relpages,
            c.oid IN (SELECT relation FROM locked) AS estimated
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't'
            AND n.nspname NOT IN ('pg_catalog', 'information_schema')
    ),
    measured AS MATERIALIZED (
        SELECT k.*,
            CASE WHEN k.estimated THEN i.pages * current_setting('block_size')::int8
                ELSE pg_indexes_size(k.oid) END AS index_bytes,
            CASE WHEN k.estimated
                THEN (k.relpages + i.pages) * current_setting('block_size')::int8
                ELSE pg_total_relation_size(k.oid) END AS total_bytes,
            i.indexes
        FROM kept k CROSS JOIN LATERAL (
            SELECT count(*) AS indexes, coalesce(sum(x.relpages), 0)::int8 AS pages
            FROM pg_index p JOIN pg_class x ON x.oid = p.indexrelid WHERE p.indrelid = k.oid
        ) i
    )
    SELECT m.nspname AS schema, m.relname AS \"table\", pg_size_pretty(m.total_bytes) AS size,
        m.total_bytes, m.index_bytes, m.indexes,
        s.n_live_tup AS live_rows, s.n_dead_tup AS dead_rows,
        greatest(s.last_vacuum, s.last_autovacuum) AS last_vacuum,
        greatest(s.last_analyze, s.last_autoanalyze) AS last_analyze,
        m.estimated
    FROM measured m LEFT JOIN pg_stat_user_tables s ON s.relid = m.oid
    WHERE m.total_bytes IS NOT NULL AND m.index_bytes IS NOT NULL -- else dropped meanwhile
    ORDER BY m.total_bytes DESC, m.nspname, m.relname";

impl Diagnosis<'_> {
    /// The tables, the largest first. Partitions are tables of their own.
    ///
    /// Measures every table: with a hundred thousand of them it may not be done
    /// within [`STATEMENT_TIMEOUT`](super::STATEMENT_TIMEOUT).
    ///
    /// # Errors
    ///
    /// [`DiagnosisError`]: why there is no answer.
    pub async fn table_sizes(&self) -> Result<Listing<TableSize>, DiagnosisError> {
        self.list(SELECT, &[]).await
    }
}
