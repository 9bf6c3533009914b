//! Who somebody is, as far as requests and holds have to know: enough to find the requester's own
//! grants, to count each person once, and to let nobody approve their own. Whether somebody may
//! decide is `policy`'s to say.

use std::collections::BTreeMap;
use std::fmt;

/// One person or workload: the pair, never a text made of both, because a subject may hold any
/// character that would stand between them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Person {
    pub issuer: String,
    pub subject: String,
}

/// Somebody with all that was proven of them at the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub person: Person,
    /// The name of a local identity.
    pub name: Option<String>,
    pub groups: Vec<String>,
    pub claims: BTreeMap<String, String>,
    /// Who acts for the person, the nearest to us first.
    pub actors: Vec<Person>,
}

impl Identity {
    /// Whether what `other` asks for is this one's own: asked by them, for them, or through them.
    pub fn is_behind(&self, other: &Identity) -> bool {
        self.person == other.person
            || other.actors.contains(&self.person)
            || self.actors.contains(&other.person)
    }
}

impl fmt::Display for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}|{}", self.issuer, self.subject)
    }
}
