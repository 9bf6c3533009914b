//! Logins with tokens of identity providers, or with ours for a login there: as a password inside TLS, or
//! by OAUTHBEARER. Whoever is refused reads the same words after the same time, whatever was wrong; logs and records say
//! what it was.

use std::time::Duration;

use identity::Identity;
use identity::bearer::{self, ACKNOWLEDGED, First, OAUTHBEARER};
use identity::oidc::{Proven, TOKEN_BYTES_MAX, Token, TokenError, configuration_url};
use identity::token::PREFIX;
use tokio::time::Instant;
use wire::backend::Authentication;
use wire::frontend::SaslInitial;

use super::{Proof, malformed, now_ms, response, say};
use crate::arrival::Departure;
use crate::gateway::{Gateway, Installed};
use crate::issuers::{Provider, Unproven};
use crate::line::Line;
use crate::refusal::Refusal;
use crate::saml;

/// A token and what OAUTHBEARER has around it.
const MESSAGE_BYTES_MAX: usize = TOKEN_BYTES_MAX + 1024;

/// A refusal comes after this time, or after a multiple of it: how long the looking took is nobody's
/// business.
const REFUSAL_STEP: Duration = Duration::from_millis(100);

/// Asks for a token as a password. The line must be one that nobody else can read.
pub(super) async fn password(
    line: &mut Line,
    user: &str,
    gateway: &Gateway,
    installed: &Installed,
) -> Result<Proof, Departure> {
    say(line, &Authentication::Cleartext).await?;
    let message = response(line, MESSAGE_BYTES_MAX).await?;
    let since = Instant::now();
    let token = match message.body().split_last() {
        Some((0, token)) if !token.contains(&0) => token,
        _ => return Err(malformed("the password is not a string")),
    };
    let proven = prove(token, gateway, installed).await;
    in_time(since, &proven).await;
    conclude(proven, user, "token")
}

/// Asks for a token by OAUTHBEARER; who has none is told that `provider` gives them.
pub(super) async fn bearer(
    line: &mut Line,
    user: &str,
    provider: &Provider,
    gateway: &Gateway,
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
            let proven = prove(&token, gateway, installed).await;
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
        Some(unproven) => refusal(unproven, &user),
    }))
}

/// Whose token it is that somebody sends outside of PostgreSQL's protocol.
pub(super) async fn sent(
    token: &[u8],
    gateway: &Gateway,
    installed: &Installed,
) -> Result<Identity, Refusal> {
    let since = Instant::now();
    let proven = prove(token, gateway, installed).await;
    in_time(since, &proven).await;
    proven.map(|known| known.identity).map_err(|unproven| refusal(unproven, ""))
}

/// Whose token it is, and when the session ends with it, in Unix seconds, where it does.
struct Known {
    identity: Identity,
    ends: Option<i64>,
}

/// The issuer that a token names is asked for its keys, and no other; what Gatepost has given itself
/// names none.
async fn prove(token: &[u8], gateway: &Gateway, installed: &Installed) -> Result<Known, Unproven> {
    let own = std::str::from_utf8(token).ok().filter(|token| token.starts_with(PREFIX));
    if let Some(own) = own {
        let (identity, ends) = saml::of_token(gateway, installed, own).await?;
        return Ok(Known { identity, ends });
    }
    let token = Token::read(token).map_err(Unproven::Token)?;
    let issuer = token.issuer().map_err(Unproven::Token)?;
    let mut providers = installed.providers.iter();
    let provider = providers
        .find(|provider| provider.issuer.oidc.url == issuer)
        .ok_or(Unproven::Token(TokenError::UnknownIssuer))?;
    let Proven { identity, expires } = provider.prove(&token, now_ms() / 1000).await?;
    Ok(Known { identity, ends: provider.issuer.ends_with_token.then_some(expires) })
}

fn conclude(
    proven: Result<Known, Unproven>,
    user: &str,
    method: &'static str,
) -> Result<Proof, Departure> {
    let Known { identity, ends } = proven.map_err(|unproven| refusal(unproven, user))?;
    let token_ends = ends.and_then(|ends| {
        let left = u64::try_from(ends.saturating_sub(now_ms() / 1000)).unwrap_or(0);
        // An end that no clock can show is none.
        Instant::now().checked_add(Duration::from_secs(left))
    });
    Ok(Proof { identity, method, token_ends, grant: None })
}

fn refusal(unproven: Unproven, user: &str) -> Refusal {
    match unproven {
        Unproven::Token(why) => Refusal::WrongToken { user: user.to_owned(), why },
        Unproven::NoKeys => Refusal::IssuerUnreachable,
        Unproven::NoStore => Refusal::CredentialsUnchecked,
    }
}

async fn in_time<T>(since: Instant, proven: &Result<T, Unproven>) {
    if proven.is_err() {
        let steps = since.elapsed().div_duration_f64(REFUSAL_STEP).ceil();
        tokio::time::sleep_until(since + REFUSAL_STEP.mul_f64(steps.max(1.0))).await;
    }
}
