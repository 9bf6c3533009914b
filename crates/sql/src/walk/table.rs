//! Commands that make relations: tables with their columns, constraints and partitions, views, indexes,
//! sequences, statistics, and what stands on a table: triggers, rules, policies. ALTER TABLE is in
//! `alter`.

use pg_raw_parse::Node;
use pg_raw_parse::nodes::{
    ColumnDef, ConstrType, Constraint, CreateStatsStmt, CreateStmt, CreateTrigStmt, DefElem,
    IndexElem, IndexStmt, OnCommitAction, PartitionBoundSpec, PartitionSpec, RangeVar, RuleStmt,
    ViewStmt,
};

use super::from::{columns_named, item};
use super::object::{list, named_on};
use super::scope::{Env, Item, ScopeId};
use super::{Mode, Task, Walk, Walked};
use crate::catalog::{ConstraintKind, FunctionId, RelationKind, Source, Step};
use crate::facts::{ChannelUse, Columns, NotUnderstood, Object, ObjectKind};

/// What LIKE … INCLUDING copies of code, as PostgreSQL counts it: constraints, defaults, generated
/// columns, indexes and statistics.
const LIKE_CODE: u32 = 1 << 2 | 1 << 3 | 1 << 4 | 1 << 6 | 1 << 7;

/// The relation that columns and constraints are written for.
#[derive(Clone, Copy)]
pub(super) struct Host<'w> {
    pub(super) range: Option<&'w RangeVar>,
    /// Its columns are in sight here.
    pub(super) scope: ScopeId,
    /// Its use, if it is there already.
    pub(super) number: Option<usize>,
}

impl Host<'_> {
    /// Whether a name means it, while it is not there yet.
    fn is(&self, referenced: &RangeVar) -> bool {
        self.number.is_none()
            && self.range.is_some_and(|range| {
                range.relname() == referenced.relname()
                    && (referenced.schemaname().is_none()
                        || referenced.schemaname() == range.schemaname())
            })
    }
}

impl<'w> Walk<'w> {
    pub(super) fn create_table(&mut self, create: &'w CreateStmt) -> Walked<&'static str> {
        let range = create.relation().ok_or(NotUnderstood::Construct("name of a relation"))?;
        let object = self.new_relation(range, ObjectKind::Table)?;
        let schema = self.schema_of_new(&object);
        let name = self.creates(object);
        self.change.known();
        self.change.of_table(None, schema.clone());
        let kind = match create.partspec() {
            Some(_) => RelationKind::Partitioned,
            None => RelationKind::Table,
        };
        let made = range.relname().unwrap_or_default();
        self.change.step(Step::AddRelation { schema: schema.clone(), name: made.to_owned(), kind });
        let plain = create.inh_relations().is_empty()
            && create.partbound().is_none()
            && create.of_typename().is_none()
            && create.oncommit != OnCommitAction::ONCOMMIT_DROP;
        if !plain {
            self.change.lost();
        }

        Self::few(create.table_elts().len() + create.inh_relations().len())?;
        let mut columns: Vec<&'w str> = Vec::new();
        for parent in create.inh_relations() {
            let Node::RangeVar(parent) = parent else {
                return Err(NotUnderstood::Construct("INHERITS"));
            };
            let (_, number, object) = self.target_there(Some(parent))?;
            columns.extend(self.names_of_columns(number));
            self.copies_code(number);
            self.alters(object);
            if create.partbound().is_some() {
                self.take_partition_key(number, None);
            }
        }
        if let Some(type_name) = create.of_typename() {
            self.mentions(Some(type_name))?;
            let names: Vec<&str> = type_name.names().iter().filter_map(|n| n.sval()).collect();
            let (schema, name) = self.qualified(&names)?;
            for oid in self.catalog.find_types(schema, name, self.path) {
                let row = self.catalog.row_of(oid).and_then(|id| self.catalog.relation(id));
                columns.extend(row.into_iter().flat_map(|row| &row.columns).map(|c| &*c.name));
            }
        }
        for element in create.table_elts() {
            match element {
                Node::ColumnDef(column) => {
                    columns.extend(column.colname());
                    self.adds_column(column);
                }
                Node::TableLikeClause(like) => {
                    self.see(like);
                    self.change.lost();
                    let there = NotUnderstood::Construct("LIKE");
                    let number = self.relation_use(like.relation().ok_or(there)?)?;
                    if let Some(used) = self.facts.relations.get_mut(number) {
                        used.like = true;
                    }
                    if like.options & LIKE_CODE != 0 {
                        self.copies_code(number);
                    }
                    columns.extend(self.names_of_columns(number));
                    Self::few(columns.len())?;
                }
                Node::Constraint(_) => {}
                _ => return Err(NotUnderstood::Construct("CREATE TABLE")),
            }
        }
        let scope = self.scope_of_new(range.relname(), &columns)?;
        let host = Host { range: Some(range), scope, number: None };
        for element in create.table_elts() {
            match element {
                Node::ColumnDef(column) => self.column(column, host)?,
                Node::Constraint(constraint) => self.constraint(constraint, host, None)?,
                _ => {}
            }
        }
        // The grammar leaves them among the elements: the server's analysis takes them out.
        if !create.constraints().is_empty() || !create.nnconstraints().is_empty() {
            return Err(NotUnderstood::Construct("CREATE TABLE"));
        }
        if let Some(bound) = create.partbound() {
            self.bound(bound)?;
        }
        if let Some(key) = create.partspec() {
            self.partition_key(key, host)?;
        }
        self.see_texts(create.options().iter())?;
        if create.if_not_exists && self.is_there(&schema, made) {
            self.change.nothing();
        }
        Ok(name)
    }

    /// A new table gets code of one that is there. From then on it is the new one's owner who has it
    /// run, so it counts as if it were written here; but for the numbers of a serial column.
    fn copies_code(&mut self, number: usize) {
        let relation = self.facts.relations.get(number).and_then(|used| used.relation);
        let code = relation.and_then(|id| self.catalog.relation(id)).map(|r| &r.code);
        let copied = code.into_iter().flatten().filter(|code| {
            use Source::{Check, Default, Generated, Index, Statistics};
            matches!(code.source, Check | Default | Generated | Index | Statistics)
        });
        let is_serial = |id: &FunctionId| {
            self.catalog.function(*id).is_some_and(|function| {
                &*function.name == "nextval"
                    && self.catalog.schema_name(function.schema) == "pg_catalog"
            })
        };
        let functions = copied.flat_map(|code| &code.functions).filter(|id| !is_serial(id));
        self.facts.functions.extend(functions);
    }

    fn names_of_columns(&self, number: usize) -> Vec<&'w str> {
        let relation = self.facts.relations.get(number).and_then(|used| used.relation);
        let columns = relation.and_then(|id| self.catalog.relation(id)).map(|r| &r.columns);
        columns.into_iter().flatten().map(|column| &*column.name).collect()
    }

    /// The columns of something new; there may be others, and nothing is read of it yet.
    pub(super) fn scope_of_new(
        &mut self,
        name: Option<&'w str>,
        columns: &[&'w str],
    ) -> Walked<ScopeId> {
        let scope = self.empty_scope(Env::default());
        let item = item(name, columns_named(columns.iter()), true);
        self.scope_mut(scope)?.items.push(item);
        Ok(scope)
    }

    pub(super) fn column(&mut self, column: &'w ColumnDef, host: Host<'w>) -> Walked {
        self.see(column);
        if let Some(type_name) = column.type_name() {
            self.cast_to(type_name)?;
        }
        if let Some(collate) = column.coll_clause() {
            self.see_all(collate)?;
        }
        if let Some(sequence) = column.identity_sequence() {
            self.see_all(sequence)?;
        }
        self.see_texts(column.fdwoptions().iter())?;
        self.casts.extend(self.catalog.assignment_casts());
        self.expressions([column.raw_default(), column.cooked_default()], host.scope);
        for constraint in column.constraints() {
            let Node::Constraint(constraint) = constraint else {
                return Err(NotUnderstood::Construct("constraint"));
            };
            self.constraint(constraint, host, column.colname())?;
        }
        Ok(())
    }

    /// `of` is the column that it is written behind.
    pub(super) fn constraint(
        &mut self,
        constraint: &'w Constraint,
        host: Host<'w>,
        of: Option<&'w str>,
    ) -> Walked {
        self.see(constraint);
        let itself = constraint.pktable().is_some_and(|referenced| host.is(referenced));
        self.adds_constraint(constraint, of, itself);
        Self::few(
            constraint.keys().len() + constraint.fk_attrs().len() + constraint.pk_attrs().len(),
        )?;
        self.expressions([constraint.raw_expr(), constraint.where_clause()], host.scope);
        for keys in [constraint.keys(), constraint.including(), constraint.fk_attrs()] {
            self.keys(keys.iter(), host)?;
        }
        if !constraint.keys().is_empty() {
            self.comparison();
        }
        if matches!(
            constraint.contype,
            ConstrType::CONSTR_PRIMARY
                | ConstrType::CONSTR_UNIQUE
                | ConstrType::CONSTR_EXCLUSION
                | ConstrType::CONSTR_FOREIGN
        ) {
            self.tells(host.number);
        }
        self.see_texts(constraint.fk_del_set_cols().iter())?;
        self.see_texts(constraint.old_conpfeqop().iter())?;
        for exclusion in constraint.exclusions() {
            let Node::NodeList(pair) = exclusion else {
                return Err(NotUnderstood::Construct("EXCLUDE"));
            };
            let (Some(Node::IndexElem(element)), Some(operator)) = (pair.get(0), pair.get(1))
            else {
                return Err(NotUnderstood::Construct("EXCLUDE"));
            };
            self.key(element, host)?;
            let names = self.names_of(operator)?;
            let (schema, name) = self.qualified(&names)?;
            self.operator(schema, name, false);
        }
        match constraint.contype {
            ConstrType::CONSTR_IDENTITY => self.sequence_options(constraint.options().iter())?,
            _ => self.see_texts(constraint.options().iter())?,
        }
        let keeps_index = matches!(
            constraint.contype,
            ConstrType::CONSTR_PRIMARY | ConstrType::CONSTR_UNIQUE | ConstrType::CONSTR_EXCLUSION
        );
        if let (true, Some(number), None) = (keeps_index, host.number, constraint.indexname()) {
            let table = self.object_of_use(number)?;
            let name = constraint.conname().unwrap_or_default();
            self.creates(named_on(ObjectKind::Index, name, &table));
        }
        // A constraint that is added looks at the rows that are there.
        if let Some(name) = of {
            self.take_column(name, host.number);
        }
        if let Some(referenced) = constraint.pktable() {
            self.foreign_key(constraint, referenced, host)?;
        }
        Ok(())
    }

    fn foreign_key(
        &mut self,
        constraint: &'w Constraint,
        referenced: &'w RangeVar,
        host: Host<'w>,
    ) -> Walked {
        self.see_texts(constraint.pk_attrs().iter())?;
        self.operator(None, "=", false);
        if host.is(referenced) {
            return self.see_all(referenced);
        }
        let number = self.relation_use(referenced)?;
        let mut columns = Columns::default();
        for name in constraint.pk_attrs() {
            let name = name.as_str().unwrap_or_default();
            columns.numbers.insert(self.column_number(number, name)?);
        }
        if constraint.pk_attrs().is_empty() {
            let relation = self.facts.relations.get(number).and_then(|used| used.relation);
            let relation = relation.and_then(|id| self.catalog.relation(id));
            let key = relation
                .and_then(|r| r.constraints.iter().find(|c| c.kind == ConstraintKind::Primary));
            match key {
                Some(key) => columns.numbers.extend(&key.columns),
                None => columns.numbers.extend(self.stored_columns(number)),
            }
        }
        if let Some(used) = self.facts.relations.get_mut(number) {
            used.reference = Some(columns);
        }
        Ok(())
    }

    /// Columns by name that a key is made of.
    fn keys(&mut self, names: impl Iterator<Item = Node<'w>>, host: Host<'w>) -> Walked {
        for name in names {
            self.see(name);
            let name = name.as_str().ok_or(NotUnderstood::Construct("name of a column"))?;
            self.take_column(name, host.number);
        }
        Ok(())
    }

    /// Notes that the command takes a column of its own relation; one that it adds isn't there.
    pub(super) fn take_column(&mut self, name: &str, number: impl Into<Option<usize>>) {
        if let Some(number) = number.into()
            && let Ok(column) = self.column_number(number, name)
            && let Some(columns) = self.read_of(number)
        {
            columns.numbers.insert(column);
        }
    }

    pub(super) fn tells(&mut self, number: Option<usize>) {
        if let Some(used) = number.and_then(|number| self.facts.relations.get_mut(number)) {
            used.tells = true;
        }
    }

    fn key(&mut self, element: &'w IndexElem, host: Host<'w>) -> Walked {
        self.see(element);
        for list in [element.collation(), element.opclass(), element.opclassopts()] {
            self.see_texts(list.iter())?;
        }
        if let Some(name) = element.name() {
            self.take_column(name, host.number);
        }
        self.expressions([element.expr()], host.scope);
        self.comparison();
        Ok(())
    }

    fn partition_key(&mut self, key: &'w PartitionSpec, host: Host<'w>) -> Walked {
        self.see(key);
        self.change.step(Step::AddConstraint {
            to: None,
            name: String::new(),
            kind: ConstraintKind::PartitionKey,
            columns: None,
            references: None,
        });
        for element in key.part_params().iter() {
            self.see(element);
            self.see_texts(element.collation().iter())?;
            self.see_texts(element.opclass().iter())?;
            self.expressions([element.expr()], host.scope);
        }
        self.comparison();
        Ok(())
    }

    pub(super) fn bound(&mut self, bound: &'w PartitionBoundSpec) -> Walked {
        self.see(bound);
        let scope = self.empty_scope(Env::default());
        for datum in bound.listdatums().iter().chain(bound.lowerdatums()).chain(bound.upperdatums())
        {
            match datum {
                Node::PartitionRangeDatum(datum) => {
                    self.see(datum);
                    self.expressions([datum.value()], scope);
                }
                // MINVALUE and MAXVALUE; the server takes no other name there.
                Node::ColumnRef(_) => self.see_all(datum)?,
                datum => self.expressions([datum], scope),
            }
        }
        Ok(())
    }

    /// Rows are held against the bounds: those of the partition, and those that lie in the default
    /// one. Where the key isn't known, it may be any columns.
    pub(super) fn take_partition_key(&mut self, parent: usize, child: Option<usize>) {
        let relation = self.facts.relations.get(parent).and_then(|used| used.relation);
        let Some(relation) = relation.and_then(|id| self.catalog.relation(id)) else { return };
        let keys = relation.constraints.iter().filter(|c| c.kind == ConstraintKind::PartitionKey);
        let key: Vec<u16> = keys.flat_map(|key| &key.columns).copied().collect();
        let taken = relation
            .columns
            .iter()
            .filter(|column| key.is_empty() || key.contains(&0) || key.contains(&column.number));
        for column in taken {
            for number in [Some(parent), child].into_iter().flatten() {
                self.take_column(&column.name, number);
            }
        }
    }

    /// Options of CREATE and ALTER SEQUENCE, and of GENERATED AS IDENTITY.
    pub(super) fn sequence_options(&mut self, options: impl Iterator<Item = Node<'w>>) -> Walked {
        for option in options {
            self.see_all(option)?;
            let Node::DefElem(option) = option else {
                return Err(NotUnderstood::Construct("option"));
            };
            match option.defname() {
                Some("owned_by") => {
                    let names = self.names_of(option.arg())?;
                    let Some((column, relation)) = names.split_last() else { continue };
                    if relation.is_empty() {
                        // OWNED BY NONE.
                        continue;
                    }
                    let (schema, name) = self.qualified(relation)?;
                    let found = self
                        .catalog
                        .find_relation(schema, name, self.path)
                        .ok_or_else(|| NotUnderstood::NoSuchRelation(name.to_owned()))?;
                    let mut object = self.object_of(found.relation)?;
                    object.twice = found.twice;
                    self.about_column(&mut object, column, false)?;
                    match (object.relation, object.columns.first()) {
                        (Some(by), Some(column)) if !object.twice => {
                            let (sequence, column) = (self.change.table(), *column);
                            self.change.step(Step::Own { sequence, by, column });
                        }
                        _ => self.change.lost(),
                    }
                    self.alters(object);
                }
                Some("sequence_name") => {
                    let object =
                        self.new_named(ObjectKind::Sequence, list(option.arg()).into_iter())?;
                    self.creates(object);
                }
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn create_view(&mut self, view: &'w ViewStmt) -> Walked<&'static str> {
        let range = view.view().ok_or(NotUnderstood::Construct("name of a relation"))?;
        let object = self.new_relation(range, ObjectKind::View)?;
        if view.replace {
            self.replaces(&object)?;
        }
        let name = self.creates(object);
        self.see_texts(view.aliases().iter())?;
        self.see_texts(view.options().iter())?;
        self.nested_query(view.query(), Env::default());
        Ok(name)
    }

    /// OR REPLACE: what stands there already is altered.
    fn replaces(&mut self, made: &Object) -> Walked {
        let found = self.catalog.find_relation(made.schema.as_deref(), &made.name, self.path);
        if let Some(found) = found {
            let object = self.object_of(found.relation)?;
            self.alters(object);
        }
        Ok(())
    }

    pub(super) fn nested_query(&mut self, query: Node<'w>, env: Env) {
        let result = self.new_query();
        self.tasks.push(Task::Query(query, env, result));
        self.casts.extend(self.catalog.implicit_casts());
    }

    pub(super) fn create_index(&mut self, index: &'w IndexStmt) -> Walked<&'static str> {
        let (range, number, table) = self.target_there(index.relation())?;
        let scope = self.scope_of_target(range, number)?;
        let host = Host { range: Some(range), scope, number: Some(number) };
        Self::few(index.index_params().len() + index.index_including_params().len())?;
        let keys = index.index_params().iter().map(Node::from);
        for element in keys.chain(index.index_including_params()) {
            let Node::IndexElem(element) = element else {
                return Err(NotUnderstood::Construct("CREATE INDEX"));
            };
            self.key(element, host)?;
        }
        self.see_texts(index.options().iter())?;
        self.see_texts(index.exclude_op_names().iter())?;
        self.expressions([index.where_clause()], scope);
        if index.unique {
            self.tells(Some(number));
        }
        self.facts.outside_transaction |= index.concurrent;
        // It comes into the schema of its table.
        let mut object = Object::new(
            ObjectKind::Index,
            table.schema.clone(),
            index.idxname().unwrap_or_default(),
        );
        object.relation = table.relation;
        object.twice = table.twice;
        self.makes_index(index, &object);
        Ok(self.creates(object))
    }

    pub(super) fn create_statistics(
        &mut self,
        statistics: &'w CreateStatsStmt,
    ) -> Walked<&'static str> {
        let mut object = if statistics.defnames().is_empty() {
            Object::new(ObjectKind::Statistics, None, "")
        } else {
            self.new_named(ObjectKind::Statistics, statistics.defnames().iter())?
        };
        self.see_texts(statistics.stat_types().iter())?;
        Self::few(statistics.relations().len() * statistics.exprs().len())?;
        for relation in statistics.relations() {
            let (range, number, table) = self.target_there(Some(relation))?;
            let scope = self.scope_of_target(range, number)?;
            object.relation = table.relation;
            // Without a name it comes into the schema of its table.
            object.schema = object.schema.or(table.schema);
            let host = Host { range: Some(range), scope, number: Some(number) };
            for element in statistics.exprs() {
                let Node::StatsElem(element) = element else {
                    return Err(NotUnderstood::Construct("CREATE STATISTICS"));
                };
                self.see(element);
                if let Some(name) = element.name() {
                    self.take_column(name, host.number);
                }
                self.expressions([element.expr()], scope);
            }
        }
        Ok(self.creates(object))
    }

    pub(super) fn create_trigger(&mut self, trigger: &'w CreateTrigStmt) -> Walked<&'static str> {
        let (range, number, table) = self.target_there(trigger.relation())?;
        self.calls_later(trigger.funcname().iter(), Some(0))?;
        self.see_texts(trigger.args().iter())?;
        Self::few(trigger.columns().len())?;
        for name in trigger.columns() {
            self.see(name);
            self.column_number(number, name.as_str().unwrap_or_default())?;
        }
        self.see_texts(trigger.transition_rels().iter())?;
        if let Some(other) = trigger.constrrel() {
            let number = self.relation_use(other)?;
            if let Some(used) = self.facts.relations.get_mut(number) {
                used.reference = Some(Columns::default());
            }
        }
        let scope = self.scope_of_rows(range, number, true)?;
        self.expressions([trigger.when_clause()], scope);
        let object = named_on(ObjectKind::Trigger, trigger.trigname().unwrap_or_default(), &table);
        Ok(self.creates(object))
    }

    /// OLD and NEW in sight.
    fn scope_of_rows(
        &mut self,
        range: &'w RangeVar,
        number: usize,
        qualified_only: bool,
    ) -> Walked<ScopeId> {
        let row = self.relation_item(range, number)?;
        let scope = self.empty_scope(Env::default());
        let items = ["old", "new"].map(|name| Item {
            name: Some(name),
            schema: None,
            qualified_only,
            ..row.clone()
        });
        self.scope_mut(scope)?.items.extend(items);
        Ok(scope)
    }

    pub(super) fn create_rule(&mut self, rule: &'w RuleStmt) -> Walked<&'static str> {
        let (range, number, table) = self.target_there(rule.relation())?;
        let scope = self.scope_of_rows(range, number, false)?;
        self.tasks.push(Task::Expression(rule.where_clause(), scope, Mode::Plain));
        for action in rule.actions() {
            match action {
                Node::NotifyStmt(notify) => {
                    self.see(notify);
                    let channel = notify.conditionname().unwrap_or_default().to_owned();
                    self.facts.channels.push(ChannelUse::Notify(channel));
                }
                action => self.nested_query(action, Env { outer: Some(scope), ctes: None }),
            }
        }
        let object = named_on(ObjectKind::Rule, rule.rulename().unwrap_or_default(), &table);
        Ok(self.creates(object))
    }

    /// One named option of many.
    pub(super) fn option<'o>(
        mut options: impl Iterator<Item = &'o DefElem>,
        name: &str,
    ) -> Option<&'o DefElem> {
        options.find(|option| option.defname() == Some(name))
    }
}
