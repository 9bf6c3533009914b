//! `gatepost token`: makes, lists and revokes tokens in the store. How a token is checked is
//! the business of `identity`, how it is kept that of `access`.

use std::io::{self, Write as _};
use std::time::{Duration, SystemTime};

use access::{State, StateError, TokenId, TokenRow};
use gateway::store::Store;
use identity::scram::{ITERATIONS, Salts, Verifier};
use identity::token::Token;

use crate::cli::{self, Failure};
use crate::table;

const DAY_MILLIS: i64 = 86_400_000;

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
        Some(at) => format!("good until {}", instant(at)),
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
        Some(at) => format!("token {id} was revoked already, on {}", instant(at)),
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
            instant(row.created_at),
            row.expires_at.map_or_else(|| "never".to_owned(), instant),
            row.last_used_at.map_or_else(|| "never".to_owned(), instant),
        ]);
    }
    table::table(&lines)
}

/// Unix milliseconds as people write an instant, in UTC.
fn instant(millis: i64) -> String {
    let (year, month, day) = date(millis.div_euclid(DAY_MILLIS));
    let minutes = millis.rem_euclid(DAY_MILLIS) / 60_000;
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}Z", minutes / 60, minutes % 60)
}

/// The Gregorian date of a day counted from 1970-01-01.
fn date(days: i64) -> (i64, i64, i64) {
    // 400 years are 146,097 days, whichever they are, so only what is left has to be walked.
    let mut year = 1970 + 400 * days.div_euclid(146_097);
    let mut left = days.rem_euclid(146_097);
    while left >= year_days(year) {
        left -= year_days(year);
        year += 1;
    }
    let february = year_days(year) - 337;
    let mut month = 1;
    for days in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if left < days {
            break;
        }
        left -= days;
        month += 1;
    }
    (year, month, left + 1)
}

fn year_days(year: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    if leap { 366 } else { 365 }
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
    fn instants() {
        for (millis, text) in [
            (0, "1970-01-01 00:00Z"),
            (59_999, "1970-01-01 00:00Z"),
            (-1, "1969-12-31 23:59Z"),
            (951_782_400_000, "2000-02-29 00:00Z"),
            (1_709_251_199_999, "2024-02-29 23:59Z"),
            (1_709_251_200_000, "2024-03-01 00:00Z"),
            (1_798_761_540_000, "2026-12-31 23:59Z"),
            (4_107_542_400_000, "2100-03-01 00:00Z"),
            (253_402_300_799_000, "9999-12-31 23:59Z"),
        ] {
            assert_eq!(instant(millis), text);
        }
        assert!(!instant(i64::MAX).is_empty());
        assert!(!instant(i64::MIN).is_empty());
    }

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
        assert_eq!(
            table(&rows, 60_000),
            "ID  NAME         STATE    CREATED            EXPIRES            LAST USED\n\
             1   agent-7      live     1970-01-01 00:00Z  never              never\n\
             2   a\\u{1b}[31m  expired  1970-01-01 00:00Z  1970-01-01 00:01Z  never\n\
             10  b            revoked  1970-01-01 00:00Z  1970-01-01 00:01Z  never\n"
        );
    }
}
