//! Settings of retries, valid by construction.

use std::time::Duration;

/// Settings of retries as somebody wrote them; [`RetryConfig`] is the same,
/// checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryOptions {
    /// Most attempts of one call, the first included; 1 retries nothing. 1 to
    /// 10. Default: 3.
    pub most_attempts: u32,
    /// The first retry waits up to this, each further one up to twice as long
    /// as the one before. 1 ms to 1 min. Default: 50 ms.
    pub base: Duration,
    /// No backoff is longer than this. `base` to 1 h. Default: 2 s.
    pub cap: Duration,
    /// A refused call is given up at once if the circuit stays open for longer
    /// than this. Up to 1 h. Default: 1 s.
    pub patience: Duration,
    /// How long a success counts in the budget. 1 s to 1 min. Default: 10 s.
    pub budget_window: Duration,
    /// How many successes pay for one retry. 1 to 1,000. Default: 5, so that
    /// retries add a fifth to the load of an upstream and no more.
    pub successes_per_retry: u32,
    /// Retries for each second of `budget_window` that need no success, for a
    /// client that has just started or calls rarely. Up to 1,000. Default: 10.
    pub free_retries_per_second: u32,
}

impl Default for RetryOptions {
    fn default() -> Self {
        Self {
            most_attempts: 3,
            base: Duration::from_millis(50),
            cap: Duration::from_secs(2),
            patience: Duration::from_secs(1),
            budget_window: Duration::from_secs(10),
            successes_per_retry: 5,
            free_retries_per_second: 10,
        }
    }
}

/// Settings of retries. A value of this type is always valid.
///
/// # Example
///
/// ```
/// use resilience_core::{RetryConfig, RetryOptions};
///
/// let config = RetryConfig::try_from(RetryOptions {
///     most_attempts: 2,
///     ..RetryOptions::default()
/// })?;
/// assert_eq!(config.options().most_attempts, 2);
/// # Ok::<(), resilience_core::RetryConfigError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetryConfig {
    options: RetryOptions,
}

impl RetryConfig {
    /// What it was made from.
    #[must_use]
    pub fn options(&self) -> &RetryOptions {
        &self.options
    }
}

/// A setting outside of what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` is {given}, allowed: {allowed}")]
pub struct RetryConfigError {
    /// The field of [`RetryOptions`].
    pub key: &'static str,
    /// What was given.
    pub given: String,
    /// What is allowed.
    pub allowed: &'static str,
}

impl TryFrom<RetryOptions> for RetryConfig {
    type Error = RetryConfigError;

    fn try_from(options: RetryOptions) -> Result<Self, Self::Error> {
        const MS: Duration = Duration::from_millis(1);
        const SECOND: Duration = Duration::from_secs(1);
        const MINUTE: Duration = Duration::from_secs(60);
        const HOUR: Duration = Duration::from_secs(3600);
        let check = |key, inside, given, allowed| {
            if inside {
                Ok(())
            } else {
                Err(RetryConfigError {
                    key,
                    given,
                    allowed,
                })
            }
        };
        let count = |key, given: u32, min, max, allowed| {
            let inside = (min..=max).contains(&given);
            check(key, inside, given.to_string(), allowed)
        };
        let time = |key, given: Duration, min, max, allowed| {
            let inside = (min..=max).contains(&given);
            check(key, inside, format!("{given:?}"), allowed)
        };
        let RetryOptions {
            most_attempts,
            base,
            cap,
            patience,
            budget_window,
            successes_per_retry,
            free_retries_per_second: free,
        } = options;
        count("most_attempts", most_attempts, 1, 10, "1 to 10")?;
        time("base", base, MS, MINUTE, "1ms to 1m")?;
        time("cap", cap, base, HOUR, "`base` to 1h")?;
        time("patience", patience, Duration::ZERO, HOUR, "up to 1h")?;
        time("budget_window", budget_window, SECOND, MINUTE, "1s to 1m")?;
        let per_retry = "successes_per_retry";
        count(per_retry, successes_per_retry, 1, 1_000, "1 to 1000")?;
        count("free_retries_per_second", free, 0, 1_000, "up to 1000")?;
        Ok(Self { options })
    }
}
