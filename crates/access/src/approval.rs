//! What must be agreed to, by whom, and who has: the same for a request and for a hold. One person
//! counts once, one who may decide can deny, and nobody decides about their own.

use crate::person::{Identity, Person};
use crate::refused::Refused;

/// One agreement that is needed: of a policy for a request, of a rule for a hold. All must be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needed {
    /// The policy or rule.
    pub what: String,
    /// Who may decide, as `policy` wrote it; what it means is its business.
    pub by: String,
    /// How many different people. Less than one counts as one.
    pub need: u32,
}

/// One person's yes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vote {
    pub voter: Person,
    pub at: i64,
    pub words: Option<String>,
    /// Which of the `Needed`, by index.
    pub counts_for: Vec<usize>,
    pub shape: Option<ShapeOffer>,
}

/// The yes is meant for this statement with other parameters, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShapeOffer {
    pub uses: u32,
    pub lasts_millis: i64,
}

/// What somebody says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Saying {
    Approve {
        words: Option<String>,
        shape: Option<ShapeOffer>,
    },
    /// The words are for the one who asked.
    Deny {
        words: Option<String>,
    },
}

/// Whether the voter is one of those that `Needed::by` means. It is asked under the lock of the
/// row, of what the row says.
pub type May = dyn Fn(&Needed) -> bool + Send;

/// What may be decided by this voter, or why nothing.
pub(crate) fn theirs(
    needed: &[Needed],
    asker: &Identity,
    voter: &Identity,
    may: &May,
) -> Result<Vec<usize>, Refused> {
    if voter.is_behind(asker) {
        return Err(Refused::OwnRequest);
    }
    let theirs: Vec<usize> =
        needed.iter().enumerate().filter(|(_, needed)| may(needed)).map(|(i, _)| i).collect();
    if theirs.is_empty() { Err(Refused::NotAsked) } else { Ok(theirs) }
}

/// Adds a yes. Whether all that is needed is there now is `is_met`'s to say.
pub(crate) fn add(needed: &[Needed], votes: &mut Vec<Vote>, vote: Vote) -> Result<(), Refused> {
    if votes.iter().any(|earlier| earlier.voter == vote.voter) {
        return Err(Refused::AlreadyVoted);
    }
    let open = |index: &usize| needed.get(*index).is_some_and(|n| still(n, *index, votes) > 0);
    if !vote.counts_for.iter().any(open) {
        return Err(Refused::NothingLeft);
    }
    votes.push(vote);
    Ok(())
}

pub(crate) fn is_met(needed: &[Needed], votes: &[Vote]) -> bool {
    needed.iter().enumerate().all(|(index, needed)| still(needed, index, votes) == 0)
}

/// How many people are still to agree.
pub(crate) fn still(needed: &Needed, index: usize, votes: &[Vote]) -> usize {
    let have = votes.iter().filter(|vote| vote.counts_for.contains(&index)).count();
    usize::try_from(needed.need.max(1)).unwrap_or(usize::MAX).saturating_sub(have)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn person(subject: &str) -> Person {
        Person { issuer: "idp".to_owned(), subject: subject.to_owned() }
    }

    fn somebody(subject: &str) -> Identity {
        Identity {
            person: person(subject),
            name: None,
            groups: Vec::new(),
            claims: BTreeMap::new(),
            actors: Vec::new(),
        }
    }

    fn needed(need: u32) -> Needed {
        Needed { what: "rule".to_owned(), by: "group:dba".to_owned(), need }
    }

    fn yes(subject: &str, counts_for: &[usize]) -> Vote {
        let counts_for = counts_for.to_vec();
        Vote { voter: person(subject), at: 0, words: None, counts_for, shape: None }
    }

    #[test]
    fn one_person_counts_once_and_two_meet_two() {
        let needed = [needed(2)];
        let mut votes = Vec::new();
        add(&needed, &mut votes, yes("anna", &[0])).unwrap();
        assert_eq!(add(&needed, &mut votes, yes("anna", &[0])), Err(Refused::AlreadyVoted));
        assert!(!is_met(&needed, &votes));
        add(&needed, &mut votes, yes("bert", &[0])).unwrap();
        assert!(is_met(&needed, &votes));
    }

    #[test]
    fn each_agreement_must_be_had_and_one_yes_serves_all_it_may() {
        let needed = [needed(1), needed(2)];
        let mut votes = Vec::new();
        add(&needed, &mut votes, yes("anna", &[0])).unwrap();
        assert!(!is_met(&needed, &votes));
        assert_eq!(add(&needed, &mut votes, yes("carl", &[0])), Err(Refused::NothingLeft));
        add(&needed, &mut votes, yes("bert", &[0, 1])).unwrap();
        assert!(!is_met(&needed, &votes));
        add(&needed, &mut votes, yes("dora", &[1])).unwrap();
        assert!(is_met(&needed, &votes));
    }

    #[test]
    fn none_needed_still_means_somebody() {
        assert!(!is_met(&[needed(0)], &[]));
        assert!(is_met(&[needed(0)], &[yes("anna", &[0])]));
    }

    #[test]
    fn nobody_decides_about_their_own_nor_about_what_they_had_done() {
        let all: Box<May> = Box::new(|_| true);
        let needed = [needed(1)];
        let anna = somebody("anna");
        let agent_of_anna = Identity { actors: vec![person("agent")], ..somebody("anna") };
        let agent = somebody("agent");
        let agent_for_bert = Identity { actors: vec![person("agent")], ..somebody("bert") };
        for (asker, voter) in [
            (&anna, &anna),
            (&agent_of_anna, &anna),
            (&agent_of_anna, &agent),
            (&agent, &agent_for_bert),
        ] {
            assert_eq!(theirs(&needed, asker, voter, &*all), Err(Refused::OwnRequest));
        }
        assert_eq!(theirs(&needed, &anna, &somebody("bert"), &*all), Ok(vec![0]));
        let none: Box<May> = Box::new(|_| false);
        assert_eq!(theirs(&needed, &anna, &somebody("bert"), &*none), Err(Refused::NotAsked));
    }

    /// The pair is the person: neither part can be stretched into the other.
    #[test]
    fn no_two_people_are_one() {
        let one = Person { issuer: "a|b".to_owned(), subject: "c".to_owned() };
        let other = Person { issuer: "a".to_owned(), subject: "b|c".to_owned() };
        assert_ne!(one, other);
    }
}
