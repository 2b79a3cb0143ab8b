//! A reset tells the truth, and is never made twice.

use jiff::SignedDuration;
use tokio::task::JoinSet;

use crate::support::{BOUND, JSON, RESET, Rig, STATE, ask, dead_pid, snapshot, until, wake};

#[tokio::test]
async fn the_runbooks_bare_reset_closes_the_circuit_and_the_next_read_says_so() {
    let (rig, service, _server) = Rig::live(&[]).await;
    assert_eq!(rig.get(STATE).await.body.trim(), r#"{"state":"OPEN"}"#);
    let reset = rig.reset().await;
    assert_eq!(reset.status, 200, "{reset:?}");
    assert_eq!(reset.json()["outcome"], "applied");
    assert_eq!(rig.get(STATE).await.body.trim(), r#"{"state":"CLOSED"}"#);
    assert!(service.0.lock().actors[0].starts_with("loopback 127.0.0.1:"));

    let audit = rig.audit();
    assert_eq!(audit.len(), 1);
    let line = &audit[0];
    assert_eq!(line["action"], "reset");
    assert_eq!(line["breaker"], "payment_api");
    assert_eq!(
        (&line["before"], &line["after"]),
        (&"OPEN".into(), &"CLOSED".into())
    );
    assert_eq!(line["outcome"], "applied");
    assert!(
        line["actor"]
            .as_str()
            .unwrap()
            .starts_with("loopback 127.0.0.1:")
    );
    assert!(line["from"].as_str().unwrap().starts_with("127.0.0.1:"));
    let metrics = rig.get("/metrics").await.body;
    let counted = r#"admin_commands_total{action="reset",result="applied"} 1"#;
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test]
async fn the_services_refusals_pass_through() {
    let (rig, service, _server) = Rig::live(&[]).await;
    let unknown = rig
        .post("/admin/circuit-breaker/paymnt/reset", &[], "")
        .await;
    unknown.assert_problem(404);
    assert_eq!(unknown.json()["nearest"][0], "payment_api");
    let moved = rig.post(RESET, &[JSON], r#"{"if_generation": 3}"#).await;
    moved.assert_problem(409);
    assert_eq!(moved.json()["actual"], 7);
    assert_eq!(service.resets(), 0);
    let outcomes: Vec<_> = rig.audit().iter().map(|l| l["outcome"].clone()).collect();
    assert_eq!(outcomes, ["unknown", "moved"]);
}

#[tokio::test]
async fn a_reset_of_a_hung_service_is_pending_and_then_made_exactly_once() {
    let (rig, service, listener) = Rig::hung().await;

    let first = rig.reset().await;
    assert_eq!(first.status, 202, "{first:?}");
    assert!(first.took < BOUND, "{:?}", first.took);
    let receipt = first.json();
    assert_eq!(receipt["outcome"], "pending");
    assert_eq!(
        (&receipt["before"], &receipt["after"]),
        (&"OPEN".into(), &"OPEN".into())
    );
    let detail = receipt["detail"].as_str().unwrap();
    assert!(
        detail.starts_with("the service has not taken it: hung for "),
        "{detail}"
    );

    // More of them, at once and with a key, join the first.
    let mut more = JoinSet::new();
    for n in 0..5 {
        let admin = rig.admin;
        more.spawn(async move {
            let key = format!("key-{n}");
            ask(admin, "POST", RESET, &[("Idempotency-Key", &key)], "").await
        });
    }
    for answer in more.join_all().await {
        assert_eq!(answer.status, 202, "{answer:?}");
        assert!(answer.took < BOUND, "{:?}", answer.took);
    }

    let _server = wake(listener, &service);
    until("the reset is made", || async {
        rig.get(STATE).await.body.contains("CLOSED")
    })
    .await;
    rig.until_written_down("applied").await;
    assert_eq!(service.resets(), 1);
    // Who joined gets what became of it, with the key the service never saw.
    let again = rig.post(RESET, &[("Idempotency-Key", "key-3")], "").await;
    assert_eq!(again.json()["outcome"], "applied");
    assert_eq!(service.resets(), 1);
    let pending = rig
        .audit()
        .iter()
        .filter(|l| l["outcome"] == "pending")
        .count();
    assert_eq!(pending, 6);
    assert_eq!(rig.audit()[6]["from"], "pending");
}

#[tokio::test]
async fn resets_that_come_at_once_to_a_hung_service_are_one() {
    let (rig, service, listener) = Rig::hung().await;
    let mut resets = JoinSet::new();
    for _ in 0..10 {
        let admin = rig.admin;
        resets.spawn(async move { ask(admin, "POST", RESET, &[], "").await });
    }
    for answer in resets.join_all().await {
        assert_eq!(answer.status, 202, "{answer:?}");
        assert!(answer.took < BOUND, "{:?}", answer.took);
    }
    let _server = wake(listener, &service);
    rig.until_written_down("applied").await;
    assert_eq!(service.resets(), 1);
}

#[tokio::test]
async fn a_client_that_hangs_up_does_not_take_its_reset_back() {
    let (rig, service, listener) = Rig::hung().await;
    let hasty = tokio::time::timeout(std::time::Duration::from_millis(100), rig.reset());
    assert!(hasty.await.is_err());
    let _server = wake(listener, &service);
    until("the reset is made and written down", || async {
        service.resets() == 1 && rig.audit().iter().any(|line| line["outcome"] == "applied")
    })
    .await;
}

#[tokio::test]
async fn what_the_last_picture_says_against_a_reset_is_said_at_once() {
    let rig = Rig::start(&[]).await;
    rig.write_black_box(&snapshot(std::process::id()));
    let _listener = rig.hang();
    let unknown = rig
        .post("/admin/circuit-breaker/paymnt_api/reset", &[], "")
        .await;
    unknown.assert_problem(404);
    assert_eq!(unknown.json()["nearest"][0], "payment_api");
    let moved = rig.post(RESET, &[JSON], r#"{"if_generation": 3}"#).await;
    moved.assert_problem(409);
    let dry = rig.post(&format!("{RESET}?dry_run"), &[], "").await;
    assert_eq!(dry.json()["outcome"], "dry_run", "{dry:?}");
    assert!(dry.body.contains("would be pending"), "{dry:?}");
    assert_eq!(rig.reset().await.status, 202);
    // One that waits does not lift the condition of the next.
    let moved = rig.post(RESET, &[JSON], r#"{"if_generation": 3}"#).await;
    moved.assert_problem(409);
}

#[tokio::test]
async fn a_dead_service_takes_no_reset_and_the_answer_says_what_to_do() {
    let rig = Rig::start(&[]).await;
    let mut last = snapshot(dead_pid());
    last.taken_at -= SignedDuration::from_secs(5);
    rig.write_black_box(&last);
    let reset = rig.reset().await;
    reset.assert_problem(503);
    assert!(reset.took < BOUND, "{:?}", reset.took);
    assert!(reset.body.contains("dead for 5 s"), "{reset:?}");
    assert!(reset.body.contains("restart it"), "{reset:?}");
    assert_eq!(rig.audit()[0]["outcome"], "unavailable");
}

#[tokio::test]
async fn a_reset_that_is_never_taken_expires() {
    let rig = Rig::start(&["--change-patience", "1s"]).await;
    rig.write_black_box(&snapshot(std::process::id()));
    let _listener = rig.hang();
    assert_eq!(rig.reset().await.status, 202);
    until("it is given up", || async {
        let audit = rig.audit();
        audit
            .last()
            .is_some_and(|line| line["outcome"] == "unavailable")
    })
    .await;
    assert!(
        rig.audit()[1]["detail"]
            .as_str()
            .unwrap()
            .contains("given up")
    );
}

#[tokio::test]
async fn an_audit_log_that_cannot_be_written_is_counted_and_stops_no_reset() {
    let more = ["--audit-log", "/nonexistent/audit.jsonl"];
    let (rig, service, _server) = Rig::live(&more).await;
    assert_eq!(rig.reset().await.status, 200);
    assert_eq!(service.resets(), 1);
    let metrics = rig.get("/metrics").await.body;
    assert!(
        metrics.contains("admin_audit_failures_total 1"),
        "{metrics}"
    );
}
