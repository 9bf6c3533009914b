//! A hold: a statement that waits for a person, and once approved runs at most once. Each step is
//! a function of the row, what happens and the time. What the digest is made of is the gate's
//! business; here it must only be the same.

use crate::approval::{self, May, Needed, Saying, ShapeOffer, Vote};
use crate::bounds::{LASTS_MILLIS_MAX, SHAPE_USES_MAX};
use crate::id::{GrantId, HoldId};
use crate::person::{Identity, Person};
use crate::refused::Refused;

pub type Digest = [u8; 32];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    pub id: HoldId,
    pub grant: GrantId,
    pub identity: Identity,
    pub connection: String,
    /// Of all that is approved.
    pub digest: Digest,
    /// Of the same without the values of parameters, where policy lets that be approved.
    pub shape_digest: Option<Digest>,
    pub text: String,
    /// As the reviewer sees them, in JSON.
    pub parameters: String,
    pub needed: Vec<Needed>,
    pub reason: Option<String>,
    pub estimate: Option<String>,
    pub votes: Vec<Vote>,
    pub created_at: i64,
    /// Nobody can approve it from this instant on.
    pub expires_at: i64,
    /// For how long it can be claimed after its approval, or approved after its client has gone.
    pub claim_millis: i64,
    /// The session that waits for it; none once that has gone.
    pub waiter: Option<String>,
    /// Since its client has gone: when it comes to its end, unless somebody waits again.
    pub orphaned_until: Option<i64>,
    pub state: HoldState,
    /// Who ran it, once it was claimed.
    pub run: Option<Run>,
    /// What is left of an approval for other parameters.
    pub shape: Option<Shape>,
    /// The hold whose approval for other parameters this one used.
    pub used_shape_of: Option<HoldId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HoldState {
    Pending,
    Approved {
        at: i64,
        claim_until: i64,
    },
    Denied {
        by: Person,
        words: Option<String>,
        at: i64,
    },
    Withdrawn {
        why: Withdrawal,
        at: i64,
    },
    Expired {
        at: i64,
    },
    /// Claimed: it runs, or ran and nobody has said so yet.
    Running,
    Done {
        at: i64,
    },
    Failed {
        words: Option<String>,
        at: i64,
    },
    /// It was sent, and nobody can say what became of it. The approval is spent.
    Unknown {
        at: i64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withdrawal {
    Client,
    GrantEnded,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub by: Claimant,
    pub at: i64,
    /// Of PostgreSQL's transaction, once it is known.
    pub xid: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimant {
    pub node: String,
    pub session: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub uses_left: u32,
    pub until: i64,
}

/// How a claimed statement came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Failed { words: Option<String> },
    Unknown,
}

impl Hold {
    /// When it comes to its end by itself.
    pub fn until(&self) -> Option<i64> {
        match &self.state {
            HoldState::Pending => {
                Some(self.orphaned_until.map_or(self.expires_at, |end| end.min(self.expires_at)))
            }
            HoldState::Approved { claim_until, .. } => Some(*claim_until),
            _ => None,
        }
    }

    /// As it is at `now`, whether or not anybody has written down that it expired.
    pub(crate) fn due(mut self, now: i64) -> Self {
        if let Some(until) = self.until()
            && now >= until
        {
            self.state = HoldState::Expired { at: until };
        }
        if self.shape.is_some_and(|shape| now >= shape.until) {
            self.shape = None;
        }
        self
    }

    /// Its state says whether others are still to agree.
    pub(crate) fn vote(
        self,
        voter: &Identity,
        saying: Saying,
        may: &May,
        now: i64,
    ) -> Result<Self, Refused> {
        let mut hold = self.due(now);
        if hold.state != HoldState::Pending {
            return Err(hold.over());
        }
        let counts_for = approval::theirs(&hold.needed, &hold.identity, voter, may)?;
        match saying {
            Saying::Deny { words } => {
                hold.state = HoldState::Denied { by: voter.person.clone(), words, at: now };
                Ok(hold)
            }
            Saying::Approve { words, shape } => {
                if let Some(offer) = shape {
                    hold.check_shape(offer)?;
                }
                let voter = voter.person.clone();
                let vote = Vote { voter, at: now, words, counts_for, shape };
                approval::add(&hold.needed, &mut hold.votes, vote)?;
                if !approval::is_met(&hold.needed, &hold.votes) {
                    return Ok(hold);
                }
                let claim_until = now.saturating_add(hold.claim_millis);
                hold.state = HoldState::Approved { at: now, claim_until };
                hold.shape = agreed_shape(&hold.votes, now);
                Ok(hold)
            }
        }
    }

    /// The same statement came (again): whoever sent it waits for it now. One waits at a time, the
    /// last one.
    pub(crate) fn wait(mut self, session: &str) -> Self {
        self.waiter = Some(session.to_owned());
        self.orphaned_until = None;
        self
    }

    /// The client has gone. It counts only if nobody else waits by now.
    pub(crate) fn orphan(mut self, session: &str, now: i64) -> Result<Self, Refused> {
        self = self.due(now);
        if self.waiter.as_deref() != Some(session) {
            return Err(Refused::NotYours);
        }
        self.waiter = None;
        if self.state == HoldState::Pending {
            self.orphaned_until = Some(now.saturating_add(self.claim_millis));
        }
        Ok(self)
    }

    /// By who waits for it, before it runs.
    pub(crate) fn withdraw(self, by: &Person, why: Withdrawal, now: i64) -> Result<Self, Refused> {
        let mut hold = self.due(now);
        if hold.identity.person != *by {
            return Err(Refused::NotYours);
        }
        if !hold.is_open() {
            return Err(hold.over());
        }
        hold.state = HoldState::Withdrawn { why, at: now };
        hold.shape = None;
        hold.waiter = None;
        Ok(hold)
    }

    /// Its grant has ended, and what was approved under it with it. What runs is left alone: its
    /// outcome is still to be heard.
    pub(crate) fn end_with_grant(mut self, now: i64) -> Self {
        self = self.due(now);
        if self.is_open() {
            self.state = HoldState::Withdrawn { why: Withdrawal::GrantEnded, at: now };
            self.waiter = None;
        }
        self.shape = None;
        self
    }

    /// Whoever is told yes may send the statement, once.
    pub(crate) fn claim(
        self,
        grant: &GrantId,
        digest: &Digest,
        by: Claimant,
        now: i64,
    ) -> Result<Self, Refused> {
        let mut hold = self.due(now);
        if hold.grant != *grant {
            return Err(Refused::NotYours);
        }
        if hold.digest != *digest {
            return Err(Refused::OtherStatement);
        }
        if !matches!(hold.state, HoldState::Approved { .. }) {
            return Err(hold.over());
        }
        hold.state = HoldState::Running;
        hold.run = Some(Run { by, at: now, xid: None });
        hold.waiter = None;
        Ok(hold)
    }

    pub(crate) fn note_xid(mut self, by: &Claimant, xid: u64) -> Result<Self, Refused> {
        let over = self.over();
        match (&self.state, &mut self.run) {
            (HoldState::Running, Some(run)) if run.by == *by && run.xid.is_none() => {
                run.xid = Some(xid);
                Ok(self)
            }
            (HoldState::Running, _) => Err(Refused::NotYours),
            _ => Err(over),
        }
    }

    pub(crate) fn finish(mut self, outcome: Outcome, now: i64) -> Result<Self, Refused> {
        if self.state != HoldState::Running {
            return Err(self.over());
        }
        self.state = match outcome {
            Outcome::Done => HoldState::Done { at: now },
            Outcome::Failed { words } => HoldState::Failed { words, at: now },
            Outcome::Unknown => HoldState::Unknown { at: now },
        };
        Ok(self)
    }

    /// One use less.
    pub(crate) fn use_shape(
        self,
        grant: &GrantId,
        digest: &Digest,
        now: i64,
    ) -> Result<Self, Refused> {
        let mut hold = self.due(now);
        if hold.grant != *grant {
            return Err(Refused::NotYours);
        }
        if hold.shape_digest != Some(*digest) {
            return Err(Refused::OtherStatement);
        }
        match hold.shape {
            Some(Shape { uses_left, until }) if uses_left > 0 => {
                let left = uses_left - 1;
                hold.shape = (left > 0).then_some(Shape { uses_left: left, until });
                Ok(hold)
            }
            _ => Err(Refused::ShapeSpent),
        }
    }

    /// Whether it still waits: for a person, or for its client.
    pub fn is_open(&self) -> bool {
        matches!(self.state, HoldState::Pending | HoldState::Approved { .. })
    }

    /// A no stands as long as the hold would have: who sends the same again reads it.
    pub(crate) fn still_denied(&self, now: i64) -> bool {
        matches!(self.state, HoldState::Denied { .. }) && now < self.expires_at
    }

    /// Of each that is needed: how many people are still to agree.
    pub fn missing(&self) -> impl Iterator<Item = (&Needed, usize)> {
        let each = self.needed.iter().enumerate();
        each.map(|(index, needed)| (needed, approval::still(needed, index, &self.votes)))
            .filter(|(_, still)| *still > 0)
    }

    fn check_shape(&self, offer: ShapeOffer) -> Result<(), Refused> {
        if self.shape_digest.is_none() {
            return Err(Refused::NoShape);
        }
        let bounds = (1..=SHAPE_USES_MAX).contains(&offer.uses)
            && (1..=LASTS_MILLIS_MAX).contains(&offer.lasts_millis);
        if bounds { Ok(()) } else { Err(Refused::ShapeBounds) }
    }

    pub(crate) fn over(&self) -> Refused {
        Refused::Over { what: "hold", id: self.id.to_string(), state: self.state.said() }
    }
}

/// Other parameters are approved only if all who agreed meant it, and then as narrowly as the
/// narrowest of them.
fn agreed_shape(votes: &[Vote], now: i64) -> Option<Shape> {
    let offers: Option<Vec<ShapeOffer>> = votes.iter().map(|vote| vote.shape).collect();
    let offers = offers?;
    let uses_left = offers.iter().map(|offer| offer.uses).min()?;
    let lasts = offers.iter().map(|offer| offer.lasts_millis).min()?;
    Some(Shape { uses_left, until: now.saturating_add(lasts) })
}

impl HoldState {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved { .. } => "approved",
            Self::Denied { .. } => "denied",
            Self::Withdrawn { .. } => "withdrawn",
            Self::Expired { .. } => "expired",
            Self::Running => "running",
            Self::Done { .. } => "done",
            Self::Failed { .. } => "failed",
            Self::Unknown { .. } => "unknown",
        }
    }

    pub fn closed_at(&self) -> Option<i64> {
        match self {
            Self::Pending | Self::Approved { .. } | Self::Running => None,
            Self::Denied { at, .. }
            | Self::Withdrawn { at, .. }
            | Self::Expired { at }
            | Self::Done { at }
            | Self::Failed { at, .. }
            | Self::Unknown { at } => Some(*at),
        }
    }

    fn said(&self) -> &'static str {
        match self {
            Self::Pending => "waits for a person",
            Self::Approved { .. } => "is approved already",
            Self::Denied { .. } => "was denied",
            Self::Withdrawn { why: Withdrawal::Client, .. } => "was withdrawn",
            Self::Withdrawn { why: Withdrawal::GrantEnded, .. } => "ended with its grant",
            Self::Expired { .. } => "has expired",
            Self::Running => "runs already",
            Self::Done { .. } => "was run already",
            Self::Failed { .. } => "was run already, and failed",
            Self::Unknown { .. } => "was run already, and nobody knows how it came out",
        }
    }
}
