//! Under which key the answer to a GET is kept.

use std::{
    fmt,
    ops::{Deref, DerefMut},
};

use http::{HeaderValue, Uri};

/// A key that is put together, to look whether it is there: on the stack, if it is of a
/// usual length.
#[derive(Clone)]
pub(crate) enum KeyBytes {
    Short { bytes: [u8; USUAL], len: u8 },
    Long(Vec<u8>),
}

const USUAL: usize = 127;

impl KeyBytes {
    #[inline]
    pub(super) fn concat<const N: usize>(pieces: [&[u8]; N]) -> Self {
        let len: usize = pieces.iter().map(|piece| piece.len()).sum();
        let Ok(short @ 0..=127) = u8::try_from(len) else {
            return Self::Long(pieces.concat());
        };
        let mut bytes = [0; USUAL];
        let mut at = 0;
        for piece in pieces {
            bytes[at..at + piece.len()].copy_from_slice(piece);
            at += piece.len();
        }
        Self::Short { bytes, len: short }
    }
}

impl Deref for KeyBytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Self::Short { bytes, len } => &bytes[..usize::from(*len)],
            Self::Long(bytes) => bytes,
        }
    }
}

impl DerefMut for KeyBytes {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Short { bytes, len } => &mut bytes[..usize::from(*len)],
            Self::Long(bytes) => bytes,
        }
    }
}

impl PartialEq for KeyBytes {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for KeyBytes {}

/// As text as far as it is one.
impl fmt::Debug for KeyBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.escape_ascii())
    }
}

/// What a request names: whose answer it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Named<'a> {
    pub(super) scheme: &'a str,
    /// Of the URI, or of `Host`.
    pub(super) authority: &'a [u8],
    pub(super) target: &'a str,
    pub(super) one_identity: bool,
}

impl<'a> Named<'a> {
    /// A request to a server names no authority but in `Host`; two hosts never share an
    /// answer. `None` if it is not clear whose answer it is: a `Host` that could be taken for
    /// more than a host, or a user in the authority, who would be a part of the key.
    #[inline]
    pub(super) fn of(
        uri: &'a Uri,
        host: Option<&'a HeaderValue>,
        one_identity: bool,
    ) -> Option<Self> {
        let authority = match (uri.authority(), host) {
            (Some(authority), _) => {
                Some(authority.as_str().as_bytes()).filter(|all| !all.contains(&b'@'))
            }
            (None, Some(host)) => Some(host.as_bytes()).filter(|host| is_host(host)),
            (None, None) => Some(b"".as_slice()),
        }?;
        Some(Self {
            scheme: uri.scheme_str().unwrap_or_default(),
            authority,
            target: uri.path_and_query().map_or("", |target| target.as_str()),
            one_identity,
        })
    }

    /// `scheme://authority/path?query`, scheme and authority in lower case.
    ///
    /// What is kept for one identity has keys of its own: another layer before the same
    /// upstream may answer for all, and must not find it.
    pub(crate) fn key(&self) -> KeyBytes {
        // No scheme has a space.
        let before: &[u8] = if self.one_identity { b"1 " } else { b"" };
        let (scheme, target) = (self.scheme.as_bytes(), self.target.as_bytes());
        let mut key = KeyBytes::concat([before, scheme, b"://", self.authority, target]);
        let path = key.len() - target.len();
        key[..path].make_ascii_lowercase();
        key
    }
}

/// Not so sure as of an authority, which was read as one.
fn is_host(host: &[u8]) -> bool {
    let in_a_host = |byte: &u8| byte.is_ascii_graphic() && !b"/?#@\\".contains(byte);
    host.iter().all(in_a_host)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(uri: &str, host: Option<&'static str>) -> Option<String> {
        let host = host.map(HeaderValue::from_static);
        let uri = uri.parse().unwrap();
        let key = Named::of(&uri, host.as_ref(), false)?.key();
        Some(String::from_utf8(key.to_vec()).unwrap())
    }

    #[test]
    fn scheme_and_authority_are_in_lower_case_and_the_rest_as_it_is() {
        let table = [
            (
                "HTTP://Rates.Example:80/EUR?a=B",
                "http://rates.example:80/EUR?a=B",
            ),
            ("https://rates.example", "https://rates.example/"),
            ("https://rates.example/?", "https://rates.example/?"),
            ("https://[::1]:8080/%7Ea//b", "https://[::1]:8080/%7Ea//b"),
            ("/EUR?a=B", ":///EUR?a=B"),
        ];
        for (uri, expected) in table {
            assert_eq!(key(uri, None).as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_host_counts_where_the_uri_names_none() {
        assert_eq!(
            key("/eur", Some("Rates.Example")).as_deref(),
            Some("://rates.example/eur")
        );
        assert_eq!(
            key("http://rates.example/eur", Some("other")).as_deref(),
            Some("http://rates.example/eur")
        );
    }

    #[test]
    fn a_host_cannot_pass_for_a_part_of_another_hosts_path() {
        // All of these would be `://shop/basket/eur`, or nearly.
        for host in [
            "shop/basket",
            "shop?a",
            "shop#a",
            "shop\\a",
            "user@shop",
            "shop a",
            "shop\ta",
        ] {
            assert_eq!(key("/eur", Some(host)), None, "{host}");
        }
        let no_text = HeaderValue::from_bytes(b"sh\xf6p").unwrap();
        assert!(Named::of(&Uri::from_static("/eur"), Some(&no_text), false).is_none());
        assert_ne!(key("//shop/eur", None), key("/eur", Some("shop")));
    }

    #[test]
    fn a_user_in_the_uri_has_no_key() {
        assert_eq!(key("http://me:secret@rates.example/", None), None);
    }

    #[test]
    fn what_is_kept_for_one_identity_is_not_found_by_a_layer_for_all() {
        for uri in ["/eur", "http://rates.example/eur"] {
            let uri = uri.parse().unwrap();
            let key = |one| Named::of(&uri, None, one).unwrap().key();
            assert_ne!(key(true), key(false));
        }
    }

    proptest! {
        #[test]
        fn a_long_authority_is_in_lower_case_too(len in 0..600_usize) {
            let uri = format!("http://{}/{}", "A".repeat(len + 1), "B".repeat(600 - len));
            let expected = format!("http://{}/{}", "a".repeat(len + 1), "B".repeat(600 - len));
            prop_assert_eq!(key(&uri, None), Some(expected));
        }
    }
}
