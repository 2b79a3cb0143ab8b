//! One change, told three times: audit line, counter, log line.

use jiff::Timestamp;
use resilience_core::{
    control::{Action, ChangeError, ChangeOutcome, ChangeRequest, Receipt, Subject},
    pool::diagnosis::{BackendEnd, EndOutcome, Terminate, Terminated},
};

use crate::{
    audit::{AuditLog, Entry},
    database::{Asked, NoAnswer},
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

    /// Writes down what became of a change. A dry run changes nothing and is
    /// only counted.
    pub async fn change(
        &self,
        name: &str,
        request: &ChangeRequest,
        from: Option<&str>,
        result: &Result<Receipt, ChangeError>,
    ) {
        let (action, outcome) = (request.action.as_str(), label(result));
        self.metrics.command(action, outcome);
        if request.dry_run {
            return;
        }
        let detail = match result {
            Ok(receipt) => receipt.detail().to_owned(),
            Err(error) => error.to_string(),
        };
        let actor = request.actor.as_deref().unwrap_or("unknown");
        let of = |subject| (request.action.subject() == subject).then_some(name);
        // Fields that are `None` are left out.
        let (breaker, pool) = (of(Subject::Breaker), of(Subject::Pool));
        let fallback = of(Subject::Fallback);
        if result.is_ok() {
            tracing::info!(
                breaker,
                pool,
                fallback,
                actor,
                outcome,
                "{action}: {detail}"
            );
        } else {
            tracing::warn!(
                class = outcome,
                breaker,
                pool,
                fallback,
                actor,
                "{action} refused: {detail}"
            );
        }
        let receipt = result.as_ref().ok();
        let [before, after] =
            receipt.map_or([None, None], |receipt| receipt.before_and_after().map(Some));
        let entry = Entry {
            time: Timestamp::now(),
            actor: actor.to_owned(),
            from: from.unwrap_or("unknown").to_owned(),
            action,
            lasts: request
                .lasts
                .map(|lasts| humantime::format_duration(lasts).to_string()),
            limits: (request.action == Action::Resize).then_some(request.limits),
            breaker: breaker.map(cut),
            pool: pool.map(cut),
            fallback: fallback.map(cut),
            database: None,
            pids: Vec::new(),
            before,
            after,
            outcome,
            reason: request.reason.as_deref().map(cut),
            detail: cut(&detail),
        };
        self.write(&entry).await;
    }

    /// Writes down which backends of the database were ended. A dry run ends
    /// none and is only counted.
    pub(crate) async fn terminate(
        &self,
        asked: &Asked,
        actor: &str,
        from: Option<&str>,
        result: &Result<Terminated, NoAnswer>,
    ) {
        const ACTION: &str = "terminate";
        let outcome = end_label(result);
        self.metrics.command(ACTION, outcome);
        if asked.dry_run {
            return;
        }
        let detail = match result {
            Ok(ended) => ends(asked, ended),
            Err(error) => error.line(),
        };
        let ended = result.as_ref().ok();
        let database = ended.map(|ended| ended.database.clone());
        let name = database.as_deref().unwrap_or("unknown");
        match outcome {
            "applied" | "pending" => {
                tracing::info!(database = name, actor, outcome, "{ACTION}: {detail}");
            }
            _ => tracing::warn!(
                class = outcome,
                database = name,
                actor,
                "{ACTION} refused: {detail}"
            ),
        }
        let told =
            |end: &&BackendEnd| matches!(end.outcome, EndOutcome::Ended | EndOutcome::Signalled);
        let backends = ended
            .map(|ended| ended.backends.as_slice())
            .unwrap_or_default();
        let entry = Entry {
            time: Timestamp::now(),
            actor: actor.to_owned(),
            from: from.unwrap_or("unknown").to_owned(),
            action: ACTION,
            lasts: None,
            limits: None,
            breaker: None,
            pool: None,
            fallback: None,
            database,
            pids: backends.iter().filter(told).map(|end| end.pid).collect(),
            before: None,
            after: None,
            outcome,
            reason: asked.reason.as_deref().map(cut),
            detail: cut(&detail),
        };
        self.write(&entry).await;
    }

    async fn write(&self, entry: &Entry) {
        if let Err(error) = self.audit.write(entry).await {
            self.metrics.audit_failure();
            let source = std::error::Error::source(&error)
                .map(|source| format!(": {source}"))
                .unwrap_or_default();
            let line = serde_json::to_string(entry).unwrap_or_default();
            tracing::error!(
                class = "audit",
                "{error}{source}; the change was made all the same, mend --audit-log; the line: \
                 {line}"
            );
        }
    }
}

/// The one place where a result becomes a metric label.
fn label(result: &Result<Receipt, ChangeError>) -> &'static str {
    match result {
        Ok(receipt) => match receipt.outcome() {
            ChangeOutcome::Applied => "applied",
            ChangeOutcome::DryRun => "dry_run",
            ChangeOutcome::Pending => "pending",
            ChangeOutcome::Reopened => "reopened",
        },
        Err(ChangeError::Unknown { .. }) => "unknown",
        Err(ChangeError::Moved { .. }) => "moved",
        Err(ChangeError::Disabled) => "disabled",
        Err(ChangeError::Overridden(_)) => "overridden",
        Err(ChangeError::NotOverridden) => "not_overridden",
        Err(ChangeError::Pending(_)) => "behind_pending",
        Err(ChangeError::KeyUsed(_)) => "key_used",
        // Non-exhaustive: what is not known here was not done either.
        Err(_) => "unavailable",
    }
}

fn end_label(result: &Result<Terminated, NoAnswer>) -> &'static str {
    let Ok(ended) = result else {
        return "unavailable";
    };
    let is = |outcome| ended.backends.iter().any(|end| end.outcome == outcome);
    if ended.dry_run {
        "dry_run"
    } else if is(EndOutcome::Signalled) {
        "pending"
    } else if is(EndOutcome::Refused) && ended.ended == 0 {
        "refused"
    } else {
        "applied"
    }
}

/// What became of them, in a sentence.
fn ends(asked: &Asked, ended: &Terminated) -> String {
    let each: Vec<_> = ended
        .backends
        .iter()
        .map(|end| end.detail.as_str())
        .collect();
    match asked.whom {
        Terminate::IdleLongerThan(time) => format!(
            "{} of {} backends idle for longer than {}: {}",
            ended.ended,
            each.len(),
            humantime::format_duration(time),
            each.join("; ")
        ),
        _ => each.join("; "),
    }
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}
