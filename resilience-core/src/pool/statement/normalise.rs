//! A statement as it may be shown: without what was put into it.

use super::token::{Token, Tokens};

/// So many characters are shown.
pub(super) const MOST: usize = 300;

/// `sql` on one line, without comments, with `?` for each literal and for a list
/// of them, cut to 300 characters: what logs and snapshots show.
///
/// Names are kept, also quoted ones, and so are `$1`, `TRUE` and `NULL`. Where it
/// cannot be told whether text is a literal, the rest is left out: a literal may
/// be somebody's name or password. Looks at each byte once or twice, and at
/// nothing that would not be shown.
pub(crate) fn normalise(sql: &str) -> String {
    let mut shown = String::with_capacity(sql.len().min(4 * MOST));
    let mut space = false;
    let mut tokens = Tokens::of(sql);
    while let Some(token) = tokens.next() {
        // No character has more bytes, so there is something to cut.
        if shown.len() > 4 * MOST {
            break;
        }
        if token == Token::Space {
            space = true;
            continue;
        }
        let after_bracket = shown.ends_with(['(', '[']);
        let closes = matches!(token, Token::Symbol(b')' | b']' | b',' | b';'));
        let sticks = matches!(token, Token::Literal) && shown.ends_with(char::is_alphanumeric);
        if (space && !after_bracket && !closes && !shown.is_empty()) || sticks {
            shown.push(' ');
        }
        space = false;
        match token {
            Token::Space => {}
            Token::Word | Token::Quoted => push_visible(&mut shown, tokens.text()),
            Token::Parameter => shown.push_str(tokens.text()),
            Token::Symbol(byte) => shown.push(char::from(byte)),
            Token::Literal => push_literal(&mut shown),
            Token::Doubtful => {
                push_literal(&mut shown);
                shown.push('…');
                break;
            }
            Token::Unfinished => shown.push('…'),
        }
    }
    cut(shown)
}

/// Names may hold anything, and a log line must stay one.
fn push_visible(shown: &mut String, text: &str) {
    if text.bytes().all(|byte| (b' '..0x7f).contains(&byte)) {
        shown.push_str(text);
    } else {
        let visible = |c: char| if is_line_breaking(c) { ' ' } else { c };
        shown.extend(text.chars().map(visible));
    }
}

fn is_line_breaking(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// A list of literals is one, however long: `(?, ?, ?)` is `(?)`.
fn push_literal(shown: &mut String) {
    let unsigned = shown.strip_suffix(['-', '+']).unwrap_or(shown.as_str());
    // `a - 1` has a sign that is none of the number's.
    let is_sign = unsigned
        .trim_end_matches(' ')
        .ends_with(['(', '[', ',', '=', '<', '>']);
    let before: &str = if is_sign { unsigned } else { shown.as_str() };
    let list = before.trim_end_matches(' ').strip_suffix(',');
    let (list, before) = (list.filter(|list| list.ends_with('?')), before.len());
    match list.map(str::len) {
        Some(list) => shown.truncate(list),
        None => {
            shown.truncate(before);
            shown.push('?');
        }
    }
}

fn cut(mut shown: String) -> String {
    if let Some((last, _)) = shown.char_indices().nth(MOST - 1)
        && shown[last..].chars().nth(1).is_some()
    {
        shown.truncate(last);
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn literals_comments_and_white_space_go() {
        for (sql, shown) in [
            ("", ""),
            ("  SELECT\t1 ;\n", "SELECT ?;"),
            (
                "SELECT * FROM users WHERE name = 'O''Neil' AND age > 42",
                "SELECT * FROM users WHERE name = ? AND age > ?",
            ),
            (
                "SELECT /* who /* nested */ */ a -- why\nFROM t",
                "SELECT a FROM t",
            ),
            (r"SELECT E'it\'s', e'\\', x'ff', U&'\00e9'", "SELECT ?"),
            (
                "SELECT $$it's$$ || $tag$ $$ $tag$ || $1",
                "SELECT ? || ? || $1",
            ),
            ("SELECT date'2020-01-01', a$1b", "SELECT date ?, a$1b"),
            (
                "SELECT 1.5e-3, .5, 0xFF, 1_000 FROM t1 LIMIT 10",
                "SELECT ? FROM t1 LIMIT ?",
            ),
            ("SELECT a-1, a - 1, b = -1", "SELECT a-?, a - ?, b = ?"),
            (
                "SELECT \"Quoted 'name'\" FROM \"a\"\"b\"",
                "SELECT \"Quoted 'name'\" FROM \"a\"\"b\"",
            ),
            (
                "SELECT \"two\nlines\" FROM \u{2028}x",
                "SELECT \"two lines\" FROM  x",
            ),
            (
                "ALTER ROLE bob PASSWORD 'secret'",
                "ALTER ROLE bob PASSWORD ?",
            ),
        ] {
            assert_eq!(normalise(sql), shown);
        }
    }

    #[test]
    fn a_list_is_shown_once_however_long_it_is() {
        for list in ["(1)", "(1,2,3)", "( 1 , 'a', -3 )", "(-1, +2,\n 3)"] {
            let sql = format!("SELECT a FROM t WHERE b IN {list} AND c = 1");
            assert_eq!(normalise(&sql), "SELECT a FROM t WHERE b IN (?) AND c = ?");
        }
        let many = vec!["12345"; 100_000].join(", ");
        let sql = format!("SELECT a FROM t WHERE b IN ({many}) AND c");
        assert_eq!(normalise(&sql), "SELECT a FROM t WHERE b IN (?) AND c");
    }

    #[test]
    fn a_long_statement_is_cut_between_two_characters() {
        let shown = normalise(&format!("SELECT {}", "é, ".repeat(1_000)));
        assert_eq!(shown.chars().count(), MOST);
        assert!(shown.ends_with('…'), "{shown}");
        let whole = format!("SELECT {}", "a".repeat(MOST - 7));
        assert_eq!(normalise(&whole), whole);
    }

    #[test]
    fn where_a_string_ends_in_doubt_the_rest_is_not_shown() {
        let shown = normalise(r"SELECT 'it\' , secret , ' FROM t");
        assert_eq!(shown, "SELECT ?…");
        assert_eq!(normalise("SELECT 'secret"), "SELECT …");
        assert_eq!(normalise("SELECT $a$secret $b$"), "SELECT …");
    }

    /// A literal that holds the word `hidden` or the digits 77.
    fn literal() -> impl Strategy<Value = String> {
        let odd = r#"(''|[a-z "$;/*()-]){0,6}"#;
        let quoted = (odd, odd).prop_map(|(a, b)| format!("'{a}hidden{b}'"));
        let escaped =
            (odd, r"(\\'|\\\\|''|[a-z ]){0,6}").prop_map(|(a, b)| format!("E'{a}hidden\\'{b}'"));
        let dollars = ("[a-z]{0,3}", "[a-z' \"();-]{0,6}")
            .prop_map(|(tag, text)| format!("${tag}$hidden{text}${tag}$"));
        let number = "77(\\.[0-9]{0,3})?(e[+-]?[0-9]{1,2})?";
        prop_oneof![quoted, escaped, dollars, number.prop_map(String::from)]
    }

    proptest! {
        #[test]
        fn no_literal_is_ever_shown(parts in prop::collection::vec(
            (
                prop::sample::select(vec![
                    "SELECT ", " = ", "(", ", ", " IN (", ")", "/* ' */", "-- '\n", "\"it's\" ", "a-",
                    "$1 ", ";", " date ",
                ]),
                literal(),
            ),
            0..12,
        )) {
            let sql: String = parts.into_iter().map(|(before, literal)| before.to_owned() + &literal + " ").collect();
            let shown = normalise(&sql);
            prop_assert!(!shown.contains("hidden") && !shown.contains("77"), "{sql}\n{shown}");
        }
    }
}
