//! Checks on paused time.

use std::sync::atomic::AtomicU32;

use tokio::time::{advance, sleep};

use super::*;
use crate::{
    health::verdict,
    log::{LogOptions, testing::logged_async},
};

const S: Duration = Duration::from_secs(1);

/// Lets all tasks run until nothing is left to do but wait. With paused time
/// this takes none.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

fn only(health: &Health) -> (HealthStatus, Option<String>) {
    let check = health.snapshot().checks.remove(0);
    (check.status, check.output)
}

/// A check that says what the test sets, and counts how often it was asked.
#[derive(Clone, Default)]
struct Probe {
    asked: Arc<AtomicU32>,
    answer: Arc<Mutex<Option<Result<CheckOk, String>>>>,
}

impl Probe {
    fn answers(&self, answer: Result<CheckOk, String>) {
        *self.answer.lock() = Some(answer);
    }

    fn asked(&self) -> u32 {
        self.asked.load(Relaxed)
    }

    fn register(&self, health: &Health, severity: Severity) {
        let probe = self.clone();
        let check = move || {
            probe.asked.fetch_add(1, Relaxed);
            let answer = probe.answer.lock().clone();
            async move {
                match answer {
                    Some(answer) => answer,
                    None => std::future::pending().await,
                }
            }
        };
        health
            .register("database", severity, 5 * S, 2 * S, check)
            .expect("registered");
    }
}

#[tokio::test(start_paused = true)]
async fn a_check_that_has_not_answered_yet_has_failed() {
    let health = Health::new();
    Probe::default().register(&health, Severity::Critical);
    health.started();
    let snapshot = health.snapshot();
    assert_eq!(snapshot.checks[0].status, HealthStatus::Fail);
    assert_eq!(snapshot.checks[0].at, None);
    assert_eq!(verdict::ready(&snapshot).status, HealthStatus::Fail);
}

#[tokio::test(start_paused = true)]
async fn the_last_answer_stands_until_the_next() {
    let (health, probe) = (Health::new(), Probe::default());
    probe.answers(Ok(CheckOk::Pass));
    probe.register(&health, Severity::Critical);
    settle().await;
    assert_eq!(only(&health), (HealthStatus::Pass, None));
    assert!(health.snapshot().checks[0].at.is_some());

    probe.answers(Err("connection refused".to_owned()));
    sleep(4 * S).await;
    assert_eq!(only(&health).0, HealthStatus::Pass);
    sleep(2 * S).await;
    let refused = (HealthStatus::Fail, Some("connection refused".to_owned()));
    assert_eq!(only(&health), refused);

    probe.answers(Ok(CheckOk::Warn("replication lags".to_owned())));
    sleep(5 * S).await;
    let lags = (HealthStatus::Warn, Some("replication lags".to_owned()));
    assert_eq!(only(&health), lags);
    assert_eq!(probe.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_check_without_an_answer_in_time_has_failed_and_is_asked_again() {
    let (health, probe) = (Health::new(), Probe::default());
    probe.register(&health, Severity::Critical);
    sleep(Duration::from_millis(2_100)).await;
    let late = (HealthStatus::Fail, Some("no answer within 2s".to_owned()));
    assert_eq!(only(&health), late);
    assert!(health.snapshot().checks[0].at.is_some());

    probe.answers(Ok(CheckOk::Pass));
    sleep(5 * S).await;
    assert_eq!(only(&health).0, HealthStatus::Pass);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_an_answer_and_not_the_end_of_the_checks() {
    let health = Health::new();
    let calls = Arc::new(AtomicU32::new(0));
    let check = {
        let calls = Arc::clone(&calls);
        move || {
            assert!(calls.fetch_add(1, Relaxed) > 0, "on purpose");
            async { Ok(CheckOk::Pass) }
        }
    };
    health
        .register("x", Severity::Critical, S, S, check)
        .expect("registered");
    settle().await;
    assert_eq!(only(&health).1.as_deref(), Some("the check panicked"));
    sleep(S + S / 2).await;
    assert_eq!(only(&health).0, HealthStatus::Pass);
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_not_believed_for_ever_when_the_runtime_stands_still() {
    let (health, probe) = (Health::new(), Probe::default());
    probe.answers(Ok(CheckOk::Pass));
    probe.register(&health, Severity::Critical);
    settle().await;
    // The first poll of `advance` moves the clock, and this test does not give
    // the thread back afterwards: no other task runs, as on a blocked runtime.
    let mut jump = Box::pin(advance(3 * 5 * S + 2 * S));
    poll_once(&mut jump);
    assert_eq!(only(&health).0, HealthStatus::Pass);
    let mut jump = Box::pin(advance(Duration::from_millis(1)));
    poll_once(&mut jump);
    let (status, output) = only(&health);
    assert_eq!(status, HealthStatus::Fail);
    let output = output.expect("a reason");
    assert!(
        output.starts_with("no answer for 17 s, expected one every 5s"),
        "{output}"
    );

    settle().await;
    assert_eq!(only(&health).0, HealthStatus::Pass, "it runs again");
}

fn poll_once(future: &mut std::pin::Pin<Box<impl Future<Output = ()>>>) {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let _ = future.as_mut().poll(&mut cx);
}

#[tokio::test(start_paused = true)]
async fn the_checks_stop_with_the_last_handle() {
    let (health, probe) = (Health::new(), Probe::default());
    probe.answers(Ok(CheckOk::Pass));
    probe.register(&health, Severity::Critical);
    let clone = health.clone();
    settle().await;
    drop(health);
    sleep(6 * S).await;
    assert_eq!(probe.asked(), 2);
    drop(clone);
    sleep(60 * S).await;
    assert_eq!(probe.asked(), 2);
    // The task and what its check held are gone too.
    assert_eq!(Arc::strong_count(&probe.asked), 1);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_handle_stops_a_check_that_is_being_asked() {
    let (health, probe) = (Health::new(), Probe::default());
    probe.register(&health, Severity::Critical);
    settle().await;
    assert!(health.unregister("database"));
    assert!(!health.unregister("database"));
    settle().await;
    assert_eq!(Arc::strong_count(&probe.asked), 1);
}

#[tokio::test(start_paused = true)]
async fn severity_changes_while_it_runs() {
    let (health, probe) = (Health::new(), Probe::default());
    probe.answers(Err("down".to_owned()));
    probe.register(&health, Severity::Critical);
    health.started();
    settle().await;
    let ready = || verdict::ready(&health.snapshot()).status;
    assert_eq!(ready(), HealthStatus::Fail);
    assert!(health.set_severity("database", Severity::Warn));
    assert_eq!(ready(), HealthStatus::Warn);

    assert!(health.set_severity("database", Severity::Off));
    assert_eq!(ready(), HealthStatus::Pass);
    settle().await;
    let before = probe.asked();
    sleep(60 * S).await;
    assert_eq!(probe.asked(), before, "a check that is off is not asked");

    probe.answers(Ok(CheckOk::Pass));
    assert!(health.set_severity("database", Severity::Critical));
    assert_eq!(ready(), HealthStatus::Fail, "not answered yet");
    settle().await;
    assert_eq!(ready(), HealthStatus::Pass);

    assert!(health.set_severity("database", Severity::Off));
    assert!(health.set_severity("database", Severity::Critical));
    assert_eq!(
        ready(),
        HealthStatus::Fail,
        "an answer from before it was off"
    );
    settle().await;
    assert_eq!(ready(), HealthStatus::Pass);
    assert!(!health.set_severity("no such check", Severity::Off));
}

#[test]
fn a_computed_check_is_asked_for_each_snapshot() {
    let health = Health::new();
    let open = Arc::new(AtomicBool::new(false));
    let ask = {
        let open = Arc::clone(&open);
        move || {
            if open.load(Relaxed) {
                (HealthStatus::Warn, Some("payment_api is OPEN".to_owned()))
            } else {
                (HealthStatus::Pass, None)
            }
        }
    };
    health
        .register_fn("circuit_breakers", Severity::Warn, ask)
        .expect("registered");
    assert_eq!(only(&health), (HealthStatus::Pass, None));
    open.store(true, Relaxed);
    assert_eq!(only(&health).0, HealthStatus::Warn);
    assert!(health.snapshot().checks[0].at.is_some());
}

#[test]
fn a_computed_check_that_panics_has_failed() {
    let health = Health::new();
    health
        .register_fn("x", Severity::Warn, || panic!("on purpose"))
        .expect("registered");
    let panicked = (HealthStatus::Fail, Some("the check panicked".to_owned()));
    assert_eq!(only(&health), panicked);
}

#[tokio::test]
async fn a_check_that_cannot_be_run_is_refused_with_the_reason() {
    let health = Health::new();
    let register = |name: &str, interval, deadline| {
        health.register(name, Severity::Warn, interval, deadline, || async {
            Ok(CheckOk::Pass)
        })
    };
    assert_eq!(register("a", S, S), Ok(()));
    assert_eq!(register("a", S, S), Err(RegisterError::Taken("a".into())));
    let zero = |what| {
        let name = "b".to_owned();
        Err(RegisterError::Zero { name, what })
    };
    assert_eq!(register("b", Duration::ZERO, S), zero("interval"));
    assert_eq!(register("b", S, Duration::ZERO), zero("deadline"));
    assert_eq!(health.snapshot().checks.len(), 1);
}

#[test]
fn outside_of_a_runtime_a_background_check_is_refused() {
    let check = || async { Ok(CheckOk::Pass) };
    let refused = Health::new().register("a", Severity::Warn, S, S, check);
    assert_eq!(refused, Err(RegisterError::NoRuntime("a".into())));
}

#[test]
fn a_change_is_logged_once_and_not_each_round() {
    let lines = logged_async(LogOptions::new("svc"), async {
        let (health, probe) = (Health::new(), Probe::default());
        probe.answers(Err("connection refused".to_owned()));
        probe.register(&health, Severity::Critical);
        sleep(21 * S).await;
        probe.answers(Ok(CheckOk::Pass));
        sleep(20 * S).await;
    });
    assert_eq!(lines.len(), 2, "{lines:?}");
    let fails =
        " ERROR svc health health_check check:database health check fails: connection refused";
    assert!(lines[0].ends_with(fails), "{lines:?}");
    assert!(
        lines[1].ends_with(" check:database health check passes"),
        "{lines:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_check_says_is_kept_short() {
    let (health, probe) = (Health::new(), Probe::default());
    probe.answers(Err("ü".repeat(10_000)));
    probe.register(&health, Severity::Critical);
    settle().await;
    assert!(only(&health).1.expect("an output").len() < 520);
}
