//! The summary as a table of text.

use super::{
    measured::{Measured, Ratio},
    rows::{Row, SCALE, Unit},
    targets::Target,
};

/// One line a row, below a heading for each kind of peers, and at the end what
/// stands beside the rows for scale.
#[must_use]
pub fn table(rows: &[(&Row, Measured)]) -> String {
    let mut kinds: Vec<&[&str]> = Vec::new();
    for (row, _) in rows {
        if !kinds.contains(&row.peers) {
            kinds.push(row.peers);
        }
    }
    let mut text = String::new();
    for peers in kinds {
        let mut lines = vec![heading(peers)];
        let of_the_kind = rows.iter().filter(|(row, _)| row.peers == peers);
        lines.extend(of_the_kind.map(|(row, measured)| line(row, measured)));
        text += &aligned(&lines);
        text.push('\n');
    }
    for (row, measured) in rows {
        for note in notes(measured) {
            text.push_str(&format!("{}: {note}\n", row.name));
        }
    }
    text
}

fn heading(peers: &[&str]) -> Vec<String> {
    let before = [
        "row",
        "ours",
        "floor",
        "ours/floor",
        "best peer",
        "ours/best",
    ];
    let after = ["met", "targets"];
    before
        .iter()
        .chain(peers)
        .chain(&after)
        .map(|&column| column.to_owned())
        .collect()
}

fn line(row: &Row, measured: &Measured) -> Vec<String> {
    let shown = |value: Option<f64>| value.map_or_else(nothing, |value| number(row.unit, value));
    let best = measured.best_peer();
    let mut cells = vec![
        row.name.to_owned(),
        number(row.unit, measured.ours),
        shown(measured.floor),
        measured.ours_of_floor().map_or_else(nothing, two_places),
        best.map_or_else(nothing, |(name, _)| name.to_owned()),
        ratio(measured.ours, best.map(|(_, value)| value)),
    ];
    let peers = row.peers.iter();
    cells.extend(peers.map(|&peer| shown(measured.peers.get(peer).copied())));
    cells.push(met(row.targets, measured).to_owned());
    cells.push(targets(row.targets, measured));
    cells
}

/// The worst of a row's targets.
fn met(targets: &[Target], measured: &Measured) -> &'static str {
    let verdicts: Vec<_> = targets
        .iter()
        .map(|target| target.is_met(measured))
        .collect();
    if verdicts.contains(&Some(false)) {
        "NO"
    } else if verdicts.is_empty() || verdicts.contains(&None) {
        "–"
    } else {
        "yes"
    }
}

fn targets(targets: &[Target], measured: &Measured) -> String {
    let one = |target: &Target| match target.is_met(measured) {
        Some(true) => target.to_string(),
        Some(false) => format!("{target} (NO)"),
        None => format!("{target} (not measured)"),
    };
    targets.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn notes(measured: &Measured) -> Vec<String> {
    let mut notes = Vec::new();
    let scale: Vec<_> = SCALE
        .iter()
        .filter_map(|&name| Some(format!("{name} {:.1}", measured.scale.get(name)?)))
        .collect();
    if !scale.is_empty() {
        notes.push(format!("tower's own, for scale: {}", scale.join(", ")));
    }
    if let Some(bare) = measured.bare {
        notes.push(format!("the bare service, taken off: {bare:.1}"));
    }
    let over_rounds =
        |Ratio {
             median,
             least,
             most,
         }: Ratio| { format!("{median:.3} (rounds: {least:.3} to {most:.3})") };
    for (what, ratio) in [
        ("in turns, ours over the floor", measured.of_floor),
        ("the floor over itself", measured.floor_of_floor),
        (
            "processor time over that of the floor",
            measured.processor_of_floor,
        ),
    ] {
        notes.extend(ratio.map(|ratio| format!("{what}: {}", over_rounds(ratio))));
    }
    let scaling: Vec<_> = measured
        .one_thread
        .keys()
        .filter_map(|name| Some(format!("{name} {:.2}", measured.scaling(name)?)))
        .collect();
    if !scaling.is_empty() {
        notes.push(format!(
            "throughput of two threads over that of one: {}",
            scaling.join(", ")
        ));
    }
    notes
}

fn number(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Ns => format!("{value:.1}"),
        Unit::Allocations | Unit::Ratio => format!("{value:.2}"),
        Unit::Bytes | Unit::Calls => format!("{value:.0}"),
    }
}

fn ratio(ours: f64, other: Option<f64>) -> String {
    other
        .filter(|&other| other > 0.0)
        .map_or_else(nothing, |other| two_places(ours / other))
}

fn two_places(ratio: f64) -> String {
    format!("{ratio:.2}")
}

fn nothing() -> String {
    "–".to_owned()
}

/// Columns as wide as their widest cell, two spaces between them.
fn aligned(lines: &[Vec<String>]) -> String {
    let mut widths = Vec::<usize>::new();
    for line in lines {
        widths.resize(widths.len().max(line.len()), 0);
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for line in lines {
        let padded: Vec<_> = line
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell:width$}"))
            .collect();
        text.push_str(padded.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::ROWS;

    fn rendered(row: &str, members: &[(&str, f64)]) -> String {
        let row = ROWS.iter().find(|one| one.name == row).unwrap();
        let members = members
            .iter()
            .map(|&(name, ns)| (name.to_owned(), ns))
            .collect();
        table(&[(row, Measured::from_members(row, &members).unwrap())])
    }

    #[test]
    fn a_row_says_how_far_from_the_floor_and_from_the_best_peer_it_is() {
        let text = rendered(
            "closed_count_1t",
            &[
                ("ours", 5.0),
                ("floor", 2.5),
                ("recloser", 10.0),
                ("failsafe", 70.0),
            ],
        );
        let line: Vec<_> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(
            line[..8],
            [
                "closed_count_1t",
                "5.0",
                "2.5",
                "2.00",
                "recloser",
                "0.50",
                "70.0",
                "10.0"
            ]
        );
        assert!(text.contains("yes  ≤ 3 × floor, < recloser\n"));
    }

    #[test]
    fn pools_have_a_heading_of_their_own() {
        let find = |name| ROWS.iter().find(|row| row.name == name).unwrap();
        let of = |name| {
            let row = find(name);
            let members = [("ours".to_owned(), 5.0), ("bb8".to_owned(), 9.0)].into();
            (row, Measured::from_members(row, &members).unwrap())
        };
        let text = table(&[of("open_1t"), of("pool_checkout_1t"), of("bytes")]);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].contains("failsafe") && !lines[0].contains("bb8"));
        assert!(lines[2].starts_with("bytes"), "{text}");
        assert!(lines[4].contains("sqlx") && !lines[4].contains("failsafe"));
        assert!(lines[5].contains("9.0"), "{text}");
    }

    #[test]
    fn a_missed_target_is_named_and_makes_the_row_missed() {
        let text = rendered(
            "closed_count_1t",
            &[("ours", 9.0), ("floor", 2.5), ("recloser", 10.0)],
        );
        assert!(
            text.contains("NO   ≤ 3 × floor (NO), < recloser\n"),
            "{text}"
        );
    }

    #[test]
    fn a_target_that_cannot_be_judged_is_not_met() {
        let text = rendered("closed_count_1t", &[("ours", 5.0), ("floor", 2.5)]);
        assert!(
            text.contains("–    ≤ 3 × floor, < recloser (not measured)\n"),
            "{text}"
        );
    }
}
