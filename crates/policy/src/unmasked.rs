//! Masks and filters as a reviewer looks at them, beside what a database holds: what they close,
//! columns whose type can't have their mask, and columns that look as if they should have one.

use std::sync::Arc;

use sql::catalog::{Catalog, Relation, RelationKind};

use crate::disguise::Hides;
use crate::mask::{Kind, Sight, form};
use crate::object::{quoted, spelled};
use crate::policies::Policies;
use crate::review::Remark;
use crate::rule::{Effect, Rule};
use crate::scope::Scope;
use crate::verb::Verb;

/// Words of names under which people keep what is personal.
const PERSONAL: [&str; 16] = [
    "birthdate",
    "birthday",
    "dob",
    "email",
    "iban",
    "mail",
    "mobile",
    "passport",
    "phone",
    "salary",
    "ssn",
    "tax_id",
    "birth_date",
    "card_number",
    "credit_card",
    "social_security",
];

/// As many are named.
const NAMED_MAX: usize = 20;

impl Policies {
    pub(crate) fn review_sight(
        &self,
        connection: &str,
        catalog: &Arc<Catalog>,
        remarks: &mut Vec<Remark>,
    ) {
        let mut hides = Hides::default();
        let mut rules: Vec<Arc<Rule>> = Vec::new();
        for (sight, own) in self.sights(connection) {
            add(sight, &mut hides);
            rules.extend(own.iter().cloned());
        }
        let scope = Scope::new(self.only(&rules), catalog.clone());
        let seen = hides.seen(catalog, &|function| scope.is_named(function));
        let mut closed: Vec<Remark> = seen
            .all_closed()
            .filter_map(|(id, closed)| {
                let relation = catalog.relation(id)?;
                Some(Remark::Closed {
                    rule: closed.rule.clone(),
                    relation: spelled(catalog, relation.schema, &relation.name),
                    why: closed.why.clone(),
                })
            })
            .collect();
        closed.sort_by_key(|remark| match remark {
            Remark::Closed { relation, .. } => relation.clone(),
            _ => String::new(),
        });
        remarks.extend(closed);
        let users = || {
            catalog.relations().filter(|relation| {
                let tables = RelationKind::Table == relation.kind
                    || RelationKind::Partitioned == relation.kind
                    || RelationKind::Foreign == relation.kind;
                tables && !catalog.is_system(relation.schema)
            })
        };
        for (rule, _) in &hides.masks {
            for relation in users() {
                let kin = catalog.relation_by_oid(relation.oid).map(|id| catalog.kin(id));
                for column in &relation.columns {
                    let means =
                        kin.as_ref().is_some_and(|kin| rule.means(kin, &column.name, catalog));
                    let whole = matches!(rule.kind, Kind::Redact | Kind::Empty);
                    if means && !whole && !form::fits(&rule.kind, column, catalog) {
                        remarks.push(Remark::Misfit {
                            rule: rule.name.clone(),
                            column: named(relation, &column.name, catalog),
                        });
                    }
                }
            }
        }
        let mut bare = Vec::new();
        for relation in users().filter(|relation| is_read(&scope, relation)) {
            let Some(id) = catalog.relation_by_oid(relation.oid) else { continue };
            let masks = seen.disguises.get(&id).map(|disguise| &disguise.masks);
            for column in relation.columns.iter().filter(|column| looks_personal(&column.name)) {
                let is_masked = masks.is_some_and(|masks| masks.contains_key(&column.number));
                if !is_masked && bare.len() < NAMED_MAX {
                    bare.push(named(relation, &column.name, catalog));
                }
            }
        }
        // Who masks nothing is not told of what he doesn't mask.
        if !bare.is_empty() && !hides.masks.is_empty() {
            remarks.push(Remark::Personal { columns: bare });
        }
    }
}

fn add(sight: &Sight, hides: &mut Hides) {
    hides.masks.extend(sight.masks.iter().map(|mask| (mask.clone(), false)));
    // Whoever asks has some claim.
    let some = |rule: &crate::mask::RowRule| rule.claims.iter().map(|_| Some("".into())).collect();
    hides.rows.extend(sight.rows.iter().map(|rule| (rule.clone(), some(rule))));
}

fn is_read(scope: &Scope, relation: &Relation) -> bool {
    let id = scope.catalog().relation_by_oid(relation.oid);
    let matches = id.and_then(|id| scope.cover(id)).map_or(&[][..], |cover| &cover.matches);
    matches.iter().any(|of| {
        let rule = scope.rules().get(of.rule);
        rule.is_some_and(|rule| {
            rule.effect != Effect::Refuse && (rule.everything || rule.verbs.has(Verb::Read))
        })
    })
}

fn looks_personal(name: &str) -> bool {
    let name = name.to_lowercase();
    PERSONAL.iter().any(|word| {
        name == *word
            || name.strip_suffix(word).is_some_and(|before| before.ends_with('_'))
            || name.strip_prefix(word).is_some_and(|after| after.starts_with('_'))
    })
}

fn named(relation: &Relation, column: &str, catalog: &Catalog) -> String {
    format!("{}.{}", spelled(catalog, relation.schema, &relation.name), quoted(column))
}

#[cfg(test)]
mod tests {
    use super::looks_personal;

    #[test]
    fn names_that_look_personal() {
        for name in ["email", "Email", "work_email", "phone_number", "ssn", "customer_dob"] {
            assert!(looks_personal(name), "{name}");
        }
        for name in ["emailed", "session", "id", "microphone", "mail2", "address_id", "dobro"] {
            assert!(!looks_personal(name), "{name}");
        }
    }
}
