//! What comes to its end by itself, and what is forgotten. Nothing lives longer for not being
//! looked at here: everywhere else an end counts from its instant on. Here it is written down, so
//! that it can be recorded and whoever waits hears of it.

use crate::bounds::{DUE_ROWS_MAX, ENDED_KEPT_MILLIS};
use crate::engine::{Engine, Tx, Value, limit};
use crate::grants::{self, EndedGrant};
use crate::hold::Hold;
use crate::id::{GrantId, HoldId, RequestId};
use crate::request::Request;
use crate::untold::{self, Step, Teller};
use crate::{State, StateError, holds, requests};

/// Old rows are looked for this often.
const PRUNE_EVERY_MILLIS: i64 = 600_000;

/// A clock that was set back is written down this often.
const KEEP_TIME_EVERY_MILLIS: i64 = 1_000;

/// What has come to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    pub requests: Vec<Request>,
    pub grants: Vec<EndedGrant>,
    pub holds: Vec<Hold>,
    /// There is more of it: call again.
    pub more: bool,
}

impl State {
    /// Ends what is due, at most `DUE_ROWS_MAX` of each kind. Of several nodes that call it, one
    /// is told of each. Every second or so is often enough; where nothing is due it only reads.
    pub async fn expire_due(&self) -> Result<Due, StateError> {
        let teller = self.teller.clone();
        self.writer.run(move |engine| expire(engine, &teller)).await
    }
}

fn expire(engine: &mut Engine, teller: &Option<Teller>) -> Result<Due, StateError> {
    let now = engine.now()?;
    engine.keep_time(KEEP_TIME_EVERY_MILLIS)?;
    let find_requests = "SELECT id FROM requests WHERE state = 'pending' AND expires_at <= ?1
                         ORDER BY id LIMIT ?2";
    let find_grants = "SELECT id FROM grants WHERE state = 'open' AND ends_at <= ?1
                       ORDER BY id LIMIT ?2";
    let find_holds = "SELECT id FROM holds WHERE until <= ?1 ORDER BY id LIMIT ?2";
    let requests: Vec<RequestId> = found(engine, find_requests, now)?;
    let grants: Vec<GrantId> = found(engine, find_grants, now)?;
    let holds: Vec<HoldId> = found(engine, find_holds, now)?;
    let mut due = Due {
        more: [requests.len(), grants.len(), holds.len()].contains(&DUE_ROWS_MAX),
        ..Due::default()
    };
    // A transaction for each kind, and a grant before its holds: the order in which all lock.
    if !requests.is_empty() {
        due.requests = engine.write(|tx| {
            let requests = expire_requests(tx, &requests)?;
            told(teller, tx, Due { requests, ..Due::default() }).map(|due| due.requests)
        })?;
    }
    if !holds.is_empty() {
        due.holds = engine.write(|tx| {
            let holds = expire_holds(tx, &holds)?;
            told(teller, tx, Due { holds, ..Due::default() }).map(|due| due.holds)
        })?;
    }
    for grant in grants {
        due.grants.extend(engine.write(|tx| {
            let grants = expire_grant(tx, &grant)?.into_iter().collect();
            told(teller, tx, Due { grants, ..Due::default() }).map(|due| due.grants)
        })?);
    }
    if engine.prunes(now, PRUNE_EVERY_MILLIS) {
        engine.write(|tx| prune(tx, now - ENDED_KEPT_MILLIS))?;
    }
    Ok(due)
}

fn told(teller: &Option<Teller>, tx: &mut Tx<'_>, due: Due) -> Result<Due, StateError> {
    untold::tell(teller, tx, Step::Due(&due))?;
    Ok(due)
}

fn found<Id: std::str::FromStr>(
    engine: &mut Engine,
    select: &'static str,
    now: i64,
) -> Result<Vec<Id>, StateError> {
    let rows = engine.rows(select, &[Value::Int(now), limit(DUE_ROWS_MAX)])?;
    let read = |row: &crate::engine::Row| {
        row.text(0)?.parse().map_err(|_| StateError::Row("an id that can't be read"))
    };
    rows.iter().map(read).collect()
}

/// What somebody else has ended meanwhile is theirs to tell.
fn expire_requests(tx: &mut Tx<'_>, ids: &[RequestId]) -> Result<Vec<Request>, StateError> {
    let mut expired = Vec::new();
    for id in ids {
        let before = requests::lock(tx, id)?;
        let now = tx.now()?;
        let after = before.clone().due(now);
        if after.state != before.state {
            requests::update(tx, &after)?;
            expired.push(after);
        }
    }
    Ok(expired)
}

fn expire_holds(tx: &mut Tx<'_>, ids: &[HoldId]) -> Result<Vec<Hold>, StateError> {
    let mut expired = Vec::new();
    for id in ids {
        let before = holds::lock(tx, id)?;
        let now = tx.now()?;
        let after = before.clone().due(now);
        if after.state != before.state {
            holds::update(tx, &after)?;
            expired.push(after);
        }
    }
    Ok(expired)
}

fn expire_grant(tx: &mut Tx<'_>, id: &GrantId) -> Result<Option<EndedGrant>, StateError> {
    let before = grants::lock(tx, id)?;
    let now = tx.now()?;
    let after = before.clone().due(now);
    if after.state == before.state {
        return Ok(None);
    }
    grants::close(tx, after, now).map(Some)
}

/// Holds before grants: whoever looks at a hold finds its grant.
fn prune(tx: &mut Tx<'_>, before: i64) -> Result<(), StateError> {
    for delete in [
        "DELETE FROM holds WHERE id IN
         (SELECT id FROM holds WHERE closed_at < ?1 LIMIT ?2)",
        "DELETE FROM requests WHERE id IN
         (SELECT id FROM requests WHERE closed_at < ?1 LIMIT ?2)",
        "DELETE FROM tokens WHERE id IN
         (SELECT id FROM tokens WHERE grant_id IS NOT NULL AND expires_at < ?1 LIMIT ?2)",
        "DELETE FROM grants WHERE id IN
         (SELECT id FROM grants WHERE closed_at < ?1 AND NOT EXISTS
             (SELECT 1 FROM holds WHERE holds.grant_id = grants.id) LIMIT ?2)",
        "DELETE FROM logins WHERE answer IN
         (SELECT answer FROM logins WHERE forget_at < ?1 LIMIT ?2)",
        "DELETE FROM askers WHERE at < ?1",
        "DELETE FROM leases WHERE until < ?1",
    ] {
        let given = [Value::Int(before), limit(PRUNED_ROWS_MAX)];
        let bound = if delete.contains("?2") { &given[..] } else { given.split_at(1).0 };
        tx.execute(delete, bound)?;
    }
    Ok(())
}

/// Rows of a kind that are forgotten at once, so that others get their turn.
const PRUNED_ROWS_MAX: usize = 10_000;
