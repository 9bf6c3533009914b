//! The state file: making it, knowing it for ours, bringing it up to date, and its transactions.
//! What is kept in its tables is the business of their own modules.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension, ToSql, TransactionBehavior,
    params_from_iter,
};

use super::schema::{self, STEPS};
use super::{Row, Value};
use crate::StateError;

pub(crate) const SALT_KEY_BYTES: usize = 32;

/// How long a request waits for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// "GATE", in SQLite's `application_id`, so that no other program's database is taken for ours.
const APPLICATION_ID: i32 = 0x4741_5445;

/// Statements that are kept prepared: more than there are.
const STATEMENTS_KEPT: usize = 128;

pub(crate) struct Sqlite {
    connection: Connection,
    /// As SQLite said it last.
    version_seen: i64,
}

impl Sqlite {
    /// With the key of the salts.
    pub(crate) fn open(path: &Path) -> Result<(Self, [u8; SALT_KEY_BYTES]), StateError> {
        let (connection, salt_key) = open(path)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
        let version_seen = data_version(&connection)?;
        Ok((Self { connection, version_seen }, salt_key))
    }

    /// How late it was when anybody last wrote.
    pub(super) fn last_written(&self) -> Result<i64, StateError> {
        let mut select = self.connection.prepare_cached("SELECT now FROM clock")?;
        Ok(select.query_row([], |row| row.get(0))?)
    }

    pub(super) fn rows(&self, sql: &'static str, given: &[Value]) -> Result<Vec<Row>, StateError> {
        let mut statement = self.connection.prepare_cached(&without_locks(sql))?;
        let columns = statement.column_count();
        let mut answered = statement.query(params_from_iter(given))?;
        let mut rows = Vec::new();
        while let Some(row) = answered.next()? {
            let values = (0..columns).map(|column| match row.get_ref(column)? {
                ValueRef::Null => Ok(Value::Null),
                ValueRef::Integer(number) => Ok(Value::Int(number)),
                ValueRef::Text(text) => match std::str::from_utf8(text) {
                    Ok(text) => Ok(Value::from(text)),
                    Err(_) => Err(StateError::Row("a text that isn't UTF-8")),
                },
                ValueRef::Blob(bytes) => Ok(Value::Bytes(bytes.to_vec())),
                ValueRef::Real(_) => Err(StateError::Row("a number with a point")),
            });
            rows.push(Row(values.collect::<Result<_, _>>()?));
        }
        Ok(rows)
    }

    pub(super) fn execute(&self, sql: &'static str, given: &[Value]) -> Result<usize, StateError> {
        Ok(self.connection.prepare_cached(sql)?.execute(params_from_iter(given))?)
    }

    /// Locks the file before anything is read, and says how late it was when anybody last wrote.
    pub(super) fn begin(&self) -> Result<i64, StateError> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let seen = self.last_written();
        if seen.is_err() {
            self.roll_back();
        }
        seen
    }

    pub(super) fn commit(&self, now: i64) -> Result<(), StateError> {
        self.connection
            .prepare_cached("UPDATE clock SET now = ?1 WHERE now < ?1")?
            .execute([now])?;
        Ok(self.connection.execute_batch("COMMIT")?)
    }

    /// SQLite ends a transaction by itself where the disk failed. Where ending it fails otherwise,
    /// the next one can't begin and says so.
    pub(super) fn roll_back(&self) {
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "a transaction of the state file could not be ended");
        }
    }

    pub(super) fn changed_outside(&mut self) -> Result<bool, StateError> {
        let version = data_version(&self.connection)?;
        let changed = version != self.version_seen;
        self.version_seen = version;
        Ok(changed)
    }
}

/// SQLite's own count of what other connections have committed.
fn data_version(connection: &Connection) -> Result<i64, rusqlite::Error> {
    connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
}

/// SQLite has no locks of rows: the transaction has locked the file.
fn without_locks(sql: &'static str) -> std::borrow::Cow<'static, str> {
    if sql.contains(schema::ROW_LOCK) {
        sql.replace(schema::ROW_LOCK, "").into()
    } else {
        sql.into()
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>, rusqlite::Error> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Int(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

fn open(path: &Path) -> Result<(Connection, [u8; SALT_KEY_BYTES]), StateError> {
    create_if_missing(path)?;
    // Without SQLITE_OPEN_URI: a path is a path, even if it begins with `file:`.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection =
        Connection::open_with_flags(path, flags).map_err(|source| opening(path, source))?;
    check_ours(&mut connection, path)?;
    configure(&connection).map_err(|source| opening(path, source))?;
    migrate(&mut connection, path)?;
    let salt_key = salt_key(&connection, path)?;
    Ok((connection, salt_key))
}

/// SQLite would make it readable by everybody. It gives its two companions, `-wal` and `-shm`, the
/// file's own permissions.
fn create_if_missing(path: &Path) -> Result<(), StateError> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => match path.metadata() {
            Ok(metadata) if metadata.is_file() => Ok(()),
            Ok(_) => Err(StateError::NotAFile { path: path.to_owned() }),
            Err(source) => Err(StateError::Io { path: path.to_owned(), source }),
        },
        Err(source) => Err(StateError::Io { path: path.to_owned(), source }),
    }
}

/// Comes before anything is written, so that a file that isn't for us stays as it was. It reads in
/// one transaction, because another process may be making the file right now.
fn check_ours(connection: &mut Connection, path: &Path) -> Result<(), StateError> {
    let mut look = || -> Result<_, rusqlite::Error> {
        connection.busy_timeout(BUSY_TIMEOUT)?;
        let snapshot = connection.transaction()?;
        Ok((application_id(&snapshot)?, is_empty(&snapshot)?, version(&snapshot)?))
    };
    match look().map_err(|source| opening(path, source))? {
        (APPLICATION_ID, _, version) => refuse_newer(version, path),
        (0, true, _) => Ok(()),
        _ => Err(StateError::NotAStateFile { path: path.to_owned() }),
    }
}

fn configure(connection: &Connection) -> Result<(), rusqlite::Error> {
    enter_wal(connection)?;
    // In WAL mode anything less than FULL can lose a commit with the power.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)
}

/// The one step that doesn't wait for another process at the same step but fails at once
/// (`SQLITE_BUSY`), so we wait for it in a transaction of our own and look again.
fn enter_wal(connection: &Connection) -> Result<(), rusqlite::Error> {
    const TRIES_MAX: usize = 10;
    let mut tries = 1;
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error) if is_code(&error, ErrorCode::DatabaseBusy) && tries < TRIES_MAX => {
                tries += 1;
                connection.execute_batch("BEGIN EXCLUSIVE; COMMIT")?;
            }
            entered => return entered,
        }
    }
}

/// All steps in one transaction, in which the version is read again: another process may have been
/// quicker.
fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StateError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = version(&transaction)?;
    refuse_newer(found, path)?;
    for step in STEPS.iter().skip(usize::try_from(found).unwrap_or(usize::MAX)) {
        transaction.execute_batch(step)?;
    }
    if found == 0 {
        let mut key = [0; SALT_KEY_BYTES];
        aws_lc_rs::rand::fill(&mut key).map_err(|_| StateError::Io {
            path: path.to_owned(),
            source: std::io::Error::other("the system's random source failed"),
        })?;
        transaction.execute("INSERT INTO meta (key, value) VALUES ('salt_key', ?1)", [key])?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    }
    transaction.pragma_update(None, "user_version", known_version())?;
    transaction.commit()?;
    Ok(())
}

fn salt_key(connection: &Connection, path: &Path) -> Result<[u8; SALT_KEY_BYTES], StateError> {
    let select = "SELECT value FROM meta WHERE key = 'salt_key'";
    let value: Option<Vec<u8>> = connection
        .query_row(select, [], |row| row.get(0))
        .optional()
        .map_err(|source| opening(path, source))?;
    value
        .and_then(|value| value.try_into().ok())
        .ok_or_else(|| StateError::Damaged { path: path.to_owned(), what: "no whole salt key" })
}

fn known_version() -> u32 {
    u32::try_from(STEPS.len()).unwrap_or(u32::MAX)
}

fn refuse_newer(found: u32, path: &Path) -> Result<(), StateError> {
    let known = known_version();
    if found > known {
        return Err(StateError::Newer { path: path.to_owned(), found, known });
    }
    Ok(())
}

fn application_id(connection: &Connection) -> Result<i32, rusqlite::Error> {
    connection.pragma_query_value(None, "application_id", |row| row.get(0))
}

fn version(connection: &Connection) -> Result<u32, rusqlite::Error> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn is_empty(connection: &Connection) -> Result<bool, rusqlite::Error> {
    connection.query_row("SELECT NOT EXISTS (SELECT 1 FROM sqlite_schema)", [], |row| row.get(0))
}

fn opening(path: &Path, source: rusqlite::Error) -> StateError {
    let path = path.to_owned();
    if is_code(&source, ErrorCode::NotADatabase) {
        StateError::NotAStateFile { path }
    } else if is_code(&source, ErrorCode::DatabaseCorrupt) {
        StateError::Damaged { path, what: "SQLite finds its structure broken" }
    } else {
        StateError::Open { path, source }
    }
}

fn is_code(error: &rusqlite::Error, code: ErrorCode) -> bool {
    error.sqlite_error_code() == Some(code)
}
