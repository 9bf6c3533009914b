//! The signatures that tokens can have: every one by a key pair, so that nothing that a provider
//! publishes could sign. That `none` and HMAC aren't here is the whole defence against them.

use std::fmt;

use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{
    self as by, EcdsaVerificationAlgorithm, RsaParameters, UnparsedPublicKey,
};

/// Of RFC 7518 and RFC 8037.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    Es512,
    EdDsa,
}

/// What a key is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Rsa,
    P256,
    P384,
    P521,
    Ed25519,
}

impl Algorithm {
    pub const ALL: [Algorithm; 10] = [
        Algorithm::Rs256,
        Algorithm::Rs384,
        Algorithm::Rs512,
        Algorithm::Ps256,
        Algorithm::Ps384,
        Algorithm::Ps512,
        Algorithm::Es256,
        Algorithm::Es384,
        Algorithm::Es512,
        Algorithm::EdDsa,
    ];

    /// Names are compared as they are, capitals and all.
    pub fn named(name: &str) -> Option<Algorithm> {
        // RFC 9864's name for the only curve that is meant here.
        let name = if name == "Ed25519" { "EdDSA" } else { name };
        Self::ALL.into_iter().find(|it| it.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Rs256 => "RS256",
            Algorithm::Rs384 => "RS384",
            Algorithm::Rs512 => "RS512",
            Algorithm::Ps256 => "PS256",
            Algorithm::Ps384 => "PS384",
            Algorithm::Ps512 => "PS512",
            Algorithm::Es256 => "ES256",
            Algorithm::Es384 => "ES384",
            Algorithm::Es512 => "ES512",
            Algorithm::EdDsa => "EdDSA",
        }
    }

    pub(crate) fn family(self) -> Family {
        match self.means() {
            Means::Rsa(_) => Family::Rsa,
            Means::Ecdsa(family, _) => family,
            Means::Ed25519 => Family::Ed25519,
        }
    }

    /// Whether `signature` of `signed` is by the key with these parts: modulus and exponent, or a point.
    pub(crate) fn verifies(self, key: &[Vec<u8>], signed: &[u8], signature: &[u8]) -> bool {
        let verified = match (self.means(), key) {
            (Means::Rsa(parameters), [n, e]) => {
                PublicKeyComponents { n, e }.verify(parameters, signed, signature)
            }
            (Means::Ecdsa(_, algorithm), [point]) => {
                UnparsedPublicKey::new(algorithm, point).verify(signed, signature)
            }
            (Means::Ed25519, [point]) => {
                UnparsedPublicKey::new(&by::ED25519, point).verify(signed, signature)
            }
            _ => return false,
        };
        verified.is_ok()
    }

    fn means(self) -> Means {
        match self {
            Algorithm::Rs256 => Means::Rsa(&by::RSA_PKCS1_2048_8192_SHA256),
            Algorithm::Rs384 => Means::Rsa(&by::RSA_PKCS1_2048_8192_SHA384),
            Algorithm::Rs512 => Means::Rsa(&by::RSA_PKCS1_2048_8192_SHA512),
            Algorithm::Ps256 => Means::Rsa(&by::RSA_PSS_2048_8192_SHA256),
            Algorithm::Ps384 => Means::Rsa(&by::RSA_PSS_2048_8192_SHA384),
            Algorithm::Ps512 => Means::Rsa(&by::RSA_PSS_2048_8192_SHA512),
            Algorithm::Es256 => Means::Ecdsa(Family::P256, &by::ECDSA_P256_SHA256_FIXED),
            Algorithm::Es384 => Means::Ecdsa(Family::P384, &by::ECDSA_P384_SHA384_FIXED),
            Algorithm::Es512 => Means::Ecdsa(Family::P521, &by::ECDSA_P521_SHA512_FIXED),
            Algorithm::EdDsa => Means::Ed25519,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

enum Means {
    Rsa(&'static RsaParameters),
    Ecdsa(Family, &'static EcdsaVerificationAlgorithm),
    Ed25519,
}
