//! The temporary directory of a server, and what else it leaves.

use std::{
    env,
    fs::{self, Permissions},
    io,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::StartError;
use crate::{
    process::{Account, find_in_path},
    scratch::{PREFIX, Scratch},
};

const PURPOSE: &str = "postgres";
/// Longest path of a Unix socket that Linux takes, its closing NUL left out.
const MAX_SOCKET: usize = 107;
const SOCKET_NAME: &str = "/socket/.s.PGSQL.65535";

#[derive(Debug)]
pub(super) struct Directory {
    root: Scratch,
}

impl Directory {
    /// Makes it with `data` and `socket`, which belong to `account`.
    pub(super) fn create(account: Option<Account>) -> Result<Self, StartError> {
        let parent = parent();
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
    // A hyphen and six letters end its name.
    let longest =
        chosen.as_os_str().len() + 1 + PREFIX.len() + PURPOSE.len() + 7 + SOCKET_NAME.len();
    if longest > MAX_SOCKET {
        PathBuf::from("/tmp")
    } else {
        chosen
    }
}

fn make(parent: &Path, account: Option<Account>) -> io::Result<Directory> {
    let root = Scratch::create(parent, PURPOSE, |left| {
        free_shared_memory(&left.join("data"));
    })?;
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
    Ok(Directory { root })
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
