//! Where an index may be missing.

use serde::{Deserialize, Serialize};

use super::{Diagnosis, DiagnosisError, Listing, UnindexedColumn, words};

/// Tables and columns that may lack an index, each with the reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MissingIndexes {
    /// Large tables that are read whole, those that cost most first.
    pub tables: Listing<SuspectedTable>,
    /// Columns of large tables that no index begins with.
    pub columns: Listing<UnindexedColumn>,
}

/// A large table that is read whole, again and again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SuspectedTable {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub table: String,
    /// Why it is suspected, in a sentence.
    #[serde(default)]
    pub why: String,
    /// Its rows, estimated.
    pub rows: i64,
    /// How often it was read from one end to the other.
    pub whole_reads: i64,
    /// How many rows these read in all.
    pub rows_read: i64,
    /// How often an index was used.
    pub index_reads: i64,
    /// The number of its indexes.
    pub indexes: i64,
}

/// A table of fewer than 10,000 rows is read as fast without an index. A tenth
/// and ten times: below that it is a nightly report, not the service.
/// One that ends early, by `LIMIT`, is no reason for an index either.
const SELECT: &str = "
    SELECT s.schemaname AS schema, s.relname AS \"table\",
        greatest(s.n_live_tup, c.reltuples)::int8 AS rows,
        s.seq_scan AS whole_reads, s.seq_tup_read AS rows_read,
        coalesce(s.idx_scan, 0) AS index_reads,
        (SELECT count(*) FROM pg_index i WHERE i.indrelid = s.relid) AS indexes
    FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid
    WHERE greatest(s.n_live_tup, c.reltuples) >= 10000
        AND s.seq_scan >= 10
        AND s.seq_scan * 10 >= coalesce(s.idx_scan, 0)
        AND s.seq_tup_read / s.seq_scan >= greatest(s.n_live_tup, c.reltuples) / 10
    ORDER BY s.seq_tup_read DESC, schema, s.relname";

impl Diagnosis<'_> {
    /// Where an index may be missing: tables of 10,000 rows and more of which a
    /// good part is read at least ten times, and at least one time in ten; and columns
    /// with more than 100 different values, or that refer to another table, that
    /// no index begins with.
    ///
    /// Counted since the server's statistics began. A suspicion is not a
    /// verdict: ask `EXPLAIN` about the statement before an index is made.
    ///
    /// # Errors
    ///
    /// [`DiagnosisError`]: why there is no answer.
    pub async fn missing_indexes(&self) -> Result<MissingIndexes, DiagnosisError> {
        let tables: Listing<SuspectedTable> = self.list(SELECT, &[]).await?;
        Ok(MissingIndexes {
            tables: tables.each(|table| table.why = why(table)),
            columns: self.unindexed_columns().await?,
        })
    }
}

fn why(table: &SuspectedTable) -> String {
    let reads = table.whole_reads.saturating_add(table.index_reads);
    let each = table.rows_read / table.whole_reads.max(1);
    format!(
        "{} of {} reads went through the table, {} rows each time",
        words::count(table.whole_reads),
        words::count(reads),
        words::count(each)
    )
}
