//! Prometheus' text format, read as far as these tests need it.

use std::collections::BTreeMap;

/// The samples of one scrape.
#[derive(Clone, Debug)]
pub struct Metrics {
    samples: Vec<Sample>,
}

#[derive(Clone, Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Metrics {
    /// Reads a scrape.
    ///
    /// # Panics
    ///
    /// On a line that is no sample, and on a series that is there twice.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.is_empty());
        let samples: Vec<Sample> = lines
            .filter(|line| !line.starts_with('#'))
            .map(|line| sample(line).unwrap_or_else(|| panic!("not a sample: {line}")))
            .collect();
        for (index, one) in samples.iter().enumerate() {
            let twice = samples[..index]
                .iter()
                .any(|other| other.name == one.name && other.labels == one.labels);
            assert!(!twice, "twice in one scrape: {one:?}");
        }
        Self { samples }
    }

    /// The value of the one series of that name with these labels and no
    /// others; `None` if there is none.
    #[must_use]
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        self.samples
            .iter()
            .find(|sample| {
                sample.name == name
                    && sample.labels.len() == labels.len()
                    && labels
                        .iter()
                        .all(|(key, value)| sample.labels.get(*key).is_some_and(|v| v == value))
            })
            .map(|sample| sample.value)
    }

    /// How many series there are of that name.
    #[must_use]
    pub fn count(&self, name: &str) -> usize {
        let of = self.samples.iter().filter(|sample| sample.name == name);
        of.count()
    }

    /// All that must never go back: counters and the parts of histograms, by
    /// `name{key="value",…}`, keys in order.
    #[must_use]
    pub fn counters(&self) -> BTreeMap<String, f64> {
        let parts = ["_total", "_bucket", "_count", "_sum"];
        let only_grow = |sample: &&Sample| parts.iter().any(|part| sample.name.ends_with(part));
        let named = |sample: &Sample| {
            let labels = sample.labels.iter();
            let labels: Vec<_> = labels
                .map(|(key, value)| format!("{key}={value:?}"))
                .collect();
            (
                format!("{}{{{}}}", sample.name, labels.join(",")),
                sample.value,
            )
        };
        self.samples.iter().filter(only_grow).map(named).collect()
    }

    /// The sum over all series of that name that have these labels, and
    /// perhaps others.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.samples
            .iter()
            .filter(|sample| sample.name == name)
            .filter(|sample| {
                labels
                    .iter()
                    .all(|(key, value)| sample.labels.get(*key).is_some_and(|v| v == value))
            })
            .map(|sample| sample.value)
            .sum()
    }
}

/// `name{key="value",…} 1`.
fn sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, mut rest) = match series.split_once('{') {
        Some((name, rest)) => (name, rest.strip_suffix('}')?),
        None => (series, ""),
    };
    let mut labels = BTreeMap::new();
    while !rest.is_empty() {
        let (key, after) = rest.split_once("=\"")?;
        let (text, after) = quoted(after)?;
        labels.insert(key.to_owned(), text);
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    Some(Sample {
        name: name.to_owned(),
        labels,
        value: value.parse().ok()?,
    })
}

/// The text up to the closing quote, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match letters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_found_by_all_their_labels() {
        let text = "# HELP a b\na{x=\"1\",y=\"q\\\"{, \"} 2\na{x=\"1\"} 3\nb 1e3\n\n";
        let metrics = Metrics::read(text);
        assert_eq!(
            metrics.value("a", &[("y", "q\"{, "), ("x", "1")]),
            Some(2.0)
        );
        assert_eq!(metrics.value("a", &[("x", "1")]), Some(3.0));
        assert_eq!(metrics.value("a", &[]), None);
        assert_eq!(metrics.value("b", &[]), Some(1000.0));
        assert_eq!(metrics.sum("a", &[("x", "1")]), 5.0);
    }
}
