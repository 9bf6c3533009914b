//! A session: two loops over two sockets, one for messages and one for replies, in one task. They
//! share the account of what is outstanding and the gate. Bytes that nobody has to look at are
//! moved as they came, a batch to a write.

mod asking;
mod buffer;
mod end;
mod holding;
mod replies;
mod timing;
mod trial;
mod wakes;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep_until, timeout};
use wire::exchange::Exchange;
use wire::frame::{FrameError, HEADER_BYTES, Walker};
use wire::frontend;

use self::buffer::{BUFFER_BYTES_MAX, Buffer};
pub(crate) use self::end::End;
use self::replies::Replies;
use self::wakes::{Signal, WhenWoken};
use crate::gate::{self, Around, Batch, Entry, Gate, Looked, Need, Seen, ToServer};
use crate::grants::Tenure;
use crate::holds::fault;
use crate::line::Line;
use crate::metrics::{Metrics, Refused};
use crate::refusal;
use crate::roster::Attendee;
use crate::stream::{Reader, Stream, Writer};

/// How long before its token ends a session is told of it.
const TOKEN_NOTICE: Duration = Duration::from_secs(60);

/// How long a peer may take to take our last words.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a client may take for the rest of a reply that it has a part of, where the session ends
/// in the midst of it: behind half a reply there is no place for words.
const LAST_REPLY_TIMEOUT: Duration = Duration::from_millis(500);

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
    pub(crate) gate: Gate,
    pub(crate) attendee: Arc<Attendee>,
    pub(crate) idle_timeout: Option<Duration>,
    /// The grant that it lives under.
    pub(crate) tenure: Option<Tenure>,
    /// When the token ends that opened it, where it ends with that.
    pub(crate) token_ends: Option<Instant>,
    pub(crate) metrics: &'a Metrics,
}
/// What the loops of a session share. They run in one task, so nothing here is locked.
struct Shared {
    exchange: RefCell<Exchange<Entry>>,
    gate: RefCell<Gate>,
    /// A batch of replies is on its way to the client.
    writing: Cell<bool>,
    /// The client has said Terminate.
    terminated: Cell<bool>,
    heard: Cell<Instant>,
    /// Replies have come: the loop of the messages may wait for them, for room in the account or for
    /// answers.
    progress: Signal,
    /// What we say to the client between two replies.
    words: RefCell<Vec<u8>>,
    said: Signal,
    /// When everything that was sent had been answered.
    quiet_since: Cell<Instant>,
    /// Nothing more is to reach the client, but the rest of a reply that it has a part of.
    is_ending: Cell<bool>,
    /// Somebody has to cancel what runs.
    cancel: Signal,
    /// That is on its way, and nothing else may be sent.
    cancelling: Cell<bool>,
    /// The loop of the messages has something to send that is not the client's.
    wake: Signal,
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
            gate: RefCell::new(self.gate),
            writing: Cell::new(false),
            terminated: Cell::new(false),
            heard: Cell::new(Instant::now()),
            progress: Signal::default(),
            words: RefCell::default(),
            said: Signal::default(),
            quiet_since: Cell::new(Instant::now()),
            is_ending: Cell::new(false),
            cancel: Signal::default(),
            cancelling: Cell::new(false),
            wake: Signal::default(),
        };
        let client = RefCell::new(self.client.stream);
        let server = RefCell::new(self.server.stream);
        let (mut from_client, mut to_client) = (Reader::of(&client), Writer::of(&client));
        let (mut from_server, mut to_server) =
            (Reader::of(&server), ToServer::new(Writer::of(&server)));
        let mut replies = Replies {
            buffer: Buffer::holding(self.server.received),
            walker: Walker::new(gate::wanted_of_replies_alone),
            shared: &shared,
            attendee: &self.attendee,
            metrics: self.metrics,
            is_dropping: false,
        };
        let mut messages = Messages {
            buffer: Buffer::holding(self.client.received),
            walker: Walker::new(gate::wanted_of_messages),
            seen: Vec::new(),
            is_swallowing: false,
            shared: &shared,
            attendee: &self.attendee,
            metrics: self.metrics,
        };
        let end = {
            let mut from_server_to_client = pin!(replies.run(&mut from_server, &mut to_client));
            let from_client_to_server = pin!(messages.run(&mut from_client, &mut to_server));
            let beside = pin!(async {
                tokio::select! {
                    biased;
                    end = overseer(&shared, &self.attendee, self.idle_timeout) => end,
                    end = timing::tenure_over(&shared, self.tenure.as_ref()) => end,
                    end = token_over(&shared, self.token_ends) => end,
                    by = self.attendee.killed() => End::Killed(by),
                    end = timing::timekeeper(&shared) => end,
                    end = timing::canceller(&shared, &self.attendee) => end,
                }
            });
            let mut replies = WhenWoken::new(from_server_to_client.as_mut());
            let mut messages = WhenWoken::new(from_client_to_server);
            let mut beside = WhenWoken::new(beside);
            let (end, is_of_replies) = poll_fn(|context| {
                // Replies first: they free the room that messages wait for.
                if let Poll::Ready(end) = replies.poll(context) {
                    return Poll::Ready((end, true));
                }
                if let Poll::Ready(end) = messages.poll(context) {
                    return Poll::Ready((end, false));
                }
                beside.poll(context).map(|end| (end, false))
            })
            .await;
            if !is_of_replies && end.has_words() {
                shared.is_ending.set(true);
                // If it takes longer, the client hears of the end by the end of the stream.
                let _rest = timeout(LAST_REPLY_TIMEOUT, from_server_to_client).await;
            }
            end
        };
        let between_replies = !shared.writing.get() && replies.walker.between_frames();
        let running = !shared.exchange.borrow().is_quiet();

        let mut client = client.into_inner();
        let mut words = Vec::new();
        if let Some(refusal) = end.refusal()
            && between_replies
        {
            refusal.write(&mut words);
        }
        // The client hears of the end while the server does: neither has to wait for the other.
        let to_client = async {
            if !matches!(end, End::ClientGone(_)) {
                last_words(&mut client, &words).await;
            }
        };
        let to_server = async {
            // What the client's departure leaves running would run for nobody.
            if running
                && !matches!(end, End::Terminated | End::ServerGone(_))
                && let Err(error) = self.attendee.backend.cancel().await
            {
                let session = &self.attendee.about.session;
                tracing::warn!(session, %error, "what it left running could not be cancelled");
            }
            // A Terminate could fall into the middle of a message that the client has not finished,
            // so the server is told by the end of the stream alone.
            last_words(&mut server.into_inner(), &[]).await;
        };
        tokio::join!(to_client, to_server);
        let mut gate = shared.gate.into_inner();
        gate.leave_holds().await;
        gate.end(&end.to_string()).await;
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

/// From the client to the server.
struct Messages<'a> {
    buffer: Buffer,
    walker: Walker,
    /// The messages of the present batch.
    seen: Vec<Seen>,
    /// The present message was replaced: what comes of it is dropped.
    is_swallowing: bool,
    shared: &'a Shared,
    attendee: &'a Arc<Attendee>,
    metrics: &'a Metrics,
}

/// Why no more of the buffer was looked at.
enum Stopped {
    /// There is no more, or not enough of it.
    Short,
    /// There is no room in the account or in the gate.
    Full,
    /// The gate has to know something before it can say what becomes of the next message.
    Needs(Need),
}

impl Messages<'_> {
    async fn run(&mut self, client: &mut Reader<'_>, server: &mut ToServer<'_>) -> End {
        loop {
            if self.shared.cancelling.get() {
                let cancelled = self.shared.wait_until(|shared| !shared.cancelling.get());
                if let Err(end) = self.while_listening(client, cancelled).await {
                    return end;
                }
            }
            if self.abort(server).await.is_err() {
                return std::future::pending().await;
            }
            let (ready, stopped) = match self.look() {
                Ok(looked) => looked,
                Err(error) => return End::ClientBroke(error),
            };
            if ready > 0 && self.pass_on(ready, server).await.is_err() {
                // The server has closed. Its last words may still be on their way to us, and the
                // other loop ends the session behind them.
                return std::future::pending().await;
            }
            if self.shared.terminated.get() {
                return std::future::pending().await;
            }
            match stopped {
                Stopped::Short => {}
                Stopped::Full => {
                    // What is in the buffer goes first: reading on would only make it longer.
                    self.shared.wait_until(|shared| shared.exchange.borrow().room() > 0).await;
                    continue;
                }
                Stopped::Needs(need) => match self.settle(need, client, server).await {
                    Ok(()) => continue,
                    Err(end) => return end,
                },
            }
            let wake = &self.shared.wake;
            let read = poll_fn(|context| match wake.poll(context) {
                Poll::Ready(()) => Poll::Ready(None),
                Poll::Pending => self.buffer.poll_fill(client, context).map(Some),
            });
            let Some(read) = read.await else { continue };
            match read {
                Ok(0) => return End::ClientGone(None),
                Ok(_) => self.shared.heard.set(Instant::now()),
                Err(error) => return End::ClientGone(Some(error)),
            }
        }
    }

    /// Makes a transaction fail that the client takes for failed.
    async fn abort(&mut self, server: &mut ToServer<'_>) -> io::Result<()> {
        let aborting = self.shared.gate.borrow_mut().abort();
        let Some((cleared, entries)) = aborting else { return Ok(()) };
        for (tag, entry) in entries {
            self.shared.exchange.borrow_mut().sent(tag, entry);
        }
        server.send(cleared).await
    }

    /// Shows the gate what is in the buffer, as far as there is room in the account and in the
    /// gate, and as far as the gate can say what becomes of it. The bytes up to the result are a
    /// batch.
    fn look(&mut self) -> Result<(usize, Stopped), FrameError> {
        let mut gate = self.shared.gate.borrow_mut();
        let room = self.shared.exchange.borrow().room();
        if let Err(need) = gate.renew_rules() {
            return Ok((0, Stopped::Needs(need)));
        }
        let mut at = 0;
        while !self.shared.terminated.get() {
            if self.seen.len() >= room || gate.is_full() {
                return Ok((at, Stopped::Full));
            }
            let Some(frame) = self.walker.next(&self.buffer.bytes, &mut at)? else {
                break;
            };
            let bytes = at - HEADER_BYTES - frame.body.len()..at;
            match gate.look(&frame) {
                Ok(Looked { entry, instead, around }) => {
                    self.seen.push(Seen { tag: frame.tag, entry, bytes, instead, around });
                }
                Err(need) => {
                    self.walker = Walker::new(gate::wanted_of_messages);
                    return Ok((bytes.start, Stopped::Needs(need)));
                }
            }
            self.shared.terminated.set(frame.tag == frontend::TERMINATE);
        }
        Ok((at, Stopped::Short))
    }

    /// Sends the batch that was looked at, or what the gate puts in its place.
    async fn pass_on(&mut self, ready: usize, server: &mut ToServer<'_>) -> io::Result<()> {
        let Shared { gate, exchange, .. } = self.shared;
        let bytes = &self.buffer.bytes;
        self.metrics.bytes_from_clients.inc_by(ready as u64);
        // What comes of a message that was replaced is dropped.
        let mut from = 0;
        if std::mem::take(&mut self.is_swallowing) {
            from = self.seen.first().map_or(ready, |first| first.bytes.start);
            self.is_swallowing = self.seen.is_empty();
        }
        let bytes = bytes.get(..ready).unwrap_or_default();
        let cleared = gate::judge(gate, Batch { bytes, from, seen: &mut self.seen }).await;
        if let Some(last) = self.seen.last() {
            self.is_swallowing = last.instead.is_some();
        }
        {
            let mut exchange = exchange.borrow_mut();
            for seen in self.seen.drain(..) {
                if let Entry::Refused(turned) = &seen.entry {
                    let label = Refused { sqlstate: turned.refusal.label() };
                    self.metrics.refusals.get_or_create(&label).inc();
                }
                let (before, after) = seen.around.map_or_else(Default::default, |around| {
                    let Around { before, after } = *around;
                    (before, after)
                });
                before.into_iter().for_each(|(tag, entry)| exchange.sent(tag, entry));
                exchange.sent(gate::tag_sent(seen.tag, &seen.entry), seen.entry);
                after.into_iter().for_each(|(tag, entry)| exchange.sent(tag, entry));
            }
            let mut gate = gate.borrow_mut();
            exchange.skipped().for_each(|entry| gate.skipped(entry));
        }
        if gate.borrow().has_many_outcomes()
            && let Err(error) = gate::record_outcomes(gate).await
        {
            return Err(io::Error::other(error));
        }
        // A cancel that is on its way must not hit this.
        self.shared.wait_until(|shared| !shared.cancelling.get()).await;
        let sent = server.send(cleared).await;
        if gate.borrow().runs_held() {
            fault("sent");
        }
        self.buffer.consume(ready);
        sent
    }
}

impl Shared {
    /// Waits for replies until `is_so`. Cancel-safe.
    async fn wait_until(&self, is_so: impl Fn(&Shared) -> bool) {
        while !is_so(self) {
            self.progress.seen().await;
        }
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

/// Ends a session with its token, whatever it does then, and says so a while before.
async fn token_over(shared: &Shared, ends: Option<Instant>) -> End {
    let Some(end) = ends else { return std::future::pending().await };
    if let Some(before) = end.checked_sub(TOKEN_NOTICE)
        && before > Instant::now()
    {
        sleep_until(before).await;
        refusal::write_token_notice(TOKEN_NOTICE.as_secs(), &mut shared.words.borrow_mut());
        shared.said.set();
    }
    sleep_until(end).await;
    End::TokenOver
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
