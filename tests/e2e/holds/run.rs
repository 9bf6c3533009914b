//! What runs is what was agreed to, once, and the client sees it as PostgreSQL would have shown it.

use std::thread;

use access::HoldState;
use e2e::on_each_version;

use super::stand::{Stand, plain};
use crate::policy::stand::{error, extended, shape};
use crate::raw::{self, Message};
use crate::setup::{self, Target};

fn sqlstate(replies: &[Message]) -> String {
    error(replies).map_or_else(String::new, |(code, _)| code)
}

on_each_version! {
    fn two_sessions_race_and_one_runs_it(server: Server) {
        let stand = Stand::new(&server);
        let update = "UPDATE payments SET amount = amount + 1 WHERE id = 1";
        let agents: Vec<_> = (0..4).map(|_| {
            let mut agent = stand.agent();
            thread::spawn(move || agent.query(update))
        }).collect();
        let hold = stand.waits();
        // All of them wait for the same one.
        crate::setup::eventually("all to wait", || {
            stand.gate.log();
            stand.all().len() == 1
        });
        stand.approve(&hold);
        let mut ran = 0;
        let mut late = 0;
        for agent in agents {
            // Who comes late asks anew, and nobody answers.
            let replies = e2e::wait_for("it to end", || {
                if agent.is_finished() {
                    return Some(true);
                }
                let again = stand.pending().into_iter().next();
                if let Some(again) = again {
                    stand.deny(&again, "no more");
                    late += 1;
                }
                None
            }).then(|| agent.join().expect("replies")).expect("replies");
            ran += usize::from(shape(&plain(replies)) == "C ZI");
        }
        assert_eq!(ran, 1);
        assert!(late <= 1);
        assert_eq!(stand.value("SELECT amount FROM payments WHERE id = 1"), "101");
    }

    fn values_and_names_are_part_of_it(server: Server) {
        let stand = Stand::with(&server, "    limits: { hold_wait: 300ms }\n");
        let mut agent = stand.agent();
        let bound = |id: &[u8]| [
            raw::parse("", "UPDATE payments SET note = 'v' WHERE id = $1", &[23]),
            raw::bind("", "", &[], &[Some(id)], &[]),
            raw::execute("", 0),
            raw::sync(),
        ].concat();
        agent.send(&bound(b"7"));
        assert_eq!(sqlstate(&agent.until_ready()), "ZP001");
        let hold = stand.waits();
        let values: serde_json::Value = serde_json::from_str(&hold.parameters).expect("JSON");
        assert_eq!(values[0]["value"], "7");
        assert_eq!(values[0]["type"], "int4");
        stand.approve(&hold);
        agent.send(&bound(b"8"));
        assert_eq!(sqlstate(&agent.until_ready()), "ZP001", "another value");
        agent.send(&bound(b"7"));
        assert_eq!(shape(&plain(agent.until_ready())), "1 2 C ZI");
        assert_eq!(stand.value("SELECT string_agg(id::text, ',') FROM payments WHERE note = 'v'"), "7");

        // What moves in between asks again.
        for (number, moves) in [
            "ALTER TABLE payments ADD COLUMN extra int DEFAULT 1",
            "CREATE OR REPLACE FUNCTION public.bump() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN NEW.amount := 0; RETURN NEW; END $$; \
             CREATE TRIGGER bump BEFORE UPDATE ON payments FOR EACH ROW EXECUTE FUNCTION bump()",
            "CREATE OR REPLACE FUNCTION public.bump() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN NEW.amount := 1; RETURN NEW; END $$",
        ].into_iter().enumerate() {
            let update = format!("UPDATE payments SET note = 'm{number}' WHERE id = 9");
            let mut other = stand.agent();
            assert_eq!(sqlstate(&other.query(&update)), "ZP001");
            let hold = stand.pending().pop().expect("a hold");
            stand.approve(&hold);
            stand.database.login().psql(moves);
            let replies = other.query(&update);
            assert_eq!(sqlstate(&replies), "ZP001", "{moves}: {}", raw::show(&replies));
            assert!(!raw::show(&replies).contains(hold.id.as_str()), "it asks again: {moves}");
        }
        // What is not of it does not.
        let update = "UPDATE payments SET note = 'other' WHERE id = 9";
        assert_eq!(sqlstate(&agent.query(update)), "ZP001");
        let hold = stand.pending().pop().expect("a hold");
        stand.approve(&hold);
        stand.database.login().psql("CREATE TABLE unrelated (id int); ANALYZE payments");
        assert_eq!(shape(&plain(agent.query(update))), "C ZI");
        // Nor does another path of the session find it.
        assert_eq!(sqlstate(&agent.query("DELETE FROM public.payments WHERE id = 9")), "ZP001");
        stand.approve(&stand.pending().pop().expect("a hold"));
        let mut other = stand.agent();
        other.query("SET search_path = pg_temp, public");
        assert_eq!(sqlstate(&other.query("DELETE FROM public.payments WHERE id = 9")), "ZP001");
    }

    fn what_runs_looks_as_it_does_without(server: Server) {
        let stand = Stand::new(&server);
        // What nobody holds, to compare with.
        let twin = setup::twin(&stand.database);
        let mut direct = Target::direct(&twin, e2e::Role::Scram).login().0;
        let one = |sql: &str| [raw::parse("", sql, &[]), raw::bind("", "", &[], &[], &[]),
            raw::describe(b'P', ""), raw::execute("", 0)].concat();
        for (bytes, want) in [
            (raw::query("INSERT INTO payments VALUES (30, 1, 'x') RETURNING id"), "T D C ZI"),
            (raw::query("INSERT INTO payments VALUES (30, 1, 'x') -- twice"), "E:23505 ZI"),
            (raw::query("UPDATE payments SET amount = 1 / (amount - 100) WHERE id = 1"), "E:22012 ZI"),
            (raw::query("UPDATE payments SET note = 'a' WHERE id = 1; SELECT 1; UPDATE payments SET note = 'b' WHERE id = 1"), "C T D C C ZI"),
            (raw::query("BEGIN; UPDATE payments SET note = 'c' WHERE id = 1; COMMIT"), "C C C ZI"),
            (raw::query("ALTER TABLE payments ADD COLUMN a1 int"), "C ZI"),
            (raw::query("VACUUM payments"), "C ZI"),
            ([one("INSERT INTO payments VALUES (31, 1, 'y') RETURNING id"), raw::sync()].concat(), "1 2 T D C ZI"),
            ([one("INSERT INTO payments VALUES (31, 1, 'y')"), raw::sync()].concat(), "1 2 n E:23505 ZI"),
            ([one("ALTER TABLE payments ADD COLUMN a2 int"), raw::sync()].concat(), "1 2 n C ZI"),
            ([one("CREATE INDEX CONCURRENTLY late_i ON payments (note)"), raw::sync()].concat(), "1 2 n C ZI"),
            ([one("UPDATE payments SET note = 'p' WHERE id = 2"), one("SELECT 1"), raw::sync()].concat(), "1 2 n C 1 2 T D C ZI"),
            ([one("UPDATE payments SET note = 'q' WHERE id = 2"), one("SELECT 1/0"), raw::sync()].concat(), "1 2 n C 1 E:22012 ZI"),
            (raw::query("EXPLAIN ANALYZE UPDATE payments SET note = 'r' WHERE id = 2"), ""),
        ] {
            let mut agent = stand.agent();
            let sent = bytes.clone();
            let (replies, hold) = stand.approved(move || {
                agent.send(&sent);
                let replies = agent.until_ready();
                // The session goes on.
                assert_eq!(agent.value("SELECT 1"), "1");
                replies
            });
            let replies = plain(replies);
            let found = shape(&replies);
            let what = String::from_utf8_lossy(&bytes).into_owned();
            direct.send(&bytes);
            let native = plain(direct.until_ready());
            if !want.is_empty() {
                assert_eq!(found, want, "{what}");
                assert_eq!(raw::show(&replies), raw::show(&native), "{what}");
            }
            let outcome = stand.outcome(&hold);
            match found.contains("E:") {
                true => assert!(matches!(outcome, HoldState::Failed { .. }), "{what}: {outcome:?}"),
                false => assert!(matches!(outcome, HoldState::Done { .. }), "{what}: {outcome:?}"),
            }
        }
        assert_eq!(stand.value("SELECT note FROM payments WHERE id = 2"), "r");
        // A deferred constraint fails where the statement would have ended.
        let mut agent = stand.agent();
        let (replies, hold) = stand.approved(move || agent.query("UPDATE late SET id = 1"));
        assert_eq!(shape(&plain(replies)), "E:23505 ZI");
        assert!(matches!(stand.outcome(&hold), HoldState::Failed { .. }));
    }

    fn where_nobody_is_asked(server: Server) {
        let stand = Stand::with(&server, "    limits: { hold_wait: 300ms }\n");
        let mut agent = stand.agent();
        agent.query("BEGIN");
        assert_eq!(sqlstate(&agent.query("DELETE FROM payments WHERE id = 1")), "ZP004");
        agent.query("ROLLBACK");
        let one = |sql: &str| [raw::parse("", sql, &[]), raw::bind("", "", &[], &[], &[]),
            raw::execute("", 0)].concat();
        agent.send(&[one("SELECT 1"), one("DELETE FROM payments WHERE id = 1"), raw::sync()].concat());
        assert_eq!(sqlstate(&agent.until_ready()), "ZP004");
        for (sql, code) in [
            ("DELETE FROM payments WHERE id = 1; COMMIT; SELECT 1", "0A000"),
            ("COPY payments FROM STDIN", "0A000"),
        ] {
            assert_eq!(sqlstate(&agent.query(sql)), code, "{sql}");
        }
        assert_eq!(stand.all().len(), 0);
        assert_eq!(stand.value("SELECT count(*) FROM payments"), "20");
        // What is prepared is held when it runs, by whatever name.
        assert_eq!(shape(&plain(agent.query("PREPARE p AS DELETE FROM payments WHERE id = $1"))), "C ZI");
        assert_eq!(sqlstate(&agent.query("EXECUTE p(1)")), "ZP001");
        let hold = stand.waits();
        assert!(hold.text.contains("EXECUTE p(1)") && hold.text.contains("DELETE FROM payments"), "{}", hold.text);
        agent.send(&extended("EXECUTE p(2)"));
        assert_eq!(sqlstate(&agent.until_ready()), "ZP001");
        agent.send(&[raw::bind("", "p", &[], &[Some(b"3")], &[]), raw::execute("", 0), raw::sync()].concat());
        assert_eq!(sqlstate(&agent.until_ready()), "ZP001");
        stand.approve(&hold);
        assert_eq!(shape(&plain(agent.query("EXECUTE p(1)"))), "C ZI");
        // Another statement of that name is another.
        assert_eq!(sqlstate(&agent.query("EXECUTE p(4)")), "ZP001");
        let hold = stand.pending().pop().expect("a hold");
        stand.approve(&hold);
        agent.query("DEALLOCATE p");
        agent.query("PREPARE p AS DELETE FROM payments WHERE id > $1");
        assert_eq!(sqlstate(&agent.query("EXECUTE p(4)")), "ZP001");
        assert_eq!(stand.value("SELECT count(*) FROM payments"), "19");
    }

    fn what_is_expected_holds_and_is_shown(server: Server) {
        let stand = Stand::with(&server, "    limits: { hold_wait: 300ms }\n");
        let mut agent = stand.agent();
        for (sql, code) in [
            ("UPDATE free SET what = 'one' WHERE id = 1", ""),
            ("UPDATE free SET what = 'all'", "ZP001"),
        ] {
            assert_eq!(sqlstate(&agent.query(sql)), code, "{sql}");
            agent.send(&extended(sql));
            assert_eq!(sqlstate(&agent.until_ready()), code, "{sql}");
        }
        let hold = stand.waits();
        assert_eq!(stand.all().len(), 1);
        let estimate: serde_json::Value =
            serde_json::from_str(hold.estimate.as_deref().expect("an estimate")).expect("JSON");
        assert_eq!(estimate["rows"], "200", "{estimate}");
        assert_eq!(hold.needed.len(), 1);
        stand.approve(&hold);
        assert_eq!(shape(&plain(agent.query("UPDATE free SET what = 'all'"))), "C ZI");
    }

    fn other_parameters_where_that_was_agreed_to(server: Server) {
        let stand = Stand::with(&server, "    limits: { hold_wait: 300ms }\n");
        let mut agent = stand.agent();
        let bound = |table: &str, id: &[u8]| [
            raw::parse("", &format!("INSERT INTO {table} (id) VALUES ($1)"), &[23]),
            raw::bind("", "", &[], &[Some(id)], &[]),
            raw::execute("", 0),
            raw::sync(),
        ].concat();
        agent.send(&bound("shaped", b"1"));
        assert_eq!(sqlstate(&agent.until_ready()), "ZP001");
        let hold = stand.waits();
        stand.approve_shape(&hold, 2);
        for (id, code) in [(b"2", ""), (b"3", ""), (b"4", "ZP001"), (b"1", "")] {
            agent.send(&bound("shaped", id));
            let replies = agent.until_ready();
            assert_eq!(sqlstate(&replies), code, "{}", raw::show(&replies));
        }
        assert_eq!(stand.value("SELECT string_agg(id::text, ',' ORDER BY id) FROM shaped"), "1,2,3");
        let used: Vec<_> = stand.all().into_iter().filter(|it| it.used_shape_of.is_some()).collect();
        assert_eq!(used.len(), 2);
        for hold in &used {
            assert_eq!(stand.steps(hold), ["claimed", "transaction", "done"]);
        }
    }

    fn inside_a_transaction_where_the_policy_lets_it(server: Server) {
        let stand = Stand::with(&server, "    limits: { hold_wait_in_transaction: 5s }\n");
        let update = "UPDATE payments SET note = 'in' WHERE id = 1";
        for (end, done) in [("COMMIT", true), ("ROLLBACK", false)] {
            let mut agent = stand.agent();
            agent.query("BEGIN");
            agent.query("SELECT count(*) FROM payments");
            let (replies, hold) = stand.approved(move || {
                let replies = agent.query(update);
                agent.query(end);
                replies
            });
            assert_eq!(shape(&plain(replies)), "C ZT");
            let outcome = stand.outcome(&hold);
            assert_eq!(matches!(outcome, HoldState::Done { .. }), done, "{outcome:?}");
        }
        let mut agent = stand.agent();
        agent.query("BEGIN");
        agent.query("SELECT 1/0");
        assert_eq!(sqlstate(&agent.query(update)), "25P02");
    }

    fn what_changes_too_much_is_tried_and_undone(server: Server) {
        let stand = Stand::with(&server, "    limits: { hold_wait: 300ms }\n");
        let mut agent = stand.agent();
        let bound = |most: &[u8]| [
            raw::parse("", "UPDATE many SET v = v + 1 WHERE id <= $1 RETURNING id", &[23]),
            raw::bind("", "", &[], &[Some(most)], &[]),
            raw::execute("", 0),
            raw::sync(),
        ].concat();
        for (bytes, code) in [
            (raw::query("UPDATE many SET v = v + 1 WHERE id <= 3"), ""),
            (bound(b"3"), ""),
            (raw::query("UPDATE many SET v = v + 1 WHERE id <= 5"), "ZP001"),
            (bound(b"5"), "ZP001"),
            (raw::query("UPDATE many SET v = 1 / (id - 2) WHERE id <= 5"), "22012"),
        ] {
            agent.send(&bytes);
            let replies = agent.until_ready();
            assert_eq!(sqlstate(&replies), code, "{}", raw::show(&replies));
            let told = raw::show(&replies).matches("it ran").count();
            assert_eq!(told, usize::from(code.is_empty()), "{}", raw::show(&replies));
        }
        assert_eq!(stand.value("SELECT sum(v) FROM many"), "6", "what was tried is undone");
        let holds = stand.pending();
        assert_eq!(holds.len(), 2);
        for hold in &holds {
            let estimate: serde_json::Value =
                serde_json::from_str(hold.estimate.as_deref().expect("a count")).expect("JSON");
            assert_eq!(estimate["changed"], 5, "{estimate}");
            stand.approve(hold);
        }
        assert_eq!(shape(&plain(agent.query("UPDATE many SET v = v + 1 WHERE id <= 5"))), "C ZI");
        assert_eq!(stand.value("SELECT sum(v) FROM many"), "11");
        // So many, and not one more.
        stand.database.login().psql("INSERT INTO many VALUES (0, 0)");
        agent.send(&bound(b"5"));
        let replies = agent.until_ready();
        assert_eq!(sqlstate(&replies), "ZP001", "{}", raw::show(&replies));
        assert!(!raw::show(&replies).contains(holds[1].id.as_str()));
        // In a transaction of the client's nothing is tried: it is undone there.
        agent.query("BEGIN");
        assert_eq!(sqlstate(&agent.query("UPDATE many SET v = 7")), "0A000");
        agent.query("ROLLBACK");
        assert_eq!(stand.value("SELECT count(*) FROM many WHERE v = 7"), "0");
    }
}
