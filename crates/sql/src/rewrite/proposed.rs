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
use pg_raw_parse::nodes::{InsertStmt, OnConflictAction, ResTarget};

use super::filtered::Asked;
use super::making::{Made, Making, reference};
use super::tokens::quoted;
use super::{Expression, Why, Write};
use crate::catalog::{Constraint, ConstraintKind, Relation, RelationId, RelationKind};

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
        if !self.is_keyed(noted.relation, &decides) {
            return Ok(());
        }
        // What is stored in the end is another row perhaps.
        let as_given = sources.is_empty() && !self.stores_others(noted.relation);
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
        let mut given = Vec::new();
        for target in insert.cols().iter() {
            let Node::ResTarget(target) = target else { return None };
            if !target.indirection().is_empty() {
                return None;
            }
            given.push(relation.column(target.name()?)?.number);
        }
        if given.is_empty() {
            given.extend(relation.columns.iter().map(|column| column.number));
        }
        let mut rows = Vec::new();
        for list in select.values_lists() {
            let Node::NodeList(list) = list else { return None };
            let mut row = Values::new();
            for (number, value) in given.iter().zip(list.iter()) {
                if columns.contains(number) {
                    row.insert(*number, self.value_at(value)?);
                }
            }
            if row.len() < columns.len() {
                return None;
            }
            rows.push(row);
        }
        Some(rows).filter(|rows| !rows.is_empty())
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

    /// Where a constant or a parameter stands, with what it is cast to.
    fn value_at(&self, value: Node<'_>) -> Option<Range<usize>> {
        let inner = match value {
            Node::TypeCast(cast) => cast.arg(),
            other => other,
        };
        let location = match inner {
            Node::A_Const(constant) => constant.location,
            Node::ParamRef(parameter) => parameter.location,
            _ => return None,
        };
        let first = self.tokens.at(usize::try_from(location).ok()?)?;
        // `CAST (…` and `date '…'` begin before it.
        let before = first.checked_sub(1)?;
        if !b"(,=".iter().any(|mark| self.tokens.is_mark(before, *mark)) {
            return None;
        }
        let past = self.tokens.clause(first, &["where", "from", "returning"]);
        let last = self.tokens.item(first).min(past).checked_sub(1)?;
        Some(self.tokens.start(first)?..self.tokens.end(last)?)
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
