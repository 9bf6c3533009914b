//! The oracle that isn't ours: a query made into a view leaves PostgreSQL's own record of what it
//! depends on. We may never name less than that. What we name beyond it is counted.
//!
//! The record has no whole rows (every column is read then, and we say so), and none of the
//! server's own functions. It has the attributes of composite types and of the rows that functions
//! give; to use those takes no right, and we don't name them.

use std::collections::{BTreeMap, BTreeSet};

use sql::catalog::{Catalog, Names};
use sql::facts::Facts;
use sql::parse::Limits;

use crate::cluster::{Cluster, rows};

on_15_and_18! { we_never_say_less_than_the_server we_never_say_less_than_the_server_for_random_queries }

const SCHEMA: &str = include_str!("schema.sql");
const CORPUS: &str = include_str!("corpus.sql");

/// Relations with the columns read, and functions; by oid.
#[derive(Debug, Default, PartialEq, Eq)]
struct Reads {
    columns: BTreeSet<(u32, u16)>,
    relations: BTreeSet<u32>,
    functions: BTreeSet<u32>,
    whole: BTreeSet<u32>,
}

/// On objects of the server's own, with smaller numbers, no dependency is recorded.
const PINNED: u32 = 16384;

fn ours(facts: &Facts, catalog: &Catalog) -> Reads {
    let mut reads = Reads::default();
    for used in &facts.relations {
        let relation = catalog.relation(used.relation.unwrap()).unwrap();
        if relation.oid < PINNED {
            continue;
        }
        reads.relations.insert(relation.oid);
        let Some(columns) = &used.read else { continue };
        reads.columns.extend(columns.numbers.iter().map(|number| (relation.oid, *number)));
        if columns.whole_row {
            reads.whole.insert(relation.oid);
        }
    }
    for id in &facts.named {
        reads.relations.insert(catalog.relation(*id).unwrap().oid);
    }
    for id in &facts.functions {
        let function = catalog.function(*id).unwrap();
        if !catalog.is_system(function.schema) {
            reads.functions.insert(function.oid);
        }
    }
    reads
}

/// What the server records for each query: `None` where it takes no such view.
fn theirs(cluster: &Cluster, queries: &[&str]) -> Vec<Option<Reads>> {
    let mut script = String::from("SET search_path = app, public;\n");
    for (number, query) in queries.iter().enumerate() {
        script += &format!(
            "BEGIN;\nCREATE VIEW public.oracle AS SELECT 1 AS one FROM (\n{query}\n) AS oracle_query;\n\
             SELECT {number}, d.refclassid::regclass, d.refobjid, d.refobjsubid, \
             coalesce((SELECT oprcode::oid FROM pg_operator WHERE oid = d.refobjid AND d.refclassid = 'pg_operator'::regclass), 0) \
             FROM pg_rewrite r JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid \
             WHERE r.ev_class = 'public.oracle'::regclass AND d.deptype = 'n' AND d.refobjid <> r.ev_class \
             AND NOT (d.refclassid = 'pg_class'::regclass AND d.refobjid IN (\
             SELECT c.oid FROM pg_class c WHERE c.relkind = 'c' \
             UNION ALL SELECT t.typrelid FROM pg_depend f JOIN pg_proc p ON p.oid = f.refobjid \
             JOIN pg_type t ON t.oid = p.prorettype \
             WHERE f.objid = r.oid AND f.refclassid = 'pg_proc'::regclass)) \
             UNION ALL SELECT {number}, NULL, 0, 0, 0 FROM pg_class WHERE oid = 'public.oracle'::regclass;\n\
             \\echo {end}\nROLLBACK;\n",
            end = '\u{1d}',
        );
    }
    let printed = cluster.psql(&script).replace('\n', "");
    let mut found: BTreeMap<usize, Reads> = BTreeMap::new();
    for row in rows(&printed) {
        let [number, class, oid, column, operator] = row[..] else { panic!("{row:?}") };
        let reads = found.entry(number.parse().unwrap()).or_default();
        let oid: u32 = oid.parse().unwrap();
        match class {
            "pg_class" => {
                if oid < PINNED {
                    continue;
                }
                reads.relations.insert(oid);
                // System columns have negative numbers, the relation itself 0.
                if let Ok(column) = column.parse()
                    && column > 0
                {
                    reads.columns.insert((oid, column));
                }
            }
            "pg_proc" => {
                reads.functions.insert(oid);
            }
            "pg_operator" => {
                reads.functions.insert(operator.parse().unwrap());
            }
            _ => {}
        }
    }
    (0..queries.len()).map(|number| found.remove(&number)).collect()
}

#[derive(Debug, Default)]
struct Outcome {
    agreed: usize,
    more: Vec<String>,
    /// The server refuses it; what we say of it does not matter.
    refused_by_both: Vec<String>,
    refused_by_server: Vec<String>,
}

fn compare(cluster: &Cluster, catalog: &Catalog, queries: &[&str]) -> Outcome {
    let names = Names {
        search_path: &["app", "public"],
        user: "postgres",
        temporary: None,
        database: "postgres",
    };
    let mut outcome = Outcome::default();
    let mut faults = Vec::new();
    for (query, theirs) in queries.iter().zip(theirs(cluster, queries)) {
        let statements = sql::statements(query, catalog, &names, &Limits::default());
        let facts = statements.map(|mut statements| statements.remove(0).facts);
        let facts = match (&facts, &theirs) {
            (Ok(Ok(facts)), Some(_)) => facts,
            (Ok(Ok(_)), None) => {
                outcome.refused_by_server.push((*query).to_owned());
                continue;
            }
            (_, None) => {
                outcome.refused_by_both.push((*query).to_owned());
                continue;
            }
            (error, Some(_)) => {
                faults.push(format!("refused: {error:?}\n{query}"));
                continue;
            }
        };
        let theirs = theirs.unwrap();
        let ours = ours(facts, catalog);
        let named = |oid: u32| format!("{oid}");
        let less: Vec<String> = theirs
            .columns
            .difference(&ours.columns)
            .map(|(oid, number)| format!("column {oid}.{number}"))
            .chain(theirs.relations.difference(&ours.relations).map(|oid| named(*oid)))
            .chain(
                theirs
                    .functions
                    .difference(&ours.functions)
                    .filter(|oid| **oid >= PINNED)
                    .map(|oid| format!("function {oid}")),
            )
            .collect();
        if !less.is_empty() {
            faults.push(format!("says less, lacks {less:?}\n{query}"));
            continue;
        }
        let more: Vec<String> = ours
            .columns
            .difference(&theirs.columns)
            .filter(|(oid, _)| !ours.whole.contains(oid))
            .map(|(oid, number)| format!("column {oid}.{number}"))
            .chain(ours.relations.difference(&theirs.relations).map(|oid| named(*oid)))
            .chain(
                ours.functions.difference(&theirs.functions).map(|oid| format!("function {oid}")),
            )
            .collect();
        if more.is_empty() {
            outcome.agreed += 1;
        } else {
            outcome.more.push(format!("{more:?}: {query}"));
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n\n"));
    outcome
}

/// The queries of the corpus, which stand between semicolons at the ends of lines.
fn corpus() -> Vec<&'static str> {
    CORPUS.split(";\n").map(str::trim).filter(|query| !query.is_empty()).collect()
}

fn we_never_say_less_than_the_server(cluster: &Cluster) {
    cluster.must(SCHEMA);
    let catalog = cluster.catalog();
    let outcome = compare(cluster, &catalog, &corpus());
    if cluster.version() >= 14 {
        assert_eq!(outcome.refused_by_server, Vec::<String>::new(), "not for a view");
    }
    assert_eq!(outcome.refused_by_both, Vec::<String>::new(), "wrong");
    // Kept small: what compares values of a type that is there, as arrays and aggregates may; and
    // the columns of a row that is cast.
    let columns = outcome.more.iter().filter(|more| more.contains("column")).count();
    assert!(columns <= 1, "{}", outcome.more.join("\n"));
    assert!(outcome.more.len() * 6 <= outcome.agreed, "{}", outcome.more.join("\n"));
}

/// Random queries over that schema and what else there is. sqlsmith knows the grammar and the
/// catalog, and little of sense: a third of them run into an error, which does not matter here.
fn we_never_say_less_than_the_server_for_random_queries(cluster: &Cluster) {
    let long = std::env::var_os("GATEPOST_LONG").is_some();
    cluster.must(SCHEMA);
    cluster.must(include_str!("carried.sql"));
    let catalog = cluster.catalog();
    let (seeds, queries) = if long { (1..=10, 2000) } else { (1..=1, 400) };
    for seed in seeds {
        let text = cluster.sqlsmith(seed, queries);
        let queries: Vec<&str> = text
            .split(";\n")
            .map(str::trim)
            .filter(|query| query.starts_with("select") || query.starts_with("WITH"))
            .collect();
        assert!(queries.len() > 100, "{}", queries.len());
        let outcome = compare(cluster, &catalog, &queries);
        println!(
            "seed {seed}: {} agreed, {} more, {} refused by the server alone, {} by both",
            outcome.agreed,
            outcome.more.len(),
            outcome.refused_by_server.len(),
            outcome.refused_by_both.len()
        );
        for more in outcome.more.iter().take(3) {
            println!("  {}", more.split(": ").next().unwrap_or_default());
        }
        assert!(outcome.agreed > 30, "{}", outcome.agreed);
    }
}
