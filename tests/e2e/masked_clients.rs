//! Drivers and ORMs read masked columns of the common types: what they are given through the gateway,
//! as text and as binary, is what they are given directly by a database that really holds the masked
//! values. What is refused, and what attackers try, is the business of `masks`.

use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::{Database, Login, Role, Server, on_each_version};

use crate::setup::{Gate, Plan};

/// A column's name, type and mask, what it holds, and what its mask makes of that.
const COLUMNS: [(&str, &str, &str, &str, &str); 27] = [
    ("r_text", "text", "redact", "'Ada Moreau'", "'********'"),
    ("r_varchar", "varchar(20)", "redact", "'Ada Moreau'", "'********'"),
    ("r_short", "varchar(3)", "redact", "'Ada'", "'***'"),
    ("r_int", "int", "redact", "4711", "0"),
    ("r_big", "bigint", "redact", "9007199254740993", "0"),
    ("r_numeric", "numeric(10,2)", "redact", "47.11", "0.00"),
    ("r_double", "float8", "redact", "47.11", "0"),
    ("r_bool", "boolean", "redact", "true", "false"),
    ("r_date", "date", "redact", "'1987-06-05'", "'2000-01-01'"),
    ("r_stamp", "timestamptz", "redact", "'1987-06-05 04:03:02+00'", "'2000-01-01 00:00:00+00'"),
    ("r_uuid", "uuid", "redact", "gen_random_uuid()", "'00000000-0000-0000-0000-000000000000'"),
    ("r_bytes", "bytea", "redact", "'\\xdeadbeef'", "''"),
    ("r_json", "jsonb", "redact", "'{\"ssn\": 4711}'", "'null'"),
    ("r_array", "text[]", "redact", "'{a,b}'", "'{}'"),
    ("r_interval", "interval", "redact", "'3 days'", "'0'"),
    ("r_mood", "mood", "redact", "'glad'", "'sad'"),
    ("e_text", "text", "empty", "'Ada Moreau'", "NULL"),
    ("l_text", "text", "last4", "'4111111111111111'", "'****1111'"),
    ("l_big", "bigint", "last4", "4111111111111234", "1234"),
    ("f_text", "text", "first1", "'Ada Moreau'", "'A****'"),
    ("m_text", "text", "email", "'ada@example.com'", "'****@example.com'"),
    ("y_date", "date", "year", "'1987-06-05'", "'1987-01-01'"),
    ("y_stamp", "timestamptz", "year", "'1987-06-05 04:03:02+00'", "'1987-01-01 00:00:00+00'"),
    ("n_int", "int", "range(100)", "4711", "4700"),
    ("n_numeric", "numeric(10,2)", "range(100)", "4711.23", "4700.00"),
    ("s_text", "text", "{ sql: \"left(s_text, 3)\" }", "'Ada Moreau'", "'Ada'"),
    ("plain", "text", "", "'as it is'", "'as it is'"),
];

on_each_version! {
    fn psycopg_and_asyncpg(server: Server) {
        let stand = Stand::new(&server);
        stand.same(|login| {
            let mut python = login.apply(e2e::python());
            python.arg(program("read.py")).args(arguments(login));
            python
        });
    }

    fn sqlalchemy_and_django(server: Server) {
        let stand = Stand::new(&server);
        let said = stand.same(|login| {
            let mut python = login.apply(e2e::python());
            python.arg(program("orm.py")).args(arguments(login));
            python
        });
        assert!(said.contains("('********', 'seen')"), "{said}");
        // What was written is what was meant, masked for whoever wrote it alone.
        let held = stand.raw.login().psql("SELECT DISTINCT r_text FROM people WHERE id > 3");
        assert_eq!(held, "a new secret");
    }

    fn jdbc(server: Server) {
        let stand = Stand::new(&server);
        stand.same(|login| {
            let url = format!("jdbc:postgresql://{}:{}/{}", login.host, login.port, login.database);
            let mut java = Command::new("java");
            // Small and started at once; the class path is the driver's.
            java.args(["-Xshare:auto", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx128m"])
                .arg("-cp").arg(e2e::jdbc()).arg(program("Read.java"))
                .args([&url, &login.user, &login.password]);
            java
        });
    }

    fn node_pg(server: Server) {
        let stand = Stand::new(&server);
        stand.same(|login| {
            let (node, modules) = e2e::node();
            let mut command = Command::new(node);
            command.arg(program("read.mjs")).arg(modules).args(arguments(login));
            command
        });
    }
}

struct Stand {
    raw: Database,
    masked: Database,
    gate: Gate,
}

impl Stand {
    fn new(server: &Server) -> Stand {
        let [raw, masked] = [server.database(), server.database()];
        let columns = COLUMNS.map(|(name, of, ..)| format!("{name} {of}")).join(", ");
        let values = |of: fn(&(&str, &str, &str, &str, &str)) -> String| {
            let all: Vec<String> = COLUMNS.iter().map(of).collect();
            all.join(", ")
        };
        for (database, values) in [
            (&raw, values(|(.., raw, _)| (*raw).to_owned())),
            (&masked, values(|(.., masked)| (*masked).to_owned())),
        ] {
            database.login().psql(&format!(
                "CREATE TYPE mood AS ENUM ('sad', 'glad');
                 CREATE TABLE people (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, {columns});
                 INSERT INTO people VALUES (DEFAULT, {values}), (DEFAULT, {values});
                 INSERT INTO people DEFAULT VALUES;
                 GRANT ALL ON people TO public"
            ));
        }
        let masks: String = COLUMNS
            .iter()
            .filter(|(_, _, mask, ..)| !mask.is_empty())
            .map(|(name, _, mask, ..)| format!("\n      public.people.{name}: {mask}"))
            .collect();
        let policies = format!(
            "policies:
  - name: personal
    who: \"*\"
    to: \"*\"
    mask:{masks}
  - name: agents
    who: \"*\"
    to: \"*\"
    access: {{ window: 1h, approval: none }}
    allow:
      - read: \"*\"
      - insert: public.people"
        );
        let gate = Plan::gateway(&raw).top(&policies).start();
        Stand { raw, masked, gate }
    }

    /// Runs the program on both, and it says the same.
    fn same(&self, run: impl Fn(&Login) -> Command) -> String {
        let said = |login: &Login, given: &str| {
            let mut command = run(login);
            let output = command.arg(given).output().expect("the program runs");
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{command:?}: {errors}");
            String::from_utf8(output.stdout).expect("words")
        };
        let direct = self.masked.login_as(Role::Scram).with("PGSSLMODE", "disable");
        // There a mask is what is written, too.
        let expected = said(&direct, "********");
        assert!(expected.contains("as it is"), "{expected}");
        let found = said(&self.gate.client(&self.raw), "a new secret");
        for (found, expected) in found.lines().zip(expected.lines()) {
            assert_eq!(found, expected);
        }
        assert_eq!(found.len(), expected.len());
        found
    }
}

fn arguments(login: &Login) -> [String; 5] {
    let port = login.port.to_string();
    [&login.host, &port, &login.user, &login.password, &login.database].map(String::clone)
}

fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/masked_clients").join(name)
}
