//! What people and programs do beside PostgreSQL's protocol: ask for a grant ahead, look at what
//! waits, decide, revoke, end a session. Who they are they prove here, with what they would log in
//! with; whether they may is decided here, too, and every step is in the journal before they hear of
//! it. How it is said over HTTP is the business of `api`.

mod trouble;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use access::{
    Admission, Filter, Grant, GrantEnd, GrantId, GrantState, Hold, HoldId, Joins, Needed, Request,
    RequestId, Saying, State,
};
use identity::Identity;
use identity::scram::{ITERATIONS, Verifier};
use identity::token::Token;
use policy::Narrowed;
use tokio::time::Instant;

pub use self::trouble::{Trouble, TroubleKind};
pub use crate::door::Secret;
pub use crate::roster::About;

use crate::door;
use crate::gateway::Gateway;
use crate::grants::records::{self, Doer};
use crate::grants::{Asked, Entering};
use crate::telling;

/// Tokens that open one grant are for the connection that is made next.
pub const GRANT_TOKEN_TIME: Duration = Duration::from_secs(600);

/// The longest that an answer waits for people.
pub const WAIT_MAX: Duration = Duration::from_secs(55);

/// Somebody who has proven who they are.
pub struct Desk {
    gateway: Arc<Gateway>,
    who: Identity,
    /// Their address, for the journal.
    client: String,
}

/// What somebody asks for.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    pub connection: String,
    pub reason: Option<String>,
    /// As long as the policies say, if it isn't said.
    pub lasts: Option<Duration>,
    pub policies: Vec<String>,
    pub scope: Option<String>,
    /// For people, at most [`WAIT_MAX`].
    pub wait: Duration,
    /// The token opens once.
    pub single_use: bool,
}

/// What came of it.
#[derive(Debug)]
pub struct Answer {
    pub admission: Admission,
    /// What there is of a narrower scope, where the database can be asked.
    pub narrowed: Option<Narrowed>,
    /// For who has a local name; others log in with what they have.
    pub token: Option<GrantToken>,
}

/// A credential for one grant. Its text exists here and with whoever it is given to.
#[derive(Debug)]
pub struct GrantToken {
    pub token: Token,
    pub user: String,
    pub lasts: Duration,
}

/// A list, and where it goes on.
#[derive(Debug)]
pub struct Page<Row, Id> {
    pub rows: Vec<Row>,
    pub behind: Option<Id>,
}

impl Desk {
    /// Lets in who proves to be somebody. An unknown name and a wrong secret take the same time and
    /// get the same answer.
    pub async fn enter(
        gateway: &Arc<Gateway>,
        secret: Secret<'_>,
        address: IpAddr,
    ) -> Result<Desk, Trouble> {
        match door::prove_by_secret(gateway, &secret, address).await {
            Ok(who) => Ok(Desk { gateway: gateway.clone(), who, client: address.to_string() }),
            Err(refusal) => {
                let user = match secret {
                    Secret::Local { user, .. } => Some(user),
                    Secret::Token(_) => None,
                };
                records::turned_away(gateway, user, &address.to_string(), &refusal).await;
                Err(refusal.into())
            }
        }
    }

    pub fn who(&self) -> &Identity {
        &self.who
    }

    /// Asks for a grant, as connecting would.
    pub async fn ask(&self, wish: Wish) -> Result<Answer, Trouble> {
        let until = Instant::now() + wish.wait.min(WAIT_MAX);
        let installed = self.gateway.installed();
        let Some(connection) = installed.settings.connections.get(&wish.connection) else {
            return Err(Trouble::no_such("connection", &wish.connection));
        };
        let single_use = wish.single_use;
        let joins = match (&*wish.policies, &wish.scope) {
            ([], None) => Joins::Any,
            _ => Joins::Same,
        };
        let asked = Asked {
            reason: wish.reason,
            lasts: wish.lasts,
            policies: Some(wish.policies).filter(|names| !names.is_empty()).map(|it| listed(&it)),
            scope: wish.scope,
        };
        let entering = Entering {
            gateway: &self.gateway,
            identity: &self.who,
            connection,
            asked,
            bound: None,
            client: self.client.clone(),
        };
        let (admission, narrowed) = entering.ask_ahead(joins, until).await?;
        let token = match &admission {
            Admission::Open { grant, .. } => self.mint(grant, single_use).await?,
            Admission::Wait { .. } | Admission::Denied(_) => None,
        };
        Ok(Answer { admission, narrowed, token })
    }

    /// Another token for a grant of one's own.
    pub async fn token(&self, id: &GrantId, single_use: bool) -> Result<GrantToken, Trouble> {
        let grant = self.own_grant(id).await?;
        let token = self.mint(&grant, single_use).await?;
        token.ok_or_else(|| {
            Trouble::conflict(
                "no_local_name",
                "only who has a name of Gatepost's own gets tokens of it; log in with what you have",
            )
        })
    }

    async fn mint(&self, grant: &Grant, single_use: bool) -> Result<Option<GrantToken>, Trouble> {
        let Some(name) = self.who.local_name() else { return Ok(None) };
        let token = Token::generate().map_err(|_| Trouble::away("there is no randomness"))?;
        let salt = self.gateway.salts.salt_of(name);
        let verifier = Verifier::derive(token.text().as_bytes(), &salt, ITERATIONS).to_string();
        let lasts = i64::try_from(GRANT_TOKEN_TIME.as_millis()).unwrap_or(i64::MAX);
        self.gateway.state.add_grant_token(&grant.id, name, &verifier, lasts, single_use).await?;
        Ok(Some(GrantToken { token, user: name.to_owned(), lasts: GRANT_TOKEN_TIME }))
    }

    /// One's own, those that one may decide, and for whoever runs this all.
    pub async fn requests(
        &self,
        open: bool,
        behind: Option<RequestId>,
    ) -> Result<Page<Request, RequestId>, Trouble> {
        let filter = Filter { open, behind, ..Filter::default() };
        let rows = self.gateway.state.requests(filter).await?;
        let behind = next(&rows, |request| &request.id);
        let rows = rows.into_iter().filter(|request| self.may_see_request(request)).collect();
        Ok(Page { rows, behind })
    }

    pub async fn request(&self, id: &RequestId) -> Result<Request, Trouble> {
        let request = self.gateway.state.request(id).await?;
        request
            .filter(|request| self.may_see_request(request))
            .ok_or_else(|| Trouble::no_such("request", id))
    }

    pub async fn decide_request(&self, id: &RequestId, saying: Saying) -> Result<Request, Trouble> {
        self.request(id).await?;
        let (voter, may) = self.vote(Voting::OnRequest)?;
        let state = self.store(said(&saying));
        let voted = state.vote(id, voter, saying, may).await?;
        telling::tell(&self.gateway).await?;
        Ok(voted.request)
    }

    /// Takes one's own request back.
    pub async fn withdraw(&self, id: &RequestId) -> Result<Request, Trouble> {
        self.request(id).await?;
        let by = records::person(&self.who);
        let request = self.store(None).withdraw(id, by).await?;
        telling::tell(&self.gateway).await?;
        Ok(request)
    }

    pub async fn holds(
        &self,
        open: bool,
        behind: Option<HoldId>,
    ) -> Result<Page<Hold, HoldId>, Trouble> {
        let filter = Filter { open, behind, ..Filter::default() };
        let rows = self.gateway.state.holds(filter).await?;
        let behind = next(&rows, |hold| &hold.id);
        let rows = rows.into_iter().filter(|hold| self.may_see_hold(hold)).collect();
        Ok(Page { rows, behind })
    }

    pub async fn hold(&self, id: &HoldId) -> Result<Hold, Trouble> {
        let hold = self.gateway.state.held(id).await?;
        hold.filter(|hold| self.may_see_hold(hold)).ok_or_else(|| Trouble::no_such("hold", id))
    }

    pub async fn decide_hold(&self, id: &HoldId, saying: Saying) -> Result<Hold, Trouble> {
        self.hold(id).await?;
        let (voter, may) = self.vote(Voting::OnHold)?;
        let state = self.store(said(&saying));
        let hold = state.decide_hold(id, voter, saying, may).await?;
        telling::tell(&self.gateway).await?;
        Ok(hold)
    }

    pub async fn grants(
        &self,
        open: bool,
        behind: Option<GrantId>,
    ) -> Result<Page<Grant, GrantId>, Trouble> {
        let person = (!self.is_admin()).then(|| records::person(&self.who));
        let filter = Filter { open, behind, person, ..Filter::default() };
        let rows = self.gateway.state.grants(filter).await?;
        let behind = next(&rows, |grant| &grant.id);
        Ok(Page { rows, behind })
    }

    pub async fn grant(&self, id: &GrantId) -> Result<Grant, Trouble> {
        let grant = self.gateway.state.grant(id).await?;
        let may_see = |grant: &Grant| self.is_admin() || self.owns(&grant.identity.person);
        grant.filter(may_see).ok_or_else(|| Trouble::no_such("grant", id))
    }

    /// Takes a grant away, or gives one's own back.
    pub async fn end_grant(&self, id: &GrantId, words: Option<String>) -> Result<Grant, Trouble> {
        let grant = self.grant(id).await?;
        let by = records::person(&self.who);
        let how = match self.owns(&grant.identity.person) {
            true => GrantEnd::Released,
            false => GrantEnd::Revoked { by, words: words.clone() },
        };
        let ended = self.store(words).end_grant(id, how).await?;
        telling::tell(&self.gateway).await?;
        Ok(ended.grant)
    }

    /// One's own, and for whoever runs this all.
    pub fn sessions(&self) -> Vec<About> {
        let is_admin = self.is_admin();
        let present = self.gateway.roster.present();
        let about = present.iter().map(|attendee| &attendee.about);
        let mut about: Vec<About> =
            about.filter(|about| is_admin || self.is_own(about)).cloned().collect();
        about.sort_by_key(|about| about.since);
        about
    }

    /// Ends a session at once; its last record says who did. Its grant lives on.
    pub fn kill(&self, session: &str) -> Result<(), Trouble> {
        let is_admin = self.is_admin();
        let present = self.gateway.roster.present();
        let may = |about: &About| is_admin || self.is_own(about);
        let found = present.iter().find(|it| it.about.session == session && may(&it.about));
        let Some(attendee) = found else { return Err(Trouble::no_such("session", session)) };
        attendee.kill(self.who.clone());
        Ok(())
    }

    /// The store, by somebody who is known, with these words.
    fn store(&self, words: Option<String>) -> State {
        let (person, client) = (Some(records::alone(&self.who)), self.client.clone());
        records::store_for(&self.gateway, Doer { person, client, words, session: None })
    }

    async fn own_grant(&self, id: &GrantId) -> Result<Grant, Trouble> {
        let grant = self.grant(id).await?;
        if !self.owns(&grant.identity.person) {
            return Err(Trouble::not_yours("a token for a grant is given to whose it is"));
        }
        match grant.state {
            GrantState::Open => Ok(grant),
            GrantState::Ended { .. } => {
                Err(Trouble::conflict("over", &format!("grant {id} is {}", grant.state.name())))
            }
        }
    }

    fn owns(&self, person: &access::Person) -> bool {
        records::is(person, &self.who)
    }

    /// What the file says of somebody may have changed since.
    fn is_own(&self, session: &About) -> bool {
        self.owns(&records::person(&session.identity))
    }

    fn is_admin(&self) -> bool {
        let installed = self.gateway.installed();
        let subject = installed.settings.subject(&self.who);
        installed.settings.admins.iter().any(|admins| policy::by_means(admins, &subject))
    }

    fn may_see_request(&self, request: &Request) -> bool {
        let may = Voting::OnRequest.may(self);
        self.is_admin() || self.owns(&request.identity.person) || request.needed.iter().any(may)
    }

    fn may_see_hold(&self, hold: &Hold) -> bool {
        let may = Voting::OnHold.may(self);
        self.is_admin() || self.owns(&hold.identity.person) || hold.needed.iter().any(may)
    }

    /// Who votes, and on what they may: by the file as it is now.
    fn vote(&self, on: Voting) -> Result<(access::Identity, Box<access::May>), Trouble> {
        // People are asked so that somebody looks who is none of the agents.
        if !self.who.actors.is_empty() {
            return Err(Trouble::not_yours(
                "whoever decides does so in person, and nobody for them",
            ));
        }
        let installed = self.gateway.installed();
        let voter = records::stored(&self.who, &installed.settings.subject(&self.who));
        Ok((voter, Box::new(on.may(self))))
    }
}

/// What is decided.
#[derive(Clone, Copy)]
enum Voting {
    OnRequest,
    OnHold,
}

impl Voting {
    /// Who may agree to a request is looked up anew, by the policy that it asks for; who may let a
    /// statement run was settled when it came.
    fn may(self, desk: &Desk) -> impl Fn(&Needed) -> bool + Send + use<> {
        let installed = desk.gateway.installed();
        let who = desk.who.clone();
        move |needed| {
            let subject = installed.settings.subject(&who);
            match self {
                Voting::OnRequest => installed
                    .settings
                    .policies
                    .as_ref()
                    .is_some_and(|policies| policies.may_approve(&needed.what, &subject)),
                Voting::OnHold => policy::by_means(&needed.by, &subject),
            }
        }
    }
}

/// The row that the next page is behind, if there may be one.
fn next<Row, Id: Clone>(rows: &[Row], id: impl Fn(&Row) -> &Id) -> Option<Id> {
    let is_full = rows.len() >= access::bounds::PAGE_ROWS_MAX;
    rows.last().filter(|_| is_full).map(|row| id(row).clone())
}

fn said(saying: &Saying) -> Option<String> {
    match saying {
        Saying::Approve { words, .. } | Saying::Deny { words } => words.clone(),
    }
}

/// Names as a start-up option lists them.
fn listed(names: &[String]) -> String {
    let quoted = names.iter().map(|name| format!("\"{}\"", name.replace('"', "\"\"")));
    quoted.collect::<Vec<_>>().join(",")
}
