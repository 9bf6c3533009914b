//! The one thread that writes the journal: takes all that waits, numbers it, chains it, signs the
//! head, writes once, syncs once, and says so. What can't be written is refused until it can.
//! Which segments were there before is the business of `recovery`.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use tokio::sync::watch;

use crate::blocks::Blocks;
use crate::event::{Batch, Mark, own};
use crate::json;
use crate::keeper::{Keeper, SPARE_NAME};
use crate::key::Key;
use crate::note::Head;
use crate::outside::Outside;
use crate::queue::{Pending, Queue, Unrecorded, Work};
use crate::segment::plain_name;

/// Heads are handed on to be anchored at most this often.
const ANCHOR_INTERVAL: Duration = Duration::from_secs(1);

/// While it can't write, the writer tries again: soon at first, as many troubles are short.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(4);

/// A clock that is this much behind was set back; less is how clocks are.
const CLOCK_BACK_MIN_MICROS: u64 = 100_000;

/// What the chain puts before an event is shorter, but for the node's name; so is a head.
const PREFIX_BYTES: u64 = 256;
const HEAD_BYTES: u64 = 1024;

pub(crate) struct Writer {
    pub(crate) queue: Arc<Queue>,
    pub(crate) outside: Outside,
    pub(crate) directory: PathBuf,
    pub(crate) node: String,
    pub(crate) key: Key,
    /// The key that the chain knows: ours, once the record of a change is written.
    pub(crate) known_key: String,
    pub(crate) keeper: Keeper,
    pub(crate) place: Place,
    pub(crate) active: Option<Active>,
    /// The segment before the one that is written to.
    pub(crate) previous: Option<Previous>,
    /// Sessions that have begun and not ended.
    pub(crate) open: BTreeSet<Box<str>>,
    pub(crate) clock_is_behind: bool,
    pub(crate) lines: Vec<u8>,
    pub(crate) heads: Arc<Heads>,
    pub(crate) anchored: Instant,
    pub(crate) anchor_due: Option<Instant>,
    /// Held for as long as the directory is ours.
    pub(crate) _lock: File,
}

/// Where the chain is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) next: u64,
    pub(crate) prev: [u8; 32],
    pub(crate) micros: u64,
}

pub(crate) struct Active {
    pub(crate) file: Blocks,
    pub(crate) first: u64,
    /// What is written and synced ends here.
    pub(crate) end: u64,
    pub(crate) size: u64,
}

pub(crate) struct Previous {
    pub(crate) first: u64,
    pub(crate) bytes: u64,
    pub(crate) to_seal: bool,
}

/// The newest head, for whoever asks; the newest to be anchored, for whoever waits; and how it
/// ended.
pub(crate) struct Heads {
    pub(crate) newest: Mutex<Option<Head>>,
    pub(crate) to_anchor: watch::Sender<Option<Head>>,
    pub(crate) ended: watch::Sender<Option<Result<Head, Unrecorded>>>,
}

impl Heads {
    pub(crate) fn newest(&self) -> Option<Head> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Writer {
    pub(crate) fn run(mut self) {
        let _last_words =
            LastWords { queue: Arc::clone(&self.queue), heads: Arc::clone(&self.heads) };
        let mut pending = Pending::default();
        let nothing = Batch::new();
        let mut writable = true;
        while writable {
            match self.queue.wait(self.anchor_due, &mut pending) {
                Work::Time => self.anchor(),
                Work::Close => break,
                Work::Write => match self.commit_or_move(&nothing, &pending) {
                    Ok(()) => self.queue.acknowledge(&mut pending),
                    Err(error) => writable = self.refuse(&mut pending, &error),
                },
            }
        }
        let mut result = Err(Unrecorded::Closed);
        if writable {
            let mut last = Batch::new();
            own::stopped(&mut last);
            if let Err(error) = self.commit_or_move(&last, &pending) {
                result = Err(Unrecorded::Refusing { why: error.to_string().into() });
            } else if let Some(head) = self.heads.newest() {
                result = Ok(head);
            }
        }
        self.anchor();
        self.queue.end();
        let Writer { keeper, heads, _lock: lock, .. } = self;
        keeper.finish();
        drop(lock);
        heads.ended.send_replace(Some(result));
    }

    /// What fails in one segment is tried once more in a new one, while its callers still wait.
    pub(crate) fn commit_or_move(&mut self, ours: &Batch, pending: &Pending) -> io::Result<()> {
        self.commit(ours, pending).or_else(|error| {
            tracing::warn!(%error, "the journal could not be written, trying a new segment");
            self.abandon();
            self.commit(ours, pending)
        })
    }

    /// After an error nothing of the segment is believed beyond what was synced before: the kernel
    /// may have dropped what it could not write, and would tell the next fdatasync nothing of it.
    fn abandon(&mut self) {
        let Some(active) = self.active.take() else { return };
        if active.end > 0 {
            self.previous =
                Some(Previous { first: active.first, bytes: active.end, to_seal: true });
            return;
        }
        // The next one has the same name, so if this can't be removed it will be replaced.
        if let Err(error) = fs::remove_file(self.directory.join(plain_name(active.first))) {
            tracing::warn!(%error, "an empty journal segment could not be removed");
        }
    }

    /// Refuses until it can write again, or there is nobody left to write for. Whether it can.
    fn refuse(&mut self, pending: &mut Pending, error: &io::Error) -> bool {
        let why: Arc<str> = error.to_string().into();
        let since = self.outside.now();
        tracing::error!(%error, "the journal cannot be written: statements are refused");
        let millis = i64::try_from(since / 1000).unwrap_or(i64::MAX);
        let unrecorded = self.queue.refuse(pending, &why, millis);
        let mut ours = Batch::new();
        own::resumed(&mut ours, &why, &json::time(since), unrecorded);
        let mut pause = RETRY_FIRST;
        loop {
            let goes_on = self.queue.wait_to_retry(Instant::now() + pause);
            pause = (pause * 2).min(RETRY_MAX);
            self.abandon();
            match self.commit(&ours, pending) {
                Ok(()) => {
                    tracing::info!("the journal can be written again");
                    self.queue.acknowledge(pending);
                    self.queue.resume();
                    return true;
                }
                Err(error) if !goes_on => {
                    tracing::error!(%error, "the journal is closed without its last records");
                    return false;
                }
                Err(error) => tracing::debug!(%error, "the journal still cannot be written"),
            }
        }
    }

    /// One group: our own events, then what was appended, then the signed head.
    pub(crate) fn commit(&mut self, ours: &Batch, pending: &Pending) -> io::Result<()> {
        self.make_room(ours, pending);
        let clock = self.outside.now();
        let micros = clock.max(self.place.micros);
        let time = json::time(micros);
        let from = self.place.next;
        let mut lines = std::mem::take(&mut self.lines);
        lines.clear();
        let mut draft = Draft {
            lines: &mut lines,
            node: &self.node,
            time: &time,
            place: Place { micros, ..self.place },
        };
        let mut before = Batch::new();
        if self.active.is_none() {
            let known = self.known_key.as_str();
            match &self.previous {
                None => own::journal_begins(&mut before, known),
                Some(previous) => {
                    let open = self.open.iter().map(|session| &**session);
                    let previous = (previous.first, previous.bytes);
                    own::segment_begins(&mut before, known, previous, open);
                }
            }
        }
        let behind = clock + CLOCK_BACK_MIN_MICROS < micros;
        if behind && !self.clock_is_behind {
            own::clock_set_back(&mut before, &json::time(clock));
        }
        draft.events(&before.bytes, &before.ends);
        draft.events(&ours.bytes, &ours.ends);
        draft.events(&pending.bytes, &pending.ends);
        let number = draft.place.next - 1;
        let hash = draft.place.prev;
        let note = self.key.sign_head(number, &hash, from, &time);
        let mut last = Batch::new();
        own::head(&mut last, &note);
        draft.events(&last.bytes, &last.ends);
        let place = draft.place;

        let written = self.write(&lines);
        let length = lines.len() as u64;
        self.lines = lines;
        self.lines.shrink_to(crate::queue::QUEUE_BYTES_MAX);
        written?;

        self.place = place;
        self.clock_is_behind = behind || (self.clock_is_behind && clock < micros);
        if let Some(active) = &mut self.active {
            active.end += length;
        }
        self.remember(&ours.marks);
        self.remember(&pending.marks);
        let origin = format!("gatepost/{}", self.node);
        self.committed(Head { origin, number, hash, from, time, note });
        Ok(())
    }

    /// Retires the segment if what comes might not fit.
    fn make_room(&mut self, ours: &Batch, pending: &Pending) {
        let events = ours.ends.len() + pending.ends.len() + 2;
        let open: usize = self.open.iter().map(|session| session.len() + 8).sum();
        let bytes = ours.bytes.len() + pending.bytes.len() + open;
        let prefix = PREFIX_BYTES + self.node.len() as u64;
        let need = bytes as u64 + events as u64 * prefix + HEAD_BYTES;
        if self.active.as_ref().is_some_and(|active| active.end + need > active.size) {
            self.abandon();
        }
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let active = match &mut self.active {
            Some(active) => active,
            none => {
                let file = self.keeper.spare()?;
                let first = self.place.next;
                let path = self.directory.join(plain_name(first));
                self.outside.rename(&self.directory.join(SPARE_NAME), &path)?;
                self.keeper.prepare();
                let size = file.size()?;
                none.insert(Active { file, first, end: 0, size })
            }
        };
        self.outside.write_at(&mut active.file, lines, active.end)?;
        self.outside.sync(&active.file)
    }

    fn remember(&mut self, marks: &[Mark]) {
        for mark in marks {
            match mark {
                Mark::Begins(session) => self.open.insert(session.clone()),
                Mark::Ends(session) => self.open.remove(session),
            };
        }
    }

    fn committed(&mut self, head: Head) {
        *self.heads.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(head);
        let now = Instant::now();
        let sealing = match &mut self.previous {
            Some(previous) if previous.to_seal => {
                previous.to_seal = false;
                self.keeper.seal(previous.first, previous.bytes);
                true
            }
            _ => false,
        };
        if sealing || now >= self.anchored + ANCHOR_INTERVAL {
            self.anchor();
        } else {
            self.anchor_due = Some(self.anchored + ANCHOR_INTERVAL);
        }
    }

    pub(crate) fn anchor(&mut self) {
        self.anchored = Instant::now();
        self.anchor_due = None;
        self.heads.to_anchor.send_replace(self.heads.newest());
    }
}

/// A writer that panics is a fault of ours; those who wait for it are not left waiting.
struct LastWords {
    queue: Arc<Queue>,
    heads: Arc<Heads>,
}

impl Drop for LastWords {
    fn drop(&mut self) {
        self.queue.end();
        self.heads.ended.send_if_modified(|ended| {
            let panicked = ended.is_none();
            if panicked {
                *ended = Some(Err(Unrecorded::Closed));
            }
            panicked
        });
    }
}

/// Lines that are made before it is known whether they can be written.
struct Draft<'a> {
    lines: &'a mut Vec<u8>,
    node: &'a str,
    time: &'a str,
    place: Place,
}

impl Draft<'_> {
    fn events(&mut self, bytes: &[u8], ends: &[usize]) {
        let mut start = 0;
        for end in ends {
            self.event(bytes.get(start..*end).unwrap_or_default());
            start = *end;
        }
    }

    fn event(&mut self, event: &[u8]) {
        let start = self.lines.len();
        let out = &mut *self.lines;
        out.extend_from_slice(b"{\"v\":1,\"n\":");
        json::number(out, self.place.next);
        out.extend_from_slice(b",\"t\":\"");
        out.extend_from_slice(self.time.as_bytes());
        out.extend_from_slice(b"\",\"node\":\"");
        out.extend_from_slice(self.node.as_bytes());
        out.extend_from_slice(b"\",\"prev\":\"");
        json::hex(out, &self.place.prev);
        out.push(b'"');
        out.extend_from_slice(event);
        let hash = digest(&SHA256, out.get(start..).unwrap_or_default());
        self.place.prev.copy_from_slice(hash.as_ref());
        self.place.next += 1;
    }
}
