//! What the journal keeps of requests, grants and holds, and identities as the store has them. When it
//! is kept, and that none of it is lost, is the business of `telling`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use access::{
    Admission, Digest, Due, EndedGrant, Grant, Hold, HoldState, Person, Request, RequestVoted,
    ShapeUsed, State, Step,
};
use audit::Durability;
use audit::event::{self, Batch, Context, Event, Who};
use identity::{Actor, Identity};
use policy::Subject;

use super::Over;
use crate::gate;
use crate::gateway::Gateway;
use crate::refusal::Refusal;

/// Somebody with all that policies know of them now, and with who acts for them.
pub(crate) fn stored(identity: &Identity, subject: &Subject<'_>) -> access::Identity {
    let actors = identity.actors.iter();
    let actors = actors.map(|Actor { issuer, subject }| access::Person {
        issuer: issuer.clone(),
        subject: subject.clone(),
    });
    access::Identity {
        person: access::Person {
            issuer: subject.issuer.to_owned(),
            subject: subject.subject.to_owned(),
        },
        name: subject.name.map(str::to_owned),
        groups: subject.groups.to_vec(),
        claims: subject.claims.clone(),
        actors: actors.collect(),
    }
}

pub(crate) fn is(person: &access::Person, identity: &Identity) -> bool {
    person.issuer == identity.issuer && person.subject == identity.subject
}

/// As they are recorded: without what policies are asked about.
pub(crate) fn alone(identity: &Identity) -> access::Identity {
    let (groups, claims) = (&[][..], &BTreeMap::new());
    let Identity { issuer, subject, .. } = identity;
    let name = identity.local_name();
    stored(identity, &Subject { name, issuer, subject, groups, claims })
}

pub(crate) fn person(identity: &Identity) -> Person {
    Person { issuer: identity.issuer.clone(), subject: identity.subject.clone() }
}

fn pair(of: &Person) -> Option<(&str, &str)> {
    Some((&of.issuer, &of.subject))
}

/// Of whom, about which grant.
fn context(of: &access::Identity, grant: Option<&str>, connection: &str, client: &str) -> Context {
    let access::Identity { person, actors, .. } = of;
    let actors: Vec<_> = actors.iter().filter_map(pair).collect();
    let identity = event::Identity {
        issuer: &person.issuer,
        subject: &person.subject,
        actors: &actors,
        ..event::Identity::default()
    };
    let client = Some(client).filter(|client| !client.is_empty());
    let connection = Some(connection);
    Context::new(&Who { grant, identity: Some(identity), client, connection, ..Who::default() })
}

/// Somebody has not proven who they are. They are turned away whether that can be recorded or not.
pub(crate) async fn turned_away(
    gateway: &Gateway,
    user: Option<&str>,
    client: &str,
    refusal: &Refusal,
) {
    let reason = format!("over HTTP: {}", refusal.for_the_record());
    tracing::info!(client, user, reason, "login refused");
    let refused = event::LoginRefused { reason: &reason, user, ..event::LoginRefused::default() };
    let who = Context::new(&Who { client: Some(client), ..Who::default() });
    if write(gateway, &[(who, Event::LoginRefused(refused))]).await.is_err() {
        tracing::warn!(client, "a refused login is not in the journal");
    }
}

/// Somebody has logged in by a browser and is about to get a token.
pub(crate) async fn token_given(
    gateway: &Gateway,
    identity: &Identity,
    client: &str,
    lasts: Duration,
) -> Result<(), Refusal> {
    let groups: Vec<&str> = identity.groups.iter().map(String::as_str).collect();
    let claims: Vec<(&str, &str)> = identity.claims.iter().map(|(k, v)| (&**k, &**v)).collect();
    let of = event::Identity {
        issuer: &identity.issuer,
        subject: &identity.subject,
        groups: &groups,
        claims: &claims,
        ..event::Identity::default()
    };
    let who = Context::new(&Who { identity: Some(of), client: Some(client), ..Who::default() });
    let lasts_ms = u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX);
    let given = Event::TokenGiven(event::TokenGiven { login: "saml", lasts_ms });
    write(gateway, &[(who, given)]).await
}

/// By whom something is done, as far as a row doesn't say it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Doer {
    /// Of somebody at the desk.
    pub(crate) person: Option<access::Identity>,
    /// Their address; empty where it is time that does it.
    pub(crate) client: String,
    pub(crate) words: Option<String>,
    /// Of a session's own steps: whose it is, and all that is known of it.
    pub(crate) session: Option<Context>,
}

/// The store, by a handle whose steps this node's journal hears of.
pub(crate) fn store_for(gateway: &Arc<Gateway>, doer: Doer) -> State {
    let telling = gateway.clone();
    gateway.state.telling(gateway.telling.node(), move |step| {
        let mut batch = Batch::new();
        doer.says(step, &mut batch);
        if !batch.is_empty() {
            telling.telling.is_taken();
        }
        batch.into_texts()
    })
}

impl Doer {
    /// The one place where steps become records.
    fn says(&self, step: &Step<'_>, out: &mut Batch) {
        match step {
            Step::Admitted(Admission::Open { grant, new: true }) => {
                opened(grant, &self.client, out);
            }
            Step::Admitted(Admission::Wait { request, new: true }) => self.requested(request, out),
            Step::Admitted(_) => {}
            Step::Voted(voted) => self.voted(voted, out),
            Step::Withdrawn(request) => {
                let who = self.context(None, &request.connection);
                request_decided(who, request, "withdraw", None, None, out);
            }
            Step::Ended(ended) => {
                let who = self.context(Some(ended.grant.id.as_str()), &ended.grant.connection);
                self.ended(&who, ended, out);
            }
            Step::Due(due) => self.due(due, out),
            Step::Held(held) if held.new => self.asked(&held.hold, out),
            Step::Held(_) => {}
            Step::HoldDecided(hold) => self.hold_decided(hold, out),
            Step::HoldWithdrawn(hold) => self.hold(hold, event::Hold::default(), out),
            Step::Claimed(hold) => {
                self.hold(hold, event::Hold { step: "claimed", ..event::Hold::default() }, out);
            }
            Step::ShapeUsed(used) => self.shape_used(used, out),
        }
    }

    fn context(&self, grant: Option<&str>, connection: &str) -> Context {
        match (&self.session, &self.person) {
            (Some(session), _) => session.clone(),
            (None, Some(person)) => context(person, grant, connection, &self.client),
            (None, None) => {
                Context::new(&Who { grant, connection: Some(connection), ..Who::default() })
            }
        }
    }

    fn requested(&self, request: &Request, out: &mut Batch) {
        let policies: Vec<&str> = request.policies.iter().map(String::as_str).collect();
        let needs: Vec<String> = needs(request);
        let needs: Vec<&str> = needs.iter().map(String::as_str).collect();
        let event = event::Request {
            request: request.id.as_str(),
            policies: &policies,
            scope: request.scope.as_deref(),
            reason: request.reason.as_deref(),
            lasts_ms: request.lasts_millis,
            expires_at_ms: request.expires_at,
            needs: &needs,
        };
        let who = context(&request.identity, None, &request.connection, &self.client);
        out.push(&who, &Event::Request(event));
    }

    /// Somebody has said something to a request; it may have become a grant.
    fn voted(&self, voted: &RequestVoted, out: &mut Batch) {
        let RequestVoted { request, grant } = voted;
        let decision = match &request.state {
            access::RequestState::Denied { .. } => "deny",
            _ => "approve",
        };
        let who = self.context(None, &request.connection);
        let opens = grant.as_ref().map(|grant| grant.id.as_str());
        request_decided(who, request, decision, self.words.as_deref(), opens, out);
        if let Some(grant) = grant {
            opened(grant, "", out);
        }
    }

    /// A grant, and what ends with it.
    fn ended(&self, who: &Context, ended: &EndedGrant, out: &mut Batch) {
        let EndedGrant { grant, holds } = ended;
        let how = Over::of(&grant.state).map_or("expired", |over| over.name());
        let (of, words) = (pair(&grant.identity.person), self.words.as_deref());
        out.push(who, &Event::GrantEnds(event::GrantEnds { how, of, words }));
        holds.iter().for_each(|hold| self.hold(hold, event::Hold::default(), out));
    }

    /// What time has ended.
    fn due(&self, due: &Due, out: &mut Batch) {
        for request in &due.requests {
            let who = self.context(None, &request.connection);
            request_decided(who, request, "expire", None, None, out);
        }
        for ended in &due.grants {
            let who = self.context(Some(ended.grant.id.as_str()), &ended.grant.connection);
            self.ended(&who, ended, out);
        }
        due.holds.iter().for_each(|hold| self.hold(hold, event::Hold::default(), out));
    }

    fn asked(&self, hold: &Hold, out: &mut Batch) {
        let digest = hex(&hold.digest);
        let rules: Vec<&str> = hold.needed.iter().map(|needed| needed.what.as_str()).collect();
        let event = event::Hold {
            step: "asked",
            text: Some(event::Text::Sql { bytes: hold.text.as_bytes(), redacted: 0 }),
            digest: Some(&digest),
            rules: &rules,
            words: Some(&hold.parameters),
            ..event::Hold::default()
        };
        self.hold(hold, event, out);
    }

    /// Somebody has said something to a statement that waits.
    fn hold_decided(&self, hold: &Hold, out: &mut Batch) {
        let step = match &hold.state {
            HoldState::Denied { .. } => "denied",
            HoldState::Pending => "voted",
            _ => "approved",
        };
        let vote = hold.votes.last().filter(|_| step != "denied");
        let event = event::Hold {
            step,
            words: self.words.as_deref(),
            uses: vote.and_then(|vote| vote.shape).map(|shape| u64::from(shape.uses)),
            ..event::Hold::default()
        };
        self.hold(hold, event, out);
    }

    fn shape_used(&self, used: &ShapeUsed, out: &mut Batch) {
        let ShapeUsed { hold, approved } = used;
        let event = event::Hold {
            step: "claimed",
            text: Some(event::Text::Sql { bytes: hold.text.as_bytes(), redacted: 0 }),
            words: Some(&hold.parameters),
            uses: Some(approved.shape.map_or(0, |shape| u64::from(shape.uses_left))),
            shape_of: Some(approved.id.as_str()),
            ..event::Hold::default()
        };
        self.hold(hold, event, out);
    }

    /// Where the step is not said, it is the state that it has led to.
    fn hold(&self, hold: &Hold, event: event::Hold<'_>, out: &mut Batch) {
        let who = self.context(Some(hold.grant.as_str()), &hold.connection);
        let step = if event.step.is_empty() { hold.state.name() } else { event.step };
        let of = pair(&hold.identity.person).filter(|_| self.session.is_none());
        out.push(&who, &Event::Hold(event::Hold { hold: hold.id.as_str(), step, of, ..event }));
    }
}

fn opened(grant: &Grant, client: &str, out: &mut Batch) {
    let policies: Vec<&str> = grant.policies.iter().map(String::as_str).collect();
    let event = event::GrantOpens {
        policies: &policies,
        scope: grant.scope.as_deref(),
        reason: grant.reason.as_deref(),
        request: grant.request.as_ref().map(|request| request.as_str()),
        ends_at_ms: grant.ends_at,
    };
    let id = Some(grant.id.as_str());
    let who = context(&grant.identity, id, &grant.connection, client);
    out.push(&who, &Event::GrantOpens(event));
}

fn request_decided(
    who: Context,
    request: &Request,
    decision: &str,
    words: Option<&str>,
    opened: Option<&str>,
    out: &mut Batch,
) {
    let event = event::RequestDecided {
        request: request.id.as_str(),
        decision,
        state: request.state.name(),
        of: pair(&request.identity.person),
        words,
        opened,
    };
    out.push(&who, &Event::RequestDecided(event));
}

/// Each agreement that is needed, in words.
fn needs(request: &Request) -> Vec<String> {
    let each = request.needed.iter();
    each.map(|needed| format!("{}: {} of {}", needed.what, needed.need.max(1), needed.by)).collect()
}

fn hex(digest: &Digest) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn write(gateway: &Gateway, events: &[(Context, Event<'_>)]) -> Result<(), Refusal> {
    let mut batch = Batch::new();
    for (who, event) in events {
        batch.push(who, event);
    }
    gate::record(&gateway.journal, &batch, Durability::Strict, true).await.map_err(|error| {
        tracing::error!(%error, "the journal can't be written");
        Refusal::Unrecorded
    })
}
