//! What an issuer says of a subject, and how the file reads it: which claim holds the groups, and
//! which claims come along under which names. What the file does not name stays behind.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use thiserror::Error;

use super::{Algorithm, TokenError};
use crate::{Actor, Identity};

/// Of a subject; OpenID Connect has 255 characters.
pub(crate) const SUBJECT_BYTES_MAX: usize = 1024;

/// Of the URL of somebody's issuer.
const ISSUER_BYTES_MAX: usize = 1024;

/// Of a group's name, and of a claim's value.
pub(crate) const VALUE_BYTES_MAX: usize = 1024;

/// Of one token.
pub(crate) const GROUPS_MAX: usize = 1024;

/// Between us and the subject: an agent, the service that runs it, and some more.
const ACTORS_MAX: usize = 8;

/// An identity provider as the file describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// As tokens have it in `iss`, byte for byte.
    pub url: String,
    /// A token has to be for one of them.
    pub audiences: Vec<String>,
    /// Whom a token may have been given to; `None` asks nobody.
    pub parties: Option<Vec<String>>,
    pub algorithms: Vec<Algorithm>,
    pub groups: Claim,
    /// By the name that policies use.
    pub claims: BTreeMap<String, Claim>,
}

/// Where in a token something stands: a claim's name, or a path to what is inside one, written as a
/// JSON pointer (RFC 6901).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim(String);

#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a claim is a name, or a path as in /realm_access/roles")]
pub struct NotAClaim;

impl Claim {
    pub fn new(written: &str) -> Result<Claim, NotAClaim> {
        let control = written.chars().any(char::is_control);
        let ends_early = written.ends_with('/');
        if written.is_empty() || control || (written.starts_with('/') && ends_early) {
            return Err(NotAClaim);
        }
        Ok(Claim(written.to_owned()))
    }

    pub(super) fn of<'v>(&self, claims: &'v Map<String, Value>) -> Option<&'v Value> {
        match self.0.strip_prefix('/') {
            None => claims.get(&self.0),
            Some(path) => {
                // The map itself is no value, so its own step is taken here.
                let (first, rest) = path.split_at(path.find('/').unwrap_or(path.len()));
                claims.get(&first.replace("~1", "/").replace("~0", "~"))?.pointer(rest)
            }
        }
    }

    /// The claim that it is, or is inside of.
    fn top(&self) -> &str {
        let path = self.0.strip_prefix('/');
        path.map_or(&*self.0, |path| path.split('/').next().unwrap_or_default())
    }
}

impl Issuer {
    pub(super) fn identity(&self, claims: &Map<String, Value>) -> Result<Identity, TokenError> {
        let subject = claims.get("sub").and_then(Value::as_str);
        let subject = subject.filter(|it| is_plain(it, SUBJECT_BYTES_MAX));
        let mut identity = Identity::new(&*self.url, subject.ok_or(TokenError::Subject)?);
        identity.groups = self.groups(claims)?;
        identity.actors = self.actors(claims)?;
        for (name, claim) in &self.claims {
            let value = match claim.of(claims) {
                None | Some(Value::Null) => continue,
                Some(Value::String(text)) if is_plain(text, VALUE_BYTES_MAX) => text.clone(),
                Some(value @ (Value::Bool(_) | Value::Number(_))) => value.to_string(),
                Some(_) => return Err(TokenError::Claim),
            };
            identity.claims.insert(name.clone(), value);
        }
        Ok(identity)
    }

    /// `act` is who acts now; inside it stands who acted before, and so on (RFC 8693, section 4.1).
    fn actors(&self, claims: &Map<String, Value>) -> Result<Vec<Actor>, TokenError> {
        let mut actors = Vec::new();
        let mut next = claims.get("act");
        while let Some(act) = next {
            let named = |claim: &str, bytes_max| match act.get(claim) {
                None => Ok(None),
                Some(Value::String(text)) if is_plain(text, bytes_max) => Ok(Some(text.clone())),
                Some(_) => Err(TokenError::Actors),
            };
            if actors.len() == ACTORS_MAX || !act.is_object() {
                return Err(TokenError::Actors);
            }
            actors.push(Actor {
                issuer: named("iss", ISSUER_BYTES_MAX)?.unwrap_or_else(|| self.url.clone()),
                subject: named("sub", SUBJECT_BYTES_MAX)?.ok_or(TokenError::Actors)?,
            });
            next = act.get("act");
        }
        Ok(actors)
    }

    fn groups(&self, claims: &Map<String, Value>) -> Result<Vec<String>, TokenError> {
        // Too many for the token, so they are to be asked for elsewhere (OpenID Connect's distributed
        // claims, Entra's overage). Without them a rule that binds a group would not bind.
        let elsewhere = claims.get("_claim_names").and_then(|it| it.get(self.groups.top()));
        if elsewhere.is_some() {
            return Err(TokenError::Groups);
        }
        let groups = match self.groups.of(claims) {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::String(group)) => vec![group.as_str()],
            Some(Value::Array(groups)) if groups.len() <= GROUPS_MAX => {
                let texts: Option<Vec<&str>> = groups.iter().map(Value::as_str).collect();
                texts.ok_or(TokenError::Groups)?
            }
            Some(_) => return Err(TokenError::Groups),
        };
        match groups.iter().all(|group| is_plain(group, VALUE_BYTES_MAX)) {
            true => Ok(groups.into_iter().map(str::to_owned).collect()),
            false => Err(TokenError::Groups),
        }
    }
}

pub(crate) fn is_plain(text: &str, bytes_max: usize) -> bool {
    !text.is_empty() && text.len() <= bytes_max && !text.chars().any(char::is_control)
}
