//! Every mask on every type, over values that nobody likes: it never raises, has the column's type
//! and modifier, fits, keeps NULL, and two values that agree on what is shown give the same. And
//! what masks close over, for the views, generated columns and children of a real schema.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use e2e::Server;
use policy::{Context, Opened, Policies, Scope, Subject, Verdict, written};
use sql::catalog::{Catalog, Names};
use sql::parse::Limits;

use crate::database::{catalog, must, psql};

const MASKS: [&str; 10] = [
    "redact",
    "empty",
    "last4",
    "first1",
    "email",
    "year",
    "range(1)",
    "range(1000)",
    "range(3000000000)",
    "range(18446744073709551615)",
];

/// Types as a table declares them, and literals of theirs.
const TYPES: &[(&str, &[&str])] = &[
    ("text", TEXTS),
    ("varchar", TEXTS),
    ("varchar(1)", &["''", "' '", "'a'", "'@'", "'ü'"]),
    ("varchar(5)", &["''", "'a'", "'a@b.c'", "'12345'", "'üüüüü'"]),
    ("varchar(12)", &["'1234567'", "'12345678'", "'a@b.example'", "'123456789012'"]),
    ("char(1)", &["''", "'a'"]),
    ("char(12)", &["''", "'a'", "'12345678'", "'123456789012'", "'a@b.c'"]),
    ("bpchar", &["'a  '", "'12345678  '"]),
    ("name", &["''", "'somebody@example.com'", "repeat('x', 63)"]),
    ("citext", &["'A@B.C'", "'12345678'"]),
    ("smallint", &["-32768", "0", "32767", "999"]),
    ("int", &["-2147483648", "-1", "0", "12345678", "2147483647"]),
    ("bigint", &["-9223372036854775808", "0", "4111111111111111", "9223372036854775807"]),
    ("numeric", &["'NaN'", "0", "-1.5", "1e100", "-1e-100", "9.99999999999999999999999999999999"]),
    ("numeric(8,2)", &["'NaN'", "999999.99", "-999999.99", "0.01"]),
    ("numeric(2,2)", &["0.99", "-0.99", "0"]),
    ("real", FLOATS),
    ("float8", FLOATS),
    ("float8", &["1.7976931348623157e308", "-1.7976931348623157e308", "5e-324", "1e300"]),
    ("money", &["'-92233720368547758.08'", "0", "'12.34'"]),
    ("boolean", &["true", "false"]),
    (
        "date",
        &[
            "'infinity'",
            "'-infinity'",
            "'4714-11-24 BC'",
            "'5874897-12-31'",
            "'1980-02-29'",
            "'0001-01-01'",
            "'9999-12-31'",
        ],
    ),
    ("timestamp", STAMPS),
    ("timestamp(3)", STAMPS),
    ("timestamptz", STAMPS),
    ("timestamptz(0)", STAMPS),
    ("time(2)", &["'00:00'", "'24:00'"]),
    ("timetz", &["'12:00+15:59'"]),
    ("interval", &["'-178000000 years'", "'1 day'"]),
    ("interval year to month", &["'3 years'"]),
    ("interval second(2)", &["'1.23 s'"]),
    ("uuid", &["'00000000-0000-0000-0000-000000000001'"]),
    ("bytea", &["''", "'\\x00ff'"]),
    ("json", &["'null'", "'{\"a\":1}'"]),
    ("jsonb", &["'[]'"]),
    ("inet", &["'::1/64'", "'10.0.0.1'"]),
    ("cidr", &["'10.0.0.0/8'"]),
    ("macaddr", &["'08:00:2b:01:02:03'"]),
    ("macaddr8", &["'08:00:2b:01:02:03:04:05'"]),
    ("bit(3)", &["B'101'"]),
    ("bit varying(4)", &["B''", "B'1010'"]),
    ("bit varying", &["B''"]),
    ("point", &["'(1,2)'"]),
    ("polygon", &["'((0,0),(1,1))'"]),
    ("tsvector", &["'a b'"]),
    ("tsquery", &["'a & b'"]),
    ("oid", &["4294967295"]),
    ("pg_lsn", &["'F/F'"]),
    ("\"char\"", &["'x'"]),
    ("hostile.mood", &["'Happy'", "'so so'"]),
    ("hostile.\"odd @ name\"", &["'@'"]),
    ("hostile.email", &["'somebody@example.com'", "'a@b'"]),
    ("hostile.small", &["7"]),
    ("hostile.of_small", &["7"]),
    ("hostile.pair", &["'(1,x)'", "'(,)'"]),
    ("int[]", &["'{}'", "'{1,2}'", "'[5:6]={1,NULL}'"]),
    ("varchar(5)[]", &["'{a,NULL}'"]),
    ("numeric(5,1)[][]", &["'{{1,2},{3,4}}'"]),
    ("hostile.mood[]", &["'{Happy}'"]),
    ("hostile.pair[]", &["'{\"(1,x)\"}'"]),
    ("oidvector", &["'1 2'"]),
    ("int4range", &["'empty'", "'[1,5)'", "'(,)'"]),
    ("hostile.span", &["'[1,5)'"]),
    ("hstore", &["'a=>1'"]),
];

const TEXTS: &[&str] = &[
    "''",
    "' '",
    "'a'",
    "'ab'",
    "'1234567'",
    "'12345678'",
    "'123-45-6789'",
    "'4111 1111 1111 1111'",
    "'@'",
    "'@@'",
    "'a@'",
    "'@b'",
    "'somebody@example.com'",
    "'\"a@b\"@example.com'",
    "'a@' || repeat('x', 1000)",
    "'ünïcödé@exämple.com'",
    "E'\\\\%_\\n''\"'",
    "repeat('x', 100000)",
    "chr(128512) || 'abc'",
];

const FLOATS: &[&str] =
    &["'NaN'", "'Infinity'", "'-Infinity'", "0", "'-0'", "1e-30", "3e38", "-1234.5", "1e15"];

const STAMPS: &[&str] = &[
    "'infinity'",
    "'-infinity'",
    "'4714-11-24 00:00:00 BC'",
    "'294276-12-31 23:59:59.999999'",
    "'1999-12-31 23:59:59.999999'",
    "'2000-01-01 00:00:00'",
];

/// Of a type: two values that a mask may not tell apart.
const TWINS: &[(&str, &str, &str, &str)] = &[
    ("text", "redact", "''", "'123-45-6789'"),
    ("text", "last4", "'123-45-6789'", "'00000006789'"),
    ("text", "last4", "'12346789'", "'1234567890 and so on 6789'"),
    ("text", "last4", "'1'", "'1234567'"),
    ("text", "first1", "'ab'", "'a much longer one'"),
    ("text", "first1", "''", "'x'"),
    ("text", "email", "'somebody@example.com'", "'s@example.com'"),
    ("text", "email", "'no host'", "''"),
    ("text", "empty", "'a'", "NULL"),
    ("varchar(5)", "last4", "'12345'", "'99999'"),
    ("char(12)", "last4", "'12345678'", "'00005678'"),
    ("char(12)", "last4", "'1'", "'1234567'"),
    ("bigint", "last4", "4111111111111111", "5500000000001111"),
    ("int", "last4", "1", "9999999"),
    ("date", "year", "'1980-01-01'", "'1980-12-31'"),
    ("date", "year", "'infinity'", "'-infinity'"),
    ("timestamptz", "year", "'1980-01-01 00:00:00+00'", "'1980-12-31 23:59:59+00'"),
    ("int", "range(10)", "40", "49"),
    ("int", "range(10)", "-9", "9"),
    ("numeric(8,2)", "range(10)", "40.00", "49.99"),
    ("float8", "range(10)", "40", "49.999"),
    ("float8", "range(10)", "'NaN'", "'Infinity'"),
    ("hostile.mood", "last4", "'Happy'", "'so so'"),
    ("hostile.pair", "redact", "'(1,x)'", "'(2,y)'"),
    ("jsonb", "redact", "'1'", "'{}'"),
    ("hostile.email", "email", "'somebody@example.com'", "'else@example.com'"),
];

/// What is written like a mask's parts, in a schema that comes first.
const SETUP: &str = "CREATE SCHEMA hostile;
CREATE EXTENSION citext; CREATE EXTENSION hstore;
CREATE TYPE hostile.mood AS ENUM ('so so', 'Happy');
CREATE TYPE hostile.\"odd @ name\" AS ENUM ('@');
CREATE DOMAIN hostile.email AS varchar(40) CHECK (VALUE LIKE '%@%' AND length(VALUE) < 25);
CREATE DOMAIN hostile.small AS numeric(3,1) NOT NULL CHECK (VALUE > 5);
CREATE DOMAIN hostile.of_small AS hostile.small;
CREATE TYPE hostile.pair AS (a int, b text);
CREATE TYPE hostile.span AS RANGE (subtype = int);
CREATE SCHEMA evil;
CREATE FUNCTION evil.raise(text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'taken'; END $$;
CREATE FUNCTION evil.right(varchar, int) RETURNS text LANGUAGE sql AS $$ SELECT evil.raise($1) $$;
CREATE FUNCTION evil.left(varchar, int) RETURNS text LANGUAGE sql AS $$ SELECT evil.raise($1) $$;
CREATE FUNCTION evil.reverse(varchar) RETURNS text LANGUAGE sql AS $$ SELECT evil.raise($1) $$;
CREATE FUNCTION evil.both(text, text) RETURNS text LANGUAGE sql AS $$ SELECT evil.raise($1) $$;
CREATE OPERATOR evil.|| (FUNCTION = evil.both, LEFTARG = text, RIGHTARG = text);
CREATE FUNCTION evil.same(int, int) RETURNS bool LANGUAGE sql AS $$ SELECT false $$;
CREATE OPERATOR evil.>= (FUNCTION = evil.same, LEFTARG = int, RIGHTARG = int);
CREATE DOMAIN evil.text AS pg_catalog.int4; CREATE DOMAIN evil.date AS pg_catalog.int4;
";

/// psql says errors elsewhere.
const FAILED: &str = "\\if :ERROR\n\\echo failed :LAST_ERROR_MESSAGE\n\\endif\n";

/// What a client may set.
const SESSION: &str = "SET search_path = evil, pg_catalog; SET timezone = 'Pacific/Kiritimati';
SET datestyle = 'SQL, DMY'; SET intervalstyle = 'sql_standard'; SET xmloption = document;
SET bytea_output = 'escape'; SET extra_float_digits = -15;
";

pub(crate) fn every_mask_on_every_type(server: &Server) {
    let database = server.database();
    let login = database.login();
    let mut script = SETUP.to_owned();
    for (at, (name, values)) in TYPES.iter().enumerate() {
        // NULL is a value of no NOT NULL domain, but a table can hold one all the same.
        writeln!(script, "CREATE TABLE hostile.t{at} (id int, v {name});").unwrap();
        for (id, value) in values.iter().enumerate() {
            writeln!(script, "INSERT INTO hostile.t{at} VALUES ({id}, {value});").unwrap();
        }
        if !name.contains("small") {
            writeln!(script, "INSERT INTO hostile.t{at} VALUES (-1, NULL);").unwrap();
        }
    }
    for (at, (name, _, one, other)) in TWINS.iter().enumerate() {
        writeln!(script, "CREATE TABLE hostile.w{at} (id int, v {name});").unwrap();
        writeln!(script, "INSERT INTO hostile.w{at} VALUES (1, {one}), (2, {other});").unwrap();
    }
    must(&login, &script);
    let catalog = Arc::new(catalog(&login));
    let mut wrong = Vec::new();
    let mut count = 0;
    for mask in MASKS {
        let masks: Vec<(String, &str)> =
            (0..TYPES.len()).map(|at| (format!("hostile.t{at}.v"), mask)).collect();
        let scope = scope(&catalog, &masks, &[], &[]);
        let mut script = SESSION.to_owned();
        for (at, (name, values)) in TYPES.iter().enumerate() {
            let expression = expression(&scope, &format!("t{at}"));
            assert!(expression.is_ascii(), "{expression}");
            writeln!(script, "\\echo {at} {name}").unwrap();
            writeln!(
                script,
                "SELECT 'null', id FROM hostile.t{at} WHERE v IS NULL AND ({expression}) IS NOT NULL;
{FAILED}                 CREATE TEMP VIEW w AS SELECT {expression} AS v FROM hostile.t{at};
{FAILED}                 SELECT 'type', pg_catalog.format_type(w.atttypid, w.atttypmod)
                 FROM pg_catalog.pg_attribute w, pg_catalog.pg_attribute t
                 JOIN pg_catalog.pg_type d ON d.oid = t.atttypid
                 LEFT JOIN pg_catalog.pg_type e ON e.oid = d.typbasetype
                 WHERE w.attrelid = 'pg_temp.w'::pg_catalog.regclass AND w.attname = 'v'
                 AND t.attrelid = 'hostile.t{at}'::pg_catalog.regclass AND t.attname = 'v'
                 AND pg_catalog.format_type(w.atttypid, w.atttypmod) <> CASE
                 WHEN e.typbasetype <> 0 THEN pg_catalog.format_type(e.typbasetype, e.typtypmod)
                 WHEN d.typbasetype <> 0 THEN pg_catalog.format_type(d.typbasetype, d.typtypmod)
                 ELSE pg_catalog.format_type(t.atttypid, t.atttypmod) END;
{FAILED}                 SELECT 'rows', pg_catalog.count(*) FROM (SELECT v::pg_catalog.text FROM w) AS w
                 HAVING pg_catalog.count(*) < {};
{FAILED}                 DROP VIEW w;",
                values.len()
            )
            .unwrap();
            count += 1;
        }
        let mut of = String::new();
        for line in psql(&login, &script).split(['\n', '\u{1d}']) {
            match line.split(' ').next().map(str::parse::<usize>) {
                Some(Ok(_)) => of = line.to_owned(),
                _ if line.is_empty() => {}
                _ => wrong.push(format!("{mask} of {of}: {line}")),
            }
        }
    }
    for (at, (name, mask, one, other)) in TWINS.iter().enumerate() {
        let scope = scope(&catalog, &[(format!("hostile.w{at}.v"), mask)], &[], &[]);
        let expression = expression(&scope, &format!("w{at}"));
        let script = format!(
            "{SESSION}SELECT 'twins' FROM hostile.w{at}
             HAVING pg_catalog.count(DISTINCT pg_catalog.concat(({expression})::pg_catalog.text, 'x')) <> 1
             OR pg_catalog.count({expression}) NOT IN (0, 2);"
        );
        let said = must(&login, &script);
        if !said.is_empty() {
            wrong.push(format!("{mask} of {name} tells {one} from {other}"));
        }
    }
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count > 500, "{count}");
}

fn expression(scope: &Scope, table: &str) -> String {
    let mask = scope.disguises().iter().find_map(|(id, disguise)| {
        let relation = scope.catalog().relation(*id)?;
        (&*relation.name == table).then(|| disguise.masks.get(&2))?
    });
    mask.unwrap_or_else(|| panic!("{table}")).expression.written(|_, out| out.push('v'))
}

fn scope(
    catalog: &Arc<Catalog>,
    masks: &[(String, &str)],
    rows: &[(&str, &str)],
    claims: &[(&str, &str)],
) -> Scope {
    let text = |text: &str| written::Text { text: text.to_owned(), ..written::Text::default() };
    let mask = |mask: &str| match mask.strip_prefix("sql ") {
        Some(own) => written::Mask::Sql(text(own)),
        None => written::Mask::Named(text(mask)),
    };
    let policy = written::Policy {
        name: text("masks"),
        who: vec![written::Who::One(text("*"))],
        to: vec![text("*")],
        access: Some(written::Access {
            approval: Some(written::Approval::Word(text("none"))),
            ..written::Access::default()
        }),
        allow: vec![
            written::Rule { verbs: text("everything"), ..written::Rule::default() },
            written::Rule {
                verbs: text("use"),
                objects: vec![text("public.named")],
                ..written::Rule::default()
            },
        ],
        mask: masks.iter().map(|(of, kind)| (text(of), mask(kind))).collect(),
        rows: rows.iter().map(|(of, condition)| (text(of), text(condition))).collect(),
        ..written::Policy::default()
    };
    let claims: BTreeMap<String, String> =
        claims.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let who = Subject { name: None, issuer: "", subject: "", groups: &[], claims: &claims };
    match Policies::new(vec![policy]).unwrap().open(&who, "somewhere") {
        Opened::Open(force) => force.scope(catalog),
        other => panic!("{other:?}"),
    }
}

/// A schema that carries masked values on in every way that a mask closes over, and near it what
/// doesn't.
const CLOSURES: &str = "
CREATE TABLE customers (id int PRIMARY KEY, name text, ssn varchar(11), email text, region text,
    both_ text GENERATED ALWAYS AS (name || ssn) STORED,
    loud text GENERATED ALWAYS AS (upper(name)) STORED);
CREATE TABLE vips (since date) INHERITS (customers);
CREATE TABLE others (id int, ssn varchar(11), region text);
CREATE TABLE events (id int, ssn text, region text) PARTITION BY LIST (id);
CREATE TABLE events_1 PARTITION OF events FOR VALUES IN (1);
CREATE TABLE events_2 (region text, gone int, ssn text, id int);
ALTER TABLE events_2 DROP COLUMN gone;
ALTER TABLE events ATTACH PARTITION events_2 FOR VALUES IN (2);
CREATE TABLE holder (id int, whole customers, many customers[]);
CREATE TYPE wrapped AS (who customers, n int);
CREATE TYPE piled AS (each wrapped[], n int);
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN named_pile AS piled;
CREATE TABLE deep (id int, one wrapped, all_ piled, domain_ named_pile, harmless pair, more pair[]);
CREATE TABLE notes (id int, body text);
CREATE FUNCTION opaque(int) RETURNS text STABLE LANGUAGE sql AS 'SELECT ssn::text FROM customers WHERE id = $1';
CREATE FUNCTION named(int) RETURNS text STABLE LANGUAGE sql AS 'SELECT $1::text';
CREATE FUNCTION customers_of(text) RETURNS SETOF customers STABLE LANGUAGE sql AS 'SELECT * FROM customers WHERE name = $1';
CREATE FUNCTION fullname(customers) RETURNS text STABLE LANGUAGE sql AS 'SELECT $1.name';
CREATE VIEW v_plain AS SELECT id, ssn AS number, name FROM customers;
CREATE VIEW v_over AS SELECT number AS again, id FROM v_plain;
CREATE VIEW v_join AS SELECT o.id, c.ssn, o.ssn AS other FROM customers c JOIN others o ON o.id = c.id;
CREATE VIEW v_left AS SELECT * FROM others o LEFT JOIN LATERAL (SELECT 1 AS one) x ON true;
CREATE VIEW v_where AS SELECT id FROM customers WHERE ssn LIKE '1%';
CREATE VIEW v_over_where AS SELECT id FROM v_where;
CREATE VIEW v_order AS SELECT id, ssn FROM customers ORDER BY ssn;
CREATE VIEW v_group AS SELECT ssn, count(*) FROM customers GROUP BY ssn;
CREATE VIEW v_using AS SELECT ssn, o.id FROM customers JOIN others o USING (ssn);
CREATE VIEW v_natural AS SELECT name FROM customers NATURAL JOIN others;
CREATE VIEW v_full AS SELECT c.id, o.id AS other FROM customers c FULL JOIN others o ON c.id = o.id;
CREATE VIEW v_expression AS SELECT id, upper(ssn) AS loud FROM customers;
CREATE VIEW v_looked_at AS SELECT id, upper(ssn) AS loud FROM customers;
CREATE VIEW v_half AS SELECT upper(ssn) AS loud, lower(ssn) AS quiet, ssn, id FROM customers ORDER BY ssn;
CREATE VIEW v_cast AS SELECT ssn::text FROM customers;
CREATE VIEW v_subquery AS SELECT ssn FROM (SELECT ssn FROM customers) c;
CREATE VIEW v_cte AS WITH c AS (SELECT id, ssn FROM customers) SELECT id FROM c;
CREATE VIEW v_union AS SELECT ssn FROM customers UNION ALL SELECT ssn FROM others;
CREATE VIEW v_exists AS SELECT id FROM others o WHERE EXISTS (SELECT FROM customers c WHERE c.ssn = o.ssn);
CREATE VIEW v_row AS SELECT c FROM customers c;
CREATE VIEW v_json AS SELECT to_jsonb(c) FROM customers c;
CREATE VIEW v_names AS SELECT id, name, loud FROM customers WHERE region = 'north' ORDER BY name;
CREATE VIEW v_generated AS SELECT id, both_ FROM customers;
CREATE VIEW v_opaque AS SELECT id, opaque(id) FROM others;
CREATE VIEW v_called AS SELECT id, named(id) FROM others;
CREATE VIEW v_child AS SELECT ssn FROM vips;
CREATE MATERIALIZED VIEW m_plain AS SELECT id, ssn FROM customers;
CREATE MATERIALIZED VIEW m_where AS SELECT id FROM customers WHERE ssn <> '';
CREATE TABLE ruled (id int);
CREATE RULE tell AS ON INSERT TO ruled DO ALSO SELECT ssn FROM customers;
CREATE TABLE secured (id int, ssn text);
ALTER TABLE secured ENABLE ROW LEVEL SECURITY;
CREATE POLICY seen ON secured USING (EXISTS (SELECT FROM customers c WHERE c.ssn = secured.ssn));
";

const MASKED: &str = "\
customers: ssn, both_
vips: ssn, both_
holder: whole, many
deep: one, all_, domain_
v_plain: number
v_over: again
v_join: ssn
v_where: closed
v_over_where: closed
v_order: ssn; closed
v_group: closed
v_using: ssn; closed
v_natural: closed
v_expression: closed
v_looked_at: loud
v_half: loud, ssn; closed
v_cast: closed
v_subquery: closed
v_cte: closed
v_union: closed
v_exists: closed
v_row: c; closed
v_json: closed
v_generated: both_
v_opaque: closed
v_child: ssn
m_plain: ssn
m_where: closed
ruled: not to be written
secured: closed
";

pub(crate) fn what_masks_close_over(server: &Server) {
    let database = server.database();
    let login = database.login();
    must(&login, CLOSURES);
    let catalog = Arc::new(catalog(&login));
    let mask = |of: &str, kind| (format!("public.{of}"), kind);
    let masks = [
        mask("customers.ssn", "last4"),
        mask("v_looked_at(loud)", "redact"),
        mask("v_half(loud)", "redact"),
    ];
    let masked = scope(&catalog, &masks, &[], &[]);
    // From 18 on the tree no longer says that a grouped column is one.
    let found = looks(&masked, CLOSURES).replace("v_group: ssn; closed", "v_group: closed");
    assert_eq!(found, MASKED);

    // Masks on a child are those of what its rows are read through; not of its sisters.
    let child = scope(&catalog, &[mask("events_2.ssn", "last4")], &[], &[]);
    assert_eq!(looks(&child, CLOSURES), "events: ssn\nevents_2: ssn\nv_opaque: closed\n");

    // Filters: the table and its children, and no view that nobody filters.
    let rows = [
        ("public.events", "region = {claim.region}"),
        ("public.others", "id > 1 AND region IN ('a', 'b')"),
    ];
    let filtered = scope(&catalog, &[], &rows, &[("region", "nörth's")]);
    let found = looks(&filtered, CLOSURES);
    let north = "(((region OPERATOR(pg_catalog.=) U&'n\\+0000f6rth''s')))";
    let either = "((((id OPERATOR(pg_catalog.>) (1)) AND ((region OPERATOR(pg_catalog.=) 'a') OR \
                  (region OPERATOR(pg_catalog.=) 'b')))))";
    for (relation, filter) in [("events", north), ("events_2", north), ("others", either)] {
        assert!(found.contains(&format!("{relation}: where {filter}\n")), "{relation}: {found}");
    }
    for closed in ["v_join", "v_left", "v_using", "v_full", "v_union", "v_exists"] {
        assert!(found.contains(&format!("{closed}: closed\n")), "{closed}: {found}");
    }
    assert!(!found.contains("v_names") && !found.contains("customers"), "{found}");
    let nobody = scope(&catalog, &[], &rows, &[]);
    let found = looks(&nobody, CLOSURES);
    assert!(found.contains("events: closed\n") && found.contains("events_1: closed\n"), "{found}");
    let wide = scope(&catalog, &[], &[("public.*", "region = 'a'")], &[]);
    let found = looks(&wide, CLOSURES);
    assert!(found.contains("notes: closed\n") && found.contains("customers: where"), "{found}");

    // What a mask's own expression names and isn't there, or is somebody's own.
    let own = [
        mask("customers.ssn", "sql left(name, 1) || '*'"),
        mask("others.ssn", "sql nobody"),
        mask("events.ssn", "sql opaque(id)"),
        mask("notes.nothing", "redact"),
    ];
    let found = looks(&scope(&catalog, &own, &[], &[]), CLOSURES);
    for expected in
        ["customers: ssn, both_\n", "others: closed\n", "events: closed\n", "notes: closed\n"]
    {
        assert!(found.contains(expected), "{expected}{found}");
    }
}

/// What a reader sees of each relation, as the statements make them: masked columns, the filter, or
/// that it is closed.
fn looks(scope: &Scope, script: &str) -> String {
    let catalog = scope.catalog();
    let mut looks = String::new();
    let words: Vec<&str> = script.split([' ', '\n']).collect();
    for pair in words.windows(2).filter(|pair| matches!(pair[0], "TABLE" | "VIEW")) {
        let Some(relation) = catalog.relations().find(|relation| *relation.name == *pair[1]) else {
            continue;
        };
        if looks.contains(&format!("{}: ", relation.name)) {
            continue;
        }
        let mut said = Vec::new();
        let id = catalog.relation_by_oid(relation.oid).unwrap();
        if let Some(disguise) = scope.disguises().get(&id) {
            let columns =
                relation.columns.iter().filter(|it| disguise.masks.contains_key(&it.number));
            let columns: Vec<&str> = columns.map(|column| &*column.name).collect();
            said.extend((!columns.is_empty()).then(|| columns.join(", ")));
            said.extend(disguise.filter.as_ref().map(|filter| {
                let name = |number| relation.columns.iter().find(|it| it.number == number).unwrap();
                format!("where {}", filter.written(|number, out| out.push_str(&name(number).name)))
            }));
        }
        if verdict(scope, &format!("SELECT FROM {}", relation.name)).is_some() {
            said.push("closed".to_owned());
        } else if verdict(scope, &format!("INSERT INTO {} DEFAULT VALUES", relation.name)).is_some()
        {
            said.push("not to be written".to_owned());
        }
        if !said.is_empty() {
            writeln!(looks, "{}: {}", relation.name, said.join("; ")).unwrap();
        }
    }
    looks
}

/// Why it is refused, if it is for what is hidden.
fn verdict(scope: &Scope, text: &str) -> Option<String> {
    let names = Names { search_path: &["public"], user: "me", temporary: None, database: "it" };
    let statements = sql::statements(text, scope.catalog(), &names, &Limits::default()).unwrap();
    match scope.decide(statements[0].facts.as_ref().unwrap(), Context::default()) {
        Verdict::Refuse(refused) if refused.code.as_str() == "hidden" => Some(refused.sentence),
        Verdict::Refuse(refused) => panic!("{text}: {}", refused.sentence),
        _ => None,
    }
}
