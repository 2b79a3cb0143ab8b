//! Errors as RFC 9457 `application/problem+json`.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

/// What was wrong, and what the reader can do now.
#[derive(Clone, Debug, Serialize)]
pub struct Problem {
    #[serde(serialize_with = "status_number")]
    status: StatusCode,
    title: &'static str,
    detail: String,
    advice: String,
}

impl Problem {
    /// A problem whose title is the status code's own words.
    pub fn new(status: StatusCode, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            status,
            title: status.canonical_reason().unwrap_or("Error"),
            detail: detail.into(),
            advice: advice.into(),
        }
    }

    /// The HTTP status it is sent with.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What was wrong.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

fn status_number<S: serde::Serializer>(
    status: &StatusCode,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // A struct of strings and a number cannot fail to serialize; an empty
        // body would still carry the status.
        let mut body = serde_json::to_vec(&self).unwrap_or_default();
        body.push(b'\n');
        (self.status, [(header::CONTENT_TYPE, CONTENT_TYPE)], body).into_response()
    }
}

/// The media type of a problem.
pub const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/problem+json");

/// Gives the router's bare 404 and 405 the body that every error has. `Allow`
/// and the other headers stay.
pub async fn dress(response: Response) -> Response {
    let advice = match response.status() {
        StatusCode::NOT_FOUND => "GET / lists the paths",
        StatusCode::METHOD_NOT_ALLOWED => "use a method of the `Allow` header",
        _ => return response,
    };
    if response.headers().contains_key(header::CONTENT_TYPE) {
        return response; // an answer with something of its own to say
    }
    let (head, _) = response.into_parts();
    let detail = match head.status {
        StatusCode::NOT_FOUND => "there is nothing at this path",
        _ => "the path does not take this method",
    };
    let mut dressed = Problem::new(head.status, detail, advice).into_response();
    for (name, value) in &head.headers {
        if name != header::CONTENT_LENGTH {
            dressed.headers_mut().insert(name.clone(), value.clone());
        }
    }
    dressed
}

/// An empty body, for answers that are all in their head.
#[must_use]
pub fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
