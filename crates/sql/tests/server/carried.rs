//! What relations carry, against a server that has code in every place where it can be; and no
//! less than the server's own record of it.

use std::collections::BTreeSet;

use sql::catalog::{CHANGED_SQL, Catalog, ConstraintKind, Event, Names, RelationId, ViewRead};
use sql::parse::Limits;

use crate::cluster::{Cluster, rows};

on_15_and_18! { what_runs_besides_what_is_named constraints_tie_columns we_never_name_less_code_than_the_server_records calls_within_calls every_change_is_noticed }

use Event::{Delete, Insert, Maintain, Read, Truncate, Update};

const ALL: [Event; 6] = [Read, Insert, Update, Delete, Truncate, Maintain];

/// What happens to a relation, the functions that run (`where: name`), and the relations that
/// something is done to besides.
const CASES: [(Event, &str, &str, &str); 34] = [
    (Read, "plain", "", ""),
    (Insert, "plain", "", ""),
    (Read, "checked", "Generated: f_generated", ""),
    (Insert, "checked", "Check: f_check, Default: f_default, Generated: f_generated", ""),
    (Update, "checked", "Check: f_check, Default: f_default, Generated: f_generated", ""),
    (Delete, "checked", "", ""),
    (Insert, "kept", "Default: int4, Default: nextval, Default: now", "kept_id_seq Read"),
    (Insert, "typed", "Domain: f_domain, Domain: f_domain_default", ""),
    (Read, "typed", "", ""),
    (Read, "indexed", "", ""),
    (Insert, "indexed", "Index: f_index, Index: f_predicate", ""),
    (Maintain, "indexed", "Index: f_index, Index: f_predicate", ""),
    (Read, "guarded", "RowSecurity: f_policy", "plain Read"),
    (Insert, "guarded", "RowSecurity: f_policy, RowSecurity: f_policy_insert", "plain Read"),
    (Truncate, "guarded", "", ""),
    (Read, "unguarded", "", ""),
    (Delete, "ruled", "Rule: f_rule, Trigger: t_insert", "log Insert, log Read, ruled Read"),
    (Insert, "ruled", "", ""),
    (Insert, "triggered", "Trigger: f_when, Trigger: t_insert", ""),
    (Update, "triggered", "Trigger: t_update", "referring Update"),
    (Delete, "triggered", "Trigger: t_child, Trigger: t_delete", "referring Delete"),
    (Truncate, "triggered", "Trigger: t_truncate", "referring Truncate, restricted Truncate"),
    (Insert, "split", "PartitionKey: f_partition", "split_1 Insert"),
    (
        Update,
        "split",
        "PartitionKey: f_partition, Trigger: t_child",
        "split_1 Delete, split_1 Insert, split_1 Update",
    ),
    (Insert, "parent", "", ""),
    (Update, "parent", "Trigger: t_child", "child Update"),
    (
        Read,
        "seen",
        "View: f_domain, View: f_domain_default, View: f_equal, View: f_inner, View: f_view, View: upper",
        "triggered Read",
    ),
    (Read, "compared", "", "plain Read"),
    (
        Delete,
        "replaced",
        "Trigger: t_child, Trigger: t_delete",
        "referring Delete, triggered Delete, triggered Read",
    ),
    (Insert, "replaced", "Trigger: t_instead", "triggered Read"),
    (Delete, "nothing", "", "nothing Read, triggered Read"),
    (Read, "stored", "", ""),
    (Maintain, "stored", "View: f_inner, View: f_view", "plain Read"),
    (Read, "split", "", "split_1 Read"),
];

fn what_runs_besides_what_is_named(cluster: &Cluster) {
    cluster.must(include_str!("carried.sql"));
    let catalog = cluster.catalog();
    let mut wrong = Vec::new();
    for (event, name, calls, done) in CASES {
        let id = relation(cluster, &catalog, name);
        let carried = catalog.carried(id, event);
        let called = each_once(carried.calls.iter().map(|call| {
            format!("{:?}: {}", call.source, catalog.function(call.function).unwrap().name)
        }));
        let besides = carried.done.iter().filter(|did| **did != (id, event));
        let besides =
            each_once(besides.map(|(other, event)| {
                format!("{} {event:?}", catalog.relation(*other).unwrap().name)
            }));
        if (&*called, &*besides) != (calls, done) {
            wrong.push(format!("{event:?} {name}: {called} | {besides}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let on_ddl: Vec<_> = catalog.event_triggers().map(|(event, _)| event.to_owned()).collect();
    assert_eq!(on_ddl, ["ddl_command_start"]);
}

fn constraints_tie_columns(cluster: &Cluster) {
    cluster.must(include_str!("carried.sql"));
    let catalog = cluster.catalog();
    let of = |name: &str| {
        let relation = catalog.relation(relation(cluster, &catalog, name)).unwrap();
        assert_eq!(catalog.owner(relation), Some("postgres"));
        let mut found: Vec<(ConstraintKind, Vec<u16>)> = relation
            .constraints
            .iter()
            // Of 18 on NOT NULL is one, too.
            .filter(|constraint| constraint.kind != ConstraintKind::Other)
            .map(|constraint| (constraint.kind, constraint.columns.to_vec()))
            .collect();
        found.sort_by_key(|(kind, _)| *kind as u8);
        found
    };
    assert_eq!(of("plain"), [(ConstraintKind::Primary, vec![1])]);
    assert_eq!(of("checked"), [(ConstraintKind::Check, vec![1])]);
    // The key is an expression over n where id is such; m is only carried along.
    assert_eq!(
        of("indexed"),
        [(ConstraintKind::Unique, vec![1, 2]), (ConstraintKind::Exclusion, vec![3])]
    );
    assert_eq!(of("split"), [(ConstraintKind::PartitionKey, vec![1, 2])]);
    assert_eq!(of("referring"), [(ConstraintKind::Foreign, vec![1])]);
    let referring = catalog.relation(relation(cluster, &catalog, "referring")).unwrap();
    let (other, columns) = referring.constraints[0].references.as_ref().unwrap();
    assert_eq!(&*catalog.relation(*other).unwrap().name, "triggered");
    assert_eq!(**columns, [1]);
}

/// Of everything in the database: the functions that it records for what belongs to a relation
/// are among those that we name.
fn we_never_name_less_code_than_the_server_records(cluster: &Cluster) {
    cluster.must(include_str!("schema.sql"));
    cluster.must(include_str!("carried.sql"));
    let catalog = cluster.catalog();
    let recorded = cluster.must(
        "SELECT o.relation, coalesce(p.oprcode::oid, d.refobjid) FROM (\
         SELECT 'pg_rewrite'::regclass AS class, oid, ev_class AS relation FROM pg_rewrite \
         UNION ALL SELECT 'pg_attrdef'::regclass, oid, adrelid FROM pg_attrdef \
         UNION ALL SELECT 'pg_constraint'::regclass, oid, conrelid FROM pg_constraint WHERE conrelid <> 0 \
         UNION ALL SELECT 'pg_policy'::regclass, oid, polrelid FROM pg_policy \
         WHERE (SELECT relrowsecurity FROM pg_class WHERE oid = polrelid) \
         UNION ALL SELECT 'pg_trigger'::regclass, oid, tgrelid FROM pg_trigger WHERE tgenabled <> 'D' \
         UNION ALL SELECT 'pg_class'::regclass, indexrelid, indrelid FROM pg_index \
         UNION ALL SELECT 'pg_class'::regclass, partrelid, partrelid FROM pg_partitioned_table) o \
         JOIN pg_depend d ON d.classid = o.class AND d.objid = o.oid \
         LEFT JOIN pg_operator p ON d.refclassid = 'pg_operator'::regclass AND p.oid = d.refobjid \
         WHERE d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass)",
    );
    let mut count = 0;
    for row in rows(&recorded) {
        let relation = catalog.relation_by_oid(row[0].parse().unwrap()).unwrap();
        let function: u32 = row[1].parse().unwrap();
        let called = |id| catalog.function(id).unwrap().oid == function;
        let carries = ALL.iter().any(|event| {
            catalog.carried(relation, *event).calls.iter().any(|call| called(call.function))
        });
        let beneath = catalog
            .beneath(relation)
            .iter()
            .any(|b| matches!(b.read, ViewRead::Function(id) if called(id)));
        assert!(carries || beneath, "{row:?}");
        count += 1;
    }
    assert!(count > 20, "{count}");
}

/// What calls a function calls besides: defaults of arguments that aren't given, and the
/// constraints of domains.
fn calls_within_calls(cluster: &Cluster) {
    cluster.must(include_str!("carried.sql"));
    let catalog = cluster.catalog();
    let names =
        Names { search_path: &["c"], user: "postgres", temporary: None, database: "postgres" };
    for (text, expected) in [
        ("SELECT f_view(1)", "f_inner, f_view"),
        ("SELECT 1::smaller", "f_domain, f_domain_default"),
        ("SELECT '{}'::smaller[]", "f_domain, f_domain_default"),
        ("SELECT ROW(1, 2)::pair", "f_domain, f_domain_default"),
        ("SELECT f_takes(1)", "f_domain, f_domain_default, f_takes"),
        ("SELECT f_check(1)", "f_check"),
        ("SELECT 1::int", ""),
        // Reading makes no values.
        ("SELECT pairs FROM typed", ""),
    ] {
        let statements = sql::statements(text, &catalog, &names, &Limits::default()).unwrap();
        let facts = statements[0].facts.as_ref().unwrap();
        let own = facts.functions.iter().map(|id| catalog.function(*id).unwrap());
        let own = own.filter(|function| !catalog.is_system(function.schema));
        assert_eq!(each_once(own.map(|function| function.name.to_string())), expected, "{text}");
    }
}

fn every_change_is_noticed(cluster: &Cluster) {
    cluster.must(include_str!("carried.sql"));
    let state = || cluster.must(&CHANGED_SQL);
    let mut before = state();
    for change in [
        "CREATE SCHEMA other",
        "CREATE TABLE other.one (id int)",
        "ALTER TABLE c.plain RENAME n TO m",
        "ALTER TABLE c.kept ALTER id TYPE bigint",
        "ALTER TABLE c.kept ALTER at SET DEFAULT NULL",
        "ALTER TABLE c.kept ALTER at SET DEFAULT now()",
        "ALTER TABLE c.kept DROP at",
        "ALTER TABLE c.checked DROP CONSTRAINT checked_id_check",
        "ALTER POLICY reads ON c.guarded USING (true)",
        "DROP POLICY inserts ON c.guarded",
        "ALTER TABLE c.guarded DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE c.triggered ENABLE TRIGGER disabled",
        "DROP TRIGGER inserts ON c.log",
        "ALTER TABLE c.ruled DISABLE RULE logs",
        "CREATE OR REPLACE VIEW c.compared AS SELECT id + 1 AS id FROM c.plain",
        "ALTER VIEW c.compared OWNER TO pg_monitor",
        "ALTER DOMAIN c.small DROP DEFAULT",
        "ALTER FUNCTION c.f_view SECURITY DEFINER",
        "CREATE STATISTICS other.known ON id, n FROM c.indexed",
        "CREATE CAST (text AS c.pair) WITH INOUT",
        "DROP OPERATOR c.=== (int, text) CASCADE",
        "CREATE EXTENSION citext",
        "ALTER EXTENSION citext DROP FUNCTION citext_eq(citext, citext)",
        "ALTER EVENT TRIGGER ddl DISABLE",
        "CREATE ROLE somebody",
        "ALTER ROLE somebody RENAME TO nobody",
        "ALTER TABLE c.parent RENAME TO ancestor",
        "ALTER TABLE c.child NO INHERIT c.ancestor",
        "CREATE UNIQUE INDEX ON c.log (id)",
    ] {
        cluster.must(change);
        let after = state();
        assert_ne!(before, after, "{change}");
        before = after;
    }
    for no_change in [
        "INSERT INTO c.log VALUES (1)",
        "UPDATE c.log SET id = 2",
        "ANALYZE c.log",
        "VACUUM c.log",
        "SET search_path = c",
        "BEGIN; CREATE TABLE c.never (id int); ROLLBACK",
        "SELECT nextval('c.kept_id_seq')",
    ] {
        cluster.must(no_change);
        assert_eq!(before, state(), "{no_change}");
    }
}

fn each_once(texts: impl Iterator<Item = String>) -> String {
    texts.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", ")
}

fn relation(cluster: &Cluster, catalog: &Catalog, name: &str) -> RelationId {
    let oid = cluster.must(&format!("SELECT 'c.{name}'::regclass::oid"));
    catalog.relation_by_oid(oid.trim().parse().unwrap()).unwrap()
}
