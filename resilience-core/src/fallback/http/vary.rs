//! By which headers of the request answers differ.
//!
//! What is stored under the key of a request is then a note of these names, and each
//! answer is stored under a key of its own, made of that key and the headers' values.

use std::str;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, header};

use super::lines::Lines;
use crate::fallback::Key;

/// Names of request headers: in lower case, in order, each once, parted by commas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Vary(Box<str>);

impl Vary {
    /// What a note is as a payload, in this version.
    pub(crate) const KIND: &'static str = "vary/1";

    /// More names make an answer one that nobody will ask for again. So does `*`.
    const MOST_NAMES: usize = 16;
    const MOST_BYTES: usize = 1 << 10;

    /// What an answer says. `None` if it is not to be kept: nobody knows by what it
    /// differs, or it is by too much.
    pub(super) fn of(headers: &HeaderMap, one_identity: bool) -> Option<Self> {
        let mut names = Vec::new();
        for line in headers.get_all(header::VARY) {
            for name in line.as_bytes().split(|&byte| byte == b',') {
                let name = name.trim_ascii();
                if name.is_empty() {
                    continue;
                }
                let name = HeaderName::from_bytes(name)
                    .ok()
                    .filter(|name| name != "*")?;
                // Whose credentials do not differ, has answers that do not differ by them.
                let counts = !(one_identity && is_credential(name.as_str()));
                if counts && !names.contains(&name) {
                    names.push(name);
                    if names.len() > Self::MOST_NAMES {
                        return None;
                    }
                }
            }
        }
        names.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        let names: Vec<&str> = names.iter().map(HeaderName::as_str).collect();
        let names = names.join(",");
        (names.len() <= Self::MOST_BYTES).then(|| Self(names.into()))
    }

    /// Whether all requests get the same answer.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether somebody else gets another answer.
    pub(super) fn by_credentials(&self) -> bool {
        self.names().any(is_credential)
    }

    /// The note as a payload.
    pub(crate) fn encode(&self) -> Bytes {
        Bytes::copy_from_slice(self.0.as_bytes())
    }

    /// A note from a payload, which is checked.
    pub(crate) fn decode(payload: &[u8]) -> Result<Self, BadVary> {
        if payload.len() > Self::MOST_BYTES {
            return Err(BadVary::Long(payload.len()));
        }
        let note = str::from_utf8(payload).map_err(|_| BadVary::Names)?;
        let mut before = "";
        for (number, name) in note.split(',').enumerate() {
            let known = HeaderName::from_lowercase(name.as_bytes());
            if known.is_err() || name == "*" || name <= before || number >= Self::MOST_NAMES {
                return Err(BadVary::Names);
            }
            before = name;
        }
        Ok(Self(note.into()))
    }

    /// Bytes on the heap.
    pub(crate) fn weight(&self) -> usize {
        self.0.len()
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.0.split(',').filter(|name| !name.is_empty())
    }
}

/// Why a payload is no note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadVary {
    /// It has too many bytes.
    #[error("it has {0} bytes, allowed: at most {most}", most = Vary::MOST_BYTES)]
    Long(usize),
    /// It is something else.
    #[error("it is no list of 1 to {most} names of headers in order", most = Vary::MOST_NAMES)]
    Names,
}

/// Under which key the answer to a request is, whose own key has a note of these names.
///
/// `None` if it is nobody's but the one's who asks: answers differ by credentials, and the
/// request has some. They would be a part of the key, too.
///
/// # Source
///
/// RFC 9111, section 4.1: several lines of one header are one list, and a header that is
/// missing matches one that is missing.
pub(crate) fn variant_key(key: &Key, vary: &Vary, headers: &impl Lines) -> Option<Key> {
    let mut variant = Vec::with_capacity(key.as_bytes().len() + 128);
    variant.extend_from_slice(key.as_bytes());
    for name in vary.names() {
        let mut lines = headers.lines(name);
        let first = lines.next();
        if first.is_some() && is_credential(name) {
            return None;
        }
        // A zero and a one are in no URI, no name and no value.
        variant.extend_from_slice(b"\0");
        variant.extend_from_slice(name.as_bytes());
        if let Some(first) = first {
            variant.extend_from_slice(b"\x01");
            variant.extend_from_slice(first.trim_ascii());
        }
        for line in lines {
            variant.extend_from_slice(b", ");
            variant.extend_from_slice(line.trim_ascii());
        }
    }
    Some(variant.into())
}

pub(super) fn is_credential(name: &str) -> bool {
    matches!(name, "authorization" | "cookie")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn map(headers: &[(&str, &str)]) -> HeaderMap {
        let pairs = headers.iter().map(|(name, value)| {
            let name: HeaderName = name.parse().unwrap();
            (name, HeaderValue::from_str(value).unwrap())
        });
        pairs.collect()
    }

    fn vary(lines: &[&str]) -> Option<Vary> {
        let lines: Vec<_> = lines.iter().map(|line| ("vary", *line)).collect();
        Vary::of(&map(&lines), false)
    }

    fn variant(vary: &Vary, headers: &[(&str, &str)]) -> Option<Key> {
        variant_key(&Key::from("http://rates.example/eur"), vary, &map(headers))
    }

    #[test]
    fn names_are_in_order_in_lower_case_and_each_once() {
        let table: [(&[&str], Option<&str>); 7] = [
            (&[], Some("")),
            (&["", " ,, "], Some("")),
            (&["Origin"], Some("origin")),
            (
                &["Origin , accept", "ACCEPT,x-tenant"],
                Some("accept,origin,x-tenant"),
            ),
            (&["origin, *"], None),
            (&["origin; q=1"], None),
            (&["\u{e4}"], None),
        ];
        for (lines, names) in table {
            assert_eq!(
                vary(lines).as_ref().map(|vary| &*vary.0),
                names,
                "{lines:?}"
            );
        }
    }

    #[test]
    fn an_answer_that_differs_by_too_much_is_not_kept() {
        let names = |count: usize| (0..count).map(|n| format!("x-{n}")).collect::<Vec<_>>();
        let is_kept = |names: Vec<String>| vary(&[&names.join(",")]).is_some();
        assert!(is_kept(names(16)));
        assert!(!is_kept(names(17)));
        assert!(is_kept([names(16), names(16)].concat()), "each counts once");
        assert!(!is_kept(vec!["x".repeat(1_025)]));
    }

    #[test]
    fn by_credentials_nothing_differs_for_one_identity() {
        let headers = map(&[("vary", "Cookie, accept, Authorization")]);
        let of = |one_identity| Vary::of(&headers, one_identity).unwrap();
        assert_eq!(&*of(false).0, "accept,authorization,cookie");
        assert_eq!(&*of(true).0, "accept");
    }

    #[test]
    fn requests_that_differ_in_a_named_header_have_different_keys() {
        let vary = vary(&["accept, x-tenant"]).unwrap();
        let requests: [&[(&str, &str)]; 8] = [
            &[],
            &[("accept", "")],
            &[("accept", "a")],
            &[("accept", "A")],
            &[("x-tenant", "a")],
            &[("accept", "a"), ("x-tenant", "a")],
            &[("accept", "a"), ("accept", "b")],
            &[("accept", "a"), ("x-tenant", "b")],
        ];
        let keys: Vec<_> = requests
            .iter()
            .map(|headers| variant(&vary, headers))
            .collect();
        for (number, key) in keys.iter().enumerate() {
            assert!(
                key.is_some() && !keys[..number].contains(key),
                "{:?}",
                requests[number]
            );
        }
    }

    #[test]
    fn requests_that_differ_elsewhere_or_in_their_spelling_have_one_key() {
        let vary = vary(&["accept"]).unwrap();
        let usual = variant(&vary, &[("accept", "a, b")]);
        assert_eq!(
            variant(&vary, &[("accept", "a, b"), ("x-tenant", "a")]),
            usual
        );
        assert_eq!(variant(&vary, &[("accept", " a"), ("accept", "b ")]), usual);
        let all = variant(&Vary::default(), &[("accept", "a")]);
        assert_eq!(all, Some(Key::from("http://rates.example/eur")));
    }

    #[test]
    fn credentials_are_in_no_key() {
        for name in ["authorization", "cookie"] {
            let vary = vary(&[name]).unwrap();
            assert_eq!(variant(&vary, &[(name, "secret")]), None);
            assert!(variant(&vary, &[]).is_some());
        }
    }

    #[test]
    fn a_note_that_is_none_is_not_believed() {
        let long = "a".repeat(1_025);
        assert_eq!(Vary::decode(long.as_bytes()), Err(BadVary::Long(1_025)));
        let many: Vec<_> = (10..27).map(|n| format!("x-{n}")).collect();
        let many = many.join(",");
        for payload in [
            "",
            ",",
            "b,a",
            "a,a",
            "a,",
            "Accept",
            "*",
            "a b",
            many.as_str(),
        ] {
            assert_eq!(
                Vary::decode(payload.as_bytes()),
                Err(BadVary::Names),
                "{payload}"
            );
        }
        assert_eq!(Vary::decode(b"\xff"), Err(BadVary::Names));
    }

    proptest! {
        #[test]
        fn a_note_is_read_as_it_was_written(names in proptest::collection::vec("[a-zA-Z0-9!#$%&'^_`|~-]{1,40}", 1..16)) {
            let vary = vary(&[&names.join(",")]).unwrap();
            prop_assert_eq!(Vary::decode(&vary.encode()), Ok(vary));
        }

        #[test]
        fn any_bytes_are_a_note_as_it_would_be_written_or_none(payload in proptest::collection::vec(any::<u8>(), 0..50)) {
            if let Ok(vary) = Vary::decode(&payload) {
                prop_assert_eq!(vary.encode(), payload);
            }
        }
    }
}
