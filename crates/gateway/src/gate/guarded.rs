//! Statements whose effects are counted: a baseline before one and a guard behind it, in the client's
//! own transaction, and nothing of them reaches the client. What a statement says at its end is held
//! until the guard has passed. In a simple query they stand in the same string, else they are
//! messages of their own. What is deferred is counted before it is committed.

use std::rc::Rc;

use audit::event::Outcome;
use policy::{Check, Condition, Hold, Then};
use wire::backend::{self, ErrorFields};
use wire::frame::{Frame, HEADER_BYTES};
use wire::frontend;

use super::needs::{Expecting, Need};
use super::outcome::Running;
use super::splice::Splice;
use super::{Around, Entry, Gate, Looked};
use crate::conditions::{Conditions, Estimate, Guard, Verdict};
use crate::refusal::{self, Denied, Refusal};

/// Statements of a transaction whose deferred effects are still to come. One more is refused.
const DEFERRED_MAX: usize = 16;

const CONSTRAINTS: &str = "SET CONSTRAINTS ALL IMMEDIATE";

/// What a session's guards know.
pub(super) struct Guarding {
    /// The name of the setting that keeps a baseline.
    setting: String,
    /// Of the open transaction: what its statements have changed, each under its conditions.
    deferred: Vec<(Rc<Conditions>, u64)>,
    /// The end of an Execute, until its guard has passed.
    held: Option<(Box<Running>, Vec<u8>)>,
    /// Guards that are on their way.
    outstanding: usize,
    /// Of a COPY that reads: what is to be said behind its data.
    due: Option<Rc<Conditions>>,
}

/// A string with texts of ours in it.
pub(super) struct Script {
    parts: Vec<Part>,
    at: usize,
    held: Option<Vec<u8>>,
    guard: Counted,
}

enum Part {
    /// Of ours, and nobody hears of it.
    Quiet,
    Client,
    Guard(Rc<Conditions>),
}

/// What a guard has counted.
#[derive(Default)]
pub(crate) struct Counted {
    changed: Option<u64>,
    /// In a transaction block, whose deferred effects come later.
    in_block: bool,
}

/// A guard among the messages of ours.
pub(crate) struct Guards {
    conditions: Rc<Conditions>,
    counted: Counted,
}

impl Guarding {
    pub(super) fn new(random: u128) -> Guarding {
        let setting = format!("gatepost.b{random:032x}");
        Guarding { setting, deferred: Vec::new(), held: None, outstanding: 0, due: None }
    }

    /// The name of the setting that keeps a baseline.
    pub(super) fn setting(&self) -> &str {
        &self.setting
    }
}

impl Gate {
    /// Whether the rows of guards have to be looked at.
    pub(super) fn counts_changes(&self) -> bool {
        self.guarding.outstanding > 0
    }

    /// No transaction is open.
    pub(super) fn nothing_is_deferred(&mut self) {
        self.guarding.deferred.clear();
    }

    /// Whether committing has to be preceded by a count of what was deferred.
    pub(super) fn has_deferred(&self) -> bool {
        !self.guarding.deferred.is_empty()
    }

    /// Whether there may be something to count, as far as is known before the answers are in.
    pub(super) fn may_have_deferred(&self) -> bool {
        self.has_deferred() || self.guarding.outstanding > 0
    }

    /// Whether one more statement can be counted.
    pub(super) fn can_guard(&self, conditions: &Conditions) -> Result<(), Refusal> {
        match conditions.after.first() {
            Some(check) if self.guarding.deferred.len() >= DEFERRED_MAX => {
                let sentence = format!(
                    "This transaction has {DEFERRED_MAX} statements that are counted, and there is \
                     no room for another."
                );
                Err(Denied::condition(check, sentence).into())
            }
            _ => Ok(()),
        }
    }

    /// What the planner expects of a statement. `None`: it can't say. A need is to ask it.
    pub(super) fn estimated(
        &self,
        text: Option<&str>,
        types: &[u32],
        values: Option<&[frontend::Value<'_>]>,
    ) -> Result<Option<Estimate>, Need> {
        match (self.estimate, text, values) {
            (Some(estimate), _, _) => Ok(estimate),
            (None, Some(text), Some(values)) => {
                let name = self.nonce.as_bytes();
                let mut messages = Vec::new();
                let question = Estimate::question(text);
                frontend::write_parse_of(&mut messages, name, &question, types);
                frontend::write_bind(&mut messages, name, name, values);
                Err(Need::Estimate(Box::new(Expecting { messages })))
            }
            _ => Ok(None),
        }
    }

    /// Whether what the planner expects lets a statement run. A need is to ask it.
    pub(super) fn expected(
        &mut self,
        conditions: &Conditions,
        text: Option<&str>,
        types: &[u32],
        values: Option<&[frontend::Value<'_>]>,
    ) -> Result<Option<Refusal>, Need> {
        let mut refusing = conditions.before.iter().filter(|check| check.then == Then::Refuse);
        let Some(first) = refusing.clone().next() else { return Ok(None) };
        let Some(estimate) = self.estimated(text, types, values)? else {
            let sentence = "The planner can't say what to expect of this statement.".to_owned();
            return Ok(Some(Refusal::from(Denied::condition(first, sentence))));
        };
        let met = refusing.find(|check| estimate.meets(check));
        Ok(met.map(|check| {
            let Estimate { rows, cost } = estimate;
            let sentence =
                format!("The planner expects {rows} rows of this statement, at a cost of {cost}.");
            Denied::condition(check, sentence).into()
        }))
    }

    /// What people have to agree to because of what the planner expects, or can't say.
    pub(super) fn held_by_estimate(
        &self,
        conditions: Option<&Conditions>,
        text: Option<&str>,
        types: &[u32],
        values: Option<&[frontend::Value<'_>]>,
    ) -> Result<Vec<Hold>, Need> {
        let before = conditions.map_or(&[][..], |conditions| &conditions.before);
        if !before.iter().any(|check| check.then == Then::Hold) {
            return Ok(Vec::new());
        }
        let estimate = self.estimated(text, types, values)?;
        let met = |check: &&Check| estimate.is_none_or(|estimate| estimate.meets(check));
        Ok(before.iter().filter(met).filter_map(Check::hold).collect())
    }

    /// A simple query with its guard, and what its answers are. Nothing may be outstanding.
    pub(super) fn guarded_query(
        &mut self,
        conditions: &Rc<Conditions>,
        guard: &Guard,
        text: &str,
        inner: Option<&Splice>,
    ) -> (Splice, Box<Script>) {
        let setting = &self.guarding.setting;
        let in_block = self.status == b'T';
        let mut parts = vec![Part::Quiet, Part::Client];
        let mut suffix = "\n;".to_owned();
        if !in_block {
            suffix += CONSTRAINTS;
            suffix += ";";
            parts.push(Part::Quiet);
        }
        suffix += &guard.guard(setting, &self.nonce, 0);
        parts.push(Part::Guard(conditions.clone()));
        let prefix = format!("{};\n", guard.baseline(setting));
        (Splice::around(text, inner, &prefix, &suffix), Script::new(parts, in_block))
    }

    /// A simple query of one statement, in a transaction that a question of ours has begun: the end of
    /// a string of several ends that in every version, before the last of them says so.
    pub(super) fn ended_query(
        &mut self,
        text: &str,
        inner: Option<&Splice>,
    ) -> (Splice, Box<Script>) {
        let parts = vec![Part::Client, Part::Quiet];
        (Splice::around(text, inner, "", "\n;SELECT"), Script::new(parts, false))
    }

    /// A simple query that commits, behind the guards of what was deferred.
    pub(super) fn guarded_commit(&mut self, text: &str) -> (Splice, Box<Script>) {
        let mut parts = Vec::new();
        let mut prefix = String::new();
        for (text, conditions) in self.deferred_texts() {
            prefix += &text;
            prefix += ";\n";
            parts.push(conditions.map_or(Part::Quiet, Part::Guard));
        }
        parts.push(Part::Client);
        (Splice::around(text, None, &prefix, ""), Script::new(parts, false))
    }

    /// What has to pass before a transaction commits, each with its conditions if it is a guard.
    fn deferred_texts(&self) -> Vec<(String, Option<Rc<Conditions>>)> {
        let setting = |at: usize| format!("{}_{at}", self.guarding.setting);
        let deferred = self.guarding.deferred.iter().enumerate();
        let guards = deferred.filter_map(|(at, (conditions, changed))| {
            Some((at, conditions, conditions.guard.as_ref()?, *changed))
        });
        let mut texts: Vec<_> =
            guards.clone().map(|(at, _, guard, _)| (guard.baseline(&setting(at)), None)).collect();
        texts.push((CONSTRAINTS.to_owned(), None));
        texts.extend(guards.map(|(at, conditions, guard, changed)| {
            (guard.guard(&setting(at), &self.nonce, changed), Some(conditions.clone()))
        }));
        texts
    }

    /// An Execute with its guard around it.
    pub(super) fn guarded_execute(
        &mut self,
        conditions: &Rc<Conditions>,
        guard: &Guard,
        body: &[u8],
        copies_in: bool,
    ) -> (Vec<u8>, Around) {
        let setting = self.guarding.setting.clone();
        let mut out = Vec::new();
        let mut around = Around { before: Vec::new(), after: Vec::new() };
        self.question(&mut out, &mut around.before, &guard.baseline(&setting), None);
        frontend::write_execute(&mut out, body);
        if copies_in {
            // Until the client has said all, the server would take ours for data.
            self.guarding.due = Some(conditions.clone());
        } else {
            self.guard_behind(conditions, guard, &mut out, &mut around);
        }
        frontend::write_flush(&mut out);
        (out, around)
    }

    /// Another statement is about to run: what was due behind the data of a COPY is not any more.
    pub(super) fn nothing_is_due(&mut self) {
        self.guarding.due = None;
    }

    pub(super) fn is_due(&self) -> bool {
        self.guarding.due.is_some()
    }

    /// The data of a COPY ends, and its guard follows.
    pub(super) fn guarded_copy_done(&mut self) -> Option<Looked> {
        let conditions = self.guarding.due.take()?;
        let guard = conditions.guard.as_ref()?;
        let mut instead = Vec::new();
        frontend::write_copy_done(&mut instead);
        let mut around = Around { before: Vec::new(), after: Vec::new() };
        self.guard_behind(&conditions, guard, &mut instead, &mut around);
        self.guards_are_sent(&around);
        let (instead, around) = (Some(instead), Some(Box::new(around)));
        Some(Looked { entry: Entry::Plain, instead, around })
    }

    fn guard_behind(
        &mut self,
        conditions: &Rc<Conditions>,
        guard: &Guard,
        out: &mut Vec<u8>,
        around: &mut Around,
    ) {
        let in_block = self.status == b'T';
        let setting = &self.guarding.setting;
        let text = guard.guard(setting, &self.nonce, 0);
        if !in_block {
            self.question(out, &mut around.after, CONSTRAINTS, None);
        }
        let guards = Guards {
            conditions: conditions.clone(),
            counted: Counted { in_block, ..Counted::default() },
        };
        self.question(out, &mut around.after, &text, Some(guards));
    }

    /// An Execute of a COMMIT, behind the guards of what was deferred.
    pub(super) fn guarded_commit_execute(&mut self, body: &[u8]) -> (Vec<u8>, Around) {
        let mut out = Vec::new();
        let mut around = Around { before: Vec::new(), after: Vec::new() };
        for (text, conditions) in self.deferred_texts() {
            let guards =
                conditions.map(|conditions| Guards { conditions, counted: Counted::default() });
            self.question(&mut out, &mut around.before, &text, guards);
        }
        frontend::write_execute(&mut out, body);
        (out, around)
    }

    fn question(
        &mut self,
        out: &mut Vec<u8>,
        entries: &mut Vec<(u8, Entry)>,
        text: &str,
        guards: Option<Guards>,
    ) {
        // One that failed has left its name behind.
        let name = format!("{} guard", self.nonce);
        frontend::write_close(out, b'S', name.as_bytes());
        frontend::write_question(out, name.as_bytes(), text);
        let quiet = |tag| (tag, Entry::Quiet);
        entries.extend([frontend::CLOSE, frontend::PARSE, frontend::BIND].map(quiet));
        let entry = match guards {
            Some(guards) => Entry::Guarding(Box::new(guards)),
            None => Entry::Quiet,
        };
        entries.push((frontend::EXECUTE, entry));
        entries.extend([frontend::CLOSE, frontend::CLOSE].map(quiet));
    }

    /// A part of the answer to a string with texts of ours in it. `Some` stands in its place.
    pub(super) fn script(&mut self, running: &mut Running, frame: &Frame<'_>) -> Option<Vec<u8>> {
        let script = running.script.as_mut()?;
        let is_last = script.at + 1 == script.parts.len();
        let part = script.parts.get(script.at)?;
        let hidden = Some(Vec::new());
        match (part, frame.tag) {
            (_, backend::ERROR) => {
                let conditions = match part {
                    Part::Guard(conditions) => Some(conditions.clone()),
                    Part::Quiet | Part::Client => None,
                };
                script.at = script.parts.len();
                let conditions = conditions?;
                let refusal = self.guard_refusal(&conditions, frame)?;
                return Some(self.undone(running, &refusal, frame));
            }
            (Part::Client, backend::COMMAND_COMPLETE) => {
                script.at += 1;
                // Of the last one the end is held until what follows it has passed.
                if matches!(script.parts.get(script.at), None | Some(Part::Client)) {
                    return None;
                }
                script.held = Some(whole(frame));
                return hidden;
            }
            (Part::Client, _) => return None,
            (Part::Guard(_), backend::DATA_ROW) => script.guard.read(frame.body),
            (Part::Guard(conditions), backend::COMMAND_COMPLETE) => {
                let (conditions, counted) = (conditions.clone(), std::mem::take(&mut script.guard));
                script.at += 1;
                let held = script.held.take().filter(|_| is_last);
                self.has_passed(conditions, &counted);
                if let Some(held) = held {
                    self.completed(running, held.get(HEADER_BYTES..).unwrap_or_default());
                    return Some(held);
                }
            }
            (Part::Quiet, backend::COMMAND_COMPLETE) => {
                script.at += 1;
                if let Some(held) = script.held.take_if(|_| is_last) {
                    self.completed(running, held.get(HEADER_BYTES..).unwrap_or_default());
                    return Some(held);
                }
            }
            _ => {}
        }
        hidden
    }

    /// A string with texts of ours in it has been answered to its end.
    pub(super) fn script_is_over(&mut self, running: &Running) {
        self.guarding.outstanding -= usize::from(running.script.is_some());
    }

    /// An Execute has come to its end, and its guard has not. `Err` gives it back.
    pub(super) fn hold(
        &mut self,
        running: Box<Running>,
        frame: &Frame<'_>,
    ) -> Result<Vec<u8>, Box<Running>> {
        if !running.is_guarded {
            return Err(running);
        }
        self.guarding.held = Some((running, whole(frame)));
        Ok(Vec::new())
    }

    /// What the server says beside a text of ours. That SET CONSTRAINTS stands in no block is known.
    pub(crate) fn about_ours(&self, entry: &Entry, frame: &Frame<'_>) -> Option<Vec<u8>> {
        if matches!(entry, Entry::Ours { .. })
            && self.hides_notices()
            && frame.tag == backend::NOTICE
        {
            return Some(Vec::new());
        }
        let is_ours = matches!(entry, Entry::Quiet | Entry::Guarding(_));
        let is_known = is_ours
            && frame.tag == backend::NOTICE
            && refusal::is_no_transaction(ErrorFields::read(frame.body).code);
        is_known.then(Vec::new)
    }

    pub(super) fn part_of_guard(&mut self, guards: &mut Guards, frame: &Frame<'_>) -> Vec<u8> {
        if frame.tag == backend::DATA_ROW {
            guards.counted.read(frame.body);
        }
        Vec::new()
    }

    /// The guard has passed: the client hears of the end that was held.
    pub(super) fn guard_answered(&mut self, guards: Guards) -> Vec<u8> {
        self.guarding.outstanding -= 1;
        self.has_passed(guards.conditions, &guards.counted);
        let Some((mut running, held)) = self.guarding.held.take() else { return Vec::new() };
        let body = held.get(HEADER_BYTES..).unwrap_or_default();
        match held.first() {
            Some(&backend::COMMAND_COMPLETE) => self.completed(&mut running, body),
            _ => {
                let outcome = Outcome { cut: Some("suspended"), ..Outcome::default() };
                self.outcome(&mut running, outcome);
            }
        }
        self.is_over(&running);
        held
    }

    /// A message of ours around a statement has failed, and the statement with it.
    pub(super) fn guard_failed(
        &mut self,
        guards: Option<&Guards>,
        frame: &Frame<'_>,
    ) -> Option<Vec<u8>> {
        self.guarding.outstanding -= usize::from(guards.is_some());
        let refusal = guards.and_then(|guards| self.guard_refusal(&guards.conditions, frame));
        let held = self.guarding.held.take();
        let Some((mut running, _)) = held else {
            return refusal.map(|refusal| words(&refusal, frame));
        };
        self.is_over(&running);
        match refusal {
            Some(refusal) => Some(self.undone(&mut running, &refusal, frame)),
            None => {
                self.failed_at(&mut running, frame.body);
                None
            }
        }
    }

    pub(super) fn guard_skipped(&mut self) {
        self.guarding.outstanding -= 1;
    }

    pub(super) fn script_is_sent(&mut self) {
        self.guarding.outstanding += 1;
    }

    pub(super) fn guards_are_sent(&mut self, around: &Around) {
        self.guarding.outstanding += guards_in(around);
    }

    /// They are not sent after all.
    pub(super) fn guards_are_kept(&mut self, running: &Running, around: Option<&Around>) {
        self.script_is_over(running);
        self.guarding.outstanding -= around.map_or(0, guards_in);
    }

    fn has_passed(&mut self, conditions: Rc<Conditions>, counted: &Counted) {
        if !counted.in_block {
            return;
        }
        let changed = counted.changed.unwrap_or(u64::MAX);
        let deferred = &mut self.guarding.deferred;
        match deferred.iter_mut().find(|(known, _)| Rc::ptr_eq(known, &conditions)) {
            Some((_, most)) => *most = changed.max(*most),
            None => deferred.push((conditions, changed)),
        }
    }

    /// What was counted is refused: our words, and the outcome.
    fn undone(&mut self, running: &mut Running, refusal: &Refusal, frame: &Frame<'_>) -> Vec<u8> {
        let sqlstate = refusal.words().sqlstate;
        self.copied_in = 0;
        let outcome =
            Outcome { sqlstate: Some(&sqlstate), cut: Some("undone"), ..Outcome::default() };
        self.outcome(running, outcome);
        words(refusal, frame)
    }

    fn guard_refusal(&self, conditions: &Conditions, frame: &Frame<'_>) -> Option<Refusal> {
        let message = ErrorFields::read(frame.body).message;
        let denied = match Guard::verdict(message, &self.nonce)? {
            Verdict::Met { check, changed } => {
                let check = conditions.after.get(check).or(conditions.after.first())?;
                Denied::condition(check, sentence(check, changed))
            }
            Verdict::Unknown => Denied::uncountable(conditions.after.first()?),
        };
        Some(denied.into())
    }
}

impl Script {
    fn new(parts: Vec<Part>, in_block: bool) -> Box<Script> {
        let guard = Counted { in_block, ..Counted::default() };
        Box::new(Script { parts, at: 0, held: None, guard })
    }

    /// So many of the client's, with one of ours before them or behind.
    pub(super) fn around(before: bool, clients: usize, behind: bool) -> Box<Script> {
        let mut parts = Vec::new();
        parts.extend(before.then_some(Part::Quiet));
        parts.extend((0..clients).map(|_| Part::Client));
        parts.extend(behind.then_some(Part::Quiet));
        Script::new(parts, false)
    }

    /// Nothing of the client's.
    pub(super) fn quiet() -> Box<Script> {
        Script::new(vec![Part::Quiet], false)
    }
}

impl Counted {
    fn read(&mut self, body: &[u8]) {
        let text = backend::data_row(body).and_then(|row| {
            let value = (*row.first()?)?;
            std::str::from_utf8(value).ok()?.parse().ok()
        });
        self.changed = text;
    }
}

fn guards_in(around: &Around) -> usize {
    let entries = around.before.iter().chain(&around.after);
    entries.filter(|(_, entry)| matches!(entry, Entry::Guarding(_))).count()
}

fn sentence(check: &Check, changed: u64) -> String {
    match check.conditions.as_slice() {
        [Condition::EveryRow] => {
            "This statement changes every row that it could, and leaves none alone.".to_owned()
        }
        _ => format!("This statement changes {changed} rows, with what follows from it."),
    }
}

/// A message as it came.
fn whole(frame: &Frame<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    backend::write_as_it_came(&mut out, frame);
    out
}

fn words(refusal: &Refusal, frame: &Frame<'_>) -> Vec<u8> {
    let severity = ErrorFields::read(frame.body).severity;
    let mut out = Vec::new();
    refusal.write_as(std::str::from_utf8(severity).unwrap_or("ERROR"), &mut out);
    out
}
