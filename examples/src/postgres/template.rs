//! Clusters that are ready for use, kept to be copied.
//!
//! `initdb` and what makes a cluster ready take a second or two, a copy of the
//! result a fraction of that; and every test is a process of its own. So the copy
//! is kept between processes, among the other things that were built: `cargo
//! clean` removes it. A program that runs from elsewhere keeps none.

use std::{
    env,
    fs::{self, DirBuilder, File, TryLockError},
    hash::{DefaultHasher, Hash, Hasher},
    io,
    os::unix::fs::{DirBuilderExt, chown},
    path::{Path, PathBuf},
};

use super::installation::Installation;
use crate::process::Account;

/// What cargo keeps at the root of its target directory. (The `CACHEDIR.TAG` is
/// not there when somebody else made the directory, and may be further up.)
const CARGO_MARK: &str = ".rustc_info.json";
/// To be counted up when clusters are made in another way.
const FORMAT: u32 = 1;

/// Where the cluster of one kind is kept, whether or not it is there yet.
#[derive(Debug)]
pub(super) struct Template {
    path: PathBuf,
}

/// The right to make the template, one process at a time: others wait for it
/// instead of making the same.
#[derive(Debug)]
pub(super) struct Turn {
    _lock: File,
}

impl Template {
    /// The one of clusters with `database` made by this installation; `None`
    /// where none can be kept.
    pub(super) fn of(installation: &Installation, database: &str) -> Option<Self> {
        let us = env::current_exe().ok()?;
        let built = us
            .ancestors()
            .find(|directory| directory.join(CARGO_MARK).is_file())?;
        Some(Self {
            path: built.join(name(installation, database)),
        })
    }

    /// Fills `data`, an empty directory. Says whether there was anything to
    /// fill it with.
    ///
    /// # Errors
    ///
    /// The file system's; `data` holds a part of it then.
    pub(super) fn copy_to(&self, data: &Path, account: Option<Account>) -> io::Result<bool> {
        // Whole as soon as it is there, because it gets its name last.
        if !self.path.is_dir() {
            return Ok(false);
        }
        copy(&self.path, data, account)?;
        Ok(true)
    }

    /// Our turn to make it, unless somebody else is at it.
    ///
    /// # Errors
    ///
    /// The file system's.
    pub(super) fn try_turn(&self) -> io::Result<Option<Turn>> {
        let lock = File::create(self.path.with_extension("lock"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Turn { _lock: lock })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Keeps the cluster in `data`, whose server has stopped.
    ///
    /// # Errors
    ///
    /// The file system's; there is no template then.
    pub(super) fn keep(&self, data: &Path, _turn: &Turn) -> io::Result<()> {
        let partial = self.path.with_extension("partial");
        // One that was killed at this point left it.
        if partial.exists() {
            fs::remove_dir_all(&partial)?;
        }
        DirBuilder::new().mode(0o700).create(&partial)?;
        copy(data, &partial, None)?;
        fs::rename(partial, &self.path)
    }
}

/// Of everything that decides what the cluster is like. A file name, whatever
/// the database is called.
fn name(installation: &Installation, database: &str) -> String {
    let mut hash = DefaultHasher::new();
    let Installation {
        bin,
        version,
        has_statements,
        ..
    } = installation;
    (FORMAT, bin, version, has_statements, database).hash(&mut hash);
    format!("postgres-{}-{:016x}", installation.major, hash.finish())
}

/// Copies what is in one directory into another that is there, with its modes.
/// What is copied belongs to `account`.
fn copy(from: &Path, to: &Path, account: Option<Account>) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let copied = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            DirBuilder::new().mode(0o700).create(&copied)?;
            copy(&entry.path(), &copied, account)?;
        } else {
            // A symbolic link, which a fresh cluster has none of, is followed.
            fs::copy(entry.path(), &copied)?;
        }
        if let Some(Account { uid, gid }) = account {
            chown(&copied, Some(uid), Some(gid))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installation() -> Installation {
        Installation {
            bin: PathBuf::from("/usr/lib/postgresql/15/bin"),
            version: "postgres (PostgreSQL) 15.8".to_owned(),
            major: 15,
            has_statements: true,
            account: None,
        }
    }

    fn template(parent: &Path) -> Template {
        Template {
            path: parent.join(name(&installation(), "app")),
        }
    }

    #[test]
    fn a_database_another_server_and_another_way_to_make_it_have_templates_of_their_own() {
        let newer = Installation {
            version: "postgres (PostgreSQL) 15.9".to_owned(),
            ..installation()
        };
        let bare = Installation {
            has_statements: false,
            ..installation()
        };
        let names = [
            name(&installation(), "app"),
            name(&installation(), "../app"),
            name(&newer, "app"),
            name(&bare, "app"),
        ];
        for (index, one) in names.iter().enumerate() {
            assert!(!names[..index].contains(one), "{names:?}");
            assert_eq!(Path::new(one).components().count(), 1);
        }
        assert_eq!(names[0], name(&installation(), "app"));
    }

    #[test]
    fn what_was_kept_is_copied_with_everything_below_it() {
        let parent = tempfile::tempdir().unwrap();
        let [data, other] = ["data", "other"].map(|name| parent.path().join(name));
        fs::create_dir_all(data.join("base/1")).unwrap();
        fs::create_dir(&other).unwrap();
        fs::write(data.join("base/1/112"), "a table").unwrap();

        let template = template(parent.path());
        assert!(!template.copy_to(&other, None).unwrap());
        let turn = template.try_turn().unwrap().unwrap();
        template.keep(&data, &turn).unwrap();
        assert!(template.copy_to(&other, None).unwrap());
        let copied = fs::read_to_string(other.join("base/1/112")).unwrap();
        assert_eq!(copied, "a table");
    }

    #[test]
    fn one_is_made_by_one_at_a_time_and_what_a_killed_one_left_is_no_obstacle() {
        let parent = tempfile::tempdir().unwrap();
        let template = template(parent.path());
        let turn = template.try_turn().unwrap().unwrap();
        assert!(template.try_turn().unwrap().is_none());
        drop(turn);

        fs::create_dir(template.path.with_extension("partial")).unwrap();
        let data = parent.path().join("data");
        fs::create_dir(&data).unwrap();
        let turn = template.try_turn().unwrap().unwrap();
        template.keep(&data, &turn).unwrap();
        assert!(template.path.is_dir());
    }
}
