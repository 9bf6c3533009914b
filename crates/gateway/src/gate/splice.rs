//! Text of ours put into a client's: a schema before a name that could resolve in two places. What
//! the server then says of places in the text is put back into the client's own.

use std::fmt::Write as _;
use std::ops::Range;

/// A client's text with pieces put in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Splice {
    text: Box<str>,
    /// Where each piece stands in `text`, in characters, in order.
    pieces: Vec<Range<usize>>,
}

impl Splice {
    /// `schemas` are put before what stands at their places. `None` if there are none.
    pub(super) fn qualified(text: &str, mut schemas: Vec<(usize, &str)>) -> Option<Splice> {
        schemas.sort_unstable();
        schemas.dedup();
        let mut spliced = String::with_capacity(text.len() + schemas.len() * 16);
        let (mut pieces, mut from, mut characters) = (Vec::new(), 0, 0);
        for (place, schema) in schemas {
            let before = text.get(from..place)?;
            spliced.push_str(before);
            characters += before.chars().count();
            let piece = format!("\"{}\".", schema.replace('"', "\"\""));
            let length = piece.chars().count();
            pieces.push(characters..characters + length);
            characters += length;
            spliced.push_str(&piece);
            from = place;
        }
        spliced.push_str(text.get(from..)?);
        (!pieces.is_empty()).then(|| Splice { text: spliced.into(), pieces })
    }

    /// The text, in which `inner` may have put something already, between two of ours.
    pub(super) fn around(text: &str, inner: Option<&Splice>, prefix: &str, suffix: &str) -> Splice {
        let length = prefix.chars().count();
        let mut pieces = Vec::new();
        pieces.push(0..length);
        if let Some(inner) = inner {
            let moved = |piece: &Range<usize>| piece.start + length..piece.end + length;
            pieces.extend(inner.pieces.iter().map(moved));
        }
        let text = inner.map_or(text, Splice::text);
        Splice { text: format!("{prefix}{text}{suffix}").into(), pieces }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// An error of the server's, with its position in the client's own text.
    pub(super) fn mapped_error(&self, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(body.len());
        for field in body.split(|&byte| byte == 0) {
            let position = field
                .strip_prefix(b"P")
                .and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<usize>().ok());
            match position {
                Some(position) => {
                    let mut text = String::new();
                    // Writing to a String can't fail.
                    let _ = write!(text, "P{}", self.position_before(position));
                    out.extend_from_slice(text.as_bytes());
                }
                None => out.extend_from_slice(field),
            }
            out.push(0);
        }
        // Splitting has added an end behind the last.
        out.pop();
        out
    }

    /// Counted from 1, as PostgreSQL does.
    fn position_before(&self, position: usize) -> usize {
        let place = position.saturating_sub(1);
        let mut taken = 0;
        for piece in &self.pieces {
            if piece.end <= place {
                taken += piece.len();
            } else if piece.start <= place {
                taken += place - piece.start;
            }
        }
        position - taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_before_names() {
        let text = "SELECT 'ü' FROM t, u";
        let places = vec![(text.find('u').unwrap(), "b\"c"), (text.find("t,").unwrap(), "a")];
        let splice = Splice::qualified(text, places).unwrap();
        assert_eq!(splice.text(), "SELECT 'ü' FROM \"a\".t, \"b\"\"c\".u");
        assert_eq!(Splice::qualified(text, vec![]), None);
        assert_eq!(Splice::qualified(text, vec![(99, "a")]), None, "no place of the text");
    }

    #[test]
    fn positions_go_back() {
        let text = "SELECT 'ü' FROM t, u";
        let splice = Splice::qualified(text, vec![(text.find("t,").unwrap(), "abc")]).unwrap();
        for (name, spliced) in [("SELECT", 0), ("FROM", 0), ("t,", 6), ("u", 6)] {
            let at = |text: &str| text.chars().count();
            let own = at(text.split(name).next().unwrap()) + 1;
            let body = format!("SERROR\0P{}\0Mno\0\0", own + spliced);
            let want = format!("SERROR\0P{own}\0Mno\0\0");
            assert_eq!(splice.mapped_error(body.as_bytes()), want.as_bytes(), "{name}");
        }
        let inside = splice.mapped_error(b"P18\0\0");
        assert_eq!(inside, b"P17\0\0", "a place in what was put in is that of the name");
    }
}
