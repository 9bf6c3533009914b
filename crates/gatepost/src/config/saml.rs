//! Identity providers that speak SAML: their keys as they are written, and what these come to.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use gateway::fetch::WebAddress;
use gateway::settings;
use identity::saml::{Described, Key, METADATA_BYTES_MAX, Provider, SigningKey};
use schemars::JsonSchema;
use serde::Deserialize;

use super::file::PathText;
use super::issuers::{IssuerFile, SessionUntil};
use super::place::Position;
use super::policies::Texts;
use super::resolve::Resolver;
use super::shape::{At, present};

/// What a provider that speaks SAML 2.0 needs. Beside this key `url` is its entity ID, `audience` the
/// one that Gatepost has there, and `groups` and `claims` name attributes; `/saml/login` is where people
/// log in. See `docs/identity.md`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "saml", rename = "Saml")]
pub(crate) struct SamlFile {
    /// Where browsers find Gatepost's `http`, as in `https://gate.example.com:8443`. The provider sends
    /// them to `/saml/acs` below it.
    here: At<String>,

    /// The provider's description of itself (metadata): an XML file.
    #[serde(default, deserialize_with = "present")]
    metadata: Option<At<PathText>>,

    /// Without `metadata`: where the provider takes requests by HTTP-Redirect.
    #[serde(default, deserialize_with = "present")]
    sso: Option<At<String>>,

    /// Without `metadata`: the certificates that it may sign assertions with, as PEM files or as PEM
    /// itself. Nothing but their keys is looked at.
    #[serde(default, deserialize_with = "present")]
    certificates: Option<Texts>,

    /// The attribute that is the subject. Without this key the NameID is, which must not be a transient
    /// one then.
    #[serde(default, deserialize_with = "present")]
    subject: Option<At<String>>,

    /// What requests are signed with, for providers that want that.
    #[serde(default, deserialize_with = "present")]
    sign: Option<SignFile>,
}

/// A key of Gatepost's own, for this and nothing else.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "sign", rename = "Sign")]
struct SignFile {
    /// PEM file with the certificate that the provider knows it by.
    certificate: At<PathText>,
    /// PEM file with the private key (RSA).
    key: At<PathText>,
}

/// Of a file of keys or certificates.
const PEM_BYTES_MAX: usize = 256 << 10;

impl Resolver<'_> {
    pub(super) fn saml(&mut self, it: IssuerFile, saml: &SamlFile) -> Option<settings::Saml> {
        let out_of_place = [
            ("parties", it.parties.as_ref().and_then(|it| it.0.first()).map(|it| it.at)),
            ("algorithms", it.algorithms.as_ref().and_then(|it| it.0.first()).map(|it| it.at)),
            ("ca", it.ca.as_ref().map(|it| it.at)),
            ("keys_age_max", it.keys_age_max.at.map(Some)),
            ("login", it.login.as_ref().map(|it| it.client_id.at)),
            ("oauth", it.oauth.as_ref().map(|it| it.user.at)),
        ];
        for (key, at) in out_of_place {
            if let Some(at) = at {
                self.refuse::<()>(at, format!("`{key}` has no meaning beside `saml`"));
            }
        }
        self.filled(&it.url, "url");
        if it.url.value.contains('|') {
            self.refuse::<()>(it.url.at, "`url` can't have `|`");
        }
        let audience = match it.audience.0.as_slice() {
            [one] => {
                self.filled(one, "audience");
                Some(one.value.clone())
            }
            _ => self.refuse(
                it.url.at,
                "beside `saml`, `audience` is one: what Gatepost is called there",
            ),
        };
        let consumer = self.read(&saml.here, |here| match WebAddress::read(here) {
            Err(error) => Err(format!("`here`: {error}")),
            Ok(_) => Ok(format!("{}/saml/acs", here.trim_end_matches('/'))),
        });
        let described = self.described(&it.url, saml);
        let signs = saml.sign.as_ref().map(|sign| self.sign(sign));
        if let Some(subject) = &saml.subject {
            self.filled(subject, "subject");
        }
        self.filled(&it.groups, "groups");
        let mut claims = BTreeMap::new();
        for (name, attribute) in it.claims.0 {
            self.filled(&name, "claims");
            self.filled(&attribute, "claims");
            claims.insert(name.value, attribute.value);
        }
        let (sso, keys) = described?;
        Some(settings::Saml {
            provider: Provider {
                entity: it.url.value,
                sso,
                keys,
                audience: audience?,
                consumer: consumer?,
                signs: match signs {
                    None => None,
                    Some(read) => Some(read?),
                },
                subject: saml.subject.as_ref().map(|it| it.value.clone()),
                groups: it.groups.value,
                claims,
            },
            ends_with_token: it.session_until == SessionUntil::Expiry,
        })
    }

    /// Where requests go, and whose assertions are believed.
    fn described(&mut self, entity: &At<String>, saml: &SamlFile) -> Option<(String, Vec<Key>)> {
        let (sso, keys, at) = match (&saml.metadata, &saml.sso, &saml.certificates) {
            (Some(metadata), None, None) => {
                let text = self.text_of(metadata, METADATA_BYTES_MAX)?;
                let described = match Described::read(&text) {
                    Ok(described) => described,
                    Err(error) => return self.refuse(metadata.at, format!("`metadata`: {error}")),
                };
                if described.entity != entity.value {
                    let message = format!(
                        "`metadata` describes `{}`, and `url` names another one",
                        described.entity
                    );
                    return self.refuse(entity.at, message);
                }
                (described.sso, described.keys, metadata.at)
            }
            (None, Some(sso), Some(certificates)) => {
                (sso.value.clone(), self.certificates(sso.at, certificates)?, sso.at)
            }
            _ => {
                let message = "`saml` needs either `metadata`, or `sso` and `certificates`";
                return self.refuse(saml.here.at, message);
            }
        };
        match WebAddress::read(&sso) {
            Ok(_) => Some((sso, keys)),
            Err(error) => self.refuse(at, format!("the provider's address for requests: {error}")),
        }
    }

    fn certificates(&mut self, at: Option<Position>, written: &Texts) -> Option<Vec<Key>> {
        if written.0.is_empty() {
            return self.refuse(at, "`certificates` is an empty list");
        }
        let mut keys = Vec::new();
        for text in &written.0 {
            let pem = match text.value.contains("-----BEGIN") {
                true => text.value.clone(),
                false => {
                    let path = At { value: PathText(text.value.clone()), at: text.at };
                    self.text_of(&path, PEM_BYTES_MAX)?
                }
            };
            match Key::of_pem(&pem) {
                Ok(read) => keys.extend(read),
                Err(error) => return self.refuse(text.at, format!("`certificates`: {error}")),
            }
        }
        Some(keys)
    }

    fn sign(&mut self, written: &SignFile) -> Option<SigningKey> {
        let certificate = self.text_of(&written.certificate, PEM_BYTES_MAX);
        let key = self.text_of(&written.key, PEM_BYTES_MAX)?;
        match SigningKey::read(&key, &certificate?) {
            Ok(key) => Some(key),
            Err(error) => self.refuse(written.key.at, format!("`sign`: {error}")),
        }
    }

    fn text_of(&mut self, written: &At<PathText>, bytes_max: usize) -> Option<String> {
        let path = self.path(written);
        match read(&path, bytes_max) {
            Ok(text) => Some(text),
            Err(error) => self.refuse(written.at, format!("{}: {error}", path.display())),
        }
    }
}

fn read(path: &Path, bytes_max: usize) -> io::Result<String> {
    let mut text = String::new();
    let bound = u64::try_from(bytes_max).unwrap_or(u64::MAX);
    File::open(path)?.take(bound.saturating_add(1)).read_to_string(&mut text)?;
    match text.len() > bytes_max {
        true => Err(io::Error::other(format!("it has more than {bytes_max} bytes"))),
        false => Ok(text),
    }
}
