//! Fallbacks are shown from whatever picture there is, and switched like breakers.

use resilience_core::control::Action;
use serde_json::json;

use crate::support::{BEARER, BOUND, JSON, RESET, Rig, dead_pid, snapshot, token_file, wake};

const WHY: &str = r#"{"reason": "INC-7"}"#;

fn path(action: Action) -> String {
    format!("/admin/fallback/rates/{}", action.path())
}

#[tokio::test]
async fn the_fallbacks_of_a_dead_service_are_shown_from_its_black_box_with_what_comes_back() {
    let rig = Rig::start(&[]).await;
    rig.write_black_box(&snapshot(dead_pid()));
    let list = rig.get("/admin/fallback").await;
    let dead = "x-service-condition: dead";
    assert!(list.head.to_ascii_lowercase().contains(dead), "{list:?}");
    let shown = list.json();
    assert_eq!(shown["fallbacks"][0]["responses"]["stale"], 5, "{shown}");
    assert_eq!(shown["fallbacks"][0]["oldest_ms"], 61_000, "{shown}");
    let concern = shown["concerns"][0].as_str().unwrap();
    assert!(concern.starts_with("the redis store is down"), "{concern}");
    let whole = rig.get("/admin/fallback/rates").await.json();
    assert_eq!(whole["second_level"]["up"], false, "{whole}");
    let metrics = rig.get("/metrics").await.body;
    assert!(
        metrics.contains(r#"fallback_store_up{store="redis"} 0"#),
        "{metrics}"
    );

    for action in Action::OF_FALLBACKS {
        let refused = rig.post(&path(action), &[JSON], WHY).await;
        refused.assert_problem(503);
        assert!(refused.took < BOUND, "{:?}", refused.took);
        let advice = refused.json()["advice"].as_str().unwrap().to_owned();
        assert!(
            advice.contains("comes back as it is switched now"),
            "{advice}"
        );
    }
    for unknown in [
        rig.get("/admin/fallback/raets").await,
        rig.post("/admin/fallback/raets/purge", &[], "").await,
    ] {
        unknown.assert_problem(404);
        assert_eq!(unknown.json()["nearest"][0], "rates", "{unknown:?}");
    }
}

#[tokio::test]
async fn a_switch_and_a_purge_reach_the_service_and_are_written_down() {
    let (rig, service, _server) = Rig::live(&[]).await;
    let (on, off) = (
        json!({"enabled": true, "by_hand": false}),
        json!({"enabled": false, "by_hand": true}),
    );
    let receipt = rig.post(&path(Action::SwitchOff), &[JSON], WHY).await;
    assert_eq!(receipt.status, 200, "{receipt:?}");
    assert_eq!(receipt.json()["before"], on);
    assert_eq!(receipt.json()["after"], off);
    let concerns = rig.get("/admin/fallback").await.json()["concerns"].clone();
    let off_by_hand = concerns[0].as_str().unwrap();
    assert!(
        off_by_hand.contains("switched off by hand because \"INC-7\""),
        "{concerns}"
    );
    let receipt = rig.post(&path(Action::SwitchOn), &[], "").await;
    assert_eq!(receipt.json()["after"], on, "{receipt:?}");
    let receipt = rig.post(&path(Action::Purge), &[], "").await;
    assert_eq!(receipt.json()["purged"], 3, "{receipt:?}");

    let [first, second, third] = rig.audit().try_into().unwrap();
    for (key, value) in [
        ("action", json!("switch_off")),
        ("fallback", json!("rates")),
        ("before", on),
        ("after", off),
        ("reason", json!("INC-7")),
        ("outcome", json!("applied")),
    ] {
        assert_eq!(first[key], value, "{key} of {first}");
    }
    assert_eq!((first.get("breaker"), first.get("pool")), (None, None));
    assert_eq!(
        (&second["action"], &third["action"]),
        (&json!("switch_on"), &json!("purge"))
    );
    let metrics = rig.get("/metrics").await.body;
    for action in Action::OF_FALLBACKS {
        let counted = format!(r#"admin_commands_total{{action="{action}",result="applied"}} 1"#);
        assert!(metrics.contains(&counted), "{metrics}");
    }
    for bad in [r#"{"for": "1h"}"#, "[]", r#"{"if_generation": 7}"#] {
        let refused = rig.post(&path(Action::SwitchOff), &[JSON], bad).await;
        refused.assert_problem(400);
    }
    assert_eq!(service.0.lock().fallback_changes.len(), 3);
}

#[tokio::test]
async fn a_switch_of_a_hung_service_is_pending_and_then_made_exactly_once() {
    let (rig, service, listener) = Rig::hung().await;
    let off = path(Action::SwitchOff);
    let dry = rig.post(&format!("{off}?dry_run"), &[JSON], WHY).await;
    assert_eq!(dry.json()["outcome"], "dry_run", "{dry:?}");
    for _ in 0..2 {
        let pending = rig.post(&off, &[JSON], WHY).await;
        assert_eq!(pending.status, 202, "{pending:?}");
        assert!(pending.took < BOUND, "{:?}", pending.took);
        let receipt = pending.json();
        assert_eq!(
            (&receipt["service"], &receipt["outcome"]),
            (&json!("rates"), &json!("pending"))
        );
        assert_eq!(receipt["after"]["enabled"], true, "{receipt}");
    }
    for other in [Action::SwitchOn, Action::Purge] {
        let behind = rig.post(&path(other), &[], "").await;
        behind.assert_problem(409);
        assert_eq!(behind.json()["pending"], "switch_off", "{behind:?}");
    }
    let _server = wake(listener, &service);
    rig.until_written_down("applied").await;
    assert_eq!(service.0.lock().fallback_changes.len(), 1);
    assert!(!service.0.lock().snapshot.fallbacks[0].enabled);
}

#[tokio::test]
async fn a_pending_change_of_a_breaker_does_not_stand_in_the_way_of_a_fallback_of_its_name() {
    let rig = Rig::start(&[]).await;
    let mut last = snapshot(std::process::id());
    last.fallbacks[0].name = "payment_api".to_owned();
    rig.write_black_box(&last);
    let _listener = rig.hang();
    let key = [("Idempotency-Key", "k")];
    assert_eq!(rig.post(RESET, &key, "").await.status, 202);
    let switched = rig
        .post("/admin/fallback/payment_api/disable", &key, "")
        .await;
    assert_eq!(switched.status, 202, "{switched:?}");
    assert_eq!(switched.json()["action"], "switch_off");
}

#[tokio::test]
async fn a_fallback_is_changed_with_the_token_only_and_by_no_page_of_another_site() {
    let dir = tempfile::tempdir().unwrap();
    let (rig, service, _server) = Rig::live(&["--token-file", &token_file(&dir)]).await;
    for action in Action::OF_FALLBACKS {
        let path = path(action);
        rig.post(&path, &[], "").await.assert_problem(401);
        let foreign = [BEARER, ("Sec-Fetch-Site", "cross-site")];
        rig.post(&path, &foreign, "").await.assert_problem(403);
    }
    assert_eq!(rig.get("/admin/fallback").await.status, 200);
    assert!(service.0.lock().fallback_changes.is_empty());
    let purged = rig.post(&path(Action::Purge), &[BEARER], "").await;
    assert_eq!(purged.status, 200, "{purged:?}");
}
