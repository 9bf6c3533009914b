//! A login at a provider that speaks SAML, by way of the gateway's own pages: they send the browser
//! there, and bring back a code that only this program can make a password of.

use api::v1::login::SamlShown;
use api::v1::shape::{LoginToken, SamlLogin};
use form_urlencoded::Serializer;

use super::browser::{self, challenge};
use super::loopback::{Loopback, random_text};
use super::{LoginError, failed, wait};
use crate::cli::Failure;
use crate::remote::Remote;

/// `remote` is the gateway, and calls in nobody's name.
pub(super) fn log_in(issuer: &SamlShown, remote: &Remote) -> Result<LoginToken, Failure> {
    let is_page = ["https://", "http://"].iter().any(|scheme| issuer.address.starts_with(scheme));
    if !is_page {
        return Err(failed("the gateway names no page to log in at"));
    }
    let verifier = random_text().map_err(failed)?;
    let code = wait(async {
        let loopback = Loopback::open().await.map_err(LoginError::Loopback)?;
        let mut query = Serializer::new(String::new());
        query
            .append_pair("issuer", &issuer.issuer)
            .append_pair("redirect", loopback.uri())
            .append_pair("challenge", &challenge(&verifier))
            .append_pair("state", loopback.state());
        let url = format!("{}?{}", issuer.address, query.finish());
        let answer = browser::answer(&url, &loopback).await?;
        Ok::<_, LoginError>(answer.get("code").map(str::to_owned))
    })?;
    let code = code.map_err(failed)?.ok_or_else(|| failed("what came back has no code"))?;
    remote.post("/v1/login/saml", &SamlLogin { code, verifier })
}
