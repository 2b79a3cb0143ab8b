//! The black box: a file with the last published snapshot of a service, for
//! when the process itself cannot answer any more.
//!
//! One header line, then JSON:
//!
//! ```text
//! resilience-black-box <format> <length> <crc32 in hex>
//! {"format":1,…}
//! ```
//!
//! It is written beside its name and renamed over it, so a reader meets the
//! old one or the new one, never half of one. It is not synced to the disk: it
//! has to outlive the process, which the page cache does, and not the machine,
//! after which nothing in it would be true.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::snapshot::{FORMAT, Snapshot};

const MAGIC: &str = "resilience-black-box";

/// Nobody writes a larger one (services, series, events and reasons are all
/// bounded); a larger file is not read.
pub const LARGEST: u64 = 8 * 1024 * 1024;

/// Where the black box of `service` lies in a run directory.
#[must_use]
pub fn path(run_dir: &Path, service: &str) -> PathBuf {
    run_dir.join(format!("{service}.blackbox"))
}

/// Why a black box cannot be believed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlackBoxError {
    /// There is none.
    #[error("there is no black box at `{0}`")]
    Missing(PathBuf),
    /// It cannot be read.
    #[error("the black box `{path}` cannot be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It was written by a newer version than this.
    #[error("the black box `{path}` has format {found}, this version reads up to {FORMAT}")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// It is truncated, altered, or no black box at all.
    #[error("the black box `{path}` is damaged: {what}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

/// Reads and checks a black box.
///
/// # Errors
///
/// [`BlackBoxError`]; nothing of a file that fails a check is returned.
pub fn read(path: &Path) -> Result<Snapshot, BlackBoxError> {
    let unreadable = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => BlackBoxError::Missing(path.to_owned()),
        _ => BlackBoxError::Unreadable {
            path: path.to_owned(),
            source,
        },
    };
    let metadata = fs::metadata(path).map_err(unreadable)?;
    // Asked before it is opened: to open a pipe would wait for its writer.
    if !metadata.is_file() || metadata.len() > LARGEST {
        let what = format!("not a regular file of at most {LARGEST} bytes");
        return Err(BlackBoxError::Damaged {
            path: path.to_owned(),
            what,
        });
    }
    decode(&fs::read(path).map_err(unreadable)?).map_err(|refusal| match refusal {
        Refusal::Newer(found) => BlackBoxError::Newer {
            path: path.to_owned(),
            found,
        },
        Refusal::Damaged(what) => BlackBoxError::Damaged {
            path: path.to_owned(),
            what,
        },
    })
}

/// Writes a black box, mode 0660.
///
/// # Errors
///
/// What the system said; the old file is then still in place.
pub fn write(path: &Path, snapshot: &Snapshot) -> io::Result<()> {
    let next = path.with_extension("blackbox.next");
    fs::write(&next, encode(snapshot)?)?;
    super::restrict(&next)?;
    fs::rename(&next, path)
}

/// Puts a black box that cannot be believed out of the way, over any other
/// that was, and says where.
pub(crate) fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let aside = path.with_extension("blackbox.refused");
    fs::rename(path, &aside)?;
    Ok(aside)
}

fn encode(snapshot: &Snapshot) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(snapshot)?;
    let crc = crc32fast::hash(&json);
    let mut bytes = format!("{MAGIC} {} {} {crc:08x}\n", snapshot.format, json.len()).into_bytes();
    bytes.extend(json);
    Ok(bytes)
}

#[derive(Debug, PartialEq)]
enum Refusal {
    Newer(u32),
    Damaged(String),
}

fn decode(bytes: &[u8]) -> Result<Snapshot, Refusal> {
    let damaged = |what: &str| Refusal::Damaged(what.to_owned());
    let end = bytes
        .iter()
        .take(200)
        .position(|&byte| byte == b'\n')
        .ok_or_else(|| damaged("no header line"))?;
    let header = str::from_utf8(&bytes[..end]).map_err(|_| damaged("the header is no text"))?;
    let json = &bytes[end + 1..];
    let mut words = header.split(' ');
    if words.next() != Some(MAGIC) {
        return Err(damaged("another kind of file"));
    }
    let format: u32 = words
        .next()
        .and_then(|word| word.parse().ok())
        .ok_or_else(|| damaged("no format number"))?;
    // Before the rest: a newer format may have another rest.
    if format > FORMAT {
        return Err(Refusal::Newer(format));
    }
    let length = words.next().and_then(|word| word.parse::<usize>().ok());
    if length != Some(json.len()) {
        return Err(damaged("truncated, or longer than its header says"));
    }
    let crc = words
        .next()
        .and_then(|word| u32::from_str_radix(word, 16).ok());
    if crc != Some(crc32fast::hash(json)) {
        return Err(damaged("its checksum does not fit"));
    }
    serde_json::from_slice(json).map_err(|error| Refusal::Damaged(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written() -> (tempfile::TempDir, PathBuf, Snapshot) {
        let dir = tempfile::tempdir().unwrap();
        let path = path(dir.path(), "payments-api");
        let snapshot = Snapshot::of_nothing("payments-api");
        write(&path, &snapshot).unwrap();
        (dir, path, snapshot)
    }

    #[test]
    fn what_was_written_is_read() {
        let (_dir, path, snapshot) = written();
        assert_eq!(read(&path).unwrap(), snapshot);
    }

    #[test]
    fn a_missing_a_foreign_and_a_newer_one_are_told_apart() {
        let (dir, path, _snapshot) = written();
        let absent = dir.path().join("absent");
        assert!(matches!(read(&absent), Err(BlackBoxError::Missing(_))));
        fs::write(&path, "#!/bin/sh\nexit 0\n").unwrap();
        assert!(matches!(read(&path), Err(BlackBoxError::Damaged { .. })));
        fs::write(&path, format!("{MAGIC} {} what else\n", FORMAT + 1)).unwrap();
        assert!(matches!(
            read(&path),
            Err(BlackBoxError::Newer { found, .. }) if found == FORMAT + 1
        ));
        assert!(matches!(
            read(dir.path()),
            Err(BlackBoxError::Damaged { .. })
        ));
    }

    #[test]
    fn one_that_is_cut_anywhere_or_altered_anywhere_is_refused() {
        let bytes = encode(&Snapshot::of_nothing("payments-api")).unwrap();
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut]).is_err(), "cut at {cut}");
            let mut altered = bytes.clone();
            altered[cut] ^= 0x04;
            assert!(decode(&altered).is_err(), "altered at {cut}");
        }
    }

    #[test]
    fn one_that_is_set_aside_replaces_the_last_that_was() {
        let (_dir, path, snapshot) = written();
        set_aside(&path).unwrap();
        assert!(matches!(read(&path), Err(BlackBoxError::Missing(_))));
        write(&path, &snapshot).unwrap();
        let aside = set_aside(&path).unwrap();
        assert_eq!(read(&aside).unwrap(), snapshot);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes);
        }
    }
}
