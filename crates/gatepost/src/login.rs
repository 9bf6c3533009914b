//! `gatepost login` and `logout`: how people get a token of their identity provider's, keep it, renew
//! it and give it back. The gateway says where; what the token is worth, it decides, too.

mod browser;
mod device;
mod kept;
mod loopback;
mod provider;
mod saml;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use api::v1::login::{IssuerShown, SamlShown, Ways, Which};
use api::v1::shape::LoginToken;

use self::kept::{Client, Held, KeptError, Place};
use self::provider::{Credential, Provider, ProviderError, Tokens};
use crate::cli::{self, Failure};
use crate::remote::{Gate, Remote, Secret};
use crate::table::plain;
use crate::when;

use self::kept::Login;
pub(crate) use self::kept::Logins;

/// For a person to log in.
const LOGIN_TIME: Duration = Duration::from_secs(600);

/// A token that has less than this left is renewed before it is used: it has to last until it is
/// looked at, by a clock that may be ahead of ours.
const RENEW_BEFORE_SECONDS: i64 = 30;

#[derive(Debug, thiserror::Error)]
enum LoginError {
    #[error("no port of this machine can be opened for the browser's answer: {0}")]
    Loopback(io::Error),
    #[error("no browser could be opened")]
    NoBrowser,
    #[error("nobody has logged in, and it is over; try again")]
    Late,
    #[error("the provider says that the login was denied")]
    Denied,
    #[error(transparent)]
    Provider(#[from] ProviderError),
}

/// How somebody wants to log in.
pub(crate) struct Wanted {
    pub(crate) issuer: Option<String>,
    pub(crate) device: bool,
    pub(crate) saml: bool,
    pub(crate) ca: Option<PathBuf>,
}

/// Logs in at the provider, shows the gateway what that gave, and keeps it.
pub(crate) fn log_in(gate: &Gate, wanted: Wanted) -> Result<(), Failure> {
    // Better now than after the login: whether there is a place to keep it.
    let held = Place::of_environment()?.hold()?;
    let before = held.read()?.logins.remove(&gate.to_string());
    let ca = absolute(wanted.ca.clone())?.or(before.as_ref().and_then(|login| login.ca.clone()));
    let ways: Ways = Remote::new(gate, ca.as_deref(), None)?.get("/v1/login")?;
    let again = before.map(|login| login.client.issuer);
    if let Some(issuer) = pick_saml(&ways, &wanted, again.as_deref())? {
        drop(held);
        return log_in_by_saml(gate, ca, issuer);
    }
    let issuer = pick(&ways.issuers, wanted.issuer.as_deref(), again.as_deref())?;
    // Others need not wait for a person.
    drop(held);

    let tokens = at_provider(issuer, ca.as_deref(), wanted.device)?;
    let client = client(issuer);
    let credential = tokens.credential(client.token).map_err(failed)?;
    // The gateway says whether that lets anybody in before it is called a login.
    let secret = Secret::Token(credential.token.clone());
    let sessions = Remote::new(gate, ca.as_deref(), Some(&secret))?;
    sessions.get::<serde_json::Value>("/v1/sessions")?;

    let Credential { token, subject, expires } = credential;
    let who = format!("{}|{}", client.issuer, subject);
    let login = Login { client, subject, ca, token, expires, refresh: tokens.refresh_token };
    let renewed = login.refresh.is_some();
    keep(gate, login)?;
    let until = match renewed {
        true => "renewed for as long as the provider allows it".to_owned(),
        false => format!("until {}", when::seconds(expires)),
    };
    cli::print(&format!("logged in at {gate} as {}, {until}\n", plain(&who)))
}

/// The gateway has given the token itself, so it need not be asked whether that lets anybody in.
fn log_in_by_saml(gate: &Gate, ca: Option<PathBuf>, issuer: &SamlShown) -> Result<(), Failure> {
    let given = saml::log_in(issuer, &Remote::new(gate, ca.as_deref(), None)?)?;
    let LoginToken { password: token, good_for_seconds, issuer, subject, .. } = given;
    let expires = now().saturating_add(i64::try_from(good_for_seconds).unwrap_or(0));
    let who = format!("{issuer}|{subject}");
    let client =
        Client { issuer, saml: true, id: String::new(), token: Which::Access, resource: None };
    keep(gate, Login { client, subject, ca, token, expires, refresh: None })?;
    let until = when::seconds(expires);
    cli::print(&format!("logged in at {gate} as {}, until {until}\n", plain(&who)))
}

fn keep(gate: &Gate, login: Login) -> Result<(), Failure> {
    let held = Place::of_environment()?.hold()?;
    let mut logins = held.read()?;
    logins.current = Some(gate.to_string());
    logins.logins.insert(gate.to_string(), login);
    Ok(held.write(&logins)?)
}

/// Forgets a login, and tells the provider.
pub(crate) fn log_out(gate: &Gate) -> Result<(), Failure> {
    let name = gate.to_string();
    let held = Place::of_environment()?.hold()?;
    let mut logins = held.read()?;
    let Some(login) = logins.logins.remove(&name) else {
        return Err(Failure::Failed(format!("there is no login at {gate}")));
    };
    if logins.current.as_ref() == Some(&name) {
        logins.current = None;
    }
    held.write(&logins)?;
    drop(held);
    match wait(revoke(&login))? {
        Ok(told) => cli::print(&format!("logged out of {gate}; {told}\n")),
        Err(error) => Err(Failure::Failed(format!(
            "logged out of {gate} on this machine, but the provider could not be told: {error}; the \
             token is good until {}",
            when::seconds(login.expires)
        ))),
    }
}

/// The login at a gate, renewed if it has to be. None, if there is none.
pub(crate) fn at(gate: &Gate) -> Result<Option<Login>, Failure> {
    let name = gate.to_string();
    let logins = Logins::read()?;
    let Some(login) = logins.get(&name).cloned() else { return Ok(None) };
    if login.expires.saturating_sub(RENEW_BEFORE_SECONDS) > now() {
        return Ok(Some(login));
    }
    // One renews and the others wait: a provider that sees what it has replaced used again takes
    // everything away.
    let held = Place::of_environment()?.hold()?;
    let Some(login) = held.read()?.logins.remove(&name) else { return Ok(None) };
    if login.expires.saturating_sub(RENEW_BEFORE_SECONDS) > now() {
        return Ok(Some(login));
    }
    renew(&held, &name, login).map(Some)
}

fn renew(held: &Held, gate: &str, login: Login) -> Result<Login, Failure> {
    let over = |why: String| {
        let ended = when::seconds(login.expires);
        Failure::Failed(format!(
            "the login at {gate} ended at {ended}{why}; log in again: gatepost login {gate}"
        ))
    };
    let Some(refresh) = &login.refresh else {
        return if login.expires > now() { Ok(login) } else { Err(over(String::new())) };
    };
    let renewed = wait(async {
        let provider = Provider::find(login.client.clone(), login.ca.as_deref()).await?;
        let mut form = vec![("grant_type", "refresh_token"), ("refresh_token", refresh)];
        form.extend(login.client.resource.as_deref().map(|resource| ("resource", resource)));
        let tokens = provider.tokens(&form).await?;
        let credential = tokens.credential(login.client.token)?;
        Ok::<_, ProviderError>((tokens, credential))
    })?;
    match renewed {
        Ok((tokens, Credential { token, subject, expires })) => {
            let refresh = tokens.refresh_token.or(login.refresh);
            let login = Login { token, subject, expires, refresh, ..login };
            let mut logins = held.read()?;
            logins.logins.insert(gate.to_owned(), login.clone());
            held.write(&logins)?;
            Ok(login)
        }
        // What is left of the old one may do.
        Err(_) if login.expires > now() => Ok(login),
        Err(error) => Err(over(format!(" and could not be renewed ({error})"))),
    }
}

fn pick<'i>(
    issuers: &'i [IssuerShown],
    named: Option<&str>,
    again: Option<&str>,
) -> Result<&'i IssuerShown, Failure> {
    let list = || {
        let each: Vec<String> =
            issuers.iter().map(|it| format!("  {}", plain(&it.issuer))).collect();
        each.join("\n")
    };
    let find = |url: &str| issuers.iter().find(|it| it.issuer == url);
    match (issuers, named) {
        ([], _) => Err(Failure::Failed(
            "nobody logs in here this way: the gateway's file has no issuer with `login`"
                .to_owned(),
        )),
        (_, Some(url)) => find(url).ok_or_else(|| {
            Failure::Usage(format!(
                "the gateway has no login at `{}`; it has\n{}",
                plain(url),
                list()
            ))
        }),
        ([one], None) => Ok(one),
        (_, None) => again.and_then(find).ok_or_else(|| {
            Failure::Usage(format!("with which provider? Say it with --issuer:\n{}", list()))
        }),
    }
}

/// The provider to log in at by SAML, where that is asked for, or there is nothing else.
fn pick_saml<'w>(
    ways: &'w Ways,
    wanted: &Wanted,
    again: Option<&str>,
) -> Result<Option<&'w SamlShown>, Failure> {
    let find = |named: &str| ways.saml.iter().find(|it| it.issuer == named);
    let named = wanted.issuer.as_deref().or(again).and_then(find);
    let found = match ways.saml.as_slice() {
        _ if named.is_some() => named,
        [only] if wanted.issuer.is_none() => Some(only),
        _ => None,
    };
    let is_meant = wanted.saml || ways.issuers.is_empty() || named.is_some();
    if found.is_none() && wanted.saml {
        let each = ways.saml.iter().map(|it| format!("\n  {}", plain(&it.issuer)));
        let each: String = each.collect();
        let message = match each.is_empty() {
            true => {
                "nobody logs in here by SAML: the gateway's file has no issuer with `saml`".into()
            }
            false => format!("with which provider? Say it with --issuer:{each}"),
        };
        return Err(Failure::Usage(message));
    }
    Ok(found.filter(|_| is_meant && !wanted.device))
}

fn client(issuer: &IssuerShown) -> Client {
    Client {
        issuer: issuer.issuer.clone(),
        saml: false,
        id: issuer.client_id.clone(),
        token: issuer.token,
        resource: issuer.resource.clone(),
    }
}

fn at_provider(issuer: &IssuerShown, ca: Option<&Path>, device: bool) -> Result<Tokens, Failure> {
    let logged_in = wait(async {
        let provider = Provider::find(client(issuer), ca).await?;
        let has_device = provider.endpoints.device.is_some();
        // Where no browser opens, its address is shown; another machine's can't come back to this one.
        if device || (has_device && !browser::is_likely()) {
            return device::log_in(&provider, &issuer.scopes).await;
        }
        match browser::log_in(&provider, &issuer.scopes).await {
            Err(LoginError::NoBrowser) if has_device => {
                note("no browser could be opened here");
                device::log_in(&provider, &issuer.scopes).await
            }
            logged_in => logged_in,
        }
    })?;
    logged_in.map_err(failed)
}

/// Gives back what renews the token, and with that the token; or the token, if that is all there is.
async fn revoke(login: &Login) -> Result<&'static str, ProviderError> {
    if login.client.saml {
        return Ok("the token is good until it ends, in some minutes");
    }
    let provider = Provider::find(login.client.clone(), login.ca.as_deref()).await?;
    let Some(endpoint) = provider.endpoints.revocation.clone() else {
        return Ok("the provider takes nothing back, so the token is good until it ends");
    };
    let (token, hint) = match &login.refresh {
        Some(refresh) => (refresh, "refresh_token"),
        None => (&login.token, "access_token"),
    };
    match provider.say(&endpoint, &[("token", token), ("token_type_hint", hint)]).await {
        Ok(_) => Ok("the provider knows"),
        // A signed token is looked at by nobody who could know that it was taken back.
        Err(error) if error.said() == Some("unsupported_token_type") => {
            Ok("the provider can't take the token back, so it is good until it ends")
        }
        Err(error) => Err(error),
    }
}

/// To whoever sits there. The answer is on stdout; a stderr that is closed changes nothing about that.
fn note(text: &str) {
    let _unread = writeln!(io::stderr(), "{text}");
}

fn absolute(path: Option<PathBuf>) -> Result<Option<PathBuf>, Failure> {
    let found = path.map(|path| {
        std::path::absolute(&path)
            .map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))
    });
    found.transpose()
}

fn wait<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(failed)?.block_on(work))
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::Failed(error.to_string())
}

impl From<KeptError> for Failure {
    fn from(error: KeptError) -> Self {
        failed(error)
    }
}
