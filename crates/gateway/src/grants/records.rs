//! What the journal keeps of requests and grants, and identities as the store has them.

use access::{Due, EndedGrant, Grant, Hold, Person, Request, RequestVoted};
use audit::Durability;
use audit::event::{self, Batch, Context, Event, Who};
use identity::Identity;
use policy::Subject;

use super::Over;
use crate::gate;
use crate::gateway::Gateway;
use crate::refusal::Refusal;

/// Somebody with all that policies know of them now.
pub(crate) fn stored(subject: &Subject<'_>) -> access::Identity {
    access::Identity {
        person: access::Person {
            issuer: subject.issuer.to_owned(),
            subject: subject.subject.to_owned(),
        },
        name: subject.name.map(str::to_owned),
        groups: subject.groups.to_vec(),
        claims: subject.claims.clone(),
        actors: Vec::new(),
    }
}

pub(crate) fn is(person: &access::Person, identity: &Identity) -> bool {
    person.issuer == identity.issuer && person.subject == identity.subject
}

pub(crate) fn person(identity: &Identity) -> Person {
    Person { issuer: identity.issuer.clone(), subject: identity.subject.clone() }
}

fn pair(of: &Person) -> Option<(&str, &str)> {
    Some((&of.issuer, &of.subject))
}

/// Of whom, about which grant.
fn context(of: &access::Person, grant: Option<&str>, connection: &str, client: &str) -> Context {
    let identity =
        event::Identity { issuer: &of.issuer, subject: &of.subject, ..event::Identity::default() };
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

pub(super) async fn requested(
    gateway: &Gateway,
    request: &Request,
    client: &str,
) -> Result<(), Refusal> {
    let policies: Vec<&str> = request.policies.iter().map(String::as_str).collect();
    let needs: Vec<String> = needs(request);
    let needs: Vec<&str> = needs.iter().map(String::as_str).collect();
    let event = Event::Request(event::Request {
        request: request.id.as_str(),
        policies: &policies,
        scope: request.scope.as_deref(),
        reason: request.reason.as_deref(),
        lasts_ms: request.lasts_millis,
        expires_at_ms: request.expires_at,
        needs: &needs,
    });
    let who = context(&request.identity.person, None, &request.connection, client);
    write(gateway, &[(who, event)]).await
}

/// Each agreement that is needed, in words.
pub(super) fn needs(request: &Request) -> Vec<String> {
    let each = request.needed.iter();
    each.map(|needed| format!("{}: {} of {}", needed.what, needed.need.max(1), needed.by)).collect()
}

pub(super) async fn opened(gateway: &Gateway, grant: &Grant, client: &str) -> Result<(), Refusal> {
    let policies: Vec<&str> = grant.policies.iter().map(String::as_str).collect();
    let event = Event::GrantOpens(event::GrantOpens {
        policies: &policies,
        scope: grant.scope.as_deref(),
        reason: grant.reason.as_deref(),
        request: grant.request.as_ref().map(|request| request.as_str()),
        ends_at_ms: grant.ends_at,
    });
    let id = Some(grant.id.as_str());
    let who = context(&grant.identity.person, id, &grant.connection, client);
    write(gateway, &[(who, event)]).await
}

/// Somebody has said something to a request; it may have become a grant.
pub(crate) async fn decided(
    gateway: &Gateway,
    by: &Identity,
    client: &str,
    voted: &RequestVoted,
    decision: &str,
    words: Option<&str>,
) -> Result<(), Refusal> {
    let RequestVoted { request, grant } = voted;
    let who = context(&person(by), None, &request.connection, client);
    let event = event::RequestDecided {
        request: request.id.as_str(),
        decision,
        state: request.state.name(),
        of: pair(&request.identity.person),
        words,
        opened: grant.as_ref().map(|grant| grant.id.as_str()),
    };
    write(gateway, &[(who, Event::RequestDecided(event))]).await?;
    match grant {
        Some(grant) => opened(gateway, grant, "").await,
        None => Ok(()),
    }
}

/// Who asked has taken it back.
pub(crate) async fn withdrawn(
    gateway: &Gateway,
    by: &Identity,
    client: &str,
    request: &Request,
) -> Result<(), Refusal> {
    let who = context(&person(by), None, &request.connection, client);
    let event = event::RequestDecided {
        request: request.id.as_str(),
        decision: "withdraw",
        state: request.state.name(),
        of: pair(&request.identity.person),
        ..event::RequestDecided::default()
    };
    write(gateway, &[(who, Event::RequestDecided(event))]).await
}

/// Somebody has ended a grant before its time.
pub(crate) async fn ended(
    gateway: &Gateway,
    by: &Identity,
    client: &str,
    grant: &Grant,
    words: Option<&str>,
) -> Result<(), Refusal> {
    let who = context(&person(by), Some(grant.id.as_str()), &grant.connection, client);
    let how = grant.state.name();
    let of = pair(&grant.identity.person);
    write(gateway, &[(who, Event::GrantEnds(event::GrantEnds { how, of, words }))]).await
}

/// Somebody has said something to a statement that waits.
pub(crate) async fn hold_decided(
    gateway: &Gateway,
    by: &Identity,
    client: &str,
    hold: &Hold,
    event: event::Hold<'_>,
) -> Result<(), Refusal> {
    let who = context(&person(by), Some(hold.grant.as_str()), &hold.connection, client);
    let event = event::Hold { hold: hold.id.as_str(), of: pair(&hold.identity.person), ..event };
    write(gateway, &[(who, Event::Hold(event))]).await
}

/// What time has ended. It has ended whether that can be recorded or not; the log says if it can't.
pub(super) async fn due(gateway: &Gateway, due: &Due) {
    let mut events = Vec::new();
    for request in &due.requests {
        let person = &request.identity.person;
        let who = Context::new(&Who { connection: Some(&request.connection), ..Who::default() });
        let event = event::RequestDecided {
            request: request.id.as_str(),
            decision: "expire",
            state: request.state.name(),
            of: Some((&person.issuer, &person.subject)),
            ..event::RequestDecided::default()
        };
        events.push((who, Event::RequestDecided(event)));
    }
    for EndedGrant { grant, .. } in &due.grants {
        let (connection, id) = (Some(&*grant.connection), Some(grant.id.as_str()));
        let who = Context::new(&Who { connection, grant: id, ..Who::default() });
        let person = &grant.identity.person;
        let of = Some((&*person.issuer, &*person.subject));
        let how = Over::of(&grant.state).map_or("expired", |over| over.name());
        events.push((who, Event::GrantEnds(event::GrantEnds { how, of, words: None })));
    }
    let ended = due.grants.iter().flat_map(|ended| &ended.holds);
    for hold in due.holds.iter().chain(ended) {
        let (connection, grant) = (Some(&*hold.connection), Some(hold.grant.as_str()));
        let who = Context::new(&Who { connection, grant, ..Who::default() });
        let person = &hold.identity.person;
        let event = event::Hold {
            hold: hold.id.as_str(),
            step: hold.state.name(),
            of: Some((&person.issuer, &person.subject)),
            ..event::Hold::default()
        };
        events.push((who, Event::Hold(event)));
    }
    if !events.is_empty() {
        // `write` has logged why, if it could not.
        let _ended_all_the_same = write(gateway, &events).await;
    }
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
