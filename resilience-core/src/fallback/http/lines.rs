//! Headers of a request, by which an answer may differ.

use http::HeaderMap;

use super::vary::is_credential;

/// Headers that can be asked for their lines.
pub(crate) trait Lines {
    /// What each line of a header says. `name` is in lower case.
    fn lines<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]>;
}

impl Lines for HeaderMap {
    fn lines<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.get_all(name).iter().map(|value| value.as_bytes())
    }
}

/// Copies of headers, in one piece of memory: the request is gone when its answer says by
/// which of them it differs. Most answers say of none, and a clone of the map would take an
/// allocation for each of its lines.
///
/// Of credentials it says only that they were there: nobody else is given an answer that
/// differs by them.
pub(crate) struct LinesAsked(Vec<u8>);

/// A line begins with the sizes of its name and of its value, the smallest byte first.
const SIZE: usize = size_of::<u32>();

/// As much as most lines take.
const USUAL: usize = 64;

impl LinesAsked {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut bytes = Vec::with_capacity(headers.len() * USUAL);
        for (name, value) in headers {
            let name = name.as_str();
            let value = match is_credential(name) {
                true => b"",
                false => value.as_bytes(),
            };
            for piece in [name.as_bytes(), value] {
                // No header is as long as that: it came in one message.
                let size = u32::try_from(piece.len()).unwrap_or(u32::MAX);
                bytes.extend_from_slice(&size.to_le_bytes());
                bytes.extend_from_slice(&piece[..size as usize]);
            }
        }
        Self(bytes)
    }
}

impl Lines for LinesAsked {
    fn lines<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = &self.0[..];
        let each = std::iter::from_fn(move || Some((piece(&mut rest)?, piece(&mut rest)?)));
        each.filter_map(move |(line, value)| (line == name.as_bytes()).then_some(value))
    }
}

fn piece<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let size = u32::from_le_bytes(*rest.split_off(..SIZE)?.first_chunk()?);
    rest.split_off(..size as usize)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn of_credentials_it_is_only_known_that_they_were_there() {
        let mut headers = HeaderMap::new();
        headers.append("authorization", HeaderValue::from_static("Bearer x"));
        headers.append("cookie", HeaderValue::from_static("a=1"));
        headers.append("cookie", HeaderValue::from_static("b=2"));
        let asked = LinesAsked::of(&headers);
        for (name, lines) in [("authorization", 1), ("cookie", 2)] {
            let seen: Vec<_> = asked.lines(name).collect();
            assert_eq!(seen, vec![b""; lines], "{name}");
        }
        assert!(!asked.0.windows(2).any(|two| two == b"=1" || two == b" x"));
    }

    proptest! {
        #[test]
        fn each_line_is_found_as_in_the_map(
            lines in prop::collection::vec(("[a-d]{1,3}", "[ -~]{0,200}"), 0..20),
        ) {
            let mut headers = HeaderMap::new();
            for (name, value) in &lines {
                let name: HeaderName = name.parse().unwrap();
                headers.append(name, HeaderValue::from_str(value).unwrap());
            }
            let asked = LinesAsked::of(&headers);
            for name in headers.keys().map(HeaderName::as_str).chain(["other"]) {
                prop_assert!(asked.lines(name).eq(headers.lines(name)), "{}", name);
            }
        }
    }
}
