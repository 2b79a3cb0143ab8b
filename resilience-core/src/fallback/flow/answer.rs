//! What a caller gets of a run, and how it is counted.

use std::sync::Arc;

use super::{Answer, Backup, Got, Origin, Port, Ran, stored};
use crate::{
    cache::Lost,
    fallback::{FallbackError, Key, Served, Source, Tried, counts::one, shelf::Changes},
    one_line::one_line,
};

impl<V> Port<V>
where
    V: Send + Sync + 'static,
{
    /// What a caller gets of a run, counted.
    pub(super) fn answer<E, O>(&self, ran: &Ran<V>, own: Option<O>, waited: bool) -> Answer<V, E, O>
    where
        E: Send + Sync + 'static,
    {
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
                count.fresh();
                if *by_run {
                    one(&count.fresh_by_run);
                }
            }
            Origin::Stale { status } => {
                count.stale(served.age_ms);
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
                let error = Arc::clone(error).downcast();
                let error = error.expect("it is asked before whether it is for this caller");
                Answer::Error(FallbackError::shared(error, tried()))
            }
            (Got::Lost(lost), _) => Answer::Error(FallbackError::lost(*lost, tried())),
            // Told to the leader before the run ended.
            (Got::Own, None) => Answer::Error(FallbackError::lost(Lost::ShutDown, tried())),
        }
    }

    /// The run ended without a word: it panicked, or its runtime is gone.
    pub(super) fn lost<E, O>(&self, key: &Key, lost: Lost) -> Answer<V, E, O>
    where
        E: Send + Sync + 'static,
    {
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
    pub(super) async fn aside<E, O>(
        &self,
        ran: Ran<V>,
        own: Option<O>,
        backup: Backup<V, O>,
    ) -> Answer<V, E, O>
    where
        E: Send + Sync + 'static,
    {
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

/// An error of another service is told in one line of a log.
const MOST_OF_A_MESSAGE: usize = 300;
