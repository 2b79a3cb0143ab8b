//! The service's health as the sidecar sees it.
//!
//! A probe of the service itself cannot tell a hung process from a slow
//! network; this one looks from beside it, so its verdict adds what is known of
//! the process to what the service said last.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use resilience_core::{
    control::{Condition, Unavailable},
    health::verdict,
    snapshot::{HealthStatus, Severity},
};
use serde_json::{Map, Value, json};

use crate::service::Sight;

/// A runtime that has been blocked for so long will not come back by itself.
const GIVE_UP_AFTER: Duration = Duration::from_secs(5);

/// Which question is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Does the process make progress?
    Live,
    /// Can it take requests?
    Ready,
    /// Has it started?
    Startup,
}

/// 200 or 503 as `application/health+json`; the check `service` names the
/// condition of the process and the age of what is known of it.
#[must_use]
pub fn answer(probe: Probe, sight: &Result<Sight, Unavailable>) -> Response {
    let (verdict, service, checks) = match sight {
        Err(unavailable) => {
            let output = format!("{}: {}", unavailable.what, unavailable.advice);
            let service = json!([{
                "status": HealthStatus::Fail, "observedValue": "unknown", "output": output,
            }]);
            (HealthStatus::Fail, service, Map::new())
        }
        Ok(sight) => {
            let process = process(sight);
            let own = match probe {
                Probe::Live => HealthStatus::Pass,
                Probe::Ready => verdict::ready(&sight.snapshot.health).status,
                Probe::Startup if sight.snapshot.health.started => HealthStatus::Pass,
                Probe::Startup => HealthStatus::Fail,
            };
            // Only a live service is ready; a runtime that is blocked for a
            // moment is still alive.
            let seen = match (probe, &sight.condition) {
                (_, Condition::Live) => HealthStatus::Pass,
                (Probe::Ready, _) => HealthStatus::Fail,
                _ => process,
            };
            let service = json!([{
                "componentType": "process",
                "status": process,
                "observedValue": sight.condition.as_str(),
                "age_ms": millis(sight.age()),
                "time": sight.snapshot.taken_at,
                "output": sight.describe(),
            }]);
            let checks = if probe == Probe::Live {
                Map::new()
            } else {
                checks(sight)
            };
            (worst(own, seen), service, checks)
        }
    };
    let mut all = checks;
    all.insert("service".to_owned(), service);
    let mut body = json!({ "status": verdict, "checks": all });
    if let Ok(sight) = sight {
        body["version"] = json!(sight.snapshot.version);
        body["serviceId"] = json!(sight.snapshot.replica);
    }
    let status = match verdict {
        HealthStatus::Fail => StatusCode::SERVICE_UNAVAILABLE,
        HealthStatus::Pass | HealthStatus::Warn => StatusCode::OK,
    };
    let headers = [
        (header::CONTENT_TYPE, "application/health+json"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (status, headers, format!("{body}\n")).into_response()
}

fn process(sight: &Sight) -> HealthStatus {
    match sight.condition {
        Condition::Live => HealthStatus::Pass,
        Condition::RuntimeBlocked
            if sight.heartbeat_age().is_none_or(|age| age <= GIVE_UP_AFTER) =>
        {
            HealthStatus::Warn
        }
        Condition::RuntimeBlocked | Condition::Hung | Condition::Dead => HealthStatus::Fail,
    }
}

fn checks(sight: &Sight) -> Map<String, Value> {
    let health = &sight.snapshot.health;
    let asked = health.checks.iter().filter(|c| c.severity != Severity::Off);
    asked
        .map(|check| {
            let value = json!([{
                "status": check.status,
                "severity": check.severity,
                "time": check.at,
                "age_ms": check.at.map(|at| {
                    let age = jiff::Timestamp::now().duration_since(at);
                    millis(Duration::try_from(age).unwrap_or_default())
                }),
                "output": check.output,
            }]);
            (check.name.clone(), value)
        })
        .collect()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn worst(a: HealthStatus, b: HealthStatus) -> HealthStatus {
    match (a, b) {
        (HealthStatus::Fail, _) | (_, HealthStatus::Fail) => HealthStatus::Fail,
        (HealthStatus::Warn, _) | (_, HealthStatus::Warn) => HealthStatus::Warn,
        _ => HealthStatus::Pass,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn sight(condition: Condition, beat_ms: u64, started: bool) -> Result<Sight, Unavailable> {
        let now = jiff::Timestamp::now();
        let snapshot = serde_json::from_value(json!({
            "format": 1, "service": "api", "replica": "h.1", "pid": 1, "version": "1",
            "started_at": now, "taken_at": now, "heartbeat_age_ms": beat_ms,
            "breakers": [], "pools": [],
            "health": {"started": started, "draining": false, "checks": []},
            "config": {"file": null, "reloads_succeeded": 0, "reloads_refused": 0,
                "last_reload_successful": true, "loaded_at": null, "last_error": null, "values": []},
            "http": {"in_flight": 0, "series": [], "folded": 0},
        }))
        .unwrap();
        Ok(Sight {
            snapshot: Arc::new(snapshot),
            condition,
            silent_for: Duration::from_secs(41),
        })
    }

    #[test]
    fn the_verdict_adds_the_process_to_what_the_service_said() {
        let unknown = Err(Unavailable {
            what: "nothing".to_owned(),
            advice: "start it".to_owned(),
        });
        let blocked = |ms| sight(Condition::RuntimeBlocked, ms, true);
        let cases = [
            (sight(Condition::Live, 50, true), [200, 200, 200]),
            (sight(Condition::Live, 50, false), [200, 503, 503]),
            (blocked(3_000), [200, 503, 200]),
            (blocked(6_000), [503, 503, 503]),
            (sight(Condition::Hung, 50, true), [503, 503, 503]),
            (sight(Condition::Dead, 50, true), [503, 503, 503]),
            (unknown, [503, 503, 503]),
        ];
        for (sight, expected) in cases {
            let got = [Probe::Live, Probe::Ready, Probe::Startup]
                .map(|probe| answer(probe, &sight).status().as_u16());
            assert_eq!(got, expected, "{sight:?}");
        }
    }
}
