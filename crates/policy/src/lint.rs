//! What a reviewer would ask about policies that are right as far as they can be read: rules that
//! do nothing, doors that never close, writes that nobody looks at. Each with what to write
//! instead. What a database says to the same policies is for `review`.

use std::time::Duration;

use crate::object::{FunctionPattern, Name, RelationPattern, Schemas, is_users};
use crate::policies::{Policies, Policy};
use crate::rule::{Effect, Rule};
use crate::verb::{Verb, Verbs};
use crate::who::{Known, is_for_everybody};
use crate::written::Place;

/// Something to look at again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lint {
    pub place: Place,
    pub message: String,
    /// What to write instead.
    pub change: String,
}

/// A session that lasts longer is not one that somebody opened for a piece of work.
const WINDOW_LONG: Duration = Duration::from_secs(24 * 3600);

/// Extensions whose functions run SQL given as text or reach outside, so that each is named.
const NAMED_EXTENSIONS: [&str; 8] = [
    "adminpack",
    "amcheck",
    "dblink",
    "file_fdw",
    "lo",
    "pageinspect",
    "pg_buffercache",
    "tablefunc",
];

impl Policies {
    /// Everything that deserves a second look, in the order of the file.
    pub fn lints(&self, known: &Known<'_>) -> Vec<Lint> {
        let mut lints = Lints { policies: self.all(), found: Vec::new() };
        for policy in self.all() {
            lints.access(policy);
            lints.people(policy, known);
            for rule in &policy.rules {
                lints.objects(rule);
                match rule.effect {
                    Effect::Allow => {
                        lints.shadowed(policy, rule);
                        lints.unheld(policy, rule);
                        lints.narrow(rule);
                    }
                    Effect::Hold => lints.shadowed(policy, rule),
                    Effect::Refuse => lints.unreached(policy, rule),
                }
            }
        }
        lints.found.sort();
        lints.found.dedup();
        lints.found
    }
}

struct Lints<'p> {
    policies: &'p [Policy],
    found: Vec<Lint>,
}

impl Lints<'_> {
    fn say(&mut self, place: Place, message: impl Into<String>, change: impl Into<String>) {
        self.found.push(Lint { place, message: message.into(), change: change.into() });
    }

    fn access(&mut self, policy: &Policy) {
        let Some(access) = &policy.access else { return };
        if policy.rules.iter().all(|rule| rule.effect == Effect::Refuse) {
            let message = format!("policy `{}` opens sessions that may do nothing", policy.name);
            self.say(access.place, message, "give it `allow` rules, or take `access` out");
        }
        let longest = [access.window, access.longest].into_iter().flatten().max();
        match (access.window, longest) {
            (None, _) if !access.asks => {
                let message = format!(
                    "policy `{}` has no `window`: its sessions never end, which is standing access",
                    policy.name
                );
                self.say(access.place, message, "`window: 8h`; who connects again gets another");
            }
            (_, Some(longest)) if longest > WINDOW_LONG => {
                let message = format!(
                    "policy `{}` opens for longer than a day: that is standing access by another \
                     name",
                    policy.name
                );
                self.say(
                    access.place,
                    message,
                    "a `window` of the time that a piece of work takes",
                );
            }
            _ => {}
        }
    }

    fn people(&mut self, policy: &Policy, known: &Known<'_>) {
        let mut public = known.issuers.iter().filter(|issuer| is_for_everybody(issuer));
        if policy.access.is_some()
            && let Some(issuer) = public.find(|issuer| policy.who.means_all_of(issuer))
        {
            let message = format!(
                "policy `{}` opens for everybody who has a token of {issuer}, which is anybody",
                policy.name
            );
            self.say(policy.place, message, "name a claim, too, that tells your own from others");
        }
        for term in policy.who.unknown(known) {
            let message = format!("policy `{}` means {term}, and nobody is that", policy.name);
            self.say(
                policy.place,
                message,
                "name it under `groups` or `claims` of an identity, or among `issuers`",
            );
        }
    }

    /// Exceptions that take nothing away, or everything.
    fn objects(&mut self, rule: &Rule) {
        for except in &rule.relations.except {
            if !rule.relations.of.iter().any(|of| overlap(of, except)) {
                let message = "an exception is about what the rule does not mean, and does nothing";
                self.say(rule.place, message, "take it out, or name what the rule means");
            }
        }
        let gone =
            |of: &RelationPattern| rule.relations.except.iter().any(|except| covers(except, of));
        if !rule.relations.of.is_empty() && rule.relations.of.iter().all(gone) {
            let message = "its exceptions take away all that the rule means: it never matches";
            self.say(rule.place, message, "take the rule out, or narrow `except`");
        }
    }

    /// Rules that do nothing beside another one.
    fn shadowed(&mut self, policy: &Policy, rule: &Rule) {
        if rule.verbs.is_empty() || rule.relations.of.is_empty() {
            return;
        }
        for other in &policy.rules {
            let earlier = other.place < rule.place;
            let beats = match (other.effect, rule.effect) {
                (Effect::Refuse, _) => true,
                (own, of) => own == of && earlier,
            };
            let same = std::ptr::eq(&**other, rule);
            if same || !beats || other.has_conditions() || !other.relations.except.is_empty() {
                continue;
            }
            let verbs = rule.verbs.is_within(other.verbs) && rule.commands.is_empty();
            let all = |of: &RelationPattern| {
                // A view's own name gives more than a wildcard that covers it.
                let views = other.effect == Effect::Allow && !of.name.is_any();
                !views && other.relations.of.iter().any(|wide| covers(wide, of))
            };
            if other.everything || (verbs && rule.relations.of.iter().all(all)) {
                let what = if other.effect == Effect::Refuse { "refuses" } else { "gives" };
                let message = format!(
                    "this rule never decides: `{}` (line {}) {what} all of it",
                    other.name.rule, other.name.line
                );
                self.say(rule.place, message, "take one of them out");
                return;
            }
        }
    }

    /// Writes that no person and no condition looks at.
    fn unheld(&mut self, policy: &Policy, rule: &Rule) {
        let risky: Verbs =
            [Verb::Update, Verb::Delete, Verb::Truncate, Verb::Drop].into_iter().collect();
        let (what, mut watched): (&str, _) = match rule.everything {
            true => ("everything", risky),
            false if rule.verbs.overlap(risky) => ("writes", rule.verbs.and(risky)),
            false => return,
        };
        let looks = |own: &&Policy| own.access.is_none() || std::ptr::eq(*own, policy);
        let others = self.policies.iter().filter(looks).filter(|own| own.meets(policy));
        for other in others.flat_map(|own| &own.rules) {
            let looks = other.effect == Effect::Hold
                || (other.effect == Effect::Refuse && other.has_conditions());
            let meets = rule.everything
                || other.everything
                || rule
                    .relations
                    .of
                    .iter()
                    .any(|of| other.relations.of.iter().any(|pattern| overlap(pattern, of)));
            if looks && meets {
                watched =
                    if other.everything { Verbs::default() } else { watched.minus(other.verbs) };
            }
        }
        if !watched.is_empty() {
            let verbs = watched.iter().map(Verb::name).collect::<Vec<_>>().join(", ");
            let message = format!("it allows {what} that nothing holds or bounds: {verbs}");
            let change = format!(
                "`hold: - {verbs}: …`, or a `refuse` with `if: every row` or `if: changed > N`"
            );
            self.say(rule.place, message, change);
        }
    }

    /// Wildcards that give less than they seem to.
    fn narrow(&mut self, rule: &Rule) {
        for pattern in &rule.functions.of {
            match pattern {
                FunctionPattern::Extension(name) if NAMED_EXTENSIONS.contains(&&**name) => {
                    let message = format!(
                        "`extension:{name}` gives little: its functions run SQL given as text or \
                         reach outside, and only their own names allow those"
                    );
                    self.say(rule.place, message, "name the functions that are needed");
                }
                FunctionPattern::In { schemas: Schemas::Is(schema), name: Name::Any, .. }
                    if &**schema == "pg_catalog" =>
                {
                    let message = "`pg_catalog.*` leaves out what runs SQL given as text or \
                                   reaches files, roles and other sessions; what is harmless is \
                                   built in";
                    self.say(rule.place, message, "name the functions that are needed");
                }
                FunctionPattern::Bare { name, .. } if rule.verbs.has(Verb::Use) => {
                    let message = format!(
                        "`{name}` has no schema: it means the functions of that name in pg_catalog \
                         and public"
                    );
                    self.say(rule.place, message, format!("`public.{name}`, or its own schema"));
                }
                _ => {}
            }
        }
        if rule.settings.of.iter().any(|pattern| pattern.covers("role") && !pattern.names("role")) {
            let message = "`set` by a wildcard leaves out the settings that are pinned";
            self.say(rule.place, message, "name the settings that are needed");
        }
        let write = [Verb::Insert, Verb::Update, Verb::Delete].into_iter().collect();
        let wide = |of: &RelationPattern| of.name.is_any() && of.schemas != Schemas::Users;
        let system = |of: &RelationPattern| match &of.schemas {
            Schemas::Is(schema) => !is_users(schema) && !schema.starts_with("pg_temp"),
            Schemas::Users => false,
        };
        if rule.verbs.overlap(write) && rule.relations.of.iter().any(|of| wide(of) && system(of)) {
            let message = "writing to system relations goes through views, by a wildcard never";
            self.say(rule.place, message, "take it out");
        }
    }

    /// Refusals of what nothing gives.
    fn unreached(&mut self, policy: &Policy, rule: &Rule) {
        if rule.everything || rule.relations.of.is_empty() || !rule.commands.is_empty() {
            return;
        }
        let system = |of: &RelationPattern| matches!(&of.schemas, Schemas::Is(it) if !is_users(it));
        if rule.relations.of.iter().any(system) {
            // Some of it is built in.
            return;
        }
        let reached =
            self.policies.iter().filter(|own| own.meets(policy)).any(|own| {
                own.rules.iter().filter(|it| it.effect != Effect::Refuse).any(|it| {
                    it.everything
                        || (it.verbs.overlap(rule.verbs)
                            && it.relations.of.iter().any(|of| {
                                rule.relations.of.iter().any(|pattern| overlap(pattern, of))
                            }))
                })
            });
        if !reached {
            let message = "no rule allows any of this, so there is nothing to refuse";
            self.say(rule.place, message, "take it out, or see whether a name is misspelt");
        }
    }
}

/// Whether something can be meant by both.
fn overlap(a: &RelationPattern, b: &RelationPattern) -> bool {
    let schemas = match (&a.schemas, &b.schemas) {
        (Schemas::Users, Schemas::Users) => true,
        (Schemas::Users, Schemas::Is(schema)) | (Schemas::Is(schema), Schemas::Users) => {
            is_users(schema)
        }
        (Schemas::Is(a), Schemas::Is(b)) => a == b,
    };
    // A table covers its children, whose names nobody knows here.
    let names = a.name.is_any() || b.name.is_any() || a.name == b.name;
    let columns = match (&a.columns, &b.columns) {
        (Some(a), Some(b)) => a.iter().any(|name| b.contains(name)),
        _ => true,
    };
    schemas && names && columns
}

/// Whether all that `b` means is meant by `a`.
fn covers(a: &RelationPattern, b: &RelationPattern) -> bool {
    let schemas = match (&a.schemas, &b.schemas) {
        (Schemas::Users, Schemas::Users) => true,
        (Schemas::Users, Schemas::Is(schema)) => is_users(schema),
        (Schemas::Is(_), Schemas::Users) => false,
        (Schemas::Is(a), Schemas::Is(b)) => a == b,
    };
    let names = a.name.is_any() || a.name == b.name;
    let columns = match (&a.columns, &b.columns) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(a), Some(b)) => b.iter().all(|name| a.contains(name)),
    };
    schemas && names && columns
}
