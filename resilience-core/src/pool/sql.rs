//! What a statement is given as.

use std::{ops::Deref, sync::Arc};

use tokio_postgres::{Statement, ToStatement};

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
    fn text(&self) -> Option<&str>;
}

/// A prepared statement of [`Connection::prepare`](super::Connection::prepare).
///
/// It belongs to the connection that made it. Cloning is cheap.
#[derive(Clone)]
pub struct Prepared {
    statement: Statement,
    text: Arc<str>,
}

impl Prepared {
    pub(super) fn new(statement: Statement, text: &str) -> Self {
        Self {
            statement,
            text: text.into(),
        }
    }
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Prepared").field(&self.text).finish()
    }
}

impl Deref for Prepared {
    type Target = Statement;

    fn deref(&self) -> &Statement {
        &self.statement
    }
}

impl Sql for str {
    type Inner = str;
    fn inner(&self) -> &str {
        self
    }
    fn text(&self) -> Option<&str> {
        Some(self)
    }
}

impl Sql for String {
    type Inner = str;
    fn inner(&self) -> &str {
        self
    }
    fn text(&self) -> Option<&str> {
        Some(self)
    }
}

impl Sql for Prepared {
    type Inner = Statement;
    fn inner(&self) -> &Statement {
        &self.statement
    }
    fn text(&self) -> Option<&str> {
        Some(&self.text)
    }
}

/// One of tokio-postgres: its text is not known, so the session is cleaned
/// afterwards.
impl Sql for Statement {
    type Inner = Statement;
    fn inner(&self) -> &Statement {
        self
    }
    fn text(&self) -> Option<&str> {
        None
    }
}

mod sealed {
    pub trait Sealed: Sync {}
    impl Sealed for str {}
    impl Sealed for String {}
    impl Sealed for super::Prepared {}
    impl Sealed for tokio_postgres::Statement {}
}
