//! Where an answer comes from, and how old it is.

use std::{fmt, ops::Deref, sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{error::Tried, shelf::Kept, wall::timestamp};

/// Where an answer comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// The upstream, just now.
    Live,
    /// It was stored, and is as good as asking.
    Fresh,
    /// It was stored and is past its time; a newer one is being fetched. Counted
    /// as fresh.
    Refreshing,
    /// It was stored and is past its time: the upstream failed.
    Stale,
    /// The upstream failed, and this is the answer fixed for that.
    Fixed,
    /// The upstream failed, and another service gave it.
    Other,
}

impl Source {
    /// The one place where it becomes a label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Fresh => "fresh",
            Self::Refreshing => "refreshing",
            Self::Stale => "stale",
            Self::Fixed => "fixed",
            Self::Other => "other",
        }
    }
}

/// What a handler can know of the answer that it got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    pub(crate) source: Source,
    pub(crate) age_ms: u64,
    /// By the wall clock; zero: nobody looked.
    pub(crate) now_ms: u64,
    /// Why it is no better, if the upstream failed and this is its failure.
    pub(crate) tried: Option<Tried>,
    pub(crate) told: Told,
}

/// What is told on beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// For how long it is fresh, or how long it has not been, in milliseconds.
    pub(crate) ttl_ms: i64,
    /// Another caller had asked for it.
    pub(crate) collapsed: bool,
    /// It is kept.
    pub(crate) stored: bool,
    /// What the upstream answered that failed.
    pub(crate) status: Option<u16>,
}

impl Served {
    pub(crate) fn new(source: Source, age_ms: u64, now_ms: u64) -> Self {
        Self {
            source,
            age_ms,
            now_ms,
            tried: None,
            told: Told::default(),
        }
    }

    /// The upstream's, as if the layer were not there. Reads no clock.
    pub(crate) const fn passed() -> Self {
        Self {
            source: Source::Live,
            age_ms: 0,
            now_ms: 0,
            tried: None,
            told: Told {
                ttl_ms: 0,
                collapsed: false,
                stored: false,
                status: None,
            },
        }
    }

    /// Where it comes from.
    #[must_use]
    pub const fn source(&self) -> Source {
        self.source
    }

    /// Its age when it was handed out: since it was asked for, and what the
    /// upstream said of how old it was then.
    #[must_use]
    pub const fn age(&self) -> Duration {
        Duration::from_millis(self.age_ms)
    }

    /// The time of day of that: "rates as of 14:02". As good as the wall clock was
    /// when it was handed out.
    #[must_use]
    pub fn as_of(&self) -> Timestamp {
        if self.now_ms == 0 {
            return Timestamp::now();
        }
        timestamp(self.now_ms.saturating_sub(self.age_ms))
    }

    /// Whether it is past its time, or not what was asked for: worth a word to
    /// who reads it.
    #[must_use]
    pub const fn is_degraded(&self) -> bool {
        matches!(self.source, Source::Stale | Source::Fixed | Source::Other)
    }

    /// If this is the upstream's own failure: why there was nothing better.
    #[must_use]
    pub const fn tried(&self) -> Option<&Tried> {
        self.tried.as_ref()
    }
}

/// An answer with where it comes from. Used as the answer itself: it derefs to it.
///
/// Answers that are stored or that several callers wait for are shared, so making
/// one copies nothing; [`into_inner`](Self::into_inner) may have to.
pub struct Answered<V> {
    value: Held<V>,
    served: Served,
}

enum Held<V> {
    Own(V),
    Shared(Arc<Kept<V>>),
}

impl<V> Answered<V> {
    pub(crate) const fn own(value: V, served: Served) -> Self {
        Self {
            value: Held::Own(value),
            served,
        }
    }

    pub(crate) const fn shared(value: Arc<Kept<V>>, served: Served) -> Self {
        Self {
            value: Held::Shared(value),
            served,
        }
    }

    /// Where it comes from, and how old it is.
    #[must_use]
    pub const fn served(&self) -> &Served {
        &self.served
    }

    /// The answer alone; a clone of it if it is shared.
    #[must_use]
    pub fn into_inner(self) -> V
    where
        V: Clone,
    {
        match self.value {
            Held::Own(value) => value,
            Held::Shared(kept) => match Arc::try_unwrap(kept) {
                Ok(kept) => kept.value,
                Err(kept) => kept.value.clone(),
            },
        }
    }
}

impl<V> Deref for Answered<V> {
    type Target = V;

    fn deref(&self) -> &V {
        match &self.value {
            Held::Own(value) => value,
            Held::Shared(kept) => &kept.value,
        }
    }
}

impl<V: Clone> Clone for Answered<V> {
    fn clone(&self) -> Self {
        let value = match &self.value {
            Held::Own(value) => Held::Own(value.clone()),
            Held::Shared(kept) => Held::Shared(Arc::clone(kept)),
        };
        Self {
            value,
            served: self.served.clone(),
        }
    }
}

impl<V: fmt::Debug> fmt::Debug for Answered<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answered")
            .field("value", &**self)
            .field("served", &self.served)
            .finish()
    }
}
