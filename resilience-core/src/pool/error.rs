//! Why there was no connection, or no answer.

use std::{error::Error, fmt, io, time::Duration};

use tokio_postgres::error::{DbError, SqlState};

use super::dial::ConnectError;

/// Why there was no connection.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// The URL cannot be used.
    #[error("the database URL is not usable: {0}")]
    Url(String),
    /// There is nothing to check the server's certificate against.
    #[cfg(feature = "postgres-rustls")]
    #[error(transparent)]
    Roots(#[from] super::tls::RootsError),
    /// The server answers, and all connections were out for as long as a caller
    /// may wait. Begins with the words that the runbook greps for.
    #[error("{0}")]
    Exhausted(Box<Exhausted>),
    /// No connection can be made.
    #[error("no connection to the database: {0}")]
    Unreachable(Box<Unreachable>),
}

/// What there is to say of a pool that has no connection left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exhausted {
    /// The limit: `pool_size` + `max_overflow`.
    pub size: u32,
    /// How many of those are overflow.
    pub overflow: u32,
    /// How many were checked out.
    pub in_use: u32,
    /// How many callers wait, this one included.
    pub waiting: u32,
    /// How long this one did.
    pub waited: Duration,
    /// Who holds the most: place, how many, and for how long the oldest.
    pub holders: Vec<(String, u32, Duration)>,
    /// Why a connection could last not be made, if one ever could not.
    pub last_connect_error: Option<String>,
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Connection pool exhausted: size:{} overflow:{} in_use:{} waiting:{} waited:{:?} holders:",
            self.size, self.overflow, self.in_use, self.waiting, self.waited
        )?;
        for (index, (place, count, longest)) in self.holders.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{place}*{count}({longest:?})")?;
        }
        if self.holders.is_empty() {
            f.write_str("none")?;
        }
        let error = self.last_connect_error.as_deref().unwrap_or("none");
        write!(f, " last_connect_error:{error}")
    }
}

/// What there is to say of a database that cannot be reached.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{kind}: {error} (waited {waited:?})", kind = error.kind())]
#[non_exhaustive]
pub struct Unreachable {
    /// Why the last attempt failed.
    #[source]
    pub error: ConnectError,
    /// How long this caller waited for another.
    pub waited: Duration,
}

impl PoolError {
    /// The one place where an error becomes a class of the log.
    #[must_use]
    pub const fn class(&self) -> &'static str {
        match self {
            Self::Url(_) => "pool_config",
            #[cfg(feature = "postgres-rustls")]
            Self::Roots(_) => "pool_config",
            Self::Exhausted(_) => "pool_exhausted",
            Self::Unreachable(_) => "database_connect",
        }
    }
}

/// Why a statement has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// The server said no, or the connection was lost.
    #[error(transparent)]
    Postgres(#[from] tokio_postgres::Error),
    /// No answer within `query_timeout`. The statement is cancelled; whether it
    /// was done is not known.
    #[error("no answer to the statement within {after:?}")]
    Timeout {
        /// The limit.
        after: Duration,
    },
    /// The connection was lost on an earlier statement.
    #[error("the connection is not usable any more: {why}")]
    Unusable {
        /// What happened to it.
        why: &'static str,
    },
}

impl QueryError {
    /// What the server said, if it did.
    #[must_use]
    pub fn as_db_error(&self) -> Option<&DbError> {
        match self {
            Self::Postgres(error) => error.as_db_error(),
            Self::Timeout { .. } | Self::Unusable { .. } => None,
        }
    }

    /// The server's code for it.
    #[must_use]
    pub fn code(&self) -> Option<&SqlState> {
        self.as_db_error().map(DbError::code)
    }

    /// Whether the connection is gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        match self {
            Self::Postgres(error) => error.is_closed(),
            Self::Timeout { .. } => false,
            Self::Unusable { .. } => true,
        }
    }

    /// Whether it says something of the server or the way to it, and not of the
    /// statement. Whether that was done is then not known.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        let Self::Postgres(error) = self else {
            return true;
        };
        match error.code() {
            Some(code) => [
                SqlState::ADMIN_SHUTDOWN,
                SqlState::CRASH_SHUTDOWN,
                SqlState::CANNOT_CONNECT_NOW,
            ]
            .contains(code),
            None => {
                error.is_closed()
                    || error
                        .source()
                        .is_some_and(|source| source.is::<io::Error>())
            }
        }
    }

    /// The one place where an error becomes a class of the log.
    #[must_use]
    pub fn class(&self) -> &'static str {
        match self {
            Self::Postgres(error) if error.as_db_error().is_none() => "database_connection",
            Self::Postgres(_) => "database",
            Self::Timeout { .. } => "database_timeout",
            Self::Unusable { .. } => "database_connection",
        }
    }
}

/// An error and what caused it, on one line.
pub(super) fn causes(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Some libraries print their source themselves.
        if !line.contains(&text) {
            line += &format!(": {text}");
        }
        cause = error.source();
    }
    line.replace('\n', " ")
}
