//! Reading a configuration: a text, and variables over it.

use resilience_core::{
    config::{Config, ConfigErrors, Problem},
    snapshot::Setting,
};
use std::fmt::{self, Write};

/// Parts the text from the variables, which follow as in `/proc/self/environ`:
/// `NAME=value` with a NUL behind each.
const ENVIRONMENT: &[u8] = b"\n%environment\n";

/// What an error calls the text.
const NAME: &str = "config.yaml";

/// Reads `input` as a configuration.
///
/// # Panics
///
/// If a refusal does not say where and what, or if what was taken cannot be
/// shown, or is another when what was shown is read.
pub fn check(input: &[u8]) {
    let (text, variables) = parted(input);
    let first = Config::parse(NAME, text, variables.clone());
    match &first {
        Ok(config) => shows_itself(config),
        Err(errors) => says_where(errors),
    }
    // The same every time, or a reload would report what nobody changed.
    let second = Config::parse(NAME, text, variables);
    assert_eq!(second.err(), first.err());
}

fn parted(input: &[u8]) -> (&[u8], Vec<(String, String)>) {
    let length = ENVIRONMENT.len();
    let Some(at) = input.windows(length).position(|part| part == ENVIRONMENT) else {
        return (input, Vec::new());
    };
    let variables = input[at + length..].split(|&byte| byte == 0);
    let variables = variables.filter_map(|variable| {
        let variable = String::from_utf8_lossy(variable);
        let (name, value) = variable.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    });
    (&input[..at], variables.collect())
}

fn says_where(errors: &ConfigErrors) {
    let problems = errors.problems();
    assert!((1..=20).contains(&problems.len()));
    assert!(errors.total() >= problems.len());
    problems.iter().for_each(is_one_line_and_says_where);

    let rendered = errors.to_string();
    let heading = usize::from(problems.len() > 1);
    let more = usize::from(errors.total() > problems.len());
    assert_eq!(
        rendered.split('\n').count(),
        heading + problems.len() + more,
        "{rendered}"
    );
}

fn is_one_line_and_says_where(problem: &Problem) {
    let line = problem.to_string();
    assert!(!line.chars().any(char::is_control), "{line:?}");
    assert!(line.len() <= 2_000, "{line}");
    assert!(!problem.message.is_empty());
    let place = problem.at.strip_prefix(NAME).map(|rest| {
        rest.strip_prefix(':')
            .and_then(|rest| rest.split_once(':'))
            .is_some_and(|(line, column)| is_count(line) && is_count(column))
    });
    // Not a place in the text: then a variable.
    assert!(
        place.unwrap_or_else(|| problem.at.starts_with("APP__")),
        "{problem}"
    );
}

fn is_count(text: &str) -> bool {
    text.parse::<u32>().is_ok_and(|number| number > 0)
}

fn shows_itself(config: &Config) {
    let shown = written(config);
    let again =
        Config::parse(NAME, &shown, []).unwrap_or_else(|errors| panic!("{errors}\n{shown}"));
    let values = |config: &Config| -> Vec<(String, String)> {
        let settings = config.effective().into_iter();
        settings
            .map(|setting| (setting.key, setting.value))
            .collect()
    };
    assert_eq!(values(&again), values(config), "{shown}");
    assert_eq!(written(&again), shown);
    assert!(again.services().eq(config.services()), "{shown}");
    for name in config.services().chain(["not listed"]) {
        assert_eq!(again.breaker(name), config.breaker(name), "{shown}");
        assert_eq!(again.fallback(name), config.fallback(name), "{shown}");
        assert_eq!(config.breaker_settings(name).values.len(), 15);
    }
    assert_eq!(again.database(), config.database(), "{shown}");
    assert_eq!(again.ready(), config.ready(), "{shown}");
    assert_eq!(again.logging(), config.logging(), "{shown}");
}

/// The effective values as a file.
fn written(config: &Config) -> String {
    let mut top = Section::default();
    for name in config.services() {
        top.section(&["services", name]);
    }
    for Setting { key, value, .. } in config.effective() {
        top.set(&key, value);
    }
    top.to_string()
}

/// A section of a file, its keys in the order they were set.
#[derive(Default)]
struct Section {
    sections: Vec<(String, Self)>,
    values: Vec<(String, String)>,
}

impl Section {
    fn set(&mut self, key: &str, value: String) {
        let (path, key) = key.rsplit_once('.').expect("no value stands at the top");
        // The name of a service may have dots of its own.
        let parts: Vec<&str> = match path.strip_prefix("services.") {
            Some(service) => {
                let (name, section) = service.rsplit_once('.').expect("a service has sections");
                vec!["services", name, section]
            }
            None => path.split('.').collect(),
        };
        let section = self.section(&parts);
        section.values.push((key.to_owned(), value));
    }

    fn section(&mut self, path: &[&str]) -> &mut Self {
        let Some((first, rest)) = path.split_first() else {
            return self;
        };
        let known = self.sections.iter().position(|(name, _)| name == first);
        let index = known.unwrap_or_else(|| {
            self.sections.push(((*first).to_owned(), Self::default()));
            self.sections.len() - 1
        });
        self.sections[index].1.section(rest)
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('{')?;
        for (name, section) in &self.sections {
            write!(f, "\"{name}\": {section}, ")?;
        }
        // Values as they are shown: those who read them there write them so.
        for (key, value) in &self.values {
            write!(f, "{key}: {value}, ")?;
        }
        f.write_char('}')
    }
}
