//! `Cache-Control` of requests and of answers, as far as it matters here.
//!
//! Of the crates for it, http-cache-semantics makes a map of owned strings of every
//! header it reads, cuts quoted strings at their commas and knows nothing of RFC 5861;
//! cache_control reads one line, in lower case, and of duplicates the last. So it is
//! written here: one walk over the bytes, whatever they are, and no allocation.

use http::HeaderValue;

/// What a request says of stored answers.
///
/// # Source
///
/// RFC 9111, section 5.2.1. `max-stale` and `min-fresh` are advice that is not taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct OnRequest {
    pub(super) no_store: bool,
    pub(super) no_cache: bool,
    pub(super) only_if_cached: bool,
    pub(super) max_age: Option<u32>,
}

impl OnRequest {
    /// Adds what a line says.
    pub(super) fn read(&mut self, line: &HeaderValue) {
        for (name, argument) in Directives::of(line) {
            let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
            if is("no-store") {
                self.no_store = true;
            } else if is("no-cache") {
                self.no_cache = true;
            } else if is("only-if-cached") {
                self.only_if_cached = true;
            } else if is("max-age") {
                shortest(&mut self.max_age, argument);
            }
        }
    }
}

/// What an answer says of being stored.
///
/// # Source
///
/// RFC 9111, section 5.2.2, and RFC 5861. The forms of `no-cache` and `private` that
/// name headers are read as those that name none, which are stricter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct OnResponse {
    pub(super) no_store: bool,
    pub(super) no_cache: bool,
    pub(super) private: bool,
    pub(super) public: bool,
    pub(super) must_revalidate: bool,
    pub(super) proxy_revalidate: bool,
    pub(super) max_age: Option<u32>,
    pub(super) s_maxage: Option<u32>,
    pub(super) stale_while_revalidate: Option<u32>,
    pub(super) stale_if_error: Option<u32>,
}

impl OnResponse {
    /// What all lines together say.
    pub(super) fn of<'a>(lines: impl IntoIterator<Item = &'a HeaderValue>) -> Self {
        let mut all = Self::default();
        for line in lines {
            all.read(line);
        }
        all
    }

    fn read(&mut self, line: &HeaderValue) {
        for (name, argument) in Directives::of(line) {
            let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
            if is("no-store") {
                self.no_store = true;
            } else if is("no-cache") {
                self.no_cache = true;
            } else if is("private") {
                self.private = true;
            } else if is("public") {
                self.public = true;
            } else if is("must-revalidate") {
                self.must_revalidate = true;
            } else if is("proxy-revalidate") {
                self.proxy_revalidate = true;
            } else if is("max-age") {
                shortest(&mut self.max_age, argument);
            } else if is("s-maxage") {
                shortest(&mut self.s_maxage, argument);
            } else if is("stale-while-revalidate") {
                shortest(&mut self.stale_while_revalidate, argument);
            } else if is("stale-if-error") {
                shortest(&mut self.stale_if_error, argument);
            }
        }
    }
}

/// Of two values for one directive the smaller counts.
fn shortest(known: &mut Option<u32>, argument: Option<&[u8]>) {
    let said = argument.and_then(seconds).unwrap_or(0);
    *known = Some(known.map_or(said, |known| known.min(said)));
}

/// A number of seconds; what is larger than all of them is the largest.
pub(super) fn seconds(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let more = |sum: u32, digit: &u8| {
        sum.saturating_mul(10)
            .saturating_add(u32::from(digit - b'0'))
    };
    Some(digits.iter().fold(0, more))
}

/// The directives of one line: names, and what is said of them without its quotes.
struct Directives<'a> {
    rest: &'a [u8],
}

impl<'a> Directives<'a> {
    fn of(line: &'a HeaderValue) -> Self {
        Self {
            rest: line.as_bytes(),
        }
    }
}

impl<'a> Iterator for Directives<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        while let [b',' | b' ' | b'\t', rest @ ..] = self.rest {
            self.rest = rest;
        }
        if self.rest.is_empty() {
            return None;
        }
        let (name, rest) = cut(self.rest, |byte| matches!(byte, b',' | b'='));
        let name = name.trim_ascii();
        let Some(argument) = rest.strip_prefix(b"=") else {
            self.rest = rest;
            return Some((name, None));
        };
        let argument = argument.trim_ascii_start();
        if let Some(inside) = argument.strip_prefix(b"\"")
            && let Some(end) = closing_quote(inside)
        {
            self.rest = cut(&inside[end..], |byte| byte == b',').1;
            return Some((name, Some(&inside[..end])));
        }
        // A quote that is not closed hides nothing of what follows. It is looked for once
        // in a line: after it, every quote is escaped, and opens nothing.
        let (argument, rest) = cut(argument, |byte| byte == b',');
        self.rest = rest;
        Some((name, Some(argument.trim_ascii())))
    }
}

/// What is before the first such byte, and the rest with it.
fn cut(bytes: &[u8], at: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|&byte| at(byte));
    bytes.split_at(end.unwrap_or(bytes.len()))
}

/// Where the quote is that is not escaped.
fn closing_quote(inside: &[u8]) -> Option<usize> {
    let mut escaped = false;
    inside.iter().position(|&byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn response(lines: &[&str]) -> OnResponse {
        let lines: Vec<HeaderValue> = lines.iter().map(|line| line.parse().unwrap()).collect();
        OnResponse::of(&lines)
    }

    fn request(line: &str) -> OnRequest {
        let mut said = OnRequest::default();
        said.read(&line.parse().unwrap());
        said
    }

    #[test]
    fn what_an_answer_says_is_read_in_any_case_over_several_lines() {
        let nothing = OnResponse::default();
        let sixty = OnResponse {
            max_age: Some(60),
            ..nothing
        };
        let all = OnResponse {
            no_store: true,
            no_cache: true,
            private: true,
            public: true,
            must_revalidate: true,
            proxy_revalidate: true,
            max_age: Some(1),
            s_maxage: Some(2),
            stale_while_revalidate: Some(3),
            stale_if_error: Some(4),
        };
        let table: [(&[&str], OnResponse); 9] = [
            (&[], nothing),
            (&["", ",, ,\t"], nothing),
            (&["immutable, no-transform, foo=bar"], nothing),
            (&["max-age=60"], sixty),
            (&["Max-Age=\"60\""], sixty),
            (&["  MAX-AGE = 60  , foo"], sixty),
            (&["foo=\"a, no-store\", max-age=60"], sixty),
            (
                &["foo=\"a\\\", no-store, \\\\\" no-cache, max-age=60"],
                sixty,
            ),
            (
                &[
                    "no-store, No-Cache=\"set-cookie\", private=\"x\"",
                    "public, must-revalidate, proxy-revalidate",
                    "max-age=1, s-maxage=2, stale-while-revalidate=3, stale-if-error=4",
                ],
                all,
            ),
        ];
        for (lines, said) in table {
            assert_eq!(response(lines), said, "{lines:?}");
        }
    }

    #[test]
    fn of_what_is_said_twice_the_strictest_counts() {
        assert_eq!(response(&["max-age=60, max-age=5"]).max_age, Some(5));
        assert_eq!(response(&["max-age=5", "max-age=60"]).max_age, Some(5));
        assert_eq!(response(&["max-age=5, max-age"]).max_age, Some(0));
        let both = response(&["public", "private"]);
        assert!(both.public && both.private);
    }

    #[test]
    fn a_number_that_cannot_be_read_is_none_and_a_huge_one_the_largest() {
        for unreadable in [
            "", "=", "=abc", "=-1", "=+1", "=1.5", "=1 0", "=\"1", "=\"\\1\"", "=0x1",
        ] {
            let line = format!("max-age{unreadable}");
            assert_eq!(response(&[&line]).max_age, Some(0), "{line}");
        }
        for huge in ["4294967295", "4294967296", "99999999999999999999999999"] {
            let line = format!("max-age={huge}");
            assert_eq!(response(&[&line]).max_age, Some(u32::MAX), "{line}");
        }
        assert_eq!(response(&["max-age=0000000000000060"]).max_age, Some(60));
    }

    #[test]
    fn a_quote_that_is_never_closed_hides_nothing() {
        assert!(response(&["foo=\"bar, no-store"]).no_store);
        assert!(response(&["private=\"x, no-cache"]).private);
        assert!(response(&["a=\"\\\", no-store, b=\\\""]).no_store);
        // The first is closed by the second.
        assert!(!response(&["a=\"b, no-store, c=\"d, max-age=1"]).no_store);
    }

    #[test]
    fn what_a_request_says_is_read() {
        let nothing = OnRequest::default();
        assert_eq!(request("max-stale=5, min-fresh=7, no-transform"), nothing);
        assert!(request("No-Store").no_store);
        assert!(request("no-cache").no_cache);
        assert!(request("only-if-cached, max-age=9").only_if_cached);
        assert_eq!(request("only-if-cached, max-age=9").max_age, Some(9));
        assert_eq!(request("max-age=soon").max_age, Some(0));
    }

    #[test]
    fn a_hostile_line_is_walked_over_once() {
        // Quadratic work on any of these takes minutes.
        for piece in ["a=\"", "\"", "a=\"\\\"", "=", ",", "a=\\\",", "\\"] {
            let line = HeaderValue::from_bytes(&piece.as_bytes().repeat(300_000)).unwrap();
            assert!(!OnResponse::of([&line]).no_store);
        }
    }

    proptest! {
        #[test]
        fn any_line_is_read_and_what_comes_before_it_is_seen(
            line in proptest::collection::vec(prop_oneof![Just(b'"'), Just(b'\\'), Just(b','), Just(b'='), 32..=126_u8, 128..=255_u8], 0..40),
        ) {
            let line = HeaderValue::from_bytes(&[b"no-store,", line.as_slice()].concat()).unwrap();
            prop_assert!(OnResponse::of([&line]).no_store);
        }
    }
}
