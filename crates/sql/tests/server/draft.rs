//! What a command is said to make of the catalog, beside what the server's catalog is afterwards: the
//! same relations, columns, types and keys. More constraints may be said to be there, never fewer.

use std::collections::{BTreeMap, BTreeSet};

use sql::catalog::{Catalog, ConstraintKind, Names, Relation, RelationKind, UNTOLD};
use sql::parse::Limits;
use sql::{Script, facts::Facts};

use crate::cluster::Cluster;

on_15_and_18! { drafts_are_what_the_server_makes }

const PATH: &[&str] = &["public", "app"];

/// Statements that stand behind one another, each carried to the next.
const CARRIED: &[&str] = &[
    "CREATE TABLE a (id serial PRIMARY KEY, name text NOT NULL DEFAULT 'x', n int[] CHECK (n <> '{}'),
     e public.mood, d date DEFAULT now(), UNIQUE (name, d))",
    "CREATE TABLE IF NOT EXISTS a (other int)",
    "CREATE INDEX ON a (name)",
    "CREATE UNIQUE INDEX a_lower ON a (lower(name)) WHERE id > 3",
    "CREATE INDEX IF NOT EXISTS a_lower ON a (d)",
    "CREATE TYPE public.kind AS ENUM ('one', 'two')",
    "ALTER TYPE kind ADD VALUE 'three'",
    "CREATE TABLE app.b (id bigint GENERATED ALWAYS AS IDENTITY, a int REFERENCES a ON DELETE CASCADE,
     k kind, ks kind[], up int REFERENCES app.b,
     CONSTRAINT b_key_of_all PRIMARY KEY (id))",
    "ALTER TABLE a ADD COLUMN age int DEFAULT 3, ADD COLUMN seen timestamptz, ADD CHECK (age > 0)",
    "ALTER TABLE a ADD COLUMN IF NOT EXISTS age serial UNIQUE",
    "ALTER TABLE a DROP COLUMN n",
    "ALTER TABLE a DROP COLUMN IF EXISTS never",
    "ALTER TABLE a RENAME COLUMN age TO years",
    "ALTER TABLE a ALTER COLUMN years TYPE bigint, ALTER years SET NOT NULL",
    "ALTER TABLE app.b ADD CONSTRAINT to_a FOREIGN KEY (a) REFERENCES a (id) ON UPDATE CASCADE",
    "ALTER TABLE app.b DROP CONSTRAINT to_a",
    "ALTER TABLE IF EXISTS nobody ADD COLUMN x int",
    "CREATE SCHEMA extra",
    "CREATE SCHEMA IF NOT EXISTS extra",
    "CREATE SEQUENCE public.counts OWNED BY a.years",
    "CREATE SEQUENCE app.more",
    "ALTER SEQUENCE app.more OWNED BY app.b.a",
    "CREATE TABLE extra.parts (id int, at date) PARTITION BY RANGE (at)",
    "CREATE TEMP TABLE scratch (x int, y mood)",
    "CREATE INDEX ON scratch (x)",
    "ALTER TABLE app.b RENAME TO bees",
    "COMMENT ON TABLE app.bees IS 'they fly'",
    "DROP TABLE IF EXISTS nobody",
    "DROP TABLE app.bees",
    "DROP INDEX public.a_lower",
    "DROP TABLE extra.parts, pg_temp.scratch",
    "CREATE TABLE app.bees (x int)",
    "DROP TABLE a",
    "CREATE TABLE a (x uuid DEFAULT gen_random_uuid())",
];

/// What can't be told, or is told to fail.
const LOST: &[&str] = &[
    "CREATE TABLE mood (x int)",
    "CREATE TABLE old (x int)",
    "CREATE TABLE x PARTITION OF parted FOR VALUES FROM (1) TO (2)",
    "CREATE TABLE x (LIKE old)",
    "CREATE TABLE x () INHERITS (old)",
    "CREATE TEMP TABLE x (y int) ON COMMIT DROP",
    "CREATE TABLE never.x (y int)",
    "CREATE TABLE x AS SELECT 1 AS y",
    "CREATE VIEW x AS SELECT 1 AS y",
    "CREATE FUNCTION x() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE TRIGGER x BEFORE INSERT ON old FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE SCHEMA x CREATE TABLE y (z int)",
    "CREATE SCHEMA AUTHORIZATION postgres",
    "CREATE TABLE x (y int, z int GENERATED ALWAYS AS (y * 2) STORED)",
    "ALTER TABLE old ADD COLUMN z int GENERATED ALWAYS AS (x * 2) STORED",
    "ALTER TABLE parted ADD COLUMN x int",
    "ALTER TABLE old OWNER TO postgres",
    "ALTER TABLE old ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE old ENABLE TRIGGER ALL",
    "ALTER TABLE old INHERIT parted",
    "ALTER TABLE old DROP COLUMN x CASCADE",
    "ALTER TABLE old DROP COLUMN seen",
    "ALTER TABLE old SET SCHEMA app",
    "ALTER VIEW sees RENAME TO x",
    "ALTER TYPE mood RENAME TO x",
    "CREATE TYPE unqualified AS ENUM ('one')",
    "DROP TABLE old",
    "DROP TABLE old CASCADE",
    "DROP TABLE parted",
    "DROP TABLE pointed",
    "DROP VIEW sees",
    "DROP TYPE mood",
];

const SCHEMA: &str = "CREATE SCHEMA app;
    CREATE TYPE mood AS ENUM ('sad', 'glad');
    CREATE TABLE old (x int, seen int);
    CREATE VIEW sees AS SELECT seen FROM old;
    CREATE TABLE parted (x int) PARTITION BY RANGE (x);
    CREATE TABLE part PARTITION OF parted FOR VALUES FROM (5) TO (6);
    CREATE TABLE pointed (x int PRIMARY KEY);
    CREATE TABLE points (x int REFERENCES pointed);";

fn drafts_are_what_the_server_makes(cluster: &Cluster) {
    cluster.psql(SCHEMA);
    let before = cluster.catalog();
    for text in LOST {
        let facts = read(text, &before, None);
        let taken = facts.change.is_some_and(|steps| before.clone().take(&steps).is_some());
        assert!(!taken, "{text}");
    }
    let mut draft = before.clone();
    let mut done = format!("SET search_path = {};\n", PATH.join(", "));
    let mut temporary = None;
    for text in CARRIED {
        let facts = read(text, &draft, temporary);
        if facts.changes_names {
            let steps = facts.change.unwrap_or_else(|| panic!("not told: {text}"));
            draft.take(&steps).unwrap_or_else(|| panic!("not taken: {text}"));
            temporary = temporary.or(draft.temporary_of(&steps));
        }
        done.push_str(&format!("{text};\n"));
        compare(&draft, &cluster.catalog_after(&done), text);
    }
}

fn read(text: &str, catalog: &Catalog, temporary: Option<&str>) -> Facts {
    let names = Names { search_path: PATH, user: "postgres", temporary, database: "postgres" };
    let script = Script::parse(text, &Limits::default()).unwrap();
    script
        .statement(0, catalog, &names)
        .unwrap()
        .facts
        .unwrap_or_else(|why| panic!("{text}: {why}"))
}

/// Names of relations, with all that is said of them.
fn relations(catalog: &Catalog) -> BTreeMap<(String, String), &Relation> {
    let there = |relation: &&Relation| {
        catalog.relation_by_oid(relation.oid).is_some() && relation.kind != RelationKind::Other
    };
    let all = catalog.relations().filter(there).map(|relation| {
        let schema = catalog.schema_name(relation.schema);
        let schema = if schema.starts_with("pg_temp") { "pg_temp" } else { schema };
        ((schema.to_owned(), relation.name.to_string()), relation)
    });
    all.collect()
}

fn compare(draft: &Catalog, real: &Catalog, text: &str) {
    let (ours, theirs) = (relations(draft), relations(real));
    let chosen = |name: &str| {
        let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
        ["_pkey", "_key", "_idx", "_excl", "_seq"].iter().any(|end| stem.ends_with(end))
    };
    for name in theirs.keys().filter(|name| !ours.contains_key(name)) {
        assert!(chosen(&name.1), "{text}: {name:?} is not in the draft");
    }
    for (name, our) in &ours {
        let Some(their) = theirs.get(name) else {
            panic!("{text}: {name:?} is only in the draft");
        };
        assert_eq!(our.kind, their.kind, "{text}: {name:?}");
        let columns = |relation: &Relation| {
            let columns = relation.columns.iter();
            columns.map(|it| (it.name.to_string(), it.generated)).collect::<Vec<_>>()
        };
        if our.kind != RelationKind::Index {
            assert_eq!(columns(our), columns(their), "{text}: {name:?}");
        }
        for (our, their) in our.columns.iter().zip(&their.columns) {
            if our.type_oid < UNTOLD - 10_000 {
                assert_eq!(our.type_oid, their.type_oid, "{text}: {name:?} {}", our.name);
            }
        }
        let name_of = |catalog: &Catalog, id| catalog.relation(id).unwrap().name.to_string();
        let owner = |catalog: &Catalog, relation: &Relation| {
            relation.owned_by.map(|(id, _)| name_of(catalog, id))
        };
        assert_eq!(owner(draft, our), owner(real, their), "{text}: {name:?}");
        let on = |catalog: &Catalog, relation: &Relation| {
            relation.index_of.map(|id| name_of(catalog, id))
        };
        assert_eq!(on(draft, our), on(real, their), "{text}: {name:?}");
        let keys = |catalog: &Catalog, relation: &Relation| {
            let named = |of: &Relation, numbers: &[u16]| -> BTreeSet<String> {
                let columns = of.columns.iter().filter(|it| numbers.contains(&it.number));
                columns.map(|it| it.name.to_string()).collect()
            };
            let told = relation.constraints.iter().filter(|it| it.kind != ConstraintKind::Other);
            let keys = told.map(|it| {
                let references = it.references.as_ref().map(|(id, numbers)| {
                    let of = catalog.relation(*id).unwrap();
                    (of.name.to_string(), named(of, numbers))
                });
                (format!("{:?}", it.kind), named(relation, &it.columns), references)
            });
            keys.collect::<Vec<_>>()
        };
        let ours = keys(draft, our);
        for their in keys(real, their) {
            let is_there = ours
                .iter()
                .any(|our| our.0 == their.0 && our.1.is_superset(&their.1) && our.2 == their.2);
            assert!(is_there, "{text}: {name:?} {their:?} is not among {ours:?}");
        }
    }
    for name in ["a", "_a", "bees", "_bees", "kind", "_kind", "mood", "_mood", "b", "_b"] {
        for schema in ["public", "app"] {
            let there = |catalog: &Catalog| catalog.type_named(schema, name).is_some();
            assert_eq!(there(draft), there(real), "{text}: type {schema}.{name}");
        }
    }
}
