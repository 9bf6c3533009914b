//! Why a connection is not let in, and why a grant lets nothing pass any more: what is missing, who
//! could give it, and the call that asks for it. SQLSTATEs as in the table above; what programs read
//! keeps its names.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use access::{Grant, Request};
use policy::Narrowed;
use wire::backend::Report;

use super::{Json, Refusal, seconds};
use crate::desk::TroubleKind;
use crate::grants::Over;

/// Why nobody comes in, or goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Barred {
    /// No policy opens anything for this identity here.
    Closed {
        connection: String,
    },
    /// These policies can't be asked for; those can.
    Unknown {
        connection: String,
        names: Vec<String>,
        offered: Vec<Arc<str>>,
    },
    /// The policy opens to nobody who doesn't say why.
    NoReason {
        policy: Arc<str>,
    },
    /// What was asked can't be read.
    Malformed(String),
    /// Nobody has decided yet.
    Waiting(Box<Request>),
    Denied {
        id: String,
        by: String,
        words: Option<String>,
    },
    RequestOver {
        id: String,
        state: &'static str,
    },
    /// The store says no, in its own words.
    ByStore(String),
    /// What it holds can't be read now.
    StoreAway,
    /// None of the grant's policies is in force any more.
    NotInForce {
        policies: Vec<String>,
    },
    /// The session has set this while it might, and under the policies as they are now it might not.
    SettingStays {
        name: String,
    },
    /// The credential is for a grant that is not this identity's, or of another connection.
    OtherGrant,
    /// There are policies now, and the session began when there were none.
    NoGrant,
    Over(Over),
}

impl From<Barred> for Refusal {
    fn from(barred: Barred) -> Self {
        Refusal::Barred(Box::new(barred))
    }
}

impl From<Barred> for crate::arrival::Departure {
    fn from(barred: Barred) -> Self {
        Refusal::from(barred).into()
    }
}

impl Barred {
    /// A name for programs. These stay.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Barred::Closed { .. } => "nothing_open",
            Barred::Unknown { .. } => "unknown_policy",
            Barred::NoReason { .. } => "reason_required",
            Barred::Malformed(_) => "malformed_request",
            Barred::Waiting(_) => "pending",
            Barred::Denied { .. } => "denied",
            Barred::RequestOver { .. } => "request_over",
            Barred::ByStore(_) => "too_many",
            Barred::StoreAway => "store_away",
            Barred::NotInForce { .. } => "not_in_force",
            Barred::SettingStays { .. } => "setting_not_in_force",
            Barred::OtherGrant => "other_grant",
            Barred::NoGrant => "no_grant",
            Barred::Over(Over::Expired) => "window_over",
            Barred::Over(Over::Revoked { .. }) => "revoked",
            Barred::Over(Over::Released) => "released",
            Barred::Over(Over::Lost) => "store_away",
        }
    }

    /// As it counts where it isn't a connection that is refused.
    pub(crate) fn kind(&self) -> TroubleKind {
        match self {
            Barred::Closed { .. } | Barred::Denied { .. } | Barred::OtherGrant => {
                TroubleKind::NotYours
            }
            Barred::Unknown { .. } | Barred::NoReason { .. } | Barred::Malformed(_) => {
                TroubleKind::Malformed
            }
            Barred::ByStore(_) => TroubleKind::TooMuch,
            Barred::StoreAway => TroubleKind::Away,
            Barred::Waiting(_)
            | Barred::RequestOver { .. }
            | Barred::NotInForce { .. }
            | Barred::SettingStays { .. }
            | Barred::NoGrant
            | Barred::Over(_) => TroubleKind::Conflict,
        }
    }

    pub(super) fn detail(&self, out: &mut Json) {
        out.text("code", self.code());
        match self {
            Barred::Closed { .. } => {
                out.flag("ask", false);
                out.list("policies", std::iter::empty());
            }
            Barred::Unknown { names, offered, .. } => {
                out.list("unknown", names.iter().map(String::as_str));
                out.list("policies", offered.iter().map(|name| &**name));
                ask(out, offered.first().map(|name| &**name), None);
            }
            Barred::NoReason { policy } => {
                out.list("policies", std::iter::once(&**policy));
                ask(out, Some(policy), Some("why you need it"));
            }
            Barred::Waiting(request) => {
                about(out, request);
                ask(out, None, None);
            }
            Barred::Denied { id, by, words } => {
                out.text("request", id);
                out.text("by", by);
                if let Some(words) = words {
                    out.text("words", words);
                }
                ask(out, None, Some("what has changed since"));
            }
            Barred::RequestOver { id, state } => {
                out.text("request", id);
                out.text("state", state);
                ask(out, None, None);
            }
            Barred::NotInForce { policies } => {
                out.list("policies", policies.iter().map(String::as_str));
                ask(out, None, None);
            }
            Barred::SettingStays { name } => {
                out.text("setting", name);
                ask(out, None, None);
            }
            Barred::Over(Over::Revoked { by, words }) => {
                out.text("by", &by.to_string());
                if let Some(words) = words {
                    out.text("words", words);
                }
                ask(out, None, None);
            }
            Barred::Over(_) | Barred::NoGrant => ask(out, None, None),
            Barred::Malformed(_) | Barred::ByStore(_) | Barred::StoreAway | Barred::OtherGrant => {
                out.flag("ask", false);
            }
        }
    }

    pub(super) fn words(&self) -> (&'static str, String, Option<Cow<'static, str>>) {
        let (sqlstate, message, hint): (_, _, Cow<'static, str>) = match self {
            Barred::Closed { connection } => (
                "28000",
                format!("no policy lets you into connection \"{connection}\""),
                "Whoever keeps Gatepost's file can write a policy that names you.".into(),
            ),
            Barred::Unknown { connection, names, offered } => (
                "28000",
                format!(
                    "you can't ask for {} on connection \"{connection}\"",
                    list(names.iter().map(String::as_str))
                ),
                match offered.as_slice() {
                    [] => "There is nothing that you can ask for.".into(),
                    offered => {
                        format!("You can ask for {}.", list(offered.iter().map(|name| &**name)))
                            .into()
                    }
                },
            ),
            Barred::NoReason { policy } => (
                "28000",
                format!("policy `{policy}` opens only to who says why"),
                "Connect with options='-c gatepost.reason=your\\\\ reason' (two backslashes before each \
                 space; one in PGOPTIONS), or ask by POST /v1/requests."
                    .into(),
            ),
            Barred::Malformed(why) => (
                "22023",
                format!("what you ask for can't be read: {why}"),
                "See \"Asking\" in Gatepost's docs/grants.md.".into(),
            ),
            Barred::Waiting(request) => (
                "ZP002",
                format!("request {} waits for a person", request.id),
                format!(
                    "Connect again: the request goes on without you, and you are let in as soon as \
                     it is approved. {}",
                    approve(request)
                )
                .into(),
            ),
            Barred::Denied { by, words, .. } => (
                "42501",
                match words {
                    Some(words) => format!("your request was denied by {by}: {words}"),
                    None => format!("your request was denied by {by}"),
                },
                "Asking the same again for the same reason gives the same answer for a while."
                    .into(),
            ),
            Barred::RequestOver { id, state } => {
                ("57P01", format!("request {id} is {state}"), "Connect again to ask anew.".into())
            }
            Barred::ByStore(why) => {
                ("53400", why.clone(), "Wait for what is there already, then ask again.".into())
            }
            Barred::StoreAway => (
                "57P03",
                "Gatepost can't read now who has been let in".into(),
                "Its store of grants is away; its log says why. Try again in a moment.".into(),
            ),
            Barred::NotInForce { policies } => (
                "57P01",
                format!(
                    "what you were let in by is not in force any more: {}",
                    list(policies.iter().map(String::as_str))
                ),
                "Connect again to ask for what there is now.".into(),
            ),
            Barred::SettingStays { name } => (
                "57P01",
                format!("this session has set {name} to what is not allowed any more"),
                "Connect again: a session begins without it.".into(),
            ),
            Barred::OtherGrant => (
                "28000",
                "this token is for a grant that doesn't open this connection".into(),
                "Use it with the connection that it was asked for.".into(),
            ),
            Barred::NoGrant => (
                "57P01",
                "terminating connection: there are policies now, and this session has no grant"
                    .into(),
                "Connect again.".into(),
            ),
            Barred::Over(over) => return over_words(over),
        };
        (sqlstate, message, Some(hint))
    }
}

fn over_words(over: &Over) -> (&'static str, String, Option<Cow<'static, str>>) {
    let (message, hint) = match over {
        Over::Expired => (
            "terminating connection: the time of its grant is over".to_owned(),
            "Connect again to ask for more. What was not committed is undone.",
        ),
        Over::Revoked { by, words } => {
            let mut message = format!("terminating connection: {by} has taken its grant away");
            if let Some(words) = words {
                message = format!("{message}: {words}");
            }
            (message, "What was not committed is undone. Ask again only if that makes sense now.")
        }
        Over::Released => (
            "terminating connection: its grant was given back".to_owned(),
            "Connect again to ask for another.",
        ),
        Over::Lost => (
            "terminating connection: Gatepost could not read for too long whether its grant lives"
                .to_owned(),
            "Its store of grants is away; its log says why. Connect again in a while.",
        ),
    };
    ("57P01", message, Some(hint.into()))
}

/// Said to who waits at the door.
pub(crate) fn write_waiting(request: &Request, wait: Duration, out: &mut Vec<u8>) {
    let mut json = Json::new();
    json.text("code", "pending");
    about(&mut json, request);
    json.text("waits", &seconds(wait));
    let needs: Vec<String> = request
        .missing()
        .map(|(needed, still)| format!("{still} of {} for `{}`", needed.by, needed.what))
        .collect();
    let message =
        format!("waiting for a person: request {} needs {}", request.id, needs.join(" and "));
    Report {
        severity: "NOTICE",
        code: "ZP002",
        message: &message,
        detail: Some(&json.done()),
        hint: Some(&approve(request)),
        position: None,
    }
    .write_notice(out);
}

/// Said to who has asked for something in particular.
pub(crate) fn write_granted(
    grant: &Grant,
    left_millis: i64,
    narrowed: Option<&Narrowed>,
    out: &mut Vec<u8>,
) {
    let mut json = Json::new();
    json.text("code", "granted");
    json.text("grant", grant.id.as_str());
    json.list("policies", grant.policies.iter().map(String::as_str));
    json.text("ends_at", &audit::time_of_millis(grant.ends_at));
    let mut message = format!(
        "grant {} of {} ends in {} s",
        grant.id,
        list(grant.policies.iter().map(String::as_str)),
        left_millis.max(0) / 1000
    );
    if let Some(scope) = &grant.scope {
        json.text("scope", scope);
    }
    if let Some(Narrowed { given, lacking }) = narrowed {
        json.list("given", given.iter().map(String::as_str));
        json.list("lacking", lacking.iter().map(String::as_str));
        if !lacking.is_empty() {
            message = format!("{message}; the policies don't give {}", lacking.join(", "));
        }
    }
    Report {
        severity: "NOTICE",
        code: "00000",
        message: &message,
        detail: Some(&json.done()),
        hint: None,
        position: None,
    }
    .write_notice(out);
}

/// Said to a session whose grant is nearly over.
pub(crate) fn write_ending(left_millis: i64, out: &mut Vec<u8>) {
    let left = Duration::from_millis(u64::try_from(left_millis).unwrap_or(0));
    // To the nearest second, where there are some: it is said a little late.
    let half = Duration::from_millis(500);
    let whole = || Duration::from_secs((left + half).as_secs());
    let left = if left < Duration::from_secs(2) { left } else { whole() };
    let mut json = Json::new();
    json.text("code", "window_ends");
    json.text("left", &seconds(left));
    ask(&mut json, None, None);
    Report {
        severity: "NOTICE",
        code: "57P01",
        message: &format!("this session ends in {}: its grant is over then", seconds(left)),
        detail: Some(&json.done()),
        hint: Some("Connect again then to ask for more; what is not committed by then is undone."),
        position: None,
    }
    .write_notice(out);
}

fn about(out: &mut Json, request: &Request) {
    out.text("request", request.id.as_str());
    out.list("policies", request.policies.iter().map(String::as_str));
    let needs: Vec<String> =
        request.missing().map(|(needed, still)| format!("{still} of {}", needed.by)).collect();
    out.list("needs", needs.iter().map(String::as_str));
    out.text("expires_at", &audit::time_of_millis(request.expires_at));
    out.text("approve", &format!("gatepost approve {}", request.id));
    out.text("http", &format!("POST /v1/requests/{}/approve", request.id));
}

fn approve(request: &Request) -> String {
    let id = &request.id;
    format!("They approve with `gatepost approve {id}` or POST /v1/requests/{id}/approve.")
}

/// The calls that ask for these policies.
pub(super) fn ask_for(out: &mut Json, policies: &[Arc<str>]) {
    let connect = format!("options='{}'", option(policies.iter().map(|name| &**name)));
    out.object("ask", &[("connect", &connect), ("http", "POST /v1/requests")]);
}

/// A start-up option that asks for policies.
pub(super) fn option<'t>(policies: impl Iterator<Item = &'t str>) -> String {
    let quoted = |name: &str| match name.contains(',') {
        true => format!("\"{name}\""),
        false => name.to_owned(),
    };
    let names = policies.map(quoted).collect::<Vec<_>>().join(",");
    // Within the quotes of a connection string.
    format!("-c gatepost.policy={}", escaped(&names)).replace('\'', "\\'")
}

/// The calls that ask for it, ready to be made.
fn ask(out: &mut Json, policy: Option<&str>, reason: Option<&str>) {
    let mut options = Vec::new();
    if let Some(policy) = policy {
        options.push(option(std::iter::once(policy)));
    }
    if let Some(reason) = reason {
        options.push(format!("-c gatepost.reason={}", escaped(reason)));
    }
    let connect = match options.as_slice() {
        [] => "connect again".to_owned(),
        options => format!("options='{}'", options.join(" ")),
    };
    out.object("ask", &[("connect", &connect), ("http", "POST /v1/requests")]);
}

/// For a server's command line, as `options` are one, in a connection string, where a backslash
/// takes another.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\\\\\").replace(' ', "\\\\ ")
}

fn list<'t>(names: impl Iterator<Item = &'t str>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
