//! Who changed what: an append-only file of JSON lines.
//!
//! A line is written before the answer is sent. A line that cannot be written
//! is logged and counted, but does not stop the change: at 3 a.m. a full disk
//! must not stand between the engineer and the reset.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
};

use jiff::Timestamp;
use resilience_core::control::NewLimits;
use rustix::fs::OFlags;
use serde::Serialize;
use serde_json::Value;
use tokio::{sync::oneshot, time};

/// The file is moved to `.1` before it would grow beyond this.
pub const MAX_BYTES: u64 = 10 << 20;

/// Lines waiting for the disk.
const QUEUE: usize = 64;

/// How long an answer waits for its line.
const PATIENCE: Duration = Duration::from_millis(75);

/// One line.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// When it was done.
    pub time: Timestamp,
    /// Who: `token`, or `loopback` and the peer's address.
    pub actor: String,
    /// The peer's address, or `pending` for a change that the service took later.
    pub from: String,
    /// What, such as `reset`, `force_open` or `terminate`.
    pub action: &'static str,
    /// How long an override was to last; none: until it is removed.
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    pub lasts: Option<String>,
    /// The limits that a pool was to have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<NewLimits>,
    /// The breaker's name, of a change of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breaker: Option<String>,
    /// The pool's name, of a change of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// The fallback's name, of a change of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<String>,
    /// The database, if it was about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// The database's backends that were told to end.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pids: Vec<i32>,
    /// State, limits or switch before, where known.
    pub before: Option<Value>,
    /// State, limits or switch after, where known.
    pub after: Option<Value>,
    /// What became of it.
    pub outcome: &'static str,
    /// Why, in the words of who asked.
    pub reason: Option<String>,
    /// The outcome in a sentence.
    pub detail: String,
}

/// Why a line was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The file could not be written.
    #[error("cannot write the audit log")]
    Io(#[from] io::Error),
    /// The disk is so slow that lines pile up, or this one took too long.
    #[error("the audit log did not take the line in time")]
    Slow,
}

type Job = (Vec<u8>, oneshot::Sender<io::Result<()>>);

/// Writes the lines on a thread of its own, in order. The file is opened for
/// each: changes are rare, and it may be moved or deleted under us.
#[derive(Clone, Debug)]
pub struct AuditLog {
    queue: mpsc::SyncSender<Job>,
}

impl AuditLog {
    /// Starts the thread; it ends with the last clone.
    ///
    /// # Errors
    ///
    /// If the thread cannot be started.
    pub fn new(path: PathBuf, max_bytes: u64) -> io::Result<Self> {
        let (queue, jobs) = mpsc::sync_channel::<Job>(QUEUE);
        thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || {
                for (line, done) in jobs {
                    // Whoever waited may have given up.
                    let _ = done.send(append(&path, max_bytes, &line));
                }
            })?;
        Ok(Self { queue })
    }

    /// Returns when the line is in the file.
    ///
    /// # Errors
    ///
    /// [`AuditError`]; after [`AuditError::Slow`] it may still be written.
    pub async fn write(&self, entry: &Entry) -> Result<(), AuditError> {
        let mut line = serde_json::to_vec(entry).map_err(io::Error::from)?;
        line.push(b'\n');
        let (sender, done) = oneshot::channel();
        self.queue
            .try_send((line, sender))
            .map_err(|_| AuditError::Slow)?;
        match time::timeout(PATIENCE, done).await {
            Ok(Ok(written)) => Ok(written?),
            Ok(Err(_)) | Err(_) => Err(AuditError::Slow),
        }
    }
}

fn append(path: &Path, max_bytes: u64, line: &[u8]) -> io::Result<()> {
    let full = |meta: &fs::Metadata| {
        meta.len() > 0 && meta.len().saturating_add(line.len() as u64) > max_bytes
    };
    if fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file() && full(&meta)) {
        let mut older = path.as_os_str().to_owned();
        older.push(".1");
        fs::rename(path, older)?;
    }
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        // The run directory is shared: no link may lead the log elsewhere, and
        // a pipe nobody reads must not stop the thread.
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(path)?
        // One write: lines of two sidecars do not mingle.
        .write_all(line)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn entry() -> Entry {
        Entry {
            time: Timestamp::UNIX_EPOCH,
            actor: "token".to_owned(),
            from: "127.0.0.1:5".to_owned(),
            action: "reset",
            lasts: None,
            limits: None,
            breaker: Some("payment_api".to_owned()),
            pool: None,
            fallback: None,
            database: None,
            pids: Vec::new(),
            before: Some("OPEN".into()),
            after: Some("CLOSED".into()),
            outcome: "applied",
            reason: Some("two\nlines".to_owned()),
            detail: "closed".to_owned(),
        }
    }

    #[tokio::test]
    async fn a_line_is_in_the_file_before_write_returns_and_only_the_owner_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let log = AuditLog::new(path.clone(), MAX_BYTES).unwrap();
        for lines in 1..=3 {
            log.write(&entry()).await.unwrap();
            let text = fs::read_to_string(&path).unwrap();
            assert_eq!(text.lines().count(), lines);
        }
        let text = fs::read_to_string(&path).unwrap();
        let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(line["before"], "OPEN");
        assert_eq!(line["reason"], "two\nlines");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[tokio::test]
    async fn the_file_never_grows_beyond_its_cap_and_the_older_half_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let log = AuditLog::new(path.clone(), 600).unwrap();
        for _ in 0..20 {
            log.write(&entry()).await.unwrap();
            assert!(fs::metadata(&path).unwrap().len() <= 600);
        }
        assert!(dir.path().join("audit.jsonl.1").exists());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_written_is_an_error_and_a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let gone = AuditLog::new(dir.path().join("gone/audit.jsonl"), MAX_BYTES).unwrap();
        assert!(matches!(gone.write(&entry()).await, Err(AuditError::Io(_))));
        let (link, target) = (dir.path().join("link"), dir.path().join("target"));
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let linked = AuditLog::new(link, MAX_BYTES).unwrap();
        assert!(matches!(
            linked.write(&entry()).await,
            Err(AuditError::Io(_))
        ));
        assert!(!target.exists());
    }
}
