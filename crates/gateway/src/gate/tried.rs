//! What a statement changes, where a rule holds what changes too much: it is tried in a transaction of
//! its own, counted, and undone, before anybody is asked. What people then agree to is so many
//! changes: the run that they have agreed to is free of the rules that held it, and of no other, and
//! fails past that count. Where it can't be tried (inside a client's transaction, of a COPY) the
//! guard behind the statement refuses what changes too much.

use std::rc::Rc;

use audit::event::{self, Event, Statement};
use policy::{Hold, RuleRef};
use wire::frontend;

use super::Gate;
use super::held::ToHold;
use super::needs::{Expecting, Need};
use super::ours::Failure;
use super::understanding::Understood;
use crate::conditions::{Conditions, Guard, Verdict};

/// What is sent to try a statement.
#[derive(Debug)]
pub(crate) struct Trial {
    /// That it is tried.
    pub(crate) record: event::Batch,
    pub(crate) baseline: String,
    /// The statement itself, with the values that its client has sent.
    pub(crate) statement: Expecting,
    pub(crate) guard: String,
}

/// What a trial has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tried {
    /// It fails, or changes little: it may run, behind the same guard.
    Passes,
    Changes(u64),
}

impl Gate {
    /// What people have to agree to because of what the statement changes. A need is to try it.
    pub(super) fn held_by_trial(
        &mut self,
        understood: &Understood,
        text: Option<&str>,
        what: &ToHold<'_>,
    ) -> Result<Vec<Hold>, Need> {
        let conditions = understood.conditions();
        let tries = conditions.and_then(|it| Some((it, it.trial.as_ref()?)));
        let Some((conditions, guard)) = tries else { return Ok(Vec::new()) };
        let holds = || conditions.tried().collect();
        if let Some(run) = &self.holding.run {
            return Ok(run.most.map_or_else(Vec::new, |_| holds()));
        }
        let can_try = self.status == b'I' && !self.holding.has_begun && !understood.copies_in();
        match (self.holding.tried, text) {
            (Some(Tried::Passes), _) => Ok(Vec::new()),
            (Some(Tried::Changes(_)), _) => Ok(holds()),
            (None, Some(text)) if can_try && !what.is_cut => Err(Need::Trial(Box::new(Trial {
                record: self.record_of_trial(&conditions.rule, what),
                baseline: guard.baseline(self.guarding.setting()),
                statement: {
                    let name = self.nonce.as_bytes();
                    let mut messages = Vec::new();
                    frontend::write_parse_of(&mut messages, name, text, what.declared);
                    frontend::write_bind(&mut messages, name, name, what.values);
                    Expecting { messages }
                },
                guard: guard.guard(self.guarding.setting(), &self.nonce, 0),
            }))),
            _ => Ok(Vec::new()),
        }
    }

    /// Whatever runs is recorded before, also what is to be undone.
    fn record_of_trial(&mut self, rule: &RuleRef, what: &ToHold<'_>) -> event::Batch {
        let id = self.take_id();
        self.batch_of(&Event::Statement(Statement {
            id,
            kind: "trial",
            text: Some(what.shown.as_text()),
            parameters: what.parameters,
            verdict: "hold",
            policy: Some(&rule.policy),
            rule: Some(&rule.rule),
            ..Statement::default()
        }))
    }

    /// Nothing that the server says meanwhile is for the client.
    pub(crate) fn is_trying(&mut self, is_trying: bool) {
        self.holding.is_trying = is_trying;
    }

    pub(super) fn hides_notices(&self) -> bool {
        self.holding.is_trying
    }

    pub(crate) fn was_tried(&mut self, tried: Tried) {
        self.holding.tried = Some(tried);
    }

    /// What the guard of a trial says by failing. `None`: something else has failed.
    pub(crate) fn counted(&self, failure: &Failure) -> Option<Verdict> {
        match failure {
            Failure::Said { message, .. } => Guard::verdict(message.as_bytes(), &self.nonce),
            Failure::Cancelled { .. } | Failure::TooLong => None,
        }
    }

    /// How many changes people are asked about, or have agreed to.
    pub(super) fn changes_asked(&self) -> Option<u64> {
        match (&self.holding.run, self.holding.tried) {
            (Some(run), _) => run.most,
            (None, Some(Tried::Changes(changed))) => Some(changed),
            _ => None,
        }
    }

    /// The conditions that a statement runs under now. `None` where there are none.
    pub(super) fn conditions_now(
        &self,
        understood: &Understood,
    ) -> Result<Option<Rc<Conditions>>, Need> {
        let Some(conditions) = understood.conditions() else { return Ok(None) };
        let most = self.holding.run.as_ref().and_then(|run| run.most);
        let Some(most) = most else { return Ok(Some(conditions.clone())) };
        let seeing = self.see()?;
        // What could be counted before can be counted now: the relations are the same.
        match conditions.agreed(most, &seeing.catalog) {
            Ok(agreed) => Ok(Some(Rc::new(agreed))),
            Err(_) => Ok(Some(conditions.clone())),
        }
    }
}
