//! What was written, before it means anything: keys, values, and where each
//! of them stands.

use std::sync::Arc;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Nowhere: it is the built-in default.
    Default,
    /// In the file; both count from 1.
    File { line: usize, column: usize },
    /// In an environment variable of this name.
    Env(Arc<str>),
}

impl Origin {
    /// As shown with an effective value: `default`, `config.yaml:12`, or the variable's name.
    pub(super) fn label(&self, file_name: &str) -> String {
        match self {
            Self::Default => "default".to_owned(),
            Self::File { line, .. } => format!("{file_name}:{line}"),
            Self::Env(name) => name.to_string(),
        }
    }
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) origin: Origin,
    pub(super) value: Value,
}

/// What a key can hold.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// A single value, as written. Whether it was quoted makes no difference:
    /// the key decides the type, and Helm templates quote everything.
    Scalar(String),
    /// Keys in file order, each once.
    Map(Vec<Entry>),
    /// A list. No key of ours takes one, so what is in it is not kept.
    List,
}

/// A key with its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    /// Where the key stands, which is not always where its value does.
    pub(super) origin: Origin,
    pub(super) node: Node,
}

impl Node {
    /// A section without keys, made by nobody.
    pub(super) fn empty() -> Self {
        Self {
            origin: Origin::Default,
            value: Value::Map(Vec::new()),
        }
    }

    /// The keys of a section; an empty section has none, anything else is no section.
    pub(super) fn entries(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            Value::Null => Some(&[]),
            Value::Scalar(_) | Value::List => None,
        }
    }

    /// How many nodes this is, itself included.
    pub(super) fn count(&self) -> usize {
        1 + match &self.value {
            Value::Map(entries) => entries.iter().map(|entry| entry.node.count()).sum(),
            _ => 0,
        }
    }

    /// How many levels this is, itself included.
    pub(super) fn height(&self) -> usize {
        1 + match &self.value {
            Value::Map(entries) => entries
                .iter()
                .map(|entry| entry.node.height())
                .max()
                .unwrap_or(0),
            _ => 0,
        }
    }
}
