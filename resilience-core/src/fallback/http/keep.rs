//! Whether an answer may be kept, and for how long.

use std::time::SystemTime;

use http::{HeaderMap, HeaderValue, StatusCode, header, response};

use super::{
    directives::{OnResponse, seconds},
    vary::Vary,
};
use crate::fallback::Terms;

/// What becomes of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// It is for whoever asked, and for nobody else.
    No {
        /// What is stored is not the last good answer any more: there is none now.
        forgets: bool,
    },
    /// It is kept.
    Yes {
        /// How long it may be used.
        terms: Terms,
        /// By which headers of the request it differs.
        vary: Vary,
    },
}

impl Keep {
    const NO: Self = Self::No { forgets: false };
}

/// Reads what an answer says. `personal` is [`Ask::personal`](super::Ask::personal);
/// `one_identity` says that nobody but the one who asked will ever see it, so that it may
/// be kept although it is private.
///
/// No clock is read: how old an answer is when it comes is what `Age` says, and for how
/// long it is fresh is said in the upstream's own time, so that no two clocks are compared.
///
/// # Source
///
/// RFC 9111: sections 3 and 3.5 for what may be stored, 4.2.1 for how long it is fresh,
/// 4.2.4 and 5.2.2.10 for what may never be served stale; RFC 5861.
pub(crate) fn terms(personal: bool, one_identity: bool, answer: &response::Parts) -> Keep {
    let headers = &answer.headers;
    match answer.status {
        StatusCode::NOT_FOUND | StatusCode::GONE => return Keep::No { forgets: true },
        StatusCode::OK
        | StatusCode::NON_AUTHORITATIVE_INFORMATION
        | StatusCode::NO_CONTENT
        | StatusCode::MULTIPLE_CHOICES
        | StatusCode::MOVED_PERMANENTLY
        | StatusCode::PERMANENT_REDIRECT => {}
        _ => return Keep::NO,
    }
    let said = OnResponse::of(headers.get_all(header::CACHE_CONTROL));
    let private = said.private || headers.contains_key(header::SET_COOKIE);
    // Also asked of an answer to a cookie, which the RFC does not: an upstream that says
    // nothing at all has its answers kept here, so silence must not be taken for consent.
    let for_all = said.public || said.s_maxage.is_some() || said.must_revalidate;
    if said.no_store || (private && !one_identity) || (personal && !for_all) {
        return Keep::NO;
    }
    let Some(vary) = Vary::of(headers, one_identity) else {
        return Keep::NO;
    };
    if personal && vary.by_credentials() {
        return Keep::NO;
    }
    if never_ends(headers) {
        return Keep::NO;
    }
    Keep::Yes {
        terms: read(&said, one_identity, headers),
        vary,
    }
}

fn read(said: &OnResponse, one_identity: bool, headers: &HeaderMap) -> Terms {
    // `s-maxage` and `proxy-revalidate` are for those who answer more than one.
    let (s_maxage, proxy_revalidate) = if one_identity {
        (None, false)
    } else {
        (said.s_maxage, said.proxy_revalidate)
    };
    let mut fresh_for = s_maxage.or(said.max_age).or_else(|| by_dates(headers));
    let mut stale_while_revalidate = said.stale_while_revalidate;
    let mut stale_if_error = said.stale_if_error;
    let mut never_stale = said.must_revalidate || proxy_revalidate || said.no_cache;
    if s_maxage.is_some() {
        // By RFC 9111 it is never stale then. Whoever adds one of RFC 5861 means that one.
        if stale_while_revalidate.is_some() || stale_if_error.is_some() {
            stale_while_revalidate = stale_while_revalidate.or(Some(0));
            stale_if_error = stale_if_error.or(Some(0));
        } else {
            never_stale = true;
        }
    }
    if said.no_cache {
        fresh_for = Some(0);
    }
    Terms {
        // One that is no number is passed over, as RFC 9111, section 5.1, has it.
        age: headers
            .get(header::AGE)
            .and_then(|age| seconds(first_member(age)))
            .unwrap_or(0),
        fresh_for,
        stale_while_revalidate,
        stale_if_error,
        never_stale,
    }
}

/// From `Date` to `Expires`. An `Expires` that cannot be read, such as `0`, and one
/// without a `Date` mean that it is stale at once.
fn by_dates(headers: &HeaderMap) -> Option<u32> {
    // `None` is less than every instant: one that cannot be read is the earliest.
    let expires = headers.get_all(header::EXPIRES).iter().map(instant).min()?;
    let date = headers.get_all(header::DATE).iter().map(instant).max();
    let (Some(expires), Some(Some(date))) = (expires, date) else {
        return Some(0);
    };
    let lasts = expires.duration_since(date).unwrap_or_default();
    Some(u32::try_from(lasts.as_secs()).unwrap_or(u32::MAX))
}

fn instant(date: &HeaderValue) -> Option<SystemTime> {
    httpdate::parse_http_date(date.to_str().ok()?).ok()
}

fn first_member(list: &HeaderValue) -> &[u8] {
    let mut members = list.as_bytes().split(|&byte| byte == b',');
    members.next().unwrap_or_default().trim_ascii()
}

/// A stream of events is over when somebody hangs up. Reading it to its end before
/// anybody is answered would leave everybody without an answer.
fn never_ends(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else {
        return false;
    };
    let is = |endless: &str| {
        let start = kind.as_bytes().get(..endless.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(endless.as_bytes()))
    };
    is("text/event-stream") || is("multipart/x-mixed-replace")
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, Response};
    use proptest::prelude::*;

    use super::*;

    type Headers<'a> = &'a [(&'a str, &'a str)];

    fn answer(status: u16, headers: Headers<'_>) -> response::Parts {
        let mut parts = Response::new(()).into_parts().0;
        parts.status = StatusCode::from_u16(status).unwrap();
        for (name, value) in headers {
            let name: HeaderName = name.parse().unwrap();
            parts.headers.append(name, value.parse().unwrap());
        }
        parts
    }

    /// The terms of a 200 with these headers, for all.
    fn of(headers: Headers<'_>) -> Terms {
        let Keep::Yes { terms, .. } = terms(false, false, &answer(200, headers)) else {
            panic!("not kept: {headers:?}");
        };
        terms
    }

    fn is_kept(personal: bool, one_identity: bool, headers: Headers<'_>) -> bool {
        matches!(
            terms(personal, one_identity, &answer(200, headers)),
            Keep::Yes { .. }
        )
    }

    const NOTHING: Terms = Terms {
        age: 0,
        fresh_for: None,
        stale_while_revalidate: None,
        stale_if_error: None,
        never_stale: false,
    };

    #[test]
    fn the_status_says_what_is_good_what_is_gone_and_what_is_neither() {
        for status in 100..=999 {
            let expected = match status {
                200 | 203 | 204 | 300 | 301 | 308 => Keep::Yes {
                    terms: NOTHING,
                    vary: Vary::default(),
                },
                404 | 410 => Keep::No { forgets: true },
                _ => Keep::No { forgets: false },
            };
            assert_eq!(
                terms(false, false, &answer(status, &[])),
                expected,
                "{status}"
            );
        }
    }

    #[test]
    fn what_is_private_is_not_kept_unless_there_is_nobody_else() {
        let table: [(Headers<'_>, bool); 8] = [
            (&[("cache-control", "private")], true),
            (
                &[("cache-control", "private=\"x\", public, max-age=9")],
                true,
            ),
            (&[("set-cookie", "session=a")], true),
            (
                &[("set-cookie", "session=a"), ("cache-control", "public")],
                true,
            ),
            (&[("cache-control", "no-store")], false),
            (
                &[("cache-control", "no-store"), ("cache-control", "public")],
                false,
            ),
            (&[("vary", "*")], false),
            (
                &[("content-type", "Text/Event-Stream; charset=utf-8")],
                false,
            ),
        ];
        for (headers, kept_for_one) in table {
            assert!(!is_kept(false, false, headers), "{headers:?}");
            assert_eq!(is_kept(false, true, headers), kept_for_one, "{headers:?}");
        }
    }

    #[test]
    fn an_answer_to_somebodys_credentials_is_kept_only_if_it_says_that_it_is_for_all() {
        let table = [
            ("max-age=60", false),
            ("private, public", false),
            ("no-store, public", false),
            ("public", true),
            ("s-maxage=5", true),
            ("must-revalidate, max-age=60", true),
            ("proxy-revalidate, max-age=60", false),
        ];
        assert!(!is_kept(true, false, &[]));
        for (said, kept) in table {
            assert_eq!(
                is_kept(true, false, &[("cache-control", said)]),
                kept,
                "{said}"
            );
        }
    }

    #[test]
    fn an_answer_that_differs_by_credentials_is_not_kept_for_who_has_some() {
        for name in ["Cookie", "accept, authorization"] {
            let headers = [("vary", name), ("cache-control", "public")];
            assert!(!is_kept(true, false, &headers), "{name}");
            assert!(is_kept(false, false, &headers), "{name}");
            assert!(is_kept(false, true, &headers), "{name}");
        }
    }

    #[test]
    fn how_long_it_is_fresh_is_what_the_most_special_directive_says() {
        let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        let expires = ("expires", "Sun, 06 Nov 1994 08:50:37 GMT");
        let obsolete = ("expires", "Sunday, 06-Nov-94 08:50:37 GMT");
        let older = ("expires", "Sun, 06 Nov 1994 08:49:36 GMT");
        let max_age = ("cache-control", "max-age=5");
        let table: [(Headers<'_>, Option<u32>); 12] = [
            (&[], None),
            (&[date], None),
            (&[max_age, date, expires], Some(5)),
            (&[max_age, ("expires", "0")], Some(5)),
            (&[date, expires], Some(60)),
            (&[date, obsolete], Some(60)),
            (&[date, older], Some(0)),
            (&[date, expires, older], Some(0)),
            (&[date, expires, ("expires", "0")], Some(0)),
            (&[expires], Some(0)),
            (&[("date", "now"), expires], Some(0)),
            (
                &[date, ("expires", "Fri, 31 Dec 9999 23:59:59 GMT")],
                Some(u32::MAX),
            ),
        ];
        for (headers, fresh_for) in table {
            assert_eq!(
                of(headers),
                Terms {
                    fresh_for,
                    ..NOTHING
                },
                "{headers:?}"
            );
        }
    }

    #[test]
    fn limits_and_prohibitions_of_stale_answers_are_read() {
        let sixty = Terms {
            fresh_for: Some(60),
            ..NOTHING
        };
        let never = Terms {
            never_stale: true,
            ..sixty
        };
        let table = [
            ("max-age=60", sixty),
            ("max-age=60, must-revalidate", never),
            ("max-age=60, proxy-revalidate", never),
            (
                "max-age=60, no-cache",
                Terms {
                    fresh_for: Some(0),
                    ..never
                },
            ),
            (
                "no-cache=\"x\"",
                Terms {
                    fresh_for: Some(0),
                    ..never
                },
            ),
            (
                "max-age=60, must-revalidate, stale-if-error=9",
                Terms {
                    stale_if_error: Some(9),
                    ..never
                },
            ),
            (
                "max-age=60, stale-if-error=9",
                Terms {
                    stale_if_error: Some(9),
                    ..sixty
                },
            ),
            (
                "max-age=60, stale-while-revalidate=8",
                Terms {
                    stale_while_revalidate: Some(8),
                    ..sixty
                },
            ),
            (
                "max-age=60, stale-while-revalidate=soon",
                Terms {
                    stale_while_revalidate: Some(0),
                    ..sixty
                },
            ),
            ("s-maxage=60, max-age=5", never),
            (
                "s-maxage=60, stale-if-error=9",
                Terms {
                    stale_if_error: Some(9),
                    stale_while_revalidate: Some(0),
                    ..sixty
                },
            ),
            (
                "s-maxage=60, stale-while-revalidate=8",
                Terms {
                    stale_if_error: Some(0),
                    stale_while_revalidate: Some(8),
                    ..sixty
                },
            ),
        ];
        for (said, expected) in table {
            assert_eq!(of(&[("cache-control", said)]), expected, "{said}");
        }
    }

    #[test]
    fn what_is_for_shared_caches_only_does_not_bind_one_identity() {
        let headers = [("cache-control", "s-maxage=60, max-age=5, proxy-revalidate")];
        let Keep::Yes { terms, .. } = terms(true, true, &answer(200, &headers)) else {
            panic!("it is kept");
        };
        assert_eq!(
            terms,
            Terms {
                fresh_for: Some(5),
                ..NOTHING
            }
        );
    }

    #[test]
    fn the_age_it_has_when_it_comes_counts_if_it_is_a_number() {
        for (age, expected) in [
            ("7", 7),
            ("7, 9", 7),
            (" 7 ", 7),
            ("-7", 0),
            ("old", 0),
            ("99999999999", u32::MAX),
        ] {
            assert_eq!(of(&[("age", age)]).age, expected, "{age}");
        }
    }

    proptest! {
        #[test]
        fn whatever_the_headers_say_there_is_an_answer(
            values in proptest::collection::vec((0..6_usize, "[ -~\t]{0,60}"), 0..9),
            (personal, one_identity) in any::<(bool, bool)>(),
        ) {
            let names = ["cache-control", "expires", "date", "age", "vary", "content-type"];
            let headers: Vec<_> = values.iter().map(|(name, value)| (names[*name], value.as_str())).collect();
            terms(personal, one_identity, &answer(200, &headers));
        }
    }
}
