//! The address of a Redis, which may hold a password.

use std::fmt;

use crate::config::{
    text::quoted,
    value::{Misread, Readable},
};

/// Where a Redis or Valkey is: `redis://`, `rediss://` (with TLS) or `unix:`, with
/// user, password and number of the database if need be.
///
/// `Display` and `Debug` show it without what may be a password; only
/// [`expose`](Self::expose) has all of it.
///
/// # Example
///
/// ```
/// use resilience_core::config::RedisUrl;
///
/// let url: RedisUrl = "rediss://app:hunter2@cache.internal:6380/3".parse()?;
/// assert_eq!(url.to_string(), "rediss://app:***@cache.internal:6380/3");
/// # Ok::<(), resilience_core::config::BadRedisUrl>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(String);

/// Why a text is no [`RedisUrl`]. Does not show the text: it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the URL is not allowed, expected: {}", RedisUrl::ALLOWED)]
pub struct BadRedisUrl;

/// In place of what is not shown.
const MASK: &str = "***";

impl RedisUrl {
    /// What one may be, in words.
    pub(super) const ALLOWED: &str = "`redis://host:6379/0`, `rediss://…` with TLS, or \
        `unix:///path`; with `user:password@` before the host, and in it %40 for @, %2F for /, \
        %3F for ?";

    /// All of it, password included: for the client that connects, and nobody else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it asks for TLS.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.0.starts_with("rediss://")
    }

    /// Scheme and rest.
    fn parts(&self) -> (&str, &str) {
        // Checked when it was made.
        self.0.split_once(':').unwrap_or(("", &self.0))
    }
}

impl std::str::FromStr for RedisUrl {
    type Err = BadRedisUrl;

    fn from_str(text: &str) -> Result<Self, BadRedisUrl> {
        let longest = 2_048;
        let visible = text.bytes().all(|b| b.is_ascii_graphic());
        // A fragment is how the client is told not to check certificates.
        if text.len() > longest || !visible || text.contains('#') {
            return Err(BadRedisUrl);
        }
        let good = match text.split_once(':') {
            Some(("redis" | "rediss", rest)) => rest.strip_prefix("//").is_some_and(is_place),
            Some(("unix" | "redis+unix", path)) => {
                let path = path.strip_prefix("//").unwrap_or(path);
                let (path, _) = path.split_once('?').unwrap_or((path, ""));
                path.len() > 1 && path.starts_with('/')
            }
            _ => false,
        };
        good.then(|| Self(text.to_owned())).ok_or(BadRedisUrl)
    }
}

/// Whether it is `user:password@host:port/database?…`, all but the host optional.
fn is_place(rest: &str) -> bool {
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    // What follows an `@` there is the host that was meant: the password has a `/`.
    if path.contains('@') || query.contains('@') {
        return false;
    }
    let host = match authority.rsplit_once('@') {
        Some((user, _)) if user.contains('@') => return false,
        Some((_, host)) => host,
        None => authority,
    };
    let (host, port) = match host.strip_prefix('[') {
        Some(six) => match six.split_once(']') {
            Some((host, port)) => (host, port),
            None => return false,
        },
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let port = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    let database = path.strip_prefix('/').unwrap_or_default();
    !host.is_empty() && port && (database.is_empty() || database.parse::<u32>().is_ok())
}

/// Without user's password, and without what a query sets, as far as it may be secret.
impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.parts();
        write!(f, "{scheme}:")?;
        let (rest, query) = match rest.split_once('?') {
            Some((rest, query)) => (rest, Some(query)),
            None => (rest, None),
        };
        match rest.rsplit_once('@') {
            Some((user, place)) if scheme.starts_with("redis") && scheme != "redis+unix" => {
                let user = user.trim_start_matches('/');
                // Alone it may well be the password.
                match user.split_once(':') {
                    Some((user, _)) => write!(f, "//{user}:{MASK}@{place}")?,
                    None => write!(f, "//{MASK}@{place}")?,
                }
            }
            _ => f.write_str(rest)?,
        }
        for (index, pair) in query.into_iter().flat_map(|q| q.split('&')).enumerate() {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let shown = match key {
                "db" | "protocol" | "user" => value,
                _ => MASK,
            };
            write!(f, "{}{key}={shown}", if index == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({self})")
    }
}

impl Readable for RedisUrl {
    const SECRET: bool = true;

    fn read(text: &str) -> Result<Self, Misread> {
        text.parse().map_err(|BadRedisUrl| Misread::Other)
    }

    fn show(&self) -> String {
        quoted(&self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> Result<String, BadRedisUrl> {
        text.parse().map(|url: RedisUrl| url.to_string())
    }

    #[test]
    fn what_may_be_a_password_is_not_shown() {
        for (given, expected) in [
            ("redis://127.0.0.1:6379", "redis://127.0.0.1:6379"),
            ("redis://h", "redis://h"),
            ("redis://h:1/15", "redis://h:1/15"),
            ("rediss://app:hunter2@h:6380/3", "rediss://app:***@h:6380/3"),
            ("redis://:hunter2@h/", "redis://:***@h/"),
            ("redis://hunter2@h", "redis://***@h"),
            (
                "redis://a:hunter2:hunter2@[::1]:6379",
                "redis://a:***@[::1]:6379",
            ),
            (
                "unix:///run/r.sock?db=1&pass=hunter2",
                "unix:///run/r.sock?db=1&pass=***",
            ),
            ("unix:/run/a@b.sock", "unix:/run/a@b.sock"),
            (
                "redis+unix:///r.sock?user=app&pass=hunter2",
                "redis+unix:///r.sock?user=app&pass=***",
            ),
            ("redis://h?protocol=resp3", "redis://h?protocol=resp3"),
        ] {
            assert_eq!(shown(given).as_deref(), Ok(expected));
            let url: RedisUrl = given.parse().unwrap();
            assert!(!format!("{url:?} {}", url.show()).contains("hunter2"));
            assert_eq!(url.expose(), given);
        }
    }

    #[test]
    fn what_the_client_would_take_for_something_else_is_refused() {
        for bad in [
            "",
            "127.0.0.1:6379",
            "http://h",
            "redis:h",
            "redis://",
            "redis://:6379",
            "redis://h:0",
            "redis://h:65536",
            "redis://h:port",
            "redis://h/zero",
            "redis://[::1",
            // A password with a `/`: the host would be `app`.
            "redis://app:hun/ter2@h:6379",
            "redis://app:hun?ter2@h:6379",
            "redis://app:hun@ter2@h:6379",
            // Whoever is there would be believed.
            "rediss://h:6380/#insecure",
            "unix:relative",
            "unix://",
            "redis://h \u{e9}",
        ] {
            assert_eq!(shown(bad), Err(BadRedisUrl), "{bad}");
        }
        assert!(!BadRedisUrl.to_string().contains("hunter2"));
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_as_the_same(text in "(redis|rediss|unix|redis\\+unix):/{0,3}[a-z:@/?=&\\[\\]0-9]{0,20}") {
            if let Ok(url) = text.parse::<RedisUrl>() {
                let again: RedisUrl = url.to_string().parse().unwrap();
                prop_assert_eq!(again.to_string(), url.to_string());
                prop_assert_eq!(again.is_encrypted(), url.is_encrypted());
            }
        }
    }
}
