//! What limits do to a session: statements that may not begin any more, rows that do not reach the
//! client, statements that take too long. Counting is the business of `limits`.
//!
//! What is past a limit is cut: from that row on nothing of the statement reaches the client, the
//! server is asked to cancel it, and an error of ours takes the place of its end, whatever that is.
//! A client that has read an error skips to its Sync, and takes its transaction for failed. Where
//! the server came to the end by itself it is made to see it so, too: what comes next fails there
//! before it can commit.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use audit::event::Outcome;
use policy::{Limit, Limits};
use wire::backend::{self, ErrorFields};
use wire::frame::Frame;
use wire::frontend;

use super::memory::Bound;
use super::outcome::Running;
use super::reading::Recorded;
use super::rules::Rules;
use super::{Around, Cleared, Entry, Gate, Looked};
use crate::limits::{self, Given, Meter};
use crate::refusal::{self, Refusal};

/// A session's limits, and what they have made of it.
#[derive(Default)]
pub(super) struct Limited {
    meter: Meter,
    muted: Muted,
    /// What the server runs has to be cancelled.
    wants_cancel: bool,
    /// The client takes its transaction for failed, and it has not.
    wants_abort: bool,
    /// A series that the client takes for failed, and that has not.
    unfailed: Option<u64>,
    /// Statements outstanding whose rows are counted: what would run behind them waits.
    counted: usize,
    /// Those of them that give what they change: a Sync waits, too, for it commits.
    uncertain: usize,
}

impl Limited {
    pub(super) fn new(meter: Meter) -> Limited {
        Limited { meter, ..Limited::default() }
    }
}

/// How much a client hears of a series that it takes for failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Muted {
    #[default]
    No,
    /// The present message is the error that it reads.
    FromNext,
    UntilReady,
}

/// Why a statement does not reach its end, as far as the client can see.
pub(super) struct Cut {
    refusal: Refusal,
    is_told: bool,
    /// The server may come to the end by itself all the same, and then that is what counts.
    is_race: bool,
}

/// What a limit has to know of a statement that runs.
#[derive(Default)]
pub(super) struct Metered {
    given: Given,
    /// Of a portal, which can be executed in parts.
    portal: Option<Rc<Cell<Given>>>,
    cut: Option<Box<Cut>>,
    /// The series that it is in; none of a simple query.
    series: Option<u64>,
    is_counted: bool,
    is_uncertain: bool,
}

impl Metered {
    pub(super) fn is_cut(&self) -> bool {
        self.cut.as_ref().is_some_and(|cut| !cut.is_race)
    }
}

impl Gate {
    /// The policies are others now.
    pub(super) fn renew_limits(&mut self, rules: Option<&Rules>) -> Result<(), Refusal> {
        let none = Limits::default();
        let limits = rules.map_or(&none, |rules| rules.in_force().limits());
        let (meter, identity) = (&mut self.limited.meter, &self.person.identity);
        let of = limits::Owned { identity, grant: self.tenure.as_ref().map(|it| &it.served.grant) };
        let renewed = self.gateway.ledgers.renew(meter, of, limits, limits::now_ms());
        renewed.map_err(|reached| Refusal::Limit(Box::new(reached)))
    }

    pub(super) fn meter(&self) -> &Meter {
        &self.limited.meter
    }

    /// So many statements are about to run: whether they may, as far as limits go.
    pub(super) fn may_begin(&mut self, statements: u64) -> Option<Refusal> {
        let meter = &mut self.limited.meter;
        if meter.is_idle() {
            return None;
        }
        let begun = meter.runs().and_then(|()| meter.statements(statements, limits::now_ms()));
        begun.err().map(|reached| Refusal::Limit(Box::new(reached)))
    }

    /// A portal is about to run.
    pub(super) fn metered(&mut self, bound: Option<&Bound>) -> Metered {
        let series = Some(self.series);
        if !self.limited.meter.counts_rows() {
            return Metered { series, ..Metered::default() };
        }
        let (is_counted, is_uncertain) = bound.map_or((true, true), gives);
        self.limited.counted += usize::from(is_counted);
        self.limited.uncertain += usize::from(is_uncertain);
        let portal = bound.map(|bound| bound.given.clone());
        Metered { portal, series, is_counted, is_uncertain, ..Metered::default() }
    }

    /// Whether a message has to wait until it is certain that nothing before it is cut.
    pub(super) fn awaits_certainty(&self, tag: u8) -> bool {
        match tag {
            frontend::FLUSH | frontend::COPY_DATA => false,
            frontend::SYNC => self.limited.uncertain > 0,
            _ => self.limited.counted > 0,
        }
    }

    pub(super) fn is_certain(&mut self, running: &Running) {
        self.limited.counted -= usize::from(running.metered.is_counted);
        self.limited.uncertain -= usize::from(running.metered.is_uncertain);
    }

    /// The end of a series that has to fail and has not: it is made to.
    pub(super) fn failing_sync(&mut self) -> Option<Looked> {
        self.limited.unfailed.take_if(|series| *series == self.series)?;
        let mut instead = Vec::new();
        frontend::write_parse(&mut instead, self.nonce.as_bytes(), &self.failing());
        frontend::write_sync(&mut instead);
        let around = Around { before: vec![(frontend::PARSE, Entry::Spoiling)], after: Vec::new() };
        Some(Looked { entry: Entry::Plain, instead: Some(instead), around: Some(Box::new(around)) })
    }

    /// A part of what a statement gives, or its end. `Some` stands in its place.
    pub(super) fn limit(&mut self, running: &mut Running, frame: &Frame<'_>) -> Option<Vec<u8>> {
        match &running.metered.cut {
            Some(cut) if !cut.is_race => return Some(self.part_of_cut(running, frame)),
            Some(_)
                if frame.tag == backend::ERROR
                    && refusal::is_cancelled(ErrorFields::read(frame.body).code) =>
            {
                return Some(self.part_of_cut(running, frame));
            }
            _ => {}
        }
        if frame.tag == backend::COMMAND_COMPLETE {
            // What follows in the same string is another statement.
            running.metered.given = Given::default();
        }
        let is_row = matches!(
            frame.tag,
            backend::DATA_ROW | backend::COPY_DATA | backend::FUNCTION_CALL_RESPONSE
        );
        if !is_row || !self.limited.meter.counts_rows() {
            return None;
        }
        let metered = &mut running.metered;
        let mut given = metered.portal.as_ref().map_or(metered.given, |portal| portal.get());
        let bytes = frame.body_bytes as u64;
        let counted = self.limited.meter.row(&mut given, bytes, limits::now_ms());
        match &metered.portal {
            Some(portal) => portal.set(given),
            None => metered.given = given,
        }
        let refusal = Refusal::Limit(Box::new(counted.err()?));
        running.metered.cut = Some(Box::new(Cut { refusal, is_told: false, is_race: false }));
        self.limited.wants_cancel = true;
        Some(self.part_of_cut(running, frame))
    }

    /// What the client gets of a statement that was cut: one error, where it ends.
    fn part_of_cut(&mut self, running: &mut Running, frame: &Frame<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        if !matches!(
            frame.tag,
            backend::COMMAND_COMPLETE
                | backend::ERROR
                | backend::EMPTY_QUERY
                | backend::PORTAL_SUSPENDED
                | backend::FUNCTION_CALL_RESPONSE
        ) {
            return out;
        }
        self.limited.wants_cancel = false;
        let Some(cut) = running.metered.cut.as_mut().filter(|cut| !cut.is_told) else {
            // Of a string: what ran behind it is recorded all the same.
            match frame.tag {
                _ if running.script.is_some() => {}
                backend::COMMAND_COMPLETE => self.completed(running, frame.body),
                backend::ERROR => self.failed_at(running, frame.body),
                _ => {}
            }
            return out;
        };
        cut.is_told = true;
        let has_failed = frame.tag == backend::ERROR;
        // Behind a Sync that is on its way, and in a string, nothing can be undone any more.
        let is_over = running.metered.series != Some(self.series);
        if let Refusal::Limit(reached) = &mut cut.refusal {
            let commits = self.status == b'I' || self.commits_behind();
            reached.stands = !has_failed && is_over && commits;
        }
        let refusal = cut.refusal.clone();
        let severity = if has_failed { ErrorFields::read(frame.body).severity } else { b"ERROR" };
        refusal.write_as(std::str::from_utf8(severity).unwrap_or("ERROR"), &mut out);
        let tag = match frame.tag {
            backend::COMMAND_COMPLETE => {
                Some(String::from_utf8_lossy(backend::command_tag(frame.body)))
            }
            _ => None,
        };
        let sqlstate = refusal.words().sqlstate;
        let outcome = Outcome {
            tag: tag.as_deref(),
            sqlstate: Some(&sqlstate),
            cut: Some("limit"),
            ..Outcome::default()
        };
        self.copied_in = 0;
        self.outcome(running, outcome);
        if !has_failed {
            self.limited.muted = Muted::FromNext;
            if running.metered.series == Some(self.series) {
                self.limited.unfailed = Some(self.series);
                self.doomed.get_or_insert(refusal);
            }
        }
        out
    }

    /// What the client hears of a message, when `ours` is what would stand in its place.
    /// `is_last`: nothing is outstanding behind it.
    pub(crate) fn heard(
        &mut self,
        ours: Option<Vec<u8>>,
        tag: u8,
        is_last: bool,
    ) -> Option<Vec<u8>> {
        match (self.limited.muted, tag) {
            (Muted::No, _) => ours,
            (Muted::FromNext, _) => {
                self.limited.muted = Muted::UntilReady;
                ours
            }
            (Muted::UntilReady, backend::READY_FOR_QUERY) => {
                self.limited.muted = Muted::No;
                // Where more is on its way already, that is answered as it comes.
                if self.status != b'T' || !is_last {
                    return ours;
                }
                self.limited.wants_abort = true;
                Some(Vec::new())
            }
            (Muted::UntilReady, _) => Some(Vec::new()),
        }
    }

    /// What makes an open transaction fail, or ends one of ours, in place of a ReadyForQuery that the
    /// client is still to get.
    pub(crate) fn abort(&mut self) -> Option<(Cleared<'static>, Vec<(u8, Entry)>)> {
        if !std::mem::take(&mut self.limited.wants_abort) {
            return self.unwind();
        }
        self.is_answered = false;
        let mut out = Vec::new();
        frontend::write_parse(&mut out, self.nonce.as_bytes(), &self.failing());
        frontend::write_sync(&mut out);
        let entries = vec![(frontend::PARSE, Entry::Spoiling), (frontend::SYNC, Entry::Plain)];
        Some((Cleared(out.into()), entries))
    }

    pub(crate) fn wants_abort(&self) -> bool {
        self.limited.wants_abort || self.wants_unwinding()
    }

    pub(crate) fn takes_cancel(&mut self) -> bool {
        std::mem::take(&mut self.limited.wants_cancel)
    }

    /// Nothing of this session runs.
    pub(crate) fn rests(&mut self) {
        self.limited.meter.rests();
    }

    /// What an Execute is sent as: where its time is measured, its end has to be heard of at once.
    pub(super) fn timed(&self, frame: &Frame<'_>) -> Option<Vec<u8>> {
        self.limited.meter.statement_time.as_ref()?;
        let is_whole = frame.body.len() == frame.body_bytes;
        let mut instead = Vec::new();
        frontend::write_execute(&mut instead, Some(frame.body).filter(|_| is_whole)?);
        frontend::write_flush(&mut instead);
        Some(instead)
    }

    /// Until when the statement that is being answered may run.
    pub(crate) fn due(&self, entry: &Entry) -> Option<Instant> {
        let limit = self.limited.meter.statement_time.as_ref()?;
        match entry {
            Entry::Running(running) if running.metered.cut.is_none() => {
                Some(running.started.max(self.last_told) + limit.value)
            }
            _ => None,
        }
    }

    /// It has run for too long.
    pub(crate) fn is_overdue(&mut self, entry: &mut Entry) {
        if let (Entry::Running(running), Some(limit)) =
            (entry, self.limited.meter.statement_time.clone())
        {
            let refusal = Refusal::StatementTime(limit);
            running.metered.cut = Some(Box::new(Cut { refusal, is_told: false, is_race: true }));
            self.limited.wants_cancel = true;
        }
    }

    pub(crate) fn statement_time(&self) -> Option<std::time::Duration> {
        Some(self.limited.meter.statement_time.as_ref()?.value)
    }

    /// How long a transaction may be open while nothing runs.
    pub(crate) fn idle_in_transaction(&self) -> Option<&Limit<std::time::Duration>> {
        self.limited.meter.idle_in_transaction.as_ref()
    }

    /// Whether the server keeps a transaction open.
    pub(crate) fn is_in_transaction(&self) -> bool {
        self.status != b'I'
    }
}

/// Whether a portal gives rows, and whether it gives what it changes. Whatever does the second has
/// the word in it. A wrong guess to that side costs a wait.
fn gives(bound: &Bound) -> (bool, bool) {
    const WORD: &[u8] = b"returning";
    let look = |text: &[u8]| {
        let text = text.trim_ascii_start();
        let returns = text.windows(WORD.len()).any(|window| window.eq_ignore_ascii_case(WORD));
        let writes = [&b"insert"[..], b"update", b"delete", b"merge"].iter().any(|verb| {
            text.get(..verb.len()).is_some_and(|first| first.eq_ignore_ascii_case(verb))
        });
        (returns || !writes, returns)
    };
    let Some(prepared) = &bound.prepared else { return (true, true) };
    match (&prepared.judged, &prepared.text) {
        (Some(judged), _) => look(&judged.text),
        (None, Recorded::Sql { text, .. }) => look(text.as_bytes()),
        (None, Recorded::Withheld { .. }) => (true, true),
    }
}
