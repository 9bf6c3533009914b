//! What an assertion says, read from the text that was signed, and whether it may be believed here and
//! now (SAML 2.0 profiles, 4.1.4.3; core, 2.5).

use std::collections::BTreeMap;

use roxmltree::Node;

use super::signature::Signed;
use super::tree::{self, ASSERTION, Named};
use super::{ASSERTION_SECONDS_MAX, Answer, Provider, SamlError, time};
use crate::Identity;
use crate::oidc::{GROUPS_MAX, SKEW_SECONDS, SUBJECT_BYTES_MAX, VALUE_BYTES_MAX, is_plain};

/// Of the name of an assertion and of a request.
const ID_BYTES_MAX: usize = 256;

const BEARER: &str = "urn:oasis:names:tc:SAML:2.0:cm:bearer";
const TRANSIENT: &str = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient";

/// Entra sends this in the place of groups that are too many for it.
const GROUPS_ELSEWHERE: &str = "http://schemas.microsoft.com/claims/groups.link";

pub(super) fn read(signed: &Signed, provider: &Provider, now: i64) -> Result<Answer, SamlError> {
    let document = tree::parse(signed.text())?;
    let assertion = document.root_element();
    if !assertion.is(ASSERTION, "Assertion") || assertion.own("Version") != Some("2.0") {
        return Err(SamlError::Assertion);
    }
    let id = assertion.own("ID").filter(|id| is_plain(id, ID_BYTES_MAX));
    let id = id.ok_or(SamlError::Assertion)?;
    let issuer = one(assertion, "Issuer", SamlError::Issuer)?;
    if tree::text(issuer) != Some(&*provider.entity) {
        return Err(SamlError::Issuer);
    }
    let issued = instant(assertion, "IssueInstant")?.ok_or(SamlError::Assertion)?;
    if issued > now.saturating_add(SKEW_SECONDS) {
        return Err(SamlError::NotYet);
    }
    let until_conditions = conditions(assertion, provider, now)?;
    let subject = one(assertion, "Subject", SamlError::Subject)?;
    let (request, until) = confirmation(subject, provider, now)?;
    let session_ends = session(assertion, now)?;
    let said = attributes(assertion)?;
    Ok(Answer {
        identity: identity(subject, &said, provider)?,
        request,
        assertion: id.to_owned(),
        expires: until_conditions.map_or(until, |it| it.min(until)) + SKEW_SECONDS,
        session_ends,
    })
}

/// Until when they hold, if they say so.
fn conditions(
    assertion: Node<'_, '_>,
    provider: &Provider,
    now: i64,
) -> Result<Option<i64>, SamlError> {
    let conditions = one(assertion, "Conditions", SamlError::Audience)?;
    let until = window(conditions, now)?;
    let mut audiences = 0;
    for condition in conditions.children().filter(Node::is_element) {
        if condition.is(ASSERTION, "AudienceRestriction") {
            // Each restricts by itself.
            audiences += 1;
            let named = condition.children().filter(|it| it.is(ASSERTION, "Audience"));
            if !named.into_iter().any(|it| tree::text(it) == Some(&*provider.audience)) {
                return Err(SamlError::Audience);
            }
        } else if !condition.is(ASSERTION, "OneTimeUse")
            && !condition.is(ASSERTION, "ProxyRestriction")
        {
            // Nothing is used twice here, and no assertions are made out of others.
            return Err(SamlError::Condition);
        }
    }
    if audiences == 0 { Err(SamlError::Audience) } else { Ok(until) }
}

/// The request that the subject is confirmed for, and until when.
fn confirmation(
    subject: Node<'_, '_>,
    provider: &Provider,
    now: i64,
) -> Result<(String, i64), SamlError> {
    let confirmation = one(subject, "SubjectConfirmation", SamlError::Recipient)?;
    if confirmation.own("Method") != Some(BEARER) {
        return Err(SamlError::Recipient);
    }
    let data = one(confirmation, "SubjectConfirmationData", SamlError::Recipient)?;
    if data.own("Recipient") != Some(&*provider.consumer) {
        return Err(SamlError::Recipient);
    }
    let until = window(data, now)?.ok_or(SamlError::NoEnd)?;
    if until > now.saturating_add(ASSERTION_SECONDS_MAX) {
        return Err(SamlError::NoEnd);
    }
    let request = data.own("InResponseTo").filter(|it| is_plain(it, ID_BYTES_MAX));
    Ok((request.ok_or(SamlError::InResponseTo)?.to_owned(), until))
}

/// `NotBefore` and `NotOnOrAfter`: the latter, if there is one.
fn window(of: Node<'_, '_>, now: i64) -> Result<Option<i64>, SamlError> {
    let begins = instant(of, "NotBefore")?;
    if begins.is_some_and(|begins| begins > now.saturating_add(SKEW_SECONDS)) {
        return Err(SamlError::NotYet);
    }
    let ends = instant(of, "NotOnOrAfter")?;
    if ends.is_some_and(|ends| ends.saturating_add(SKEW_SECONDS) <= now) {
        return Err(SamlError::Expired);
    }
    Ok(ends)
}

/// That somebody has logged in, and until when that counts, if it says so.
fn session(assertion: Node<'_, '_>, now: i64) -> Result<Option<i64>, SamlError> {
    let statements = assertion.children().filter(|it| it.is(ASSERTION, "AuthnStatement"));
    let mut ends = None;
    let mut seen = false;
    for statement in statements {
        seen = true;
        if let Some(end) = instant(statement, "SessionNotOnOrAfter")? {
            ends = Some(ends.map_or(end, |before: i64| before.min(end)));
        }
    }
    if !seen {
        return Err(SamlError::Assertion);
    }
    if ends.is_some_and(|ends| ends <= now) {
        return Err(SamlError::Expired);
    }
    Ok(ends)
}

/// The values of each attribute. Some providers send one attribute several times with a value each.
type Attributes<'a> = BTreeMap<&'a str, Vec<Node<'a, 'a>>>;

fn attributes<'a>(assertion: Node<'a, 'a>) -> Result<Attributes<'a>, SamlError> {
    let mut attributes = Attributes::new();
    let statements = assertion.children().filter(|it| it.is(ASSERTION, "AttributeStatement"));
    for attribute in statements.flat_map(|it| it.children()).filter(Node::is_element) {
        if attribute.is(ASSERTION, "EncryptedAttribute") {
            return Err(SamlError::Encrypted);
        }
        let name = attribute.own("Name").filter(|_| attribute.is(ASSERTION, "Attribute"));
        let values = attributes.entry(name.ok_or(SamlError::Assertion)?).or_default();
        values.extend(attribute.children().filter(|it| it.is(ASSERTION, "AttributeValue")));
    }
    Ok(attributes)
}

fn identity(
    subject: Node<'_, '_>,
    said: &Attributes<'_>,
    provider: &Provider,
) -> Result<Identity, SamlError> {
    let name = match &provider.subject {
        None => name_id(subject, provider)?.to_owned(),
        Some(attribute) => single(said, attribute)?.ok_or(SamlError::Subject)?.to_owned(),
    };
    if !is_plain(&name, SUBJECT_BYTES_MAX) {
        return Err(SamlError::Subject);
    }
    let mut identity = Identity::new(&*provider.entity, name);
    if said.contains_key(GROUPS_ELSEWHERE) {
        return Err(SamlError::Groups);
    }
    for value in said.get(&*provider.groups).into_iter().flatten() {
        match tree::text(*value) {
            Some("") => {}
            Some(group)
                if is_plain(group, VALUE_BYTES_MAX) && identity.groups.len() < GROUPS_MAX =>
            {
                identity.groups.push(group.to_owned());
            }
            _ => return Err(SamlError::Groups),
        }
    }
    for (claim, attribute) in &provider.claims {
        if let Some(value) = single(said, attribute)? {
            identity.claims.insert(claim.clone(), value.to_owned());
        }
    }
    Ok(identity)
}

/// Qualified by others than the provider and us it would name somebody else.
fn name_id<'a>(subject: Node<'a, '_>, provider: &Provider) -> Result<&'a str, SamlError> {
    let name = one(subject, "NameID", SamlError::Subject)?;
    let is_ours = name.own("Format") != Some(TRANSIENT)
        && name.own("NameQualifier").is_none_or(|it| it == provider.entity)
        && name.own("SPNameQualifier").is_none_or(|it| it == provider.audience);
    tree::text(name).filter(|_| is_ours).ok_or(SamlError::Subject)
}

/// The one value of an attribute, if it has any.
fn single<'a>(said: &Attributes<'a>, attribute: &str) -> Result<Option<&'a str>, SamlError> {
    match said.get(attribute).map(Vec::as_slice) {
        None | Some([]) => Ok(None),
        Some([value]) => {
            let text = tree::text(*value).ok_or(SamlError::Attribute)?;
            match text.is_empty() || is_plain(text, VALUE_BYTES_MAX) {
                true => Ok(Some(text).filter(|text| !text.is_empty())),
                false => Err(SamlError::Attribute),
            }
        }
        Some(_) => Err(SamlError::Attribute),
    }
}

/// The child of this name, of which there has to be one.
fn one<'a, 't>(
    parent: Node<'a, 't>,
    name: &str,
    wrong: SamlError,
) -> Result<Node<'a, 't>, SamlError> {
    tree::only(parent, ASSERTION, name).ok().flatten().ok_or(wrong)
}

fn instant(of: Node<'_, '_>, name: &str) -> Result<Option<i64>, SamlError> {
    match of.own(name) {
        None => Ok(None),
        Some(text) => time::read(text).map(Some).ok_or(SamlError::Assertion),
    }
}
