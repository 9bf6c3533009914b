//! What names mean is what they mean when a statement runs: several sessions, one changing things
//! under the other between Parse and Execute, PREPARE and EXECUTE.

use e2e::on_each_version;

use super::stand::{POLICIES, Stand, assert_kept, error, extended, field, shape};
use crate::raw::{self, Raw};
use crate::setup;

fn bind(statement: &str) -> Vec<u8> {
    [raw::bind("", statement, &[], &[], &[]), raw::execute("", 0), raw::sync()].concat()
}

fn bound(agent: &mut Raw, statement: &str) -> String {
    agent.send(&bind(statement));
    shape(&agent.until_ready())
}

fn prepared(stand: &Stand, sql: &str) -> Raw {
    let mut agent = stand.agent();
    agent.send(&[raw::parse("s", sql, &[]), raw::sync()].concat());
    assert_eq!(shape(&agent.until_ready()), "1 ZI");
    assert_eq!(shape(&agent.query(&format!("PREPARE p AS {sql}"))), "C ZI");
    agent
}

on_each_version! {
    fn a_session_sees_what_it_has_made(server: Server) {
        let stand = Stand::new(&server);
        let mut agent = stand.agent();
        for (sql, want) in [
            ("CREATE TABLE made (id int)", "C ZI"),
            ("INSERT INTO made VALUES (1)", "C ZI"),
            ("SELECT id FROM made", "T D C ZI"),
            ("ALTER TABLE made ADD COLUMN more int", "C ZI"),
            ("SELECT more FROM made", "T D C ZI"),
            ("DROP TABLE made", "C ZI"),
            ("SELECT id FROM made", "E:42P01 ZI"),
            ("BEGIN", "C ZT"),
            ("CREATE TABLE made (id int)", "C ZT"),
            ("INSERT INTO made VALUES (1)", "C ZT"),
            ("ALTER TABLE made ADD COLUMN more int", "C ZT"),
            ("ALTER TABLE made RENAME COLUMN more TO most", "C ZT"),
            ("SELECT most FROM made", "T D C ZT"),
            ("ROLLBACK", "C ZI"),
            ("SELECT id FROM made", "E:42P01 ZI"),
            ("CREATE TEMP TABLE t AS SELECT 1 AS a", "C ZI"),
            ("SELECT a FROM t", "T D C ZI"),
            ("BEGIN; CREATE TEMP TABLE u (a int)", "C C ZT"),
            ("INSERT INTO u VALUES (1)", "C ZT"),
            ("COMMIT", "C ZI"),
            ("SELECT a FROM u", "T D C ZI"),
        ] {
            let replies = agent.query(sql);
            assert_eq!(shape(&replies), want, "{sql}: {}", raw::show(&replies));
        }
    }

    /// A string is judged whole before it runs: what stands behind DDL, by what the DDL makes.
    fn a_string_makes_what_it_uses(server: Server) {
        let stand = Stand::new(&server);
        for (sql, want) in [
            (
                "CREATE TABLE made (id serial PRIMARY KEY, at timestamptz DEFAULT now()); \
                 CREATE INDEX ON made (at); CREATE UNIQUE INDEX made_twice ON made (id, at); \
                 ALTER TABLE made ADD COLUMN more text NOT NULL DEFAULT 'x', \
                 ADD CONSTRAINT short CHECK (length(more) < 9); \
                 INSERT INTO made (more) VALUES ('y'); ALTER TABLE made RENAME COLUMN more TO most; \
                 SELECT id, most FROM made",
                "C C C C C C T D C ZI",
            ),
            ("SELECT most FROM made; DROP TABLE made", "T D C C ZI"),
            ("BEGIN; CREATE TABLE made (id int); INSERT INTO made VALUES (1); COMMIT; \
              SELECT id FROM made; DROP TABLE made; CREATE TABLE made (x int); SELECT x FROM made",
             "C C C C T D C C C T C ZI"),
            ("DROP TABLE IF EXISTS made; CREATE TABLE IF NOT EXISTS made (id int); \
              CREATE TABLE IF NOT EXISTS made (x text); SELECT id FROM made", "C C N C T C ZI"),
            ("CREATE TEMP TABLE items (mine int); INSERT INTO items VALUES (1); SELECT mine FROM items; \
              DROP TABLE pg_temp.items; SELECT name FROM items WHERE id = 1", "C C T D C C T D C ZI"),
            // And their near twins.
            ("DROP TABLE made; SELECT id FROM made", "E:42P01 ZI"),
            ("CREATE TEMP TABLE t (id int); CREATE TABLE other (id int)", "E:42501 ZI"),
            ("CREATE TEMP TABLE t (id int); SELECT name FROM secrets", "E:42501 ZI"),
            ("CREATE TEMP TABLE secrets (name text); DROP TABLE pg_temp.secrets; SELECT name FROM secrets",
             "E:42501 ZI"),
            // What can't be known before it runs is looked at on the way.
            ("CREATE TEMP TABLE t AS SELECT 1 AS a; SELECT a FROM t", "C T D C ZI"),
            ("CREATE TEMP TABLE t AS SELECT 1 AS a; SELECT name FROM secrets", "C E:42501 ZI"),
            ("SELECT moves('side'); SELECT name FROM items", "T D C T D C ZI"),
            ("SELECT moves('side'); SELECT name FROM secrets", "T D C E:42501 ZI"),
        ] {
            let mut agent = stand.agent();
            let replies = agent.query(sql);
            assert_eq!(shape(&replies), want, "{sql}: {}", raw::show(&replies));
        }
    }

    fn the_same_in_the_extended_protocol_and_one_series(server: Server) {
        let stand = Stand::new(&server);
        let mut agent = stand.agent();
        for (sql, want) in [
            ("BEGIN", "1 2 C ZT"),
            ("CREATE TABLE made (id int)", "1 2 C ZT"),
            ("INSERT INTO made VALUES (1)", "1 2 C ZT"),
            ("SELECT id FROM made", "1 2 D C ZT"),
            ("ROLLBACK", "1 2 C ZI"),
            ("SELECT id FROM made", "E:42P01 ZI"),
        ] {
            agent.send(&extended(sql));
            let replies = agent.until_ready();
            assert_eq!(shape(&replies), want, "{sql}: {}", raw::show(&replies));
        }
        let one = |sql: &str| {
            [raw::parse("", sql, &[]), raw::bind("", "", &[], &[], &[]), raw::execute("", 0)].concat()
        };
        let series = ["CREATE TABLE made (id int)", "INSERT INTO made VALUES (1)", "SELECT id FROM made"];
        let bytes: Vec<u8> = series.iter().flat_map(|sql| one(sql)).collect();
        agent.send(&[bytes, raw::sync()].concat());
        assert_eq!(shape(&agent.until_ready()), "1 2 C 1 2 C 1 2 D C ZI");
    }

    fn another_session_renames(server: Server) {
        let stand = Stand::new(&server);
        let mut agent = prepared(&stand, "SELECT name FROM items");
        assert_eq!(bound(&mut agent, "s"), "2 D D D D D C ZI");
        // The table goes by another name, which nobody may read.
        stand.database.login().psql("ALTER TABLE items RENAME TO hidden");
        setup::eventually("the new name to be seen", || {
            bound(&mut agent, "s") == "E:42P01 ZI"
        });
        assert_eq!(shape(&agent.query("EXECUTE p")), "E:42P01 ZI");
        // A view of that name that shows what is hidden, and is granted by a name of its own.
        stand.database.login().psql("CREATE VIEW items AS SELECT id, name FROM secrets");
        let narrow = POLICIES.replace("read: public.items, side.items", "read: public.*");
        stand.reload(&narrow.replace("      - write: public.notes\n", "        except: public.secrets\n"));
        let mut replies = agent.query("EXECUTE p");
        agent.send(&bind("s"));
        replies.extend(agent.until_ready());
        replies.extend(agent.query("SELECT name FROM items"));
        assert_eq!(shape(&replies), "E:42501 ZI E:42501 ZI E:42501 ZI", "{}", raw::show(&replies));
        assert_kept(&stand.database, &replies, "a view in the place of a table");
    }

    fn a_reload_takes_away(server: Server) {
        let stand = Stand::new(&server);
        let mut agent = prepared(&stand, "SELECT id FROM items");
        assert_eq!(shape(&agent.query("BEGIN")), "C ZT");
        assert_eq!(shape(&agent.query("DECLARE c CURSOR FOR SELECT id FROM items")), "C ZT");
        assert_eq!(shape(&agent.query("FETCH 1 FROM c")), "T D C ZT");
        stand.reload(&POLICIES.replace("read: public.items, side.items", "read: side.items"));
        let replies = agent.query("FETCH 1 FROM c");
        assert_eq!(shape(&replies), "E:42501 ZE", "{}", raw::show(&replies));
        assert_eq!(shape(&agent.query("ROLLBACK")), "C ZI");
        assert_eq!(bound(&mut agent, "s"), "E:42501 ZI");
        assert_eq!(shape(&agent.query("EXECUTE p")), "E:42501 ZI");
        assert_eq!(shape(&agent.query("SELECT id FROM items")), "E:42501 ZI");
        assert_eq!(shape(&agent.query("SELECT id FROM side.items")), "T D C ZI");
        stand.reload(POLICIES);
        assert_eq!(bound(&mut agent, "s"), "2 D D D D D C ZI");
    }

    fn a_reload_that_closes_ends_the_session(server: Server) {
        let stand = Stand::new(&server);
        let mut agent = stand.agent();
        assert_eq!(shape(&agent.query("SELECT 1")), "T D C ZI");
        stand.reload(&POLICIES.replace("agent-7", "identity:somebody-else"));
        agent.send(&raw::query("SELECT 1"));
        let last = agent.read().expect("last words");
        assert_eq!(last.severity(), "FATAL");
        assert_eq!(last.sqlstate(), "57P01");
        assert_eq!(agent.read(), None);
        let target = stand.gate.target();
        let parameters = [("database", target.database.as_str())];
        let refusal = Raw::refused(&target.address, &target.user, &target.password, &parameters);
        assert_eq!(refusal.sqlstate(), "28000");
        assert!(refusal.field(b'D').unwrap().contains("nothing_open"), "{}", refusal.show());
    }

    fn a_name_in_two_places_goes_with_its_schema(server: Server) {
        let stand = Stand::new(&server);
        let mut agent = stand.agent();
        assert_eq!(shape(&agent.query("SET search_path = side, public")), "C ZI");
        assert_eq!(agent.value("SELECT name FROM items WHERE id = 9"), "side");
        // The server's words about the text are about the client's own.
        let replies = agent.query("SELECT name FROM items WHERE id = 'x'");
        let position = |replies: &[raw::Message]| field(replies, b'P');
        assert_eq!(error(&replies).unwrap().0, "22P02");
        assert_eq!(position(&replies), "35", "{}", raw::show(&replies));
        agent.send(&extended("SELECT name FROM items WHERE id = 'x'"));
        assert_eq!(position(&agent.until_ready()), "35");
        agent.send(&[raw::parse("s", "SELECT name FROM items ORDER BY 1", &[]), raw::sync()].concat());
        assert_eq!(shape(&agent.until_ready()), "1 ZI");
        assert_eq!(bound(&mut agent, "s"), "2 D C ZI");
        // Under another path the server's text would still mean the first.
        assert_eq!(shape(&agent.query("SET search_path = public")), "C ZI");
        assert_eq!(bound(&mut agent, "s"), "E:0A000 ZI");
    }

    /// Pools send such a string before they give a session to the next; what stands in it behind RESET
    /// is read by what RESET gives back.
    fn a_string_is_read_by_what_reset_gives_back(server: Server) {
        const GIVEN_BACK: &str = "SET SESSION AUTHORIZATION DEFAULT;RESET ALL;CLOSE ALL;UNLISTEN *;\
            SELECT pg_advisory_unlock_all();DISCARD SEQUENCES;DISCARD TEMP";
        let stand = Stand::new(&server);
        let target = stand.gate.target();
        for (begins, name) in [("public", "item 1"), ("side", "side")] {
            let parameters = [("database", target.database.as_str()), ("search_path", begins)];
            let (mut agent, _) =
                Raw::login_with(&target.address, &target.user, &target.password, &parameters);
            assert_eq!(agent.value("SELECT name FROM items ORDER BY id LIMIT 1"), name);
            agent.query("SET search_path = side, public");
            let given_back = agent.query(GIVEN_BACK);
            assert_eq!(shape(&given_back), "C C C C T D C C C ZI", "{}", raw::show(&given_back));
            for reset in ["RESET ALL", "RESET search_path", "SET search_path TO DEFAULT"] {
                agent.query("SET search_path = side, public");
                let text = format!("{reset}; SELECT name FROM items ORDER BY id LIMIT 1");
                assert_eq!(agent.value(&text), name, "{text}");
                agent.query("SET search_path = public");
                let replies = agent.query(&format!("{reset}; SELECT what FROM notes"));
                let want = if begins == "side" { "C E:42501 ZI" } else { "C T C ZI" };
                assert_eq!(shape(&replies), want, "{reset}: {}", raw::show(&replies));
                assert_kept(&stand.database, &replies, reset);
            }
        }
    }

    fn settings_at_login_are_settings(server: Server) {
        let stand = Stand::new(&server);
        let target = stand.gate.target();
        let login = |parameter: (&str, &str)| {
            let parameters = [("database", target.database.as_str()), parameter];
            let mut raw = Raw::connect(&target.address);
            raw.send(&raw::startup(raw::PROTOCOL_3_0, &target.user, &parameters));
            let finished = raw.finish_login(&target.user, &target.password);
            finished.map(|_| raw)
        };
        for (name, value) in [
            ("options", "-c standard_conforming_strings=off"),
            ("options", "-c role=postgres"),
            ("options", "-O"),
            ("standard_conforming_strings", "off"),
            ("session_authorization", "postgres"),
        ] {
            let refusal = login((name, value)).err().expect(value);
            assert_eq!(refusal.sqlstate(), "42501", "{value}: {}", refusal.show());
        }
        for (name, value) in [("options", "-c search_path=side"), ("search_path", "side")] {
            let Ok(mut agent) = login((name, value)) else { panic!("{value} is refused") };
            assert_eq!(agent.value("SELECT name FROM items"), "side");
            let replies = agent.query("SELECT what FROM notes");
            assert_eq!(shape(&replies), "E:42501 ZI");
            assert_kept(&stand.database, &replies, value);
        }
    }

    /// Where clients bring the database's own credential, each session reads the catalog itself.
    fn in_observe_mode_too(server: Server) {
        let (stand, target) = Stand::observing(&server);
        let mut agent = target.login().0;
        for (sql, want) in [
            ("SELECT count(*) FROM items", "T D C ZI"),
            ("SELECT name FROM secrets", "E:42501 ZI"),
            ("CREATE TABLE made (id int)", "C ZI"),
            ("SELECT id FROM made", "T C ZI"),
            ("BEGIN", "C ZT"),
            ("ALTER TABLE made ADD COLUMN more int", "C ZT"),
            ("SELECT more FROM made", "T C ZT"),
            ("ROLLBACK", "C ZI"),
            ("SELECT more FROM made", "E:42703 ZI"),
        ] {
            let replies = agent.query(sql);
            assert_eq!(shape(&replies), want, "{sql}: {}", raw::show(&replies));
            assert_kept(&stand.database, &replies, sql);
        }
    }

    fn a_path_that_the_server_reads_anew_moves_nothing(server: Server) {
        let own = e2e::own_cluster(server.version);
        let stand = Stand::new(&own.server);
        let mut agent = prepared(&stand, "SELECT count(*) FROM items");
        let mut direct = setup::admin(&stand.database);
        assert_eq!(agent.value("SELECT count(*) FROM items"), "5");
        own.server.admin().psql("ALTER SYSTEM SET search_path = side, public");
        own.server.admin().psql("SELECT pg_reload_conf()");
        setup::eventually("sessions to have it", || direct.value("SHOW search_path") == "side, public");
        assert_eq!(agent.value("SELECT count(*) FROM items"), "5");
        assert_eq!(agent.value("EXECUTE p"), "5");
        assert_eq!(agent.value("SHOW search_path"), "\"$user\", public");
        // What a transaction sets is the transaction's.
        for (sql, want) in [("BEGIN", None), ("SET LOCAL search_path = side", None),
            ("SELECT count(*) FROM items", Some("1")), ("COMMIT", None),
            ("SELECT count(*) FROM items", Some("5"))] {
            match want {
                Some(want) => assert_eq!(agent.value(sql), want, "{sql}"),
                None => drop(agent.query(sql)),
            }
        }
        // Who asks for the new one gets it, and is judged by it.
        agent.query("RESET search_path");
        assert_eq!(agent.value("SELECT count(*) FROM items"), "1");
        assert_eq!(shape(&agent.query("SELECT name FROM secrets")), "E:42501 ZI");
    }

    fn what_was_set_when_all_was_allowed_does_not_stay(server: Server) {
        let everything = "
  - name: items
    who: agent-7
    to: \"*\"
    access: { approval: none, window: 1h }
    allow: [everything]
";
        for (sets, stays) in [
            ("SELECT 1", true),
            ("SET application_name = 'x'; SET statement_timeout = '1h'; SET datestyle = 'SQL, DMY'", true),
            ("SET search_path = side, public", true),
            ("SET transform_null_equals = on", false),
            ("SET client_min_messages = debug1", false),
            ("SET work_mem = '1GB'", false),
            ("SELECT set_config('array_' || 'nulls', 'off', false)", false),
        ] {
            let stand = Stand::with(&server, everything);
            let mut agent = stand.agent();
            agent.query(sets);
            stand.reload(POLICIES);
            // What a transaction sets back comes again.
            agent.query("BEGIN");
            agent.query("RESET ALL");
            assert_eq!(shape(&agent.query("SELECT id FROM side.items")), "T D C ZT", "{sets}");
            agent.query("ROLLBACK");
            agent.send(&raw::query("SELECT id FROM side.items"));
            let first = agent.read().expect("words");
            match stays {
                true => assert_eq!(first.tag, b'T', "{sets}: {}", first.show()),
                false => {
                    assert_eq!((first.sqlstate(), first.severity()), ("57P01".into(), "FATAL".into()));
                    assert!(first.field(b'D').unwrap().contains("setting_not_in_force"), "{sets}");
                    assert_eq!(agent.read(), None);
                }
            }
        }
    }

    fn a_file_that_is_read_again_asks_no_more_of_the_database(server: Server) {
        let stand = Stand::new(&server);
        let catalogs = || setup::activity(&stand.database, "application_name = 'gatepost catalog'");
        for _ in 0..5 {
            assert_eq!(stand.agent().value("SELECT count(*) FROM items"), "5");
            stand.reload(POLICIES);
        }
        assert_eq!(catalogs(), 1);
    }
}
