//! Whether the process that wrote a snapshot still exists.

use std::{fs, time::Duration};

use jiff::{SignedDuration, Timestamp};
use rustix::{io::Errno, param, process};

/// A process is in the table a moment before it writes its first snapshot, and
/// the boot time in `/proc/stat` is rounded to seconds.
const SLACK: SignedDuration = SignedDuration::from_secs(2);

/// Whether `pid` is alive and may be the process that took a picture at
/// `taken_at`: one that started later has only been given the same number.
pub(crate) fn is_alive(pid: u32, taken_at: Timestamp) -> bool {
    let Some(id) = i32::try_from(pid).ok().and_then(process::Pid::from_raw) else {
        return false;
    };
    // Another user's process exists too: only "no such process" says it does not.
    if process::test_kill_process(id) == Err(Errno::SRCH) {
        return false;
    }
    // Where there is no /proc, the number is all there is to go by.
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return true;
    };
    match parse(&stat) {
        // Killed, but not yet collected by its parent.
        Some((b'Z' | b'X', _)) => false,
        Some((_, ticks)) => started_at(ticks).is_none_or(|start| start <= taken_at + SLACK),
        None => true,
    }
}

/// State and start (in clock ticks since boot) of a `/proc/PID/stat` line.
/// The name in parentheses may itself hold spaces and parentheses.
fn parse(stat: &str) -> Option<(u8, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    let start = fields.nth(18)?.parse().ok()?; // field 22 of the line
    Some((state, start))
}

fn started_at(ticks: u64) -> Option<Timestamp> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let boot = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    let boot = Timestamp::from_second(boot.trim().parse().ok()?).ok()?;
    let since_boot = ticks.checked_div(param::clock_ticks_per_second())?;
    boot.checked_add(Duration::from_secs(since_boot)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_its_number_in_an_older_picture_is_not() {
        let now = Timestamp::now();
        assert!(is_alive(std::process::id(), now));
        let long_ago = now - SignedDuration::from_hours(24 * 365);
        assert!(!is_alive(std::process::id(), long_ago));
    }

    #[test]
    fn a_killed_process_that_nobody_collected_is_dead() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        assert!(is_alive(child.id(), Timestamp::now()));
        child.kill().unwrap();
        let stat = format!("/proc/{}/stat", child.id());
        while !fs::read_to_string(&stat).unwrap().contains(") Z ") {
            std::thread::yield_now();
        }
        assert!(!is_alive(child.id(), Timestamp::now()));
        child.wait().unwrap();
        assert!(!is_alive(child.id(), Timestamp::now()));
    }

    #[test]
    fn numbers_that_no_process_has_are_dead() {
        assert!(!is_alive(0, Timestamp::now()));
        assert!(!is_alive(u32::MAX, Timestamp::now()));
    }

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let line = "7 (a) b (c) T 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20";
        assert_eq!(parse(line), Some((b'T', 4242)));
        assert_eq!(parse("garbage"), None);
    }
}
