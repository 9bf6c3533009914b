//! A grant: open until an absolute instant, or ended before it. It never opens again and never
//! gets a later end; more time is another grant.

use crate::id::{GrantId, RequestId};
use crate::person::{Identity, Person};
use crate::refused::Refused;
use crate::request::Request;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub id: GrantId,
    pub identity: Identity,
    pub connection: String,
    pub reason: Option<String>,
    /// What it opened, by name, in the order of names.
    pub policies: Vec<String>,
    pub scope: Option<String>,
    pub opened_at: i64,
    /// From this instant on nothing goes on under it.
    pub ends_at: i64,
    /// The request that was approved; none where the policies need nobody's approval.
    pub request: Option<RequestId>,
    pub approved_by: Vec<Person>,
    pub state: GrantState,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrantState {
    Open,
    Ended { how: GrantEnd, at: i64 },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrantEnd {
    /// Its time was over.
    Expired,
    /// Somebody took it away; the words are for the one who had it.
    Revoked { by: Person, words: Option<String> },
    /// Who had it gave it back.
    Released,
}

impl Grant {
    pub(crate) fn of(request: &Request, id: GrantId, now: i64) -> Self {
        Self {
            id,
            identity: request.identity.clone(),
            connection: request.connection.clone(),
            reason: request.reason.clone(),
            policies: request.policies.clone(),
            scope: request.scope.clone(),
            opened_at: now,
            ends_at: now.saturating_add(request.lasts_millis),
            request: Some(request.id.clone()),
            approved_by: request.votes.iter().map(|vote| vote.voter.clone()).collect(),
            state: GrantState::Open,
        }
    }

    pub fn is_live(&self, now: i64) -> bool {
        self.state == GrantState::Open && now < self.ends_at
    }

    pub(crate) fn live(self, now: i64) -> Result<Self, Refused> {
        if self.is_live(now) {
            return Ok(self);
        }
        Err(Refused::GrantEnded { grant: self.id.to_string() })
    }

    /// As it is at `now`, whether or not anybody has written down that it ended.
    pub(crate) fn due(mut self, now: i64) -> Self {
        if self.state == GrantState::Open && now >= self.ends_at {
            self.state = GrantState::Ended { how: GrantEnd::Expired, at: self.ends_at };
        }
        self
    }

    pub(crate) fn end(self, how: GrantEnd, now: i64) -> Result<Self, Refused> {
        let mut grant = self.live(now)?;
        grant.state = GrantState::Ended { how, at: now };
        Ok(grant)
    }
}

impl GrantState {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Ended { how: GrantEnd::Expired, .. } => "expired",
            Self::Ended { how: GrantEnd::Revoked { .. }, .. } => "revoked",
            Self::Ended { how: GrantEnd::Released, .. } => "released",
        }
    }

    pub fn closed_at(&self) -> Option<i64> {
        match self {
            Self::Open => None,
            Self::Ended { at, .. } => Some(*at),
        }
    }
}
