//! Credentials become identities. This crate knows what proves an identity: SCRAM exchanges and the
//! channel they are bound to, tokens of our own, tokens and assertions that identity providers sign.
//! It opens no file and no socket and reads no clock;
//! where verifiers are kept is the business of `access`, and who may do what is decided elsewhere.

pub mod bearer;
pub mod endpoint;
pub mod oidc;
pub mod saml;
pub mod scram;
pub mod token;

mod der;
mod random;

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};

pub use random::NoRandomness;

/// A proven subject. Two issuers can give the same name to different subjects, so a subject means
/// nothing without its issuer.
#[derive(Clone, Debug)]
pub struct Identity {
    pub issuer: String,
    pub subject: String,
    /// What else is known of it. It says what the subject may do, not which one it is.
    pub groups: Vec<String>,
    pub claims: BTreeMap<String, String>,
    /// Who acts for the subject, the nearest to us first.
    pub actors: Vec<Actor>,
}

/// Somebody who acts for somebody else, as the issuer says (RFC 8693).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    pub issuer: String,
    pub subject: String,
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.issuer == other.issuer && self.subject == other.subject
    }
}

impl Eq for Identity {}

impl Hash for Identity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.issuer.hash(state);
        self.subject.hash(state);
    }
}

impl Identity {
    /// The issuer of identities that Gatepost itself keeps.
    pub const LOCAL_ISSUER: &str = "gatepost";

    /// An identity that Gatepost itself keeps, by its name.
    pub fn local(name: impl Into<String>) -> Self {
        Self::new(Self::LOCAL_ISSUER, name)
    }

    pub fn new(issuer: impl Into<String>, subject: impl Into<String>) -> Self {
        Identity {
            issuer: issuer.into(),
            subject: subject.into(),
            groups: Vec::new(),
            claims: BTreeMap::new(),
            actors: Vec::new(),
        }
    }

    /// The name of an identity that Gatepost itself keeps.
    pub fn local_name(&self) -> Option<&str> {
        (self.issuer == Self::LOCAL_ISSUER).then_some(&*self.subject)
    }
}

/// A local identity by its name, every other as `issuer|subject`: as policies spell them. A local
/// name that could be taken for the second form is written out.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.issuer == Self::LOCAL_ISSUER && !self.subject.contains('|') {
            f.write_str(&self.subject)
        } else {
            write!(f, "{}|{}", self.issuer, self.subject)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_read_as_policies_spell_them() {
        assert_eq!(Identity::local("agent-7").to_string(), "agent-7");
        let foreign = Identity::new("https://idp", "agent-7");
        assert_eq!(foreign.to_string(), "https://idp|agent-7");
        let forged = Identity::local("https://idp|agent-7");
        assert_ne!(forged.to_string(), foreign.to_string());
        assert_ne!(forged, foreign);
    }
}
