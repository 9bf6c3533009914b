//! The verdict on a text: what its statements do under the names and the catalog that the session
//! sees now, what the policies say to each, and what the text does to the statements behind it. A
//! text is judged whole, and one refusal refuses all of it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use policy::{Context, RuleRef, Scope, Then, Verdict};
use sql::Script;
use sql::catalog::{self, Catalog, Step};
use sql::facts::{Facts, Kind, NotUnderstood, SettingName, Transaction};
use sql::parse::{Limits, NotParsed};
use sql::rewrite::{Edit, Look};

use super::Gate;
use super::ahead::{LONG_TEXT_BYTES, LongText};
use super::found::{self, Found};
use super::held::Held;
use super::memory::{Bound, Judged, Uncertain};
use super::names::{Moves, is_nameless, takes_back};
use super::needs::{Need, Unmet};
use super::reads::only_reads;
use super::rules::Rules;
use super::sight::Seeing;
use super::splice::{Splice, qualifying};
use super::understanding::{Effect, Said, StandsOn, Told, Understood};
use crate::conditions::Conditions;
use crate::refusal::{Denied, Refusal};

/// What a record says that a statement touches, and no more.
const TOUCHES_MAX: usize = 32;

/// An EXECUTE may run what is an EXECUTE again, of its own name even. The server has its stack for a
/// bound, which is not ours.
const EXECUTE_DEPTH_MAX: usize = 8;

/// What changes names in one text, for what stands behind it. A text with more of it has to come in
/// pieces: each takes time on the thread that other sessions wait for, by the size of the text and of
/// what the database holds.
const CARRIED_MAX: usize = 1_000;
const CARRIED_TEXT_BYTES_MAX: usize = 256 << 10;
/// Relations of the catalog, once for each change.
const CARRIED_RELATIONS_MAX: usize = 1_000_000;

/// A first word with which a statement may be one that names nothing of the database. A wrong guess
/// costs a second look.
const NAMELESS: [&str; 19] = [
    "abort",
    "begin",
    "close",
    "commit",
    "deallocate",
    "discard",
    "end",
    "fetch",
    "listen",
    "move",
    "notify",
    "prepare",
    "release",
    "reset",
    "rollback",
    "savepoint",
    "set",
    "show",
    "start",
];

fn may_be_nameless(text: &str) -> bool {
    let first = text.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == ';');
    let word = first.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
    text.len() <= LONG_TEXT_BYTES
        && (word.is_empty() || NAMELESS.iter().any(|known| known.eq_ignore_ascii_case(word)))
}

/// What a text is about to do when it is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// The server keeps it. What the names of statements and cursors in it stand for it looks up
    /// when it runs it.
    Prepared,
    Runs,
}

/// Why there is no verdict yet, or none but a refusal.
enum Stop {
    Need(Need),
    Refused(Box<Denied>),
}

impl From<Need> for Stop {
    fn from(need: Need) -> Self {
        Stop::Need(need)
    }
}

impl From<Uncertain> for Stop {
    fn from(uncertain: Uncertain) -> Self {
        Stop::Need(uncertain.into())
    }
}

impl From<Denied> for Stop {
    fn from(denied: Denied) -> Self {
        Stop::Refused(Box::new(denied))
    }
}

impl Gate {
    /// What `text` does, judged by what holds now.
    pub(super) fn understand(
        &mut self,
        rules: &Rules,
        text: &[u8],
        when: When,
    ) -> Result<Rc<Understood>, Need> {
        match self.understand_shown(rules, text, when)? {
            Some(understood) => Ok(understood),
            None => self.understand_once(rules, text, when),
        }
    }

    /// The same of a text as it stands.
    pub(super) fn understand_once(
        &mut self,
        rules: &Rules,
        text: &[u8],
        when: When,
    ) -> Result<Rc<Understood>, Need> {
        let policies = rules.in_force().id().clone();
        let nowhere = StandsOn { policies, sight: None };
        // A change of the encoding may be on its way, and with it another reading of this text.
        if !text.is_ascii() || text.contains(&b'\\') {
            self.sight.know_names()?;
        }
        let Some(read) = self.reading.judged(text) else {
            let verdict = rules.bare().decide_unread("its quotes can't be told from its text");
            return Ok(Rc::new(unread(nowhere, verdict)));
        };
        // In another encoding the same bytes are other names.
        let may_be_seen = self.reading.is_judged_as_read(text);
        if may_be_nameless(&read) {
            let said = if may_be_seen { Said::of(text, &nowhere) } else { None };
            if let Some(understood) = said.as_ref().and_then(Said::seen) {
                return Ok(understood);
            }
            if let Some(understood) = self.nameless(rules, &read, when, &nowhere)? {
                let understood = Rc::new(understood);
                said.inspect(|said| said.keep(&understood));
                return Ok(understood);
            }
        }
        let seeing = self.see()?;
        if rules.in_force().hides_something() {
            self.raw = Some(rules.scope(&seeing.catalog, seeing.version).raw_columns());
        }
        let stands_on = StandsOn {
            policies: nowhere.policies,
            sight: Some((seeing.version, seeing.names.clone())),
        };
        let said = if may_be_seen { Said::of(text, &stands_on) } else { None };
        if let Some(understood) = said.as_ref().and_then(Said::seen) {
            return Ok(understood);
        }
        let read = Read { text: &read, is_as_sent: matches!(read, Cow::Borrowed(_)) };
        let on = stands_on.clone();
        let whole = match self.statements(rules, read, when, &seeing, on.clone()) {
            Ok(understood) => understood,
            Err(Stop::Need(need)) => return Err(need),
            Err(Stop::Refused(denied)) => Understood::refused(on, Refusal::Denied(denied)),
        };
        let understood = Rc::new(whole);
        said.inspect(|said| said.keep(&understood));
        Ok(understood)
    }

    /// What a prepared statement does now. Where the server's own text of it would mean another
    /// thing than it did, it is refused, and the client prepares it again.
    pub(super) fn judged_now(
        &mut self,
        rules: &Rules,
        judged: &Judged,
    ) -> Result<Rc<Understood>, Need> {
        let before = judged.understood.borrow().clone();
        if !before.is_momentary && self.still_holds(rules, &before.stands_on)? {
            return Ok(before);
        }
        let text = judged.text.clone();
        let now = self.understand(rules, &text, When::Runs)?;
        // Rows of our own are others each time, and are put in anew when it is bound.
        let is_shown = now.is_shown && before.is_shown;
        if now.refusal.is_none() && !is_shown && now.splice != before.splice {
            let refusal = Denied::PlanChanged.into();
            return Ok(Rc::new(Understood::refused(now.stands_on.clone(), refusal)));
        }
        if now.refusal.is_none() && !now.is_momentary {
            judged.understood.replace(now.clone());
        }
        Ok(now)
    }

    fn still_holds(&self, rules: &Rules, stands_on: &StandsOn) -> Result<bool, Need> {
        if stands_on.policies != *rules.in_force().id() {
            return Ok(false);
        }
        let Some((version, names)) = &stands_on.sight else { return Ok(true) };
        let seeing = self.see()?;
        Ok(seeing.version == *version && seeing.names == *names)
    }

    /// Statements that name nothing of the database are judged without it. A COMMIT waits for
    /// nothing, and in a failed transaction a ROLLBACK is all that helps.
    fn nameless(
        &mut self,
        rules: &Rules,
        text: &str,
        when: When,
        on: &StandsOn,
    ) -> Result<Option<Understood>, Need> {
        let nothing = Catalog::default();
        let names = catalog::Names { search_path: &[], user: "", temporary: None, database: "" };
        let Ok(found) = sql::statements(text, &nothing, &names, &Limits::default()) else {
            return Ok(None);
        };
        if !found.iter().all(|one| one.facts.as_ref().is_ok_and(is_nameless)) {
            return Ok(None);
        }
        let scope = rules.bare().clone();
        let mut whole = Whole::new(on.clone(), when);
        let several_statements = found.len() > 1;
        let context = Context { several_statements };
        for statement in found {
            let Ok(facts) = statement.facts else { return Ok(None) };
            let moves = Moves::of(&facts, &nothing);
            let judged =
                Statement { place: statement.place, facts: &facts, catalog: &nothing, moves };
            match self.statement(rules, judged, &scope, context, &mut whole) {
                Ok(()) => {}
                Err(Stop::Need(need)) => return Err(need),
                Err(Stop::Refused(denied)) => {
                    return Ok(Some(whole.refused(Refusal::Denied(denied))));
                }
            }
        }
        Ok(Some(whole.understood))
    }

    fn statements(
        &mut self,
        rules: &Rules,
        text: Read<'_>,
        when: When,
        seeing: &Seeing,
        stands_on: StandsOn,
    ) -> Result<Understood, Stop> {
        let mut scope = rules.scope(&seeing.catalog, seeing.version);
        let mut whole = Whole::new(stands_on, when);
        let mut catalog = seeing.catalog.clone();
        let mut names = seeing.names.clone();
        let is_long = text.text.len() > LONG_TEXT_BYTES;
        let policies = rules.in_force().id();
        let found = match self.read_ahead(text.text, seeing, policies) {
            Some(found) => found,
            None if is_long => {
                return Err(Need::LongText(LongText::of(text.text, seeing, &scope)).into());
            }
            None => names.with(|names| found::all(text.text, &catalog, names, &scope)),
        };
        let mut found = found.map_err(|why| not_parsed(&why, &scope))?;
        let several_statements = found.len() > 1;
        let context = Context { several_statements };
        // Once something has moved, the statements behind are read under the names that they will
        // have.
        let mut script: Option<Script<'_>> = None;
        let mut carried_on = 0;
        for at in 0..found.len() {
            if let Some(script) = &script
                && let Some(now) =
                    names.with(|names| found::one(script, at, &catalog, names, &scope))
                && let Some(before) = found.get_mut(at)
            {
                *before = now;
            }
            let Some(statement) = found.get(at) else { break };
            let facts = match &statement.facts {
                Ok(facts) => facts,
                Err(_) if !whole.can_carry => return Ok(whole.refused(Denied::Alone.into())),
                Err(why) => {
                    self.look_again(why, seeing)?;
                    let denied = not_understood(why, &scope);
                    return Ok(whole.refused_at(denied.into(), text, statement.failed_at));
                }
            };
            if !whole.can_carry && !is_nameless(facts) {
                let refusal = Denied::Alone.into();
                return Ok(whole.refused(refusal));
            }
            let moves = Moves::of(facts, &catalog);
            let place = statement.place.clone();
            let judged = Statement { place, facts, catalog: &catalog, moves };
            match self.statement(rules, judged, &scope, context, &mut whole) {
                Ok(()) => {}
                Err(Stop::Need(need)) => return Err(Stop::Need(need)),
                Err(Stop::Refused(denied)) => {
                    let at = place_of(&denied, facts);
                    return Ok(whole.refused_at(Refusal::Denied(denied), text, at));
                }
            }
            if let Err(denied) = whole.disguise(statement, facts, &scope, text.text) {
                return Ok(whole.refused(denied.into()));
            }
            whole.qualify(facts, &catalog, text.text);
            let takes_back = takes_back(facts.kind);
            // What has moved in this transaction may be taken back in this text. A COMMIT that is not
            // the text's end takes back what was set for the transaction, and nothing else.
            let moved = match facts.kind {
                Kind::Transaction(Transaction::Commit | Transaction::Release) => whole.is_local,
                _ => whole.understood.moves.any(),
            };
            if takes_back && (moved || self.sight.is_within()) {
                whole.can_carry = false;
            }
            whole.understood.is_momentary |= several_statements && (takes_back || moves.any());
            let is_last = at + 1 == found.len();
            if is_last || !whole.can_carry {
                continue;
            }
            let is_in_block = whole.begin.is_some() || self.status == b'T';
            let carried = carried(facts, moves, &catalog, is_in_block);
            if matches!(carried, Carried::Unmoved) {
                continue;
            }
            carried_on += 1;
            let room =
                catalog.relations().len().saturating_mul(carried_on) <= CARRIED_RELATIONS_MAX;
            whole.can_carry = carried_on <= CARRIED_MAX
                && text.text.len() <= CARRIED_TEXT_BYTES_MAX
                && room
                && match carried {
                    Carried::Unmoved => true,
                    Carried::Path(path) => {
                        whole.is_local |= facts.settings.iter().any(|setting| setting.local);
                        names = Rc::new(names.with_path(path));
                        true
                    }
                    Carried::Catalog(steps) => {
                        // Else it would be copied for each change.
                        drop(scope);
                        let draft = Arc::make_mut(&mut catalog);
                        let is_known = draft.take(steps).is_some();
                        if !is_known {
                            self.look_newer(seeing)?;
                        }
                        if let Some(temporary) = draft.temporary_of(steps) {
                            names = Rc::new(names.with_temporary(temporary));
                        }
                        scope = rules.in_force().scope(&catalog);
                        is_known
                    }
                    Carried::Lost => false,
                };
            if whole.can_carry && script.is_none() {
                let parsed = Script::parse(text.text, &Limits::default());
                script = Some(parsed.map_err(|why| not_parsed(&why, &scope))?);
            }
        }
        whole.splice(text)?;
        Ok(whole.understood)
    }

    /// What one statement does to the session's names, and what the policies say to it.
    fn statement(
        &mut self,
        rules: &Rules,
        statement: Statement<'_>,
        scope: &Scope,
        context: Context,
        whole: &mut Whole,
    ) -> Result<(), Stop> {
        let Statement { place, facts, catalog, mut moves } = statement;
        let mut touches = touches(facts, catalog);
        let verdict = scope.decide(facts, context);
        let (mut by, mut conditions, held) = conditional(verdict, facts, catalog)?;
        let mut held: Vec<_> = held.into_iter().collect();
        let mut runs = Vec::new();
        let handle = facts.handle.as_deref();
        let effect = match (facts.kind, handle) {
            (Kind::Prepare, Some(name)) => Some(Effect::Prepares(name.into())),
            (Kind::Deallocate, Some("")) => Some(Effect::DeallocatesAll),
            (Kind::Deallocate, Some(name)) => Some(Effect::Deallocates(name.into())),
            (Kind::DeclareCursor, Some(name)) => Some(Effect::Declares(name.into())),
            (Kind::CloseCursor, Some("")) => Some(Effect::ClosesAll),
            (Kind::CloseCursor, Some(name)) => Some(Effect::Closes(name.into())),
            (Kind::Discard, Some(_)) => Some(Effect::DiscardsAll),
            (Kind::Fetch, Some(name)) => {
                whole.understood.is_momentary = true;
                if whole.when == When::Runs {
                    let run = self.fetched(rules, name, whole)?;
                    (by, touches, moves) = (run.by, run.touches, moves.or(run.moves));
                }
                None
            }
            (Kind::Execute, Some(name))
            | (Kind::Explain { .. } | Kind::CreateTableAs, Some(name)) => {
                whole.understood.is_momentary = true;
                if whole.when == When::Runs {
                    let run = self.executed(rules, name, whole)?;
                    may_execute(facts, &run, scope)?;
                    if facts.kind == Kind::Execute {
                        (by, touches) = (run.by, run.touches);
                    }
                    moves = moves.or(run.moves);
                    let of_run =
                        run.conditions.filter(|_| facts.kind != (Kind::Explain { analyze: false }));
                    if facts.kind != (Kind::Explain { analyze: false }) {
                        held.extend(run.held);
                        runs = run.runs;
                    }
                    conditions = match (conditions, of_run) {
                        (Some(own), Some(_)) => return Err(own.unanswered().into()),
                        (own, of_run) => of_run.or(own),
                    };
                }
                None
            }
            _ => None,
        };
        let understood = &mut whole.understood;
        understood.only_reads &= only_reads(facts, catalog);
        understood.moves = understood.moves.or(moves);
        understood.takes_back |= takes_back(facts.kind);
        match facts.kind {
            Kind::Transaction(Transaction::Begin) => whole.begin = Some(place.clone()),
            Kind::Transaction(Transaction::Commit | Transaction::Rollback) => whole.begin = None,
            _ => {}
        }
        whole.note(&effect);
        let kind = facts.kind;
        if let Some(conditions) = &conditions
            && context.several_statements
        {
            // What it changes could not be told from what the others do.
            return Err(Denied::AloneUnderCondition(conditions.rule.clone()).into());
        }
        let told = Told { place, kind, by, touches, effect, conditions, held, runs };
        whole.understood.statements.push(told);
        Ok(())
    }

    /// What an EXECUTE runs: judged when it was prepared, and again if what it stands on has moved.
    fn executed(&mut self, rules: &Rules, name: &str, whole: &Whole) -> Result<Run, Stop> {
        if let Some(run) = whole.prepared(name)? {
            return Ok(run);
        }
        let unknown = || Denied::NoSuchStatement(name.to_owned());
        let found = self.memory.certain_statement(name.as_bytes(), self.series)?;
        let prepared = found.ok_or_else(unknown)?;
        let judged = prepared.judged.as_ref().ok_or(Denied::PlanChanged)?;
        if self.depth >= EXECUTE_DEPTH_MAX {
            return Err(Denied::TooDeep.into());
        }
        self.depth += 1;
        let understood = self.judged_now(rules, judged);
        self.depth -= 1;
        let understood = understood?;
        match &understood.refusal {
            Some(Refusal::Denied(denied)) => Err(Stop::Refused(denied.clone())),
            Some(_) => Err(unknown().into()),
            None => {
                let mut run = Run::of(&understood);
                run.runs.push(judged.text.clone());
                Ok(run)
            }
        }
    }

    /// What a FETCH brings: of an open portal, which keeps its plan.
    fn fetched(&mut self, rules: &Rules, name: &str, whole: &Whole) -> Result<Run, Stop> {
        if let Some(run) = whole.declared(name)? {
            return Ok(run);
        }
        let found = self.memory.certain_portal(name.as_bytes(), self.series)?;
        let bound = found.ok_or_else(|| Denied::NoSuchCursor(name.to_owned()))?;
        let understood = self.portal_now(rules, &bound)?;
        Ok(Run::of(&understood))
    }

    /// An open portal runs what was judged when it was opened, unless the policies are others now.
    pub(super) fn portal_now(
        &self,
        rules: &Rules,
        bound: &Bound,
    ) -> Result<Rc<Understood>, Denied> {
        match &bound.understood {
            Some(understood) if understood.stands_on.policies == *rules.in_force().id() => {
                Ok(understood.clone())
            }
            _ => Err(Denied::PortalJudgedBefore),
        }
    }

    /// A name that the catalog does not have may be newer than the catalog.
    fn look_again(&mut self, why: &NotUnderstood, seeing: &Seeing) -> Result<(), Need> {
        let is_unknown = matches!(
            why,
            NotUnderstood::NoSuchRelation(_)
                | NotUnderstood::NoSuchColumn(_)
                | NotUnderstood::NoSuchFunction(_)
                | NotUnderstood::NoSuchSchema(_)
                | NotUnderstood::NoSuchType(_)
        );
        if is_unknown { self.look_newer(seeing) } else { Ok(()) }
    }

    /// What does not fit may be younger than the catalog.
    fn look_newer(&mut self, seeing: &Seeing) -> Result<(), Need> {
        let since = *self.looked_since.get_or_insert_with(Instant::now);
        if seeing.taken < since {
            self.sight.doubt_catalog();
            return Err(Need::Catalog);
        }
        Ok(())
    }
}

/// A text as characters.
#[derive(Clone, Copy)]
struct Read<'t> {
    text: &'t str,
    /// No byte had to be replaced.
    is_as_sent: bool,
}

/// A statement of a text, with its facts.
struct Statement<'s> {
    place: Range<usize>,
    facts: &'s Facts,
    catalog: &'s Catalog,
    moves: Moves,
}

/// What a name stands for, as far as whoever runs it has to know.
struct Run {
    by: Option<RuleRef>,
    touches: Rc<[Box<str>]>,
    moves: Moves,
    conditions: Option<Rc<Conditions>>,
    /// It reads relations that are disguised.
    disguised: bool,
    /// What it is given is stored in masked columns.
    stores: bool,
    held: Vec<Rc<Held>>,
    runs: Vec<Rc<[u8]>>,
}

impl Run {
    fn of(understood: &Understood) -> Run {
        let told = understood.statements.last();
        Run {
            by: told.and_then(|told| told.by.clone()),
            touches: told.map_or_else(|| Rc::from([]), |told| told.touches.clone()),
            moves: understood.moves,
            conditions: told.and_then(|told| told.conditions.clone()),
            disguised: understood.disguised,
            stores: !understood.stored.is_empty(),
            held: told.map_or_else(Vec::new, |told| told.held.clone()),
            runs: told.map_or_else(Vec::new, |told| told.runs.clone()),
        }
    }
}

/// A text on its way to being understood.
struct Whole {
    understood: Understood,
    when: When,
    /// What comes next is read as the server will read it.
    can_carry: bool,
    /// The path is the transaction's.
    is_local: bool,
    /// A BEGIN of this text that has not been ended in it.
    begin: Option<Range<usize>>,
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
    fn new(stands_on: StandsOn, when: When) -> Whole {
        Whole {
            when,
            understood: Understood {
                is_shown: false,
                stands_on,
                statements: Vec::new(),
                refusal: None,
                refused_at: None,
                moves: Moves::default(),
                takes_back: false,
                is_momentary: false,
                only_reads: true,
                begin: None,
                splice: None,
                disguised: false,
                is_rewritten: false,
                stored: Vec::new(),
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
    fn refused(mut self, refusal: Refusal) -> Understood {
        self.understood.refusal = Some(refusal);
        self.understood.moves = Moves::default();
        self.understood.begin = self.begin;
        self.understood
    }

    fn refused_at(self, refusal: Refusal, text: Read<'_>, at: Option<usize>) -> Understood {
        let before = at.filter(|_| text.is_as_sent).and_then(|at| text.text.get(..at));
        let position = before.and_then(|before| u32::try_from(before.chars().count() + 1).ok());
        Understood { refused_at: position, ..self.refused(refusal) }
    }

    fn note(&mut self, effect: &Option<Effect>) {
        let at = self.understood.statements.len();
        match effect {
            Some(Effect::Prepares(name)) => drop(self.prepared.insert(name.clone(), Some(at))),
            Some(Effect::Deallocates(name)) => drop(self.prepared.insert(name.clone(), None)),
            Some(Effect::Declares(name)) => drop(self.declared.insert(name.clone(), Some(at))),
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
    fn prepared(&self, name: &str) -> Result<Option<Run>, Denied> {
        match self.prepared.get(name) {
            Some(Some(at)) => Ok(self.run(*at)),
            None if !self.all_deallocated => Ok(None),
            _ => Err(Denied::NoSuchStatement(name.to_owned())),
        }
    }

    fn declared(&self, name: &str) -> Result<Option<Run>, Denied> {
        match self.declared.get(name) {
            Some(Some(at)) => Ok(self.run(*at)),
            None if !self.all_closed => Ok(None),
            _ => Err(Denied::NoSuchCursor(name.to_owned())),
        }
    }

    fn run(&self, at: usize) -> Option<Run> {
        let told = self.understood.statements.get(at)?;
        let (by, touches) = (told.by.clone(), told.touches.clone());
        let conditions = told.conditions.clone();
        let (held, runs) = (told.held.clone(), told.runs.clone());
        let Understood { moves, disguised, ref stored, .. } = self.understood;
        let stores = !stored.is_empty();
        Some(Run { by, touches, moves, conditions, disguised, stores, held, runs })
    }

    /// Notes the schemas of names that another schema of the path has, too.
    fn qualify(&mut self, facts: &Facts, catalog: &Catalog, text: &str) {
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
    fn disguise(
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

    fn splice(&mut self, text: Read<'_>) -> Result<(), Denied> {
        self.understood.is_rewritten = !self.edits.is_empty();
        if self.schemas.is_empty() && self.edits.is_empty() {
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
        let splice = Splice::edited(text.text, edits).ok_or(Denied::TwoMeanings)?;
        self.understood.splice = Some(Rc::new(splice));
        Ok(())
    }
}

/// What is said of an EXPLAIN that would tell how much there is of what is hidden.
const ANALYZE_COUNTS: &str = "EXPLAIN ANALYZE counts rows as they are stored";
const EXPLAIN_COUNTS: &str = "with these options EXPLAIN tells of rows as they are stored";
const VALUES_UNSEEN: &str = "what an EXECUTE stores in masked columns can't be looked at; bind the \
                             values by the protocol";

/// What an EXECUTE runs may need more than the statement itself did.
fn may_execute(facts: &Facts, run: &Run, scope: &Scope) -> Result<(), Denied> {
    if run.stores {
        return Err(Denied::ByPolicy(scope.counts(VALUES_UNSEEN).into()));
    }
    match facts.kind {
        Kind::Explain { analyze: true } if run.disguised => {
            Err(Denied::ByPolicy(scope.counts(ANALYZE_COUNTS).into()))
        }
        _ => Ok(()),
    }
}

/// How what follows in the same text has to be read.
enum Carried<'f> {
    Unmoved,
    Path(Vec<String>),
    Catalog(&'f [Step]),
    Lost,
}

fn carried<'f>(
    facts: &'f Facts,
    moves: Moves,
    catalog: &Catalog,
    is_in_block: bool,
) -> Carried<'f> {
    if !moves.any() {
        return Carried::Unmoved;
    }
    if let Some(steps) = &facts.change
        && Moves::known_by(facts, catalog)
    {
        return Carried::Catalog(steps);
    }
    match (facts.kind, facts.settings.as_slice()) {
        (Kind::Set, [setting]) if !setting.local || is_in_block => {
            match (&setting.name, &setting.value) {
                (SettingName::One(name), Some(path))
                    if name.eq_ignore_ascii_case("search_path") =>
                {
                    Carried::Path(path.clone())
                }
                _ => Carried::Lost,
            }
        }
        _ => Carried::Lost,
    }
}

/// Where the text names what may not be.
fn place_of(denied: &Denied, facts: &Facts) -> Option<usize> {
    let Denied::ByPolicy(refused) = denied else { return None };
    let about = refused.about?;
    let mut uses = facts.relations.iter();
    let found = uses.find(|used| used.relation == Some(about) && !used.place.is_empty());
    found.map(|used| used.place.start)
}

fn allowed(verdict: Verdict) -> Result<Option<RuleRef>, Denied> {
    match verdict {
        Verdict::Allow { by, before, after } => match before.into_iter().chain(after).next() {
            None => Ok(Some(by)),
            Some(check) => Err(Denied::NotBuilt(check.rule)),
        },
        Verdict::Hold { by, .. } => {
            let why = "nobody could be shown what it is; send it as a statement of its own";
            Err(Denied::CannotHold { rule: by, why })
        }
        Verdict::Refuse(refused) => Err(Denied::ByPolicy(Box::new(refused))),
    }
}

/// The rule that lets a statement run, what the database has to say first, and why people have.
type Ruled = (Option<RuleRef>, Option<Rc<Conditions>>, Option<Rc<Held>>);

/// The verdict on a statement whose conditions can be asked.
fn conditional(verdict: Verdict, facts: &Facts, catalog: &Catalog) -> Result<Ruled, Denied> {
    let (by, before, after, held) = match verdict {
        Verdict::Allow { by, before, after } => {
            let holds = before.iter().chain(&after).any(|check| check.then == Then::Hold);
            let held = holds.then(|| Rc::new(Held::new(Vec::new(), facts, catalog)));
            (by, before, after, held)
        }
        Verdict::Hold { by, all, before, after } => {
            (by, before, after, Some(Rc::new(Held::new(all, facts, catalog))))
        }
        Verdict::Refuse(_) => return Ok((allowed(verdict)?, None, None)),
    };
    let runs = facts.kind != (Kind::Explain { analyze: false });
    let (before, after) = if runs { (before, after) } else { (Vec::new(), Vec::new()) };
    let Some(rule) = before.iter().chain(&after).next().map(|check| check.rule.clone()) else {
        return Ok((Some(by), None, held));
    };
    if let Some(check) = after.first() {
        let empties = facts.relations.iter().any(|used| used.truncate);
        if empties || facts.outside_transaction {
            return Err(Denied::uncountable(check));
        }
    }
    match Conditions::new(rule.clone(), before, after, catalog) {
        Ok(conditions) => Ok((Some(by), Some(Rc::new(conditions)), held)),
        Err(_) => Err(Denied::Condition {
            rule,
            sentence: "What this statement changes can't be counted: it is in a table of another \
                       server."
                .to_owned(),
        }),
    }
}

/// Why it may not run, if so.
pub(super) fn refusal_of(verdict: Verdict) -> Option<Refusal> {
    allowed(verdict).err().map(Refusal::from)
}

fn unread(stands_on: StandsOn, verdict: Verdict) -> Understood {
    match allowed(verdict) {
        Err(denied) => Understood::refused(stands_on, denied.into()),
        // Whoever grants everything is not asked.
        Ok(_) => Understood::refused(stands_on, Denied::Unmet(Unmet::Unreadable).into()),
    }
}

/// In PostgreSQL's own words, for that is what the server would say.
fn not_parsed(why: &NotParsed, scope: &Scope) -> Stop {
    let why = match why {
        NotParsed::Syntax(message) => return Denied::Syntax(message.clone()).into(),
        NotParsed::Unlexed => {
            return Denied::Syntax("unterminated quoted string or comment".to_owned()).into();
        }
        NotParsed::TooLong => "it is too long",
        NotParsed::TooManyStatements => "it has too many statements",
        NotParsed::CommentsTooDeep => "its comments are nested too deep",
        NotParsed::OperatorTooLong => "it has an operator that is longer than any",
        NotParsed::Nul => "it has a zero byte",
    };
    unread_denied(scope, why).into()
}

fn not_understood(why: &NotUnderstood, scope: &Scope) -> Denied {
    match why {
        NotUnderstood::NoSuchRelation(name) => Denied::NoSuchRelation(name.clone()),
        NotUnderstood::NoSuchColumn(name) => Denied::NoSuchColumn(name.clone()),
        NotUnderstood::NoSuchFunction(name) => Denied::NoSuchFunction(name.clone()),
        NotUnderstood::NoSuchSchema(name) => Denied::NoSuchSchema(name.clone()),
        NotUnderstood::NoSuchType(name) => Denied::NoSuchType(name.clone()),
        NotUnderstood::OtherDatabase(name) => Denied::OtherDatabase(name.clone()),
        NotUnderstood::Construct(what) => {
            unread_denied(scope, &format!("it has a construct that Gatepost does not know: {what}"))
        }
        NotUnderstood::Unvisited => unread_denied(scope, "part of it was not understood"),
        NotUnderstood::TooManyNodes => unread_denied(scope, "it is too large"),
    }
}

fn unread_denied(scope: &Scope, why: &str) -> Denied {
    match allowed(scope.decide_unread(why)) {
        Err(denied) => denied,
        Ok(_) => Denied::Unmet(Unmet::Unreadable),
    }
}

/// The relations that a statement names, each once.
fn touches(facts: &Facts, catalog: &Catalog) -> Rc<[Box<str>]> {
    let mut found: Vec<Box<str>> = Vec::new();
    for relation in facts.relations.iter().filter_map(|used| catalog.relation(used.relation?)) {
        let name = format!("{}.{}", catalog.schema_name(relation.schema), relation.name).into();
        if found.len() < TOUCHES_MAX && !found.contains(&name) {
            found.push(name);
        }
    }
    found.into()
}
