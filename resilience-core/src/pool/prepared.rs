//! Statements that stay prepared on a connection.

use std::{
    borrow::Borrow,
    collections::HashSet,
    fmt,
    hash::{Hash, Hasher},
    ops::Deref,
    sync::Arc,
};

use ahash::RandomState;
use parking_lot::Mutex;
use tokio_postgres::Statement;

use super::statement::{self, Leaves};

/// A prepared statement of [`Connection::prepare`](super::Connection::prepare).
///
/// It belongs to the connection that made it. Cloning is cheap.
#[derive(Clone)]
pub struct Prepared(Arc<Known>);

/// A statement, and what can be said of it once for all its runs.
pub(super) struct Known {
    pub(super) statement: Statement,
    pub(super) text: Box<str>,
    pub(super) leaves: Leaves,
    pub(super) fingerprint: u64,
}

impl Prepared {
    pub(super) fn new(statement: Statement, text: &str) -> Self {
        Self(Arc::new(Known {
            statement,
            text: text.into(),
            leaves: Leaves::of(text),
            fingerprint: statement::fingerprint(text),
        }))
    }

    pub(super) fn known(&self) -> &Known {
        &self.0
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Prepared").field(&self.0.text).finish()
    }
}

impl Deref for Prepared {
    type Target = Statement;

    fn deref(&self) -> &Statement {
        &self.0.statement
    }
}

/// So many texts stay prepared on a connection. More are no set of statements but one with
/// its values written into it.
pub(super) const MOST_KEPT: usize = 1_000;

/// The statements of one connection by their texts: at most [`MOST_KEPT`], for they stay
/// prepared on the server, too.
///
/// Before deadpool-postgres' own cache, which has the statements that users of
/// [`raw`](super::Connection::raw) find: here is found with a statement what is known of its
/// text, and nothing is allocated for it.
#[derive(Debug, Default)]
pub(super) struct Cache(Mutex<HashSet<ByText, RandomState>>);

impl Cache {
    pub(super) fn find(&self, text: &str) -> Option<Prepared> {
        self.0.lock().get(text).map(|found| found.0.clone())
    }

    /// Whether no other one is to stay prepared.
    pub(super) fn is_full(&self) -> bool {
        self.0.lock().len() >= MOST_KEPT
    }

    /// Keeps one; the one that is kept, if another was faster.
    pub(super) fn keep(&self, prepared: Prepared) -> Prepared {
        let mut kept = self.0.lock();
        if let Some(first) = kept.get(&*prepared.0.text) {
            let first = first.0.clone();
            drop(kept);
            return first;
        }
        kept.insert(ByText(prepared.clone()));
        prepared
    }
}

#[derive(Debug)]
struct ByText(Prepared);

impl Borrow<str> for ByText {
    fn borrow(&self) -> &str {
        &self.0.0.text
    }
}

impl PartialEq for ByText {
    fn eq(&self, other: &Self) -> bool {
        self.0.0.text == other.0.0.text
    }
}

impl Eq for ByText {}

// As its text, by which it is looked for.
impl Hash for ByText {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.0.text.hash(state);
    }
}
