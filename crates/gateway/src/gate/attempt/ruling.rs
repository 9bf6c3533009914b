//! What is recorded of a message before it may pass: its text, its parameters, the verdict and the
//! rule. A Parse, a Bind and an Execute in one batch are one record.

use std::rc::Rc;

use audit::event::Statement;
use audit::{PARAMETER_BYTES_MAX, Parameter};
use policy::RuleRef;
use sql::secrets::Patterns;
use wire::frontend::Value;

use crate::gate::Gate;
use crate::gate::memory::{Bound, Kept, Prepared};
use crate::gate::reading::{Recorded, characters, recorded_parsed};
use crate::gate::understanding::Understood;
use crate::refusal::Refusal;

/// A Parse or a Bind whose Execute may be in the same batch.
pub(in crate::gate) enum Lone {
    Parse { id: u64, name: Box<[u8]>, prepared: Rc<Prepared>, refusal: Option<Refusal> },
    Bind { id: u64, portal: Box<[u8]>, bound: Rc<Bound>, refusal: Option<Refusal> },
}

/// What a record says of the verdict.
pub(super) struct Ruling<'r> {
    verdict: &'static str,
    rule: Option<&'r RuleRef>,
    touches: &'r [Box<str>],
    /// Nothing comes of it that its record has to precede.
    pub(super) only_reads: bool,
}

impl<'r> Ruling<'r> {
    /// Of statement `at` of a text.
    pub(super) fn of(
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
    pub(super) fn under(mut self, hold: Option<&str>) -> Ruling<'r> {
        if hold.is_some() {
            self.verdict = "hold";
            self.only_reads = false;
        }
        self
    }

    pub(super) fn statement(&self) -> Statement<'_> {
        Statement {
            verdict: self.verdict,
            policy: self.rule.map(|rule| &*rule.policy),
            rule: self.rule.map(|rule| &*rule.rule),
            touches: self.touches,
            ..Statement::default()
        }
    }
}

impl Gate {
    pub(super) fn attempt_of_portal(
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
    pub(in crate::gate) fn record_lone(&mut self, id: u64) {
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

pub(super) fn keep(value: &Value<'_>) -> Kept {
    let kept = value.bytes.map(|bytes| bytes.get(..PARAMETER_BYTES_MAX).unwrap_or(bytes));
    Kept {
        is_binary: value.is_binary,
        bytes: kept.map(Box::from),
        bytes_sent: value.bytes.map_or(0, <[u8]>::len),
    }
}

impl Kept {
    pub(super) fn parameter(&self, oid: Option<u32>, is_secret: bool) -> Parameter<'_> {
        Parameter {
            oid: oid.unwrap_or(0),
            binary: self.is_binary,
            value: self.bytes.as_deref(),
            bytes: self.bytes_sent,
            secret: is_secret,
        }
    }
}
