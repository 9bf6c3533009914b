//! Bounds, and the ends of sessions and of the process: each bound at its value and one past it,
//! idle sessions, the drain at SIGTERM, the reload at SIGHUP, and what tells an operator how the
//! gateway does. Hostile clients are judged in `hostile`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::raw::{self, Message, Raw};
use crate::setup::{self, Gate, Plan};

#[test]
fn sessions_at_the_bound_and_one_past_it() {
    let database = setup::database();
    let gate = Plan::gateway(&database).top("bounds: { sessions: 3 }").start();
    let tokens: Vec<_> = ["a", "b", "c", "d"].map(|n| (n, gate.process.token(n))).into();
    let login = |n: usize| {
        let (name, token) = &tokens[n];
        Raw::login(&gate.address(), name, token, &database.name).0
    };
    let mut open: Vec<Raw> = (0..3).map(login).collect();
    let (name, token) = &tokens[3];
    let refusal =
        Raw::refused(&gate.address(), name, token, &[("database", database.name.as_str())]);
    assert_eq!((refusal.severity(), refusal.sqlstate()), ("FATAL".into(), "53300".into()));
    for raw in &mut open {
        assert_eq!(raw.value("SELECT 1"), "1");
    }
    drop(open.pop());
    eventually_lets_in(&gate, name, token);
}

#[test]
fn sessions_per_identity_at_the_bound_and_one_past_it() {
    let database = setup::database();
    let gate = Plan::gateway(&database).top("bounds: { sessions_per_identity: 2 }").start();
    let mut open = vec![gate.login().0, gate.login().0];
    let refusal = refused(&gate);
    assert_eq!((refusal.severity(), refusal.sqlstate()), ("FATAL".into(), "53300".into()));
    // A second token is the same identity, another identity has a count of its own.
    let second = gate.process.token(setup::AGENT);
    let parameters = [("database", database.name.as_str())];
    let refusal = Raw::refused(&gate.address(), setup::AGENT, &second, &parameters);
    assert_eq!(refusal.sqlstate(), "53300");
    let other = gate.process.token("other");
    let (mut raw, _) = Raw::login(&gate.address(), "other", &other, &database.name);
    assert_eq!(raw.value("SELECT 1"), "1");
    drop(open.pop());
    eventually_lets_in(&gate, setup::AGENT, &gate.token);
}

/// Failed logins are not sessions: they give their place back.
#[test]
fn refused_logins_use_up_no_session() {
    let database = setup::database();
    let gate = Plan::gateway(&database)
        .top("bounds: { sessions: 1, sessions_per_identity: 1, logins: 2 }")
        .start();
    let parameters = [("database", database.name.as_str())];
    for _ in 0..10 {
        let refusal = Raw::refused(&gate.address(), setup::AGENT, "gp_wrong", &parameters);
        assert_eq!(refusal.sqlstate(), "28P01");
    }
    assert_eq!(gate.login().0.value("SELECT 1"), "1");
}

#[test]
fn logins_at_the_bound_and_one_past_it() {
    let database = setup::database();
    let gate = Plan::gateway(&database).top("bounds: { logins: 3 }").start();
    let (mut inside, _) = gate.login();
    // Two that say nothing, and a third place in which everybody can still log in.
    let silent = [Raw::connect(&gate.address()), Raw::connect(&gate.address())];
    eventually_lets_in(&gate, setup::AGENT, &gate.token);
    // A third one, and nobody can; who is inside doesn't notice.
    let third = Raw::connect(&gate.address());
    let mut past = Raw::connect(&gate.address());
    past.send(&raw::startup(
        raw::PROTOCOL_3_0,
        setup::AGENT,
        &[("database", database.name.as_str())],
    ));
    let said = past.read_to_end(raw::PATIENCE).expect("turned away at once");
    assert!(said.is_empty() || said[0] == b'E', "{:?}", String::from_utf8_lossy(&said));
    assert_eq!(inside.value("SELECT 1"), "1");
    drop(third);
    eventually_lets_in(&gate, setup::AGENT, &gate.token);
    drop(silent);
}

/// The length as the packet itself states it.
#[test]
fn login_message_bytes_at_the_bound_and_past_it() {
    let database = setup::database();
    let gate = Plan::gateway(&database).top("bounds: { login_message_bytes: 2000 }").start();
    let packet = |length: usize| {
        let parameters = |name: &str| {
            raw::startup(
                raw::PROTOCOL_3_0,
                setup::AGENT,
                &[("database", database.name.as_str()), ("application_name", name)],
            )
        };
        let packet = parameters(&"x".repeat(length - parameters("").len()));
        assert_eq!(packet.len(), length);
        packet
    };
    let mut raw = Raw::connect(&gate.address());
    raw.send(&packet(2000));
    raw.finish_login(setup::AGENT, &gate.token).expect("at the bound");
    // PostgreSQL doesn't count the four bytes of the length itself, so they are left open here.
    let mut raw = Raw::connect(&gate.address());
    raw.send(&packet(2005));
    let said = raw.read_to_end(raw::PATIENCE).expect("turned away");
    assert!(said.is_empty() || said[0] == b'E', "{:?}", String::from_utf8_lossy(&said));
}

#[test]
fn an_idle_session_is_ended_and_a_busy_one_is_not() {
    let database = setup::database();
    let gate = Plan::gateway(&database).top("bounds: { idle_timeout: 1s }").start();
    let (mut idle, _) = gate.login();
    let (mut in_transaction, _) = gate.login();
    in_transaction.query("BEGIN");
    let (mut busy, _) = gate.login();
    let began = Instant::now();
    assert_eq!(busy.value("SELECT 'slept' FROM pg_sleep(2.5)"), "slept");
    assert!(began.elapsed() > Duration::from_secs(2));
    for raw in [&mut idle, &mut in_transaction] {
        let farewell = raw.read().expect("a farewell");
        assert_eq!((farewell.severity(), farewell.sqlstate()), ("FATAL".into(), "57P05".into()));
        assert_eq!(raw.read(), None);
    }
    assert_eq!(busy.value("SELECT 'still there'"), "still there");
    let farewell = busy.read().expect("a farewell, once it is idle too");
    assert_eq!(farewell.sqlstate(), "57P05");
    setup::eventually("no session is left", || setup::activity(&database, "true") == 0);
}

#[test]
fn sigterm_ends_the_idle_and_lets_the_running_finish() {
    let database = setup::database();
    let mut gate = Plan::gateway(&database).start();
    let (mut idle, _) = gate.login();
    let (mut in_transaction, _) = gate.login();
    in_transaction.query("BEGIN");
    let (mut running, _) = gate.login();
    running.send(&raw::query("SELECT 'finished' FROM pg_sleep(2)"));
    setup::eventually("it runs", || setup::activity(&database, "wait_event = 'PgSleep'") == 1);
    gate.process.signal("TERM");

    assert_farewell(&mut idle);
    // An open transaction is not a running statement: nobody knows whether it will go on.
    assert_farewell(&mut in_transaction);
    // Nobody new, while the statement still runs.
    assert_eq!(setup::activity(&database, "wait_event = 'PgSleep'"), 1);
    if let Ok(mut late) = Raw::try_connect(&gate.address()) {
        drop(late.try_send(&raw::startup(
            raw::PROTOCOL_3_0,
            setup::AGENT,
            &[("database", database.name.as_str())],
        )));
        let said = late.read_to_end(raw::PATIENCE).expect("turned away");
        assert!(said.is_empty() || said[0] == b'E', "{:?}", String::from_utf8_lossy(&said));
    }

    let replies = running.until_ready();
    let tags: Vec<u8> = replies.iter().map(|m| m.tag).collect();
    assert_eq!(tags, b"TDCZ", "the statement completes: {}", raw::show(&replies));
    assert_farewell(&mut running);
    let status = gate.process.wait_exit();
    assert_eq!(status.code(), Some(0), "{status}");
    setup::eventually("no session is left", || setup::activity(&database, "true") == 0);
}

#[test]
fn what_runs_past_the_drain_timeout_is_ended() {
    let database = setup::database();
    let mut gate = Plan::gateway(&database).top("bounds: { drain_timeout: 1s }").start();
    let (mut running, _) = gate.login();
    running.send(&raw::query("SELECT pg_sleep(300)"));
    setup::eventually("it runs", || setup::activity(&database, "wait_event = 'PgSleep'") == 1);
    gate.process.signal("TERM");
    let said = running.read_to_end(raw::PATIENCE).expect("the end");
    let text = String::from_utf8_lossy(&said);
    assert!(text.contains("57P01") || text.contains("57014"), "{text}");
    let status = gate.process.wait_exit();
    assert_eq!(status.code(), Some(0), "{status}");
    setup::eventually("no session is left", || setup::activity(&database, "true") == 0);
}

/// COPY is a running statement whose end the client decides.
#[test]
fn a_copy_may_finish_while_draining() {
    let database = setup::database();
    database.login().psql("CREATE TABLE sink (t text); GRANT ALL ON sink TO public");
    let mut gate = Plan::gateway(&database).start();
    let (mut idle, _) = gate.login();
    let (mut copying, _) = gate.login();
    copying.send(&raw::query("COPY sink FROM STDIN"));
    assert_eq!(copying.read().expect("an answer").tag, b'G');
    gate.process.signal("TERM");
    assert_farewell(&mut idle);
    copying.send(&raw::copy_data(b"a row\n"));
    copying.send(&raw::copy_done());
    let replies = copying.until_ready();
    assert_eq!(replies.len(), 2, "{}", raw::show(&replies));
    assert_farewell(&mut copying);
    assert_eq!(gate.process.wait_exit().code(), Some(0));
    assert_eq!(database.login().psql("SELECT * FROM sink"), "a row");
}

#[test]
fn sighup_brings_a_new_connection() {
    let (one, two) = (setup::database(), setup::database());
    let plan = Plan::gateway(&one);
    let gate = plan.start();
    let (mut before, _) = gate.login();
    let parameters = [("database", two.name.as_str())];
    let refusal = Raw::refused(&gate.address(), setup::AGENT, &gate.token, &parameters);
    assert_eq!(refusal.sqlstate(), "3D000");

    gate.reload(&plan.clone().and(&Plan::gateway(&two)));
    setup::eventually("the new connection", || {
        let mut raw = Raw::connect(&gate.address());
        raw.send(&raw::startup(raw::PROTOCOL_3_0, setup::AGENT, &parameters));
        raw.finish_login(setup::AGENT, &gate.token).is_ok()
    });
    assert_eq!(before.value("SELECT 'goes on'"), "goes on");
    assert_eq!(gate.login().0.value("SELECT current_database()"), one.name);

    // And away again: who is inside stays.
    let target = setup::Target { database: two.name.clone(), ..gate.target() };
    let (mut inside, _) = target.login();
    gate.reload(&plan);
    setup::eventually("the connection is gone", || {
        let mut raw = Raw::connect(&gate.address());
        raw.send(&raw::startup(raw::PROTOCOL_3_0, setup::AGENT, &parameters));
        raw.finish_login(setup::AGENT, &gate.token).is_err()
    });
    assert_eq!(inside.value("SELECT current_database()"), two.name);
}

#[test]
fn a_broken_file_changes_nothing_and_is_told_where() {
    let database = setup::database();
    let plan = Plan::gateway(&database);
    let mut gate = plan.start();
    let (mut before, _) = gate.login();
    let broken = plan.clone().connection("adress: nowhere");
    let line =
        gate.reload(&broken).lines().position(|l| l.contains("adress")).expect("the line") + 1;
    gate.process.wait_for_log(&format!("gatepost.yaml:{line}:"));
    let log = gate.log();
    assert!(log.contains("adress"), "{log}");
    assert_eq!(before.value("SELECT 1"), "1");
    assert_eq!(gate.login().0.value("SELECT 1"), "1");
    // A file that reads well but names what is not there is no better.
    gate.reload(&plan.clone().top("tls: { certificate: missing.crt, key: missing.key }"));
    gate.process.wait_for_log("missing.crt");
    assert_eq!(gate.login().0.value("SELECT 1"), "1");
    assert!(gate.process.is_running());
}

#[test]
fn health_and_metrics() {
    let database = setup::database();
    let gate = Plan::gateway(&database).start();
    let (mut raw, _) = gate.login();
    raw.value("SELECT 1");
    let parameters = [("database", database.name.as_str())];
    Raw::refused(&gate.address(), setup::AGENT, "gp_wrong", &parameters);

    let (status, _) = get(gate.process.http(), "/healthz");
    assert_eq!(status, 200);
    let (status, metrics) = get(gate.process.http(), "/metrics");
    assert_eq!(status, 200);
    assert!(metrics.lines().any(|l| l.starts_with("# TYPE ")), "{metrics}");
    for secret in [gate.token.as_str(), e2e::ROLE_PASSWORD, setup::AGENT] {
        assert!(!metrics.contains(secret), "{secret} in {metrics}");
    }
    assert_eq!(get(gate.process.http(), "/no-such-page").0, 404);
    promtool_accepts(&metrics);
}

fn promtool_accepts(metrics: &str) {
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| {
            panic!("promtool is missing ({e}): `apt-get install prometheus`, or run this by `cargo xtask test`")
        });
    child.stdin.take().expect("a pipe").write_all(metrics.as_bytes()).expect("promtool reads");
    let output = child.wait_with_output().expect("promtool ends");
    assert!(
        output.status.success(),
        "{}{}\n{metrics}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

pub fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("HTTP");
    stream.set_read_timeout(Some(raw::PATIENCE)).expect("a timeout");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status, body.to_owned())
}

fn refused(gate: &Gate) -> Message {
    let target = gate.target();
    let parameters = [("database", target.database.as_str())];
    Raw::refused(&target.address, &target.user, &target.password, &parameters)
}

fn eventually_lets_in(gate: &Gate, user: &str, token: &str) {
    let target = gate.target();
    setup::eventually("a login succeeds", || {
        let mut raw = Raw::connect(&target.address);
        let parameters = [("database", target.database.as_str())];
        // A connection that is turned away may be closed before it has sent.
        raw.try_send(&raw::startup(raw::PROTOCOL_3_0, user, &parameters)).is_ok()
            && raw.try_finish_login(user, token).is_some_and(|outcome| outcome.is_ok())
    });
}

fn assert_farewell(raw: &mut Raw) {
    let farewell = raw.read().expect("a farewell");
    assert_eq!((farewell.severity(), farewell.sqlstate()), ("FATAL".into(), "57P01".into()));
    assert_eq!(raw.read(), None);
}
