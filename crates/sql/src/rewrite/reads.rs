//! What is read: a subquery in the place of a relation, and what has to change around it because a
//! subquery has no schema, no key, no row type and no system columns.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use pg_raw_parse::nodes::{ColumnRef, CopyStmt, SelectStmt};
use pg_raw_parse::{ConstValue, Node};

use super::making::{Made, Making, reads_masked, reference};
use super::tokens::quoted;
use super::{Disguise, Group, GroupItem, Reference, What, Why};
use crate::catalog::{ConstraintKind, Relation, RelationKind};
use crate::facts::RelationUse;
use crate::nodes::{address, children};

impl Making<'_, '_> {
    pub(super) fn reads(&mut self) -> Made {
        for number in self.spliced.clone() {
            self.splice(number)?;
        }
        let notes = self.notes;
        for reference in &notes.references {
            if self.spliced.contains(&reference.number) {
                self.reference(reference)?;
            }
        }
        for group in &notes.groups {
            self.group(group)?;
        }
        Ok(())
    }

    fn splice(&mut self, number: usize) -> Made {
        let (used, relation, disguise, noted) = self.used(number)?;
        if self.notes.doubles.contains(&number) {
            return Err(self.no(Why::SameName, number));
        }
        if used.lock_rows && disguise.filter.is_some() && !self.quiet {
            return Err(self.no(Why::RowLock, number));
        }
        let (first, last) = self.region(number, used)?;
        let region = self.between(number, first, last)?;
        if let Some(before) = first.checked_sub(1)
            && self.tokens.is_word(before, "table")
        {
            let table = self.between(number, before, before)?;
            self.edit(table, "SELECT * FROM".to_owned());
        }
        let alias = noted.range.alias();
        let read = used.read.as_ref().map(|read| &read.numbers);
        let wanted = relation.columns.iter().map(|column| column.number);
        let wanted = wanted.filter(|n| noted.renamed || read.is_some_and(|read| read.contains(n)));
        let mut text = "(SELECT ".to_owned();
        columns(relation, disguise, wanted, &mut text);
        if noted.tableoid {
            if noted.all || noted.renamed {
                return Err(self.no(Why::TableoidBesideAll, number));
            }
            text.push_str(if text.ends_with("SELECT ") { "" } else { ", " });
            text.push_str("tableoid");
        }
        text.push_str(if used.only { " FROM ONLY " } else { " FROM " });
        self.name(relation, &mut text);
        let mut rest = String::new();
        if let Some(filter) = &disguise.filter {
            rest.push_str(" WHERE ");
            rest.push_str(&Self::over(relation, filter, None));
            rest.push_str(if self.quiet { "" } else { " OFFSET 0" });
        }
        rest.push(')');
        let mut name = String::new();
        if alias.is_none() {
            name.push_str(" AS ");
            quoted(&relation.name, &mut name);
        }
        let Some(sample) = noted.sample else {
            self.edit(region, text + &rest + &name);
            return Ok(());
        };
        // The sample is taken inside, where neither the alias nor what stands beside is in sight.
        let mut below = vec![sample.repeatable()];
        below.extend(sample.args());
        if has_references(below) {
            return Err(self.no(Why::Sample, number));
        }
        let lost = self.lost(number);
        let word = self.tokens.clause(last + 1, &["tablesample"]);
        let start = self.tokens.start(word).ok_or(lost)?;
        if alias.is_some() {
            let alias = self.between(number, last + 1, word - 1)?;
            name.push(' ');
            name.push_str(self.text.get(alias).unwrap_or_default());
        }
        let end = self.end_of_sample(word).ok_or(lost)?;
        text.push(' ');
        self.edit(region.start..start, text);
        self.edit(end..end, rest + &name);
        Ok(())
    }

    /// The tokens of `ONLY (name)` or `name *`: whatever names the relation, without its alias.
    pub(super) fn region(&self, number: usize, used: &RelationUse) -> Made<(usize, usize)> {
        let lost = self.lost(number);
        let tokens = &self.tokens;
        let first = tokens.at(used.place.start).ok_or(lost)?;
        let last = tokens.last_before(used.place.end).filter(|last| *last >= first).ok_or(lost)?;
        if !used.only {
            return Ok((first, if tokens.is_mark(last + 1, b'*') { last + 1 } else { last }));
        }
        let before = first.checked_sub(1).ok_or(lost)?;
        if tokens.is_word(before, "only") {
            return Ok((before, last));
        }
        let only = before.checked_sub(1).ok_or(lost)?;
        let parentheses = tokens.is_mark(before, b'(') && tokens.is_mark(last + 1, b')');
        if parentheses && tokens.is_word(only, "only") { Ok((only, last + 1)) } else { Err(lost) }
    }

    /// The place of the tokens from one to another.
    pub(super) fn between(&self, number: usize, first: usize, last: usize) -> Made<Range<usize>> {
        let place = self.tokens.start(first).zip(self.tokens.end(last));
        place.map(|(start, end)| start..end).ok_or_else(|| self.lost(number))
    }

    /// Where `TABLESAMPLE name (…) REPEATABLE (…)` ends, which starts with that token.
    fn end_of_sample(&self, word: usize) -> Option<usize> {
        let tokens = &self.tokens;
        let open = (word..word + 8).find(|at| tokens.is_mark(*at, b'('))?;
        let mut last = tokens.closing(open)?;
        if tokens.is_word(last + 1, "repeatable") {
            last = tokens.closing(last + 2)?;
        }
        tokens.end(last)
    }

    fn reference(&mut self, reference: &Reference<'_>) -> Made {
        let number = reference.number;
        let (_, relation, disguise, noted) = self.used(number)?;
        let parts = reference.column.fields().len();
        let place = self.place_of(reference.column, number)?;
        if let What::Row = reference.what {
            if address(Node::ColumnRef(reference.column))
                .is_some_and(|at| self.notes.plain_rows.contains(&at))
            {
                return Ok(());
            }
            if noted.outer_join {
                return Err(self.no(Why::RowOfOuterJoin, number));
            }
            if !reference.sure {
                return Err(self.no(Why::Doubtful, number));
            }
            let masked = relation.columns.iter();
            let mut masked = masked.filter(|column| disguise.masks.contains_key(&column.number));
            if masked
                .any(|column| self.catalog.type_of(column.type_oid).is_some_and(|t| t.base != 0))
            {
                return Err(self.no(Why::RowOfDomains, number));
            }
            let mut text = self.text.get(place.clone()).unwrap_or_default().to_owned();
            text.push_str("::");
            self.name(relation, &mut text);
            // A quoted alias right behind would become part of the name.
            text.push_str(
                if self.text.get(place.end..).is_some_and(|rest| rest.starts_with('"')) {
                    " "
                } else {
                    ""
                },
            );
            self.edit(place, text);
            return Ok(());
        }
        // `schema.relation.column`
        let Some(qualifiers) = parts.checked_sub(2).filter(|qualifiers| *qualifiers > 0) else {
            return Ok(());
        };
        if !reference.bare {
            return Err(self.no(Why::Shadowed, number));
        }
        let lost = self.lost(number);
        let first = self.tokens.at(place.start).ok_or(lost)?;
        let dot = self.tokens.end_of_names(first, qualifiers).ok_or(lost)? + 1;
        let item = self.tokens.start(dot + 1).ok_or(lost)?;
        self.edit(place.start..item, String::new());
        Ok(())
    }

    /// Where a reference stands in the text.
    pub(super) fn place_of(&self, column: &ColumnRef, number: usize) -> Made<Range<usize>> {
        let found = || {
            let first = self.tokens.at(usize::try_from(column.location).ok()?)?;
            let last = self.tokens.end_of_names(first, column.fields().len())?;
            Some(self.tokens.start(first)?..self.tokens.end(last)?)
        };
        found().ok_or_else(|| self.lost(number))
    }

    /// A subquery has no key, so that what depends on one has to be grouped by as well.
    fn group(&mut self, group: &Group<'_>) -> Made {
        let items: Vec<&GroupItem<'_>> =
            group.items.iter().filter(|item| self.spliced.contains(&item.number)).collect();
        if items.is_empty() {
            return Ok(());
        }
        let grouped = grouped(group);
        let selected = Selected::of(group.select);
        let mut text = String::new();
        for item in items {
            let (_, relation, _, _) = self.used(item.number)?;
            let no = self.no(Why::GroupedByKey, item.number);
            // Of a place in a list whose width is not known it can't be told what it means.
            let grouped = grouped.as_ref().ok_or(no)?;
            let has = |column: &u16| grouped.contains(&(item.number, *column));
            let key = relation.constraints.iter().any(|constraint| {
                constraint.kind == ConstraintKind::Primary && constraint.columns.iter().all(has)
            });
            if !key {
                continue;
            }
            let more: Vec<(&str, u16)> = item
                .columns
                .iter()
                .filter(|(name, column)| !has(column) && selected.wants(item.name, name))
                .copied()
                .collect();
            let is_column = item.columns.iter().any(|(name, _)| *name == item.name);
            if selected.rows.contains(item.name) && !is_column {
                return Err(no);
            }
            for (name, number) in more {
                let column = relation.columns.iter().find(|column| column.number == number);
                let ungrouped = column.is_none_or(|c| WITHOUT_EQUALITY.contains(&c.type_oid));
                if ungrouped || group.sets() {
                    return Err(no);
                }
                quoted(item.name, &mut text);
                text.push('.');
                quoted(name, &mut text);
                text.push_str(", ");
            }
        }
        if text.is_empty() {
            return Ok(());
        }
        let number = group.items.first().map_or(0, |item| item.number);
        let no = self.no(Why::GroupedByKey, number);
        let start = self.start_of_groups(group.select).ok_or(no)?;
        self.edit(start..start, text);
        Ok(())
    }

    /// Before one of the expressions of GROUP BY, of which only some have a place.
    fn start_of_groups(&self, select: &SelectStmt) -> Option<usize> {
        let tokens = &self.tokens;
        select.group_clause().iter().find_map(|node| {
            let location = match node {
                Node::ColumnRef(column) => column.location,
                Node::A_Const(constant) => constant.location,
                _ => return None,
            };
            let mut at = tokens.at(usize::try_from(location).ok()?)?;
            while tokens.is_mark(at.checked_sub(1)?, b'(') {
                at -= 1;
            }
            let before = at.checked_sub(1)?;
            let begins = tokens.is_mark(before, b',')
                || ["by", "all", "distinct"].iter().any(|word| tokens.is_word(before, word));
            begins.then(|| tokens.start(at))?
        })
    }

    /// COPY of a relation, written as COPY of a query with the same columns.
    pub(super) fn copies(&mut self) -> Made {
        let notes = self.notes;
        for (copy, number) in &notes.copies {
            let used = self.facts.relations.get(*number);
            let Some((used, id)) = used.and_then(|used| Some((used, used.relation?))) else {
                continue;
            };
            let Some(disguise) = notes.disguises.get(&id) else { continue };
            if copy.is_from {
                self.copied_in(copy, *number, used)?;
            } else if reads_masked(used, disguise) || disguise.filter.is_some() {
                self.copy(copy, *number, used, disguise)?;
            }
        }
        Ok(())
    }

    fn copy(
        &mut self,
        copy: &CopyStmt,
        number: usize,
        used: &RelationUse,
        disguise: &Disguise,
    ) -> Made {
        let no = self.no(Why::CopyForm, number);
        let relation = used.relation.and_then(|id| self.catalog.relation(id)).ok_or(no)?;
        let tokens = &self.tokens;
        let first = tokens.at(used.place.start).ok_or(no)?;
        let mut last = tokens.last_before(used.place.end).ok_or(no)?;
        if !copy.attlist().is_empty() {
            last = tokens.closing(last + 1).ok_or(no)?;
        }
        // What comes down from before 7.3 is not there for queries.
        let plain = first.checked_sub(1).is_some_and(|before| tokens.is_word(before, "copy"))
            && tokens.is_word(last + 1, "to")
            && !tokens.has_word(last + 1, "delimiters");
        if !plain || !matches!(relation.kind, RelationKind::Table | RelationKind::Materialized) {
            return Err(no);
        }
        let mut wanted = Vec::new();
        for name in copy.attlist().iter() {
            let column = relation.column(name.as_str().unwrap_or_default()).ok_or(no)?;
            wanted.push(column.number);
        }
        if copy.attlist().is_empty() {
            let stored = relation.columns.iter().filter(|column| !column.generated);
            wanted.extend(stored.map(|column| column.number));
        }
        let mut text = "(SELECT ".to_owned();
        columns(relation, disguise, wanted.into_iter(), &mut text);
        text.push_str(" FROM ONLY ");
        self.name(relation, &mut text);
        if let Some(filter) = &disguise.filter {
            text.push_str(" WHERE ");
            text.push_str(&Self::over(relation, filter, None));
        }
        text.push(')');
        let place = self.between(number, first, last)?;
        self.edit(place, text);
        Ok(())
    }
}

/// The list of columns, each as the reader is to see it.
fn columns(
    relation: &Relation,
    disguise: &Disguise,
    wanted: impl Iterator<Item = u16>,
    out: &mut String,
) {
    for (at, number) in wanted.enumerate() {
        out.push_str(if at == 0 { "" } else { ", " });
        match disguise.masks.get(&number) {
            Some(mask) => {
                out.push_str(&Making::over(relation, &mask.expression, None));
                out.push_str(" AS ");
                reference(relation, number, None, out);
            }
            None => reference(relation, number, None, out),
        }
    }
}

/// `json`, `xml`, `point`, `lseg`, `path`, `box`, `polygon`, `line`, `circle`: nothing tells whether
/// two of them are the same, as GROUP BY needs it.
const WITHOUT_EQUALITY: [u32; 9] = [114, 142, 600, 601, 602, 603, 604, 628, 718];

impl Group<'_> {
    fn sets(&self) -> bool {
        self.select.group_clause().iter().any(|node| matches!(node, Node::GroupingSet(_)))
    }
}

/// The columns that are grouped by as they are. `None` if that can't be told.
fn grouped(group: &Group<'_>) -> Option<BTreeSet<(usize, u16)>> {
    let mut found = BTreeSet::new();
    let mut open: Vec<Node<'_>> = group.select.group_clause().iter().collect();
    while let Some(node) = open.pop() {
        let column = match node {
            Node::ColumnRef(column) => column,
            // Its place in the list of what is selected.
            Node::A_Const(constant) => {
                let Some(ConstValue::Integer(place)) = constant.val() else { continue };
                match selected_at(group, usize::try_from(place).ok()?.checked_sub(1)?)? {
                    At::Reference(column) => column,
                    At::Column(number, column) => {
                        found.insert((number, column));
                        continue;
                    }
                    At::Other => continue,
                }
            }
            Node::RowExpr(row) => {
                open.extend(row.args());
                continue;
            }
            Node::GroupingSet(set) => {
                open.extend(set.content());
                continue;
            }
            _ => continue,
        };
        found.extend(of_items(column, group));
        // Where no item has the name, it is that of something selected.
        if let [name] = names(column)[..]
            && !group.items.iter().any(|item| item.columns.iter().any(|(own, _)| *own == name))
        {
            let mut targets = group.select.target_list().iter();
            let target = targets.find(|target| target.name() == Some(name));
            if let Some(Node::ColumnRef(column)) = target.map(|target| target.val()) {
                found.extend(of_items(column, group));
            }
        }
    }
    Some(found)
}

/// What stands at a place in the list of what is selected.
enum At<'s> {
    Reference(&'s ColumnRef),
    /// One of the columns that a star stands for.
    Column(usize, u16),
    Other,
}

/// `None` where a star before it stands for columns that aren't known.
fn selected_at<'s>(group: &Group<'s>, place: usize) -> Option<At<'s>> {
    let mut left = place;
    for target in group.select.target_list().iter() {
        let Node::ColumnRef(column) = target.val() else {
            if left == 0 {
                return Some(At::Other);
            }
            left -= 1;
            continue;
        };
        if !matches!(column.fields().iter().next_back(), Some(Node::A_Star(_))) {
            if left == 0 {
                return Some(At::Reference(column));
            }
            left -= 1;
            continue;
        }
        let name = *names(column).last()?;
        let item = group.items.iter().find(|item| item.name == name)?;
        match item.columns.get(left) {
            Some((_, column)) => return Some(At::Column(item.number, *column)),
            None => left -= item.columns.len(),
        }
    }
    // The server says that there is no such place.
    Some(At::Other)
}

fn of_items(column: &ColumnRef, group: &Group<'_>) -> Vec<(usize, u16)> {
    let names = names(column);
    let Some((name, qualifiers)) = names.split_last() else { return Vec::new() };
    let fits = |item: &&GroupItem<'_>| qualifiers.last().is_none_or(|own| *own == item.name);
    let items = group.items.iter().filter(fits);
    items
        .flat_map(|item| {
            let own = item.columns.iter().filter(|(own, _)| own == name);
            own.map(|(_, column)| (item.number, *column))
        })
        .collect()
}

fn names(column: &ColumnRef) -> Vec<&str> {
    column.fields().iter().filter_map(Node::as_str).collect()
}

/// What a SELECT with GROUP BY names in what it selects, in HAVING and in ORDER BY. By name: too
/// much does no harm.
struct Selected<'s> {
    /// By the item's name, where it is said.
    columns: BTreeMap<&'s str, BTreeSet<&'s str>>,
    bare: BTreeSet<&'s str>,
    /// Items of which all is taken, and all of them.
    stars: BTreeSet<&'s str>,
    all: bool,
    /// Names that could be an item's own.
    rows: BTreeSet<&'s str>,
}

impl<'s> Selected<'s> {
    fn of(select: &'s SelectStmt) -> Self {
        let mut selected = Self {
            columns: BTreeMap::new(),
            bare: BTreeSet::new(),
            stars: BTreeSet::new(),
            all: false,
            rows: BTreeSet::new(),
        };
        let mut open = vec![select.having_clause()];
        open.extend(select.target_list().iter().map(Node::from));
        open.extend(select.sort_clause().iter().map(Node::from));
        open.extend(select.distinct_clause());
        open.extend(select.window_clause().iter());
        while let Some(node) = open.pop() {
            let Node::ColumnRef(column) = node else {
                // The walk has been everywhere; what it doesn't know was refused there.
                let _known = children(node, &mut open);
                continue;
            };
            let star = matches!(column.fields().iter().next_back(), Some(Node::A_Star(_)));
            match (&names(column)[..], star) {
                ([], _) => selected.all = true,
                ([.., item], true) => {
                    selected.stars.insert(item);
                }
                ([name], false) => {
                    selected.bare.insert(name);
                    selected.rows.insert(name);
                }
                ([.., item, name], false) => {
                    selected.columns.entry(item).or_default().insert(name);
                }
            }
        }
        selected
    }

    fn wants(&self, item: &str, name: &str) -> bool {
        self.all
            || self.stars.contains(item)
            || self.bare.contains(name)
            || self.columns.get(item).is_some_and(|names| names.contains(name))
    }
}

fn has_references(nodes: Vec<Node<'_>>) -> bool {
    let mut open = nodes;
    while let Some(node) = open.pop() {
        if matches!(node, Node::ColumnRef(_)) || children(node, &mut open).is_err() {
            return true;
        }
    }
    false
}
