//! A random policy over a schema, and the GRANTs that say the same, worked out from the words of
//! the reference and not from the code that is tested.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use policy::written;

use crate::random::Random;
use crate::schema::{Call, Kind, Schema, quoted};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verb {
    Read,
    Insert,
    Update,
    Delete,
    Truncate,
}

const VERBS: [Verb; 5] = [Verb::Read, Verb::Insert, Verb::Update, Verb::Delete, Verb::Truncate];

impl Verb {
    fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Truncate => "truncate",
        }
    }

    fn privilege(self) -> &'static str {
        match self {
            Self::Read => "SELECT",
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Truncate => "TRUNCATE",
        }
    }

    fn has_columns(self) -> bool {
        matches!(self, Self::Read | Self::Insert | Self::Update)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Allow,
    Refuse,
}

/// `schema.name(columns)`, each part of which may be any.
#[derive(Clone, Debug)]
struct Object {
    schema: Option<&'static str>,
    name: Option<String>,
    columns: Option<Vec<&'static str>>,
    /// Of a function: one overload.
    types: Option<String>,
}

#[derive(Clone, Debug)]
struct Rule {
    effect: Effect,
    verbs: Vec<Verb>,
    /// `use`, `call` or `create` instead.
    other: Option<&'static str>,
    of: Vec<Object>,
    except: Vec<Object>,
}

#[derive(Debug)]
pub(crate) struct Rules {
    rules: Vec<Rule>,
}

/// What may be done with a relation by one verb.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) columns: BTreeSet<&'static str>,
    /// No column is left out, nor the system's.
    pub(crate) all: bool,
    /// What is not about columns.
    pub(crate) whole: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Grants {
    pub(crate) relations: BTreeMap<(usize, Verb), Given>,
    functions: BTreeSet<usize>,
    /// With the privilege.
    sequences: BTreeSet<(usize, &'static str)>,
    schemas: BTreeSet<&'static str>,
}

impl Rules {
    pub(crate) fn random(schema: &Schema, random: &mut Random) -> Self {
        let mut rules = Vec::new();
        for _ in 0..2 + random.below(8) {
            rules.push(Rule::of_relations(schema, random, Effect::Allow));
        }
        if random.percent(35) {
            rules.push(Rule::of_relations(schema, random, Effect::Refuse));
        }
        for _ in 0..random.below(4) {
            let other = if random.percent(75) { "use" } else { "call" };
            rules.push(Rule::of_functions(schema, random, other, Effect::Allow));
        }
        if random.percent(15) {
            rules.push(Rule::of_functions(schema, random, "use", Effect::Refuse));
        }
        if random.percent(30) {
            let of = Object::new(Some(*random.pick(&schema.schemas)), None);
            rules.push(Rule {
                effect: Effect::Allow,
                verbs: Vec::new(),
                other: Some("create"),
                of: vec![of],
                except: Vec::new(),
            });
        }
        Self { rules }
    }

    /// As two policies, of which one binds everyone: it makes no difference.
    pub(crate) fn written(&self) -> Vec<written::Policy> {
        let rules = |effect, part| {
            let own = self.rules.iter().enumerate().filter(move |(at, _)| at % 2 == part);
            own.filter(|(_, rule)| rule.effect == effect).map(|(_, rule)| rule.written()).collect()
        };
        let policy = |name: &str, part, access| written::Policy {
            name: text(name.to_owned()),
            who: vec![written::Who::One(text("*".to_owned()))],
            to: vec![text("*".to_owned())],
            access,
            allow: rules(Effect::Allow, part),
            refuse: rules(Effect::Refuse, part),
            ..written::Policy::default()
        };
        let access = written::Access {
            approval: Some(written::Approval::Word(text("none".to_owned()))),
            ..written::Access::default()
        };
        vec![policy("opens", 0, Some(access)), policy("binds", 1, None)]
    }

    /// As a file would say it.
    pub(crate) fn spelled(&self) -> String {
        let mut spelled = String::new();
        for rule in &self.rules {
            let except = match rule.except.is_empty() {
                true => String::new(),
                false => format!(" except {}", list(&rule.except)),
            };
            writeln!(spelled, "  {:?}: {}: {}{except}", rule.effect, rule.words(), list(&rule.of))
                .unwrap();
        }
        spelled
    }

    pub(crate) fn grants(&self, schema: &Schema) -> Grants {
        let mut grants = Grants::default();
        for number in 0..schema.functions.len() {
            if self.may_call(schema, number) {
                grants.functions.insert(number);
            }
        }
        for rule in self.rules.iter().filter(|rule| rule.other == Some("create")) {
            grants.schemas.extend(rule.of.iter().filter_map(|of| of.schema));
        }
        // Views come after what they read.
        for relation in 0..schema.relations.len() {
            for verb in VERBS {
                let given = self.given(schema, &grants, relation, verb);
                if !given.columns.is_empty() || given.whole {
                    grants.relations.insert((relation, verb), given);
                }
            }
        }
        for (number, sequence) in schema.sequences.iter().enumerate() {
            let by_column = sequence.owner.is_some_and(|owner| {
                let given = grants.relations.get(&(owner, Verb::Insert));
                given.is_some_and(|given| given.columns.contains("id"))
            });
            if by_column || self.may_use(sequence.schema, &sequence.name) {
                grants.sequences.insert((number, "USAGE"));
            }
            for verb in [Verb::Read, Verb::Update] {
                if self.may_as_relation(verb, sequence.schema, &sequence.name) {
                    grants.sequences.insert((number, verb.privilege()));
                }
            }
        }
        grants
    }

    fn given(&self, schema: &Schema, grants: &Grants, relation: usize, verb: Verb) -> Given {
        let of = &schema.relations[relation];
        let mut given = Given::default();
        let about = |rule: &&Rule| rule.verbs.contains(&verb);
        for rule in self.rules.iter().filter(about).filter(|rule| rule.effect == Effect::Allow) {
            let wildcard = rule.means(schema, relation, Some(false));
            let named = rule.means(schema, relation, Some(true));
            let both = rule.means(schema, relation, None);
            let add = match of.kind {
                Kind::Table => both,
                _ => {
                    let reachable = beneath(schema, grants, relation);
                    let invoker = of.kind == (Kind::View { invoker: true });
                    let mut add = Given::default();
                    if verb != Verb::Read || !invoker || reachable {
                        add.join(named);
                    }
                    if !matches!(verb, Verb::Insert | Verb::Update | Verb::Delete)
                        && (verb != Verb::Read || reachable)
                    {
                        add.join(wildcard);
                    }
                    add
                }
            };
            given.join(add);
        }
        for rule in self.rules.iter().filter(about).filter(|rule| rule.effect == Effect::Refuse) {
            let taken = rule.means(schema, relation, None);
            if taken.whole {
                given.whole = false;
            }
            if taken.all || !taken.columns.is_empty() {
                given.all = false;
                given.columns.retain(|column| !taken.columns.contains(column));
            }
        }
        given
    }

    fn may_call(&self, schema: &Schema, number: usize) -> bool {
        let function = &schema.functions[number];
        let verb = if function.call == Call::Procedure { "call" } else { "use" };
        let types = schema.types(number);
        let covers = |of: &Object| {
            of.schema.is_none_or(|it| it == function.schema)
                && of.name.as_ref().is_none_or(|it| it == function.name)
                && of.types.as_ref().is_none_or(|it| *it == types)
        };
        let means = |rule: &Rule| {
            let of = rule.of.iter().filter(|of| covers(of));
            // What runs with its owner's rights needs its own name.
            let of = of.filter(|of| {
                rule.effect == Effect::Refuse || of.name.is_some() || !function.definer
            });
            rule.other == Some(verb) && of.count() > 0 && !rule.except.iter().any(covers)
        };
        let any = |effect| self.rules.iter().any(|rule| rule.effect == effect && means(rule));
        any(Effect::Allow) && !any(Effect::Refuse)
    }

    /// A sequence is read and set as a table is.
    fn may_as_relation(&self, verb: Verb, schema: &str, name: &str) -> bool {
        let covers = |of: &Object| of.columns.is_none() && of.covers(schema, name);
        let means = |rule: &Rule| {
            rule.verbs.contains(&verb)
                && rule.of.iter().any(covers)
                && !rule.except.iter().any(covers)
        };
        let any = |effect| self.rules.iter().any(|rule| rule.effect == effect && means(rule));
        any(Effect::Allow) && !any(Effect::Refuse)
    }

    fn may_use(&self, schema: &str, name: &str) -> bool {
        let covers = |of: &Object| {
            of.schema.is_none_or(|it| it == schema)
                && of.name.as_ref().is_none_or(|it| it == name)
                && of.types.is_none()
        };
        let means = |rule: &Rule| {
            rule.other == Some("use")
                && rule.of.iter().any(covers)
                && !rule.except.iter().any(covers)
        };
        let any = |effect| self.rules.iter().any(|rule| rule.effect == effect && means(rule));
        any(Effect::Allow) && !any(Effect::Refuse)
    }
}

/// Whether all that a view reads may be read and called.
fn beneath(schema: &Schema, grants: &Grants, view: usize) -> bool {
    let view = &schema.relations[view];
    let readable = |relation: usize, columns: &[&'static str]| {
        let given = grants.relations.get(&(relation, Verb::Read));
        let there = |column: &&str| {
            let own = schema.relations[relation].columns.iter().any(|it| it.name == *column);
            !own || given.is_some_and(|given| given.columns.contains(column))
        };
        columns.iter().all(there)
    };
    view.calls.iter().all(|function| grants.functions.contains(function))
        && view.reads.iter().all(|(relation, columns)| {
            readable(*relation, columns)
                && schema.descendants(*relation).iter().all(|child| readable(*child, columns))
        })
}

impl Given {
    fn join(&mut self, other: Self) {
        self.columns.extend(other.columns);
        self.all |= other.all;
        self.whole |= other.whole;
    }
}

impl Rule {
    fn of_relations(schema: &Schema, random: &mut Random, effect: Effect) -> Self {
        let verbs = match random.below(4) {
            0 => vec![Verb::Insert, Verb::Update, Verb::Delete],
            1 => random.at_least_one(&VERBS, 40),
            2 => vec![Verb::Read, *random.pick(&VERBS[1..])],
            _ => vec![Verb::Read],
        };
        let columns = verbs.iter().all(|verb| verb.has_columns());
        let mut of = vec![Object::random(schema, random, columns)];
        if random.percent(50) {
            of.push(Object::random(schema, random, columns));
        }
        if effect == Effect::Refuse {
            // Or nothing would be left.
            of.retain(|of| of.name.is_some());
        }
        let except = match effect == Effect::Allow && random.percent(25) {
            true => vec![Object::random(schema, random, true)],
            false => Vec::new(),
        };
        if of.is_empty() {
            of.push(Object::named(schema, random));
        }
        Self { effect, verbs, other: None, of, except }
    }

    fn of_functions(
        schema: &Schema,
        random: &mut Random,
        other: &'static str,
        effect: Effect,
    ) -> Self {
        let of = match random.below(4) {
            0 if effect == Effect::Allow => Object::new(None, None),
            1 if effect == Effect::Allow => Object::new(Some(*random.pick(&schema.schemas)), None),
            2 if other == "use" && !schema.sequences.is_empty() => {
                let sequence = random.pick(&schema.sequences);
                Object::new(Some(sequence.schema), Some(sequence.name.clone()))
            }
            _ => {
                let number = random.below(schema.functions.len());
                let function = &schema.functions[number];
                let name = Some(function.name.to_owned());
                let mut of = Object::new(Some(function.schema), name);
                if random.percent(50) {
                    of.types = Some(schema.types(number));
                }
                of
            }
        };
        Self { effect, verbs: Vec::new(), other: Some(other), of: vec![of], except: Vec::new() }
    }

    fn words(&self) -> String {
        match self.other {
            Some(other) => other.to_owned(),
            None => self.verbs.iter().map(|verb| verb.name()).collect::<Vec<_>>().join(", "),
        }
    }

    fn written(&self) -> written::Rule {
        let each = |objects: &[Object]| objects.iter().map(|of| text(of.spelled())).collect();
        written::Rule {
            verbs: text(self.words()),
            objects: each(&self.of),
            except: each(&self.except),
            ..written::Rule::default()
        }
    }

    /// What the rule means of a relation: by its name, by wildcards, or by either.
    fn means(&self, schema: &Schema, relation: usize, named: Option<bool>) -> Given {
        let own = &schema.relations[relation].columns;
        let mut given = Given::default();
        for one in schema.kin(relation) {
            let one = &schema.relations[one];
            let common = || {
                let names = own.iter().map(|column| column.name);
                names.filter(|name| one.columns.iter().any(|column| column.name == *name))
            };
            for of in self.of.iter().filter(|of| of.covers(one.schema, one.name)) {
                if named.is_some_and(|named| named != of.name.is_some()) {
                    continue;
                }
                match &of.columns {
                    None => {
                        given.whole = true;
                        given.all |= common().count() == own.len();
                        given.columns.extend(common());
                    }
                    Some(names) => given.columns.extend(common().filter(|it| names.contains(it))),
                }
            }
        }
        for one in schema.kin(relation) {
            let one = &schema.relations[one];
            for of in self.except.iter().filter(|of| of.covers(one.schema, one.name)) {
                let taken: Vec<&str> = own
                    .iter()
                    .map(|column| column.name)
                    .filter(|name| one.columns.iter().any(|column| column.name == *name))
                    .filter(|name| of.columns.as_ref().is_none_or(|names| names.contains(name)))
                    .collect();
                if of.columns.is_none() {
                    given.whole = false;
                }
                if !taken.is_empty() {
                    given.all = false;
                    given.columns.retain(|column| !taken.contains(column));
                }
            }
        }
        given
    }
}

impl Object {
    fn new(schema: Option<&'static str>, name: Option<String>) -> Self {
        Self { schema, name, columns: None, types: None }
    }

    fn named(schema: &Schema, random: &mut Random) -> Self {
        let relation = random.pick(&schema.relations);
        Self::new(Some(relation.schema), Some(relation.name.to_owned()))
    }

    fn random(schema: &Schema, random: &mut Random, columns: bool) -> Self {
        let relation = random.pick(&schema.relations);
        let mut of = match random.below(6) {
            0 => Self::new(None, None),
            1 => Self::new(Some(relation.schema), None),
            _ => Self::new(Some(relation.schema), Some(relation.name.to_owned())),
        };
        if columns && random.percent(35) {
            let names: Vec<&str> = relation.columns.iter().map(|column| column.name).collect();
            of.columns = Some(random.at_least_one(&names, 50));
        }
        of
    }

    fn covers(&self, schema: &str, name: &str) -> bool {
        self.schema.is_none_or(|it| it == schema) && self.name.as_ref().is_none_or(|it| it == name)
    }

    fn spelled(&self) -> String {
        let name = self.name.as_ref().map_or("*".to_owned(), |name| quoted(name));
        let mut spelled = match self.schema {
            Some(schema) => format!("{}.{name}", quoted(schema)),
            None => name,
        };
        if let Some(columns) = &self.columns {
            let columns: Vec<String> = columns.iter().map(|name| quoted(name)).collect();
            write!(spelled, "({})", columns.join(", ")).unwrap();
        }
        if let Some(types) = &self.types {
            write!(spelled, "({types})").unwrap();
        }
        spelled
    }
}

impl Grants {
    /// What gives `role` all of it.
    pub(crate) fn sql(&self, schema: &Schema, role: &str) -> String {
        let mut sql = String::new();
        for name in &schema.schemas {
            writeln!(sql, "GRANT USAGE ON SCHEMA {} TO {role};", quoted(name)).unwrap();
        }
        for name in &self.schemas {
            writeln!(sql, "GRANT CREATE ON SCHEMA {} TO {role};", quoted(name)).unwrap();
        }
        for ((relation, verb), given) in &self.relations {
            let (on, privilege) = (schema.on(*relation), verb.privilege());
            if !verb.has_columns() {
                if given.whole {
                    writeln!(sql, "GRANT {privilege} ON {on} TO {role};").unwrap();
                }
            } else if given.all {
                writeln!(sql, "GRANT {privilege} ON {on} TO {role};").unwrap();
            } else if !given.columns.is_empty() {
                let columns: Vec<String> = given.columns.iter().map(|name| quoted(name)).collect();
                let columns = columns.join(", ");
                writeln!(sql, "GRANT {privilege} ({columns}) ON {on} TO {role};").unwrap();
            }
        }
        for function in &self.functions {
            let (on, types) = (schema.function_on(*function), schema.types(*function));
            writeln!(sql, "GRANT EXECUTE ON ROUTINE {on}({types}) TO {role};").unwrap();
        }
        for (sequence, privilege) in &self.sequences {
            let sequence = &schema.sequences[*sequence];
            let on = format!("{}.{}", quoted(sequence.schema), quoted(&sequence.name));
            writeln!(sql, "GRANT {privilege} ON SEQUENCE {on} TO {role};").unwrap();
        }
        sql
    }
}

fn list(objects: &[Object]) -> String {
    objects.iter().map(Object::spelled).collect::<Vec<_>>().join(", ")
}

fn text(text: String) -> written::Text {
    written::Text { text, place: written::Place { line: 1, column: 1 } }
}
