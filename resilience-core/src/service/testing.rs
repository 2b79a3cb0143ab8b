//! A pool without a database, and a fallback without answers.

use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;

use super::{fallbacks::ManagedFallback, pools::ManagedPool};
use crate::{
    config::{DatabaseConfig, FallbackConfig},
    snapshot::{FallbackSnapshot, PoolSnapshot, SwitchSnapshot},
};

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

/// A fallback without answers. Does what it is told and remembers it. A handle.
#[derive(Clone)]
pub(crate) struct FakeFallback {
    name: String,
    inner: Arc<Mutex<FakeAnswers>>,
}

struct FakeAnswers {
    shown: FallbackSnapshot,
    switches: Vec<Option<bool>>,
    purges: u32,
    configured: Vec<FallbackConfig>,
}

impl FakeFallback {
    pub(crate) fn named(name: &str, configured: bool) -> Self {
        let shown = FallbackSnapshot {
            name: name.to_owned(),
            enabled: configured,
            configured,
            strategy: "cache".to_owned(),
            store: "memory".to_owned(),
            ..FallbackSnapshot::default()
        };
        let inner = FakeAnswers {
            shown,
            switches: Vec::new(),
            purges: 0,
            configured: Vec::new(),
        };
        Self {
            name: name.to_owned(),
            inner: Arc::new(Mutex::new(inner)),
        }
    }

    pub(crate) fn set(&self, set: impl FnOnce(&mut FallbackSnapshot)) {
        set(&mut self.inner.lock().shown);
    }

    pub(crate) fn switches(&self) -> Vec<Option<bool>> {
        self.inner.lock().switches.clone()
    }

    pub(crate) fn purges(&self) -> u32 {
        self.inner.lock().purges
    }

    pub(crate) fn configured(&self) -> Vec<FallbackConfig> {
        self.inner.lock().configured.clone()
    }
}

impl ManagedFallback for FakeFallback {
    fn name(&self) -> &str {
        &self.name
    }

    fn snapshot(&self) -> FallbackSnapshot {
        self.inner.lock().shown.clone()
    }

    fn switch(&self, on: Option<bool>, actor: Option<String>, reason: Option<String>) {
        let mut inner = self.inner.lock();
        inner.switches.push(on);
        inner.shown.enabled = on.unwrap_or(inner.shown.configured);
        inner.shown.switched = on.map(|_| SwitchSnapshot {
            actor,
            reason,
            since: Timestamp::now(),
        });
    }

    fn purge(&self) -> u64 {
        let mut inner = self.inner.lock();
        inner.purges += 1;
        std::mem::take(&mut inner.shown.cache.entries)
    }

    fn configure(&self, config: &FallbackConfig) {
        let mut inner = self.inner.lock();
        inner.shown.configured = config.enabled;
        if inner.shown.switched.is_none() {
            inner.shown.enabled = config.enabled;
        }
        inner.configured.push(config.clone());
    }
}
