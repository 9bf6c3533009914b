//! From the rows of the reads to a snapshot. What is looked up in it is the catalog's own.

use std::collections::HashMap;

use super::reads::{Malformed, Read};
use super::{
    Catalog, Column, Constraint, Function, FunctionId, FunctionKind, Relation, RelationId,
    RelationKind, Schema, SchemaId, Type, ViewRead,
};
use crate::functions::class;

/// Takes the rows of every read, in the order of `READS`.
#[derive(Debug, Default)]
pub struct Builder {
    catalog: Catalog,
    schemas: HashMap<u32, SchemaId>,
    functions: HashMap<u32, FunctionId>,
}

impl Builder {
    /// One row of `read`, its values as PostgreSQL writes them.
    pub fn row(&mut self, read: Read, values: &[Option<&str>]) -> Result<(), Malformed> {
        self.take(read, values).ok_or(Malformed(read))
    }

    pub fn build(mut self) -> Catalog {
        // A function's parts come before relations that a view's rows name.
        for relation in &mut self.catalog.relations {
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
            Read::Schemas => {
                let oid = row.number()?;
                let name: Box<str> = row.text()?.into();
                let id = SchemaId(u32::try_from(self.catalog.schemas.len()).ok()?);
                self.schemas.insert(oid, id);
                self.catalog.schema_by_name.insert(name.clone(), id);
                self.catalog.schemas.push(Schema { name, ..Schema::default() });
            }
            Read::Relations => {
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
                let id = RelationId(u32::try_from(self.catalog.relations.len()).ok()?);
                let relation = Relation {
                    oid,
                    schema,
                    name: name.clone(),
                    kind,
                    row_security: row.flag()?,
                    security_invoker: row.flag()?,
                    rules: row.flag()?,
                    triggers: row.flag()?,
                    columns: Vec::new(),
                    parents: Vec::new(),
                    children: Vec::new(),
                    reads: Vec::new(),
                    index_of: None,
                    constraints: Vec::new(),
                };
                self.catalog.relation_by_oid.insert(oid, id);
                self.catalog.schemas.get_mut(schema.0 as usize)?.relations.insert(name, id);
                self.catalog.relations.push(relation);
            }
            Read::Columns => {
                let relation = *self.catalog.relation_by_oid.get(&row.number()?)?;
                let column = Column {
                    number: u16::try_from(row.number()?).ok()?,
                    name: row.text()?.into(),
                    type_oid: row.number()?,
                    generated: row.flag()?,
                };
                self.catalog.relations.get_mut(relation.0 as usize)?.columns.push(column);
            }
            Read::Inheritance => {
                let child = *self.catalog.relation_by_oid.get(&row.number()?)?;
                let parent = *self.catalog.relation_by_oid.get(&row.number()?)?;
                self.catalog.relations.get_mut(child.0 as usize)?.parents.push(parent);
                self.catalog.relations.get_mut(parent.0 as usize)?.children.push(child);
            }
            Read::ViewReads => {
                let view = *self.catalog.relation_by_oid.get(&row.number()?)?;
                let what = row.text()?;
                let oid = row.number()?;
                let number = u16::try_from(row.number()?).ok()?;
                if what == "r" {
                    let relation = *self.catalog.relation_by_oid.get(&oid)?;
                    if relation != view {
                        let read = ViewRead::Column(relation, number);
                        self.catalog.relations.get_mut(view.0 as usize)?.reads.push(read);
                    }
                } else {
                    let read = ViewRead::Function(*self.functions.get(&oid)?);
                    self.catalog.relations.get_mut(view.0 as usize)?.reads.push(read);
                }
            }
            Read::Types => {
                let oid = row.number()?;
                let schema = *self.schemas.get(&row.number()?)?;
                let name: Box<str> = row.text()?.into();
                let relation = match row.number()? {
                    0 => None,
                    relation => Some(*self.catalog.relation_by_oid.get(&relation)?),
                };
                let found = Type {
                    relation,
                    element: row.number()?,
                    base: row.number()?,
                    range: row.flag()?,
                    system: self.catalog.is_system(schema),
                };
                self.catalog.schemas.get_mut(schema.0 as usize)?.types.insert(name, oid);
                self.catalog.types.insert(oid, found);
            }
            Read::Functions => self.function(&mut row)?,
            Read::Operators => {
                let schema = *self.schemas.get(&row.number()?)?;
                let name: Box<str> = row.text()?.into();
                let prefix = row.flag()?;
                let function = row.number()?;
                // An operator that is declared but not yet defined has none.
                let Some(&function) = self.functions.get(&function) else { return Some(()) };
                let home = self.catalog.functions.get(function.0 as usize)?.schema;
                let system = self.catalog.is_system(home);
                if !system && matches!(&*name, "<" | "<=" | "=" | ">=" | ">") {
                    self.catalog.comparisons.push(function);
                }
                let schema = self.catalog.schemas.get_mut(schema.0 as usize)?;
                let operators = schema.operators.entry(name).or_default();
                match (system, prefix) {
                    (true, true) => operators.system_prefix = true,
                    (true, false) => operators.system_infix = true,
                    (false, _) => operators.others.push((prefix, function)),
                }
            }
            Read::Casts => {
                let target = row.number()?;
                let id = *self.functions.get(&row.number()?)?;
                let context = row.text()?;
                let function = self.catalog.functions.get(id.0 as usize)?;
                if !self.catalog.is_system(function.schema) {
                    self.catalog.casts.entry(target).or_default().push(id);
                    match context {
                        "i" => self.catalog.implicit_casts.push(id),
                        "a" => self.catalog.assignment_casts.push(id),
                        _ => {}
                    }
                }
            }
            Read::Indexes => {
                let index = *self.catalog.relation_by_oid.get(&row.number()?)?;
                let on = *self.catalog.relation_by_oid.get(&row.number()?)?;
                self.catalog.relations.get_mut(index.0 as usize)?.index_of = Some(on);
            }
            Read::Constraints => {
                let relation = *self.catalog.relation_by_oid.get(&row.number()?)?;
                let name = row.text()?.into();
                let primary_key = row.text()? == "p";
                let columns = row.list().map(str::parse).collect::<Result<_, _>>().ok()?;
                let constraint = Constraint { name, primary_key, columns };
                self.catalog.relations.get_mut(relation.0 as usize)?.constraints.push(constraint);
            }
            Read::Statistics => {
                let schema = *self.schemas.get(&row.number()?)?;
                let name = row.text()?.into();
                let on = *self.catalog.relation_by_oid.get(&row.number()?)?;
                self.catalog.schemas.get_mut(schema.0 as usize)?.statistics.insert(name, on);
            }
        }
        row.0.next().is_none().then_some(())
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
        });
        Some(())
    }
}

struct Row<'r, 'v>(std::slice::Iter<'r, Option<&'v str>>);

impl<'v> Row<'_, 'v> {
    fn text(&mut self) -> Option<&'v str> {
        *self.0.next()?
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
