//! Headers that are about the connection an answer came by, and not about the answer.

use http::{HeaderMap, HeaderName, header};

/// Which headers of one answer are kept.
#[derive(Debug, Default)]
pub(super) struct Hop<'a> {
    /// What `Connection` names, as it is spelled there.
    named: Vec<&'a [u8]>,
}

impl<'a> Hop<'a> {
    /// An answer whose `Connection` names more is not kept: each of its headers would be
    /// looked for among them.
    const MOST_NAMED: usize = 32;

    /// `None` if `Connection` names too many.
    pub(super) fn of(headers: &'a HeaderMap) -> Option<Self> {
        let lines = headers.get_all(header::CONNECTION).iter();
        let named: Vec<_> = lines
            .flat_map(|line| line.as_bytes().split(|&byte| byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|name| !name.is_empty())
            .take(Self::MOST_NAMED + 1)
            .collect();
        (named.len() <= Self::MOST_NAMED).then_some(Self { named })
    }

    /// Whether a header is kept. `Age` is not, it is made anew.
    ///
    /// # Source
    ///
    /// RFC 9110, section 7.6.1, and RFC 9111, section 3.1, for those of a proxy.
    pub(super) fn keeps(&self, name: &HeaderName) -> bool {
        let is_kept = !matches!(
            name.as_str(),
            "connection"
                | "keep-alive"
                | "proxy-authenticate"
                | "proxy-authentication-info"
                | "proxy-authorization"
                | "proxy-connection"
                | "te"
                | "trailer"
                | "transfer-encoding"
                | "upgrade"
                | "age"
        );
        let name = name.as_str().as_bytes();
        is_kept
            && !self
                .named
                .iter()
                .any(|named| named.eq_ignore_ascii_case(name))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn connection(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::CONNECTION, HeaderValue::from_str(line).unwrap());
        }
        headers
    }

    fn keeps(hop: &Hop<'_>, name: &str) -> bool {
        hop.keeps(&name.parse().unwrap())
    }

    #[test]
    fn what_is_about_the_connection_is_not_kept() {
        for name in [
            "connection",
            "keep-alive",
            "proxy-authenticate",
            "proxy-authentication-info",
            "proxy-authorization",
            "proxy-connection",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
            "age",
        ] {
            assert!(!keeps(&Hop::default(), name), "{name}");
        }
        for name in [
            "content-type",
            "content-length",
            "cache-status",
            "proxy-status",
            "x-te",
        ] {
            assert!(keeps(&Hop::default(), name), "{name}");
        }
    }

    #[test]
    fn what_connection_names_is_about_the_connection_too() {
        let headers = connection(&["close, X-Hop", " x-other ,"]);
        let hop = Hop::of(&headers).unwrap();
        for (name, kept) in [("x-hop", false), ("x-other", false), ("x-hope", true)] {
            assert_eq!(keeps(&hop, name), kept, "{name}");
        }
    }

    #[test]
    fn an_answer_that_names_no_end_of_headers_is_not_kept() {
        assert!(Hop::of(&connection(&[&"a,".repeat(32)])).is_some());
        assert!(Hop::of(&connection(&[&"a,".repeat(33)])).is_none());
        assert!(Hop::of(&connection(&[&"a,".repeat(20), &"b,".repeat(20)])).is_none());
    }
}
