//! The pools of a service, whatever they are made of.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::{config::DatabaseConfig, snapshot::PoolSnapshot};

/// A pool that can be shown, changed by hand and configured while it is used.
pub(crate) trait ManagedPool: Send + Sync {
    /// Its name, the `pool` label.
    fn name(&self) -> &str;

    /// A picture of it.
    fn snapshot(&self) -> PoolSnapshot;

    /// Gives it other limits. Connections beyond them go when they are returned.
    fn resize(&self, pool_size: u32, max_overflow: u32);

    /// Has each connection replaced, idle ones at once, the others when they are
    /// returned; how many there are.
    fn recycle(&self) -> u32;

    /// Puts settings in force, the limits too.
    fn configure(&self, config: &DatabaseConfig);
}

/// Those that a service has added. A handle: clones share them.
#[derive(Clone, Default)]
pub(crate) struct Pools(Arc<Mutex<Vec<Arc<dyn ManagedPool>>>>);

impl Pools {
    /// Adds one; it takes the place of one of the same name, whose series it
    /// would double.
    #[cfg(any(feature = "postgres", test))]
    pub(crate) fn add(&self, pool: Arc<dyn ManagedPool>) {
        let mut pools = self.0.lock();
        pools.retain(|other| other.name() != pool.name());
        pools.push(pool);
    }

    /// All of them; nothing of theirs runs under a lock of ours.
    pub(crate) fn all(&self) -> Vec<Arc<dyn ManagedPool>> {
        self.0.lock().clone()
    }

    pub(crate) fn snapshot(&self) -> Vec<PoolSnapshot> {
        self.all().iter().map(|pool| pool.snapshot()).collect()
    }

    /// Puts changed settings in force. What somebody has set by hand stays, until
    /// the configuration says something else about that very setting.
    pub(crate) fn configure(&self, before: &DatabaseConfig, now: &DatabaseConfig) {
        for pool in self.all() {
            let mut config = now.clone();
            let shown = pool.snapshot();
            if now.pool_size == before.pool_size {
                config.pool_size = shown.pool_size;
            }
            if now.max_overflow == before.max_overflow {
                config.max_overflow = shown.max_overflow;
            }
            pool.configure(&config);
        }
    }
}

#[cfg(feature = "postgres")]
impl ManagedPool for crate::pool::Pool {
    fn name(&self) -> &str {
        self.name()
    }

    fn snapshot(&self) -> PoolSnapshot {
        self.snapshot()
    }

    fn resize(&self, pool_size: u32, max_overflow: u32) {
        self.resize(pool_size, max_overflow);
    }

    fn recycle(&self) -> u32 {
        self.recycle()
    }

    fn configure(&self, config: &DatabaseConfig) {
        self.configure(config);
    }
}
