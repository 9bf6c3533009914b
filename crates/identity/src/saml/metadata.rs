//! Descriptions (SAML 2.0 metadata): ours, for a provider to read, and a provider's, out of the file
//! that an administrator got from it. That file is trusted as the configuration is.

use roxmltree::{Document, Node, ParsingOptions};
use thiserror::Error;

use super::Provider;
use super::canonical::escaped;
use super::key::{Key, KeyError};
use super::tree::{self, Named, PROTOCOL, SIGNATURE};

const METADATA: &str = "urn:oasis:names:tc:SAML:2.0:metadata";
const REDIRECT: &str = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect";

/// The longest file that is read; those of a single provider have some 10 kB.
pub const METADATA_BYTES_MAX: usize = 1 << 20;

/// Elements and texts in it.
const NODES_MAX: u32 = 50_000;

/// A provider as it describes itself.
#[derive(Debug)]
pub struct Described {
    pub entity: String,
    pub sso: String,
    pub keys: Vec<Key>,
}

#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum MetadataError {
    #[error("it has more than {METADATA_BYTES_MAX} bytes")]
    TooLong,
    #[error("it is not well-formed XML, or has a DTD")]
    NotXml,
    #[error("it is not the description of one provider (EntityDescriptor with IDPSSODescriptor)")]
    NotAProvider,
    #[error("it names no address for requests by HTTP-Redirect")]
    NoAddress,
    #[error("it has no certificate that responses are signed with")]
    NoKey,
    #[error("a certificate in it can't be used: {0}")]
    Key(#[from] KeyError),
}

impl Described {
    pub fn read(text: &str) -> Result<Described, MetadataError> {
        if text.len() > METADATA_BYTES_MAX {
            return Err(MetadataError::TooLong);
        }
        let options = ParsingOptions { nodes_limit: NODES_MAX, ..ParsingOptions::default() };
        let text = text.trim_start_matches('\u{feff}');
        let document = Document::parse_with_options(text, options);
        let document = document.map_err(|_| MetadataError::NotXml)?;
        let root = document.root_element();
        let entity = root.own("entityID").filter(|_| root.is(METADATA, "EntityDescriptor"));
        let role = tree::only(root, METADATA, "IDPSSODescriptor").ok().flatten();
        let (Some(entity), Some(role)) = (entity, role) else {
            return Err(MetadataError::NotAProvider);
        };
        let mut services = role.children().filter(|it| it.is(METADATA, "SingleSignOnService"));
        let sso = services.find(|it| it.own("Binding") == Some(REDIRECT));
        let sso = sso.and_then(|it| it.own("Location")).ok_or(MetadataError::NoAddress)?;
        let signs = |it: &Node<'_, '_>| {
            it.is(METADATA, "KeyDescriptor") && it.own("use").is_none_or(|it| it == "signing")
        };
        let certificates = role.children().filter(signs).flat_map(|it| it.descendants());
        let certificates = certificates.filter(|it| it.is(SIGNATURE, "X509Certificate"));
        let keys: Result<Vec<Key>, KeyError> = certificates
            .map(|it| Key::of_base64(tree::text(it).ok_or(KeyError::NotACertificate)?))
            .collect();
        let keys = Some(keys?).filter(|keys| !keys.is_empty()).ok_or(MetadataError::NoKey)?;
        Ok(Described { entity: entity.to_owned(), sso: sso.to_owned(), keys })
    }
}

impl Provider {
    /// What we are to this provider, for it to read.
    pub fn metadata(&self) -> String {
        let key = self.signs.as_ref().map_or_else(String::new, |key| {
            format!(
                "<md:KeyDescriptor use=\"signing\"><ds:KeyInfo xmlns:ds=\"{SIGNATURE}\"><ds:X509Data>\
                 <ds:X509Certificate>{}</ds:X509Certificate></ds:X509Data></ds:KeyInfo>\
                 </md:KeyDescriptor>",
                escaped(key.certificate())
            )
        });
        format!(
            "<md:EntityDescriptor xmlns:md=\"{METADATA}\" entityID=\"{}\">\
             <md:SPSSODescriptor AuthnRequestsSigned=\"{}\" WantAssertionsSigned=\"true\" \
             protocolSupportEnumeration=\"{PROTOCOL}\">{key}\
             <md:AssertionConsumerService index=\"0\" isDefault=\"true\" \
             Binding=\"urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST\" Location=\"{}\"/>\
             </md:SPSSODescriptor></md:EntityDescriptor>\n",
            escaped(&self.audience),
            self.signs.is_some(),
            escaped(&self.consumer),
        )
    }
}
