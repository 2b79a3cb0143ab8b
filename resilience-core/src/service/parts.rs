//! What a running service consists of, and the picture taken of it.

#[cfg(feature = "fallback")]
use std::collections::HashMap;
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use jiff::Timestamp;
use parking_lot::Mutex;

use super::{
    fallbacks::Fallbacks,
    pools::Pools,
    stores::{self, Stores, not_before_the_next_start},
};
#[cfg(feature = "fallback")]
use crate::{breaker::Observer, control::concerns, fallback::Fallback};
use crate::{
    breaker::{CircuitBreaker, KeyedBreakers, KeyedConfig, Registry},
    clock::Clock,
    config::{Config, ConfigStore, LogFormat, LogLevel, Reload},
    control::until,
    health::Health,
    http::HttpMetrics,
    log::{self, LogHandle},
    snapshot::{BlackBoxSnapshot, BreakerSnapshot, FORMAT, HealthStatus, Snapshot, State},
};

/// Events in one snapshot, over all breakers: a black box stays small.
const MOST_EVENTS: usize = 4_096;

/// An open circuit in a black box older than this is not taken over.
const OLDEST_TRIP: Duration = Duration::from_secs(24 * 60 * 60);

/// What a snapshot is taken of.
pub(super) struct Parts {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) replica: String,
    pub(super) started_at: Timestamp,
    pub(super) registry: Registry,
    pub(super) config: ConfigStore,
    pub(super) health: Health,
    pub(super) http: HttpMetrics,
    pub(super) pools: Pools,
    pub(super) fallbacks: Fallbacks,
    /// The same by their type, for those who ask for one again. Held while one is
    /// made or all are configured, so that none is left with old settings.
    #[cfg(feature = "fallback")]
    pub(super) made: Mutex<HashMap<String, Fallback>>,
    pub(super) stores: Arc<Stores>,
    /// Its choice of stores is in force until the next start.
    pub(super) at_the_start: Arc<Config>,
    pub(super) clock: Clock,
    /// Clock reading of the last beat; 0 before the first.
    pub(super) heartbeat_ns: AtomicU64,
    /// What the process before this one left.
    pub(super) former: Option<Snapshot>,
    pub(super) refused_black_boxes: u64,
    pub(super) write_failures: Arc<AtomicU64>,
    pub(super) log: Option<LogHandle>,
    pub(super) creation: Mutex<()>,
}

impl Parts {
    pub(super) fn breaker(&self, name: &str, config: &Config) -> CircuitBreaker {
        // The one before a store guards no upstream.
        let find = || {
            let found = self.registry.find(name);
            found.filter(|_| !self.registry.is_internal(name))
        };
        if let Some(breaker) = find() {
            return breaker;
        }
        // Two that ask for a new name at once must not both restore it.
        let _one = self.creation.lock();
        if let Some(breaker) = find() {
            return breaker;
        }
        if self.registry.is_internal(name) {
            tracing::warn!(
                class = "circuit_breaker",
                service = name,
                "an upstream has the name of the breaker before a store of the fallback, which \
                 is not shown any more: give the upstream another name"
            );
        }
        let breaker = self.registry.get_or_create(name, &config.breaker(name));
        breaker.describe(config.breaker_settings(name));
        self.restore(&breaker, name);
        breaker
    }

    pub(super) fn keyed(&self, name: &str, config: &Config, limits: KeyedConfig) -> KeyedBreakers {
        if let Some(family) = self.registry.find_keyed(name) {
            return family;
        }
        let _one = self.creation.lock();
        if let Some(family) = self.registry.find_keyed(name) {
            return family;
        }
        let family = self.registry.keyed(name, &config.breaker(name), limits);
        family.describe(config.breaker_settings(name));
        if let Some(former) = &self.former
            && let Some(left) = former.keyed.iter().find(|family| family.name == name)
        {
            family.restore(left, former.taken_at, OLDEST_TRIP);
        }
        family
    }

    #[cfg(feature = "fallback")]
    pub(super) fn fallback(&self, name: &str) -> Fallback {
        let mut made = self.made.lock();
        if let Some(fallback) = made.get(name) {
            return fallback.clone();
        }
        let mut settings = self.config.current().fallback(name).clone();
        settings.store = self.at_the_start.fallback(name).store;
        let builder = Fallback::builder(name, &settings);
        let fallback = match self.stores.second_level(settings.store) {
            Some(store) => builder.second_level(store).build(),
            None => builder.build(),
        };
        let left = self
            .former
            .as_ref()
            .and_then(|former| former.fallback(name));
        if let Some(left) = left {
            fallback.restore(left);
            if let Some(still) = concerns::of_fallback(&fallback.snapshot()) {
                tracing::warn!(
                    class = "fallback",
                    fallback = name,
                    "after the restart {still}"
                );
            }
        }
        self.fallbacks.add(Arc::new(fallback.clone()));
        if made.is_empty() {
            self.watch_fallbacks();
        }
        made.insert(name.to_owned(), fallback.clone());
        fallback
    }

    /// Makes at once what somebody had changed by hand in the process before, whenever
    /// the code will ask for it: until it is made it is in no picture, and should this
    /// process end before, the next one would know nothing of it.
    ///
    /// Not the members of families, whose limits only the code knows.
    pub(super) fn take_over_by_hand(&self) {
        let Some(former) = &self.former else { return };
        let config = self.config.current();
        let now = Timestamp::now();
        for left in &former.breakers {
            let set = left.overridden.as_ref();
            let lasts = set.is_some_and(|set| set.expires_at.is_none_or(|end| end > now));
            // That of a store is there, or its store is used no more.
            if lasts && !stores::has_breaker(&left.name) {
                self.breaker(&left.name, &config);
            }
        }
        #[cfg(feature = "fallback")]
        for left in &former.fallbacks {
            if left.switched.is_some() {
                let _ = self.fallback(&left.name);
            }
        }
    }

    /// Shows the breakers before the stores with the others, so that they can be
    /// looked at, reset and overridden; `observer` is told of what happens to them.
    #[cfg(feature = "fallback")]
    pub(super) fn show_stores(&self, observer: &Observer) {
        for breaker in self.stores.breakers() {
            self.registry.add_internal(breaker, observer);
            self.restore(breaker, &breaker.name());
        }
    }

    /// A fallback that is switched by hand, a store that is down, or one whose breaker
    /// is overridden, is a warning of `/health/ready` and no more: the replica serves
    /// all the same.
    #[cfg(feature = "fallback")]
    fn watch_fallbacks(&self) {
        let (fallbacks, stores) = (self.fallbacks.clone(), Arc::clone(&self.stores));
        let registry = self.registry.clone();
        let severity = crate::snapshot::Severity::Warn;
        let added = self.health.register_fn("fallbacks", severity, move || {
            let (fallbacks, stores) = (fallbacks.snapshot(), stores.snapshot());
            let switched = fallbacks.iter().filter_map(concerns::of_fallback);
            let down = stores.iter().filter_map(concerns::of_store);
            // Open by itself it is down, which is said already.
            let breakers: Vec<_> = registry.internal().iter().map(picture).collect();
            let overridden = breakers.iter().filter(|one| one.overridden.is_some());
            let overridden = overridden.filter_map(to_be_told);
            let found: Vec<_> = switched.chain(down).chain(overridden).collect();
            match found.is_empty() {
                true => (HealthStatus::Pass, None),
                false => (HealthStatus::Warn, Some(found.join("; "))),
            }
        });
        if let Err(error) = added {
            tracing::error!(class = "health", "the fallbacks are not watched: {error}");
        }
    }

    /// Takes over what the process before this one left of a breaker.
    fn restore(&self, breaker: &CircuitBreaker, name: &str) {
        let Some(former) = &self.former else { return };
        let Some(left) = former.breakers.iter().find(|b| b.name == name) else {
            return;
        };
        breaker.restore(left, former.taken_at, Timestamp::now(), OLDEST_TRIP);
    }

    /// Puts a configuration in force.
    pub(super) fn apply(&self, config: &Config) {
        if let Some(log) = &self.log {
            let logging = config.logging();
            log.set_level(level_of(logging.level));
            log.set_format(match logging.format {
                LogFormat::Json => log::Format::Json,
                _ => log::Format::Text,
            });
        }
        for name in config.services() {
            self.breaker(name, config);
        }
        for breaker in self.registry.upstreams() {
            let name = breaker.name();
            breaker.configure(config.breaker(&name));
            breaker.describe(config.breaker_settings(&name));
        }
        for family in self.registry.families() {
            family.configure(&config.breaker(family.name()));
            family.describe(config.breaker_settings(family.name()));
        }
        self.health
            .set_severity("database", config.ready().database);
        self.health
            .set_severity("circuit_breakers", config.ready().circuit_breakers);
        {
            #[cfg(feature = "fallback")]
            let _none_is_made = self.made.lock();
            self.fallbacks.configure(config, &self.at_the_start);
        }
        #[cfg(not(feature = "fallback"))]
        if config.set_explicitly("fallback") {
            tracing::warn!(
                "`fallback` is set, and this program was built without it: build with the \
                 feature `fallback` of resilience-core"
            );
        }
    }

    /// Lets breakers go that nobody asks for any more.
    pub(super) fn tidy(&self) {
        for family in self.registry.families() {
            family.tidy();
        }
    }

    pub(super) fn poll_config(&self) {
        let before = self.config.current();
        match self.config.poll() {
            Reload::Unchanged => {}
            Reload::Applied(config) => {
                self.apply(&config);
                if config.database() != before.database() {
                    self.pools.configure(before.database(), config.database());
                }
                for key in not_before_the_next_start(&before, &config) {
                    tracing::warn!(
                        class = "config",
                        "`{key}` was changed: what it was at the start is in force until the \
                         next start"
                    );
                }
                tracing::info!(
                    "the configuration was reloaded from {}",
                    source_of(self.config.path())
                );
            }
            Reload::Refused(errors) => tracing::error!(
                class = "config",
                "the configuration was not reloaded, the last good one stays in force: {errors}"
            ),
        }
    }

    /// An open circuit is a warning of `/health/ready`, never the reason why
    /// every replica is drained at once. So is an override, whatever its kind:
    /// one that was forgotten is an incident that waits. The breakers before stores
    /// are left to the check `fallbacks`, which is never critical: somebody may make
    /// this one so, and a failed store is no reason to take a replica out.
    pub(super) fn watch_circuits(&self) {
        let registry = self.registry.clone();
        let severity = self.config.current().ready().circuit_breakers;
        let added = self
            .health
            .register_fn("circuit_breakers", severity, move || {
                let breakers: Vec<_> = registry.upstreams().iter().map(picture).collect();
                let mut found: Vec<String> = breakers.iter().filter_map(to_be_told).collect();
                // One line a family: how many keys there are is not up to us.
                let families = registry.families();
                let not_closed: Vec<String> = families.iter().filter_map(not_closed).collect();
                let all_closed = not_closed.is_empty()
                    && breakers
                        .iter()
                        .all(|breaker| breaker.state == State::Closed);
                found.extend(not_closed);
                match (found.is_empty(), all_closed) {
                    (true, _) => (HealthStatus::Pass, None),
                    (false, true) => (HealthStatus::Warn, Some(found.join(", "))),
                    (false, false) => (HealthStatus::Fail, Some(found.join(", "))),
                }
            });
        debug_assert!(added.is_ok(), "the first check of that name");
    }

    pub(super) fn heartbeat_age(&self) -> Option<Duration> {
        match self.heartbeat_ns.load(Relaxed) {
            0 => None,
            beat => Some(Duration::from_nanos(
                self.clock.now_ns().saturating_sub(beat),
            )),
        }
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let heartbeat_age = self.heartbeat_age();
        Snapshot {
            format: FORMAT,
            service: self.name.clone(),
            replica: self.replica.clone(),
            pid: std::process::id(),
            version: self.version.clone(),
            started_at: self.started_at,
            taken_at: Timestamp::now(),
            heartbeat_age_ms: heartbeat_age
                .map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            breakers: within_budget(self.registry.snapshot()),
            keyed: self.registry.keyed_snapshot(),
            pools: self.pools.snapshot(),
            fallbacks: self.fallbacks.snapshot(),
            stores: self.stores.snapshot(),
            health: self.health.snapshot(),
            config: self.config.snapshot(),
            http: self.http.snapshot(),
            black_box: BlackBoxSnapshot {
                refused: self.refused_black_boxes,
                write_failures: self.write_failures.load(Relaxed),
            },
        }
    }
}

fn picture(breaker: &CircuitBreaker) -> BreakerSnapshot {
    breaker.snapshot()
}

/// What health has to say of a breaker: `payment_api is OPEN`.
fn to_be_told(breaker: &BreakerSnapshot) -> Option<String> {
    let (name, state) = (&breaker.name, breaker.state);
    let set = breaker.overridden.as_ref().map(|set| {
        let by = set.actor.as_ref().map(|actor| format!(", set by {actor}"));
        (set.kind, until(set.expires_at) + &by.unwrap_or_default())
    });
    match (set, state) {
        (None, State::Closed) => None,
        (None, _) => Some(format!("{name} is {state}")),
        (Some((kind, until)), State::Closed) => Some(format!("{name} is {kind} {until}")),
        (Some((kind, until)), _) => Some(format!("{name} is {state} ({kind} {until})")),
    }
}

/// How many members of a family are not closed, if there are any.
fn not_closed(family: &KeyedBreakers) -> Option<String> {
    let all = family.all();
    let is_not = |breaker: &&CircuitBreaker| breaker.state() != State::Closed;
    let (all, not) = (all.len(), all.iter().filter(is_not).count());
    (not > 0).then(|| format!("{not} of {all} keys of {} are not closed", family.name()))
}

/// Leaves out the oldest events of a service with very many breakers.
fn within_budget(mut breakers: Vec<BreakerSnapshot>) -> Vec<BreakerSnapshot> {
    let each = (MOST_EVENTS / breakers.len().max(1)).max(2);
    for breaker in &mut breakers {
        breaker.events.truncate(each);
    }
    breakers
}

const fn level_of(level: LogLevel) -> tracing::Level {
    match level {
        LogLevel::Error => tracing::Level::ERROR,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Debug => tracing::Level::DEBUG,
        LogLevel::Trace => tracing::Level::TRACE,
    }
}

pub(super) fn source_of(file: Option<&Path>) -> String {
    file.map_or_else(
        || "defaults and environment".to_owned(),
        |file| format!("`{}` and the environment", file.display()),
    )
}
