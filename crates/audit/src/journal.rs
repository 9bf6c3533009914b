//! The journal as its users have it: opened once, appended to by every session, closed at the end.
//! Opening puts `recovery` and `writer` together and decides nothing of its own but what the first
//! records say.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::watch;

use crate::blocks::Blocks;
use crate::event::{Batch, own};
use crate::keeper::Keeper;
use crate::key::Key;
use crate::note::Head;
use crate::outside::Outside;
use crate::queue::{Durability, Health, Pending, Queue, Ticket, Unrecorded};
use crate::recovery::{self, Found, Last};
use crate::writer::{Active, Heads, Place, Previous, Writer};

pub const SEGMENT_BYTES: u64 = 64 << 20;

/// A relaxed event that nobody waits for is written after this time, and durable one flush later. A
/// flush costs as much as the records of a hundred statements.
pub const RELAXED: Duration = Duration::from_millis(50);

pub(crate) const LOCK_NAME: &str = "lock";

/// A node's name is in every record.
const NODE_BYTES_MAX: usize = 63;

#[derive(Clone, Debug)]
pub struct Options {
    pub directory: PathBuf,
    /// Letters, digits, `.`, `_` and `-`.
    pub node: String,
    /// The private key's file; made where there is none.
    pub key: PathBuf,
    /// The key before it, which certifies it in a record when the key has changed.
    pub previous_key: Option<PathBuf>,
    pub segment_bytes: u64,
    pub relaxed: Duration,
    /// Starts on damage that would otherwise refuse to start, and says so in a record.
    pub accept_damage: bool,
}

impl Options {
    /// The key beside the segments, everything else as usual.
    pub fn new(directory: impl Into<PathBuf>, node: impl Into<String>) -> Options {
        let directory = directory.into();
        Options {
            key: directory.join("journal.key"),
            directory,
            node: node.into(),
            previous_key: None,
            segment_bytes: SEGMENT_BYTES,
            relaxed: RELAXED,
            accept_damage: false,
        }
    }
}

/// What a start found. All of it is in the journal too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenReport {
    /// The public key, as signed notes write it.
    pub public_key: String,
    /// There was no journal.
    pub new: bool,
    /// It was closed in order.
    pub clean: bool,
    /// Bytes of a torn write that were cut, and the files that keep them.
    pub cut_bytes: u64,
    pub kept: Vec<String>,
    /// Sessions that were open, and are closed by a record each.
    pub closed_sessions: Vec<String>,
    pub accepted_damage: Vec<String>,
}

#[derive(Debug, Error)]
pub enum OpenError {
    #[error("journal {path}: {source}", path = path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("journal {path} is used by another process", path = path.display())]
    InUse { path: PathBuf },
    #[error(
        "the node's name `{name}` has to be letters, digits, `.`, `_` and `-`, at most {NODE_BYTES_MAX}"
    )]
    NodeName { name: String },
    #[error("the journal is of node `{found}`")]
    Node { found: String },
    #[error("{path} is not an Ed25519 private key in PEM", path = path.display())]
    NotAKey { path: PathBuf },
    #[error("the journal is signed with another key, and no previous key certifies this one")]
    OtherKey,
    #[error("the journal is damaged: {damage}")]
    Damaged { damage: String },
}

/// The open journal. Cheap to clone; it is closed with `close`, or with the last clone.
#[derive(Clone)]
pub struct Journal {
    door: Arc<Door>,
}

struct Door {
    node: Box<str>,
    queue: Arc<Queue>,
    heads: Arc<Heads>,
}

impl Drop for Door {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl Journal {
    /// Blocks. `anchored` is the newest head that was kept elsewhere: nothing up to it may be
    /// missing or changed.
    pub fn open(
        options: Options,
        anchored: Option<&Head>,
    ) -> Result<(Journal, OpenReport), OpenError> {
        Journal::open_with(options, anchored, Outside::default())
    }

    pub(crate) fn open_with(
        options: Options,
        anchored: Option<&Head>,
        outside: Outside,
    ) -> Result<(Journal, OpenReport), OpenError> {
        let io = |source| OpenError::Io { path: options.directory.clone(), source };
        check_node(&options.node)?;
        DirBuilder::new().recursive(true).mode(0o700).create(&options.directory).map_err(io)?;
        let lock = lock(&options.directory)?;
        let accept = options.accept_damage;
        let mut found = recovery::recover(&options.directory, &options.node, anchored, accept)?;
        let key = Key::open_or_make(&options.key, &options.node)?;
        let old_key = find_old_key(&options, &key, &mut found)?;
        found.tidy_up(&options.directory).map_err(io)?;

        let keeper = Keeper::start(&options.directory, options.segment_bytes, outside.clone());
        let queue = Arc::new(Queue::new(options.relaxed));
        let heads = Arc::new(Heads {
            newest: Mutex::default(),
            to_anchor: watch::Sender::new(None),
            ended: watch::Sender::new(None),
        });
        let node = options.node.as_str().into();
        let mut writer = Writer {
            queue: Arc::clone(&queue),
            outside,
            directory: options.directory.clone(),
            node: options.node,
            known_key: key.public.clone(),
            key,
            keeper: keeper.map_err(io)?,
            place: Place { next: 1, prev: [0; 32], micros: 0 },
            active: None,
            previous: None,
            open: Default::default(),
            clock_is_behind: false,
            lines: Vec::new(),
            heads: Arc::clone(&heads),
            anchored: Instant::now(),
            anchor_due: None,
            _lock: lock,
        };
        let mut closed = Vec::new();
        let new = found.last.is_none();
        let clean = found.last.as_ref().is_some_and(|last| last.clean) && found.cuts.is_empty();
        if let Some(last) = found.last {
            closed.extend(last.open.iter().map(|id| id.to_string()));
            let lost_key = last.key != writer.known_key && old_key.is_none();
            writer.take_over(last, lost_key).map_err(io)?;
        }
        for (first, bytes) in found.unsealed {
            writer.keeper.seal(first, bytes);
        }
        if writer.active.is_some() {
            writer.keeper.prepare();
        }

        let mut first = Batch::new();
        found.damage.iter().for_each(|damage| own::damage_accepted(&mut first, damage));
        found.cuts.iter().for_each(|cut| own::recovered(&mut first, cut.bytes, &cut.kept));
        closed.iter().for_each(|session| own::session_closed(&mut first, session));
        own::started(&mut first, clean);
        let public_key = writer.key.public.clone();
        if let Some(old) = old_key {
            own::key_changed(&mut first, &public_key, &old.certify(&public_key));
        }
        writer.commit_or_move(&first, &Pending::default()).map_err(io)?;
        writer.known_key.clone_from(&public_key);
        writer.anchor();

        let report = OpenReport {
            public_key,
            new,
            clean,
            cut_bytes: found.cuts.iter().map(|cut| cut.bytes).sum(),
            kept: found.cuts.into_iter().map(|cut| cut.kept).collect(),
            closed_sessions: closed,
            accepted_damage: found.damage,
        };
        std::thread::Builder::new()
            .name("gatepost-journal".to_owned())
            .spawn(move || writer.run())
            .map_err(io)?;
        Ok((Journal { door: Arc::new(Door { node, queue, heads }) }, report))
    }

    /// The node's name, as it stands in every record.
    pub fn node(&self) -> &str {
        &self.door.node
    }

    /// Returns once the events are in the queue, which is at once unless it is full. Several events
    /// stand next to one another, in their order. Cancel-safe: who goes away before has appended
    /// nothing.
    pub async fn append(
        &self,
        events: &Batch,
        durability: Durability,
    ) -> Result<Ticket, Unrecorded> {
        self.door.queue.append(events, durability).await
    }

    /// Appends relaxed events that nobody waits for, where that takes no waiting. Where it does, or
    /// they can't be recorded, nothing is appended, and `append` has to be asked.
    pub fn note(&self, events: &Batch) -> bool {
        self.door.queue.note(events)
    }

    pub fn health(&self) -> Health {
        self.door.queue.health()
    }

    /// The newest durable head.
    pub fn head(&self) -> Option<Head> {
        self.door.heads.newest()
    }

    /// Heads to be kept elsewhere: the newest at most once a second, and when a segment or the
    /// journal ends.
    pub fn heads_to_anchor(&self) -> watch::Receiver<Option<Head>> {
        self.door.heads.to_anchor.subscribe()
    }

    /// Records what was appended, says that it stopped in order, and returns the last head once
    /// another process could open the journal. Cancel-safe: closing goes on.
    pub async fn close(&self) -> Result<Head, Unrecorded> {
        let mut ended = self.door.heads.ended.subscribe();
        self.door.queue.close();
        let result = ended.wait_for(Option::is_some).await.map_err(|_| Unrecorded::Closed)?;
        result.clone().unwrap_or(Err(Unrecorded::Closed))
    }
}

fn check_node(name: &str) -> Result<(), OpenError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if name.is_empty() || name.len() > NODE_BYTES_MAX || !name.bytes().all(plain) {
        return Err(OpenError::NodeName { name: name.to_owned() });
    }
    Ok(())
}

fn lock(directory: &Path) -> Result<File, OpenError> {
    let path = directory.join(LOCK_NAME);
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|source| OpenError::Io { path: path.clone(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: directory.to_owned() }),
        Err(TryLockError::Error(source)) => Err(OpenError::Io { path, source }),
    }
}

/// The key that the journal knows, if it is not the one we sign with.
fn find_old_key(options: &Options, key: &Key, found: &mut Found) -> Result<Option<Key>, OpenError> {
    let Some(last) = found.last.as_ref().filter(|last| last.key != key.public) else {
        return Ok(None);
    };
    if let Some(path) = &options.previous_key {
        let old = Key::open(path, &options.node)?;
        if old.public == last.key {
            return Ok(Some(old));
        }
    }
    if !options.accept_damage {
        return Err(OpenError::OtherKey);
    }
    found.damage.push(format!("the key {} is lost", last.key));
    Ok(None)
}

impl Writer {
    fn take_over(&mut self, last: Last, lost_key: bool) -> io::Result<()> {
        self.place = Place { next: last.next, prev: last.prev, micros: micros_of(&last.head.time) };
        self.open = last.open;
        *self.heads.newest.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
            Some(last.head);
        let first = last.segment.first;
        if last.segment.sealed || lost_key {
            // With a lost key nobody can certify the next one: it signs from a new segment on.
            let to_seal = !last.segment.sealed;
            self.previous = Some(Previous { first, bytes: last.end, to_seal });
            return Ok(());
        }
        self.known_key = last.key;
        let file = Blocks::open(&last.segment.path)?;
        let size = file.size()?;
        self.active = Some(Active { file, first, end: last.end, size });
        Ok(())
    }
}

/// The chain's last time, so that a clock set back over a restart is seen.
fn micros_of(time: &str) -> u64 {
    crate::json::micros(time).unwrap_or_default()
}
