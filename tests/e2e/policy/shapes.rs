//! Texts that differ in literals alone: what is said to one is not said to all, where the literals
//! matter.

use e2e::on_each_version;

use super::stand::{Stand, assert_kept, shape};
use crate::setup::Plan;

/// The first may run whenever it comes. The second, which differs from it in literals alone, may not.
const PAIRS: &[(&str, &str)] = &[
    (
        "SELECT name, set_config('application_name', 'a', false) FROM items",
        "SELECT name, set_config('session_authorization', 'postgres', false) FROM items",
    ),
    (
        "SELECT name, has_table_privilege('items', 'select') FROM items",
        "SELECT name, query_to_xml('SELECT * FROM secrets', 'true', 'f', '') FROM items",
    ),
    ("SELECT name, nextval('made') FROM items", "SELECT name, nextval('hidden') FROM items"),
    ("SELECT 'items'::regclass, 1 FROM items", "SELECT 'secrets'::regclass, 1 FROM secrets"),
    ("INSERT INTO notes VALUES (1, 'a')", "INSERT INTO secrets VALUES (1, 'a')"),
];

/// Statements of one shape, which all may run.
const ALIKE: &[&[&str]] = &[
    &["SELECT name FROM items WHERE id = 1", "SELECT name FROM items WHERE id = 2"],
    &[
        "SELECT name FROM items WHERE name = 'it''em 1'",
        "SELECT name FROM items WHERE name = 'item 3'",
    ],
    &["SELECT name, id FROM items ORDER BY 1, 2", "SELECT name, id FROM items ORDER BY 1, 1"],
    &["SELECT 1 + 1", "SELECT 1 + 12"],
    &["SELECT 1 / 2", "SELECT 1 / 0"],
    &["SELECT name FROM items LIMIT 2", "SELECT name FROM items LIMIT 3"],
    &[
        "SELECT count(*) FROM items WHERE id IN (1, 2)",
        "SELECT count(*) FROM items WHERE id IN (4, 9)",
    ],
    &["SELECT name FROM items WHERE id = 'x'", "SELECT name FROM items WHERE id = '4'"],
];

on_each_version! {
    fn a_literal_that_matters_is_looked_at_each_time(server: Server) {
        let stand = Stand::new(&server);
        stand.database.login().psql("CREATE SEQUENCE made; CREATE SEQUENCE hidden");
        let mut agent = stand.agent();
        for (innocent, forbidden) in PAIRS {
            let before = shape(&agent.query(forbidden));
            assert!(before.contains("E:"), "{forbidden}: {before}");
            let mut innocent_before = None;
            for _ in 0..4 {
                let now = shape(&agent.query(innocent));
                assert_eq!(innocent_before.get_or_insert(now.clone()), &now, "{innocent}");
            }
            let replies = agent.query(forbidden);
            assert_kept(&stand.database, &replies, forbidden);
            assert_eq!(shape(&replies), before, "{forbidden}");
        }
    }

    fn values_come_as_they_were_asked_for(server: Server) {
        let stand = Stand::new(&server);
        let unjudged = Plan::gateway(&stand.database).start();
        let (mut agent, mut free) = (stand.agent(), unjudged.login().0);
        for round in 0..4 {
            for alike in ALIKE {
                for sql in *alike {
                    assert_eq!(agent.query(sql), free.query(sql), "{sql}, round {round}");
                }
            }
        }
    }
}
