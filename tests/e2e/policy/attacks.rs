//! Every way that we know to run a statement that may not run. Whatever is said, no byte of what is
//! hidden comes back and nothing of it changes.

use e2e::on_each_version;

use super::stand::{POLICIES, Stand, assert_kept, error, extended};
use crate::raw::{self, Message, Raw};

/// One thing that an attacker says.
enum Say {
    Query(&'static str),
    Extended(&'static str),
    /// All at once; the number of ReadyForQuery to wait for.
    Bytes(Vec<u8>, usize),
}
use Say::{Bytes, Extended, Query};

fn say(agent: &mut Raw, say: &Say) -> Vec<Message> {
    match say {
        Query(sql) => agent.query(sql),
        Extended(sql) => {
            agent.send(&extended(sql));
            agent.until_ready()
        }
        Bytes(bytes, ready) => {
            agent.send(bytes);
            (0..*ready).flat_map(|_| agent.until_ready()).collect()
        }
    }
}

fn bind(portal: &str, statement: &str) -> Vec<u8> {
    raw::bind(portal, statement, &[], &[], &[])
}

/// Statements that read, change or run what may not be, each as a query and as a Parse.
const FORBIDDEN: &[&str] = &[
    "SELECT name FROM secrets",
    "SELECT name FROM public.secrets",
    "SELECT name FROM \"public\".\"secrets\"",
    "SELECT name FROM SeCrEtS",
    "SELECT/**/name/* a */FROM--x\nsecrets",
    "SELECT name FROM U&\"\\0073ecrets\"",
    "TABLE secrets",
    "SELECT * FROM ONLY secrets",
    "SELECT * FROM secrets *",
    "SELECT secrets FROM secrets",
    "SELECT (s).name FROM secrets s",
    "SELECT s.to_json FROM (SELECT secrets AS to_json FROM secrets) s",
    "SELECT to_json(s) FROM secrets s",
    "SELECT s.to_jsonb FROM secrets s",
    "SELECT 1 WHERE EXISTS (SELECT FROM secrets WHERE name LIKE 'h%')",
    "SELECT (SELECT name FROM secrets)",
    "WITH s AS (SELECT name FROM secrets) SELECT * FROM s",
    "WITH s AS (DELETE FROM secrets RETURNING name) SELECT * FROM s",
    "SELECT i.id, s.name FROM items i, LATERAL (SELECT name FROM secrets) s",
    "SELECT * FROM items NATURAL JOIN secrets",
    "SELECT name FROM items UNION SELECT name FROM secrets",
    "SELECT id FROM items ORDER BY (SELECT name FROM secrets)",
    "SELECT count(*) FILTER (WHERE EXISTS (SELECT FROM secrets)) FROM items",
    "VALUES ((SELECT name FROM secrets))",
    "INSERT INTO notes SELECT id, name FROM secrets",
    "INSERT INTO notes VALUES (1, 'x') RETURNING (SELECT name FROM secrets)",
    "UPDATE notes SET what = s.name FROM secrets s",
    "DELETE FROM notes USING secrets",
    "UPDATE secrets SET name = 'known'",
    "DELETE FROM secrets",
    "TRUNCATE secrets",
    "INSERT INTO secrets VALUES (2, 'x')",
    "LOCK TABLE secrets",
    "COPY secrets TO STDOUT",
    "COPY (SELECT name FROM secrets) TO STDOUT",
    "COPY secrets FROM STDIN",
    "COPY items TO PROGRAM 'cat'",
    "COPY notes FROM '/etc/passwd'",
    "EXPLAIN ANALYZE SELECT name FROM secrets",
    "EXPLAIN SELECT name FROM secrets",
    "PREPARE p AS SELECT name FROM secrets",
    "DECLARE c CURSOR WITH HOLD FOR SELECT name FROM secrets",
    "CREATE TEMP TABLE t AS SELECT * FROM secrets",
    "CREATE TEMP TABLE t AS EXECUTE unknown",
    "SELECT * INTO TEMP t FROM secrets",
    "CREATE TEMP VIEW v AS SELECT * FROM secrets",
    "CREATE TEMP TABLE t () INHERITS (secrets)",
    "ALTER TABLE secrets RENAME TO items2",
    "ALTER TABLE secrets SET SCHEMA side",
    "ALTER TABLE secrets ADD COLUMN x int",
    "DROP TABLE secrets",
    "CREATE RULE r AS ON INSERT TO notes DO ALSO SELECT * FROM secrets",
    "CREATE FUNCTION pg_temp.f() RETURNS text LANGUAGE sql AS 'SELECT name FROM public.secrets'",
    "DO $$ BEGIN RAISE NOTICE '%', (SELECT name FROM secrets); END $$",
    "GRANT ALL ON secrets TO public",
    "SELECT query_to_xml('SELECT name FROM secrets', true, false, '')",
    "SELECT table_to_xml('secrets', true, false, '')",
    "SELECT schema_to_xml('public', true, false, '')",
    "SELECT * FROM ts_stat('SELECT to_tsvector(name) FROM secrets')",
    "PREPARE p (void, tsquery, text) AS SELECT ts_rewrite($1, $2, $3)",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT quiet()",
    "SELECT most_common_vals FROM pg_stats",
    "SELECT * FROM pg_authid",
    "SELECT query FROM pg_stat_activity",
    "SET ROLE postgres",
    "SET SESSION AUTHORIZATION postgres",
    "SET standard_conforming_strings = off",
    "SELECT set_config('standard_conforming_strings', 'off', false)",
    "SELECT set_config('sta' || 'ndard_conforming_strings', 'off', false)",
    "ALTER ROLE CURRENT_USER SET search_path = side",
    "EXECUTE unknown",
    "FETCH ALL FROM unknown",
    "CALL moves('side')",
    "SELECT 1; SELECT name FROM secrets",
    "SELECT name FROM secrets; SELECT 1",
    "BEGIN; SELECT name FROM secrets; COMMIT",
    "SELECT 'a\\'; SELECT name FROM secrets --'",
    "SELECT E'a\\'', name FROM secrets --'",
    "SELECT $x$ $y$ $x$, name FROM secrets",
    "SELECT 'a' -- \n 'b', name FROM secrets",
    "NOTIFY c, 'x'; SELECT name FROM secrets",
    "VACUUM secrets",
    "ANALYZE secrets",
    "CLUSTER secrets",
    "REINDEX TABLE secrets",
    "COMMENT ON TABLE secrets IS 'x'",
    "SECURITY LABEL ON TABLE secrets IS 'x'",
    "MERGE INTO notes n USING secrets s ON n.id = s.id WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.name)",
    "ALTER SYSTEM SET search_path = side",
    "LOAD 'x'",
    "PREPARE TRANSACTION 'x'",
    "CREATE EXTENSION dblink",
    "IMPORT FOREIGN SCHEMA x FROM SERVER y INTO z",
];

fn sequences() -> Vec<(&'static str, Vec<Say>)> {
    let hidden = "SELECT what FROM notes";
    let notes = |name: &'static str, before: Vec<Say>| {
        let mut all = before;
        all.push(Query(hidden));
        all.push(Extended(hidden));
        (name, all)
    };
    vec![
        notes("another path", vec![Query("SET search_path = side")]),
        notes("another path in the extended protocol", vec![Extended("SET search_path = side")]),
        notes(
            "a path by a function of the server's",
            vec![Query("SELECT set_config('search_path', 'side', false)")],
        ),
        notes("a path by somebody's function", vec![Query("SELECT moves('side')")]),
        notes("a path by somebody's function, extended", vec![Extended("SELECT moves('side')")]),
        notes("a path in a string", vec![Query("SET search_path = side; SELECT what FROM notes")]),
        notes(
            "a path that is taken back in a string",
            vec![
                Query("SET search_path = side"),
                Query("BEGIN; SET LOCAL search_path = public; ROLLBACK; SELECT what FROM notes"),
            ],
        ),
        (
            "what a string makes hides what it names, and then doesn't",
            [
                "CREATE TEMP TABLE secrets (name text); SELECT name FROM public.secrets",
                "CREATE TEMP TABLE secrets (name text); ROLLBACK; SELECT name FROM secrets",
                "BEGIN; CREATE TEMP TABLE secrets (name text); ROLLBACK; SELECT name FROM secrets",
                "BEGIN; SAVEPOINT a; CREATE TEMP TABLE secrets (name text); ROLLBACK TO a; \
                 SELECT name FROM secrets",
                "BEGIN; CREATE TEMP TABLE secrets (name text) ON COMMIT DROP; COMMIT; \
                 SELECT name FROM secrets",
                "CREATE TEMP TABLE IF NOT EXISTS secrets (name text); DROP TABLE secrets; \
                 SELECT name FROM secrets",
                "CREATE TEMP TABLE secrets (name text); ALTER TABLE secrets RENAME TO a; \
                 SELECT name FROM secrets",
                "CREATE TEMP TABLE secrets (name text); DISCARD TEMP; SELECT name FROM secrets",
                "CREATE TEMP TABLE secrets (name text); SET search_path = public, pg_temp; \
                 SELECT name FROM secrets",
                "BEGIN; SET LOCAL search_path = side; COMMIT; SELECT what FROM notes",
                "SET search_path = side; BEGIN; SET LOCAL search_path = public; COMMIT; \
                 SELECT what FROM notes",
                "CREATE TEMP TABLE notes (what text); SET search_path = side, pg_temp; \
                 SELECT what FROM notes",
                "CREATE TEMP TABLE x (a public.secrets); ALTER TABLE x ADD UNIQUE (a)",
                "CREATE TABLE made (id int); ALTER TABLE made RENAME TO notes; SELECT what FROM notes",
                "CREATE TEMP TABLE x (id int); CREATE VIEW pg_temp.y AS SELECT name FROM secrets; \
                 SELECT name FROM y",
            ]
            .map(Query)
            .into(),
        ),
        notes(
            "a path that ends with its block",
            vec![
                Query("SET search_path = side"),
                Query("BEGIN"),
                Query("SET LOCAL search_path = public"),
                Query("SELECT count(*) FROM notes"),
                Query("COMMIT"),
            ],
        ),
        notes(
            "a path that ends with its block, in the same string as the next",
            vec![
                Query("SET search_path = side"),
                Query("BEGIN"),
                Query("SET LOCAL search_path = public"),
                Query("SELECT count(*) FROM notes"),
                Query("COMMIT; SELECT what FROM notes"),
            ],
        ),
        notes(
            "a path that a savepoint takes back",
            vec![
                Query("SET search_path = side"),
                Query("BEGIN"),
                Query("SAVEPOINT s"),
                Query("SET search_path = public"),
                Query("SELECT count(*) FROM notes"),
                Query("ROLLBACK TO s"),
            ],
        ),
        notes(
            "a path that a savepoint takes back, extended",
            vec![
                Query("SET search_path = side"),
                Extended("BEGIN"),
                Extended("SAVEPOINT s"),
                Extended("SET search_path = public"),
                Extended("SELECT count(*) FROM notes"),
                Extended("ROLLBACK TO s"),
            ],
        ),
        notes(
            "a path that a failing series takes back",
            vec![
                Query("SET search_path = side"),
                Bytes(
                    [
                        raw::parse("", "SET search_path = public", &[]),
                        bind("", ""),
                        raw::execute("", 0),
                        raw::parse("", "SELECT count(*) FROM notes", &[]),
                        bind("", ""),
                        raw::execute("", 0),
                        raw::parse("", "SELECT 1/0", &[]),
                        bind("", ""),
                        raw::execute("", 0),
                        raw::sync(),
                        raw::query(hidden),
                        raw::parse("", hidden, &[]),
                        bind("", ""),
                        raw::execute("", 0),
                        raw::sync(),
                    ]
                    .concat(),
                    3,
                ),
            ],
        ),
        notes(
            "a path of a block that has failed",
            vec![
                Query("SET search_path = side"),
                Query("BEGIN; SET search_path = public"),
                Query("SELECT count(*) FROM notes"),
                Query("SELECT 1/0"),
                Bytes([raw::query("ROLLBACK"), raw::query(hidden)].concat(), 2),
            ],
        ),
        notes(
            "everything at once",
            vec![Bytes(
                [
                    raw::query("SELECT count(*) FROM notes"),
                    raw::query("SET search_path = side"),
                    raw::query(hidden),
                    raw::parse("", hidden, &[]),
                    bind("", ""),
                    raw::execute("", 0),
                    raw::sync(),
                ]
                .concat(),
                4,
            )],
        ),
        notes(
            "everything in one series",
            vec![Bytes(
                [
                    raw::parse("", "SELECT count(*) FROM notes", &[]),
                    bind("", ""),
                    raw::execute("", 0),
                    raw::parse("", "SET search_path = side", &[]),
                    bind("", ""),
                    raw::execute("", 0),
                    raw::parse("", hidden, &[]),
                    bind("", ""),
                    raw::execute("", 0),
                    raw::sync(),
                ]
                .concat(),
                1,
            )],
        ),
        (
            "prepared under one path, executed under another",
            vec![
                Query("PREPARE p AS SELECT what FROM notes"),
                Query("SET search_path = side"),
                Query("EXECUTE p"),
                Extended("EXECUTE p"),
                Query("EXPLAIN ANALYZE EXECUTE p"),
                Query("CREATE TEMP TABLE t AS EXECUTE p"),
                Query("SELECT * FROM t"),
                Bytes([bind("", "p"), raw::execute("", 0), raw::sync()].concat(), 1),
            ],
        ),
        (
            "parsed under one path, bound under another",
            vec![
                Bytes([raw::parse("p", hidden, &[]), raw::sync()].concat(), 1),
                Query("SET search_path = side"),
                Bytes([bind("", "p"), raw::execute("", 0), raw::sync()].concat(), 1),
                Query("EXECUTE p"),
            ],
        ),
        (
            "parsed under one path, bound under another, in one go",
            vec![Bytes(
                [
                    raw::parse("p", hidden, &[]),
                    raw::parse("", "SET search_path = side", &[]),
                    bind("", ""),
                    raw::execute("", 0),
                    bind("", "p"),
                    raw::execute("", 0),
                    raw::sync(),
                    bind("", "p"),
                    raw::execute("", 0),
                    raw::sync(),
                ]
                .concat(),
                2,
            )],
        ),
        (
            "a string prepares under a path that it leaves",
            vec![
                Query(
                    "SET search_path = side; PREPARE p AS SELECT id FROM items; SET search_path = public",
                ),
                Query(
                    "SET search_path = public; PREPARE q AS SELECT what FROM notes; SET search_path = side",
                ),
                Query("EXECUTE q"),
                Query("EXECUTE p"),
            ],
        ),
        (
            "a statement of SQL's is bound under one path and executed under another",
            vec![
                Query("PREPARE p AS SELECT what FROM notes"),
                Query("BEGIN"),
                Query("SET search_path = side"),
                Bytes([bind("x", "p"), raw::sync()].concat(), 1),
                Query("SET search_path = public"),
                Bytes([raw::execute("x", 0), raw::sync()].concat(), 1),
                Query("FETCH ALL FROM x"),
            ],
        ),
        (
            "the same with one of the protocol's",
            vec![
                Bytes([raw::parse("p", hidden, &[]), raw::sync()].concat(), 1),
                Query("BEGIN"),
                Query("SET search_path = side"),
                Bytes([bind("x", "p"), raw::sync()].concat(), 1),
                Query("SET search_path = public"),
                Bytes([raw::execute("x", 0), raw::sync()].concat(), 1),
                Query("FETCH ALL FROM x"),
            ],
        ),
        (
            "a command is bound under one path and executed under another",
            vec![
                Query("BEGIN"),
                Bytes(
                    [
                        raw::parse("c", "DECLARE c CURSOR FOR SELECT what FROM notes", &[]),
                        bind("p", "c"),
                        raw::sync(),
                    ]
                    .concat(),
                    1,
                ),
                Query("SET search_path = side"),
                Bytes([raw::execute("p", 0), raw::sync()].concat(), 1),
                Query("FETCH ALL FROM c"),
            ],
        ),
        (
            "what an EXECUTE runs is prepared anew before it does",
            vec![
                Query("PREPARE p AS SELECT 1"),
                Query("BEGIN"),
                Bytes([raw::parse("", "EXECUTE p", &[]), bind("x", ""), raw::sync()].concat(), 1),
                Query("DEALLOCATE p"),
                Query("PREPARE p AS SELECT what FROM notes"),
                Query("SET search_path = side"),
                Bytes([raw::execute("x", 0), raw::sync()].concat(), 1),
            ],
        ),
        (
            "a temporary table stands before a table, and goes",
            vec![
                Query("CREATE TEMP TABLE secrets (id int, name text)"),
                Query("PREPARE p AS SELECT name FROM secrets"),
                Bytes(
                    [raw::parse("q", "SELECT upper(name) FROM secrets", &[]), raw::sync()].concat(),
                    1,
                ),
                Query("EXECUTE p"),
                Query("DROP TABLE pg_temp.secrets"),
                Query("EXECUTE p"),
                Bytes([bind("", "q"), raw::execute("", 0), raw::sync()].concat(), 1),
                Query("SELECT name FROM secrets"),
            ],
        ),
        (
            "a temporary table that a ROLLBACK takes away",
            vec![
                Query("BEGIN"),
                Query("CREATE TEMP TABLE secrets (id int, name text)"),
                Query("SELECT name FROM secrets"),
                Bytes(
                    [
                        raw::query("ROLLBACK"),
                        raw::query("SELECT name FROM secrets"),
                        raw::parse("", "SELECT name FROM secrets", &[]),
                        bind("", ""),
                        raw::execute("", 0),
                        raw::sync(),
                    ]
                    .concat(),
                    3,
                ),
            ],
        ),
        (
            "a temporary table in one string",
            vec![
                Query(
                    "CREATE TEMP TABLE secrets (id int); DROP TABLE pg_temp.secrets; SELECT name FROM secrets",
                ),
                Query("CREATE TEMP TABLE x (id int); SELECT name FROM secrets"),
                Query("CREATE TEMP TABLE secrets (id int); ROLLBACK; SELECT name FROM secrets"),
            ],
        ),
        (
            "a temporary table that is renamed",
            vec![
                Query("CREATE TEMP TABLE mine (id int, name text)"),
                Query("BEGIN"),
                Query("ALTER TABLE mine RENAME TO secrets"),
                Query("PREPARE p AS SELECT name FROM secrets"),
                Query("ALTER TABLE pg_temp.secrets RENAME TO mine"),
                Query("EXECUTE p"),
                Query("ROLLBACK"),
                Query("EXECUTE p"),
            ],
        ),
        (
            "DISCARD takes a temporary table away",
            vec![
                Query("CREATE TEMP TABLE secrets (id int, name text)"),
                Query("PREPARE p AS SELECT name FROM secrets"),
                Query("DISCARD TEMP"),
                Query("EXECUTE p"),
                Query("SELECT name FROM secrets"),
            ],
        ),
        (
            "a function in the temporary schema",
            vec![
                Query(
                    "CREATE FUNCTION pg_temp.f() RETURNS SETOF text LANGUAGE sql AS 'SELECT name FROM public.secrets'",
                ),
                Query("SELECT pg_temp.f()"),
            ],
        ),
        (
            "a refused Parse leaves what was there",
            vec![
                Bytes([raw::parse("s", "SELECT 1", &[]), raw::sync()].concat(), 1),
                Bytes(
                    [
                        raw::close(b'S', "s"),
                        raw::parse("s", "SELECT name FROM secrets", &[]),
                        raw::sync(),
                    ]
                    .concat(),
                    1,
                ),
                Bytes([bind("", "s"), raw::execute("", 0), raw::sync()].concat(), 1),
                Bytes(
                    [
                        raw::parse("", "SELECT name FROM secrets", &[]),
                        raw::sync(),
                        bind("", ""),
                        raw::execute("", 0),
                        raw::sync(),
                    ]
                    .concat(),
                    2,
                ),
            ],
        ),
        (
            "names of SQL and of the protocol",
            vec![
                Query("PREPARE s AS SELECT 1"),
                Bytes(
                    [
                        raw::query("DEALLOCATE s"),
                        raw::parse("s", "SELECT name FROM secrets", &[]),
                        raw::sync(),
                        bind("", "s"),
                        raw::execute("", 0),
                        raw::sync(),
                        raw::query("EXECUTE s"),
                    ]
                    .concat(),
                    4,
                ),
            ],
        ),
        (
            "a series goes on behind a refusal",
            vec![Bytes(
                [
                    raw::parse("", "SELECT name FROM secrets", &[]),
                    bind("", ""),
                    raw::execute("", 0),
                    raw::parse("", "DELETE FROM secrets", &[]),
                    bind("", ""),
                    raw::execute("", 0),
                    raw::query("DELETE FROM secrets"),
                    raw::function_call(177, &[Some("1"), Some("2")]),
                    raw::sync(),
                    raw::query("SELECT name FROM secrets"),
                ]
                .concat(),
                2,
            )],
        ),
        (
            "a COPY and what comes behind it",
            vec![Bytes(
                [
                    raw::parse("", "COPY notes FROM STDIN", &[]),
                    bind("", ""),
                    raw::execute("", 0),
                    raw::sync(),
                    raw::copy_data(b"bad line\n"),
                    raw::sync(),
                    raw::query("SELECT name FROM secrets"),
                    raw::parse("", "SELECT name FROM secrets", &[]),
                    bind("", ""),
                    raw::execute("", 0),
                    raw::sync(),
                ]
                .concat(),
                3,
            )],
        ),
        (
            "a refused COPY with its data",
            vec![Bytes(
                [
                    raw::query("COPY secrets FROM STDIN"),
                    raw::copy_data(b"2\tx\n"),
                    raw::copy_done(),
                    raw::query("SELECT count(*) FROM items"),
                ]
                .concat(),
                2,
            )],
        ),
        (
            "a function by its number",
            vec![
                Bytes(raw::function_call(2168, &[Some("x")]), 1),
                Bytes(raw::function_call(177, &[Some("1"), Some("2")]), 1),
            ],
        ),
        (
            "an encoding in which a quote is half of a letter",
            vec![
                Query("SET client_encoding = 'SJIS'"),
                Bytes(raw::framed(b'Q', b"SELECT '\x83\x5c', name FROM secrets --'\0"), 1),
                Bytes(
                    [
                        raw::query("SET client_encoding = 'SJIS'"),
                        raw::framed(b'Q', b"SELECT '\x83\x27' , name FROM secrets\0"),
                    ]
                    .concat(),
                    2,
                ),
            ],
        ),
        (
            "an encoding that changes while the next text is on its way",
            vec![Bytes(
                [
                    raw::query("SET client_encoding = 'SJIS'"),
                    raw::framed(
                        b'Q',
                        b"SET application_name = E'\x83\x5c'; SELECT name FROM secrets; --'\0",
                    ),
                    raw::framed(
                        b'Q',
                        b"SET application_name = E'\x83\x5c'; SELECT name FROM secrets; --'\0",
                    ),
                ]
                .concat(),
                3,
            )],
        ),
        (
            "bytes that are not what they seem",
            vec![
                Bytes(raw::framed(b'Q', b"SELECT 1\0; SELECT name FROM secrets\0"), 1),
                Bytes(raw::framed(b'Q', b"SELECT name FROM secrets"), 1),
                Bytes(
                    [raw::framed(b'P', b"s\0SELECT name FROM secrets\0"), raw::sync()].concat(),
                    1,
                ),
                Bytes(raw::framed(b'Q', b"SELECT name FROM \"secrets\xff\"\0"), 1),
            ],
        ),
        (
            "a portal outlives what it stood under",
            vec![
                Query("BEGIN"),
                Bytes([raw::parse("s", hidden, &[]), bind("p", "s"), raw::sync()].concat(), 1),
                Query("SAVEPOINT a"),
                Query("SET search_path = side"),
                Bytes([raw::execute("p", 1), raw::sync()].concat(), 1),
                Bytes([bind("q", "s"), raw::execute("q", 0), raw::sync()].concat(), 1),
                Query("ROLLBACK TO a"),
                Bytes([raw::execute("p", 0), raw::execute("q", 0), raw::sync()].concat(), 1),
                Query("FETCH ALL FROM p"),
            ],
        ),
        ("a parameter that the server drops from the call", dropped_parameters()),
        (
            "names in doubt, in an encoding in which they can't be read",
            vec![
                Bytes(raw::framed(b'F', &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0]), 1),
                Query("SET client_encoding = 'LATIN1'"),
                Query("BEGIN"),
                Query("SELECT name FROM secrets"),
                Query("ROLLBACK"),
                Query(hidden),
            ],
        ),
    ]
}

/// What is of type void is no argument: with one less these run the text that they are given.
fn dropped_parameters() -> Vec<Say> {
    const VOID: u32 = 2278;
    const TSQUERY: u32 = 3615;
    const TEXT: u32 = 25;
    let text = b"SELECT 'a'::tsquery, plainto_tsquery(name) FROM public.secrets";
    let calls: [(&str, &[u32]); 5] = [
        ("SELECT ts_rewrite($1, $2, $3)", &[VOID, TSQUERY, TEXT]),
        ("SELECT * FROM ts_rewrite($1, $2, $3)", &[VOID, TSQUERY, TEXT]),
        ("SELECT ts_rewrite($1::void, $2::tsquery, $3::text)", &[]),
        ("SELECT ts_rewrite($1::\"any\", $2::tsquery, $3::text)", &[VOID]),
        (
            "SELECT ts_rewrite($1, $2::tsquery, $3::text) \
             FROM (SELECT $1 UNION ALL SELECT pg_advisory_unlock_all()) x",
            &[],
        ),
    ];
    let said = calls.map(|(sql, types)| {
        let bind = raw::bind("", "", &[], &[Some(b""), Some(b"a"), Some(text)], &[]);
        Bytes([raw::parse("", sql, types), bind, raw::execute("", 0), raw::sync()].concat(), 1)
    });
    said.into()
}

on_each_version! {
    fn what_may_not_run_does_not(server: Server) {
        let stand = Stand::new(&server);
        for sql in FORBIDDEN {
            let mut agent = stand.agent();
            for say_it in [Query(sql), Extended(sql)] {
                let replies = say(&mut agent, &say_it);
                let is_error = replies.iter().any(|message| message.tag == b'E');
                assert!(is_error, "{sql}: {}", raw::show(&replies));
                let has_rows = replies.iter().any(|message| matches!(message.tag, b'D' | b'd'));
                assert!(!has_rows, "{sql}: {}", raw::show(&replies));
                assert_kept(&stand.database, &replies, sql);
            }
        }
    }

    fn no_sequence_gets_there(server: Server) {
        let stand = Stand::new(&server);
        for (name, steps) in sequences() {
            let mut agent = stand.agent();
            let mut all = Vec::new();
            for step in &steps {
                all.extend(say(&mut agent, step));
            }
            assert_kept(&stand.database, &all, name);
        }
    }

    /// While a file lets everything pass nothing is looked at. What a session does meanwhile counts
    /// for nothing once its statements are judged again.
    fn what_passed_unjudged_is_not_believed(server: Server) {
        let stand = Stand::new(&server);
        let (head, _) = POLICIES.split_once("    allow:").unwrap();
        let everything = format!("{head}    allow: [{{ everything: \"*\" }}]\n");
        let steps: [(&[Say], &[Say]); 3] = [
            (
                &[Query("SET search_path = side")],
                &[Query("SELECT what FROM notes"), Extended("SELECT what FROM notes")],
            ),
            (
                &[Query("DEALLOCATE p"), Query("PREPARE p AS SELECT name FROM secrets")],
                &[Query("EXECUTE p"), Query("EXPLAIN ANALYZE EXECUTE p")],
            ),
            (
                &[Query("SET standard_conforming_strings = off")],
                &[Query("SELECT 'a\\'; SELECT name FROM secrets --'")],
            ),
        ];
        for (unjudged, judged) in steps {
            let mut agent = stand.agent();
            agent.query("SELECT count(*) FROM notes");
            agent.query("PREPARE p AS SELECT id FROM items");
            stand.reload(&everything);
            for step in unjudged {
                let replies = say(&mut agent, step);
                assert!(error(&replies).is_none(), "{}", raw::show(&replies));
            }
            stand.reload(POLICIES);
            let all: Vec<Message> = judged.iter().flat_map(|step| say(&mut agent, step)).collect();
            assert_kept(&stand.database, &all, "unjudged");
        }
    }

    /// Without the policies most of these bring what is hidden: the list can fail.
    fn most_sequences_get_there_without_policies(server: Server) {
        let stand = Stand::without(&server);
        let mut harmless = Vec::new();
        for (name, steps) in sequences() {
            let mut agent = stand.agent();
            let mut is_found = false;
            for step in &steps {
                // A server that is misled may answer less often.
                let replies = match step {
                    Bytes(bytes, _) => {
                        // It is answered even in a failed block.
                        let last = raw::query("SHOW \"so far\"");
                        agent.send(&[bytes.as_slice(), &raw::sync(), &last].concat());
                        until(&mut agent)
                    }
                    step => say(&mut agent, step),
                };
                is_found |= replies.iter().any(|m| String::from_utf8_lossy(&m.body).contains("hush"));
            }
            if !is_found {
                harmless.push(name);
            }
            drop(agent);
            stand.restore();
        }
        // These are about writing, or about what a client must not be believed.
        assert!(harmless.len() <= 8, "{harmless:?}");
    }
}

/// Replies up to the error about a setting that does not exist, or about a failed block.
fn until(agent: &mut Raw) -> Vec<Message> {
    let mut replies = Vec::new();
    while let Some(message) = agent.read() {
        let is_last = message.tag == b'E'
            && (message.text().contains("so far") || message.sqlstate() == "25P02");
        replies.push(message);
        if is_last {
            replies.extend(agent.until_ready());
            break;
        }
    }
    replies
}
