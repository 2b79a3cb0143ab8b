//! The way of a call that may fail at once: of one that an open circuit refuses.
//!
//! While a circuit is open this is the way of every call, and it is made where it is asked
//! for, without a future and a task. Who waits for nothing needs neither.

use std::sync::Arc;

use tokio::{runtime::Handle, sync::oneshot};

use super::{Answer, Exchange, Port, RUN_WITHIN, Ran, Spare, Want, in_span, stored};
use crate::{
    cache::flight::{Turn, Wait, caught},
    fallback::{Key, Source},
};

/// What has come of a call.
pub(in crate::fallback) enum Now<V, X: Exchange<V>> {
    /// It is over.
    Done(Answer<V, X::Error, X::Own>),
    /// It is being made, in a task.
    Begun(Begun<V, X>),
    /// It has not been made: somebody else's may do, or there is no runtime yet.
    NotMade,
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
    /// Makes a call with `make`, if nobody is making it. `None` of that: it has failed,
    /// without an answer and without anything to wait for, and it is answered at once. If it
    /// has not it goes on in a task: whoever asked may never wait for it, and others may.
    /// So outside of a runtime it is not made: perhaps its future is polled in one.
    #[inline]
    pub(in crate::fallback) fn now<X>(
        self: &Arc<Self>,
        primary: &Key,
        want: Want,
        spare: Spare<V>,
        make: impl FnOnce() -> Option<X>,
    ) -> Now<V, X>
    where
        X: Exchange<V>,
    {
        let inner = self.inner();
        if Handle::try_current().is_err() {
            return Now::NotMade;
        }
        let Spare {
            found, at, version, ..
        } = spare;
        let key = at.unwrap_or_else(|| primary.clone());
        // Nothing was stored since it was found, or it is looked for again.
        let known = |key: &Key| {
            let changed = self.version() != version;
            changed.then(|| self.known(key, want)).flatten()
        };
        let mut lead = match self.shelf.flights.turn(key, known) {
            Turn::Lead(lead) => lead,
            Turn::Known(_) | Turn::Wait(_) | Turn::Alone => return Now::NotMade,
        };
        inner.counts.run();
        let mark = self.shelf.mark(primary);
        match caught(make) {
            Ok(None) => {
                lead.end_for_others(|key| Arc::new(Ran::instead(found.clone(), key.clone())));
                let age_ns = found.age_ns(inner.clock.now_ns());
                let limits = found.value.limits(inner.settings().rules);
                let served = stored(inner, Source::Stale, age_ns, limits.fresh_ns);
                inner.counts.stale(served.age_ms);
                Now::Done(Answer::Value(found.value, served))
            }
            Ok(Some(exchange)) => {
                let (tell, own) = oneshot::channel();
                let key = lead.key().clone();
                let keep = self.keeps(primary.clone(), mark);
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
