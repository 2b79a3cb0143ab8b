//! Why the database gives no answer, said to who asked.

use std::error::Error;

use http::StatusCode;
use resilience_core::{Problem, pool::diagnosis::DiagnosisError};
use tokio_postgres::error::SqlState;

use super::connection::{Database, NoConnection};

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoAnswer {
    #[error(transparent)]
    Connection(#[from] NoConnection),
    #[error(transparent)]
    Question(#[from] DiagnosisError),
}

impl NoAnswer {
    /// With all causes, on one line.
    pub(crate) fn line(&self) -> String {
        let mut line = self.to_string();
        let mut source = self.source();
        while let Some(error) = source {
            let text = error.to_string();
            // Some libraries print their source themselves.
            if !line.contains(&text) {
                line += &format!(": {text}");
            }
            source = error.source();
        }
        // A server may say more than one line.
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Connection(NoConnection::Refused(error)) => error.code(),
            _ => None,
        }
    }

    pub(crate) fn problem(&self, database: &Database) -> Problem {
        let (place, line) = (database.place(), self.line());
        let unreachable = |advice: &str| {
            Problem::unavailable(format!("the database {place}: {line}"))
                .kind("/problems/database-unreachable", "database unreachable")
                .advice(advice)
        };
        let refused = |status, advice: &str| {
            Problem::new(status, format!("the database {place}: {line}")).advice(advice)
        };
        match self {
            Self::Connection(NoConnection::NotConfigured) => {
                Problem::new(StatusCode::NOT_IMPLEMENTED, line).advice(
                    "start the sidecar with ADMIN_DATABASE_URL (or --database-url) set to \
                     postgres://user:password@host:5432/name, for a role in pg_monitor",
                )
            }
            Self::Connection(NoConnection::Busy) => {
                Problem::unavailable(format!("the connection to the database is in use: {line}"))
                    .advice("ask again in a few seconds")
            }
            _ if self.code() == Some(&SqlState::TOO_MANY_CONNECTIONS) => unreachable(
                "all connections of the server are taken: stop a client, or let the sidecar's role \
                 use the reserved ones (pg_use_reserved_connections, from PostgreSQL 16)",
            ),
            Self::Connection(_)
            | Self::Question(DiagnosisError::Lost(_) | DiagnosisError::Silent) => {
                unreachable("see whether the server runs; the next question connects anew")
            }
            Self::Question(DiagnosisError::TooSlow(_)) => refused(
                StatusCode::GATEWAY_TIMEOUT,
                "the server is busy, or has very many tables: ask again, or use psql",
            ),
            Self::Question(DiagnosisError::Forbidden(_)) => refused(
                StatusCode::BAD_GATEWAY,
                "GRANT pg_monitor to the role of ADMIN_DATABASE_URL",
            ),
            Self::Question(_) => refused(StatusCode::BAD_GATEWAY, "use psql, and report this"),
        }
    }
}
