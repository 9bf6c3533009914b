//! A string of which not all can be judged before any of it runs: a migration that makes a function
//! and then a trigger that calls it. It runs step by step, each judged by what the one before has
//! left, and all in one transaction: should a step be refused, or fail, nothing of the others stays.
//! To the client it is the one string that it sent: one ReadyForQuery, its own positions, and nothing
//! of what is put in.
//!
//! PostgreSQL runs a string in a transaction that nobody began. Such a one ends with each message, so
//! in its place there is a block of ours, in which commands may and may not do the same. What would
//! tell the two apart (SAVEPOINT, a BEGIN or COMMIT in the midst of it) is not run this way.

use std::ops::Range;
use std::rc::Rc;

use audit::event::Statement;
use sql::facts::{Kind, Transaction};
use wire::frontend;

use super::found::Found;
use super::guarded::Script;
use super::needs::Need;
use super::outcome::Running;
use super::reading::recorded;
use super::splice::Splice;
use super::understanding::Understood;
use super::{Cleared, Entry, Gate, Looked};
use crate::refusal::{Denied, Refusal};

/// Each step asks the server anew what its names mean and what it holds.
const STEPS_MAX: u32 = 256;

/// The whole string is read anew for each of its steps.
const STEPPED_BYTES_MAX: usize = 1 << 20;

/// Whose transaction the steps are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// One of ours, in the place of the one that nobody began.
    Ours,
    /// The string begins one, or stands in one that is open.
    Clients,
}

/// The statements of a string that run next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) block: Block,
    /// Nothing has run before it.
    pub(super) is_first: bool,
    /// Behind it, in the order of the string; `None` if it is the last.
    next: Option<usize>,
    /// Where it stands in the string.
    pub(super) place: Range<usize>,
    pub(super) statements: Vec<Range<usize>>,
    /// What is put into its statements, without what stands around them.
    pub(super) within: Option<Rc<Splice>>,
}

/// A string that is being run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Steps {
    block: Block,
    /// The first statement that has not run; `None` once no more will.
    next: Option<usize>,
    /// Where it stands.
    rest: usize,
    taken: u32,
    /// It has failed, and our block is still open.
    unwinds: bool,
}

impl Step {
    /// The statements `from..to` of a string.
    pub(super) fn of(text: &str, found: &[Found], from: usize, to: usize, block: Block) -> Step {
        let start = |at: usize| found.get(at).map_or(text.len(), |found| found.place.start);
        let begins = if from == 0 { 0 } else { start(from) };
        let next = (to < found.len()).then_some(to);
        let statements = found.get(from..to).unwrap_or_default();
        let statements = statements.iter().map(|found| found.place.clone()).collect();
        Step {
            block,
            is_first: from == 0,
            next,
            place: begins..start(to),
            statements,
            within: None,
        }
    }

    pub(super) fn is_last(&self) -> bool {
        self.next.is_none()
    }

    /// What is put before its text and behind it.
    pub(super) fn around(&self) -> (&'static str, &'static str) {
        match self.block {
            Block::Clients => ("", ""),
            Block::Ours => (
                if self.is_first { "BEGIN;" } else { "" },
                if self.is_last() { "\n;COMMIT" } else { "" },
            ),
        }
    }
}

impl Gate {
    /// Whether a string can run step by step, and in whose transaction. A need is to know where the
    /// session stands.
    pub(super) fn may_step(&self, text: &str, found: &[Found]) -> Result<Option<Block>, Need> {
        if let Some(steps) = &self.steps {
            return Ok((steps.taken < STEPS_MAX).then_some(steps.block));
        }
        if !self.is_answered && self.unmet.is_none() {
            return Err(Need::Answers);
        }
        if text.len() > STEPPED_BYTES_MAX || self.holding.has_begun {
            return Ok(None);
        }
        let kinds: Vec<Option<Kind>> =
            found.iter().map(|found| found.facts.as_ref().ok().map(|facts| facts.kind)).collect();
        Ok(block(&kinds, self.status))
    }

    /// The first statement of the present string that has not run, if others have.
    pub(super) fn goes_on_at(&self) -> Option<usize> {
        self.steps.as_ref()?.next
    }

    /// Where in the present string that stands.
    pub(super) fn rest_begins(&self) -> usize {
        self.steps.as_ref().map_or(0, |steps| steps.rest)
    }

    /// Whether the present string has failed: its transaction is not open any more, or has failed.
    pub(super) fn has_failed_on_the_way(&self) -> bool {
        self.steps.is_some() && self.status != b'T'
    }

    /// Why a step may not run, as steps go.
    pub(super) fn refused_as_step(
        &self,
        understood: &Understood,
        step: &Step,
        text: &[u8],
    ) -> Option<Refusal> {
        // Nobody could be shown what people would agree to; nobody sends the data of a COPY before the
        // string is over; what was deferred is counted behind one statement; and in another encoding the
        // places of the statements are others.
        let is_held = understood.held(false).next().is_some();
        let waits = understood.copies_in() && !step.is_last();
        let commits = understood.commits() && self.may_have_deferred();
        let is_other = !self.reading.is_judged_as_read(text);
        (is_held || waits || commits || is_other).then(|| Denied::Alone.into())
    }

    /// A step is on its way.
    pub(super) fn step_is_sent(&mut self, step: &Step) {
        let taken = self.steps.as_ref().map_or(0, |steps| steps.taken) + 1;
        let (block, rest) = (step.block, step.place.end);
        self.steps = Some(Steps { block, next: step.next, rest, taken, unwinds: false });
    }

    /// Nothing more of the present string will run.
    pub(super) fn steps_are_over(&mut self) {
        if let Some(steps) = &mut self.steps {
            steps.next = None;
        }
    }

    /// The end of a string of which a step has failed: what is left of it has not run, and the client
    /// has its ReadyForQuery to come.
    pub(super) fn steps_failed(&mut self, text: &[u8]) -> Looked {
        let id = self.take_id();
        let rest = text.get(self.rest_begins()..).unwrap_or_default();
        let read = self.reading.text(rest);
        let (shown, _) = recorded(read.as_deref(), rest, rest.len(), &self.installed.patterns);
        // Nobody has judged it, so nothing let it pass.
        let (text, verdict) = (Some(shown.as_text()), "refuse");
        let statement = Statement { id, kind: "query", verdict, text, ..Statement::default() };
        self.attempts.push(&self.who, statement, true);
        let mut running = Running::new(id, 1);
        running.script = Some(Script::quiet());
        self.script_is_sent();
        self.steps_are_over();
        let mut instead = Vec::new();
        frontend::write_query(&mut instead, "");
        Looked { entry: Entry::Running(running), instead: Some(instead), around: None }
    }

    /// A ReadyForQuery has come. Whether the client is still to wait for its own.
    pub(super) fn steps_go_on(&mut self) -> bool {
        let Some(steps) = &mut self.steps else { return false };
        if steps.next.is_some() {
            return true;
        }
        if steps.block == Block::Ours && self.status != b'I' {
            steps.unwinds = true;
            return true;
        }
        self.steps = None;
        false
    }

    /// What ends our block, in place of a ReadyForQuery that the client is still to get.
    pub(super) fn unwind(&mut self) -> Option<(Cleared<'static>, Vec<(u8, Entry)>)> {
        let steps = self.steps.as_mut().filter(|steps| steps.unwinds)?;
        steps.unwinds = false;
        let mut out = Vec::new();
        // One that was cancelled has left its name behind, and is tried again.
        let name = format!("{} unwinding", self.nonce);
        frontend::write_close(&mut out, b'S', name.as_bytes());
        frontend::write_question(&mut out, name.as_bytes(), "ROLLBACK");
        frontend::write_sync(&mut out);
        let tags = [frontend::CLOSE, frontend::PARSE, frontend::BIND, frontend::EXECUTE];
        let tags = tags.into_iter().chain([frontend::CLOSE, frontend::CLOSE]);
        let mut entries: Vec<_> = tags.map(|tag| (tag, Entry::Spoiling)).collect();
        entries.push((frontend::SYNC, Entry::Plain));
        Some((Cleared(out.into()), entries))
    }

    /// What runs now is committed by a COMMIT of ours behind it.
    pub(super) fn commits_behind(&self) -> bool {
        self.steps.is_some_and(|steps| steps.block == Block::Ours && steps.next.is_none())
    }

    pub(super) fn wants_unwinding(&self) -> bool {
        self.steps.is_some_and(|steps| steps.unwinds)
    }
}

/// In whose transaction statements of these kinds run, if they can run step by step where a session
/// of that status stands. `None` among them: one that names what isn't there yet.
fn block(kinds: &[Option<Kind>], status: u8) -> Option<Block> {
    let transaction = |kind: &Option<Kind>| match kind {
        Some(Kind::Transaction(transaction)) => Some(*transaction),
        _ => None,
    };
    let begins = kinds.first().and_then(transaction) == Some(Transaction::Begin);
    let behind = kinds.get(usize::from(begins)..).unwrap_or_default();
    let (last, within) = behind.split_last()?;
    let keeps = |kind: &Option<Kind>| {
        let savepoints = [Transaction::Savepoint, Transaction::Release, Transaction::RollbackTo];
        transaction(kind).is_none_or(|transaction| savepoints.contains(&transaction))
    };
    let ends = [Transaction::Commit, Transaction::Rollback];
    let may_end = keeps(last) || transaction(last).is_some_and(|it| ends.contains(&it));
    match (status, begins) {
        (b'I', true) | (b'T', false) if within.iter().all(keeps) && may_end => Some(Block::Clients),
        (b'I', false) if kinds.iter().all(|kind| transaction(kind).is_none()) => Some(Block::Ours),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_transaction_it_is() {
        let text = |text: &str| -> Vec<Option<Kind>> {
            let nothing = sql::catalog::Catalog::default();
            let names =
                sql::catalog::Names { search_path: &[], user: "", temporary: None, database: "" };
            let limits = sql::parse::Limits::default();
            let found = sql::statements(text, &nothing, &names, &limits).unwrap();
            found.into_iter().map(|one| one.facts.ok().map(|facts| facts.kind)).collect()
        };
        for (string, idle, within) in [
            ("CREATE TABLE t (); SELECT f()", Some(Block::Ours), Some(Block::Clients)),
            ("BEGIN; SELECT f(); COMMIT", Some(Block::Clients), None),
            ("BEGIN; SELECT f()", Some(Block::Clients), None),
            ("BEGIN; SAVEPOINT a; SELECT f(); ROLLBACK TO a; END", Some(Block::Clients), None),
            ("SELECT f(); COMMIT", None, Some(Block::Clients)),
            ("SAVEPOINT a; SELECT f()", None, Some(Block::Clients)),
            // What was committed before a refusal would stay.
            ("BEGIN; SELECT f(); COMMIT; SELECT g()", None, None),
            ("SELECT f(); COMMIT; SELECT g()", None, None),
            ("SELECT f(); BEGIN; SELECT g()", None, None),
            ("BEGIN; BEGIN; SELECT g()", None, None),
            ("BEGIN; SELECT f(); PREPARE TRANSACTION 'a'", None, None),
            ("", None, None),
        ] {
            assert_eq!(block(&text(string), b'I'), idle, "{string}");
            assert_eq!(block(&text(string), b'T'), within, "{string}");
            assert_eq!(block(&text(string), b'E'), None, "{string}");
        }
    }
}
