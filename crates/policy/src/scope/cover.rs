//! Which rules mean a relation or a function, with which of its columns.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use sql::catalog::{FunctionId, Relation, RelationId};

use super::{Scope, is_view};
use crate::object::{quoted, spelled};
use crate::rule::{Effect, Rule};

/// The rules that mean a relation.
#[derive(Debug, Default)]
pub(crate) struct Cover {
    /// In the order of the rules.
    pub(crate) matches: Vec<Match>,
    /// Its children that other rules mean than itself: what is done with the one is done with the
    /// others.
    pub(crate) apart: Vec<RelationId>,
    /// Of a view: whether all beneath it may be read.
    pub(super) beneath: OnceLock<bool>,
    /// Of a view: whether what it reads with the rights of who asks may be read.
    pub(super) invoked: OnceLock<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Match {
    /// Its place among the rules in force.
    pub(crate) rule: usize,
    pub(crate) columns: Covered,
    /// Not only some columns: what is about the whole is meant too.
    pub(crate) whole: bool,
    /// By its own name, not a wildcard.
    pub(crate) named: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Covered {
    /// All, the system's too.
    All,
    These(BTreeSet<u16>),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct FunctionMatch {
    pub(crate) rule: usize,
    pub(crate) named: bool,
}

impl Scope {
    /// `None` for a relation that is not of this snapshot.
    pub(crate) fn cover(&self, id: RelationId) -> Option<&Cover> {
        let relation = self.0.catalog.relation(id)?;
        let slot = self.0.relations.get(id.index())?;
        Some(slot.get_or_init(|| self.work_out(id, relation)))
    }

    fn work_out(&self, id: RelationId, relation: &Relation) -> Cover {
        let matches = self.matches(id, relation);
        let mut apart = Vec::new();
        for child in self.descendants(relation) {
            let Some(below) = self.0.catalog.relation(child) else { continue };
            if !self.same_rules(relation, &matches, below, &self.matches(child, below)) {
                apart.push(child);
            }
        }
        Cover { matches, apart, beneath: OnceLock::new(), invoked: OnceLock::new() }
    }

    fn matches(&self, id: RelationId, relation: &Relation) -> Vec<Match> {
        let kin = self.0.catalog.kin(id);
        let mut matches = Vec::new();
        for (at, rule) in self.rules().iter().enumerate() {
            matches.extend(self.matches_of(at, rule, relation, &kin));
        }
        matches
    }

    /// What one rule, wherever it stands, means of a relation.
    pub(crate) fn match_one(&self, rule: &Rule, id: RelationId) -> Vec<Match> {
        let Some(relation) = self.0.catalog.relation(id) else { return Vec::new() };
        self.matches_of(0, rule, relation, &self.0.catalog.kin(id)).collect()
    }

    /// Of a view, what it means by its own name and what by wildcards are two things.
    fn matches_of(
        &self,
        at: usize,
        rule: &Rule,
        relation: &Relation,
        kin: &[&Relation],
    ) -> impl Iterator<Item = Match> {
        let apart: &[Option<bool>] =
            if is_view(relation) { &[Some(true), Some(false)] } else { &[None] };
        let everything = rule.everything.then_some(Match {
            rule: at,
            columns: Covered::All,
            whole: true,
            named: true,
        });
        let apart = if everything.is_some() { &[] } else { apart };
        let found = apart.iter().filter_map(|named| self.match_of(at, rule, relation, kin, *named));
        everything.into_iter().chain(found.collect::<Vec<_>>())
    }

    fn match_of(
        &self,
        at: usize,
        rule: &Rule,
        relation: &Relation,
        kin: &[&Relation],
        by_name: Option<bool>,
    ) -> Option<Match> {
        let catalog = &self.0.catalog;
        // What was to be left out is there under a name that nobody knows.
        if rule.effect != Effect::Refuse && self.gone_exception(rule, kin).is_some() {
            return None;
        }
        let (mut all, mut these, mut named) = (false, BTreeSet::new(), false);
        let mut whole = false;
        for one in kin {
            let schema = catalog.schema_name(one.schema);
            for pattern in &rule.relations.of {
                let own_name = !pattern.name.is_any();
                if !pattern.covers(schema, &one.name) || by_name.is_some_and(|it| it != own_name) {
                    continue;
                }
                named |= own_name;
                match &pattern.columns {
                    None => {
                        whole = true;
                        // Of a child the columns that its parent has.
                        all |= relation
                            .columns
                            .iter()
                            .all(|column| one.column(&column.name).is_some());
                        these.extend(numbers(relation, |name| one.column(name).is_some()));
                    }
                    // What a refusal was about is there under a name that nobody knows.
                    Some(names)
                        if rule.effect == Effect::Refuse
                            && own_name
                            && gone(names, one).is_some() =>
                    {
                        whole = true;
                        all = true;
                    }
                    Some(names) => these.extend(numbers(relation, |name| {
                        one.column(name).is_some() && names.iter().any(|own| **own == *name)
                    })),
                }
            }
        }
        for one in kin {
            let schema = catalog.schema_name(one.schema);
            for pattern in &rule.relations.except {
                if !pattern.covers(schema, &one.name) {
                    continue;
                }
                let out = match &pattern.columns {
                    None => {
                        whole = false;
                        numbers(relation, |name| one.column(name).is_some())
                    }
                    Some(names) => numbers(relation, |name| {
                        one.column(name).is_some() && names.iter().any(|own| **own == *name)
                    }),
                };
                if !out.is_empty() || pattern.columns.is_none() {
                    all = false;
                    these.retain(|number| !out.contains(number));
                }
            }
        }
        if !all && !whole && these.is_empty() {
            return None;
        }
        let columns = if all { Covered::All } else { Covered::These(these) };
        Some(Match { rule: at, columns, whole, named })
    }

    /// A column that the rule leaves out of a relation by the relation's own name, and that it does
    /// not have.
    pub(crate) fn gone_column(&self, rule: &Rule, id: RelationId) -> Option<String> {
        let (relation, column) = self.gone_exception(rule, &self.0.catalog.kin(id))?;
        Some(format!(
            "{}({})",
            spelled(&self.0.catalog, relation.schema, &relation.name),
            quoted(column)
        ))
    }

    fn gone_exception<'r, 'k>(
        &self,
        rule: &'r Rule,
        kin: &[&'k Relation],
    ) -> Option<(&'k Relation, &'r str)> {
        let named = rule.relations.except.iter().filter(|pattern| !pattern.name.is_any());
        for pattern in named {
            for one in kin {
                let schema = self.0.catalog.schema_name(one.schema);
                if pattern.covers(schema, &one.name)
                    && let Some(column) = gone(pattern.columns.as_deref().unwrap_or_default(), one)
                {
                    return Some((one, column));
                }
            }
        }
        None
    }

    pub(crate) fn descendants(&self, relation: &Relation) -> Vec<RelationId> {
        let mut seen: BTreeSet<RelationId> = relation.children.iter().copied().collect();
        let mut open = relation.children.clone();
        let mut all = Vec::new();
        while let Some(id) = open.pop() {
            all.push(id);
            let Some(child) = self.0.catalog.relation(id) else { continue };
            open.extend(child.children.iter().filter(|below| seen.insert(**below)));
        }
        all
    }

    /// Whether the rules mean of the child what they mean of the parent, as far as the parent has
    /// it.
    fn same_rules(
        &self,
        parent: &Relation,
        of_parent: &[Match],
        child: &Relation,
        of_child: &[Match],
    ) -> bool {
        of_parent.len() == of_child.len()
            && of_parent.iter().zip(of_child).all(|(own, below)| {
                own.rule == below.rule
                    && own.whole == below.whole
                    && parent.columns.iter().all(|column| {
                        let there = child.column(&column.name);
                        there.is_some_and(|there| {
                            own.columns.has(column.number) == below.columns.has(there.number)
                        })
                    })
                    && (matches!(own.columns, Covered::All)
                        == matches!(below.columns, Covered::All)
                        || child.columns.len() > parent.columns.len())
            })
    }

    pub(crate) fn function(&self, id: FunctionId) -> &[FunctionMatch] {
        let catalog = &self.0.catalog;
        let (Some(function), Some(slot)) = (catalog.function(id), self.0.functions.get(id.index()))
        else {
            return &[];
        };
        slot.get_or_init(|| {
            let rules = self.rules().iter().enumerate();
            let matches = rules.filter_map(|(at, rule)| {
                let named = self.function_match(rule, function)?;
                Some(FunctionMatch { rule: at, named })
            });
            matches.collect()
        })
    }

    /// Whether the rule means the function, and if so whether by its own name.
    pub(crate) fn function_match(
        &self,
        rule: &Rule,
        function: &sql::catalog::Function,
    ) -> Option<bool> {
        if rule.everything {
            return Some(true);
        }
        let catalog = &self.0.catalog;
        let wide = rule.effect == Effect::Refuse;
        let covers = |of: &[crate::object::FunctionPattern], wide| {
            of.iter().filter_map(|it| it.covers(function, catalog, wide)).max()
        };
        let named = covers(&rule.functions.of, wide)?;
        covers(&rule.functions.except, true).is_none().then_some(named)
    }
}

impl Covered {
    pub(crate) fn has(&self, number: u16) -> bool {
        match self {
            Self::All => true,
            Self::These(numbers) => numbers.contains(&number),
        }
    }

    pub(crate) fn has_all(&self, relation: &Relation) -> bool {
        relation.columns.iter().all(|column| self.has(column.number))
    }
}

/// The first of the columns that the relation does not have.
fn gone<'n>(names: &'n [Box<str>], relation: &Relation) -> Option<&'n str> {
    names.iter().map(|name| &**name).find(|name| relation.column(name).is_none())
}

fn numbers(relation: &Relation, meant: impl Fn(&str) -> bool) -> BTreeSet<u16> {
    let columns = relation.columns.iter().filter(|column| meant(&column.name));
    columns.map(|column| column.number).collect()
}
