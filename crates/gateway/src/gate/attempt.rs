//! What a client's message is about to do, noted before it may pass: each statement with its text
//! and its parameters, in the order of the messages, and what becomes of it. How a text is judged
//! stands in `judging`; where nothing is judged, everything passes as it came.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use access::HoldId;
use audit::event::Statement;
use audit::{PARAMETER_BYTES_MAX, Parameter};
use policy::RuleRef;
use sql::secrets::Patterns;
use wire::frame::Frame;
use wire::frontend::{self, Bind, FunctionCall, Parse, Value};

use super::guarded::Script;
use super::held::ToHold;
use super::judging::{self, When};
use super::memory::{Bound, Judged, Kept, Prepared};
use super::needs::Need;
use super::outcome::{Effects, Running};
use super::reading::{Recorded, characters, recorded, recorded_parsed, withheld};
use super::rules::Rules;
use super::splice::Splice;
use super::understanding::Understood;
use super::{Around, Entry, Gate, Looked};
use crate::refusal::{Denied, Refusal};

/// A statement's text is looked at up to here. What is longer passes where nothing is judged, and is
/// recorded by its length and the hash of this much.
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
    Parse { id: u64, name: Box<[u8]>, prepared: Rc<Prepared>, refusal: Option<Refusal> },
    Bind { id: u64, portal: Box<[u8]>, bound: Rc<Bound>, refusal: Option<Refusal> },
}

/// What is sent of a statement whose effects are counted, if they are; or why it may not run.
pub(super) type Guarded<T> = Result<Result<Option<T>, Refusal>, Need>;

/// What a record says of the verdict.
struct Ruling<'r> {
    verdict: &'static str,
    rule: Option<&'r RuleRef>,
    touches: &'r [Box<str>],
    /// Nothing comes of it that its record has to precede.
    only_reads: bool,
}

impl<'r> Ruling<'r> {
    /// Of statement `at` of a text.
    fn of(
        understood: Option<&'r Understood>,
        at: usize,
        refusal: Option<&'r Refusal>,
        everything: Option<&'r RuleRef>,
    ) -> Ruling<'r> {
        if let Some(refusal) = refusal {
            let rule = refusal.rule();
            return Ruling { verdict: "refuse", rule, touches: &[], only_reads: true };
        }
        let told = understood.and_then(|understood| {
            understood.statements.get(at).or_else(|| understood.statements.last())
        });
        let touches = told.map_or(&[][..], |told| &told.touches);
        Ruling {
            verdict: match understood {
                Some(understood) if understood.is_rewritten => "rewrite",
                _ => "allow",
            },
            rule: told.and_then(|told| told.by.as_ref()).or(everything),
            touches,
            only_reads: understood.is_some_and(|understood| understood.only_reads),
        }
    }

    /// People have agreed to it.
    fn under(mut self, hold: Option<&str>) -> Ruling<'r> {
        if hold.is_some() {
            self.verdict = "hold";
            self.only_reads = false;
        }
        self
    }

    fn statement(&self) -> Statement<'_> {
        Statement {
            verdict: self.verdict,
            policy: self.rule.map(|rule| &*rule.policy),
            rule: self.rule.map(|rule| &*rule.rule),
            touches: self.touches,
            ..Statement::default()
        }
    }
}

/// Whether a message could make the server do something.
pub(super) fn may_run(tag: u8) -> bool {
    matches!(
        tag,
        frontend::QUERY
            | frontend::PARSE
            | frontend::BIND
            | frontend::EXECUTE
            | frontend::FUNCTION_CALL
    )
}

impl Gate {
    /// Looks at a message that wants to pass, and notes what it is about to do. A need is nothing
    /// noted: the message is to be shown again.
    pub(crate) fn look(&mut self, frame: &Frame<'_>) -> Result<Looked, Need> {
        let is_whole = frame.body.len() == frame.body_bytes;
        if self.awaits_certainty(frame.tag) && self.unmet.is_none() {
            return Err(Need::Answers);
        }
        self.may_go_on(frame.tag)?;
        let rules = self.rules_now()?;
        let rules = rules.as_deref();
        let looked = match frame.tag {
            frontend::QUERY => self.query(frame, is_whole, rules)?,
            frontend::PARSE => self.parse(frame, is_whole, rules)?,
            frontend::BIND => self.bind(frame, rules)?,
            frontend::EXECUTE => self.execute(frame, rules)?,
            frontend::FUNCTION_CALL => self.function_call(frame, rules)?,
            frontend::DESCRIBE => match frame.body.split_first() {
                Some((b'S', name)) => frontend::name(name)
                    .and_then(|name| self.memory.statement(name))
                    .map_or(Entry::Plain, |prepared| Entry::Describing(Rc::downgrade(&prepared))),
                _ => Entry::Plain,
            }
            .into(),
            frontend::CLOSE => match frame.body.split_first() {
                Some((b'S', name)) => {
                    frontend::name(name).map_or(Entry::Plain, |name| Entry::Closing(name.into()))
                }
                Some((b'P', name)) => frontend::name(name)
                    .map_or(Entry::Plain, |name| Entry::ClosingPortal(name.into())),
                _ => Entry::Plain,
            }
            .into(),
            frontend::COPY_DATA => {
                self.copied_in += frame.body_bytes as u64;
                Entry::Plain.into()
            }
            frontend::SYNC => {
                let failing = self.failing_sync();
                self.series_ends();
                failing.unwrap_or_else(|| Entry::Plain.into())
            }
            frontend::COPY_DONE => self.guarded_copy_done().unwrap_or_else(|| Entry::Plain.into()),
            frontend::FLUSH if frame.body_bytes > 0 => self.flush_with_a_body(frame)?,
            frontend::FLUSH | frontend::COPY_FAIL | frontend::TERMINATE => Entry::Plain.into(),
            // Servers end the session over it. That it was tried is noted.
            _ => self.unreadable("unknown", frame, None),
        };
        // What was asked for this message is not for the next.
        self.unmet = None;
        self.looked_since = None;
        self.holding.since = None;
        self.holding.tried = None;
        self.holding.sees = false;
        self.ahead = None;
        self.is_answered = false;
        self.estimate = None;
        self.shown = None;
        Ok(looked)
    }

    /// What was looked at has to be recorded before more is looked at.
    pub(crate) fn is_full(&self) -> bool {
        self.attempts.bytes() + self.lone.len() * LONE_BYTES >= ATTEMPTS_BYTES_MAX
    }

    /// What comes next is not skipped because of what came before.
    fn series_ends(&mut self) {
        self.series += 1;
        self.doomed = None;
        self.series_is_over();
        self.sight.series_ends();
    }

    /// Why a message is refused whatever it says.
    fn refused_unseen(&mut self, rules: Option<&Rules>) -> Option<Refusal> {
        if let Some(refusal) = &self.doomed {
            // The server skips it, for a message of this series was refused.
            return Some(refusal.clone());
        }
        rules?;
        self.unmet.take().map(|unmet| Denied::Unmet(unmet).into())
    }

    fn query(
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
        let mut refusal = self.refused_unseen(rules);
        let mut understood: Option<Rc<Understood>> = None;
        match rules {
            Some(rules) if refusal.is_none() && is_whole => {
                let judged = self.understand(rules, text, When::Runs)?;
                refusal = judged.refusal.clone();
                understood = Some(judged);
            }
            Some(_) if refusal.is_none() => refusal = Some(Denied::Unreadable.into()),
            _ => {}
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
            (Some(Understood { statements, .. }), _) if statements.len() == 1 => None,
            (_, read) => read.and_then(|text| sql::split::statements(text).ok()),
        };
        if refusal.is_none() {
            refusal = self.may_begin(pieces.as_ref().map_or(1, |pieces| pieces.len() as u64));
        }
        let patterns = &self.installed.patterns;
        if let Some(refusal) = refusal {
            let id = self.next_id;
            self.next_id += 1;
            let (recorded, _) = recorded(read.as_deref(), text, frame.body_bytes, patterns);
            let ruling = Ruling::of(None, 0, Some(&refusal), None);
            let statement = Statement {
                id,
                kind: "query",
                text: Some(recorded.as_text()),
                ..ruling.statement()
            };
            self.attempts.push(&self.who, statement, ruling.only_reads);
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
            (Some(read), Some(pieces @ [_, _, ..])) => {
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
        running.effects = understood.and_then(|understood| self.runs(&understood, text));
        self.series_ends();
        if let Some((around, script)) = guarded {
            splice = Some(Rc::new(around));
            running.script = Some(script);
            self.script_is_sent();
        }
        let instead = splice.as_ref().map(|splice| {
            let mut instead = Vec::new();
            frontend::write_query(&mut instead, splice.text());
            instead
        });
        running.splice = splice;
        Ok(Looked { entry: Entry::Running(running), instead, around: None })
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

    /// A judged text is about to run. `Some` is what it will do to names.
    fn runs(&mut self, understood: &Rc<Understood>, text: &[u8]) -> Option<Effects> {
        self.sight.moved(understood.moves);
        if understood.takes_back {
            self.sight.taken_back();
        }
        understood.has_effects().then(|| {
            self.memory.effect_sent();
            Effects { understood: understood.clone(), text: text.into() }
        })
    }

    fn parse(
        &mut self,
        frame: &Frame<'_>,
        is_whole: bool,
        rules: Option<&Rules>,
    ) -> Result<Looked, Need> {
        let Some(parse) = Parse::read(frame.body, is_whole) else {
            // Not a Parse: the server says so. What it was is still noted.
            return Ok(self.unreadable("parse", frame, rules));
        };
        let mut refusal = self.refused_unseen(rules);
        let mut judged = None;
        match rules {
            Some(rules) if refusal.is_none() && !parse.text_is_cut => {
                let understood = self.understand(rules, parse.text, When::Prepared)?;
                refusal = understood.refusal.clone();
                let text = parse.text.into();
                let understood = RefCell::new(understood);
                judged = Some(Judged { text, is_sql: false, understood });
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

    fn bind(&mut self, frame: &Frame<'_>, rules: Option<&Rules>) -> Result<Looked, Need> {
        let Some(bind) = Bind::read(frame.body) else {
            return Ok(self.unreadable("bind", frame, rules));
        };
        let mut refusal = self.refused_unseen(rules);
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
        let mut renewed = None;
        // What is parsed in the same batch is fresh.
        let is_fresh = self
            .lone
            .iter()
            .any(|lone| matches!(lone, Lone::Parse { name, .. } if **name == *bind.statement));
        let is_whole = !bind.is_cut && frame.body.len() == frame.body_bytes;
        if refusal.is_none() && is_whole && !is_fresh {
            let used = prepared.clone().or_else(|| self.memory.statement(bind.statement));
            if let Some(used) = used.filter(|used| used.shown.is_some()) {
                match self.renewed(&used, bind.statement, frame.body)? {
                    Ok(found) => renewed = found,
                    Err(refused) => refusal = Some(refused),
                }
            }
        }
        // What the statement was prepared for in the same batch is recorded once, with the rest.
        let lone = self.lone.iter().rposition(
            |lone| matches!(lone, Lone::Parse { name, .. } if **name == *bind.statement),
        );
        let (id, parsed) = match lone.map(|at| self.lone.remove(at)) {
            Some(Lone::Parse { id, prepared, .. }) => (id, Some(prepared)),
            _ => (self.take_id(), None),
        };
        let bound = Rc::new(Bound {
            statement: bind.statement.into(),
            prepared: parsed.or(prepared).or_else(|| self.memory.statement(bind.statement)),
            values: bind.parameters.iter().map(keep).collect(),
            is_cut: bind.is_cut,
            understood: understood.clone(),
            is_cursor: false,
            given: Rc::default(),
            has_begun: Cell::default(),
            hold: hold.map(|hold| hold.as_str().into()),
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
                self.sight.moved(understood.moves);
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
        let understood = self.judged_now(rules, judged)?;
        Ok(match understood.refusal.clone() {
            Some(refusal) => Err(refusal),
            None => Ok(understood),
        })
    }

    fn execute(&mut self, frame: &Frame<'_>, rules: Option<&Rules>) -> Result<Looked, Need> {
        let Some(portal) = frontend::name(frame.body) else {
            return Ok(self.unreadable("execute", frame, rules));
        };
        let mut refusal = self.refused_unseen(rules);
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
        let mut running = Running::new(id, 1);
        running.metered = self.metered(bound.as_deref());
        if let Some(understood) = understood {
            let judged = bound.as_ref().and_then(|bound| bound.prepared.as_ref()?.judged.as_ref());
            let is_cursor = bound.as_ref().is_some_and(|bound| bound.is_cursor);
            running.splice = understood.splice.clone();
            match judged {
                Some(judged) if !is_cursor && !judged.is_sql => {
                    running.effects = self.runs(&understood, &judged.text);
                }
                // The text that made it has had its effect.
                _ => self.sight.moved(understood.moves),
            }
        }
        if let Some((instead, around)) = guarded {
            running.is_guarded = !around.after.is_empty() || self.is_due();
            self.guards_are_sent(&around);
            let (instead, around) = (Some(instead), Some(Box::new(around)));
            return Ok(Looked { entry: Entry::Running(running), instead, around });
        }
        Ok(Looked { entry: Entry::Running(running), instead: self.timed(frame), around: None })
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

    fn function_call(&mut self, frame: &Frame<'_>, rules: Option<&Rules>) -> Result<Looked, Need> {
        let Some(call) = FunctionCall::read(frame.body) else {
            return Ok(self.unreadable("function", frame, rules));
        };
        let mut refusal = self.refused_unseen(rules);
        if let Some(rules) = rules
            && refusal.is_none()
        {
            refusal = judging::refusal_of(rules.bare().decide_function_call());
        }
        if refusal.is_none() {
            refusal = self.may_begin(1);
        }
        self.record_lone(u64::MAX);
        let id = self.take_id();
        // Which argument is a secret the function alone knows: none is kept.
        let kept: Vec<Kept> = call.arguments.iter().map(keep).collect();
        let arguments: Vec<_> = kept.iter().map(|kept| kept.parameter(None, true)).collect();
        let function = call.function.to_string();
        let ruling = Ruling::of(None, 0, refusal.as_ref(), self.everything.as_ref());
        let statement = Statement {
            id,
            kind: "function",
            name: Some(&function),
            parameters: &arguments,
            parameters_cut: call.is_cut,
            ..ruling.statement()
        };
        self.attempts.push(&self.who, statement, ruling.only_reads);
        // It runs code that nobody has looked at.
        self.sight.moved(super::names::Moves::ALL);
        let is_doomed = self.doomed.is_some();
        let looked = match refusal {
            Some(refusal) => {
                let mut instead = Vec::new();
                self.substitute(frame.tag, frame.body, &mut instead);
                Looked::refused(refusal, Some(id), instead)
            }
            None => Entry::Running(Running::new(id, 1)).into(),
        };
        if !is_doomed {
            self.series_ends();
        }
        Ok(looked)
    }

    /// An extended message is refused, and the server will skip the rest of its series.
    fn refused(&mut self, frame: &Frame<'_>, refusal: Refusal, id: u64) -> Looked {
        let mut instead = Vec::new();
        self.substitute(frame.tag, frame.body, &mut instead);
        self.doomed.get_or_insert_with(|| refusal.clone());
        Looked::refused(refusal, Some(id), instead)
    }

    /// A message whose body is not what its tag says. PostgreSQL refuses it without running
    /// anything; the record says that it was tried. Where statements are judged it is not left to
    /// the server to read it another way.
    fn unreadable(
        &mut self,
        kind: &'static str,
        frame: &Frame<'_>,
        rules: Option<&Rules>,
    ) -> Looked {
        self.record_lone(u64::MAX);
        let id = self.take_id();
        let text = withheld(frame.body, frame.body_bytes);
        let refusal: Option<Refusal> = rules.map(|_| Denied::Unreadable.into());
        let ruling = Ruling::of(None, 0, refusal.as_ref(), self.everything.as_ref());
        let statement = Statement { id, kind, text: Some(text.as_text()), ..ruling.statement() };
        self.attempts.push(&self.who, statement, ruling.only_reads);
        match refusal {
            Some(refusal) => self.refused(frame, refusal, id),
            None => Entry::Unreadable { id }.into(),
        }
    }

    /// The server answers it with an error and skips to the next Sync; only where it reads a COPY or
    /// skips already it takes no notice. Which of them it is shows once all is answered.
    fn flush_with_a_body(&mut self, frame: &Frame<'_>) -> Result<Looked, Need> {
        if self.unmet.is_some() {
            let mut bare = Vec::new();
            frontend::write_flush(&mut bare);
            return Ok(Looked { entry: Entry::Plain, instead: Some(bare), around: None });
        }
        if !self.is_answered {
            return Err(Need::Answers);
        }
        Ok(self.unreadable("flush", frame, None))
    }

    fn attempt_of_portal(
        &mut self,
        id: u64,
        kind: &'static str,
        portal: &[u8],
        bound: Option<&Bound>,
        refusal: Option<&Refusal>,
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
        let name = bound.map(|bound| characters(&bound.statement));
        let portal = characters(portal);
        let understood = bound.and_then(|bound| bound.understood.as_deref());
        let patterns = &self.installed.patterns;
        let forwarded = forwarded(understood.filter(|_| refusal.is_none()), patterns);
        let hold = bound.and_then(|bound| bound.hold.as_deref()).filter(|_| refusal.is_none());
        let ruling = Ruling::of(understood, 0, refusal, self.everything.as_ref()).under(hold);
        let statement = Statement {
            id,
            kind,
            hold,
            text: prepared.map(|prepared| prepared.text.as_text()),
            name: name.as_deref().filter(|name| !name.is_empty()),
            portal: Some(&*portal).filter(|portal| !portal.is_empty()),
            parameters: &parameters,
            parameters_cut: bound.is_some_and(|bound| bound.is_cut),
            forwarded: forwarded.as_ref().map(Recorded::as_text),
            ..ruling.statement()
        };
        self.attempts.push(&self.who, statement, ruling.only_reads);
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
                Lone::Parse { id, name, prepared, refusal } => {
                    let name = String::from_utf8_lossy(&name);
                    let judged = prepared.judged.as_ref();
                    let understood = judged.map(|judged| judged.understood.borrow().clone());
                    let ruling = Ruling::of(
                        understood.as_deref(),
                        0,
                        refusal.as_ref(),
                        self.everything.as_ref(),
                    );
                    let patterns = &self.installed.patterns;
                    let passing = understood.as_deref().filter(|_| refusal.is_none());
                    let forwarded = forwarded(passing, patterns);
                    let statement = Statement {
                        id,
                        kind: "parse",
                        text: Some(prepared.text.as_text()),
                        name: Some(&*name).filter(|name| !name.is_empty()),
                        forwarded: forwarded.as_ref().map(Recorded::as_text),
                        ..ruling.statement()
                    };
                    self.attempts.push(&self.who, statement, ruling.only_reads);
                }
                Lone::Bind { id, portal, bound, refusal } => {
                    let refusal = refusal.as_ref();
                    self.attempt_of_portal(id, "bind", &portal, Some(&bound), refusal);
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

/// The text that the server has, where relations in it are disguised.
fn forwarded<'u>(understood: Option<&'u Understood>, patterns: &Patterns) -> Option<Recorded<'u>> {
    let splice = understood.filter(|understood| understood.is_rewritten)?.splice.as_ref()?;
    Some(recorded_parsed(splice.text(), patterns).0)
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
