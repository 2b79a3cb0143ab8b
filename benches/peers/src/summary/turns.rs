//! Rows whose members took turns, over the rounds of one run.

use std::path::PathBuf;

use serde_json::{Map, Value};

use super::{
    SummaryError,
    estimates::median,
    measured::{Measured, Ratio},
    read_json,
    rows::Row,
};

/// The reports of all rounds; none of rounds that have no such rows.
pub(super) fn reports(rounds: &[PathBuf]) -> Result<Vec<Map<String, Value>>, SummaryError> {
    let paths = rounds.iter().map(|round| round.join("turns.json"));
    paths
        .filter(|path| path.exists())
        .map(|path| read_json(&path))
        .collect()
}

/// The row, each number the median of its numbers in the rounds; `None` if it was not
/// measured.
pub(super) fn measured(reports: &[Map<String, Value>], row: &Row) -> Option<Measured> {
    let of = |path: &str| -> Vec<f64> {
        let rounds = reports.iter().filter_map(|report| report.get(row.name));
        let numbers = rounds.filter_map(|round| round.pointer(path)?.as_f64());
        numbers.collect()
    };
    let ratio = |path: &str| {
        let rounds = of(path);
        Some(Ratio {
            least: rounds.iter().copied().reduce(f64::min)?,
            most: rounds.iter().copied().reduce(f64::max)?,
            median: median(rounds)?,
        })
    };
    let peers = row.peers.iter();
    Some(Measured {
        ours: median(of("/ours"))?,
        floor: median(of("/floor")),
        peers: peers
            .filter_map(|peer| Some(((*peer).to_owned(), median(of(&format!("/peers/{peer}")))?)))
            .collect(),
        of_floor: ratio("/ratios/ours"),
        floor_of_floor: ratio("/ratios/floor"),
        processor_of_floor: ratio("/ratios/processor"),
        ..Measured::default()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::summary::{ROWS, Target};

    fn report(ours: f64, ratio: f64) -> Map<String, Value> {
        let row = json!({
            "ours": ours, "floor": 10.0, "peers": {"bb8": 30.0, "sqlx": null},
            "ratios": {"ours": ratio, "floor": 1.0, "processor": 1.05},
        });
        [("pool_checkout_64_on_8".to_owned(), row)]
            .into_iter()
            .collect()
    }

    #[test]
    fn a_row_in_turns_is_judged_by_the_ratio_of_turns_and_not_by_that_of_its_times() {
        let row = ROWS.iter().find(|row| row.name == "pool_checkout_64_on_8");
        let row = row.unwrap();
        // Somebody took the processors while the floor was measured, or while ours was.
        let rounds = [report(9.0, 1.02), report(30.0, 1.01), report(20.0, 1.05)];
        let measured = measured(&rounds, row).unwrap();
        assert_eq!((measured.ours, measured.floor), (20.0, Some(10.0)));
        assert_eq!(measured.peers, [("bb8".to_owned(), 30.0)].into());
        let ratio = measured.of_floor.unwrap();
        assert_eq!((ratio.least, ratio.median, ratio.most), (1.01, 1.02, 1.05));
        assert_eq!(Target::OfFloor(1.02).is_met(&measured), Some(true));
        assert_eq!(Target::OfFloor(1.01).is_met(&measured), Some(false));
    }

    #[test]
    fn a_row_that_no_round_has_is_none() {
        let row = &ROWS[0];
        assert_eq!(measured(&[report(1.0, 1.0)], row), None);
        assert_eq!(measured(&[], row), None);
    }
}
