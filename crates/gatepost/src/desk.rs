//! `gatepost request`, `pending`, `show`, `approve`, `deny`, `revoke`, `grants`, `sessions` and
//! `kill`: what agents and people say to a running gateway, and how its answers read. What is allowed
//! is decided there.

use std::io::{self, Write as _};
use std::time::Duration;

use access::{GrantId, HoldId, RequestId};
use api::v1::shape::{
    Approve, Ask, Asked, EndShown, GrantShown, HoldShown, List, NeededShown, RequestShown,
    SessionShown, Shape, Who, Words,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::cli::{self, Failure};
use crate::remote::{Caller, Remote};
use crate::table::{block, json, plain, table};
use crate::when;

/// How long `gatepost request` waits for people before it says how to go on.
const WAIT: Duration = Duration::from_secs(55);

/// What a name stands for.
enum Named {
    Request,
    Hold,
    Grant,
}

impl Named {
    fn of(id: &str) -> Result<Named, Failure> {
        if id.parse::<RequestId>().is_ok() {
            Ok(Named::Request)
        } else if id.parse::<HoldId>().is_ok() {
            Ok(Named::Hold)
        } else if id.parse::<GrantId>().is_ok() {
            Ok(Named::Grant)
        } else {
            let message = format!(
                "`{}` is no name of a request ({}…), a held statement ({}…) or a grant ({}…)",
                plain(id),
                RequestId::PREFIX,
                HoldId::PREFIX,
                GrantId::PREFIX
            );
            Err(Failure::Usage(message))
        }
    }
}

/// What `gatepost request` asks for.
pub(crate) struct Wanted {
    pub(crate) connection: String,
    pub(crate) reason: Option<String>,
    pub(crate) lasts: Option<Duration>,
    pub(crate) policies: Vec<String>,
    pub(crate) scope: Option<String>,
    pub(crate) single_use: bool,
}

/// Asks, waits for people, and prints the token alone to stdout. What else there is to say goes to
/// stderr.
pub(crate) fn request(caller: &Caller, wanted: Wanted) -> Result<(), Failure> {
    let remote = caller.remote()?;
    let ask = Ask {
        connection: wanted.connection,
        reason: wanted.reason,
        for_seconds: wanted.lasts.map(|lasts| lasts.as_secs()),
        policies: wanted.policies,
        scope: wanted.scope,
        wait_seconds: WAIT.as_secs(),
        single_use: wanted.single_use,
    };
    if caller.json {
        return as_json(&remote.post::<Value>("/v1/requests", &ask)?);
    }
    let asked: Asked = remote.post("/v1/requests", &ask)?;
    for given in &asked.given {
        note(&format!("granted: {}", plain(given)));
    }
    for lacking in &asked.lacking {
        note(&format!("not to be had: {}", plain(lacking)));
    }
    match (asked.grant, asked.request) {
        (Some(grant), _) => {
            note(&of_grant(&grant));
            match asked.token {
                Some(token) => {
                    let seconds = token.good_for_seconds;
                    note(&format!(
                        "the password of user {}, good for {seconds} s",
                        plain(&token.user)
                    ));
                    cli::print(&format!("{}\n", token.password))
                }
                None => Ok(()),
            }
        }
        (None, Some(request)) => {
            let text = of_request(&request);
            let more = match &*request.state {
                "pending" => "it waits for a person: ask again, and you get it once it is approved",
                _ => "there is no grant",
            };
            Err(Failure::Failed(format!("{text}{more}")))
        }
        (None, None) => Err(Failure::Failed(format!("the gateway says `{}`", plain(&asked.state)))),
    }
}

/// Everything that waits for a person and that the caller may see.
pub(crate) fn pending(caller: &Caller) -> Result<(), Failure> {
    let remote = caller.remote()?;
    if caller.json {
        let (requests, holds) =
            (all::<Value>(&remote, "/v1/requests")?, all(&remote, "/v1/holds")?);
        return as_json(&serde_json::json!({ "requests": requests, "holds": Value::Array(holds) }));
    }
    let requests: Vec<RequestShown> = all(&remote, "/v1/requests")?;
    let holds: Vec<HoldShown> = all(&remote, "/v1/holds")?;
    if requests.is_empty() && holds.is_empty() {
        return cli::print("nothing waits\n");
    }
    let mut shown: Vec<(&str, String)> = Vec::new();
    shown.extend(requests.iter().map(|request| (&*request.created_at, of_request(request))));
    shown.extend(holds.iter().map(|hold| (&*hold.created_at, of_hold(hold))));
    shown.sort();
    let texts: Vec<String> = shown.into_iter().map(|(_, text)| text).collect();
    cli::print(&texts.join("\n"))
}

pub(crate) fn show(caller: &Caller, id: &str) -> Result<(), Failure> {
    let named = Named::of(id)?;
    let remote = caller.remote()?;
    let path = path(&named, id, "");
    if caller.json {
        return as_json(&remote.get::<Value>(&path)?);
    }
    let text = match named {
        Named::Request => of_request(&remote.get(&path)?),
        Named::Hold => of_hold(&remote.get(&path)?),
        Named::Grant => of_grant(&remote.get(&path)?),
    };
    cli::print(&text)
}

pub(crate) fn approve(
    caller: &Caller,
    id: &str,
    words: Option<String>,
    shape: Option<(u32, Duration)>,
) -> Result<(), Failure> {
    let shape = shape.map(|(uses, lasts)| Shape { uses, for_seconds: lasts.as_secs() });
    decide(caller, id, "/approve", &Approve { words, shape })
}

pub(crate) fn deny(caller: &Caller, id: &str, words: Option<String>) -> Result<(), Failure> {
    decide(caller, id, "/deny", &Words { words })
}

fn decide(caller: &Caller, id: &str, what: &str, body: &impl Serialize) -> Result<(), Failure> {
    let named = Named::of(id)?;
    let path = match named {
        Named::Grant => {
            let message = "a grant is there already; `gatepost revoke` takes it away";
            return Err(Failure::Usage(message.to_owned()));
        }
        Named::Request | Named::Hold => path(&named, id, what),
    };
    let remote = caller.remote()?;
    if caller.json {
        return as_json(&remote.post::<Value>(&path, body)?);
    }
    let text = match named {
        Named::Hold => of_hold(&remote.post(&path, body)?),
        _ => of_request(&remote.post(&path, body)?),
    };
    cli::print(&text)
}

/// Ends a grant, and every session under it.
pub(crate) fn revoke(caller: &Caller, id: &str, words: Option<String>) -> Result<(), Failure> {
    let Named::Grant = Named::of(id)? else {
        let message = "`gatepost revoke` ends a grant; `gatepost deny` answers what waits";
        return Err(Failure::Usage(message.to_owned()));
    };
    let remote = caller.remote()?;
    let path = path(&Named::Grant, id, "/revoke");
    if caller.json {
        return as_json(&remote.post::<Value>(&path, &Words { words })?);
    }
    let grant: GrantShown = remote.post(&path, &Words { words })?;
    cli::print(&of_grant(&grant))
}

pub(crate) fn grants(caller: &Caller, ended: bool) -> Result<(), Failure> {
    let remote = caller.remote()?;
    let path = if ended { "/v1/grants?all=true" } else { "/v1/grants" };
    if caller.json {
        return as_json(&all::<Value>(&remote, path)?);
    }
    let mut lines =
        vec![["GRANT", "WHO", "CONNECTION", "STATE", "ENDS", "POLICIES"].map(str::to_owned)];
    for grant in all::<GrantShown>(&remote, path)? {
        let ends = grant.ended.as_ref().map_or(&grant.ends_at, |ended| &ended.at);
        lines.push([
            grant.id.clone(),
            who(&grant.who),
            grant.connection.clone(),
            grant.state.clone(),
            when::text(ends),
            grant.policies.join(", "),
        ]);
    }
    cli::print(&table(&lines))
}

pub(crate) fn sessions(caller: &Caller) -> Result<(), Failure> {
    let remote = caller.remote()?;
    if caller.json {
        return as_json(&all::<Value>(&remote, "/v1/sessions")?);
    }
    let mut lines =
        vec![["SESSION", "WHO", "CONNECTION", "GRANT", "FROM", "SINCE"].map(str::to_owned)];
    for session in all::<SessionShown>(&remote, "/v1/sessions")? {
        lines.push([
            session.id.clone(),
            who(&session.who),
            session.connection.clone(),
            session.grant.clone().unwrap_or_default(),
            session.client.clone(),
            when::text(&session.since),
        ]);
    }
    cli::print(&table(&lines))
}

pub(crate) fn kill(caller: &Caller, session: &str) -> Result<(), Failure> {
    if session.is_empty() || !session.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(Failure::Usage(format!("`{}` is no name of a session", plain(session))));
    }
    let path = format!("/v1/sessions/{session}/kill");
    caller.remote()?.post::<Value>(&path, &Value::Object(serde_json::Map::new()))?;
    cli::print(&format!("session {session} is ended\n"))
}

/// The pages of a list, one behind the other.
fn all<Row: DeserializeOwned>(remote: &Remote, path: &str) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    let mut behind: Option<String> = None;
    loop {
        let mark = if path.contains('?') { '&' } else { '?' };
        let page = match &behind {
            Some(last) => format!("{path}{mark}behind={last}"),
            None => path.to_owned(),
        };
        let list: List<Row> = remote.get(&page)?;
        rows.extend(list.rows);
        // A list that goes on behind the same row would have no end.
        if list.behind.is_none() || list.behind == behind {
            return Ok(rows);
        }
        behind = list.behind;
    }
}

/// Names were read as such before, so nothing of them has to be escaped.
fn path(named: &Named, id: &str, what: &str) -> String {
    let kind = match named {
        Named::Request => "requests",
        Named::Hold => "holds",
        Named::Grant => "grants",
    };
    format!("/v1/{kind}/{id}{what}")
}

fn of_request(request: &RequestShown) -> String {
    let mut text = format!(
        "{}  {} asks for {}, for {}; {}\n",
        request.id,
        plain(&who(&request.who)),
        plain(&request.connection),
        seconds(request.for_seconds),
        request.state
    );
    line(&mut text, "reason", request.reason.as_deref());
    line(&mut text, "policies", Some(&request.policies.join(", ")));
    line(&mut text, "scope", request.scope.as_deref());
    line(&mut text, "asked", Some(&when::text(&request.created_at)));
    agreements(&mut text, &request.needs);
    for vote in &request.approvals {
        line(&mut text, "approved", Some(&said(&who(&vote.by), vote.words.as_deref())));
    }
    if request.state == "pending" {
        line(&mut text, "until", Some(&when::text(&request.expires_at)));
    }
    line(&mut text, "grant", request.grant.as_deref());
    end(&mut text, request.ended.as_ref());
    text
}

fn of_grant(grant: &GrantShown) -> String {
    let mut text = format!(
        "{}  {} on {}; {}\n",
        grant.id,
        plain(&who(&grant.who)),
        plain(&grant.connection),
        grant.state
    );
    line(&mut text, "reason", grant.reason.as_deref());
    line(&mut text, "policies", Some(&grant.policies.join(", ")));
    line(&mut text, "scope", grant.scope.as_deref());
    line(&mut text, "opened", Some(&when::text(&grant.opened_at)));
    line(&mut text, "ends", Some(&when::text(&grant.ends_at)));
    for by in &grant.approved_by {
        line(&mut text, "approved", Some(&who(by)));
    }
    end(&mut text, grant.ended.as_ref());
    text
}

fn of_hold(hold: &HoldShown) -> String {
    let mut text = format!(
        "{}  {} wants to run this on {}; {}\n\n{}\n",
        hold.id,
        plain(&who(&hold.who)),
        plain(&hold.connection),
        hold.state,
        block(&hold.sql, "    ")
    );
    if hold.parameters.as_array().is_some_and(|values| !values.is_empty()) {
        line(&mut text, "parameters", Some(&hold.parameters.to_string()));
    }
    line(&mut text, "reason", hold.reason.as_deref());
    line(&mut text, "grant", Some(&hold.grant));
    line(&mut text, "expects", hold.estimate.as_deref());
    line(&mut text, "asked", Some(&when::text(&hold.created_at)));
    agreements(&mut text, &hold.needs);
    for vote in &hold.approvals {
        line(&mut text, "approved", Some(&said(&who(&vote.by), vote.words.as_deref())));
    }
    line(&mut text, "until", hold.until.as_deref().map(when::text).as_deref());
    if hold.offers_shape && hold.state == "pending" {
        line(&mut text, "shape", Some("it can be approved for other parameters, too (--shape)"));
    }
    if let Some(uses) = hold.uses_left {
        line(&mut text, "shape", Some(&format!("{uses} uses are left")));
    }
    end(&mut text, hold.ended.as_ref());
    text
}

fn agreements(text: &mut String, needs: &[NeededShown]) {
    for needed in needs {
        let words = format!(
            "{} of {} for {}; {} missing",
            needed.need, needed.by, needed.of, needed.missing
        );
        line(text, "needs", Some(&words));
    }
}

fn end(text: &mut String, ended: Option<&EndShown>) {
    if let Some(EndShown { at, by, words }) = ended {
        let by = by.as_ref().map_or_else(|| "over".to_owned(), who);
        let words = said(&by, words.as_deref());
        line(text, "ended", Some(&format!("{}, {words}", when::text(at))));
    }
}

fn line(text: &mut String, what: &str, words: Option<&str>) {
    if let Some(words) = words {
        text.push_str(&format!("  {what:10}  {}\n", plain(words)));
    }
}

fn said(by: &str, words: Option<&str>) -> String {
    words.map_or_else(|| by.to_owned(), |words| format!("{by}: {words}"))
}

fn who(who: &Who) -> String {
    let identity = identity::Identity::new(who.issuer.clone(), who.subject.clone());
    identity.to_string()
}

fn seconds(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

fn note(text: &str) {
    // The answer is on stdout; a stderr that is closed changes nothing about that.
    let _unread = writeln!(io::stderr(), "{}", text.trim_end());
}

fn as_json(value: &impl Serialize) -> Result<(), Failure> {
    let text =
        serde_json::to_string_pretty(value).map_err(|error| Failure::Failed(error.to_string()))?;
    cli::print(&format!("{}\n", json(&text)))
}
