//! The one spot where a credential becomes an identity, and the one question that a session asks
//! about it.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use access::{LiveToken, State, TokenId};
use identity::Identity;
use identity::scram::{self, ITERATIONS, Salts, ScramError, Server, Verifier};
use policy::Opened;
use wire::backend::Authentication;
use wire::frontend::{self, SaslInitial};

use crate::arrival::Departure;
use crate::gate::Rules;
use crate::line::{Line, Message};
use crate::refusal::Refusal;
use crate::secret::SecretError;
use crate::settings::{Connection, Settings};

/// What may this identity do here? `None` where the file has no policies: whoever has proven an
/// identity may do whatever the connection's own credential may.
pub(crate) fn what_may(
    settings: &Settings,
    identity: &Identity,
    connection: &Connection,
) -> Result<Option<Rules>, Refusal> {
    let Some(policies) = &settings.policies else { return Ok(None) };
    let subject = settings.subject(identity);
    let connection = connection.name.clone();
    match policies.open(&subject, &connection) {
        Opened::Open(in_force) => Ok(Some(Rules::new(in_force))),
        Opened::Ask(ask) => Err(Refusal::NothingOpen { connection, ask }),
        Opened::Closed => Err(Refusal::NothingOpen { connection, ask: Vec::new() }),
    }
}

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

/// Asks for a proof of being `user`, by SCRAM. `binding` is the hash of the certificate that the
/// client sees. Says nothing after the proof: AuthenticationOk is the caller's to say.
pub(crate) async fn prove(
    line: &mut Line,
    user: &str,
    binding: Option<&[u8]>,
    accounts: &Accounts,
    salts: &Salts,
    state: &State,
    message_bytes_max: usize,
) -> Result<Identity, Departure> {
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

    // A name has its secret in one place: in the file, or as tokens in the state file.
    let now = now_ms();
    let tokens = match accounts.0.get(user) {
        Some(_) => Vec::new(),
        None => live_tokens(state, user, now).await?,
    };
    let of_file = accounts.0.get(user).into_iter();
    let verifiers = of_file.chain(tokens.iter().map(|(_, verifier)| verifier)).cloned().collect();

    let salt = salts.salt_of(user);
    let (server_first, server) =
        Server::begin(mechanism, client_first, binding, &salt, ITERATIONS, verifiers)
            .map_err(|error| refuse(error, user))?;
    say(line, &Authentication::SaslContinue(server_first.as_bytes())).await?;
    let message = response(line, message_bytes_max).await?;
    let (matched, server_final) =
        server.finish(message.body()).map_err(|error| refuse(error, user))?;
    say(line, &Authentication::SaslFinal(server_final.as_bytes())).await?;

    if let Some((id, _)) = tokens.into_iter().nth(matched) {
        let state = state.clone();
        // When a token was last used is worth knowing, and not worth waiting for.
        tokio::spawn(async move {
            if let Err(error) = state.touch_token(id, now).await {
                tracing::warn!(token = %id, %error, "the use of a token could not be noted");
            }
        });
    }
    Ok(Identity::local(user))
}

async fn live_tokens(
    state: &State,
    user: &str,
    now: i64,
) -> Result<Vec<(TokenId, Verifier)>, Refusal> {
    let rows = state.live_tokens(user, now).await.map_err(|error| {
        tracing::error!(%error, "the state file can't be read");
        Refusal::CredentialsUnchecked
    })?;
    rows.into_iter()
        // What opens one grant doesn't open all that its name may ask for.
        .filter(|token| token.grant.is_none())
        .map(|LiveToken { id, verifier, .. }| match verifier.parse() {
            Ok(verifier) => Ok((id, verifier)),
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

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
