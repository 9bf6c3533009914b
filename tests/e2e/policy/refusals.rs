//! A refusal in every place of the protocol: what the client reads, and where the session stands.

use e2e::on_each_version;

use super::stand::{POLICIES, Stand, assert_kept, error, extended, field, shape};
use crate::raw;

on_each_version! {
    fn what_is_allowed_runs_and_its_near_twin_does_not(server: Server) {
        let stand = Stand::new(&server);
        let mut agent = stand.agent();
        for (sql, want) in [
            ("SELECT count(*) FROM items", "T D C ZI"),
            ("SELECT count(*) FROM secrets", "E:42501 ZI"),
            ("INSERT INTO notes VALUES (1, 'a')", "C ZI"),
            ("INSERT INTO items VALUES (7, 'a')", "E:42501 ZI"),
            ("SELECT 1", "T D C ZI"),
            ("SELECT pg_read_file('x')", "E:42501 ZI"),
            ("SHOW search_path", "T D C ZI"),
            ("SET application_name = 'me'", "C ZI"),
            ("SET role = postgres", "E:42501 ZI"),
            ("", "I ZI"),
            ("DO $$ BEGIN END $$", "E:42501 ZI"),
            ("SELECT * FROM nowhere", "E:42P01 ZI"),
            ("SELEC", "E:42601 ZI"),
        ] {
            let replies = agent.query(sql);
            let got = shape(&replies);
            assert_eq!(got, want, "{sql}: {}", raw::show(&replies));
            if sql.is_empty() || want == "E:42601 ZI" {
                continue;
            }
            agent.send(&extended(sql));
            let replies = agent.until_ready();
            let is_refused = error(&replies).is_some();
            assert_eq!(is_refused, want.starts_with('E'), "{sql}: {}", raw::show(&replies));
            assert_kept(&stand.database, &replies, sql);
        }
    }

    /// Long texts are read aside, and the near twin at their end is found.
    /// Who copies a default has it run from then on, and could not have written it.
    fn copied_code_is_ones_own(server: Server) {
        let read = "public.items, public.coded, public.numbered";
        let stand = Stand::with(&server, &POLICIES.replace("public.items", read));
        stand.database.login().psql(
            "CREATE TABLE coded (id int, what int DEFAULT quiet()); \
             CREATE TABLE numbered (id serial, at timestamptz DEFAULT now(), what int CHECK (what > 1)); \
             GRANT ALL ON ALL TABLES IN SCHEMA public TO public",
        );
        let mut agent = stand.agent();
        for (sql, want) in [
            ("CREATE TEMP TABLE a (LIKE coded INCLUDING ALL)", "E:42501 ZI"),
            ("CREATE TEMP TABLE a (LIKE coded INCLUDING DEFAULTS)", "E:42501 ZI"),
            ("CREATE TEMP TABLE a (LIKE coded INCLUDING ALL); INSERT INTO a VALUES (1)", "E:42501 ZI"),
            ("CREATE TEMP TABLE a (LIKE coded INCLUDING COMMENTS)", "C ZI"),
            ("CREATE TEMP TABLE b (LIKE coded)", "C ZI"),
            ("CREATE TEMP TABLE c (LIKE numbered INCLUDING ALL)", "C ZI"),
        ] {
            let replies = agent.query(sql);
            assert_eq!(shape(&replies), want, "{sql}: {}", raw::show(&replies));
        }
    }

    fn a_long_text_is_judged_as_a_short_one(server: Server) {
        let stand = Stand::new(&server);
        let mut agent = stand.agent();
        let rows = "(1, 'some text'), ".repeat(300_000);
        let insert = format!("INSERT INTO notes VALUES {rows}(2, 'the last')");
        let twin = format!("INSERT INTO notes VALUES {rows}(2, (SELECT name FROM secrets))");
        let path = format!("SET search_path = side; {insert}");
        for (sql, want) in [
            (&insert, "C ZI"),
            (&twin, "E:42501 ZI"),
            // What follows would have to be read anew under the other path.
            (&path, "E:0A000 ZI"),
        ] {
            let replies = agent.query(sql);
            assert_eq!(shape(&replies), want, "{}", raw::show(&replies));
            // Others of the session go on behind it.
            let both = [raw::query(sql), raw::query("SELECT 7")].concat();
            agent.send(&both);
            let first = agent.until_ready();
            assert_eq!(shape(&first), want);
            let then = agent.until_ready();
            assert_eq!(shape(&then), "T D C ZI", "{}", raw::show(&then));
            agent.send(&extended(sql));
            let is_refused = error(&agent.until_ready()).is_some();
            assert_eq!(is_refused, want.starts_with('E'));
        }
        assert_eq!(stand.database.login().psql("SELECT count(*) FROM notes"), "900003");
    }

    /// Each change has its price.
    fn a_path_is_carried_through_a_text_so_often_and_no_more(server: Server) {
        let stand = Stand::new(&server);
        let mut agent = stand.agent();
        let text = |times: usize| {
            let sets = "SET search_path = side; SET search_path = public; ".repeat(times / 2);
            format!("{sets}SELECT count(*) FROM items")
        };
        assert_eq!(agent.query(&text(1_000)).last().map(|m| m.body.clone()), Some(b"I".to_vec()));
        assert!(error(&agent.query(&text(1_000))).is_none());
        // What stands behind is judged once the rest has run, and a text that is too long for that is not.
        assert!(error(&agent.query(&text(1_002))).is_none());
        let long = format!("/*{}*/ {}", " ".repeat(1 << 20), text(1_002));
        assert_eq!(error(&agent.query(&long)).map(|(state, _)| state), Some("0A000".into()));
    }

    fn a_refusal_says_what_and_why(server: Server) {
        let stand = Stand::new(&server);
        let mut agent = stand.agent();
        let replies = agent.query("SELECT name FROM secrets");
        let detail = field(&replies, b'D');
        assert!(detail.starts_with("{\"code\":\"not_allowed\""), "{detail}");
        assert!(detail.contains("secrets"), "{detail}");
        assert_eq!(field(&replies, b'S'), "ERROR");
        assert!(field(&replies, b'H').contains("polic"), "{}", raw::show(&replies));
    }

    /// In characters of the client's own text, where its place in it is known.
    fn a_refusal_points_at_what_it_is_about(server: Server) {
        let stand = Stand::new(&server);
        let mut agent = stand.agent();
        for (sql, want) in [
            ("SELECT name FROM secrets", "18"),
            ("SELECT 1; SELECT 'é', name FROM public.secrets", "33"),
            ("SELECT id FROM items WHERE name IN (SELECT name FROM secrets)", "54"),
            ("INSERT INTO secrets VALUES (1)", "13"),
            ("SELECT 1 FROM nope", "15"),
            ("SELECT nope FROM items", "8"),
            ("SELECT i.nope FROM items i", "8"),
        ] {
            assert_eq!(field(&agent.query(sql), b'P'), want, "{sql}");
            if !sql.contains(';') {
                agent.send(&extended(sql));
                assert_eq!(field(&agent.until_ready(), b'P'), want, "{sql}");
            }
        }
        // Of what was prepared before, and of a function, there is none.
        let has_place = |replies: &[raw::Message]| {
            let error = raw::error(replies);
            error.field(b'P').is_some()
        };
        assert!(!has_place(&agent.query("SELECT pg_sleep(1)")));
        assert_eq!(shape(&agent.query("PREPARE p AS SELECT id FROM items")), "C ZI");
        stand.reload(&POLICIES.replace("read: public.items, side.items", "read: side.items"));
        assert!(!has_place(&agent.query("EXECUTE p")));
    }

    /// A server takes it for an error, unless it reads a COPY.
    fn a_flush_with_a_body(server: Server) {
        let stand = Stand::new(&server);
        let flush = raw::framed(b'H', b"x");
        let one = |sql: &str| {
            [raw::parse("", sql, &[]), raw::bind("", "", &[], &[], &[]), raw::execute("", 0)].concat()
        };
        let series = [
            [flush.clone(), raw::sync()].concat(),
            [one("SELECT 1"), flush.clone(), one("SELECT 2"), raw::sync()].concat(),
        ];
        let mut copy = one("COPY notes FROM STDIN");
        copy.extend([flush.clone(), raw::copy_data(b"7\tx\n"), flush, raw::copy_done(), raw::sync()].concat());
        let login = stand.database.login();
        for (bytes, want) in
            series.iter().map(|it| it.as_slice()).chain([copy.as_slice()]).zip([
                "E:08P01 ZI",
                "1 2 D C E:08P01 ZI",
                "1 2 G C ZI",
            ])
        {
            let mut agent = stand.agent();
            agent.send(bytes);
            let replies = agent.until_ready();
            assert_eq!(shape(&replies), want, "{}", raw::show(&replies));
            assert_eq!(shape(&agent.query("SELECT 1")), "T D C ZI");
        }
        assert_eq!(login.psql("SELECT count(*) FROM notes WHERE id = 7"), "1");
    }

    /// Where the session stands after a refusal, in each place where there can be one.
    fn where_a_refusal_leaves_the_session(server: Server) {
        let stand = Stand::new(&server);
        let bad = "SELECT name FROM secrets";
        let one = |sql: &str| {
            [raw::parse("", sql, &[]), raw::bind("", "", &[], &[], &[]), raw::execute("", 0)].concat()
        };
        let note = "INSERT INTO notes VALUES (1, 'x')";
        for (place, steps) in [
            ("alone", vec![(raw::query(bad), "E:42501 ZI")]),
            ("in a block", vec![
                (raw::query("BEGIN"), "C ZT"),
                (raw::query(note), "C ZT"),
                (raw::query(bad), "E:42501 ZE"),
                (raw::query("SELECT 1"), "E:25P02 ZE"),
                (extended("SELECT 1"), "E:25P02 ZE"),
                (raw::query(bad), "E:25P02 ZE"),
                (raw::query("COMMIT"), "C ZI"),
                (raw::query("SELECT * FROM notes"), "T C ZI"),
            ]),
            ("behind a savepoint", vec![
                (raw::query("BEGIN"), "C ZT"),
                (raw::query(note), "C ZT"),
                (raw::query("SAVEPOINT a"), "C ZT"),
                (extended(bad), "E:42501 ZE"),
                (raw::query("ROLLBACK TO a"), "C ZT"),
                (raw::query("COMMIT"), "C ZI"),
                (raw::query("DELETE FROM notes"), "C ZI"),
            ]),
            ("in a string with a block", vec![
                (raw::query(&format!("BEGIN; {note}; {bad}; COMMIT")), "C E:42501 ZE"),
                (raw::query("ROLLBACK"), "C ZI"),
                (raw::query(&format!("BEGIN; {note}; COMMIT; {bad}")), "E:42501 ZI"),
                (raw::query("SELECT * FROM notes"), "T C ZI"),
            ]),
            ("in a pipeline", vec![
                (
                    [one(note), one(bad), one(note), raw::sync()].concat(),
                    "1 2 C E:42501 ZI",
                ),
                (raw::query("SELECT * FROM notes"), "T C ZI"),
                ([one(note), raw::sync()].concat(), "1 2 C ZI"),
                ([one(bad), raw::sync()].concat(), "E:42501 ZI"),
                (raw::query("DELETE FROM notes"), "C ZI"),
            ]),
            ("with a name that stays", vec![
                ([raw::parse("s", "SELECT 7", &[]), raw::sync()].concat(), "1 ZI"),
                ([raw::parse("s", bad, &[]), raw::sync()].concat(), "E:42501 ZI"),
                (
                    [raw::bind("", "s", &[], &[], &[]), raw::execute("", 0), raw::sync()].concat(),
                    "2 D C ZI",
                ),
            ]),
            ("a COPY", vec![
                (raw::query("COPY secrets FROM STDIN"), "E:42501 ZI"),
                (
                    [raw::copy_data(b"1\tx\n"), raw::copy_done(), raw::query("SELECT 1")].concat(),
                    "T D C ZI",
                ),
            ]),
            ("a function", vec![
                (raw::function_call(177, &[Some("1"), Some("2")]), "E:42501 ZI"),
                (raw::query("BEGIN"), "C ZT"),
                (raw::function_call(177, &[Some("1"), Some("2")]), "E:42501 ZE"),
                (raw::function_call(177, &[Some("1"), Some("2")]), "E:25P02 ZE"),
                (raw::query("ROLLBACK"), "C ZI"),
            ]),
        ] {
            let mut agent = stand.agent();
            for (bytes, want) in steps {
                agent.send(&bytes);
                let replies = agent.until_ready();
                assert_eq!(shape(&replies), want, "{place}: {}", raw::show(&replies));
                assert_kept(&stand.database, &replies, place);
            }
        }
    }
}
