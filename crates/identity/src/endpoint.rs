//! `tls-server-end-point` (RFC 5929, section 4.1): what a SCRAM exchange is bound to is a hash of
//! the server's certificate. This file finds which hash, by reading just enough DER; whether the
//! certificate is any good is the TLS library's question.

use aws_lc_rs::digest::{self, Algorithm, SHA224, SHA256, SHA384, SHA512, SHA512_256};

use crate::der::{BIT_STRING, Der, OBJECT_IDENTIFIER, SEQUENCE};

/// The hash of a certificate (DER) that a SCRAM exchange under it is bound to. `None` when its
/// signature names no hash (Ed25519) or one that isn't known here: then there is no binding, as in
/// [PostgreSQL](https://www.postgresql.org/docs/current/sasl-authentication.html).
pub fn certificate_hash(certificate: &[u8]) -> Option<Vec<u8>> {
    let algorithm = signature_hash(certificate)?;
    Some(digest::digest(algorithm, certificate).as_ref().to_vec())
}

/// `[0]`, constructed: the hash in RSASSA-PSS-params.
const CONTEXT_0: u8 = 0xa0;

/// 1.2.840.113549.1.1, PKCS #1.
const PKCS1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
/// 1.2.840.10045.4, ECDSA signatures.
const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04];
/// 2.16.840.1.101.3.4.2, NIST's hashes.
const NIST_HASH: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02];
/// 1.3.14.3.2.26.
const SHA1: &[u8] = &[0x2b, 0x0e, 0x03, 0x02, 0x1a];

/// ```text
/// Certificate ::= SEQUENCE { tbsCertificate SEQUENCE, signatureAlgorithm, signature BIT STRING }
/// AlgorithmIdentifier ::= SEQUENCE { algorithm OBJECT IDENTIFIER, parameters ANY OPTIONAL }
/// ```
fn signature_hash(certificate: &[u8]) -> Option<&'static Algorithm> {
    let mut outer = Der(certificate);
    let mut certificate = Der(outer.element(SEQUENCE)?);
    outer.end()?;
    certificate.element(SEQUENCE)?;
    let mut algorithm = Der(certificate.element(SEQUENCE)?);
    certificate.element(BIT_STRING)?;
    certificate.end()?;

    let identifier = algorithm.element(OBJECT_IDENTIFIER)?;
    if let Some(arc) = identifier.strip_prefix(PKCS1) {
        return match arc {
            // MD5 and SHA-1 are too weak to bind to: RFC 5929 puts SHA-256 in their place.
            [4] | [5] => Some(&SHA256),
            [10] => pss_hash(algorithm),
            [11] => Some(&SHA256),
            [12] => Some(&SHA384),
            [13] => Some(&SHA512),
            [14] => Some(&SHA224),
            [16] => Some(&SHA512_256),
            _ => None,
        };
    }
    match identifier.strip_prefix(ECDSA)? {
        [1] => Some(&SHA256),
        [3, 1] => Some(&SHA224),
        [3, 2] => Some(&SHA256),
        [3, 3] => Some(&SHA384),
        [3, 4] => Some(&SHA512),
        _ => None,
    }
}

/// `RSASSA-PSS-params ::= SEQUENCE { hashAlgorithm [0] AlgorithmIdentifier DEFAULT sha1, … }`
/// (RFC 4055).
fn pss_hash(mut algorithm: Der<'_>) -> Option<&'static Algorithm> {
    let mut parameters = Der(algorithm.element(SEQUENCE)?);
    if parameters.next() != Some(CONTEXT_0) {
        return Some(&SHA256);
    }
    let mut hash = Der(Der(parameters.element(CONTEXT_0)?).element(SEQUENCE)?);
    let identifier = hash.element(OBJECT_IDENTIFIER)?;
    if identifier == SHA1 {
        return Some(&SHA256);
    }
    match identifier.strip_prefix(NIST_HASH)? {
        [1] => Some(&SHA256),
        [2] => Some(&SHA384),
        [3] => Some(&SHA512),
        [4] => Some(&SHA224),
        [6] => Some(&SHA512_256),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    /// Arguments of `openssl req`, and the hash that openssl is asked for to compare with.
    const CERTIFICATES: &[(&str, &[&str], Option<&str>)] = &[
        ("rsa-md5", &["-newkey", "rsa:2048", "-md5"], Some("sha256")),
        ("rsa-sha1", &["-newkey", "rsa:2048", "-sha1"], Some("sha256")),
        ("rsa-sha224", &["-newkey", "rsa:2048", "-sha224"], Some("sha224")),
        ("rsa-sha256", &["-newkey", "rsa:2048", "-sha256"], Some("sha256")),
        ("rsa-sha384", &["-newkey", "rsa:2048", "-sha384"], Some("sha384")),
        ("rsa-sha512", &["-newkey", "rsa:2048", "-sha512"], Some("sha512")),
        ("rsa-sha512-256", &["-newkey", "rsa:2048", "-sha512-256"], Some("sha512-256")),
        ("pss-sha1", &["-newkey", "rsa:2048", "-sha1", "-sigopt", PSS], Some("sha256")),
        ("pss-sha256", &["-newkey", "rsa:2048", "-sha256", "-sigopt", PSS], Some("sha256")),
        ("pss-sha384", &["-newkey", "rsa:2048", "-sha384", "-sigopt", PSS], Some("sha384")),
        ("pss-sha512", &["-newkey", "rsa:2048", "-sha512", "-sigopt", PSS], Some("sha512")),
        ("ec-sha1", &["-newkey", "ec", "-pkeyopt", P256, "-sha1"], Some("sha256")),
        ("ec-sha224", &["-newkey", "ec", "-pkeyopt", P256, "-sha224"], Some("sha224")),
        ("ec-sha256", &["-newkey", "ec", "-pkeyopt", P256, "-sha256"], Some("sha256")),
        ("ec-sha384", &["-newkey", "ec", "-pkeyopt", P256, "-sha384"], Some("sha384")),
        ("ec-sha512", &["-newkey", "ec", "-pkeyopt", P256, "-sha512"], Some("sha512")),
        ("ed25519", &["-newkey", "ed25519"], None),
        ("rsa-sha3", &["-newkey", "rsa:2048", "-sha3-256"], None),
    ];
    const PSS: &str = "rsa_padding_mode:pss";
    const P256: &str = "ec_paramgen_curve:prime256v1";

    fn openssl(arguments: &[&str]) -> Vec<u8> {
        let output = Command::new("openssl").args(arguments).output().expect("openssl runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {arguments:?}: {said}");
        output.stdout
    }

    fn certificate(arguments: &[&str]) -> Vec<u8> {
        let request = ["req", "-x509", "-nodes", "-keyout", "/dev/null", "-outform", "DER"];
        openssl(&[&request[..], &["-subj", "/CN=localhost"], arguments].concat())
    }

    #[test]
    fn the_hash_is_the_one_that_openssl_computes() {
        let file = std::env::temp_dir().join(format!("gatepost-endpoint-{}", std::process::id()));
        for (name, arguments, hash) in CERTIFICATES {
            let der = certificate(arguments);
            let expected = hash.map(|hash| {
                std::fs::write(&file, &der).unwrap();
                openssl(&["dgst", &format!("-{hash}"), "-binary", file.to_str().unwrap()])
            });
            assert_eq!(certificate_hash(&der), expected, "{name}");
        }
        std::fs::remove_file(&file).unwrap();
    }

    #[test]
    fn half_a_certificate_has_no_hash() {
        let der = certificate(&["-newkey", "ec", "-pkeyopt", P256, "-sha256"]);
        assert!(certificate_hash(&der).is_some());
        for length in 0..der.len() {
            assert_eq!(certificate_hash(&der[..length]), None, "{length} bytes");
        }
        assert_eq!(certificate_hash(&[&der[..], b"x"].concat()), None);
    }

    proptest! {
        #[test]
        fn any_bytes_get_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = certificate_hash(&bytes);
        }
    }
}
