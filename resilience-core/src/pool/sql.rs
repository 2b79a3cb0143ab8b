//! What a statement is given as.

use tokio_postgres::{Statement, ToStatement};

use super::{
    prepared::Prepared,
    statement::{self, Leaves},
};

/// A statement: its text, or one that was prepared.
///
/// As tokio-postgres' `ToStatement`, which hides the text that log lines and
/// reports of leaks name. Sealed.
pub trait Sql: sealed::Sealed {
    /// What tokio-postgres takes.
    #[doc(hidden)]
    type Inner: ?Sized + ToStatement + Sync;
    #[doc(hidden)]
    fn inner(&self) -> &Self::Inner;
    #[doc(hidden)]
    fn text(&self) -> Text<'_>;
}

/// The text of a statement, and what is known of it.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    pub(super) text: Option<&'a str>,
    /// What it leaves behind, and its fingerprint, if it was looked at before.
    known: Option<(Leaves, u64)>,
}

/// What is said of a statement whose text is not known.
const UNKNOWN: &str = "(a statement prepared elsewhere)";

impl<'a> Text<'a> {
    pub(super) const fn of(text: &'a str) -> Self {
        Self {
            text: Some(text),
            known: None,
        }
    }

    pub(super) fn shown(self) -> &'a str {
        self.text.unwrap_or(UNKNOWN)
    }

    pub(super) fn leaves(self) -> Leaves {
        match (self.known, self.text) {
            (Some((leaves, _)), _) => leaves,
            (None, Some(text)) => Leaves::of(text),
            // One that we have not seen may be anything.
            (None, None) => Leaves::Traces,
        }
    }

    pub(super) fn fingerprint(self) -> u64 {
        match self.known {
            Some((_, fingerprint)) => fingerprint,
            None => statement::fingerprint(self.shown()),
        }
    }
}

impl Sql for str {
    type Inner = str;
    fn inner(&self) -> &str {
        self
    }
    fn text(&self) -> Text<'_> {
        Text::of(self)
    }
}

impl Sql for String {
    type Inner = str;
    fn inner(&self) -> &str {
        self
    }
    fn text(&self) -> Text<'_> {
        Text::of(self)
    }
}

impl Sql for Prepared {
    type Inner = Statement;
    fn inner(&self) -> &Statement {
        &self.known().statement
    }
    fn text(&self) -> Text<'_> {
        let known = self.known();
        Text {
            text: Some(&known.text),
            known: Some((known.leaves, known.fingerprint)),
        }
    }
}

/// One of tokio-postgres: its text is not known, so the session is cleaned
/// afterwards.
impl Sql for Statement {
    type Inner = Statement;
    fn inner(&self) -> &Statement {
        self
    }
    fn text(&self) -> Text<'_> {
        Text {
            text: None,
            known: None,
        }
    }
}

mod sealed {
    pub trait Sealed: Sync {}
    impl Sealed for str {}
    impl Sealed for String {}
    impl Sealed for super::Prepared {}
    impl Sealed for tokio_postgres::Statement {}
}
