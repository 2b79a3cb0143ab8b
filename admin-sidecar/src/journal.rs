//! One change, told three times: audit line, counter, log line.

use jiff::Timestamp;
use resilience_core::control::{Receipt, ResetError, ResetOutcome, ResetRequest};

use crate::{
    audit::{AuditLog, Entry},
    metrics::SidecarMetrics,
};

/// A name or reason longer than this is cut in the audit log.
const MAX_TEXT: usize = 1024;

/// Where changes are written down. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Journal {
    audit: AuditLog,
    metrics: SidecarMetrics,
}

impl Journal {
    /// Writes to both.
    #[must_use]
    pub fn new(audit: AuditLog, metrics: SidecarMetrics) -> Self {
        Self { audit, metrics }
    }

    /// Writes down what became of a reset. A dry run changes nothing and is
    /// only counted.
    pub async fn reset(
        &self,
        breaker: &str,
        request: &ResetRequest,
        from: Option<&str>,
        result: &Result<Receipt, ResetError>,
    ) {
        let outcome = label(result);
        self.metrics.command("reset", outcome);
        if request.dry_run {
            return;
        }
        let detail = match result {
            Ok(receipt) => receipt.detail.clone(),
            Err(error) => error.to_string(),
        };
        let actor = request.actor.as_deref().unwrap_or("unknown");
        if result.is_ok() {
            tracing::info!(breaker, actor, outcome, "reset: {detail}");
        } else {
            tracing::warn!(class = outcome, breaker, actor, "reset refused: {detail}");
        }
        let receipt = result.as_ref().ok();
        let entry = Entry {
            time: Timestamp::now(),
            actor: actor.to_owned(),
            from: from.unwrap_or("unknown").to_owned(),
            action: "reset",
            breaker: cut(breaker),
            before: receipt.map(|receipt| receipt.before),
            after: receipt.map(|receipt| receipt.after),
            outcome,
            reason: request.reason.as_deref().map(cut),
            detail: cut(&detail),
        };
        if let Err(error) = self.audit.write(&entry).await {
            self.metrics.audit_failure();
            let source = std::error::Error::source(&error)
                .map(|source| format!(": {source}"))
                .unwrap_or_default();
            let line = serde_json::to_string(&entry).unwrap_or_default();
            tracing::error!(
                class = "audit",
                "{error}{source}; the change was made all the same, mend --audit-log; the line: \
                 {line}"
            );
        }
    }
}

/// The one place where a result becomes a metric label.
fn label(result: &Result<Receipt, ResetError>) -> &'static str {
    match result {
        Ok(receipt) => match receipt.outcome {
            ResetOutcome::Applied => "applied",
            ResetOutcome::DryRun => "dry_run",
            ResetOutcome::Pending => "pending",
            ResetOutcome::Reopened => "reopened",
        },
        Err(ResetError::Unknown { .. }) => "unknown",
        Err(ResetError::Moved { .. }) => "moved",
        Err(ResetError::Disabled) => "disabled",
        // Non-exhaustive: what is not known here was not done either.
        Err(_) => "unavailable",
    }
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}
