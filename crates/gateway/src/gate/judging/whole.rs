//! A text on its way to being understood: what names in it stand for after the statements so far, and
//! what has to be put into it.

use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use policy::{RuleRef, Scope};
use sql::catalog::Catalog;
use sql::facts::{Facts, Given, Kind};
use sql::rewrite::{Asked, Edit, Look};

use super::When;
use crate::conditions::Conditions;
use crate::gate::found::Found;
use crate::gate::held::Held;
use crate::gate::names::Moves;
use crate::gate::options::Sets;
use crate::gate::splice::{Splice, qualifying};
use crate::gate::understanding::{Effect, StandsOn, Understood};
use crate::refusal::{Denied, Refusal};

/// A text as characters.
#[derive(Clone, Copy)]
pub(super) struct Read<'t> {
    pub(super) text: &'t str,
    /// No byte had to be replaced.
    pub(super) is_as_sent: bool,
}

/// A statement of a text, with its facts.
pub(super) struct Statement<'s> {
    pub(super) place: Range<usize>,
    pub(super) facts: &'s Facts,
    pub(super) catalog: &'s Catalog,
    pub(super) moves: Moves,
}

/// What a name stands for, as far as whoever runs it has to know.
pub(super) struct Run {
    pub(super) by: Option<RuleRef>,
    pub(super) touches: Rc<[Box<str>]>,
    pub(super) moves: Moves,
    pub(super) sets: Sets,
    pub(super) conditions: Option<Rc<Conditions>>,
    /// It reads relations that are disguised.
    pub(super) disguised: bool,
    /// Parameters that it stores in masked columns, and what they may not look like.
    pub(super) stored: Vec<(u32, Look)>,
    pub(super) held: Vec<Rc<Held>>,
    pub(super) runs: Vec<Rc<[u8]>>,
    /// See [`Told`](crate::gate::understanding::Told) and [`Understood`].
    pub(super) gives_rows: bool,
    pub(super) asked: Vec<((Asked, u32), Refusal)>,
    pub(super) keys_tell: bool,
}

impl Run {
    pub(super) fn of(understood: &Understood) -> Run {
        let told = understood.statements.last();
        Run {
            by: told.and_then(|told| told.by.clone()),
            touches: told.map_or_else(|| Rc::from([]), |told| told.touches.clone()),
            moves: understood.moves,
            sets: understood.sets.clone(),
            conditions: told.and_then(|told| told.conditions.clone()),
            disguised: understood.disguised,
            stored: understood.stored.clone(),
            held: told.map_or_else(Vec::new, |told| told.held.clone()),
            runs: told.map_or_else(Vec::new, |told| told.runs.clone()),
            gives_rows: told.is_some_and(|told| told.gives_rows),
            asked: understood.asked.clone(),
            keys_tell: understood.keys_tell,
        }
    }
}

/// A text on its way to being understood.
pub(super) struct Whole {
    pub(super) understood: Understood,
    pub(super) when: When,
    /// What comes next is read as the server will read it.
    pub(super) can_carry: bool,
    /// The path is the transaction's.
    pub(super) is_local: bool,
    /// A BEGIN of this text that has not been ended in it.
    pub(super) begin: Option<Range<usize>>,
    /// What names stand for after the statements so far: the number of the one that says so, or
    /// `None` for nothing.
    prepared: HashMap<Box<str>, Option<usize>>,
    declared: HashMap<Box<str>, Option<usize>>,
    all_deallocated: bool,
    all_closed: bool,
    /// Schemas to be put before names.
    schemas: Vec<(usize, Box<str>)>,
    /// What else is put into the text.
    edits: Vec<Edit>,
}

impl Whole {
    pub(super) fn new(stands_on: StandsOn, when: When) -> Whole {
        Whole {
            when,
            understood: Understood {
                is_shown: false,
                step: None,
                stands_on,
                statements: Vec::new(),
                refusal: None,
                refused_at: None,
                moves: Moves::default(),
                sets: Sets::default(),
                takes_back: false,
                is_momentary: false,
                only_reads: true,
                begin: None,
                splice: None,
                disguised: false,
                is_rewritten: false,
                stored: Vec::new(),
                asked: Vec::new(),
                keys_tell: false,
            },
            can_carry: true,
            is_local: false,
            begin: None,
            prepared: HashMap::new(),
            declared: HashMap::new(),
            all_deallocated: false,
            all_closed: false,
            schemas: Vec::new(),
            edits: Vec::new(),
        }
    }

    /// It is refused; what of it the server gets to see is for the substitution to say.
    pub(super) fn refused(mut self, refusal: Refusal) -> Understood {
        self.understood.refusal = Some(refusal);
        self.understood.moves = Moves::default();
        self.understood.sets = Sets::default();
        self.understood.begin = self.begin;
        self.understood
    }

    pub(super) fn refused_at(
        self,
        refusal: Refusal,
        text: Read<'_>,
        at: Option<usize>,
    ) -> Understood {
        let before = at.filter(|_| text.is_as_sent).and_then(|at| text.text.get(..at));
        let position = before.and_then(|before| u32::try_from(before.chars().count() + 1).ok());
        Understood { refused_at: position, ..self.refused(refusal) }
    }

    pub(super) fn note(&mut self, effect: &Option<Effect>) {
        let at = self.understood.statements.len();
        match effect {
            Some(Effect::Prepares { name, .. }) => {
                self.prepared.insert(name.clone(), Some(at));
            }
            Some(Effect::Deallocates(name)) => drop(self.prepared.insert(name.clone(), None)),
            Some(Effect::Declares { name, .. }) => {
                self.declared.insert(name.clone(), Some(at));
            }
            Some(Effect::Closes(name)) => drop(self.declared.insert(name.clone(), None)),
            Some(Effect::DeallocatesAll) => {
                self.prepared.clear();
                self.all_deallocated = true;
            }
            Some(Effect::ClosesAll) => {
                self.declared.clear();
                self.all_closed = true;
            }
            Some(Effect::DiscardsAll) => {
                self.prepared.clear();
                self.declared.clear();
                (self.all_deallocated, self.all_closed) = (true, true);
            }
            None => {}
        }
    }

    /// What this very text has prepared under the name.
    pub(super) fn prepared(&self, name: &str) -> Result<Option<Run>, Denied> {
        match self.prepared.get(name) {
            Some(Some(at)) => Ok(self.run(*at)),
            None if !self.all_deallocated => Ok(None),
            _ => Err(Denied::NoSuchStatement(name.to_owned())),
        }
    }

    pub(super) fn declared(&self, name: &str) -> Result<Option<Run>, Denied> {
        match self.declared.get(name) {
            Some(Some(at)) => Ok(self.run(*at)),
            None if !self.all_closed => Ok(None),
            _ => Err(Denied::NoSuchCursor(name.to_owned())),
        }
    }

    pub(super) fn run(&self, at: usize) -> Option<Run> {
        let told = self.understood.statements.get(at)?;
        let (by, touches) = (told.by.clone(), told.touches.clone());
        let conditions = told.conditions.clone();
        let (held, runs) = (told.held.clone(), told.runs.clone());
        let Understood { moves, ref sets, disguised, keys_tell, ref stored, ref asked, .. } =
            self.understood;
        let (stored, gives_rows, asked) = (stored.clone(), told.gives_rows, asked.clone());
        Some(Run {
            by,
            touches,
            moves,
            sets: sets.clone(),
            conditions,
            disguised,
            stored,
            held,
            runs,
            gives_rows,
            asked,
            keys_tell,
        })
    }

    /// Notes the schemas of names that another schema of the path has, too.
    pub(super) fn qualify(&mut self, facts: &Facts, catalog: &Catalog, text: &str) {
        for used in facts.relations.iter().filter(|used| used.twice) {
            let relation = used.relation.and_then(|id| catalog.relation(id));
            if let Some(relation) = relation
                && text.is_char_boundary(used.place.start)
            {
                let schema = catalog.schema_name(relation.schema).into();
                self.schemas.push((used.place.start, schema));
            }
        }
        // What is made stands in the one schema that it was judged for.
        let made = facts.relations.iter().find(|used| used.create && used.twice);
        let object = facts.commands.iter().filter_map(|used| used.object.as_ref());
        let mut objects = object.filter(|object| object.twice && object.relation.is_none());
        if let Some(made) = made
            && text.is_char_boundary(made.place.start)
            && let Some(schema) = objects.find_map(|object| object.schema.as_deref())
        {
            self.schemas.push((made.place.start, schema.into()));
        }
    }

    /// Notes what has to be put into the text for a reader who sees relations disguised.
    pub(super) fn disguise(
        &mut self,
        found: &Found,
        facts: &Facts,
        scope: &Scope,
        text: &str,
    ) -> Result<(), Denied> {
        let rewritten = match &found.rewritten {
            Ok(rewritten) => rewritten,
            Err(why) => return Err(Denied::ByPolicy(scope.unrewritable(why).into())),
        };
        let disguises = scope.disguises();
        if disguises.is_empty() {
            return Ok(());
        }
        let disguised = facts
            .relations
            .iter()
            .filter_map(|used| used.relation)
            .any(|id| scope.is_disguised(id))
            || !rewritten.disguised.is_empty();
        self.understood.disguised |= disguised;
        self.edits.extend(rewritten.edits.iter().cloned());
        self.understood.keys_tell |= rewritten.keys_tell;
        for (id, asked) in &rewritten.asked {
            if let Some(relation) = scope.catalog().relation(*id) {
                let denied = Denied::ByPolicy(scope.not_written(*id, *asked).into());
                self.understood.asked.push(((*asked, relation.oid), denied.into()));
            }
        }
        if let Some(told) = self.understood.statements.last_mut() {
            told.gives_rows |= rewritten.gives_rows;
        }
        let explains = match facts.kind {
            Kind::Explain { analyze } if disguised || facts.handle.is_some() => Some(analyze),
            _ => None,
        };
        match explains {
            Some(true) => return Err(Denied::ByPolicy(scope.counts(ANALYZE_COUNTS).into())),
            Some(false) => match sql::explain::without_costs(text, found.place.clone()) {
                Some(edit) => self.edits.push(edit),
                None => return Err(Denied::ByPolicy(scope.counts(EXPLAIN_COUNTS).into())),
            },
            None => {}
        }
        for stored in &rewritten.stored {
            let mask = disguises.get(&stored.relation);
            if let Some(mask) = mask.and_then(|disguise| disguise.masks.get(&stored.column))
                && !matches!(mask.look, Look::Any)
            {
                self.understood.stored.push((stored.parameter, mask.look.clone()));
            }
        }
        Ok(())
    }

    pub(super) fn splice(&mut self, text: Read<'_>) -> Result<(), Denied> {
        self.understood.is_rewritten = !self.edits.is_empty();
        if self.schemas.is_empty() && self.edits.is_empty() && self.understood.step.is_none() {
            return Ok(());
        }
        // Where bytes were replaced to read it, there is no text to put anything into.
        if !text.is_as_sent {
            return Err(Denied::TwoMeanings);
        }
        let mut edits = std::mem::take(&mut self.edits);
        // What stands in the place of a name has its schema already.
        let is_within = |place: usize| {
            edits.iter().any(|edit| {
                edit.place.start == place || (edit.place.start..edit.place.end).contains(&place)
            })
        };
        let bare: Vec<Edit> = self
            .schemas
            .iter()
            .filter(|(place, _)| !is_within(*place))
            .map(|(place, schema)| qualifying(*place, schema))
            .collect();
        edits.extend(bare);
        if let Some(step) = &mut self.understood.step {
            if !edits.is_empty() {
                let within = Splice::edited(text.text, edits.clone()).ok_or(Denied::TwoMeanings)?;
                step.within = Some(Rc::new(within));
            }
            let (before, behind) = step.around();
            let Range { start, end } = step.place.clone();
            edits.push(Edit { place: 0..start, text: before.to_owned() });
            edits.push(Edit { place: end..text.text.len(), text: behind.to_owned() });
        }
        let splice = Splice::edited(text.text, edits).ok_or(Denied::TwoMeanings)?;
        self.understood.splice = Some(Rc::new(splice));
        Ok(())
    }
}

/// What is said of an EXPLAIN that would tell how much there is of what is hidden.
const ANALYZE_COUNTS: &str = "EXPLAIN ANALYZE counts rows as they are stored";
const EXPLAIN_COUNTS: &str = "with these options EXPLAIN tells of rows as they are stored";
const VALUES_UNSEEN: &str = "what an EXECUTE computes for masked columns can't be looked at; give \
                             it constants, or bind the values by the protocol";

/// What an EXECUTE runs may need more than the statement itself did.
pub(super) fn may_execute(facts: &Facts, run: &Run, scope: &Scope) -> Result<(), Denied> {
    for (number, look) in &run.stored {
        let place = usize::try_from(*number).ok().and_then(|number| number.checked_sub(1));
        match place.and_then(|place| facts.given.get(place)) {
            Some(Given::Text(text)) if look.has(text) => return Err(Denied::WritesMask(*number)),
            Some(Given::Text(_) | Given::Null) => {}
            Some(Given::Computed) | None => {
                return Err(Denied::ByPolicy(scope.counts(VALUES_UNSEEN).into()));
            }
        }
    }
    match facts.kind {
        Kind::Explain { analyze: true } if run.disguised => {
            Err(Denied::ByPolicy(scope.counts(ANALYZE_COUNTS).into()))
        }
        _ => Ok(()),
    }
}
