//! What goes wrong in a request, as an answer and as a line of the log.

use std::{error::Error, time::Duration};

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use resilience_core::{
    fallback::Tried,
    pool::{PoolError, QueryError},
    problem::Problem,
};

use super::PAYMENT_API;

/// Why a request has no answer of its own.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// The breaker refused to call the payment provider.
    #[error("Circuit is open")]
    CircuitOpen {
        /// Time until it tries again.
        retry_after: Duration,
        /// Why nothing stood in for it.
        fallback: Tried,
    },
    /// The payment provider failed.
    #[error("the payment provider failed: {what}")]
    Provider {
        /// What it did.
        what: String,
        /// Class of the log line.
        class: &'static str,
        /// Why nothing stood in for it.
        fallback: Tried,
    },
    /// There is no such thing at the payment provider.
    #[error("the payment provider answered {0}")]
    Refused(StatusCode),
    /// No connection to the database.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The database did not do as asked.
    #[error("the database refused")]
    Database(#[source] QueryError),
    /// The database went away while it was at work.
    #[error("the connection to the database was lost")]
    DatabaseLost(#[source] QueryError),
    /// The request makes no sense.
    #[error("{0}")]
    BadRequest(&'static str),
}

impl ApiError {
    /// The request makes no sense.
    #[must_use]
    pub const fn bad_request(what: &'static str) -> Self {
        Self::BadRequest(what)
    }

    const fn status(&self) -> StatusCode {
        match self {
            Self::CircuitOpen { .. } | Self::Pool(_) | Self::DatabaseLost(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Provider { .. } => StatusCode::BAD_GATEWAY,
            Self::Refused(status) => *status,
            Self::Database(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
        }
    }

    const fn advice(&self) -> &'static str {
        match self {
            Self::CircuitOpen { .. } => "try again after the time in `Retry-After`",
            Self::Provider { .. } | Self::Pool(_) => "try again in a moment",
            Self::DatabaseLost(_) => "look whether it was done, then try again in a moment",
            Self::Database(_) => "look for the correlation id in the log",
            Self::Refused(_) | Self::BadRequest(_) => "change the request",
        }
    }

    fn log(&self) {
        match self {
            Self::CircuitOpen {
                retry_after,
                fallback,
            } => tracing::error!(
                class = "circuit_open",
                upstream = PAYMENT_API,
                fallback = fallback.label(),
                retry_after_ms = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX),
                "{self}"
            ),
            Self::Provider {
                class, fallback, ..
            } => tracing::error!(
                class,
                upstream = PAYMENT_API,
                fallback = fallback.label(),
                "{self}"
            ),
            // The causes are for us: the client is told none of the inside.
            Self::Pool(error) => tracing::error!(class = error.class(), "{}", causes(self)),
            Self::Database(_) => tracing::error!(class = "database", "{}", causes(self)),
            Self::DatabaseLost(_) => tracing::error!(class = "database_lost", "{}", causes(self)),
            Self::Refused(_) | Self::BadRequest(_) => tracing::info!("{self}"),
        }
    }
}

/// An error and what caused it, on one line.
#[must_use]
pub fn causes(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        // Some libraries print their source themselves.
        if !line.contains(&text) {
            line += ": ";
            line += &text;
        }
        next = cause.source();
    }
    line
}

/// An outage is 503, as it is when there is no connection to begin with; 500 is
/// for what is wrong with us.
impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        if error.is_outage() {
            Self::DatabaseLost(error)
        } else {
            Self::Database(error)
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.log();
        let problem = Problem::new(self.status(), self.to_string()).advice(self.advice());
        let mut response = problem.into_response();
        if let Self::CircuitOpen { retry_after, .. } = self {
            // Rounded up: a client that comes back too early is refused again.
            let seconds = retry_after.as_millis().div_ceil(1000);
            if let Ok(value) = HeaderValue::from_str(&seconds.to_string()) {
                response.headers_mut().insert(header::RETRY_AFTER, value);
            }
        }
        response
    }
}
