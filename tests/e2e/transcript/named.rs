//! Programs written out by name: what once told a proxy from a server, or is reached too seldom by
//! chance.

use super::program::Program;
use crate::raw;

/// Programs that once told a proxy from a server, or that the random ones reach too seldom.
pub(super) fn named() -> Vec<(&'static str, Program)> {
    let good = "SELECT id, name FROM items ORDER BY id";
    let p = Program::of;
    vec![
        ("nothing at all", p(vec![])),
        ("an empty query", p(vec![("Query", raw::query("")), ("Query", raw::query(" ; ;"))])),
        (
            "a Query in a skipped segment is not answered",
            p(vec![
                ("Parse bad", raw::parse("", "SELEC", &[])),
                ("Query skipped", raw::query("INSERT INTO logs(what) VALUES ('must not be')")),
                ("Sync", raw::sync()),
                ("Query", raw::query("SELECT count(*) FROM logs")),
            ]),
        ),
        (
            "a FunctionCall in a skipped segment is not answered",
            p(vec![
                ("Bind bad", raw::bind("", "none", &[], &[], &[])),
                ("FunctionCall", raw::function_call(177, &[Some("1"), Some("2")])),
                ("Sync", raw::sync()),
                ("FunctionCall", raw::function_call(177, &[Some("1"), Some("2")])),
            ]),
        ),
        (
            "a failed Parse leaves the older statement of that name",
            p(vec![
                ("Parse s1", raw::parse("s1", good, &[])),
                ("Sync", raw::sync()),
                ("Parse s1 again", raw::parse("s1", "SELECT 2", &[])),
                ("Sync", raw::sync()),
                ("Parse s1 bad", raw::parse("s1", "SELEC", &[])),
                ("Sync", raw::sync()),
                ("Describe s1", raw::describe(b'S', "s1")),
                ("Bind", raw::bind("", "s1", &[], &[], &[1])),
                ("Execute", raw::execute("", 3)),
                ("Execute", raw::execute("", 0)),
                ("Execute done", raw::execute("", 0)),
                ("Sync", raw::sync()),
            ]),
        ),
        (
            "a simple query drops the unnamed statement",
            p(vec![
                ("Parse", raw::parse("", good, &[])),
                ("Sync", raw::sync()),
                ("Query", raw::query("SELECT 1")),
                ("Bind", raw::bind("", "", &[], &[], &[])),
                ("Execute", raw::execute("", 0)),
                ("Sync", raw::sync()),
            ]),
        ),
        (
            "names of SQL and of the protocol are the same names",
            p(vec![
                ("Query", raw::query("PREPARE s1 AS SELECT 'sql'")),
                ("Parse s1", raw::parse("s1", "SELECT 1", &[])),
                ("Sync", raw::sync()),
                ("Bind s1", raw::bind("", "s1", &[], &[], &[])),
                ("Execute", raw::execute("", 0)),
                ("Sync", raw::sync()),
                ("Query", raw::query("DEALLOCATE s1")),
                ("Parse s1", raw::parse("s1", "SELECT 'wire'", &[])),
                ("Sync", raw::sync()),
                ("Query", raw::query("EXECUTE s1")),
                (
                    "Query",
                    raw::query("BEGIN; DECLARE p1 CURSOR FOR SELECT id FROM items ORDER BY 1"),
                ),
                ("Execute p1", raw::execute("p1", 2)),
                ("Describe p1", raw::describe(b'P', "p1")),
                ("Sync", raw::sync()),
                ("Query", raw::query("FETCH 2 FROM p1; CLOSE p1; COMMIT")),
            ]),
        ),
        (
            "a pipeline without Sync between, an error in its middle",
            p(vec![
                ("Parse", raw::parse("", "INSERT INTO logs(what) VALUES ($1)", &[])),
                ("Bind", raw::bind("", "", &[], &[Some(b"one")], &[])),
                ("Execute", raw::execute("", 0)),
                ("Bind null", raw::bind("", "", &[], &[None], &[])),
                ("Execute fails", raw::execute("", 0)),
                ("Bind", raw::bind("", "", &[], &[Some(b"three")], &[])),
                ("Execute", raw::execute("", 0)),
                ("Flush", raw::flush()),
                ("Sync", raw::sync()),
                ("Query", raw::query("SELECT id, what FROM logs ORDER BY id")),
            ]),
        ),
        (
            "copy in: Sync and Flush are ignored until CopyDone",
            p(vec![
                ("Parse", raw::parse("", "COPY sink FROM STDIN", &[])),
                ("Bind", raw::bind("", "", &[], &[], &[])),
                ("Describe", raw::describe(b'P', "")),
                ("Execute", raw::execute("", 0)),
                ("Sync ignored", raw::sync()),
                ("CopyData", raw::copy_data(b"1\tone\n2\tt")),
                ("Flush", raw::flush()),
                ("Sync ignored", raw::sync()),
                ("CopyData", raw::copy_data(b"wo\n")),
                ("CopyDone", raw::copy_done()),
                ("Sync", raw::sync()),
                ("Query", raw::query("SELECT * FROM sink ORDER BY 1")),
            ]),
        ),
        (
            "copy in: data that goes on after the failure is ignored",
            p(vec![
                ("Query", raw::query("COPY sink FROM STDIN")),
                ("CopyData", raw::copy_data(b"1\tone\nbad line\n")),
                ("CopyData", raw::copy_data(b"3\tthree\n")),
                ("CopyDone", raw::copy_done()),
                ("Query", raw::query("SELECT count(*) FROM sink")),
                ("stray CopyData", raw::copy_data(b"3\tthree\n")),
                ("stray CopyDone", raw::copy_done()),
                ("stray CopyFail", raw::copy_fail("stray")),
            ]),
        ),
        (
            "copy in, extended: after the failure everything is skipped till Sync",
            p(vec![
                ("Parse", raw::parse("", "COPY sink FROM STDIN", &[])),
                ("Bind", raw::bind("", "", &[], &[], &[])),
                ("Execute", raw::execute("", 0)),
                ("CopyData", raw::copy_data(b"bad line\n")),
                ("CopyData", raw::copy_data(b"3\tthree\n")),
                ("CopyDone", raw::copy_done()),
                ("Query skipped", raw::query("SELECT 'skipped'")),
                ("Sync", raw::sync()),
                ("Query", raw::query("SELECT 'not skipped'")),
            ]),
        ),
        // A Sync that reaches a copy is ignored, one that comes after its failure is answered, and
        // only the server knows which it was.
        (
            "copy in, extended: it fails before a Sync that would have been ignored",
            p(vec![
                ("Parse", raw::parse("", "COPY sink FROM STDIN", &[])),
                ("Bind", raw::bind("", "", &[], &[], &[])),
                ("Execute", raw::execute("", 0)),
                ("CopyData", raw::copy_data(b"bad line\n")),
                ("Sync answered", raw::sync()),
                ("Query", raw::query("SELECT 'one'")),
                ("Sync", raw::sync()),
                ("Parse", raw::parse("", "SELECT 'two'", &[])),
                ("Bind", raw::bind("", "", &[], &[], &[])),
                ("Execute", raw::execute("", 0)),
                ("Sync", raw::sync()),
            ]),
        ),
        (
            "copy in, extended: Sync once before the failure and twice after it",
            p(vec![
                ("Parse", raw::parse("", "COPY sink FROM STDIN", &[])),
                ("Bind", raw::bind("", "", &[], &[], &[])),
                ("Execute", raw::execute("", 0)),
                ("CopyData", raw::copy_data(b"1\tone\n")),
                ("Sync ignored", raw::sync()),
                ("CopyData", raw::copy_data(b"bad line\n")),
                ("Sync answered", raw::sync()),
                ("CopyDone", raw::copy_done()),
                ("Sync answered", raw::sync()),
                ("Query", raw::query("SELECT count(*) FROM sink")),
            ]),
        ),
        (
            "copy in, simple: it fails before a Sync that would have been ignored",
            p(vec![
                ("Query", raw::query("COPY sink FROM STDIN")),
                ("CopyData", raw::copy_data(b"bad line\n")),
                ("Sync answered", raw::sync()),
                ("CopyDone", raw::copy_done()),
                ("Query", raw::query("SELECT 'one'")),
                ("Sync", raw::sync()),
            ]),
        ),
        (
            "copy in of a table that is not there: data follow a refusal",
            p(vec![
                ("Query", raw::query("COPY nowhere FROM STDIN")),
                ("CopyData", raw::copy_data(b"1\tone\n")),
                ("CopyDone", raw::copy_done()),
                ("Query", raw::query("SELECT 1")),
            ]),
        ),
        (
            "copy out, copy in and copy out in one string",
            p(vec![
                (
                    "Query",
                    raw::query(
                        "COPY (SELECT 1) TO STDOUT; COPY sink FROM STDIN; SELECT 2; \
                         COPY sink FROM STDIN; COPY sink TO STDOUT; SELECT 3",
                    ),
                ),
                ("CopyData", raw::copy_data(b"1\tone\n")),
                ("CopyDone", raw::copy_done()),
                ("CopyData", raw::copy_data(b"2\ttwo\n")),
                ("CopyDone", raw::copy_done()),
            ]),
        ),
        (
            "copy in ends by the end-of-data line, more data follow",
            p(vec![
                ("Query", raw::query("COPY sink FROM STDIN")),
                ("CopyData", raw::copy_data(b"1\tone\n\\.\n")),
                ("CopyDone", raw::copy_done()),
                ("Query", raw::query("SELECT count(*) FROM sink")),
            ]),
        ),
        (
            "a statement during copy in ends the session",
            p(vec![
                ("Query", raw::query("COPY sink FROM STDIN")),
                ("Query", raw::query("SELECT 1")),
            ])
            .ending_there(),
        ),
        (
            "a message of no known type ends the session",
            p(vec![("Query", raw::query("SELECT 1")), ("unknown", raw::framed(b'y', b""))])
                .ending_there(),
        ),
        (
            "a message beyond PostgreSQL's own bound ends the session",
            p(vec![
                ("Query", raw::query("SELECT 1")),
                ("Describe", raw::describe(b'S', &"x".repeat(10_100))),
            ])
            .ending_there(),
        ),
        (
            "Terminate with statements behind it",
            p(vec![
                ("Query", raw::query("INSERT INTO logs(what) VALUES ('before') RETURNING id")),
                ("Terminate", raw::terminate()),
            ])
            .ending_there(),
        ),
        (
            "malformed bodies",
            p(vec![
                ("Query without end", raw::framed(b'Q', b"SELECT 1")),
                ("Query with more", raw::framed(b'Q', b"SELECT 1\0SELECT 2\0")),
                ("Query empty", raw::framed(b'Q', b"")),
                ("Parse cut", raw::framed(b'P', b"s1\0SELECT 1\0\0")),
                ("Sync", raw::sync()),
                ("Bind lies", raw::framed(b'B', b"\0\0\0\0\x7f\xff\0\0\0\x02")),
                ("Sync", raw::sync()),
                ("Bind of -2 bytes", raw::framed(b'B', b"\0\0\0\0\0\x01\xff\xff\xff\xfe\0\0")),
                ("Sync", raw::sync()),
                ("Describe Z", raw::describe(b'Z', "s1")),
                ("Sync", raw::sync()),
                ("Close Z", raw::close(b'Z', "s1")),
                ("Sync", raw::sync()),
                ("Execute empty", raw::framed(b'E', b"")),
                ("Sync with a body", raw::framed(b'S', b"body")),
                ("Flush with a body", raw::framed(b'H', b"body")),
                ("FunctionCall cut", raw::framed(b'F', b"\0\0")),
                ("Query bad UTF-8", raw::framed(b'Q', b"SELECT '\xff\xfe'\0")),
            ]),
        ),
        (
            "own notifications, in and out of a transaction",
            p(vec![
                ("Query", raw::query("LISTEN c; LISTEN \"D\"")),
                ("Query", raw::query("NOTIFY c, 'one'")),
                ("Query", raw::query("BEGIN; NOTIFY c; NOTIFY c; NOTIFY \"D\", 'x'")),
                ("Query", raw::query("SELECT 'not yet'")),
                ("Query", raw::query("COMMIT")),
                ("Parse", raw::parse("", "SELECT pg_notify('c', $1)", &[])),
                ("Bind", raw::bind("", "", &[], &[Some(b"extended")], &[])),
                ("Execute", raw::execute("", 0)),
                ("Sync", raw::sync()),
                ("Query", raw::query("UNLISTEN *; NOTIFY c, 'unheard'")),
            ]),
        ),
        (
            "parameters change and are reported",
            p(vec![
                ("Query", raw::query("SET application_name = 'ünïcode'; SET DateStyle = 'German'")),
                ("Query", raw::query("BEGIN; SET TimeZone = 'Asia/Kathmandu'; SELECT 1/0")),
                ("Query", raw::query("ROLLBACK")),
                ("Query", raw::query("SET client_encoding = 'LATIN1'; SELECT 'é'")),
                ("Query", raw::query("DISCARD ALL")),
            ]),
        ),
        (
            "a long result, then a long value, then a long query",
            p(vec![
                (
                    "Query",
                    raw::query("SELECT g, repeat('w', 200) FROM generate_series(1, 20000) g"),
                ),
                ("Query", raw::query("SELECT repeat('x', 3000000)")),
                ("Query", raw::query(&format!("SELECT length('{}')", "y".repeat(2_000_000)))),
                (
                    "Query",
                    raw::query(
                        "COPY (SELECT g, repeat('w', 200) FROM generate_series(1, 20000) g) TO STDOUT",
                    ),
                ),
            ]),
        ),
        (
            "portals die with their transaction, holdable ones don't",
            p(vec![
                ("Parse", raw::parse("s1", good, &[])),
                ("Bind p1", raw::bind("p1", "s1", &[], &[], &[])),
                ("Execute", raw::execute("p1", 2)),
                ("Sync", raw::sync()),
                ("Execute p1 gone", raw::execute("p1", 2)),
                ("Sync", raw::sync()),
                (
                    "Query",
                    raw::query("DECLARE p2 CURSOR WITH HOLD FOR SELECT id FROM items ORDER BY 1"),
                ),
                ("Execute p2", raw::execute("p2", 2)),
                ("Close p2", raw::close(b'P', "p2")),
                ("Close none", raw::close(b'S', "none")),
                ("Sync", raw::sync()),
            ]),
        ),
        (
            "a failed transaction lets little through",
            p(vec![
                ("Query", raw::query("BEGIN")),
                ("Query", raw::query("SELECT 1/0")),
                ("Parse", raw::parse("", "SELECT 1", &[])),
                ("Sync", raw::sync()),
                ("Parse", raw::parse("s1", "ROLLBACK", &[])),
                ("Bind", raw::bind("", "s1", &[], &[], &[])),
                ("Describe", raw::describe(b'P', "")),
                ("Execute", raw::execute("", 0)),
                ("Sync", raw::sync()),
                ("FunctionCall", raw::function_call(177, &[Some("1"), Some("x")])),
                ("FunctionCall", raw::function_call(999_999_999, &[])),
            ]),
        ),
    ]
}
