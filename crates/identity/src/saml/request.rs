//! The request that a browser carries to a provider (HTTP-Redirect; SAML 2.0 bindings, 3.4): the
//! address that it is sent to.

use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::canonical::escaped;
use super::{Provider, Ticket, time};
use crate::NoRandomness;

const RSA_SHA256: &str = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256";

impl Provider {
    /// Where the browser that keeps this ticket is to go; `now` is in Unix seconds.
    pub fn login_address(&self, ticket: &Ticket, now: i64) -> Result<String, NoRandomness> {
        let request = format!(
            "<samlp:AuthnRequest xmlns:samlp=\"urn:oasis:names:tc:SAML:2.0:protocol\" \
             xmlns:saml=\"urn:oasis:names:tc:SAML:2.0:assertion\" ID=\"{}\" Version=\"2.0\" \
             IssueInstant=\"{}\" Destination=\"{}\" AssertionConsumerServiceURL=\"{}\" \
             ProtocolBinding=\"urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST\">\
             <saml:Issuer>{}</saml:Issuer><samlp:NameIDPolicy AllowCreate=\"true\"/>\
             </samlp:AuthnRequest>",
            ticket.name(),
            time::write(now),
            escaped(&self.sso),
            escaped(&self.consumer),
            escaped(&self.audience),
        );
        let mut query = format!("SAMLRequest={}", encoded(&STANDARD.encode(deflated(&request))));
        if let Some(key) = &self.signs {
            query.push_str(&format!("&SigAlg={}", encoded(RSA_SHA256)));
            let signature = key.sign(query.as_bytes())?;
            query.push_str(&format!("&Signature={}", encoded(&STANDARD.encode(signature))));
        }
        let joint = if self.sso.contains('?') { '&' } else { '?' };
        Ok(format!("{}{joint}{query}", self.sso))
    }
}

/// DEFLATE (RFC 1951) without compressing: what is stored needs no compressor, and a request fits.
fn deflated(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 16);
    let mut blocks = text.as_bytes().chunks(usize::from(u16::MAX)).peekable();
    while let Some(block) = blocks.next() {
        // The last one is marked. Chunks are as long as this says, at most.
        out.push(u8::from(blocks.peek().is_none()));
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(block);
    }
    out
}

/// As a value in a query (RFC 3986).
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => {
                let _infallible = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}
