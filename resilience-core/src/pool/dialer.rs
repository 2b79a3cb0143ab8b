//! Makes one connection for those who wait, and goes on trying while they do.

use std::{
    future::Future,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use deadpool_postgres::ClientWrapper;
use parking_lot::Mutex;
use tokio_postgres::Client;

use super::{
    desk::{Counted, Desk},
    dial::{ConnectError, Driver, dial},
    inner::Inner,
    prepared, report,
    session::Session,
    stats::one,
};
use crate::clock::saturating_ns;

/// Room has been reserved for the connection; it is given back if there is none.
pub(super) fn run(inner: Arc<Inner>) -> impl Future<Output = ()> + Send {
    // Before the first poll: a runtime that is ending polls nothing any more.
    let reserved = Reserved { inner: Some(inner) };
    dial_until_made(reserved)
}

async fn dial_until_made(mut reserved: Reserved) {
    while let Some(inner) = reserved.inner.clone() {
        let pause = inner.gate.pause();
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        if !inner.queue.is_wanted() {
            return;
        }
        match connect(&inner).await {
            Ok(session) => {
                if inner.gate.up() {
                    report::server_is_back(&inner);
                }
                if !session.desk.counts_until_gone() {
                    // It is gone already.
                    inner.gate.suspect();
                    continue;
                }
                reserved.inner = None;
                inner.end_if_not_kept(inner.queue.made(Box::new(session)));
                inner.want_more();
                return;
            }
            Err(error) => {
                one(&inner.stats.dial_failures);
                if inner.gate.down(&error) {
                    report::server_is_down(&inner, &error);
                }
                if !error.kind().may_pass() {
                    reserved.inner = None;
                    inner.queue.not_made(Some(error));
                    return;
                }
                // One is enough while it is down.
                if inner.queue.counts().making > 1 {
                    return;
                }
            }
        }
    }
}

struct Reserved {
    inner: Option<Arc<Inner>>,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.take() {
            inner.queue.not_made(None);
            // Somebody may have come since this one looked.
            inner.want_more();
        }
    }
}

async fn connect(inner: &Arc<Inner>) -> Result<Session, ConnectError> {
    let settings = inner.settings.load_full();
    one(&inner.stats.dials);
    let begun = Instant::now();
    let dialled = dial(&*inner.transport, &settings.postgres, settings.connect);
    let (client, driver, address) = dialled.await?;
    let desk = Arc::new(Desk::new());
    let driver = drive(inner, driver, &desk);
    let left = settings.connect.saturating_sub(begun.elapsed());
    let known = tokio::time::timeout(left, backend_pid(&client)).await;
    match known {
        Ok(Ok(pid)) => desk.is_served_by(pid),
        Ok(Err(error)) => return Err(error.into()),
        Err(_) => return Err(ConnectError::timeout(settings.connect)),
    }
    inner.stats.connect.note_time(begun.elapsed());
    let now_ns = inner.clock.now_ns();
    Ok(Session {
        // It would end its task at once when dropped, without a goodbye to the
        // server: so the driver is kept beside it.
        client: ClientWrapper::new(client, tokio::spawn(async {})),
        address,
        desk,
        driver,
        prepared: prepared::Cache::default(),
        cancelling: Mutex::default(),
        dies_ns: settings.lifetime.map_or(u64::MAX, |lifetime| {
            now_ns.saturating_add(jittered(lifetime))
        }),
        epoch: inner.epoch.load(Relaxed),
        idle_since_ns: now_ns,
        heard_ns: now_ns,
    })
}

async fn backend_pid(client: &Client) -> Result<i32, tokio_postgres::Error> {
    client
        .query_one("SELECT pg_backend_pid()", &[])
        .await?
        .try_get(0)
}

/// A tenth less at most, so that connections that were made together do not all
/// have to be made anew together.
fn jittered(lifetime: Duration) -> u64 {
    saturating_ns(lifetime.mul_f64(1.0 - fastrand::f64() / 10.0))
}

/// Runs a connection; when it ends, it counts no longer.
fn drive(inner: &Arc<Inner>, driver: Driver, desk: &Arc<Desk>) -> tokio::task::JoinHandle<()> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Relaxed);
    inner.desks.lock().insert(number, Arc::clone(desk));
    let gone = Gone {
        inner: Arc::downgrade(inner),
        number,
        desk: Arc::clone(desk),
    };
    tokio::spawn(async move {
        let _gone = gone;
        if let Err(error) = driver.await {
            tracing::debug!("a database connection ended: {error}");
        }
    })
}

struct Gone {
    inner: Weak<Inner>,
    number: u64,
    desk: Arc<Desk>,
}

impl Drop for Gone {
    fn drop(&mut self) {
        let counted = self.desk.is_gone();
        let Some(inner) = self.inner.upgrade() else {
            return;
        };
        inner.desks.lock().remove(&self.number);
        if counted != Counted::No {
            inner.queue.ended(counted == Counted::AsEnding);
            inner.want_more();
        }
    }
}
