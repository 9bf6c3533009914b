//! Writes under a row filter: they reach only rows that it lets through, and leave no others behind.
//!
//! The first is a condition before the client's own. The second is asked of each row as it has been
//! stored, whatever defaults and triggers have made of it: where it is returned, and where nobody
//! asked for that, in a RETURNING of ours. A row that the filter hides raises an error there, so it is
//! PostgreSQL that takes the statement back, in whatever protocol and transaction it stands. What has
//! no place for the question is refused.

use pg_raw_parse::Node;
use pg_raw_parse::nodes::{CopyStmt, InsertStmt, OnConflictAction, ResTarget};

use super::making::{Made, Making, reference};
use super::merged::filter_before;
use super::writes::returning;
use super::{Expression, Look, Mask, What, Why, Write};
use crate::catalog::{Event, Relation, RelationId, RelationKind, Source};
use crate::facts::RelationUse;
use crate::nodes::address;

/// What a statement asks of the rows that it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asked {
    /// That the filter does not hide them.
    Hidden,
    /// That they don't look as a mask makes values.
    Masked,
}

impl Asked {
    /// How the error begins that a row raises; behind it stands the relation's number. It is
    /// PostgreSQL's own complaint that this is no boolean.
    const fn words(self) -> &'static str {
        match self {
            Self::Hidden => "gatepost: the row filter hides what this would leave in relation ",
            Self::Masked => "gatepost: a mask makes what this would store in relation ",
        }
    }

    /// What a row was asked that raised the error with this message, and of which relation, by the
    /// server's number.
    pub fn of_error(message: &[u8]) -> Option<(Self, u32)> {
        let message = std::str::from_utf8(message).ok()?;
        let of = |asked: Self| {
            let (_, number) = message.split_once(asked.words())?;
            let end = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
            Some((asked, number.get(..end)?.parse().ok()?))
        };
        of(Self::Hidden).or_else(|| of(Self::Masked))
    }

    /// An error, but not before it is run: of what concat makes the planner knows nothing.
    pub(super) fn raises(self, relation: &Relation) -> String {
        let (words, oid) = (self.words(), relation.oid);
        format!("CAST(pg_catalog.concat('{words}{oid}') AS pg_catalog.bool)")
    }
}

impl Making<'_, '_> {
    /// Stars of RETURNING that have to ask of the rows when they are written out, by address, with
    /// the condition.
    pub(super) fn filtered(
        &mut self,
        write: &Write<'_>,
        filter: &Expression,
    ) -> Made<Option<(usize, String)>> {
        let number = write.number;
        let (used, relation, _, noted) = self.used(number)?;
        let item = noted.range.alias().map_or(noted.range.relname(), |alias| alias.aliasname());
        let lost = self.lost(number);
        let own = Self::over(relation, filter, item);
        let asks = asks(&own, relation);
        // Before what comes to stand behind the values.
        self.proposed(write, filter)?;
        let is_asked = match write.node {
            Node::UpdateStmt(update) => {
                if matches!(update.where_clause(), Node::CurrentOfExpr(_)) {
                    return Err(self.no(Why::FilteredWrite, number));
                }
                self.kept(number, used, &own)?;
                self.may_move(noted.relation, relation, used, filter)
            }
            Node::DeleteStmt(delete) => {
                if matches!(delete.where_clause(), Node::CurrentOfExpr(_)) {
                    return Err(self.no(Why::FilteredWrite, number));
                }
                self.kept(number, used, &own)?;
                false
            }
            Node::InsertStmt(insert) => {
                self.conflicting(number, insert, &own, &asks)?;
                true
            }
            Node::MergeStmt(merge) => self.merges(write, merge, filter, &own)?,
            _ => return Err(self.no(Why::FilteredWrite, number)),
        };
        if !is_asked {
            return Ok(None);
        }
        if goes_elsewhere(relation) {
            return Err(self.no(Why::LeavesFilter, number));
        }
        self.asked.insert((noted.relation, Asked::Hidden));
        if matches!(write.node, Node::MergeStmt(_)) && !self.catalog.merge_returns() {
            // All that it leaves has been asked before.
            return Ok(None);
        }
        let (_, last) = self.region(number, used)?;
        let Some(clause) = returning(write.node) else {
            let past = self.tokens.clause(last + 1, &[]);
            let end = past.checked_sub(1).and_then(|last| self.tokens.end(last)).ok_or(lost)?;
            self.edit(end..end, format!(" RETURNING {asks}"));
            self.gives_rows |= self.statement == address(write.node);
            return Ok(None);
        };
        let targets = || {
            clause.exprs().iter().filter_map(|target| match target {
                Node::ResTarget(target) => Some(target),
                _ => None,
            })
        };
        if let Some(target) = targets().find(|target| !is_star(target.val())) {
            self.asked_of_item(number, target, &asks)?;
            return Ok(None);
        }
        // All are stars: one of its own is written out.
        let own = self.notes.references.iter().filter(|reference| {
            reference.number == number && matches!(reference.what, What::Star | What::All(_))
        });
        let own: Vec<_> =
            own.filter_map(|reference| address(Node::ColumnRef(reference.column))).collect();
        let star = targets().filter_map(|target| address(target.val())).find(|at| own.contains(at));
        match star {
            Some(at) if !relation.columns.is_empty() => Ok(Some((at, asks))),
            _ => Err(self.no(Why::ReturningAll, number)),
        }
    }

    /// Puts the filter before the client's condition.
    fn kept(&mut self, number: usize, used: &RelationUse, filter: &str) -> Made {
        let lost = self.lost(number);
        let (_, last) = self.region(number, used)?;
        let at = self.tokens.clause(last + 1, &["where", "returning"]);
        if !self.tokens.is_word(at, "where") {
            let end = at.checked_sub(1).and_then(|last| self.tokens.end(last)).ok_or(lost)?;
            self.edit(end..end, format!(" WHERE {filter}"));
            return Ok(());
        }
        let (before, behind) = filter_before(filter, self.quiet);
        self.around_condition(number, at, &before, behind)
    }

    /// Puts something around the condition behind the WHERE that `at` is.
    fn around_condition(&mut self, number: usize, at: usize, before: &str, behind: &str) -> Made {
        let lost = self.lost(number);
        let begins = self.tokens.end(at).ok_or(lost)?;
        let last = self.tokens.clause(at + 1, &["returning"]).checked_sub(1).ok_or(lost)?;
        let ends = self.tokens.end(last).ok_or(lost)?;
        self.edit(begins..begins, before.to_owned());
        self.edit(ends..ends, behind.to_owned());
        Ok(())
    }

    /// ON CONFLICT DO UPDATE changes a row that is there: it has to be one that the filter lets
    /// through, and nothing of the client's may look at it before that is known.
    fn conflicting(
        &mut self,
        number: usize,
        insert: &InsertStmt,
        filter: &str,
        asks: &str,
    ) -> Made {
        let Some(conflict) = insert.on_conflict_clause() else { return Ok(()) };
        if conflict.action != OnConflictAction::ONCONFLICT_UPDATE {
            return Ok(());
        }
        let lost = self.lost(number);
        let on = usize::try_from(conflict.location).ok().and_then(|at| self.tokens.at(at));
        let word = self.tokens.clause(on.ok_or(lost)?, &["do"]);
        let at = self.tokens.clause(word + 1, &["where", "returning"]);
        if self.tokens.is_word(at, "where") {
            let raises = Asked::Hidden.raises(self.used(number)?.1);
            let before = format!(" CASE WHEN {filter} THEN (");
            return self.around_condition(number, at, &before, &format!(") ELSE {raises} END"));
        }
        let end = at.checked_sub(1).and_then(|last| self.tokens.end(last)).ok_or(lost)?;
        self.edit(end..end, format!(" WHERE {asks}"));
        Ok(())
    }

    /// Whether an UPDATE could leave a row that the filter hides, given that it was none before.
    pub(super) fn may_move(
        &self,
        id: RelationId,
        relation: &Relation,
        used: &RelationUse,
        filter: &Expression,
    ) -> bool {
        let given = used.update.as_ref();
        // A generated column may be made of what is given.
        let generated =
            |number: u16| relation.columns.iter().any(|c| c.number == number && c.generated);
        let gives = |number: u16| given.is_none_or(|given| given.numbers.contains(&number));
        filter.columns().any(|number| gives(number) || generated(number)) || self.stores_others(id)
    }

    /// Whether what is stored could be another row than the statement makes: something sees it first.
    pub(super) fn stores_others(&self, id: RelationId) -> bool {
        let mut open = vec![id];
        while let Some(relation) = open.pop().map(|id| self.catalog.relation(id)) {
            let Some(relation) = relation else { return true };
            let is_table = matches!(relation.kind, RelationKind::Table | RelationKind::Partitioned);
            if !is_table || relation.code.iter().any(|code| code.before) {
                return true;
            }
            open.extend(&relation.children);
        }
        false
    }

    /// Puts the question around an item of RETURNING, which keeps its name and its type.
    fn asked_of_item(&mut self, number: usize, target: &ResTarget, asks: &str) -> Made {
        let lost = self.lost(number);
        let tokens = &self.tokens;
        let first = usize::try_from(target.location).ok().and_then(|at| tokens.at(at));
        let first = first.ok_or(lost)?;
        let mut past = tokens.item(first);
        if target.name().is_some() {
            // `AS label`, or the label alone; of several tokens it would be `U&"…" UESCAPE '…'`.
            past = past.checked_sub(1).ok_or(lost)?;
            let before = past.checked_sub(1).ok_or(lost)?;
            if tokens.is_word(before, "uescape") {
                return Err(lost);
            }
            past -= usize::from(tokens.is_word(before, "as"));
        }
        let last = past.checked_sub(1).filter(|last| *last >= first).ok_or(lost)?;
        let (begins, ends) = tokens.start(first).zip(tokens.end(last)).ok_or(lost)?;
        self.edit(begins..begins, "(SELECT ".to_owned());
        self.edit(ends..ends, format!(" WHERE {asks})"));
        Ok(())
    }

    /// COPY FROM asks of each row before it is stored. Data is seen by nobody else on its way.
    pub(super) fn copied_in(&mut self, copy: &CopyStmt, number: usize, used: &RelationUse) -> Made {
        let lost = self.lost(number);
        let found = used.relation.and_then(|id| Some((id, self.catalog.relation(id)?)));
        let (id, relation) = found.ok_or(lost)?;
        let disguise = self.notes.disguises.get(&id).ok_or(lost)?;
        let mut asked = Vec::new();
        if let Some(filter) = &disguise.filter {
            let is_made = |number: u16| {
                relation.columns.iter().any(|column| column.number == number && column.generated)
            };
            // Nothing may make another row of it then.
            let other = goes_elsewhere(relation) || self.stores_others(id);
            if other || filter.columns().any(is_made) {
                return Err(self.no(Why::LeavesFilter, number));
            }
            self.asked.insert((id, Asked::Hidden));
            asked.push(asks(&Self::over(relation, filter, Some(&relation.name)), relation));
        }
        for (column, mask) in &disguise.masks {
            let given = used.insert.as_ref().is_none_or(|given| given.numbers.contains(column));
            if given && !matches!(mask.look, Look::Any) {
                self.asked.insert((id, Asked::Masked));
                asked.push(looks(relation, *column, mask));
            }
        }
        if asked.is_empty() {
            return Ok(());
        }
        // `COPY BINARY t`, and what else comes down from before 7.3, has no WHERE.
        let first = self.tokens.at(used.place.start).ok_or(lost)?;
        let is_old = !first.checked_sub(1).is_some_and(|at| self.tokens.is_word(at, "copy"));
        if is_old || self.tokens.has_word(first, "delimiters") {
            return Err(self.no(Why::CopyForm, number));
        }
        let asked = asked.join(" AND ");
        let at = self.tokens.clause(first, &["where"]);
        if !matches!(copy.where_clause(), Node::None) {
            // Rows that are not copied are not asked of.
            let behind = format!(") THEN {asked} ELSE false END");
            return self.around_condition(number, at, " CASE WHEN (", &behind);
        }
        let last = at.checked_sub(1).and_then(|last| self.tokens.end(last)).ok_or(lost)?;
        self.edit(last..last, format!(" WHERE {asked}"));
        Ok(())
    }
}

/// True, or an error.
fn asks(filter: &str, relation: &Relation) -> String {
    format!("CASE WHEN {filter} THEN true ELSE {} END", Asked::Hidden.raises(relation))
}

/// True, or an error: what a mask has made it makes of itself again.
fn looks(relation: &Relation, column: u16, mask: &Mask) -> String {
    let mut own = String::new();
    reference(relation, column, Some(&relation.name), &mut own);
    let again = Making::over(relation, &mask.expression, Some(&relation.name));
    format!(
        "CASE WHEN CAST({own} AS pg_catalog.text) OPERATOR(pg_catalog.=) CAST({again} AS \
         pg_catalog.text) THEN {} ELSE true END",
        Asked::Masked.raises(relation)
    )
}

/// A rule or a trigger takes the place of the write: what it returns says nothing of what is stored.
fn goes_elsewhere(relation: &Relation) -> bool {
    relation.code.iter().any(|code| {
        let writes = code.on.has(Event::Insert) || code.on.has(Event::Update);
        writes && (code.instead || code.source == Source::Rule)
    })
}

/// `*`, `item.*`, `(row).*`
fn is_star(value: Node<'_>) -> bool {
    let last = match value {
        Node::ColumnRef(column) => column.fields().iter().next_back(),
        Node::A_Indirection(indirection) => indirection.indirection().iter().next_back(),
        _ => None,
    };
    matches!(last, Some(Node::A_Star(_)))
}
