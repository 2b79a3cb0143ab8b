//! An admin port that others than this host reach.

use std::{fs, os::unix::fs::PermissionsExt};

use http::Method;
use resilience_tests::lone::{Ground, QUICK, SOON, eventually, metric, run_to_end};
use serde_json::json;

use crate::admin_input::{RESET, STATE, audit};

#[tokio::test]
async fn an_admin_port_that_others_reach_needs_a_token_for_every_change() {
    // Without one it does not even start.
    let dir = tempfile::tempdir().unwrap();
    let open = [
        "--admin-listen",
        "0.0.0.0:0",
        "--run-dir",
        dir.path().to_str().unwrap(),
    ];
    let refused = run_to_end("admin-sidecar", &open, &[]).await;
    assert_eq!(refused.status.code(), Some(78));
    let stderr = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(
        stderr.contains("0.0.0.0:0") && stderr.contains("--token-file"),
        "{stderr}"
    );

    let ground = Ground::start().await;
    let config = ground.write("config.yaml", QUICK);
    let api = ground.api().config(config).start().await;
    let token = "0123456789abcdef0123456789abcdef";
    let file = ground.write("token", &format!("{token}\n"));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let file = file.to_str().unwrap();
    let sidecar = ground
        .sidecar(&["--admin-listen", "0.0.0.0:0", "--token-file", file])
        .await;
    let admin = &sidecar.admin;
    ground.trip(&api).await;

    let bearer = |token: &str| format!("Bearer {token}");
    let wrong = [
        bearer("fedcba9876543210fedcba9876543210"),
        bearer(""),
        bearer(&token[..31]),
    ];
    let missing = admin.post(RESET).await;
    missing.problem(401);
    assert_eq!(missing.header("www-authenticate"), "Bearer");
    for wrong in &wrong {
        let refused = admin
            .ask(Method::POST, RESET, &[("Authorization", wrong)], "")
            .await;
        refused.problem(401);
        assert!(!refused.text().contains(&token[..31]), "{refused:?}");
    }
    // A token leads no page of another site.
    let right = bearer(token);
    let right = ("Authorization", right.as_str());
    let foreign = ("Origin", "http://evil.example");
    admin
        .ask(Method::POST, RESET, &[right, foreign], "")
        .await
        .problem(403);
    assert_eq!(
        admin.get(STATE).await.text(),
        r#"{"state":"OPEN"}"#,
        "reads need none"
    );
    assert!(audit(&ground.run_dir()).is_empty(), "nothing was changed");

    let json = ("Content-Type", "application/json");
    let body = r#"{"reason": "the upstream\nis back"}"#;
    let spoofed = ("X-Admin-Actor", "root");
    let done = admin
        .ask(Method::POST, RESET, &[right, json, spoofed], body)
        .await;
    assert_eq!(done.status, 200, "{done:?}");
    assert_eq!(done.json()["outcome"], "applied");
    assert_eq!(admin.get(STATE).await.text(), r#"{"state":"CLOSED"}"#);
    let dry = format!("{RESET}?dry_run");
    assert_eq!(
        admin.ask(Method::POST, &dry, &[right], "").await.status,
        200
    );
    let other = "/admin/circuit-breaker/paymant_api/reset";
    admin
        .ask(Method::POST, other, &[right], "")
        .await
        .problem(404);

    // One line a change, whatever came of it; none for a rehearsal.
    let lines = audit(&ground.run_dir());
    assert_eq!(lines.len(), 2, "{lines:?}");
    for (key, value) in [
        ("actor", "token"),
        ("action", "reset"),
        ("breaker", "payment_api"),
        ("before", "OPEN"),
        ("after", "CLOSED"),
        ("outcome", "applied"),
        ("reason", "the upstream\nis back"),
    ] {
        assert_eq!(lines[0][key], value, "{lines:?}");
    }
    assert!(
        lines[0]["from"].as_str().unwrap().starts_with("127.0.0.1:"),
        "{lines:?}"
    );
    assert_eq!(
        (&lines[1]["breaker"], &lines[1]["outcome"]),
        (&json!("paymant_api"), &json!("unknown"))
    );
    let text = fs::read_to_string(ground.run_dir().join("audit.jsonl")).unwrap();
    assert!(!text.contains(token), "{text}");
    let counted = admin.get("/metrics").await.text();
    let count = |series: &str| metric(&counted, series);
    assert_eq!(
        count(r#"admin_auth_failures_total{reason="token_missing"}"#),
        Some(2.0)
    );
    assert_eq!(
        count(r#"admin_auth_failures_total{reason="token_wrong"}"#),
        Some(2.0)
    );
    assert_eq!(
        count(r#"admin_commands_total{action="reset",result="applied"}"#),
        Some(1.0)
    );
    eventually("refusals are in the log", SOON, async || {
        let lines = sidecar.child.lines();
        let found = lines
            .iter()
            .any(|line| line.contains(" token_wrong ") && line.contains("WARN"));
        found.then_some(())
    })
    .await;
    assert!(
        !sidecar
            .child
            .lines()
            .iter()
            .any(|line| line.contains(&token[..31]))
    );
}
