//! A stream while somebody logs in over it: short messages, one at a time, each with a bound and
//! all of them with one deadline. The session loop takes the stream over when the login is done.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};
use wire::frame::{self, FrameError};
use wire::startup::{self, FirstPacket, StartupError};

use crate::arrival::Departure;
use crate::stream::Stream;

/// What one read may bring while somebody logs in.
const READ_BYTES: usize = 4096;

/// What a peer may say before it is its turn, while it waits for people.
const EARLY_BYTES_MAX: usize = 64 << 10;

pub(crate) struct Line {
    pub(crate) stream: Stream,
    deadline: Instant,
    /// Read and not yet taken.
    received: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum LineError {
    #[error("the connection was closed")]
    Closed,
    #[error("the deadline has passed")]
    Late,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Startup(#[from] StartupError),
}

/// A message of the login, taken off the line.
pub(crate) struct Message {
    pub(crate) tag: u8,
    /// Tag, length and body, as they came.
    pub(crate) bytes: Vec<u8>,
}

impl Message {
    pub(crate) fn body(&self) -> &[u8] {
        self.bytes.get(frame::HEADER_BYTES..).unwrap_or_default()
    }
}

impl Line {
    pub(crate) fn new(stream: Stream, time: Duration) -> Self {
        Line { stream, deadline: Instant::now() + time, received: Vec::new() }
    }

    /// The same peer behind another stream, as when TLS begins.
    pub(crate) async fn with_stream(
        self,
        wrap: impl AsyncFnOnce(Stream) -> io::Result<Stream>,
    ) -> Result<Line, LineError> {
        let wrapped = timeout_at(self.deadline, wrap(self.stream));
        let stream = wrapped.await.map_err(|_| LineError::Late)??;
        Ok(Line { stream, deadline: self.deadline, received: Vec::new() })
    }

    pub(crate) async fn first_packet(
        &mut self,
        bytes_max: usize,
    ) -> Result<FirstPacket, LineError> {
        loop {
            if let Some((packet, bytes)) = startup::read(&self.received, bytes_max)? {
                self.received.drain(..bytes);
                return Ok(packet);
            }
            self.receive().await?;
        }
    }

    pub(crate) async fn message(&mut self, body_bytes_max: usize) -> Result<Message, LineError> {
        loop {
            if let Some(frame) = frame::whole(&self.received, body_bytes_max)? {
                let (tag, end) = (frame.tag, frame::HEADER_BYTES + frame.body_bytes);
                return Ok(Message { tag, bytes: self.received.drain(..end).collect() });
            }
            self.receive().await?;
        }
    }

    /// A new deadline, when what took the time was not the peer's doing.
    pub(crate) fn renew(&mut self, time: Duration) {
        self.deadline = Instant::now() + time;
    }

    /// One byte, as a server answers to SSLRequest, and not one more: what follows it must go
    /// through TLS.
    pub(crate) async fn byte(&mut self) -> Result<u8, LineError> {
        let byte = timeout_at(self.deadline, self.stream.read_u8());
        Ok(byte.await.map_err(|_| LineError::Late)??)
    }

    pub(crate) async fn say(&mut self, bytes: &[u8]) -> Result<(), LineError> {
        let said = timeout_at(self.deadline, async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        });
        Ok(said.await.map_err(|_| LineError::Late)??)
    }

    /// Waits until the peer closes.
    pub(crate) async fn closed(&mut self) -> Result<(), LineError> {
        loop {
            self.received.clear();
            match self.receive().await {
                Ok(()) => {}
                Err(LineError::Closed) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until the peer goes. What it says meanwhile is kept, up to a bound. Cancel-safe.
    pub(crate) async fn gone(&mut self) -> Departure {
        loop {
            if self.received.len() >= EARLY_BYTES_MAX {
                return std::future::pending().await;
            }
            self.received.reserve(READ_BYTES);
            match self.stream.read_buf(&mut self.received).await {
                Ok(read) if read > 0 => {}
                Ok(_) | Err(_) => return Departure::Left,
            }
        }
    }

    /// Bytes came that nobody has taken: a peer that did not wait for its turn.
    pub(crate) fn has_more(&self) -> bool {
        !self.received.is_empty()
    }

    /// The stream, and what was read of it beyond the login.
    pub(crate) fn into_parts(self) -> (Stream, Vec<u8>) {
        (self.stream, self.received)
    }

    async fn receive(&mut self) -> Result<(), LineError> {
        self.received.reserve(READ_BYTES);
        let read = timeout_at(self.deadline, self.stream.read_buf(&mut self.received));
        match read.await.map_err(|_| LineError::Late)?? {
            0 => Err(LineError::Closed),
            _ => Ok(()),
        }
    }
}
