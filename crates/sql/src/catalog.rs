//! What a database holds, as far as names and rights need it: a snapshot, shared by sessions.
//!
//! Somebody else reads the rows (`READS`, in one transaction at REPEATABLE READ, so that they
//! agree with each other) and hands them over; nothing here knows a socket. Names are resolved
//! as the server does: <https://www.postgresql.org/docs/current/ddl-schemas.html>.

mod builder;
mod carried;
mod draft;
mod names;
mod reads;
mod shown;
mod tree;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::functions::Class;

pub use self::builder::Builder;
pub use self::carried::{Call, Carried, Code, Event, Events, Source};
pub use self::draft::{Key, Step, UNTOLD};
pub use self::names::{Names, Path, Resolved};
pub use self::reads::{CHANGED_SQL, Extent, Malformed, READS, Read};

/// Numbers of the snapshot: they mean nothing outside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SchemaId(u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelationId(u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FunctionId(u32);

impl RelationId {
    /// Its place among [`Catalog::relations`], for tables beside the snapshot.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl FunctionId {
    /// Its place among [`Catalog::functions`], for tables beside the snapshot.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

#[derive(Clone, Debug, Default)]
pub struct Catalog {
    schemas: Vec<Schema>,
    schema_by_name: HashMap<Box<str>, SchemaId>,
    relations: Vec<Relation>,
    relation_by_oid: HashMap<u32, RelationId>,
    functions: Vec<Function>,
    types: HashMap<u32, Type>,
    roles: HashMap<u32, Box<str>>,
    /// By the event that they stand for, `ddl_command_start` and so on.
    event_triggers: Vec<(Box<str>, FunctionId)>,
    /// Functions of casts that aren't built in, by the type they make. Implicit ones can be called
    /// where no cast is written, those of assignments where a value is stored.
    casts: HashMap<u32, Vec<FunctionId>>,
    implicit_casts: Vec<FunctionId>,
    assignment_casts: Vec<FunctionId>,
    /// Functions of operators that sorting and grouping could use and that aren't built in.
    comparisons: Vec<FunctionId>,
}

#[derive(Clone, Debug, Default)]
struct Schema {
    name: Box<str>,
    relations: HashMap<Box<str>, RelationId>,
    functions: HashMap<Box<str>, Vec<FunctionId>>,
    operators: HashMap<Box<str>, Operators>,
    types: HashMap<Box<str>, u32>,
    /// Extended statistics, with the relation that they are on.
    statistics: HashMap<Box<str>, RelationId>,
    /// Of a draft: the server has given names of its own choice here.
    has_chosen_names: bool,
}

#[derive(Clone, Debug)]
pub struct Relation {
    pub oid: u32,
    pub schema: SchemaId,
    pub name: Box<str>,
    pub kind: RelationKind,
    pub owner: u32,
    pub row_security: bool,
    /// A view that reads with the rights of who asks, not of its owner.
    pub security_invoker: bool,
    pub columns: Vec<Column>,
    pub constraints: Vec<Constraint>,
    /// Columns that are made of others, with those.
    pub generated: Vec<(u16, Vec<u16>)>,
    /// What runs because of it; see [`Catalog::carried`]. The query of a view is in `reads`.
    pub code: Vec<Code>,
    /// Foreign keys of others that mean this one, with what they do when their row goes.
    referenced: Vec<Referenced>,
    pub parents: Vec<RelationId>,
    pub children: Vec<RelationId>,
    /// What a view reads.
    pub reads: Vec<ViewRead>,
    /// What the columns of a view show; `None` where that can't be told, and of the server's own.
    pub shows: Option<Shows>,
    /// The relation that an index is on.
    pub index_of: Option<RelationId>,
    /// The column that a sequence belongs to: of `serial`, of identity.
    pub owned_by: Option<(RelationId, u16)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelationKind {
    Table,
    Partitioned,
    View,
    Materialized,
    Foreign,
    Sequence,
    Composite,
    Index,
    /// A TOAST table.
    Other,
}

#[derive(Clone, Debug)]
pub struct Column {
    pub number: u16,
    pub name: Arc<str>,
    pub type_oid: u32,
    /// What narrows the type, as the server keeps it: -1 for nothing.
    pub type_modifier: i32,
    pub generated: bool,
}

/// What ties columns: of a masked one it would answer guesses.
#[derive(Clone, Debug)]
pub struct Constraint {
    /// Empty for a unique index that no constraint made, and for partition keys.
    pub name: Box<str>,
    pub kind: ConstraintKind,
    /// By number; 0 is the row as a whole.
    pub columns: Vec<u16>,
    /// Of a foreign key, the columns that it means, in the same order.
    pub references: Option<(RelationId, Vec<u16>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConstraintKind {
    Primary,
    /// Unique indexes among them.
    Unique,
    Exclusion,
    Foreign,
    Check,
    PartitionKey,
    /// NOT NULL, and triggers that can wait.
    Other,
}

#[derive(Clone, Copy, Debug)]
struct Referenced {
    by: RelationId,
    on_delete: Option<Event>,
    on_update: Option<Event>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViewRead {
    /// The column with this number, or the row as a whole (0).
    Column(RelationId, u16),
    /// Operators of the server's own aren't among them.
    Function(FunctionId),
}

/// What a view makes of what it reads.
#[derive(Clone, Debug, Default)]
pub struct Shows {
    /// What each of its columns is, first to last.
    pub columns: Box<[Made]>,
    /// What it reads in any other way: in conditions, joins, orders and expressions. 0 is the row
    /// as a whole.
    pub elsewhere: Box<[(RelationId, u16)]>,
}

/// What a column of a view is made of. 0 is a row as a whole.
#[derive(Clone, Debug)]
pub enum Made {
    /// A column of what it reads, and nothing else.
    Plain(RelationId, u16),
    /// An expression over these.
    Of(Box<[(RelationId, u16)]>),
    /// It can't be told.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beneath {
    pub read: ViewRead,
    /// With the rights of the view's owner, not of who asks.
    pub as_owner: bool,
}

#[derive(Clone, Debug)]
pub struct Function {
    pub oid: u32,
    pub schema: SchemaId,
    pub name: Box<str>,
    pub kind: FunctionKind,
    pub volatile: bool,
    pub security_definer: bool,
    pub arguments: Vec<u32>,
    pub defaults: u16,
    pub variadic: bool,
    pub returns_set: bool,
    pub returns: u32,
    /// Names of the columns it gives, where its OUT arguments or RETURNS TABLE say them.
    pub outputs: Vec<Box<str>>,
    /// `None`: not one of the server's own or of its contrib modules, or one that we don't know.
    pub class: Option<Class>,
    /// What the defaults of its arguments call.
    pub default_calls: Vec<FunctionId>,
    /// The extension that it belongs to.
    pub extension: Option<Box<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FunctionKind {
    Function,
    Procedure,
    Aggregate,
    Window,
}

/// The operators of one name in one schema. Of the server's own functions only this is kept: there
/// are seventy behind `=`.
#[derive(Clone, Debug, Default)]
struct Operators {
    system_prefix: bool,
    system_infix: bool,
    /// Whether it stands before its only operand, and the function.
    others: Vec<(bool, FunctionId)>,
}

#[derive(Clone, Debug)]
pub struct Type {
    pub schema: SchemaId,
    pub name: Box<str>,
    pub kind: TypeKind,
    relation: Option<RelationId>,
    /// Of an array what it holds, 0 for what holds nothing.
    pub element: u32,
    /// Of a domain the type that it narrows, and by which modifier; else 0.
    pub base: u32,
    base_modifier: i32,
    /// What the constraints and the default of a domain call.
    calls: Vec<FunctionId>,
    /// One of the server's own.
    pub system: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypeKind {
    Base,
    Array,
    Composite,
    Domain,
    Enum,
    /// It is made of values of another type that the snapshot does not name; a multirange, too.
    Range,
    Multirange,
    Pseudo,
}

impl Catalog {
    pub fn has_schema(&self, name: &str) -> bool {
        self.schema_by_name.contains_key(name)
    }

    pub fn schema_name(&self, schema: SchemaId) -> &str {
        self.schemas.get(schema.0 as usize).map_or("", |schema| &schema.name)
    }

    /// Whether a MERGE may return rows: from PostgreSQL 17 on, which has this function, too.
    pub(crate) fn merge_returns(&self) -> bool {
        let own =
            self.schema_by_name.get("pg_catalog").and_then(|id| self.schemas.get(id.0 as usize));
        own.is_some_and(|own| own.functions.contains_key("to_regtypemod"))
    }

    pub fn relation(&self, id: RelationId) -> Option<&Relation> {
        self.relations.get(id.0 as usize)
    }

    pub fn relation_by_oid(&self, oid: u32) -> Option<RelationId> {
        self.relation_by_oid.get(&oid).copied()
    }

    pub fn function(&self, id: FunctionId) -> Option<&Function> {
        self.functions.get(id.0 as usize)
    }

    pub fn functions(&self) -> impl ExactSizeIterator<Item = &Function> {
        self.functions.iter()
    }

    pub fn relations(&self) -> impl ExactSizeIterator<Item = &Relation> {
        self.relations.iter()
    }

    pub fn type_of(&self, oid: u32) -> Option<&Type> {
        self.types.get(&oid)
    }

    /// The type beneath all domains, and the modifier that its values have.
    pub fn base_type(&self, oid: u32, modifier: i32) -> (u32, i32) {
        let (mut oid, mut modifier) = (oid, modifier);
        // Domains over domains end somewhere; the server would not let one run in a circle.
        for _ in 0..32 {
            match self.types.get(&oid) {
                Some(found) if found.base != 0 => {
                    oid = found.base;
                    modifier = found.base_modifier;
                }
                _ => break,
            }
        }
        (oid, modifier)
    }

    /// A type by its whole name, `int4` rather than `integer`.
    pub fn type_named(&self, schema: &str, name: &str) -> Option<u32> {
        let schema = self.schema(*self.schema_by_name.get(schema)?)?;
        schema.types.get(name).copied()
    }

    /// Whether the schema is one of the server's own.
    pub fn is_system(&self, schema: SchemaId) -> bool {
        matches!(self.schema_name(schema), "pg_catalog" | "information_schema" | "pg_toast")
    }

    /// What is read when the relation is: what a view reads, and the views in it, with whose
    /// rights.
    pub fn beneath(&self, relation: RelationId) -> Vec<Beneath> {
        let mut found = Vec::new();
        let mut seen = BTreeSet::from([relation]);
        let mut open = vec![relation];
        while let Some(view) = open.pop().and_then(|id| self.relation(id)) {
            // A view that reads as its invoker does so in a view that doesn't, too.
            found.extend(
                view.reads
                    .iter()
                    .map(|read| Beneath { read: *read, as_owner: !view.security_invoker }),
            );
            for read in &view.reads {
                if let ViewRead::Column(below, _) = read
                    && seen.insert(*below)
                {
                    open.push(*below);
                }
            }
        }
        found
    }

    /// The relation and those that it inherits from.
    pub fn kin(&self, id: RelationId) -> Vec<&Relation> {
        let mut seen = BTreeSet::from([id]);
        let mut open = vec![id];
        let mut kin = Vec::new();
        while let Some(relation) = open.pop().and_then(|id| self.relation(id)) {
            kin.push(relation);
            open.extend(relation.parents.iter().filter(|parent| seen.insert(**parent)));
        }
        kin
    }

    /// The functions of enabled event triggers, by the event: DDL runs them.
    pub fn event_triggers(&self) -> impl Iterator<Item = (&str, FunctionId)> {
        self.event_triggers.iter().map(|(event, function)| (&**event, *function))
    }

    /// The name of a relation's owner.
    pub fn owner(&self, relation: &Relation) -> Option<&str> {
        self.roles.get(&relation.owner).map(|name| &**name)
    }

    /// What TRUNCATE … CASCADE empties besides the relations it names (and, where that isn't ONLY,
    /// their children): whatever has a foreign key to one of them, and so on.
    pub(crate) fn truncated_with(&self, named: Vec<(RelationId, bool)>) -> Vec<RelationId> {
        let mut seen: BTreeSet<RelationId> = named.iter().map(|(id, _)| *id).collect();
        let mut parents: Vec<RelationId> =
            named.iter().filter(|(_, only)| !only).map(|(id, _)| *id).collect();
        while let Some(parent) = parents.pop().and_then(|id| self.relation(id)) {
            parents.extend(parent.children.iter().filter(|child| seen.insert(**child)));
        }
        let mut open: Vec<RelationId> = seen.iter().copied().collect();
        let mut with = Vec::new();
        while let Some(relation) = open.pop().and_then(|id| self.relation(id)) {
            for key in &relation.referenced {
                if seen.insert(key.by) {
                    with.push(key.by);
                    open.push(key.by);
                }
            }
        }
        with
    }

    fn schema(&self, id: SchemaId) -> Option<&Schema> {
        self.schemas.get(id.0 as usize)
    }

    /// The relation whose rows are values of the type, for composite types and domains over them.
    pub(crate) fn row_of(&self, type_oid: u32) -> Option<RelationId> {
        let mut oid = type_oid;
        // Domains over domains end somewhere; the server would not let one run in a circle.
        for _ in 0..32 {
            let found = self.types.get(&oid)?;
            if found.relation.is_some() || found.base == 0 {
                return found.relation;
            }
            oid = found.base;
        }
        None
    }

    /// Adds the type and those that its values are made of, as far as they aren't the server's own.
    /// `false` if they can't be told.
    pub(crate) fn add_types(&self, type_oid: u32, types: &mut BTreeSet<u32>) -> bool {
        let mut open = vec![type_oid];
        while let Some(oid) = open.pop() {
            let Some(found) = self.types.get(&oid) else { return oid == 0 };
            let made_of = [found.element, found.base].into_iter().filter(|oid| *oid != 0);
            if found.system {
                // An array of ours is not the server's own; its own arrays hold its own types.
                continue;
            }
            if matches!(found.kind, TypeKind::Range | TypeKind::Multirange) {
                return false;
            }
            if types.insert(oid) {
                open.extend(made_of);
                let row = found.relation.and_then(|id| self.relation(id));
                open.extend(row.into_iter().flat_map(|row| &row.columns).map(|c| c.type_oid));
            }
        }
        true
    }

    /// Whether a function could be called where values of the `types` and of the server's own
    /// are all there is.
    pub(crate) fn could_take(&self, function: FunctionId, types: &BTreeSet<u32>) -> bool {
        let system = |oid: &u32| self.types.get(oid).is_some_and(|found| found.system);
        self.function(function).is_none_or(|function| {
            function.arguments.iter().all(|oid| system(oid) || types.contains(oid))
        })
    }

    /// Whether what a cast's function makes is of one of the `types` or the server's own.
    pub(crate) fn could_want(&self, function: FunctionId, types: &BTreeSet<u32>) -> bool {
        self.function(function).is_none_or(|function| {
            let system = self.types.get(&function.returns).is_some_and(|found| found.system);
            system || types.contains(&function.returns)
        })
    }

    /// The relations whose rows are values of the type, or stand in them however deep.
    pub fn rows_in(&self, type_oid: u32) -> BTreeSet<RelationId> {
        let mut held = BTreeSet::new();
        let mut open = vec![type_oid];
        while let Some(oid) = open.pop() {
            let Some(found) = self.types.get(&oid) else { continue };
            open.extend([found.element, found.base].into_iter().filter(|oid| *oid != 0));
            if let Some(id) = found.relation
                && held.insert(id)
            {
                let columns = self.relation(id).map_or(&[][..], |row| &row.columns);
                open.extend(columns.iter().map(|column| column.type_oid));
            }
        }
        held
    }

    pub(crate) fn element_of(&self, type_oid: u32) -> Option<u32> {
        self.types.get(&type_oid).map(|found| found.element).filter(|element| *element != 0)
    }

    /// Functions other than the server's own that a cast to the type may call.
    pub(crate) fn casts_to(&self, type_oid: u32) -> &[FunctionId] {
        self.casts.get(&type_oid).map_or(&[], Vec::as_slice)
    }

    /// Functions that sorting, grouping and DISTINCT may call, by the type's operator class.
    pub(crate) fn comparisons(&self) -> &[FunctionId] {
        &self.comparisons
    }

    /// Those that may be called where a value is stored.
    pub(crate) fn assignment_casts(&self) -> &[FunctionId] {
        &self.assignment_casts
    }

    /// Those that may be called where no cast is written.
    pub(crate) fn implicit_casts(&self) -> &[FunctionId] {
        &self.implicit_casts
    }
}

impl Relation {
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| &*column.name == name)
    }
}

impl ViewRead {
    fn function(&self) -> Option<FunctionId> {
        match self {
            Self::Function(function) => Some(*function),
            Self::Column(..) => None,
        }
    }
}

impl Function {
    pub(crate) fn takes(&self, arguments: usize) -> bool {
        let most = self.arguments.len();
        let least = most.saturating_sub(usize::from(self.defaults));
        (least..=most).contains(&arguments) || (self.variadic && arguments + 1 >= least)
    }
}
