//! Calls to a running gateway, for the commands of people and agents: where it is, who calls, and an
//! answer or why there is none. What is called is the business of `desk`.

use std::fmt;
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
use crate::login::{self, Logins};
use crate::table::plain;
use crate::{config, terminal};

/// For connecting.
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// For each step of an answer: one that waits for people takes up to 55 seconds.
const ANSWER_TIME: Duration = Duration::from_secs(70);

/// Of an answer: a page of held statements can be long.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

/// Who calls where, and how the answer is to read.
#[derive(Args)]
pub(crate) struct Caller {
    #[command(flatten)]
    who: Who,
    /// JSON, as the gateway says it
    #[arg(long)]
    pub(crate) json: bool,
}

/// Where the gateway is, and who calls.
#[derive(Args)]
pub(crate) struct Who {
    /// The gateway: http://127.0.0.1:6480 on this machine, https:// elsewhere; else GATEPOST_URL,
    /// else where `gatepost login` was last, else what the configuration says
    #[arg(long = "at", value_name = "URL")]
    at: Option<String>,
    /// The certificate that signs the gateway's; else that of the login, else those of the system
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The configuration file, for its `http`; gatepost.yaml if it isn't said
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Who calls: a name of Gatepost's own; else GATEPOST_USER. A token of an identity provider says
    /// it itself
    #[arg(long = "as", value_name = "NAME")]
    name: Option<String>,
    /// A file with the caller's token; else GATEPOST_TOKEN has it, else what `gatepost login` left,
    /// else it is asked for
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// A gateway's address for HTTP. It is written as a URL, always the same for the same place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gate {
    is_secure: bool,
    pub(crate) host: String,
    port: u16,
}

/// What a caller proves to be somebody with. There is no `Debug`.
pub(crate) enum Secret {
    /// A name of Gatepost's own.
    Local { name: String, secret: String },
    /// A token of an identity provider.
    Token(String),
}

/// Who calls, and where.
pub(crate) struct Called {
    pub(crate) gate: Gate,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) secret: Secret,
}

/// A gateway to call.
pub(crate) struct Remote {
    gate: Gate,
    tls: Option<Arc<ClientConfig>>,
    /// As the head has it.
    credential: Option<String>,
}

impl Caller {
    pub(crate) fn remote(&self) -> Result<Remote, Failure> {
        let Called { gate, ca, secret } = self.who.called()?;
        Remote::new(&gate, ca.as_deref(), Some(&secret))
    }
}

impl Who {
    /// What is given goes before a login, and that before a question.
    pub(crate) fn called(&self) -> Result<Called, Failure> {
        let gate = Gate::find(self.at.as_deref(), self.config.as_deref())?;
        let name = self.name.clone().or_else(|| variable("GATEPOST_USER"));
        let secret = match (self.secret()?, name) {
            (Some(secret), name) => Secret::of(secret, name)?,
            (None, Some(name)) => asked(&gate, Some(name))?,
            (None, None) => match login::at(&gate)? {
                Some(login) => Secret::Token(login.token),
                None => asked(&gate, None)?,
            },
        };
        let ca = match &self.ca {
            None if gate.is_secure => {
                Logins::read()?.get(&gate.to_string()).and_then(|login| login.ca.clone())
            }
            given => given.clone(),
        };
        Ok(Called { gate, ca, secret })
    }

    fn secret(&self) -> Result<Option<String>, Failure> {
        let Some(path) = &self.token_file else { return Ok(variable("GATEPOST_TOKEN")) };
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?;
        Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
    }
}

/// What a terminal is asked for; without one there is nobody.
fn asked(gate: &Gate, name: Option<String>) -> Result<Secret, Failure> {
    if !terminal::is_there() {
        let who = match name {
            Some(_) => "the caller's token is in GATEPOST_TOKEN, or in --token-file",
            None => "who calls? Log in with `gatepost login`, or say it with --as or GATEPOST_USER",
        };
        return Err(Failure::Usage(who.to_owned()));
    }
    let prompt = match &name {
        Some(name) => format!("token of {} for {gate}: ", plain(name)),
        None => format!("token for {gate} (`gatepost login {gate}` gets one): "),
    };
    let secret = terminal::secret(&prompt);
    let secret = secret.map_err(|error| Failure::Failed(format!("no token was given: {error}")))?;
    Secret::of(secret, name)
}

impl Secret {
    fn of(secret: String, name: Option<String>) -> Result<Secret, Failure> {
        let secret = match name {
            Some(name) => Secret::Local { name, secret },
            // Of a provider's tokens each has three parts; Gatepost's own have one.
            None if secret.split('.').count() == 3 => Secret::Token(secret),
            None => {
                let who = "who calls? Say it with --as or GATEPOST_USER";
                return Err(Failure::Usage(who.to_owned()));
            }
        };
        // It is one line of a head.
        match &secret {
            Secret::Local { name: text, .. } | Secret::Token(text)
                if text.contains(char::is_control) =>
            {
                Err(Failure::Usage("the caller's token is not a token".to_owned()))
            }
            _ => Ok(secret),
        }
    }

    /// What to give as PostgreSQL's user. No local name has a `|`: whose name has one is asked for a
    /// token.
    pub(crate) fn user(&self) -> String {
        match self {
            Secret::Local { name, .. } => name.clone(),
            Secret::Token(token) => {
                let read = identity::oidc::Token::read(token.as_bytes()).ok();
                let of = |said: Option<&str>| said.unwrap_or_default().replace('\0', "");
                let issuer = read.as_ref().and_then(|token| token.issuer().ok());
                format!("{}|{}", of(issuer), of(read.as_ref().and_then(|token| token.subject())))
            }
        }
    }

    pub(crate) fn text(&self) -> &str {
        match self {
            Secret::Local { secret, .. } => secret,
            Secret::Token(token) => token,
        }
    }

    fn header(&self) -> String {
        match self {
            Secret::Local { name, secret } => {
                format!("Basic {}", STANDARD.encode(format!("{name}:{secret}")))
            }
            Secret::Token(token) => format!("Bearer {token}"),
        }
    }
}

impl Gate {
    /// Which one is meant: as it is said, or else as it was last.
    pub(crate) fn find(said: Option<&str>, file: Option<&Path>) -> Result<Gate, Failure> {
        if let Some(url) = said.map(str::to_owned).or_else(|| variable("GATEPOST_URL")) {
            return Gate::read(&url).map_err(Failure::Usage);
        }
        if let (None, Some(url)) = (file, Logins::read()?.current()) {
            return Gate::read(url).map_err(Failure::Usage);
        }
        Gate::of_file(file.unwrap_or(Path::new("gatepost.yaml")))
    }

    fn of_file(path: &Path) -> Result<Gate, Failure> {
        let nowhere = "where is the gateway? Say it with --at or GATEPOST_URL";
        let loaded =
            config::load(path).map_err(|error| Failure::Usage(format!("{nowhere}: {error}")))?;
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
        Gate::read(&format!("http://{address}")).map_err(Failure::Usage)
    }

    /// A secret goes nowhere in the clear but to this machine.
    pub(crate) fn read(url: &str) -> Result<Gate, String> {
        let wrong = || format!("`{url}` is not an address such as https://gate.internal:6480");
        let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
        let is_secure = match scheme {
            "https" => true,
            "http" => false,
            _ => return Err(wrong()),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '@', '?', '#']) || authority.contains(char::is_whitespace) {
            return Err(wrong());
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse::<u16>().map_err(|_| wrong())?)
            }
            _ => (authority, if is_secure { 443 } else { 80 }),
        };
        let host = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() {
            return Err(wrong());
        }
        let gate = Gate { is_secure, host: host.to_lowercase(), port };
        if !is_secure && !gate.is_here() {
            return Err(format!("`{url}` would carry your token in the clear; use https://"));
        }
        Ok(gate)
    }

    /// What is sent to it leaves this machine under no circumstances.
    pub(crate) fn is_here(&self) -> bool {
        self.host == "localhost"
            || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    pub(crate) fn is_secure(&self) -> bool {
        self.is_secure
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_secure { "https" } else { "http" };
        match self.host.contains(':') {
            true => write!(f, "{scheme}://[{}]:{}", self.host, self.port),
            false => write!(f, "{scheme}://{}:{}", self.host, self.port),
        }
    }
}

impl Remote {
    /// `ca` replaces the roots of the system. Without a secret nobody in particular calls.
    pub(crate) fn new(
        gate: &Gate,
        ca: Option<&Path>,
        secret: Option<&Secret>,
    ) -> Result<Remote, Failure> {
        let tls = match gate.is_secure {
            true => Some(tls(ca)?),
            false => None,
        };
        Ok(Remote { gate: gate.clone(), tls, credential: secret.map(Secret::header) })
    }

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
            Failure::Failed(format!("no gateway answers at {}: {error}", self.gate))
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
        let who = self.credential.as_ref();
        let who = who.map(|it| format!("Authorization: {it}\r\n")).unwrap_or_default();
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: {}:{}\r\n{who}\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.gate.host,
            self.gate.port,
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
        for address in (self.gate.host.as_str(), self.gate.port).to_socket_addrs()? {
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
        let name = ServerName::try_from(self.gate.host.clone()).map_err(io::Error::other)?;
        let connection = ClientConnection::new(tls.clone(), name).map_err(io::Error::other)?;
        Ok(Box::new(StreamOwned::new(connection, stream)))
    }
}

trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
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
        let read = |url: &str| Gate::read(url).ok().map(|gate| gate.to_string());
        for (url, expected) in [
            ("https://gate.internal:6480", Some("https://gate.internal:6480")),
            ("https://Gate.internal/", Some("https://gate.internal:443")),
            ("http://127.0.0.1:6480", Some("http://127.0.0.1:6480")),
            ("http://[::1]:6480", Some("http://[::1]:6480")),
            ("http://localhost", Some("http://localhost:80")),
            ("http://gate.internal:6480", None),
            ("http://127.0.0.1.example:6480", None),
            ("https://user@gate.internal", None),
            ("https://gate.internal/path", None),
            ("https://gate.internal\r\nx:1", None),
            ("ftp://gate.internal", None),
            ("gate.internal:6480", None),
            ("https://", None),
        ] {
            assert_eq!(read(url).as_deref(), expected, "{url}");
        }
    }
}
