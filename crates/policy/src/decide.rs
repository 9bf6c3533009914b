//! Judging one statement: its facts are cut into parts, each part is asked of every rule that means
//! it, and the answers are put together: refuse beats hold beats allow.

use std::collections::BTreeSet;

use sql::catalog::{Function, FunctionId, FunctionKind, Relation, RelationId, RelationKind};
use sql::facts::{
    ChannelUse, Columns, CommandUse, Copy, Effect as Does, Facts, Kind, Object, ObjectKind,
    RelationUse, SettingName, SettingUse, Transaction,
};

use crate::builtin;
use crate::object::{CommandPattern, FunctionPattern, RelationPattern, Schemas, quoted, spelled};
use crate::rule::{Context, Effect, Rule};
use crate::scope::{Covered, DATA, Dependent, Match, Scope, is_view, restricts};
use crate::setting::{self, Built, Value};
use crate::verb::Verb;
use crate::verdict::{Check, Code, Hold, Missing, Refused, RuleRef, Then, Verdict};

/// Of what is missing, so much is said.
const MISSING_MAX: usize = 20;

impl Scope {
    /// The verdict on one statement.
    pub fn decide(&self, facts: &Facts, context: Context) -> Verdict {
        if let Some(rule) = self.in_force().grants_everything() {
            return Verdict::Allow { by: rule.clone(), before: Vec::new(), after: Vec::new() };
        }
        let mut judgement = Judgement::new(self, facts, context);
        judgement.statement();
        judgement.verdict()
    }

    /// The verdict on a FunctionCall message: it names a function by its number, and no rule does.
    pub fn decide_function_call(&self) -> Verdict {
        match self.in_force().grants_everything() {
            Some(rule) => {
                Verdict::Allow { by: rule.clone(), before: Vec::new(), after: Vec::new() }
            }
            None => Verdict::Refuse(Refused {
                code: Code::NotAllowed,
                sentence: "Calls by FunctionCall messages pass only where everything is allowed."
                    .to_owned(),
                rule: None,
                missing: vec![Missing { verb: "everything".to_owned(), object: String::new() }],
                ask: Vec::new(),
            }),
        }
    }

    /// The verdict on a text without facts: `why` is what could not be read, as the end of a
    /// sentence.
    pub fn decide_unread(&self, why: &str) -> Verdict {
        match self.in_force().grants_everything() {
            Some(rule) => {
                Verdict::Allow { by: rule.clone(), before: Vec::new(), after: Vec::new() }
            }
            None => Verdict::Refuse(Refused {
                code: Code::NotUnderstood,
                sentence: format!("What this statement does can't be told: {why}."),
                rule: None,
                missing: Vec::new(),
                ask: Vec::new(),
            }),
        }
    }

    /// The verdict on a setting that a client brings when it connects.
    pub fn decide_setting(&self, name: &str, value: &str) -> Verdict {
        let mut facts = Facts::new(Kind::Set);
        facts.settings.push(SettingUse {
            // A server reads both in `options`.
            name: SettingName::One(name.replace('-', "_")),
            value: Some(vec![value.to_owned()]),
            local: false,
            change: true,
            stored: false,
        });
        self.decide(&facts, Context::default())
    }
}

/// What is found about one part.
#[derive(Default)]
struct Answer {
    /// The rule that refuses it.
    refused: Option<usize>,
    granted: Option<usize>,
    built_in: bool,
    /// Holds grant what nothing else does.
    granted_by_hold: bool,
    holds: Vec<usize>,
    /// Rules whose conditions only the database can answer.
    asked: Vec<usize>,
}

impl Answer {
    fn is_granted(&self) -> bool {
        self.granted.is_some() || self.built_in || self.granted_by_hold
    }
}

/// What of a relation a verb needs.
#[derive(Clone, Copy)]
enum Need<'n> {
    Columns(&'n Columns),
    /// Not about columns.
    Whole,
    /// As PostgreSQL has it where no column is named: any will do.
    Any,
}

struct Judgement<'j> {
    scope: &'j Scope,
    facts: &'j Facts,
    context: Context,
    refused: Option<(usize, Missing)>,
    missing: Vec<(Missing, Want)>,
    /// Why a setting may not be, if that is what is missing.
    setting: Option<String>,
    holds: Vec<usize>,
    asked: Vec<(usize, Vec<(RelationId, Verb)>)>,
    /// The rule that gives the first part, or the first one that changes something.
    by: Option<usize>,
    changes: bool,
}

/// What is missing, for those who look who else would give it.
enum Want {
    Relation(RelationId, Verb),
    Function(FunctionId),
    Sequence(RelationId),
    Command(CommandUse),
    Setting(String),
    Channel(String),
}

impl<'j> Judgement<'j> {
    fn new(scope: &'j Scope, facts: &'j Facts, context: Context) -> Self {
        Self {
            scope,
            facts,
            context,
            refused: None,
            missing: Vec::new(),
            setting: None,
            holds: Vec::new(),
            asked: Vec::new(),
            by: None,
            changes: false,
        }
    }

    fn statement(&mut self) {
        for used in &self.facts.relations {
            self.relation_use(used);
        }
        for id in &self.facts.functions {
            self.function(*id);
        }
        self.sequences();
        for used in &self.facts.settings {
            self.setting(used);
        }
        for used in &self.facts.channels {
            match used {
                ChannelUse::Listen(name) => self.channel(Verb::Listen, name),
                ChannelUse::Notify(name) => self.channel(Verb::Notify, name),
                ChannelUse::Unlisten(_) => {}
            }
        }
        for used in &self.facts.commands {
            self.command_use(used);
        }
        self.moves();
        self.leaves_rules();
        let command = match self.facts.kind {
            Kind::Copy(Copy::FromFile) => Some("copy from file"),
            Kind::Copy(Copy::ToFile) => Some("copy to file"),
            Kind::Copy(Copy::FromProgram) => Some("copy from program"),
            Kind::Copy(Copy::ToProgram) => Some("copy to program"),
            _ if !self.facts.commands.is_empty() => None,
            // Of these the facts have said more, or there is nothing to say but the name.
            Kind::Transaction(Transaction::TwoPhase) => Some("prepare transaction"),
            Kind::Command("call") => None,
            Kind::Command(name) => Some(name),
            Kind::CreateTableAs => Some("create table"),
            _ => None,
        };
        let code = self.facts.opaque.filter(|name| *name != "call" && Some(*name) != command);
        let code = code.filter(|name| self.facts.commands.iter().all(|used| used.name != *name));
        for name in [command, code].into_iter().flatten() {
            self.command(&CommandUse {
                name,
                effect: Does::Other,
                named_only: true,
                object: None,
                cascade: false,
            });
        }
    }

    fn relation_use(&mut self, used: &RelationUse) {
        let Some(id) = used.relation else { return };
        self.verbs_on(id, used);
        if !used.only {
            let apart = self.scope.cover(id).map_or(&[][..], |cover| &cover.apart);
            for child in apart {
                let mut below = used.clone();
                for columns in [&mut below.read, &mut below.insert, &mut below.update] {
                    *columns = columns.take().map(|columns| self.of_child(id, *child, &columns));
                }
                self.verbs_on(*child, &below);
            }
        }
    }

    fn verbs_on(&mut self, id: RelationId, used: &RelationUse) {
        for (verb, columns) in
            [(Verb::Read, &used.read), (Verb::Insert, &used.insert), (Verb::Update, &used.update)]
        {
            let Some(columns) = columns else { continue };
            // What a command's own keys take of its rows PostgreSQL lets it take. Where some of the
            // table may be read, it could come out under other names; what goes through an
            // expression or has to be unique, in an error.
            let freely = used.command
                && verb == Verb::Read
                && (!used.tells || self.makes_code())
                && !self.ask_relation(Verb::Read, id, Need::Any).is_granted()
                && self.ask_relation(Verb::Read, id, need(columns)).refused.is_none();
            if !freely {
                self.relation(verb, id, need(columns));
            }
        }
        for (said, verb) in [
            (used.delete, Verb::Delete),
            (used.truncate, Verb::Truncate),
            (used.lock == Some(true), Verb::Lock),
            // Whoever points at it keeps its rows from going and learns which there are.
            (used.reference.is_some(), Verb::Alter),
        ] {
            if said {
                self.relation(verb, id, Need::Whole);
            }
        }
        if let Some(columns) = &used.reference {
            self.relation(Verb::Read, id, need(columns));
        }
        if used.lock == Some(false) || used.like {
            self.relation(Verb::Read, id, Need::Any);
        }
        if used.lock_rows {
            self.lock_rows(id);
        }
    }

    /// Its expressions are kept, and no row goes through them before others write.
    fn makes_code(&self) -> bool {
        self.facts.commands.iter().filter_map(|used| used.object.as_ref()).any(|object| {
            matches!(object.kind, ObjectKind::Trigger | ObjectKind::Rule | ObjectKind::Policy)
        })
    }

    /// What a command gives another name, or another parent, could be read under rules that did
    /// not mean it before; so it has to be readable. So too what is beneath a view that is altered:
    /// it may come to be read with other rights.
    fn moves(&mut self) {
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
    fn leaves_rules(&mut self) {
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

    /// The columns of a child that have the names of a parent's.
    fn of_child(&self, parent: RelationId, child: RelationId, columns: &Columns) -> Columns {
        let catalog = self.scope.catalog();
        let (Some(parent), Some(child)) = (catalog.relation(parent), catalog.relation(child))
        else {
            return columns.clone();
        };
        let names = parent.columns.iter().filter(|column| columns.numbers.contains(&column.number));
        let numbers = names.filter_map(|column| child.column(&column.name)).map(|it| it.number);
        // A row of the parent is not the child's whole row.
        let numbers: BTreeSet<u16> = if columns.whole_row {
            let all = parent.columns.iter().filter_map(|column| child.column(&column.name));
            all.map(|column| column.number).collect()
        } else {
            numbers.collect()
        };
        Columns { numbers, system: columns.system, whole_row: false }
    }

    fn relation(&mut self, verb: Verb, id: RelationId, need: Need<'_>) {
        let answer = self.ask_relation(verb, id, need);
        self.take(answer, &[(id, verb)], |it| {
            (it.relation_missing(verb, id, need), Want::Relation(id, verb))
        });
    }

    fn lock_rows(&mut self, id: RelationId) {
        let update = self.ask_relation(Verb::Update, id, Need::Any);
        let delete = self.ask_relation(Verb::Delete, id, Need::Whole);
        let clear = |answer: &Answer| answer.refused.is_none() && answer.is_granted();
        let freely = |answer: &Answer| clear(answer) && answer.holds.is_empty();
        let mut answer = match () {
            () if freely(&update) => update,
            () if freely(&delete) => delete,
            () if clear(&update) || update.refused.is_some() => update,
            () => delete,
        };
        // It changes no row.
        answer.asked.clear();
        self.take(answer, &[], |it| {
            let mut missing = it.relation_missing(Verb::Update, id, Need::Any);
            missing.verb = "update or delete (it locks rows)".to_owned();
            (missing, Want::Relation(id, Verb::Update))
        });
    }

    fn ask_relation(&self, verb: Verb, id: RelationId, need: Need<'_>) -> Answer {
        let mut answer = Answer::default();
        let catalog = self.scope.catalog();
        let (Some(relation), Some(cover)) = (catalog.relation(id), self.scope.cover(id)) else {
            return answer;
        };
        let mut meant: Vec<(&Match, &Rule)> = Vec::with_capacity(cover.matches.len());
        for of in &cover.matches {
            let Some(rule) = self.scope.rules().get(of.rule) else { continue };
            let about = rule.everything || rule.verbs.has(verb);
            if about && rule.applies(self.facts, self.context) {
                meant.push((of, &**rule));
            }
        }
        for (of, rule) in &meant {
            if touches(of, need) {
                answer.note(of.rule, rule);
            }
        }
        let refusing: Vec<&Match> = match need {
            Need::Any => {
                let refusing = meant.iter().filter(|(_, rule)| rule.refuses_at_once());
                refusing.map(|(of, _)| *of).collect()
            }
            Need::Columns(_) | Need::Whole => Vec::new(),
        };
        // What refuses does not grant, and a wildcard not everything that it means.
        meant.retain(|(of, rule)| {
            rule.effect != Effect::Refuse && self.reaches(verb, id, relation, of)
        });
        let (allows, holds): (Vec<_>, Vec<_>) =
            meant.iter().partition(|(_, rule)| rule.effect == Effect::Allow);
        answer.granted = granting(&allows, need, relation);
        // Any column will do, but one that is refused is none.
        if let Some(first) = refusing.first() {
            let allowed = |number| meant.iter().any(|(of, _)| of.columns.has(number));
            let refused = |number| refusing.iter().any(|of| of.columns.has(number));
            let left =
                |column: &sql::catalog::Column| allowed(column.number) && !refused(column.number);
            if answer.granted.is_some() && !relation.columns.iter().any(left) {
                answer.refused = answer.refused.or(Some(first.rule));
            }
        }
        if answer.granted.is_none() && verb == Verb::Read {
            answer.built_in = self.is_built_in(relation, need);
        }
        if !answer.is_granted() && !holds.is_empty() && granting(&meant, need, relation).is_some() {
            answer.grant_by_hold(self.scope.rules());
        }
        answer
    }

    /// Whether a rule that means the relation grants the verb on it. Reading a view by a wildcard
    /// needs all that is beneath, writing to one its own name.
    fn reaches(&self, verb: Verb, id: RelationId, relation: &Relation, of: &Match) -> bool {
        if self.is_everything(of)
            && self.scope.restricts_data()
            && self.scope.catalog().schema_name(relation.schema) == "pg_catalog"
            && (verb != Verb::Read || SAMPLES.contains(&&*relation.name))
        {
            return false;
        }
        if !is_view(relation) {
            return true;
        }
        if self.is_everything(of) {
            return self.scope.everything_reaches(verb, id);
        }
        match verb {
            Verb::Read if of.named && self.scope.invoked_may_be_read(id) => true,
            Verb::Read => self.scope.beneath_may_be_read(id),
            Verb::Insert | Verb::Update | Verb::Delete => of.named,
            _ => true,
        }
    }

    fn is_everything(&self, of: &Match) -> bool {
        self.scope.rules().get(of.rule).is_some_and(|rule| rule.everything)
    }

    fn is_built_in(&self, relation: &Relation, need: Need<'_>) -> bool {
        let Some(left_out) = builtin::readable(relation, self.scope.catalog()) else {
            return false;
        };
        if left_out.is_empty() {
            return true;
        }
        match need {
            Need::Whole => false,
            Need::Any => true,
            Need::Columns(columns) => relation.columns.iter().all(|column| {
                let read = columns.whole_row || columns.numbers.contains(&column.number);
                !read || !builtin::leaves_out(left_out, column)
            }),
        }
    }

    fn function(&mut self, id: FunctionId) {
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
        let needs_name = builtin::needs_its_name(function, catalog);
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
            let named = of.named && !(rule.everything && self.scope.restricts_data());
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
    fn of_facts(&self, function: &Function) -> bool {
        if self.scope.catalog().schema_name(function.schema) != "pg_catalog" {
            return false;
        }
        match &*function.name {
            "set_config" => self.facts.settings.iter().any(|used| used.change),
            name => {
                verb_on_sequence(name).is_some()
                    && !self.facts.named_computed
                    && !self.facts.named.is_empty()
            }
        }
    }

    /// What functions of sequences do with those that constants name.
    fn sequences(&mut self) {
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

    fn setting(&mut self, used: &SettingUse) {
        if !used.change || used.stored {
            // What is stored is for the command that stores it.
            return;
        }
        let name = match &used.name {
            SettingName::All => return,
            SettingName::One(name) => name.to_lowercase(),
            SettingName::Computed => "(a computed name)".to_owned(),
        };
        // Only statements of their own have a default for a value; others compute it.
        let default = matches!(self.facts.kind, Kind::Set | Kind::Discard | Kind::Command(_));
        let value = match &used.value {
            Some(values) => Value::These(values),
            None if default => Value::Default,
            None => Value::Computed,
        };
        let limits = self.scope.in_force().limits();
        let built = match used.name {
            SettingName::Computed => Built::Reading("what it is"),
            _ => setting::built(&name, value, limits),
        };
        let by_name = matches!(built, Built::Pinned(_));
        let mut answer = Answer { built_in: built == Built::In, ..Answer::default() };
        let mut held = false;
        for (at, rule) in self.scope.rules().iter().enumerate() {
            if !rule.everything {
                let of = rule.settings.of.iter().filter(|pattern| pattern.covers(&name));
                let named = of.map(|pattern| pattern.names(&name)).max();
                let left_out = rule.settings.except.iter().any(|pattern| pattern.covers(&name));
                let Some(named) = named.filter(|_| !left_out) else { continue };
                if by_name && !named && rule.effect != Effect::Refuse {
                    continue;
                }
            }
            if !rule.applies(self.facts, self.context) {
                continue;
            }
            answer.note(at, rule);
            // What changes how text is read can't be allowed where it is read.
            let grants = !matches!(built, Built::Reading(_) | Built::Looser(_));
            match rule.effect {
                Effect::Allow if grants => answer.granted = answer.granted.or(Some(at)),
                Effect::Hold => held |= grants,
                Effect::Allow | Effect::Refuse => {}
            }
        }
        if !answer.is_granted() && held {
            answer.grant_by_hold(self.scope.rules());
        }
        if answer.refused.is_none() && !answer.is_granted() {
            self.setting = match built {
                Built::In | Built::Asked => None,
                _ if used.name == SettingName::Computed => {
                    Some("Which setting changes here can't be told before it runs.".to_owned())
                }
                Built::Pinned("") | Built::Reading("") => {
                    Some(format!("The setting {name} stays empty here."))
                }
                Built::Pinned(value) | Built::Reading(value) => {
                    Some(format!("The setting {name} stays at {value} here."))
                }
                Built::Looser(cap) => Some(format!(
                    "The limits in force let {name} be at most {} ms.",
                    cap.as_millis()
                )),
            };
        }
        self.take(answer, &[], |_| {
            (Missing { verb: "set".to_owned(), object: name.clone() }, Want::Setting(name))
        });
    }

    fn channel(&mut self, verb: Verb, name: &str) {
        let mut answer = Answer { built_in: verb == Verb::Listen, ..Answer::default() };
        let mut held = false;
        for (at, rule) in self.scope.rules().iter().enumerate() {
            let about = rule.verbs.has(verb)
                && rule.channels.of.iter().any(|pattern| pattern.covers(name))
                && !rule.channels.except.iter().any(|pattern| pattern.covers(name));
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
        if !answer.is_granted() && held {
            answer.grant_by_hold(self.scope.rules());
        }
        self.take(answer, &[], |_| {
            let missing = Missing { verb: verb.name().to_owned(), object: quoted(name) };
            (missing, Want::Channel(name.to_owned()))
        });
    }

    fn command_use(&mut self, used: &CommandUse) {
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
            if !types.any(|oid| catalog.rows_in(*oid).is_some_and(|id| gone.contains(&id))) {
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
                }),
                cascade: false,
            });
        }
    }

    fn command(&mut self, used: &CommandUse) {
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
                || (self.scope.restricts_data() && LEADS_PAST.contains(&used.name));
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

    /// Whether a rule is about the command and its object.
    fn means_command(&self, rule: &Rule, used: &CommandUse) -> bool {
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
        if let Some(id) = object.relation
            && self.scope.match_one(rule, id).iter().any(|of| of.whole)
        {
            return true;
        }
        let Some(schema) = &object.schema else {
            // IF EXISTS, and it doesn't.
            let in_vain = object.relation.is_none() && is_grouped(object.kind);
            return in_vain && verb != Verb::Create && rule.effect != Effect::Refuse;
        };
        let covers = |pattern: &RelationPattern| pattern.covers(schema, &object.name);
        rule.relations.of.iter().any(covers) && !rule.relations.except.iter().any(covers)
    }

    /// The relation that an object is on, if it isn't that relation itself.
    fn on_relation(&self, object: &Object) -> Option<(&'j str, &'j str)> {
        let catalog: &'j sql::catalog::Catalog = self.scope.catalog();
        let relation = catalog.relation(object.relation?)?;
        Some((catalog.schema_name(relation.schema), &relation.name))
    }

    /// Puts the answer about one part to those about the others.
    fn take(
        &mut self,
        answer: Answer,
        on: &[(RelationId, Verb)],
        missing: impl FnOnce(&Self) -> (Missing, Want),
    ) {
        if let Some(rule) = answer.refused {
            if self.refused.is_none() {
                self.refused = Some((rule, missing(self).0));
            }
            return;
        }
        if !answer.is_granted() {
            let (missing, want) = missing(self);
            return self.lack(missing, want);
        }
        let changes = on.iter().any(|(_, verb)| *verb != Verb::Read);
        if let Some(by) = answer.granted.or(answer.holds.first().copied())
            && (self.by.is_none() || (changes && !self.changes))
        {
            self.by = Some(by);
            self.changes = changes;
        }
        // EXPLAIN is never held, and changes nothing.
        if matches!(self.facts.kind, Kind::Explain { analyze: false }) {
            return;
        }
        for rule in answer.holds {
            if !self.holds.contains(&rule) {
                self.holds.push(rule);
            }
        }
        for rule in answer.asked {
            match self.asked.iter_mut().find(|(own, _)| *own == rule) {
                Some((_, all)) => all.extend(on),
                None => self.asked.push((rule, on.to_vec())),
            }
        }
    }

    fn lack(&mut self, missing: Missing, want: Want) {
        let said = self.missing.iter().any(|(own, _)| *own == missing);
        if !said && self.missing.len() < MISSING_MAX {
            self.missing.push((missing, want));
        }
    }

    fn verdict(mut self) -> Verdict {
        let name = |at: usize| {
            self.scope.rules().get(at).map_or_else(RuleRef::built_in, |rule| rule.name.clone())
        };
        if let Some((rule, missing)) = self.refused {
            let rule = name(rule);
            return Verdict::Refuse(Refused {
                code: Code::Refused,
                sentence: format!("{missing} is refused by {rule}."),
                rule: Some(rule),
                missing: vec![missing],
                ask: Vec::new(),
            });
        }
        if !self.missing.is_empty() {
            let ask = self.others();
            let setting = self.setting.take();
            let missing: Vec<Missing> = self.missing.into_iter().map(|(it, _)| it).collect();
            let list = missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            return Verdict::Refuse(Refused {
                code: if setting.is_some() { Code::Pinned } else { Code::NotAllowed },
                sentence: setting.unwrap_or_else(|| format!("No policy in force allows {list}.")),
                rule: None,
                missing,
                ask,
            });
        }
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for (at, on) in &self.asked {
            let Some(rule) = self.scope.rules().get(*at) else { continue };
            let check = Check {
                rule: rule.name.clone(),
                conditions: rule.asked.clone(),
                then: if rule.effect == Effect::Hold { Then::Hold } else { Then::Refuse },
                on: on.clone(),
            };
            let is_after = rule.asked.iter().any(|condition| condition.is_after());
            if is_after { after.push(check) } else { before.push(check) }
        }
        let all: Vec<Hold> = self
            .holds
            .iter()
            .filter_map(|at| self.scope.rules().get(*at))
            .map(|rule| Hold { rule: rule.name.clone(), need: rule.need })
            .collect();
        if let Some(first) = all.first() {
            return Verdict::Hold { by: first.rule.clone(), all, before, after };
        }
        Verdict::Allow { by: self.by.map_or_else(RuleRef::built_in, name), before, after }
    }

    /// The policies that would give all that is missing, were they asked for.
    fn others(&self) -> Vec<std::sync::Arc<str>> {
        let mut names: Vec<std::sync::Arc<str>> = Vec::new();
        for rule in self.scope.in_force().askable() {
            let gives = rule.effect != Effect::Refuse
                && self.missing.iter().any(|(_, want)| self.would_give(rule, want));
            if gives && !names.contains(&rule.name.policy) {
                names.push(rule.name.policy.clone());
            }
        }
        names
    }

    fn would_give(&self, rule: &Rule, want: &Want) -> bool {
        if rule.everything {
            return true;
        }
        match want {
            Want::Relation(id, verb) => {
                rule.verbs.has(*verb) && !self.scope.match_one(rule, *id).is_empty()
            }
            Want::Function(id) => {
                let function = self.scope.catalog().function(*id);
                function.is_some_and(|it| self.scope.function_match(rule, it).is_some())
            }
            Want::Sequence(id) => {
                let catalog = self.scope.catalog();
                rule.verbs.has(Verb::Use)
                    && catalog.relation(*id).is_some_and(|relation| {
                        let schema = catalog.schema_name(relation.schema);
                        let mut of = rule.functions.of.iter();
                        of.any(|pattern| pattern.covers_sequence(schema, &relation.name, false))
                    })
            }
            Want::Command(used) => self.means_command(rule, used),
            Want::Setting(name) => rule.settings.of.iter().any(|pattern| pattern.covers(name)),
            Want::Channel(name) => rule.channels.of.iter().any(|pattern| pattern.covers(name)),
        }
    }

    fn relation_missing(&self, verb: Verb, id: RelationId, need: Need<'_>) -> Missing {
        let catalog = self.scope.catalog();
        let verb_name = verb.name().to_owned();
        let Some(relation) = catalog.relation(id) else {
            return Missing { verb: verb_name, object: String::new() };
        };
        let mut object = spelled(catalog, relation.schema, &relation.name);
        if let Need::Columns(columns) = need {
            let matches = self.scope.cover(id).map_or(&[][..], |cover| &cover.matches);
            let left_out = builtin::readable(relation, catalog).filter(|_| verb == Verb::Read);
            let granted = |column: &sql::catalog::Column| {
                left_out.is_some_and(|left_out| !builtin::leaves_out(left_out, column))
                    || matches.iter().any(|of| {
                        let rule = self.scope.rules().get(of.rule);
                        rule.is_some_and(|rule| {
                            rule.effect != Effect::Refuse
                                && rule.verbs.has(verb)
                                && self.reaches(verb, id, relation, of)
                                && of.columns.has(column.number)
                        })
                    })
            };
            let names: Vec<String> = relation
                .columns
                .iter()
                .filter(|column| {
                    (columns.whole_row || columns.numbers.contains(&column.number))
                        && !granted(column)
                })
                .map(|column| quoted(&column.name))
                .collect();
            if !names.is_empty() && names.len() < relation.columns.len() {
                object = format!("{object}({})", names.join(", "));
            } else if names.is_empty() && columns.system {
                object = format!("{object} (system columns: the whole table)");
            }
        }
        Missing { verb: verb_name, object }
    }
}

impl Answer {
    /// What a rule that means the part does to it, besides granting it.
    fn note(&mut self, at: usize, rule: &Rule) {
        match rule.effect {
            Effect::Allow => {}
            Effect::Refuse if rule.refuses_at_once() => self.refused = self.refused.or(Some(at)),
            Effect::Hold if rule.asked.is_empty() => self.holds.push(at),
            Effect::Refuse | Effect::Hold => self.asked.push(at),
        }
    }

    /// What only holds grant is held, whatever their conditions.
    fn grant_by_hold(&mut self, rules: &[std::sync::Arc<Rule>]) {
        self.granted_by_hold = true;
        for at in std::mem::take(&mut self.asked) {
            let holds = rules.get(at).is_some_and(|rule| rule.effect == Effect::Hold);
            if holds { self.holds.push(at) } else { self.asked.push(at) }
        }
    }
}

/// Relations of `pg_catalog` with values out of tables.
const SAMPLES: [&str; 5] =
    ["pg_statistic", "pg_statistic_ext_data", "pg_stats", "pg_stats_ext", "pg_stats_ext_exprs"];

/// Commands by which what is in tables comes and goes without statements about them.
const LEADS_PAST: [&str; 20] = [
    "alter extension",
    "alter foreign data wrapper",
    "alter foreign table",
    "alter publication",
    "alter server",
    "alter subscription",
    "alter system",
    "alter user mapping",
    "copy from file",
    "copy from program",
    "copy to file",
    "copy to program",
    "create foreign data wrapper",
    "create foreign table",
    "create publication",
    "create server",
    "create subscription",
    "create user mapping",
    "import foreign schema",
    "load",
];

/// What a function of `pg_catalog` does with the sequence that it is given the name of.
fn verb_on_sequence(name: &str) -> Option<Verb> {
    match name {
        "nextval" | "currval" => Some(Verb::Use),
        "setval" => Some(Verb::Update),
        "pg_sequence_last_value" => Some(Verb::Read),
        _ => None,
    }
}

fn verb_of(effect: Does) -> Option<Verb> {
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

fn need(columns: &Columns) -> Need<'_> {
    let none = columns.numbers.is_empty() && !columns.system && !columns.whole_row;
    if none { Need::Any } else { Need::Columns(columns) }
}

/// The rule that grants all that is needed, or the first of several that do together.
fn granting(matches: &[(&Match, &Rule)], need: Need<'_>, relation: &Relation) -> Option<usize> {
    if let Some((of, _)) = matches.iter().find(|(of, _)| covers(of, need, relation)) {
        return Some(of.rule);
    }
    let Need::Columns(columns) = need else { return None };
    if columns.system {
        return None;
    }
    let together = |number: u16| matches.iter().any(|(of, _)| of.columns.has(number));
    let all = match columns.whole_row {
        true => relation.columns.iter().all(|column| together(column.number)),
        false => columns.numbers.iter().all(|number| together(*number)),
    };
    matches.first().filter(|_| all).map(|(of, _)| of.rule)
}

/// Whether one rule's meaning holds all that is needed.
fn covers(of: &Match, need: Need<'_>, relation: &Relation) -> bool {
    match (need, &of.columns) {
        (Need::Whole, _) => of.whole,
        (Need::Any, Covered::All) => true,
        (Need::Any, Covered::These(numbers)) => !numbers.is_empty(),
        (Need::Columns(_), Covered::All) => true,
        (Need::Columns(columns), Covered::These(numbers)) => {
            !columns.system
                && columns.numbers.is_subset(numbers)
                && (!columns.whole_row || of.columns.has_all(relation))
        }
    }
}

/// Whether one rule's meaning holds any of what is needed.
fn touches(of: &Match, need: Need<'_>) -> bool {
    match (need, &of.columns) {
        (Need::Whole, _) => of.whole,
        (_, Covered::All) => true,
        (Need::Any, Covered::These(_)) => false,
        (Need::Columns(columns), Covered::These(numbers)) => {
            columns.whole_row || !columns.numbers.is_disjoint(numbers)
        }
    }
}
