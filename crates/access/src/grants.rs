//! Grants in the store: looking at them, and ending them before their time. They are opened by
//! `requests`, and end by themselves in `due`.

use std::collections::HashSet;

use crate::bounds::WORDS_BYTES_MAX;
use crate::engine::{Tx, Value};
use crate::grant::{Grant, GrantEnd};
use crate::hold::Hold;
use crate::id::GrantId;
use crate::refused::Refused;
use crate::requests::{Filter, check_person, check_text, listed, locked, read_all};
use crate::stored::{self, grant_columns};
use crate::untold::Step;
use crate::{State, StateError};

/// Which of the grants that were asked about live, as of now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// The store's time.
    pub now: i64,
    /// Each with its end. What isn't among them has ended.
    pub live: Vec<(GrantId, i64)>,
}

/// A grant that has ended, and what ended with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedGrant {
    pub grant: Grant,
    pub holds: Vec<Hold>,
}

impl State {
    pub async fn grant(&self, id: &GrantId) -> Result<Option<Grant>, StateError> {
        let id = id.clone();
        self.writer
            .run(move |engine| {
                let now = engine.now()?;
                let select = concat!("SELECT ", grant_columns!(), " FROM grants WHERE id = ?1");
                let rows = engine.rows(select, &[id.as_str().into()])?;
                Ok(read_all::<Grant>(&rows)?.pop().map(|grant| grant.due(now)))
            })
            .await
    }

    pub async fn grants(&self, filter: Filter<GrantId>) -> Result<Vec<Grant>, StateError> {
        let select = concat!(
            "SELECT ",
            grant_columns!(),
            " FROM grants
              WHERE (CAST(?1 AS TEXT) IS NULL OR (issuer = ?1 AND subject = ?2))
              AND (CAST(?3 AS TEXT) IS NULL OR connection = ?3)
              AND (CAST(?4 AS BIGINT) = 0 OR (state = 'open' AND ends_at > ?5))
              AND (CAST(?6 AS TEXT) IS NULL
                   OR (opened_at, id) < (SELECT opened_at, id FROM grants WHERE id = ?6))
              ORDER BY opened_at DESC, id DESC LIMIT ?7"
        );
        self.writer
            .run(move |engine| {
                let now = engine.now()?;
                let behind = filter.behind.as_ref().map(GrantId::as_str);
                let rows = engine.rows(select, &listed(&filter, behind, now))?;
                Ok(read_all::<Grant>(&rows)?.into_iter().map(|grant| grant.due(now)).collect())
            })
            .await
    }

    /// For the node that serves them, twice a second: whatever else fails, a grant that was taken
    /// away is noticed by this.
    pub async fn grants_served(&self, served: Vec<GrantId>) -> Result<Served, StateError> {
        let select = "SELECT id, ends_at FROM grants WHERE state = 'open' AND ends_at > ?1";
        self.writer
            .run(move |engine| {
                let now = engine.now()?;
                let rows = engine.rows(select, &[Value::Int(now)])?;
                let served: HashSet<&str> = served.iter().map(GrantId::as_str).collect();
                let mut live = Vec::with_capacity(served.len());
                for row in &rows {
                    let id = row.text(0)?;
                    if served.contains(id) {
                        let id = id.parse().map_err(|_| StateError::Row("an odd grant"))?;
                        live.push((id, row.int(1)?));
                    }
                }
                Ok(Served { now, live })
            })
            .await
    }

    /// Ends a grant before its time, and all that is held under it. What runs by an approval is
    /// left to come to its outcome.
    pub async fn end_grant(&self, id: &GrantId, how: GrantEnd) -> Result<EndedGrant, StateError> {
        match &how {
            GrantEnd::Expired => {
                let why = "a grant expires by itself";
                return Err(Refused::Malformed { what: "end", why }.into());
            }
            GrantEnd::Revoked { by, words } => {
                check_person(by)?;
                check_text("words", words.as_deref(), WORDS_BYTES_MAX)?;
            }
            GrantEnd::Released => {}
        }
        let id = id.clone();
        let end = move |tx: &mut Tx<'_>| {
            let grant = lock(tx, &id)?;
            let now = tx.now()?;
            let grant = grant.end(how, now)?;
            close(tx, grant, now)
        };
        self.step(end, |done| Step::Ended(done)).await
    }
}

/// Writes down a grant that has ended, and ends its holds.
pub(crate) fn close(tx: &mut Tx<'_>, grant: Grant, now: i64) -> Result<EndedGrant, StateError> {
    update(tx, &grant)?;
    let holds = crate::holds::end_all(tx, &grant.id, now)?;
    Ok(EndedGrant { grant, holds })
}

pub(crate) fn lock(tx: &mut Tx<'_>, id: &GrantId) -> Result<Grant, StateError> {
    let select = concat!("SELECT ", grant_columns!(), " FROM grants WHERE id = ?1 FOR UPDATE");
    locked(tx, select, id.as_str())
}

pub(crate) fn insert(tx: &mut Tx<'_>, grant: &Grant, opens: &str) -> Result<(), StateError> {
    tx.execute(
        "INSERT INTO grants
         (id, issuer, subject, connection, opens, state, opened_at, ends_at, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        &[
            grant.id.as_str().into(),
            (&grant.identity.person.issuer).into(),
            (&grant.identity.person.subject).into(),
            (&grant.connection).into(),
            opens.into(),
            grant.state.name().into(),
            Value::Int(grant.opened_at),
            Value::Int(grant.ends_at),
            stored::grant_body(grant)?,
        ],
    )?;
    tx.changed(&grant.id);
    Ok(())
}

fn update(tx: &mut Tx<'_>, grant: &Grant) -> Result<(), StateError> {
    tx.execute(
        "UPDATE grants SET state = ?2, closed_at = ?3, body = ?4 WHERE id = ?1",
        &[
            grant.id.as_str().into(),
            grant.state.name().into(),
            grant.state.closed_at().into(),
            stored::grant_body(grant)?,
        ],
    )?;
    tx.changed(&grant.id);
    Ok(())
}
