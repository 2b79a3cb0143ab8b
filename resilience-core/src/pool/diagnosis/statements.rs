//! Which statements are slow on average.

use serde::{Deserialize, Serialize};

use super::{Diagnosis, DiagnosisError, Listing};

/// A statement as `pg_stat_statements` knows it, without its literals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SlowStatement {
    /// Milliseconds of one call on average.
    pub mean_ms: f64,
    /// Milliseconds of the slowest call.
    pub max_ms: f64,
    /// Milliseconds of all calls.
    pub total_ms: f64,
    /// Part of the time of all statements of the database, 0 to 1.
    pub share: Option<f64>,
    /// How often it was called since the statistics began.
    pub calls: i64,
    /// How many rows all calls returned or changed.
    pub rows: i64,
    /// Blocks that were found in memory.
    pub blocks_hit: i64,
    /// Blocks that were not, and were read.
    pub blocks_read: i64,
    /// Blocks of temporary files: sorts and hashes beyond `work_mem`.
    pub temp_blocks_written: i64,
    /// The role that called it.
    pub user: Option<String>,
    /// Its first 1,000 characters.
    pub statement: Option<String>,
}

/// The slow statements, or what has to be done so that they are counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
#[non_exhaustive]
pub enum SlowStatements {
    /// They are counted.
    Available(Listing<SlowStatement>),
    /// The server does not load `pg_stat_statements`: nothing is counted.
    NotLoaded {
        /// The database that was asked.
        database: String,
        /// How to mend it.
        advice: String,
    },
    /// The server counts them, and this database has no view of it.
    NotCreated {
        /// The database that was asked.
        database: String,
        /// How to mend it.
        advice: String,
    },
}

/// How the extension stands here.
#[derive(Deserialize)]
struct Extension {
    database: String,
    /// Quoted for SQL.
    schema: Option<String>,
    /// An extension that was not updated with its server has the old names.
    old_names: bool,
    loaded: bool,
    packaged: bool,
}

/// The library's own settings are known only where it is loaded. To look at
/// `shared_preload_libraries` itself needs a right that many roles lack.
const EXTENSION: &str = "
    SELECT json_build_object(
        'database', current_database(),
        'schema', (SELECT quote_ident(n.nspname) FROM pg_extension e
            JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pg_stat_statements'),
        'old_names', EXISTS (SELECT FROM pg_extension e
            JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
                AND d.classid = 'pg_class'::regclass
            JOIN pg_attribute a ON a.attrelid = d.objid AND a.attname = 'mean_time'
            WHERE e.extname = 'pg_stat_statements'),
        'loaded', EXISTS (SELECT FROM pg_settings WHERE name = 'pg_stat_statements.max'),
        'packaged', EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_stat_statements')
    )::text";

impl Diagnosis<'_> {
    /// The statements that are slowest on average since their statistics began.
    ///
    /// A server without `pg_stat_statements` is not an error: the answer says
    /// what has to be done.
    ///
    /// # Errors
    ///
    /// [`DiagnosisError`]: why there is no answer.
    ///
    /// # Source
    ///
    /// PostgreSQL documentation, *pg_stat_statements*; the names changed in 13.
    pub async fn slow_statements(&self) -> Result<SlowStatements, DiagnosisError> {
        let extension: Extension = self.value(EXTENSION, &[]).await?;
        let database = extension.database;
        if !extension.loaded {
            let package = match extension.packaged {
                true => "",
                false => "install the server's contrib package (such as postgresql-contrib), ",
            };
            let advice = format!(
                "{package}add pg_stat_statements to shared_preload_libraries, restart PostgreSQL, \
                 then CREATE EXTENSION pg_stat_statements in the database {database}"
            );
            return Ok(SlowStatements::NotLoaded { database, advice });
        }
        let Some(schema) = extension.schema else {
            let advice =
                format!("run CREATE EXTENSION pg_stat_statements in the database {database}");
            return Ok(SlowStatements::NotCreated { database, advice });
        };
        let select = select(&schema, extension.old_names);
        Ok(SlowStatements::Available(self.list(&select, &[]).await?))
    }
}

fn select(schema: &str, old_names: bool) -> String {
    let [mean, max, total] = match old_names {
        true => ["mean_time", "max_time", "total_time"],
        false => ["mean_exec_time", "max_exec_time", "total_exec_time"],
    };
    format!(
        "SELECT s.{mean} AS mean_ms, s.{max} AS max_ms, s.{total} AS total_ms,
             s.{total} / nullif(sum(s.{total}) OVER (), 0) AS share,
             s.calls, s.rows, s.shared_blks_hit AS blocks_hit, s.shared_blks_read AS blocks_read,
             s.temp_blks_written AS temp_blocks_written,
             pg_get_userbyid(s.userid) AS \"user\", left(s.query, 1000) AS statement
         FROM {schema}.pg_stat_statements s
         WHERE s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
         ORDER BY s.{mean} DESC"
    )
}
