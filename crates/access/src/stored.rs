//! Requests, grants and holds as their rows hold them: columns for what is searched, one JSON text
//! for the rest. The forms are written out here, apart from the types that the program works with,
//! so that changing those can't change what rows of earlier versions mean.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::StateError;
use crate::approval::{Needed, ShapeOffer, Vote};
use crate::engine::{Row, Value};
use crate::grant::{Grant, GrantEnd, GrantState};
use crate::hold::{Claimant, Hold, HoldState, Run, Shape, Withdrawal};
use crate::person::{Identity, Person};
use crate::request::{Request, RequestState};

/// Reads `REQUEST_COLUMNS`, `GRANT_COLUMNS` or `HOLD_COLUMNS`.
pub(crate) trait Stored: Sized {
    const WHAT: &'static str;
    fn read(row: &Row) -> Result<Self, StateError>;
}

macro_rules! request_columns {
    () => {
        "id, connection, state, created_at, expires_at, closed_at, body"
    };
}
macro_rules! grant_columns {
    () => {
        "id, connection, state, opened_at, ends_at, closed_at, body"
    };
}
macro_rules! hold_columns {
    () => {
        "id, connection, state, created_at, closed_at, body, grant_id, digest, shape"
    };
}
pub(crate) use {grant_columns, hold_columns, request_columns};

#[derive(Serialize, Deserialize)]
struct PersonForm {
    issuer: String,
    subject: String,
}

#[derive(Serialize, Deserialize)]
struct IdentityForm {
    issuer: String,
    subject: String,
    name: Option<String>,
    groups: Vec<String>,
    claims: BTreeMap<String, String>,
    actors: Vec<PersonForm>,
}

#[derive(Serialize, Deserialize)]
struct NeededForm {
    what: String,
    by: String,
    need: u32,
}

#[derive(Serialize, Deserialize)]
struct VoteForm {
    voter: PersonForm,
    at: i64,
    words: Option<String>,
    counts_for: Vec<usize>,
    shape: Option<ShapeOfferForm>,
}

#[derive(Serialize, Deserialize)]
struct ShapeOfferForm {
    uses: u32,
    lasts: i64,
}

#[derive(Serialize, Deserialize)]
struct RequestForm {
    identity: IdentityForm,
    reason: Option<String>,
    policies: Vec<String>,
    scope: Option<String>,
    lasts: i64,
    needed: Vec<NeededForm>,
    votes: Vec<VoteForm>,
    grant: Option<String>,
    by: Option<PersonForm>,
    words: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct GrantForm {
    identity: IdentityForm,
    reason: Option<String>,
    policies: Vec<String>,
    scope: Option<String>,
    request: Option<String>,
    approved_by: Vec<PersonForm>,
    by: Option<PersonForm>,
    words: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct HoldForm {
    identity: IdentityForm,
    text: String,
    parameters: String,
    needed: Vec<NeededForm>,
    reason: Option<String>,
    estimate: Option<String>,
    votes: Vec<VoteForm>,
    expires_at: i64,
    claim: i64,
    waiter: Option<String>,
    orphaned_until: Option<i64>,
    approved_at: Option<i64>,
    claim_until: Option<i64>,
    by: Option<PersonForm>,
    words: Option<String>,
    grant_ended: bool,
    run: Option<RunForm>,
    shape: Option<ShapeForm>,
    used_shape_of: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct RunForm {
    node: String,
    session: String,
    at: i64,
    xid: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct ShapeForm {
    uses_left: u32,
    until: i64,
}

impl Stored for Request {
    const WHAT: &'static str = "request";

    fn read(row: &Row) -> Result<Self, StateError> {
        let form: RequestForm = parse(row.text(6)?)?;
        let closed_at = row.optional_int(5)?;
        let at = || closed_at.ok_or(StateError::Row("a request that is over without a time"));
        let state = match row.text(2)? {
            "pending" => RequestState::Pending,
            "approved" => {
                let grant = form.grant.as_deref().and_then(|grant| grant.parse().ok());
                let grant = grant.ok_or(StateError::Row("an approved request without a grant"))?;
                RequestState::Approved { grant, at: at()? }
            }
            "denied" => {
                let by =
                    form.by.ok_or(StateError::Row("a denied request without who denied it"))?;
                RequestState::Denied { by: by.into(), words: form.words, at: at()? }
            }
            "expired" => RequestState::Expired { at: at()? },
            "withdrawn" => RequestState::Withdrawn { at: at()? },
            _ => return Err(StateError::Row("a request in a state that isn't known")),
        };
        Ok(Self {
            id: id(row.text(0)?)?,
            identity: form.identity.into(),
            connection: row.text(1)?.to_owned(),
            reason: form.reason,
            policies: form.policies,
            scope: form.scope,
            lasts_millis: form.lasts,
            needed: needed(form.needed),
            votes: votes(form.votes),
            created_at: row.int(3)?,
            expires_at: row.int(4)?,
            state,
        })
    }
}

impl Stored for Grant {
    const WHAT: &'static str = "grant";

    fn read(row: &Row) -> Result<Self, StateError> {
        let form: GrantForm = parse(row.text(6)?)?;
        let how = match row.text(2)? {
            "open" => None,
            "expired" => Some(GrantEnd::Expired),
            "revoked" => {
                let by =
                    form.by.ok_or(StateError::Row("a revoked grant without who revoked it"))?;
                Some(GrantEnd::Revoked { by: by.into(), words: form.words })
            }
            "released" => Some(GrantEnd::Released),
            _ => return Err(StateError::Row("a grant in a state that isn't known")),
        };
        let state = match (how, row.optional_int(5)?) {
            (None, _) => GrantState::Open,
            (Some(how), Some(at)) => GrantState::Ended { how, at },
            (Some(_), None) => {
                return Err(StateError::Row("a grant that has ended without a time"));
            }
        };
        Ok(Self {
            id: id(row.text(0)?)?,
            identity: form.identity.into(),
            connection: row.text(1)?.to_owned(),
            reason: form.reason,
            policies: form.policies,
            scope: form.scope,
            opened_at: row.int(3)?,
            ends_at: row.int(4)?,
            request: form.request.as_deref().map(id).transpose()?,
            approved_by: form.approved_by.into_iter().map(Person::from).collect(),
            state,
        })
    }
}

impl Stored for Hold {
    const WHAT: &'static str = "hold";

    fn read(row: &Row) -> Result<Self, StateError> {
        let form: HoldForm = parse(row.text(5)?)?;
        let closed_at = row.optional_int(4)?;
        let at = || closed_at.ok_or(StateError::Row("a hold that is over without a time"));
        let state = match row.text(2)? {
            "pending" => HoldState::Pending,
            "approved" => match (form.approved_at, form.claim_until) {
                (Some(at), Some(claim_until)) => HoldState::Approved { at, claim_until },
                _ => return Err(StateError::Row("an approved hold without its times")),
            },
            "denied" => {
                let by = form.by.ok_or(StateError::Row("a denied hold without who denied it"))?;
                HoldState::Denied { by: by.into(), words: form.words, at: at()? }
            }
            "withdrawn" => {
                let why =
                    if form.grant_ended { Withdrawal::GrantEnded } else { Withdrawal::Client };
                HoldState::Withdrawn { why, at: at()? }
            }
            "expired" => HoldState::Expired { at: at()? },
            "running" => HoldState::Running,
            "done" => HoldState::Done { at: at()? },
            "failed" => HoldState::Failed { words: form.words, at: at()? },
            "unknown" => HoldState::Unknown { at: at()? },
            _ => return Err(StateError::Row("a hold in a state that isn't known")),
        };
        let run = form.run.map(|run| Run {
            by: Claimant { node: run.node, session: run.session },
            at: run.at,
            xid: run.xid,
        });
        Ok(Self {
            id: id(row.text(0)?)?,
            grant: id(row.text(6)?)?,
            identity: form.identity.into(),
            connection: row.text(1)?.to_owned(),
            digest: digest(row.bytes(7)?)?,
            shape_digest: row.optional_bytes(8)?.map(digest).transpose()?,
            text: form.text,
            parameters: form.parameters,
            needed: needed(form.needed),
            reason: form.reason,
            estimate: form.estimate,
            votes: votes(form.votes),
            created_at: row.int(3)?,
            expires_at: form.expires_at,
            claim_millis: form.claim,
            waiter: form.waiter,
            orphaned_until: form.orphaned_until,
            state,
            run,
            shape: form.shape.map(|s| Shape { uses_left: s.uses_left, until: s.until }),
            used_shape_of: form.used_shape_of.as_deref().map(id).transpose()?,
        })
    }
}

pub(crate) fn request_body(request: &Request) -> Result<Value, StateError> {
    let (mut grant, mut by, mut words) = (None, None, None);
    match &request.state {
        RequestState::Approved { grant: opened, .. } => grant = Some(opened.to_string()),
        RequestState::Denied { by: who, words: said, .. } => {
            by = Some(who.into());
            words.clone_from(said);
        }
        RequestState::Pending | RequestState::Expired { .. } | RequestState::Withdrawn { .. } => {}
    }
    body(&RequestForm {
        identity: (&request.identity).into(),
        reason: request.reason.clone(),
        policies: request.policies.clone(),
        scope: request.scope.clone(),
        lasts: request.lasts_millis,
        needed: needed_forms(&request.needed),
        votes: vote_forms(&request.votes),
        grant,
        by,
        words,
    })
}

pub(crate) fn grant_body(grant: &Grant) -> Result<Value, StateError> {
    let (by, words) = match &grant.state {
        GrantState::Ended { how: GrantEnd::Revoked { by, words }, .. } => {
            (Some(by.into()), words.clone())
        }
        GrantState::Open | GrantState::Ended { .. } => (None, None),
    };
    body(&GrantForm {
        identity: (&grant.identity).into(),
        reason: grant.reason.clone(),
        policies: grant.policies.clone(),
        scope: grant.scope.clone(),
        request: grant.request.as_ref().map(ToString::to_string),
        approved_by: grant.approved_by.iter().map(PersonForm::from).collect(),
        by,
        words,
    })
}

pub(crate) fn hold_body(hold: &Hold) -> Result<Value, StateError> {
    let (mut approved, mut by, mut words, mut grant_ended) = (None, None, None, false);
    match &hold.state {
        HoldState::Approved { at, claim_until } => approved = Some((*at, *claim_until)),
        HoldState::Denied { by: who, words: said, .. } => {
            by = Some(who.into());
            words.clone_from(said);
        }
        HoldState::Failed { words: said, .. } => words.clone_from(said),
        HoldState::Withdrawn { why, .. } => grant_ended = *why == Withdrawal::GrantEnded,
        HoldState::Pending
        | HoldState::Expired { .. }
        | HoldState::Running
        | HoldState::Done { .. }
        | HoldState::Unknown { .. } => {}
    }
    body(&HoldForm {
        identity: (&hold.identity).into(),
        text: hold.text.clone(),
        parameters: hold.parameters.clone(),
        needed: needed_forms(&hold.needed),
        reason: hold.reason.clone(),
        estimate: hold.estimate.clone(),
        votes: vote_forms(&hold.votes),
        expires_at: hold.expires_at,
        claim: hold.claim_millis,
        waiter: hold.waiter.clone(),
        orphaned_until: hold.orphaned_until,
        approved_at: approved.map(|(at, _)| at),
        claim_until: approved.map(|(_, until)| until),
        by,
        words,
        grant_ended,
        run: hold.run.as_ref().map(|run| RunForm {
            node: run.by.node.clone(),
            session: run.by.session.clone(),
            at: run.at,
            xid: run.xid,
        }),
        shape: hold.shape.map(|s| ShapeForm { uses_left: s.uses_left, until: s.until }),
        used_shape_of: hold.used_shape_of.as_ref().map(ToString::to_string),
    })
}

/// How much room somebody takes: groups and claims have no bound of their own.
pub(crate) fn identity_bytes(identity: &Identity) -> Result<usize, StateError> {
    Ok(identity_text(identity)?.len())
}

pub(crate) fn identity_text(identity: &Identity) -> Result<String, StateError> {
    let text = serde_json::to_string(&IdentityForm::from(identity));
    text.map_err(|_| StateError::Row("an identity that JSON can't hold"))
}

pub(crate) fn read_identity(text: &str) -> Result<Identity, StateError> {
    Ok(parse::<IdentityForm>(text)?.into())
}

fn body(form: &impl Serialize) -> Result<Value, StateError> {
    let text = serde_json::to_string(form);
    Ok(Value::Text(text.map_err(|_| StateError::Row("a body that JSON can't hold"))?))
}

fn parse<'a, F: Deserialize<'a>>(body: &'a str) -> Result<F, StateError> {
    serde_json::from_str(body).map_err(|_| StateError::Row("a body that can't be read"))
}

fn id<I: std::str::FromStr>(text: &str) -> Result<I, StateError> {
    text.parse().map_err(|_| StateError::Row("an id that can't be read"))
}

fn digest(bytes: &[u8]) -> Result<[u8; 32], StateError> {
    bytes.try_into().map_err(|_| StateError::Row("a digest of another length"))
}

fn needed(forms: Vec<NeededForm>) -> Vec<Needed> {
    forms.into_iter().map(|f| Needed { what: f.what, by: f.by, need: f.need }).collect()
}

fn needed_forms(needed: &[Needed]) -> Vec<NeededForm> {
    let form = |n: &Needed| NeededForm { what: n.what.clone(), by: n.by.clone(), need: n.need };
    needed.iter().map(form).collect()
}

fn votes(forms: Vec<VoteForm>) -> Vec<Vote> {
    let vote = |form: VoteForm| Vote {
        voter: form.voter.into(),
        at: form.at,
        words: form.words,
        counts_for: form.counts_for,
        shape: form.shape.map(|s| ShapeOffer { uses: s.uses, lasts_millis: s.lasts }),
    };
    forms.into_iter().map(vote).collect()
}

fn vote_forms(votes: &[Vote]) -> Vec<VoteForm> {
    let form = |vote: &Vote| VoteForm {
        voter: (&vote.voter).into(),
        at: vote.at,
        words: vote.words.clone(),
        counts_for: vote.counts_for.clone(),
        shape: vote.shape.map(|s| ShapeOfferForm { uses: s.uses, lasts: s.lasts_millis }),
    };
    votes.iter().map(form).collect()
}

impl From<PersonForm> for Person {
    fn from(form: PersonForm) -> Self {
        Self { issuer: form.issuer, subject: form.subject }
    }
}

impl From<&Person> for PersonForm {
    fn from(person: &Person) -> Self {
        Self { issuer: person.issuer.clone(), subject: person.subject.clone() }
    }
}

impl From<IdentityForm> for Identity {
    fn from(form: IdentityForm) -> Self {
        Self {
            person: Person { issuer: form.issuer, subject: form.subject },
            name: form.name,
            groups: form.groups,
            claims: form.claims,
            actors: form.actors.into_iter().map(Person::from).collect(),
        }
    }
}

impl From<&Identity> for IdentityForm {
    fn from(identity: &Identity) -> Self {
        Self {
            issuer: identity.person.issuer.clone(),
            subject: identity.person.subject.clone(),
            name: identity.name.clone(),
            groups: identity.groups.clone(),
            claims: identity.claims.clone(),
            actors: identity.actors.iter().map(PersonForm::from).collect(),
        }
    }
}
