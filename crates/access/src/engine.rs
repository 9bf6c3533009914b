//! What stands between the commands and a database: transactions, rows and the store's time, the
//! same for SQLite and PostgreSQL. Commands are written once, in the SQL that both understand:
//! with `?1` for a parameter, and `FOR UPDATE` where a row is locked (SQLite locks everything
//! when a transaction begins, so there it is left out).

mod postgres;
mod schema;
mod sqlite;

use tokio::sync::mpsc;

use crate::changes::Changes;
use crate::clock::StoreClock;
use crate::{Refused, StateError};

pub(crate) use postgres::Postgres;
pub use postgres::{CONNECT_WITHIN, Dialled, Duplex, PostgresStore};
#[cfg(test)]
pub(crate) use schema::STEPS;
pub(crate) use sqlite::{SALT_KEY_BYTES, Sqlite};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
}

/// One row of an answer.
#[derive(Debug)]
pub(crate) struct Row(pub(crate) Vec<Value>);

/// Lives on the store's thread, and blocks.
pub(crate) struct Engine {
    database: Database,
    clock: StoreClock,
    changes: Changes,
    pruned_at: i64,
}

enum Database {
    Sqlite(Sqlite),
    Postgres(Box<Postgres>),
}

/// A transaction that may write. What it changed is told to whoever watches once it is durable.
pub(crate) struct Tx<'e> {
    engine: &'e mut Engine,
    changed: Vec<String>,
}

impl Engine {
    pub(crate) fn sqlite(
        database: Sqlite,
        mut clock: StoreClock,
        changes: Changes,
    ) -> Result<Self, StateError> {
        clock.raise(database.last_written()?);
        Ok(Self { database: Database::Sqlite(database), clock, changes, pruned_at: 0 })
    }

    pub(crate) fn postgres(database: Postgres, clock: StoreClock, changes: Changes) -> Self {
        let database = Database::Postgres(Box::new(database));
        Self { database, clock, changes, pruned_at: 0 }
    }

    /// All of `work` or, if it fails, nothing of it.
    pub(crate) fn write<T>(
        &mut self,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T, StateError>,
    ) -> Result<T, StateError> {
        self.begin()?;
        let mut tx = Tx { engine: self, changed: Vec::new() };
        let worked = work(&mut tx).and_then(|done| {
            tx.commit()?;
            Ok(done)
        });
        let changed = std::mem::take(&mut tx.changed);
        match worked {
            Ok(done) => {
                self.changes.tell(&changed);
                Ok(done)
            }
            Err(error) => {
                self.roll_back();
                Err(error)
            }
        }
    }

    /// The next of what waits. PostgreSQL's connection is heard meanwhile.
    pub(crate) fn wait<T>(&mut self, waiting: &mut mpsc::Receiver<T>) -> Option<T> {
        match &mut self.database {
            Database::Sqlite(_) => waiting.blocking_recv(),
            Database::Postgres(postgres) => postgres.wait(waiting),
        }
    }

    /// Statements that read, each by itself.
    pub(crate) fn rows(
        &mut self,
        sql: &'static str,
        given: &[Value],
    ) -> Result<Vec<Row>, StateError> {
        match &mut self.database {
            Database::Sqlite(sqlite) => sqlite.rows(sql, given),
            Database::Postgres(postgres) => postgres.rows(sql, given),
        }
    }

    pub(crate) fn now(&mut self) -> Result<i64, StateError> {
        match &mut self.database {
            Database::Postgres(postgres) if !self.clock.is_made_up() => postgres.now(),
            Database::Sqlite(_) | Database::Postgres(_) => Ok(self.clock.now()),
        }
    }

    /// Looks whether another process has written since this was last asked, and if so tells
    /// whoever watches anything.
    pub(crate) fn look_outside(&mut self) -> Result<(), StateError> {
        let changed = match &mut self.database {
            Database::Sqlite(sqlite) => sqlite.changed_outside()?,
            // Other nodes say so themselves, and after a lost connection everybody looks.
            Database::Postgres(_) => false,
        };
        if changed {
            self.changes.tell_all();
        }
        Ok(())
    }

    /// Whether other nodes may be using the same store.
    pub(crate) fn is_shared(&self) -> bool {
        match &self.database {
            Database::Sqlite(_) => false,
            Database::Postgres(_) => true,
        }
    }

    /// After the clock was set back, how late it is stands in the file alone: it is written down
    /// while time passes, for a process that crashes to lose no more of it than `every`.
    pub(crate) fn keep_time(&mut self, every: i64) -> Result<(), StateError> {
        let Database::Sqlite(sqlite) = &self.database else { return Ok(()) };
        if self.clock.is_ahead() && self.clock.now() - sqlite.last_written()? >= every {
            self.write(|_| Ok(()))?;
        }
        Ok(())
    }

    /// Whether it is time again to look for old rows; then it is now.
    pub(crate) fn prunes(&mut self, now: i64, every: i64) -> bool {
        let prunes = now.saturating_sub(self.pruned_at) >= every;
        if prunes {
            self.pruned_at = now;
        }
        prunes
    }

    fn begin(&mut self) -> Result<(), StateError> {
        match &mut self.database {
            Database::Sqlite(sqlite) => {
                let seen = sqlite.begin()?;
                self.clock.raise(seen);
                Ok(())
            }
            Database::Postgres(postgres) => postgres.begin(),
        }
    }

    fn roll_back(&mut self) {
        match &mut self.database {
            Database::Sqlite(sqlite) => sqlite.roll_back(),
            Database::Postgres(postgres) => postgres.roll_back(),
        }
    }
}

impl Tx<'_> {
    pub(crate) fn rows(
        &mut self,
        sql: &'static str,
        given: &[Value],
    ) -> Result<Vec<Row>, StateError> {
        self.engine.rows(sql, given)
    }

    /// The first row, of what can be only one.
    pub(crate) fn row(
        &mut self,
        sql: &'static str,
        given: &[Value],
    ) -> Result<Option<Row>, StateError> {
        Ok(self.rows(sql, given)?.into_iter().next())
    }

    /// How many rows it changed.
    pub(crate) fn execute(
        &mut self,
        sql: &'static str,
        given: &[Value],
    ) -> Result<usize, StateError> {
        match &mut self.engine.database {
            Database::Sqlite(sqlite) => sqlite.execute(sql, given),
            Database::Postgres(postgres) => postgres.execute(sql, given),
        }
    }

    /// The store's time. To be asked once the row is locked that it is compared with: waiting for
    /// the lock takes time.
    pub(crate) fn now(&mut self) -> Result<i64, StateError> {
        self.engine.now()
    }

    pub(crate) fn engine(&mut self) -> &mut Engine {
        self.engine
    }

    /// Whoever watches the row with this id is to look again.
    pub(crate) fn changed(&mut self, id: impl ToString) {
        self.changed.push(id.to_string());
    }

    fn commit(&mut self) -> Result<(), StateError> {
        match &mut self.engine.database {
            Database::Sqlite(sqlite) => sqlite.commit(self.engine.clock.now()),
            Database::Postgres(postgres) => postgres.commit(&self.changed),
        }
    }
}

impl Row {
    pub(crate) fn int(&self, column: usize) -> Result<i64, StateError> {
        self.optional_int(column)?.ok_or(StateError::Row("NULL where a number belongs"))
    }

    pub(crate) fn optional_int(&self, column: usize) -> Result<Option<i64>, StateError> {
        match self.0.get(column) {
            Some(Value::Int(number)) => Ok(Some(*number)),
            Some(Value::Null) => Ok(None),
            _ => Err(StateError::Row("no number where one belongs")),
        }
    }

    pub(crate) fn text(&self, column: usize) -> Result<&str, StateError> {
        self.optional_text(column)?.ok_or(StateError::Row("NULL where a text belongs"))
    }

    pub(crate) fn optional_text(&self, column: usize) -> Result<Option<&str>, StateError> {
        match self.0.get(column) {
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(Value::Null) => Ok(None),
            _ => Err(StateError::Row("no text where one belongs")),
        }
    }

    pub(crate) fn bytes(&self, column: usize) -> Result<&[u8], StateError> {
        self.optional_bytes(column)?.ok_or(StateError::Row("NULL where bytes belong"))
    }

    pub(crate) fn optional_bytes(&self, column: usize) -> Result<Option<&[u8]>, StateError> {
        match self.0.get(column) {
            Some(Value::Bytes(bytes)) => Ok(Some(bytes)),
            Some(Value::Null) => Ok(None),
            _ => Err(StateError::Row("no bytes where some belong")),
        }
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<&[u8; 32]> for Value {
    fn from(bytes: &[u8; 32]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// How many rows of a bound there can be, for LIMIT.
pub(crate) fn limit(max: usize) -> Value {
    Value::Int(i64::try_from(max).unwrap_or(i64::MAX))
}

impl From<Refused> for StateError {
    fn from(refused: Refused) -> Self {
        Self::Refused(Box::new(refused))
    }
}
