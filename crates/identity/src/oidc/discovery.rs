//! A provider's own description of itself (OpenID Connect Discovery): where its keys are, and where a
//! client gets a token. Which addresses may be asked is the caller's to say.

use serde_json::{Map, Value};
use thiserror::Error;

use super::json;

/// Where an issuer says so.
pub fn configuration_url(issuer: &str) -> String {
    format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'))
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// Of the key set.
    pub keys: String,
}

/// Where a client gets a token, and gives one back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    pub token: String,
    /// Where a browser begins.
    pub authorization: Option<String>,
    /// Where a device without one does (RFC 8628).
    pub device: Option<String>,
    pub revocation: Option<String>,
    /// What the browser brings back names the issuer (RFC 9207).
    pub names_itself: bool,
}

#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum DiscoveryError {
    #[error("it is not a JSON object")]
    NotJson,
    #[error("it is of another issuer")]
    Issuer,
    #[error("it does not say where the keys are (`jwks_uri`)")]
    NoKeys,
    #[error("it does not say where tokens are given out (`token_endpoint`)")]
    NoTokens,
}

impl Discovery {
    pub fn read(bytes: &[u8], issuer: &str) -> Result<Discovery, DiscoveryError> {
        let document = document(bytes, issuer)?;
        let keys = text(&document, "jwks_uri").ok_or(DiscoveryError::NoKeys)?;
        Ok(Discovery { keys })
    }
}

impl Endpoints {
    pub fn read(bytes: &[u8], issuer: &str) -> Result<Endpoints, DiscoveryError> {
        let document = document(bytes, issuer)?;
        let names_itself = document.get("authorization_response_iss_parameter_supported");
        Ok(Endpoints {
            token: text(&document, "token_endpoint").ok_or(DiscoveryError::NoTokens)?,
            authorization: text(&document, "authorization_endpoint"),
            device: text(&document, "device_authorization_endpoint"),
            revocation: text(&document, "revocation_endpoint"),
            names_itself: names_itself == Some(&Value::Bool(true)),
        })
    }
}

/// Section 4.3: the document has to be of the very issuer that it was asked of.
fn document(bytes: &[u8], issuer: &str) -> Result<Map<String, Value>, DiscoveryError> {
    let document = json::object(bytes).ok_or(DiscoveryError::NotJson)?;
    match document.get("issuer").and_then(Value::as_str) {
        Some(named) if named == issuer => Ok(document),
        _ => Err(DiscoveryError::Issuer),
    }
}

fn text(document: &Map<String, Value>, key: &str) -> Option<String> {
    document.get(key)?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_of_its_issuer_and_names_keys() {
        let issuer = "https://idp.example/realms/a";
        for (document, expected) in [
            (
                r#"{"issuer":"https://idp.example/realms/a","jwks_uri":"https://idp.example/k"}"#,
                Ok("https://idp.example/k"),
            ),
            (
                r#"{"issuer":"https://idp.example/realms/b","jwks_uri":"https://idp.example/k"}"#,
                Err(DiscoveryError::Issuer),
            ),
            (
                r#"{"issuer":"https://idp.example/realms/a/","jwks_uri":"https://x"}"#,
                Err(DiscoveryError::Issuer),
            ),
            (r#"{"jwks_uri":"https://idp.example/k"}"#, Err(DiscoveryError::Issuer)),
            (r#"{"issuer":"https://idp.example/realms/a"}"#, Err(DiscoveryError::NoKeys)),
            (
                r#"{"issuer":"https://idp.example/realms/a","jwks_uri":1}"#,
                Err(DiscoveryError::NoKeys),
            ),
            ("<html>", Err(DiscoveryError::NotJson)),
        ] {
            let read = Discovery::read(document.as_bytes(), issuer);
            let expected = expected.map(|keys| Discovery { keys: keys.to_owned() });
            assert_eq!(read, expected, "{document}");
        }
    }

    #[test]
    fn where_a_client_gets_a_token() {
        let read = |more: &str| {
            let document = format!(r#"{{"issuer":"https://a"{more}}}"#);
            Endpoints::read(document.as_bytes(), "https://a")
        };
        assert_eq!(read(""), Err(DiscoveryError::NoTokens));
        let other = Endpoints::read(br#"{"issuer":"https://b","token_endpoint":"t"}"#, "https://a");
        assert_eq!(other, Err(DiscoveryError::Issuer));
        let least = Endpoints {
            token: "t".to_owned(),
            authorization: None,
            device: None,
            revocation: None,
            names_itself: false,
        };
        assert_eq!(read(r#","token_endpoint":"t","revocation_endpoint":1"#), Ok(least.clone()));
        let most = Endpoints {
            authorization: Some("a".to_owned()),
            device: Some("d".to_owned()),
            revocation: Some("r".to_owned()),
            names_itself: true,
            ..least
        };
        let more = r#","token_endpoint":"t","authorization_endpoint":"a","revocation_endpoint":"r",
            "device_authorization_endpoint":"d",
            "authorization_response_iss_parameter_supported":true"#;
        assert_eq!(read(more), Ok(most));
    }

    #[test]
    fn the_address_is_below_the_issuer() {
        for issuer in ["https://idp.example/realms/a", "https://idp.example/realms/a/"] {
            let at = "https://idp.example/realms/a/.well-known/openid-configuration";
            assert_eq!(configuration_url(issuer), at);
        }
    }
}
