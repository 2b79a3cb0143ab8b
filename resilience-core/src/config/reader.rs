//! From the tree to typed values, with every problem on the way noted.
//!
//! A value that is wrong is noted and its default taken, so that reading goes
//! on and one run finds all that is wrong; the caller learns of the problems
//! at the end and never sees those defaults.

use super::{
    error::{ConfigErrors, Problems, quoted},
    schema,
    tree::{Entry, Node, Origin, Value},
    value::{Misread, Readable},
};
use crate::snapshot::Setting;

/// A value and where it came from.
#[derive(Clone, Debug)]
pub(super) struct Sourced<T> {
    pub(super) value: T,
    pub(super) origin: Origin,
}

impl<T> Sourced<T> {
    /// The built-in default.
    pub(super) fn default(value: T) -> Self {
        Self {
            value,
            origin: Origin::Default,
        }
    }
}

impl<T: Readable> Sourced<T> {
    /// As shown among the effective values.
    pub(super) fn setting(&self, key: String, file_name: &str) -> Setting {
        Setting {
            key,
            value: self.value.show(),
            origin: self.origin.label(file_name),
        }
    }
}

/// What a value must be, in words and as a test.
pub(super) struct Allowed<F> {
    pub(super) text: String,
    pub(super) inside: F,
}

/// A section of the tree; one that is not there has no keys.
#[derive(Clone, Debug)]
pub(super) struct Section<'t> {
    path: String,
    entries: &'t [Entry],
    /// Only what is written here is an effective value of this section; the
    /// rest it inherits.
    overrides: bool,
}

impl<'t> Section<'t> {
    /// The same, as one that overrides another, and so are those in it.
    pub(super) fn overriding(self) -> Self {
        Self {
            overrides: true,
            ..self
        }
    }

    pub(super) fn entries(&self) -> &'t [Entry] {
        self.entries
    }

    pub(super) fn node(&self, key: &str) -> Option<&'t Node> {
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        Some(&entry.node)
    }

    /// The full key of `key` in this section.
    pub(super) fn full(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }
}

/// Reads sections and values; collects problems and effective values.
#[derive(Debug)]
pub(super) struct Reader {
    /// Shown with effective values: the file's name without its folders.
    file_name: String,
    problems: Problems,
    settings: Vec<Setting>,
    explicit: Vec<String>,
}

/// What a [`Reader`] has gathered when it is done.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) file_name: String,
    /// Effective values in the order they were read.
    pub(super) settings: Vec<Setting>,
    /// Full keys of what was written, in file or environment.
    pub(super) explicit: Vec<String>,
}

impl Reader {
    pub(super) fn new(file_name: &str, problems: Problems) -> Self {
        Self {
            file_name: file_name.to_owned(),
            problems,
            settings: Vec::new(),
            explicit: Vec::new(),
        }
    }

    pub(super) fn finish(self) -> Result<Gathered, ConfigErrors> {
        self.problems.into_result()?;
        Ok(Gathered {
            file_name: self.file_name,
            settings: self.settings,
            explicit: self.explicit,
        })
    }

    /// The whole tree as a section.
    pub(super) fn top<'t>(&mut self, tree: &'t Node) -> Section<'t> {
        let mut top = Section {
            path: String::new(),
            entries: &[],
            overrides: false,
        };
        match tree.entries() {
            Some(entries) => {
                top.entries = entries;
                self.refuse_unknown(&top, schema::TOP);
            }
            None => self.problems.add(
                &tree.origin,
                format!(
                    "the file holds {}, expected sections: {}",
                    describe(tree),
                    schema::TOP.join(", ")
                ),
            ),
        }
        top
    }

    /// The section `key` of `parent`, which has the keys `known`.
    pub(super) fn section<'t>(
        &mut self,
        parent: &Section<'t>,
        key: &str,
        known: &[&str],
    ) -> Section<'t> {
        let section = self.open_section(parent, key, &format!("the keys {}", known.join(", ")));
        self.refuse_unknown(&section, known);
        section
    }

    /// The section `key` of `parent`, whose keys are names that people choose.
    pub(super) fn open_section<'t>(
        &mut self,
        parent: &Section<'t>,
        key: &str,
        holds: &str,
    ) -> Section<'t> {
        let mut section = Section {
            path: parent.full(key),
            entries: &[],
            overrides: parent.overrides,
        };
        if let Some(node) = parent.node(key) {
            match node.entries() {
                Some(entries) => section.entries = entries,
                None => {
                    let allowed = format!("a section with {holds}");
                    self.wrong(&section.path, node, None, &allowed);
                }
            }
        }
        section
    }

    /// The value of `key`, or `base` if it is not written here.
    pub(super) fn value<T: Readable>(
        &mut self,
        section: &Section<'_>,
        key: &str,
        base: &Sourced<T>,
        allowed: &Allowed<impl Fn(&T) -> bool>,
    ) -> Sourced<T> {
        let read = self.written(section, key, allowed);
        self.note(section, key, read, base)
    }

    /// The value of `key`, or `None` if it is not written here or wrong.
    pub(super) fn written<T: Readable>(
        &mut self,
        section: &Section<'_>,
        key: &str,
        allowed: &Allowed<impl Fn(&T) -> bool>,
    ) -> Option<Sourced<T>> {
        let node = section.node(key)?;
        let full = section.full(key);
        let Value::Scalar(text) = &node.value else {
            self.wrong(&full, node, None, &allowed.text);
            return None;
        };
        match T::read(text.trim()) {
            Ok(value) if (allowed.inside)(&value) => Some(Sourced {
                value,
                origin: node.origin.clone(),
            }),
            Ok(_) | Err(Misread::Other) if T::SECRET => {
                let key = quoted(&full);
                let message = format!(
                    "`{key}` is wrong (not shown, it may hold a password), allowed: {}",
                    allowed.text
                );
                self.problems.add_for(&node.origin, &key, None, message);
                None
            }
            Ok(_) | Err(Misread::Other) => {
                self.wrong(&full, node, None, &allowed.text);
                None
            }
            Err(Misread::NoUnit(examples)) => {
                let allowed = format!("{}; such as {examples}", allowed.text);
                self.wrong(&full, node, Some("a number without a unit"), &allowed);
                None
            }
        }
    }

    /// Enters a value in the list of effective ones.
    pub(super) fn note<T: Readable>(
        &mut self,
        section: &Section<'_>,
        key: &str,
        written: Option<Sourced<T>>,
        base: &Sourced<T>,
    ) -> Sourced<T> {
        let is_written = written.is_some();
        let value = written.unwrap_or_else(|| base.clone());
        let full = section.full(key);
        if is_written {
            self.explicit.push(full.clone());
        }
        if is_written || !section.overrides {
            self.settings.push(value.setting(full, &self.file_name));
        }
        value
    }

    /// Enters a value that has no default; to be called only if it is written.
    pub(super) fn note_optional<T: Readable>(
        &mut self,
        section: &Section<'_>,
        key: &str,
        written: Sourced<T>,
    ) -> T {
        self.note(section, key, Some(written.clone()), &written)
            .value
    }

    /// `` `database.pool_size` is `0`, allowed: 1 to 10000 ``
    pub(super) fn wrong(&mut self, key: &str, node: &Node, why: Option<&str>, allowed: &str) {
        let given = describe(node);
        let why = why.map(|why| format!(", {why}")).unwrap_or_default();
        let key = quoted(key);
        let message = match node.value {
            Value::Null => format!("`{key}` has no value, allowed: {allowed}"),
            _ => format!("`{key}` is {given}{why}, allowed: {allowed}"),
        };
        let given = match &node.value {
            Value::Scalar(text) => quoted(text),
            _ => given,
        };
        self.problems
            .add_for(&node.origin, &key, Some(given), message);
    }

    /// Notes a value that does not go with another.
    pub(super) fn conflict(&mut self, key: &str, origin: &Origin, given: String, allowed: &str) {
        let message = format!("`{}` is `{given}`, allowed: {allowed}", quoted(key));
        self.problems
            .add_for(origin, &quoted(key), Some(given), message);
    }

    /// Notes a name that may not be given.
    pub(super) fn bad_name(&mut self, entry: &Entry, key: &str, message: String) {
        self.problems
            .add_for(&entry.origin, &quoted(key), None, message);
    }

    pub(super) fn file_name(&self) -> &str {
        &self.file_name
    }

    fn refuse_unknown(&mut self, section: &Section<'_>, known: &[&str]) {
        for entry in section.entries {
            if known.contains(&entry.key.as_str()) {
                continue;
            }
            // Without the value: somebody may have put a password here.
            let key = quoted(&section.full(&entry.key));
            let advice = schema::advice(&entry.key, known);
            let message = format!("unknown key `{key}`, {advice}");
            self.problems.add_for(&entry.origin, &key, None, message);
        }
    }
}

fn describe(node: &Node) -> String {
    match &node.value {
        Value::Null => "nothing".to_owned(),
        Value::Scalar(text) if text.is_empty() => "empty".to_owned(),
        Value::Scalar(text) => format!("`{}`", quoted(text)),
        Value::Map(_) => "a section".to_owned(),
        Value::List => "a list".to_owned(),
    }
}
