//! Environment variables laid over the tree of the file.

use std::sync::Arc;

use super::{
    error::{Problems, quoted, quoted_name},
    tree::{Entry, Node, Origin, Value},
};

/// Most levels a variable may name; the schema needs five.
const MAX_DEPTH: usize = 16;

/// Splits `APP__DATABASE__POOL_SIZE` in `database` and `pool_size`; `None` if
/// the name does not start with the prefix and `__`.
fn path(prefix: &str, name: &str) -> Option<Vec<String>> {
    let rest = name.strip_prefix(prefix)?.strip_prefix("__")?;
    Some(rest.split("__").map(str::to_ascii_lowercase).collect())
}

/// Whether a variable is meant for us.
pub(super) fn is_ours(prefix: &str, name: &str) -> bool {
    path(prefix, name).is_some()
}

/// Lays the variables over `tree`; those that do not fit go to `problems`.
pub(super) fn overlay(
    tree: &mut Node,
    prefix: &str,
    variables: &[(String, String)],
    problems: &mut Problems,
) {
    // By name, so that the same environment gives the same answer every time.
    let mut sorted: Vec<_> = variables.iter().collect();
    sorted.sort();
    for (name, value) in sorted {
        let Some(path) = path(prefix, name) else {
            continue;
        };
        let origin = Origin::Env(Arc::from(name.as_str()));
        if path.len() > MAX_DEPTH || path.iter().any(String::is_empty) {
            problems.add(
                &origin,
                format!("names no key; variables are named like `{prefix}__DATABASE__POOL_SIZE`"),
            );
            continue;
        }
        if let Err(message) = set(tree, &path, &path.join("."), value, &origin) {
            problems.add_for(&origin, &quoted(&path.join(".")), None, message);
        }
    }
}

fn set(
    node: &mut Node,
    path: &[String],
    full: &str,
    value: &str,
    origin: &Origin,
) -> Result<(), String> {
    let Some((key, rest)) = path.split_first() else {
        if let (Origin::Env(other), Value::Scalar(_) | Value::Map(_)) = (&node.origin, &node.value)
        {
            return Err(format!(
                "`{}` is already set by {}; keep one",
                quoted(full),
                quoted_name(other)
            ));
        }
        *node = Node {
            origin: origin.clone(),
            value: Value::Scalar(value.to_owned()),
        };
        return Ok(());
    };
    let entries = match &mut node.value {
        Value::Map(entries) => entries,
        // A section that the file leaves empty, or that is new.
        value @ Value::Null => {
            *value = Value::Map(Vec::new());
            match value {
                Value::Map(entries) => entries,
                _ => return Ok(()),
            }
        }
        Value::Scalar(_) | Value::List => {
            return Err(format!(
                "cannot set `{}`: what it stands in is a value, not a section",
                quoted(full)
            ));
        }
    };
    let index = match find(entries, key)? {
        Some(index) => index,
        None => {
            entries.push(Entry {
                key: key.clone(),
                origin: origin.clone(),
                node: Node {
                    origin: origin.clone(),
                    value: Value::Null,
                },
            });
            entries.len() - 1
        }
    };
    set(&mut entries[index].node, rest, full, value, origin)
}

/// The file's key that a part of a variable's name means: the very same one,
/// else the only one that differs in case, `-` and `.`, which the names of
/// variables cannot express.
fn find(entries: &[Entry], part: &str) -> Result<Option<usize>, String> {
    if let Some(index) = entries.iter().position(|entry| entry.key == part) {
        return Ok(Some(index));
    }
    let mut alike = entries
        .iter()
        .enumerate()
        .filter(|(_, entry)| folded(&entry.key) == part)
        .map(|(index, _)| index);
    let first = alike.next();
    if alike.next().is_some() {
        return Err(format!(
            "`{}` could mean more than one key of the file, which differ in case or in `-`, `.` and `_` only",
            quoted(part)
        ));
    }
    Ok(first)
}

fn folded(key: &str) -> String {
    key.to_ascii_lowercase().replace(['-', '.'], "_")
}
