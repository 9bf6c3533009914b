//! What a client's message is about to do, noted before it may pass: each statement with its text
//! and its parameters, in the order of the messages, and what becomes of it. How a text is judged
//! stands in `judging`; where nothing is judged, everything passes as it came.

mod portal;
mod query;
mod ruling;

use audit::event::Statement;
use wire::frame::Frame;
use wire::frontend::{self, FunctionCall};

pub(super) use self::ruling::Lone;
use self::ruling::{Ruling, keep};
use super::judging;
use super::memory::Kept;
use super::needs::{Need, Unmet};
use super::outcome::Running;
use super::reading::withheld;
use super::rules::Rules;
use super::{Entry, Gate, Looked};
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

/// What is sent of a statement whose effects are counted, if they are; or why it may not run.
pub(super) type Guarded<T> = Result<Result<Option<T>, Refusal>, Need>;

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
        let rules = self.rules.clone();
        let rules = rules.as_deref();
        let looked = match frame.tag {
            frontend::QUERY => self.query(frame, is_whole, rules)?,
            frontend::PARSE => self.parse(frame, is_whole, rules)?,
            frontend::BIND => self.bind(frame, rules)?,
            frontend::EXECUTE => self.execute(frame, rules)?,
            frontend::FUNCTION_CALL => self.function_call(frame, rules)?,
            frontend::DESCRIBE => self.describing(frame.body).into(),
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
        self.nothing_is_asked_for();
        Ok(looked)
    }

    /// What was asked for this message is not for the next.
    fn nothing_is_asked_for(&mut self) {
        self.unmet = None;
        self.looked_since = None;
        self.looked_again = 0;
        self.holding.since = None;
        self.holding.tried = None;
        self.holding.sees = false;
        self.ahead = None;
        self.is_answered = false;
        self.estimate = None;
        self.shown = None;
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

    /// Likewise, and where it can't be told which statement or portal the server takes.
    fn refused_named(
        &mut self,
        rules: Option<&Rules>,
        names: &[&[u8]],
    ) -> Result<Option<Refusal>, Need> {
        let refusal = self.refused_unseen(rules);
        if refusal.is_some() || rules.is_none() || names.iter().all(|name| name.is_ascii()) {
            return Ok(refusal);
        }
        // A change of the encoding may be on its way.
        self.sight.know_names()?;
        Ok((!self.reading.keeps_names_sent()).then(|| Denied::Unmet(Unmet::Unreadable).into()))
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
        self.options.are_unknown();
        self.crosses_held(None);
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
}
