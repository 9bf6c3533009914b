//! Holds in the store: a statement comes, people decide, one session claims it. Each locks the
//! grant first and then the hold, so that nothing is decided or claimed under a grant that has
//! just ended.

use crate::approval::{May, Needed, Saying};
use crate::bounds::{
    ESTIMATE_BYTES_MAX, HOLDS_PENDING_MAX, HOLDS_PER_GRANT_MAX, PAGE_ROWS_MAX,
    PARAMETERS_BYTES_MAX, REASON_BYTES_MAX, STATEMENT_BYTES_MAX, WORDS_BYTES_MAX,
};
use crate::engine::{Tx, Value, limit};
use crate::grant::Grant;
use crate::hold::{Claimant, Digest, Hold, HoldState, Outcome, Run, Withdrawal};
use crate::id::{GrantId, HoldId};
use crate::person::{Identity, Person};
use crate::refused::Refused;
use crate::requests::{
    Filter, check_lasts, check_name, check_needed, check_saying, check_text, counted, listed,
    locked, read_all,
};
use crate::stored::{self, hold_columns};
use crate::untold::{self, Step};
use crate::{State, StateError};

/// A statement that must wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewHold {
    pub grant: GrantId,
    pub session: String,
    /// Of all that is to be approved.
    pub digest: Digest,
    /// Of the same without the values of parameters, where policy lets that be approved.
    pub shape_digest: Option<Digest>,
    pub text: String,
    /// As the reviewer sees them, in JSON.
    pub parameters: String,
    pub needed: Vec<Needed>,
    pub reason: Option<String>,
    pub estimate: Option<String>,
    /// For how long it waits for people.
    pub waits_millis: i64,
    /// For how long it can be claimed after its approval, or approved after its client has gone.
    pub claim_millis: i64,
}

/// What became of a statement that must wait: its hold may be new, wait already, be approved and
/// ready to be claimed, or be denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The store's time.
    pub now: i64,
    pub hold: Hold,
    pub new: bool,
}

/// A use of an approval for other parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapeUsed {
    /// This statement: claimed.
    pub hold: Hold,
    /// The one that was approved, with what is left of it.
    pub approved: Hold,
}

impl State {
    /// The hold of this statement under this grant: the one that is open, or that was denied and
    /// still says so, else a new one. The session that asks waits for it from now on.
    pub async fn hold(&self, new: NewHold) -> Result<Held, StateError> {
        new.check()?;
        let hold = move |tx: &mut Tx<'_>| {
            let grant = crate::grants::lock(tx, &new.grant)?;
            let now = tx.now()?;
            let grant = grant.live(now)?;
            if let Some(hold) = latest_locked(tx, &new.grant, &new.digest)? {
                let hold = hold.due(now);
                if hold.is_open() {
                    let hold = hold.wait(&new.session);
                    update(tx, &hold)?;
                    return Ok(Held { now, hold, new: false });
                }
                if hold.still_denied(now) {
                    return Ok(Held { now, hold, new: false });
                }
            }
            check_room(tx, &new.grant, now)?;
            let hold = new.waiting(grant, now)?;
            insert(tx, &hold)?;
            Ok(Held { now, hold, new: true })
        };
        self.step(hold, |done| Step::Held(done)).await
    }

    pub async fn held(&self, id: &HoldId) -> Result<Option<Hold>, StateError> {
        let id = id.clone();
        self.writer
            .run(move |engine| {
                let now = engine.now()?;
                let select = concat!("SELECT ", hold_columns!(), " FROM holds WHERE id = ?1");
                let rows = engine.rows(select, &[id.as_str().into()])?;
                Ok(read_all::<Hold>(&rows)?.pop().map(|hold| hold.due(now)))
            })
            .await
    }

    /// `open` in the filter: those that wait for a person.
    pub async fn holds(&self, filter: Filter<HoldId>) -> Result<Vec<Hold>, StateError> {
        let select = concat!(
            "SELECT ",
            hold_columns!(),
            " FROM holds
              WHERE (CAST(?1 AS TEXT) IS NULL OR (issuer = ?1 AND subject = ?2))
              AND (CAST(?3 AS TEXT) IS NULL OR connection = ?3)
              AND (CAST(?4 AS BIGINT) = 0 OR (state = 'pending' AND until > ?5))
              AND (CAST(?6 AS TEXT) IS NULL
                   OR (created_at, id) < (SELECT created_at, id FROM holds WHERE id = ?6))
              ORDER BY created_at DESC, id DESC LIMIT ?7"
        );
        self.writer
            .run(move |engine| {
                let now = engine.now()?;
                let behind = filter.behind.as_ref().map(HoldId::as_str);
                let rows = engine.rows(select, &listed(&filter, behind, now))?;
                Ok(read_all::<Hold>(&rows)?.into_iter().map(|hold| hold.due(now)).collect())
            })
            .await
    }

    /// Says yes or no to a statement; the state of what comes back says whether others are still
    /// to agree. `may` is asked what the voter may decide, under the lock of
    /// the row.
    pub async fn decide_hold(
        &self,
        id: &HoldId,
        voter: Identity,
        saying: Saying,
        may: Box<May>,
    ) -> Result<Hold, StateError> {
        check_saying(&voter, &saying)?;
        let id = id.clone();
        let decide = move |tx: &mut Tx<'_>| {
            let hold = lock_both(tx, &id)?;
            let now = tx.now()?;
            let hold = hold.vote(&voter, saying, &*may, now)?;
            update(tx, &hold)?;
            Ok(hold)
        };
        self.step(decide, |done| Step::HoldDecided(done)).await
    }

    /// Whoever gets the hold back may send the statement, once: nobody else ever does. It is
    /// durable by then. Where this fails, nothing may be sent.
    pub async fn claim(
        &self,
        id: &HoldId,
        grant: &GrantId,
        digest: &Digest,
        by: Claimant,
    ) -> Result<Hold, StateError> {
        check_claimant(&by)?;
        let (id, grant, digest) = (id.clone(), grant.clone(), *digest);
        let claim = move |tx: &mut Tx<'_>| {
            let hold = lock_both(tx, &id)?;
            let now = tx.now()?;
            let hold = hold.claim(&grant, &digest, by, now)?;
            update(tx, &hold)?;
            Ok(hold)
        };
        self.step(claim, |done| Step::Claimed(done)).await
    }

    /// Claims a statement by what is left of an approval for other parameters; `None` where
    /// nothing is. Each use is a hold of its own, claimed from the start.
    pub async fn use_shape(
        &self,
        new: NewHold,
        by: Claimant,
    ) -> Result<Option<ShapeUsed>, StateError> {
        new.check()?;
        check_claimant(&by)?;
        let Some(shape) = new.shape_digest else { return Ok(None) };
        let select = concat!(
            "SELECT ",
            hold_columns!(),
            " FROM holds WHERE grant_id = ?1 AND shape = ?2 AND shape_until > ?3
              ORDER BY shape_until, id LIMIT 1 FOR UPDATE"
        );
        let teller = self.teller.clone();
        let using = move |tx: &mut Tx<'_>| {
            let grant = crate::grants::lock(tx, &new.grant)?;
            let now = tx.now()?;
            let grant = grant.live(now)?;
            let given = [new.grant.as_str().into(), (&shape).into(), Value::Int(now)];
            let Some(row) = tx.row(select, &given)? else { return Ok(None) };
            let approved = <Hold as stored::Stored>::read(&row)?;
            let approved = approved.use_shape(&new.grant, &shape, now)?;
            check_room(tx, &new.grant, now)?;
            let mut hold = new.waiting(grant, now)?;
            hold.state = HoldState::Running;
            hold.waiter = None;
            hold.run = Some(Run { by, at: now, xid: None });
            hold.used_shape_of = Some(approved.id.clone());
            update(tx, &approved)?;
            insert(tx, &hold)?;
            let used = ShapeUsed { hold, approved };
            untold::tell(&teller, tx, Step::ShapeUsed(&used))?;
            Ok(Some(used))
        };
        self.writer.run(move |engine| engine.write(using)).await
    }

    /// Keeps the number of PostgreSQL's transaction before the statement runs in it, so that
    /// after a crash PostgreSQL can be asked what became of it.
    pub async fn note_xid(&self, id: &HoldId, by: Claimant, xid: u64) -> Result<Hold, StateError> {
        let id = id.clone();
        let note = move |tx: &mut Tx<'_>| {
            let hold = lock(tx, &id)?.note_xid(&by, xid)?;
            update(tx, &hold)?;
            Ok(hold)
        };
        self.writer.run(move |engine| engine.write(note)).await
    }

    /// How a claimed statement came out. It is said once.
    pub async fn finish(&self, id: &HoldId, outcome: Outcome) -> Result<Hold, StateError> {
        if let Outcome::Failed { words } = &outcome {
            check_text("words", words.as_deref(), WORDS_BYTES_MAX)?;
        }
        let id = id.clone();
        let finish = move |tx: &mut Tx<'_>| {
            let hold = lock(tx, &id)?;
            let now = tx.now()?;
            let hold = hold.finish(outcome, now)?;
            update(tx, &hold)?;
            Ok(hold)
        };
        self.writer.run(move |engine| engine.write(finish)).await
    }

    /// The client of a session has gone: nobody waits for its hold now.
    pub async fn orphan(&self, id: &HoldId, session: &str) -> Result<Hold, StateError> {
        let (id, session) = (id.clone(), session.to_owned());
        let orphan = move |tx: &mut Tx<'_>| {
            let hold = lock(tx, &id)?;
            let now = tx.now()?;
            let hold = hold.orphan(&session, now)?;
            update(tx, &hold)?;
            Ok(hold)
        };
        self.writer.run(move |engine| engine.write(orphan)).await
    }

    /// By who sent the statement, before it runs.
    pub async fn withdraw_hold(&self, id: &HoldId, by: Person) -> Result<Hold, StateError> {
        let id = id.clone();
        let withdraw = move |tx: &mut Tx<'_>| {
            let hold = lock(tx, &id)?;
            let now = tx.now()?;
            let hold = hold.withdraw(&by, Withdrawal::Client, now)?;
            update(tx, &hold)?;
            Ok(hold)
        };
        self.step(withdraw, |done| Step::HoldWithdrawn(done)).await
    }

    /// What a node has claimed and not said how it came out, at most a page of it: for a node that
    /// starts, to ask PostgreSQL and `finish`, until there is none.
    pub async fn unfinished(&self, node: &str) -> Result<Vec<Hold>, StateError> {
        let given = [node.into(), limit(PAGE_ROWS_MAX)];
        let select = concat!(
            "SELECT ",
            hold_columns!(),
            " FROM holds WHERE node = ?1 AND state = 'running' ORDER BY created_at, id LIMIT ?2"
        );
        self.writer.run(move |engine| read_all(&engine.rows(select, &given)?)).await
    }
}

/// Ends what waits under a grant, or was approved under it. Gives those that changed.
pub(crate) fn end_all(tx: &mut Tx<'_>, grant: &GrantId, now: i64) -> Result<Vec<Hold>, StateError> {
    let select = concat!(
        "SELECT ",
        hold_columns!(),
        " FROM holds WHERE grant_id = ?1
          AND (state = 'pending' OR state = 'approved' OR shape_until IS NOT NULL)
          ORDER BY id FOR UPDATE"
    );
    let rows = tx.rows(select, &[grant.as_str().into()])?;
    let mut ended = Vec::new();
    for hold in read_all::<Hold>(&rows)? {
        let hold = hold.end_with_grant(now);
        update(tx, &hold)?;
        ended.push(hold);
    }
    Ok(ended)
}

/// The grant, which must live, and then the hold.
fn lock_both(tx: &mut Tx<'_>, id: &HoldId) -> Result<Hold, StateError> {
    // Which grant it is of never changes.
    let row = tx.row("SELECT grant_id FROM holds WHERE id = ?1", &[id.as_str().into()])?;
    let row = row.ok_or(Refused::NoSuch { what: "hold", id: id.to_string() })?;
    let grant: GrantId =
        row.text(0)?.parse().map_err(|_| StateError::Row("a hold of an odd grant"))?;
    let grant = crate::grants::lock(tx, &grant)?;
    let now = tx.now()?;
    grant.live(now)?;
    lock(tx, id)
}

pub(crate) fn lock(tx: &mut Tx<'_>, id: &HoldId) -> Result<Hold, StateError> {
    let select = concat!("SELECT ", hold_columns!(), " FROM holds WHERE id = ?1 FOR UPDATE");
    locked(tx, select, id.as_str())
}

fn latest_locked(
    tx: &mut Tx<'_>,
    grant: &GrantId,
    digest: &Digest,
) -> Result<Option<Hold>, StateError> {
    let select = concat!(
        "SELECT ",
        hold_columns!(),
        " FROM holds WHERE grant_id = ?1 AND digest = ?2
          ORDER BY created_at DESC, id DESC LIMIT 1 FOR UPDATE"
    );
    let rows = tx.rows(select, &[grant.as_str().into(), digest.into()])?;
    Ok(read_all::<Hold>(&rows)?.pop())
}

fn check_room(tx: &mut Tx<'_>, grant: &GrantId, now: i64) -> Result<(), StateError> {
    let pending = "SELECT count(*) FROM holds
                   WHERE grant_id = ?1 AND state = 'pending' AND until > ?2";
    let given = [grant.as_str().into(), Value::Int(now)];
    if counted(tx, pending, &given)? >= HOLDS_PENDING_MAX {
        return Err(Refused::TooManyHolds { grant: grant.to_string() }.into());
    }
    let all = "SELECT count(*) FROM holds WHERE grant_id = ?1";
    if counted(tx, all, &[grant.as_str().into()])? >= HOLDS_PER_GRANT_MAX {
        return Err(Refused::HoldsSpent { grant: grant.to_string() }.into());
    }
    Ok(())
}

fn insert(tx: &mut Tx<'_>, hold: &Hold) -> Result<(), StateError> {
    tx.execute(
        "INSERT INTO holds
         (id, state, until, closed_at, node, shape_until, body,
          grant_id, issuer, subject, connection, digest, shape, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        &moving(hold)?
            .into_iter()
            .chain([
                hold.grant.as_str().into(),
                (&hold.identity.person.issuer).into(),
                (&hold.identity.person.subject).into(),
                (&hold.connection).into(),
                (&hold.digest).into(),
                hold.shape_digest.as_ref().into(),
                Value::Int(hold.created_at),
            ])
            .collect::<Vec<_>>(),
    )?;
    tx.changed(&hold.id);
    Ok(())
}

pub(crate) fn update(tx: &mut Tx<'_>, hold: &Hold) -> Result<(), StateError> {
    tx.execute(
        "UPDATE holds SET state = ?2, until = ?3, closed_at = ?4, node = ?5, shape_until = ?6,
         body = ?7 WHERE id = ?1",
        &moving(hold)?,
    )?;
    tx.changed(&hold.id);
    Ok(())
}

/// What can change of a row, behind its id.
fn moving(hold: &Hold) -> Result<[Value; 7], StateError> {
    Ok([
        hold.id.as_str().into(),
        hold.state.name().into(),
        hold.until().into(),
        hold.state.closed_at().into(),
        hold.run.as_ref().map(|run| &run.by.node).into(),
        hold.shape.map(|shape| shape.until).into(),
        stored::hold_body(hold)?,
    ])
}

fn check_claimant(by: &Claimant) -> Result<(), Refused> {
    check_name("node", &by.node)?;
    check_name("session", &by.session)
}

impl NewHold {
    fn check(&self) -> Result<(), Refused> {
        check_name("session", &self.session)?;
        check_text("statement", Some(&self.text), STATEMENT_BYTES_MAX)?;
        check_text("parameters", Some(&self.parameters), PARAMETERS_BYTES_MAX)?;
        check_text("reason", self.reason.as_deref(), REASON_BYTES_MAX)?;
        check_text("estimate", self.estimate.as_deref(), ESTIMATE_BYTES_MAX)?;
        if self.needed.is_empty() {
            let why = "nobody is asked for it";
            return Err(Refused::Malformed { what: "hold", why });
        }
        check_needed(&self.needed)?;
        check_lasts("time to decide", self.waits_millis)?;
        check_lasts("time to claim", self.claim_millis)
    }

    fn waiting(self, grant: Grant, now: i64) -> Result<Hold, StateError> {
        Ok(Hold {
            id: HoldId::random()?,
            grant: grant.id,
            identity: grant.identity,
            connection: grant.connection,
            digest: self.digest,
            shape_digest: self.shape_digest,
            text: self.text,
            parameters: self.parameters,
            needed: self.needed,
            reason: self.reason,
            estimate: self.estimate,
            votes: Vec::new(),
            created_at: now,
            expires_at: now.saturating_add(self.waits_millis),
            claim_millis: self.claim_millis,
            waiter: Some(self.session),
            orphaned_until: None,
            state: HoldState::Pending,
            run: None,
            shape: None,
            used_shape_of: None,
        })
    }
}
