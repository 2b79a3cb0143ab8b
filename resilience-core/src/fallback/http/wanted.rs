//! What a request wants of a cache.

use http::{HeaderMap, Method, Uri};

use super::{
    directives::OnRequest,
    key::{KeyBytes, Named},
};

/// What may be done with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted<'a> {
    /// It is none of our business.
    Pass,
    /// It changes something: when it succeeds, what is stored under this key is not the
    /// last good answer any more.
    Forgets(KeyBytes),
    /// It asks for something that may be stored.
    Ask(Named<'a>, Ask),
}

/// A question, and what may be done to answer it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    /// Whether a stored answer will do, fresh, or stale when the upstream fails.
    pub(crate) read: bool,
    /// Whether the answer may be kept, if it says nothing against it.
    pub(crate) keep: bool,
    /// Whether others who ask the same may be given the same answer before it is known
    /// what it says of itself: whether they may wait for this one.
    pub(crate) share: bool,
    /// It comes with somebody's credentials. For [`terms`](super::terms).
    pub(crate) personal: bool,
    /// Whoever asks would rather have a 504 than have the upstream asked.
    pub(crate) only_stored: bool,
    /// A stored answer that is older, in seconds, will not do.
    pub(crate) max_age: Option<u32>,
}

/// Whether requests of a method neither ask for what may be stored nor change anything, so
/// that no more has to be read of them.
#[inline]
pub(crate) fn passes(method: &Method) -> bool {
    [
        Method::HEAD,
        Method::OPTIONS,
        Method::TRACE,
        Method::CONNECT,
    ]
    .contains(method)
}

/// Reads a request. `one_identity` says that all are made with the same credentials, so
/// that nobody gets to see what is another's.
///
/// Costs one walk over the headers, and no allocation.
///
/// # Source
///
/// RFC 9111: sections 4.4 for unsafe methods, 5.2.1 and 5.4 for `Cache-Control` and
/// `Pragma`. A `GET` with a body, a range and a condition is for the upstream alone: its
/// answer is that of no other request.
pub(crate) fn wanted<'a>(
    method: &Method,
    uri: &'a Uri,
    headers: &'a HeaderMap,
    body_is_empty: bool,
    one_identity: bool,
) -> Wanted<'a> {
    if *method != Method::GET {
        return unlike_get(method, uri, headers, one_identity);
    }
    if !body_is_empty {
        return Wanted::Pass;
    }
    let mut said = OnRequest::default();
    let (mut cache_control, mut pragma, mut credentials) = (false, false, false);
    let mut host = None;
    // One walk instead of a dozen looks into the map: most requests have few headers.
    for (name, value) in headers {
        match name.as_str() {
            "range"
            | "if-range"
            | "if-match"
            | "if-none-match"
            | "if-modified-since"
            | "if-unmodified-since"
            | "upgrade" => return Wanted::Pass,
            "authorization" | "cookie" => credentials = true,
            "cache-control" => {
                cache_control = true;
                said.read(value);
            }
            "pragma" => pragma |= says_no_cache(value.as_bytes()),
            "host" if host.is_some() => return Wanted::Pass,
            "host" => host = Some(value),
            _ => {}
        }
    }
    let Some(named) = Named::of(uri, host, one_identity) else {
        return Wanted::Pass;
    };
    let no_cache = said.no_cache || (pragma && !cache_control);
    let personal = credentials && !one_identity;
    let ask = Ask {
        read: !no_cache && said.max_age != Some(0),
        keep: !said.no_store,
        share: !personal && !said.no_store,
        personal,
        only_stored: said.only_if_cached,
        max_age: said.max_age,
    };
    Wanted::Ask(named, ask)
}

fn unlike_get<'a>(
    method: &Method,
    uri: &'a Uri,
    headers: &'a HeaderMap,
    one_identity: bool,
) -> Wanted<'a> {
    if passes(method) {
        return Wanted::Pass;
    }
    // A method that nobody knows may change something, too.
    let mut hosts = headers.get_all(http::header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (host, None) => Named::of(uri, host, one_identity)
            .map_or(Wanted::Pass, |named| Wanted::Forgets(named.key())),
        _ => Wanted::Pass,
    }
}

fn says_no_cache(pragma: &[u8]) -> bool {
    pragma
        .split(|&byte| byte == b',')
        .any(|word| word.trim_ascii().eq_ignore_ascii_case(b"no-cache"))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn map(headers: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = headers.iter().map(|&(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        pairs.collect()
    }

    fn rates() -> Uri {
        Uri::from_static("http://rates.example/eur")
    }

    /// What is asked, and under which key; `None` if it passes.
    fn asked(wanted: Wanted<'_>) -> Option<(KeyBytes, Ask)> {
        match wanted {
            Wanted::Ask(named, ask) => Some((named.key(), ask)),
            Wanted::Pass => None,
            Wanted::Forgets(_) => panic!("it is a GET"),
        }
    }

    fn get(headers: &[(&'static str, &'static str)]) -> Option<Ask> {
        let (uri, headers) = (rates(), map(headers));
        let (key, ask) = asked(wanted(&Method::GET, &uri, &headers, true, false))?;
        assert_eq!(key, bytes("http://rates.example/eur"));
        Some(ask)
    }

    fn bytes(key: &str) -> KeyBytes {
        KeyBytes::concat([key.as_bytes()])
    }

    /// A plain question, to which everything may be done.
    fn plain() -> Ask {
        Ask {
            read: true,
            keep: true,
            share: true,
            personal: false,
            only_stored: false,
            max_age: None,
        }
    }

    #[test]
    fn only_a_get_asks_for_something_that_is_kept() {
        let (uri, none) = (rates(), HeaderMap::new());
        let by = |method: &str| {
            let method = method.parse().unwrap();
            wanted(&method, &uri, &none, true, false)
        };
        let key = bytes("http://rates.example/eur");
        assert_eq!(asked(by("GET")), Some((key.clone(), plain())));
        for method in ["HEAD", "OPTIONS", "TRACE", "CONNECT"] {
            assert_eq!(by(method), Wanted::Pass, "{method}");
        }
        for method in ["POST", "PUT", "PATCH", "DELETE", "PURGE", "get"] {
            assert_eq!(by(method), Wanted::Forgets(key.clone()), "{method}");
        }
    }

    #[test]
    fn what_a_get_and_a_post_to_one_uri_name_is_one_key() {
        let headers = map(&[("host", "Rates.Example")]);
        let uri = Uri::from_static("/eur");
        let (key, _) = asked(wanted(&Method::GET, &uri, &headers, true, false)).unwrap();
        let change = wanted(&Method::POST, &uri, &headers, false, false);
        assert_eq!(change, Wanted::Forgets(key));
    }

    #[test]
    fn what_no_other_request_may_be_answered_with_passes() {
        for (name, value) in [
            ("range", "bytes=0-1"),
            ("if-range", "\"a\""),
            ("if-match", "\"a\""),
            ("if-none-match", "\"a\""),
            ("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("if-unmodified-since", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("upgrade", "websocket"),
            ("host", "other/../rates.example"),
        ] {
            let relative = Uri::from_static("/eur");
            let headers = map(&[("accept", "*/*"), (name, value)]);
            let answer = wanted(&Method::GET, &relative, &headers, true, false);
            assert_eq!(answer, Wanted::Pass, "{name}");
        }
        let (uri, none) = (rates(), HeaderMap::new());
        let with_body = wanted(&Method::GET, &uri, &none, false, false);
        assert_eq!(with_body, Wanted::Pass);
        assert_eq!(get(&[("host", "a"), ("host", "b")]), None);
        let user = Uri::from_static("http://me@rates.example/");
        for method in [Method::GET, Method::PUT] {
            assert_eq!(
                wanted(&method, &user, &HeaderMap::new(), true, true),
                Wanted::Pass
            );
        }
    }

    #[test]
    fn directives_say_what_may_be_done_with_stored_answers() {
        let table: [(&[(&str, &str)], Ask); 10] = [
            (&[("accept", "*/*")], plain()),
            (
                &[("cache-control", "no-store")],
                Ask {
                    keep: false,
                    share: false,
                    ..plain()
                },
            ),
            (
                &[("cache-control", "no-cache")],
                Ask {
                    read: false,
                    ..plain()
                },
            ),
            (
                &[("cache-control", "max-age=0")],
                Ask {
                    read: false,
                    max_age: Some(0),
                    ..plain()
                },
            ),
            (
                &[("cache-control", "max-age=9")],
                Ask {
                    max_age: Some(9),
                    ..plain()
                },
            ),
            (
                &[("cache-control", "only-if-cached")],
                Ask {
                    only_stored: true,
                    ..plain()
                },
            ),
            (
                &[("pragma", "a, No-Cache")],
                Ask {
                    read: false,
                    ..plain()
                },
            ),
            (&[("pragma", "no-cached")], plain()),
            // `Pragma` is for those who know no `Cache-Control`.
            (
                &[("pragma", "no-cache"), ("cache-control", "max-age=9")],
                Ask {
                    max_age: Some(9),
                    ..plain()
                },
            ),
            (
                &[("cache-control", "no-cache"), ("cache-control", "no-store")],
                Ask {
                    read: false,
                    keep: false,
                    share: false,
                    ..plain()
                },
            ),
        ];
        for (headers, expected) in table {
            let headers: Vec<_> = headers.to_vec();
            assert_eq!(get(&headers), Some(expected), "{headers:?}");
        }
    }

    #[test]
    fn who_comes_with_credentials_waits_for_nobody_else_unless_all_have_the_same() {
        let personal = Ask {
            share: false,
            personal: true,
            ..plain()
        };
        for header in [("authorization", "Bearer a"), ("cookie", "session=a")] {
            assert_eq!(get(&[header]), Some(personal), "{header:?}");
            let (uri, headers) = (rates(), map(&[header]));
            let one = asked(wanted(&Method::GET, &uri, &headers, true, true));
            let key = bytes("1 http://rates.example/eur");
            assert_eq!(one, Some((key, plain())), "{header:?}");
        }
    }
}
