//! What the admin API changes when it is asked, and what it says of it: through the
//! sidecar and on the service's own socket.

use http::Method;
use resilience_examples::Mode;
use resilience_tests::lone::{BREAKER, Door, shell};
use serde_json::{Value, json};

use crate::admin_input::{RESET, STATE, breaker, start};

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
