//! A look into memory: whether it answers, and else how the call is to be made.

use super::{Port, Want};
use crate::{
    config::FallbackStrategy,
    fallback::{
        Key, Served, Source,
        handle::Inner,
        rules::{Limits, Use},
        shelf::Found,
    },
};

/// A look at what is stored.
pub(in crate::fallback) enum Look<V> {
    /// The call has no fallback.
    Pass,
    Hit(Hit<V>),
    /// It has to be asked for. This may be given if that fails.
    Ask(Asking, Option<Spare<V>>),
}

/// A stored answer that will do.
pub(in crate::fallback) struct Hit<V> {
    pub(in crate::fallback) found: Found<V>,
    pub(in crate::fallback) served: Served,
    /// The key by which it should be fetched anew meanwhile.
    pub(in crate::fallback) refresh: Option<Key>,
    /// It can be given again without another look.
    pub(in crate::fallback) again: Option<Again>,
}

/// An answer that is past its time, and good enough if the call fails.
pub(in crate::fallback) struct Spare<V> {
    pub(in crate::fallback) found: Found<V>,
    /// Where it is, if a note led there.
    pub(super) at: Option<Key>,
    /// It can be found again without another look.
    pub(in crate::fallback) again: Option<Again>,
    /// Of the shelf, when it was found.
    pub(super) version: u64,
}

impl<V> Spare<V> {
    /// What would be found under its key, while the shelf is of that version.
    pub(in crate::fallback) const fn of(found: Found<V>, version: u64) -> Self {
        Self {
            found,
            at: None,
            again: None,
            version,
        }
    }
}

/// For how long an answer that was found can be given again.
#[derive(Clone, Copy, Debug)]
pub(in crate::fallback) struct Again {
    /// While the shelf is as it was: see [`Port::version`].
    pub(in crate::fallback) version: u64,
    /// For what, at which age.
    pub(in crate::fallback) limits: Limits,
}

/// How a call is to be made.
#[derive(Clone, Copy, Debug)]
pub(in crate::fallback) struct Asking {
    pub(in crate::fallback) strategy: FallbackStrategy,
    pub(in crate::fallback) enabled: bool,
    pub(in crate::fallback) missed: Missed,
}

/// Why memory does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::fallback) enum Missed {
    /// Stored answers are not handed out.
    Off,
    /// The call wants none.
    NotWanted,
    /// There is none.
    Nothing,
    /// There are others.
    NotThisOne,
    /// It is not fresh.
    Stale,
}

impl<V> Port<V>
where
    V: Send + Sync + 'static,
{
    /// Another one whenever anything may be answered in another way than before: a look
    /// would find the same for as long as it is the same.
    #[inline]
    pub(in crate::fallback) fn version(&self) -> u64 {
        self.shelf.version()
    }

    /// Looks whether memory answers, and else how the call is to be made.
    #[inline]
    pub(in crate::fallback) fn look(
        &self,
        key: &[u8],
        want: Want,
        redirect: impl FnOnce(&V) -> Option<Key>,
    ) -> Look<V> {
        let inner = self.inner();
        // Before all that is looked at.
        let version = self.version();
        let settings = inner.settings();
        if settings.strategy == FallbackStrategy::None || key.len() > Key::LONGEST {
            return Look::Pass;
        }
        let ask_or = |missed, spare| {
            let asking = Asking {
                strategy: settings.strategy,
                enabled: settings.enabled,
                missed,
            };
            Look::Ask(asking, spare)
        };
        let ask = |missed| ask_or(missed, None);
        if !settings.serves() {
            return ask(Missed::Off);
        }
        if !want.read {
            return ask(Missed::NotWanted);
        }
        let Some(mut found) = self.shelf.find(key) else {
            return ask(Missed::Nothing);
        };
        let mut at = None;
        if found.value.note {
            let there = redirect(&found.value.value);
            let Some((key, there)) = there.and_then(|key| {
                let found = self.shelf.find(key.as_bytes())?;
                Some((key, found))
            }) else {
                return ask(Missed::NotThisOne);
            };
            (at, found) = (Some(key), there);
        }
        let age_ns = found.age_ns(inner.clock.now_ns());
        if age_ns >= want.max_age_ns {
            return ask(Missed::Stale);
        }
        let limits = found.value.limits(settings.rules);
        // What a note leads to depends on more than the key.
        let again = at.is_none().then_some(Again { version, limits });
        let (source, refresh) = match limits.at(age_ns) {
            Use::Fresh => (Source::Fresh, None),
            // Not if it is nobody else's business.
            Use::WhileRefreshing if want.share => (
                Source::Refreshing,
                Some(at.unwrap_or_else(|| Key::from(key))),
            ),
            Use::Dead(_) => return ask(Missed::Stale),
            _ => {
                let spare = want.share.then_some(Spare {
                    found,
                    at,
                    again,
                    version,
                });
                return ask_or(Missed::Stale, spare);
            }
        };
        inner.counts.fresh();
        let fresh_ns = limits.fresh_ns;
        Look::Hit(Hit {
            served: stored(inner, source, age_ns, fresh_ns),
            again: again.filter(|_| source == Source::Fresh),
            refresh,
            found,
        })
    }
}

/// What is told of an answer that was stored.
pub(super) fn stored(inner: &Inner, source: Source, age_ns: u64, fresh_ns: u64) -> Served {
    let ms = |ns: u64| i64::try_from(ns / 1_000_000).unwrap_or(i64::MAX);
    let mut served = Served::new(source, age_ns / 1_000_000, inner.wall.now_ms());
    served.told.ttl_ms = ms(fresh_ns) - ms(age_ns);
    served
}
