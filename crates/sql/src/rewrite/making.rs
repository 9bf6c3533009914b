//! From the facts of a statement and the notes of the walk to its edits. Here is what goes for the
//! statement as a whole; what is read is in `reads`, what is written in `writes`.

use std::collections::BTreeSet;
use std::ops::Range;

use pg_raw_parse::Node;

use super::tokens::{Tokens, quoted};
use super::{
    Asked, Disguise, Edit, Expression, Notes, Rewritten, Stored, Unrewritable, Use, What, Why,
    quiet,
};
use crate::catalog::{Catalog, Relation, RelationId};
use crate::facts::{Effect, Facts, Kind, ObjectKind, RelationUse};
use crate::nodes::address;

pub(super) type Made<T = ()> = Result<T, Unrewritable>;

/// The edits of one statement of `text`, which stands at `place`.
pub(crate) fn rewritten(
    statement: Node<'_>,
    text: &str,
    place: Range<usize>,
    catalog: &Catalog,
    facts: &Facts,
    notes: &Notes<'_>,
) -> Made<Rewritten> {
    let disguised =
        |used: &RelationUse| used.relation.is_some_and(|id| notes.disguises.contains_key(&id));
    let writes = |used: &RelationUse| used.insert.is_some() || used.update.is_some();
    if notes.disguises.is_empty()
        || !facts.relations.iter().any(|used| disguised(used) || writes(used))
    {
        return Ok(Rewritten::default());
    }
    let mut making = Making {
        text,
        catalog,
        facts,
        notes,
        tokens: Tokens::of(text, place.start, place.end),
        edits: Vec::new(),
        spliced: BTreeSet::new(),
        stored: BTreeSet::new(),
        asked: BTreeSet::new(),
        statement: address(of_prepare(statement)),
        gives_rows: false,
        keys_tell: false,
        quiet: false,
        others: BTreeSet::new(),
    };
    let hides = |used: &RelationUse| {
        let disguise = used.relation.and_then(|id| notes.disguises.get(&id));
        disguise.is_some_and(|disguise| disguise.filter.is_some())
    };
    if facts.relations.iter().any(hides) {
        making.quiet = quiet::is_quiet(statement, facts, catalog);
        making.others = notes
            .references
            .iter()
            .filter(|reference| {
                let used = notes.uses.get(&reference.number);
                let reads = used.is_some_and(|used| !used.is_target);
                !reads || !matches!(reference.what, What::Column(_))
            })
            .filter_map(|reference| address(Node::ColumnRef(reference.column)))
            .collect();
    }
    for (number, used) in facts.relations.iter().enumerate() {
        making.given(used)?;
        if let Some(id) = used.relation
            && let Some(disguise) = notes.disguises.get(&id)
        {
            making.place(number, used, id, disguise)?;
        }
    }
    making.reads()?;
    making.copies()?;
    making.writes()?;
    Ok(making.end())
}

pub(super) struct Making<'m, 'w> {
    pub(super) text: &'m str,
    pub(super) catalog: &'m Catalog,
    pub(super) facts: &'m Facts,
    pub(super) notes: &'m Notes<'w>,
    pub(super) tokens: Tokens<'m>,
    edits: Vec<Edit>,
    /// Uses in whose place a subquery comes.
    pub(super) spliced: BTreeSet<usize>,
    pub(super) stored: BTreeSet<Stored>,
    pub(super) asked: BTreeSet<(RelationId, Asked)>,
    /// The statement itself, or what it prepares: what that returns is seen.
    pub(super) statement: Option<usize>,
    pub(super) gives_rows: bool,
    pub(super) keys_tell: bool,
    /// Nothing in the statement could look at rows that a filter hides: it needs no fence.
    pub(super) quiet: bool,
    /// References that are not to a column of what is read, by address. Only where there are filters.
    pub(super) others: BTreeSet<usize>,
}

impl<'m, 'w> Making<'m, 'w> {
    /// What may be done with a disguised relation at all, in that place.
    fn place(
        &mut self,
        number: usize,
        used: &RelationUse,
        id: RelationId,
        disguise: &Disguise,
    ) -> Made {
        let no = |why| Err(Unrewritable { why, relation: Some(id) });
        if !self.has_all_columns(id, disguise) {
            return no(Why::Gone);
        }
        let masked = reads_masked(used, disguise);
        let hides = disguise.filter.is_some();
        if used.truncate && hides {
            return no(Why::FilteredWrite);
        }
        // A foreign key to it asks whether values are there.
        let referred = used.reference.as_ref();
        let refers = referred.is_some_and(|columns| {
            hides || columns.numbers.iter().any(|number| disguise.masks.contains_key(number))
        });
        // What lies in the order of an index is read in that order.
        let sorts = used.maintain && self.facts.kind == Kind::Command("cluster");
        let looks = masked || used.tells || sorts || (hides && used.read.is_some());
        if refers || (used.command && looks) {
            return no(Why::Command);
        }
        if used.command {
            return Ok(());
        }
        if let Some(noted) = self.notes.uses.get(&number) {
            let reads = masked || (hides && (used.read.is_some() || noted.is_target));
            // Where a row lies follows how long its values are, also where none is read.
            if noted.system && (!disguise.masks.is_empty() || (reads && !noted.is_target)) {
                return no(Why::SystemColumn);
            }
            if noted.tableoid && disguise.placed {
                return no(Why::Tableoid);
            }
            if !reads {
                return Ok(());
            }
            let keeps = matches!(self.facts.kind, Kind::Command(_))
                || self.facts.commands.iter().any(|command| {
                    let object = command.object.as_ref().map(|object| object.kind);
                    command.effect == Effect::Create
                        && matches!(object, Some(ObjectKind::MaterializedView | ObjectKind::View))
                });
            if keeps {
                return no(Why::Definition);
            }
            if !noted.is_target {
                self.spliced.insert(number);
            }
            return Ok(());
        }
        let copied = self.notes.copies.iter().any(|(_, copied)| *copied == number);
        match used.read {
            Some(_) if !copied && (masked || hides) => no(Why::Unlocated),
            _ => Ok(()),
        }
    }

    fn has_all_columns(&self, id: RelationId, disguise: &Disguise) -> bool {
        let Some(relation) = self.catalog.relation(id) else { return false };
        let is_there = |number: u16| relation.columns.iter().any(|c| c.number == number);
        disguise.masks.keys().copied().all(is_there)
            && disguise.masks.values().all(|mask| mask.expression.columns().all(is_there))
            && disguise.filter.iter().all(|filter| filter.columns().all(is_there))
    }

    pub(super) fn used(
        &self,
        number: usize,
    ) -> Made<(&'m RelationUse, &'m Relation, &'m Disguise, &'m Use<'w>)> {
        let found = || {
            let noted = self.notes.uses.get(&number)?;
            let used = self.facts.relations.get(number)?;
            let relation = self.catalog.relation(noted.relation)?;
            Some((used, relation, self.notes.disguises.get(&noted.relation)?, noted))
        };
        found().ok_or_else(|| self.lost(number))
    }

    /// Whatever should be in the text or in the notes and isn't.
    pub(super) fn lost(&self, number: usize) -> Unrewritable {
        self.no(Why::Unlocated, number)
    }

    pub(super) fn no(&self, why: Why, number: usize) -> Unrewritable {
        let relation = self.facts.relations.get(number).and_then(|used| used.relation);
        Unrewritable { why, relation }
    }

    pub(super) fn edit(&mut self, place: Range<usize>, text: String) {
        self.edits.push(Edit { place, text });
    }

    /// `"schema"."name"`
    pub(super) fn name(&self, relation: &Relation, out: &mut String) {
        quoted(self.catalog.schema_name(relation.schema), out);
        out.push('.');
        quoted(&relation.name, out);
    }

    /// The expression over the relation's columns, which stand behind `qualifier`.
    pub(super) fn over(
        relation: &Relation,
        expression: &Expression,
        qualifier: Option<&str>,
    ) -> String {
        expression.written(|number, out| reference(relation, number, qualifier, out))
    }

    fn end(mut self) -> Rewritten {
        self.edits.sort_by_key(|edit| (edit.place.start, edit.place.end));
        let mut edits: Vec<Edit> = Vec::with_capacity(self.edits.len());
        for edit in self.edits {
            match edits.last_mut() {
                // Several things put in at one place.
                Some(last) if last.place == edit.place && edit.place.is_empty() => {
                    last.text.push_str(&edit.text);
                }
                _ => edits.push(edit),
            }
        }
        let touched = self.facts.relations.iter().filter_map(|used| used.relation);
        let disguised = touched.filter(|id| self.notes.disguises.contains_key(id)).collect();
        let (asked, gives_rows, keys_tell) = (self.asked, self.gives_rows, self.keys_tell);
        Rewritten {
            edits,
            stored: self.stored.into_iter().collect(),
            disguised,
            asked,
            gives_rows,
            keys_tell,
        }
    }
}

fn of_prepare(statement: Node<'_>) -> Node<'_> {
    match statement {
        Node::PrepareStmt(prepare) => prepare.query(),
        other => other,
    }
}

/// Whether the use reads a masked column.
pub(super) fn reads_masked(used: &RelationUse, disguise: &Disguise) -> bool {
    let read = used.read.as_ref();
    read.is_some_and(|read| {
        disguise.masks.keys().any(|number| read.numbers.contains(number))
            || (read.whole_row && !disguise.masks.is_empty())
    })
}

/// A reference to a column, behind the name of its item if it has to be told from others.
pub(super) fn reference(
    relation: &Relation,
    number: u16,
    qualifier: Option<&str>,
    out: &mut String,
) {
    if let Some(qualifier) = qualifier {
        quoted(qualifier, out);
        out.push('.');
    }
    let column = relation.columns.iter().find(|column| column.number == number);
    quoted(column.map_or("", |column| &column.name), out);
}
