//! Tokens of local identities: what is kept of each, and how long it counts. A revoked or expired
//! token stays as a row, so that `last_used_at` can still be read; it opens nothing.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use rusqlite::{Connection, Row, TransactionBehavior, params};

use crate::{State, StateError};

/// Live tokens that one name can have: every login is checked against all of them.
pub const TOKENS_PER_NAME_MAX: usize = 16;

/// `last_used_at` moves at most this often: each move is an fsync, and a login storm of one agent
/// would be one each.
pub const TOUCH_INTERVAL_MILLIS: i64 = 60_000;

/// Which token, without saying anything of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenId(i64);

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for TokenId {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(TokenId)
    }
}

/// A token as a list shows it. The verifier isn't in it: a list has no use for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    pub id: TokenId,
    pub name: String,
    pub created_at: i64,
    /// From this instant on it opens nothing.
    pub expires_at: Option<i64>,
    pub revoked_at: Option<i64>,
    /// Up to `TOUCH_INTERVAL_MILLIS` behind.
    pub last_used_at: Option<i64>,
}

impl State {
    pub async fn add_token(
        &self,
        name: &str,
        verifier: &str,
        created_at: i64,
        expires_at: Option<i64>,
    ) -> Result<TokenId, StateError> {
        let (name, verifier) = (name.to_owned(), verifier.to_owned());
        self.writer.run(move |c| add(c, name, &verifier, created_at, expires_at)).await
    }

    /// The tokens that open at `now`, with their verifiers, at most `TOKENS_PER_NAME_MAX` of them.
    pub async fn live_tokens(
        &self,
        name: &str,
        now: i64,
    ) -> Result<Vec<(TokenId, String)>, StateError> {
        let name = name.to_owned();
        self.writer.run(move |connection| Ok(live(connection, &name, now)?)).await
    }

    /// Every token, oldest first, whatever became of it.
    pub async fn tokens(&self) -> Result<Vec<TokenRow>, StateError> {
        self.writer.run(|connection| Ok(list(connection)?)).await
    }

    /// Whether there was such a token to revoke: one that is revoked already keeps its date.
    pub async fn revoke_token(&self, id: TokenId, now: i64) -> Result<bool, StateError> {
        let update = "UPDATE tokens SET revoked_at = ?2 WHERE id = ?1 AND revoked_at IS NULL";
        self.writer.run(move |c| Ok(c.execute(update, params![id.0, now])? == 1)).await
    }

    /// Remembers that a token was used at `now`.
    pub async fn touch_token(&self, id: TokenId, now: i64) -> Result<(), StateError> {
        let update = "UPDATE tokens SET last_used_at = ?2
                      WHERE id = ?1 AND (last_used_at IS NULL OR last_used_at <= ?2 - ?3)";
        self.writer
            .run(move |connection| {
                let mut statement = connection.prepare_cached(update)?;
                statement.execute(params![id.0, now, TOUCH_INTERVAL_MILLIS])?;
                Ok(())
            })
            .await
    }
}

/// Counting and adding are one transaction that locks first, so that two processes can't both add
/// the last one.
fn add(
    connection: &mut Connection,
    name: String,
    verifier: &str,
    created_at: i64,
    expires_at: Option<i64>,
) -> Result<TokenId, StateError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if live(&transaction, &name, created_at)?.len() >= TOKENS_PER_NAME_MAX {
        return Err(StateError::TooManyTokens { name });
    }
    transaction.execute(
        "INSERT INTO tokens (name, verifier, created_at, expires_at) VALUES (?1, ?2, ?3, ?4)",
        params![name, verifier, created_at, expires_at],
    )?;
    let id = TokenId(transaction.last_insert_rowid());
    transaction.commit()?;
    Ok(id)
}

/// The limit is there for a clock that went back, when expired tokens are live again: the newest
/// count.
fn live(
    connection: &Connection,
    name: &str,
    now: i64,
) -> Result<Vec<(TokenId, String)>, rusqlite::Error> {
    let mut statement = connection.prepare_cached(
        "SELECT id, verifier FROM tokens
         WHERE name = ?1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?2)
         ORDER BY id DESC LIMIT ?3",
    )?;
    let limit = i64::try_from(TOKENS_PER_NAME_MAX).unwrap_or(i64::MAX);
    let read = |row: &Row<'_>| Ok((TokenId(row.get(0)?), row.get(1)?));
    statement.query_map(params![name, now, limit], read)?.collect()
}

fn list(connection: &Connection) -> Result<Vec<TokenRow>, rusqlite::Error> {
    let mut statement = connection.prepare_cached(
        "SELECT id, name, created_at, expires_at, revoked_at, last_used_at FROM tokens ORDER BY id",
    )?;
    let read = |row: &Row<'_>| {
        Ok(TokenRow {
            id: TokenId(row.get(0)?),
            name: row.get(1)?,
            created_at: row.get(2)?,
            expires_at: row.get(3)?,
            revoked_at: row.get(4)?,
            last_used_at: row.get(5)?,
        })
    };
    statement.query_map([], read)?.collect()
}
