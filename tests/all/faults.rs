//! The service stopped, blocked, killed and restarted, and the sidecar killed
//! and restarted: the state answer is right, with its age, within half a second.

use std::{
    fs,
    time::{Duration, Instant},
};

use resilience_core::{control::blackbox, snapshot::State};
use resilience_examples::process::Signal;
use resilience_tests::{Answer, BREAKER, Metrics, SOON, Stack, eventually, post, try_get};
use serde_json::Value;

/// The state answer, checked: in time, of that state, with its age.
async fn state(stack: &Stack, expected: &str) -> Answer {
    let answer = stack.breaker("state").await.in_time(200);
    let body = format!(r#"{{"state":"{expected}"}}"#);
    assert_eq!(answer.text(), body, "{answer:?}");
    let seconds: u64 = answer.header("age").unwrap().parse().unwrap();
    assert_eq!(seconds, age_ms(&answer) / 1000, "{answer:?}");
    answer
}

fn age_ms(answer: &Answer) -> u64 {
    let age = answer.header("x-state-age-ms");
    age.unwrap_or_else(|| panic!("no age: {answer:?}"))
        .parse()
        .unwrap()
}

fn condition(answer: &Answer) -> &str {
    answer.header("x-service-condition").unwrap_or("none")
}

/// Asks until the service is seen so and the answer is at least so old; every
/// answer on the way is in time and of that state.
async fn state_until(stack: &Stack, expected: &str, seen: &str, age: Duration) -> Answer {
    eventually(SOON, async || match state(stack, expected).await {
        answer if condition(&answer) != seen => Err(format!("not {seen}: {answer:?}")),
        answer if u128::from(age_ms(&answer)) < age.as_millis() => {
            Err(format!("not {age:?} old: {answer:?}"))
        }
        answer => Ok(answer),
    })
    .await
}

fn causes(events: &[Value]) -> Vec<&str> {
    let causes = events.iter().map(|event| event["cause"].as_str().unwrap());
    causes.collect()
}

/// Outcomes of resets, oldest first, as the audit log has them.
fn audited(stack: &Stack) -> Vec<String> {
    let log = fs::read_to_string(stack.run_dir().join("audit.jsonl")).unwrap_or_default();
    log.lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|line| line["outcome"].as_str().unwrap().to_owned())
        .collect()
}

/// Waits until the open circuit and its refusals are in the black box, which
/// is written ten times a second.
async fn until_written(stack: &Stack, rejected: u64) {
    let path = stack.run_dir().join("payments-api.blackbox");
    eventually(SOON, async || {
        let written = blackbox::read(&path).map_err(|error| error.to_string())?;
        let breaker = written.breakers.iter().find(|one| one.name == BREAKER);
        match breaker.map(|one| (one.state, one.totals.rejected)) {
            Some((State::Open, seen)) if seen == rejected => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

async fn until_audited(stack: &Stack, outcome: &str) {
    eventually(SOON, async || match audited(stack) {
        seen if seen.last().is_some_and(|last| last == outcome) => Ok(()),
        seen => Err(format!("{seen:?}")),
    })
    .await;
}

#[tokio::test]
async fn a_stopped_service_is_answered_for_and_takes_a_waiting_reset_exactly_once() {
    let stack = Stack::start().await;
    stack.api().signal(Signal::STOP).unwrap();
    state_until(&stack, "CLOSED", "hung", Duration::ZERO).await;
    stack.api().signal(Signal::CONT).unwrap();
    state_until(&stack, "CLOSED", "live", Duration::ZERO).await;

    stack.break_upstream().await;
    stack.api().signal(Signal::STOP).unwrap();
    let first = state_until(&stack, "OPEN", "hung", Duration::ZERO).await;
    let receipt = stack.reset().await.in_time(202).json();
    assert_eq!(receipt["outcome"], "pending", "{receipt}");
    assert_eq!(receipt["before"], "OPEN", "{receipt}");
    assert_eq!(receipt["after"], "OPEN", "{receipt}");
    let detail = receipt["detail"].as_str().unwrap();
    assert!(detail.contains("hung for "), "{detail}");
    // Tried again and again meanwhile, and asked for a second time.
    let later = state_until(&stack, "OPEN", "hung", Duration::from_millis(2_500)).await;
    assert!(age_ms(&later) > age_ms(&first));
    let joined = stack.reset().await.in_time(202).json();
    assert_eq!(joined["outcome"], "pending", "{joined}");
    for (path, status) in [("/health/live", 503), ("/health/ready", 503)] {
        let health = stack.public(path).await.in_time(status);
        let service = &health.json()["checks"]["service"][0];
        assert_eq!(service["observedValue"], "hung", "{health:?}");
    }

    stack.api().signal(Signal::CONT).unwrap();
    stack.wait_for_state("CLOSED").await;
    until_audited(&stack, "applied").await;
    assert_eq!(audited(&stack), ["pending", "pending", "applied"]);
    // None of the other tries is made later, either.
    stack.break_upstream().await;
    let events = stack.events().await;
    assert_eq!(causes(&events), ["failure_rate", "reset", "failure_rate"]);
    let labels = [("service", BREAKER), ("cause", "reset")];
    let metrics = stack.api_metrics().await;
    assert_eq!(
        metrics.sum("circuit_breaker_transitions_total", &labels),
        1.0
    );
}

#[tokio::test]
async fn a_reset_that_was_given_up_is_not_made_when_the_service_goes_on() {
    let builder = Stack::builder().sidecar_arg("--change-patience=1s");
    let stack = builder.start().await;
    stack.break_upstream().await;
    stack.api().signal(Signal::STOP).unwrap();
    state_until(&stack, "OPEN", "hung", Duration::ZERO).await;
    stack.reset().await.in_time(202);
    until_audited(&stack, "unavailable").await;

    stack.api().signal(Signal::CONT).unwrap();
    state_until(&stack, "OPEN", "live", Duration::ZERO).await;
    // What lay in its socket was read before this, in the order it came.
    assert_eq!(causes(&stack.events().await), ["failure_rate"]);
    assert_eq!(stack.rate().await.status(), 503);
}

#[tokio::test]
async fn a_blocked_runtime_is_told_from_a_hung_process_and_takes_a_reset_at_once() {
    let stack = Stack::builder().api_arg("--allow-drills").start().await;
    stack.break_upstream().await;
    let live = stack.public("/health/live").await.in_time(200);
    assert_eq!(live.json()["status"], "pass", "{live:?}");

    let url = format!("{}/drill/block?for=8s", stack.api_url());
    // Whether its answer still gets out is a matter of luck.
    let drill = tokio::spawn(async move { post(url, "").await });
    let blocked = state_until(&stack, "OPEN", "runtime-blocked", Duration::ZERO).await;
    assert!(age_ms(&blocked) < 500, "it answers for itself: {blocked:?}");
    let beat = heartbeat_age(&stack).await;
    assert!((2.0..4.0).contains(&beat), "blocked after {beat} s");
    let own = format!("{}/health/live", stack.api_url());
    let own = try_get(&own, Duration::from_millis(300)).await;
    assert!(own.is_err(), "its own port answers: {own:?}");

    let receipt = stack.reset().await.in_time(200).json();
    assert_eq!(receipt["outcome"], "applied", "{receipt}");
    assert_eq!(receipt["before"], "OPEN", "{receipt}");
    let after = state(&stack, "CLOSED").await;
    assert_eq!(condition(&after), "runtime-blocked", "{after:?}");

    // Alive for five seconds, not ready from the beginning.
    let ready = stack.public("/health/ready").await.in_time(503);
    let service = &ready.json()["checks"]["service"][0];
    assert_eq!(service["observedValue"], "runtime-blocked", "{ready:?}");
    let until = Instant::now() + SOON;
    loop {
        let beat = heartbeat_age(&stack).await;
        let live = stack.public("/health/live").await;
        assert!(live.took < Duration::from_millis(500), "{live:?}");
        if live.status() == 503 {
            // A hundredth of a second is what the sidecar keeps an answer.
            let beat = heartbeat_age(&stack).await;
            assert!(beat > 5.0, "given up after {beat} s: {live:?}");
            break;
        }
        assert_eq!(live.status(), 200, "{live:?}");
        assert!(beat < 5.0, "not given up after {beat} s: {live:?}");
        assert!(Instant::now() < until, "{live:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    state_until(&stack, "CLOSED", "live", Duration::ZERO).await;
    assert_eq!(stack.public("/health/live").await.status(), 200);
    drill.abort();
}

async fn heartbeat_age(stack: &Stack) -> f64 {
    let labels = [("service", "payments-api")];
    let metrics = stack.metrics().await;
    let age = metrics.value("admin_service_heartbeat_age_seconds", &labels);
    age.unwrap_or_else(|| panic!("{metrics:?}"))
}

const WAIT: Duration = Duration::from_secs(10);

/// Trips on the fifth failure, and stays open for [`WAIT`].
const TEN_SECONDS: &str = "\
resilience:
  circuit_breaker:
    window: {calls: 10}
    minimum_calls: 5
    wait_in_open: 10s
    half_open_permits: 1
services:
  payment_api: {}
";

#[tokio::test]
async fn a_killed_service_is_dead_in_its_last_state_and_restarted_stays_open_for_the_rest() {
    let mut stack = Stack::builder().config(TEN_SECONDS).start().await;
    let before = Instant::now();
    stack.break_upstream().await;
    let after = Instant::now();

    until_written(&stack, 1).await;
    stack.kill_api().await;
    let first = state_until(&stack, "OPEN", "dead", Duration::ZERO).await;
    let refused = stack.reset().await.in_time(503).problem(503).json();
    for (key, part) in [("detail", "dead for "), ("advice", "restart it")] {
        assert!(refused[key].as_str().unwrap().contains(part), "{refused}");
    }
    let older = Duration::from_millis(age_ms(&first) + 500);
    state_until(&stack, "OPEN", "dead", older).await;
    let explained = stack.breaker("explain").await.text();
    assert!(
        explained.contains("The service is dead: this is as of "),
        "{explained}"
    );
    let metrics = stack.metrics().await;
    let service = [("service", "payments-api")];
    assert_eq!(metrics.value("admin_service_up", &service), Some(0.0));
    assert_eq!(
        metrics.value("circuit_breaker_state", &[("service", BREAKER)]),
        Some(2.0)
    );
    stack.public("/health/live").await.in_time(503);

    stack.start_api().await;
    state_until(&stack, "OPEN", "live", Duration::ZERO).await;
    let most = WAIT - after.elapsed();
    let detail = stack.detail().await.in_time(200).json();
    let least = WAIT.saturating_sub(before.elapsed());
    let left = detail["overview"]["retry_after_ms"].as_u64().unwrap();
    let left = Duration::from_millis(left);
    // Times are kept in milliseconds, rounded to the longer wait, twice.
    let slack = Duration::from_millis(5);
    assert!(
        left <= most + slack,
        "{left:?} of at most {most:?}: {detail}"
    );
    assert!(left + slack >= least, "{left:?} of {least:?}: {detail}");
    let refused = stack.rate().await.problem(503);
    assert_eq!(refused.json()["detail"], "Circuit is open", "{refused:?}");

    let events = stack.events().await;
    assert_eq!(causes(&events), ["restored", "failure_rate"]);
    assert_eq!(events[1]["classes"][0]["class"], "http_503", "{events:?}");
    let explained = stack.breaker("explain").await.text();
    assert!(
        explained.contains("it was open when the process was last seen"),
        "{explained}"
    );

    // It probes when the wait of the first opening is over, not earlier.
    stack.mend_upstream();
    eventually(2 * WAIT, async || match stack.rate().await {
        answer if answer.status() == 200 => Ok(()),
        answer => Err(format!("{answer:?}")),
    })
    .await;
    assert!(before.elapsed() + slack >= WAIT, "{:?}", before.elapsed());
    stack.wait_for_state("CLOSED").await;
    assert_eq!(
        causes(&stack.events().await),
        [
            "probes_succeeded",
            "wait_elapsed",
            "restored",
            "failure_rate"
        ]
    );
}

#[tokio::test]
async fn a_sidecar_that_was_killed_gives_the_same_answers_when_it_is_back() {
    let mut stack = Stack::start().await;
    stack.break_upstream().await;
    until_written(&stack, 1).await;
    let events = stack.events().await;
    let counted = counters(&stack.api_metrics().await);

    stack.kill_sidecar().await;
    stack.start_sidecar().await;
    state_until(&stack, "OPEN", "live", Duration::ZERO).await;
    assert_eq!(stack.events().await, events);
    assert_eq!(counters(&stack.metrics().await), counted);

    // And of a service that dies while nobody looks: from its black box alone.
    stack.kill_sidecar().await;
    stack.kill_api().await;
    stack.start_sidecar().await;
    state_until(&stack, "OPEN", "dead", Duration::from_millis(100)).await;
    assert_eq!(stack.events().await, events);
    assert_eq!(counters(&stack.metrics().await), counted);
    stack.reset().await.in_time(503).problem(503);
}

/// State, failures and refusals.
fn counters(metrics: &Metrics) -> [f64; 3] {
    let service = ("service", BREAKER);
    let rejected = [service, ("outcome", "rejected")];
    [
        metrics.sum("circuit_breaker_state", &[service]),
        metrics.sum("circuit_breaker_failures_total", &[service]),
        metrics.sum("circuit_breaker_calls_total", &rejected),
    ]
}

#[tokio::test]
async fn a_sidecar_that_is_there_before_the_service_says_so_and_picks_it_up() {
    let mut stack = Stack::builder().without_api().start().await;
    let absent = stack.breaker("state").await.in_time(503).problem(503);
    let run_dir = stack.run_dir().display().to_string();
    let body = absent.json();
    assert!(
        body["detail"].as_str().unwrap().contains(&run_dir),
        "{body}"
    );
    let advice = body["advice"].as_str().unwrap();
    assert!(advice.contains("start the service"), "{advice}");
    stack.reset().await.in_time(503).problem(503);
    for path in ["/health/live", "/health/ready", "/health/startup"] {
        stack.public(path).await.in_time(503);
    }
    assert_eq!(up(&stack).await, ("unknown".to_owned(), 0.0));
    stack.public("/sidecar/livez").await.in_time(200);

    stack.start_api().await;
    eventually(SOON, async || match stack.breaker("state").await {
        answer if answer.status() == 200 => Ok(()),
        answer => Err(format!("{:?}", answer.in_time(503))),
    })
    .await;
    state_until(&stack, "CLOSED", "live", Duration::ZERO).await;
    stack.public("/health/live").await.in_time(200);
    assert_eq!(up(&stack).await, ("payments-api".to_owned(), 1.0));

    stack.stop_api().await;
    state_until(&stack, "CLOSED", "dead", Duration::ZERO).await;
    assert_eq!(up(&stack).await, ("payments-api".to_owned(), 0.0));
    stack.start_api().await;
    state_until(&stack, "CLOSED", "live", Duration::ZERO).await;
    stack.reset().await.in_time(200);
}

/// `admin_service_up`: of which service, and its value.
async fn up(stack: &Stack) -> (String, f64) {
    let metrics = stack.metrics().await;
    for name in ["payments-api", "unknown"] {
        if let Some(value) = metrics.value("admin_service_up", &[("service", name)]) {
            return (name.to_owned(), value);
        }
    }
    panic!("{metrics:?}");
}
