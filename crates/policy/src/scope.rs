//! What the policies in force come to under one snapshot of the catalog: for each relation and
//! function the rules that mean it. Worked out when first asked, kept, and shared by sessions.

mod beneath;
mod cover;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use sql::catalog::{Catalog, Relation, RelationId, RelationKind, ViewRead};
use sql::rewrite::{Asked, Disguises, Unrewritable, Why};

use self::cover::Cover;
pub(crate) use self::cover::{Covered, FunctionMatch, Match};
use crate::disguise::Seen;
use crate::object::spelled;
use crate::policies::InForce;
use crate::rule::{Effect, Rule};
use crate::verb::Verb;
use crate::verdict::{Code, Refused, RuleRef};

/// The policies in force, for one snapshot.
#[derive(Clone, Debug)]
pub struct Scope(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    force: InForce,
    /// What narrows the policies, as a scope of its own.
    narrow: Option<Scope>,
    catalog: Arc<Catalog>,
    relations: Box<[OnceLock<Cover>]>,
    functions: Box<[OnceLock<Box<[FunctionMatch]>>]>,
    /// Some rule that isn't an `allow` is about functions.
    restricts_functions: bool,
    /// Something is hidden, or some rule that isn't an `allow` is about what is in tables.
    restricts_data: bool,
    dependents: OnceLock<HashMap<RelationId, Vec<Dependent>>>,
    seen: OnceLock<Seen>,
    raw_columns: OnceLock<Arc<HashSet<(u32, u16)>>>,
}

/// What a relation takes with it when it goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Dependent {
    /// A child, or a view that reads it.
    Goes(RelationId),
    /// It points at it by a foreign key, or means it in its code, and loses that.
    Loses(RelationId),
    /// A column of it is of the relation's rows, and goes.
    HoldsRows(RelationId),
}

impl Scope {
    pub(crate) fn new(force: InForce, catalog: Arc<Catalog>) -> Self {
        let relations = (0..catalog.relations().len()).map(|_| OnceLock::new()).collect();
        let functions = (0..catalog.functions().len()).map(|_| OnceLock::new()).collect();
        let restricts_functions = force.rules().iter().any(|rule| {
            rule.effect != Effect::Allow
                && (rule.everything || rule.verbs.has(Verb::Use) || rule.verbs.has(Verb::Call))
        });
        let dependents = OnceLock::new();
        let narrow = force.narrow_alone().map(|narrow| Self::new(narrow, catalog.clone()));
        let hides = !force.hides().is_empty();
        let restricts_data = hides || force.rules().iter().any(|rule| restricts(rule, &DATA));
        Self(Arc::new(Inner {
            force,
            narrow,
            catalog,
            relations,
            functions,
            restricts_functions,
            dependents,
            restricts_data,
            seen: OnceLock::new(),
            raw_columns: OnceLock::new(),
        }))
    }

    pub fn in_force(&self) -> &InForce {
        &self.0.force
    }

    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.0.catalog
    }

    pub(crate) fn rules(&self) -> &[Arc<Rule>] {
        self.0.force.rules()
    }

    pub(crate) fn narrow(&self) -> Option<&Scope> {
        self.0.narrow.as_ref()
    }

    /// What is to be seen of relations with masks or filters; all others are seen as they are.
    pub fn disguises(&self) -> &Disguises {
        &self.seen().disguises
    }

    /// Whether a relation has masks or a filter, or one beneath it has.
    pub fn is_disguised(&self, id: RelationId) -> bool {
        let disguises = self.disguises();
        let below = self.0.catalog.relation(id).map(|relation| self.descendants(relation));
        disguises.contains_key(&id)
            || below.into_iter().flatten().any(|id| disguises.contains_key(&id))
    }

    /// Masked columns by the server's numbers: no result may come from one as it is stored.
    pub fn raw_columns(&self) -> Arc<HashSet<(u32, u16)>> {
        let raw = self.0.raw_columns.get_or_init(|| {
            let all = self.disguises().iter().filter_map(|(id, disguise)| {
                let oid = self.0.catalog.relation(*id)?.oid;
                Some(disguise.masks.keys().map(move |number| (oid, *number)))
            });
            Arc::new(all.flatten().collect())
        });
        raw.clone()
    }

    /// The refusal of what can't be run as a reader may see it.
    pub fn unrewritable(&self, why: &Unrewritable) -> Refused {
        let of = why.relation.and_then(|id| Some((id, self.0.catalog.relation(id)?)));
        let rule = of.and_then(|(id, _)| self.seen().rule_of(id).cloned());
        let name = of.map_or("a relation".to_owned(), |(_, relation)| {
            spelled(&self.0.catalog, relation.schema, &relation.name)
        });
        let sentence = format!(
            "Something of {name} is masked or hidden, and this can't be run so: {}.",
            why.why
        );
        self.hidden(rule, sentence)
    }

    /// The refusal of a row that was asked, and is not to be written.
    pub fn not_written(&self, id: RelationId, asked: Asked) -> Refused {
        if asked == Asked::Masked {
            return self.unrewritable(&Unrewritable { why: Why::WritesMask, relation: Some(id) });
        }
        let relation = self.0.catalog.relation(id);
        let name = relation.map_or("a relation".to_owned(), |relation| {
            spelled(&self.0.catalog, relation.schema, &relation.name)
        });
        let sentence = format!(
            "The row filter of {name} hides a row that this would write, or would meet there, so \
             nothing of it was done."
        );
        self.hidden(self.seen().rule_of(id).cloned(), sentence)
    }

    /// The refusal of what tells of what is hidden, whichever relation it is of. `why` is a
    /// sentence without its end.
    pub fn counts(&self, why: &str) -> Refused {
        self.hidden(None, format!("Masks and row filters are in force, and {why}."))
    }

    fn hidden(&self, rule: Option<RuleRef>, sentence: String) -> Refused {
        let rule = rule.unwrap_or_else(|| self.0.force.hides().first_rule());
        let (missing, ask) = (Vec::new(), Vec::new());
        Refused { code: Code::Hidden, sentence, rule: Some(rule), missing, about: None, ask }
    }

    /// Whether somebody has looked at the function: a rule allows it by its own name.
    pub(crate) fn is_named(&self, function: &sql::catalog::Function) -> bool {
        self.rules().iter().any(|rule| {
            let allows = rule.effect == Effect::Allow && !rule.everything;
            allows && self.function_match(rule, function) == Some(true)
        })
    }

    pub(crate) fn seen(&self) -> &Seen {
        self.0.seen.get_or_init(|| {
            let is_named = |function: &sql::catalog::Function| self.is_named(function);
            self.0.force.hides().seen(&self.0.catalog, &is_named)
        })
    }

    pub(crate) fn restricts_functions(&self) -> bool {
        self.0.restricts_functions
    }

    /// What goes, or loses something, with a relation. Looked for once, in one pass over all.
    pub(crate) fn dependents(&self, id: RelationId) -> &[Dependent] {
        let all = self.0.dependents.get_or_init(|| {
            let catalog = &self.0.catalog;
            let mut all: HashMap<RelationId, Vec<Dependent>> = HashMap::new();
            for relation in catalog.relations() {
                let Some(id) = catalog.relation_by_oid(relation.oid) else { continue };
                let mut note = |of, dependent| all.entry(of).or_default().push(dependent);
                for parent in &relation.parents {
                    note(*parent, Dependent::Goes(id));
                }
                let mut read: BTreeSet<RelationId> = BTreeSet::new();
                for reads in &relation.reads {
                    if let ViewRead::Column(below, _) = reads
                        && read.insert(*below)
                    {
                        note(*below, Dependent::Goes(id));
                    }
                }
                for constraint in &relation.constraints {
                    if let Some((to, _)) = &constraint.references {
                        note(*to, Dependent::Loses(id));
                    }
                }
                for (meant, _) in relation.code.iter().flat_map(|code| &code.reads) {
                    note(*meant, Dependent::Loses(id));
                }
                for column in &relation.columns {
                    for of in catalog.rows_in(column.type_oid) {
                        note(of, Dependent::HoldsRows(id));
                    }
                }
            }
            all
        });
        all.get(&id).map_or(&[], Vec::as_slice)
    }

    /// Whether `everything` has to leave out what could reach tables unseen.
    pub(crate) fn restricts_data(&self) -> bool {
        self.0.restricts_data
    }
}

/// What is done with what is in tables.
pub(crate) const DATA: [Verb; 6] =
    [Verb::Read, Verb::Insert, Verb::Update, Verb::Delete, Verb::Truncate, Verb::Lock];

pub(crate) fn restricts(rule: &Rule, verbs: &[Verb]) -> bool {
    let about = rule.everything || verbs.iter().any(|verb| rule.verbs.has(*verb));
    rule.effect != Effect::Allow && about
}

/// Whether it shows what others hold.
pub(crate) fn is_view(relation: &Relation) -> bool {
    matches!(relation.kind, RelationKind::View | RelationKind::Materialized)
}
