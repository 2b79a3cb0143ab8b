//! What the crate itself says in the log: who asked, and how the start goes.

use std::fmt::Display;

use tracing::Span;

/// Target of the startup steps; `grep startup` finds them.
pub const STARTUP: &str = "startup";

/// Target of the spans made by [`correlation_span`].
pub(super) const CORRELATION: &str = "resilience_core::correlation";

/// A span that puts `correlation_id:<id>` on every line written inside of it.
///
/// Each future that works for the request has to run in it: the middleware
/// sees to the handler, a task of its own needs
/// [`Instrument`](tracing::Instrument).
#[must_use]
pub fn correlation_span(id: &str) -> Span {
    // At level ERROR, so that a subscriber other than ours keeps it at any
    // level too: an error that cannot be found by its id is half lost.
    tracing::error_span!(target: CORRELATION, "request", correlation_id = id)
}

/// Logs a step of the start that went well: `startup - step:database connected`.
pub fn startup(step: &str, message: impl Display) {
    tracing::info!(target: STARTUP, step, "{message}");
}

/// Logs the step of the start that failed, at ERROR with the class `startup`.
/// The message says what is wrong and how to mend it.
pub fn startup_failed(step: &str, message: impl Display) {
    tracing::error!(target: STARTUP, class = "startup", step, "{message}");
}
