//! Rewriting against a real PostgreSQL. A statement that is rewritten for a reader with masks has to
//! do on the raw database what it does, as it is written, on one that really holds the masked values:
//! the same rows and types, the same error at the same place. On two databases that differ in masked
//! values alone it has to do the same. And with masks that change nothing it has to do what the
//! statement itself does.

use std::collections::BTreeMap;
use std::path::Path;

use sql::catalog::{Catalog, Names, RelationKind};
use sql::facts::{Facts, Kind};
use sql::parse::Limits;
use sql::rewrite::{
    Asked, Disguises, Edit, Expression, Look, Mask, Piece, Rewritten, Unrewritable, edited,
    position_before,
};

use crate::cluster::Cluster;

on_15_and_18! {
    what_is_rewritten_sees_what_a_masked_database_holds
    masks_that_change_nothing_change_nothing
    filters_show_what_is_left_when_the_rest_is_gone
    random_queries_tell_no_twins_apart
    mutated_statements_see_what_a_masked_database_holds
    a_view_passes_no_guess_on
    conditions_on_other_columns_keep_their_indexes
}

const SCHEMA: &str = include_str!("schema.sql");
const ROWS: &str = include_str!("disguised.sql");
const CORPORA: [&str; 2] = [include_str!("corpus.sql"), include_str!("disguised_corpus.sql")];

const NAMES: Names<'static> = Names {
    search_path: &["app", "public"],
    user: "postgres",
    temporary: None,
    database: "postgres",
};

/// A masked column, its mask, and what makes another value of it that has the same mask; `@` is the
/// column. Masks here change values that are there; NULL stays.
const MASKS: [(&str, &str, &str, &str); 24] = [
    (
        "app.customers",
        "ssn",
        "CASE WHEN pg_catalog.length(@) OPERATOR(pg_catalog.>) 8 THEN '***' OPERATOR(pg_catalog.||) \
         pg_catalog.right(@, 4) WHEN @ IS NOT NULL THEN '***' END",
        "CASE WHEN length(@) > 8 THEN reverse(left(@, -4)) || right(@, 4) ELSE @ || 'z' END",
    ),
    ("app.customers", "email", "CASE WHEN @ IS NOT NULL THEN 'x@y'::public.citext END", "@ || 'z'"),
    (
        "app.customers",
        "extra",
        "CASE WHEN @ IS NOT NULL THEN '{}'::pg_catalog.jsonb END",
        "'{\"z\": 9}'::jsonb",
    ),
    ("app.customers", "upper_name", "CASE WHEN @ IS NOT NULL THEN 'U'::pg_catalog.text END", ""),
    ("app.orders", "total", "CASE WHEN @ IS NOT NULL THEN 0::pg_catalog.numeric END", "@ + 1000"),
    ("app.orders", "note", "pg_catalog.left(@, 5)", "@ || 'more'"),
    ("app.parent", "kind", "pg_catalog.left(@, 1)", "left(@, 1) || 'other'"),
    ("app.child", "kind", "pg_catalog.left(@, 1)", ""),
    ("app.measures", "value", "CASE WHEN @ IS NOT NULL THEN 0 END", "@ + 1"),
    ("app.measures_2024", "value", "CASE WHEN @ IS NOT NULL THEN 0 END", ""),
    (
        "app.places",
        "home",
        "CASE WHEN @ IS NOT NULL THEN NULL::app.address END",
        "ROW('z', 'z')::app.address",
    ),
    ("app.\"Mixed Case\"", "\"from\"", "pg_catalog.left(@, 1)", "@ || 'z'"),
    ("app.typed", "v", "pg_catalog.right(@, 4)::pg_catalog.varchar(11)", "'z' || right(@, 4)"),
    ("app.typed", "n", "(CASE WHEN @ IS NOT NULL THEN 0 END)::pg_catalog.numeric(8,2)", "@ + 1"),
    ("app.typed", "c", "(CASE WHEN @ IS NOT NULL THEN '*' END)::pg_catalog.bpchar(5)", "'z'"),
    (
        "app.typed",
        "d",
        "CASE WHEN pg_catalog.isfinite(@) THEN pg_catalog.date_trunc('year', \
         @::pg_catalog.timestamp)::pg_catalog.date ELSE @ END",
        "CASE WHEN isfinite(@) THEN @ + 1 ELSE @ END",
    ),
    (
        "app.typed",
        "ts",
        "(CASE WHEN @ IS NOT NULL THEN '2000-01-01 00:00:00+00'::pg_catalog.timestamptz \
         END)::pg_catalog.timestamptz(3)",
        "now()",
    ),
    (
        "app.typed",
        "b",
        "CASE WHEN @ IS NOT NULL THEN '\\x'::pg_catalog.bytea END",
        "'\\xff'::bytea",
    ),
    ("app.typed", "a", "CASE WHEN @ IS NOT NULL THEN '{}'::pg_catalog.text[] END", "'{z}'::text[]"),
    ("app.typed", "dom", "CASE WHEN @ IS NOT NULL THEN 1 END", "@ + 1"),
    (
        "app.typed",
        "u",
        "CASE WHEN @ IS NOT NULL THEN '00000000-0000-0000-0000-000000000000'::pg_catalog.uuid END",
        "gen_random_uuid()",
    ),
    ("app.typed", "j", "CASE WHEN @ IS NOT NULL THEN 'null'::pg_catalog.json END", "'[9]'::json"),
    ("app.items", "product", "pg_catalog.left(@, 0)", "@ || 'z'"),
    ("public.orders", "other", "'same'::pg_catalog.text", "@ || 'z'"),
];

/// Databases: with the values as they are, with masks in their place, with others of the same mask.
const RAW: &str = "postgres";
const MASKED: &str = "masked";
const TWIN: &str = "twin";

fn expression(text: &str, number: u16) -> Expression {
    let mut pieces = Vec::new();
    for (at, piece) in text.replace("x@y", "x\u{1}y").split('@').enumerate() {
        if at > 0 {
            pieces.push(Piece::Column(number));
        }
        pieces.push(Piece::Text(piece.replace('\u{1}', "@").into()));
    }
    Expression(pieces)
}

fn disguises(catalog: &Catalog) -> Disguises {
    let mut disguises = Disguises::new();
    for (table, column, mask, _) in MASKS {
        let relation = catalog.relation(relation(catalog, table)).unwrap();
        let number = relation.column(column.trim_matches('"')).unwrap().number;
        let mask = Mask { expression: expression(mask, number), look: Look::Any };
        let of = disguises.entry(catalog.relation_by_oid(relation.oid).unwrap()).or_default();
        of.masks.insert(number, mask);
    }
    disguises
}

fn relation(catalog: &Catalog, name: &str) -> sql::catalog::RelationId {
    let (schema, name) = name.split_once('.').unwrap();
    let name = name.trim_matches('"');
    let mut all = catalog.relations();
    let found =
        all.find(|r| &*r.name == name && catalog.schema_name(r.schema) == schema).expect(name);
    catalog.relation_by_oid(found.oid).unwrap()
}

/// `UPDATE`s that put something else in the place of what is masked.
fn replaced(with: impl Fn(&(&str, &str, &str, &str)) -> String) -> String {
    let mut tables: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for mask in &MASKS {
        let (table, column, ..) = mask;
        // Those of partitions and children are changed with what they belong to.
        if !matches!(*table, "app.child" | "app.measures_2024") {
            let new = with(mask).replace("x@y", "x\u{1}y").replace('@', column);
            let new = new.replace('\u{1}', "@");
            if !new.is_empty() {
                tables.entry(table).or_default().push(format!("{column} = {new}"));
            }
        }
    }
    let mut script = String::new();
    for (table, columns) in tables {
        script += &format!("UPDATE {table} SET {} WHERE true;\n", columns.join(", "));
    }
    script
}

/// Other values that have the same masks.
fn twisted() -> String {
    replaced(|(_, _, _, other)| match *other {
        "" => String::new(),
        other => format!("CASE WHEN @ IS NOT NULL THEN {other} END"),
    })
}

fn all(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.split(";\n").map(str::trim).filter(|text| !text.is_empty())
}

fn rewritten(
    text: &str,
    catalog: &Catalog,
    disguises: &Disguises,
) -> Option<(Facts, Result<Rewritten, Unrewritable>)> {
    let limits = Limits::default();
    let mut all = sql::disguised(text, catalog, &NAMES, &limits, disguises).ok()?;
    all.pop().filter(|_| all.is_empty())?.understood.ok()
}

/// What a statement prints: the types of its columns, its rows and its tag, errors.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    described: String,
    rows: Vec<String>,
    errors: Vec<String>,
}

const END: &str = "\u{19}";

/// Runs each statement, taken back at once.
fn answers(cluster: &Cluster, database: &str, texts: &[String], run: bool) -> Vec<Answer> {
    let mut script = String::from(
        "SET search_path = app, public;\nSET statement_timeout = '5s';\n\\set QUIET off\n",
    );
    for text in texts {
        script += &format!("{text}\n\\gdesc\n");
        if text.contains("$1") && !text.starts_with("PREPARE") {
            // What the server takes parameters for.
            script += &format!(
                "PREPARE gatepost_test AS {text}\n;\nSELECT parameter_types FROM \
                 pg_prepared_statements WHERE name = 'gatepost_test';\nDEALLOCATE ALL;\n"
            );
        }
        script += &format!("\\echo {END}\n\\warn {END}\n");
        if run {
            script += &format!("BEGIN;\n{text}\n;\nROLLBACK;\n");
        }
        script += &format!("\\echo {END}\n\\warn {END}\n");
    }
    let (out, errors) = cluster.psql_on(database, &script);
    let pieces = |text: &str| -> Vec<String> {
        text.split(&format!("{END}\n")).map(str::to_owned).collect()
    };
    let (out, errors) = (pieces(&out), pieces(&errors));
    assert_eq!(out.len(), texts.len() * 2 + 1, "lost count: {errors:?}");
    let both = out.chunks_exact(2).zip(errors.chunks_exact(2));
    both.zip(texts)
        .map(|((out, errors), text)| {
            let mut rows: Vec<String> = out[1].split(['\u{1d}', '\n']).map(str::to_owned).collect();
            // Without an order PostgreSQL gives rows as it comes upon them. What stands behind the
            // last parenthesis orders the whole.
            if !text.rsplit(')').next().is_some_and(|end| end.contains("ORDER BY")) {
                rows.sort();
            }
            let error = |line: &str| Some(line.split_once("ERROR:")?.1.to_owned());
            let errors = errors.iter().flat_map(|text| text.lines()).filter_map(error).collect();
            Answer { described: out[0].clone(), rows, errors }
        })
        .collect()
}

/// The errors with the places that they have in the text before it was edited.
fn mapped(mut answer: Answer, text: &str, edits: &[Edit]) -> Answer {
    if text.contains("$1") {
        // It stands behind another one, once, and its place is not what is compared then.
        let place = |error: &String| error.split(" at character ").next().map(str::to_owned);
        answer.errors = answer.errors.iter().filter_map(place).collect();
    }
    for error in &mut answer.errors {
        if let Some((said, position)) = error.rsplit_once(" at character ") {
            let position = position_before(text, edits, position.parse().unwrap());
            *error = format!("{said} at character {position}");
        }
    }
    answer
}

/// Views and functions of others may read what is masked: they are for others to disguise.
fn is_opaque(facts: &Facts, catalog: &Catalog) -> bool {
    let view = |used: &sql::facts::RelationUse| {
        let relation = used.relation.and_then(|id| catalog.relation(id));
        relation.is_some_and(|r| matches!(r.kind, RelationKind::View | RelationKind::Materialized))
    };
    let function = |id: &sql::catalog::FunctionId| {
        catalog.function(*id).is_none_or(|function| {
            catalog.schema_name(function.schema) == "app"
                && !catalog.rows_in(function.returns).is_empty()
        })
    };
    facts.relations.iter().any(view) || facts.functions.iter().any(function)
}

fn three_databases(cluster: &Cluster) {
    cluster.must(SCHEMA);
    cluster.must(ROWS);
    cluster.must(&format!("CREATE DATABASE {MASKED} TEMPLATE {RAW};"));
    cluster.must(&format!("CREATE DATABASE {TWIN} TEMPLATE {RAW};"));
    let on = |database: &str, script: &str| {
        let (_, errors) = cluster.psql_on(database, &format!("\\set ON_ERROR_STOP on\n{script}"));
        assert_eq!(errors, "");
    };
    // What is computed from others has to be stored to be replaced.
    on(
        MASKED,
        &format!(
            "ALTER TABLE app.customers ALTER upper_name DROP EXPRESSION;\n{}VACUUM FULL ANALYZE;",
            replaced(|(_, _, mask, _)| (*mask).to_owned())
        ),
    );
    on(TWIN, &twisted());
}

fn what_is_rewritten_sees_what_a_masked_database_holds(cluster: &Cluster) {
    cluster.must(SCHEMA);
    cluster.must(ROWS);
    cluster.must(&format!("CREATE DATABASE {MASKED} TEMPLATE {RAW};"));
    cluster.must(&format!("CREATE DATABASE {TWIN} TEMPLATE {RAW};"));
    let on = |database: &str, script: &str| {
        let (_, errors) = cluster.psql_on(database, &format!("\\set ON_ERROR_STOP on\n{script}"));
        assert_eq!(errors, "");
    };
    // What is computed from others has to be stored to be replaced, and what a mask makes of a
    // domain is of the type beneath it.
    on(
        MASKED,
        &format!(
            "ALTER TABLE app.customers ALTER upper_name DROP EXPRESSION;\n{}VACUUM FULL ANALYZE;",
            replaced(|(_, _, mask, _)| (*mask).to_owned())
        ),
    );
    on(
        TWIN,
        &replaced(|(_, _, _, other)| match *other {
            "" => String::new(),
            other => format!("CASE WHEN @ IS NOT NULL THEN {other} END"),
        }),
    );
    let catalog = cluster.catalog();
    let disguises = disguises(&catalog);
    let version = cluster.version();
    let mut texts: Vec<(&str, Vec<Edit>)> = Vec::new();
    let mut refused = Vec::new();
    let mut untouched = 0;
    for text in CORPORA.into_iter().flat_map(all) {
        let Some((facts, rewritten)) = rewritten(text, &catalog, &disguises) else { continue };
        if is_opaque(&facts, &catalog) {
            continue;
        }
        match rewritten {
            Ok(rewritten) if rewritten.edits.is_empty() => untouched += 1,
            Ok(rewritten) => texts.push((text, rewritten.edits)),
            Err(no) => refused.push(format!("{}: {text}", no.why)),
        }
    }
    let natives: Vec<String> = texts.iter().map(|(text, _)| (*text).to_owned()).collect();
    let ours: Vec<String> = texts.iter().map(|(text, edits)| edited(text, edits)).collect();
    let native = answers(cluster, MASKED, &natives, true);
    let raw = answers(cluster, RAW, &ours, true);
    let twin = answers(cluster, TWIN, &ours, true);
    let mut wrong = Vec::new();
    for ((((text, edits), native), raw), twin) in texts.iter().zip(native).zip(raw).zip(twin) {
        if raw != twin {
            wrong.push(format!("twins differ: {text}\n{raw:?}\n{twin:?}"));
        }
        let (native, raw) = (mapped(native, text, &[]), mapped(raw, text, edits));
        if raw != native && !EXPECTED.iter().any(|(known, _)| known == text) {
            wrong.push(format!("{text}\n{}\n{native:?}\n{raw:?}", edited(text, edits)));
        }
    }
    println!("{version}: {} rewritten, {untouched} as they are", texts.len());
    println!("refused:\n{}", refused.join("\n"));
    assert!(texts.len() > 150, "{}", texts.len());
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n\n"));
    assert!(refused.len() < 30, "{}", refused.len());
}

/// Statements that do something else, and why that is right.
const EXPECTED: [(&str, &str); 3] = [
    (
        "INSERT INTO customers (id, name, ssn) VALUES (9, 'Zoe', '999-99-9999') RETURNING id, ssn, \
         upper_name",
        "even what was given comes back masked",
    ),
    ("INSERT INTO typed (id, v) VALUES (9, 'abcdefghijk') RETURNING *", "likewise"),
    (
        "INSERT INTO typed (id, v) VALUES (1, 'abcdefghijk') ON CONFLICT (id) DO UPDATE SET v = \
         excluded.v, k = typed.k + 1 WHERE typed.v IS NOT NULL RETURNING typed.v, k",
        "likewise",
    ),
];

fn masks_that_change_nothing_change_nothing(cluster: &Cluster) {
    cluster.must(SCHEMA);
    cluster.must(ROWS);
    let version = cluster.version().to_string();
    let mut statements: Vec<String> =
        CORPORA.into_iter().flat_map(all).map(str::to_owned).collect();
    for directory in ["both", &*version] {
        let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/server/programs");
        let Ok(files) = std::fs::read_dir(programs.join(directory)) else { continue };
        for file in files {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            statements.extend(text.split("\n--\n").map(|text| text.trim().to_owned()));
        }
    }
    let mut made = String::from("SET search_path = public, app;\n");
    for statement in statements.iter().filter(|text| text.starts_with("CREATE TABLE")) {
        made += &format!("{statement};\n");
    }
    cluster.psql(&made);
    let random = cluster.sqlsmith(1, 300);
    statements.extend(random.split(";\n").map(|text| text.trim().to_owned()));
    let catalog = cluster.catalog();
    let mut disguises = Disguises::new();
    for relation in catalog.relations() {
        let schema = catalog.schema_name(relation.schema);
        let reads = matches!(
            relation.kind,
            RelationKind::Table | RelationKind::Partitioned | RelationKind::View
        );
        if reads && matches!(schema, "app" | "public") {
            let id = catalog.relation_by_oid(relation.oid).unwrap();
            for column in &relation.columns {
                let expression = Expression(vec![Piece::Column(column.number)]);
                let mask = Mask { expression, look: Look::Any };
                disguises.entry(id).or_default().masks.insert(column.number, mask);
            }
        }
    }
    let (mut texts, mut refused) = (Vec::new(), BTreeMap::<_, Vec<&str>>::new());
    for text in &statements {
        // A reader of names only, and of what doesn't change the database.
        match rewritten(text, &catalog, &disguises) {
            Some((facts, Ok(ours))) if !ours.edits.is_empty() => {
                let one = matches!(
                    facts.kind,
                    Kind::Select | Kind::Insert | Kind::Update | Kind::Delete | Kind::Merge
                );
                if one && !text.ends_with("--") {
                    texts.push((text.trim_end_matches(';'), ours.edits));
                }
            }
            Some((_, Err(no))) => refused.entry(no.why.name()).or_default().push(text),
            _ => {}
        }
    }
    let natives: Vec<String> = texts.iter().map(|(text, _)| (*text).to_owned()).collect();
    let ours: Vec<String> = texts.iter().map(|(text, edits)| edited(text, edits)).collect();
    let native = answers(cluster, RAW, &natives, false);
    let raw = answers(cluster, RAW, &ours, false);
    let mut wrong = Vec::new();
    for (((text, edits), native), raw) in texts.iter().zip(native).zip(raw) {
        let (native, raw) = (mapped(native, text, &[]), mapped(raw, text, edits));
        if raw != native {
            wrong.push(format!("{text}\n{}\n{native:?}\n{raw:?}", edited(text, edits)));
        }
    }
    for (why, texts) in &refused {
        println!("{why}: {}, as {:.200}", texts.len(), texts[0]);
    }
    println!("{version}: {} compared", texts.len());
    assert!(texts.len() > 300, "{}", texts.len());
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n\n"));
}

/// Queries that nobody would write, over two databases that differ in masked values alone.
fn random_queries_tell_no_twins_apart(cluster: &Cluster) {
    let long = std::env::var_os("GATEPOST_LONG").is_some();
    cluster.must(SCHEMA);
    cluster.must(ROWS);
    cluster.must(&format!("CREATE DATABASE {TWIN} TEMPLATE {RAW};"));
    // Rows lie alike in both, and what is known of them is the same.
    let (_, errors) = cluster.psql_on(TWIN, &format!("{}VACUUM FULL;", twisted()));
    assert_eq!(errors, "");
    cluster.must("VACUUM FULL;");
    let catalog = cluster.catalog();
    let disguises = disguises(&catalog);
    let (seeds, queries) = if long { (1..=20, 2000) } else { (1..=1, 800) };
    let (mut compared, mut rows, mut wrong) = (0, 0, Vec::new());
    for seed in seeds {
        let text = cluster.sqlsmith(seed, queries);
        let mut ours = Vec::new();
        for text in text.split(";\n").map(str::trim) {
            let Some((facts, Ok(rewritten))) = rewritten(text, &catalog, &disguises) else {
                continue;
            };
            let differs = |id: &sql::catalog::FunctionId| {
                catalog.function(*id).is_none_or(|function| {
                    function.volatile || READERS.iter().any(|name| function.name.contains(name))
                })
            };
            let calls = facts.functions.iter().any(differs) || text.contains("sample");
            if !rewritten.edits.is_empty() && !calls && !is_opaque(&facts, &catalog) {
                ours.push(edited(text, &rewritten.edits));
            }
        }
        // Twice, since some things are others each time: the date, the numbers of processes.
        let once = answers(cluster, RAW, &ours, true);
        let twin = answers(cluster, TWIN, &ours, true);
        let raw = answers(cluster, RAW, &ours, true);
        for (((text, raw), twin), once) in ours.iter().zip(raw).zip(twin).zip(once) {
            let slow = |answer: &Answer| answer.errors.iter().any(|e| e.contains("timeout"));
            if raw == once && !slow(&raw) && !slow(&twin) {
                compared += 1;
                rows += usize::from(raw.rows.len() > 4);
                if raw != twin {
                    wrong.push(format!("{text}\n{raw:?}\n{twin:?}"));
                }
            }
        }
    }
    println!("{compared} compared, {rows} of them with rows");
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n\n"));
    assert!(compared > 20, "{compared}");
}

/// Parts of the names of functions that read what is stored by its name, or how it is stored:
/// beside masks they are for others to refuse.
const READERS: [&str; 8] =
    ["_to_xml", "query", "size", "snapshot", "stat", "table_to", "xid", "visible"];

/// Names and joins of the corpora put in each other's places.
fn mutated_statements_see_what_a_masked_database_holds(cluster: &Cluster) {
    three_databases(cluster);
    let catalog = cluster.catalog();
    let disguises = disguises(&catalog);
    let corpus: Vec<&str> = CORPORA.into_iter().flat_map(all).collect();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |end: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % u64::try_from(end).unwrap()).unwrap()
    };
    let wanted = if std::env::var_os("GATEPOST_LONG").is_some() { 20_000 } else { 600 };
    let (mut texts, mut tried) = (Vec::<(String, Vec<Edit>)>::new(), 0);
    while texts.len() < wanted && tried < wanted * 100 {
        tried += 1;
        let mut words: Vec<&str> = corpus[below(corpus.len())].split_inclusive(' ').collect();
        for _ in 0..1 + below(3) {
            let at = below(words.len());
            let kind = |word: &str| SWAPS.iter().position(|all| all.contains(&word.trim()));
            if let Some(kind) = kind(words[at]) {
                words[at] = SWAPS[kind][below(SWAPS[kind].len())];
            }
        }
        let text = words.iter().map(|word| format!("{} ", word.trim())).collect::<String>();
        let text = text.trim().to_owned();
        let Some((facts, Ok(ours))) = rewritten(&text, &catalog, &disguises) else { continue };
        // These show what is given, or don't end.
        let differs = matches!(facts.kind, Kind::Explain { .. } | Kind::Copy(_))
            || [
                "INSERT",
                "SET ssn",
                "SET c.ssn",
                "excluded",
                "RECURSIVE",
                "LOCALTIME",
                "TABLESAMPLE",
                "LIMIT",
            ]
            .iter()
            .any(|word| text.contains(word))
            // What is generated of it stands still where the masked values are stored.
            || (text.contains("SET name") && text.contains("RETURNING"));
        if !ours.edits.is_empty() && !differs && !is_opaque(&facts, &catalog) {
            texts.push((text, ours.edits));
        }
    }
    texts.sort_by(|(one, _), (other, _)| one.cmp(other));
    texts.dedup_by(|(one, _), (other, _)| one == other);
    let natives: Vec<String> = texts.iter().map(|(text, _)| text.clone()).collect();
    let ours: Vec<String> = texts.iter().map(|(text, edits)| edited(text, edits)).collect();
    let native = answers(cluster, MASKED, &natives, true);
    let raw = answers(cluster, RAW, &ours, true);
    let twin = answers(cluster, TWIN, &ours, true);
    let (mut wrong, mut without_error) = (Vec::new(), 0);
    for ((((text, edits), native), raw), twin) in texts.iter().zip(native).zip(raw).zip(twin) {
        let mut native = mapped(native, text, &[]);
        let mut raw = mapped(raw, text, edits);
        let mut twin = mapped(twin, text, edits);
        for answer in [&mut native, &mut raw, &mut twin] {
            answer.rows.sort();
        }
        if raw != twin {
            wrong.push(format!("twins differ: {text}\n{raw:?}\n{twin:?}"));
        }
        without_error += usize::from(raw.errors.is_empty());
        // The row of a subquery has another type's name in what is said about it, and is ungrouped
        // column by column.
        let said = ["cannot cast type record to", "must appear in the GROUP BY", "record"];
        let other_words = !native.errors.is_empty()
            && raw.errors.iter().any(|error| said.iter().any(|said| error.contains(said)));
        if raw != native && !other_words {
            wrong.push(format!("{text}\n{}\n{native:?}\n{raw:?}", edited(text, edits)));
        }
    }
    println!("{} compared, {without_error} without error", texts.len());
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n\n"));
    assert!(texts.len() > wanted / 3 && without_error > wanted / 5, "{without_error}");
}

/// Words that may stand where another one of them does.
const SWAPS: [&[&str]; 6] = [
    &["ssn", "name", "region", "id", "c.ssn", "c.name", "customers.ssn", "(c).ssn", "upper(ssn)"],
    &["ssn,", "c.ssn,", "name,", "c.*,", "*,", "note,", "c,", "id,", "email,", "count(*),"],
    &["*", "ssn", "c.*", "note", "c", "count(*)", "c.ssn", "row_to_json(c)", "to_jsonb(c)"],
    &["JOIN", "LEFT JOIN", "FULL JOIN", "NATURAL JOIN", "RIGHT JOIN", "CROSS JOIN"],
    &["customers", "orders", "typed", "ONLY parent", "app.customers", "(SELECT * FROM customers)"],
    &["customers;", "customers c", "orders o", "customers AS c (a, b, c)", "typed t", "parent"],
];

/// What is masked has no index; what stands beside it keeps its own.
fn conditions_on_other_columns_keep_their_indexes(cluster: &Cluster) {
    cluster.must(SCHEMA);
    cluster.must(ROWS);
    cluster.must(
        "CREATE INDEX by_region ON app.customers (region, name); \
         CREATE INDEX by_length ON app.customers (length(name)) WHERE region = 'north'; \
         CREATE INDEX by_customer ON app.orders (customer_id, placed DESC); \
         CREATE INDEX by_ssn ON app.customers (ssn); VACUUM ANALYZE;",
    );
    let catalog = cluster.catalog();
    let disguises = disguises(&catalog);
    let indexes = |text: &str| -> Vec<String> {
        let plan = cluster.must(&format!(
            "SET search_path = app, public; SET enable_seqscan = off; SET enable_bitmapscan = off;\n\
             EXPLAIN (COSTS OFF) {text};"
        ));
        let mut lines: Vec<String> = plan
            .split(['\u{1d}', '\n'])
            .filter_map(|line| {
                let line = line.trim_start_matches([' ', '-', '>']);
                let used = line.split_once(" using ")?.1;
                used.split(' ').next().map(str::to_owned)
            })
            .collect();
        lines.sort();
        lines
    };
    let mut used = 0;
    for text in [
        "SELECT name, ssn FROM customers WHERE id = 5",
        "SELECT ssn, email FROM customers WHERE id IN (1, 2) AND ssn LIKE '%7'",
        "SELECT c.ssn FROM customers c WHERE c.region = 'north' AND c.name > 'b'",
        "SELECT ssn FROM customers WHERE region = 'north' AND length(name) = 3",
        "SELECT ssn FROM customers ORDER BY region, name LIMIT 3",
        "SELECT c.ssn, o.total FROM customers c JOIN orders o ON o.customer_id = c.id WHERE c.id = 5",
        "SELECT c.ssn, o.total FROM orders o LEFT JOIN customers c ON c.id = o.customer_id WHERE o.id = 5",
        "SELECT total FROM orders WHERE customer_id = 1 ORDER BY placed DESC LIMIT 1",
        "SELECT ssn FROM customers WHERE id = (SELECT customer_id FROM orders WHERE id = 3)",
        "SELECT ssn FROM customers c WHERE EXISTS (SELECT FROM orders o WHERE o.customer_id = c.id AND total > 1)",
        "SELECT count(ssn) FROM customers WHERE id BETWEEN 3 AND 7",
        "SELECT ssn FROM customers WHERE id = 5 FOR UPDATE",
        "WITH c AS (SELECT * FROM customers) SELECT ssn FROM c WHERE id = 5",
        "UPDATE customers SET region = ssn WHERE id = 5",
        "UPDATE orders SET customer_id = length(c.ssn) FROM customers c WHERE c.id = orders.customer_id AND orders.id = 3",
        "DELETE FROM customers WHERE id = 5 AND ssn LIKE '%x' RETURNING ssn",
    ] {
        let ours = rewritten(text, &catalog, &disguises).unwrap().1.unwrap();
        assert!(!ours.edits.is_empty(), "{text}");
        let native = indexes(text);
        used += usize::from(!native.is_empty());
        assert_eq!(indexes(&edited(text, &ours.edits)), native, "{text}");
    }
    assert!(used > 12, "{used}");
    // And what is masked has none, for it is another value.
    let masked = "SELECT id FROM customers WHERE ssn = 'x'";
    let ours = rewritten(masked, &catalog, &disguises).unwrap().1.unwrap();
    assert_eq!(indexes(masked), ["by_ssn"]);
    assert!(!indexes(&edited(masked, &ours.edits)).contains(&"by_ssn".to_owned()));
}

/// What is written through a view meets the constraints of what is beneath.
fn a_view_passes_no_guess_on(cluster: &Cluster) {
    cluster.must(
        "CREATE SCHEMA app; CREATE TABLE app.people (id int PRIMARY KEY, code text UNIQUE, other text); \
         CREATE VIEW app.seen AS SELECT other AS o, code AS c, upper(other) AS u FROM app.people; \
         CREATE VIEW app.again AS SELECT c AS x, o AS y FROM app.seen;",
    );
    let catalog = cluster.catalog();
    let mut disguises = Disguises::new();
    let people = relation(&catalog, "app.people");
    let mask = Mask { expression: expression("pg_catalog.left(@, 1)", 2), look: Look::Any };
    disguises.entry(people).or_default().masks.insert(2, mask);
    let refused = |text: &str| rewritten(text, &catalog, &disguises).unwrap().1.is_err();
    for text in [
        "INSERT INTO people (code) VALUES ('a')",
        "INSERT INTO seen (c) VALUES ('a')",
        "UPDATE seen SET c = 'a' WHERE o = 'b'",
        "UPDATE again SET x = 'a'",
        "INSERT INTO again VALUES ('a')",
        "UPDATE seen SET u = 'a'",
    ] {
        assert!(refused(text), "{text}");
    }
    for text in [
        "INSERT INTO people (other) VALUES ('a')",
        "INSERT INTO seen (o) VALUES ('a')",
        "UPDATE again SET y = 'a'",
    ] {
        assert!(!refused(text), "{text}");
    }
}

/// Row filters: the database that is compared with has no other rows.
const FILTERS: [(&str, &str); 4] = [
    ("app.customers", "region IS DISTINCT FROM 'south'"),
    ("app.orders", "customer_id = 1 OR note LIKE 'n%'"),
    ("app.parent", "id % 2 = 1"),
    ("app.child", "id % 2 = 1"),
];

fn filters_show_what_is_left_when_the_rest_is_gone(cluster: &Cluster) {
    cluster.must(SCHEMA);
    cluster.must(ROWS);
    cluster.must(&format!("CREATE DATABASE {MASKED} TEMPLATE {RAW};"));
    let mut script = String::from("\\set ON_ERROR_STOP on\n");
    for (table, filter) in FILTERS {
        script += &format!("DELETE FROM {table} WHERE ({filter}) IS NOT TRUE;\n");
    }
    let (_, errors) = cluster.psql_on(MASKED, &script);
    assert_eq!(errors, "");
    let catalog = cluster.catalog();
    let mut disguises = Disguises::new();
    for (table, filter) in FILTERS {
        let id = relation(&catalog, table);
        let mut pieces = Vec::new();
        for word in filter.split_inclusive(' ') {
            match catalog.relation(id).unwrap().column(word.trim()) {
                Some(column) => pieces.push(Piece::Column(column.number)),
                None => pieces.push(Piece::Text(word.trim().into())),
            }
            pieces.push(Piece::Text(" ".into()));
        }
        disguises.entry(id).or_default().filter = Some(Expression(pieces));
    }
    // Beside citext.
    let fenced = |text: &str| {
        let ours = rewritten(text, &catalog, &disguises).unwrap().1.unwrap();
        edited(text, &ours.edits).contains("OFFSET 0")
    };
    assert!(!fenced("SELECT name FROM customers WHERE id = 5 AND name = 'a'"));
    assert!(fenced("SELECT name FROM customers WHERE id / 0 = 5"));
    let mut texts = Vec::new();
    let (mut refused, mut asked) = (0, 0);
    for text in CORPORA.into_iter().flat_map(all) {
        let Some((facts, rewritten)) = rewritten(text, &catalog, &disguises) else { continue };
        // EXPLAIN shows the filter, the two run at different times, and some don't end.
        let differs = matches!(facts.kind, Kind::Explain { .. })
            || ["LOCALTIME", "SEARCH", "CYCLE", "AS depth"].iter().any(|w| text.contains(w));
        if differs || is_opaque(&facts, &catalog) {
            continue;
        }
        match rewritten {
            // What it leaves is asked of the rows, and these are given to nobody but the gateway.
            Ok(rewritten) if rewritten.gives_rows => asked += 1,
            Ok(rewritten) if rewritten.edits.is_empty() => {}
            Ok(rewritten) => texts.push((text, rewritten.edits)),
            Err(_) => refused += 1,
        }
    }
    let natives: Vec<String> = texts.iter().map(|(text, _)| (*text).to_owned()).collect();
    let ours: Vec<String> = texts.iter().map(|(text, edits)| edited(text, edits)).collect();
    let native = answers(cluster, MASKED, &natives, true);
    let raw = answers(cluster, RAW, &ours, true);
    let mut wrong = Vec::new();
    for (((text, edits), native), raw) in texts.iter().zip(native).zip(raw) {
        let raw = mapped(raw, text, edits);
        // A row that is hidden, and that a table without hidden rows takes.
        let hidden = raw.errors.iter().any(|error| Asked::of_error(error.as_bytes()).is_some());
        if raw != native && !hidden {
            wrong.push(format!("{text}\n{}\n{native:?}\n{raw:?}", edited(text, edits)));
        }
    }
    println!("{} compared, {refused} refused, {asked} asked of", texts.len());
    assert!(texts.len() > 150, "{}", texts.len());
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n\n"));
}
