//! Tokens of identity providers: signed JWTs (RFC 7519), read and checked, and made into
//! identities. Which providers there are and where their keys come from is asked elsewhere; the
//! time is passed in. No message here repeats anything of a token.
//!
//! Written by hand over aws-lc-rs: a JWT library would add its own parsers of keys and a
//! second list of algorithms, and still leave what is asked here (kinds of tokens, parties, claims
//! that are there twice, keys that belong to another algorithm) to be asked beside it.

mod algorithm;
mod claims;
mod discovery;
mod json;
mod keys;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use thiserror::Error;

pub use algorithm::Algorithm;
pub(crate) use algorithm::Family;
pub use claims::{Claim, Issuer, NotAClaim};
pub(crate) use claims::{GROUPS_MAX, SUBJECT_BYTES_MAX, VALUE_BYTES_MAX, is_plain};
pub use discovery::{Discovery, DiscoveryError, Endpoints, configuration_url};
pub(crate) use keys::rsa;
pub use keys::{KEY_SET_BYTES_MAX, KeySet, KeySetError};

use crate::Identity;

/// The longest token that is looked at. A token with some hundred groups stays below it.
pub const TOKEN_BYTES_MAX: usize = 16 << 10;

/// How far the issuer's clock may be from ours.
pub const SKEW_SECONDS: i64 = 30;

/// A token that has been read and proves nothing yet: whoever sent it may have made it up.
pub struct Token<'t> {
    /// What is signed: both parts as they came.
    signed: &'t [u8],
    signature: Vec<u8>,
    header: Header,
    claims: Map<String, Value>,
}

/// Who it is, as an issuer has signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    pub identity: Identity,
    /// Unix seconds; from then on the token proves nothing.
    pub expires: i64,
}

/// Why a token proves nothing. For logs and records: who sent it is not told.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum TokenError {
    #[error("it has more than {TOKEN_BYTES_MAX} bytes")]
    TooLong,
    #[error("it is not three parts in base64url")]
    NotCompact,
    #[error("its header is not what a header may be")]
    Header,
    #[error("its claims are not a JSON object, or have a name twice, or are nested too deep")]
    Claims,
    #[error("its algorithm is none that is allowed")]
    Algorithm,
    #[error("it has another token inside, or is encrypted")]
    Nested,
    #[error("its header makes a condition (`crit`) that is not understood")]
    Critical,
    #[error("its `typ` is that of another kind of token")]
    Type,
    #[error("it names no issuer")]
    NoIssuer,
    #[error("its issuer is none that the file names")]
    UnknownIssuer,
    #[error("the issuer has no key that it could be signed with")]
    UnknownKey,
    #[error("its signature is wrong")]
    Signature,
    #[error("its issuer is another one")]
    Issuer,
    #[error("it is for another audience")]
    Audience,
    #[error("it is for several audiences, and does not say to whom it was given")]
    NoParty,
    #[error("it was given to a party that the file does not name")]
    Party,
    #[error("it does not say when it ends")]
    NoEnd,
    #[error("it has expired")]
    Expired,
    #[error("it is not valid yet")]
    NotYet,
    #[error("it tells of an event and proves no identity")]
    Event,
    #[error("it is a token of Gatepost's own that has ended, or never was one")]
    NotGiven,
    #[error("it is bound to a key, which a password can't prove")]
    Bound,
    #[error("its subject is missing, too long or has control characters")]
    Subject,
    #[error("its groups are not texts, or too many, or kept elsewhere")]
    Groups,
    #[error("who acts for its subject (`act`) can't be read, or they are too many")]
    Actors,
    #[error("a claim that the file names is neither text nor number nor boolean, or too long")]
    Claim,
}

/// What of a header counts. Everything else in it is for others, above all the keys that a token
/// brings along (`jwk`, `x5c`) or points to (`jku`, `x5u`).
struct Header {
    algorithm: Option<Algorithm>,
    key: Option<String>,
}

/// What a provider may call a token that is a credential, without `application/`.
const TYPES: [&str; 2] = ["jwt", "at+jwt"];

impl<'t> Token<'t> {
    pub fn read(token: &'t [u8]) -> Result<Token<'t>, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLong);
        }
        let dots: Vec<usize> =
            (0..).zip(token).filter(|(_, b)| **b == b'.').map(|it| it.0).collect();
        let (first, second) = match dots.as_slice() {
            [first, second] => (*first, *second),
            // Five parts are an encrypted token.
            [_, _, _, _] => return Err(TokenError::Nested),
            _ => return Err(TokenError::NotCompact),
        };
        let part = |range: std::ops::Range<usize>| {
            let part = token.get(range).filter(|part| !part.is_empty());
            let decoded = part.and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
            decoded.ok_or(TokenError::NotCompact)
        };
        let header = part(0..first)?;
        let claims = part(first + 1..second)?;
        let signature = part(second + 1..token.len())?;
        Ok(Token {
            signed: token.get(..second).unwrap_or_default(),
            signature,
            header: read_header(&header)?,
            claims: json::object(&claims).ok_or(TokenError::Claims)?,
        })
    }

    /// Who it says has issued it: enough to know whose keys to ask.
    pub fn issuer(&self) -> Result<&str, TokenError> {
        self.text("iss").ok_or(TokenError::NoIssuer)
    }

    /// Whose it says it is, unproven: for who got it from the provider, and will be asked to prove it.
    pub fn subject(&self) -> Option<&str> {
        self.text("sub")
    }

    /// When it says it ends, in Unix seconds, unproven.
    pub fn expires(&self) -> Option<i64> {
        self.time("exp", TokenError::NoEnd).ok()?
    }

    /// Checks everything; `now` is in Unix seconds. [`TokenError::UnknownKey`] may be another answer
    /// once newer keys are fetched.
    pub fn prove(&self, issuer: &Issuer, keys: &KeySet, now: i64) -> Result<Proven, TokenError> {
        self.signature(issuer, keys)?;
        if self.issuer()? != issuer.url {
            return Err(TokenError::Issuer);
        }
        let expires = self.times(now)?;
        self.audience(issuer)?;
        // A security event or a logout (RFC 8417) is signed by the same keys.
        if self.claims.contains_key("events") {
            return Err(TokenError::Event);
        }
        // Proof of possession (RFC 7800): whoever stole it must not get in with it.
        if self.claims.contains_key("cnf") {
            return Err(TokenError::Bound);
        }
        Ok(Proven { identity: issuer.identity(&self.claims)?, expires })
    }

    fn signature(&self, issuer: &Issuer, keys: &KeySet) -> Result<(), TokenError> {
        let allowed = self.header.algorithm.filter(|it| issuer.algorithms.contains(it));
        let algorithm = allowed.ok_or(TokenError::Algorithm)?;
        let candidates = keys.candidates(self.header.key.as_deref(), algorithm);
        if candidates.is_empty() {
            return Err(TokenError::UnknownKey);
        }
        if candidates.iter().any(|key| key.verifies(algorithm, self.signed, &self.signature)) {
            return Ok(());
        }
        // Without a name it can't be told whether this was the key, or whether it was replaced.
        Err(match self.header.key {
            Some(_) => TokenError::Signature,
            None => TokenError::UnknownKey,
        })
    }

    /// When it ends.
    fn times(&self, now: i64) -> Result<i64, TokenError> {
        let expires = self.time("exp", TokenError::NoEnd)?.ok_or(TokenError::NoEnd)?;
        if expires.saturating_add(SKEW_SECONDS) <= now {
            return Err(TokenError::Expired);
        }
        for begins in ["nbf", "iat"] {
            let begins = self.time(begins, TokenError::NotYet)?;
            if begins.is_some_and(|begins| begins > now.saturating_add(SKEW_SECONDS)) {
                return Err(TokenError::NotYet);
            }
        }
        Ok(expires)
    }

    fn audience(&self, issuer: &Issuer) -> Result<(), TokenError> {
        let audiences = match self.claims.get("aud") {
            Some(Value::String(audience)) => vec![audience.as_str()],
            Some(Value::Array(several)) => {
                let texts: Option<Vec<&str>> = several.iter().map(Value::as_str).collect();
                texts.ok_or(TokenError::Audience)?
            }
            _ => return Err(TokenError::Audience),
        };
        if !audiences.iter().any(|it| issuer.audiences.iter().any(|ours| ours == it)) {
            return Err(TokenError::Audience);
        }
        // The same under two names: `azp` of OpenID Connect, `client_id` of RFC 9068.
        let named = ["azp", "client_id"].map(|claim| self.claims.get(claim));
        let parties: Option<Vec<&str>> = named.iter().flatten().map(|it| it.as_str()).collect();
        let parties = parties.ok_or(TokenError::Party)?;
        match &issuer.parties {
            // Whoever else it is for could come here with it.
            None if audiences.len() > 1 && parties.is_empty() => Err(TokenError::NoParty),
            None => Ok(()),
            Some(_) if parties.is_empty() => Err(TokenError::NoParty),
            Some(known) => match parties.iter().all(|it| known.iter().any(|own| own == it)) {
                true => Ok(()),
                false => Err(TokenError::Party),
            },
        }
    }

    fn text(&self, claim: &str) -> Option<&str> {
        self.claims.get(claim)?.as_str()
    }

    /// A NumericDate: seconds, with or without a fraction.
    fn time(&self, claim: &str, wrong: TokenError) -> Result<Option<i64>, TokenError> {
        match self.claims.get(claim) {
            None => Ok(None),
            Some(Value::Number(number)) => {
                // What is beyond an `i64` is as good as its end; `as` saturates.
                let seconds = number.as_i64().or_else(|| number.as_f64().map(|it| it as i64));
                seconds.map(Some).ok_or(wrong)
            }
            Some(_) => Err(wrong),
        }
    }
}

fn read_header(bytes: &[u8]) -> Result<Header, TokenError> {
    let header = json::object(bytes).ok_or(TokenError::Header)?;
    if ["enc", "zip", "cty"].iter().any(|name| header.contains_key(*name)) {
        return Err(TokenError::Nested);
    }
    if ["crit", "b64"].iter().any(|name| header.contains_key(*name)) {
        return Err(TokenError::Critical);
    }
    match header.get("typ") {
        None => {}
        Some(Value::String(kind)) => {
            let kind = kind.to_ascii_lowercase();
            let kind = kind.strip_prefix("application/").unwrap_or(&kind);
            if !TYPES.contains(&kind) {
                return Err(TokenError::Type);
            }
        }
        Some(_) => return Err(TokenError::Type),
    }
    let key = match header.get("kid") {
        None => None,
        Some(Value::String(key)) => Some(key.clone()),
        Some(_) => return Err(TokenError::Header),
    };
    let Some(Value::String(algorithm)) = header.get("alg") else {
        return Err(TokenError::Header);
    };
    Ok(Header { algorithm: Algorithm::named(algorithm), key })
}

#[cfg(test)]
mod tests;
