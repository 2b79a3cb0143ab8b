//! Who is connected, in numbers.

use serde::{Deserialize, Serialize};

use super::{Diagnosis, DiagnosisError, Listing};

/// Connections that are alike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConnectionGroup {
    /// How many.
    pub connections: i64,
    /// Such as `active`, `idle` or `idle in transaction`.
    pub state: Option<String>,
    /// What kind of thing they wait for; `Client`: the next statement.
    pub wait_event_type: Option<String>,
    /// What they wait for.
    pub wait_event: Option<String>,
    /// Their `application_name`.
    pub application: Option<String>,
}

/// The connections of the database, and what the server has room for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Connections {
    /// The server's limit.
    pub max_connections: i64,
    /// Of these, kept for superusers and roles that are let in last.
    pub reserved: i64,
    /// Connections of clients to any database of the server.
    pub used: i64,
    /// Those to this database, the largest group first. Our own is among them.
    #[serde(flatten)]
    pub groups: Listing<ConnectionGroup>,
}

#[derive(Deserialize)]
struct Room {
    max_connections: i64,
    reserved: i64,
    used: i64,
}

/// `reserved_connections` came with PostgreSQL 16.
const ROOM: &str = "
    SELECT json_build_object(
        'max_connections', current_setting('max_connections')::int8,
        'reserved', current_setting('superuser_reserved_connections')::int8
            + coalesce(current_setting('reserved_connections', true)::int8, 0),
        'used', (SELECT coalesce(sum(numbackends), 0) FROM pg_stat_database)
    )::text";

const GROUPS: &str = "
    SELECT count(*) AS connections, state, wait_event_type, wait_event,
        application_name AS application
    FROM pg_stat_activity
    WHERE datname = current_database()
    GROUP BY state, wait_event_type, wait_event, application_name
    ORDER BY connections DESC, state, application_name";

impl Diagnosis<'_> {
    /// How many connections there are by state, wait event and application, and
    /// how many more the server would take.
    ///
    /// # Errors
    ///
    /// [`DiagnosisError`]: why there is no answer.
    pub async fn connections(&self) -> Result<Connections, DiagnosisError> {
        let groups = self.list(GROUPS, &[]).await?;
        let Room {
            max_connections,
            reserved,
            used,
        } = self.value(ROOM, &[]).await?;
        Ok(Connections {
            max_connections,
            reserved,
            used,
            groups,
        })
    }
}
