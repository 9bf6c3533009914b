//! What the walk notes for rewriting: uses of disguised relations and references to them. What is
//! made of it is the rewriting's; nothing here changes the facts.

use pg_raw_parse::Node;
use pg_raw_parse::nodes::{
    ColumnRef, CopyStmt, JoinExpr, JoinType, RangeTableSample, RangeVar, SelectStmt,
};

use super::scope::{Item, Reads, ScopeId};
use super::{Walk, Walked};
use crate::nodes::address;
use crate::rewrite::{Group, GroupItem, Reference, Use, What, Write};

impl<'w> Walk<'w> {
    pub(super) fn note_use(&mut self, number: usize, range: &'w RangeVar, is_target: bool) {
        let Some(notes) = &mut self.notes else { return };
        let relation = self.facts.relations.get(number).and_then(|used| used.relation);
        let Some(relation) = relation.filter(|id| notes.disguises.contains_key(id)) else { return };
        let sample = address(Node::from(range)).and_then(|at| notes.samples.get(&at).copied());
        let used = Use {
            relation,
            range,
            sample,
            is_target,
            outer_join: false,
            all: false,
            renamed: range.alias().is_some_and(|alias| !alias.colnames().is_empty()),
            tableoid: false,
            system: false,
        };
        notes.uses.insert(number, used);
    }

    pub(super) fn note_sample(&mut self, sample: &'w RangeTableSample) {
        if let Some(notes) = &mut self.notes
            && let Some(of) = address(sample.relation())
        {
            notes.samples.insert(of, sample);
        }
    }

    pub(super) fn note_copy(&mut self, copy: &'w CopyStmt, number: usize) {
        if let Some(notes) = &mut self.notes {
            notes.copies.push((copy, number));
        }
    }

    pub(super) fn note_write(&mut self, number: usize, node: Node<'w>) {
        if let Some(notes) = &mut self.notes
            && notes.uses.contains_key(&number)
        {
            notes.writes.push(Write { number, node });
        }
    }

    pub(super) fn note_system(&mut self, number: usize, tableoid: bool) {
        let used = self.notes.as_mut().and_then(|notes| notes.uses.get_mut(&number));
        if let Some(used) = used {
            used.tableoid |= tableoid;
            used.system |= !tableoid;
        }
    }

    pub(super) fn note_plain_row(&mut self, argument: Node<'w>) {
        if let Some(notes) = &mut self.notes
            && let Node::ColumnRef(_) = argument
        {
            notes.plain_rows.extend(address(argument));
        }
    }

    pub(super) fn note_all_of(&mut self, item: &Item<'w>) {
        let Some(notes) = &mut self.notes else { return };
        if let Some(used) = item.relation.and_then(|(_, number)| notes.uses.get_mut(&number)) {
            used.all = true;
        }
    }

    /// Whether the item is a use that is noted.
    fn noted(&self, item: &Item<'w>) -> Option<usize> {
        let notes = self.notes.as_ref()?;
        item.relation.map(|(_, number)| number).filter(|number| notes.uses.contains_key(number))
    }

    /// A name that is an item's of the same FROM already: the server takes that from two relations
    /// of different schemas, but not from what stands in their place.
    pub(super) fn note_double(&mut self, item: &Item<'w>, scope: ScopeId) {
        let number = self.noted(item);
        if let (Some(notes), Some(name)) = (&mut self.notes, item.name)
            && let Some(before) = notes.names.insert((scope.index(), name), number)
        {
            notes.doubles.extend([before, number].into_iter().flatten());
        }
    }

    pub(super) fn note_join(&mut self, join: &JoinExpr, scope: ScopeId, first: usize) -> Walked {
        if self.notes.is_none() {
            return Ok(());
        }
        let outer = join.jointype != JoinType::JOIN_INNER;
        // Such a join's columns are all that its operands have.
        let all = join.is_natural || join.alias().is_some();
        if !outer && !all {
            return Ok(());
        }
        let items = self.scope(scope)?.items.iter().skip(first);
        let numbers: Vec<usize> = items.filter_map(|item| self.noted(item)).collect();
        for number in numbers {
            let used = self.notes.as_mut().and_then(|notes| notes.uses.get_mut(&number));
            if let Some(used) = used {
                used.outer_join |= outer;
                used.all |= all;
                used.renamed |= join.alias().is_some_and(|alias| !alias.colnames().is_empty());
            }
        }
        Ok(())
    }

    pub(super) fn note_group(&mut self, select: &'w SelectStmt, scope: ScopeId) -> Walked {
        if self.notes.is_none() || select.group_clause().is_empty() {
            return Ok(());
        }
        let mut items = Vec::new();
        for item in &self.scope(scope)?.items {
            if let (Some(number), Some(name)) = (self.noted(item), item.name) {
                let columns = self.columns_of(item).into_iter();
                let columns = columns.filter_map(|column| match column.reads {
                    Reads::One(_, number) => Some((column.name, number)),
                    _ => None,
                });
                items.push(GroupItem { name, number, columns: columns.collect() });
            }
        }
        if let Some(notes) = &mut self.notes
            && !items.is_empty()
        {
            notes.groups.push(Group { select, items });
        }
        Ok(())
    }

    pub(super) fn note_reference(
        &mut self,
        (column, scope): (&'w ColumnRef, ScopeId),
        item: &Item<'w>,
        what: What<'w>,
        sure: bool,
    ) {
        let (Some(number), Some(name)) = (self.noted(item), item.name) else { return };
        let bare = self.find_item(None, name, scope).is_ok_and(|found| {
            found.relation == item.relation && found.schema.is_some() == item.schema.is_some()
        });
        if let Some(notes) = &mut self.notes {
            notes.references.push(Reference { column, number, what, item: name, sure, bare });
        }
    }

    pub(super) fn note_column(
        &mut self,
        at: (&'w ColumnRef, ScopeId),
        item: &Item<'w>,
        reads: &Reads,
        sure: bool,
    ) {
        if let Reads::One(_, number) = reads {
            self.note_reference(at, item, What::Column(*number), sure);
        }
    }

    /// A name alone, found in the scope `level` of what `here` sees.
    pub(super) fn note_bare(
        &mut self,
        column: &'w ColumnRef,
        name: &str,
        (level, here): (ScopeId, ScopeId),
        doubt: bool,
    ) -> Walked {
        if self.notes.is_none() {
            return Ok(());
        }
        let items = self.scope(level)?.items.iter();
        let found: Vec<(Item<'w>, Reads)> = items
            .filter(|item| !item.hidden && !item.qualified_only)
            .filter_map(|item| Some((item.clone(), self.column_in(item, name)?)))
            .collect();
        let sure = found.len() == 1 && !doubt;
        for (item, reads) in found {
            self.note_column((column, here), &item, &reads, sure);
        }
        Ok(())
    }

    /// `*` alone. In a FROM it needs no rewriting; of what a write returns it does.
    pub(super) fn note_star(&mut self, column: &'w ColumnRef, scope: ScopeId) -> Walked {
        let Some(notes) = &self.notes else { return Ok(()) };
        let items = &self.scope(scope)?.items;
        let is_target = |item: &Item<'w>| {
            let number = item.relation.map(|(_, number)| number)?;
            notes.uses.get(&number).filter(|used| used.is_target).map(|_| number)
        };
        let Some(number) = items.iter().find_map(is_target) else { return Ok(()) };
        let mut all = Some(Vec::new());
        for item in items.iter().filter(|item| !item.qualified_only) {
            match (&mut all, item.name) {
                (Some(all), Some(name)) if !item.hidden => all.push((name, is_target(item))),
                _ => all = None,
            }
        }
        if let Some(notes) = &mut self.notes {
            let what = What::All(all);
            let (item, sure, bare) = ("", true, true);
            notes.references.push(Reference { column, number, what, item, sure, bare });
        }
        Ok(())
    }
}
