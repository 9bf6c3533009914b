//! A provider's public keys (JWK Set, RFC 7517). What can't be used here is passed over: symmetric
//! keys, keys for encryption, keys too weak, keys whose private half was published with them.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use thiserror::Error;

use super::algorithm::{Algorithm, Family};
use super::json;

/// The longest answer that is read as a key set; those of large providers have some 20 kB.
pub const KEY_SET_BYTES_MAX: usize = 512 << 10;

/// Keys of one provider. More than these are not looked at.
const KEYS_MAX: usize = 100;

/// Of an RSA modulus, in bits: as the verifier takes it.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Keys that tokens can be signed with.
#[derive(Clone, Default)]
pub struct KeySet(Vec<Key>);

#[derive(Clone)]
pub(super) struct Key {
    name: Option<String>,
    family: Family,
    /// The only algorithm that it is for, if it says so.
    algorithm: Option<Algorithm>,
    /// Modulus and exponent, or a point as the verifier takes it.
    parts: Vec<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum KeySetError {
    #[error("it has more than {KEY_SET_BYTES_MAX} bytes")]
    TooLong,
    #[error("it is not a JSON object with a list `keys`")]
    NotAKeySet,
    #[error(
        "no key in it can be used: each is symmetric, too weak, of an unknown kind or not for signatures"
    )]
    NoKey,
}

impl KeySet {
    pub fn read(bytes: &[u8]) -> Result<KeySet, KeySetError> {
        if bytes.len() > KEY_SET_BYTES_MAX {
            return Err(KeySetError::TooLong);
        }
        let set = json::object(bytes).ok_or(KeySetError::NotAKeySet)?;
        let Some(Value::Array(keys)) = set.get("keys") else {
            return Err(KeySetError::NotAKeySet);
        };
        let keys = keys.iter().take(KEYS_MAX).filter_map(|key| Key::read(key.as_object()?));
        let keys: Vec<Key> = keys.collect();
        if keys.is_empty() { Err(KeySetError::NoKey) } else { Ok(KeySet(keys)) }
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The keys that a token can be signed with: of the name it gives, or, if it gives none, the
    /// only one that there is for its algorithm.
    pub(super) fn candidates(&self, name: Option<&str>, algorithm: Algorithm) -> Vec<&Key> {
        let fitting = self.0.iter().filter(|key| key.fits(algorithm));
        match name {
            Some(_) => fitting.filter(|key| key.name.as_deref() == name).collect(),
            None => {
                let fitting: Vec<&Key> = fitting.collect();
                if fitting.len() == 1 { fitting } else { Vec::new() }
            }
        }
    }
}

/// Public all the same, but long.
impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeySet({})", self.0.len())
    }
}

impl Key {
    fn read(key: &Map<String, Value>) -> Option<Key> {
        let text = |name: &str| key.get(name).and_then(Value::as_str);
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
        // Whoever has read this set could sign with it.
        if key.contains_key("d") || key.contains_key("k") {
            return None;
        }
        if key.get("use").is_some_and(|it| it != "sig") {
            return None;
        }
        if let Some(operations) = key.get("key_ops")
            && !operations.as_array()?.iter().any(|it| it == "verify")
        {
            return None;
        }
        let algorithm = match key.get("alg") {
            None => None,
            Some(named) => Some(Algorithm::named(named.as_str()?)?),
        };
        let (family, parts) = match text("kty")? {
            "RSA" => (Family::Rsa, rsa(bytes("n")?, bytes("e")?)?),
            "EC" => {
                let (family, size) = match text("crv")? {
                    "P-256" => (Family::P256, 32),
                    "P-384" => (Family::P384, 48),
                    "P-521" => (Family::P521, 66),
                    _ => return None,
                };
                let (x, y) = (bytes("x")?, bytes("y")?);
                if x.len() != size || y.len() != size {
                    return None;
                }
                // Uncompressed, as SEC 1 writes it.
                (family, vec![[&[4][..], &x, &y].concat()])
            }
            "OKP" if text("crv")? == "Ed25519" => {
                let point = bytes("x").filter(|it| it.len() == 32)?;
                (Family::Ed25519, vec![point])
            }
            _ => return None,
        };
        if algorithm.is_some_and(|it| it.family() != family) {
            return None;
        }
        let name = match key.get("kid") {
            None => None,
            Some(name) => Some(name.as_str()?.to_owned()),
        };
        Some(Key { name, family, algorithm, parts })
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        self.family == algorithm.family() && self.algorithm.is_none_or(|own| own == algorithm)
    }

    pub(super) fn verifies(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        self.fits(algorithm) && algorithm.verifies(&self.parts, signed, signature)
    }
}

/// Modulus and exponent, neither of which makes forging easy.
pub(crate) fn rsa(n: Vec<u8>, e: Vec<u8>) -> Option<Vec<Vec<u8>>> {
    // Some write a sign byte in front, which the verifier does not take.
    let stripped =
        |number: Vec<u8>| -> Vec<u8> { number.into_iter().skip_while(|byte| *byte == 0).collect() };
    let (n, e) = (stripped(n), stripped(e));
    let bits = n.len() * 8 - n.first()?.leading_zeros() as usize;
    let is_odd = e.last()? % 2 == 1;
    (RSA_BITS.contains(&bits) && is_odd && e != [1] && e.len() <= 8).then(|| vec![n, e])
}
