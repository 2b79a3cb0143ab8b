//! Under which key the answer to a GET is kept.

use http::{HeaderValue, Uri};

use crate::fallback::Key;

/// Bytes of a key that are put together on the stack. Longer ones cost a second
/// allocation.
const USUAL: usize = 256;

/// `scheme://authority/path?query`, scheme and authority in lower case.
///
/// A request to a server names no authority but in `Host`; two hosts never share an
/// answer. `None` if it is not clear whose answer it is: a `Host` that could be taken for
/// more than a host, or a user in the authority, who would be a part of the key.
///
/// What is kept for one identity has keys of its own: another layer before the same
/// upstream may answer for all, and must not find it.
pub(super) fn of(uri: &Uri, host: Option<&HeaderValue>, one_identity: bool) -> Option<Key> {
    let authority = match (uri.authority(), host) {
        (Some(authority), _) => {
            Some(authority.as_str().as_bytes()).filter(|all| !all.contains(&b'@'))
        }
        (None, Some(host)) => Some(host.as_bytes()).filter(|host| is_host(host)),
        (None, None) => Some(b"".as_slice()),
    }?;
    let target = uri.path_and_query().map_or("", |target| target.as_str());
    let mut key = Writer::new();
    if one_identity {
        // No scheme has a space.
        key.push(b"1 ");
    }
    key.push(uri.scheme_str().unwrap_or_default().as_bytes());
    key.push(b"://");
    key.push(authority);
    key.lower_case();
    key.push(target.as_bytes());
    Some(key.finish())
}

/// Not so sure as of an authority, which was read as one.
fn is_host(host: &[u8]) -> bool {
    let in_a_host = |byte: &u8| byte.is_ascii_graphic() && !b"/?#@\\".contains(byte);
    host.iter().all(in_a_host)
}

/// Puts a key together with one allocation, if it is of a usual length.
pub(super) struct Writer {
    short: [u8; USUAL],
    len: usize,
    /// All of it, once it does not fit.
    long: Vec<u8>,
}

impl Writer {
    pub(super) fn new() -> Self {
        Self {
            short: [0; USUAL],
            len: 0,
            long: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.long.is_empty() {
            if let Some(room) = self.short[self.len..].get_mut(..bytes.len()) {
                room.copy_from_slice(bytes);
                self.len += bytes.len();
                return;
            }
            self.long.reserve(self.len + bytes.len());
            self.long.extend_from_slice(&self.short[..self.len]);
        }
        self.long.extend_from_slice(bytes);
    }

    /// All that is there until now.
    fn lower_case(&mut self) {
        self.short[..self.len].make_ascii_lowercase();
        self.long.make_ascii_lowercase();
    }

    pub(super) fn finish(self) -> Key {
        if self.long.is_empty() {
            Key::from(&self.short[..self.len])
        } else {
            Key::from(self.long)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(uri: &str, host: Option<&'static str>) -> Option<String> {
        let host = host.map(HeaderValue::from_static);
        let key = of(&uri.parse().unwrap(), host.as_ref(), false)?;
        Some(String::from_utf8(key.as_bytes().to_vec()).unwrap())
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
        assert!(of(&Uri::from_static("/eur"), Some(&no_text), false).is_none());
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
            assert_ne!(of(&uri, None, true), of(&uri, None, false));
        }
    }

    proptest! {
        #[test]
        fn a_key_is_what_was_pushed_however_long(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..8),
        ) {
            let mut writer = Writer::new();
            for piece in &pieces {
                writer.push(piece);
            }
            let key = writer.finish();
            prop_assert_eq!(key.as_bytes(), pieces.concat());
        }

        #[test]
        fn a_long_authority_is_in_lower_case_too(len in 0..600_usize) {
            let uri = format!("http://{}/{}", "A".repeat(len + 1), "B".repeat(600 - len));
            let expected = format!("http://{}/{}", "a".repeat(len + 1), "B".repeat(600 - len));
            prop_assert_eq!(key(&uri, None), Some(expected));
        }
    }
}
