//! The one spot where a credential becomes an identity. What that identity may is asked in `grants`.

mod token;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use access::{GrantId, LiveToken, State, TokenId};
use identity::Identity;
use identity::scram::{self, ITERATIONS, Salts, ScramError, Server, Verifier};
use tokio::time::Instant;
use wire::backend::Authentication;
use wire::frontend::{self, SaslInitial};

use crate::arrival::Departure;
use crate::attempts::Visitor;
use crate::gateway::{Gateway, Installed};
use crate::issuers::Provider;
use crate::line::{Line, Message};
use crate::refusal::Refusal;
use crate::saml;
use crate::secret::SecretError;
use crate::settings::Settings;

/// The local accounts whose secret is in the file.
pub(crate) struct Accounts(HashMap<String, Verifier>);

impl Accounts {
    /// Reads every secret once, so that logins with them cost what logins with tokens cost.
    pub(crate) async fn read(
        settings: &Settings,
        salts: &Salts,
    ) -> Result<Accounts, (String, SecretError)> {
        let mut verifiers = HashMap::new();
        for (name, secret) in &settings.accounts {
            let secret = secret.read().await.map_err(|error| (name.clone(), error))?;
            let verifier = Verifier::derive(secret.as_bytes(), &salts.salt_of(name), ITERATIONS);
            verifiers.insert(name.clone(), verifier);
        }
        Ok(Accounts(verifiers))
    }
}

/// What is known of a client before it has proven anything.
pub(crate) struct Asked<'a> {
    pub(crate) user: &'a str,
    /// `None` over a Unix socket.
    pub(crate) address: Option<IpAddr>,
    /// The hash of the certificate that it sees.
    pub(crate) binding: Option<&'a [u8]>,
    /// What it sends can be read by nobody on the way: under TLS, or on this machine.
    pub(crate) is_private: bool,
}

/// Who it is, and how that was proven.
pub(crate) struct Proof {
    pub(crate) identity: Identity,
    pub(crate) method: &'static str,
    /// When the token ends, where the session ends with it.
    pub(crate) token_ends: Option<Instant>,
    /// The grant that its token is for, and no other.
    pub(crate) grant: Option<GrantId>,
}

/// What a client is asked for. It is one request, and clients give up at one that they can't
/// answer; so what is known of them, their name, has to pick.
enum Method {
    Scram,
    /// A token of an identity provider, or of ours for a login there, as a password.
    Token,
    Bearer(Arc<Provider>),
}

/// Asks for a proof of being somebody. Says nothing after it: AuthenticationOk is the caller's to
/// say.
pub(crate) async fn prove(
    line: &mut Line,
    gateway: &Gateway,
    installed: &Installed,
    asked: &Asked<'_>,
) -> Result<Proof, Departure> {
    let bound = installed.settings.bounds.failed_logins;
    let visitor = Visitor { address: asked.address, name: asked.user };
    if let Some(wait) = gateway.attempts.wait(visitor, bound, std::time::Instant::now()) {
        return Err(Refusal::TooManyFailures { seconds: wait.as_secs() + 1 }.into());
    }
    let proof = match method(gateway, installed, asked).await? {
        Method::Scram => scram(line, gateway, installed, asked).await,
        Method::Token => token::password(line, asked.user, gateway, installed).await,
        Method::Bearer(provider) => {
            token::bearer(line, asked.user, &provider, gateway, installed).await
        }
    };
    let now = std::time::Instant::now();
    match &proof {
        Ok(_) => gateway.attempts.succeeded(visitor, bound, now),
        Err(Departure::Refused(refusal)) if refusal.is_of_a_wrong_credential() => {
            gateway.attempts.failed(visitor, bound, now);
        }
        Err(_) => {}
    }
    proof
}

/// That a name is a local account's may be learned here, and nothing else.
async fn method(
    gateway: &Gateway,
    installed: &Installed,
    asked: &Asked<'_>,
) -> Result<Method, Refusal> {
    let (user, settings) = (asked.user, &installed.settings);
    if (installed.providers.is_empty() && settings.saml.is_empty())
        || installed.accounts.0.contains_key(user)
        || settings.traits.contains_key(user)
        || has_tokens(&gateway.state, user).await?
    {
        return Ok(Method::Scram);
    }
    if !asked.is_private {
        return Err(Refusal::TokenInTheClear);
    }
    // No local name has this character, so whoever writes it has a token and says so: whatever the
    // others are asked for, programs that know no OAUTHBEARER get in under such a name.
    if user.contains('|') || (user == saml::USER && !settings.saml.is_empty()) {
        return Ok(Method::Token);
    }
    let bearer = |named: Option<&str>| {
        let mut providers = installed.providers.iter();
        providers.find(|it| it.issuer.bearer.as_ref().is_some_and(|it| it.user.as_deref() == named))
    };
    let provider = bearer(Some(user)).or_else(|| bearer(None));
    Ok(provider.map_or(Method::Token, |provider| Method::Bearer(provider.clone())))
}

/// Whether it has one in the state file, or ever had: who comes with a token that has ended is not
/// asked for it in the clear.
async fn has_tokens(state: &State, user: &str) -> Result<bool, Refusal> {
    state.has_tokens(user).await.map_err(|error| {
        tracing::error!(%error, "the state file can't be read");
        Refusal::CredentialsUnchecked
    })
}

/// By SCRAM, which an unknown name fails like a wrong secret.
async fn scram(
    line: &mut Line,
    gateway: &Gateway,
    installed: &Installed,
    asked: &Asked<'_>,
) -> Result<Proof, Departure> {
    let Asked { user, binding, .. } = *asked;
    let (accounts, salts, state) = (&installed.accounts, &gateway.salts, &gateway.state);
    let message_bytes_max = installed.settings.bounds.login_message_bytes;
    let mechanisms = scram::mechanisms(binding).iter().map(|name| name.as_bytes()).collect();
    say(line, &Authentication::Sasl { mechanisms }).await?;
    let message = response(line, message_bytes_max).await?;
    let Some(SaslInitial { mechanism, data: Some(client_first) }) =
        SaslInitial::read(message.body())
    else {
        return Err(malformed("no SASL response"));
    };
    let mechanism =
        std::str::from_utf8(mechanism).map_err(|_| malformed("the SASL mechanism is not UTF-8"))?;

    // A name has its secret in one place: in the file, or as tokens in the state file. Those for one
    // grant are beside it.
    let now = now_ms();
    let of_file = accounts.0.get(user);
    let mut tokens = live_tokens(state, user, now).await?;
    tokens.retain(|token| of_file.is_none() || token.grant.is_some());
    let verifiers = of_file.into_iter().chain(tokens.iter().map(|token| &token.verifier));
    let verifiers = verifiers.cloned().collect();

    let salt = salts.salt_of(user);
    let (server_first, server) =
        Server::begin(mechanism, client_first, binding, &salt, ITERATIONS, verifiers)
            .map_err(|error| refuse(error, user))?;
    say(line, &Authentication::SaslContinue(server_first.as_bytes())).await?;
    let message = response(line, message_bytes_max).await?;
    let (matched, server_final) =
        server.finish(message.body()).map_err(|error| refuse(error, user))?;
    let of_tokens = matched.checked_sub(of_file.iter().len());
    let token = of_tokens.and_then(|matched| tokens.into_iter().nth(matched));
    if let Some(token) = token.as_ref().filter(|token| token.single_use) {
        let spent = state.spend_token(token.id).await.map_err(|error| {
            tracing::error!(%error, "the state file can't be written");
            Refusal::CredentialsUnchecked
        })?;
        // Somebody else was quicker with it.
        if !spent {
            return Err(refuse(ScramError::Refused, user));
        }
    }
    say(line, &Authentication::SaslFinal(server_final.as_bytes())).await?;
    let lasting = token.as_ref().filter(|token| !token.single_use);
    note_uses(state, lasting.map(|token| token.id), now);
    let identity = installed.settings.known(Identity::local(user));
    let grant = token.and_then(|token| token.grant);
    Ok(Proof { identity, method: "scram", token_ends: None, grant })
}

/// What is sent as it is, under TLS or on this machine, by who does not speak PostgreSQL's protocol.
pub enum Secret<'s> {
    /// A name of Gatepost's own, and its secret.
    Local { user: &'s str, secret: &'s str },
    /// A token of an identity provider.
    Token(&'s str),
}

/// The same for such a secret. A token for one grant proves nobody here: it opens that grant, and
/// nothing else.
pub(crate) async fn prove_by_secret(
    gateway: &Gateway,
    secret: &Secret<'_>,
    address: IpAddr,
) -> Result<Identity, Refusal> {
    let installed = gateway.installed();
    let bound = installed.settings.bounds.failed_logins;
    // Nobody is kept out by tokens that others send from elsewhere.
    let (Secret::Local { user: name, .. } | Secret::Token(name)) = *secret;
    let visitor = Visitor { address: Some(address), name };
    if let Some(wait) = gateway.attempts.wait(visitor, bound, std::time::Instant::now()) {
        return Err(Refusal::TooManyFailures { seconds: wait.as_secs() + 1 });
    }
    let proven = match secret {
        Secret::Local { user, secret } => local(gateway, &installed, user, secret).await,
        Secret::Token(token) => token::sent(token.as_bytes(), gateway, &installed).await,
    };
    let now = std::time::Instant::now();
    match &proven {
        Ok(_) => gateway.attempts.succeeded(visitor, bound, now),
        Err(refusal) if refusal.is_of_a_wrong_credential() => {
            gateway.attempts.failed(visitor, bound, now);
        }
        Err(_) => {}
    }
    proven
}

/// The same work is done whether the name exists or not, and wherever its secret is.
async fn local(
    gateway: &Gateway,
    installed: &Installed,
    user: &str,
    secret: &str,
) -> Result<Identity, Refusal> {
    let (state, now) = (&gateway.state, now_ms());
    let tried = Verifier::derive(secret.as_bytes(), &gateway.salts.salt_of(user), ITERATIONS);
    let tokens = live_tokens(state, user, now).await?;
    let is_known = match installed.accounts.0.get(user) {
        Some(verifier) => verifier.is(&tried),
        None => {
            let own = tokens.iter().filter(|token| token.grant.is_none());
            let known: Vec<TokenId> =
                own.filter(|token| token.verifier.is(&tried)).map(|token| token.id).collect();
            note_uses(state, known.first().copied(), now);
            !known.is_empty()
        }
    };
    match is_known {
        true => Ok(installed.settings.known(Identity::local(user))),
        false => Err(Refusal::WrongCredential { user: user.to_owned() }),
    }
}

/// When a token was last used is worth knowing, and not worth waiting for.
fn note_uses(state: &State, token: Option<TokenId>, now: i64) {
    let Some(id) = token else { return };
    let state = state.clone();
    tokio::spawn(async move {
        if let Err(error) = state.touch_token(id, now).await {
            tracing::warn!(token = %id, %error, "the use of a token could not be noted");
        }
    });
}

/// A token that a login is checked against.
struct Token {
    id: TokenId,
    verifier: Verifier,
    grant: Option<GrantId>,
    single_use: bool,
}

async fn live_tokens(state: &State, user: &str, now: i64) -> Result<Vec<Token>, Refusal> {
    let rows = state.live_tokens(user, now).await.map_err(|error| {
        tracing::error!(%error, "the state file can't be read");
        Refusal::CredentialsUnchecked
    })?;
    rows.into_iter()
        .map(|LiveToken { id, verifier, grant, single_use }| match verifier.parse() {
            Ok(verifier) => Ok(Token { id, verifier, grant, single_use }),
            Err(error) => {
                tracing::error!(token = %id, %error, "the state file holds a broken verifier");
                Err(Refusal::CredentialsUnchecked)
            }
        })
        .collect()
}

async fn say(line: &mut Line, authentication: &Authentication<'_>) -> Result<(), Departure> {
    let mut out = Vec::new();
    authentication.write(&mut out);
    Ok(line.say(&out).await?)
}

async fn response(line: &mut Line, bytes_max: usize) -> Result<Message, Departure> {
    let message = line.message(bytes_max).await?;
    match message.tag {
        frontend::PASSWORD => Ok(message),
        frontend::TERMINATE => Err(Departure::Left),
        _ => Err(malformed("expected a SASL response")),
    }
}

fn refuse(error: ScramError, user: &str) -> Departure {
    Departure::Refused(match error {
        ScramError::Refused => Refusal::WrongCredential { user: user.to_owned() },
        ScramError::NoRandomness(_) => Refusal::CredentialsUnchecked,
        error => Refusal::Scram(error),
    })
}

fn malformed(what: &'static str) -> Departure {
    Departure::Refused(Refusal::MalformedCredential { what })
}

pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
