//! The verdicts, one rule each.

use super::*;

const NOW: &str = "2026-01-02T03:04:05.678Z";

fn check(name: &str, severity: Severity, status: HealthStatus) -> CheckSnapshot {
    CheckSnapshot {
        name: name.to_owned(),
        severity,
        status,
        at: Some("2026-01-02T03:04:03.178Z".parse().expect("a time")),
        output: (status != HealthStatus::Pass).then(|| "connection refused".to_owned()),
    }
}

fn running(checks: Vec<CheckSnapshot>) -> HealthSnapshot {
    HealthSnapshot {
        started: true,
        draining: false,
        checks,
    }
}

use HealthStatus::{Fail, Pass, Warn};

#[test]
fn ready_follows_the_worst_check_as_far_as_its_severity_allows() {
    for (severity, status, expected, http) in [
        (Severity::Critical, Pass, Pass, 200),
        (Severity::Critical, Warn, Warn, 200),
        (Severity::Critical, Fail, Fail, 503),
        (Severity::Warn, Pass, Pass, 200),
        (Severity::Warn, Warn, Warn, 200),
        (Severity::Warn, Fail, Warn, 200),
        (Severity::Off, Fail, Pass, 200),
    ] {
        let health = running(vec![
            check("a", Severity::Critical, Pass),
            check("b", severity, status),
            check("c", Severity::Warn, Pass),
        ]);
        let verdict = ready(&health);
        assert_eq!(verdict.status, expected, "{severity:?} {status:?}");
        assert_eq!(verdict.http_status(), http);
        assert_eq!(verdict.output.is_some(), expected != Pass);
    }
}

#[test]
fn a_check_without_an_answer_has_failed_whatever_its_status_says() {
    let mut never = check("database", Severity::Critical, Pass);
    never.at = None;
    assert_eq!(ready(&running(vec![never])).status, Fail);
}

#[test]
fn not_started_and_draining_are_not_ready_and_say_why() {
    let starting = ready(&HealthSnapshot::default());
    assert_eq!(starting.status, Fail);
    assert!(starting.output.expect("a reason").contains("startup"));

    let mut draining = running(vec![]);
    draining.draining = true;
    let draining = ready(&draining);
    assert_eq!(draining.status, Fail);
    assert!(draining.output.expect("a reason").contains("draining"));
}

#[test]
fn live_looks_at_progress_and_at_nothing_else() {
    let broken = HealthSnapshot {
        started: false,
        draining: true,
        checks: vec![check("database", Severity::Critical, Fail)],
    };
    assert_eq!(live(&broken, None).status, Pass);
    assert_eq!(live(&broken, Some(HEARTBEAT_LIMIT)).status, Pass);
    let blocked = live(&broken, Some(Duration::from_millis(5_001)));
    assert_eq!(blocked.status, Fail);
    assert!(
        blocked
            .output
            .expect("a reason")
            .contains("no progress for 5 s")
    );
}

#[test]
fn startup_passes_once_started_and_stays_so_while_draining() {
    assert_eq!(startup(&HealthSnapshot::default()).status, Fail);
    let mut health = running(vec![check("database", Severity::Critical, Fail)]);
    health.draining = true;
    assert_eq!(startup(&health).status, Pass);
}

#[test]
fn the_body_is_as_the_draft_wants_it_and_has_the_ages() {
    let mut noted = check("pool", Severity::Critical, Pass);
    noted.output = Some("3 of 20 in use".to_owned());
    let mut never = check("never", Severity::Warn, Fail);
    (never.at, never.output) = (None, None);
    let health = running(vec![
        check("database", Severity::Critical, Fail),
        noted,
        never,
    ]);
    let now = NOW.parse().expect("a time");
    assert_eq!(
        ready(&health).to_json(now),
        json!({
            "status": "fail",
            "output": "database: connection refused; never: it does not say why",
            "checks": {
                "database": [{
                    "status": "fail",
                    "output": "connection refused",
                    "time": "2026-01-02T03:04:03.178Z",
                    "ageSeconds": 2.5,
                }],
                "pool": [{
                    "status": "pass",
                    "time": "2026-01-02T03:04:03.178Z",
                    "ageSeconds": 2.5,
                }],
                "never": [{"status": "warn"}],
            },
        })
    );
    assert_eq!(Verdict::pass().to_json(now), json!({"status": "pass"}));
}

#[test]
fn a_clock_that_was_set_back_makes_no_negative_age() {
    let health = running(vec![check("a", Severity::Critical, Pass)]);
    let json = ready(&health).to_json(Timestamp::UNIX_EPOCH);
    assert_eq!(json["checks"]["a"][0]["ageSeconds"], 0.0);
}
