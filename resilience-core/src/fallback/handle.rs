//! The fallback of one service: a handle.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    fmt,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::{
    counts::Counts,
    settings::Settings,
    shelf::{AnyShelf, Shelf},
    store::SecondLevel,
    wall::{WallClock, timestamp},
};
use crate::{
    clock::Clock,
    config::{FallbackConfig, FallbackStrategy},
    snapshot::{CacheSnapshot, FallbackSnapshot, SwitchSnapshot},
};

/// The last good answers of one service, and whether they are used.
///
/// A handle: clones share everything. It answers nothing by itself: a
/// [`FallbackLayer`](super::FallbackLayer) does, and all layers that are made
/// with one handle, for the same type of answer, share their answers.
///
/// # Example
///
/// ```
/// use resilience_core::{config::Config, fallback::Fallback};
///
/// let config = Config::default();
/// let rates = Fallback::new("rates", config.fallback("rates"));
/// // In an incident: on now, whatever the configuration says.
/// let on = rates.switch(Some(true), Some("oncall".into()), Some("they are down".into()));
/// assert!(on && rates.snapshot().switched.is_some());
/// ```
#[derive(Clone)]
pub struct Fallback {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) name: Box<str>,
    settings: ArcSwap<Settings>,
    /// Held while settings change, so that no change undoes another.
    switch: Mutex<Option<Switched>>,
    pub(crate) counts: Counts,
    pub(crate) second: Option<SecondLevel>,
    pub(crate) clock: Clock,
    pub(crate) wall: WallClock,
    shelves: Mutex<HashMap<TypeId, Arc<dyn AnyShelf>>>,
    /// A strategy that has nothing to give was told of.
    warned: std::sync::Once,
}

#[derive(Clone, Debug)]
struct Switched {
    on: bool,
    by: SwitchSnapshot,
}

impl Fallback {
    /// The fallback of the service `name`, which is its `service` label, with its
    /// answers in memory.
    #[must_use]
    pub fn new(name: &str, config: &FallbackConfig) -> Self {
        Self::builder(name, config).build()
    }

    /// The same with more to say.
    pub fn builder(name: &str, config: &FallbackConfig) -> FallbackBuilder {
        FallbackBuilder {
            name: name.into(),
            config: config.clone(),
            second: None,
            clock: Clock::default(),
            wall: WallClock::default(),
        }
    }

    /// The name it was made with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Puts other settings in force for the calls that come. What is stored stays,
    /// also when it is to be served no more: the next change may want it. A
    /// smaller `memory` lets answers go at once.
    pub fn configure(&self, config: &FallbackConfig) {
        let switched = self.inner.switch.lock();
        let settings = Settings::new(config, switched.as_ref().map(|switched| switched.on));
        self.inner.settings.store(Arc::new(settings));
        drop(switched);
        for shelf in self.inner.shelves() {
            shelf.resize(config.memory);
            shelf.changed();
        }
    }

    /// Switches it on or off by hand, whatever the configuration says, until it is
    /// switched back to the configuration with `None`. Whether it is on now.
    ///
    /// While it is off, good answers are kept all the same, so that they are there
    /// when it is switched on.
    pub fn switch(&self, on: Option<bool>, actor: Option<String>, reason: Option<String>) -> bool {
        let switched = on.map(|on| Switched {
            on,
            by: SwitchSnapshot {
                actor,
                reason,
                since: timestamp(self.inner.wall.now_ms()),
            },
        });
        self.set(switched)
    }

    /// Takes the switch over from a picture that a process before a restart left.
    pub fn restore(&self, left: &FallbackSnapshot) {
        if let Some(by) = &left.switched {
            self.set(Some(Switched {
                on: left.enabled,
                by: by.clone(),
            }));
        }
    }

    fn set(&self, switched: Option<Switched>) -> bool {
        let mut now = self.inner.switch.lock();
        let config = &self.inner.settings.load().config;
        let settings = Settings::new(config, switched.as_ref().map(|switched| switched.on));
        let enabled = settings.enabled;
        self.inner.settings.store(Arc::new(settings));
        *now = switched;
        drop(now);
        for shelf in self.inner.shelves() {
            shelf.changed();
        }
        enabled
    }

    /// Forgets every answer: those in memory before it returns, those in the second
    /// level soon. How many were in memory. A call that is under way goes on for
    /// those who wait for it, and what it gives is not kept.
    #[expect(clippy::must_use_candidate, reason = "one may not care how many")]
    pub fn purge(&self) -> u64 {
        let shelves = self.inner.shelves();
        let clear = || {
            if let Some(second) = &self.inner.second {
                second.clear(&self.inner.name);
            }
        };
        let purged = shelves.iter().map(|shelf| shelf.purge(&clear)).sum();
        if shelves.is_empty() {
            clear();
        }
        purged
    }

    /// What it holds and what it has done.
    ///
    /// Once a minute at most it looks at each answer for the oldest: some
    /// milliseconds for 100,000.
    #[must_use]
    pub fn snapshot(&self) -> FallbackSnapshot {
        let inner = &*self.inner;
        // The lock first: settings and switch are of one instant.
        let switched = inner.switch.lock();
        let settings = inner.settings.load_full();
        let by = switched.as_ref().map(|switched| switched.by.clone());
        drop(switched);
        let shelves = inner.shelves();
        let responses = inner.counts.responses();
        let mut cache = CacheSnapshot {
            hits: responses
                .fresh
                .saturating_sub(inner.counts.fresh_by_run.load(Relaxed)),
            misses: inner.counts.runs(),
            coalesced: inner.counts.coalesced.load(Relaxed),
            ..CacheSnapshot::default()
        };
        for shelf in &shelves {
            shelf.add_to(&mut cache);
        }
        let now_ns = inner.clock.now_ns();
        let oldest = shelves.iter().filter_map(|shelf| shelf.oldest_ms(now_ns));
        let ms = |duration: std::time::Duration| u64::try_from(duration.as_millis());
        FallbackSnapshot {
            name: inner.name.to_string(),
            enabled: settings.enabled,
            configured: settings.config.enabled,
            switched: by,
            strategy: strategy(settings.strategy).to_owned(),
            store: inner
                .second
                .as_ref()
                .map_or("memory", SecondLevel::kind)
                .to_owned(),
            ttl_ms: ms(settings.config.ttl).unwrap_or(u64::MAX),
            stale_limit_ms: ms(settings.config.stale_limit).unwrap_or(u64::MAX),
            responses,
            age: inner.counts.ages(),
            cache,
            oldest_ms: oldest.max(),
            unreadable: inner.counts.unreadable.load(Relaxed),
        }
    }

    /// The shelf for answers of type `V`.
    pub(crate) fn shelf<V>(&self) -> Arc<Shelf<V>>
    where
        V: Send + Sync + 'static,
    {
        let mut shelves = self.inner.shelves.lock();
        let shelf = shelves.entry(TypeId::of::<V>()).or_insert_with(|| {
            let settings = self.inner.settings.load();
            Arc::new(Shelf::<V>::new(settings.config.memory))
        });
        let shelf: Arc<dyn Any + Send + Sync> = Arc::clone(shelf).into_any();
        shelf.downcast().expect("found by its types")
    }

    pub(crate) const fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }
}

impl Inner {
    /// For a few instructions, and never over an await: others wait for nothing,
    /// but it is taken from a small supply of each thread.
    #[inline]
    pub(crate) fn settings(&self) -> arc_swap::Guard<Arc<Settings>> {
        self.settings.load()
    }

    /// Says that the strategy has nothing to give: once, as it would be said with each
    /// failure.
    pub(super) fn warn_once(&self, strategy: &str, advice: &str) {
        self.warned.call_once(|| {
            tracing::warn!(
                class = "fallback",
                fallback = &*self.name,
                "a call failed, and the strategy `{strategy}` has nothing to answer with: {advice}"
            );
        });
    }

    fn shelves(&self) -> Vec<Arc<dyn AnyShelf>> {
        self.shelves.lock().values().map(Arc::clone).collect()
    }
}

impl fmt::Debug for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fallback")
            .field("name", &self.inner.name)
            .finish_non_exhaustive()
    }
}

/// Makes a [`Fallback`].
#[derive(Clone, Debug)]
#[must_use = "it is made by `build`"]
pub struct FallbackBuilder {
    name: Box<str>,
    config: FallbackConfig,
    second: Option<SecondLevel>,
    clock: Clock,
    wall: WallClock,
}

impl FallbackBuilder {
    /// Its answers are kept beyond this process, too.
    pub fn second_level(mut self, second: SecondLevel) -> Self {
        self.second = Some(second);
        self
    }

    /// Another monotonic clock, for tests.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Another wall clock, for tests.
    pub fn wall_clock(mut self, wall: WallClock) -> Self {
        self.wall = wall;
        self
    }

    /// Makes it.
    #[must_use]
    pub fn build(self) -> Fallback {
        let inner = Inner {
            name: self.name,
            settings: ArcSwap::from_pointee(Settings::new(&self.config, None)),
            switch: Mutex::new(None),
            counts: Counts::default(),
            second: self.second,
            clock: self.clock,
            wall: self.wall,
            shelves: Mutex::default(),
            warned: std::sync::Once::new(),
        };
        Fallback {
            inner: Arc::new(inner),
        }
    }
}

const fn strategy(strategy: FallbackStrategy) -> &'static str {
    match strategy {
        FallbackStrategy::Cache => "cache",
        FallbackStrategy::Static => "static",
        FallbackStrategy::Service => "service",
        FallbackStrategy::None => "none",
    }
}
