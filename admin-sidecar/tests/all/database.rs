//! The database that is not there. The one that is: the workspace's `tests/`.

use crate::support::{BEARER, JSON, Rig, ask, token_file};

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

#[tokio::test]
async fn without_a_url_every_question_is_told_what_to_set() {
    let rig = Rig::start(&[]).await;
    for question in QUESTIONS {
        let answer = rig.get(&format!("/admin/db/{question}")).await;
        answer.assert_problem(501);
        assert!(answer.body.contains("ADMIN_DATABASE_URL"), "{answer:?}");
    }
    let order = rig.post(TERMINATE, &[JSON], r#"{"pid": 7}"#).await;
    order.assert_problem(501);
    let unknown = rig.get("/admin/db/tables").await;
    unknown.assert_problem(404);
}

#[tokio::test]
async fn a_database_that_is_away_is_503_with_the_reason_and_without_the_password() {
    // Nobody listens there: it was bound, and is free again.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let url = format!("postgres://api:hunter2@127.0.0.1:{port}/app");
    let rig = Rig::start(&["--database-url", &url]).await;
    for question in QUESTIONS {
        let answer = rig.get(&format!("/admin/db/{question}")).await;
        answer.assert_problem(503);
        let problem = answer.json();
        assert_eq!(problem["title"], "database unreachable", "{problem}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            detail.contains("refused")
                && detail.contains(&format!("app at 127.0.0.1:{port} as api")),
            "{detail}"
        );
        assert!(!answer.body.contains("hunter2"), "{answer:?}");
    }
    let order = rig
        .post(TERMINATE, &[JSON], r#"{"pid": 7, "reason": "INC-7"}"#)
        .await;
    order.assert_problem(503);
    let audit = rig.audit();
    assert_eq!(audit.len(), 1, "{audit:?}");
    for (key, value) in [
        ("action", "terminate"),
        ("outcome", "unavailable"),
        ("reason", "INC-7"),
    ] {
        assert_eq!(audit[0][key], value, "{audit:?}");
    }
    assert!(!audit[0].to_string().contains("hunter2"), "{audit:?}");
    assert_eq!(rig.get("/sidecar/livez").await.status, 200);
}

#[tokio::test]
async fn what_a_question_or_an_order_does_not_know_is_refused_with_what_it_does() {
    let rig = Rig::start(&["--database-url", "postgres://api@127.0.0.1:1/app"]).await;
    for bad in [
        "idle?longer_than=5",
        "activity?longer_than=5m",
        "locks?limit=501",
        "leaks?x",
    ] {
        let refused = rig.get(&format!("/admin/db/{bad}")).await;
        refused.assert_problem(400);
        assert!(refused.body.contains("limit=50"), "{refused:?}");
    }
    for bad in ["", "{}", r#"{"pid": 1, "idle_longer_than": "5m"}"#] {
        let refused = rig.post(TERMINATE, &[JSON], bad).await;
        refused.assert_problem(400);
        assert!(refused.body.contains("idle_longer_than"), "{refused:?}");
    }
    rig.get(TERMINATE).await.assert_problem(405);
    let order = r#"{"pid": 7}"#;
    let foreign = [JSON, ("Origin", "http://evil.example")];
    rig.post(TERMINATE, &foreign, order)
        .await
        .assert_problem(403);
    let form = [("Content-Type", "text/plain")];
    rig.post(TERMINATE, &form, order).await.assert_problem(415);
    assert!(rig.audit().is_empty(), "nothing was asked of the database");
}

#[tokio::test]
async fn with_a_token_file_the_database_answers_to_the_token_alone() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(&["--token-file", &token_file(&dir)]).await;
    for question in QUESTIONS {
        let path = format!("/admin/db/{question}");
        rig.get(&path).await.assert_problem(401);
        let asked = ask(rig.admin, "GET", &path, &[BEARER], "").await;
        asked.assert_problem(501);
    }
    rig.post(TERMINATE, &[JSON], r#"{"pid": 7}"#)
        .await
        .assert_problem(401);
}
