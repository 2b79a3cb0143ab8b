//! Refusals of the admin API as HTTP answers: what to do now.

use super::{ChangeError, Unavailable};
use crate::problem::Problem;

impl From<Unavailable> for Problem {
    fn from(unavailable: Unavailable) -> Self {
        Self::unavailable(unavailable.what).advice(unavailable.advice)
    }
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        let detail = error.to_string();
        match error {
            ChangeError::Unknown {
                nearest, subject, ..
            } => {
                let advice = match nearest.first() {
                    Some(name) => format!("did you mean `{name}`?"),
                    None => format!("GET {} lists the names", subject.path()),
                };
                Self::not_found(detail)
                    .advice(advice)
                    .with("nearest", nearest)
            }
            ChangeError::Moved { expected, actual } => Self::conflict(detail)
                .advice("look at the breaker again, then ask with its generation of now")
                .with("reason", "moved")
                .with("expected", expected)
                .with("actual", actual),
            ChangeError::Disabled => Self::conflict(detail)
                .advice(
                    "set `enabled: true` for it in the configuration; it lets every call through \
                     now",
                )
                .with("reason", "disabled"),
            ChangeError::Overridden(kind) => Self::conflict(detail)
                .advice("POST …/enable removes the override; a reset does not")
                .with("reason", "overridden")
                .with("override", kind.as_str()),
            ChangeError::NotOverridden => Self::conflict(detail)
                .advice(
                    "there is nothing to remove: the breaker follows its own judgement; \
                     POST …/reset closes an open circuit",
                )
                .with("reason", "not_overridden"),
            ChangeError::Pending(action) => Self::conflict(detail)
                .advice(
                    "wait until the service has taken it or it is given up, then look again and \
                     ask again",
                )
                .with("reason", "pending")
                .with("pending", action.as_str()),
            ChangeError::KeyUsed(action) => Self::unprocessable(detail)
                .advice("send a key of its own with each change, or none")
                .with("reason", "key_used")
                .with("used_for", action.as_str()),
            ChangeError::Unavailable(unavailable) => unavailable.into(),
        }
    }
}
