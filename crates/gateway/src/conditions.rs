//! Conditions that only the database can answer, put into questions: what the planner expects of a
//! statement before it runs, and what it has changed before anything can commit. When they are
//! asked, and what happens to the statement, is the gate's business; nothing here knows a socket.

mod estimate;
mod guard;

use policy::{Check, Condition, Hold, RuleRef, Then};
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
    /// The same of those alone that people can agree to.
    pub(crate) trial: Option<Guard>,
}

impl Conditions {
    pub(crate) fn new(
        rule: RuleRef,
        before: Vec<Check>,
        after: Vec<Check>,
        catalog: &Catalog,
    ) -> Result<Conditions, Uncountable> {
        let guard = |checks: &[Check]| match checks {
            [] => Ok(None),
            checks => Guard::new(checks, catalog).map(Some),
        };
        let holding: Vec<Check> =
            after.iter().filter(|check| check.then == Then::Hold).cloned().collect();
        let (guard, trial) = (guard(&after)?, guard(&holding)?);
        Ok(Conditions { rule, before, after, guard, trial })
    }

    /// What people have to agree to where the trial has counted too much. It says so of one rule and
    /// not of the others, so it is all of them.
    pub(crate) fn tried(&self) -> impl Iterator<Item = Hold> {
        self.after.iter().filter_map(Check::hold)
    }

    /// The conditions that are left where people have agreed to so many changes.
    pub(crate) fn agreed(&self, most: u64, catalog: &Catalog) -> Result<Conditions, Uncountable> {
        let mut after: Vec<Check> =
            self.after.iter().filter(|check| check.then == Then::Refuse).cloned().collect();
        if let Some(held) = self.after.iter().find(|check| check.then == Then::Hold) {
            let conditions = vec![Condition::ChangedOver(most)];
            after.push(Check { conditions, then: Then::Refuse, ..held.clone() });
        }
        Conditions::new(self.rule.clone(), self.before.clone(), after, catalog)
    }

    /// They can't all be asked at once.
    pub(crate) fn unanswered(&self) -> Denied {
        Denied::NotBuilt(self.rule.clone())
    }

    pub(crate) fn bytes(&self) -> usize {
        (self.before.len() + self.after.len()) * size_of::<Check>()
            + self.guard.as_ref().map_or(0, Guard::bytes)
            + self.trial.as_ref().map_or(0, Guard::bytes)
    }
}
