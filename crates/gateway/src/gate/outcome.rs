//! What came of the messages, noted from the replies as they pass: tags, rows, bytes, times and
//! errors. Each statement has one outcome.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use audit::Durability;
use audit::event::{Event, Outcome};
use wire::backend::{self, ErrorFields};
use wire::frame::Frame;

use super::guarded::Script;
use super::limited::Metered;
use super::memory::{Bound, Judged, Prepared};
use super::reading::{characters, recorded};
use super::splice::Splice;
use super::understanding::{Effect, Understood};
use super::{Entry, Gate, written};

/// A server's word is looked at up to here: a command's tag, an error's code, a setting's value.
const WORD_BYTES_MAX: usize = 8 << 10;

/// A client may go on for long behind an error without a Sync. Messages that share a record are
/// close to each other, so what is remembered of the others can go.
const FAILED_MAX: usize = wire::exchange::OUTSTANDING_MAX;

/// Outcomes are recorded once they are this long, also where no reply comes to wait for them.
const OUTCOMES_BYTES_MAX: usize = 256 << 10;

/// How much of a server's message has to be here before it is looked at.
pub(crate) fn wanted_of_replies_alone(tag: u8) -> usize {
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
    pub(super) told: u64,
    pub(super) started: Instant,
    rows: u64,
    bytes: u64,
    /// What it will have done to names.
    pub(super) effects: Option<Effects>,
    pub(super) splice: Option<Rc<Splice>>,
    pub(super) metered: Metered,
    /// Of a string that has texts of ours in it.
    pub(super) script: Option<Box<Script>>,
    /// A guard of ours follows it.
    pub(super) is_guarded: bool,
    /// A text that asks what it leaves behind.
    pub(super) asks: Option<Rc<Understood>>,
}

/// A judged text some of whose statements prepare, declare or close.
pub(super) struct Effects {
    pub(super) understood: Rc<Understood>,
    pub(super) text: Rc<[u8]>,
}

impl Gate {
    /// A part of the answer to the message that `entry` goes with. `Some` is an error of ours to
    /// put in the place of the server's.
    pub(crate) fn part(&mut self, entry: &mut Entry, frame: &Frame<'_>) -> Option<Vec<u8>> {
        self.hears_of_held(frame);
        if let Entry::Running(running) = entry {
            if !running.metered.is_cut()
                && let Some(instead) = self.script(running, frame)
            {
                return Some(instead);
            }
            if running.is_asked(frame.tag) {
                return Some(Vec::new());
            }
            if let Some(instead) = self.limit(running, frame) {
                return Some(instead);
            }
        }
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
                return self.error_of(running, frame);
            }
            (entry @ Entry::Refused(_), backend::ERROR) => return self.turned(entry, frame.body),
            (Entry::Ours { .. }, _) => return self.part_of_ours(frame),
            (Entry::Spoiling | Entry::Quiet, _) => return Some(Vec::new()),
            (Entry::Guarding(guards), _) => return Some(self.part_of_guard(guards, frame)),
            (Entry::Describing { prepared, .. }, backend::PARAMETER_DESCRIPTION) => {
                if let Some(prepared) = prepared.upgrade() {
                    prepared.types.replace(backend::parameter_types(frame.body));
                }
            }
            _ => {}
        }
        None
    }

    /// The last part of the answer. `Some` stands in its place.
    pub(crate) fn answered(&mut self, entry: Entry, frame: &Frame<'_>) -> Option<Vec<u8>> {
        if frame.tag != backend::READY_FOR_QUERY {
            self.hears_of_held(frame);
        }
        let mut instead = None;
        let mut entry = entry;
        if let Entry::Running(running) = &mut entry
            && frame.tag != backend::READY_FOR_QUERY
            && let Some(ours) = self.limit(running, frame)
        {
            self.is_over(running);
            return Some(ours);
        }
        match (entry, frame.tag) {
            (Entry::Ours { is_last }, _) => instead = self.ours_answered(is_last),
            (Entry::Spoiling | Entry::Quiet, _) => instead = Some(Vec::new()),
            (Entry::Guarding(guards), _) => instead = Some(self.guard_answered(*guards)),
            (Entry::Describing { gives_rows: true, .. }, backend::ROW_DESCRIPTION) => {
                instead = Some(written::no_data());
            }
            (Entry::Preparing { .. }, _) => self.memory.prepared(true),
            (Entry::Binding { .. }, _) => self.memory.bound(true),
            (Entry::Closing(name), _) => self.memory.close_statement(&name),
            (Entry::ClosingPortal(name), _) => self.memory.close_portal(&name),
            (Entry::Running(running), backend::COMMAND_COMPLETE | backend::PORTAL_SUSPENDED) => {
                match self.hold(running, frame) {
                    Ok(nothing) => instead = Some(nothing),
                    Err(mut running) if frame.tag == backend::COMMAND_COMPLETE => {
                        self.completed(&mut running, frame.body);
                        self.is_over(&running);
                    }
                    Err(mut running) => {
                        self.is_over(&running);
                        let outcome = Outcome { cut: Some("suspended"), ..Outcome::default() };
                        self.outcome(&mut running, outcome);
                    }
                }
            }
            (Entry::Running(mut running), backend::READY_FOR_QUERY) => {
                self.script_is_over(&running);
                self.is_over(&running);
                // An error ended the string, or it had fewer statements than pieces.
                while running.told < running.count {
                    self.outcome(
                        &mut running,
                        Outcome { cut: Some("not run"), ..Outcome::default() },
                    );
                }
            }
            (Entry::Running(mut running), _) => {
                self.is_over(&running);
                self.outcome(&mut running, Outcome::default());
            }
            _ => {}
        }
        if frame.tag == backend::READY_FOR_QUERY {
            // Behind the outcomes of the statements that it ends.
            self.hears_of_held(frame);
            self.failed.clear();
            self.status = frame.body.first().copied().unwrap_or(b'E');
            if frame.body == b"I" {
                self.memory.forget_portals();
                self.sight.is_idle();
                self.nothing_is_deferred();
            }
            if self.steps_go_on() {
                instead = Some(Vec::new());
            }
        }
        instead
    }

    /// The message failed and ends there. `Some` is an error to put in the place of the server's.
    pub(crate) fn failed(&mut self, mut entry: Entry, frame: &Frame<'_>) -> Option<Vec<u8>> {
        self.hears_of_held(frame);
        if let Entry::Running(running) = &mut entry
            && let Some(ours) = self.limit(running, frame)
        {
            self.is_over(running);
            return Some(ours);
        }
        match &mut entry {
            Entry::Preparing { id, splice } => {
                self.memory.prepared(false);
                self.failed_at(&mut Running::new(*id, 1), frame.body);
                return self.theirs(splice.as_deref(), frame);
            }
            Entry::Binding { id, splice } => {
                self.memory.bound(false);
                self.failed_at(&mut Running::new(*id, 1), frame.body);
                return self.theirs(splice.as_deref(), frame);
            }
            Entry::Unreadable { id } => self.failed_at(&mut Running::new(*id, 1), frame.body),
            Entry::Running(running) => {
                self.is_over(running);
                self.failed_at(running, frame.body);
                return self.error_of(running, frame);
            }
            Entry::Refused(_) => return self.turned(&mut entry, frame.body),
            Entry::Ours { .. } => return self.ours_failed(frame),
            Entry::Spoiling => return Some(Vec::new()),
            Entry::Quiet => return self.guard_failed(None, frame),
            Entry::Guarding(guards) => return self.guard_failed(Some(guards), frame),
            Entry::Plain
            | Entry::Describing { .. }
            | Entry::Closing(_)
            | Entry::ClosingPortal(_) => {}
        }
        None
    }

    /// An error before it made the server skip this message.
    pub(crate) fn skipped(&mut self, entry: Entry) {
        match entry {
            Entry::Preparing { id, .. } => {
                self.memory.prepared(false);
                self.told_skipped(&mut Running::new(id, 1));
            }
            Entry::Binding { id, .. } => {
                self.memory.bound(false);
                self.told_skipped(&mut Running::new(id, 1));
            }
            Entry::Unreadable { id } => self.told_skipped(&mut Running::new(id, 1)),
            Entry::Running(mut running) => {
                self.is_over(&running);
                self.told_skipped(&mut running);
            }
            Entry::Refused(turned) => {
                if let Some(id) = turned.id {
                    self.told_skipped(&mut Running::new(id, 1));
                }
            }
            Entry::Plain
            | Entry::Describing { .. }
            | Entry::Closing(_)
            | Entry::ClosingPortal(_)
            | Entry::Ours { .. }
            | Entry::Spoiling
            | Entry::Quiet => {}
            Entry::Guarding(_) => self.guard_skipped(),
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

    /// A refused message has failed: its outcome is what the client reads.
    fn turned(&mut self, entry: &mut Entry, body: &[u8]) -> Option<Vec<u8>> {
        let ours = self.replaced(entry, body);
        if let Entry::Refused(turned) = entry
            && let Some(id) = turned.id.take()
        {
            let sqlstate = ours.as_ref().map(|_| turned.refusal.words().sqlstate);
            let theirs = ErrorFields::read(body).code;
            let sqlstate = sqlstate.unwrap_or_else(|| String::from_utf8_lossy(theirs).into_owned());
            self.failed.insert(id);
            let outcome = Outcome { sqlstate: Some(&sqlstate), ..Outcome::default() };
            self.outcome(&mut Running::new(id, 1), outcome);
        }
        ours
    }

    /// Nothing more comes of it.
    pub(super) fn is_over(&mut self, running: &Running) {
        self.is_certain(running);
        if running.effects.is_some() {
            self.memory.effect_answered();
        }
    }

    /// What the server has done to a name, now that it says so.
    fn took_effect(&mut self, effects: &Effects, told: u64, tag: &[u8]) {
        let at = usize::try_from(told).unwrap_or(usize::MAX);
        let Some(told) = effects.understood.statements.get(at) else { return };
        let Some(effect) = told.effect.as_ref().filter(|effect| effect.is_told_by(tag)) else {
            return;
        };
        match effect {
            Effect::Prepares { name, place } => {
                let prepared = self.prepared_by_sql(effects, at, place);
                self.memory.sql_prepared(name.as_bytes().into(), prepared);
            }
            Effect::Declares { name, place } => {
                let prepared = self.prepared_by_sql(effects, at, place);
                let cursor = Bound {
                    statement: Box::default(),
                    prepared: Some(prepared),
                    values: Vec::new(),
                    is_cut: false,
                    understood: Some(effects.understood.clone()),
                    is_cursor: true,
                    given: Rc::default(),
                    has_begun: Cell::default(),
                    hold: None,
                };
                self.memory.opened(name.as_bytes().into(), Rc::new(cursor));
            }
            Effect::Deallocates(name) => self.memory.close_statement(name.as_bytes()),
            Effect::DeallocatesAll => self.memory.forget_statements(),
            Effect::Closes(name) => self.memory.close_portal(name.as_bytes()),
            Effect::ClosesAll => self.memory.close_all_portals(),
            Effect::DiscardsAll => {
                self.memory.forget_statements();
                self.memory.close_all_portals();
            }
        }
    }

    /// One statement of a text, as something that a name stands for.
    fn prepared_by_sql(
        &self,
        effects: &Effects,
        at: usize,
        place: &std::ops::Range<usize>,
    ) -> Rc<Prepared> {
        let text = effects.text.get(place.clone()).unwrap_or_default();
        let read = self.reading.text(text);
        let (recorded, secrets) =
            recorded(read.as_deref(), text, text.len(), &self.installed.patterns);
        let understood = match effects.understood.of_several(at, &effects.text, place) {
            Some(one) => Rc::new(one),
            None => effects.understood.clone(),
        };
        Rc::new(Prepared {
            text: recorded.into_owned(),
            secrets,
            types: RefCell::default(),
            declared: Box::default(),
            judged: Some(Judged::new(text.into(), true, understood)),
            shown: None,
        })
    }

    pub(super) fn completed(&mut self, running: &mut Running, body: &[u8]) {
        let tag = backend::command_tag(body);
        let verb = tag.split(|byte| *byte == b' ').next().unwrap_or_default();
        match &running.effects {
            Some(effects) => self.took_effect(effects, running.told, tag),
            None if matches!(verb, b"DEALLOCATE" | b"DISCARD" | b"PREPARE") => {
                self.memory.forget_statements();
            }
            None => {}
        }
        if tag.starts_with(b"COPY") && self.copied_in > 0 {
            running.bytes += std::mem::take(&mut self.copied_in);
        }
        self.outcome_is_urgent |= self.durability == Durability::Strict
            && matches!(tag, b"COMMIT" | b"PREPARE TRANSACTION" | b"COMMIT PREPARED");
        let tag = characters(tag);
        self.outcome(running, Outcome { tag: Some(&tag), ..Outcome::default() });
    }

    pub(super) fn failed_at(&mut self, running: &mut Running, body: &[u8]) {
        let fields = ErrorFields::read(body);
        let ours = running.left_behind(&fields).map(|refusal| refusal.words().sqlstate);
        let sqlstate = ours.unwrap_or_else(|| String::from_utf8_lossy(fields.code).into_owned());
        self.copied_in = 0;
        self.failed.insert(running.first);
        self.outcome(running, Outcome { sqlstate: Some(&sqlstate), ..Outcome::default() });
    }

    /// Tells the outcome of the next statement of `running`.
    pub(super) fn outcome(&mut self, running: &mut Running, outcome: Outcome<'_>) {
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
        self.last_told = now;
        self.outcomes.push(&self.who, &Event::Outcome(outcome));
    }
}

impl Running {
    pub(super) fn new(first: u64, count: u64) -> Box<Running> {
        let started = Instant::now();
        Box::new(Running {
            first,
            count,
            told: 0,
            started,
            rows: 0,
            bytes: 0,
            effects: None,
            splice: None,
            metered: Metered::default(),
            script: None,
            is_guarded: false,
            asks: None,
        })
    }
}
