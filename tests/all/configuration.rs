//! Wrong configuration, changed configuration, and where each value is from.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use resilience_examples::Mode;
use resilience_tests::lone::{
    Api, BREAKER, Ground, QUICK, RELOADED, eventually, metric, run_to_end, setting,
};

const APPLIED: &str = r#"config_reloads_total{result="applied"}"#;
const REFUSED: &str = r#"config_reloads_total{result="refused"}"#;
const SUCCESSFUL: &str = "config_last_reload_successful";
const STATE: &str = r#"circuit_breaker_state{service="payment_api"}"#;

#[tokio::test]
async fn a_wrong_file_ends_the_start_with_78_and_says_where_what_and_what_is_allowed() {
    let cases: [(&str, &[&str]); 7] = [
        (
            "logging: {level: info}\ndatabase:\n  pool_sise: 5\n",
            &[":3:3:", "`database.pool_sise`", "did you mean `pool_size`?"],
        ),
        (
            "resilience:\n  circuit_breaker:\n    enabled: 3\n",
            &[
                ":3:14:",
                "`resilience.circuit_breaker.enabled`",
                "`3`",
                "true or false",
            ],
        ),
        (
            "resilience:\n  circuit_breaker:\n    wait_in_open: 60\n",
            &[
                ":3:19:",
                "`resilience.circuit_breaker.wait_in_open`",
                "`60`",
                "a number without a unit",
                "`30s`",
            ],
        ),
        (
            "\ndatabase: {pool_size: 0}\n",
            &[
                ":2:23:",
                "`database.pool_size`",
                "`0`",
                "allowed: 1 to 10000",
            ],
        ),
        (
            "services:\n  payment_api:\n    circuit_breaker: {failure_rate_threshold: 101}\n",
            &[
                ":3:47:",
                "`services.payment_api.circuit_breaker.failure_rate_threshold`",
                "`101`",
                "allowed: ",
                "100",
            ],
        ),
        (
            "resilience:\n  circuit_breaker: {window: {calls: 10}\nlogging: {}\n",
            &[":3:", "YAML"],
        ),
        ("- a\n- b\n", &[":1:1:", "a list, expected sections"]),
    ];
    for (text, expected) in cases {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.yaml");
        fs::write(&file, text).unwrap();
        let mut words = vec![file.to_str().unwrap()];
        words.extend(expected);
        refused_at_start(dir.path(), &file, &[], &words, 1).await;
    }

    // Two problems are said together, and a file that is not there is one.
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.yaml");
    fs::write(&file, "database:\n  pool_size: 0\n  pool_timout: 1s\n").unwrap();
    let words = [
        "2 problems",
        ":2:14:",
        ":3:3:",
        "did you mean `pool_timeout`?",
    ];
    refused_at_start(dir.path(), &file, &[], &words, 3).await;
    let none = dir.path().join("none.yaml");
    refused_at_start(dir.path(), &none, &[], &[none.to_str().unwrap()], 1).await;

    // A variable is as good a place for a mistake.
    fs::write(&file, "{}\n").unwrap();
    let variable = ("APP__DATABASE__POOL_SIZE", "many");
    let words = [variable.0, "`database.pool_size`", "`many`", "1 to 10000"];
    refused_at_start(dir.path(), &file, &[variable], &words, 1).await;
    let unknown = ("APP__DATABASE__POOL_SISE", "5");
    let words = [unknown.0, "did you mean `pool_size`?"];
    refused_at_start(dir.path(), &file, &[unknown], &words, 1).await;
}

/// Starts it with this file: exit code 78, one message on standard error with
/// all these words, the same in one line of the log, and nothing left.
async fn refused_at_start(
    dir: &Path,
    file: &Path,
    env: &[(&str, &str)],
    words: &[&str],
    lines: usize,
) {
    let run_dir = dir.join("run");
    let args = [
        "--listen",
        "127.0.0.1:0",
        // Nobody is there: who gets so far ends with another code.
        "--database",
        "postgres://127.0.0.1:1/none",
        "--run-dir",
        run_dir.to_str().unwrap(),
        "--config",
        file.to_str().unwrap(),
    ];
    let done = run_to_end("payments-api", &args, env).await;
    let stderr = String::from_utf8(done.stderr).unwrap();
    let stdout = String::from_utf8(done.stdout).unwrap();
    assert_eq!(done.status.code(), Some(78), "{stderr}{stdout}");
    assert_eq!(stderr.lines().count(), lines, "{stderr}");
    assert!(
        stderr.starts_with("startup: invalid configuration"),
        "{stderr}"
    );
    let errors: Vec<_> = stdout
        .lines()
        .filter(|line| line.contains("ERROR"))
        .collect();
    assert_eq!(errors.len(), 1, "{stdout}");
    let fields: Vec<_> = errors[0].split(' ').collect();
    let told = [
        "ERROR",
        "payments-api",
        "startup",
        "startup",
        "step:configuration",
    ];
    assert_eq!(fields[1..6], told, "{stdout}");
    for word in words {
        assert!(stderr.contains(word), "no `{word}` in {stderr}");
        assert!(errors[0].contains(word), "no `{word}` in {}", errors[0]);
    }
    assert!(!run_dir.join("payments-api.sock").exists());
}

#[tokio::test]
async fn a_change_of_the_file_is_taken_over_and_a_wrong_one_is_refused() {
    let ground = Ground::start().await;
    let config = ground.write("config.yaml", QUICK);
    let api = ground
        .api()
        .config(&config)
        .env("APP__DATABASE__POOL_SIZE", "7")
        .env("APP__RESILIENCE__CIRCUIT_BREAKER__HALF_OPEN_PERMITS", "2")
        .start()
        .await;
    let sidecar = ground.sidecar(&[]).await;

    // Where each value is from.
    let shown = sidecar.admin.get("/admin/config").await.json();
    assert_eq!(shown["file"], config.to_str().unwrap());
    let value = |key: &str| setting(&shown["values"], key);
    let pair = |value: &str, origin: &str| (value.to_owned(), origin.to_owned());
    assert_eq!(
        value("database.pool_size"),
        pair("7", "APP__DATABASE__POOL_SIZE")
    );
    assert_eq!(value("database.max_overflow"), pair("10", "default"));
    let (minimum, origin) = value("resilience.circuit_breaker.minimum_calls");
    assert_eq!(minimum, "5");
    assert!(origin.ends_with("config.yaml:4"), "{origin}");
    assert_eq!(
        api.metric(r#"db_connection_pool_size{pool="main"}"#).await,
        17.0
    );
    let variable = "APP__RESILIENCE__CIRCUIT_BREAKER__HALF_OPEN_PERMITS";
    assert_eq!(api.setting("half_open_permits").await, pair("2", variable));

    // Three failures, then another wait: the window is kept, so that two more
    // of them trip it, for the new wait.
    ground.stub.set_fault(Mode::Fail.into());
    for _ in 0..3 {
        api.get("/rates/EUR").await.problem(502);
    }
    let edited = QUICK.replace("wait_in_open: 60s", "wait_in_open: 45s");
    let edited = edited.replace("minimum_calls", "half_open_permits: 9\n    minimum_calls");
    rewrite(&api, &config, &edited, APPLIED).await;
    let (wait, origin) = api.setting("wait_in_open").await;
    assert_eq!(wait, "45s");
    assert!(origin.ends_with("config.yaml:6"), "{origin}");
    // The variable still wins over the line that the file has now.
    assert_eq!(api.setting("half_open_permits").await, pair("2", variable));
    let overview = api.socket.get(BREAKER).await.json()["overview"].clone();
    assert_eq!(overview["calls"], 3, "{overview}");
    for _ in 0..2 {
        api.get("/rates/EUR").await.problem(502);
    }
    let wait: u64 = api
        .get("/rates/EUR")
        .await
        .header("retry-after")
        .parse()
        .unwrap();
    assert!((40..=46).contains(&wait), "{wait}");
    assert_eq!(api.metric(STATE).await, 2.0);
    let words = ["INFO", "the configuration was reloaded", "config.yaml"];
    api.logged(1, &words).await;

    // Off: every call flows, a reset has nothing to do. On again: it is closed
    // and counts from nothing.
    let off = edited.replace(
        "circuit_breaker:\n",
        "circuit_breaker:\n    enabled: false\n",
    );
    rewrite(&api, &config, &off, APPLIED).await;
    assert_eq!(api.setting("enabled").await.0, "false");
    assert_eq!(api.metric(STATE).await, 0.0);
    for _ in 0..8 {
        api.get("/rates/EUR").await.problem(502);
    }
    let refused = sidecar.admin.post(&format!("{BREAKER}/reset")).await;
    assert_eq!(refused.problem(409)["reason"], "disabled");
    rewrite(&api, &config, &edited, APPLIED).await;
    assert_eq!(api.setting("enabled").await.0, "true");
    let state = api.socket.get(&format!("{BREAKER}/state")).await;
    assert_eq!(state.text(), r#"{"state":"CLOSED"}"#);
    for _ in 0..5 {
        api.get("/rates/EUR").await.problem(502);
    }
    assert_eq!(
        api.get("/rates/EUR").await.problem(503)["detail"],
        "Circuit is open"
    );

    // A wrong one is refused; what was stays in force, and it is said once.
    let applied = api.metric(APPLIED).await;
    let wrong = edited
        .replace("45s", "30s")
        .replace("calls: 10", "calls: 0");
    rewrite(&api, &config, &wrong, REFUSED).await;
    assert_eq!(api.metric(SUCCESSFUL).await, 0.0);
    assert_eq!(api.metric(APPLIED).await, applied);
    assert_eq!(api.setting("wait_in_open").await.0, "45s");
    assert_eq!(api.metric(STATE).await, 2.0);
    let shown = sidecar.admin.get("/admin/config").await.json();
    assert_eq!(shown["last_reload_successful"], false);
    let error = shown["last_error"].as_str().unwrap();
    assert!(
        error.contains("config.yaml:3:21") && error.contains("`0`"),
        "{error}"
    );
    let words = [
        "ERROR",
        "the configuration was not reloaded",
        "config.yaml:3:21",
    ];
    let said = api.logged(1, &words).await;
    assert_eq!(said[0].split(' ').nth(4), Some("config"));
    let broken = "resilience: {circuit_breaker: {";
    rewrite(&api, &config, broken, REFUSED).await;
    // Neither an emptied file nor a missing one is a wish for the defaults.
    rewrite(&api, &config, "", REFUSED).await;
    let before = api.metric(REFUSED).await;
    fs::remove_file(&config).unwrap();
    grown(&api, REFUSED, before).await;
    assert_eq!(api.setting("wait_in_open").await.0, "45s");
    api.logged(1, &words).await;
    let seen = sidecar.public.get("/metrics").await.text();
    assert_eq!(metric(&seen, SUCCESSFUL), Some(0.0));

    // The runbook's snippet, and nothing else: in force, with the defaults.
    let snippet = "resilience:\n  circuit_breaker:\n    enabled: true\n";
    rewrite(&api, &config, snippet, APPLIED).await;
    assert_eq!(api.metric(SUCCESSFUL).await, 1.0);
    let (enabled, origin) = api.setting("enabled").await;
    assert_eq!(enabled, "true");
    assert!(origin.ends_with("config.yaml:3"), "{origin}");
    assert_eq!(api.setting("wait_in_open").await.0, "60s");
    assert_eq!(api.setting("minimum_calls").await, pair("20", "default"));
    drop(api);
    let alone = ground
        .api()
        .config(&config)
        .run_dir(ground.path("alone"))
        .start()
        .await;
    ground.trip(&alone).await;
    let text = alone.get("/metrics").await.text();
    let failures = r#"circuit_breaker_failures_total{service="payment_api"}"#;
    assert_eq!(metric(&text, failures), Some(20.0));
}

#[tokio::test]
async fn a_mounted_config_map_is_taken_over_when_its_link_is_swapped() {
    let ground = Ground::start().await;
    // As the kubelet lays it out: config.yaml -> ..data/config.yaml, and
    // ..data -> the directory of one version.
    let mount = ground.path("mount");
    fs::create_dir(&mount).unwrap();
    let version = |name: &str, wait: &str| -> PathBuf {
        let directory = mount.join(name);
        fs::create_dir(&directory).unwrap();
        let text = QUICK.replace("60s", wait);
        fs::write(directory.join("config.yaml"), text).unwrap();
        directory
    };
    let swap = |to: &str| {
        symlink(to, mount.join("..data_tmp")).unwrap();
        fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
    };
    let first = version("..2026_01_01", "50s");
    swap("..2026_01_01");
    let file = mount.join("config.yaml");
    symlink("..data/config.yaml", &file).unwrap();

    let api = ground.api().config(&file).start().await;
    assert_eq!(api.setting("wait_in_open").await.0, "50s");
    version("..2026_01_02", "40s");
    let before = api.metric(APPLIED).await;
    swap("..2026_01_02");
    fs::remove_dir_all(first).unwrap();
    grown(&api, APPLIED, before).await;
    assert_eq!(api.setting("wait_in_open").await.0, "40s");
    assert_eq!(api.metric(REFUSED).await, 0.0);
}

/// Writes the file anew where it is, and waits until this counter says that
/// it was seen.
async fn rewrite(api: &Api, file: &Path, text: &str, counter: &str) {
    let before = api.metric(counter).await;
    fs::write(file, text).unwrap();
    grown(api, counter, before).await;
}

async fn grown(api: &Api, counter: &str, before: f64) {
    eventually(counter, RELOADED, async || {
        (api.metric(counter).await > before).then_some(())
    })
    .await;
    // It is counted when it is read, and said when it is in force.
    let said = match counter {
        APPLIED => "the configuration was reloaded",
        _ => "the configuration was not reloaded",
    };
    eventually(said, RELOADED, async || {
        let lines = api.lines(&[said]).len();
        (lines as f64 >= api.metric(counter).await).then_some(())
    })
    .await;
}
