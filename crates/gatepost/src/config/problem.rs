//! What is wrong with a configuration file and how that is said: file, line and column, one
//! sentence, the line itself. Turns the parser's errors into such sentences. Never shows a line
//! that may hold a secret.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_saphyr::{Error, UserMessageFormatter};

use super::place::{self, Outline, Position};

/// A line longer than this isn't shown.
const SHOWN_CHARS_MAX: usize = 160;

/// Keys of a connection for database roles of grants' own.
const ROLES: [&str; 2] = ["roles", "owner"];

/// Everything that is wrong with a configuration, in the order of the file. Its `Display` is
/// what a person reads.
#[derive(Debug)]
pub struct ConfigError {
    file: PathBuf,
    problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Debug)]
pub(crate) struct Problem {
    at: Option<Position>,
    message: String,
    line: Option<String>,
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            problem.write(f, &self.file)?;
        }
        Ok(())
    }
}

impl ConfigError {
    pub(crate) fn new(file: &Path, mut problems: Vec<Problem>) -> ConfigError {
        problems.sort_by_key(|problem| problem.at);
        ConfigError { file: file.to_owned(), problems }
    }

    /// Something about the file as a whole.
    pub(crate) fn of_file(file: &Path, message: impl Into<String>) -> ConfigError {
        ConfigError::new(file, vec![Problem { at: None, message: message.into(), line: None }])
    }
}

impl Problem {
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// As it is shown by itself.
    pub(crate) fn shown(&self, file: &Path) -> String {
        struct Shown<'p>(&'p Problem, &'p Path);

        impl fmt::Display for Shown<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.write(f, self.1)
            }
        }

        Shown(self, file).to_string()
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, file: &Path) -> fmt::Result {
        let Some(at) = self.at else {
            return write!(f, "{}: {}", file.display(), self.message);
        };
        write!(f, "{}:{}:{}: {}", file.display(), at.line, at.column, self.message)?;
        let Some(line) = &self.line else {
            return Ok(());
        };
        let number = at.line.to_string();
        let indent = " ".repeat(number.len());
        let caret = " ".repeat(at.column - 1);
        write!(f, "\n{indent} |\n{number} | {line}\n{indent} | {caret}^")
    }
}

/// The text that problems are found in.
pub(crate) struct Text<'a> {
    text: &'a str,
    /// `None` if it isn't YAML.
    outline: Option<Outline>,
}

impl<'a> Text<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Text { text, outline: Outline::of(text) }
    }

    pub(crate) fn problem(&self, at: Option<Position>, message: impl Into<String>) -> Problem {
        let mut escaped = String::new();
        // A key or a value in the message may hold anything, and may not steer the terminal.
        for c in message.into().chars() {
            if c.is_control() {
                escaped.extend(c.escape_default());
            } else {
                escaped.push(c);
            }
        }
        Problem { at, message: escaped, line: at.and_then(|at| self.shown(at)) }
    }

    /// The parser's error in our words. It stops at the first one.
    pub(crate) fn parse_problem(&self, error: &Error) -> Problem {
        let error = error.without_snippet();
        let at = error.location().and_then(Position::of);
        // Where the parser lost its way isn't always a line that there is.
        let last = self.text.lines().count().max(1);
        let at = at.map(|at| Position { line: at.line.min(last), ..at });
        self.problem(at, self.sentence(error, at))
    }

    /// What the error says about the thing at `at`, without the place.
    pub(crate) fn sentence(&self, error: &Error, at: Option<Position>) -> String {
        let outline = self.outline.as_ref();
        let above_key = || around(at.and_then(|at| outline?.around_key(at)));
        match error {
            Error::AliasError { error, .. } => self.sentence(error, at),
            Error::SerdeUnknownField { field, expected, .. } if expected.is_empty() => {
                format!("unknown key `{field}`{}", above_key())
            }
            Error::SerdeUnknownField { field, expected, .. }
                if ROLES.contains(&&**field) && expected.contains(&"connect_timeout") =>
            {
                format!(
                    "`{field}`{} is not built yet: all sessions log in as `user`; take it out",
                    above_key()
                )
            }
            Error::SerdeUnknownField { field, expected, .. } => {
                let hint = match super::nearest(field, expected) {
                    Some(key) => format!("did you mean `{key}`?"),
                    None => format!("the keys here are {}", listed(expected, "and")),
                };
                format!("unknown key `{field}`{}; {hint}", above_key())
            }
            Error::DuplicateMappingKey { key: Some(key), .. } => {
                format!("the key `{key}` is there twice{}", above_key())
            }
            Error::SerdeMissingField { field, .. } => {
                // The parser names the map's first key, which in a block is where the map begins.
                let place = at
                    .and_then(|at| outline?.to_map(at).or_else(|| outline?.around_key(at)))
                    .unwrap_or_default();
                match place {
                    [] => format!("`{field}` is missing"),
                    place => format!("{} has no `{field}`", called(place)),
                }
            }
            Error::SerdeUnknownVariant { variant, expected, .. } => {
                let hint = match super::nearest(variant, expected) {
                    Some(value) => format!("did you mean `{value}`?"),
                    None => format!("it can be {}", listed(expected, "or")),
                };
                format!("{} can't be `{variant}`; {hint}", self.value(at))
            }
            Error::SerdeInvalidType { expected, .. }
            | Error::SerdeInvalidValue { expected, .. } => {
                format!("{} must be {expected}", self.value(at))
            }
            Error::Unexpected { expected: "mapping start", .. } => {
                format!("{} must be a map", self.value(at))
            }
            Error::Unexpected { expected: "sequence start", .. } => {
                format!("{} must be a list", self.value(at))
            }
            Error::NullIntoString { .. } => format!("{} has no value", self.value(at)),
            Error::UnknownAnchor { .. } => {
                "`*` begins an alias, and there is no anchor for it; a name with `*` needs quotes"
                    .to_owned()
            }
            Error::MergeKeyNotAllowed { .. } => {
                "there are no merge keys (`<<`) here; write the keys out".to_owned()
            }
            Error::MultipleDocuments { .. } => {
                "a second document begins here; the file is one document".to_owned()
            }
            Error::Eof { .. } if self.is_blank() => {
                "the file is empty; it needs at least `connections`".to_owned()
            }
            other => {
                let text = other.render_with_formatter(&UserMessageFormatter);
                // The position is in front already.
                let end = text.find(" at line ").unwrap_or(text.len());
                text.get(..end).unwrap_or(&text).to_owned()
            }
        }
    }

    fn is_blank(&self) -> bool {
        self.text.lines().map(str::trim).all(|line| line.is_empty() || line.starts_with('#'))
    }

    fn value(&self, at: Option<Position>) -> String {
        let path = at.and_then(|at| self.outline.as_ref()?.to_value(at)).unwrap_or_default();
        match path.split_last() {
            _ if matches!(path, [map, _] if map == "connections" || map == "identities") => {
                called(path)
            }
            Some((key, above)) => format!("`{key}`{}", around(Some(above))),
            None => "the file".to_owned(),
        }
    }

    fn shown(&self, at: Position) -> Option<String> {
        let line = self.text.lines().nth(at.line - 1)?;
        let hidden = match &self.outline {
            // A URL can have a password in it.
            _ if line.contains("://") || line.contains('@') => true,
            Some(outline) => outline.holds_secret(at.line),
            // Without an outline nobody knows where a secret ends: whatever follows the first
            // word that may announce one stays unseen.
            None => self.text.lines().take(at.line).any(place::names_a_secret),
        };
        let length = line.chars().count();
        if hidden || length > SHOWN_CHARS_MAX || at.column > length + 1 {
            return None;
        }
        // Nothing in the file may steer the terminal, and the caret must stay below its place.
        Some(line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect())
    }
}

/// The key that was probably meant.
pub(crate) fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    candidates
        .iter()
        .map(|candidate| (distance(word, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's, one row at a time. Keys are short, but what a file holds need not be.
fn distance(a: &str, b: &str) -> usize {
    if a.len() > 64 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, a) in a.chars().enumerate() {
        let mut left = i + 1;
        let mut diagonal = i;
        for (slot, b) in row.iter_mut().skip(1).zip(b.chars()) {
            let above = *slot;
            left = (diagonal + usize::from(a != b)).min(above + 1).min(left + 1);
            diagonal = above;
            *slot = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

fn around(path: Option<&[String]>) -> String {
    match path {
        None | Some([]) => String::new(),
        Some(path) => format!(" in {}", called(path)),
    }
}

fn called(path: &[String]) -> String {
    match path {
        [] => "the file".to_owned(),
        [map, name] if map == "connections" => format!("connection `{name}`"),
        [map, name] if map == "identities" => format!("identity `{name}`"),
        [map, _] | [map] => match path {
            [_, key] => format!("`{key}` in `{map}`"),
            _ => format!("`{map}`"),
        },
        [above @ .., key] => format!("`{key}` of {}", called(above)),
    }
}

fn listed(words: &[&str], last_joined_by: &str) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => {
            format!("{} {last_joined_by} {last}", rest.join(", "))
        }
        _ => quoted.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_keys_are_found_and_far_ones_are_not() {
        let keys = ["address", "database", "tls", "user"];
        assert_eq!(nearest("adress", &keys), Some("address"));
        assert_eq!(nearest("datbase", &keys), Some("database"));
        assert_eq!(nearest("tsl", &keys), None);
        assert_eq!(nearest("usr", &keys), Some("user"));
        assert_eq!(nearest("port", &keys), None);
        assert_eq!(nearest(&"a".repeat(100_000), &keys), None);
    }

    #[test]
    fn distances() {
        for (a, b, want) in [("", "", 0), ("a", "", 1), ("kitten", "sitting", 3), ("ab", "ba", 2)] {
            assert_eq!(distance(a, b), want, "{a} {b}");
        }
    }
}
