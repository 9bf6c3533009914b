//! What runs because a relation is read or written, besides what the statement names: triggers,
//! rules, defaults, constraints, row security, indexes, and all that follows from what these do.
//! Whether it may is for others to say.
//!
//! Left out, since only a superuser can make them: what compares in operator classes, and what
//! reads and writes a type's values. What the body of a function does is not known either.

use std::collections::BTreeSet;

use super::{Catalog, FunctionId, Relation, RelationId, RelationKind, ViewRead};

/// What is done to a relation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    Read,
    Insert,
    Update,
    Delete,
    Truncate,
    /// VACUUM, ANALYZE, CLUSTER, REINDEX, REFRESH.
    Maintain,
}

/// A set of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events(u8);

/// What calls a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The query of a view.
    View,
    Rule,
    Trigger,
    Default,
    Generated,
    Check,
    /// Constraints and default of the domain that is a column's type.
    Domain,
    RowSecurity,
    /// Expressions and conditions of indexes.
    Index,
    PartitionKey,
    Statistics,
}

/// One piece of code that a relation carries.
#[derive(Clone, Debug)]
pub struct Code {
    pub source: Source,
    /// What has to be done for it to run.
    pub on: Events,
    /// It takes the place of what the statement would do.
    pub instead: bool,
    /// It sees each row before it is stored, and may make another of it.
    pub before: bool,
    pub functions: Vec<FunctionId>,
    /// The columns that it reads or names besides, 0 for a relation as a whole.
    pub reads: Vec<(RelationId, u16)>,
    /// What a rule writes, and how; of several statements each could be meant.
    pub writes: Vec<RelationId>,
    pub does: Events,
}

/// A function that runs, because of which relation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Call {
    pub function: FunctionId,
    pub source: Source,
    pub relation: RelationId,
}

/// All that follows from one event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    pub calls: BTreeSet<Call>,
    /// What is done to relations, the first one among them: partitions and children, what foreign
    /// keys carry on to, what views and rules reach. Foreign tables are among them as any other.
    pub done: BTreeSet<(RelationId, Event)>,
}

impl Events {
    pub fn of(events: impl IntoIterator<Item = Event>) -> Self {
        Self(events.into_iter().fold(0, |set, event| set | 1 << event as u8))
    }

    pub fn has(self, event: Event) -> bool {
        self.0 & (1 << event as u8) != 0
    }

    pub fn iter(self) -> impl Iterator<Item = Event> {
        use Event::{Delete, Insert, Maintain, Read, Truncate, Update};
        let all = [Read, Insert, Update, Delete, Truncate, Maintain];
        all.into_iter().filter(move |event| self.has(*event))
    }
}

impl Code {
    /// Whether it calls, names or replaces anything.
    pub(super) fn matters(&self) -> bool {
        self.instead
            || !(self.functions.is_empty() && self.reads.is_empty() && self.writes.is_empty())
    }
}

impl Catalog {
    /// Which functions run, and what is done to other relations, when `event` happens to
    /// `relation`. It may say more than a certain statement does (of a rule, or of a policy for one
    /// of several roles), never less.
    ///
    /// It takes time in proportion to what it finds, partitions among it: whoever asks for each
    /// statement does well to keep the answer.
    pub fn carried(&self, relation: RelationId, event: Event) -> Carried {
        let mut carried = Carried::default();
        let mut open = vec![(relation, event)];
        while let Some((id, event)) = open.pop() {
            let Some(relation) = self.relation(id) else { continue };
            if !carried.done.insert((id, event)) {
                continue;
            }
            let mut call = |function, source| {
                carried.calls.insert(Call { function, source, relation: id });
            };
            let mut instead = false;
            for code in relation.code.iter().filter(|code| code.on.has(event)) {
                instead |= code.instead;
                code.functions.iter().for_each(|function| call(*function, code.source));
                open.extend(code.reads.iter().map(|(other, _)| (*other, Event::Read)));
                for other in &code.writes {
                    open.extend(code.does.iter().map(|event| (*other, event)));
                }
            }
            if matches!(event, Event::Insert | Event::Update) {
                self.domains_of(relation).into_iter().for_each(|f| call(f, Source::Domain));
            }
            for read in self.query_of(relation, event) {
                match read {
                    ViewRead::Function(function) => call(*function, Source::View),
                    ViewRead::Column(other, _) if *other == id => {}
                    ViewRead::Column(other, _) => {
                        open.push((*other, Event::Read));
                        // Writing through a view writes what is beneath it.
                        if !instead && is_write(event) {
                            open.push((*other, event));
                        }
                    }
                }
            }
            follow(relation, event, &mut open);
        }
        carried
    }

    /// The query of a view, where the event runs it.
    fn query_of<'c>(&self, relation: &'c Relation, event: Event) -> &'c [ViewRead] {
        let runs = match relation.kind {
            RelationKind::View => true,
            RelationKind::Materialized => event == Event::Maintain,
            _ => false,
        };
        if runs { &relation.reads } else { &[] }
    }

    /// What is called when values of the types of a relation's columns are made.
    fn domains_of(&self, relation: &Relation) -> BTreeSet<FunctionId> {
        let mut functions = BTreeSet::new();
        for column in &relation.columns {
            self.add_domain_calls(column.type_oid, &mut functions);
        }
        functions
    }

    /// Adds to functions what calling them calls besides: the defaults of their arguments, and the
    /// domains among these.
    pub(crate) fn add_calls_of(&self, functions: &mut BTreeSet<FunctionId>) {
        let mut open: Vec<FunctionId> = functions.iter().copied().collect();
        while let Some(function) = open.pop().and_then(|id| self.function(id)) {
            let mut calls: BTreeSet<FunctionId> = function.default_calls.iter().copied().collect();
            // The server's own take no others' domains.
            if !self.is_system(function.schema) {
                for type_oid in function.arguments.iter().chain([&function.returns]) {
                    self.add_domain_calls(*type_oid, &mut calls);
                }
            }
            open.extend(calls.into_iter().filter(|call| functions.insert(*call)));
        }
    }

    /// What is called when somebody gives a value of the type.
    pub fn calls_of_values(&self, type_oid: u32) -> BTreeSet<FunctionId> {
        let mut functions = BTreeSet::new();
        self.add_domain_calls(type_oid, &mut functions);
        self.add_calls_of(&mut functions);
        functions
    }

    /// Adds what is called when a value of the type is made: constraints of domains.
    pub(crate) fn add_domain_calls(&self, type_oid: u32, functions: &mut BTreeSet<FunctionId>) {
        let mut types = BTreeSet::new();
        if self.add_types(type_oid, &mut types) {
            let types = types.iter().filter_map(|oid| self.types.get(oid));
            functions.extend(types.flat_map(|found| &found.calls));
        } else {
            // Ranges are made of what the snapshot doesn't know.
            functions.extend(self.types.values().flat_map(|found| &found.calls));
        }
    }
}

/// Where an event goes on: to partitions and children, and along foreign keys.
fn follow(relation: &Relation, event: Event, open: &mut Vec<(RelationId, Event)>) {
    let partitioned = relation.kind == RelationKind::Partitioned;
    for child in &relation.children {
        match event {
            // Into children only the partitioned pass anything on.
            Event::Insert if !partitioned => {}
            // A row whose key changes moves.
            Event::Update if partitioned => {
                open.extend([Event::Update, Event::Delete, Event::Insert].map(|e| (*child, e)));
            }
            event => open.push((*child, event)),
        }
    }
    for key in &relation.referenced {
        let next = match event {
            Event::Delete => key.on_delete,
            Event::Update => key.on_update,
            // Only with CASCADE, or else it fails.
            Event::Truncate => Some(Event::Truncate),
            _ => None,
        };
        open.extend(next.map(|event| (key.by, event)));
    }
}

fn is_write(event: Event) -> bool {
    matches!(event, Event::Insert | Event::Update | Event::Delete)
}
