//! A connection to the server, whoever has it.

use std::sync::Arc;

use deadpool_postgres::ClientWrapper;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::{address::Address, desk::Desk, prepared};

/// deadpool-postgres' client with its cache of prepared statements, and what the
/// pool wants to know of it.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: ClientWrapper,
    /// The server that it is on.
    pub(super) address: Address,
    pub(super) desk: Arc<Desk>,
    /// Runs the connection until it ends.
    pub(super) driver: JoinHandle<()>,
    /// Statements that were prepared for any of its users.
    pub(super) prepared: prepared::Cache,
    /// A cancellation that is on its way; whether it is over in time.
    pub(super) cancelling: Mutex<Option<JoinHandle<bool>>>,
    /// When it is old enough to be replaced; `u64::MAX`: never.
    pub(super) dies_ns: u64,
    /// Of [`Pool::recycle`](super::Pool::recycle).
    pub(super) epoch: u64,
    /// Since when nobody uses it.
    pub(super) idle_since_ns: u64,
    /// When the server was last heard of over it.
    pub(super) heard_ns: u64,
}

impl Session {
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }
}
