//! A backend of the gateway's own, for questions of its own: no client's session is near it and
//! no client's word reaches it. What is asked is the business of whoever asks.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wire::backend::{self, ErrorFields};
use wire::frame::{self, Frame, HEADER_BYTES};
use wire::frontend;
use wire::startup::{Startup, Version};

use crate::settings::{Connection, Login};
use crate::stream::Stream;
use crate::upstream::{self, Credential, Keyring};

/// What a server calls this session, in pg_stat_activity and in its log.
pub const APPLICATION_NAME: &str = "gatepost catalog";

/// All that a server may answer to one question: the catalog of some hundred thousand relations.
const ANSWER_BYTES_MAX: usize = 512 << 20;

/// One row of it.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// A statement of ours that takes longer is ended by the server.
const STATEMENT_TIME: Duration = Duration::from_secs(10);

const READ_BYTES: usize = 64 << 10;

/// Transactions of two sessions beside each other that a backend's sharing is looked for in.
const ROUNDS: usize = 4;

/// A backend that only we talk to, as the connection's own role. It reads and never writes.
pub struct Inquiry {
    stream: Stream,
    /// Read and not yet taken.
    received: Vec<u8>,
    /// As the other side named its process at login.
    process: i32,
}

/// Why a question has no answer. What a server said can name our role: it goes to the log and to
/// operators, never to a client.
#[derive(Clone, Debug, thiserror::Error)]
pub enum InquiryError {
    #[error("clients bring their own credential (`login: database`), Gatepost has none")]
    NoCredential,
    #[error("{0}")]
    NotAdmitted(Arc<str>),
    #[error("the server said {sqlstate}: {message}")]
    Said { sqlstate: Box<str>, message: Box<str> },
    #[error(
        "a pooler hands its backends from session to session, and with them what others have set: \
         name the server itself, or a pooler that keeps one backend for each session"
    )]
    Shared,
    #[error("the connection broke: {0}")]
    Broken(Arc<str>),
    #[error("the server sent {0:?} where it should not")]
    Protocol(char),
    #[error("the answer is longer than {ANSWER_BYTES_MAX} bytes")]
    Long,
}

impl Inquiry {
    /// Logs in with the connection's own credential. Not cancel-safe in that a login that is
    /// dropped midway is given up.
    pub async fn open(connection: &Arc<Connection>) -> Result<Inquiry, InquiryError> {
        Inquiry::open_with(connection, &Keyring::default()).await
    }

    /// The same, with the search_path that a client's session begins with. What is asked has to
    /// name everything in full, operators too.
    pub async fn open_as_session(connection: &Arc<Connection>) -> Result<Inquiry, InquiryError> {
        let mut startup = startup();
        startup.parameters.retain(|(name, _)| name != b"search_path");
        Inquiry::log_in(connection, &startup, &Keyring::default()).await
    }

    pub(crate) async fn open_with(
        connection: &Arc<Connection>,
        keyring: &Keyring,
    ) -> Result<Inquiry, InquiryError> {
        let mut inquiry = Inquiry::log_in(connection, &startup(), keyring).await?;
        match inquiry.is_shared(connection, keyring).await? {
            true => Err(InquiryError::Shared),
            false => Ok(inquiry),
        }
    }

    /// Whether other sessions get this one's backend between its transactions. What is judged by the
    /// names of one would run under those of another. A server names the process at login; who names
    /// another stands between, and whether it keeps sessions apart is tried.
    async fn is_shared(
        &mut self,
        connection: &Arc<Connection>,
        keyring: &Keyring,
    ) -> Result<bool, InquiryError> {
        let own = self.backend().await?;
        if own == self.process.to_string() {
            return Ok(false);
        }
        let mut other = Inquiry::log_in(connection, &startup(), keyring).await?;
        for _ in 0..ROUNDS {
            let before = self.backend().await?;
            other.rows("BEGIN").await?;
            let beside = other.backend().await?;
            let after = self.backend().await?;
            other.rows("ROLLBACK").await?;
            if before != own || after != own || beside == own {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The number of the process that answers now.
    async fn backend(&mut self) -> Result<String, InquiryError> {
        let rows = self.rows("SELECT pg_catalog.pg_backend_pid()").await?;
        match rows.as_slice() {
            [row] => match row.as_slice() {
                [Some(number)] => Ok(number.clone()),
                _ => Err(InquiryError::Protocol('D')),
            },
            _ => Err(InquiryError::Protocol('D')),
        }
    }

    async fn log_in(
        connection: &Arc<Connection>,
        startup: &Startup,
        keyring: &Keyring,
    ) -> Result<Inquiry, InquiryError> {
        let Login::Gateway { user, database, password } = &connection.login else {
            return Err(InquiryError::NoCredential);
        };
        let credential = Credential { user, database, password: password.as_ref() };
        let opened = upstream::open(connection, &credential, startup, keyring)
            .await
            .map_err(|error| InquiryError::NotAdmitted(error.to_string().into()))?;
        let process = opened.backend.pid;
        let (stream, received) = opened.line.into_parts();
        Ok(Inquiry { stream, received, process })
    }

    /// The rows of one statement, all of them: for small answers.
    pub async fn rows(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>, InquiryError> {
        let mut rows = Vec::new();
        let mut malformed = false;
        self.ask(sql).await?;
        self.answer(|frame| {
            if frame.tag == backend::DATA_ROW {
                let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
                match backend::data_row(frame.body) {
                    Some(row) => rows.push(row.into_iter().map(|value| value.map(text)).collect()),
                    None => malformed = true,
                }
            }
        })
        .await?;
        if malformed {
            return Err(InquiryError::Protocol(char::from(backend::DATA_ROW)));
        }
        Ok(rows)
    }

    /// Sends statements without waiting; each call has one [`Inquiry::answer`].
    pub(crate) async fn ask(&mut self, sql: &str) -> Result<(), InquiryError> {
        let mut out = Vec::new();
        frontend::write_query(&mut out, sql);
        self.stream.write_all(&out).await?;
        Ok(self.stream.flush().await?)
    }

    /// Shows every message of one answer. After an error other than the server's own words this
    /// backend is of no more use. Not cancel-safe, for the same reason.
    pub(crate) async fn answer(
        &mut self,
        mut shown: impl FnMut(&Frame<'_>),
    ) -> Result<(), InquiryError> {
        let mut answered = 0;
        let mut failure = None;
        loop {
            let mut at = 0;
            while let Some(frame) =
                frame::whole(self.received.get(at..).unwrap_or_default(), MESSAGE_BYTES_MAX)
                    .map_err(|error| InquiryError::Broken(error.to_string().into()))?
            {
                at += HEADER_BYTES + frame.body_bytes;
                answered += frame.body_bytes;
                match frame.tag {
                    _ if answered > ANSWER_BYTES_MAX => return Err(InquiryError::Long),
                    backend::ERROR => failure = Some(said(frame.body)),
                    backend::READY_FOR_QUERY => {
                        self.received.drain(..at);
                        return failure.map_or(Ok(()), Err);
                    }
                    // Not what we ask for, and nothing would ever end it.
                    backend::COPY_IN_RESPONSE | backend::COPY_BOTH_RESPONSE => {
                        return Err(InquiryError::Protocol(char::from(frame.tag)));
                    }
                    _ => shown(&frame),
                }
            }
            self.received.drain(..at);
            self.received.reserve(READ_BYTES);
            if self.stream.read_buf(&mut self.received).await? == 0 {
                let closed = || InquiryError::Broken("the server closed it".into());
                return Err(failure.unwrap_or_else(closed));
            }
        }
    }
}

impl From<std::io::Error> for InquiryError {
    fn from(error: std::io::Error) -> Self {
        InquiryError::Broken(error.to_string().into())
    }
}

/// Settings of the role or the database could change how our texts are read.
fn startup() -> Startup {
    let time = STATEMENT_TIME.as_millis().to_string();
    let parameters = [
        ("application_name", APPLICATION_NAME),
        ("client_encoding", "UTF8"),
        ("search_path", "pg_catalog"),
        ("standard_conforming_strings", "on"),
        ("default_transaction_read_only", "on"),
        ("statement_timeout", time.as_str()),
        ("lock_timeout", time.as_str()),
        ("jit", "off"),
    ];
    let owned = |(name, value): (&str, &str)| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
    Startup { version: Version::V3_0, parameters: parameters.into_iter().map(owned).collect() }
}

fn said(body: &[u8]) -> InquiryError {
    let fields = ErrorFields::read(body);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into();
    InquiryError::Said { sqlstate: text(fields.code), message: text(fields.message) }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI32, Ordering};

    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::settings::Host;
    use crate::tls::{TlsMode, UpstreamTls};

    const NAMED: i32 = 4711;

    /// What stands at the other end.
    #[derive(Clone, Copy, Debug)]
    enum Between {
        Nothing,
        /// A backend for each session, under another name.
        OneForEach,
        /// The one that was given back last.
        LastGivenBack,
        InTurns,
    }

    /// Admits whoever comes, and says which backend answers.
    async fn serve(mut stream: TcpStream, between: Between, session: i32) -> std::io::Result<()> {
        static TURN: AtomicI32 = AtomicI32::new(0);
        let length = usize::try_from(stream.read_i32().await?).unwrap();
        stream.read_exact(&mut vec![0; length - 4]).await?;
        let mut out = b"R\0\0\0\x08\0\0\0\0K\0\0\0\x0c".to_vec();
        out.extend_from_slice(&NAMED.to_be_bytes());
        out.extend_from_slice(b"\0\0\0\x01Z\0\0\0\x05I");
        stream.write_all(&out).await?;
        loop {
            let _query = stream.read_u8().await?;
            let length = usize::try_from(stream.read_i32().await?).unwrap();
            stream.read_exact(&mut vec![0; length - 4]).await?;
            let backend = match between {
                Between::Nothing => NAMED,
                Between::OneForEach => 100 + session,
                Between::LastGivenBack => 7,
                Between::InTurns => TURN.fetch_add(1, Ordering::Relaxed) % 5,
            };
            let value = backend.to_string();
            let mut row = 1_u16.to_be_bytes().to_vec();
            row.extend_from_slice(&i32::try_from(value.len()).unwrap().to_be_bytes());
            row.extend_from_slice(value.as_bytes());
            let mut out = vec![backend::DATA_ROW];
            out.extend_from_slice(&i32::try_from(row.len() + 4).unwrap().to_be_bytes());
            out.extend_from_slice(&row);
            out.extend_from_slice(b"Z\0\0\0\x05I");
            stream.write_all(&out).await?;
        }
    }

    async fn opens(between: Between) -> Result<(), InquiryError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            for session in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, between, session));
            }
        });
        let connection = Connection {
            name: "shop".to_owned(),
            hosts: vec![Host::Tcp { host: "127.0.0.1".to_owned(), port }],
            tls: UpstreamTls::new(TlsMode::Disable, None).unwrap(),
            login: Login::Gateway {
                user: "app".to_owned(),
                database: "shop".to_owned(),
                password: None,
            },
            connect_timeout: Duration::from_secs(10),
            durability: audit::Durability::Strict,
        };
        Inquiry::open(&Arc::new(connection)).await.map(drop)
    }

    #[test]
    fn who_shares_backends_is_not_asked() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for (between, is_shared) in [
                (Between::Nothing, false),
                (Between::OneForEach, false),
                (Between::LastGivenBack, true),
                (Between::InTurns, true),
            ] {
                let opened = opens(between).await;
                let refused = matches!(opened, Err(InquiryError::Shared));
                assert_eq!(refused, is_shared, "{between:?} {opened:?}");
                assert_eq!(opened.is_ok(), !is_shared, "{between:?} {opened:?}");
            }
        });
    }
}
