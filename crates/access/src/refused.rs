//! Why something that was asked of a request, a grant or a hold is not done. These are answers,
//! not faults: the store works, and said no. Nothing was changed.

use thiserror::Error;

use crate::bounds::{
    GRANTS_PER_HOUR_MAX, HOLDS_PENDING_MAX, HOLDS_PER_GRANT_MAX, LOGINS_PER_HOUR_MAX,
    REQUESTS_PENDING_MAX, REQUESTS_PER_HOUR_MAX, SHAPE_USES_MAX,
};

#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Refused {
    #[error("there is no {what} `{id}`")]
    NoSuch { what: &'static str, id: String },
    /// Somebody, or time, was quicker.
    #[error("{what} `{id}` {state}")]
    Over { what: &'static str, id: String, state: &'static str },
    #[error("nobody approves or denies what they, or who acts for them, asked for")]
    OwnRequest,
    #[error("this is not yours to decide")]
    NotAsked,
    #[error("you have approved this already")]
    AlreadyVoted,
    #[error("what you may approve of this is approved already")]
    NothingLeft,
    #[error("this is not yours")]
    NotYours,
    #[error("the grant `{grant}` has ended")]
    GrantEnded { grant: String },
    #[error("this statement may be approved as it stands, not for other parameters")]
    NoShape,
    #[error("an approval for other parameters has from 1 to {SHAPE_USES_MAX} uses, and an end")]
    ShapeBounds,
    #[error("no approval for other parameters is left")]
    ShapeSpent,
    /// The text, the values or what they mean is not what was approved.
    #[error("what was approved is another statement")]
    OtherStatement,
    #[error("`{of}` already has {REQUESTS_PENDING_MAX} requests that wait for a person")]
    TooManyRequests { of: String },
    #[error("`{of}` made {REQUESTS_PER_HOUR_MAX} requests within the last hour")]
    TooOften { of: String },
    #[error("`{of}` logged in {LOGINS_PER_HOUR_MAX} times within the last hour")]
    TooManyLogins { of: String },
    #[error("`{of}` opened {GRANTS_PER_HOUR_MAX} grants within the last hour")]
    TooManyGrants { of: String },
    #[error(
        "the grant `{grant}` already has {HOLDS_PENDING_MAX} statements that wait for a person"
    )]
    TooManyHolds { grant: String },
    #[error("the grant `{grant}` already had {HOLDS_PER_GRANT_MAX} statements held")]
    HoldsSpent { grant: String },
    #[error("{what} has {is}, where {max} is the most")]
    TooMuch { what: &'static str, is: usize, max: usize },
    #[error("{what}: {why}")]
    Malformed { what: &'static str, why: &'static str },
    /// The node's lease was taken, or another process of the same name is running.
    #[error("the lease of node `{node}` is another's")]
    LeaseTaken { node: String },
}
