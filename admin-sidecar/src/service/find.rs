//! Which service lives in the run directory.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use resilience_core::control::Unavailable;

/// A run directory that holds more than this is not one.
const MAX_ENTRIES: usize = 4096;

/// The directory where a service puts its socket and its black box.
#[derive(Clone, Debug)]
pub struct RunDir {
    dir: PathBuf,
    service: Option<String>,
}

/// One service's two files; neither need exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) socket: PathBuf,
    pub(crate) black_box: PathBuf,
}

impl RunDir {
    /// `service` is the one to look for; without it, the only one there is.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, service: Option<String>) -> Self {
        Self {
            dir: dir.into(),
            service,
        }
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// The service that was named, if one was.
    #[must_use]
    pub fn service(&self) -> Option<&str> {
        self.service.as_deref()
    }

    /// Looks anew each time, so that a service may come later and a leftover
    /// that was taken away no longer counts. Reads the disk: call it on
    /// [`Disk`](super::disk::Disk).
    pub(crate) fn find(&self) -> Result<Found, Unavailable> {
        if let Some(name) = &self.service {
            return Ok(self.files(name));
        }
        let dir = self.dir.display();
        let names = self.names().map_err(|error| Unavailable {
            what: format!("cannot read the run directory {dir}: {error}"),
            advice: "give the directory where the service puts its socket with --run-dir \
                     (ADMIN_RUN_DIR), and see that this user may read it"
                .to_owned(),
        })?;
        let mut names = names.into_iter();
        match (names.next(), names.len()) {
            (None, _) => Err(Unavailable {
                what: format!("no socket and no black box in {dir}"),
                advice: "start the service, or give its run directory with --run-dir; it is \
                         looked for again with each request"
                    .to_owned(),
            }),
            (Some(only), 0) => Ok(self.files(&only)),
            (Some(first), _) => {
                let names: Vec<_> = std::iter::once(first).chain(names).collect();
                Err(Unavailable {
                    what: format!("several services in {dir}: {}", names.join(", ")),
                    advice: "say which one with --service (ADMIN_SERVICE)".to_owned(),
                })
            }
        }
    }

    fn files(&self, name: &str) -> Found {
        Found {
            name: name.to_owned(),
            socket: self.dir.join(format!("{name}.sock")),
            black_box: self.dir.join(format!("{name}.blackbox")),
        }
    }

    fn names(&self) -> io::Result<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        for entry in fs::read_dir(&self.dir)?.take(MAX_ENTRIES) {
            let path = PathBuf::from(entry?.file_name());
            let ours = path
                .extension()
                .is_some_and(|ext| ext == "sock" || ext == "blackbox");
            if let (true, Some(stem)) = (ours, path.file_stem().and_then(|stem| stem.to_str())) {
                names.insert(stem.to_owned());
            }
        }
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir_with(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            fs::write(dir.path().join(file), "").unwrap();
        }
        dir
    }

    #[test]
    fn the_only_service_is_found_by_its_socket_or_its_black_box() {
        for files in [
            &["api.sock"][..],
            &["api.blackbox", "audit.jsonl"],
            &["api.sock", "api.blackbox"],
        ] {
            let dir = dir_with(files);
            assert_eq!(
                RunDir::new(dir.path(), None).find().unwrap().name,
                "api",
                "{files:?}"
            );
        }
    }

    #[test]
    fn several_services_are_named_and_not_guessed_at() {
        let dir = dir_with(&["b.sock", "a.blackbox"]);
        let error = RunDir::new(dir.path(), None).find().unwrap_err();
        assert!(error.what.ends_with(": a, b"), "{}", error.what);
        assert!(error.advice.contains("--service"));
    }

    #[test]
    fn an_empty_or_missing_directory_says_what_to_do() {
        let dir = dir_with(&["unrelated.txt"]);
        assert!(
            RunDir::new(dir.path(), None)
                .find()
                .unwrap_err()
                .what
                .starts_with("no socket")
        );
        assert!(
            RunDir::new(dir.path().join("gone"), None)
                .find()
                .unwrap_err()
                .what
                .starts_with("cannot read")
        );
    }
}
