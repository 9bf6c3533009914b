//! A client of HTTP that says exactly what a test wants said.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// Longer than the longest wait of a call.
const PATIENCE: Duration = Duration::from_secs(60);

/// The `Authorization` of a call.
pub struct Credential(pub Option<String>);

impl Credential {
    pub fn none() -> Credential {
        Credential(None)
    }

    pub fn of(name: &str, secret: &str) -> Credential {
        Credential(Some(format!("Basic {}", STANDARD.encode(format!("{name}:{secret}")))))
    }
}

pub struct Http {
    address: SocketAddr,
    /// The authority that is trusted, under TLS.
    ca: Option<String>,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    /// `Null` where it is no JSON.
    pub body: Value,
}

impl Answer {
    #[track_caller]
    pub fn text(&self, pointer: &str) -> &str {
        let found = self.body.pointer(pointer).and_then(Value::as_str);
        found.unwrap_or_else(|| panic!("no {pointer} in {self:?}"))
    }

    pub fn code(&self) -> (u16, &str) {
        (self.status, self.text("/code"))
    }
}

impl Http {
    pub fn plain(address: SocketAddr) -> Http {
        Http { address, ca: None }
    }

    pub fn tls(address: SocketAddr, ca: String) -> Http {
        Http { address, ca: Some(ca) }
    }

    pub fn call(&self, who: &Credential, method: &str, path: &str, body: &[u8]) -> Answer {
        self.try_call(who, method, path, body).expect("an answer")
    }

    /// `None` where the other side hangs up without one.
    pub fn try_call(
        &self,
        who: &Credential,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> Option<Answer> {
        let authorization =
            who.0.as_ref().map_or_else(String::new, |who| format!("Authorization: {who}\r\n"));
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{authorization}\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = TcpStream::connect(self.address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let bytes = [head.as_bytes(), body].concat();
        let text = match &self.ca {
            None => exchange(&mut stream, &bytes),
            Some(ca) => {
                let mut roots = rustls::RootCertStore::empty();
                for certificate in crate::raw::certificates(ca) {
                    roots.add(certificate).expect("a CA certificate");
                }
                let config = rustls::ClientConfig::builder()
                    .with_root_certificates(roots)
                    .with_no_client_auth();
                let name = "localhost".try_into().unwrap();
                let tls = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
                exchange(&mut rustls::StreamOwned::new(tls, stream), &bytes)
            }
        };
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let body = serde_json::from_str(body).unwrap_or(Value::Null);
        Some(Answer { status, head: head.to_owned(), body })
    }
}

/// However the other side ends it: what it has said counts.
fn exchange(stream: &mut (impl Read + Write), bytes: &[u8]) -> String {
    drop(stream.write_all(bytes).and_then(|()| stream.flush()));
    let mut said = Vec::new();
    drop(stream.read_to_end(&mut said));
    String::from_utf8(said).expect("text")
}
