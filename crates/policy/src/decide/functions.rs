//! The functions that a statement calls, and the sequences that constants name for them.

use std::collections::BTreeSet;

use sql::catalog::{Function, FunctionId, FunctionKind, RelationId, RelationKind};
use sql::facts::Columns;

use super::relations::Need;
use super::{Answer, Judgement, Want};
use crate::builtin;
use crate::disguise::is_opaque;
use crate::object::{FunctionPattern, spelled};
use crate::rule::{Effect, Rule};
use crate::scope::{DATA, restricts};
use crate::verb::Verb;
use crate::verdict::Missing;

impl<'j> Judgement<'j> {
    pub(super) fn function(&mut self, id: FunctionId) {
        let catalog = self.scope.catalog();
        let Some(function) = catalog.function(id) else {
            return self
                .lack(Missing { verb: "use".into(), object: String::new() }, Want::Function(id));
        };
        let may_call = builtin::may_call(function, catalog) || self.of_facts(function);
        if may_call && !self.scope.restricts_functions() {
            return;
        }
        let verb = if function.kind == FunctionKind::Procedure { Verb::Call } else { Verb::Use };
        // Its body could read what is hidden.
        let unseen = self.scope.in_force().hides_something() && is_opaque(function, catalog);
        let needs_name = builtin::needs_its_name(function, catalog) || unseen;
        let mut answer = Answer { built_in: may_call, ..Answer::default() };
        let mut held = false;
        for of in self.scope.function(id) {
            let Some(rule) = self.scope.rules().get(of.rule) else { continue };
            let about = rule.everything || rule.verbs.has(verb);
            if !about || !rule.applies(self.facts, self.context) {
                continue;
            }
            answer.note(of.rule, rule);
            // It could do unseen what another rule refuses.
            let unseen = rule.everything && self.scope.restricts_data();
            let named = of.named && (!unseen || self.shows_numbers_alone(function));
            let grants = named || !needs_name;
            match rule.effect {
                Effect::Allow if grants => answer.granted = answer.granted.or(Some(of.rule)),
                Effect::Hold => held |= grants,
                Effect::Allow | Effect::Refuse => {}
            }
        }
        if !answer.is_granted() && held {
            answer.grant_by_hold(self.scope.rules());
        }
        self.take(answer, &[], |it| {
            let object = spelled(it.scope.catalog(), function.schema, &function.name);
            (Missing { verb: verb.name().to_owned(), object }, Want::Function(id))
        });
    }

    /// Functions that the facts say more of: it is judged by itself.
    pub(super) fn of_facts(&self, function: &Function) -> bool {
        if self.scope.catalog().schema_name(function.schema) != "pg_catalog" {
            return false;
        }
        match &*function.name {
            "set_config" => self.facts.settings.iter().any(|used| used.change),
            "pg_notify" => !self.facts.channel_computed || self.notifies_all(),
            name => {
                verb_on_sequence(name).is_some()
                    && !self.facts.named_computed
                    && !self.facts.named.is_empty()
            }
        }
    }

    /// Whatever sequence a value names, nothing that is hidden is in it; a rule could refuse it.
    fn shows_numbers_alone(&self, function: &Function) -> bool {
        let of_sequences = self.scope.catalog().schema_name(function.schema) == "pg_catalog"
            && verb_on_sequence(&function.name).is_some();
        let about_them = |rule: &Rule| restricts(rule, &DATA) || restricts(rule, &[Verb::Use]);
        of_sequences && !self.scope.rules().iter().any(|rule| about_them(rule))
    }

    /// What functions of sequences do with those that constants name.
    pub(super) fn sequences(&mut self) {
        if self.facts.named.is_empty() {
            return;
        }
        let catalog = self.scope.catalog();
        let functions = self.facts.functions.iter().filter_map(|id| catalog.function(*id));
        let verbs: BTreeSet<Verb> = functions
            .filter(|function| catalog.schema_name(function.schema) == "pg_catalog")
            .filter_map(|function| verb_on_sequence(&function.name))
            .collect();
        for id in &self.facts.named {
            let sequence = catalog.relation(*id);
            if !sequence.is_some_and(|relation| relation.kind == RelationKind::Sequence) {
                continue;
            }
            for verb in &verbs {
                match verb {
                    Verb::Use => self.use_sequence(*id),
                    verb => self.relation(*verb, *id, Need::Any),
                }
            }
        }
    }

    fn use_sequence(&mut self, id: RelationId) {
        let catalog = self.scope.catalog();
        let Some(sequence) = catalog.relation(id) else { return };
        let schema = catalog.schema_name(sequence.schema);
        let mut answer = Answer::default();
        let mut held = false;
        for (at, rule) in self.scope.rules().iter().enumerate() {
            let covers = |of: &[FunctionPattern], wide| {
                of.iter().any(|pattern| pattern.covers_sequence(schema, &sequence.name, wide))
            };
            let about = rule.verbs.has(Verb::Use)
                && covers(&rule.functions.of, rule.effect == Effect::Refuse)
                && !covers(&rule.functions.except, true);
            if !(rule.everything || about) || !rule.applies(self.facts, self.context) {
                continue;
            }
            answer.note(at, rule);
            match rule.effect {
                Effect::Allow => answer.granted = answer.granted.or(Some(at)),
                Effect::Hold => held = true,
                Effect::Refuse => {}
            }
        }
        if !answer.is_granted()
            && let Some((owner, column)) = sequence.owned_by
        {
            // Whoever inserts the column takes from its sequence.
            let columns = Columns { numbers: [column].into(), ..Columns::default() };
            let insert = self.ask_relation(Verb::Insert, owner, Need::Columns(&columns));
            answer.built_in = insert.refused.is_none() && insert.is_granted();
        }
        if !answer.is_granted() && held {
            answer.grant_by_hold(self.scope.rules());
        }
        self.take(answer, &[], |it| {
            let object = spelled(it.scope.catalog(), sequence.schema, &sequence.name);
            (Missing { verb: "use".to_owned(), object }, Want::Sequence(id))
        });
    }
}

/// What a function of `pg_catalog` does with the sequence that it is given the name of.
fn verb_on_sequence(name: &str) -> Option<Verb> {
    match name {
        "nextval" | "currval" => Some(Verb::Use),
        "setval" => Some(Verb::Update),
        "pg_get_sequence_data" | "pg_sequence_last_value" => Some(Verb::Read),
        _ => None,
    }
}
