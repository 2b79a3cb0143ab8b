//! Error answers that say what was wrong, what was expected and what to do.

use ::http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The media type of a [`Problem`].
pub const PROBLEM_JSON: &str = "application/problem+json";

/// An error answer.
///
/// Its `type` is `about:blank` (the status says it all) unless
/// [`kind`](Self::kind) gives it one, and its title is then the status's own
/// phrase.
///
/// # Example
///
/// ```
/// use resilience_core::Problem;
///
/// let problem = Problem::not_found("there is no circuit breaker `payment_apo`")
///     .advice("the nearest names are: payment_api")
///     .with("nearest", ["payment_api"]);
/// assert_eq!(problem.status.as_u16(), 404);
/// assert_eq!(problem.title, "Not Found");
/// ```
///
/// # Source
///
/// RFC 9457, *Problem Details for HTTP APIs*; `advice` is an extension member.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// `about:blank` or a URI reference that stays the same between versions.
    #[serde(rename = "type", default = "about_blank")]
    pub kind: String,
    /// The kind of problem in a few words, the same each time it occurs.
    #[serde(default)]
    pub title: String,
    /// The status it is answered with.
    #[serde(with = "status")]
    pub status: StatusCode,
    /// What was wrong this time, and what was expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What the reader can do now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// Further members, for programs; see [`with`](Self::with).
    #[serde(flatten)]
    pub extensions: Map<String, Value>,
}

fn about_blank() -> String {
    "about:blank".to_owned()
}

/// Members with a meaning of their own: an extension of the same name would
/// make two of them in one object.
const RESERVED: [&str; 6] = ["type", "title", "status", "detail", "instance", "advice"];

macro_rules! builders {
    ($($(#[$doc:meta])* $name:ident => $status:ident;)*) => {
        impl Problem {
            $($(#[$doc])*
            #[must_use]
            pub fn $name(detail: impl Into<String>) -> Self {
                Self::new(StatusCode::$status, detail)
            })*
        }
    };
}

builders! {
    /// 400: the request cannot be understood.
    bad_request => BAD_REQUEST;
    /// 401: who asks is not known.
    unauthorized => UNAUTHORIZED;
    /// 403: who asks is not allowed to, or not from there.
    forbidden => FORBIDDEN;
    /// 404: there is no such thing.
    not_found => NOT_FOUND;
    /// 405: not with this method.
    method_not_allowed => METHOD_NOT_ALLOWED;
    /// 409: not in this state.
    conflict => CONFLICT;
    /// 413: the body is too long.
    payload_too_large => PAYLOAD_TOO_LARGE;
    /// 415: not with this media type.
    unsupported_media_type => UNSUPPORTED_MEDIA_TYPE;
    /// 422: understood, and not possible.
    unprocessable => UNPROCESSABLE_ENTITY;
    /// 429: too often.
    too_many_requests => TOO_MANY_REQUESTS;
    /// 500: our fault.
    internal => INTERNAL_SERVER_ERROR;
    /// 502: an upstream gave no usable answer.
    bad_gateway => BAD_GATEWAY;
    /// 503: not now.
    unavailable => SERVICE_UNAVAILABLE;
    /// 504: an upstream gave no answer in time.
    gateway_timeout => GATEWAY_TIMEOUT;
}

impl Problem {
    /// A problem answered with this status.
    #[must_use]
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind: about_blank(),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status,
            detail: Some(detail.into()),
            advice: None,
            extensions: Map::new(),
        }
    }

    /// Says what the reader can do now.
    #[must_use]
    pub fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// Gives it a type of its own, such as `/problems/unknown-breaker`, and the
    /// title that goes with it.
    #[must_use]
    pub fn kind(mut self, uri: impl Into<String>, title: impl Into<String>) -> Self {
        self.kind = uri.into();
        self.title = title.into();
        self
    }

    /// Adds a member for programs. A name that RFC 9457 or this type has a
    /// meaning for is left out.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        if !RESERVED.contains(&name) {
            self.extensions.insert(name.to_owned(), value.into());
        }
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(mut self) -> Response {
        // The field is public, so it may have been filled by hand.
        self.extensions
            .retain(|name, _| !RESERVED.contains(&name.as_str()));
        let body = serde_json::to_vec(&self).expect("strings and JSON values are written as JSON");
        let content_type = (CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        (self.status, [content_type], body).into_response()
    }
}

mod status {
    use http::StatusCode;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(status: &StatusCode, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u16(status.as_u16())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<StatusCode, D::Error> {
        StatusCode::from_u16(u16::deserialize(d)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use serde_json::json;

    use super::*;

    async fn answered(problem: Problem) -> (StatusCode, HeaderValue, Value) {
        let response = problem.into_response();
        let status = response.status();
        let content_type = response.headers()[CONTENT_TYPE].clone();
        let body = response.into_body().collect().await.expect("a body");
        let json = serde_json::from_slice(&body.to_bytes()).expect("JSON");
        (status, content_type, json)
    }

    #[tokio::test]
    async fn a_problem_is_answered_as_rfc_9457_wants_it() {
        let problem = Problem::conflict("the breaker is in generation 7, not 6")
            .advice("read its state again")
            .with("generation", 7);
        assert_eq!(
            answered(problem).await,
            (
                StatusCode::CONFLICT,
                HeaderValue::from_static("application/problem+json"),
                json!({
                    "type": "about:blank",
                    "title": "Conflict",
                    "status": 409,
                    "detail": "the breaker is in generation 7, not 6",
                    "advice": "read its state again",
                    "generation": 7,
                })
            )
        );
    }

    #[tokio::test]
    async fn an_extension_cannot_pass_for_a_member_of_the_standard() {
        let mut problem = Problem::forbidden("x").with("status", 200);
        problem.extensions.insert("title".into(), "forged".into());
        let (_, _, json) = answered(problem).await;
        assert_eq!(
            (&json["status"], &json["title"]),
            (&json!(403), &json!("Forbidden"))
        );
    }

    #[test]
    fn a_problem_reads_back_as_it_was_written() {
        let problem = Problem::unavailable("x")
            .kind("/problems/open", "Circuit is open")
            .with("a", 1);
        let text = serde_json::to_string(&problem).expect("JSON");
        assert_eq!(
            serde_json::from_str::<Problem>(&text).expect("a problem"),
            problem
        );
    }
}
