//! What is wrong with a configuration, all of it at once.

use std::fmt;

use super::tree::Origin;
use crate::one_line::one_line;

/// How many problems are kept and shown; the rest are only counted. Twenty
/// fill a terminal, and a file with more has one cause.
pub(super) const SHOWN: usize = 20;

/// How much of a value is shown.
const GIVEN_CHARS: usize = 60;

/// How much of a variable's name is shown: the longest key there is, with the
/// longest name of a service in it, fits.
const NAME_CHARS: usize = 160;

/// Everything that is wrong with a configuration.
///
/// Its `Display` is meant for stderr and the log: one line if there is one
/// problem, a heading and a line each if there are more. Each line stands on
/// its own: where, which key, what was given, what is allowed.
///
/// ```text
/// invalid configuration, 2 problems:
///   config.yaml:7:14: `database.pool_size` is `0`, allowed: 1 to 10000
///   config.yaml:8:3: unknown key `database.pool_timout`, did you mean `pool_timeout`?
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    problems: Vec<Problem>,
    total: usize,
}

impl ConfigErrors {
    /// The problems in the order of the file, then those of the environment.
    /// At least one, at most twenty.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// How many there are, those that are not kept included.
    #[must_use]
    pub fn total(&self) -> usize {
        self.total
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = self.problems.as_slice() {
            return write!(f, "invalid configuration: {only}");
        }
        write!(f, "invalid configuration, {} problems:", self.total)?;
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
        }
        match self.total - self.problems.len() {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

impl std::error::Error for ConfigErrors {}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// Where: `config.yaml:12:5` (line, column), a file's path, or the name
    /// of an environment variable.
    pub at: String,
    /// The full key, such as `services.payment_api.fallback.ttl`, where there is one.
    pub key: Option<String>,
    /// The value given, shortened; never that of an unknown key, which might
    /// be a password in the wrong place.
    pub given: Option<String>,
    /// A sentence that names key and value, and says what is allowed.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.message)
    }
}

/// Collects problems, bounded.
#[derive(Debug)]
pub(super) struct Problems {
    /// The file's path as given, or what stands for it.
    file: String,
    kept: Vec<(Order, Problem)>,
    total: usize,
}

/// Sorts by place in the file, then the environment.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Order {
    File(usize, usize),
    Env(String),
}

impl Problems {
    pub(super) fn new(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            kept: Vec::new(),
            total: 0,
        }
    }

    /// Adds one that concerns no key, such as a syntax error.
    pub(super) fn add(&mut self, origin: &Origin, message: impl Into<String>) {
        self.push(origin, None, None, message.into());
    }

    /// Adds one that concerns a key.
    pub(super) fn add_for(
        &mut self,
        origin: &Origin,
        key: &str,
        given: Option<String>,
        message: String,
    ) {
        self.push(origin, Some(key.to_owned()), given, message);
    }

    fn push(
        &mut self,
        origin: &Origin,
        key: Option<String>,
        given: Option<String>,
        message: String,
    ) {
        self.total += 1;
        if self.kept.len() >= SHOWN {
            return;
        }
        let (order, at) = match origin {
            Origin::Default => (Order::File(0, 0), self.file.clone()),
            Origin::File { line, column } => (
                Order::File(*line, *column),
                format!("{}:{line}:{column}", self.file),
            ),
            Origin::Env(name) => (Order::Env(name.to_string()), quoted_name(name)),
        };
        let problem = Problem {
            at,
            key,
            given,
            message,
        };
        self.kept.push((order, problem));
    }

    /// `Ok` if there are none.
    pub(super) fn into_result(self) -> Result<(), ConfigErrors> {
        if self.kept.is_empty() {
            Ok(())
        } else {
            Err(self.into_errors())
        }
    }

    /// For when there is one, as the caller knows.
    pub(super) fn into_errors(mut self) -> ConfigErrors {
        // Stable: two problems of one place stay in the order they were found.
        self.kept.sort_by(|a, b| a.0.cmp(&b.0));
        ConfigErrors {
            problems: self.kept.into_iter().map(|(_, problem)| problem).collect(),
            total: self.total,
        }
    }
}

/// A value fit for one line of a terminal: shortened, control characters escaped.
pub(super) fn quoted(text: &str) -> String {
    one_line(text, GIVEN_CHARS)
}

/// The same of a variable's name, which may hold anything but `=`.
pub(super) fn quoted_name(name: &str) -> String {
    one_line(name, NAME_CHARS)
}
