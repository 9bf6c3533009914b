//! What may go to PostgreSQL, and when: a batch of messages that were looked at, once the records of
//! what it is about to do are as durable as they have to be. Replies wait for what was sent before
//! that, and for their own outcomes.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io;
use std::ops::Range;

use audit::event::{self, Context, Event};
use audit::{Durability, Journal, Unrecorded};
use tokio::io::AsyncWriteExt;

use super::{Around, Entry, Gate};
use crate::refusal::Refusal;
use crate::stream::Writer;

/// Batches of reads that may be on their way at once without their records being durable.
const UNRELEASED_MAX: usize = 64;

/// Messages that may go to PostgreSQL. Only the gate makes them.
pub(crate) struct Cleared<'a>(pub(super) Cow<'a, [u8]>);

/// The server's side of a session. It takes what is cleared.
pub(crate) struct ToServer<'s>(Writer<'s>);

impl<'s> ToServer<'s> {
    pub(crate) fn new(stream: Writer<'s>) -> Self {
        ToServer(stream)
    }

    pub(crate) async fn send(&mut self, cleared: Cleared<'_>) -> io::Result<()> {
        self.0.write_all(&cleared.0).await?;
        self.0.flush().await
    }
}

/// A message that was looked at.
pub(crate) struct Seen {
    pub(crate) tag: u8,
    pub(crate) entry: Entry,
    /// Where it stands in the batch, as far as it is there.
    pub(crate) bytes: Range<usize>,
    /// What the server gets in its place.
    pub(crate) instead: Option<Vec<u8>>,
    /// Messages of the gate's own in `instead`.
    pub(crate) around: Option<Box<Around>>,
}

/// Messages that have been looked at, and what else is there of the stream.
pub(crate) struct Batch<'b, 's> {
    pub(crate) bytes: &'b [u8],
    /// Before this stands the end of a message that was replaced, which is dropped.
    pub(crate) from: usize,
    pub(crate) seen: &'s mut [Seen],
}

/// Records of what is about to be done.
pub(super) struct Attempts {
    batch: event::Batch,
    /// Nothing of it changes anything.
    only_reads: bool,
}

impl Default for Attempts {
    fn default() -> Self {
        Attempts { batch: event::Batch::new(), only_reads: true }
    }
}

impl Attempts {
    pub(super) fn push(
        &mut self,
        who: &Context,
        statement: event::Statement<'_>,
        only_reads: bool,
    ) {
        self.batch.push(who, &Event::Statement(statement));
        self.only_reads &= only_reads;
    }

    fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.batch.bytes()
    }

    pub(super) fn clear(&mut self) {
        self.batch.clear();
        self.only_reads = true;
    }
}

/// Judges a batch that has been looked at: its records are made durable, and then it may pass, or
/// what stands in its place. If they can't be recorded, everything that would run something is
/// replaced.
///
/// What is proven to read alone passes while its records become durable, and its replies wait for
/// them. Not cancel-safe: dropped midway, the batch is recorded and not sent.
pub(crate) async fn judge<'b>(gate: &RefCell<Gate>, batch: Batch<'b, '_>) -> Cleared<'b> {
    let (attempts, journal, durability, waits) = {
        let mut gate = gate.borrow_mut();
        gate.record_lone(u64::MAX);
        if gate.attempts.is_empty() {
            return batch.cleared();
        }
        if gate.durability == Durability::Relaxed && gate.journal.note(&gate.attempts.batch) {
            gate.attempts.clear();
            return batch.cleared();
        }
        let overlaps = gate.attempts.only_reads && gate.unreleased.len() < UNRELEASED_MAX;
        let waits = gate.durability == Durability::Strict && !overlaps;
        (std::mem::take(&mut gate.attempts), gate.journal.clone(), gate.durability, waits)
    };
    let recorded = match journal.append(&attempts.batch, durability).await {
        Ok(ticket) if waits => ticket.durable().await.map(|()| None),
        Ok(ticket) => Ok(Some(ticket).filter(|_| durability == Durability::Strict)),
        Err(error) => Err(error),
    };
    let mut gate = gate.borrow_mut();
    gate.attempts = attempts;
    gate.attempts.clear();
    match recorded {
        Ok(ticket) => gate.unreleased.extend(ticket),
        Err(error) => {
            // The journal itself has said so once; every statement would say it again.
            tracing::debug!(session = gate.person.session, %error, "a batch is refused");
            for seen in batch.seen.iter_mut() {
                let bytes = batch.bytes.get(seen.bytes.clone()).unwrap_or_default();
                gate.refuse(seen, bytes, &Refusal::Unrecorded);
            }
        }
    }
    batch.cleared()
}

/// Waits until replies may be released: an error means that what they answer is not recorded.
pub(crate) async fn release(gate: &RefCell<Gate>) -> Result<(), Unrecorded> {
    let unreleased = std::mem::take(&mut gate.borrow_mut().unreleased);
    for ticket in unreleased {
        ticket.durable().await?;
    }
    Ok(())
}

impl<'b> Batch<'b, '_> {
    fn cleared(self) -> Cleared<'b> {
        let mut from = self.from;
        if self.seen.iter().all(|seen| seen.instead.is_none()) {
            return Cleared(Cow::Borrowed(self.bytes.get(from..).unwrap_or_default()));
        }
        let mut out = Vec::with_capacity(self.bytes.len());
        for seen in self.seen.iter() {
            if let Some(instead) = &seen.instead {
                out.extend_from_slice(self.bytes.get(from..seen.bytes.start).unwrap_or_default());
                out.extend_from_slice(instead);
                from = seen.bytes.end;
            }
        }
        out.extend_from_slice(self.bytes.get(from..).unwrap_or_default());
        Cleared(Cow::Owned(out))
    }
}

/// Records what has come of statements, before the last byte of their replies is out. An error
/// means that an outcome which had to be durable is not.
pub(crate) async fn record_outcomes(gate: &RefCell<Gate>) -> Result<(), Unrecorded> {
    let (outcomes, journal, is_urgent) = {
        let mut gate = gate.borrow_mut();
        if gate.outcomes.is_empty() {
            return Ok(());
        }
        let is_urgent = std::mem::take(&mut gate.outcome_is_urgent);
        if !is_urgent && gate.journal.note(&gate.outcomes) {
            gate.outcomes.clear();
            return Ok(());
        }
        (std::mem::take(&mut gate.outcomes), gate.journal.clone(), is_urgent)
    };
    let durability = if is_urgent { Durability::Strict } else { Durability::Relaxed };
    let recorded = record(&journal, &outcomes, durability, is_urgent).await;
    let mut gate = gate.borrow_mut();
    // The other loop may have noted more meanwhile.
    if gate.outcomes.is_empty() {
        gate.outcomes = outcomes;
        gate.outcomes.clear();
    }
    match recorded {
        Err(error) if is_urgent => Err(error),
        Err(error) => {
            // What was tried is recorded; what came of it stays unknown there.
            let session = &gate.person.session;
            tracing::error!(session, %error, "the outcome of a statement could not be recorded");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// Appends, and waits until it is durable where somebody has to know.
pub(crate) async fn record(
    journal: &Journal,
    batch: &event::Batch,
    durability: Durability,
    wait: bool,
) -> Result<(), Unrecorded> {
    let ticket = journal.append(batch, durability).await?;
    if wait { ticket.durable().await } else { Ok(()) }
}
