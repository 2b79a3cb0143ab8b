//! `GET /health/live`, `/health/ready` and `/health/startup`.

use std::{future::Future, time::Duration};

use axum::{
    Router,
    response::IntoResponse,
    routing::{MethodRouter, get},
};

use super::verdict::{self, Verdict};
use crate::{problem::Problem, snapshot::HealthSnapshot};

/// The three probes, to be merged into a router.
///
/// `source` gives the newest snapshot and the age of the last heartbeat, and is
/// asked once for each probe; it should answer at once, as a probe that waits
/// is a probe that fails. GET and HEAD only; never cached.
///
/// # Example
///
/// ```
/// use axum::Router;
/// use resilience_core::{Health, health::health_router};
///
/// let health = Health::new();
/// let app: Router = Router::new().merge(health_router(move || {
///     let snapshot = health.snapshot();
///     async move { (snapshot, None) }
/// }));
/// # drop(app);
/// ```
pub fn health_router<S, F, Fut>(source: F) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    F: Fn() -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = (HealthSnapshot, Option<Duration>)> + Send + 'static,
{
    Router::new()
        .route("/health/live", probe(source.clone(), verdict::live))
        .route(
            "/health/ready",
            probe(source.clone(), |health, _| verdict::ready(health)),
        )
        .route(
            "/health/startup",
            probe(source, |health, _| verdict::startup(health)),
        )
}

fn probe<S, F, Fut>(
    source: F,
    judge: fn(&HealthSnapshot, Option<Duration>) -> Verdict,
) -> MethodRouter<S>
where
    S: Clone + Send + Sync + 'static,
    F: Fn() -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = (HealthSnapshot, Option<Duration>)> + Send + 'static,
{
    get(move || async move {
        let (health, heartbeat_age) = source().await;
        judge(&health, heartbeat_age)
    })
    .fallback(async || {
        Problem::method_not_allowed("a probe is read with GET or HEAD")
            .advice("send GET; nothing here can be changed")
            .into_response()
    })
}

#[cfg(test)]
mod tests;
