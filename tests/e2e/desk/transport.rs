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

/// Who holds connections open, before a request, in the midst of one or behind it, keeps nobody from
/// deciding for longer than a request may take.
#[test]
fn who_holds_the_door_is_let_go() {
    let stand = Stand::new();
    let here = stand.gate.process.http();
    let body = "POST /v1/login/saml HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{";
    let whole = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut held = Vec::new();
    for begun in ["", "GET /healthz HT", "GET /healthz HTTP/1.1\r\nX: ", body, whole] {
        for _ in 0..60 {
            let mut stream = TcpStream::connect(here).unwrap();
            // Past the share of an address it is closed at once.
            drop(stream.write_all(begun.as_bytes()));
            held.push(stream);
        }
    }
    // There is room for others.
    let other = setup::connect_from(std::net::Ipv4Addr::new(127, 0, 0, 2), here);
    assert!(answer_of(other, whole).starts_with("HTTP/1.1 200"), "another address");
    setup::eventually("room for this address", || {
        TcpStream::connect(here).is_ok_and(|stream| answer_of(stream, whole).contains(" 200 "))
    });
    assert_eq!(stand.get("anna", "/v1/grants").status, 200);
    drop(held);
}

fn answer_of(mut stream: TcpStream, request: &str) -> String {
    stream.set_read_timeout(Some(std::time::Duration::from_secs(2))).unwrap();
    drop(stream.write_all(request.as_bytes()));
    let mut said = [0; 1024];
    let count = stream.read(&mut said).unwrap_or(0);
    String::from_utf8_lossy(&said[..count]).into_owned()
}

/// A browser that knows a reviewer's secret sends it along with what another page asks.
#[test]
fn no_page_of_another_decides() {
    let stand = Stand::new();
    let here = stand.gate.process.http();
    let anna = Credential::of("anna", stand.secret("anna")).0.unwrap();
    let call = |more: &str| {
        let request = format!(
            "POST /v1/requests/req_0000000000000000/approve HTTP/1.1\r\nHost: localhost\r\n\
             Connection: close\r\nAuthorization: {anna}\r\n{more}Content-Length: 0\r\n\r\n"
        );
        let said = answer_of(TcpStream::connect(here).unwrap(), &request);
        said.split(' ').nth(1).unwrap_or_default().to_owned()
    };
    for (more, status) in [
        ("", "404"),
        ("Sec-Fetch-Site: none\r\n", "404"),
        ("Origin: https://evil.example\r\n", "403"),
        ("Origin: null\r\n", "403"),
        ("Sec-Fetch-Site: cross-site\r\n", "403"),
        ("Sec-Fetch-Site: same-site\r\n", "403"),
        ("Authorization: Basic YTpi\r\n", "401"),
    ] {
        assert_eq!(call(more), status, "{more}");
    }
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
