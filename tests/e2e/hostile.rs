//! Clients and servers that misbehave, break off or take their time: the gateway lives, keeps its
//! memory, disturbs nobody else and leaves nothing behind. Configured bounds and orderly ends are
//! judged in `lifecycle`.

use std::thread;
use std::time::{Duration, Instant};

use e2e::{Database, on_each_version};

use crate::raw::{self, Address, Raw};
use crate::setup::{self, Dice, Gate, Plan};

/// What one session may cost in memory, whatever passes through it: generous, and far below
/// what passes.
const GROWTH_KIB: u64 = 24 * 1024;

#[test]
fn silent_clients_block_nobody_and_are_cut_off() {
    let database = setup::database();
    let gate = Plan::gateway(&database).top("bounds: { login_timeout: 1s }").start();
    let startup =
        raw::startup(raw::PROTOCOL_3_0, setup::AGENT, &[("database", database.name.as_str())]);
    let began = Instant::now();
    let mut silent = Vec::new();
    for said in [
        &b""[..],
        &startup[..3],
        &startup[..startup.len() - 1],
        &raw::special(raw::SSL_REQUEST, &[]),
        &startup,
    ] {
        let mut raw = Raw::connect(&gate.address());
        raw.send(said);
        silent.push(raw);
    }
    for _ in 0..5 {
        assert_eq!(gate.login().0.value("SELECT 1"), "1");
    }
    for mut raw in silent {
        raw.read_to_end(raw::PATIENCE).expect("cut off");
    }
    assert!(began.elapsed() >= Duration::from_secs(1), "not before the deadline");
    // Who is logged in has no such deadline.
    let (mut raw, _) = gate.login();
    assert_eq!(raw.value("SELECT 'slept' FROM pg_sleep(1.2)"), "slept");
}

/// A byte now and then is not a sign of life.
#[test]
fn a_dripping_login_is_cut_off_too() {
    let database = setup::database();
    let gate = Plan::gateway(&database).top("bounds: { login_timeout: 1s }").start();
    let mut raw = Raw::connect(&gate.address());
    let startup = raw::startup(
        raw::PROTOCOL_3_0,
        setup::AGENT,
        &[("database", database.name.as_str()), ("application_name", &"x".repeat(9000))],
    );
    let mut bytes = startup.iter();
    e2e::wait_for("the end of its patience", || {
        let cut = bytes.next().is_none_or(|b| raw.try_send(&[*b]).is_err());
        let ended = raw.read_within(Duration::from_millis(20)).is_ok();
        (cut || ended).then_some(())
    });
    assert!(bytes.len() > 0, "the whole packet was awaited");
}

#[test]
fn absurd_lengths_before_the_login() {
    let database = setup::database();
    let gate = Plan::gateway(&database).start();
    for length in [0u32, 1, 3, 4, 7, 11_000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff] {
        let mut raw = Raw::connect(&gate.address());
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend(raw::PROTOCOL_3_0.to_be_bytes());
        bytes.extend([0; 64]);
        drop(raw.try_send(&bytes));
        ends(&mut raw, &format!("a start-up packet of {length} bytes"));
    }
    for length in [0u32, 3, 100_000, 0x7fff_ffff, 0xffff_ffff] {
        let mut raw = Raw::connect(&gate.address());
        raw.send(&raw::startup(
            raw::PROTOCOL_3_0,
            setup::AGENT,
            &[("database", database.name.as_str())],
        ));
        assert_eq!(raw.read().expect("a request").tag, b'R');
        let mut bytes = vec![b'p'];
        bytes.extend(length.to_be_bytes());
        bytes.extend([b'x'; 64]);
        drop(raw.try_send(&bytes));
        ends(&mut raw, &format!("a password message of {length} bytes"));
    }
    unharmed(&gate, &database);
}

/// PostgreSQL hangs up at these. What the gateway says first is its own affair.
#[test]
fn absurd_lengths_after_the_login() {
    let database = setup::database();
    let gate = Plan::gateway(&database).start();
    for tag in [b'Q', b'P', b'd', b'S', b'F'] {
        for length in [0u32, 3, 0x8000_0000, 0xffff_ffff] {
            let (mut raw, _) = gate.login();
            let mut bytes = vec![tag];
            bytes.extend(length.to_be_bytes());
            bytes.extend([b'x'; 64]);
            drop(raw.try_send(&bytes));
            ends(&mut raw, &format!("{} of {length} bytes", char::from(tag)));
        }
    }
    unharmed(&gate, &database);
}

/// A gigabyte promised, little given.
#[test]
fn a_long_message_that_never_comes() {
    let database = setup::database();
    let gate = Plan::gateway(&database).start();
    drop(gate.login());
    let before = gate.process.memory_kib("VmHWM");
    let mut waiting = Vec::new();
    for _ in 0..8 {
        let (mut raw, _) = gate.login();
        raw.send(&[&b"Q"[..], &0x3fff_ff00u32.to_be_bytes(), b"SELECT '"].concat());
        waiting.push(raw);
    }
    assert_eq!(gate.login().0.value("SELECT 1"), "1");
    assert_small(&gate, before);
    drop(waiting);
    unharmed(&gate, &database);
}

#[test]
fn garbage_before_and_after_the_login() {
    let database = setup::database();
    let gate = Plan::gateway(&database).start();
    for seed in 0..60 {
        let mut dice = Dice(seed);
        let length = 1 + dice.below(3000);
        let bytes: Vec<u8> = (0..length).map(|_| dice.next() as u8).collect();
        let mut raw = if seed % 2 == 0 { Raw::connect(&gate.address()) } else { gate.login().0 };
        drop(raw.try_send(&bytes));
        raw.half_close();
        raw.read_to_end(raw::PATIENCE).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    }
    unharmed(&gate, &database);
}

/// HTTP, TLS without asking, and the like: refused without a word that would mislead.
#[test]
fn another_protocol() {
    let database = setup::database();
    let gate = Plan::gateway(&database).tls(&database.server).start();
    for bytes in
        [&b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..], b"SSH-2.0-OpenSSH_9.2p1\r\n", &[0; 16]]
    {
        let mut raw = Raw::connect(&gate.address());
        raw.send(bytes);
        ends(&mut raw, &String::from_utf8_lossy(bytes));
    }
    // What follows SSLRequest is no handshake.
    let mut raw = Raw::connect(&gate.address());
    raw.send(&raw::special(raw::SSL_REQUEST, &[]));
    assert_eq!(raw.read_byte(), Some(b'S'));
    raw.send(b"this is not a ClientHello, whichever way it is read");
    let said = raw.read_to_end(raw::PATIENCE).expect("an end");
    assert!(said.is_empty() || said[0] == 0x15, "a TLS alert at most: {said:?}");
    unharmed(&gate, &database);
}

on_each_version! {
    fn a_server_killed_mid_row(server: Server) {
        let mut own = e2e::own_cluster(server.version);
        let database = own.server.database();
        for plan in [Plan::gateway(&database), Plan::observe(&database)] {
            let gate = plan.start();
            let target = setup::agent_or_role(&gate, &database);
            let (mut reading, _) = target.login();
            let (mut idle, _) = target.login();
            reading.send(&raw::query("SELECT repeat('x', 100000) FROM generate_series(1, 20000)"));
            assert_eq!(reading.read().expect("a description").tag, b'T');
            assert_eq!(reading.read().expect("a row").tag, b'D');
            own.cluster.kill9().expect("it was running");
            // Either an error or the end of the stream, wherever it was cut; what arrived is
            // whole messages and perhaps a piece of one.
            reading.read_to_end(raw::PATIENCE).expect("an end");
            idle.read_to_end(raw::PATIENCE).expect("an end");
            let mut raw = Raw::connect(&target.address);
            raw.send(&raw::startup(
                raw::PROTOCOL_3_0, &target.user, &[("database", target.database.as_str())],
            ));
            let refusal = raw.finish_login(&target.user, &target.password).expect_err("no server");
            assert!(refusal.sqlstate().starts_with("08"), "{}", refusal.show());
            own.cluster.restart().expect("it starts again");
            assert_eq!(target.login().0.value("SELECT 1"), "1");
        }
    }

    /// A client that is gone in the middle of anything, politely (FIN) or not (RST).
    fn a_client_that_vanishes(server: Server) {
        let database = server.database();
        database.login().psql(
            "CREATE TABLE sink (t text); CREATE TABLE locked (t text); \
             GRANT ALL ON sink, locked TO public",
        );
        for plan in [Plan::gateway(&database), Plan::observe(&database)] {
            let gate = plan.start();
            let target = setup::agent_or_role(&gate, &database);
            target.login().0.value("SELECT 1");
            setup::eventually("a quiet gateway", || setup::activity(&database, "true") == 0);
            let before = gate.process.descriptors();
            for reset in [false, true] {
                let mut gone = Vec::new();

                let (mut copying, _) = target.login();
                copying.send(&raw::query("COPY sink FROM STDIN"));
                assert_eq!(copying.read().expect("an answer").tag, b'G');
                copying.send(&raw::copy_data(b"a row\nand a ha"));
                gone.push(copying);

                let (mut sleeping, _) = target.login();
                sleeping.send(&raw::query("SELECT pg_sleep(300)"));
                gone.push(sleeping);

                let (mut in_transaction, _) = target.login();
                in_transaction.query("BEGIN; LOCK TABLE locked");
                gone.push(in_transaction);

                let (mut reading, _) = target.login();
                reading.small_receive_buffer();
                reading.send(&raw::query(
                    "SELECT repeat('x', 100000) FROM generate_series(1, 20000)",
                ));
                assert_eq!(reading.read().expect("a description").tag, b'T');
                gone.push(reading);

                let (mut halfway, _) = target.login();
                halfway.send(&raw::query("SELECT 1")[..7]);
                gone.push(halfway);

                setup::eventually("it sleeps", || {
                    setup::activity(&database, "wait_event = 'PgSleep'") == 1
                });
                assert_eq!(setup::activity(&database, "true"), 5);
                for raw in gone {
                    if reset {
                        raw.reset_when_dropped();
                    }
                    drop(raw);
                }
                setup::eventually("no session is left in pg_stat_activity", || {
                    setup::activity(&database, "true") == 0
                });
                setup::eventually("no descriptor is left in /proc", || {
                    gate.process.descriptors() <= before
                });
                assert_eq!(database.login().psql("SELECT count(*) FROM sink"), "0");
            }
            assert_eq!(target.login().0.value("SELECT 1"), "1");
        }
    }

    /// Bind, Execute and Sync, 33,334 times, then without Sync between.
    fn a_hundred_thousand_pipelined_messages(server: Server) {
        let database = server.database();
        let gate = Plan::gateway(&database).start();
        let (mut raw, _) = gate.login();
        let before = after_work(&gate);
        raw.send(&[raw::parse("s", "SELECT $1::int4", &[]), raw::sync()].concat());
        raw.until_ready();
        for synced in [true, false] {
            let count = if synced { 33_334u32 } else { 50_000 };
            let mut sender = raw.sender();
            let sending = thread::spawn(move || {
                let mut bytes = Vec::new();
                for n in 0..count {
                    bytes.extend(raw::bind("", "s", &[1], &[Some(&n.to_be_bytes())], &[1]));
                    bytes.extend(raw::execute("", 0));
                    if synced || n + 1 == count {
                        bytes.extend(raw::sync());
                    }
                }
                sender.send(&bytes);
            });
            for n in 0..count {
                let mut tags = vec![b'2', b'D', b'C'];
                if synced || n + 1 == count {
                    tags.push(b'Z');
                }
                for tag in tags {
                    let message = raw.read().expect("an answer");
                    assert_eq!(message.tag, tag, "{n}: {}", message.show());
                    if tag == b'D' {
                        assert_eq!(message.body[6..], n.to_be_bytes());
                    }
                }
            }
            sending.join().expect("all sent");
        }
        assert_eq!(raw.value("SELECT 'done'"), "done");
        assert_small(&gate, before);
    }
}

/// Answers pile up at a client that sends a hundred thousand messages before it reads one: the
/// sockets fill, and nothing else.
#[test]
fn a_hundred_thousand_messages_before_the_first_is_read() {
    let database = setup::database();
    let gate = Plan::gateway(&database).start();
    let (mut raw, _) = gate.login();
    let before = after_work(&gate);
    let mut sender = raw.sender();
    let sending = thread::spawn(move || {
        let one = raw::query("SELECT repeat('x', 2000)");
        for _ in 0..100 {
            sender.send(&one.repeat(1000));
        }
    });
    setup::eventually("the server waits for the client to read", || {
        setup::activity(&database, "wait_event = 'ClientWrite'") == 1
    });
    assert_small(&gate, before);
    assert_eq!(gate.login().0.value("SELECT 'others go on'"), "others go on");
    for n in 0..100_000 {
        for tag in *b"TDCZ" {
            assert_eq!(raw.read().expect("an answer").tag, tag, "{n}");
        }
    }
    sending.join().expect("all sent");
    assert_small(&gate, before);
}

/// 64 MB, or a whole gigabyte with GATEPOST_LONG, in both directions.
#[test]
fn a_huge_field_passes_without_being_held() {
    let size: usize = if setup::long() { 0x3fff_0000 } else { 64 << 20 };
    let database = setup::database();
    for plan in [Plan::gateway(&database), Plan::observe(&database)] {
        let gate = plan.start();
        let (mut raw, _) = setup::agent_or_role(&gate, &database).login();
        let before = gate.process.memory_kib("VmHWM");

        raw.send(&raw::query(&format!("SELECT repeat('x', {size})")));
        assert_eq!(raw.read().expect("a description").tag, b'T');
        assert_eq!(raw.skip_message(), (b'D', size + 6));
        assert_eq!(raw.until_ready().len(), 2);
        assert_small(&gate, before);

        // As a COPY row out, and as a parameter in.
        raw.send(&raw::query(&format!("COPY (SELECT repeat('x', {size})) TO STDOUT")));
        assert_eq!(raw.read().expect("a response").tag, b'H');
        assert_eq!(raw.skip_message(), (b'd', size + 1));
        assert_eq!(raw.until_ready().len(), 3);

        // PostgreSQL doubles what it gets, so half of it.
        let value = vec![b'y'; size / 2];
        let mut bytes = raw::parse("", "SELECT length($1::text)", &[]);
        bytes.extend(raw::bind("", "", &[], &[Some(&value)], &[]));
        bytes.extend(raw::execute("", 0));
        bytes.extend(raw::sync());
        raw.send(&bytes);
        let replies = raw.until_ready();
        let row = replies.iter().find(|m| m.tag == b'D').expect("a row");
        assert_eq!(row.columns(), [Some((size / 2).to_string())]);
        assert_small(&gate, before);
    }
}

/// Five who read nothing of 200 MB each, and others who notice nothing of it.
#[test]
fn slow_readers_cost_no_memory_and_slow_nobody() {
    let database = setup::database();
    let gate = Plan::gateway(&database).start();
    let (mut busy, _) = gate.login();
    busy.value("SELECT 1");
    let before = gate.process.memory_kib("VmHWM");
    let mut slow: Vec<Raw> = (0..5)
        .map(|_| {
            let (mut raw, _) = gate.login();
            raw.send(&raw::query("SELECT g, repeat('x', 10000) FROM generate_series(1, 20000) g"));
            raw
        })
        .collect();
    setup::eventually("the servers wait for their readers", || {
        setup::activity(&database, "wait_event = 'ClientWrite'") == 5
    });
    for n in 0..500 {
        assert_eq!(busy.value(&format!("SELECT {n}")), n.to_string());
    }
    assert_eq!(setup::activity(&database, "wait_event = 'ClientWrite'"), 5);
    assert_small(&gate, before);
    // And what they are sent is all there once they read.
    let mut one = slow.pop().expect("five");
    drop(slow);
    assert_eq!(one.until_ready().len(), 20_003);
    assert_small(&gate, before);
}

/// A server that doesn't read (a long statement runs) while its client goes on sending.
#[test]
fn a_slow_server_pushes_back() {
    let database = setup::database();
    let gate = Plan::gateway(&database).start();
    let (mut raw, greeting) = gate.login();
    let before = after_work(&gate);
    let mut sender = raw.sender();
    sender.send(&raw::query("SELECT pg_sleep(300)"));
    let sending = thread::spawn(move || {
        let one = raw::query(&format!("SELECT length('{}')", "y".repeat(1 << 20)));
        for _ in 0..100 {
            sender.send(&one);
        }
    });
    setup::eventually("it sleeps", || setup::activity(&database, "wait_event = 'PgSleep'") == 1);
    for n in 0..200 {
        assert_eq!(gate.login().0.value(&format!("SELECT {n}")), n.to_string());
    }
    assert_small(&gate, before);
    // The cancel has to pass although the session's own way is stopped up.
    let mut cancel = Raw::connect(&gate.address());
    cancel.send(&raw::cancel(&greeting));
    assert_eq!(raw::error(&raw.until_ready()).sqlstate(), "57014");
    // PostgreSQL signals a backend and its process group, one after the other, so that now and
    // then one cancel hits a statement behind as well. (Directly, 1 in 10 times.)
    let mut hit = 0;
    for n in 0..100 {
        let replies = raw.until_ready();
        if replies.len() == 2 && hit == 0 {
            assert_eq!(raw::error(&replies).sqlstate(), "57014");
            hit = n + 1;
            continue;
        }
        assert_eq!(replies.len(), 4, "{n}, after {hit}: {}", raw::show(&replies));
    }
    sending.join().expect("all sent");
    assert_small(&gate, before);
}

/// Terminate is no vanishing: what was sent before it is done, though nobody waits for the answer.
#[test]
fn what_precedes_terminate_is_done() {
    let database = setup::database();
    database.login().psql("CREATE TABLE done (n int); GRANT ALL ON done TO public");
    let gate = Plan::gateway(&database).start();
    for n in 1..=20 {
        let (mut raw, _) = gate.login();
        let insert = format!("INSERT INTO done SELECT {n} FROM pg_sleep(0.05)");
        raw.send(&[raw::query(&insert), raw::terminate()].concat());
    }
    setup::eventually("all sessions ended", || setup::activity(&database, "true") == 0);
    assert_eq!(database.login().psql("SELECT count(*) FROM done"), "20");
}

fn ends(raw: &mut Raw, what: &str) {
    let said = raw.read_to_end(raw::PATIENCE).unwrap_or_else(|e| panic!("{what}: {e}"));
    // At most one message of farewell.
    assert!(said.is_empty() || said[0] == b'E', "{what}: {:?}", String::from_utf8_lossy(&said));
}

/// Still there, still serving, nothing left over at the server.
fn unharmed(gate: &Gate, database: &Database) {
    let address: Address = gate.address();
    let (mut raw, _) = Raw::login(&address, setup::AGENT, &gate.token, &database.name);
    assert_eq!(raw.value("SELECT 1"), "1");
    drop(raw);
    setup::eventually("no session is left", || setup::activity(database, "true") == 0);
}

/// The memory of a gateway that has recorded as much before, a batch at a time: the buffers of its
/// journal, which are there once for all sessions, have grown to what they ever need.
fn after_work(gate: &Gate) -> u64 {
    let (mut raw, _) = gate.login();
    let batch = raw::query("SELECT 1").repeat(2_000);
    for _ in 0..50 {
        raw.send(&batch);
        for _ in 0..2_000 {
            raw.until_ready();
        }
    }
    gate.process.memory_kib("VmHWM")
}

fn assert_small(gate: &Gate, before: u64) {
    let now = gate.process.memory_kib("VmHWM");
    assert!(now <= before + GROWTH_KIB, "the gateway grew from {before} to {now} KiB");
}
