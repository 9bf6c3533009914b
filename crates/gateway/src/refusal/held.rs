//! What is said of statements that wait for people: while they wait, when that takes too long, and
//! when the answer is no. What programs read keeps its names.

use std::borrow::Cow;
use std::time::Duration;

use access::Hold;
use policy::RuleRef;
use wire::backend::Report;

use super::{Denied, Json, seconds};
use crate::conditions::Estimate;

/// Why a statement that people have to agree to does not run now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HeldBack {
    /// Nobody has decided within the time that a client waits.
    Waiting {
        hold: String,
        rule: String,
        until: String,
    },
    /// Somebody has said no.
    Denied {
        hold: String,
        by: String,
        words: Option<String>,
    },
    /// It can't be claimed any more, and why: somebody, or time, was quicker.
    Over {
        hold: String,
        why: String,
    },
    /// It was agreed to, and the gate could not learn in which transaction it would run.
    NotSent {
        hold: String,
    },
    /// The store says no, in its own words.
    ByStore(String),
    StoreAway,
    Unrecorded,
}

impl HeldBack {
    pub(crate) fn waiting(hold: &Hold) -> HeldBack {
        HeldBack::Waiting {
            hold: hold.id.to_string(),
            rule: rules(hold),
            until: audit::time_of_millis(hold.expires_at),
        }
    }

    pub(super) fn code(&self) -> &'static str {
        match self {
            HeldBack::Waiting { .. } => "held",
            HeldBack::Denied { .. } => "hold_denied",
            HeldBack::Over { .. } | HeldBack::NotSent { .. } => "hold_over",
            HeldBack::ByStore(_) => "too_many",
            HeldBack::StoreAway => "store_away",
            HeldBack::Unrecorded => "unrecorded",
        }
    }

    pub(super) fn detail(&self, out: &mut Json) {
        out.text("code", self.code());
        match self {
            HeldBack::Waiting { hold, until, .. } => {
                out.text("hold", hold);
                out.text("until", until);
                out.flag("ask", true);
            }
            HeldBack::Denied { hold, by, words } => {
                out.text("hold", hold);
                out.text("by", by);
                if let Some(words) = words {
                    out.text("words", words);
                }
                out.flag("ask", false);
            }
            HeldBack::Over { hold, .. } | HeldBack::NotSent { hold } => {
                out.text("hold", hold);
                out.flag("ask", true);
            }
            HeldBack::ByStore(_) | HeldBack::StoreAway | HeldBack::Unrecorded => {
                out.flag("ask", false);
            }
        }
    }

    pub(super) fn words(&self) -> (&'static str, String, Option<Cow<'static, str>>) {
        let (sqlstate, message, hint): (_, _, Cow<'static, str>) = match self {
            HeldBack::Waiting { hold, rule, until } => (
                "ZP001",
                format!("This statement waits for a person to agree: hold {hold}, by {rule}."),
                format!(
                    "Repeat the same statement once somebody has run `gatepost approve {hold}`: it \
                     runs then, once. That can be until {until}."
                )
                .into(),
            ),
            HeldBack::Denied { hold, by, words } => (
                "42501",
                match words {
                    Some(words) => format!("{by} has denied this statement: {words}"),
                    None => format!("{by} has denied this statement."),
                },
                format!("It was hold {hold}. Repeating it gives the same answer for a while.")
                    .into(),
            ),
            HeldBack::Over { hold, why } => (
                "ZP003",
                format!("The approval can't be used any more: {why}."),
                format!(
                    "Repeat the statement to ask again; what became of hold {hold} is recorded."
                )
                .into(),
            ),
            HeldBack::NotSent { hold } => (
                "ZP003",
                format!("Hold {hold} was approved, and its statement could not be sent."),
                "It did not run. Repeat it to ask again.".into(),
            ),
            HeldBack::ByStore(why) => {
                ("53400", why.clone(), "Wait for what is there already, then repeat it.".into())
            }
            HeldBack::StoreAway => (
                "57P03",
                "Gatepost can't ask anybody now whether this statement may run.".into(),
                "Its store is away; its log says why. Try again in a moment.".into(),
            ),
            HeldBack::Unrecorded => (
                "58030",
                "Gatepost can't record now that this statement was asked for.".into(),
                "Its journal can't be written; its log says why.".into(),
            ),
        };
        (sqlstate, message, Some(hint))
    }
}

impl From<HeldBack> for Denied {
    fn from(why: HeldBack) -> Self {
        Denied::HeldBack(Box::new(why))
    }
}

/// Said to a client that begins to wait.
pub(crate) fn write_held(hold: &Hold, wait: Duration, out: &mut Vec<u8>) {
    let mut json = Json::new();
    json.text("code", "held");
    json.text("hold", hold.id.as_str());
    json.list("rules", hold.needed.iter().map(|needed| needed.what.as_str()));
    json.text("waits", &seconds(wait));
    json.text("until", &audit::time_of_millis(hold.expires_at));
    let needs: Vec<String> = hold
        .missing()
        .map(|(needed, still)| format!("{still} of {} (rule {})", needed.by, needed.what))
        .collect();
    Report {
        severity: "NOTICE",
        code: "ZP001",
        message: &format!("waiting for a person: hold {} needs {}", hold.id, needs.join(" and ")),
        detail: Some(&json.done()),
        position: None,
        hint: Some(&format!(
            "`gatepost approve {id}` lets it run, `gatepost deny {id}` does not. This client waits \
             for {}, the hold until {}.",
            seconds(wait),
            audit::time_of_millis(hold.expires_at),
            id = hold.id,
        )),
    }
    .write_notice(out);
}

/// What a reviewer is told of a statement besides its text and values. Its client has no hand in it:
/// names and settings decide what a text means, and the text doesn't say them.
#[derive(Debug)]
pub(crate) struct Expected {
    pub(crate) estimate: Option<Estimate>,
    pub(crate) changed: Option<u64>,
    /// The relations that it names, in full.
    pub(crate) touches: Vec<Box<str>>,
    /// What it changes without naming it.
    pub(crate) reaches: Vec<String>,
}

impl Expected {
    /// `settings` are those of the database's own that the session has.
    pub(crate) fn as_json(&self, settings: Option<&str>) -> String {
        let mut json = Json::new();
        if let Some(Estimate { rows, cost }) = self.estimate {
            json.text("rows", &rows.to_string());
            json.text("cost", &cost.to_string());
        }
        if let Some(changed) = self.changed {
            json.count("changed", changed);
        }
        if !self.touches.is_empty() {
            json.list("touches", self.touches.iter().map(|name| &**name));
        }
        if !self.reaches.is_empty() {
            json.list("reaches", self.reaches.iter().map(String::as_str));
        }
        if let Some(settings) = settings {
            json.text("settings", settings);
        }
        json.done()
    }
}

/// A rule, as a hold keeps it.
pub(crate) fn rule_as_text(rule: &RuleRef) -> String {
    rule.to_string()
}

fn rules(hold: &Hold) -> String {
    let rules: Vec<&str> = hold.needed.iter().map(|needed| needed.what.as_str()).collect();
    rules.join(" and ")
}
