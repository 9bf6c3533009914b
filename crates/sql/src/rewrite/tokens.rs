//! The tokens of one statement, to find again in the text what the tree gives no end of.

use crate::lex::{Kind, Token, token};

/// Without space and comments.
pub(super) struct Tokens<'t> {
    text: &'t str,
    all: Vec<Token>,
}

impl<'t> Tokens<'t> {
    pub(super) fn of(text: &'t str, start: usize, end: usize) -> Self {
        let (mut all, mut position) = (Vec::new(), start);
        // What doesn't lex has not been parsed either.
        while let Ok(Some(next)) = token(text, position) {
            if next.start >= end {
                break;
            }
            position = next.end;
            if !matches!(next.kind, Kind::Space | Kind::Comment) {
                all.push(next);
            }
        }
        Self { text, all }
    }

    /// The token that starts there.
    pub(super) fn at(&self, start: usize) -> Option<usize> {
        self.all.binary_search_by_key(&start, |token| token.start).ok()
    }

    pub(super) fn start(&self, at: usize) -> Option<usize> {
        self.all.get(at).map(|token| token.start)
    }

    pub(super) fn end(&self, at: usize) -> Option<usize> {
        self.all.get(at).map(|token| token.end)
    }

    /// The last token that ends there or before.
    pub(super) fn last_before(&self, end: usize) -> Option<usize> {
        self.all.partition_point(|token| token.end <= end).checked_sub(1)
    }

    pub(super) fn is_mark(&self, at: usize, mark: u8) -> bool {
        self.all.get(at).is_some_and(|token| token.kind == Kind::Mark(mark))
    }

    /// Whether it is that keyword. Quoted names never are.
    pub(super) fn is_word(&self, at: usize, word: &str) -> bool {
        self.all.get(at).is_some_and(|token| {
            let own = self.text.get(token.start..token.end);
            token.kind == Kind::Word && own.is_some_and(|own| own.eq_ignore_ascii_case(word))
        })
    }

    /// Whether it is that keyword where a clause could begin: behind a dot it is a name.
    fn begins(&self, at: usize, word: &str) -> bool {
        let is_name = at.checked_sub(1).is_some_and(|before| self.is_mark(before, b'.'));
        !is_name && self.is_word(at, word)
    }

    /// The token that closes the parenthesis which `open` is.
    pub(super) fn closing(&self, open: usize) -> Option<usize> {
        if !self.is_mark(open, b'(') {
            return None;
        }
        let mut depth = 0usize;
        for (at, token) in self.all.iter().enumerate().skip(open) {
            match token.kind {
                Kind::Mark(b'(' | b'[') => depth += 1,
                Kind::Mark(b')' | b']') => {
                    depth = depth.checked_sub(1)?;
                    if depth == 0 {
                        return Some(at);
                    }
                }
                _ => {}
            }
        }
        None
    }

    /// From `from` on, the first token outside of parentheses that is one of the words or closes a
    /// parenthesis which was open before; else one past the last.
    pub(super) fn clause(&self, from: usize, words: &[&str]) -> usize {
        let mut depth = 0usize;
        for (at, token) in self.all.iter().enumerate().skip(from) {
            match token.kind {
                Kind::Mark(b'(' | b'[') => depth += 1,
                Kind::Mark(b')' | b']') if depth == 0 => return at,
                Kind::Mark(b')' | b']') => depth -= 1,
                Kind::Word if depth == 0 && words.iter().any(|word| self.begins(at, word)) => {
                    return at;
                }
                _ => {}
            }
        }
        self.all.len()
    }

    /// As far as the parentheses go that are open at `from`, the tokens outside of others and of
    /// CASE that are one of the words.
    pub(super) fn clauses(&self, from: usize, words: &[&str]) -> Vec<usize> {
        let (mut depth, mut cases, mut found) = (0usize, 0usize, Vec::new());
        for (at, token) in self.all.iter().enumerate().skip(from) {
            match token.kind {
                Kind::Mark(b'(' | b'[') => depth += 1,
                Kind::Mark(b')' | b']') if depth == 0 => break,
                Kind::Mark(b')' | b']') => depth -= 1,
                Kind::Word if depth > 0 => {}
                Kind::Word if self.begins(at, "case") => cases += 1,
                Kind::Word if self.begins(at, "end") => cases = cases.saturating_sub(1),
                Kind::Word if cases == 0 && words.iter().any(|word| self.begins(at, word)) => {
                    found.push(at);
                }
                _ => {}
            }
        }
        found
    }

    /// One past the last token of the item of a list that starts there, and of the list if it is the
    /// last one.
    pub(super) fn item(&self, from: usize) -> usize {
        let mut depth = 0usize;
        for (at, token) in self.all.iter().enumerate().skip(from) {
            match token.kind {
                Kind::Mark(b'(' | b'[') => depth += 1,
                Kind::Mark(b')' | b']' | b',') if depth == 0 => return at,
                Kind::Mark(b')' | b']') => depth -= 1,
                _ => {}
            }
        }
        self.all.len()
    }

    /// Whether the word comes anywhere from there on.
    pub(super) fn has_word(&self, from: usize, word: &str) -> bool {
        (from..self.all.len()).any(|at| self.is_word(at, word))
    }

    /// The token that ends a name of so many parts, which starts at `at`: names with dots between
    /// them, or `*` as the last of them.
    pub(super) fn end_of_names(&self, at: usize, parts: usize) -> Option<usize> {
        let (mut at, mut left) = (at, parts);
        loop {
            at = self.end_of_name(at)?;
            left = left.checked_sub(1)?;
            if left == 0 {
                return Some(at);
            }
            if !self.is_mark(at + 1, b'.') {
                return None;
            }
            at += 2;
        }
    }

    /// The last token of one name: behind `U&"…"` may come `UESCAPE '…'`.
    fn end_of_name(&self, at: usize) -> Option<usize> {
        match self.all.get(at)?.kind {
            Kind::QuotedName { unicode: true } if self.is_word(at + 1, "uescape") => Some(at + 2),
            Kind::Word | Kind::QuotedName { .. } | Kind::Mark(b'*') => Some(at),
            _ => None,
        }
    }
}

/// The name as PostgreSQL takes it, whatever it is.
pub(super) fn quoted(name: &str, out: &mut String) {
    out.push('"');
    for character in name.chars() {
        if character == '"' {
            out.push('"');
        }
        out.push(character);
    }
    out.push('"');
}
