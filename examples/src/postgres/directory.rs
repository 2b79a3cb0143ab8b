//! The temporary directory of a server.
//!
//! It is locked for as long as its owner lives. An owner that was killed could
//! not remove it; whoever starts a server next finds it unlocked and does.

use std::{
    env,
    fs::{self, File, Permissions},
    io,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

use super::StartError;
use crate::process::{Account, find_in_path};

const PREFIX: &str = "resilience-postgres-";
/// Longest path of a Unix socket that Linux takes, its closing NUL left out.
const MAX_SOCKET: usize = 107;
const SOCKET_NAME: &str = "/socket/.s.PGSQL.65535";

#[derive(Debug)]
pub(super) struct Directory {
    // In this order: removed first, unlocked second.
    root: TempDir,
    _lock: File,
}

impl Directory {
    /// Makes it with `data` and `socket`, which belong to `account`.
    pub(super) fn create(account: Option<Account>) -> Result<Self, StartError> {
        let parent = parent();
        sweep(&parent);
        make(&parent, account).map_err(|error| StartError::Directory {
            problem: error.to_string(),
            path: parent,
        })
    }

    pub(super) fn path(&self) -> &Path {
        self.root.path()
    }

    pub(super) fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.path().join("socket")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        free_shared_memory(&self.data());
    }
}

/// The system's temporary directory, or `/tmp` where a socket's path would get
/// too long in it.
fn parent() -> PathBuf {
    let chosen = env::temp_dir();
    // tempfile adds six letters of its own.
    let longest = chosen.as_os_str().len() + 1 + PREFIX.len() + 6 + SOCKET_NAME.len();
    if longest > MAX_SOCKET {
        PathBuf::from("/tmp")
    } else {
        chosen
    }
}

fn make(parent: &Path, account: Option<Account>) -> io::Result<Directory> {
    let root = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
    // Locked under another name first: a sweeper that comes by between the
    // making and the locking must not take it for one without an owner.
    let unlocked = root.path().join("locking");
    let lock = File::create(&unlocked)?;
    lock.lock()?;
    fs::rename(unlocked, lock_of(root.path()))?;
    if account.is_some() {
        // The server passes through; the directory itself stays ours.
        fs::set_permissions(root.path(), Permissions::from_mode(0o711))?;
    }
    for (name, mode) in [("data", 0o700), ("socket", 0o755)] {
        let path = root.path().join(name);
        fs::create_dir(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(mode))?;
        if let Some(Account { uid, gid }) = account {
            chown(&path, Some(uid), Some(gid))?;
        }
    }
    Ok(Directory { root, _lock: lock })
}

/// Removes what owners that were killed have left.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        // Somebody else's, or one in the making: not to be opened, left alone.
        let Some(lock) = ours
            .then(|| File::open(lock_of(&entry.path())))
            .and_then(Result::ok)
        else {
            continue;
        };
        if lock.try_lock().is_ok() {
            free_shared_memory(&entry.path().join("data"));
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn lock_of(root: &Path) -> PathBuf {
    root.join("lock")
}

/// A server that was killed leaves a System V segment behind, named on the
/// seventh line of its pid file; one that has stopped has removed that file.
fn free_shared_memory(data: &Path) {
    let Ok(text) = fs::read_to_string(data.join("postmaster.pid")) else {
        return;
    };
    let id = text
        .lines()
        .nth(6)
        .and_then(|line| line.split_whitespace().nth(1));
    if let (Some(id), Some(ipcrm)) = (id, find_in_path("ipcrm")) {
        let _ = Command::new(ipcrm)
            .args(["--shmem-id", id])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}
