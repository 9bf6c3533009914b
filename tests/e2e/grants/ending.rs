//! The end: whatever a session does then, it is over, and what comes next asks anew.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use e2e::on_each_version;

use super::{Asking, SOON, Stand, asks, detail, last_words, opens};
use crate::raw::{self, Raw};

/// A session's end, whatever it was told before; nothing of it goes on in the database.
#[track_caller]
fn ends(stand: &Stand, mut raw: Raw, code: &str) {
    let last = last_words(&mut raw);
    assert_eq!(
        (last.sqlstate(), last.severity()),
        ("57P01".into(), "FATAL".into()),
        "{}",
        last.show()
    );
    assert_eq!(detail(&last)["code"], code, "{}", last.show());
    assert!(last.field(b'H').is_some());
    crate::setup::eventually("the backend to go", || {
        crate::setup::activity(&stand.database, "application_name <> 'gatepost catalog'") == 0
    });
}

on_each_version! {
    fn a_session_ends_with_its_grant_whatever_it_does(server: Server) {
        let more = "    limits: { hold_wait: 2s }\n";
        let policies = opens("items", "window: 3s", more);
        let stand = Stand::new(&server, &policies);
        type Doing = (&'static str, fn(&mut Raw));
        let doing: [Doing; 6] = [
            ("nothing", |_| {}),
            ("a long query", |raw| raw.send(&raw::query("SELECT count(*) FROM generate_series(1, 100000000000)"))),
            ("a long query of many rows", |raw| {
                raw.small_receive_buffer();
                raw.send(&raw::query("SELECT generate_series(1, 1000000000)"));
            }),
            ("an open transaction", |raw| {
                raw.query("BEGIN");
                raw.query("INSERT INTO notes VALUES (1, 'x')");
            }),
            ("a COPY that reads", |raw| {
                raw.send(&raw::query("COPY notes FROM STDIN"));
                assert_eq!(raw.read().unwrap().tag, b'G');
                raw.send(&raw::copy_data(b"1\tx\n"));
            }),
            ("half a message", |raw| raw.send(b"Q\0\0\0\x20SELECT")),
        ];
        for (what, act) in doing {
            let begun = Instant::now();
            let (mut raw, _) = stand.gate.login();
            act(&mut raw);
            if what == "a long query of many rows" {
                // A client that doesn't even read them has no place for words, and no more time.
                crate::setup::eventually("the backend to go", || {
                    crate::setup::activity(&stand.database, "application_name <> 'gatepost catalog'") == 0
                });
                continue;
            }
            let mut told = false;
            let last = loop {
                let message = raw.read().unwrap_or_else(|| panic!("{what}: no words"));
                if message.tag == b'N' {
                    told = true;
                    assert_eq!(detail(&message)["code"], "window_ends", "{what}");
                }
                if message.tag == b'E' && message.severity() == "FATAL" {
                    break message;
                }
            };
            assert_eq!(detail(&last)["code"], "window_over", "{what}: {}", last.show());
            assert_eq!(last.sqlstate(), "57P01", "{what}");
            assert_eq!(raw.read(), None, "{what}");
            assert!(begun.elapsed() > Duration::from_secs(1), "{what}");
            assert!(told || what != "nothing", "{what}: a notice before the end");
            crate::setup::eventually("the backend to go", || {
                crate::setup::activity(&stand.database, "application_name <> 'gatepost catalog'") == 0
            });
        }
        assert_eq!(stand.database.login().psql("SELECT count(*) FROM notes"), "0");
    }

    /// Whether it runs something, or is in the midst of reading: the words come at the end, and not
    /// when the server has noticed.
    fn who_listens_hears_of_the_end_at_once(server: Server) {
        let policies = opens("items", "window: 3s", "");
        let stand = Stand::new(&server, &policies);
        for sql in [
            "SELECT count(*) FROM generate_series(1, 100000000000)",
            "SELECT g, repeat('x', 1000) FROM generate_series(1, 1000000000) g",
            "SELECT repeat('x', 100000) FROM generate_series(1, 10000000)",
        ] {
            let (mut raw, _) = stand.gate.login();
            let grant = stand.people().grants().pop().unwrap();
            raw.send(&raw::query(sql));
            let last = last_words(&mut raw);
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
            assert_eq!(last.tag, b'E', "{sql}: {}", last.show());
            assert_eq!(detail(&last)["code"], "window_over", "{sql}: {}", last.show());
            let late = i64::try_from(now).unwrap() - grant.ends_at;
            // The gateway counts from before it has asked the store, a row may have to be finished, and
            // machines are busy.
            assert!((-1000..3000).contains(&late), "{sql}: {late} ms");
        }
    }

    fn a_session_of_an_observed_database_ends_with_its_grant(server: Server) {
        let stand = Stand::observing(&server, "window: 3s");
        let target = crate::setup::agent_or_role(&stand.gate, &stand.database);
        let (mut raw, _) = target.login();
        assert_eq!(raw.value("SELECT count(*) FROM items"), "5");
        raw.send(&raw::query("SELECT count(*) FROM generate_series(1, 100000000000)"));
        ends(&stand, raw, "window_over");
        let (mut raw, _) = target.login();
        let people = stand.people();
        people.revoke(&people.grants().pop().unwrap().id, "no more");
        let last = last_words(&mut raw);
        assert_eq!(detail(&last)["code"], "revoked", "{}", last.show());
    }

    fn the_next_attempt_asks_anew(server: Server) {
        let policies = asks("items", "window: 2s", "    limits: { hold_wait: 1s }\n");
        let stand = Stand::new(&server, &policies);
        let people = stand.people();
        assert_eq!(stand.asking("").err().unwrap().sqlstate(), "ZP002");
        let first = people.pending().id;
        people.approve(&first);
        let (raw, _) = stand.asking("").unwrap();
        ends(&stand, raw, "window_over");
        assert_eq!(stand.asking("").err().unwrap().sqlstate(), "ZP002");
        assert_ne!(people.pending().id, first);
    }

    fn a_statement_that_comes_after_the_end_does_not_run(server: Server) {
        let stand = Stand::new(&server, &opens("items", "window: 2s", ""));
        let (mut raw, _) = stand.gate.login();
        let mut sent = 0;
        let end = Instant::now() + SOON;
        // As fast as it can, over the end and beyond.
        while Instant::now() < end {
            if raw.try_send(&raw::query("INSERT INTO notes VALUES (1, clock_timestamp()::text)")).is_err() {
                break;
            }
            sent += 1;
            let Some(reply) = raw.read() else { break };
            if reply.tag == b'E' {
                break;
            }
            if reply.tag != b'Z' {
                while raw.read().is_some_and(|message| message.tag != b'Z') {}
            }
        }
        assert!(sent > 1);
        let grant = "SELECT coalesce(max(what::timestamptz), now()) FROM notes";
        let last = stand.database.login().psql(&format!("SELECT extract(epoch FROM ({grant})) * 1000"));
        let journal = stand.people();
        let over: Vec<_> = journal.all_grants();
        let ends_at = over.iter().map(|grant| grant.ends_at).max().unwrap();
        let last: f64 = last.parse().unwrap();
        assert!(last <= ends_at as f64 + 50.0, "{last} is after {ends_at}");
    }

    fn what_is_taken_away_is_gone_within_a_second(server: Server) {
        let stand = Stand::new(&server, &opens("items", "window: 1h", ""));
        let (mut raw, _) = stand.gate.login();
        let (mut busy, _) = stand.gate.login();
        assert_eq!(raw.value("SELECT count(*) FROM items"), "5");
        busy.send(&raw::query("SELECT count(*) FROM generate_series(1, 100000000000)"));
        let people = stand.people();
        let grant = people.grants().pop().unwrap();
        people.revoke(&grant.id, "it was not me");
        let begun = Instant::now();
        let last = last_words(&mut raw);
        let took = begun.elapsed();
        assert_eq!(detail(&last)["code"], "revoked");
        assert!(last.text().contains("it was not me"), "{}", last.show());
        assert!(took < Duration::from_secs(5), "{took:?}");
        ends(&stand, busy, "revoked");
        // It is no obstacle to another.
        let (mut raw, _) = stand.gate.login();
        assert_eq!(raw.value("SELECT count(*) FROM items"), "5");
    }

    fn a_grant_outlives_the_gateway_and_no_session_the_grant(server: Server) {
        let stand = Stand::new(&server, &asks("items", "window: 8s", ""));
        let target = stand.gate.target();
        let mut asking = Asking::begin(&target, "");
        asking.notice();
        let people = stand.people();
        people.approve(&people.pending().id);
        let (raw, _) = asking.finish().unwrap();
        let grant = people.grants().pop().unwrap();
        drop(raw);
        let mut stand = stand;
        stand.gate.process.kill9();
        stand.gate.process.restart();
        let (mut raw, notices) = stand.asking("").unwrap();
        assert!(notices.is_empty(), "nobody is asked again");
        assert_eq!(raw.value("SELECT count(*) FROM items"), "5");
        assert_eq!(people.grants(), [grant]);
        ends(&stand, raw, "window_over");
    }

    fn policies_that_are_gone_end_what_they_opened(server: Server) {
        let both = opens("items", "window: 1h", "") + &opens("more", "window: 1h", "");
        let stand = Stand::new(&server, &both);
        let (mut raw, _) = stand.gate.login();
        assert_eq!(raw.value("SELECT count(*) FROM items"), "5");
        stand.reload(&opens("more", "window: 1h", ""));
        assert_eq!(raw.value("SELECT count(*) FROM items"), "5", "one is left");
        stand.reload(&opens("third", "window: 1h", ""));
        raw.send(&raw::query("SELECT 1"));
        let last = last_words(&mut raw);
        assert_eq!(detail(&last)["code"], "not_in_force", "{}", last.show());
        // A connect gets what there is now, though the old grant has time left.
        let (mut raw, _) = stand.gate.login();
        assert_eq!(raw.value("SELECT count(*) FROM items"), "5");
    }
}
