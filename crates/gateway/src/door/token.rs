//! Logins with tokens of identity providers: as a password inside TLS, or by OAUTHBEARER. Whoever
//! is refused reads the same words after the same time, whatever was wrong; logs and records say
//! what it was.

use std::sync::Arc;
use std::time::Duration;

use identity::Identity;
use identity::bearer::{self, ACKNOWLEDGED, First, OAUTHBEARER};
use identity::oidc::{Proven, TOKEN_BYTES_MAX, Token, TokenError, configuration_url};
use tokio::time::Instant;
use wire::backend::Authentication;
use wire::frontend::SaslInitial;

use super::{Proof, malformed, now_ms, response, say};
use crate::arrival::Departure;
use crate::gateway::Installed;
use crate::issuers::{Provider, Unproven};
use crate::line::Line;
use crate::refusal::Refusal;

/// A token and what OAUTHBEARER has around it.
const MESSAGE_BYTES_MAX: usize = TOKEN_BYTES_MAX + 1024;

/// A refusal comes after this time, or after a multiple of it: how long the looking took is nobody's
/// business.
const REFUSAL_STEP: Duration = Duration::from_millis(100);

/// Asks for a token as a password. The line must be one that nobody else can read.
pub(super) async fn password(
    line: &mut Line,
    user: &str,
    installed: &Installed,
) -> Result<Proof, Departure> {
    say(line, &Authentication::Cleartext).await?;
    let message = response(line, MESSAGE_BYTES_MAX).await?;
    let since = Instant::now();
    let token = match message.body().split_last() {
        Some((0, token)) if !token.contains(&0) => token,
        _ => return Err(malformed("the password is not a string")),
    };
    let proven = prove(token, installed).await;
    in_time(since, &proven).await;
    conclude(proven, user, "token")
}

/// Asks for a token by OAUTHBEARER; who has none is told that `provider` gives them.
pub(super) async fn bearer(
    line: &mut Line,
    user: &str,
    provider: &Provider,
    installed: &Installed,
) -> Result<Proof, Departure> {
    say(line, &Authentication::Sasl { mechanisms: vec![OAUTHBEARER.as_bytes()] }).await?;
    let message = response(line, MESSAGE_BYTES_MAX).await?;
    let since = Instant::now();
    let Some(SaslInitial { mechanism, data: Some(first) }) = SaslInitial::read(message.body())
    else {
        return Err(malformed("no SASL response"));
    };
    if mechanism != OAUTHBEARER.as_bytes() {
        return Err(malformed("the client chose a SASL mechanism that was not offered"));
    }
    let proven = match First::read(first).map_err(Refusal::Bearer)? {
        First::Token(token) => {
            let proven = prove(&token, installed).await;
            in_time(since, &proven).await;
            proven.map_err(Some)
        }
        First::Discovery => Err(None),
    };
    let failure = match proven {
        Ok(proven) => return conclude(Ok(proven), user, "oauthbearer"),
        Err(failure) => failure,
    };
    let scope = provider.issuer.bearer.as_ref().map_or("", |bearer| &bearer.scope);
    let told = bearer::discovery(&configuration_url(&provider.issuer.oidc.url), scope);
    say(line, &Authentication::SaslContinue(told.as_bytes())).await?;
    if response(line, MESSAGE_BYTES_MAX).await?.body() != ACKNOWLEDGED {
        return Err(malformed("the client did not acknowledge that its token was refused"));
    }
    let user = user.to_owned();
    Err(Departure::Refused(match failure {
        None => Refusal::BearerDiscovery { user },
        Some(Unproven::Token(why)) => Refusal::BearerToken { user, why },
        Some(Unproven::NoKeys) => Refusal::IssuerUnreachable,
    }))
}

/// Whose token it is that somebody sends outside of PostgreSQL's protocol.
pub(super) async fn sent(token: &[u8], installed: &Installed) -> Result<Identity, Refusal> {
    let since = Instant::now();
    let proven = prove(token, installed).await;
    in_time(since, &proven).await;
    match proven {
        Ok((Proven { identity, .. }, _)) => Ok(identity),
        Err(Unproven::Token(why)) => Err(Refusal::WrongToken { user: String::new(), why }),
        Err(Unproven::NoKeys) => Err(Refusal::IssuerUnreachable),
    }
}

/// Whose token it is. The issuer that it names is asked for its keys, and no other.
async fn prove(token: &[u8], installed: &Installed) -> Result<(Proven, Arc<Provider>), Unproven> {
    let token = Token::read(token).map_err(Unproven::Token)?;
    let issuer = token.issuer().map_err(Unproven::Token)?;
    let mut providers = installed.providers.iter();
    let provider = providers
        .find(|provider| provider.issuer.oidc.url == issuer)
        .ok_or(Unproven::Token(TokenError::UnknownIssuer))?;
    let proven = provider.prove(&token, now_ms() / 1000).await?;
    Ok((proven, provider.clone()))
}

fn conclude(
    proven: Result<(Proven, Arc<Provider>), Unproven>,
    user: &str,
    method: &'static str,
) -> Result<Proof, Departure> {
    let user = user.to_owned();
    match proven {
        Ok((Proven { identity, expires }, provider)) => {
            let left = u64::try_from(expires.saturating_sub(now_ms() / 1000)).unwrap_or(0);
            // An end that no clock can show is none.
            let ends = Instant::now().checked_add(Duration::from_secs(left));
            let token_ends = ends.filter(|_| provider.issuer.ends_with_token);
            Ok(Proof { identity, method, token_ends, grant: None })
        }
        Err(Unproven::Token(why)) => Err(Refusal::WrongToken { user, why }.into()),
        Err(Unproven::NoKeys) => Err(Refusal::IssuerUnreachable.into()),
    }
}

async fn in_time<T>(since: Instant, proven: &Result<T, Unproven>) {
    if proven.is_err() {
        let steps = since.elapsed().div_duration_f64(REFUSAL_STEP).ceil();
        tokio::time::sleep_until(since + REFUSAL_STEP.mul_f64(steps.max(1.0))).await;
    }
}
