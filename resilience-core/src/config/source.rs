//! Where a configuration is read from: a file, or none, and the environment.

use std::{
    fmt,
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::{
    Config, ConfigErrors, env,
    error::Problems,
    tree::Origin,
    yaml::{self, MAX_BYTES},
};

/// The prefix of environment variables unless another is chosen.
pub const DEFAULT_PREFIX: &str = "APP";

/// The file and the environment variables of a configuration.
///
/// # Example
///
/// ```
/// use resilience_core::config::ConfigSource;
///
/// let env = [("PAY__DATABASE__POOL_SIZE".to_owned(), "30".to_owned())];
/// let config = ConfigSource::new("PAY", env).load()?;
/// assert_eq!(config.database().pool_size, 30);
/// # Ok::<(), resilience_core::config::ConfigErrors>(())
/// ```
#[derive(Clone)]
pub struct ConfigSource {
    path: Option<PathBuf>,
    prefix: String,
    /// Only those with the prefix: the rest is none of our business, and may be secret.
    env: Vec<(String, String)>,
}

impl ConfigSource {
    /// Environment variables that begin with `prefix` and two underscores;
    /// without a file until [`file`](Self::file) names one.
    pub fn new(prefix: &str, env: impl IntoIterator<Item = (String, String)>) -> Self {
        Self {
            path: None,
            prefix: prefix.to_owned(),
            env: env
                .into_iter()
                .filter(|(name, _)| env::is_ours(prefix, name))
                .collect(),
        }
    }

    /// Reads this file; it must exist.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// The file, if there is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Reads the file and the variables.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with them, an unreadable file included.
    pub fn load(&self) -> Result<Config, ConfigErrors> {
        self.understand(&self.read())
    }

    /// As [`load`](Self::load), with `text` in place of the file, called `name` in errors.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with text and variables.
    pub fn parse(&self, name: &str, text: impl AsRef<[u8]>) -> Result<Config, ConfigErrors> {
        self.build(name, text.as_ref())
    }

    /// What the file holds now. Blocks as long as the file system does.
    pub(super) fn read(&self) -> Content {
        match &self.path {
            None => Content::NoFile,
            Some(path) => match read_bounded(path) {
                Ok(bytes) => Content::Bytes(bytes),
                Err(error) => Content::Unreadable(error.to_string()),
            },
        }
    }

    pub(super) fn understand(&self, content: &Content) -> Result<Config, ConfigErrors> {
        let name = self.path.as_ref().map_or_else(
            || "environment".to_owned(),
            |path| path.display().to_string(),
        );
        match content {
            Content::NoFile => self.build(&name, b""),
            Content::Bytes(bytes) => self.build(&name, bytes),
            Content::Unreadable(why) => Err(one_problem(
                &name,
                format!("the file cannot be read: {why}"),
            )),
        }
    }

    fn build(&self, name: &str, bytes: &[u8]) -> Result<Config, ConfigErrors> {
        let mut problems = Problems::new(name);
        let Some(mut tree) = yaml::parse_bytes(bytes, &mut problems) else {
            // The variables are not looked at: whether they are right may
            // hang on what the file says.
            return Err(problems.into_errors());
        };
        env::overlay(&mut tree, &self.prefix, &self.env, &mut problems);
        let short = Path::new(name).file_name().map_or_else(
            || name.to_owned(),
            |file| file.to_string_lossy().into_owned(),
        );
        Config::read(&tree, &short, problems)
    }
}

/// Names of variables only: what they say may be secret.
impl fmt::Debug for ConfigSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.env.iter().map(|(name, _)| name).collect();
        f.debug_struct("ConfigSource")
            .field("path", &self.path)
            .field("prefix", &self.prefix)
            .field("env", &names)
            .finish()
    }
}

/// A single problem that concerns the whole file.
pub(super) fn one_problem(name: &str, message: String) -> ConfigErrors {
    let mut problems = Problems::new(name);
    problems.add(&Origin::Default, message);
    problems.into_errors()
}

/// What was found at the path.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// No file was named.
    NoFile,
    /// The file, or as much of it as shows that it is too large.
    Bytes(Vec<u8>),
    /// Why there is none.
    Unreadable(String),
}

/// How much there is: what the file says may be secret.
impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFile => f.write_str("NoFile"),
            Self::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Self::Unreadable(why) => write!(f, "Unreadable({why})"),
        }
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    // Asked first: opening a pipe would wait for a writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?
        .take(MAX_BYTES as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The environment of this process, for [`Config::load`].
///
/// Unlike [`std::env::vars`] it does not panic at a variable that is not
/// UTF-8: names that are not are left out, and in values the odd bytes become
/// U+FFFD, which then is no valid value.
pub fn process_env() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| {
        let value = value.to_string_lossy().into_owned();
        Some((name.into_string().ok()?, value))
    })
}
