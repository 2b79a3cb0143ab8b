//! What can be said to a change without asking the service: by the last picture
//! there is of it.

use jiff::Timestamp;
use resilience_core::{
    control::{
        Action, ChangeError, ChangeOutcome, ChangeRequest, Condition, Receipt, Unavailable, nearest,
    },
    snapshot::{OverrideKind, Snapshot, WindowSnapshot},
};

use super::link::Sight;

/// What the last picture says against waiting.
pub(super) fn refusal(
    breaker: &str,
    request: &ChangeRequest,
    sight: &Sight,
) -> Option<ChangeError> {
    let names = || sight.snapshot.all_breakers().map(|b| b.name.as_str());
    let Some(known) = sight.snapshot.breaker(breaker) else {
        return Some(ChangeError::Unknown {
            name: breaker.to_owned(),
            nearest: nearest(breaker, names()),
        });
    };
    if sight.condition == Condition::Dead {
        return Some(ChangeError::Unavailable(Unavailable {
            what: format!("the service is {}", sight.describe()),
            advice: "restart it, then ask again: an open circuit comes back for the rest of its \
                     wait, an override until its end"
                .to_owned(),
        }));
    }
    let set = known.overridden.as_ref();
    // One that has ended since is gone as soon as the service goes on.
    let set = set.filter(|set| set.expires_at.is_none_or(|end| Timestamp::now() < end));
    match (request.action, set.map(|set| set.kind)) {
        (Action::Enable, None) => return Some(ChangeError::NotOverridden),
        (Action::Reset, Some(kind)) if kind != OverrideKind::MetricsOnly => {
            return Some(ChangeError::Overridden(kind));
        }
        (Action::Reset, None) if !known.enabled => return Some(ChangeError::Disabled),
        _ => {}
    }
    moved(breaker, request, &sight.snapshot)
}

/// What it says of `if_generation`.
pub(super) fn moved(
    breaker: &str,
    request: &ChangeRequest,
    snapshot: &Snapshot,
) -> Option<ChangeError> {
    let expected = request.if_generation?;
    let known = snapshot.breaker(breaker)?;
    (known.generation != expected).then_some(ChangeError::Moved {
        expected,
        actual: known.generation,
    })
}

/// A receipt from the last picture: nothing was changed.
pub(super) fn receipt(
    breaker: &str,
    action: Action,
    snapshot: &Snapshot,
    outcome: ChangeOutcome,
    detail: String,
) -> Result<Receipt, ChangeError> {
    match snapshot.breaker(breaker) {
        Some(known) => Ok(Receipt {
            service: known.name.clone(),
            replica: snapshot.replica.clone(),
            action,
            before: known.state,
            after: known.state,
            outcome,
            generation: known.generation,
            expires_at: None,
            discarded: WindowSnapshot::default(),
            detail,
        }),
        None => Err(ChangeError::Unknown {
            name: breaker.to_owned(),
            nearest: nearest(breaker, snapshot.all_breakers().map(|b| b.name.as_str())),
        }),
    }
}
