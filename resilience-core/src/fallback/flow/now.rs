//! The way of a call that may fail at once: of one that an open circuit refuses.
//!
//! While a circuit is open this is the way of every call, and it is made where it is asked
//! for, without a future and a task. Who waits for nothing needs neither.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{Answer, At, Exchange, Got, Origin, Port, RUN_WITHIN, Ran, Want, in_span};
use crate::{
    cache::flight::{Turn, Wait, caught},
    fallback::{
        Key,
        counts::one,
        shelf::{Changes, Found},
    },
};

/// An answer that is past its time, and good enough if the call fails.
pub(in crate::fallback) struct Spare<V> {
    pub(super) found: Found<V>,
    /// Where it is, if a note led there.
    pub(super) at: Option<Key>,
    /// Of the shelf, when it was found.
    pub(super) version: u64,
}

/// What has come of a call.
pub(in crate::fallback) enum Now<V, X: Exchange<V>> {
    /// It is over.
    Done(Answer<V, X::Error, X::Own>),
    /// It is being made, in a task.
    Begun(Begun<V, X>),
    /// It has not been made: somebody else's may do.
    NotMade(X),
}

/// A call that is made in a task, for all who wait.
pub(in crate::fallback) struct Begun<V, X: Exchange<V>> {
    key: Key,
    wait: Wait<Arc<Ran<V>>>,
    own: oneshot::Receiver<X::Own>,
}

impl<V> Port<V>
where
    V: Send + Sync + 'static,
{
    /// Makes a call, if nobody is making it, and answers it if it fails at once. If it does
    /// not it goes on in a task: whoever asked may never wait for it, and others may.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime, if it does not fail at once.
    pub(in crate::fallback) fn now<X>(
        self: &Arc<Self>,
        primary: Key,
        want: Want,
        spare: Spare<V>,
        exchange: X,
    ) -> Now<V, X>
    where
        X: Exchange<V>,
    {
        let Spare { found, at, version } = spare;
        let key = at.unwrap_or_else(|| primary.clone());
        // Nothing was stored since it was found, or it is looked for again.
        let known = |key: &Key| {
            let changed = self.version() != version;
            changed.then(|| self.known(key, want)).flatten()
        };
        let mut lead = match self.shelf.flights.turn(key, known) {
            Turn::Lead(lead) => lead,
            Turn::Known(_) | Turn::Wait(_) | Turn::Alone => return Now::NotMade(exchange),
        };
        one(&self.inner().counts.runs);
        let keep = self.keeps(primary);
        match caught(|| exchange.fails_at_once()) {
            Ok(None) => {
                let key = lead.key().clone();
                let at = At {
                    found,
                    key,
                    note: None,
                };
                let ran = Ran {
                    got: Got::Value(at),
                    from: Origin::Stale { status: None },
                    changes: Changes::default(),
                };
                let answer = self.answer(&ran, None, false);
                lead.end_for_others(|| Arc::new(ran));
                Now::Done(answer)
            }
            Ok(Some(exchange)) => {
                let (tell, own) = oneshot::channel();
                let key = lead.key().clone();
                let run = Arc::clone(self).lead(key.clone(), want, exchange, tell);
                let wait = lead.run(RUN_WITHIN, in_span(run), keep);
                Now::Begun(Begun { key, wait, own })
            }
            Err(panicked) => {
                lead.lose(panicked);
                Now::Done(self.lost(lead.key(), panicked))
            }
        }
    }

    /// What comes of a call that was begun.
    pub(in crate::fallback) async fn ended<X>(
        &self,
        begun: Begun<V, X>,
    ) -> Answer<V, X::Error, X::Own>
    where
        X: Exchange<V>,
    {
        let Begun { key, wait, mut own } = begun;
        match wait.answer().await {
            Ok(ran) => self.answer(&ran, own.try_recv().ok(), false),
            Err(lost) => self.lost(&key, lost),
        }
    }
}
