//! Flags and environment, checked into a value that is right.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Parser;
use tokio_postgres::Config;

use crate::{
    auth::{TokenError, TokenFile},
    database::DatabaseUrl,
};

/// The admin API beside a service: answers even when the service is hung or dead.
///
/// It finds the service by its Unix socket in the run directory. When the
/// service does not answer in time it reads the black box that the service
/// writes beside the socket, and says how old that is.
#[derive(Clone, Debug, Parser)]
#[command(name = "admin-sidecar", version, after_help = EXAMPLES)]
pub struct Args {
    /// Directory where the service puts its socket and its black box
    #[arg(
        long,
        env = "ADMIN_RUN_DIR",
        value_name = "DIR",
        default_value = "/run/resilience"
    )]
    pub run_dir: PathBuf,

    /// Which service, if the run directory holds several
    #[arg(long, env = "ADMIN_SERVICE", value_name = "NAME")]
    pub service: Option<String>,

    /// Admin API: reads and changes. Anything but loopback needs --token-file
    #[arg(long, env = "ADMIN_LISTEN", value_name = "ADDR:PORT",
          default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, 9000)))]
    pub admin_listen: SocketAddr,

    /// Health and metrics, read only
    #[arg(long, env = "ADMIN_PUBLIC_LISTEN", value_name = "ADDR:PORT",
          default_value_t = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 9001)))]
    pub public_listen: SocketAddr,

    /// File with the bearer token that every change and every read of /admin/db then
    /// needs: 16 characters or more, readable by nobody else; read anew each time
    #[arg(long, env = "ADMIN_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// Another name under which the admin API may be reached (may be repeated)
    #[arg(
        long = "allowed-host",
        env = "ADMIN_ALLOWED_HOST",
        value_name = "HOST",
        value_delimiter = ','
    )]
    pub allowed_hosts: Vec<String>,

    /// Where changes are written down [default: audit.jsonl in the run directory]
    #[arg(long, env = "ADMIN_AUDIT_LOG", value_name = "FILE")]
    pub audit_log: Option<PathBuf>,

    /// The service's PostgreSQL, such as postgres://user:password@host:5432/name,
    /// for /admin/db; best in the variable, since a flag is in the list of processes
    #[arg(
        long,
        env = "ADMIN_DATABASE_URL",
        value_name = "URL",
        hide_env_values = true
    )]
    pub database_url: Option<DatabaseUrl>,

    /// How long the service may take to answer, 10ms to 300ms
    #[arg(long, env = "ADMIN_ASK_TIMEOUT", value_name = "DURATION", default_value = "250ms",
          value_parser = humantime::parse_duration)]
    pub ask_timeout: Duration,

    /// How long a change that a hung service has not taken is tried again, 1s to 1h
    #[arg(long, env = "ADMIN_CHANGE_PATIENCE", value_name = "DURATION", default_value = "60s",
          value_parser = humantime::parse_duration)]
    pub change_patience: Duration,
}

const EXAMPLES: &str = "\
Examples:
  admin-sidecar --run-dir /run/payments-api
  curl http://localhost:9000/admin/circuit-breaker/payment_api/state
  curl -X POST http://localhost:9000/admin/circuit-breaker/payment_api/reset

Exit codes: 0 stopped by SIGTERM or SIGINT, 1 could not start, 78 wrong settings.";

/// Settings of a sidecar. A value of this type is always valid.
#[derive(Clone, Debug)]
pub struct Settings {
    args: Args,
    audit_log: PathBuf,
    database: Option<Config>,
}

/// A setting that is not allowed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// Anyone on the network could make changes.
    #[error(
        "--admin-listen is {0}, which others can reach, and there is no --token-file; allowed: a \
         loopback address such as 127.0.0.1:9000, or --token-file FILE (ADMIN_TOKEN_FILE) with a \
         token that every change then needs"
    )]
    OpenToAll(SocketAddr),
    /// The token file is not usable.
    #[error("--token-file")]
    Token(#[from] TokenError),
    /// The database's URL is not usable. It is not shown: it may hold a password.
    #[error(
        "--database-url (ADMIN_DATABASE_URL) cannot be read (its value is not shown), allowed: \
         postgres://user:password@host:5432/name, with what is no letter or digit in the password \
         as %XX"
    )]
    DatabaseUrl,
    /// A value is out of its range.
    #[error("{flag} is {given}, allowed: {allowed}")]
    Value {
        /// Which.
        flag: &'static str,
        /// What was given.
        given: String,
        /// What is allowed.
        allowed: &'static str,
    },
}

impl TryFrom<Args> for Settings {
    type Error = SettingsError;

    fn try_from(mut args: Args) -> Result<Self, SettingsError> {
        let check = |inside, flag, given: String, allowed| {
            if inside {
                return Ok(());
            }
            Err(SettingsError::Value {
                flag,
                given,
                allowed,
            })
        };
        check(
            // So that with two reads of the disk an answer stays within 500 ms.
            (Duration::from_millis(10)..=Duration::from_millis(300)).contains(&args.ask_timeout),
            "--ask-timeout",
            humantime::format_duration(args.ask_timeout).to_string(),
            "10ms to 300ms",
        )?;
        check(
            (Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&args.change_patience),
            "--change-patience",
            humantime::format_duration(args.change_patience).to_string(),
            "1s to 1h",
        )?;
        if let Some(name) = &args.service {
            let fits = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0']);
            check(
                fits,
                "--service",
                format!("{name:?}"),
                "a name, such as payments-api",
            )?;
        }
        args.allowed_hosts.retain(|host| !host.is_empty()); // an empty variable is none
        for host in &args.allowed_hosts {
            let fits = host
                .parse::<http::uri::Authority>()
                .is_ok_and(|authority| authority.host() == host);
            check(
                fits,
                "--allowed-host",
                format!("{host:?}"),
                "a host name without port",
            )?;
        }
        match &args.token_file {
            Some(path) => {
                TokenFile::new(path).read()?;
            }
            None if !args.admin_listen.ip().to_canonical().is_loopback() => {
                return Err(SettingsError::OpenToAll(args.admin_listen));
            }
            None => {}
        }
        let audit_log = args
            .audit_log
            .clone()
            .unwrap_or_else(|| args.run_dir.join("audit.jsonl"));
        // An empty variable is none, as with the hosts.
        let url = args.database_url.as_ref().filter(|url| !url.is_empty());
        let database = match url {
            Some(url) => Some(url.config().ok_or(SettingsError::DatabaseUrl)?),
            None => None,
        };
        Ok(Self {
            args,
            audit_log,
            database,
        })
    }
}

impl Settings {
    /// Where the service's socket is.
    #[must_use]
    pub fn run_dir(&self) -> &Path {
        &self.args.run_dir
    }

    /// The service's name, if it was given.
    #[must_use]
    pub fn service(&self) -> Option<&str> {
        self.args.service.as_deref()
    }

    /// Where the admin API listens.
    #[must_use]
    pub fn admin_listen(&self) -> SocketAddr {
        self.args.admin_listen
    }

    /// Where health and metrics listen.
    #[must_use]
    pub fn public_listen(&self) -> SocketAddr {
        self.args.public_listen
    }

    /// The token file, if changes need a token.
    #[must_use]
    pub fn token_file(&self) -> Option<&Path> {
        self.args.token_file.as_deref()
    }

    /// Further names of the admin API.
    #[must_use]
    pub fn allowed_hosts(&self) -> &[String] {
        &self.args.allowed_hosts
    }

    /// The audit log's path.
    #[must_use]
    pub fn audit_log(&self) -> &Path {
        &self.audit_log
    }

    /// How to connect to the database, if its URL was given.
    #[must_use]
    pub fn database(&self) -> Option<&Config> {
        self.database.as_ref()
    }

    /// The deadline of one question to the service.
    #[must_use]
    pub fn ask_timeout(&self) -> Duration {
        self.args.ask_timeout
    }

    /// How long a pending change is tried again.
    #[must_use]
    pub fn change_patience(&self) -> Duration {
        self.args.change_patience
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(args: &[&str]) -> Result<Settings, String> {
        let args = Args::try_parse_from(std::iter::once(&"admin-sidecar").chain(args)).unwrap();
        Settings::try_from(args).map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_are_those_of_the_help() {
        let settings = settings(&[]).unwrap();
        assert_eq!(settings.admin_listen().to_string(), "127.0.0.1:9000");
        assert_eq!(settings.public_listen().to_string(), "0.0.0.0:9001");
        assert_eq!(settings.ask_timeout(), Duration::from_millis(250));
        assert_eq!(settings.change_patience(), Duration::from_secs(60));
        assert_eq!(
            settings.audit_log(),
            Path::new("/run/resilience/audit.jsonl")
        );
        assert!(settings.token_file().is_none());
    }

    #[test]
    fn what_is_not_allowed_is_named_with_what_is() {
        let cases = [
            (&["--admin-listen", "0.0.0.0:9000"][..], "--token-file"),
            (&["--admin-listen", "[::]:9000"], "--token-file"),
            (&["--ask-timeout", "2s"], "10ms to 300ms"),
            (&["--change-patience", "0s"], "1s to 1h"),
            (&["--service", "../x"], "a name"),
            (&["--allowed-host", "a:80"], "without port"),
            (&["--token-file", "/nonexistent/t"], "--token-file"),
            (
                &["--database-url", "postgres//api:secret@db"],
                "--database-url",
            ),
            (
                &["--database-url", "postgres//u:secret@h/db?a=b"],
                "postgres://",
            ),
        ];
        for (args, expected) in cases {
            let error = settings(args).unwrap_err();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
        let none = settings(&["--database-url", ""]).unwrap();
        assert!(none.database().is_none());
        assert!(settings(&["--admin-listen", "[::1]:0"]).is_ok());
    }
}
