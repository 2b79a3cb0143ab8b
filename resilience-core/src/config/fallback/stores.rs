//! `file` and `redis`: the stores beyond this process. There is one of each for all
//! fallbacks, so they are set at the top of the file only, and at the start only.

use std::{path::PathBuf, time::Duration};

use super::RedisUrl;
use crate::config::{
    reader::{Allowed, Reader, Section, Sourced},
    schema,
    sections::{MS, any, plain, within},
    text::Text,
    value::{Readable, Size},
};

/// The file that answers are kept in with `store: file`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FallbackFileConfig {
    /// Where it is. A relative path is within the state directory of the service
    /// (`ResilienceBuilder::state_dir`), which survives a reboot; the run directory,
    /// where the black box is, is memory on most machines: it would forget the
    /// answers with the machine, and hold them in memory twice until then. Default:
    /// `fallback.redb`.
    pub path: PathBuf,
    /// How large it may become, about. 1 MiB to 1 TiB. Default: 256 MiB.
    pub size: u64,
}

/// The Redis that answers are kept in with `store: redis`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FallbackRedisConfig {
    /// Where it is. No default: one must be set when something uses it.
    pub url: Option<RedisUrl>,
    /// The certificates that are trusted with `rediss://`, as PEM; `None`: those of
    /// the system. Default: `None`.
    pub ca_file: Option<PathBuf>,
    /// How long a request waits for it. 1 ms to 100 ms. Default: 3 ms.
    pub deadline: Duration,
}

/// Longest path that is taken, that of Linux.
const MOST_PATH: usize = 4_096;

/// Reads both.
pub(in crate::config) fn read(
    reader: &mut Reader,
    fallback: &Section<'_>,
    redis: &Section<'_>,
) -> (FallbackFileConfig, FallbackRedisConfig) {
    let file = reader.section(fallback, "file", schema::FALLBACK_FILE);
    let Text(path) = plain(
        reader,
        &file,
        "path",
        Text("fallback.redb".into()),
        &a_path(),
    );
    let size = within(Size(1 << 20), Size(1 << 40), "1MiB to 1TiB");
    let Size(size) = plain(reader, &file, "size", Size(256 << 20), &size);
    let file = FallbackFileConfig {
        path: path.into(),
        size,
    };

    let url = reader.written(redis, "url", &any(RedisUrl::ALLOWED));
    let url = url.map(|url: Sourced<RedisUrl>| reader.note_optional(redis, "url", url));
    let ca_file = reader.written(redis, "ca_file", &a_path());
    if let (Some(url), Some(ca_file)) = (&url, &ca_file)
        && !url.is_encrypted()
    {
        let allowed = "only with a `rediss://` url: no other is encrypted";
        let given = ca_file.value.show();
        reader.conflict(&redis.full("ca_file"), &ca_file.origin, given, allowed);
    }
    let ca_file = ca_file.map(|file| reader.note_optional(redis, "ca_file", file));
    let deadline = plain(
        reader,
        redis,
        "deadline",
        3 * MS,
        &within(MS, 100 * MS, "1ms to 100ms"),
    );
    let redis = FallbackRedisConfig {
        url,
        ca_file: ca_file.map(|Text(path)| path.into()),
        deadline,
    };
    (file, redis)
}

fn a_path() -> Allowed<impl Fn(&Text) -> bool> {
    Allowed {
        text: format!("a path of 1 to {MOST_PATH} bytes"),
        inside: |Text(path): &Text| (1..=MOST_PATH).contains(&path.len()) && !path.contains('\0'),
    }
}
