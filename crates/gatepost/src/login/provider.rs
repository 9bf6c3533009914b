//! The identity provider as a client without a secret sees it: which addresses it names, what it
//! answers to a form, and which of its tokens logs in. What is asked when is `browser`'s and
//! `device`'s business.

use std::path::Path;

use api::v1::login::Which;
use gateway::fetch::{FetchError, NotAWebAddress, WebAddress};
use gateway::tls::{TlsError, UpstreamTls};
use identity::oidc::{DiscoveryError, Endpoints, Token, TokenError, configuration_url};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::kept::Client;
use crate::table::plain;

/// Of what a provider answers.
const ANSWER_BYTES_MAX: usize = 128 << 10;

pub(super) struct Provider {
    pub(super) client: Client,
    pub(super) endpoints: Endpoints,
    tls: UpstreamTls,
    /// The issuer is asked under TLS, and what it names has to be, too.
    is_secure: bool,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum ProviderError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("{0}: {1}")]
    Fetch(String, FetchError),
    #[error("{0}: the description of the issuer can't be used: {1}")]
    Discovery(String, DiscoveryError),
    #[error("the provider says {}{}", plain(.0), described(.1.as_deref()))]
    Said(String, Option<String>),
    #[error("the provider's answer can't be understood: {0}")]
    Odd(&'static str),
    #[error(
        "the provider gave no token that can log in ({0}): who runs the gateway sets `token: id`, \
         `scopes` or `resource` of this issuer's `login`"
    )]
    Useless(&'static str),
}

/// What a provider gives out. There is no `Debug`: these are secrets.
#[derive(Deserialize)]
pub(super) struct Tokens {
    access_token: Option<String>,
    id_token: Option<String>,
    pub(super) refresh_token: Option<String>,
}

/// An error as OAuth has it (RFC 6749, section 5.2).
#[derive(Deserialize)]
struct Said {
    error: String,
    error_description: Option<String>,
}

/// A token that logs in, as far as it says itself: nothing of it is proven here.
pub(super) struct Credential {
    pub(super) token: String,
    pub(super) subject: String,
    pub(super) expires: i64,
}

impl Provider {
    pub(super) async fn find(client: Client, ca: Option<&Path>) -> Result<Provider, ProviderError> {
        let tls = UpstreamTls::beside_system(ca)?;
        let url = configuration_url(&client.issuer);
        let failed = |error| ProviderError::Fetch(url.clone(), error);
        let address = WebAddress::read(&url).map_err(|error| failed(error.into()))?;
        let document = address.get(&tls, ANSWER_BYTES_MAX).await.map_err(failed)?;
        let endpoints = Endpoints::read(&document, &client.issuer)
            .map_err(|error| ProviderError::Discovery(url, error))?;
        Ok(Provider { client, endpoints, tls, is_secure: address.is_secure() })
    }

    /// An address that the provider names, if it may be asked.
    pub(super) fn address(&self, url: &str) -> Result<WebAddress, ProviderError> {
        let read = WebAddress::read(url).ok();
        read.filter(|address| address.is_secure() || !self.is_secure)
            .ok_or_else(|| ProviderError::Fetch(url.to_owned(), NotAWebAddress.into()))
    }

    pub(super) async fn tokens(&self, form: &[(&str, &str)]) -> Result<Tokens, ProviderError> {
        self.ask(&self.endpoints.token, form).await
    }

    /// What it answers to a form in the name of our client.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        url: &str,
        form: &[(&str, &str)],
    ) -> Result<T, ProviderError> {
        let body = self.say(url, form).await?;
        serde_json::from_slice(&body)
            .map_err(|_| ProviderError::Odd("it is not the JSON it should be"))
    }

    pub(super) async fn say(
        &self,
        url: &str,
        form: &[(&str, &str)],
    ) -> Result<Vec<u8>, ProviderError> {
        let address = self.address(url)?;
        let mut text = form_urlencoded::Serializer::new(String::new());
        text.append_pair("client_id", &self.client.id).extend_pairs(form);
        let answered = address.post(text.finish(), &self.tls, ANSWER_BYTES_MAX).await;
        let (status, body) =
            answered.map_err(|error| ProviderError::Fetch(url.to_owned(), error))?;
        if status.is_success() {
            return Ok(body);
        }
        Err(match serde_json::from_slice(&body) {
            Ok(Said { error, error_description }) => ProviderError::Said(error, error_description),
            Err(_) => ProviderError::Fetch(url.to_owned(), FetchError::Status(status)),
        })
    }
}

impl ProviderError {
    /// The name of an error that the provider itself has answered.
    pub(super) fn said(&self) -> Option<&str> {
        match self {
            ProviderError::Said(error, _) => Some(error),
            _ => None,
        }
    }
}

impl Tokens {
    /// The one that the gateway takes.
    pub(super) fn credential(&self, which: Which) -> Result<Credential, ProviderError> {
        let token = match which {
            Which::Access => &self.access_token,
            Which::Id => &self.id_token,
        };
        let token = token.as_deref().ok_or(ProviderError::Useless("there is none of its kind"))?;
        let read = Token::read(token.as_bytes()).map_err(|error| match error {
            TokenError::NotCompact => ProviderError::Useless("it is no JWT"),
            TokenError::TooLong => ProviderError::Useless("it is too long"),
            _ => ProviderError::Useless("it is a JWT of another kind"),
        })?;
        let claims = read.subject().zip(read.expires());
        let (subject, expires) =
            claims.ok_or(ProviderError::Useless("it has no subject or no end"))?;
        Ok(Credential { token: token.to_owned(), subject: subject.to_owned(), expires })
    }
}

fn described(description: Option<&str>) -> String {
    description.map(|words| format!(": {}", plain(words))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::json;

    use super::*;

    fn jwt(claims: serde_json::Value) -> String {
        let part = |text: String| URL_SAFE_NO_PAD.encode(text);
        let header = part(r#"{"alg":"ES256"}"#.to_owned());
        format!("{header}.{}.{}", part(claims.to_string()), part("x".to_owned()))
    }

    #[test]
    fn which_token_logs_in() {
        let good = jwt(json!({"iss": "https://a", "sub": "anna", "exp": 12}));
        let tokens = |access: &str, id: &str| Tokens {
            access_token: Some(access.to_owned()),
            id_token: Some(id.to_owned()),
            refresh_token: None,
        };
        let mixed = tokens("opaque", &good);
        let credential = mixed.credential(Which::Id).ok().unwrap();
        assert_eq!((&*credential.subject, credential.expires), ("anna", 12));
        assert!(tokens(&good, "").credential(Which::Access).is_ok());
        for (access, why) in [
            ("opaque", "it is no JWT"),
            (&*jwt(json!({"sub": "anna"})), "it has no subject or no end"),
            (&*jwt(json!({"exp": 12})), "it has no subject or no end"),
            (&*"x".repeat(20_000), "it is too long"),
        ] {
            let refusal = tokens(access, "").credential(Which::Access).err().unwrap().to_string();
            assert!(refusal.contains(why), "{refusal}");
        }
        let none = Tokens { access_token: None, id_token: None, refresh_token: None };
        assert!(none.credential(Which::Access).is_err());
    }

    #[test]
    fn nothing_of_a_provider_steers_a_terminal() {
        let said = ProviderError::Said("a\u{1b}[2J".to_owned(), Some("b\u{7}".to_owned()));
        assert_eq!(said.to_string(), "the provider says a\\u{1b}[2J: b\\u{7}");
    }
}
