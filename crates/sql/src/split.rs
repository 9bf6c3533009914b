//! Where one statement of a string ends and the next begins, by lexing alone. The grammar will
//! know better; until then this is what psql does.

use std::ops::Range;

use crate::lex::{Kind, Unlexed, token};

/// The statements of `text` without the semicolons between them, each with the comments before
/// it; pieces with nothing but space and comments are no statements. A semicolon inside parentheses (CREATE RULE) or inside the body of
/// a function in SQL (BEGIN ATOMIC … END) ends nothing.
pub fn statements(text: &str) -> Result<Vec<Range<usize>>, Unlexed> {
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut piece = Piece::default();
    let (mut position, mut start) = (0, None);
    while let Some(token) = token(text, position)? {
        position = token.end;
        match token.kind {
            Kind::Space => continue,
            Kind::Mark(b';') if piece.parentheses == 0 && piece.blocks == 0 => {
                if std::mem::take(&mut piece).is_begun {
                    found.push(start.take().unwrap_or(token.start)..token.start);
                }
                continue;
            }
            Kind::Comment => {}
            kind => {
                piece.is_begun = true;
                match kind {
                    Kind::Mark(b'(') => piece.parentheses += 1,
                    Kind::Mark(b')') => piece.parentheses = piece.parentheses.saturating_sub(1),
                    Kind::Word => {
                        piece.word(text.get(token.start..token.end).unwrap_or_default());
                    }
                    _ => {}
                }
            }
        }
        start.get_or_insert(token.start);
    }
    let rest = start.unwrap_or(text.len())..text.len();
    match found.last_mut() {
        // Nothing but comments: they belong to what they stand behind.
        Some(last) if !piece.is_begun && !rest.is_empty() => last.end = text.len(),
        _ if piece.is_begun => found.push(rest),
        _ => {}
    }
    let trimmed = found.into_iter().map(|span| {
        let piece = text.get(span.clone()).unwrap_or_default();
        span.start..span.start + piece.trim_end().len()
    });
    Ok(trimmed.collect())
}

/// What has been read of one statement.
#[derive(Default)]
struct Piece {
    /// There is more than space and comments.
    is_begun: bool,
    parentheses: usize,
    /// BEGIN and CASE without their END, in a routine's body.
    blocks: usize,
    words: usize,
    opens_routine: bool,
    is_create: bool,
}

impl Piece {
    fn word(&mut self, word: &str) {
        let is = |other: &str| word.eq_ignore_ascii_case(other);
        self.words += 1;
        match self.words {
            1 => self.is_create = is("create"),
            // CREATE FUNCTION, or CREATE OR REPLACE FUNCTION.
            2 | 4 if self.is_create && (is("function") || is("procedure")) => {
                self.opens_routine = true;
            }
            _ if !self.opens_routine => {}
            _ if is("begin") || (self.blocks > 0 && is("case")) => self.blocks += 1,
            _ if is("end") => self.blocks = self.blocks.saturating_sub(1),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_of_a_string() {
        for (text, want) in [
            ("", vec![]),
            (" ; -- nothing\n;/* ; */", vec![]),
            (
                "/* a */ SELECT 1; -- b\n;SELECT 2 /* c */; -- d",
                vec!["/* a */ SELECT 1", "-- b\n;SELECT 2 /* c */; -- d"],
            ),
            ("SELECT 1", vec!["SELECT 1"]),
            (" SELECT 1 ; ", vec!["SELECT 1"]),
            (
                "BEGIN; INSERT INTO t VALUES (';'); COMMIT",
                vec!["BEGIN", "INSERT INTO t VALUES (';')", "COMMIT"],
            ),
            (
                "SELECT $$;$$; SELECT ';', \";\" -- ;\n, 2",
                vec!["SELECT $$;$$", "SELECT ';', \";\" -- ;\n, 2"],
            ),
            (
                "CREATE RULE r AS ON INSERT TO t DO (DELETE FROM a; DELETE FROM b); SELECT 1",
                vec![
                    "CREATE RULE r AS ON INSERT TO t DO (DELETE FROM a; DELETE FROM b)",
                    "SELECT 1",
                ],
            ),
            (
                "create or replace function f() returns int begin atomic select 1; \
                 select case when true then 1 end; end; select 2",
                vec![
                    "create or replace function f() returns int begin atomic select 1; \
                     select case when true then 1 end; end",
                    "select 2",
                ],
            ),
            ("begin; select 1; end", vec!["begin", "select 1", "end"]),
            ("select 1); select 2", vec!["select 1)", "select 2"]),
        ] {
            let found = statements(text).unwrap();
            let found: Vec<&str> = found.into_iter().map(|span| text.get(span).unwrap()).collect();
            assert_eq!(found, want, "{text}");
        }
        assert_eq!(statements("SELECT 'x"), Err(Unlexed));
    }
}
