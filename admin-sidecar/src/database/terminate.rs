//! `POST /admin/db/terminate`.

use axum::{
    body::Bytes,
    extract::{RawQuery, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode};
use resilience_core::{
    Problem,
    control::ACTOR_HEADER,
    pool::diagnosis::{EndOutcome, Limit, Refusal, Terminate, Terminated},
};

use super::{connection::Database, problem::NoAnswer, request::Asked, routes};
use crate::{guard, journal::Journal};

/// What ending a backend needs.
#[derive(Clone, Debug)]
pub(super) struct Terminator {
    pub(super) database: Database,
    pub(super) journal: Journal,
}

pub(super) async fn answer(
    State(terminator): State<Terminator>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let asked = Asked::parse(&query.unwrap_or_default(), &body)?;
    let actor = headers
        .get(ACTOR_HEADER)
        .and_then(|actor| actor.to_str().ok());
    let actor = actor.unwrap_or("unknown").to_owned();
    let from = guard::caller();
    let whom = asked.whom;
    // A task of its own: who hangs up after the backend was ended must not take
    // the audit line with him.
    let ended = tokio::spawn(async move { terminator.end(&asked, &actor, from.as_deref()).await });
    let ended = ended.await.map_err(|_| {
        Problem::internal("the sidecar broke off").advice("look at /admin/db/activity")
    })??;
    answered(&headers, whom, &ended)
}

impl Terminator {
    async fn end(
        &self,
        asked: &Asked,
        actor: &str,
        from: Option<&str>,
    ) -> Result<Terminated, Problem> {
        let result = self.try_end(asked).await;
        self.journal.terminate(asked, actor, from, &result).await;
        result.map_err(|error| error.problem(&self.database))
    }

    async fn try_end(&self, asked: &Asked) -> Result<Terminated, NoAnswer> {
        let lent = self.database.lend().await?;
        let diagnosis = lent.diagnosis(Limit::default());
        let ended = diagnosis.terminate(asked.whom, asked.dry_run).await;
        Ok(lent.settle(ended)?)
    }
}

/// One backend that was asked for by number and left alone is a refusal; of
/// many, each says for itself what became of it.
fn answered(headers: &HeaderMap, whom: Terminate, ended: &Terminated) -> Result<Response, Problem> {
    if let (Terminate::Pid(pid), Some(backend)) = (whom, ended.backends.first())
        && let Some(refusal) = backend.refusal
    {
        let detail = backend.detail.clone();
        let problem = match refusal {
            Refusal::NotFound => Problem::not_found(detail)
                .advice("GET /admin/db/activity or /admin/db/idle list them"),
            _ => Problem::forbidden(detail)
                .advice("if it has to be ended all the same, use psql as a superuser"),
        };
        let refusal = serde_json::to_value(refusal).unwrap_or_default();
        return Err(problem.with("pid", pid).with("refusal", refusal));
    }
    let waits = |outcome: EndOutcome| outcome == EndOutcome::Signalled;
    let status = match ended.backends.iter().any(|end| waits(end.outcome)) {
        true => StatusCode::ACCEPTED,
        false => StatusCode::OK,
    };
    Ok((status, routes::shown(headers, ended)).into_response())
}
