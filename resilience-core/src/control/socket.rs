//! The service's Unix socket: found by name, never stolen.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use tokio::net::UnixListener;

use crate::blackbox;

/// Where the socket of `service` lies in a run directory.
#[must_use]
pub fn path(run_dir: &Path, service: &str) -> PathBuf {
    run_dir.join(format!("{service}.sock"))
}

/// The longest path a socket can have on Linux (`sun_path`, less its NUL).
const LONGEST_PATH: usize = 107;

/// Why the control socket could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// Another process serves this name.
    #[error(
        "another process{} already serves `{service}` in `{run_dir}`; \
         stop it, or give this one another name or run directory",
        pid.as_ref().map_or_else(String::new, |pid| format!(" (pid {pid})"))
    )]
    Taken {
        /// The service's name.
        service: String,
        /// Its run directory.
        run_dir: PathBuf,
        /// The other process, if it has left its id.
        pid: Option<String>,
    },
    /// The path is longer than a socket's can be.
    #[error(
        "the socket's path `{path}` is longer than {LONGEST_PATH} bytes; use a shorter run directory"
    )]
    TooLong {
        /// The path.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot {what} `{path}`")]
    Io {
        /// What was tried, such as `create the run directory`.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// The name of a service in a run directory, held until dropped (or until the
/// process ends, however it ends: the kernel lets go of the lock).
#[derive(Debug)]
pub(crate) struct Name {
    _lock: File,
    socket: PathBuf,
}

impl Name {
    /// Takes the name, or says who has it.
    pub(crate) fn take(run_dir: &Path, service: &str) -> Result<Self, SocketError> {
        let socket = path(run_dir, service);
        if socket.as_os_str().len() > LONGEST_PATH {
            return Err(SocketError::TooLong { path: socket });
        }
        let failed = |what, path: &Path| {
            let path = path.to_owned();
            move |source| SocketError::Io { what, path, source }
        };
        fs::create_dir_all(run_dir).map_err(failed("create the run directory", run_dir))?;
        let path = run_dir.join(format!("{service}.lock"));
        let lock = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(failed("open the lock file", &path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = fs::read_to_string(&path).ok();
                let pid = pid
                    .map(|pid| pid.trim().to_owned())
                    .filter(|pid| !pid.is_empty());
                return Err(SocketError::Taken {
                    service: service.to_owned(),
                    run_dir: run_dir.to_owned(),
                    pid,
                });
            }
            Err(TryLockError::Error(source)) => {
                return Err(failed("lock", &path)(source));
            }
        }
        // For whoever is refused; nothing depends on it.
        let _ = fs::write(&path, format!("{}\n", std::process::id()));
        Ok(Self {
            _lock: lock,
            socket,
        })
    }

    /// Listens on the socket, mode 0660. One that lies there was left by a
    /// process that is gone: the name is ours.
    pub(crate) fn listen(&self) -> Result<UnixListener, SocketError> {
        let failed = |what| {
            let path = self.socket.clone();
            move |source| SocketError::Io { what, path, source }
        };
        match fs::remove_file(&self.socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove the old socket")(error));
            }
            _ => {}
        }
        let listener = UnixListener::bind(&self.socket).map_err(failed("listen on"))?;
        blackbox::restrict(&self.socket).map_err(failed("set the mode of"))?;
        Ok(listener)
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.socket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[tokio::test]
    async fn a_second_process_is_refused_by_name_and_the_socket_is_not_stolen() {
        let dir = tempfile::tempdir().unwrap();
        let name = Name::take(dir.path(), "payments-api").unwrap();
        let listener = name.listen().unwrap();
        let error = Name::take(dir.path(), "payments-api").unwrap_err();
        let pid = std::process::id().to_string();
        assert!(
            matches!(&error, SocketError::Taken { pid: Some(p), .. } if *p == pid),
            "{error}"
        );
        assert!(Name::take(dir.path(), "other").is_ok());
        let socket = path(dir.path(), "payments-api");
        let (client, server) =
            tokio::join!(tokio::net::UnixStream::connect(&socket), listener.accept());
        assert!(client.is_ok() && server.is_ok());
        assert_eq!(
            fs::metadata(&socket).unwrap().permissions().mode() & 0o777,
            0o660
        );
    }

    #[tokio::test]
    async fn a_socket_left_by_a_dead_process_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(path(dir.path(), "a"), "").unwrap();
        let name = Name::take(dir.path(), "a").unwrap();
        assert!(name.listen().is_ok());
        drop(name);
        assert!(!path(dir.path(), "a").exists());
    }

    #[test]
    fn a_path_that_is_too_long_is_said_to_be() {
        let error = Name::take(Path::new(&"/x".repeat(60)), "a").unwrap_err();
        assert!(matches!(error, SocketError::TooLong { .. }));
    }
}
