//! What a session has claimed: a statement that people have agreed to, from the moment that nobody
//! else may send it until it is known what came of it. It is told by the end of its transaction,
//! not by its tag; where the replies don't tell, the database is asked (`holds`).

use std::cell::RefCell;

use access::{Digest, HoldId, Outcome};
use audit::event::{self, Event};
use wire::backend::{self, ErrorFields};
use wire::frame::Frame;

use super::Gate;
use super::held::Asking;
use super::memory::Bound;
use super::ours::Rows;
use super::understanding::{StandsOn, Understood};
use crate::holds::{self, Left};
use crate::refusal::{Denied, Refusal};

/// The number of the transaction that the session is in; a standby has none.
pub(crate) const TRANSACTION_SQL: &str = "SELECT CASE WHEN pg_catalog.pg_is_in_recovery() \
     THEN NULL ELSE pg_catalog.pg_current_xact_id()::pg_catalog.text END";

/// From its answer.
pub(crate) fn transaction(rows: &Rows) -> Option<u64> {
    let row = backend::data_row(rows.first()?)?;
    std::str::from_utf8((*row.first()?)?).ok()?.parse().ok()
}

/// A statement that was claimed, until it is known what came of it.
pub(super) struct HeldRun {
    pub(super) id: HoldId,
    seal: Digest,
    /// What it was judged by when it was sent.
    sent_by: Option<StandsOn>,
    /// In a transaction that the client has begun, and is to end.
    in_block: bool,
    /// So many changes were agreed to.
    pub(super) most: Option<u64>,
    error: Option<String>,
    /// How the last command ended that ends transactions.
    ended: Ended,
    taken_back: bool,
    /// Something else has run since it was sent.
    is_crossed: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Ended {
    #[default]
    No,
    Committed,
    RolledBack,
}

impl HeldRun {
    /// From then on it is the server's.
    pub(super) fn is_sent(&self) -> bool {
        self.sent_by.is_some()
    }

    /// Whether this is what was agreed to. It is sent now, and not again.
    pub(super) fn sends(&mut self, seal: &Digest, understood: &Understood) -> bool {
        let sends = self.sent_by.is_none() && self.seal == *seal;
        if sends {
            self.sent_by = Some(understood.stands_on.clone());
        }
        sends
    }
}

/// Tells the store what has become of holds, once it is recorded and before the client hears of it.
pub(crate) async fn settle_holds(gate: &RefCell<Gate>) {
    let (settled, gateway) = {
        let mut gate = gate.borrow_mut();
        if gate.holding.settled.is_empty() {
            return;
        }
        (gate.take_settled(), gate.gateway.clone())
    };
    holds::settle(&gateway, settled).await;
}

impl Gate {
    /// Nobody else runs it. It is looked at again, and then sent.
    pub(crate) fn has_claimed(&mut self, id: HoldId, asking: &Asking) {
        let most = self.changes_asked();
        self.holding.run = Some(Box::new(HeldRun {
            most,
            id,
            seal: asking.seal,
            sent_by: None,
            in_block: self.status != b'I',
            error: None,
            ended: Ended::No,
            taken_back: false,
            is_crossed: false,
        }));
    }

    /// What people have agreed to is on its way, or runs.
    pub(crate) fn runs_held(&self) -> bool {
        self.holding.run.is_some()
    }

    /// A simple query of one statement: the transaction in which it runs was begun by a question of
    /// ours, and since 18 one statement alone does not end it.
    pub(super) fn needs_an_end(&self, understood: &Understood) -> bool {
        let runs = self.holding.run.as_ref().is_some_and(|run| !run.in_block);
        runs && understood.statements.len() == 1
            && understood.held(false).all(|held| held.has_transaction)
    }

    pub(super) fn series_has_begun(&mut self) {
        self.holding.has_begun = true;
    }

    pub(super) fn series_is_over(&mut self) {
        self.holding.has_begun = false;
    }

    /// Something is about to run, under this hold or none. What stands between the Bind that people
    /// have agreed to and its Execute, or between two Executes, may change what it does: a setting,
    /// a function, a row. Whatever it is, what is left of the portal is then not what they saw.
    pub(super) fn crosses_held(&mut self, hold: Option<&str>) {
        if let Some(run) = &mut self.holding.run {
            run.is_crossed |= run.is_sent() && hold != Some(run.id.as_str());
        }
    }

    /// A reply to anything, while a held statement runs.
    pub(super) fn hears_of_held(&mut self, frame: &Frame<'_>) {
        let Some(run) = &mut self.holding.run else { return };
        match frame.tag {
            backend::ERROR if run.error.is_none() => {
                let fields = ErrorFields::read(frame.body);
                // What a server says can quote what nobody here may see.
                run.error = Some(String::from_utf8_lossy(fields.code).into_owned());
                self.outcome_is_urgent = true;
            }
            backend::COMMAND_COMPLETE => {
                run.taken_back |= run.ended == Ended::RolledBack;
                match backend::command_tag(frame.body) {
                    b"COMMIT" => run.ended = Ended::Committed,
                    b"ROLLBACK" => run.ended = Ended::RolledBack,
                    _ => {}
                }
                self.outcome_is_urgent = true;
            }
            backend::READY_FOR_QUERY => {
                run.taken_back |= run.ended == Ended::RolledBack && frame.body != b"I";
                if frame.body == b"I" {
                    self.held_is_over();
                }
            }
            _ => {}
        }
    }

    /// The transaction of a held statement has ended. Where a reply does not tell how, the database
    /// is asked.
    fn held_is_over(&mut self) {
        let Some(run) = self.holding.run.take() else { return };
        let failed = |words: Option<String>| Some(Outcome::Failed { words });
        let outcome = match (run.in_block, run.ended, &run.error) {
            (true, Ended::Committed, _) if run.taken_back => None,
            (true, Ended::Committed, _) => Some(Outcome::Done),
            (true, _, _) => failed(Some("its transaction was rolled back".to_owned())),
            (false, _, None) => Some(Outcome::Done),
            (false, Ended::No, Some(code)) => failed(Some(code.clone())),
            (false, _, Some(_)) => None,
        };
        let Some(outcome) = outcome else {
            return self.gateway.holds.is_unsure(run.id);
        };
        let (step, words) = match &outcome {
            Outcome::Done => ("done", None),
            Outcome::Failed { words } => ("failed", words.as_deref()),
            Outcome::Unknown => ("unknown", None),
        };
        let event = event::Hold { hold: run.id.as_str(), step, words, ..event::Hold::default() };
        self.outcomes.push(&self.who, &Event::Hold(event));
        self.outcome_is_urgent = true;
        self.holding.settled.push((run.id, outcome));
    }

    /// Outcomes that the store has to hear of.
    pub(crate) fn take_settled(&mut self) -> Vec<(HoldId, Outcome)> {
        std::mem::take(&mut self.holding.settled)
    }

    /// The session has ended: what it waited for or had claimed is others' to look after.
    pub(crate) async fn leave_holds(&mut self) {
        let left = Left {
            waited: self.waited_for(),
            claimed: self.take_claimed(),
            settled: self.take_settled(),
        };
        left.settle(&self.gateway, &self.person.session, &self.who).await;
    }

    /// What was claimed when the session ended, and whether it may have reached the server.
    pub(crate) fn take_claimed(&mut self) -> Option<(HoldId, bool)> {
        self.holding.run.take().map(|run| (run.id, run.sent_by.is_some()))
    }

    /// Whether a portal may run, as far as people have to agree to it: they did when it was bound.
    pub(super) fn executes_held(
        &self,
        understood: &Understood,
        bound: Option<&Bound>,
    ) -> Result<(), Refusal> {
        let Some(bound) = bound.filter(|bound| !bound.is_cursor) else { return Ok(()) };
        let Some(rule) = understood.held(bound.is_of_sql()).find_map(|held| held.rule()) else {
            return Ok(());
        };
        let Some(hold) = &bound.hold else {
            return Err(Denied::HeldSinceBound(rule.clone()).into());
        };
        let run = self.holding.run.as_ref();
        let run = run.filter(|run| run.id.as_str() == &**hold && !run.is_crossed);
        // A command is understood by the server now, and not when it was bound.
        match run {
            Some(run) if run.sent_by.as_ref() == Some(&understood.stands_on) => Ok(()),
            Some(run) if !understood.is_command() => {
                debug_assert!(run.sent_by.is_some());
                Ok(())
            }
            _ => Err(Denied::HoldMoved(hold.to_string()).into()),
        }
    }
}
