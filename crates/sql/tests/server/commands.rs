//! The second oracle, for commands: a role that owns what the facts say is altered or dropped, may
//! create in the schemas where they say that something is made, and has the rights that they name
//! besides, can run the command; with any one of these taken away it can't. And what the facts say
//! can't run in a transaction block, the server refuses there; nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use sql::catalog::{Catalog, Names, RelationId, ViewRead};
use sql::facts::{CommandUse, Effect, Facts, ObjectKind};
use sql::parse::Limits;

use crate::cluster::Cluster;

on_15_and_18! {
    the_facts_name_exactly_the_rights_that_a_command_takes
    what_cannot_run_in_a_block
    what_writes
}

const COMMANDS: &str = include_str!("commands.sql");
const STATEMENTS: &str = include_str!("../facts/statements.sql");
const INSUFFICIENT_PRIVILEGE: &str = "42501";
const ACTIVE_TRANSACTION: &str = "25001";
const SUCCESS: &str = "00000";

/// PostgreSQL asks for less: a parent that is left needs no consent, and statistics under a new
/// name none of their table's owner.
const LESS_IS_ENOUGH: [&str; 3] = [
    "ALTER TABLE child NO INHERIT parent",
    "ALTER TABLE measures DETACH PARTITION measures_2024",
    "ALTER STATISTICS known RENAME TO made",
];

/// One thing that a role may be given: the statements that give and take it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Right {
    give: String,
    take: String,
}

impl Right {
    fn on(right: &str) -> Self {
        Self { give: format!("GRANT {right} TO exact"), take: format!("REVOKE {right} FROM exact") }
    }

    fn owner(of: &str) -> Self {
        Self {
            give: format!("ALTER {of} OWNER TO exact"),
            take: format!("ALTER {of} OWNER TO postgres"),
        }
    }
}

fn rights(facts: &Facts, catalog: &Catalog, version: u32) -> BTreeSet<Right> {
    let mut rights = BTreeSet::new();
    let mut owned = BTreeSet::new();
    for used in &facts.commands {
        of_command(used, catalog, version, &mut rights, &mut owned);
    }
    for used in &facts.relations {
        let Some(id) = used.relation else { continue };
        let relation = catalog.relation(id).unwrap();
        if owned.contains(&id) {
            continue;
        }
        let name = format!("{}.\"{}\"", catalog.schema_name(relation.schema), relation.name);
        if used.like {
            rights.insert(Right::on(&format!("SELECT ON {name}")));
        }
        for column in &relation.columns {
            if used.reference.as_ref().is_some_and(|r| r.numbers.contains(&column.number)) {
                rights.insert(Right::on(&format!("REFERENCES (\"{}\") ON {name}", column.name)));
            }
        }
    }
    rights
}

fn of_command(
    used: &CommandUse,
    catalog: &Catalog,
    version: u32,
    rights: &mut BTreeSet<Right>,
    owned: &mut BTreeSet<RelationId>,
) {
    let Some(object) = &used.object else { return };
    let schema = object.schema.clone().unwrap_or_default();
    let name = format!("{schema}.\"{}\"", object.name);
    let on = object.relation.map(|id| {
        let relation = catalog.relation(id).unwrap();
        format!("{}.\"{}\"", catalog.schema_name(relation.schema), relation.name)
    });
    let on_a_table = matches!(
        object.kind,
        ObjectKind::Index | ObjectKind::Trigger | ObjectKind::Policy | ObjectKind::Rule
    );
    let mut owns = |of: String| {
        owned.extend(object.relation);
        Right::owner(&of)
    };
    match (used.effect, object.kind) {
        (Effect::Create, ObjectKind::Trigger) => {
            rights.insert(Right::on(&format!("TRIGGER ON {}", on.unwrap())));
        }
        (Effect::Create, kind) => {
            if let Some(on) = on {
                rights.insert(owns(format!("TABLE {on}")));
            }
            let own_schema = !matches!(kind, ObjectKind::Policy | ObjectKind::Rule);
            if own_schema && schema != "pg_temp" {
                rights.insert(Right::on(&format!("CREATE ON SCHEMA {schema}")));
            }
        }
        (Effect::Maintain, _) if version >= 17 => {
            rights.insert(Right::on(&format!("MAINTAIN ON {}", on.unwrap())));
        }
        (Effect::Maintain, _) => {
            rights.insert(owns(format!("TABLE {}", on.unwrap())));
            // Who owns a view reads for it.
            for beneath in object.relation.into_iter().flat_map(|id| catalog.beneath(id)) {
                if let ViewRead::Column(below, _) = beneath.read {
                    let below = catalog.relation(below).unwrap();
                    let schema = catalog.schema_name(below.schema);
                    rights.insert(Right::on(&format!("SELECT ON {schema}.\"{}\"", below.name)));
                }
            }
        }
        (_, ObjectKind::Function) => {
            rights.insert(owns(format!("ROUTINE {name}")));
        }
        (_, kind @ (ObjectKind::Statistics | ObjectKind::Type | ObjectKind::Domain)) => {
            rights.insert(owns(format!("{} {name}", kind.name())));
        }
        _ if on_a_table => {
            rights.insert(owns(format!("TABLE {}", on.unwrap())));
        }
        _ if object.relation.is_some() => {
            rights.insert(owns(format!("TABLE {name}")));
        }
        _ => {}
    }
}

fn prepared(cluster: &Cluster) -> Catalog {
    cluster.must(include_str!("schema.sql"));
    cluster.must(
        "CREATE STATISTICS app.known ON id, note FROM app.orders; CREATE TABLE app.heir (id int, kind text); \
         CREATE FUNCTION app.audit() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END'; \
         CREATE TRIGGER known BEFORE INSERT ON app.items FOR EACH ROW EXECUTE FUNCTION app.audit(); \
         CREATE POLICY known ON app.items USING (id > 1); \
         CREATE ROLE exact; GRANT USAGE ON SCHEMA app, public TO exact; \
         REVOKE CREATE ON SCHEMA public FROM PUBLIC;",
    );
    cluster.catalog()
}

const NAMES: Names<'_> =
    Names { search_path: &["app", "public"], user: "exact", temporary: None, database: "postgres" };

fn facts(text: &str, catalog: &Catalog) -> Option<Facts> {
    let parsed = sql::statements(text, catalog, &NAMES, &Limits::default()).unwrap();
    parsed.into_iter().next().unwrap().facts.ok()
}

fn states(printed: &str) -> BTreeMap<(usize, usize), String> {
    let mut states = BTreeMap::new();
    for line in printed.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        if let ["at", number, step, state] = words[..] {
            states.insert((number.parse().unwrap(), step.parse().unwrap()), state.to_owned());
        }
    }
    states
}

fn the_facts_name_exactly_the_rights_that_a_command_takes(cluster: &Cluster) {
    let catalog = prepared(cluster);
    let version = cluster.version();
    let mut script = String::from("\\o /dev/null\nSET search_path = app, public;\n");
    let mut all = Vec::new();
    for text in COMMANDS.split(";\n").map(str::trim).filter(|text| !text.is_empty()) {
        let facts = facts(text, &catalog).unwrap_or_else(|| panic!("{text}"));
        let rights: Vec<Right> = rights(&facts, &catalog, version).into_iter().collect();
        let number = all.len();
        let try_it = |script: &mut String, step: usize| {
            writeln!(
                script,
                "BEGIN;\nSET LOCAL ROLE exact;\n{text};\n\\echo at {number} {step} :SQLSTATE\nROLLBACK;"
            )
            .unwrap();
        };
        for right in &rights {
            writeln!(script, "{};", right.give).unwrap();
        }
        try_it(&mut script, 0);
        for (at, right) in rights.iter().enumerate() {
            writeln!(script, "{};", right.take).unwrap();
            try_it(&mut script, at + 1);
            writeln!(script, "{};", right.give).unwrap();
        }
        for right in &rights {
            writeln!(script, "{};", right.take).unwrap();
        }
        all.push((text, rights));
    }
    let states = states(&cluster.psql(&script));
    let (mut less, mut more, mut unable) = (Vec::new(), Vec::new(), Vec::new());
    let mut taken = 0;
    for (number, (text, rights)) in all.iter().enumerate() {
        let with_all = &*states[&(number, 0)];
        if with_all == INSUFFICIENT_PRIVILEGE {
            less.push(format!("{rights:?}: {text}"));
        } else if with_all != SUCCESS {
            unable.push(format!("{with_all}: {text}"));
        } else if !LESS_IS_ENOUGH.contains(text) {
            for (at, right) in rights.iter().enumerate() {
                taken += 1;
                if states[&(number, at + 1)] != INSUFFICIENT_PRIVILEGE {
                    more.push(format!("{right:?}: {text}"));
                }
            }
        }
    }
    assert!(less.is_empty(), "rights are missing:\n{}", less.join("\n"));
    assert!(more.is_empty(), "not needed:\n{}", more.join("\n"));
    assert!(unable.is_empty() || version < 14, "fail anyway:\n{}", unable.join("\n"));
    assert!(taken > 80, "{taken}");
}

/// In a block the server refuses what the facts say it would, whoever asks. What takes effect at
/// once though it may stand in a block is excepted, and what fails before it comes to that.
fn what_cannot_run_in_a_block(cluster: &Cluster) {
    let catalog = prepared(cluster);
    let mut script = String::from("\\o /dev/null\nSET search_path = app, public;\n");
    let mut all = Vec::new();
    const MORE: &str = "CREATE INDEX CONCURRENTLY made ON orders (note);\nCREATE INDEX made ON orders (note);\n\
        DROP INDEX CONCURRENTLY orders_pkey;\nDROP SEQUENCE numbers;\nREINDEX TABLE CONCURRENTLY orders;\n\
        REINDEX TABLE orders;\nREINDEX SCHEMA app;\nREINDEX TABLE measures;\nCLUSTER;\nCLUSTER orders USING orders_pkey;\n\
        VACUUM;\nVACUUM orders;\nVACUUM FULL orders;\nANALYZE;\nANALYZE orders;\nCREATE DATABASE made;\n\
        ALTER DATABASE postgres CONNECTION LIMIT -1;\nALTER DATABASE postgres SET TABLESPACE pg_default;\n\
        ALTER DATABASE postgres SET work_mem = '4MB';\nDROP DATABASE IF EXISTS made;\nALTER SYSTEM SET work_mem = '4MB';\n\
        DISCARD ALL;\nDISCARD PLANS;\nDISCARD TEMP;\nALTER TABLE measures DETACH PARTITION measures_2024 CONCURRENTLY;\n\
        ALTER TABLE measures DETACH PARTITION measures_2024;\nREFRESH MATERIALIZED VIEW summary;\n\
        CREATE TYPE made AS ENUM ('a');\nTRUNCATE orders;\nPREPARE TRANSACTION 'a';\nCOMMIT PREPARED 'a';\n\
        DROP TABLESPACE IF EXISTS made;\nCREATE TABLESPACE made LOCATION '/none';\nSET TRANSACTION READ ONLY;\n\
        DROP SUBSCRIPTION IF EXISTS made;\nCREATE ROLE made;\nDO $$ BEGIN END $$;\nCREATE EXTENSION IF NOT EXISTS citext;\n";
    // Of these the rule is another one: they end the block, or fail for what isn't there.
    let skipped = |text: &str| {
        ["CHECKPOINT", "LOAD", "PREPARE TRANSACTION", "DROP SUBSCRIPTION", "COMMIT;"]
            .iter()
            .any(|start| text.starts_with(start))
    };
    for text in MORE.split(";\n").chain(COMMANDS.split(";\n")).map(str::trim) {
        if text.is_empty() || skipped(text) {
            continue;
        }
        let facts = facts(text, &catalog).unwrap_or_else(|| panic!("{text}"));
        writeln!(script, "BEGIN;\n{text};\n\\echo at {} 0 :SQLSTATE\nROLLBACK;", all.len())
            .unwrap();
        all.push((text, facts.outside_transaction));
    }
    let states = states(&cluster.psql(&script));
    let mut wrong = Vec::new();
    for (number, (text, outside)) in all.iter().enumerate() {
        let state = &*states[&(number, 0)];
        if (state == ACTIVE_TRANSACTION) != *outside {
            wrong.push(format!("{state}, outside {outside}: {text}"));
        }
    }
    // Not there before 14.
    assert!(wrong.is_empty() || cluster.version() < 14, "{}", wrong.join("\n"));
}

/// Whatever the statement is, if it has facts then it is said to write unless the server runs it
/// in a transaction that may only read.
fn what_writes(cluster: &Cluster) {
    let catalog = prepared(cluster);
    let mut script = String::from("\\o /dev/null\nSET search_path = app, public;\n");
    let mut all = Vec::new();
    for text in STATEMENTS.split(";\n").chain(COMMANDS.split(";\n")).map(str::trim) {
        let Some(facts) = Some(text).filter(|t| !t.is_empty()).and_then(|t| facts(t, &catalog))
        else {
            continue;
        };
        writeln!(
            script,
            "BEGIN READ ONLY;\n{text};\n\\echo at {} 0 :SQLSTATE\nROLLBACK;",
            all.len()
        )
        .unwrap();
        all.push((text, facts.writes));
    }
    let states = states(&cluster.psql(&script));
    const READ_ONLY: &str = "25006";
    let refused = all
        .iter()
        .enumerate()
        .filter(|(number, _)| states.get(&(*number, 0)).is_some_and(|state| state == READ_ONLY));
    let mut count = 0;
    for (_, (text, writes)) in refused {
        count += 1;
        assert!(*writes, "{text}");
    }
    assert!(count > 100, "{count}");
}
