//! What is measured, and what is hoped of it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// One figure of all pools.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    pub(crate) name: String,
    /// What ours may be at most.
    pub(crate) target: f64,
    /// By pool; `None` where it has no such thing, or gave no answer.
    pub(crate) values: BTreeMap<&'static str, Option<f64>>,
}

/// All figures, in the order in which they were first written down.
#[derive(Debug, Default)]
pub(crate) struct Figures(Vec<Figure>);

pub(crate) const OURS: &str = "ours";

impl Figure {
    /// Whether ours meets the target; what it does not have it does not meet.
    pub(crate) fn is_met(&self) -> bool {
        let ours = self.values.get(OURS).copied().flatten();
        ours.is_some_and(|ours| ours <= self.target)
    }
}

impl Figures {
    /// Writes down what `subject` did.
    pub(crate) fn note(
        &mut self,
        name: impl Into<String>,
        target: f64,
        subject: &'static str,
        value: Option<f64>,
    ) {
        let name = name.into();
        let known = self.0.iter().position(|figure| figure.name == name);
        let at = known.unwrap_or_else(|| {
            self.0.push(Figure {
                name,
                target,
                values: BTreeMap::new(),
            });
            self.0.len() - 1
        });
        self.0[at].values.insert(subject, value);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Figure> {
        self.0.iter()
    }

    /// `{"figure": {"ours", "target", "met", "peers": {…}}}`; `null` where a pool
    /// has no such thing.
    pub(crate) fn json(&self) -> Value {
        let figure = |figure: &Figure| {
            let peers = figure.values.iter().filter(|(name, _)| **name != OURS);
            let peers: Map<_, _> = peers
                .map(|(name, value)| ((*name).to_owned(), json!(value)))
                .collect();
            json!({
                "ours": figure.values.get(OURS).copied().flatten(),
                "target": figure.target,
                "met": figure.is_met(),
                "peers": peers,
            })
        };
        let object: Map<_, _> = self
            .iter()
            .map(|one| (one.name.clone(), figure(one)))
            .collect();
        Value::Object(object)
    }

    /// One line a figure, in columns.
    pub(crate) fn table(&self, subjects: &[&'static str]) -> String {
        let mut lines = vec![heading(subjects)];
        lines.extend(self.iter().map(|figure| line(figure, subjects)));
        aligned(&lines)
    }
}

fn heading(subjects: &[&'static str]) -> Vec<String> {
    let mut cells = vec!["figure".to_owned(), "target".to_owned()];
    cells.extend(subjects.iter().map(|&name| name.to_owned()));
    cells.push("met".to_owned());
    cells
}

fn line(figure: &Figure, subjects: &[&'static str]) -> Vec<String> {
    let mut cells = vec![figure.name.clone(), format!("≤ {}", number(figure.target))];
    for name in subjects {
        let value = figure.values.get(name).copied().flatten();
        cells.push(value.map_or_else(|| "n/a".to_owned(), number));
    }
    let met = match figure.values.contains_key(OURS) {
        true if figure.is_met() => "yes",
        true => "NO",
        false => "",
    };
    cells.push(met.to_owned());
    cells
}

/// Whole numbers as such, others with one digit.
fn number(value: f64) -> String {
    if value.fract() == 0.0 || value >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.1}")
    }
}

/// The first column to the left, the others to the right.
fn aligned(lines: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let mut text = String::new();
    for line in lines {
        for (column, cell) in line.iter().enumerate() {
            let width = width(column);
            text += &match column {
                0 => format!("{cell:<width$}"),
                _ => format!("  {cell:>width$}"),
            };
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Figures {
        let mut figures = Figures::default();
        figures.note("dials", 45.0, OURS, Some(45.0));
        figures.note("lost", 0.0, OURS, Some(1.0));
        figures.note("resized", 0.0, OURS, None);
        figures.note("dials", 45.0, "bb8", Some(123.4));
        figures.note("lost", 0.0, "bb8", None);
        figures
    }

    #[test]
    fn the_bound_itself_is_met_and_what_is_not_there_is_not() {
        let met: Vec<bool> = figures().iter().map(Figure::is_met).collect();
        assert_eq!(met, [true, false, false]);
    }

    #[test]
    fn the_summary_holds_ours_the_target_and_the_peers() {
        assert_eq!(
            figures().json(),
            json!({
                "dials": {"ours": 45.0, "target": 45.0, "met": true, "peers": {"bb8": 123.4}},
                "lost": {"ours": 1.0, "target": 0.0, "met": false, "peers": {"bb8": null}},
                "resized": {"ours": null, "target": 0.0, "met": false, "peers": {}},
            })
        );
    }

    #[test]
    fn the_table_has_a_column_a_pool_and_says_where_there_is_nothing() {
        let expected = "\
figure   target  ours  bb8  met
dials      ≤ 45    45  123  yes
lost        ≤ 0     1  n/a   NO
resized     ≤ 0   n/a  n/a   NO
";
        assert_eq!(figures().table(&[OURS, "bb8"]), expected);
    }
}
