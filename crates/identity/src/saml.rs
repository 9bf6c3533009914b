//! SAML 2.0, web browser single sign-on: what Gatepost says to an identity provider, and what a
//! response of one proves. Whose browser it came from, and that no response is used twice, is asked
//! elsewhere; the time is passed in. No message here repeats anything of a response.
//!
//! Every forgery of the last years lived between two readings of one document: one tree was verified,
//! another one read. Here a signature gives back the canonical text that it was made over
//! ([`signature::Signed`]), and `assertion` reads that text and nothing else; of the document it came in
//! nothing is believed. Written by hand over roxmltree and aws-lc-rs: a library of XML signatures brings
//! transforms, key lookups and algorithms, each of which would have to be switched off again.

mod assertion;
mod canonical;
mod key;
mod metadata;
mod request;
mod signature;
mod ticket;
mod time;
mod tree;

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use roxmltree::{Document, Node};
use thiserror::Error;

pub use key::{Key, KeyError, SigningKey};
pub use metadata::{Described, METADATA_BYTES_MAX, MetadataError};
pub use ticket::{Back, NotALoopback, Ticket};

use crate::Identity;
use tree::{Named, PROTOCOL};

/// The longest response that is looked at, as XML. One with a thousand groups stays below it.
pub const RESPONSE_BYTES_MAX: usize = 256 << 10;

/// How long an assertion may be good for. It is remembered for as long.
pub const ASSERTION_SECONDS_MAX: i64 = 24 * 3600;

/// An identity provider, and what Gatepost is to it.
#[derive(Debug)]
pub struct Provider {
    /// Its entity ID, byte for byte.
    pub entity: String,
    /// Where it takes requests (HTTP-Redirect).
    pub sso: String,
    /// What its assertions are signed with: any of them.
    pub keys: Vec<Key>,
    /// Our entity ID, which its assertions have as their audience.
    pub audience: String,
    /// Where it sends responses.
    pub consumer: String,
    /// What our requests are signed with.
    pub signs: Option<SigningKey>,
    /// The attribute that is the subject; `None` is the NameID.
    pub subject: Option<String>,
    /// The attribute that holds the groups.
    pub groups: String,
    /// Attributes by the names that policies use.
    pub claims: BTreeMap<String, String>,
}

impl Provider {
    /// One of our own pages, beside the one that takes responses.
    pub fn page(&self, name: &str) -> String {
        let directory = self.consumer.rsplit_once('/').map_or(&*self.consumer, |it| it.0);
        format!("{directory}/{name}")
    }
}

/// What a response proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub identity: Identity,
    /// The request that it answers; see [`Ticket::name`].
    pub request: String,
    /// The name of the assertion, which its issuer gives no other one.
    pub assertion: String,
    /// Unix seconds; from then on the assertion proves nothing to anybody.
    pub expires: i64,
    /// When the provider's own session ends, if it says so.
    pub session_ends: Option<i64>,
}

/// Why a response proves nothing. For logs and records: who sent it is not told.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum SamlError {
    #[error("it has more than {RESPONSE_BYTES_MAX} bytes")]
    TooLong,
    #[error("it is not base64 of UTF-8")]
    NotEncoded,
    #[error("it has a DTD, a comment, CDATA or a processing instruction")]
    Markup,
    #[error("it is not well-formed XML")]
    NotXml,
    #[error("it is nested too deep, or has too many elements")]
    TooDeep,
    #[error("two elements have the same ID")]
    DoubledId,
    #[error("it is not a SAML 2.0 response of the expected form")]
    NotAResponse,
    #[error("it is for another address (`Destination`)")]
    Destination,
    #[error("it names no issuer")]
    NoIssuer,
    #[error("its issuer is none that the file names")]
    UnknownIssuer,
    #[error("the provider says that the login has failed")]
    Failed,
    #[error("its assertion is encrypted, which is not supported: let the provider sign it only")]
    Encrypted,
    #[error("it has no assertion, or more than one")]
    NotOneAssertion,
    #[error(
        "its assertion is not signed itself: let the provider sign assertions, not only responses"
    )]
    NotSigned,
    #[error("its signature is not of the only form that is taken")]
    SignatureForm,
    #[error("its signature is by an algorithm that is not taken")]
    Algorithm,
    #[error("its signature is not by a key that the file names")]
    Signature,
    #[error("what is signed is something else (digest)")]
    Digest,
    #[error("its assertion is not of the expected form")]
    Assertion,
    #[error("its issuer is another one")]
    Issuer,
    #[error("it is for another audience")]
    Audience,
    #[error("a condition in it is not understood")]
    Condition,
    #[error("its subject is not confirmed for this address (bearer, `Recipient`)")]
    Recipient,
    #[error("it answers no request, or another one (`InResponseTo`)")]
    InResponseTo,
    #[error("it does not say when it ends, or is good for too long")]
    NoEnd,
    #[error("it has expired")]
    Expired,
    #[error("it is not valid yet")]
    NotYet,
    #[error("its subject is missing, for one time only (transient), another party's, or too long")]
    Subject,
    #[error("its groups are too many, too long or kept elsewhere")]
    Groups,
    #[error("an attribute that the file names has several values, or is not a plain text")]
    Attribute,
}

/// The XML of a response as a browser posts it.
pub fn decode(posted: &str) -> Result<String, SamlError> {
    // A quarter more than what it holds; line breaks are allowed for.
    if posted.len() > RESPONSE_BYTES_MAX / 2 * 3 {
        return Err(SamlError::TooLong);
    }
    let bytes = STANDARD.decode(without_space(posted)).map_err(|_| SamlError::NotEncoded)?;
    String::from_utf8(bytes).map_err(|_| SamlError::NotEncoded)
}

fn without_space(text: &str) -> String {
    text.chars().filter(|it| !it.is_ascii_whitespace()).collect()
}

/// A response that has been read and proves nothing yet: whoever sent it may have made it up.
pub struct Response<'t> {
    document: Document<'t>,
}

impl<'t> Response<'t> {
    pub fn read(text: &'t str) -> Result<Response<'t>, SamlError> {
        if text.len() > RESPONSE_BYTES_MAX {
            return Err(SamlError::TooLong);
        }
        let document = tree::parse(text)?;
        tree::has_distinct_ids(&document)?;
        if !document.root_element().is(PROTOCOL, "Response") {
            return Err(SamlError::NotAResponse);
        }
        Ok(Response { document })
    }

    /// Who its assertion says has issued it: enough to know whose keys to take.
    pub fn issuer(&self) -> Result<&str, SamlError> {
        let issuer = tree::only(self.assertion()?, tree::ASSERTION, "Issuer")?;
        tree::text(issuer.ok_or(SamlError::NoIssuer)?).ok_or(SamlError::NoIssuer)
    }

    /// Checks everything but that it has not been used before, and whose browser has begun this;
    /// `now` is in Unix seconds.
    pub fn prove(&self, provider: &Provider, now: i64) -> Result<Answer, SamlError> {
        let answers = self.envelope(provider)?;
        let signed = signature::verify(self.assertion()?, &provider.keys)?;
        let answer = assertion::read(&signed, provider, now)?;
        match answers.is_none_or(|request| request == answer.request) {
            true => Ok(answer),
            false => Err(SamlError::InResponseTo),
        }
    }

    /// The one assertion: there is no other anywhere in the document.
    fn assertion(&self) -> Result<Node<'_, 't>, SamlError> {
        let root = self.document.root_element();
        let mut all = self.document.descendants().filter(|it| it.is_element());
        if all.any(|it| it.is(tree::ASSERTION, "EncryptedAssertion")) {
            return Err(SamlError::Encrypted);
        }
        let all = self.document.descendants().filter(|it| it.is_element());
        let mut assertions = all.filter(|it| it.tag_name().name() == "Assertion");
        match (assertions.next(), assertions.next()) {
            (Some(one), None) if one.is(tree::ASSERTION, "Assertion") => {
                let is_here = one.parent_element().is_some_and(|parent| parent == root);
                is_here.then_some(one).ok_or(SamlError::NotAResponse)
            }
            _ => Err(SamlError::NotOneAssertion),
        }
    }

    /// What stands around the assertion. Nobody has signed it, unless it has a signature of its own,
    /// so it can only be a reason to refuse. The request that it says it answers.
    fn envelope(&self, provider: &Provider) -> Result<Option<&str>, SamlError> {
        let root = self.document.root_element();
        if root.own("Version") != Some("2.0") {
            return Err(SamlError::NotAResponse);
        }
        if root.own("Destination") != Some(&*provider.consumer) {
            return Err(SamlError::Destination);
        }
        let known = |it: &Node<'_, '_>| {
            it.is(tree::ASSERTION, "Issuer")
                || it.is(tree::SIGNATURE, "Signature")
                || it.is(PROTOCOL, "Status")
                || it.is(tree::ASSERTION, "Assertion")
                || it.is(tree::ASSERTION, "EncryptedAssertion")
        };
        if !root.children().filter(Node::is_element).all(|it| known(&it)) {
            return Err(SamlError::NotAResponse);
        }
        if let Some(issuer) = tree::only(root, tree::ASSERTION, "Issuer")?
            && tree::text(issuer) != Some(&*provider.entity)
        {
            return Err(SamlError::Issuer);
        }
        let status = tree::only(root, PROTOCOL, "Status")?.ok_or(SamlError::NotAResponse)?;
        let code = tree::only(status, PROTOCOL, "StatusCode")?.ok_or(SamlError::NotAResponse)?;
        if code.own("Value") != Some("urn:oasis:names:tc:SAML:2.0:status:Success") {
            return Err(SamlError::Failed);
        }
        if tree::only(root, tree::SIGNATURE, "Signature")?.is_some() {
            signature::verify(root, &provider.keys)?;
        }
        Ok(root.own("InResponseTo"))
    }
}

#[cfg(test)]
mod tests;
