//! Logins at providers whose answer counts once (SAML). A row is the life of one answer: it came, was
//! taken by the browser that had begun it, perhaps given on to a program beside that browser, and
//! became a token. What leads to each step is a secret, and only its hash is here. The row outlives
//! what it is the memory of, so no answer comes twice, also not after a restart.

use crate::bounds::{LOGIN_TOKENS_MAX, LOGINS_PER_HOUR_MAX};
use crate::engine::{Row, Tx, Value, limit};
use crate::person::Identity;
use crate::requests::{check_identity, check_name, lock_asker};
use crate::{Refused, State, StateError, stored};

/// SHA-256 of a secret, or of what names an answer.
pub type Hash = [u8; 32];

const HOUR_MILLIS: i64 = 3_600_000;

/// An answer of a provider, proven.
#[derive(Clone, Debug)]
pub struct NewLogin {
    /// Of the provider and the name of the answer: no other one has it.
    pub answer: Hash,
    /// The provider takes its answer back then, in Unix milliseconds: it need not be known longer.
    pub useless_at: i64,
    /// What it answers.
    pub request: String,
    /// When the provider's own session ends, if it says so.
    pub ends_at: Option<i64>,
    pub identity: Identity,
    /// Of the code that the browser gets.
    pub code: Hash,
    pub lasts_millis: i64,
}

/// What is to lead on, in the place of a code that is spent with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// A code for the program that can answer the challenge.
    Program {
        code: Hash,
        challenge: String,
        lasts_millis: i64,
    },
    Token {
        token: Hash,
        lasts_millis: i64,
    },
}

/// What a step has led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    pub identity: Identity,
    /// Of the secret that leads on.
    pub lasts_millis: i64,
}

/// A token that opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginToken {
    pub identity: Identity,
    pub until: i64,
    /// When the provider's own session ends, if it has said so.
    pub ends_at: Option<i64>,
}

impl State {
    /// False where the answer has been here before.
    pub async fn add_login(&self, login: NewLogin) -> Result<bool, StateError> {
        check_identity(&login.identity)?;
        check_name("request", &login.request)?;
        self.writer.run(move |engine| engine.write(|tx| add(tx, &login))).await
    }

    /// The browser's step: whoever brings the code has begun `request`. A code that comes with another
    /// one is in wrong hands, and spent.
    pub async fn take_login(
        &self,
        code: Hash,
        request: &str,
        next: Next,
    ) -> Result<Option<Taken>, StateError> {
        let request = request.to_owned();
        self.advance("browser", code, next, move |row| Ok(row.text(1)? == request)).await
    }

    /// The program's step: it `answers` the challenge of the login, or the code is spent.
    pub async fn redeem_login(
        &self,
        code: Hash,
        token: Hash,
        lasts_millis: i64,
        answers: impl Fn(&str) -> bool + Send + 'static,
    ) -> Result<Option<Taken>, StateError> {
        let next = Next::Token { token, lasts_millis };
        self.advance("program", code, next, move |row| Ok(answers(row.text(2)?))).await
    }

    /// Whose token it is, if it opens.
    pub async fn login_of_token(&self, token: Hash) -> Result<Option<LoginToken>, StateError> {
        let find = "SELECT identity, until, ends_at FROM logins
                    WHERE secret = ?1 AND stage = 'token' AND until > ?2";
        self.writer
            .run(move |engine| {
                let now = engine.now()?;
                let rows = engine.rows(find, &[(&token).into(), Value::Int(now)])?;
                let Some(row) = rows.first() else { return Ok(None) };
                let identity = stored::read_identity(row.text(0)?)?;
                let (until, ends_at) = (row.int(1)?, row.optional_int(2)?);
                Ok(Some(LoginToken { identity, until, ends_at }))
            })
            .await
    }

    async fn advance(
        &self,
        stage: &'static str,
        code: Hash,
        next: Next,
        is_right: impl Fn(&Row) -> Result<bool, StateError> + Send + 'static,
    ) -> Result<Option<Taken>, StateError> {
        self.writer
            .run(move |engine| {
                // Whoever guesses makes nothing be written.
                let known = "SELECT answer FROM logins WHERE secret = ?1 AND stage = ?2";
                match engine.rows(known, &[(&code).into(), stage.into()])?.is_empty() {
                    true => Ok(None),
                    false => engine.write(|tx| advance(tx, stage, &code, &next, &is_right)),
                }
            })
            .await
    }
}

fn add(tx: &mut Tx<'_>, login: &NewLogin) -> Result<bool, StateError> {
    let person = &login.identity.person;
    lock_asker(tx, &person.issuer, &person.subject)?;
    let now = tx.now()?;
    let count = "SELECT answer FROM logins
                 WHERE issuer = ?1 AND subject = ?2 AND created_at > ?3 LIMIT ?4";
    let of = [
        (&person.issuer).into(),
        (&person.subject).into(),
        Value::Int(now - HOUR_MILLIS),
        limit(LOGINS_PER_HOUR_MAX),
    ];
    if tx.rows(count, &of)?.len() >= LOGINS_PER_HOUR_MAX {
        return Err(Refused::TooManyLogins { of: person.to_string() }.into());
    }
    let until = now.saturating_add(login.lasts_millis);
    let insert = "INSERT INTO logins
        (answer, issuer, subject, request, stage, secret, until, ends_at, created_at, forget_at, identity)
        VALUES (?1, ?2, ?3, ?4, 'browser', ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT (answer) DO NOTHING";
    let given = [
        (&login.answer).into(),
        (&person.issuer).into(),
        (&person.subject).into(),
        (&login.request).into(),
        (&login.code).into(),
        Value::Int(until),
        login.ends_at.into(),
        Value::Int(now),
        Value::Int(login.useless_at.max(until)),
        Value::Text(stored::identity_text(&login.identity)?),
    ];
    Ok(tx.execute(insert, &given)? == 1)
}

fn advance(
    tx: &mut Tx<'_>,
    stage: &'static str,
    code: &Hash,
    next: &Next,
    is_right: &impl Fn(&Row) -> Result<bool, StateError>,
) -> Result<Option<Taken>, StateError> {
    let find = "SELECT answer, request, challenge, forget_at, identity, until, ends_at FROM logins
                WHERE secret = ?1 AND stage = ?2 FOR UPDATE";
    let Some(row) = tx.row(find, &[code.into(), stage.into()])? else { return Ok(None) };
    let now = tx.now()?;
    let answer = Value::from(&answer_of(&row)?);
    let ends_at = row.optional_int(6)?;
    let is_over = row.int(5)? <= now || ends_at.is_some_and(|ends_at| ends_at <= now);
    if is_over || !is_right(&row)? {
        let spend = "UPDATE logins SET stage = 'spent', secret = NULL WHERE answer = ?1";
        tx.execute(spend, &[answer])?;
        return Ok(None);
    }
    let (stage, secret, challenge, lasts) = match next {
        Next::Program { code, challenge, lasts_millis } => {
            ("program", code, Some(challenge.as_str()), lasts_millis)
        }
        Next::Token { token, lasts_millis } => ("token", token, None, lasts_millis),
    };
    let identity = stored::read_identity(row.text(4)?)?;
    if stage == "token" {
        make_room(tx, &identity, now)?;
    }
    let until = now.saturating_add(*lasts).min(ends_at.unwrap_or(i64::MAX));
    let update = "UPDATE logins SET stage = ?2, secret = ?3, challenge = ?4, until = ?5,
                  forget_at = ?6 WHERE answer = ?1";
    let forget_at = Value::Int(row.int(3)?.max(until));
    let challenge = challenge.into();
    let given = [answer, stage.into(), secret.into(), challenge, Value::Int(until), forget_at];
    tx.execute(update, &given)?;
    Ok(Some(Taken { identity, lasts_millis: until - now }))
}

/// A token is for the connections that are made next: the newest takes the place of the oldest.
fn make_room(tx: &mut Tx<'_>, identity: &Identity, now: i64) -> Result<(), StateError> {
    let person = &identity.person;
    lock_asker(tx, &person.issuer, &person.subject)?;
    let find = "SELECT answer FROM logins
                WHERE issuer = ?1 AND subject = ?2 AND stage = 'token' AND until > ?3
                ORDER BY until DESC, answer";
    let of = [(&person.issuer).into(), (&person.subject).into(), Value::Int(now)];
    for row in tx.rows(find, &of)?.iter().skip(LOGIN_TOKENS_MAX.saturating_sub(1)) {
        let spend = "UPDATE logins SET stage = 'spent', secret = NULL WHERE answer = ?1";
        tx.execute(spend, &[(&answer_of(row)?).into()])?;
    }
    Ok(())
}

fn answer_of(row: &Row) -> Result<Hash, StateError> {
    row.bytes(0)?.try_into().map_err(|_| StateError::Row("a hash of another length"))
}
