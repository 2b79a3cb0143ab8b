//! The sidecar's own metrics, beside those of the service.

use std::time::Duration;

use prometheus::{
    Encoder, Gauge, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

/// Counters of the sidecar. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SidecarMetrics {
    registry: Registry,
    commands: IntCounterVec,
    auth_failures: IntCounterVec,
    audit_failures: IntCounter,
}

/// How the service was found at this scrape.
#[derive(Clone, Debug)]
pub struct ServiceUp {
    /// Its name, `unknown` before it was ever seen.
    pub service: String,
    /// Whether it answered.
    pub up: bool,
    /// Age of its last beat.
    pub heartbeat_age: Option<Duration>,
}

impl SidecarMetrics {
    /// All at zero.
    ///
    /// # Errors
    ///
    /// If a name or label is not one that Prometheus takes.
    pub fn try_new() -> Result<Self, prometheus::Error> {
        let metrics = Self {
            registry: Registry::new(),
            commands: IntCounterVec::new(
                Opts::new(
                    "admin_commands_total",
                    "Changes asked for, by what became of them.",
                ),
                &["action", "result"],
            )?,
            auth_failures: IntCounterVec::new(
                Opts::new(
                    "admin_auth_failures_total",
                    "Requests refused by the guard.",
                ),
                &["reason"],
            )?,
            audit_failures: IntCounter::new(
                "admin_audit_failures_total",
                "Audit lines that could not be written in time.",
            )?,
        };
        metrics
            .registry
            .register(Box::new(metrics.commands.clone()))?;
        metrics
            .registry
            .register(Box::new(metrics.auth_failures.clone()))?;
        metrics
            .registry
            .register(Box::new(metrics.audit_failures.clone()))?;
        Ok(metrics)
    }

    /// Counts a change.
    pub fn command(&self, action: &'static str, result: &'static str) {
        self.commands.with_label_values(&[action, result]).inc();
    }

    /// Counts a request that the guard refused.
    pub fn auth_failure(&self, reason: &'static str) {
        self.auth_failures.with_label_values(&[reason]).inc();
    }

    /// Counts an audit line that was not written.
    pub fn audit_failure(&self) {
        self.audit_failures.inc();
    }

    /// Prometheus text of the sidecar's own metrics.
    ///
    /// # Errors
    ///
    /// If they cannot be written as text.
    pub fn render(&self, service: &ServiceUp) -> Result<String, prometheus::Error> {
        // Made for this scrape: two scrapes at once do not see each other's
        // service, and a service that is gone leaves no series behind.
        let now = Registry::new();
        let labelled =
            |name, help| Opts::new(name, help).const_label("service", service.service.clone());
        let up = IntGauge::with_opts(labelled(
            "admin_service_up",
            "1 if the service answered, 0 if this is from its last picture.",
        ))?;
        up.set(service.up.into());
        now.register(Box::new(up))?;
        if let Some(age) = service.heartbeat_age {
            let gauge = Gauge::with_opts(labelled(
                "admin_service_heartbeat_age_seconds",
                "Age of the last beat of the service's runtime.",
            ))?;
            gauge.set(age.as_secs_f64());
            now.register(Box::new(gauge))?;
        }
        let mut text = Vec::new();
        let mut families = now.gather();
        families.extend(self.registry.gather());
        TextEncoder::new().encode(&families, &mut text)?;
        String::from_utf8(text).map_err(|error| prometheus::Error::Msg(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_does_not_answer_is_zero_and_its_counters_stay() {
        let metrics = SidecarMetrics::try_new().unwrap();
        metrics.command("reset", "applied");
        metrics.auth_failure("origin");
        let text = metrics
            .render(&ServiceUp {
                service: "api".to_owned(),
                up: false,
                heartbeat_age: Some(Duration::from_millis(1500)),
            })
            .unwrap();
        for line in [
            r#"admin_service_up{service="api"} 0"#,
            r#"admin_service_heartbeat_age_seconds{service="api"} 1.5"#,
            r#"admin_commands_total{action="reset",result="applied"} 1"#,
            r#"admin_auth_failures_total{reason="origin"} 1"#,
            "admin_audit_failures_total 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }
}
