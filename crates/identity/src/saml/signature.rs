//! XML signatures (https://www.w3.org/TR/xmldsig-core1/) in the one form that SAML needs: enveloped by
//! the very element that is signed, exclusive canonicalization, one reference, a key that is known
//! beforehand. Everything else is refused, whatever it would mean.

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use roxmltree::Node;

use super::canonical::canonical;
use super::key::Key;
use super::tree::{self, Named, SIGNATURE};
use super::{SamlError, without_space};
use crate::oidc::Algorithm;

const EXCLUSIVE: &str = "http://www.w3.org/2001/10/xml-exc-c14n#";
const ENVELOPED: &str = "http://www.w3.org/2000/09/xmldsig#enveloped-signature";

/// No SHA-1, no HMAC: they aren't here.
const SIGNATURES: &[(&str, Algorithm)] = &[
    ("http://www.w3.org/2001/04/xmldsig-more#rsa-sha256", Algorithm::Rs256),
    ("http://www.w3.org/2001/04/xmldsig-more#rsa-sha384", Algorithm::Rs384),
    ("http://www.w3.org/2001/04/xmldsig-more#rsa-sha512", Algorithm::Rs512),
    ("http://www.w3.org/2007/05/xmldsig-more#sha256-rsa-MGF1", Algorithm::Ps256),
    ("http://www.w3.org/2007/05/xmldsig-more#sha384-rsa-MGF1", Algorithm::Ps384),
    ("http://www.w3.org/2007/05/xmldsig-more#sha512-rsa-MGF1", Algorithm::Ps512),
    ("http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256", Algorithm::Es256),
    ("http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384", Algorithm::Es384),
    ("http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha512", Algorithm::Es512),
];

const DIGESTS: &[(&str, &digest::Algorithm)] = &[
    ("http://www.w3.org/2001/04/xmlenc#sha256", &digest::SHA256),
    ("http://www.w3.org/2001/04/xmldsig-more#sha384", &digest::SHA384),
    ("http://www.w3.org/2001/04/xmlenc#sha512", &digest::SHA512),
];

/// The canonical text that somebody has signed. Only [`verify`] makes one.
pub(super) struct Signed(String);

impl Signed {
    pub(super) fn text(&self) -> &str {
        &self.0
    }
}

/// Verifies the signature that stands in `element` and signs it.
pub(super) fn verify(element: Node<'_, '_>, keys: &[Key]) -> Result<Signed, SamlError> {
    let id = element.own("ID").filter(|id| !id.is_empty()).ok_or(SamlError::SignatureForm)?;
    let signature = form(tree::only(element, SIGNATURE, "Signature"))?;
    let signature = signature.ok_or(SamlError::NotSigned)?;
    let (info, value) = parts(signature)?;

    // What the signature says of itself is believed only as it was signed. This list alone is taken
    // from the document: another one makes another text, and that has no signature.
    let method = form(tree::only(info, SIGNATURE, "CanonicalizationMethod"))?;
    let inclusive = prefixes(method.ok_or(SamlError::SignatureForm)?)?;
    let text = canonical(info, None, &inclusive).ok_or(SamlError::SignatureForm)?;
    let document = tree::parse(&text).map_err(|_| SamlError::SignatureForm)?;
    let says = Says::read(document.root_element(), id)?;
    let algorithm = says.algorithm;
    if !keys.iter().any(|key| key.verifies(algorithm, text.as_bytes(), &value)) {
        return Err(SamlError::Signature);
    }

    let signed = canonical(element, Some(signature.id()), &says.inclusive);
    let signed = signed.ok_or(SamlError::SignatureForm)?;
    match digest::digest(says.digest, signed.as_bytes()).as_ref() == says.value {
        true => Ok(Signed(signed)),
        false => Err(SamlError::Digest),
    }
}

/// SignedInfo, and the bytes of SignatureValue. KeyInfo may stand there and is not looked at; an
/// Object, where something else could hide, may not.
fn parts<'a, 't>(signature: Node<'a, 't>) -> Result<(Node<'a, 't>, Vec<u8>), SamlError> {
    let children: Vec<Node<'_, '_>> = signature.children().filter(Node::is_element).collect();
    let (info, value) = match children.as_slice() {
        [info, value] => (info, value),
        [info, value, key] if key.is(SIGNATURE, "KeyInfo") => (info, value),
        _ => return Err(SamlError::SignatureForm),
    };
    if !info.is(SIGNATURE, "SignedInfo") || !value.is(SIGNATURE, "SignatureValue") {
        return Err(SamlError::SignatureForm);
    }
    Ok((*info, bytes(*value)?))
}

/// What SignedInfo says.
struct Says<'d> {
    algorithm: Algorithm,
    digest: &'static digest::Algorithm,
    value: Vec<u8>,
    /// Of the canonicalization of what is signed.
    inclusive: Vec<&'d str>,
}

impl<'d> Says<'d> {
    fn read(info: Node<'d, '_>, id: &str) -> Result<Says<'d>, SamlError> {
        let children: Vec<Node<'_, '_>> = info.children().filter(Node::is_element).collect();
        let [canonicalization, method, reference] = children.as_slice() else {
            return Err(SamlError::SignatureForm);
        };
        let is_so = canonicalization.is(SIGNATURE, "CanonicalizationMethod")
            && canonicalization.own("Algorithm") == Some(EXCLUSIVE)
            && method.is(SIGNATURE, "SignatureMethod")
            && method.first_element_child().is_none()
            && reference.is(SIGNATURE, "Reference")
            && reference.own("URI").and_then(|uri| uri.strip_prefix('#')) == Some(id);
        if !is_so {
            return Err(SamlError::SignatureForm);
        }
        let algorithm = named(SIGNATURES, *method)?;

        let children: Vec<Node<'_, '_>> = reference.children().filter(Node::is_element).collect();
        let [transforms, digest, value] = children.as_slice() else {
            return Err(SamlError::SignatureForm);
        };
        let steps: Vec<Node<'_, '_>> = transforms.children().filter(Node::is_element).collect();
        let [enveloped, exclusive] = steps.as_slice() else {
            return Err(SamlError::SignatureForm);
        };
        let is_so = transforms.is(SIGNATURE, "Transforms")
            && steps.iter().all(|it| it.is(SIGNATURE, "Transform"))
            && enveloped.own("Algorithm") == Some(ENVELOPED)
            && enveloped.first_element_child().is_none()
            && exclusive.own("Algorithm") == Some(EXCLUSIVE)
            && digest.is(SIGNATURE, "DigestMethod")
            && digest.first_element_child().is_none()
            && value.is(SIGNATURE, "DigestValue");
        if !is_so {
            return Err(SamlError::SignatureForm);
        }
        Ok(Says {
            algorithm,
            digest: named(DIGESTS, *digest)?,
            value: bytes(*value)?,
            inclusive: prefixes(*exclusive)?,
        })
    }
}

/// The prefixes that an exclusive canonicalization declares all the same; nothing else may be in it, nor
/// `#default`, which libraries disagree about.
fn prefixes<'d>(method: Node<'d, '_>) -> Result<Vec<&'d str>, SamlError> {
    let children: Vec<Node<'_, '_>> = method.children().filter(Node::is_element).collect();
    match children.as_slice() {
        [] => Ok(Vec::new()),
        [list] if list.is(EXCLUSIVE, "InclusiveNamespaces") => {
            let list = list.own("PrefixList").ok_or(SamlError::SignatureForm)?;
            let list: Vec<&str> = list.split_ascii_whitespace().collect();
            match list.contains(&"#default") {
                true => Err(SamlError::SignatureForm),
                false => Ok(list),
            }
        }
        _ => Err(SamlError::SignatureForm),
    }
}

fn named<T: Copy>(known: &[(&str, T)], method: Node<'_, '_>) -> Result<T, SamlError> {
    let uri = method.own("Algorithm").ok_or(SamlError::SignatureForm)?;
    let found = known.iter().find(|it| it.0 == uri);
    found.map(|it| it.1).ok_or(SamlError::Algorithm)
}

fn bytes(element: Node<'_, '_>) -> Result<Vec<u8>, SamlError> {
    let text = tree::text(element).ok_or(SamlError::SignatureForm)?;
    STANDARD.decode(without_space(text)).map_err(|_| SamlError::SignatureForm)
}

fn form<T>(read: Result<T, SamlError>) -> Result<T, SamlError> {
    read.map_err(|_| SamlError::SignatureForm)
}
