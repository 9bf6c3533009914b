//! From what the policies and the parser say of a statement to what it stands under, or why it may not
//! run.

use std::rc::Rc;

use policy::{RuleRef, Scope, Then, Verdict};
use sql::catalog::Catalog;
use sql::facts::{Facts, Kind, NotUnderstood};
use sql::parse::NotParsed;

use super::Stop;
use crate::conditions::Conditions;
use crate::gate::held::Held;
use crate::gate::needs::Unmet;
use crate::gate::understanding::{StandsOn, Understood};
use crate::refusal::{Denied, Refusal};

/// Where the text names what may not be.
pub(super) fn place_of(denied: &Denied, facts: &Facts) -> Option<usize> {
    let Denied::ByPolicy(refused) = denied else { return None };
    let about = refused.about?;
    let mut uses = facts.relations.iter();
    let found = uses.find(|used| used.relation == Some(about) && !used.place.is_empty());
    found.map(|used| used.place.start)
}

fn allowed(verdict: Verdict) -> Result<Option<RuleRef>, Denied> {
    match verdict {
        Verdict::Allow { by, before, after } => match before.into_iter().chain(after).next() {
            None => Ok(Some(by)),
            Some(check) => Err(Denied::NotBuilt(check.rule)),
        },
        Verdict::Hold { by, .. } => {
            let why = "nobody could be shown what it is; send it as a statement of its own";
            Err(Denied::CannotHold { rule: by, why })
        }
        Verdict::Refuse(refused) => Err(Denied::ByPolicy(Box::new(refused))),
    }
}

/// The rule that lets a statement run, what the database has to say first, and why people have.
type Ruled = (Option<RuleRef>, Option<Rc<Conditions>>, Option<Rc<Held>>);

/// The verdict on a statement whose conditions can be asked.
pub(super) fn conditional(
    verdict: Verdict,
    facts: &Facts,
    catalog: &Catalog,
) -> Result<Ruled, Denied> {
    let (by, before, after, held) = match verdict {
        Verdict::Allow { by, before, after } => {
            let holds = before.iter().chain(&after).any(|check| check.then == Then::Hold);
            let held = holds.then(|| Rc::new(Held::new(Vec::new(), facts, catalog)));
            (by, before, after, held)
        }
        Verdict::Hold { by, all, before, after } => {
            (by, before, after, Some(Rc::new(Held::new(all, facts, catalog))))
        }
        Verdict::Refuse(_) => return Ok((allowed(verdict)?, None, None)),
    };
    let runs = facts.kind != (Kind::Explain { analyze: false });
    let (before, after) = if runs { (before, after) } else { (Vec::new(), Vec::new()) };
    let Some(rule) = before.iter().chain(&after).next().map(|check| check.rule.clone()) else {
        return Ok((Some(by), None, held));
    };
    if let Some(check) = after.first() {
        let empties = facts.relations.iter().any(|used| used.truncate);
        if empties || facts.outside_transaction {
            return Err(Denied::uncountable(check));
        }
    }
    match Conditions::new(rule.clone(), before, after, catalog) {
        Ok(conditions) => Ok((Some(by), Some(Rc::new(conditions)), held)),
        Err(_) => Err(Denied::Condition {
            rule,
            sentence: "What this statement changes can't be counted: it is in a table of another \
                       server."
                .to_owned(),
        }),
    }
}

/// Why it may not run, if so.
pub(in crate::gate) fn refusal_of(verdict: Verdict) -> Option<Refusal> {
    allowed(verdict).err().map(Refusal::from)
}

pub(super) fn unread(stands_on: StandsOn, verdict: Verdict) -> Understood {
    match allowed(verdict) {
        Err(denied) => Understood::refused(stands_on, denied.into()),
        // Whoever grants everything is not asked.
        Ok(_) => Understood::refused(stands_on, Denied::Unmet(Unmet::Unreadable).into()),
    }
}

/// In PostgreSQL's own words, for that is what the server would say.
pub(super) fn not_parsed(why: &NotParsed, scope: &Scope) -> Stop {
    let why = match why {
        NotParsed::Syntax(message) => return Denied::Syntax(message.clone()).into(),
        NotParsed::Unlexed => {
            return Denied::Syntax("unterminated quoted string or comment".to_owned()).into();
        }
        NotParsed::TooLong => "it is too long",
        NotParsed::TooManyStatements => "it has too many statements",
        NotParsed::CommentsTooDeep => "its comments are nested too deep",
        NotParsed::OperatorTooLong => "it has an operator that is longer than any",
        NotParsed::Nul => "it has a zero byte",
    };
    unread_denied(scope, why).into()
}

pub(super) fn not_understood(why: &NotUnderstood, scope: &Scope) -> Denied {
    match why {
        NotUnderstood::NoSuchRelation(name) => Denied::NoSuchRelation(name.clone()),
        NotUnderstood::NoSuchColumn(name) => Denied::NoSuchColumn(name.clone()),
        NotUnderstood::NoSuchFunction(name) => Denied::NoSuchFunction(name.clone()),
        NotUnderstood::NoSuchSchema(name) => Denied::NoSuchSchema(name.clone()),
        NotUnderstood::NoSuchType(name) => Denied::NoSuchType(name.clone()),
        NotUnderstood::OtherDatabase(name) => Denied::OtherDatabase(name.clone()),
        NotUnderstood::Construct(what) => {
            unread_denied(scope, &format!("it has a construct that Gatepost does not know: {what}"))
        }
        NotUnderstood::Unvisited => unread_denied(scope, "part of it was not understood"),
        NotUnderstood::TooManyNodes => unread_denied(scope, "it is too large"),
    }
}

fn unread_denied(scope: &Scope, why: &str) -> Denied {
    match allowed(scope.decide_unread(why)) {
        Err(denied) => denied,
        Ok(_) => Denied::Unmet(Unmet::Unreadable),
    }
}
