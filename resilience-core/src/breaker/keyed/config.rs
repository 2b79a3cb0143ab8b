//! How many breakers a family may hold, and for how long.

use std::time::Duration;

use crate::breaker::BreakerConfigError;

/// Limits of a family as somebody wrote them; [`KeyedConfig`] is the same,
/// checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyedOptions {
    /// How many breakers it holds at most. Choose it well above the number of
    /// keys that are in use at one time: at the cap a new key costs an eighth
    /// of the others their windows. Each costs 4 KiB and more, and every
    /// picture (the control thread takes ten a second) looks at all. 1 to
    /// 65,536. Default: 1,024.
    pub capacity: u32,
    /// A breaker that nobody has looked up for so long may go. 1 s to 24 h.
    /// Default: 10 min.
    pub idle: Duration,
}

impl Default for KeyedOptions {
    fn default() -> Self {
        Self {
            capacity: 1_024,
            idle: Duration::from_secs(600),
        }
    }
}

/// Limits of a family. A value of this type is always valid.
///
/// # Example
///
/// ```
/// use resilience_core::{KeyedConfig, KeyedOptions};
///
/// let config = KeyedConfig::try_from(KeyedOptions { capacity: 100, ..KeyedOptions::default() })?;
/// assert_eq!(config.options().capacity, 100);
/// # Ok::<(), resilience_core::BreakerConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyedConfig {
    options: KeyedOptions,
}

impl KeyedConfig {
    /// What it was made from.
    #[must_use]
    pub const fn options(&self) -> &KeyedOptions {
        &self.options
    }
}

impl TryFrom<KeyedOptions> for KeyedConfig {
    type Error = BreakerConfigError;

    fn try_from(options: KeyedOptions) -> Result<Self, Self::Error> {
        if !(1..=65_536).contains(&options.capacity) {
            return Err(BreakerConfigError {
                key: "capacity",
                given: options.capacity.to_string(),
                allowed: "1 to 65536",
            });
        }
        let (second, day) = (Duration::from_secs(1), Duration::from_secs(24 * 3600));
        if !(second..=day).contains(&options.idle) {
            return Err(BreakerConfigError {
                key: "idle",
                given: format!("{:?}", options.idle),
                allowed: "1s to 24h",
            });
        }
        Ok(Self { options })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(capacity: u32, idle: Duration) -> Option<&'static str> {
        let options = KeyedOptions { capacity, idle };
        KeyedConfig::try_from(options).err().map(|error| error.key)
    }

    #[test]
    fn limits_outside_of_what_is_allowed_are_refused_by_name() {
        let (second, day) = (Duration::from_secs(1), Duration::from_secs(24 * 3600));
        assert_eq!(refused(1, second), None);
        assert_eq!(refused(65_536, day), None);
        assert_eq!(refused(0, second), Some("capacity"));
        assert_eq!(refused(65_537, second), Some("capacity"));
        assert_eq!(refused(1, Duration::from_millis(999)), Some("idle"));
        assert_eq!(refused(1, day + Duration::from_nanos(1)), Some("idle"));
    }

    #[test]
    fn the_defaults_are_those_of_the_documentation() {
        let options = *KeyedConfig::default().options();
        assert_eq!((options.capacity, options.idle.as_secs()), (1_024, 10 * 60));
    }
}
