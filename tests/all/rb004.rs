//! RB-004, as its reader goes through it: a service whose upstream breaks, with
//! the runbook's own commands. It all runs in the demo, as for a newcomer.

use std::{
    fs::{self, Permissions},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Stdio,
    time::Duration,
};

use resilience_examples::{
    ChildProcess, Program,
    process::{Signal, find_binary, find_in_path},
};
use resilience_tests::{
    Answer, BREAKER, Metrics, SOON, descendants, eventually, get, is_running, post,
};
use serde_json::{Value, json};
use tempfile::TempDir;

const CONFIG: &str = "\
resilience:
  circuit_breaker:
    window: {calls: 10}
    minimum_calls: 5
    failure_rate_threshold: 50
    half_open_permits: 3
fallback: {enabled: false}
services:
  payment_api:
    circuit_breaker: {wait_in_open: 1s}
";

const WAIT: Duration = Duration::from_secs(1);

/// The demo as a process, and what it has said of itself.
struct Demo {
    process: ChildProcess,
    api: String,
    stub: String,
    admin: String,
    sidecar: String,
    log: String,
}

/// Everything the demo writes goes below `directory`.
fn program(directory: &Path) -> Program {
    Program::new(find_binary("demo").expect("it is built"))
        .env("TMPDIR", directory)
        .grace(Duration::from_secs(10))
}

/// A temporary directory that PostgreSQL's own user may pass through.
fn temporary() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o711)).unwrap();
    directory
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect()
}

impl Demo {
    async fn start(directory: &Path, config: &Path) -> Self {
        let any = "127.0.0.1:0";
        let process = program(directory)
            .args(["--api", any, "--stub", any, "--admin", any, "--health", any])
            .arg("--config")
            .arg(config)
            .spawn()
            .unwrap();
        let last = process.wait_for_line("Ctrl-C ends it all", 3 * SOON).await;
        last.unwrap_or_else(|error| panic!("{error}"));
        let said = |what: &str| {
            let lines = process.lines();
            let line = lines
                .iter()
                .find_map(|line| line.strip_prefix(&format!("  {what} ")));
            let words = line.map_or_else(Vec::new, |line| line.split_whitespace().collect());
            (*words
                .first()
                .unwrap_or_else(|| panic!("no {what}: {lines:#?}")))
            .to_owned()
        };
        let origin = |url: String| {
            let end = url[7..].find('/').map_or(url.len(), |at| at + 7);
            url[..end].to_owned()
        };
        Self {
            api: said("payments API"),
            stub: origin(said("payment stub")),
            admin: origin(said("admin API")),
            sidecar: origin(said("sidecar")),
            log: said("its log"),
            process,
        }
    }

    async fn fault(&self, mode: &str) {
        let fault = json!({ "mode": mode }).to_string();
        let answer = post(format!("{}/fault", self.stub), fault).await;
        assert_eq!(answer.status(), 200, "{answer:?}");
    }

    /// Requests that have reached the upstream, whatever became of them.
    async fn reached(&self) -> u64 {
        let answer = get(format!("{}/fault", self.stub)).await.json();
        let counts = answer["counts"].as_object().unwrap();
        counts.values().map(|count| count.as_u64().unwrap()).sum()
    }

    async fn call(&self) -> Answer {
        get(format!("{}/rates/EUR", self.api)).await
    }

    /// Calls the API until it refuses, at once and without asking the
    /// upstream, and returns the refusal.
    async fn call_until_open(&self) -> Answer {
        let (before, mut failed) = (self.reached().await, 0);
        let refused = eventually(SOON, async || match self.call().await {
            answer if answer.status() == 502 => {
                failed += 1;
                Err(format!("{answer:?}"))
            }
            answer => Ok(answer),
        })
        .await;
        assert_eq!(self.reached().await, before + failed);
        assert!(refused.took < Duration::from_millis(500), "{refused:?}");
        refused
    }

    /// The state, and `circuit_breaker_state` on the API's port and both of the
    /// sidecar's, whose answers may be some milliseconds old.
    async fn expect(&self, state: &str, gauge: u8) {
        let state = format!(r#"{{"state":"{state}"}}"#);
        let line = format!("circuit_breaker_state{{service=\"{BREAKER}\"}} {gauge}");
        let has = async |url: &str| {
            let text = get(format!("{url}/metrics")).await.text();
            match text.lines().any(|l| l == line) {
                true => Ok(()),
                false => Err(format!("no `{line}` in {url}/metrics:\n{text}")),
            }
        };
        has(&self.api).await.unwrap();
        eventually(SOON, async || {
            match self.breaker("state").await.text() {
                seen if seen != state => return Err(format!("{seen}, not {state}")),
                _ => {}
            }
            has(&self.sidecar).await?;
            has(&self.admin).await
        })
        .await;
    }

    async fn breaker(&self, what: &str) -> Answer {
        get(format!(
            "{}/admin/circuit-breaker/{BREAKER}/{what}",
            self.admin
        ))
        .await
    }

    /// From, to and cause of each transition, oldest first.
    async fn story(&self) -> Vec<[String; 3]> {
        let word = |event: &Value, key: &str| event[key].as_str().unwrap().to_owned();
        let events = self.breaker("events").await.json();
        let newest_first = events["events"].as_array().unwrap().iter();
        newest_first
            .rev()
            .map(|event| ["from", "to", "cause"].map(|key| word(event, key)))
            .collect()
    }
}

/// What the program `curl` prints, given nothing but these words.
async fn curl(words: &str) -> String {
    let curl = find_in_path("curl").expect("the runbook uses curl");
    let done = tokio::process::Command::new(curl)
        // A proxy set up for this user would be asked for localhost as well.
        .env_clear()
        .args(words.split_whitespace())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let done = tokio::time::timeout(SOON, done).await.unwrap().unwrap();
    assert!(done.status.success(), "curl {words}: {done:?}");
    String::from_utf8(done.stdout).unwrap()
}

#[tokio::test]
async fn a_broken_upstream_opens_the_circuit_the_runbooks_commands_close_it_and_it_heals_by_itself()
{
    let (directory, own) = (temporary(), tempfile::tempdir().unwrap());
    let config = own.path().join("config.yaml");
    fs::write(&config, CONFIG).unwrap();
    let demo = Demo::start(directory.path(), &config).await;
    assert_eq!(demo.call().await.status(), 200);
    demo.expect("CLOSED", 0).await;

    // Broken: it opens, and says so.
    demo.fault("fail").await;
    let refused = demo.call_until_open().await.problem(503);
    assert_eq!(refused.json()["detail"], "Circuit is open", "{refused:?}");
    assert_eq!(refused.header("retry-after"), Some("1"), "{refused:?}");
    demo.expect("OPEN", 2).await;
    let explained = demo.breaker("explain").await.text();
    for part in [
        "payment_api is OPEN since ",
        "failed (threshold 50%), errors: 4 × http_503",
    ] {
        assert!(explained.contains(part), "{explained}");
    }
    let log = fs::read_to_string(&demo.log).unwrap();
    let error = log
        .lines()
        .find(|line| line.contains("Circuit is open") && line.split(' ').nth(1) == Some("ERROR"));
    let error = error.unwrap_or_else(|| panic!("no ERROR with `Circuit is open` in\n{log}"));
    assert!(error.contains(BREAKER), "{error}");

    // The runbook's two commands, as written but for the port.
    let admin = &demo.admin;
    assert!(admin.starts_with("http://localhost:"), "{admin}");
    let receipt = curl(&format!(
        "-X POST {admin}/admin/circuit-breaker/payment_api/reset"
    ))
    .await;
    let receipt: Value = serde_json::from_str(&receipt).unwrap();
    assert_eq!(receipt["outcome"], "applied", "{receipt}");
    assert_eq!(receipt["before"], "OPEN", "{receipt}");
    assert_eq!(receipt["discarded"]["failures"], 4, "{receipt}");
    let state = curl(&format!("{admin}/admin/circuit-breaker/payment_api/state")).await;
    assert_eq!(state, r#"{"state":"CLOSED"}"#);
    demo.expect("CLOSED", 0).await;

    // Still broken: it opens again.
    demo.call_until_open().await.problem(503);
    demo.expect("OPEN", 2).await;
    assert_eq!(rejected(&demo).await, 2.0);

    // Mended: after the wait it probes, and closes by itself.
    demo.fault("ok").await;
    eventually(SOON, async || match demo.call().await {
        answer if answer.status() == 200 => Ok(()),
        answer => Err(format!("{answer:?}")),
    })
    .await;
    demo.expect("HALF_OPEN", 1).await;
    for _ in 0..2 {
        assert_eq!(demo.call().await.status(), 200);
    }
    demo.expect("CLOSED", 0).await;

    expect_the_story(&demo).await;
    expect_an_end_without_remains(demo, directory.path()).await;
}

async fn rejected(demo: &Demo) -> f64 {
    let labels = [("service", BREAKER), ("outcome", "rejected")];
    let metrics = Metrics::read(&get(format!("{}/metrics", demo.api)).await.text());
    metrics
        .value("circuit_breaker_calls_total", &labels)
        .unwrap()
}

async fn expect_the_story(demo: &Demo) {
    let story = demo.story().await;
    assert_eq!(
        story,
        [
            ["CLOSED", "OPEN", "failure_rate"],
            ["OPEN", "CLOSED", "reset"],
            ["CLOSED", "OPEN", "failure_rate"],
            ["OPEN", "HALF_OPEN", "wait_elapsed"],
            ["HALF_OPEN", "CLOSED", "probes_succeeded"],
        ]
    );
    let events = demo.breaker("events").await.json();
    let at = |newest: usize| {
        let text = events["events"][newest]["at"].as_str().unwrap();
        humantime::parse_rfc3339(text).unwrap()
    };
    let waited = at(1).duration_since(at(2)).unwrap();
    assert!(waited >= WAIT, "it probed after {waited:?}");
    let actor = events["events"][3]["actor"].as_str().unwrap();
    assert!(actor.starts_with("loopback"), "{events}");

    let explained = demo.breaker("explain").await.text();
    assert!(
        explained.contains("payment_api is CLOSED since ")
            && explained.contains("3 probes succeeded"),
        "{explained}"
    );
    // Whoever looks at the demo has seen it, too.
    for line in [
        "CLOSED → OPEN  failure_rate  (4 of 5 calls failed, 0 slow)  probes in 1s",
        "OPEN → CLOSED  reset",
        "OPEN → HALF_OPEN  wait_elapsed",
        "HALF_OPEN → CLOSED  probes_succeeded",
    ] {
        let seen = demo.process.wait_for_line(line, SOON).await;
        seen.unwrap_or_else(|error| panic!("{error}"));
    }
}

async fn expect_an_end_without_remains(demo: Demo, directory: &Path) {
    let pid = u32::try_from(demo.process.pid().as_raw_pid()).unwrap();
    let children = descendants(pid);
    assert!(children.len() >= 4, "{children:?}");
    assert_eq!(names_in(directory).len(), 2, "{:?}", names_in(directory));

    demo.process.signal(Signal::INT).unwrap();
    let status = demo.process.wait_exit(SOON).await.unwrap();
    assert_eq!(status.code(), Some(0), "{status}");
    let running: Vec<_> = children
        .into_iter()
        .filter(|pid| is_running(*pid))
        .collect();
    assert!(running.is_empty(), "{running:?} are left running");
    assert!(names_in(directory).is_empty(), "{:?}", names_in(directory));
    for url in [&demo.api, &demo.stub, &demo.admin, &demo.sidecar] {
        let port: u16 = url.rsplit_once(':').unwrap().1.parse().unwrap();
        let bound = TcpListener::bind(("127.0.0.1", port));
        assert!(bound.is_ok(), "{url} is still taken: {bound:?}");
    }
}

#[tokio::test]
async fn a_demo_whose_port_is_taken_says_so_in_one_line_and_starts_nothing() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let directory = temporary();
    for flag in ["--api", "--stub", "--admin", "--health"] {
        let mut demo = program(directory.path());
        for each in ["--api", "--stub", "--admin", "--health"] {
            let address = if each == flag { &taken } else { "127.0.0.1:0" };
            demo = demo.args([each, address]);
        }
        let demo = demo.spawn().unwrap();
        let status = demo.wait_exit(SOON).await.unwrap();
        assert_eq!(status.code(), Some(1), "{:?}", demo.lines());
        demo.wait_for_line("taken", SOON).await.unwrap();
        let lines = demo.lines();
        assert_eq!(lines.len(), 1, "{lines:?}");
        for part in [flag, &taken, "is taken"] {
            assert!(lines[0].contains(part), "{lines:?}");
        }
        assert!(names_in(directory.path()).is_empty());
    }
}
