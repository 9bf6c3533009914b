//! From text to PostgreSQL's own raw parse tree, with everything refused beforehand that would
//! make the parser slow.
//!
//! The server's lexer takes quadratic time for nested comments and for long runs of operator
//! characters, and its tree for a long text is many times as large as the text. So one linear pass
//! of our own comes first. Long texts still take milliseconds: parse them off the event loop.

use std::fmt;
use std::ops::Range;

use pg_raw_parse::nodes::RawStmt;
use pg_raw_parse::{Owned, StmtList};

use crate::lex::{Kind, token};

/// What a text may cost. Each has a clear refusal.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub text_bytes_max: usize,
    /// Of one text, over all its statements.
    pub statements_max: usize,
    /// Nodes of the tree of one statement.
    pub nodes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { text_bytes_max: 10_000_000, statements_max: 10_000, nodes_max: 1_000_000 }
    }
}

/// The server would take them for something else, or takes none deeper or longer.
const COMMENT_DEPTH_MAX: usize = 64;
const OPERATOR_BYTES_MAX: usize = 63;

/// Why a text was not parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotParsed {
    TooLong,
    TooManyStatements,
    /// Comments nested deeper than 64.
    CommentsTooDeep,
    /// A run of operator characters that is longer than any operator.
    OperatorTooLong,
    /// A zero byte, which no message can carry.
    Nul,
    /// A quote, a dollar quote or a comment that nothing ends.
    Unlexed,
    /// PostgreSQL's own complaint. It quotes the text, so it may hold what is secret.
    Syntax(String),
}

/// As the end of a sentence.
impl fmt::Display for NotParsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "it is too long",
            Self::TooManyStatements => "it has too many statements",
            Self::CommentsTooDeep => "its comments are nested too deep",
            Self::OperatorTooLong => "it has an operator that is longer than any",
            Self::Nul => "it has a zero byte",
            Self::Unlexed => "a quote or a comment is not ended",
            Self::Syntax(message) => return write!(f, "PostgreSQL's grammar says {message:?}"),
        })
    }
}

/// The statements of one text.
pub(crate) struct Parsed(Owned<StmtList>);

impl Parsed {
    /// Each statement with its place in the text, without the semicolon and what stands before.
    pub(crate) fn statements(&self, text: &str) -> Vec<(Range<usize>, &RawStmt)> {
        self.0.iter().map(|statement| (place(statement, text), statement)).collect()
    }

    pub(crate) fn statement(&self, text: &str, at: usize) -> Option<(Range<usize>, &RawStmt)> {
        let statement = self.0.get(at)?;
        Some((place(statement, text), statement))
    }
}

fn place(statement: &RawStmt, text: &str) -> Range<usize> {
    let start = usize::try_from(statement.stmt_location).unwrap_or(0);
    match usize::try_from(statement.stmt_len) {
        Ok(0) | Err(_) => start..text.len(),
        Ok(length) => start..start + length,
    }
}

pub(crate) fn parse(text: &str, limits: &Limits) -> Result<Parsed, NotParsed> {
    prefilter(text, limits)?;
    let tree = pg_raw_parse::parse(text).map_err(|error| {
        NotParsed::Syntax(match error {
            pg_raw_parse::Error::Parse(said) => said.to_string(),
            ours => ours.to_string(),
        })
    })?;
    let tree = tree.into_inner();
    if tree.len() > limits.statements_max {
        return Err(NotParsed::TooManyStatements);
    }
    Ok(Parsed(tree))
}

fn prefilter(text: &str, limits: &Limits) -> Result<(), NotParsed> {
    if text.len() > limits.text_bytes_max {
        return Err(NotParsed::TooLong);
    }
    if text.as_bytes().contains(&0) {
        return Err(NotParsed::Nul);
    }
    let mut position = 0;
    let mut run = 0;
    while let Some(token) = token(text, position).map_err(|_| NotParsed::Unlexed)? {
        position = token.end;
        match token.kind {
            Kind::Mark(mark) if is_operator(mark) => {
                run += 1;
                if run > OPERATOR_BYTES_MAX {
                    return Err(NotParsed::OperatorTooLong);
                }
            }
            Kind::Comment => {
                let comment = text.get(token.start..token.end).unwrap_or_default();
                if comment.starts_with("/*") && depth(comment) > COMMENT_DEPTH_MAX {
                    return Err(NotParsed::CommentsTooDeep);
                }
                run = 0;
            }
            _ => run = 0,
        }
    }
    Ok(())
}

fn is_operator(mark: u8) -> bool {
    b"~!@#^&|`?+-*/%<>=".contains(&mark)
}

/// How deep comments are nested in `comment`, which is one.
fn depth(comment: &str) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    let mut bytes = comment.bytes().peekable();
    while let Some(byte) = bytes.next() {
        match (byte, bytes.peek()) {
            (b'/', Some(b'*')) => {
                bytes.next();
                depth += 1;
                deepest = deepest.max(depth);
            }
            (b'*', Some(b'/')) => {
                bytes.next();
                depth = depth.saturating_sub(1);
            }
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(text: &str) -> Option<NotParsed> {
        parse(text, &Limits::default()).err()
    }

    #[test]
    fn limits_and_one_past() {
        let comment =
            |depth: usize| format!("SELECT {}{}1", "/*".repeat(depth), "*/".repeat(depth));
        assert_eq!(outcome(&comment(COMMENT_DEPTH_MAX)), None);
        assert_eq!(outcome(&comment(COMMENT_DEPTH_MAX + 1)), Some(NotParsed::CommentsTooDeep));
        let operator = |bytes: usize| format!("SELECT 1 {} 1", "@".repeat(bytes));
        assert_eq!(outcome(&operator(OPERATOR_BYTES_MAX)), None);
        assert_eq!(outcome(&operator(OPERATOR_BYTES_MAX + 1)), Some(NotParsed::OperatorTooLong));
        let limits = Limits { text_bytes_max: 8, statements_max: 2, ..Limits::default() };
        assert!(parse("SELECT 1", &limits).is_ok());
        assert_eq!(parse("SELECT 12", &limits).err(), Some(NotParsed::TooLong));
        assert!(parse("END;END", &limits).is_ok());
        let limits = Limits { statements_max: 1, ..limits };
        assert_eq!(parse("END;END", &limits).err(), Some(NotParsed::TooManyStatements));
        assert_eq!(outcome("SELECT '\0'"), Some(NotParsed::Nul));
        assert_eq!(outcome("SELECT 'a"), Some(NotParsed::Unlexed));
        let said = "syntax error at or near \"SELEC\"".to_owned();
        assert_eq!(outcome("SELEC 1"), Some(NotParsed::Syntax(said)));
    }

    /// What an operator or a comment is inside a text does not count.
    #[test]
    fn texts_hold_anything() {
        let many = "@/*".repeat(100);
        for text in [
            format!("SELECT '{many}'"),
            format!("SELECT $${many}$$"),
            format!("SELECT 1 -- {many}"),
        ] {
            assert_eq!(outcome(&text), None);
        }
    }

    #[test]
    fn statements_know_their_place() {
        let text = " SELECT 1 ; /* a */ SELECT 'ü;' ;; END";
        let parsed = parse(text, &Limits::default()).unwrap();
        let places: Vec<&str> = parsed
            .statements(text)
            .into_iter()
            .map(|(place, _)| text.get(place).unwrap())
            .collect();
        assert_eq!(places, ["SELECT 1 ", "SELECT 'ü;' ", "END"]);
    }

    #[test]
    fn hostile_text_gets_a_clear_error_soon() {
        for text in [
            "(".repeat(100_000),
            format!("SELECT {}1{}", "(".repeat(100_000), ")".repeat(100_000)),
            "/*".repeat(1_000_000),
            format!("SELECT 1 {}", "+".repeat(1_000_000)),
            "SELECT ".repeat(100_000),
            "'a' ".repeat(100_000),
        ] {
            assert!(outcome(&text).is_some());
        }
        let chain = format!("SELECT {}a", "a || ".repeat(50_000));
        assert_eq!(outcome(&chain), None);
    }
}
