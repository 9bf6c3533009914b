//! What is written to a relation with masks. The target of a write can be no subquery, so each
//! reference to a masked column of it becomes the mask, and what is returned is written out. What a
//! write stores must not answer guesses at what is masked, nor put a mask's work over a value. Row
//! filters are for `filtered`.

use std::collections::{BTreeMap, BTreeSet};

use pg_raw_parse::nodes::{
    CmdType, ColumnRef, InsertStmt, MergeStmt, OnConflictClause, ResTarget, ReturningClause,
    SelectStmt,
};
use pg_raw_parse::{ConstValue, Node};

use super::making::{Made, Making, reads_masked, reference};
use super::tokens::quoted;
use super::{Disguise, Mask, Reference, Stored, Unrewritable, What, Why, Write};
use crate::catalog::{ConstraintKind, Made as Shown, Relation, RelationId, RelationKind, ViewRead};
use crate::facts::RelationUse;
use crate::nodes::{address, children};

impl Making<'_, '_> {
    pub(super) fn writes(&mut self) -> Made {
        let notes = self.notes;
        // Of references that may stay as they are, and those of which a list may be made.
        let (mut kept, mut returned) = (BTreeSet::new(), BTreeSet::new());
        // Stars that ask of the rows, with the condition.
        let mut asking = BTreeMap::new();
        for write in &notes.writes {
            let (_, _, disguise, _) = self.used(write.number)?;
            self.values(write, disguise, &mut kept)?;
            if let Some(filter) = &disguise.filter {
                asking.extend(self.filtered(write, filter)?);
            }
            let clause = returning(write.node);
            let values = clause.into_iter().flat_map(|clause| clause.exprs().iter());
            returned.extend(values.filter_map(|target| match target {
                Node::ResTarget(target) => address(target.val()),
                _ => None,
            }));
        }
        let mut covered = BTreeSet::new();
        for reference in &notes.references {
            let used = notes.uses.get(&reference.number);
            if used.is_some_and(|used| used.is_target) {
                let at = address(Node::ColumnRef(reference.column));
                let is_in = |set: &BTreeSet<usize>| at.is_some_and(|at| set.contains(&at));
                let (keep, list) = (is_in(&kept), is_in(&returned));
                let asks = at.and_then(|at| asking.get(&at)).map(String::as_str);
                self.of_target(reference, (keep, list), asks, &mut covered)?;
            }
        }
        for (number, noted) in notes.uses.iter().filter(|(_, noted)| noted.is_target) {
            let (used, _, disguise, _) = self.used(*number)?;
            let read = used.read.iter().flat_map(|read| &read.numbers);
            let mut masked = read.filter(|column| disguise.masks.contains_key(column));
            if masked.any(|column| !covered.contains(&(noted.relation, *column))) {
                return Err(self.no(Why::ConflictTarget, *number));
            }
        }
        Ok(())
    }

    /// A reference to a target.
    fn of_target(
        &mut self,
        reference: &Reference<'_>,
        (keep, list): (bool, bool),
        mut asks: Option<&str>,
        covered: &mut BTreeSet<(RelationId, u16)>,
    ) -> Made {
        let number = reference.number;
        let (_, relation, disguise, noted) = self.used(number)?;
        if disguise.masks.is_empty() && asks.is_none() {
            return Ok(());
        }
        let all = disguise.masks.keys().map(|column| (noted.relation, *column));
        let own = noted.range.alias().map_or(noted.range.relname(), |alias| alias.aliasname());
        let proposed = reference.item == "excluded" && own != Some("excluded");
        let mut text = String::new();
        match &reference.what {
            What::Column(column) => {
                let Some(mask) = disguise.masks.get(column) else { return Ok(()) };
                covered.insert((noted.relation, *column));
                if keep {
                    return Ok(());
                }
                if proposed {
                    return Err(self.no(Why::ProposedRow, number));
                }
                if !reference.sure {
                    return Err(self.no(Why::Doubtful, number));
                }
                masked(relation, *column, mask, reference.item, &mut text);
            }
            _ if proposed => return Err(self.no(Why::ProposedRow, number)),
            What::Star if list => {
                covered.extend(all);
                written_out(relation, disguise, reference.item, asks, &mut text);
            }
            What::All(items) => {
                let items = items.as_ref().filter(|_| list && self.returns_plainly(number));
                let items = items.ok_or_else(|| self.no(Why::ReturningAll, number))?;
                covered.extend(all);
                // Of a MERGE the source comes first.
                let write = self.notes.writes.iter().find(|write| write.number == number);
                let merges = write.is_some_and(|write| matches!(write.node, Node::MergeStmt(_)));
                let (first, rest) = items.split_at(usize::from(merges).min(items.len()));
                for (name, target) in rest.iter().chain(first) {
                    text.push_str(if text.is_empty() { "" } else { ", " });
                    if *target == Some(number) {
                        written_out(relation, disguise, name, asks.take(), &mut text);
                    } else {
                        quoted(name, &mut text);
                        text.push_str(".*");
                    }
                }
            }
            What::Row | What::Call | What::Star => {
                return Err(self.no(Why::RowOfTarget, number));
            }
        }
        if !reference.bare {
            return Err(self.no(Why::Shadowed, number));
        }
        let place = self.place_of(reference.column, number)?;
        self.edit(place, text);
        Ok(())
    }

    /// Whether RETURNING * is one item after the other.
    fn returns_plainly(&self, number: usize) -> bool {
        let write = self.notes.writes.iter().find(|write| write.number == number);
        let plain = |node: Node<'_>| !matches!(node, Node::JoinExpr(_));
        write.is_some_and(|write| match write.node {
            Node::InsertStmt(_) => true,
            Node::UpdateStmt(update) => update.from_clause().iter().all(plain),
            Node::DeleteStmt(delete) => delete.using_clause().iter().all(plain),
            Node::MergeStmt(merge) => plain(merge.source_relation()),
            _ => false,
        })
    }

    /// What is stored in masked columns.
    fn values(
        &mut self,
        write: &Write<'_>,
        disguise: &Disguise,
        kept: &mut BTreeSet<usize>,
    ) -> Made {
        if disguise.masks.is_empty() {
            return Ok(());
        }
        match write.node {
            Node::UpdateStmt(update) => {
                self.assigned(write.number, update.target_list().iter(), None)
            }
            Node::InsertStmt(insert) => {
                self.inserted(write.number, insert)?;
                match insert.on_conflict_clause() {
                    Some(conflict) => {
                        self.arbiter(write.number, conflict)?;
                        self.assigned(write.number, conflict.target_list().iter(), Some(kept))
                    }
                    None => Ok(()),
                }
            }
            Node::MergeStmt(merge) => self.merged(write.number, merge),
            _ => Ok(()),
        }
    }

    /// ON CONFLICT may not name what is masked: it would answer whether a value is there.
    fn arbiter(&self, number: usize, conflict: &OnConflictClause) -> Made {
        let Some(infer) = conflict.infer() else { return Ok(()) };
        let (_, relation, disguise, _) = self.used(number)?;
        let no = self.no(Why::ConflictTarget, number);
        let is_masked = |name: &str| {
            relation.column(name).is_none_or(|column| disguise.masks.contains_key(&column.number))
        };
        if let Some(name) = infer.conname() {
            let found = relation.constraints.iter().find(|constraint| &*constraint.name == name);
            let known = found.filter(|constraint| !constraint.columns.is_empty()).ok_or(no)?;
            if known.columns.iter().any(|column| disguise.masks.contains_key(column)) {
                return Err(no);
            }
        }
        let mut open = vec![infer.where_clause()];
        open.extend(infer.index_elems());
        while let Some(node) = open.pop() {
            let name = match node {
                Node::IndexElem(element) => element.name(),
                Node::ColumnRef(column) => {
                    Some(column.fields().iter().next_back().and_then(Node::as_str).ok_or(no)?)
                }
                _ => None,
            };
            if name.is_some_and(is_masked) {
                return Err(no);
            }
            children(node, &mut open).map_err(|_| no)?;
        }
        Ok(())
    }

    /// `kept` is for ON CONFLICT: a value that the client itself proposes stays.
    fn assigned<'a>(
        &mut self,
        number: usize,
        targets: impl Iterator<Item = impl Into<Node<'a>>>,
        mut kept: Option<&mut BTreeSet<usize>>,
    ) -> Made {
        for target in targets {
            let Node::ResTarget(target) = target.into() else { return Err(self.lost(number)) };
            let Some(column) = self.column_of(number, target)? else { continue };
            let value = match target.val() {
                Node::MultiAssignRef(assign) => match assign.source() {
                    Node::RowExpr(row) => usize::try_from(assign.colno - 1)
                        .ok()
                        .and_then(|at| row.args().get(at))
                        .ok_or_else(|| self.lost(number))?,
                    source => source,
                },
                value => value,
            };
            if let Node::ColumnRef(proposed) = value
                && let Some(kept) = &mut kept
                && is_proposed(proposed, target.name().unwrap_or_default())
            {
                if self.spliced.iter().any(|spliced| self.is_read_masked(*spliced)) {
                    return Err(self.no(Why::WritesMask, number));
                }
                kept.extend(address(value));
                continue;
            }
            self.value(number, column, value, true)?;
        }
        Ok(())
    }

    fn inserted(&mut self, number: usize, insert: &InsertStmt) -> Made {
        let (_, relation, _, _) = self.used(number)?;
        let mut columns = Vec::new();
        for target in insert.cols().iter() {
            let Node::ResTarget(target) = target else { return Err(self.lost(number)) };
            let name = target.name().unwrap_or_default();
            columns.push(relation.column(name).map(|column| column.number));
        }
        if columns.is_empty() {
            columns.extend(relation.columns.iter().map(|column| Some(column.number)));
        }
        let Node::SelectStmt(select) = insert.select_stmt() else { return Ok(()) };
        for (at, value) in given(select) {
            if let Some(Some(column)) = columns.get(at) {
                self.value(number, *column, value, false)?;
            }
        }
        Ok(())
    }

    fn merged(&mut self, number: usize, merge: &MergeStmt) -> Made {
        let (_, relation, _, _) = self.used(number)?;
        for when in merge.merge_when_clauses().iter() {
            if when.command_type == CmdType::CMD_UPDATE {
                self.assigned(number, when.target_list().iter(), None)?;
            }
            if when.command_type != CmdType::CMD_INSERT {
                continue;
            }
            for (at, value) in when.values().iter().enumerate() {
                let column = match when.target_list().get(at) {
                    Some(Node::ResTarget(target)) => {
                        relation.column(target.name().unwrap_or_default())
                    }
                    _ => relation.columns.get(at),
                };
                let column = column.ok_or_else(|| self.lost(number))?.number;
                self.value(number, column, value, false)?;
            }
        }
        Ok(())
    }

    /// The masked column that an assignment means.
    fn column_of(&self, number: usize, target: &ResTarget) -> Made<Option<u16>> {
        let (_, relation, disguise, _) = self.used(number)?;
        let column = relation.column(target.name().unwrap_or_default());
        Ok(column.map(|column| column.number).filter(|n| disguise.masks.contains_key(n)))
    }

    /// A value for a column, over one that is there or in a new row.
    fn value(&mut self, number: usize, column: u16, value: Node<'_>, replaces: bool) -> Made {
        let (_, _, disguise, noted) = self.used(number)?;
        let Some(mask) = disguise.masks.get(&column) else { return Ok(()) };
        let mut computed = false;
        let mut open = vec![value];
        while let Some(node) = open.pop() {
            match node {
                Node::A_Const(constant) => {
                    let made = match constant.val() {
                        Some(ConstValue::String(text) | ConstValue::Float(text)) => {
                            mask.look.has(text)
                        }
                        Some(ConstValue::Integer(value)) => mask.look.has(&value.to_string()),
                        _ => false,
                    };
                    if made {
                        return Err(self.no(Why::WritesMask, number));
                    }
                }
                Node::ParamRef(parameter) => {
                    if let Ok(parameter) = u32::try_from(parameter.number) {
                        let relation = noted.relation;
                        self.stored.insert(Stored { parameter, relation, column });
                    }
                }
                Node::ColumnRef(_) | Node::SubLink(_) => computed = true,
                node => {
                    children(node, &mut open).map_err(|_| self.lost(number))?;
                }
            }
        }
        if computed && replaces && self.reads_any_masked() {
            return Err(self.no(Why::WritesMask, number));
        }
        Ok(())
    }

    fn reads_any_masked(&self) -> bool {
        self.notes.uses.keys().any(|number| self.is_read_masked(*number))
    }

    fn is_read_masked(&self, number: usize) -> bool {
        self.used(number).is_ok_and(|(used, _, disguise, _)| reads_masked(used, disguise))
    }

    /// Whether columns are given values that a constraint would compare with what is masked.
    pub(super) fn given(&self, used: &RelationUse) -> Made {
        let given = [&used.insert, &used.update].into_iter().flatten();
        let given: BTreeSet<u16> =
            given.flat_map(|columns| columns.numbers.iter().copied()).collect();
        let Some(id) = used.relation.filter(|_| !given.is_empty()) else { return Ok(()) };
        let mut open = vec![(id, given)];
        let mut seen = BTreeSet::from([id]);
        while let Some((id, given)) = open.pop() {
            let Some(relation) = self.catalog.relation(id) else { continue };
            let no = |about| Err(Unrewritable { why: Why::Constrained, relation: Some(about) });
            if relation.kind == RelationKind::View {
                // It comes into what is beneath.
                let Some(beneath) = beneath(relation, &given) else {
                    let mut all = self.catalog.beneath(id).into_iter();
                    match all.find_map(|read| self.masked_in(read.read)) {
                        Some(about) => return no(about),
                        None => continue,
                    }
                };
                open.extend(beneath.into_iter().filter(|(other, _)| seen.insert(*other)));
                continue;
            }
            if let Some(about) = self.tied(id, relation, |number| given.contains(number)) {
                return no(about);
            }
            // What is given to a relation comes into its partitions, or changes children.
            if relation.kind == RelationKind::Partitioned || (used.update.is_some() && !used.only) {
                for child in relation.children.iter().filter(|child| seen.insert(**child)) {
                    let Some(below) = self.catalog.relation(*child) else { continue };
                    let named = relation.columns.iter().filter(|c| given.contains(&c.number));
                    let own = named.filter_map(|column| below.column(&column.name));
                    open.push((*child, own.map(|column| column.number).collect()));
                }
            }
        }
        Ok(())
    }

    fn masked_in(&self, read: ViewRead) -> Option<RelationId> {
        let ViewRead::Column(id, _) = read else { return None };
        self.notes.disguises.get(&id).filter(|disguise| !disguise.masks.is_empty()).map(|_| id)
    }

    /// The relation with a masked column that a constraint ties to one that is given.
    fn tied(
        &self,
        id: RelationId,
        relation: &Relation,
        given: impl Fn(&u16) -> bool,
    ) -> Option<RelationId> {
        let disguises = &self.notes.disguises;
        let masks = disguises.get(&id).map(|disguise| &disguise.masks);
        let masks = masks.filter(|masks| !masks.is_empty());
        for constraint in &relation.constraints {
            if constraint.kind == ConstraintKind::Other {
                continue;
            }
            if let Some(masks) = masks {
                let is_masked = |number: &u16| *number == 0 || masks.contains_key(number);
                // A generated column is made of those that are given.
                let made = |number: &u16| {
                    relation.columns.iter().any(|c| c.number == *number && c.generated)
                };
                let mut tied = constraint.columns.iter();
                if constraint.columns.iter().any(is_masked)
                    && tied.any(|number| *number == 0 || given(number) || made(number))
                {
                    return Some(id);
                }
            }
            if let Some((other, columns)) = &constraint.references
                && let Some(disguise) = disguises.get(other)
            {
                let mut pairs = constraint.columns.iter().zip(columns);
                if pairs.any(|(own, far)| given(own) && disguise.masks.contains_key(far)) {
                    return Some(*other);
                }
            }
        }
        None
    }
}

/// The columns of other relations that columns of a view are. `None` if that can't be told.
fn beneath(view: &Relation, given: &BTreeSet<u16>) -> Option<BTreeMap<RelationId, BTreeSet<u16>>> {
    let mut found = BTreeMap::<_, BTreeSet<u16>>::new();
    for number in given {
        let place = usize::from(*number).checked_sub(1)?;
        let Shown::Plain(relation, column) = view.shows.as_ref()?.columns.get(place)? else {
            return None;
        };
        found.entry(*relation).or_default().insert(*column);
    }
    Some(found)
}

/// The mask of a column, which keeps the column's name where it is selected.
fn masked(relation: &Relation, column: u16, mask: &Mask, item: &str, out: &mut String) {
    out.push_str("(SELECT ");
    out.push_str(&Making::over(relation, &mask.expression, Some(item)));
    out.push_str(" AS ");
    reference(relation, column, None, out);
    out.push(')');
}

/// `item.*`, as the reader is to see it; the first column asks of the row.
fn written_out(
    relation: &Relation,
    disguise: &Disguise,
    item: &str,
    mut asks: Option<&str>,
    out: &mut String,
) {
    for (at, column) in relation.columns.iter().enumerate() {
        out.push_str(if at == 0 { "" } else { ", " });
        let asks = asks.take();
        out.push_str(if asks.is_some() { "(SELECT " } else { "" });
        match disguise.masks.get(&column.number) {
            Some(mask) => masked(relation, column.number, mask, item, out),
            None => reference(relation, column.number, Some(item), out),
        }
        if let Some(condition) = asks {
            out.push_str(" WHERE ");
            out.push_str(condition);
            out.push(')');
        }
    }
}

pub(super) fn returning(write: Node<'_>) -> Option<&ReturningClause> {
    match write {
        Node::InsertStmt(insert) => insert.returning_clause(),
        Node::UpdateStmt(update) => update.returning_clause(),
        Node::DeleteStmt(delete) => delete.returning_clause(),
        Node::MergeStmt(merge) => merge.returning_clause(),
        _ => None,
    }
}

/// `excluded.name`
fn is_proposed(column: &ColumnRef, name: &str) -> bool {
    let mut fields = column.fields().iter().map(Node::as_str);
    let names = (fields.next().flatten(), fields.next().flatten(), fields.next());
    names == (Some("excluded"), Some(name), None)
}

/// The expressions that an INSERT gives, with the place of their column.
fn given(select: &SelectStmt) -> Vec<(usize, Node<'_>)> {
    let mut found = Vec::new();
    for list in select.values_lists() {
        if let Node::NodeList(list) = list {
            found.extend(list.iter().enumerate());
        }
    }
    for (at, target) in select.target_list().iter().enumerate() {
        // Behind a star places can't be told.
        if let Node::ColumnRef(column) = target.val()
            && matches!(column.fields().iter().next_back(), Some(Node::A_Star(_)))
        {
            break;
        }
        found.push((at, target.val()));
    }
    found
}
