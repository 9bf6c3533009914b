//! Queries: WITH, SELECT, set operations, VALUES, and the statements that write rows.

use std::sync::LazyLock;

use pg_raw_parse::Node;
use pg_raw_parse::nodes::{
    CmdType, DeleteStmt, InsertStmt, MergeMatchKind, MergeStmt, RangeVar, ReturningClause,
    ReturningOptionKind, SelectStmt, SetOperation, UpdateStmt, WithClause,
};

use super::scope::{Columnar, Cte, Env, Item, QueryId, ScopeId};
use super::{Mode, Task, Walk, Walked};
use crate::facts::{Columns, NotUnderstood, ObjectKind};

/// What of a query comes after its FROM, or after a subquery.
pub(super) enum Step<'w> {
    /// The rest of a SELECT; its FROM began at this number of uses and parts.
    Select {
        select: &'w SelectStmt,
        scope: ScopeId,
        query: QueryId,
        uses: usize,
        parts: usize,
    },
    /// A set operation has the columns of its left arm.
    SetOperation {
        query: QueryId,
        left: QueryId,
    },
    /// Columns of an INSERT without a list are as many as its query gives.
    Insert {
        relation: usize,
        rows: QueryId,
    },
    Update {
        update: &'w UpdateStmt,
        target: Target,
        query: QueryId,
    },
    Delete {
        delete: &'w DeleteStmt,
        target: Target,
        query: QueryId,
    },
    Merge {
        merge: &'w MergeStmt,
        target: Target,
        query: QueryId,
    },
}

/// What a statement writes: the use of its relation, the scope that begins with it, and how many
/// parts there were before its FROM.
#[derive(Clone, Copy)]
pub(super) struct Target {
    scope: ScopeId,
    relation: usize,
    parts: usize,
}

impl<'w> Walk<'w> {
    pub(super) fn query(&mut self, node: Node<'w>, env: Env, query: QueryId) -> Walked {
        self.see(node);
        match node {
            Node::SelectStmt(select) => self.select(select, env, query),
            Node::InsertStmt(insert) => self.insert(insert, env, query),
            Node::UpdateStmt(update) => {
                let (env, with) = self.with(update.with_clause(), env)?;
                let target = self.target(update.relation(), env)?;
                self.note_write(target.relation, node);
                self.tasks.push(Task::Step(Step::Update { update, target, query }));
                self.push_from(update.from_clause().iter(), target.scope);
                self.tasks.extend(with);
                Ok(())
            }
            Node::DeleteStmt(delete) => {
                let (env, with) = self.with(delete.with_clause(), env)?;
                let target = self.target(delete.relation(), env)?;
                self.note_write(target.relation, node);
                self.tasks.push(Task::Step(Step::Delete { delete, target, query }));
                self.push_from(delete.using_clause().iter(), target.scope);
                self.tasks.extend(with);
                Ok(())
            }
            Node::MergeStmt(merge) => {
                let (env, with) = self.with(merge.with_clause(), env)?;
                let target = self.target(merge.relation(), env)?;
                self.note_write(target.relation, node);
                self.tasks.push(Task::Step(Step::Merge { merge, target, query }));
                self.tasks.push(Task::From(merge.source_relation(), target.scope));
                self.tasks.extend(with);
                Ok(())
            }
            _ => Err(NotUnderstood::Construct("query")),
        }
    }

    pub(super) fn step(&mut self, step: Step<'w>) -> Walked {
        match step {
            Step::Select { select, scope, query, uses, parts } => {
                self.select_rest(select, scope, query, uses, parts)
            }
            Step::SetOperation { query, left } => {
                let result = self.result(left);
                self.set_result(query, result);
                Ok(())
            }
            Step::Insert { relation, rows } => self.insert_columns(relation, rows),
            Step::Update { update, target: Target { scope, relation, parts }, query } => {
                self.parts.truncate(parts);
                let columns = self.assigned(update.target_list().iter(), relation, scope)?;
                self.use_mut(relation)?.update = Some(columns);
                self.tasks.push(Task::Expression(update.where_clause(), scope, Mode::Plain));
                self.restricts(update.where_clause(), relation);
                self.returning(update.returning_clause(), scope, relation, query)
            }
            Step::Delete { delete, target: Target { scope, relation, parts }, query } => {
                self.parts.truncate(parts);
                self.use_mut(relation)?.delete = true;
                self.tasks.push(Task::Expression(delete.where_clause(), scope, Mode::Plain));
                self.restricts(delete.where_clause(), relation);
                self.returning(delete.returning_clause(), scope, relation, query)
            }
            Step::Merge { merge, target, query } => {
                self.parts.truncate(target.parts);
                self.merge(merge, target, query)
            }
        }
    }

    /// Notes WITH's queries, and gives what sees them and the tasks that walk them.
    fn with(&mut self, clause: Option<&'w WithClause>, env: Env) -> Walked<(Env, Vec<Task<'w>>)> {
        let Some(clause) = clause else { return Ok((env, Vec::new())) };
        self.see(clause);
        let mut inside = env;
        let mut queries = Vec::new();
        for cte in clause.ctes().iter() {
            self.see(cte);
            for name in cte.aliascolnames() {
                self.see(name);
            }
            if let Some(search) = cte.search_clause() {
                self.see_all(search)?;
            }
            if let Some(cycle) = cte.cycle_clause() {
                // Mark and default are constants.
                self.see_all(cycle)?;
                self.operator(None, "<>", false);
            }
            let query = self.new_query();
            // Without RECURSIVE a query sees those before it, and not itself.
            queries.push((cte.ctequery(), inside, query));
            self.ctes.push(Cte { clause: cte, query, next: inside.ctes });
            inside.ctes = Some(self.ctes.len() - 1);
        }
        let mut tasks = Vec::with_capacity(queries.len());
        for (node, before, query) in queries.into_iter().rev() {
            let env = if clause.recursive { inside } else { before };
            tasks.push(Task::Query(node, env, query));
        }
        Ok((inside, tasks))
    }

    fn push_from(&mut self, items: impl DoubleEndedIterator<Item = Node<'w>>, scope: ScopeId) {
        self.tasks.extend(items.rev().map(|item| Task::From(item, scope)));
    }

    fn select(&mut self, select: &'w SelectStmt, env: Env, query: QueryId) -> Walked {
        let (env, with) = self.with(select.with_clause(), env)?;
        if let Some(into) = select.into_clause() {
            self.created(into, ObjectKind::Table, "select into")?;
        }
        let one_select = select.op == SetOperation::SETOP_NONE && select.values_lists().is_empty();
        if !one_select && !select.locking_clause().is_empty() {
            // The server has no rows to lock there, and says so.
            return Err(NotUnderstood::Construct("FOR UPDATE"));
        }
        if select.op != SetOperation::SETOP_NONE {
            let (Some(left), Some(right)) = (select.larg(), select.rarg()) else {
                return Err(NotUnderstood::Construct("set operation"));
            };
            let scope = self.empty_scope(env);
            self.set_operation_end(select, scope, query);
            let (left_query, right_query) = (self.new_query(), self.new_query());
            self.tasks.push(Task::Query(Node::from(right), env, right_query));
            self.tasks.push(Task::Step(Step::SetOperation { query, left: left_query }));
            self.tasks.push(Task::Query(Node::from(left), env, left_query));
            self.comparison();
        } else if !select.values_lists().is_empty() {
            let scope = self.empty_scope(env);
            let mut width = 0;
            for list in select.values_lists() {
                let Node::NodeList(list) = list else {
                    return Err(NotUnderstood::Construct("VALUES"));
                };
                width = width.max(list.len());
                self.expressions(list.iter(), scope);
            }
            let names = VALUES_NAMES.iter().take(width).map(String::as_str).collect();
            let open = width > VALUES_NAMES.len();
            self.set_result(query, Columnar { names: Some(names), open });
            self.set_operation_end(select, scope, query);
        } else {
            let scope = self.empty_scope(env);
            let (uses, parts) = (self.facts.relations.len(), self.parts.len());
            self.tasks.push(Task::Step(Step::Select { select, scope, query, uses, parts }));
            self.push_from(select.from_clause().iter(), scope);
        }
        self.tasks.extend(with);
        Ok(())
    }

    /// ORDER BY and LIMIT, which VALUES and set operations have too.
    fn set_operation_end(&mut self, select: &'w SelectStmt, scope: ScopeId, query: QueryId) {
        self.expressions([select.limit_offset(), select.limit_count()], scope);
        for sort in select.sort_clause().iter() {
            self.tasks.push(Task::Expression(Node::from(sort), scope, Mode::OrderBy(query)));
        }
    }

    fn select_rest(
        &mut self,
        select: &'w SelectStmt,
        scope: ScopeId,
        query: QueryId,
        uses: usize,
        parts: usize,
    ) -> Walked {
        // What `*` alone means: the operands, one after the other.
        let mut all = (Vec::new(), false);
        for part in self.parts.split_off(parts) {
            let (columns, open) = self.columns_of_part(&part)?;
            all.0.extend(columns.into_iter().map(|column| column.name));
            all.1 |= open;
        }
        let result = self.targets(select.target_list().iter().map(Node::from), scope, &all)?;
        self.set_result(query, result);

        self.set_operation_end(select, scope, query);
        self.expressions([select.where_clause(), select.having_clause()], scope);
        self.expressions(select.window_clause().iter(), scope);
        for group in select.group_clause() {
            self.tasks.push(Task::Expression(group, scope, Mode::GroupBy(query)));
        }
        for distinct in select.distinct_clause() {
            self.tasks.push(Task::Expression(distinct, scope, Mode::OrderBy(query)));
        }
        if !select.group_clause().is_empty() || !select.distinct_clause().is_empty() {
            self.comparison();
        }
        self.note_group(select, scope)?;

        let now = self.facts.relations.len();
        for locking in select.locking_clause().iter() {
            self.see_all(locking)?;
            self.facts.writes = true;
            for name in locking.locked_rels() {
                let Node::RangeVar(range) = name else {
                    return Err(NotUnderstood::Construct("FOR UPDATE"));
                };
                let item = self.find_item(None, range.relname().unwrap_or_default(), scope)?;
                if let Some((_, relation)) = item.relation {
                    self.use_mut(relation)?.lock_rows = true;
                }
            }
            // All of FROM, and what its subqueries read; so too where a subquery is named.
            let subquery = locking.locked_rels().iter().any(|name| {
                let name = match name {
                    Node::RangeVar(range) => range.relname().unwrap_or_default(),
                    _ => "",
                };
                self.find_item(None, name, scope).is_ok_and(|item| item.relation.is_none())
            });
            if locking.locked_rels().is_empty() || subquery {
                for used in self.facts.relations.iter_mut().take(now).skip(uses) {
                    used.lock_rows = true;
                }
            }
        }
        Ok(())
    }

    /// A list of targets: walks it, and gives the columns it makes.
    fn targets(
        &mut self,
        targets: impl Iterator<Item = Node<'w>>,
        scope: ScopeId,
        all: &(Vec<&'w str>, bool),
    ) -> Walked<Columnar<'w>> {
        let mut names: Vec<&'w str> = Vec::new();
        let mut open = false;
        for target in targets {
            let Node::ResTarget(target) = target else {
                return Err(NotUnderstood::Construct("list of targets"));
            };
            self.see(target);
            self.expressions(target.indirection().iter(), scope);
            self.tasks.push(Task::Expression(target.val(), scope, Mode::Plain));
            match target.val() {
                Node::ColumnRef(column)
                    if matches!(column.fields().iter().next_back(), Some(Node::A_Star(_))) =>
                {
                    let (columns, more) = self.star(column.fields(), scope, all)?;
                    names.extend(columns);
                    open |= more;
                }
                Node::A_Indirection(arg)
                    if matches!(arg.indirection().iter().next_back(), Some(Node::A_Star(_))) =>
                {
                    open = true;
                }
                value => {
                    names.push(target.name().unwrap_or_else(|| super::figured::figure_name(value)));
                }
            }
        }
        Ok(Columnar { names: Some(names.into()), open })
    }

    /// The relation that a statement writes, in a scope of its own.
    fn target(&mut self, range: Option<&'w RangeVar>, env: Env) -> Walked<Target> {
        let range = range.ok_or(NotUnderstood::Construct("target"))?;
        let relation = self.relation_use(range)?;
        self.note_use(relation, range, true);
        let item = self.relation_item(range, relation)?;
        let scope = self.empty_scope(env);
        self.scope_mut(scope)?.items.push(item);
        self.facts.writes = true;
        self.casts.extend(self.catalog.assignment_casts());
        Ok(Target { scope, relation, parts: self.parts.len() })
    }

    fn use_mut(&mut self, number: usize) -> Walked<&mut crate::facts::RelationUse> {
        self.facts.relations.get_mut(number).ok_or(NotUnderstood::Unvisited)
    }

    /// `column = value, …`: walks the values, and gives the columns.
    fn assigned(
        &mut self,
        targets: impl Iterator<Item = impl Into<Node<'w>>>,
        relation: usize,
        scope: ScopeId,
    ) -> Walked<Columns> {
        let mut columns = Columns::default();
        for target in targets {
            let Node::ResTarget(target) = target.into() else {
                return Err(NotUnderstood::Construct("assignment"));
            };
            self.see(target);
            let name = target.name().unwrap_or_default();
            columns.numbers.insert(self.column_number(relation, name)?);
            self.expressions(target.indirection().iter(), scope);
            self.tasks.push(Task::Expression(target.val(), scope, Mode::Plain));
        }
        Ok(columns)
    }

    fn insert(&mut self, insert: &'w InsertStmt, env: Env, query: QueryId) -> Walked {
        let (env, with) = self.with(insert.with_clause(), env)?;
        let Target { scope, relation, .. } = self.target(insert.relation(), env)?;
        self.note_write(relation, Node::InsertStmt(insert));
        let rows = self.new_query();
        if insert.cols().is_empty() {
            match insert.select_stmt() {
                Node::None => self.use_mut(relation)?.insert = Some(Columns::default()),
                _ => self.tasks.push(Task::Step(Step::Insert { relation, rows })),
            }
        } else {
            let columns = self.assigned(insert.cols().iter(), relation, scope)?;
            self.use_mut(relation)?.insert = Some(columns);
        }

        self.returning(insert.returning_clause(), scope, relation, query)?;
        if let Some(conflict) = insert.on_conflict_clause() {
            self.see(conflict);
            let conflicting = self.empty_scope(env);
            let target = self.scope(scope)?.items.first().cloned();
            let target = target.ok_or(NotUnderstood::Unvisited)?;
            // The row that was to be inserted. PostgreSQL wants the right to read a column of it
            // as it does for the table's own.
            let excluded = Item { name: Some("excluded"), schema: None, ..target.clone() };
            self.scope_mut(conflicting)?.items = vec![target.clone(), excluded];
            if let Some(infer) = conflict.infer() {
                self.see(infer);
                for element in infer.index_elems() {
                    let Node::IndexElem(element) = element else {
                        return Err(NotUnderstood::Construct("ON CONFLICT"));
                    };
                    self.see(element);
                    for node in element.collation().iter().chain(element.opclass()) {
                        self.see_all(node)?;
                    }
                    for node in element.opclassopts() {
                        self.see_all(node)?;
                    }
                    if let Some(name) = element.name() {
                        let number = self.column_number(relation, name)?;
                        let read = self.use_mut(relation)?.read.get_or_insert_default();
                        read.numbers.insert(number);
                    }
                    self.expressions([element.expr()], scope);
                }
                self.expressions([infer.where_clause()], scope);
                if let Some(name) = infer.conname() {
                    self.arbiter(relation, name, &target)?;
                }
            }
            if !conflict.target_list().is_empty() {
                let columns =
                    self.assigned(conflict.target_list().iter(), relation, conflicting)?;
                self.use_mut(relation)?.update = Some(columns);
            }
            self.expressions([conflict.where_clause()], conflicting);
        }
        if !matches!(insert.select_stmt(), Node::None) {
            self.tasks.push(Task::Query(insert.select_stmt(), env, rows));
        }
        self.tasks.extend(with);
        Ok(())
    }

    /// ON CONFLICT ON CONSTRAINT reads its columns; those of one that isn't known may be any.
    fn arbiter(&mut self, relation: usize, name: &str, target: &Item<'w>) -> Walked {
        let used = self.use_mut(relation)?.relation;
        let constraints = used.and_then(|id| self.catalog.relation(id)).map(|r| &r.constraints);
        let found = constraints.into_iter().flatten().find(|c| &*c.name == name);
        match found.filter(|constraint| !constraint.columns.is_empty()) {
            Some(constraint) => {
                let read = self.use_mut(relation)?.read.get_or_insert_default();
                read.numbers.extend(&constraint.columns);
            }
            None => self.read_row(target, false),
        }
        Ok(())
    }

    fn insert_columns(&mut self, relation: usize, rows: QueryId) -> Walked {
        let result = self.result(rows);
        let width = match result.names {
            Some(names) if !result.open => names.len(),
            _ => usize::MAX,
        };
        let id = self.use_mut(relation)?.relation;
        let all = id.and_then(|id| self.catalog.relation(id)).map(|relation| &relation.columns);
        let numbers = all.into_iter().flatten().take(width).map(|column| column.number).collect();
        self.use_mut(relation)?.insert = Some(Columns { numbers, ..Columns::default() });
        Ok(())
    }

    fn returning(
        &mut self,
        clause: Option<&'w ReturningClause>,
        scope: ScopeId,
        relation: usize,
        query: QueryId,
    ) -> Walked {
        let Some(clause) = clause else {
            self.set_result(query, Columnar { names: Some([].into()), open: false });
            return Ok(());
        };
        self.see(clause);
        let inside = self.empty_scope(self.env(scope)?);
        let mut items = self.scope(scope)?.items.clone();
        let target = items
            .iter()
            .find(|item| item.relation.is_some_and(|(_, number)| number == relation))
            .cloned()
            .ok_or(NotUnderstood::Unvisited)?;
        let (mut old, mut new) = (Some("old"), Some("new"));
        for option in clause.options().iter() {
            self.see(option);
            match option.option {
                ReturningOptionKind::RETURNING_OPTION_OLD => old = option.value(),
                ReturningOptionKind::RETURNING_OPTION_NEW => new = option.value(),
                _ => return Err(NotUnderstood::Construct("RETURNING")),
            }
        }
        // `*` is what stood there before.
        let mut all = (Vec::new(), false);
        for item in items.iter().filter(|item| !item.hidden && !item.qualified_only) {
            all.0.extend(self.columns_of(item).into_iter().map(|column| column.name));
            all.1 |= item.open;
        }
        for name in [old, new] {
            if items.iter().all(|item| item.name != name) {
                items.push(Item { name, schema: None, qualified_only: true, ..target.clone() });
            }
        }
        self.scope_mut(inside)?.items = items;
        let result = self.targets(clause.exprs().iter(), inside, &all)?;
        self.set_result(query, result);
        Ok(())
    }

    fn merge(&mut self, merge: &'w MergeStmt, target: Target, query: QueryId) -> Walked {
        let Target { scope, relation, .. } = target;
        self.tasks.push(Task::Expression(merge.join_condition(), scope, Mode::Plain));
        let touches = |command| matches!(command, CmdType::CMD_UPDATE | CmdType::CMD_DELETE);
        let by_source = MergeMatchKind::MERGE_WHEN_NOT_MATCHED_BY_SOURCE;
        let mut changes = merge.merge_when_clauses().iter().filter(|w| touches(w.command_type));
        if changes.clone().any(|when| when.match_kind == by_source) {
            // Rows that the condition leaves out are changed, too.
            self.restricts(Node::None, relation);
        } else if changes.next().is_some() {
            self.restricts(merge.join_condition(), relation);
        }
        // For rows that the target lacks only the source is in sight.
        let source = self.empty_scope(self.env(scope)?);
        let items = self.scope(scope)?.items.iter();
        let others =
            items.filter(|item| item.relation.is_none_or(|(_, number)| number != relation));
        self.scope_mut(source)?.items = others.cloned().collect();
        for when in merge.merge_when_clauses().iter() {
            self.see(when);
            let scope = match when.match_kind {
                MergeMatchKind::MERGE_WHEN_NOT_MATCHED_BY_TARGET => source,
                _ => scope,
            };
            self.expressions([when.condition()], scope);
            self.expressions(when.values().iter(), scope);
            match when.command_type {
                CmdType::CMD_UPDATE => {
                    let columns = self.assigned(when.target_list().iter(), relation, scope)?;
                    let update = self.use_mut(relation)?.update.get_or_insert_default();
                    update.numbers.extend(columns.numbers);
                }
                CmdType::CMD_INSERT => {
                    let mut columns = self.assigned(when.target_list().iter(), relation, scope)?;
                    if when.target_list().is_empty() {
                        let id = self.use_mut(relation)?.relation;
                        let all = id.and_then(|id| self.catalog.relation(id));
                        let all = all.map(|relation| &relation.columns).into_iter().flatten();
                        let given = all.take(when.values().len()).map(|column| column.number);
                        columns.numbers.extend(given);
                    }
                    let insert = self.use_mut(relation)?.insert.get_or_insert_default();
                    insert.numbers.extend(columns.numbers);
                }
                CmdType::CMD_DELETE => self.use_mut(relation)?.delete = true,
                // The server asks for the right to read where no other would be asked for.
                CmdType::CMD_NOTHING => {
                    self.use_mut(relation)?.read.get_or_insert_default();
                }
                _ => return Err(NotUnderstood::Construct("MERGE")),
            }
        }
        self.returning(merge.returning_clause(), scope, relation, query)
    }
}

/// The names of the columns of VALUES; the server takes no more of them.
static VALUES_NAMES: LazyLock<Vec<String>> =
    LazyLock::new(|| (1..=1664).map(|number| format!("column{number}")).collect());
