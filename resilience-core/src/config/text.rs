//! Texts that people choose: paths, bodies, types.

use std::fmt::Write;

use super::value::{Misread, Readable};

/// Any text, without white space around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text(pub(super) String);

impl Readable for Text {
    fn read(text: &str) -> Result<Self, Misread> {
        Ok(Self(text.to_owned()))
    }

    fn show(&self) -> String {
        quoted(&self.0)
    }
}

/// As one would write it in YAML: plain if it can be, else in double quotes, and
/// always on one line.
pub(super) fn quoted(text: &str) -> String {
    // Neither does a plain one begin with what YAML gives a meaning to, nor is it
    // one of its words.
    let plain = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/' || c == '.')
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._~/:@*%=+;".contains(&b))
        && !text.ends_with(':')
        && !["null", "...", "---"].contains(&text.to_ascii_lowercase().as_str());
    if plain {
        return text.to_owned();
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            ' '..='~' => quoted.push(c),
            _ if c.is_alphanumeric() => quoted.push(c),
            // Writing to a string cannot fail.
            _ => drop(write!(quoted, "\\U{:08X}", u32::from(c))),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Config;

    fn read_back(text: &str) -> String {
        let file = format!(
            "services: {{a: {{fallback: {{answer: {{body: {}, status: 200}}}}}}}}",
            quoted(text)
        );
        let config = Config::parse("config.yaml", &file, []);
        let config = config.unwrap_or_else(|errors| panic!("{errors}\n{file}"));
        let answer = config.fallback("a").answer.clone();
        answer.unwrap().body
    }

    #[test]
    fn what_can_be_written_plainly_is() {
        for text in [
            "fallback.redb",
            "/var/lib/a-b/c.redb",
            "text/plain",
            "redis://h:6379/0",
        ] {
            assert_eq!(quoted(text), text);
        }
        for (text, shown) in [
            ("", "\"\""),
            ("a b", "\"a b\""),
            ("null", "\"null\""),
            ("{\"x\": 1}", "\"{\\\"x\\\": 1}\""),
            ("two\nlines\u{7f}", "\"two\\nlines\\U0000007F\""),
            ("*alias", "\"*alias\""),
            ("a:", "\"a:\""),
        ] {
            assert_eq!(quoted(text), shown);
        }
    }

    proptest! {
        #[test]
        fn a_text_is_read_as_it_is_shown(text in any::<String>()) {
            prop_assert_eq!(read_back(text.trim()), text.trim());
        }

        #[test]
        fn a_short_text_is_read_as_it_is_shown(text in "[-:#.,~/@*%=+;a0 '\"{}\\[\\]&!|>?\n]{0,4}") {
            prop_assert_eq!(read_back(text.trim()), text.trim());
        }
    }
}
