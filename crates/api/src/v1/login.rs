//! `GET /v1/login`: how people log in here, for `gatepost login` and `gatepost psql`. Whoever asks has
//! proven nothing yet, so nothing is in it but what a login page would show.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use gateway::Address;
use gateway::settings::{Settings, TokenKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Facts;

/// How people log in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ways {
    /// Where PostgreSQL's clients connect, on the host that was asked; nowhere from another machine
    /// where it listens at Unix sockets alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgresql: Option<DoorShown>,
    /// Where a token is to be had, and what `gatepost login` is there.
    pub issuers: Vec<IssuerShown>,
    /// Where people log in by SAML, and get a token of Gatepost's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub saml: Vec<SamlShown>,
}

/// Where PostgreSQL's clients connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DoorShown {
    pub port: u16,
    pub tls: bool,
}

/// An identity provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IssuerShown {
    pub issuer: String,
    pub client_id: String,
    pub scopes: Vec<String>,
    pub token: Which,
    /// Whom the token is to be for, where the provider has to be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
}

/// An identity provider that speaks SAML.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SamlShown {
    /// Its entity ID.
    pub issuer: String,
    /// Gatepost's own page, where a login begins; it takes `issuer`, `redirect`, `challenge` and `state`.
    pub address: String,
}

/// Which of the provider's tokens is the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Which {
    Access,
    Id,
}

pub(crate) async fn ways(State(facts): State<Arc<Facts>>) -> Json<Ways> {
    Json(facts.gateway.read_settings(|settings| Ways {
        postgresql: facts.port.map(|port| DoorShown { port, tls: settings.tls.is_some() }),
        issuers: issuers(settings),
        saml: saml(settings),
    }))
}

/// The port that is reached from the most machines.
pub(crate) fn port(listen: &[Address]) -> Option<u16> {
    let tcp = || {
        listen.iter().filter_map(|address| match address {
            Address::Tcp(address) => Some(address),
            Address::Unix(_) => None,
        })
    };
    let found = tcp().find(|address| address.ip().is_unspecified());
    let found = found.or_else(|| tcp().find(|address| !address.ip().is_loopback()));
    found.or_else(|| tcp().next()).map(|address| address.port())
}

fn issuers(settings: &Settings) -> Vec<IssuerShown> {
    let each = settings.issuers.iter().filter_map(|issuer| {
        let people = issuer.people.as_ref()?;
        Some(IssuerShown {
            issuer: issuer.oidc.url.clone(),
            client_id: people.client_id.clone(),
            scopes: people.scopes.clone(),
            token: match people.token {
                TokenKind::Access => Which::Access,
                TokenKind::Id => Which::Id,
            },
            resource: people.resource.clone(),
        })
    });
    each.collect()
}

fn saml(settings: &Settings) -> Vec<SamlShown> {
    let each = settings.saml.iter().map(|it| SamlShown {
        issuer: it.provider.entity.clone(),
        address: it.provider.page("login"),
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_to_tell() {
        let tcp = |text: &str| Address::Tcp(text.parse().unwrap());
        let unix = Address::Unix("/run/gatepost/.s.PGSQL.6432".into());
        for (listen, expected) in [
            (vec![], None),
            (vec![unix.clone()], None),
            (vec![tcp("127.0.0.1:1"), unix], Some(1)),
            (vec![tcp("127.0.0.1:1"), tcp("10.0.0.5:2")], Some(2)),
            (vec![tcp("10.0.0.5:2"), tcp("[::]:3")], Some(3)),
        ] {
            assert_eq!(port(&listen), expected, "{listen:?}");
        }
    }
}
