//! What a narrower scope comes to under one snapshot: which of the relations that it names, with
//! which columns, the policies give as well. For who asked for it; nothing is decided by it.

use sql::catalog::{Relation, RelationId};
use sql::facts::{Columns, Facts, Kind};

use super::Judgement;
use super::relations::Need;
use crate::narrow::Narrowed;
use crate::object::{Name, RelationPattern, Schemas, quoted, spelled};
use crate::rule::{Context, Rule};
use crate::scope::Scope;
use crate::verb::Verb;

/// Lines of an answer.
const LINES_MAX: usize = 40;

/// Verbs whose objects are relations.
const VERBS: [Verb; 6] =
    [Verb::Read, Verb::Insert, Verb::Update, Verb::Delete, Verb::Truncate, Verb::Lock];

impl Scope {
    /// Of what narrows the policies, what there is and what there isn't. `None` where nothing does.
    pub fn narrowed(&self) -> Option<Narrowed> {
        let narrow = self.narrow()?;
        let facts = Facts::new(Kind::Select);
        let judgement = Judgement::new(self, &facts, Context::default());
        let mut narrowed = Narrowed::default();
        for rule in narrow.rules() {
            judgement.compare(rule, &mut narrowed);
        }
        for lines in [&mut narrowed.given, &mut narrowed.lacking] {
            if lines.len() > LINES_MAX {
                lines.truncate(LINES_MAX);
                lines.push("…".to_owned());
            }
        }
        Some(narrowed)
    }
}

impl Judgement<'_> {
    fn compare(&self, rule: &Rule, narrowed: &mut Narrowed) {
        let verbs: Vec<Verb> = VERBS.into_iter().filter(|verb| rule.verbs.has(*verb)).collect();
        let others = rule.verbs.iter().any(|verb| !VERBS.contains(&verb));
        let wide = |pattern: &&RelationPattern| pattern.name.is_any();
        if rule.everything
            || others
            || !rule.commands.is_empty()
            || rule.relations.of.iter().any(|pattern| wide(&pattern))
        {
            narrowed.given.push(format!("{}: what the policies allow of it", rule.name.rule));
        }
        for pattern in rule.relations.of.iter().filter(|pattern| !wide(pattern)) {
            for verb in &verbs {
                self.compare_one(*verb, pattern, narrowed);
            }
        }
    }

    fn compare_one(&self, verb: Verb, pattern: &RelationPattern, narrowed: &mut Narrowed) {
        let (Schemas::Is(schema), Name::Is(name)) = (&pattern.schemas, &pattern.name) else {
            return;
        };
        let catalog = self.scope.catalog();
        let found = catalog.relations().find(|relation| {
            *relation.name == **name && catalog.schema_name(relation.schema) == &**schema
        });
        let found = found.and_then(|it| Some((catalog.relation_by_oid(it.oid)?, it)));
        let Some((id, relation)) = found else {
            let object = format!("{}.{}", quoted(schema), quoted(name));
            return narrowed.lacking.push(format!("{} {object} (does not exist)", verb.name()));
        };
        let whole = format!("{} {}", verb.name(), spelled(catalog, relation.schema, name));
        if !matches!(verb, Verb::Read | Verb::Insert | Verb::Update) {
            let to = if self.gives(verb, id, Need::Whole) {
                &mut narrowed.given
            } else {
                &mut narrowed.lacking
            };
            return to.push(whole);
        }
        let (mut given, mut lacking) = (Vec::new(), Vec::new());
        for (column, number) in columns(relation, pattern.columns.as_deref()) {
            let one = |number| Columns { numbers: [number].into(), ..Columns::default() };
            let is_given =
                number.is_some_and(|number| self.gives(verb, id, Need::Columns(&one(number))));
            if is_given { &mut given } else { &mut lacking }.push(quoted(column));
        }
        let all = pattern.columns.is_none() && lacking.is_empty();
        if all && !given.is_empty() {
            narrowed.given.push(whole);
        } else {
            for (columns, to) in [(given, &mut narrowed.given), (lacking, &mut narrowed.lacking)] {
                if !columns.is_empty() {
                    to.push(format!("{whole}({})", columns.join(", ")));
                }
            }
        }
    }

    fn gives(&self, verb: Verb, id: RelationId, need: Need<'_>) -> bool {
        if self.scope.in_force().policies_grant_everything().is_some() {
            return true;
        }
        let answer = self.ask_relation(verb, id, need);
        answer.refused.is_none() && answer.is_granted()
    }
}

/// The columns that are asked for, and which they are if there are such.
fn columns<'r>(
    relation: &'r Relation,
    asked: Option<&'r [Box<str>]>,
) -> Vec<(&'r str, Option<u16>)> {
    match asked {
        None => relation.columns.iter().map(|it| (&*it.name, Some(it.number))).collect(),
        Some(names) => {
            let number = |name: &str| relation.column(name).map(|column| column.number);
            names.iter().map(|name| (&**name, number(name))).collect()
        }
    }
}
