//! Cases that a person can read: a statement, and its facts. `UPDATE_GOLDEN=1` writes what comes
//! out into the files; the difference is to be reviewed.
//!
//! The catalog is `catalog.txt`; a case stands under `search_path app, public` unless a line
//! `path: …` says otherwise. A statement is every line that starts with `> `; what follows are its
//! facts. Other lines at the start of a paragraph are comments, with `# `.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "tests fail by panicking, and so does what they are built on"
)]

mod hostile;
mod mutated;
mod render;
mod restricted;
mod rewritten;
mod snapshot;

use std::fmt::Write;
use std::path::Path;

use sql::catalog::{Builder, Names, Read, ViewRead};
use sql::parse::Limits;

#[test]
fn cases() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/facts/cases");
    let catalog = snapshot::snapshot();
    let mut count = 0;
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let expected = std::fs::read_to_string(&path).unwrap();
        let mut found = String::new();
        let mut search_path = vec!["app", "public"];
        for paragraph in expected.split("\n\n") {
            let mut text = String::new();
            if !found.is_empty() {
                found.push('\n');
            }
            for line in paragraph.lines() {
                if let Some(names) = line.strip_prefix("path: ") {
                    search_path = names.split(", ").collect();
                    writeln!(found, "{line}").unwrap();
                } else if line.starts_with("# ") {
                    writeln!(found, "{line}").unwrap();
                } else if let Some(sql) = line.strip_prefix("> ") {
                    if !text.is_empty() {
                        text.push('\n');
                    }
                    text += sql;
                    writeln!(found, "{line}").unwrap();
                }
            }
            if text.is_empty() {
                continue;
            }
            count += 1;
            let names = Names {
                search_path: &search_path,
                user: "anna",
                temporary: Some("pg_temp_3"),
                database: "postgres",
            };
            match sql::statements(&text, &catalog, &names, &Limits::default()) {
                Ok(statements) => {
                    for statement in statements {
                        found += &render::statement(&statement, &text, &catalog);
                    }
                }
                Err(error) => writeln!(found, "not parsed: {error:?}").unwrap(),
            }
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
}

#[test]
fn views_say_what_is_beneath_them() {
    let catalog = snapshot::snapshot();
    let names =
        Names { search_path: &["app"], user: "anna", temporary: None, database: "postgres" };
    let beneath = |text: &str| {
        let statements = sql::statements(text, &catalog, &names, &Limits::default()).unwrap();
        let used = statements[0].facts.as_ref().unwrap().relations[0].relation.unwrap();
        let reads = catalog.beneath(used);
        reads.into_iter().map(|b| (format!("{:?}", b.read), b.as_owner)).collect::<Vec<_>>()
    };
    assert_eq!(beneath("SELECT id FROM orders"), []);
    let deep = beneath("SELECT id FROM deep");
    let shallow = beneath("SELECT id FROM big_orders");
    // Two columns of a table, with the owner's rights; and for the view over it also the view's,
    // which reads as its invoker.
    assert_eq!(shallow.len(), 2);
    assert!(shallow.iter().all(|(_, as_owner)| *as_owner));
    assert_eq!(deep.len(), 3);
    assert!(!deep[0].1);
    assert_eq!(deep[1..], shallow);
}

/// Whatever way a statement comes to a column, it is found; and not where it isn't read.
#[test]
fn every_road_to_a_column_is_seen() {
    let catalog = snapshot::snapshot();
    let names = Names {
        search_path: &["app", "public"],
        user: "anna",
        temporary: None,
        database: "postgres",
    };
    let reads = |text: &str| {
        let statements = sql::statements(text, &catalog, &names, &Limits::default()).unwrap();
        let facts = statements[0].facts.as_ref().unwrap_or_else(|e| panic!("{e:?}: {text}"));
        facts.relations.iter().any(|used| {
            let Some(relation) = used.relation.and_then(|id| catalog.relation(id)) else {
                return false;
            };
            let ssn = relation.column("ssn").map(|column| column.number);
            used.read.as_ref().is_some_and(|read| ssn.is_some_and(|n| read.numbers.contains(&n)))
        })
    };
    let all = |text: &'static str| text.split(";\n").map(str::trim).filter(|text| !text.is_empty());
    for text in all(include_str!("reads_ssn.sql")) {
        assert!(reads(text), "{text}");
    }
    for text in all(include_str!("reads_not.sql")) {
        assert!(!reads(text), "{text}");
    }
}

/// The server records no dependency on its own catalogs, so a view has to be looked at itself.
#[test]
fn a_view_reads_catalogs_that_nothing_depends_on() {
    let mut builder = Builder::default();
    let mut row = |read, values: &[&str]| {
        let values: Vec<Option<&str>> = values.iter().copied().map(Some).collect();
        builder.row(read, &values).unwrap();
    };
    row(Read::Schemas, &["11", "pg_catalog"]);
    row(Read::Schemas, &["2200", "public"]);
    for (oid, schema, name, kind) in [
        ("1260", "11", "pg_authid", "r"),
        ("16400", "2200", "orders", "r"),
        ("16500", "2200", "logins", "v"),
    ] {
        row(Read::Relations, &[oid, schema, name, kind, "10", "f", "f"]);
    }
    let query = "({QUERY :rtable ({RTE :relid 16500 :rellockmode 1} \
                 {RTE :relid 1260 :rellockmode 1} {RTE :relid 16400 :rellockmode 1})})";
    row(Read::Code, &["rule", "16501", "16500", "1", query]);
    row(Read::Depends, &["2618", "16501", "16400", "2"]);
    let catalog = builder.build();
    let id = |oid| catalog.relation_by_oid(oid).unwrap();
    let view = catalog.relation(id(16500)).unwrap();
    let reads = [ViewRead::Column(id(1260), 0), ViewRead::Column(id(16400), 2)];
    assert_eq!(view.reads, reads);
}
