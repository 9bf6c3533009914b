//! The bounded queue between the sessions and the writer, and the tickets that a session waits
//! with. A session copies its bytes in under a lock that is never held during I/O; the writer
//! swaps the whole buffer out. Who waits is woken per group, and nobody else.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::{Notify, Semaphore, SemaphorePermit, TryAcquireError};

use crate::event::{Batch, EVENT_BYTES_MAX, Mark};

/// Bytes of events that are in the queue or being written. Whoever comes later waits to be let in.
/// An event that is longer is let in when the queue is empty.
pub const QUEUE_BYTES_MAX: usize = 2 << 20;

/// Events likewise.
pub const QUEUE_EVENTS_MAX: usize = 8 << 10;

/// An event weighs at least this much, so that one number bounds bytes and events.
const EVENT_WEIGHT_MIN: usize = QUEUE_BYTES_MAX / QUEUE_EVENTS_MAX;

/// So many relaxed bytes are written at once, however long they could still wait.
const RELAXED_BYTES_MAX: usize = QUEUE_BYTES_MAX / 4;

/// How soon an appended event is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// At once, with all that waits. If it can't be recorded it never will be, and `durable` says
    /// so.
    Strict,
    /// Within the journal's `relaxed` time, or when somebody waits for its ticket. If it can't be
    /// recorded then, the writer keeps it and records it, in its place, when it can.
    Relaxed,
}

/// Why an event is not in the journal.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Unrecorded {
    #[error("the journal cannot be written: {why}")]
    Refusing { why: Arc<str> },
    #[error("the event has {bytes} bytes, and {EVENT_BYTES_MAX} can be recorded")]
    TooLong { bytes: usize },
    #[error("the journal is closed")]
    Closed,
}

/// Whether the journal can be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    Writing,
    /// `since` is in Unix milliseconds.
    Refusing {
        why: Arc<str>,
        since: i64,
    },
}

pub(crate) struct Queue {
    staging: Mutex<Staging>,
    work: Condvar,
    room: Semaphore,
    refused: Notify,
    /// Kept beside `Staging::refusing`, so that asking costs nothing.
    refuses: AtomicBool,
    relaxed: Duration,
}

#[derive(Default)]
struct Staging {
    pending: Pending,
    urgent: bool,
    /// When the oldest relaxed event came.
    since: Option<Instant>,
    asleep: Asleep,
    closing: bool,
    refusing: Option<(Arc<str>, i64)>,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Asleep {
    #[default]
    No,
    UntilTime,
    UntilWork,
}

/// What was appended, in order, and not taken yet; or taken, and not durable yet.
#[derive(Default)]
pub(crate) struct Pending {
    pub(crate) bytes: Vec<u8>,
    pub(crate) ends: Vec<usize>,
    pub(crate) marks: Vec<Mark>,
    batches: Vec<Appended>,
    group: Arc<Group>,
}

struct Appended {
    events: usize,
    marks: usize,
    weight: usize,
    relaxed: bool,
}

/// What one commit makes durable, for those who wait for it.
#[derive(Default)]
struct Group {
    done: OnceLock<Result<(), Unrecorded>>,
    notify: Notify,
}

/// Stands for one append. Dropping it changes nothing.
#[must_use = "an event is durable only once its ticket says so"]
pub struct Ticket {
    group: Arc<Group>,
    queue: Arc<Queue>,
}

impl Ticket {
    /// Returns when the events survive loss of power, or when they never will. Cancel-safe.
    pub async fn durable(&self) -> Result<(), Unrecorded> {
        let mut notified = std::pin::pin!(self.group.notify.notified());
        notified.as_mut().enable();
        if let Some(done) = self.group.done.get() {
            return done.clone();
        }
        self.queue.hasten(&self.group);
        notified.await;
        self.group.done.get().cloned().unwrap_or(Err(Unrecorded::Closed))
    }

    /// What `durable` would return, if it would return at once.
    pub fn done(&self) -> Option<Result<(), Unrecorded>> {
        self.group.done.get().cloned()
    }
}

/// What the writer is to do.
pub(crate) enum Work {
    Write,
    /// Nothing came until the time that the writer asked to be woken at.
    Time,
    Close,
}

impl Queue {
    pub(crate) fn new(relaxed: Duration) -> Queue {
        Queue {
            staging: Mutex::default(),
            work: Condvar::new(),
            room: Semaphore::new(QUEUE_BYTES_MAX),
            refused: Notify::new(),
            refuses: AtomicBool::new(false),
            relaxed,
        }
    }

    /// Cancel-safe: who goes away while waiting to be let in has appended nothing.
    pub(crate) async fn append(
        self: &Arc<Self>,
        batch: &Batch,
        durability: Durability,
    ) -> Result<Ticket, Unrecorded> {
        let longest = batch.longest();
        if longest > EVENT_BYTES_MAX {
            return Err(Unrecorded::TooLong { bytes: longest });
        }
        if let Health::Refusing { why, .. } = self.health() {
            return Err(Unrecorded::Refusing { why });
        }
        if batch.is_empty() {
            let group = Arc::<Group>::default();
            group.finish(Ok(()));
            return Ok(Ticket { group, queue: Arc::clone(self) });
        }
        let weight = weight(batch);
        let permits = u32::try_from(weight).unwrap_or(u32::MAX);
        let permit = match self.room.try_acquire_many(permits) {
            Ok(permit) => permit,
            Err(TryAcquireError::Closed) => return Err(Unrecorded::Closed),
            Err(TryAcquireError::NoPermits) => self.wait_for_room(permits).await?,
        };
        let group = self.push(batch, durability, weight, |pending| Arc::clone(&pending.group))?;
        // The writer gives them back.
        permit.forget();
        Ok(Ticket { group, queue: Arc::clone(self) })
    }

    /// Appends what is relaxed and nobody waits for, if that can be done at once. Else nothing is
    /// appended, and `append` waits or says why.
    pub(crate) fn note(&self, batch: &Batch) -> bool {
        if batch.is_empty() {
            return true;
        }
        if batch.longest() > EVENT_BYTES_MAX || self.refuses.load(Ordering::Acquire) {
            return false;
        }
        let weight = weight(batch);
        let Ok(permit) = self.room.try_acquire_many(u32::try_from(weight).unwrap_or(u32::MAX))
        else {
            return false;
        };
        let is_in = self.push(batch, Durability::Relaxed, weight, |_| ()).is_ok();
        if is_in {
            permit.forget();
        }
        is_in
    }

    async fn wait_for_room(&self, permits: u32) -> Result<SemaphorePermit<'_>, Unrecorded> {
        let mut refused = std::pin::pin!(self.refused.notified());
        refused.as_mut().enable();
        // While the writer can't write, what it keeps may fill the queue for long.
        if let Health::Refusing { why, .. } = self.health() {
            return Err(Unrecorded::Refusing { why });
        }
        tokio::select! {
            biased;
            permit = self.room.acquire_many(permits) => permit.map_err(|_| Unrecorded::Closed),
            () = refused => match self.health() {
                Health::Refusing { why, .. } => Err(Unrecorded::Refusing { why }),
                Health::Writing => Err(Unrecorded::Refusing { why: "it could not be for a moment".into() }),
            },
        }
    }

    fn push<T>(
        &self,
        batch: &Batch,
        durability: Durability,
        weight: usize,
        taken: impl FnOnce(&Pending) -> T,
    ) -> Result<T, Unrecorded> {
        let relaxed = durability == Durability::Relaxed;
        let mut staging = self.lock();
        if let Some((why, _)) = &staging.refusing {
            return Err(Unrecorded::Refusing { why: Arc::clone(why) });
        }
        if staging.closing {
            return Err(Unrecorded::Closed);
        }
        let pending = &mut staging.pending;
        let base = pending.bytes.len();
        pending.bytes.extend_from_slice(&batch.bytes);
        pending.ends.extend(batch.ends.iter().map(|end| base + end));
        pending.marks.extend_from_slice(&batch.marks);
        pending.batches.push(Appended {
            events: batch.ends.len(),
            marks: batch.marks.len(),
            weight,
            relaxed,
        });
        let taken = taken(pending);
        let full = pending.bytes.len() >= RELAXED_BYTES_MAX;
        if !relaxed || full {
            staging.urgent = true;
        } else if staging.since.is_none() {
            staging.since = Some(Instant::now());
        }
        self.wake(staging);
        Ok(taken)
    }

    /// A wake-up is a system call, so it is made only when the writer sleeps through what came.
    fn wake(&self, mut staging: MutexGuard<'_, Staging>) {
        let wake = match staging.asleep {
            Asleep::No => false,
            Asleep::UntilTime => staging.urgent || staging.closing,
            Asleep::UntilWork => true,
        };
        if wake {
            staging.asleep = Asleep::No;
            drop(staging);
            self.work.notify_one();
        }
    }

    fn hasten(&self, group: &Arc<Group>) {
        let mut staging = self.lock();
        if Arc::ptr_eq(group, &staging.pending.group) && !staging.pending.ends.is_empty() {
            staging.urgent = true;
            self.wake(staging);
        }
    }

    pub(crate) fn health(&self) -> Health {
        if !self.refuses.load(Ordering::Acquire) {
            return Health::Writing;
        }
        match &self.lock().refusing {
            Some((why, since)) => Health::Refusing { why: Arc::clone(why), since: *since },
            None => Health::Writing,
        }
    }

    /// Nothing is let in any more; what is in is still written.
    pub(crate) fn close(&self) {
        self.room.close();
        let mut staging = self.lock();
        staging.closing = true;
        self.wake(staging);
    }

    /// For the writer: sleeps until there is something to do, at the latest until `wake_at`.
    pub(crate) fn wait(&self, wake_at: Option<Instant>, into: &mut Pending) -> Work {
        let mut now = Instant::now();
        // Until then nothing relaxed is due: it need not wake us, and is seen when we wake.
        let doze = now + self.relaxed;
        let mut staging = self.lock();
        let mut gave_way = false;
        loop {
            let due = staging.since.map(|since| since + self.relaxed);
            if staging.urgent || staging.closing || due.is_some_and(|due| due <= now) {
                staging.asleep = Asleep::No;
                if !std::mem::replace(&mut gave_way, true) {
                    // Where the processors are busy, others may have something to add; where they
                    // aren't, this takes no time.
                    drop(staging);
                    std::thread::yield_now();
                    staging = self.lock();
                    continue;
                }
                if staging.closing && staging.pending.ends.is_empty() {
                    return Work::Close;
                }
                staging.take(into);
                return Work::Write;
            }
            if wake_at.is_some_and(|wake_at| wake_at <= now) {
                staging.asleep = Asleep::No;
                return Work::Time;
            }
            let next = due.or(Some(doze).filter(|doze| *doze > now));
            staging.asleep = if next.is_some() { Asleep::UntilTime } else { Asleep::UntilWork };
            let until = [next, wake_at].into_iter().flatten().min();
            staging = match until {
                None => self.work.wait(staging).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let waited = self.work.wait_timeout(staging, until - now);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
            now = Instant::now();
        }
    }

    /// For the writer while it can't write: sleeps until `time`; whether to go on trying.
    pub(crate) fn wait_to_retry(&self, time: Instant) -> bool {
        let mut staging = self.lock();
        loop {
            let now = Instant::now();
            if staging.closing || time <= now {
                return !staging.closing;
            }
            staging.asleep = Asleep::UntilTime;
            let waited = self.work.wait_timeout(staging, time - now);
            staging = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The group is durable: wakes those who wait for it, and lets others in.
    pub(crate) fn acknowledge(&self, pending: &mut Pending) {
        self.finish(pending, Ok(()));
        pending.clear();
    }

    /// From now on nothing is let in. What has come since `pending` was taken is added to it; of
    /// all this only what is relaxed is kept. Returns how many events will not be recorded.
    pub(crate) fn refuse(&self, pending: &mut Pending, why: &Arc<str>, since: i64) -> u64 {
        let unrecorded = Unrecorded::Refusing { why: Arc::clone(why) };
        let mut late = Pending::default();
        let mut staging = self.lock();
        staging.refusing = Some((Arc::clone(why), since));
        self.refuses.store(true, Ordering::Release);
        staging.take(&mut late);
        drop(staging);
        self.refused.notify_waiters();
        let lost =
            self.keep_relaxed(pending, &unrecorded) + self.keep_relaxed(&mut late, &unrecorded);
        pending.absorb(&mut late);
        lost
    }

    fn keep_relaxed(&self, pending: &mut Pending, unrecorded: &Unrecorded) -> u64 {
        pending.group.finish(Err(unrecorded.clone()));
        let (lost, weight) = pending.retain_relaxed();
        self.release(weight);
        lost
    }

    pub(crate) fn resume(&self) {
        self.lock().refusing = None;
        self.refuses.store(false, Ordering::Release);
    }

    /// The writer ends. Whoever still waits is told so.
    pub(crate) fn end(&self) {
        self.close();
        let mut late = Pending::default();
        self.lock().take(&mut late);
    }

    fn finish(&self, pending: &Pending, result: Result<(), Unrecorded>) {
        let weight = pending.batches.iter().map(|batch| batch.weight).sum();
        self.release(weight);
        pending.group.finish(result);
    }

    fn release(&self, weight: usize) {
        if !self.room.is_closed() {
            self.room.add_permits(weight);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Staging> {
        // Nothing under the lock can panic half way.
        self.staging.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn weight(batch: &Batch) -> usize {
    let mut start = 0;
    let weights = batch.ends.iter().map(|end| {
        let length = end - std::mem::replace(&mut start, *end);
        length.max(EVENT_WEIGHT_MIN)
    });
    weights.sum::<usize>().min(QUEUE_BYTES_MAX)
}

impl Staging {
    /// `into` gives its buffers in return.
    fn take(&mut self, into: &mut Pending) {
        std::mem::swap(&mut self.pending, into);
        self.pending.clear();
        self.urgent = false;
        self.since = None;
    }
}

impl Pending {
    /// Keeps the buffers, unless they have grown out of the ordinary.
    fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(QUEUE_BYTES_MAX);
        self.ends.clear();
        self.marks.clear();
        self.batches.clear();
        self.group = Arc::default();
    }

    /// Drops what is strict. Returns how many events that were, and their weight.
    fn retain_relaxed(&mut self) -> (u64, usize) {
        let mut kept = Pending::default();
        let (mut lost, mut weight, mut start) = (0, 0, 0);
        let mut ends = self.ends.iter().copied();
        let mut marks = self.marks.drain(..);
        for batch in self.batches.drain(..) {
            let batch_ends: Vec<usize> = ends.by_ref().take(batch.events).collect();
            let batch_marks: Vec<Mark> = marks.by_ref().take(batch.marks).collect();
            let end = batch_ends.last().copied().unwrap_or(start);
            if batch.relaxed {
                let base = kept.bytes.len();
                kept.bytes.extend_from_slice(self.bytes.get(start..end).unwrap_or_default());
                kept.ends.extend(batch_ends.iter().map(|end| end - start + base));
                kept.marks.extend(batch_marks);
                kept.batches.push(batch);
            } else {
                lost += batch.events as u64;
                weight += batch.weight;
            }
            start = end;
        }
        drop(marks);
        *self = kept;
        (lost, weight)
    }

    fn absorb(&mut self, later: &mut Pending) {
        let base = self.bytes.len();
        self.bytes.extend_from_slice(&later.bytes);
        self.ends.extend(later.ends.iter().map(|end| base + end));
        self.marks.append(&mut later.marks);
        self.batches.append(&mut later.batches);
    }
}

/// Whatever becomes of the writer, nobody waits for ever.
impl Drop for Pending {
    fn drop(&mut self) {
        self.group.finish(Err(Unrecorded::Closed));
    }
}

impl Group {
    fn finish(&self, result: Result<(), Unrecorded>) {
        // It is finished once; a second answer would come too late for whoever has read the first.
        let _ = self.done.set(result);
        self.notify.notify_waiters();
    }
}
