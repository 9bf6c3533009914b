//! What a write proposes for the columns of a row filter, where a key has such columns, too. Keys are
//! looked at before anything is returned: whoever proposes a row of somebody else's would learn by the
//! error, or by a row less, that there is one of that key. So the values are asked before they are
//! stored, as row security does it. Those of a VALUES list or a SET that are constants or parameters
//! can be; of others the errors of keys have to be kept from the client ([`Rewritten::keys_tell`]).
//!
//! [`Rewritten::keys_tell`]: super::Rewritten::keys_tell

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use pg_raw_parse::Node;
use pg_raw_parse::nodes::{
    CmdType, ColumnRef, InsertStmt, MergeWhenClause, OnConflictAction, OverridingKind, ResTarget,
};

use super::filtered::Asked;
use super::making::{Made, Making, reference};
use super::tokens::quoted;
use super::{Expression, Why, Write};
use crate::catalog::{Column, Constraint, ConstraintKind, Relation, RelationId, RelationKind};
use crate::functions::Class;
use crate::nodes::address;

/// Where in the text a value stands that can be written twice.
type Values = BTreeMap<u16, Range<usize>>;

impl Making<'_, '_> {
    /// Asks what is proposed for the filter's columns, where a key could tell of it.
    pub(super) fn proposed(&mut self, write: &Write<'_>, filter: &Expression) -> Made {
        let number = write.number;
        let (used, relation, _, noted) = self.used(number)?;
        let columns: BTreeSet<u16> = filter.columns().collect();
        // What a generated column of the filter is made of decides as well.
        let made = relation.generated.iter().filter(|(number, _)| columns.contains(number));
        let sources: BTreeSet<u16> = made.flat_map(|(_, from)| from.iter().copied()).collect();
        let decides = &columns | &sources;
        // Nothing else is asked of it.
        let last_chance = matches!(write.node, Node::MergeStmt(_)) && !self.catalog.merge_returns();
        if !last_chance && !self.is_keyed(noted.relation, &decides) {
            return Ok(());
        }
        // What is stored in the end is another row perhaps.
        let stores_others = self.stores_others(noted.relation);
        // A filter without columns has no value to be asked at.
        let as_given = sources.is_empty() && !stores_others && !columns.is_empty();
        let item = noted.range.alias().map_or(noted.range.relname(), |alias| alias.aliasname());
        let is_asked = match write.node {
            Node::InsertStmt(insert) => {
                let conflict = insert.on_conflict_clause();
                let rows = if as_given { self.rows(relation, insert, &columns) } else { None };
                if rows.is_none()
                    && conflict.is_some_and(|it| it.action == OnConflictAction::ONCONFLICT_NOTHING)
                {
                    // There is no error to be kept.
                    return Err(self.no(Why::ConflictTells, number));
                }
                for row in rows.iter().flatten() {
                    self.ask(relation, filter, row, None);
                }
                let sets = conflict.into_iter().flat_map(|conflict| conflict.target_list().iter());
                let set = self.set(relation, sets, &columns);
                if let Some(set) = set.as_ref().filter(|_| as_given) {
                    self.ask(relation, filter, set, item);
                }
                rows.is_some() && set.is_some()
            }
            Node::UpdateStmt(update) => {
                let given = used.update.as_ref();
                if given.is_some_and(|given| given.numbers.is_disjoint(&decides)) {
                    return Ok(());
                }
                let set = self.set(relation, update.target_list().iter(), &columns);
                if let Some(set) = set.as_ref().filter(|_| as_given) {
                    self.ask(relation, filter, set, item);
                }
                set.is_some() && as_given
            }
            Node::MergeStmt(merge) => {
                let as_given = as_given
                    && (!last_chance || columns.iter().all(|number| is_exact(relation, *number)));
                let mut is_asked = true;
                for when in merge.merge_when_clauses().iter() {
                    let values = match when.command_type {
                        CmdType::CMD_INSERT => self.inserts(relation, when, &columns),
                        CmdType::CMD_UPDATE => {
                            let given = given(relation, when.target_list().iter());
                            if given.is_some_and(|all| all.iter().all(|n| !decides.contains(n))) {
                                is_asked &= !(last_chance && stores_others);
                                continue;
                            }
                            self.set(relation, when.target_list().iter(), &columns)
                        }
                        _ => continue,
                    };
                    match values.filter(|_| as_given) {
                        Some(values) => {
                            let item = item.filter(|_| when.command_type == CmdType::CMD_UPDATE);
                            self.ask(relation, filter, &values, item);
                        }
                        None => is_asked = false,
                    }
                }
                if last_chance && !is_asked {
                    return Err(self.no(Why::LeavesFilter, number));
                }
                is_asked
            }
            _ => false,
        };
        self.keys_tell |= !is_asked;
        Ok(())
    }

    /// Whether a key of the relation, or of what is beneath it, has one of the columns.
    fn is_keyed(&self, id: RelationId, columns: &BTreeSet<u16>) -> bool {
        let is_key = |constraint: &&Constraint| {
            use ConstraintKind::{Exclusion, Primary, Unique};
            matches!(constraint.kind, Primary | Unique | Exclusion)
        };
        let Some(relation) = self.catalog.relation(id) else { return true };
        // The keys of what is beneath a view, or elsewhere, are not its own.
        if !matches!(relation.kind, RelationKind::Table | RelationKind::Partitioned) {
            return true;
        }
        let own = |number: &u16| *number == 0 || columns.contains(number);
        if relation.constraints.iter().filter(is_key).any(|key| key.columns.iter().any(own)) {
            return true;
        }
        // Which of them a row comes to is told by its columns.
        let mut open = relation.children.clone();
        while let Some(id) = open.pop() {
            let Some(relation) = self.catalog.relation(id) else { return true };
            if relation.constraints.iter().any(|constraint| is_key(&constraint)) {
                return true;
            }
            open.extend(&relation.children);
        }
        false
    }

    /// The values of each row of a VALUES list, if they are all given so.
    fn rows(
        &self,
        relation: &Relation,
        insert: &InsertStmt,
        columns: &BTreeSet<u16>,
    ) -> Option<Vec<Values>> {
        let Node::SelectStmt(select) = insert.select_stmt() else { return None };
        let given = given(relation, insert.cols().iter())?;
        let rows = select.values_lists().iter().map(|list| match list {
            Node::NodeList(list) => self.row(&given, list.iter(), columns),
            _ => None,
        });
        rows.collect::<Option<Vec<_>>>().filter(|rows| !rows.is_empty())
    }

    /// The values of the row that an action of MERGE inserts.
    fn inserts(
        &self,
        relation: &Relation,
        when: &MergeWhenClause,
        columns: &BTreeSet<u16>,
    ) -> Option<Values> {
        // It could put a value of its own over one that is given.
        let overriding = when.override_ != OverridingKind::OVERRIDING_NOT_SET;
        let given = given(relation, when.target_list().iter()).filter(|_| !overriding)?;
        self.row(&given, when.values().iter(), columns)
    }

    /// What of one row is for the columns, if each is given a value.
    fn row<'a>(
        &self,
        given: &[u16],
        values: impl Iterator<Item = Node<'a>>,
        columns: &BTreeSet<u16>,
    ) -> Option<Values> {
        let mut row = Values::new();
        for (number, value) in given.iter().zip(values) {
            if columns.contains(number) {
                row.insert(*number, self.value_at(value)?);
            }
        }
        (row.len() == columns.len()).then_some(row)
    }

    /// The values that a SET gives to the columns.
    fn set<'a>(
        &self,
        relation: &Relation,
        targets: impl Iterator<Item = impl Into<Node<'a>>>,
        columns: &BTreeSet<u16>,
    ) -> Option<Values> {
        let mut values = Values::new();
        for target in targets {
            let Node::ResTarget(target) = target.into() else { return None };
            let target: &ResTarget = target;
            let number = relation.column(target.name()?)?.number;
            if columns.contains(&number) {
                if !target.indirection().is_empty() {
                    return None;
                }
                values.insert(number, self.value_at(target.val())?);
            }
        }
        Some(values)
    }

    /// Where a constant, a parameter or a column of a source stands, with what it is cast to.
    fn value_at(&self, value: Node<'_>) -> Option<Range<usize>> {
        let inner = match value {
            Node::TypeCast(cast) => cast.arg(),
            other => other,
        };
        let location = match inner {
            Node::A_Const(constant) => constant.location,
            Node::ParamRef(parameter) => parameter.location,
            Node::ColumnRef(column) if self.is_steady(column) => column.location,
            _ => return None,
        };
        let first = self.tokens.at(usize::try_from(location).ok()?)?;
        // `CAST (…` and `date '…'` begin before it.
        let before = first.checked_sub(1)?;
        if !b"(,=".iter().any(|mark| self.tokens.is_mark(before, *mark)) {
            return None;
        }
        let past = self.tokens.clause(first, &["where", "from", "when", "returning"]);
        let last = self.tokens.item(first).min(past).checked_sub(1)?;
        Some(self.tokens.start(first)?..self.tokens.end(last)?)
    }

    /// Whether it is a column of a source, and the same however often it is asked for: what a query
    /// gives may be worked out anew each time, but by no function that could give another value then.
    fn is_steady(&self, column: &ColumnRef) -> bool {
        let names = column.fields().iter().all(|field| field.as_str().is_some());
        let is_source =
            address(Node::ColumnRef(column)).is_some_and(|at| !self.others.contains(&at));
        let mut all = self.facts.functions.iter().map(|id| self.catalog.function(*id));
        names
            && column.fields().len() < 3
            && is_source
            && all.all(|function| {
                function.is_some_and(|it| it.class == Some(Class::Pure) && !it.volatile)
            })
    }

    /// Puts the question around one of the values. Columns that are given none keep what they have.
    fn ask(
        &mut self,
        relation: &Relation,
        filter: &Expression,
        values: &Values,
        item: Option<&str>,
    ) {
        let Some((number, place)) = values.first_key_value() else { return };
        let asked = filter.written(|number, out| match values.get(&number) {
            Some(place) => {
                out.push_str("CAST(");
                out.push_str(self.text.get(place.clone()).unwrap_or_default());
                out.push_str(" AS ");
                self.type_of(relation, number, out);
                out.push_str(&modifier(relation, number).unwrap_or_default());
                out.push(')');
            }
            None => reference(relation, number, item, out),
        });
        let mut behind = " AS ".to_owned();
        self.type_of(relation, *number, &mut behind);
        behind.push_str(&format!(") WHEN {} THEN NULL END", Asked::Hidden.raises(relation)));
        self.edit(place.start..place.start, format!("CASE WHEN {asked} THEN CAST("));
        self.edit(place.end..place.end, behind);
    }

    fn type_of(&self, relation: &Relation, number: u16, out: &mut String) {
        let column = relation.columns.iter().find(|column| column.number == number);
        let found = column.and_then(|column| self.catalog.type_of(column.type_oid));
        if let Some(found) = found {
            quoted(self.catalog.schema_name(found.schema), out);
            out.push('.');
            quoted(&found.name, out);
        }
    }
}

/// The columns of a list, or all of them where there is none; `None` if parts of columns are given.
fn given<'a>(
    relation: &Relation,
    targets: impl Iterator<Item = impl Into<Node<'a>>>,
) -> Option<Vec<u16>> {
    let given = targets.map(|target| match target.into() {
        Node::ResTarget(target) if target.indirection().is_empty() => {
            Some(relation.column(target.name()?)?.number)
        }
        _ => None,
    });
    let given: Vec<u16> = given.collect::<Option<_>>()?;
    let all = || relation.columns.iter().map(|column| column.number).collect();
    Some(if given.is_empty() { all() } else { given })
}

/// `(20)`, where that is how a column's type is narrowed: of `varchar` and `bpchar`.
fn modifier(relation: &Relation, number: u16) -> Option<String> {
    let column = relation.columns.iter().find(|column| column.number == number)?;
    let length = column.type_modifier.checked_sub(4).filter(|length| *length > 0)?;
    matches!(column.type_oid, 1042 | 1043).then(|| format!("({length})"))
}

/// Whether what is asked of is what the column stores, and not something longer or finer.
fn is_exact(relation: &Relation, number: u16) -> bool {
    let mut columns = relation.columns.iter();
    let plain = |column: &Column| column.type_modifier == -1;
    columns.any(|column| column.number == number && plain(column))
        || modifier(relation, number).is_some()
}
