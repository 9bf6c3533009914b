//! How a secret may travel: over TLS, or on the same machine. And that what is published of the
//! calls is what is there.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use super::Stand;
use super::http::{Credential, Http};
use crate::setup;
use crate::startup::outer_address;

#[test]
fn from_elsewhere_only_under_tls() {
    let server = setup::database().server.clone();
    let stand = Stand::with(super::POLICIES, |plan| plan.http_everywhere().tls(&server));
    let ca = setup::pem(server.certificates.ca());
    let anna = Credential::of("anna", stand.secret("anna"));
    let here = stand.gate.process.http();
    let there = SocketAddr::from((outer_address(), here.port()));

    let get = |http: &Http| http.call(&anna, "GET", "/v1/grants", b"");
    assert_eq!(get(&Http::plain(here)).status, 200);
    assert_eq!(get(&Http::plain(there)).code(), (403, "plain_http"));
    assert_eq!(get(&Http::tls(there, ca.clone())).status, 200);
    assert_eq!(get(&Http::tls(here, ca)).status, 200);
    // What tells nobody's secret is open to all.
    let health = Http::plain(there).call(&Credential::none(), "GET", "/healthz", b"");
    assert_eq!(health.status, 200);
    // Who says nothing of themselves is told the same: the secret must not come next.
    let nobody = Http::plain(there).call(&Credential::none(), "GET", "/v1/grants", b"");
    assert_eq!(nobody.code(), (403, "plain_http"));
}

#[test]
fn bytes_that_are_no_http_end_their_connection_alone() {
    let stand = Stand::new();
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(2 << 20));
    for bytes in [
        &b"\x16\x03\x01\x00\x05hello"[..],
        b"\0\0\0\x08\x04\xd2\x16\x2f",
        b"GET\r\n\r\n",
        long.as_bytes(),
    ] {
        let mut stream = TcpStream::connect(stand.gate.process.http()).unwrap();
        stream.set_read_timeout(Some(e2e::PATIENCE)).unwrap();
        drop(stream.write_all(bytes));
        let mut said = Vec::new();
        drop(stream.read_to_end(&mut said));
        assert!(!said.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&said));
    }
    assert_eq!(stand.get("anna", "/v1/grants").status, 200);
}

/// Every call that is published is there, and asks who calls, but for those that lead to a login,
/// and the status.
#[test]
fn each_published_call_asks_who_calls() {
    let stand = Stand::new();
    let nobody = Credential::none();
    let published = stand.http().call(&nobody, "GET", "/v1/openapi.json", b"");
    assert_eq!(published.status, 200);
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(golden).unwrap()).unwrap();
    assert_eq!(published.body, golden);
    let mut calls = 0;
    for (path, methods) in published.body["paths"].as_object().unwrap() {
        for (method, call) in methods.as_object().unwrap() {
            let path = path.replace("{id}", "req_1");
            if call["security"] == serde_json::json!([]) {
                assert!(["/v1/login", "/v1/login/saml", "/v1/status"].contains(&&*path), "{path}");
                continue;
            }
            let answer = stand.http().call(&nobody, &method.to_uppercase(), &path, b"");
            assert_eq!(answer.code(), (401, "no_credential"), "{method} {path}");
            calls += 1;
        }
    }
    assert!(calls > 15, "{calls}");
}
