//! Observe mode: the client logs in at the database itself and Gatepost passes the exchange on.
//! Nothing of it is kept; only the cancel key is exchanged for ours when it is over.

use std::sync::Arc;

use identity::scram::SCRAM_SHA_256_PLUS;
use rustls::pki_types::CertificateDer;
use wire::backend::{self, Authentication, ErrorFields};
use wire::frontend::{self, SaslInitial};
use wire::startup::Startup;

use crate::arrival::Departure;
use crate::dial::{self, Backend, Route};
use crate::line::Line;
use crate::refusal::{self, Refusal};
use crate::settings::Connection;
use crate::upstream::{self, GREETING_MESSAGE_BYTES_MAX, Opened, UpstreamError};

/// Relays a login. `certificate` is the one that the client sees, under TLS. On success the
/// client has been told all but the greeting.
pub(crate) async fn relay(
    client: &mut Line,
    connection: &Arc<Connection>,
    startup: &Startup,
    certificate: Option<&CertificateDer<'static>>,
    message_bytes_max: usize,
) -> Result<Opened, Departure> {
    let mut failure =
        Departure::Refused(Refusal::Unreachable { connection: connection.name.clone() });
    for (at, host) in connection.hosts.iter().enumerate() {
        let is_last = at + 1 == connection.hosts.len();
        match dial::dial(connection, host).await {
            Ok((server, route)) => {
                let relay = Relay { client, server, certificate, message_bytes_max };
                match relay.run(startup, route, is_last).await {
                    Err(Departure::TryNext) => {}
                    outcome => return outcome,
                }
            }
            Err(error) => {
                let error = UpstreamError::Dial(error);
                tracing::warn!(connection = connection.name, %error, "a host can't be reached");
                failure = Departure::Refused(error.refusal(connection));
            }
        }
    }
    Err(failure)
}

struct Relay<'a> {
    client: &'a mut Line,
    server: Line,
    certificate: Option<&'a CertificateDer<'static>>,
    message_bytes_max: usize,
}

impl Relay<'_> {
    async fn run(
        mut self,
        startup: &Startup,
        route: Route,
        is_last: bool,
    ) -> Result<Opened, Departure> {
        let mut out = Vec::new();
        startup.write(&mut out);
        self.server.say(&out).await.map_err(gone(&route))?;
        loop {
            let message = self.server.message(GREETING_MESSAGE_BYTES_MAX).await;
            let message = message.map_err(gone(&route))?;
            if message.tag == backend::ERROR {
                let fields = ErrorFields::read(message.body());
                if refusal::is_cannot_connect_now(fields.code) && !is_last {
                    return Err(Departure::TryNext);
                }
                let sqlstate = String::from_utf8_lossy(fields.code).into_owned();
                self.client.say(&message.bytes).await?;
                return Err(Departure::RefusedByDatabase { sqlstate });
            }
            if message.tag != backend::AUTHENTICATION {
                self.client.say(&message.bytes).await?;
                continue;
            }
            let authentication = Authentication::read(message.body());
            if let Some(Authentication::Sasl { mechanisms }) = authentication {
                self.offer(mechanisms).await?;
                self.sasl_initial(&route).await?;
                continue;
            }
            self.client.say(&message.bytes).await?;
            match authentication {
                Some(Authentication::Ok) => break,
                Some(Authentication::SaslFinal(_)) => {}
                Some(_) => self.response(&route).await?,
                None => return Err(gone(&route)(UpstreamError::Protocol('R'))),
            }
        }
        let greeting = match upstream::greeting(&mut self.server).await {
            Ok(greeting) => greeting,
            Err(UpstreamError::Said { frame, sqlstate, .. }) => {
                self.client.say(&frame).await?;
                return Err(Departure::RefusedByDatabase { sqlstate });
            }
            Err(error) => return Err(gone(&route)(error)),
        };
        let (greeting, pid, key) = greeting;
        Ok(Opened { line: self.server, backend: Backend { route, pid, key }, greeting })
    }

    /// Passes on one answer of the client's.
    async fn response(&mut self, route: &Route) -> Result<(), Departure> {
        let message = self.client.message(self.message_bytes_max).await?;
        if message.tag == frontend::TERMINATE {
            return Err(Departure::Left);
        }
        self.server.say(&message.bytes).await.map_err(gone(route))
    }

    /// What the server offers, without what a client under no TLS would take for an attack.
    async fn offer(&mut self, mut mechanisms: Vec<&[u8]>) -> Result<(), Departure> {
        if self.certificate.is_none() {
            mechanisms.retain(|name| *name != SCRAM_SHA_256_PLUS.as_bytes());
        }
        let mut out = Vec::new();
        Authentication::Sasl { mechanisms }.write(&mut out);
        Ok(self.client.say(&out).await?)
    }

    /// The client's choice of a mechanism. A binding is made to the certificate that the client
    /// sees, and checked against the one that the server has: they have to be the same.
    async fn sasl_initial(&mut self, route: &Route) -> Result<(), Departure> {
        let message = self.client.message(self.message_bytes_max).await?;
        let binds = SaslInitial::read(message.body())
            .is_some_and(|initial| initial.mechanism == SCRAM_SHA_256_PLUS.as_bytes());
        if binds && self.certificate != dial::certificate(&self.server) {
            return Err(Departure::Refused(Refusal::BindingBroken));
        }
        if message.tag == frontend::TERMINATE {
            return Err(Departure::Left);
        }
        self.server.say(&message.bytes).await.map_err(gone(route))
    }
}

/// The server failed in mid-login: the client learns that, the log learns how.
fn gone<E: Into<UpstreamError>>(route: &Route) -> impl FnOnce(E) -> Departure {
    let connection = route.connection();
    move |error| {
        let error = error.into();
        tracing::warn!(connection = connection.name, %error, "a relayed login failed");
        Departure::Refused(error.refusal(connection))
    }
}
