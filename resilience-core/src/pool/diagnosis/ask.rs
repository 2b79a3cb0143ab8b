//! How a question is put: one transaction, one value, two deadlines.

use std::time::Duration;

use serde::{Deserialize, de::DeserializeOwned};
use tokio_postgres::types::{ToSql, Type};

use super::{Diagnosis, DiagnosisError, Listing};

/// How long the server works on one question.
pub const STATEMENT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long one question may take in all. A little longer than the server's own
/// limit, so that a server that works says itself that it gave up.
pub const ANSWERS_WITHIN: Duration = Duration::from_millis(3_500);

/// `READ ONLY`, so that no mistake of ours could change anything. The lock limit
/// is for catalogue functions that open a table somebody has locked away.
const BEGIN: &str = "BEGIN READ ONLY; \
     SET LOCAL statement_timeout = 3000; \
     SET LOCAL lock_timeout = 1000; \
     SET LOCAL search_path = pg_catalog";

/// A parameter with its type: no round trip to find the type out.
pub(super) type Param<'a> = (&'a (dyn ToSql + Sync), Type);

/// What every question is wrapped into.
#[derive(Deserialize)]
struct Envelope<T> {
    database: String,
    role: String,
    sees_all: bool,
    rows: Vec<T>,
}

impl Diagnosis<'_> {
    /// The rows of `select`, at most as many as the limit. Its columns are named
    /// as the fields of `T`.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        select: &str,
        params: &[Param<'_>],
    ) -> Result<Listing<T>, DiagnosisError> {
        let limit = usize::from(self.limit.get());
        // As JSON, so that a struct is its own description of a row, and what a
        // server's version does not have can be left out.
        let sql = format!(
            "SELECT json_build_object(
                 'database', current_database(),
                 'role', current_user,
                 'sees_all', pg_has_role('pg_read_all_stats', 'USAGE'),
                 'rows', coalesce(json_agg(answer), '[]'::json)
             )::text
             FROM (SELECT * FROM ({select}) AS listed LIMIT {}) AS answer",
            limit + 1
        );
        let Envelope {
            database,
            role,
            sees_all,
            mut rows,
        } = self.value(&sql, params).await?;
        let truncated = rows.len() > limit;
        rows.truncate(limit);
        let advice = (!sees_all).then(|| {
            format!(
                "the role {role} sees little of other roles' sessions: GRANT pg_monitor TO {role}"
            )
        });
        Ok(Listing {
            database,
            rows,
            truncated,
            advice,
        })
    }

    /// The one value of `sql`, a text with JSON in it.
    pub(super) async fn value<T: DeserializeOwned>(
        &self,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<T, DiagnosisError> {
        // All three are on their way before the first answer is back, so whoever
        // drops this leaves no transaction open; a failed one ends as well.
        let asked = async {
            tokio::join!(
                biased;
                self.client.batch_execute(BEGIN),
                self.client.query_typed_one(sql, params),
                self.client.batch_execute("COMMIT"),
            )
        };
        let (begun, answer, ended) = tokio::time::timeout(ANSWERS_WITHIN, asked)
            .await
            .map_err(|_| DiagnosisError::Silent)?;
        begun?;
        let row = answer?;
        ended?;
        let text: &str = row.try_get(0)?;
        serde_json::from_str(text).map_err(DiagnosisError::Unreadable)
    }
}
