//! The second oracle: a role with exactly the rights that the facts name can run the statement,
//! and with any one of them taken away it can't.
//!
//! Functions are an exception in the second half: where we can't tell which of several the server
//! takes we name them all. The tables are empty, and everything is rolled back.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use sql::catalog::{Catalog, Names, RelationKind};
use sql::facts::{Columns, Facts, Kind};
use sql::parse::Limits;

use crate::cluster::Cluster;

on_15_and_18! { the_facts_name_exactly_the_rights_that_it_takes }

const WRITES: &str = include_str!("writes.sql");
const INSUFFICIENT_PRIVILEGE: &str = "42501";
const SUCCESS: &str = "00000";

/// Rights as the text between GRANT and TO. The empty text for a read without columns becomes a
/// right on the first column: any would do.
fn rights(facts: &Facts, catalog: &Catalog) -> BTreeSet<String> {
    let mut rights = BTreeSet::new();
    for used in &facts.relations {
        let Some(relation) = used.relation.and_then(|id| catalog.relation(id)) else {
            rights.insert("CREATE ON SCHEMA app".to_owned());
            continue;
        };
        let schema = catalog.schema_name(relation.schema);
        if catalog.is_system(relation.schema) {
            continue;
        }
        let on = format!("ON {schema}.\"{}\"", relation.name);
        let sequence = relation.kind == RelationKind::Sequence;
        let mut columns = |verb: &str, columns: &Columns| {
            if sequence || columns.system {
                // Sequences and system columns have no rights on columns.
                rights.insert(format!("{verb} {on}"));
                return;
            }
            let first = relation.columns.first().map(|column| column.number);
            let named = columns.numbers.iter().copied();
            let none = columns.numbers.is_empty();
            for number in named.chain(first.filter(|_| none)) {
                let column = relation.columns.iter().find(|c| c.number == number).unwrap();
                rights.insert(format!("{verb} (\"{}\") {on}", column.name));
            }
        };
        for (verb, named) in
            [("SELECT", &used.read), ("INSERT", &used.insert), ("UPDATE", &used.update)]
        {
            // A relation that stands there twice needs no second column.
            let twice = facts.relations.iter().any(|other| {
                let read = other.read.as_ref();
                other.relation == used.relation && read.is_some_and(|c| !c.numbers.is_empty())
            });
            if let Some(named) = named
                && !(verb == "SELECT" && named.numbers.is_empty() && twice && !named.system)
            {
                columns(verb, named);
            }
        }
        if used.lock_rows {
            columns("UPDATE", &Columns::default());
        }
        for (needed, verb) in [
            (used.delete, "DELETE"),
            (used.truncate, "TRUNCATE"),
            (used.lock == Some(false), "SELECT"),
            (used.lock == Some(true), "UPDATE"),
        ] {
            if needed {
                rights.insert(format!("{verb} {on}"));
            }
        }
    }
    for relation in facts.named.iter().filter_map(|id| catalog.relation(*id)) {
        if relation.kind == RelationKind::Sequence {
            let schema = catalog.schema_name(relation.schema);
            rights.insert(format!("USAGE ON SEQUENCE {schema}.\"{}\"", relation.name));
        }
    }
    for function in facts.functions.iter().filter_map(|id| catalog.function(*id)) {
        if !catalog.is_system(function.schema) {
            rights.insert(format!("EXECUTE ON FUNCTION {}", function.oid));
        }
    }
    rights
}

/// A right on a function names it by oid until psql has its signature.
fn change(script: &mut String, verb: &str, preposition: &str, right: &str) {
    match right.strip_prefix("EXECUTE ON FUNCTION ") {
        Some(oid) => writeln!(
            script,
            "SELECT format('{verb} EXECUTE ON ROUTINE %s {preposition} exact', {oid}::regprocedure) \\gexec"
        ),
        None => writeln!(script, "{verb} {right} {preposition} exact;"),
    }
    .unwrap();
}

fn the_facts_name_exactly_the_rights_that_it_takes(cluster: &Cluster) {
    cluster.must(include_str!("schema.sql"));
    cluster.must(
        "DO $$ DECLARE f regprocedure; BEGIN FOR f IN SELECT oid FROM pg_proc WHERE pronamespace IN ('app'::regnamespace, 'public'::regnamespace) \
         LOOP EXECUTE format('REVOKE EXECUTE ON ROUTINE %s FROM PUBLIC', f); END LOOP; END $$; \
         CREATE ROLE exact; GRANT USAGE ON SCHEMA app, public TO exact;",
    );
    let catalog = cluster.catalog();
    let names = Names {
        search_path: &["app", "public"],
        user: "exact",
        temporary: None,
        database: "postgres",
    };

    let corpus = include_str!("corpus.sql");
    let statements: Vec<&str> = corpus
        .split(";\n")
        .chain(WRITES.split(";\n"))
        .map(str::trim)
        // What a function's body needs is the body's, and opaque.
        .filter(|text| !text.is_empty() && !text.contains("orders_of"))
        .collect();
    let mut script = String::from("\\o /dev/null\nSET search_path = app, public;\n");
    let mut all = Vec::new();
    for (number, text) in statements.iter().enumerate() {
        let parsed = sql::statements(text, &catalog, &names, &Limits::default()).unwrap();
        let facts = parsed[0].facts.as_ref().unwrap_or_else(|e| panic!("{e:?}: {text}"));
        let rights: Vec<String> = rights(facts, &catalog).into_iter().collect();
        let try_it = |script: &mut String, step: usize| {
            writeln!(
                script,
                "BEGIN;\nSET LOCAL ROLE exact;\n{text};\n\\echo {number} {step} :SQLSTATE\nROLLBACK;"
            )
            .unwrap();
            if matches!(facts.kind, Kind::Prepare) {
                // Only running it needs rights.
                writeln!(script, "DEALLOCATE ALL;").unwrap();
            }
        };
        for right in &rights {
            change(&mut script, "GRANT", "TO", right);
        }
        try_it(&mut script, 0);
        for (at, right) in rights.iter().enumerate() {
            change(&mut script, "REVOKE", "FROM", right);
            try_it(&mut script, at + 1);
            change(&mut script, "GRANT", "TO", right);
        }
        for right in &rights {
            change(&mut script, "REVOKE", "FROM", right);
        }
        all.push((text, rights, facts.kind));
    }

    let printed = cluster.psql(&script);
    let mut states: BTreeMap<(usize, usize), &str> = BTreeMap::new();
    for line in printed.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        if let [number, step, state] = words[..] {
            states.insert((number.parse().unwrap(), step.parse().unwrap()), state);
        }
    }
    let (mut less, mut more, mut functions) = (Vec::new(), Vec::new(), 0);
    let mut unable = Vec::new();
    for (number, (text, rights, kind)) in all.iter().enumerate() {
        let with_all = states[&(number, 0)];
        if with_all == INSUFFICIENT_PRIVILEGE {
            less.push(format!("{rights:?}: {text}"));
            continue;
        }
        if with_all != SUCCESS {
            unable.push(format!("{with_all}: {text}"));
            continue;
        }
        if matches!(kind, Kind::Prepare) {
            continue;
        }
        for (at, right) in rights.iter().enumerate() {
            if states[&(number, at + 1)] != INSUFFICIENT_PRIVILEGE {
                if right.starts_with("EXECUTE") {
                    functions += 1;
                } else {
                    more.push(format!("{right}: {text}"));
                }
            }
        }
    }
    assert!(less.is_empty(), "rights are missing:\n{}", less.join("\n"));
    assert!(more.is_empty(), "not needed:\n{}", more.join("\n"));
    // Older servers lack MERGE, among others.
    assert!(unable.is_empty() || cluster.version() < 15, "fail anyway:\n{}", unable.join("\n"));
    // Candidates that the server didn't take, and functions that nothing runs on empty tables.
    assert!(functions < 100, "{functions}");
}
