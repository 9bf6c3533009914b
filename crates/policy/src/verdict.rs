//! What deciding gives: allow, hold or refuse, always with the rule that decided, and in words
//! that a person and a program can follow.

use std::sync::Arc;

use sql::catalog::RelationId;

use crate::setting;
use crate::verb::Verb;

#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It may run, once `before` is answered, and what it did may stay, once `after` is.
    Allow {
        by: RuleRef,
        before: Vec<Check>,
        after: Vec<Check>,
    },
    /// It waits for people: each of `all` has to be met. `by` is the first of them.
    Hold {
        by: RuleRef,
        all: Vec<Hold>,
        before: Vec<Check>,
        after: Vec<Check>,
    },
    Refuse(Refused),
}

/// The rule that decided.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RuleRef {
    pub policy: Arc<str>,
    /// As it is written: `read: public.*`.
    pub rule: Arc<str>,
    /// Its line in the file; 0 for what is built in.
    pub line: u32,
}

impl RuleRef {
    /// What whoever may do anything may do as well.
    pub fn built_in() -> Self {
        Self { policy: "built in".into(), rule: "".into(), line: 0 }
    }
}

/// A hold, and who can lift it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    pub rule: RuleRef,
    /// Who may agree, as [`crate::by_means`] reads it.
    pub by: Arc<str>,
    /// How many of them have to.
    pub need: u32,
    /// They may agree to the statement with other parameters, too.
    pub shape: bool,
}

/// Conditions that only the database can answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    pub rule: RuleRef,
    /// The rule applies where all of them hold.
    pub conditions: Vec<Condition>,
    pub then: Then,
    /// Who may agree, where it holds; empty where it refuses.
    pub by: Arc<str>,
    pub need: u32,
    pub shape: bool,
    /// What the rule is about, of what the statement does: counts are of these.
    pub on: Vec<(RelationId, Verb)>,
}

impl Check {
    /// What people have to agree to, where it holds.
    pub fn hold(&self) -> Option<Hold> {
        let Check { rule, by, need, shape, .. } = self;
        let hold = Hold { rule: rule.clone(), by: by.clone(), need: *need, shape: *shape };
        (self.then == Then::Hold).then_some(hold)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    Refuse,
    Hold,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Condition {
    /// Before it runs: more rows are expected.
    EstimateOver(u64),
    /// Before it runs: the planner's cost is higher.
    CostOver(f64),
    /// After it ran: it changed more rows.
    ChangedOver(u64),
    /// After it ran: it changed two rows or more, and left none alone.
    EveryRow,
}

/// Why a statement may not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub code: Code,
    /// One plain sentence.
    pub sentence: String,
    /// The rule that refused, if it was one.
    pub rule: Option<RuleRef>,
    /// What nothing in force gives.
    pub missing: Vec<Missing>,
    /// The relation that it is about, or the first of them.
    pub about: Option<RelationId>,
    /// What to ask for, so that it may run: policies, those that are open already among them.
    pub ask: Vec<Arc<str>>,
}

/// A part of the statement that may not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// A verb, or the name of a command.
    pub verb: String,
    /// `public.customers(ssn)`; empty where there is none.
    pub object: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// No policy in force names it.
    NotAllowed,
    /// A rule refuses it.
    Refused,
    /// The text has no facts.
    NotUnderstood,
    /// A setting that has one value here.
    Pinned,
    /// The policies allow it, and the scope that was asked for leaves it out.
    OutOfScope,
    /// It would show what a mask or a row filter hides, or could.
    Hidden,
}

impl Refused {
    /// As the scope that was asked for says it, which names no policies.
    pub(crate) fn out_of_scope(self) -> Self {
        let list = self.missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        Self {
            code: Code::OutOfScope,
            sentence: match &*list {
                "" => self.sentence,
                list => format!("The scope that this grant was asked with leaves out {list}."),
            },
            rule: None,
            missing: self.missing,
            about: self.about,
            ask: Vec::new(),
        }
    }
}

impl Missing {
    /// Whether `rule` gives it although it is pinned.
    pub fn is_given_by_name(&self) -> bool {
        self.verb != Verb::Set.name() || setting::can_be_named(&self.object)
    }

    /// The line under `allow` that would give it.
    pub fn rule(&self) -> String {
        // What stands behind in words is for people.
        let plain = |text: &str| text.split(" (").next().unwrap_or_default().to_owned();
        let verb = if self.verb.starts_with("update or delete") { "update" } else { &self.verb };
        let object = plain(&self.object);
        match &*object {
            "" => format!("- {verb}"),
            object if object.starts_with('"') => {
                format!("- {verb}: '{}'", object.replace('\'', "''"))
            }
            object => format!("- {verb}: {object}"),
        }
    }
}

impl Code {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotAllowed => "not_allowed",
            Self::Refused => "refused",
            Self::NotUnderstood => "not_understood",
            Self::Pinned => "pinned_setting",
            Self::OutOfScope => "out_of_scope",
            Self::Hidden => "hidden",
        }
    }
}

impl std::fmt::Display for RuleRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.line == 0 {
            return f.write_str("built in");
        }
        write!(f, "`{}` of policy `{}` (line {})", self.rule, self.policy, self.line)
    }
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &*self.object {
            "" => f.write_str(&self.verb),
            object => write!(f, "{} {object}", self.verb),
        }
    }
}
