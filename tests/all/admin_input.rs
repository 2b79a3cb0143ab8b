//! What the admin API is asked, and how it answers: through the sidecar and on
//! the service's own socket.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use http::Method;
use resilience_examples::Mode;
use resilience_tests::lone::{
    Api, BREAKER, Door, Ground, QUICK, SOON, Sidecar, eventually, metric, run_to_end, shell,
};
use serde_json::{Value, json};

const RESET: &str = "/admin/circuit-breaker/payment_api/reset";
const STATE: &str = "/admin/circuit-breaker/payment_api/state";
const RESETS: &str = r#"circuit_breaker_transitions_total{service="payment_api",from="OPEN",to="CLOSED",cause="reset"}"#;

async fn start() -> (Ground, Api, Sidecar) {
    let ground = Ground::start().await;
    let config = ground.write("config.yaml", QUICK);
    let api = ground.api().config(config).start().await;
    let sidecar = ground.sidecar(&[]).await;
    (ground, api, sidecar)
}

#[tokio::test]
async fn what_is_asked_wrongly_is_refused_with_a_reason_and_changes_nothing() {
    let (ground, api, sidecar) = start().await;
    ground.trip(&api).await;
    let json = ("Content-Type", "application/json");
    let long = format!(r#"{{"reason": "{}"}}"#, "x".repeat(4096));

    // Alike on both doors: one router.
    for door in [&sidecar.admin, &api.socket] {
        for (method, path) in [
            (Method::GET, "state"),
            (Method::GET, "explain"),
            (Method::GET, "events"),
            (Method::POST, "reset"),
        ] {
            let path = format!("/admin/circuit-breaker/paymant_api/{path}");
            let unknown = door.ask(method, &path, &[], "").await.problem(404);
            assert_eq!(unknown["nearest"], json!(["payment_api"]), "{path}");
            assert!(
                unknown["detail"]
                    .as_str()
                    .unwrap()
                    .contains("`paymant_api`")
            );
            assert!(
                unknown["advice"]
                    .as_str()
                    .unwrap()
                    .contains("`payment_api`")
            );
        }
        let strange = door.post("/admin/circuit-breaker/%FF/reset").await;
        strange.problem(400);
        let list = door.get("/admin/circuit-breaker").await.json();
        let names: Vec<_> = list["breakers"].as_array().unwrap().iter().collect();
        assert_eq!(names.len(), 1, "{list}");
        assert_eq!(names[0]["service"], "payment_api");

        for method in [Method::GET, Method::PUT, Method::DELETE] {
            let wrong = door.ask(method, RESET, &[], "").await;
            wrong.problem(405);
            assert_eq!(wrong.header("allow"), "POST", "{wrong:?}");
        }
        let wrong = door.post(STATE).await;
        wrong.problem(405);
        assert_eq!(wrong.header("allow"), "GET,HEAD", "{wrong:?}");
        door.get("/admin/circuit-braker").await.problem(404);
        door.ask(Method::POST, RESET, &[json], &long)
            .await
            .problem(413);
        for bad in [
            "{\"reason\": ",
            "nonsense",
            "[]",
            r#"{"reson": "x"}"#,
            r#"{"if_generation": "two"}"#,
            r#"{"if_generation": -1}"#,
        ] {
            door.ask(Method::POST, RESET, &[json], bad)
                .await
                .problem(400);
        }
        for query in ["dryrun", "dry_run=perhaps", "watch=5", "watch=61s"] {
            let refused = door.post(&format!("{RESET}?{query}")).await.problem(400);
            assert!(
                refused["detail"].as_str().unwrap().contains(query),
                "{refused}"
            );
        }
    }

    // One that was given up before the service came to read it.
    for (until, status) in [("2020-01-01T00:00:00Z", 412), ("tomorrow", 400)] {
        let late = [("X-Admin-Not-After", until)];
        let refused = api.socket.ask(Method::POST, RESET, &late, "").await;
        refused.problem(status);
    }

    // Of another site: not at the port, where browsers get.
    let port = sidecar.admin.address().port();
    let other_port = format!("http://localhost:{}", port.wrapping_add(1));
    let foreign: [&[(&str, &str)]; 6] = [
        &[("Origin", "http://evil.example")],
        &[("Origin", "null")],
        &[("Origin", &other_port)],
        &[("Host", "evil.example")],
        &[
            ("Host", "evil.example:9000"),
            ("Origin", "http://evil.example:9000"),
        ],
        &[("Sec-Fetch-Site", "cross-site")],
    ];
    for headers in foreign {
        let refused = sidecar.admin.ask(Method::POST, RESET, headers, "").await;
        refused.problem(403);
    }
    let form = ("Content-Type", "text/plain");
    let body = r#"{"reason": "x"}"#;
    let refused = sidecar.admin.ask(Method::POST, RESET, &[form], body).await;
    refused.problem(415);
    let rebound = sidecar
        .admin
        .ask(Method::GET, STATE, &[foreign[3][0]], "")
        .await;
    rebound.problem(403);
    sidecar.public.post(RESET).await.problem(404);
    sidecar.public.get(STATE).await.problem(404);
    let counted = sidecar.admin.get("/metrics").await.text();
    let count = |reason: &str| {
        metric(
            &counted,
            &format!(r#"admin_auth_failures_total{{reason="{reason}"}}"#),
        )
    };
    let counts = (count("origin"), count("host"), count("fetch_site"));
    assert_eq!(counts, (Some(3.0), Some(3.0), Some(1.0)), "{counted}");
    let refusal = "refused POST \"/admin/circuit-breaker/payment_api/reset\"";
    sidecar.child.wait_for_line(refusal, SOON).await.unwrap();

    // After all that, the circuit is as it was.
    assert_eq!(sidecar.admin.get(STATE).await.text(), r#"{"state":"OPEN"}"#);
    assert_eq!(metric(&api.get("/metrics").await.text(), RESETS), None);

    // The page that the sidecar itself may serve is no other site.
    let own = format!("http://127.0.0.1:{port}");
    let own = [("Origin", own.as_str()), ("Sec-Fetch-Site", "same-origin")];
    assert_eq!(
        sidecar
            .admin
            .ask(Method::POST, RESET, &own, "")
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn a_reset_does_what_it_was_asked_once_and_says_what_came_of_it() {
    let (ground, api, sidecar) = start().await;
    let dry = format!("{RESET}?dry_run");

    for door in [&sidecar.admin, &api.socket] {
        // Closed now, open later: each dry run says what is, and changes nothing.
        ground.stub.set_fault(Mode::Ok.into());
        let rehearsed = door.post(&dry).await.json();
        assert_eq!(rehearsed["outcome"], "dry_run", "{rehearsed}");
        assert_eq!(rehearsed["before"], "CLOSED", "{rehearsed}");
        ground.trip(&api).await;
        let rehearsed = door.post(&dry).await;
        assert_eq!(rehearsed.status, 200);
        let rehearsed = rehearsed.json();
        assert_eq!(rehearsed["outcome"], "dry_run", "{rehearsed}");
        assert_eq!(
            (&rehearsed["before"], &rehearsed["after"]),
            (&json!("OPEN"), &json!("OPEN"))
        );
        assert_eq!(breaker(door).await["state"], "OPEN");

        // With a generation that has passed: refused, with the one of now.
        let generation = breaker(door).await["generation"].as_u64().unwrap();
        let body = |generation: u64| format!(r#"{{"if_generation": {generation}}}"#);
        let moved = door
            .post_json(RESET, &body(generation - 1))
            .await
            .problem(409);
        assert_eq!(
            (&moved["expected"], &moved["actual"]),
            (&json!(generation - 1), &json!(generation))
        );
        let dry_and_moved = door.post_json(&dry, &body(generation - 1)).await;
        dry_and_moved.problem(409);
        assert_eq!(breaker(door).await["generation"], generation);

        // A dry run leaves no receipt behind that a real one would be given.
        let key = if matches!(door, Door::Unix(_)) {
            "socket-1"
        } else {
            "sidecar-1"
        };
        let keyed = [("Idempotency-Key", key)];
        let rehearsed = door.ask(Method::POST, &dry, &keyed, "").await.json();
        assert_eq!(rehearsed["outcome"], "dry_run", "{rehearsed}");
        let first = door.ask(Method::POST, RESET, &keyed, "").await;
        assert_eq!(first.status, 200, "{first:?}");
        let receipt = first.json();
        assert_eq!(receipt["service"], "payment_api");
        assert_eq!(receipt["outcome"], "applied", "{receipt}");
        assert_eq!(
            (&receipt["before"], &receipt["after"]),
            (&json!("OPEN"), &json!("CLOSED"))
        );
        assert_eq!(receipt["generation"], generation + 1);
        assert_eq!(breaker(door).await["state"], "CLOSED");

        // The same key, though the circuit is open again: the same receipt.
        ground.trip(&api).await;
        let again = door.ask(Method::POST, RESET, &keyed, "").await;
        assert_eq!((again.status, again.json()), (200, receipt));
        assert_eq!(breaker(door).await["state"], "OPEN");
        let right = breaker(door).await["generation"].as_u64().unwrap();
        let applied = door.post_json(RESET, &body(right)).await.json();
        assert_eq!(applied["outcome"], "applied", "{applied}");
    }

    // Who asked and why is in the flight recorder.
    ground.trip(&api).await;
    sidecar
        .admin
        .post_json(RESET, r#"{"reason": "the upstream is back"}"#)
        .await;
    let events = sidecar.admin.get(&format!("{BREAKER}/events")).await.json();
    let newest = &events["events"][0];
    assert_eq!(
        (&newest["to"], &newest["cause"]),
        (&json!("CLOSED"), &json!("reset"))
    );
    assert_eq!(newest["reason"], "the upstream is back");
    assert!(
        newest["actor"]
            .as_str()
            .unwrap()
            .starts_with("loopback 127.0.0.1:"),
        "{newest}"
    );

    // Watched while the upstream is still broken and calls go on: it says so.
    ground.trip(&api).await;
    let watched = format!("{RESET}?watch=2s");
    let calls = async {
        loop {
            api.get("/rates/EUR").await;
        }
    };
    let receipt = tokio::select! {
        answer = sidecar.admin.post(&watched) => answer,
        () = calls => unreachable!("it has no end"),
    };
    assert_eq!(receipt.status, 200);
    let receipt = receipt.json();
    assert_eq!(receipt["outcome"], "reopened", "{receipt}");
    assert_eq!(receipt["after"], "OPEN", "{receipt}");
    assert!(
        receipt["detail"]
            .as_str()
            .unwrap()
            .starts_with("re-opened after "),
        "{receipt}"
    );
    // And when nothing is wrong any more, that it stayed closed.
    ground.stub.set_fault(Mode::Ok.into());
    let receipt = sidecar
        .admin
        .post(&format!("{RESET}?watch=300ms"))
        .await
        .json();
    assert_eq!(receipt["outcome"], "applied", "{receipt}");
    assert!(
        receipt["detail"]
            .as_str()
            .unwrap()
            .starts_with("still closed after "),
        "{receipt}"
    );
}

#[tokio::test]
async fn an_override_asked_for_wrongly_is_refused_with_a_reason_and_sets_nothing() {
    let (_ground, api, sidecar) = start().await;
    let long = "9".repeat(4_000);
    let bad = [
        "{\"for\": ".to_owned(),
        "{\"for\": \"30m\"".to_owned(),
        "[\"30m\"]".to_owned(),
        "\"30m\"".to_owned(),
        "null".to_owned(),
        "\u{0}".to_owned(),
        json!({"for": ""}).to_string(),
        json!({"for": " "}).to_string(),
        json!({"for": "30"}).to_string(),
        json!({"for": 30}).to_string(),
        json!({"for": 1.5e300}).to_string(),
        json!({"for": true}).to_string(),
        json!({"for": {"minutes": 30}}).to_string(),
        json!({"for": "0s"}).to_string(),
        json!({"for": "999ms"}).to_string(),
        json!({"for": "30d 1ms"}).to_string(),
        json!({"for": "1month"}).to_string(),
        json!({"for": "-5m"}).to_string(),
        json!({"for": "5 mintues"}).to_string(),
        json!({"for": "１h"}).to_string(),
        json!({"for": "1h\u{0}"}).to_string(),
        json!({ "for": format!("{long}s") }).to_string(),
        json!({"fro": "30m"}).to_string(),
        json!({"for": "30m", "until": "14:30"}).to_string(),
        r#"{"for": "30m", "for": "1h"}"#.to_owned(),
        json!({"for": "30m", "if_generation": -1}).to_string(),
        json!({"for": "30m", "if_generation": 4_294_967_296_u64}).to_string(),
        json!({"for": "30m", "reason": ["x"]}).to_string(),
        json!({"for": "30m", "reason": "x".repeat(501)}).to_string(),
    ];
    let of = |action: &str| format!("{BREAKER}/{action}");
    for door in [&sidecar.admin, &api.socket] {
        for action in ["force-open", "disable", "metrics-only"] {
            for body in &bad {
                let refused = door.post_json(&of(action), body).await;
                let refused = refused.problem(400);
                assert!(
                    refused["advice"].as_str().is_some_and(|a| !a.is_empty()),
                    "{action} {body}: {refused}"
                );
            }
            for query in ["watch=5s", "for=30m", "dry_run=1"] {
                let refused = door.post(&format!("{}?{query}", of(action))).await;
                let refused = refused.problem(400);
                assert!(refused["detail"].as_str().unwrap().contains(query));
            }
        }
        for action in ["reset", "enable"] {
            let refused = door.post_json(&of(action), r#"{"for": "30m"}"#).await;
            refused.problem(400);
        }
        for action in ["force-open", "disable", "metrics-only", "enable"] {
            let unknown = format!("/admin/circuit-breaker/paymant_api/{action}");
            let unknown = door.post(&unknown).await.problem(404);
            assert_eq!(unknown["nearest"], json!(["payment_api"]), "{action}");
            let wrong = door.get(&of(action)).await;
            wrong.problem(405);
            assert_eq!(wrong.header("allow"), "POST", "{wrong:?}");
        }
        door.post(&of("force_open")).await.problem(404);
        door.post(&of("enable")).await.problem(409);
    }
    let late = [("X-Admin-Not-After", "2020-01-01T00:00:00Z")];
    let path = of("force-open");
    let refused = api.socket.ask(Method::POST, &path, &late, "").await;
    refused.problem(412);
    let foreign = [("Origin", "http://evil.example")];
    let refused = sidecar.admin.ask(Method::POST, &path, &foreign, "").await;
    refused.problem(403);

    // After all that, nothing is set, and nothing has happened.
    let shown = breaker(&sidecar.admin).await;
    assert_eq!(shown["override"], Value::Null, "{shown}");
    assert_eq!(shown["generation"], 0, "{shown}");
    assert_eq!(api.get("/rates/EUR").await.status, 200);
}

#[tokio::test]
async fn an_override_does_what_it_was_asked_once_and_says_what_came_of_it() {
    let (_ground, api, sidecar) = start().await;
    let of = |action: &str| format!("{BREAKER}/{action}");
    for (door, key) in [(&sidecar.admin, "sidecar-1"), (&api.socket, "socket-1")] {
        let rehearsed = door.post(&format!("{}?dry_run", of("force-open"))).await;
        assert_eq!(rehearsed.status, 200, "{rehearsed:?}");
        let rehearsed = rehearsed.json();
        assert_eq!(rehearsed["outcome"], "dry_run", "{rehearsed}");
        assert_eq!(breaker(door).await["override"], Value::Null);

        // Once for one key, and for nothing else.
        let headers = [
            ("Idempotency-Key", key),
            ("Content-Type", "application/json"),
        ];
        let (force, hour) = (of("force-open"), r#"{"for": "1h"}"#);
        let first = door.ask(Method::POST, &force, &headers, hour).await;
        assert_eq!(first.status, 200, "{first:?}");
        let again = door.ask(Method::POST, &force, &headers, hour).await;
        assert_eq!(again.json(), first.json());
        for (path, body) in [(&force, "{}"), (&of("disable"), hour)] {
            let other = door.ask(Method::POST, path, &headers, body).await;
            assert_eq!(other.problem(422)["used_for"], "force_open", "{other:?}");
        }
        let shown = breaker(door).await;
        assert_eq!(
            (&shown["state"], &shown["computed_state"]),
            (&json!("OPEN"), &json!("CLOSED")),
            "{shown}"
        );
        assert_eq!(shown["override"]["kind"], "forced_open", "{shown}");
        assert_eq!(shown["generation"], first.json()["generation"]);
        assert_eq!(door.get(STATE).await.text(), r#"{"state":"OPEN"}"#);
        assert_eq!(
            api.get("/rates/EUR").await.problem(503)["detail"],
            "Circuit is open"
        );

        // What stands in the way is named, with the way around it.
        let reset = door.post(RESET).await.problem(409);
        assert_eq!(reset["override"], "forced_open", "{reset}");
        assert!(reset["advice"].as_str().unwrap().contains("/enable"));
        let moved = door
            .post_json(&of("enable"), r#"{"if_generation": 77}"#)
            .await;
        assert_eq!(moved.problem(409)["expected"], 77);

        let generation = shown["generation"].as_u64().unwrap();
        let right = json!({ "if_generation": generation, "reason": "they are back" });
        let removed = door.post_json(&of("enable"), &right.to_string()).await;
        assert_eq!(removed.status, 200, "{removed:?}");
        assert_eq!(removed.json()["after"], "CLOSED");
        assert_eq!(breaker(door).await["override"], Value::Null);
        assert_eq!(api.get("/rates/EUR").await.status, 200);
    }
}

#[tokio::test]
async fn the_same_paths_work_with_curl_over_the_unix_socket() {
    let (ground, api, _sidecar) = start().await;
    ground.trip(&api).await;
    let curl = async |arguments: &str| {
        let curl = "curl -sS --max-time 10 --unix-socket payments-api.sock";
        let script = format!("{curl} {arguments}").replace("URL", "http://localhost");
        shell(&ground.run_dir(), &script).await
    };
    let breaker = "URL/admin/circuit-breaker/payment_api";
    assert_eq!(
        curl(&format!("{breaker}/state")).await,
        r#"{"state":"OPEN"}"#
    );
    let read: Value = serde_json::from_str(&curl("URL/admin/circuit-breaker").await).unwrap();
    assert_eq!(read["breakers"][0]["state"], "OPEN");
    let explained = curl(&format!("{breaker}/explain")).await;
    assert!(
        explained.contains("payment_api") && explained.contains("is OPEN since"),
        "{explained}"
    );
    let events: Value = serde_json::from_str(&curl(&format!("{breaker}/events")).await).unwrap();
    assert_eq!(events["events"][0]["to"], "OPEN");
    let config = curl("URL/admin/config").await;
    assert!(config.contains("config.yaml:3"), "{config}");
    // The runbook's own command, but for the socket.
    let receipt = curl(&format!("-X POST {breaker}/reset")).await;
    let receipt: Value = serde_json::from_str(&receipt).unwrap();
    assert_eq!(receipt["outcome"], "applied", "{receipt}");
    assert_eq!(
        curl(&format!("{breaker}/state")).await,
        r#"{"state":"CLOSED"}"#
    );
    let head =
        curl("-o /dev/null -w '%{http_code} %{content_type}' URL/admin/circuit-breaker/x/state")
            .await;
    assert_eq!(head, "404 application/problem+json");
}

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

/// The breaker in the list.
async fn breaker(door: &Door) -> Value {
    door.get("/admin/circuit-breaker").await.json()["breakers"][0].clone()
}

fn audit(run_dir: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run_dir.join("audit.jsonl")).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect()
}
