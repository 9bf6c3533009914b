//! What Gatepost remembers between runs: the state file, and in it the tokens of local identities
//! and the newest heads of journals. Times are passed in as Unix milliseconds; nothing here reads a clock. What a verifier means is
//! the business of `identity`.

mod file;
mod heads;
mod tokens;
mod writer;

use std::path::{Path, PathBuf};

use thiserror::Error;

pub use heads::HeadRow;
pub use tokens::{TOKENS_PER_NAME_MAX, TOUCH_INTERVAL_MILLIS, TokenId, TokenRow};
use writer::Writer;

/// The open state file. Cheap to clone; several processes can have the same file open, and each
/// sees at once what another committed, for nothing is cached. The file is closed with the last
/// clone.
///
/// Requests run one after another on a thread of their own, because SQLite blocks. Methods are
/// cancel-safe in that nothing is left half done; a request that was handed over still runs.
#[derive(Clone, Debug)]
pub struct State {
    writer: Writer,
    salt_key: [u8; file::SALT_KEY_BYTES],
}

impl State {
    /// Opens the state file; makes it, readable by its owner alone, where there is none; and brings
    /// an older one up to date. Blocks for as long as that takes.
    pub fn open(path: &Path) -> Result<State, StateError> {
        let (connection, salt_key) = file::open(path)?;
        Ok(State { writer: Writer::start(connection)?, salt_key })
    }

    /// The key of the salts that verifiers are derived with: made with the file, and never another.
    pub fn salt_key(&self) -> [u8; file::SALT_KEY_BYTES] {
        self.salt_key
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
    #[error("the state file could not be used: {0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("the state file's thread could not be started: {0}")]
    Thread(std::io::Error),
    /// The thread is gone: it panicked, which is a fault of ours.
    #[error("the state file's thread has ended")]
    Ended,
}

#[cfg(test)]
mod tests;
