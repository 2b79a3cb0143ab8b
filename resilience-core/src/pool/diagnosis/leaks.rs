//! Connections that somebody may have forgotten.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Diagnosis, DiagnosisError, Listing, words};

/// A connection older than this is shown, as in the runbook.
pub const SUSPECTED_AFTER: Duration = Duration::from_secs(600);

/// A connection that somebody may have forgotten, and why it is suspected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SuspectedLeak {
    /// The backend's process id.
    pub pid: i32,
    /// Why it is suspected, in a sentence.
    #[serde(default)]
    pub why: String,
    /// Such as `idle in transaction`.
    pub state: Option<String>,
    /// Since it was made.
    pub connection_seconds: Option<f64>,
    /// Since it has been in this state.
    pub state_seconds: Option<f64>,
    /// Since its transaction began, if it is in one.
    pub transaction_seconds: Option<f64>,
    /// Its role.
    pub user: Option<String>,
    /// `application_name` of its connection.
    pub application: Option<String>,
    /// Its client's address; none for a Unix socket.
    pub client: Option<String>,
    /// The last statement, its first 1,000 characters.
    pub statement: Option<String>,
}

/// Between two statements every transaction is idle for a moment, hence the
/// second.
const SELECT: &str = "
    SELECT pid, state,
        extract(epoch FROM clock_timestamp() - backend_start)::float8 AS connection_seconds,
        extract(epoch FROM clock_timestamp() - state_change)::float8 AS state_seconds,
        extract(epoch FROM clock_timestamp() - xact_start)::float8 AS transaction_seconds,
        usename AS \"user\", application_name AS application, host(client_addr) AS client,
        left(query, 1000) AS statement
    FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend'
        AND pid <> pg_backend_pid()
        AND (backend_start < clock_timestamp() - interval '10 minutes'
            OR state LIKE 'idle in transaction%'
                AND state_change < clock_timestamp() - interval '1 second')
    ORDER BY state LIKE 'idle in transaction%' DESC NULLS LAST,
        CASE WHEN state LIKE 'idle in transaction%' THEN state_change ELSE backend_start END";

impl Diagnosis<'_> {
    /// The connections that are idle inside a transaction for more than a
    /// second, then those older than [`SUSPECTED_AFTER`]; not our own.
    ///
    /// Old is not yet leaked: a pool keeps its connections. `why` says what to
    /// look at.
    ///
    /// # Errors
    ///
    /// [`DiagnosisError`]: why there is no answer.
    pub async fn leaks(&self) -> Result<Listing<SuspectedLeak>, DiagnosisError> {
        let leaks: Listing<SuspectedLeak> = self.list(SELECT, &[]).await?;
        Ok(leaks.each(|leak| leak.why = why(leak)))
    }
}

fn why(leak: &SuspectedLeak) -> String {
    let state = leak.state.as_deref().unwrap_or("in an unknown state");
    let since = words::time(leak.state_seconds.unwrap_or_default());
    let age = words::time(leak.connection_seconds.unwrap_or_default());
    if state.starts_with("idle in transaction") {
        return format!(
            "{state} for {since}: it keeps its locks, and keeps dead rows from being cleaned up"
        );
    }
    match state {
        "idle" => format!(
            "connected for {age} and idle for {since}: a pool's spare connection, or one that was \
             never closed"
        ),
        _ => format!("connected for {age} and {state} for {since}"),
    }
}
