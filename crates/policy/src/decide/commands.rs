//! Commands and their objects: whether a rule means them, what goes with an object that is dropped,
//! and what renaming or moving takes out of the rules' sight.

use std::collections::BTreeSet;

use sql::catalog::{RelationId, RelationKind};
use sql::facts::{Columns, CommandUse, Effect as Does, Kind, Object, ObjectKind};

use super::relations::{Need, need};
use super::{Answer, Judgement, Want};
use crate::object::{CommandPattern, RelationPattern, Schemas, quoted};
use crate::rule::{Effect, Rule};
use crate::scope::{DATA, Dependent, is_view, restricts};
use crate::verb::Verb;
use crate::verdict::Missing;

impl<'j> Judgement<'j> {
    pub(super) fn command_use(&mut self, used: &CommandUse) {
        self.command(used);
        let relation = used.object.as_ref().and_then(|object| object.relation);
        if let (Some(id), Some(verb)) = (relation, verb_of(used.effect))
            && !used.named_only
        {
            // What is done to a table is done to its children.
            for child in self.scope.cover(id).map_or(&[][..], |cover| &cover.apart) {
                self.relation(verb, *child, Need::Whole);
            }
        }
        if used.cascade && used.effect == Does::Drop && !used.named_only {
            let kind = used.object.as_ref().map(|object| object.kind);
            match relation.filter(|_| kind != Some(ObjectKind::Type)) {
                Some(id) => self.dependents(id, used.name.starts_with("drop")),
                // Columns and defaults of any table may depend on it.
                None => self.command(&CommandUse { object: None, cascade: false, ..used.clone() }),
            }
        }
    }

    /// What goes with a relation by CASCADE: its children, views that read it, foreign keys and
    /// code that mean it; and, if the whole of it goes, what is made of its rows.
    fn dependents(&mut self, dropped: RelationId, whole: bool) {
        let mut gone = BTreeSet::from([dropped]);
        let mut open = vec![dropped];
        let mut lose = BTreeSet::new();
        while let Some(id) = open.pop() {
            for dependent in self.scope.dependents(id) {
                match dependent {
                    Dependent::Goes(other) => {
                        if gone.insert(*other) {
                            open.push(*other);
                            self.relation(Verb::Drop, *other, Need::Whole);
                        }
                    }
                    Dependent::Loses(other) => {
                        lose.insert(*other);
                    }
                    Dependent::HoldsRows(other) => {
                        lose.extend(whole.then_some(*other));
                    }
                }
            }
        }
        for other in lose.difference(&gone) {
            self.relation(Verb::Alter, *other, Need::Whole);
        }
        if whole {
            self.functions_of_rows(&gone);
        }
    }

    /// The functions that take or give rows of what is dropped go with it.
    fn functions_of_rows(&mut self, gone: &BTreeSet<RelationId>) {
        let catalog = self.scope.catalog();
        for function in catalog.functions() {
            let mut types = function.arguments.iter().chain([&function.returns]);
            if !types.any(|oid| !catalog.rows_in(*oid).is_disjoint(gone)) {
                continue;
            }
            self.command(&CommandUse {
                name: "drop function",
                effect: Does::Drop,
                named_only: true,
                object: Some(Object {
                    kind: ObjectKind::Function,
                    schema: Some(catalog.schema_name(function.schema).to_owned()),
                    name: function.name.to_string(),
                    relation: None,
                    columns: BTreeSet::new(),
                    new_columns: Vec::new(),
                    twice: false,
                    missing: false,
                }),
                cascade: false,
            });
        }
    }

    pub(super) fn command(&mut self, used: &CommandUse) {
        // When constraints are checked is the transaction's own matter.
        let built_in = used.name == "set constraints";
        let mut answer = Answer { built_in, ..Answer::default() };
        let mut held = false;
        for (at, rule) in self.scope.rules().iter().enumerate() {
            if !self.means_command(rule, used) || !rule.applies(self.facts, self.context) {
                continue;
            }
            answer.note(at, rule);
            // Code that can't be read, and what leads past the gate, could do what another rule
            // refuses.
            let unseen = self.facts.opaque.is_some()
                || (self.scope.restricts_data() && self.leads_past(used.name));
            let grants = !rule.everything || !unseen;
            match rule.effect {
                Effect::Allow if grants => answer.granted = answer.granted.or(Some(at)),
                Effect::Hold => held |= grants,
                Effect::Allow | Effect::Refuse => {}
            }
        }
        if !answer.is_granted() && held {
            answer.grant_by_hold(self.scope.rules());
        }
        let on = used.object.as_ref().and_then(|object| object.relation);
        let on: Vec<_> = on.into_iter().zip(verb_of(used.effect)).collect();
        self.take(answer, &on, |_| {
            let object = used.object.as_ref().map(object_spelled).unwrap_or_default();
            let missing = Missing { verb: used.name.to_owned(), object };
            (missing, Want::Command(used.clone()))
        });
    }

    fn leads_past(&self, command: &str) -> bool {
        // ALTER ROLE … SET stores a setting, and those have rules of their own.
        let stores = command == "alter role" && self.facts.settings.iter().any(|it| it.stored);
        LEADS_PAST.contains(&command) && !stores
    }

    /// Whether a rule is about the command and its object.
    pub(super) fn means_command(&self, rule: &Rule, used: &CommandUse) -> bool {
        if rule.everything {
            return true;
        }
        if rule.names_command(used.name) {
            let covers = |pattern: &CommandPattern| match &used.object {
                None => *pattern == CommandPattern::Any,
                Some(object) => {
                    pattern.covers(object.schema.as_deref(), &object.name)
                        || self
                            .on_relation(object)
                            .is_some_and(|(schema, name)| pattern.covers(Some(schema), name))
                }
            };
            if rule.objects.of.iter().any(covers) && !rule.objects.except.iter().any(covers) {
                return true;
            }
        }
        // Groups and wildcards never mean what reaches further than the tables.
        let Some(verb) = verb_of(used.effect).filter(|verb| rule.verbs.has(*verb)) else {
            return false;
        };
        if used.named_only && rule.effect != Effect::Refuse {
            return false;
        }
        let Some(object) = &used.object else {
            // All there are.
            let all = |pattern: &RelationPattern| {
                pattern.schemas == Schemas::Users && pattern.name.is_any()
            };
            return rule.relations.of.iter().any(all) && rule.relations.except.is_empty();
        };
        if let Some(table) = self.table_of(object) {
            return self.means_part(rule, object, table);
        }
        if let Some(id) = object.relation
            && self.scope.match_one(rule, id).iter().any(|of| of.whole)
        {
            return true;
        }
        let Some(schema) = &object.schema else {
            let in_vain = object.missing && is_grouped(object.kind);
            return in_vain && verb != Verb::Create && rule.effect != Effect::Refuse;
        };
        let covers = |pattern: &RelationPattern| pattern.covers(schema, &object.name);
        rule.relations.of.iter().any(covers) && !rule.relations.except.iter().any(covers)
    }

    /// The table that an object is a part of: an index, statistics, the sequence of a column.
    fn table_of(&self, object: &Object) -> Option<RelationId> {
        let relation = object.relation?;
        match object.kind {
            ObjectKind::Index | ObjectKind::Statistics => Some(relation),
            ObjectKind::Sequence => Some(self.scope.catalog().relation(relation)?.owned_by?.0),
            _ => None,
        }
    }

    /// Whether a rule is about a part of a table: with the table, or by the part's own name. What
    /// leaves out the table leaves out its parts.
    fn means_part(&self, rule: &Rule, part: &Object, table: RelationId) -> bool {
        let catalog = self.scope.catalog();
        let Some(on) = catalog.relation(table) else { return false };
        let Some(schema) = &part.schema else { return false };
        let covers = |pattern: &RelationPattern| pattern.covers(schema, &part.name);
        if rule.relations.except.iter().any(covers) {
            return false;
        }
        let with_table = self.scope.match_one(rule, table).iter().any(|of| of.whole);
        // Statistics can stand in another schema than their table.
        let at_home =
            part.kind != ObjectKind::Statistics || schema == catalog.schema_name(on.schema);
        let mut of = rule.relations.of.iter();
        if with_table {
            at_home || rule.effect == Effect::Refuse || of.any(covers)
        } else {
            at_home && of.any(|pattern| !pattern.name.is_any() && covers(pattern))
        }
    }

    /// The relation that an object is on, if it isn't that relation itself.
    fn on_relation(&self, object: &Object) -> Option<(&'j str, &'j str)> {
        let catalog: &'j sql::catalog::Catalog = self.scope.catalog();
        let relation = catalog.relation(object.relation?)?;
        Some((catalog.schema_name(relation.schema), &relation.name))
    }

    /// What a command gives another name, or another parent, could be read under rules that did
    /// not mean it before; so it has to be readable. So too what is beneath a view that is altered:
    /// it may come to be read with other rights.
    pub(super) fn moves(&mut self) {
        let commands = &self.facts.commands;
        let is_alter = matches!(self.facts.kind, Kind::Command(name) if name.starts_with("alter"));
        if !is_alter {
            return;
        }
        let altered: BTreeSet<RelationId> = commands
            .iter()
            .filter(|used| used.effect == Does::Alter && !used.named_only)
            .filter_map(|used| used.object.as_ref()?.relation)
            .collect();
        let renames = commands.iter().any(|used| {
            let object = used.object.as_ref();
            // An index that a constraint keeps is no other name for its table.
            let names = object.is_none_or(|it| it.kind != ObjectKind::Index);
            (used.effect == Does::Create && names)
                || object.is_some_and(|it| !it.columns.is_empty() && !it.new_columns.is_empty())
        });
        let reads = self.scope.rules().iter().any(|rule| {
            rule.effect != Effect::Refuse && (rule.everything || rule.verbs.has(Verb::Read))
        });
        if !reads {
            return;
        }
        let catalog = self.scope.catalog();
        for id in &altered {
            let Some(relation) = catalog.relation(*id) else { continue };
            let shows = !matches!(relation.kind, RelationKind::Index | RelationKind::Sequence);
            let hidden = is_view(relation) && !self.scope.beneath_may_be_read(*id);
            if shows && (renames || altered.len() > 1 || hidden) {
                let all = relation.columns.iter().map(|column| column.number).collect();
                let columns = Columns { numbers: all, ..Columns::default() };
                self.relation(Verb::Read, *id, need(&columns));
            }
        }
    }

    /// What is renamed or moved to where a rule that restricts it doesn't mean it is refused by that
    /// rule: it could be written there.
    pub(super) fn leaves_rules(&mut self) {
        if !matches!(self.facts.kind, Kind::Command(name) if name.starts_with("alter")) {
            return;
        }
        let with = |effect| {
            let all = self.facts.commands.iter().filter(move |used| used.effect == effect);
            all.filter_map(|used| used.object.as_ref())
        };
        let catalog = self.scope.catalog();
        let mut moved: Vec<(RelationId, &str, &str)> = Vec::new();
        for new in with(Does::Create) {
            for old in with(Does::Alter) {
                if let (Some(id), Some(schema)) = (old.relation, &new.schema)
                    && new.kind != ObjectKind::Index
                {
                    moved.push((id, schema, &new.name));
                }
                if (old.kind, new.kind) == (ObjectKind::Schema, ObjectKind::Schema) {
                    for relation in catalog.relations() {
                        let id = catalog.relation_by_oid(relation.oid);
                        let inside = catalog.schema_name(relation.schema) == old.name;
                        let id = id.filter(|_| inside);
                        moved.extend(id.map(|id| (id, &*new.name, &*relation.name)));
                    }
                }
            }
        }
        let mut left = Vec::new();
        for (id, schema, name) in moved {
            for of in self.scope.cover(id).map_or(&[][..], |cover| &cover.matches) {
                let Some(rule) = self.scope.rules().get(of.rule) else { continue };
                let covers = |pattern: &RelationPattern| pattern.covers(schema, name);
                let still = rule.everything
                    || (rule.relations.of.iter().any(covers)
                        && !rule.relations.except.iter().any(covers));
                if restricts(rule, &DATA) && !still {
                    left.push((of.rule, id));
                }
            }
        }
        for (rule, id) in left {
            let answer = Answer { refused: Some(rule), ..Answer::default() };
            self.take(answer, &[], |it| {
                (it.relation_missing(Verb::Alter, id, Need::Whole), Want::Relation(id, Verb::Alter))
            });
        }
    }
}

/// Commands by which what is in tables comes and goes without statements about them, and passwords
/// with which somebody could log in elsewhere.
const LEADS_PAST: [&str; 23] = [
    "alter extension",
    "alter foreign data wrapper",
    "alter foreign table",
    "alter publication",
    "alter role",
    "alter server",
    "alter subscription",
    "alter system",
    "alter user mapping",
    "copy from file",
    "copy from program",
    "copy to file",
    "copy to program",
    "create database",
    "create foreign data wrapper",
    "create foreign table",
    "create publication",
    "create role",
    "create server",
    "create subscription",
    "create user mapping",
    "import foreign schema",
    "load",
];

pub(super) fn verb_of(effect: Does) -> Option<Verb> {
    match effect {
        Does::Create => Some(Verb::Create),
        Does::Alter => Some(Verb::Alter),
        Does::Drop => Some(Verb::Drop),
        Does::Comment => Some(Verb::Comment),
        Does::Maintain => Some(Verb::Maintain),
        Does::Other => None,
    }
}

fn is_grouped(kind: ObjectKind) -> bool {
    matches!(
        kind,
        ObjectKind::Table
            | ObjectKind::View
            | ObjectKind::MaterializedView
            | ObjectKind::Index
            | ObjectKind::Sequence
            | ObjectKind::Type
            | ObjectKind::Domain
            | ObjectKind::Statistics
    )
}

fn object_spelled(object: &Object) -> String {
    match &object.schema {
        Some(schema) if object.name.is_empty() => format!("{}.*", quoted(schema)),
        Some(schema) => format!("{}.{}", quoted(schema), quoted(&object.name)),
        None if object.name.is_empty() => String::new(),
        None => quoted(&object.name),
    }
}
