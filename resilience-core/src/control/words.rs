//! How overrides and instants are said to a person: one wording for receipts,
//! explanations, health and log lines.

use jiff::Timestamp;

use crate::snapshot::OverrideKind;

/// Such as `until 2026-01-02 03:04:05 UTC`.
pub(crate) fn until(end: Option<Timestamp>) -> String {
    match end {
        Some(end) => format!("until {}", instant(end)),
        None => "until somebody removes the override".to_owned(),
    }
}

/// Such as `2026-01-02 03:04:05 UTC`.
pub(crate) fn instant(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// For after "it is".
pub(crate) const fn set_to(kind: OverrideKind) -> &'static str {
    match kind {
        OverrideKind::ForcedOpen | OverrideKind::Disabled => kind.words(),
        OverrideKind::MetricsOnly => "set to metrics only",
    }
}

/// What callers meet, for the beginning of a sentence.
pub(crate) const fn effect(kind: OverrideKind) -> &'static str {
    match kind {
        OverrideKind::ForcedOpen => "Every call is refused",
        OverrideKind::Disabled => "Every call is let through and nothing is counted",
        OverrideKind::MetricsOnly => "Every call is let through and counted",
    }
}

/// Such as ` by on-call because "INC-7"`; empty if neither is known.
pub(crate) fn by_whom(actor: Option<&str>, reason: Option<&str>) -> String {
    let actor = actor.map_or_else(String::new, |actor| format!(" by {actor}"));
    let reason = reason.map_or_else(String::new, |reason| format!(" because \"{reason}\""));
    actor + &reason
}
