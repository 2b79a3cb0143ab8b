//! Records in a file of this machine.
//!
//! The file is an embedded database: a batch is one transaction and one fsync, and
//! what a crash leaves behind is the last whole one. `table` is what is in it,
//! `open` decides what becomes of a file that cannot be used, `reader` is the thread
//! that reads.

mod open;
mod reader;
mod table;

use std::{
    fmt, fs,
    os::unix::fs::MetadataExt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use redb::Database;

use super::{Change, Store, StoreError, StoreFuture, now_ms};
use crate::one_line::one_line;
pub use open::OpenError;
use open::Wait;
use reader::Reader;

const KIND: &str = "file";

/// Characters of what the database or the system says.
const LONGEST_REASON: usize = 300;

/// The smallest bound that is taken, in bytes; less is raised to it.
const LEAST_BYTES: u64 = 1 << 20;

/// Keeps records in one file, which belongs to one process at a time.
///
/// The file is no larger than its bound, but for moments: when it is full, the
/// records that were written first go first. A full one has a quarter to a half of
/// the bound in records; the rest is pages that are not full and room for the next
/// batch. Each batch is synced to the disk.
/// What the system refuses later (a full disk) closes the file; batches, and now and
/// then a read, try to open it again.
///
/// A disk that alters what is in the file makes the database panic. Such a panic is
/// caught, and the file is set aside; a program built with `panic = "abort"` ends, and
/// sets it aside when it is started again.
///
/// # Example
///
/// ```no_run
/// use resilience_core::fallback::store::{FileStore, SecondLevel};
///
/// let file = "/var/lib/payments/fallback.redb";
/// let store = FileStore::open(file, 256 << 20).unwrap_or_else(|error| {
///     tracing::warn!("{error}");
///     FileStore::later(file, 256 << 20)
/// });
/// let second = SecondLevel::new(store);
/// ```
pub struct FileStore {
    inner: Arc<Inner>,
    reader: Reader,
}

struct Inner {
    path: PathBuf,
    most_bytes: u64,
    /// Locked to write only to open, close or compact it.
    database: RwLock<Option<Open>>,
    /// Why it is not open.
    why_closed: Mutex<String>,
    /// Held by the one who opens it: to open it twice is to find it locked.
    opening: Mutex<()>,
    /// A read found something that cannot be; the next write looks into it.
    suspect: AtomicBool,
}

struct Open {
    database: Database,
    /// The file's number, to see whether somebody has removed it.
    inode: u64,
}

impl FileStore {
    /// Opens the file, or makes it, readable for its owner only. It grows to
    /// `most_bytes`, at least 1 MiB. A damaged one, and one of another version, is
    /// set aside as `….corrupt-<unix time>` with a warning in the log, and a new one
    /// begun; the last two such are kept.
    ///
    /// Blocks: it reads the whole file to see that it is sound, some 100 ms for
    /// 100 MiB, and waits half a second for a predecessor that is about to end.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: what is in the way, and what to do.
    pub fn open(path: impl Into<PathBuf>, most_bytes: u64) -> Result<Self, OpenError> {
        let store = Self::later(path, most_bytes);
        store.inner.open(Wait::ForAMoment)?;
        Ok(store)
    }

    /// The same without opening it: the first read or batch does, or one of those
    /// after it. For when [`open`](Self::open) has failed and a service
    /// goes on without: it has its file as soon as what was in the way is gone.
    #[must_use]
    pub fn later(path: impl Into<PathBuf>, most_bytes: u64) -> Self {
        let inner = Arc::new(Inner {
            path: path.into(),
            most_bytes: most_bytes.max(LEAST_BYTES),
            database: RwLock::new(None),
            why_closed: Mutex::new("it has not been opened yet".to_owned()),
            opening: Mutex::new(()),
            suspect: AtomicBool::new(false),
        });
        Self {
            reader: Reader::start(Arc::clone(&inner)),
            inner,
        }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }
}

/// Closes the file now, for whoever opens it next: the thread that reads ends a
/// little later.
impl Drop for FileStore {
    fn drop(&mut self) {
        self.inner.close("the store is gone".to_owned());
    }
}

impl Store for FileStore {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn place(&self) -> String {
        self.inner.path.display().to_string()
    }

    fn read(&self, key: &[u8]) -> StoreFuture<'_, Option<Bytes>> {
        self.reader.read(key)
    }

    fn read_again(&self, key: &[u8]) -> StoreFuture<'_, Option<Bytes>> {
        let read = self.inner.read(key);
        Box::pin(std::future::ready(read))
    }

    fn write(&self, changes: &[Change]) -> StoreFuture<'_, u64> {
        let written = self
            .inner
            .write(|open, most_bytes| table::write(&open.database, changes, most_bytes, now_ms()));
        Box::pin(std::future::ready(written))
    }

    fn clear(&self, prefix: &[u8]) -> StoreFuture<'_, u64> {
        let gone = self
            .inner
            .write(|open, _| table::clear(&open.database, prefix));
        Box::pin(std::future::ready(gone))
    }
}

impl Inner {
    fn is_open(&self) -> bool {
        self.database.read().is_some()
    }

    /// Opens it unless it is open.
    fn open(&self, wait: Wait) -> Result<(), OpenError> {
        let _one = self.opening.lock();
        if self.is_open() {
            return Ok(());
        }
        let opened = open::open(&self.path, self.most_bytes, wait);
        let opened = opened.inspect_err(|error| *self.why_closed.lock() = error.to_string())?;
        // ordering: Relaxed. It is a hint; the lock orders what matters.
        self.suspect.store(false, Relaxed);
        *self.database.write() = Some(opened);
        Ok(())
    }

    fn close(&self, why: String) {
        *self.why_closed.lock() = why;
        let closed = self.database.write().take();
        // A database that found its file damaged may panic as it closes it.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(closed)));
    }

    fn read(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let open = self.database.read();
        let Some(Open { database, .. }) = &*open else {
            return Err(failed(&self.why_closed.lock()));
        };
        let read = unless_it_panics(|| table::read(database, key));
        read.map_err(|why| {
            // ordering: as above.
            self.suspect.store(true, Relaxed);
            failed(&why)
        })
    }

    fn write(
        &self,
        change: impl FnOnce(&Open, u64) -> Result<u64, redb::Error>,
    ) -> Result<u64, StoreError> {
        self.make_sure_it_is_open()?;
        let open = self.database.read();
        let Some(file) = &*open else {
            return Err(failed(&self.why_closed.lock()));
        };
        let wrote = unless_it_panics(|| change(file, self.most_bytes));
        drop(open);
        match wrote {
            Ok(count) => {
                self.compact_if_too_large();
                Ok(count)
            }
            Err(why) => {
                // Whatever it was: the next one opens it, which tells a damaged file
                // from a full disk.
                self.close(why.clone());
                Err(failed(&why))
            }
        }
    }

    fn make_sure_it_is_open(&self) -> Result<(), StoreError> {
        let inode = self.database.read().as_ref().map(|open| open.inode);
        if let Some(inode) = inode {
            let same = fs::metadata(&self.path).is_ok_and(|now| now.ino() == inode);
            // ordering: as above.
            if same && !self.suspect.load(Relaxed) {
                return Ok(());
            }
            self.close("it is opened again".to_owned());
        }
        self.open(Wait::No)
            .map_err(|error| failed(&error.to_string()))
    }

    /// What is removed leaves holes; they are used again, and now and then there are
    /// too many.
    fn compact_if_too_large(&self) {
        let len = fs::metadata(&self.path).map_or(0, |now| now.len());
        if len <= self.most_bytes {
            return;
        }
        let mut open = self.database.write();
        if let Some(open) = &mut *open {
            let compacted = unless_it_panics(|| Ok(open.database.compact()?));
            let now = fs::metadata(&self.path).map_or(0, |now| now.len());
            tracing::debug!(?compacted, "the fallback's file: {len} to {now} bytes");
        }
    }
}

fn failed(why: &str) -> StoreError {
    StoreError::Failed {
        store: KIND,
        message: one_line(why, LONGEST_REASON),
    }
}

/// What the database says, or that it panicked: it trusts what it reads of its
/// file, and a disk may alter that behind its back.
fn unless_it_panics<T>(work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err("the database panicked: its file is damaged".to_owned()),
    }
}

impl fmt::Debug for FileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner {
            path, most_bytes, ..
        } = &*self.inner;
        f.debug_struct("FileStore")
            .field("path", path)
            .field("most_bytes", most_bytes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
