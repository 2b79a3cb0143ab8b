//! What the admin API shows of fallbacks.

use axum::{
    extract::{Path, State as Source, rejection::PathRejection},
    response::Response,
};
use serde::Serialize;
use serde_json::json;

use super::{aged, bad_path, nearest};
use crate::{
    control::{AdminSource, ChangeError, Observed, Subject, concerns},
    problem::Problem,
    snapshot::{FallbackResponses, FallbackSnapshot, Snapshot, StoreSnapshot, SwitchSnapshot},
};

pub(super) async fn list<S: AdminSource>(Source(source): Source<S>) -> Result<Response, Problem> {
    let observed = source.observe().await?;
    let snapshot = &observed.snapshot;
    let fallbacks: Vec<_> = snapshot.fallbacks.iter().map(Overview::of).collect();
    let concerns = snapshot.fallbacks.iter().filter_map(concerns::of_fallback);
    let concerns = concerns.chain(snapshot.stores.iter().filter_map(concerns::of_store));
    Ok(aged(
        &observed,
        &json!({
            "replica": snapshot.replica,
            "condition": observed.condition,
            "concerns": concerns.collect::<Vec<_>>(),
            "fallbacks": fallbacks,
            "stores": snapshot.stores,
        }),
    ))
}

pub(super) async fn detail<S: AdminSource>(
    Source(source): Source<S>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let observed = source.observe().await?;
    let detail = Detail::of(find(&observed, name)?, &observed.snapshot);
    Ok(aged(&observed, &detail))
}

fn find(
    observed: &Observed,
    name: Result<Path<String>, PathRejection>,
) -> Result<&FallbackSnapshot, Problem> {
    let Path(name) = name.map_err(|error| bad_path(Subject::Fallback, &error))?;
    let snapshot = &observed.snapshot;
    snapshot.fallback(&name).ok_or_else(|| {
        let names = snapshot.fallbacks.iter().map(|one| one.name.as_str());
        ChangeError::Unknown {
            subject: Subject::Fallback,
            nearest: nearest(&name, names),
            name,
        }
        .into()
    })
}

/// One fallback in a list.
#[derive(Serialize)]
struct Overview<'a> {
    service: &'a str,
    enabled: bool,
    /// What the configuration says.
    configured: bool,
    switched: Option<&'a SwitchSnapshot>,
    strategy: &'a str,
    store: &'a str,
    responses: FallbackResponses,
    coalesced: u64,
    /// Answers in memory.
    entries: u64,
    bytes: u64,
    /// Age of the oldest of them.
    oldest_ms: Option<u64>,
}

impl<'a> Overview<'a> {
    fn of(fallback: &'a FallbackSnapshot) -> Self {
        Self {
            service: &fallback.name,
            enabled: fallback.enabled,
            configured: fallback.configured,
            switched: fallback.switched.as_ref(),
            strategy: &fallback.strategy,
            store: &fallback.store,
            responses: fallback.responses,
            coalesced: fallback.cache.coalesced,
            entries: fallback.cache.entries,
            bytes: fallback.cache.bytes,
            oldest_ms: fallback.oldest_ms,
        }
    }
}

/// All of it, with the store behind it.
#[derive(Serialize)]
struct Detail<'a> {
    #[serde(flatten)]
    fallback: &'a FallbackSnapshot,
    /// `null`: its answers are in memory only.
    second_level: Option<&'a StoreSnapshot>,
    concerns: Vec<String>,
}

impl<'a> Detail<'a> {
    fn of(fallback: &'a FallbackSnapshot, snapshot: &'a Snapshot) -> Self {
        let second_level = snapshot.store_of(fallback);
        let store = second_level.and_then(concerns::of_store);
        Self {
            fallback,
            second_level,
            concerns: concerns::of_fallback(fallback)
                .into_iter()
                .chain(store)
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::{
        body::{Body, to_bytes},
        http::{HeaderMap, Request, header},
    };
    use serde_json::Value;
    use tower::ServiceExt;

    use super::*;
    use crate::{
        Registry,
        control::{LocalSource, admin_router},
        service::{Fallbacks, ManagedFallback, testing::FakeFallback},
        snapshot::StoreErrorSnapshot,
    };

    fn router(fallback: &FakeFallback, stores: &[StoreSnapshot]) -> axum::Router {
        let fallbacks = Fallbacks::default();
        fallbacks.add(Arc::new(fallback.clone()));
        let (shown, stores) = (fallbacks.clone(), stores.to_vec());
        let take = move || Snapshot {
            fallbacks: shown.snapshot(),
            stores: stores.clone(),
            ..Snapshot::of_nothing("payments-api")
        };
        let source = LocalSource::new(Arc::new(take), Registry::new());
        admin_router(source.with_fallbacks(fallbacks))
    }

    async fn put(
        router: axum::Router,
        method: &str,
        path: &str,
        body: &'static str,
    ) -> (u16, HeaderMap, Value) {
        let request = Request::builder()
            .method(method)
            .uri(format!("/admin/fallback{path}"))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body))
            .unwrap();
        let answer = router.oneshot(request).await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let body = to_bytes(answer.into_body(), 100_000).await.unwrap();
        (status, headers, serde_json::from_slice(&body).unwrap())
    }

    async fn ask(
        fallback: &FakeFallback,
        method: &str,
        path: &str,
        body: &'static str,
    ) -> (u16, Value) {
        let (status, _, body) = put(router(fallback, &[]), method, path, body).await;
        (status, body)
    }

    fn redis(up: bool) -> StoreSnapshot {
        StoreSnapshot {
            kind: "redis".into(),
            place: "10.0.0.7:6379".into(),
            up,
            last_error: Some(StoreErrorSnapshot {
                at: jiff::Timestamp::UNIX_EPOCH,
                kind: "timeout".into(),
                message: "it did not answer".into(),
            }),
            ..StoreSnapshot::default()
        }
    }

    fn rates() -> FakeFallback {
        let fallback = FakeFallback::named("rates", true);
        fallback.set(|shown| {
            shown.store = "redis".into();
            shown.responses.stale = 5;
            shown.cache.entries = 3;
            shown.oldest_ms = Some(61_000);
        });
        fallback
    }

    #[tokio::test]
    async fn a_fallback_is_shown_in_short_and_in_full_with_its_store_and_the_age_of_the_picture() {
        let fallback = rates();
        let stores = [redis(true)];
        let (status, headers, list) = put(router(&fallback, &stores), "GET", "", "").await;
        assert_eq!((status, &headers["age"]), (200, &"0".parse().unwrap()));
        let shown = &list["fallbacks"][0];
        for (key, value) in [
            ("service", json!("rates")),
            ("enabled", json!(true)),
            ("configured", json!(true)),
            ("switched", json!(null)),
            ("entries", json!(3)),
            ("oldest_ms", json!(61_000)),
        ] {
            assert_eq!(shown[key], value, "{key} of {shown}");
        }
        assert_eq!(shown["responses"]["stale"], 5);
        assert_eq!(list["stores"], json!(stores));
        assert_eq!(list["concerns"], json!([]));
        let (_, _, whole) = put(router(&fallback, &stores), "GET", "/rates", "").await;
        assert_eq!(whole["second_level"], json!(stores[0]));
        for (key, value) in json!(fallback.snapshot()).as_object().unwrap() {
            assert_eq!(&whole[key], value, "{key}");
        }
    }

    #[tokio::test]
    async fn one_that_is_switched_off_and_a_store_that_is_down_are_told_in_words() {
        let fallback = rates();
        let body = r#"{"reason": "INC-7"}"#;
        ask(&fallback, "POST", "/rates/disable", body).await;
        let stores = [redis(false)];
        for path in ["", "/rates"] {
            let (_, _, shown) = put(router(&fallback, &stores), "GET", path, "").await;
            let [off, down] = shown["concerns"].as_array().unwrap().as_slice() else {
                panic!("{shown}")
            };
            let off = off.as_str().unwrap();
            assert!(off.starts_with("rates is switched off by hand because \"INC-7\" since "));
            assert_eq!(
                down,
                "the redis store is down, last at 1970-01-01 00:00:00 UTC: it did not answer; \
                 answers are in memory only"
            );
        }
    }

    #[tokio::test]
    async fn an_unknown_fallback_is_not_found_with_the_nearest_names() {
        let fallback = rates();
        for (method, path) in [
            ("GET", "/raets"),
            ("POST", "/raets/enable"),
            ("POST", "/raets/disable"),
            ("POST", "/raets/purge"),
        ] {
            let (status, problem) = ask(&fallback, method, path, "").await;
            assert_eq!(status, 404, "{path}");
            assert_eq!(problem["detail"], "there is no fallback `raets`", "{path}");
            assert_eq!(problem["nearest"], json!(["rates"]), "{path}");
        }
        let (_, problem) = ask(&fallback, "GET", "/zzz", "").await;
        assert_eq!(problem["advice"], "GET /admin/fallback lists the names");
        assert_eq!((fallback.switches(), fallback.purges()), (vec![], 0));
    }

    #[tokio::test]
    async fn a_fallback_is_switched_and_purged_over_http() {
        let fallback = rates();
        let (status, receipt) = ask(&fallback, "POST", "/rates/disable", "").await;
        assert_eq!(status, 200, "{receipt}");
        assert_eq!(receipt["action"], "switch_off");
        assert_eq!(
            receipt["before"],
            json!({"enabled": true, "by_hand": false})
        );
        assert_eq!(receipt["after"], json!({"enabled": false, "by_hand": true}));
        assert_eq!(receipt["outcome"], "applied");
        assert_eq!(receipt.get("purged"), None);
        let (status, receipt) = ask(&fallback, "POST", "/rates/enable?dry_run", "").await;
        assert_eq!((status, &receipt["outcome"]), (200, &json!("dry_run")));
        let (status, receipt) = ask(&fallback, "POST", "/rates/enable", "").await;
        assert_eq!((status, &receipt["action"]), (200, &json!("switch_on")));
        assert_eq!(fallback.switches(), [Some(false), None]);
        let (status, receipt) = ask(&fallback, "POST", "/rates/purge", "").await;
        assert_eq!((status, &receipt["purged"]), (200, &json!(3)));
        let (status, problem) = ask(&fallback, "POST", "/rates/purge", r#"{"for": "1h"}"#).await;
        assert_eq!(status, 400, "{problem}");
        let (status, _) = ask(&fallback, "GET", "/rates/purge", "").await;
        assert_eq!((status, fallback.purges()), (405, 1));
    }
}
