//! Overrides are changes like a reset: they tell the truth, are never made
//! twice, and do not stand in each other's way unseen.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use resilience_core::{
    control::Action,
    snapshot::{OverrideKind, OverrideSnapshot},
};
use serde_json::json;

use crate::support::{BOUND, JSON, RESET, Rig, STATE, path, snapshot, until, wake};

fn overridden(kind: OverrideKind, expires_at: Option<Timestamp>) -> OverrideSnapshot {
    OverrideSnapshot {
        kind,
        actor: None,
        reason: None,
        since: Timestamp::now(),
        expires_at,
    }
}

#[tokio::test]
async fn each_action_reaches_the_service_and_is_written_down_by_its_name() {
    let (rig, service, _server) = Rig::live(&[]).await;
    for action in Action::OF_BREAKERS {
        // With no body at all, as the runbook resets.
        let bare = rig.post(&path(action), &[], "").await;
        assert_eq!(bare.status, 200, "{bare:?}");
        let receipt = bare.json();
        assert_eq!(receipt["action"], action.as_str());
        assert_eq!(receipt["outcome"], "applied");
        assert_eq!(service.changes(action), 1);
        assert_eq!(rig.audit().last().unwrap()["action"], action.as_str());
    }
    let metrics = rig.get("/metrics").await.body;
    for action in Action::OF_BREAKERS {
        let counted = format!(r#"admin_commands_total{{action="{action}",result="applied"}} 1"#);
        assert!(metrics.contains(&counted), "{metrics}");
    }
}

#[tokio::test]
async fn how_long_and_why_get_to_the_service_and_into_the_audit_log() {
    let (rig, service, _server) = Rig::live(&[]).await;
    let body = r#"{"for": "1h 30m", "reason": "their maintenance"}"#;
    let receipt = rig.post(&path(Action::ForceOpen), &[JSON], body).await;
    assert_eq!(receipt.status, 200, "{receipt:?}");
    let end: Timestamp = receipt.json()["expires_at"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let lasts = end.duration_since(Timestamp::now());
    assert!(
        lasts > SignedDuration::from_mins(89) && lasts <= SignedDuration::from_mins(90),
        "{lasts}"
    );
    let line = &rig.audit()[0];
    assert_eq!(line["for"], "1h 30m", "{line}");
    assert_eq!(line["reason"], "their maintenance", "{line}");
    let set = service.0.lock().snapshot.breakers[0].overridden.clone();
    assert_eq!(set.unwrap().reason.as_deref(), Some("their maintenance"));
}

#[tokio::test]
async fn a_bad_duration_is_refused_before_the_service_hears_of_it() {
    let (rig, service, _server) = Rig::live(&[]).await;
    for bad in ["30", "0s", "31d", "soon", ""] {
        let body = json!({ "for": bad }).to_string();
        let refused = rig.post(&path(Action::Disable), &[JSON], &body).await;
        refused.assert_problem(400);
        assert!(refused.body.contains("1s to 30d"), "{refused:?}");
    }
    let refused = rig.post(RESET, &[JSON], r#"{"for": "30m"}"#).await;
    refused.assert_problem(400);
    assert!(service.0.lock().applied.is_empty());
    assert!(rig.audit().is_empty());
}

#[tokio::test]
async fn an_override_of_a_hung_service_is_pending_and_then_set_exactly_once() {
    let (rig, service, listener) = Rig::hung().await;
    let (force, body) = (path(Action::ForceOpen), r#"{"for": "30m"}"#);

    for _ in 0..2 {
        let pending = rig.post(&force, &[JSON], body).await;
        assert_eq!(pending.status, 202, "{pending:?}");
        assert!(pending.took < BOUND, "{:?}", pending.took);
        let receipt = pending.json();
        assert_eq!(receipt["action"], "force_open");
        assert_eq!(receipt["outcome"], "pending");
        // It will last from when it is taken: nobody knows until when.
        assert_eq!(receipt.get("expires_at"), None, "{receipt}");
    }
    let _server = wake(listener, &service);
    rig.until_written_down("applied").await;
    assert_eq!(service.changes(Action::ForceOpen), 1);
    assert_eq!(rig.audit().last().unwrap()["from"], "pending");
    assert_eq!(rig.audit().last().unwrap()["for"], "30m");
    assert_eq!(rig.get(STATE).await.body.trim(), r#"{"state":"OPEN"}"#);
}

#[tokio::test]
async fn behind_a_pending_change_another_is_refused_with_what_is_pending() {
    let (rig, service, listener) = Rig::hung().await;
    let force = path(Action::ForceOpen);
    assert_eq!(rig.post(&force, &[], "").await.status, 202);

    let other_time = r#"{"for": "30m"}"#;
    for (path, body) in [
        (RESET, ""),
        (path(Action::Disable).as_str(), ""),
        // The same for another time is another.
        (&force, other_time),
    ] {
        let headers: &[_] = if body.is_empty() { &[] } else { &[JSON] };
        let behind = rig.post(path, headers, body).await;
        behind.assert_problem(409);
        assert!(behind.took < BOUND, "{:?}", behind.took);
        assert_eq!(behind.json()["pending"], "force_open", "{behind:?}");
    }
    assert_eq!(rig.post(&force, &[], "").await.status, 202);
    let dry = rig.post(&format!("{RESET}?dry_run"), &[], "").await;
    assert_eq!(dry.json()["outcome"], "dry_run", "{dry:?}");

    let _server = wake(listener, &service);
    until("the first is made", || async {
        service.changes(Action::ForceOpen) == 1
    })
    .await;
    until("the next has its turn", || async {
        rig.post(RESET, &[], "").await.status == 200
    })
    .await;
    assert_eq!(service.changes(Action::ForceOpen), 1);
    assert_eq!(service.changes(Action::Disable), 0);
    let outcomes: Vec<_> = rig.audit().iter().map(|l| l["outcome"].clone()).collect();
    let behind = outcomes.iter().filter(|one| **one == "behind_pending");
    assert!(behind.count() >= 3, "{outcomes:?}");
}

#[tokio::test]
async fn a_change_right_behind_another_of_a_service_that_answers_is_made_after_it() {
    let (rig, service, _server) = Rig::live(&[]).await;
    let (force, enable) = (path(Action::ForceOpen), path(Action::Enable));
    for _ in 0..5 {
        let both = tokio::join!(rig.post(&force, &[], ""), rig.post(&enable, &[], ""));
        assert_eq!((both.0.status, both.1.status), (200, 200), "{both:?}");
    }
    assert_eq!(service.changes(Action::ForceOpen), 5);
    assert_eq!(service.changes(Action::Enable), 5);
}

#[tokio::test]
async fn a_key_that_joined_a_pending_change_is_of_no_use_for_another() {
    let (rig, service, listener) = Rig::hung().await;
    let (force, key) = (path(Action::ForceOpen), [("Idempotency-Key", "k")]);
    assert_eq!(rig.post(&force, &[], "").await.status, 202);
    assert_eq!(rig.post(&force, &key, "").await.status, 202);
    let _server = wake(listener, &service);
    until("it is made", || async {
        rig.post(&force, &key, "").await.status == 200
    })
    .await;
    assert_eq!(service.changes(Action::ForceOpen), 1);
    let refused = rig.post(RESET, &key, "").await;
    refused.assert_problem(422);
    assert_eq!(refused.json()["used_for"], "force_open");
    assert_eq!(service.resets(), 0);
}

#[tokio::test]
async fn what_the_last_picture_says_against_an_override_is_said_at_once() {
    let rig = Rig::start(&[]).await;
    let mut last = snapshot(std::process::id());
    rig.write_black_box(&last);
    let _listener = rig.hang();
    let (enable, disable) = (path(Action::Enable), path(Action::Disable));
    let nothing = rig.post(&enable, &[], "").await;
    nothing.assert_problem(409);
    assert_eq!(nothing.json()["reason"], "not_overridden");
    let unknown = "/admin/circuit-breaker/paymnt_api/disable";
    let unknown = rig.post(unknown, &[], "").await;
    unknown.assert_problem(404);
    assert_eq!(unknown.json()["nearest"][0], "payment_api");
    let moved = rig.post(&disable, &[JSON], r#"{"if_generation": 3}"#).await;
    moved.assert_problem(409);

    let hour = Timestamp::now() + Duration::from_secs(3_600);
    last.breakers[0].overridden = Some(overridden(OverrideKind::ForcedOpen, Some(hour)));
    last.taken_at = Timestamp::now();
    rig.write_black_box(&last);
    until("the newer picture is seen", || async {
        let refused = rig.reset().await;
        refused.status == 409 && refused.json()["override"] == "forced_open"
    })
    .await;
    // One that has ended meanwhile stands in nobody's way.
    let before = Timestamp::now() - Duration::from_secs(1);
    last.breakers[0].overridden = Some(overridden(OverrideKind::ForcedOpen, Some(before)));
    last.taken_at = Timestamp::now();
    rig.write_black_box(&last);
    until("the newest picture is seen", || async {
        rig.reset().await.status == 202
    })
    .await;
}
