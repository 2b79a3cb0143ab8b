//! Pools are shown from whatever picture there is, and changed like breakers.

use resilience_core::control::Action;
use serde_json::json;

use crate::support::{BOUND, JSON, RESET, Rig, dead_pid, snapshot, wake};

const RESIZE: &str = "/admin/pools/main/resize";
const RECYCLE: &str = "/admin/pools/main/recycle";
const LARGER: &str = r#"{"pool_size": 30, "max_overflow": 20, "reason": "INC-7"}"#;

#[tokio::test]
async fn the_pools_of_a_dead_service_are_shown_from_its_black_box_and_cannot_be_changed() {
    let rig = Rig::start(&[]).await;
    rig.write_black_box(&snapshot(dead_pid()));
    let list = rig.get("/admin/pools").await;
    assert_eq!(list.json()["pools"][0]["size"], 30, "{list:?}");
    let whole = rig.get("/admin/pools/main").await;
    assert_eq!(
        whole.json()["holders"][0]["place"],
        "src/a.rs:1",
        "{whole:?}"
    );
    let held = rig.get("/admin/pools/main/connections").await;
    assert!(
        held.head
            .to_ascii_lowercase()
            .contains("x-service-condition: dead"),
        "{held:?}"
    );
    assert_eq!(held.json()["connections"][0]["suspected_leak"], true);
    let unknown = rig.get("/admin/pools/mian/connections").await;
    unknown.assert_problem(404);
    assert_eq!(unknown.json()["nearest"][0], "main");

    let refused = rig.post(RESIZE, &[JSON], LARGER).await;
    refused.assert_problem(503);
    assert!(refused.took < BOUND, "{:?}", refused.took);
    let unknown = rig.post("/admin/pools/mian/recycle", &[], "").await;
    unknown.assert_problem(404);
    assert_eq!(unknown.json()["nearest"][0], "main");
}

#[tokio::test]
async fn a_resize_and_a_recycling_reach_the_service_and_are_written_down() {
    let (rig, service, _server) = Rig::live(&[]).await;
    let receipt = rig.post(RESIZE, &[JSON], LARGER).await;
    assert_eq!(receipt.status, 200, "{receipt:?}");
    let (before, after) = (
        json!({"pool_size": 20, "max_overflow": 10}),
        json!({"pool_size": 30, "max_overflow": 20}),
    );
    assert_eq!(receipt.json()["before"], before);
    assert_eq!(receipt.json()["after"], after);
    let recycled = rig.post(RECYCLE, &[], "").await;
    assert_eq!(recycled.json()["retired"], 3, "{recycled:?}");

    let [resize, recycle] = rig.audit().try_into().unwrap();
    for (key, value) in [
        ("action", json!("resize")),
        ("pool", json!("main")),
        ("limits", after.clone()),
        ("before", before),
        ("after", after),
        ("reason", json!("INC-7")),
        ("outcome", json!("applied")),
    ] {
        assert_eq!(resize[key], value, "{key} of {resize}");
    }
    assert_eq!(resize.get("breaker"), None);
    assert_eq!(recycle["action"], "recycle");
    let metrics = rig.get("/metrics").await.body;
    for action in Action::OF_POOLS {
        let counted = format!(r#"admin_commands_total{{action="{action}",result="applied"}} 1"#);
        assert!(metrics.contains(&counted), "{metrics}");
    }
    for bad in ["", "{}", r#"{"pool_size": 0}"#, r#"{"size": 30}"#] {
        rig.post(RESIZE, &[JSON], bad).await.assert_problem(400);
    }
    assert_eq!(service.0.lock().pool_changes.len(), 2);
}

#[tokio::test]
async fn a_resize_of_a_hung_service_is_pending_and_then_made_exactly_once() {
    let (rig, service, listener) = Rig::hung().await;
    let dry = rig
        .post(&format!("{RESIZE}?dry_run"), &[JSON], LARGER)
        .await;
    assert_eq!(dry.json()["outcome"], "dry_run", "{dry:?}");
    for _ in 0..2 {
        let pending = rig.post(RESIZE, &[JSON], LARGER).await;
        assert_eq!(pending.status, 202, "{pending:?}");
        assert!(pending.took < BOUND, "{:?}", pending.took);
        let receipt = pending.json();
        assert_eq!(
            (&receipt["pool"], &receipt["outcome"]),
            (&json!("main"), &json!("pending"))
        );
        assert_eq!(receipt["after"]["pool_size"], 20, "{receipt}");
    }
    for (path, body) in [(RESIZE, r#"{"pool_size": 31}"#), (RECYCLE, "{}")] {
        let behind = rig.post(path, &[JSON], body).await;
        behind.assert_problem(409);
        assert_eq!(behind.json()["pending"], "resize", "{behind:?}");
    }
    let _server = wake(listener, &service);
    rig.until_written_down("applied").await;
    assert_eq!(service.0.lock().pool_changes.len(), 1);
    assert_eq!(service.0.lock().snapshot.pools[0].pool_size, 30);
}

#[tokio::test]
async fn a_pending_change_of_a_breaker_does_not_stand_in_the_way_of_a_pool_of_its_name() {
    let rig = Rig::start(&[]).await;
    let mut last = snapshot(std::process::id());
    last.pools[0].name = "payment_api".to_owned();
    rig.write_black_box(&last);
    let _listener = rig.hang();
    let key = [("Idempotency-Key", "k")];
    assert_eq!(rig.post(RESET, &key, "").await.status, 202);
    let pool = "/admin/pools/payment_api/recycle";
    let recycled = rig.post(pool, &key, "").await;
    assert_eq!(recycled.status, 202, "{recycled:?}");
    assert_eq!(recycled.json()["action"], "recycle");
}
