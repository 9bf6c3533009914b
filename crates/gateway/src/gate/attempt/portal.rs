//! The extended protocol: statements as they are parsed, portals as they are bound, and what runs when
//! one is executed. A command is judged when it runs, anything else when it is bound.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use access::HoldId;
use audit::Parameter;
use wire::frame::Frame;
use wire::frontend::{self, Bind, Parse};

use super::Guarded;
use super::ruling::{Lone, keep};
use crate::gate::held::ToHold;
use crate::gate::judging::When;
use crate::gate::memory::{Bound, Judged, Kept, Prepared};
use crate::gate::needs::Need;
use crate::gate::outcome::Running;
use crate::gate::reading::{recorded, recorded_parsed};
use crate::gate::rules::Rules;
use crate::gate::splice::Splice;
use crate::gate::understanding::Understood;
use crate::gate::{Around, Entry, Gate, Looked, written};
use crate::refusal::{Denied, Refusal};

impl Gate {
    pub(super) fn parse(
        &mut self,
        frame: &Frame<'_>,
        is_whole: bool,
        rules: Option<&Rules>,
    ) -> Result<Looked, Need> {
        let Some(parse) = Parse::read(frame.body, is_whole) else {
            // Not a Parse: the server says so. What it was is still noted.
            return Ok(self.unreadable("parse", frame, rules));
        };
        let mut refusal = self.refused_named(rules, &[parse.name])?;
        let mut judged = None;
        match rules {
            Some(rules) if refusal.is_none() && !parse.text_is_cut => {
                let understood =
                    self.understand_declared(rules, parse.text, &parse.types, When::Prepared)?;
                refusal = understood.refusal.clone();
                judged = Some(Judged::new(parse.text.into(), false, understood));
            }
            Some(_) if refusal.is_none() => refusal = Some(Denied::Unreadable.into()),
            _ => {}
        }
        let mut splice =
            judged.as_ref().and_then(|judged| judged.understood.borrow().splice.clone());
        let mut is_shown = judged.as_ref().is_some_and(|it| it.understood.borrow().is_shown);
        if rules.is_none() && refusal.is_none() && !parse.text_is_cut {
            match self.shown(parse.text)? {
                Ok(found) => (is_shown, splice) = (found.is_some(), found),
                Err(denied) => refusal = Some(denied.into()),
            }
        }
        let shown = is_shown.then(|| Rc::from(parse.text));
        let read = if parse.text_is_cut { None } else { self.reading.text(parse.text) };
        let patterns = &self.installed.patterns;
        let (text, secrets) = match read.as_deref() {
            Some(read)
                if judged.is_some()
                    && refusal.is_none()
                    && self.reading.is_judged_as_read(parse.text) =>
            {
                recorded_parsed(read, patterns)
            }
            read => recorded(read, parse.text, frame.body_bytes, patterns),
        };
        let text = text.into_owned();
        let declared = parse.types.as_slice().into();
        let types = RefCell::new(parse.types);
        let prepared = Rc::new(Prepared { text, secrets, types, declared, judged, shown });
        let id = self.take_id();
        let name = parse.name.into();
        self.lone.push(Lone::Parse {
            id,
            name,
            prepared: prepared.clone(),
            refusal: refusal.clone(),
        });
        if let Some(refusal) = refusal {
            let position =
                prepared.judged.as_ref().and_then(|it| it.understood.borrow().refused_at);
            return Ok(self.refused(frame, refusal, id).at(position));
        }
        let instead = splice.as_ref().map(|splice| {
            let mut instead = Vec::new();
            let types = prepared.types.borrow();
            frontend::write_parse_of(&mut instead, parse.name, splice.text(), &types);
            instead
        });
        self.memory.prepare(parse.name, self.series, prepared);
        Ok(Looked { entry: Entry::Preparing { id, splice }, instead, around: None })
    }

    pub(super) fn bind(
        &mut self,
        frame: &Frame<'_>,
        rules: Option<&Rules>,
    ) -> Result<Looked, Need> {
        let Some(bind) = Bind::read(frame.body) else {
            return Ok(self.unreadable("bind", frame, rules));
        };
        let mut refusal = self.refused_named(rules, &[bind.portal, bind.statement])?;
        let mut understood = None;
        let mut prepared = None;
        let mut is_command = false;
        let mut hold = None;
        match rules {
            Some(rules) if refusal.is_none() => {
                prepared = self.memory.certain_statement(bind.statement, self.series)?;
                match command(prepared.as_deref()) {
                    // The server looks at it when it is executed.
                    Some(command) => {
                        // What has to be asked for that is asked now: a question between Bind and
                        // Execute would make a pipeline of them, in which some may not run.
                        if command.stands_on.sight.is_some() {
                            self.see()?;
                        }
                        is_command = true;
                        understood = Some(command);
                        // Whether it may run is for its Execute to say; whether people agree is
                        // asked while nothing has run yet.
                        let judged =
                            self.judged_statement(rules, prepared.as_deref(), bind.statement)?;
                        if let Ok(now) = judged {
                            let prepared = prepared.as_deref();
                            match self.hold_bind(&now, rules, prepared, &bind, frame)? {
                                Ok(found) => hold = found,
                                Err(denied) => refusal = Some(denied),
                            }
                        }
                    }
                    None => {
                        match self.judged_statement(rules, prepared.as_deref(), bind.statement)? {
                            Ok(now) => {
                                let prepared = prepared.as_deref();
                                refusal = looks_masked(&now, &bind)
                                    .or(self.expected_of_bind(&now, prepared, &bind, frame)?);
                                if refusal.is_none() {
                                    match self.hold_bind(&now, rules, prepared, &bind, frame)? {
                                        Ok(found) => hold = found,
                                        Err(denied) => refusal = Some(denied),
                                    }
                                }
                                understood = Some(now);
                            }
                            Err(denied) => refusal = Some(denied),
                        }
                    }
                }
            }
            _ => {}
        }
        let prepared = prepared.or_else(|| self.memory.statement(bind.statement));
        let lone = self.lone.iter().rposition(
            |lone| matches!(lone, Lone::Parse { name, .. } if **name == *bind.statement),
        );
        let mut renewed = None;
        let is_whole = !bind.is_cut && frame.body.len() == frame.body_bytes;
        // What is parsed in the same batch is fresh.
        if refusal.is_none()
            && is_whole
            && lone.is_none()
            && let Some(used) = prepared.as_ref().filter(|used| used.shown.is_some())
        {
            match self.renewed(used, bind.statement, frame.body)? {
                Ok(found) => renewed = found,
                Err(refused) => refusal = Some(refused),
            }
        }
        // What the statement was prepared for in the same batch is recorded once, with the rest.
        let (id, parsed) = match lone.map(|at| self.lone.remove(at)) {
            Some(Lone::Parse { id, prepared, .. }) => (id, Some(prepared)),
            _ => (self.take_id(), None),
        };
        let hold: Option<Rc<str>> = hold.map(|hold| hold.as_str().into());
        let bound = Rc::new(Bound {
            statement: bind.statement.into(),
            prepared: parsed.or(prepared),
            values: bind.parameters.iter().map(keep).collect(),
            is_cut: bind.is_cut,
            understood: understood.clone(),
            is_cursor: false,
            given: Rc::default(),
            has_begun: Cell::default(),
            hold: hold.clone(),
        });
        self.lone.push(Lone::Bind {
            id,
            portal: bind.portal.into(),
            bound: bound.clone(),
            refusal: refusal.clone(),
        });
        if let Some(refusal) = refusal {
            return Ok(self.refused(frame, refusal, id));
        }
        self.memory.bind(bind.portal, self.series, bound);
        self.series_has_begun();
        let mut splice = None;
        if let Some(understood) = understood {
            splice = understood.splice.clone();
            if !is_command {
                // Planning runs code already.
                if understood.moves.any() {
                    self.crosses_held(hold.as_deref());
                }
                self.moved_by(&understood);
            }
        }
        let entry = Entry::Binding { id, splice };
        Ok(match renewed {
            Some((instead, around)) => {
                Looked { entry, instead: Some(instead), around: Some(Box::new(around)) }
            }
            None => entry.into(),
        })
    }

    /// Why the planner's word refuses what is to be bound, if it does.
    fn expected_of_bind(
        &mut self,
        understood: &Understood,
        prepared: Option<&Prepared>,
        bind: &Bind<'_>,
        frame: &Frame<'_>,
    ) -> Result<Option<Refusal>, Need> {
        let Some(conditions) = understood.conditions().cloned() else { return Ok(None) };
        if conditions.before.is_empty() || self.is_aborted() {
            return Ok(None);
        }
        let text = prepared.and_then(|prepared| prepared.judged.as_ref());
        let text = text.and_then(|judged| std::str::from_utf8(&judged.text).ok());
        let forwarded = understood.splice.as_deref().map(Splice::text).or(text);
        let types = prepared.map_or_else(Vec::new, |prepared| prepared.types.borrow().clone());
        let is_whole = !bind.is_cut && frame.body.len() == frame.body_bytes;
        let values = Some(bind.parameters.as_slice()).filter(|_| is_whole);
        self.expected(&conditions, forwarded, &types, values)
    }

    /// The hold under which a portal is opened, if it needs one.
    fn hold_bind(
        &mut self,
        understood: &Understood,
        rules: &Rules,
        prepared: Option<&Prepared>,
        bind: &Bind<'_>,
        frame: &Frame<'_>,
    ) -> Result<Result<Option<HoldId>, Refusal>, Need> {
        let judged = prepared.and_then(|prepared| Some((prepared, prepared.judged.as_ref()?)));
        let Some((prepared, judged)) = judged else { return Ok(Ok(None)) };
        if understood.held(judged.is_sql).next().is_none() {
            return Ok(Ok(None));
        }
        let kept: Vec<Kept> = bind.parameters.iter().map(keep).collect();
        let types = prepared.types.borrow();
        let parameters: Vec<Parameter<'_>> = kept
            .iter()
            .zip(1u16..)
            .map(|(kept, number)| {
                let oid = types.get(usize::from(number) - 1).copied();
                // What is to be stored in a masked column a reviewer does not see.
                let masked =
                    understood.stored.iter().any(|(stored, _)| *stored == u32::from(number));
                kept.parameter(oid, masked || prepared.secrets.contain(number))
            })
            .collect();
        let what = ToHold {
            text: &judged.text,
            shown: &prepared.text,
            declared: &prepared.declared,
            types: &types,
            values: &bind.parameters,
            parameters: &parameters,
            is_cut: bind.is_cut || frame.body.len() < frame.body_bytes,
        };
        self.held(understood, rules, judged.is_sql, what)
    }

    /// What a prepared statement does now, or why it may not.
    fn judged_statement(
        &mut self,
        rules: &Rules,
        prepared: Option<&Prepared>,
        name: &[u8],
    ) -> Result<Result<Rc<Understood>, Refusal>, Need> {
        let Some(prepared) = prepared else {
            let name = String::from_utf8_lossy(name).into_owned();
            return Ok(Err(Denied::NoSuchStatement(name).into()));
        };
        let Some(judged) = &prepared.judged else {
            return Ok(Err(Denied::PlanChanged.into()));
        };
        let understood = self.judged_now(rules, judged, &prepared.declared)?;
        Ok(match understood.refusal.clone() {
            Some(refusal) => Err(refusal),
            None => Ok(understood),
        })
    }

    pub(super) fn execute(
        &mut self,
        frame: &Frame<'_>,
        rules: Option<&Rules>,
    ) -> Result<Looked, Need> {
        let Some(portal) = frontend::name(frame.body) else {
            return Ok(self.unreadable("execute", frame, rules));
        };
        let mut refusal = self.refused_named(rules, &[portal])?;
        let mut understood = None;
        if let Some(rules) = rules
            && refusal.is_none()
        {
            let bound = self.memory.certain_portal(portal, self.series)?;
            match self.judged_portal(rules, bound.as_deref(), portal)? {
                Ok(now) => understood = Some(now),
                Err(denied) => refusal = Some(denied),
            }
        }
        self.nothing_is_due();
        let mut guarded = None;
        let all = understood.as_deref().filter(|understood| understood.gives_rows());
        let all = all.and_then(|_| written::all_rows(frame));
        let frame = &all.as_deref().map_or(*frame, |body| Frame { body, ..*frame });
        if let Some(understood) = understood.as_deref() {
            let bound = self.memory.certain_portal(portal, self.series)?;
            refusal = self.executes_held(understood, bound.as_deref()).err();
        }
        if let Some(understood) = understood.as_deref().filter(|_| refusal.is_none()) {
            let bound = self.memory.certain_portal(portal, self.series)?;
            match self.guard_execute(understood, bound.as_deref(), frame)? {
                Ok(found) => guarded = found,
                Err(denied) => refusal = Some(denied),
            }
        }
        let lone = self.lone.iter().rposition(
            |lone| matches!(lone, Lone::Bind { portal: other, .. } if **other == *portal),
        );
        let (id, bound) = match lone.map(|at| self.lone.remove(at)) {
            Some(Lone::Bind { id, bound, .. }) => (id, Some(bound)),
            _ => (self.take_id(), self.memory.portal(portal)),
        };
        if refusal.is_none() {
            // What runs on has been counted.
            let begins = bound.as_ref().is_none_or(|bound| !bound.has_begun.replace(true));
            refusal = self.may_begin(u64::from(begins));
        }
        self.record_lone(id);
        self.attempt_of_portal(id, "execute", portal, bound.as_deref(), refusal.as_ref());
        if let Some(refusal) = refusal {
            return Ok(self.refused(frame, refusal, id));
        }
        self.series_has_begun();
        self.crosses_held(bound.as_ref().and_then(|bound| bound.hold.as_deref()));
        let mut running = Running::new(id, 1);
        running.metered = self.metered(bound.as_deref());
        let describes = bound
            .as_deref()
            .zip(understood.as_deref())
            .filter(|_| frame.body.len() == frame.body_bytes)
            .and_then(|(bound, understood)| self.describe_first(understood, bound, portal));
        if let Some(understood) = understood {
            let judged = bound.as_ref().and_then(|bound| bound.prepared.as_ref()?.judged.as_ref());
            let is_cursor = bound.as_ref().is_some_and(|bound| bound.is_cursor);
            running.splice = understood.splice.clone();
            running.asks = Some(&understood).filter(|it| !it.asked.is_empty()).cloned();
            match judged {
                Some(judged) if !is_cursor && !judged.is_sql => {
                    running.effects = self.runs(&understood, &judged.text);
                }
                // The text that made it has had its effect.
                _ => self.moved_by(&understood),
            }
        }
        if let Some((instead, around)) = guarded {
            running.is_guarded = !around.after.is_empty() || self.is_due();
            self.guards_are_sent(&around);
            let (instead, around) = (Some(instead), Some(Box::new(around)));
            let looked = Looked { entry: Entry::Running(running), instead, around };
            return Ok(looked.behind(describes, frame));
        }
        let mut instead = self.timed(frame);
        if instead.is_none()
            && let Some(body) = &all
        {
            frontend::write_execute(instead.insert(Vec::new()), body);
        }
        Ok(Looked { entry: Entry::Running(running), instead, around: None }
            .behind(describes, frame))
    }

    /// An Execute whose effects are counted, with what is sent around it. A need is nothing done.
    fn guard_execute(
        &mut self,
        understood: &Understood,
        bound: Option<&Bound>,
        frame: &Frame<'_>,
    ) -> Guarded<(Vec<u8>, Around)> {
        let commits = understood.commits() && self.may_have_deferred();
        let conditions = self.conditions_now(understood)?;
        if self.is_aborted() || !commits && conditions.is_none() {
            return Ok(Ok(None));
        }
        if !self.is_answered {
            return Err(Need::Answers);
        }
        if frame.body.len() < frame.body_bytes {
            return Ok(Err(Denied::Unreadable.into()));
        }
        if let Some(conditions) = conditions {
            if let Err(refusal) = self.can_guard(&conditions) {
                return Ok(Err(refusal));
            }
            if understood.is_command() {
                // It was not judged when it was bound. What values it has is not known any more.
                let prepared = bound.and_then(|bound| bound.prepared.as_ref());
                let text = prepared.and_then(|prepared| prepared.judged.as_ref());
                let text = text.and_then(|judged| std::str::from_utf8(&judged.text).ok());
                let forwarded = understood.splice.as_deref().map(Splice::text).or(text);
                let values = bound.filter(|bound| bound.values.is_empty()).map(|_| &[][..]);
                if let Some(refusal) = self.expected(&conditions, forwarded, &[], values)? {
                    return Ok(Err(refusal));
                }
            }
            let Some(guard) = &conditions.guard else { return Ok(Ok(None)) };
            let copies_in = understood.copies_in();
            let sent = self.guarded_execute(&conditions, guard, frame.body, copies_in);
            return Ok(Ok(Some(sent)));
        }
        if !self.has_deferred() {
            return Ok(Ok(None));
        }
        Ok(Ok(Some(self.guarded_commit_execute(frame.body))))
    }

    /// What an Execute runs: a command is understood by the server now, anything else as it was
    /// when its portal was opened.
    fn judged_portal(
        &mut self,
        rules: &Rules,
        bound: Option<&Bound>,
        portal: &[u8],
    ) -> Result<Result<Rc<Understood>, Refusal>, Need> {
        let Some(bound) = bound else {
            let name = String::from_utf8_lossy(portal).into_owned();
            return Ok(Err(Denied::NoSuchPortal(name).into()));
        };
        if !bound.is_cursor && command(bound.prepared.as_deref()).is_some() {
            let prepared = bound.prepared.as_deref();
            return self.judged_statement(rules, prepared, &bound.statement);
        }
        Ok(self.portal_now(rules, bound).map_err(Refusal::from))
    }
}

/// Why values that are to be stored in masked columns may not be, if so: they look as a mask makes
/// them, and would be written over what it hides.
fn looks_masked(understood: &Understood, bind: &Bind<'_>) -> Option<Refusal> {
    for (number, look) in &understood.stored {
        let place = usize::try_from(*number).ok()?.checked_sub(1)?;
        let unseen = match bind.parameters.get(place) {
            Some(value) => value.bytes.is_some_and(|bytes| match std::str::from_utf8(bytes) {
                Ok(text) => look.has(text),
                Err(_) => false,
            }),
            None => true,
        };
        if unseen {
            return Some(Denied::WritesMask(*number).into());
        }
    }
    None
}

/// A prepared statement that the server analyses when it is executed, not when it is bound.
fn command(prepared: Option<&Prepared>) -> Option<Rc<Understood>> {
    let judged = prepared?.judged.as_ref()?;
    let understood = judged.understood.borrow().clone();
    // What SQL can prepare is a query or a write, and is analysed when it is bound.
    (!judged.is_sql && understood.is_command()).then_some(understood)
}
