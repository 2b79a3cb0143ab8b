//! criterion's estimates, over the rounds of one run.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{
    SummaryError,
    measured::{Measured, Members},
    read_json,
    rows::Row,
};

/// The part of criterion's `estimates.json` that is of use here.
#[derive(Deserialize)]
struct Estimates {
    median: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    point_estimate: f64,
}

/// The rounds of a run, each a home of criterion's.
///
/// # Errors
///
/// [`SummaryError`] if the directory cannot be read.
pub fn rounds(directory: &Path) -> Result<Vec<PathBuf>, SummaryError> {
    let mut rounds: Vec<_> = directories(directory)?
        .into_iter()
        .filter(|(name, _)| name.starts_with("round-"))
        .map(|(_, path)| path)
        .collect();
    rounds.sort();
    Ok(rounds)
}

/// The row's members, each the median of its medians in the rounds; `None` if the
/// row was not measured.
pub(super) fn measured(rounds: &[PathBuf], row: &Row) -> Result<Option<Measured>, SummaryError> {
    let mut all = std::collections::BTreeMap::<String, Vec<f64>>::new();
    for round in rounds {
        let group = round.join(row.name);
        if !group.exists() {
            continue;
        }
        for (member, path) in directories(&group)? {
            let path = path.join("new/estimates.json");
            // criterion keeps a `report` beside the members.
            if path.exists() {
                let estimates: Estimates = read_json(&path)?;
                all.entry(member)
                    .or_default()
                    .push(estimates.median.point_estimate);
            }
        }
    }
    let members: Members = all
        .into_iter()
        .filter_map(|(name, numbers)| Some((name, median(numbers)?)))
        .collect();
    Ok(Measured::from_members(row, &members))
}

pub(super) fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    let upper = *numbers.get(middle)?;
    Some(if numbers.len() % 2 == 1 {
        upper
    } else {
        (numbers[middle - 1] + upper) / 2.0
    })
}

fn directories(within: &Path) -> Result<Vec<(String, PathBuf)>, SummaryError> {
    let io = |source| SummaryError::Io {
        path: within.to_owned(),
        source,
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(within).map_err(io)? {
        let entry = entry.map_err(io)?;
        if entry.file_type().map_err(io)?.is_dir()
            && let Ok(name) = entry.file_name().into_string()
        {
            found.push((name, entry.path()));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::ROWS;

    #[test]
    fn a_median_is_the_middle_or_the_mean_of_the_two_middles() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn a_member_is_the_median_of_its_rounds() {
        let directory = tempfile::tempdir().unwrap();
        for (round, ns) in [("round-1", 5.0), ("round-2", 90.0), ("round-3", 7.0)] {
            let member = directory.path().join(round).join("open_1t/ours/new");
            fs::create_dir_all(&member).unwrap();
            let estimates = format!(r#"{{"median": {{"point_estimate": {ns}}}, "mean": {{}}}}"#);
            fs::write(member.join("estimates.json"), estimates).unwrap();
            fs::create_dir_all(directory.path().join(round).join("open_1t/report")).unwrap();
        }
        let rounds = rounds(directory.path()).unwrap();
        assert_eq!(rounds.len(), 3);
        let find = |name| ROWS.iter().find(|row| row.name == name).unwrap();
        let open = measured(&rounds, find("open_1t")).unwrap().unwrap();
        assert_eq!(open.ours, 7.0);
        assert_eq!(measured(&rounds, find("closed_time_1t")).unwrap(), None);
    }
}
