//! The way of one call, whatever is called: from memory, from the second level, from
//! the upstream, or what is left when that fails.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use tokio::sync::oneshot;

use super::{
    Fallback, FallbackError, Key, Record, Served, Source, Terms, Tried,
    codec::{BoxError, Code},
    counts::one,
    handle::Inner,
    rules::{Use, record_age_ms},
    shelf::{Changes, Found, Kept, Left, Put, Shelf},
};
use crate::{
    cache::{FETCH_WITHIN, Lost, flight::Turn},
    config::FallbackStrategy,
    one_line::one_line,
};

/// One fallback as a layer uses it, for answers `V` of calls that fail with `E`.
pub(super) struct Port<V, E> {
    fallback: Fallback,
    shelf: Arc<Shelf<V, E>>,
    code: Option<Arc<dyn Code<V>>>,
}

/// A call that has not been made yet.
pub(super) trait Exchange<V, E>: Send + Sized + 'static {
    /// An answer that only who asked may have.
    type Own: Send + 'static;

    /// If `value` only says where the answer is: where that is for this call.
    fn redirect(&self, value: &V) -> Option<Key>;

    /// Makes the call. The answer of it is kept under `key`, or where a note says
    /// that is put there.
    fn ask(self, key: Key) -> impl Future<Output = Asked<V, E, Self::Own>> + Send;
}

/// What the upstream said.
pub(super) struct Asked<V, E, O> {
    pub(super) said: Said<V, E, O>,
    pub(super) verdict: Verdict<V>,
}

pub(super) enum Said<V, E, O> {
    /// For all who ask.
    Value(V),
    /// For who asked.
    Own(O),
    Error(E),
}

pub(super) enum Verdict<V> {
    /// To be kept, if it is a value.
    Good(Keep<V>),
    /// Good, and not to be kept; what is stored is the last good one no longer, if
    /// it is forgotten.
    NotKept { forgets: bool },
    /// Neither good nor a failure.
    Ignored,
    /// It failed, with this status if it had one.
    Failed { status: Option<u16> },
}

pub(super) struct Keep<V> {
    pub(super) terms: Terms,
    /// Bytes of the value on the heap; `None`: as many as it has when encoded.
    pub(super) bytes: Option<usize>,
    pub(super) under: Key,
    pub(super) note: Option<Note<V>>,
}

/// Says where the answer is, to who finds it in place of one.
pub(super) enum Note<V> {
    /// It is there already; the answer is kept only if it still is then.
    Known(Key, Found<V>),
    New {
        key: Key,
        value: V,
        bytes: usize,
    },
}

/// How a call may be answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Want {
    /// Origin what is stored.
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

/// A look at what is stored.
pub(super) enum Look<V> {
    /// The call has no fallback.
    Pass,
    /// The answer; the key by which it should be fetched anew meanwhile.
    Hit(Arc<Kept<V>>, Served, Option<Key>),
    /// It has to be asked for.
    Ask(Asking),
}

/// How a call is to be made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking {
    pub(super) strategy: FallbackStrategy,
    pub(super) enabled: bool,
    pub(super) missed: Missed,
}

/// Why memory does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missed {
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

/// What a run came to. All who wait for it share it.
pub(super) struct Ran<V, E> {
    got: Got<V, E>,
    from: Origin,
    changes: Changes<V>,
}

enum Got<V, E> {
    Value(At<V>),
    Error(Arc<E>),
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

impl<V, E> Ran<V, E> {
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

impl<V, E> Port<V, E>
where
    V: Send + Sync + 'static,
    E: Send + Sync + 'static,
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

    /// Looks whether memory answers, and else how the call is to be made.
    #[inline]
    pub(super) fn look(
        &self,
        key: &Key,
        want: Want,
        redirect: impl FnOnce(&V) -> Option<Key>,
    ) -> Look<V> {
        let inner = self.inner();
        let settings = inner.settings();
        if settings.strategy == FallbackStrategy::None || key.as_bytes().len() > Key::LONGEST {
            return Look::Pass;
        }
        let ask = |missed| {
            Look::Ask(Asking {
                strategy: settings.strategy,
                enabled: settings.enabled,
                missed,
            })
        };
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
                let found = self.shelf.find(&key)?;
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
        let (source, refresh) = match limits.at(age_ns) {
            Use::Fresh => (Source::Fresh, None),
            // Not if it is nobody else's business.
            Use::WhileRefreshing if want.share => {
                (Source::Refreshing, Some(at.unwrap_or_else(|| key.clone())))
            }
            _ => return ask(Missed::Stale),
        };
        one(&inner.counts.fresh);
        let served = stored(inner, source, age_ns, limits.fresh_ns);
        Look::Hit(found.value, served, refresh)
    }

    /// Makes a call that memory does not answer.
    pub(super) async fn ask<X>(
        self: Arc<Self>,
        primary: Key,
        want: Want,
        exchange: X,
        backup: Backup<V, X::Own>,
    ) -> Answer<V, E, X::Own>
    where
        X: Exchange<V, E>,
    {
        let inner = self.inner();
        if !matches!(backup, Backup::Stored) {
            let (ran, own) = self.alone(&primary, want, false, exchange).await;
            return self.aside(ran, own, backup).await;
        }
        if !want.share || !want.read {
            let serves = want.read;
            let (ran, own) = self.alone(&primary, want, serves, exchange).await;
            return self.answer(&ran, own, false);
        }
        for _ in 0..MOST_ROUNDS {
            let key = self.resolve(&primary, &exchange);
            // Outlives the lock: what it holds may be the last of it, and its `Drop` is
            // not ours.
            let mut seen = None;
            let known = |key: &Key| {
                seen = self.in_memory(key);
                let fresh = self.is_fresh(seen.as_ref(), want);
                fresh.then(|| Arc::new(Ran::known(seen.take().expect("it is fresh"))))
            };
            let (ended, waited) = match self.shelf.flights.turn(key.clone(), known) {
                Turn::Known(ran) => (Ok(ran), false),
                Turn::Wait(wait) => (wait.answer().await, true),
                Turn::Alone => break,
                Turn::Lead(lead) => {
                    one(&inner.counts.runs);
                    let (tell, mut hear) = oneshot::channel();
                    let keep = self.keeps(primary);
                    let run = Arc::clone(&self).lead(key.clone(), want, exchange, tell);
                    let ended = lead.run(RUN_WITHIN, in_span(run), keep).answer().await;
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
        let (ran, own) = self.alone(&primary, want, true, exchange).await;
        self.answer(&ran, own, false)
    }

    /// Fetches the answer of a key anew, if nobody does: in a task, for nobody.
    pub(super) fn refresh<X>(self: &Arc<Self>, primary: Key, key: Key, exchange: impl FnOnce() -> X)
    where
        X: Exchange<V, E>,
    {
        let Turn::Lead(lead) = self.shelf.flights.turn(key.clone(), |_| None) else {
            return;
        };
        one(&self.inner().counts.runs);
        let (tell, _) = oneshot::channel();
        let keep = self.keeps(primary);
        let run = Arc::clone(self).lead(key, Want::ALL, exchange(), tell);
        drop(lead.run(RUN_WITHIN, in_span(run), keep));
    }

    /// What a run that begins now does with what it brings, under the lock of the
    /// flights: nothing, if the URI was forgotten meanwhile.
    fn keeps(
        self: &Arc<Self>,
        primary: Key,
    ) -> impl FnOnce(&Key, &Arc<Ran<V, E>>) -> Left<V> + Send + 'static {
        let mark = self.shelf.mark(&primary);
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
        self.shelf.find(key)
    }

    /// Forgets what is stored under a key.
    pub(super) fn forget(&self, key: &Key) {
        self.shelf.forget(self.inner(), key);
    }

    /// The key under which the answer is, as far as memory knows.
    fn resolve<X: Exchange<V, E>>(&self, primary: &Key, exchange: &X) -> Key {
        let note = self.shelf.find(primary).filter(|found| found.value.note);
        note.and_then(|note| exchange.redirect(&note.value.value))
            .unwrap_or_else(|| primary.clone())
    }

    /// The answer that memory has under a key, of whatever age.
    fn in_memory(&self, key: &Key) -> Option<At<V>> {
        let found = self.shelf.find(key).filter(|found| !found.value.note)?;
        Some(At {
            found,
            key: key.clone(),
            note: None,
        })
    }

    /// Whether what a run brought is an answer for this call too.
    fn is_for<X: Exchange<V, E>>(&self, ran: &Ran<V, E>, exchange: &X, want: Want) -> bool {
        let Got::Value(at) = &ran.got else {
            return true;
        };
        if let Some(note) = &at.note
            && exchange.redirect(&note.value.value).as_ref() != Some(&at.key)
        {
            return false;
        }
        let age_ns = || at.found.age_ns(self.inner().clock.now_ns());
        !matches!(ran.from, Origin::Stored { .. }) || age_ns() < want.max_age_ns
    }

    async fn lead<X: Exchange<V, E>>(
        self: Arc<Self>,
        key: Key,
        want: Want,
        exchange: X,
        own: oneshot::Sender<X::Own>,
    ) -> Arc<Ran<V, E>> {
        let (ran, theirs) = self.run(key, want, true, exchange).await;
        if let Some(theirs) = theirs {
            // Whoever asked may have gone.
            let _ = own.send(theirs);
        }
        Arc::new(ran)
    }

    /// The call of one who shares nothing, made where it is awaited: it ends with
    /// its caller.
    async fn alone<X: Exchange<V, E>>(
        &self,
        primary: &Key,
        want: Want,
        serves: bool,
        exchange: X,
    ) -> (Ran<V, E>, Option<X::Own>) {
        let inner = self.inner();
        one(&inner.counts.runs);
        let key = self.resolve(primary, &exchange);
        let mark = self.shelf.mark(primary);
        let (ran, own) = self.run(key, want, serves, exchange).await;
        self.shelf
            .make_unless_forgotten(inner, primary, mark, &ran.changes);
        (ran, own)
    }

    /// Asks the second level if memory has nothing, and then the upstream. The last
    /// is the leader's own, if the run came to that.
    async fn run<X: Exchange<V, E>>(
        &self,
        key: Key,
        want: Want,
        serves: bool,
        exchange: X,
    ) -> (Ran<V, E>, Option<X::Own>) {
        let inner = self.inner();
        let mut trial = Trial {
            key,
            serves,
            looked: !serves,
            second: None,
        };
        if serves && self.shelf.find(&trial.key).is_none() {
            // Not awaited with a borrowed exchange: that need not be `Sync`.
            if let Some(note) = self.look_further(&mut trial).await
                && let Some(key) = exchange.redirect(&note.value.value)
            {
                let variant = self.read(&key).await;
                trial.second = variant.map(|found| At {
                    found,
                    key,
                    note: Some(note),
                });
            }
            if self.is_fresh(trial.second.as_ref(), want) {
                return (trial.stored(Origin::Stored { by_run: true }), None);
            }
        }
        // The answer may be younger than this and is not older.
        let began = (inner.clock.now_ns(), inner.wall.now_ms());
        let asked = exchange.ask(trial.key.clone());
        let Ok(Asked { said, verdict }) = tokio::time::timeout(FETCH_WITHIN, asked).await else {
            let lost = Got::Lost(Lost::TookTooLong(FETCH_WITHIN));
            return (self.failed(trial, None, lost).await, None);
        };
        let (said, verdict) = match (said, verdict) {
            (Said::Value(value), Verdict::Good(keep)) => {
                return (self.good(value, keep, want, began), None);
            }
            other => other,
        };
        let (got, own) = match said {
            Said::Value(value) => {
                let kept = Kept::new(value, &Terms::default(), 0, false);
                let at = At {
                    found: self.shelf.found(&trial.key, kept, 0, began.0),
                    key: trial.key.clone(),
                    note: None,
                };
                (Got::Value(at), None)
            }
            Said::Error(error) => (Got::Error(Arc::new(error)), None),
            Said::Own(own) => (Got::Own, Some(own)),
        };
        if let Verdict::Failed { status } = verdict {
            let ran = self.failed(trial, status, got).await;
            let own = own.filter(|_| matches!(ran.got, Got::Own));
            return (ran, own);
        }
        // What came from the second level is not the last good answer any more, or is
        // to be read again: it was not needed.
        let mut changes = Changes::default();
        if matches!(verdict, Verdict::NotKept { forgets: true }) {
            changes.removes = Some(trial.key);
        }
        let from = Origin::Upstream { kept: false };
        (Ran { got, from, changes }, own)
    }

    /// A good answer, asked for at these readings of the two clocks.
    fn good(&self, value: V, keep: Keep<V>, want: Want, began: (u64, u64)) -> Ran<V, E> {
        let (began_ns, began_ms) = began;
        let record = self
            .record(&value, &keep.terms, began_ms)
            .filter(|_| want.keep);
        let encoded = record.as_ref().map(|(record, _)| record.payload.len());
        let bytes = keep.bytes.or(encoded).unwrap_or(0);
        let aged_ms = u64::from(keep.terms.age) * 1_000;
        let kept = Kept::new(value, &keep.terms, aged_ms, false);
        let found = self.shelf.found(&keep.under, kept, bytes, began_ns);
        let mut changes = Changes::default();
        let mut notes = None;
        if let Some(note) = keep.note {
            let (key, note) = match note {
                Note::Known(key, note) => {
                    changes.only_with = Some((key.clone(), note.clone()));
                    (key, note)
                }
                Note::New { key, value, bytes } => {
                    let kept = Kept::new(value, &Terms::default(), 0, true);
                    let found = self.shelf.found(&key, kept, bytes, began_ns);
                    (key, found)
                }
            };
            notes = Some(note.clone());
            let mut record = self.record(&note.value.value, &keep.terms, began_ms);
            if let Some((record, _)) = &mut record {
                record.terms = Terms::default();
            }
            changes.puts.push(Put {
                key,
                found: note,
                record,
            });
        }
        changes.puts.push(Put {
            key: keep.under.clone(),
            found: found.clone(),
            record,
        });
        if !want.keep {
            changes = Changes::default();
        }
        Ran {
            got: Got::Value(At {
                found,
                key: keep.under,
                note: notes,
            }),
            from: Origin::Upstream { kept: want.keep },
            changes,
        }
    }

    /// The upstream failed, so: is there an answer that is good enough for that?
    async fn failed(
        &self,
        mut trial: Trial<V>,
        status: Option<u16>,
        failed: Got<V, E>,
    ) -> Ran<V, E> {
        let mut why = Tried::NothingStored;
        let there = self.in_memory(&trial.key);
        if let Some(at) = there.filter(|_| trial.serves) {
            match self.after_failure(&at.found) {
                Ok(()) => {
                    return Ran {
                        got: Got::Value(at),
                        from: Origin::Stale { status },
                        changes: Changes::default(),
                    };
                }
                Err(dead) => why = dead,
            }
        }
        // Another process may have put a newer one there.
        self.look_further(&mut trial).await;
        if let Some(at) = &trial.second {
            match self.after_failure(&at.found) {
                Ok(()) => return trial.stored(Origin::Stale { status }),
                Err(dead) => why = dead,
            }
        }
        Ran {
            got: failed,
            from: Origin::Failed(why),
            changes: Changes::default(),
        }
    }

    /// Whether it may stand in for a failure now.
    fn after_failure(&self, found: &Found<V>) -> Result<(), Tried> {
        let inner = self.inner();
        let age_ns = found.age_ns(inner.clock.now_ns());
        match found.value.limits(inner.settings().rules).at(age_ns) {
            Use::Dead(ns) => Err(Tried::TooOld {
                dead_for: Duration::from_nanos(ns),
            }),
            _ => Ok(()),
        }
    }

    fn is_fresh(&self, at: Option<&At<V>>, want: Want) -> bool {
        at.is_some_and(|at| {
            let inner = self.inner();
            let age_ns = at.found.age_ns(inner.clock.now_ns());
            let limits = at.found.value.limits(inner.settings().rules);
            limits.at(age_ns) == Use::Fresh && age_ns < want.max_age_ns
        })
    }

    /// Reads the second level, once a run. If there is a note: that, for who can read
    /// it.
    async fn look_further(&self, trial: &mut Trial<V>) -> Option<Found<V>> {
        if std::mem::replace(&mut trial.looked, true) {
            return None;
        }
        let mark = self.shelf.mark(&trial.key);
        let found = self.read(&trial.key).await?;
        let key = trial.key.clone();
        if !found.value.note {
            trial.second = Some(At {
                found,
                key,
                note: None,
            });
            return None;
        }
        // Put there at once, so that the answer to come is put with the others that
        // are found by this note.
        let changes = Changes {
            puts: vec![Put {
                key,
                found: found.clone(),
                record: None,
            }],
            ..Changes::default()
        };
        self.shelf
            .make_unless_forgotten(self.inner(), &trial.key, mark, &changes);
        Some(found)
    }

    /// What the second level has, as if it had been in memory since then.
    async fn read(&self, key: &Key) -> Option<Found<V>> {
        let inner = self.inner();
        let (second, code) = (inner.second.as_ref()?, self.code.as_ref()?);
        let record = second.read(&inner.name, key).await?;
        let age_ms = record_age_ms(&record.terms, record.asked_at_ms, inner.wall.now_ms());
        let value = code.decode(key, &record.kind, &record.payload);
        let (Some(value), Some(age_ms)) = (value, age_ms) else {
            one(&inner.counts.unreadable);
            return None;
        };
        let (note, bytes) = (code.is_note(&value), code.bytes(&value, &record.payload));
        let kept = Kept::new(value, &record.terms, age_ms, note);
        Some(self.shelf.found(key, kept, bytes, inner.clock.now_ns()))
    }

    /// As the second level keeps it, and until when that is of use.
    fn record(&self, value: &V, terms: &Terms, asked_at_ms: u64) -> Option<(Record, u64)> {
        let inner = self.inner();
        inner.second.as_ref()?;
        let useful_ms = inner.settings().rules.useful_ms(terms);
        if useful_ms == 0 {
            return None;
        }
        let (kind, payload) = self.code.as_ref()?.encode(value)?;
        let record = Record {
            asked_at_ms,
            terms: *terms,
            kind,
            payload,
        };
        Some((record, asked_at_ms.saturating_add(useful_ms)))
    }

    /// What a caller gets of a run, counted.
    fn answer<O>(&self, ran: &Ran<V, E>, own: Option<O>, waited: bool) -> Answer<V, E, O> {
        let inner = self.inner();
        let count = &inner.counts;
        let now_ns = inner.clock.now_ns();
        let mut served = match (&ran.got, &ran.from) {
            (Got::Value(at), from) if !matches!(from, Origin::Failed(_)) => {
                let age_ns = at.found.age_ns(now_ns);
                let limits = at.found.value.limits(inner.settings().rules);
                let source = match from {
                    Origin::Stored { .. } => Source::Fresh,
                    Origin::Stale { .. } => Source::Stale,
                    Origin::Upstream { .. } | Origin::Failed(_) => Source::Live,
                };
                stored(inner, source, age_ns, limits.fresh_ns)
            }
            _ => Served::new(Source::Live, 0, inner.wall.now_ms()),
        };
        served.told.collapsed = waited;
        match &ran.from {
            Origin::Upstream { kept } => {
                one(&count.live);
                served.told.stored = *kept;
            }
            Origin::Stored { by_run } => {
                one(&count.fresh);
                if *by_run {
                    one(&count.fresh_by_run);
                }
            }
            Origin::Stale { status } => {
                one(&count.stale);
                count.ages.note(served.age_ms);
                served.told.status = *status;
            }
            Origin::Failed(tried) => {
                match tried {
                    Tried::TooOld { .. } => one(&count.dead),
                    _ => one(&count.miss),
                }
                served.tried = Some(tried.clone());
            }
        }
        let tried = || served.tried.clone().unwrap_or(Tried::NotAFailure);
        match (&ran.got, own) {
            (Got::Value(at), _) => Answer::Value(Arc::clone(&at.found.value), served),
            (Got::Own, Some(own)) => Answer::Own(own, served),
            (Got::Error(error), _) => {
                Answer::Error(FallbackError::shared(Arc::clone(error), tried()))
            }
            (Got::Lost(lost), _) => Answer::Error(FallbackError::lost(*lost, tried())),
            // Told to the leader before the run ended.
            (Got::Own, None) => Answer::Error(FallbackError::lost(Lost::ShutDown, tried())),
        }
    }

    /// The run ended without a word: it panicked, or its runtime is gone.
    fn lost<O>(&self, key: &Key, lost: Lost) -> Answer<V, E, O> {
        let mut why = Tried::NothingStored;
        let mut got = Got::Lost(lost);
        if let Some(at) = self.in_memory(key) {
            match self.after_failure(&at.found) {
                Ok(()) => got = Got::Value(at),
                Err(dead) => why = dead,
            }
        }
        let from = match got {
            Got::Value(_) => Origin::Stale { status: None },
            _ => Origin::Failed(why),
        };
        let changes = Changes::default();
        self.answer(&Ran { got, from, changes }, None, false)
    }

    /// What a caller gets where nothing stored is served.
    async fn aside<O>(
        &self,
        ran: Ran<V, E>,
        own: Option<O>,
        backup: Backup<V, O>,
    ) -> Answer<V, E, O> {
        if !matches!(ran.from, Origin::Failed(_)) {
            return self.answer(&ran, own, false);
        }
        let inner = self.inner();
        let now_ms = inner.wall.now_ms();
        let tried = match backup {
            Backup::Stored | Backup::Off => Tried::SwitchedOff,
            Backup::Fixed(Some(fixed)) => {
                one(&inner.counts.fixed);
                return Answer::Value(fixed, Served::new(Source::Fixed, 0, now_ms));
            }
            Backup::Fixed(None) => {
                inner.warn_once(
                    "static",
                    "give the layer an `answer`, or configure one for HTTP",
                );
                Tried::NothingFixed
            }
            Backup::Other(None) => {
                inner.warn_once("service", "give the layer an `other` service");
                Tried::NoOther
            }
            Backup::Other(Some(other)) => match other.await {
                Ok(theirs) => {
                    one(&inner.counts.other);
                    return Answer::Own(theirs, Served::new(Source::Other, 0, now_ms));
                }
                Err(error) => Tried::OtherFailed {
                    message: one_line(&error.to_string(), MOST_OF_A_MESSAGE).into(),
                },
            },
        };
        let from = Origin::Failed(tried);
        self.answer(&Ran { from, ..ran }, own, false)
    }
}

/// What a run has found out so far.
struct Trial<V> {
    key: Key,
    /// Whether what is stored may be handed out.
    serves: bool,
    /// The second level has been asked, or is not to be.
    looked: bool,
    second: Option<At<V>>,
}

impl<V> Trial<V> {
    /// Comes to what the second level had: it is put in memory.
    fn stored<E>(self, from: Origin) -> Ran<V, E> {
        let at = self.second.expect("looked at by who comes to it");
        let changes = Changes {
            only_with: at.note.clone().map(|note| (self.key, note)),
            puts: vec![Put {
                key: at.key.clone(),
                found: at.found.clone(),
                record: None,
            }],
            removes: None,
        };
        Ran {
            got: Got::Value(at),
            from,
            changes,
        }
    }
}

/// An error of another service is told in one line of a log.
const MOST_OF_A_MESSAGE: usize = 300;

fn stored(inner: &Inner, source: Source, age_ns: u64, fresh_ns: u64) -> Served {
    let ms = |ns: u64| i64::try_from(ns / 1_000_000).unwrap_or(i64::MAX);
    let mut served = Served::new(source, age_ns / 1_000_000, inner.wall.now_ms());
    served.told.ttl_ms = ms(fresh_ns) - ms(age_ns);
    served
}

/// A task has no span unless it is given one, and what a call logs belongs to the
/// request that began it.
fn in_span<F: Future>(run: F) -> impl Future<Output = F::Output> {
    tracing::Instrument::in_current_span(run)
}
