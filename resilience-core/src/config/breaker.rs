//! The `circuit_breaker` sections.
//!
//! What is allowed is known to [`BreakerConfig`] alone; here it is asked, key
//! by key, so that each wrong value is reported and not only the first.

use std::time::Duration;

use super::{
    reader::{Allowed, Reader, Section, Sourced},
    schema,
    tree::Origin,
    value::{Factor, Misread, Readable, Seconds},
};
use crate::{
    breaker::{BreakerConfig, BreakerConfigError, BreakerOptions, Window},
    snapshot::{BreakerSettings, Setting},
};

/// A breaker's settings with where each came from.
#[derive(Clone, Debug)]
pub(super) struct BreakerValues {
    enabled: Sourced<bool>,
    window: Sourced<Window>,
    minimum_calls: Sourced<u32>,
    failure_rate_threshold: Sourced<f64>,
    slow_call_duration: Sourced<Option<Duration>>,
    slow_call_rate_threshold: Sourced<f64>,
    wait_in_open: Sourced<Duration>,
    wait_multiplier: Sourced<Factor>,
    wait_max: Sourced<Duration>,
    wait_jitter: Sourced<f64>,
    automatic_half_open: Sourced<bool>,
    half_open_permits: Sourced<u32>,
    half_open_max_wait: Sourced<Option<Duration>>,
    ramp_up: Sourced<Option<Duration>>,
    probe_lease: Sourced<Duration>,
}

impl Default for BreakerValues {
    fn default() -> Self {
        let BreakerOptions {
            enabled,
            window,
            minimum_calls,
            failure_rate_threshold,
            slow_call_duration,
            slow_call_rate_threshold,
            wait_in_open,
            wait_multiplier,
            wait_max,
            wait_jitter,
            automatic_half_open,
            half_open_permits,
            half_open_max_wait,
            ramp_up,
            probe_lease,
        } = BreakerOptions::default();
        Self {
            enabled: Sourced::default(enabled),
            window: Sourced::default(window),
            minimum_calls: Sourced::default(minimum_calls),
            failure_rate_threshold: Sourced::default(failure_rate_threshold),
            slow_call_duration: Sourced::default(slow_call_duration),
            slow_call_rate_threshold: Sourced::default(slow_call_rate_threshold),
            wait_in_open: Sourced::default(wait_in_open),
            wait_multiplier: Sourced::default(Factor(wait_multiplier)),
            wait_max: Sourced::default(wait_max),
            wait_jitter: Sourced::default(wait_jitter),
            automatic_half_open: Sourced::default(automatic_half_open),
            half_open_permits: Sourced::default(half_open_permits),
            half_open_max_wait: Sourced::default(half_open_max_wait),
            ramp_up: Sourced::default(ramp_up),
            probe_lease: Sourced::default(probe_lease),
        }
    }
}

/// A breaker as configured: the settings and where each came from.
#[derive(Clone, Debug)]
pub(super) struct Breaker {
    pub(super) values: BreakerValues,
    pub(super) config: BreakerConfig,
}

impl Breaker {
    pub(super) fn settings(&self, file_name: &str) -> BreakerSettings {
        BreakerSettings {
            values: self.values.settings(file_name),
        }
    }
}

impl BreakerValues {
    fn options(&self) -> BreakerOptions {
        BreakerOptions {
            enabled: self.enabled.value,
            window: self.window.value,
            minimum_calls: self.minimum_calls.value,
            failure_rate_threshold: self.failure_rate_threshold.value,
            slow_call_duration: self.slow_call_duration.value,
            slow_call_rate_threshold: self.slow_call_rate_threshold.value,
            wait_in_open: self.wait_in_open.value,
            wait_multiplier: self.wait_multiplier.value.0,
            wait_max: self.wait_max.value,
            wait_jitter: self.wait_jitter.value,
            automatic_half_open: self.automatic_half_open.value,
            half_open_permits: self.half_open_permits.value,
            half_open_max_wait: self.half_open_max_wait.value,
            ramp_up: self.ramp_up.value,
            probe_lease: self.probe_lease.value,
        }
    }

    fn settings(&self, file_name: &str) -> Vec<Setting> {
        let Self {
            enabled,
            window,
            minimum_calls,
            failure_rate_threshold,
            slow_call_duration,
            slow_call_rate_threshold,
            wait_in_open,
            wait_multiplier,
            wait_max,
            wait_jitter,
            automatic_half_open,
            half_open_permits,
            half_open_max_wait,
            ramp_up,
            probe_lease,
        } = self;
        vec![
            enabled.setting("enabled".into(), file_name),
            window.setting("window".into(), file_name),
            minimum_calls.setting("minimum_calls".into(), file_name),
            failure_rate_threshold.setting("failure_rate_threshold".into(), file_name),
            slow_call_duration.setting("slow_call_duration".into(), file_name),
            slow_call_rate_threshold.setting("slow_call_rate_threshold".into(), file_name),
            wait_in_open.setting("wait_in_open".into(), file_name),
            wait_multiplier.setting("wait_multiplier".into(), file_name),
            wait_max.setting("wait_max".into(), file_name),
            wait_jitter.setting("wait_jitter".into(), file_name),
            automatic_half_open.setting("automatic_half_open".into(), file_name),
            half_open_permits.setting("half_open_permits".into(), file_name),
            half_open_max_wait.setting("half_open_max_wait".into(), file_name),
            ramp_up.setting("ramp_up".into(), file_name),
            probe_lease.setting("probe_lease".into(), file_name),
        ]
    }

    fn origin(&self, key: &str) -> &Origin {
        match key {
            "enabled" => &self.enabled.origin,
            "window.calls" | "window.seconds" => &self.window.origin,
            "minimum_calls" => &self.minimum_calls.origin,
            "failure_rate_threshold" => &self.failure_rate_threshold.origin,
            "slow_call_duration" => &self.slow_call_duration.origin,
            "slow_call_rate_threshold" => &self.slow_call_rate_threshold.origin,
            "wait_in_open" => &self.wait_in_open.origin,
            "wait_multiplier" => &self.wait_multiplier.origin,
            "wait_max" => &self.wait_max.origin,
            "wait_jitter" => &self.wait_jitter.origin,
            "automatic_half_open" => &self.automatic_half_open.origin,
            "half_open_permits" => &self.half_open_permits.origin,
            "half_open_max_wait" => &self.half_open_max_wait.origin,
            "ramp_up" => &self.ramp_up.origin,
            "probe_lease" => &self.probe_lease.origin,
            _ => &Origin::Default,
        }
    }
}

/// Reads a `circuit_breaker` section over what it inherits.
pub(super) fn read(reader: &mut Reader, section: &Section<'_>, base: &BreakerValues) -> Breaker {
    let count = |set: fn(&mut BreakerOptions, u32)| rule(set, 0);
    let percent = |set: fn(&mut BreakerOptions, f64)| rule(set, f64::NAN);
    let duration = |set: fn(&mut BreakerOptions, Duration)| rule(set, Duration::ZERO);
    let or_off = |set: fn(&mut BreakerOptions, Option<Duration>)| rule(set, Some(Duration::ZERO));

    let values = BreakerValues {
        enabled: reader.value(
            section,
            "enabled",
            &base.enabled,
            &super::sections::switch(),
        ),
        window: window(reader, section, &base.window),
        minimum_calls: reader.value(
            section,
            "minimum_calls",
            &base.minimum_calls,
            &count(|options, value| options.minimum_calls = value),
        ),
        failure_rate_threshold: reader.value(
            section,
            "failure_rate_threshold",
            &base.failure_rate_threshold,
            &percent(|options, value| options.failure_rate_threshold = value),
        ),
        slow_call_duration: reader.value(
            section,
            "slow_call_duration",
            &base.slow_call_duration,
            &or_off(|options, value| options.slow_call_duration = value),
        ),
        slow_call_rate_threshold: reader.value(
            section,
            "slow_call_rate_threshold",
            &base.slow_call_rate_threshold,
            &percent(|options, value| options.slow_call_rate_threshold = value),
        ),
        wait_in_open: reader.value(
            section,
            "wait_in_open",
            &base.wait_in_open,
            &duration(|options, value| options.wait_in_open = value),
        ),
        wait_multiplier: reader.value(
            section,
            "wait_multiplier",
            &base.wait_multiplier,
            &rule(
                |options, Factor(value)| options.wait_multiplier = value,
                Factor(f64::NAN),
            ),
        ),
        wait_max: reader.value(
            section,
            "wait_max",
            &base.wait_max,
            &duration(|options, value| options.wait_max = value),
        ),
        wait_jitter: reader.value(
            section,
            "wait_jitter",
            &base.wait_jitter,
            &percent(|options, value| options.wait_jitter = value),
        ),
        automatic_half_open: reader.value(
            section,
            "automatic_half_open",
            &base.automatic_half_open,
            &super::sections::switch(),
        ),
        half_open_max_wait: reader.value(
            section,
            "half_open_max_wait",
            &base.half_open_max_wait,
            &or_off(|options, value| options.half_open_max_wait = value),
        ),
        ramp_up: reader.value(
            section,
            "ramp_up",
            &base.ramp_up,
            &or_off(|options, value| options.ramp_up = value),
        ),
        half_open_permits: reader.value(
            section,
            "half_open_permits",
            &base.half_open_permits,
            &count(|options, value| options.half_open_permits = value),
        ),
        probe_lease: reader.value(
            section,
            "probe_lease",
            &base.probe_lease,
            &duration(|options, value| options.probe_lease = value),
        ),
    };
    // Each value has passed alone; this is for rules between two of them.
    let config = BreakerConfig::try_from(values.options()).unwrap_or_else(|error| {
        let BreakerConfigError {
            key,
            given,
            allowed,
        } = error;
        reader.conflict(&section.full(key), values.origin(key), given, allowed);
        BreakerConfig::default()
    });
    Breaker { values, config }
}

/// Asks [`BreakerConfig`] about one setting alone. `impossible` is a value it
/// refuses, to learn the words in which it says what is allowed.
fn rule<T: Clone>(set: fn(&mut BreakerOptions, T), impossible: T) -> Allowed<impl Fn(&T) -> bool> {
    let check = move |value: T| {
        let mut options = BreakerOptions::default();
        set(&mut options, value);
        BreakerConfig::try_from(options)
    };
    let text = check(impossible)
        .err()
        .map(|error| error.allowed.to_owned())
        .unwrap_or_default();
    Allowed {
        text,
        inside: move |value: &T| check(value.clone()).is_ok(),
    }
}

/// `{calls: 100}` or `{seconds: 60}`. One key, though it looks like two: what
/// overrides it replaces the kind of window as well.
fn window(reader: &mut Reader, parent: &Section<'_>, base: &Sourced<Window>) -> Sourced<Window> {
    const ALLOWED: &str = "`{calls: 100}` or `{seconds: 60}`";
    let Some(node) = parent.node("window") else {
        return reader.note(parent, "window", None, base);
    };
    let full = parent.full("window");
    let section = match node.entries() {
        Some(entries) if !entries.is_empty() => reader.section(parent, "window", schema::WINDOW),
        _ => {
            reader.wrong(&full, node, None, ALLOWED);
            return reader.note(parent, "window", None, base);
        }
    };
    let calls = reader.written(
        &section,
        "calls",
        &rule(|options, calls| options.window = Window::Calls(calls), 0),
    );
    let seconds = reader.written(
        &section,
        "seconds",
        &rule(
            |options, Seconds(time)| options.window = Window::Time(time),
            Seconds(Duration::ZERO),
        ),
    );
    let calls = calls.map(|calls| Sourced {
        value: Window::Calls(calls.value),
        origin: calls.origin,
    });
    let seconds = seconds.map(|seconds| Sourced {
        value: Window::Time(seconds.value.0),
        origin: seconds.origin,
    });
    let written = match (calls, seconds) {
        (Some(calls), Some(seconds)) => match (&calls.origin, &seconds.origin) {
            // A variable overrides the file, whichever kind the file has.
            (Origin::Env(_), Origin::File { .. }) => Some(calls),
            (Origin::File { .. }, Origin::Env(_)) => Some(seconds),
            _ => {
                let given = "{calls: …, seconds: …}".to_owned();
                let allowed = format!("one of the two, {ALLOWED}");
                reader.conflict(&full, &seconds.origin, given, &allowed);
                None
            }
        },
        (calls, seconds) => calls.or(seconds),
    };
    reader.note(parent, "window", written, base)
}

impl Readable for Window {
    /// A window is a section and never one word.
    fn read(_: &str) -> Result<Self, Misread> {
        Err(Misread::Other)
    }

    fn show(&self) -> String {
        match self {
            Self::Calls(calls) => format!("{{calls: {calls}}}"),
            Self::Time(time) if time.subsec_nanos() == 0 => {
                format!("{{seconds: {}}}", time.as_secs())
            }
            Self::Time(time) => format!("{{seconds: {}}}", time.show()),
        }
    }
}
