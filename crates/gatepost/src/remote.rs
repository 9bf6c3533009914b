//! Calls to a running gateway, for the commands of people and agents: where it is, who calls, and an
//! answer or why there is none. What is called is the business of `desk`.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api::v1::shape::Failure as Said;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cli::Failure;
use crate::config;

/// For connecting.
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// For each step of an answer: one that waits for people takes up to 55 seconds.
const ANSWER_TIME: Duration = Duration::from_secs(70);

/// Of an answer: a page of held statements can be long.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

/// Where the gateway is, and who calls.
#[derive(Args)]
pub(crate) struct Caller {
    /// The gateway: http://127.0.0.1:6480 on this machine, https:// elsewhere; else GATEPOST_URL,
    /// else what the configuration says
    #[arg(long = "at", value_name = "URL")]
    at: Option<String>,
    /// Who calls: a name of Gatepost's own; else GATEPOST_USER. A token of an identity provider says
    /// it itself
    #[arg(long = "as", value_name = "NAME")]
    name: Option<String>,
    /// A file with the caller's token; else GATEPOST_TOKEN has it
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The certificate that signs the gateway's; else those of the system
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The configuration file, for its `http`
    #[arg(short, long, value_name = "FILE", default_value = "gatepost.yaml")]
    config: PathBuf,
    /// JSON, as the gateway says it
    #[arg(long)]
    pub(crate) json: bool,
}

/// A gateway to call.
pub(crate) struct Remote {
    host: String,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
    /// As the head has it.
    credential: String,
}

impl Caller {
    pub(crate) fn remote(&self) -> Result<Remote, Failure> {
        let (secure, host, port) = address(&self.url()?).map_err(Failure::Usage)?;
        let secret = self.secret()?;
        let name = self.name.clone().or_else(|| variable("GATEPOST_USER"));
        let credential = match name {
            Some(name) => format!("Basic {}", STANDARD.encode(format!("{name}:{secret}"))),
            // Of a provider's tokens each has three parts; Gatepost's own have one.
            None if secret.split('.').count() == 3 => format!("Bearer {secret}"),
            None => {
                let who = "who calls? Say it with --as or GATEPOST_USER";
                return Err(Failure::Usage(who.to_owned()));
            }
        };
        // It is one line of a head.
        if credential.contains(char::is_control) {
            return Err(Failure::Usage("the caller's token is not a token".to_owned()));
        }
        let tls = match secure {
            true => Some(tls(self.ca.as_deref())?),
            false => None,
        };
        Ok(Remote { host, port, tls, credential })
    }

    fn url(&self) -> Result<String, Failure> {
        if let Some(url) = self.at.clone().or_else(|| variable("GATEPOST_URL")) {
            return Ok(url);
        }
        let nowhere = "where is the gateway? Say it with --at or GATEPOST_URL";
        let loaded = config::load(&self.config)
            .map_err(|error| Failure::Usage(format!("{nowhere}: {error}")))?;
        let mut address = loaded
            .http
            .ok_or_else(|| Failure::Usage(format!("{nowhere}: the file has no `http`")))?;
        // Who listens everywhere listens here.
        if address.ip().is_unspecified() {
            address.set_ip(match address.ip() {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        Ok(format!("http://{address}"))
    }

    fn secret(&self) -> Result<String, Failure> {
        let Some(path) = &self.token_file else {
            return variable("GATEPOST_TOKEN").ok_or_else(|| {
                Failure::Usage("the caller's token is in GATEPOST_TOKEN, or in --token-file".into())
            });
        };
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?;
        Ok(text.trim_end_matches(['\r', '\n']).to_owned())
    }
}

impl Remote {
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.call("GET", path, &[])
    }

    pub(crate) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        let body = serde_json::to_vec(body).map_err(failed)?;
        self.call("POST", path, &body)
    }

    fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> Result<T, Failure> {
        let answer = self.exchange(method, path, body).map_err(|error| {
            Failure::Failed(format!("no gateway answers at {}:{}: {error}", self.host, self.port))
        })?;
        let broken = || failed("what answers there is no Gatepost");
        let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(broken)?;
        let status = head.split(' ').nth(1).ok_or_else(broken)?;
        if status.starts_with('2') {
            // Where there is nothing to say there is no body.
            let body = if body.is_empty() { "null" } else { body };
            return serde_json::from_str(body).map_err(|_| broken());
        }
        let said: Said = serde_json::from_str(body).map_err(|_| broken())?;
        let hint = said.hint.map(|hint| format!("\n{hint}")).unwrap_or_default();
        Err(Failure::Failed(format!("{}{hint}", said.message)))
    }

    /// By HTTP/1.0: the answer is what comes until the connection closes.
    fn exchange(&self, method: &str, path: &str, body: &[u8]) -> io::Result<String> {
        let mut stream = self.connect()?;
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: {}:{}\r\nAuthorization: {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.host,
            self.port,
            self.credential,
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        stream.flush()?;
        let mut answer = String::new();
        stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
        Ok(answer)
    }

    fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let mut failure = io::Error::other("the name has no address");
        for address in (self.host.as_str(), self.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, CONNECT_TIME) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(ANSWER_TIME))?;
                    stream.set_write_timeout(Some(ANSWER_TIME))?;
                    return self.begin(stream);
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn begin(&self, stream: TcpStream) -> io::Result<Box<dyn Stream>> {
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
        let connection = ClientConnection::new(tls.clone(), name).map_err(io::Error::other)?;
        Ok(Box::new(StreamOwned::new(connection, stream)))
    }
}

trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether it is secure, the host and the port. A secret goes nowhere in the clear but to this
/// machine.
fn address(url: &str) -> Result<(bool, String, u16), String> {
    let wrong = || format!("`{url}` is not an address such as https://gate.internal:6480");
    let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
    let secure = match scheme {
        "https" => true,
        "http" => false,
        _ => return Err(wrong()),
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '@', '?', '#']) {
        return Err(wrong());
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            (host, port.parse::<u16>().map_err(|_| wrong())?)
        }
        _ => (authority, if secure { 443 } else { 80 }),
    };
    let host = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() {
        return Err(wrong());
    }
    let is_here = host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    if !secure && !is_here {
        return Err(format!("`{url}` would carry your token in the clear; use https://"));
    }
    Ok((secure, host.to_owned(), port))
}

fn tls(ca: Option<&Path>) -> Result<Arc<ClientConfig>, Failure> {
    gateway::tls::client(ca).map_err(|error| Failure::Usage(error.to_string()))
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::Failed(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_token_may_go() {
        let read = |url: &str| address(url).ok();
        let some = |secure, host: &str, port| Some((secure, host.to_owned(), port));
        for (url, expected) in [
            ("https://gate.internal:6480", some(true, "gate.internal", 6480)),
            ("https://gate.internal/", some(true, "gate.internal", 443)),
            ("http://127.0.0.1:6480", some(false, "127.0.0.1", 6480)),
            ("http://[::1]:6480", some(false, "::1", 6480)),
            ("http://localhost", some(false, "localhost", 80)),
            ("http://gate.internal:6480", None),
            ("http://127.0.0.1.example:6480", None),
            ("https://user@gate.internal", None),
            ("https://gate.internal/path", None),
            ("ftp://gate.internal", None),
            ("gate.internal:6480", None),
            ("https://", None),
        ] {
            assert_eq!(read(url), expected, "{url}");
        }
    }
}
