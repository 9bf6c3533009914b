//! Tokens: what is kept of each, and how long it counts. Those of local identities last as long as
//! somebody said; those of a grant open that grant alone, and nothing once it has ended. A revoked
//! or expired token stays as a row, so that `last_used_at` can still be read; it opens nothing.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use crate::engine::{Engine, Row, Tx, Value, limit};
use crate::grant::Grant;
use crate::id::GrantId;
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
    /// What it opens, if it opens no more than a grant.
    pub grant: Option<GrantId>,
}

/// A token that a login can be checked against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveToken {
    pub id: TokenId,
    pub verifier: String,
    pub grant: Option<GrantId>,
    /// It opens once: who has proven to know it must `spend_token`, and be told that it was
    /// theirs.
    pub single_use: bool,
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
        let add = move |engine: &mut Engine| {
            engine.write(|tx| {
                let token = NewToken { name, verifier, created_at, expires_at, of: None };
                add(tx, token, created_at)
            })
        };
        self.writer.run(add).await
    }

    /// A token that opens this grant and nothing else, for so long and no longer than the grant
    /// itself.
    pub async fn add_grant_token(
        &self,
        grant: &GrantId,
        name: &str,
        verifier: &str,
        lasts_millis: i64,
        single_use: bool,
    ) -> Result<TokenId, StateError> {
        let (grant, name, verifier) = (grant.clone(), name.to_owned(), verifier.to_owned());
        let add = move |engine: &mut Engine| {
            engine.write(|tx| {
                let locked = crate::grants::lock(tx, &grant)?;
                let now = tx.now()?;
                let Grant { ends_at, .. } = locked.live(now)?;
                let expires_at = Some(now.saturating_add(lasts_millis).min(ends_at));
                let of = Some((grant, single_use));
                add(tx, NewToken { name, verifier, created_at: now, expires_at, of }, now)
            })
        };
        self.writer.run(add).await
    }

    /// The tokens that open at `now`, at most `TOKENS_PER_NAME_MAX` of them.
    pub async fn live_tokens(&self, name: &str, now: i64) -> Result<Vec<LiveToken>, StateError> {
        let name = name.to_owned();
        self.writer
            .run(move |engine| {
                let stores = engine.now()?;
                let rows = engine.rows(LIVE, &live(&name, now, stores))?;
                rows.iter().map(read_live).collect()
            })
            .await
    }

    /// Whether this name has a token, whatever became of it.
    pub async fn has_tokens(&self, name: &str) -> Result<bool, StateError> {
        let given = [Value::from(name)];
        let query = "SELECT id FROM tokens WHERE name = ?1 LIMIT 1";
        self.writer.run(move |engine| Ok(!engine.rows(query, &given)?.is_empty())).await
    }

    /// Every token, oldest first, whatever became of it.
    pub async fn tokens(&self) -> Result<Vec<TokenRow>, StateError> {
        let select = "SELECT id, name, created_at, expires_at, revoked_at, last_used_at, grant_id
                      FROM tokens ORDER BY id";
        self.writer.run(move |engine| engine.rows(select, &[])?.iter().map(read).collect()).await
    }

    /// Whether there was such a token to revoke: one that is revoked already keeps its date.
    pub async fn revoke_token(&self, id: TokenId, now: i64) -> Result<bool, StateError> {
        let update = "UPDATE tokens SET revoked_at = ?2 WHERE id = ?1 AND revoked_at IS NULL";
        let given = [Value::Int(id.0), Value::Int(now)];
        self.writer.run(move |engine| engine.write(|tx| Ok(tx.execute(update, &given)? == 1))).await
    }

    /// Whether a token that opens once was still there to be used: of all who ask, one is told
    /// yes.
    pub async fn spend_token(&self, id: TokenId) -> Result<bool, StateError> {
        // The condition is asked again under the lock of the row, should two ask at once.
        let update = "UPDATE tokens SET revoked_at = ?2, last_used_at = ?2
                      WHERE id = ?1 AND single_use = 1 AND revoked_at IS NULL
                      AND (expires_at IS NULL OR expires_at > ?2)";
        self.writer
            .run(move |engine| {
                engine.write(|tx| {
                    let now = tx.now()?;
                    Ok(tx.execute(update, &[Value::Int(id.0), Value::Int(now)])? == 1)
                })
            })
            .await
    }

    /// Remembers that a token was used at `now`.
    pub async fn touch_token(&self, id: TokenId, now: i64) -> Result<(), StateError> {
        let update = "UPDATE tokens SET last_used_at = ?2
                      WHERE id = ?1 AND (last_used_at IS NULL OR last_used_at <= ?3)";
        let given = [Value::Int(id.0), Value::Int(now), Value::Int(now - TOUCH_INTERVAL_MILLIS)];
        self.writer
            .run(move |engine| engine.write(|tx| tx.execute(update, &given).map(|_| ())))
            .await
    }
}

struct NewToken {
    name: String,
    verifier: String,
    created_at: i64,
    expires_at: Option<i64>,
    /// The grant, and whether it opens it once.
    of: Option<(GrantId, bool)>,
}

/// The limit is there for a clock that went back, when expired tokens are live again: the newest
/// count.
const LIVE: &str = "SELECT id, verifier, grant_id, single_use FROM tokens
     WHERE name = ?1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?2)
     AND (grant_id IS NULL OR EXISTS (
         SELECT 1 FROM grants
         WHERE grants.id = tokens.grant_id AND grants.state = 'open' AND grants.ends_at > ?3
     ))
     ORDER BY id DESC LIMIT ?4";

fn live(name: &str, now: i64, stores: i64) -> [Value; 4] {
    [name.into(), Value::Int(now), Value::Int(stores), limit(TOKENS_PER_NAME_MAX)]
}

/// Counting and adding are one transaction that locks first, so that two processes can't both add
/// the last one.
fn add(tx: &mut Tx<'_>, token: NewToken, now: i64) -> Result<TokenId, StateError> {
    // Whoever adds to a name locks the row that stands for it.
    crate::requests::lock_asker(tx, "", &token.name)?;
    let stores = tx.now()?;
    let others = tx.rows(LIVE, &live(&token.name, now, stores))?;
    if others.len() >= TOKENS_PER_NAME_MAX {
        // A grant's password is for the connection that is made next: the newest takes the place of
        // the oldest.
        let others = others.iter().map(read_live).collect::<Result<Vec<_>, _>>()?;
        let of_grants = others.iter().filter(|other| other.grant.is_some());
        match of_grants.map(|other| other.id).min().filter(|_| token.of.is_some()) {
            Some(oldest) => {
                let update = "UPDATE tokens SET revoked_at = ?2 WHERE id = ?1";
                tx.execute(update, &[Value::Int(oldest.0), Value::Int(stores)])?;
            }
            None => return Err(StateError::TooManyTokens { name: token.name }),
        }
    }
    let (grant, single_use) = token.of.unzip();
    let row = tx.row(
        "INSERT INTO tokens (name, verifier, created_at, expires_at, grant_id, single_use)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) RETURNING id",
        &[
            (&token.name).into(),
            (&token.verifier).into(),
            Value::Int(token.created_at),
            token.expires_at.into(),
            grant.as_ref().map(GrantId::as_str).into(),
            Value::Int(single_use.unwrap_or_default().into()),
        ],
    )?;
    Ok(TokenId(row.ok_or(StateError::Row("a token without a number"))?.int(0)?))
}

fn read_live(row: &Row) -> Result<LiveToken, StateError> {
    Ok(LiveToken {
        id: TokenId(row.int(0)?),
        verifier: row.text(1)?.to_owned(),
        grant: grant_of(row, 2)?,
        single_use: row.int(3)? != 0,
    })
}

fn read(row: &Row) -> Result<TokenRow, StateError> {
    Ok(TokenRow {
        id: TokenId(row.int(0)?),
        name: row.text(1)?.to_owned(),
        created_at: row.int(2)?,
        expires_at: row.optional_int(3)?,
        revoked_at: row.optional_int(4)?,
        last_used_at: row.optional_int(5)?,
        grant: grant_of(row, 6)?,
    })
}

fn grant_of(row: &Row, column: usize) -> Result<Option<GrantId>, StateError> {
    let parsed = row.optional_text(column)?.map(str::parse).transpose();
    parsed.map_err(|_| StateError::Row("a token of a grant that can't be read"))
}
