//! YAML text to a tree.
//!
//! Built from the parser's events and not with the parser's own loader: the
//! loader recurses as deep as the text nests, so a megabyte of `- - - -` ends
//! the process; it stops at the first duplicate key, where a person wants to
//! hear of all; and it forgets where keys stand.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};

use super::{
    error::{Problems, quoted},
    tree::{Entry, Node, Origin, Value},
};

/// Largest file taken, in bytes.
pub(super) const MAX_BYTES: usize = 1 << 20;
/// Deepest nesting taken; the schema needs five levels.
const MAX_DEPTH: usize = 16;
/// Most nodes taken, what aliases repeat included.
const MAX_NODES: usize = 100_000;

/// Parses bytes that were read from a file.
///
/// `None` if what is wrong leaves nothing to read on; the reason is then in
/// `problems`. A duplicate key is reported and its first value kept, so that
/// the rest can be checked too.
pub(super) fn parse_bytes(bytes: &[u8], problems: &mut Problems) -> Option<Node> {
    if bytes.len() > MAX_BYTES {
        problems.add(
            &Origin::Default,
            format!("is larger than {MAX_BYTES} bytes (1 MiB), the most a configuration file may have; is it the right file?"),
        );
        return None;
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => parse(text, problems),
        Err(error) => {
            let good = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            problems.add(
                &end_of(&good),
                "is not UTF-8 text from here on; save the file as UTF-8",
            );
            None
        }
    }
}

/// Parses text; see [`parse_bytes`].
pub(super) fn parse(text: &str, problems: &mut Problems) -> Option<Node> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // The scanner takes NUL for the end of the text, and would drop the rest in silence.
    let forbidden = |c: char| c.is_ascii_control() && !matches!(c, '\t' | '\n' | '\r');
    if let Some(position) = text.find(forbidden) {
        let found = text[position..].chars().next().unwrap_or_default();
        problems.add(
            &end_of(&text[..position]),
            format!(
                "control character U+{:04X}, which YAML does not allow; is the file UTF-8 text?",
                u32::from(found)
            ),
        );
        return None;
    }
    let mut builder = Builder {
        problems,
        stack: Vec::new(),
        anchors: HashMap::new(),
        nodes: 0,
        top: None,
        documents: 0,
    };
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let step = match event {
            Ok((event, span)) => builder.take(event, span.start),
            Err(error) => Err(Fatal {
                at: place(*error.marker()),
                message: format!("YAML syntax: {}", quoted(error.info())),
            }),
        };
        if let Err(fatal) = step {
            builder.problems.add(&fatal.at, fatal.message);
            return None;
        }
    }
    Some(builder.top.unwrap_or_else(Node::empty))
}

/// The place just behind `text`.
fn end_of(text: &str) -> Origin {
    let line_start = text.rfind('\n').map_or(0, |newline| newline + 1);
    Origin::File {
        line: text.matches('\n').count() + 1,
        column: text[line_start..].chars().count() + 1,
    }
}

fn place(mark: Marker) -> Origin {
    Origin::File {
        line: mark.line().max(1),
        column: mark.col() + 1,
    }
}

/// Something that leaves nothing to read on.
struct Fatal {
    at: Origin,
    message: String,
}

fn fatal<T>(mark: Marker, message: impl Into<String>) -> Result<T, Fatal> {
    Err(Fatal {
        at: place(mark),
        message: message.into(),
    })
}

/// A mapping or list that has not ended.
struct Open {
    start: Marker,
    anchor: usize,
    kind: Kind,
}

enum Kind {
    List,
    Map {
        entries: Vec<Entry>,
        /// Line of each key seen, to find duplicates without searching.
        seen: HashMap<String, usize>,
        /// The key whose value comes next.
        key: Option<(String, Origin)>,
    },
}

struct Builder<'p> {
    problems: &'p mut Problems,
    stack: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    top: Option<Node>,
    documents: usize,
}

impl Builder<'_> {
    fn take(&mut self, event: Event<'_>, mark: Marker) -> Result<(), Fatal> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return fatal(
                        mark,
                        "a second YAML document starts here; a configuration file holds one, remove the `---`",
                    );
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                check_tag(tag.as_deref(), mark)?;
                let null = style == ScalarStyle::Plain
                    && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let value = if null {
                    Value::Null
                } else {
                    Value::Scalar(text.into_owned())
                };
                self.finish(value, mark, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                check_tag(tag.as_deref(), mark)?;
                self.open(Kind::List, mark, anchor)
            }
            Event::MappingStart(anchor, tag) => {
                check_tag(tag.as_deref(), mark)?;
                let kind = Kind::Map {
                    entries: Vec::new(),
                    seen: HashMap::new(),
                    key: None,
                };
                self.open(kind, mark, anchor)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.stack.pop() else {
                    return fatal(mark, "YAML syntax: an end without a start");
                };
                let value = match open.kind {
                    Kind::List => Value::List,
                    Kind::Map { entries, .. } => Value::Map(entries),
                };
                self.finish(value, open.start, open.anchor)
            }
            Event::Alias(id) => {
                let Some(node) = self.anchors.get(&id).cloned() else {
                    return fatal(mark, "this alias stands inside of what it repeats");
                };
                if self.stack.len() + node.height() > MAX_DEPTH {
                    return too_deep(mark);
                }
                self.spend(node.count(), mark)?;
                self.put(node, mark)
            }
        }
    }

    fn open(&mut self, kind: Kind, mark: Marker, anchor: usize) -> Result<(), Fatal> {
        if self.stack.len() >= MAX_DEPTH {
            return too_deep(mark);
        }
        let start = mark;
        self.stack.push(Open {
            start,
            anchor,
            kind,
        });
        Ok(())
    }

    fn finish(&mut self, value: Value, mark: Marker, anchor: usize) -> Result<(), Fatal> {
        self.spend(1, mark)?;
        let node = Node {
            origin: place(mark),
            value,
        };
        // Anchors are numbered from 1; 0 is none.
        if anchor > 0 {
            self.spend(node.count(), mark)?;
            self.anchors.insert(anchor, node.clone());
        }
        self.put(node, mark)
    }

    fn spend(&mut self, nodes: usize, mark: Marker) -> Result<(), Fatal> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            return fatal(
                mark,
                format!(
                    "more than {MAX_NODES} values, what aliases repeat included; is it the right file?"
                ),
            );
        }
        Ok(())
    }

    /// Gives a finished node to what it stands in.
    fn put(&mut self, node: Node, mark: Marker) -> Result<(), Fatal> {
        let Some(open) = self.stack.last_mut() else {
            self.top = Some(node);
            return Ok(());
        };
        let Kind::Map { entries, seen, key } = &mut open.kind else {
            return Ok(());
        };
        let Some((name, origin)) = key.take() else {
            let Value::Scalar(name) = node.value else {
                return fatal(mark, "a key must be a word, such as `database`");
            };
            if name == "<<" {
                return fatal(
                    mark,
                    "merge keys (`<<`) are not part of YAML 1.2; write the values out",
                );
            }
            *key = Some((name, place(mark)));
            return Ok(());
        };
        if let Some(first) = seen.get(&name) {
            let shown = quoted(&name);
            let message = format!(
                "`{shown}` is given a second time, the first is in line {first}; keep one, or move what stands here there"
            );
            self.problems.add_for(&origin, &shown, None, message);
            return Ok(());
        }
        let line = match origin {
            Origin::File { line, .. } => line,
            Origin::Default | Origin::Env(_) => 0,
        };
        seen.insert(name.clone(), line);
        let mut node = node;
        if matches!(node.value, Value::Null) {
            // Nothing stands nowhere in particular.
            node.origin = origin.clone();
        }
        entries.push(Entry {
            key: name,
            origin,
            node,
        });
        Ok(())
    }
}

fn too_deep(mark: Marker) -> Result<(), Fatal> {
    fatal(mark, format!("nested more than {MAX_DEPTH} levels deep"))
}

/// The standard tags (`!!int`) say nothing that the key does not; any other
/// (`!secret`, `!env`) asks for something that would not be done.
fn check_tag(tag: Option<&Tag>, mark: Marker) -> Result<(), Fatal> {
    match tag {
        Some(tag) if !tag.is_yaml_core_schema() => fatal(
            mark,
            format!(
                "the tag `{}` is not supported; write the value itself",
                quoted(&tag.to_string())
            ),
        ),
        _ => Ok(()),
    }
}
