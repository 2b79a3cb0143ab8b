//! Records in Redis or Valkey, shared by a fleet.
//!
//! `link` is a connection that is made again when it breaks.

mod link;
mod roots;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use redis::{ConnectionAddr, Value};

use super::{Change, Store, StoreError, StoreFuture, now_ms};
use crate::{clock::Clock, one_line::one_line};
use link::Link;
pub use roots::RedisRoots;

const KIND: &str = "redis";

/// What all keys begin with unless told otherwise.
const PREFIX: &str = "fallback:";

/// Characters of what the server or the system says.
const LONGEST_REASON: usize = 300;

/// So much goes to the server in one piece: the answer to it is waited for.
const MOST_COMMANDS: usize = 512;
const MOST_BYTES: usize = 1 << 20;

/// How many keys the server looks at in one step when a fallback is cleared.
const SCAN: usize = 1_000;
/// How long all steps may take.
const CLEAR_WITHIN: Duration = Duration::from_secs(10);

/// Keeps records in Redis or Valkey.
///
/// A record is one key, `fallback:` with the fallback's name, a NUL and the key of
/// the answer, and it expires when nobody would use it any more. There are two
/// connections, one to read and one to write, so that no read waits behind a batch.
/// They are made when they are first used: a service starts without its Redis.
///
/// # Example
///
/// ```no_run
/// use resilience_core::fallback::store::{RedisRoots, RedisStore, SecondLevel};
///
/// let store = RedisStore::new("redis://:secret@cache.example.com/2", &RedisRoots::System)?;
/// let second = SecondLevel::new(store);
/// # Ok::<(), resilience_core::fallback::store::RedisStoreError>(())
/// ```
pub struct RedisStore {
    reads: Arc<Link>,
    writes: Arc<Link>,
    place: String,
    prefix: String,
}

/// Why there can be no such store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RedisStoreError {
    /// The URL is none. Its text is not repeated: it may have a password in it.
    #[error(
        "the URL of the fallback's Redis cannot be used: {0}; it is to be `redis://[user:password@]host[:port][/database]`, the same with `rediss:` for TLS, or `redis+unix:///path`"
    )]
    Url(String),
    /// There is nobody to vouch for the server.
    #[error("the certificate authorities in {path} are not usable: {why}")]
    Roots {
        /// The file, as it was given.
        path: String,
        /// What is wrong with it.
        why: String,
    },
}

impl RedisStore {
    /// A store at a URL: `redis://`, `rediss://` (TLS, with the server vouched for by
    /// `roots`), or `redis+unix://`. Connects to nothing yet.
    ///
    /// # Errors
    ///
    /// [`RedisStoreError`]: what is wrong with the URL, or with the file of roots.
    pub fn new(url: &str, roots: &RedisRoots) -> Result<Self, RedisStoreError> {
        let client = roots.client(url)?;
        let info = client.get_connection_info();
        let database = match info.redis_settings().db() {
            0 => String::new(),
            database => format!("/{database}"),
        };
        if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
            roots::choose_cryptography();
        }
        Ok(Self {
            place: format!("{}{database}", info.addr()),
            reads: Link::new(client.clone(), Clock::default()),
            writes: Link::new(client, Clock::default()),
            prefix: PREFIX.to_owned(),
        })
    }

    /// What all keys begin with, where several products share a database. Default:
    /// `fallback:`.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Another clock for the pace at which it connects, for tests.
    #[must_use]
    pub fn clock(self, clock: Clock) -> Self {
        Self {
            reads: self.reads.with_clock(clock.clone()),
            writes: self.writes.with_clock(clock),
            ..self
        }
    }

    fn key(&self, key: &[u8]) -> Vec<u8> {
        [self.prefix.as_bytes(), key].concat()
    }

    async fn get(link: &Arc<Link>, key: Vec<u8>) -> Result<Option<Bytes>, StoreError> {
        let mut get = redis::pipe();
        get.cmd("GET").arg(key);
        match link.ask_one(&get).await? {
            Value::Nil => Ok(None),
            Value::BulkString(record) => Ok(Some(record.into())),
            other => Err(link.distrust(&other)),
        }
    }

    async fn write_all(&self, changes: &[Change]) -> Result<u64, StoreError> {
        let mut written = 0;
        for some in pieces(changes) {
            let mut pipe = redis::pipe();
            let mut records = 0;
            for change in some {
                let key = self.key(&change.key);
                // Never zero, which the server refuses.
                let left = change.useless_at_ms.saturating_sub(now_ms()).max(1);
                // More is refused as well.
                let left = left.min(i64::MAX.unsigned_abs() / 4);
                match &change.record {
                    Some(record) => {
                        records += 1;
                        pipe.cmd("SET").arg(key).arg(&record[..]);
                        pipe.arg("PX").arg(left);
                    }
                    None => {
                        pipe.cmd("UNLINK").arg(key);
                    }
                }
            }
            self.writes.ask(&pipe).await?;
            written += records;
        }
        Ok(written)
    }

    async fn clear_all(&self, prefix: &[u8]) -> Result<u64, StoreError> {
        let until = Instant::now() + CLEAR_WITHIN;
        let pattern = [&literally(&self.key(prefix))[..], b"*"].concat();
        let (mut cursor, mut gone) = (0, 0);
        loop {
            let mut scan = redis::pipe();
            scan.cmd("SCAN").arg(cursor).arg("MATCH").arg(&pattern[..]);
            scan.arg("COUNT").arg(SCAN);
            let found = self.writes.ask_one(&scan).await?;
            let (next, keys): (u64, Vec<Vec<u8>>) =
                redis::from_redis_value(found).map_err(|error| failed(&error.to_string()))?;
            if !keys.is_empty() {
                gone += keys.len() as u64;
                let mut unlink = redis::pipe();
                unlink.cmd("UNLINK").arg(keys);
                self.writes.ask(&unlink).await?;
            }
            if next == 0 {
                return Ok(gone);
            }
            cursor = next;
            if Instant::now() >= until {
                return Err(StoreError::TooSlow {
                    store: KIND,
                    within: CLEAR_WITHIN,
                });
            }
        }
    }
}

impl Store for RedisStore {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn place(&self) -> String {
        self.place.clone()
    }

    fn read(&self, key: &[u8]) -> StoreFuture<'_, Option<Bytes>> {
        Box::pin(Self::get(&self.reads, self.key(key)))
    }

    fn read_again(&self, key: &[u8]) -> StoreFuture<'_, Option<Bytes>> {
        Box::pin(Self::get(&self.writes, self.key(key)))
    }

    fn write<'a>(&'a self, changes: &[Change]) -> StoreFuture<'a, u64> {
        let changes = changes.to_vec();
        Box::pin(async move { self.write_all(&changes).await })
    }

    fn clear<'a>(&'a self, prefix: &[u8]) -> StoreFuture<'a, u64> {
        let prefix = prefix.to_vec();
        Box::pin(async move { self.clear_all(&prefix).await })
    }
}

/// Parts of a batch that are small enough to be sent in one piece.
fn pieces(changes: &[Change]) -> impl Iterator<Item = &[Change]> {
    let mut rest = changes;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |change: &&Change| {
            bytes += change.key.len() + change.record.as_ref().map_or(0, Bytes::len);
            bytes <= MOST_BYTES
        };
        let count = rest.iter().take(MOST_COMMANDS).take_while(fits).count();
        let (some, others) = rest.split_at_checked(count.max(1))?;
        rest = others;
        Some(some)
    })
}

/// A pattern that only these bytes match.
fn literally(bytes: &[u8]) -> Vec<u8> {
    let mut pattern = Vec::with_capacity(bytes.len());
    for &byte in bytes {
        if b"*?[]\\^-".contains(&byte) {
            pattern.push(b'\\');
        }
        pattern.push(byte);
    }
    pattern
}

fn failed(why: &str) -> StoreError {
    StoreError::Failed {
        store: KIND,
        message: one_line(why, LONGEST_REASON),
    }
}

/// Without the URL, which may have a password in it.
impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("place", &self.place)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_is_none_is_refused_without_its_password() {
        for url in [
            "http://user:hidden@host",
            "redis://user:hidden@host:port",
            "redis://user:hidden@host/one",
            "hidden",
            "",
        ] {
            let error = RedisStore::new(url, &RedisRoots::System).unwrap_err();
            let said = format!("{error} {error:?}");
            assert!(said.contains("redis://"), "{said}");
            assert!(!said.contains("hidden"), "{said}");
        }
    }

    #[test]
    fn a_store_shows_where_it_is_and_never_the_password() {
        let url = "redis://user:hidden@cache.example.com:7000/2";
        let store = RedisStore::new(url, &RedisRoots::System).unwrap();
        assert_eq!(store.place(), "cache.example.com:7000/2");
        assert!(!format!("{store:?}").contains("hidden"));
    }

    #[test]
    fn a_file_of_roots_that_cannot_be_used_is_named_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        let refused = || {
            let roots = RedisRoots::File(path.clone());
            let error = RedisStore::new("rediss://host", &roots).unwrap_err();
            let said = error.to_string();
            assert!(said.contains("ca.pem"), "{said}");
            said
        };
        assert!(refused().contains("No such file"));
        std::fs::write(&path, "no certificate").unwrap();
        assert!(refused().contains("BEGIN CERTIFICATE"));
        let bad = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        std::fs::write(&path, bad).unwrap();
        refused();
    }

    #[test]
    fn a_batch_is_sent_in_pieces_and_all_of_it() {
        let change = |bytes: usize| Change {
            key: Bytes::from_static(b"key"),
            record: Some(vec![0; bytes].into()),
            useless_at_ms: 0,
        };
        let sizes = |changes: &[Change]| pieces(changes).map(<[Change]>::len).collect::<Vec<_>>();
        assert_eq!(sizes(&[]), [0; 0]);
        assert_eq!(sizes(&vec![change(1); 1_100]), [512, 512, 76]);
        assert_eq!(sizes(&vec![change(400 << 10); 5]), [2, 2, 1]);
        assert_eq!(sizes(&vec![change(2 << 20); 3]), [1, 1, 1]);
    }

    #[test]
    fn what_is_cleared_is_a_name_and_no_pattern() {
        assert_eq!(literally(b"a*b?[c]\\"), b"a\\*b\\?\\[c\\]\\\\");
        assert_eq!(literally(b"rates\0"), b"rates\0");
    }
}
