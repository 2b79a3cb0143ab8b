//! Breakers by name.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use parking_lot::RwLock;

use super::{BreakerConfig, CircuitBreaker, KeyedBreakers, KeyedConfig, journal::Observer};
use crate::snapshot::{BreakerSnapshot, KeyedSnapshot};

/// The breakers of a service, by name. A handle: clones share them.
///
/// Looking a breaker up takes a read lock; do it once and keep the
/// [`CircuitBreaker`], which is a handle too.
#[derive(Clone, Default)]
pub struct Registry {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    breakers: RwLock<BTreeMap<String, CircuitBreaker>>,
    families: RwLock<BTreeMap<String, KeyedBreakers>>,
    /// Those before something of the program's own, such as a fallback's store. An
    /// upstream of the same name takes the name over.
    internal: RwLock<BTreeMap<String, CircuitBreaker>>,
    observer: RwLock<Option<Observer>>,
}

impl Registry {
    /// An empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The breaker of that name, made with `config` if there is none yet.
    ///
    /// For the author of a service, who knows the names; whoever takes a name
    /// from outside asks [`find`](Self::find), which makes nothing.
    pub fn get_or_create(&self, name: &str, config: &BreakerConfig) -> CircuitBreaker {
        if let Some(breaker) = self.shared.breakers.read().get(name) {
            return breaker.clone();
        }
        match self.shared.breakers.write().entry(name.to_owned()) {
            Entry::Occupied(entry) => entry.get().clone(),
            Entry::Vacant(entry) => {
                let breaker = CircuitBreaker::new(name, config.clone());
                if let Some(observer) = &*self.shared.observer.read() {
                    breaker.observe(observer.clone());
                }
                entry.insert(breaker).clone()
            }
        }
    }

    /// The family of that name, made with these settings if there is none yet.
    ///
    /// In metrics its calls are counted together with those of a breaker of
    /// the same name.
    ///
    /// # Example
    ///
    /// ```
    /// use resilience_core::{BreakerConfig, KeyedConfig, Registry};
    ///
    /// let registry = Registry::new();
    /// let tenants =
    ///     registry.keyed("payment_api", &BreakerConfig::default(), KeyedConfig::default());
    /// assert!(registry.find("payment_api:tenant-7").is_none());
    /// let breaker = tenants.get("tenant-7");
    /// assert!(registry.find("payment_api:tenant-7").is_some());
    /// # let _ = breaker;
    /// ```
    pub fn keyed(&self, name: &str, config: &BreakerConfig, limits: KeyedConfig) -> KeyedBreakers {
        if let Some(family) = self.find_keyed(name) {
            return family;
        }
        match self.shared.families.write().entry(name.to_owned()) {
            Entry::Occupied(entry) => entry.get().clone(),
            Entry::Vacant(entry) => {
                let family = KeyedBreakers::new(name, config, limits);
                if let Some(observer) = &*self.shared.observer.read() {
                    family.observe(observer);
                }
                entry.insert(family).clone()
            }
        }
    }

    /// The breaker of that name, if there is one; `payment_api:tenant-7` is a
    /// member of the family `payment_api`.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<CircuitBreaker> {
        let breaker = self.shared.breakers.read().get(name).cloned();
        let breaker = breaker.or_else(|| {
            let families = self.families();
            families.iter().find_map(|family| family.find(name))
        });
        breaker.or_else(|| self.shared.internal.read().get(name).cloned())
    }

    /// The family of that name, if there is one.
    #[must_use]
    pub fn find_keyed(&self, name: &str) -> Option<KeyedBreakers> {
        self.shared.families.read().get(name).cloned()
    }

    /// All families, by name.
    #[must_use]
    pub fn families(&self) -> Vec<KeyedBreakers> {
        self.shared.families.read().values().cloned().collect()
    }

    /// A picture of each family, by name.
    #[must_use]
    pub fn keyed_snapshot(&self) -> Vec<KeyedSnapshot> {
        self.families()
            .iter()
            .map(KeyedBreakers::snapshot)
            .collect()
    }

    /// All breakers but the members of families, by name.
    #[must_use]
    pub fn all(&self) -> Vec<CircuitBreaker> {
        // Upstreams last: they win.
        let mut all = self.shared.internal.read().clone();
        all.extend(self.shared.breakers.read().clone());
        all.into_values().collect()
    }

    /// The same without those before something of the program's own: they are not
    /// configured by the file, and say nothing of an upstream.
    #[cfg(feature = "service")]
    pub(crate) fn upstreams(&self) -> Vec<CircuitBreaker> {
        self.shared.breakers.read().values().cloned().collect()
    }

    /// Whether the breaker of that name is one of the program's own.
    #[cfg(feature = "service")]
    pub(crate) fn is_internal(&self, name: &str) -> bool {
        let taken_over = || self.shared.breakers.read().contains_key(name);
        self.shared.internal.read().contains_key(name) && !taken_over()
    }

    /// Those of the program's own.
    #[cfg(all(feature = "service", feature = "fallback"))]
    pub(crate) fn internal(&self) -> Vec<CircuitBreaker> {
        self.shared.internal.read().values().cloned().collect()
    }

    /// Adds a breaker of the program's own, whose settings nobody changes, with an
    /// observer that stays.
    #[cfg(all(feature = "service", feature = "fallback"))]
    pub(crate) fn add_internal(&self, breaker: &CircuitBreaker, observer: &Observer) {
        breaker.describe(breaker.built_in());
        breaker.observe(observer.clone());
        let mut internal = self.shared.internal.write();
        internal.insert(breaker.name().to_string(), breaker.clone());
    }

    /// A picture of each breaker, by name.
    #[must_use]
    pub fn snapshot(&self) -> Vec<BreakerSnapshot> {
        // The handles are copied first: the lock is not held while reading.
        self.all().iter().map(CircuitBreaker::snapshot).collect()
    }

    /// Calls `observer` after each transition of any breaker, outside of any
    /// lock. It must not block: it runs in whoever's call changed the state.
    pub fn observe(&self, observer: &Observer) {
        *self.shared.observer.write() = Some(observer.clone());
        let upstreams = self.shared.breakers.read().clone();
        for breaker in upstreams.values() {
            breaker.observe(observer.clone());
        }
        for family in self.families() {
            family.observe(observer);
        }
    }
}

impl CircuitBreaker {
    /// Shows where its settings came from.
    #[cfg(feature = "service")]
    pub(crate) fn describe(&self, settings: crate::snapshot::BreakerSettings) {
        self.cell.journal.lock().settings = settings;
    }

    /// Its settings as those of one that no file configures.
    #[cfg(all(feature = "service", feature = "fallback"))]
    fn built_in(&self) -> crate::snapshot::BreakerSettings {
        let config = self.cell.journal.lock().config.clone();
        let setting = |(key, value): (&str, String)| crate::snapshot::Setting {
            key: key.to_owned(),
            value,
            origin: "built in".to_owned(),
        };
        let values = config.options().list().into_iter().map(setting).collect();
        crate::snapshot::BreakerSettings { values }
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.all()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_name_is_the_same_breaker_and_find_makes_none() {
        let registry = Registry::new();
        assert!(registry.find("payment_api").is_none());
        let made = registry.get_or_create("payment_api", &BreakerConfig::default());
        made.try_acquire().unwrap().success();
        let found = registry.find("payment_api").unwrap();
        assert_eq!(found.snapshot().totals.success, 1);
        assert!(registry.find("payment_apl").is_none());
        assert_eq!(registry.all().len(), 1);
    }

    #[cfg(all(feature = "service", feature = "fallback"))]
    #[test]
    fn a_breaker_of_the_programs_own_is_like_any_other_but_for_an_upstream_of_its_name() {
        let registry = Registry::new();
        let config = BreakerConfig::default();
        let ours = CircuitBreaker::new("fallback_redis", config.clone());
        let quiet: Observer = Arc::new(|_, _| {});
        registry.add_internal(&ours, &quiet);
        ours.try_acquire().unwrap().success();
        let shown = |registry: &Registry| {
            let breaker = registry.find("fallback_redis").unwrap();
            let all = registry.snapshot();
            assert_eq!(all.len(), 1);
            assert_eq!(all[0].totals, breaker.snapshot().totals);
            all[0].totals.success
        };
        assert_eq!(shown(&registry), 1);
        assert!(registry.is_internal("fallback_redis"));
        assert_eq!(registry.upstreams().len(), 0);
        let origins = ours.snapshot().config.values;
        assert!(origins.iter().all(|one| one.origin == "built in") && !origins.is_empty());

        let _ = registry.get_or_create("fallback_redis", &config);
        assert_eq!(shown(&registry), 0);
        assert!(!registry.is_internal("fallback_redis"));
    }
}
