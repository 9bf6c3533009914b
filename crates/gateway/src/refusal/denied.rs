//! Why a statement is not sent as it is: by a policy, because people have to agree, or because nobody
//! can say what it means. SQLSTATEs as in the table above; what programs read keeps its names.

use std::borrow::Cow;

use policy::{Check, Refused, RuleRef, Then};

use super::{HeldBack, Json, Refusal, barred};
use crate::gate::Unmet;

/// Why a statement is not sent as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Denied {
    ByPolicy(Box<Refused>),
    /// A person would have to agree, and does not or has not.
    HeldBack(Box<HeldBack>),
    /// A person would have to agree, and nobody can be asked, because of this.
    CannotHold {
        rule: RuleRef,
        why: &'static str,
    },
    /// A person would have to agree, and others would wait for what is locked meanwhile.
    HeldInTransaction(RuleRef),
    /// What was agreed to is another thing than what would run now.
    HoldMoved(String),
    /// It was bound when nobody had to agree to it.
    HeldSinceBound(RuleRef),
    /// The rule has a condition that is not built yet.
    NotBuilt(RuleRef),
    /// The rule's condition holds, or nobody can say that it doesn't.
    Condition {
        rule: RuleRef,
        sentence: String,
    },
    /// A statement under such a condition stands with others in one string.
    AloneUnderCondition(RuleRef),
    /// What the grammar says.
    Syntax(String),
    NoSuchRelation(String),
    NoSuchColumn(String),
    NoSuchFunction(String),
    NoSuchSchema(String),
    NoSuchType(String),
    OtherDatabase(String),
    NoSuchStatement(String),
    NoSuchCursor(String),
    NoSuchPortal(String),
    /// What the server keeps of a prepared statement means another thing now.
    PlanChanged,
    /// The value of this parameter looks as the mask of the column makes it.
    WritesMask(u32),
    /// A portal was opened under other policies.
    PortalJudgedBefore,
    /// What stands before it in the same string changes what it means.
    Alone,
    /// Relations of the gateway's own beside names that have to be rewritten.
    ShownBesideOthers,
    /// A name has two meanings, and the text can't be made to say which.
    TwoMeanings,
    /// EXECUTE of EXECUTE of EXECUTE…
    TooDeep,
    /// A message that is not what its tag says, or longer than is looked at.
    Unreadable,
    /// A start-up packet's `options` that are more than settings.
    Options,
    Unmet(Unmet),
}

impl Denied {
    /// A condition of this rule's that nobody can answer.
    pub(crate) fn uncountable(check: &Check) -> Denied {
        let sentence = "What this statement changes can't be counted, or it empties a table.";
        Denied::condition(check, sentence.to_owned())
    }

    /// All conditions of the rule hold.
    pub(crate) fn condition(check: &Check, sentence: String) -> Denied {
        match check.then {
            Then::Hold => Denied::CannotHold {
                rule: check.rule.clone(),
                why: "what it changes can't be tried before, inside a transaction that has begun or \
                      by a COPY, and is undone; send it by itself, outside of BEGIN",
            },
            Then::Refuse => Denied::Condition { rule: check.rule.clone(), sentence },
        }
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        Refusal::Denied(Box::new(denied))
    }
}

impl Denied {
    pub(super) fn rule(&self) -> Option<&RuleRef> {
        match self {
            Denied::ByPolicy(refused) => refused.rule.as_ref(),
            Denied::CannotHold { rule, .. }
            | Denied::HeldInTransaction(rule)
            | Denied::HeldSinceBound(rule)
            | Denied::NotBuilt(rule)
            | Denied::AloneUnderCondition(rule)
            | Denied::Condition { rule, .. } => Some(rule),
            _ => None,
        }
    }

    /// A name for programs. These stay.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Denied::ByPolicy(refused) => refused.code.as_str(),
            Denied::HeldBack(why) => why.code(),
            Denied::CannotHold { .. } => "cannot_hold",
            Denied::HeldInTransaction(_) => "held_in_transaction",
            Denied::HoldMoved(_) => "hold_moved",
            Denied::HeldSinceBound(_) => "policies_changed",
            Denied::NotBuilt(_) => "not_built",
            Denied::Condition { .. } => "condition",
            Denied::AloneUnderCondition(_) => "send_it_alone",
            Denied::Syntax(_)
            | Denied::NoSuchRelation(_)
            | Denied::NoSuchColumn(_)
            | Denied::NoSuchFunction(_)
            | Denied::NoSuchSchema(_)
            | Denied::NoSuchType(_)
            | Denied::OtherDatabase(_) => "not_understood",
            Denied::NoSuchStatement(_) | Denied::NoSuchCursor(_) | Denied::NoSuchPortal(_) => {
                "unknown_name"
            }
            Denied::PlanChanged => "plan_changed",
            Denied::WritesMask(_) => "hidden",
            Denied::PortalJudgedBefore => "policies_changed",
            Denied::Alone | Denied::ShownBesideOthers => "send_it_alone",
            Denied::TwoMeanings | Denied::TooDeep | Denied::Unreadable | Denied::Options => {
                "not_understood"
            }
            Denied::Unmet(unmet) => match unmet {
                Unmet::Deaf => "server_not_listening",
                Unmet::Aborted => "transaction_aborted",
                Unmet::Cancelled { .. } => "cancelled",
                Unmet::Unreadable => "not_understood",
                Unmet::NoCatalog => "no_catalog",
                Unmet::Unread => "unread",
                Unmet::Path => "path_hides_system",
                Unmet::Unshown => "store_away",
            },
        }
    }

    pub(super) fn detail(&self, out: &mut Json) {
        if let Denied::HeldBack(why) = self {
            return why.detail(out);
        }
        out.text("code", self.code());
        if let Some(rule) = self.rule() {
            out.rule(rule);
        }
        let (missing, ask) = match self {
            Denied::ByPolicy(refused) => (refused.missing.as_slice(), refused.ask.as_slice()),
            _ => (&[][..], &[][..]),
        };
        let missing: Vec<String> = missing.iter().map(ToString::to_string).collect();
        out.list("missing", missing.iter().map(String::as_str));
        if ask.is_empty() {
            out.flag("ask", false);
        } else {
            out.list("policies", ask.iter().map(|name| &**name));
            barred::ask_for(out, ask);
        }
    }

    pub(super) fn words(&self) -> (&'static str, String, Option<Cow<'static, str>>) {
        let plain = |sqlstate, message: &str, hint: &'static str| {
            (sqlstate, message.to_owned(), Some(Cow::Borrowed(hint)))
        };
        match self {
            Denied::ByPolicy(refused) => {
                let is_ours = |missing: &policy::Missing| {
                    missing.verb == "set" && missing.object.starts_with("gatepost.")
                };
                let hint = match refused.ask.as_slice() {
                    [] if refused.missing.iter().any(is_ours) => {
                        "A grant is asked for by connecting, \
                         as in options='-c gatepost.reason=…'; this session has its own already."
                            .to_owned()
                    }
                    [] if refused.code == policy::Code::OutOfScope => "Connect with a wider \
                         gatepost.scope, or without one, to ask for it."
                        .to_owned(),
                    [] => not_repeated(refused),
                    ask => format!(
                        "It would pass under these policies: {}. Connect with options='{}' to ask.",
                        ask.join(", "),
                        barred::option(ask.iter().map(|name| &**name))
                    ),
                };
                ("42501", refused.sentence.clone(), Some(hint.into()))
            }
            Denied::HeldBack(why) => why.words(),
            Denied::CannotHold { rule, why } => (
                "0A000",
                format!("A person has to agree to this statement, by {rule}, and can't: {why}."),
                None,
            ),
            Denied::HeldInTransaction(rule) => (
                "ZP004",
                format!(
                    "A person has to agree to this statement, by {rule}, and nobody is asked inside \
                     a transaction that has begun."
                ),
                Some(
                    "Send it by itself: outside of BEGIN, with autocommit, and first in its \
                     pipeline."
                        .into(),
                ),
            ),
            Denied::HoldMoved(hold) => (
                "ZP003",
                format!("What was agreed to as hold {hold} is not what would run now."),
                Some("It did not run. Repeat it to ask again.".into()),
            ),
            Denied::HeldSinceBound(rule) => (
                "ZP003",
                format!("A person has to agree to this statement now, by {rule}."),
                Some("Bind it again to ask.".into()),
            ),
            Denied::NotBuilt(rule) => (
                "0A000",
                format!(
                    "This statement stands under a condition that is not built yet, of {rule}."
                ),
                None,
            ),
            Denied::Syntax(message) => ("42601", message.clone(), None),
            Denied::NoSuchRelation(name) => {
                ("42P01", format!("relation \"{name}\" does not exist"), None)
            }
            // With its relation before it PostgreSQL leaves the quotes out.
            Denied::NoSuchColumn(name) if name.contains('.') => {
                ("42703", format!("column {name} does not exist"), None)
            }
            Denied::NoSuchColumn(name) => {
                ("42703", format!("column \"{name}\" does not exist"), None)
            }
            Denied::NoSuchFunction(name) => {
                ("42883", format!("function {name} does not exist"), None)
            }
            Denied::NoSuchSchema(name) => {
                ("3F000", format!("schema \"{name}\" does not exist"), None)
            }
            Denied::NoSuchType(name) => ("42704", format!("type \"{name}\" does not exist"), None),
            Denied::OtherDatabase(name) => {
                ("0A000", format!("cross-database references are not implemented: {name}"), None)
            }
            Denied::NoSuchStatement(name) if name.is_empty() => {
                ("26000", "unnamed prepared statement does not exist".into(), None)
            }
            Denied::NoSuchStatement(name) => (
                "26000",
                format!("prepared statement \"{name}\" does not exist"),
                Some("Gatepost runs what it has seen being prepared. Prepare it again.".into()),
            ),
            Denied::NoSuchCursor(name) => (
                "34000",
                format!("cursor \"{name}\" does not exist"),
                Some("Gatepost fetches from cursors that it has seen being opened.".into()),
            ),
            Denied::NoSuchPortal(name) => {
                ("34000", format!("portal \"{name}\" does not exist"), None)
            }
            Denied::PlanChanged => plain(
                "0A000",
                "cached plan must not change result type",
                "What its names mean has changed since it was prepared. Prepare it again.",
            ),
            Denied::WritesMask(number) => (
                "42501",
                format!(
                    "The value of ${number} looks as the mask of its column makes it, and would be \
                     stored over the value that is there."
                ),
                Some("Leave the column out, or give it a value of its own.".into()),
            ),
            Denied::PortalJudgedBefore => plain(
                "42501",
                "The policies have changed since this portal was opened.",
                "Open it again.",
            ),
            Denied::Condition { rule, sentence } => (
                "42501",
                format!("{sentence} Refused by {rule}."),
                Some("Whatever it had changed is undone. Ask for less at once.".into()),
            ),
            Denied::AloneUnderCondition(rule) => (
                "0A000",
                format!(
                    "This statement stands under a condition of {rule}, and not alone in its string."
                ),
                Some("Send it by itself.".into()),
            ),
            Denied::Alone => plain(
                "0A000",
                "What stands before this statement in the same string may change what it means.",
                "Send it by itself.",
            ),
            Denied::ShownBesideOthers => plain(
                "0A000",
                "gatepost.me and its like are read by themselves.",
                "Read them in a statement of their own.",
            ),
            Denied::TwoMeanings => plain(
                "0A000",
                "A name in this statement could mean two things.",
                "Write it with its schema, or use client_encoding UTF8.",
            ),
            Denied::TooDeep => plain(
                "54001",
                "An EXECUTE runs an EXECUTE, and so on for too long.",
                "Execute the statement itself.",
            ),
            Denied::Unreadable => plain(
                "42501",
                "This message can't be read, or is too long to be judged.",
                "Send a shorter one.",
            ),
            Denied::Options => plain(
                "42501",
                "The startup parameter `options` holds more than settings.",
                "Write it as `-c name=value`.",
            ),
            Denied::Unmet(unmet) => unmet.words(),
        }
    }
}

impl Unmet {
    pub(super) fn words(&self) -> (&'static str, String, Option<Cow<'static, str>>) {
        let plain = |sqlstate, message: &str, hint: &'static str| {
            (sqlstate, message.to_owned(), Some(Cow::Borrowed(hint)))
        };
        match self {
            Unmet::Deaf => plain(
                "55000",
                "The server does not answer now, so what this statement means can't be asked.",
                "End the COPY, or send Sync, before the next statement.",
            ),
            Unmet::Aborted => (
                "25P02",
                "current transaction is aborted, commands ignored until end of transaction block"
                    .into(),
                None,
            ),
            Unmet::Cancelled { message } => ("57014", message.clone(), None),
            Unmet::Unreadable => plain(
                "42501",
                "Names of this session can't be read in its encoding.",
                "Use client_encoding UTF8.",
            ),
            Unmet::NoCatalog => plain(
                "58000",
                "Gatepost can't read now what the database holds, so it can't judge statements",
                "Its log says why. Try again later.",
            ),
            Unmet::Unread => {
                plain("58000", "The text could not be read to its end.", "Send it in pieces.")
            }
            Unmet::Unshown => plain(
                "58030",
                "Gatepost can't read now what it has of you.",
                "Its store of grants is away; its log says why. Try again in a moment.",
            ),
            Unmet::Path => plain(
                "42501",
                "The search_path puts other schemas before pg_catalog.",
                "Set search_path without pg_catalog: it comes first then.",
            ),
        }
    }
}

/// The step to take where nobody can be asked: the lines that would allow it.
fn not_repeated(refused: &policy::Refused) -> String {
    const LINES_MAX: usize = 5;
    let lines: Vec<String> = refused.missing.iter().map(policy::Missing::rule).collect();
    let is_short = (1..=LINES_MAX).contains(&lines.len());
    let lines_do = match refused.code {
        policy::Code::NotAllowed => true,
        policy::Code::Pinned => refused.missing.iter().all(policy::Missing::is_given_by_name),
        _ => false,
    };
    match lines_do && is_short {
        true => format!(
            "Whoever keeps Gatepost's policies can allow it: `{}`. Repeating it will not help.",
            lines.join("`, `")
        ),
        false => {
            "Whoever keeps Gatepost's policies can allow it; repeating it will not help.".to_owned()
        }
    }
}
