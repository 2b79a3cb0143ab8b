//! Which records are written.

use std::str::FromStr;

use tracing::{Level, Metadata, metadata::LevelFilter};
use tracing_subscriber::filter::Targets;

use super::span::{CORRELATION, STARTUP};

/// Which records are written: a level, and levels of single targets.
///
/// `info`, `warn,payments=debug`, `off`. Default: `info`.
///
/// Two things pass whatever the level is: the span that carries the
/// correlation id (else the errors of a service at level `error` could not be
/// found by it), and the startup steps (a handful, and `grep startup` is the
/// first thing to do with a service that does not come up).
///
/// # Example
///
/// ```
/// use resilience_core::log::LogFilter;
///
/// assert!("info,payments::rates=debug".parse::<LogFilter>().is_ok());
/// assert!("inof".parse::<LogFilter>().is_err());
/// ```
#[derive(Clone, Debug)]
pub struct LogFilter {
    targets: Targets,
    text: String,
}

/// Part of a filter that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the log level has the part {given:?}, allowed: off, error, warn, info, debug, trace, \
     and after it TARGET=LEVEL, parted by commas, such as info,tower=warn"
)]
pub struct LogFilterError {
    /// The part.
    pub given: String,
}

impl LogFilter {
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn allows(&self, metadata: &Metadata<'_>) -> bool {
        let always = if metadata.is_span() {
            metadata.target() == CORRELATION
        } else {
            metadata.target() == STARTUP && *metadata.level() <= Level::INFO
        };
        always
            || self
                .targets
                .would_enable(metadata.target(), metadata.level())
    }

    /// The most verbose level that anything is written at.
    pub(super) fn max_level(&self) -> LevelFilter {
        let max = self.targets.iter().map(|(_, level)| level);
        max.chain(self.targets.default_level())
            // The startup steps.
            .chain([LevelFilter::INFO])
            .max()
            .unwrap_or(LevelFilter::INFO)
    }
}

impl Default for LogFilter {
    fn default() -> Self {
        Level::INFO.into()
    }
}

impl From<Level> for LogFilter {
    fn from(level: Level) -> Self {
        Self {
            targets: Targets::new().with_default(level),
            text: level.as_str().to_ascii_lowercase(),
        }
    }
}

impl FromStr for LogFilter {
    type Err = LogFilterError;

    // Not `Targets::from_str`: it takes `inof` for a target of which all is
    // wanted, and the log falls silent over a typing error.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut targets = Targets::new();
        let mut default = None;
        for part in text.split(',').map(str::trim) {
            let wrong = || LogFilterError {
                given: part.to_owned(),
            };
            if let Some((target, level)) = part.split_once('=') {
                let target = target.trim();
                if target.is_empty() {
                    return Err(wrong());
                }
                targets = targets.with_target(target, level_of(level).ok_or_else(wrong)?);
            } else if default.replace(level_of(part).ok_or_else(wrong)?).is_some() {
                // Two levels: which one was meant?
                return Err(wrong());
            }
        }
        Ok(Self {
            targets: targets.with_default(default.unwrap_or(LevelFilter::INFO)),
            text: text.to_owned(),
        })
    }
}

fn level_of(word: &str) -> Option<LevelFilter> {
    Some(match word.trim().to_ascii_lowercase().as_str() {
        "off" => LevelFilter::OFF,
        "error" => LevelFilter::ERROR,
        "warn" => LevelFilter::WARN,
        "info" => LevelFilter::INFO,
        "debug" => LevelFilter::DEBUG,
        "trace" => LevelFilter::TRACE,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_is_refused_and_named() {
        for (given, part) in [
            ("inof", "inof"),
            ("info,tower=wran", "tower=wran"),
            ("info,debug", "debug"),
            ("", ""),
            ("info,=warn", "=warn"),
        ] {
            let error = given.parse::<LogFilter>().expect_err(given);
            assert_eq!(error.given, part);
        }
    }

    #[test]
    fn a_target_without_a_level_before_it_leaves_the_rest_at_info() {
        let filter: LogFilter = "tower=trace".parse().expect("valid");
        assert!(filter.targets.would_enable("tower::x", &Level::TRACE));
        assert!(filter.targets.would_enable("other", &Level::INFO));
        assert!(!filter.targets.would_enable("other", &Level::DEBUG));
        assert_eq!(filter.max_level(), LevelFilter::TRACE);
    }
}
