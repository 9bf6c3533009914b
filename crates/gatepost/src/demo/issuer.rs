//! The demo's own identity provider: two documents over HTTP on this machine, and tokens signed by
//! a key that nobody keeps. It gives tokens to the demo alone, so it knows no logins.

use std::io;
use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Of a request for one of the documents.
const REQUEST_BYTES_MAX: usize = 8 << 10;

/// For sending it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a token is good.
const TOKEN_SECONDS: u64 = 3600;

pub(super) struct Issuer {
    pub(super) url: String,
    key: Ed25519KeyPair,
    serving: JoinHandle<()>,
}

impl Issuer {
    pub(super) async fn start() -> io::Result<Issuer> {
        let key = Ed25519KeyPair::generate().map_err(|_| io::Error::other("no randomness"))?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let keys = format!("{url}/keys");
        let description = json!({ "issuer": url, "jwks_uri": keys }).to_string();
        let x = encode(key.public_key().as_ref());
        let keys = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": "demo", "x": x }] });
        let keys = keys.to_string();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let answer = answer(stream, &description, &keys);
                // Whoever asks for something else, or not at all, gets nothing.
                let _unanswered = tokio::time::timeout(REQUEST_TIMEOUT, answer).await;
            }
        });
        Ok(Issuer { url, key, serving })
    }

    /// A token for a subject in a group.
    pub(super) fn token(&self, subject: &str, group: &str, audience: &str) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let header = json!({ "alg": "EdDSA", "kid": "demo", "typ": "at+jwt" });
        let claims = json!({
            "iss": self.url, "sub": subject, "aud": audience, "groups": [group],
            "iat": now, "exp": now + TOKEN_SECONDS,
        });
        let part = |value: Value| encode(value.to_string().as_bytes());
        let signed = format!("{}.{}", part(header), part(claims));
        format!("{signed}.{}", encode(self.key.sign(signed.as_bytes()).as_ref()))
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(mut stream: TcpStream, description: &str, keys: &str) -> io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = stream.read_buf(&mut request).await?;
        if read == 0 || request.len() > REQUEST_BYTES_MAX {
            return Ok(());
        }
    }
    let body = match request.split(|byte| *byte == b' ').nth(1) {
        Some(b"/.well-known/openid-configuration") => description,
        Some(b"/keys") => keys,
        _ => return Ok(()),
    };
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
