//! The runbook's pipelines on the log of the real service.

use std::fs;

use http::Method;
use resilience_examples::Mode;
use resilience_tests::lone::{Ground, QUICK, RELOADED, SOON, eventually, shell};
use serde_json::Value;

#[tokio::test]
async fn the_runbooks_pipelines_find_in_the_log_what_happened() {
    let ground = Ground::start().await;
    let config = ground.write("config.yaml", QUICK);
    let api = ground.api().config(&config).start().await;
    let run = async |script: &str| {
        let script = format!("cat {} | {script}", api.log.display());
        shell(&ground.run_dir(), &script).await
    };

    // A request that goes well leaves no error; four that fail trip the
    // circuit; two are refused.
    let id = [("X-Correlation-ID", "abc123")];
    let fine = api.door.ask(Method::GET, "/rates/EUR", &id, "").await;
    assert_eq!(fine.status, 200);
    assert_eq!(fine.header("x-correlation-id"), "abc123");
    assert_eq!(run("grep -c ERROR || true").await.trim(), "0");
    ground.stub.set_fault(Mode::Fail.into());
    for n in 0..4 {
        let of = [("X-Correlation-ID", if n == 2 { "abc123" } else { "other" })];
        let answer = api.door.ask(Method::GET, "/rates/EUR", &of, "").await;
        answer.problem(502);
    }
    for _ in 0..2 {
        let answer = api.door.ask(Method::GET, "/rates/EUR", &id, "").await;
        assert_eq!(answer.problem(503)["detail"], "Circuit is open");
        let wait: u64 = answer.header("retry-after").parse().unwrap();
        assert!((1..=61).contains(&wait), "{wait}");
    }
    // The file is written behind the pipe.
    eventually("all of it is in the log", SOON, async || {
        (run("grep -c ERROR || true").await.trim() == "12").then_some(())
    })
    .await;

    let classes = run("grep ERROR | cut -d' ' -f5 | sort | uniq -c | sort -rn").await;
    let mut classes: Vec<_> = classes
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    let counts: Vec<_> = classes.iter().map(|class| &class[..1]).collect();
    assert_eq!(counts, ["4", "4", "2", "2"], "most first");
    classes.sort();
    // What went wrong, and, a line each, what was answered.
    let expected = [
        "2 circuit_open",
        "2 http_503",
        "4 http_502",
        "4 upstream_5xx",
    ];
    assert_eq!(classes, expected);

    let of_request = run("grep \"correlation_id:abc123\"").await;
    let of_request: Vec<_> = of_request
        .lines()
        .map(|line| line.split(' ').nth(4).unwrap())
        .collect();
    let failed = ["upstream_5xx", "http_502"];
    let refused = ["circuit_open", "http_503"];
    assert_eq!(of_request, [failed, refused, refused].concat());

    let open = run("grep 'Circuit is open'").await;
    // When it opened, and each call that was refused.
    let levels: Vec<_> = open
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .collect();
    assert_eq!(levels, ["WARN", "ERROR", "ERROR"], "{open}");
    assert!(open.contains("service:payment_api"), "{open}");
    let refused = open.lines().last().unwrap();
    assert!(refused.contains("retry_after_ms:"), "{refused}");

    let failures = run("grep \"payment_api\" | grep \"ERROR\"").await;
    assert_eq!(failures.lines().count(), 6, "{failures}");

    let steps = run("grep \"startup\"").await;
    let mut rest = steps.as_str();
    for step in ["configuration", "control", "migrations", "listener"] {
        let at = rest.find(&format!(" startup - step:{step} "));
        rest = &rest[at.unwrap_or_else(|| panic!("no {step}, or not in order: {steps}"))..];
    }

    let others = run("grep ERROR | cut -d' ' -f2 | sort -u").await;
    assert_eq!(others, "ERROR\n");
    // Every line is of the one form.
    for line in fs::read_to_string(&api.log).unwrap().lines() {
        let fields: Vec<_> = line.splitn(6, ' ').collect();
        assert_eq!(fields.len(), 6, "{line}");
        assert!(fields[0].ends_with('Z') && fields[0].len() == 24, "{line}");
        assert!(["ERROR", "WARN", "INFO"].contains(&fields[1]), "{line}");
        assert_eq!(fields[2], "payments-api", "{line}");
    }

    // JSON from the next record on, without a restart.
    let before = api.child.lines().len();
    fs::write(&config, format!("{QUICK}logging: {{format: json}}\n")).unwrap();
    eventually("the log is JSON", RELOADED, async || {
        let lines = api.child.lines();
        lines[before..]
            .iter()
            .any(|line| line.starts_with('{'))
            .then_some(())
    })
    .await;
    let answer = api.door.ask(Method::GET, "/rates/EUR", &id, "").await;
    answer.problem(503);
    let record = eventually("the refusal is logged", SOON, async || {
        let lines = api.lines(&["circuit_open", "abc123"]);
        lines.into_iter().find(|line| line.starts_with('{'))
    })
    .await;
    let record: Value = serde_json::from_str(&record).unwrap();
    for (key, value) in [
        ("level", "ERROR"),
        ("service", "payments-api"),
        ("class", "circuit_open"),
        ("message", "Circuit is open"),
    ] {
        assert_eq!(record[key], value, "{record}");
    }
    assert_eq!(record["fields"]["correlation_id"], "abc123", "{record}");
    assert_eq!(record["fields"]["upstream"], "payment_api", "{record}");
    assert!(record["fields"]["retry_after_ms"].is_u64(), "{record}");
    for line in &api.child.lines()[before..] {
        let record: Value = serde_json::from_str(line).expect(line);
        for key in ["time", "level", "service", "target", "message", "fields"] {
            assert!(!record[key].is_null(), "no {key} in {line}");
        }
        assert_eq!(line.contains("ERROR"), record["level"] == "ERROR", "{line}");
    }
    // The runbook's greps hold for JSON, too.
    assert_eq!(run("grep ERROR | grep -c payment_api").await, "7\n");
}
