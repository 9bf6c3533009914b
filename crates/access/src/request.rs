//! A request: pending, then approved, denied, expired or withdrawn. Each step is a function of the
//! row, what happens and the time; keeping rows is the store's business.

use crate::approval::{self, May, Needed, Saying, Vote};
use crate::grant::Grant;
use crate::id::{GrantId, RequestId};
use crate::person::{Identity, Person};
use crate::refused::Refused;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub id: RequestId,
    pub identity: Identity,
    pub connection: String,
    pub reason: Option<String>,
    /// What it asks to open, by name, in the order of names.
    pub policies: Vec<String>,
    /// Narrower than the policies, as it was written.
    pub scope: Option<String>,
    /// For how long, from the approval on.
    pub lasts_millis: i64,
    pub needed: Vec<Needed>,
    pub votes: Vec<Vote>,
    pub created_at: i64,
    /// Nobody can approve it from this instant on.
    pub expires_at: i64,
    pub state: RequestState,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestState {
    Pending,
    Approved { grant: GrantId, at: i64 },
    Denied { by: Person, words: Option<String>, at: i64 },
    Expired { at: i64 },
    Withdrawn { at: i64 },
}

/// What a vote has made of a request: its state says whether others are still to agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestVoted {
    pub request: Request,
    /// Opened by this vote.
    pub grant: Option<Grant>,
}

impl Request {
    /// As it is at `now`, whether or not anybody has written down that it expired.
    pub(crate) fn due(mut self, now: i64) -> Self {
        if self.state == RequestState::Pending && now >= self.expires_at {
            self.state = RequestState::Expired { at: self.expires_at };
        }
        self
    }

    pub(crate) fn vote(
        self,
        voter: &Identity,
        saying: Saying,
        may: &May,
        grant: GrantId,
        now: i64,
    ) -> Result<RequestVoted, Refused> {
        let mut request = self.pending(now)?;
        let counts_for = approval::theirs(&request.needed, &request.identity, voter, may)?;
        match saying {
            Saying::Deny { words } => {
                let by = voter.person.clone();
                request.state = RequestState::Denied { by, words, at: now };
                Ok(RequestVoted { request, grant: None })
            }
            Saying::Approve { words, shape } => {
                if shape.is_some() {
                    return Err(Refused::NoShape);
                }
                let voter = voter.person.clone();
                let vote = Vote { voter, at: now, words, counts_for, shape: None };
                approval::add(&request.needed, &mut request.votes, vote)?;
                if !approval::is_met(&request.needed, &request.votes) {
                    return Ok(RequestVoted { request, grant: None });
                }
                request.state = RequestState::Approved { grant: grant.clone(), at: now };
                let grant = Some(Grant::of(&request, grant, now));
                Ok(RequestVoted { request, grant })
            }
        }
    }

    /// Only by who asked.
    pub(crate) fn withdraw(self, by: &Person, now: i64) -> Result<Self, Refused> {
        let mut request = self.pending(now)?;
        if request.identity.person != *by {
            return Err(Refused::NotYours);
        }
        request.state = RequestState::Withdrawn { at: now };
        Ok(request)
    }

    /// Of each that is needed: how many people are still to agree.
    pub fn missing(&self) -> impl Iterator<Item = (&Needed, usize)> {
        let each = self.needed.iter().enumerate();
        each.map(|(index, needed)| (needed, approval::still(needed, index, &self.votes)))
            .filter(|(_, still)| *still > 0)
    }

    /// A no stands as long as the request would have: who asks the same again reads it.
    pub(crate) fn still_denied(&self, now: i64) -> bool {
        matches!(self.state, RequestState::Denied { .. }) && now < self.expires_at
    }

    fn pending(self, now: i64) -> Result<Self, Refused> {
        let request = self.due(now);
        if request.state == RequestState::Pending {
            return Ok(request);
        }
        let (id, state) = (request.id.to_string(), request.state.said());
        Err(Refused::Over { what: "request", id, state })
    }
}

impl RequestState {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved { .. } => "approved",
            Self::Denied { .. } => "denied",
            Self::Expired { .. } => "expired",
            Self::Withdrawn { .. } => "withdrawn",
        }
    }

    pub fn closed_at(&self) -> Option<i64> {
        match self {
            Self::Pending => None,
            Self::Approved { at, .. }
            | Self::Denied { at, .. }
            | Self::Expired { at }
            | Self::Withdrawn { at } => Some(*at),
        }
    }

    fn said(&self) -> &'static str {
        match self {
            Self::Pending => "waits for a person",
            Self::Approved { .. } => "is approved already",
            Self::Denied { .. } => "was denied",
            Self::Expired { .. } => "has expired",
            Self::Withdrawn { .. } => "was withdrawn",
        }
    }
}
