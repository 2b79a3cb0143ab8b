//! A breaker's settings, valid by construction.

use std::time::Duration;

/// Over which calls the rates are reckoned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// Exactly the last so many finished calls. 1 to 10,000.
    Calls(u32),
    /// The calls finished in the last so many seconds, in ten buckets: a call
    /// leaves with its bucket, at most a tenth early. 1 s to 1 h.
    Time(Duration),
}

/// Settings of a breaker as somebody wrote them; [`BreakerConfig`] is the same,
/// checked.
#[derive(Clone, Debug, PartialEq)]
pub struct BreakerOptions {
    /// Off lets every call through and counts nothing. Default: `true`.
    pub enabled: bool,
    /// Default: the last 100 calls.
    pub window: Window,
    /// No rate is reckoned below this many finished calls; a count window
    /// clamps it to its size. 1 to 10,000. Default: 20.
    pub minimum_calls: u32,
    /// Opens when the failed share of the window, in percent, is this or
    /// more. Above 0, up to 100. Default: 50.
    pub failure_rate_threshold: f64,
    /// A call that takes longer is slow, also while it still runs; `None` times
    /// nothing. 1 ms to 1 h. Default: 2 s.
    pub slow_call_duration: Option<Duration>,
    /// Opens when the slow share of the window, in percent, is this or more.
    /// Above 0, up to 100. Default: 100.
    pub slow_call_rate_threshold: f64,
    /// How long it refuses calls before it lets probes through. 1 ms to 24 h.
    /// Default: 60 s.
    pub wait_in_open: Duration,
    /// By how much the wait grows each time that it opens again without having
    /// closed in between. 1 to 10. Default: 1, no growth.
    pub wait_multiplier: f64,
    /// How far it grows. 1 ms to 24 h; a `wait_in_open` above it stays as it
    /// is. Default: 10 min.
    pub wait_max: Duration,
    /// Moves each wait at random by up to so many percent, earlier or later, so
    /// that the replicas of a service do not all try at one moment. 0 to 50.
    /// Default: 0.
    pub wait_jitter: f64,
    /// Whether it becomes half-open by itself when the wait is over; else the
    /// next call makes it so, and an idle circuit looks open for ever. The
    /// control thread sees to it within a tenth of a second, and so does each
    /// look at the breaker. Default: `false`.
    pub automatic_half_open: bool,
    /// How many probes half-open lets through. 1 to 128. Default: 10.
    pub half_open_permits: u32,
    /// How long half-open may take to decide before it opens again; `None`
    /// waits for ever. 1 ms to 24 h. Default: `None`.
    pub half_open_max_wait: Option<Duration>,
    /// How long it takes, after half-open, to let all calls through again: a
    /// share that grows from a tenth; `None` closes at once. Till then it is
    /// shown as half-open. 1 ms to 24 h. Default: `None`.
    pub ramp_up: Option<Duration>,
    /// How long a probe may stay silent before its slot goes to another call.
    /// 1 ms to 1 h. Default: 30 s.
    pub probe_lease: Duration,
}

impl Default for BreakerOptions {
    fn default() -> Self {
        Self {
            enabled: true,
            window: Window::Calls(100),
            minimum_calls: 20,
            failure_rate_threshold: 50.0,
            slow_call_duration: Some(Duration::from_secs(2)),
            slow_call_rate_threshold: 100.0,
            wait_in_open: Duration::from_secs(60),
            wait_multiplier: 1.0,
            wait_max: Duration::from_secs(600),
            wait_jitter: 0.0,
            automatic_half_open: false,
            half_open_permits: 10,
            half_open_max_wait: None,
            ramp_up: None,
            probe_lease: Duration::from_secs(30),
        }
    }
}

impl BreakerOptions {
    /// Key and value of each setting, as one would write them.
    pub(super) fn list(&self) -> Vec<(&'static str, String)> {
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
        let or_off = |duration: &Option<Duration>| match duration {
            Some(duration) => format!("{duration:?}"),
            None => "off".to_owned(),
        };
        let window = match window {
            Window::Calls(calls) => format!("{calls} calls"),
            Window::Time(time) => format!("{time:?}"),
        };
        vec![
            ("enabled", enabled.to_string()),
            ("window", window),
            ("minimum_calls", minimum_calls.to_string()),
            ("failure_rate_threshold", failure_rate_threshold.to_string()),
            ("slow_call_duration", or_off(slow_call_duration)),
            (
                "slow_call_rate_threshold",
                slow_call_rate_threshold.to_string(),
            ),
            ("wait_in_open", format!("{wait_in_open:?}")),
            ("wait_multiplier", wait_multiplier.to_string()),
            ("wait_max", format!("{wait_max:?}")),
            ("wait_jitter", wait_jitter.to_string()),
            ("automatic_half_open", automatic_half_open.to_string()),
            ("half_open_permits", half_open_permits.to_string()),
            ("half_open_max_wait", or_off(half_open_max_wait)),
            ("ramp_up", or_off(ramp_up)),
            ("probe_lease", format!("{probe_lease:?}")),
        ]
    }
}

/// Settings of a breaker. A value of this type is always valid.
///
/// # Example
///
/// ```
/// use resilience_core::{BreakerConfig, BreakerOptions};
/// use std::time::Duration;
///
/// let config = BreakerConfig::try_from(BreakerOptions {
///     wait_in_open: Duration::from_secs(5),
///     ..BreakerOptions::default()
/// })?;
/// assert_eq!(config.options().wait_in_open, Duration::from_secs(5));
/// # Ok::<(), resilience_core::BreakerConfigError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BreakerConfig {
    options: BreakerOptions,
}

impl BreakerConfig {
    /// What it was made from.
    #[must_use]
    pub fn options(&self) -> &BreakerOptions {
        &self.options
    }
}

/// A setting outside of what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` is {given}, allowed: {allowed}")]
pub struct BreakerConfigError {
    /// The key below `circuit_breaker`, such as `wait_in_open` or `window.calls`.
    pub key: &'static str,
    /// What was given.
    pub given: String,
    /// What is allowed.
    pub allowed: &'static str,
}

impl TryFrom<BreakerOptions> for BreakerConfig {
    type Error = BreakerConfigError;

    fn try_from(options: BreakerOptions) -> Result<Self, Self::Error> {
        const MS: Duration = Duration::from_millis(1);
        const HOUR: Duration = Duration::from_secs(3600);
        let duration = |key, given: Duration, min: Duration, max: Duration, allowed| {
            check(
                key,
                (min..=max).contains(&given),
                format!("{given:?}"),
                allowed,
            )
        };
        let count = |key, given: u32, max: u32, allowed| {
            check(key, (1..=max).contains(&given), given.to_string(), allowed)
        };
        // Asks "is it inside", so that NaN is refused too.
        let percent = |key, given: f64| {
            let inside = given > 0.0 && given <= 100.0;
            check(
                key,
                inside,
                given.to_string(),
                "above 0, up to 100 (percent)",
            )
        };
        match options.window {
            Window::Calls(calls) => count("window.calls", calls, 10_000, "1 to 10000")?,
            Window::Time(time) => {
                duration(
                    "window.seconds",
                    time,
                    Duration::from_secs(1),
                    HOUR,
                    "1s to 1h",
                )?;
            }
        }
        count("minimum_calls", options.minimum_calls, 10_000, "1 to 10000")?;
        percent("failure_rate_threshold", options.failure_rate_threshold)?;
        if let Some(slow) = options.slow_call_duration {
            duration("slow_call_duration", slow, MS, HOUR, "1ms to 1h, or off")?;
        }
        percent("slow_call_rate_threshold", options.slow_call_rate_threshold)?;
        duration(
            "wait_in_open",
            options.wait_in_open,
            MS,
            24 * HOUR,
            "1ms to 24h",
        )?;
        let multiplier = options.wait_multiplier;
        check(
            "wait_multiplier",
            (1.0..=10.0).contains(&multiplier),
            multiplier.to_string(),
            "1 to 10",
        )?;
        duration("wait_max", options.wait_max, MS, 24 * HOUR, "1ms to 24h")?;
        let jitter = options.wait_jitter;
        check(
            "wait_jitter",
            (0.0..=50.0).contains(&jitter),
            jitter.to_string(),
            "0 to 50 (percent)",
        )?;
        for (key, given) in [
            ("half_open_max_wait", options.half_open_max_wait),
            ("ramp_up", options.ramp_up),
        ] {
            if let Some(given) = given {
                duration(key, given, MS, 24 * HOUR, "1ms to 24h, or off")?;
            }
        }
        count(
            "half_open_permits",
            options.half_open_permits,
            128,
            "1 to 128",
        )?;
        duration("probe_lease", options.probe_lease, MS, HOUR, "1ms to 1h")?;
        Ok(Self { options })
    }
}

fn check(
    key: &'static str,
    inside: bool,
    given: String,
    allowed: &'static str,
) -> Result<(), BreakerConfigError> {
    if inside {
        Ok(())
    } else {
        Err(BreakerConfigError {
            key,
            given,
            allowed,
        })
    }
}
