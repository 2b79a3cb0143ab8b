//! The database goes away and comes back.

use resilience_examples::{PostgresOptions, stub::Counts};
use resilience_tests::{
    client,
    lone::{Answer, Api, Door, Ground, SOON, eventually, metric, run_to_end},
};

const CONFIG: &str = "database: {pool_size: 3, max_overflow: 2, pool_timeout: 1s}\n";
const IN_USE: &str = r#"db_connection_pool_in_use{pool="main"}"#;
const SIZE: &str = r#"db_connection_pool_size{pool="main"}"#;

#[tokio::test]
async fn the_pool_says_how_large_it_is_and_how_much_of_it_is_in_use() {
    let ground = Ground::start().await;
    let config = ground.write("config.yaml", CONFIG);
    let api = ground.api().config(config).start().await;
    assert_eq!(api.metric(SIZE).await, 5.0);
    in_use(&api, 0.0).await;
    let show = async || api.socket.get("/admin/pools").await.json()["pools"].clone();
    assert_eq!(show().await[0]["name"], "main");
    assert_eq!(show().await[0]["size"], 5);

    // While a table is locked, each request sits on a connection of its own.
    let mut admin = connect(&ground).await;
    let lock = lock(&mut admin).await;
    let first = orders(&api, 2);
    in_use(&api, 2.0).await;
    let more = orders(&api, 3);
    // All five: the health check's own question finds none left now.
    eventually("the pool is used up", SOON, async || {
        (api.metric(IN_USE).await == 5.0).then_some(())
    })
    .await;
    let refused = api.get("/users/1/orders").await;
    let problem = refused.problem(503);
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .starts_with("Connection pool exhausted"),
        "{problem}"
    );
    // And the health check may have found none either.
    eventually("the log says so", SOON, async || {
        let lines = api.lines(&[
            "ERROR",
            " pool_exhausted ",
            "Connection pool exhausted: size:5",
        ]);
        lines.into_iter().next()
    })
    .await;

    lock.commit().await.unwrap();
    for task in first.into_iter().chain(more) {
        assert_eq!(task.await.unwrap().status, 200);
    }
    in_use(&api, 0.0).await;
}

#[tokio::test]
async fn a_database_that_is_killed_takes_the_service_out_of_rotation_until_it_is_back() {
    // One that has its tables still when it is back.
    let mut ground = Ground::with(PostgresOptions {
        durable: true,
        ..PostgresOptions::default()
    })
    .await;
    let config = ground.write("config.yaml", CONFIG);
    let api = ground.api().config(config).start().await;
    let sidecar = ground.sidecar(&[]).await;
    let ready = health(&api.door, "/health/ready", 200).await;
    assert_eq!(ready.json()["status"], "pass", "{ready:?}");
    health(&sidecar.public, "/health/ready", 200).await;
    let before = api.get("/users/7/orders").await;
    assert_eq!(before.status, 200, "{before:?}");

    // Requests that are in the database when it dies, and one that comes next.
    let mut admin = connect(&ground).await;
    let locked = lock(&mut admin).await;
    let caught = orders(&api, 2);
    in_use(&api, 2.0).await;
    ground.postgres.kill();
    drop(locked);
    for task in caught {
        task.await.unwrap().problem(503);
    }
    let words = ["ERROR", "the connection to the database was lost"];
    let lost = api.logged(2, &words).await;
    assert_eq!(lost[0].split(' ').nth(4), Some("database_lost"), "{lost:?}");
    for _ in 0..3 {
        let next = api.get("/users/7/orders").await.problem(503);
        assert!(
            next["detail"].as_str().unwrap().contains("database"),
            "{next}"
        );
    }
    let outage = [
        "WARN",
        " database_connect ",
        "the database cannot be reached",
    ];
    let line = api.logged(1, &outage).await.remove(0);
    assert!(line.contains(" kind:refused "), "{line}");
    assert!(api.lines(&["the database answers again"]).is_empty());
    let paid = r#"{"user_id": 1, "amount_cents": 100, "currency": "EUR"}"#;
    api.door.post_json("/payments", paid).await.problem(503);
    // Nothing was charged for a payment that could not be written down.
    assert_eq!(ground.stub.counts(), Counts::default());

    let down = health(&api.door, "/health/ready", 503).await;
    let body = down.json();
    assert_eq!(body["status"], "fail");
    let output = body["output"].as_str().unwrap();
    assert!(
        output.contains("database: no connection to the database"),
        "{output}"
    );
    assert!(
        output.contains("refused"),
        "the reason is missing in {output}"
    );
    let check = &body["checks"]["database"][0];
    assert_eq!(check["status"], "fail", "{body}");
    assert!(
        check["output"].as_str().unwrap().contains("refused"),
        "{body}"
    );
    assert_eq!(down.header("cache-control"), "no-store");
    let line = eventually("the log says so", SOON, async || {
        api.lines(&["ERROR", "health", "check:database", "refused"])
            .pop()
    })
    .await;
    assert_eq!(line.split(' ').nth(4), Some("health_check"), "{line}");

    for door in [&sidecar.public, &sidecar.admin] {
        let down = health(door, "/health/ready", 503).await;
        let body = down.json();
        assert_eq!(body["checks"]["service"][0]["status"], "pass", "{body}");
        let check = &body["checks"]["database"][0];
        assert_eq!(check["status"], "fail", "{body}");
        assert!(
            check["output"].as_str().unwrap().contains("refused"),
            "{body}"
        );
    }
    for door in [&api.door, &sidecar.public] {
        health(door, "/health/live", 200).await;
        health(door, "/health/startup", 200).await;
    }
    in_use(&api, 0.0).await;
    assert_eq!(api.metric(SIZE).await, 5.0);
    let seen = sidecar.public.get("/metrics").await.text();
    assert_eq!(metric(&seen, SIZE), Some(5.0));
    // The upstream is another matter.
    assert_eq!(api.get("/rates/EUR").await.status, 200);

    // One that starts now waits as long as any caller does, and then says at which
    // step it failed and why.
    let (database, run_dir) = (ground.postgres.url(), ground.path("late"));
    let flags = [
        "--listen",
        "127.0.0.1:0",
        "--database",
        &database,
        "--run-dir",
    ];
    let args = [&flags[..], &[run_dir.to_str().unwrap()]].concat();
    let patience = [("APP__DATABASE__POOL_TIMEOUT", "1s")];
    let late = run_to_end("payments-api", &args, &patience).await;
    assert_eq!(late.status.code(), Some(1));
    let log = String::from_utf8(late.stdout).unwrap();
    let failed = log
        .lines()
        .find(|line| line.contains(" ERROR payments-api startup "));
    let failed = failed.unwrap_or_else(|| panic!("{log}"));
    assert!(
        failed.contains(" ERROR payments-api startup startup step:migrations "),
        "{log}"
    );
    assert!(
        failed.contains("no connection to the database: ") && failed.contains("refused"),
        "{log}"
    );

    ground.postgres.restart().await.unwrap();
    let back = health(&api.door, "/health/ready", 200).await;
    assert_eq!(back.json()["checks"]["database"][0]["status"], "pass");
    health(&sidecar.public, "/health/ready", 200).await;
    // Once each, however many callers and dials there were.
    api.logged(1, &["INFO", "the database answers again"]).await;
    api.logged(1, &outage).await;
    let after = api.get("/users/7/orders").await;
    assert_eq!((after.status, &after.body), (200, &before.body));
    assert_eq!(api.door.post_json("/payments", paid).await.status, 201);
    // What is wrong with us is 500, with the reason in the log alone.
    let admin = connect(&ground).await;
    admin
        .batch_execute("ALTER TABLE orders RENAME TO gone")
        .await
        .unwrap();
    let broken = api.get("/users/7/orders").await.problem(500);
    assert!(!broken.to_string().contains("orders"), "{broken}");
    let words = ["ERROR", " database ", "relation \"orders\" does not exist"];
    api.logged(1, &words).await;
    // Once for each change, not once for each look.
    api.logged(1, &["health_check", "check:database"]).await;
}

/// Asks until the probe answers with this status.
async fn health(door: &Door, path: &str, status: u16) -> Answer {
    let what = format!("{path} is {status}");
    let answer = eventually(&what, SOON, async || {
        let answer = door.get(path).await;
        (answer.status == status).then_some(answer)
    })
    .await;
    assert_eq!(answer.header("content-type"), "application/health+json");
    answer
}

/// The health check takes a connection once a second for a moment, so this is
/// what it comes back to.
async fn in_use(api: &Api, count: f64) {
    let what = format!("{count} connections are in use");
    eventually(&what, SOON, async || {
        (api.metric(IN_USE).await == count).then_some(())
    })
    .await;
}

pub(crate) fn orders(api: &Api, count: usize) -> Vec<tokio::task::JoinHandle<Answer>> {
    let ask = |_| {
        let door = api.door.clone();
        tokio::spawn(async move { door.get("/users/1/orders").await })
    };
    (0..count).map(ask).collect()
}

pub(crate) async fn connect(ground: &Ground) -> tokio_postgres::Client {
    client::connect(&ground.postgres, |_| {}).await
}

pub(crate) async fn lock(client: &mut tokio_postgres::Client) -> tokio_postgres::Transaction<'_> {
    let lock = client.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    lock
}
