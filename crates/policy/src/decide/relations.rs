//! What a statement does with relations: each verb on columns is asked of the rules that mean the
//! relation. What the rules mean is worked out in `scope`; commands on relations are in `commands`.

use std::collections::BTreeSet;

use sql::catalog::{Relation, RelationId};
use sql::facts::{Columns, ObjectKind, RelationUse};

use super::hidden::SAMPLES;
use super::{Answer, Judgement, Want};
use crate::builtin;
use crate::object::{quoted, spelled};
use crate::rule::{Effect, Rule};
use crate::scope::{Covered, Match, is_view};
use crate::verb::Verb;
use crate::verdict::Missing;

/// What of a relation a verb needs.
#[derive(Clone, Copy)]
pub(super) enum Need<'n> {
    Columns(&'n Columns),
    /// Not about columns.
    Whole,
    /// As PostgreSQL has it where no column is named: any will do.
    Any,
}

impl<'j> Judgement<'j> {
    pub(super) fn relation_use(&mut self, used: &RelationUse) {
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

    pub(super) fn relation(&mut self, verb: Verb, id: RelationId, need: Need<'_>) {
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

    pub(super) fn ask_relation(&self, verb: Verb, id: RelationId, need: Need<'_>) -> Answer {
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
            if let Some(rest) = self.beside_built_in(relation, need) {
                answer.granted = granting(&allows, Need::Columns(&rest), relation);
            }
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
        let Some(readable) = builtin::readable(relation, self.scope.catalog()) else {
            return false;
        };
        if readable.whole() {
            return true;
        }
        match need {
            Need::Whole => false,
            Need::Any => true,
            Need::Columns(columns) => relation.columns.iter().all(|column| {
                let read = columns.whole_row || columns.numbers.contains(&column.number);
                !read || readable.has(column)
            }),
        }
    }

    /// The columns of a system relation that rules have to give, as the others are built in.
    fn beside_built_in(&self, relation: &Relation, need: Need<'_>) -> Option<Columns> {
        let Need::Columns(columns) = need else { return None };
        let readable = builtin::readable(relation, self.scope.catalog())?;
        let needed = relation
            .columns
            .iter()
            .filter(|column| columns.whole_row || columns.numbers.contains(&column.number));
        let left = needed.filter(|column| !readable.has(column)).map(|column| column.number);
        let numbers: BTreeSet<u16> = left.collect();
        (!numbers.is_empty()).then(|| Columns { numbers, ..Columns::default() })
    }

    pub(super) fn relation_missing(&self, verb: Verb, id: RelationId, need: Need<'_>) -> Missing {
        let catalog = self.scope.catalog();
        let verb_name = verb.name().to_owned();
        let Some(relation) = catalog.relation(id) else {
            return Missing { verb: verb_name, object: String::new() };
        };
        let mut object = spelled(catalog, relation.schema, &relation.name);
        if let Need::Columns(columns) = need {
            let matches = self.scope.cover(id).map_or(&[][..], |cover| &cover.matches);
            let readable = builtin::readable(relation, catalog).filter(|_| verb == Verb::Read);
            let granted = |column: &sql::catalog::Column| {
                readable.is_some_and(|readable| readable.has(column))
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

pub(super) fn need(columns: &Columns) -> Need<'_> {
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
