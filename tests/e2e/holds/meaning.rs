//! What may change between the moment that people agree and the one that it runs: what they saw is
//! not what it would be, so they are asked again, or it does not run.

use std::thread;

use e2e::on_each_version;

use super::stand::{Stand, plain};
use crate::policy::stand::{error, shape};
use crate::raw::{self, Message, Raw};
use crate::setup::AGENT;

const SHORT: &str = "    limits: { hold_wait: 300ms }\n";

fn sqlstate(replies: &[Message]) -> String {
    error(replies).map_or_else(String::new, |(code, _)| code)
}

/// How a session comes to have a setting that only the database's own code reads.
fn with_tenant(stand: &Stand, tenant: &str, way: usize) -> Raw {
    let options = format!("-c app.tenant={tenant}");
    let mut parameters = vec![("database", stand.database.name.as_str())];
    if way == 2 {
        parameters.push(("options", &options));
    }
    let gate = &stand.gate;
    let mut agent = Raw::login_with(&gate.address(), AGENT, &gate.token, &parameters).0;
    match way {
        0 => drop(agent.query(&format!("SET app.tenant = '{tenant}'"))),
        1 => {
            agent.query("PREPARE p AS SELECT pg_catalog.set_config('app.tenant', $1, false)");
            agent.query(&format!("EXECUTE p('{tenant}')"));
        }
        2 => {}
        _ => {
            agent.send(
                &[
                    raw::parse("", "SELECT set_config('app.tenant', $1, false)", &[25]),
                    raw::bind("", "", &[], &[Some(tenant.as_bytes())], &[]),
                    raw::execute("", 0),
                    raw::sync(),
                ]
                .concat(),
            );
            agent.until_ready();
        }
    }
    assert_eq!(agent.value("SHOW app.tenant"), tenant, "way {way}");
    agent
}

on_each_version! {
    fn settings_of_the_databases_own_are_part_of_it(server: Server) {
        let stand = Stand::with(&server, SHORT);
        stand.database.login().psql(
            "ALTER TABLE payments ADD COLUMN tenant text DEFAULT 'a'; \
             UPDATE payments SET tenant = 'b' WHERE id > 10; \
             ALTER TABLE payments ENABLE ROW LEVEL SECURITY; \
             ALTER TABLE payments FORCE ROW LEVEL SECURITY; \
             CREATE POLICY own ON payments USING (tenant = current_setting('app.tenant', true))",
        );
        for way in 0..4 {
            let update = format!("UPDATE payments SET note = 'way {way}'");
            assert_eq!(sqlstate(&with_tenant(&stand, "a", way).query(&update)), "ZP001");
            let hold = stand.pending().pop().expect("a hold");
            let expects = hold.estimate.as_deref().expect("what to expect");
            assert!(expects.contains("\"settings\":\"app.tenant = a\""), "{expects}");
            stand.approve(&hold);
            let replies = with_tenant(&stand, "b", way).query(&update);
            assert_eq!(sqlstate(&replies), "ZP001", "another tenant, way {way}");
            assert!(!raw::show(&replies).contains(hold.id.as_str()), "it asks again");
            let replies = with_tenant(&stand, "a", way).query(&update);
            assert_eq!(shape(&plain(replies)), "C ZI", "the same tenant, way {way}");
        }
        assert_eq!(stand.value("SELECT count(*) FROM payments WHERE note LIKE 'way%'"), "10");
    }

    fn who_reviews_reads_which_table_a_name_means(server: Server) {
        let stand = Stand::with(&server, SHORT);
        let mut agent = stand.agent();
        agent.query("SET search_path = pg_temp, public");
        agent.query("DELETE FROM payments USING free WHERE free.id = payments.id");
        let hold = stand.waits();
        assert_eq!(hold.text, "DELETE FROM payments USING free WHERE free.id = payments.id");
        let expects = hold.estimate.as_deref().expect("what to expect");
        let touches = "\"touches\":[\"public.payments\",\"public.free\"]";
        assert!(expects.contains(touches), "{expects}");
        assert!(!expects.contains("settings"), "there are none: {expects}");
    }

    fn nothing_runs_between_the_bind_that_was_agreed_to_and_its_execute(server: Server) {
        let stand = Stand::with(&server, "    limits: { hold_wait_in_transaction: 5s }\n");
        let sets = [
            raw::parse("s", "SELECT set_config('app.tenant', 'b', false)", &[]),
            raw::bind("s", "s", &[], &[], &[]),
            raw::execute("s", 0),
        ].concat();
        let held = [
            raw::parse("h", "UPDATE payments SET note = 'between' WHERE id < 5 RETURNING id", &[]),
            raw::bind("h", "h", &[], &[], &[]),
        ].concat();
        let run = [raw::execute("h", 0), raw::sync()].concat();
        let part = raw::execute("h", 1);
        let simple = [raw::sync(), raw::query("SET app.tenant = 'b'")].concat();
        for (name, begin, between, want) in [
            ("nothing", "SELECT 1", Vec::new(), ""),
            ("no more than a Parse", "SELECT 1", raw::parse("", "SELECT 2", &[]), ""),
            ("another portal", "SELECT 1", sets.clone(), "ZP003"),
            ("a query in a block", "BEGIN", simple, "ZP003"),
            ("between two parts", "SELECT 1", [part, sets].concat(), "ZP003"),
        ] {
            let mut agent = stand.agent();
            agent.query(begin);
            let bytes = [&*held, &between, &run].concat();
            let syncs = 1 + 2 * usize::from(begin == "BEGIN");
            let before = stand.all().len();
            let doing = thread::spawn(move || {
                agent.send(&bytes);
                let replies: Vec<_> = (0..syncs).flat_map(|_| agent.until_ready()).collect();
                agent.query("COMMIT");
                replies
            });
            let hold = e2e::wait_for("a hold", || stand.all().into_iter().nth(before));
            stand.approve(&hold);
            let replies = doing.join().expect("replies");
            assert_eq!(sqlstate(&replies), want, "{name}: {}", raw::show(&replies));
            let done = stand.value("SELECT count(*) FROM payments WHERE note = 'between'");
            assert_eq!(done, if want.is_empty() { "4" } else { "0" }, "{name}");
            stand.value("UPDATE payments SET note = 'again' WHERE note = 'between'");
        }
    }
}
