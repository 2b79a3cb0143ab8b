//! How many instructions each count may have: what was recorded, and a little air.

/// One line a count: its name, and the instructions of 1,000 calls.
/// `scripts/instructions.sh record` writes it.
const RECORDED: &str = include_str!("../instructions.recorded");

/// Set while counts are recorded: there is no ceiling then.
const RECORDING: &str = "RECORD_INSTRUCTIONS";

/// Percent. A new compiler moves a count by an instruction or two a call.
const AIR: u64 = 5;

/// The ceiling of a count; `None` while counts are recorded.
///
/// # Panics
///
/// If nothing is recorded by that name.
#[must_use]
pub fn ceiling(name: &str) -> Option<u64> {
    if std::env::var_os(RECORDING).is_some() {
        return None;
    }
    let ceiling = recorded(RECORDED, name).map(with_air);
    assert!(
        ceiling.is_some(),
        "no count of {name} is recorded: run scripts/instructions.sh record"
    );
    ceiling
}

fn recorded(lines: &str, name: &str) -> Option<u64> {
    lines
        .lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(recorded, _)| *recorded == name)
        .and_then(|(_, count)| count.parse().ok())
}

const fn with_air(recorded: u64) -> u64 {
    recorded + recorded * AIR / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_found_by_its_whole_name() {
        let lines = "open 80000\ntower_open 90000\n";
        assert_eq!(recorded(lines, "open"), Some(80_000));
        assert_eq!(recorded(lines, "tower_open"), Some(90_000));
        assert_eq!(recorded(lines, "tower"), None);
    }

    #[test]
    fn a_ceiling_has_a_twentieth_of_air() {
        assert_eq!(with_air(100_000), 105_000);
    }
}
