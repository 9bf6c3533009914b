//! Judging one statement: its facts are cut into parts, each part is asked of every rule that means
//! it, and the answers are put together: refuse beats hold beats allow. How each sort of part is
//! asked is in the modules below.

mod commands;
mod functions;
mod hidden;
mod narrowed;
mod relations;
mod settings;

use sql::catalog::{FunctionId, RelationId};
use sql::facts::{
    ChannelUse, CommandUse, Copy, Effect as Does, Facts, Kind, SettingName, SettingUse, Transaction,
};

use crate::rule::{Context, Effect, Rule};
use crate::scope::Scope;
use crate::verb::Verb;
use crate::verdict::{Check, Code, Hold, Missing, Refused, RuleRef, Then, Verdict};

/// Policies that are tried for what is missing.
const OTHERS_MAX: usize = 8;

/// Of what is missing, so much is said.
const MISSING_MAX: usize = 20;

impl Scope {
    /// The verdict on one statement.
    pub fn decide(&self, facts: &Facts, context: Context) -> Verdict {
        let verdict = self.decide_by_policies(facts, context);
        match self.narrow().map(|narrow| narrow.decide_by_policies(facts, context)) {
            Some(Verdict::Refuse(refused)) if !matches!(verdict, Verdict::Refuse(_)) => {
                Verdict::Refuse(refused.out_of_scope())
            }
            _ => verdict,
        }
    }

    fn decide_by_policies(&self, facts: &Facts, context: Context) -> Verdict {
        if let Some(rule) = self.in_force().policies_grant_everything() {
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
                about: None,
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
                about: None,
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

struct Judgement<'j> {
    scope: &'j Scope,
    facts: &'j Facts,
    context: Context,
    refused: Option<(usize, Missing, Want)>,
    missing: Vec<(Missing, Want)>,
    /// Why a setting may not be, if that is what is missing.
    setting: Option<(Code, String)>,
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
        if self.facts.channel_computed {
            self.any_channel();
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

    /// Puts the answer about one part to those about the others.
    fn take(
        &mut self,
        answer: Answer,
        on: &[(RelationId, Verb)],
        missing: impl FnOnce(&Self) -> (Missing, Want),
    ) {
        if let Some(rule) = answer.refused {
            if self.refused.is_none() {
                let (missing, want) = missing(self);
                self.refused = Some((rule, missing, want));
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
        let relation = |want: &Want| match want {
            Want::Relation(id, _) => Some(*id),
            _ => None,
        };
        if let Some((rule, missing, want)) = self.refused {
            let about = relation(&want);
            let rule = name(rule);
            return Verdict::Refuse(Refused {
                code: Code::Refused,
                sentence: format!("{missing} is refused by {rule}."),
                rule: Some(rule),
                missing: vec![missing],
                about,
                ask: Vec::new(),
            });
        }
        if !self.missing.is_empty() {
            let ask = self.others();
            let gone = self.gone_columns();
            let setting = self.setting.take();
            let about = self.missing.iter().find_map(|(_, want)| relation(want));
            let missing: Vec<Missing> = self.missing.into_iter().map(|(it, _)| it).collect();
            let list = missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            return Verdict::Refuse(Refused {
                code: setting.as_ref().map_or(Code::NotAllowed, |(code, _)| *code),
                sentence: setting.map_or_else(
                    || format!("No policy in force allows {list}.{gone}"),
                    |(_, sentence)| sentence,
                ),
                rule: None,
                missing,
                about,
                ask,
            });
        }
        if let Some(refused) = self.hidden() {
            return Verdict::Refuse(refused);
        }
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for (at, on) in &self.asked {
            let Some(rule) = self.scope.rules().get(*at) else { continue };
            let check = Check {
                rule: rule.name.clone(),
                conditions: rule.asked.clone(),
                then: if rule.effect == Effect::Hold { Then::Hold } else { Then::Refuse },
                by: rule.by_spelled.clone(),
                need: rule.need,
                shape: rule.shape,
                on: on.clone(),
            };
            let is_after = rule.asked.iter().any(|condition| condition.is_after());
            if is_after { after.push(check) } else { before.push(check) }
        }
        let all: Vec<Hold> = self
            .holds
            .iter()
            .filter_map(|at| self.scope.rules().get(*at))
            .map(|rule| Hold {
                rule: rule.name.clone(),
                by: rule.by_spelled.clone(),
                need: rule.need,
                shape: rule.shape,
            })
            .collect();
        if let Some(first) = all.first() {
            return Verdict::Hold { by: first.rule.clone(), all, before, after };
        }
        Verdict::Allow { by: self.by.map_or_else(RuleRef::built_in, name), before, after }
    }

    /// What to ask for instead, so that all of it may run: what is open already, and one policy more,
    /// or else all that give some of what is missing. None, where it couldn't run even so.
    fn others(&self) -> Vec<std::sync::Arc<str>> {
        let force = self.scope.in_force();
        let mut giving: Vec<std::sync::Arc<str>> = Vec::new();
        for rule in force.askable() {
            let gives = rule.effect != Effect::Refuse
                && self.missing.iter().any(|(_, want)| self.would_give(rule, want));
            if gives && giving.len() < OTHERS_MAX && !giving.contains(&rule.name.policy) {
                giving.push(rule.name.policy.clone());
            }
        }
        if giving.is_empty() {
            return Vec::new();
        }
        // With these nothing else can be asked for, so this comes to an end.
        let would_run = |more: &[std::sync::Arc<str>]| {
            let scope = force.with(more).scope(self.scope.catalog());
            !matches!(scope.decide(self.facts, self.context), Verdict::Refuse(_))
        };
        let one = giving.iter().map(std::slice::from_ref).find(|one| would_run(one));
        let more = one.or_else(|| would_run(&giving).then_some(&giving));
        more.map_or_else(Vec::new, |more| [force.opened(), more].concat())
    }

    /// Why a rule that would give what is missing doesn't, where a name in it is gone.
    fn gone_columns(&self) -> String {
        for (_, want) in &self.missing {
            let Want::Relation(id, verb) = want else { continue };
            for rule in self.scope.rules() {
                let would = rule.effect != Effect::Refuse && rule.verbs.has(*verb);
                if let Some(column) = self.scope.gone_column(rule, *id).filter(|_| would) {
                    return format!(
                        " {} leaves out {column}, which is not there: until that is put right it \
                         gives nothing of the table.",
                        rule.name
                    );
                }
            }
        }
        String::new()
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
