//! From the rows of the reads to a snapshot. What is looked up in it is the catalog's own.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::carried::{Code, Event, Events, Source};
use super::reads::{Malformed, Read};
use super::shown;
use super::tree::{self, Tree};
use super::{
    Catalog, Column, Constraint, ConstraintKind, Function, FunctionId, FunctionKind, Made,
    Referenced, Relation, RelationId, RelationKind, Schema, SchemaId, Shows, Type, TypeKind,
    ViewRead,
};
use crate::functions::class;

/// Takes the rows of every read, in the order of `READS`. What stands on a relation that is not among
/// them is left out with it: of the permanent those rows are all that is read
/// ([`Extent`](super::Extent)).
#[derive(Debug, Default)]
pub struct Builder {
    catalog: Catalog,
    schemas: HashMap<u32, SchemaId>,
    functions: HashMap<u32, FunctionId>,
    /// The functions of operators that aren't the server's own.
    operators: HashMap<u32, FunctionId>,
    /// Names of columns: most tables share a few.
    names: HashSet<Arc<str>>,
    /// The constraints that an index keeps, by the index.
    kept_by: HashMap<u32, (RelationId, usize)>,
    /// What the rows of `Depends` speak of, by catalog and number.
    objects: HashMap<(u32, u32), Carrier>,
    /// Domains that code makes values of: what they call is known at the end.
    makes: Vec<(Carrier, u32)>,
    /// What views have in FROM, by number.
    in_views: Vec<(RelationId, u32)>,
}

#[derive(Clone, Copy, Debug)]
enum Carrier {
    /// The query of a view.
    View(RelationId),
    /// One of the relation's pieces of code, by its place.
    Code(RelationId, usize),
}

// The catalogs that rows of `Depends` come from.
const PG_REWRITE: u32 = 2618;
const PG_POLICY: u32 = 3256;
const PG_ATTRDEF: u32 = 2604;
const PG_CONSTRAINT: u32 = 2606;
const PG_CLASS: u32 = 1259;

impl Builder {
    /// One row of `read`, its values as PostgreSQL writes them.
    pub fn row(&mut self, read: Read, values: &[Option<&str>]) -> Result<(), Malformed> {
        self.take(read, values).ok_or(Malformed(read))
    }

    pub fn build(mut self) -> Catalog {
        self.close_over_calls();
        self.add_what_nothing_depends_on();
        for relation in &mut self.catalog.relations {
            relation.columns.sort_by_key(|column| column.number);
            relation.columns.shrink_to_fit();
            relation.code.retain(Code::matters);
            relation.code.shrink_to_fit();
            relation.reads.sort_by_key(|read| match read {
                ViewRead::Column(relation, number) => (0, relation.0, *number),
                ViewRead::Function(function) => (1, function.0, 0),
            });
            relation.reads.dedup();
        }
        self.catalog
    }

    fn take(&mut self, read: Read, values: &[Option<&str>]) -> Option<()> {
        let mut row = Row(values.iter());
        match read {
            Read::Schemas => self.schema(&mut row)?,
            Read::Roles => {
                let oid = row.number()?;
                self.catalog.roles.insert(oid, row.text()?.into());
            }
            Read::Relations => self.relation(&mut row)?,
            Read::Columns => {
                let relation = row.number()?;
                let number = u16::try_from(row.number()?).ok()?;
                let name = self.name(row.text()?);
                let type_oid = row.number()?;
                let generated = !row.text()?.is_empty();
                let type_modifier = row.text()?.parse().ok()?;
                let Some((_, relation)) = self.relation_mut(relation) else { return Some(()) };
                let column = Column { number, name, type_oid, type_modifier, generated };
                relation.columns.push(column);
            }
            Read::Inheritance => {
                let (child, parent) = (row.number()?, row.number()?);
                let Some(child) = self.catalog.relation_by_oid(child) else { return Some(()) };
                let Some((parent, above)) = self.relation_mut(parent) else { return Some(()) };
                above.children.push(child);
                self.catalog.relations.get_mut(child.0 as usize)?.parents.push(parent);
            }
            Read::Types => self.type_(&mut row)?,
            Read::Functions => self.function(&mut row)?,
            Read::Operators => self.operator(&mut row)?,
            Read::Casts => self.cast(&mut row)?,
            Read::Constraints => self.constraint(&mut row)?,
            Read::Indexes => self.index(&mut row)?,
            Read::Statistics => {
                let schema = *self.schemas.get(&row.number()?)?;
                let name = row.text()?.into();
                let on = self.catalog.relation_by_oid(row.number()?);
                let Some(on) = on else { return Some(()) };
                self.catalog.schemas.get_mut(schema.0 as usize)?.statistics.insert(name, on);
            }
            Read::Triggers => self.trigger(&mut row)?,
            Read::Code => self.code(&mut row)?,
            Read::Depends => self.depends(&mut row)?,
        }
        row.0.next().is_none().then_some(())
    }

    fn name(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return known.clone();
        }
        let name: Arc<str> = name.into();
        self.names.insert(name.clone());
        name
    }

    fn relation_mut(&mut self, oid: u32) -> Option<(RelationId, &mut Relation)> {
        let id = *self.catalog.relation_by_oid.get(&oid)?;
        Some((id, self.catalog.relations.get_mut(id.0 as usize)?))
    }

    fn schema(&mut self, row: &mut Row<'_, '_>) -> Option<()> {
        let oid = row.number()?;
        let name: Box<str> = row.text()?.into();
        let id = SchemaId(u32::try_from(self.catalog.schemas.len()).ok()?);
        self.schemas.insert(oid, id);
        self.catalog.schema_by_name.insert(name.clone(), id);
        self.catalog.schemas.push(Schema { name, ..Schema::default() });
        Some(())
    }

    fn relation(&mut self, row: &mut Row<'_, '_>) -> Option<()> {
        let oid = row.number()?;
        let schema = *self.schemas.get(&row.number()?)?;
        let name: Box<str> = row.text()?.into();
        let kind = match row.text()? {
            "r" => RelationKind::Table,
            "p" => RelationKind::Partitioned,
            "v" => RelationKind::View,
            "m" => RelationKind::Materialized,
            "f" => RelationKind::Foreign,
            "S" => RelationKind::Sequence,
            "c" => RelationKind::Composite,
            "i" | "I" => RelationKind::Index,
            _ => RelationKind::Other,
        };
        let mut columns = Vec::new();
        if kind == RelationKind::Sequence {
            // bigint, bigint, boolean.
            for (number, name, type_oid) in
                [(1, "last_value", 20), (2, "log_cnt", 20), (3, "is_called", 16)]
            {
                let (name, type_modifier, generated) = (self.name(name), -1, false);
                columns.push(Column { number, name, type_oid, type_modifier, generated });
            }
        }
        let id = RelationId(u32::try_from(self.catalog.relations.len()).ok()?);
        self.catalog.relations.push(Relation {
            oid,
            schema,
            name: name.clone(),
            kind,
            owner: row.number()?,
            row_security: row.flag()?,
            security_invoker: row.flag()?,
            columns,
            constraints: Vec::new(),
            generated: Vec::new(),
            code: Vec::new(),
            referenced: Vec::new(),
            index_of: None,
            owned_by: None,
            parents: Vec::new(),
            children: Vec::new(),
            reads: Vec::new(),
            shows: None,
        });
        self.catalog.relation_by_oid.insert(oid, id);
        self.catalog.schemas.get_mut(schema.0 as usize)?.relations.insert(name, id);
        Some(())
    }

    fn type_(&mut self, row: &mut Row<'_, '_>) -> Option<()> {
        let oid = row.number()?;
        let schema = *self.schemas.get(&row.number()?)?;
        let name: Box<str> = row.text()?.into();
        let relation = match row.number()? {
            0 => None,
            // Not that of a TOAST table, which had a type until 13.
            relation => self.catalog.relation_by_oid(relation),
        };
        let (element, base) = (row.number()?, row.number()?);
        let kind = match row.text()? {
            "A" => TypeKind::Array,
            "b" => TypeKind::Base,
            "c" => TypeKind::Composite,
            "d" => TypeKind::Domain,
            "e" => TypeKind::Enum,
            "r" => TypeKind::Range,
            "m" => TypeKind::Multirange,
            "p" => TypeKind::Pseudo,
            _ => return None,
        };
        let found = Type {
            schema,
            name: name.clone(),
            kind,
            relation,
            element,
            base,
            base_modifier: row.text()?.parse().ok()?,
            system: self.catalog.is_system(schema),
            calls: Vec::new(),
        };
        self.catalog.schemas.get_mut(schema.0 as usize)?.types.insert(name, oid);
        self.catalog.types.insert(oid, found);
        Some(())
    }

    fn operator(&mut self, row: &mut Row<'_, '_>) -> Option<()> {
        let oid = row.number()?;
        let schema = *self.schemas.get(&row.number()?)?;
        let name: Box<str> = row.text()?.into();
        let prefix = row.flag()?;
        let function = row.number()?;
        // An operator that is declared but not yet defined has none.
        let Some(&function) = self.functions.get(&function) else { return Some(()) };
        let system = self.is_system(function);
        if !system {
            self.operators.insert(oid, function);
            if matches!(&*name, "<" | "<=" | "=" | ">=" | ">") {
                self.catalog.comparisons.push(function);
            }
        }
        let schema = self.catalog.schemas.get_mut(schema.0 as usize)?;
        let operators = schema.operators.entry(name).or_default();
        match (system, prefix) {
            (true, true) => operators.system_prefix = true,
            (true, false) => operators.system_infix = true,
            (false, _) => operators.others.push((prefix, function)),
        }
        Some(())
    }

    fn is_system(&self, function: FunctionId) -> bool {
        let function = self.catalog.function(function);
        function.is_some_and(|function| self.catalog.is_system(function.schema))
    }

    fn cast(&mut self, row: &mut Row<'_, '_>) -> Option<()> {
        let target = row.number()?;
        let id = *self.functions.get(&row.number()?)?;
        let context = row.text()?;
        if !self.is_system(id) {
            self.catalog.casts.entry(target).or_default().push(id);
            match context {
                "i" => self.catalog.implicit_casts.push(id),
                "a" => self.catalog.assignment_casts.push(id),
                _ => {}
            }
        }
        Some(())
    }

    fn constraint(&mut self, row: &mut Row<'_, '_>) -> Option<()> {
        let name = row.text()?.into();
        let relation = row.number()?;
        let kind = match row.text()? {
            "p" => ConstraintKind::Primary,
            "u" => ConstraintKind::Unique,
            "x" => ConstraintKind::Exclusion,
            "f" => ConstraintKind::Foreign,
            "c" => ConstraintKind::Check,
            _ => ConstraintKind::Other,
        };
        let index = row.number()?;
        let columns = numbers(row.text_or_empty()?).collect();
        let other = row.number()?;
        let other_columns = numbers(row.text_or_empty()?).collect();
        let on_delete = goes_on(row.text()?, Event::Delete);
        let on_update = goes_on(row.text()?, Event::Update);
        let mut references = None;
        let Some(by) = self.catalog.relation_by_oid(relation) else { return Some(()) };
        if kind == ConstraintKind::Foreign {
            let (other, referenced) = self.relation_mut(other)?;
            referenced.referenced.push(Referenced { by, on_delete, on_update });
            references = Some((other, other_columns));
        }
        let (id, relation) = self.relation_mut(relation)?;
        relation.constraints.push(Constraint { name, kind, columns, references });
        let place = relation.constraints.len() - 1;
        if references_index(kind) {
            self.kept_by.insert(index, (id, place));
        }
        Some(())
    }

    fn index(&mut self, row: &mut Row<'_, '_>) -> Option<()> {
        let index = row.number()?;
        let relation = row.number()?;
        let unique = row.flag()?;
        let keys = usize::try_from(row.number()?).ok()?;
        let named: Vec<u16> = numbers(row.text()?).take(keys).collect();
        let tree = tree::read(row.text()?)?;
        // That of a TOAST table is not here.
        let Some((id, _)) = self.relation_mut(relation) else { return Some(()) };
        if let Some((_, index)) = self.relation_mut(index) {
            index.index_of = Some(id);
        }
        // An expression stands as 0 among the keys; its columns, and the condition's, take part.
        let named = named.into_iter().filter(|number| *number != 0);
        let columns = each_once(named.chain(tree.columns.iter().copied()));
        let kept = self.kept_by.get(&index).copied();
        let (_, relation) = self.relation_mut(relation)?;
        if let Some((_, place)) = kept {
            relation.constraints.get_mut(place)?.columns = columns;
        } else if unique {
            let (name, kind) = (Box::default(), ConstraintKind::Unique);
            relation.constraints.push(Constraint { name, kind, columns, references: None });
        }
        let on = Events::of([Event::Insert, Event::Update, Event::Maintain]);
        self.add_code(id, Source::Index, on, &tree)?;
        Some(())
    }

    fn trigger(&mut self, row: &mut Row<'_, '_>) -> Option<()> {
        let relation = row.number()?;
        let function = *self.functions.get(&row.number()?)?;
        let kind = row.number()?;
        let event = row.text()?;
        let condition = tree::read(row.text()?)?;
        if relation == 0 {
            self.catalog.event_triggers.push((event.into(), function));
            return Some(());
        }
        let events =
            [(4, Event::Insert), (8, Event::Delete), (16, Event::Update), (32, Event::Truncate)];
        let events = events.into_iter().filter(|(bit, _)| kind & bit != 0);
        let on = Events::of(events.map(|(_, event)| event));
        let Some((id, _)) = self.relation_mut(relation) else { return Some(()) };
        let code = self.add_code(id, Source::Trigger, on, &condition)?;
        code.instead = kind & 64 != 0;
        // For each row (1), before (2).
        code.before = kind & 3 == 3;
        code.functions.push(function);
        Some(())
    }

    fn code(&mut self, row: &mut Row<'_, '_>) -> Option<()> {
        use Event::{Delete, Insert, Maintain, Read, Update};
        let what = row.text()?;
        let object = row.number()?;
        let owner = row.number()?;
        let detail = row.text()?;
        let text = row.text()?;
        let tree = tree::read(text)?;
        if what == "arguments" {
            let function = *self.functions.get(&owner)?;
            let calls = self.calls(&tree);
            self.catalog.functions.get_mut(function.0 as usize)?.default_calls = calls;
            return Some(());
        }
        if what == "domain" {
            let calls = self.calls(&tree);
            if let Some(domain) = self.catalog.types.get_mut(&owner) {
                domain.calls.extend(calls);
            }
            return Some(());
        }
        let Some((id, relation)) = self.relation_mut(owner) else { return Some(()) };
        let write = [Insert, Update];
        let (source, on, catalog) = match (what, detail) {
            ("default", number) => {
                let number: u16 = number.parse().ok()?;
                let column = relation.columns.iter().find(|column| column.number == number)?;
                if column.generated {
                    let from = each_once(tree.columns.iter().copied());
                    relation.generated.push((number, from));
                    // A virtual one is made when it is read.
                    (Source::Generated, Events::of([Read, Insert, Update]), PG_ATTRDEF)
                } else {
                    (Source::Default, Events::of(write), PG_ATTRDEF)
                }
            }
            ("check", _) => (Source::Check, Events::of(write), PG_CONSTRAINT),
            ("rule" | "instead", "1") => {
                let calls = self.calls(&tree).into_iter().map(ViewRead::Function);
                let shows = self.shows(id, text);
                let (_, view) = self.relation_mut(owner)?;
                view.reads.extend(calls);
                view.shows = shows;
                self.note(Carrier::View(id), &tree);
                self.in_views.extend(tree.relations.iter().map(|oid| (id, *oid)));
                self.objects.insert((PG_REWRITE, object), Carrier::View(id));
                return Some(());
            }
            ("rule" | "instead", event) => {
                let event = match event {
                    "2" => Update,
                    "3" => Insert,
                    "4" => Delete,
                    _ => return None,
                };
                (Source::Rule, Events::of([event]), PG_REWRITE)
            }
            ("policy", _) if !relation.row_security => return Some(()),
            ("policy", command) => {
                let on = match command {
                    // What is written is looked for first.
                    "r" | "*" => Events::of([Read, Insert, Update, Delete]),
                    "a" => Events::of([Insert]),
                    "w" => Events::of([Update]),
                    "d" => Events::of([Delete]),
                    _ => return None,
                };
                (Source::RowSecurity, on, PG_POLICY)
            }
            ("partition", keys) => {
                let named = numbers(keys).filter(|number| *number != 0);
                let columns = each_once(named.chain(tree.columns.iter().copied()));
                let (name, kind) = (Box::default(), ConstraintKind::PartitionKey);
                relation.constraints.push(Constraint { name, kind, columns, references: None });
                (Source::PartitionKey, Events::of(write), 0)
            }
            ("statistics", _) => (Source::Statistics, Events::of([Maintain]), 0),
            _ => return None,
        };
        let targets = tree.targets.iter().filter_map(|oid| self.catalog.relation_by_oid(*oid));
        let writes = targets.collect();
        let code = self.add_code(id, source, on, &tree)?;
        code.instead = what == "instead";
        code.writes = writes;
        code.does = done_by(&tree);
        let place = self.catalog.relations.get(id.0 as usize)?.code.len() - 1;
        self.objects.insert((catalog, object), Carrier::Code(id, place));
        Some(())
    }

    /// What the columns of a view show. Nobody asks it of the server's own, which are many.
    fn shows(&self, view: RelationId, text: &str) -> Option<Shows> {
        let view = self.catalog.relation(view)?;
        if self.catalog.is_system(view.schema) {
            return None;
        }
        // Its condition comes first, and is none.
        let shown = shown::read(text).filter(|shown| !shown.columns.is_empty())?;
        let of = |(oid, number): (u32, u16)| Some((self.catalog.relation_by_oid(oid)?, number));
        Some(Shows {
            columns: shown
                .columns
                .into_iter()
                .map(|column| match column {
                    shown::Made::Plain(oid, number) => of((oid, number))
                        .map_or(Made::Unknown, |(id, number)| Made::Plain(id, number)),
                    shown::Made::Of(all) => {
                        let all: Option<Box<[_]>> = all.into_iter().map(of).collect();
                        all.map_or(Made::Unknown, Made::Of)
                    }
                    shown::Made::Unknown => Made::Unknown,
                })
                .collect(),
            elsewhere: shown.elsewhere.into_iter().filter_map(of).collect(),
        })
    }

    fn add_code(
        &mut self,
        id: RelationId,
        source: Source,
        on: Events,
        tree: &Tree,
    ) -> Option<&mut Code> {
        let functions = self.calls(tree);
        let place = self.catalog.relation(id)?.code.len();
        self.note(Carrier::Code(id, place), tree);
        let relation = self.catalog.relations.get_mut(id.0 as usize)?;
        relation.code.push(Code {
            source,
            on,
            instead: false,
            before: false,
            functions,
            reads: Vec::new(),
            writes: Vec::new(),
            does: Events::default(),
        });
        relation.code.last_mut()
    }

    /// The functions that an expression calls. One that is gone can't be called either.
    fn calls(&self, tree: &Tree) -> Vec<FunctionId> {
        let functions = tree.functions.iter().filter_map(|oid| self.functions.get(oid));
        let operators = tree.operators.iter().filter_map(|oid| self.operators.get(oid));
        functions.chain(operators).copied().collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Notes the domains that the expression makes values of.
    fn note(&mut self, carrier: Carrier, tree: &Tree) {
        let domains = tree.types.iter().filter(|oid| {
            self.catalog.types.get(oid).is_some_and(|found| found.base != 0 && !found.system)
        });
        self.makes.extend(domains.map(|oid| (carrier, *oid)));
    }

    fn depends(&mut self, row: &mut Row<'_, '_>) -> Option<()> {
        let object = (row.number()?, row.number()?);
        let relation = row.number()?;
        let column = u16::try_from(row.number()?).ok()?;
        if object.0 == PG_CLASS {
            let owner = self.catalog.relation_by_oid(relation);
            if let (Some((_, sequence)), Some(owner)) = (self.relation_mut(object.1), owner) {
                sequence.owned_by = Some((owner, column));
            }
            return Some(());
        }
        // Of what carries no code there is nothing to note.
        let Some(carrier) = self.objects.get(&object).copied() else { return Some(()) };
        let Some(relation) = self.catalog.relation_by_oid(relation) else { return Some(()) };
        match carrier {
            Carrier::View(view) if relation == view => {}
            Carrier::View(view) => {
                let view = self.catalog.relations.get_mut(view.0 as usize)?;
                view.reads.push(ViewRead::Column(relation, column));
            }
            Carrier::Code(id, place) => {
                let code = &mut self.catalog.relations.get_mut(id.0 as usize)?.code;
                let code = code.get_mut(place)?;
                // An expression over the row itself reads nothing more; a rule may.
                if relation != id || code.source == Source::Rule {
                    code.reads.push((relation, column));
                }
            }
        }
        Some(())
    }

    /// The server keeps no record of what depends on its own catalogs: they can't be dropped. A
    /// view that has one in FROM is taken to read all of it.
    fn add_what_nothing_depends_on(&mut self) {
        for (view, oid) in std::mem::take(&mut self.in_views) {
            let Some(below) = self.catalog.relation_by_oid(oid).filter(|below| *below != view)
            else {
                continue;
            };
            let Some(view) = self.catalog.relations.get_mut(view.0 as usize) else { continue };
            let known = view
                .reads
                .iter()
                .any(|read| matches!(read, ViewRead::Column(other, _) if *other == below));
            if !known {
                view.reads.push(ViewRead::Column(below, 0));
            }
        }
    }

    /// Adds to what calls a function what the defaults of its arguments and the domains among
    /// them call, and so on.
    fn close_over_calls(&mut self) {
        for (carrier, domain) in std::mem::take(&mut self.makes) {
            let mut calls = BTreeSet::new();
            self.catalog.add_domain_calls(domain, &mut calls);
            match carrier {
                Carrier::View(id) => {
                    if let Some(view) = self.catalog.relations.get_mut(id.0 as usize) {
                        view.reads.extend(calls.into_iter().map(ViewRead::Function));
                    }
                }
                Carrier::Code(id, place) => {
                    let relation = self.catalog.relations.get_mut(id.0 as usize);
                    if let Some(code) = relation.and_then(|r| r.code.get_mut(place)) {
                        code.functions.extend(calls);
                    }
                }
            }
        }
        for at in 0..self.catalog.relations.len() {
            let Some(relation) = self.catalog.relations.get(at) else { continue };
            let all = |functions: BTreeSet<FunctionId>| {
                let mut functions = functions;
                self.catalog.add_calls_of(&mut functions);
                functions
            };
            let of_code: Vec<Vec<FunctionId>> = relation
                .code
                .iter()
                .map(|code| all(code.functions.iter().copied().collect()).into_iter().collect())
                .collect();
            let of_view = all(relation.reads.iter().filter_map(ViewRead::function).collect());
            let Some(relation) = self.catalog.relations.get_mut(at) else { continue };
            for (code, functions) in relation.code.iter_mut().zip(of_code) {
                code.functions = functions;
            }
            relation.reads.extend(of_view.into_iter().map(ViewRead::Function));
        }
    }

    fn function(&mut self, row: &mut Row<'_, '_>) -> Option<()> {
        let oid = row.number()?;
        let schema = *self.schemas.get(&row.number()?)?;
        let name: Box<str> = row.text()?.into();
        let kind = match row.text()? {
            "f" => FunctionKind::Function,
            "p" => FunctionKind::Procedure,
            "a" => FunctionKind::Aggregate,
            "w" => FunctionKind::Window,
            _ => return None,
        };
        let volatile = row.text()? == "v";
        let security_definer = row.flag()?;
        let count = row.number()?;
        let defaults = u16::try_from(row.number()?).ok()?;
        let variadic = row.flag()?;
        let returns_set = row.flag()?;
        let returns = row.number()?;
        let arguments: Vec<u32> = row.list().map(str::parse).collect::<Result<_, _>>().ok()?;
        if arguments.len() != usize::try_from(count).ok()? {
            return None;
        }
        let modes: Vec<&str> = row.list().collect();
        let names: Vec<&str> = row.list().collect();
        let types = row.text()?;
        let extension = Some(row.text()?).filter(|name| !name.is_empty());
        let class = class(extension, self.catalog.schema_name(schema), &name, types);
        let outputs = modes
            .iter()
            .zip(names)
            .filter(|(mode, _)| matches!(**mode, "o" | "b" | "t"))
            .map(|(_, name)| name.into())
            .collect();
        let id = FunctionId(u32::try_from(self.catalog.functions.len()).ok()?);
        self.functions.insert(oid, id);
        let names = &mut self.catalog.schemas.get_mut(schema.0 as usize)?.functions;
        names.entry(name.clone()).or_default().push(id);
        self.catalog.functions.push(Function {
            oid,
            schema,
            name,
            kind,
            volatile,
            security_definer,
            arguments,
            defaults,
            variadic,
            returns_set,
            returns,
            outputs,
            class,
            default_calls: Vec::new(),
            extension: extension.map(Into::into),
        });
        Some(())
    }
}

struct Row<'r, 'v>(std::slice::Iter<'r, Option<&'v str>>);

impl<'v> Row<'_, 'v> {
    fn text(&mut self) -> Option<&'v str> {
        *self.0.next()?
    }

    /// NULL is empty.
    fn text_or_empty(&mut self) -> Option<&'v str> {
        self.0.next().map(|value| value.unwrap_or_default())
    }

    fn number(&mut self) -> Option<u32> {
        self.text()?.parse().ok()
    }

    fn flag(&mut self) -> Option<bool> {
        match self.text()? {
            "t" => Some(true),
            "f" => Some(false),
            _ => None,
        }
    }

    /// The elements of a list; NULL and empty have none.
    fn list(&mut self) -> impl Iterator<Item = &'v str> + use<'v> {
        let text = self.text().unwrap_or_default();
        text.split('\u{1f}').filter(move |_| !text.is_empty())
    }
}

/// Whether the constraint is kept by the index that its row names; a foreign key names that of
/// the other table.
fn references_index(kind: ConstraintKind) -> bool {
    matches!(kind, ConstraintKind::Primary | ConstraintKind::Unique | ConstraintKind::Exclusion)
}

/// What a foreign key does to its own table when `event` happens to the other.
fn goes_on(action: &str, event: Event) -> Option<Event> {
    match action {
        "c" => Some(event),
        "n" | "d" => Some(Event::Update),
        _ => None,
    }
}

/// What the statements of a rule do to the relations that they write.
fn done_by(tree: &Tree) -> Events {
    let events = tree.commands.iter().flat_map(|command| match command {
        2 => &[Event::Update][..],
        3 => &[Event::Insert],
        4 => &[Event::Delete],
        // MERGE, or what wasn't called so before 15.
        5 => &[Event::Insert, Event::Update, Event::Delete],
        _ => &[],
    });
    let conflict = tree.on_conflict_update.then_some(Event::Update);
    Events::of(events.copied().chain(conflict))
}

fn each_once(numbers: impl Iterator<Item = u16>) -> Vec<u16> {
    numbers.collect::<BTreeSet<_>>().into_iter().collect()
}

/// The numbers in a list of them, however it is written; a system column's is negative and none.
fn numbers(list: &str) -> impl Iterator<Item = u16> {
    list.split([' ', ',', '{', '}']).filter_map(|number| number.parse().ok())
}
