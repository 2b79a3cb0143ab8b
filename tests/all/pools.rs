//! The pool over the admin API: who holds its connections, and other limits
//! while it works.

use resilience_examples::process::Signal;
use resilience_tests::lone::{Api, Ground, RELOADED, SOON, eventually};
use serde_json::Value;

use crate::database::{connect, lock, orders};

const CONFIG: &str = "database: {pool_size: 2, max_overflow: 1, pool_timeout: 20s}\n";
const SIZE: &str = r#"db_connection_pool_size{pool="main"}"#;
const CONNECTIONS: &str = "/admin/pools/main/connections";
const RESIZE: &str = "/admin/pools/main/resize";

/// The held connections, once there are so many.
async fn held(api: &Api, count: usize) -> Vec<Value> {
    eventually("so many are held", SOON, async || {
        let shown = api.socket.get(CONNECTIONS).await.json();
        let held = shown["connections"].as_array()?.clone();
        // The health check holds one for a moment too.
        let held: Vec<_> = held.into_iter().filter(at_work).collect();
        (held.len() == count).then_some(held)
    })
    .await
}

fn at_work(holder: &Value) -> bool {
    let sql = holder["last_sql"].as_str();
    sql.is_some_and(|sql| sql.contains("orders"))
}

#[tokio::test]
async fn callers_that_wait_are_served_by_a_resize_and_holders_are_named_also_after_a_kill() {
    let ground = Ground::start().await;
    let config = ground.write("config.yaml", CONFIG);
    let api = ground.api().config(config).start().await;
    let sidecar = ground.sidecar(&[]).await;

    // While a table is locked, each request sits on a connection of its own.
    let mut admin = connect(&ground).await;
    let lock = lock(&mut admin).await;
    let asking = orders(&api, 5);
    for holder in held(&api, 3).await {
        let place = holder["place"].as_str().unwrap();
        assert!(place.contains(".rs:"), "{holder}");
        assert_eq!(holder["busy"], true, "{holder}");
        let id = holder["correlation_id"].as_str().unwrap_or_default();
        assert!(!id.is_empty(), "{holder}");
    }
    let larger = r#"{"pool_size": 6, "reason": "INC-7"}"#;
    let receipt = sidecar.admin.post_json(RESIZE, larger).await;
    assert_eq!(receipt.status, 200, "{receipt:?}");
    assert_eq!(receipt.json()["before"]["pool_size"], 2, "{receipt:?}");
    assert_eq!(api.metric(SIZE).await, 7.0);
    held(&api, 5).await;
    api.logged(1, &["INFO", "resize", "INC-7", "2 + 1, and is 6 + 1"])
        .await;

    eventually("the black box tells of them", SOON, async || {
        let age = sidecar.admin.get(CONNECTIONS).await.json();
        (age["connections"]
            .as_array()?
            .iter()
            .filter(|one| at_work(one))
            .count()
            == 5)
            .then_some(())
    })
    .await;
    api.child.signal(Signal::KILL).unwrap();
    let left = eventually("the service is seen dead", SOON, async || {
        let answer = sidecar.admin.get(CONNECTIONS).await;
        (answer.header("x-service-condition") == "dead").then_some(answer)
    })
    .await;
    let left = left.json();
    let left = left["connections"].as_array().unwrap();
    assert_eq!(
        left.iter().filter(|one| at_work(one)).count(),
        5,
        "{left:?}"
    );
    let refused = sidecar.admin.post_json(RESIZE, larger).await;
    refused.problem(503);
    drop(lock);
    for task in asking {
        task.abort();
    }
}

#[tokio::test]
async fn a_changed_limit_in_the_file_is_in_force_and_any_other_change_keeps_a_resize() {
    let ground = Ground::start().await;
    let config = ground.write("config.yaml", CONFIG);
    let api = ground.api().config(config).start().await;
    let receipt = api.socket.post_json(RESIZE, r#"{"pool_size": 7}"#).await;
    assert_eq!(receipt.status, 200, "{receipt:?}");
    let reloaded = async |count: usize, text: &str| {
        ground.write("config.yaml", text);
        api.logged(count, &["the configuration was reloaded"]).await;
    };
    let timeout = "database: {pool_size: 2, max_overflow: 1, pool_timeout: 10s}\n";
    reloaded(1, timeout).await;
    assert_eq!(api.metric(SIZE).await, 8.0);
    reloaded(2, "database: {pool_size: 3, max_overflow: 1}\n").await;
    eventually("the file's limit is in force", RELOADED, async || {
        (api.metric(SIZE).await == 4.0).then_some(())
    })
    .await;
    let recycled = api.socket.post("/admin/pools/main/recycle").await;
    assert_eq!(recycled.status, 200, "{recycled:?}");
    assert_eq!(api.get("/users/1/orders").await.status, 200);
}
