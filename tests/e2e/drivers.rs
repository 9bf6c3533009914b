//! Clients that people use, each doing a little of all it can, with the results asserted: directly
//! (so that a fault of the test shows as one), through the gateway's login, and in observe mode.
//! What bytes they exchange is the business of `transcript`.

use std::fmt::Write as _;
use std::future::poll_fn;
use std::path::Path;
use std::process::{Command, Output};

use e2e::{Database, Directory, Login, Server, on_each_version};
use futures_util::{SinkExt, TryStreamExt, pin_mut};
use tokio_postgres::{AsyncMessage, NoTls, SimpleQueryMessage};

use crate::setup::{self, Gate, Mode, Plan};

on_each_version! {
    /// A script's whole output, errors and notices included, is that of a direct session.
    fn psql_scripts(server: Server) {
        let directory = Directory::new();
        let data: String = (1..=2000).map(|n| format!("{n}\trow {n}\n")).collect();
        directory.file("in.tsv", &data);
        let script = directory.file("script.sql", PSQL_SCRIPT);
        let run = |way: &Way| {
            let output = finished(
                way.login.program("psql").current_dir(&*directory)
                    .args(["-X", "-a", "-f"]).arg(&script),
            );
            let copied = std::fs::read_to_string(directory.join("out.csv")).expect("the copy");
            assert_eq!(copied.lines().count(), 2001, "a header and the rows");
            assert_eq!(copied.lines().nth(2000), Some("2000,row 2000"));
            std::fs::remove_file(directory.join("out.csv")).expect("the copy");
            (text(&output.stdout), text(&output.stderr))
        };
        let ways = ways(&server);
        let expected = run(&ways[0]);
        assert!(expected.0.contains("Table \"public.psql_t\""), "{}", expected.0);
        assert!(expected.0.contains("2001000"), "{}", expected.0);
        assert!(expected.1.contains("division by zero"), "{}", expected.1);
        for way in &ways[1..] {
            assert_eq!(run(way), expected, "{:?}", way.mode);
        }
    }

    fn psycopg_3(server: Server) {
        for way in ways(&server) {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/drivers/exercise.py");
            let output = way.login.apply(e2e::python())
                .arg(script).arg(way.login.conninfo()).output().expect("python runs");
            assert!(
                output.status.success() && text(&output.stdout).ends_with("identifiers\n"),
                "{:?}: {}{}", way.mode, text(&output.stdout), text(&output.stderr)
            );
        }
    }

    fn rust_tokio_postgres(server: Server) {
        for way in ways(&server) {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2)
                .enable_all().build().expect("a runtime");
            runtime.block_on(async {
                tokio::time::timeout(e2e::PATIENCE, with_tokio_postgres(&way.login)).await
                    .unwrap_or_else(|_| panic!("{:?} takes too long", way.mode))
                    .unwrap_or_else(|e| panic!("{:?}: {e}", way.mode));
            });
        }
    }

    /// Custom, directory (several sessions on one snapshot) and plain: dumps through the gateway
    /// restore through the gateway, and what came out is what went in.
    fn pg_dump_and_restore(server: Server) {
        let source = server.database();
        source.login().psql(DUMP_SCHEMA);
        let expected = dump(&source.login(), &[]);
        assert!(expected.contains("CREATE MATERIALIZED VIEW public.totals"), "{expected}");
        let gate = superuser(&source).start();
        let login = gate.client(&source);
        assert_eq!(dump(&login, &[]), expected, "plain");

        let directory = Directory::new();
        for (name, options) in
            [("custom", &["-Fc"][..]), ("parallel", &["-Fd", "-j", "2"]), ("plain", &["-Fp"])]
        {
            let file = directory.join(name);
            finished(login.program("pg_dump").args(options).arg("-f").arg(&file));
            let target = server.database();
            let gate = superuser(&target).start();
            let login = gate.client(&target);
            if name == "plain" {
                finished(login.program("psql").args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f"])
                    .arg(&file));
            } else {
                finished(login.program("pg_restore").args(["--clean", "--if-exists"])
                    .args(["--exit-on-error", "-d", &login.database])
                    .args(if name == "parallel" { &["-j", "2"][..] } else { &[] })
                    .arg(&file));
            }
            assert_eq!(dump(&target.login(), &[]), expected, "{name}");
        }
    }

    fn pgbench_in_every_mode(server: Server) {
        for way in ways(&server) {
            finished(way.login.program("pgbench").args(["-i", "-s", "1", "-q"]));
            let count = |table: &str| way.login.psql(&format!("SELECT count(*) FROM {table}"));
            assert_eq!(count("pgbench_accounts"), "100000");
            for (n, mode) in ["simple", "extended", "prepared"].into_iter().enumerate() {
                for script in ["tpcb-like", "select-only"] {
                    let output = finished(
                        way.login.program("pgbench").args(["-n", "-M", mode, "-b", script])
                            .args(["-c", "4", "-j", "2", "-t", "50"]),
                    );
                    let told = text(&output.stdout);
                    assert!(told.contains("actually processed: 200/200"), "{mode}: {told}");
                }
                assert_eq!(count("pgbench_history"), (200 * (n + 1)).to_string());
            }
        }
    }
}

/// One way to a database of its own.
struct Way {
    mode: Mode,
    login: Login,
    _gate: Option<Gate>,
    _database: Database,
}

fn ways(server: &Server) -> Vec<Way> {
    let way = |mode| {
        let database = server.database();
        let (target, gate) = setup::gate(&database, mode);
        let direct = database.login();
        let login = Login {
            user: target.user,
            password: target.password,
            database: target.database,
            port: gate.as_ref().map_or(server.port, Gate::port),
            ..direct
        };
        Way { mode, login, _gate: gate, _database: database }
    };
    [Mode::Direct, Mode::Gateway, Mode::Observe].map(way).into()
}

fn superuser(database: &Database) -> Plan {
    let login = database.login();
    Plan::gateway_as(database, &login.user, &login.password)
}

fn dump(login: &Login, options: &[&str]) -> String {
    let output = finished(login.program("pg_dump").args(options));
    // A key that pg_dump draws anew each time.
    let fixed = |l: &&str| !l.starts_with("\\restrict") && !l.starts_with("\\unrestrict");
    text(&output.stdout).lines().filter(fixed).fold(String::new(), |mut all, line| {
        writeln!(all, "{line}").expect("a string takes it");
        all
    })
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

async fn with_tokio_postgres(login: &Login) -> Result<(), tokio_postgres::Error> {
    let (client, mut connection) = tokio_postgres::connect(&login.conninfo(), NoTls).await?;
    let (heard, mut hears) = tokio::sync::mpsc::unbounded_channel();
    let driver = tokio::spawn(async move {
        while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
            match message {
                // Nobody may be listening any more, which is no fault.
                Ok(AsyncMessage::Notification(n)) => drop(heard.send(n)),
                Ok(_) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    });

    // Prepared, with types both ways.
    let statement = client.prepare("SELECT $1::int8 + 1, $2::text, $3::bytea, $4::bool").await?;
    for n in 0..10i64 {
        let row = client.query_one(&statement, &[&n, &"ü", &&b"\0\xff"[..], &None::<bool>]).await?;
        assert_eq!(
            (row.get::<_, i64>(0), row.get::<_, &str>(1), row.get::<_, &[u8]>(2)),
            (n + 1, "ü", &b"\0\xff"[..])
        );
        assert_eq!(row.get::<_, Option<bool>>(3), None);
    }

    // Pipelined: polled together, one of them failing.
    let (one, bad, three) = tokio::join!(
        client.query_one("SELECT 1", &[]),
        client.query_one("SELECT 1 / 0", &[]),
        client.query_one("SELECT 3", &[]),
    );
    assert_eq!(one?.get::<_, i32>(0), 1);
    assert_eq!(bad.expect_err("a division").code().map(|c| c.code()), Some("22012"));
    assert_eq!(three?.get::<_, i32>(0), 3);
    let many = (0..500i32).map(|n| {
        let client = &client;
        async move { client.query_one("SELECT $1::int4", &[&n]).await.map(|r| r.get::<_, i32>(0)) }
    });
    let answers = futures_util::future::try_join_all(many).await?;
    assert_eq!(answers, (0..500).collect::<Vec<_>>());

    // Simple, with several results.
    let messages =
        client.simple_query("SELECT 'a' AS x; CREATE TABLE tp (a int); SELECT 'b'").await?;
    let rows: Vec<_> = messages
        .iter()
        .filter_map(|m| match m {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        })
        .collect();
    assert_eq!(rows, ["a", "b"]);

    // COPY both ways.
    let sink = client.copy_in("COPY tp FROM STDIN").await?;
    pin_mut!(sink);
    for n in 0..1000 {
        sink.send(bytes_of(format!("{n}\n"))).await?;
    }
    assert_eq!(sink.finish().await?, 1000);
    let copied: Vec<_> = client
        .copy_out("COPY (SELECT a FROM tp ORDER BY a) TO STDOUT")
        .await?
        .try_collect()
        .await?;
    assert_eq!(copied.concat(), (0..1000).map(|n| format!("{n}\n")).collect::<String>().as_bytes());

    // Notifications from another session while this one is idle.
    client.batch_execute("LISTEN tp_channel").await?;
    let (other, other_connection) = tokio_postgres::connect(&login.conninfo(), NoTls).await?;
    let other_driver = tokio::spawn(other_connection);
    other.batch_execute("NOTIFY tp_channel, 'from afar'").await?;
    let heard = hears.recv().await.expect("a notification");
    assert_eq!((heard.channel(), heard.payload()), ("tp_channel", "from afar"));

    // A cancel once the statement is seen to run.
    let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).await?.get(0);
    let token = client.cancel_token();
    let (cancelled, asked) = tokio::join!(client.batch_execute("SELECT pg_sleep(300)"), async {
        let sleeps =
            "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep'";
        while other.query_one(sleeps, &[&pid]).await?.get::<_, i64>(0) == 0 {}
        token.cancel_query(NoTls).await
    });
    asked?;
    assert_eq!(cancelled.expect_err("a cancel").code().map(|c| c.code()), Some("57014"));
    // PostgreSQL signals a backend and its process group, and the second signal may come late.
    drop(client.batch_execute("SELECT 'perhaps'").await);
    assert_eq!(client.query_one("SELECT 'alive'", &[]).await?.get::<_, &str>(0), "alive");

    client.batch_execute("DROP TABLE tp").await?;
    drop((client, other));
    driver.await.expect("the driver ends")?;
    other_driver.await.expect("the driver ends")
}

fn bytes_of(text: String) -> std::io::Cursor<Vec<u8>> {
    std::io::Cursor::new(text.into_bytes())
}

const PSQL_SCRIPT: &str = r"
\set VERBOSITY verbose
\set SHOW_CONTEXT always
CREATE TABLE psql_t (a int PRIMARY KEY, b text NOT NULL DEFAULT 'x');
COMMENT ON TABLE psql_t IS 'ünïcode';
\copy psql_t FROM 'in.tsv'
SELECT sum(a), max(b) FROM psql_t \gset got_
\echo :got_sum :'got_max'
\copy (SELECT * FROM psql_t ORDER BY a) TO 'out.csv' CSV HEADER
\d
\d psql_t
\d+ psql_t
\dt+ nothing.*
\df
\du scram_user
SELECT a, b FROM psql_t ORDER BY a LIMIT 3 \gx
SELECT format('SELECT %s AS n', g) FROM generate_series(1, 3) g \gexec
BEGIN;
SELECT 1/0;
SELECT 'in a failed transaction';
ROLLBACK;
DO $$BEGIN RAISE NOTICE 'said'; END$$;
\set FETCH_COUNT 100
SELECT a FROM psql_t WHERE a <= 250 ORDER BY a;
\set FETCH_COUNT 0
COPY psql_t FROM STDIN;
3001	typed
3002	typed too
\.
SELECT count(*) FROM psql_t WHERE a > 3000;
PREPARE p AS SELECT b FROM psql_t WHERE a = $1;
EXECUTE p(7);
\encoding LATIN1
\encoding
\password_is_not_a_command
\x on
SELECT 1 AS one, NULL AS two;
DROP TABLE psql_t;
";

const DUMP_SCHEMA: &str = "
    CREATE TYPE mood AS ENUM ('sad', 'happy');
    CREATE DOMAIN positive AS int CHECK (VALUE > 0);
    CREATE TABLE customers (
        id serial PRIMARY KEY, name text NOT NULL, data bytea, mood mood, n positive,
        made timestamptz DEFAULT '2026-01-02 03:04:05+00', tags text[], doc jsonb
    );
    COMMENT ON COLUMN customers.name IS 'a ''quoted'' ünïcode comment';
    INSERT INTO customers(name, data, mood, n, tags, doc)
    SELECT E'tab\\t back\\\\ ' || g, decode(md5(g::text), 'hex'), 'happy', g, ARRAY['a,b', NULL],
           jsonb_build_object('k', g)
    FROM generate_series(1, 5000) g;
    CREATE TABLE orders (
        id int, customer int REFERENCES customers, at date, amount numeric(12, 2)
    ) PARTITION BY RANGE (at);
    CREATE TABLE orders_2026 PARTITION OF orders FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
    INSERT INTO orders SELECT g, g, date '2026-01-01' + g % 300, g / 3.0 FROM generate_series(1, 5000) g;
    CREATE INDEX ON orders (at, amount);
    CREATE FUNCTION twice(n int) RETURNS int LANGUAGE plpgsql AS $$BEGIN RETURN n * 2; END$$;
    CREATE VIEW happy AS SELECT id, twice(id) FROM customers WHERE mood = 'happy';
    CREATE MATERIALIZED VIEW totals AS SELECT at, sum(amount) FROM orders GROUP BY at;
    CREATE SEQUENCE apart START 7 INCREMENT 3;
    SELECT nextval('apart');
    SELECT lo_from_bytea(424242, decode(repeat('00ff', 5000), 'hex'));
    GRANT SELECT ON happy TO scram_user;
";
