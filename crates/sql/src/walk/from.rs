//! FROM: relations, subqueries, functions, joins.

use std::collections::BTreeSet;
use std::rc::Rc;

use pg_raw_parse::Node;
use pg_raw_parse::nodes::{
    Alias, FuncCall, JoinExpr, JsonTableColumn, RangeFunction, RangeSubselect, RangeVar, TypeName,
};

use super::scope::{Column, Env, Item, Part, QueryId, Reads, ScopeId};
use super::{Mode, Task, Walk, Walked};
use crate::catalog::FunctionId;
use crate::facts::NotUnderstood;

/// A join whose operands are walked.
pub(super) struct Join<'w> {
    join: &'w JoinExpr,
    scope: ScopeId,
    /// Where its items begin among those of the scope.
    first_item: usize,
}

impl<'w> Walk<'w> {
    pub(super) fn item_of_from(&mut self, node: Node<'w>, scope: ScopeId) -> Walked {
        self.see(node);
        let env = self.env(scope)?;
        match node {
            Node::RangeVar(range) => {
                let item = match range.relname() {
                    Some(name) if range.schemaname().is_none() => self.find_cte(env, name),
                    _ => None,
                };
                let item = match item {
                    Some(cte) => self.cte_item(range, cte)?,
                    None => {
                        let relation = self.relation_use(range)?;
                        // Rows are read, though it may be without a column: `count(*)`.
                        self.read_of(relation);
                        self.note_use(relation, range, false);
                        self.relation_item(range, relation)?
                    }
                };
                self.add_item(item, scope)
            }
            Node::RangeSubselect(subselect) => {
                // Items to the left are in sight only for LATERAL.
                let outer = if subselect.lateral { Some(scope) } else { env.outer };
                let query = self.new_query();
                self.tasks.push(Task::AddQuery(subselect, query, scope));
                self.tasks.push(Task::Query(
                    subselect.subquery(),
                    Env { outer, ctes: env.ctes },
                    query,
                ));
                Ok(())
            }
            Node::RangeFunction(range) => self.range_function(range, scope),
            Node::RangeTableFunc(table) => {
                let mut columns = Vec::new();
                let mut expressions = vec![table.docexpr(), table.rowexpr()];
                expressions.extend(table.namespaces().iter());
                for column in table.columns().iter() {
                    self.see(column);
                    if let Some(type_name) = column.type_name() {
                        self.cast_to(type_name)?;
                    }
                    expressions.extend([column.colexpr(), column.coldefexpr()]);
                    columns.push(column.colname().unwrap_or_default());
                }
                let item = self.named_item(table.alias(), Some("xmltable"), &columns, false)?;
                self.tasks.push(Task::Add(item, scope));
                self.expressions(expressions, scope);
                Ok(())
            }
            Node::JsonTable(table) => {
                self.makes_json();
                let mut columns = Vec::new();
                let mut expressions = vec![Node::from(table.context_item())];
                expressions.extend(table.passing().iter());
                expressions.push(Node::from(table.on_error()));
                if let Some(path) = table.pathspec() {
                    self.see(path);
                    expressions.push(path.string());
                }
                let mut open: Vec<&JsonTableColumn> = table.columns().iter().collect();
                while let Some(column) = open.pop() {
                    self.see(column);
                    if let Some(type_name) = column.type_name() {
                        self.cast_to(type_name)?;
                    }
                    if let Some(path) = column.pathspec() {
                        self.see(path);
                        expressions.push(path.string());
                    }
                    if let Some(format) = column.format() {
                        self.see(format);
                    }
                    expressions.push(Node::from(column.on_empty()));
                    expressions.push(Node::from(column.on_error()));
                    for nested in column.columns() {
                        match nested {
                            Node::JsonTableColumn(nested) => open.push(nested),
                            _ => return Err(NotUnderstood::Construct("JSON_TABLE")),
                        }
                    }
                    columns.extend(column.name());
                }
                // Nested columns come in an order of their own: by name is enough, unless the
                // alias renames them by place.
                if table.alias().is_some_and(|alias| !alias.colnames().is_empty()) {
                    return Err(NotUnderstood::Construct("JSON_TABLE with renamed columns"));
                }
                let item = self.named_item(table.alias(), Some("json_table"), &columns, false)?;
                self.tasks.push(Task::Add(item, scope));
                self.expressions(expressions, scope);
                Ok(())
            }
            Node::RangeTableSample(sample) => {
                let names = self.names(sample.method().iter())?;
                let (schema, name) = self.qualified(&names)?;
                let handlers = self.catalog.find_functions(schema, name, 1, self.path);
                // Of the server's own and its contrib modules' handlers it is known what they do.
                let unknown = |id: &FunctionId| {
                    self.catalog.function(*id).is_none_or(|handler| handler.class.is_none())
                };
                let handlers: Vec<_> = handlers.filter(unknown).collect();
                self.note_functions(handlers);
                self.expressions(sample.args().iter(), scope);
                self.expressions([sample.repeatable()], scope);
                self.note_sample(sample);
                self.tasks.push(Task::From(sample.relation(), scope));
                Ok(())
            }
            Node::JoinExpr(join) => {
                let first_item = self.scope(scope)?.items.len();
                self.tasks.push(Task::Join(Join { join, scope, first_item }));
                self.tasks.push(Task::From(join.rarg(), scope));
                self.tasks.push(Task::From(join.larg(), scope));
                Ok(())
            }
            _ => Err(NotUnderstood::Construct("FROM")),
        }
    }

    pub(super) fn add_item(&mut self, item: Item<'w>, scope: ScopeId) -> Walked {
        self.note_double(&item, scope);
        let items = &mut self.scope_mut(scope)?.items;
        items.push(item);
        let at = items.len() - 1;
        self.parts.push(Part::Item(scope, at));
        Ok(())
    }

    /// The item of a relation whose use is noted.
    pub(super) fn relation_item(&mut self, range: &'w RangeVar, number: usize) -> Walked<Item<'w>> {
        let used = self.facts.relations.get(number).and_then(|used| used.relation);
        let (id, relation) = used
            .and_then(|id| Some((id, self.catalog.relation(id)?)))
            .ok_or(NotUnderstood::Unvisited)?;
        let mut item = Item {
            name: range.relname(),
            schema: Some(relation.schema),
            relation: Some((id, number)),
            columns: None,
            open: false,
            hidden: false,
            qualified_only: false,
        };
        if let Some(alias) = range.alias() {
            item.name = alias.aliasname();
            item.schema = None;
            if !alias.colnames().is_empty() {
                let mut columns = self.columns_of(&item);
                self.rename(&mut columns, alias)?;
                item.columns = Some(columns.into());
            }
        }
        Ok(item)
    }

    fn cte_item(&mut self, range: &'w RangeVar, at: usize) -> Walked<Item<'w>> {
        let cte = self.ctes.get(at).ok_or(NotUnderstood::Unvisited)?;
        let (clause, result) = (cte.clause, self.result(cte.query));
        let mut columns: Vec<Column<'w>> =
            columns_named(result.names.iter().flat_map(|n| n.iter()));
        let mut open = result.open || result.names.is_none();
        for (at, name) in clause.aliascolnames().iter().enumerate() {
            let name = name.as_str().unwrap_or_default();
            match columns.get_mut(at) {
                Some(column) => column.name = name,
                None => columns.push(Column { name, reads: Reads::Nothing }),
            }
        }
        if let Some(search) = clause.search_clause() {
            columns.extend(columns_named(search.search_seq_column().iter()));
        }
        if let Some(cycle) = clause.cycle_clause() {
            columns.extend(columns_named(cycle.cycle_mark_column().iter()));
            columns.extend(columns_named(cycle.cycle_path_column().iter()));
        }
        if let Some(alias) = range.alias() {
            self.see_all(alias)?;
            open |= self.rename(&mut columns, alias)?;
        }
        let name = range.alias().map_or(range.relname(), Alias::aliasname);
        Ok(item(name, columns, open))
    }

    pub(super) fn subselect_item(
        &mut self,
        subselect: &'w RangeSubselect,
        query: QueryId,
    ) -> Walked<Item<'w>> {
        let result = self.result(query);
        let open = result.open || result.names.is_none();
        let columns: Vec<&str> =
            result.names.iter().flat_map(|names| names.iter().copied()).collect();
        self.named_item(subselect.alias(), None, &columns, open)
    }

    fn named_item(
        &mut self,
        alias: Option<&'w Alias>,
        name: Option<&'w str>,
        columns: &[&'w str],
        open: bool,
    ) -> Walked<Item<'w>> {
        let mut columns = columns_named(columns.iter());
        let mut open = open;
        if let Some(alias) = alias {
            self.see_all(alias)?;
            open |= self.rename(&mut columns, alias)?;
        }
        Ok(item(alias.map_or(name, Alias::aliasname), columns, open))
    }

    /// Gives the columns the names in the alias, as far as it has any. Whether there may be more
    /// columns than are known.
    fn rename(&mut self, columns: &mut Vec<Column<'w>>, alias: &'w Alias) -> Walked<bool> {
        let mut unknown = false;
        for (at, name) in alias.colnames().iter().enumerate() {
            self.see(name);
            let name = name.as_str().ok_or(NotUnderstood::Construct("alias"))?;
            match columns.get_mut(at) {
                Some(column) => column.name = name,
                None => {
                    unknown = true;
                    columns.push(Column { name, reads: Reads::Nothing });
                }
            }
        }
        Ok(unknown)
    }

    fn range_function(&mut self, range: &'w RangeFunction, scope: ScopeId) -> Walked {
        let mut columns: Vec<&'w str> = Vec::new();
        let mut open = false;
        let mut expressions = Vec::new();
        let single = range.functions().len() == 1;
        let mut scalar = false;
        for function in range.functions() {
            let Node::NodeList(pair) = function else {
                return Err(NotUnderstood::Construct("function in FROM"));
            };
            let call = pair.get(0).ok_or(NotUnderstood::Construct("function in FROM"))?;
            if let Node::FuncCall(call) = call
                && is_unnest_of_several(call)
            {
                // The server makes it one of its own for each argument; of arrays of rows each
                // gives more than one column.
                self.see(call);
                self.names(call.funcname().iter())?;
                let path = self.path;
                let found = self.catalog.find_functions(Some("pg_catalog"), "unnest", 1, path);
                self.note_functions(found.collect::<Vec<_>>());
                columns.extend(call.args().iter().map(|_| "unnest"));
                open = true;
                expressions.extend(call.args().iter());
                continue;
            }
            expressions.push(call);
            let Some(Node::NodeList(definitions)) =
                pair.get(1).filter(|n| !matches!(n, Node::None))
            else {
                let (names, more, one) = self.columns_of_function(call)?;
                columns.extend(names);
                open |= more;
                scalar = single && one;
                continue;
            };
            for definition in definitions {
                columns.push(self.defined_column(definition)?);
            }
        }
        if !range.coldeflist().is_empty() {
            columns.clear();
            open = false;
            for definition in range.coldeflist().iter() {
                columns.push(self.defined_column(Node::from(definition))?);
            }
        }
        let name = match expressions.first() {
            Some(Node::FuncCall(call)) => call.funcname().iter().next_back().and_then(Node::as_str),
            _ => None,
        };
        // A single value is a column that is called as the item is.
        if scalar
            && let (Some(alias), Some(first)) = (range.alias(), columns.first_mut())
            && Some(&**first) == name
        {
            *first = alias.aliasname().unwrap_or_default();
        }
        if range.ordinality {
            columns.push("ordinality");
        }
        let item = self.named_item(range.alias(), name, &columns, open)?;
        self.tasks.push(Task::Add(item, scope));
        self.expressions(expressions, scope);
        Ok(())
    }

    fn defined_column(&mut self, definition: Node<'w>) -> Walked<&'w str> {
        self.see_all(definition)?;
        match definition {
            Node::ColumnDef(column) => {
                if let Some(type_name) = column.type_name() {
                    self.cast_to(type_name)?;
                }
                Ok(column.colname().unwrap_or_default())
            }
            _ => Err(NotUnderstood::Construct("column definition")),
        }
    }

    /// The columns that a function in FROM gives, whether there may be others, and whether it is
    /// a single one that has no name of its own.
    fn columns_of_function(&self, call: Node<'w>) -> Walked<(Vec<&'w str>, bool, bool)> {
        let Node::FuncCall(call) = call else {
            // CURRENT_DATE and the like, casts: one column, of some name.
            return Ok((vec![super::figured::figure_name(call)], true, true));
        };
        let name = call.funcname().iter().next_back().and_then(Node::as_str).unwrap_or_default();
        let mut shapes: BTreeSet<Vec<&'w str>> = BTreeSet::new();
        let mut open = false;
        for id in self.candidates(call)?.into_iter().chain(self.with_less(call)?) {
            let Some(function) = self.catalog.function(id) else { continue };
            let row = self.catalog.row_of(function.returns);
            if !function.outputs.is_empty() {
                shapes.insert(function.outputs.iter().map(|name| &**name).collect());
            } else if let Some(row) = row.and_then(|id| self.catalog.relation(id)) {
                shapes.insert(row.columns.iter().map(|column| &*column.name).collect());
            } else {
                // A polymorphic result may be a row: anyelement and its kin.
                open |= POLYMORPHIC.contains(&function.returns);
                shapes.insert(vec![name]);
            }
        }
        let scalar = shapes.len() == 1 && shapes.contains(&vec![name]);
        open |= shapes.len() != 1;
        let mut names: Vec<&str> = Vec::new();
        for shape in shapes {
            for name in shape {
                if open && names.contains(&name) {
                    continue;
                }
                names.push(name);
            }
        }
        Ok((names, open, scalar))
    }

    pub(super) fn join_end(&mut self, end: Join<'w>) -> Walked {
        let Join { join, scope, first_item } = end;
        let (Some(right), Some(left)) = (self.parts.pop(), self.parts.pop()) else {
            return Err(NotUnderstood::Unvisited);
        };
        let (mut columns, left_open) = self.columns_of_part(&left)?;
        let (mut right_columns, right_open) = self.columns_of_part(&right)?;
        let open = left_open || right_open;
        self.note_join(join, scope, first_item)?;
        let mut shared: Vec<&'w str> = Vec::new();
        for name in join.using_clause().iter() {
            self.see(name);
            shared.extend(name.sval());
        }
        if join.is_natural {
            if open {
                // Columns that aren't known may be shared with any that are.
                for column in columns.iter().chain(&right_columns) {
                    self.read(&column.reads);
                }
                self.operator(None, "=", false);
            }
            let names = columns.iter().map(|column| column.name);
            shared.extend(names.filter(|name| right_columns.iter().any(|c| c.name == *name)));
        }
        let mut merged: Vec<Column<'w>> = Vec::new();
        for name in shared {
            let mut both = Vec::new();
            for side in [&mut columns, &mut right_columns] {
                match side.iter().position(|column| column.name == name) {
                    Some(at) => both.push(side.remove(at).reads),
                    None if open => {}
                    None => return Err(NotUnderstood::NoSuchColumn(name.to_owned())),
                }
            }
            let reads = Reads::Many(both.into());
            self.read(&reads);
            self.operator(None, "=", false);
            merged.push(Column { name, reads });
        }
        if let Some(alias) = join.join_using_alias() {
            self.see_all(alias)?;
            let mut item = item(alias.aliasname(), merged.clone(), false);
            item.qualified_only = true;
            self.scope_mut(scope)?.items.push(item);
        }
        merged.extend(columns);
        merged.extend(right_columns);

        // ON sees the two operands and, beyond them, what the whole query sees from outside.
        let items = self.scope(scope)?.items.get(first_item..).unwrap_or_default().to_vec();
        let env = self.env(scope)?;
        let inside = self.empty_scope(env);
        self.scope_mut(inside)?.items = items;
        self.tasks.push(Task::Expression(join.quals(), inside, Mode::Plain));

        let Some(alias) = join.alias() else {
            self.parts.push(Part::Columns(merged, open));
            return Ok(());
        };
        self.see_all(alias)?;
        let open = self.rename(&mut merged, alias)? || open;
        for item in self.scope_mut(scope)?.items.iter_mut().skip(first_item) {
            item.hidden = true;
        }
        self.add_item(item(alias.aliasname(), merged, open), scope)
    }

    /// The functions that a call could mean.
    pub(super) fn candidates(&self, call: &'w FuncCall) -> Walked<Vec<FunctionId>> {
        let mut names = Vec::with_capacity(2);
        for name in call.funcname() {
            names.push(name.as_str().ok_or(NotUnderstood::Construct("name of a function"))?);
        }
        let (schema, name) = self.qualified(&names)?;
        let mut arguments = call.args().len();
        if call.agg_within_group {
            arguments += call.agg_order().len();
        }
        let found: Vec<_> =
            self.catalog.find_functions(schema, name, arguments, self.path).collect();
        if found.is_empty() && (schema, name) == (Some("pg_catalog"), "extract") {
            // What EXTRACT is called before PostgreSQL 14.
            let old = self.catalog.find_functions(schema, "date_part", arguments, self.path);
            return Ok(old.collect());
        }
        Ok(found)
    }

    /// The functions that a call could mean besides, with fewer arguments: PostgreSQL drops
    /// parameters of type `void` from a call, for JDBC's `{? = call f(?)}`, and what type a
    /// parameter comes to have can't be told here. Declarations, casts and set operations give it.
    pub(super) fn with_less(&self, call: &'w FuncCall) -> Walked<Vec<FunctionId>> {
        let dropped = call.args().iter().filter(|argument| self.may_be_void(*argument)).count();
        if dropped == 0 {
            return Ok(Vec::new());
        }
        let names: Vec<&str> = call.funcname().iter().filter_map(Node::as_str).collect();
        let (schema, name) = self.qualified(&names)?;
        let most = call.args().len();
        let all = self.catalog.find_functions(schema, name, None, self.path);
        let takes = |id: &FunctionId, count| {
            self.catalog.function(*id).is_some_and(|function| function.takes(count))
        };
        let less = most.saturating_sub(dropped)..most;
        Ok(all
            .filter(|id| !takes(id, most) && less.clone().any(|count| takes(id, count)))
            .collect())
    }

    /// A parameter by itself, or cast to what is no type of values: `"any"` leaves it as it is.
    fn may_be_void(&self, argument: Node<'w>) -> bool {
        let mut node = argument;
        while let Node::TypeCast(cast) = node {
            if cast.type_name().is_some_and(|name| self.is_of_values(name)) {
                return false;
            }
            node = cast.arg();
        }
        matches!(node, Node::ParamRef(_))
    }

    fn is_of_values(&self, type_name: &TypeName) -> bool {
        let names: Vec<&str> = type_name.names().iter().filter_map(|name| name.sval()).collect();
        let Ok((schema, name)) = self.qualified(&names) else { return false };
        let found = self.catalog.find_types(schema, name, self.path);
        !found.is_empty() && found.iter().all(|oid| !self.catalog.is_pseudo(*oid))
    }

    pub(super) fn names(
        &mut self,
        nodes: impl Iterator<Item = impl Into<Node<'w>>>,
    ) -> Walked<Vec<&'w str>> {
        let mut names = Vec::with_capacity(2);
        for node in nodes {
            let node: Node<'w> = node.into();
            self.see(node);
            names.push(node.as_str().ok_or(NotUnderstood::Construct("name"))?);
        }
        Ok(names)
    }
}

/// `unnest(a, b)`, as PostgreSQL tells it from a call of a function that is called so.
fn is_unnest_of_several(call: &FuncCall) -> bool {
    let mut names = call.funcname().iter();
    let plain = call.agg_order().is_empty()
        && matches!(call.agg_filter(), Node::None)
        && call.over().is_none()
        && !call.agg_star
        && !call.agg_distinct
        && !call.func_variadic;
    let unnest = names.next().and_then(Node::as_str) == Some("unnest") && names.next().is_none();
    unnest && plain && call.args().len() > 1
}

/// `anyelement`, `anynonarray`, `anyenum`, `record`, `anycompatible`, `anycompatiblenonarray`:
/// what such a function gives depends on what it is given.
const POLYMORPHIC: [u32; 6] = [2283, 2776, 3500, 2249, 5077, 5079];

pub(super) fn columns_named<'w, 'n>(names: impl Iterator<Item = &'n &'w str>) -> Vec<Column<'w>>
where
    'w: 'n,
{
    names.map(|name| Column { name, reads: Reads::Nothing }).collect()
}

pub(super) fn item<'w>(name: Option<&'w str>, columns: Vec<Column<'w>>, open: bool) -> Item<'w> {
    Item {
        name,
        schema: None,
        relation: None,
        columns: Some(Rc::from(columns)),
        open,
        hidden: false,
        qualified_only: false,
    }
}
