//! Tokens that are right, and beside each a forged one: every check is violated once, alone.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
    ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaKeyPair,
};
use aws_lc_rs::{digest, hmac};
use proptest::prelude::*;
use serde_json::json;

use super::*;

const NOW: i64 = 1_800_000_000;
const URL: &str = "https://idp.example/a";

/// A key pair and what a provider publishes of it.
enum Signer {
    Rsa(Box<RsaKeyPair>),
    Ec(EcdsaKeyPair, &'static str),
    Ed(Ed25519KeyPair),
}

impl Signer {
    fn rsa() -> Signer {
        Signer::Rsa(Box::new(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()))
    }

    fn ec(curve: &'static str) -> Signer {
        let algorithm = match curve {
            "P-256" => &ECDSA_P256_SHA256_FIXED_SIGNING,
            "P-384" => &ECDSA_P384_SHA384_FIXED_SIGNING,
            _ => &ECDSA_P521_SHA512_FIXED_SIGNING,
        };
        Signer::Ec(EcdsaKeyPair::generate(algorithm).unwrap(), curve)
    }

    fn ed() -> Signer {
        Signer::Ed(Ed25519KeyPair::generate().unwrap())
    }

    fn jwk(&self, name: &str) -> Value {
        match self {
            Signer::Rsa(pair) => {
                // PKCS #1: a sequence of the modulus, behind a sign byte, and 65537.
                let modulus = &pair.public_key().as_ref()[9..265];
                json!({
                    "kty": "RSA", "kid": name,
                    "n": encode(modulus), "e": "AQAB",
                })
            }
            Signer::Ec(pair, curve) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                json!({"kty": "EC", "crv": curve, "kid": name, "x": encode(x), "y": encode(y)})
            }
            Signer::Ed(pair) => {
                let x = encode(pair.public_key().as_ref());
                json!({"kty": "OKP", "crv": "Ed25519", "kid": name, "x": x})
            }
        }
    }

    fn sign(&self, algorithm: &str, signed: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Signer::Rsa(pair) => {
                let encoding: &dyn aws_lc_rs::signature::RsaEncoding = match algorithm {
                    "RS384" => &RSA_PKCS1_SHA384,
                    "RS512" => &RSA_PKCS1_SHA512,
                    "PS256" => &RSA_PSS_SHA256,
                    "PS384" => &RSA_PSS_SHA384,
                    "PS512" => &RSA_PSS_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, signed, &mut signature).unwrap();
                signature
            }
            Signer::Ec(pair, _) => pair.sign(&random, signed).unwrap().as_ref().to_vec(),
            Signer::Ed(pair) => pair.sign(signed).as_ref().to_vec(),
        }
    }

    fn token(&self, header: &Value, claims: &Value) -> String {
        self.token_of(&header.to_string(), &claims.to_string())
    }

    fn token_of(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", encode(header.as_bytes()), encode(claims.as_bytes()));
        let algorithm =
            serde_json::from_str::<Value>(header).unwrap_or_default()["alg"].to_string();
        let signature = self.sign(algorithm.trim_matches('"'), signed.as_bytes());
        format!("{signed}.{}", encode(&signature))
    }
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn key_set(keys: &[Value]) -> KeySet {
    KeySet::read(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

fn issuer() -> Issuer {
    Issuer {
        url: URL.to_owned(),
        audiences: vec!["gatepost".to_owned()],
        parties: None,
        algorithms: Algorithm::ALL.to_vec(),
        groups: Claim::new("groups").unwrap(),
        claims: [("env", "env"), ("space", "/kubernetes.io/namespace")]
            .map(|(name, claim)| (name.to_owned(), Claim::new(claim).unwrap()))
            .into(),
    }
}

fn claims() -> Value {
    json!({
        "iss": URL, "sub": "agent-7", "aud": "gatepost", "exp": NOW + 300, "iat": NOW,
        "groups": ["data-agents", "ops"], "env": "production",
        "kubernetes.io": {"namespace": "shop"},
    })
}

fn with(claims: Value, name: &str, value: Value) -> Value {
    let mut claims = claims;
    match value {
        Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
        value => claims[name] = value,
    }
    claims
}

fn prove(token: &str, issuer: &Issuer, keys: &KeySet) -> Result<Proven, TokenError> {
    Token::read(token.as_bytes())?.prove(issuer, keys, NOW)
}

#[test]
fn a_token_becomes_an_identity() {
    let signer = Signer::ec("P-256");
    let keys = key_set(&[signer.jwk("one")]);
    let token = signer.token(&json!({"alg": "ES256", "kid": "one", "typ": "at+jwt"}), &claims());
    let proven = prove(&token, &issuer(), &keys).unwrap();
    let Proven { identity, expires } = proven;
    assert_eq!((identity.issuer.as_str(), identity.subject.as_str()), (URL, "agent-7"));
    assert_eq!(identity.groups, ["data-agents", "ops"]);
    let of_claims: Vec<_> = identity.claims.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(of_claims, [("env", "production"), ("space", "shop")]);
    assert_eq!(expires, NOW + 300);
}

#[test]
fn every_algorithm_with_its_own_keys_and_no_others() {
    let signers = [
        (Signer::rsa(), &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"][..]),
        (Signer::ec("P-256"), &["ES256"]),
        (Signer::ec("P-384"), &["ES384"]),
        (Signer::ec("P-521"), &["ES512"]),
        (Signer::ed(), &["EdDSA", "Ed25519"]),
    ];
    for (signer, algorithms) in &signers {
        let keys = key_set(&[signer.jwk("one")]);
        for algorithm in *algorithms {
            let header = json!({"alg": algorithm, "kid": "one"});
            let token = signer.token(&header, &claims());
            assert!(prove(&token, &issuer(), &keys).is_ok(), "{algorithm}");
            // The file allows others only.
            let named = Algorithm::named(algorithm).unwrap();
            let others = Algorithm::ALL.into_iter().filter(|it| *it != named).collect();
            let narrow = Issuer { algorithms: others, ..issuer() };
            assert_eq!(prove(&token, &narrow, &keys), Err(TokenError::Algorithm), "{algorithm}");
            // The key says what it is for.
            for (own, expected) in [(*algorithm, Ok(())), ("PS999", Err(())), ("RS512", Err(()))] {
                if own == "RS512" && *algorithm == "RS512" {
                    continue;
                }
                let jwk = with(signer.jwk("one"), "alg", json!(own));
                let set = json!({ "keys": [jwk, Signer::ed().jwk("other")] }).to_string();
                let set = KeySet::read(set.as_bytes()).unwrap();
                assert_eq!(
                    prove(&token, &issuer(), &set).map(drop).map_err(drop),
                    expected,
                    "{own}"
                );
            }
            // One bit of what was signed, and of the signature.
            let (signed, signature) = token.rsplit_once('.').unwrap();
            let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
            bytes[7] ^= 1;
            let forged = format!("{signed}.{}", encode(bytes));
            assert_eq!(prove(&forged, &issuer(), &keys), Err(TokenError::Signature), "{algorithm}");
            let richer = with(claims(), "sub", json!("admin"));
            let forged = format!(
                "{}.{}.{signature}",
                encode(header.to_string()),
                encode(richer.to_string())
            );
            assert_eq!(prove(&forged, &issuer(), &keys), Err(TokenError::Signature), "{algorithm}");
        }
    }
}

/// So many, one inside the other.
fn acting(count: usize) -> Value {
    let last = json!({"sub": "first"});
    (1..count).fold(last, |act, n| json!({"sub": format!("actor {n}"), "act": act}))
}

#[test]
fn who_acts_for_the_subject_comes_along() {
    let signer = Signer::ec("P-256");
    let keys = key_set(&[signer.jwk("one")]);
    let act = json!({"sub": "planner", "act": {"sub": "platform", "iss": "https://cloud.example"}});
    let token = signer.token(&json!({"alg": "ES256", "kid": "one"}), &with(claims(), "act", act));
    let identity = prove(&token, &issuer(), &keys).unwrap().identity;
    let actors: Vec<_> = identity.actors.iter().map(|it| (&*it.issuer, &*it.subject)).collect();
    assert_eq!(actors, [(URL, "planner"), ("https://cloud.example", "platform")]);
    assert_eq!(identity.subject, "agent-7");
}

/// A signature that its own header doesn't need, or that a public key makes.
#[test]
fn algorithms_that_anybody_could_sign_with() {
    let signer = Signer::rsa();
    let jwk = signer.jwk("one");
    let keys = key_set(std::slice::from_ref(&jwk));
    let Signer::Rsa(pair) = &signer else { unreachable!() };
    let der: aws_lc_rs::encoding::PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    let body = base64::engine::general_purpose::STANDARD.encode(der.as_ref());
    let lines: Vec<_> = body.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    let pem =
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"));
    let modulus = URL_SAFE_NO_PAD.decode(jwk["n"].as_str().unwrap()).unwrap();
    let secrets = [pem.as_bytes(), pem.trim_end().as_bytes(), der.as_ref(), &modulus, b""];
    for algorithm in ["HS256", "hs256", "RS256"] {
        for secret in secrets {
            let header = json!({"alg": algorithm, "kid": "one"}).to_string();
            let signed = format!("{}.{}", encode(header), encode(claims().to_string()));
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
            let token = format!("{signed}.{}", encode(hmac::sign(&key, signed.as_bytes())));
            let expected = match algorithm {
                "RS256" => TokenError::Signature,
                _ => TokenError::Algorithm,
            };
            assert_eq!(prove(&token, &issuer(), &keys), Err(expected));
        }
    }
    for algorithm in ["none", "None", "NONE", "nOnE", "", "RS1", "rs256", "RS256 ", "dir", "A128KW"]
    {
        let header = encode(json!({"alg": algorithm, "kid": "one"}).to_string());
        let body = encode(claims().to_string());
        let bare = prove(&format!("{header}.{body}."), &issuer(), &keys);
        assert_eq!(bare, Err(TokenError::NotCompact), "{algorithm}");
        let signature = encode(digest::digest(&digest::SHA256, b"anything"));
        let signed = prove(&format!("{header}.{body}.{signature}"), &issuer(), &keys);
        assert_eq!(signed, Err(TokenError::Algorithm), "{algorithm}");
    }
}

/// What elliptic curves let through where nobody looks: all zeros, and the other encoding.
#[test]
fn signatures_that_are_none() {
    let signer = Signer::ec("P-256");
    let keys = key_set(&[signer.jwk("one")]);
    let header = json!({"alg": "ES256", "kid": "one"}).to_string();
    let signed = format!("{}.{}", encode(header), encode(claims().to_string()));
    let right = signer.sign("ES256", signed.as_bytes());
    let (r, s) = right.split_at(32);
    let integer = |it: &[u8]| {
        let sign: &[u8] = if it[0] >= 0x80 { &[0] } else { &[] };
        [&[2, (it.len() + sign.len()) as u8], sign, it].concat()
    };
    let content = [integer(r), integer(s)].concat();
    let der = [&[0x30, content.len() as u8], &content[..]].concat();
    for signature in [vec![0; 64], vec![0xff; 64], vec![0; 1], der, right[..63].to_vec()] {
        let token = format!("{signed}.{}", encode(signature));
        assert_eq!(prove(&token, &issuer(), &keys), Err(TokenError::Signature));
    }
    assert!(prove(&format!("{signed}.{}", encode(right)), &issuer(), &keys).is_ok());
}

#[test]
fn forged_claims() {
    let signer = Signer::ed();
    let keys = key_set(&[signer.jwk("one")]);
    let proven = |claims: &Value| {
        let token = signer.token(&json!({"alg": "EdDSA", "kid": "one"}), claims);
        prove(&token, &issuer(), &keys).map(drop)
    };
    assert_eq!(proven(&claims()), Ok(()));
    let (longest, longer) = ("x".repeat(1024), "x".repeat(1025));
    let groups = |n: usize| Value::from(vec!["g"; n]);
    for (name, value, expected) in [
        ("iss", Value::Null, Err(TokenError::NoIssuer)),
        ("iss", json!(7), Err(TokenError::NoIssuer)),
        ("iss", json!([URL]), Err(TokenError::NoIssuer)),
        ("iss", json!("https://idp.example/a/"), Err(TokenError::Issuer)),
        ("iss", json!("https://idp.example/A"), Err(TokenError::Issuer)),
        ("iss", json!("https://idp.example/a\u{0}"), Err(TokenError::Issuer)),
        ("aud", Value::Null, Err(TokenError::Audience)),
        ("aud", json!("other"), Err(TokenError::Audience)),
        ("aud", json!("Gatepost"), Err(TokenError::Audience)),
        ("aud", json!("gatepost,other"), Err(TokenError::Audience)),
        ("aud", json!([]), Err(TokenError::Audience)),
        ("aud", json!(["other"]), Err(TokenError::Audience)),
        ("aud", json!(["gatepost", 7]), Err(TokenError::Audience)),
        ("aud", json!({"gatepost": true}), Err(TokenError::Audience)),
        ("aud", json!(["gatepost"]), Ok(())),
        // Whoever else it is for could come here with it.
        ("aud", json!(["gatepost", "other"]), Err(TokenError::NoParty)),
        ("azp", json!("anybody"), Ok(())),
        ("azp", json!(7), Err(TokenError::Party)),
        ("exp", Value::Null, Err(TokenError::NoEnd)),
        ("exp", json!("1900000000"), Err(TokenError::NoEnd)),
        ("exp", json!(NOW - SKEW_SECONDS), Err(TokenError::Expired)),
        ("exp", json!(NOW - SKEW_SECONDS + 1), Ok(())),
        ("exp", json!(NOW as f64 + 0.5), Ok(())),
        ("exp", json!(1e300), Ok(())),
        ("exp", json!(u64::MAX), Ok(())),
        ("exp", json!(-1), Err(TokenError::Expired)),
        ("exp", json!(i64::MIN), Err(TokenError::Expired)),
        ("nbf", json!(NOW + SKEW_SECONDS), Ok(())),
        ("nbf", json!(NOW + SKEW_SECONDS + 1), Err(TokenError::NotYet)),
        ("nbf", json!("0"), Err(TokenError::NotYet)),
        ("iat", json!(NOW + SKEW_SECONDS + 1), Err(TokenError::NotYet)),
        ("iat", Value::Null, Ok(())),
        ("events", json!({}), Err(TokenError::Event)),
        ("cnf", json!({"jkt": "x"}), Err(TokenError::Bound)),
        ("sub", Value::Null, Err(TokenError::Subject)),
        ("sub", json!(""), Err(TokenError::Subject)),
        ("sub", json!(7), Err(TokenError::Subject)),
        ("sub", json!("a\nb"), Err(TokenError::Subject)),
        ("sub", json!("a\u{0}"), Err(TokenError::Subject)),
        ("sub", json!(longer), Err(TokenError::Subject)),
        ("sub", json!(longest), Ok(())),
        ("groups", Value::Null, Ok(())),
        ("groups", json!("one"), Ok(())),
        ("groups", json!({"admin": true}), Err(TokenError::Groups)),
        ("groups", json!([["admin"]]), Err(TokenError::Groups)),
        ("groups", json!(["a", ""]), Err(TokenError::Groups)),
        ("groups", json!(["a\u{0}"]), Err(TokenError::Groups)),
        ("groups", groups(1024), Ok(())),
        ("groups", groups(1025), Err(TokenError::Groups)),
        ("_claim_names", json!({"groups": "src1"}), Err(TokenError::Groups)),
        ("_claim_names", json!({"other": "src1"}), Ok(())),
        ("act", Value::Null, Ok(())),
        ("act", acting(8), Ok(())),
        ("act", acting(9), Err(TokenError::Actors)),
        ("act", json!("planner"), Err(TokenError::Actors)),
        ("act", json!({}), Err(TokenError::Actors)),
        ("act", json!([{"sub": "planner"}]), Err(TokenError::Actors)),
        ("act", json!({"sub": "a\nb"}), Err(TokenError::Actors)),
        ("act", json!({"sub": "planner", "iss": 7}), Err(TokenError::Actors)),
        ("act", json!({"sub": "planner", "act": {}}), Err(TokenError::Actors)),
        ("act", json!({"sub": "planner", "act": null}), Err(TokenError::Actors)),
        ("env", json!(true), Ok(())),
        ("env", json!(7), Ok(())),
        ("env", json!(["production"]), Err(TokenError::Claim)),
        ("env", json!({}), Err(TokenError::Claim)),
        ("env", json!(""), Err(TokenError::Claim)),
        ("env", json!("a\u{0}b"), Err(TokenError::Claim)),
        ("kubernetes.io", json!("x"), Ok(())),
        ("kubernetes.io", json!({"namespace": []}), Err(TokenError::Claim)),
        ("unknown", json!({"deep": [[[[[[[1]]]]]]]}), Ok(())),
    ] {
        assert_eq!(proven(&with(claims(), name, value.clone())), expected, "{name}: {value:.60}");
    }
}

#[test]
fn to_whom_a_token_was_given() {
    let signer = Signer::ed();
    let keys = key_set(&[signer.jwk("one")]);
    let both = json!(["gatepost", "account"]);
    let only = Some(vec!["agents".to_owned()]);
    for (parties, changes, expected) in [
        (None, vec![("aud", both.clone()), ("azp", json!("agents"))], Ok(())),
        (None, vec![("aud", both.clone()), ("client_id", json!("agents"))], Ok(())),
        (only.clone(), vec![], Err(TokenError::NoParty)),
        (only.clone(), vec![("azp", json!("agents"))], Ok(())),
        (only.clone(), vec![("client_id", json!("agents"))], Ok(())),
        (only.clone(), vec![("azp", json!("others"))], Err(TokenError::Party)),
        (
            only,
            vec![("azp", json!("agents")), ("client_id", json!("others"))],
            Err(TokenError::Party),
        ),
    ] {
        let changed =
            changes.iter().fold(claims(), |all, (name, value)| with(all, name, value.clone()));
        let token = signer.token(&json!({"alg": "EdDSA", "kid": "one"}), &changed);
        let issuer = Issuer { parties, ..issuer() };
        assert_eq!(prove(&token, &issuer, &keys).map(drop), expected, "{changes:?}");
    }
}

#[test]
fn forged_headers() {
    let signer = Signer::ed();
    let keys = key_set(&[signer.jwk("one"), Signer::ed().jwk("two")]);
    let other = Signer::ed();
    let header = |name: &str, value: Value| {
        with(json!({"alg": "EdDSA", "kid": "one", "typ": "JWT"}), name, value)
    };
    for (name, value, expected) in [
        ("typ", json!("JWT"), Ok(())),
        ("typ", json!("application/at+JWT"), Ok(())),
        ("typ", Value::Null, Ok(())),
        ("typ", json!("logout+jwt"), Err(TokenError::Type)),
        ("typ", json!("dpop+jwt"), Err(TokenError::Type)),
        ("typ", json!("JOSE"), Err(TokenError::Type)),
        ("typ", json!(""), Err(TokenError::Type)),
        ("typ", json!(["JWT"]), Err(TokenError::Type)),
        ("cty", json!("JWT"), Err(TokenError::Nested)),
        ("enc", json!("A128GCM"), Err(TokenError::Nested)),
        ("zip", json!("DEF"), Err(TokenError::Nested)),
        ("crit", json!([]), Err(TokenError::Critical)),
        ("crit", json!(["exp"]), Err(TokenError::Critical)),
        ("b64", json!(false), Err(TokenError::Critical)),
        ("alg", Value::Null, Err(TokenError::Header)),
        ("alg", json!(["EdDSA"]), Err(TokenError::Header)),
        ("alg", json!("ES256"), Err(TokenError::UnknownKey)),
        ("kid", json!("two"), Err(TokenError::Signature)),
        ("kid", json!("three"), Err(TokenError::UnknownKey)),
        ("kid", json!(""), Err(TokenError::UnknownKey)),
        ("kid", json!("../one"), Err(TokenError::UnknownKey)),
        ("kid", json!("one' OR '1'='1"), Err(TokenError::UnknownKey)),
        ("kid", json!("one\u{0}"), Err(TokenError::UnknownKey)),
        ("kid", json!(1), Err(TokenError::Header)),
        // Two keys could be meant, so it has to say which.
        ("kid", Value::Null, Err(TokenError::UnknownKey)),
    ] {
        let token = signer.token(&header(name, value.clone()), &claims());
        assert_eq!(prove(&token, &issuer(), &keys).map(drop), expected, "{name}: {value}");
    }
    // The keys that a token brings along are nobody's.
    for (name, value) in [
        ("jwk", other.jwk("one")),
        ("x5c", json!(["MIIB"])),
        ("jku", json!("https://evil.example/keys")),
        ("x5u", json!("https://evil.example/cert")),
    ] {
        let forged = other.token(&header(name, value.clone()), &claims());
        assert_eq!(prove(&forged, &issuer(), &keys), Err(TokenError::Signature), "{name}");
        let right = signer.token(&header(name, value), &claims());
        assert!(prove(&right, &issuer(), &keys).is_ok(), "{name}");
    }
}

/// A key set of another issuer, whose key has the same name.
#[test]
fn another_issuers_keys() {
    let (ours, theirs) = (Signer::ed(), Signer::ed());
    let keys = key_set(&[ours.jwk("one")]);
    let header = json!({"alg": "EdDSA", "kid": "one"});
    assert_eq!(
        prove(&theirs.token(&header, &claims()), &issuer(), &keys),
        Err(TokenError::Signature)
    );
    // One that is trusted, too, but not for this issuer's subjects.
    let both = key_set(&[theirs.jwk("one")]);
    let their_issuer = Issuer { url: "https://idp.example/b".to_owned(), ..issuer() };
    let token = theirs.token(&header, &claims());
    assert_eq!(prove(&token, &their_issuer, &both), Err(TokenError::Issuer));
}

#[test]
fn keys_without_names_and_names_that_two_have() {
    let (one, two) = (Signer::ed(), Signer::ed());
    let bare = |signer: &Signer| with(signer.jwk(""), "kid", Value::Null);
    let without = json!({"alg": "EdDSA"});
    let named = json!({"alg": "EdDSA", "kid": "one"});
    for (keys, header, expected) in [
        (vec![bare(&one)], &without, Ok(())),
        (vec![one.jwk("one")], &without, Ok(())),
        (vec![bare(&one)], &named, Err(TokenError::UnknownKey)),
        (vec![bare(&one), bare(&two)], &without, Err(TokenError::UnknownKey)),
        (vec![bare(&two)], &without, Err(TokenError::UnknownKey)),
        (vec![bare(&one), Signer::rsa().jwk("one")], &without, Ok(())),
        (vec![two.jwk("one"), one.jwk("one")], &named, Ok(())),
        (vec![two.jwk("one")], &named, Err(TokenError::Signature)),
    ] {
        let token = one.token(header, &claims());
        assert_eq!(prove(&token, &issuer(), &key_set(&keys)).map(drop), expected, "{header}");
    }
}

#[test]
fn keys_that_can_not_be_used() {
    let (rsa, ec, ed) =
        (Signer::rsa().jwk("k"), Signer::ec("P-256").jwk("k"), Signer::ed().jwk("k"));
    let read = |key: Value| KeySet::read(json!({ "keys": [key] }).to_string().as_bytes());
    for key in [&rsa, &ec, &ed] {
        assert_eq!(read(key.clone()).unwrap().count(), 1);
        let signs = [("use", json!("sig")), ("key_ops", json!(["verify"])), ("x5t", json!("x"))];
        for (name, value) in signs {
            assert!(read(with(key.clone(), name, value)).is_ok(), "{name}");
        }
        for (name, value) in [
            ("use", json!("enc")),
            ("use", json!(["sig"])),
            ("key_ops", json!(["encrypt"])),
            ("key_ops", json!([])),
            ("key_ops", json!("verify")),
            ("alg", json!("HS256")),
            ("alg", json!("RSA-OAEP")),
            ("alg", json!(7)),
            ("kid", json!(7)),
            ("kty", json!("oct")),
            ("kty", Value::Null),
            ("d", json!("AQAB")),
        ] {
            let shown = format!("{name}: {value}");
            assert_eq!(
                read(with(key.clone(), name, value)).unwrap_err(),
                KeySetError::NoKey,
                "{shown}"
            );
        }
    }
    let half = encode([0xff; 128]);
    let padded = URL_SAFE_NO_PAD.decode(rsa["n"].as_str().unwrap()).unwrap();
    let padded = encode([&[0][..], &padded].concat());
    assert!(read(with(rsa.clone(), "n", json!(padded))).is_ok());
    for (key, name, value) in [
        (&rsa, "n", json!(half)),
        (&rsa, "n", json!("")),
        (&rsa, "n", json!("!")),
        (&rsa, "e", json!("AQ")),
        (&rsa, "e", json!("AA")),
        (&rsa, "e", json!("Ag")),
        (&rsa, "e", json!(encode([0xff; 9]))),
        (&ec, "crv", json!("secp256k1")),
        (&ec, "crv", json!("P-384")),
        (&ec, "x", json!(encode([1; 31]))),
        (&ed, "crv", json!("X25519")),
        (&ed, "x", json!(encode([1; 33]))),
    ] {
        let shown = format!("{name}: {value}");
        assert_eq!(
            read(with(key.clone(), name, value)).unwrap_err(),
            KeySetError::NoKey,
            "{shown}"
        );
    }
    let secret = json!({"kty": "oct", "k": encode([7; 32]), "kid": "k", "alg": "HS256"});
    assert_eq!(read(secret).unwrap_err(), KeySetError::NoKey);
    for text in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#, "<html>"] {
        assert_eq!(KeySet::read(text.as_bytes()).unwrap_err(), KeySetError::NotAKeySet, "{text}");
    }
    let many = vec![ed; 1000];
    let count = KeySet::read(json!({ "keys": many }).to_string().as_bytes()).unwrap().count();
    assert_eq!(count, 100);
    let long = format!("{{\"keys\":[{}]}}", " ".repeat(KEY_SET_BYTES_MAX));
    assert_eq!(KeySet::read(long.as_bytes()).unwrap_err(), KeySetError::TooLong);
}

#[test]
fn what_is_no_token() {
    let signer = Signer::ed();
    let keys = key_set(&[signer.jwk("one")]);
    let header = r#"{"alg":"EdDSA","kid":"one"}"#;
    let right = signer.token_of(header, &claims().to_string());
    assert!(prove(&right, &issuer(), &keys).is_ok());
    let parts: Vec<&str> = right.split('.').collect();
    let [first, second, third] = parts[..] else { unreachable!() };
    for (token, expected) in [
        (String::new(), TokenError::NotCompact),
        ("gp_secret".to_owned(), TokenError::NotCompact),
        (format!("{first}.{second}"), TokenError::NotCompact),
        (format!("{first}.{second}."), TokenError::NotCompact),
        (format!(".{second}.{third}"), TokenError::NotCompact),
        (format!("{first}..{third}"), TokenError::NotCompact),
        (format!("{right}.x"), TokenError::NotCompact),
        (format!("{right}.x.y"), TokenError::Nested),
        (format!("{right}\n"), TokenError::NotCompact),
        (format!(" {right}"), TokenError::NotCompact),
        (format!("{right}="), TokenError::NotCompact),
        (format!("{first}.{second}.{}", third.replace(['-', '_'], "+")), TokenError::NotCompact),
    ] {
        // Where there is nothing to replace the signature stays as it was.
        if token != right {
            assert_eq!(prove(&token, &issuer(), &keys).map(drop), Err(expected), "{token}");
        }
    }
    let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    let body = claims().to_string();
    let and = |more: &str| format!("{},{more}}}", body.strip_suffix('}').unwrap());
    for (claims, expected) in [
        (and(r#""sub":"admin""#), Err(TokenError::Claims)),
        (and(r#""exp":9999999999"#), Err(TokenError::Claims)),
        (and(&format!("\"x\":{}", deep(15))), Ok(())),
        (and(&format!("\"x\":{}", deep(16))), Err(TokenError::Claims)),
        (and(&format!("\"x\":{}", deep(5000))), Err(TokenError::Claims)),
        (and(&format!("\"x\":\"{}\"", "y".repeat(20_000))), Err(TokenError::TooLong)),
        ("[]".to_owned(), Err(TokenError::Claims)),
        (format!("{body}{body}"), Err(TokenError::Claims)),
    ] {
        let token = signer.token_of(header, &claims);
        assert_eq!(prove(&token, &issuer(), &keys).map(drop), expected, "{claims:.80}");
    }
    let doubled = r#"{"alg":"EdDSA","kid":"one","alg":"none"}"#;
    let token = signer.token_of(doubled, &body);
    assert_eq!(prove(&token, &issuer(), &keys), Err(TokenError::Header));
    // A token inside a token.
    let outer = format!("{}.{}.{third}", encode(header), encode(&right));
    assert_eq!(prove(&outer, &issuer(), &keys), Err(TokenError::Claims));
    // At the bound, and one past it.
    let filled = |length: usize| "A".repeat(length);
    assert_eq!(
        Token::read(filled(TOKEN_BYTES_MAX).as_bytes()).map(drop),
        Err(TokenError::NotCompact)
    );
    assert_eq!(
        Token::read(filled(TOKEN_BYTES_MAX + 1).as_bytes()).map(drop),
        Err(TokenError::TooLong)
    );
}

#[test]
fn claims_are_names_or_paths() {
    let claims = json!({
        "roles": "top", "a/b": "slash", "realm_access": {"roles": ["x", "y"], "m~n": {"k": 1}},
        "https://example.com/groups": "url",
    });
    let claims = claims.as_object().unwrap();
    for (written, found) in [
        ("roles", Some(json!("top"))),
        ("a/b", Some(json!("slash"))),
        ("/a~1b", Some(json!("slash"))),
        ("/realm_access/roles", Some(json!(["x", "y"]))),
        ("/realm_access/m~0n/k", Some(json!(1))),
        ("/realm_access/none", None),
        ("realm_access/roles", None),
        ("https://example.com/groups", Some(json!("url"))),
    ] {
        assert_eq!(Claim::new(written).unwrap().of(claims), found.as_ref(), "{written}");
    }
    for wrong in ["", "/", "/a/", "a\nb"] {
        assert_eq!(Claim::new(wrong), Err(NotAClaim), "{wrong:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_get_an_answer(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        header in ".{0,60}",
        body in ".{0,200}",
    ) {
        let _ = Token::read(&bytes);
        let _ = KeySet::read(&bytes);
        let token = format!("{}.{}.AAAA", encode(header), encode(body));
        let _ = Token::read(token.as_bytes());
    }

    /// Whatever one bit of a token becomes, it proves nothing.
    #[test]
    fn no_bit_is_free(at in any::<prop::sample::Index>(), bit in 0..8u8) {
        let signer = Signer::ed();
        let keys = key_set(&[signer.jwk("one")]);
        let token = signer.token(&json!({"alg": "EdDSA", "kid": "one"}), &claims());
        let mut bytes = token.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let proven = Token::read(&bytes).and_then(|it| it.prove(&issuer(), &keys, NOW));
        prop_assert!(proven.is_err());
    }
}
