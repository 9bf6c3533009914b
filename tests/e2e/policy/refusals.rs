//! A refusal in every place of the protocol: what the client reads, and where the session stands.

use e2e::on_each_version;

use super::stand::{Stand, assert_kept, error, extended, field, shape};
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
            ("SET application_name = 'me'", "C S ZI"),
            ("SET role = postgres", "E:42501 ZI"),
            ("", "I ZI"),
            ("DO $$ BEGIN END $$", "E:42501 ZI"),
            ("SELECT * FROM nowhere", "E:42P01 ZI"),
            ("SELEC", "E:42601 ZI"),
        ] {
            let replies = agent.query(sql);
            let got = shape(&replies).replace("S C", "C S");
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
}
