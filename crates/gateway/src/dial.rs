//! Reaching a database: host by host, under the TLS that the connection asks for. Logging in
//! there is the business of `upstream` and `observe`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::{TcpStream, UnixStream};
use wire::frontend;

use crate::line::{Line, LineError};
use crate::settings::{Connection, Host};
use crate::stream::Stream;
use crate::tls::TlsMode;

/// How long a cancel request may take to be delivered.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error(transparent)]
    Line(#[from] LineError),
    #[error("the host name has no address")]
    NoAddress,
    #[error("the server has no TLS, and the connection asks for it")]
    NoTls,
    #[error("TLS failed: {0}")]
    Tls(String),
    #[error("the server answered {0:?} to SSLRequest")]
    Answer(char),
}

impl From<io::Error> for DialError {
    fn from(error: io::Error) -> Self {
        DialError::Line(LineError::Io(error))
    }
}

/// Where a session's server is, so that a cancel request finds the very same one.
#[derive(Clone)]
pub(crate) struct Route {
    connection: Arc<Connection>,
    host: Host,
    /// Of a TCP host: a name may have several.
    address: Option<SocketAddr>,
    encrypted: bool,
}

/// A backend and what cancels its statement.
#[derive(Clone)]
pub(crate) struct Backend {
    pub(crate) route: Route,
    pub(crate) pid: i32,
    pub(crate) key: Vec<u8>,
}

/// A way to `host`. Every address of a name is tried.
pub(crate) async fn dial(
    connection: &Arc<Connection>,
    host: &Host,
) -> Result<(Line, Route), DialError> {
    let addresses: Vec<Option<SocketAddr>> = match host {
        Host::Unix(_) => vec![None],
        Host::Tcp { host, port } => {
            let found = tokio::net::lookup_host((host.as_str(), *port));
            let found = tokio::time::timeout(connection.connect_timeout, found);
            found.await.map_err(|_| LineError::Late)??.map(Some).collect()
        }
    };
    let mut failure = DialError::NoAddress;
    for address in addresses {
        let (connection, host) = (connection.clone(), host.clone());
        let time = connection.connect_timeout;
        let mut route = Route { connection, host, address, encrypted: false };
        match route.open(time).await {
            Ok(line) => {
                route.encrypted = line.stream.is_encrypted();
                return Ok((line, route));
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

impl Route {
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    async fn open(&self, time: Duration) -> Result<Line, DialError> {
        let stream = match (&self.host, self.address) {
            (Host::Unix(path), _) => {
                let stream = tokio::time::timeout(time, UnixStream::connect(path));
                return Ok(Line::new(
                    Stream::Unix(stream.await.map_err(|_| LineError::Late)??),
                    time,
                ));
            }
            (Host::Tcp { .. }, Some(address)) => {
                let stream = tokio::time::timeout(time, TcpStream::connect(address));
                Stream::tcp(stream.await.map_err(|_| LineError::Late)??)?
            }
            (Host::Tcp { .. }, None) => return Err(DialError::NoAddress),
        };
        let mut line = Line::new(stream, time);
        let tls = &self.connection.tls;
        let Some(connector) = &tls.connector else {
            return Ok(line);
        };
        let mut request = Vec::new();
        frontend::write_ssl_request(&mut request);
        line.say(&request).await?;
        match line.byte().await? {
            b'S' => {}
            b'N' if tls.mode == TlsMode::Prefer => return Ok(line),
            b'N' => return Err(DialError::NoTls),
            other => return Err(DialError::Answer(char::from(other))),
        }
        let Host::Tcp { host, .. } = &self.host else {
            return Err(DialError::NoAddress);
        };
        let name = ServerName::try_from(host.clone())
            .map_err(|_| DialError::Tls(format!("{host} can't be the name in a certificate")))?;
        line.with_stream(async move |stream| match stream {
            Stream::Tcp(stream) => {
                Ok(Stream::Dialled(Box::new(connector.connect(name, stream).await?)))
            }
            other => Ok(other),
        })
        .await
        .map_err(|error| match error {
            LineError::Io(error) => DialError::Tls(error.to_string()),
            error => DialError::Line(error),
        })
    }
}

impl Backend {
    /// Asks the server to cancel what this backend runs, and waits until it has read that.
    pub(crate) async fn cancel(&self) -> Result<(), DialError> {
        let mut line = self.route.open(CANCEL_TIMEOUT).await?;
        let mut request = Vec::new();
        frontend::write_cancel_request(&mut request, self.pid, &self.key);
        line.say(&request).await?;
        Ok(line.closed().await?)
    }
}

/// The certificate that a server presented.
pub(crate) fn certificate(line: &Line) -> Option<&CertificateDer<'static>> {
    match &line.stream {
        Stream::Dialled(stream) => stream.get_ref().1.peer_certificates()?.first(),
        Stream::Tcp(_) | Stream::Unix(_) | Stream::Accepted(_) => None,
    }
}
