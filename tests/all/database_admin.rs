//! The sidecar's questions to a database that is there, busy, frozen, gone.

use std::time::{Duration, Instant};

use http::Method;
use resilience_tests::{
    client::{self, pid},
    lone::{Answer, Ground, SOON, Sidecar, eventually, metric},
};
use serde_json::{Value, json};
use tokio_postgres::{Client, Config};

const QUESTIONS: [&str; 8] = [
    "activity",
    "slow-queries",
    "table-sizes",
    "missing-indexes",
    "connections",
    "leaks",
    "idle",
    "locks",
];
const TERMINATE: &str = "/admin/db/terminate";

async fn start() -> (Ground, Sidecar) {
    let ground = Ground::start().await;
    std::fs::create_dir_all(ground.run_dir()).unwrap();
    let url = ground.postgres.url();
    let sidecar = ground.sidecar(&["--database-url", &url]).await;
    (ground, sidecar)
}

async fn connect(ground: &Ground, application: &str, database: &str) -> Client {
    let change = |config: &mut Config| {
        config.application_name(application).dbname(database);
    };
    client::connect(&ground.postgres, change).await
}

async fn ask(sidecar: &Sidecar, question: &str) -> Answer {
    sidecar.admin.get(&format!("/admin/db/{question}")).await
}

fn audit(ground: &Ground) -> Vec<Value> {
    let text = std::fs::read_to_string(ground.run_dir().join("audit.jsonl")).unwrap_or_default();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test]
async fn every_question_is_answered_over_one_connection_as_json_or_as_a_table() {
    let (ground, sidecar) = start().await;
    let holder = connect(&ground, "holder", "app").await;
    holder
        .batch_execute("CREATE TABLE t (id int)")
        .await
        .unwrap();
    holder.batch_execute("BEGIN; LOCK TABLE t").await.unwrap();
    let waiting = connect(&ground, "waiting", "app").await;
    let waits = tokio::spawn(async move { waiting.batch_execute("TABLE t").await });

    // At once, and all are served in turn.
    let asked = QUESTIONS.map(|question| {
        let admin = sidecar.admin.clone();
        tokio::spawn(async move { admin.get(&format!("/admin/db/{question}")).await })
    });
    for task in asked {
        let answer = task.await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.json().is_object(), "{answer:?}");
    }
    let ours = async || -> i32 {
        let sql = "SELECT pid FROM pg_stat_activity WHERE application_name = 'admin-sidecar'";
        holder.query_one(sql, &[]).await.unwrap().get(0)
    };
    let first = ours().await;
    assert_eq!(ask(&sidecar, "activity").await.status, 200);
    assert_eq!(ours().await, first, "the connection is kept");

    let lock = eventually("who blocks whom", SOON, async || {
        let locks = ask(&sidecar, "locks").await.json();
        locks["rows"].as_array().unwrap().first().cloned()
    })
    .await;
    assert_eq!(lock["blocking_pid"], pid(&holder).await);
    assert_eq!(lock["relation"], "public.t");
    let text = [("Accept", "text/plain")];
    let table = sidecar
        .admin
        .ask(Method::GET, "/admin/db/locks", &text, "")
        .await;
    assert!(table.header("content-type").starts_with("text/plain"));
    let table = table.text();
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines[0], "database: app", "{table}");
    assert!(
        lines[2].starts_with("blocked_pid  blocking_pid  waited_seconds  lock"),
        "{table}"
    );
    assert_eq!(lines.len(), 4, "{table}");
    let one = ask(&sidecar, "connections?limit=1").await.json();
    assert_eq!(
        (&one["rows"][1], &one["truncated"]),
        (&Value::Null, &json!(true)),
        "{one}"
    );
    assert_eq!(
        ask(&sidecar, "idle?longer_than=1h").await.json()["rows"],
        json!([])
    );

    holder.batch_execute("COMMIT").await.unwrap();
    waits.await.unwrap().unwrap();
}

#[tokio::test]
async fn terminate_ends_what_was_named_writes_it_down_and_refuses_the_rest() {
    let (ground, sidecar) = start().await;
    let admin = &sidecar.admin;
    let (victim, bystander, other) = (
        connect(&ground, "victim", "app").await,
        connect(&ground, "bystander", "app").await,
        connect(&ground, "other", "template1").await,
    );
    let ours = "SELECT pid FROM pg_stat_activity WHERE application_name = 'admin-sidecar'";
    let ours: i32 = eventually("the connection is reserved", SOON, async || {
        let row = bystander.query_opt(ours, &[]).await.unwrap();
        row.map(|row| row.get(0))
    })
    .await;
    let cases = [
        (ours, 403, "own"),
        (pid(&other).await, 403, "other_database"),
        (i32::MAX, 404, "not_found"),
    ];
    for (pid, status, refusal) in cases {
        let body = json!({ "pid": pid }).to_string();
        let problem = admin.post_json(TERMINATE, &body).await.problem(status);
        assert_eq!(problem["refusal"], refusal, "{problem}");
    }
    let victim_pid = pid(&victim).await;
    let body = json!({ "pid": victim_pid, "reason": "INC-7" }).to_string();
    let rehearsal = admin
        .post_json(&format!("{TERMINATE}?dry_run"), &body)
        .await;
    assert_eq!(rehearsal.json()["backends"][0]["outcome"], "would_end");
    assert_eq!(pid(&victim).await, victim_pid);

    let ended = admin.post_json(TERMINATE, &body).await;
    assert_eq!(ended.status, 200, "{ended:?}");
    assert_eq!(ended.json()["backends"][0]["outcome"], "ended");
    assert!(victim.batch_execute("SELECT 1").await.is_err());
    bystander.batch_execute("SELECT 1").await.unwrap();
    other.batch_execute("SELECT 1").await.unwrap();
    // Nobody has been idle for an hour.
    let sweep = admin
        .post_json(TERMINATE, r#"{"idle_longer_than": "1h"}"#)
        .await;
    assert_eq!((sweep.status, &sweep.json()["ended"]), (200, &json!(0)));

    let lines = audit(&ground);
    let outcomes: Vec<_> = lines.iter().map(|line| line["outcome"].clone()).collect();
    assert_eq!(
        outcomes,
        ["refused", "refused", "refused", "applied", "applied"],
        "{lines:?}"
    );
    let line = &lines[3];
    for (key, value) in [
        ("action", json!("terminate")),
        ("database", json!("app")),
        ("pids", json!([victim_pid])),
        ("reason", json!("INC-7")),
    ] {
        assert_eq!(line[key], value, "{line}");
    }
    assert!(
        line["actor"].as_str().unwrap().starts_with("loopback "),
        "{line}"
    );
    assert!(
        line["detail"]
            .as_str()
            .unwrap()
            .contains("victim of postgres"),
        "{line}"
    );
    let counted = admin.get("/metrics").await.text();
    let count = |result: &str| {
        let series = format!(r#"admin_commands_total{{action="terminate",result="{result}"}}"#);
        metric(&counted, &series)
    };
    assert_eq!(
        (count("applied"), count("refused"), count("dry_run")),
        (Some(2.0), Some(3.0), Some(1.0))
    );
}

#[tokio::test]
async fn the_sidecar_outlives_its_database_and_is_connected_again_at_once() {
    let (mut ground, sidecar) = start().await;
    assert_eq!(ask(&sidecar, "activity").await.status, 200);
    // A backend that was ended is no reason to fail.
    let killer = connect(&ground, "killer", "app").await;
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE application_name = 'admin-sidecar'";
    killer.execute(end, &[]).await.unwrap();
    assert_eq!(ask(&sidecar, "activity").await.status, 200);

    let unreachable = async |question: &str| {
        let asked = Instant::now();
        let problem = ask(&sidecar, question).await.problem(503);
        assert_eq!(problem["title"], "database unreachable", "{problem}");
        assert!(
            asked.elapsed() < Duration::from_secs(8),
            "{:?}",
            asked.elapsed()
        );
        problem["detail"].as_str().unwrap().to_owned()
    };
    ground.postgres.kill();
    for question in QUESTIONS {
        let detail = unreachable(question).await;
        assert!(detail.contains("refused"), "{detail}");
    }
    assert_eq!(sidecar.admin.get("/sidecar/livez").await.status, 200);
    ground.postgres.restart().await.unwrap();
    assert_eq!(ask(&sidecar, "activity").await.status, 200);

    // One that hangs is not waited for, nor is one that is connected to anew.
    ground.postgres.freeze();
    for _ in 0..2 {
        let detail = unreachable("locks").await;
        assert!(detail.contains("within 2s"), "{detail}");
    }
    ground.postgres.thaw();
    assert_eq!(ask(&sidecar, "activity").await.status, 200);
}
