//! What to start, and how.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use rustix::process::Signal;

use super::{ChildProcess, find_in_path, output::Output, spawner};

/// A program, its arguments, and what becomes of its output.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    label: String,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    directory: Option<PathBuf>,
    account: Option<Account>,
    log_file: Option<PathBuf>,
    forward: bool,
    stop_signal: Signal,
    death_signal: Signal,
    grace: Duration,
}

/// Whom a program runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// User id.
    pub uid: u32,
    /// Group id; there are no supplementary groups.
    pub gid: u32,
}

/// A program did not start.
#[derive(Debug, thiserror::Error)]
#[error("cannot start {label} ({}): {source}", path.display())]
pub struct SpawnError {
    label: String,
    path: PathBuf,
    source: io::Error,
}

impl Program {
    /// The program at `path`, called by its file name in messages.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let label = path
            .file_name()
            .map_or_else(|| path.to_string_lossy(), OsStr::to_string_lossy)
            .into_owned();
        Self {
            path,
            label,
            args: Vec::new(),
            env: Vec::new(),
            directory: None,
            account: None,
            log_file: None,
            forward: false,
            stop_signal: Signal::TERM,
            death_signal: Signal::KILL,
            grace: Duration::from_secs(5),
        }
    }

    /// What to call it in messages.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// One environment variable beside those it inherits.
    #[must_use]
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((key.into(), value.into()));
        self
    }

    /// The directory it runs in. Default: ours.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Whom it runs as, when we are root. Default: ourselves.
    #[must_use]
    pub fn account(mut self, account: Option<Account>) -> Self {
        self.account = account;
        self
    }

    /// Also writes its output to this file, truncated first. It is started anew
    /// at 32 MiB, with the last such piece kept beside it as `….1`.
    #[must_use]
    pub fn log_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.log_file = Some(path.into());
        self
    }

    /// Also prints its output to our stderr, `label | ` before each line.
    #[must_use]
    pub fn forward(mut self, forward: bool) -> Self {
        self.forward = forward;
        self
    }

    /// The signal that asks it to stop. Default: SIGTERM.
    #[must_use]
    pub fn stop_signal(mut self, signal: Signal) -> Self {
        self.stop_signal = signal;
        self
    }

    /// The signal it gets from the kernel when we die without stopping it:
    /// SIGKILL, or SIGQUIT for one that has children of its own to end.
    /// Default: SIGKILL.
    #[must_use]
    pub(crate) fn death_signal_quit(mut self) -> Self {
        self.death_signal = Signal::QUIT;
        self
    }

    /// How long it has to stop before SIGKILL. Default: 5 s.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Starts it in a process group of its own (a Ctrl-C at the terminal is
    /// ours to handle, it must not reach the children first), without input.
    ///
    /// # Errors
    ///
    /// [`SpawnError`] when there is no such program, or it may not be started.
    pub fn spawn(self) -> Result<ChildProcess, SpawnError> {
        match self.try_spawn() {
            Ok(child) => Ok(child),
            Err(source) => Err(SpawnError {
                label: self.label,
                path: self.path,
                source,
            }),
        }
    }

    fn try_spawn(&self) -> io::Result<ChildProcess> {
        // Asked here: behind setpriv a missing program is only an exit code.
        if !self.path.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "there is no such file",
            ));
        }
        let log = match &self.log_file {
            Some(path) => Some((path.clone(), File::create(path)?)),
            None => None,
        };
        let mut child = spawner::spawn(self.command())?;
        let streams = (child.stdout.take(), child.stderr.take());
        let prefix = self.forward.then(|| format!("{} | ", self.label));
        let output = Arc::new(Output::new(prefix, log));
        // Guarded from here on: what fails below drops, and so stops, it.
        let child = ChildProcess::new(
            child,
            self.label.clone(),
            (self.stop_signal, self.grace),
            Arc::clone(&output),
        );
        if let (Some(stdout), Some(stderr)) = streams {
            Output::read_from(&output, stdout)?;
            Output::read_from(&output, stderr)?;
        }
        Ok(child)
    }

    fn command(&self) -> Command {
        let mut command = match find_in_path("setpriv") {
            Some(setpriv) => self.through_setpriv(&setpriv),
            // No signal at our death then; the rest stands.
            None => {
                let mut command = Command::new(&self.path);
                if let Some(account) = self.account {
                    // As root, `uid` clears the supplementary groups as well.
                    command.uid(account.uid).gid(account.gid);
                }
                command
            }
        };
        command
            .args(&self.args)
            .envs(self.env.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command
    }

    /// `setpriv` becomes the shell and that the program by exec, so the pid is
    /// the program's.
    fn through_setpriv(&self, setpriv: &Path) -> Command {
        let mut command = Command::new(setpriv);
        if let Some(Account { uid, gid }) = self.account {
            command
                .arg(format!("--reuid={uid}"))
                .arg(format!("--regid={gid}"))
                .arg("--clear-groups");
        }
        let signal = if self.death_signal == Signal::QUIT {
            "QUIT"
        } else {
            "KILL"
        };
        // Had we died before the kernel was told, there would be no signal: so
        // the child asks, once it has been, whether its parent is still us.
        command
            .arg("--pdeathsig")
            .arg(signal)
            .args(["--", "/bin/sh", "-c"])
            .arg(r#"[ "$PPID" = "$0" ] || exit 1; exec "$@""#)
            .arg(std::process::id().to_string())
            .arg(&self.path);
        command
    }
}
