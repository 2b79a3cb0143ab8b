//! The thread that writes to a store what has changed.
//!
//! A thread, and a runtime of its own: a file blocks, and a service whose runtime
//! is busy must still keep what it promised to keep.

use std::{
    mem,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use super::{
    Change, Store, StoreError,
    health::{Health, count},
    now_ms,
    queue::{Batch, Queue, Wish},
};
use crate::fallback::Record;

/// How long a change waits for others to be written with. What is kept must outlive
/// a kill a second later, and a batch takes some tens of milliseconds.
const GATHER: Duration = Duration::from_millis(200);

/// After a failure it is tried again so much later, and twice as long each time.
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_LAST: Duration = Duration::from_secs(5);

/// A store ends by itself long before; one that does not must not be waited for. So long
/// takes a record that is read again, too.
const WRITE_WITHIN: Duration = Duration::from_secs(30);

/// How long the last batches may take when nobody uses the store any more.
const LAST_WITHIN: Duration = Duration::from_secs(2);

/// One record of so many batches is read again, and one a minute in any case.
const SHADOW_EVERY: u32 = 64;
const SHADOW_AT_LATEST: Duration = Duration::from_secs(60);

/// What the handles and the writer share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) store: Arc<dyn Store>,
    pub(super) place: String,
    pub(super) queue: Mutex<Queue>,
    pub(super) health: Health,
    orders: Mutex<Orders>,
    /// There is something to do.
    wake: Notify,
    /// The writer has done something.
    done: Condvar,
}

#[derive(Debug, Default)]
struct Orders {
    /// Write without waiting for more.
    now: bool,
    /// Nobody is left.
    closed: bool,
    /// The writer is gone: nothing is written any more.
    ended: bool,
}

impl Shared {
    pub(super) fn start(store: Arc<dyn Store>) -> Arc<Self> {
        let shared = Arc::new(Self {
            place: store.place(),
            store,
            queue: Mutex::default(),
            health: Health::default(),
            orders: Mutex::default(),
            wake: Notify::new(),
            done: Condvar::new(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("the system has a few descriptors left");
        let writer = Writer {
            // Told also if the store panics.
            ended: Ended(Arc::clone(&shared)),
            failures: 0,
            batches: 0,
            shadowed: Instant::now(),
        };
        std::thread::Builder::new()
            .name("fallback-store".to_owned())
            .spawn(move || runtime.block_on(writer.run()))
            .expect("the system has a thread left");
        shared
    }

    pub(super) fn put(&self, key: Bytes, wish: Wish) {
        let (fits, in_a_hurry) = {
            let mut queue = self.queue.lock();
            (queue.put(key, wish), queue.is_half_full())
        };
        if !fits {
            count(&self.health.not_written, 1);
        }
        if in_a_hurry {
            self.orders.lock().now = true;
        }
        self.wake.notify_one();
    }

    pub(super) fn clear(&self, prefix: Bytes) {
        self.queue.lock().clear(prefix);
        self.wake.notify_one();
    }

    pub(super) fn flush(&self, within: Duration) -> bool {
        let until = Instant::now() + within;
        loop {
            let mut orders = self.orders.lock();
            // Asked under the lock that the writer holds when it says that it is done.
            if self.queue.lock().is_empty() {
                return true;
            }
            if orders.ended {
                return false;
            }
            orders.now = true;
            self.wake.notify_one();
            if self.done.wait_until(&mut orders, until).timed_out() {
                return self.queue.lock().is_empty();
            }
        }
    }

    pub(super) fn close(&self) {
        self.orders.lock().closed = true;
        self.wake.notify_one();
    }

    fn tell_done(&self) {
        drop(self.orders.lock());
        self.done.notify_all();
    }
}

/// Says that the writer is gone, when it is.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.orders.lock().ended = true;
        self.0.done.notify_all();
    }
}

struct Writer {
    ended: Ended,
    /// In a row.
    failures: u32,
    batches: u32,
    shadowed: Instant,
}

impl Writer {
    async fn run(mut self) {
        while !self.closed() {
            if self.shared().queue.lock().has_work() {
                self.gather().await;
                self.write().await;
            } else {
                self.shared().wake.notified().await;
            }
        }
        let last = async {
            while self.shared().queue.lock().has_work() {
                self.write().await;
                if self.failures > 0 {
                    tokio::time::sleep(RETRY_FIRST).await;
                }
            }
        };
        let _ = tokio::time::timeout(LAST_WITHIN, last).await;
        let lost = self.shared().queue.lock().records();
        if lost > 0 {
            tracing::warn!(
                place = self.shared().place,
                "{lost} answers could not be written to the fallback's store before the end"
            );
        }
    }

    fn shared(&self) -> &Shared {
        &self.ended.0
    }

    fn closed(&self) -> bool {
        self.shared().orders.lock().closed
    }

    /// Waits for more to write, or until a store that failed may be tried again.
    async fn gather(&self) {
        let wait = match self.failures {
            // Since the first of them came: while the last batch was synced it has
            // waited too.
            0 => {
                let since = self.shared().queue.lock().since();
                GATHER.saturating_sub(since.map_or(GATHER, |since| since.elapsed()))
            }
            failures => RETRY_FIRST
                .saturating_mul(1 << (failures - 1).min(10))
                .min(RETRY_LAST),
        };
        let told = async {
            while !self.in_a_hurry() {
                self.shared().wake.notified().await;
            }
        };
        let _ = tokio::time::timeout(wait, told).await;
    }

    fn in_a_hurry(&self) -> bool {
        let mut orders = self.shared().orders.lock();
        // A full queue is no reason to ask a store that fails more often.
        mem::take(&mut orders.now) && self.failures == 0 || orders.closed
    }

    async fn write(&mut self) {
        let batch = self.shared().queue.lock().take();
        let now_ms = now_ms();
        let changes = batch.changes(now_ms);
        let shared = self.shared();
        let writing = self.write_batch(&batch, &changes);
        let wrote = tokio::time::timeout(WRITE_WITHIN, writing).await;
        let wrote = wrote.unwrap_or_else(|_| {
            Err(StoreError::TooSlow {
                store: shared.store.kind(),
                within: WRITE_WITHIN,
            })
        });
        shared
            .health
            .write(wrote.as_ref().map(|_| ()), &shared.place);
        let failed = wrote.is_err();
        if let Ok(written) = wrote {
            count(&shared.health.written, written);
            let records = batch.records() as u64;
            count(&shared.health.not_written, records.saturating_sub(written));
        }
        shared.queue.lock().done(failed);
        shared.tell_done();
        if failed {
            self.failures = self.failures.saturating_add(1);
        } else {
            self.failures = 0;
            self.shadow(&changes).await;
        }
    }

    async fn write_batch(&self, batch: &Batch, changes: &[Change]) -> Result<u64, StoreError> {
        let store = &self.shared().store;
        for prefix in &batch.clears {
            let gone = store.clear(prefix).await?;
            let place = &self.shared().place;
            tracing::debug!(place, "{gone} answers of a fallback were cleared");
        }
        if changes.is_empty() {
            return Ok(0);
        }
        store.write(changes).await
    }

    /// Reads one of the records that were just written, to see that it can be.
    async fn shadow(&mut self, changes: &[Change]) {
        let kept: Vec<&Change> = changes.iter().filter(|one| one.record.is_some()).collect();
        let Some(index) = (!kept.is_empty()).then(|| fastrand::usize(..kept.len())) else {
            return;
        };
        self.batches = self.batches.wrapping_add(1);
        // The first batch too: it is the one after a new version was installed.
        let due = self.batches % SHADOW_EVERY == 1 || self.shadowed.elapsed() >= SHADOW_AT_LATEST;
        if !due {
            return;
        }
        self.shadowed = Instant::now();
        let shared = self.shared();
        // One that is not there was dropped for want of room, or by somebody else;
        // a store that fails is told by the next batch.
        let reading = shared.store.read_again(&kept[index].key);
        if let Ok(Ok(Some(bytes))) = tokio::time::timeout(WRITE_WITHIN, reading).await {
            count(&shared.health.shadow_reads, 1);
            if let Err(error) = Record::decode(&bytes) {
                let before = shared.health.shadow_failures.fetch_add(1, Relaxed);
                if before == 0 {
                    let place = &shared.place;
                    tracing::warn!(place, "the fallback's store gave back {error}");
                }
            }
        }
    }
}
