//! Policies: from the facts of a statement to a verdict. Pure and total: no file, socket or clock;
//! the same statement, identity, policies and catalog always get the same verdict, and a doubt
//! refuses.
//!
//! [`Policies`] are made once per file. [`Policies::open`] says what is in force for who connects
//! ([`InForce`]), [`InForce::scope`] what that comes to under one snapshot of the catalog
//! ([`Scope`]), and [`Scope::decide`] judges one statement by its facts. What facts can't say is for
//! whoever asks: what an EXECUTE or FETCH runs was judged when it was prepared or declared.

pub mod written;

mod builtin;
mod decide;
mod disguise;
mod limits;
mod lint;
mod mask;
mod narrow;
mod object;
mod offer;
mod policies;
mod review;
mod rule;
mod scope;
mod setting;
mod unmasked;
mod verb;
mod verdict;
mod who;

pub use limits::{LIMITS, Limit, Limits, Per, PerLimit};
pub use lint::Lint;
pub use narrow::{Narrow, Narrowed};
pub use offer::{Approval, NotOffered, Offer, Wanted};
pub use policies::{InForce, InForceId, Opened, Policies};
pub use review::{About, Given, Remark};
pub use rule::Context;
pub use scope::Scope;
pub use verb::Verb;
pub use verdict::{Check, Code, Condition, Hold, Missing, Refused, RuleRef, Then, Verdict};
pub use who::{Known, Subject, by_means, is_by, is_for_everybody};
pub use written::{Place, Problem};
