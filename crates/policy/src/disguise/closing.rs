//! Carries masks and filters on to whatever shows the same values, until nothing more is to be carried.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use sql::catalog::{
    Catalog, ConstraintKind, Event, Function, Made, Relation, RelationId, RelationKind, Source,
    ViewRead,
};
use sql::expression::{Expression, Part, constant};
use sql::rewrite::{self, Disguise, Disguises, Piece};

use super::{Closed, Hides, Seen, is_opaque};
use crate::mask::{Kind, RowRule, form, means};
use crate::object::{Name, RelationPattern, Schemas, spelled};
use crate::scope::is_view;
use crate::verdict::RuleRef;

/// A mask of a column, and the rule that it is from.
type Masked = (Kind, RuleRef);

pub(super) struct Closing<'c> {
    hides: &'c Hides,
    catalog: &'c Catalog,
    is_named: &'c dyn Fn(&Function) -> bool,
    masks: HashMap<RelationId, BTreeMap<u16, Masked>>,
    filters: HashMap<RelationId, Vec<(Vec<Piece>, RuleRef)>>,
    /// Relations that masks, or filters, mean by their own names: what can't be known of them
    /// somebody has looked at.
    named_masked: HashSet<RelationId>,
    named_filtered: HashSet<RelationId>,
    /// Views, by what they read.
    readers: HashMap<RelationId, BTreeSet<RelationId>>,
    /// Those of which it tells something in which child a row lies.
    placed: HashSet<RelationId>,
    /// Those whose masks others depend on and have changed.
    open: BTreeSet<RelationId>,
    seen: Seen,
}

impl<'c> Closing<'c> {
    pub(super) fn of(
        hides: &'c Hides,
        catalog: &'c Catalog,
        is_named: &'c dyn Fn(&Function) -> bool,
    ) -> Seen {
        let mut closing = Closing {
            hides,
            catalog,
            is_named,
            masks: HashMap::new(),
            filters: HashMap::new(),
            named_masked: HashSet::new(),
            named_filtered: HashSet::new(),
            readers: HashMap::new(),
            placed: HashSet::new(),
            open: BTreeSet::new(),
            seen: Seen::default(),
        };
        closing.directly();
        closing.rows_in_rows();
        closing.close();
        closing.code();
        closing.partitions();
        closing.finish()
    }

    fn relations(&self) -> impl Iterator<Item = (RelationId, &'c Relation)> + use<'c> {
        let catalog = self.catalog;
        catalog
            .relations()
            .filter(|relation| holds_rows(relation) && !catalog.is_system(relation.schema))
            .filter_map(|relation| Some((catalog.relation_by_oid(relation.oid)?, relation)))
    }

    fn covers(&self, pattern: &RelationPattern, relation: &Relation) -> bool {
        pattern.covers(self.catalog.schema_name(relation.schema), &relation.name)
    }

    /// What the policies say themselves.
    fn directly(&mut self) {
        let hides = self.hides;
        for (id, relation) in self.relations() {
            let kin = self.catalog.kin(id);
            for (rule, liftable) in &hides.masks {
                for column in &relation.columns {
                    let lifted =
                        || *liftable && means(&hides.unmask, &kin, &column.name, self.catalog);
                    if rule.means(&kin, &column.name, self.catalog) && !lifted() {
                        self.mask(id, column.number, &rule.kind, &rule.name);
                    }
                }
                for pattern in &rule.of {
                    self.note_name(id, relation, pattern, &rule.name);
                }
            }
            for (rule, claims) in &hides.rows {
                if kin.iter().any(|one| rule.of.iter().any(|of| self.covers(of, one))) {
                    self.filter(id, relation, rule, claims);
                    for pattern in &rule.of {
                        self.note_name(id, relation, pattern, &rule.name);
                    }
                    self.filter_above(&kin, rule);
                }
            }
            for read in &relation.reads {
                if let ViewRead::Column(below, _) = read {
                    self.readers.entry(*below).or_default().insert(id);
                }
            }
        }
    }

    /// A pattern that may mean the relation by its own name.
    fn note_name(
        &mut self,
        id: RelationId,
        relation: &Relation,
        pattern: &RelationPattern,
        rule: &RuleRef,
    ) {
        let by_name = matches!((&pattern.schemas, &pattern.name), (Schemas::Is(_), Name::Is(_)));
        if !by_name || !self.covers(pattern, relation) {
            return;
        }
        let named = match pattern.columns {
            Some(_) => &mut self.named_masked,
            None => &mut self.named_filtered,
        };
        named.insert(id);
        let gone = pattern.columns.iter().flatten().find(|name| relation.column(name).is_none());
        if let Some(gone) = gone {
            let why = format!("{} has no column {gone:?}", self.spelled(relation));
            self.shut(id, rule, false, why);
        }
    }

    fn filter(
        &mut self,
        id: RelationId,
        relation: &Relation,
        rule: &RowRule,
        claims: &[Option<Box<str>>],
    ) {
        if let Some((name, _)) = rule.claims.iter().zip(claims).find(|(_, value)| value.is_none()) {
            let why = format!("who asks has no claim {name:?}");
            return self.shut(id, &rule.name, true, why);
        }
        match rule.condition.over(relation, self.catalog) {
            Ok(parts) => {
                let columns = parts.iter().filter_map(|part| match part {
                    Part::Column(number) => Some(*number),
                    Part::Text(_) | Part::Parameter(_) => None,
                });
                for number in columns {
                    self.need(id, number, &rule.name);
                }
                let pieces = parts.into_iter().map(|part| piece(part, claims)).collect();
                self.filters.entry(id).or_default().push((pieces, rule.name.clone()));
                self.open.insert(id);
            }
            Err(why) => {
                let why =
                    format!("its condition can't be asked of {}: {why}", self.spelled(relation));
                self.shut(id, &rule.name, true, why);
            }
        }
    }

    /// What is read through a parent that the rule doesn't mean would not be filtered.
    fn filter_above(&mut self, kin: &[&Relation], rule: &RowRule) {
        for one in kin {
            let Some(id) = self.catalog.relation_by_oid(one.oid) else { continue };
            let own = self.catalog.kin(id);
            if !own.iter().any(|above| rule.of.iter().any(|of| self.covers(of, above))) {
                let why = format!("rows of a child of {} are hidden", self.spelled(one));
                self.shut(id, &rule.name, true, why);
            }
        }
    }

    /// Columns that hold whole rows of what has masks, however deep.
    fn rows_in_rows(&mut self) {
        for (id, relation) in self.relations() {
            for column in &relation.columns {
                let rows = self.catalog.rows_in(column.type_oid);
                let masks = rows.into_iter().filter_map(|of| self.masks.get(&of));
                let rule = masks.flat_map(|masks| masks.values()).next();
                if let Some((_, rule)) = rule.cloned() {
                    self.mask(id, column.number, &Kind::Empty, &rule);
                }
            }
        }
        for (id, relation) in self.relations() {
            if is_view(relation) && relation.reads.iter().any(|read| self.is_opaque(read)) {
                self.open.insert(id);
                self.view(id, relation);
            }
        }
    }

    /// Carries masks on, until nothing more is to be carried.
    fn close(&mut self) {
        while let Some(id) = self.open.pop_first() {
            let Some(relation) = self.catalog.relation(id) else { continue };
            self.generated(id, relation);
            self.parents(id, relation);
            for view in self.readers.get(&id).cloned().unwrap_or_default() {
                if let Some(relation) = self.catalog.relation(view) {
                    self.view(view, relation);
                }
            }
        }
    }

    fn generated(&mut self, id: RelationId, relation: &Relation) {
        for (number, from) in &relation.generated {
            let Some(masks) = self.masks.get(&id) else { return };
            let rule =
                from.iter().find_map(|source| masks.get(source)).map(|(_, rule)| rule.clone());
            // Who masks it by itself has looked at it.
            if let Some(rule) = rule.filter(|_| !masks.contains_key(number)) {
                self.mask(id, *number, &Kind::Redact, &rule);
            }
        }
    }

    fn parents(&mut self, id: RelationId, relation: &Relation) {
        let own = self.masks.get(&id).cloned().unwrap_or_default();
        for parent in &relation.parents {
            let Some(above) = self.catalog.relation(*parent) else { continue };
            for (number, (kind, rule)) in &own {
                let name = relation.columns.iter().find(|column| column.number == *number);
                if let Some(column) = name.and_then(|column| above.column(&column.name)) {
                    let of_parent = self.masks.get(parent).and_then(|it| it.get(&column.number));
                    // The same rule means both.
                    if of_parent.is_some_and(|(own, _)| own == kind) {
                        continue;
                    }
                    self.mask(*parent, column.number, &carried(kind), rule);
                }
            }
        }
    }

    /// What a view shows of what is hidden beneath it.
    fn view(&mut self, id: RelationId, view: &Relation) {
        if let Some(shows) = &view.shows {
            for (number, made) in (1..).zip(&shows.columns) {
                let Made::Plain(below, column) = made else { continue };
                if let Some((kind, rule)) = self.masked((*below, *column)).cloned() {
                    self.mask(id, number, &carried(&kind), &rule);
                }
            }
        }
        let name = self.spelled(view);
        let masked = self.named_masked.contains(&id);
        let filtered = self.named_filtered.contains(&id);
        let all = || {
            view.reads.iter().filter_map(|read| match read {
                ViewRead::Column(below, number) => Some((*below, *number)),
                ViewRead::Function(_) => None,
            })
        };
        let elsewhere: Vec<(RelationId, u16)> = match &view.shows {
            _ if masked => self.of_columns(id, view),
            Some(shows) => shows.elsewhere.to_vec(),
            None => all().collect(),
        };
        if let Some((_, rule)) = elsewhere.iter().find_map(|of| self.masked(*of)).cloned() {
            let why = format!(
                "{name} reads what is masked other than by showing it as a column; masks for the \
                 columns that it makes of that say that it may"
            );
            self.shut(id, &rule, false, why);
        }
        for (below, _) in all() {
            let filter = self.filters.get(&below).and_then(|all| all.first()).cloned();
            if let Some((_, rule)) = filter.filter(|_| !filtered) {
                let why =
                    format!("{name} reads a table with hidden rows; give it `rows` of its own");
                self.shut(id, &rule, true, why);
            }
            let closed = self.seen.closed.get(&below).cloned();
            let looked_at = |closed: &Closed| if closed.rows { filtered } else { masked };
            if let Some(closed) = closed.filter(|closed| !looked_at(closed)) {
                let why = format!("{name} reads what can't be read: {}", closed.why);
                self.shut(id, &closed.rule, closed.rows, why);
            }
        }
        if !masked && !filtered && view.reads.iter().any(|read| self.is_opaque(read)) {
            let why = format!(
                "{name} calls a function that could read what is hidden; name the function under \
                 `use`, or mask a column of the view"
            );
            let rule = self.hides.first_rule();
            self.shut(id, &rule, false, why);
        }
    }

    /// What columns are made of that nobody masks, where somebody has looked at the view.
    fn of_columns(&self, id: RelationId, view: &Relation) -> Vec<(RelationId, u16)> {
        let masks = self.masks.get(&id);
        let bare = |number| masks.is_none_or(|masks| !masks.contains_key(&number));
        let all = view.reads.iter().filter_map(|read| match read {
            ViewRead::Column(below, number) => Some((*below, *number)),
            ViewRead::Function(_) => None,
        });
        let Some(shows) = &view.shows else {
            let some_bare = view.columns.iter().any(|column| bare(column.number));
            return all.filter(|_| some_bare).collect();
        };
        let mut of = Vec::new();
        for (_, made) in (1..).zip(&shows.columns).filter(|(number, _)| bare(*number)) {
            match made {
                Made::Plain(..) => {}
                Made::Of(made_of) => of.extend(made_of.iter().copied()),
                Made::Unknown => of.extend(all.clone()),
            }
        }
        of
    }

    fn masked(&self, (id, number): (RelationId, u16)) -> Option<&Masked> {
        let masks = self.masks.get(&id)?;
        if number == 0 { masks.values().next() } else { masks.get(&number) }
    }

    /// A function whose body nobody has looked at.
    fn is_opaque(&self, read: &ViewRead) -> bool {
        let ViewRead::Function(id) = read else { return false };
        self.catalog
            .function(*id)
            .is_some_and(|f| is_opaque(f, self.catalog) && !(self.is_named)(f))
    }

    /// Rules and row security that read what is hidden.
    fn code(&mut self) {
        let mut shut = Vec::new();
        for (id, relation) in self.relations() {
            for code in &relation.code {
                let hidden = code.reads.iter().find_map(|(below, number)| {
                    let masked = self.masked((*below, *number)).map(|(_, rule)| rule);
                    let filter = || self.filters.get(below)?.first().map(|(_, rule)| rule);
                    let closed = || Some(&self.seen.closed.get(below)?.rule);
                    masked.or_else(filter).or_else(closed)
                });
                let Some(rule) = hidden else { continue };
                let what = match code.source {
                    Source::RowSecurity => "row security",
                    Source::Rule => "a rule",
                    _ => continue,
                };
                let why = format!("{what} of {} reads what is hidden", self.spelled(relation));
                let closed = Closed { rule: rule.clone(), rows: false, why };
                shut.push((id, code.on.has(Event::Read), closed));
            }
        }
        for (id, reads, closed) in shut {
            if reads {
                self.shut(id, &closed.rule, false, closed.why);
            } else {
                self.seen.unwritable.entry(id).or_insert(closed);
            }
        }
        // Views of what was shut just now.
        self.close();
    }

    /// What a row has in the columns of a partition key is told by the partition that it is in.
    fn partitions(&mut self) {
        for (id, relation) in self.relations() {
            let keys = relation.constraints.iter();
            let keys = keys.filter(|key| key.kind == ConstraintKind::PartitionKey);
            let mut columns = keys.flat_map(|key| &key.columns);
            let rule = columns.find_map(|number| self.masked((id, *number))).map(|(_, rule)| rule);
            let Some(rule) = rule.cloned() else { continue };
            let kin = self.catalog.kin(id);
            self.placed.extend(kin.iter().filter_map(|one| self.catalog.relation_by_oid(one.oid)));
            let mut below = relation.children.clone();
            while let Some(child) = below.pop() {
                let Some(partition) = self.catalog.relation(child) else { continue };
                below.extend(&partition.children);
                self.apart(child, partition, &rule);
            }
        }
        self.close();
    }

    fn apart(&mut self, id: RelationId, partition: &Relation, rule: &RuleRef) {
        if self.named_masked.contains(&id) {
            return;
        }
        let name = self.spelled(partition);
        let why = format!(
            "{name} holds the rows with some values of what is masked; a mask that names it says \
             that this may be known"
        );
        for view in self.readers.get(&id).cloned().unwrap_or_default() {
            if !self.named_masked.contains(&view) {
                self.shut(view, rule, false, why.clone());
            }
        }
        let closed = Closed { rule: rule.clone(), rows: false, why };
        self.seen.apart.entry(id).or_insert(closed);
    }

    fn finish(mut self) -> Seen {
        let mut disguises = Disguises::new();
        let mut unwritten = Vec::new();
        for (id, masks) in &self.masks {
            let Some(relation) = self.catalog.relation(*id) else { continue };
            let mut disguise = Disguise::default();
            for (number, (kind, rule)) in masks {
                match self.written(relation, *number, kind) {
                    Ok(mask) => {
                        disguise.masks.insert(*number, mask);
                    }
                    Err(why) => unwritten.push((*id, rule.clone(), why)),
                }
            }
            disguises.insert(*id, disguise);
        }
        for (id, filters) in &self.filters {
            let mut all = Vec::new();
            for (at, (pieces, _)) in filters.iter().enumerate() {
                let before = if at == 0 { "((" } else { ") AND (" };
                all.push(Piece::Text(before.into()));
                all.extend(pieces.iter().cloned());
            }
            all.push(Piece::Text("))".into()));
            disguises.entry(*id).or_default().filter = Some(rewrite::Expression(all));
        }
        for id in &self.placed {
            if let Some(disguise) = disguises.get_mut(id) {
                disguise.placed = true;
            }
        }
        for (id, rule, why) in unwritten {
            self.shut(id, &rule, false, why);
        }
        self.open.clear();
        self.seen.disguises = disguises;
        self.seen
    }

    fn written(
        &self,
        relation: &Relation,
        number: u16,
        kind: &Kind,
    ) -> Result<rewrite::Mask, String> {
        let name = self.spelled(relation);
        let column = relation.columns.iter().find(|column| column.number == number);
        let column = column.ok_or_else(|| format!("{name} has no column {number}"))?;
        let mask = match kind {
            Kind::Sql(own) => {
                let pieces = pieces(own, relation, self.catalog).map_err(|why| {
                    format!("the mask of {name}.{} can't be used: {why}", column.name)
                })?;
                form::own(pieces, column, self.catalog)
            }
            kind => form::mask(kind, column, self.catalog),
        };
        mask.ok_or_else(|| {
            format!("the type of {name}.{} can't be written for a mask", column.name)
        })
    }

    fn mask(&mut self, id: RelationId, number: u16, kind: &Kind, rule: &RuleRef) {
        self.need(id, number, rule);
        let masks = self.masks.entry(id).or_default();
        match masks.get_mut(&number) {
            Some((own, _)) => {
                let both = own.stricter(kind);
                if both != *own {
                    *own = both;
                    self.open.insert(id);
                }
            }
            None => {
                masks.insert(number, (kind.clone(), rule.clone()));
                self.open.insert(id);
            }
        }
    }

    fn need(&mut self, id: RelationId, number: u16, rule: &RuleRef) {
        let needed = self.seen.needed.entry(id).or_default();
        needed.entry(number).or_insert_with(|| rule.clone());
    }

    fn shut(&mut self, id: RelationId, rule: &RuleRef, rows: bool, why: String) {
        if let Entry::Vacant(place) = self.seen.closed.entry(id) {
            place.insert(Closed { rule: rule.clone(), rows, why });
            self.open.insert(id);
        }
    }

    fn spelled(&self, relation: &Relation) -> String {
        spelled(self.catalog, relation.schema, &relation.name)
    }
}

/// What of a mask holds for a column that carries the values on: an expression over other columns
/// can't be asked there.
fn carried(kind: &Kind) -> Kind {
    match kind {
        Kind::Sql(_) => Kind::Redact,
        kind => kind.clone(),
    }
}

fn pieces(
    own: &Expression,
    relation: &Relation,
    catalog: &Catalog,
) -> Result<Vec<Piece>, sql::expression::Wrong> {
    let parts = own.over(relation, catalog)?;
    Ok(parts.into_iter().map(|part| piece(part, &[])).collect())
}

fn piece(part: Part, claims: &[Option<Box<str>>]) -> Piece {
    match part {
        Part::Text(text) => Piece::Text(text),
        Part::Column(number) => Piece::Column(number),
        Part::Parameter(number) => {
            let place = usize::try_from(number).unwrap_or_default().wrapping_sub(1);
            match claims.get(place).and_then(Option::as_deref) {
                Some(value) => Piece::Text(constant(value).into()),
                None => Piece::Text("NULL".into()),
            }
        }
    }
}

fn holds_rows(relation: &Relation) -> bool {
    matches!(
        relation.kind,
        RelationKind::Table
            | RelationKind::Partitioned
            | RelationKind::View
            | RelationKind::Materialized
            | RelationKind::Foreign
    )
}
