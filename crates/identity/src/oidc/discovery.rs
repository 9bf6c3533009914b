//! A provider's own description of itself (OpenID Connect Discovery): where its keys are. Which
//! addresses may be asked is the caller's to say.

use serde_json::Value;
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

#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum DiscoveryError {
    #[error("it is not a JSON object")]
    NotJson,
    #[error("it is of another issuer")]
    Issuer,
    #[error("it does not say where the keys are (`jwks_uri`)")]
    NoKeys,
}

impl Discovery {
    /// Section 4.3: the document has to be of the very issuer that it was asked of.
    pub fn read(bytes: &[u8], issuer: &str) -> Result<Discovery, DiscoveryError> {
        let document = json::object(bytes).ok_or(DiscoveryError::NotJson)?;
        if document.get("issuer").and_then(Value::as_str) != Some(issuer) {
            return Err(DiscoveryError::Issuer);
        }
        let keys = document.get("jwks_uri").and_then(Value::as_str);
        Ok(Discovery { keys: keys.ok_or(DiscoveryError::NoKeys)?.to_owned() })
    }
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
    fn the_address_is_below_the_issuer() {
        for issuer in ["https://idp.example/realms/a", "https://idp.example/realms/a/"] {
            let at = "https://idp.example/realms/a/.well-known/openid-configuration";
            assert_eq!(configuration_url(issuer), at);
        }
    }
}
