//! What came of the messages, noted from the replies as they pass: tags, rows, bytes, times and
//! errors. Each statement has one outcome.

use std::time::Instant;

use audit::Durability;
use audit::event::{Event, Outcome};
use wire::backend::{self, ErrorFields};
use wire::frame::Frame;

use super::{Entry, Gate};

/// A server's word is looked at up to here: a command's tag, an error's code, a setting's value.
const WORD_BYTES_MAX: usize = 8 << 10;

/// A client may go on for long behind an error without a Sync. Messages that share a record are
/// close to each other, so what is remembered of the others can go.
const FAILED_MAX: usize = wire::exchange::OUTSTANDING_MAX;

/// Outcomes are recorded once they are this long, also where no reply comes to wait for them.
const OUTCOMES_BYTES_MAX: usize = 256 << 10;

/// How much of a server's message has to be here before it is looked at.
pub(crate) fn wanted_of_replies(tag: u8) -> usize {
    match tag {
        backend::COMMAND_COMPLETE | backend::ERROR | backend::PARAMETER_STATUS => WORD_BYTES_MAX,
        backend::PARAMETER_DESCRIPTION => 2 + 4 * usize::from(u16::MAX),
        backend::READY_FOR_QUERY => 1,
        _ => 0,
    }
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

impl Gate {
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
                if let Some(prepared) = prepared.upgrade() {
                    prepared.types.replace(backend::parameter_types(frame.body));
                }
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

    /// A client that goes on behind an error makes outcomes and gets no replies.
    pub(crate) fn has_many_outcomes(&self) -> bool {
        self.outcomes.bytes() >= OUTCOMES_BYTES_MAX
    }

    /// Messages that share a record share its outcome.
    fn told_skipped(&mut self, running: &mut Running) {
        if self.failed.len() >= FAILED_MAX {
            self.failed.clear();
        }
        if self.failed.insert(running.first) {
            self.outcome(running, Outcome { cut: Some("skipped"), ..Outcome::default() });
        }
    }

    fn completed(&mut self, running: &mut Running, body: &[u8]) {
        let tag = backend::command_tag(body);
        let verb = tag.split(|byte| *byte == b' ').next().unwrap_or_default();
        if matches!(verb, b"DEALLOCATE" | b"DISCARD" | b"PREPARE") {
            self.memory.forget_statements();
        }
        if tag.starts_with(b"COPY") && self.copied_in > 0 {
            running.bytes += std::mem::take(&mut self.copied_in);
        }
        self.outcome_is_urgent |= self.durability == Durability::Strict
            && matches!(tag, b"COMMIT" | b"PREPARE TRANSACTION" | b"COMMIT PREPARED");
        let tag = String::from_utf8_lossy(tag);
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
        let now = Instant::now();
        let duration = now.duration_since(running.started).as_micros();
        let counted = |count: u64| Some(count).filter(|&count| count > 0);
        let outcome = Outcome {
            id,
            rows: counted(std::mem::take(&mut running.rows)),
            bytes: counted(std::mem::take(&mut running.bytes)),
            duration_us: Some(u64::try_from(duration).unwrap_or(u64::MAX)),
            ..outcome
        };
        running.started = now;
        self.outcomes.push(&self.who, &Event::Outcome(outcome));
    }
}

impl Running {
    pub(super) fn new(first: u64, count: u64) -> Box<Running> {
        let started = Instant::now();
        Box::new(Running { first, count, told: 0, started, rows: 0, bytes: 0 })
    }
}
