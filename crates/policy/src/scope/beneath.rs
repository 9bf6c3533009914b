//! What is beneath a view: whether a wildcard can mean it, for what it shows may be read anyway.

use std::collections::BTreeSet;

use sql::catalog::{FunctionId, RelationId, RelationKind, ViewRead};

use super::cover::Match;
use super::{Scope, is_view, restricts};
use crate::builtin;
use crate::rule::Effect;
use crate::verb::Verb;

impl Scope {
    /// Whether `everything` means doing this with a view: unless a rule restricts it for something
    /// beneath and doesn't mean the view itself.
    pub(crate) fn everything_reaches(&self, verb: Verb, view: RelationId) -> bool {
        let Some(own) = self.cover(view) else { return false };
        let rules = self.rules().iter().enumerate().filter(|(_, rule)| restricts(rule, &[verb]));
        let apart = |at: usize| own.matches.iter().all(|of| of.rule != at);
        let rules: Vec<usize> = rules.map(|(at, _)| at).filter(|at| apart(*at)).collect();
        if rules.is_empty() {
            return true;
        }
        self.0.catalog.beneath(view).iter().all(|beneath| match beneath.read {
            ViewRead::Function(_) => true,
            ViewRead::Column(below, number) => self.cover(below).is_some_and(|cover| {
                cover.matches.iter().all(|of| {
                    let whole = number == 0 || verb != Verb::Read;
                    !rules.contains(&of.rule) || !(whole || of.columns.has(number))
                })
            }),
        })
    }

    /// Whether everything beneath a view may be read, so that a wildcard can mean it.
    pub(crate) fn beneath_may_be_read(&self, view: RelationId) -> bool {
        let Some(cover) = self.cover(view) else { return false };
        *cover.beneath.get_or_init(|| self.look_beneath(view))
    }

    /// Whether a view may be read by whoever may read it by its own name: what it reads with its
    /// owner's rights is granted with it. What is read with the rights of who asks isn't, however
    /// deep in it that is.
    pub(crate) fn invoked_may_be_read(&self, view: RelationId) -> bool {
        let Some(cover) = self.cover(view) else { return false };
        *cover.invoked.get_or_init(|| {
            self.invokers(view).into_iter().all(|view| self.beneath_may_be_read(view))
        })
    }

    /// The views that read with the rights of who asks: itself, and those that it reads.
    fn invokers(&self, view: RelationId) -> Vec<RelationId> {
        let mut seen = BTreeSet::from([view]);
        let mut open = vec![view];
        let mut invokers = Vec::new();
        while let Some(id) = open.pop() {
            let Some(view) = self.0.catalog.relation(id) else { continue };
            // Nobody reads what is beneath one that holds its rows itself.
            if view.kind == RelationKind::Materialized {
                continue;
            }
            if view.security_invoker {
                invokers.push(id);
            }
            for read in &view.reads {
                if let ViewRead::Column(below, _) = read
                    && seen.insert(*below)
                {
                    open.push(*below);
                }
            }
        }
        invokers
    }

    fn look_beneath(&self, view: RelationId) -> bool {
        let mut seen = BTreeSet::from([view]);
        let mut open = vec![view];
        while let Some(view) = open.pop().and_then(|id| self.0.catalog.relation(id)) {
            for read in &view.reads {
                match read {
                    ViewRead::Function(function) => {
                        if !self.may_always_call(*function) {
                            return false;
                        }
                    }
                    ViewRead::Column(below, number) => {
                        match self.may_always_read(*below, *number) {
                            Always::Yes => {}
                            Always::IfBeneath => {
                                if seen.insert(*below) {
                                    open.push(*below);
                                }
                            }
                            Always::No => return false,
                        }
                    }
                }
            }
        }
        true
    }

    /// Without conditions, and with nothing that could refuse or hold it.
    fn may_always_read(&self, id: RelationId, number: u16) -> Always {
        let (Some(relation), Some(cover)) = (self.0.catalog.relation(id), self.cover(id)) else {
            return Always::No;
        };
        let meant = |of: &Match| match number {
            0 => of.columns.has_all(relation),
            number => of.columns.has(number),
        };
        let view = is_view(relation);
        let (mut by_name, mut by_wildcard) = (false, false);
        for of in &cover.matches {
            let Some(rule) = self.rules().get(of.rule) else { return Always::No };
            if !rule.everything && !rule.verbs.has(Verb::Read) {
                continue;
            }
            if rule.effect != Effect::Allow {
                let touched = number == 0 || of.columns.has(number);
                if touched {
                    return Always::No;
                }
            } else if meant(of) && !rule.has_conditions() {
                by_name |= of.named;
                by_wildcard |= !of.named;
            }
        }
        if let Some(readable) = builtin::readable(relation, &self.0.catalog) {
            let column = relation.columns.iter().find(|column| column.number == number);
            by_name |= match column {
                Some(column) => readable.has(column),
                None => readable.whole(),
            };
        }
        // What is apart has rules of its own, and a view reads it through its parent.
        if cover.apart.iter().any(|child| {
            let child_column = relation
                .columns
                .iter()
                .find(|column| column.number == number)
                .and_then(|column| self.0.catalog.relation(*child)?.column(&column.name))
                .map_or(0, |column| column.number);
            !matches!(self.may_always_read_alone(*child, child_column), Always::Yes)
        }) {
            return Always::No;
        }
        match (by_name, by_wildcard) {
            (true, _) if view && !self.invokers(id).is_empty() => Always::IfBeneath,
            (true, _) => Always::Yes,
            (false, true) if view => Always::IfBeneath,
            (false, true) => Always::Yes,
            (false, false) => Always::No,
        }
    }

    /// The same for one of those that are apart, whose own children are in the list beside it.
    fn may_always_read_alone(&self, id: RelationId, number: u16) -> Always {
        let (Some(relation), Some(cover)) = (self.0.catalog.relation(id), self.cover(id)) else {
            return Always::No;
        };
        let mut allowed = false;
        for of in &cover.matches {
            let Some(rule) = self.rules().get(of.rule) else { return Always::No };
            if !rule.everything && !rule.verbs.has(Verb::Read) {
                continue;
            }
            if rule.effect != Effect::Allow {
                return Always::No;
            }
            let meant = match number {
                0 => of.columns.has_all(relation),
                number => of.columns.has(number),
            };
            allowed |= meant && !rule.has_conditions();
        }
        if allowed { Always::Yes } else { Always::No }
    }

    fn may_always_call(&self, id: FunctionId) -> bool {
        let Some(function) = self.0.catalog.function(id) else { return false };
        let mut allowed = builtin::may_call(function, &self.0.catalog);
        let needs_name = builtin::needs_its_name(function, &self.0.catalog);
        for of in self.function(id) {
            let Some(rule) = self.rules().get(of.rule) else { return false };
            if !rule.everything && !rule.verbs.has(Verb::Use) {
                continue;
            }
            if rule.effect != Effect::Allow {
                return false;
            }
            let named = of.named && !(rule.everything && self.restricts_data());
            allowed |= !rule.has_conditions() && (named || !needs_name);
        }
        allowed
    }
}

enum Always {
    Yes,
    /// A view, and not by its own name.
    IfBeneath,
    No,
}
