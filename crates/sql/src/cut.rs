//! Names that a server reads otherwise than the grammar does, because an encoding is not UTF-8. The
//! server's own: it cuts names at 63 bytes of that, and may fold letters that are not ASCII. The
//! client's: what isn't ASCII has been made one letter, and names that differ are one.
//! <https://www.postgresql.org/docs/current/sql-syntax-lexical.html#SQL-SYNTAX-IDENTIFIERS>

use crate::lex::{Kind, token};

/// The server's NAMEDATALEN, less one.
const NAME_BYTES_MAX: usize = 63;
const QUOTES: usize = 2;

/// Whether a name in the text could be another one to a server of another encoding.
pub fn may_read_otherwise(text: &str) -> bool {
    if text.is_ascii() && !text.contains("&\"") {
        return false;
    }
    has_name(text, |kind, name| {
        let is_longer = |than: usize| name.len() > than;
        match kind {
            // Escapes are longer than what they stand for.
            Kind::QuotedName { unicode } => {
                is_longer(NAME_BYTES_MAX + QUOTES) && (unicode || !name.is_ascii())
            }
            _ => !name.is_ascii() && (is_longer(NAME_BYTES_MAX) || name.chars().any(folds)),
        }
    })
}

/// Whether a name in the text has this letter.
pub fn has_name_with(text: &str, letter: char) -> bool {
    text.contains(letter) && has_name(text, |_, name| name.contains(letter))
}

fn has_name(text: &str, is_meant: impl Fn(Kind, &str) -> bool) -> bool {
    let mut position = 0;
    while let Ok(found) = token(text, position) {
        let Some(found) = found else { return false };
        let piece = text.get(found.start..found.end).unwrap_or_default();
        if matches!(found.kind, Kind::Word | Kind::QuotedName { .. }) && is_meant(found.kind, piece)
        {
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
            (format!("SELECT \"{fits}\""), false),
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
        for (text, expected) in [
            ("SELECT \"a?\".id FROM a \"a?\"", true),
            ("SELECT 'a?', $$?$$ /* ? */", false),
            ("SELECT a ? b", false),
            ("SELECT a", false),
        ] {
            assert_eq!(has_name_with(text, '?'), expected, "{text}");
        }
    }
}
