//! What the journal keeps of each event, in a stored format of its own: written out field by field
//! here, so that renaming something elsewhere cannot rewrite history. Number, time, node and chain
//! are put before it by the writer. `docs/journal.md` describes every field.

pub(crate) mod own;

use crate::json::{
    bytes_field, name, number_field, optional_number, optional_string, string, string_field,
    strings_field, time_of_millis, word,
};
use crate::parameter::Parameter;

/// One event's own bytes are at most these: a longer statement cannot be recorded, so it cannot
/// run.
pub const EVENT_BYTES_MAX: usize = 64 << 20;

/// Who an event is about: the same for every event of a session, so it is written once and copied.
#[derive(Clone, Debug, Default)]
pub struct Context {
    bytes: Vec<u8>,
    session: Option<Box<str>>,
}

/// What goes into a `Context`. All of it is optional, for a login can fail before it is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Who<'a> {
    pub session: Option<&'a str>,
    pub grant: Option<&'a str>,
    pub identity: Option<Identity<'a>>,
    pub client: Option<&'a str>,
    pub application: Option<&'a str>,
    pub connection: Option<&'a str>,
    pub role: Option<&'a str>,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Identity<'a> {
    pub issuer: &'a str,
    pub subject: &'a str,
    pub groups: &'a [&'a str],
    /// What else its issuer says of it, by name.
    pub claims: &'a [(&'a str, &'a str)],
    /// Who acts for the subject, the one nearest to us first: issuer and subject of each.
    pub actors: &'a [(&'a str, &'a str)],
}

impl Context {
    pub fn new(who: &Who<'_>) -> Context {
        let mut bytes = Vec::with_capacity(256);
        optional_string(&mut bytes, "session", who.session);
        optional_string(&mut bytes, "grant", who.grant);
        if let Some(identity) = &who.identity {
            write_identity(&mut bytes, identity);
        }
        optional_string(&mut bytes, "client", who.client);
        optional_string(&mut bytes, "application", who.application);
        optional_string(&mut bytes, "connection", who.connection);
        optional_string(&mut bytes, "role", who.role);
        Context { bytes, session: who.session.map(Box::from) }
    }
}

fn write_identity(out: &mut Vec<u8>, identity: &Identity<'_>) {
    name(out, "identity");
    out.extend_from_slice(b"{\"issuer\":");
    string(out, identity.issuer);
    string_field(out, "subject", identity.subject);
    strings_field(out, "groups", identity.groups);
    if !identity.claims.is_empty() {
        name(out, "claims");
        for (index, (claim, value)) in identity.claims.iter().enumerate() {
            out.push(if index == 0 { b'{' } else { b',' });
            string(out, claim);
            out.push(b':');
            string(out, value);
        }
        out.push(b'}');
    }
    if !identity.actors.is_empty() {
        name(out, "actors");
        for (index, (issuer, subject)) in identity.actors.iter().enumerate() {
            out.extend_from_slice(if index == 0 { b"[{\"issuer\":" } else { b",{\"issuer\":" });
            string(out, issuer);
            string_field(out, "subject", subject);
            out.push(b'}');
        }
        out.push(b']');
    }
    out.push(b'}');
}

/// The events that the gateway records. The journal's own are in `own`.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    SessionBegins(SessionBegins<'a>),
    SessionEnds(SessionEnds<'a>),
    LoginRefused(LoginRefused<'a>),
    Statement(Statement<'a>),
    Outcome(Outcome<'a>),
    Hold(Hold<'a>),
    Cancel(Cancel<'a>),
    Request(Request<'a>),
    RequestDecided(RequestDecided<'a>),
    GrantOpens(GrantOpens<'a>),
    GrantEnds(GrantEnds<'a>),
    TokenGiven(TokenGiven<'a>),
}

/// The context of this and of everything else in the session carries the session's id.
#[derive(Clone, Copy, Debug, Default)]
pub struct SessionBegins<'a> {
    /// How the identity was proven: `scram`, `token`…
    pub login: &'a str,
    /// Protocol and cipher suite, if the client's connection is encrypted.
    pub tls: Option<&'a str>,
    /// The server's process.
    pub backend: Option<u32>,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct SessionEnds<'a> {
    pub reason: &'a str,
    pub statements: Option<u64>,
    pub duration_us: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct LoginRefused<'a> {
    pub reason: &'a str,
    pub sqlstate: Option<&'a str>,
    /// As the client asked for them; nothing here is proven.
    pub user: Option<&'a str>,
    pub database: Option<&'a str>,
}

/// That something is about to be sent to PostgreSQL, or is refused. Durable before it is sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Statement<'a> {
    /// Within the session; the outcome has the same.
    pub id: u64,
    /// Of message: `query`, `parse`, `bind`, `execute`, `function`, `copy`…
    pub kind: &'static str,
    pub text: Option<Text<'a>>,
    /// What PostgreSQL gets, where it differs.
    pub forwarded: Option<Text<'a>>,
    /// Of the prepared statement.
    pub name: Option<&'a str>,
    pub portal: Option<&'a str>,
    pub parameters: &'a [Parameter<'a>],
    /// There were more parameters than these.
    pub parameters_cut: bool,
    /// `allow`, `rewrite`, `hold` or `refuse`.
    pub verdict: &'static str,
    pub policy: Option<&'a str>,
    pub rule: Option<&'a str>,
    pub touches: &'a [Box<str>],
    /// It runs because people have agreed to this hold.
    pub hold: Option<&'a str>,
}

#[derive(Clone, Copy, Debug)]
pub enum Text<'a> {
    /// As it came, but for `redacted` places where a secret stood.
    Sql { bytes: &'a [u8], redacted: u32 },
    /// What could not be read well enough to cut secrets out: only its length and hash are kept.
    Withheld { bytes: u64, sha256: [u8; 32] },
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome<'a> {
    pub id: u64,
    /// The command tag, as in `UPDATE 3`.
    pub tag: Option<&'a str>,
    pub rows: Option<u64>,
    pub bytes: Option<u64>,
    pub duration_us: Option<u64>,
    pub sqlstate: Option<&'a str>,
    /// Why the reply is not whole, if it isn't.
    pub cut: Option<&'a str>,
}

/// What happens to a statement that waits for people, or has. The context is of who does it; nobody
/// where it is time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hold<'a> {
    pub hold: &'a str,
    /// `asked`, `voted`, `approved`, `denied`, `withdrawn`, `orphaned`, `expired`; `claimed` and
    /// `transaction` before it is sent; `done`, `failed` or `unknown` when its outcome is known.
    pub step: &'a str,
    /// When it is asked: what is to run.
    pub text: Option<Text<'a>>,
    pub parameters: &'a [Parameter<'a>],
    /// When it is asked: what people are asked to agree to, in hexadecimal.
    pub digest: Option<&'a str>,
    /// When it is asked: the rules that hold it.
    pub rules: &'a [&'a str],
    /// Issuer and subject of whose it is, where somebody else decides.
    pub of: Option<(&'a str, &'a str)>,
    /// Of who decided, or of what came of it.
    pub words: Option<&'a str>,
    /// PostgreSQL's number of the transaction that it runs in.
    pub xid: Option<u64>,
    /// When it is approved for other parameters: how often, or how often still.
    pub uses: Option<u64>,
    /// The hold whose approval for other parameters this one uses.
    pub shape_of: Option<&'a str>,
}

/// A cancel request. It comes on a connection of its own, so the context is of who sent it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cancel<'a> {
    /// The session that it is for, if its key was right.
    pub target: Option<&'a str>,
    pub id: Option<u64>,
    pub served: bool,
}

/// Somebody asks for a connection, and people have to agree. The context is of who asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'a> {
    pub request: &'a str,
    /// What it asks to open, by name.
    pub policies: &'a [&'a str],
    pub scope: Option<&'a str>,
    pub reason: Option<&'a str>,
    /// For how long.
    pub lasts_ms: i64,
    /// Nobody can agree from then on, in milliseconds since 1970.
    pub expires_at_ms: i64,
    /// Each agreement that is needed, in words.
    pub needs: &'a [&'a str],
}

/// Somebody, or time, says something to a request. The context is of who does; nobody where it is
/// time.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestDecided<'a> {
    pub request: &'a str,
    /// `approve`, `deny`, `withdraw` or `expire`.
    pub decision: &'a str,
    /// What has become of it: `pending` while others still have to agree.
    pub state: &'a str,
    /// Issuer and subject of who asked.
    pub of: Option<(&'a str, &'a str)>,
    pub words: Option<&'a str>,
    /// The grant that it has become.
    pub opened: Option<&'a str>,
}

/// The context has the grant and whose it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct GrantOpens<'a> {
    pub policies: &'a [&'a str],
    pub scope: Option<&'a str>,
    pub reason: Option<&'a str>,
    /// The request that was approved, if it took one.
    pub request: Option<&'a str>,
    /// In milliseconds since 1970.
    pub ends_at_ms: i64,
}

/// The context has the grant, and who ends it; nobody where it is time.
#[derive(Clone, Copy, Debug, Default)]
pub struct GrantEnds<'a> {
    /// `expired`, `revoked` or `released`.
    pub how: &'a str,
    /// Issuer and subject of whose it was.
    pub of: Option<(&'a str, &'a str)>,
    pub words: Option<&'a str>,
}

/// Somebody has logged in at a provider, and gets a token of ours for it.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokenGiven<'a> {
    /// How they have: `saml`.
    pub login: &'a str,
    pub lasts_ms: u64,
}

/// Events that are recorded together, in this order and next to one another. Kept and cleared by
/// its user, so that a statement costs no allocation.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub(crate) bytes: Vec<u8>,
    /// Where in `bytes` each event ends.
    pub(crate) ends: Vec<usize>,
    pub(crate) marks: Vec<Mark>,
}

/// What the writer remembers of sessions, so that a restart can close those that were open.
#[derive(Clone, Debug)]
pub(crate) enum Mark {
    Begins(Box<str>),
    Ends(Box<str>),
}

impl Batch {
    pub fn new() -> Batch {
        Batch::default()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// How long the events are together.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.marks.clear();
    }

    pub fn push(&mut self, context: &Context, event: &Event<'_>) {
        self.begin(event_name(event));
        let out = &mut self.bytes;
        out.extend_from_slice(&context.bytes);
        match event {
            Event::SessionBegins(event) => {
                string_field(out, "login", event.login);
                optional_string(out, "tls", event.tls);
                optional_number(out, "backend", event.backend.map(u64::from));
                self.marks.extend(context.session.clone().map(Mark::Begins));
            }
            Event::SessionEnds(event) => {
                string_field(out, "reason", event.reason);
                optional_number(out, "statements", event.statements);
                optional_number(out, "duration_us", event.duration_us);
                self.marks.extend(context.session.clone().map(Mark::Ends));
            }
            Event::LoginRefused(event) => {
                string_field(out, "reason", event.reason);
                optional_string(out, "sqlstate", event.sqlstate);
                optional_string(out, "user", event.user);
                optional_string(out, "database", event.database);
            }
            Event::Statement(event) => write_statement(out, event),
            Event::Outcome(event) => {
                number_field(out, "id", event.id);
                optional_string(out, "tag", event.tag);
                optional_number(out, "rows", event.rows);
                optional_number(out, "bytes", event.bytes);
                optional_number(out, "duration_us", event.duration_us);
                optional_string(out, "sqlstate", event.sqlstate);
                optional_string(out, "cut", event.cut);
            }
            Event::Hold(event) => write_hold(out, event),
            Event::Cancel(event) => {
                optional_string(out, "target", event.target);
                optional_number(out, "id", event.id);
                name(out, "served");
                out.extend_from_slice(if event.served { b"true" } else { b"false" });
            }
            Event::Request(event) => {
                string_field(out, "request", event.request);
                strings_field(out, "policies", event.policies);
                optional_string(out, "scope", event.scope);
                optional_string(out, "reason", event.reason);
                optional_number(out, "lasts_ms", u64::try_from(event.lasts_ms).ok());
                string_field(out, "expires_at", &time_of_millis(event.expires_at_ms));
                strings_field(out, "needs", event.needs);
            }
            Event::RequestDecided(event) => {
                string_field(out, "request", event.request);
                string_field(out, "decision", event.decision);
                string_field(out, "state", event.state);
                write_person(out, "of", event.of);
                optional_string(out, "words", event.words);
                optional_string(out, "opened", event.opened);
            }
            Event::GrantOpens(event) => {
                strings_field(out, "policies", event.policies);
                optional_string(out, "scope", event.scope);
                optional_string(out, "reason", event.reason);
                optional_string(out, "request", event.request);
                string_field(out, "ends_at", &time_of_millis(event.ends_at_ms));
            }
            Event::GrantEnds(event) => {
                string_field(out, "how", event.how);
                write_person(out, "of", event.of);
                optional_string(out, "words", event.words);
            }
            Event::TokenGiven(event) => {
                string_field(out, "login", event.login);
                number_field(out, "lasts_ms", event.lasts_ms);
            }
        }
        self.end();
    }

    /// Each event as a text of its own, to be kept elsewhere until it is appended.
    pub fn into_texts(self) -> Vec<String> {
        let mut start = 0;
        let each = self.ends.iter().map(|end| {
            let event = self.bytes.get(start..*end).unwrap_or_default();
            start = *end;
            String::from_utf8_lossy(event).into_owned()
        });
        each.collect()
    }

    /// An event that was kept as a text, under this number: should it be appended twice, the number
    /// tells. `false` if it is not such a text; then nothing is pushed.
    pub fn push_kept(&mut self, text: &str, entry: i64) -> bool {
        let event = text
            .strip_suffix("}\n")
            .filter(|event| event.starts_with(",\"event\":\"") && !event.contains('\n'));
        let (Some(event), Ok(entry)) = (event, u64::try_from(entry)) else { return false };
        self.bytes.extend_from_slice(event.as_bytes());
        number_field(&mut self.bytes, "entry", entry);
        self.end();
        true
    }

    /// An event is what comes after the chain's fields, up to and with the newline.
    pub(crate) fn begin(&mut self, event: &'static str) {
        name(&mut self.bytes, "event");
        word(&mut self.bytes, event);
    }

    pub(crate) fn end(&mut self) {
        self.bytes.extend_from_slice(b"}\n");
        self.ends.push(self.bytes.len());
    }

    pub(crate) fn longest(&self) -> usize {
        let mut start = 0;
        let lengths = self.ends.iter().map(|end| end - std::mem::replace(&mut start, *end));
        lengths.max().unwrap_or(0)
    }
}

fn event_name(event: &Event<'_>) -> &'static str {
    match event {
        Event::SessionBegins(_) => "session_begins",
        Event::SessionEnds(_) => "session_ends",
        Event::LoginRefused(_) => "login_refused",
        Event::Statement(_) => "statement",
        Event::Outcome(_) => "outcome",
        Event::Hold(_) => "hold",
        Event::Cancel(_) => "cancel",
        Event::Request(_) => "request",
        Event::RequestDecided(_) => "request_decided",
        Event::GrantOpens(_) => "grant_opens",
        Event::GrantEnds(_) => "grant_ends",
        Event::TokenGiven(_) => "token_given",
    }
}

fn write_person(out: &mut Vec<u8>, field: &str, person: Option<(&str, &str)>) {
    let Some((issuer, subject)) = person else { return };
    name(out, field);
    out.extend_from_slice(b"{\"issuer\":");
    string(out, issuer);
    string_field(out, "subject", subject);
    out.push(b'}');
}

fn write_statement(out: &mut Vec<u8>, event: &Statement<'_>) {
    number_field(out, "id", event.id);
    name(out, "kind");
    word(out, event.kind);
    if let Some(text) = &event.text {
        write_text(out, "text", text);
    }
    if let Some(text) = &event.forwarded {
        write_text(out, "forwarded", text);
    }
    optional_string(out, "name", event.name);
    optional_string(out, "portal", event.portal);
    write_parameters(out, event.parameters);
    if event.parameters_cut {
        name(out, "parameters_cut");
        out.extend_from_slice(b"true");
    }
    name(out, "verdict");
    word(out, event.verdict);
    optional_string(out, "policy", event.policy);
    optional_string(out, "rule", event.rule);
    strings_field(out, "touches", event.touches);
    optional_string(out, "hold", event.hold);
}

fn write_parameters(out: &mut Vec<u8>, parameters: &[Parameter<'_>]) {
    if parameters.is_empty() {
        return;
    }
    name(out, "parameters");
    write_list(out, parameters);
}

fn write_list(out: &mut Vec<u8>, parameters: &[Parameter<'_>]) {
    out.push(b'[');
    for (index, parameter) in parameters.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        parameter.write(out);
    }
    out.push(b']');
}

/// Parameters as a record has them, as an array of JSON.
pub fn parameters_as_json(parameters: &[Parameter<'_>]) -> String {
    let mut out = Vec::new();
    write_list(&mut out, parameters);
    String::from_utf8_lossy(&out).into_owned()
}

fn write_hold(out: &mut Vec<u8>, event: &Hold<'_>) {
    string_field(out, "hold", event.hold);
    string_field(out, "step", event.step);
    if let Some(text) = &event.text {
        write_text(out, "text", text);
    }
    write_parameters(out, event.parameters);
    optional_string(out, "digest", event.digest);
    if !event.rules.is_empty() {
        strings_field(out, "rules", event.rules);
    }
    write_person(out, "of", event.of);
    optional_string(out, "words", event.words);
    optional_number(out, "xid", event.xid);
    optional_number(out, "uses", event.uses);
    optional_string(out, "shape_of", event.shape_of);
}

fn write_text(out: &mut Vec<u8>, field: &str, text: &Text<'_>) {
    match text {
        Text::Sql { bytes, redacted } => {
            bytes_field(out, field, bytes);
            if *redacted > 0 {
                number_field(out, &format!("{field}_redacted"), u64::from(*redacted));
            }
        }
        Text::Withheld { bytes, sha256 } => {
            name(out, &format!("{field}_withheld"));
            out.extend_from_slice(b"{\"bytes\":");
            crate::json::number(out, *bytes);
            name(out, "sha256");
            out.push(b'"');
            crate::json::hex(out, sha256);
            out.extend_from_slice(b"\"}");
        }
    }
}
