//! Programs that people use, before a gateway whose policy lets them read: what they find out about
//! a schema is what they find out directly, and what they write is refused with 42501, after which
//! their session goes on.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use e2e::{Database, Directory, Login, Role, Server, on_each_version};

use crate::setup::{Gate, Plan};

const SHOP: &str = include_str!("policy_clients/shop.sql");

const READ_ONLY: &str = "policies:
  - name: agents read
    who: \"*\"
    to: \"*\"
    access: { window: 1h, approval: none }
    allow:
      - read: \"*\"
      - use: shop.label";

on_each_version! {
    fn psql(server: Server) {
        let stand = Stand::new(&server);
        let script = program("psql.sql");
        for clients in e2e::versions().into_iter().map(|version| e2e::pg(version).admin().clients) {
            let run = |login: &Login| {
                let login = Login { clients: clients.clone(), ..login.clone() };
                let mut psql = login.program("psql");
                let output = finished(psql.args(["-X", "-a", "-f"]).arg(&script));
                let whole = text(&output.stdout) + &text(&output.stderr);
                // What \conninfo says of the way in; and with what the gate points out a column that
                // a server of another version lacks.
                let differs = |line: &&str| {
                    let line = line.trim();
                    !["You are connected", "Host", "Server Port", "Client User", "Database  ",
                      "Backend PID", "LINE ", "DETAIL:  {", "HINT:  Perhaps you meant", "^"]
                    .iter().any(|begin| line.starts_with(begin))
                };
                whole.lines().filter(differs).map(|line| format!("{line}\n")).collect::<String>()
            };
            let expected = run(&stand.direct);
            assert!(expected.contains("orders_open"), "{expected}");
            assert_same(&run(&stand.gated), &expected);
        }
        for write in [
            "INSERT INTO shop.orders (customer_id) VALUES (1);",
            "COPY shop.orders FROM STDIN;\n\\.",
            "CREATE TABLE shop.made ();",
            "DO 'BEGIN END';",
            "SELECT nextval('shop.numbers');",
            "SELECT 1; DELETE FROM shop.orders;",
        ] {
            let mut psql = stand.gated.program("psql");
            let sql = format!("{write}\n\\echo :SQLSTATE\nSELECT count(*) FROM shop.orders");
            let directory = Directory::new();
            let output = finished(psql.args(["-X", "-A", "-t", "-q", "-f"])
                .arg(directory.file("write.sql", &sql)));
            let expected = if write.starts_with("SELECT 1") { "1\n42501\n3\n" } else { "42501\n3\n" };
            assert_eq!(text(&output.stdout), expected, "{write}: {}", text(&output.stderr));
        }
    }

    fn pg_dump_of_the_schema(server: Server) {
        let stand = Stand::new(&server);
        for version in e2e::versions() {
            let clients = e2e::pg(version).admin().clients;
            for options in [&["--schema-only"][..], &["--schema-only", "-n", "shop", "--no-owner"]] {
                let run = |login: &Login| {
                    let login = Login { clients: clients.clone(), ..login.clone() };
                    let output = login.program("pg_dump").args(options).output().expect("pg_dump");
                    // An older one doesn't take newer servers, directly or otherwise. The key is
                    // drawn anew each time.
                    let lines = text(&output.stdout) + &text(&output.stderr);
                    let lines = lines.lines().filter(|line| !line.contains("restrict "));
                    lines.map(|line| format!("{line}\n")).collect::<String>()
                };
                let expected = run(&stand.direct);
                assert!(version < server.version || expected.contains("CREATE TABLE shop.orders"));
                assert_same(&run(&stand.gated), &expected);
            }
        }
    }

    fn sqlalchemy(server: Server) {
        let stand = Stand::new(&server);
        let run = |login: &Login, then: &str| {
            let url = format!(
                "postgresql+psycopg://{}:{}@{}:{}/{}",
                login.user, percent(&login.password), login.host, login.port, login.database
            );
            let mut python = login.apply(e2e::python());
            text(&finished(python.arg(program("sqlalchemy_reflection.py")).args([&url, then]))
                .stdout)
        };
        let expected = run(&stand.direct, "");
        assert!(expected.contains("total_is_small"), "{expected}");
        assert_same(&run(&stand.gated, "refused"), &expected);
    }

    fn django(server: Server) {
        let stand = Stand::new(&server);
        let run = |login: &Login, then: &str| {
            let mut python = login.apply(e2e::python());
            python.arg(program("django_inspectdb.py")).args([
                &login.host, &login.port.to_string(), &login.user, &login.password,
                &login.database, then,
            ]);
            text(&finished(&mut python).stdout)
        };
        let expected = run(&stand.direct, "");
        assert!(expected.contains("class OpenOrders(models.Model)"), "{expected}");
        assert_same(&run(&stand.gated, "refused"), &expected);
    }

    fn jdbc(server: Server) {
        let stand = Stand::new(&server);
        let run = |login: &Login, then: &str| {
            let url = format!("jdbc:postgresql://{}:{}/{}", login.host, login.port, login.database);
            let mut java = Command::new("java");
            // Small and started at once; the class path is the driver's.
            java.args(["-Xshare:auto", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx128m"])
                .arg("-cp").arg(e2e::jdbc()).arg(program("Metadata.java"))
                .args([&url, &login.user, &login.password, then]);
            text(&finished(&mut java).stdout)
        };
        let expected = run(&stand.direct, "");
        assert!(expected.contains("|orders_open|"), "{expected}");
        // Names of rights' holders are the database's, but for the catalog's own name.
        let gated = run(&stand.gated, "refused");
        assert_same(&gated.replace(&stand.gated.database, &stand.direct.database), &expected);
    }
}

struct Stand {
    direct: Login,
    gated: Login,
    _gate: Gate,
    _database: Database,
}

impl Stand {
    /// The gateway's role owns everything: what is refused, Gatepost refuses.
    fn new(server: &Server) -> Stand {
        let database = server.database();
        let admin = database.login();
        admin.psql(&format!("GRANT CREATE ON DATABASE {} TO public", database.name));
        // As the gateway's side: what psql says of the connection is the same.
        let direct = database.login_as(Role::Scram).with("PGSSLMODE", "disable");
        direct.psql(SHOP);
        let gate = Plan::gateway(&database).top(READ_ONLY).start();
        Stand { direct, gated: gate.client(&database), _gate: gate, _database: database }
    }
}

fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/policy_clients").join(name)
}

/// As a URL has it.
fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Whole, or the first line that differs.
fn assert_same(found: &str, expected: &str) {
    for (number, (found, expected)) in found.lines().zip(expected.lines()).enumerate() {
        assert_eq!(found, expected, "line {number}");
    }
    let ends = |text: &str| text.lines().last().unwrap_or_default().to_owned();
    assert_eq!(found.len(), expected.len(), "{} is where one ends", ends(found));
}

fn finished(command: &mut Command) -> Output {
    let output = command.output().expect("the program runs");
    let status = output.status;
    assert!(status.success(), "{command:?}: {status}: {}", text(&output.stderr));
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
