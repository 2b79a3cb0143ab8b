//! Why a service did not start.

use std::{io::Write, process::ExitCode};

use crate::{config::ConfigErrors, control::ControlError};

/// Why a service did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration is wrong.
    #[error("{0}")]
    Config(#[from] ConfigErrors),
    /// The control plane could not start.
    #[error("{error}{cause}", error = .0, cause = cause_of(.0))]
    Control(#[from] ControlError),
    /// The service's name cannot name files.
    #[error(
        "the service's name is `{0}`, allowed: 1 to 64 letters, digits, `-`, `_` and `.`, \
         not beginning with `.`"
    )]
    Name(String),
    /// There is no tokio runtime here.
    #[error(
        "there is no tokio runtime here; call `start` inside of the service's `#[tokio::main]`"
    )]
    NoRuntime,
}

impl StartError {
    pub(super) const fn step(&self) -> &'static str {
        match self {
            Self::Config(_) => "configuration",
            Self::Control(_) => "control",
            Self::Name(_) => "name",
            Self::NoRuntime => "runtime",
        }
    }

    /// Says it on standard error, and gives the exit code to end with: 78 for
    /// a wrong configuration (`EX_CONFIG` of `sysexits.h`), else 1.
    #[must_use]
    pub fn report(&self) -> ExitCode {
        // Standard error may be closed; the log has it as well.
        let _ = writeln!(std::io::stderr(), "startup: {self}");
        match self {
            Self::Config(_) => ExitCode::from(78),
            Self::Control(_) | Self::Name(_) | Self::NoRuntime => ExitCode::FAILURE,
        }
    }
}

fn cause_of(error: &ControlError) -> String {
    let source = std::error::Error::source(error);
    source.map_or_else(String::new, |source| format!(": {source}"))
}
