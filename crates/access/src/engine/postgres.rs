//! The store in a PostgreSQL database, for several gateways that share one. One connection on the
//! store's thread, made again when it is lost; a failure before anything was written is tried once
//! more, any other is told. How the server is reached, and with which password, is the caller's.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_postgres::error::Severity;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{AsyncMessage, Client, Config, Connection, NoTls, Statement};

use super::schema::STEPS;
use super::{Row, Value};
use crate::StateError;
use crate::changes::Changes;

/// Longest time for reaching a server and logging in there.
pub const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Longest time for one statement. The server gives up sooner, so that it says why.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A store that could not be reached is not tried again for so long: whoever asks meanwhile is
/// told at once, and nobody queues behind attempts that fail.
const AWAY_FOR: Duration = Duration::from_millis(500);

/// Migrations of several nodes that start at once come one after another.
const MIGRATION_LOCK: i64 = 0x4741_5445;

const CHANNEL: &str = "gatepost_state";

/// What must hold in each session. `search_path`: the tables are ours alone. `synchronous_commit`:
/// what a call has said is done survives loss of power here and, where there is a synchronous
/// standby, the loss of this server. The timeouts: a node that is cut off holds no lock for long.
const SETTINGS: &str = "
    SET search_path = gatepost_state;
    SET statement_timeout = '4s';
    SET lock_timeout = '3s';
    SET idle_in_transaction_session_timeout = '5s';
    SET default_transaction_isolation = 'read committed';
    SET default_transaction_read_only = off;
    SELECT set_config('synchronous_commit', 'on', false)
    WHERE current_setting('synchronous_commit') IN ('off', 'local');
    LISTEN gatepost_state;
";

/// Both ways of a connection.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// A way to a server, with TLS where the caller wants it, and what to log in with.
pub struct Dialled {
    pub stream: Box<dyn Duplex>,
    pub password: Option<String>,
}

type Dialling = Pin<Box<dyn Future<Output = io::Result<Dialled>> + Send>>;

/// Where the store is. Of several hosts the first is taken that can be written to.
pub struct PostgresStore {
    pub user: String,
    pub database: String,
    pub hosts: usize,
    /// Reaches the host of that number, within `CONNECT_WITHIN`. `true` where the last attempt
    /// failed: a password that was kept may be another by now.
    pub dial: Box<dyn Fn(usize, bool) -> Dialling + Send>,
}

pub(crate) struct Postgres {
    runtime: Runtime,
    store: PostgresStore,
    changes: Changes,
    live: Option<Live>,
    failed_at: Option<(Instant, String)>,
    in_transaction: bool,
}

struct Live {
    client: Client,
    prepared: HashMap<&'static str, Statement>,
}

impl Postgres {
    /// Connects and brings the tables up to date. Gives the key of the salts. Blocks.
    pub(crate) fn open(
        store: PostgresStore,
        changes: Changes,
    ) -> Result<(Self, [u8; super::SALT_KEY_BYTES]), StateError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(StateError::Thread)?;
        let (live, failed_at) = (None, None);
        let mut postgres = Self { runtime, store, changes, live, failed_at, in_transaction: false };
        postgres.connect()?;
        let salt_key = postgres.migrate()?;
        Ok((postgres, salt_key))
    }

    /// The next of what waits; what the server says meanwhile is heard.
    pub(super) fn wait<T>(&self, waiting: &mut mpsc::Receiver<T>) -> Option<T> {
        self.runtime.block_on(waiting.recv())
    }

    pub(super) fn begin(&mut self) -> Result<(), StateError> {
        self.again_if_lost(|postgres| postgres.command("BEGIN"))?;
        self.in_transaction = true;
        Ok(())
    }

    pub(super) fn commit(&mut self, changed: &[String]) -> Result<(), StateError> {
        for id in changed {
            let given = [Value::from(CHANNEL), Value::from(id)];
            self.ask("SELECT pg_notify(?1, ?2)", &given)?;
        }
        self.command("COMMIT")?;
        self.in_transaction = false;
        Ok(())
    }

    /// A connection that can't do even this is given up, and the server ends what was begun on it.
    pub(super) fn roll_back(&mut self) {
        if std::mem::take(&mut self.in_transaction)
            && let Err(error) = self.command("ROLLBACK")
        {
            tracing::warn!(%error, "a transaction of the store could not be ended");
            self.live = None;
        }
    }

    /// By the server's clock, which every node goes by: it is not the time at which the
    /// transaction began, for that may have waited for a lock since.
    pub(super) fn now(&mut self) -> Result<i64, StateError> {
        let select = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::pg_catalog.int8";
        match self.rows(select, &[])?.first() {
            Some(row) => row.int(0),
            None => Err(StateError::Row("no time")),
        }
    }

    pub(super) fn rows(
        &mut self,
        sql: &'static str,
        given: &[Value],
    ) -> Result<Vec<Row>, StateError> {
        if self.in_transaction {
            return self.ask(sql, given);
        }
        self.again_if_lost(|postgres| postgres.ask(sql, given))
    }

    pub(super) fn execute(
        &mut self,
        sql: &'static str,
        given: &[Value],
    ) -> Result<usize, StateError> {
        let statement = self.prepared(sql)?;
        let live = live(&mut self.live)?;
        let given = as_parameters(given);
        let running = live.client.execute(&statement, &given);
        let changed = self.runtime.block_on(within(ANSWER_WITHIN, running));
        let changed = self.heard(changed)?;
        usize::try_from(changed).map_err(|_| StateError::Row("a count that is too large"))
    }

    fn ask(&mut self, sql: &'static str, given: &[Value]) -> Result<Vec<Row>, StateError> {
        let statement = self.prepared(sql)?;
        let live = live(&mut self.live)?;
        let given = as_parameters(given);
        let asking = live.client.query(&statement, &given);
        let rows = self.runtime.block_on(within(ANSWER_WITHIN, asking));
        self.heard(rows)?.iter().map(read).collect()
    }

    fn command(&mut self, sql: &str) -> Result<(), StateError> {
        let live = live(&mut self.live)?;
        let running = live.client.batch_execute(sql);
        let ran = self.runtime.block_on(within(ANSWER_WITHIN, running));
        self.heard(ran)
    }

    fn prepared(&mut self, sql: &'static str) -> Result<Statement, StateError> {
        let live = live(&mut self.live)?;
        if let Some(statement) = live.prepared.get(sql) {
            return Ok(statement.clone());
        }
        // Ours have no question mark that isn't a parameter.
        let dollars = sql.replace('?', "$");
        let preparing = live.client.prepare(&dollars);
        let statement = self.runtime.block_on(within(ANSWER_WITHIN, preparing));
        let statement = self.heard(statement)?;
        if let Some(live) = &mut self.live {
            live.prepared.insert(sql, statement.clone());
        }
        Ok(statement)
    }

    /// For what has no effect unless it succeeds: once more over a new connection, should this
    /// one be lost.
    fn again_if_lost<T>(
        &mut self,
        mut run: impl FnMut(&mut Self) -> Result<T, StateError>,
    ) -> Result<T, StateError> {
        if self.live.as_ref().is_some_and(|live| !live.client.is_closed()) {
            match run(self) {
                Err(StateError::Away(_)) => {}
                ran => return ran,
            }
        }
        self.connect()?;
        run(self)
    }

    /// An answer that doesn't come, and a connection that breaks, leave nothing to go on with.
    fn heard<T>(&mut self, answer: Answer<T>) -> Result<T, StateError> {
        match answer {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(error)) => {
                // What a server says as it ends the session says nothing of the statement.
                let refused = error.as_db_error().filter(|said| {
                    !matches!(said.parsed_severity(), Some(Severity::Fatal | Severity::Panic))
                });
                if let Some(said) = refused {
                    return Err(StateError::Postgres(said.to_string()));
                }
                self.live = None;
                Err(StateError::Away(said(&error)))
            }
            None => {
                self.live = None;
                Err(StateError::Away("no answer".to_owned()))
            }
        }
    }

    fn connect(&mut self) -> Result<(), StateError> {
        self.live = None;
        if let Some((at, why)) = &self.failed_at
            && at.elapsed() < AWAY_FOR
        {
            return Err(StateError::Away(why.clone()));
        }
        let again = self.failed_at.is_some();
        let mut why = "it has no host".to_owned();
        for host in 0..self.store.hosts {
            let connecting = connect(&self.store, host, again, self.changes.clone());
            // A timer is made within the runtime that it belongs to.
            let connecting = async { tokio::time::timeout(CONNECT_WITHIN, connecting).await };
            match self.runtime.block_on(connecting) {
                Ok(Ok(client)) => {
                    self.failed_at = None;
                    self.live = Some(Live { client, prepared: HashMap::new() });
                    // What others said while we were away, we haven't heard.
                    self.changes.tell_all();
                    return Ok(());
                }
                Ok(Err(error)) => why = error,
                Err(_) => why = "no answer".to_owned(),
            }
        }
        self.failed_at = Some((Instant::now(), why.clone()));
        Err(StateError::Away(why))
    }

    fn migrate(&mut self) -> Result<[u8; super::SALT_KEY_BYTES], StateError> {
        self.command("BEGIN; SET LOCAL search_path = pg_catalog")?;
        self.in_transaction = true;
        let migrated = self.migrate_within();
        match migrated {
            Ok(key) => {
                self.command("COMMIT")?;
                self.in_transaction = false;
                Ok(key)
            }
            Err(error) => {
                self.roll_back();
                Err(error)
            }
        }
    }

    fn migrate_within(&mut self) -> Result<[u8; super::SALT_KEY_BYTES], StateError> {
        let lock = "SELECT pg_advisory_xact_lock(?1)";
        self.ask(lock, &[Value::Int(MIGRATION_LOCK)])?;
        let schema = "SELECT count(*) FROM pg_namespace WHERE nspname = 'gatepost_state'";
        if self.ask(schema, &[])?.first().map(|row| row.int(0)).transpose()? == Some(0) {
            self.command("CREATE SCHEMA gatepost_state")?;
        }
        self.command("SET LOCAL search_path = gatepost_state")?;
        let ours = "SELECT tablename FROM pg_tables
                    WHERE schemaname = 'gatepost_state' AND tablename = 'meta'";
        let found = match self.value(ours)? {
            None => 0,
            Some(_) => match self.value("SELECT value FROM meta WHERE key = 'version'")? {
                Some(Value::Bytes(version)) => version
                    .try_into()
                    .map(u32::from_be_bytes)
                    .map_err(|_| StateError::Row("the version of the store can't be read"))?,
                _ => return Err(StateError::Row("the schema gatepost_state is another program's")),
            },
        };
        let known = u32::try_from(STEPS.len()).unwrap_or(u32::MAX);
        if found > known {
            return Err(StateError::NewerStore { found, known });
        }
        for step in STEPS.iter().skip(usize::try_from(found).unwrap_or(usize::MAX)) {
            self.command(&in_postgres(step))?;
        }
        if found < known {
            let keep = "INSERT INTO meta (key, value) VALUES (?1, ?2)
                        ON CONFLICT (key) DO UPDATE SET value = excluded.value";
            let version = Value::Bytes(known.to_be_bytes().to_vec());
            self.execute(keep, &["version".into(), version])?;
        }
        if found == 0 {
            let mut key = [0; super::SALT_KEY_BYTES];
            aws_lc_rs::rand::fill(&mut key).map_err(|_| StateError::Random)?;
            let insert = "INSERT INTO meta (key, value) VALUES ('salt_key', ?1)";
            self.execute(insert, &[Value::Bytes(key.to_vec())])?;
        }
        match self.value("SELECT value FROM meta WHERE key = 'salt_key'")? {
            Some(Value::Bytes(key)) => {
                key.try_into().map_err(|_| StateError::Row("no whole salt key"))
            }
            _ => Err(StateError::Row("no salt key")),
        }
    }

    fn value(&mut self, sql: &'static str) -> Result<Option<Value>, StateError> {
        let row = self.ask(sql, &[])?.into_iter().next();
        Ok(row.and_then(|row| row.0.into_iter().next()))
    }
}

/// None where it didn't come in time.
type Answer<T> = Option<Result<T, tokio_postgres::Error>>;

async fn within<T>(
    time: Duration,
    asking: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Answer<T> {
    tokio::time::timeout(time, asking).await.ok()
}

fn live(live: &mut Option<Live>) -> Result<&mut Live, StateError> {
    live.as_mut().ok_or_else(|| StateError::Away("the connection was lost".to_owned()))
}

/// Logs in to one host, which must be one that can be written to, and hears it from then on.
async fn connect(
    store: &PostgresStore,
    host: usize,
    again: bool,
    changes: Changes,
) -> Result<Client, String> {
    let Dialled { stream, password } =
        (store.dial)(host, again).await.map_err(|error| error.to_string())?;
    let mut config = Config::new();
    config.user(&store.user).dbname(&store.database).application_name("gatepost store");
    if let Some(password) = password {
        config.password(password);
    }
    let client = async {
        let (client, connection) = config.connect_raw(stream, NoTls).await?;
        tokio::spawn(hear(connection, changes));
        let standby = client.query_one("SELECT pg_catalog.pg_is_in_recovery()", &[]).await?;
        if !standby.try_get(0)? {
            client.batch_execute(SETTINGS).await?;
            return Ok(Some(client));
        }
        Ok(None)
    };
    match client.await {
        Ok(Some(client)) => Ok(client),
        Ok(None) => Err("it is a standby and can't be written to".to_owned()),
        Err(error) => Err(said(&error)),
    }
}

fn said(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string)
}

/// Moves the connection's bytes, and passes on what other nodes say, until it ends.
async fn hear<S: AsyncRead + AsyncWrite + Unpin>(
    mut connection: Connection<S, tokio_postgres::tls::NoTlsStream>,
    changes: Changes,
) {
    while let Some(message) = std::future::poll_fn(|cx| connection.poll_message(cx)).await {
        match message {
            Ok(AsyncMessage::Notification(said)) => changes.tell(&[said.payload().to_owned()]),
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "the connection to the store was lost");
                return;
            }
        }
    }
}

/// SQLite's words for a table, in PostgreSQL's.
fn in_postgres(step: &str) -> String {
    step.replace(
        "INTEGER PRIMARY KEY AUTOINCREMENT",
        "BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY",
    )
    .replace("INTEGER", "BIGINT")
    .replace("BLOB", "BYTEA")
    .replace(") STRICT;", ");")
}

fn as_parameters(given: &[Value]) -> Vec<&(dyn ToSql + Sync)> {
    given.iter().map(|value| value as &(dyn ToSql + Sync)).collect()
}

fn read(row: &tokio_postgres::Row) -> Result<Row, StateError> {
    let value = |(index, column): (usize, &tokio_postgres::Column)| {
        let value = match *column.type_() {
            Type::INT8 => row.try_get::<_, Option<i64>>(index).map(Value::from),
            Type::INT4 => row.try_get::<_, Option<i32>>(index).map(|n| n.map(i64::from).into()),
            Type::TEXT | Type::NAME => row.try_get::<_, Option<&str>>(index).map(Value::from),
            Type::BYTEA => row
                .try_get::<_, Option<Vec<u8>>>(index)
                .map(|bytes| bytes.map_or(Value::Null, Value::Bytes)),
            Type::VOID => Ok(Value::Null),
            _ => return Err(StateError::Row("a column of another type")),
        };
        value.map_err(|_| StateError::Row("a column that can't be read"))
    };
    row.columns().iter().enumerate().map(value).collect::<Result<_, _>>().map(Row)
}

impl ToSql for Value {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Int(number) => number.to_sql_checked(ty, out),
            Self::Text(text) => text.to_sql_checked(ty, out),
            Self::Bytes(bytes) => bytes.to_sql_checked(ty, out),
        }
    }

    /// What is written is checked against the column's type when it is.
    fn accepts(ty: &Type) -> bool {
        matches!(*ty, Type::INT8 | Type::TEXT | Type::BYTEA)
    }

    to_sql_checked!();
}
