//! What comes with a token of an identity provider, from any bytes: the token, the keys, the
//! provider's description of itself, and the first message of OAUTHBEARER.
#![no_main]

use identity::bearer::First;
use identity::oidc::{Algorithm, Claim, Discovery, Issuer, KeySet, Token};
use libfuzzer_sys::fuzz_target;

/// A key of RFC 8037.
const KEYS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519",
    "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

fuzz_target!(|bytes: &[u8]| {
    let _ = First::read(bytes);
    let _ = Discovery::read(bytes, "https://idp.example");
    let _ = KeySet::read(bytes);
    if let Ok(token) = Token::read(bytes) {
        let issuer = Issuer {
            url: token.issuer().unwrap_or("https://idp.example").to_owned(),
            audiences: vec!["gatepost".to_owned()],
            parties: None,
            algorithms: Algorithm::ALL.to_vec(),
            groups: Claim::new("groups").unwrap(),
            claims: [("a".to_owned(), Claim::new("/a/b").unwrap())].into(),
        };
        let keys = KeySet::read(KEYS.as_bytes()).unwrap();
        // Nobody here has the key.
        assert!(token.prove(&issuer, &keys, 0).is_err());
    }
});
