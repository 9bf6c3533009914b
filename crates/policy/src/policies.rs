//! All policies of a file, and what of them is in force for whoever connects.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sql::catalog::Catalog;

use crate::disguise::Hides;
use crate::limits::{self, Limits};
use crate::mask::Sight;
use crate::narrow::Narrow;
use crate::rule::{Approvers, Effect, Rule, read_need};
use crate::scope::Scope;
use crate::verb::Verb;
use crate::verdict::RuleRef;
use crate::who::{Subject, Who};
use crate::written::{self, Approval, Place, Problem};

/// All policies of a file. Made once per reload.
#[derive(Debug, Default)]
pub struct Policies {
    generation: u64,
    policies: Vec<Policy>,
}

#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) name: Arc<str>,
    pub(crate) place: Place,
    pub(crate) who: Who,
    to: Vec<String>,
    pub(crate) access: Option<Access>,
    pub(crate) rules: Vec<Arc<Rule>>,
    limits: Limits,
    pub(crate) sight: Sight,
}

#[derive(Debug)]
pub(crate) struct Access {
    pub(crate) place: Place,
    pub(crate) window: Option<Duration>,
    pub(crate) longest: Option<Duration>,
    pub(crate) asks: bool,
    pub(crate) needs_reason: bool,
    /// Who agrees to it, where somebody has to.
    pub(crate) approvers: Option<Approvers>,
}

/// What opens when an identity connects.
#[derive(Clone, Debug)]
pub enum Opened {
    Open(InForce),
    /// Nothing opens by itself; these can be asked for.
    Ask(Vec<Arc<str>>),
    /// No policy lets this identity in here.
    Closed,
}

/// The policies in force for one session.
#[derive(Clone, Debug)]
pub struct InForce(Arc<Force>);

#[derive(Debug)]
struct Force {
    id: InForceId,
    names: Vec<Arc<str>>,
    /// Those of them that were opened, and not the ones that bind everyone.
    opened: Vec<Arc<str>>,
    rules: Vec<Arc<Rule>>,
    /// Rules that others would bring, were they asked for.
    askable: Vec<Arc<Rule>>,
    limits: Limits,
    window: Option<Duration>,
    /// Every part has to be allowed by this, too.
    narrow: Option<Arc<Narrow>>,
    hides: Arc<Hides>,
}

/// Two that are equal have the same policies in force, of the same file as it was read once, and the
/// same claims as far as row filters ask for them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InForceId {
    generation: u64,
    policies: Arc<[u32]>,
    narrow: Option<Arc<str>>,
    claims: Arc<[Option<Box<str>>]>,
}

impl InForceId {
    fn of(generation: u64) -> Self {
        let (policies, claims) = (Arc::new([]), Arc::new([]));
        Self { generation, policies, narrow: None, claims }
    }
}

impl Policies {
    /// Reads all of them, and says everything that is wrong.
    pub fn new(written: Vec<written::Policy>) -> Result<Self, Vec<Problem>> {
        // Only tells one reading from another, so that no cache mixes them.
        static GENERATION: AtomicU64 = AtomicU64::new(1);
        let mut problems = Vec::new();
        let mut policies: Vec<Policy> = Vec::new();
        for policy in &written {
            let read = Policy::read(policy, &mut problems);
            if policies.iter().any(|other| other.name == read.name) {
                let message = format!("there are two policies named `{}`", read.name);
                problems.push(Problem::new(policy.name.place, message));
            }
            policies.push(read);
        }
        if problems.is_empty() {
            Ok(Self { generation: GENERATION.fetch_add(1, Ordering::Relaxed), policies })
        } else {
            problems.sort();
            problems.dedup();
            Err(problems)
        }
    }

    pub(crate) fn all(&self) -> &[Policy] {
        &self.policies
    }

    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// In the order of the file.
    pub fn names(&self) -> Vec<&str> {
        self.policies.iter().map(|policy| &*policy.name).collect()
    }

    /// Of each policy about a connection: its name, its window and its rules.
    pub(crate) fn of_connection<'p>(
        &'p self,
        connection: &'p str,
    ) -> impl Iterator<Item = (&'p str, Option<Duration>, &'p [Arc<Rule>])> {
        self.policies.iter().filter(move |policy| policy.is_about(connection)).map(|policy| {
            let window = policy.access.as_ref().and_then(|access| access.window);
            (&*policy.name, window, &*policy.rules)
        })
    }

    /// Of each policy about a connection: its masks and filters, and its rules.
    pub(crate) fn sights<'p>(
        &'p self,
        connection: &'p str,
    ) -> impl Iterator<Item = (&'p Sight, &'p [Arc<Rule>])> {
        let about = self.policies.iter().filter(move |policy| policy.is_about(connection));
        about.map(|policy| (&policy.sight, &*policy.rules))
    }

    /// These rules and nothing else. For looking at them: nobody's session goes by it.
    pub(crate) fn only(&self, rules: &[Arc<Rule>]) -> InForce {
        InForce(Arc::new(Force {
            id: InForceId::of(self.generation),
            names: Vec::new(),
            opened: Vec::new(),
            rules: rules.to_vec(),
            askable: Vec::new(),
            limits: Limits::default(),
            window: None,
            narrow: None,
            hides: Arc::default(),
        }))
    }

    /// What opens when `who` connects: every matching policy with `approval: none`, and with it
    /// every matching one without `access`.
    pub fn open(&self, who: &Subject<'_>, connection: &str) -> Opened {
        let matching = || self.policies.iter().filter(|policy| policy.means(who, connection));
        let asking = || {
            let asks = |policy: &Policy| policy.access.as_ref().is_some_and(|access| access.asks);
            matching().filter(move |policy| asks(policy))
        };
        let opens = |policy: &Policy| policy.access.as_ref().is_some_and(|access| !access.asks);
        if !matching().any(opens) {
            let names: Vec<_> = asking().map(|policy| policy.name.clone()).collect();
            return if names.is_empty() { Opened::Closed } else { Opened::Ask(names) };
        }
        Opened::Open(self.force(who, connection, opens))
    }

    /// Of the matching policies those that `opens` says, and every one without `access`.
    pub(crate) fn force(
        &self,
        who: &Subject<'_>,
        connection: &str,
        opens: impl Fn(&Policy) -> bool,
    ) -> InForce {
        let mut force = Force {
            id: InForceId::of(self.generation),
            names: Vec::new(),
            opened: Vec::new(),
            rules: Vec::new(),
            askable: Vec::new(),
            limits: Limits::default(),
            window: None,
            narrow: None,
            hides: Arc::default(),
        };
        let mut hides = Hides::default();
        let mut numbers = Vec::new();
        let all = self.policies.iter().enumerate();
        for (number, policy) in all.filter(|(_, policy)| policy.means(who, connection)) {
            if policy.access.is_some() && !opens(policy) {
                force.askable.extend(policy.rules.iter().cloned());
                continue;
            }
            if policy.access.is_some() {
                force.opened.push(policy.name.clone());
            }
            let window = policy.access.as_ref().and_then(|access| access.window);
            numbers.push(u32::try_from(number).unwrap_or(u32::MAX));
            force.names.push(policy.name.clone());
            force.rules.extend(policy.rules.iter().cloned());
            force.limits.join(&policy.limits);
            force.window = [force.window, window].into_iter().flatten().min();
            let liftable = policy.access.is_none();
            let masks = policy.sight.masks.iter().map(|mask| (mask.clone(), liftable));
            hides.masks.extend(masks);
            hides.unmask.extend(policy.sight.unmask.iter().cloned());
            for rule in &policy.sight.rows {
                let claims = rule.claims.iter();
                let claims = claims.map(|name| who.claims.get(&**name).map(|it| (&**it).into()));
                hides.rows.push((rule.clone(), claims.collect()));
            }
        }
        let claims = hides.rows.iter().flat_map(|(_, claims)| claims);
        force.id.claims = claims.cloned().collect();
        force.hides = Arc::new(hides);
        force.id.policies = numbers.into();
        InForce(Arc::new(force))
    }
}

impl InForce {
    pub fn id(&self) -> &InForceId {
        &self.0.id
    }

    /// The names of the policies, in the order of the file.
    pub fn policies(&self) -> &[Arc<str>] {
        &self.0.names
    }

    /// What the policies come to under one snapshot. Made once for both, and shared.
    pub fn scope(&self, catalog: &Arc<Catalog>) -> Scope {
        Scope::new(self.clone(), catalog.clone())
    }

    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// A policy grants everything, and nothing refuses, holds, hides or has conditions: what a statement
    /// is doesn't matter then, and text that can't be read passes.
    pub fn grants_everything(&self) -> Option<&RuleRef> {
        if self.0.narrow.is_some() {
            return None;
        }
        self.policies_grant_everything()
    }

    /// The same, whatever narrows them.
    pub(crate) fn policies_grant_everything(&self) -> Option<&RuleRef> {
        let rules = || self.0.rules.iter();
        if rules().any(|rule| rule.effect != Effect::Allow) || self.hides_something() {
            return None;
        }
        rules().find(|rule| rule.everything && !rule.has_conditions()).map(|rule| &rule.name)
    }

    /// The longest that a session may last.
    pub fn window(&self) -> Option<Duration> {
        self.0.window
    }

    /// The same policies, and nothing that `narrow` leaves out.
    pub fn narrowed(&self, narrow: Arc<Narrow>) -> InForce {
        let Force { id, names, opened, rules, askable, limits, window, narrow: _, hides } =
            &*self.0;
        InForce(Arc::new(Force {
            id: InForceId { narrow: Some(narrow.text().clone()), ..id.clone() },
            names: names.clone(),
            opened: opened.clone(),
            rules: rules.clone(),
            askable: askable.clone(),
            limits: limits.clone(),
            window: *window,
            narrow: Some(narrow),
            hides: hides.clone(),
        }))
    }

    pub fn narrow(&self) -> Option<&Arc<Narrow>> {
        self.0.narrow.as_ref()
    }

    /// What narrows them, as rules of their own.
    pub(crate) fn narrow_alone(&self) -> Option<InForce> {
        let narrow = self.0.narrow.as_ref()?;
        Some(InForce(Arc::new(Force {
            id: self.0.id.clone(),
            names: Vec::new(),
            opened: Vec::new(),
            rules: narrow.rules().to_vec(),
            askable: Vec::new(),
            limits: Limits::default(),
            window: None,
            narrow: None,
            hides: Arc::default(),
        })))
    }

    /// Whether a rule allows `listen` on the channel by its own name.
    pub fn names_channel(&self, channel: &str) -> bool {
        self.0.rules.iter().any(|rule| {
            rule.effect == Effect::Allow
                && rule.verbs.has(Verb::Listen)
                && rule.channels.of.iter().any(|pattern| pattern.names(channel))
        })
    }

    /// Whether there are masks or row filters.
    pub fn hides_something(&self) -> bool {
        !self.0.hides.is_empty()
    }

    pub(crate) fn hides(&self) -> &Hides {
        &self.0.hides
    }

    pub(crate) fn rules(&self) -> &[Arc<Rule>] {
        &self.0.rules
    }

    /// Those that were opened, and not the ones that bind everyone.
    pub(crate) fn opened(&self) -> &[Arc<str>] {
        &self.0.opened
    }

    /// What would be in force, had these been asked for as well. For looking at it: nobody's session
    /// goes by it.
    pub(crate) fn with(&self, asked: &[Arc<str>]) -> InForce {
        let is_asked = |rule: &&Arc<Rule>| asked.contains(&rule.name.policy);
        let more = self.0.askable.iter().filter(is_asked).cloned();
        InForce(Arc::new(Force {
            id: self.0.id.clone(),
            names: Vec::new(),
            opened: Vec::new(),
            rules: self.0.rules.iter().cloned().chain(more).collect(),
            askable: Vec::new(),
            limits: self.0.limits.clone(),
            window: None,
            narrow: None,
            hides: self.0.hides.clone(),
        }))
    }

    pub(crate) fn askable(&self) -> &[Arc<Rule>] {
        &self.0.askable
    }
}

impl Policy {
    fn read(written: &written::Policy, problems: &mut Vec<Problem>) -> Self {
        let name: Arc<str> = written.name.text.trim().into();
        if name.is_empty() {
            problems.push(Problem::new(written.name.place, "a policy needs a name"));
        }
        if written.who.is_empty() {
            let message = format!("policy `{name}` means nobody; give it `who`");
            problems.push(Problem::new(written.name.place, message));
        }
        if written.to.is_empty() {
            let message = format!("policy `{name}` is about no connection; give it `to`");
            problems.push(Problem::new(written.name.place, message));
        }
        let mut to = Vec::new();
        for text in &written.to {
            match text.split() {
                Ok(parts) => to.extend(parts.into_iter().map(|part| part.text)),
                Err(problem) => problems.push(problem),
            }
        }
        let access = written.access.as_ref().map(|access| Access::read(access, problems));
        let approvers = access.as_ref().and_then(|access| access.approvers.as_ref());
        let mut rules = Vec::new();
        for (effect, written) in [
            (Effect::Allow, &written.allow),
            (Effect::Hold, &written.hold),
            (Effect::Refuse, &written.refuse),
        ] {
            for rule in written {
                let read = Rule::read(rule, effect, &name, approvers, problems);
                rules.extend(read.map(Arc::new));
            }
        }
        let sight = Sight::read(written, problems);
        let limits = Limits::read(
            &written.limits,
            |key, value| RuleRef {
                policy: name.clone(),
                rule: format!("{}: {}", key.text, value.text).into(),
                line: key.place.line,
            },
            problems,
        );
        let who = Who::read(&written.who, problems);
        Self { name, place: written.name.place, who, to, access, rules, limits, sight }
    }

    /// Whether both can be in force together, as far as connections say.
    pub(crate) fn meets(&self, other: &Policy) -> bool {
        self.to.iter().any(|to| to == "*" || other.is_about(to))
            || other.to.iter().any(|to| to == "*")
    }

    pub(crate) fn means(&self, who: &Subject<'_>, connection: &str) -> bool {
        self.is_about(connection) && self.who.means(who)
    }

    fn is_about(&self, connection: &str) -> bool {
        self.to.iter().any(|to| to == "*" || to == connection)
    }
}

impl Access {
    fn read(written: &written::Access, problems: &mut Vec<Problem>) -> Self {
        let mut time = |text: &Option<written::Text>| {
            let text = text.as_ref()?;
            match limits::duration(&text.text) {
                Ok(duration) => Some(duration),
                Err(message) => {
                    problems.push(Problem::new(text.place, message));
                    None
                }
            }
        };
        let (window, longest) = (time(&written.window), time(&written.longest));
        if let (Some(window), Some(longest), Some(text)) = (window, longest, &written.window)
            && window > longest
        {
            let message = "`window` is longer than `longest`";
            problems.push(Problem::new(text.place, message));
        }
        if let Some(reason) = &written.reason
            && !["required", "optional"].contains(&&*reason.text)
        {
            let message = "`reason` is `required` or `optional`";
            problems.push(Problem::new(reason.place, message));
        }
        let (asks, approvers) = match &written.approval {
            Some(Approval::Word(word)) if word.text == "none" => (false, None),
            Some(Approval::Word(word)) => {
                let message = "`approval` is `none`, or who approves: `{ by: group:dba, need: 1 }`";
                problems.push(Problem::new(word.place, message));
                (true, None)
            }
            Some(Approval::By { place, by, need }) => {
                if by.is_empty() {
                    let message = "`approval` needs `by`: who approves";
                    problems.push(Problem::new(*place, message));
                }
                let need = need.as_ref().map_or(1, |need| read_need(need, problems));
                (true, Some(Approvers { by: Who::read(by, problems), need }))
            }
            None => {
                let message = "`access` needs `approval`: `none`, or who approves";
                problems.push(Problem::new(written.place, message));
                (true, None)
            }
        };
        let needs_reason = written.reason.as_ref().is_some_and(|reason| reason.text == "required");
        Self { place: written.place, window, longest, asks, needs_reason, approvers }
    }
}
