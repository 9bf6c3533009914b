//! Responses as a provider would sign them, and as it would not. The signer writes canonical text by
//! hand, so that it shares no canonicalization with what is tested.

use std::sync::LazyLock;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256,
};

use super::super::*;

pub(super) const NOW: i64 = 1_795_295_114;
pub(super) const ENTITY: &str = "https://idp.example/entity";
pub(super) const AUDIENCE: &str = "https://gate.example/saml";
pub(super) const CONSUMER: &str = "https://gate.example/saml/acs";
pub(super) const REQUEST: &str = "_request";

pub(super) static SIGNER: LazyLock<Signer> =
    LazyLock::new(|| Signer::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()));
pub(super) static STRANGER: LazyLock<Signer> =
    LazyLock::new(|| Signer::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()));
pub(super) static CURVE: LazyLock<Signer> =
    LazyLock::new(|| Signer::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()));

pub(super) enum Signer {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
}

impl Signer {
    pub(super) fn key(&self) -> Key {
        let info = match self {
            Signer::Rsa(pair) => {
                AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(pair.public_key())
                    .unwrap()
                    .as_ref()
                    .to_vec()
            }
            Signer::Ec(pair) => {
                AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(pair.public_key())
                    .unwrap()
                    .as_ref()
                    .to_vec()
            }
        };
        let mut outer = crate::der::Der(&info);
        Key::of_info(outer.element(crate::der::SEQUENCE).unwrap()).unwrap()
    }

    pub(super) fn algorithm(&self) -> &'static str {
        match self {
            Signer::Rsa(_) => "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
            Signer::Ec(_) => "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256",
        }
    }

    pub(super) fn sign(&self, text: &str) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Signer::Rsa(pair) => {
                let mut out = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut out).unwrap();
                out
            }
            Signer::Ec(pair) => pair.sign(&random, text.as_bytes()).unwrap().as_ref().to_vec(),
        }
    }
}

pub(super) fn provider() -> Provider {
    Provider {
        entity: ENTITY.to_owned(),
        sso: "https://idp.example/sso".to_owned(),
        keys: vec![CURVE.key(), SIGNER.key()],
        audience: AUDIENCE.to_owned(),
        consumer: CONSUMER.to_owned(),
        signs: None,
        subject: None,
        groups: "groups".to_owned(),
        claims: [("env".to_owned(), "urn:env".to_owned())].into(),
    }
}

pub(super) fn at(seconds: i64) -> String {
    time::write(NOW + seconds)
}

/// What stands in an assertion after its signature.
pub(super) fn body() -> String {
    let (before, after) = (at(-10), at(300));
    format!(
        "<saml:Subject><saml:NameID Format=\"urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress\">\
         anna@corp.example</saml:NameID><saml:SubjectConfirmation \
         Method=\"urn:oasis:names:tc:SAML:2.0:cm:bearer\"><saml:SubjectConfirmationData \
         InResponseTo=\"{REQUEST}\" NotOnOrAfter=\"{after}\" Recipient=\"{CONSUMER}\">\
         </saml:SubjectConfirmationData></saml:SubjectConfirmation></saml:Subject>\
         <saml:Conditions NotBefore=\"{before}\" NotOnOrAfter=\"{after}\"><saml:AudienceRestriction>\
         <saml:Audience>{AUDIENCE}</saml:Audience></saml:AudienceRestriction></saml:Conditions>\
         <saml:AuthnStatement AuthnInstant=\"{before}\" SessionNotOnOrAfter=\"{}\">\
         </saml:AuthnStatement><saml:AttributeStatement><saml:Attribute Name=\"groups\">\
         <saml:AttributeValue>dba</saml:AttributeValue><saml:AttributeValue>ops</saml:AttributeValue>\
         </saml:Attribute><saml:Attribute Name=\"urn:env\"><saml:AttributeValue>prod\
         </saml:AttributeValue></saml:Attribute></saml:AttributeStatement>",
        at(3600)
    )
}

/// All that a signed assertion is made of, each part to be replaced by something else.
#[derive(Clone)]
pub(super) struct Forge {
    pub(super) signer: &'static Signer,
    pub(super) id: &'static str,
    pub(super) issued: i64,
    pub(super) issuer: &'static str,
    pub(super) body: String,
    /// In what is signed: replaced in SignedInfo before it is signed.
    pub(super) info: Vec<(&'static str, String)>,
    pub(super) key_info: &'static str,
}

pub(super) fn forge() -> Forge {
    Forge {
        signer: &SIGNER,
        id: "_assertion",
        issued: -5,
        issuer: ENTITY,
        body: body(),
        info: Vec::new(),
        key_info: "",
    }
}

pub(super) const DS: &str = "http://www.w3.org/2000/09/xmldsig#";
pub(super) const SAML: &str = "urn:oasis:names:tc:SAML:2.0:assertion";

impl Forge {
    pub(super) fn body(mut self, from: &str, to: &str) -> Forge {
        assert!(self.body.contains(from), "{from}");
        self.body = self.body.replacen(from, to, 1);
        self
    }

    pub(super) fn info(mut self, from: &'static str, to: &str) -> Forge {
        self.info.push((from, to.to_owned()));
        self
    }

    pub(super) fn head(&self) -> String {
        format!(
            "<saml:Assertion xmlns:saml=\"{SAML}\" ID=\"{}\" IssueInstant=\"{}\" Version=\"2.0\">\
             <saml:Issuer>{}</saml:Issuer>",
            self.id,
            at(self.issued),
            self.issuer
        )
    }

    /// As it is without its signature, in canonical form.
    pub(super) fn bare(&self) -> String {
        format!("{}{}</saml:Assertion>", self.head(), self.body)
    }

    pub(super) fn signature(&self) -> String {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, self.bare().as_bytes());
        self.signature_of(self.id, &STANDARD.encode(digest.as_ref()))
    }

    pub(super) fn signature_of(&self, id: &str, digest: &str) -> String {
        let mut info = format!(
            "<ds:SignedInfo xmlns:ds=\"{DS}\"><ds:CanonicalizationMethod \
             Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"></ds:CanonicalizationMethod>\
             <ds:SignatureMethod Algorithm=\"{}\"></ds:SignatureMethod><ds:Reference URI=\"#{id}\">\
             <ds:Transforms><ds:Transform \
             Algorithm=\"http://www.w3.org/2000/09/xmldsig#enveloped-signature\"></ds:Transform>\
             <ds:Transform Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"></ds:Transform>\
             </ds:Transforms><ds:DigestMethod Algorithm=\"http://www.w3.org/2001/04/xmlenc#sha256\">\
             </ds:DigestMethod><ds:DigestValue>{digest}</ds:DigestValue></ds:Reference></ds:SignedInfo>",
            self.signer.algorithm(),
        );
        for (from, to) in &self.info {
            assert!(info.contains(from), "{from}");
            info = info.replacen(from, to, 1);
        }
        let value = STANDARD.encode(self.signer.sign(&info));
        format!(
            "<ds:Signature xmlns:ds=\"{DS}\">{info}<ds:SignatureValue>{value}</ds:SignatureValue>{}\
             </ds:Signature>",
            self.key_info
        )
    }

    pub(super) fn assertion(&self) -> String {
        format!("{}{}{}</saml:Assertion>", self.head(), self.signature(), self.body)
    }

    pub(super) fn response(&self) -> String {
        around(&self.assertion())
    }

    pub(super) fn prove(&self) -> Result<Answer, SamlError> {
        prove(&self.response())
    }
}

pub(super) fn around(assertions: &str) -> String {
    format!(
        "<samlp:Response xmlns:samlp=\"urn:oasis:names:tc:SAML:2.0:protocol\" xmlns:saml=\"{SAML}\" \
         ID=\"_response\" Version=\"2.0\" IssueInstant=\"{}\" Destination=\"{CONSUMER}\" \
         InResponseTo=\"{REQUEST}\"><saml:Issuer>{ENTITY}</saml:Issuer><samlp:Status>\
         <samlp:StatusCode Value=\"urn:oasis:names:tc:SAML:2.0:status:Success\"/></samlp:Status>\
         {assertions}</samlp:Response>",
        at(0)
    )
}

pub(super) fn prove(text: &str) -> Result<Answer, SamlError> {
    prove_by(text, &provider())
}

pub(super) fn prove_by(text: &str, provider: &Provider) -> Result<Answer, SamlError> {
    let response = Response::read(text)?;
    response.issuer()?;
    response.prove(provider, NOW)
}
