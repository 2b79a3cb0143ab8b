//! Errors as RFC 9457 `application/problem+json`: what was wrong, what was
//! expected, what to do.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Map, Value};

/// The media type of a problem.
pub const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/problem+json");

/// What was wrong, and what the reader can do now.
#[derive(Clone, Debug, Serialize)]
pub struct Problem {
    title: &'static str,
    #[serde(serialize_with = "as_number")]
    status: StatusCode,
    detail: String,
    advice: String,
    #[serde(flatten)]
    members: Map<String, Value>,
}

impl Problem {
    /// A problem whose title is the status code's own words.
    pub fn new(status: StatusCode, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            title: status.canonical_reason().unwrap_or("Error"),
            status,
            detail: detail.into(),
            advice: advice.into(),
            members: Map::new(),
        }
    }

    /// Adds a member of its own, for programs.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// The HTTP status it is sent with.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// What was wrong.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

fn as_number<S: serde::Serializer>(status: &StatusCode, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u16(status.as_u16())
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // Strings, numbers and JSON values cannot fail to serialise; an empty
        // body would still carry the status.
        let mut body = serde_json::to_vec(&self).unwrap_or_default();
        body.push(b'\n');
        (self.status, [(header::CONTENT_TYPE, CONTENT_TYPE)], body).into_response()
    }
}
