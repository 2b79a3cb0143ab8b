//! What runs, as `/proc` tells.

use std::{collections::BTreeMap, fs};

/// Whether a process of that number exists and is more than a dead one that
/// waits to be collected.
#[must_use]
pub fn is_running(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| !matches!(state, 'Z' | 'X'))
}

/// The children of a process, their children, and so on.
///
/// # Panics
///
/// Without `/proc`.
#[must_use]
pub fn descendants(of: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").expect("there is a /proc") {
        let name = entry.map(|entry| entry.file_name());
        let Some(pid) = name.ok().and_then(|name| name.to_str()?.parse().ok()) else {
            continue;
        };
        if let Some((_, parent)) = stat(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let (mut found, mut open) = (Vec::new(), vec![of]);
    while let Some(pid) = open.pop() {
        let of_it = children.remove(&pid).unwrap_or_default();
        found.extend(&of_it);
        open.extend(of_it);
    }
    found
}

/// State and parent.
fn stat(pid: u32) -> Option<(char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.next()?.parse().ok()?))
}
