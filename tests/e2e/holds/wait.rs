//! Waiting: what the client reads, how it comes back, how it stops.

use std::thread;

use access::HoldState;
use e2e::on_each_version;

use super::stand::{Stand, plain};
use crate::policy::stand::{extended, shape};
use crate::raw::{self, Address, Raw};

on_each_version! {
    fn a_statement_waits_and_runs_once_somebody_agrees(server: Server) {
        let stand = Stand::new(&server);
        let update = "UPDATE payments SET amount = amount + 1 WHERE id = 1";
        for (number, bytes) in [raw::query(update), extended(update)].into_iter().enumerate() {
            let mut agent = stand.agent();
            let (replies, hold) = stand.approved(move || {
                agent.send(&bytes);
                let replies = agent.until_ready();
                (replies, agent.value("SELECT txid_current_if_assigned()"))
            });
            let (replies, _) = replies;
            let notice = replies.iter().find(|m| m.tag == b'N').expect("a NOTICE");
            let said = String::from_utf8_lossy(&notice.body).into_owned();
            assert!(said.contains(hold.id.as_str()) && said.contains("group:dba"), "{said}");
            let want = if number == 0 { "C ZI" } else { "1 2 C ZI" };
            assert_eq!(shape(&plain(replies)), want);
            assert!(matches!(stand.outcome(&hold), HoldState::Done { .. }));
            assert_eq!(stand.value("SELECT amount FROM payments WHERE id = 1"), (101 + number).to_string());
            assert_eq!(stand.hold(&hold.id).text, update);
            assert_eq!(stand.steps(&hold), ["asked", "claimed", "transaction", "done"]);
        }
    }

    fn a_no_is_read_with_its_words(server: Server) {
        let stand = Stand::new(&server);
        let delete = "DELETE FROM payments WHERE id = 2";
        for bytes in [raw::query(delete), extended(delete)] {
            let mut agent = stand.agent();
            let asking = thread::spawn(move || {
                agent.send(&bytes);
                agent.until_ready()
            });
            if let Some(hold) = e2e::wait_for("it", || match stand.pending().into_iter().next() {
                Some(hold) => Some(Some(hold)),
                None if asking.is_finished() => Some(None),
                None => None,
            }) {
                assert!(hold.estimate.as_deref().unwrap_or_default().contains("delete public.lines"));
                stand.deny(&hold, "not on a Friday");
            }
            let replies = asking.join().expect("replies");
            let error = raw::error(&replies);
            assert_eq!(error.sqlstate(), "42501");
            assert!(error.field(b'M').unwrap().contains("not on a Friday"), "{}", raw::show(&replies));
        }
        assert_eq!(stand.value("SELECT count(*) FROM payments WHERE id = 2"), "1");
        assert_eq!(stand.all().len(), 1, "the no stands for a while");
    }

    fn a_client_that_gives_up_comes_back(server: Server) {
        let stand = Stand::with(&server, "    limits: { hold_wait: 500ms }\n");
        let mut agent = stand.agent();
        let update = "UPDATE payments SET note = 'later' WHERE id = 3";
        let replies = agent.query(update);
        let error = raw::error(&replies);
        let hold = stand.waits();
        assert_eq!(error.sqlstate(), "ZP001");
        assert!(error.field(b'D').unwrap().contains(hold.id.as_str()));
        assert!(error.field(b'H').unwrap().contains("gatepost approve"));
        // Another text, other values and another session's transaction are not it.
        stand.approve(&hold);
        let replies = agent.query("UPDATE payments SET note = 'later' WHERE id = 4");
        assert_eq!(raw::error(&replies).sqlstate(), "ZP001");
        assert_eq!(shape(&plain(stand.agent().query(update))), "C ZI");
        assert!(matches!(stand.outcome(&hold), HoldState::Done { .. }));
        // It ran once; the same again asks again.
        let replies = agent.query(update);
        assert_eq!(raw::error(&replies).sqlstate(), "ZP001");
        assert_eq!(stand.value("SELECT count(*) FROM payments WHERE note = 'later'"), "1");
    }

    fn a_client_that_cancels_or_goes(server: Server) {
        let stand = Stand::new(&server);
        let (mut agent, greeting) = stand.gate.login();
        agent.send(&raw::query("DELETE FROM payments WHERE id = 5"));
        let hold = stand.waits();
        let mut cancels = Raw::connect(&Address::Tcp(stand.gate.process.address()));
        cancels.send(&raw::cancel(&greeting));
        let replies = agent.until_ready();
        assert_eq!(raw::error(&replies).sqlstate(), "57014", "{}", raw::show(&replies));
        assert!(matches!(stand.hold(&hold.id).state, HoldState::Withdrawn { .. }));
        agent.send(&raw::query("DELETE FROM payments WHERE id = 6"));
        let hold = stand.waits();
        drop(agent);
        crate::setup::eventually("it to be orphaned", || {
            stand.hold(&hold.id).orphaned_until.is_some()
        });
        // Who comes back in time finds it.
        stand.approve(&hold);
        assert_eq!(shape(&plain(stand.agent().query("DELETE FROM payments WHERE id = 6"))), "C ZI");
        assert_eq!(stand.value("SELECT count(*) FROM payments WHERE id IN (5, 6)"), "1");
    }
}
