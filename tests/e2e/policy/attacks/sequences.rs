//! Statements that may each run, in an order in which what they mean moves.

use super::Say::{self, Bytes, Extended, Query};
use super::bind;
use crate::raw;

pub(super) fn sequences() -> Vec<(&'static str, Vec<Say>)> {
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
