//! How a call went, and the classes that errors are told apart by.

use std::fmt;

/// How a finished call went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered as it should be.
    Success,
    /// It failed, and that speaks against the upstream.
    Failure(ErrorClass),
    /// It says nothing about the upstream: counted, and ignored by the
    /// breaker; a probe's slot is free again.
    Ignored,
}

/// A short name for a kind of error: field 5 of a log line, `class` in the
/// flight recorder. Free to copy and compare.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ErrorClass(u16);

impl ErrorClass {
    /// Any error that nobody told apart: `error`.
    pub const OTHER: Self = Self(1);
    /// No answer in time: `timeout`.
    pub const TIMEOUT: Self = Self(2);
    /// No connection: `connect`.
    pub const CONNECT: Self = Self(3);
    /// A connection that broke before the answer was there: `connection`.
    pub const CONNECTION: Self = Self(4);

    /// An HTTP status: `http_503`.
    #[must_use]
    pub const fn http(status: u16) -> Self {
        // Statuses are 100 to 999 by definition, far from the names above.
        if status < 100 {
            Self::OTHER
        } else {
            Self(status)
        }
    }

    pub(super) const fn code(self) -> u16 {
        self.0
    }

    pub(super) const fn from_code(code: u16) -> Self {
        Self(code)
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            2 => f.write_str("timeout"),
            3 => f.write_str("connect"),
            4 => f.write_str("connection"),
            status @ 100.. => write!(f, "http_{status}"),
            _ => f.write_str("error"),
        }
    }
}

impl fmt::Debug for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ErrorClass({self})")
    }
}
