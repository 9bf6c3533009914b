//! What an agent asks Gatepost itself, in SQL, over the connection that it has.

use e2e::on_each_version;

use super::{Asking, Stand, asks, detail, opens};
use crate::raw::{self, Raw};
use crate::setup::AGENT;

const LIMITS: &str =
    "    limits: { rows: [100 per session, 50 per hour], statement_time: 30s, sessions: 5 }\n";

/// The only row of a SELECT, prepared, with results in binary where that is asked.
fn row(raw: &mut Raw, sql: &str, format: u16) -> Vec<Option<String>> {
    raw.send(
        &[
            raw::parse("", sql, &[]),
            raw::bind("", "", &[], &[], &[format]),
            raw::describe(b'P', ""),
            raw::execute("", 0),
            raw::sync(),
        ]
        .concat(),
    );
    let replies = raw.until_ready();
    let rows: Vec<_> = replies.iter().filter(|message| message.tag == b'D').collect();
    assert_eq!(rows.len(), 1, "{sql}: {}", raw::show(&replies));
    rows[0].columns()
}

on_each_version! {
    fn who_am_i_and_what_may_i(server: Server) {
        let odd = "it's a \\ reason, é";
        let options = format!("-c gatepost.reason={}", odd.replace('\\', "\\\\").replace(' ', "\\ "));
        for everything in [false, true] {
            let more = if everything {
                LIMITS.to_owned() + "  - name: all\n    who: \"*\"\n    to: \"*\"\n    \
                    access: { approval: none, window: 1h }\n    allow: [ everything ]\n"
            } else {
                LIMITS.to_owned()
            };
            let stand = Stand::new(&server, &opens("items", "window: 1h", &more));
            let (mut raw, _) = stand.asking(&options).unwrap();
            let grant = stand.people().grants().pop().unwrap();
            for (sql, want) in [
                ("SELECT identity FROM gatepost.me", AGENT),
                ("select connection from GATEPOST.ME", &*stand.database.name),
                ("SELECT m.grant_id FROM gatepost.me AS m", grant.id.as_str()),
                ("SELECT reason FROM gatepost.me", odd),
                ("SELECT 'items' = ANY (policies) FROM gatepost.me", "t"),
                ("SELECT count(*) FROM gatepost.grants WHERE this_session", "1"),
                ("SELECT count(*) FROM gatepost.pending", "0"),
                ("SELECT g.grant_id FROM gatepost.me JOIN gatepost.grants g USING (grant_id)", grant.id.as_str()),
                ("SELECT (SELECT seconds_left > 3000 FROM gatepost.me)::text", "true"),
                ("WITH me AS (TABLE gatepost.me) SELECT subject FROM me", AGENT),
                ("SELECT ends_at = (SELECT max(ends_at) FROM gatepost.grants) FROM gatepost.me", "t"),
                ("SELECT allowed FROM gatepost.limits WHERE name = 'rows' AND per = 'session'", "100"),
                ("SELECT unit FROM gatepost.limits WHERE name = 'statement_time'", "ms"),
                ("SELECT used FROM gatepost.limits WHERE name = 'sessions'", "1"),
            ] {
                assert_eq!(raw.value(sql), want, "{sql}");
                assert_eq!(row(&mut raw, sql, 0)[0].as_deref(), Some(want), "{sql}");
            }
            // In binary: four bytes.
            let left = row(&mut raw, "SELECT seconds_left FROM gatepost.me", 1).remove(0).unwrap();
            assert_eq!(left.chars().count(), 4, "{left:?}");
            // What a client sees of its columns, and psql.
            let login = stand.gate.client(&stand.database);
            let mut psql = login.program("psql");
            psql.args(["-XAt", "-c", "SELECT * FROM gatepost.limits", "-c", "TABLE gatepost.me"]);
            let output = psql.output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(said.contains("rows|hour|50|") && said.contains(AGENT), "{output:?}");
            // Positions of errors are the client's own.
            let replies = raw.query("SELECT 'é', x FROM gatepost.me, gatepost.grants");
            assert_eq!(raw::error(&replies).sqlstate(), "42703");
            if everything {
                assert_eq!(raw::error(&replies).field(b'P').as_deref(), Some("13"));
                let replies = raw.query("SELECT 1 FROM gatepost.me WHERE nothing = 'é'");
                assert_eq!(raw::error(&replies).field(b'P').as_deref(), Some("33"));
            }
        }
    }

    fn what_is_prepared_is_fresh_each_time(server: Server) {
        for name in ["", "named"] {
            let stand = Stand::new(&server, &opens("items", "window: 1h", LIMITS));
            let (mut raw, _) = stand.gate.login();
            let sql = "SELECT used + $1 FROM gatepost.limits WHERE name = 'rows' AND per = 'session'";
            raw.send(&[raw::parse(name, sql, &[20]), raw::describe(b'S', name), raw::sync()].concat());
            assert!(raw.until_ready().iter().all(|message| message.tag != b'E'));
            for used in 0..4 {
                let bind = raw::bind("", name, &[], &[Some(b"1000")], &[]);
                raw.send(&[bind, raw::execute("", 0), raw::sync()].concat());
                let replies = raw.until_ready();
                let row = replies.iter().find(|message| message.tag == b'D');
                let row = row.unwrap_or_else(|| panic!("{}", raw::show(&replies)));
                assert_eq!(row.columns()[0].as_deref(), Some(&*(1000 + used).to_string()));
                let tags: String = replies.iter().map(|message| char::from(message.tag)).collect();
                assert_eq!(tags, "2DCZ");
            }
        }
    }

    fn what_it_is_not(server: Server) {
        let stand = Stand::new(&server, &opens("items", "window: 1h", ""));
        stand.database.login().psql(
            "CREATE SCHEMA gatepost; CREATE TABLE gatepost.own (me text); \
             INSERT INTO gatepost.own VALUES ('mine'); GRANT USAGE ON SCHEMA gatepost TO public; \
             GRANT ALL ON ALL TABLES IN SCHEMA gatepost TO public; \
             CREATE TABLE gatepost.me (secret text)",
        );
        let (mut raw, _) = stand.gate.login();
        for (sql, sqlstate) in [
            ("SELECT 1; SELECT * FROM gatepost.me", "0A000"),
            ("INSERT INTO gatepost.me VALUES ('x')", "42501"),
            ("SELECT secret FROM ONLY gatepost.me", "42501"),
            ("SELECT * FROM gatepost.own", "42501"),
            ("SELECT pg_read_file('x') FROM gatepost.me", "42501"),
            ("SELECT * FROM gatepost.me, pg_authid", "42501"),
            ("CREATE VIEW v AS SELECT * FROM gatepost.me", "42501"),
        ] {
            let replies = raw.query(sql);
            assert_eq!(raw::error(&replies).sqlstate(), sqlstate, "{sql}: {}", raw::show(&replies));
        }
        // Beside a table that may be read it is what it is alone.
        assert_eq!(raw.value("SELECT count(*) FROM items, gatepost.me"), "5");
        assert_eq!(raw.value("SELECT 'gatepost.me'"), "gatepost.me");
    }

    fn what_waits_is_shown_to_who_asked(server: Server) {
        let policies = opens("items", "window: 1h", "") + &asks("more", "window: 5m", "");
        let stand = Stand::new(&server, &policies);
        let (mut raw, _) = stand.gate.login();
        let replies = raw.query("SELECT * FROM notes");
        assert_eq!(detail(raw::error(&replies))["code"], "not_allowed");
        let mut asking = Asking::begin(&stand.gate.target(), "-c gatepost.policy=more");
        let notice = asking.notice();
        let id = detail(&notice)["request"].as_str().unwrap().to_owned();
        assert_eq!(raw.value("SELECT id FROM gatepost.pending"), id);
        assert_eq!(raw.value("SELECT needs[1] FROM gatepost.pending"), "more: 1 of identity:anna");
        let people = stand.people();
        people.approve(&people.pending().id);
        let (_other, _) = asking.finish().unwrap();
        assert_eq!(raw.value("SELECT count(*) FROM gatepost.pending"), "0");
        assert_eq!(raw.value("SELECT count(*) FROM gatepost.grants"), "2");
    }
}
