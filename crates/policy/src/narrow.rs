//! A narrower scope than the policies give, as who asks for a grant writes it: rules of the file's own
//! shape, `read: public.orders; update: public.orders(status)`. It gives nothing by itself: a
//! statement passes where the policies and these rules allow all of its parts.

use std::sync::Arc;

use crate::rule::{Effect, Rule};
use crate::written::{self, Place, Problem, Text};

/// Rules of one scope.
const RULES_MAX: usize = 100;

/// What is asked for, and nothing else.
#[derive(Debug)]
pub struct Narrow {
    text: Arc<str>,
    rules: Vec<Arc<Rule>>,
}

/// What a narrower scope comes to beside the policies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Narrowed {
    /// What there is of it: `read public.orders(id, status)`.
    pub given: Vec<String>,
    /// What the policies don't give, or what isn't there.
    pub lacking: Vec<String>,
}

impl Narrow {
    /// Or a sentence that says what is wrong.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut problems = Vec::new();
        let mut rules = Vec::new();
        for piece in pieces(text, |letter| matches!(letter, ';' | '\n')) {
            let piece = piece.trim();
            if piece.is_empty() {
                continue;
            }
            if rules.len() >= RULES_MAX {
                return Err(format!("A scope has at most {RULES_MAX} rules."));
            }
            let place = Place { line: 1, column: 1 };
            let at = |text: &str| Text { text: text.trim().to_owned(), place };
            let (verbs, objects) = match *pieces(piece, |letter| letter == ':') {
                [verbs] => (at(verbs), Vec::new()),
                [verbs, ..] => {
                    let objects = piece.get(verbs.len() + 1..).unwrap_or_default();
                    (at(verbs), vec![at(objects)])
                }
                [] => continue,
            };
            let written = written::Rule { verbs, objects, ..written::Rule::default() };
            let rule = Rule::read(&written, Effect::Allow, "scope", None, &mut problems);
            rules.extend(rule.map(Arc::new));
        }
        match problems.first() {
            Some(Problem { message, .. }) => Err(format!("In the scope: {message}.")),
            None if rules.is_empty() => Err("A scope without rules lets nothing pass.".to_owned()),
            None => Ok(Self { text: text.into(), rules }),
        }
    }

    /// As it was written.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    pub(crate) fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }
}

/// The parts between letters that stand outside of quotes and parentheses.
fn pieces(text: &str, ends: impl Fn(char) -> bool) -> Vec<&str> {
    let (mut pieces, mut from, mut quoted, mut depth) = (Vec::new(), 0, false, 0_usize);
    for (at, letter) in text.char_indices() {
        match letter {
            '"' => quoted = !quoted,
            _ if quoted => {}
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            letter if depth == 0 && ends(letter) => {
                pieces.push(text.get(from..at).unwrap_or_default());
                from = at + letter.len_utf8();
            }
            _ => {}
        }
    }
    pieces.push(text.get(from..).unwrap_or_default());
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Result<Vec<String>, String> {
        let narrow = Narrow::read(text)?;
        Ok(narrow.rules.iter().map(|rule| rule.name.rule.to_string()).collect())
    }

    #[test]
    fn rules_of_the_files_own_shape() {
        let read = rules("read: public.orders, a.b ;\n update: public.orders(status, note);");
        assert_eq!(
            read.unwrap(),
            ["read: public.orders, a.b", "update: public.orders(status, note)"]
        );
        assert_eq!(rules(r#"read: "a;b"."c:d""#).unwrap(), [r#"read: "a;b"."c:d""#]);
        assert_eq!(rules("use: extension:postgis").unwrap(), ["use: extension:postgis"]);
        assert_eq!(rules("everything").unwrap(), ["everything"]);
    }

    #[test]
    fn what_is_no_scope_is_said() {
        for wrong in ["", " ; ", "select: public.t", "read: t", "read: public.t(", "read"] {
            // A verb alone is about all there is, as in the file.
            assert_eq!(rules(wrong).is_err(), wrong != "read", "{wrong}");
        }
        let many = "read: a.b;".repeat(RULES_MAX + 1);
        assert!(rules(&many).is_err());
        assert!(rules(&"read: a.b;".repeat(RULES_MAX)).is_ok());
    }
}
