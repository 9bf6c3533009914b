//! The gate: nothing reaches PostgreSQL in a session except through it. Every message is looked
//! at, what it is about to do is written down, and only then is it [`Cleared`]. Nobody else can
//! make a `Cleared`, and the server's side of a session takes nothing else.
//!
//! What came of it is written down from the replies. A message that may not pass is replaced by
//! one that PostgreSQL parses and then fails, so that transactions abort and pipelines skip as
//! they should; the error that comes back is replaced by ours.

mod attempt;
mod memory;
mod outcome;
mod reading;
mod substitute;

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashSet;
use std::io;
use std::rc::Weak;
use std::sync::Arc;
use std::time::Instant;

use audit::event::{self, Batch, Context, Event, SessionEnds, Who};
use audit::{Durability, Journal, Unrecorded};
use identity::Identity;
use tokio::io::{AsyncWriteExt, WriteHalf};
use wire::backend;
use wire::frame::Frame;

use self::attempt::Lone;
pub(crate) use self::attempt::wanted_of_messages;
use self::memory::{Memory, Prepared};
use self::outcome::Running;
pub(crate) use self::outcome::wanted_of_replies;
use self::reading::Reading;
pub(crate) use self::substitute::tag_sent;
use crate::gateway::Installed;
use crate::refusal::Refusal;
use crate::stream::Stream;

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
    /// The statement, as long as it is remembered: what waits for an answer keeps no text.
    Describing(Weak<Prepared>),
    Closing(Box<[u8]>),
    Running(Box<Running>),
    /// It was replaced, and its error will be.
    Refused(Box<Refusal>),
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

    fn take_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
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
            Some((b"client_encoding", value)) => {
                self.reading.ascii_safe = reading::is_ascii_safe(value)
            }
            Some((b"application_name", value)) => {
                self.person.application = Some(String::from_utf8_lossy(value).into_owned());
                self.who = self.person.context();
            }
            _ => {}
        }
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
    // The other loop may have noted more meanwhile.
    if gate.outcomes.is_empty() {
        gate.outcomes = outcomes;
        gate.outcomes.clear();
    }
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
