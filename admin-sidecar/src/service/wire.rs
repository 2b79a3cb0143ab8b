//! A change on the wire: the question put to the service, and its answer.

use std::{
    collections::hash_map::RandomState,
    error::Error,
    fmt::Write as _,
    hash::BuildHasher,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use axum::body::Bytes;
use http::{Request, StatusCode, header};
use jiff::Timestamp;
use resilience_core::{
    control::{
        ACTOR_HEADER, Action, ChangeError, ChangeRequest, NOT_AFTER_HEADER, Receipt, Subject,
        Unavailable,
    },
    snapshot::OverrideKind,
};
use serde::Deserialize;

/// What all tries of one change have in common. A try that timed out cannot be
/// taken back: it may lie unread in the socket of a stopped process, which
/// takes it from there when it goes on.
#[derive(Debug)]
pub(super) struct Ticket {
    /// So that it is made once.
    key: String,
    /// So that it is not made after it was given up.
    not_after: Option<Timestamp>,
}

impl Ticket {
    /// Good for `patience` from now on.
    pub(super) fn new(key: String, patience: Duration) -> Self {
        Self {
            key,
            not_after: Timestamp::now().checked_add(patience).ok(),
        }
    }
}

/// The question.
pub(super) fn question(
    name: &str,
    request: &ChangeRequest,
    ticket: &Ticket,
) -> Result<Request<Bytes>, Box<dyn Error + Send + Sync>> {
    let query = if request.dry_run { "?dry_run" } else { "" };
    let (listed, name) = (request.action.subject().path(), path_segment(name));
    let action = request.action.path();
    let mut question = Request::post(format!("{listed}/{name}/{action}{query}"))
        .header(header::CONTENT_TYPE, "application/json")
        .header("idempotency-key", &ticket.key);
    if let Some(actor) = &request.actor {
        question = question.header(ACTOR_HEADER, actor);
    }
    if let Some(not_after) = ticket.not_after {
        question = question.header(NOT_AFTER_HEADER, not_after.to_string());
    }
    Ok(question.body(Bytes::from(request.body().to_string()))?)
}

/// The service's answer, believed only as far as it can be read.
pub(super) fn read(
    name: &str,
    action: Action,
    status: StatusCode,
    body: &[u8],
) -> Result<Receipt, ChangeError> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Told {
        detail: Option<String>,
        title: Option<String>,
        reason: Option<String>,
        nearest: Option<Vec<String>>,
        expected: Option<u32>,
        actual: Option<u32>,
        #[serde(rename = "override")]
        overridden: Option<OverrideKind>,
        used_for: Option<Action>,
    }
    let odd = |what: String| {
        ChangeError::Unavailable(Unavailable {
            what: format!("the service's answer to the change cannot be used: {what}"),
            advice: format!(
                "look at the {}; if it is not as you asked for, look at the service's log",
                action.subject().noun()
            ),
        })
    };
    if status.is_success() {
        let receipt = match action.subject() {
            Subject::Breaker => serde_json::from_slice(body).map(Receipt::Breaker),
            Subject::Pool => serde_json::from_slice(body).map(Receipt::Pool),
            Subject::Fallback => serde_json::from_slice(body).map(Receipt::Fallback),
        };
        return receipt.map_err(|error| odd(error.to_string()));
    }
    let told: Told = serde_json::from_slice(body).unwrap_or_default();
    let reason = told.reason.as_deref().unwrap_or_default();
    Err(match (status, reason) {
        // Without it, it is the path that an older service does not know.
        (StatusCode::NOT_FOUND, _) if let Some(nearest) = told.nearest => ChangeError::Unknown {
            subject: action.subject(),
            name: name.to_owned(),
            nearest,
        },
        (StatusCode::CONFLICT, "disabled") => ChangeError::Disabled,
        (StatusCode::CONFLICT, "not_overridden") => ChangeError::NotOverridden,
        (StatusCode::CONFLICT, "overridden") if let Some(kind) = told.overridden => {
            ChangeError::Overridden(kind)
        }
        (StatusCode::CONFLICT, _)
            if let (Some(expected), Some(actual)) = (told.expected, told.actual) =>
        {
            ChangeError::Moved { expected, actual }
        }
        (StatusCode::UNPROCESSABLE_ENTITY, "key_used") if let Some(action) = told.used_for => {
            ChangeError::KeyUsed(action)
        }
        _ => odd(format!(
            "{status} {}",
            told.detail.or(told.title).unwrap_or_default()
        )),
    })
}

/// A name as one segment of a path.
fn path_segment(name: &str) -> String {
    let mut segment = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            segment.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(segment, "%{byte:02X}");
        }
    }
    segment
}

/// Unique, not secret: it only tells this change from others.
pub(super) fn new_key() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    // ordering: Relaxed. A number of its own for each caller is all that is
    // asked of it.
    let count = COUNT.fetch_add(1, Relaxed);
    let salt = RandomState::new().hash_one((std::process::id(), Timestamp::now(), count));
    format!("sidecar-{salt:016x}-{count}")
}

#[cfg(test)]
mod tests {
    use resilience_core::Problem;

    use super::*;

    #[test]
    fn a_name_stays_one_segment_whatever_it_holds() {
        assert_eq!(path_segment("payment_api"), "payment_api");
        assert_eq!(path_segment("a/b?c ü"), "a%2Fb%3Fc%20%C3%BC");
    }

    #[test]
    fn a_receipt_of_the_other_kind_is_not_believed() {
        let pool = r#"{"pool": "main", "replica": "a", "action": "recycle",
            "before": {"pool_size": 20, "max_overflow": 10},
            "after": {"pool_size": 20, "max_overflow": 10},
            "outcome": "applied", "retired": 3, "detail": "…"}"#;
        let read = |action| read("main", action, StatusCode::OK, pool.as_bytes());
        let receipt = read(Action::Recycle).unwrap();
        assert!(matches!(receipt, Receipt::Pool(receipt) if receipt.retired == Some(3)));
        for other in [Action::Reset, Action::Purge] {
            assert!(matches!(read(other), Err(ChangeError::Unavailable(_))));
        }
    }

    #[test]
    fn keys_differ() {
        assert_ne!(new_key(), new_key());
    }

    #[test]
    fn the_services_refusals_are_understood() {
        let read = |status, body: &str| {
            let answered = read("a", Action::Reset, status, body.as_bytes());
            answered.unwrap_err()
        };
        let error = read(StatusCode::NOT_FOUND, r#"{"nearest":["ab"]}"#);
        assert!(matches!(error, ChangeError::Unknown { nearest, .. } if nearest == ["ab"]));
        let error = read(StatusCode::CONFLICT, r#"{"expected":3,"actual":4}"#);
        assert!(matches!(
            error,
            ChangeError::Moved {
                expected: 3,
                actual: 4
            }
        ));
        for refusal in [
            ChangeError::Disabled,
            ChangeError::NotOverridden,
            ChangeError::Overridden(OverrideKind::ForcedOpen),
            ChangeError::KeyUsed(Action::MetricsOnly),
            ChangeError::Moved {
                expected: 3,
                actual: 4,
            },
        ] {
            let said = Problem::from(refusal.clone());
            let body = serde_json::to_string(&said).unwrap();
            assert_eq!(read(said.status, &body).to_string(), refusal.to_string());
        }
        for (status, body) in [
            (StatusCode::OK, "not a receipt"),
            (StatusCode::CONFLICT, "{}"),
            (
                StatusCode::NOT_FOUND,
                r#"{"detail":"there is nothing at this path"}"#,
            ),
            (StatusCode::INTERNAL_SERVER_ERROR, "<html>"),
        ] {
            assert!(matches!(read(status, body), ChangeError::Unavailable(_)));
        }
    }
}
