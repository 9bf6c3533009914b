//! EXPLAIN without what follows from the rows that are stored: costs, numbers of rows, widths and
//! buffers. Whether a statement has to be explained so is for others to say.

use std::ops::Range;

use crate::lex::{Kind, Token, token};
use crate::rewrite::Edit;

/// Options that tell no more than the shape of a plan, with COSTS and BUFFERS off behind them.
const SHAPE: [&str; 6] = ["buffers", "costs", "format", "generic_plan", "settings", "verbose"];

const OFF: &str = "COSTS OFF, BUFFERS OFF";

/// What has to be put into an EXPLAIN at a place in the text. `None` if an option of it tells more,
/// or it is written in no way that is known here.
pub fn without_costs(text: &str, place: Range<usize>) -> Option<Edit> {
    let text = text.get(..place.end)?;
    let mut words = Words { text, at: place.start };
    let first = words.next()?;
    first.is("explain", text).then_some(())?;
    let next = words.next()?;
    if next.is("analyze", text) || next.is("analyse", text) {
        return None;
    }
    if next.is("verbose", text) {
        let place = next.start..next.end;
        return Some(Edit { place, text: format!("(VERBOSE, {OFF})") });
    }
    if next.kind != Kind::Mark(b'(') || is_query(text, words.at) {
        let place = first.end..first.end;
        return Some(Edit { place, text: format!(" ({OFF})") });
    }
    let mut is_name = true;
    loop {
        let word = words.next()?;
        match word.kind {
            Kind::Mark(b')') => {
                let place = word.start..word.start;
                return Some(Edit { place, text: format!(", {OFF}") });
            }
            Kind::Mark(b'(') => return None,
            Kind::Mark(b',') => is_name = true,
            _ if is_name => {
                SHAPE.iter().any(|known| word.is(known, text)).then_some(())?;
                is_name = false;
            }
            _ => {}
        }
    }
}

/// Whether what stands behind a parenthesis is a query, not a list of options.
fn is_query(text: &str, at: usize) -> bool {
    let first = Words { text, at }.next();
    let queries = ["select", "values", "table", "with"];
    first.is_some_and(|word| {
        word.kind == Kind::Mark(b'(') || queries.iter().any(|query| word.is(query, text))
    })
}

struct Words<'t> {
    text: &'t str,
    at: usize,
}

impl Iterator for Words<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        loop {
            let found = token(self.text, self.at).ok()??;
            self.at = found.end;
            if !matches!(found.kind, Kind::Space | Kind::Comment) {
                return Some(found);
            }
        }
    }
}

impl Token {
    fn is(&self, word: &str, text: &str) -> bool {
        let own = text.get(self.start..self.end);
        self.kind == Kind::Word && own.is_some_and(|own| own.eq_ignore_ascii_case(word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rewrite::edited;

    fn without(text: &str) -> Option<String> {
        without_costs(text, 0..text.len()).map(|edit| edited(text, &[edit]))
    }

    #[test]
    fn costs_are_off_however_it_is_written() {
        for (text, expected) in [
            ("EXPLAIN SELECT 1", "EXPLAIN (COSTS OFF, BUFFERS OFF) SELECT 1"),
            (
                "explain/**/ verbose SELECT 1",
                "explain/**/ (VERBOSE, COSTS OFF, BUFFERS OFF) SELECT 1",
            ),
            (
                "EXPLAIN (COSTS ON, FORMAT json) SELECT 1",
                "EXPLAIN (COSTS ON, FORMAT json, COSTS OFF, BUFFERS OFF) SELECT 1",
            ),
            ("EXPLAIN (SELECT 1)", "EXPLAIN (COSTS OFF, BUFFERS OFF) (SELECT 1)"),
            ("EXPLAIN ((SELECT 1))", "EXPLAIN (COSTS OFF, BUFFERS OFF) ((SELECT 1))"),
        ] {
            assert_eq!(without(text).as_deref(), Some(expected));
        }
        let behind = "SELECT 2; EXPLAIN SELECT 1";
        let edit = without_costs(behind, 10..behind.len()).unwrap();
        assert_eq!(edit.place, 17..17);
    }

    #[test]
    fn what_tells_more_is_not_explained() {
        for text in [
            "EXPLAIN ANALYZE SELECT 1",
            "EXPLAIN (ANALYZE) SELECT 1",
            "EXPLAIN (MEMORY) SELECT 1",
            "EXPLAIN (\"costs\") SELECT 1",
            "EXPLAIN (FORMAT",
            "SELECT 1",
        ] {
            assert_eq!(without(text), None, "{text}");
        }
    }
}
