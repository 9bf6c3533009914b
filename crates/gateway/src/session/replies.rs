//! From the server to the client: each reply is taken off the account and shown to the gate, and a
//! batch of them goes out in one write, once what was recorded of it is as durable as it has to be.

use std::future::poll_fn;
use std::io;
use std::ops::Range;
use std::task::Poll;

use tokio::io::AsyncWriteExt;
use tokio::time::Instant;
use wire::exchange::{Reply, Sent};
use wire::frame::{HEADER_BYTES, Walker};

use super::buffer::Buffer;
use super::{End, Shared};
use crate::gate;
use crate::metrics::Metrics;
use crate::roster::Attendee;
use crate::stream::{Reader, Writer};

/// From the server to the client.
pub(super) struct Replies<'a> {
    pub(super) buffer: Buffer,
    pub(super) walker: Walker,
    pub(super) shared: &'a Shared,
    pub(super) attendee: &'a Attendee,
    pub(super) metrics: &'a Metrics,
    /// The present message was replaced: the rest of it is dropped.
    pub(super) is_dropping: bool,
}

/// A batch of replies that has been taken off the account.
struct Answered {
    /// Bytes of the buffer that it covers.
    ready: usize,
    /// Errors of ours, and the place of the server's that they take.
    replaced: Vec<(Range<usize>, Vec<u8>)>,
    /// The session ends behind it.
    end: Option<End>,
}

impl Replies<'_> {
    pub(super) async fn run(&mut self, server: &mut Reader<'_>, client: &mut Writer<'_>) -> End {
        loop {
            let begins_between_frames = self.walker.between_frames();
            let Answered { ready, replaced, end } = self.account();
            if ready > 0 {
                self.shared.writing.set(true);
                let gate = &self.shared.gate;
                let released = match gate::record_outcomes(gate).await {
                    Ok(()) => gate::release(gate).await,
                    refused => refused,
                };
                gate::settle_holds(gate).await;
                if let Err(error) = released {
                    // The batch is held back whole, and our words may take its place.
                    self.walker = Walker::new(gate::wanted_of_replies_alone);
                    self.shared.writing.set(!begins_between_frames);
                    return End::Unrecorded(error);
                }
                let sent = self.send(ready, &replaced, client).await;
                self.shared.writing.set(false);
                if let Err(error) = sent {
                    return End::ClientGone(Some(error));
                }
            }
            self.buffer.consume(ready);
            if let Some(end) = end {
                return end;
            }
            if self.shared.is_ending.get() && self.walker.between_frames() {
                return End::Ordered;
            }
            if self.attendee.is_told_to_end() && self.shared.is_quiet() {
                return End::Ordered;
            }
            let may_speak = self.walker.between_frames() && self.buffer.bytes.is_empty();
            let said = &self.shared.said;
            let between_frames = self.walker.between_frames();
            let read = poll_fn(|context| match () {
                () if between_frames && self.shared.is_ending.get() => Poll::Ready(None),
                () if may_speak && said.poll(context).is_ready() => Poll::Ready(None),
                () => self.buffer.poll_fill(server, context).map(Some),
            });
            let Some(read) = read.await else {
                let words = self.shared.words.take();
                if let Err(error) = say(&words, client).await {
                    return End::ClientGone(Some(error));
                }
                continue;
            };
            match read {
                Ok(0) if self.shared.terminated.get() => return End::Terminated,
                Ok(0) => return End::ServerGone(None),
                Ok(_) => {}
                Err(_) if self.shared.terminated.get() => return End::Terminated,
                Err(error) => return End::ServerGone(Some(error)),
            }
        }
    }

    async fn send(
        &self,
        ready: usize,
        replaced: &[(Range<usize>, Vec<u8>)],
        client: &mut Writer<'_>,
    ) -> io::Result<()> {
        self.metrics.bytes_to_clients.inc_by(ready as u64);
        let mut from = 0;
        for (place, ours) in replaced {
            client.write_all(self.buffer.bytes.get(from..place.start).unwrap_or_default()).await?;
            client.write_all(ours).await?;
            from = place.end;
        }
        client.write_all(self.buffer.bytes.get(from..ready).unwrap_or_default()).await?;
        client.flush().await
    }

    /// Takes what is in the buffer off the account, and shows it to the gate. A reply that
    /// nobody asked for may not go, and ends the session.
    fn account(&mut self) -> Answered {
        let mut exchange = self.shared.exchange.borrow_mut();
        let mut gate = self.shared.gate.borrow_mut();
        let mut statements = 0;
        self.walker.want(gate.wanted_of_replies());
        let mut answered = Answered { ready: 0, replaced: Vec::new(), end: None };
        let at = &mut answered.ready;
        loop {
            if self.shared.is_ending.get() && self.walker.between_frames() {
                break;
            }
            let mut is_aside = false;
            let from = *at;
            let next = self.walker.next(&self.buffer.bytes, at);
            let end_of_last = match &next {
                Ok(Some(frame)) => *at - HEADER_BYTES - frame.body.len(),
                _ => *at,
            };
            if self.is_dropping && end_of_last > from {
                answered.replaced.push((from..end_of_last, Vec::new()));
            }
            let frame = match next {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => {
                    answered.end = Some(End::ServerBroke(error));
                    break;
                }
            };
            let start = *at - HEADER_BYTES - frame.body.len();
            if gate.is_tripped(&frame) {
                self.metrics.raw_columns.inc();
                *at = start;
                self.walker = Walker::new(gate::wanted_of_replies_alone);
                answered.end = Some(End::Unmasked);
                break;
            }
            let ours = match exchange.received(frame.tag) {
                Ok(Reply::Part(_)) => exchange.head().and_then(|entry| gate.part(entry, &frame)),
                Ok(Reply::End(sent, entry)) => {
                    if let Sent::Query | Sent::Execute | Sent::FunctionCall = sent {
                        statements += 1;
                    }
                    gate.answered(entry, &frame)
                }
                Ok(Reply::Failed(_, entry)) => {
                    let ours = gate.failed(entry, &frame);
                    exchange.skipped().for_each(|entry| gate.skipped(entry));
                    ours
                }
                Ok(Reply::Aside) => {
                    is_aside = true;
                    gate.aside(&frame);
                    exchange.head().and_then(|entry| gate.about_ours(entry, &frame))
                }
                Err(unexpected) => {
                    // It is held back whole, so what we say takes its place in the stream.
                    *at = start;
                    self.walker = Walker::new(gate::wanted_of_replies_alone);
                    answered.end = Some(End::AccountLost(unexpected));
                    break;
                }
            };
            let is_last = exchange.is_quiet();
            let ours = ours.or_else(|| gate.withheld(&frame));
            let ours = if is_aside { ours } else { gate.heard(ours, frame.tag, is_last) };
            if let Some(ours) = ours {
                answered.replaced.push((start..*at, ours));
                self.is_dropping = frame.body.len() < frame.body_bytes;
            }
        }
        if gate.takes_cancel() {
            self.shared.cancelling.set(true);
            self.shared.cancel.set();
        }
        if exchange.is_quiet() {
            gate.rests();
            self.shared.quiet_since.set(Instant::now());
        }
        if gate.wants_abort() {
            self.shared.wake.set();
        }
        self.shared.progress.set();
        if statements > 0 {
            self.metrics.statements.inc_by(statements);
        }
        answered
    }
}
async fn say(words: &[u8], client: &mut Writer<'_>) -> io::Result<()> {
    client.write_all(words).await?;
    client.flush().await
}
