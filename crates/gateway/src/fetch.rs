//! Asking an identity provider: one GET or one form over HTTPS, nothing followed, nothing kept. hyper
//! is in the tree for the HTTP listener; a client with pools, redirects and proxies would be more than
//! a few small documents need.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use hyper::http::request;
use hyper::http::uri::Scheme;
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::stream::Stream;
use crate::tls::UpstreamTls;

/// From the name's address to the last byte.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);

/// An address that may be asked: HTTPS, or HTTP where it doesn't leave this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebAddress {
    secure: bool,
    host: String,
    port: u16,
    /// As the request's `Host` has it.
    authority: String,
    path: String,
}

#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "it has to be https://…, without a user and a fragment; http:// only for this machine itself"
)]
pub struct NotAWebAddress;

#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error(transparent)]
    Address(#[from] NotAWebAddress),
    #[error("it took more than {} s", FETCH_TIMEOUT.as_secs())]
    Late,
    #[error("the host name has no address, or none of this machine")]
    NoAddress,
    #[error("it can't be reached: {0}")]
    Unreachable(std::io::Error),
    #[error("TLS failed: {0}")]
    Tls(String),
    #[error("HTTP failed: {0}")]
    Http(#[from] hyper::Error),
    #[error("it answered {0}")]
    Status(StatusCode),
    #[error("its answer has more than {0} bytes")]
    TooLong(usize),
    #[error("its answer broke off")]
    Broken,
}

impl WebAddress {
    pub fn read(text: &str) -> Result<WebAddress, NotAWebAddress> {
        // A URI's parser drops a fragment unseen.
        if text.contains('#') {
            return Err(NotAWebAddress);
        }
        let uri: Uri = text.parse().map_err(|_| NotAWebAddress)?;
        let secure = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(NotAWebAddress),
        };
        let authority = uri.authority().ok_or(NotAWebAddress)?.as_str().to_owned();
        let host = uri.host().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host);
        let is_here = host == "localhost"
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        if host.is_empty() || authority.contains('@') || !(secure || is_here) {
            return Err(NotAWebAddress);
        }
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(WebAddress { secure, host: host.to_owned(), port, authority, path })
    }

    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// What is there, if it has at most `bytes_max` bytes. Cancel-safe: nothing goes on when it is
    /// dropped.
    pub async fn get(&self, tls: &UpstreamTls, bytes_max: usize) -> Result<Vec<u8>, FetchError> {
        match self.ask(Request::get(&self.path), Bytes::new(), tls, bytes_max).await? {
            (StatusCode::OK, body) => Ok(body),
            (status, _) => Err(FetchError::Status(status)),
        }
    }

    /// What is said to a form (`application/x-www-form-urlencoded`), and with which status: errors of
    /// OAuth have a body worth reading.
    pub async fn post(
        &self,
        form: String,
        tls: &UpstreamTls,
        bytes_max: usize,
    ) -> Result<(StatusCode, Vec<u8>), FetchError> {
        let request =
            Request::post(&self.path).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.ask(request, form.into(), tls, bytes_max).await
    }

    async fn ask(
        &self,
        request: request::Builder,
        body: Bytes,
        tls: &UpstreamTls,
        bytes_max: usize,
    ) -> Result<(StatusCode, Vec<u8>), FetchError> {
        let request = request
            .header(HOST, &self.authority)
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, "gatepost")
            .body(Full::new(body))
            .map_err(|_| NotAWebAddress)?;
        let answered = tokio::time::timeout(FETCH_TIMEOUT, self.exchange(request, tls, bytes_max));
        answered.await.map_err(|_| FetchError::Late)?
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        tls: &UpstreamTls,
        bytes_max: usize,
    ) -> Result<(StatusCode, Vec<u8>), FetchError> {
        let stream = self.connect(tls).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends with this function.
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), bytes_max).collect().await;
        let body = body.map_err(|error| match error.is::<LengthLimitError>() {
            true => FetchError::TooLong(bytes_max),
            false => FetchError::Broken,
        })?;
        Ok((status, body.to_bytes().to_vec()))
    }

    async fn connect(&self, tls: &UpstreamTls) -> Result<Stream, FetchError> {
        let stream = self.reach().await?;
        if !self.secure {
            return Stream::tcp(stream).map_err(FetchError::Unreachable);
        }
        let Some(connector) = &tls.connector else {
            return Err(FetchError::Tls("there are no roots to trust".to_owned()));
        };
        let name = ServerName::try_from(self.host.clone())
            .map_err(|_| FetchError::Tls("the host can't be the name in a certificate".into()))?;
        let stream = connector.connect(name, stream).await;
        Ok(Stream::Dialled(Box::new(stream.map_err(|e| FetchError::Tls(e.to_string()))?)))
    }

    /// Every address of the name is tried.
    async fn reach(&self) -> Result<TcpStream, FetchError> {
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        let found: Vec<SocketAddr> = found.map_err(FetchError::Unreachable)?.collect();
        let mut failure = FetchError::NoAddress;
        for address in found.into_iter().filter(|it| self.secure || it.ip().is_loopback()) {
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = FetchError::Unreachable(error),
            }
        }
        Err(failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_may_be_asked() {
        for (text, expected) in [
            ("https://idp.example", Some(("idp.example", 443, "/"))),
            ("https://idp.example:8443/a?b=c", Some(("idp.example", 8443, "/a?b=c"))),
            ("https://[2001:db8::1]/k", Some(("2001:db8::1", 443, "/k"))),
            ("http://localhost:1234/a", Some(("localhost", 1234, "/a"))),
            ("http://127.0.0.1/a", Some(("127.0.0.1", 80, "/a"))),
            ("http://[::1]:1/", Some(("::1", 1, "/"))),
            ("http://idp.example", None),
            ("http://localhost.idp.example", None),
            ("http://127.0.0.1.idp.example", None),
            ("http://10.0.0.1/", None),
            ("https://user:word@idp.example", None),
            ("https://idp.example/#a", None),
            ("ftp://idp.example", None),
            ("file:///etc/passwd", None),
            ("idp.example", None),
            ("/a", None),
            ("https://", None),
            ("https:///a", None),
            ("", None),
            ("https://idp.example/a b", None),
        ] {
            let read = WebAddress::read(text).ok();
            let read = read.as_ref().map(|it| (it.host.as_str(), it.port, it.path.as_str()));
            assert_eq!(read, expected, "{text}");
        }
    }
}
