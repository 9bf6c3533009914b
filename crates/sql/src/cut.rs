//! Names that a server reads otherwise than the grammar does, because its encoding is not UTF-8: it
//! cuts them at 63 bytes of its own, and may fold letters that are not ASCII.
//! <https://www.postgresql.org/docs/current/sql-syntax-lexical.html#SQL-SYNTAX-IDENTIFIERS>

use crate::lex::{Kind, token};

/// The server's NAMEDATALEN, less one.
const NAME_BYTES_MAX: usize = 63;

/// Whether a name in the text could be another one to such a server.
pub fn may_read_otherwise(text: &str) -> bool {
    if text.is_ascii() && !text.contains("&\"") {
        return false;
    }
    let mut position = 0;
    while let Ok(found) = token(text, position) {
        let Some(found) = found else { return false };
        let piece = text.get(found.start..found.end).unwrap_or_default();
        let is_long = piece.len() > NAME_BYTES_MAX;
        let otherwise = match found.kind {
            Kind::Word => !piece.is_ascii() && (is_long || piece.chars().any(folds)),
            Kind::QuotedName { unicode } => is_long && (unicode || !piece.is_ascii()),
            _ => false,
        };
        if otherwise {
            return true;
        }
        position = found.end;
    }
    // What can't be read to its end may hold anything.
    true
}

fn folds(letter: char) -> bool {
    !letter.is_ascii() && letter.is_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_cut_or_folded_and_their_near_twins() {
        let long = "é".repeat(32);
        let fits = "é".repeat(31);
        for (text, expected) in [
            (format!("SELECT {long}"), true),
            (format!("SELECT {fits}"), false),
            (format!("SELECT \"{long}\""), true),
            (format!("SELECT \"{}\"", "é".repeat(30)), false),
            (format!("SELECT '{long}', $${long}$$ -- {long}"), false),
            (format!("SELECT U&\"{}\"", r"\00e9".repeat(40)), true),
            (format!("SELECT U&\"{}\"", r"\00e9".repeat(10)), false),
            (format!("SELECT {}", "e".repeat(70)), false),
            (format!("SELECT \"{}\"", "e".repeat(70)), false),
            ("SELECT prénom FROM Équipe".to_owned(), true),
            ("SELECT prénom FROM \"Équipe\"".to_owned(), false),
            ("SELECT 'é".to_owned(), true),
        ] {
            assert_eq!(may_read_otherwise(&text), expected, "{text}");
        }
    }
}
