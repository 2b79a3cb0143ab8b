//! What can be said to a change without asking the service: by the last picture
//! there is of it.

use jiff::Timestamp;
use resilience_core::{
    control::{
        Action, BreakerReceipt, ChangeError, ChangeOutcome, ChangeRequest, Condition,
        FallbackReceipt, FallbackSwitch, PoolLimits, PoolReceipt, Receipt, Subject, Unavailable,
        nearest,
    },
    snapshot::{
        BreakerSnapshot, FallbackSnapshot, OverrideKind, PoolSnapshot, Snapshot, WindowSnapshot,
    },
};

use super::link::Sight;

/// What the last picture says against waiting.
pub(super) fn refusal(name: &str, request: &ChangeRequest, sight: &Sight) -> Option<ChangeError> {
    let (known, comes_back) = match request.action.subject() {
        Subject::Breaker => (
            breaker(name, &sight.snapshot).map(Some),
            "an open circuit comes back for the rest of its wait, an override until its end",
        ),
        Subject::Pool => (
            pool(name, &sight.snapshot).map(|_| None),
            "its pools have the limits of the configuration then",
        ),
        Subject::Fallback => (
            fallback(name, &sight.snapshot).map(|_| None),
            "a fallback comes back as it is switched now, with the answers that its file or \
             Redis holds, and without those in memory",
        ),
    };
    let known = match known {
        Ok(known) => known,
        Err(unknown) => return Some(unknown),
    };
    if sight.condition == Condition::Dead {
        return Some(ChangeError::Unavailable(Unavailable {
            what: format!("the service is {}", sight.describe()),
            advice: format!("restart it, then ask again: {comes_back}"),
        }));
    }
    let known = known?;
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
    moved(name, request, &sight.snapshot)
}

/// What it says of `if_generation`.
pub(super) fn moved(
    name: &str,
    request: &ChangeRequest,
    snapshot: &Snapshot,
) -> Option<ChangeError> {
    let expected = request.if_generation?;
    let known = snapshot.breaker(name)?;
    (known.generation != expected).then_some(ChangeError::Moved {
        expected,
        actual: known.generation,
    })
}

/// A receipt from the last picture: nothing was changed.
pub(super) fn receipt(
    name: &str,
    action: Action,
    snapshot: &Snapshot,
    outcome: ChangeOutcome,
    detail: String,
) -> Result<Receipt, ChangeError> {
    let replica = snapshot.replica.clone();
    Ok(match action.subject() {
        Subject::Breaker => {
            let known = breaker(name, snapshot)?;
            Receipt::Breaker(BreakerReceipt {
                service: known.name.clone(),
                replica,
                action,
                before: known.state,
                after: known.state,
                outcome,
                generation: known.generation,
                expires_at: None,
                discarded: WindowSnapshot::default(),
                detail,
            })
        }
        Subject::Pool => {
            let limits = PoolLimits::of(pool(name, snapshot)?);
            Receipt::Pool(PoolReceipt {
                pool: name.to_owned(),
                replica,
                action,
                before: limits,
                after: limits,
                outcome,
                retired: None,
                detail,
            })
        }
        Subject::Fallback => {
            let switch = FallbackSwitch::of(fallback(name, snapshot)?);
            Receipt::Fallback(FallbackReceipt {
                service: name.to_owned(),
                replica,
                action,
                before: switch,
                after: switch,
                outcome,
                purged: None,
                detail,
            })
        }
    })
}

fn breaker<'a>(name: &str, snapshot: &'a Snapshot) -> Result<&'a BreakerSnapshot, ChangeError> {
    snapshot.breaker(name).ok_or_else(|| ChangeError::Unknown {
        subject: Subject::Breaker,
        name: name.to_owned(),
        nearest: nearest(name, snapshot.all_breakers().map(|b| b.name.as_str())),
    })
}

fn pool<'a>(name: &str, snapshot: &'a Snapshot) -> Result<&'a PoolSnapshot, ChangeError> {
    snapshot.pool(name).ok_or_else(|| ChangeError::Unknown {
        subject: Subject::Pool,
        name: name.to_owned(),
        nearest: nearest(name, snapshot.pools.iter().map(|pool| pool.name.as_str())),
    })
}

fn fallback<'a>(name: &str, snapshot: &'a Snapshot) -> Result<&'a FallbackSnapshot, ChangeError> {
    snapshot.fallback(name).ok_or_else(|| ChangeError::Unknown {
        subject: Subject::Fallback,
        name: name.to_owned(),
        nearest: nearest(name, snapshot.fallbacks.iter().map(|one| one.name.as_str())),
    })
}
