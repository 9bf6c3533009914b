//! Names that the server takes for others than they seem: it cuts them, and encodings make them others
//! on their way.

use e2e::{Database, on_each_version};

use super::stand::{POLICIES, Stand, assert_kept, error, extended, plan, shape};
use crate::raw::{self, Raw};

fn bound(agent: &mut Raw, statement: &str) -> String {
    let bind = raw::bind("", statement, &[], &[], &[]);
    agent.send(&[bind, raw::execute("", 0), raw::sync()].concat());
    shape(&agent.until_ready())
}

on_each_version! {
    /// To a server in another encoding a long name is another one: it cuts at 63 bytes of its own.
    fn names_are_cut_in_the_encoding_of_the_database(server: Server) {
        let admin = server.admin();
        let name = format!("{}_latin", server.database().name);
        admin.psql(&format!(
            "CREATE DATABASE {name} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        ));
        let database = Database { server: server.clone(), name };
        let (short, long) = ("é".repeat(31), "é".repeat(40));
        let [fits, escaped] = [31, 40].map(|letters| format!("U&\"{}\"", r"\00e9".repeat(letters)));
        database.login().psql(&format!(
            "CREATE TABLE {fits} (id int, name text); CREATE TABLE {escaped} (id int, name text); \
             INSERT INTO {escaped} VALUES (1, 'hush'); \
             GRANT ALL ON ALL TABLES IN SCHEMA public TO public"
        ));
        let policies = POLICIES.replace("public.items, side.items", &format!("public.{short}"));
        let gate = plan(&database, &policies).start();
        let target = gate.target();
        let parameters = [("database", target.database.as_str()), ("client_encoding", "UTF8")];
        let (mut agent, _) =
            Raw::login_with(&target.address, &target.user, &target.password, &parameters);
        for (sql, passes) in [
            (format!("SELECT name FROM {short}"), true),
            (format!("SELECT name FROM \"{short}\""), true),
            (format!("SELECT '{long}'"), true),
            (format!("SELECT name FROM {long}"), false),
            (format!("SELECT name FROM \"{long}\""), false),
            (format!("SELECT name FROM {escaped}"), false),
        ] {
            for replies in [agent.query(&sql), {
                agent.send(&extended(&sql));
                agent.until_ready()
            }] {
                let refused = error(&replies).is_some();
                assert_eq!(refused, !passes, "{sql}: {}", raw::show(&replies));
                let all = raw::show(&replies);
                assert!(!all.contains("hush"), "{all}");
            }
        }
    }

    /// What isn't ASCII can't be told apart where clients speak another encoding than UTF-8.
    fn names_that_cannot_be_told_apart(server: Server) {
        let policies = POLICIES.replace("side.items", "public.secrets(id)");
        let stand = Stand::with(&server, &policies);
        let mut agent = stand.agent();
        agent.query("SET client_encoding = 'LATIN1'");
        for (text, passes) in [
            (b"SELECT \"\xe9\".id FROM secrets \"\xe9\"".as_slice(), false),
            (b"SELECT \"\xe9\".name FROM items \"\xe8\", secrets \"\xe9\"", false),
            (b"SELECT (SELECT \"\xe9\".name FROM items \"\xe8\" LIMIT 1) FROM secrets \"\xe9\"", false),
            (b"PREPARE \"\xe9\" AS SELECT 1", false),
            (b"SELECT 'caf\xe9', name FROM items -- \xe9", true),
            (b"SELECT e.id FROM secrets e", true),
        ] {
            agent.send(&raw::framed(b'Q', &[text, b"\0"].concat()));
            let replies = agent.until_ready();
            let shown = String::from_utf8_lossy(text);
            assert_eq!(error(&replies).is_none(), passes, "{shown}: {}", raw::show(&replies));
            assert_kept(&stand.database, &replies, &shown);
        }
        // A portal's name becomes another on its way.
        let named = [raw::parse("s\u{e9}", "SELECT 1", &[]), raw::sync()].concat();
        agent.send(&named);
        assert_eq!(shape(&agent.until_ready()), "E:42501 ZI");
        agent.query("SET client_encoding = 'UTF8'");
        agent.send(&named);
        assert_eq!(shape(&agent.until_ready()), "1 ZI");
    }

    /// Of a name the server keeps 63 bytes: what is judged, held and recorded is what runs.
    fn names_that_begin_alike_are_one(server: Server) {
        let stand = Stand::new(&server);
        let mut agent = stand.agent();
        let [one, other] = ["a", "b"].map(|end| "x".repeat(63) + end);
        agent.send(
            &[
                raw::parse(&one, "SELECT 'one'", &[]),
                raw::close(b'S', &other),
                raw::parse(&other, "SELECT what FROM notes", &[]),
                raw::sync(),
            ]
            .concat(),
        );
        assert_eq!(shape(&agent.until_ready()), "1 3 1 ZI");
        // The server has the other one for both.
        agent.query("SET search_path = side");
        for name in [&one, &other] {
            let refused = bound(&mut agent, name);
            assert_eq!(refused, "E:42501 ZI", "{name}");
        }
        agent.query("SET search_path = public");
        assert_eq!(bound(&mut agent, &one), "2 C ZI");
        let replies = agent.query(&format!("EXECUTE \"{}\"", &one[..63]));
        assert_eq!(shape(&replies), "T C ZI", "{}", raw::show(&replies));
    }
}
