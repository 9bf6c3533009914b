//! Whom a policy means: groups, identities, issuers, claims.

use std::collections::BTreeMap;
use std::fmt;

use crate::written::{self, Problem, Text};

/// Who asks: all that `who:` can be matched against.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The name of a local identity.
    pub name: Option<&'a str>,
    pub issuer: &'a str,
    pub subject: &'a str,
    pub groups: &'a [String],
    pub claims: &'a BTreeMap<String, String>,
}

/// Everybody who may come, as far as the file tells.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    /// Those that have groups or claims in the file itself.
    pub subjects: &'a [Subject<'a>],
    /// Others come with these issuers' tokens, and have whatever groups these say.
    pub issuers: &'a [&'a str],
    /// And these claims.
    pub claims: &'a [&'a str],
}

/// Whether anybody at all can get a token of this issuer: that it vouches for a subject says nothing
/// of who that is.
pub fn is_for_everybody(issuer: &str) -> bool {
    const FOR_EVERYBODY: [&str; 5] = [
        "https://token.actions.githubusercontent.com",
        "https://gitlab.com",
        "https://accounts.google.com",
        "https://app.terraform.io",
        "https://agent.buildkite.com",
    ];
    FOR_EVERYBODY.contains(&issuer.trim_end_matches('/'))
}

/// Any of these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Who(Vec<Vec<Vec<Term>>>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Term {
    Anyone,
    Group(String),
    Identity(String),
    Foreign { issuer: String, subject: String },
    Issuer(String),
    Claim(String, String),
}

impl Who {
    pub(crate) fn read(written: &[written::Who], problems: &mut Vec<Problem>) -> Self {
        let mut any = Vec::new();
        for who in written {
            match who {
                written::Who::One(text) => match text.split() {
                    Ok(parts) => {
                        for part in parts {
                            match term(&part) {
                                Ok(term) => any.push(vec![vec![term]]),
                                Err(problem) => problems.push(problem),
                            }
                        }
                    }
                    Err(problem) => problems.push(problem),
                },
                written::Who::All(entries, place) => {
                    if entries.is_empty() {
                        problems.push(Problem::new(*place, "an empty map names nobody"));
                    }
                    let mut all = Vec::new();
                    for (key, values) in entries {
                        let mut terms = Vec::new();
                        for value in values {
                            match keyed(&key.text, &value.text) {
                                Some(term) => terms.push(term),
                                None => problems.push(wrong(key, &key.text)),
                            }
                        }
                        if values.is_empty() {
                            let message =
                                format!("`{}` is an empty list and means nobody", key.text);
                            problems.push(Problem::new(key.place, message));
                        }
                        all.push(terms);
                    }
                    any.push(all);
                }
            }
        }
        Self(any)
    }

    /// Groups, claims and issuers that nobody has who is known. Who is only known by a name may
    /// have come by a token.
    pub(crate) fn unknown(&self, known: &Known<'_>) -> Vec<String> {
        let terms = self.0.iter().flatten().flatten();
        let is_issuer = |url: &String| known.issuers.contains(&&**url);
        let unknown = terms.filter(|term| {
            let may_come = match term {
                Term::Anyone | Term::Identity(_) => true,
                Term::Group(_) => !known.issuers.is_empty(),
                Term::Claim(name, _) => known.claims.contains(&&**name),
                Term::Foreign { issuer, .. } | Term::Issuer(issuer) => is_issuer(issuer),
            };
            !may_come && !known.subjects.iter().any(|who| term.means(who))
        });
        unknown.map(ToString::to_string).collect()
    }

    fn respelled(text: &str) -> Option<Self> {
        let mut any = Vec::new();
        let mut all: Vec<Vec<Term>> = vec![Vec::new()];
        let mut rest = text;
        loop {
            let (name, after) = name(rest)?;
            let read = match &*name {
                "*" => Term::Anyone,
                name => {
                    let (key, value) = name.split_once(':')?;
                    keyed(key, value)?
                }
            };
            all.last_mut()?.push(read);
            rest = if after.is_empty() {
                any.push(all);
                return Some(Self(any));
            } else if let Some(rest) = after.strip_prefix(" or ") {
                rest
            } else if let Some(rest) = after.strip_prefix(" and ") {
                all.push(Vec::new());
                rest
            } else {
                any.push(std::mem::replace(&mut all, vec![Vec::new()]));
                after.strip_prefix(", ")?
            };
        }
    }

    /// Every subject of this issuer is meant.
    pub(crate) fn means_all_of(&self, issuer: &str) -> bool {
        let whole = |term: &Term| match term {
            Term::Anyone => true,
            Term::Issuer(own) => own == issuer,
            Term::Group(_) | Term::Identity(_) | Term::Foreign { .. } | Term::Claim(..) => false,
        };
        self.0.iter().any(|all| !all.is_empty() && all.iter().all(|any| any.iter().any(whole)))
    }

    pub(crate) fn means(&self, who: &Subject<'_>) -> bool {
        self.0.iter().any(|all| {
            !all.is_empty() && all.iter().all(|terms| terms.iter().any(|term| term.means(who)))
        })
    }
}

/// For people: `group:dba, or group:ops and claim.env:production`.
/// As text that [`by_means`] reads again: `group:a or group:b and claim.env:c, identity:d`. What has
/// more than plain letters in it is quoted.
impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let term = |term: &Term| {
            let quoted = term.to_string();
            let bare = quoted.strip_prefix('`').and_then(|rest| rest.strip_suffix('`'));
            let bare = bare.unwrap_or(&quoted);
            match bare.chars().all(is_plain) {
                true => bare.to_owned(),
                false => format!("\"{}\"", bare.replace('\\', "\\\\").replace('"', "\\\"")),
            }
        };
        let any = |terms: &Vec<Term>| terms.iter().map(term).collect::<Vec<_>>().join(" or ");
        let all = |all: &Vec<Vec<Term>>| all.iter().map(any).collect::<Vec<_>>().join(" and ");
        f.write_str(&self.0.iter().map(all).collect::<Vec<_>>().join(", "))
    }
}

impl Term {
    fn means(&self, who: &Subject<'_>) -> bool {
        match self {
            Self::Anyone => true,
            Self::Group(group) => who.groups.iter().any(|own| own == group),
            Self::Identity(name) => who.name == Some(name),
            Self::Foreign { issuer, subject } => who.issuer == issuer && who.subject == subject,
            Self::Issuer(issuer) => who.issuer == issuer,
            Self::Claim(name, value) => who.claims.get(name).is_some_and(|own| own == value),
        }
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anyone => f.write_str("`*`"),
            Self::Group(group) => write!(f, "`group:{group}`"),
            Self::Identity(name) => write!(f, "`identity:{name}`"),
            Self::Foreign { issuer, subject } => write!(f, "`identity:{issuer}|{subject}`"),
            Self::Issuer(issuer) => write!(f, "`issuer:{issuer}`"),
            Self::Claim(name, value) => write!(f, "`claim.{name}:{value}`"),
        }
    }
}

/// Whether `who` is one of those that a `by` means, as [`crate::Hold::by`] spells it. What can't be
/// read means nobody.
pub fn by_means(by: &str, who: &Subject<'_>) -> bool {
    Who::respelled(by).is_some_and(|by| by.means(who))
}

/// Whether it can be read at all.
pub fn is_by(by: &str) -> bool {
    Who::respelled(by).is_some()
}

fn is_plain(character: char) -> bool {
    character.is_ascii_alphanumeric() || "_-.:|/@*+".contains(character)
}

/// The first name of a spelled `by`, and what follows it.
fn name(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(|c| !is_plain(c)).unwrap_or(text.len());
        let (name, rest) = text.split_at_checked(end)?;
        return Some((name.to_owned(), rest));
    };
    let mut name = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((name, quoted.get(at + 1..)?)),
            '\\' => name.push(characters.next()?.1),
            other => name.push(other),
        }
    }
    None
}

fn term(text: &Text) -> Result<Term, Problem> {
    if text.text == "*" {
        return Ok(Term::Anyone);
    }
    text.text
        .split_once(':')
        .and_then(|(key, value)| keyed(key.trim_end(), value.trim_start()))
        .ok_or_else(|| wrong(text, &text.text))
}

fn keyed(key: &str, value: &str) -> Option<Term> {
    if value.is_empty() {
        return None;
    }
    let value = value.to_owned();
    Some(match key {
        "group" => Term::Group(value),
        "issuer" => Term::Issuer(value),
        // An issuer is a URL and a subject may be anything, so the last `|` could be its own.
        "identity" => match value.split_once('|') {
            Some((issuer, subject)) => {
                Term::Foreign { issuer: issuer.to_owned(), subject: subject.to_owned() }
            }
            None => Term::Identity(value),
        },
        _ => match key.strip_prefix("claim.") {
            Some(claim) if !claim.is_empty() => Term::Claim(claim.to_owned(), value),
            _ => return None,
        },
    })
}

fn wrong(at: &Text, said: &str) -> Problem {
    Problem::new(
        at.place,
        format!(
            "`{said}` names nobody; write `group:NAME`, `identity:NAME`, \
             `identity:ISSUER|SUBJECT`, `issuer:URL`, `claim.NAME:VALUE` or `\"*\"`"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn means(written: &[written::Who], name: Option<&str>, groups: &[&str], env: &str) -> bool {
        let mut problems = Vec::new();
        let who = Who::read(written, &mut problems);
        assert_eq!(problems, []);
        let groups: Vec<String> = groups.iter().map(|it| (*it).to_owned()).collect();
        let claims = BTreeMap::from([("env".to_owned(), env.to_owned())]);
        let issuer = if name.is_some() { "gatepost" } else { "https://idp" };
        let subject = name.unwrap_or("a|b");
        who.means(&Subject { name, issuer, subject, groups: &groups, claims: &claims })
    }

    fn one(text: &str) -> written::Who {
        written::Who::One(Text { text: text.to_owned(), ..Text::default() })
    }

    #[test]
    fn everyone_has_a_near_twin() {
        for (text, name, groups, meant) in [
            ("*", None, &[][..], true),
            ("group:dba", Some("anna"), &["dba"][..], true),
            ("group:dba", Some("dba"), &["dbas"][..], false),
            ("group: ops, group:dba", Some("anna"), &["dba"][..], true),
            ("identity:anna", Some("anna"), &[][..], true),
            ("identity:anna", Some("Anna"), &[][..], false),
            // Another issuer's subject is not the local identity of that name.
            ("identity:a", None, &[][..], false),
            ("identity:https://idp|a|b", None, &[][..], true),
            ("identity:https://idp|a", None, &[][..], false),
            ("issuer:https://idp", None, &[][..], true),
            ("issuer:https://idp", Some("anna"), &[][..], false),
            ("claim.env:production", Some("anna"), &[][..], true),
            ("claim.env:prod", Some("anna"), &[][..], false),
            ("claim.other:production", Some("anna"), &[][..], false),
        ] {
            assert_eq!(means(&[one(text)], name, groups, "production"), meant, "{text}");
        }
    }

    #[test]
    fn all_of_a_map_and_any_of_a_list() {
        let text = |it: &str| Text { text: it.to_owned(), ..Text::default() };
        let map = written::Who::All(
            vec![
                (text("group"), vec![text("ops"), text("dba")]),
                (text("claim.env"), vec![text("production")]),
            ],
            written::Place::default(),
        );
        let map = [map];
        assert!(means(&map, None, &["dba"], "production"));
        assert!(!means(&map, None, &["dba"], "staging"));
        assert!(!means(&map, None, &["other"], "production"));
        let [map] = map;
        assert!(means(&[map, one("identity:anna")], Some("anna"), &[], "staging"));
    }

    /// What is spelled is read as the same again, whatever is in the names.
    #[test]
    fn a_by_that_is_spelled_means_the_same() {
        let odd = "identity:https://idp|a, b\" or \\ and `*` 'ü`";
        for any in [
            vec![vec![vec![Term::Anyone]]],
            vec![vec![vec![Term::Group("dba".into())]], vec![vec![Term::Identity("anna".into())]]],
            vec![vec![
                vec![Term::Group("ops team".into()), Term::Group("dba".into())],
                vec![Term::Claim("env".into(), "production".into())],
            ]],
            vec![vec![vec![keyed("identity", odd).unwrap()]], vec![vec![Term::Issuer(odd.into())]]],
        ] {
            let who = Who(any);
            let spelled = who.to_string();
            assert_eq!(Who::respelled(&spelled), Some(who), "{spelled}");
        }
        let who = Who(vec![
            vec![
                vec![Term::Group("a".into()), Term::Group("b".into())],
                vec![Term::Claim("env".into(), "c".into())],
            ],
            vec![vec![Term::Identity("d".into())]],
        ]);
        assert_eq!(who.to_string(), "group:a or group:b and claim.env:c, identity:d");
        for nothing in ["", "dba", "group:a,group:b", "group:a or", "\"group:a", "group:a ", ", "] {
            assert_eq!(Who::respelled(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn what_names_nobody_is_said() {
        for wrong in ["anna", "group:", "groups:x", "claim.:x", "claim:x", "", "user:x"] {
            let mut problems = Vec::new();
            Who::read(&[one(wrong)], &mut problems);
            assert_eq!(problems.len(), 1, "{wrong}");
        }
    }
}
