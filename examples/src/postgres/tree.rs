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

/// Sends it to the server first, then to its children.
pub(super) fn signal(server: Pid, signal: Signal) {
    // One that is gone has no children either, and wants no signal.
    let _ = kill_process(server, signal);
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
    let children = children(server.pid());
    for child in &children {
        let _ = kill_process(*child, Signal::KILL);
    }
    let _ = server.stop_with(Signal::KILL, Duration::ZERO);
    let until = Instant::now() + Duration::from_secs(2);
    while Instant::now() < until && children.iter().any(|child| parent(*child).is_some()) {
        thread::sleep(Duration::from_millis(2));
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
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // `pid (name) state ppid …`, and the name may hold anything, `)` too.
    let mut rest = stat.rsplit_once(") ")?.1.split(' ');
    let state = rest.next()?;
    let parent = Pid::from_raw(rest.next()?.parse().ok()?);
    if state == "Z" { None } else { parent }
}
