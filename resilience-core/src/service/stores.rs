//! The stores of a service's fallbacks, opened at its start.
//!
//! One of a kind for all fallbacks: two connections to one Redis would tell two
//! stories of it, and a file has one owner.

use std::path::{Path, PathBuf};
#[cfg(feature = "fallback")]
use std::time::Duration;

use jiff::Timestamp;

#[cfg(feature = "fallback")]
use crate::{breaker::CircuitBreaker, fallback::store::SecondLevel};
use crate::{
    config::{Config, FallbackFileConfig, FallbackRedisConfig, FallbackStore},
    log,
    one_line::one_line,
    snapshot::{StoreErrorSnapshot, StoreSnapshot},
};

/// How long the end of a program waits for what is to be written.
#[cfg(feature = "fallback")]
const FLUSH_WITHIN: Duration = Duration::from_millis(500);

/// The longest reason that is kept of a store that could not be opened.
const LONGEST_REASON: usize = 300;

#[cfg(feature = "fallback")]
type Store = SecondLevel;
#[cfg(not(feature = "fallback"))]
type Store = std::convert::Infallible;

/// What came of opening one.
struct Opened {
    /// What there is; with a reason why not, it may come by itself.
    store: Option<Store>,
    /// Why it cannot be used.
    why_not: Option<String>,
}

impl Opened {
    const fn never(why_not: String) -> Self {
        Self {
            store: None,
            why_not: Some(why_not),
        }
    }
}

/// The stores that the configuration names.
#[derive(Debug, Default)]
pub(super) struct Stores {
    open: Vec<Store>,
    /// How those are shown that could not be opened at the start.
    refused: Vec<StoreSnapshot>,
}

impl Stores {
    /// Opens what the configuration names. What cannot be opened is logged and
    /// shown, and the service goes on in memory.
    pub(super) fn open(config: &Config, service: &str, state_dir: &Path) -> Self {
        let mut stores = Self::default();
        if config.uses_store(FallbackStore::File) {
            let file = config.fallback_file();
            // An absolute path stays as it is.
            let path = state_dir.join(&file.path);
            let opened = open_file(&path, file);
            stores.add("file", path.display().to_string(), opened);
        }
        if config.uses_store(FallbackStore::Redis) {
            let redis = config.fallback_redis();
            let place = redis.url.as_ref().map(ToString::to_string);
            let opened = open_redis(redis, service);
            stores.add("redis", place.unwrap_or_default(), opened);
        }
        stores
    }

    fn add(&mut self, kind: &str, place: String, opened: Opened) {
        let step = "fallback store";
        let Opened { store, why_not } = opened;
        if let Some(why_not) = why_not {
            let message = one_line(&why_not, LONGEST_REASON);
            let until = match &store {
                Some(_) => "until this is mended",
                None => "until the next start",
            };
            log::startup_failed(
                step,
                format!(
                    "the {kind} store at {place} cannot be used, answers are kept in memory only \
                     {until}: {message}"
                ),
            );
            self.refused.push(StoreSnapshot {
                kind: kind.to_owned(),
                place,
                up: false,
                last_error: Some(StoreErrorSnapshot {
                    at: Timestamp::now(),
                    kind: "failed".to_owned(),
                    message,
                }),
                ..StoreSnapshot::default()
            });
        } else {
            log::startup(step, format!("answers go to the {kind} store at {place}"));
        }
        self.open.extend(store);
    }

    /// The one for fallbacks with this setting; `None`: memory only.
    #[cfg(feature = "fallback")]
    pub(super) fn second_level(&self, store: FallbackStore) -> Option<SecondLevel> {
        let kind = match store {
            FallbackStore::Memory => return None,
            FallbackStore::File => "file",
            FallbackStore::Redis => "redis",
        };
        self.open.iter().find(|open| open.kind() == kind).cloned()
    }

    /// The breakers before their reads.
    #[cfg(feature = "fallback")]
    pub(super) fn breakers(&self) -> impl Iterator<Item = &CircuitBreaker> {
        self.open.iter().map(SecondLevel::breaker)
    }

    /// Has what waits written, so that an orderly end loses nothing. Blocks the thread
    /// for a moment at most, which is long enough for a store that works.
    pub(super) fn flush(&self) {
        #[cfg(feature = "fallback")]
        for store in &self.open {
            if !store.flush(FLUSH_WITHIN) {
                tracing::warn!(
                    class = "fallback",
                    "the {} store did not take the last answers in time",
                    store.kind()
                );
            }
        }
    }

    pub(super) fn snapshot(&self) -> Vec<StoreSnapshot> {
        let shown = self.refused.clone();
        #[cfg(feature = "fallback")]
        let shown = self.open.iter().fold(shown, |mut shown, store| {
            let now = store.snapshot();
            match shown.iter_mut().find(|refused| refused.kind == now.kind) {
                // What it said at the start is the last that is known of it.
                Some(_) if !was_asked(&now) => {}
                Some(refused) => *refused = now,
                None => shown.push(now),
            }
            shown
        });
        shown
    }
}

/// Whether it was asked for something yet.
#[cfg(feature = "fallback")]
const fn was_asked(store: &StoreSnapshot) -> bool {
    let reads = store.read_hits + store.read_misses + store.read_failures;
    reads + store.written + store.not_written > 0 || store.last_error.is_some()
}

#[cfg(feature = "fallback-file")]
fn open_file(path: &Path, config: &FallbackFileConfig) -> Opened {
    use crate::fallback::store::FileStore;

    let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    let folder = folder.map_err(|error| {
        format!(
            "the folder of `{}` cannot be made: {error}; make it and let the service's user \
             write to it, or set `fallback.file.path`",
            path.display()
        )
    });
    let opened =
        folder.and_then(|()| FileStore::open(path, config.size).map_err(|error| error.to_string()));
    match opened {
        Ok(store) => Opened {
            store: Some(SecondLevel::new(store)),
            why_not: None,
        },
        Err(why_not) => Opened {
            store: Some(SecondLevel::new(FileStore::later(path, config.size))),
            why_not: Some(why_not),
        },
    }
}

#[cfg(not(feature = "fallback-file"))]
fn open_file(_: &Path, _: &FallbackFileConfig) -> Opened {
    Opened::never(not_built("file"))
}

#[cfg(feature = "fallback-redis")]
fn open_redis(config: &FallbackRedisConfig, service: &str) -> Opened {
    use crate::fallback::store::{RedisRoots, RedisStore};

    let Some(url) = &config.url else {
        return Opened::never("`fallback.redis.url` is not set".to_owned());
    };
    let roots = match &config.ca_file {
        Some(file) => RedisRoots::File(file.clone()),
        None => RedisRoots::System,
    };
    match RedisStore::new(url.expose(), &roots) {
        // Its replicas share them. Another service may call its upstream by the same
        // name and mean something else.
        Ok(store) => {
            let store = store.prefix(format!("fallback:{service}:"));
            Opened {
                store: Some(SecondLevel::with_deadline(store, config.deadline)),
                why_not: None,
            }
        }
        Err(error) => Opened::never(error.to_string()),
    }
}

#[cfg(not(feature = "fallback-redis"))]
fn open_redis(_: &FallbackRedisConfig, _: &str) -> Opened {
    Opened::never(not_built("redis"))
}

#[cfg(not(all(feature = "fallback-file", feature = "fallback-redis")))]
fn not_built(kind: &str) -> String {
    format!(
        "this program was built without it: build with the feature `fallback-{kind}` of \
         resilience-core, or set `store: memory`"
    )
}

/// Whether the breaker of that name is one before a store.
pub(super) fn has_breaker(name: &str) -> bool {
    matches!(name, "fallback_file" | "fallback_redis")
}

/// Where a service keeps what is to outlive a reboot, unless it says so itself: what
/// systemd gives it with `StateDirectory=`, else a folder of its own in
/// `/var/lib/resilience`.
pub(super) fn state_dir(service: &str, given_by_systemd: Option<&str>) -> PathBuf {
    // A list, if the unit names several: the first is as good as any.
    let given = given_by_systemd.and_then(|list| list.split(':').next());
    match given.map(Path::new).filter(|path| path.is_absolute()) {
        Some(path) => path.to_owned(),
        None => Path::new("/var/lib/resilience").join(service),
    }
}

/// What a reload has changed and does not put in force: said in the log.
pub(super) fn not_before_the_next_start(before: &Config, now: &Config) -> Vec<String> {
    let mut keys = Vec::new();
    if before.fallback_file() != now.fallback_file() {
        keys.push("fallback.file".to_owned());
    }
    if before.fallback_redis() != now.fallback_redis() {
        keys.push("fallback.redis".to_owned());
    }
    // The defaults are those of a service that is not listed, and so has no name.
    if before.fallback("").store != now.fallback("").store {
        keys.push("fallback.store".to_owned());
    }
    let own = now
        .services()
        .filter(|name| before.fallback(name).store != now.fallback(name).store);
    keys.extend(own.map(|name| format!("services.{name}.fallback.store")));
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::parse("config.yaml", text, []).unwrap_or_else(|errors| panic!("{errors}"))
    }

    #[test]
    fn a_service_has_a_state_directory_of_its_own_unless_systemd_gives_it_one() {
        let dir = |given| state_dir("payments-api", given);
        let own = Path::new("/var/lib/resilience/payments-api");
        assert_eq!(dir(None), own);
        assert_eq!(dir(Some("")), own);
        assert_eq!(dir(Some("relative")), own);
        assert_eq!(
            dir(Some("/var/lib/pay:/var/lib/b")),
            Path::new("/var/lib/pay")
        );
    }

    #[test]
    fn a_reload_names_what_waits_for_the_next_start_and_nothing_else() {
        let changed =
            |before: &str, now: &str| not_before_the_next_start(&config(before), &config(now));
        let live = "fallback: {enabled: false, ttl: 1s, memory: 1MiB, strategy: none}";
        assert_eq!(changed("", live), [""; 0]);
        assert_eq!(
            changed("", "fallback: {file: {size: 1GB}, redis: {deadline: 5ms}}"),
            ["fallback.file", "fallback.redis"]
        );
        assert_eq!(
            changed(
                "services: {a: , b: }",
                "services: {a: {fallback: {store: file}}, b: }"
            ),
            ["services.a.fallback.store"]
        );
        assert_eq!(
            changed(
                "",
                "fallback: {store: file}\nservices: {a: {fallback: {store: memory}}}"
            ),
            ["fallback.store"]
        );
    }

    #[test]
    fn no_store_is_opened_that_nothing_uses() {
        let dir = tempfile::tempdir().unwrap();
        let stores = Stores::open(&config("fallback: {file: {path: a.redb}}"), "a", dir.path());
        assert_eq!(stores.snapshot(), []);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
