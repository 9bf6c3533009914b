//! What a command changes of the catalog, told step by step while it is walked. A command is carried
//! only if its own place in the walk says so, and nothing in it took that back.

use pg_raw_parse::Node;
use pg_raw_parse::nodes::{
    AlterTableCmd, AlterTableType, ColumnDef, ConstrType, Constraint, DropBehavior, IndexStmt,
    TypeName,
};

use super::Walk;
use crate::catalog::{ConstraintKind, Event, Key, RelationId, RelationKind, Step, UNTOLD};
use crate::facts::{Object, ObjectKind};

/// What is known of it so far.
#[derive(Default)]
pub(super) struct Change {
    steps: Vec<Step>,
    is_known: bool,
    is_lost: bool,
    /// The table that columns and constraints are of: `None` for the one that is made.
    table: Option<RelationId>,
    /// Its schema.
    home: String,
    /// What the command calls runs with the table later on.
    is_code: bool,
    /// What comes now is about a column that is there already.
    skips: bool,
}

impl Change {
    /// From here on the command is one that says all that it changes.
    pub(super) fn known(&mut self) {
        self.is_known = true;
    }

    /// Something about it can't be told.
    pub(super) fn lost(&mut self) {
        self.is_lost = true;
    }

    pub(super) fn step(&mut self, step: Step) {
        self.steps.push(step);
    }

    /// What the command calls runs with the table later on. `None`: with the one that it makes.
    pub(super) fn of_table(&mut self, table: Option<RelationId>, home: String) {
        (self.table, self.home, self.is_code) = (table, home, true);
    }

    pub(super) fn table(&self) -> Option<RelationId> {
        self.table
    }

    /// It is there already, and IF NOT EXISTS says what that means.
    pub(super) fn nothing(&mut self) {
        self.steps.clear();
        self.is_code = false;
        self.is_known = true;
    }
}

impl<'w> Walk<'w> {
    pub(super) fn steps(&mut self) -> Option<Vec<Step>> {
        let change = std::mem::take(&mut self.change);
        if !change.is_known || change.is_lost {
            return None;
        }
        let mut steps = change.steps;
        // The server takes the parts of a command in an order of its own.
        steps.sort_by_key(|step| match step {
            Step::DropColumn { .. } => 0,
            Step::Retype { .. } => 1,
            Step::AddSchema(_) | Step::AddRelation { .. } => 2,
            Step::AddColumn { .. } => 3,
            Step::AddConstraint { references: Some(_), .. } => 5,
            _ => 4,
        });
        if change.is_code && !self.facts.functions.is_empty() {
            let functions = self.facts.functions.iter().copied().collect();
            steps.push(Step::AddCode { to: change.table, functions });
        }
        Some(steps)
    }

    /// The schema that something new comes into, by its own name.
    pub(super) fn schema_of_new(&mut self, object: &Object) -> String {
        let Some(schema) = &object.schema else {
            self.change.lost();
            return String::new();
        };
        self.path.own_name(self.catalog, schema).to_owned()
    }

    /// Whether IF NOT EXISTS finds a relation of that name.
    pub(super) fn is_there(&mut self, schema: &str, name: &str) -> bool {
        self.catalog.has_relation(schema, name).unwrap_or_else(|| {
            self.change.lost();
            false
        })
    }

    /// A column that a table gets, or that it is made with.
    pub(super) fn adds_column(&mut self, column: &'w ColumnDef) {
        if self.change.skips {
            return;
        }
        let (Some(name), Some(type_name)) = (column.colname(), column.type_name()) else {
            return self.change.lost();
        };
        let type_oid = self.type_told(type_name);
        let is_serial = SERIAL.contains(&name_of(type_name).as_slice());
        let (to, name) = (self.change.table, name.to_owned());
        self.change.step(Step::AddColumn { to, name, type_oid });
        if is_serial {
            self.chooses_sequence();
        }
    }

    fn chooses_sequence(&mut self) {
        let schema = self.change.home.clone();
        self.change.step(Step::AddSequence { schema, name: None });
    }

    /// `of` is the column that it is written behind, `itself` whether it points at its own table,
    /// which is being made.
    pub(super) fn adds_constraint(
        &mut self,
        constraint: &Constraint,
        of: Option<&str>,
        itself: bool,
    ) {
        if self.change.skips {
            return;
        }
        let to = self.change.table;
        let names = |list: Vec<Option<&str>>| -> Vec<String> {
            list.into_iter().flatten().map(str::to_owned).collect()
        };
        let own = |list: Vec<Option<&str>>| match of {
            Some(column) => vec![column.to_owned()],
            None => names(list),
        };
        let keys = own(constraint.keys().iter().map(|name| name.as_str()).collect());
        let (kind, columns) = match constraint.contype {
            ConstrType::CONSTR_PRIMARY => (ConstraintKind::Primary, Some(keys)),
            ConstrType::CONSTR_UNIQUE => (ConstraintKind::Unique, Some(keys)),
            ConstrType::CONSTR_EXCLUSION => (ConstraintKind::Exclusion, None),
            ConstrType::CONSTR_CHECK => (ConstraintKind::Check, None),
            ConstrType::CONSTR_FOREIGN => {
                let keys = own(constraint.fk_attrs().iter().map(|name| name.as_str()).collect());
                (ConstraintKind::Foreign, Some(keys))
            }
            ConstrType::CONSTR_IDENTITY => {
                // The name that its sequence is given would have to be looked for.
                if !constraint.options().is_empty() {
                    self.change.lost();
                }
                return self.chooses_sequence();
            }
            ConstrType::CONSTR_NULL
            | ConstrType::CONSTR_NOTNULL
            | ConstrType::CONSTR_DEFAULT
            | ConstrType::CONSTR_ATTR_DEFERRABLE
            | ConstrType::CONSTR_ATTR_NOT_DEFERRABLE
            | ConstrType::CONSTR_ATTR_DEFERRED
            | ConstrType::CONSTR_ATTR_IMMEDIATE => return,
            // What a column is made of is not kept here, and a mask has to know it.
            _ => return self.change.lost(),
        };
        let references = constraint.pktable().map(|referenced| Key {
            relation: match itself {
                true => None,
                false => {
                    let name = referenced.relname().unwrap_or_default();
                    let schema = referenced.schemaname();
                    self.catalog.find_relation(schema, name, self.path).map(|it| it.relation)
                }
            },
            columns: names(constraint.pk_attrs().iter().map(|name| name.as_str()).collect()),
            on_delete: goes_on(constraint.fk_del_action, Event::Delete),
            on_update: goes_on(constraint.fk_upd_action, Event::Update),
        });
        let name = constraint.conname().unwrap_or_default().to_owned();
        if matches!(
            kind,
            ConstraintKind::Primary | ConstraintKind::Unique | ConstraintKind::Exclusion
        ) {
            if constraint.indexname().is_some() {
                // The index gets another name.
                self.change.lost();
            }
            let name = Some(name.clone()).filter(|name| !name.is_empty());
            self.change.step(Step::AddIndex { of: to, name });
        }
        self.change.step(Step::AddConstraint { to, name, kind, columns, references });
    }

    /// What ALTER TABLE changes by one of its parts; of others it is not known.
    pub(super) fn changes(&mut self, command: &'w AlterTableCmd, table: RelationId) {
        use AlterTableType as Type;
        let column = |name: &str| {
            let relation = self.catalog.relation(table)?;
            relation.column(name).map(|column| column.number)
        };
        let number = command.name().and_then(column);
        self.change.skips = false;
        let cascades = command.behavior == DropBehavior::DROP_CASCADE;
        match (command.subtype, command.def()) {
            (Type::AT_AddColumn, Node::ColumnDef(new)) => {
                let is_there = new.colname().and_then(column).is_some();
                self.change.skips = is_there && command.missing_ok;
                self.adds_column(new);
            }
            (Type::AT_DropColumn, _) if !cascades => match number {
                Some(column) => self.change.step(Step::DropColumn { of: table, column }),
                None if command.missing_ok => {}
                None => self.change.lost(),
            },
            (Type::AT_AlterColumnType, Node::ColumnDef(new)) => {
                let type_oid = new.type_name().map_or(UNTOLD, |name| self.type_told(name));
                match number {
                    Some(column) => self.change.step(Step::Retype { of: table, column, type_oid }),
                    None => self.change.lost(),
                }
            }
            (Type::AT_DropConstraint, _) if !cascades => {}
            (
                Type::AT_AddConstraint
                | Type::AT_AddIdentity
                | Type::AT_ColumnDefault
                | Type::AT_DropIdentity
                | Type::AT_DropNotNull
                | Type::AT_SetIdentity
                | Type::AT_SetNotNull
                | Type::AT_SetOptions
                | Type::AT_ResetOptions
                | Type::AT_SetRelOptions
                | Type::AT_ResetRelOptions
                | Type::AT_SetStatistics
                | Type::AT_SetStorage
                | Type::AT_ClusterOn
                | Type::AT_DropCluster
                | Type::AT_ValidateConstraint,
                _,
            ) => {}
            _ => self.change.lost(),
        }
    }

    /// ALTER TABLE of one that has neither parents nor children: what is done to it is done to no
    /// other.
    pub(super) fn alters_table(&mut self, object: &Object) {
        self.change.known();
        match object.relation.and_then(|id| Some((id, self.catalog.relation(id)?))) {
            Some((id, table)) => {
                let is_table =
                    matches!(table.kind, RelationKind::Table | RelationKind::Partitioned);
                if !is_table || !table.parents.is_empty() || !table.children.is_empty() {
                    self.change.lost();
                }
                let home = self.catalog.schema_name(table.schema).to_owned();
                self.change.of_table(Some(id), home);
            }
            // IF EXISTS, and it doesn't.
            None => self.unknown_name(&object.name),
        }
    }

    /// `object` is on the table.
    pub(super) fn makes_index(&mut self, index: &IndexStmt, object: &Object) {
        let Some(id) = object.relation else { return self.change.lost() };
        let Some(table) = self.catalog.relation(id) else { return self.change.lost() };
        if index.concurrent || !table.children.is_empty() {
            return self.change.lost();
        }
        self.change.known();
        let home = self.catalog.schema_name(table.schema).to_owned();
        let name = index.idxname().map(str::to_owned);
        let is_there =
            index.if_not_exists && name.as_deref().is_some_and(|name| self.is_there(&home, name));
        if is_there {
            return self.change.nothing();
        }
        self.change.of_table(Some(id), home);
        self.change.step(Step::AddIndex { of: Some(id), name });
        if index.unique {
            let all = index.index_params().iter().map(|it| it.name().map(str::to_owned));
            self.change.step(Step::AddConstraint {
                to: Some(id),
                name: String::new(),
                kind: ConstraintKind::Unique,
                columns: all
                    .collect::<Option<Vec<_>>>()
                    .filter(|_| matches!(index.where_clause(), Node::None)),
                references: None,
            });
        }
    }

    pub(super) fn makes_enum(&mut self, object: &Object) {
        if object.twice {
            return self.change.lost();
        }
        let schema = self.schema_of_new(object);
        self.change.known();
        self.change.step(Step::AddEnum { schema, name: object.name.clone() });
    }

    /// Options that name its owner are noted with them.
    pub(super) fn alters_sequence(&mut self, object: &Object) {
        self.change.known();
        match object.relation {
            Some(id) => self.change.table = Some(id),
            None => self.unknown_name(&object.name),
        }
    }

    /// `object` is the column, under the name that it has.
    pub(super) fn renames_column(&mut self, object: &Object, name: &str) {
        match (object.relation, object.columns.first()) {
            (Some(of), Some(column)) if object.kind == ObjectKind::Table => {
                self.change.known();
                self.change.step(Step::RenameColumn { of, column: *column, name: name.to_owned() });
            }
            _ => self.change.lost(),
        }
    }

    pub(super) fn renames_relation(&mut self, object: &Object, name: &str) {
        match object.relation {
            Some(relation) if object.kind == ObjectKind::Table && !object.twice => {
                self.change.known();
                self.change.step(Step::Rename { relation, name: name.to_owned() });
            }
            _ => self.change.lost(),
        }
    }

    /// What DROP takes away.
    pub(super) fn drops_object(&mut self, object: &Object, cascades: bool) {
        let dropped = match object.kind {
            ObjectKind::Table | ObjectKind::Sequence => object.relation,
            // Of an index the object has its table.
            ObjectKind::Index => object.schema.as_deref().and_then(|schema| {
                let schema = self.path.own_name(self.catalog, schema);
                self.catalog.relation_in(schema, &object.name)
            }),
            _ => return self.change.lost(),
        };
        match dropped {
            Some(_) if cascades || object.twice => self.change.lost(),
            Some(relation) => self.change.step(Step::Drop(relation)),
            // IF EXISTS, and it doesn't.
            None => match &object.schema {
                Some(schema) => {
                    let (schema, name) = (schema.clone(), object.name.clone());
                    self.is_there(&schema, &name);
                }
                None => self.unknown_name(&object.name),
            },
        }
    }

    /// Nothing has the name, unless the server has given it.
    fn unknown_name(&mut self, name: &str) {
        if self.catalog.may_have_chosen(name) {
            self.change.lost();
        }
    }

    /// The one type that a name can mean, or [`UNTOLD`].
    fn type_told(&self, type_name: &TypeName) -> u32 {
        if type_name.setof || type_name.pct_type {
            return UNTOLD;
        }
        let names = name_of(type_name);
        let (schema, name) = match names.as_slice() {
            [name] => (None, serial(name).unwrap_or(name)),
            [schema, name] => (Some(*schema), *name),
            _ => return UNTOLD,
        };
        let Some(oid) = self.type_called(schema, name) else { return UNTOLD };
        if type_name.array_bounds().is_empty() {
            return oid;
        }
        let array = self.type_called(schema, &format!("_{name}"));
        array.filter(|array| self.catalog.element_of(*array) == Some(oid)).unwrap_or(UNTOLD)
    }

    fn type_called(&self, schema: Option<&str>, name: &str) -> Option<u32> {
        let (_, oid, twice) = self.catalog.find_type(schema, name, self.path)?;
        (!twice).then_some(oid)
    }
}

const SERIAL: [&[&str]; 6] =
    [&["serial"], &["bigserial"], &["smallserial"], &["serial2"], &["serial4"], &["serial8"]];

fn serial(name: &str) -> Option<&'static str> {
    match name {
        "smallserial" | "serial2" => Some("int2"),
        "serial" | "serial4" => Some("int4"),
        "bigserial" | "serial8" => Some("int8"),
        _ => None,
    }
}

fn name_of(type_name: &TypeName) -> Vec<&str> {
    type_name.names().iter().filter_map(|name| name.sval()).collect()
}

/// What a foreign key does to its own table when `event` happens to the other.
fn goes_on(action: std::ffi::c_char, event: Event) -> Option<Event> {
    match u8::try_from(action) {
        Ok(b'c') => Some(event),
        Ok(b'n' | b'd') => Some(Event::Update),
        _ => None,
    }
}
