//! Requests in the store: asking, deciding, withdrawing, looking. Whoever asks locks the row that
//! stands for them first, whoever decides locks the request; so ten that ask at once make one
//! request, and two that agree at once are two.

use crate::approval::{May, Needed, Saying};
use crate::bounds::{
    BY_BYTES_MAX, GRANTS_PER_HOUR_MAX, IDENTITY_BYTES_MAX, LASTS_MILLIS_MAX, NAME_BYTES_MAX,
    NEEDED_MAX, PAGE_ROWS_MAX, PEOPLE_MAX, POLICIES_MAX, REASON_BYTES_MAX, REQUESTS_PENDING_MAX,
    REQUESTS_PER_HOUR_MAX, SCOPE_BYTES_MAX, WORDS_BYTES_MAX,
};
use crate::engine::{Engine, Row, Tx, Value, limit};
use crate::grant::{Grant, GrantState};
use crate::id::{GrantId, RequestId};
use crate::person::{Identity, Person};
use crate::refused::Refused;
use crate::request::{Request, RequestState, RequestVoted};
use crate::stored::{self, Stored, grant_columns, request_columns};
use crate::untold::{self, Step, Teller};
use crate::{State, StateError};

const HOUR_MILLIS: i64 = 3_600_000;

/// Somebody asks for a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    pub identity: Identity,
    pub connection: String,
    pub reason: Option<String>,
    /// What it is to open, by name.
    pub policies: Vec<String>,
    /// Narrower than the policies, as it was written.
    pub scope: Option<String>,
    /// For how long.
    pub lasts_millis: i64,
    /// What must be agreed to. Nothing: it opens at once.
    pub needed: Vec<Needed>,
    /// For how long a request waits for people.
    pub waits_millis: i64,
    pub joins: Joins,
}

/// What there is already that will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joins {
    /// What was asked with the same policies and scope.
    Same,
    /// For who asks for nothing in particular. Where people must agree, any grant of this identity on
    /// this connection, the one that ends last, and any request. What opens at once is joined as
    /// `Same` is: a grant that was asked for by name or with less would be another session's to have.
    Any,
    /// No grant: more time is asked for, or a no is not taken for an answer. A request for the
    /// same that still waits is joined all the same.
    Nothing,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// The store's time, to compare the ends of what is in it with.
    pub now: i64,
    pub admission: Admission,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// A grant that lives. One that is new is for the journal, as it was opened.
    Open { grant: Grant, new: bool },
    /// A request that waits for people.
    Wait { request: Request, new: bool },
    /// The same was asked, with the same reason, and somebody said no a short while ago.
    Denied(Request),
}

/// Which rows of a list. None of it: all, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter<Id> {
    pub person: Option<Person>,
    pub connection: Option<String>,
    /// Only those that aren't over.
    pub open: bool,
    /// Those behind this one in the list: the last of the page before.
    pub behind: Option<Id>,
    /// At most `PAGE_ROWS_MAX` in any case.
    pub rows: usize,
}

impl<Id> Default for Filter<Id> {
    fn default() -> Self {
        Self { person: None, connection: None, open: false, behind: None, rows: PAGE_ROWS_MAX }
    }
}

impl State {
    /// What becomes of what somebody asks: a grant that lives, a request that waits, or the no
    /// that was said to it.
    pub async fn admit(&self, ask: Ask) -> Result<Admitted, StateError> {
        let ask = ask.checked()?;
        let opens = opens(&ask);
        let teller = self.teller.clone();
        self.writer.run(move |engine| admit(engine, ask, &opens, &teller)).await
    }

    pub async fn request(&self, id: &RequestId) -> Result<Option<Request>, StateError> {
        let id = id.clone();
        self.writer
            .run(move |engine| {
                let now = engine.now()?;
                let select = concat!("SELECT ", request_columns!(), " FROM requests WHERE id = ?1");
                let rows = engine.rows(select, &[id.as_str().into()])?;
                Ok(read_all::<Request>(&rows)?.pop().map(|request| request.due(now)))
            })
            .await
    }

    pub async fn requests(&self, filter: Filter<RequestId>) -> Result<Vec<Request>, StateError> {
        let select = concat!(
            "SELECT ",
            request_columns!(),
            " FROM requests
              WHERE (CAST(?1 AS TEXT) IS NULL OR (issuer = ?1 AND subject = ?2))
              AND (CAST(?3 AS TEXT) IS NULL OR connection = ?3)
              AND (CAST(?4 AS BIGINT) = 0 OR (state = 'pending' AND expires_at > ?5))
              AND (CAST(?6 AS TEXT) IS NULL
                   OR (created_at, id) < (SELECT created_at, id FROM requests WHERE id = ?6))
              ORDER BY created_at DESC, id DESC LIMIT ?7"
        );
        self.writer
            .run(move |engine| {
                let now = engine.now()?;
                let behind = filter.behind.as_ref().map(RequestId::as_str);
                let rows = engine.rows(select, &listed(&filter, behind, now))?;
                Ok(read_all::<Request>(&rows)?.into_iter().map(|r| r.due(now)).collect())
            })
            .await
    }

    /// Says yes or no to a request. `may` is asked what the voter may decide, under the lock of
    /// the row.
    pub async fn vote(
        &self,
        id: &RequestId,
        voter: Identity,
        saying: Saying,
        may: Box<May>,
    ) -> Result<RequestVoted, StateError> {
        check_saying(&voter, &saying)?;
        let (id, grant) = (id.clone(), GrantId::random()?);
        let vote = move |tx: &mut Tx<'_>| {
            let request = lock(tx, &id)?;
            let now = tx.now()?;
            let voted = request.vote(&voter, saying, &*may, grant, now)?;
            update(tx, &voted.request)?;
            if let Some(grant) = &voted.grant {
                crate::grants::insert(tx, grant, &opens_of(&voted.request))?;
            }
            Ok(voted)
        };
        self.step(vote, |done| Step::Voted(done)).await
    }

    /// By who asked, before anybody has decided.
    pub async fn withdraw(&self, id: &RequestId, by: Person) -> Result<Request, StateError> {
        let id = id.clone();
        let withdraw = move |tx: &mut Tx<'_>| {
            let request = lock(tx, &id)?;
            let now = tx.now()?;
            let request = request.withdraw(&by, now)?;
            update(tx, &request)?;
            Ok(request)
        };
        self.step(withdraw, |done| Step::Withdrawn(done)).await
    }
}

/// A grant that lives is found without a lock: most who connect have one.
fn admit(
    engine: &mut Engine,
    ask: Ask,
    opens: &str,
    teller: &Option<Teller>,
) -> Result<Admitted, StateError> {
    let now = engine.now()?;
    if let Some(grant) = joinable(engine, &ask, opens, now)? {
        return Ok(Admitted { now, admission: Admission::Open { grant, new: false } });
    }
    engine.write(|tx| {
        lock_asker(tx, &ask.identity.person.issuer, &ask.identity.person.subject)?;
        let now = tx.now()?;
        // The request before the grant: whoever approves it meanwhile makes both at once, and so
        // one of the two is seen.
        let earlier = latest_request(tx, &ask, opens, now)?;
        let admission = match (joinable(tx.engine(), &ask, opens, now)?, earlier) {
            (Some(grant), _) => Admission::Open { grant, new: false },
            (None, _) if ask.needed.is_empty() => open_at_once(tx, &ask, opens, now)?,
            (None, Some(request)) if request.state == RequestState::Pending => {
                Admission::Wait { request, new: false }
            }
            (None, Some(request)) if ask.joins != Joins::Nothing && ask.is_as(&request, now) => {
                Admission::Denied(request)
            }
            (None, _) => Admission::Wait { request: new_request(tx, &ask, opens, now)?, new: true },
        };
        untold::tell(teller, tx, Step::Admitted(&admission))?;
        Ok(Admitted { now, admission })
    })
}

/// What one asks for through an agent, another agent or they themselves do not join: nobody may decide
/// about what they asked for through somebody else.
macro_rules! through_the_same {
    () => {
        "length(opens) = length(CAST(?6 AS TEXT))
         AND substr(opens, 1, length(opens) - 64) = substr(CAST(?6 AS TEXT), 1, length(opens) - 64)"
    };
}

fn joinable(
    engine: &mut Engine,
    ask: &Ask,
    opens: &str,
    now: i64,
) -> Result<Option<Grant>, StateError> {
    if ask.joins == Joins::Nothing {
        return Ok(None);
    }
    let any = i64::from(ask.joins == Joins::Any && !ask.needed.is_empty());
    let select = concat!(
        "SELECT ",
        grant_columns!(),
        " FROM grants WHERE issuer = ?1 AND subject = ?2 AND connection = ?3
          AND state = 'open' AND ends_at > ?4
          AND (opens = ?6 OR (CAST(?5 AS BIGINT) = 1 AND ",
        through_the_same!(),
        "))
          ORDER BY ends_at DESC LIMIT 1"
    );
    let rows = engine.rows(select, &asked(ask, now, any, opens))?;
    Ok(read_all::<Grant>(&rows)?.pop())
}

/// Of the same kind: one that waits, else the last one.
fn latest_request(
    tx: &mut Tx<'_>,
    ask: &Ask,
    opens: &str,
    now: i64,
) -> Result<Option<Request>, StateError> {
    let select = concat!(
        "SELECT ",
        request_columns!(),
        " FROM requests WHERE issuer = ?1 AND subject = ?2 AND connection = ?3
          AND (opens = ?6 OR (CAST(?5 AS BIGINT) = 1 AND state = 'pending' AND ",
        through_the_same!(),
        "))
          ORDER BY CASE WHEN state = 'pending' AND expires_at > ?4 THEN 0 ELSE 1 END,
                   created_at DESC, id DESC
          LIMIT 1"
    );
    let any = i64::from(ask.joins == Joins::Any);
    let rows = tx.rows(select, &asked(ask, now, any, opens))?;
    Ok(read_all::<Request>(&rows)?.pop().map(|request| request.due(now)))
}

fn asked(ask: &Ask, now: i64, any: i64, opens: &str) -> [Value; 6] {
    [
        (&ask.identity.person.issuer).into(),
        (&ask.identity.person.subject).into(),
        (&ask.connection).into(),
        Value::Int(now),
        Value::Int(any),
        opens.into(),
    ]
}

fn open_at_once(
    tx: &mut Tx<'_>,
    ask: &Ask,
    opens: &str,
    now: i64,
) -> Result<Admission, StateError> {
    let count = "SELECT count(*) FROM grants WHERE issuer = ?1 AND subject = ?2
                 AND connection = ?3 AND opened_at > ?4";
    let person = &ask.identity.person;
    let of = [
        (&person.issuer).into(),
        (&person.subject).into(),
        (&ask.connection).into(),
        Value::Int(now - HOUR_MILLIS),
    ];
    if counted(tx, count, &of)? >= GRANTS_PER_HOUR_MAX {
        return Err(Refused::TooManyGrants { of: person.to_string() }.into());
    }
    let grant = Grant {
        id: GrantId::random()?,
        identity: ask.identity.clone(),
        connection: ask.connection.clone(),
        reason: ask.reason.clone(),
        policies: ask.policies.clone(),
        scope: ask.scope.clone(),
        opened_at: now,
        ends_at: now.saturating_add(ask.lasts_millis),
        request: None,
        approved_by: Vec::new(),
        state: GrantState::Open,
    };
    crate::grants::insert(tx, &grant, opens)?;
    Ok(Admission::Open { grant, new: true })
}

fn new_request(tx: &mut Tx<'_>, ask: &Ask, opens: &str, now: i64) -> Result<Request, StateError> {
    let person = &ask.identity.person;
    let of = |since| [(&person.issuer).into(), (&person.subject).into(), Value::Int(since)];
    let pending = "SELECT count(*) FROM requests WHERE issuer = ?1 AND subject = ?2
                   AND state = 'pending' AND expires_at > ?3";
    if counted(tx, pending, &of(now))? >= REQUESTS_PENDING_MAX {
        return Err(Refused::TooManyRequests { of: person.to_string() }.into());
    }
    let recent = "SELECT count(*) FROM requests WHERE issuer = ?1 AND subject = ?2
                  AND created_at > ?3";
    if counted(tx, recent, &of(now - HOUR_MILLIS))? >= REQUESTS_PER_HOUR_MAX {
        return Err(Refused::TooOften { of: person.to_string() }.into());
    }
    let request = Request {
        id: RequestId::random()?,
        identity: ask.identity.clone(),
        connection: ask.connection.clone(),
        reason: ask.reason.clone(),
        policies: ask.policies.clone(),
        scope: ask.scope.clone(),
        lasts_millis: ask.lasts_millis,
        needed: ask.needed.clone(),
        votes: Vec::new(),
        created_at: now,
        expires_at: now.saturating_add(ask.waits_millis),
        state: RequestState::Pending,
    };
    tx.execute(
        "INSERT INTO requests
         (id, issuer, subject, connection, opens, state, created_at, expires_at, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        &[
            request.id.as_str().into(),
            (&person.issuer).into(),
            (&person.subject).into(),
            (&request.connection).into(),
            opens.into(),
            request.state.name().into(),
            Value::Int(request.created_at),
            Value::Int(request.expires_at),
            stored::request_body(&request)?,
        ],
    )?;
    tx.changed(&request.id);
    Ok(request)
}

pub(crate) fn counted(
    tx: &mut Tx<'_>,
    sql: &'static str,
    of: &[Value],
) -> Result<usize, StateError> {
    let row = tx.row(sql, of)?.ok_or(StateError::Row("a count without a row"))?;
    usize::try_from(row.int(0)?).map_err(|_| StateError::Row("a count below zero"))
}

/// Whoever asks has a row of their own, which is made where there is none and locked till the end
/// of the transaction. Names of tokens have rows, too, under the issuer that nobody has.
pub(crate) fn lock_asker(tx: &mut Tx<'_>, issuer: &str, subject: &str) -> Result<(), StateError> {
    let now = tx.now()?;
    tx.execute(
        "INSERT INTO askers (issuer, subject, at) VALUES (?1, ?2, ?3)
         ON CONFLICT (issuer, subject) DO UPDATE SET at = excluded.at",
        &[issuer.into(), subject.into(), Value::Int(now)],
    )?;
    Ok(())
}

pub(crate) fn lock(tx: &mut Tx<'_>, id: &RequestId) -> Result<Request, StateError> {
    let select = concat!("SELECT ", request_columns!(), " FROM requests WHERE id = ?1 FOR UPDATE");
    locked(tx, select, id.as_str())
}

pub(crate) fn locked<T: Stored>(
    tx: &mut Tx<'_>,
    select: &'static str,
    id: &str,
) -> Result<T, StateError> {
    match tx.row(select, &[id.into()])? {
        Some(row) => T::read(&row),
        None => Err(Refused::NoSuch { what: T::WHAT, id: id.to_owned() }.into()),
    }
}

pub(crate) fn update(tx: &mut Tx<'_>, request: &Request) -> Result<(), StateError> {
    tx.execute(
        "UPDATE requests SET state = ?2, closed_at = ?3, body = ?4 WHERE id = ?1",
        &[
            request.id.as_str().into(),
            request.state.name().into(),
            request.state.closed_at().into(),
            stored::request_body(request)?,
        ],
    )?;
    tx.changed(&request.id);
    Ok(())
}

pub(crate) fn read_all<T: Stored>(rows: &[Row]) -> Result<Vec<T>, StateError> {
    rows.iter().map(T::read).collect()
}

pub(crate) fn listed<Id>(filter: &Filter<Id>, behind: Option<&str>, now: i64) -> [Value; 7] {
    let person = filter.person.as_ref();
    [
        person.map(|person| &person.issuer).into(),
        person.map(|person| &person.subject).into(),
        filter.connection.as_ref().into(),
        Value::Int(filter.open.into()),
        Value::Int(now),
        behind.into(),
        limit(filter.rows.min(PAGE_ROWS_MAX)),
    ]
}

/// Two that ask for the same, through the same actors, have the same.
fn opens(ask: &Ask) -> String {
    hashed(&ask.identity.actors, &ask.policies, ask.scope.as_deref())
}

fn opens_of(request: &Request) -> String {
    hashed(&request.identity.actors, &request.policies, request.scope.as_deref())
}

/// What is asked for; who acts for somebody else stands before it. Each has 64 characters,
/// as `through_the_same` counts on.
fn hashed(actors: &[Person], policies: &[String], scope: Option<&str>) -> String {
    let marks = [if scope.is_some() { "with scope" } else { "without" }];
    let opens = hash(policies.iter().map(String::as_str).chain(scope), marks);
    if actors.is_empty() {
        return opens;
    }
    format!("{}{opens}", hash(actors.iter().flat_map(|it| [&*it.issuer, &*it.subject]), []))
}

/// Each part goes in with its length, so that no two lists are one text.
fn hash<'p>(
    parts: impl IntoIterator<Item = &'p str>,
    marks: impl IntoIterator<Item = &'p str>,
) -> String {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for part in parts {
        context.update(&part.len().to_be_bytes());
        context.update(part.as_bytes());
    }
    for mark in marks {
        context.update(mark.as_bytes());
    }
    crate::id::hex(context.finish().as_ref())
}

impl Ask {
    /// Within its bounds, and its policies in the order of names.
    fn checked(mut self) -> Result<Self, Refused> {
        check_identity(&self.identity)?;
        check_name("connection", &self.connection)?;
        check_count("policies", self.policies.len(), POLICIES_MAX)?;
        for policy in &self.policies {
            check_name("policy", policy)?;
        }
        check_text("reason", self.reason.as_deref(), REASON_BYTES_MAX)?;
        check_text("scope", self.scope.as_deref(), SCOPE_BYTES_MAX)?;
        check_needed(&self.needed)?;
        check_lasts("duration", self.lasts_millis)?;
        check_lasts("time to decide", self.waits_millis)?;
        self.policies.sort_unstable();
        self.policies.dedup();
        Ok(self)
    }

    /// Whether this is what was denied, and the no still stands.
    fn is_as(&self, request: &Request, now: i64) -> bool {
        request.still_denied(now) && request.reason == self.reason
    }
}

pub(crate) fn check_saying(voter: &Identity, saying: &Saying) -> Result<(), Refused> {
    check_identity(voter)?;
    let (Saying::Approve { words, .. } | Saying::Deny { words }) = saying;
    check_text("words", words.as_deref(), WORDS_BYTES_MAX)
}

pub(crate) fn check_identity(identity: &Identity) -> Result<(), Refused> {
    check_person(&identity.person)?;
    for actor in &identity.actors {
        check_person(actor)?;
    }
    let too_odd = Refused::Malformed { what: "identity", why: "can't be written down" };
    let bytes = stored::identity_bytes(identity).map_err(|_| too_odd)?;
    check_count("identity's groups and claims", bytes, IDENTITY_BYTES_MAX)
}

pub(crate) fn check_person(person: &Person) -> Result<(), Refused> {
    check_name("issuer", &person.issuer)?;
    check_name("subject", &person.subject)
}

pub(crate) fn check_needed(needed: &[Needed]) -> Result<(), Refused> {
    check_count("approvals", needed.len(), NEEDED_MAX)?;
    for one in needed {
        check_name("rule", &one.what)?;
        check_text("by", Some(&one.by), BY_BYTES_MAX)?;
        let people = usize::try_from(one.need).unwrap_or(usize::MAX);
        check_count("people", people, usize::try_from(PEOPLE_MAX).unwrap_or(usize::MAX))?;
    }
    Ok(())
}

/// It is searched by, so it can't be any text: PostgreSQL has no NUL in one.
pub(crate) fn check_name(what: &'static str, name: &str) -> Result<(), Refused> {
    if name.contains('\0') {
        return Err(Refused::Malformed { what, why: "has a NUL in it" });
    }
    check_count(what, name.len(), NAME_BYTES_MAX)
}

pub(crate) fn check_text(
    what: &'static str,
    text: Option<&str>,
    max: usize,
) -> Result<(), Refused> {
    check_count(what, text.map_or(0, str::len), max)
}

pub(crate) fn check_count(what: &'static str, is: usize, max: usize) -> Result<(), Refused> {
    if is > max { Err(Refused::TooMuch { what, is, max }) } else { Ok(()) }
}

pub(crate) fn check_lasts(what: &'static str, millis: i64) -> Result<(), Refused> {
    if (1..=LASTS_MILLIS_MAX).contains(&millis) {
        return Ok(());
    }
    Err(Refused::Malformed { what, why: "must be more than nothing and at most 31 days" })
}
