//! RB-006: an exhausted pool says who holds it, and a leak who leaks.

use std::time::SystemTime;

use http::Method;
use resilience_tests::lone::{Api, Door, Ground, SOON, eventually};
use serde_json::Value;

use crate::database::{connect, lock, orders};

const LEAKS: &str = r#"db_connection_pool_leaks_total{pool="main"}"#;
const CONNECTIONS: &str = "/admin/pools/main/connections";

#[tokio::test]
async fn an_exhausted_pool_is_told_by_the_service_each_time_and_by_the_pool_once_a_second() {
    let ground = Ground::start().await;
    let config = "database: {pool_size: 1, max_overflow: 1, pool_timeout: 200ms}\n";
    let config = ground.write("config.yaml", config);
    let api = ground.api().config(config).start().await;
    // While the table is locked, two requests have both connections.
    let mut admin = connect(&ground).await;
    let lock = lock(&mut admin).await;
    let holders = orders(&api, 2);
    eventually("both connections are out", SOON, async || {
        (of_orders(&api.socket).await.len() == 2).then_some(())
    })
    .await;
    for task in orders(&api, 8) {
        let problem = task.await.unwrap().problem(503);
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            detail.starts_with("Connection pool exhausted: "),
            "{detail}"
        );
    }

    let words = [
        "Connection pool exhausted: size:2 overflow:1 in_use:2 waiting:",
        " waited:2",
        " holders:examples/src/payments/database.rs:",
        "*2(",
        " last_connect_error:none",
    ];
    api.logged(8, &[&words[..], &["ERROR", " correlation_id:"]].concat())
        .await;
    // The health check's question may have found none as well, a second later.
    let told = api.lines(&["WARN", " pool_exhausted pool:main ", words[0]]);
    let times: Vec<SystemTime> = told.iter().map(|line| time_of(line)).collect();
    assert!(!times.is_empty() && times.len() < 8, "{told:?}");
    for two in times.windows(2) {
        let between = two[1].duration_since(two[0]).unwrap();
        // The clock is read before the line is written.
        assert!(between.as_millis() > 950, "{told:?}");
    }

    lock.commit().await.unwrap();
    for task in holders {
        assert_eq!(task.await.unwrap().status, 200);
    }
    assert_eq!(api.get("/users/1/orders").await.status, 200);
}

#[tokio::test]
async fn a_leak_is_named_in_the_log_and_in_the_admin_api_and_so_is_its_late_return() {
    let ground = Ground::start().await;
    let config = ground.write("config.yaml", "database: {leak_threshold: 200ms}\n");
    let api = ground.api().config(config).drills().start().await;
    let sidecar = ground.sidecar(&[]).await;
    let door = api.door.clone();
    let leaking = tokio::spawn(async move {
        let id = [("X-Correlation-ID", "abc123")];
        let path = "/drill/hold?for=60s";
        door.ask(Method::POST, path, &id, "").await
    });

    let line = logged_once(&api, "Connection leak suspected").await;
    assert!(line.contains(" WARN payments-api "), "{line}");
    assert_eq!(line.split(' ').nth(4), Some("pool_leak"), "{line}");
    let statement = "SELECT count(*) FROM orders WHERE item <> ?";
    for part in [
        " pool:main ",
        " place:examples/src/payments/drills.rs:",
        &format!(" statement:\"{statement}\" "),
        " correlation_id:abc123 ",
    ] {
        assert_eq!(line.matches(part).count(), 1, "{part} in {line}");
    }
    let held = held_ms(&line);
    assert!(held >= 200, "{line}");
    assert_eq!(api.metric(LEAKS).await, 1.0);

    for door in [&api.socket, &sidecar.admin] {
        let holders = of_orders(door).await;
        let [holder] = &holders[..] else {
            panic!("{holders:?}");
        };
        assert_eq!(holder["suspected_leak"], true, "{holder}");
        assert_eq!(holder["correlation_id"], "abc123", "{holder}");
        assert_eq!(holder["last_sql"], statement, "{holder}");
        assert!(holder["held_ms"].as_u64() >= Some(held), "{holder}");
        let place = holder["place"].as_str().unwrap();
        assert!(line.contains(place), "{place} is not that of {line}");
    }

    // The client hangs up, and with that the handler is gone.
    leaking.abort();
    let back = logged_once(&api, "suspected to be leaked was returned").await;
    assert!(back.contains(" INFO payments-api "), "{back}");
    let id = back.matches(" correlation_id:abc123 ").count();
    assert_eq!(id, 1, "{back}");
    assert!(held_ms(&back) >= held, "{back}");
    assert_eq!(of_orders(&api.socket).await, Vec::<Value>::new());
    assert_eq!(api.metric(LEAKS).await, 1.0);
}

/// The connections whose last statement was about orders: the health check has
/// one for a moment, too.
async fn of_orders(door: &Door) -> Vec<Value> {
    let shown = door.get(CONNECTIONS).await.json();
    let mut held = shown["connections"].as_array().unwrap().clone();
    held.retain(|one| {
        let sql = one["last_sql"].as_str();
        sql.is_some_and(|sql| sql.contains("orders"))
    });
    held
}

async fn logged_once(api: &Api, words: &str) -> String {
    api.logged(1, &[words]).await.remove(0)
}

fn held_ms(line: &str) -> u64 {
    let value = line
        .split(' ')
        .find_map(|field| field.strip_prefix("held_ms:"));
    value.unwrap().parse().unwrap()
}

fn time_of(line: &str) -> SystemTime {
    humantime::parse_rfc3339(line.split(' ').next().unwrap()).unwrap()
}
