//! The catalog as it will be once a command has run: for what stands behind the command in the same
//! text. A change is carried only if all that follows from it for names, columns and code is known
//! before it runs; what is kept may be more than there will be (a constraint that goes, the code of a
//! default), never less. Which commands say what they change is for the walk.

use super::carried::{Code, Event, Events, Source};
use super::{
    Catalog, Column, Constraint, ConstraintKind, FunctionId, Referenced, Relation, RelationId,
    RelationKind, Schema, SchemaId, Type, TypeKind, ViewRead,
};

/// One thing that a command changes. Relations are those of the catalog that the command was read
/// by, or, where there is no number, the one that the same command has added last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    AddSchema(String),
    AddRelation {
        schema: String,
        name: String,
        kind: RelationKind,
    },
    AddSequence {
        schema: String,
        /// Without one the server chooses one that is free.
        name: Option<String>,
    },
    AddIndex {
        of: Option<RelationId>,
        /// Without one the server chooses one that is free.
        name: Option<String>,
    },
    AddColumn {
        to: Option<RelationId>,
        name: String,
        /// [`UNTOLD`] if it isn't known.
        type_oid: u32,
    },
    AddConstraint {
        to: Option<RelationId>,
        name: String,
        kind: ConstraintKind,
        /// `None`: any of them, and expressions over them.
        columns: Option<Vec<String>>,
        references: Option<Key>,
    },
    /// Functions that may run when the relation is written or kept up.
    AddCode {
        to: Option<RelationId>,
        functions: Vec<FunctionId>,
    },
    AddEnum {
        schema: String,
        name: String,
    },
    DropColumn {
        of: RelationId,
        column: u16,
    },
    RenameColumn {
        of: RelationId,
        column: u16,
        name: String,
    },
    Retype {
        of: RelationId,
        column: u16,
        type_oid: u32,
    },
    Rename {
        relation: RelationId,
        name: String,
    },
    Own {
        sequence: Option<RelationId>,
        by: RelationId,
        column: u16,
    },
    Drop(RelationId),
}

/// What a foreign key points at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// `None`: the table's own.
    pub relation: Option<RelationId>,
    /// Empty for its primary key.
    pub columns: Vec<String>,
    pub on_delete: Option<Event>,
    pub on_update: Option<Event>,
}

/// A type that can't be told: its values may be of any.
pub const UNTOLD: u32 = u32::MAX;

/// Longer ones the server would cut, or make others of.
const NAME_BYTES_MAX: usize = 62;

/// The session's own schema, as everybody calls it.
const TEMPORARY: &str = "pg_temp";

/// Whether a server may have chosen the name, for an index or a sequence.
pub(super) fn may_be_chosen(name: &str) -> bool {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    ["_pkey", "_key", "_idx", "_excl", "_seq"].iter().any(|end| stem.ends_with(end))
}

impl Catalog {
    /// Takes the steps of one command. `None` if what comes of them can't be told, or if the command
    /// is going to fail: the catalog is of no use then.
    pub fn take(&mut self, steps: &[Step]) -> Option<()> {
        let mut made = None;
        for step in steps {
            self.step(step, &mut made)?;
        }
        Some(())
    }

    /// The temporary schema, if steps have made one.
    pub fn temporary_of(&self, steps: &[Step]) -> Option<&'static str> {
        let is_temporary = |step: &Step| match step {
            Step::AddRelation { schema, .. } | Step::AddSequence { schema, .. } => {
                schema == TEMPORARY
            }
            _ => false,
        };
        steps.iter().any(is_temporary).then_some(TEMPORARY)
    }

    /// Whether something runs on every command that the snapshot can't tell.
    pub fn has_event_triggers(&self) -> bool {
        !self.event_triggers.is_empty()
    }

    fn step(&mut self, step: &Step, made: &mut Option<RelationId>) -> Option<()> {
        match step {
            Step::AddSchema(name) => {
                let free = !self.has_schema(name) && !name.starts_with("pg_");
                free.then(|| self.add_schema(name))?;
            }
            Step::AddRelation { schema, name, kind } => {
                let id = self.add_relation(schema, name, *kind)?;
                self.add_row_type(id)?;
                *made = Some(id);
            }
            Step::AddSequence { schema, name } => {
                let Some(name) = name else {
                    return self.choose_a_name_in(schema);
                };
                let id = self.add_relation(schema, name, RelationKind::Sequence)?;
                let sequence = self.relations.get_mut(id.0 as usize)?;
                // bigint, bigint, boolean.
                for (number, name, type_oid) in
                    [(1, "last_value", 20), (2, "log_cnt", 20), (3, "is_called", 16)]
                {
                    sequence.columns.push(column(number, name, type_oid));
                }
                *made = Some(id);
            }
            Step::AddIndex { of, name } => {
                let of = of.or(*made)?;
                let schema = self.schema_name(self.relation(of)?.schema).to_owned();
                let Some(name) = name else {
                    return self.choose_a_name_in(&schema);
                };
                let id = self.add_relation(&schema, name, RelationKind::Index)?;
                self.relations.get_mut(id.0 as usize)?.index_of = Some(of);
            }
            Step::AddColumn { to, name, type_oid } => {
                let relation = self.alone(to.or(*made)?)?;
                if relation.column(name).is_some() {
                    return None;
                }
                let number = relation.columns.last().map_or(0, |last| last.number) + 1;
                relation.columns.push(column(number, name, *type_oid));
            }
            Step::AddConstraint { to, name, kind, columns, references } => {
                let id = to.or(*made)?;
                let relation = self.alone(id)?;
                let columns = match columns {
                    Some(names) => numbers(relation, names)?,
                    None => {
                        let all = relation.columns.iter().map(|column| column.number);
                        all.chain([0]).collect()
                    }
                };
                let references = match references {
                    Some(key) => Some(self.point(id, key)?),
                    None => None,
                };
                let name = name.as_str().into();
                let constraint = Constraint { name, kind: *kind, columns, references };
                self.relations.get_mut(id.0 as usize)?.constraints.push(constraint);
            }
            Step::AddCode { to, functions } => {
                let on = Events::of([Event::Insert, Event::Update, Event::Maintain]);
                let code = Code {
                    source: Source::Default,
                    on,
                    instead: false,
                    before: false,
                    functions: functions.clone(),
                    reads: Vec::new(),
                    writes: Vec::new(),
                    does: Events::default(),
                };
                self.relations.get_mut(to.or(*made)?.0 as usize)?.code.push(code);
            }
            Step::AddEnum { schema, name } => {
                let oid = self.add_type(schema, name, TypeKind::Enum)?;
                self.add_array_type(schema, name, oid)?;
            }
            Step::DropColumn { of, column } => self.drop_column(*of, *column)?,
            Step::RenameColumn { of, column, name } => {
                let relation = self.alone(*of)?;
                if relation.column(name).is_some() {
                    return None;
                }
                relation.columns.iter_mut().find(|own| own.number == *column)?.name =
                    name.as_str().into();
            }
            Step::Retype { of, column, type_oid } => {
                let relation = self.alone(*of)?;
                let column = relation.columns.iter_mut().find(|own| own.number == *column)?;
                (column.type_oid, column.type_modifier) = (*type_oid, -1);
            }
            Step::Rename { relation, name } => self.rename(*relation, name)?,
            Step::Own { sequence, by, column } => {
                let sequence = sequence.or(*made)?;
                self.relations.get_mut(sequence.0 as usize)?.owned_by = Some((*by, *column));
            }
            Step::Drop(relation) => self.drop_relation(*relation)?,
        }
        Some(())
    }

    /// A relation that is nobody's parent or child: what is done to it is done to no other.
    fn alone(&mut self, id: RelationId) -> Option<&mut Relation> {
        let relation = self.relations.get_mut(id.0 as usize)?;
        (relation.parents.is_empty() && relation.children.is_empty()).then_some(relation)
    }

    fn add_schema(&mut self, name: &str) -> Option<SchemaId> {
        let id = SchemaId(u32::try_from(self.schemas.len()).ok()?);
        self.schema_by_name.insert(name.into(), id);
        self.schemas.push(Schema { name: name.into(), ..Schema::default() });
        Some(id)
    }

    fn schema_to_add_to(&mut self, name: &str) -> Option<SchemaId> {
        match self.schema_by_name.get(name) {
            Some(id) => Some(*id),
            None if name == TEMPORARY => self.add_schema(name),
            None => None,
        }
    }

    fn add_relation(&mut self, schema: &str, name: &str, kind: RelationKind) -> Option<RelationId> {
        let schema = self.schema_to_add_to(schema)?;
        let home = self.schema(schema)?;
        let taken = home.relations.contains_key(name) || home.types.contains_key(name);
        if taken || name.len() > NAME_BYTES_MAX {
            return None;
        }
        let id = RelationId(u32::try_from(self.relations.len()).ok()?);
        // One that the server has not given: it gives the low ones first. Those of relations that are
        // gone are not given again.
        let oid = UNTOLD.checked_sub(1 + id.0)?;
        if self.relation_by_oid.contains_key(&oid) {
            return None;
        }
        self.relations.push(Relation {
            oid,
            schema,
            name: name.into(),
            kind,
            owner: 0,
            row_security: false,
            security_invoker: false,
            columns: Vec::new(),
            constraints: Vec::new(),
            generated: Vec::new(),
            code: Vec::new(),
            referenced: Vec::new(),
            parents: Vec::new(),
            children: Vec::new(),
            reads: Vec::new(),
            shows: None,
            index_of: None,
            owned_by: None,
        });
        self.relation_by_oid.insert(oid, id);
        self.schemas.get_mut(schema.0 as usize)?.relations.insert(name.into(), id);
        Some(id)
    }

    fn add_row_type(&mut self, id: RelationId) -> Option<()> {
        let relation = self.relation(id)?;
        let (schema, name) = (self.schema_name(relation.schema).to_owned(), relation.name.clone());
        let oid = self.add_type(&schema, &name, TypeKind::Composite)?;
        self.types.get_mut(&oid)?.relation = Some(id);
        self.add_array_type(&schema, &name, oid)
    }

    fn add_type(&mut self, schema: &str, name: &str, kind: TypeKind) -> Option<u32> {
        let schema = self.schema_to_add_to(schema)?;
        if self.schema(schema)?.types.contains_key(name) || name.len() > NAME_BYTES_MAX {
            return None;
        }
        let mut highest = (1..UNTOLD).rev();
        let oid = highest.find(|oid| !self.types.contains_key(oid))?;
        let made = Type {
            schema,
            name: name.into(),
            kind,
            relation: None,
            element: 0,
            base: 0,
            base_modifier: -1,
            calls: Vec::new(),
            system: false,
        };
        self.types.insert(oid, made);
        self.schemas.get_mut(schema.0 as usize)?.types.insert(name.into(), oid);
        Some(oid)
    }

    fn add_array_type(&mut self, schema: &str, of: &str, element: u32) -> Option<()> {
        let oid = self.add_type(schema, &format!("_{of}"), TypeKind::Array)?;
        self.types.get_mut(&oid)?.element = element;
        Some(())
    }

    fn choose_a_name_in(&mut self, schema: &str) -> Option<()> {
        let schema = self.schema_to_add_to(schema)?;
        self.schemas.get_mut(schema.0 as usize)?.has_chosen_names = true;
        Some(())
    }

    /// What the key of a relation points at, which notes who does.
    fn point(&mut self, by: RelationId, key: &Key) -> Option<(RelationId, Vec<u16>)> {
        let id = key.relation.unwrap_or(by);
        let relation = self.relations.get_mut(id.0 as usize)?;
        let columns = match &*key.columns {
            [] => {
                let mut constraints = relation.constraints.iter();
                let primary = constraints.find(|it| it.kind == ConstraintKind::Primary);
                primary.map(|it| it.columns.clone()).unwrap_or_default()
            }
            names => numbers(relation, names)?,
        };
        let (on_delete, on_update) = (key.on_delete, key.on_update);
        relation.referenced.push(Referenced { by, on_delete, on_update });
        Some((id, columns))
    }

    fn drop_column(&mut self, of: RelationId, column: u16) -> Option<()> {
        let depends = self.relations.iter().any(|other| {
            other.reads.contains(&ViewRead::Column(of, column))
                || other.code.iter().any(|code| code.reads.contains(&(of, column)))
        });
        if depends {
            return None;
        }
        let relation = self.alone(of)?;
        relation.columns.retain(|own| own.number != column);
        // Those that it takes part in go with it; what could be of any columns stays.
        relation.constraints.retain(|it| !it.columns.contains(&column) || it.columns.contains(&0));
        for constraint in &mut relation.constraints {
            constraint.columns.retain(|own| *own != column);
        }
        self.drop_names(|relation| relation.owned_by == Some((of, column)));
        Some(())
    }

    fn rename(&mut self, id: RelationId, name: &str) -> Option<()> {
        let relation = self.relation(id)?;
        let (schema, old) = (relation.schema, relation.name.clone());
        let row = self.types.iter().find(|(_, found)| found.relation == Some(id));
        let row = row.map(|(oid, _)| *oid);
        let home = self.schemas.get_mut(schema.0 as usize)?;
        let taken = home.relations.contains_key(name) || home.types.contains_key(name);
        if taken || name.len() > NAME_BYTES_MAX {
            return None;
        }
        home.relations.remove(&old);
        home.relations.insert(name.into(), id);
        if let Some(row) = row {
            home.types.remove(&old);
            home.types.insert(name.into(), row);
            let elements: Vec<u32> = self
                .types
                .iter()
                .filter(|(_, it)| it.element == row)
                .map(|(oid, _)| *oid)
                .collect();
            let home = self.schemas.get_mut(schema.0 as usize)?;
            home.types.retain(|_, oid| !elements.contains(oid));
            let array: Box<str> = format!("_{name}").into();
            if home.types.contains_key(&array) {
                return None;
            }
            home.types.extend(elements.first().map(|oid| (array.clone(), *oid)));
            for (oid, name) in [(Some(&row), &name.into()), (elements.first(), &array)] {
                if let Some(found) = oid.and_then(|oid| self.types.get_mut(oid)) {
                    found.name = name.clone();
                }
            }
        }
        self.relations.get_mut(id.0 as usize)?.name = name.into();
        Some(())
    }

    /// Without CASCADE: nothing of what others have made may depend on it.
    fn drop_relation(&mut self, id: RelationId) -> Option<()> {
        self.alone(id).filter(|relation| relation.referenced.iter().all(|key| key.by == id))?;
        let depends = self.relations.iter().any(|other| {
            let reads = |read: &ViewRead| matches!(read, ViewRead::Column(of, _) if *of == id);
            let is_other = other.oid != self.relation(id).map_or(0, |own| own.oid);
            let holds = |column: &Column| self.rows_in(column.type_oid).contains(&id);
            let means = |code: &Code| {
                code.reads.iter().any(|(of, _)| *of == id) || code.writes.contains(&id)
            };
            is_other
                && (other.reads.iter().any(reads)
                    || other.code.iter().any(means)
                    || other.columns.iter().any(holds))
        });
        if depends {
            return None;
        }
        for other in &mut self.relations {
            other.referenced.retain(|key| key.by != id);
        }
        self.drop_names(|relation| relation.index_of == Some(id));
        self.drop_names(|relation| relation.owned_by.is_some_and(|(of, _)| of == id));
        let oid = self.relation(id)?.oid;
        self.drop_names(|relation| relation.oid == oid);
        let rows: Vec<u32> =
            self.types.iter().filter(|(_, it)| it.relation == Some(id)).map(|it| *it.0).collect();
        let gone = |found: &Type| found.relation == Some(id) || rows.contains(&found.element);
        let gone: Vec<u32> = self.types.iter().filter(|it| gone(it.1)).map(|it| *it.0).collect();
        for schema in &mut self.schemas {
            schema.types.retain(|_, oid| !gone.contains(oid));
            schema.statistics.retain(|_, of| *of != id);
        }
        self.types.retain(|oid, _| !gone.contains(oid));
        Some(())
    }

    /// The names of relations that go; their places stay.
    fn drop_names(&mut self, goes: impl Fn(&Relation) -> bool) {
        for relation in self.relations.iter().filter(|relation| goes(relation)) {
            self.relation_by_oid.remove(&relation.oid);
            if let Some(schema) = self.schemas.get_mut(relation.schema.0 as usize) {
                schema.relations.remove(&relation.name);
            }
        }
    }
}

/// A modifier of its type is not known here.
fn column(number: u16, name: &str, type_oid: u32) -> Column {
    Column { number, name: name.into(), type_oid, type_modifier: -1, generated: false }
}

fn numbers(relation: &Relation, names: &[String]) -> Option<Vec<u16>> {
    names.iter().map(|name| Some(relation.column(name)?.number)).collect()
}
