//! A pool without a database.

use std::sync::Arc;

use parking_lot::Mutex;

use super::pools::ManagedPool;
use crate::{config::DatabaseConfig, snapshot::PoolSnapshot};

/// Does what it is told and remembers it. A handle.
#[derive(Clone)]
pub(crate) struct FakePool {
    name: String,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    shown: PoolSnapshot,
    recycled: u32,
    configured: Vec<DatabaseConfig>,
}

impl FakePool {
    pub(crate) fn named(name: &str, pool_size: u32, max_overflow: u32) -> Self {
        let shown = PoolSnapshot {
            name: name.to_owned(),
            size: pool_size + max_overflow,
            pool_size,
            max_overflow,
            ..PoolSnapshot::default()
        };
        let inner = Inner {
            shown,
            recycled: 0,
            configured: Vec::new(),
        };
        Self {
            name: name.to_owned(),
            inner: Arc::new(Mutex::new(inner)),
        }
    }

    pub(crate) fn set(&self, set: impl FnOnce(&mut PoolSnapshot)) {
        set(&mut self.inner.lock().shown);
    }

    pub(crate) fn limits(&self) -> (u32, u32) {
        let shown = self.snapshot();
        (shown.pool_size, shown.max_overflow)
    }

    pub(crate) fn recycled(&self) -> u32 {
        self.inner.lock().recycled
    }

    pub(crate) fn configured(&self) -> Vec<DatabaseConfig> {
        self.inner.lock().configured.clone()
    }
}

impl ManagedPool for FakePool {
    fn name(&self) -> &str {
        &self.name
    }

    fn snapshot(&self) -> PoolSnapshot {
        self.inner.lock().shown.clone()
    }

    fn resize(&self, pool_size: u32, max_overflow: u32) {
        let shown = &mut self.inner.lock().shown;
        (shown.pool_size, shown.max_overflow) = (pool_size, max_overflow);
        shown.size = pool_size + max_overflow;
    }

    fn recycle(&self) -> u32 {
        let mut inner = self.inner.lock();
        inner.recycled += 1;
        inner.shown.open
    }

    fn configure(&self, config: &DatabaseConfig) {
        self.resize(config.pool_size, config.max_overflow);
        self.inner.lock().configured.push(config.clone());
    }
}
