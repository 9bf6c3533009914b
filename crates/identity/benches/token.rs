//! What a login with an identity provider's token costs: reading and proving it, by the kind of its
//! signature.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a bench may panic")]

use std::hint::black_box;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use criterion::{Criterion, criterion_group, criterion_main};
use identity::oidc::{Algorithm, Claim, Issuer, KeySet, Token};
use serde_json::{Value, json};

const NOW: i64 = 1_800_000_000;

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn signed(algorithm: &str) -> String {
    let groups: Vec<String> = (0..20).map(|n| format!("group-{n}")).collect();
    let claims = json!({
        "iss": "https://idp.example", "sub": "agent-7", "aud": "gatepost", "exp": NOW + 300,
        "iat": NOW, "nbf": NOW, "jti": "c0ffee", "groups": groups, "env": "production",
    });
    let header = json!({"alg": algorithm, "kid": "one", "typ": "JWT"});
    format!("{}.{}", encode(header.to_string()), encode(claims.to_string()))
}

fn ecdsa() -> (Value, String) {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
    let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
    let key = json!({"kty": "EC", "crv": "P-256", "kid": "one", "x": encode(x), "y": encode(y)});
    let signed = signed("ES256");
    let signature = pair.sign(&SystemRandom::new(), signed.as_bytes()).expect("a signature");
    (key, format!("{signed}.{}", encode(signature)))
}

fn ed25519() -> (Value, String) {
    let pair = Ed25519KeyPair::generate().expect("a key");
    let x = encode(pair.public_key().as_ref());
    let key = json!({"kty": "OKP", "crv": "Ed25519", "kid": "one", "x": x});
    let signed = signed("EdDSA");
    let signature = pair.sign(signed.as_bytes());
    (key, format!("{signed}.{}", encode(signature)))
}

fn rsa() -> (Value, String) {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
    // PKCS #1: a sequence of the modulus, behind a sign byte, and 65537.
    let n = encode(&pair.public_key().as_ref()[9..265]);
    let key = json!({"kty": "RSA", "kid": "one", "n": n, "e": "AQAB"});
    let signed = signed("RS256");
    let mut signature = vec![0; pair.public_modulus_len()];
    let random = SystemRandom::new();
    pair.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature).expect("a signature");
    (key, format!("{signed}.{}", encode(signature)))
}

fn bench(criterion: &mut Criterion) {
    let issuer = Issuer {
        url: "https://idp.example".to_owned(),
        audiences: vec!["gatepost".to_owned()],
        parties: None,
        algorithms: Algorithm::ALL.to_vec(),
        groups: Claim::new("groups").expect("a claim"),
        claims: [("env".to_owned(), Claim::new("env").expect("a claim"))].into(),
    };
    for (name, (key, token)) in [("RS256", rsa()), ("ES256", ecdsa()), ("EdDSA", ed25519())] {
        let keys = KeySet::read(json!({ "keys": [key] }).to_string().as_bytes()).expect("keys");
        criterion.bench_function(&format!("token/{name}"), |bencher| {
            bencher.iter(|| {
                let token = Token::read(black_box(token.as_bytes())).expect("a token");
                token.prove(&issuer, &keys, NOW).expect("an identity")
            });
        });
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
