//! The id itself: taken from the request if it can be believed, else made.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    str::FromStr,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use ::http::{HeaderMap, HeaderName, HeaderValue};

/// The header that carries a [`CorrelationId`].
pub const X_CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const MAX_LEN: usize = 128;

/// Names one request in logs and answers: 1 to 128 of `A-Z a-z 0-9 . _ : -`.
///
/// Any other character could end a header or a log line, or would have to be
/// quoted there, and then `grep "correlation_id:abc123"` finds nothing.
///
/// In a handler: `Extension(id): Extension<CorrelationId>`. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CorrelationId(Arc<str>);

/// A text that is no [`CorrelationId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a correlation id is 1 to 128 characters of A-Z a-z 0-9 . _ : -")]
pub struct InvalidCorrelationId;

impl CorrelationId {
    /// An id that no other request has.
    ///
    /// 128 bits of two keyed hashes of a counter: unique like a random number,
    /// without asking the system for one on each request. Somebody who sees
    /// many of them might guess others, and may: an id names lines in a
    /// log, it opens nothing.
    #[must_use]
    pub fn generate() -> Self {
        static KEYS: LazyLock<[RandomState; 2]> = LazyLock::new(Default::default);
        static NEXT: AtomicU64 = AtomicU64::new(0);
        // ordering: Relaxed, each value is handed out once and publishes nothing.
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let [high, low] = KEYS.each_ref().map(|key| key.hash_one(n));
        Self(format!("{high:016x}{low:016x}").into())
    }

    /// The request's `X-Correlation-ID`, else the trace id of its
    /// `traceparent`, else a new one. A header that is not valid is passed
    /// over: a request is not refused because of it.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let text = |name| {
            headers
                .get(name)
                .and_then(|v: &HeaderValue| v.to_str().ok())
        };
        text(X_CORRELATION_ID)
            .and_then(|id| id.parse().ok())
            .or_else(|| trace_id(text(TRACEPARENT)?).map(|id| Self(id.into())))
            .unwrap_or_else(Self::generate)
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same text, shared.
    pub(super) fn text(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }

    pub(super) fn header_value(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).expect("an id is made of visible ASCII only")
    }
}

impl fmt::Display for CorrelationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for CorrelationId {
    type Err = InvalidCorrelationId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._:-".contains(&b);
        if (1..=MAX_LEN).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidCorrelationId)
        }
    }
}

/// The trace id of a valid `traceparent`:
/// `00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01`.
///
/// # Source
///
/// W3C *Trace Context*, section 3.2: lower-case hexadecimal, neither id all
/// zeros, version `ff` forbidden, and what follows in a later version ignored.
fn trace_id(traceparent: &str) -> Option<&str> {
    let mut parts = traceparent.splitn(5, '-');
    let mut hex = |len: usize| {
        let part = parts.next()?;
        let is_hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        (part.len() == len && part.bytes().all(is_hex)).then_some(part)
    };
    let (version, trace, parent, _flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
    let zero = |id: &str| id.bytes().all(|b| b == b'0');
    let valid = version != "ff"
        && (version != "00" || parts.next().is_none())
        && !zero(trace)
        && !zero(parent);
    valid.then_some(trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn an_id_that_could_break_a_line_or_a_header_is_refused() {
        for good in ["a", "abc123", "a.b_c:d-E", &"x".repeat(128)] {
            assert_eq!(good.parse::<CorrelationId>().expect(good).as_str(), good);
        }
        for bad in ["", "a b", "a\nb", "a\"b", "ä", "a/b", &"x".repeat(129)] {
            assert_eq!(bad.parse::<CorrelationId>(), Err(InvalidCorrelationId));
        }
    }

    #[test]
    fn a_traceparent_is_believed_only_as_the_standard_writes_it() {
        let good = [
            format!("00-{TRACE}-00f067aa0ba902b7-01"),
            format!("01-{TRACE}-00f067aa0ba902b7-01-later"),
        ];
        for good in &good {
            assert_eq!(trace_id(good), Some(TRACE), "{good}");
        }
        let bad = [
            String::new(),
            TRACE.to_owned(),
            format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-00f067aa0ba902b7-01-more"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-00f067aa0ba902b7"),
        ];
        for bad in &bad {
            assert_eq!(trace_id(bad), None, "{bad}");
        }
    }

    #[test]
    fn made_ids_are_valid_and_differ() {
        let ids: std::collections::HashSet<_> =
            (0..1_000).map(|_| CorrelationId::generate()).collect();
        assert_eq!(ids.len(), 1_000);
        assert!(ids.iter().all(|id| id.as_str().len() == 32));
        assert!(ids.iter().all(|id| id.as_str().parse() == Ok(id.clone())));
    }
}
