//! Masks, row filters and scans: read in full, so that what is wrong with them is said, and not
//! built yet. A file that has them is refused.

use sql::catalog::{Catalog, Names};

use crate::object::RelationPattern;
use crate::written::{Mask, Policy, Problem, Text};

/// What `scan` can look for.
const SCANNED: [&str; 6] = ["card", "email", "iban", "phone", "secret", "ssn"];

const MASKS: [&str; 6] = ["redact", "empty", "last4", "first1", "email", "year"];

/// Says what is wrong with these parts of a policy, and that they can't be used yet.
pub(crate) fn read(policy: &Policy, problems: &mut Vec<Problem>) {
    for (objects, mask) in &policy.mask {
        relations(objects, true, problems);
        match mask {
            Mask::Named(name) if is_mask(&name.text) => {}
            Mask::Named(name) => problems.push(Problem::new(
                name.place,
                format!(
                    "`{}` is not a mask; they are {}, range(N) and {{ sql: \"…\" }}",
                    name.text,
                    MASKS.join(", ")
                ),
            )),
            Mask::Sql(text) => expression(text, problems),
        }
        problems.push(not_yet("mask", objects));
    }
    for objects in &policy.unmask {
        relations(objects, true, problems);
        problems.push(not_yet("unmask", objects));
    }
    for (objects, condition) in &policy.rows {
        relations(objects, false, problems);
        match without_claims(condition) {
            Ok(text) => expression(&text, problems),
            Err(problem) => problems.push(problem),
        }
        problems.push(not_yet("rows", objects));
    }
    if let Some(scan) = &policy.scan {
        for objects in &scan.columns {
            relations(objects, true, problems);
        }
        for kind in scan.kinds.iter().filter(|kind| !SCANNED.contains(&&*kind.text)) {
            let message =
                format!("`{}` can't be scanned for; it can be {}", kind.text, SCANNED.join(", "));
            problems.push(Problem::new(kind.place, message));
        }
        problems.push(not_yet("scan", &Text { text: String::new(), place: scan.place }));
    }
    if let Some(recording) = &policy.recording {
        problems.push(not_yet("recording", recording));
    }
}

fn not_yet(key: &str, at: &Text) -> Problem {
    Problem::new(at.place, format!("`{key}` is not built yet; take it out"))
}

fn is_mask(name: &str) -> bool {
    let range = || {
        let number = name.strip_prefix("range(")?.strip_suffix(')')?;
        number.trim().parse::<u64>().ok().filter(|width| *width > 0)
    };
    MASKS.contains(&name) || range().is_some()
}

fn relations(text: &Text, columns: bool, problems: &mut Vec<Problem>) {
    let parts = match text.split() {
        Ok(parts) => parts,
        Err(problem) => return problems.push(problem),
    };
    for part in parts {
        match RelationPattern::read(&part) {
            Ok(pattern) if pattern.columns.is_some() == columns => {}
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
}

fn expression(text: &Text, problems: &mut Vec<Problem>) {
    let query = format!("SELECT ({}\n)", text.text);
    // Names mean nothing yet: what counts is that it is one statement.
    let names = Names { search_path: &[], user: "", temporary: None, database: "" };
    let read = sql::statements(&query, &Catalog::default(), &names, &sql::parse::Limits::default());
    let one = read.is_ok_and(|statements| statements.len() == 1);
    if !one {
        problems
            .push(Problem::new(text.place, format!("`{}` is not an SQL expression", text.text)));
    }
}

/// The condition with a parameter in the place of each `{claim.name}`.
fn without_claims(condition: &Text) -> Result<Text, Problem> {
    let mut text = String::new();
    let mut rest = condition.text.as_str();
    while let Some((before, after)) = rest.split_once('{') {
        let claim = after.split_once('}').and_then(|(claim, rest)| {
            let name = claim.strip_prefix("claim.").filter(|name| !name.is_empty())?;
            Some((name, rest))
        });
        let Some((_, after)) = claim else {
            let message = format!("`{}`: a claim is written {{claim.NAME}}", condition.text);
            return Err(Problem::new(condition.place, message));
        };
        text.push_str(before);
        text.push_str("$1");
        rest = after;
    }
    text.push_str(rest);
    Ok(Text { text, place: condition.place })
}
