//! What masks and filters refuse by themselves: relations of which it can't be known what they show,
//! what gives their rows away unseen, and changes that would take them out of a rule's sight.

use std::collections::BTreeSet;

use sql::catalog::{Relation, RelationId, ViewRead};
use sql::facts::{Effect as Does, ObjectKind, RelationUse};

use super::Judgement;
use crate::object::spelled;
use crate::rule::Effect;
use crate::verb::Verb;
use crate::verdict::{Code, Refused, RuleRef};

/// Relations of `pg_catalog` with values out of tables.
pub(super) const SAMPLES: [&str; 5] =
    ["pg_statistic", "pg_statistic_ext_data", "pg_stats", "pg_stats_ext", "pg_stats_ext_exprs"];

/// Where the texts of other sessions are, with the values in them: relations and their column, and
/// the functions beneath.
const TEXTS: [&str; 2] = ["pg_stat_activity", "pg_stat_statements"];
const TEXT: &str = "query";
const GIVE_TEXTS: [&str; 3] =
    ["pg_stat_get_activity", "pg_stat_get_backend_activity", "pg_stat_statements"];

impl Judgement<'_> {
    /// Why the statement would show what is hidden, if it would.
    pub(super) fn hidden(&self) -> Option<Refused> {
        if !self.scope.in_force().hides_something() {
            return None;
        }
        let (rule, why) = (self.facts.relations.iter().find_map(|used| self.closed(used)))
            .or_else(|| self.gives_rows())
            .or_else(|| self.gives_texts())
            .or_else(|| self.out_of_sight())?;
        Some(Refused {
            code: Code::Hidden,
            sentence: format!("Masks and row filters are in force, and {why}."),
            rule: Some(rule),
            missing: Vec::new(),
            about: None,
            ask: Vec::new(),
        })
    }

    fn closed(&self, used: &RelationUse) -> Option<(RuleRef, String)> {
        let (seen, catalog) = (self.scope.seen(), self.scope.catalog());
        let id = used.relation?;
        let writes = used.insert.is_some() || used.update.is_some() || used.delete;
        let touches = writes || used.read.is_some() || used.lock_rows || used.reference.is_some();
        if !touches {
            return None;
        }
        let relation = catalog.relation(id)?;
        if SAMPLES.contains(&&*relation.name) && catalog.is_system(relation.schema) {
            let why = format!("{} holds values out of tables", self.spelled(relation));
            return Some((self.scope.in_force().hides().first_rule(), why));
        }
        if let Some(closed) = seen.unwritable(id).filter(|_| writes) {
            return Some((closed.rule.clone(), closed.why.clone()));
        }
        if let Some(apart) = seen.apart(id) {
            return Some((apart.rule.clone(), apart.why.clone()));
        }
        let below = if used.only { Vec::new() } else { self.scope.descendants(relation) };
        let closed = [id].into_iter().chain(below).find_map(|id| seen.closed(id))?;
        Some((closed.rule.clone(), closed.why.clone()))
    }

    /// A function whose result is rows of a hidden relation, as it would read them.
    fn gives_rows(&self) -> Option<(RuleRef, String)> {
        let (seen, catalog) = (self.scope.seen(), self.scope.catalog());
        let mut functions = self.facts.functions.iter().filter_map(|id| catalog.function(*id));
        let hidden = |id| catalog.rows_in(id).into_iter().find(|of| seen.hides(*of));
        let (function, of) =
            functions.find_map(|function| Some((function, hidden(function.returns)?)))?;
        let name = spelled(catalog, function.schema, &function.name);
        let rows = self.spelled(catalog.relation(of)?);
        let why = format!("{name} gives rows of {rows} as they are stored");
        Some((seen.rule_of(of).cloned().unwrap_or_else(RuleRef::built_in), why))
    }

    /// What others send, values and all, is not for whoever sees values masked, unless a rule says so
    /// by name.
    fn gives_texts(&self) -> Option<(RuleRef, String)> {
        let catalog = self.scope.catalog();
        let has_text = |id: RelationId, number: u16| {
            catalog.relation(id).is_some_and(|relation| {
                let column = relation.column(TEXT).map(|column| column.number);
                TEXTS.contains(&&*relation.name) && (number == 0 || Some(number) == column)
            })
        };
        let read = self.facts.relations.iter().find_map(|used| {
            let (id, read) = (used.relation?, used.read.as_ref()?);
            let itself = read.whole_row && has_text(id, 0);
            let column = read.numbers.iter().any(|number| has_text(id, *number));
            let beneath = catalog.beneath(id).iter().any(|beneath| match beneath.read {
                ViewRead::Column(below, number) => has_text(below, number),
                ViewRead::Function(_) => false,
            });
            (itself || column || beneath).then_some(id).filter(|id| !self.is_named(*id))
        });
        let function = || {
            let functions = self.facts.functions.iter().filter_map(|id| catalog.function(*id));
            let mut giving = functions.filter(|it| GIVE_TEXTS.contains(&&*it.name));
            giving.find(|function| !self.scope.is_named(function))
        };
        let name = match read {
            Some(id) => self.spelled(catalog.relation(id)?),
            None => function().map(|it| spelled(catalog, it.schema, &it.name))?,
        };
        let why = format!("{name} tells what others send; a rule has to name it");
        Some((self.scope.in_force().hides().first_rule(), why))
    }

    /// Whether a rule lets the relation be read by its own name.
    fn is_named(&self, id: RelationId) -> bool {
        let matches = self.scope.cover(id).map_or(&[][..], |cover| &cover.matches);
        matches.iter().filter(|of| of.named).any(|of| {
            self.scope.rules().get(of.rule).is_some_and(|rule| {
                rule.effect == Effect::Allow && !rule.everything && rule.verbs.has(Verb::Read)
            })
        })
    }

    /// DDL on what a mask or a filter stands on.
    fn out_of_sight(&self) -> Option<(RuleRef, String)> {
        let (seen, catalog) = (self.scope.seen(), self.scope.catalog());
        let objects = |effects: &'static [Does]| {
            let of = self.facts.commands.iter().filter(|used| effects.contains(&used.effect));
            of.filter_map(|used| used.object.as_ref())
        };
        let changed: BTreeSet<RelationId> =
            objects(&[Does::Alter, Does::Drop]).filter_map(|object| object.relation).collect();
        let created = || objects(&[Does::Create]);
        let renames = created().any(|object| !matches!(object.kind, ObjectKind::Index));
        for object in objects(&[Does::Alter, Does::Drop]) {
            let inside = |relation: &&Relation| {
                object.kind == ObjectKind::Schema
                    && renames
                    && catalog.schema_name(relation.schema) == object.name
            };
            for relation in catalog.relations().filter(inside) {
                let id = catalog.relation_by_oid(relation.oid);
                if let Some(rule) = id.and_then(|id| seen.rule_of(id)) {
                    return Some((rule.clone(), format!("{} would move", self.spelled(relation))));
                }
            }
            let Some(id) = object.relation else { continue };
            let Some(rule) = seen.rule_of(id) else { continue };
            let name = self.spelled(catalog.relation(id)?);
            let holds = matches!(
                object.kind,
                ObjectKind::Table
                    | ObjectKind::ForeignTable
                    | ObjectKind::View
                    | ObjectKind::MaterializedView
            );
            // Of several that change at once one comes under another, or leaves it.
            if holds && (renames || changed.len() > 1) {
                return Some((rule.clone(), format!("{name} would move out of sight of the rule")));
            }
            let dropped = self.facts.commands.iter().any(|used| {
                used.effect == Does::Drop
                    && used.name.starts_with("drop")
                    && used.object.as_ref().is_some_and(|own| own.relation == Some(id))
            });
            if holds && dropped && object.columns.is_empty() {
                return Some((rule.clone(), format!("{name} would be gone")));
            }
            let needed = seen.needed(id);
            let column = object.columns.iter().find_map(|number| needed?.get_key_value(number));
            if let Some((number, rule)) = column.filter(|_| holds) {
                let column = catalog.relation(id)?.columns.iter().find(|it| it.number == *number);
                let column = column.map_or("", |column| &column.name);
                return Some((rule.clone(), format!("{name}.{column} would change")));
            }
        }
        None
    }

    fn spelled(&self, relation: &Relation) -> String {
        spelled(self.scope.catalog(), relation.schema, &relation.name)
    }
}
