//! Columns that no index begins with.

use serde::{Deserialize, Serialize};

use super::{Diagnosis, DiagnosisError, Listing, words};

/// A column of a large table that no index begins with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnindexedColumn {
    /// Schema of its table.
    pub schema: String,
    /// Its table.
    pub table: String,
    /// Its name.
    pub column: String,
    /// Why it is suspected, in a sentence.
    #[serde(default)]
    pub why: String,
    /// Rows of the table, estimated.
    pub rows: i64,
    /// How many different values it has, estimated.
    pub distinct_values: i64,
    /// `n_distinct` of `pg_stats`: a number, or the negative share of the rows.
    pub n_distinct: f64,
    /// How far the order of its values is that on disk, -1 to 1.
    pub correlation: Option<f64>,
    /// The table that it refers to by a foreign key.
    pub refers_to: Option<String>,
}

/// The runbook's question, with three of its gaps closed: a negative
/// `n_distinct` is a share of the rows (a unique column has -1), columns that have
/// an index are left out, and so are small tables.
const SELECT: &str = "
    SELECT st.schemaname AS schema, st.tablename AS \"table\", st.attname AS \"column\",
        c.reltuples::int8 AS rows, d.values::int8 AS distinct_values,
        st.n_distinct::float8 AS n_distinct, st.correlation::float8 AS correlation,
        f.refers_to
    FROM pg_stats st
    JOIN pg_namespace n ON n.nspname = st.schemaname
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = st.tablename AND c.relkind = 'r'
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = st.attname
    CROSS JOIN LATERAL (SELECT CASE WHEN st.n_distinct < 0 THEN -st.n_distinct * c.reltuples
        ELSE st.n_distinct END AS values) d
    LEFT JOIN LATERAL (
        SELECT format('%I.%I', rn.nspname, r.relname) AS refers_to
        FROM pg_constraint k JOIN pg_class r ON r.oid = k.confrelid
        JOIN pg_namespace rn ON rn.oid = r.relnamespace
        WHERE k.contype = 'f' AND k.conrelid = c.oid AND k.conkey[1] = a.attnum
        ORDER BY k.conname LIMIT 1
    ) f ON true
    LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid
    WHERE st.schemaname NOT IN ('pg_catalog', 'information_schema') AND NOT st.inherited
        AND c.reltuples >= 10000
        AND (d.values > 100 OR f.refers_to IS NOT NULL)
        AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid
            AND i.indkey[0] = a.attnum AND i.indisvalid AND i.indpred IS NULL)
    ORDER BY f.refers_to IS NULL, s.seq_tup_read DESC NULLS LAST, d.values DESC,
        schema, st.tablename, a.attnum";

impl Diagnosis<'_> {
    /// Columns with many values, or that refer to another table, without an
    /// index. Those of foreign keys first, then by how much of the table is read.
    pub(super) async fn unindexed_columns(
        &self,
    ) -> Result<Listing<UnindexedColumn>, DiagnosisError> {
        let columns: Listing<UnindexedColumn> = self.list(SELECT, &[]).await?;
        Ok(columns.each(|column| column.why = why(column)))
    }
}

fn why(column: &UnindexedColumn) -> String {
    let values = words::count(column.distinct_values);
    let rows = words::count(column.rows);
    match &column.refers_to {
        Some(other) => format!(
            "refers to {other}, and no index begins with it: a join, or a delete there, reads all \
             {rows} rows"
        ),
        None => format!(
            "{values} values in {rows} rows, and no index begins with it: worth one if WHERE or \
             JOIN asks for few of them"
        ),
    }
}
