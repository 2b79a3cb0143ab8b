//! Finding a PostgreSQL server.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use super::StartError;
use crate::process::{Account, find_in_path, is_executable};

/// The oldest version that will do: the one in Debian's oldest supported release
/// with what the runbook's queries need.
const OLDEST: u32 = 15;

/// Server programs of one version.
#[derive(Clone, Debug)]
pub(super) struct Installation {
    /// Where `postgres` and `initdb` are.
    pub(super) bin: PathBuf,
    pub(super) major: u32,
    /// What it says of itself, the minor version included.
    pub(super) version: String,
    /// Whether `pg_stat_statements` can be preloaded.
    pub(super) has_statements: bool,
    /// Whom to run it as; `None` is ourselves.
    pub(super) account: Option<Account>,
}

impl Installation {
    /// The first that will do of: the one in `PATH`, the one `pg_config` knows,
    /// Debian's, newest first.
    ///
    /// Looked for once a process, as the programs that are asked take a tenth of
    /// a second; what is missing is looked for again.
    pub(super) fn find() -> Result<Self, StartError> {
        static FOUND: OnceLock<Installation> = OnceLock::new();
        if let Some(found) = FOUND.get() {
            return Ok(found.clone());
        }
        let found = Self::look()?;
        Ok(FOUND.get_or_init(|| found).clone())
    }

    fn look() -> Result<Self, StartError> {
        let mut best: Option<(u32, PathBuf)> = None;
        for bin in candidates() {
            let Some((major, version)) = version(&bin) else {
                continue;
            };
            if major >= OLDEST {
                return Ok(Self {
                    has_statements: has_statements(&bin),
                    account: account()?,
                    bin,
                    major,
                    version,
                });
            }
            if best.as_ref().is_none_or(|(known, _)| *known < major) {
                best = Some((major, bin));
            }
        }
        Err(StartError::NotInstalled {
            wanted: OLDEST,
            found: best,
        })
    }
}

fn candidates() -> Vec<PathBuf> {
    let mut found = Vec::new();
    // Symbolic links are followed: beside the real file are its companions.
    let real = find_in_path("postgres").and_then(|path| path.canonicalize().ok());
    found.extend(real.as_deref().and_then(Path::parent).map(Path::to_owned));
    if let Some(pg_config) = find_in_path("pg_config") {
        found.extend(ask(&pg_config, &["--bindir"]).map(PathBuf::from));
    }
    let versions = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let mut debian: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            let major = entry.file_name().to_str()?.parse().ok()?;
            Some((major, entry.path().join("bin")))
        })
        .collect();
    debian.sort_unstable_by(|a, b| b.cmp(a));
    found.extend(debian.into_iter().map(|(_, bin)| bin));
    found
}

/// The major version and what the server prints of it, if the directory holds a
/// whole server.
fn version(bin: &Path) -> Option<(u32, String)> {
    let [initdb, postgres] = ["initdb", "postgres"].map(|name| bin.join(name));
    if !is_executable(&initdb) {
        return None;
    }
    let printed = ask(&postgres, &["--version"])?;
    Some((parse_version(&printed)?, printed))
}

/// `postgres (PostgreSQL) 15.18 (Debian …)`, `postgres (PostgreSQL) 18beta1`.
fn parse_version(text: &str) -> Option<u32> {
    let number = text.split("(PostgreSQL) ").nth(1)?;
    let digits = number.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

fn has_statements(bin: &Path) -> bool {
    let mut libraries = vec![bin.join("../lib"), bin.join("../lib/postgresql")];
    libraries.extend(ask(&bin.join("pg_config"), &["--pkglibdir"]).map(PathBuf::from));
    libraries
        .iter()
        .any(|directory| directory.join("pg_stat_statements.so").is_file())
}

fn account() -> Result<Option<Account>, StartError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let id = find_in_path("id").ok_or(StartError::NoAccount)?;
    let number = |flag, user| ask(&id, &[flag, user])?.parse().ok();
    ["postgres", "nobody"]
        .into_iter()
        .find_map(|user| {
            Some(Account {
                uid: number("-u", user)?,
                gid: number("-g", user)?,
            })
        })
        .map(Some)
        .ok_or(StartError::NoAccount)
}

/// What a program that ends at once prints, trimmed.
fn ask(program: &Path, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_what_the_server_prints() {
        let debian = "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)";
        assert_eq!(parse_version(debian), Some(15));
        assert_eq!(parse_version("postgres (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(parse_version("mysqld 8.0"), None);
    }
}
