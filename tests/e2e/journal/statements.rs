//! Every statement has its record: whichever way it comes in, in order, with what came of it.

use e2e::Role;

use super::records::{self, ended, is, login, story};
use crate::raw::{self, Message, Raw};
use crate::setup::{self, Mode, Plan, Target};

/// Plays one session and compares its attempts and outcomes with `expected`.
#[track_caller]
fn check(play: impl FnOnce(&mut Raw), expected: &[&str]) {
    let database = setup::database();
    database.login().psql(
        "CREATE TABLE t (i int, s text); GRANT ALL ON t TO public; \
         INSERT INTO t SELECT i, 'row ' || i FROM generate_series(1, 5) i",
    );
    let gate = Plan::gateway(&database).start();
    let mut raw = login(&gate, "played");
    play(&mut raw);
    let session = ended(&gate, raw, "played");
    assert_eq!(story(&session), expected);
    let count = session.last().unwrap()["statements"].as_u64();
    assert_eq!(count, Some(expected.len() as u64), "statements that the session's end counts");
    records::verify(&records::directory(&gate), &[]).unwrap();
}

#[test]
fn simple_queries() {
    check(
        |raw| {
            raw.query("SELECT i FROM t ORDER BY i");
            raw.query("UPDATE t SET s = 'x' WHERE i < 3");
            raw.query("SELECT 1 / 0");
            raw.query("SELEC 1");
            raw.query("");
            raw.query("  -- a remark");
            raw.query("SELECT 'Grüße', '\u{1F600}', $$a\nb\t\"c\"\\$$");
        },
        &[
            "1 query SELECT i FROM t ORDER BY i => SELECT 5, 5 rows",
            "2 query UPDATE t SET s = 'x' WHERE i < 3 => UPDATE 2",
            "3 query SELECT 1 / 0 => 22012",
            "4 query SELEC 1 => 42601",
            "5 query  => done",
            "6 query   -- a remark => done",
            "7 query SELECT 'Grüße', '\u{1F600}', $$a\nb\t\"c\"\\$$ => SELECT 1, 1 rows",
        ],
    );
}

/// Comments are part of what was sent; tools put there who sent it, and why.
#[test]
fn comments_of_a_statement() {
    check(
        |raw| {
            raw.query("/* before */ SELECT 1 /* behind: traceparent='00-5' */");
        },
        &["1 query /* before */ SELECT 1 /* behind: traceparent='00-5' */ => SELECT 1, 1 rows"],
    );
}

#[test]
fn several_statements_in_a_string() {
    check(
        |raw| {
            raw.query("SELECT 1; INSERT INTO t VALUES (6); ; SELECT 'a;b' -- ;\n;");
            raw.query("INSERT INTO t VALUES (7); SELECT 1 / 0; DELETE FROM t; SELECT 3");
            raw.query("SELECT 1; SELECT FROM nowhere; SELECT 2");
            // A syntax error anywhere: PostgreSQL runs none of it.
            raw.query("DELETE FROM t; SELEC 1");
        },
        &[
            "1 query SELECT 1 => SELECT 1, 1 rows",
            "2 query INSERT INTO t VALUES (6) => INSERT 0 1",
            "3 query SELECT 'a;b' -- ; => SELECT 1, 1 rows",
            "4 query INSERT INTO t VALUES (7) => INSERT 0 1",
            "5 query SELECT 1 / 0 => 22012",
            "6 query DELETE FROM t => not run",
            "7 query SELECT 3 => not run",
            "8 query SELECT 1 => SELECT 1, 1 rows",
            "9 query SELECT FROM nowhere => 42P01",
            "10 query SELECT 2 => not run",
            "11 query DELETE FROM t => 42601",
            "12 query SELEC 1 => not run",
        ],
    );
}

#[test]
fn extended_with_parameters() {
    check(
        |raw| {
            let insert = "INSERT INTO t VALUES ($1, $2)";
            raw.send(
                &[
                    raw::parse("", insert, &[23, 25]),
                    raw::bind("", "", &[], &[Some(b"11"), Some("é".as_bytes())], &[]),
                    raw::describe(b'P', ""),
                    raw::execute("", 0),
                    raw::sync(),
                ]
                .concat(),
            );
            raw.until_ready();
            raw.send(
                &[
                    raw::parse("", insert, &[23, 25]),
                    raw::bind("", "", &[1, 0], &[Some(&12i32.to_be_bytes()), None], &[]),
                    raw::execute("", 0),
                    raw::sync(),
                ]
                .concat(),
            );
            raw.until_ready();
            raw.send(
                &[
                    raw::parse("", "SELECT $1::float8, $2::bytea, $3::bool", &[701, 17, 16]),
                    raw::bind(
                        "",
                        "",
                        &[1],
                        &[Some(&0.5f64.to_be_bytes()), Some(b"\0\x01"), Some(&[1])],
                        &[],
                    ),
                    raw::execute("", 0),
                    raw::sync(),
                ]
                .concat(),
            );
            raw.until_ready();
        },
        &[
            "1 execute INSERT INTO t VALUES ($1, $2) (int4 11, text é) => INSERT 0 1",
            "2 execute INSERT INTO t VALUES ($1, $2) (int4 12, text NULL) => INSERT 0 1",
            "3 execute SELECT $1::float8, $2::bytea, $3::bool \
             (float8 0.5, bytea base64 AAE=, bool t) => SELECT 1, 1 rows",
        ],
    );
}

/// The bound is 4096 bytes. What is large may come in pieces, of which the last one runs it.
#[test]
fn long_values_are_cut_and_said_to_be() {
    let database = setup::database();
    let gate = Plan::gateway(&database).start();
    for (bytes, shown) in [(4096, "text 4096"), (4097, "text 4096 bytes cut from 4097")] {
        let application = format!("{bytes} bytes");
        let mut raw = login(&gate, &application);
        let value = "x".repeat(bytes);
        raw.send(
            &[
                raw::parse("", "SELECT length($1)", &[25]),
                raw::bind("", "", &[], &[Some(value.as_bytes())], &[]),
                raw::execute("", 0),
                raw::sync(),
            ]
            .concat(),
        );
        raw.until_ready();
        let story = story(&ended(&gate, raw, &application));
        let last = story.last().unwrap().replace(&value, "4096");
        let expected = format!("execute SELECT length($1) ({shown}) => SELECT 1, 1 rows");
        assert!(last.ends_with(&expected), "{last}");
    }
}

/// What drivers do: prepare, let the server say the types, execute again and again.
#[test]
fn prepared_statements_and_names_that_are_used_again() {
    check(
        |raw| {
            let prepare = |raw: &mut Raw, sql: &str| {
                raw.send(
                    &[raw::parse("s", sql, &[]), raw::describe(b'S', "s"), raw::sync()].concat(),
                );
                raw.until_ready();
            };
            let execute = |raw: &mut Raw, value: &[u8], format| {
                raw.send(
                    &[
                        raw::bind("", "s", &[format], &[Some(value)], &[]),
                        raw::execute("", 0),
                        raw::sync(),
                    ]
                    .concat(),
                );
                raw.until_ready();
            };
            prepare(raw, "SELECT $1::int8 + 1");
            execute(raw, &41i64.to_be_bytes(), 1);
            execute(raw, b"1", 0);
            execute(raw, b"one", 0);
            // The name stays what it is when the server refuses to give it a second meaning.
            prepare(raw, "SELECT $1 || 'again'");
            execute(raw, b"2", 0);
            raw.send(&[raw::close(b'S', "s"), raw::sync()].concat());
            raw.until_ready();
            prepare(raw, "SELECT $1 || 'again'");
            execute(raw, b"3", 0);
            // A session that runs into an unknown name.
            raw.send(&[raw::close(b'S', "s"), raw::sync()].concat());
            raw.until_ready();
            execute(raw, b"4", 0);
        },
        &[
            "1 parse name=s SELECT $1::int8 + 1",
            "2 execute name=s SELECT $1::int8 + 1 (int8 41) => SELECT 1, 1 rows",
            "3 execute name=s SELECT $1::int8 + 1 (int8 1) => SELECT 1, 1 rows",
            "4 execute name=s SELECT $1::int8 + 1 (int8 one) => 22P02",
            "5 parse name=s SELECT $1 || 'again' => 42P05",
            "6 execute name=s SELECT $1::int8 + 1 (int8 2) => SELECT 1, 1 rows",
            "7 parse name=s SELECT $1 || 'again'",
            "8 execute name=s SELECT $1 || 'again' (text 3) => SELECT 1, 1 rows",
            "9 execute name=s (unspecified secret) => 26000",
        ],
    );
}

#[test]
fn a_pipeline_with_an_error_in_the_middle() {
    check(
        |raw| {
            let one = |sql: &str| {
                [raw::parse("", sql, &[]), raw::bind("", "", &[], &[], &[]), raw::execute("", 0)]
                    .concat()
            };
            raw.send(
                &[
                    one("INSERT INTO t VALUES (21)"),
                    one("SELECT 1 / (i - i) FROM t"),
                    one("INSERT INTO t VALUES (22)"),
                    raw::parse("never", "SELECT 4", &[]),
                    raw::sync(),
                    one("INSERT INTO t VALUES (23)"),
                    raw::sync(),
                ]
                .concat(),
            );
            raw.until_ready();
            raw.until_ready();
            assert_eq!(raw.value("SELECT string_agg(i::text, ' ') FROM t WHERE i > 20"), "23");
        },
        &[
            "1 execute INSERT INTO t VALUES (21) => INSERT 0 1",
            "2 execute SELECT 1 / (i - i) FROM t => 22012",
            "3 execute INSERT INTO t VALUES (22) => skipped",
            "4 parse name=never SELECT 4 => skipped",
            "5 execute INSERT INTO t VALUES (23) => INSERT 0 1",
            "6 query SELECT string_agg(i::text, ' ') FROM t WHERE i > 20 => SELECT 1, 1 rows",
        ],
    );
}

/// Longer than what is kept account of at once.
#[test]
fn a_pipeline_of_thousands_with_an_error_in_the_middle() {
    let database = setup::database();
    database.login().psql("CREATE TABLE t (i int); GRANT ALL ON t TO public");
    let gate = Plan::gateway(&database).start();
    let mut raw = login(&gate, "thousands");
    raw.send(&[raw::parse("s", "INSERT INTO t VALUES (1 / $1)", &[23]), raw::sync()].concat());
    raw.until_ready();
    let mut messages = Vec::new();
    for i in 0..6000 {
        let value: &[u8] = if i == 4000 { b"0" } else { b"1" };
        messages.extend(raw::bind("", "s", &[], &[Some(value)], &[]));
        messages.extend(raw::execute("", 0));
    }
    let mut sender = raw.sender();
    let sent = std::thread::spawn(move || sender.send(&[messages, raw::sync()].concat()));
    raw.until_ready();
    sent.join().unwrap();
    let story = story(&ended(&gate, raw, "thousands"));
    let mut at = 0;
    for line in &story {
        // A batch may end between Bind and Execute: then the Bind has its own attempt.
        if !line.contains(" execute ") {
            assert!(line.contains(" bind ") || line.contains(" parse "), "{line}");
            continue;
        }
        let expected = match at {
            ..4000 => "=> INSERT 0 1",
            4000 => "=> 22012",
            _ => "=> skipped",
        };
        assert!(line.ends_with(expected), "{at}: {line}");
        at += 1;
    }
    assert_eq!(at, 6000);
}

/// An error before anything runs has one outcome, not one for each message of the statement.
#[test]
fn a_statement_that_fails_at_parse_or_bind() {
    check(
        |raw| {
            for (sql, value) in [("SELEC $1", "1"), ("SELECT $1::int4", "one")] {
                raw.send(
                    &[
                        raw::parse("", sql, &[]),
                        raw::bind("", "", &[], &[Some(value.as_bytes())], &[]),
                        raw::execute("", 0),
                        raw::sync(),
                    ]
                    .concat(),
                );
                raw.until_ready();
            }
        },
        &[
            "1 execute SELEC $1 (unspecified 1) => 42601",
            "2 execute SELECT $1::int4 (unspecified one) => 22P02",
        ],
    );
}

#[test]
fn partial_execute_reads_in_steps() {
    check(
        |raw| {
            raw.send(
                &[
                    raw::parse("", "SELECT i FROM t ORDER BY i", &[]),
                    raw::bind("p", "", &[], &[], &[]),
                    raw::execute("p", 2),
                    raw::execute("p", 2),
                    raw::execute("p", 2),
                    raw::sync(),
                ]
                .concat(),
            );
            raw.until_ready();
        },
        &[
            "1 execute portal=p SELECT i FROM t ORDER BY i => suspended, 2 rows",
            "2 execute portal=p SELECT i FROM t ORDER BY i => suspended, 2 rows",
            "3 execute portal=p SELECT i FROM t ORDER BY i => SELECT 1, 1 rows",
        ],
    );
}

/// Planning runs code, so what is never executed is recorded too.
#[test]
fn parse_and_bind_without_execute() {
    check(
        |raw| {
            raw.send(
                &[raw::parse("p", "SELECT i FROM t WHERE i = $1", &[23]), raw::sync()].concat(),
            );
            raw.until_ready();
            raw.send(&[raw::bind("", "p", &[], &[Some(b"7")], &[]), raw::sync()].concat());
            raw.until_ready();
            raw.send(
                &[
                    raw::parse("", "SELECT 8", &[]),
                    raw::bind("", "", &[], &[], &[]),
                    raw::sync(),
                    raw::query("SELECT 9"),
                ]
                .concat(),
            );
            raw.until_ready();
            raw.until_ready();
            // In the order in which they were sent, whatever is recorded when.
            raw.send(
                &[
                    raw::parse("q", "SELECT 10", &[]),
                    raw::parse("", "SELECT 11", &[]),
                    raw::bind("", "", &[], &[], &[]),
                    raw::execute("", 0),
                    raw::sync(),
                ]
                .concat(),
            );
            raw.until_ready();
        },
        &[
            "1 parse name=p SELECT i FROM t WHERE i = $1",
            "2 bind name=p SELECT i FROM t WHERE i = $1 (int4 7)",
            "3 bind SELECT 8",
            "4 query SELECT 9 => SELECT 1, 1 rows",
            "5 parse name=q SELECT 10",
            "6 execute SELECT 11 => SELECT 1, 1 rows",
        ],
    );
}

#[test]
fn copy_in_and_out() {
    let database = setup::database();
    database.login().psql("CREATE TABLE t (i int); GRANT ALL ON t TO public");
    let gate = Plan::gateway(&database).start();
    let mut raw = login(&gate, "copies");
    raw.send(&raw::query("COPY t FROM STDIN; SELECT 'between'; COPY t TO STDOUT"));
    assert_eq!(raw.read().map(|m| m.tag), Some(b'G'));
    raw.send(&[raw::copy_data(b"1\n2\n"), raw::copy_data(b"3\n"), raw::copy_done()].concat());
    raw.until_ready();
    for (data, end) in [("not a number\n", raw::copy_done()), ("4\n", raw::copy_fail("enough"))] {
        raw.send(&raw::query("COPY t FROM STDIN"));
        assert_eq!(raw.read().map(|m| m.tag), Some(b'G'));
        raw.send(&[raw::copy_data(data.as_bytes()), end].concat());
        raw.until_ready();
    }
    let session = ended(&gate, raw, "copies");
    assert_eq!(
        story(&session),
        [
            "1 query COPY t FROM STDIN => COPY 3",
            "2 query SELECT 'between' => SELECT 1, 1 rows",
            "3 query COPY t TO STDOUT => COPY 3, 3 rows",
            "4 query COPY t FROM STDIN => 22P02",
            "5 query COPY t FROM STDIN => 57014",
        ]
    );
    let bytes: Vec<Option<u64>> = session
        .iter()
        .filter(|record| is(record, "outcome"))
        .map(|record| record["bytes"].as_u64())
        .collect();
    assert_eq!((bytes[0], bytes[2]), (Some(6), Some(6)), "bytes of COPY in and out");
}

#[test]
fn function_calls() {
    check(
        |raw| {
            // int4pl, and one that fails.
            raw.send(&raw::function_call(177, &[Some("20"), Some("22")]));
            raw.until_ready();
            raw.send(&raw::function_call(154, &[Some("1"), Some("0")]));
            raw.until_ready();
        },
        &[
            "1 function name=177 (unspecified secret, unspecified secret) => done",
            "2 function name=154 (unspecified secret, unspecified secret) => 22012",
        ],
    );
}

/// SQL's own PREPARE shares names with the protocol's.
#[test]
fn sql_prepare_and_execute() {
    check(
        |raw| {
            raw.query("PREPARE q (int) AS INSERT INTO t VALUES ($1)");
            raw.query("EXECUTE q (31)");
            raw.send(
                &[raw::bind("", "q", &[], &[Some(b"32")], &[]), raw::execute("", 0), raw::sync()]
                    .concat(),
            );
            raw.until_ready();
            raw.query("DEALLOCATE q");
            raw.query("EXECUTE q (33)");
        },
        &[
            "1 query PREPARE q (int) AS INSERT INTO t VALUES ($1) => PREPARE",
            "2 query EXECUTE q (31) => INSERT 0 1",
            // What q is stands in an earlier record; what may be a secret in it nobody knows.
            "3 execute name=q (unspecified secret) => INSERT 0 1",
            "4 query DEALLOCATE q => DEALLOCATE",
            "5 query EXECUTE q (33) => 26000",
        ],
    );
}

#[test]
fn transactions_as_the_server_saw_them() {
    check(
        |raw| {
            for sql in ["BEGIN", "INSERT INTO t VALUES (41)", "SELECT 1 / 0", "SELECT 1", "COMMIT"]
            {
                raw.query(sql);
            }
            for sql in ["BEGIN", "INSERT INTO t VALUES (42)", "COMMIT"] {
                raw.query(sql);
            }
        },
        &[
            "1 query BEGIN => BEGIN",
            "2 query INSERT INTO t VALUES (41) => INSERT 0 1",
            "3 query SELECT 1 / 0 => 22012",
            "4 query SELECT 1 => 25P02",
            "5 query COMMIT => ROLLBACK",
            "6 query BEGIN => BEGIN",
            "7 query INSERT INTO t VALUES (42) => INSERT 0 1",
            "8 query COMMIT => COMMIT",
        ],
    );
}

/// A real driver, with a pipeline and prepared statements of its own making.
#[test]
fn what_psycopg_does() {
    let database = setup::database();
    let gate = Plan::gateway(&database).start();
    let script = r#"
import psycopg, sys
with psycopg.connect(sys.argv[1] + " application_name=driver", prepare_threshold=2) as c:
    for i in range(4):
        c.execute("SELECT %s::int + 1", (i,)).fetchone()
    with c.pipeline():
        for i in range(3):
            c.execute("SELECT %s::text", (f"p{i}",))
    c.execute("SELECT %b::int", (2**20,)).fetchone()
"#;
    let conninfo = gate.client(&database).conninfo();
    let output = std::process::Command::new(e2e::python())
        .args(["-c", script, &conninfo])
        .output()
        .expect("python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let session = records::session(&gate, "driver");
    let values: Vec<String> = session
        .iter()
        .filter(|r| is(r, "statement") && r["kind"] == "execute")
        .flat_map(|r| r["parameters"].as_array().cloned().unwrap_or_default())
        .map(|p| p["value"].as_str().expect("a value that could be read").to_owned())
        .collect();
    assert_eq!(values, ["0", "1", "2", "3", "p0", "p1", "p2", "1048576"]);
    // Everything that was executed has come to an end in the journal.
    for attempt in session.iter().filter(|r| is(r, "statement") && r["kind"] != "parse") {
        let outcome = session.iter().find(|r| is(r, "outcome") && r["id"] == attempt["id"]);
        let outcome = outcome.unwrap_or_else(|| panic!("no outcome of {attempt}"));
        assert!(outcome["tag"].is_string(), "{outcome}");
    }
}

#[test]
fn sessions_begin_and_end_and_refused_logins_are_recorded() {
    let database = setup::database();
    let gate = Plan::gateway(&database).start();
    let target = gate.target();
    let (raw, greeting) = Raw::login_with(
        &target.address,
        &target.user,
        &target.password,
        &[("database", &target.database), ("application_name", "whole")],
    );
    let session = ended(&gate, raw, "whole");
    let begins = &session[0];
    assert!(is(begins, "session_begins"));
    assert_eq!(begins["backend"].as_u64(), Some(u64::from(greeting.pid)));
    assert_eq!(begins["login"], "scram");
    for record in &session {
        assert_eq!(record["v"], 1);
        assert_eq!(record["node"], "gatepost");
        assert_eq!(record["identity"]["subject"], setup::AGENT);
        assert_eq!(record["connection"], database.name.as_str());
        assert_eq!(record["role"], Role::Scram.name());
        assert!(records::text(record, "client").starts_with("127.0.0.1"), "{record}");
        assert_eq!(record["application"], "whole");
    }

    // A session that the client leaves without a word, and one that the database ends.
    let left = login(&gate, "left");
    drop(left);
    assert!(is(records::session(&gate, "left").last().unwrap(), "session_ends"));
    let mut killed = login(&gate, "killed");
    killed.query("SELECT pg_terminate_backend(pg_backend_pid())");
    let session = records::session(&gate, "killed");
    assert_eq!(
        story(&session),
        ["1 query SELECT pg_terminate_backend(pg_backend_pid()) => 57P01, 1 rows"]
    );

    // A wrong secret, an unknown name, an unknown database.
    let wrong = |user: &str, password: &str, database: &str| -> Message {
        let parameters = [("database", database), ("application_name", "intruder")];
        Raw::refused(&gate.address(), user, password, &parameters)
    };
    wrong(setup::AGENT, "gp_wrong", &database.name);
    wrong("nobody", &gate.token, &database.name);
    wrong(setup::AGENT, &gate.token, "elsewhere");
    let all = records::all(&records::directory(&gate));
    let refused = records::of_event(&all, "login_refused");
    let told: Vec<_> =
        refused.iter().map(|r| (&r["user"], &r["database"], &r["sqlstate"])).collect();
    let own = database.name.as_str();
    assert_eq!(
        format!("{told:?}"),
        format!(
            "{:?}",
            [
                (&setup::AGENT.into(), &own.into(), &"28P01".into()),
                (&"nobody".into(), &own.into(), &"28P01".into()),
                (&setup::AGENT.into(), &"elsewhere".into(), &"3D000".into()),
            ] as [(&serde_json::Value, &serde_json::Value, &serde_json::Value); 3]
        )
    );
    // Where somebody was proven to be who they say, the record has the identity.
    assert!(refused[0]["identity"].is_null() && refused[1]["identity"].is_null());
    for record in refused {
        assert!(records::text(record, "client").starts_with("127.0.0.1"), "{record}");
        assert!(record["session"].is_null(), "{record}");
    }
}

#[test]
fn a_cancel_is_recorded_with_whom_it_hit() {
    let database = setup::database();
    let gate = Plan::gateway(&database).start();
    let target = gate.target();
    let (mut raw, greeting) = Raw::login_with(
        &target.address,
        &target.user,
        &target.password,
        &[("database", &target.database), ("application_name", "cancelled")],
    );
    raw.send(&raw::query("SELECT pg_sleep(60)"));
    setup::eventually("the statement to run", || {
        setup::activity(&database, "query = 'SELECT pg_sleep(60)' AND state = 'active'") == 1
    });
    let mut stranger = greeting.clone();
    stranger.key[0] ^= 1;
    for key in [&stranger, &greeting] {
        let mut cancel = Raw::connect(&gate.address());
        cancel.send(&raw::cancel(key));
        assert_eq!(cancel.read(), None);
    }
    let replies = raw.until_ready();
    assert_eq!(raw::error(&replies).sqlstate(), "57014");
    let session = ended(&gate, raw, "cancelled");
    assert_eq!(story(&session), ["1 query SELECT pg_sleep(60) => 57014"]);

    let all = records::all(&records::directory(&gate));
    let cancels = records::of_event(&all, "cancel");
    assert_eq!(cancels.len(), 2);
    assert!(cancels[0]["target"].is_null() && cancels[0]["served"] == false, "{}", cancels[0]);
    assert_eq!(cancels[1]["target"], session[0]["session"]);
    assert_eq!(cancels[1]["served"], true);
    // It stands before what it did.
    let outcome = session.iter().find(|record| is(record, "outcome")).unwrap();
    assert!(records::number(cancels[1], "n") < records::number(outcome, "n"));
}

/// Where the client logs in at the database itself, everything is recorded all the same.
#[test]
fn observe_mode_records_alike() {
    let database = setup::database();
    let (target, gate) = setup::gate(&database, Mode::Observe);
    let gate = gate.unwrap();
    let mut raw = records::login_at(&target, "observed");
    raw.query("SELECT 1; SELECT 2");
    raw.send(
        &[
            raw::parse("", "SELECT $1::int4", &[]),
            raw::bind("", "", &[], &[Some(b"3")], &[]),
            raw::execute("", 0),
            raw::sync(),
        ]
        .concat(),
    );
    raw.until_ready();
    let session = ended(&gate, raw, "observed");
    assert_eq!(
        story(&session),
        [
            "1 query SELECT 1 => SELECT 1, 1 rows",
            "2 query SELECT 2 => SELECT 1, 1 rows",
            "3 execute SELECT $1::int4 (unspecified 3) => SELECT 1, 1 rows",
        ]
    );
    assert_eq!(session[0]["login"], "database");
    assert_eq!(session[0]["role"], target.user.as_str());

    let wrong = Target { password: "wrong".to_owned(), ..target };
    Raw::refused(&wrong.address, &wrong.user, &wrong.password, &[("database", &wrong.database)]);
    let all = records::all(&records::directory(&gate));
    let refused = records::of_event(&all, "login_refused");
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0]["user"], Role::Scram.name());
    assert_eq!(refused[0]["sqlstate"], "28P01");
}

/// A statement's text is looked at up to 16 MiB. One that is longer runs, and is recorded by its
/// length and hash.
#[test]
fn a_statement_longer_than_the_bound() {
    let database = setup::database();
    let gate = Plan::gateway(&database).start();
    let mut raw = login(&gate, "long");
    let statement = |bytes: usize| {
        let mut text = String::from("SELECT length('");
        text.push_str(&"x".repeat(bytes - text.len() - 2));
        text + "')"
    };
    // The body of a Query is the text and a zero. What is at hand beyond the bound is taken too,
    // so what is longer has to be longer by more than one read.
    for (bytes, is_withheld) in [((16 << 20) - 1, false), (40 << 20, true)] {
        raw.query(&statement(bytes));
        let seen = e2e::wait_for("its record", || {
            let all = records::all(&records::directory(&gate));
            let statements = records::of_event(&all, "statement");
            let index = usize::from(is_withheld);
            statements
                .get(index)
                .map(|r| (r["text"].is_null(), r["text_withheld"]["bytes"].as_u64()))
        });
        let length = is_withheld.then_some(bytes as u64 + 1);
        assert_eq!(seen, (is_withheld, length));
    }
}

/// The server keeps 63 bytes of a name, so the second Parse is of the statement that the Bind runs.
#[test]
fn names_that_begin_alike_are_one() {
    let name = "x".repeat(63);
    let [one, other] = ["a", "b"].map(|end| name.clone() + end);
    check(
        |raw| {
            raw.send(
                &[
                    raw::parse(&one, "SELECT 1", &[]),
                    raw::close(b'S', &other),
                    raw::parse(&other, "SELECT 2", &[]),
                    raw::bind("", &one, &[], &[], &[]),
                    raw::execute("", 0),
                    raw::sync(),
                ]
                .concat(),
            );
            raw.until_ready();
        },
        &[
            &format!("1 parse name={name} SELECT 1"),
            &format!("2 execute name={name} SELECT 2 => SELECT 1, 1 rows"),
        ],
    );
}
