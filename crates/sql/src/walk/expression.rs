//! Expressions: what they read and call.

use pg_raw_parse::Node;
use pg_raw_parse::nodes::{
    A_Expr, A_Expr_Kind, FuncCall, SetOperation, SubLink, SubLinkType, TypeName,
};

use super::scope::{Env, QueryId, Reads, ScopeId};
use super::{Mode, Task, Walk, Walked};
use crate::catalog::{FunctionId, RelationId};
use crate::facts::NotUnderstood;
use crate::lex::{Kind, token};
use crate::nodes::{address, children};

impl<'w> Walk<'w> {
    pub(super) fn expression(&mut self, node: Node<'w>, scope: ScopeId, mode: Mode) -> Walked {
        self.see(node);
        match node {
            Node::None => Ok(()),
            Node::ColumnRef(column) => {
                if let Some(name) = bare_name(node)
                    && self.is_output(name, scope, mode)?
                {
                    self.reference = address(node);
                    self.resolved(&Reads::Nothing);
                    return self.see_all(node);
                }
                self.reference = address(node);
                let found = self.column_ref(column, scope);
                self.reference = None;
                if found.is_err() {
                    self.failed_at.set(usize::try_from(column.location).ok());
                }
                found
            }
            Node::FuncCall(call) => self.call(call, scope),
            Node::A_Expr(operation) => self.operation(operation, scope),
            Node::TypeCast(cast) => {
                let type_name = cast.type_name().ok_or(NotUnderstood::Construct("cast"))?;
                self.cast_to(type_name)?;
                if type_name.names().iter().next_back().and_then(|name| name.sval())
                    == Some("regclass")
                {
                    self.named_by(cast.arg())?;
                }
                self.expressions([cast.arg()], scope);
                Ok(())
            }
            Node::SubLink(link) => {
                if link.sub_link_type != SubLinkType::EXISTS_SUBLINK {
                    let names = self.names(link.oper_name().iter())?;
                    match self.qualified(&names) {
                        Ok((schema, name)) => self.operator(schema, name, false),
                        Err(_) => self.operator(None, "=", false),
                    }
                }
                self.expressions([link.testexpr()], scope);
                let env = Env { outer: Some(scope), ctes: self.env(scope)?.ctes };
                let query = self.new_query();
                self.tasks.push(Task::Query(link.subselect(), env, query));
                Ok(())
            }
            Node::A_Indirection(indirection) => {
                self.note_plain_row(indirection.arg());
                for part in indirection.indirection() {
                    match part {
                        Node::String(name) => {
                            self.see(part);
                            self.attribute(
                                name.sval().unwrap_or_default(),
                                indirection.arg(),
                                scope,
                            );
                        }
                        Node::A_Star(_) => self.see(part),
                        part => self.expressions([part], scope),
                    }
                }
                self.expressions([indirection.arg()], scope);
                Ok(())
            }
            Node::CollateClause(collate) => {
                self.names(collate.collname().iter())?;
                self.expressions([collate.arg()], scope);
                Ok(())
            }
            Node::SortBy(sort) => {
                let names = self.names(sort.use_op().iter())?;
                if let Ok((schema, name)) = self.qualified(&names) {
                    self.operator(schema, name, false);
                }
                self.comparison();
                self.tasks.push(Task::Expression(sort.node(), scope, mode));
                Ok(())
            }
            Node::GroupingSet(set) => {
                let tasks = set.content().iter().map(|node| Task::Expression(node, scope, mode));
                self.tasks.extend(tasks);
                Ok(())
            }
            Node::WindowDef(_) | Node::MinMaxExpr(_) => {
                self.comparison();
                self.below(node, scope)
            }
            Node::NullTest(test) => {
                self.note_plain_row(test.arg());
                self.below(node, scope)
            }
            Node::CaseExpr(case) => {
                if !matches!(case.arg(), Node::None) {
                    self.operator(None, "=", false);
                }
                self.below(node, scope)
            }
            Node::MultiAssignRef(assign) => {
                // All columns of `(a, b) = …` share one source.
                if assign.colno == 1 {
                    self.expressions([assign.source()], scope);
                }
                Ok(())
            }
            Node::RowExpr(row) => {
                // `GROUP BY (a, b)` groups by a and by b.
                let mode = if matches!(mode, Mode::GroupBy(_)) { mode } else { Mode::Plain };
                for name in row.colnames().iter() {
                    self.see(name);
                }
                let tasks = row.args().iter().map(|node| Task::Expression(node, scope, mode));
                self.tasks.extend(tasks);
                Ok(())
            }
            Node::ResTarget(target) => {
                self.expressions(target.indirection().iter(), scope);
                self.expressions([target.val()], scope);
                Ok(())
            }
            Node::TypeName(type_name) => self.cast_to(type_name),
            Node::SelectStmt(_) => {
                // JSON_ARRAY(SELECT …).
                let env = Env { outer: Some(scope), ctes: self.env(scope)?.ctes };
                let query = self.new_query();
                self.tasks.push(Task::Query(node, env, query));
                Ok(())
            }
            Node::ParamRef(_) => {
                self.any_type = true;
                Ok(())
            }
            Node::JsonAggConstructor(_)
            | Node::JsonArrayAgg(_)
            | Node::JsonArrayConstructor(_)
            | Node::JsonArrayQueryConstructor(_)
            | Node::JsonFuncExpr(_)
            | Node::JsonObjectAgg(_)
            | Node::JsonObjectConstructor(_)
            | Node::JsonParseExpr(_)
            | Node::JsonScalarExpr(_)
            | Node::JsonSerializeExpr(_) => {
                self.json(node);
                self.below(node, scope)
            }
            Node::MergeSupportFunc(_) => {
                // To servers before PostgreSQL 17 a function.
                self.may_be_call("merge_action");
                Ok(())
            }
            // What means the same wherever it stands: its parts are all there is to it.
            Node::NodeList(_)
            | Node::A_ArrayExpr(_)
            | Node::A_Const(_)
            | Node::A_Indices(_)
            | Node::BitString(_)
            | Node::BoolExpr(_)
            | Node::Boolean(_)
            | Node::BooleanTest(_)
            | Node::CaseWhen(_)
            | Node::CoalesceExpr(_)
            | Node::CurrentOfExpr(_)
            | Node::Float(_)
            | Node::GroupingFunc(_)
            | Node::Integer(_)
            | Node::JsonArgument(_)
            | Node::JsonBehavior(_)
            | Node::JsonFormat(_)
            | Node::JsonIsPredicate(_)
            | Node::JsonKeyValue(_)
            | Node::JsonOutput(_)
            | Node::JsonReturning(_)
            | Node::JsonValueExpr(_)
            | Node::NamedArgExpr(_)
            | Node::SetToDefault(_)
            | Node::SQLValueFunction(_)
            | Node::String(_)
            | Node::XmlExpr(_)
            | Node::XmlSerialize(_) => self.below(node, scope),
            _ => Err(NotUnderstood::Construct("expression")),
        }
    }

    /// All that is right below the node, as expressions.
    fn below(&mut self, node: Node<'w>, scope: ScopeId) -> Walked {
        let mut below = std::mem::take(&mut self.below);
        children(node, &mut below).map_err(|_| NotUnderstood::Construct("expression"))?;
        self.expressions(below.drain(..), scope);
        self.below = below;
        Ok(())
    }

    /// Whether a bare name in GROUP BY, ORDER BY or DISTINCT ON means a column of the result.
    fn is_output(&self, name: &str, scope: ScopeId, mode: Mode) -> Walked<bool> {
        let query = match mode {
            Mode::Plain => return Ok(false),
            Mode::GroupBy(query) => {
                let items = &self.scope(scope)?.items;
                let input = items.iter().any(|item| {
                    !item.hidden && !item.qualified_only && self.column_in(item, name).is_some()
                });
                if input {
                    return Ok(false);
                }
                query
            }
            Mode::OrderBy(query) => query,
        };
        Ok(self.has_output(query, name))
    }

    fn has_output(&self, query: QueryId, name: &str) -> bool {
        self.result(query).names.is_some_and(|names| names.contains(&name))
    }

    fn call(&mut self, call: &'w FuncCall, scope: ScopeId) -> Walked {
        let candidates = self.candidates(call)?;
        let with_less = self.with_less(call)?;
        let names = self.names(call.funcname().iter())?;
        if candidates.is_empty() && with_less.is_empty() {
            let (schema, name) = self.qualified(&names)?;
            // `date(x)` may be a cast, and `column(row)` is a column.
            let types = self.catalog.find_types(schema, name, self.path);
            let row = call.args().get(0).filter(|_| call.args().len() == 1);
            let column =
                schema.is_none() && row.is_some_and(|row| self.is_column_of(name, row, scope));
            if row.is_none() || (types.is_empty() && !column) {
                return Err(NotUnderstood::NoSuchFunction(names.join(".")));
            }
            for oid in types {
                self.casts_to(oid);
            }
        }
        for (at, argument) in call.args().iter().enumerate() {
            let takes_name = candidates.iter().filter_map(|id| self.catalog.function(*id));
            if takes_name.into_iter().any(|f| f.arguments.get(at) == Some(&REGCLASS)) {
                self.named_by(argument)?;
            }
        }
        if let Some(name @ ("set_config" | "current_setting")) = names.last().copied()
            && candidates.iter().any(|id| self.is_system(*id))
        {
            self.call_of_setting(name, call.args().iter());
        }
        if names.last().is_some_and(|name| TAKE_ANY_ROW.contains(name))
            && candidates.iter().all(|id| self.is_system(*id))
        {
            call.args().iter().for_each(|argument| self.note_plain_row(argument));
        }
        if names == ["pg_catalog", "json_object"] {
            // What the grammar makes of `json_object(…)`, which older servers look up.
            self.may_be_call("json_object");
        }
        // Of the arguments of a call it is known which are constants.
        let computed = (self.facts.named_computed, self.facts.channel_computed);
        let notifies =
            names.last() == Some(&"pg_notify") && candidates.iter().any(|id| self.is_system(*id));
        self.one_of(candidates);
        (self.facts.named_computed, self.facts.channel_computed) = computed;
        if notifies {
            self.call_of_notify(call.args().get(0));
        }
        self.called_with_less(&names, with_less)?;
        self.expressions(call.args().iter(), scope);
        self.expressions(call.agg_order().iter(), scope);
        self.expressions([call.agg_filter()], scope);
        self.expressions(call.over(), scope);
        // `array_position`, `max`, DISTINCT: many compare what they are given.
        self.comparison();
        Ok(())
    }

    /// A call that may lose arguments on its way: which of them stands where can't be told, so
    /// whatever they could name is taken for computed.
    fn called_with_less(&mut self, names: &[&'w str], with_less: Vec<FunctionId>) -> Walked {
        if with_less.is_empty() {
            return Ok(());
        }
        if let Some(name @ ("set_config" | "current_setting")) = names.last().copied()
            && with_less.iter().any(|id| self.is_system(*id))
        {
            self.call_of_setting(name, std::iter::empty());
        }
        // With one argument left a name may be that of a type, too: a cast.
        let (schema, name) = self.qualified(names)?;
        for oid in self.catalog.find_types(schema, name, self.path) {
            self.casts_to(oid);
        }
        self.one_of(with_less);
        Ok(())
    }

    /// Notes the relation that a constant names; one that names none fails in the server, and
    /// a value that is computed is for the function's class to judge.
    fn named_by(&mut self, argument: Node<'w>) -> Walked {
        let Some(text) = self.constant_text(argument) else {
            match self.serial_sequence(argument) {
                Some(sequence) => {
                    self.facts.named.insert(sequence);
                }
                None => self.facts.named_computed = true,
            }
            return Ok(());
        };
        if text.bytes().all(|byte| byte.is_ascii_digit())
            && let Ok(oid) = text.parse()
        {
            self.facts.named.extend(self.catalog.relation_by_oid(oid));
            return Ok(());
        }
        let unread = NotUnderstood::Construct("name of a relation in a text");
        let names = names_in(text).ok_or(unread)?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (schema, name) = self.qualified(&names)?;
        if let Some(found) = self.catalog.find_relation(schema, name, self.path) {
            self.facts.named.insert(found.relation);
        }
        Ok(())
    }

    /// `pg_get_serial_sequence('table', 'column')` of constants, also by itself in a subquery, as
    /// those write it who want it evaluated once.
    fn serial_sequence(&self, argument: Node<'w>) -> Option<RelationId> {
        let mut node = self.without_casts(argument)?;
        if let Node::SubLink(sublink) = node {
            node = self.without_casts(sole_value(sublink)?)?;
        }
        let Node::FuncCall(call) = node else { return None };
        let names: Vec<&str> = call.funcname().iter().map(Node::as_str).collect::<Option<_>>()?;
        let (schema, name) = self.qualified(&names).ok()?;
        let found: Vec<_> = self.catalog.find_functions(schema, name, 2, self.path).collect();
        let own = !found.is_empty() && found.into_iter().all(|id| self.is_system(id));
        if !own || name != "pg_get_serial_sequence" {
            return None;
        }
        let table = names_in(self.constant_text(call.args().get(0)?)?)?;
        let table: Vec<&str> = table.iter().map(String::as_str).collect();
        let (schema, name) = self.qualified(&table).ok()?;
        let table = self.catalog.find_relation(schema, name, self.path)?.relation;
        let column = self.constant_text(call.args().get(1)?)?;
        let column = self.catalog.relation(table)?.column(column)?.number;
        let mut all = self.catalog.relations();
        let owned = all.find(|relation| relation.owned_by == Some((table, column)))?;
        self.catalog.relation_by_oid(owned.oid)
    }

    /// A constant text.
    pub(super) fn constant_text(&self, node: Node<'w>) -> Option<&'w str> {
        match self.without_casts(node)? {
            Node::A_Const(constant) => match constant.val()? {
                pg_raw_parse::ConstValue::String(text) => Some(text),
                _ => None,
            },
            _ => None,
        }
    }

    /// What is under casts to what is a text, or names a relation. Others may make another text of
    /// it: `'ab'::varchar(1)`.
    fn without_casts(&self, node: Node<'w>) -> Option<Node<'w>> {
        let mut node = node;
        while let Node::TypeCast(cast) = node {
            let type_name = cast.type_name()?;
            let names: Vec<&str> = type_name.names().iter().filter_map(|n| n.sval()).collect();
            let (schema, name) = self.qualified(&names).ok()?;
            let types = self.catalog.find_types(schema, name, self.path);
            let keeps = !types.is_empty() && types.iter().all(|oid| KEEP_TEXT.contains(oid));
            if !keeps || !type_name.array_bounds().is_empty() || !type_name.typmods().is_empty() {
                return None;
            }
            node = cast.arg();
        }
        Some(node)
    }

    /// `(…).name`: an attribute, or a call by attribute notation.
    fn attribute(&mut self, name: &'w str, of: Node<'w>, scope: ScopeId) {
        if self.is_column_of(name, of, scope) {
            return;
        }
        let functions: Vec<_> = self.catalog.find_functions(None, name, 1, self.path).collect();
        self.note_functions(functions);
    }

    /// Whether `row` names an item of FROM that has such a column.
    fn is_column_of(&self, name: &str, row: Node<'w>, scope: ScopeId) -> bool {
        let item = bare_name(row).and_then(|item| self.find_item(None, item, scope).ok());
        item.is_some_and(|item| self.column_in(&item, name).is_some())
    }

    fn operation(&mut self, operation: &'w A_Expr, scope: ScopeId) -> Walked {
        let names = self.names(operation.name().iter())?;
        let prefix = matches!(operation.lexpr(), Node::None);
        let between = matches!(
            operation.kind,
            A_Expr_Kind::AEXPR_BETWEEN
                | A_Expr_Kind::AEXPR_NOT_BETWEEN
                | A_Expr_Kind::AEXPR_BETWEEN_SYM
                | A_Expr_Kind::AEXPR_NOT_BETWEEN_SYM
        );
        if between {
            for name in [">=", "<=", "<", ">"] {
                self.operator(None, name, false);
            }
        } else {
            let (schema, name) = self.qualified(&names)?;
            self.operator(schema, name, prefix);
        }
        self.expressions([operation.lexpr(), operation.rexpr()], scope);
        Ok(())
    }

    /// Notes the functions behind an operator, except the server's own.
    pub(super) fn operator(&mut self, schema: Option<&str>, name: &str, prefix: bool) {
        let (system, others) = self.catalog.find_operators(schema, name, prefix, self.path);
        if system {
            self.maybe.extend(others);
            // Arrays, rows and ranges are compared by what compares their elements.
            if matches!(name, "=" | "<>" | "<" | "<=" | ">" | ">=") {
                self.comparison();
            }
            // A text and anything else: that is cast to a text, by a cast of its own if it has one.
            if name == "||" {
                self.casts_to(TEXT);
            }
        } else {
            self.note_functions(others);
        }
    }

    /// Notes functions of which the server will take one. Constants without a type become
    /// whatever the only candidate takes; where the server has a candidate of its own, others
    /// need values of their types.
    fn one_of(&mut self, candidates: Vec<FunctionId>) {
        let (system, others): (Vec<_>, Vec<_>) =
            candidates.into_iter().partition(|id| self.is_system(*id));
        if system.is_empty() {
            self.note_functions(others);
        } else {
            self.note_functions(system);
            self.maybe.extend(others);
        }
    }

    pub(super) fn is_system(&self, id: FunctionId) -> bool {
        self.catalog.function(id).is_some_and(|f| self.catalog.is_system(f.schema))
    }

    /// Sorting, grouping, DISTINCT: what compares is decided by the type.
    pub(super) fn comparison(&mut self) {
        self.maybe.extend(self.catalog.comparisons());
    }

    pub(super) fn cast_to(&mut self, type_name: &'w TypeName) -> Walked {
        self.see_all(type_name)?;
        let names: Vec<&str> = type_name.names().iter().filter_map(|name| name.sval()).collect();
        let (schema, name) = self.qualified(&names)?;
        for oid in self.catalog.find_types(schema, name, self.path) {
            self.casts_to(oid);
        }
        if (schema, name) == (Some("pg_catalog"), "json") {
            // What the grammar makes of `json`, which older servers look up.
            for oid in self.catalog.find_types(None, name, self.path) {
                self.casts_to(oid);
            }
        }
        Ok(())
    }

    pub(super) fn casts_to(&mut self, oid: u32) {
        for oid in [Some(oid), self.catalog.element_of(oid)].into_iter().flatten() {
            self.note_type(oid);
            self.casts.extend(self.catalog.casts_to(oid));
            self.catalog.add_domain_calls(oid, &mut self.facts.functions);
        }
    }
}

pub(super) const TEXT: u32 = 25;

/// Functions of the server that take anything and cast it to a text.
pub(super) const CAST_TO_TEXT: [&str; 4] =
    ["quote_literal", "quote_nullable", "textanycat", "anytextcat"];

/// The type of a text that names a relation.
pub(super) const REGCLASS: u32 = 2205;

/// What the server's own functions of these names give does not depend on how the type of a row is
/// called.
const TAKE_ANY_ROW: [&str; 12] = [
    "count",
    "json_agg",
    "json_agg_strict",
    "json_build_array",
    "json_build_object",
    "jsonb_agg",
    "jsonb_build_array",
    "jsonb_build_object",
    "num_nonnulls",
    "row_to_json",
    "to_json",
    "to_jsonb",
];

/// `text`, `varchar` and `regclass`: without a length a text stays what it is in them.
const KEEP_TEXT: [u32; 3] = [25, 1043, REGCLASS];

/// The names in `schema."Name"`, as the server reads them in a text.
fn names_in(text: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut position = 0;
    while let Some(found) = token(text, position).ok()? {
        position = found.end;
        let piece = text.get(found.start..found.end)?;
        match found.kind {
            Kind::Space | Kind::Mark(b'.') => {}
            _ if !piece.is_ascii() && piece.len() > 63 => return None,
            Kind::Word => names.push(cut(piece.to_ascii_lowercase())),
            Kind::QuotedName { unicode: false } => {
                let inner = piece.get(1..piece.len() - 1)?;
                names.push(cut(inner.replace("\"\"", "\"")));
            }
            _ => return None,
        }
    }
    Some(names)
}

/// The server cuts names at 63 bytes, between characters of its own encoding.
fn cut(mut name: String) -> String {
    name.truncate(name.floor_char_boundary(63));
    name
}

/// The name in a reference that is nothing but a name.
pub(super) fn bare_name(node: Node<'_>) -> Option<&str> {
    let Node::ColumnRef(column) = node else { return None };
    match (column.fields().len(), column.fields().get(0)) {
        (1, Some(field)) => field.as_str(),
        _ => None,
    }
}

/// What `(SELECT …)` gives where it is made of one expression alone.
fn sole_value(sublink: &SubLink) -> Option<Node<'_>> {
    let Node::SelectStmt(select) = sublink.subselect() else { return None };
    let is_one = sublink.sub_link_type == SubLinkType::EXPR_SUBLINK
        && select.op == SetOperation::SETOP_NONE
        && select.target_list().len() == 1;
    select.target_list().get(0).filter(|_| is_one).map(|target| target.val())
}
