//! Requests, grants, holds and sessions over HTTP: what is read from a call, and how what the desk
//! says becomes an answer. Everything is decided there.

pub mod login;
mod openapi;
pub mod shape;

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use access::{GrantId, HoldId, RequestId, Saying, ShapeOffer};
use axum::body::Bytes;
use axum::extract::{ConnectInfo, DefaultBodyLimit, FromRequestParts, Path, Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gateway::desk::{Desk, Secret, Trouble, TroubleKind, WAIT_MAX, Wish};
use gateway::saml::Stranger;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use self::shape::{
    Approve, Ask, Asked, Failure, GrantShown, HoldShown, List, LoginToken, RequestShown, SamlLogin,
    SessionShown, TokenShown, WantToken, Words,
};
use crate::Facts;
use crate::front::{self, Visitor};

pub use self::openapi::{OPENAPI, openapi};

/// Of a call's body.
const BODY_BYTES_MAX: usize = 64 << 10;

pub(crate) fn routes() -> Router<Arc<Facts>> {
    Router::new()
        .route("/v1/requests", get(requests).post(ask))
        .route("/v1/requests/{id}", get(request))
        .route("/v1/requests/{id}/approve", post(approve_request))
        .route("/v1/requests/{id}/deny", post(deny_request))
        .route("/v1/requests/{id}/withdraw", post(withdraw))
        .route("/v1/holds", get(holds))
        .route("/v1/holds/{id}", get(hold))
        .route("/v1/holds/{id}/approve", post(approve_hold))
        .route("/v1/holds/{id}/deny", post(deny_hold))
        .route("/v1/grants", get(grants))
        .route("/v1/grants/{id}", get(grant))
        .route("/v1/grants/{id}/token", post(token))
        .route("/v1/grants/{id}/revoke", post(revoke))
        .route("/v1/sessions", get(sessions))
        .route("/v1/sessions/{id}/kill", post(kill))
        .route("/v1/login", get(login::ways))
        .route("/v1/login/saml", post(login_by_saml))
        .route(OPENAPI, get(|| async { Json(openapi()) }))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn_with_state(BODY_BYTES_MAX, front::whole))
}

/// Why a call is not answered.
pub(crate) struct Failed(StatusCode, Box<Failure>);

impl From<Trouble> for Failed {
    fn from(trouble: Trouble) -> Self {
        let status = match trouble.kind {
            TroubleKind::Unproven => StatusCode::UNAUTHORIZED,
            TroubleKind::NotYours => StatusCode::FORBIDDEN,
            TroubleKind::NoSuch => StatusCode::NOT_FOUND,
            TroubleKind::Conflict => StatusCode::CONFLICT,
            TroubleKind::Malformed => StatusCode::UNPROCESSABLE_ENTITY,
            TroubleKind::TooMuch => StatusCode::TOO_MANY_REQUESTS,
            TroubleKind::Away => StatusCode::SERVICE_UNAVAILABLE,
        };
        Failed(status, Box::new(trouble.into()))
    }
}

impl Failed {
    fn in_the_clear() -> Failed {
        Failed::new(
            StatusCode::FORBIDDEN,
            "plain_http",
            "Gatepost takes no secret over plain HTTP from another machine",
            "Use https://; the file needs a certificate under `tls`. Change the secret that was just \
             sent in the clear.",
        )
    }

    fn from_a_page() -> Failed {
        Failed::new(
            StatusCode::FORBIDDEN,
            "from_a_page",
            "Gatepost answers no page in a browser",
            "Call it by `gatepost`, curl or another program, without `Origin`.",
        )
    }

    fn new(status: StatusCode, code: &str, message: &str, hint: &str) -> Failed {
        let (code, message) = (code.to_owned(), message.to_owned());
        let hint = Some(hint.to_owned());
        Failed(status, Box::new(Failure { code, message, hint, detail: None }))
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let Failed(status, failure) = self;
        let mut response = (status, Json(failure)).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let asks = HeaderValue::from_static("Basic realm=\"gatepost\", charset=\"UTF-8\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, asks);
        }
        response
    }
}

/// Whoever calls, by a name and its secret or by a token.
struct Caller(Desk);

impl FromRequestParts<Arc<Facts>> for Caller {
    type Rejection = Failed;

    async fn from_request_parts(
        parts: &mut Parts,
        facts: &Arc<Facts>,
    ) -> Result<Self, Self::Rejection> {
        let visitor = parts.extensions.get::<ConnectInfo<Visitor>>().map(|it| it.0);
        let Some(visitor) = visitor.filter(|visitor| visitor.is_private) else {
            return Err(Failed::in_the_clear());
        };
        if comes_from_a_page(parts) {
            return Err(Failed::from_a_page());
        }
        let sent = Sent::of(parts).ok_or_else(|| {
            Failed::new(
                StatusCode::UNAUTHORIZED,
                "no_credential",
                "this needs a name and its secret as HTTP Basic sends them, or a bearer token",
                "They are what you would give PostgreSQL as user and password.",
            )
        })?;
        let secret = match &sent {
            Sent::Basic { user, secret } => Secret::Local { user, secret },
            Sent::Bearer(token) => Secret::Token(token),
        };
        Ok(Caller(Desk::enter(&facts.gateway, secret, visitor.address.ip()).await?))
    }
}

/// Gatepost has no pages that call it, and a browser that knows a reviewer's secret sends it along with
/// whatever another page asks: that page may be the agent's, which knows the names of what waits.
fn comes_from_a_page(parts: &Parts) -> bool {
    let of_itself = |site: &HeaderValue| site == "none" || site == "same-origin";
    parts.headers.contains_key(header::ORIGIN)
        || !parts.headers.get_all("sec-fetch-site").iter().all(of_itself)
}

/// What a caller proves themselves with.
enum Sent {
    Basic { user: String, secret: String },
    Bearer(String),
}

impl Sent {
    fn of(parts: &Parts) -> Option<Sent> {
        let mut values = parts.headers.get_all(header::AUTHORIZATION).iter();
        // Of two of them nobody could say which one counts.
        let (Some(value), None) = (values.next(), values.next()) else { return None };
        let value = value.to_str().ok()?;
        let (scheme, rest) = value.split_once(' ')?;
        if scheme.eq_ignore_ascii_case("bearer") {
            return Some(Sent::Bearer(rest.trim().to_owned()));
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let text = String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?;
        let (user, secret) = text.split_once(':')?;
        Some(Sent::Basic { user: user.to_owned(), secret: secret.to_owned() })
    }
}

/// Which part of a list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    /// Those that are over, too.
    #[serde(default)]
    all: bool,
    behind: Option<String>,
}

impl Part {
    fn behind<Id: FromStr>(&self) -> Result<Option<Id>, Failed>
    where
        Id::Err: std::fmt::Display,
    {
        self.behind.as_deref().map(id).transpose()
    }
}

type Listed<Row> = Result<Json<List<Row>>, Failed>;
type Shown<Row> = Result<Json<Row>, Failed>;
type Asking = Result<Query<Part>, axum::extract::rejection::QueryRejection>;

async fn ask(Caller(desk): Caller, body: Bytes) -> Result<Response, Failed> {
    let Ask { connection, reason, for_seconds, policies, scope, wait_seconds, single_use } =
        read(&body)?;
    let wish = Wish {
        connection,
        reason,
        lasts: for_seconds.map(Duration::from_secs),
        policies,
        scope,
        wait: Duration::from_secs(wait_seconds).min(WAIT_MAX),
        single_use,
    };
    let asked = Asked::from(desk.ask(wish).await?);
    let status = match &*asked.state {
        "open" => StatusCode::CREATED,
        "pending" => StatusCode::ACCEPTED,
        _ => StatusCode::OK,
    };
    Ok((status, Json(asked)).into_response())
}

async fn requests(Caller(desk): Caller, part: Asking) -> Listed<RequestShown> {
    let part = part_of(part)?;
    Ok(Json(List::of(&desk.requests(!part.all, part.behind()?).await?)))
}

async fn request(Caller(desk): Caller, Path(name): Path<String>) -> Shown<RequestShown> {
    Ok(Json((&desk.request(&id::<RequestId>(&name)?).await?).into()))
}

async fn approve_request(
    Caller(desk): Caller,
    Path(name): Path<String>,
    body: Bytes,
) -> Shown<RequestShown> {
    let request = desk.decide_request(&id(&name)?, approval(read(&body)?)).await?;
    Ok(Json((&request).into()))
}

async fn deny_request(
    Caller(desk): Caller,
    Path(name): Path<String>,
    body: Bytes,
) -> Shown<RequestShown> {
    let Words { words } = read(&body)?;
    Ok(Json((&desk.decide_request(&id(&name)?, Saying::Deny { words }).await?).into()))
}

async fn withdraw(Caller(desk): Caller, Path(name): Path<String>) -> Shown<RequestShown> {
    Ok(Json((&desk.withdraw(&id::<RequestId>(&name)?).await?).into()))
}

async fn holds(Caller(desk): Caller, part: Asking) -> Listed<HoldShown> {
    let part = part_of(part)?;
    Ok(Json(List::of(&desk.holds(!part.all, part.behind()?).await?)))
}

async fn hold(Caller(desk): Caller, Path(name): Path<String>) -> Shown<HoldShown> {
    Ok(Json((&desk.hold(&id::<HoldId>(&name)?).await?).into()))
}

async fn approve_hold(
    Caller(desk): Caller,
    Path(name): Path<String>,
    body: Bytes,
) -> Shown<HoldShown> {
    let hold = desk.decide_hold(&id(&name)?, approval(read(&body)?)).await?;
    Ok(Json((&hold).into()))
}

async fn deny_hold(
    Caller(desk): Caller,
    Path(name): Path<String>,
    body: Bytes,
) -> Shown<HoldShown> {
    let Words { words } = read(&body)?;
    Ok(Json((&desk.decide_hold(&id(&name)?, Saying::Deny { words }).await?).into()))
}

async fn grants(Caller(desk): Caller, part: Asking) -> Listed<GrantShown> {
    let part = part_of(part)?;
    Ok(Json(List::of(&desk.grants(!part.all, part.behind()?).await?)))
}

async fn grant(Caller(desk): Caller, Path(name): Path<String>) -> Shown<GrantShown> {
    Ok(Json((&desk.grant(&id::<GrantId>(&name)?).await?).into()))
}

async fn token(
    Caller(desk): Caller,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Response, Failed> {
    let WantToken { single_use } = read(&body)?;
    let token = desk.token(&id::<GrantId>(&name)?, single_use).await?;
    Ok((StatusCode::CREATED, Json(TokenShown::from(token))).into_response())
}

async fn revoke(Caller(desk): Caller, Path(name): Path<String>, body: Bytes) -> Shown<GrantShown> {
    let Words { words } = read(&body)?;
    Ok(Json((&desk.end_grant(&id::<GrantId>(&name)?, words).await?).into()))
}

async fn sessions(Caller(desk): Caller) -> Listed<SessionShown> {
    let rows = desk.sessions().iter().map(SessionShown::from).collect();
    Ok(Json(List { rows, behind: None }))
}

async fn kill(Caller(desk): Caller, Path(name): Path<String>) -> Result<StatusCode, Failed> {
    desk.kill(&name)?;
    Ok(StatusCode::NO_CONTENT)
}

/// The last step of a login in a browser that a program has begun. It proves nothing yet, so it is no
/// `Caller`.
async fn login_by_saml(
    State(facts): State<Arc<Facts>>,
    ConnectInfo(visitor): ConnectInfo<Visitor>,
    body: Bytes,
) -> Result<Response, Failed> {
    if !visitor.is_private {
        return Err(Failed::in_the_clear());
    }
    let SamlLogin { code, verifier } = read(&body)?;
    let given =
        Stranger::new(&facts.gateway, visitor.address.ip()).redeem(&code, &verifier).await?;
    Ok((StatusCode::CREATED, Json(LoginToken::from(given))).into_response())
}

fn approval(Approve { words, shape }: Approve) -> Saying {
    let shape = shape.map(|shape| ShapeOffer {
        uses: shape.uses,
        lasts_millis: i64::try_from(shape.for_seconds.saturating_mul(1000)).unwrap_or(i64::MAX),
    });
    Saying::Approve { words, shape }
}

/// A body of JSON. None at all is one without any keys.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failed> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| {
        let message = format!("the body can't be read: {error}");
        let hint = "GET /v1/openapi.json says what a call takes.";
        Failed::new(StatusCode::BAD_REQUEST, "malformed", &message, hint)
    })
}

fn part_of(part: Asking) -> Result<Part, Failed> {
    let hint = "A list takes `all=true` and `behind=` the last name of the page before.";
    part.map(|part| part.0).map_err(|error| {
        Failed::new(StatusCode::BAD_REQUEST, "malformed", &error.body_text(), hint)
    })
}

fn id<Id: FromStr>(text: &str) -> Result<Id, Failed>
where
    Id::Err: std::fmt::Display,
{
    text.parse().map_err(|error: Id::Err| {
        let hint = "Names are as the lists have them.";
        Failed::new(StatusCode::BAD_REQUEST, "malformed", &error.to_string(), hint)
    })
}
