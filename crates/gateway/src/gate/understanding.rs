//! What a text would do, and what the policies in force say to it: worked out once and kept with
//! the versions that it stands on. Texts that were seen before are answered from bounded maps, one
//! for each thread and shared by its sessions; and so are texts that differ from them in literals
//! alone.

use std::cell::RefCell;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::rc::Rc;

use hashbrown::HashTable;
use policy::{InForceId, RuleRef};
use sql::facts::{Copy, Kind, Transaction};
use sql::rewrite::{Asked, Look};
use sql::shape::Shape;

use super::held::Held;
use super::names::{Moves, Names};
use super::options::Sets;
use super::splice::Splice;
use super::steps::Step;
use crate::conditions::Conditions;
use crate::refusal::Refusal;

/// What is kept of texts that were seen before, on each thread; and as much of their shapes.
const SEEN_BYTES_MAX: usize = 16 << 20;
const SEEN_MAX: usize = 20_000;

/// A longer text is worked out each time: it is not likely to come again.
const SEEN_TEXT_BYTES_MAX: usize = 64 << 10;

/// A text, understood and judged.
#[derive(Clone)]
pub(super) struct Understood {
    pub(super) stands_on: StandsOn,
    /// Its statements, as far as they were looked at: up to the first that may not run.
    pub(super) statements: Vec<Told>,
    /// One refusal refuses all.
    pub(super) refusal: Option<Refusal>,
    /// Where in the text stands what was refused, in characters from 1.
    pub(super) refused_at: Option<u32>,
    /// What may be another once it has run.
    pub(super) moves: Moves,
    /// What it sets that only the database's own code gives a meaning.
    pub(super) sets: Sets,
    /// It ends a transaction or takes part of one back.
    pub(super) takes_back: bool,
    /// It runs what a name stands for, or ends a transaction before it does more: another time it
    /// may be another thing.
    pub(super) is_momentary: bool,
    /// All that its statements do is read.
    pub(super) only_reads: bool,
    /// Its BEGIN that is to be open where the text is refused, or people have to agree.
    pub(super) begin: Option<Range<usize>>,
    /// What PostgreSQL gets, where that is not the text itself.
    pub(super) splice: Option<Rc<Splice>>,
    /// It reads relations that are disguised, or writes them.
    pub(super) disguised: bool,
    /// Something of it reads what stands in the place of a relation.
    pub(super) is_rewritten: bool,
    /// Parameters that are stored in masked columns, and what they may not look like.
    pub(super) stored: Vec<(u32, Look)>,
    /// What it asks of the rows that it writes, of which relation, by the server's number; and why
    /// those may not be written that don't stand it.
    pub(super) asked: Vec<((Asked, u32), Refusal)>,
    /// That a key is taken would tell of such rows.
    pub(super) keys_tell: bool,
    /// Rows of the gateway's own stand in that.
    pub(super) is_shown: bool,
    /// It is a part of the string, and the rest is judged once it has run.
    pub(super) step: Option<Step>,
}

/// One statement of a text.
#[derive(Clone)]
pub(super) struct Told {
    pub(super) kind: Kind,
    pub(super) by: Option<RuleRef>,
    pub(super) touches: Rc<[Box<str>]>,
    pub(super) effect: Option<Effect>,
    pub(super) conditions: Option<Rc<Conditions>>,
    /// Why people have to agree to it.
    pub(super) held: Vec<Rc<Held>>,
    /// What it runs that was prepared, as it was sent.
    pub(super) runs: Vec<Rc<[u8]>>,
    /// Its rows are of the gateway's asking, and the client's statement has none.
    pub(super) gives_rows: bool,
}

/// What the server will have done to a name once it says that the statement is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Prepares {
        name: Box<str>,
        /// Of the statement in the text.
        place: Range<usize>,
    },
    Deallocates(Box<str>),
    DeallocatesAll,
    Declares {
        name: Box<str>,
        place: Range<usize>,
    },
    Closes(Box<str>),
    ClosesAll,
    DiscardsAll,
}

impl Effect {
    /// Whether this is how the server says that it has happened.
    pub(super) fn is_told_by(&self, tag: &[u8]) -> bool {
        let told = match self {
            Effect::Prepares { .. } => "PREPARE",
            Effect::Deallocates(_) => "DEALLOCATE",
            Effect::DeallocatesAll => "DEALLOCATE ALL",
            Effect::Declares { .. } => "DECLARE CURSOR",
            Effect::Closes(_) => "CLOSE CURSOR",
            Effect::ClosesAll => "CLOSE CURSOR ALL",
            Effect::DiscardsAll => "DISCARD ALL",
        };
        tag == told.as_bytes()
    }
}

/// The versions that an understanding stands on. It holds as long as they are what they were.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct StandsOn {
    pub(super) policies: InForceId,
    /// Catalog and names; `None` for what is the same under all.
    pub(super) sight: Option<(u64, Rc<Names>)>,
}

impl Understood {
    pub(super) fn refused(stands_on: StandsOn, refusal: Refusal) -> Understood {
        Understood {
            stands_on,
            statements: Vec::new(),
            refusal: Some(refusal),
            refused_at: None,
            moves: Moves::default(),
            sets: Sets::default(),
            takes_back: false,
            is_momentary: false,
            only_reads: false,
            begin: None,
            splice: None,
            disguised: false,
            is_rewritten: false,
            stored: Vec::new(),
            asked: Vec::new(),
            keys_tell: false,
            is_shown: false,
            step: None,
        }
    }

    /// The conditions that it stands under: only a text of one statement does.
    pub(super) fn conditions(&self) -> Option<&Rc<Conditions>> {
        self.statements.iter().find_map(|told| told.conditions.as_ref())
    }

    /// Why people have to agree to it. What it prepares does not run yet, unless it is `of_prepared`:
    /// what runs is what was prepared.
    pub(super) fn held(&self, of_prepared: bool) -> impl Iterator<Item = &Rc<Held>> {
        let runs = move |told: &&Told| of_prepared || told.kind != Kind::Prepare;
        self.statements.iter().filter(runs).flat_map(|told| &told.held)
    }

    /// What it runs that was prepared.
    pub(super) fn runs(&self) -> Vec<Rc<[u8]>> {
        self.statements.iter().flat_map(|told| told.runs.iter().cloned()).collect()
    }

    /// What it prepares does not run yet. (A portal of such a text can be of what was prepared.)
    pub(super) fn only_prepares(&self) -> bool {
        self.statements.iter().all(|told| told.kind == Kind::Prepare)
    }

    pub(super) fn copies_in(&self) -> bool {
        self.statements.iter().any(|told| told.kind == Kind::Copy(Copy::FromClient))
    }

    /// It ends a transaction, and what it did stays.
    pub(super) fn commits(&self) -> bool {
        self.statements.iter().any(|told| {
            matches!(told.kind, Kind::Transaction(Transaction::Commit | Transaction::TwoPhase))
        })
    }

    /// One statement of a string, which stands at the place in the text.
    pub(super) fn of_several(
        &self,
        at: usize,
        text: &[u8],
        place: &Range<usize>,
    ) -> Option<Understood> {
        let is_part = self.statements.len() > 1 || self.step.is_some();
        let told = self.statements.get(at).filter(|_| is_part)?.clone();
        let text = std::str::from_utf8(text).ok()?;
        let splice = match &self.step {
            Some(step) => step.within.as_ref(),
            None => self.splice.as_ref(),
        };
        let splice = splice.and_then(|splice| splice.of_part(text, place));
        let (statements, splice) = (vec![told], splice.map(Rc::new));
        Some(Understood { statements, splice, step: None, ..self.clone() })
    }

    /// Of one statement: its rows are not the client's.
    pub(super) fn gives_rows(&self) -> bool {
        self.statements.iter().any(|told| told.gives_rows)
    }

    pub(super) fn has_effects(&self) -> bool {
        self.statements.iter().any(|told| told.effect.is_some())
    }

    /// It is analysed when it is executed, not when it is bound.
    pub(super) fn is_command(&self) -> bool {
        !self.statements.iter().all(|told| {
            matches!(
                told.kind,
                Kind::Select
                    | Kind::Insert
                    | Kind::Update
                    | Kind::Delete
                    | Kind::Merge
                    | Kind::Empty
            )
        })
    }

    /// It is one statement that reads or writes rows, and may run as it stands: nothing that is known
    /// of it has a place in the text, and nobody has to look at its values.
    fn is_plain(&self) -> bool {
        // All of it is named here, so that whoever adds to it has to decide.
        let Understood {
            stands_on: _,
            statements,
            refusal: None,
            refused_at: None,
            moves,
            sets,
            takes_back: false,
            is_momentary: false,
            only_reads: _,
            begin: None,
            splice: None,
            disguised: false,
            is_rewritten: false,
            stored,
            asked,
            keys_tell: false,
            is_shown: false,
            step: None,
        } = self
        else {
            return false;
        };
        let [
            Told {
                kind,
                by: _,
                touches: _,
                effect: None,
                conditions: None,
                held,
                runs,
                gives_rows: false,
            },
        ] = statements.as_slice()
        else {
            return false;
        };
        matches!(kind, Kind::Select | Kind::Insert | Kind::Update | Kind::Delete)
            && !moves.any()
            && sets.is_empty()
            && stored.is_empty()
            && asked.is_empty()
            && held.is_empty()
            && runs.is_empty()
    }

    /// Whether what is found of this text, which has parameters where `other` has literals, can be said
    /// of every text with `other`'s shape.
    pub(super) fn holds_for_all_like(&self, other: &Understood) -> bool {
        let of = |understood: &Understood| {
            let told = understood.statements.first();
            told.map(|told| (told.kind, told.by.clone(), told.touches.clone()))
        };
        self.is_plain()
            && other.is_plain()
            && of(self) == of(other)
            && self.only_reads == other.only_reads
            && self.stands_on == other.stands_on
    }

    fn bytes(&self) -> usize {
        let touches = self.statements.iter().flat_map(|told| told.touches.iter());
        size_of::<Understood>()
            + self.statements.len() * size_of::<Told>()
            + self.conditions().map_or(0, |conditions| conditions.bytes())
            + self.held(true).map(|held| held.bytes()).sum::<usize>()
            + self.sets.bytes()
            + touches.map(|name| name.len() + size_of::<Box<str>>()).sum::<usize>()
            + self.splice.as_ref().map_or(0, |splice| splice.text().len())
    }
}

/// A text, to be looked up or to be kept: by itself and by what it stands on, whole.
pub(super) struct Said<'t> {
    hash: u64,
    text: &'t [u8],
    stands_on: &'t StandsOn,
}

/// What is known of all texts of a shape.
#[derive(Clone)]
pub(super) enum OfShape {
    /// There was one. Many shapes never come again, and no more work is put into them.
    One,
    All(Rc<Understood>),
    /// Each has to be looked at.
    Nothing,
}

struct Seen<T> {
    hash: u64,
    text: Box<[u8]>,
    stands_on: StandsOn,
    what: T,
    bytes: usize,
}

/// Two generations: what was not asked for during one is gone after the next.
struct Generations<T> {
    young: HashTable<Seen<T>>,
    old: HashTable<Seen<T>>,
    bytes: usize,
}

#[derive(Default)]
struct SeenTexts {
    hashing: RandomState,
    texts: Generations<Rc<Understood>>,
    shapes: Generations<OfShape>,
}

thread_local! {
    static SEEN: RefCell<SeenTexts> = RefCell::default();
}

impl<'t> Said<'t> {
    /// `None` for a text that is too long to be kept.
    pub(super) fn of(text: &'t [u8], stands_on: &'t StandsOn) -> Option<Said<'t>> {
        if text.len() > SEEN_TEXT_BYTES_MAX {
            return None;
        }
        let hash = SEEN.with_borrow(|seen| seen.hashing.hash_one((text, stands_on)));
        Some(Said { hash, text, stands_on })
    }

    /// What was found of this text under the same versions.
    pub(super) fn seen(&self) -> Option<Rc<Understood>> {
        SEEN.with_borrow_mut(|seen| seen.texts.find(self))
    }

    /// Keeps it for the next who says the same.
    pub(super) fn keep(&self, understood: &Rc<Understood>) {
        if understood.is_momentary {
            return;
        }
        let bytes = understood.bytes();
        SEEN.with_borrow_mut(|seen| seen.texts.keep(self, understood.clone(), bytes));
    }

    /// The same of a shape.
    pub(super) fn of_shape(shape: &'t Shape, stands_on: &'t StandsOn) -> Option<Said<'t>> {
        Said::of(shape.as_bytes(), stands_on)
    }

    pub(super) fn seen_of_shape(&self) -> Option<OfShape> {
        SEEN.with_borrow_mut(|seen| seen.shapes.find(self))
    }

    pub(super) fn keep_of_shape(&self, known: OfShape) {
        let bytes = match &known {
            OfShape::All(understood) => understood.bytes(),
            OfShape::One | OfShape::Nothing => 0,
        };
        SEEN.with_borrow_mut(|seen| seen.shapes.keep(self, known, bytes));
    }

    fn is<T>(&self, seen: &Seen<T>) -> bool {
        seen.hash == self.hash && *seen.text == *self.text && seen.stands_on == *self.stands_on
    }
}

impl<T> Default for Generations<T> {
    fn default() -> Self {
        Generations { young: HashTable::new(), old: HashTable::new(), bytes: 0 }
    }
}

impl<T: Clone> Generations<T> {
    fn find(&mut self, said: &Said<'_>) -> Option<T> {
        if let Some(found) = self.young.find(said.hash, |seen| said.is(seen)) {
            return Some(found.what.clone());
        }
        let found = self.old.find_entry(said.hash, |seen| said.is(seen)).ok()?.remove().0;
        let what = found.what.clone();
        self.enter(found);
        Some(what)
    }

    /// In the place of what was known before. `bytes` is how large `what` is.
    fn keep(&mut self, said: &Said<'_>, what: T, bytes: usize) {
        if let Ok(before) = self.young.find_entry(said.hash, |seen| said.is(seen)) {
            let before = before.remove().0;
            self.bytes = self.bytes.saturating_sub(before.bytes);
        }
        let stands_on = said.stands_on.clone();
        let names = stands_on.sight.as_ref().map_or(0, |(_, names)| names.bytes());
        let bytes = size_of::<Seen<T>>() + said.text.len() + bytes + names;
        self.enter(Seen { hash: said.hash, text: said.text.into(), stands_on, what, bytes });
    }

    fn enter(&mut self, seen: Seen<T>) {
        if self.young.len() >= SEEN_MAX / 2 || self.bytes + seen.bytes > SEEN_BYTES_MAX / 2 {
            self.old = std::mem::take(&mut self.young);
            self.bytes = 0;
        }
        self.bytes += seen.bytes;
        self.young.insert_unique(seen.hash, seen, |seen| seen.hash);
    }
}

#[cfg(test)]
mod tests {
    use policy::{Opened, Policies, Subject, written};

    use super::*;

    fn under(version: u64) -> StandsOn {
        let text = |text: &str| written::Text { text: text.to_owned(), ..Default::default() };
        let policy = written::Policy {
            name: text("all"),
            who: vec![written::Who::One(text("*"))],
            to: vec![text("*")],
            access: Some(written::Access {
                approval: Some(written::Approval::Word(text("none"))),
                ..Default::default()
            }),
            ..Default::default()
        };
        let policies = Policies::new(vec![policy]).unwrap();
        let claims = std::collections::BTreeMap::new();
        let who = Subject { name: None, issuer: "", subject: "", groups: &[], claims: &claims };
        let Opened::Open(in_force) = policies.open(&who, "x") else { panic!("it opens") };
        let names = Names::default();
        StandsOn { policies: in_force.id().clone(), sight: Some((version, Rc::new(names))) }
    }

    fn refused(stands_on: &StandsOn) -> Rc<Understood> {
        Rc::new(Understood::refused(stands_on.clone(), Refusal::Unrecorded))
    }

    #[test]
    fn what_was_seen_under_other_versions_is_not_known() {
        let one = under(1);
        let two = StandsOn { sight: Some((2, Rc::default())), ..one.clone() };
        let seen = |text: &str, on: &StandsOn| Said::of(text.as_bytes(), on).unwrap().seen();
        Said::of(b"SELECT 1", &one).unwrap().keep(&refused(&one));
        assert!(seen("SELECT 1", &one).is_some());
        assert!(seen("SELECT 1", &one.clone()).is_some());
        assert!(seen("SELECT 1", &two).is_none());
        assert!(seen("SELECT 1", &under(1)).is_none(), "the file was read again");
        assert!(seen("SELECT 2", &one).is_none());
    }

    #[test]
    fn texts_of_one_hash_are_told_apart() {
        let one = under(1);
        let two = StandsOn { sight: Some((2, Rc::default())), ..one.clone() };
        let said = |text: &'static [u8], stands_on| Said { hash: 7, text, stands_on };
        let mut map = Generations::default();
        map.keep(&said(b"SELECT 1", &one), 1, 0);
        assert_eq!(map.find(&said(b"SELECT 1", &one)), Some(1));
        assert_eq!(map.find(&said(b"SELECT 2", &one)), None);
        assert_eq!(map.find(&said(b"SELECT 1", &two)), None);
        map.keep(&said(b"SELECT 1", &one), 2, 0);
        assert_eq!((map.find(&said(b"SELECT 1", &one)), map.young.len()), (Some(2), 1));
    }

    #[test]
    fn the_map_at_its_bounds_and_past_them() {
        let mut map = Generations::default();
        let on = under(1);
        let mut keep = |number: usize, bytes: usize| {
            let text = format!("{number}{}", "x".repeat(bytes));
            map.keep(&Said { hash: number as u64, text: text.as_bytes(), stands_on: &on }, (), 0);
            (map.young.len() + map.old.len(), map.bytes)
        };
        for number in 0..SEEN_MAX * 2 {
            assert!(keep(number, 0).0 <= SEEN_MAX);
        }
        for number in 0..1_000 {
            assert!(keep(number, SEEN_TEXT_BYTES_MAX).1 <= SEEN_BYTES_MAX / 2);
        }
    }
}
