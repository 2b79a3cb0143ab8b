//! What a run does: the second level, the upstream, and what is left when that fails.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use super::{Asked, At, Exchange, Got, Keep, Note, Origin, Port, Ran, Said, Verdict, Want};
use crate::{
    cache::{FETCH_WITHIN, Lost},
    fallback::{
        Key, Record, Terms, Tried,
        counts::one,
        rules::{Use, record_age_ms},
        shelf::{Changes, Found, Kept, Put},
    },
};

impl<V> Port<V>
where
    V: Send + Sync + 'static,
{
    /// Asks the second level if memory has nothing, and then the upstream. The last
    /// is the leader's own, if the run came to that.
    pub(super) async fn run<X: Exchange<V>>(
        &self,
        key: Key,
        want: Want,
        serves: bool,
        exchange: X,
    ) -> (Ran<V>, Option<X::Own>) {
        let inner = self.inner();
        let mut trial = Trial {
            key,
            serves,
            looked: !serves,
            second: None,
        };
        if serves && self.shelf.find(trial.key.as_bytes()).is_none() {
            // Not awaited with a borrowed exchange: that need not be `Sync`.
            if let Some(note) = Box::pin(self.look_further(&mut trial)).await
                && let Some(key) = exchange.redirect(&note.value.value)
            {
                let variant = Box::pin(self.read(&key)).await;
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
        let asked = pin!(exchange.ask(trial.key.clone()));
        let Some(Asked { said, verdict }) = within(FETCH_WITHIN, asked).await else {
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
    fn good(&self, value: V, keep: Keep<V>, want: Want, began: (u64, u64)) -> Ran<V> {
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
    async fn failed(&self, mut trial: Trial<V>, status: Option<u16>, failed: Got<V>) -> Ran<V> {
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
        Box::pin(self.look_further(&mut trial)).await;
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
    pub(super) fn after_failure(&self, found: &Found<V>) -> Result<(), Tried> {
        let inner = self.inner();
        let age_ns = found.age_ns(inner.clock.now_ns());
        match found.value.limits(inner.settings().rules).at(age_ns) {
            Use::Dead(ns) => Err(Tried::TooOld {
                dead_for: Duration::from_nanos(ns),
            }),
            _ => Ok(()),
        }
    }

    pub(super) fn is_fresh(&self, at: Option<&At<V>>, want: Want) -> bool {
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
}

/// What a call comes to, if it takes no longer. One that is over at once, such as one that
/// is refused, costs no timer.
async fn within<F: Future>(most: Duration, mut call: Pin<&mut F>) -> Option<F::Output> {
    match poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await {
        Poll::Ready(asked) => Some(asked),
        Poll::Pending => tokio::time::timeout(most, call).await.ok(),
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
    fn stored(self, from: Origin) -> Ran<V> {
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
