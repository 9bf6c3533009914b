//! Logins in a browser, as a browser sees them: pages without scripts and without anything from
//! elsewhere, a cookie for as long as a login takes, and nothing that anybody keeps. Everything is
//! decided at `gateway::saml`.

mod page;

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{ConnectInfo, DefaultBodyLimit, Form, FromRequestParts, Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use gateway::desk::{Trouble, TroubleKind};
use gateway::saml::{Finished, Stranger};
use identity::saml::{Back, RESPONSE_BYTES_MAX};
use serde::Deserialize;

use self::page::Page;
use crate::Facts;
use crate::front::{self, Visitor};

/// Of what a provider lets a browser post: base64, with some of it escaped once more.
const ANSWER_BYTES_MAX: usize = RESPONSE_BYTES_MAX * 2;

/// How long somebody may take to log in at the provider.
const COOKIE_SECONDS: u32 = 900;

pub(crate) fn routes() -> Router<Arc<Facts>> {
    Router::new()
        .route("/saml/metadata", get(metadata))
        .route("/saml/login", get(login))
        .route("/saml/acs", post(answer))
        .route("/saml/done", get(done))
        .layer(DefaultBodyLimit::max(ANSWER_BYTES_MAX))
        .layer(from_fn_with_state(ANSWER_BYTES_MAX, front::whole))
}

/// Somebody at a browser.
struct Browser {
    stranger: Stranger,
    ticket: Option<String>,
}

impl FromRequestParts<Arc<Facts>> for Browser {
    type Rejection = Page;

    async fn from_request_parts(parts: &mut Parts, facts: &Arc<Facts>) -> Result<Self, Page> {
        let visitor = parts.extensions.get::<ConnectInfo<Visitor>>().map(|it| it.0);
        // What is posted here, and the token in the end, would be for all to read.
        let Some(visitor) = visitor.filter(|visitor| visitor.is_private) else {
            return Err(Page::refusal(
                StatusCode::FORBIDDEN,
                "Gatepost lets nobody log in over plain HTTP from another machine. Use https://.",
            ));
        };
        let stranger = Stranger::new(&facts.gateway, visitor.address.ip());
        let ticket = cookie(&parts.headers, cookie_name(&stranger).0);
        Ok(Browser { stranger, ticket })
    }
}

/// The cookie of a login. Of two of them nobody could say which one counts.
fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let texts = headers.get_all(header::COOKIE).into_iter().filter_map(|it| it.to_str().ok());
    let pairs = texts.flat_map(|text| text.split(';')).filter_map(|it| it.trim().split_once('='));
    let pairs: Vec<(&str, &str)> = pairs.collect();
    match pairs.iter().filter(|it| it.0 == name).collect::<Vec<_>>().as_slice() {
        [(_, ticket)] => Some((*ticket).to_owned()),
        _ => None,
    }
}

/// And what else a browser is told of it.
fn cookie_name(stranger: &Stranger) -> (&'static str, &'static str) {
    match stranger.is_secure() {
        true => ("__Host-gatepost-login", "; Secure"),
        // On the machine itself, without TLS.
        false => ("gatepost-login", ""),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    issuer: Option<String>,
}

async fn metadata(
    State(facts): State<Arc<Facts>>,
    ConnectInfo(visitor): ConnectInfo<Visitor>,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<Response, Page> {
    let Query(which) = which.map_err(malformed)?;
    let stranger = Stranger::new(&facts.gateway, visitor.address.ip());
    let text = stranger.metadata(which.issuer.as_deref()).map_err(Page::from)?;
    Ok(([(header::CONTENT_TYPE, "application/samlmetadata+xml")], text).into_response())
}

/// Where it may go on, if it isn't to end on a page.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Beginning {
    issuer: Option<String>,
    redirect: Option<String>,
    challenge: Option<String>,
    state: Option<String>,
}

async fn login(
    browser: Browser,
    beginning: Result<Query<Beginning>, QueryRejection>,
) -> Result<Response, Page> {
    let Query(Beginning { issuer, redirect, challenge, state }) = beginning.map_err(malformed)?;
    let back = match (&redirect, &challenge, &state) {
        (None, None, None) => None,
        (Some(redirect), Some(challenge), Some(state)) => {
            let back = Back::new(redirect, challenge, state);
            Some(back.map_err(|error| {
                Page::refusal(
                    StatusCode::BAD_REQUEST,
                    &format!("This address is not right: {error}."),
                )
            })?)
        }
        _ => {
            let words = "`redirect`, `challenge` and `state` belong together.";
            return Err(Page::refusal(StatusCode::BAD_REQUEST, words));
        }
    };
    let providers = browser.stranger.providers();
    if issuer.is_none() && back.is_none() && providers.len() > 1 {
        return Ok(Page::choice(&providers).into_response());
    }
    let begun = browser.stranger.begin(issuer.as_deref(), back).map_err(Page::from)?;
    let cookie = kept(&browser.stranger, begun.ticket.text(), COOKIE_SECONDS);
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    for (name, value) in [(header::SET_COOKIE, cookie), (header::LOCATION, begun.address)] {
        let value = HeaderValue::try_from(value).map_err(|_| {
            Page::refusal(StatusCode::BAD_REQUEST, "This address can't be gone to.")
        })?;
        headers.insert(name, value);
    }
    page::guard(headers);
    Ok(response)
}

/// As the provider lets the browser post it; `RelayState` and whatever else comes along is nothing that
/// was asked for.
#[derive(Deserialize)]
struct Posted {
    #[serde(rename = "SAMLResponse")]
    response: String,
}

async fn answer(
    browser: Browser,
    posted: Result<Form<Posted>, FormRejection>,
) -> Result<Page, Page> {
    let Form(Posted { response }) = posted.map_err(malformed)?;
    let code = browser.stranger.answer(&response).await.map_err(Page::from)?;
    Ok(Page::on(&format!("/saml/done?code={}", code.text())))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Code {
    code: String,
}

async fn done(
    browser: Browser,
    code: Result<Query<Code>, QueryRejection>,
) -> Result<Response, Page> {
    let Query(Code { code }) = code.map_err(malformed)?;
    let finished = browser.stranger.finish(&code, browser.ticket.as_deref()).await;
    let page = match finished.map_err(Page::from)? {
        Finished::Token(given) => Page::token(&given),
        Finished::Program { address, identity } => Page::program(&address, &identity),
    };
    let mut response = page.into_response();
    if let Ok(over) = HeaderValue::try_from(kept(&browser.stranger, "", 0)) {
        response.headers_mut().insert(header::SET_COOKIE, over);
    }
    Ok(response)
}

/// What a browser is told to keep. Lax: the page that brings it back is opened by our own, after what the
/// provider has posted.
fn kept(stranger: &Stranger, ticket: &str, seconds: u32) -> String {
    let (name, secure) = cookie_name(stranger);
    format!("{name}={ticket}; Path=/; HttpOnly; SameSite=Lax; Max-Age={seconds}{secure}")
}

fn malformed(error: impl std::fmt::Display) -> Page {
    tracing::debug!(%error, "what a browser has sent can't be read");
    Page::refusal(StatusCode::BAD_REQUEST, "What your browser has sent can't be read.")
}

impl From<Trouble> for Page {
    fn from(trouble: Trouble) -> Page {
        match trouble.kind {
            TroubleKind::Unproven => Page::refusal(
                StatusCode::FORBIDDEN,
                "This login has failed. Begin it anew, in one browser and without going back; if it \
                 fails again, who runs Gatepost finds the reason in its log.",
            ),
            TroubleKind::NoSuch => Page::refusal(
                StatusCode::NOT_FOUND,
                "There is no such provider here, or more than one, of which none is named.",
            ),
            TroubleKind::TooMuch => Page::refusal(
                StatusCode::TOO_MANY_REQUESTS,
                "There were too many of these. Wait a minute.",
            ),
            _ => Page::refusal(StatusCode::SERVICE_UNAVAILABLE, "Gatepost can't do this now."),
        }
    }
}
