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
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::{
    one_line::one_line,
    snapshot::{FORMAT, Snapshot},
};

const MAGIC: &str = "resilience-black-box";

/// Nobody writes a larger one (services, series, events and reasons are all
/// bounded); a larger file is not read.
pub const LARGEST: u64 = 8 * 1024 * 1024;

/// Characters of the sentence that says what is wrong with a body.
const LONGEST_REASON: usize = 300;

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

/// Why bytes are not the content of a black box.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// They were written by a newer version than this.
    #[error("format {0}, this version reads up to {FORMAT}")]
    Newer(u32),
    /// They are truncated, altered, or something else.
    #[error("damaged: {0}")]
    Damaged(String),
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
    decode(&fs::read(path).map_err(unreadable)?).map_err(|error| match error {
        DecodeError::Newer(found) => BlackBoxError::Newer {
            path: path.to_owned(),
            found,
        },
        DecodeError::Damaged(what) => BlackBoxError::Damaged {
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
    restrict(&next)?;
    fs::rename(&next, path)
}

/// Puts a black box that cannot be believed out of the way, over any other
/// that was, and says where.
///
/// # Errors
///
/// What the system said; the file is then still where it was.
pub fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let aside = path.with_extension("blackbox.refused");
    fs::rename(path, &aside)?;
    Ok(aside)
}

/// Mode 0660: the service's user, and a group that the sidecar shares.
pub(crate) fn restrict(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))
}

/// The content of a black box, header and all.
///
/// # Errors
///
/// Only if a value cannot be written as JSON, which none of a snapshot's is.
///
/// # Example
///
/// ```
/// use resilience_core::{blackbox, snapshot::Snapshot};
///
/// let snapshot = Snapshot::of_nothing("payments-api");
/// let bytes = blackbox::encode(&snapshot)?;
/// assert_eq!(blackbox::decode(&bytes), Ok(snapshot));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn encode(snapshot: &Snapshot) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(snapshot)?;
    let crc = crc32fast::hash(&json);
    let mut bytes = format!("{MAGIC} {} {} {crc:08x}\n", snapshot.format, json.len()).into_bytes();
    bytes.extend(json);
    Ok(bytes)
}

/// Checks the content of a black box and reads it. Whoever has a path asks
/// [`read`], which also sees to it that the file is none of unbounded size.
///
/// # Errors
///
/// [`DecodeError`]; nothing of what fails a check is returned.
pub fn decode(bytes: &[u8]) -> Result<Snapshot, DecodeError> {
    let damaged = |what: &str| DecodeError::Damaged(what.to_owned());
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
        return Err(DecodeError::Newer(format));
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
    let snapshot: Snapshot = serde_json::from_slice(json)
        // It repeats what it does not know, however long and whatever it is.
        .map_err(|error| damaged(&one_line(&error.to_string(), LONGEST_REASON)))?;
    // Else it would be read by one rule, and by another when it is written again.
    if snapshot.format != format {
        return Err(damaged("its header and its body differ in the format"));
    }
    Ok(snapshot)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{DurationHistogram, HttpSeries};
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

    fn file_of(json: &str) -> Vec<u8> {
        let crc = crc32fast::hash(json.as_bytes());
        format!("{MAGIC} {FORMAT} {} {crc:08x}\n{json}", json.len()).into_bytes()
    }

    #[test]
    fn one_whose_body_has_another_format_than_its_header_is_refused() {
        let mut snapshot = Snapshot::of_nothing("payments-api");
        snapshot.format = FORMAT + 1;
        let json = serde_json::to_string(&snapshot).unwrap();
        let error = decode(&file_of(&json)).unwrap_err();
        assert!(matches!(error, DecodeError::Damaged(_)), "{error}");
    }

    #[test]
    fn what_is_wrong_with_a_body_is_one_short_line_whatever_the_body_says() {
        let json = serde_json::to_string(&Snapshot::of_nothing("payments-api")).unwrap();
        let foreign = "x\\u001b[2J\\n".repeat(10_000);
        let json = json.replace("\"payments-api\"", &format!("{{\"{foreign}\": 1}}"));
        let unknown = serde_json::to_string(&foreign.repeat(2)).unwrap();
        for json in [json, unknown] {
            let text = decode(&file_of(&json)).unwrap_err().to_string();
            assert!(!text.chars().any(char::is_control), "{text:?}");
            assert!(text.len() < 4_000, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_sum_of_seconds_is_read_as_it_was_written(sum in 0.0..1e9) {
            let mut snapshot = Snapshot::of_nothing("payments-api");
            snapshot.http.series.push(HttpSeries {
                method: "GET".to_owned(),
                route: "/".to_owned(),
                status: 200,
                count: 1,
                durations: DurationHistogram { counts: vec![1], sum_seconds: sum },
            });
            prop_assert_eq!(decode(&encode(&snapshot).unwrap()), Ok(snapshot));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes);
        }
    }
}
