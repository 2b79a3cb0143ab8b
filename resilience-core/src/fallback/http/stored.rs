//! What is stored for HTTP: an answer, or a note where answers are.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::{HttpAnswer, Vary, lines::Lines, variant_key};
use crate::fallback::{Key, codec::Code, shelf::Kept};

/// What is stored under a key.
pub(crate) enum HttpStored {
    /// The answer.
    Answer(HttpAnswer),
    /// Answers differ by headers of the request, and each is under a key of its own.
    Note(Box<HttpNote>),
}

pub(crate) struct HttpNote {
    pub(super) vary: Vary,
    /// Tells this note from an earlier one of the same URI. It is a part of the keys of
    /// the answers, so that those which an earlier note led to are not found again when
    /// the URI was forgotten and has a note once more.
    number: [u8; NUMBER],
    /// What the keys of its answers begin with.
    base: Key,
}

const NUMBER: usize = 8;

impl HttpNote {
    /// A new one.
    pub(super) fn new(key: &Key, vary: Vary) -> Self {
        Self::numbered(key, vary, fastrand::u64(..).to_le_bytes())
    }

    fn numbered(key: &Key, vary: Vary, number: [u8; NUMBER]) -> Self {
        // No URI has a zero.
        let base = [key.as_bytes(), b"\0", &number].concat();
        Self {
            vary,
            number,
            base: base.into(),
        }
    }

    /// Where the answer to a request is; `None` if it is nobody else's.
    pub(super) fn variant(&self, headers: &impl Lines) -> Option<Key> {
        variant_key(&self.base, &self.vary, headers)
            .filter(|key| key.as_bytes().len() <= Key::LONGEST)
    }

    pub(super) fn weight(&self) -> usize {
        size_of::<Self>() + self.vary.weight() + self.base.as_bytes().len()
    }

    fn encode(&self) -> Bytes {
        let names = self.vary.encode();
        let mut bytes = BytesMut::with_capacity(NUMBER + names.len());
        bytes.extend_from_slice(&self.number);
        bytes.extend_from_slice(&names);
        bytes.freeze()
    }

    fn decode(key: &Key, payload: &[u8]) -> Option<Self> {
        let (number, names) = payload.split_first_chunk()?;
        let vary = Vary::decode(names).ok()?;
        Some(Self::numbered(key, vary, *number))
    }
}

impl HttpStored {
    /// Bytes on the heap.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Answer(answer) => answer.weight(),
            Self::Note(note) => note.weight(),
        }
    }

    /// Where the answer to a request is, if it is not here.
    pub(super) fn redirect(&self, headers: &impl Lines) -> Option<Key> {
        match self {
            Self::Answer(_) => None,
            Self::Note(note) => note.variant(headers),
        }
    }
}

/// The memory of an answer that was found, for as long as anybody has a part of it.
///
/// One handle of the answer for all parts: each counts its handles beside this one, and
/// threads that give the same answer do not meet there.
pub(super) fn memory(kept: Arc<Kept<HttpStored>>) -> Bytes {
    Bytes::from_owner(Memory(kept))
}

struct Memory(Arc<Kept<HttpStored>>);

impl AsRef<[u8]> for Memory {
    fn as_ref(&self) -> &[u8] {
        match &self.0.value {
            HttpStored::Answer(answer) => answer.memory(),
            HttpStored::Note(_) => unreachable!("a note is nobody's answer"),
        }
    }
}

/// Turns them into bytes and back.
pub(super) struct HttpCode;

impl Code<HttpStored> for HttpCode {
    fn encode(&self, stored: &HttpStored) -> Option<(Box<str>, Bytes)> {
        Some(match stored {
            HttpStored::Answer(answer) => (HttpAnswer::KIND.into(), answer.encode()),
            HttpStored::Note(note) => (Vary::KIND.into(), note.encode()),
        })
    }

    fn decode(&self, key: &Key, kind: &str, payload: &Bytes) -> Option<HttpStored> {
        match kind {
            HttpAnswer::KIND => HttpAnswer::decode(payload).ok().map(HttpStored::Answer),
            Vary::KIND => {
                HttpNote::decode(key, payload).map(|note| HttpStored::Note(Box::new(note)))
            }
            _ => None,
        }
    }

    fn is_note(&self, stored: &HttpStored) -> bool {
        matches!(stored, HttpStored::Note(_))
    }

    fn bytes(&self, stored: &HttpStored, _: &Bytes) -> usize {
        stored.weight()
    }
}
