//! A call, whatever is called, and what its upstream said.

use std::future::Future;

use crate::fallback::{Key, Terms, shelf::Found};

/// A call that has not been made yet.
pub(in crate::fallback) trait Exchange<V>: Send + Sized + 'static {
    /// What it fails with.
    type Error: Send + Sync + 'static;

    /// An answer that only who asked may have.
    type Own: Send + 'static;

    /// If `value` only says where the answer is: where that is for this call.
    fn redirect(&self, value: &V) -> Option<Key>;

    /// Makes the call. The answer of it is kept under `key`, or where a note says
    /// that is put there.
    fn ask(self, key: Key) -> impl Future<Output = Asked<V, Self::Error, Self::Own>> + Send;
}

/// A request is large, and each step of a call would move it on.
impl<V, X: Exchange<V>> Exchange<V> for Box<X> {
    type Error = X::Error;
    type Own = X::Own;

    fn redirect(&self, value: &V) -> Option<Key> {
        (**self).redirect(value)
    }

    fn ask(self, key: Key) -> impl Future<Output = Asked<V, X::Error, X::Own>> + Send {
        (*self).ask(key)
    }
}

/// What the upstream said.
pub(in crate::fallback) struct Asked<V, E, O> {
    pub(in crate::fallback) said: Said<V, E, O>,
    pub(in crate::fallback) verdict: Verdict<V>,
}

pub(in crate::fallback) enum Said<V, E, O> {
    /// For all who ask.
    Value(V),
    /// For who asked.
    Own(O),
    Error(E),
}

pub(in crate::fallback) enum Verdict<V> {
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

pub(in crate::fallback) struct Keep<V> {
    pub(in crate::fallback) terms: Terms,
    /// Bytes of the value on the heap; `None`: as many as it has when encoded.
    pub(in crate::fallback) bytes: Option<usize>,
    pub(in crate::fallback) under: Key,
    pub(in crate::fallback) note: Option<Note<V>>,
}

/// Says where the answer is, to who finds it in place of one.
pub(in crate::fallback) enum Note<V> {
    /// It is there already; the answer is kept only if it still is then.
    Known(Key, Found<V>),
    New {
        key: Key,
        value: V,
        bytes: usize,
    },
}
