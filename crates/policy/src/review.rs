//! Policies as a reviewer looks at them, beside what a database holds: names that it doesn't have,
//! views and functions that open what no rule names, and what nobody is given. Judges nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sql::catalog::{Catalog, Relation, RelationKind, ViewRead};

use crate::object::{
    CommandPattern, FunctionPattern, Name, RelationPattern, Schemas, quoted, spelled,
};
use crate::policies::Policies;
use crate::rule::{Effect, Patterns, Rule};
use crate::scope::{Scope, is_view};
use crate::verb::Verb;
use crate::verdict::RuleRef;

/// A policy that is about a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About<'p> {
    pub name: &'p str,
    /// How long a session lasts that it opens.
    pub window: Option<Duration>,
    /// Whether it has masks, and whether it has row filters.
    pub masks: bool,
    pub rows: bool,
}

/// Something in a rule that deserves a second look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remark {
    /// It names what the database doesn't have.
    NoSuch { rule: RuleRef, what: String },
    /// It names a view in full, and the view shows what its policy lets nobody read.
    View { rule: RuleRef, view: String, shows: Vec<String> },
    /// It names a function that runs with the rights of its owner.
    Definer { rule: RuleRef, function: String },
    /// A relation can't be used where the mask or the filter is in force.
    Closed { rule: RuleRef, relation: String, why: String },
    /// The column's type can't have the mask: it is redacted.
    Misfit { rule: RuleRef, column: String },
    /// Columns that are read, look personal by their names and have no mask.
    Personal { columns: Vec<String> },
}

/// What the policies of a connection give, whoever it is that gets it.
pub struct Given(Option<Scope>);

impl Policies {
    /// The policies about a connection, in the order of the file.
    pub fn about<'p>(&'p self, connection: &'p str) -> Vec<About<'p>> {
        let about = self.of_connection(connection).zip(self.sights(connection));
        let each = about.map(|((name, window, _), (sight, _))| About {
            name,
            window,
            masks: !sight.masks.is_empty(),
            rows: !sight.rows.is_empty(),
        });
        each.collect()
    }

    /// What doesn't fit between the policies about a connection and its database.
    pub fn review(&self, connection: &str, catalog: &Arc<Catalog>) -> Vec<Remark> {
        let mut remarks = Vec::new();
        for (_, _, rules) in self.of_connection(connection) {
            for rule in rules {
                remarks.extend(
                    unknown_names(rule, catalog)
                        .into_iter()
                        .map(|what| Remark::NoSuch { rule: rule.name.clone(), what }),
                );
            }
            let scope = Scope::new(self.only(rules), catalog.clone());
            views(&scope, &mut remarks);
            definers(rules, &scope, &mut remarks);
        }
        for (sight, _) in self.sights(connection) {
            for mask in &sight.masks {
                let names = mask.of.iter().flat_map(|of| unknown_relation(of, false, catalog));
                let rule = mask.name.clone();
                remarks.extend(names.map(|what| Remark::NoSuch { rule: rule.clone(), what }));
            }
            for rows in &sight.rows {
                let names = rows.of.iter().flat_map(|of| unknown_relation(of, false, catalog));
                let rule = rows.name.clone();
                remarks.extend(names.map(|what| Remark::NoSuch { rule: rule.clone(), what }));
            }
        }
        self.review_sight(connection, catalog, &mut remarks);
        remarks
    }

    pub fn given(&self, connection: &str, catalog: &Arc<Catalog>) -> Given {
        let rules: Vec<Arc<Rule>> = self
            .of_connection(connection)
            .flat_map(|(_, _, rules)| rules.iter().cloned())
            .filter(|rule| rule.effect != Effect::Refuse)
            .collect();
        if rules.iter().any(|rule| rule.everything) {
            return Given(None);
        }
        Given(Some(Scope::new(self.only(&rules), catalog.clone())))
    }
}

impl Given {
    /// Whether some policy gives somebody everything.
    pub fn everything(&self) -> bool {
        self.0.is_none()
    }

    /// Whether some policy gives somebody the verb on the relation with this OID.
    pub fn relation(&self, verb: Verb, oid: u32) -> bool {
        let Some(scope) = &self.0 else { return true };
        let cover = scope.catalog().relation_by_oid(oid).and_then(|id| scope.cover(id));
        let matches = cover.map_or(&[][..], |cover| &cover.matches);
        let mut rules = matches.iter().filter_map(|of| scope.rules().get(of.rule));
        rules.any(|rule| rule.verbs.has(verb))
    }

    /// Whether some policy lets somebody create something in the schema.
    pub fn creates_in(&self, schema: &str) -> bool {
        let Some(scope) = &self.0 else { return true };
        scope.rules().iter().any(|rule| {
            let grouped = rule.verbs.has(Verb::Create)
                && rule.relations.of.iter().any(|of| of.schemas.cover(schema));
            let named = rule.commands.iter().any(|name| name.starts_with("create "))
                && rule.objects.of.iter().any(|of| match of {
                    CommandPattern::Any => true,
                    CommandPattern::InSchema(own, _) => **own == *schema,
                    CommandPattern::Alone(_) => false,
                });
            grouped || named
        })
    }
}

/// Views that a rule names in full, and what beneath them no rule of the same policy gives.
fn views(scope: &Scope, remarks: &mut Vec<Remark>) {
    let catalog = scope.catalog();
    for view in catalog.relations().filter(|relation| is_view(relation)) {
        let Some(id) = catalog.relation_by_oid(view.oid) else { continue };
        let matches = scope.cover(id).map_or(&[][..], |cover| &cover.matches);
        let named =
            matches.iter().filter(|of| of.named).filter_map(|of| scope.rules().get(of.rule));
        let Some(rule) = named.into_iter().find(|rule| gives_reading(rule)) else { continue };
        let mut shows: BTreeMap<u32, (&Relation, Vec<&str>)> = BTreeMap::new();
        for beneath in catalog.beneath(id).into_iter().filter(|beneath| beneath.as_owner) {
            let ViewRead::Column(below, number) = beneath.read else { continue };
            let Some(relation) = catalog.relation(below).filter(|it| !is_view(it)) else {
                continue;
            };
            let columns = relation.columns.iter().filter(|it| number == 0 || it.number == number);
            for column in columns.filter(|column| !may_read(scope, relation, column.number)) {
                let names = &mut shows.entry(relation.oid).or_insert((relation, Vec::new())).1;
                if !names.contains(&&*column.name) {
                    names.push(&column.name);
                }
            }
        }
        if !shows.is_empty() {
            let shown = |(relation, names): (&Relation, Vec<&str>)| {
                let table = spelled(catalog, relation.schema, &relation.name);
                format!("{table}({})", names.into_iter().map(quoted).collect::<Vec<_>>().join(", "))
            };
            remarks.push(Remark::View {
                rule: rule.name.clone(),
                view: spelled(catalog, view.schema, &view.name),
                shows: shows.into_values().map(shown).collect(),
            });
        }
    }
}

fn gives_reading(rule: &Rule) -> bool {
    rule.effect != Effect::Refuse && !rule.everything && rule.verbs.has(Verb::Read)
}

fn may_read(scope: &Scope, relation: &Relation, number: u16) -> bool {
    let id = scope.catalog().relation_by_oid(relation.oid);
    let matches = id.and_then(|id| scope.cover(id)).map_or(&[][..], |cover| &cover.matches);
    matches.iter().any(|of| {
        let rule = scope.rules().get(of.rule);
        of.columns.has(number) && rule.is_some_and(|rule| rule.everything || gives_reading(rule))
    })
}

fn definers(rules: &[Arc<Rule>], scope: &Scope, remarks: &mut Vec<Remark>) {
    let catalog = scope.catalog();
    for function in catalog.functions().filter(|function| function.security_definer) {
        let about = |rule: &&Arc<Rule>| {
            let calls = rule.verbs.has(Verb::Use) || rule.verbs.has(Verb::Call);
            rule.effect != Effect::Refuse && !rule.everything && calls
        };
        let mut rules = rules.iter().filter(about);
        if let Some(rule) = rules.find(|rule| scope.function_match(rule, function) == Some(true)) {
            remarks.push(Remark::Definer {
                rule: rule.name.clone(),
                function: spelled(catalog, function.schema, &function.name),
            });
        }
    }
}

/// What a rule names and the database doesn't have.
fn unknown_names(rule: &Rule, catalog: &Catalog) -> Vec<String> {
    let mut unknown = Vec::new();
    // What is to be created need not be there.
    let creates = rule.verbs.has(Verb::Create);
    for pattern in both(&rule.relations) {
        unknown.extend(unknown_relation(pattern, creates, catalog));
    }
    for pattern in both(&rule.functions) {
        unknown.extend(unknown_function(pattern, catalog));
    }
    for pattern in both(&rule.objects) {
        if let CommandPattern::InSchema(schema, _) = pattern {
            unknown.extend(unknown_schema(schema, catalog));
        }
    }
    unknown.sort();
    unknown.dedup();
    unknown
}

fn both<P>(patterns: &Patterns<P>) -> impl Iterator<Item = &P> {
    patterns.of.iter().chain(&patterns.except)
}

fn unknown_schema(schema: &str, catalog: &Catalog) -> Option<String> {
    let known = schema == "pg_temp" || catalog.has_schema(schema);
    (!known).then(|| format!("schema {}", quoted(schema)))
}

fn unknown_relation(pattern: &RelationPattern, creates: bool, catalog: &Catalog) -> Vec<String> {
    let schema = match &pattern.schemas {
        Schemas::Is(schema) if &**schema == "pg_temp" => return Vec::new(),
        Schemas::Is(schema) => {
            if let Some(unknown) = unknown_schema(schema, catalog) {
                return vec![unknown];
            }
            quoted(schema)
        }
        Schemas::Users => "*".to_owned(),
    };
    let covered: Vec<&Relation> = catalog
        .relations()
        .filter(|it| it.kind != RelationKind::Other && it.kind != RelationKind::Composite)
        .filter(|it| pattern.covers(catalog.schema_name(it.schema), &it.name))
        .collect();
    let table = match &pattern.name {
        Name::Any => format!("{schema}.*"),
        Name::Is(name) => format!("{schema}.{}", quoted(name)),
    };
    if covered.is_empty() && !pattern.name.is_any() {
        return if creates { Vec::new() } else { vec![format!("table {table}")] };
    }
    let columns = pattern.columns.iter().flatten();
    let unknown = columns.filter(|name| covered.iter().all(|it| it.column(name).is_none()));
    unknown.map(|name| format!("column {table}({})", quoted(name))).collect()
}

fn unknown_function(pattern: &FunctionPattern, catalog: &Catalog) -> Option<String> {
    if catalog.functions().any(|function| pattern.covers(function, catalog, false).is_some()) {
        return None;
    }
    let has_sequence = |schema: &str, name: &str| {
        catalog.relations().any(|it| {
            it.kind == RelationKind::Sequence
                && &*it.name == name
                && catalog.schema_name(it.schema) == schema
        })
    };
    match pattern {
        FunctionPattern::In { schemas: Schemas::Is(schema), name, arguments } => {
            if let Some(unknown) = unknown_schema(schema, catalog) {
                return Some(unknown);
            }
            // Nothing has to be in a schema that is named whole.
            let Name::Is(name) = name else { return None };
            let is_sequence = arguments.is_none() && has_sequence(schema, name);
            let overload = if arguments.is_some() { " with these arguments" } else { "" };
            let name = format!("{}.{}", quoted(schema), quoted(name));
            (!is_sequence).then(|| format!("function {name}{overload}"))
        }
        FunctionPattern::In { .. } => None,
        FunctionPattern::Bare { name, arguments } => {
            let is_sequence = arguments.is_none() && has_sequence("public", name);
            let overload = if arguments.is_some() { " with these arguments" } else { "" };
            (!is_sequence)
                .then(|| format!("function {} in pg_catalog or public{overload}", quoted(name)))
        }
        FunctionPattern::Extension(name) => {
            Some(format!("extension {} with functions", quoted(name)))
        }
    }
}
