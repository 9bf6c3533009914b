//! A text without its literals: what is the same in texts that differ in nothing else.
//!
//! Whatever a literal says, PostgreSQL could be sent the same with a parameter in its place. So what is
//! found of the text with parameters holds for every text of its shape, as it holds for every value
//! that is bound.

use crate::lex::{Kind, Quote, Token, token};

/// What begins a statement that is sent over and over with other values.
const BEGINS: [&str; 5] = ["select", "insert", "update", "delete", "with"];

/// Behind these a literal is an expression, and not part of the name of a type or of a clause.
const BEFORE_VALUES: [&str; 13] = [
    "and",
    "between",
    "else",
    "ilike",
    "like",
    "limit",
    "not",
    "offset",
    "or",
    "returning",
    "select",
    "then",
    "when",
];

/// A text with more literals is a load of rows, and hardly two of them have as many.
const LITERALS_MAX: usize = 256;

/// In the place of a literal. A text that has one of these bytes has no shape.
const WHOLE_NUMBER: u8 = 0;
const DECIMAL: u8 = 1;
const TEXT: u8 = 2;

/// PostgreSQL takes a whole number for an `int4` up to 2,147,483,647.
const INT4_DIGITS: usize = 9;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    bytes: Vec<u8>,
}

impl Shape {
    /// `None` for a text that has no literals to be left out, or parameters, or more than one
    /// statement.
    pub fn of(text: &str) -> Option<Shape> {
        let mut bytes = Vec::with_capacity(text.len());
        let mut literals = 0;
        // The last token that is no space.
        let mut last: Option<Token> = None;
        let mut position = 0;
        while let Some(token) = token(text, position).ok()? {
            position = token.end;
            let said = text.get(token.start..token.end)?;
            if said.bytes().any(|byte| byte <= TEXT) {
                return None;
            }
            match token.kind {
                Kind::Word if last.is_none() && !is_one_of(said, &BEGINS) => return None,
                Kind::Parameter | Kind::Comment => return None,
                _ if last.is_some_and(|last| last.kind == Kind::Mark(b';')) => match token.kind {
                    Kind::Space => {}
                    _ => return None,
                },
                _ => {}
            }
            let literal = match last {
                Some(last) if is_before_values(last, token, text) => literal(token, said),
                _ => None,
            };
            match literal {
                Some(literal) => {
                    bytes.push(literal);
                    literals += 1;
                }
                None => bytes.extend_from_slice(said.as_bytes()),
            }
            if token.kind != Kind::Space {
                last = Some(token);
            }
        }
        ((1..=LITERALS_MAX).contains(&literals)).then_some(Shape { bytes })
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The text with a parameter in the place of each literal.
    pub fn with_parameters(&self) -> Option<String> {
        let mut text = Vec::with_capacity(self.bytes.len() * 2);
        let mut number = 0;
        for byte in &self.bytes {
            match *byte {
                WHOLE_NUMBER | DECIMAL | TEXT => {
                    number += 1;
                    text.extend_from_slice(format!(" ${number} ").as_bytes());
                }
                byte => text.push(byte),
            }
        }
        String::from_utf8(text).ok()
    }
}

/// What stands for a token, if it is a literal of which nothing but its value is open.
fn literal(token: Token, said: &str) -> Option<u8> {
    match token.kind {
        Kind::Text(Quote::Plain) if said.starts_with('\'') => Some(TEXT),
        Kind::Number => {
            let mut parts = said.split('.');
            let (whole, rest) = (parts.next()?, parts.next());
            let is_number =
                |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            match rest {
                None if is_number(whole) && whole.len() <= INT4_DIGITS => Some(WHOLE_NUMBER),
                Some(rest) if is_number(whole) && is_number(rest) && parts.next().is_none() => {
                    Some(DECIMAL)
                }
                _ => None,
            }
        }
        _ => None,
    }
}

/// Not behind a dot, for one: of `.5` the digits are only a part.
fn is_before_values(last: Token, token: Token, text: &str) -> bool {
    match last.kind {
        Kind::Mark(mark) => b"(,[=<>+-*/%|&~!^#".contains(&mark),
        Kind::Word => {
            last.end < token.start
                && is_one_of(text.get(last.start..last.end).unwrap_or_default(), &BEFORE_VALUES)
        }
        _ => false,
    }
}

fn is_one_of(word: &str, words: &[&str]) -> bool {
    words.iter().any(|one| one.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(text: &str) -> Option<String> {
        Shape::of(text).map(|shape| shape.with_parameters().unwrap())
    }

    #[test]
    fn literals_are_left_out() {
        for (text, want) in [
            ("SELECT a FROM t WHERE b = 17;", "SELECT a FROM t WHERE b =  $1 ;"),
            ("select 'it''s', 1.50, x", "select  $1 ,  $2 , x"),
            (
                "INSERT INTO t VALUES (1,'a'),(-2,'b')",
                "INSERT INTO t VALUES ( $1 , $2 ),(- $3 , $4 )",
            ),
            (
                "UPDATE t SET a=a+ 5 WHERE b IN ('x','y')",
                "UPDATE t SET a=a+  $1  WHERE b IN ( $2 , $3 )",
            ),
            (
                "SELECT a FROM t WHERE b LIKE 'x%' LIMIT 5",
                "SELECT a FROM t WHERE b LIKE  $1  LIMIT  $2 ",
            ),
        ] {
            assert_eq!(shape(text).as_deref(), Some(want), "{text}");
        }
    }

    #[test]
    fn what_may_be_more_than_a_value_stays() {
        for (text, want) in [
            ("SELECT 1, 12345678901", "SELECT  $1 , 12345678901"),
            ("SELECT 1, 0x1F, 1_0, 1e5, .5", "SELECT  $1 , 0x1F, 1_0, 1e5, .5"),
            ("SELECT 1 FROM t ORDER BY 1", "SELECT  $1  FROM t ORDER BY 1"),
            (
                "SELECT 1, E'a', N'a', U&'a', B'1', $$a$$",
                "SELECT  $1 , E'a', N'a', U&'a', B'1', $$a$$",
            ),
            ("SELECT 1, DATE '2020-01-01'", "SELECT  $1 , DATE '2020-01-01'"),
            ("SELECT 1, \"2\", a2", "SELECT  $1 , \"2\", a2"),
            ("SELECT a[1:2]", "SELECT a[ $1 :2]"),
        ] {
            assert_eq!(shape(text).as_deref(), Some(want), "{text}");
        }
    }

    #[test]
    fn other_texts_have_no_shape() {
        for text in [
            "SELECT a FROM t",
            "SELECT $1, 2",
            "SELECT 1; SELECT 2",
            "SET a = 1",
            "EXECUTE p(1)",
            "SELECT 'a",
            "SELECT 1 -- 2",
            "SELECT 1, '\u{1}'",
            "SELECT 1, \"\0\"",
            "",
        ] {
            assert_eq!(shape(text), None, "{text}");
        }
    }
}
