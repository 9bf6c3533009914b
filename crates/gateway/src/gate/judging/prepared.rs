//! What was judged before and runs now: prepared statements, by whichever protocol, and portals. What
//! the verdict stood on may have moved since.

use std::rc::Rc;

use policy::Context;
use sql::facts::{Facts, Kind};

use super::refusing::refusal_of;
use super::whole::{Run, Whole};
use super::{Stop, When};
use crate::gate::Gate;
use crate::gate::memory::{Bound, Judged};
use crate::gate::names::Moves;
use crate::gate::needs::Need;
use crate::gate::reads::only_reads;
use crate::gate::rules::Rules;
use crate::gate::understanding::{StandsOn, Understood};
use crate::refusal::{Denied, Refusal};

/// An EXECUTE may run what is an EXECUTE again, of its own name even. The server has its stack for a
/// bound, which is not ours.
const EXECUTE_DEPTH_MAX: usize = 8;

/// Types that the server comes with have smaller numbers. None of them calls anything of others.
const FIRST_NORMAL_OID: u32 = 16384;

impl Gate {
    /// What `text` does with parameters of the types that its Parse declares: a value of a domain is
    /// asked by the domain's constraints when it is bound.
    pub(in crate::gate) fn understand_declared(
        &mut self,
        rules: &Rules,
        text: &[u8],
        declared: &[u32],
        when: When,
    ) -> Result<Rc<Understood>, Need> {
        let understood = self.understand(rules, text, when)?;
        let others: Vec<u32> =
            declared.iter().copied().filter(|oid| *oid >= FIRST_NORMAL_OID).collect();
        if understood.refusal.is_some() || others.is_empty() {
            return Ok(understood);
        }
        let seeing = self.see()?;
        let mut facts = Facts::new(Kind::Select);
        for oid in others {
            facts.functions.extend(seeing.catalog.calls_of_values(oid));
        }
        if facts.functions.is_empty() {
            return Ok(understood);
        }
        let scope = rules.scope(&seeing.catalog, seeing.version);
        let mut understood = Understood::clone(&understood);
        understood.stands_on.sight = Some((seeing.version, seeing.names.clone()));
        understood.moves = understood.moves.or(Moves::of(&facts, &seeing.catalog));
        understood.only_reads &= only_reads(&facts, &seeing.catalog);
        understood.refusal = refusal_of(scope.decide(&facts, Context::default()));
        Ok(Rc::new(understood))
    }

    /// What a prepared statement does now. Where the server's own text of it would mean another
    /// thing than it did, it is refused, and the client prepares it again.
    pub(in crate::gate) fn judged_now(
        &mut self,
        rules: &Rules,
        judged: &Judged,
        declared: &[u32],
    ) -> Result<Rc<Understood>, Need> {
        let before = judged.understood.borrow().clone();
        if !before.is_momentary && self.still_holds(rules, &before.stands_on)? {
            return Ok(before);
        }
        let text = judged.text.clone();
        let now = self.understand_declared(rules, &text, declared, When::Runs)?;
        // Rows of our own are others each time, and are put in anew when it is bound.
        let is_shown = now.is_shown && before.is_shown;
        if now.refusal.is_none() && !is_shown && now.splice != before.splice {
            let refusal = Denied::PlanChanged.into();
            return Ok(Rc::new(Understood::refused(now.stands_on.clone(), refusal)));
        }
        if now.refusal.is_none() && !now.is_momentary {
            judged.understood.replace(now.clone());
            judged.is_described.set(false);
        }
        Ok(now)
    }

    fn still_holds(&self, rules: &Rules, stands_on: &StandsOn) -> Result<bool, Need> {
        if stands_on.policies != *rules.in_force().id() {
            return Ok(false);
        }
        let Some((version, names)) = &stands_on.sight else { return Ok(true) };
        let seeing = self.see()?;
        Ok(seeing.version == *version && seeing.names == *names)
    }

    /// What an EXECUTE runs: judged when it was prepared, and again if what it stands on has moved.
    pub(super) fn executed(
        &mut self,
        rules: &Rules,
        name: &str,
        whole: &Whole,
    ) -> Result<Run, Stop> {
        if let Some(run) = whole.prepared(name)? {
            return Ok(run);
        }
        let unknown = || Denied::NoSuchStatement(name.to_owned());
        let found = self.memory.certain_statement(name.as_bytes(), self.series)?;
        let prepared = found.ok_or_else(unknown)?;
        let judged = prepared.judged.as_ref().ok_or(Denied::PlanChanged)?;
        if self.depth >= EXECUTE_DEPTH_MAX {
            return Err(Denied::TooDeep.into());
        }
        self.depth += 1;
        let understood = self.judged_now(rules, judged, &prepared.declared);
        self.depth -= 1;
        let understood = understood?;
        match &understood.refusal {
            Some(Refusal::Denied(denied)) => Err(Stop::Refused(denied.clone())),
            Some(_) => Err(unknown().into()),
            None => {
                let mut run = Run::of(&understood);
                run.runs.push(judged.text.clone());
                Ok(run)
            }
        }
    }

    pub(super) fn prepared_gives_rows(&self, name: &str) -> bool {
        let prepared = self.memory.statement(name.as_bytes());
        let judged = prepared.as_ref().and_then(|prepared| prepared.judged.as_ref());
        judged.is_some_and(|judged| judged.understood.borrow().gives_rows())
    }

    /// What a FETCH brings: of an open portal, which keeps its plan.
    pub(super) fn fetched(
        &mut self,
        rules: &Rules,
        name: &str,
        whole: &Whole,
    ) -> Result<Run, Stop> {
        if let Some(run) = whole.declared(name)? {
            return Ok(run);
        }
        let found = self.memory.certain_portal(name.as_bytes(), self.series)?;
        let bound = found.ok_or_else(|| Denied::NoSuchCursor(name.to_owned()))?;
        let understood = self.portal_now(rules, &bound)?;
        Ok(Run::of(&understood))
    }

    /// An open portal runs what was judged when it was opened, unless the policies are others now.
    pub(in crate::gate) fn portal_now(
        &self,
        rules: &Rules,
        bound: &Bound,
    ) -> Result<Rc<Understood>, Denied> {
        match &bound.understood {
            Some(understood) if understood.stands_on.policies == *rules.in_force().id() => {
                Ok(understood.clone())
            }
            _ => Err(Denied::PortalJudgedBefore),
        }
    }
}
