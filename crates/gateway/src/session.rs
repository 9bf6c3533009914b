//! A session: two loops over two sockets, one for messages and one for replies, in one task. They
//! share the account of what is outstanding and nothing else. Bytes that nobody has to look at
//! are moved as they came, a batch to a write.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};
use wire::exchange::{Exchange, Reply, Sent, Unexpected};
use wire::frame::{FrameError, HEADER_BYTES, Walker};
use wire::{backend, frontend};

use crate::line::Line;
use crate::metrics::Metrics;
use crate::refusal::Refusal;
use crate::roster::Attendee;
use crate::stream::Stream;

/// A leg's buffer begins small, as most sessions are idle or say little, and grows while reads
/// fill it.
const BUFFER_BYTES_MIN: usize = 8 << 10;
const BUFFER_BYTES_MAX: usize = 128 << 10;

/// How long a peer may take to take our last words.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(5);

/// One side of a session: its socket, and what was read of it before the session began.
pub(crate) struct Leg {
    stream: Stream,
    received: Vec<u8>,
}

impl From<Line> for Leg {
    fn from(line: Line) -> Self {
        let (stream, received) = line.into_parts();
        Leg { stream, received }
    }
}

pub(crate) struct Session<'a> {
    pub(crate) client: Leg,
    pub(crate) server: Leg,
    pub(crate) attendee: Arc<Attendee>,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) metrics: &'a Metrics,
}

/// Why a session ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The client said so, and the server has closed after its last reply.
    Terminated,
    ClientGone(Option<io::Error>),
    ServerGone(Option<io::Error>),
    ClientBroke(FrameError),
    ServerBroke(FrameError),
    /// A reply that answers no message: we lost the account.
    AccountLost(Unexpected),
    Ordered,
    Idle(Duration),
}

/// What the loops of a session share. They run in one task, so nothing here is locked.
struct Shared {
    exchange: RefCell<Exchange>,
    /// A batch of replies is on its way to the client.
    writing: Cell<bool>,
    /// The client has said Terminate.
    terminated: Cell<bool>,
    heard: Cell<Instant>,
    /// The exchange was full and has room again.
    room: Notify,
}

impl Shared {
    /// Nothing is outstanding and every reply is out: a pause in which a session can be ended
    /// without taking a reply away.
    fn is_quiet(&self) -> bool {
        !self.writing.get() && self.exchange.borrow().is_quiet()
    }
}

impl Session<'_> {
    /// Runs until one side goes or the session has to end. Not cancel-safe: it is the task.
    pub(crate) async fn run(self) -> End {
        let shared = Shared {
            exchange: RefCell::new(Exchange::new()),
            writing: Cell::new(false),
            terminated: Cell::new(false),
            heard: Cell::new(Instant::now()),
            room: Notify::new(),
        };
        let (mut from_client, mut to_client) = tokio::io::split(self.client.stream);
        let (mut from_server, mut to_server) = tokio::io::split(self.server.stream);
        let mut replies = Replies {
            buffer: Buffer::holding(self.server.received),
            walker: Walker::new(wanted_of_replies),
            shared: &shared,
            attendee: &self.attendee,
            metrics: self.metrics,
        };
        let mut messages = Messages {
            buffer: Buffer::holding(self.client.received),
            walker: Walker::new(|_| 0),
            shared: &shared,
            metrics: self.metrics,
        };
        let end = tokio::select! {
            // Replies first: they free the room that messages wait for.
            biased;
            end = replies.run(&mut from_server, &mut to_client) => end,
            end = messages.run(&mut from_client, &mut to_server) => end,
            end = overseer(&shared, &self.attendee, self.idle_timeout) => end,
        };
        let between_replies = !shared.writing.get() && replies.walker.between_frames();
        let running = !shared.exchange.borrow().is_quiet();

        // What the client's departure leaves running would run for nobody.
        if running
            && !matches!(end, End::Terminated | End::ServerGone(_))
            && let Err(error) = self.attendee.backend.cancel().await
        {
            tracing::warn!(%error, "what a session left running could not be cancelled");
        }
        // A Terminate could fall into the middle of a message that the client has not finished,
        // so the server is told by the end of the stream alone.
        last_words(&mut from_server.unsplit(to_server), &[]).await;

        let mut client = from_client.unsplit(to_client);
        let mut words = Vec::new();
        if let Some(refusal) = end.refusal()
            && between_replies
        {
            refusal.write(&mut words);
        }
        if !matches!(end, End::ClientGone(_)) {
            last_words(&mut client, &words).await;
        }
        end
    }
}

/// Says `words`, if there are any, and closes, without waiting long for a peer that does not
/// listen.
pub(crate) async fn last_words(stream: &mut Stream, words: &[u8]) {
    let said = timeout(LAST_WORDS_TIMEOUT, async {
        stream.write_all(words).await?;
        stream.flush().await?;
        stream.shutdown().await
    });
    if let Ok(Err(error)) | Err(error) = said.await.map_err(io::Error::from) {
        tracing::debug!(%error, "a peer went before its last words");
    }
}

/// The transaction's state in ReadyForQuery is the only byte of a reply that is looked at.
fn wanted_of_replies(tag: u8) -> usize {
    usize::from(tag == backend::READY_FOR_QUERY)
}

/// From the client to the server.
struct Messages<'a> {
    buffer: Buffer,
    walker: Walker,
    shared: &'a Shared,
    metrics: &'a Metrics,
}

impl Messages<'_> {
    async fn run(&mut self, client: &mut ReadHalf<Stream>, server: &mut WriteHalf<Stream>) -> End {
        loop {
            let ready = match self.account() {
                Ok(ready) => ready,
                Err(error) => return End::ClientBroke(error),
            };
            if let Some(batch) = self.buffer.bytes.get(..ready).filter(|batch| !batch.is_empty()) {
                self.metrics.bytes_from_clients.inc_by(batch.len() as u64);
                if send(server, batch).await.is_err() {
                    // The server has closed. Its last words may still be on their way to us, and
                    // the other loop ends the session behind them.
                    return std::future::pending().await;
                }
            }
            self.buffer.consume(ready);
            if self.shared.terminated.get() {
                return std::future::pending().await;
            }
            if self.shared.exchange.borrow().is_full() {
                self.shared.room.notified().await;
                continue;
            }
            match self.buffer.fill(client).await {
                Ok(0) => return End::ClientGone(None),
                Ok(_) => self.shared.heard.set(Instant::now()),
                Err(error) => return End::ClientGone(Some(error)),
            }
        }
    }

    /// Enters what is in the buffer into the account, as far as there is room. The bytes up to
    /// the result may go.
    fn account(&mut self) -> Result<usize, FrameError> {
        let mut exchange = self.shared.exchange.borrow_mut();
        let mut at = 0;
        while !exchange.is_full() && !self.shared.terminated.get() {
            let Some(frame) = self.walker.next(&self.buffer.bytes, &mut at)? else {
                break;
            };
            exchange.sent(frame.tag);
            self.shared.terminated.set(frame.tag == frontend::TERMINATE);
        }
        Ok(at)
    }
}

/// From the server to the client.
struct Replies<'a> {
    buffer: Buffer,
    walker: Walker,
    shared: &'a Shared,
    attendee: &'a Attendee,
    metrics: &'a Metrics,
}

impl Replies<'_> {
    async fn run(&mut self, server: &mut ReadHalf<Stream>, client: &mut WriteHalf<Stream>) -> End {
        loop {
            let (ready, lost) = self.account();
            if let Some(batch) = self.buffer.bytes.get(..ready).filter(|batch| !batch.is_empty()) {
                self.metrics.bytes_to_clients.inc_by(batch.len() as u64);
                self.shared.writing.set(true);
                let sent = send(client, batch).await;
                self.shared.writing.set(false);
                if let Err(error) = sent {
                    return End::ClientGone(Some(error));
                }
            }
            self.buffer.consume(ready);
            if let Some(end) = lost {
                return end;
            }
            if self.attendee.is_told_to_end() && self.shared.is_quiet() {
                return End::Ordered;
            }
            match self.buffer.fill(server).await {
                Ok(0) if self.shared.terminated.get() => return End::Terminated,
                Ok(0) => return End::ServerGone(None),
                Ok(_) => {}
                Err(_) if self.shared.terminated.get() => return End::Terminated,
                Err(error) => return End::ServerGone(Some(error)),
            }
        }
    }

    /// Takes what is in the buffer off the account. The bytes up to the result may go; a reply
    /// that nobody asked for may not, and ends the session.
    fn account(&mut self) -> (usize, Option<End>) {
        let mut exchange = self.shared.exchange.borrow_mut();
        let was_full = exchange.is_full();
        let mut statements = 0;
        let (mut at, mut lost) = (0, None);
        loop {
            let frame = match self.walker.next(&self.buffer.bytes, &mut at) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => {
                    lost = Some(End::ServerBroke(error));
                    break;
                }
            };
            match exchange.received(frame.tag) {
                Ok(Reply::End(Sent::Query | Sent::Execute | Sent::FunctionCall)) => statements += 1,
                Ok(_) => {}
                Err(unexpected) => {
                    // It is held back whole, so what we say takes its place in the stream.
                    at -= HEADER_BYTES + frame.body.len();
                    self.walker = Walker::new(wanted_of_replies);
                    lost = Some(End::AccountLost(unexpected));
                    break;
                }
            }
        }
        if was_full && !exchange.is_full() {
            self.shared.room.notify_one();
        }
        if statements > 0 {
            self.metrics.statements.inc_by(statements);
        }
        (at, lost)
    }
}

/// Ends a session that is quiet: because somebody said so, or because it was silent too long.
/// While something runs the loop of the replies looks instead, when it is done.
async fn overseer(shared: &Shared, attendee: &Attendee, idle_timeout: Option<Duration>) -> End {
    loop {
        if attendee.is_told_to_end() && shared.is_quiet() {
            return End::Ordered;
        }
        let Some(idle) = idle_timeout else {
            attendee.told().await;
            continue;
        };
        let heard = shared.heard.get();
        tokio::select! {
            () = attendee.told() => {}
            () = sleep_until(heard + idle) => {
                if shared.heard.get() == heard && shared.is_quiet() {
                    return End::Idle(idle);
                }
                if shared.heard.get() == heard {
                    // It runs something long. Its silence begins when that is done.
                    shared.heard.set(Instant::now());
                }
            }
        }
    }
}

async fn send(to: &mut WriteHalf<Stream>, batch: &[u8]) -> io::Result<()> {
    to.write_all(batch).await?;
    to.flush().await
}

/// Bytes read and not yet passed on.
struct Buffer {
    bytes: Vec<u8>,
}

impl Buffer {
    fn holding(bytes: Vec<u8>) -> Self {
        Buffer { bytes }
    }

    /// Reads what is there, up to the buffer's size. Cancel-safe: nothing read is lost.
    async fn fill(&mut self, from: &mut ReadHalf<Stream>) -> io::Result<usize> {
        let capacity = self.bytes.capacity().max(BUFFER_BYTES_MIN);
        self.bytes.reserve(capacity - self.bytes.len());
        let room = self.bytes.capacity() - self.bytes.len();
        let read = from.read_buf(&mut self.bytes).await?;
        if read == room && capacity < BUFFER_BYTES_MAX {
            self.bytes.reserve(capacity);
        }
        Ok(read)
    }

    fn consume(&mut self, bytes: usize) {
        self.bytes.drain(..bytes);
        if self.bytes.is_empty()
            && self.bytes.capacity() > BUFFER_BYTES_MIN
            && bytes < BUFFER_BYTES_MIN
        {
            self.bytes = Vec::new();
        }
    }
}

impl End {
    pub(crate) fn is_fault(&self) -> bool {
        matches!(self, End::AccountLost(_))
    }

    /// What the client is told. Where a peer has gone, nobody is there to tell.
    fn refusal(&self) -> Option<Refusal> {
        match self {
            End::Terminated | End::ClientGone(_) | End::ServerGone(_) => None,
            End::ClientBroke(_) => Some(Refusal::MessageLength),
            End::ServerBroke(_) | End::AccountLost(_) => Some(Refusal::AccountLost),
            End::Ordered => Some(Refusal::Stopping),
            End::Idle(time) => Some(Refusal::IdleTimeout { seconds: time.as_secs() }),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Terminated => f.write_str("the client terminated it"),
            End::ClientGone(None) => f.write_str("the client went without a word"),
            End::ClientGone(Some(error)) => write!(f, "the client's connection broke: {error}"),
            End::ServerGone(None) => f.write_str("the server closed it"),
            End::ServerGone(Some(error)) => write!(f, "the server's connection broke: {error}"),
            End::ClientBroke(error) => write!(f, "the client broke the protocol: {error}"),
            End::ServerBroke(error) => write!(f, "the server broke the protocol: {error}"),
            End::AccountLost(unexpected) => write!(f, "the account was lost: {unexpected}"),
            End::Ordered => f.write_str("it was told to end"),
            End::Idle(time) => write!(f, "no statement for {} s", time.as_secs()),
        }
    }
}

/// Names a session in logs.
#[derive(Clone, Copy)]
pub(crate) struct Id(u64);

impl Id {
    pub(crate) fn new() -> Self {
        let mut bytes = [0; 8];
        // A name, not a secret: without randomness sessions are still served, under one name.
        if aws_lc_rs::rand::fill(&mut bytes).is_err() {
            tracing::error!("no randomness for a session's name");
        }
        Id(u64::from_be_bytes(bytes))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
