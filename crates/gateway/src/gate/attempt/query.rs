//! A simple query: judged whole, recorded by its statements, held or guarded where a rule asks for it,
//! and sent as it came or with texts of ours in it.

use std::rc::Rc;

use access::HoldId;
use audit::event::Statement;
use wire::frame::Frame;
use wire::frontend;

use super::Guarded;
use super::ruling::Ruling;
use crate::gate::guarded::Script;
use crate::gate::held::ToHold;
use crate::gate::judging::When;
use crate::gate::needs::Need;
use crate::gate::outcome::{Effects, Running};
use crate::gate::reading::{Recorded, recorded, recorded_parsed};
use crate::gate::rules::Rules;
use crate::gate::splice::Splice;
use crate::gate::understanding::Understood;
use crate::gate::{Entry, Gate, Looked};
use crate::refusal::{Denied, Refusal};

impl Gate {
    pub(super) fn query(
        &mut self,
        frame: &Frame<'_>,
        is_whole: bool,
        rules: Option<&Rules>,
    ) -> Result<Looked, Need> {
        self.nothing_is_due();
        let body = frame.body;
        let text = match body.split_last() {
            Some((0, text)) if is_whole => text,
            _ => body,
        };
        let goes_on_at = self.goes_on_at();
        if goes_on_at.is_some() {
            if !self.is_answered && self.unmet.is_none() {
                return Err(Need::Answers);
            }
            if self.has_failed_on_the_way() {
                return Ok(self.steps_failed(text));
            }
        }
        let mut refusal = self.refused_unseen(rules);
        let mut understood: Option<Rc<Understood>> = None;
        match rules {
            Some(rules) if refusal.is_none() && is_whole => {
                let judged = match goes_on_at {
                    Some(from) => self.understand_rest(rules, text, from)?,
                    None => self.understand(rules, text, When::Runs)?,
                };
                refusal = judged.refusal.clone();
                understood = Some(judged);
            }
            Some(_) if refusal.is_none() => refusal = Some(Denied::Unreadable.into()),
            // There are no policies any more, and part of it has run by those that there were.
            None if goes_on_at.is_some() => refusal = Some(Denied::Alone.into()),
            _ => {}
        }
        let step = understood.as_ref().and_then(|judged| judged.step.clone());
        if let (Some(judged), Some(step)) = (understood.as_deref(), &step)
            && refusal.is_none()
        {
            refusal = self.refused_as_step(judged, step, text);
        }
        let mut shown = None;
        if rules.is_none() && refusal.is_none() && is_whole {
            match self.shown(text)? {
                Ok(splice) => shown = splice,
                Err(denied) => refusal = Some(denied.into()),
            }
        }
        let mut hold = None;
        if let (Some(rules), Some(judged)) = (rules, understood.as_deref())
            && refusal.is_none()
            && judged.held(false).next().is_some()
        {
            match self.hold_query(judged, rules, text)? {
                Ok(found) => hold = found,
                Err(denied) => refusal = Some(denied),
            }
        }
        let mut guarded = None;
        if let Some(judged) = understood.as_deref().filter(|_| refusal.is_none()) {
            match self.guard_query(judged, text)? {
                Ok(found) => guarded = found,
                Err(denied) => refusal = Some(denied),
            }
            if guarded.is_none() && refusal.is_none() && self.needs_an_end(judged) {
                match std::str::from_utf8(text) {
                    Ok(read) => guarded = Some(self.ended_query(read, judged.splice.as_deref())),
                    Err(_) => refusal = Some(Denied::Unreadable.into()),
                }
            }
        }
        self.record_lone(u64::MAX);
        let read = if is_whole { self.reading.text(text) } else { None };
        // What the grammar has read need not be lexed again.
        let parsed = understood
            .as_deref()
            .filter(|_| refusal.is_none() && self.reading.is_judged_as_read(text));
        let pieces = match (parsed, read.as_deref()) {
            (Some(Understood { step: Some(step), .. }), _) => Some(step.statements.clone()),
            (Some(Understood { statements, .. }), _) if statements.len() == 1 => None,
            (_, read) => read.and_then(|text| sql::split::statements(text).ok()),
        };
        if refusal.is_none() {
            refusal = self.may_begin(pieces.as_ref().map_or(1, |pieces| pieces.len() as u64));
        }
        let patterns = &self.installed.patterns;
        if let Some(refusal) = refusal {
            // Of a string of which some has run, the rest.
            let has_run = text.get(..self.rest_begins()).unwrap_or_default().len();
            let (text, bytes) =
                (text.get(has_run..).unwrap_or_default(), frame.body_bytes - has_run);
            let read = if is_whole { self.reading.text(text) } else { None };
            let id = self.next_id;
            self.next_id += 1;
            let (recorded, _) = recorded(read.as_deref(), text, bytes, patterns);
            let ruling = Ruling::of(None, 0, Some(&refusal), None);
            let statement = Statement {
                id,
                kind: "query",
                text: Some(recorded.as_text()),
                ..ruling.statement()
            };
            self.attempts.push(&self.who, statement, ruling.only_reads);
            self.steps_are_over();
            let mut instead = Vec::new();
            let position = understood.as_ref().and_then(|understood| understood.refused_at);
            let begin = understood.and_then(|understood| understood.begin.clone());
            self.substitute_query(begin.and_then(|begin| text.get(begin)), &mut instead);
            // Should it be skipped, the series has not ended.
            if self.doomed.is_none() {
                self.series_ends();
            }
            return Ok(Looked::refused(refusal, Some(id), instead).at(position));
        }
        let first = self.next_id;
        let hold = hold.as_ref().map(HoldId::as_str);
        let everything = self.everything.as_ref();
        let mut splice = understood.as_ref().and_then(|it| it.splice.clone()).or(shown);
        let forwarded = splice
            .as_ref()
            .map(|splice| recorded(Some(splice.text()), &[], splice.text().len(), patterns).0);
        let mut push = |id: u64, text: &Recorded<'_>| {
            let at = usize::try_from(id - first).unwrap_or(0);
            let ruling = Ruling::of(understood.as_deref(), at, None, everything).under(hold);
            let statement = Statement {
                id,
                kind: "query",
                hold,
                text: Some(text.as_text()),
                forwarded: forwarded.as_ref().filter(|_| at == 0).map(Recorded::as_text),
                ..ruling.statement()
            };
            self.attempts.push(&self.who, statement, ruling.only_reads);
        };
        let count = match (&read, pieces.as_deref()) {
            (Some(read), Some(pieces)) if step.is_some() || pieces.len() > 1 => {
                for (id, span) in (first..).zip(pieces) {
                    let piece = read.get(span.clone()).unwrap_or_default();
                    push(id, &recorded(Some(piece), piece.as_bytes(), piece.len(), patterns).0);
                }
                pieces.len() as u64
            }
            (read, _) => {
                let text = match read.as_deref() {
                    Some(read) if parsed.is_some() => recorded_parsed(read, patterns).0,
                    read => recorded(read, text, frame.body_bytes, patterns).0,
                };
                push(first, &text);
                1
            }
        };
        self.next_id += count;
        let mut running = Running::new(first, count);
        running.asks = understood.clone().filter(|understood| !understood.asked.is_empty());
        running.effects = understood.and_then(|understood| self.runs(&understood, text));
        self.crosses_held(hold);
        self.series_ends();
        if let Some((around, script)) = guarded {
            splice = Some(Rc::new(around));
            running.script = Some(script);
            self.script_is_sent();
        }
        if let Some(step) = &step {
            let (before, behind) = step.around();
            let clients = usize::try_from(count).unwrap_or(usize::MAX);
            let (before, behind) = (!before.is_empty(), !behind.is_empty());
            running.script = Some(Script::around(before, clients, behind));
            self.script_is_sent();
            self.step_is_sent(step);
        }
        let instead = splice.as_ref().map(|splice| {
            let mut instead = Vec::new();
            frontend::write_query(&mut instead, splice.text());
            instead
        });
        running.splice = splice;
        let looked = Looked { entry: Entry::Running(running), instead, around: None };
        match step {
            Some(step) if !step.is_last() => {
                self.nothing_is_asked_for();
                Err(Need::Step(Box::new(looked)))
            }
            _ => Ok(looked),
        }
    }

    /// A simple query whose effects are counted, as it is sent. A need is nothing done.
    fn guard_query(
        &mut self,
        understood: &Understood,
        text: &[u8],
    ) -> Guarded<(Splice, Box<Script>)> {
        let commits = understood.commits() && self.may_have_deferred();
        let conditions = self.conditions_now(understood)?;
        let conditions = conditions.filter(|_| !understood.only_prepares());
        if self.is_aborted() || !commits && conditions.is_none() {
            return Ok(Ok(None));
        }
        if !self.is_answered {
            return Err(Need::Answers);
        }
        let Ok(read) = std::str::from_utf8(text) else {
            return Ok(Err(Denied::Unreadable.into()));
        };
        if let Some(conditions) = conditions {
            if let Err(refusal) = self.can_guard(&conditions) {
                return Ok(Err(refusal));
            }
            let forwarded = understood.splice.as_deref().map_or(read, Splice::text);
            if let Some(refusal) = self.expected(&conditions, Some(forwarded), &[], Some(&[]))? {
                return Ok(Err(refusal));
            }
            let guard = conditions.guard.as_ref();
            return Ok(Ok(guard.map(|guard| {
                self.guarded_query(&conditions, guard, read, understood.splice.as_deref())
            })));
        }
        if !self.has_deferred() {
            return Ok(Ok(None));
        }
        if understood.statements.len() > 1 {
            return Ok(Err(Denied::Alone.into()));
        }
        Ok(Ok(Some(self.guarded_commit(read))))
    }

    /// What it moves may be another from now on.
    pub(super) fn moved_by(&mut self, understood: &Understood) {
        self.sight.moved(understood.moves);
        self.options.set(&understood.sets);
    }

    /// A judged text is about to run. `Some` is what it will do to names.
    pub(super) fn runs(&mut self, understood: &Rc<Understood>, text: &[u8]) -> Option<Effects> {
        self.moved_by(understood);
        if understood.takes_back {
            self.sight.taken_back();
        }
        understood.has_effects().then(|| {
            self.memory.effect_sent();
            Effects { understood: understood.clone(), text: text.into() }
        })
    }

    /// The hold under which a string runs, if it needs one.
    fn hold_query(
        &mut self,
        understood: &Understood,
        rules: &Rules,
        text: &[u8],
    ) -> Result<Result<Option<HoldId>, Refusal>, Need> {
        let read = self.reading.text(text);
        let patterns = &self.installed.patterns;
        let (shown, _) = recorded(read.as_deref(), text, text.len(), patterns);
        let what = ToHold {
            text,
            shown: &shown,
            declared: &[],
            types: &[],
            values: &[],
            parameters: &[],
            is_cut: false,
        };
        self.held(understood, rules, false, what)
    }
}
