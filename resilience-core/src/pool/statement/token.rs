//! The tokens of a statement, as PostgreSQL's own scanner sees them.
//!
//! # Source
//!
//! PostgreSQL's documentation, 4.1 Lexical Structure.

/// What a piece of a statement is; [`Tokens::text`] is the piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// White space, control characters, or a comment.
    Space,
    /// A key word or a name without quotes.
    Word,
    /// A name with its quotes.
    Quoted,
    /// A string or a number.
    Literal,
    /// A string whose end depends on a setting of the session: with
    /// `standard_conforming_strings` off, the quote after a backslash does not
    /// end it.
    Doubtful,
    /// `$1`.
    Parameter,
    /// One character of an operator or of punctuation.
    Symbol(u8),
    /// A string, a quoted name or a comment that does not end.
    Unfinished,
}

/// The tokens of a text, each byte looked at once or twice.
pub(super) struct Tokens<'a> {
    sql: &'a str,
    start: usize,
    end: usize,
}

impl<'a> Tokens<'a> {
    pub(super) const fn of(sql: &'a str) -> Self {
        Self {
            sql,
            start: 0,
            end: 0,
        }
    }

    /// The text of the last token. Its ends are at ASCII bytes or at those of
    /// whole words, so never inside of a character.
    pub(super) fn text(&self) -> &'a str {
        &self.sql[self.start..self.end]
    }

    /// The same, for who compares and does not show.
    pub(super) fn bytes(&self) -> &'a [u8] {
        &self.sql.as_bytes()[self.start..self.end]
    }

    fn rest(&self) -> &'a [u8] {
        &self.sql.as_bytes()[self.start..]
    }

    fn take(&mut self, length: usize, token: Token) -> Token {
        self.end = self.start + length;
        token
    }

    fn unfinished(&mut self) -> Token {
        self.end = self.sql.len();
        Token::Unfinished
    }

    fn word(&mut self) -> Token {
        let rest = self.rest();
        let length = length_of(rest, in_word);
        if length == 1 {
            match (rest[0], rest.get(1), rest.get(2)) {
                (b'e' | b'E', Some(b'\''), _) => return self.string(2, Backslash::Escapes),
                (b'b' | b'B' | b'x' | b'X' | b'n' | b'N', Some(b'\''), _) => {
                    return self.string(2, Backslash::InDoubt);
                }
                (b'u' | b'U', Some(b'&'), Some(b'\'')) => {
                    return self.string(3, Backslash::InDoubt);
                }
                (b'u' | b'U', Some(b'&'), Some(b'"')) => return self.quoted(3),
                _ => {}
            }
        }
        self.take(length, Token::Word)
    }

    /// A string whose text begins at `from`.
    fn string(&mut self, from: usize, backslash: Backslash) -> Token {
        let rest = self.rest();
        let (mut at, mut token) = (from, Token::Literal);
        while let Some(&byte) = rest.get(at) {
            match (byte, rest.get(at + 1)) {
                (b'\\', Some(next)) => match backslash {
                    // A character of many bytes has no quote among them.
                    Backslash::Escapes => at += 1,
                    Backslash::InDoubt if *next == b'\'' => token = Token::Doubtful,
                    Backslash::InDoubt => {}
                },
                (b'\'', Some(b'\'')) => at += 1,
                (b'\'', _) => return self.take(at + 1, token),
                _ => {}
            }
            at += 1;
        }
        self.unfinished()
    }

    /// A quoted name whose text begins at `from`.
    fn quoted(&mut self, from: usize) -> Token {
        let rest = self.rest();
        let mut at = from;
        while let Some(&byte) = rest.get(at) {
            if byte == b'"' {
                if rest.get(at + 1) != Some(&b'"') {
                    return self.take(at + 1, Token::Quoted);
                }
                at += 1;
            }
            at += 1;
        }
        self.unfinished()
    }

    /// `$1`, `$$text$$`, `$tag$text$tag$`, or a dollar.
    fn dollar(&mut self) -> Token {
        let after = &self.rest()[1..];
        let digits = length_of(after, |byte| byte.is_ascii_digit());
        if digits > 0 {
            return self.take(1 + digits, Token::Parameter);
        }
        let tag = length_of(after, |byte| in_word(byte) && byte != b'$');
        if after.get(tag) != Some(&b'$') {
            return self.take(1, Token::Symbol(b'$'));
        }
        let (quote, text) = self.sql[self.start..].split_at(tag + 2);
        match text.find(quote) {
            Some(end) => self.take(quote.len() + end + quote.len(), Token::Literal),
            None => self.unfinished(),
        }
    }

    /// A number, and whatever sticks to it.
    fn number(&mut self) -> Token {
        let rest = self.rest();
        let mut end = 1;
        while let Some(&byte) = rest.get(end) {
            let signed_exponent = matches!(byte, b'+' | b'-')
                && matches!(rest[end - 1], b'e' | b'E')
                && rest.get(end + 1).is_some_and(u8::is_ascii_digit);
            if !(in_word(byte) || byte == b'.' || signed_exponent) {
                break;
            }
            end += 1;
        }
        self.take(end, Token::Literal)
    }

    fn line_comment(&mut self) -> Token {
        let length = length_of(self.rest(), |byte| !matches!(byte, b'\n' | b'\r'));
        self.take(length, Token::Space)
    }

    /// Comments of this kind may hold comments.
    fn block_comment(&mut self) -> Token {
        let rest = self.rest();
        let (mut at, mut depth) = (2, 1_usize);
        while depth > 0 {
            match rest.get(at..at + 2) {
                None => return self.unfinished(),
                Some(b"/*") => (depth, at) = (depth + 1, at + 2),
                Some(b"*/") => (depth, at) = (depth - 1, at + 2),
                Some(_) => at += 1,
            }
        }
        self.take(at, Token::Space)
    }

    /// The next token, until there is none.
    // Inlined: it is called for each word of each statement.
    #[inline]
    pub(super) fn next(&mut self) -> Option<Token> {
        self.start = self.end;
        let rest = self.rest();
        let (&first, second) = (rest.first()?, rest.get(1));
        Some(match (first, second) {
            (b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80.., _) => self.word(),
            (b' ' | 0..=0x1f | 0x7f, _) => self.take(length_of(rest, is_space), Token::Space),
            (b'-', Some(b'-')) => self.line_comment(),
            (b'/', Some(b'*')) => self.block_comment(),
            (b'\'', _) => self.string(1, Backslash::InDoubt),
            (b'"', _) => self.quoted(1),
            (b'$', _) => self.dollar(),
            (b'0'..=b'9', _) | (b'.', Some(b'0'..=b'9')) => self.number(),
            (symbol, _) => self.take(1, Token::Symbol(symbol)),
        })
    }
}

/// What a backslash in a string does.
#[derive(Clone, Copy)]
enum Backslash {
    /// It takes the next character with it.
    Escapes,
    /// Nothing, unless the session is set up otherwise.
    InDoubt,
}

const fn in_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..)
}

const fn is_space(byte: u8) -> bool {
    byte == b' ' || byte.is_ascii_control()
}

#[inline]
fn length_of(bytes: &[u8], belongs: impl Fn(u8) -> bool) -> usize {
    let ends = |byte: &u8| !belongs(*byte);
    bytes.iter().position(ends).unwrap_or(bytes.len())
}
