//! What a browser posts and what an administrator saves, from any bytes: responses, tickets, a
//! provider's description of itself, certificates.
#![no_main]

use identity::saml::{Described, Key, Provider, Response, Ticket, decode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = decode(text);
    let _ = Ticket::read(text);
    let _ = Described::read(text);
    let _ = Key::of_pem(text);
    if let Ok(response) = Response::read(text) {
        let provider = Provider {
            entity: response.issuer().unwrap_or("https://idp.example").to_owned(),
            sso: "https://idp.example/sso".to_owned(),
            // Nobody has a key.
            keys: Vec::new(),
            audience: "https://gate.example".to_owned(),
            consumer: "https://gate.example/saml/acs".to_owned(),
            signs: None,
            subject: None,
            groups: "groups".to_owned(),
            claims: [("env".to_owned(), "environment".to_owned())].into(),
        };
        assert!(response.prove(&provider, 0).is_err());
    }
});
