//! Who may be let in, for how long, and what waits for a person: requests, grants and holds as
//! state machines, and the store that they, the tokens and the newest heads of journals are kept
//! in. Each step of a machine is a function of the row, what happened and the time (`request`,
//! `grant`, `hold`); the store locks the row, reads its own clock, takes the step and writes the
//! row, in one transaction that is durable when a call returns. Every call that changes something
//! gives back what the journal has to say of it. Whom a rule means is the business of `policy`;
//! what a verifier means, of `identity`; when a session stops, of the gateway.

mod approval;
pub mod bounds;
mod changes;
mod clock;
mod counts;
mod due;
mod engine;
mod grant;
mod grants;
mod heads;
mod hold;
mod holds;
mod id;
mod lease;
mod logins;
mod person;
mod refused;
mod request;
mod requests;
mod stored;
mod tokens;
mod untold;
mod writer;

use std::path::{Path, PathBuf};

use thiserror::Error;
use tokio::sync::watch;

pub use approval::{May, Needed, Saying, ShapeOffer, Vote};
use changes::Changes;
pub use changes::Watch;
use clock::StoreClock;
pub use clock::{Clock, ManualClock, steady_millis};
pub use counts::CountRow;
pub use due::Due;
pub use engine::{CONNECT_WITHIN, Dialled, Duplex, PostgresStore};
use engine::{Engine, Postgres, SALT_KEY_BYTES, Sqlite};
pub use grant::{Grant, GrantEnd, GrantState};
pub use grants::{EndedGrant, Served};
pub use heads::HeadRow;
pub use hold::{Claimant, Digest, Hold, HoldState, Outcome, Run, Shape, Withdrawal};
pub use holds::{Held, NewHold, ShapeUsed};
pub use id::{GrantId, HoldId, NotAnId, RequestId};
pub use lease::{DOUBTFUL_AFTER_MILLIS, LOST_AFTER_MILLIS, Lease, RENEW_EVERY_MILLIS, Standing};
pub use logins::{Hash, LoginToken, NewLogin, Next, Taken};
pub use person::{Identity, Person};
pub use refused::Refused;
pub use request::{Request, RequestState, RequestVoted};
pub use requests::{Admission, Admitted, Ask, Filter, Joins};
pub use tokens::{LiveToken, TOKENS_PER_NAME_MAX, TOUCH_INTERVAL_MILLIS, TokenId, TokenRow};
use untold::Teller;
pub use untold::{Step, Tell, UNTOLD_ROWS_MAX, Untold};
use writer::Writer;

/// The open store. Cheap to clone; several processes can have the same one open, and each sees at
/// once what another committed, for nothing is cached. It is closed with the last clone.
///
/// Calls run one after another on a thread of their own. They are cancel-safe in that nothing is
/// left half done; a call that was handed over still runs.
#[derive(Clone, Debug)]
pub struct State {
    writer: Writer,
    changes: Changes,
    salt_key: [u8; SALT_KEY_BYTES],
    /// For what is done by this handle.
    teller: Option<Teller>,
}

impl State {
    /// Opens the state file; makes it, readable by its owner alone, where there is none; and
    /// brings an older one up to date. Blocks for as long as that takes.
    pub fn open(path: &Path) -> Result<State, StateError> {
        Self::open_at(path, Clock::System)
    }

    /// The same by another clock.
    pub fn open_at(path: &Path, clock: Clock) -> Result<State, StateError> {
        let changes = Changes::new();
        let (path, tell) = (path.to_owned(), changes.clone());
        let (writer, salt_key) = Writer::start(move || {
            let (sqlite, salt_key) = Sqlite::open(&path)?;
            Ok((Engine::sqlite(sqlite, StoreClock::new(clock), tell)?, salt_key))
        })?;
        Ok(State { writer, changes, salt_key, teller: None })
    }

    /// Opens the store in a PostgreSQL database; makes its tables, in a schema `gatepost_state`,
    /// where there are none; and brings older ones up to date. Blocks for as long as that takes.
    pub fn open_postgres(store: PostgresStore) -> Result<State, StateError> {
        Self::open_postgres_at(store, Clock::System)
    }

    /// The same by another clock: a made-up one stands in for the server's.
    pub fn open_postgres_at(store: PostgresStore, clock: Clock) -> Result<State, StateError> {
        let changes = Changes::new();
        let tell = changes.clone();
        let (writer, salt_key) = Writer::start(move || {
            let (postgres, salt_key) = Postgres::open(store, tell.clone())?;
            Ok((Engine::postgres(postgres, StoreClock::new(clock), tell), salt_key))
        })?;
        Ok(State { writer, changes, salt_key, teller: None })
    }

    /// The key of the salts that verifiers are derived with: made with the store, and never
    /// another.
    pub fn salt_key(&self) -> [u8; SALT_KEY_BYTES] {
        self.salt_key
    }

    /// The store's time. What is asked together with a row is more exact: see `Admitted::now`.
    pub async fn now(&self) -> Result<i64, StateError> {
        self.writer.run(Engine::now).await
    }

    /// Hears when the request, grant or hold with this id may have changed. Watch first and look
    /// then, or a change in between goes unheard.
    pub fn watch(&self, id: impl ToString) -> Watch {
        self.changes.watch(id.to_string())
    }

    /// Hears when any may have.
    pub fn watch_all(&self) -> watch::Receiver<()> {
        self.changes.watch_all()
    }

    /// Looks whether another process has changed anything, and if so wakes all who watch. For a
    /// gateway to call twice a second; it costs no more than asking.
    pub async fn look_outside(&self) -> Result<(), StateError> {
        self.writer.run(Engine::look_outside).await
    }
}

#[derive(Debug, Error)]
pub enum StateError {
    #[error("state file {path}: {source}", path = path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("state file {path} is not a file", path = path.display())]
    NotAFile { path: PathBuf },
    /// Garbage, or another program's database: nothing in it was changed.
    #[error("{path} is not a state file of Gatepost", path = path.display())]
    NotAStateFile { path: PathBuf },
    #[error(
        "state file {path} was written by a newer Gatepost (its version is {found}, this program \
         knows up to {known}); nothing in it was changed",
        path = path.display()
    )]
    Newer { path: PathBuf, found: u32, known: u32 },
    #[error("state file {path} is damaged: {what}", path = path.display())]
    Damaged { path: PathBuf, what: &'static str },
    #[error("state file {path}: {source}", path = path.display())]
    Open { path: PathBuf, source: rusqlite::Error },
    #[error("`{name}` already has {TOKENS_PER_NAME_MAX} live tokens; revoke one first")]
    TooManyTokens { name: String },
    /// The store works, and its answer is no. Nothing was changed.
    #[error(transparent)]
    Refused(Box<Refused>),
    /// Something in the store that this program has not written so.
    #[error("the store holds what can't be read: {0}")]
    Row(&'static str),
    #[error("the system's random source failed")]
    Random,
    #[error(
        "the store was written by a newer Gatepost (its version is {found}, this program knows up \
         to {known}); nothing in it was changed"
    )]
    NewerStore { found: u32, known: u32 },
    /// The store in PostgreSQL can't be reached, or was lost. If it was lost while something was
    /// being written, that may have been done or not.
    #[error("the store can't be reached: {0}")]
    Away(String),
    #[error("the store could not be used: {0}")]
    Postgres(String),
    #[error("the state file could not be used: {0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("the state file's thread could not be started: {0}")]
    Thread(std::io::Error),
    /// The thread is gone: it panicked, which is a fault of ours.
    #[error("the state file's thread has ended")]
    Ended,
}

impl StateError {
    /// The answer of a store that works.
    pub fn refused(&self) -> Option<&Refused> {
        match self {
            Self::Refused(refused) => Some(refused),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
