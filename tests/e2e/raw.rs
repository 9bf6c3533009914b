//! A PostgreSQL client that is nothing but bytes: it sends what a test says and hands back what
//! arrived, message by message, with a deadline on every wait. Written apart from crate `wire`,
//! because a test that shares code with what it tests proves nothing. Judging replies is left to
//! the tests.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};

/// No single wait of a test is longer. Generous, because two cores run many tests at once.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub const PROTOCOL_3_0: u32 = 0x0003_0000;
pub const SSL_REQUEST: u32 = 80_877_103;
pub const GSSENC_REQUEST: u32 = 80_877_104;
pub const CANCEL_REQUEST: u32 = 80_877_102;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub tag: u8,
    pub body: Vec<u8>,
}

/// What a login brought besides the right to go on.
#[derive(Clone, Debug, Default)]
pub struct Greeting {
    pub parameters: Vec<(String, String)>,
    pub pid: u32,
    /// The cancel key as it came; its length is the server's choice.
    pub key: Vec<u8>,
}

pub struct Raw {
    stream: Stream,
    received: Vec<u8>,
    start: usize,
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<rustls::StreamOwned<rustls::ClientConnection, TcpStream>>),
}

impl Raw {
    pub fn connect(address: &Address) -> Raw {
        Raw::try_connect(address).unwrap_or_else(|e| panic!("can't connect to {address:?}: {e}"))
    }

    pub fn try_connect(address: &Address) -> io::Result<Raw> {
        let stream = match address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, PATIENCE)?;
                stream.set_nodelay(true)?;
                Stream::Tcp(stream)
            }
            Address::Unix(path) => Stream::Unix(UnixStream::connect(path)?),
        };
        Ok(Raw { stream, received: Vec::new(), start: 0 })
    }

    /// Connects and logs in, whichever password method is asked for. Panics with the server's
    /// words when it refuses.
    pub fn login(address: &Address, user: &str, password: &str, database: &str) -> (Raw, Greeting) {
        Raw::login_with(address, user, password, &[("database", database)])
    }

    pub fn login_with(
        address: &Address,
        user: &str,
        password: &str,
        parameters: &[(&str, &str)],
    ) -> (Raw, Greeting) {
        let mut raw = Raw::connect(address);
        raw.send(&startup(PROTOCOL_3_0, user, parameters));
        match raw.finish_login(user, password) {
            Ok(greeting) => (raw, greeting),
            Err(refusal) => panic!("login of {user} refused: {}", refusal.show()),
        }
    }

    /// A login that is meant to be refused: the ErrorResponse, with nothing after it but the end
    /// of the stream.
    pub fn refused(
        address: &Address,
        user: &str,
        password: &str,
        parameters: &[(&str, &str)],
    ) -> Message {
        let mut raw = Raw::connect(address);
        raw.send(&startup(PROTOCOL_3_0, user, parameters));
        match raw.finish_login(user, password) {
            Ok(_) => panic!("login of {user} was accepted"),
            Err(refusal) => {
                assert_eq!(raw.read(), None, "a refusal is the last message");
                refusal
            }
        }
    }

    /// Answers authentication requests until ReadyForQuery (`Ok`) or an ErrorResponse (`Err`).
    pub fn finish_login(&mut self, user: &str, password: &str) -> Result<Greeting, Message> {
        self.try_finish_login(user, password).expect("no end of the stream during the login")
    }

    /// As [`Raw::finish_login`]; `None` when the stream ends without a word.
    pub fn try_finish_login(
        &mut self,
        user: &str,
        password: &str,
    ) -> Option<Result<Greeting, Message>> {
        self.log_in(user, password, |_| false)
    }

    /// As [`Raw::finish_login`], and keeps the notices.
    pub fn finish_login_with(
        &mut self,
        user: &str,
        password: &str,
        notices: &mut Vec<Message>,
    ) -> Result<Greeting, Message> {
        let login = self.log_in(user, password, |notice| {
            notices.push(notice.clone());
            false
        });
        login.expect("no end of the stream during the login")
    }

    /// Goes on with a login until it is told something, and gives that.
    pub fn login_until_notice(&mut self, user: &str, password: &str) -> Message {
        match self.log_in(user, password, |_| true) {
            Some(Err(notice)) if notice.tag == b'N' => notice,
            other => panic!("no notice during the login: {other:?}"),
        }
    }

    fn log_in(
        &mut self,
        user: &str,
        password: &str,
        mut is_enough: impl FnMut(&Message) -> bool,
    ) -> Option<Result<Greeting, Message>> {
        let mut scram = None;
        let mut greeting = Greeting::default();
        loop {
            let message = self.read()?;
            match message.tag {
                b'R' => match u32_at(&message.body, 0) {
                    0 => {}
                    3 => self.send(&framed(b'p', &zero_terminated(password))),
                    5 => {
                        let hashed = postgres_protocol::authentication::md5_hash(
                            user.as_bytes(),
                            password.as_bytes(),
                            message.body[4..8].try_into().unwrap(),
                        );
                        self.send(&framed(b'p', &zero_terminated(&hashed)));
                    }
                    10 => {
                        let exchange =
                            ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
                        let mut body = zero_terminated("SCRAM-SHA-256");
                        body.extend((exchange.message().len() as u32).to_be_bytes());
                        body.extend(exchange.message());
                        self.send(&framed(b'p', &body));
                        scram = Some(exchange);
                    }
                    11 => {
                        let exchange = scram.as_mut().expect("SASL began");
                        exchange.update(&message.body[4..]).expect("a good server-first");
                        let answer = exchange.message().to_vec();
                        self.send(&framed(b'p', &answer));
                    }
                    12 => scram
                        .as_mut()
                        .expect("SASL began")
                        .finish(&message.body[4..])
                        .expect("the server knows the secret"),
                    other => panic!("authentication request {other}"),
                },
                b'S' => {
                    let mut texts = message.texts().into_iter();
                    let name = texts.next().expect("a parameter's name");
                    greeting.parameters.push((name, texts.next().expect("its value")));
                }
                b'K' => {
                    greeting.pid = u32_at(&message.body, 0);
                    greeting.key = message.body[4..].to_vec();
                }
                b'Z' => return Some(Ok(greeting)),
                b'E' => return Some(Err(message)),
                b'N' if is_enough(&message) => return Some(Err(message)),
                b'N' | b'v' => {}
                other => panic!("{:?} during the login", char::from(other)),
            }
        }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).unwrap_or_else(|e| panic!("can't send {} bytes: {e}", bytes.len()));
    }

    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Tcp(stream) => stream.write_all(bytes),
            Stream::Unix(stream) => stream.write_all(bytes),
            Stream::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }

    /// The next message, or `None` at the end of the stream.
    pub fn read(&mut self) -> Option<Message> {
        self.read_within(PATIENCE).unwrap_or_else(|e| panic!("no message within {PATIENCE:?}: {e}"))
    }

    /// As [`Raw::read`], with the caller's own deadline, whose passing is an `Err`.
    pub fn read_within(&mut self, patience: Duration) -> io::Result<Option<Message>> {
        let deadline = Instant::now() + patience;
        loop {
            let pending = &self.received[self.start..];
            if pending.len() >= 5 {
                let length = u32_at(pending, 1) as usize;
                assert!(length >= 4, "a message with length {length}");
                if pending.len() > length {
                    let message = Message { tag: pending[0], body: pending[5..=length].to_vec() };
                    self.start += length + 1;
                    return Ok(Some(message));
                }
            }
            if !self.receive(deadline)? {
                let rest = self.received.len() - self.start;
                assert_eq!(rest, 0, "the stream ended inside a message");
                return Ok(None);
            }
        }
    }

    /// Reads a message without keeping it: its tag, and how long its body was.
    pub fn skip_message(&mut self) -> (u8, usize) {
        let deadline = Instant::now() + 4 * PATIENCE;
        let more = |raw: &mut Raw| {
            let read = raw.receive(deadline).unwrap_or_else(|e| panic!("no message: {e}"));
            assert!(read, "the stream ended inside a message");
        };
        while self.received.len() - self.start < 5 {
            more(self);
        }
        let tag = self.received[self.start];
        let body = u32_at(&self.received, self.start + 1) as usize - 4;
        self.start += 5;
        let mut left = body;
        loop {
            let here = left.min(self.received.len() - self.start);
            self.start += here;
            left -= here;
            if left == 0 {
                return (tag, body);
            }
            more(self);
        }
    }

    /// One byte outside any message: the answer to SSLRequest or GSSENCRequest. `None` at the end.
    pub fn read_byte(&mut self) -> Option<u8> {
        let deadline = Instant::now() + PATIENCE;
        while self.received.len() == self.start {
            if !self.receive(deadline).unwrap_or_else(|e| panic!("no answer: {e}")) {
                return None;
            }
        }
        self.start += 1;
        Some(self.received[self.start - 1])
    }

    /// Whatever comes until the end of the stream; an `Err` when it doesn't end in time.
    pub fn read_to_end(&mut self, patience: Duration) -> io::Result<Vec<u8>> {
        let deadline = Instant::now() + patience;
        while self.receive(deadline)? {}
        Ok(self.received.split_off(self.start))
    }

    /// Messages up to and including the next ReadyForQuery (or the end of the stream).
    pub fn until_ready(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        while let Some(message) = self.read() {
            let ready = message.tag == b'Z';
            messages.push(message);
            if ready {
                break;
            }
        }
        messages
    }

    /// A simple query's replies.
    pub fn query(&mut self, sql: &str) -> Vec<Message> {
        self.send(&query(sql));
        self.until_ready()
    }

    /// The first column of the only row of a simple query, as text.
    pub fn value(&mut self, sql: &str) -> String {
        let replies = self.query(sql);
        let rows: Vec<_> = replies.iter().filter(|m| m.tag == b'D').collect();
        assert_eq!(rows.len(), 1, "{sql}: {}", show(&replies));
        rows[0].columns().remove(0).unwrap_or_default()
    }

    /// Asks for TLS, expects `S`, and goes on inside it, trusting only `ca`.
    pub fn into_tls(mut self, server_name: &str, ca_pem: &str) -> Raw {
        self.send(&special(SSL_REQUEST, &[]));
        assert_eq!(self.read_byte(), Some(b'S'), "TLS is offered");
        assert_eq!(self.received.len(), self.start, "nothing before the handshake");
        let Stream::Tcp(tcp) = self.stream else { panic!("TLS goes over TCP") };
        let mut roots = rustls::RootCertStore::empty();
        for certificate in certificates(ca_pem) {
            roots.add(certificate).expect("a CA certificate");
        }
        let config =
            rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let name = server_name.to_owned().try_into().expect("a server name");
        let connection =
            rustls::ClientConnection::new(Arc::new(config), name).expect("a TLS client");
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut tls = Box::new(rustls::StreamOwned::new(connection, tcp));
        while tls.conn.is_handshaking() {
            tls.conn.complete_io(&mut tls.sock).expect("a TLS handshake");
        }
        Raw { stream: Stream::Tls(tls), received: Vec::new(), start: 0 }
    }

    /// A second handle for sending from another thread. Not for TLS.
    pub fn sender(&self) -> Raw {
        let stream = match &self.stream {
            Stream::Tcp(stream) => Stream::Tcp(stream.try_clone().unwrap()),
            Stream::Unix(stream) => Stream::Unix(stream.try_clone().unwrap()),
            Stream::Tls(_) => panic!("a TLS stream has one handle"),
        };
        Raw { stream, received: Vec::new(), start: 0 }
    }

    /// Nothing more will be sent; replies may still come.
    pub fn half_close(&self) {
        // A peer that closed first makes this fail, which is no matter here.
        let _ = match &self.stream {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
            Stream::Tls(stream) => stream.sock.shutdown(Shutdown::Write),
        };
    }

    /// Makes the kernel hold little for this reader, so that a slow one pushes back soon.
    pub fn small_receive_buffer(&self) {
        if let Stream::Tcp(stream) = &self.stream {
            socket2::SockRef::from(stream).set_recv_buffer_size(16 * 1024).unwrap();
        }
    }

    /// Closes without a word: the peer gets a reset.
    pub fn reset_when_dropped(&self) {
        if let Stream::Tcp(stream) = &self.stream {
            socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
    }

    /// `Ok(false)` at the end. A reset counts as an end: what PostgreSQL leaves unread when it
    /// gives up makes the kernel send one, directly as well as through a gateway.
    fn receive(&mut self, deadline: Instant) -> io::Result<bool> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if self.start > 1 << 20 {
            self.received.drain(..self.start);
            self.start = 0;
        }
        let mut chunk = [0; 64 * 1024];
        let read = match &mut self.stream {
            Stream::Tcp(stream) => {
                stream.set_read_timeout(Some(left))?;
                stream.read(&mut chunk)
            }
            Stream::Unix(stream) => {
                stream.set_read_timeout(Some(left))?;
                stream.read(&mut chunk)
            }
            Stream::Tls(stream) => {
                stream.sock.set_read_timeout(Some(left))?;
                stream.read(&mut chunk)
            }
        };
        match read {
            Ok(0) => Ok(false),
            Ok(n) => {
                self.received.extend_from_slice(&chunk[..n]);
                Ok(true)
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => Ok(false),
            // A TLS peer that closes without close_notify.
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(e) => Err(e),
        }
    }
}

impl Message {
    /// A field of an ErrorResponse or NoticeResponse: `C` is the SQLSTATE, `M` the message.
    pub fn field(&self, code: u8) -> Option<String> {
        self.body
            .split(|b| *b == 0)
            .find(|field| field.first() == Some(&code))
            .map(|field| String::from_utf8_lossy(&field[1..]).into_owned())
    }

    pub fn sqlstate(&self) -> String {
        assert!(matches!(self.tag, b'E' | b'N'), "not an error: {}", self.show());
        self.field(b'C').expect("a SQLSTATE")
    }

    pub fn severity(&self) -> String {
        self.field(b'V').expect("a severity")
    }

    pub fn text(&self) -> String {
        self.field(b'M').expect("a message")
    }

    /// The columns of a DataRow as text.
    pub fn columns(&self) -> Vec<Option<String>> {
        assert_eq!(self.tag, b'D', "not a row: {}", self.show());
        let mut at = 2;
        (0..u16::from_be_bytes([self.body[0], self.body[1]]))
            .map(|_| {
                let length = u32_at(&self.body, at) as i32;
                at += 4;
                (length >= 0).then(|| {
                    let value = &self.body[at..at + length as usize];
                    at += length as usize;
                    String::from_utf8_lossy(value).into_owned()
                })
            })
            .collect()
    }

    /// The body's zero-terminated strings.
    pub fn texts(&self) -> Vec<String> {
        let body = self.body.strip_suffix(&[0]).unwrap_or(&self.body);
        body.split(|b| *b == 0).map(|t| String::from_utf8_lossy(t).into_owned()).collect()
    }

    /// For failure messages: the tag and the printable part of the body.
    pub fn show(&self) -> String {
        let shown: String = self
            .body
            .iter()
            .take(400)
            .map(|b| if (0x20..0x7f).contains(b) { char::from(*b) } else { '·' })
            .collect();
        format!("{} {:>4} {shown}", char::from(self.tag), self.body.len())
    }
}

pub fn show(messages: &[Message]) -> String {
    messages.iter().map(|m| format!("\n    {}", m.show())).collect()
}

/// The one ErrorResponse among replies.
pub fn error(messages: &[Message]) -> &Message {
    let errors: Vec<_> = messages.iter().filter(|m| m.tag == b'E').collect();
    assert_eq!(errors.len(), 1, "one error: {}", show(messages));
    errors[0]
}

pub fn framed(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![tag];
    message.extend((body.len() as u32 + 4).to_be_bytes());
    message.extend(body);
    message
}

/// A message without a tag, as they are before the login.
pub fn special(code: u32, body: &[u8]) -> Vec<u8> {
    let mut message = (body.len() as u32 + 8).to_be_bytes().to_vec();
    message.extend(code.to_be_bytes());
    message.extend(body);
    message
}

pub fn startup(protocol: u32, user: &str, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in [("user", user)].iter().chain(parameters) {
        body.extend(zero_terminated(name));
        body.extend(zero_terminated(value));
    }
    body.push(0);
    special(protocol, &body)
}

pub fn cancel(greeting: &Greeting) -> Vec<u8> {
    let mut body = greeting.pid.to_be_bytes().to_vec();
    body.extend(&greeting.key);
    special(CANCEL_REQUEST, &body)
}

pub fn query(sql: &str) -> Vec<u8> {
    framed(b'Q', &zero_terminated(sql))
}

pub fn parse(name: &str, sql: &str, types: &[u32]) -> Vec<u8> {
    let mut body = zero_terminated(name);
    body.extend(zero_terminated(sql));
    body.extend((types.len() as u16).to_be_bytes());
    types.iter().for_each(|t| body.extend(t.to_be_bytes()));
    framed(b'P', &body)
}

/// `formats` and `result_formats` as in the protocol: none, one for all, or one each.
pub fn bind(
    portal: &str,
    statement: &str,
    formats: &[u16],
    values: &[Option<&[u8]>],
    result_formats: &[u16],
) -> Vec<u8> {
    let mut body = zero_terminated(portal);
    body.extend(zero_terminated(statement));
    body.extend((formats.len() as u16).to_be_bytes());
    formats.iter().for_each(|f| body.extend(f.to_be_bytes()));
    body.extend((values.len() as u16).to_be_bytes());
    for value in values {
        match value {
            Some(value) => {
                body.extend((value.len() as u32).to_be_bytes());
                body.extend(*value);
            }
            None => body.extend((-1i32).to_be_bytes()),
        }
    }
    body.extend((result_formats.len() as u16).to_be_bytes());
    result_formats.iter().for_each(|f| body.extend(f.to_be_bytes()));
    framed(b'B', &body)
}

/// `kind` is `S` for a statement, `P` for a portal.
pub fn describe(kind: u8, name: &str) -> Vec<u8> {
    framed(b'D', &[&[kind][..], &zero_terminated(name)].concat())
}

pub fn close(kind: u8, name: &str) -> Vec<u8> {
    framed(b'C', &[&[kind][..], &zero_terminated(name)].concat())
}

pub fn execute(portal: &str, rows_max: u32) -> Vec<u8> {
    let mut body = zero_terminated(portal);
    body.extend(rows_max.to_be_bytes());
    framed(b'E', &body)
}

pub fn sync() -> Vec<u8> {
    framed(b'S', &[])
}

pub fn flush() -> Vec<u8> {
    framed(b'H', &[])
}

pub fn copy_data(data: &[u8]) -> Vec<u8> {
    framed(b'd', data)
}

pub fn copy_done() -> Vec<u8> {
    framed(b'c', &[])
}

pub fn copy_fail(why: &str) -> Vec<u8> {
    framed(b'f', &zero_terminated(why))
}

pub fn terminate() -> Vec<u8> {
    framed(b'X', &[])
}

/// Arguments and result in text.
pub fn function_call(oid: u32, arguments: &[Option<&str>]) -> Vec<u8> {
    let mut body = oid.to_be_bytes().to_vec();
    body.extend(0u16.to_be_bytes());
    body.extend((arguments.len() as u16).to_be_bytes());
    for argument in arguments {
        match argument {
            Some(text) => {
                body.extend((text.len() as u32).to_be_bytes());
                body.extend(text.as_bytes());
            }
            None => body.extend((-1i32).to_be_bytes()),
        }
    }
    body.extend(0u16.to_be_bytes());
    framed(b'F', &body)
}

pub fn zero_terminated(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

pub fn certificates(pem: &str) -> Vec<rustls::pki_types::CertificateDer<'static>> {
    use rustls::pki_types::pem::PemObject;
    rustls::pki_types::CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .expect("PEM certificates")
}
