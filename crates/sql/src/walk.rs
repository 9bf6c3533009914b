//! From a tree to its facts: the work list, and statements that aren't queries.
//!
//! Trees can be a hundred thousand deep, so nothing here recurses into them: what is still to do
//! stands on a list, last in first out, in the order in which names come into being. At the end
//! every node that the grammar's table reaches must have been looked at; else the statement is
//! refused, whatever the walk believes. Queries are in `query`, FROM in `from`, expressions in
//! `expression`, relations by name in `named`, names in sight in `scope`, notes for rewriting in `noting`.

mod alter;
mod change;
mod command;
mod define;
mod expression;
mod figured;
mod from;
mod json;
mod named;
mod noting;
mod object;
mod query;
mod restrict;
mod scope;
mod setting;
mod table;

use std::cell::Cell;
use std::collections::BTreeSet;

use pg_raw_parse::Node;
use pg_raw_parse::nodes::{
    CopyStmt, DefElem, DiscardMode, DropBehavior, ObjectType, TransactionStmtKind,
};

use self::change::Change;
use self::from::Join;
use self::restrict::Condition;
use self::scope::{Columnar, Cte, Env, Item, Part, QueryId, Reads, Scope, ScopeId};
use self::setting::{Stay, given, is_off};
use crate::catalog::{Catalog, Function, FunctionId, Path};
use crate::facts::{
    ChannelUse, Columns, CommandUse, Copy, Effect, Facts, Kind, NotUnderstood, ObjectKind,
    RelationUse, Transaction,
};

use crate::nodes::{address, children};
use crate::rewrite::{Disguises, Notes};

/// Room that a statement of ordinary length needs, so that lists don't grow from nothing each time.
const TASKS_USUAL: usize = 16;
const NODES_USUAL: usize = 64;

type Walked<T = ()> = Result<T, NotUnderstood>;

/// The facts of one statement of `text`.
pub(crate) fn facts(
    statement: Node<'_>,
    text: &str,
    catalog: &Catalog,
    path: &Path,
    nodes_max: usize,
    failed_at: &Cell<Option<usize>>,
) -> Walked<Facts> {
    let walked = walked(statement, text, catalog, path, nodes_max, None, failed_at);
    walked.map(|(facts, _)| facts)
}

/// Likewise, and what rewriting it needs to know, if there are disguises. Of a relation or a column
/// that isn't there the place goes to `failed_at`.
pub(crate) fn walked<'w>(
    statement: Node<'w>,
    text: &'w str,
    catalog: &'w Catalog,
    path: &'w Path,
    nodes_max: usize,
    disguises: Option<&'w Disguises>,
    failed_at: &'w Cell<Option<usize>>,
) -> Walked<(Facts, Option<Notes<'w>>)> {
    let mut walk = Walk {
        text,
        catalog,
        path,
        facts: Facts::new(Kind::Empty),
        tasks: Vec::with_capacity(TASKS_USUAL),
        scopes: Vec::new(),
        queries: Vec::new(),
        ctes: Vec::new(),
        parts: Vec::new(),
        seen: Vec::with_capacity(NODES_USUAL),
        below: Vec::with_capacity(TASKS_USUAL),
        maybe: BTreeSet::new(),
        casts: BTreeSet::new(),
        types: BTreeSet::new(),
        any_type: false,
        values_made: false,
        making: None,
        failed_at,
        change: Change::default(),
        notes: disguises.map(|disguises| Box::new(Notes::new(disguises))),
        conditions: Vec::new(),
        reference: None,
        references: Vec::new(),
    };
    walk.statement(statement)?;
    while let Some(task) = walk.tasks.pop() {
        if walk.seen.len() > nodes_max || walk.tasks.len() > nodes_max {
            return Err(NotUnderstood::TooManyNodes);
        }
        walk.run(task)?;
    }
    walk.settle();
    if let Node::SelectStmt(select) = statement {
        walk.setting_of_settings(select);
    }
    if matches!(walk.facts.kind, Kind::Explain { analyze: false }) {
        walk.facts.writes = false;
        walk.facts.changes_names = false;
    } else {
        let made = |used: &CommandUse| {
            matches!(used.effect, Effect::Create | Effect::Alter | Effect::Drop)
        };
        walk.facts.changes_names |= walk.facts.commands.iter().any(made)
            || walk.facts.opaque.is_some()
            || walk.names_follow_a_setting();
        walk.facts.change = walk.steps();
    }
    // Not of what a rule or a function will do, some time.
    if !matches!(walk.facts.kind, Kind::Command(_)) {
        walk.facts.restricted = walk.all_restrict();
    }
    walk.check_that_all_was_seen(statement, nodes_max)?;
    Ok((walk.facts, walk.notes.map(|notes| *notes)))
}

struct Walk<'w> {
    text: &'w str,
    catalog: &'w Catalog,
    path: &'w Path,
    facts: Facts,
    tasks: Vec<Task<'w>>,
    scopes: Vec<Scope<'w>>,
    queries: Vec<Columnar<'w>>,
    ctes: Vec<Cte<'w>>,
    /// What FROM has put together so far: operands of joins, innermost last.
    parts: Vec<Part<'w>>,
    /// Addresses of the nodes that were looked at.
    seen: Vec<usize>,
    /// Room for the children of one node.
    below: Vec<Node<'w>>,
    /// Functions that are called only if values of their types are there: behind operators that
    /// the server has too, and what compares.
    maybe: BTreeSet<FunctionId>,
    /// Functions of casts: called only if what they make is wanted, besides.
    casts: BTreeSet<FunctionId>,
    /// The types other than the server's own that values in the statement can have.
    types: BTreeSet<u32>,
    /// They can't be told: parameters, ranges.
    any_type: bool,
    /// Something makes values of types that no cast names.
    values_made: bool,
    /// The schema that CREATE SCHEMA makes, and the relations that it makes in it.
    making: Option<(String, Vec<&'w str>)>,
    change: Change,
    /// Where the text names what isn't there.
    failed_at: &'w Cell<Option<usize>>,
    /// Taken only where something is disguised.
    notes: Option<Box<Notes<'w>>>,
    /// What is written, and under which conditions.
    conditions: Vec<Condition<'w>>,
    /// The reference that is looked at, by its address, and what those so far have read.
    reference: Option<usize>,
    references: Vec<(usize, Reads)>,
}

enum Task<'w> {
    Expression(Node<'w>, ScopeId, Mode),
    Query(Node<'w>, Env, QueryId),
    /// One item of FROM; leaves a part.
    From(Node<'w>, ScopeId),
    /// Adds an item whose own expressions have been walked; leaves a part.
    Add(Item<'w>, ScopeId),
    /// Adds the result of a subquery as an item; leaves a part.
    AddQuery(&'w pg_raw_parse::nodes::RangeSubselect, QueryId, ScopeId),
    Join(Join<'w>),
    /// A part of a query, once what comes before it is known.
    Step(query::Step<'w>),
}

/// Where an expression stands, as far as that changes how a bare name is read.
#[derive(Clone, Copy)]
enum Mode {
    Plain,
    /// Input columns before output columns.
    GroupBy(QueryId),
    /// Output columns before input columns.
    OrderBy(QueryId),
}

impl<'w> Walk<'w> {
    fn run(&mut self, task: Task<'w>) -> Walked {
        match task {
            Task::Expression(node, scope, mode) => self.expression(node, scope, mode),
            Task::Query(node, env, query) => self.query(node, env, query),
            Task::From(node, scope) => self.item_of_from(node, scope),
            Task::Add(item, scope) => self.add_item(item, scope),
            Task::AddQuery(subselect, query, scope) => {
                let item = self.subselect_item(subselect, query)?;
                self.add_item(item, scope)
            }
            Task::Join(join) => self.join_end(join),
            Task::Step(step) => self.step(step),
        }
    }

    fn see(&mut self, node: impl Into<Node<'w>>) {
        self.seen.extend(address(node.into()));
    }

    /// Looks at a node and all below it: for what has no meaning of its own (names, constant
    /// options), or one that was read already.
    fn see_all(&mut self, node: impl Into<Node<'w>>) -> Walked {
        let mut open = vec![node.into()];
        while let Some(node) = open.pop() {
            self.see(node);
            children(node, &mut open).map_err(|_| NotUnderstood::Construct("option"))?;
        }
        Ok(())
    }

    fn check_that_all_was_seen(&mut self, root: Node<'w>, nodes_max: usize) -> Walked {
        self.seen.sort_unstable();
        self.seen.dedup();
        let mut open = Vec::with_capacity(TASKS_USUAL);
        open.push(root);
        let mut count = 0;
        while let Some(node) = open.pop() {
            if let Some(address) = address(node)
                && self.seen.binary_search(&address).is_err()
            {
                return Err(NotUnderstood::Unvisited);
            }
            count += 1;
            // A source that many columns share is reached once for each.
            if count > nodes_max.saturating_mul(2) {
                return Err(NotUnderstood::TooManyNodes);
            }
            children(node, &mut open).map_err(|_| NotUnderstood::Unvisited)?;
        }
        Ok(())
    }

    fn note_type(&mut self, oid: u32) {
        if !self.catalog.add_types(oid, &mut self.types) {
            self.any_type = true;
        }
    }

    fn note_functions(&mut self, functions: impl IntoIterator<Item = FunctionId>) {
        for id in functions {
            self.facts.functions.insert(id);
            let Some(function) = self.catalog.function(id) else { continue };
            self.facts.named_computed |= function.arguments.contains(&expression::REGCLASS);
            self.facts.channel_computed |=
                &*function.name == "pg_notify" && self.catalog.is_system(function.schema);
            self.values_made |= makes_values(function);
            if self.catalog.is_system(function.schema) {
                if expression::CAST_TO_TEXT.contains(&&*function.name) {
                    self.casts_to(expression::TEXT);
                }
                if json::MAKE_JSON.contains(&&*function.name) {
                    self.makes_json();
                }
            }
            for oid in function.arguments.iter().chain([&function.returns]) {
                self.note_type(*oid);
            }
        }
    }

    /// Keeps of the functions that may be called those that could be.
    fn settle(&mut self) {
        let relations = std::mem::take(&mut self.facts.relations);
        for used in &relations {
            let columns = used.relation.and_then(|id| self.catalog.relation(id));
            let written = used.insert.is_some() || used.update.is_some();
            for column in columns.into_iter().flat_map(|relation| &relation.columns) {
                let read = used.read.as_ref().is_some_and(|r| r.numbers.contains(&column.number));
                if read || written {
                    self.note_type(column.type_oid);
                }
            }
        }
        self.facts.relations = relations;
        // What one makes is there for the others.
        loop {
            let before = self.types.len();
            for id in std::mem::take(&mut self.maybe) {
                if self.any_type || self.catalog.could_take(id, &self.types) {
                    self.note_functions([id]);
                } else {
                    self.maybe.insert(id);
                }
            }
            for id in std::mem::take(&mut self.casts) {
                let there = self.catalog.could_take(id, &self.types)
                    && self.catalog.could_want(id, &self.types);
                if self.any_type || there {
                    self.note_functions([id]);
                } else {
                    self.casts.insert(id);
                }
            }
            if self.types.len() == before {
                break;
            }
        }
        if self.values_made {
            for oid in &self.types {
                self.catalog.add_domain_calls(*oid, &mut self.facts.functions);
            }
        }
        self.catalog.add_calls_of(&mut self.facts.functions);
    }

    fn expressions<N: Into<Node<'w>>>(
        &mut self,
        nodes: impl IntoIterator<Item = N>,
        scope: ScopeId,
    ) {
        let tasks = nodes.into_iter().map(|n| Task::Expression(n.into(), scope, Mode::Plain));
        self.tasks.extend(tasks);
    }

    fn statement(&mut self, node: Node<'w>) -> Walked {
        self.see(node);
        self.facts.kind = match node {
            Node::None => Kind::Empty,
            Node::SelectStmt(select) => {
                self.top_query(node);
                // SELECT INTO; in a set operation it stands in the leftmost arm.
                let mut leftmost = select;
                while let Some(left) = leftmost.larg() {
                    leftmost = left;
                }
                match leftmost.into_clause() {
                    Some(_) => Kind::CreateTableAs,
                    None => Kind::Select,
                }
            }
            Node::InsertStmt(_) => self.top_write(node, Kind::Insert),
            Node::UpdateStmt(_) => self.top_write(node, Kind::Update),
            Node::DeleteStmt(_) => self.top_write(node, Kind::Delete),
            Node::MergeStmt(_) => self.top_write(node, Kind::Merge),
            Node::ExplainStmt(explain) => {
                let analyze = self.explain_runs(explain.options().iter())?;
                self.statement(explain.query())?;
                Kind::Explain { analyze }
            }
            Node::PrepareStmt(prepare) => {
                for type_name in prepare.argtypes().iter() {
                    self.cast_to(type_name)?;
                }
                self.statement(prepare.query())?;
                self.facts.handle = prepare.name().map(str::to_owned);
                Kind::Prepare
            }
            Node::ExecuteStmt(execute) => {
                let scope = self.empty_scope(Env::default());
                self.expressions(execute.params().iter(), scope);
                self.facts.given = execute.params().iter().map(given).collect();
                self.facts.handle = execute.name().map(str::to_owned);
                // What it runs is for whoever keeps the prepared statements to say.
                self.facts.writes = true;
                Kind::Execute
            }
            Node::DeallocateStmt(deallocate) => {
                self.facts.handle = Some(deallocate.name().unwrap_or_default().to_owned());
                Kind::Deallocate
            }
            Node::CreateTableAsStmt(create) => {
                let into = create.into().ok_or(NotUnderstood::Construct("CREATE TABLE AS"))?;
                let (kind, name) = match create.objtype {
                    ObjectType::OBJECT_MATVIEW => {
                        (ObjectKind::MaterializedView, "create materialized view")
                    }
                    _ => (ObjectKind::Table, "create table as"),
                };
                self.created(into, kind, name)?;
                self.statement(create.query())?;
                self.facts.writes = true;
                Kind::CreateTableAs
            }
            Node::DeclareCursorStmt(declare) => {
                self.statement(declare.query())?;
                self.facts.handle = declare.portalname().map(str::to_owned);
                Kind::DeclareCursor
            }
            Node::FetchStmt(fetch) => {
                self.facts.handle = fetch.portalname().map(str::to_owned);
                Kind::Fetch
            }
            Node::ClosePortalStmt(close) => {
                self.facts.handle = Some(close.portalname().unwrap_or_default().to_owned());
                Kind::CloseCursor
            }
            Node::CopyStmt(copy) => self.copy(copy)?,
            Node::TransactionStmt(transaction) => {
                for option in transaction.options().iter() {
                    self.see_all(option)?;
                }
                Kind::Transaction(match transaction.kind {
                    TransactionStmtKind::TRANS_STMT_BEGIN
                    | TransactionStmtKind::TRANS_STMT_START => Transaction::Begin,
                    TransactionStmtKind::TRANS_STMT_COMMIT => Transaction::Commit,
                    TransactionStmtKind::TRANS_STMT_ROLLBACK => Transaction::Rollback,
                    TransactionStmtKind::TRANS_STMT_SAVEPOINT => Transaction::Savepoint,
                    TransactionStmtKind::TRANS_STMT_RELEASE => Transaction::Release,
                    TransactionStmtKind::TRANS_STMT_ROLLBACK_TO => Transaction::RollbackTo,
                    TransactionStmtKind::TRANS_STMT_PREPARE
                    | TransactionStmtKind::TRANS_STMT_COMMIT_PREPARED
                    | TransactionStmtKind::TRANS_STMT_ROLLBACK_PREPARED => {
                        self.facts.writes = true;
                        self.facts.outside_transaction = true;
                        self.other(
                            match transaction.kind {
                                TransactionStmtKind::TRANS_STMT_PREPARE => "prepare transaction",
                                TransactionStmtKind::TRANS_STMT_COMMIT_PREPARED => {
                                    "commit prepared"
                                }
                                _ => "rollback prepared",
                            },
                            None,
                        );
                        Transaction::TwoPhase
                    }
                    _ => return Err(NotUnderstood::Construct("transaction command")),
                })
            }
            Node::VariableSetStmt(set) => {
                self.set(set, Stay::Here)?;
                Kind::Set
            }
            Node::VariableShowStmt(show) => {
                self.show(show.name().unwrap_or_default());
                Kind::Show
            }
            Node::DiscardStmt(discard) => {
                match discard.target {
                    DiscardMode::DISCARD_ALL => {
                        self.reset_all();
                        self.facts.changes_names = true;
                        self.facts.handle = Some(String::new());
                        self.facts.outside_transaction = true;
                    }
                    DiscardMode::DISCARD_TEMP => self.facts.changes_names = true,
                    DiscardMode::DISCARD_PLANS | DiscardMode::DISCARD_SEQUENCES => {}
                    _ => return Err(NotUnderstood::Construct("DISCARD")),
                }
                Kind::Discard
            }
            Node::ListenStmt(listen) => {
                let name = listen.conditionname().unwrap_or_default().to_owned();
                self.facts.channels.push(ChannelUse::Listen(name));
                Kind::Listen
            }
            Node::UnlistenStmt(unlisten) => {
                let name = unlisten.conditionname().map(str::to_owned);
                self.facts.channels.push(ChannelUse::Unlisten(name));
                Kind::Unlisten
            }
            Node::NotifyStmt(notify) => {
                let name = notify.conditionname().unwrap_or_default().to_owned();
                self.facts.channels.push(ChannelUse::Notify(name));
                self.facts.writes = true;
                Kind::Notify
            }
            Node::LockStmt(lock) => {
                // ACCESS SHARE is 1.
                let strong = lock.mode != 1;
                for node in lock.relations().iter() {
                    self.named_relation(node)?.lock = Some(strong);
                }
                Kind::Lock
            }
            Node::TruncateStmt(truncate) => {
                for node in truncate.relations().iter() {
                    self.named_relation(node)?.truncate = true;
                }
                if truncate.behavior == DropBehavior::DROP_CASCADE {
                    self.truncate_cascades();
                }
                self.facts.writes = true;
                Kind::Truncate
            }
            Node::CallStmt(call) => {
                let call = call.funccall().ok_or(NotUnderstood::Construct("CALL"))?;
                self.see(call);
                let names = self.names(call.funcname().iter())?;
                let (schema, name) = self.qualified(&names)?;
                // Arguments that only give something out may be written or not.
                let procedures: Vec<_> =
                    self.catalog.find_functions(schema, name, None, self.path).collect();
                if procedures.is_empty() {
                    return Err(NotUnderstood::NoSuchFunction(names.join(".")));
                }
                self.note_functions(procedures);
                self.casts.extend(self.catalog.implicit_casts());
                let scope = self.empty_scope(Env::default());
                self.expressions(call.args().iter(), scope);
                self.facts.writes = true;
                // What a procedure does is what a function does, but it can end transactions.
                self.facts.changes_names = true;
                Kind::Command("call")
            }
            node => {
                self.facts.writes = true;
                Kind::Command(self.command(node)?)
            }
        };
        Ok(())
    }

    /// Relations that are emptied although the text doesn't name them: the rights to it are asked
    /// for each of them.
    fn truncate_cascades(&mut self) {
        let named = self.facts.relations.iter();
        let named = named.filter_map(|used| Some((used.relation?, used.only))).collect();
        let end = self.facts.relations.last().map_or(0, |used| used.place.end);
        for relation in self.catalog.truncated_with(named) {
            let mut used = RelationUse::new(Some(relation), end..end);
            used.truncate = true;
            used.only = true;
            used.command = true;
            self.facts.relations.push(used);
        }
    }

    fn top_query(&mut self, node: Node<'w>) {
        let query = self.new_query();
        self.tasks.push(Task::Query(node, Env::default(), query));
        self.casts.extend(self.catalog.implicit_casts());
    }

    fn top_write(&mut self, node: Node<'w>, kind: Kind) -> Kind {
        self.top_query(node);
        kind
    }

    fn explain_runs(&mut self, options: impl Iterator<Item = &'w DefElem>) -> Walked<bool> {
        let mut analyze = false;
        for option in options {
            self.see_all(option)?;
            if option.defname() == Some("analyze") {
                analyze = !is_off(option);
            }
        }
        Ok(analyze)
    }

    fn copy(&mut self, copy: &'w CopyStmt) -> Walked<Kind> {
        for option in copy.options().iter() {
            self.see_all(option)?;
        }
        let kind = match (copy.is_from, copy.is_program, copy.filename()) {
            (true, true, _) => Copy::FromProgram,
            (false, true, _) => Copy::ToProgram,
            (true, _, Some(_)) => Copy::FromFile,
            (false, _, Some(_)) => Copy::ToFile,
            (true, ..) => Copy::FromClient,
            (false, ..) => Copy::ToClient,
        };
        self.facts.writes = kind != Copy::ToClient;
        if let Some(range) = copy.relation() {
            let relation = self.relation_use(range)?;
            let mut columns = Columns::default();
            for name in copy.attlist().iter() {
                self.see(name);
                let name = name.as_str().unwrap_or_default();
                columns.numbers.insert(self.column_number(relation, name)?);
            }
            if copy.attlist().is_empty() {
                // Generated columns aren't copied.
                columns.numbers.extend(self.stored_columns(relation));
            }
            self.note_copy(copy, relation);
            let scope = self.empty_scope(Env::default());
            let item = self.relation_item(range, relation)?;
            self.scope_mut(scope)?.items.push(item);
            self.tasks.push(Task::Expression(copy.where_clause(), scope, Mode::Plain));
            if let Some(relation) = self.facts.relations.get_mut(relation) {
                if copy.is_from {
                    relation.insert = Some(columns);
                } else {
                    relation.read = Some(columns);
                }
            }
        } else {
            let writes = self.facts.writes;
            self.statement(copy.query())?;
            self.facts.writes |= writes;
        }
        Ok(Kind::Copy(kind))
    }

    /// The relation that SELECT INTO or CREATE TABLE AS makes.
    fn created(
        &mut self,
        into: &'w pg_raw_parse::nodes::IntoClause,
        kind: ObjectKind,
        name: &'static str,
    ) -> Walked {
        self.see_all(into)?;
        let range = into.rel().ok_or(NotUnderstood::Construct("INTO"))?;
        let object = self.new_relation(range, kind)?;
        self.does(name, Effect::Create, object);
        self.facts.writes = true;
        Ok(())
    }
}

/// Whether a function makes values of the type that another of its arguments has: of the fields of a
/// row, or of a constant without a type. A domain among these is asked by its own constraints.
fn makes_values(function: &Function) -> bool {
    let polymorphic = function.arguments.iter().filter(|oid| POLYMORPHIC.contains(oid)).count();
    function.class.is_some() && (polymorphic > 1 || POPULATE.contains(&&*function.name))
}

/// anyarray, anyelement, anynonarray, anyrange, anymultirange and what is compatible with them.
const POLYMORPHIC: [u32; 10] = [2277, 2283, 2776, 3831, 4537, 5077, 5078, 5079, 5080, 4538];

/// Of the server's own, and hstore's.
const POPULATE: [&str; 6] = [
    "json_populate_record",
    "json_populate_recordset",
    "jsonb_populate_record",
    "jsonb_populate_record_valid",
    "jsonb_populate_recordset",
    "populate_record",
];
