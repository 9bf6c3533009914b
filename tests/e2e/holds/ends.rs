//! A grant comes to its end while something waits under it, or was agreed to: nobody runs that any
//! more.

use access::{HoldState, Withdrawal};
use e2e::on_each_version;

use super::stand::Stand;
use crate::grants::{detail, last_words};
use crate::policy::stand::extended;
use crate::raw;

on_each_version! {
    fn what_waits_when_the_grant_ends(server: Server) {
        let stand = Stand::ending(&server, "4s");
        let update = "UPDATE payments SET amount = 0 WHERE id = 1";
        let mut asked = Vec::new();
        for bytes in [raw::query(update), extended(update)] {
            let mut agent = stand.agent();
            agent.send(&bytes);
            let hold = stand.waits();
            assert!(!asked.contains(&hold.id), "it asks anew");
            asked.push(hold.id.clone());
            let last = last_words(&mut agent);
            assert_eq!((last.sqlstate(), last.severity()), ("57P01".into(), "FATAL".into()));
            assert_eq!(detail(&last)["code"], "window_over", "{}", last.show());
            crate::setup::eventually("it to be withdrawn", || {
                let state = stand.hold(&hold.id).state;
                matches!(state, HoldState::Withdrawn { why: Withdrawal::GrantEnded, .. })
            });
            assert!(stand.is_over(&hold), "nobody can agree to it any more");
            crate::setup::eventually("the journal to say so", || {
                stand.steps(&hold).last().is_some_and(|step| step == "withdrawn")
            });
        }
        assert_eq!(stand.value("SELECT amount FROM payments WHERE id = 1"), "100");
    }

    fn what_waits_when_the_grant_is_taken_away(server: Server) {
        let stand = Stand::new(&server);
        let mut agent = stand.agent();
        agent.send(&raw::query("DELETE FROM payments WHERE id = 1"));
        let hold = stand.waits();
        stand.revoke(&hold, "not today");
        let last = last_words(&mut agent);
        assert_eq!(last.severity(), "FATAL", "{}", last.show());
        assert_eq!(detail(&last)["code"], "revoked", "{}", last.show());
        assert!(last.text().contains("not today"), "{}", last.show());
        assert!(stand.is_over(&hold));
        assert_eq!(stand.value("SELECT count(*) FROM payments WHERE id = 1"), "1");
    }

    /// Agreed to in time, and its client comes back too late.
    fn what_was_agreed_to_under_a_grant_that_is_over(server: Server) {
        let stand = Stand::ending(&server, "6s");
        let update = "UPDATE payments SET amount = 0 WHERE id = 1";
        let mut agent = stand.agent();
        agent.send(&raw::query(update));
        let hold = stand.waits();
        drop(agent);
        stand.approve(&hold);
        crate::setup::eventually("the grant to end", || {
            matches!(stand.hold(&hold.id).state, HoldState::Withdrawn { .. })
        });
        let mut agent = stand.agent();
        agent.send(&raw::query(update));
        assert_ne!(stand.waits().id, hold.id, "it asks anew");
        assert_eq!(stand.value("SELECT amount FROM payments WHERE id = 1"), "100");
    }
}
