//! Why a question about the database has no answer.

use tokio_postgres::error::SqlState;

use super::ask::ANSWERS_WITHIN;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiagnosisError {
    /// The connection broke, or was closed.
    #[error("the connection to the database was lost")]
    Lost(#[source] tokio_postgres::Error),
    /// Nothing came in time: the server or the network hangs. The connection is
    /// in doubt, and should be closed.
    #[error("the database did not answer within {ANSWERS_WITHIN:?}")]
    Silent,
    /// The server works, and gave this question up: after
    /// [`STATEMENT_TIMEOUT`](super::STATEMENT_TIMEOUT), or because a table was
    /// locked away while it was measured.
    #[error("the question took the database too long")]
    TooSlow(#[source] tokio_postgres::Error),
    /// The role may not ask this.
    #[error("the role is not allowed to ask this")]
    Forbidden(#[source] tokio_postgres::Error),
    /// The server refused the question.
    #[error("the database refused the question")]
    Refused(#[source] tokio_postgres::Error),
    /// The answer is not what was asked for.
    #[error("the answer of the database cannot be read")]
    Unreadable(#[source] serde_json::Error),
}

impl DiagnosisError {
    /// Whether the connection is of no use any more.
    #[must_use]
    pub const fn lost_connection(&self) -> bool {
        matches!(self, Self::Lost(_) | Self::Silent)
    }
}

impl From<tokio_postgres::Error> for DiagnosisError {
    fn from(error: tokio_postgres::Error) -> Self {
        let ends_connection = |code: &SqlState| {
            let shutdowns = [
                SqlState::ADMIN_SHUTDOWN,
                SqlState::CRASH_SHUTDOWN,
                SqlState::CANNOT_CONNECT_NOW,
            ];
            shutdowns.contains(code)
        };
        match error.code() {
            None => Self::Lost(error),
            Some(code) if ends_connection(code) => Self::Lost(error),
            Some(code)
                if [SqlState::QUERY_CANCELED, SqlState::LOCK_NOT_AVAILABLE].contains(code) =>
            {
                Self::TooSlow(error)
            }
            Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => Self::Forbidden(error),
            Some(_) => Self::Refused(error),
        }
    }
}
