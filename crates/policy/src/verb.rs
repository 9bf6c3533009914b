//! What can be done: the verbs of rules, the groups among them, and PostgreSQL's own names of
//! commands.

/// One thing that is done with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Verb {
    Read,
    Insert,
    Update,
    Delete,
    Truncate,
    Lock,
    Use,
    Call,
    Create,
    Alter,
    Drop,
    Comment,
    Maintain,
    Set,
    Listen,
    Notify,
}

/// Every verb by its name.
pub(crate) const VERBS: [(&str, Verb); 16] = [
    ("read", Verb::Read),
    ("insert", Verb::Insert),
    ("update", Verb::Update),
    ("delete", Verb::Delete),
    ("truncate", Verb::Truncate),
    ("lock", Verb::Lock),
    ("use", Verb::Use),
    ("call", Verb::Call),
    ("create", Verb::Create),
    ("alter", Verb::Alter),
    ("drop", Verb::Drop),
    ("comment", Verb::Comment),
    ("maintain", Verb::Maintain),
    ("set", Verb::Set),
    ("listen", Verb::Listen),
    ("notify", Verb::Notify),
];

/// Names that stand for several.
const GROUPS: [(&str, &[Verb]); 2] = [
    ("write", &[Verb::Insert, Verb::Update, Verb::Delete]),
    ("ddl", &[Verb::Create, Verb::Alter, Verb::Drop, Verb::Comment]),
];

pub(crate) const EVERYTHING: &str = "everything";

/// Commands whose objects live in schemas, or are on what does.
const IN_SCHEMAS: &[&str] = &[
    "aggregate",
    "collation",
    "conversion",
    "domain",
    "foreign table",
    "function",
    "index",
    "materialized view",
    "operator",
    "operator class",
    "operator family",
    "policy",
    "procedure",
    "routine",
    "rule",
    "sequence",
    "statistics",
    "table",
    "text search configuration",
    "text search dictionary",
    "text search parser",
    "text search template",
    "trigger",
    "type",
    "view",
];

/// Commands whose objects have a name alone.
const ALONE: &[&str] = &[
    "access method",
    "cast",
    "database",
    "event trigger",
    "extension",
    "foreign data wrapper",
    "group",
    "language",
    "large object",
    "parameter",
    "publication",
    "role",
    "schema",
    "server",
    "subscription",
    "tablespace",
    "transform",
    "user",
    "user mapping",
];

/// Commands with names of their own, and whether their objects live in schemas.
const OTHERS: &[(&str, bool)] = &[
    ("alter default privileges", false),
    ("alter owner", true),
    ("alter system", false),
    ("alter table all in tablespace", false),
    ("analyze", true),
    ("checkpoint", false),
    ("cluster", true),
    ("commit prepared", false),
    ("copy from file", false),
    ("copy from program", false),
    ("copy to file", false),
    ("copy to program", false),
    ("create table as", true),
    ("disable row level security", true),
    ("disable rule", true),
    ("disable trigger", true),
    ("do", false),
    ("drop owned", false),
    ("enable row level security", true),
    ("enable rule", true),
    ("enable trigger", true),
    ("force row level security", true),
    ("grant", true),
    ("grant role", false),
    ("import foreign schema", false),
    ("load", false),
    ("no force row level security", true),
    ("prepare transaction", false),
    ("reassign owned", false),
    ("refresh materialized view", true),
    ("reindex", true),
    ("revoke", true),
    ("revoke role", false),
    ("rollback prepared", false),
    ("security definer", true),
    ("security label", true),
    ("select into", true),
    ("set constraints", false),
    ("vacuum", true),
    ("vacuum full", true),
];

/// What a word of a rule means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    Verbs(Verbs),
    Command { name: Box<str>, in_schema: bool },
    Everything,
}

/// A set of verbs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verbs(u32);

impl Verbs {
    pub(crate) fn has(self, verb: Verb) -> bool {
        self.0 & (1 << verb as u8) != 0
    }

    pub(crate) fn overlap(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    pub(crate) fn is_within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Verb> {
        VERBS.into_iter().map(|(_, verb)| verb).filter(move |verb| self.has(*verb))
    }
}

impl FromIterator<Verb> for Verbs {
    fn from_iter<I: IntoIterator<Item = Verb>>(verbs: I) -> Self {
        Self(verbs.into_iter().fold(0, |set, verb| set | 1 << verb as u8))
    }
}

impl Verb {
    pub fn name(self) -> &'static str {
        VERBS.iter().find(|(_, verb)| *verb == self).map_or("", |(name, _)| name)
    }
}

/// `None` if there is no such verb or command.
pub(crate) fn word(text: &str) -> Option<Word> {
    let text = text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
    if text == EVERYTHING {
        return Some(Word::Everything);
    }
    if let Some((_, verb)) = VERBS.iter().find(|(name, _)| *name == text) {
        return Some(Word::Verbs([*verb].into_iter().collect()));
    }
    if let Some((_, verbs)) = GROUPS.iter().find(|(name, _)| *name == text) {
        return Some(Word::Verbs(verbs.iter().copied().collect()));
    }
    let in_schema = match OTHERS.iter().find(|(name, _)| *name == text) {
        Some((_, in_schema)) => *in_schema,
        None => {
            let (first, object) = text.split_once(' ')?;
            if !["create", "alter", "drop"].contains(&first) {
                return None;
            }
            match () {
                () if IN_SCHEMAS.contains(&object) => true,
                () if ALONE.contains(&object) => false,
                () => return None,
            }
        }
    };
    Some(Word::Command { name: text.into(), in_schema })
}

/// All words, for those who look for the one that was meant.
pub(crate) fn words() -> impl Iterator<Item = String> {
    let verbs = VERBS.iter().map(|(name, _)| *name);
    let groups = GROUPS.iter().map(|(name, _)| *name);
    let others = OTHERS.iter().map(|(name, _)| *name);
    let kinds = IN_SCHEMAS.iter().chain(ALONE);
    let commands = kinds.flat_map(|kind| {
        ["create", "alter", "drop"].into_iter().map(move |first| format!("{first} {kind}"))
    });
    verbs.chain(groups).chain([EVERYTHING]).chain(others).map(str::to_owned).chain(commands)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_their_near_twins() {
        assert_eq!(word("read"), Some(Word::Verbs([Verb::Read].into_iter().collect())));
        assert_eq!(word("Everything"), Some(Word::Everything));
        assert!(matches!(word("create  FUNCTION"), Some(Word::Command { in_schema: true, .. })));
        assert!(matches!(word("create role"), Some(Word::Command { in_schema: false, .. })));
        assert!(matches!(word("vacuum full"), Some(Word::Command { in_schema: true, .. })));
        for unknown in
            ["select", "", "create", "create functions", "vacuum fully", "grant function"]
        {
            let known = unknown == "create";
            assert_eq!(word(unknown).is_some(), known, "{unknown}");
        }
        for name in words() {
            assert!(word(&name).is_some(), "{name}");
        }
    }
}
