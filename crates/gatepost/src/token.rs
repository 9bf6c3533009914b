//! `gatepost token`: makes, lists and revokes tokens in the store. How a token is checked is
//! the business of `identity`, how it is kept that of `access`.

use std::io::{self, Write as _};
use std::time::{Duration, SystemTime};

use access::{State, StateError, TokenId, TokenRow};
use gateway::store::Store;
use identity::scram::{ITERATIONS, Salts, Verifier};
use identity::token::Token;

use crate::cli::{self, Failure};
use crate::{table, when};

/// A token that was just made; its text is nowhere else.
pub(crate) struct Made {
    pub(crate) token: Token,
    id: TokenId,
    expires_at: Option<i64>,
}

/// Makes a token and keeps its verifier.
pub(crate) async fn make(
    store: &Store,
    name: &str,
    lifetime: Option<Duration>,
) -> Result<Made, Failure> {
    let state = store.open()?;
    let token = Token::generate().map_err(failed)?;
    // The salt depends on the name alone: a stranger learns nothing by asking for it.
    let salt = Salts::new(state.salt_key()).salt_of(name);
    let verifier = Verifier::derive(token.text().as_bytes(), &salt, ITERATIONS).to_string();

    let now = now()?;
    let expires_at = match lifetime {
        None => None,
        Some(lifetime) => Some(end(now, lifetime).ok_or_else(|| failed("it would end too late"))?),
    };
    let id = state.add_token(name, &verifier, now, expires_at).await?;
    Ok(Made { token, id, expires_at })
}

/// Makes a token and prints it.
pub(crate) fn create(store: &Store, name: &str, lifetime: Option<Duration>) -> Result<(), Failure> {
    let Made { token, id, expires_at } = wait(make(store, name, lifetime))?;
    cli::print(&format!("{}\n", token.text())).map_err(|_| {
        Failure::Failed(format!(
            "token {id} was made but could not be printed; revoke it: gatepost token revoke {id}"
        ))
    })?;
    let until = match expires_at {
        Some(at) => format!("good until {}", when::millis(at)),
        None => "good until it is revoked".to_owned(),
    };
    let note = format!("token {id} for `{name}`, {until}; it can't be shown again");
    // The token is out; a stderr that is closed changes nothing about that.
    let _unread = writeln!(io::stderr(), "{note}");
    Ok(())
}

/// Prints all tokens, oldest first.
pub(crate) fn list(store: &Store) -> Result<(), Failure> {
    let state = existing(store)?;
    let rows = wait(state.tokens())?;
    cli::print(&table(&rows, now()?))
}

pub(crate) fn revoke(store: &Store, id: TokenId) -> Result<(), Failure> {
    let state = existing(store)?;
    let now = now()?;
    if wait(state.revoke_token(id, now))? {
        return cli::print(&format!("token {id} is revoked\n"));
    }
    let known = wait(state.tokens())?.into_iter().find(|row| row.id == id);
    Err(Failure::Failed(match known.and_then(|row| row.revoked_at) {
        Some(at) => format!("token {id} was revoked already, on {}", when::millis(at)),
        None => format!("there is no token {id}; see gatepost token list"),
    }))
}

/// Opening makes a state file where there is none, which is no answer to "what is in it".
fn existing(store: &Store) -> Result<State, Failure> {
    if store.is_missing() {
        return Err(Failure::Failed(format!("there is no state file {store}")));
    }
    Ok(store.open()?)
}

fn table(rows: &[TokenRow], now: i64) -> String {
    let heads = ["ID", "NAME", "STATE", "CREATED", "EXPIRES", "LAST USED"];
    let mut lines = vec![heads.map(str::to_owned)];
    for row in rows {
        let condition = match (row.revoked_at, row.expires_at) {
            (Some(_), _) => "revoked",
            (None, Some(end)) if end <= now => "expired",
            (None, _) => "live",
        };
        lines.push([
            row.id.to_string(),
            row.name.clone(),
            condition.to_owned(),
            when::millis(row.created_at),
            row.expires_at.map_or_else(|| "never".to_owned(), when::millis),
            row.last_used_at.map_or_else(|| "never".to_owned(), when::millis),
        ]);
    }
    table::table(&lines)
}

fn end(now: i64, lifetime: Duration) -> Option<i64> {
    now.checked_add(i64::try_from(lifetime.as_millis()).ok()?)
}

fn now() -> Result<i64, Failure> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_err(failed)?;
    i64::try_from(since.as_millis()).map_err(failed)
}

fn wait<T, E>(work: impl Future<Output = Result<T, E>>) -> Result<T, Failure>
where
    Failure: From<E>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(failed)?;
    Ok(runtime.block_on(work)?)
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::Failed(error.to_string())
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        failed(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_that_cannot_be_told_is_not_no_end() {
        assert_eq!(end(1_000, Duration::from_millis(1)), Some(1_001));
        assert_eq!(end(i64::MAX, Duration::from_millis(1)), None);
        assert_eq!(end(0, Duration::MAX), None);
    }

    #[test]
    fn a_table_says_what_became_of_each_token() {
        let row = |id: &str, name: &str, expires_at, revoked_at| TokenRow {
            id: id.parse().unwrap(),
            name: name.to_owned(),
            created_at: 0,
            expires_at,
            revoked_at,
            last_used_at: None,
            grant: None,
        };
        let rows = [
            row("1", "agent-7", None, None),
            row("2", "a\u{1b}[31m", Some(60_000), None),
            row("10", "b", Some(60_001), Some(60_000)),
        ];
        let shown = table(&rows, 60_000);
        let cells = |line: &str| -> Vec<String> {
            line.split("  ")
                .map(|cell| cell.trim().to_owned())
                .filter(|it| !it.is_empty())
                .collect()
        };
        let (begin, end, after) = (when::millis(0), when::millis(60_000), when::millis(60_001));
        let expected = [
            ["ID", "NAME", "STATE", "CREATED", "EXPIRES", "LAST USED"],
            ["1", "agent-7", "live", &begin, "never", "never"],
            ["2", "a\\u{1b}[31m", "expired", &begin, &end, "never"],
            ["10", "b", "revoked", &begin, &after, "never"],
        ];
        assert_eq!(shown.lines().map(cells).collect::<Vec<_>>(), expected);
    }
}
