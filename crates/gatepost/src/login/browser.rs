//! A login in the browser: the authorization code flow with PKCE (RFC 7636), back by way of this
//! machine's own port (RFC 8252).

use std::io;
use std::process::Stdio;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::process::{Child, Command};

use super::loopback::{Answer, Loopback, random_text};
use super::provider::{Provider, ProviderError, Tokens};
use super::{LOGIN_TIME, LoginError, note};

/// Whether it is worth trying: somebody sits before a screen, or says what a browser is.
pub(super) fn is_likely() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    cfg!(target_os = "macos") || ["BROWSER", "DISPLAY", "WAYLAND_DISPLAY"].into_iter().any(is_set)
}

/// [`LoginError::NoBrowser`] where none could be opened.
pub(super) async fn log_in(provider: &Provider, scopes: &[String]) -> Result<Tokens, LoginError> {
    let endpoint = provider.endpoints.authorization.as_deref();
    let endpoint = endpoint.ok_or(ProviderError::Odd("it names no address for browsers"))?;
    // Not of a kind that opens something else than a page.
    provider.address(endpoint)?;
    let loopback = Loopback::open().await.map_err(LoginError::Loopback)?;
    let verifier = random_text().map_err(LoginError::Loopback)?;
    let url = url(provider, endpoint, scopes, &loopback, &challenge(&verifier));
    let answer = answer(&url, &loopback).await?;
    let code = code(provider, &answer)?;
    let mut form = vec![
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", loopback.uri()),
        ("code_verifier", &verifier),
    ];
    form.extend(provider.client.resource.as_deref().map(|resource| ("resource", resource)));
    Ok(provider.tokens(&form).await?)
}

/// What comes back of a page that is opened in the browser.
pub(super) async fn answer(url: &str, loopback: &Loopback) -> Result<Answer, LoginError> {
    note(&format!("the login goes on in the browser; if none opens, go to\n{url}"));
    let mut browser = open(url).map_err(|_| LoginError::NoBrowser)?;
    let came_back = async {
        tokio::select! {
            answer = loopback.answer() => answer.map_err(LoginError::Loopback),
            () = fails(&mut browser) => Err(LoginError::NoBrowser),
        }
    };
    let answer = tokio::time::timeout(LOGIN_TIME, came_back).await;
    answer.map_err(|_| LoginError::Late)?
}

pub(super) fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()))
}

fn url(
    provider: &Provider,
    endpoint: &str,
    scopes: &[String],
    loopback: &Loopback,
    challenge: &str,
) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query
        .append_pair("response_type", "code")
        .append_pair("client_id", &provider.client.id)
        .append_pair("redirect_uri", loopback.uri())
        .append_pair("scope", &scopes.join(" "))
        .append_pair("state", loopback.state())
        .append_pair("code_challenge", challenge)
        .append_pair("code_challenge_method", "S256");
    if let Some(resource) = &provider.client.resource {
        query.append_pair("resource", resource);
    }
    // OpenID Connect Core, section 11: who asks for it without this is not heard.
    if scopes.iter().any(|scope| scope == "offline_access") {
        query.append_pair("prompt", "consent");
    }
    let mark = if endpoint.contains('?') { '&' } else { '?' };
    format!("{endpoint}{mark}{}", query.finish())
}

fn code<'a>(provider: &Provider, answer: &'a Answer) -> Result<&'a str, LoginError> {
    // RFC 9207: an answer that another provider made must not reach this one.
    let issuer = answer.get("iss");
    if issuer.is_some_and(|it| it != provider.client.issuer)
        || (issuer.is_none() && provider.endpoints.names_itself)
    {
        return Err(ProviderError::Odd("it is of another provider").into());
    }
    if let Some(error) = answer.get("error") {
        let words = answer.get("error_description").map(str::to_owned);
        return Err(ProviderError::Said(error.to_owned(), words).into());
    }
    Ok(answer.get("code").ok_or(ProviderError::Odd("it has no code"))?)
}

/// The URL is one argument, and begins with its scheme: no shell and no option is made of it.
fn open(url: &str) -> io::Result<Child> {
    let named = std::env::var("BROWSER").ok().filter(|name| !name.is_empty());
    let usual = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    // Several can stand there with colons between; the first is the favourite.
    let program = named.as_deref().and_then(|names| names.split(':').next()).unwrap_or(usual);
    Command::new(program)
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

/// Waits for as long as it runs, and for ever if it ends well: some stay, others hand the page over
/// and go.
async fn fails(browser: &mut Child) {
    if let Ok(status) = browser.wait().await
        && status.success()
    {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_that_of_the_rfc() {
        // RFC 7636, appendix B.
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert_eq!(challenge(verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }
}
