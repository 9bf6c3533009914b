//! The gate: nothing reaches PostgreSQL in a session except through it. Every message is looked
//! at, what it is about to do is written down, and only then is it [`Cleared`]. Nobody else can
//! make a `Cleared`, and the server's side of a session takes nothing else.
//!
//! What came of it is written down from the replies. A message that may not pass is replaced by
//! one that PostgreSQL parses and then fails, so that transactions abort and pipelines skip as
//! they should; the error that comes back is replaced by ours.

mod memory;

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashSet;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use audit::event::{self, Batch, Context, Event, Outcome, SessionEnds, Statement, Who};
use audit::{Durability, Journal, PARAMETER_BYTES_MAX, Parameter, Unrecorded};
use aws_lc_rs::digest;
use identity::Identity;
use tokio::io::{AsyncWriteExt, WriteHalf};
use wire::backend::{self, ErrorFields};
use wire::frame::Frame;
use wire::frontend::{self, Bind, FunctionCall, Parse, Value};

use self::memory::{Bound, Kept, Memory, Prepared, Recorded, Secrets};
use crate::gateway::Installed;
use crate::refusal::Refusal;
use crate::stream::Stream;

/// A statement's text is looked at up to here. What is longer passes, and is recorded by its
/// length and the hash of this much.
const TEXT_BYTES_MAX: usize = 16 << 20;

/// The values of a Bind are looked at up to here; more pass, and are said to be cut.
const VALUES_BYTES_MAX: usize = 256 << 10;

/// The messages that hold a name and little else.
const NAMES_BYTES_MAX: usize = 16 << 10;

/// A server's word is looked at up to here: a command's tag, an error's code, a setting's value.
const WORD_BYTES_MAX: usize = 8 << 10;

/// A batch is recorded and sent once its records are this long, however much more has come.
const ATTEMPTS_BYTES_MAX: usize = 256 << 10;

/// What a record that is yet to be written counts for in that.
const LONE_BYTES: usize = 512;

/// A portal or statement of this name is never made: messages that would use one are replaced by
/// a Parse under it, which fails and leaves the client's own names alone.
const REFUSED_NAME: &[u8] = b"gatepost refused";

/// An oid that no function has.
const NO_FUNCTION: u32 = u32::MAX;

/// Messages that may go to PostgreSQL.
pub(crate) struct Cleared<'a>(Cow<'a, [u8]>);

impl Cleared<'_> {
    /// Without the rest of a message that was replaced before.
    pub(crate) fn without(self, head: usize) -> Self {
        Cleared(match self.0 {
            Cow::Borrowed(bytes) => Cow::Borrowed(bytes.get(head..).unwrap_or_default()),
            Cow::Owned(mut bytes) => {
                bytes.drain(..head.min(bytes.len()));
                Cow::Owned(bytes)
            }
        })
    }
}

/// The server's side of a session. It takes what is cleared.
pub(crate) struct ToServer(WriteHalf<Stream>);

impl ToServer {
    pub(crate) fn new(stream: WriteHalf<Stream>) -> Self {
        ToServer(stream)
    }

    pub(crate) async fn send(&mut self, cleared: Cleared<'_>) -> io::Result<()> {
        self.0.write_all(&cleared.0).await?;
        self.0.flush().await
    }

    pub(crate) fn into_inner(self) -> WriteHalf<Stream> {
        self.0
    }
}

/// How much of a client's message has to be here before it is looked at.
pub(crate) fn wanted_of_messages(tag: u8) -> usize {
    match tag {
        frontend::QUERY | frontend::PARSE => TEXT_BYTES_MAX,
        frontend::BIND | frontend::FUNCTION_CALL => VALUES_BYTES_MAX,
        frontend::EXECUTE | frontend::DESCRIBE | frontend::CLOSE => NAMES_BYTES_MAX,
        _ => 0,
    }
}

/// How much of a server's message has to be here before it is looked at.
pub(crate) fn wanted_of_replies(tag: u8) -> usize {
    match tag {
        backend::COMMAND_COMPLETE | backend::ERROR | backend::PARAMETER_STATUS => WORD_BYTES_MAX,
        backend::PARAMETER_DESCRIPTION => 2 + 4 * usize::from(u16::MAX),
        backend::READY_FOR_QUERY => 1,
        _ => 0,
    }
}

/// What the server gets to see of a message: the tag of what is sent in its place.
pub(crate) fn tag_sent(tag: u8, entry: &Entry) -> u8 {
    match (entry, tag) {
        (Entry::Refused(_), frontend::BIND | frontend::EXECUTE) => frontend::PARSE,
        _ => tag,
    }
}

/// A session's gate.
pub(crate) struct Gate {
    journal: Journal,
    durability: Durability,
    person: Person,
    /// `person` as it stands in each record.
    who: Context,
    installed: Arc<Installed>,
    memory: Memory,
    /// Whether SQL text can be lexed as the server reads it.
    reading: Reading,
    next_id: u64,
    /// Messages of this batch that are recorded on their own unless an Execute takes them in.
    lone: Vec<Lone>,
    attempts: Batch,
    outcomes: Batch,
    /// An outcome that must be durable before the client hears of it.
    outcome_is_urgent: bool,
    copied_in: u64,
    /// Statements that failed or were skipped since the last Sync: each has its outcome.
    failed: HashSet<u64>,
    begun: Instant,
    /// In the name of a column that does not exist; tells our own failures from the client's.
    nonce: String,
}

/// Who a session is of, as its records say it.
pub(crate) struct Person {
    pub(crate) session: String,
    pub(crate) identity: Identity,
    pub(crate) client: String,
    /// As the client calls itself now: it may change its mind.
    pub(crate) application: Option<String>,
    pub(crate) connection: String,
    pub(crate) role: String,
}

impl Person {
    pub(crate) fn context(&self) -> Context {
        Context::new(&Who {
            session: Some(&self.session),
            grant: None,
            identity: Some(event::Identity {
                issuer: &self.identity.issuer,
                subject: &self.identity.subject,
                ..event::Identity::default()
            }),
            client: Some(&self.client),
            application: self.application.as_deref(),
            connection: Some(&self.connection),
            role: Some(&self.role),
        })
    }
}

/// What goes with a message until it is answered.
pub(crate) enum Entry {
    /// Nothing is recorded of it.
    Plain,
    Preparing {
        id: u64,
    },
    Binding {
        id: u64,
    },
    Describing(Rc<Prepared>),
    Closing(Box<[u8]>),
    Running(Box<Running>),
    /// It was replaced, and its error will be.
    Refused(Box<Refusal>),
}

/// One statement, or those of one string, of which PostgreSQL tells the outcomes in order.
pub(crate) struct Running {
    first: u64,
    count: u64,
    /// Outcomes told.
    told: u64,
    started: Instant,
    rows: u64,
    bytes: u64,
}

/// A Parse or a Bind whose Execute may be in the same batch.
enum Lone {
    Parse { id: u64, name: Box<[u8]>, prepared: Rc<Prepared> },
    Bind { id: u64, portal: Box<[u8]>, bound: Rc<Bound> },
}

/// What decides how PostgreSQL reads a text.
#[derive(Default)]
struct Reading {
    standard_strings: bool,
    /// No byte below 0x80 is ever part of another character.
    ascii_safe: bool,
}

impl Gate {
    /// `greeting` is what the server said at login: it has the settings that matter here.
    pub(crate) fn new(
        journal: Journal,
        durability: Durability,
        person: Person,
        installed: Arc<Installed>,
        greeting: &[u8],
    ) -> Result<Gate, aws_lc_rs::error::Unspecified> {
        let mut random = [0; 16];
        aws_lc_rs::rand::fill(&mut random)?;
        let nonce = format!("gatepost-refused-{:032x}", u128::from_be_bytes(random));
        let mut gate = Gate {
            journal,
            durability,
            who: person.context(),
            person,
            installed,
            memory: Memory::default(),
            reading: Reading::default(),
            next_id: 1,
            lone: Vec::new(),
            attempts: Batch::new(),
            outcomes: Batch::new(),
            outcome_is_urgent: false,
            copied_in: 0,
            failed: HashSet::new(),
            begun: Instant::now(),
            nonce,
        };
        let mut rest = greeting;
        while let Ok(Some(frame)) = wire::frame::whole(rest, rest.len()) {
            if frame.tag == backend::PARAMETER_STATUS {
                gate.parameter(frame.body);
            }
            rest = rest.get(wire::frame::HEADER_BYTES + frame.body_bytes..).unwrap_or_default();
        }
        Ok(gate)
    }

    /// The last record of the session.
    pub(crate) async fn end(mut self, reason: &str) {
        let duration = self.begun.elapsed().as_micros();
        let ends = SessionEnds {
            reason,
            statements: Some(self.next_id - 1),
            duration_us: Some(u64::try_from(duration).unwrap_or(u64::MAX)),
        };
        self.outcomes.push(&self.who, &Event::SessionEnds(ends));
        let recorded = record(&self.journal, &self.outcomes, Durability::Relaxed, false).await;
        if let Err(error) = recorded {
            let session = &self.person.session;
            tracing::error!(session, %error, "the end of a session could not be recorded");
        }
    }

    // ---- from the client

    /// Looks at a message that wants to pass, and notes what it is about to do.
    pub(crate) fn look(&mut self, frame: &Frame<'_>) -> Entry {
        let is_whole = frame.body.len() == frame.body_bytes;
        match frame.tag {
            frontend::QUERY => self.query(frame.body, is_whole, frame.body_bytes),
            frontend::PARSE => self.parse(frame.body, is_whole, frame.body_bytes),
            frontend::BIND => self.bind(frame.body),
            frontend::EXECUTE => self.execute(frame.body),
            frontend::FUNCTION_CALL => self.function_call(frame.body),
            frontend::DESCRIBE => match frame.body.split_first() {
                Some((b'S', name)) => frontend::name(name)
                    .and_then(|name| self.memory.statement(name))
                    .map_or(Entry::Plain, Entry::Describing),
                _ => Entry::Plain,
            },
            frontend::CLOSE => match frame.body.split_first() {
                Some((b'S', name)) => {
                    frontend::name(name).map_or(Entry::Plain, |name| Entry::Closing(name.into()))
                }
                _ => Entry::Plain,
            },
            frontend::COPY_DATA => {
                self.copied_in += frame.body_bytes as u64;
                Entry::Plain
            }
            frontend::SYNC
            | frontend::FLUSH
            | frontend::COPY_DONE
            | frontend::COPY_FAIL
            | frontend::TERMINATE => Entry::Plain,
            // Servers end the session over it. That it was tried is noted.
            _ => self.unreadable("unknown", frame.body, frame.body_bytes),
        }
    }

    /// What was looked at has to be recorded before more is looked at.
    pub(crate) fn is_full(&self) -> bool {
        self.attempts.bytes() + self.lone.len() * LONE_BYTES >= ATTEMPTS_BYTES_MAX
    }

    fn query(&mut self, body: &[u8], is_whole: bool, body_bytes: usize) -> Entry {
        self.record_lone(u64::MAX);
        let text = match body.split_last() {
            Some((0, text)) if is_whole => text,
            _ => body,
        };
        let read = if is_whole { self.reading.text(text) } else { None };
        let pieces = read.as_deref().and_then(|text| sql::split::statements(text).ok());
        let first = self.next_id;
        let patterns = &self.installed.patterns;
        let mut push = |id, text: &Recorded| {
            let statement = Statement {
                id,
                kind: "query",
                text: Some(text.as_text()),
                verdict: "allow",
                ..Statement::default()
            };
            self.attempts.push(&self.who, &Event::Statement(statement));
        };
        let count = match (&read, pieces.as_deref()) {
            (Some(read), Some(pieces @ [_, _, ..])) => {
                for (id, span) in (first..).zip(pieces) {
                    let piece = read.get(span.clone()).unwrap_or_default();
                    push(id, &recorded(Some(piece), piece.as_bytes(), piece.len(), patterns).0);
                }
                pieces.len() as u64
            }
            (read, _) => {
                let (text, _) = recorded(read.as_deref(), text, body_bytes, patterns);
                push(first, &text);
                1
            }
        };
        self.next_id += count;
        Entry::Running(Running::new(first, count))
    }

    fn parse(&mut self, body: &[u8], is_whole: bool, body_bytes: usize) -> Entry {
        let Some(parse) = Parse::read(body, is_whole) else {
            // Not a Parse: the server says so. What it was is still noted.
            return self.unreadable("parse", body, body_bytes);
        };
        let read = if parse.text_is_cut { None } else { self.reading.text(parse.text) };
        let (text, secrets) =
            recorded(read.as_deref(), parse.text, body_bytes, &self.installed.patterns);
        let prepared = Rc::new(Prepared { text, secrets, types: RefCell::new(parse.types) });
        self.memory.prepare(parse.name, prepared.clone());
        let id = self.take_id();
        self.lone.push(Lone::Parse { id, name: parse.name.into(), prepared });
        Entry::Preparing { id }
    }

    fn bind(&mut self, body: &[u8]) -> Entry {
        let Some(bind) = Bind::read(body) else {
            return self.unreadable("bind", body, body.len());
        };
        let prepared = self.memory.statement(bind.statement);
        // What the statement was prepared for in the same batch is recorded once, with the rest.
        let id =
            match self.lone.iter().rposition(
                |lone| matches!(lone, Lone::Parse { name, .. } if **name == *bind.statement),
            ) {
                Some(at) => self.lone.remove(at).id(),
                None => self.take_id(),
            };
        let bound = Rc::new(Bound {
            statement: bind.statement.into(),
            prepared,
            values: bind.parameters.iter().map(keep).collect(),
            is_cut: bind.is_cut,
        });
        self.memory.bind(bind.portal, bound.clone());
        self.lone.push(Lone::Bind { id, portal: bind.portal.into(), bound });
        Entry::Binding { id }
    }

    fn execute(&mut self, body: &[u8]) -> Entry {
        let Some(portal) = frontend::name(body) else {
            return self.unreadable("execute", body, body.len());
        };
        let bound = self.memory.portal(portal);
        let id = match self.lone.iter().rposition(
            |lone| matches!(lone, Lone::Bind { portal: other, .. } if **other == *portal),
        ) {
            Some(at) => self.lone.remove(at).id(),
            None => self.take_id(),
        };
        self.record_lone(id);
        self.attempt_of_portal(id, "execute", portal, bound.as_deref());
        Entry::Running(Running::new(id, 1))
    }

    fn function_call(&mut self, body: &[u8]) -> Entry {
        let Some(call) = FunctionCall::read(body) else {
            return self.unreadable("function", body, body.len());
        };
        self.record_lone(u64::MAX);
        let id = self.take_id();
        // Which argument is a secret the function alone knows: none is kept.
        let kept: Vec<Kept> = call.arguments.iter().map(keep).collect();
        let arguments: Vec<_> = kept.iter().map(|kept| kept.parameter(None, true)).collect();
        let function = call.function.to_string();
        let statement = Statement {
            id,
            kind: "function",
            name: Some(&function),
            parameters: &arguments,
            parameters_cut: call.is_cut,
            verdict: "allow",
            ..Statement::default()
        };
        self.attempts.push(&self.who, &Event::Statement(statement));
        Entry::Running(Running::new(id, 1))
    }

    /// A message whose body is not what its tag says. PostgreSQL refuses it without running
    /// anything; the record says that it was tried.
    fn unreadable(&mut self, kind: &'static str, body: &[u8], bytes: usize) -> Entry {
        self.record_lone(u64::MAX);
        let id = self.take_id();
        let text = withheld(body, bytes);
        let statement = Statement {
            id,
            kind,
            text: Some(text.as_text()),
            verdict: "allow",
            ..Statement::default()
        };
        self.attempts.push(&self.who, &Event::Statement(statement));
        Entry::Binding { id }
    }

    fn attempt_of_portal(
        &mut self,
        id: u64,
        kind: &'static str,
        portal: &[u8],
        bound: Option<&Bound>,
    ) {
        let prepared = bound.and_then(|bound| bound.prepared.as_deref());
        let types = prepared.map(|prepared| prepared.types.borrow());
        let parameters: Vec<Parameter<'_>> = bound
            .map_or([].as_slice(), |bound| &bound.values)
            .iter()
            .zip(1u16..)
            .map(|(kept, number)| {
                let oid = types.as_ref().and_then(|types| types.get(usize::from(number) - 1));
                kept.parameter(oid.copied(), prepared.is_none_or(|p| p.secrets.contain(number)))
            })
            .collect();
        let name = bound.map(|bound| String::from_utf8_lossy(&bound.statement));
        let portal = String::from_utf8_lossy(portal);
        let statement = Statement {
            id,
            kind,
            text: prepared.map(|prepared| prepared.text.as_text()),
            name: name.as_deref().filter(|name| !name.is_empty()),
            portal: Some(&*portal).filter(|portal| !portal.is_empty()),
            parameters: &parameters,
            parameters_cut: bound.is_some_and(|bound| bound.is_cut),
            verdict: "allow",
            ..Statement::default()
        };
        self.attempts.push(&self.who, &Event::Statement(statement));
    }

    /// What was sent before message `id` and no Execute has taken in is recorded on its own, so
    /// that records stand in the order of the messages. PostgreSQL runs code while it plans, so a
    /// Bind can do something without an Execute.
    fn record_lone(&mut self, id: u64) {
        let before = self.lone.iter().take_while(|lone| lone.id() < id).count();
        if before == 0 {
            return;
        }
        let later = self.lone.split_off(before);
        for lone in std::mem::replace(&mut self.lone, later) {
            match lone {
                Lone::Parse { id, name, prepared } => {
                    let name = String::from_utf8_lossy(&name);
                    let statement = Statement {
                        id,
                        kind: "parse",
                        text: Some(prepared.text.as_text()),
                        name: Some(&*name).filter(|name| !name.is_empty()),
                        verdict: "allow",
                        ..Statement::default()
                    };
                    self.attempts.push(&self.who, &Event::Statement(statement));
                }
                Lone::Bind { id, portal, bound } => {
                    self.attempt_of_portal(id, "bind", &portal, Some(&bound));
                }
            }
        }
    }

    fn take_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    // ---- from the server

    /// A part of the answer to the message that `entry` goes with. `Some` is an error of ours to
    /// put in the place of the server's.
    pub(crate) fn part(&mut self, entry: &mut Entry, frame: &Frame<'_>) -> Option<Vec<u8>> {
        match (entry, frame.tag) {
            (Entry::Running(running), backend::DATA_ROW | backend::COPY_DATA) => {
                running.rows += 1;
                running.bytes += frame.body_bytes as u64;
            }
            (Entry::Running(running), backend::COMMAND_COMPLETE) => {
                self.completed(running, frame.body);
            }
            (Entry::Running(running), backend::EMPTY_QUERY | backend::FUNCTION_CALL_RESPONSE) => {
                self.outcome(running, Outcome::default());
            }
            (Entry::Running(running), backend::ERROR) => {
                self.failed_at(running, frame.body);
            }
            (entry @ Entry::Refused(_), backend::ERROR) => return self.replaced(entry, frame.body),
            (Entry::Describing(prepared), backend::PARAMETER_DESCRIPTION) => {
                prepared.types.replace(backend::parameter_types(frame.body));
            }
            _ => {}
        }
        None
    }

    /// The last part of the answer.
    pub(crate) fn answered(&mut self, entry: Entry, frame: &Frame<'_>) {
        match (entry, frame.tag) {
            (Entry::Preparing { .. }, _) => self.memory.prepared(true),
            (Entry::Closing(name), _) => self.memory.close_statement(&name),
            (Entry::Running(mut running), backend::COMMAND_COMPLETE) => {
                self.completed(&mut running, frame.body);
            }
            (Entry::Running(mut running), backend::PORTAL_SUSPENDED) => {
                self.outcome(
                    &mut running,
                    Outcome { cut: Some("suspended"), ..Outcome::default() },
                );
            }
            (Entry::Running(mut running), backend::READY_FOR_QUERY) => {
                // An error ended the string, or it had fewer statements than pieces.
                while running.told < running.count {
                    self.outcome(
                        &mut running,
                        Outcome { cut: Some("not run"), ..Outcome::default() },
                    );
                }
            }
            (Entry::Running(mut running), _) => self.outcome(&mut running, Outcome::default()),
            _ => {}
        }
        if frame.tag == backend::READY_FOR_QUERY {
            self.failed.clear();
            if frame.body == b"I" {
                self.memory.forget_portals();
            }
        }
    }

    /// The message failed and ends there. `Some` is an error to put in the place of the server's.
    pub(crate) fn failed(&mut self, mut entry: Entry, frame: &Frame<'_>) -> Option<Vec<u8>> {
        match &mut entry {
            Entry::Preparing { id } => {
                self.memory.prepared(false);
                self.failed_at(&mut Running::new(*id, 1), frame.body);
            }
            Entry::Binding { id } => self.failed_at(&mut Running::new(*id, 1), frame.body),
            Entry::Running(running) => self.failed_at(running, frame.body),
            Entry::Refused(_) => return self.replaced(&mut entry, frame.body),
            Entry::Plain | Entry::Describing(_) | Entry::Closing(_) => {}
        }
        None
    }

    /// An error before it made the server skip this message.
    pub(crate) fn skipped(&mut self, entry: Entry) {
        match entry {
            Entry::Preparing { id } => {
                self.memory.prepared(false);
                self.told_skipped(&mut Running::new(id, 1));
            }
            Entry::Binding { id } => self.told_skipped(&mut Running::new(id, 1)),
            Entry::Running(mut running) => self.told_skipped(&mut running),
            Entry::Plain | Entry::Describing(_) | Entry::Closing(_) | Entry::Refused(_) => {}
        }
    }

    /// Messages that share a record share its outcome.
    fn told_skipped(&mut self, running: &mut Running) {
        if !self.failed.contains(&running.first) {
            self.failed.insert(running.first);
            self.outcome(running, Outcome { cut: Some("skipped"), ..Outcome::default() });
        }
    }

    /// What the server says unasked.
    pub(crate) fn aside(&mut self, frame: &Frame<'_>) {
        if frame.tag == backend::PARAMETER_STATUS {
            self.parameter(frame.body);
        }
    }

    fn parameter(&mut self, body: &[u8]) {
        match backend::parameter_status(body) {
            Some((b"standard_conforming_strings", value)) => {
                self.reading.standard_strings = value == b"on";
            }
            Some((b"client_encoding", value)) => self.reading.ascii_safe = is_ascii_safe(value),
            Some((b"application_name", value)) => {
                self.person.application = Some(String::from_utf8_lossy(value).into_owned());
                self.who = self.person.context();
            }
            _ => {}
        }
    }

    fn completed(&mut self, running: &mut Running, body: &[u8]) {
        let tag = String::from_utf8_lossy(backend::command_tag(body)).into_owned();
        if matches!(tag.split(' ').next(), Some("DEALLOCATE" | "DISCARD" | "PREPARE")) {
            self.memory.forget_statements();
        }
        if tag.starts_with("COPY") && self.copied_in > 0 {
            running.bytes += std::mem::take(&mut self.copied_in);
        }
        self.outcome_is_urgent |= self.durability == Durability::Strict
            && matches!(tag.as_str(), "COMMIT" | "PREPARE TRANSACTION" | "COMMIT PREPARED");
        self.outcome(running, Outcome { tag: Some(&tag), ..Outcome::default() });
    }

    fn failed_at(&mut self, running: &mut Running, body: &[u8]) {
        let fields = ErrorFields::read(body);
        let sqlstate = String::from_utf8_lossy(fields.code);
        self.copied_in = 0;
        self.failed.insert(running.first);
        self.outcome(running, Outcome { sqlstate: Some(&sqlstate), ..Outcome::default() });
    }

    /// Tells the outcome of the next statement of `running`.
    fn outcome(&mut self, running: &mut Running, outcome: Outcome<'_>) {
        let last = running.count.saturating_sub(1);
        let id = running.first + running.told.min(last);
        running.told += 1;
        let duration = running.started.elapsed().as_micros();
        let counted = |count: u64| Some(count).filter(|&count| count > 0);
        let outcome = Outcome {
            id,
            rows: counted(std::mem::take(&mut running.rows)),
            bytes: counted(std::mem::take(&mut running.bytes)),
            duration_us: Some(u64::try_from(duration).unwrap_or(u64::MAX)),
            ..outcome
        };
        running.started = Instant::now();
        self.outcomes.push(&self.who, &Event::Outcome(outcome));
    }

    /// Our words instead of the server's, if the error is the one that we provoked. A cancel, a
    /// timeout or an aborted transaction comes as the server says it.
    fn replaced(&self, entry: &mut Entry, body: &[u8]) -> Option<Vec<u8>> {
        let Entry::Refused(refusal) = entry else {
            return None;
        };
        let fields = ErrorFields::read(body);
        let holds = |needle: &str| {
            fields.message.windows(needle.len()).any(|window| window == needle.as_bytes())
        };
        if !holds(&self.nonce) && !holds(&NO_FUNCTION.to_string()) {
            return None;
        }
        let severity = std::str::from_utf8(fields.severity).unwrap_or("ERROR");
        let mut out = Vec::new();
        refusal.write_as(severity, &mut out);
        Some(out)
    }

    /// Writes what PostgreSQL gets instead of a message that may not pass. Messages that run
    /// nothing pass as they are. `false` is such a message.
    fn substitute(&self, tag: u8, body: &[u8], out: &mut Vec<u8>) -> bool {
        let failing = format!("SELECT \"{}\"", self.nonce);
        match tag {
            frontend::QUERY => frontend::write_query(out, &failing),
            // As PostgreSQL: an unnamed Parse that fails has destroyed the unnamed statement.
            frontend::PARSE => {
                frontend::write_parse(out, frontend::name(body).unwrap_or_default(), &failing);
            }
            frontend::BIND | frontend::EXECUTE => {
                frontend::write_parse(out, REFUSED_NAME, &failing);
            }
            frontend::FUNCTION_CALL => frontend::write_function_call(out, NO_FUNCTION),
            _ => return false,
        }
        true
    }
}

/// What becomes of a batch.
pub(crate) enum Judgement<'a> {
    /// All of it passes.
    Cleared(Cleared<'a>),
    Refused(Refusal),
}

/// Judges a batch that has been looked at: its records are made durable, and then it may pass.
/// Until the grammar can prove that a statement only reads, nothing is sent before that; then the
/// records of proven reads can become durable while PostgreSQL works, and the place to wait for
/// them is before their replies are released. Not cancel-safe: dropped midway, the batch is
/// recorded and not sent.
pub(crate) async fn judge<'a>(gate: &RefCell<Gate>, batch: &'a [u8]) -> Judgement<'a> {
    let (attempts, journal, durability) = {
        let mut gate = gate.borrow_mut();
        gate.record_lone(u64::MAX);
        if gate.attempts.is_empty() {
            return Judgement::Cleared(Cleared(Cow::Borrowed(batch)));
        }
        (std::mem::take(&mut gate.attempts), gate.journal.clone(), gate.durability)
    };
    let recorded = record(&journal, &attempts, durability, durability == Durability::Strict).await;
    let mut gate = gate.borrow_mut();
    gate.attempts = attempts;
    gate.attempts.clear();
    match recorded {
        Ok(()) => Judgement::Cleared(Cleared(Cow::Borrowed(batch))),
        Err(error) => {
            // The journal itself has said so once; every statement would say it again.
            tracing::debug!(session = gate.person.session, %error, "a batch is refused");
            Judgement::Refused(Refusal::Unrecorded)
        }
    }
}

/// A message of a batch that was refused, and its bytes as far as they are here.
pub(crate) struct Held<'a> {
    pub(crate) tag: u8,
    pub(crate) entry: &'a mut Entry,
    pub(crate) bytes: &'a [u8],
}

/// What PostgreSQL gets in place of a refused batch: `held` with everything that would run
/// something replaced. `head` is the end of a message that passed before.
pub(crate) fn substituted<'a>(
    gate: &RefCell<Gate>,
    refusal: &Refusal,
    head: &[u8],
    held: impl Iterator<Item = Held<'a>>,
) -> Cleared<'static> {
    let mut gate = gate.borrow_mut();
    let mut out = head.to_vec();
    for message in held {
        let body = message.bytes.get(wire::frame::HEADER_BYTES..).unwrap_or_default();
        if gate.substitute(message.tag, body, &mut out) {
            if let Entry::Preparing { .. } = message.entry {
                gate.memory.unprepare();
            }
            *message.entry = Entry::Refused(Box::new(refusal.clone()));
        } else {
            out.extend_from_slice(message.bytes);
        }
    }
    Cleared(Cow::Owned(out))
}

/// Records what has come of statements, before the last byte of their replies is out. An error
/// means that an outcome which had to be durable is not.
pub(crate) async fn record_outcomes(gate: &RefCell<Gate>) -> Result<(), Unrecorded> {
    let (outcomes, journal, is_urgent) = {
        let mut gate = gate.borrow_mut();
        if gate.outcomes.is_empty() {
            return Ok(());
        }
        let is_urgent = std::mem::take(&mut gate.outcome_is_urgent);
        (std::mem::take(&mut gate.outcomes), gate.journal.clone(), is_urgent)
    };
    let durability = if is_urgent { Durability::Strict } else { Durability::Relaxed };
    let recorded = record(&journal, &outcomes, durability, is_urgent).await;
    let mut gate = gate.borrow_mut();
    gate.outcomes = outcomes;
    gate.outcomes.clear();
    match recorded {
        Err(error) if is_urgent => Err(error),
        Err(error) => {
            // What was tried is recorded; what came of it stays unknown there.
            let session = &gate.person.session;
            tracing::error!(session, %error, "the outcome of a statement could not be recorded");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// Appends, and waits until it is durable where somebody has to know.
pub(crate) async fn record(
    journal: &Journal,
    batch: &Batch,
    durability: Durability,
    wait: bool,
) -> Result<(), Unrecorded> {
    let ticket = journal.append(batch, durability).await?;
    if wait { ticket.durable().await } else { Ok(()) }
}

impl Running {
    fn new(first: u64, count: u64) -> Box<Running> {
        let started = Instant::now();
        Box::new(Running { first, count, told: 0, started, rows: 0, bytes: 0 })
    }
}

impl Lone {
    fn id(&self) -> u64 {
        match self {
            Lone::Parse { id, .. } | Lone::Bind { id, .. } => *id,
        }
    }
}

impl Reading {
    /// The text as characters, if it is certain where its quotes are.
    fn text<'t>(&self, text: &'t [u8]) -> Option<Cow<'t, str>> {
        (self.standard_strings && self.ascii_safe).then(|| String::from_utf8_lossy(text))
    }
}

/// Encodings in which a byte below 0x80 can be the second of a character.
/// <https://www.postgresql.org/docs/current/multibyte.html>
fn is_ascii_safe(encoding: &[u8]) -> bool {
    !matches!(
        encoding,
        b"BIG5" | b"GB18030" | b"GBK" | b"JOHAB" | b"SJIS" | b"SHIFT_JIS_2004" | b"UHC"
    )
}

/// A text as the journal may have it, and which of its parameters are secrets. `read` is the
/// text where it could be read; `bytes` is how long the message was.
fn recorded(
    read: Option<&str>,
    text: &[u8],
    bytes: usize,
    patterns: &sql::secrets::Patterns,
) -> (Recorded, Secrets) {
    match read.map(|read| sql::secrets::redact(read, patterns)) {
        Some(Ok(redacted)) => {
            let count = u32::try_from(redacted.count).unwrap_or(u32::MAX);
            let text = redacted.text.into_owned().into_boxed_str();
            (Recorded::Sql { text, redacted: count }, Secrets::These(redacted.parameters))
        }
        // Where the quotes are not known, every parameter may be a secret.
        Some(Err(_)) | None => (withheld(text, bytes), Secrets::All),
    }
}

fn withheld(text: &[u8], bytes: usize) -> Recorded {
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(digest::digest(&digest::SHA256, text).as_ref());
    Recorded::Withheld { bytes: bytes as u64, sha256 }
}

fn keep(value: &Value<'_>) -> Kept {
    let kept = value.bytes.map(|bytes| bytes.get(..PARAMETER_BYTES_MAX).unwrap_or(bytes));
    Kept {
        is_binary: value.is_binary,
        bytes: kept.map(Box::from),
        bytes_sent: value.bytes.map_or(0, <[u8]>::len),
    }
}

impl Kept {
    fn parameter(&self, oid: Option<u32>, is_secret: bool) -> Parameter<'_> {
        Parameter {
            oid: oid.unwrap_or(0),
            binary: self.is_binary,
            value: self.bytes.as_deref(),
            bytes: self.bytes_sent,
            secret: is_secret,
        }
    }
}
