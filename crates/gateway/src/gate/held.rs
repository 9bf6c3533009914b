//! Statements that people have to agree to. Here stands what is held and why, what exactly is agreed
//! to, and how far a session is with it: it asks, it waits, it has claimed the one run that an
//! approval is good for, and it hears what came of that. Waiting is `session::holding`'s business,
//! deciding `access`'s.
//!
//! What is agreed to is a digest, of two parts. `seal` is what the gate knows: who asks and on which
//! connection, the text as it was sent and as it is forwarded, what it runs by name, declared types
//! and values, the policies in force and the rules that hold it. The other part the server says
//! (`meaning`): who the session is there, its path and the settings that change how a text is read or
//! a value is shown, and for each table and function that the statement comes to which transaction
//! wrote its definition. So a change to any of them asks again, and nobody else's change does.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::rc::Rc;
use std::time::{Duration, Instant};

use access::{Digest, GrantId, HoldId, Outcome};
use audit::Parameter;
use aws_lc_rs::digest;
use policy::{Hold, RuleRef};
use sql::catalog::{self, Catalog, FunctionId, RelationId};
use sql::facts::{Copy, Facts, Kind, RelationUse, Transaction};
use wire::backend;
use wire::frontend::Value;

use super::Gate;
use super::claimed::HeldRun;
use super::needs::Need;
use super::options::Options;
use super::ours::Rows;
use super::reading::{Recorded, recorded};
use super::rules::Rules;
use super::splice::Splice;
use super::tried::Tried;
use super::understanding::Understood;
use crate::refusal::{Denied, Expected, HeldBack, Refusal};

/// How long a client waits for a person where no policy says it: tools give up after a minute.
const WAIT: Duration = Duration::from_secs(55);

/// What a reviewer is told of the tables that a statement reaches.
const REACHES_MAX: usize = 64;

/// Why one statement is held, and what its meaning hangs on.
#[derive(Debug)]
pub(super) struct Held {
    rules: Vec<Hold>,
    /// What it comes to, by their numbers in the database.
    relations: BTreeSet<u32>,
    functions: BTreeSet<u32>,
    /// What it changes without naming it.
    reaches: Vec<String>,
    /// It may run in a transaction that something else has begun.
    pub(super) has_transaction: bool,
    reads_data: bool,
    /// The planner can be asked what it would do: no code but the server's own runs for that.
    is_plain: bool,
}

/// All that is held of one message.
pub(super) struct ToHold<'m> {
    /// As it was sent, and as it is recorded.
    pub(super) text: &'m [u8],
    pub(super) shown: &'m Recorded<'m>,
    pub(super) declared: &'m [u32],
    /// As the server has said them, where it has.
    pub(super) types: &'m [u32],
    pub(super) values: &'m [Value<'m>],
    /// The same as they are recorded, and as a reviewer sees them.
    pub(super) parameters: &'m [Parameter<'m>],
    /// There is more of it than is here.
    pub(super) is_cut: bool,
}

/// What a person is to be asked.
#[derive(Debug)]
pub(crate) struct Asking {
    pub(super) seal: Digest,
    /// The same without values, where all rules let that be agreed to.
    shape: Option<Digest>,
    /// Whom the answer is for.
    pub(crate) grant: GrantId,
    pub(crate) text: String,
    pub(crate) parameters: String,
    pub(crate) rules: Vec<Hold>,
    pub(crate) reason: Option<String>,
    pub(crate) expected: Expected,
    pub(crate) question: String,
    pub(crate) has_transaction: bool,
    /// How long the client waits, since it first asked.
    pub(crate) wait: Duration,
    pub(crate) since: Instant,
}

/// How far the session is.
#[derive(Default)]
pub(super) struct Holding {
    /// The present message is refused.
    refusal: Option<Refusal>,
    /// When the present message was first held.
    pub(super) since: Option<Instant>,
    /// The catalog was looked at for it.
    pub(super) sees: bool,
    /// What the present message was seen to change.
    pub(super) tried: Option<Tried>,
    pub(super) is_trying: bool,
    /// What its client waits for.
    waits: Option<HoldId>,
    pub(super) run: Option<Box<HeldRun>>,
    /// Outcomes that the store is still to hear of.
    pub(super) settled: Vec<(HoldId, Outcome)>,
    /// Something of this series has run, or was planned.
    pub(super) has_begun: bool,
}

impl Held {
    pub(super) fn new(rules: Vec<Hold>, facts: &Facts, catalog: &Catalog) -> Held {
        let mut found = Found::default();
        for used in &facts.relations {
            found.used(used, catalog);
        }
        found.relations.extend(&facts.named);
        let objects = facts.commands.iter().filter_map(|command| command.object.as_ref());
        found.relations.extend(objects.filter_map(|object| object.relation));
        found.functions.extend(&facts.functions);
        let is_own = |id: &FunctionId| {
            catalog.function(*id).is_some_and(|function| catalog.is_system(function.schema))
        };
        let plans = matches!(
            facts.kind,
            Kind::Select | Kind::Insert | Kind::Update | Kind::Delete | Kind::Merge
        );
        let is_plain = plans && found.functions.iter().all(is_own);
        let oid = |id: &RelationId| catalog.relation(*id).map(|relation| relation.oid);
        let function = |id: &FunctionId| {
            catalog.function(*id).filter(|it| !catalog.is_system(it.schema)).map(|it| it.oid)
        };
        Held {
            rules,
            relations: found.relations.iter().filter_map(oid).collect(),
            functions: found.functions.iter().filter_map(function).collect(),
            reaches: found.reaches,
            has_transaction: !facts.outside_transaction
                && !matches!(facts.kind, Kind::Transaction(_) | Kind::Command("do" | "call")),
            reads_data: facts.kind == Kind::Copy(Copy::FromClient),
            is_plain,
        }
    }

    pub(super) fn rule(&self) -> Option<&RuleRef> {
        self.rules.first().map(|hold| &hold.rule)
    }

    pub(super) fn bytes(&self) -> usize {
        self.rules.len() * size_of::<Hold>()
            + (self.relations.len() + self.functions.len()) * size_of::<u64>()
            + self.reaches.iter().map(String::len).sum::<usize>()
    }
}

/// What a statement comes to.
#[derive(Default)]
struct Found {
    relations: BTreeSet<RelationId>,
    functions: BTreeSet<FunctionId>,
    reaches: Vec<String>,
}

impl Found {
    fn used(&mut self, used: &RelationUse, catalog: &Catalog) {
        let Some(id) = used.relation else { return };
        self.relations.insert(id);
        let events = [
            (used.read.is_some() && !used.command, catalog::Event::Read),
            (used.insert.is_some(), catalog::Event::Insert),
            (used.update.is_some(), catalog::Event::Update),
            (used.delete, catalog::Event::Delete),
            (used.truncate, catalog::Event::Truncate),
            (used.maintain, catalog::Event::Maintain),
        ];
        for (_, event) in events.into_iter().filter(|(is_done, _)| *is_done) {
            let carried = catalog.carried(id, event);
            self.functions.extend(carried.calls.iter().map(|call| call.function));
            for (other, does) in carried.done {
                self.relations.insert(other);
                let verb = match does {
                    catalog::Event::Insert => "insert",
                    catalog::Event::Update => "update",
                    catalog::Event::Delete => "delete",
                    catalog::Event::Truncate => "truncate",
                    catalog::Event::Read | catalog::Event::Maintain => continue,
                };
                self.reaches(verb, other, id, catalog);
            }
            for call in carried.calls.iter().filter(|call| call.source == catalog::Source::Trigger)
            {
                if let Some(function) = catalog.function(call.function) {
                    let schema = catalog.schema_name(function.schema);
                    self.says(format!("trigger {schema}.{}", function.name));
                }
            }
        }
    }

    fn reaches(&mut self, verb: &str, other: RelationId, named: RelationId, catalog: &Catalog) {
        if let Some(relation) = catalog.relation(other).filter(|_| other != named) {
            let schema = catalog.schema_name(relation.schema);
            self.says(format!("{verb} {schema}.{}", relation.name));
        }
    }

    fn says(&mut self, what: String) {
        if self.reaches.len() < REACHES_MAX && !self.reaches.contains(&what) {
            self.reaches.push(what);
        }
    }
}

impl Gate {
    /// Whether a person has to be asked before this may go on. `Some` is the hold that it runs
    /// under. A need is nothing done.
    pub(super) fn held(
        &mut self,
        understood: &Understood,
        rules: &Rules,
        of_prepared: bool,
        what: ToHold<'_>,
    ) -> Result<Result<Option<HoldId>, Refusal>, Need> {
        let held: Vec<&Rc<Held>> = understood.held(of_prepared).collect();
        if held.is_empty() {
            return Ok(Ok(None));
        }
        // Where the session stands has to be certain before anything is asked or tried: what has been
        // claimed for this message is about to be sent, and what was for another may still run.
        let is_claimed = self.holding.run.as_ref().is_some_and(|run| !run.is_sent());
        if !self.is_answered && !is_claimed {
            return Err(Need::Answers);
        }
        // People are asked by a catalog that was looked at for this question, not by one that is
        // young.
        let is_seen = understood.stands_on.sight.is_none() || is_claimed;
        if !is_seen && !std::mem::replace(&mut self.holding.sees, true) {
            self.sight.doubt_catalog();
            return Err(Need::Catalog);
        }
        let conditions = understood.conditions().map(Rc::as_ref);
        let read = std::str::from_utf8(what.text).ok().filter(|_| !of_prepared);
        let forwarded = understood.splice.as_deref().map(Splice::text).or(read);
        let values = Some(what.values).filter(|_| !what.is_cut);
        let mut all: Vec<Hold> = Vec::new();
        let expected = match self.is_aborted() {
            true => Vec::new(),
            false => self.held_by_estimate(conditions, forwarded, what.types, values)?,
        };
        let tried = self.held_by_trial(understood, forwarded, &what)?;
        for hold in held.iter().flat_map(|held| &held.rules).chain(&expected).chain(&tried) {
            if !all.iter().any(|own| own.rule == hold.rule) {
                all.push(hold.clone());
            }
        }
        let Some(rule) = all.first().map(|hold| &hold.rule) else { return Ok(Ok(None)) };
        if let Some(refusal) = self.holding.refusal.take() {
            return Ok(Err(refusal));
        }
        if let Err(why) = self.can_hold(understood, &held, &what) {
            return Ok(Err(Denied::CannotHold { rule: rule.clone(), why }.into()));
        }
        let Some(grant) = self.tenure.as_ref().map(|tenure| tenure.served.grant.clone()) else {
            let why = "this session has no grant that it could be held under";
            return Ok(Err(Denied::CannotHold { rule: rule.clone(), why }.into()));
        };
        // The outcome of what was agreed to is that of its transaction, so there is one in each.
        let runs_another = self.holding.run.is_some() && !is_claimed;
        let wait = match self.may_wait(rules).filter(|_| !runs_another) {
            Some(wait) => wait,
            None => return Ok(Err(Denied::HeldInTransaction(rule.clone()).into())),
        };
        let seal = self.seal(understood, rules, &all, &what, true);
        if let Some(run) = &mut self.holding.run {
            return Ok(match run.sends(&seal, understood) {
                true => Ok(Some(run.id.clone())),
                false => Err(Denied::HoldMoved(run.id.to_string()).into()),
            });
        }
        // Asked before people are, so that they see it; not where it would show what is masked.
        let mut estimate = self.estimate.flatten();
        if estimate.is_none()
            && self.estimate.is_none()
            && self.status != b'E'
            && understood.statements.len() == 1
            && understood.splice.is_none()
            && held.iter().all(|held| held.is_plain)
        {
            estimate = self.estimated(read, what.types, values)?;
        }
        let mut text = match what.shown {
            Recorded::Sql { text, .. } => text.to_string(),
            Recorded::Withheld { .. } => {
                let why = "its text can't be shown to a person";
                return Ok(Err(Denied::CannotHold { rule: rule.clone(), why }.into()));
            }
        };
        for run in understood.runs() {
            let read = self.reading.text(&run);
            let (run, _) = recorded(read.as_deref(), &run, run.len(), &self.installed.patterns);
            if let Recorded::Sql { text: run, .. } = run {
                // Writing to a String can't fail.
                let _ = write!(text, "\n-- It runs what was prepared:\n{run}");
            }
        }
        let mut expected = Expected {
            estimate,
            changed: self.changes_asked(),
            touches: Vec::new(),
            reaches: Vec::new(),
        };
        for name in understood.statements.iter().flat_map(|told| told.touches.iter()) {
            if !expected.touches.contains(name) {
                expected.touches.push(name.clone());
            }
        }
        for name in held.iter().flat_map(|held| &held.reaches) {
            if !expected.reaches.contains(name) {
                expected.reaches.push(name.clone());
            }
        }
        Err(Need::Person(Box::new(Asking {
            seal,
            grant: grant.id,
            text,
            parameters: audit::event::parameters_as_json(what.parameters),
            question: question(&held, &self.options),
            has_transaction: held.iter().all(|held| held.has_transaction),
            shape: all
                .iter()
                .all(|hold| hold.shape)
                .then(|| self.seal(understood, rules, &all, &what, false)),
            rules: all,
            reason: grant.reason,
            expected,
            wait,
            since: *self.holding.since.get_or_insert_with(Instant::now),
        })))
    }

    fn can_hold(
        &self,
        understood: &Understood,
        held: &[&Rc<Held>],
        what: &ToHold<'_>,
    ) -> Result<(), &'static str> {
        if what.is_cut {
            return Err("its values are too long to be shown to a person");
        }
        if self.options.are_too_many() {
            return Err("this session has set more options of its own than can be compared");
        }
        if held.iter().any(|held| held.reads_data) {
            return Err("its data would come only after somebody has agreed; insert it instead");
        }
        let ends = |told: &super::understanding::Told| matches!(told.kind, Kind::Transaction(_));
        let is_begin = |kind| kind == Kind::Transaction(Transaction::Begin);
        let is_commit = |kind| kind == Kind::Transaction(Transaction::Commit);
        let told = &understood.statements;
        match (told.first(), told.last(), told.iter().filter(|told| ends(told)).count()) {
            (_, _, 0) => Ok(()),
            (Some(first), Some(last), 2) if is_begin(first.kind) && is_commit(last.kind) => Ok(()),
            _ => Err("its string begins or ends transactions; send it by itself"),
        }
    }

    /// For how long the present message may wait where it stands. `None`: not at all.
    fn may_wait(&self, rules: &Rules) -> Option<Duration> {
        let limits = rules.in_force().limits();
        if self.holding.has_begun {
            return None;
        }
        match self.status {
            b'T' => limits.hold_wait_in_transaction.as_ref().map(|limit| limit.value),
            // In a transaction that has failed nothing is asked, and the client is told so.
            _ => Some(limits.hold_wait.as_ref().map_or(WAIT, |limit| limit.value)),
        }
    }

    /// What the gate knows of all that is agreed to. Each part has its length before it, so that
    /// none can be stretched into the next.
    fn seal(
        &self,
        understood: &Understood,
        rules: &Rules,
        holds: &[Hold],
        what: &ToHold<'_>,
        with_values: bool,
    ) -> Digest {
        let mut seal = Seal::new();
        seal.part(if with_values { b"gatepost hold 1" } else { b"gatepost shape 1" });
        for text in [
            &self.person.identity.issuer,
            &self.person.identity.subject,
            &self.person.connection,
            &self.person.role,
        ] {
            seal.part(text.as_bytes());
        }
        seal.part(what.text);
        seal.part(
            understood.splice.as_deref().map_or(what.text, |splice| splice.text().as_bytes()),
        );
        let runs = understood.runs();
        seal.count(runs.len());
        runs.iter().for_each(|run| seal.part(run));
        seal.count(what.declared.len());
        what.declared.iter().for_each(|oid| seal.part(&oid.to_be_bytes()));
        seal.count(what.values.len());
        for value in what.values.iter().filter(|_| with_values) {
            seal.part(&[u8::from(value.is_binary), u8::from(value.bytes.is_some())]);
            seal.part(value.bytes.unwrap_or_default());
        }
        seal.part(&self.changes_asked().map_or([0; 9], |changed| {
            let mut part = [1; 9];
            part[1..].copy_from_slice(&changed.to_be_bytes());
            part
        }));
        if let Some(times) = self.options.unknown() {
            seal.part(self.person.session.as_bytes());
            seal.part(&times.to_be_bytes());
        }
        let in_force = rules.in_force();
        seal.count(in_force.policies().len());
        in_force.policies().iter().for_each(|name| seal.part(name.as_bytes()));
        seal.part(in_force.narrow().map_or(&b""[..], |narrow| narrow.text().as_bytes()));
        seal.count(holds.len());
        for Hold { rule, by, need, shape: _ } in holds {
            seal.part(rule.policy.as_bytes());
            seal.part(rule.rule.as_bytes());
            seal.part(by.as_bytes());
            seal.part(&need.to_be_bytes());
        }
        seal.done()
    }

    /// The session waits for this, or no more.
    pub(crate) fn waits_for(&mut self, hold: Option<HoldId>) {
        self.holding.waits = hold;
    }

    /// What the client of this session waited for when the session ended.
    pub(crate) fn waited_for(&mut self) -> Option<HoldId> {
        self.holding.waits.take()
    }

    /// The present message may not run, for this reason.
    pub(crate) fn is_held_back(&mut self, why: HeldBack) {
        self.holding.refusal = Some(Denied::from(why).into());
    }

    /// People have agreed, or what it means may have moved: it is judged anew by what holds now.
    pub(crate) fn looks_anew(&mut self) {
        self.looked_since = None;
        self.holding.tried = None;
        self.holding.sees = false;
    }
}

impl Asking {
    /// All that is agreed to, with what the server says of it; and the same without values.
    pub(crate) fn digest(&self, meaning: &Rows) -> Option<(Digest, Option<Digest>)> {
        let [row] = meaning.as_slice() else { return None };
        let row = backend::data_row(row)?;
        let [Some(meaning), _] = row.as_slice() else { return None };
        let with = |own: &Digest| {
            let mut seal = Seal::new();
            seal.part(own);
            seal.part(meaning);
            seal.done()
        };
        Some((with(&self.seal), self.shape.as_ref().map(with)))
    }

    /// What a reviewer is told, with what the server says of the session's settings.
    pub(crate) fn expects(&self, meaning: &Rows) -> String {
        let row = meaning.first().and_then(|row| backend::data_row(row));
        let settings = row.as_deref().and_then(|row| match row {
            [_, Some(settings)] => Some(String::from_utf8_lossy(settings)),
            _ => None,
        });
        self.expected.as_json(settings.as_deref())
    }
}

/// What the server is asked about a statement's meaning. Every operator and function is named in
/// full: the client's path must not decide what they are.
fn question(held: &[&Rc<Held>], options: &Options) -> String {
    let list = |oids: BTreeSet<u32>| {
        let oids: Vec<String> = oids.iter().map(u32::to_string).collect();
        format!("OPERATOR(pg_catalog.=) ANY ('{{{}}}'::pg_catalog.oid[])", oids.join(","))
    };
    let relations = list(held.iter().flat_map(|held| held.relations.iter().copied()).collect());
    let functions = list(held.iter().flat_map(|held| held.functions.iter().copied()).collect());
    let mut parts = Vec::new();
    for (catalog, what, number) in [
        ("pg_class", "oid", "oid"),
        ("pg_attribute", "attrelid", "attnum"),
        ("pg_attrdef", "adrelid", "oid"),
        ("pg_constraint", "conrelid", "oid"),
        ("pg_constraint", "confrelid", "oid"),
        ("pg_trigger", "tgrelid", "oid"),
        ("pg_rewrite", "ev_class", "oid"),
        ("pg_policy", "polrelid", "oid"),
        ("pg_index", "indrelid", "indexrelid"),
        ("pg_inherits", "inhparent", "inhrelid"),
        ("pg_proc", "oid", "oid"),
    ] {
        let which = if catalog == "pg_proc" { &functions } else { &relations };
        parts.push(format!(
            "SELECT '{catalog}'::pg_catalog.text AS kind, {what}::pg_catalog.text AS what, \
             {number}::pg_catalog.text AS number, xmin::pg_catalog.text AS by \
             FROM pg_catalog.{catalog} WHERE {what} {which}"
        ));
    }
    format!(
        "SELECT pg_catalog.concat_ws(';', pg_catalog.current_database(), SESSION_USER, CURRENT_USER, \
         {}, (SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ', d.kind, d.what, d.number, d.by), \
         ',' ORDER BY d.kind, d.what, d.number) FROM ({}) d)), {}",
        options.sql(),
        parts.join(" UNION ALL "),
        options.shown_sql()
    )
}

/// A hash over parts.
struct Seal(digest::Context);

impl Seal {
    fn new() -> Seal {
        Seal(digest::Context::new(&digest::SHA256))
    }

    fn count(&mut self, count: usize) {
        self.0.update(&(count as u64).to_be_bytes());
    }

    fn part(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.update(bytes);
    }

    fn done(self) -> Digest {
        let mut digest = Digest::default();
        digest.copy_from_slice(self.0.finish().as_ref());
        digest
    }
}
