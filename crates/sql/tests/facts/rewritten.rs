//! Cases of rewriting that a person can read: a statement, and what PostgreSQL would get in its
//! place. `UPDATE_GOLDEN=1` writes what comes out into the files; the difference is to be reviewed.
//!
//! A line `mask: TABLE.COLUMN` or `filter: TABLE EXPRESSION` disguises a relation for the rest of
//! its file; columns in an expression stand in braces. What masks a column is `****` and its last
//! letter. What a file says whose name ends in `_16` is said of a server without RETURNING of MERGE.

use std::fmt::Write;
use std::path::Path;
use std::time::Instant;

use sql::catalog::Catalog;
use sql::parse::Limits;
use sql::rewrite::{Disguised, Disguises, Expression, Look, Mask, Piece, Why, edited};

use crate::hostile::NAMES;
use crate::snapshot::{snapshot, snapshot_without};

#[test]
fn cases() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/facts/rewritten");
    let (new, old) = (snapshot(), snapshot_without("to_regtypemod"));
    let mut count = 0;
    let mut wrong = Vec::new();
    let mut reasons = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let is_old = path.file_stem().is_some_and(|name| name.to_string_lossy().ends_with("_16"));
        let catalog = if is_old { &old } else { &new };
        let expected = std::fs::read_to_string(&path).unwrap();
        let mut found = String::new();
        let mut disguises = Disguises::new();
        for paragraph in expected.split("\n\n") {
            if !found.is_empty() {
                found.push('\n');
            }
            let mut text = String::new();
            for line in paragraph.lines() {
                if let Some(mask) = line.strip_prefix("mask: ") {
                    masked(catalog, mask, &mut disguises);
                } else if let Some(filter) = line.strip_prefix("filter: ") {
                    filtered(catalog, filter, &mut disguises);
                } else if let Some(table) = line.strip_prefix("placed: ") {
                    disguises.entry(self::found(catalog, table).0).or_default().placed = true;
                } else if let Some(sql) = line.strip_prefix("> ") {
                    text.push_str(if text.is_empty() { "" } else { "\n" });
                    text += sql;
                } else if !line.starts_with("# ") {
                    continue;
                }
                writeln!(found, "{line}").unwrap();
            }
            if text.is_empty() {
                continue;
            }
            count += 1;
            let all = sql::disguised(&text, catalog, &NAMES, &Limits::default(), &disguises);
            found += &match all {
                Ok(statements) => shown(&text, &statements, catalog, &mut reasons),
                Err(error) => format!("not parsed: {error:?}\n"),
            };
        }
        if found != expected {
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                std::fs::write(&path, &found).unwrap();
            } else {
                wrong.push(format!("{}:\n{found}", path.display()));
            }
        }
    }
    assert!(count > 50, "{count}");
    assert!(wrong.is_empty(), "UPDATE_GOLDEN=1 accepts this:\n{}", wrong.join("\n\n"));
    // What can't be made to happen with a text that is parsed and a catalog that fits.
    reasons.extend([Why::Gone, Why::Unlocated]);
    let without: Vec<_> = Why::ALL.iter().filter(|why| !reasons.contains(why)).collect();
    assert!(without.is_empty(), "no case ends in {without:?}");
}

/// The page that explains them has a row for every reason, with its words.
#[test]
fn every_reason_is_in_the_documents() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/masks.md");
    let page = std::fs::read_to_string(page).unwrap();
    for why in Why::ALL {
        assert!(page.contains(why.words()), "{why:?}: {}", why.words());
    }
}

/// However much of it there is: in a debug build on a busy machine.
#[test]
fn hostile_text_is_rewritten_or_refused_soon() {
    let catalog = snapshot();
    let mut disguises = Disguises::new();
    for column in ["ssn", "mail"] {
        masked(&catalog, &format!("app.people.{column}"), &mut disguises);
    }
    filtered(&catalog, "app.items {product} <> 'x'", &mut disguises);
    let many = |piece: &dyn Fn(usize) -> String, count: usize| -> String {
        (0..count).map(piece).collect()
    };
    for text in [
        format!("SELECT a.ssn FROM people a{}", many(&|n| format!(", people a{n}"), 5_000)),
        format!(
            "SELECT 1 FROM people a{}",
            many(&|n| format!(" JOIN people a{n} USING (ssn)"), 300)
        ),
        format!(
            "UPDATE people SET region = '' WHERE {}true",
            many(&|_| "ssn = '' OR ".into(), 20_000)
        ),
        format!("UPDATE people SET {}id = 1", many(&|_| "region = ssn, ".into(), 20_000)),
        format!("INSERT INTO people (ssn) VALUES {}('')", many(&|n| format!("('{n}'), "), 50_000)),
        format!("WITH {}z AS (SELECT 1) SELECT 1", {
            many(&|n| format!("a{n} AS (DELETE FROM items WHERE id = {n} RETURNING *), "), 5_000)
        }),
        format!(
            "SELECT {}1{} FROM people GROUP BY id",
            "(SELECT ssn FROM people WHERE id = ".repeat(500),
            ")".repeat(500)
        ),
        format!(
            "SELECT {}1{}",
            "(SELECT ssn || ".repeat(500),
            " FROM people GROUP BY people.id)".repeat(500)
        ),
        format!("SELECT ssn FROM people GROUP BY id{}", many(&|_| ", id".into(), 20_000)),
        format!("SELECT {}id FROM people p", many(&|_| "p.*, p, ".into(), 10_000)),
        format!(
            "SELECT ssn FROM {}people{}",
            "(".repeat(0),
            many(&|_| ", LATERAL (SELECT ssn) x".into(), 2_000)
        ),
    ] {
        let start = Instant::now();
        let all = sql::disguised(&text, &catalog, &NAMES, &Limits::default(), &disguises);
        let text: String = text.chars().take(60).collect();
        assert!(start.elapsed().as_secs() < 10, "{:?}: {text}", start.elapsed());
        assert!(all.is_ok(), "{text}");
    }
}

fn shown(
    text: &str,
    statements: &[Disguised],
    catalog: &Catalog,
    reasons: &mut Vec<Why>,
) -> String {
    let mut out = String::new();
    let (mut edits, mut asked) = (Vec::new(), Vec::new());
    for statement in statements {
        match &statement.understood {
            Err(error) => writeln!(out, "not understood: {error}").unwrap(),
            Ok((_, Err(error))) => {
                reasons.push(error.why);
                let name = error.relation.and_then(|id| catalog.relation(id)).map(|r| &*r.name);
                writeln!(out, "refused, {}: {}", name.unwrap_or("?"), error.why).unwrap();
            }
            Ok((_, Ok(rewritten))) => {
                edits.extend(rewritten.edits.iter().cloned());
                let of = rewritten.asked.iter();
                asked.extend(of.filter_map(|(id, _)| catalog.relation(*id)));
                for stored in &rewritten.stored {
                    let relation = catalog.relation(stored.relation).unwrap();
                    let column = relation.columns.iter().find(|c| c.number == stored.column);
                    let column = &column.unwrap().name;
                    writeln!(out, "${} is stored in {column}", stored.parameter).unwrap();
                }
                if rewritten.edits.is_empty() {
                    out += "as it is\n";
                }
            }
        }
    }
    if !edits.is_empty() {
        let mut text = edited(text, &edits);
        for relation in asked {
            text = text.replace(&relation.oid.to_string(), &relation.name);
        }
        assert!(sql::statements(&text, catalog, &NAMES, &Limits::default()).is_ok(), "{text}");
        writeln!(out, "{text}").unwrap();
    }
    out
}

pub(crate) fn masked(catalog: &Catalog, name: &str, disguises: &mut Disguises) {
    let (table, column) = name.rsplit_once('.').unwrap();
    let (id, relation) = found(catalog, table);
    let number = relation.column(column).unwrap().number;
    let expression = Expression(vec![
        Piece::Text("'****' || right(".into()),
        Piece::Column(number),
        Piece::Text(", 1)".into()),
    ]);
    let mask = Mask { expression, look: Look::Like(|text| text.starts_with("****")) };
    disguises.entry(id).or_default().masks.insert(number, mask);
}

pub(crate) fn filtered(catalog: &Catalog, text: &str, disguises: &mut Disguises) {
    let (table, text) = text.split_once(' ').unwrap();
    let (id, relation) = found(catalog, table);
    let mut pieces = Vec::new();
    for (at, piece) in text.split(['{', '}']).enumerate() {
        pieces.push(match at % 2 {
            0 => Piece::Text(piece.into()),
            _ => Piece::Column(relation.column(piece).unwrap().number),
        });
    }
    disguises.entry(id).or_default().filter = Some(Expression(pieces));
}

fn found<'c>(
    catalog: &'c Catalog,
    table: &str,
) -> (sql::catalog::RelationId, &'c sql::catalog::Relation) {
    let (schema, name) = table.split_once('.').unwrap();
    let mut all = catalog.relations();
    let relation =
        all.find(|r| &*r.name == name && catalog.schema_name(r.schema) == schema).expect(table);
    (catalog.relation_by_oid(relation.oid).unwrap(), relation)
}
