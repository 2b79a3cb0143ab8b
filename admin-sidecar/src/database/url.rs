//! A URL that holds a password, and does not show it.

use std::{convert::Infallible, fmt, str::FromStr};

use tokio_postgres::Config;

/// Such as `postgres://user:password@host:5432/name`, not checked yet.
///
/// Any text is one: a parser of flags says what it refused, and that would be the
/// password.
#[derive(Clone)]
pub struct DatabaseUrl(String);

impl FromStr for DatabaseUrl {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatabaseUrl")
    }
}

impl DatabaseUrl {
    /// Whether it is no URL, but a variable that was set to nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.trim().is_empty()
    }

    /// How to connect; `None` if that cannot be read from it. Why not stays
    /// untold: the parser may take a piece of the password for a key.
    pub(crate) fn config(&self) -> Option<Config> {
        let mut config: Config = self.0.trim().parse().ok()?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return None;
        }
        config.application_name("admin-sidecar");
        Some(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_never_shows_its_password() {
        let url: DatabaseUrl = "postgres://api:hunter2@db:5433/app".parse().unwrap();
        let config = url.config().unwrap();
        for shown in [format!("{url:?}"), format!("{config:?}")] {
            assert!(!shown.contains("hunter2"), "{shown}");
        }
        assert_eq!(config.get_application_name(), Some("admin-sidecar"));
    }

    #[test]
    fn what_leads_nowhere_is_no_url() {
        for bad in [
            "postgres//api:hunter2@db/app",
            "dbname=app",
            "http://db",
            "postgres://a@b:x",
        ] {
            let url: DatabaseUrl = bad.parse().unwrap();
            assert!(url.config().is_none(), "{bad}");
        }
    }
}
