"""psycopg 3 at work: text and binary results, prepared statements, pipelines, COPY, notices,
notifications, cancels, errors and transactions. Takes a connection string; every assertion is on
what a real server answers, so the script passes directly as well as through the gateway."""

import sys
import threading
from decimal import Decimal

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

dsn = sys.argv[1]


def texts_and_binaries():
    with psycopg.connect(dsn, autocommit=True) as conn:
        for binary in (False, True):
            cur = conn.cursor(binary=binary)
            row = cur.execute(
                "SELECT %s::int8, %s::text, %s::numeric, %s::bytea, %s::jsonb, %s::int[], "
                "'2026-02-03'::date, NULL::text, 1.5::float8, true",
                (2**40, "ünïcode \x01", Decimal("1.50"), b"\x00\xff", Jsonb({"a": [1]}), [1, None]),
            ).fetchone()
            assert row[:6] == (
                2**40, "ünïcode \x01", Decimal("1.50"), b"\x00\xff", {"a": [1]}, [1, None],
            ), row
            assert row[6].isoformat() == "2026-02-03" and row[7:] == (None, 1.5, True), row
        big = conn.execute("SELECT repeat('x', 5000000)").fetchone()[0]
        assert len(big) == 5_000_000


def prepared():
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=2) as conn:
        for n in range(20):
            assert conn.execute("SELECT %s::int + 1", (n,)).fetchone() == (n + 1,)
        names = conn.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()
        assert names[0] >= 1, names


def server_cursor():
    with psycopg.connect(dsn) as conn:
        with conn.cursor("portal") as cur:
            cur.itersize = 100
            cur.execute("SELECT g FROM generate_series(1, 1234) g")
            assert [r[0] for r in cur] == list(range(1, 1235))
        cur = psycopg.RawCursor(conn)
        assert sum(r[0] for r in cur.stream("SELECT g FROM generate_series($1::int, 100) g", (1,))) == 5050


def transactions_and_errors():
    with psycopg.connect(dsn) as conn:
        conn.execute("CREATE TABLE py_t (a int PRIMARY KEY, b text)")
        try:
            with conn.transaction():
                conn.execute("INSERT INTO py_t VALUES (1, 'one')")
                conn.execute("INSERT INTO py_t VALUES (1, 'again')")
            raise AssertionError("a unique violation is raised")
        except psycopg.errors.UniqueViolation as e:
            assert e.diag.constraint_name == "py_t_pkey", e.diag.constraint_name
            assert e.diag.table_name == "py_t"
        with conn.transaction():
            conn.execute("INSERT INTO py_t VALUES (2, 'two')")
        assert conn.execute("SELECT a, b FROM py_t").fetchall() == [(2, "two")]
        conn.rollback()
        assert conn.execute("SELECT to_regclass('py_t')").fetchone() == (None,)


def pipelines():
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("CREATE TABLE py_p (a int PRIMARY KEY)")
        with conn.pipeline():
            cursors = [conn.execute("INSERT INTO py_p VALUES (%s) RETURNING a", (n,)) for n in range(500)]
            assert [c.fetchone()[0] for c in cursors] == list(range(500))
        try:
            with conn.pipeline():
                conn.execute("INSERT INTO py_p VALUES (1000)")
                conn.execute("INSERT INTO py_p VALUES (1)")
                conn.execute("INSERT INTO py_p VALUES (2000)")
            raise AssertionError("a unique violation is raised")
        except psycopg.errors.UniqueViolation:
            pass
        # Without a Sync between, one transaction: the good one went with the bad one, and what
        # follows is skipped.
        assert conn.execute("SELECT count(*) FROM py_p").fetchone() == (500,)
        conn.execute("DROP TABLE py_p")


def copies():
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("CREATE TABLE py_c (a int, b text)")
        rows = [(n, f"row {n}\t\\ü") for n in range(5000)] + [(None, None)]
        cur = conn.cursor()
        with cur.copy("COPY py_c FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        with cur.copy("COPY py_c FROM STDIN (FORMAT binary)") as copy:
            copy.set_types(["int4", "text"])
            for row in rows:
                copy.write_row(row)
        assert conn.execute("SELECT count(*), count(DISTINCT b) FROM py_c").fetchone() == (10002, 5000)
        with cur.copy("COPY (SELECT * FROM py_c ORDER BY a LIMIT 10000) TO STDOUT (FORMAT binary)") as copy:
            copy.set_types(["int4", "text"])
            got = list(copy.rows())
        assert got == [row for row in rows[:-1] for _ in range(2)]
        with cur.copy("COPY (SELECT a FROM py_c WHERE a < 3 ORDER BY a) TO STDOUT") as copy:
            assert b"".join(copy) == b"0\n0\n1\n1\n2\n2\n"
        try:
            with cur.copy("COPY py_c FROM STDIN") as copy:
                copy.write("not a number\tx\n")
            raise AssertionError("bad data are refused")
        except psycopg.errors.InvalidTextRepresentation as e:
            assert "py_c, line 1" in e.diag.context, e.diag.context
        try:
            with cur.copy("COPY py_c FROM STDIN") as copy:
                copy.write_row((1, "one"))
                raise KeyError("changed my mind")
        except KeyError:
            pass
        assert conn.execute("SELECT count(*) FROM py_c").fetchone() == (10002,)
        conn.execute("DROP TABLE py_c")


def notices_and_notifications():
    with psycopg.connect(dsn, autocommit=True) as one, psycopg.connect(dsn, autocommit=True) as two:
        said = []
        one.add_notice_handler(lambda d: said.append((d.severity_nonlocalized, d.message_primary)))
        one.execute("DO $$BEGIN RAISE NOTICE 'a notice'; RAISE WARNING 'a warning'; END$$")
        assert said == [("NOTICE", "a notice"), ("WARNING", "a warning")], said
        one.execute("LISTEN py_channel")
        two.execute("SELECT pg_notify('py_channel', 'to an idle listener')")
        got = next(one.notifies(timeout=30))
        assert (got.channel, got.payload) == ("py_channel", "to an idle listener")
        assert got.pid == two.execute("SELECT pg_backend_pid()").fetchone()[0]


def cancels():
    with psycopg.connect(dsn, autocommit=True) as conn, psycopg.connect(dsn, autocommit=True) as watch:
        pid = conn.execute("SELECT pg_backend_pid()").fetchone()[0]

        def cancel_once_it_sleeps():
            while not watch.execute(
                "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND wait_event = 'PgSleep'", (pid,)
            ).fetchone():
                pass
            conn.cancel_safe()

        thread = threading.Thread(target=cancel_once_it_sleeps)
        thread.start()
        try:
            conn.execute("SELECT pg_sleep(300)")
            raise AssertionError("the statement is cancelled")
        except psycopg.errors.QueryCanceled:
            pass
        thread.join()
        # PostgreSQL signals a backend and its process group, and the second signal may come late.
        try:
            conn.execute("SELECT 'perhaps'")
        except psycopg.errors.QueryCanceled:
            pass
        assert conn.execute("SELECT 'alive'").fetchone() == ("alive",)


def identifiers():
    with psycopg.connect(dsn, autocommit=True) as conn:
        query = sql.SQL("SELECT 1 AS {}").format(sql.Identifier('a "quoted" ünïcode name'))
        assert conn.execute(query).description[0].name == 'a "quoted" ünïcode name'


for part in (
    texts_and_binaries, prepared, server_cursor, transactions_and_errors, pipelines, copies,
    notices_and_notifications, cancels, identifiers,
):
    part()
    print(part.__name__)
