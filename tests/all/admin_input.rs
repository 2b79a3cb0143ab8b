//! What the admin API is asked wrongly, and how it refuses: through the sidecar and on
//! the service's own socket.

use std::{fs, path::Path};

use http::Method;
use resilience_tests::lone::{Api, BREAKER, Door, Ground, QUICK, SOON, Sidecar, metric};
use serde_json::{Value, json};

pub(crate) const RESET: &str = "/admin/circuit-breaker/payment_api/reset";
pub(crate) const STATE: &str = "/admin/circuit-breaker/payment_api/state";
pub(crate) const RESETS: &str = r#"circuit_breaker_transitions_total{service="payment_api",from="OPEN",to="CLOSED",cause="reset"}"#;

pub(crate) async fn start() -> (Ground, Api, Sidecar) {
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

/// The breaker in the list.
pub(crate) async fn breaker(door: &Door) -> Value {
    door.get("/admin/circuit-breaker").await.json()["breakers"][0].clone()
}

pub(crate) fn audit(run_dir: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run_dir.join("audit.jsonl")).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect()
}
