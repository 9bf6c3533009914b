//! Whatever the text, the walk ends, within its budget and without a panic.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use sql::catalog::Names;
use sql::facts::NotUnderstood;
use sql::parse::{Limits, NotParsed};

use crate::snapshot::snapshot;

pub(crate) const NAMES: Names<'_> = Names {
    search_path: &["app", "public"],
    user: "anna",
    temporary: Some("pg_temp_3"),
    database: "postgres",
};

/// One statement of every kind that the grammar has, and the corpus of queries.
const STATEMENTS: &str = include_str!("statements.sql");
const QUERIES: &str = include_str!("../server/corpus.sql");

fn all() -> Vec<&'static str> {
    let both = STATEMENTS.split(";\n").chain(QUERIES.split(";\n"));
    both.map(str::trim).filter(|text| !text.is_empty()).collect()
}

#[test]
fn every_statement_has_facts_or_a_reason() {
    let catalog = snapshot();
    for text in all() {
        let statements = sql::statements(text, &catalog, &NAMES, &Limits::default());
        let statements = statements.unwrap_or_else(|error| panic!("{error:?}: {text}"));
        assert_eq!(statements.len(), 1, "{text}");
        let fault = matches!(
            statements[0].facts,
            Err(NotUnderstood::Unvisited | NotUnderstood::TooManyNodes)
        );
        assert!(!fault, "{:?}: {text}", statements[0].facts);
    }
}

#[test]
fn hostile_text_is_bounded() {
    let catalog = snapshot();
    let many = |piece: &str, count: usize| piece.repeat(count);
    let start = Instant::now();
    for text in [
        format!("SELECT {}1", many("1 + ", 50_000)),
        format!("SELECT {}name FROM customers", many("name || ", 50_000)),
        format!("SELECT 1 {}", many(" UNION ALL SELECT 1", 20_000)),
        format!("SELECT {}1{}", many("(", 4_000), many(")", 4_000)),
        format!("SELECT {}1{}", many("(SELECT ", 1_000), many(")", 1_000)),
        format!("WITH a0 AS (SELECT 1){} SELECT 1", {
            let each = |n: usize| format!(", a{n} AS (SELECT * FROM a{})", n - 1);
            (1..3_000).map(each).collect::<String>()
        }),
        format!("SELECT 1 FROM orders a0{}", {
            let each = |n: usize| format!(" JOIN orders a{n} USING (id)");
            (1..300).map(each).collect::<String>()
        }),
        format!("SELECT {}id FROM orders", many("-", 1_000).replace('-', "- ")),
        format!("UPDATE orders SET note = 'a' WHERE {}", many("id = 1 OR ", 30_000) + "true"),
        format!("UPDATE orders SET note = 'a' WHERE {}id = 1", many("NOT ", 30_000)),
        format!("SELECT {}'a'", many("CAST(", 500)) + &many(" AS text)", 500),
        format!("INSERT INTO orders (id) VALUES {}(1)", many("(1), ", 100_000)),
        many("SELECT 1;", 10_000),
        format!("CREATE TABLE made (a int{})", many(", b int CHECK (b > a)", 100_000)),
        format!("CREATE TABLE made (a int{})", many(", CHECK (a > 1)", 4_000)),
        format!(
            "ALTER TABLE orders ADD a int{}",
            many(", ADD b int, ALTER b SET DEFAULT 1", 100_000)
        ),
        format!(
            "ALTER TABLE orders ADD a int{}",
            many(", ADD b int, ALTER b SET DEFAULT 1", 2_000)
        ),
        format!("DROP TABLE orders{}", many(", items", 100_000)),
        format!("CREATE SCHEMA made {}", many("CREATE TABLE a (LIKE orders) ", 200_000)),
        format!(
            "GRANT SELECT (id{}) ON orders{} TO anna",
            many(", id", 50_000),
            many(", orders", 50_000)
        ),
        format!("CREATE INDEX ON orders (id{})", many(", note", 200_000)),
        format!("ANALYZE orders (id{})", many(", note", 200_000)),
        format!("ANALYZE orders{}", many(", items", 50_000)),
        format!("CREATE STATISTICS made ON id{} FROM orders", many(", note", 200_000)),
        format!("COMMENT ON COLUMN orders{} IS 'a'", many(".a", 200_000)),
        format!(
            "CREATE FUNCTION made(a int{}) RETURNS int RETURN a",
            many(", b int DEFAULT 1", 100_000)
        ),
        format!(
            "CREATE FUNCTION made() RETURNS int BEGIN ATOMIC {}END",
            many("SELECT 1; ", 20_000)
        ),
        format!(
            "CREATE RULE made AS ON DELETE TO orders DO ({})",
            many("DELETE FROM items; ", 20_000)
        ),
        format!("CREATE TYPE made AS ENUM ('a'{})", many(", 'a'", 100_000)),
        format!("ALTER TABLE orders ADD CHECK ({}true)", many("id = 1 OR ", 20_000)),
        format!("CREATE TABLE made PARTITION OF orders FOR VALUES IN (1{})", many(", 2", 100_000)),
        format!("GRANT boss{} TO anna", many(", boss", 50_000)),
        format!("SET search_path = a{}", many(", b", 100_000)),
    ] {
        // Facts or a reason, but not of the kind that says that we lost our way.
        match sql::statements(&text, &catalog, &NAMES, &Limits::default()) {
            Ok(statements) => {
                for statement in statements {
                    assert_ne!(statement.facts, Err(NotUnderstood::Unvisited));
                }
            }
            Err(NotParsed::Syntax(_) | NotParsed::OperatorTooLong) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}

/// What the grammar takes and the server refuses at once.
#[test]
fn what_the_server_has_no_meaning_for_is_refused_by_name() {
    let catalog = snapshot();
    for text in [
        "VALUES (1, 'a') FOR UPDATE",
        "SELECT 1 UNION SELECT 2 FOR SHARE",
        "TABLE orders UNION TABLE orders FOR UPDATE",
    ] {
        let mut statements = sql::statements(text, &catalog, &NAMES, &Limits::default()).unwrap();
        let facts = statements.remove(0).facts;
        assert_eq!(facts, Err(NotUnderstood::Construct("FOR UPDATE")), "{text}");
    }
}

#[test]
fn the_budget_of_nodes_is_kept() {
    let catalog = snapshot();
    let facts = |nodes_max, text: &str| {
        let limits = Limits { nodes_max, ..Limits::default() };
        sql::statements(text, &catalog, &NAMES, &limits).unwrap().remove(0).facts
    };
    let text = format!("SELECT {}1", "1 + ".repeat(100));
    assert_eq!(facts(50, &text), Err(NotUnderstood::TooManyNodes));
    assert!(facts(1000, &text).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn mutated_statements_are_refused_or_understood(
        first in prop::sample::select(all()),
        second in prop::sample::select(all()),
        cut in 0usize..200,
        take in 0usize..200,
        drop in 0usize..40,
    ) {
        let catalog = snapshot_once();
        // Words of two statements, spliced; some dropped.
        let words = |text: &'static str| text.split(' ').collect::<Vec<_>>();
        let (first, second) = (words(first), words(second));
        let mut mixed: Vec<&str> = first[..cut.min(first.len())].to_vec();
        mixed.extend(&second[take.min(second.len())..]);
        if drop < mixed.len() {
            mixed.remove(drop);
        }
        if let Ok(statements) = sql::statements(&mixed.join(" "), catalog, &NAMES, &Limits::default()) {
            for statement in statements {
                prop_assert_ne!(statement.facts, Err(NotUnderstood::Unvisited), "{}", mixed.join(" "));
            }
        }
    }

    #[test]
    fn any_text_is_refused_or_understood(text in "\\PC{0,80}") {
        let _refused_or_not = sql::statements(&text, snapshot_once(), &NAMES, &Limits::default());
    }
}

fn snapshot_once() -> &'static sql::catalog::Catalog {
    static SNAPSHOT: std::sync::OnceLock<sql::catalog::Catalog> = std::sync::OnceLock::new();
    SNAPSHOT.get_or_init(snapshot)
}
