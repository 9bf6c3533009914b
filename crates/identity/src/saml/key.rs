//! Keys: those of a provider, out of the certificates that the file names, and our own. A certificate
//! is only what a key comes in; that the file names it is why it is trusted, so its dates and who has
//! signed it say nothing here.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use super::without_space;
use crate::NoRandomness;
use crate::der::{BIT_STRING, Der, INTEGER, OBJECT_IDENTIFIER, SEQUENCE};
use crate::oidc::{self, Algorithm, Family};

/// Tagged `[0]`: the version of a certificate, which the oldest ones leave out.
const VERSION: u8 = 0xa0;

/// 1.2.840.113549.1.1.1.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// 1.2.840.10045.2.1, and the curves below it.
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const CURVES: &[(&[u8], Family)] = &[
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07], Family::P256),
    (&[0x2b, 0x81, 0x04, 0x00, 0x22], Family::P384),
    (&[0x2b, 0x81, 0x04, 0x00, 0x23], Family::P521),
];

/// What a provider signs with: its public half.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    family: Family,
    /// Modulus and exponent, or a point.
    parts: Vec<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum KeyError {
    #[error("it is not a certificate (X.509, in PEM)")]
    NotACertificate,
    #[error("its key is none that is taken: RSA from 2048 bits, or EC on P-256, P-384 or P-521")]
    NotAKey,
    #[error("it is not a private key (RSA from 2048 bits, in PEM: PKCS #8 or PKCS #1)")]
    NotPrivate,
}

impl Key {
    /// Of each certificate of a file, of which there is at least one.
    pub fn of_pem(text: &str) -> Result<Vec<Key>, KeyError> {
        let all = pem(text, "CERTIFICATE");
        if all.is_empty() {
            return Err(KeyError::NotACertificate);
        }
        all.iter().map(|it| Key::of_base64(it)).collect()
    }

    /// Of one certificate, in base64 alone.
    pub fn of_base64(text: &str) -> Result<Key, KeyError> {
        let der = STANDARD.decode(without_space(text)).map_err(|_| KeyError::NotACertificate)?;
        let info = public_key_info(&der).ok_or(KeyError::NotACertificate)?;
        Key::of_info(info).ok_or(KeyError::NotAKey)
    }

    /// ```text
    /// SubjectPublicKeyInfo ::= SEQUENCE { algorithm SEQUENCE { OBJECT IDENTIFIER, … }, BIT STRING }
    /// ```
    pub(super) fn of_info(info: &[u8]) -> Option<Key> {
        let mut info = Der(info);
        let mut algorithm = Der(info.element(SEQUENCE)?);
        // No bit of the last byte is left over.
        let bits = info.element(BIT_STRING)?.strip_prefix(&[0])?;
        let identifier = algorithm.element(OBJECT_IDENTIFIER)?;
        if identifier == RSA {
            let mut numbers = Der(Der(bits).element(SEQUENCE)?);
            let (n, e) = (numbers.element(INTEGER)?, numbers.element(INTEGER)?);
            return Some(Key { family: Family::Rsa, parts: oidc::rsa(n.to_vec(), e.to_vec())? });
        }
        let curve = (identifier == EC).then(|| algorithm.element(OBJECT_IDENTIFIER)).flatten()?;
        let (_, family) = CURVES.iter().find(|it| it.0 == curve)?;
        // Uncompressed, as the verifier takes it.
        (bits.first() == Some(&4)).then(|| Key { family: *family, parts: vec![bits.to_vec()] })
    }

    pub(super) fn verifies(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        algorithm.family() == self.family && algorithm.verifies(&self.parts, signed, signature)
    }
}

/// Public all the same, but long.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?})", self.family)
    }
}

/// ```text
/// Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm, signature }
/// tbsCertificate ::= SEQUENCE { version [0] …, serialNumber INTEGER, signature SEQUENCE,
///     issuer SEQUENCE, validity SEQUENCE, subject SEQUENCE, subjectPublicKeyInfo SEQUENCE, … }
/// ```
fn public_key_info(certificate: &[u8]) -> Option<&[u8]> {
    let mut outer = Der(certificate);
    let mut certificate = Der(outer.element(SEQUENCE)?);
    outer.end()?;
    let mut body = Der(certificate.element(SEQUENCE)?);
    if body.next() == Some(VERSION) {
        body.element(VERSION)?;
    }
    body.element(INTEGER)?;
    for _signature_issuer_validity_subject in 0..4 {
        body.element(SEQUENCE)?;
    }
    body.element(SEQUENCE)
}

/// What stands between the lines of such a label.
fn pem(text: &str, label: &str) -> Vec<String> {
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let blocks = text.split(&*begin).skip(1);
    blocks.filter_map(|block| Some(block.split_once(&*end)?.0.to_owned())).collect()
}

/// What requests are signed with: RSA, as that is what every provider takes.
pub struct SigningKey {
    pair: RsaKeyPair,
    /// In base64, for the provider to know it by.
    certificate: String,
}

impl SigningKey {
    pub fn read(key: &str, certificate: &str) -> Result<SigningKey, KeyError> {
        let pkcs8 = pem(key, "PRIVATE KEY");
        let pkcs1 = pem(key, "RSA PRIVATE KEY");
        let decode = |it: &String| STANDARD.decode(without_space(it)).ok();
        let pair = match (pkcs8.first().and_then(decode), pkcs1.first().and_then(decode)) {
            (Some(der), None) => RsaKeyPair::from_pkcs8(&der).ok(),
            (None, Some(der)) => RsaKeyPair::from_der(&der).ok(),
            _ => None,
        };
        let certificates = pem(certificate, "CERTIFICATE");
        let certificate = certificates.first().ok_or(KeyError::NotACertificate)?;
        Key::of_base64(certificate)?;
        let pair = pair.ok_or(KeyError::NotPrivate)?;
        Ok(SigningKey { pair, certificate: without_space(certificate) })
    }

    pub(super) fn certificate(&self) -> &str {
        &self.certificate
    }

    pub(super) fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>, NoRandomness> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        let random = SystemRandom::new();
        self.pair
            .sign(&RSA_PKCS1_SHA256, &random, bytes, &mut signature)
            .map_err(|_| NoRandomness)?;
        Ok(signature)
    }
}

/// The private half is not to be seen.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}
