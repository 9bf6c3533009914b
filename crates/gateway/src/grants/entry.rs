//! The way to a grant by connecting: what the policies offer, a grant that is there, one that opens at
//! once, or a request that the connection waits for. A client that goes leaves its request behind, and
//! the next connect of the same identity finds it.

use std::sync::Arc;
use std::time::Duration;

use access::{
    Admission, Admitted, Ask, Grant, GrantId, Joins, Needed, Request, RequestState, Standing,
    StateError, Watch, steady_millis,
};
use identity::Identity;
use policy::{InForce, Narrow, NotOffered, Policies, Wanted};
use sql::catalog::Extent;
use tokio::time::{Instant, sleep, timeout};

use super::records::{self, Doer};
use super::{Asked, Over, Served, Tenure};
use crate::arrival::Departure;
use crate::gate::Rules;
use crate::gateway::{Gateway, Installed};
use crate::line::Line;
use crate::refusal::{self, Barred, Refusal};
use crate::settings::Connection;
use crate::telling;

/// How long a request waits for people.
const REQUEST_WAITS: Duration = Duration::from_secs(3600);

/// How long a client waits at the door where the policies don't say it.
const HOLD_WAIT: Duration = Duration::from_secs(55);

/// How long the store may take.
const STORE_TIME_MAX: Duration = Duration::from_secs(5);

/// While somebody waits, whether the gateway stops is looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Somebody at the door.
pub(crate) struct Entering<'e> {
    pub(crate) gateway: &'e Arc<Gateway>,
    pub(crate) identity: &'e Identity,
    pub(crate) connection: &'e Arc<Connection>,
    pub(crate) asked: Asked,
    /// The grant that their credential is for, and no other.
    pub(crate) bound: Option<GrantId>,
    /// The client's address, for the journal.
    pub(crate) client: String,
}

/// What they may, and until when.
pub(crate) struct Entry {
    pub(crate) rules: Rules,
    pub(crate) tenure: Tenure,
}

impl Entering<'_> {
    /// `None` where the file has no policies. Waits for people, if need be, while nothing of the
    /// database is held. Cancel-safe: a request stays.
    pub(crate) async fn enter(&self, line: &mut Line) -> Result<Option<Entry>, Departure> {
        if self.gateway.installed().settings.policies.is_none() {
            return Ok(None);
        }
        if self.gateway.grants.standing() != Standing::Good {
            return Err(Barred::StoreAway.into());
        }
        let asked_at = steady_millis();
        let entry = match &self.bound {
            Some(grant) => self.bound(grant, asked_at).await?,
            None => self.admitted(line).await?,
        };
        // Somebody may have agreed to it just now.
        telling::tell(self.gateway).await?;
        let has_asked = self.asked.scope.is_some() || self.asked.lasts.is_some();
        if has_asked && self.bound.is_none() {
            self.tell(line, &entry).await?;
        }
        Ok(Some(entry))
    }

    /// The same without a session: what becomes of it until then, and what there is of a narrower
    /// scope.
    pub(crate) async fn ask_ahead(
        &self,
        joins: Joins,
        until: Instant,
    ) -> Result<(Admission, Option<policy::Narrowed>), Refusal> {
        let installed = self.gateway.installed();
        if self.gateway.grants.standing() != Standing::Good {
            return Err(Barred::StoreAway.into());
        }
        let (ask, _) = self.ask(&installed, joins)?;
        let admission = match self.admit(ask).await?.admission {
            Admission::Wait { request, new } => self.decided_by(request, new, until).await?,
            decided => decided,
        };
        let narrowed = match (&self.asked.scope, &admission) {
            (Some(_), Admission::Open { grant, .. }) => match self.rules(grant)? {
                Some(rules) => self.narrowed(rules.in_force()).await,
                None => None,
            },
            _ => None,
        };
        Ok((admission, narrowed))
    }

    /// A request as it stands when it is decided, or then.
    async fn decided_by(
        &self,
        request: Request,
        new: bool,
        until: Instant,
    ) -> Result<Admission, Refusal> {
        let state = &self.gateway.state;
        let mut changed: Watch = state.watch(&request.id);
        loop {
            let Some(request) = self.store(state.request(&request.id)).await? else {
                return Err(Barred::StoreAway.into());
            };
            match &request.state {
                RequestState::Approved { grant, .. } => {
                    let grant = self.store(state.grant(grant)).await?;
                    let grant = grant.ok_or(Refusal::from(Over::Expired))?;
                    return Ok(Admission::Open { grant, new: true });
                }
                RequestState::Denied { .. } => return Ok(Admission::Denied(request)),
                RequestState::Pending if Instant::now() < until => {}
                _ => return Ok(Admission::Wait { request, new }),
            }
            let _or_time_is_over = tokio::time::timeout_at(until, changed.changed()).await;
        }
    }

    async fn bound(&self, id: &GrantId, asked_at: i64) -> Result<Entry, Departure> {
        let state = &self.gateway.state;
        let now = self.store(state.now()).await?;
        let grant = self.store(state.grant(id)).await?;
        let grant = grant.filter(|grant| {
            records::is(&grant.identity.person, self.identity)
                && grant.connection == self.connection.name
        });
        let Some(grant) = grant else { return Err(Barred::OtherGrant.into()) };
        if let Some(over) = Over::of(&grant.state) {
            return Err(Refusal::from(over).into());
        }
        match self.rules(&grant)? {
            Some(rules) => Ok(self.entry(grant, rules, asked_at, now)),
            None => Err(Barred::NotInForce { policies: grant.policies }.into()),
        }
    }

    async fn admitted(&self, line: &mut Line) -> Result<Entry, Departure> {
        let first = match (&self.asked.policies, &self.asked.scope) {
            (None, None) => Joins::Any,
            _ => Joins::Same,
        };
        let mut gone = Vec::new();
        // Where a grant's policies are gone from the file, what the file offers now is another.
        for joins in [first, Joins::Same] {
            let installed = self.gateway.installed();
            let (ask, wait) = self.ask(&installed, joins)?;
            let asked_at = steady_millis();
            let Admitted { now, admission } = self.admit(ask).await?;
            let (grant, asked_at, now) = match admission {
                Admission::Open { grant, .. } => (grant, asked_at, now),
                Admission::Denied(request) => return Err(denied(&request).into()),
                Admission::Wait { request, .. } => {
                    self.wait(line, request, wait, &installed).await?
                }
            };
            match self.rules(&grant)? {
                Some(rules) => return Ok(self.entry(grant, rules, asked_at, now)),
                None => gone = grant.policies,
            }
        }
        Err(Barred::NotInForce { policies: gone }.into())
    }

    /// What it finds is in the journal, whoever has asked for it.
    async fn admit(&self, ask: Ask) -> Result<Admitted, Refusal> {
        let doer = Doer { client: self.client.clone(), ..Doer::default() };
        let state = records::store_for(self.gateway, doer);
        let admitted = self.store(state.admit(ask)).await?;
        telling::tell(self.gateway).await?;
        Ok(admitted)
    }

    /// What to ask of the store, and how long to wait for people.
    fn ask(&self, installed: &Installed, joins: Joins) -> Result<(Ask, Duration), Refusal> {
        let Some(policies) = &installed.settings.policies else {
            return Err(Barred::NotInForce { policies: Vec::new() }.into());
        };
        if let Some(scope) = &self.asked.scope {
            read_scope(scope)?;
        }
        let subject = installed.settings.subject(self.identity);
        let names = self.asked.names(&policies.names())?;
        let Asked { reason, lasts, .. } = &self.asked;
        let wanted = Wanted { policies: &names, lasts: *lasts, reason: reason.as_deref() };
        let offer = policies
            .offer(&subject, &self.connection.name, wanted)
            .map_err(|why| self.not_offered(why))?;
        let needed = offer.needed.iter().map(|approval| Needed {
            what: approval.policy.to_string(),
            by: approval.by.clone(),
            need: approval.need,
        });
        let ask = Ask {
            identity: records::stored(self.identity, &subject),
            connection: self.connection.name.clone(),
            reason: self.asked.reason.clone(),
            policies: offer.policies.iter().map(ToString::to_string).collect(),
            scope: self.asked.scope.clone(),
            lasts_millis: millis(offer.lasts),
            needed: needed.collect(),
            waits_millis: millis(REQUEST_WAITS),
            joins,
        };
        Ok((ask, offer.hold_wait.unwrap_or(HOLD_WAIT)))
    }

    fn not_offered(&self, why: NotOffered) -> Refusal {
        let connection = self.connection.name.clone();
        match why {
            NotOffered::Closed => Barred::Closed { connection },
            NotOffered::Unknown { names, offered } => {
                Barred::Unknown { connection, names, offered }
            }
            NotOffered::NoReason { policy } => Barred::NoReason { policy },
        }
        .into()
    }

    /// What the grant's policies come to now. `None` if there are none left.
    fn rules(&self, grant: &Grant) -> Result<Option<Rules>, Refusal> {
        let installed = self.gateway.installed();
        let Some(policies) = &installed.settings.policies else { return Ok(None) };
        let narrow = grant.scope.as_deref().map(read_scope).transpose()?;
        let in_force = in_force(
            policies,
            &installed,
            self.identity,
            &self.connection.name,
            grant,
            narrow.as_ref(),
        );
        Ok(in_force.map(Rules::new))
    }

    fn entry(&self, grant: Grant, rules: Rules, asked_at: i64, now: i64) -> Entry {
        let narrow = rules.in_force().narrow().cloned();
        let served = self.gateway.grants.enter(grant, asked_at, now);
        Entry { rules, tenure: Tenure { served, narrow } }
    }

    /// Waits until somebody has decided, and gives the grant, with when the store was asked for it and
    /// what time it was there.
    async fn wait(
        &self,
        line: &mut Line,
        request: Request,
        wait: Duration,
        installed: &Installed,
    ) -> Result<(Grant, i64, i64), Departure> {
        let state = &self.gateway.state;
        let mut changed: Watch = state.watch(&request.id);
        let until = Instant::now() + wait;
        let mut notice = Vec::new();
        refusal::write_waiting(&request, wait, &mut notice);
        line.renew(wait + installed.settings.bounds.login_timeout);
        line.say(&notice).await?;
        loop {
            let found = self.store(state.request(&request.id)).await?;
            match found.as_ref().map(|request| &request.state) {
                Some(RequestState::Pending) => {}
                Some(RequestState::Approved { grant, .. }) => {
                    let asked_at = steady_millis();
                    let now = self.store(state.now()).await?;
                    match self.store(state.grant(grant)).await? {
                        Some(grant) if grant.is_live(now) => return Ok((grant, asked_at, now)),
                        Some(grant) => {
                            return Err(Refusal::from(
                                Over::of(&grant.state).unwrap_or(Over::Expired),
                            )
                            .into());
                        }
                        None => return Err(Refusal::from(Over::Expired).into()),
                    }
                }
                Some(RequestState::Denied { .. }) => {
                    return Err(found.as_ref().map_or(Barred::StoreAway, denied).into());
                }
                Some(RequestState::Expired { .. } | RequestState::Withdrawn { .. }) | None => {
                    let state = found.map_or("gone", |request| request.state.name());
                    return Err(Barred::RequestOver { id: request.id.to_string(), state }.into());
                }
            }
            loop {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(Barred::Waiting(Box::new(request)).into());
                }
                tokio::select! {
                    () = changed.changed() => break,
                    gone = line.gone() => return Err(gone),
                    () = sleep(left.min(LOOK_EVERY)) => {}
                }
                if self.gateway.is_stopping() {
                    return Err(Refusal::StoppingAtLogin.into());
                }
            }
        }
    }

    /// What there is of what was asked for.
    async fn tell(&self, line: &mut Line, entry: &Entry) -> Result<(), Departure> {
        let in_force = entry.rules.in_force();
        let narrowed = match in_force.narrow() {
            Some(_) => self.narrowed(in_force).await,
            None => None,
        };
        let mut notice = Vec::new();
        let Served { grant, .. } = &*entry.tenure.served;
        refusal::write_granted(grant, entry.tenure.served.left(), narrowed.as_ref(), &mut notice);
        Ok(line.say(&notice).await?)
    }

    /// Only for words, so what can't be said of it is left out.
    async fn narrowed(&self, in_force: &InForce) -> Option<policy::Narrowed> {
        let max_age = self.gateway.installed().settings.bounds.catalog_age_max;
        let snapshot = self
            .gateway
            .catalogs()
            .current(self.connection, Extent::Permanent, max_age)
            .await
            .ok()?;
        in_force.scope(&snapshot.catalog).narrowed()
    }

    async fn store<T>(
        &self,
        asked: impl Future<Output = Result<T, StateError>>,
    ) -> Result<T, Refusal> {
        match timeout(STORE_TIME_MAX, asked).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => match error.refused() {
                Some(refused) => Err(Barred::ByStore(refused.to_string()).into()),
                None => {
                    tracing::error!(%error, "the store of grants can't be used");
                    Err(Barred::StoreAway.into())
                }
            },
            Err(_) => {
                tracing::error!("the store of grants does not answer");
                Err(Barred::StoreAway.into())
            }
        }
    }
}

/// What is in force under a grant, by the file as it is now.
pub(crate) fn in_force(
    policies: &Policies,
    installed: &Installed,
    identity: &Identity,
    connection: &str,
    grant: &Grant,
    narrow: Option<&Arc<Narrow>>,
) -> Option<InForce> {
    let subject = installed.settings.subject(identity);
    let in_force = policies.granted(&subject, connection, &grant.policies)?;
    Some(match narrow {
        Some(narrow) => in_force.narrowed(narrow.clone()),
        None => in_force,
    })
}

fn read_scope(scope: &str) -> Result<Arc<Narrow>, Refusal> {
    Narrow::read(scope).map(Arc::new).map_err(|why| Barred::Malformed(why).into())
}

fn denied(request: &Request) -> Barred {
    let (by, words) = match &request.state {
        RequestState::Denied { by, words, .. } => (by.to_string(), words.clone()),
        _ => (String::new(), None),
    };
    Barred::Denied { id: request.id.to_string(), by, words }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
