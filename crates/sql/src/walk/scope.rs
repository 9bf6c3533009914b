//! Names in a query: which columns are in sight, and what a reference to one reads.

use std::rc::Rc;

use pg_raw_parse::Node;
use pg_raw_parse::nodes::{ColumnRef, CommonTableExpr};

use super::{Walk, Walked};
use crate::catalog::{RelationId, SchemaId};
use crate::facts::{Columns, NotUnderstood};
use crate::rewrite::What;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct ScopeId(usize);

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct QueryId(usize);

impl ScopeId {
    pub(super) fn index(self) -> usize {
        self.0
    }
}

/// What a query sees from outside itself.
#[derive(Clone, Copy, Default)]
pub(super) struct Env {
    pub(super) outer: Option<ScopeId>,
    /// The innermost WITH query in sight; each knows the next one.
    pub(super) ctes: Option<usize>,
}

/// The items in sight at one level of a query.
pub(super) struct Scope<'w> {
    pub(super) env: Env,
    pub(super) items: Vec<Item<'w>>,
}

/// One entry of FROM.
#[derive(Clone)]
pub(super) struct Item<'w> {
    pub(super) name: Option<&'w str>,
    /// Of a relation without an alias: `schema.name.column` means it too.
    pub(super) schema: Option<SchemaId>,
    /// The relation, and the number of its use.
    pub(super) relation: Option<(RelationId, usize)>,
    /// `None`: those of the relation, under their own names.
    pub(super) columns: Option<Rc<[Column<'w>]>>,
    /// It may have columns that aren't known.
    pub(super) open: bool,
    /// Below a join that has an alias.
    pub(super) hidden: bool,
    /// Not in sight for names without a qualifier.
    pub(super) qualified_only: bool,
}

#[derive(Clone)]
pub(super) struct Column<'w> {
    pub(super) name: &'w str,
    pub(super) reads: Reads,
}

/// What a reference reads: columns of uses of relations.
#[derive(Clone)]
pub(super) enum Reads {
    Nothing,
    One(usize, u16),
    /// A system column; whether it is tableoid.
    System(usize, bool),
    Many(Rc<[Reads]>),
}

/// The result of a query.
#[derive(Clone, Default)]
pub(super) struct Columnar<'w> {
    /// `None` while it is not known yet.
    pub(super) names: Option<Rc<[&'w str]>>,
    /// There may be others, anywhere.
    pub(super) open: bool,
}

pub(super) struct Cte<'w> {
    pub(super) clause: &'w CommonTableExpr,
    pub(super) query: QueryId,
    pub(super) next: Option<usize>,
}

/// What one operand of a join gives to `*`.
pub(super) enum Part<'w> {
    Item(ScopeId, usize),
    Columns(Vec<Column<'w>>, bool),
}

pub(super) const SYSTEM_COLUMNS: [&str; 6] = ["ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"];

impl<'w> Walk<'w> {
    pub(super) fn new_query(&mut self) -> QueryId {
        self.queries.push(Columnar::default());
        QueryId(self.queries.len() - 1)
    }

    pub(super) fn result(&self, query: QueryId) -> Columnar<'w> {
        self.queries.get(query.0).cloned().unwrap_or_default()
    }

    pub(super) fn set_result(&mut self, query: QueryId, result: Columnar<'w>) {
        if let Some(place) = self.queries.get_mut(query.0) {
            *place = result;
        }
    }

    pub(super) fn empty_scope(&mut self, env: Env) -> ScopeId {
        self.scopes.push(Scope { env, items: Vec::new() });
        ScopeId(self.scopes.len() - 1)
    }

    pub(super) fn scope(&self, id: ScopeId) -> Walked<&Scope<'w>> {
        self.scopes.get(id.0).ok_or(NotUnderstood::Unvisited)
    }

    pub(super) fn scope_mut(&mut self, id: ScopeId) -> Walked<&mut Scope<'w>> {
        self.scopes.get_mut(id.0).ok_or(NotUnderstood::Unvisited)
    }

    pub(super) fn env(&self, id: ScopeId) -> Walked<Env> {
        Ok(self.scope(id)?.env)
    }

    pub(super) fn find_cte(&self, env: Env, name: &str) -> Option<usize> {
        let mut next = env.ctes;
        while let Some(at) = next {
            let cte = self.ctes.get(at)?;
            if cte.clause.ctename() == Some(name) {
                return Some(at);
            }
            next = cte.next;
        }
        None
    }

    /// All columns of an item, as `*` gives them.
    pub(super) fn columns_of(&self, item: &Item<'w>) -> Vec<Column<'w>> {
        if let Some(columns) = &item.columns {
            return columns.to_vec();
        }
        let Some((relation, number)) = item.relation else { return Vec::new() };
        let columns = self.catalog.relation(relation).map(|relation| &relation.columns);
        columns
            .into_iter()
            .flatten()
            .map(|column| Column { name: &column.name, reads: Reads::One(number, column.number) })
            .collect()
    }

    pub(super) fn columns_of_part(&self, part: &Part<'w>) -> Walked<(Vec<Column<'w>>, bool)> {
        match part {
            Part::Item(scope, at) => {
                let scope = self.scope(*scope)?;
                let item = scope.items.get(*at).ok_or(NotUnderstood::Unvisited)?;
                Ok((self.columns_of(item), item.open))
            }
            Part::Columns(columns, open) => Ok((columns.clone(), *open)),
        }
    }

    /// What `name` reads in the item, if the item has it.
    pub(super) fn column_in(&self, item: &Item<'w>, name: &str) -> Option<Reads> {
        let found = match &item.columns {
            Some(columns) => {
                columns.iter().find(|column| column.name == name).map(|column| column.reads.clone())
            }
            None => item.relation.and_then(|(relation, number)| {
                let column = self.catalog.relation(relation)?.column(name)?;
                Some(Reads::One(number, column.number))
            }),
        };
        found.or_else(|| {
            let (_, number) = item.relation?;
            SYSTEM_COLUMNS.contains(&name).then_some(Reads::System(number, name == "tableoid"))
        })
    }

    pub(super) fn read(&mut self, reads: &Reads) {
        self.resolved(reads);
        let mut next = Some(reads.clone());
        let mut open: Vec<Reads> = Vec::new();
        while let Some(reads) = next {
            match reads {
                Reads::Nothing => {}
                Reads::One(number, column) => {
                    if let Some(columns) = self.computed_from(number) {
                        columns.numbers.insert(column);
                    }
                }
                Reads::System(number, tableoid) => {
                    self.note_system(number, tableoid);
                    if let Some(columns) = self.computed_from(number) {
                        columns.system = true;
                    }
                }
                Reads::Many(all) => open.extend(all.iter().cloned()),
            }
            next = open.pop();
        }
    }

    /// What an expression takes of a relation.
    fn computed_from(&mut self, number: usize) -> Option<&mut Columns> {
        let used = self.facts.relations.get_mut(number)?;
        used.tells |= used.command;
        Some(used.read.get_or_insert_default())
    }

    pub(super) fn read_of(&mut self, number: usize) -> Option<&mut Columns> {
        self.facts.relations.get_mut(number).map(|used| used.read.get_or_insert_default())
    }

    /// Reads all columns of an item, as `item.*` or as the row itself.
    pub(super) fn read_row(&mut self, item: &Item<'w>, whole: bool) {
        self.note_all_of(item);
        // A row is none of its columns.
        self.reference = None;
        if let Some((_, number)) = item.relation
            && whole
            && let Some(columns) = self.computed_from(number)
        {
            columns.whole_row = true;
        }
        for column in self.columns_of(item) {
            self.read(&column.reads);
        }
    }

    /// A reference: `a`, `a.b`, `a.b.c`, or one of them with `*`.
    pub(super) fn column_ref(&mut self, column: &'w ColumnRef, scope: ScopeId) -> Walked {
        let fields = column.fields();
        let mut names = Vec::with_capacity(3);
        let mut star = false;
        for field in fields {
            self.see(field);
            match field {
                Node::String(name) if !star => names.push(name.sval().unwrap_or_default()),
                Node::A_Star(_) => star = true,
                _ => return Err(NotUnderstood::Construct("column reference")),
            }
        }
        match (&*names, star) {
            ([], true) => {
                for item in self.scope(scope)?.items.clone() {
                    if !item.hidden && !item.qualified_only {
                        self.read_row(&item, false);
                    }
                }
                self.note_star(column, scope)
            }
            ([name], false) => self.bare(name, column, scope),
            ([item, rest @ ..], star) if rest.len() <= 1 && (star != (rest.len() == 1)) => {
                let found = self.find_item(None, item, scope)?;
                self.in_item(&found, rest.first().copied(), item, (column, scope))
            }
            ([schema, item, rest @ ..], star) if rest.len() <= 1 && (star != (rest.len() == 1)) => {
                let found = self.find_item(Some(schema), item, scope)?;
                self.in_item(&found, rest.first().copied(), item, (column, scope))
            }
            ([database, ..], _) => Err(NotUnderstood::OtherDatabase((*database).to_owned())),
            _ => Err(NotUnderstood::Construct("column reference")),
        }
    }

    /// `item.name`, or `item.*` without a name.
    fn in_item(
        &mut self,
        item: &Item<'w>,
        name: Option<&'w str>,
        of: &str,
        at: (&'w ColumnRef, ScopeId),
    ) -> Walked {
        let Some(name) = name else {
            self.read_row(item, false);
            self.note_reference(at, item, What::Star, true);
            return Ok(());
        };
        if let Some(reads) = self.column_in(item, name) {
            self.read(&reads);
            self.note_column(at, item, &reads, true);
            return Ok(());
        }
        // Attribute notation: a call of a function with the row.
        let functions: Vec<_> = self.catalog.find_functions(None, name, 1, self.path).collect();
        if functions.is_empty() && !item.open {
            return Err(NotUnderstood::NoSuchColumn(format!("{of}.{name}")));
        }
        self.note_functions(functions);
        self.read_row(item, true);
        self.note_reference(at, item, What::Call, true);
        Ok(())
    }

    fn bare(&mut self, name: &'w str, column: &'w ColumnRef, scope: ScopeId) -> Walked {
        let scope_here = scope;
        let mut level = Some(scope);
        let mut doubt = false;
        while let Some(id) = level {
            let scope = self.scope(id)?;
            let mut found: Vec<Reads> = Vec::new();
            let mut open = false;
            for item in scope.items.iter().filter(|item| !item.hidden && !item.qualified_only) {
                found.extend(self.column_in(item, name));
                open |= item.open;
            }
            level = scope.env.outer;
            if !found.is_empty() {
                self.note_bare(column, name, (id, scope_here), doubt || open)?;
                match found.as_slice() {
                    [one] => self.read(one),
                    _ => self.read(&Reads::Many(found.into())),
                }
                return Ok(());
            }
            doubt |= open;
        }
        // The row of an item as one value.
        match self.find_item(None, name, scope) {
            Ok(item) => {
                self.read_row(&item, true);
                self.note_reference((column, scope), &item, What::Row, !doubt);
                Ok(())
            }
            Err(_) if doubt => Ok(()),
            Err(_) => Err(NotUnderstood::NoSuchColumn(name.to_owned())),
        }
    }

    /// The item in sight that a qualifier means.
    pub(super) fn find_item(
        &self,
        schema: Option<&str>,
        name: &str,
        scope: ScopeId,
    ) -> Walked<Item<'w>> {
        let mut level = Some(scope);
        while let Some(id) = level {
            let scope = self.scope(id)?;
            for item in scope.items.iter().filter(|item| !item.hidden) {
                let fits = match schema {
                    None => true,
                    Some(schema) => {
                        item.schema.is_some_and(|id| self.catalog.schema_name(id) == schema)
                    }
                };
                if fits && item.name == Some(name) {
                    return Ok(item.clone());
                }
            }
            level = scope.env.outer;
        }
        Err(NotUnderstood::NoSuchColumn(format!("{name}.*")))
    }

    /// The columns that a `*` in a list of targets stands for, and whether there may be others.
    pub(super) fn star(
        &self,
        fields: &'w pg_raw_parse::list::NodeList,
        scope: ScopeId,
        all: &(Vec<&'w str>, bool),
    ) -> Walked<(Vec<&'w str>, bool)> {
        let names: Vec<&str> = fields.iter().filter_map(Node::as_str).collect();
        let item = match &*names {
            [] => return Ok(all.clone()),
            [item] => self.find_item(None, item, scope)?,
            [schema, item] => self.find_item(Some(schema), item, scope)?,
            _ => return Err(NotUnderstood::Construct("column reference")),
        };
        let names = self.columns_of(&item).into_iter().map(|column| column.name).collect();
        Ok((names, item.open))
    }
}
