//! The bearer token, read from a file.

use std::{
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use http::{HeaderMap, header};
use rustix::fs::OFlags;
use sha2::{Digest, Sha256};

/// A shorter one could be guessed.
const MIN_CHARS: usize = 16;

/// A longer file is not a token.
const MAX_BYTES: u64 = 4096;

/// The file that holds the token. It is read anew for each change, so that a
/// token that was replaced, or a secret that was mounted anew, counts at once.
#[derive(Clone, Debug)]
pub struct TokenFile {
    path: PathBuf,
}

/// Why there is no token to compare with. Changes are refused until it is
/// mended: a file that vanished must not open the door.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The file cannot be read.
    #[error("cannot read the token file {}", .path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Anyone on the machine could read the token.
    #[error(
        "the token file {} has mode {mode:03o}: others may use it; allowed: none for others, such \
         as 0600 (in Kubernetes: defaultMode: 0400)",
        .path.display()
    )]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// What it holds is no token.
    #[error(
        "the token file {} holds {given}, allowed: one line of {MIN_CHARS} or more visible ASCII \
         characters (`openssl rand -hex 32` makes one)",
        .path.display()
    )]
    Content {
        /// Which file.
        path: PathBuf,
        /// What was wrong, never the token.
        given: String,
    },
}

/// Why a request does not hold the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is no `Authorization: Bearer`.
    Missing,
    /// It is another one.
    Wrong,
}

/// A token, kept only as its digest.
#[derive(Clone)]
pub struct Token {
    digest: [u8; 32],
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

impl TokenFile {
    /// Reads nothing yet.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The token in force. Reads the disk.
    ///
    /// # Errors
    ///
    /// [`TokenError`] names the file and what is allowed.
    pub fn read(&self) -> Result<Token, TokenError> {
        let path = self.path.clone();
        let (mode, text) = read(&self.path).map_err(|source| TokenError::Read {
            path: path.clone(),
            source,
        })?;
        if mode & 0o007 != 0 {
            return Err(TokenError::Exposed { path, mode });
        }
        let content = |given: String| Err(TokenError::Content { path, given });
        let Ok(text) = String::from_utf8(text) else {
            return content("bytes that are not text".to_owned());
        };
        let token = text.trim();
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return content("blanks, several lines or characters beyond ASCII".to_owned());
        }
        if token.len() < MIN_CHARS {
            return content(format!("{} characters", token.len()));
        }
        Ok(Token {
            digest: Sha256::digest(token).into(),
        })
    }
}

fn read(path: &Path) -> io::Result<(u32, Vec<u8>)> {
    let file = std::fs::File::options()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed()) // never waits on a pipe
        .open(path)?;
    // Asked of the open file, so that it is the file that is read.
    let mode = file.metadata()?.mode() & 0o777;
    let mut text = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut text)?;
    Ok((mode, text))
}

impl Token {
    /// Whether the request holds this token.
    ///
    /// # Errors
    ///
    /// [`Refused`] says why not.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), Refused> {
        let given = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .ok_or(Refused::Missing)?;
        let given: [u8; 32] = Sha256::digest(given).into();
        // All 32 bytes, always. Even if the compiler found a way out early,
        // the time would tell of digests that a guesser cannot steer.
        let difference = given
            .iter()
            .zip(&self.digest)
            .fold(0, |difference, (a, b)| difference | (a ^ b));
        if difference == 0 {
            Ok(())
        } else {
            Err(Refused::Wrong)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    fn file(content: &str, mode: u32) -> (tempfile::TempDir, TokenFile) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (dir, TokenFile::new(path))
    }

    fn bearer(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        headers
    }

    #[test]
    fn only_the_very_token_is_let_through() {
        let (_dir, file) = file("0123456789abcdef\n", 0o600);
        let token = file.read().unwrap();
        assert_eq!(token.check(&bearer("Bearer 0123456789abcdef")), Ok(()));
        assert_eq!(token.check(&bearer("bearer 0123456789abcdef")), Ok(()));
        for wrong in [
            "Bearer 0123456789abcdeF",
            "Bearer 0123456789abcdef0",
            "Bearer ",
        ] {
            assert_eq!(token.check(&bearer(wrong)), Err(Refused::Wrong), "{wrong}");
        }
        assert_eq!(
            token.check(&bearer("Basic 0123456789abcdef")),
            Err(Refused::Missing)
        );
        assert_eq!(token.check(&HeaderMap::new()), Err(Refused::Missing));
    }

    #[test]
    fn a_file_others_may_use_or_a_poor_token_is_refused_without_showing_it() {
        let cases = [
            ("0123456789abcdef", 0o604, "604"),
            ("short-secret", 0o600, "12 characters"),
            ("", 0o600, "0 characters"),
            ("two lines of\nsecret-secret", 0o600, "blanks"),
        ];
        for (content, mode, expected) in cases {
            let (_dir, file) = file(content, mode);
            let error = file.read().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
        let missing = TokenFile::new("/nonexistent/token").read().unwrap_err();
        assert!(matches!(missing, TokenError::Read { .. }));
    }

    #[test]
    fn a_token_that_was_replaced_counts_at_once() {
        let (dir, file) = file("0123456789abcdef", 0o600);
        fs::write(dir.path().join("token"), "fedcba9876543210").unwrap();
        let token = file.read().unwrap();
        assert_eq!(
            token.check(&bearer("Bearer 0123456789abcdef")),
            Err(Refused::Wrong)
        );
        assert_eq!(token.check(&bearer("Bearer fedcba9876543210")), Ok(()));
    }
}
