//! The fallbacks of a service, whatever answers they keep.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::{
    config::{Config, FallbackConfig},
    snapshot::FallbackSnapshot,
};

/// A fallback that can be shown, switched by hand and configured while it is used.
pub(crate) trait ManagedFallback: Send + Sync {
    /// The service that it stands in for, the `service` label.
    fn name(&self) -> &str;

    /// A picture of it.
    fn snapshot(&self) -> FallbackSnapshot;

    /// Switches it on or off, whatever the configuration says; `None`: as that says.
    fn switch(&self, on: Option<bool>, actor: Option<String>, reason: Option<String>);

    /// Forgets every answer; how many were in memory.
    fn purge(&self) -> u64;

    /// Puts settings in force.
    fn configure(&self, config: &FallbackConfig);
}

/// Those that a service has. A handle: clones share them.
#[derive(Clone, Default)]
pub(crate) struct Fallbacks(Arc<Mutex<Vec<Arc<dyn ManagedFallback>>>>);

impl Fallbacks {
    /// Adds one; it takes the place of one of the same name, whose series it
    /// would double.
    #[cfg(any(feature = "fallback", test))]
    pub(crate) fn add(&self, fallback: Arc<dyn ManagedFallback>) {
        let mut fallbacks = self.0.lock();
        fallbacks.retain(|other| other.name() != fallback.name());
        fallbacks.push(fallback);
    }

    /// All of them; nothing of theirs runs under a lock of ours.
    pub(crate) fn all(&self) -> Vec<Arc<dyn ManagedFallback>> {
        self.0.lock().clone()
    }

    /// Pictures of all of them, by name.
    pub(crate) fn snapshot(&self) -> Vec<FallbackSnapshot> {
        let mut shown: Vec<_> = self.all().iter().map(|one| one.snapshot()).collect();
        shown.sort_by(|a, b| a.name.cmp(&b.name));
        shown
    }

    /// Puts a configuration in force. What somebody has switched by hand stays so,
    /// and so does the store that each was begun with.
    pub(crate) fn configure(&self, config: &Config, stores: &Config) {
        for fallback in self.all() {
            let name = fallback.name();
            let mut settings = config.fallback(name).clone();
            settings.store = stores.fallback(name).store;
            fallback.configure(&settings);
        }
    }
}

#[cfg(feature = "fallback")]
impl ManagedFallback for crate::fallback::Fallback {
    fn name(&self) -> &str {
        self.name()
    }

    fn snapshot(&self) -> FallbackSnapshot {
        self.snapshot()
    }

    fn switch(&self, on: Option<bool>, actor: Option<String>, reason: Option<String>) {
        self.switch(on, actor, reason);
    }

    fn purge(&self) -> u64 {
        self.purge()
    }

    fn configure(&self, config: &FallbackConfig) {
        self.configure(config);
    }
}
