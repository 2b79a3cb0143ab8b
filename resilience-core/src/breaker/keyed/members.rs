//! The members of a family, and who of them goes when room is made.
//!
//! Behind the family's lock, so nothing here may call back: no listener runs
//! while a member is looked at, because a listener may ask for a new key. That
//! is why a state is read off the flight recorder, and not asked for: to ask
//! may move a circuit on, which is told.

use std::{collections::HashMap, sync::Arc};

use crate::{
    breaker::{CircuitBreaker, Subscription},
    clock::saturating_ns,
    snapshot::{CallTotals, State},
    sync::{AtomicU64, Ordering::Relaxed},
};

use super::KeyedConfig;

#[derive(Default)]
pub(super) struct Members {
    // Hashed with a secret of the process: keys come from outside.
    by_key: HashMap<Arc<str>, Member>,
    /// Calls of those that are gone.
    pub(super) former: CallTotals,
    /// How many that are.
    pub(super) evicted: u64,
}

pub(super) struct Member {
    pub(super) breaker: CircuitBreaker,
    /// When it was last looked up, by the family's clock.
    used_ns: AtomicU64,
    pub(super) _heard: Subscription,
}

impl Member {
    pub(super) fn new(breaker: CircuitBreaker, now_ns: u64, heard: Subscription) -> Self {
        Self {
            breaker,
            used_ns: AtomicU64::new(now_ns),
            _heard: heard,
        }
    }

    fn use_at(&self, now_ns: u64) {
        // ordering: Relaxed. An instant that publishes nothing. Stored only when
        // the coarse clock has moved, so that threads share the line.
        if self.used_ns.load(Relaxed) != now_ns {
            self.used_ns.store(now_ns, Relaxed);
        }
    }

    /// How it stands, if it has not been used for `unused_ns`.
    fn standing(&self, unused_ns: u64, idle_ns: u64) -> Standing {
        let journal = self.breaker.cell.journal.lock();
        if journal.overridden.is_some() {
            return Standing::Kept;
        }
        let Some(newest) = journal.newest() else {
            return Standing::Closed;
        };
        if newest.to == State::Closed {
            return Standing::Closed;
        }
        let wait_ms = journal.last_wait_ms().unwrap_or(0);
        let worthless_ns = idle_ns.saturating_add(wait_ms.saturating_mul(1_000_000));
        if unused_ns >= worthless_ns {
            Standing::Forgotten
        } else {
            Standing::Kept
        }
    }
}

/// Whether a member may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It may: a window of calls is all that is lost.
    Closed,
    /// It may if there is no closed one: its circuit is open or half-open, and
    /// nobody has asked for it for as long as it waits and idles together.
    Forgotten,
    /// Its memory protects the service, or somebody has set it by hand.
    Kept,
}

/// One that may go, as it was when it was looked at.
#[derive(Clone)]
pub(super) struct Leaver {
    key: Arc<str>,
    used_ns: u64,
    standing: Standing,
}

impl Members {
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(super) fn find(&self, key: &str) -> Option<&CircuitBreaker> {
        self.by_key.get(key).map(|member| &member.breaker)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &Arc<str>> {
        self.by_key.keys()
    }

    pub(super) fn breakers(&self) -> Vec<CircuitBreaker> {
        let members = self.by_key.values();
        members.map(|member| member.breaker.clone()).collect()
    }

    /// The breaker of `key`, noted as used.
    pub(super) fn look_up(&self, key: &str, now_ns: u64) -> Option<CircuitBreaker> {
        let member = self.by_key.get(key)?;
        member.use_at(now_ns);
        Some(member.breaker.clone())
    }

    pub(super) fn insert(&mut self, key: Arc<str>, member: Member) {
        self.by_key.insert(key, member);
    }

    /// Who makes room for a new key: an eighth of the capacity, so that a storm
    /// of new keys looks at all members once in so many and not each time. The
    /// closed ones, idle longest first; if there are none, those forgotten.
    pub(super) fn to_make_room(&self, now_ns: u64, config: KeyedConfig) -> Vec<Leaver> {
        let looked = self.look_at_all(now_ns, config);
        let (mut closed, mut forgotten): (Vec<_>, Vec<_>) = looked
            .into_iter()
            .partition(|leaver| leaver.standing == Standing::Closed);
        let leavers = if closed.is_empty() {
            &mut forgotten
        } else {
            &mut closed
        };
        let batch = (config.options().capacity as usize).div_ceil(8);
        if leavers.len() > batch {
            leavers.select_nth_unstable_by_key(batch, |leaver| leaver.used_ns);
            leavers.truncate(batch);
        }
        std::mem::take(leavers)
    }

    /// Who has not been used for so long that it may go though there is room.
    pub(super) fn idle(&self, now_ns: u64, config: KeyedConfig) -> Vec<Leaver> {
        let idle_ns = saturating_ns(config.options().idle);
        let mut looked = self.look_at_all(now_ns, config);
        looked.retain(|leaver| now_ns.saturating_sub(leaver.used_ns) >= idle_ns);
        looked
    }

    fn look_at_all(&self, now_ns: u64, config: KeyedConfig) -> Vec<Leaver> {
        let idle_ns = saturating_ns(config.options().idle);
        let look = |(key, member): (&Arc<str>, &Member)| {
            let used_ns = member.used_ns.load(Relaxed);
            let unused_ns = now_ns.saturating_sub(used_ns);
            let standing = member.standing(unused_ns, idle_ns);
            (standing != Standing::Kept).then(|| Leaver {
                key: Arc::clone(key),
                used_ns,
                standing,
            })
        };
        self.by_key.iter().filter_map(look).collect()
    }

    /// Takes them out for another, but for those whose circuits have changed
    /// since they were looked at. One that was used meanwhile goes all the same:
    /// somebody has to, and its turn was near.
    pub(super) fn remove(
        &mut self,
        leavers: &[Leaver],
        now_ns: u64,
        config: KeyedConfig,
    ) -> Vec<Member> {
        let idle_ns = saturating_ns(config.options().idle);
        let leave = |leaver: &Leaver| {
            let member = self.by_key.get(&leaver.key)?;
            let unused_ns = now_ns.saturating_sub(member.used_ns.load(Relaxed));
            let same = member.standing(unused_ns, idle_ns) == leaver.standing;
            same.then(|| self.by_key.remove(&leaver.key)).flatten()
        };
        leavers.iter().filter_map(leave).collect()
    }

    /// Takes those out that have not been used since either.
    pub(super) fn remove_idle(
        &mut self,
        leavers: &[Leaver],
        now_ns: u64,
        config: KeyedConfig,
    ) -> Vec<Member> {
        let unused = |leaver: &&Leaver| {
            let member = self.by_key.get(&leaver.key);
            member.is_some_and(|member| member.used_ns.load(Relaxed) == leaver.used_ns)
        };
        let unused: Vec<Leaver> = leavers.iter().filter(unused).cloned().collect();
        self.remove(&unused, now_ns, config)
    }
}
