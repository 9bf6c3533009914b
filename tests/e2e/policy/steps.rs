//! Strings that can't be judged before they run: they run step by step, in one transaction, and to the
//! client that is PostgreSQL's own way with a string. Migrations as tools send them are compared with
//! a server that gets them directly; a refusal behind the first step leaves nothing of it.

use e2e::{Database, Role, Server, on_each_version};

use super::stand::{field, shape};
use crate::raw::{self, Message, Raw};
use crate::setup::{self, Gate, Plan, Target};

const POLICIES: &str = "policies:
  - name: migrations
    who: identity:AGENT
    to: \"*\"
    access: { approval: none, window: 1h }
    allow:
      - ddl: public.*, app.*, pg_temp.*
      - create schema: app
      - read, write: public.*, app.*, pg_temp.*
        except: public.secrets
      - create function, drop function, create trigger: public.*, app.*
      - vacuum
      - maintain: public.*
      - use: public.*, app.*
";

const MIGRATIONS: [(&str, &str); 10] = [
    ("alembic", include_str!("migrations/alembic.sql")),
    ("django sqlmigrate", include_str!("migrations/django_sqlmigrate.sql")),
    ("down", include_str!("migrations/down.sql")),
    ("flyway", include_str!("migrations/flyway.sql")),
    ("golang-migrate", include_str!("migrations/golang_migrate.sql")),
    ("hasura", include_str!("migrations/hasura.sql")),
    ("liquibase", include_str!("migrations/liquibase.sql")),
    ("partitions", include_str!("migrations/partitions.sql")),
    ("prisma", include_str!("migrations/prisma.sql")),
    ("rails structure.sql", include_str!("migrations/rails_structure.sql")),
];

/// What there is of relations, functions, types and triggers, and in the tables.
const FOUND: &str = "SELECT string_agg(what, E'\\n' ORDER BY what) FROM ( \
    SELECT n.nspname || '.' || c.relname || ' ' || c.relkind::text || ' ' || c.reltuples::int || \
    coalesce((SELECT string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' \
    ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0), '') AS what \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE n.nspname IN ('public', 'app') UNION ALL \
    SELECT proname::text FROM pg_proc WHERE pronamespace::regnamespace::text IN ('public', 'app') UNION ALL \
    SELECT tgname::text FROM pg_trigger WHERE NOT tgisinternal UNION ALL \
    SELECT typname::text FROM pg_type WHERE typnamespace::regnamespace::text IN ('public', 'app')) f";

struct Stand {
    database: Database,
    gate: Gate,
}

impl Stand {
    fn new(server: &Server) -> Stand {
        let database = prepared(server);
        let gate = Plan::gateway(&database).top(&POLICIES.replace("AGENT", setup::AGENT)).start();
        Stand { database, gate }
    }

    fn agent(&self) -> Raw {
        self.gate.login().0
    }

    fn found(&self) -> String {
        found(&self.database)
    }
}

fn prepared(server: &Server) -> Database {
    let database = server.database();
    let role = Role::Scram.name();
    database.login().psql(&format!(
        "GRANT ALL ON SCHEMA public TO public; GRANT CREATE ON DATABASE {} TO {role}; \
         CREATE TABLE secrets (name text); INSERT INTO secrets VALUES ('hush'); \
         GRANT ALL ON secrets TO public",
        database.name
    ));
    database
}

fn found(database: &Database) -> String {
    database.login().psql("ANALYZE");
    database.login().psql(FOUND)
}

/// As far as it does not differ from one run to the next.
fn said(messages: &[Message]) -> Vec<String> {
    let said =
        messages.iter().filter(|message| message.tag != b'S').map(|message| match message.tag {
            b'T' => "T".to_owned(),
            b'E' | b'N' => {
                let fields =
                    [b'S', b'C', b'M', b'P'].map(|code| message.field(code).unwrap_or_default());
                format!("{} {fields:?}", char::from(message.tag))
            }
            tag => format!("{} {}", char::from(tag), String::from_utf8_lossy(&message.body)),
        });
    said.collect()
}

on_each_version! {
    fn migrations_as_tools_send_them(server: Server) {
        for (name, migration) in MIGRATIONS {
            let (stand, direct) = (Stand::new(&server), prepared(&server));
            let (mut theirs, _) = Target::direct(&direct, Role::Scram).login();
            let mut ours = stand.agent();
            let (expected, got) = (theirs.query(migration), ours.query(migration));
            assert!(!shape(&expected).contains('E'), "{name}: {}", raw::show(&expected));
            assert_eq!(said(&got), said(&expected), "{name}: {}", raw::show(&got));
            assert_eq!(stand.found(), found(&direct), "{name}");
            // The session is where it would be.
            for sql in ["SHOW search_path", "SELECT 1"] {
                assert_eq!(said(&ours.query(sql)), said(&theirs.query(sql)), "{name}: {sql}");
            }
        }
    }

    /// As PostgreSQL says it, in the place where it says it, and nothing stays.
    fn what_fails_on_the_way_fails_as_a_string_does(server: Server) {
        let (stand, direct) = (Stand::new(&server), prepared(&server));
        let (mut theirs, _) = Target::direct(&direct, Role::Scram).login();
        let mut ours = stand.agent();
        let made = "CREATE TABLE \"tablé\" (id int PRIMARY KEY); \
                    CREATE FUNCTION f(n int) RETURNS int LANGUAGE sql AS 'SELECT 1 / n'; ";
        for rest in [
            "SELECT f(1); SELECT f(0); SELECT f(1)",
            "SELECT f(1), 'ü'; SELECT 'x'::int, f(1)",
            "INSERT INTO \"tablé\" VALUES (f(1)); INSERT INTO \"tablé\" VALUES (f(1))",
            "SELECT f(1); VACUUM",
            "CREATE TABLE points (id int REFERENCES \"tablé\" DEFERRABLE INITIALLY DEFERRED); \
             SELECT f(1); INSERT INTO points VALUES (f(1))",
        ] {
            let sql = format!("{made}{rest}");
            let (expected, got) = (theirs.query(&sql), ours.query(&sql));
            assert_eq!(said(&got), said(&expected), "{sql}: {}", raw::show(&got));
            assert_eq!(stand.found(), found(&direct), "{sql}");
            let block = format!("BEGIN; {sql}");
            let (expected, got) = (theirs.query(&block), ours.query(&block));
            assert_eq!(said(&got), said(&expected), "{block}: {}", raw::show(&got));
            for sql in ["SELECT 1", "ROLLBACK", "SELECT 1"] {
                assert_eq!(said(&ours.query(sql)), said(&theirs.query(sql)), "{block}: {sql}");
            }
        }
    }

    fn a_refusal_on_the_way_leaves_nothing(server: Server) {
        let stand = Stand::new(&server);
        let before = stand.found();
        let made = "CREATE TABLE made (id int); INSERT INTO made VALUES (1); \
                    CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; SELECT f(); ";
        for (rest, sqlstate) in [
            ("SELECT name FROM secrets", "42501"),
            ("SELECT f(); SELECT name FROM secrets; SELECT f()", "42501"),
            ("CREATE VIEW v AS SELECT name FROM secrets; SELECT * FROM v", "42501"),
            ("ALTER TABLE secrets RENAME TO s; SELECT f()", "42501"),
            ("SELECT * FROM nowhere", "42P01"),
            ("DO $$ BEGIN DELETE FROM secrets; END $$", "42501"),
            ("SET ROLE postgres", "42501"),
        ] {
            let mut agent = stand.agent();
            let sql = format!("{made}{rest}");
            let replies = agent.query(&sql);
            let shape_of = shape(&replies);
            assert!(shape_of.ends_with(&format!("E:{sqlstate} ZI")), "{sql}: {}", raw::show(&replies));
            assert_eq!(stand.found(), before, "{sql}");
            assert!(!raw::show(&replies).contains("hush"), "{sql}");
            assert_eq!(shape(&agent.query("SELECT 1")), "T D C ZI");
            // In a block of the client's it fails with it.
            assert_eq!(shape(&agent.query("BEGIN")), "C ZT");
            let replies = agent.query(&sql);
            assert!(shape(&replies).ends_with(&format!("E:{sqlstate} ZE")), "{}", raw::show(&replies));
            assert_eq!(shape(&agent.query("COMMIT")), "C ZI");
            assert_eq!(stand.found(), before, "{sql}");
        }
        let mut agent = stand.agent();
        let sql = format!("{made}SELECT 1; SELECT name FROM secrets");
        let at = sql.find("secrets").unwrap() + 1;
        assert_eq!(field(&agent.query(&sql), b'P'), at.to_string());
    }

    /// The code of a trigger makes steps of what prepares and what runs it.
    fn what_one_step_prepares_runs_in_the_next(server: Server) {
        let (stand, direct) = (Stand::new(&server), prepared(&server));
        let (mut theirs, _) = Target::direct(&direct, Role::Scram).login();
        let mut ours = stand.agent();
        for sql in [
            "CREATE TABLE kept (id int); CREATE FUNCTION passes() RETURNS trigger LANGUAGE plpgsql \
             AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER passes BEFORE INSERT ON kept \
             FOR EACH ROW EXECUTE FUNCTION passes()",
            "PREPARE p (int) AS INSERT INTO kept VALUES ($1) RETURNING id; EXECUTE p(1); EXECUTE p(2)",
            "EXECUTE p(3)",
            "DEALLOCATE p; PREPARE p AS INSERT INTO kept VALUES (4); EXECUTE p; EXECUTE p",
            "EXECUTE p; DEALLOCATE p; PREPARE p AS INSERT INTO kept VALUES (5)",
            "EXECUTE p",
            "SELECT id FROM kept ORDER BY id",
        ] {
            let (expected, got) = (theirs.query(sql), ours.query(sql));
            assert!(!shape(&expected).contains('E'), "{sql}: {}", raw::show(&expected));
            assert_eq!(said(&got), said(&expected), "{sql}: {}", raw::show(&got));
        }
        let refused = ours.query("EXECUTE p; PREPARE q AS SELECT name FROM secrets; EXECUTE q");
        assert!(shape(&refused).ends_with("E:42501 ZI"), "{}", raw::show(&refused));
        assert_eq!(ours.query("SELECT id FROM kept WHERE id = 5").len(), 4, "nothing of that stays");
    }

    /// What a commit in its midst would keep is refused whole, before any of it runs.
    fn a_string_that_commits_on_the_way_is_sent_in_parts(server: Server) {
        let stand = Stand::new(&server);
        let before = stand.found();
        let function = "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'";
        for sql in [
            format!("BEGIN; {function}; SELECT f(); COMMIT; SELECT f()"),
            format!("{function}; SELECT f(); COMMIT"),
            format!("{function}; BEGIN; SELECT f(); COMMIT"),
            format!("{function}; SELECT f(); SAVEPOINT a"),
            format!("CREATE TABLE t (id int); {function}; SELECT f(); COPY t FROM STDIN; SELECT f(); SELECT f()"),
        ] {
            let mut agent = stand.agent();
            let replies = agent.query(&sql);
            assert!(field(&replies, b'D').contains("send_it_alone"), "{sql}: {}", raw::show(&replies));
            assert!(shape(&replies).contains("E:0A000 Z"), "{sql}: {}", raw::show(&replies));
            assert_eq!(stand.found(), before, "{sql}");
        }
    }
}
