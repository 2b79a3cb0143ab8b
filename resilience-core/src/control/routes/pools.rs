//! What the admin API shows of connection pools.

use std::cmp::Reverse;

use axum::{
    extract::{Path, State as Source, rejection::PathRejection},
    response::Response,
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::{aged, bad_path, nearest};
use crate::{
    control::{AdminSource, ChangeError, Observed, Subject},
    problem::Problem,
    snapshot::{ConnectErrorSnapshot, PoolSnapshot, PoolTotals, ServerState},
};

pub(super) async fn list<S: AdminSource>(Source(source): Source<S>) -> Result<Response, Problem> {
    let observed = source.observe().await?;
    let snapshot = &observed.snapshot;
    let pools: Vec<_> = snapshot.pools.iter().map(Overview::of).collect();
    Ok(aged(
        &observed,
        &json!({
            "replica": snapshot.replica,
            "condition": observed.condition,
            "pools": pools,
        }),
    ))
}

pub(super) async fn detail<S: AdminSource>(
    Source(source): Source<S>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let observed = source.observe().await?;
    Ok(aged(&observed, find(&observed, name)?))
}

pub(super) async fn connections<S: AdminSource>(
    Source(source): Source<S>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let observed = source.observe().await?;
    let pool = find(&observed, name)?;
    let mut holders: Vec<_> = pool.holders.iter().collect();
    holders.sort_by_key(|holder| Reverse(holder.held_ms));
    Ok(aged(
        &observed,
        &json!({ "pool": pool.name, "in_use": pool.in_use, "connections": holders }),
    ))
}

fn find(
    observed: &Observed,
    name: Result<Path<String>, PathRejection>,
) -> Result<&PoolSnapshot, Problem> {
    let Path(name) = name.map_err(|error| bad_path(Subject::Pool, &error))?;
    let snapshot = &observed.snapshot;
    snapshot.pool(&name).ok_or_else(|| {
        let names = snapshot.pools.iter().map(|pool| pool.name.as_str());
        ChangeError::Unknown {
            subject: Subject::Pool,
            nearest: nearest(&name, names),
            name,
        }
        .into()
    })
}

/// One pool in a list: all but its histograms and its holders.
#[derive(Serialize)]
struct Overview<'a> {
    name: &'a str,
    size: u32,
    pool_size: u32,
    max_overflow: u32,
    open: u32,
    in_use: u32,
    idle: u32,
    waiting: u32,
    server: ServerState,
    server_since: Option<Timestamp>,
    last_connect_error: Option<&'a ConnectErrorSnapshot>,
    suspected_leaks: usize,
    totals: PoolTotals,
}

impl<'a> Overview<'a> {
    fn of(pool: &'a PoolSnapshot) -> Self {
        let leaks = pool.holders.iter().filter(|holder| holder.suspected_leak);
        Self {
            name: &pool.name,
            size: pool.size,
            pool_size: pool.pool_size,
            max_overflow: pool.max_overflow,
            open: pool.open,
            in_use: pool.in_use,
            idle: pool.idle,
            waiting: pool.waiting,
            server: pool.server,
            server_since: pool.server_since,
            last_connect_error: pool.last_connect_error.as_ref(),
            suspected_leaks: leaks.count(),
            totals: pool.totals,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::{
        body::{Body, to_bytes},
        http::{Request, header},
    };
    use serde_json::Value;
    use tower::ServiceExt;

    use super::*;
    use crate::{
        Registry,
        control::{LocalSource, admin_router},
        service::{ManagedPool, Pools, testing::FakePool},
        snapshot::{HolderSnapshot, Snapshot},
    };

    fn holder(place: &str, held_ms: u64) -> HolderSnapshot {
        HolderSnapshot {
            place: place.into(),
            held_ms,
            suspected_leak: held_ms > 60_000,
            ..HolderSnapshot::default()
        }
    }

    fn router(pool: &FakePool) -> axum::Router {
        let pools = Pools::default();
        pools.add(Arc::new(pool.clone()));
        let shown = pools.clone();
        let take = move || Snapshot {
            pools: shown.snapshot(),
            ..Snapshot::of_nothing("payments-api")
        };
        admin_router(LocalSource::new(Arc::new(take), Registry::new()).with_pools(pools))
    }

    async fn ask(pool: &FakePool, method: &str, path: &str, body: &'static str) -> (u16, Value) {
        let request = Request::builder()
            .method(method)
            .uri(format!("/admin/pools{path}"))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body))
            .unwrap();
        let answer = router(pool).oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = to_bytes(answer.into_body(), 100_000).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn a_pool_is_shown_in_short_in_full_and_by_who_holds_its_connections() {
        let pool = FakePool::named("main", 20, 10);
        pool.set(|pool| {
            pool.in_use = 2;
            pool.holders = vec![holder("src/a.rs:1", 5), holder("src/b.rs:2", 61_000)];
        });
        let (_, list) = ask(&pool, "GET", "", "").await;
        let first = &list["pools"][0];
        assert_eq!(
            (&first["name"], &first["size"], &first["suspected_leaks"]),
            (&json!("main"), &json!(30), &json!(1))
        );
        assert_eq!(first.get("holders"), None);
        let (_, whole) = ask(&pool, "GET", "/main", "").await;
        assert_eq!(whole, json!(pool.snapshot()));
        let (_, connections) = ask(&pool, "GET", "/main/connections", "").await;
        assert_eq!(connections["in_use"], 2);
        let places: Vec<_> = connections["connections"]
            .as_array()
            .unwrap()
            .iter()
            .map(|holder| holder["place"].as_str().unwrap())
            .collect();
        assert_eq!(places, ["src/b.rs:2", "src/a.rs:1"]);
    }

    #[tokio::test]
    async fn an_unknown_pool_is_not_found_with_the_nearest_names() {
        let pool = FakePool::named("main", 20, 10);
        for (method, path) in [
            ("GET", "/mian"),
            ("GET", "/mian/connections"),
            ("POST", "/mian/recycle"),
        ] {
            let (status, problem) = ask(&pool, method, path, "").await;
            assert_eq!(status, 404, "{path}");
            assert_eq!(problem["detail"], "there is no pool `mian`", "{path}");
            assert_eq!(problem["nearest"], json!(["main"]), "{path}");
        }
        let (_, problem) = ask(&pool, "GET", "/zzz", "").await;
        assert_eq!(problem["advice"], "GET /admin/pools lists the names");
    }

    #[tokio::test]
    async fn a_pool_is_resized_and_recycled_over_http() {
        let pool = FakePool::named("main", 20, 10);
        let body = r#"{"pool_size": 30, "max_overflow": 20, "reason": "INC-7"}"#;
        let (status, receipt) = ask(&pool, "POST", "/main/resize", body).await;
        assert_eq!(status, 200, "{receipt}");
        assert_eq!(pool.limits(), (30, 20));
        assert_eq!(
            receipt["before"],
            json!({"pool_size": 20, "max_overflow": 10})
        );
        assert_eq!(
            receipt["after"],
            json!({"pool_size": 30, "max_overflow": 20})
        );
        assert_eq!(receipt["outcome"], "applied");
        let (status, problem) = ask(&pool, "POST", "/main/resize", "").await;
        assert_eq!(status, 400);
        assert!(problem["advice"].as_str().unwrap().contains("max_overflow"));
        let (status, receipt) = ask(&pool, "POST", "/main/recycle?dry_run", "").await;
        assert_eq!((status, pool.recycled()), (200, 0), "{receipt}");
        let (status, receipt) = ask(&pool, "POST", "/main/recycle", "").await;
        assert_eq!((status, pool.recycled()), (200, 1), "{receipt}");
        let (status, _) = ask(&pool, "GET", "/main/recycle", "").await;
        assert_eq!(status, 405);
    }
}
