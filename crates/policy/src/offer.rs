//! What an identity can have by asking: which policies, who has to agree, until when; and what of a
//! grant is in force. The gateway and its store make requests and grants of it.

use std::sync::Arc;
use std::time::Duration;

use crate::policies::{InForce, Policies, Policy};
use crate::who::Subject;

/// How long a grant lasts whose policies don't say it.
const WINDOW_MAX: Duration = Duration::from_secs(31 * 86_400);

/// What somebody asks for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'w> {
    /// By name; none: what opens by itself, or else what can be asked for.
    pub policies: &'w [String],
    pub lasts: Option<Duration>,
    pub reason: Option<&'w str>,
}

/// What they can have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Names, in the order of the file.
    pub policies: Vec<Arc<str>>,
    /// Who has to agree. Nobody: it opens at once.
    pub needed: Vec<Approval>,
    /// As long as was asked for, if that is not too long.
    pub lasts: Duration,
    /// How long a client waits for people before it is told to come again.
    pub hold_wait: Option<Duration>,
}

/// Who has to agree to a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    pub policy: Arc<str>,
    /// In words.
    pub by: String,
    pub need: u32,
}

/// Why there is nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotOffered {
    /// No policy with `access` means them here.
    Closed,
    /// These names are not among those that can be asked for.
    Unknown { names: Vec<String>, offered: Vec<Arc<str>> },
    /// This policy opens to nobody who doesn't say why.
    NoReason { policy: Arc<str> },
}

impl Policies {
    /// What `who` can have of `wanted`.
    pub fn offer(
        &self,
        who: &Subject<'_>,
        connection: &str,
        wanted: Wanted<'_>,
    ) -> Result<Offer, NotOffered> {
        let all: Vec<&Policy> = self
            .all()
            .iter()
            .filter(|policy| policy.access.is_some() && policy.means(who, connection))
            .collect();
        let asks = |policy: &Policy| policy.access.as_ref().is_some_and(|access| access.asks);
        let has_reason = wanted.reason.is_some_and(|reason| !reason.trim().is_empty());
        let needs_reason = |policy: &Policy| {
            policy.access.as_ref().is_some_and(|access| access.needs_reason && !has_reason)
        };
        let chosen: Vec<&Policy> = match wanted.policies {
            [] => {
                let (asking, open): (Vec<&Policy>, Vec<&Policy>) =
                    all.iter().partition(|policy| asks(policy));
                let these = if open.is_empty() { asking } else { open };
                // Who says no reason can have what needs none.
                let (lacking, rest): (Vec<&Policy>, Vec<&Policy>) =
                    these.iter().partition(|policy| needs_reason(policy));
                if rest.is_empty() { lacking } else { rest }
            }
            names => {
                let is_there = |name: &&String| all.iter().any(|policy| *policy.name == ***name);
                let unknown: Vec<String> =
                    names.iter().filter(|name| !is_there(name)).cloned().collect();
                if !unknown.is_empty() {
                    let offered = all.iter().map(|policy| policy.name.clone()).collect();
                    return Err(NotOffered::Unknown { names: unknown, offered });
                }
                let named = |policy: &&&Policy| names.iter().any(|name| **name == *policy.name);
                all.iter().filter(named).copied().collect()
            }
        };
        if chosen.is_empty() {
            return Err(NotOffered::Closed);
        }
        let access = || chosen.iter().filter_map(|policy| policy.access.as_ref());
        if let Some(policy) = chosen.iter().find(|policy| needs_reason(policy)) {
            return Err(NotOffered::NoReason { policy: policy.name.clone() });
        }
        let shortest = |times: &mut dyn Iterator<Item = Option<Duration>>| {
            times.flatten().min().unwrap_or(WINDOW_MAX).min(WINDOW_MAX)
        };
        let window = shortest(&mut access().map(|access| access.window.or(access.longest)));
        let longest = shortest(&mut access().map(|access| access.longest.or(access.window)));
        let needed = chosen.iter().filter_map(|policy| {
            let approvers = policy.access.as_ref().filter(|it| it.asks)?.approvers.as_ref()?;
            let by = approvers.by.to_string();
            Some(Approval { policy: policy.name.clone(), by, need: approvers.need })
        });
        let names = |policy: &Policy| chosen.iter().any(|it| it.name == policy.name);
        let force = self.force(who, connection, names);
        Ok(Offer {
            policies: chosen.iter().map(|policy| policy.name.clone()).collect(),
            needed: needed.collect(),
            lasts: wanted.lasts.unwrap_or(window).min(longest),
            hold_wait: force.limits().hold_wait.as_ref().map(|limit| limit.value),
        })
    }

    /// What is in force under a grant of these policies: those of them that still mean `who` here,
    /// and every one without `access`. `None` if there are none left of its own.
    pub fn granted(
        &self,
        who: &Subject<'_>,
        connection: &str,
        policies: &[String],
    ) -> Option<InForce> {
        let is_granted = |policy: &Policy| {
            policy.access.is_some() && policies.iter().any(|name| **name == *policy.name)
        };
        let left = |policy: &&Policy| is_granted(policy) && policy.means(who, connection);
        self.all().iter().find(left)?;
        Some(self.force(who, connection, is_granted))
    }

    /// Whether `voter` is one of those who may agree to what this policy opens.
    pub fn may_approve(&self, policy: &str, voter: &Subject<'_>) -> bool {
        self.all().iter().filter(|own| *own.name == *policy).any(|own| {
            let approvers = own.access.as_ref().and_then(|access| access.approvers.as_ref());
            approvers.is_some_and(|approvers| approvers.by.means(voter))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::written::{self, Access, Approval as Approved, Place, Text, Who};

    fn text(text: &str) -> Text {
        Text { text: text.to_owned(), ..Text::default() }
    }

    fn policy(name: &str, by: Option<&str>, reason: &str, window: Option<&str>) -> written::Policy {
        let approval = match by {
            None => Approved::Word(text("none")),
            Some(by) => {
                let by = vec![Who::One(text(by))];
                Approved::By { place: Place::default(), by, need: Some(text("2")) }
            }
        };
        written::Policy {
            name: text(name),
            who: vec![Who::One(text("group:agents"))],
            to: vec![text("shop")],
            access: Some(Access {
                window: window.map(text),
                longest: window.map(|_| text("1h")),
                approval: Some(approval),
                reason: Some(text(reason)),
                ..Access::default()
            }),
            limits: vec![(text("hold_wait"), vec![text("20s")])],
            ..written::Policy::default()
        }
    }

    fn binding(name: &str) -> written::Policy {
        let mut policy = policy(name, None, "optional", None);
        policy.access = None;
        policy
    }

    fn check(policies: &[written::Policy], wanted: Wanted<'_>) -> Result<Offer, NotOffered> {
        let policies = Policies::new(policies.to_vec()).unwrap();
        let (groups, claims) = (["agents".to_owned()], BTreeMap::new());
        policies.offer(&agent(&groups, &claims), "shop", wanted)
    }

    fn agent<'a>(groups: &'a [String], claims: &'a BTreeMap<String, String>) -> Subject<'a> {
        Subject { name: Some("bot"), issuer: "gatepost", subject: "bot", groups, claims }
    }

    fn names(offer: &Offer) -> Vec<&str> {
        offer.policies.iter().map(|name| &**name).collect()
    }

    #[test]
    fn what_opens_by_itself_goes_before_what_is_asked_for() {
        let open = policy("a", None, "optional", Some("15m"));
        let asks = policy("b", Some("group:dba"), "optional", Some("10m"));
        let both = [open.clone(), asks.clone(), binding("c")];
        let offer = check(&both, Wanted::default()).unwrap();
        assert_eq!((names(&offer), offer.needed.len()), (vec!["a"], 0));
        assert_eq!(offer.lasts, Duration::from_secs(900));
        assert_eq!(offer.hold_wait, Some(Duration::from_secs(20)));
        let offer = check(&[asks], Wanted::default()).unwrap();
        assert_eq!(names(&offer), ["b"]);
        let approval = Approval { policy: "b".into(), by: "group:dba".to_owned(), need: 2 };
        assert_eq!(offer.needed, [approval]);
        assert_eq!(check(&[binding("c")], Wanted::default()), Err(NotOffered::Closed));

        let wanted = ["a".to_owned(), "b".to_owned()];
        let offer = check(&both, Wanted { policies: &wanted, ..Wanted::default() }).unwrap();
        assert_eq!((names(&offer), offer.needed.len()), (vec!["a", "b"], 1));
        assert_eq!(offer.lasts, Duration::from_secs(600));
    }

    #[test]
    fn nobody_asks_for_what_is_not_theirs() {
        let mut others = policy("theirs", None, "optional", None);
        others.who = vec![Who::One(text("group:dba"))];
        let all = [policy("a", None, "optional", None), others, binding("c")];
        for name in ["theirs", "c", "nothing", "A"] {
            let wanted = [name.to_owned()];
            let unknown = NotOffered::Unknown { names: wanted.to_vec(), offered: vec!["a".into()] };
            let wanted = Wanted { policies: &wanted, ..Wanted::default() };
            assert_eq!(check(&all, wanted), Err(unknown), "{name}");
        }
    }

    #[test]
    fn as_long_as_is_asked_and_no_longer_than_may_be() {
        let policies = [policy("a", None, "optional", Some("15m"))];
        for (asked, lasts) in [(60, 60), (3600, 3600), (3601, 3600)] {
            let lasting = Some(Duration::from_secs(asked));
            let offer = check(&policies, Wanted { lasts: lasting, ..Wanted::default() }).unwrap();
            assert_eq!(offer.lasts, Duration::from_secs(lasts));
        }
        let policies = [policy("a", None, "optional", None)];
        assert_eq!(check(&policies, Wanted::default()).unwrap().lasts, WINDOW_MAX);
    }

    #[test]
    fn a_reason_where_one_is_required() {
        let policies = [policy("a", None, "required", None)];
        for (reason, is_one) in
            [(None, false), (Some(""), false), (Some(" "), false), (Some("x"), true)]
        {
            let offered = check(&policies, Wanted { reason, ..Wanted::default() });
            assert_eq!(offered.is_ok(), is_one, "{reason:?}");
        }
        // What needs none opens without one, and with one both do.
        let both = [policies[0].clone(), policy("b", None, "optional", None)];
        assert_eq!(names(&check(&both, Wanted::default()).unwrap()), ["b"]);
        let wanted = Wanted { reason: Some("x"), ..Wanted::default() };
        assert_eq!(names(&check(&both, wanted).unwrap()), ["a", "b"]);
        let named = ["a".to_owned(), "b".to_owned()];
        let wanted = Wanted { policies: &named, ..Wanted::default() };
        assert_eq!(check(&both, wanted), Err(NotOffered::NoReason { policy: "a".into() }));
    }

    #[test]
    fn a_grant_is_what_is_left_of_its_policies() {
        let file = |names: &[&str]| {
            let mut written: Vec<_> =
                names.iter().map(|name| policy(name, None, "optional", None)).collect();
            written.push(binding("c"));
            Policies::new(written).unwrap()
        };
        let (groups, claims) = (["agents".to_owned()], BTreeMap::new());
        let granted = ["a".to_owned(), "b".to_owned(), "c".to_owned()];
        let left = |names: &[&str], groups: &[String]| {
            let force = file(names).granted(&agent(groups, &claims), "shop", &granted)?;
            Some(force.policies().iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(left(&["a", "b", "d"], &groups), Some(vec!["a".into(), "b".into(), "c".into()]));
        assert_eq!(left(&["b"], &groups), Some(vec!["b".into(), "c".into()]));
        // What opens nothing is no grant, nor is what another identity has.
        assert_eq!(left(&["d"], &groups), None);
        assert_eq!(left(&["a"], &[]), None);
    }

    #[test]
    fn who_may_agree() {
        let policies = [policy("a", Some("group:dba"), "optional", None)];
        let policies = Policies::new(policies.to_vec()).unwrap();
        let claims = BTreeMap::new();
        let may = |policy, group: &str| {
            policies.may_approve(policy, &agent(&[group.to_owned()], &claims))
        };
        assert!(may("a", "dba"));
        assert!(!may("a", "agents") && !may("b", "dba"));
    }
}
