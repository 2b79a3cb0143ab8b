//! What goes wrong in a request, as an answer and as a line of the log.

use std::{error::Error, time::Duration};

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use resilience_core::{pool::PoolError, problem::Problem};

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
    },
    /// The payment provider failed.
    #[error("the payment provider failed: {what}")]
    Provider {
        /// What it did.
        what: String,
        /// Class of the log line.
        class: &'static str,
    },
    /// There is no such thing at the payment provider.
    #[error("the payment provider answered {0}")]
    Refused(StatusCode),
    /// No connection to the database.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The database did not do as asked.
    #[error("the database refused: {0}")]
    Database(#[from] tokio_postgres::Error),
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
            Self::CircuitOpen { .. } | Self::Pool(_) => StatusCode::SERVICE_UNAVAILABLE,
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
            Self::Database(_) => "look for the correlation id in the log",
            Self::Refused(_) | Self::BadRequest(_) => "change the request",
        }
    }

    fn log(&self) {
        match self {
            Self::CircuitOpen { retry_after } => tracing::error!(
                class = "circuit_open",
                upstream = PAYMENT_API,
                retry_after_ms = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX),
                "{self}"
            ),
            Self::Provider { class, .. } => {
                tracing::error!(class, upstream = PAYMENT_API, "{self}");
            }
            Self::Pool(error) => match error.source() {
                Some(source) => tracing::error!(class = error.class(), "{self}: {source}"),
                None => tracing::error!(class = error.class(), "{self}"),
            },
            Self::Database(_) => tracing::error!(class = "database", "{self}"),
            Self::Refused(_) | Self::BadRequest(_) => tracing::info!("{self}"),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.log();
        let problem = Problem::new(self.status(), self.to_string()).advice(self.advice());
        let mut response = problem.into_response();
        if let Self::CircuitOpen { retry_after } = self {
            // Rounded up: a client that comes back too early is refused again.
            let seconds = retry_after.as_millis().div_ceil(1000);
            if let Ok(value) = HeaderValue::from_str(&seconds.to_string()) {
                response.headers_mut().insert(header::RETRY_AFTER, value);
            }
        }
        response
    }
}
