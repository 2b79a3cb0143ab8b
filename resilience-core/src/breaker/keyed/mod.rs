//! Breakers by key: one for each host or tenant.
//!
//! `members` are the breakers and who of them goes at the cap; `name` is what
//! they are called; `listen` passes their events on; `picture` shows them all.

mod config;
#[cfg(feature = "tower")]
mod layer;
mod listen;
mod members;
mod name;
mod picture;
#[cfg(feature = "tower")]
mod service;

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use jiff::Timestamp;
use parking_lot::{Mutex, RwLock};

use super::{BreakerConfig, CircuitBreaker, Observer};
use crate::{
    clock::Clock,
    snapshot::{BreakerSettings, CallTotals, KeyedSnapshot},
    sync::{AtomicU64, Ordering::Relaxed},
};
use listen::Listeners;
use members::{Leaver, Member, Members};

pub use config::{KeyedConfig, KeyedOptions};
#[cfg(feature = "tower")]
pub use layer::KeyedBreakerLayer;
pub use listen::KeyedSubscription;
#[cfg(feature = "tower")]
pub use service::KeyedBreakerService;

/// A family of breakers with the same settings, one for each key: when one
/// tenant's upstream fails, the others' calls go on.
///
/// A handle: clones share the family. Keys may come from outside: how many
/// breakers there are has a cap ([`KeyedOptions::capacity`]), and a key is
/// never a label of a metric.
///
/// # Who goes
///
/// A breaker that nobody has looked up for [`KeyedOptions::idle`] goes with the
/// next [`tidy`](Self::tidy). At the cap a new key makes an eighth of them go:
/// those that are closed and not overridden, idle longest first. One that is
/// not closed stays, because its memory is what protects the service, unless
/// nobody has asked for it since its wait ended and it has idled on top; one
/// that is overridden always stays. If nobody may go, keys without a breaker
/// share one that is called `other`, and so does a key of more than
/// [`LONGEST_KEY`](Self::LONGEST_KEY) bytes.
///
/// Whoever holds a breaker that went can go on using it; it is not the family's
/// any more, and what its calls tell after that is counted by nobody. So look
/// it up for each call.
///
/// # Example
///
/// ```
/// use resilience_core::{BreakerConfig, ErrorClass, KeyedBreakers, KeyedConfig};
///
/// let config = BreakerConfig::default();
/// let tenants = KeyedBreakers::new("payment_api", &config, KeyedConfig::default());
/// for _ in 0..20 {
///     tenants.get("tenant-7").try_acquire()?.failure(ErrorClass::TIMEOUT);
/// }
/// assert!(tenants.get("tenant-7").try_acquire().is_err());
/// assert!(tenants.get("tenant-8").try_acquire().is_ok());
/// # Ok::<(), resilience_core::Rejected>(())
/// ```
#[derive(Clone)]
pub struct KeyedBreakers {
    family: Arc<Family>,
}

struct Family {
    name: Arc<str>,
    limits: KeyedConfig,
    clock: Clock,
    members: RwLock<Members>,
    /// Held by whoever makes a member, and nothing that could call back is done
    /// under it: a listener may ask for a new key.
    making: Mutex<Making>,
    /// Made when first needed.
    other: OnceLock<Member>,
    /// Nobody need look for room before this.
    full_until_ns: AtomicU64,
    overflowed: AtomicU64,
    listeners: Listeners,
    /// The most that a picture has ever said.
    told: Mutex<CallTotals>,
    /// Where the settings came from, for those who are shown.
    settings: Mutex<BreakerSettings>,
}

/// What a new member is made with.
struct Making {
    config: BreakerConfig,
    /// Grows with each change of `config`.
    version: u64,
    observer: Option<Observer>,
}

/// How long a family that found nobody to evict waits before it looks again:
/// keys that have no place must not cost a look at all members each.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How many leave under one write lock, which lookups wait for.
const LEAVE_AT_ONCE: usize = 256;

impl KeyedBreakers {
    /// A longer key has no breaker of its own, so that what a family remembers
    /// has a bound.
    pub const LONGEST_KEY: usize = 1_024;

    /// A family without members. Its name is the `service` label of its metrics.
    #[must_use]
    pub fn new(name: &str, config: &BreakerConfig, limits: KeyedConfig) -> Self {
        Self::with_clock(name, config, limits, Clock::default())
    }

    /// The same with a clock of the caller's, for tests.
    #[must_use]
    pub fn with_clock(
        name: &str,
        config: &BreakerConfig,
        limits: KeyedConfig,
        clock: Clock,
    ) -> Self {
        let making = Making {
            config: config.clone(),
            version: 0,
            observer: None,
        };
        let family = Family {
            name: name.into(),
            limits,
            clock,
            members: RwLock::default(),
            making: Mutex::new(making),
            other: OnceLock::new(),
            full_until_ns: AtomicU64::new(0),
            overflowed: AtomicU64::new(0),
            listeners: Listeners::new(),
            told: Mutex::default(),
            settings: Mutex::default(),
        };
        Self {
            family: Arc::new(family),
        }
    }

    /// The breaker of that key, made if there is none yet.
    ///
    /// Of a key that is known: a read lock, a hash and one more handle; it
    /// allocates nothing and evicts nobody. A new key allocates its breaker (a
    /// used one if there is one), and at the cap looks at all members, once for
    /// an eighth of them; meanwhile other new keys wait, and known ones only
    /// while those that go are taken out.
    #[must_use]
    pub fn get(&self, key: impl AsRef<str>) -> CircuitBreaker {
        let key = key.as_ref();
        let now_ns = self.family.clock.now_ns();
        let known = self.family.members.read().look_up(key, now_ns);
        known.unwrap_or_else(|| self.family.admit(key, now_ns))
    }

    /// The member of that name (`payment_api:tenant-7`), if there is one; it is
    /// not noted as used.
    ///
    /// A key of more than 128 bytes, or with control characters, is shown cut
    /// and with a hash; to find one by such a name looks at all keys.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<CircuitBreaker> {
        let family = &self.family;
        let key = name.strip_prefix(&*family.name)?.strip_prefix(':')?;
        if key == name::OTHER {
            return family.other.get().map(|other| other.breaker.clone());
        }
        let members = family.members.read();
        if name::is_plain(key) {
            return members.find(key).cloned();
        }
        let key = members.keys().find(|known| name::shown(known) == key)?;
        members.find(key).cloned()
    }

    /// The name it was made with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.family.name
    }

    /// Lets those go that are idle, of all members. To be called now and then,
    /// such as once a second, by whoever owns the family; `Resilience` does.
    ///
    /// Looks at each member; lookups go on meanwhile.
    pub fn tidy(&self) {
        let family = &self.family;
        let now_ns = family.clock.now_ns();
        let idle = family.members.read().idle(now_ns, family.limits);
        family.evict(&idle, now_ns);
    }

    /// Puts other settings in force, in all members and in those to come: see
    /// [`CircuitBreaker::configure`].
    pub fn configure(&self, config: &BreakerConfig) {
        {
            let mut making = self.family.making.lock();
            if making.config == *config {
                return;
            }
            making.config = config.clone();
            making.version += 1;
        }
        loop {
            let (version, config) = {
                let making = self.family.making.lock();
                (making.version, making.config.clone())
            };
            for breaker in self.family.everybody() {
                breaker.configure(config.clone());
            }
            // Two that configure at once may have met in the middle: the one
            // who is overtaken does it again.
            if self.family.making.lock().version == version {
                return;
            }
        }
    }

    /// Takes over what a process before a restart left of those that were not
    /// closed or were overridden, as of now; see [`CircuitBreaker::restore`].
    /// A key that was not shown whole is not known any more, and begins anew.
    pub fn restore(&self, left: &KeyedSnapshot, taken_at: Timestamp, oldest_trip: Duration) {
        for breaker in &left.not_closed {
            let rest = breaker.name.strip_prefix(&*self.family.name);
            let Some(key) = rest.and_then(|rest| rest.strip_prefix(':')) else {
                continue;
            };
            // Not those that share: there may be room for all of them now.
            if name::is_plain(key) {
                self.get(key)
                    .restore(breaker, taken_at, Timestamp::now(), oldest_trip);
            }
        }
    }

    /// Calls `observer` after each transition of any member.
    pub(super) fn observe(&self, observer: &Observer) {
        self.family.making.lock().observer = Some(observer.clone());
        for breaker in self.family.everybody() {
            breaker.observe(observer.clone());
        }
    }

    /// Shows where the settings came from.
    #[cfg(feature = "service")]
    pub(crate) fn describe(&self, settings: BreakerSettings) {
        *self.family.settings.lock() = settings;
    }
}

impl Family {
    /// The breaker of a key that is not known.
    #[cold]
    fn admit(self: &Arc<Self>, key: &str, now_ns: u64) -> CircuitBreaker {
        let full = || now_ns < self.full_until_ns.load(Relaxed);
        if key.len() > KeyedBreakers::LONGEST_KEY || full() {
            return self.overflow(now_ns);
        }
        let making = self.making.lock();
        // Made, or found to be without room, while this one waited.
        if let Some(breaker) = self.members.read().look_up(key, now_ns) {
            return breaker;
        }
        let gone = if full() { None } else { self.make_room(now_ns) };
        let Some(gone) = gone else {
            drop(making);
            return self.overflow(now_ns);
        };
        let key: Arc<str> = key.into();
        let member = self.make(&making, &key, now_ns);
        let breaker = member.breaker.clone();
        self.members.write().insert(key, member);
        drop(making);
        self.bury(gone);
        breaker
    }

    /// A place for one more, and those who went for it; `None` if nobody may.
    fn make_room(&self, now_ns: u64) -> Option<Vec<Member>> {
        let capacity = self.limits.options().capacity as usize;
        let leavers = {
            let members = self.members.read();
            if members.len() < capacity {
                return Some(Vec::new());
            }
            members.to_make_room(now_ns, self.limits)
        };
        let mut gone = Vec::with_capacity(leavers.len());
        for some in leavers.chunks(LEAVE_AT_ONCE) {
            gone.extend(self.members.write().remove(some, now_ns, self.limits));
        }
        if leavers.is_empty() {
            let again_ns = now_ns.saturating_add(crate::clock::saturating_ns(LOOK_AGAIN));
            self.full_until_ns.store(again_ns, Relaxed);
        }
        // None also if all of them have opened in this very moment.
        (!gone.is_empty()).then_some(gone)
    }

    fn make(self: &Arc<Self>, making: &Making, key: &Arc<str>, now_ns: u64) -> Member {
        let name = name::full(&self.name, key);
        self.make_named(making, &name, key, now_ns)
    }

    fn make_named(
        self: &Arc<Self>,
        making: &Making,
        name: &str,
        key: &Arc<str>,
        now_ns: u64,
    ) -> Member {
        let breaker = CircuitBreaker::with_clock(name, making.config.clone(), self.clock.clone());
        if let Some(observer) = &making.observer {
            breaker.observe(observer.clone());
        }
        let heard = self.hear(Arc::clone(key), &breaker);
        Member::new(breaker, now_ns, heard)
    }

    /// The breaker that those without a place share.
    fn overflow(self: &Arc<Self>, now_ns: u64) -> CircuitBreaker {
        self.overflowed.fetch_add(1, Relaxed);
        if let Some(other) = self.other.get() {
            return other.breaker.clone();
        }
        let making = self.making.lock();
        let make = || {
            let name = format!("{}:{}", self.name, name::OTHER);
            self.make_named(&making, &name, &name::OTHER.into(), now_ns)
        };
        self.other.get_or_init(make).breaker.clone()
    }

    fn overflowed(&self) -> u64 {
        self.overflowed.load(Relaxed)
    }

    fn evict(&self, leavers: &[Leaver], now_ns: u64) {
        for some in leavers.chunks(LEAVE_AT_ONCE) {
            let mut members = self.members.write();
            let gone = members.remove_idle(some, now_ns, self.limits);
            drop(members);
            if !gone.is_empty() {
                self.full_until_ns.store(0, Relaxed);
            }
            self.bury(gone);
        }
    }

    /// Keeps the calls of those who went. To be called without any lock: to ask
    /// a breaker may tell those who listen to it.
    fn bury(&self, gone: Vec<Member>) {
        if gone.is_empty() {
            return;
        }
        let mut calls = CallTotals::default();
        for member in &gone {
            calls += member.breaker.snapshot().totals;
        }
        let mut members = self.members.write();
        members.former += calls;
        members.evicted += gone.len() as u64;
    }

    /// All members, and the breaker that the rest share.
    fn everybody(&self) -> Vec<CircuitBreaker> {
        let mut all = self.members.read().breakers();
        all.extend(self.other.get().map(|other| other.breaker.clone()));
        all
    }
}

impl fmt::Debug for KeyedBreakers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedBreakers")
            .field("name", &self.family.name)
            .field("members", &self.family.members.read().len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
