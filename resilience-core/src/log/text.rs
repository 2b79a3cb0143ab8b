//! Making any text safe to stand in one line.

use std::fmt::{self, Write};

/// Most bytes of one value in a line.
pub(super) const MAX_VALUE: usize = 1024;
/// Most bytes of a message in a line.
pub(super) const MAX_MESSAGE: usize = 6 * 1024;
/// Most bytes of a token (service, target, class, key) in a line.
pub(super) const MAX_TOKEN: usize = 128;
/// Stands for what was left out.
const ELLIPSIS: char = '…';

/// Keeps the first bytes of what is written to it and refuses the rest, so that
/// the `Debug` of a huge value stops early instead of filling memory.
#[derive(Default)]
pub(super) struct Bounded {
    text: String,
    limit: usize,
    cut: bool,
}

impl Bounded {
    /// What `value` writes, at most `limit` bytes of it.
    pub(super) fn collect(limit: usize, value: fmt::Arguments<'_>) -> String {
        let mut bounded = Self {
            text: String::new(),
            limit,
            cut: false,
        };
        // A `Display` that fails is shown as far as it came: a log line must
        // not be lost over it, and there is nobody to tell.
        let _ = bounded.write_fmt(value);
        if bounded.cut {
            bounded.text.push(ELLIPSIS);
        }
        bounded.text
    }
}

impl Write for Bounded {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        if self.cut {
            return Err(fmt::Error);
        }
        let room = self.limit.saturating_sub(self.text.len());
        if s.len() <= room {
            self.text.push_str(s);
            return Ok(());
        }
        self.text.push_str(&s[..s.floor_char_boundary(room)]);
        self.cut = true;
        Err(fmt::Error)
    }
}

/// A word without spaces: what may not stand in one becomes `_`. Empty is `-`.
pub(super) fn push_token(line: &mut String, token: &str) {
    if token.is_empty() {
        line.push('-');
        return;
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.:/-".contains(c);
    line.extend(
        token
            .chars()
            .take(MAX_TOKEN)
            .map(|c| if allowed(c) { c } else { '_' }),
    );
}

/// A key: like a token, but its end is the first `:`.
pub(super) fn push_key(line: &mut String, key: &str) {
    let from = line.len();
    push_token(line, key);
    if line[from..].contains(':') {
        let key = line.split_off(from).replace(':', "_");
        line.push_str(&key);
    }
}

/// A value: bare when nothing in it can be misread, else quoted as in JSON.
pub(super) fn push_value(line: &mut String, value: &str) {
    let bare = !value.is_empty()
        && value
            .chars()
            .all(|c| !c.is_whitespace() && !must_escape(c) && c != '"' && c != '\\');
    if bare {
        push_escaped(line, value, MAX_VALUE, false);
    } else {
        push_quoted(line, value, MAX_VALUE);
    }
}

/// A message: free text at the end of the line, only made harmless.
pub(super) fn push_message(line: &mut String, message: &str) {
    push_escaped(line, message.trim(), MAX_MESSAGE, false);
}

/// A string of JSON, at most `limit` bytes and what the quotes take.
pub(super) fn push_quoted(line: &mut String, text: &str, limit: usize) {
    line.push('"');
    push_escaped(line, text, limit, true);
    line.push('"');
}

/// Characters that end a line for some reader, move the cursor, or reorder what
/// a person sees (bidirectional overrides, zero-width marks).
fn must_escape(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00AD}' | '\u{061C}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
}

fn push_escaped(line: &mut String, text: &str, limit: usize, quoted: bool) {
    let end = line.len() + limit;
    for c in text.chars() {
        if line.len() >= end {
            line.push(ELLIPSIS);
            return;
        }
        match c {
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            '"' | '\\' if quoted => {
                line.push('\\');
                line.push(c);
            }
            c if must_escape(c) => {
                let code = u32::from(c);
                // Cannot fail: writing to a `String` never does. All escaped
                // characters are below U+10000, so four digits do.
                let _ = write!(line, "\\u{code:04x}");
            }
            c => line.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> String {
        let mut line = String::new();
        push_value(&mut line, text);
        line
    }

    #[test]
    fn a_plain_value_stays_as_it_is() {
        assert_eq!(value("abc123"), "abc123");
        assert_eq!(value("/users/{id}?a=b"), "/users/{id}?a=b");
        assert_eq!(value("größer"), "größer");
    }

    #[test]
    fn a_value_that_could_be_misread_is_quoted() {
        assert_eq!(value(""), r#""""#);
        assert_eq!(value("a b"), r#""a b""#);
        assert_eq!(value("a\nb"), r#""a\nb""#);
        assert_eq!(value("say \"hi\""), r#""say \"hi\"""#);
        assert_eq!(value("\u{1b}[31m"), r#""\u001b[31m""#);
        assert_eq!(value("a\u{2028}b\u{202e}"), r#""a\u2028b\u202e""#);
        assert_eq!(value("a\u{a0}b"), "\"a\u{a0}b\"");
    }

    #[test]
    fn a_quoted_value_reads_back_as_json() {
        let text = "tab\t quote\" back\\ nul\0 line\r\n sep\u{2029}";
        let back: String = serde_json::from_str(&value(text)).expect("valid JSON string");
        assert_eq!(back, text);
    }

    #[test]
    fn a_long_value_is_cut_and_says_so() {
        let long = value(&"é\n".repeat(10_000));
        assert!(long.len() < MAX_VALUE + 16, "{}", long.len());
        assert!(long.ends_with("…\""));
    }

    #[test]
    fn a_huge_debug_stops_early() {
        struct Endless<'a>(&'a std::cell::Cell<u32>);
        impl fmt::Display for Endless<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                loop {
                    self.0.set(self.0.get() + 1);
                    f.write_str("xyz")?;
                }
            }
        }
        let writes = std::cell::Cell::new(0);
        let text = Bounded::collect(10, format_args!("{}", Endless(&writes)));
        assert_eq!(text, "xyzxyzxyzx…");
        assert_eq!(writes.get(), 4);
    }

    #[test]
    fn a_token_never_holds_a_space_and_a_key_never_a_colon() {
        let mut line = String::new();
        push_token(&mut line, "my service\n");
        line.push(' ');
        push_token(&mut line, "");
        line.push(' ');
        push_key(&mut line, "a:b c");
        assert_eq!(line, "my_service_ - a_b_c");
    }
}
