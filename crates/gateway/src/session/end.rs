//! Why a session ended, and what its client is told of that.

use std::fmt;
use std::io;
use std::time::Duration;

use identity::Identity;
use wire::exchange::Unexpected;
use wire::frame::FrameError;

use crate::gate::Failure;
use crate::grants::Over;
use crate::refusal::Refusal;

/// Why a session ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The client said so, and the server has closed after its last reply.
    Terminated,
    ClientGone(Option<io::Error>),
    ServerGone(Option<io::Error>),
    ClientBroke(FrameError),
    ServerBroke(FrameError),
    /// A reply that answers no message: we lost the account.
    AccountLost(Unexpected),
    /// A reply named a masked column as it is stored.
    Unmasked,
    /// An outcome that had to be durable before its reply is out could not be recorded.
    Unrecorded(audit::Unrecorded),
    /// A question of the gate's own had no answer.
    Unanswered(Failure),
    /// Nothing is open for it any more.
    Closed(Refusal),
    /// Its grant is.
    Over(Over),
    /// The token that opened it is over.
    TokenOver,
    IdleInTransaction(policy::Limit<Duration>),
    Killed(Identity),
    Ordered,
    Idle(Duration),
}
impl End {
    pub(crate) fn is_fault(&self) -> bool {
        matches!(self, End::AccountLost(_) | End::Unanswered(_) | End::Unmasked)
    }

    /// Whether somebody is there to be told.
    pub(super) fn has_words(&self) -> bool {
        !matches!(self, End::Terminated | End::ClientGone(_) | End::ServerGone(_))
    }

    /// What the client is told. Where a peer has gone, nobody is there to tell.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        match self {
            End::Terminated | End::ClientGone(_) | End::ServerGone(_) => None,
            End::ClientBroke(_) => Some(Refusal::MessageLength),
            End::ServerBroke(_) | End::AccountLost(_) => Some(Refusal::AccountLost),
            End::Unmasked => Some(Refusal::Unmasked),
            End::Unrecorded(_) => Some(Refusal::OutcomeUnrecorded),
            End::Unanswered(_) => Some(Refusal::QuestionFailed),
            End::Closed(refusal) => Some(refusal.clone()),
            End::Over(over) => Some(over.clone().into()),
            End::TokenOver => Some(Refusal::TokenOver),
            End::IdleInTransaction(limit) => Some(Refusal::IdleInTransaction(limit.clone())),
            End::Killed(by) => Some(Refusal::Killed { by: by.to_string() }),
            End::Ordered => Some(Refusal::Stopping),
            End::Idle(time) => Some(Refusal::IdleTimeout { seconds: time.as_secs() }),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Terminated => f.write_str("the client terminated it"),
            End::ClientGone(None) => f.write_str("the client went without a word"),
            End::ClientGone(Some(error)) => write!(f, "the client's connection broke: {error}"),
            End::ServerGone(None) => f.write_str("the server closed it"),
            End::ServerGone(Some(error)) => write!(f, "the server's connection broke: {error}"),
            End::ClientBroke(error) => write!(f, "the client broke the protocol: {error}"),
            End::ServerBroke(error) => write!(f, "the server broke the protocol: {error}"),
            End::Unmasked => f.write_str("a reply named a masked column as it is stored"),
            End::AccountLost(unexpected) => write!(f, "the account was lost: {unexpected}"),
            End::Unrecorded(error) => write!(f, "an outcome could not be recorded: {error}"),
            End::Unanswered(failure) => write!(f, "the gate got no answer: {failure}"),
            End::Closed(refusal) => f.write_str(&refusal.words().message),
            End::Over(over) => f.write_str(over.reason()),
            End::TokenOver => f.write_str("the token that opened it is over"),
            End::IdleInTransaction(limit) => {
                write!(f, "a transaction was open and idle for {:?}", limit.value)
            }
            End::Killed(by) => write!(f, "{by} has killed it"),
            End::Ordered => f.write_str("it was told to end"),
            End::Idle(time) => write!(f, "no statement for {} s", time.as_secs()),
        }
    }
}
