//! Any answer as plain text: what is one value on a line, what is a list as an
//! aligned table.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, SeqAccess, Visitor},
};

/// A longer cell is cut; the JSON has all of it.
const WIDEST: usize = 80;

/// The answer as text that ends with a line break.
///
/// # Errors
///
/// If it is no JSON.
pub(super) fn render<T: Serialize>(answer: &T) -> serde_json::Result<String> {
    // By way of JSON, whose names and order it has. A `Value` would sort them.
    let node: Node = serde_json::from_str(&serde_json::to_string(answer)?)?;
    let mut text = String::new();
    match node {
        Node::Object(members) => members.into_iter().for_each(|(key, node)| {
            member(&mut text, &key, node);
        }),
        other => text += &format!("{}\n", other.cell()),
    }
    Ok(text)
}

fn member(text: &mut String, key: &str, node: Node) {
    match node {
        // "truncated false" is no news.
        Node::False | Node::Null => {}
        Node::List(rows) if rows.is_empty() => *text += &format!("{key}: none\n"),
        Node::List(rows) => *text += &format!("\n{}", table(&rows)),
        Node::Object(members) => {
            *text += &format!("\n{key}\n");
            for (key, node) in members {
                member(text, &key, node);
            }
        }
        scalar => *text += &format!("{key}: {}\n", scalar.line()),
    }
}

/// Rows of one kind: the members of the first name the columns, but a member
/// that an earlier row left out may come later.
fn table(rows: &[Node]) -> String {
    let mut heads: Vec<&str> = Vec::new();
    for row in rows {
        for (key, _) in row.members() {
            if !heads.contains(&key.as_str()) {
                heads.push(key);
            }
        }
    }
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let cell = |head: &&str| {
                let found = row.members().iter().find(|(key, _)| key == head);
                found.map_or("-".to_owned(), |(_, node)| node.cell())
            };
            heads.iter().map(cell).collect()
        })
        .collect();
    let width = |column: usize| {
        let cells = cells.iter().map(|row| row[column].chars().count());
        cells.chain([heads[column].len()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let mut text = String::new();
    let heads = heads.iter().map(|head| (*head).to_owned()).collect();
    for row in std::iter::once(&heads).chain(&cells) {
        let padded: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text += padded.join("  ").trim_end();
        text.push('\n');
    }
    text
}

/// JSON with its members in order.
#[derive(Debug)]
enum Node {
    Null,
    False,
    Plain(String),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl Node {
    fn members(&self) -> &[(String, Node)] {
        match self {
            Self::Object(members) => members,
            _ => &[],
        }
    }

    /// On one line, and without what a terminal would obey.
    fn line(&self) -> String {
        match self {
            Self::Null => "-".to_owned(),
            Self::False => "false".to_owned(),
            Self::Plain(text) => {
                let words = text.split(|c: char| c.is_whitespace() || c.is_control());
                let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
                words.join(" ")
            }
            Self::List(nodes) if nodes.is_empty() => "-".to_owned(),
            Self::List(nodes) => nodes.iter().map(Self::line).collect::<Vec<_>>().join(","),
            Self::Object(members) => {
                let members = members
                    .iter()
                    .map(|(key, node)| format!("{key}={}", node.line()));
                members.collect::<Vec<_>>().join(" ")
            }
        }
    }

    fn cell(&self) -> String {
        let line = self.line();
        if line.is_empty() {
            return "-".to_owned();
        }
        match line.char_indices().nth(WIDEST) {
            Some((at, _)) => format!("{}…", &line[..at]),
            None => line,
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(match value {
            true => Node::Plain("true".to_owned()),
            false => Node::False,
        })
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Plain(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Plain(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Plain(format!("{value:.3}")))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Plain(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element()? {
            nodes.push(node);
        }
        Ok(Node::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Node::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Row {
        pid: i32,
        blocked_by: Vec<i32>,
        seconds: Option<f64>,
        statement: String,
    }

    #[derive(Serialize)]
    struct Answer {
        database: &'static str,
        rows: Vec<Row>,
        truncated: bool,
    }

    fn row(pid: i32, statement: &str) -> Row {
        Row {
            pid,
            blocked_by: vec![1; usize::from(pid > 9)],
            seconds: (pid > 9).then_some(1.25),
            statement: statement.to_owned(),
        }
    }

    #[test]
    fn an_answer_is_lines_and_a_table_in_the_order_of_its_members() {
        let mut answer = Answer {
            database: "app",
            rows: vec![row(7, "SELECT\n  1"), row(4711, "\u{1b}[2Jx")],
            truncated: false,
        };
        let text = render(&answer).unwrap();
        let expected = "\
database: app

pid   blocked_by  seconds  statement
7     -           -        SELECT 1
4711  1           1.250    [2Jx
";
        assert_eq!(text, expected);
        answer.rows.clear();
        assert_eq!(render(&answer).unwrap(), "database: app\nrows: none\n");
    }

    #[test]
    fn a_long_cell_is_cut_at_a_character() {
        let answer = Answer {
            database: "app",
            rows: vec![row(1, &"ü".repeat(200))],
            truncated: true,
        };
        let text = render(&answer).unwrap();
        assert_eq!(text.matches('ü').count(), WIDEST);
        assert!(
            text.contains("ü…\n") && text.ends_with("truncated: true\n"),
            "{text}"
        );
    }
}
