//! Foreign text, fit for one line of a log or a terminal.

/// `text` shortened to `most` characters, its control characters escaped.
pub(crate) fn one_line(text: &str, most: usize) -> String {
    let shown: String = text.chars().take(most).collect();
    let dots = if shown.len() < text.len() { "…" } else { "" };
    let mut escaped = String::with_capacity(shown.len());
    for c in shown.chars() {
        if c.is_control() {
            escaped.extend(c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    format!("{escaped}{dots}")
}
