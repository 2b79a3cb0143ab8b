//! Signals to a server and to each of its backends.
//!
//! Every backend makes itself the leader of a session of its own, so a signal
//! to the server's process group reaches none of them. Its children are found
//! by their parent instead. That is free of races while the server is stopped:
//! it makes no new ones then and reaps none, so no pid can change hands.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, kill_process};

use crate::process::{ChildProcess, Signal};

/// How long a process may take to stop, or to be gone.
const SOON: Duration = Duration::from_secs(2);
/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(2);

/// Sends it to the server first, then to its children. Blocks for some
/// milliseconds.
pub(super) fn signal(server: Pid, signal: Signal) {
    // One that is gone has no children either, and wants no signal.
    let _ = kill_process(server, signal);
    if signal == Signal::STOP {
        wait_until_stopped(server);
    }
    for child in children(server) {
        let _ = kill_process(child, signal);
    }
}

/// Ends the server and its children, and returns when all are gone: they hold
/// its port and its shared memory until then. Blocks for some milliseconds.
pub(super) fn kill(server: &ChildProcess) {
    if server.signal(Signal::STOP).is_err() {
        return; // it has ended; its children see that and follow
    }
    wait_until_stopped(server.pid());
    let children = children(server.pid());
    for child in &children {
        let _ = kill_process(*child, Signal::KILL);
    }
    let _ = server.stop_with(Signal::KILL, Duration::ZERO);
    wait_until(|| children.iter().all(|child| parent(*child).is_none()));
}

/// A signal is on its way for a moment, and the server may be in the middle of
/// a fork: that child would be missed by who looks too early.
fn wait_until_stopped(server: Pid) {
    wait_until(|| stat(server).is_none_or(|stat| stat.state == 'T'));
}

fn wait_until(condition: impl Fn() -> bool) {
    let until = Instant::now() + SOON;
    while !condition() && Instant::now() < until {
        thread::sleep(LOOK);
    }
}

fn children(server: Pid) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
        .filter(|pid| parent(*pid) == Some(server))
        .collect()
}

/// The parent of a process that lives; a zombie does not.
fn parent(pid: Pid) -> Option<Pid> {
    let Stat { state, parent } = stat(pid)?;
    if state == 'Z' { None } else { parent }
}

struct Stat {
    /// As `ps` shows it: `S` sleeps, `T` is stopped, `Z` is dead.
    state: char,
    parent: Option<Pid>,
}

fn stat(pid: Pid) -> Option<Stat> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // `pid (name) state ppid …`, and the name may hold anything, `)` too.
    let mut rest = stat.rsplit_once(") ")?.1.split(' ');
    Some(Stat {
        state: rest.next()?.chars().next()?,
        parent: Pid::from_raw(rest.next()?.parse().ok()?),
    })
}
