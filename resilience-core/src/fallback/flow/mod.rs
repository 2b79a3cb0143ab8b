//! The way of one call, whatever is called: from memory, from the second level, from
//! the upstream, or what is left when that fails.
//!
//! `look` is a look into memory, `exchange` a call as the flow sees it, `now` the way of one
//! that may fail at once, `run` that of any other, `answer` is what a caller gets of that.

mod answer;
mod exchange;
mod look;
mod now;
mod run;

use std::{any::Any, future::Future, pin::Pin, sync::Arc, time::Duration};

use tokio::sync::oneshot;

use super::{
    Fallback, FallbackError, Key, Served, Tried,
    codec::{BoxError, Code},
    counts::one,
    handle::Inner,
    shelf::{Changes, Found, Kept, Left, Shelf},
};
use crate::cache::{FETCH_WITHIN, Lost, flight::Turn};

pub(super) use exchange::{Asked, Exchange, Keep, Note, Said, Verdict};
use look::stored;
pub(super) use look::{Again, Asking, Look, Missed, Spare};
pub(super) use now::Now;

/// One fallback as a layer uses it, for answers `V`.
///
/// What calls fail with is no part of its type, and of no type that is made of it: a
/// boxed error names a lifetime, and a future whose type does so twice is none that
/// rustc knows to be `Send` in a handler (rust-lang/rust#100013).
pub(super) struct Port<V> {
    fallback: Fallback,
    shelf: Arc<Shelf<V>>,
    code: Option<Arc<dyn Code<V>>>,
}

/// How a call may be answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Want {
    /// From what is stored.
    pub(super) read: bool,
    /// Its answer may be kept.
    pub(super) keep: bool,
    /// With what another caller gets, and the other way round.
    pub(super) share: bool,
    /// By a stored answer younger than that.
    pub(super) max_age_ns: u64,
}

impl Want {
    pub(super) const ALL: Self = Self {
        read: true,
        keep: true,
        share: true,
        max_age_ns: u64::MAX,
    };
}

/// What is done if the call fails.
pub(super) enum Backup<V, O> {
    /// The last good answer.
    Stored,
    /// Nothing: it is switched off.
    Off,
    Fixed(Option<Arc<Kept<V>>>),
    Other(Option<OtherFuture<O>>),
}

/// A call of another service, not begun yet.
pub(super) type OtherFuture<O> = Pin<Box<dyn Future<Output = Result<O, BoxError>> + Send>>;

/// What a caller gets.
pub(super) enum Answer<V, E, O> {
    Value(Arc<Kept<V>>, Served),
    Own(O, Served),
    Error(FallbackError<E>),
}

/// What a run came to. All who wait for it share it.
pub(super) struct Ran<V> {
    got: Got<V>,
    from: Origin,
    changes: Changes<V>,
}

enum Got<V> {
    Value(At<V>),
    /// Of the type of who made the call.
    Error(Arc<dyn Any + Send + Sync>),
    Lost(Lost),
    /// The leader has it, and only the leader.
    Own,
}

/// A value and where it was found.
struct At<V> {
    found: Found<V>,
    key: Key,
    /// The note that led there.
    note: Option<Found<V>>,
}

#[derive(Clone, Debug)]
enum Origin {
    /// The upstream: a good answer, or one that is passed on.
    Upstream { kept: bool },
    /// Fresh, and found in time: by a run, or by this caller.
    Stored { by_run: bool },
    /// The upstream failed; a stored answer.
    Stale { status: Option<u16> },
    /// The upstream failed, and there was nothing.
    Failed(Tried),
}

impl<V> Ran<V> {
    /// What stands in for a call that failed without an answer.
    fn instead(found: Found<V>, key: Key) -> Self {
        let note = None;
        Self {
            got: Got::Value(At { found, key, note }),
            from: Origin::Stale { status: None },
            changes: Changes::default(),
        }
    }

    /// What memory has, as if a run had brought it.
    fn known(at: At<V>) -> Self {
        Self {
            got: Got::Value(at),
            from: Origin::Stored { by_run: false },
            changes: Changes::default(),
        }
    }
}

/// A caller that finds again and again that the answer it waited for is not for it
/// asks by itself then.
const MOST_ROUNDS: usize = 3;

/// A little more than a call may take, so that its end is told by the run, with
/// what is stored.
const RUN_WITHIN: Duration = FETCH_WITHIN.saturating_add(Duration::from_secs(10));

impl<V> Port<V>
where
    V: Send + Sync + 'static,
{
    pub(super) fn new(fallback: &Fallback, code: Option<Arc<dyn Code<V>>>) -> Self {
        Self {
            fallback: fallback.clone(),
            shelf: fallback.shelf(),
            code,
        }
    }

    pub(super) fn inner(&self) -> &Arc<Inner> {
        self.fallback.inner()
    }

    /// Makes a call that memory does not answer.
    ///
    /// Its future is small: each way that a call may go is in a box of its own.
    pub(super) async fn ask<X>(
        self: Arc<Self>,
        primary: Key,
        want: Want,
        exchange: X,
        backup: Backup<V, X::Own>,
    ) -> Answer<V, X::Error, X::Own>
    where
        X: Exchange<V>,
    {
        let inner = self.inner();
        if !matches!(backup, Backup::Stored) {
            let (ran, own) = Box::pin(self.alone(&primary, want, false, exchange)).await;
            return Box::pin(self.aside(ran, own, backup)).await;
        }
        if !want.share || !want.read {
            let serves = want.read;
            let (ran, own) = Box::pin(self.alone(&primary, want, serves, exchange)).await;
            return self.answer(&ran, own, false);
        }
        for _ in 0..MOST_ROUNDS {
            let key = self.resolve(&primary, &exchange);
            let known = |key: &Key| self.known(key, want);
            let (ended, waited) = match self.shelf.flights.turn(key.clone(), known) {
                Turn::Known(ran) => (Ok(ran), false),
                Turn::Wait(wait) => (wait.answer().await, true),
                Turn::Alone => break,
                Turn::Lead(lead) => {
                    inner.counts.run();
                    let mark = self.shelf.mark(&primary);
                    let keep = self.keeps(primary, mark);
                    // Nothing is awaited between this and the task: whoever is cancelled
                    // takes nothing from those who wait.
                    let (tell, mut hear) = oneshot::channel();
                    let run = Arc::clone(&self).lead(key.clone(), want, exchange, tell);
                    let ended = lead
                        .run_from_here(RUN_WITHIN, Box::pin(in_span(run)), keep)
                        .await;
                    return match ended {
                        Ok(ran) => self.answer(&ran, hear.try_recv().ok(), false),
                        Err(lost) => self.lost(&key, lost),
                    };
                }
            };
            if let Ok(ran) = &ended {
                if matches!(ran.got, Got::Own) {
                    break;
                }
                if !self.is_for(ran, &exchange, want) {
                    continue;
                }
            }
            if waited {
                one(&inner.counts.coalesced);
            }
            return match ended {
                Ok(ran) => self.answer(&ran, None, waited),
                Err(lost) => self.lost(&key, lost),
            };
        }
        let (ran, own) = Box::pin(self.alone(&primary, want, true, exchange)).await;
        self.answer(&ran, own, false)
    }

    /// What memory has and will do, as if a run had brought it.
    fn known(&self, key: &Key, want: Want) -> Option<Arc<Ran<V>>> {
        let at = self.in_memory(key);
        if !self.is_fresh(at.as_ref(), want) {
            return None;
        }
        at.map(|at| Arc::new(Ran::known(at)))
    }

    /// Fetches the answer of a key anew, if nobody does: in a task, for nobody.
    pub(super) fn refresh<X>(self: &Arc<Self>, primary: Key, key: Key, exchange: impl FnOnce() -> X)
    where
        X: Exchange<V>,
    {
        let Turn::Lead(lead) = self.shelf.flights.turn(key.clone(), |_| None) else {
            return;
        };
        self.inner().counts.run();
        let (tell, _) = oneshot::channel();
        let mark = self.shelf.mark(&primary);
        let keep = self.keeps(primary, mark);
        let run = Arc::clone(self).lead(key, Want::ALL, exchange(), tell);
        drop(lead.run(RUN_WITHIN, in_span(run), keep));
    }

    /// What a run does with what it brings, under the lock of the flights: nothing, if the
    /// URI was forgotten since it had that mark, before the call was made.
    fn keeps(
        self: &Arc<Self>,
        primary: Key,
        mark: u64,
    ) -> impl FnOnce(&Key, &Arc<Ran<V>>) -> Left<V> + Send + 'static {
        let port = Arc::clone(self);
        move |_, ran| {
            if port.shelf.mark(&primary) == mark {
                port.shelf.make(port.inner(), &ran.changes)
            } else {
                Left::new()
            }
        }
    }

    /// What is in memory under a key.
    pub(super) fn find(&self, key: &Key) -> Option<Found<V>> {
        self.shelf.find(key.as_bytes())
    }

    /// Forgets what is stored under a key.
    pub(super) fn forget(&self, key: &Key) {
        self.shelf.forget(self.inner(), key);
    }

    /// The key under which the answer is, as far as memory knows.
    fn resolve<X: Exchange<V>>(&self, primary: &Key, exchange: &X) -> Key {
        let note = self
            .shelf
            .find(primary.as_bytes())
            .filter(|found| found.value.note);
        note.and_then(|note| exchange.redirect(&note.value.value))
            .unwrap_or_else(|| primary.clone())
    }

    /// The answer that memory has under a key, of whatever age.
    fn in_memory(&self, key: &Key) -> Option<At<V>> {
        let found = self
            .shelf
            .find(key.as_bytes())
            .filter(|found| !found.value.note)?;
        Some(At {
            found,
            key: key.clone(),
            note: None,
        })
    }

    /// Whether what a run brought is an answer for this call too.
    fn is_for<X: Exchange<V>>(&self, ran: &Ran<V>, exchange: &X, want: Want) -> bool {
        let at = match &ran.got {
            Got::Value(at) => at,
            // A layer whose calls fail with something else has made it.
            Got::Error(error) => return (**error).is::<X::Error>(),
            Got::Lost(_) | Got::Own => return true,
        };
        if let Some(note) = &at.note
            && exchange.redirect(&note.value.value).as_ref() != Some(&at.key)
        {
            return false;
        }
        let age_ns = || at.found.age_ns(self.inner().clock.now_ns());
        !matches!(ran.from, Origin::Stored { .. }) || age_ns() < want.max_age_ns
    }

    async fn lead<X: Exchange<V>>(
        self: Arc<Self>,
        key: Key,
        want: Want,
        exchange: X,
        own: oneshot::Sender<X::Own>,
    ) -> Arc<Ran<V>> {
        let (ran, theirs) = self.run(key, want, true, exchange).await;
        if let Some(theirs) = theirs {
            // Whoever asked may have gone.
            let _ = own.send(theirs);
        }
        Arc::new(ran)
    }

    /// The call of one who shares nothing, made where it is awaited: it ends with
    /// its caller.
    async fn alone<X: Exchange<V>>(
        &self,
        primary: &Key,
        want: Want,
        serves: bool,
        exchange: X,
    ) -> (Ran<V>, Option<X::Own>) {
        let inner = self.inner();
        inner.counts.run();
        let key = self.resolve(primary, &exchange);
        let mark = self.shelf.mark(primary);
        let (ran, own) = self.run(key, want, serves, exchange).await;
        self.shelf
            .make_unless_forgotten(inner, primary, mark, &ran.changes);
        (ran, own)
    }
}

/// A task has no span unless it is given one, and what a call logs belongs to the
/// request that began it.
fn in_span<F: Future>(run: F) -> impl Future<Output = F::Output> {
    tracing::Instrument::in_current_span(run)
}
