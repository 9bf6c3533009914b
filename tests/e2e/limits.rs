//! Limits of a policy, each at its bound and one past it: what reaches the client, how it is cut,
//! and what is said. That nothing is cut silently, and that the stream stays in step, is looked at
//! message by message.

use std::time::{Duration, Instant};

use e2e::{Database, on_each_version};

use crate::raw::{self, Message, Raw};
use crate::setup::{self, Gate, Plan};

/// A policy that allows everything within `limits`.
fn policy(limits: &str) -> String {
    format!(
        "policies:\n  - name: bounded\n    who: \"*\"\n    to: \"*\"\n    \
         access: {{ window: 1h, approval: none }}\n    allow:\n      - everything: \"*\"\n    \
         limits: {{ {limits} }}"
    )
}

fn plan(database: &Database, limits: &str) -> Plan {
    Plan::gateway(database).top(&policy(limits))
}

fn gate(database: &Database, limits: &str) -> Gate {
    plan(database, limits).start()
}

fn tags(messages: &[Message]) -> String {
    messages.iter().map(|message| char::from(message.tag)).collect()
}

fn rows(messages: &[Message]) -> usize {
    messages.iter().filter(|message| matches!(message.tag, b'D' | b'd')).count()
}

/// One Sync's worth of extended protocol.
fn extended(sql: &str, rows_max: u32) -> Vec<u8> {
    [
        raw::parse("", sql, &[]),
        raw::bind("", "", &[], &[], &[]),
        raw::describe(b'P', ""),
        raw::execute("", rows_max),
        raw::sync(),
    ]
    .concat()
}

#[track_caller]
fn is_cut(messages: &[Message], rows_before: usize) {
    assert_eq!(rows(messages), rows_before, "{}", raw::show(messages));
    let error = raw::error(messages);
    assert_eq!(error.sqlstate(), "53400", "{}", error.show());
    assert_eq!(error.severity(), "ERROR");
    let detail = error.field(b'D').expect("a DETAIL");
    assert!(detail.contains("\"code\":\"limit\"") && detail.contains("bounded"), "{detail}");
    assert!(error.field(b'H').is_some(), "{}", error.show());
    let at = messages.iter().position(|message| message.tag == b'E').unwrap();
    assert_eq!(tags(&messages[at..]), "EZ", "{}", raw::show(messages));
}

#[track_caller]
fn is_whole(messages: &[Message], rows_in_all: usize) {
    assert_eq!(rows(messages), rows_in_all, "{}", raw::show(messages));
    assert!(!tags(messages).contains('E'), "{}", raw::show(messages));
}

on_each_version! {
    fn rows_of_a_statement_however_they_leave(server: Server) {
        let database = server.database();
        database.login().psql(
            "CREATE TABLE t (n int); GRANT ALL ON t TO public; INSERT INTO t SELECT generate_series(1, 11)",
        );
        let gate = gate(&database, "rows: 10 per statement");
        let (mut raw, _) = gate.login();
        for (ten, eleven) in [
            ("SELECT * FROM t WHERE n < 11", "SELECT * FROM t"),
            ("SELECT generate_series(1, 10)", "SELECT generate_series(1, 3000000)"),
            ("COPY (SELECT * FROM t WHERE n < 11) TO STDOUT", "COPY t TO STDOUT"),
            ("UPDATE t SET n = n WHERE n < 11 RETURNING n", "UPDATE t SET n = n RETURNING n"),
            ("VALUES (1)", "WITH d AS (DELETE FROM t RETURNING n) SELECT n FROM d"),
            ("TABLE t LIMIT 10", "EXPLAIN (ANALYZE, VERBOSE) SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 UNION ALL SELECT 5"),
        ] {
            let whole = raw.query(ten);
            assert!(!tags(&whole).contains('E'), "{ten}: {}", raw::show(&whole));
            raw.send(&extended(eleven, 0));
            is_cut(&raw.until_ready(), 10);
            if !eleven.contains("RETURNING") {
                is_cut(&raw.query(eleven), 10);
            }
            // The session lives on.
            assert_eq!(raw.value("SELECT 7"), "7");
        }
        // What was cut was taken back: a client that reads ERROR may rely on it.
        assert_eq!(raw.value("SELECT count(*) FROM t"), "11");
        // Where it can't be, that is said.
        let cut = raw.query("DELETE FROM t RETURNING n");
        is_cut(&cut, 10);
        assert!(raw::error(&cut).text().contains("what it changed stands"), "{}", raw::show(&cut));
        assert_eq!(raw.value("SELECT count(*) FROM t"), "0");
    }

    fn a_portal_in_parts_is_one_statement(server: Server) {
        let database = server.database();
        let gate = gate(&database, "rows: 10 per statement");
        let (mut raw, _) = gate.login();
        let open = [
            raw::parse("", "SELECT generate_series(1, 100)", &[]),
            raw::bind("p", "", &[], &[], &[]),
        ]
        .concat();
        let part = raw::execute("p", 5);
        raw.send(&[open.clone(), part.clone(), part.clone(), raw::sync()].concat());
        is_whole(&raw.until_ready(), 10);
        raw.send(&[raw::query("BEGIN")].concat());
        raw.until_ready();
        raw.send(&[open, part.clone(), raw::sync(), part.clone(), raw::sync()].concat());
        is_whole(&raw.until_ready(), 5);
        is_whole(&raw.until_ready(), 5);
        raw.send(&[part, raw::sync()].concat());
        is_cut(&raw.until_ready(), 0);
        assert_eq!(tags(&raw.query("ROLLBACK")), "CZ");
        // A FETCH is a statement of its own.
        raw.query("BEGIN; DECLARE c CURSOR FOR SELECT generate_series(1, 100)");
        is_whole(&raw.query("FETCH 10 FROM c"), 10);
        is_cut(&raw.query("FETCH 11 FROM c"), 10);
    }
}

#[test]
fn a_cut_fails_the_transaction_that_it_is_in() {
    let database = setup::database();
    database.login().psql("CREATE TABLE t (n int); GRANT ALL ON t TO public");
    let gate = gate(&database, "rows: 10 per statement");
    let (mut raw, _) = gate.login();
    raw.query("BEGIN");
    raw.query("INSERT INTO t VALUES (1)");
    let cut = raw.query("SELECT generate_series(1, 11)");
    is_cut(&cut, 10);
    assert_eq!(cut.last().unwrap().body, b"E", "the transaction has failed");
    assert_eq!(raw::error(&raw.query("SELECT 1")).sqlstate(), "25P02");
    raw.query("COMMIT");
    assert_eq!(raw.value("SELECT count(*) FROM t"), "0");
    // In a string nothing behind it is heard of.
    let cut = raw.query("SELECT 1; SELECT generate_series(1, 11); SELECT 2; SELECT 9");
    is_cut(&cut, 11);
    // In a pipeline it is skipped to the Sync.
    raw.send(
        &[
            raw::parse("", "SELECT generate_series(1, 11)", &[]),
            raw::bind("", "", &[], &[], &[]),
            raw::execute("", 0),
            raw::parse("", "INSERT INTO t VALUES (3)", &[]),
            raw::bind("", "", &[], &[], &[]),
            raw::execute("", 0),
            raw::sync(),
            extended("SELECT 5", 0),
        ]
        .concat(),
    );
    is_cut(&raw.until_ready(), 10);
    is_whole(&raw.until_ready(), 1);
    assert_eq!(raw.value("SELECT count(*) FROM t"), "0");
}

#[test]
fn bytes_to_the_byte() {
    let database = setup::database();
    // A row of one value of n bytes is a body of 6 + n.
    let gate = gate(&database, "bytes: 1000 per statement");
    let (mut raw, _) = gate.login();
    is_whole(&raw.query("SELECT repeat('x', 994)"), 1);
    is_cut(&raw.query("SELECT repeat('x', 995)"), 0);
    is_cut(&raw.query("SELECT repeat('x', 494) FROM generate_series(1, 3)"), 2);
    // One that is longer than any buffer.
    is_cut(&raw.query("SELECT repeat('x', 3000000) UNION ALL SELECT 'y'"), 0);
    is_whole(&raw.query("COPY (SELECT repeat('x', 999)) TO STDOUT"), 1);
    is_cut(&raw.query("COPY (SELECT repeat('x', 1000)) TO STDOUT"), 0);
    raw.send(&raw::function_call(1622, &[Some("x"), Some("995")]));
    let repeated = raw.until_ready();
    assert_eq!(tags(&repeated), "VZ", "{}", raw::show(&repeated));
    raw.send(&raw::function_call(1622, &[Some("x"), Some("1001")]));
    is_cut(&raw.until_ready(), 0);
}

#[test]
fn rows_of_a_session_begin_anew_with_the_next() {
    let database = setup::database();
    let gate = gate(&database, "rows: 10 per session");
    for _ in 0..2 {
        let (mut raw, _) = gate.login();
        is_whole(&raw.query("SELECT generate_series(1, 4)"), 4);
        is_whole(&raw.query("SELECT generate_series(1, 6)"), 6);
        is_cut(&raw.query("SELECT 1"), 0);
        assert_eq!(tags(&raw.query("SET application_name = 'x'")), "CSZ");
    }
}

/// The gateway is stopped, and another begins where it was.
#[test]
fn rows_of_an_hour_are_used_after_a_restart() {
    let database = setup::database();
    let mut gate = gate(&database, "rows: 10 per hour");
    let (mut raw, _) = gate.login();
    is_whole(&raw.query("SELECT generate_series(1, 7)"), 7);
    drop(raw);
    gate.process.signal("TERM");
    gate.process.wait_exit();
    gate.process.restart();
    let (mut raw, _) = gate.login();
    is_whole(&raw.query("SELECT generate_series(1, 3)"), 3);
    is_cut(&raw.query("SELECT 1"), 0);
}

/// Eight sessions at once get together what one would.
#[test]
fn rows_of_an_hour_are_shared_by_all_sessions() {
    let database = setup::database();
    let gate = gate(&database, "rows: 1000 per hour");
    let got: usize = std::thread::scope(|threads| {
        let sessions: Vec<_> = (0..8)
            .map(|_| {
                threads.spawn(|| {
                    let (mut raw, _) = gate.login();
                    let mut got = 0;
                    loop {
                        let replies = raw.query("SELECT generate_series(1, 17)");
                        got += rows(&replies);
                        if tags(&replies).contains('E') {
                            assert_eq!(raw::error(&replies).sqlstate(), "53400");
                            return got;
                        }
                    }
                })
            })
            .collect();
        sessions.into_iter().map(|session| session.join().unwrap()).sum()
    });
    assert_eq!(got, 1000);
    let (mut raw, _) = gate.login();
    let cut = raw.query("SELECT 1");
    is_cut(&cut, 0);
    let hint = raw::error(&cut).field(b'H').unwrap();
    assert!(hint.contains("Try again at 20"), "it says when: {hint}");
}

#[test]
fn statements_of_a_minute_in_both_protocols() {
    let database = setup::database();
    let gate = gate(&database, "statements: 5 per minute");
    let (mut raw, _) = gate.login();
    raw.query("SELECT 1");
    raw.query("SELECT 1; SELECT 2");
    raw.send(&extended("SELECT 1", 0));
    raw.until_ready();
    // A string of which not all may run does not run at all.
    let replies = raw.query("SELECT 1; SELECT 2");
    is_cut(&replies, 0);
    is_whole(&raw.query("SELECT 1"), 1);
    is_cut(&raw.query("SELECT 1"), 0);
    raw.send(&extended("SELECT 1", 0));
    let replies = raw.until_ready();
    assert_eq!(raw::error(&replies).sqlstate(), "53400");
    assert_eq!(rows(&replies), 0);
    // Another session of the same identity has the same budget.
    let (mut other, _) = gate.login();
    is_cut(&other.query("SELECT 1"), 0);
}

#[test]
fn sessions_at_once() {
    let database = setup::database();
    let gate = gate(&database, "sessions: 2");
    let (one, _) = gate.login();
    let (_two, _) = gate.login();
    let target = gate.target();
    let refused = || {
        Raw::refused(
            &target.address,
            &target.user,
            &target.password,
            &[("database", &target.database)],
        )
    };
    let refusal = refused();
    assert_eq!((refusal.severity().as_str(), refusal.sqlstate().as_str()), ("FATAL", "53400"));
    drop(one);
    setup::eventually("a place is free", || {
        let mut raw = Raw::connect(&target.address);
        raw.send(&raw::startup(raw::PROTOCOL_3_0, &target.user, &[("database", &target.database)]));
        raw.finish_login(&target.user, &target.password).is_ok()
    });
}

#[test]
fn running_at_once() {
    let database = setup::database();
    let gate = gate(&database, "running: 1");
    let (mut one, greeting) = gate.login();
    let (mut two, _) = gate.login();
    one.send(&raw::query("SELECT pg_sleep(300)"));
    setup::eventually("it sleeps", || setup::activity(&database, "wait_event = 'PgSleep'") == 1);
    let refused = two.query("SELECT 1");
    is_cut(&refused, 0);
    let mut canceller = Raw::connect(&gate.address());
    canceller.send(&raw::cancel(&greeting));
    assert_eq!(raw::error(&one.until_ready()).sqlstate(), "57014");
    is_whole(&two.query("SELECT 1"), 1);
    is_whole(&one.query("SELECT 1"), 1);
}

#[test]
fn the_time_of_a_statement() {
    let database = setup::database();
    let gate = gate(&database, "statement_time: 1s");
    let (mut raw, _) = gate.login();
    assert!(!tags(&raw.query("SELECT pg_sleep(0.5)")).contains('E'));
    for bytes in [raw::query("SELECT pg_sleep(300)"), extended("SELECT pg_sleep(300)", 0)] {
        let begins = Instant::now();
        raw.send(&bytes);
        let cut = raw.until_ready();
        is_cut(&cut, 0);
        let took = begins.elapsed();
        assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(20), "{took:?}");
        assert!(raw::error(&cut).text().contains("1 s"), "{}", raw::error(&cut).show());
    }
    // Each of a pipeline has its own second.
    let naps = ["SELECT pg_sleep(0.6)"; 3].map(|sql| extended(sql, 0)).concat();
    raw.send(&naps);
    for _ in 0..3 {
        assert!(!tags(&raw.until_ready()).contains('E'));
    }
    // Somebody else's cancel is said as PostgreSQL says it.
    assert_eq!(
        raw::error(&raw.query("SET statement_timeout = '100ms'; SELECT pg_sleep(1)")).sqlstate(),
        "57014"
    );
}

#[test]
fn idle_in_a_transaction() {
    let database = setup::database();
    let gate = gate(&database, "idle_in_transaction: 1s");
    let (mut raw, _) = gate.login();
    raw.query("BEGIN");
    raw.query("SELECT pg_sleep(1.2)");
    let begins = Instant::now();
    let words = raw.read().expect("its last words");
    assert!(begins.elapsed() >= Duration::from_millis(900), "{:?}", begins.elapsed());
    assert_eq!((words.severity().as_str(), words.sqlstate().as_str()), ("FATAL", "25P03"));
    assert_eq!(raw.read(), None);
    setup::eventually("its backend has gone", || setup::activity(&database, "true") == 0);
    // Outside of one it may be idle for as long as it likes.
    let (mut raw, _) = gate.login();
    raw.query("SELECT 1");
    // One that goes into a transaction later is ended, and it is still there.
    let (mut witness, _) = gate.login();
    witness.query("BEGIN");
    assert_eq!(witness.read().expect("its last words").sqlstate(), "25P03");
    assert_eq!(raw.value("SELECT 7"), "7");
    // A series without its Sync is one, too.
    raw.send(
        &[
            raw::parse("", "SELECT 1", &[]),
            raw::bind("", "", &[], &[], &[]),
            raw::execute("", 0),
            raw::flush(),
        ]
        .concat(),
    );
    loop {
        let message = raw.read().expect("its last words");
        if message.tag == b'E' {
            assert_eq!(message.sqlstate(), "25P03");
            break;
        }
    }
}

#[test]
fn other_limits_after_a_reload_and_what_is_used_stays_used() {
    let database = setup::database();
    let gate = gate(&database, "rows: 10 per session");
    let (mut raw, _) = gate.login();
    is_whole(&raw.query("SELECT generate_series(1, 8)"), 8);
    gate.reload(&plan(&database, "rows: 9 per session"));
    setup::eventually("the new limit holds", || {
        gate.log().contains("the configuration has been read again")
    });
    is_cut(&raw.query("SELECT generate_series(1, 3)"), 1);
}
