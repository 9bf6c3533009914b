//! What the policies in force come to under one snapshot of the catalog: for each relation and
//! function the rules that mean it. Worked out when first asked, kept, and shared by sessions.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use sql::catalog::{Catalog, FunctionId, Relation, RelationId, RelationKind, ViewRead};
use sql::rewrite::{Asked, Disguises, Unrewritable, Why};

use crate::builtin;
use crate::disguise::Seen;
use crate::object::{quoted, spelled};
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

/// The rules that mean a relation.
#[derive(Debug, Default)]
pub(crate) struct Cover {
    /// In the order of the rules.
    pub(crate) matches: Vec<Match>,
    /// Its children that other rules mean than itself: what is done with the one is done with the
    /// others.
    pub(crate) apart: Vec<RelationId>,
    /// Of a view: whether all beneath it may be read.
    beneath: OnceLock<bool>,
    /// Of a view: whether what it reads with the rights of who asks may be read.
    invoked: OnceLock<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Match {
    /// Its place among the rules in force.
    pub(crate) rule: usize,
    pub(crate) columns: Covered,
    /// Not only some columns: what is about the whole is meant too.
    pub(crate) whole: bool,
    /// By its own name, not a wildcard.
    pub(crate) named: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Covered {
    /// All, the system's too.
    All,
    These(BTreeSet<u16>),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct FunctionMatch {
    pub(crate) rule: usize,
    pub(crate) named: bool,
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
                    if let Some(of) = catalog.rows_in(column.type_oid) {
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

    /// Whether `everything` means doing this with a view: unless a rule restricts it for something
    /// beneath and doesn't mean the view itself.
    pub(crate) fn everything_reaches(&self, verb: Verb, view: RelationId) -> bool {
        let Some(own) = self.cover(view) else { return false };
        let rules = self.rules().iter().enumerate().filter(|(_, rule)| restricts(rule, &[verb]));
        let apart = |at: usize| own.matches.iter().all(|of| of.rule != at);
        let rules: Vec<usize> = rules.map(|(at, _)| at).filter(|at| apart(*at)).collect();
        if rules.is_empty() {
            return true;
        }
        self.0.catalog.beneath(view).iter().all(|beneath| match beneath.read {
            ViewRead::Function(_) => true,
            ViewRead::Column(below, number) => self.cover(below).is_some_and(|cover| {
                cover.matches.iter().all(|of| {
                    let whole = number == 0 || verb != Verb::Read;
                    !rules.contains(&of.rule) || !(whole || of.columns.has(number))
                })
            }),
        })
    }

    /// `None` for a relation that is not of this snapshot.
    pub(crate) fn cover(&self, id: RelationId) -> Option<&Cover> {
        let relation = self.0.catalog.relation(id)?;
        let slot = self.0.relations.get(id.index())?;
        Some(slot.get_or_init(|| self.work_out(id, relation)))
    }

    fn work_out(&self, id: RelationId, relation: &Relation) -> Cover {
        let matches = self.matches(id, relation);
        let mut apart = Vec::new();
        for child in self.descendants(relation) {
            let Some(below) = self.0.catalog.relation(child) else { continue };
            if !self.same_rules(relation, &matches, below, &self.matches(child, below)) {
                apart.push(child);
            }
        }
        Cover { matches, apart, beneath: OnceLock::new(), invoked: OnceLock::new() }
    }

    fn matches(&self, id: RelationId, relation: &Relation) -> Vec<Match> {
        let kin = self.0.catalog.kin(id);
        let mut matches = Vec::new();
        for (at, rule) in self.rules().iter().enumerate() {
            matches.extend(self.matches_of(at, rule, relation, &kin));
        }
        matches
    }

    /// What one rule, wherever it stands, means of a relation.
    pub(crate) fn match_one(&self, rule: &Rule, id: RelationId) -> Vec<Match> {
        let Some(relation) = self.0.catalog.relation(id) else { return Vec::new() };
        self.matches_of(0, rule, relation, &self.0.catalog.kin(id)).collect()
    }

    /// Of a view, what it means by its own name and what by wildcards are two things.
    fn matches_of(
        &self,
        at: usize,
        rule: &Rule,
        relation: &Relation,
        kin: &[&Relation],
    ) -> impl Iterator<Item = Match> {
        let apart: &[Option<bool>] =
            if is_view(relation) { &[Some(true), Some(false)] } else { &[None] };
        let everything = rule.everything.then_some(Match {
            rule: at,
            columns: Covered::All,
            whole: true,
            named: true,
        });
        let apart = if everything.is_some() { &[] } else { apart };
        let found = apart.iter().filter_map(|named| self.match_of(at, rule, relation, kin, *named));
        everything.into_iter().chain(found.collect::<Vec<_>>())
    }

    fn match_of(
        &self,
        at: usize,
        rule: &Rule,
        relation: &Relation,
        kin: &[&Relation],
        by_name: Option<bool>,
    ) -> Option<Match> {
        let catalog = &self.0.catalog;
        // What was to be left out is there under a name that nobody knows.
        if rule.effect != Effect::Refuse && self.gone_exception(rule, kin).is_some() {
            return None;
        }
        let (mut all, mut these, mut named) = (false, BTreeSet::new(), false);
        let mut whole = false;
        for one in kin {
            let schema = catalog.schema_name(one.schema);
            for pattern in &rule.relations.of {
                let own_name = !pattern.name.is_any();
                if !pattern.covers(schema, &one.name) || by_name.is_some_and(|it| it != own_name) {
                    continue;
                }
                named |= own_name;
                match &pattern.columns {
                    None => {
                        whole = true;
                        // Of a child the columns that its parent has.
                        all |= relation
                            .columns
                            .iter()
                            .all(|column| one.column(&column.name).is_some());
                        these.extend(numbers(relation, |name| one.column(name).is_some()));
                    }
                    // What a refusal was about is there under a name that nobody knows.
                    Some(names)
                        if rule.effect == Effect::Refuse
                            && own_name
                            && gone(names, one).is_some() =>
                    {
                        whole = true;
                        all = true;
                    }
                    Some(names) => these.extend(numbers(relation, |name| {
                        one.column(name).is_some() && names.iter().any(|own| **own == *name)
                    })),
                }
            }
        }
        for one in kin {
            let schema = catalog.schema_name(one.schema);
            for pattern in &rule.relations.except {
                if !pattern.covers(schema, &one.name) {
                    continue;
                }
                let out = match &pattern.columns {
                    None => {
                        whole = false;
                        numbers(relation, |name| one.column(name).is_some())
                    }
                    Some(names) => numbers(relation, |name| {
                        one.column(name).is_some() && names.iter().any(|own| **own == *name)
                    }),
                };
                if !out.is_empty() || pattern.columns.is_none() {
                    all = false;
                    these.retain(|number| !out.contains(number));
                }
            }
        }
        if !all && !whole && these.is_empty() {
            return None;
        }
        let columns = if all { Covered::All } else { Covered::These(these) };
        Some(Match { rule: at, columns, whole, named })
    }

    /// A column that the rule leaves out of a relation by the relation's own name, and that it does
    /// not have.
    pub(crate) fn gone_column(&self, rule: &Rule, id: RelationId) -> Option<String> {
        let (relation, column) = self.gone_exception(rule, &self.0.catalog.kin(id))?;
        Some(format!(
            "{}({})",
            spelled(&self.0.catalog, relation.schema, &relation.name),
            quoted(column)
        ))
    }

    fn gone_exception<'r, 'k>(
        &self,
        rule: &'r Rule,
        kin: &[&'k Relation],
    ) -> Option<(&'k Relation, &'r str)> {
        let named = rule.relations.except.iter().filter(|pattern| !pattern.name.is_any());
        for pattern in named {
            for one in kin {
                let schema = self.0.catalog.schema_name(one.schema);
                if pattern.covers(schema, &one.name)
                    && let Some(column) = gone(pattern.columns.as_deref().unwrap_or_default(), one)
                {
                    return Some((one, column));
                }
            }
        }
        None
    }

    pub(crate) fn descendants(&self, relation: &Relation) -> Vec<RelationId> {
        let mut seen: BTreeSet<RelationId> = relation.children.iter().copied().collect();
        let mut open = relation.children.clone();
        let mut all = Vec::new();
        while let Some(id) = open.pop() {
            all.push(id);
            let Some(child) = self.0.catalog.relation(id) else { continue };
            open.extend(child.children.iter().filter(|below| seen.insert(**below)));
        }
        all
    }

    /// Whether the rules mean of the child what they mean of the parent, as far as the parent has
    /// it.
    fn same_rules(
        &self,
        parent: &Relation,
        of_parent: &[Match],
        child: &Relation,
        of_child: &[Match],
    ) -> bool {
        of_parent.len() == of_child.len()
            && of_parent.iter().zip(of_child).all(|(own, below)| {
                own.rule == below.rule
                    && own.whole == below.whole
                    && parent.columns.iter().all(|column| {
                        let there = child.column(&column.name);
                        there.is_some_and(|there| {
                            own.columns.has(column.number) == below.columns.has(there.number)
                        })
                    })
                    && (matches!(own.columns, Covered::All)
                        == matches!(below.columns, Covered::All)
                        || child.columns.len() > parent.columns.len())
            })
    }

    pub(crate) fn function(&self, id: FunctionId) -> &[FunctionMatch] {
        let catalog = &self.0.catalog;
        let (Some(function), Some(slot)) = (catalog.function(id), self.0.functions.get(id.index()))
        else {
            return &[];
        };
        slot.get_or_init(|| {
            let rules = self.rules().iter().enumerate();
            let matches = rules.filter_map(|(at, rule)| {
                let named = self.function_match(rule, function)?;
                Some(FunctionMatch { rule: at, named })
            });
            matches.collect()
        })
    }

    /// Whether the rule means the function, and if so whether by its own name.
    pub(crate) fn function_match(
        &self,
        rule: &Rule,
        function: &sql::catalog::Function,
    ) -> Option<bool> {
        if rule.everything {
            return Some(true);
        }
        let catalog = &self.0.catalog;
        let wide = rule.effect == Effect::Refuse;
        let covers = |of: &[crate::object::FunctionPattern], wide| {
            of.iter().filter_map(|it| it.covers(function, catalog, wide)).max()
        };
        let named = covers(&rule.functions.of, wide)?;
        covers(&rule.functions.except, true).is_none().then_some(named)
    }

    /// Whether everything beneath a view may be read, so that a wildcard can mean it.
    pub(crate) fn beneath_may_be_read(&self, view: RelationId) -> bool {
        let Some(cover) = self.cover(view) else { return false };
        *cover.beneath.get_or_init(|| self.look_beneath(view))
    }

    /// Whether a view may be read by whoever may read it by its own name: what it reads with its
    /// owner's rights is granted with it. What is read with the rights of who asks isn't, however
    /// deep in it that is.
    pub(crate) fn invoked_may_be_read(&self, view: RelationId) -> bool {
        let Some(cover) = self.cover(view) else { return false };
        *cover.invoked.get_or_init(|| {
            self.invokers(view).into_iter().all(|view| self.beneath_may_be_read(view))
        })
    }

    /// The views that read with the rights of who asks: itself, and those that it reads.
    fn invokers(&self, view: RelationId) -> Vec<RelationId> {
        let mut seen = BTreeSet::from([view]);
        let mut open = vec![view];
        let mut invokers = Vec::new();
        while let Some(id) = open.pop() {
            let Some(view) = self.0.catalog.relation(id) else { continue };
            // Nobody reads what is beneath one that holds its rows itself.
            if view.kind == RelationKind::Materialized {
                continue;
            }
            if view.security_invoker {
                invokers.push(id);
            }
            for read in &view.reads {
                if let ViewRead::Column(below, _) = read
                    && seen.insert(*below)
                {
                    open.push(*below);
                }
            }
        }
        invokers
    }

    fn look_beneath(&self, view: RelationId) -> bool {
        let mut seen = BTreeSet::from([view]);
        let mut open = vec![view];
        while let Some(view) = open.pop().and_then(|id| self.0.catalog.relation(id)) {
            for read in &view.reads {
                match read {
                    ViewRead::Function(function) => {
                        if !self.may_always_call(*function) {
                            return false;
                        }
                    }
                    ViewRead::Column(below, number) => {
                        match self.may_always_read(*below, *number) {
                            Always::Yes => {}
                            Always::IfBeneath => {
                                if seen.insert(*below) {
                                    open.push(*below);
                                }
                            }
                            Always::No => return false,
                        }
                    }
                }
            }
        }
        true
    }

    /// Without conditions, and with nothing that could refuse or hold it.
    fn may_always_read(&self, id: RelationId, number: u16) -> Always {
        let (Some(relation), Some(cover)) = (self.0.catalog.relation(id), self.cover(id)) else {
            return Always::No;
        };
        let meant = |of: &Match| match number {
            0 => of.columns.has_all(relation),
            number => of.columns.has(number),
        };
        let view = is_view(relation);
        let (mut by_name, mut by_wildcard) = (false, false);
        for of in &cover.matches {
            let Some(rule) = self.rules().get(of.rule) else { return Always::No };
            if !rule.everything && !rule.verbs.has(Verb::Read) {
                continue;
            }
            if rule.effect != Effect::Allow {
                let touched = number == 0 || of.columns.has(number);
                if touched {
                    return Always::No;
                }
            } else if meant(of) && !rule.has_conditions() {
                by_name |= of.named;
                by_wildcard |= !of.named;
            }
        }
        if let Some(left_out) = builtin::readable(relation, &self.0.catalog) {
            let column = relation.columns.iter().find(|column| column.number == number);
            by_name |= match column {
                Some(column) => !builtin::leaves_out(left_out, column),
                None => left_out.is_empty(),
            };
        }
        // What is apart has rules of its own, and a view reads it through its parent.
        if cover.apart.iter().any(|child| {
            let child_column = relation
                .columns
                .iter()
                .find(|column| column.number == number)
                .and_then(|column| self.0.catalog.relation(*child)?.column(&column.name))
                .map_or(0, |column| column.number);
            !matches!(self.may_always_read_alone(*child, child_column), Always::Yes)
        }) {
            return Always::No;
        }
        match (by_name, by_wildcard) {
            (true, _) if view && !self.invokers(id).is_empty() => Always::IfBeneath,
            (true, _) => Always::Yes,
            (false, true) if view => Always::IfBeneath,
            (false, true) => Always::Yes,
            (false, false) => Always::No,
        }
    }

    /// The same for one of those that are apart, whose own children are in the list beside it.
    fn may_always_read_alone(&self, id: RelationId, number: u16) -> Always {
        let (Some(relation), Some(cover)) = (self.0.catalog.relation(id), self.cover(id)) else {
            return Always::No;
        };
        let mut allowed = false;
        for of in &cover.matches {
            let Some(rule) = self.rules().get(of.rule) else { return Always::No };
            if !rule.everything && !rule.verbs.has(Verb::Read) {
                continue;
            }
            if rule.effect != Effect::Allow {
                return Always::No;
            }
            let meant = match number {
                0 => of.columns.has_all(relation),
                number => of.columns.has(number),
            };
            allowed |= meant && !rule.has_conditions();
        }
        if allowed { Always::Yes } else { Always::No }
    }

    fn may_always_call(&self, id: FunctionId) -> bool {
        let Some(function) = self.0.catalog.function(id) else { return false };
        let mut allowed = builtin::may_call(function, &self.0.catalog);
        let needs_name = builtin::needs_its_name(function, &self.0.catalog);
        for of in self.function(id) {
            let Some(rule) = self.rules().get(of.rule) else { return false };
            if !rule.everything && !rule.verbs.has(Verb::Use) {
                continue;
            }
            if rule.effect != Effect::Allow {
                return false;
            }
            let named = of.named && !(rule.everything && self.restricts_data());
            allowed |= !rule.has_conditions() && (named || !needs_name);
        }
        allowed
    }
}

/// What is done with what is in tables.
pub(crate) const DATA: [Verb; 6] =
    [Verb::Read, Verb::Insert, Verb::Update, Verb::Delete, Verb::Truncate, Verb::Lock];

pub(crate) fn restricts(rule: &Rule, verbs: &[Verb]) -> bool {
    let about = rule.everything || verbs.iter().any(|verb| rule.verbs.has(*verb));
    rule.effect != Effect::Allow && about
}

enum Always {
    Yes,
    /// A view, and not by its own name.
    IfBeneath,
    No,
}

impl Covered {
    pub(crate) fn has(&self, number: u16) -> bool {
        match self {
            Self::All => true,
            Self::These(numbers) => numbers.contains(&number),
        }
    }

    pub(crate) fn has_all(&self, relation: &Relation) -> bool {
        relation.columns.iter().all(|column| self.has(column.number))
    }
}

/// Whether it shows what others hold.
pub(crate) fn is_view(relation: &Relation) -> bool {
    matches!(relation.kind, RelationKind::View | RelationKind::Materialized)
}

/// The first of the columns that the relation does not have.
fn gone<'n>(names: &'n [Box<str>], relation: &Relation) -> Option<&'n str> {
    names.iter().map(|name| &**name).find(|name| relation.column(name).is_none())
}

fn numbers(relation: &Relation, meant: impl Fn(&str) -> bool) -> BTreeSet<u16> {
    let columns = relation.columns.iter().filter(|column| meant(&column.name));
    columns.map(|column| column.number).collect()
}
