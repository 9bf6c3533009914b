//! Somebody's functions, which run although no text calls them: where values become others.

use e2e::on_each_version;

use crate::policy::stand::{Stand, error, extended};
use crate::raw::{self, Message};

/// `blabs` says what nobody may read, and each of the rest leads to it.
const CODE: &str = r#"
    CREATE FUNCTION blabs() RETURNS text LANGUAGE sql AS 'SELECT name FROM public.secrets';
    CREATE FUNCTION asks(int) RETURNS bool LANGUAGE plpgsql
        AS $$ BEGIN RAISE EXCEPTION 'it is %', public.blabs(); END $$;
    CREATE DOMAIN asked AS int CHECK (asks(VALUE));
    CREATE TYPE asked_row AS (id asked);
    CREATE TABLE asked_table (id asked);
    GRANT SELECT ON ALL TABLES IN SCHEMA public TO public;
    CREATE TYPE pace AS ENUM ('slow', 'fast');
    CREATE FUNCTION paced(pace) RETURNS json LANGUAGE sql AS 'SELECT to_json(public.blabs())';
    CREATE CAST (pace AS json) WITH FUNCTION paced(pace);
    CREATE TYPE wrapped AS (id int);
    CREATE FUNCTION unwrapped(wrapped) RETURNS text LANGUAGE sql AS 'SELECT public.blabs()';
    CREATE CAST (wrapped AS text) WITH FUNCTION unwrapped(wrapped);
    CREATE FUNCTION "json_scalar"(int) RETURNS text LANGUAGE sql AS 'SELECT public.blabs()';
    CREATE FUNCTION "json_array"(int, int) RETURNS text LANGUAGE sql AS 'SELECT public.blabs()';
    CREATE FUNCTION "json_object"(int, int) RETURNS text LANGUAGE sql AS 'SELECT public.blabs()';
    CREATE FUNCTION "json_value"(jsonb, text) RETURNS text LANGUAGE sql AS 'SELECT public.blabs()';
    CREATE FUNCTION "merge_action"() RETURNS text LANGUAGE sql AS 'SELECT public.blabs()';
"#;

/// Each runs one of these functions, on one version of the server at least.
const CALLS: &[&str] = &[
    "SELECT 4::asked",
    "SELECT array_in('{4}', 'asked'::regtype, -1)",
    "SELECT record_in('(4)', 'asked_row'::regtype, -1)",
    "SELECT json_populate_record(t, '{\"id\": 4}') FROM (SELECT) x LEFT JOIN asked_table t ON true",
    "SELECT array_append(array_agg(id), '4') FROM asked_table",
    "PREPARE p (asked) AS SELECT $1; EXECUTE p (4)",
    "PREPARE q (asked_row[]) AS SELECT $1; EXECUTE q ('{(4)}')",
    "SELECT to_json('slow'::pace)",
    "SELECT to_jsonb(x) FROM (SELECT 'slow'::pace) x",
    "SELECT x.row_to_json FROM (SELECT 'slow'::pace) x",
    "SELECT json_agg('slow'::pace)",
    "SELECT json_build_array(ARRAY['slow'::pace])",
    "SELECT JSON_ARRAY('slow'::pace)",
    "SELECT JSON_OBJECT('a': 'slow'::pace)",
    "SELECT quote_literal(ROW(1)::wrapped)",
    "SELECT (ROW(1)::wrapped).quote_literal",
    "SELECT 'x' || ROW(1)::wrapped",
    // Syntax to the newest servers.
    "SELECT json_scalar(1)",
    "SELECT json_array(1, 2)",
    "SELECT json_object(1, 2)",
    "SELECT json_value('{}'::jsonb, '$')",
    "SELECT merge_action()",
];
const OF_NEWER_SYNTAX: usize = 5;

/// Their near twins.
const HARMLESS: &[&str] = &[
    "SELECT array_append(ARRAY[1], '4'), to_json(now()::date), to_jsonb(x) FROM (SELECT 1) x",
    "SELECT json_populate_record(t, '{\"id\": 4}') FROM items t",
    "PREPARE p (int[]) AS SELECT $1; EXECUTE p ('{4}')",
    "SELECT quote_literal(ROW(1, 'x')), 'x' || 5, ('slow'::pace)::text",
];

/// Types of parameters, what is bound, and whether it passes.
const PARAMETERS: [(&str, &str, bool); 4] = [
    ("asked", "4", false),
    ("asked[]", "{4}", false),
    ("asked_row", "(4)", false),
    ("pace", "slow", true),
];

on_each_version! {
    fn no_value_calls_what_may_not_be_called(server: Server) {
        let stand = Stand::new(&server);
        stand.database.login().psql(CODE);
        let mut agent = stand.agent();
        for sql in CALLS {
            let replies = agent.query(sql);
            assert!(error(&replies).is_some() && !tells(&replies), "{sql}: {}", raw::show(&replies));
            agent.send(&extended(sql));
            let replies = agent.until_ready();
            assert!(!tells(&replies), "{sql}: {}", raw::show(&replies));
        }
        for sql in HARMLESS {
            let replies = agent.query(sql);
            assert!(error(&replies).is_none(), "{sql}: {}", raw::show(&replies));
        }
        // A Parse says types by their numbers.
        for (name, value, passes) in PARAMETERS {
            let sql = format!("SELECT '{name}'::regtype::oid");
            let oid = stand.database.login().psql(&sql).trim().parse().expect("a number");
            agent.send(&raw::parse("typed", "SELECT $1", &[oid]));
            agent.send(&raw::bind("", "typed", &[], &[Some(value.as_bytes())], &[]));
            agent.send(&[raw::execute("", 0), raw::close(b'S', "typed"), raw::sync()].concat());
            let replies = agent.until_ready();
            assert!(!tells(&replies), "{name}: {}", raw::show(&replies));
            assert_eq!(error(&replies).is_none(), passes, "{name}: {}", raw::show(&replies));
        }
    }

    /// Without policies they do say it: the list can fail.
    fn without_policies_values_call_it(server: Server) {
        let stand = Stand::without(&server);
        stand.database.login().psql(CODE);
        let mut agent = stand.agent();
        let mut silent: Vec<_> = CALLS.iter().filter(|sql| !tells(&agent.query(sql))).collect();
        silent.retain(|sql| !sql.contains("JSON_"));
        assert!(silent.len() <= OF_NEWER_SYNTAX, "{silent:?}");
    }
}

/// What `secrets` holds.
fn tells(replies: &[Message]) -> bool {
    replies.iter().any(|message| String::from_utf8_lossy(&message.body).contains("hush"))
}
