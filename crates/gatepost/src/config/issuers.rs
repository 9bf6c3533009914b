//! Identity providers in the file: their keys as they are written, and what these come to.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use gateway::fetch::WebAddress;
use gateway::saml;
use gateway::settings::{self, Bearer, People, TokenKind};
use gateway::tls::{self, TlsMode};
use identity::oidc::{self, Algorithm, Claim};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::file::{DurationText, PathText};
use super::policies::Texts;
use super::resolve::Resolver;
use super::saml::SamlFile;
use super::shape::{At, Named, present};

/// An identity provider: OpenID Connect, or with `saml` SAML 2.0. Its signed tokens (JWT), or a token of
/// Gatepost's for a login there, are what its subjects give as their passwords. See
/// `docs/identity.md`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "issuer", rename = "Issuer")]
pub(crate) struct IssuerFile {
    /// The issuer, letter for letter as its tokens have it in `iss`. Its keys are found by
    /// `/.well-known/openid-configuration` below it: by HTTPS, by HTTP only on this machine itself.
    pub(super) url: At<String>,

    /// What a token has to be for: its `aud` names one of these.
    pub(super) audience: Texts,

    /// To whom a token may have been given: its `azp` or `client_id` is one of these. Without this
    /// key anybody, if the token is for nobody else besides.
    #[serde(default, deserialize_with = "present")]
    pub(super) parties: Option<Texts>,

    /// The signatures that are taken. By default all of RS256, RS384, RS512, PS256, PS384, PS512,
    /// ES256, ES384, ES512 and EdDSA; there are no others.
    #[serde(default, deserialize_with = "present")]
    pub(super) algorithms: Option<Texts>,

    /// The claim that holds the groups: a name, or a path into a claim as in `/realm_access/roles`.
    #[serde(default = "default_groups")]
    pub(super) groups: At<String>,

    /// What else comes along, by the name that policies use: the claim that holds it, as with
    /// `groups`. Nothing else does.
    #[serde(default)]
    pub(super) claims: Named<At<String>>,

    /// PEM file with the CA certificates to trust instead of the system's.
    #[serde(default, deserialize_with = "present")]
    pub(super) ca: Option<At<PathText>>,

    /// Keys that were fetched longer ago prove nothing. They are fetched again in half that time.
    #[serde(default = "default_keys_age_max")]
    pub(super) keys_age_max: At<DurationText>,

    /// When a session ends.
    #[serde(default)]
    pub(super) session_until: SessionUntil,

    /// Logins by OAUTHBEARER, for clients with libpq 18. Without this key tokens are passwords.
    #[serde(default, deserialize_with = "present")]
    pub(super) oauth: Option<Oauth>,

    /// How people get a token by `gatepost login`. Without this key they bring theirs.
    #[serde(default, deserialize_with = "present")]
    pub(super) login: Option<LoginFile>,

    /// The provider speaks SAML.
    #[serde(default, deserialize_with = "present")]
    pub(super) saml: Option<SamlFile>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum SessionUntil {
    /// With the window that the policies give it; the token matters at the login alone.
    #[default]
    Window,
    /// When the token expires, if that is before; with `saml` when the provider's own session ends, if it
    /// says when.
    Expiry,
}

/// Who logs in by OAUTHBEARER.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "oauth")]
pub(crate) struct Oauth {
    /// The user name that asks for it; `"*"` is every name that means nothing else. Clients that
    /// have no OAUTHBEARER fail under such a name.
    pub(super) user: At<String>,
    /// What a client asks the issuer for when it fetches a token by itself.
    #[serde(default = "default_scope")]
    scope: At<String>,
}

/// What `gatepost login` is to the provider: a client without a secret, for the authorization code flow
/// with PKCE by way of `http://127.0.0.1/callback` (on any port), the device flow, or both.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "login")]
pub(super) struct LoginFile {
    /// Its name there.
    pub(super) client_id: At<String>,
    /// What it asks for; by default `openid`. With `offline_access` most providers give what renews a
    /// token, so that people log in once a day and not once a token.
    #[serde(default, deserialize_with = "present")]
    scopes: Option<Texts>,
    /// Which of the provider's tokens is the password.
    #[serde(default)]
    token: LoginToken,
    /// Whom the token is to be for, where the provider has to be told (RFC 8707).
    #[serde(default, deserialize_with = "present")]
    resource: Option<At<String>>,
}

#[derive(Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum LoginToken {
    /// The access token, which has to be a JWT.
    #[default]
    Access,
    /// The ID token: it is for the client, so `audience` has to name that.
    Id,
}

fn default_groups() -> At<String> {
    At::unwritten("groups".to_owned())
}

fn default_keys_age_max() -> At<DurationText> {
    At::unwritten(DurationText("1h".to_owned()))
}

fn default_scope() -> At<String> {
    At::unwritten("openid".to_owned())
}

/// In `oauth.user`: every name.
const ANY: &str = "*";

impl Resolver<'_> {
    /// `is_local` knows the names of local identities.
    pub(super) fn issuers(
        &mut self,
        written: Vec<IssuerFile>,
        is_local: impl Fn(&str) -> bool,
    ) -> (Vec<Arc<settings::Issuer>>, Vec<Arc<settings::Saml>>) {
        let mut issuers: Vec<Arc<settings::Issuer>> = Vec::new();
        let mut of_saml = Vec::new();
        let mut seen = HashSet::new();
        for mut it in written {
            if !seen.insert(it.url.value.clone()) {
                self.refuse::<()>(it.url.at, "this issuer is there twice");
            }
            if let Some(saml) = it.saml.take() {
                if is_local(saml::USER) {
                    let message = format!(
                        "`{}` is a local identity, and the name that tokens of a SAML login come under",
                        saml::USER
                    );
                    self.refuse::<()>(it.url.at, message);
                }
                of_saml.extend(self.saml(it, &saml).map(Arc::new));
                continue;
            }
            if let Some(Oauth { user, .. }) = &it.oauth {
                let own = Some(&*user.value).filter(|user| *user != ANY);
                let taken = issuers.iter().filter_map(|other| other.bearer.as_ref());
                if taken.into_iter().any(|other| other.user.as_deref() == own) {
                    let message = format!("the user `{}` is another issuer's already", user.value);
                    self.refuse::<()>(user.at, message);
                }
                if is_local(&user.value) {
                    let message =
                        format!("`{}` is a local identity, and logs in as one", user.value);
                    self.refuse::<()>(user.at, message);
                }
            }
            issuers.extend(self.issuer(it).map(Arc::new));
        }
        (issuers, of_saml)
    }

    /// Without policies whoever comes may do whatever the connection may.
    pub(super) fn needs_policies(&mut self, issuers: &[Arc<settings::Issuer>]) {
        for issuer in issuers.iter().filter(|it| policy::is_for_everybody(&it.oidc.url)) {
            let message = format!(
                "anybody can get a token of `{}`; without `policies` they may do whatever the \
                 connection may",
                issuer.oidc.url
            );
            self.refuse::<()>(None, message);
        }
    }

    fn issuer(&mut self, it: IssuerFile) -> Option<settings::Issuer> {
        let address = self.read(&it.url, |url| match WebAddress::read(url) {
            Err(error) => Err(format!("`url`: {error}")),
            Ok(_) if url.contains(['|', '?']) => Err("`url` can't have `|` or `?`".to_owned()),
            Ok(address) => Ok(address),
        });
        let tls = address.and_then(|address| self.issuer_tls(&it, address.is_secure()));
        let audiences = self.texts(&it.url, it.audience, "audience");
        let parties = it.parties.map(|texts| self.texts(&it.url, texts, "parties"));
        let algorithms = match it.algorithms {
            None => Algorithm::ALL.to_vec(),
            Some(texts) => {
                if texts.0.is_empty() {
                    self.refuse::<()>(it.url.at, "`algorithms` of this issuer is an empty list");
                }
                texts.0.iter().filter_map(|text| self.read(text, |it| algorithm(it))).collect()
            }
        };
        let groups = self.claim(&it.groups);
        let mut claims = BTreeMap::new();
        for (name, claim) in &it.claims.0 {
            self.filled(name, "claims");
            if let Some(claim) = self.claim(claim) {
                claims.insert(name.value.clone(), claim);
            }
        }
        let keys_age_max = self.timeout(&it.keys_age_max);
        let bearer = it.oauth.map(|Oauth { user, scope }| {
            self.filled(&user, "user");
            self.filled(&scope, "scope");
            Bearer { user: Some(user.value).filter(|user| user != ANY), scope: scope.value }
        });
        let people = it.login.map(|login| self.people(login, &audiences, parties.as_deref()));
        Some(settings::Issuer {
            oidc: oidc::Issuer {
                url: it.url.value,
                audiences,
                parties,
                algorithms,
                groups: groups?,
                claims,
            },
            tls: tls?,
            keys_age_max: keys_age_max?,
            ends_with_token: it.session_until == SessionUntil::Expiry,
            bearer,
            people,
        })
    }

    fn people(
        &mut self,
        it: LoginFile,
        audiences: &[String],
        parties: Option<&[String]>,
    ) -> People {
        let LoginFile { client_id, scopes, token, resource } = it;
        self.filled(&client_id, "client_id");
        resource.iter().for_each(|resource| self.filled(resource, "resource"));
        let scopes = scopes.unwrap_or_else(|| Texts(vec![default_scope()]));
        for scope in &scopes.0 {
            if scope.value.is_empty() || scope.value.contains(char::is_whitespace) {
                self.refuse::<()>(scope.at, "a scope is one word; write a list of them");
            }
        }
        let token = match token {
            LoginToken::Access => TokenKind::Access,
            LoginToken::Id => TokenKind::Id,
        };
        let client = &client_id.value;
        if token == TokenKind::Id && !audiences.contains(client) {
            let message = format!("ID tokens are for `{client}`, which `audience` does not name");
            self.refuse::<()>(client_id.at, message);
        }
        if parties.is_some_and(|parties| !parties.contains(client)) {
            let message = format!("tokens are given to `{client}`, which `parties` does not name");
            self.refuse::<()>(client_id.at, message);
        }
        People {
            client_id: client_id.value,
            scopes: scopes.0.into_iter().map(|scope| scope.value).collect(),
            token,
            resource: resource.map(|resource| resource.value),
        }
    }

    fn issuer_tls(&mut self, it: &IssuerFile, is_secure: bool) -> Option<tls::UpstreamTls> {
        let mode = if is_secure { TlsMode::VerifyFull } else { TlsMode::Disable };
        if let (Some(ca), false) = (&it.ca, is_secure) {
            return self.refuse(ca.at, "`ca` verifies nothing where `url` is http://");
        }
        let ca = it.ca.as_ref().map(|ca| self.path(ca));
        match tls::UpstreamTls::new(mode, ca.as_deref()) {
            Ok(tls) => Some(tls),
            Err(error) => {
                let at = it.ca.as_ref().map_or(it.url.at, |ca| ca.at);
                self.refuse(at, format!("issuer `{}`: {error}", it.url.value))
            }
        }
    }

    /// At least one, and none of them empty.
    fn texts(&mut self, of: &At<String>, texts: Texts, key: &str) -> Vec<String> {
        if texts.0.is_empty() {
            self.refuse::<()>(of.at, format!("`{key}` of this issuer is an empty list"));
        }
        texts.0.iter().for_each(|text| self.filled(text, key));
        texts.0.into_iter().map(|text| text.value).collect()
    }

    fn claim(&mut self, written: &At<String>) -> Option<Claim> {
        self.read(written, |it| Claim::new(it).map_err(|error| format!("`{it}`: {error}")))
    }
}

fn algorithm(name: &str) -> Result<Algorithm, String> {
    // What is near is not suggested: who wrote HS256 doesn't mean RS256.
    Algorithm::named(name).ok_or_else(|| {
        let names = Algorithm::ALL.map(Algorithm::name).join(", ");
        format!("the algorithm `{name}` is not taken; those that are: {names}")
    })
}
