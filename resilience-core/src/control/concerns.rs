//! What an operator should know of a fallback: one wording for the admin API and
//! health. None of it is a reason to take a replica out of service.

use super::words::{by_whom, instant};
use crate::snapshot::{FallbackSnapshot, StoreSnapshot};

/// Such as `rates is switched off by hand by on-call since …: failures reach the
/// callers`.
pub(crate) fn of_fallback(fallback: &FallbackSnapshot) -> Option<String> {
    let set = fallback.switched.as_ref()?;
    let (name, since) = (&fallback.name, instant(set.since));
    let by = by_whom(set.actor.as_deref(), set.reason.as_deref());
    Some(match fallback.enabled {
        true => format!("{name} is switched on by hand{by} since {since}"),
        false => {
            format!("{name} is switched off by hand{by} since {since}: failures reach the callers")
        }
    })
}

/// Such as `the redis store is down since …: …; answers are in memory only`.
pub(crate) fn of_store(store: &StoreSnapshot) -> Option<String> {
    if store.up {
        return None;
    }
    let kind = &store.kind;
    let why = store.last_error.as_ref().map_or_else(String::new, |error| {
        format!(", last at {}: {}", instant(error.at), error.message)
    });
    Some(format!(
        "the {kind} store is down{why}; answers are in memory only"
    ))
}
