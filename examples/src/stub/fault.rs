//! What the stub is told to do wrong.

use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

/// How requests are treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Answered.
    #[default]
    Ok,
    /// Answered 503.
    Fail,
    /// Answered late.
    Slow,
    /// Never answered.
    Hang,
    /// The connection is refused, or reset.
    Refuse,
    /// Some are answered 503.
    Flaky,
}

/// A mode and its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Fault {
    /// How requests are treated.
    pub mode: Mode,
    /// How late `slow` answers. Up to 1 h. Default: 2 s.
    #[serde(serialize_with = "with_unit")]
    pub latency: Duration,
    /// The share of requests that `flaky` fails. Default: 0.5.
    pub ratio: Ratio,
    /// How long the answers to `/rates` say that they may be kept, in whole seconds
    /// (`Cache-Control: max-age=5`). Up to 1 h. Default: they say nothing of it.
    #[serde(serialize_with = "with_unit_if_any")]
    pub max_age: Option<Duration>,
}

/// A share, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratio(f64);

/// A fault that cannot be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FaultError {
    /// It is not JSON at all.
    #[error("the body is not JSON: {0}")]
    Syntax(serde_json::Error),
    /// It is JSON of another shape.
    #[error("{0}")]
    Shape(serde_json::Error),
    /// A value is outside of what is allowed.
    #[error("`{key}` is {given}, allowed: {allowed}")]
    Value {
        /// Its key.
        key: &'static str,
        /// What was given.
        given: String,
        /// What is allowed.
        allowed: &'static str,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFault {
    mode: Mode,
    latency: Option<String>,
    ratio: Option<f64>,
    max_age: Option<String>,
}

impl Default for Fault {
    fn default() -> Self {
        Self {
            mode: Mode::Ok,
            latency: Duration::from_secs(2),
            ratio: Ratio(0.5),
            max_age: None,
        }
    }
}

impl From<Mode> for Fault {
    fn from(mode: Mode) -> Self {
        Self {
            mode,
            ..Self::default()
        }
    }
}

impl Fault {
    /// Reads `{"mode": "slow", "latency": "2s", "ratio": 0.5, "max_age": "5s"}`; all
    /// but the mode may be left out.
    ///
    /// # Errors
    ///
    /// [`FaultError`], which says what was wrong and what is allowed.
    pub fn parse(json: &[u8]) -> Result<Self, FaultError> {
        let raw: RawFault = serde_json::from_slice(json).map_err(|error| {
            if error.is_data() {
                FaultError::Shape(error)
            } else {
                FaultError::Syntax(error)
            }
        })?;
        let mut fault = Self::from(raw.mode);
        if let Some(latency) = raw.latency {
            fault.latency = duration(&latency).ok_or_else(|| FaultError::Value {
                key: "latency",
                given: format!("{latency:?}"),
                allowed: "a number and a unit, up to \"1h\", such as \"250ms\" or \"2s\"",
            })?;
        }
        if let Some(max_age) = raw.max_age {
            let whole = duration(&max_age).filter(|max_age| max_age.subsec_nanos() == 0);
            let whole = whole.ok_or_else(|| FaultError::Value {
                key: "max_age",
                given: format!("{max_age:?}"),
                allowed: "whole seconds with a unit, up to \"1h\", such as \"5s\"",
            })?;
            fault.max_age = Some(whole);
        }
        if let Some(ratio) = raw.ratio {
            fault.ratio = Ratio::try_new(ratio)?;
        }
        Ok(fault)
    }
}

impl Ratio {
    /// The share, if it is one.
    ///
    /// # Errors
    ///
    /// [`FaultError::Value`] outside of 0 to 1, and for NaN.
    pub fn try_new(ratio: f64) -> Result<Self, FaultError> {
        if (0.0..=1.0).contains(&ratio) {
            Ok(Self(ratio))
        } else {
            Err(FaultError::Value {
                key: "ratio",
                given: ratio.to_string(),
                allowed: "0 to 1",
            })
        }
    }

    /// As a number.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }
}

fn duration(text: &str) -> Option<Duration> {
    let duration = humantime::parse_duration(text).ok()?;
    (duration <= Duration::from_secs(3600)).then_some(duration)
}

fn with_unit<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_duration(*duration))
}

fn with_unit_if_any<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => with_unit(duration, serializer),
        None => serializer.serialize_none(),
    }
}
