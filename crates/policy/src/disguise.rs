//! What a reader is to see of each relation, under one snapshot: masks and filters closed over what
//! carries the same values on: children and parents, generated columns, views, rows within rows.
//! Where it can't be known what a relation shows, it is closed until a policy says it.

mod closing;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use sql::catalog::{Catalog, Function, RelationId};
use sql::functions::Class;
use sql::rewrite::Disguises;

use self::closing::Closing;
use crate::mask::{MaskRule, RowRule};
use crate::object::RelationPattern;
use crate::verdict::RuleRef;

/// The masks and filters in force.
#[derive(Debug, Default)]
pub(crate) struct Hides {
    /// Each with whether `unmask` lifts it: its policy has no `access`.
    pub(crate) masks: Vec<(Arc<MaskRule>, bool)>,
    pub(crate) unmask: Vec<RelationPattern>,
    /// Each with the values of its claims, as far as whoever asks has them.
    pub(crate) rows: Vec<(Arc<RowRule>, Claims)>,
}

/// Values of claims, as far as there are any.
pub(crate) type Claims = Vec<Option<Box<str>>>;

/// What it all comes to.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) disguises: Disguises,
    /// What nobody may read or write.
    closed: HashMap<RelationId, Closed>,
    /// What nobody may write: a rule on it would read what is hidden.
    unwritable: HashMap<RelationId, Closed>,
    /// What nobody may use by its own name: partitions by what is masked.
    apart: HashMap<RelationId, Closed>,
    /// Columns that masks and filters stand on, each with the rule that says so.
    needed: HashMap<RelationId, BTreeMap<u16, RuleRef>>,
}

/// Why a relation can't be used.
#[derive(Clone, Debug)]
pub(crate) struct Closed {
    pub(crate) rule: RuleRef,
    /// For its rows, not for its columns.
    rows: bool,
    /// A sentence, without its end.
    pub(crate) why: String,
}

impl Hides {
    pub(crate) fn is_empty(&self) -> bool {
        self.masks.is_empty() && self.rows.is_empty()
    }

    pub(crate) fn seen(&self, catalog: &Catalog, is_named: &dyn Fn(&Function) -> bool) -> Seen {
        if self.is_empty() {
            return Seen::default();
        }
        Closing::of(self, catalog, is_named)
    }
}

impl Seen {
    pub(crate) fn closed(&self, id: RelationId) -> Option<&Closed> {
        self.closed.get(&id)
    }

    pub(crate) fn unwritable(&self, id: RelationId) -> Option<&Closed> {
        self.unwritable.get(&id)
    }

    pub(crate) fn apart(&self, id: RelationId) -> Option<&Closed> {
        self.apart.get(&id)
    }

    /// Whether anything of it is hidden.
    pub(crate) fn hides(&self, id: RelationId) -> bool {
        self.disguises.contains_key(&id) || self.closed.contains_key(&id)
    }

    /// Columns that may not be renamed, retyped or dropped.
    pub(crate) fn needed(&self, id: RelationId) -> Option<&BTreeMap<u16, RuleRef>> {
        self.needed.get(&id)
    }

    /// A rule that hides something of the relation.
    pub(crate) fn rule_of(&self, id: RelationId) -> Option<&RuleRef> {
        let closed = self.closed.get(&id).map(|closed| &closed.rule);
        closed.or_else(|| self.needed.get(&id)?.values().next())
    }

    pub(crate) fn all_closed(&self) -> impl Iterator<Item = (RelationId, &Closed)> {
        self.closed.iter().map(|(id, closed)| (*id, closed))
    }
}

impl Hides {
    /// Some rule, where it is all of them together that decide.
    pub(crate) fn first_rule(&self) -> RuleRef {
        let mask = self.masks.first().map(|(rule, _)| rule.name.clone());
        let rows = || self.rows.first().map(|(rule, _)| rule.name.clone());
        mask.or_else(rows).unwrap_or_else(RuleRef::built_in)
    }
}

/// Whether a function's body could read tables, and nobody says that it doesn't: one that an
/// extension brings is what it is everywhere.
pub(crate) fn is_opaque(function: &Function, catalog: &Catalog) -> bool {
    const OF_SEQUENCES: [&str; 4] = ["nextval", "currval", "lastval", "setval"];
    match function.class {
        None => function.extension.is_none() && !catalog.is_system(function.schema),
        Some(Class::Named | Class::Outside) => !OF_SEQUENCES.contains(&&*function.name),
        Some(_) => false,
    }
}
