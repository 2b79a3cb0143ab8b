//! An answer as a store keeps it.
//!
//! ```text
//! "RFB" format:u8 crc32:u32 | asked_at_ms:u64 flags:u8 age:u32 fresh_for:u32
//! stale_while_revalidate:u32 stale_if_error:u32 kind_length:u32 kind payload
//! ```
//!
//! Numbers are little-endian. The checksum is of all that follows it. There is one
//! way to write a record, so what is read is written again as the same bytes.

use bytes::Bytes;

use super::Terms;

const MAGIC: &[u8; 3] = b"RFB";

/// Written into each record. A change of the layout is a new number, and records
/// of another are not read: they are answers, which the upstream gives again.
const FORMAT: u8 = 1;

/// Magic, format and checksum.
const HEADER: usize = 8;
/// What follows the header and has a fixed length.
const FIXED: usize = 8 + 1 + 4 * 4 + 4;

const FRESH_FOR: u8 = 1;
const STALE_WHILE_REVALIDATE: u8 = 2;
const STALE_IF_ERROR: u8 = 4;
const NEVER_STALE: u8 = 8;

/// An answer in bytes, with what must be known to use it in another process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When somebody began to ask for it, in milliseconds since 1970 by the wall
    /// clock: the answer may be younger and is not older.
    pub asked_at_ms: u64,
    /// How long the upstream lets it be used.
    pub terms: Terms,
    /// What the payload is, and in which version of its format: `http/1`.
    pub kind: Box<str>,
    /// The answer.
    pub payload: Bytes,
}

/// Why bytes are no record that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// They were written by an older or newer version than this.
    #[error("a record of format {0}, this version reads format {FORMAT}")]
    OtherFormat(u8),
    /// They are truncated, altered, or something else.
    #[error("a damaged record: {0}")]
    Damaged(&'static str),
}

impl Record {
    /// Its bytes, as a store keeps them. Copies the payload.
    ///
    /// # Panics
    ///
    /// If the kind is longer than 4 GiB.
    ///
    /// # Example
    ///
    /// ```
    /// use resilience_core::fallback::{Record, Terms};
    ///
    /// let record = Record {
    ///     asked_at_ms: 1_767_225_600_000,
    ///     terms: Terms::default(),
    ///     kind: "rates/1".into(),
    ///     payload: "1.0842".into(),
    /// };
    /// assert_eq!(Record::decode(&record.encode()), Ok(record));
    /// ```
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let Self {
            asked_at_ms,
            terms,
            kind,
            payload,
        } = self;
        let length = u32::try_from(kind.len()).expect("a kind is a few letters");
        let mut flags = 0;
        let mut number = |given: Option<u32>, flag: u8| {
            flags |= if given.is_some() { flag } else { 0 };
            given.unwrap_or(0).to_le_bytes()
        };
        let fresh_for = number(terms.fresh_for, FRESH_FOR);
        let revalidate = number(terms.stale_while_revalidate, STALE_WHILE_REVALIDATE);
        let if_error = number(terms.stale_if_error, STALE_IF_ERROR);
        if terms.never_stale {
            flags |= NEVER_STALE;
        }
        let mut bytes = Vec::with_capacity(HEADER + FIXED + kind.len() + payload.len());
        bytes.extend(MAGIC);
        bytes.push(FORMAT);
        bytes.extend([0; 4]);
        bytes.extend(asked_at_ms.to_le_bytes());
        bytes.push(flags);
        for number in [terms.age.to_le_bytes(), fresh_for, revalidate, if_error] {
            bytes.extend(number);
        }
        bytes.extend(length.to_le_bytes());
        bytes.extend(kind.as_bytes());
        bytes.extend(payload);
        let crc = crc32fast::hash(&bytes[HEADER..]);
        bytes[HEADER - 4..HEADER].copy_from_slice(&crc.to_le_bytes());
        bytes.into()
    }

    /// Checks bytes and reads them. The payload is a slice of them, so they stay in
    /// memory for as long as it.
    ///
    /// # Errors
    ///
    /// [`RecordError`]; nothing of what fails a check is returned.
    pub fn decode(bytes: &Bytes) -> Result<Self, RecordError> {
        let damaged = RecordError::Damaged;
        let mut rest = Reader(bytes);
        if rest.take().ok_or(damaged("shorter than its header"))? != *MAGIC {
            return Err(damaged("something else than a record"));
        }
        let header = "shorter than its header";
        let [format] = rest.take().ok_or(damaged(header))?;
        // Before the rest: another format may have another rest.
        if format != FORMAT {
            return Err(RecordError::OtherFormat(format));
        }
        let crc = u32::from_le_bytes(rest.take().ok_or(damaged(header))?);
        if crc != crc32fast::hash(rest.0) {
            return Err(damaged("its checksum does not fit"));
        }
        rest.body(bytes)
            .ok_or(damaged("what is in it does not fit together"))
    }
}

/// What has not been read yet.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn number(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    /// A number that is there if a flag says so, and zero if not.
    fn optional(&mut self, flags: u8, flag: u8) -> Option<Option<u32>> {
        match (self.number()?, flags & flag != 0) {
            (number, true) => Some(Some(number)),
            (0, false) => Some(None),
            (_, false) => None,
        }
    }

    fn body(mut self, whole: &Bytes) -> Option<Record> {
        let asked_at_ms = u64::from_le_bytes(self.take()?);
        let [flags] = self.take()?;
        if flags & !(FRESH_FOR | STALE_WHILE_REVALIDATE | STALE_IF_ERROR | NEVER_STALE) != 0 {
            return None;
        }
        let terms = Terms {
            age: self.number()?,
            fresh_for: self.optional(flags, FRESH_FOR)?,
            stale_while_revalidate: self.optional(flags, STALE_WHILE_REVALIDATE)?,
            stale_if_error: self.optional(flags, STALE_IF_ERROR)?,
            never_stale: flags & NEVER_STALE != 0,
        };
        let length = usize::try_from(self.number()?).ok()?;
        let (kind, payload) = self.0.split_at_checked(length)?;
        Some(Record {
            asked_at_ms,
            terms,
            kind: str::from_utf8(kind).ok()?.into(),
            payload: whole.slice_ref(payload),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate() -> Record {
        Record {
            asked_at_ms: 1_767_225_600_000,
            terms: Terms {
                age: 3,
                fresh_for: Some(300),
                stale_while_revalidate: None,
                stale_if_error: Some(86_400),
                never_stale: false,
            },
            kind: "rates/1".into(),
            payload: Bytes::from_static(b"1.0842"),
        }
    }

    #[test]
    fn what_was_written_is_read_and_its_payload_is_not_copied() {
        let bytes = rate().encode();
        let read = Record::decode(&bytes).unwrap();
        assert_eq!(read, rate());
        let at = bytes.len() - read.payload.len();
        assert_eq!(read.payload.as_ptr(), bytes[at..].as_ptr());
    }

    #[test]
    fn one_that_is_cut_anywhere_or_altered_anywhere_is_refused() {
        let bytes = rate().encode();
        for at in 0..bytes.len() {
            assert!(Record::decode(&bytes.slice(..at)).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut altered = bytes.to_vec();
                altered[at] ^= 1 << bit;
                let read = Record::decode(&altered.into());
                assert!(read.is_err(), "altered at {at}, bit {bit}");
            }
        }
        let longer = [&bytes[..], b"0"].concat();
        assert!(Record::decode(&longer.into()).is_err());
    }

    #[test]
    fn an_older_and_a_newer_format_are_told_whatever_follows() {
        for format in [0, FORMAT + 1] {
            let other = [&MAGIC[..], &[format], b"what else"].concat();
            let read = Record::decode(&other.into());
            assert_eq!(read, Err(RecordError::OtherFormat(format)));
        }
    }

    /// As a record, with the checksum that is right for it.
    fn sealed(body: &[u8]) -> Bytes {
        let crc = crc32fast::hash(body).to_le_bytes();
        [&MAGIC[..], &[FORMAT], &crc, body].concat().into()
    }

    #[test]
    fn what_does_not_fit_together_is_refused_also_with_the_right_checksum() {
        let good = rate().encode().slice(HEADER..);
        assert_eq!(Record::decode(&sealed(&good)), Ok(rate()));
        let with = |at: usize, byte: u8| {
            let mut body = good.to_vec();
            body[at] = byte;
            Record::decode(&sealed(&body))
        };
        let mixed_up = Err(RecordError::Damaged("what is in it does not fit together"));
        // A flag that nobody knows; a number without its flag; a kind that is longer
        // than the whole; one that is no text.
        for (at, byte) in [(8, 0x80), (8, FRESH_FOR), (28, 0xff), (FIXED, 0xff)] {
            assert_eq!(with(at, byte), mixed_up, "{byte} at {at}");
        }
        for length in 0..FIXED {
            assert_eq!(Record::decode(&sealed(&good[..length])), mixed_up);
        }
    }

    fn record() -> impl Strategy<Value = Record> {
        let terms = (any::<u32>(), any::<[Option<u32>; 3]>(), any::<bool>());
        let content = (any::<String>(), prop::collection::vec(any::<u8>(), 0..100));
        (any::<u64>(), terms, content).prop_map(|(asked_at_ms, terms, (kind, payload))| {
            let (age, [fresh_for, stale_while_revalidate, stale_if_error], never_stale) = terms;
            Record {
                asked_at_ms,
                terms: Terms {
                    age,
                    fresh_for,
                    stale_while_revalidate,
                    stale_if_error,
                    never_stale,
                },
                kind: kind.into(),
                payload: payload.into(),
            }
        })
    }

    proptest! {
        #[test]
        fn every_record_is_read_as_it_was_written(record in record()) {
            prop_assert_eq!(Record::decode(&record.encode()), Ok(record));
        }

        #[test]
        fn no_bytes_make_it_panic_and_what_is_taken_is_written_the_same(
            body in prop::collection::vec(any::<u8>(), 0..80)
        ) {
            let _ = Record::decode(&body.clone().into());
            let bytes = sealed(&body);
            if let Ok(record) = Record::decode(&bytes) {
                prop_assert_eq!(record.encode(), bytes);
            }
        }
    }
}
