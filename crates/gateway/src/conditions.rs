//! Conditions that only the database can answer, put into questions: what the planner expects of a
//! statement before it runs, and what it has changed before anything can commit. When they are
//! asked, and what happens to the statement, is the gate's business; nothing here knows a socket.

mod estimate;
mod guard;

use policy::{Check, RuleRef};
use sql::catalog::Catalog;

use crate::refusal::Denied;

pub(crate) use self::estimate::Estimate;
pub(crate) use self::guard::{Guard, Uncountable, Verdict};

/// The conditions that one statement stands under.
#[derive(Debug)]
pub(crate) struct Conditions {
    /// One of the rules that they are of.
    pub(crate) rule: RuleRef,
    pub(crate) before: Vec<Check>,
    pub(crate) after: Vec<Check>,
    /// What counts for `after`; `None` where there is nothing to count.
    pub(crate) guard: Option<Guard>,
}

impl Conditions {
    pub(crate) fn new(
        rule: RuleRef,
        before: Vec<Check>,
        after: Vec<Check>,
        catalog: &Catalog,
    ) -> Result<Conditions, Uncountable> {
        let guard = match after.as_slice() {
            [] => None,
            after => Some(Guard::new(after, catalog)?),
        };
        Ok(Conditions { rule, before, after, guard })
    }

    /// They can't all be asked at once.
    pub(crate) fn unanswered(&self) -> Denied {
        Denied::NotBuilt(self.rule.clone())
    }

    pub(crate) fn bytes(&self) -> usize {
        (self.before.len() + self.after.len()) * size_of::<Check>()
            + self.guard.as_ref().map_or(0, Guard::bytes)
    }
}
