//! What was done with a request, in the header `Cache-Status`.

use std::fmt::Write;

use http::{HeaderMap, HeaderValue, StatusCode, header};

/// Writes `Cache-Status` for one cache.
///
/// # Source
///
/// RFC 9211; names and numbers as in RFC 8941, section 3.3.
#[derive(Clone, Debug)]
pub(crate) struct CacheStatus {
    /// As it is written in the header.
    name: Box<str>,
    /// What is before the number of a fresh answer: written for each of them, at once.
    hit: Box<str>,
    /// All of it, of a stored answer because the upstream did not answer.
    instead: HeaderValue,
}

/// Why the upstream was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forwarded {
    /// Nothing is stored for that URI.
    UriMiss,
    /// Something is, and not for a request with such headers.
    VaryMiss,
    /// It is not fresh any more.
    Stale,
    /// The request did not want a stored one.
    Request,
    /// Stored answers are not used now.
    Bypass,
}

impl Forwarded {
    const fn as_str(self) -> &'static str {
        match self {
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Stale => "stale",
            Self::Request => "request",
            Self::Bypass => "bypass",
        }
    }
}

impl CacheStatus {
    /// `name` is any text; one that is no token is written in quotes, and characters that
    /// no header has by the numbers of their bytes, as in a URI.
    pub(crate) fn new(name: &str) -> Self {
        let name = if is_token(name) {
            name.to_owned()
        } else {
            quoted(name)
        };
        Self {
            hit: format!("{name}; hit; ttl=").into(),
            instead: written(format!("{name}; fwd=stale; detail=stale-if-error")),
            name: name.into(),
        }
    }

    /// A stored answer, which is fresh for so many seconds more.
    pub(crate) fn fresh(&self, ttl: i64) -> HeaderValue {
        Digits::of(integer(ttl)).after(&self.hit)
    }

    /// A stored answer that is not fresh any more, while another is fetched. `ttl` is how
    /// long it is not, below zero.
    pub(crate) fn revalidating(&self, ttl: i64) -> HeaderValue {
        let (hit, ttl) = (&self.hit, integer(ttl));
        written(format!("{hit}{ttl}; detail=stale-while-revalidate"))
    }

    /// A stored answer, because the upstream failed: with a status, or without an answer.
    pub(crate) fn instead_of(&self, status: Option<StatusCode>) -> HeaderValue {
        let name = &self.name;
        match status.map(|status| status.as_u16()) {
            Some(status) => written(format!(
                "{name}; fwd=stale; fwd-status={status}; detail=stale-if-error"
            )),
            None => self.instead.clone(),
        }
    }

    /// The upstream's answer. `collapsed`: asked for by somebody else, who was first.
    pub(crate) fn asked(&self, why: Forwarded, stored: bool, collapsed: bool) -> HeaderValue {
        let (name, why) = (&self.name, why.as_str());
        let stored = if stored { "; stored" } else { "" };
        let collapsed = if collapsed { "; collapsed" } else { "" };
        written(format!("{name}; fwd={why}{stored}{collapsed}"))
    }

    /// Nothing was stored, and the request forbids asking.
    pub(crate) fn not_asked(&self) -> HeaderValue {
        written(format!("{}; detail=only-if-cached", self.name))
    }
}

/// The value of `Age`. Costs an allocation from a thousand seconds on.
pub(crate) fn age(seconds: u64) -> HeaderValue {
    match usize::try_from(seconds) {
        Ok(small @ 0..1_000) => {
            let skip = 2 - usize::from(small > 9) - usize::from(small > 99);
            let text = &SMALL[small][skip..];
            HeaderValue::from_static(str::from_utf8(text).expect("digits"))
        }
        _ => Digits::of(i64::try_from(seconds).unwrap_or(i64::MAX)).after(""),
    }
}

/// The numbers below a thousand, each with three digits.
static SMALL: [[u8; 3]; 1_000] = {
    let mut digits = [[b'0'; 3]; 1_000];
    let mut number = 0;
    while number < digits.len() {
        let mut rest = number;
        let mut place = 3;
        while place > 0 {
            place -= 1;
            #[expect(clippy::cast_possible_truncation, reason = "a digit")]
            let digit = (rest % 10) as u8;
            digits[number][place] += digit;
            rest /= 10;
        }
        number += 1;
    }
    digits
};

fn written(value: String) -> HeaderValue {
    HeaderValue::try_from(value).expect(PRINTABLE)
}

const PRINTABLE: &str = "all of it is printable ASCII";

/// A number as text. Formatting takes as long as all the rest of a hit's headers.
struct Digits {
    text: [u8; 20],
    start: usize,
}

impl Digits {
    fn of(number: i64) -> Self {
        let mut digits = Self {
            text: [b'0'; 20],
            start: 20,
        };
        let mut rest = number.unsigned_abs();
        while rest > 0 || digits.start == 20 {
            digits.start -= 1;
            digits.text[digits.start] += u8::try_from(rest % 10).expect("a digit");
            rest /= 10;
        }
        if number < 0 {
            digits.start -= 1;
            digits.text[digits.start] = b'-';
        }
        digits
    }

    /// After some text that is printable ASCII.
    fn after(&self, text: &str) -> HeaderValue {
        let digits = &self.text[self.start..];
        // Of its very size: were it larger, it would take another allocation.
        let mut value = Vec::with_capacity(text.len() + digits.len());
        value.extend_from_slice(text.as_bytes());
        value.extend_from_slice(digits);
        HeaderValue::try_from(value).expect(PRINTABLE)
    }
}

/// Puts it after what those before us have said.
pub(crate) fn append(headers: &mut HeaderMap, status: HeaderValue) {
    headers.append(header::CACHE_STATUS, status);
}

/// More digits than fifteen are no integer of a header.
fn integer(number: i64) -> i64 {
    const MOST: i64 = 999_999_999_999_999;
    number.clamp(-MOST, MOST)
}

fn is_token(name: &str) -> bool {
    let starts = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '*');
    let goes_on = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte);
    starts && name.bytes().all(goes_on)
}

fn quoted(name: &str) -> String {
    let mut quoted = String::with_capacity(name.len() + 2);
    quoted.push('"');
    for byte in name.bytes() {
        match byte {
            b'"' | b'\\' => {
                quoted.push('\\');
                quoted.push(byte.into());
            }
            b' '..=b'~' => quoted.push(byte.into()),
            _ => write!(quoted, "%{byte:02X}").expect("a string takes all"),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_way_to_answer_is_said_in_the_words_of_the_rfc() {
        let status = CacheStatus::new("payment_api");
        let failed = Some(StatusCode::SERVICE_UNAVAILABLE);
        let table = [
            (status.fresh(240), "payment_api; hit; ttl=240"),
            (
                status.revalidating(-12),
                "payment_api; hit; ttl=-12; detail=stale-while-revalidate",
            ),
            (
                status.instead_of(failed),
                "payment_api; fwd=stale; fwd-status=503; detail=stale-if-error",
            ),
            (
                status.instead_of(None),
                "payment_api; fwd=stale; detail=stale-if-error",
            ),
            (
                status.asked(Forwarded::UriMiss, true, false),
                "payment_api; fwd=uri-miss; stored",
            ),
            (
                status.asked(Forwarded::VaryMiss, false, false),
                "payment_api; fwd=vary-miss",
            ),
            (
                status.asked(Forwarded::Stale, true, true),
                "payment_api; fwd=stale; stored; collapsed",
            ),
            (
                status.asked(Forwarded::Request, false, true),
                "payment_api; fwd=request; collapsed",
            ),
            (
                status.asked(Forwarded::Bypass, true, false),
                "payment_api; fwd=bypass; stored",
            ),
            (status.not_asked(), "payment_api; detail=only-if-cached"),
        ];
        for (value, expected) in table {
            assert_eq!(value, expected);
        }
    }

    #[test]
    fn a_name_that_is_no_token_is_a_string_and_what_no_header_has_is_escaped() {
        let table = [
            ("payment_api", "payment_api; hit; ttl=1"),
            ("*a:b/c.d-e", "*a:b/c.d-e; hit; ttl=1"),
            ("payment api", "\"payment api\"; hit; ttl=1"),
            ("1st", "\"1st\"; hit; ttl=1"),
            ("", "\"\"; hit; ttl=1"),
            ("a\"b\\c", "\"a\\\"b\\\\c\"; hit; ttl=1"),
            ("k\u{e4}se\r\n\t\0", "\"k%C3%A4se%0D%0A%09%00\"; hit; ttl=1"),
        ];
        for (name, expected) in table {
            assert_eq!(CacheStatus::new(name).fresh(1), expected, "{name:?}");
        }
    }

    #[test]
    fn it_comes_after_what_others_have_said() {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CACHE_STATUS,
            HeaderValue::from_static("origin; hit"),
        );
        append(&mut headers, CacheStatus::new("a").fresh(1));
        let all: Vec<_> = headers.get_all(header::CACHE_STATUS).iter().collect();
        assert_eq!(all, ["origin; hit", "a; hit; ttl=1"]);
    }

    proptest! {
        #[test]
        fn a_number_is_written_as_it_is(number in any::<i64>(), small in -1_000..1_000_i64) {
            for number in [number, small, i64::MIN, i64::MAX, -1, 0] {
                let seconds = number.unsigned_abs() >> 1;
                prop_assert_eq!(age(seconds), seconds.to_string());
                prop_assert_eq!(Digits::of(number).after("a="), format!("a={number}"));
            }
        }

        #[test]
        fn any_name_and_any_number_make_a_header(name in any::<String>(), ttl in any::<i64>()) {
            let value = CacheStatus::new(&name).revalidating(ttl);
            prop_assert!(value.as_bytes().iter().all(|byte| matches!(byte, b' '..=b'~')));
            let ttl = value.to_str().unwrap().rsplit_once("ttl=").unwrap().1;
            prop_assert!(ttl.split_once(';').unwrap().0.trim_start_matches('-').len() <= 15);
        }
    }
}
