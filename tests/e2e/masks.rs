//! Masks and row filters, played with a real server: what a reader sees, what is refused, and twins:
//! two databases that differ in masked columns alone answer every program with the same bytes.

use e2e::{Database, on_each_version};

use crate::raw::{self, Message, Raw};
use crate::setup::{self, Gate, Plan};

mod twins;
mod written;

/// `SSN` and `CARD` stand for what differs between twins; the ends of cards agree.
const SCHEMA: &str = "
    CREATE TABLE customers (id int PRIMARY KEY, name text, ssn varchar(11), card text, region text,
        tag text GENERATED ALWAYS AS (name || ':' || ssn) STORED, CHECK (length(ssn) < 12));
    CREATE UNIQUE INDEX by_ssn ON customers (ssn);
    INSERT INTO customers SELECT g, 'name ' || g, SSN, CARD, CASE g % 2 WHEN 0 THEN 'north' ELSE 'south' END
        FROM generate_series(1, 20) g;
    CREATE TABLE orders (id int PRIMARY KEY, customer int REFERENCES customers, total int, region text);
    INSERT INTO orders SELECT g, g % 20 + 1, g * 10, CASE g % 2 WHEN 0 THEN 'north' ELSE 'south' END
        FROM generate_series(1, 40) g;
    CREATE TABLE audit (id int, what text);
    CREATE VIEW plain AS SELECT id, ssn AS number FROM customers;
    CREATE VIEW telling AS SELECT id FROM customers WHERE ssn LIKE '%7%';
    CREATE MATERIALIZED VIEW kept AS SELECT id, ssn FROM customers;
    CREATE FUNCTION opaque(int) RETURNS text STABLE LANGUAGE sql
        AS 'SELECT ssn::text FROM public.customers WHERE id = $1';
    CREATE FUNCTION told() RETURNS trigger LANGUAGE plpgsql
        AS $$ BEGIN RAISE NOTICE 'was %', OLD.ssn; RETURN NEW; END $$;
    CREATE TRIGGER tells BEFORE UPDATE ON customers FOR EACH ROW WHEN (OLD.id > 15) EXECUTE FUNCTION told();
    GRANT ALL ON SCHEMA public TO public;
    GRANT ALL ON ALL TABLES IN SCHEMA public TO public;
    ANALYZE;
";

const POLICIES: &str = "
  - name: personal
    who: \"*\"
    to: \"*\"
    mask:
      public.customers.ssn: redact
      public.customers.card: last4
  - name: agents
    who: identity:AGENT
    to: \"*\"
    access: { approval: none, window: 1h }
    allow:
      - everything
";

struct Stand {
    database: Database,
    gate: Gate,
}

fn stand(server: &e2e::Server, ssn: &str, card: &str, policies: &str) -> Stand {
    let database = server.database();
    database.login().psql(&SCHEMA.replace("SSN", ssn).replace("CARD", card));
    let policies = policies.replace("AGENT", setup::AGENT);
    let gate = Plan::gateway(&database).top(&format!("policies:{policies}")).start();
    Stand { database, gate }
}

fn twins(server: &e2e::Server) -> [Stand; 2] {
    let one = stand(server, "'123-45-' || 1000 + g", "'4111 1111 1111 ' || 1000 + g", POLICIES);
    let other =
        stand(server, "(900 - g * 7)::text || 'x'", "'55' || md5(g::text) || 1000 + g", POLICIES);
    [one, other]
}

/// A COPY FROM STDIN with its data, up to ReadyForQuery.
fn copied_in(agent: &mut Raw, sql: &str, data: &[u8]) -> Vec<Message> {
    agent.send(&raw::query(sql));
    let mut replies = Vec::new();
    while let Some(reply) = agent.read() {
        let (copies, ready) = (reply.tag == b'G', reply.tag == b'Z');
        replies.push(reply);
        if copies {
            agent.send(&[raw::copy_data(data), raw::copy_done()].concat());
        }
        if ready {
            break;
        }
    }
    replies
}

fn agent(stand: &Stand) -> Raw {
    stand.gate.login().0
}

/// Everything but numbers of relations and processes, which are a database's own.
fn bytes(replies: &[Message]) -> Vec<(u8, Vec<u8>)> {
    let own = |message: &Message| {
        let mut body = message.body.clone();
        if message.tag == b'T' {
            let mut at = 2;
            while let Some(end) = body[at..].iter().position(|byte| *byte == 0) {
                let field = at + end + 1;
                body[field..field + 4].fill(0);
                // The type of a table's rows, too.
                if body[field + 8] >= 0x40 || body[field + 7] > 0 {
                    body[field + 6..field + 10].fill(0);
                }
                at = field + 18;
                if at >= body.len() {
                    break;
                }
            }
        }
        (message.tag, body)
    };
    replies.iter().map(own).collect()
}

/// What an agent tries, and what it works with.
const PROGRAM: &[&str] = &[
    "SELECT * FROM customers ORDER BY id",
    "SELECT ssn, card, tag FROM public.customers WHERE id = 3",
    "SELECT c.ssn, o.total FROM customers c JOIN orders o ON o.customer = c.id ORDER BY o.id LIMIT 3",
    "SELECT id FROM customers WHERE ssn LIKE '%7%' ORDER BY id",
    "SELECT id FROM customers ORDER BY ssn, id",
    "SELECT ssn, count(*) FROM customers GROUP BY ssn",
    "SELECT upper(ssn), length(ssn), ssn::bytea, md5(ssn) FROM customers WHERE id = 1",
    "SELECT ssn::int FROM customers",
    "SELECT card::int FROM customers WHERE id = 2",
    "SELECT to_jsonb(c) FROM customers c WHERE id = 1",
    "SELECT c FROM customers c WHERE id = 1",
    "SELECT c.ssn FROM (SELECT * FROM customers) c WHERE id = 1",
    "WITH c AS (SELECT * FROM customers) SELECT max(ssn), min(card) FROM c",
    "SELECT ssn FROM customers UNION SELECT region FROM orders ORDER BY 1",
    "SELECT (SELECT ssn FROM customers LIMIT 1)",
    "SELECT 1 WHERE EXISTS (SELECT FROM customers WHERE ssn > '5')",
    "TABLE customers",
    "SELECT ctid FROM customers",
    "SELECT xmin, ssn FROM customers",
    "SELECT pg_column_size(ssn) FROM customers WHERE id = 1",
    "SELECT * FROM plain ORDER BY id LIMIT 2",
    "SELECT * FROM telling",
    "SELECT * FROM kept ORDER BY id LIMIT 2",
    "SELECT opaque(1)",
    "SELECT most_common_vals, histogram_bounds FROM pg_stats WHERE tablename = 'customers'",
    "SELECT * FROM pg_statistic",
    "SELECT query_to_xml('SELECT * FROM customers', true, true, '')",
    "SELECT table_to_xml('customers', true, true, '')",
    "SELECT * FROM ts_stat('SELECT to_tsvector(ssn) FROM customers')",
    "DO $$ BEGIN RAISE NOTICE '%', (SELECT max(ssn) FROM customers); END $$",
    "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS 'SELECT max(ssn) FROM customers'",
    "CREATE VIEW w AS SELECT ssn FROM customers",
    "CREATE MATERIALIZED VIEW w AS SELECT ssn FROM customers",
    "CREATE POLICY p ON audit USING (EXISTS (SELECT FROM customers c WHERE c.ssn LIKE what))",
    "CREATE RULE r AS ON INSERT TO audit DO ALSO SELECT ssn FROM customers",
    "CREATE TRIGGER t BEFORE UPDATE ON customers FOR EACH ROW WHEN (OLD.ssn > '5') EXECUTE FUNCTION told()",
    "CREATE STATISTICS s ON ssn, card FROM customers",
    "CREATE TABLE child () INHERITS (customers)",
    "ALTER TABLE customers INHERIT orders",
    "ALTER TABLE customers ADD CHECK (ssn > '5')",
    "ALTER TABLE orders ADD COLUMN ssn varchar(11) REFERENCES customers (ssn)",
    "CREATE INDEX ON customers (card)",
    "ALTER TABLE customers RENAME TO clients",
    "ALTER TABLE customers RENAME ssn TO n",
    "ALTER TABLE customers ALTER ssn TYPE text",
    "ALTER TABLE customers ADD COLUMN s text GENERATED ALWAYS AS (ssn || '') STORED",
    "CREATE TABLE copied AS SELECT * FROM customers",
    "SELECT * FROM copied ORDER BY id LIMIT 3",
    "DROP TABLE copied",
    "INSERT INTO audit SELECT id, ssn FROM customers",
    "SELECT * FROM audit ORDER BY id LIMIT 3",
    "UPDATE customers SET name = ssn WHERE id = 4 RETURNING *",
    "UPDATE customers SET name = 'same' WHERE ssn LIKE '%7%'",
    "UPDATE customers SET name = 'noticed' WHERE id = 18",
    "UPDATE customers SET ssn = '123-45-1003' WHERE id = 5",
    "UPDATE customers SET card = '****1005' WHERE id = 5",
    "INSERT INTO customers (id, ssn) VALUES (50, '123-45-1003')",
    "INSERT INTO customers (id, name) VALUES (1, 'again')",
    "INSERT INTO customers (id, ssn) VALUES (51, 'x') ON CONFLICT (ssn) DO NOTHING",
    "DELETE FROM customers WHERE id = 1",
    "DELETE FROM orders WHERE customer IN (SELECT id FROM customers WHERE ssn > '5') RETURNING id",
    "COPY customers TO STDOUT",
    "COPY (SELECT ssn FROM customers ORDER BY id) TO STDOUT WITH (FORMAT csv)",
    "COPY customers TO '/tmp/x'",
    "EXPLAIN SELECT ssn FROM customers WHERE id = 1",
    "EXPLAIN VERBOSE SELECT ssn FROM customers WHERE ssn = 'x'",
    "EXPLAIN (FORMAT json, COSTS ON) SELECT id FROM customers",
    "EXPLAIN ANALYZE SELECT ssn FROM customers",
    "PREPARE p AS SELECT ssn FROM customers WHERE id = $1; EXECUTE p(2)",
    "EXECUTE p(3)",
    "EXPLAIN EXECUTE p(3)",
    "EXPLAIN ANALYZE EXECUTE p(3)",
    "BEGIN; DECLARE c CURSOR FOR SELECT id, ssn FROM customers ORDER BY id; FETCH 2 FROM c; COMMIT",
    "SELECT nobody FROM customers",
    "SELECT id FROM customers WHERE nobody = 1",
    "SELECT 1/0 FROM customers WHERE ssn = 'y'",
    "SET search_path = pg_temp, public; SELECT ssn FROM customers WHERE id = 1",
    "SELECT current_query(), ssn FROM customers WHERE id = 1",
    "LOCK TABLE customers",
    "SELECT ssn FROM customers WHERE id = 1 FOR UPDATE",
    "SELECT set_config('application_name', ssn, false) FROM customers WHERE id = 1",
    "NOTIFY c, 'x'",
    "VACUUM customers",
];

on_each_version! {
    fn twins_answer_every_program_with_the_same_bytes(server: Server) {
        let [one, other] = twins(&server);
        let (mut to_one, mut to_other) = (agent(&one), agent(&other));
        let (mut ran, mut refused) = (0, 0);
        for sql in PROGRAM {
            let (first, second) = (to_one.query(sql), to_other.query(sql));
            assert_eq!(bytes(&first), bytes(&second), "{sql}: {}\n{}", raw::show(&first), raw::show(&second));
            let shown = raw::show(&first);
            assert!(!shown.contains("123-45") && !shown.contains("4111"), "{sql}: {shown}");
            match first.iter().any(|message| message.tag == b'E') {
                true => refused += 1,
                false => ran += 1,
            }
            for format in [0, 1] {
                let extended = [
                    raw::parse("", sql, &[]),
                    raw::bind("", "", &[], &[], &[format]),
                    raw::describe(b'P', ""),
                    raw::execute("", 0),
                    raw::sync(),
                ]
                .concat();
                to_one.send(&extended);
                to_other.send(&extended);
                let (first, second) = (to_one.until_ready(), to_other.until_ready());
                assert_eq!(bytes(&first), bytes(&second), "{sql}: {}\n{}", raw::show(&first), raw::show(&second));
            }
        }
        println!("{ran} ran, {refused} refused");
        assert!(ran > 35 && refused > 20, "{ran} ran, {refused} refused");
        // The tripwire was not needed.
        let raw_columns = |stand: &Stand| stand.gate.log().contains("as it is stored");
        assert!(!raw_columns(&one) && !raw_columns(&other));
    }

    fn a_masked_column_is_seen_masked_and_others_as_they_are(server: Server) {
        let [one, _] = twins(&server);
        let mut agent = agent(&one);
        for (sql, expected) in [
            ("SELECT ssn FROM customers WHERE id = 3", "********"),
            ("SELECT card FROM customers WHERE id = 3", "****1003"),
            ("SELECT tag FROM customers WHERE id = 3", "********"),
            ("SELECT number FROM plain WHERE id = 3", "********"),
            ("SELECT name FROM customers WHERE id = 3", "name 3"),
            ("SELECT count(*) FROM customers WHERE ssn = '********'", "20"),
        ] {
            assert_eq!(agent.value(sql), expected, "{sql}");
        }
        let said = agent.query("SELECT id FROM customers WHERE ssn + 1 = 2");
        let error = raw::error(&said);
        assert_eq!(error.field(b'P').as_deref(), Some("36"), "{}", error.show());
        let said = agent.query("INSERT INTO customers (id, name) VALUES (1, 'again')");
        let error = raw::error(&said);
        assert_eq!(error.sqlstate(), "23505");
        assert_eq!(error.field(b'D').as_deref(), Some("Key (id)=(withheld) already exists."));
        let bound = [
            raw::parse("", "UPDATE customers SET card = $1 WHERE id = 5", &[]),
            raw::bind("", "", &[], &[Some(b"****1005")], &[]),
            raw::execute("", 0),
            raw::sync(),
        ];
        agent.send(&bound.concat());
        let replies = agent.until_ready();
        assert_eq!(raw::error(&replies).sqlstate(), "42501", "{}", raw::show(&replies));
        let card = one.database.login().psql("SELECT card FROM customers WHERE id = 5");
        assert_eq!(card, "4111 1111 1111 1005");
        for (sql, data, sqlstate) in [
            ("COPY customers (id, card) FROM STDIN", "60\t4111 1111\n61\t****1005\n", Some("42501")),
            ("COPY customers (id, card) FROM STDIN WHERE id > 61", "61\t****1005\n62\t****105\n", None),
            ("COPY customers (id, name) FROM STDIN", "63\t****1005\n", None),
        ] {
            let said = copied_in(&mut agent, sql, data.as_bytes());
            let error = said.iter().find(|message| message.tag == b'E').map(Message::sqlstate);
            assert_eq!(error.as_deref(), sqlstate, "{sql}: {}", raw::show(&said));
        }
        agent.query("PREPARE w AS UPDATE customers SET card = $2, name = $3 WHERE id = $1");
        for (sql, sqlstate) in [
            ("EXECUTE w(6, '****1006', 'x')", Some("42501")),
            ("EXECUTE w(6, '****1006'::text, 'x')", Some("42501")),
            ("EXECUTE w(6, '****' || 1006, 'x')", Some("42501")),
            ("EXPLAIN EXECUTE w(6, '****1006', 'x')", Some("42501")),
            ("EXECUTE w(6)", Some("42501")),
            ("EXECUTE w(6, '4222 1006', '****1006')", None),
            ("EXECUTE w(3 + 4, NULL, upper('x'))", None),
        ] {
            let said = agent.query(sql);
            let error = said.iter().find(|message| message.tag == b'E').map(Message::sqlstate);
            assert_eq!(error.as_deref(), sqlstate, "{sql}: {}", raw::show(&said));
        }
        let cards = "SELECT string_agg(coalesce(card, 'none'), ',' ORDER BY id) FROM customers WHERE id IN (6, 7)";
        assert_eq!(one.database.login().psql(cards), "4222 1006,none");
        agent.value("PREPARE p AS SELECT ssn FROM customers WHERE id = $1; EXECUTE p(2)");
        assert_eq!(agent.value("EXECUTE p(3)"), "********");
        agent.query("PREPARE q AS SELECT id FROM customers WHERE id = 1; PREPARE r AS SELECT card, 1 FROM customers WHERE id = $1");
        assert_eq!(agent.value("EXECUTE r(3)"), "****1003");
        assert_eq!(agent.value("EXECUTE q"), "1");
    }

    fn what_would_take_a_mask_away_is_refused(server: Server) {
        let [one, _] = twins(&server);
        let mut agent = agent(&one);
        for sql in [
            "ALTER TABLE customers RENAME TO clients",
            "ALTER TABLE customers RENAME ssn TO n",
            "ALTER TABLE customers ALTER ssn TYPE text",
            "ALTER TABLE customers DROP COLUMN tag",
            "ALTER TABLE customers SET SCHEMA pg_temp",
            "ALTER SCHEMA public RENAME TO private",
            "ALTER TABLE customers INHERIT orders",
            "DROP TABLE customers CASCADE",
            "CREATE VIEW w AS SELECT ssn FROM customers",
            "CREATE POLICY p ON audit USING (EXISTS (SELECT FROM customers c WHERE c.ssn LIKE what))",
            "CREATE RULE r AS ON INSERT TO audit DO ALSO SELECT ssn FROM customers",
            "SELECT opaque(1)",
            "SELECT * FROM telling",
            "SELECT * FROM pg_stats",
            "SELECT query_to_xml('SELECT * FROM customers', true, true, '')",
            "EXPLAIN ANALYZE SELECT ssn FROM customers",
            "UPDATE customers SET ssn = 'x' WHERE id = 1",
            "SELECT ctid FROM customers",
            // What others send has their values in it.
            "SELECT query FROM pg_stat_activity",
            "SELECT * FROM pg_stat_activity",
            "SELECT a::text FROM pg_stat_activity a",
            "SELECT * FROM pg_stat_get_activity(NULL)",
            "SELECT pg_stat_get_backend_activity(1)",
            "ALTER ROLE CURRENT_USER SET session_replication_role = 'replica'",
        ] {
            let said = agent.query(sql);
            let error = raw::error(&said);
            assert_eq!(error.sqlstate(), "42501", "{sql}: {}", error.show());
            // The server names the routine that complains.
            assert_eq!(error.field(b'R'), None, "{sql}: {}", error.show());
        }
        // And what leaves it alone isn't.
        for sql in [
            "CREATE VIEW w AS SELECT * FROM audit",
            "UPDATE customers SET name = 'new' WHERE id = 1",
            "EXPLAIN SELECT ssn FROM customers",
            "SELECT count(*), max(pid) FROM pg_stat_activity WHERE state = 'active'",
        ] {
            let said = agent.query(sql);
            assert!(said.iter().all(|message| message.tag != b'E'), "{sql}: {}", raw::show(&said));
        }
    }

    /// What a value names there can't be known before; of a sequence nothing is masked.
    fn beside_masks_everything_has_sequences_and_channels_that_values_name(server: Server) {
        let stand = stand(&server, "g::text", "g::text", POLICIES);
        let mut agent = agent(&stand);
        agent.query("CREATE SEQUENCE numbers");
        let named = "(SELECT relname::text FROM pg_class WHERE relname = 'numbers')::regclass";
        assert_eq!(agent.value(&format!("SELECT nextval({named})")), "1");
        assert_eq!(agent.value(&format!("SELECT currval({named})")), "1");
        assert_eq!(agent.value("SELECT pg_notify(relname, '') IS NULL FROM pg_class LIMIT 1"), "f");
        let table = "(SELECT relname::text FROM pg_class WHERE relname = 'customers')::regclass";
        let said = agent.query(&format!("SELECT table_to_xml({table}, true, false, '')"));
        assert_eq!(raw::error(&said).sqlstate(), "42501", "{}", raw::show(&said));
    }

    fn a_filter_lets_through_what_it_says(server: Server) {
        let policies = "
  - name: agents
    who: identity:AGENT
    to: \"*\"
    access: { approval: none, window: 1h }
    allow:
      - everything
    rows: { \"public.customers, public.orders\": \"region = 'north'\" }
";
        let stand = stand(&server, "g::text", "g::text", policies);
        let mut agent = agent(&stand);
        assert_eq!(agent.value("SELECT count(*) FROM customers"), "10");
        assert_eq!(agent.value("SELECT count(*) FROM orders o JOIN customers c ON c.id = o.customer"), "0");
        assert_eq!(agent.value("SELECT count(*) FROM customers WHERE region <> 'north'"), "0");
        agent.query("UPDATE customers SET name = 'mine'");
        agent.query("DELETE FROM orders");
        let left = stand.database.login().psql(
            "SELECT (SELECT count(*) FROM customers WHERE name = 'mine') || ' ' || (SELECT count(*) FROM orders)",
        );
        assert_eq!(left, "10 20");
        for sql in ["INSERT INTO customers (id, region) VALUES (70, 'south')", "UPDATE customers SET region = 'south'", "SELECT * FROM telling"] {
            let said = agent.query(sql);
            assert_eq!(raw::error(&said).sqlstate(), "42501", "{sql}: {}", raw::show(&said));
        }
    }

    fn what_nobody_describes_is_described_to_the_tripwire(server: Server) {
        const SQL: &str = "SELECT c.id, c.ssn, o.ssn FROM customers c JOIN open o ON o.id = c.id ORDER BY 1 LIMIT 1";
        let tags = |replies: &[Message]| replies.iter().map(|message| message.tag).collect::<Vec<_>>();
        let run = |statement: &str| {
            [raw::bind("", statement, &[], &[], &[]), raw::execute("", 0), raw::sync()].concat()
        };
        let unnamed = |sql: &str| [raw::parse("", sql, &[]), run("")].concat();
        let described = [raw::parse("", SQL, &[]), raw::describe(b'S', ""), run("")].concat();
        // What is prepared before names change hands, and what is sent then.
        let ways: [(&str, Vec<u8>, Vec<u8>); 6] = [
            ("simple", raw::query("SELECT 1"), raw::query(SQL)),
            ("described", raw::query("SELECT 1"), described),
            ("unnamed", raw::query("SELECT 1"), unnamed(SQL)),
            ("named", [raw::parse("p", SQL, &[]), raw::sync()].concat(), run("p")),
            ("by SQL", raw::query(&format!("PREPARE p AS {SQL}")), unnamed("EXECUTE p")),
            ("a cursor", raw::query("SELECT 1"), [
                raw::parse("", "BEGIN", &[]), run(""),
                unnamed(&format!("DECLARE c CURSOR FOR {SQL}")),
                unnamed("FETCH 1 FROM c"),
            ].concat()),
        ];
        for (way, before, then) in ways {
            let database = server.database();
            let schema = SCHEMA.replace("SSN", "'stored ' || g").replace("CARD", "''");
            database.login().psql(&format!(
                "{schema} CREATE TABLE open AS SELECT * FROM customers; UPDATE open SET ssn = 'shown'; \
                 GRANT SELECT ON open TO public"
            ));
            let policies = POLICIES.replace("AGENT", setup::AGENT);
            let gate = Plan::gateway(&database)
                .top("bounds: { catalog_age_max: 1h }")
                .top(&format!("policies:{policies}"))
                .start();
            // As it should be: the answers are those of the server alone, however often it is run.
            let (mut direct, mut agent) = (setup::admin(&database), gate.login().0);
            for raw in [&mut direct, &mut agent] {
                raw.send(&[raw::parse("s", SQL, &[]), run("s"), run("s")].concat());
                assert_eq!(tags(&raw.until_ready()), *b"12DCZ", "{way}");
                assert_eq!(tags(&raw.until_ready()), *b"2DCZ", "{way}");
                raw.send(&unnamed("SELECT nobody FROM customers"));
                assert_eq!(tags(&raw.until_ready()), *b"EZ", "{way}");
            }
            agent.send(&before);
            let replies = agent.until_ready();
            assert!(!tags(&replies).contains(&b'E'), "{way}: {}", raw::show(&replies));
            assert!(!gate.log().contains("as it is stored"), "{way}");
            // Names change hands behind the gate's back: it believes in what it knows for an hour.
            database.login().psql(
                "BEGIN; ALTER TABLE customers RENAME TO other; ALTER TABLE open RENAME TO customers; \
                 ALTER TABLE other RENAME TO open; COMMIT",
            );
            agent.send(&then);
            let mut said = Vec::new();
            while let Some(reply) =
                agent.read_within(raw::PATIENCE).unwrap_or_else(|e| panic!("{way}: {e}: {}", raw::show(&said)))
            {
                said.push(reply);
            }
            let shown = raw::show(&said);
            assert!(!shown.contains("stored 1"), "{way}: {shown}");
            assert_eq!(said.last().map(Message::sqlstate).as_deref(), Some("08P01"), "{way}: {shown}");
            setup::eventually("the log says why", || gate.log().contains("as it is stored"));
        }
    }
}
