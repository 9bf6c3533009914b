//! The verdict on a text: what its statements do under the names and the catalog that the session
//! sees now, what the policies say to each, and what the text does to the statements behind it. A
//! text is judged whole, and one refusal refuses all of it.

mod prepared;
mod refusing;
mod whole;

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use policy::{Context, Scope};
use sql::Script;
use sql::catalog::{self, Catalog};
use sql::facts::{Facts, Kind, NotUnderstood, SettingName, Transaction};
use sql::parse::Limits;
use sql::shape::Shape;

pub(super) use self::refusing::refusal_of;
use self::refusing::{conditional, not_parsed, not_understood, place_of, unread};
use self::whole::{Read, Statement, Whole, may_execute};
use super::Gate;
use super::ahead::{LONG_TEXT_BYTES, LongText};
use super::found;
use super::memory::Uncertain;
use super::names::{Moves, is_nameless, takes_back};
use super::needs::Need;
use super::reads::only_reads;
use super::rules::Rules;
use super::sight::Seeing;
use super::steps::Step;
use super::understanding::{Effect, OfShape, Said, StandsOn, Told, Understood};
use crate::refusal::{Denied, Refusal};

/// What a record says that a statement touches, and no more.
const TOUCHES_MAX: usize = 32;

/// For one message a newer catalog is asked for so often, and then what there is counts.
const LOOKED_AGAIN_MAX: u32 = 2;

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
        if !self.reading.keeps_names(&read) {
            let why =
                "a name in it may be another one in the encoding of the session or the database";
            return Ok(Rc::new(unread(nowhere, rules.bare().decide_unread(why))));
        }
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
        let shape =
            if may_be_seen && text.len() <= LONG_TEXT_BYTES { Shape::of(&read) } else { None };
        let shaped = shape.as_ref().and_then(|shape| Said::of_shape(shape, &stands_on));
        let known = shaped.as_ref().and_then(Said::seen_of_shape);
        if let Some(OfShape::All(understood)) = known {
            return Ok(understood);
        }
        let said = if may_be_seen { Said::of(text, &stands_on) } else { None };
        if let Some(understood) = said.as_ref().and_then(Said::seen) {
            return Ok(understood);
        }
        let read = Read { text: &read, is_as_sent: matches!(read, Cow::Borrowed(_)) };
        let understood =
            Rc::new(self.judged_from(0, rules, read, when, &seeing, stands_on.clone())?);
        said.inspect(|said| said.keep(&understood));
        if let (Some(shape), Some(shaped)) = (&shape, &shaped) {
            match known {
                None => shaped.keep_of_shape(OfShape::One),
                Some(OfShape::One) => {
                    let all = self.holds_for_shape(rules, shape, &seeing, &understood);
                    let all = all.then(|| understood.clone());
                    shaped.keep_of_shape(all.map_or(OfShape::Nothing, OfShape::All));
                }
                Some(OfShape::All(_) | OfShape::Nothing) => {}
            }
        }
        Ok(understood)
    }

    /// Whether what is known of a text can be said of all texts of its shape. It can where the text
    /// with parameters in the place of its literals is judged no other: that verdict holds for
    /// whatever is bound.
    fn holds_for_shape(
        &mut self,
        rules: &Rules,
        shape: &Shape,
        seeing: &Seeing,
        understood: &Understood,
    ) -> bool {
        let Some(text) = shape.with_parameters() else { return false };
        let read = Read { text: &text, is_as_sent: true };
        let on = understood.stands_on.clone();
        let general = self.statements(0, rules, read, When::Prepared, seeing, on);
        general.is_ok_and(|general| general.holds_for_all_like(understood))
    }

    /// What the rest of a string does that runs step by step.
    pub(super) fn understand_rest(
        &mut self,
        rules: &Rules,
        text: &[u8],
        from: usize,
    ) -> Result<Rc<Understood>, Need> {
        let seeing = self.see()?;
        if rules.in_force().hides_something() {
            self.raw = Some(rules.scope(&seeing.catalog, seeing.version).raw_columns());
        }
        let sight = Some((seeing.version, seeing.names.clone()));
        let on = StandsOn { policies: rules.in_force().id().clone(), sight };
        let Some(read) = self.reading.judged(text) else {
            return Ok(Rc::new(Understood::refused(on, Denied::Unreadable.into())));
        };
        let read = Read { text: &read, is_as_sent: matches!(read, Cow::Borrowed(_)) };
        Ok(Rc::new(self.judged_from(from, rules, read, When::Runs, &seeing, on)?))
    }

    fn judged_from(
        &mut self,
        from: usize,
        rules: &Rules,
        text: Read<'_>,
        when: When,
        seeing: &Seeing,
        on: StandsOn,
    ) -> Result<Understood, Need> {
        match self.statements(from, rules, text, when, seeing, on.clone()) {
            Ok(understood) => Ok(understood),
            Err(Stop::Need(need)) => Err(need),
            Err(Stop::Refused(denied)) => Ok(Understood::refused(on, Refusal::Denied(denied))),
        }
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

    /// The statements of a text, the one at `from` first: those before it have run.
    fn statements(
        &mut self,
        from: usize,
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
        let mut stops_at = found.len();
        for at in from..found.len() {
            if let Some(script) = &script
                && let Some(now) =
                    names.with(|names| found::one(script, at, &catalog, names, &scope))
                && let Some(before) = found.get_mut(at)
            {
                *before = now;
            }
            let Some(statement) = found.get(at) else { break };
            let is_lost = match &statement.facts {
                Ok(facts) => !is_nameless(facts),
                Err(_) => true,
            };
            if !whole.can_carry && is_lost {
                stops_at = at;
                break;
            }
            let facts = match &statement.facts {
                Ok(facts) => facts,
                Err(why) => {
                    self.look_again(why, seeing)?;
                    let denied = not_understood(why, &scope);
                    return Ok(whole.refused_at(denied.into(), text, statement.failed_at));
                }
            };
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
        if from > 0 || stops_at < found.len() {
            let may_step = when == When::Runs && text.is_as_sent;
            let block = if may_step { self.may_step(text.text, &found)? } else { None };
            let Some(block) = block else { return Ok(whole.refused(Denied::Alone.into())) };
            whole.understood.step = Some(Step::of(text.text, &found, from, stops_at, block));
            whole.understood.is_momentary = true;
            whole.understood.begin = whole.begin.clone().filter(|_| from == 0);
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
        let (mut runs, mut gives_rows) = (Vec::new(), false);
        let handle = facts.handle.as_deref();
        let effect = match (facts.kind, handle) {
            (Kind::Prepare, Some(name)) => {
                Some(Effect::Prepares { name: name.into(), place: place.clone() })
            }
            (Kind::Deallocate, Some("")) => Some(Effect::DeallocatesAll),
            (Kind::Deallocate, Some(name)) => Some(Effect::Deallocates(name.into())),
            (Kind::DeclareCursor, Some(name)) => {
                Some(Effect::Declares { name: name.into(), place: place.clone() })
            }
            (Kind::CloseCursor, Some("")) => Some(Effect::ClosesAll),
            (Kind::CloseCursor, Some(name)) => Some(Effect::Closes(name.into())),
            (Kind::Discard, Some(_)) => Some(Effect::DiscardsAll),
            (Kind::Fetch, Some(name)) => {
                whole.understood.is_momentary = true;
                if whole.when == When::Runs {
                    let run = self.fetched(rules, name, whole)?;
                    (by, touches, moves) = (run.by, run.touches, moves.or(run.moves));
                    whole.understood.sets.and(&run.sets);
                    whole.understood.disguised |= run.disguised;
                }
                None
            }
            (Kind::Execute, Some(name))
            | (Kind::Explain { .. } | Kind::CreateTableAs, Some(name)) => {
                whole.understood.is_momentary = true;
                // Whether it has rows is described before it runs.
                gives_rows = facts.kind == Kind::Execute && self.prepared_gives_rows(name);
                if whole.when == When::Runs {
                    let run = self.executed(rules, name, whole)?;
                    may_execute(facts, &run, scope)?;
                    whole.understood.disguised |= run.disguised;
                    if facts.kind == Kind::Execute {
                        (by, touches) = (run.by, run.touches);
                        gives_rows = run.gives_rows;
                        whole.understood.asked.extend(run.asked);
                        whole.understood.keys_tell |= run.keys_tell;
                    }
                    moves = moves.or(run.moves);
                    whole.understood.sets.and(&run.sets);
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
        understood.sets.note(facts);
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
        if !held.is_empty() && whole.understood.begin.is_none() {
            whole.understood.begin.clone_from(&whole.begin);
        }
        let told = Told { kind, by, touches, effect, conditions, held, runs, gives_rows };
        whole.understood.statements.push(told);
        Ok(())
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
        if seeing.taken < since && self.looked_again < LOOKED_AGAIN_MAX {
            self.looked_again += 1;
            self.sight.doubt_catalog();
            return Err(Need::Catalog);
        }
        Ok(())
    }
}

/// How what follows in the same text has to be read.
enum Carried<'f> {
    Unmoved,
    Path(Vec<String>),
    Catalog(&'f [catalog::Step]),
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
