//! When an override ends, for a person. One wording for receipts, explanations,
//! health and log lines.

use jiff::Timestamp;

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
