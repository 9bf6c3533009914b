//! Text of ours put into a client's: a schema before a name that could resolve in two places, a
//! disguised relation in the place of what is read. What the server then says of places in the text
//! is put back into the client's own.

use std::fmt::Write as _;
use std::ops::Range;

use sql::rewrite::Edit;

/// A client's text with pieces put in, and others put in the place of its own.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Splice {
    text: Box<str>,
    /// In order.
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Piece {
    /// Where it stands in `text`, in characters.
    place: Range<usize>,
    /// Characters of the client's whose place it takes.
    taken: usize,
}

impl Splice {
    /// `schemas` are put before what stands at their places. `None` if there are none.
    #[cfg(test)]
    fn qualified(text: &str, schemas: Vec<(usize, &str)>) -> Option<Splice> {
        let edits: Vec<Edit> =
            schemas.into_iter().map(|(place, schema)| qualifying(place, schema)).collect();
        if edits.is_empty() { None } else { Splice::edited(text, edits) }
    }

    /// The text with the edits made. `None` if two overlap, or one is not of the text.
    pub(super) fn edited(text: &str, mut edits: Vec<Edit>) -> Option<Splice> {
        edits.sort_by_key(|edit| (edit.place.start, edit.place.end));
        edits.dedup();
        let more: usize = edits.iter().map(|edit| edit.text.len()).sum();
        let mut spliced = String::with_capacity(text.len() + more);
        let (mut pieces, mut from, mut characters) = (Vec::new(), 0, 0);
        for Edit { place, text: piece } in edits {
            let before = text.get(from..place.start)?;
            let taken = text.get(place.clone())?.chars().count();
            spliced.push_str(before);
            characters += before.chars().count();
            let length = piece.chars().count();
            pieces.push(Piece { place: characters..characters + length, taken });
            characters += length;
            spliced.push_str(&piece);
            from = place.end;
        }
        spliced.push_str(text.get(from..)?);
        Some(Splice { text: spliced.into(), pieces })
    }

    /// The text, in which `inner` may have put something already, between two of ours.
    pub(super) fn around(text: &str, inner: Option<&Splice>, prefix: &str, suffix: &str) -> Splice {
        let length = prefix.chars().count();
        let mut pieces = Vec::new();
        pieces.push(Piece { place: 0..length, taken: 0 });
        if let Some(inner) = inner {
            let moved = |piece: &Piece| Piece {
                place: piece.place.start + length..piece.place.end + length,
                taken: piece.taken,
            };
            pieces.extend(inner.pieces.iter().map(moved));
        }
        let text = inner.map_or(text, Splice::text);
        Splice { text: format!("{prefix}{text}{suffix}").into(), pieces }
    }

    /// The same of a part of the client's text. `None` if nothing was put into it.
    pub(super) fn of_part(&self, text: &str, part: &Range<usize>) -> Option<Splice> {
        let begins = text.get(..part.start)?.chars().count();
        let ends = begins + text.get(part.clone())?.chars().count();
        let (mut put_in, mut taken) = (0, 0);
        let (mut from, mut until) = (begins, ends);
        let mut pieces = Vec::new();
        for piece in &self.pieces {
            let own = piece.place.start + taken - put_in;
            put_in += piece.place.len();
            taken += piece.taken;
            if own + piece.taken <= begins && own < begins {
                from = begins + put_in - taken;
            } else if own <= ends {
                let place = piece.place.start - from..piece.place.end - from;
                pieces.push(Piece { place, taken: piece.taken });
            } else {
                break;
            }
            until = ends + put_in - taken;
        }
        let text: String = self.text.chars().skip(from).take(until.checked_sub(from)?).collect();
        (!pieces.is_empty()).then(|| Splice { text: text.into(), pieces })
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
        let (mut put_in, mut taken) = (0, 0);
        for piece in &self.pieces {
            if piece.place.end <= place {
                put_in += piece.place.len();
                taken += piece.taken;
            } else if piece.place.start <= place {
                put_in += place - piece.place.start;
            }
        }
        position - put_in + taken
    }
}

/// A schema before a name.
pub(super) fn qualifying(place: usize, schema: &str) -> Edit {
    Edit { place: place..place, text: format!("\"{}\".", schema.replace('"', "\"\"")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_text_has_what_was_put_into_it() {
        let text = "SELECT ü; SELECT a FROM t; SELECT b";
        let put = |word: &str, text_of_ours: &str| {
            let start = text.find(word).unwrap();
            Edit { place: start..start + word.len(), text: text_of_ours.to_owned() }
        };
        let whole = Splice::edited(text, vec![put("ü", "\"x\".ü"), put("t;", "(u) t;")]).unwrap();
        let part = |statement: &str| {
            let start = text.find(statement).unwrap();
            whole.of_part(text, &(start..start + statement.len()))
        };
        let of = |statement: &str, edits| Splice::edited(statement, edits);
        let own = |at, text: &str| Edit { place: at, text: text.to_owned() };
        assert_eq!(part("SELECT ü"), of("SELECT ü", vec![own(7..9, "\"x\".ü")]));
        assert_eq!(part("SELECT a FROM t;"), of("SELECT a FROM t;", vec![own(14..16, "(u) t;")]));
        assert_eq!(part("SELECT b"), None);
    }

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

    #[test]
    fn what_is_replaced_is_one_place() {
        let text = "SELECT ü FROM t, u";
        let at = |name: &str| text.find(name).unwrap();
        let put = |place, text: &str| Edit { place, text: text.to_owned() };
        let t = at("t,");
        let splice =
            Splice::edited(text, vec![put(t..t + 1, "(SELECT 1) t"), qualifying(at("u"), "a")]);
        let splice = splice.unwrap();
        assert_eq!(splice.text(), "SELECT ü FROM (SELECT 1) t, \"a\".u");
        // Inside what was put in, behind it, and behind both.
        for (theirs, own) in [(8, 8), (15, 15), (20, 15), (27, 16), (29, 18), (33, 18)] {
            let body = format!("P{theirs}\0\0");
            assert_eq!(splice.mapped_error(body.as_bytes()), format!("P{own}\0\0").as_bytes());
        }
        let overlap = vec![put(7..12, "a"), put(9..10, "b")];
        assert_eq!(Splice::edited(text, overlap), None);
    }
}
