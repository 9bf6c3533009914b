//! A rule: verbs, what they are about, what is left out, and the conditions under which it
//! applies. Read here once; whom it binds and what it comes to is for others.

use std::sync::Arc;

use sql::facts::{Copy, Facts, Kind};

use crate::object::{CommandPattern, FunctionPattern, Prefix, RelationPattern};
use crate::verb::{self, Verb, Verbs, Word};
use crate::verdict::{Condition, RuleRef};
use crate::who::Who;
use crate::written::{self, Place, Problem, Text};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Allow,
    Hold,
    Refuse,
}

#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) effect: Effect,
    pub(crate) name: RuleRef,
    pub(crate) place: Place,
    pub(crate) verbs: Verbs,
    /// Commands by their own names.
    pub(crate) commands: Vec<Box<str>>,
    pub(crate) everything: bool,
    pub(crate) relations: Patterns<RelationPattern>,
    pub(crate) functions: Patterns<FunctionPattern>,
    pub(crate) settings: Patterns<Prefix>,
    pub(crate) channels: Patterns<Prefix>,
    pub(crate) objects: Patterns<CommandPattern>,
    /// What can be said before the database is asked.
    pub(crate) known: Vec<Known>,
    /// What only the database can answer: all before it runs, or all after.
    pub(crate) asked: Vec<Condition>,
    /// Who can lift a hold.
    pub(crate) by: Who,
    pub(crate) by_spelled: Arc<str>,
    pub(crate) need: u32,
    /// They may agree to the statement with other parameters, too.
    pub(crate) shape: bool,
}

/// What a rule is about, of one kind of objects.
#[derive(Clone, Debug)]
pub(crate) struct Patterns<P> {
    pub(crate) of: Vec<P>,
    pub(crate) except: Vec<P>,
}

impl<P> Default for Patterns<P> {
    fn default() -> Self {
        Self { of: Vec::new(), except: Vec::new() }
    }
}

/// Conditions that the facts answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    NoWhere,
    Copy,
    SeveralStatements,
}

/// Of the statement as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// It stands with others in one text.
    pub several_statements: bool,
}

/// Who lifts holds where a rule does not say it.
#[derive(Debug)]
pub(crate) struct Approvers {
    pub(crate) by: Who,
    pub(crate) need: u32,
}

/// The most people that can be asked for.
const NEED_MAX: u32 = 100;

const RELATION_VERBS: [Verb; 11] = [
    Verb::Read,
    Verb::Insert,
    Verb::Update,
    Verb::Delete,
    Verb::Truncate,
    Verb::Lock,
    Verb::Create,
    Verb::Alter,
    Verb::Drop,
    Verb::Comment,
    Verb::Maintain,
];

const COLUMN_VERBS: [Verb; 3] = [Verb::Read, Verb::Insert, Verb::Update];

impl Rule {
    pub(crate) fn read(
        written: &written::Rule,
        effect: Effect,
        policy: &str,
        approvers: Option<&Approvers>,
        problems: &mut Vec<Problem>,
    ) -> Option<Self> {
        let before = problems.len();
        let mut rule = Self {
            effect,
            name: RuleRef {
                policy: policy.into(),
                rule: spelled(written).into(),
                line: written.verbs.place.line,
            },
            place: written.verbs.place,
            verbs: Verbs::default(),
            commands: Vec::new(),
            everything: false,
            relations: Patterns::default(),
            functions: Patterns::default(),
            settings: Patterns::default(),
            channels: Patterns::default(),
            objects: Patterns::default(),
            known: Vec::new(),
            asked: Vec::new(),
            by: Who::default(),
            by_spelled: Arc::default(),
            need: 1,
            shape: false,
        };
        let mut in_schemas = Vec::new();
        match written.verbs.split() {
            Ok(words) => {
                for text in words {
                    match verb::word(&text.text) {
                        Some(Word::Verbs(verbs)) => rule.verbs.add(verbs),
                        Some(Word::Everything) => rule.everything = true,
                        Some(Word::Command { name, in_schema }) => {
                            rule.commands.push(name);
                            in_schemas.push(in_schema);
                        }
                        None => problems.push(unknown(&text)),
                    }
                }
            }
            Err(problem) => problems.push(problem),
        }
        rule.objects(written, &in_schemas, problems);
        rule.conditions(written, problems);
        rule.approvers(written, approvers, problems);
        (problems.len() == before).then_some(rule)
    }

    fn objects(
        &mut self,
        written: &written::Rule,
        in_schemas: &[bool],
        problems: &mut Vec<Problem>,
    ) {
        let any = Text { text: "*".to_owned(), place: written.verbs.place };
        let of =
            if written.objects.is_empty() { vec![any] } else { parts(&written.objects, problems) };
        let except = parts(&written.except, problems);
        if self.everything {
            let named = of.iter().find(|text| text.text != "*").or(except.first());
            if let Some(text) = named {
                problems.push(Problem::new(
                    text.place,
                    "`everything` is about everything; name what it leaves out in a `refuse` rule",
                ));
            }
            if !self.verbs.is_empty() || !self.commands.is_empty() {
                let message = "`everything` holds every other verb already; leave those out";
                problems.push(Problem::new(written.verbs.place, message));
            }
            return;
        }
        let group = |verbs: &[Verb]| verbs.iter().copied().collect::<Verbs>();
        let relations = self.verbs.overlap(group(&RELATION_VERBS));
        let functions = self.verbs.overlap(group(&[Verb::Use, Verb::Call]));
        let settings = self.verbs.has(Verb::Set);
        let channels = self.verbs.overlap(group(&[Verb::Listen, Verb::Notify]));
        // Commands by their own names see the objects of verbs as well as their own.
        let shapes: Vec<bool> = in_schemas.to_vec();
        for (texts, excepts) in [(&of, false), (&except, true)] {
            for text in texts {
                if relations {
                    self.relation(text, excepts, problems);
                }
                if functions {
                    keep(FunctionPattern::read(text), &mut self.functions, excepts, problems);
                }
                if settings {
                    keep(Prefix::setting(text), &mut self.settings, excepts, problems);
                }
                if channels {
                    keep(Prefix::channel(text), &mut self.channels, excepts, problems);
                }
                for in_schema in &shapes {
                    let read = CommandPattern::read(text, *in_schema);
                    keep(read, &mut self.objects, excepts, problems);
                }
            }
        }
        problems.sort();
        problems.dedup();
    }

    fn relation(&mut self, text: &Text, except: bool, problems: &mut Vec<Problem>) {
        let pattern = match RelationPattern::read(text) {
            Ok(pattern) => pattern,
            Err(problem) => return problems.push(problem),
        };
        // An exception of columns narrows what is about columns and nothing else.
        let mut others = self.verbs.iter().filter(|verb| !COLUMN_VERBS.contains(verb));
        if pattern.columns.is_some()
            && !except
            && let Some(verb) = others.find(|verb| RELATION_VERBS.contains(verb))
        {
            let message = format!(
                "`{}`: `{}` is about whole tables; give `read`, `insert` and `update` of columns \
                 in a rule of their own",
                text.text,
                verb.name()
            );
            return problems.push(Problem::new(text.place, message));
        }
        let patterns = &mut self.relations;
        if except { patterns.except.push(pattern) } else { patterns.of.push(pattern) }
    }

    fn conditions(&mut self, written: &written::Rule, problems: &mut Vec<Problem>) {
        for text in &written.conditions {
            for part in match text.split() {
                Ok(parts) => parts,
                Err(problem) => {
                    problems.push(problem);
                    continue;
                }
            } {
                match condition(&part.text) {
                    Some(Either::Known(known)) => {
                        if known == Known::NoWhere && !self.is_about_where() {
                            let message = "`no where` is about `update`, `delete` and `write`";
                            problems.push(Problem::new(part.place, message));
                        }
                        self.known.push(known);
                    }
                    Some(Either::Asked(asked)) => {
                        if self.effect == Effect::Allow {
                            let message = format!(
                                "`{}` in an `allow` rule is not built yet; say the opposite in a \
                                 `refuse` rule",
                                part.text
                            );
                            problems.push(Problem::new(part.place, message));
                        }
                        self.asked.push(asked);
                    }
                    None => {
                        let message = format!(
                            "`{}` is not a condition; they are `no where`, `estimate > N`, `cost > \
                             N`, `copy`, `several statements`, `changed > N` and `every row`",
                            part.text
                        );
                        problems.push(Problem::new(part.place, message));
                    }
                }
            }
        }
        let after = self.asked.iter().filter(|condition| condition.is_after()).count();
        if after > 0 && after < self.asked.len() {
            let message = "conditions before a statement runs and conditions after it in one rule \
                           are not built yet; write two rules";
            problems.push(Problem::new(written.verbs.place, message));
        }
    }

    fn is_about_where(&self) -> bool {
        self.verbs.has(Verb::Update) || self.verbs.has(Verb::Delete) || self.everything
    }

    fn approvers(
        &mut self,
        written: &written::Rule,
        approvers: Option<&Approvers>,
        problems: &mut Vec<Problem>,
    ) {
        let need = written.need.as_ref().map(|need| read_need(need, problems));
        match &written.shape {
            None => {}
            Some(shape) if shape.text == "true" => self.shape = true,
            Some(shape) if shape.text == "false" => {}
            Some(shape) => {
                let message = "`shape` is `true` or `false`";
                problems.push(Problem::new(shape.place, message));
            }
        }
        if self.effect != Effect::Hold {
            if !written.by.is_empty() || need.is_some() || written.shape.is_some() {
                let message = "`by`, `need` and `shape` belong to `hold`: nobody is asked here";
                problems.push(Problem::new(written.verbs.place, message));
            }
            return;
        }
        if written.by.is_empty() {
            match approvers {
                Some(approvers) => {
                    self.by = approvers.by.clone();
                    self.need = need.unwrap_or(approvers.need);
                }
                None => problems.push(Problem::new(
                    written.verbs.place,
                    "nobody could agree to this hold: give it `by`, or `access` an `approval` with \
                     `by`",
                )),
            }
        } else {
            self.by = Who::read(&written.by, problems);
            self.need = need.unwrap_or(1);
        }
        self.by_spelled = self.by.to_string().into();
    }

    /// Whether its conditions that the facts answer hold.
    pub(crate) fn applies(&self, facts: &Facts, context: Context) -> bool {
        self.known.iter().all(|known| known.holds(facts, context))
    }

    pub(crate) fn has_conditions(&self) -> bool {
        !self.known.is_empty() || !self.asked.is_empty()
    }

    /// Whether it refuses without asking the database anything.
    pub(crate) fn refuses_at_once(&self) -> bool {
        self.effect == Effect::Refuse && self.asked.is_empty()
    }

    pub(crate) fn names_command(&self, name: &str) -> bool {
        self.commands.iter().any(|own| **own == *name)
    }
}

impl Known {
    fn holds(self, facts: &Facts, context: Context) -> bool {
        match self {
            Self::NoWhere => match facts.restricted {
                Some(restricted) => !restricted,
                None => facts.relations.iter().any(|used| used.truncate),
            },
            Self::Copy => matches!(
                facts.kind,
                Kind::Copy(
                    Copy::FromClient
                        | Copy::ToClient
                        | Copy::FromFile
                        | Copy::ToFile
                        | Copy::FromProgram
                        | Copy::ToProgram,
                )
            ),
            Self::SeveralStatements => context.several_statements,
        }
    }
}

impl Condition {
    pub fn is_after(&self) -> bool {
        matches!(self, Self::ChangedOver(_) | Self::EveryRow)
    }
}

enum Either {
    Known(Known),
    Asked(Condition),
}

fn condition(text: &str) -> Option<Either> {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    Some(match &*text {
        "no where" => Either::Known(Known::NoWhere),
        "copy" => Either::Known(Known::Copy),
        "several statements" => Either::Known(Known::SeveralStatements),
        "every row" => Either::Asked(Condition::EveryRow),
        text => {
            let (what, number) = text.split_once('>')?;
            let number = number.trim();
            Either::Asked(match what.trim() {
                "estimate" => Condition::EstimateOver(number.parse().ok()?),
                "changed" => Condition::ChangedOver(number.parse().ok()?),
                "cost" => {
                    let cost: f64 = number.parse().ok()?;
                    Condition::CostOver(Some(cost).filter(|cost| cost.is_finite() && *cost >= 0.0)?)
                }
                _ => return None,
            })
        }
    })
}

pub(crate) fn read_need(text: &Text, problems: &mut Vec<Problem>) -> u32 {
    match text.text.parse() {
        Ok(need) if (1..=NEED_MAX).contains(&need) => need,
        _ => {
            let message = format!("`need` is a whole number from 1 to {NEED_MAX}");
            problems.push(Problem::new(text.place, message));
            1
        }
    }
}

/// All objects of a list, each of which may have commas.
fn parts(texts: &[Text], problems: &mut Vec<Problem>) -> Vec<Text> {
    let mut all = Vec::new();
    for text in texts {
        match text.split() {
            Ok(parts) => all.extend(parts),
            Err(problem) => problems.push(problem),
        }
    }
    all
}

fn keep<P>(
    read: Result<P, Problem>,
    patterns: &mut Patterns<P>,
    except: bool,
    problems: &mut Vec<Problem>,
) {
    match read {
        Ok(pattern) if except => patterns.except.push(pattern),
        Ok(pattern) => patterns.of.push(pattern),
        Err(problem) => problems.push(problem),
    }
}

/// The rule in one line, as it is written.
fn spelled(written: &written::Rule) -> String {
    let list =
        |texts: &[Text]| texts.iter().map(|text| text.text.as_str()).collect::<Vec<_>>().join(", ");
    let mut text = written.verbs.text.clone();
    if !written.objects.is_empty() {
        text = format!("{text}: {}", list(&written.objects));
    }
    if !written.except.is_empty() {
        text = format!("{text} except {}", list(&written.except));
    }
    if !written.conditions.is_empty() {
        text = format!("{text} if {}", list(&written.conditions));
    }
    text
}

fn unknown(text: &Text) -> Problem {
    let near = verb::words()
        .map(|word| (distance(&text.text.to_lowercase(), &word), word))
        .min()
        .filter(|(distance, word)| *distance <= (word.len() / 3).max(1));
    let instead = match (&*text.text, near) {
        ("select", _) => "; reading is `read`".to_owned(),
        ("execute", _) => "; functions are `use`, procedures `call`".to_owned(),
        (_, Some((_, word))) => format!("; did you mean `{word}`?"),
        _ => "; see \"Verbs\" in the reference".to_owned(),
    };
    Problem::new(text.place, format!("`{}` is not a verb or a command{instead}", text.text))
}

/// Levenshtein's, over texts that are short.
fn distance(a: &str, b: &str) -> usize {
    if a.len() > 64 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, a) in a.chars().enumerate() {
        let (mut left, mut diagonal) = (i + 1, i);
        for (slot, b) in row.iter_mut().skip(1).zip(b.chars()) {
            let above = *slot;
            left = (diagonal + usize::from(a != b)).min(above + 1).min(left + 1);
            diagonal = above;
            *slot = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}
