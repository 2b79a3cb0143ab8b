//! Opening the file, and what becomes of one that cannot be used.

use std::{
    ffi::OsString,
    fs::{self, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use redb::{Builder, DatabaseError, StorageError};

use super::{Open, table};

/// So many files that were set aside are kept.
const KEPT_ASIDE: usize = 2;

/// How long it waits for a predecessor to end.
const PREDECESSOR_WITHIN: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_millis(20);

/// Most memory for pages of the file, in bytes: the system keeps them too.
const MOST_CACHED: u64 = 8 << 20;

/// Why a file cannot be used for now.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process uses it.
    #[error(
        "the fallback's file `{}` is used by another process: stop that one, or give this one a file of its own",
        .0.display()
    )]
    Locked(PathBuf),
    /// It is a directory, a pipe, or the like.
    #[error("the fallback's file `{}` is no regular file: name another one", .0.display())]
    NotAFile(PathBuf),
    /// The system refuses.
    #[error("the fallback's file `{}` cannot be used: {source}; {}", .path.display(), advice(.source))]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is damaged, and could not be put out of the way.
    #[error(
        "the fallback's file `{}` is damaged ({why}) and cannot be renamed: {source}; remove it",
        .path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
        /// What the system said.
        source: io::Error,
    },
    /// A new one cannot be begun either.
    #[error("the fallback's file `{}` cannot be begun: {why}; name another one", .path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What the database said.
        why: String,
    },
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "make its directory",
        io::ErrorKind::PermissionDenied => {
            "let the service's user read and write it and its directory"
        }
        io::ErrorKind::ReadOnlyFilesystem => "name one on a disk that can be written",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on its disk",
        _ => "see whether its disk is well, or name another one",
    }
}

/// Whether to wait for a file that is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    No,
    ForAMoment,
}

enum Refused {
    Locked,
    Io(io::Error),
    Damaged(String),
}

pub(super) fn open(path: &Path, most_bytes: u64, wait: Wait) -> Result<Open, OpenError> {
    let until = Instant::now() + PREDECESSOR_WITHIN;
    let why = loop {
        match try_open(path, most_bytes) {
            Ok(open) => return Ok(open),
            Err(Refused::Locked) if wait == Wait::ForAMoment && Instant::now() < until => {
                thread::sleep(LOOK);
            }
            Err(Refused::Damaged(why)) => break why,
            Err(other) => return Err(told(path, other)),
        }
    };
    let aside = set_aside(path).map_err(|source| OpenError::Damaged {
        path: path.to_owned(),
        why: why.clone(),
        source,
    })?;
    tracing::warn!(
        class = "corrupt",
        "the fallback's file {} is damaged ({why}); it is now {}, and a new one is begun",
        path.display(),
        aside.display()
    );
    try_open(path, most_bytes).map_err(|refused| told(path, refused))
}

fn told(path: &Path, refused: Refused) -> OpenError {
    let path = path.to_owned();
    match refused {
        Refused::Locked => OpenError::Locked(path),
        Refused::Io(error) if error.kind() == io::ErrorKind::IsADirectory => {
            OpenError::NotAFile(path)
        }
        Refused::Io(source) => OpenError::Io { path, source },
        Refused::Damaged(why) => OpenError::Unusable { path, why },
    }
}

fn try_open(path: &Path, most_bytes: u64) -> Result<Open, Refused> {
    // Asked first: to open a pipe would wait for who is at its other end.
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(Refused::Io(io::ErrorKind::IsADirectory.into()));
    }
    let cache = usize::try_from(MOST_CACHED.min(most_bytes / 8)).unwrap_or(usize::MAX);
    let opened = catch_unwind(AssertUnwindSafe(|| {
        // Made here, because the answers in it are nobody else's to read.
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(Refused::Io)?;
        let database = Builder::new()
            .set_cache_size(cache)
            // A page that was altered is believed otherwise.
            .set_check_integrity_on_open(true)
            .create(path)
            .map_err(refused)?;
        table::prepare(&database).map_err(|error| refused_later(&error))?;
        let inode = fs::metadata(path).map_err(Refused::Io)?.ino();
        Ok(Open { database, inode })
    }));
    opened.unwrap_or_else(|_| Err(Refused::Damaged("the database panicked on it".to_owned())))
}

fn refused(error: DatabaseError) -> Refused {
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => Refused::Locked,
        DatabaseError::Storage(StorageError::Io(error)) => refused_io(error),
        other => Refused::Damaged(other.to_string()),
    }
}

fn refused_later(error: &redb::Error) -> Refused {
    match error {
        redb::Error::Io(error) => {
            // It cannot be cloned.
            let same = error.raw_os_error().map(io::Error::from_raw_os_error);
            refused_io(same.unwrap_or_else(|| io::Error::new(error.kind(), error.to_string())))
        }
        other => Refused::Damaged(other.to_string()),
    }
}

fn refused_io(error: io::Error) -> Refused {
    match error.kind() {
        // Not what the system says of a disk, but what the database says of a file.
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            Refused::Damaged(error.to_string())
        }
        _ => Refused::Io(error),
    }
}

/// Renames it, and removes those that were set aside long ago.
fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let mut prefix = path.file_name().unwrap_or_default().to_owned();
    prefix.push(".corrupt-");
    let mut name = prefix.clone();
    name.push(jiff::Timestamp::now().as_second().to_string());
    let aside = path.with_file_name(name);
    fs::rename(path, &aside)?;
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    for old in older(directory, &prefix) {
        let _ = fs::remove_file(old);
    }
    Ok(aside)
}

/// All but the newest that were set aside.
fn older(directory: &Path, prefix: &OsString) -> Vec<PathBuf> {
    let number = |name: OsString| {
        let name = name.into_encoded_bytes();
        let digits = name.strip_prefix(prefix.as_encoded_bytes())?;
        str::from_utf8(digits).ok()?.parse::<u64>().ok()
    };
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut aside: Vec<(u64, PathBuf)> = entries
        .filter_map(|entry| Some((number(entry.file_name())?, entry.path())))
        .collect();
    aside.sort();
    let gone = aside.len().saturating_sub(KEPT_ASIDE);
    aside.into_iter().take(gone).map(|(_, path)| path).collect()
}
