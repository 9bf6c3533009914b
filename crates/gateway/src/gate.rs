//! The gate: nothing reaches PostgreSQL in a session except through it. Every message is looked
//! at, what it is about to do is written down, and only then is it [`Cleared`]. Nobody else can
//! make a `Cleared`, and the server's side of a session takes nothing else.
//!
//! What came of it is written down from the replies. A message that may not pass is replaced by
//! one that PostgreSQL parses and then fails, so that transactions abort and pipelines skip as
//! they should; the error that comes back is replaced by ours.

mod ahead;
mod attempt;
mod claimed;
mod cleared;
mod found;
mod guarded;
mod held;
mod judging;
mod limited;
mod memory;
mod names;
mod needs;
mod options;
mod ours;
mod outcome;
mod reading;
mod reads;
mod rules;
mod showing;
mod sight;
mod splice;
mod steps;
mod substitute;
mod tried;
mod understanding;
mod withheld;
mod written;

use std::collections::HashSet;
use std::fmt;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Instant;

use access::Standing;
use audit::event::{self, Context, Event, SessionEnds, Who};
use audit::{Durability, Journal, Ticket};
use identity::Identity;
use policy::RuleRef;
use wire::backend;
use wire::frame::Frame;

use self::ahead::Ahead;
use self::attempt::Lone;
pub(crate) use self::attempt::wanted_of_messages;
pub(crate) use self::claimed::{TRANSACTION_SQL, settle_holds, transaction};
use self::cleared::Attempts;
pub(crate) use self::cleared::{
    Batch, Cleared, Seen, ToServer, judge, record, record_outcomes, release,
};
use self::guarded::Guarding;
pub(crate) use self::guarded::Guards;
pub(crate) use self::held::Asking;
use self::held::Holding;
use self::limited::Limited;
use self::memory::{Memory, Prepared};
pub(crate) use self::needs::{CatalogReading, Expecting, Need, Unmet};
use self::options::{Options, Sets};
use self::ours::Asked;
pub(crate) use self::ours::{Failure, Rows, flush};
use self::outcome::Running;
pub(crate) use self::outcome::wanted_of_replies_alone;
use self::reading::Reading;
pub(crate) use self::rules::Rules;
pub(crate) use self::showing::Shown;
use self::sight::Sight;
pub(crate) use self::sight::{Wanted, Within};
use self::splice::Splice;
use self::steps::Steps;
pub(crate) use self::substitute::tag_sent;
pub(crate) use self::tried::{Trial, Tried};
use crate::conditions::Estimate;
use crate::gateway::{Gateway, Installed};
use crate::grants::{self, Over, Tenure};
use crate::limits::Meter;
use crate::refusal::Refusal;
use crate::settings::Connection;

/// A session's gate.
pub(crate) struct Gate {
    journal: Journal,
    durability: Durability,
    person: Person,
    /// `person` as it stands in each record.
    who: Context,
    gateway: Arc<Gateway>,
    connection: Arc<Connection>,
    installed: Arc<Installed>,
    /// The policies in force, where they have anything to judge.
    rules: Option<Rc<Rules>>,
    /// The grant that it lives under.
    tenure: Option<Tenure>,
    /// The rule that grants everything, where that is all they say.
    everything: Option<RuleRef>,
    /// There are masks or row filters: what the server says is looked at.
    hides: bool,
    /// Columns that no reply may come from.
    raw: Option<Arc<HashSet<(u32, u16)>>>,
    sight: Sight,
    /// Of messages up to a Sync, or what else ends an implicit transaction.
    series: u64,
    /// A message of this series was refused, so the server skips the rest of it.
    doomed: Option<Refusal>,
    /// What the present message needed can't be known.
    unmet: Option<Unmet>,
    /// When it was first looked at, if it had to wait.
    looked_since: Option<Instant>,
    /// How often it has been looked at by a newer catalog.
    looked_again: u32,
    /// What it says, if it is long.
    ahead: Option<Ahead>,
    /// EXECUTEs that are being judged, each run by the one before it.
    depth: usize,
    memory: Memory,
    /// Whether SQL text can be lexed as the server reads it.
    reading: Reading,
    next_id: u64,
    /// Messages of this batch that are recorded on their own unless an Execute takes them in.
    lone: Vec<Lone>,
    attempts: Attempts,
    /// Of reads that PostgreSQL works on: no reply is released before these are durable.
    unreleased: Vec<Ticket>,
    outcomes: event::Batch,
    /// An outcome that must be durable before the client hears of it.
    outcome_is_urgent: bool,
    copied_in: u64,
    /// Statements that failed or were skipped since the last Sync: each has its outcome.
    failed: HashSet<u64>,
    begun: Instant,
    /// Of the transaction, as the last ReadyForQuery said it.
    status: u8,
    /// A string that runs step by step.
    steps: Option<Steps>,
    /// A question of the gate's own is on its way.
    asked: Option<Asked>,
    /// The last one has failed, perhaps behind its Parse.
    question_left: bool,
    limited: Limited,
    guarding: Guarding,
    holding: Holding,
    options: Options,
    /// The policies are others than those under which the session has set what it has.
    doubts_settings: bool,
    /// Why the session has to end, where it is not its grant.
    barred: Option<Refusal>,
    /// What the planner expects of the present message, if it was asked; `None` inside: it can't say.
    estimate: Option<Option<Estimate>>,
    /// What the store has of the identity, if the present message asks for it.
    shown: Option<Shown>,
    /// Everything that was sent before the present message is known to be answered.
    is_answered: bool,
    /// When the last outcome was told: what runs now has not run for longer.
    last_told: Instant,
    /// In the name of a column that does not exist; tells our own failures from the client's.
    nonce: String,
}

/// Who a session is of, as its records say it.
pub(crate) struct Person {
    pub(crate) session: String,
    pub(crate) identity: Identity,
    pub(crate) client: String,
    /// As the client calls itself now: it may change its mind.
    pub(crate) application: Option<String>,
    pub(crate) connection: String,
    pub(crate) role: String,
    pub(crate) grant: Option<String>,
}

impl Person {
    /// Groups and claims are many, and stand in the first record of a session alone.
    pub(crate) fn whole_context(&self) -> Context {
        let groups: Vec<&str> = self.identity.groups.iter().map(String::as_str).collect();
        let claims = self.identity.claims.iter();
        let claims: Vec<_> = claims.map(|(name, value)| (&**name, &**value)).collect();
        self.context_with(&groups, &claims)
    }

    pub(crate) fn context(&self) -> Context {
        self.context_with(&[], &[])
    }

    fn context_with(&self, groups: &[&str], claims: &[(&str, &str)]) -> Context {
        let actors = self.identity.actors.iter();
        let actors: Vec<_> = actors.map(|actor| (&*actor.issuer, &*actor.subject)).collect();
        Context::new(&Who {
            session: Some(&self.session),
            grant: self.grant.as_deref(),
            identity: Some(event::Identity {
                issuer: &self.identity.issuer,
                subject: &self.identity.subject,
                groups,
                claims,
                actors: &actors,
            }),
            client: Some(&self.client),
            application: self.application.as_deref(),
            connection: Some(&self.connection),
            role: Some(&self.role),
        })
    }
}

/// What a session may, and until when.
pub(crate) struct May {
    /// The policies in force, if there are any.
    pub(crate) rules: Option<Rules>,
    pub(crate) tenure: Option<Tenure>,
    pub(crate) meter: Meter,
    /// The names of the settings that its client has brought.
    pub(crate) brought: Vec<String>,
}

/// What goes with a message until it is answered.
pub(crate) enum Entry {
    /// Nothing is recorded of it.
    Plain,
    Preparing {
        id: u64,
        splice: Option<Rc<Splice>>,
    },
    Binding {
        id: u64,
        splice: Option<Rc<Splice>>,
    },
    /// It is not what its tag says.
    Unreadable {
        id: u64,
    },
    /// The statement, as long as it is remembered: what waits for an answer keeps no text.
    Describing {
        prepared: Weak<Prepared>,
        /// Its rows are not the client's.
        gives_rows: bool,
    },
    Closing(Box<[u8]>),
    ClosingPortal(Box<[u8]>),
    Running(Box<Running>),
    /// It was replaced, and its error will be.
    Refused(Box<Turned>),
    /// The gate has asked this, and nobody else hears the answer.
    Ours {
        is_last: bool,
    },
    /// It makes a transaction fail, and nobody else hears of it.
    Spoiling,
    /// Of ours, around a statement: nobody else hears of it unless it fails.
    Quiet,
    /// It counts what the statement before it has changed.
    Guarding(Box<Guards>),
}

/// A message that was turned away.
pub(crate) struct Turned {
    pub(crate) refusal: Refusal,
    /// Of its record, if there is one.
    id: Option<u64>,
    /// Where in the client's text stands what it is about, in characters from 1.
    position: Option<u32>,
}

/// What becomes of a message.
pub(crate) struct Looked {
    pub(crate) entry: Entry,
    /// What the server gets in its place.
    pub(crate) instead: Option<Vec<u8>>,
    /// Messages of the gate's own in `instead`.
    pub(crate) around: Option<Box<Around>>,
}

/// Messages of the gate's own before and behind one of the client's.
pub(crate) struct Around {
    pub(crate) before: Vec<(u8, Entry)>,
    pub(crate) after: Vec<(u8, Entry)>,
}

impl fmt::Debug for Looked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Looked")
    }
}

impl Looked {
    fn refused(refusal: Refusal, id: Option<u64>, instead: Vec<u8>) -> Looked {
        let entry = Entry::Refused(Box::new(Turned { refusal, id, position: None }));
        Looked { entry, instead: Some(instead), around: None }
    }

    /// The same with the place in the client's text that it is about.
    fn at(mut self, position: Option<u32>) -> Looked {
        if let Entry::Refused(turned) = &mut self.entry {
            turned.position = position;
        }
        self
    }
}

impl From<Entry> for Looked {
    fn from(entry: Entry) -> Self {
        Looked { entry, instead: None, around: None }
    }
}

impl Gate {
    /// `greeting` is what the server said at login: it has the settings that matter here.
    pub(crate) fn new(
        gateway: &Arc<Gateway>,
        connection: &Arc<Connection>,
        installed: Arc<Installed>,
        May { rules, tenure, meter, brought }: May,
        person: Person,
        greeting: &[u8],
    ) -> Result<Gate, aws_lc_rs::error::Unspecified> {
        let mut random = [0; 16];
        aws_lc_rs::rand::fill(&mut random)?;
        let setting = u128::from_be_bytes(random);
        aws_lc_rs::rand::fill(&mut random)?;
        let nonce = format!("gatepost-refused-{:032x}", u128::from_be_bytes(random));
        let mut gate = Gate {
            journal: gateway.journal.clone(),
            durability: connection.durability,
            who: person.context(),
            person,
            gateway: gateway.clone(),
            connection: connection.clone(),
            installed,
            rules: None,
            tenure,
            everything: None,
            hides: false,
            raw: None,
            sight: Sight::default(),
            series: 1,
            doomed: None,
            unmet: None,
            looked_since: None,
            looked_again: 0,
            ahead: None,
            depth: 0,
            memory: Memory::default(),
            reading: Reading::default(),
            next_id: 1,
            lone: Vec::new(),
            attempts: Attempts::default(),
            unreleased: Vec::new(),
            outcomes: event::Batch::new(),
            outcome_is_urgent: false,
            copied_in: 0,
            failed: HashSet::new(),
            begun: Instant::now(),
            status: b'I',
            steps: None,
            asked: None,
            question_left: false,
            limited: Limited::new(meter),
            guarding: Guarding::new(setting),
            holding: Holding::default(),
            options: Options::default(),
            doubts_settings: false,
            barred: None,
            is_answered: false,
            estimate: None,
            shown: None,
            last_told: Instant::now(),
            nonce,
        };
        gate.go_by(rules);
        let mut sets = Sets::default();
        brought.iter().for_each(|name| sets.name(name));
        gate.options.set(&sets);
        let mut rest = greeting;
        while let Ok(Some(frame)) = wire::frame::whole(rest, rest.len()) {
            if frame.tag == backend::PARAMETER_STATUS {
                gate.parameter(frame.body);
            }
            rest = rest.get(wire::frame::HEADER_BYTES + frame.body_bytes..).unwrap_or_default();
        }
        Ok(gate)
    }

    /// The last record of the session.
    pub(crate) async fn end(mut self, reason: &str) {
        let duration = self.begun.elapsed().as_micros();
        let ends = SessionEnds {
            reason,
            statements: Some(self.next_id - 1),
            duration_us: Some(u64::try_from(duration).unwrap_or(u64::MAX)),
        };
        self.outcomes.push(&self.who, &Event::SessionEnds(ends));
        let recorded = record(&self.journal, &self.outcomes, Durability::Relaxed, false).await;
        if let Err(error) = recorded {
            let session = &self.person.session;
            tracing::error!(session, %error, "the end of a session could not be recorded");
        }
    }

    fn go_by(&mut self, rules: Option<Rules>) {
        self.everything = rules.as_ref().and_then(|rules| rules.everything().cloned());
        self.hides = rules.as_ref().is_some_and(|rules| rules.in_force().hides_something());
        self.raw = None;
        self.rules = rules.filter(|_| self.everything.is_none()).map(Rc::new);
    }

    /// Whether the grant lives. While its store can't be read nothing begins that would run something.
    fn may_go_on(&self, tag: u8) -> Result<(), Need> {
        if let Some(refusal) = &self.barred {
            return Err(Need::End(refusal.clone()));
        }
        let Some(tenure) = &self.tenure else { return Ok(()) };
        if let Some(over) = tenure.served.over() {
            return Err(Need::End(over.into()));
        }
        match self.gateway.grants.standing() {
            Standing::Good => Ok(()),
            Standing::Lost => Err(Need::End(Over::Lost.into())),
            Standing::Doubtful if attempt::may_run(tag) => Err(Need::Standing),
            Standing::Doubtful => Ok(()),
        }
    }

    /// Messages are about to be looked at: they are judged by the policies as the file has them now.
    pub(crate) fn renew_rules(&mut self) -> Result<(), Need> {
        if self.gateway.has_installed(&self.installed) {
            return Ok(());
        }
        let installed = self.gateway.installed();
        let (identity, tenure) = (&self.person.identity, self.tenure.as_ref());
        let granted = grants::rules_now(&installed, identity, &self.connection, tenure);
        let rules = granted.map_err(Need::End)?;
        self.renew_limits(rules.as_ref()).map_err(Need::End)?;
        let was_judged = self.rules.is_some();
        self.go_by(rules);
        self.installed = installed;
        if !was_judged {
            self.doubt_all();
        }
        self.doubts_settings = true;
        self.sight.moved(names::Moves { names: true, catalog: false });
        Ok(())
    }

    /// What passed unjudged may have moved every name, and given each to something else.
    fn doubt_all(&mut self) {
        self.sight.moved(names::Moves::ALL);
        self.options.are_unknown();
        self.memory.forget_statements();
        self.memory.close_all_portals();
    }

    /// The session's name.
    pub(crate) fn session(&self) -> &str {
        &self.person.session
    }

    /// What records say of the session.
    pub(crate) fn who(&self) -> &Context {
        &self.who
    }

    /// One event of this session's, to be recorded at once.
    pub(crate) fn batch_of(&self, event: &Event<'_>) -> event::Batch {
        let mut batch = event::Batch::new();
        batch.push(&self.who, event);
        batch
    }

    fn take_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    /// What the server says unasked.
    pub(crate) fn aside(&mut self, frame: &Frame<'_>) {
        if frame.tag == backend::PARAMETER_STATUS {
            self.parameter(frame.body);
        }
    }

    fn parameter(&mut self, body: &[u8]) {
        match backend::parameter_status(body) {
            Some((b"standard_conforming_strings", value)) => {
                self.reading.standard_strings = value == b"on";
            }
            Some((b"client_encoding", value)) => {
                self.reading.ascii_safe = reading::is_ascii_safe(value);
                self.reading.utf8 = value == b"UTF8";
            }
            Some((b"server_encoding", value)) => self.reading.server_utf8 = value == b"UTF8",
            Some((b"application_name", value)) => {
                self.person.application = Some(String::from_utf8_lossy(value).into_owned());
                self.who = self.person.context();
            }
            _ => {}
        }
    }
}
