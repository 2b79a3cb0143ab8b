//! `/admin/db/…`: each path is one question.

use axum::{
    Json, Router,
    extract::{RawQuery, State},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post},
};
use http::{HeaderMap, header};
use resilience_core::{
    Problem,
    pool::diagnosis::{Diagnosis, DiagnosisError},
};
use serde::Serialize;

use super::{
    connection::Database,
    problem::NoAnswer,
    request::Query,
    table,
    terminate::{self, Terminator},
};
use crate::journal::Journal;

/// The routes below `/admin/db`.
pub(crate) fn router(database: Database, journal: Journal) -> Router {
    let end = Terminator {
        database: database.clone(),
        journal,
    };
    let mut questions = Router::new();
    for question in Question::ALL {
        questions = questions.route(question.path(), ask(question));
    }
    questions.with_state(database).merge(
        Router::new()
            .route("/admin/db/terminate", post(terminate::answer))
            .with_state(end),
    )
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    Activity,
    SlowQueries,
    TableSizes,
    MissingIndexes,
    Connections,
    Leaks,
    Idle,
    Locks,
}

impl Question {
    const ALL: [Self; 8] = [
        Self::Activity,
        Self::SlowQueries,
        Self::TableSizes,
        Self::MissingIndexes,
        Self::Connections,
        Self::Leaks,
        Self::Idle,
        Self::Locks,
    ];

    const fn path(self) -> &'static str {
        match self {
            Self::Activity => "/admin/db/activity",
            Self::SlowQueries => "/admin/db/slow-queries",
            Self::TableSizes => "/admin/db/table-sizes",
            Self::MissingIndexes => "/admin/db/missing-indexes",
            Self::Connections => "/admin/db/connections",
            Self::Leaks => "/admin/db/leaks",
            Self::Idle => "/admin/db/idle",
            Self::Locks => "/admin/db/locks",
        }
    }

    async fn put(
        self,
        diagnosis: Diagnosis<'_>,
        query: Query,
        headers: &HeaderMap,
    ) -> Result<Response, DiagnosisError> {
        Ok(match self {
            Self::Activity => shown(headers, &diagnosis.activity().await?),
            Self::SlowQueries => shown(headers, &diagnosis.slow_statements().await?),
            Self::TableSizes => shown(headers, &diagnosis.table_sizes().await?),
            Self::MissingIndexes => shown(headers, &diagnosis.missing_indexes().await?),
            Self::Connections => shown(headers, &diagnosis.connections().await?),
            Self::Leaks => shown(headers, &diagnosis.leaks().await?),
            Self::Idle => shown(headers, &diagnosis.idle(query.longer_than).await?),
            Self::Locks => shown(headers, &diagnosis.locks().await?),
        })
    }
}

fn ask(question: Question) -> MethodRouter<Database> {
    get(
        move |State(database): State<Database>, RawQuery(query): RawQuery, headers: HeaderMap| async move {
            let query = query.unwrap_or_default();
            let query = Query::parse(&query, question == Question::Idle)?;
            let answered = async {
                let lent = database.lend().await?;
                let answer = question
                    .put(lent.diagnosis(query.limit), query, &headers)
                    .await;
                Ok::<_, NoAnswer>(lent.settle(answer)?)
            };
            answered.await.map_err(|error| error.problem(&database))
        },
    )
}

/// JSON, or tables for who asks for plain text.
pub(super) fn shown<T: Serialize>(headers: &HeaderMap, answer: &T) -> Response {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok());
    let text = accept.is_some_and(|accept| {
        accept.contains("text/plain") && !accept.contains("application/json")
    });
    if !text {
        return Json(answer).into_response();
    }
    match table::render(answer) {
        Ok(text) => text.into_response(),
        Err(error) => Problem::internal(format!("the answer cannot be shown as text: {error}"))
            .advice("ask for JSON, and report this: it is a mistake in the sidecar")
            .into_response(),
    }
}
