//! Policies as they are written, each piece with its place; and what is wrong with them. Knows
//! nothing of YAML and reads nothing of what the texts mean.

/// Line and column in the file, both from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub line: u32,
    pub column: u32,
}

/// A text and where it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    pub text: String,
    pub place: Place,
}

/// One entry of `policies`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    pub name: Text,
    pub who: Vec<Who>,
    pub to: Vec<Text>,
    pub access: Option<Access>,
    pub allow: Vec<Rule>,
    pub hold: Vec<Rule>,
    pub refuse: Vec<Rule>,
    pub limits: Vec<(Text, Vec<Text>)>,
    pub mask: Vec<(Text, Mask)>,
    pub unmask: Vec<Text>,
    pub rows: Vec<(Text, Text)>,
    pub scan: Option<Scan>,
    pub recording: Option<Text>,
}

/// One of the alternatives under `who` or `by`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// `group:dba`, or `*`.
    One(Text),
    /// A map: all of it must hold. Of several values for one key any does.
    All(Vec<(Text, Vec<Text>)>, Place),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    pub place: Place,
    pub window: Option<Text>,
    pub longest: Option<Text>,
    pub approval: Option<Approval>,
    pub reason: Option<Text>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Approval {
    /// `none`, or something else that is wrong.
    Word(Text),
    By {
        place: Place,
        by: Vec<Who>,
        need: Option<Text>,
    },
}

/// `verbs: objects`, with what narrows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    pub verbs: Text,
    pub objects: Vec<Text>,
    pub except: Vec<Text>,
    pub conditions: Vec<Text>,
    pub by: Vec<Who>,
    pub need: Option<Text>,
    pub shape: Option<Text>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mask {
    Named(Text),
    Sql(Text),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    pub place: Place,
    pub columns: Vec<Text>,
    pub kinds: Vec<Text>,
}

/// Something that is wrong, with a sentence that says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    pub place: Place,
    pub message: String,
}

impl Problem {
    pub(crate) fn new(place: Place, message: impl Into<String>) -> Self {
        Self { place, message: message.into() }
    }
}

impl Text {
    /// The parts between commas that stand outside parentheses and quotes, each trimmed and with
    /// its place. An empty part is one, so that `a,,b` is noticed.
    pub(crate) fn split(&self) -> Result<Vec<Text>, Problem> {
        let mut parts = Vec::new();
        let (mut depth, mut quoted, mut start) = (0usize, false, 0);
        let ends = [(self.text.len(), ',')];
        for (at, letter) in self.text.char_indices().chain(ends) {
            match letter {
                '"' => quoted = !quoted,
                _ if quoted && at < self.text.len() => {}
                '(' => depth += 1,
                ')' => {
                    depth = depth.checked_sub(1).ok_or_else(|| self.unbalanced())?;
                }
                ',' if depth == 0 || at == self.text.len() => {
                    let part = self.text.get(start..at).unwrap_or_default();
                    let before = self.text.get(..start).unwrap_or_default();
                    let skipped = part.len() - part.trim_start().len();
                    let column = before.chars().count() + skipped;
                    parts.push(Text {
                        text: part.trim().to_owned(),
                        place: Place {
                            line: self.place.line,
                            column: self.place.column + u32::try_from(column).unwrap_or_default(),
                        },
                    });
                    start = at + 1;
                }
                _ => {}
            }
        }
        if depth > 0 || quoted {
            return Err(self.unbalanced());
        }
        Ok(parts)
    }

    fn unbalanced(&self) -> Problem {
        let message = format!(
            "`{}` has a parenthesis or a quote that is not closed; in a list in brackets YAML \
             splits at commas, so quote each object",
            self.text
        );
        Problem::new(self.place, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Option<Vec<(String, u32)>> {
        let place = Place { line: 3, column: 10 };
        let parts = Text { text: text.to_owned(), place }.split().ok()?;
        Some(parts.into_iter().map(|part| (part.text, part.place.column)).collect())
    }

    #[test]
    fn commas_split_outside_parentheses_and_quotes() {
        let part = |text: &str, column| (text.to_owned(), column);
        assert_eq!(split("a"), Some(vec![part("a", 10)]));
        assert_eq!(split("a.*(b, c), d"), Some(vec![part("a.*(b, c)", 10), part("d", 21)]));
        assert_eq!(split(r#""a,b".c, d"#), Some(vec![part(r#""a,b".c"#, 10), part("d", 19)]));
        assert_eq!(split("a,,b").map(|parts| parts.len()), Some(3));
        assert_eq!(split("ü, b"), Some(vec![part("ü", 10), part("b", 13)]));
        for unbalanced in ["a(b", "a)", "\"a", "a(\")"] {
            assert_eq!(split(unbalanced), None, "{unbalanced}");
        }
    }
}
