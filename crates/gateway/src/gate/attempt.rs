//! What a client's message is about to do, noted before it may pass: each statement with its text
//! and its parameters, in the order of the messages. Whether it may pass is not decided here.

use std::cell::RefCell;
use std::rc::Rc;

use audit::event::{Event, Statement};
use audit::{PARAMETER_BYTES_MAX, Parameter};
use wire::frame::Frame;
use wire::frontend::{self, Bind, FunctionCall, Parse, Value};

use super::memory::{Bound, Kept, Prepared};
use super::outcome::Running;
use super::reading::{Recorded, recorded, withheld};
use super::{Entry, Gate};

/// A statement's text is looked at up to here. What is longer passes, and is recorded by its
/// length and the hash of this much.
const TEXT_BYTES_MAX: usize = 16 << 20;

/// The values of a Bind are looked at up to here; more pass, and are said to be cut.
const VALUES_BYTES_MAX: usize = 256 << 10;

/// The messages that hold a name and little else.
const NAMES_BYTES_MAX: usize = 16 << 10;

/// A batch is recorded and sent once its records are this long, however much more has come.
const ATTEMPTS_BYTES_MAX: usize = 256 << 10;

/// What a record that is yet to be written counts for in that.
const LONE_BYTES: usize = 512;

/// How much of a client's message has to be here before it is looked at.
pub(crate) fn wanted_of_messages(tag: u8) -> usize {
    match tag {
        frontend::QUERY | frontend::PARSE => TEXT_BYTES_MAX,
        frontend::BIND | frontend::FUNCTION_CALL => VALUES_BYTES_MAX,
        frontend::EXECUTE | frontend::DESCRIBE | frontend::CLOSE => NAMES_BYTES_MAX,
        _ => 0,
    }
}

/// A Parse or a Bind whose Execute may be in the same batch.
pub(super) enum Lone {
    Parse { id: u64, name: Box<[u8]>, prepared: Rc<Prepared> },
    Bind { id: u64, portal: Box<[u8]>, bound: Rc<Bound> },
}

impl Gate {
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
                    .map_or(Entry::Plain, |prepared| Entry::Describing(Rc::downgrade(&prepared))),
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
        let lone = self.lone.iter().rposition(
            |lone| matches!(lone, Lone::Bind { portal: other, .. } if **other == *portal),
        );
        let (id, bound) = match lone.map(|at| self.lone.remove(at)) {
            Some(Lone::Bind { id, bound, .. }) => (id, Some(bound)),
            _ => (self.take_id(), self.memory.portal(portal)),
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
    pub(super) fn record_lone(&mut self, id: u64) {
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
}

impl Lone {
    fn id(&self) -> u64 {
        match self {
            Lone::Parse { id, .. } | Lone::Bind { id, .. } => *id,
        }
    }
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
