//! The settings in force.

use super::rules::Rules;
use crate::config::{FallbackConfig, FallbackStrategy};

/// What a call looks at: one picture of it, so that a change is seen whole.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The switch, if it was used, and else the configuration.
    pub(crate) enabled: bool,
    pub(crate) strategy: FallbackStrategy,
    pub(crate) rules: Rules,
    /// As it was given.
    pub(crate) config: FallbackConfig,
}

impl Settings {
    pub(super) fn new(config: &FallbackConfig, switched: Option<bool>) -> Self {
        Self {
            enabled: switched.unwrap_or(config.enabled),
            strategy: config.strategy,
            rules: Rules::new(config),
            config: config.clone(),
        }
    }

    /// Whether stored answers are handed out.
    #[inline]
    pub(crate) fn serves(&self) -> bool {
        self.enabled && self.strategy == FallbackStrategy::Cache
    }
}
