//! Why something that was asked at the desk is not done: a kind, a name for programs that stays, a
//! sentence, and the next step.

use access::{Refused, StateError};

use crate::refusal::Refusal;

#[derive(Clone, Debug)]
pub struct Trouble {
    pub kind: TroubleKind,
    pub code: &'static str,
    pub message: String,
    pub hint: Option<String>,
    /// JSON, where a client of PostgreSQL's protocol would read it as DETAIL.
    pub detail: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TroubleKind {
    /// Nobody knows who asks.
    Unproven,
    NotYours,
    NoSuch,
    /// It is not as it was, or as it would have to be.
    Conflict,
    Malformed,
    TooMuch,
    /// Gatepost can't do it now.
    Away,
}

impl Trouble {
    pub(crate) fn new(kind: TroubleKind, code: &'static str, message: &str) -> Trouble {
        Trouble { kind, code, message: message.to_owned(), hint: None, detail: None }
    }

    /// There is none, or none that whoever asks may know of.
    pub(crate) fn no_such(what: &str, name: impl std::fmt::Display) -> Trouble {
        let message = format!("there is no {what} `{name}` that you may see");
        Trouble::new(TroubleKind::NoSuch, "no_such", &message)
    }

    pub(crate) fn not_yours(message: &str) -> Trouble {
        Trouble::new(TroubleKind::NotYours, "not_yours", message)
    }

    pub(crate) fn conflict(code: &'static str, message: &str) -> Trouble {
        Trouble::new(TroubleKind::Conflict, code, message)
    }

    pub(crate) fn away(message: &str) -> Trouble {
        Trouble::new(TroubleKind::Away, "away", message)
    }
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        if refusal.is_of_a_wrong_credential() {
            return Trouble::new(
                TroubleKind::Unproven,
                "wrong_credential",
                "the name or its secret is wrong, or the token opens nothing",
            );
        }
        let (kind, code) = match &refusal {
            Refusal::TooManyFailures { .. } => (TroubleKind::TooMuch, "failed_logins"),
            Refusal::Barred(barred) => (barred.kind(), barred.code()),
            Refusal::Unrecorded => (TroubleKind::Away, "unrecorded"),
            _ => (TroubleKind::Away, "away"),
        };
        let words = refusal.words();
        Trouble {
            kind,
            code,
            message: words.message,
            hint: words.hint.map(std::borrow::Cow::into_owned),
            detail: words.detail,
        }
    }
}

impl From<StateError> for Trouble {
    fn from(error: StateError) -> Self {
        let Some(refused) = error.refused() else {
            tracing::error!(%error, "the store can't be used");
            return Trouble::away("Gatepost's store can't be used now; its log says why");
        };
        let (kind, code) = match refused {
            Refused::NoSuch { .. } => (TroubleKind::NoSuch, "no_such"),
            Refused::Over { .. } | Refused::GrantEnded { .. } => (TroubleKind::Conflict, "over"),
            Refused::AlreadyVoted => (TroubleKind::Conflict, "already_voted"),
            Refused::NothingLeft => (TroubleKind::Conflict, "nothing_left"),
            Refused::OtherStatement | Refused::ShapeSpent => (TroubleKind::Conflict, "moved"),
            Refused::OwnRequest => (TroubleKind::NotYours, "own_request"),
            Refused::NotAsked | Refused::NotYours => (TroubleKind::NotYours, "not_yours"),
            Refused::NoShape | Refused::ShapeBounds => (TroubleKind::Malformed, "no_shape"),
            Refused::TooManyRequests { .. }
            | Refused::TooOften { .. }
            | Refused::TooManyGrants { .. }
            | Refused::TooManyHolds { .. }
            | Refused::TooManyLogins { .. }
            | Refused::HoldsSpent { .. } => (TroubleKind::TooMuch, "too_many"),
            Refused::TooMuch { .. } | Refused::Malformed { .. } => {
                (TroubleKind::Malformed, "malformed")
            }
            Refused::LeaseTaken { .. } => (TroubleKind::Away, "away"),
        };
        Trouble::new(kind, code, &refused.to_string())
    }
}
