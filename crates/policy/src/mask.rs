//! Masks and row filters as policies say them: which columns, which mask, which rows. What that
//! comes to for the relations of a database is `disguise`'s; scans and results are read here and not
//! built yet.

pub(crate) mod form;

use std::sync::Arc;

use sql::catalog::{Catalog, Relation};
use sql::expression::{Expression, Wrong};

use crate::object::RelationPattern;
use crate::verdict::RuleRef;
use crate::written::{self, Place, Policy, Problem, Text};

/// What `scan` can look for.
const SCANNED: [&str; 6] = ["card", "email", "iban", "phone", "secret", "ssn"];

const MASKS: [&str; 6] = ["redact", "empty", "last4", "first1", "email", "year"];

/// One entry of `mask`.
#[derive(Debug)]
pub(crate) struct MaskRule {
    pub(crate) name: RuleRef,
    pub(crate) of: Vec<RelationPattern>,
    pub(crate) kind: Kind,
}

/// What is made of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing: not even whether there is one.
    Empty,
    /// A constant.
    Redact,
    Last4,
    First1,
    Email,
    Year,
    /// Down to a multiple.
    Range(u64),
    Sql(Arc<Expression>),
}

/// One entry of `rows`.
#[derive(Debug)]
pub(crate) struct RowRule {
    pub(crate) name: RuleRef,
    pub(crate) of: Vec<RelationPattern>,
    pub(crate) condition: Expression,
    /// What its parameters are, first to last.
    pub(crate) claims: Vec<Box<str>>,
}

/// What one policy says about what is seen.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    pub(crate) masks: Vec<Arc<MaskRule>>,
    pub(crate) unmask: Vec<RelationPattern>,
    pub(crate) rows: Vec<Arc<RowRule>>,
}

impl Kind {
    fn read(written: &written::Mask) -> Result<Self, Problem> {
        let name = match written {
            written::Mask::Named(name) => name,
            written::Mask::Sql(text) => {
                let read = Expression::read(&text.text).map_err(|why| wrong(text, &why))?;
                if read.parameters().next().is_some() {
                    return Err(wrong(text, &Wrong::Construct("a parameter")));
                }
                return Ok(Self::Sql(Arc::new(read)));
            }
        };
        let width = || {
            let number = name.text.strip_prefix("range(")?.strip_suffix(')')?;
            number.trim().parse::<u64>().ok().filter(|width| *width > 0)
        };
        Ok(match &*name.text {
            "redact" => Self::Redact,
            "empty" => Self::Empty,
            "last4" => Self::Last4,
            "first1" => Self::First1,
            "email" => Self::Email,
            "year" => Self::Year,
            _ => match width() {
                Some(width) => Self::Range(width),
                None => {
                    return Err(Problem::new(
                        name.place,
                        format!(
                            "`{}` is not a mask; they are {}, range(N) and {{ sql: \"…\" }}",
                            name.text,
                            MASKS.join(", ")
                        ),
                    ));
                }
            },
        })
    }

    /// What shows no more than either: the one that shows less, where one does; else a constant.
    pub(crate) fn stricter(&self, other: &Self) -> Self {
        match (self, other) {
            (own, other) if own == other => own.clone(),
            (Self::Empty, _) | (_, Self::Empty) => Self::Empty,
            (Self::Range(own), Self::Range(other)) if own.is_multiple_of(*other) => {
                Self::Range(*own)
            }
            (Self::Range(own), Self::Range(other)) if other.is_multiple_of(*own) => {
                Self::Range(*other)
            }
            _ => Self::Redact,
        }
    }
}

impl MaskRule {
    /// Whether it means the column, of the relation itself or of one that it inherits from.
    pub(crate) fn means(&self, kin: &[&Relation], column: &str, catalog: &Catalog) -> bool {
        means(&self.of, kin, column, catalog)
    }
}

/// Whether one of the patterns means the column of the first of `kin`, by itself or by those above.
pub(crate) fn means(
    of: &[RelationPattern],
    kin: &[&Relation],
    column: &str,
    catalog: &Catalog,
) -> bool {
    of.iter().any(|pattern| {
        let names = pattern.columns.as_ref();
        names.is_none_or(|names| names.iter().any(|name| **name == *column))
            && kin.iter().any(|one| {
                let schema = catalog.schema_name(one.schema);
                one.column(column).is_some() && pattern.covers(schema, &one.name)
            })
    })
}

impl Sight {
    /// What the policy says, and everything that is wrong with it.
    pub(crate) fn read(policy: &Policy, problems: &mut Vec<Problem>) -> Self {
        let mut sight = Self::default();
        let name = |key: &str, at: &Text| RuleRef {
            policy: policy.name.text.trim().into(),
            rule: format!("{key}: {}", at.text).into(),
            line: at.place.line,
        };
        for (objects, mask) in &policy.mask {
            let of = relations(objects, true, problems);
            match Kind::read(mask) {
                Ok(kind) => {
                    sight.masks.push(Arc::new(MaskRule { name: name("mask", objects), of, kind }))
                }
                Err(problem) => problems.push(problem),
            }
        }
        for objects in &policy.unmask {
            sight.unmask.extend(relations(objects, true, problems));
        }
        for (objects, condition) in &policy.rows {
            let of = relations(objects, false, problems);
            match filter(condition) {
                Ok((condition, claims)) => sight.rows.push(Arc::new(RowRule {
                    name: name("rows", objects),
                    of,
                    condition,
                    claims,
                })),
                Err(problem) => problems.push(problem),
            }
        }
        if let Some(scan) = &policy.scan {
            for objects in &scan.columns {
                relations(objects, true, problems);
            }
            for kind in scan.kinds.iter().filter(|kind| !SCANNED.contains(&&*kind.text)) {
                let message = format!(
                    "`{}` can't be scanned for; it can be {}",
                    kind.text,
                    SCANNED.join(", ")
                );
                problems.push(Problem::new(kind.place, message));
            }
            problems.push(not_yet("scan", scan.place));
        }
        if let Some(recording) = &policy.recording {
            problems.push(not_yet("recording", recording.place));
        }
        sight
    }
}

fn not_yet(key: &str, place: Place) -> Problem {
    Problem::new(place, format!("`{key}` is not built yet; take it out"))
}

fn wrong(text: &Text, why: &Wrong) -> Problem {
    let message = match why {
        Wrong::NotParsed(_) => format!("`{}` is not an SQL expression", text.text),
        why => format!("`{}` can't be used here: {why}", text.text),
    };
    Problem::new(text.place, message)
}

fn relations(text: &Text, columns: bool, problems: &mut Vec<Problem>) -> Vec<RelationPattern> {
    let parts = match text.split() {
        Ok(parts) => parts,
        Err(problem) => {
            problems.push(problem);
            return Vec::new();
        }
    };
    let mut patterns = Vec::new();
    for part in parts {
        match RelationPattern::read(&part) {
            Ok(pattern) if pattern.columns.is_some() == columns => patterns.push(pattern),
            Ok(_) => {
                let message = match columns {
                    true => format!("`{}` names no column", part.text),
                    false => format!("`{}`: rows are of whole tables", part.text),
                };
                problems.push(Problem::new(part.place, message));
            }
            Err(problem) => problems.push(problem),
        }
    }
    patterns
}

/// The condition with a parameter in the place of each `{claim.name}`, and the claims' names.
fn filter(condition: &Text) -> Result<(Expression, Vec<Box<str>>), Problem> {
    let mut text = String::new();
    let mut claims: Vec<Box<str>> = Vec::new();
    let mut rest = condition.text.as_str();
    while let Some((before, after)) = rest.split_once('{') {
        let claim = after.split_once('}').and_then(|(claim, rest)| {
            let name = claim.strip_prefix("claim.").filter(|name| !name.is_empty())?;
            Some((name, rest))
        });
        let Some((name, after)) = claim else {
            let message = format!("`{}`: a claim is written {{claim.NAME}}", condition.text);
            return Err(Problem::new(condition.place, message));
        };
        claims.push(name.into());
        text.push_str(before);
        text.push_str(&format!(" ${} ", claims.len()));
        rest = after;
    }
    text.push_str(rest);
    let read = Expression::read(&text).map_err(|why| wrong(condition, &why))?;
    // One in a quoted text is none, and one of the policy's own would be another.
    let found: Vec<u32> = read.parameters().collect();
    let each = (1..=claims.len()).filter_map(|number| u32::try_from(number).ok());
    if !each.clone().all(|number| found.contains(&number))
        || found.iter().any(|number| !each.clone().any(|own| own == *number))
    {
        let message =
            format!("`{}`: a claim stands for a value by itself, outside quotes", condition.text);
        return Err(Problem::new(condition.place, message));
    }
    Ok((read, claims))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stricter_of_two_shows_no_more_than_either() {
        use Kind::{Email, Empty, Last4, Range, Redact};
        for (own, other, expected) in [
            (Last4, Last4, Last4),
            (Last4, Redact, Redact),
            (Last4, Email, Redact),
            (Redact, Empty, Empty),
            (Last4, Empty, Empty),
            (Range(10), Range(100), Range(100)),
            (Range(10), Range(15), Redact),
        ] {
            assert_eq!(own.stricter(&other), expected);
            assert_eq!(other.stricter(&own), expected);
        }
    }

    #[test]
    fn claims_are_values_and_nothing_else() {
        let read = |text: &str| filter(&Text { text: text.into(), ..Text::default() });
        let (_, claims) = read("region = {claim.region} OR {claim.all} = 'yes'").unwrap();
        assert_eq!(claims, ["region".into(), "all".into()]);
        for wrong in [
            "region = '{claim.region}'",
            "region = \"{claim.region}\"",
            "region = {region}",
            "region = {claim.}",
            "region = {claim.region",
            "region = $1",
            "region = $$ {claim.region} $$",
            "region = 1 -- {claim.region}",
            "TRUE) OR (TRUE",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
