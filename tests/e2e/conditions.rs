//! Conditions of rules that only the database can answer, end to end: each at its bound and one
//! past it, in every protocol, and whether what was refused is undone.

use e2e::{Database, on_each_version};

use crate::raw::{self, Message, Raw};
use crate::setup::{Gate, Plan};

fn gate(database: &Database, refuse: &str) -> Gate {
    let policy = format!(
        "policies:\n  - name: careful\n    who: \"*\"\n    to: \"*\"\n    \
         access: {{ window: 1h, approval: none }}\n    allow:\n      - read, write: public.*\n      \
         - truncate: public.*\n      - use: \"*\"\n    refuse:\n{refuse}"
    );
    Plan::gateway(database).top(&policy).start()
}

fn tags(messages: &[Message]) -> String {
    messages.iter().map(|message| char::from(message.tag)).collect()
}

fn extended(sql: &str) -> Vec<u8> {
    [
        raw::parse("", sql, &[]),
        raw::bind("", "", &[], &[], &[]),
        raw::describe(b'P', ""),
        raw::execute("", 0),
        raw::sync(),
    ]
    .concat()
}

#[track_caller]
fn is_refused(messages: &[Message]) {
    let error = raw::error(messages);
    assert_eq!(error.sqlstate(), "42501", "{}", raw::show(messages));
    let detail = error.field(b'D').expect("a DETAIL");
    assert!(detail.contains("careful"), "{detail}");
    assert!(tags(messages).ends_with("EZ"), "{}", raw::show(messages));
    assert!(!tags(messages).contains('C'), "no tag of what is undone: {}", raw::show(messages));
}

#[track_caller]
fn passes(messages: &[Message], want: &str) {
    assert_eq!(tags(messages), want, "{}", raw::show(messages));
}

const SCHEMA: &str = "
    CREATE TABLE t (id int PRIMARY KEY, v int);
    CREATE TABLE child (t int REFERENCES t ON DELETE CASCADE);
    CREATE TABLE noted (v int);
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN INSERT INTO noted SELECT generate_series(1, 10); RETURN NULL; END $$;
    CREATE TABLE watched (v int);
    CREATE TRIGGER watch AFTER INSERT ON watched FOR EACH ROW EXECUTE FUNCTION note();
    CREATE TABLE late (v int);
    CREATE CONSTRAINT TRIGGER late AFTER INSERT ON late DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION note();
    INSERT INTO t SELECT n, n FROM generate_series(1, 20) n;
    INSERT INTO child SELECT 1 FROM generate_series(1, 50);
    GRANT ALL ON ALL TABLES IN SCHEMA public TO public";

fn counts(raw: &mut Raw) -> String {
    raw.value(
        "SELECT (SELECT count(*) FROM t) || ' ' || (SELECT count(*) FROM child) || ' ' || \
         (SELECT count(*) FROM noted) || ' ' || (SELECT count(*) FROM watched) || ' ' || \
         (SELECT count(*) FROM late) || ' ' || (SELECT sum(v) FROM t)",
    )
}

on_each_version! {
    fn too_many_changes_are_undone_in_every_protocol(server: Server) {
        let database = server.database();
        database.login().psql(SCHEMA);
        let gate = gate(&database, "      - write: public.*\n        if: changed > 5\n");
        let (mut raw, _) = gate.login();
        let before = counts(&mut raw);
        for sql in [
            "UPDATE t SET v = 0 WHERE id <= 6",
            "DELETE FROM t WHERE id = 1",
            "WITH d AS (DELETE FROM t WHERE id > 10 RETURNING 1) SELECT count(*) FROM d",
            "EXPLAIN ANALYZE DELETE FROM t WHERE id > 10",
            "INSERT INTO watched VALUES (1)",
            "INSERT INTO late VALUES (1)",
            "INSERT INTO t SELECT n, n FROM generate_series(21, 26) n",
            "INSERT INTO t SELECT n, n FROM generate_series(1, 6) n ON CONFLICT (id) DO UPDATE SET v = 0",
        ] {
            let replies = raw.query(sql);
            is_refused_with_rows(&replies, sql);
            raw.send(&extended(sql));
            let replies = raw.until_ready();
            is_refused_with_rows(&replies, sql);
            assert_eq!(counts(&mut raw), before, "{sql}");
        }
        // In a string with others it could not be told from them.
        let replies = raw.query("UPDATE t SET v = 0 WHERE id > 14; SELECT 1");
        assert_eq!(raw::error(&replies).sqlstate(), "0A000", "{}", raw::show(&replies));
        assert_eq!(counts(&mut raw), before);
        // Executed in part, which PostgreSQL runs whole.
        raw.send(&[
            raw::parse("", "DELETE FROM t WHERE id > 14 RETURNING id", &[]),
            raw::bind("", "", &[], &[], &[]),
            raw::execute("", 1),
            raw::sync(),
        ].concat());
        let replies = raw.until_ready();
        assert_eq!(raw::error(&replies).sqlstate(), "42501", "{}", raw::show(&replies));
        assert_eq!(counts(&mut raw), before);
        // Without a Sync, and with a COMMIT or a simple query in its place.
        let unsynced = [
            raw::parse("", "UPDATE t SET v = 0 WHERE id > 14", &[]),
            raw::bind("", "", &[], &[], &[]),
            raw::execute("", 0),
        ].concat();
        raw.send(&[unsynced.clone(), raw::parse("", "COMMIT", &[]), raw::bind("", "", &[], &[], &[]), raw::execute("", 0), raw::sync()].concat());
        raw.until_ready();
        assert_eq!(counts(&mut raw), before);
        raw.send(&[unsynced, raw::query("SELECT 1"), raw::sync()].concat());
        raw.until_ready();
        assert_eq!(counts(&mut raw), before);
        // COPY, in both, and executed by a name.
        let data = [raw::copy_data(b"1\n2\n3\n4\n5\n6\n"), raw::copy_done()].concat();
        let copy = [
            raw::parse("", "COPY noted FROM STDIN", &[]),
            raw::bind("", "", &[], &[], &[]),
            raw::execute("", 0),
        ].concat();
        for bytes in [
            [raw::query("COPY noted FROM STDIN"), data.clone()].concat(),
            [copy, data, raw::sync()].concat(),
        ] {
            raw.send(&bytes);
            is_refused(&raw.until_ready());
            assert_eq!(counts(&mut raw), before);
        }
        passes(&raw.query("PREPARE p AS DELETE FROM t WHERE id > $1"), "CZ");
        is_refused(&raw.query("EXECUTE p(14)"));
        raw.send(&extended("EXECUTE p(14)"));
        is_refused(&[raw.until_ready()].concat());
        raw.send(&[
            raw::bind("", "p", &[], &[Some(b"14")], &[]),
            raw::execute("", 0),
            raw::sync(),
        ].concat());
        is_refused(&raw.until_ready());
        assert_eq!(counts(&mut raw), before);
        // In a pipeline one refusal takes back what stands before it, and what follows is skipped.
        let one = |sql: &str| {
            [raw::parse("", sql, &[]), raw::bind("", "", &[], &[], &[]), raw::execute("", 0)].concat()
        };
        raw.send(&[
            one("UPDATE t SET v = 0 WHERE id > 16"),
            one("UPDATE t SET v = 0 WHERE id > 14"),
            one("UPDATE t SET v = 0 WHERE id > 18"),
            raw::sync(),
        ].concat());
        let replies = raw.until_ready();
        assert_eq!(tags(&replies), "12C12EZ", "{}", raw::show(&replies));
        assert_eq!(counts(&mut raw), before);
        // In a block it fails the block.
        raw.query("BEGIN");
        passes(&raw.query("UPDATE t SET v = 0 WHERE id > 16"), "CZ");
        let replies = raw.query("UPDATE t SET v = 0 WHERE id > 14");
        is_refused(&replies);
        assert_eq!(replies.last().unwrap().body, b"E");
        assert_eq!(raw::error(&raw.query("SELECT 1")).sqlstate(), "25P02");
        passes(&raw.query("COMMIT"), "CZ");
        assert_eq!(counts(&mut raw), before);
        // What is taken back in a block is no reason to refuse its end.
        raw.query("BEGIN; SAVEPOINT s");
        passes(&raw.query("INSERT INTO late VALUES (1)"), "CZ");
        passes(&raw.query("ROLLBACK TO s"), "CZ");
        passes(&raw.query("COMMIT"), "CZ");
        assert_eq!(counts(&mut raw), before);
    }

    fn as_many_changes_as_may_be_pass_as_if_nobody_counted(server: Server) {
        let database = server.database();
        database.login().psql(SCHEMA);
        let gate = gate(&database, "      - write: public.*\n        if: changed > 11\n");
        let (mut raw, _) = gate.login();
        passes(&raw.query("UPDATE t SET v = 0 WHERE id <= 11"), "CZ");
        passes(&raw.query("UPDATE t SET v = 0 WHERE id <= 2 RETURNING id"), "TDDCZ");
        passes(&raw.query("INSERT INTO watched VALUES (1)"), "CZ");
        passes(&raw.query("INSERT INTO late VALUES (1)"), "CZ");
        raw.send(&extended("UPDATE t SET v = 0 WHERE id <= 11"));
        passes(&raw.until_ready(), "12nCZ");
        raw.send(&extended("UPDATE t SET v = 0 WHERE id <= 2 RETURNING id"));
        passes(&raw.until_ready(), "12TDDCZ");
        let data = [raw::copy_data(b"1\n2\n"), raw::copy_done()].concat();
        raw.send(&[raw::query("COPY noted FROM STDIN"), data.clone()].concat());
        passes(&raw.until_ready(), "GCZ");
        raw.send(&[
            raw::parse("", "COPY noted FROM STDIN", &[]),
            raw::bind("", "", &[], &[], &[]),
            raw::execute("", 0),
            data,
            raw::sync(),
        ].concat());
        passes(&raw.until_ready(), "12GCZ");
        // In a transaction each statement has its own count.
        passes(&raw.query("BEGIN"), "CZ");
        for _ in 0..3 {
            passes(&raw.query("UPDATE t SET v = 0 WHERE id <= 11"), "CZ");
        }
        passes(&raw.query("COMMIT"), "CZ");
        // Errors are the server's own, with the place in the client's own text.
        let replies = raw.query("UPDATE t SET v = 1 / 0");
        assert_eq!(raw::error(&replies).sqlstate(), "22012");
        let direct = crate::setup::admin(&database).query("UPDATE t SET v = 'x'");
        let gated = raw.query("UPDATE t SET v = 'x'");
        assert_eq!(raw::error(&gated).field(b'P'), raw::error(&direct).field(b'P'));
    }

    fn what_is_deferred_counts_before_it_is_committed(server: Server) {
        let database = server.database();
        database.login().psql(SCHEMA);
        let gate = gate(&database, "      - write: public.*\n        if: changed > 5\n");
        let (mut raw, _) = gate.login();
        let before = counts(&mut raw);
        for commit in [raw::query("COMMIT"), extended("COMMIT"), raw::query("END")] {
            raw.query("BEGIN");
            passes(&raw.query("INSERT INTO late VALUES (1)"), "CZ");
            raw.send(&commit);
            let replies = raw.until_ready();
            assert_eq!(raw::error(&replies).sqlstate(), "42501", "{}", raw::show(&replies));
            raw.query("ROLLBACK");
            assert_eq!(counts(&mut raw), before);
        }
        let whole = raw.query("BEGIN; INSERT INTO late VALUES (1); COMMIT");
        assert_eq!(raw::error(&whole).sqlstate(), "0A000", "{}", raw::show(&whole));
        raw.query("ROLLBACK");
        assert_eq!(counts(&mut raw), before);
    }

    fn every_row_and_all_but_one(server: Server) {
        let database = server.database();
        database.login().psql(SCHEMA);
        let gate = gate(&database, "      - write, truncate: public.*\n        if: every row\n");
        let (mut raw, _) = gate.login();
        let before = counts(&mut raw);
        for sql in ["UPDATE t SET v = 0", "DELETE FROM t", "DELETE FROM child WHERE true"] {
            is_refused(&raw.query(sql));
            raw.send(&extended(sql));
            let replies = raw.until_ready();
            assert_eq!(raw::error(&replies).sqlstate(), "42501", "{sql}: {}", raw::show(&replies));
            assert_eq!(counts(&mut raw), before, "{sql}");
        }
        let replies = raw.query("TRUNCATE noted");
        assert_eq!(raw::error(&replies).sqlstate(), "42501", "{}", raw::show(&replies));
        passes(&raw.query("UPDATE t SET v = 0 WHERE id > 1"), "CZ");
        passes(&raw.query("DELETE FROM t WHERE id > 1"), "CZ");
        passes(&raw.query("DELETE FROM t"), "CZ");
    }

    fn what_the_planner_expects(server: Server) {
        let database = server.database();
        database.login().psql(SCHEMA);
        database.login().psql("INSERT INTO noted SELECT generate_series(1, 5000); ANALYZE");
        let gate = gate(
            &database,
            "      - read: public.noted\n        if: estimate > 1000\n      \
             - write: public.noted\n        if: estimate > 1000\n      \
             - read: public.t\n        if: cost > 1000\n",
        );
        let (mut raw, _) = gate.login();
        for sql in ["SELECT * FROM noted", "DELETE FROM noted", "SELECT * FROM t, noted a, noted b"] {
            is_refused(&raw.query(sql));
            raw.send(&extended(sql));
            let replies = raw.until_ready();
            assert_eq!(raw::error(&replies).sqlstate(), "42501", "{sql}: {}", raw::show(&replies));
        }
        passes(&raw.query("SELECT count(*) FROM noted"), "TDCZ");
        passes(&raw.query("SELECT v FROM noted LIMIT 1"), "TDCZ");
        // By the values of the parameters.
        let limited = |limit: &str| {
            [
                raw::parse("", "SELECT v FROM noted LIMIT $1", &[20]),
                raw::bind("", "", &[0], &[Some(limit.as_bytes())], &[]),
                raw::execute("", 0),
                raw::sync(),
            ]
            .concat()
        };
        raw.send(&limited("1"));
        passes(&raw.until_ready(), "12DCZ");
        raw.send(&limited("1001"));
        let replies = raw.until_ready();
        assert_eq!(raw::error(&replies).sqlstate(), "42501", "{}", raw::show(&replies));
        // In a transaction it is asked aside.
        raw.query("BEGIN");
        passes(&raw.query("SELECT count(*) FROM noted"), "TDCZ");
        is_refused(&raw.query("SELECT * FROM noted"));
        raw.query("ROLLBACK");
        // What can't be planned fails as it would have.
        assert_eq!(raw::error(&raw.query("SELECT v / 0 FROM noted LIMIT 1")).sqlstate(), "22012");
    }
}

/// Rows of RETURNING may have gone before it was counted; a tag has not.
#[track_caller]
fn is_refused_with_rows(messages: &[Message], sql: &str) {
    let error = raw::error(messages);
    assert_eq!(error.sqlstate(), "42501", "{sql}: {}", raw::show(messages));
    assert!(!tags(messages).contains('C'), "{sql}: {}", raw::show(messages));
    assert!(tags(messages).ends_with("EZ"), "{sql}: {}", raw::show(messages));
}
