//! What commands are about: objects by kind and name, in the many ways that the grammar writes
//! them. What a command does with them is for `command` and its kin.

use pg_raw_parse::Node;
use pg_raw_parse::nodes::{ObjectType, ObjectWithArgs, RangeVar, RoleSpec, TypeName};

use super::scope::Env;
use super::{ScopeId, Walk, Walked};
use crate::catalog::{FunctionId, RelationId, RelationKind};
use crate::facts::{CommandUse, Effect, NotUnderstood, Object, ObjectKind, RelationUse};

/// `relpersistence` of temporary relations.
const TEMPORARY: std::ffi::c_char = b't' as std::ffi::c_char;

/// Columns, subcommands, objects of one command. A table has 1,600 columns at most; some of these
/// are looked up in each other.
const PARTS_MAX: usize = 5_000;

impl<'w> Walk<'w> {
    /// Refuses a command of too many parts before they are looked at.
    pub(super) fn few(parts: usize) -> Walked {
        if parts > PARTS_MAX { Err(NotUnderstood::TooManyNodes) } else { Ok(()) }
    }

    /// Notes what a command does; of what groups don't cover only its own name speaks.
    pub(super) fn does(&mut self, name: &'static str, effect: Effect, object: Object) {
        // A comment on code is none.
        let named_only = !object.kind.is_grouped() && effect != Effect::Comment;
        self.facts.commands.push(CommandUse {
            name,
            effect,
            named_only,
            object: Some(object),
            cascade: false,
        });
    }

    /// Notes what never goes by a group.
    pub(super) fn does_only(
        &mut self,
        name: &'static str,
        effect: Effect,
        object: impl Into<Option<Object>>,
    ) {
        let object = object.into();
        self.facts.commands.push(CommandUse {
            name,
            effect,
            named_only: true,
            object,
            cascade: false,
        });
    }

    pub(super) fn creates(&mut self, object: Object) -> &'static str {
        let name = object.kind.create();
        self.does(name, Effect::Create, object);
        name
    }

    pub(super) fn alters(&mut self, object: Object) -> &'static str {
        let name = object.kind.alter();
        self.does(name, Effect::Alter, object);
        name
    }

    /// The command drops what its last use names, and CASCADE with it what depends on that: nothing,
    /// where it isn't there.
    pub(super) fn cascades(&mut self, behavior: u32) {
        if let Some(used) = self.facts.commands.last_mut() {
            let is_there = !used.object.as_ref().is_some_and(|object| object.missing);
            used.cascade = is_there && behavior == pg_raw_parse::nodes::DropBehavior::DROP_CASCADE;
        }
    }

    pub(super) fn see_texts(&mut self, nodes: impl Iterator<Item = impl Into<Node<'w>>>) -> Walked {
        for node in nodes {
            self.see_all(node)?;
        }
        Ok(())
    }

    /// A relation that exists, as an object.
    pub(super) fn object_of(&self, id: RelationId) -> Walked<Object> {
        let relation = self.catalog.relation(id).ok_or(NotUnderstood::Unvisited)?;
        let kind = match relation.kind {
            RelationKind::Table | RelationKind::Partitioned | RelationKind::Other => {
                ObjectKind::Table
            }
            RelationKind::View => ObjectKind::View,
            RelationKind::Materialized => ObjectKind::MaterializedView,
            RelationKind::Foreign => ObjectKind::ForeignTable,
            RelationKind::Sequence => ObjectKind::Sequence,
            RelationKind::Composite => ObjectKind::Type,
            RelationKind::Index => ObjectKind::Index,
        };
        let schema = self.catalog.home(relation.schema, self.path);
        let mut object = Object::new(kind, Some(schema), &relation.name);
        object.relation = Some(relation.index_of.unwrap_or(id));
        Ok(object)
    }

    /// The object that a numbered use is.
    pub(super) fn object_of_use(&self, number: usize) -> Walked<Object> {
        let used = self.facts.relations.get(number).ok_or(NotUnderstood::Unvisited)?;
        let mut object = self.object_of(used.relation.ok_or(NotUnderstood::Unvisited)?)?;
        object.twice = used.twice;
        Ok(object)
    }

    /// A relation that a command is about: its use, and the object. `kind` is for one that IF
    /// EXISTS names in vain, which has no use.
    pub(super) fn target_of_command(
        &mut self,
        range: Option<&'w RangeVar>,
        kind: ObjectKind,
        missing_ok: bool,
    ) -> Walked<(Option<usize>, Object)> {
        let range = range.ok_or(NotUnderstood::Construct("name of a relation"))?;
        match self.relation_use(range) {
            Err(NotUnderstood::NoSuchRelation(name)) if missing_ok => {
                self.failed_at.set(None);
                let schema = range.schemaname().map(|schema| self.home_named(schema));
                Ok((None, Object::new(kind, schema, &name).missing()))
            }
            found => {
                let number = found?;
                if let Some(used) = self.facts.relations.get_mut(number) {
                    used.command = true;
                }
                Ok((Some(number), self.object_of_use(number)?))
            }
        }
    }

    /// One that has to be there.
    pub(super) fn target_there(
        &mut self,
        range: Option<&'w RangeVar>,
    ) -> Walked<(&'w RangeVar, usize, Object)> {
        let there = NotUnderstood::Construct("name of a relation");
        let range = range.ok_or_else(|| there.clone())?;
        let (number, object) = self.target_of_command(Some(range), ObjectKind::Table, false)?;
        Ok((range, number.ok_or(there)?, object))
    }

    /// A scope in which the columns of a command's own relation are in sight.
    pub(super) fn scope_of_target(
        &mut self,
        range: &'w RangeVar,
        number: usize,
    ) -> Walked<ScopeId> {
        let item = self.relation_item(range, number)?;
        let scope = self.empty_scope(Env::default());
        self.scope_mut(scope)?.items.push(item);
        Ok(scope)
    }

    /// A relation that the command makes.
    pub(super) fn new_relation(&mut self, range: &'w RangeVar, kind: ObjectKind) -> Walked<Object> {
        self.see(range);
        self.own_database(range.catalogname())?;
        let mut used = RelationUse::new(None, self.name_at(range)?);
        used.create = true;
        used.command = true;
        let name = range.relname().unwrap_or_default();
        let mut object = match range.relpersistence {
            TEMPORARY => Object::new(kind, Some("pg_temp".to_owned()), name),
            _ => self.new_object(kind, range.schemaname(), name)?,
        };
        if object.schema.as_deref() == Some("pg_temp") {
            object.twice = false;
        }
        used.twice = object.twice;
        self.facts.relations.push(used);
        Ok(object)
    }

    /// What comes into a schema: the one that is named, or the path's first.
    pub(super) fn new_object(
        &self,
        kind: ObjectKind,
        schema: Option<&str>,
        name: &str,
    ) -> Walked<Object> {
        if let Some(schema) = schema {
            return Ok(Object::new(kind, Some(self.home_named(schema)), name));
        }
        let (schema, twice) = match &self.making {
            Some((schema, _)) => (schema.clone(), false),
            None => self
                .catalog
                .home_of_new(self.path)
                .ok_or_else(|| NotUnderstood::NoSuchSchema(String::new()))?,
        };
        let mut object = Object::new(kind, Some(schema), name);
        object.twice = twice;
        Ok(object)
    }

    /// Likewise, from a list of names.
    pub(super) fn new_named(
        &mut self,
        kind: ObjectKind,
        names: impl Iterator<Item = impl Into<Node<'w>>>,
    ) -> Walked<Object> {
        let names = self.names(names)?;
        let (schema, name) = self.qualified(&names)?;
        self.new_object(kind, schema, name)
    }

    pub(super) fn home_named(&self, schema: &str) -> String {
        self.catalog.home_named(schema, self.path)
    }

    /// An object without a schema: a role, a database, a server.
    pub(super) fn global(kind: ObjectKind, name: Option<&str>) -> Object {
        Object::new(kind, None, name.unwrap_or_default())
    }

    pub(super) fn role(&mut self, role: Option<&'w RoleSpec>) -> Object {
        use pg_raw_parse::nodes::RoleSpecType;
        self.see(role);
        let name = match role.map(|role| role.roletype) {
            Some(RoleSpecType::ROLESPEC_CURRENT_ROLE) => "current_role",
            Some(RoleSpecType::ROLESPEC_CURRENT_USER) => "current_user",
            Some(RoleSpecType::ROLESPEC_SESSION_USER) => "session_user",
            Some(RoleSpecType::ROLESPEC_PUBLIC) => "public",
            _ => role.and_then(|role| role.rolename()).unwrap_or_default(),
        };
        Self::global(ObjectKind::Role, Some(name))
    }

    /// Functions that a command names to be called later; none is an error in the server.
    pub(super) fn calls_later(
        &mut self,
        names: impl Iterator<Item = impl Into<Node<'w>>>,
        arguments: Option<usize>,
    ) -> Walked {
        let names = self.names(names)?;
        let (schema, name) = self.qualified(&names)?;
        let found: Vec<FunctionId> =
            self.catalog.find_functions(schema, name, arguments, self.path).collect();
        if found.is_empty() {
            return Err(NotUnderstood::NoSuchFunction(names.join(".")));
        }
        self.note_functions(found);
        Ok(())
    }

    /// A type that a command mentions; it runs nothing of it.
    pub(super) fn mentions(&mut self, type_name: Option<&'w TypeName>) -> Walked {
        match type_name {
            Some(type_name) => self.see_all(type_name),
            None => Ok(()),
        }
    }

    /// The object that a command names by kind.
    pub(super) fn object(
        &mut self,
        kind: ObjectType::Type,
        node: Node<'w>,
        missing_ok: bool,
    ) -> Walked<Object> {
        let object_kind = kind_of(kind)?;
        match kind {
            ObjectType::OBJECT_TABLE
            | ObjectType::OBJECT_VIEW
            | ObjectType::OBJECT_MATVIEW
            | ObjectType::OBJECT_INDEX
            | ObjectType::OBJECT_SEQUENCE
            | ObjectType::OBJECT_FOREIGN_TABLE => {
                if let Node::RangeVar(range) = node {
                    let (_, object) =
                        self.target_of_command(Some(range), object_kind, missing_ok)?;
                    return Ok(object);
                }
                let names = self.names_of(node)?;
                self.relation_object(object_kind, &names, missing_ok)
            }
            ObjectType::OBJECT_COLUMN => {
                let names = self.names_of(node)?;
                let Some((column, relation)) = names.split_last() else { return Err(unnamed()) };
                let mut object = self.relation_object(ObjectKind::Table, relation, missing_ok)?;
                self.about_column(&mut object, column, missing_ok)?;
                Ok(object)
            }
            ObjectType::OBJECT_TABCONSTRAINT => {
                let names = self.names_of(node)?;
                let Some((name, relation)) = names.split_last() else { return Err(unnamed()) };
                let mut object = self.relation_object(ObjectKind::Table, relation, missing_ok)?;
                self.about_constraint(&mut object, name);
                Ok(object)
            }
            ObjectType::OBJECT_POLICY | ObjectType::OBJECT_RULE | ObjectType::OBJECT_TRIGGER => {
                let names = self.names_of(node)?;
                let Some((name, relation)) = names.split_last() else { return Err(unnamed()) };
                let on = self.relation_object(ObjectKind::Table, relation, missing_ok)?;
                Ok(named_on(object_kind, name, &on))
            }
            ObjectType::OBJECT_TYPE | ObjectType::OBJECT_DOMAIN => match node {
                Node::TypeName(type_name) => self.type_object(object_kind, type_name, missing_ok),
                node => {
                    let names = self.names_of(node)?;
                    self.type_named(object_kind, &names, missing_ok)
                }
            },
            ObjectType::OBJECT_DOMCONSTRAINT => {
                // `(type, constraint)`, or the type alone.
                let mut parts = list(node).into_iter();
                match parts.next() {
                    Some(Node::TypeName(type_name)) => {
                        self.see_texts(parts)?;
                        self.type_object(object_kind, type_name, missing_ok)
                    }
                    _ => {
                        let names = self.names_of(node)?;
                        self.type_named(object_kind, &names, missing_ok)
                    }
                }
            }
            ObjectType::OBJECT_FUNCTION
            | ObjectType::OBJECT_PROCEDURE
            | ObjectType::OBJECT_ROUTINE
            | ObjectType::OBJECT_AGGREGATE
            | ObjectType::OBJECT_OPERATOR => match node {
                Node::ObjectWithArgs(function) => {
                    self.function_object(object_kind, function, missing_ok)
                }
                _ => Err(unnamed()),
            },
            ObjectType::OBJECT_STATISTIC_EXT => {
                let names = self.names_of(node)?;
                self.statistics_object(&names, missing_ok)
            }
            ObjectType::OBJECT_CAST
            | ObjectType::OBJECT_TRANSFORM
            | ObjectType::OBJECT_LARGEOBJECT
            | ObjectType::OBJECT_USER_MAPPING => {
                self.see_all(node)?;
                Ok(Self::global(object_kind, None))
            }
            ObjectType::OBJECT_OPCLASS | ObjectType::OBJECT_OPFAMILY => {
                // The access method's name comes first.
                let names = self.names_of(node)?;
                self.elsewhere(object_kind, names.get(1..).unwrap_or_default())
            }
            _ => {
                let names = self.names_of(node)?;
                match object_kind {
                    ObjectKind::Collation
                    | ObjectKind::Conversion
                    | ObjectKind::TextSearchConfiguration
                    | ObjectKind::TextSearchDictionary
                    | ObjectKind::TextSearchParser
                    | ObjectKind::TextSearchTemplate => self.elsewhere(object_kind, &names),
                    _ => Ok(Self::global(object_kind, Some(&names.join(".")))),
                }
            }
        }
    }

    fn relation_object(
        &self,
        kind: ObjectKind,
        names: &[&str],
        missing_ok: bool,
    ) -> Walked<Object> {
        let (schema, name) = self.qualified(names)?;
        match self.catalog.find_relation(schema, name, self.path) {
            Some(found) => {
                let mut object = self.object_of(found.relation)?;
                object.twice = found.twice;
                Ok(object)
            }
            None if missing_ok => {
                let schema = schema.map(|schema| self.home_named(schema));
                Ok(Object::new(kind, schema, name).missing())
            }
            None => Err(NotUnderstood::NoSuchRelation(name.to_owned())),
        }
    }

    pub(super) fn statistics_object(&self, names: &[&str], missing_ok: bool) -> Walked<Object> {
        let (schema, name) = self.qualified(names)?;
        match self.catalog.find_statistics(schema, name, self.path) {
            Some((schema, relation)) => {
                let schema = self.catalog.home(schema, self.path);
                let mut object = Object::new(ObjectKind::Statistics, Some(schema), name);
                object.relation = Some(relation);
                Ok(object)
            }
            None if missing_ok => Ok(self.elsewhere(ObjectKind::Statistics, names)?.missing()),
            None => Err(NotUnderstood::NoSuchRelation(name.to_owned())),
        }
    }

    fn type_object(
        &mut self,
        kind: ObjectKind,
        type_name: &'w TypeName,
        missing_ok: bool,
    ) -> Walked<Object> {
        self.see_all(type_name)?;
        let names: Vec<&str> = type_name.names().iter().filter_map(|name| name.sval()).collect();
        self.type_named(kind, &names, missing_ok)
    }

    pub(super) fn type_named(
        &self,
        kind: ObjectKind,
        names: &[&str],
        missing_ok: bool,
    ) -> Walked<Object> {
        let (schema, name) = self.qualified(names)?;
        match self.catalog.find_type(schema, name, self.path) {
            Some((schema, oid, twice)) => {
                let schema = self.catalog.home(schema, self.path);
                let mut object = Object::new(kind, Some(schema), name);
                object.relation = self.catalog.row_of(oid);
                object.twice = twice;
                Ok(object)
            }
            None if missing_ok => Ok(self.elsewhere(kind, names)?.missing()),
            None => Err(NotUnderstood::NoSuchType(name.to_owned())),
        }
    }

    pub(super) fn function_object(
        &mut self,
        kind: ObjectKind,
        function: &'w ObjectWithArgs,
        missing_ok: bool,
    ) -> Walked<Object> {
        self.see_all(function)?;
        let names = self.names(function.objname().iter())?;
        if kind == ObjectKind::Operator {
            return self.elsewhere(kind, &names);
        }
        let (schema, name) = self.qualified(&names)?;
        let found = self.catalog.find_functions(schema, name, None, self.path).next();
        match found.and_then(|id| self.catalog.function(id)) {
            Some(found) => {
                let schema = self.catalog.home(found.schema, self.path);
                Ok(Object::new(kind, Some(schema), name))
            }
            None if missing_ok => Ok(self.elsewhere(kind, &names)?.missing()),
            None => Err(NotUnderstood::NoSuchFunction(names.join("."))),
        }
    }

    /// Of columns that a snapshot does not have the name is kept.
    pub(super) fn about_column(&self, object: &mut Object, name: &str, missing_ok: bool) -> Walked {
        let relation = object.relation.and_then(|id| self.catalog.relation(id));
        match relation.and_then(|relation| relation.column(name)) {
            Some(column) => {
                object.columns.insert(column.number);
            }
            None if missing_ok || object.relation.is_none() => {
                object.new_columns.push(name.to_owned());
            }
            None => return Err(NotUnderstood::NoSuchColumn(name.to_owned())),
        }
        Ok(())
    }

    /// The columns of a constraint, where it is known; else the object stays the whole.
    pub(super) fn about_constraint(&self, object: &mut Object, name: &str) {
        let relation = object.relation.and_then(|id| self.catalog.relation(id));
        let constraints = relation.into_iter().flat_map(|relation| &relation.constraints);
        for constraint in constraints.filter(|constraint| &*constraint.name == name) {
            object.columns.extend(&constraint.columns);
        }
    }

    /// A name alone, or a list of them.
    pub(super) fn names_of(&mut self, node: Node<'w>) -> Walked<Vec<&'w str>> {
        match node {
            Node::NodeList(list) => self.names(list.iter()),
            node => self.names(std::iter::once(node)),
        }
    }
}

/// A trigger, a policy or a rule on a relation.
pub(super) fn named_on(kind: ObjectKind, name: &str, on: &Object) -> Object {
    Object {
        kind,
        name: name.to_owned(),
        columns: [].into(),
        new_columns: Vec::new(),
        ..on.clone()
    }
}

fn unnamed() -> NotUnderstood {
    NotUnderstood::Construct("name of an object")
}

pub(super) fn list(node: Node<'_>) -> Vec<Node<'_>> {
    match node {
        Node::NodeList(list) => list.iter().collect(),
        Node::None => Vec::new(),
        node => vec![node],
    }
}

pub(super) fn kind_of(kind: ObjectType::Type) -> Walked<ObjectKind> {
    Ok(match kind {
        ObjectType::OBJECT_ACCESS_METHOD => ObjectKind::AccessMethod,
        ObjectType::OBJECT_AGGREGATE => ObjectKind::Aggregate,
        ObjectType::OBJECT_CAST => ObjectKind::Cast,
        ObjectType::OBJECT_COLUMN | ObjectType::OBJECT_TABCONSTRAINT | ObjectType::OBJECT_TABLE => {
            ObjectKind::Table
        }
        ObjectType::OBJECT_COLLATION => ObjectKind::Collation,
        ObjectType::OBJECT_CONVERSION => ObjectKind::Conversion,
        ObjectType::OBJECT_DATABASE => ObjectKind::Database,
        ObjectType::OBJECT_DOMAIN | ObjectType::OBJECT_DOMCONSTRAINT => ObjectKind::Domain,
        ObjectType::OBJECT_EVENT_TRIGGER => ObjectKind::EventTrigger,
        ObjectType::OBJECT_EXTENSION => ObjectKind::Extension,
        ObjectType::OBJECT_FDW => ObjectKind::ForeignDataWrapper,
        ObjectType::OBJECT_FOREIGN_SERVER => ObjectKind::Server,
        ObjectType::OBJECT_FOREIGN_TABLE => ObjectKind::ForeignTable,
        ObjectType::OBJECT_FUNCTION => ObjectKind::Function,
        ObjectType::OBJECT_INDEX => ObjectKind::Index,
        ObjectType::OBJECT_LANGUAGE => ObjectKind::Language,
        ObjectType::OBJECT_LARGEOBJECT => ObjectKind::LargeObject,
        ObjectType::OBJECT_MATVIEW => ObjectKind::MaterializedView,
        ObjectType::OBJECT_OPCLASS => ObjectKind::OperatorClass,
        ObjectType::OBJECT_OPERATOR => ObjectKind::Operator,
        ObjectType::OBJECT_OPFAMILY => ObjectKind::OperatorFamily,
        ObjectType::OBJECT_PARAMETER_ACL => ObjectKind::Parameter,
        ObjectType::OBJECT_POLICY => ObjectKind::Policy,
        ObjectType::OBJECT_PROCEDURE => ObjectKind::Procedure,
        ObjectType::OBJECT_PUBLICATION => ObjectKind::Publication,
        ObjectType::OBJECT_ROLE => ObjectKind::Role,
        ObjectType::OBJECT_ROUTINE => ObjectKind::Routine,
        ObjectType::OBJECT_RULE => ObjectKind::Rule,
        ObjectType::OBJECT_SCHEMA => ObjectKind::Schema,
        ObjectType::OBJECT_SEQUENCE => ObjectKind::Sequence,
        ObjectType::OBJECT_SUBSCRIPTION => ObjectKind::Subscription,
        ObjectType::OBJECT_STATISTIC_EXT => ObjectKind::Statistics,
        ObjectType::OBJECT_TABLESPACE => ObjectKind::Tablespace,
        ObjectType::OBJECT_TRANSFORM => ObjectKind::Transform,
        ObjectType::OBJECT_TRIGGER => ObjectKind::Trigger,
        ObjectType::OBJECT_TSCONFIGURATION => ObjectKind::TextSearchConfiguration,
        ObjectType::OBJECT_TSDICTIONARY => ObjectKind::TextSearchDictionary,
        ObjectType::OBJECT_TSPARSER => ObjectKind::TextSearchParser,
        ObjectType::OBJECT_TSTEMPLATE => ObjectKind::TextSearchTemplate,
        ObjectType::OBJECT_ATTRIBUTE | ObjectType::OBJECT_TYPE => ObjectKind::Type,
        ObjectType::OBJECT_USER_MAPPING => ObjectKind::UserMapping,
        ObjectType::OBJECT_VIEW => ObjectKind::View,
        _ => return Err(NotUnderstood::Construct("kind of object")),
    })
}
