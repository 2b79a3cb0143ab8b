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
        breaker.or_else(|| {
            let families = self.families();
            families.iter().find_map(|family| family.find(name))
        })
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
        self.shared.breakers.read().values().cloned().collect()
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
        for breaker in self.all() {
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
}
