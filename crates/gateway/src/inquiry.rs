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

/// A backend that only we talk to, as the connection's own role. It reads and never writes.
pub struct Inquiry {
    stream: Stream,
    /// Read and not yet taken.
    received: Vec<u8>,
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
        Inquiry::log_in(connection, &startup(), keyring).await
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
        let (stream, received) = opened.line.into_parts();
        Ok(Inquiry { stream, received })
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
