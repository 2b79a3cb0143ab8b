//! Child processes that end with us, whatever way we end.
//!
//! A [`ChildProcess`] is stopped when it is dropped, on a panic as well. For
//! the ends that run no destructor (SIGKILL, a crash) the kernel is asked to
//! send the child a signal when we are gone, through `setpriv --pdeathsig`
//! (util-linux): the system call itself cannot be made from safe Rust.

mod find;
mod output;
mod program;
mod spawner;

use std::{
    io,
    os::unix::process::ExitStatusExt,
    process::{Child, ExitStatus},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};

pub(crate) use find::is_executable;
pub use find::{BinaryNotFound, find_binary, find_in_path};
use output::Output;
pub use program::{Account, Program, SpawnError};
pub use rustix::process::Signal;

/// How often an exit is looked for. There is no file descriptor to wait on
/// without a reactor, and the guard must work without a runtime as well.
const EXIT_POLL: Duration = Duration::from_millis(5);

/// How long the last lines of a child that has ended may take to be read.
const LAST_WORDS_WITHIN: Duration = Duration::from_millis(500);

/// How many of the last lines an error repeats.
const TAIL: usize = 15;

/// A running child. Dropping it stops it: the stop signal, the grace, then
/// SIGKILL to its whole process group. Dropping blocks for as long as that
/// takes, the grace at most.
#[derive(Debug)]
pub struct ChildProcess {
    label: String,
    pid: Pid,
    stop_signal: Signal,
    grace: Duration,
    output: Arc<Output>,
    // Held only for system calls that return at once.
    child: Mutex<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    /// Set once it is reaped; from then on its pid may belong to a stranger.
    status: Option<ExitStatus>,
}

/// What was waited for did not come.
#[derive(Debug, thiserror::Error)]
#[error("{label} {what}{}", tail_text(.tail))]
pub struct WaitError {
    /// Name of the child.
    pub label: String,
    /// What happened instead.
    pub what: String,
    /// Its last lines.
    pub tail: Vec<String>,
}

fn tail_text(tail: &[String]) -> String {
    if tail.is_empty() {
        return "; it printed nothing".to_owned();
    }
    format!("; its last lines:\n  {}", tail.join("\n  "))
}

impl ChildProcess {
    fn new(child: Child, label: String, stop: (Signal, Duration), output: Arc<Output>) -> Self {
        Self {
            label,
            pid: Pid::from_child(&child),
            stop_signal: stop.0,
            grace: stop.1,
            output,
            child: Mutex::new(Running {
                child,
                status: None,
            }),
        }
    }

    /// The name it goes by in messages.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Its process id, which is also the id of its process group.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// The last lines it printed, oldest first, on either stream. Bounded:
    /// older ones are forgotten.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.output.tail(usize::MAX)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    ///
    /// `ESRCH` once it has exited: a signal never reaches a stranger that
    /// was given the same pid.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let mut running = self.lock();
        match self.reap(&mut running)? {
            Some(_) => Err(rustix::io::Errno::SRCH.into()),
            None => Ok(kill_process(self.pid, signal)?),
        }
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub fn try_exit(&self) -> io::Result<Option<ExitStatus>> {
        self.reap(&mut self.lock())
    }

    /// Waits until it has printed a line that contains `pattern`; looks at the
    /// lines it has printed already, too.
    ///
    /// # Errors
    ///
    /// [`WaitError`] when the deadline passes, or when it has closed its
    /// output without such a line.
    pub async fn wait_for_line(
        &self,
        pattern: &str,
        deadline: Duration,
    ) -> Result<String, WaitError> {
        match tokio::time::timeout(deadline, self.output.find(pattern)).await {
            Ok(Some(line)) => Ok(line),
            Ok(None) => {
                // Both streams are closed, so the exit is a matter of moments.
                let how = match self.wait_exit(Duration::from_millis(500)).await {
                    Ok(status) => format!("ended ({})", describe(status)),
                    Err(_) => "closed its output".to_owned(),
                };
                Err(self.error(format!("{how} without a line containing `{pattern}`")))
            }
            Err(_) => Err(self.error(format!(
                "printed no line containing `{pattern}` within {deadline:?}"
            ))),
        }
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    ///
    /// [`WaitError`] when the deadline passes.
    pub async fn wait_exit(&self, deadline: Duration) -> Result<ExitStatus, WaitError> {
        let until = Instant::now() + deadline;
        loop {
            match self.try_exit() {
                Ok(Some(status)) => {
                    self.last_words().await;
                    return Ok(status);
                }
                Ok(None) if Instant::now() >= until => {
                    return Err(self.error(format!("still ran after {deadline:?}")));
                }
                Ok(None) => tokio::time::sleep(EXIT_POLL).await,
                Err(error) => return Err(self.error(format!("cannot be waited for: {error}"))),
            }
        }
    }

    /// Stops it now, as dropping does, and says how it ended. Blocks.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub fn stop(&self) -> io::Result<ExitStatus> {
        self.stop_with(self.stop_signal, self.grace)
    }

    /// Sends `signal`, and SIGKILL when that has not ended it within `grace`.
    pub(crate) fn stop_with(&self, signal: Signal, grace: Duration) -> io::Result<ExitStatus> {
        let until = Instant::now() + grace;
        if self.signal(signal).is_ok() {
            // One that is stopped (SIGSTOP) takes no signal before it goes on.
            let _ = self.signal(Signal::CONT);
        }
        loop {
            if let Some(status) = self.try_exit()? {
                return Ok(status);
            }
            if Instant::now() >= until {
                // Ends in the kernel: the next rounds only wait for the exit.
                let _ = self.signal(Signal::KILL);
            }
            thread::sleep(EXIT_POLL);
        }
    }

    /// Waits until what a child that has ended printed is read: its exit may be
    /// seen before its last lines. Not for long, as a grandchild may have its
    /// output still.
    pub(crate) async fn last_words(&self) {
        let _ = tokio::time::timeout(LAST_WORDS_WITHIN, self.output.ended()).await;
    }

    pub(crate) fn error(&self, what: impl Into<String>) -> WaitError {
        WaitError {
            label: self.label.clone(),
            what: what.into(),
            tail: self.output.tail(TAIL),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        // A panic while it was held leaves nothing half done.
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reaps it if it has exited, and ends what is left of its process group.
    fn reap(&self, running: &mut Running) -> io::Result<Option<ExitStatus>> {
        if running.status.is_some() {
            return Ok(running.status);
        }
        // NOWAIT first: while it is unreaped its pid, and with it the id of
        // the group, cannot go to anybody else.
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if waitid(WaitId::Pid(self.pid), look)?.is_none() {
            return Ok(None);
        }
        let _ = kill_process_group(self.pid, Signal::KILL);
        running.status = Some(running.child.wait()?);
        Ok(running.status)
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        // Nobody is left to tell; the pdeathsig is still armed.
        let _ = self.stop();
    }
}

/// `exit code 1`, `killed by signal 9`.
#[must_use]
pub fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => status.to_string(),
    }
}

#[cfg(test)]
mod tests;
