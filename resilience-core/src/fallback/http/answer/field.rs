//! One header in the bytes of an answer, and the numbers before it.

use std::ops::Range;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};

/// Names that take one byte. Their places are a part of the format: a new one goes to the
/// end, and no other may move.
pub(super) static KNOWN: [HeaderName; 39] = [
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_LOCATION,
    header::CONTENT_DISPOSITION,
    header::CACHE_CONTROL,
    header::DATE,
    header::EXPIRES,
    header::ETAG,
    header::LAST_MODIFIED,
    header::VARY,
    header::SERVER,
    header::LOCATION,
    header::LINK,
    header::SET_COOKIE,
    header::CACHE_STATUS,
    header::VIA,
    header::WARNING,
    header::PRAGMA,
    header::RETRY_AFTER,
    header::ACCEPT_RANGES,
    header::ALLOW,
    header::ALT_SVC,
    header::STRICT_TRANSPORT_SECURITY,
    header::CONTENT_SECURITY_POLICY,
    header::X_CONTENT_TYPE_OPTIONS,
    header::X_FRAME_OPTIONS,
    header::X_XSS_PROTECTION,
    header::REFERRER_POLICY,
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
    header::ACCESS_CONTROL_MAX_AGE,
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("x-correlation-id"),
    HeaderName::from_static("server-timing"),
];

pub(super) const SENSITIVE: u8 = 0x80;
const MORE: u8 = 0x80;

/// Status and numbers of headers.
pub(super) const HEAD: usize = 4;

/// Reads from the front. What is not there is `None`.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn at(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    pub(super) fn head(&mut self) -> Option<[u8; HEAD]> {
        let head = self.bytes.get(self.at..)?.first_chunk().copied()?;
        self.at += HEAD;
        Some(head)
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = self.bytes.get(self.at).copied()?;
        self.at += 1;
        Some(byte)
    }

    /// The range of what is there with its length before it.
    fn piece(&mut self) -> Option<Range<usize>> {
        let mut len = 0_usize;
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            len |= usize::from(byte & !MORE) << shift;
            if byte & MORE == 0 {
                let start = self.at;
                self.at = start.checked_add(len)?;
                return (self.at <= self.bytes.len()).then_some(start..self.at);
            }
        }
        None
    }

    pub(super) fn field(&mut self) -> Option<Field> {
        let code = self.byte()?;
        let known = usize::from(code & !SENSITIVE);
        let name = match known.checked_sub(1) {
            Some(place) => Name::Known(place),
            None => Name::Given(self.piece()?),
        };
        Some(Field {
            name,
            value: self.piece()?,
            sensitive: code & SENSITIVE != 0,
        })
    }
}

/// Where a header is.
pub(super) struct Field {
    name: Name,
    value: Range<usize>,
    sensitive: bool,
}

enum Name {
    Known(usize),
    Given(Range<usize>),
}

impl Field {
    pub(super) fn name(&self, bytes: &[u8]) -> Option<HeaderName> {
        match &self.name {
            Name::Known(place) => KNOWN.get(*place).cloned(),
            Name::Given(range) => HeaderName::from_lowercase(&bytes[range.clone()]).ok(),
        }
    }

    /// Whether it is a value at all.
    pub(super) fn has_value(&self, bytes: &[u8]) -> bool {
        HeaderValue::from_bytes(&bytes[self.value.clone()]).is_ok()
    }

    /// Another handle of the memory that it is in.
    #[inline]
    pub(super) fn value(&self, memory: &Bytes) -> Option<HeaderValue> {
        let mut value = match &memory[self.value.clone()] {
            // Nearly every answer, and this costs nothing at all.
            b"application/json" => JSON.clone(),
            _ => HeaderValue::from_maybe_shared(memory.slice(self.value.clone())).ok()?,
        };
        value.set_sensitive(self.sensitive);
        Some(value)
    }
}

static JSON: HeaderValue = HeaderValue::from_static("application/json");

pub(super) fn field_size(name: &HeaderName, value: &HeaderValue) -> usize {
    let piece = |len: usize| len_size(len) + len;
    let given = match place(name) {
        Some(_) => 0,
        None => piece(name.as_str().len()),
    };
    1 + given + piece(value.len())
}

pub(super) fn put_field(bytes: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    let sensitive = if value.is_sensitive() { SENSITIVE } else { 0 };
    match place(name) {
        Some(place) => bytes.push(sensitive | place),
        None => {
            bytes.push(sensitive);
            put_piece(bytes, name.as_str().as_bytes());
        }
    }
    put_piece(bytes, value.as_bytes());
}

fn put_piece(bytes: &mut Vec<u8>, piece: &[u8]) {
    let mut len = piece.len();
    while len > 0x7f {
        bytes.push(MORE | low_bits(len));
        len >>= 7;
    }
    bytes.push(low_bits(len));
    bytes.extend_from_slice(piece);
}

fn low_bits(len: usize) -> u8 {
    u8::try_from(len & 0x7f).expect("seven bits")
}

/// Bytes that a length takes.
fn len_size(len: usize) -> usize {
    match len {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    }
}

/// The place of a name, from 1 on.
fn place(name: &HeaderName) -> Option<u8> {
    let place = KNOWN.iter().position(|known| known == name)?;
    Some(u8::try_from(place + 1).expect("fewer than 128"))
}
