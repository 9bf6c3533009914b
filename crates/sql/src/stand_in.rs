//! Relations that the database does not have: where a SELECT reads one, so that something can stand
//! in its place. What that is, and what the text comes to with it, is for others.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pg_raw_parse::Node;

use crate::lex::{Kind, token};
use crate::nodes::children;
use crate::parse::{self, Limits};

/// One use of such a relation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandIn {
    /// Its name in the text, with its schema, and with a `TABLE` before it.
    pub place: Range<usize>,
    pub name: String,
    /// Whether the text gives it another name.
    pub has_alias: bool,
    /// It is all of a query: `TABLE name`.
    pub is_query: bool,
}

/// What a text has of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// None, or none that something could stand for: it is no SELECT that only reads.
    None,
    /// Some, in a text of several statements.
    Several,
    Of(Vec<StandIn>),
}

/// Looks for relations of `schema` with these names.
pub fn find(text: &str, schema: &str, names: &[&str], limits: &Limits) -> Found {
    // A text that isn't read is told so elsewhere.
    let Ok(parsed) = parse::parse(text, limits) else { return Found::None };
    let statements = parsed.statements(text);
    let mut all = Vec::new();
    let mut reads = true;
    for (_, raw) in &statements {
        // As in `statements`: the bindings panic where a node is not what they expect.
        let found = catch_unwind(AssertUnwindSafe(|| {
            let Node::SelectStmt(_) = raw.stmt() else { return None };
            uses(raw.stmt(), text, schema, names, limits)
        }));
        match found {
            Ok(Some(uses)) => all.extend(uses),
            Ok(None) | Err(_) => reads = false,
        }
    }
    match statements.len() {
        _ if all.is_empty() => Found::None,
        1 if reads => Found::Of(all),
        1 => Found::None,
        _ => Found::Several,
    }
}

/// `None` where the statement does more than read, or isn't known in all its parts.
fn uses(
    root: Node<'_>,
    text: &str,
    schema: &str,
    names: &[&str],
    limits: &Limits,
) -> Option<Vec<StandIn>> {
    let mut open = vec![root];
    let (mut found, mut nodes) = (Vec::new(), 0_usize);
    while let Some(node) = open.pop() {
        nodes += 1;
        if nodes > limits.nodes_max {
            return None;
        }
        match node {
            Node::IntoClause(_) => return None,
            Node::RangeVar(range) => {
                let name = range.relname().unwrap_or_default();
                if range.catalogname().is_none()
                    && range.schemaname() == Some(schema)
                    && names.contains(&name)
                    && range.inh
                {
                    let start = usize::try_from(range.location).ok()?;
                    let table = table_before(text, start);
                    found.push(StandIn {
                        place: table.unwrap_or(start)..name_end(text, start)?,
                        name: name.to_owned(),
                        has_alias: range.alias().is_some(),
                        is_query: table.is_some(),
                    });
                }
            }
            _ => {}
        }
        children(node, &mut open).ok()?;
    }
    found.sort_unstable_by_key(|one| one.place.start);
    Some(found)
}

/// Where a `TABLE` stands right before a place.
fn table_before(text: &str, place: usize) -> Option<usize> {
    let (mut at, mut last) = (0, None);
    while let Ok(Some(token)) = token(text, at) {
        if token.start >= place {
            break;
        }
        at = token.end;
        if !matches!(token.kind, Kind::Space | Kind::Comment) {
            last = Some(token);
        }
    }
    let last = last.filter(|last| last.kind == Kind::Word)?;
    let word = text.get(last.start..last.end)?;
    word.eq_ignore_ascii_case("table").then_some(last.start)
}

/// Behind `schema.name`, and the mark that may stand behind that.
fn name_end(text: &str, start: usize) -> Option<usize> {
    let (mut at, mut end, mut names) = (start, start, 0);
    while let Ok(Some(token)) = token(text, at) {
        at = token.end;
        match token.kind {
            Kind::Space | Kind::Comment => {}
            Kind::Word | Kind::QuotedName { .. } if names < 2 => {
                names += 1;
                end = token.end;
            }
            Kind::Mark(b'.') if names == 1 => {}
            Kind::Mark(b'*') if names == 2 => return Some(token.end),
            _ => break,
        }
    }
    (names == 2).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Option<String> {
        match find(text, "gatepost", &["me", "grants"], &Limits::default()) {
            Found::None => None,
            Found::Several => Some("several".to_owned()),
            Found::Of(uses) => {
                let mut out = text.to_owned();
                for one in uses.iter().rev() {
                    let alias = match (one.has_alias, one.is_query) {
                        (_, true) => "!!",
                        (true, _) => "",
                        (false, _) => "!",
                    };
                    out.replace_range(one.place.clone(), &format!("<{}{alias}>", one.name));
                }
                Some(out)
            }
        }
    }

    #[test]
    fn where_a_select_reads_them() {
        for (text, want) in [
            ("SELECT * FROM gatepost.me", "SELECT * FROM <me!>"),
            ("TABLE gatepost.me", "<me!!>"),
            ("SELECT (table /* x */ gatepost.me LIMIT 1)", "SELECT (<me!!> LIMIT 1)"),
            (
                "SELECT 'é', m.* FROM Gatepost . \"me\" m, gatepost/* x */.grants AS g(a) WHERE 1 = 1;",
                "SELECT 'é', m.* FROM <me> m, <grants> AS g(a) WHERE 1 = 1;",
            ),
            ("SELECT * FROM gatepost.me * WHERE true", "SELECT * FROM <me!> WHERE true"),
            (
                "WITH a AS (SELECT 1 FROM gatepost.me) SELECT (SELECT 1 FROM gatepost.grants) FROM a UNION TABLE gatepost.me",
                "WITH a AS (SELECT 1 FROM <me!>) SELECT (SELECT 1 FROM <grants!>) FROM a UNION <me!!>",
            ),
        ] {
            assert_eq!(found(text).as_deref(), Some(want), "{text}");
        }
        assert_eq!(found("SELECT 1; SELECT 1 FROM gatepost.me").as_deref(), Some("several"));
    }

    #[test]
    fn what_is_another_relation_or_no_read_stays() {
        for text in [
            "SELECT 1",
            "SELECT 'gatepost.me'",
            "SELECT gatepost.me()",
            "SELECT * FROM me",
            "SELECT * FROM gatepost.other",
            "SELECT * FROM other.me",
            "SELECT * FROM gatepost.\"Me\"",
            "SELECT * FROM db.gatepost.me",
            "SELECT * FROM ONLY gatepost.me",
            "SELECT * INTO t FROM gatepost.me",
            "INSERT INTO gatepost.me VALUES (1)",
            "DELETE FROM gatepost.me",
            "CREATE VIEW v AS SELECT * FROM gatepost.me",
            "PREPARE p AS SELECT * FROM gatepost.me",
            "SELECT * FROM gatepost.me(",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
    }
}
