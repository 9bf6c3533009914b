//! Logins in a browser, at a provider that speaks SAML: begun, answered, finished there or by a program
//! beside it, and ended in a token of Gatepost's own. Nothing is kept of a login that is only begun; an
//! answer is in the store before anybody hears that it was right, and a token in the journal before
//! anybody has it. What an answer has to be is the business of `identity::saml`, how it is said over
//! HTTP of `api`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use access::{NewLogin, Next, StateError, Taken};
use identity::Identity;
use identity::oidc::TokenError;
use identity::saml::{Back, Response, SamlError, Ticket, decode};
use identity::token::{Token, hash};
use thiserror::Error;

use crate::attempts::Visitor;
use crate::desk::Trouble;
use crate::door::now_ms;
use crate::gateway::{Gateway, Installed};
use crate::grants::records;
use crate::issuers;
use crate::refusal::Refusal;
use crate::settings::Saml;

/// The user name that such a token is given under: asked for a password, whatever else is configured.
pub const USER: &str = "saml";

/// How long a browser has from the answer to the end of the login.
const BROWSER_TIME: Duration = Duration::from_secs(60);

/// How long a program has, and whoever lets it go on, from there.
const PROGRAM_TIME: Duration = Duration::from_secs(120);

/// Tokens are for the connections that are made next.
const TOKEN_TIME: Duration = Duration::from_secs(600);

/// Why a step of a login leads nowhere. For logs and records.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum Unproven {
    #[error("the provider's answer proves nothing: {0}")]
    Saml(#[from] SamlError),
    #[error("the provider's answer has been here before")]
    Replayed,
    #[error("the login was begun elsewhere, has ended, or never was")]
    Elsewhere,
}

/// Somebody who has proven nothing yet.
pub struct Stranger {
    gateway: Arc<Gateway>,
    address: IpAddr,
}

/// A login that has begun.
pub struct Begun {
    /// Where the browser is to go.
    pub address: String,
    /// What it is to keep.
    pub ticket: Ticket,
}

/// A login that a browser has brought to its end.
pub enum Finished {
    /// For whoever sits before it.
    Token(Given),
    /// For the program that waits on their machine: where to go on, and whose login it is.
    Program { address: String, identity: Identity },
}

/// A password for a while. Its text exists here and with whoever it is given to.
pub struct Given {
    pub token: Token,
    pub identity: Identity,
    pub lasts: Duration,
}

impl Stranger {
    pub fn new(gateway: &Arc<Gateway>, address: IpAddr) -> Stranger {
        Stranger { gateway: gateway.clone(), address }
    }

    /// The providers that there are, by their entity IDs.
    pub fn providers(&self) -> Vec<String> {
        let installed = self.gateway.installed();
        installed.settings.saml.iter().map(|it| it.provider.entity.clone()).collect()
    }

    /// Whether browsers find us under TLS, so that they keep what is ours for that alone.
    pub fn is_secure(&self) -> bool {
        let installed = self.gateway.installed();
        installed.settings.saml.iter().any(|it| it.provider.consumer.starts_with("https://"))
    }

    /// What Gatepost is to a provider, for it to read.
    pub fn metadata(&self, issuer: Option<&str>) -> Result<String, Trouble> {
        Ok(named(&self.gateway.installed(), issuer)?.provider.metadata())
    }

    pub fn begin(&self, issuer: Option<&str>, back: Option<Back>) -> Result<Begun, Trouble> {
        let installed = self.gateway.installed();
        let provider = &named(&installed, issuer)?.provider;
        let random = |_| Trouble::away("there is no randomness");
        let ticket = Ticket::generate(&provider.entity, back).map_err(random)?;
        let address = provider.login_address(&ticket, now_ms() / 1000).map_err(random)?;
        Ok(Begun { address, ticket })
    }

    /// Takes a provider's answer. What is given for it is for the browser that has brought it.
    pub async fn answer(&self, posted: &str) -> Result<Token, Trouble> {
        self.try_it(posted, self.take(posted)).await
    }

    async fn take(&self, posted: &str) -> Result<Token, Refusal> {
        let wrong = |why: SamlError| Refusal::WrongAnswer { why: why.into() };
        let text = decode(posted).map_err(wrong)?;
        let response = Response::read(&text).map_err(wrong)?;
        let issuer = response.issuer().map_err(wrong)?;
        let installed = self.gateway.installed();
        let saml = named(&installed, Some(issuer)).map_err(|_| wrong(SamlError::UnknownIssuer))?;
        let answer = response.prove(&saml.provider, now_ms() / 1000).map_err(wrong)?;

        let code = Token::generate().map_err(|_| Refusal::CredentialsUnchecked)?;
        let login = NewLogin {
            answer: hash(&format!("{issuer}\n{}", answer.assertion)),
            useless_at: answer.expires.saturating_mul(1000),
            ends_at: answer.session_ends.map(|ends| ends.saturating_mul(1000)),
            request: answer.request,
            identity: records::stored(
                &answer.identity,
                &installed.settings.subject(&answer.identity),
            ),
            code: hash(code.text()),
            lasts_millis: millis(BROWSER_TIME),
        };
        match self.gateway.state.add_login(login).await {
            Ok(true) => Ok(code),
            Ok(false) => Err(Refusal::WrongAnswer { why: Unproven::Replayed }),
            Err(error) => Err(unchecked(&error)),
        }
    }

    /// Ends a login in the browser that has begun it, as its ticket shows.
    pub async fn finish(&self, code: &str, ticket: Option<&str>) -> Result<Finished, Trouble> {
        self.try_it(code, self.end(code, ticket)).await
    }

    async fn end(&self, code: &str, ticket: Option<&str>) -> Result<Finished, Refusal> {
        let elsewhere = Refusal::WrongAnswer { why: Unproven::Elsewhere };
        // Without a ticket the code is spent all the same: it is in other hands.
        let ticket = ticket.and_then(Ticket::read);
        let request = ticket.as_ref().map(Ticket::name).unwrap_or_default();
        let back = ticket.as_ref().and_then(Ticket::back);
        let secret = Token::generate().map_err(|_| Refusal::CredentialsUnchecked)?;
        let next = match back {
            Some(back) => Next::Program {
                code: hash(secret.text()),
                challenge: back.challenge().to_owned(),
                lasts_millis: millis(PROGRAM_TIME),
            },
            None => Next::Token { token: hash(secret.text()), lasts_millis: millis(TOKEN_TIME) },
        };
        let taken = self.gateway.state.take_login(hash(code), &request, next).await;
        let taken = taken.map_err(|error| unchecked(&error))?.ok_or(elsewhere.clone())?;
        // A browser that was sent to one provider takes nothing of another one.
        let issuer = &taken.identity.person.issuer;
        let ticket = ticket.filter(|it| it.issuer() == issuer).ok_or(elsewhere)?;
        match ticket.back() {
            Some(back) => {
                let address = back.address(secret.text());
                Ok(Finished::Program { address, identity: proven(taken.identity) })
            }
            None => Ok(Finished::Token(self.give(secret, taken).await?)),
        }
    }

    /// Ends a login for the program that has begun it, as its verifier shows.
    pub async fn redeem(&self, code: &str, verifier: &str) -> Result<Given, Trouble> {
        self.try_it(code, self.redeemed(code, verifier)).await
    }

    async fn redeemed(&self, code: &str, verifier: &str) -> Result<Given, Refusal> {
        let token = Token::generate().map_err(|_| Refusal::CredentialsUnchecked)?;
        let answers = {
            let verifier = verifier.to_owned();
            move |challenge: &str| Back::is_answered_by(challenge, &verifier)
        };
        let (code, lasts) = (hash(code), millis(TOKEN_TIME));
        let taken = self.gateway.state.redeem_login(code, hash(token.text()), lasts, answers).await;
        let taken = taken.map_err(|error| unchecked(&error))?;
        self.give(token, taken.ok_or(Refusal::WrongAnswer { why: Unproven::Elsewhere })?).await
    }

    async fn give(&self, token: Token, taken: Taken) -> Result<Given, Refusal> {
        let lasts = Duration::from_millis(u64::try_from(taken.lasts_millis).unwrap_or(0));
        let identity = proven(taken.identity);
        records::token_given(&self.gateway, &identity, &self.address.to_string(), lasts).await?;
        Ok(Given { token, identity, lasts })
    }

    /// Whoever fails too often is not listened to; what they have sent is the name that it counts for.
    async fn try_it<T>(
        &self,
        sent: &str,
        step: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<T, Trouble> {
        let (attempts, installed) = (&self.gateway.attempts, self.gateway.installed());
        let bound = installed.settings.bounds.failed_logins;
        let visitor = Visitor { address: Some(self.address), name: sent };
        if let Some(wait) = attempts.wait(visitor, bound, Instant::now()) {
            return Err(Refusal::TooManyFailures { seconds: wait.as_secs() + 1 }.into());
        }
        let done = step.await;
        if let Err(refusal) = &done {
            if refusal.is_of_a_wrong_credential() {
                attempts.failed(visitor, bound, Instant::now());
            }
            records::turned_away(&self.gateway, None, &self.address.to_string(), refusal).await;
        }
        Ok(done?)
    }
}

/// Whose token of such a login it is, and when the session ends with it, in Unix seconds, where it does.
pub(crate) async fn of_token(
    gateway: &Gateway,
    installed: &Installed,
    token: &str,
) -> Result<(Identity, Option<i64>), issuers::Unproven> {
    let found = gateway.state.login_of_token(hash(token)).await.map_err(|error| {
        tracing::error!(%error, "the store can't be asked for a token");
        issuers::Unproven::NoStore
    })?;
    let found = found.ok_or(issuers::Unproven::Token(TokenError::NotGiven))?;
    let issuer = &found.identity.person.issuer;
    let saml = named(installed, Some(issuer));
    let saml = saml.map_err(|_| issuers::Unproven::Token(TokenError::UnknownIssuer))?;
    let ends = saml.ends_with_token.then(|| found.ends_at.unwrap_or(found.until) / 1000);
    Ok((proven(found.identity), ends))
}

/// The one of this entity ID; without one, the only one that there is.
fn named<'i>(installed: &'i Installed, issuer: Option<&str>) -> Result<&'i Saml, Trouble> {
    let all = &installed.settings.saml;
    let found = match (issuer, all.as_slice()) {
        (Some(issuer), all) => all.iter().find(|it| it.provider.entity == issuer),
        (None, [only]) => Some(only),
        (None, _) => None,
    };
    found
        .map(|it| &**it)
        .ok_or_else(|| Trouble::no_such("SAML provider", issuer.unwrap_or_default()))
}

fn proven(identity: access::Identity) -> Identity {
    let access::Identity { person, groups, claims, .. } = identity;
    Identity { groups, claims, ..Identity::new(person.issuer, person.subject) }
}

fn unchecked(error: &StateError) -> Refusal {
    tracing::error!(%error, "the store can't be used for a login");
    Refusal::CredentialsUnchecked
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
