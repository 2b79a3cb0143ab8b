//! An answer as it is kept: all of it in one piece of memory. The first byte is the number
//! of its shape, and means something in this process only; the rest is its payload:
//!
//! ```text
//! status    2 bytes, the larger first
//! headers   1 byte: how many
//! trailers  1 byte: 0 if there are none, else one more than how many
//! and for each of the headers, then of the trailers:
//!   name    1 byte: 1 and up is a place in `KNOWN`, 0 is followed by a length and the
//!           name; plus 128 if the value is not for indexes and logs
//!   value   a length and the value
//! body      the rest
//! ```
//!
//! A length has seven bits in each byte, the lowest first; another byte follows if the
//! highest bit is set.

mod field;
mod given;
mod shape;

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, response};

use self::field::{HEAD, Reader, field_size, put_field};
pub(crate) use self::given::Given;
use super::hop::Hop;

/// Every [`HttpAnswer`] is checked when it is made.
const CHECKED: &str = "the answer was checked when it was made";

/// A response with its body and trailers, whole, in one piece of memory.
#[derive(PartialEq, Eq)]
pub(crate) struct HttpAnswer(Box<[u8]>);

/// Where the payload begins.
const PAYLOAD: usize = 1;

impl HttpAnswer {
    /// What it is as a payload, in this version.
    pub(crate) const KIND: &'static str = "http/1";

    /// One with more headers, or trailers, is not kept: they are no payload.
    const MOST_HEADERS: usize = 254;
    const MOST_BYTES: usize = 256 << 10;

    /// A copy of a response, which holds on to none of its buffers. Without the headers
    /// that are about the connection it came by, and without `Age`, which is another at
    /// each time it is served. `None` if its headers are too
    /// many, or too long.
    ///
    /// # Source
    ///
    /// RFC 9111, section 3.1, and RFC 9110, section 7.6.1. Trailers are kept apart from
    /// the headers, and never set a cookie: who decided whether to keep the answer had
    /// not seen them.
    pub(crate) fn new(
        parts: &response::Parts,
        body: &[u8],
        trailers: Option<&HeaderMap>,
    ) -> Option<Self> {
        let hop = Hop::of(&parts.headers)?;
        let headers: Vec<_> = kept(&parts.headers, &hop).collect();
        let trailers: Option<Vec<_>> = trailers.map(|trailers| {
            let kept = kept(trailers, &hop);
            kept.filter(|(name, _)| **name != header::SET_COOKIE)
                .collect()
        });
        let fields = || headers.iter().chain(trailers.iter().flatten());
        let counts = [
            headers.len(),
            trailers.as_ref().map_or(0, |some| some.len() + 1),
        ];
        if counts[0] > Self::MOST_HEADERS || counts[1] > Self::MOST_HEADERS + 1 {
            return None;
        }
        let size: usize = fields().map(|(name, value)| field_size(name, value)).sum();
        if size > Self::MOST_BYTES {
            return None;
        }
        let size = PAYLOAD + HEAD + size + body.len();
        // Of its very size: room that is left over would be kept for as long.
        let mut bytes = Vec::with_capacity(size);
        bytes.push(shape::number(headers.iter().map(|(name, _)| *name)));
        bytes.extend_from_slice(&parts.status.as_u16().to_be_bytes());
        bytes.extend(counts.map(|count| u8::try_from(count).expect("at most 255")));
        for (name, value) in fields() {
            put_field(&mut bytes, name, value);
        }
        bytes.extend_from_slice(body);
        debug_assert_eq!(bytes.len(), size);
        Some(Self(bytes.into()))
    }

    /// An answer from a payload, which is checked from its first byte to its body. It is
    /// copied: what a store hands out may be a part of something larger.
    pub(crate) fn decode(payload: &[u8]) -> Result<Self, BadAnswer> {
        let mut reader = Reader::at(payload, 0);
        let [high, low, headers, trailers] = reader.head().ok_or(BadAnswer::Cut)?;
        let status = u16::from_be_bytes([high, low]);
        StatusCode::from_u16(status).map_err(|_| BadAnswer::Status(status))?;
        let headers = usize::from(headers);
        if headers > Self::MOST_HEADERS {
            return Err(BadAnswer::Headers);
        }
        let fields = headers + usize::from(trailers.saturating_sub(1));
        let mut names = Vec::with_capacity(fields);
        for _ in 0..fields {
            let field = reader.field().ok_or(BadAnswer::Cut)?;
            let name = field.name(payload).ok_or(BadAnswer::Name)?;
            if !Hop::default().keeps(&name) {
                return Err(BadAnswer::Name);
            }
            if !field.has_value(payload) {
                return Err(BadAnswer::Value(name));
            }
            names.push(name);
        }
        let shape = [shape::number(names[..headers].iter())];
        Ok(Self([&shape, payload].concat().into()))
    }

    /// The answer as a payload: a copy.
    pub(crate) fn encode(&self) -> Bytes {
        Bytes::copy_from_slice(&self.0[PAYLOAD..])
    }

    /// All of it, as [`Given`] takes it.
    pub(crate) fn memory(&self) -> &[u8] {
        &self.0
    }

    /// The same without a copy.
    pub(crate) fn into_memory(self) -> Bytes {
        self.0.into()
    }

    /// Bytes on the heap.
    pub(crate) fn weight(&self) -> usize {
        self.0.len()
    }
}

fn status(memory: &[u8]) -> StatusCode {
    let status = u16::from_be_bytes([memory[PAYLOAD], memory[PAYLOAD + 1]]);
    StatusCode::from_u16(status).expect(CHECKED)
}

fn kept<'a>(
    headers: &'a HeaderMap,
    hop: &Hop<'_>,
) -> impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)> {
    headers.iter().filter(|(name, _)| hop.keeps(name))
}

/// Not its headers and its body: they may be large, and private.
impl fmt::Debug for HttpAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpAnswer")
            .field("status", &status(&self.0))
            .field("bytes", &self.0.len())
            .finish_non_exhaustive()
    }
}

/// Why a payload is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadAnswer {
    /// It is too short.
    #[error("it ends before its headers do")]
    Cut,
    /// Its status is none.
    #[error("its status is {0}, allowed: 100 to 999")]
    Status(u16),
    /// It has too many headers.
    #[error(
        "it has more headers than {}, which is the most",
        HttpAnswer::MOST_HEADERS
    )]
    Headers,
    /// A name of a header is none, or one that is never kept.
    #[error("a header has a name that is none in lower case, or that is not kept")]
    Name,
    /// A value is none.
    #[error("the value of header `{0}` has bytes that no value has")]
    Value(HeaderName),
}

#[cfg(test)]
mod tests;
