//! Pools of PostgreSQL connections, behind one trait.
//!
//! | | before it hands one out | `SELECT 1` |
//! |---|---|---|
//! | ours | asks whether it is closed | prepared once for a connection |
//! | deadpool-postgres (`Fast`) | asks whether it is closed | prepared once for a connection |
//! | bb8 | sends an empty statement | parsed each time: it keeps none prepared |
//! | sqlx | pings | prepared once for a connection |
//!
//! All are in their default settings, except for the size where a row says one.

mod bb8;
mod deadpool;
mod ours;
mod sqlx;

pub use self::{bb8::Bb8, deadpool::Deadpool, ours::Ours, sqlx::Sqlx};

/// What `expect` says of a pool here: the server is ours and is never ended.
const WORKS: &str = "a server of our own answers";

/// A pool. A handle: clones share the connections.
pub trait Subject: Clone + Send + Sync + 'static {
    /// What it hands out; back in the pool when dropped.
    type Session: Session;

    /// A pool of so many connections at most; `None` is its own default. To be
    /// built within a runtime. It connects later.
    ///
    /// # Panics
    ///
    /// If the URL is none.
    fn build(url: &str, size: Option<u32>) -> Self;

    /// A connection.
    ///
    /// # Panics
    ///
    /// If there is none: a number of a pool that fails is no number.
    fn get(&self) -> impl Future<Output = Self::Session> + Send;
}

/// A connection that belongs to the caller until it is dropped.
pub trait Session: Send + 'static {
    /// `SELECT 1`, as short as a statement can be.
    ///
    /// # Panics
    ///
    /// If it fails.
    fn select_one(&mut self) -> impl Future<Output = ()> + Send;
}
