//! Catalogs of a real server: what a change to it does, who waits for whom, and what is said when
//! there is none to be had.

use std::time::Duration;

use e2e::scratch::{Cluster, Options, SUPERUSER, ServerBinaries};

use super::*;
use crate::secret::{Secret, Source};
use crate::settings::{Host, Login};
use crate::tls::{TlsMode, UpstreamTls};

const NOW: Duration = Duration::ZERO;
const LONG_AGO: Duration = Duration::from_secs(3600);

struct Stand {
    cluster: Cluster,
    connection: Arc<Connection>,
    catalogs: Catalogs,
    metrics: CatalogMetrics,
}

impl Stand {
    fn new() -> Stand {
        let binaries = ServerBinaries::find(None).unwrap();
        let cluster = Cluster::start(Options::new(binaries)).unwrap();
        let connection = connection(&cluster, cluster.password());
        let metrics = CatalogMetrics::default();
        let catalogs = Catalogs::start(Arc::default(), metrics.clone()).unwrap();
        Stand { cluster, connection, catalogs, metrics }
    }

    async fn current(&self, max_age: Duration) -> Result<Arc<Snapshot>, CatalogError> {
        self.catalogs.current(&self.connection, Extent::Permanent, max_age).await
    }

    /// Somebody else changes the database.
    async fn run(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        let mut other = Inquiry::open(&self.connection).await.unwrap();
        other
            .rows(
                "SET default_transaction_read_only = off; SET application_name = other; \
                 SET search_path = public",
            )
            .await
            .unwrap();
        other.rows(sql).await.unwrap()
    }

    async fn ours(&self) -> String {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = '{}'",
            crate::inquiry::APPLICATION_NAME
        );
        self.run(&sql).await[0][0].clone().unwrap()
    }
}

pub(crate) fn connection(cluster: &Cluster, password: &str) -> Arc<Connection> {
    let argv = vec!["echo".to_owned(), password.to_owned()];
    with_login(
        cluster,
        Login::Gateway {
            user: SUPERUSER.to_owned(),
            database: "postgres".to_owned(),
            password: Some(Secret::new(Source::Command { argv, lifetime: None })),
        },
    )
}

fn with_login(cluster: &Cluster, login: Login) -> Arc<Connection> {
    Arc::new(Connection {
        name: "shop".to_owned(),
        hosts: vec![Host::Tcp { host: "127.0.0.1".to_owned(), port: cluster.port() }],
        tls: UpstreamTls::new(TlsMode::Disable, None).unwrap(),
        login,
        connect_timeout: Duration::from_secs(10),
        durability: audit::Durability::Strict,
    })
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

fn has(snapshot: &Snapshot, schema: &str, name: &str) -> bool {
    let limits = sql::parse::Limits::default();
    let names = sql::catalog::Names {
        search_path: &[schema],
        user: "nobody",
        temporary: None,
        database: "postgres",
    };
    let text = format!("SELECT FROM {schema}.{name}");
    let found = sql::statements(&text, &snapshot.catalog, &names, &limits).unwrap();
    found[0].facts.as_ref().is_ok_and(|facts| !facts.relations.is_empty())
}

/// One step each: the catalog before it and behind it are two, and what is no change is none.
#[test]
fn a_change_is_noticed_and_nothing_else_is() {
    run(async {
        let stand = Stand::new();
        let mut before = stand.current(LONG_AGO).await.unwrap();
        for (sql, changes) in [
            ("CREATE TABLE t (id int, name text)", true),
            ("INSERT INTO t VALUES (1, 'a')", false),
            ("ALTER TABLE t RENAME name TO title", true),
            ("ANALYZE t", false),
            ("VACUUM t", false),
            ("ALTER TABLE t ALTER title TYPE varchar(9)", true),
            ("BEGIN; ALTER TABLE t ADD note text; ROLLBACK", false),
            ("BEGIN; ALTER TABLE t ADD note text; COMMIT", true),
            ("ALTER TABLE t DROP note", true),
            ("CREATE VIEW v AS SELECT id FROM t", true),
            ("CREATE OR REPLACE VIEW v AS SELECT id + 1 AS id FROM t", true),
            ("CREATE SCHEMA s", true),
            ("ALTER TABLE t SET SCHEMA s", true),
            ("CREATE TABLE c () INHERITS (s.t)", true),
            ("ALTER TABLE c NO INHERIT s.t", true),
            ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", true),
            ("ALTER FUNCTION f() SECURITY DEFINER", true),
            ("CREATE TYPE pair AS (a int, b text)", true),
            ("ALTER TYPE pair RENAME ATTRIBUTE b TO c", true),
            ("ALTER TABLE s.t ENABLE ROW LEVEL SECURITY", true),
            ("ALTER TABLE s.t ADD CHECK (id > 0)", true),
            ("CREATE ROLE another", true),
            ("SET work_mem = '1MB'", false),
            ("DROP SCHEMA s CASCADE", true),
            ("SELECT 1", false),
        ] {
            stand.run(sql).await;
            let after = stand.current(NOW).await.unwrap();
            assert_eq!(after.version != before.version, changes, "{sql}");
            assert_eq!(!Arc::ptr_eq(&after.catalog, &before.catalog), changes, "{sql}");
            assert!(after.taken > before.taken, "{sql}");
            before = after;
        }
    });
}

/// What one session makes for itself no other can use, so no other reads the catalog again for it.
#[test]
fn temporary_tables_of_others_change_nothing() {
    run(async {
        let stand = Stand::new();
        stand.run("CREATE TABLE parent (id int); CREATE TABLE first () INHERITS (parent)").await;
        let mut other = Inquiry::open(&stand.connection).await.unwrap();
        other.rows("SET default_transaction_read_only = off").await.unwrap();
        let whole = || stand.catalogs.current(&stand.connection, Extent::Whole, NOW);
        let before = stand.current(NOW).await.unwrap();
        let mut with_theirs = whole().await.unwrap();
        for sql in [
            "CREATE TEMP TABLE t (id serial PRIMARY KEY, name text DEFAULT 'a' CHECK (name <> ''))",
            "CREATE TEMP VIEW v AS SELECT id FROM t",
            "CREATE TEMP TABLE child () INHERITS (public.parent)",
            "CREATE TYPE pg_temp.pair AS (a int, b text)",
            "CREATE DOMAIN pg_temp.small AS int DEFAULT 1",
            "CREATE TEMP TABLE parts (id int) PARTITION BY LIST (id)",
            "CREATE STATISTICS pg_temp.known ON id, name FROM t",
            "ALTER TABLE t ADD UNIQUE (name)",
            "DROP TABLE child",
            "DISCARD TEMP",
        ] {
            other.rows(sql).await.unwrap();
            let after = stand.current(NOW).await.unwrap();
            assert!(after.version == before.version && after.taken > before.taken, "{sql}");
            let theirs = whole().await.unwrap();
            assert_ne!(theirs.version, with_theirs.version, "{sql}");
            with_theirs = theirs;
        }
        // Whoever reads it while they are there does without them.
        other
            .rows(
                "CREATE TEMP TABLE t (id int); CREATE TEMP TABLE child () INHERITS (public.parent)",
            )
            .await
            .unwrap();
        stand.run("CREATE TABLE later (id int)").await;
        let after = stand.current(NOW).await.unwrap();
        assert!(has(&after, "public", "later") && after.version != before.version);
        let names = |snapshot: &Snapshot| {
            let relations = snapshot.catalog.relations().map(|relation| relation.name.to_string());
            relations.collect::<Vec<_>>()
        };
        assert!(!names(&after).contains(&"child".to_owned()));
        assert!(names(&whole().await.unwrap()).contains(&"child".to_owned()));
    });
}

#[test]
fn a_snapshot_serves_as_long_as_its_age_allows() {
    run(async {
        let stand = Stand::new();
        let first = stand.current(NOW).await.unwrap();
        assert!(!has(&first, "public", "later"));
        stand.run("CREATE TABLE later ()").await;
        let second = stand.current(LONG_AGO).await.unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        // The first is older than that by now.
        let age = first.taken.elapsed() / 2;
        let third = stand.current(age).await.unwrap();
        assert!(has(&third, "public", "later") && third.version != first.version);
        assert_eq!(stand.ours().await, "1", "one backend does it all");
    });
}

/// From several threads, as sessions do.
#[test]
fn many_ask_and_one_load_answers() {
    let stand = Stand::new();
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                run(async {
                    let asking: Vec<_> = (0..25).map(|_| stand.current(LONG_AGO)).collect();
                    for asked in asking {
                        asked.await.unwrap();
                    }
                });
            });
        }
    });
    assert_eq!(stand.metrics.loads.get(), 1);
    run(async { assert_eq!(stand.ours().await, "1") });
}

#[test]
fn while_the_server_is_away_nobody_gets_an_old_one() {
    run(async {
        let mut stand = Stand::new();
        let before = stand.current(NOW).await.unwrap();
        stand.cluster.stop().unwrap();
        let error = stand.current(NOW).await.unwrap_err();
        assert!(matches!(error, CatalogError::Inquiry(InquiryError::NotAdmitted(_))), "{error}");
        stand.cluster.restart().unwrap();
        // What was believed before must be read again: who knows what came back.
        let after = stand.current(NOW).await.unwrap();
        assert!(after.version > before.version);
        // A backend that is ended by somebody is no failure.
        let sql = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{}'",
            crate::inquiry::APPLICATION_NAME
        );
        stand.run(&sql).await;
        stand.current(NOW).await.unwrap();
        assert_eq!(stand.metrics.failures.get(), 1);
    });
}

#[test]
fn without_a_credential_that_is_good_there_is_no_catalog() {
    run(async {
        let stand = Stand::new();
        let wrong = connection(&stand.cluster, "not the password");
        let error = stand.catalogs.current(&wrong, Extent::Permanent, NOW).await.unwrap_err();
        assert!(matches!(error, CatalogError::Inquiry(InquiryError::NotAdmitted(_))), "{error}");
        assert!(!error.to_string().contains("not the password"), "{error}");
        let observed = with_login(&stand.cluster, Login::Database { database: None });
        let error = stand.catalogs.current(&observed, Extent::Permanent, NOW).await.unwrap_err();
        assert!(matches!(error, CatalogError::Inquiry(InquiryError::NoCredential)), "{error}");
        // Another connection's trouble is not ours.
        stand.current(NOW).await.unwrap();
    });
}

/// In a transaction of somebody else's that has changed what it alone can see.
#[test]
fn answers_are_a_catalog_over_any_connection() {
    run(async {
        let stand = Stand::new();
        let mut other = Inquiry::open(&stand.connection).await.unwrap();
        other.rows("SET default_transaction_read_only = off").await.unwrap();
        other.rows("BEGIN; CREATE TABLE public.unseen (id int)").await.unwrap();
        let mut decoder = Decoder::default();
        for read in READS {
            other.ask(read.sql()).await.unwrap();
            other.answer(|frame| decoder.take(frame).unwrap()).await.unwrap();
        }
        let snapshot = Snapshot {
            catalog: Arc::new(decoder.finish().unwrap()),
            version: 0,
            extent: Extent::Whole,
            taken: Instant::now(),
            sign: "".into(),
        };
        assert!(has(&snapshot, "public", "unseen"));
        assert!(!has(&stand.current(NOW).await.unwrap(), "public", "unseen"));
    });
}

/// Prints what a large database costs. `GATEPOST_LONG=1`, in a release build for the figures.
#[test]
fn ten_thousand_relations() {
    if std::env::var_os("GATEPOST_LONG").is_none() {
        return;
    }
    run(async {
        let stand = Stand::new();
        let columns: Vec<String> = (0..10).map(|n| format!("column_{n} text")).collect();
        for hundred in 0..100 {
            let sql = format!(
                "DO $$ BEGIN FOR n IN 1..100 LOOP \
                 EXECUTE 'CREATE TABLE relation_{hundred}_' || n || ' ({})'; END LOOP; END $$",
                columns.join(", ")
            );
            stand.run(&sql).await;
        }
        for what in ["load", "confirm: nothing written", "confirm: no DDL"] {
            if what == "confirm: no DDL" {
                stand.run("INSERT INTO relation_1_1 VALUES (1)").await;
            }
            let begins = Instant::now();
            stand.current(NOW).await.unwrap();
            println!("{what}: {:?}", begins.elapsed());
        }
        assert_eq!(stand.metrics.loads.get(), 1);
    });
}
