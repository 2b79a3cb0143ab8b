//! The configuration: one YAML file, environment variables over it, all
//! problems reported at once, and a new file taken over while the service runs.
//!
//! ```yaml
//! resilience:
//!   circuit_breaker:            # defaults of every breaker; services.<name> overrides any of them
//!     enabled: true
//!     window: {calls: 100}      # or {seconds: 60}
//!     minimum_calls: 20
//!     failure_rate_threshold: 50      # percent, trips at >=
//!     slow_call_duration: 2s          # or off
//!     slow_call_rate_threshold: 100   # percent
//!     wait_in_open: 60s
//!     wait_multiplier: 1              # each opening in a row waits so many times longer
//!     wait_max: 600s
//!     wait_jitter: 0                  # percent, earlier or later
//!     automatic_half_open: false      # true: when the wait is over; false: with the next call
//!     half_open_permits: 10
//!     half_open_max_wait: off         # or 30s
//!     ramp_up: off                    # or 30s: a growing share of the calls before it is closed
//!     probe_lease: 30s
//! fallback:                     # services.<name> overrides any of these but `file` and `redis`
//!   enabled: true
//!   strategy: cache             # or static, service, none
//!   ttl: 300s                   # fresh for so long
//!   stale_limit: 24h            # served when the upstream fails, up to this age
//!   stale_while_revalidate: off # or 60s: served at once while a newer one is fetched
//!   obey_cache_control: true    # what the upstream says goes before ttl
//!   memory: 64MiB               # of each service
//!   largest_body: 1MiB
//!   store: memory               # or file, redis
//!   file: {path: fallback.redb, size: 256MiB}
//!   redis: {deadline: 4ms}      # and url: redis://127.0.0.1:6379, ca_file: /etc/ssl/redis.pem
//! database: {pool_size: 20, max_overflow: 10, pool_timeout: 30s, statement_timeout: 30s, slow_query: 100ms, leak_threshold: 60s}
//! health: {ready: {database: critical, circuit_breakers: warn}}
//! logging: {format: text, level: info}
//! services: {payment_api: {circuit_breaker: {wait_in_open: 30s}, fallback: {ttl: 60s}}}
//! ```
//!
//! Above are the defaults, except for `services`, which is empty. Durations
//! carry units: `30s`, `100ms`, `1h 30m`; so do sizes: `64MiB`, `1GB`.
//! With `strategy: static` a service may have
//! `answer: {status: 200, content_type: application/json, body: '[]'}`.
//!
//! # Environment
//!
//! `APP__DATABASE__POOL_SIZE=30` sets `database.pool_size` and wins over the
//! file: the prefix, then the parts of the key, joined by two underscores, in
//! any case. One that names no key is an error like an unknown key of the file:
//! silence would hide a typing mistake.
//!
//! The names of variables know neither case nor `-` nor `.`. A part finds the
//! key of the file that is like it but for these: with a service `Payment-API`
//! in the file, `APP__SERVICES__PAYMENT_API__FALLBACK__TTL` means that one. A
//! service that the file does not list gets the lower-case name. A service name
//! with two underscores in a row cannot be named by a variable.

mod breaker;
mod env;
mod error;
mod fallback;
mod reader;
mod schema;
mod sections;
mod source;
mod store;
#[cfg(test)]
mod tests;
mod text;
mod tree;
mod value;
mod yaml;

use std::{collections::HashMap, path::Path};

pub use error::{ConfigErrors, Problem};
pub use fallback::{
    BadRedisUrl, FallbackConfig, FallbackFileConfig, FallbackRedisConfig, FallbackStore,
    FallbackStrategy, FixedAnswer, RedisUrl,
};
pub use sections::{DatabaseConfig, LogFormat, LogLevel, LoggingConfig, ReadyConfig};
pub use source::{ConfigSource, DEFAULT_PREFIX, process_env};
pub use store::{ConfigStore, Reload};

use crate::{
    breaker::BreakerConfig,
    snapshot::{BreakerSettings, Setting},
};
use breaker::{Breaker, BreakerValues};
use error::Problems;
use fallback::Fallback;
use reader::{Reader, Section};
use tree::Node;

/// Most services a file may list: each is a breaker, and each breaker a dozen
/// series in the metrics.
const MAX_SERVICES: usize = 1_000;

/// A whole configuration. A value of this type is always valid.
///
/// # Example
///
/// ```
/// use resilience_core::config::Config;
/// use std::time::Duration;
///
/// let text = "services: {payment_api: {circuit_breaker: {wait_in_open: 30s}}}";
/// let config = Config::parse("config.yaml", text, [])?;
/// let wait = |name| config.breaker(name).options().wait_in_open;
/// assert_eq!(wait("payment_api"), Duration::from_secs(30));
/// assert_eq!(wait("rates_api"), Duration::from_secs(60));
///
/// let error = Config::parse("config.yaml", "database: {pool_sise: 9}", []).unwrap_err();
/// assert!(error.to_string().contains("did you mean `pool_size`?"));
/// # Ok::<(), resilience_core::config::ConfigErrors>(())
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    file_name: String,
    breaker: Breaker,
    fallback: FallbackConfig,
    fallback_file: FallbackFileConfig,
    fallback_redis: FallbackRedisConfig,
    database: DatabaseConfig,
    ready: ReadyConfig,
    logging: LoggingConfig,
    /// In file order.
    services: Vec<String>,
    by_name: HashMap<String, Service>,
    effective: Vec<Setting>,
    explicit: Vec<String>,
}

/// What is in force for one service.
#[derive(Clone, Debug)]
struct Service {
    breaker: Breaker,
    fallback: FallbackConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self::read(&Node::empty(), "default", Problems::new("default"))
            .expect("the defaults are inside of what is allowed")
    }
}

impl Config {
    /// Reads a file, if there is one, and the variables that begin with
    /// `APP__`. [`process_env`] gives those of this process;
    /// [`ConfigSource`] takes another prefix.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, each with file, line, key, value and what is
    /// allowed. A file that cannot be read is wrong too.
    pub fn load(
        path: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigErrors> {
        let source = ConfigSource::new(DEFAULT_PREFIX, env);
        match path {
            Some(path) => source.file(path).load(),
            None => source.load(),
        }
    }

    /// As [`load`](Self::load) from `text`, which is called `name` in errors.
    /// It may be any bytes; those that are not UTF-8 are an error like others.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn parse(
        name: &str,
        text: impl AsRef<[u8]>,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigErrors> {
        ConfigSource::new(DEFAULT_PREFIX, env).parse(name, text)
    }

    /// Settings of the breaker `name`; of one that is not listed, the defaults.
    #[must_use]
    pub fn breaker(&self, name: &str) -> BreakerConfig {
        self.breaker_of(name).config.clone()
    }

    /// The same with where each came from. Keys are relative to the
    /// `circuit_breaker` section, such as `wait_in_open`: a value may come
    /// from the service's own section or from `resilience.circuit_breaker`.
    #[must_use]
    pub fn breaker_settings(&self, name: &str) -> BreakerSettings {
        self.breaker_of(name).settings(&self.file_name)
    }

    /// Settings of the fallback for the service `name`; for one that is not
    /// listed, the defaults.
    #[must_use]
    pub fn fallback(&self, name: &str) -> &FallbackConfig {
        self.by_name
            .get(name)
            .map_or(&self.fallback, |service| &service.fallback)
    }

    /// The file for answers with `store: file`.
    #[must_use]
    pub fn fallback_file(&self) -> &FallbackFileConfig {
        &self.fallback_file
    }

    /// The Redis for answers with `store: redis`.
    #[must_use]
    pub fn fallback_redis(&self) -> &FallbackRedisConfig {
        &self.fallback_redis
    }

    /// Whether something keeps its answers in that store: the services that are
    /// listed, and those that are not.
    #[must_use]
    pub fn uses_store(&self, store: FallbackStore) -> bool {
        let own = self.by_name.values().map(|service| &service.fallback);
        own.chain([&self.fallback])
            .any(|fallback| fallback.store == store)
    }

    /// The PostgreSQL pool.
    #[must_use]
    pub fn database(&self) -> &DatabaseConfig {
        &self.database
    }

    /// What weighs how much in `/health/ready`.
    #[must_use]
    pub fn ready(&self) -> &ReadyConfig {
        &self.ready
    }

    /// Log lines.
    #[must_use]
    pub fn logging(&self) -> &LoggingConfig {
        &self.logging
    }

    /// Names of the services that are listed, in file order, those that only
    /// a variable names last.
    pub fn services(&self) -> impl Iterator<Item = &str> {
        self.services.iter().map(String::as_str)
    }

    /// Every value and where it came from, in the order of the example in the
    /// [module's documentation](self). Of a service only what is set for it;
    /// the rest it inherits.
    #[must_use]
    pub fn effective(&self) -> Vec<Setting> {
        self.effective.clone()
    }

    /// Whether file or environment set `prefix` or a key below it, such as
    /// `fallback` or `database.pool_size`. For a warning that what was set
    /// there is not put to use.
    #[must_use]
    pub fn set_explicitly(&self, prefix: &str) -> bool {
        self.explicit.iter().any(|key| {
            key.strip_prefix(prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }

    fn breaker_of(&self, name: &str) -> &Breaker {
        self.by_name
            .get(name)
            .map_or(&self.breaker, |service| &service.breaker)
    }

    /// Reads the tree; `problems` has those that were found before.
    fn read(tree: &Node, file_name: &str, problems: Problems) -> Result<Self, ConfigErrors> {
        let mut reader = Reader::new(file_name, problems);
        let top = reader.top(tree);

        let section = reader.section(&top, "resilience", schema::RESILIENCE);
        let section = reader.section(&section, "circuit_breaker", schema::BREAKER);
        let breaker = breaker::read(&mut reader, &section, &BreakerValues::default());

        let fallback = fallback::read(&mut reader, &top);

        let database = sections::database(&mut reader, &top);
        let ready = sections::ready(&mut reader, &top);
        let logging = sections::logging(&mut reader, &top);
        let (services, by_name) = read_services(&mut reader, &top, &breaker, &fallback);

        let gathered = reader.finish()?;
        Ok(Self {
            file_name: gathered.file_name,
            breaker,
            fallback: fallback.config,
            fallback_file: fallback.file,
            fallback_redis: fallback.redis,
            database,
            ready,
            logging,
            services,
            by_name,
            effective: gathered.settings,
            explicit: gathered.explicit,
        })
    }
}

fn read_services(
    reader: &mut Reader,
    top: &Section<'_>,
    breaker: &Breaker,
    fallback: &Fallback,
) -> (Vec<String>, HashMap<String, Service>) {
    let all = reader.open_section(top, "services", "a section for each service");
    let mut names = Vec::new();
    let mut by_name = HashMap::new();
    for (index, entry) in all.entries().iter().enumerate() {
        let name = entry.key.as_str();
        let full = all.full(name);
        if index >= MAX_SERVICES {
            let message = format!("more than {MAX_SERVICES} services, the most that are allowed");
            reader.bad_name(entry, &full, message);
            break;
        }
        if !is_name(name) {
            let message = format!(
                "the service name `{}` is not allowed: 1 to 64 of A-Z, a-z, 0-9, `_`, `.` and `-`",
                error::quoted(name)
            );
            reader.bad_name(entry, &full, message);
            continue;
        }
        let section = reader.section(&all, name, schema::SERVICE).overriding();
        let own = reader.section(&section, "circuit_breaker", schema::BREAKER);
        let breaker = breaker::read(reader, &own, &breaker.values);
        let own = reader.section(&section, "fallback", schema::FALLBACK_OF_SERVICE);
        let fallback = fallback::read_own(reader, &own, fallback);
        names.push(name.to_owned());
        by_name.insert(name.to_owned(), Service { breaker, fallback });
    }
    (names, by_name)
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}
