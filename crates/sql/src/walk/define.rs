//! Commands about functions, types and what extends the server: operators, casts, access methods,
//! text search.

use std::collections::BTreeSet;

use pg_raw_parse::Node;
use pg_raw_parse::nodes::{
    AlterDomainStmt, AlterFunctionStmt, Constraint, CreateDomainStmt, CreateFunctionStmt,
    CreateOpClassItem, DefElem, DefineStmt, FunctionParameter, FunctionParameterMode, ObjectType,
    ObjectWithArgs,
};

use super::from::{columns_named, item};
use super::object::kind_of;
use super::scope::{Env, ScopeId};
use super::setting::{Stay, is_off};
use super::{Walk, Walked};
use crate::catalog::RelationKind;
use crate::facts::{Columns, Effect, NotUnderstood, Object, ObjectKind, RelationUse};

impl<'w> Walk<'w> {
    pub(super) fn definition(&mut self, node: Node<'w>) -> Walked<&'static str> {
        Ok(match node {
            Node::CreateFunctionStmt(create) => self.create_function(create)?,
            Node::AlterFunctionStmt(alter) => self.alter_function(alter)?,
            Node::DefineStmt(define) => self.define(define)?,
            Node::CompositeTypeStmt(create) => {
                let range = create.typevar().ok_or(NotUnderstood::Construct("CREATE TYPE"))?;
                let object = self.new_relation(range, ObjectKind::Type)?;
                for column in create.coldeflist() {
                    if !column.constraints().is_empty() {
                        return Err(NotUnderstood::Construct("CREATE TYPE"));
                    }
                    self.see_all(column)?;
                }
                self.creates(object)
            }
            Node::CreateEnumStmt(create) => {
                self.see_texts(create.vals().iter())?;
                let object = self.new_named(ObjectKind::Type, create.type_name().iter())?;
                self.makes_enum(&object);
                self.creates(object)
            }
            Node::CreateRangeStmt(create) => {
                self.definition_options(create.params().iter())?;
                let object = self.new_named(ObjectKind::Type, create.type_name().iter())?;
                self.creates(object)
            }
            Node::AlterEnumStmt(alter) => {
                let names = self.names(alter.type_name().iter())?;
                let object = self.type_named(ObjectKind::Type, &names, false)?;
                // Its values are no names.
                self.change.known();
                self.alters(object)
            }
            Node::AlterTypeStmt(alter) => {
                // Its functions are what it can change.
                self.definition_options(alter.options().iter())?;
                let names = self.names(alter.type_name().iter())?;
                let object = self.type_named(ObjectKind::Type, &names, false)?;
                self.does_only("alter type", Effect::Alter, object);
                "alter type"
            }
            Node::CreateDomainStmt(create) => self.create_domain(create)?,
            Node::AlterDomainStmt(alter) => self.alter_domain(alter)?,

            Node::CreateCastStmt(create) => {
                self.mentions(create.sourcetype())?;
                self.mentions(create.targettype())?;
                self.function_of(create.func())?;
                self.creates(Self::global(ObjectKind::Cast, None))
            }
            Node::CreateTransformStmt(create) => {
                self.mentions(create.type_name())?;
                self.function_of(create.fromsql())?;
                self.function_of(create.tosql())?;
                self.creates(Self::global(ObjectKind::Transform, None))
            }
            Node::CreateConversionStmt(create) => {
                self.calls_later(create.func_name().iter(), None)?;
                let object =
                    self.new_named(ObjectKind::Conversion, create.conversion_name().iter())?;
                self.creates(object)
            }
            Node::CreateAmStmt(create) => {
                self.calls_later(create.handler_name().iter(), None)?;
                self.creates(Self::global(ObjectKind::AccessMethod, create.amname()))
            }
            Node::CreateOpClassStmt(create) => {
                self.see_texts(create.opfamilyname().iter())?;
                self.mentions(create.datatype())?;
                self.items_of_class(create.items().iter())?;
                let object =
                    self.new_named(ObjectKind::OperatorClass, create.opclassname().iter())?;
                self.creates(object)
            }
            Node::CreateOpFamilyStmt(create) => {
                let object =
                    self.new_named(ObjectKind::OperatorFamily, create.opfamilyname().iter())?;
                self.creates(object)
            }
            Node::AlterOpFamilyStmt(alter) => {
                let names = self.names(alter.opfamilyname().iter())?;
                self.items_of_class(alter.items().iter())?;
                let object = self.elsewhere(ObjectKind::OperatorFamily, &names)?;
                self.alters(object)
            }
            Node::AlterOperatorStmt(alter) => {
                self.definition_options(alter.options().iter())?;
                let operator = alter.opername().ok_or(NotUnderstood::Construct("operator"))?;
                let object = self.function_object(ObjectKind::Operator, operator, false)?;
                self.alters(object)
            }
            Node::AlterCollationStmt(alter) => {
                let names = self.names(alter.collname().iter())?;
                let object = self.elsewhere(ObjectKind::Collation, &names)?;
                self.alters(object)
            }
            Node::AlterTSDictionaryStmt(alter) => {
                let names = self.names(alter.dictname().iter())?;
                self.see_texts(alter.options().iter())?;
                let object = self.elsewhere(ObjectKind::TextSearchDictionary, &names)?;
                self.alters(object)
            }
            Node::AlterTSConfigurationStmt(alter) => {
                let names = self.names(alter.cfgname().iter())?;
                self.see_texts(alter.tokentype().iter())?;
                self.see_texts(alter.dicts().iter())?;
                let object = self.elsewhere(ObjectKind::TextSearchConfiguration, &names)?;
                self.alters(object)
            }
            _ => return Err(NotUnderstood::Construct("command")),
        })
    }

    fn create_function(&mut self, create: &'w CreateFunctionStmt) -> Walked<&'static str> {
        let kind = if create.is_procedure { ObjectKind::Procedure } else { ObjectKind::Function };
        let names = self.names(create.funcname().iter())?;
        let (schema, name) = self.qualified(&names)?;
        let object = self.new_object(kind, schema, name)?;
        self.mentions(create.return_type())?;

        // What the body sees: its parameters, by their names and by the function's.
        Self::few(create.parameters().len())?;
        let mut parameters = Vec::new();
        let outside = self.empty_scope(Env::default());
        for parameter in create.parameters() {
            self.parameter(parameter, outside)?;
            parameters.extend(parameter.name());
        }
        let inside = self.empty_scope(Env::default());
        let row = item(Some(name), columns_named(parameters.iter()), false);
        self.scope_mut(inside)?.items.push(row);

        let created = self.creates(object.clone());
        for option in create.options() {
            self.see(option);
            match (option.defname(), option.arg()) {
                (Some("as"), body) => {
                    self.see_all(body)?;
                    self.code(created);
                }
                (Some("set"), Node::VariableSetStmt(set)) => self.set(set, Stay::Stored)?,
                (Some("security"), value) => {
                    self.see_all(value)?;
                    if !is_off(option) {
                        self.does_only("security definer", Effect::Other, object.clone());
                    }
                }
                (Some("support"), function) => {
                    let names = super::object::list(function);
                    self.calls_later(names.into_iter(), None)?;
                }
                (_, value) => self.see_all(value)?,
            }
        }
        self.body(create.sql_body(), inside)?;
        Ok(created)
    }

    fn parameter(&mut self, parameter: &'w FunctionParameter, scope: ScopeId) -> Walked {
        self.see(parameter);
        self.mentions(parameter.arg_type())?;
        if matches!(parameter.mode, FunctionParameterMode::FUNC_PARAM_TABLE)
            && !matches!(parameter.defexpr(), Node::None)
        {
            return Err(NotUnderstood::Construct("parameter"));
        }
        self.casts.extend(self.catalog.assignment_casts());
        self.expressions([parameter.defexpr()], scope);
        Ok(())
    }

    /// RETURN and BEGIN ATOMIC: queries and writes, which run when the function is called.
    fn body(&mut self, body: Node<'w>, scope: ScopeId) -> Walked {
        // Lists in lists, of the statements.
        let mut open = vec![body];
        while let Some(node) = open.pop() {
            match node {
                Node::None => {}
                Node::NodeList(list) => open.extend(list.iter()),
                Node::ReturnStmt(give) => {
                    self.see(give);
                    self.expressions([give.returnval()], scope);
                }
                Node::SelectStmt(_)
                | Node::InsertStmt(_)
                | Node::UpdateStmt(_)
                | Node::DeleteStmt(_)
                | Node::MergeStmt(_) => {
                    self.nested_query(node, Env { outer: Some(scope), ctes: None });
                }
                // The server takes no other.
                _ => return Err(NotUnderstood::Construct("body of a function")),
            }
        }
        Ok(())
    }

    fn alter_function(&mut self, alter: &'w AlterFunctionStmt) -> Walked<&'static str> {
        let kind = kind_of(alter.objtype)?;
        let function = alter.func().ok_or(NotUnderstood::Construct("ALTER FUNCTION"))?;
        let object = self.function_object(kind, function, false)?;
        for action in alter.actions() {
            self.see(action);
            match (action.defname(), action.arg()) {
                (Some("set"), Node::VariableSetStmt(set)) => self.set(set, Stay::Stored)?,
                (Some("security"), value) => {
                    self.see_all(value)?;
                    if !is_off(action) {
                        self.does_only("security definer", Effect::Other, object.clone());
                    }
                }
                (Some("support"), function) => {
                    let names = super::object::list(function);
                    self.calls_later(names.into_iter(), None)?;
                }
                (_, value) => self.see_all(value)?,
            }
        }
        Ok(self.alters(object))
    }

    fn define(&mut self, define: &'w DefineStmt) -> Walked<&'static str> {
        let kind = kind_of(define.kind)?;
        let object = self.new_named(kind, define.defnames().iter())?;
        for argument in define.args() {
            // Of an aggregate: parameters, which have no defaults there, and how many are direct.
            self.see_all(argument)?;
            for parameter in super::object::list(argument) {
                if let Node::FunctionParameter(parameter) = parameter
                    && !matches!(parameter.defexpr(), Node::None)
                {
                    return Err(NotUnderstood::Construct("CREATE AGGREGATE"));
                }
            }
        }
        let functions = self.definition_options(define.definition().iter())?;
        let name = object.kind.create();
        match define.kind {
            // A type of functions that read and write it, or only its name.
            ObjectType::OBJECT_TYPE if functions => self.does_only(name, Effect::Create, object),
            _ => self.does(name, Effect::Create, object),
        }
        Ok(name)
    }

    /// `NAME = VALUE, …`, where values may be functions. Whether there are any.
    fn definition_options(&mut self, options: impl Iterator<Item = &'w DefElem>) -> Walked<bool> {
        let mut functions = false;
        for option in options {
            self.see_all(option)?;
            let Node::TypeName(value) = option.arg() else { continue };
            let name = option.defname().unwrap_or_default();
            if OPTIONS_OF_TYPES.contains(&name) {
                continue;
            }
            let names: Vec<&str> = value.names().iter().filter_map(|name| name.sval()).collect();
            let (schema, name) = self.qualified(&names)?;
            let found: Vec<_> =
                self.catalog.find_functions(schema, name, None, self.path).collect();
            functions |= !found.is_empty();
            self.note_functions(found);
        }
        Ok(functions)
    }

    fn function_of(&mut self, function: Option<&'w ObjectWithArgs>) -> Walked {
        let Some(function) = function else { return Ok(()) };
        self.see_all(function)?;
        let arguments = (!function.args_unspecified).then(|| function.objargs().len());
        self.calls_later(function.objname().iter(), arguments)
    }

    fn items_of_class(&mut self, items: impl Iterator<Item = &'w CreateOpClassItem>) -> Walked {
        for item in items {
            self.see_all(item)?;
            self.item_of_class(item)?;
        }
        Ok(())
    }

    fn item_of_class(&mut self, item: &'w CreateOpClassItem) -> Walked {
        const OPERATOR: i32 = 1;
        const FUNCTION: i32 = 2;
        // Without a name, it is one to be dropped, by its number.
        let Some(named) = item.name() else { return Ok(()) };
        match item.itemtype {
            OPERATOR => {
                let names = self.names(named.objname().iter())?;
                let (schema, name) = self.qualified(&names)?;
                self.operator(schema, name, false);
                Ok(())
            }
            FUNCTION => self.function_of(Some(named)),
            _ => Ok(()),
        }
    }

    fn create_domain(&mut self, create: &'w CreateDomainStmt) -> Walked<&'static str> {
        let object = self.new_named(ObjectKind::Domain, create.domainname().iter())?;
        if let Some(type_name) = create.type_name() {
            self.cast_to(type_name)?;
        }
        if let Some(collate) = create.coll_clause() {
            self.see_all(collate)?;
        }
        let scope = self.scope_of_new(None, &["value"])?;
        for constraint in create.constraints() {
            self.constraint_of_domain(constraint, scope)?;
        }
        Ok(self.creates(object))
    }

    fn constraint_of_domain(&mut self, constraint: &'w Constraint, scope: ScopeId) -> Walked {
        // Keys and references are for tables: what isn't seen here refuses the statement.
        self.see(constraint);
        for name in constraint.keys() {
            self.see(name);
        }
        self.casts.extend(self.catalog.assignment_casts());
        self.expressions([constraint.raw_expr()], scope);
        Ok(())
    }

    fn alter_domain(&mut self, alter: &'w AlterDomainStmt) -> Walked<&'static str> {
        const DROP_NOT_NULL: u8 = b'N';
        const DROP_CONSTRAINT: u8 = b'X';
        const DEFAULT: u8 = b'T';
        let names = self.names(alter.type_name().iter())?;
        let object = self.type_named(ObjectKind::Domain, &names, alter.missing_ok)?;
        let scope = self.scope_of_new(None, &["value"])?;
        match alter.def() {
            Node::Constraint(constraint) => self.constraint_of_domain(constraint, scope)?,
            default => self.expressions([default], scope),
        }
        let nothing = matches!(alter.def(), Node::None);
        let subtype = u8::try_from(alter.subtype).ok();
        let effect = match subtype {
            Some(DROP_NOT_NULL | DROP_CONSTRAINT) => Effect::Drop,
            Some(DEFAULT) if nothing => Effect::Drop,
            _ => Effect::Alter,
        };
        let later = matches!(alter.def(), Node::Constraint(it) if it.skip_validation);
        if effect == Effect::Alter && subtype != Some(DEFAULT) && !later {
            self.values_of_domain(&names)?;
        }
        self.does("alter domain", effect, object);
        if effect == Effect::Drop {
            self.cascades(alter.behavior);
        }
        Ok("alter domain")
    }

    /// A constraint of a domain is asked of all values that there are, in whatever table.
    fn values_of_domain(&mut self, names: &[&str]) -> Walked {
        let (schema, name) = self.qualified(names)?;
        let Some((_, domain, _)) = self.catalog.find_type(schema, name, self.path) else {
            return Ok(());
        };
        for relation in self.catalog.relations() {
            let numbers = relation.columns.iter().filter(|column| {
                let mut types = BTreeSet::new();
                let told = self.catalog.add_types(column.type_oid, &mut types);
                !told || types.contains(&domain)
            });
            let numbers: BTreeSet<u16> = numbers.map(|column| column.number).collect();
            let stores = matches!(
                relation.kind,
                RelationKind::Table | RelationKind::Partitioned | RelationKind::Materialized
            );
            if numbers.is_empty() || !stores {
                continue;
            }
            let mut used = RelationUse::new(self.catalog.relation_by_oid(relation.oid), 0..0);
            used.read = Some(Columns { numbers, ..Columns::default() });
            used.command = true;
            used.tells = true;
            used.only = true;
            self.facts.relations.push(used);
        }
        Ok(())
    }

    /// What lives in a schema, but isn't in the snapshot.
    pub(super) fn elsewhere(&self, kind: ObjectKind, names: &[&str]) -> Walked<Object> {
        let (schema, name) = self.qualified(names)?;
        Ok(Object::new(kind, schema.map(|schema| self.home_named(schema)), name))
    }
}

/// Of CREATE AGGREGATE, OPERATOR, TYPE: options whose values are types or words, not functions.
const OPTIONS_OF_TYPES: [&str; 14] = [
    "alignment",
    "basetype",
    "category",
    "element",
    "finalfunc_modify",
    "leftarg",
    "like",
    "mfinalfunc_modify",
    "mstype",
    "parallel",
    "rightarg",
    "storage",
    "stype",
    "subtype",
];
