//! The thread that forks.
//!
//! The kernel's "parent death signal" is sent when the *thread* that forked the
//! child ends, not its process. A blocking thread of tokio's pool ends after ten
//! idle seconds, a test's thread with the test: children forked there would be
//! shot at random. So one thread, which lives as long as the process, forks
//! them all.

use std::{
    io,
    process::{Child, Command},
    sync::{Mutex, OnceLock, PoisonError, mpsc},
    thread,
};

struct Job {
    command: Command,
    reply: mpsc::SyncSender<io::Result<Child>>,
}

/// Spawns `command` from the thread that never ends.
pub(super) fn spawn(command: Command) -> io::Result<Child> {
    static JOBS: OnceLock<Mutex<mpsc::Sender<Job>>> = OnceLock::new();
    let jobs = match JOBS.get() {
        Some(jobs) => jobs,
        None => {
            let started = start()?;
            // Two first callers may both start one; the loser's ends at once,
            // before it has forked anything.
            JOBS.get_or_init(|| Mutex::new(started))
        }
    };
    let gone = || io::Error::other("the thread that starts processes is gone");
    let (reply, answer) = mpsc::sync_channel(1);
    jobs.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .send(Job { command, reply })
        .map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

fn start() -> io::Result<mpsc::Sender<Job>> {
    let (sender, jobs) = mpsc::channel::<Job>();
    thread::Builder::new()
        .name("spawner".to_owned())
        .spawn(move || {
            for mut job in jobs {
                // The asker waits for the answer, so it is there to take it.
                let _ = job.reply.send(job.command.spawn());
            }
        })?;
    Ok(sender)
}
