//! Temporary directories that do not pile up.
//!
//! One is locked for as long as its owner lives. An owner that was killed could
//! not remove it; whoever makes the next one finds it unlocked and does.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::Path,
};

use tempfile::TempDir;

/// What every one of them is called, before its purpose.
pub(crate) const PREFIX: &str = "resilience-";

/// A temporary directory, removed on drop.
#[derive(Debug)]
pub(crate) struct Scratch {
    // In this order: removed first, unlocked second.
    root: TempDir,
    _lock: File,
}

impl Scratch {
    /// Makes one in `parent`, and removes those for the same purpose whose
    /// owners were killed, `before_removal` first.
    pub(crate) fn create(
        parent: &Path,
        purpose: &str,
        before_removal: impl Fn(&Path),
    ) -> io::Result<Self> {
        let prefix = format!("{PREFIX}{purpose}-");
        sweep(parent, &prefix, before_removal);
        let root = tempfile::Builder::new()
            .prefix(&prefix)
            .tempdir_in(parent)?;
        // Locked under another name first: a sweeper that comes by between the
        // making and the locking must not take it for one without an owner.
        let unlocked = root.path().join("locking");
        let lock = File::create(&unlocked)?;
        lock.lock()?;
        fs::rename(unlocked, root.path().join(LOCK))?;
        Ok(Self { root, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        self.root.path()
    }
}

const LOCK: &str = "lock";

fn sweep(parent: &Path, prefix: &str, before_removal: impl Fn(&Path)) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let path = entry.path();
        // Our own only: /tmp is everybody's, and anyone may put a directory of
        // this name there for root to act upon.
        let ours = entry.file_name().to_string_lossy().starts_with(prefix)
            && fs::symlink_metadata(&path)
                .is_ok_and(|meta| meta.uid() == rustix::process::geteuid().as_raw());
        // One without a lock is in the making.
        let Some(lock) = ours
            .then(|| File::open(path.join(LOCK)))
            .and_then(Result::ok)
        else {
            continue;
        };
        if lock.try_lock().is_ok() {
            before_removal(&path);
            // What cannot be removed is found again by the next.
            let _ = fs::remove_dir_all(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_directories_of_the_same_purpose_without_an_owner_are_removed() {
        let parent = tempfile::tempdir().unwrap();
        let make = |purpose| Scratch::create(parent.path(), purpose, |_| ()).unwrap();
        let owned = make("demo");
        let left = parent.path().join("resilience-demo-left");
        let other = parent.path().join("resilience-postgres-left");
        let in_the_making = parent.path().join("resilience-demo-new");
        for path in [&left, &other, &in_the_making] {
            fs::create_dir(path).unwrap();
        }
        File::create(left.join(LOCK)).unwrap();
        File::create(other.join(LOCK)).unwrap();
        let newest = make("demo");
        let seen = [owned.path(), newest.path(), &left, &other, &in_the_making].map(Path::exists);
        assert_eq!(seen, [true, true, false, true, true]);
    }
}
