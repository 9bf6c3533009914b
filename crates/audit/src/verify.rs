//! Proving a journal: every record is there, unchanged, in its order, and signed. Reads segments,
//! plain and sealed, as they stream; knows the chain's rules and nothing of the writer. The first
//! record that does not fit is named.

use std::fmt;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::chain::{Chain, SegmentBegins, string_of};
use crate::journal::LOCK_NAME;
use crate::note::{Head, PublicKey};
use crate::segment::{Line, Segment, in_directory};

/// How often a segment that is being written to is read again before it counts as broken: a reader
/// can see half a write.
const LIVE_READS_MAX: u32 = 5;

/// What is to be proven.
pub struct Journal {
    segments: Vec<Segment>,
    /// A gateway has it open: it may be in the middle of a group.
    live: bool,
    /// All of it, from its first record on.
    whole: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub node: String,
    /// The first and the last record, and how many there are.
    pub first: u64,
    pub last: u64,
    pub segments: usize,
    /// Uncompressed.
    pub bytes: u64,
    /// The last head; everything up to it is proven.
    pub head: Head,
    /// The keys that signed, each certified by the one before. Whoever has the first one from
    /// elsewhere should compare.
    pub keys: Vec<String>,
    /// Damage that an operator accepted: the record and what it says.
    pub accepted_damage: Vec<(u64, String)>,
    /// Records after the last head, which a running gateway is about to sign.
    pub unsigned: u64,
    /// The record that the given checkpoint vouches for.
    pub checkpoint: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub bytes_read: u64,
    pub bytes_total: u64,
    pub records: u64,
}

#[derive(Debug, Error)]
pub enum Failure {
    #[error("{path}: {source}", path = path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("there are no segments in {path}", path = path.display())]
    Nothing { path: PathBuf },
    #[error("{path} is not the name of a segment", path = path.display())]
    NotASegment { path: PathBuf },
    #[error("`{key}` is not a public key of a journal")]
    NotAKey { key: String },
    #[error("{0}")]
    Fault(Fault),
}

/// The first thing that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub file: PathBuf,
    /// From 1; in a sealed segment, of what is compressed.
    pub line: u64,
    /// The record that should stand there.
    pub number: u64,
    pub reason: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { file, line, number, reason } = self;
        write!(f, "{}, line {line}, record {number}: {reason}", file.display())
    }
}

impl Journal {
    /// All of a directory's journal.
    pub fn in_directory(path: &Path) -> Result<Journal, Failure> {
        let io = |source| Failure::Io { path: path.to_owned(), source };
        let segments = in_directory(path).map_err(io)?;
        if segments.is_empty() {
            return Err(Failure::Nothing { path: path.to_owned() });
        }
        Ok(Journal { segments, live: is_locked(&path.join(LOCK_NAME)).map_err(io)?, whole: true })
    }

    /// These segments, which have to follow one another, and whatever comes before on trust.
    pub fn of_files(paths: &[PathBuf]) -> Result<Journal, Failure> {
        let mut segments = Vec::new();
        for path in paths {
            let segment = Segment::named(path);
            segments.push(segment.ok_or_else(|| Failure::NotASegment { path: path.clone() })?);
        }
        segments.sort_by_key(|segment| segment.first);
        if segments.is_empty() {
            return Err(Failure::Nothing { path: PathBuf::new() });
        }
        Ok(Journal { segments, live: false, whole: false })
    }
}

/// A copy has no lock, or nobody who holds it.
fn is_locked(path: &Path) -> io::Result<bool> {
    match File::open(path) {
        Ok(file) => match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Blocks. `checkpoint` is a head that was kept elsewhere, which shows whether the tail is missing;
/// `key` is the first public key, if it is known from elsewhere.
pub fn verify(
    journal: &Journal,
    checkpoint: Option<&Head>,
    key: Option<&str>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Report, Failure> {
    let mut bytes_total = 0;
    for segment in &journal.segments {
        let path = || segment.path.clone();
        bytes_total += segment.size().map_err(|source| Failure::Io { path: path(), source })?;
    }
    let first = journal.segments.first().map_or(1, |segment| segment.first);
    let mut walk = Walk {
        chain: if journal.whole { Chain::from_genesis() } else { Chain::from_segment(first) },
        progress,
        at: Progress { bytes_read: 0, bytes_total, records: 0 },
        bytes: 0,
        before: None,
        keys: Vec::new(),
        accepted: Vec::new(),
        checkpoint,
        checkpoint_seen: false,
        trusted: key,
    };
    let mut segments = journal.segments.iter().peekable();
    while let Some(segment) = segments.next() {
        let next = segments.peek().map(|next| next.first);
        walk.segment(segment, next, journal.live && next.is_none())?;
    }
    walk.report(journal, first)
}

struct Walk<'a> {
    chain: Chain,
    progress: &'a mut dyn FnMut(Progress),
    at: Progress,
    bytes: u64,
    /// First number and length of the segment before.
    before: Option<(u64, u64)>,
    keys: Vec<PublicKey>,
    accepted: Vec<(u64, String)>,
    checkpoint: Option<&'a Head>,
    checkpoint_seen: bool,
    trusted: Option<&'a str>,
}

/// Why a segment could not be walked to its end.
enum Stop {
    Io(io::Error),
    Fault { line: u64, number: u64, reason: String },
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop::Io(error)
    }
}

/// What a segment adds, once all of it fits.
struct Walked {
    chain: Chain,
    bytes: u64,
    records: u64,
    keys: Vec<PublicKey>,
    accepted: Vec<(u64, String)>,
    checkpoint_seen: bool,
}

impl Walk<'_> {
    fn segment(&mut self, segment: &Segment, next: Option<u64>, live: bool) -> Result<(), Failure> {
        let mut tries = 0;
        loop {
            tries += 1;
            // First with the signature of the last head alone, which vouches for every one before
            // it. If something does not fit, an earlier signature may be the first that doesn't.
            let chain = self.chain.clone();
            let result = match self.walk(segment, next, live, chain.clone()) {
                Err(Stop::Fault { .. }) => self.walk(segment, next, live, chain.eagerly()),
                other => other,
            };
            match result {
                Ok(walked) => {
                    self.add(segment, walked);
                    return Ok(());
                }
                Err(Stop::Io(source)) => {
                    return Err(Failure::Io { path: segment.path.clone(), source });
                }
                Err(Stop::Fault { .. }) if live && tries < LIVE_READS_MAX => {}
                Err(Stop::Fault { line, number, reason }) => {
                    let file = segment.path.clone();
                    return Err(Failure::Fault(Fault { file, line, number, reason }));
                }
            }
        }
    }

    fn add(&mut self, segment: &Segment, walked: Walked) {
        self.chain = walked.chain;
        self.before = Some((segment.first, walked.bytes));
        self.bytes += walked.bytes;
        self.at.records += walked.records;
        self.at.bytes_read += segment.size().unwrap_or_default();
        self.keys.extend(walked.keys);
        self.accepted.extend(walked.accepted);
        self.checkpoint_seen |= walked.checkpoint_seen;
        (self.progress)(self.at);
    }

    fn walk(
        &mut self,
        segment: &Segment,
        next: Option<u64>,
        live: bool,
        chain: Chain,
    ) -> Result<Walked, Stop> {
        const PROGRESS_RECORDS: u64 = 4096;
        let mut walked = Walked {
            chain,
            bytes: 0,
            records: 0,
            keys: Vec::new(),
            accepted: Vec::new(),
            checkpoint_seen: false,
        };
        let fault = |line: u64, number: u64, reason: String| Stop::Fault { line, number, reason };
        if segment.first != walked.chain.next {
            let due = walked.chain.next;
            let reason = format!("a segment is missing: record {due} is due");
            return Err(fault(1, segment.first, reason));
        }
        let mut lines = segment.lines()?;
        let mut line = Vec::new();
        loop {
            // What a segment holds beyond the first record of the next was given up when the next
            // one began, and that one says where.
            if next == Some(walked.chain.next) && !segment.sealed {
                break;
            }
            let due = walked.chain.next;
            let read = match lines.next(&mut line) {
                Ok(read) => read,
                Err(error) if segment.sealed => {
                    let reason = format!("it cannot be decompressed: {error}");
                    return Err(fault(lines.number + 1, due, reason));
                }
                Err(error) => return Err(Stop::Io(error)),
            };
            match read {
                Line::Whole => {}
                Line::End => break,
                Line::Torn if live => break,
                Line::Torn => {
                    return Err(fault(lines.number, due, "the line has no end".to_owned()));
                }
            }
            let seen = walked
                .chain
                .take(&line)
                .map_err(|misfit| fault(lines.number, due, misfit.to_string()))?;
            let (event, number, hash) = (seen.event, seen.number, seen.hash);
            if lines.number == 1 {
                self.check_first(&line, number).map_err(|reason| fault(1, number, reason))?;
            }
            match event {
                "journal_begins" | "segment_begins" | "key_changed" => {
                    let key = walked.chain.key.clone();
                    let known = walked.keys.last().or(self.keys.last());
                    let new = key.filter(|key| Some(key) != known);
                    if let (None, Some(key), Some(trusted)) = (known, &new, self.trusted)
                        && key.text != trusted
                    {
                        let reason = "it is signed with another key than the one given".to_owned();
                        return Err(fault(lines.number, number, reason));
                    }
                    walked.keys.extend(new);
                }
                "damage_accepted" => {
                    let damage = string_of(&line, "damage").unwrap_or_default();
                    walked.accepted.push((number, damage));
                }
                _ => {}
            }
            if let Some(checkpoint) = self.checkpoint
                && checkpoint.number == number
            {
                if checkpoint.hash != hash {
                    let reason = "the checkpoint vouches for another record here".to_owned();
                    return Err(fault(lines.number, number, reason));
                }
                walked.checkpoint_seen = true;
            }
            walked.records += 1;
            if walked.records.is_multiple_of(PROGRESS_RECORDS) {
                (self.progress)(Progress {
                    bytes_read: self.at.bytes_read + lines.file_bytes_read(),
                    bytes_total: self.at.bytes_total,
                    records: self.at.records + walked.records,
                });
            }
        }
        let due = walked.chain.next;
        walked.bytes = lines.offset;
        if let Some(next) = next
            && due != next
        {
            return Err(fault(lines.number + 1, due, format!("the next segment begins at {next}")));
        }
        if next.is_none() && !live && lines.leftover()?.is_some() {
            let reason = "something follows the end of the journal".to_owned();
            return Err(fault(lines.number + 1, due, reason));
        }
        if walked.chain.settle().is_err() {
            let number = walked.chain.group.saturating_sub(1);
            let reason = "its signature is not good".to_owned();
            return Err(fault(lines.number, number, reason));
        }
        if walked.chain.group != due && !live {
            let unsigned = due - walked.chain.group;
            let line = lines.number + 1 - unsigned;
            let reason = format!("no signed head follows it or the {} after it", unsigned - 1);
            return Err(fault(line, walked.chain.group, reason));
        }
        Ok(walked)
    }

    /// A segment says which one comes before it, and where that one ends.
    fn check_first(&self, line: &[u8], number: u64) -> Result<(), String> {
        if number == 1 {
            return Ok(());
        }
        let begins = SegmentBegins::of(line).ok_or("a segment does not begin so")?;
        match self.before {
            Some(before) if before != (begins.previous, begins.previous_bytes) => {
                Err(format!("it follows segment {}, which is not the one before", begins.previous))
            }
            _ => Ok(()),
        }
    }

    fn report(self, journal: &Journal, first: u64) -> Result<Report, Failure> {
        let last_segment = journal.segments.last();
        let fault = |number: u64, reason: String| {
            let file = last_segment.map(|segment| segment.path.clone()).unwrap_or_default();
            Failure::Fault(Fault { file, line: 0, number, reason })
        };
        let Some(head) = self.chain.head.clone() else {
            return Err(fault(self.chain.next, "there is no signed head".to_owned()));
        };
        let unsigned = self.chain.next - self.chain.group;
        if let Some(checkpoint) = self.checkpoint {
            let number = checkpoint.number;
            if checkpoint.node() != head.node() {
                let node = checkpoint.node();
                return Err(fault(number, format!("the checkpoint is of node `{node}`")));
            }
            if !self.keys.iter().any(|key| key.signed(&checkpoint.note)) {
                let reason = "the checkpoint is not signed with a key of this journal";
                return Err(fault(number, reason.to_owned()));
            }
            if number >= self.chain.next {
                let last = self.chain.next - 1;
                let reason = format!("the tail is missing: the journal ends at record {last}");
                return Err(fault(number, reason));
            }
            if !self.checkpoint_seen {
                let reason = "the checkpoint is of a record before these segments";
                return Err(fault(number, reason.to_owned()));
            }
        }
        Ok(Report {
            node: head.node().to_owned(),
            first,
            last: self.chain.next - 1,
            segments: journal.segments.len(),
            bytes: self.bytes,
            head,
            keys: self.keys.into_iter().map(|key| key.text).collect(),
            accepted_damage: self.accepted,
            unsigned,
            checkpoint: self.checkpoint.map(|checkpoint| checkpoint.number),
        })
    }
}
