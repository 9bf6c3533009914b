//! What a start finds in the journal's directory: where the chain ends, what is torn, what is
//! damaged. Only the last segments are read in full; of sealed ones the first record is, which says
//! that the one before it is there, and the signed heads that come later vouch for the rest.
//! Writing on is the business of `writer`.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use crate::OpenError;
use crate::chain::{Chain, Misfit, Seen, SegmentBegins, string_of};
use crate::keeper::SPARE_NAME;
use crate::note::Head;
use crate::segment::{Line, Lines, Segment, in_directory, plain_name, sync_directory_of};

const COPY_BYTES: usize = 1 << 20;

/// How many files of cut bytes can be kept of one place in a segment.
const CUTS_PER_PLACE_MAX: u32 = 1000;

#[derive(Default)]
pub(crate) struct Found {
    /// The last segment that holds anything; `None` for a new journal.
    pub(crate) last: Option<Last>,
    /// Finished, but not compressed yet: first number and length.
    pub(crate) unsealed: Vec<(u64, u64)>,
    /// Begun, but nothing in them was ever acknowledged.
    empty: Vec<Segment>,
    /// What was cut, once it is tidied up.
    pub(crate) cuts: Vec<Cut>,
    /// What was accepted.
    pub(crate) damage: Vec<String>,
}

pub(crate) struct Last {
    pub(crate) segment: Segment,
    /// What is signed ends here.
    pub(crate) end: u64,
    pub(crate) head: Head,
    pub(crate) next: u64,
    pub(crate) prev: [u8; 32],
    pub(crate) key: String,
    pub(crate) open: BTreeSet<Box<str>>,
    pub(crate) clean: bool,
}

pub(crate) struct Cut {
    pub(crate) bytes: u64,
    pub(crate) kept: String,
}

/// Where damage goes: it ends the start, or is accepted and remembered.
struct Damages {
    accept: bool,
    accepted: Vec<String>,
}

impl Damages {
    fn found(&mut self, damage: String) -> Result<(), OpenError> {
        if !self.accept {
            return Err(OpenError::Damaged { damage });
        }
        self.accepted.push(damage);
        Ok(())
    }
}

pub(crate) fn recover(
    directory: &Path,
    node: &str,
    anchored: Option<&Head>,
    accept_damage: bool,
) -> Result<Found, OpenError> {
    let io = |source| OpenError::Io { path: directory.to_owned(), source };
    let mut damages = Damages { accept: accept_damage, accepted: Vec::new() };
    let segments = in_directory(directory).map_err(io)?;
    check_presence(&segments, &mut damages)?;

    let mut found = Found::default();
    let watched = anchored.map(|head| head.number);
    let mut rest = segments.as_slice();
    let mut later: Option<SegmentBegins> = None;
    let mut empty = Vec::new();
    while let Some((segment, before)) = rest.split_last() {
        rest = before;
        let mut scan = Scan::of(segment, watched).map_err(io)?;
        let Some(last) = scan.last.take() else {
            // Nothing in it was ever acknowledged, unless it is damaged.
            if let Some(damage) = scan.damage.take() {
                damages.found(damage)?;
            }
            empty.push(segment.clone());
            continue;
        };
        if last.head.node() != node {
            return Err(OpenError::Node { found: last.head.node().to_owned() });
        }
        if let Some(damage) = scan.damage.take() {
            damages.found(damage)?;
        }
        if let Some(head) = anchored {
            check_anchor(head, segment, &last, &scan, before, &mut damages).map_err(io)??;
        }
        later = scan.begins;
        found.last = Some(last);
        break;
    }
    if let (None, Some(head)) = (&found.last, anchored) {
        let number = head.number;
        damages.found(format!("there is no journal, and record {number} was anchored"))?;
    }
    find_unsealed(rest, later, &mut found, &mut damages).map_err(io)??;
    found.damage = damages.accepted;

    found.empty = empty;
    Ok(found)
}

impl Found {
    /// Once nothing refuses to start any more: changes what has to be changed before the journal
    /// can go on, which can be interrupted and done again.
    pub(crate) fn tidy_up(&mut self, directory: &Path) -> io::Result<()> {
        tidy(directory, &in_directory(directory)?)?;
        for segment in &self.empty {
            cut(segment, 0)?;
            fs::remove_file(&segment.path)?;
        }
        if let Some(last) = self.last.as_ref().filter(|last| !last.segment.sealed) {
            cut(&last.segment, last.end)?;
        }
        self.cuts = cuts_at_the_end(directory, self.last.as_ref())?;
        Ok(())
    }
}

/// The files of bytes that were cut where the journal ends now, which no record tells of yet: a
/// start may have been interrupted after it cut and before it could say so.
fn cuts_at_the_end(directory: &Path, last: Option<&Last>) -> io::Result<Vec<Cut>> {
    let mut cuts = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some((first, end)) = cut_of(&name) else { continue };
        let untold = match last {
            None => true,
            Some(last) => first >= last.next || (first == last.segment.first && end == last.end),
        };
        if untold {
            cuts.push(Cut { bytes: entry.metadata()?.len(), kept: name });
        }
    }
    cuts.sort_by(|one, other| one.kept.cmp(&other.kept));
    Ok(cuts)
}

/// Which segment was cut, and where.
fn cut_of(name: &str) -> Option<(u64, u64)> {
    let (segment, place) = name.strip_suffix(".cut")?.split_once(".jsonl.")?;
    let end = place.split('.').next()?;
    Some((segment.parse().ok()?, end.parse().ok()?))
}

/// What a crash left behind that says nothing: half-made files, and plain twins of sealed segments.
fn tidy(directory: &Path, segments: &[Segment]) -> io::Result<()> {
    let mut gone = vec![directory.join(SPARE_NAME)];
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.to_str().is_some_and(|path| path.ends_with(".jsonl.zst.tmp")) {
            gone.push(path);
        }
    }
    let sealed = segments.iter().filter(|segment| segment.sealed);
    gone.extend(sealed.map(|segment| directory.join(plain_name(segment.first))));
    for path in gone {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Each segment's first record names the segment before it, so a missing one is missed without
/// reading the others.
fn check_presence(segments: &[Segment], damages: &mut Damages) -> Result<(), OpenError> {
    let mut before: Option<u64> = None;
    for (index, segment) in segments.iter().enumerate() {
        let is_last = index + 1 == segments.len();
        let mut line = Vec::new();
        let first = segment.lines().and_then(|mut lines| lines.next(&mut line));
        let fits = first.is_ok() && Chain::from_segment(segment.first).take(&line).is_ok();
        let previous = SegmentBegins::of(&line).map(|begins| begins.previous);
        if fits && previous != before {
            let missing = previous.unwrap_or(1);
            damages.found(format!(
                "segment {missing} is missing: it should come before {}",
                segment.path.display()
            ))?;
        }
        // The last one may have been torn when it began; reading it in full will tell.
        if !fits && !is_last {
            let path = segment.path.display();
            damages.found(format!("{path} does not begin with a record that belongs there"))?;
        }
        before = Some(segment.first);
    }
    Ok(())
}

/// The anchored head has to be in the journal. Cut is only what comes after it.
fn check_anchor(
    head: &Head,
    segment: &Segment,
    last: &Last,
    scan: &Scan,
    before: &[Segment],
    damages: &mut Damages,
) -> io::Result<Result<(), OpenError>> {
    let number = head.number;
    if number >= last.next {
        return Ok(damages.found(format!(
            "{} ends at record {}, and record {number} was anchored",
            segment.path.display(),
            last.next - 1
        )));
    }
    let hash = if number >= segment.first {
        scan.watched
    } else {
        match before.iter().rfind(|segment| segment.first <= number) {
            Some(segment) => Scan::of(segment, Some(number))?.watched,
            None => None,
        }
    };
    if hash != Some(head.hash) {
        return Ok(damages.found(format!("record {number} is not the one that was anchored")));
    }
    Ok(Ok(()))
}

/// Segments before the last that were not compressed when the gateway stopped.
fn find_unsealed(
    segments: &[Segment],
    mut later: Option<SegmentBegins>,
    found: &mut Found,
    damages: &mut Damages,
) -> io::Result<Result<(), OpenError>> {
    for segment in segments.iter().rev() {
        if segment.sealed {
            break;
        }
        let scan = Scan::until(segment, later.as_ref().map(|begins| begins.previous_bytes))?;
        match (&scan.last, &later) {
            (Some(last), Some(begins)) if last.end == begins.previous_bytes => {
                found.unsealed.push((segment.first, last.end));
            }
            _ => {
                let damage = format!("{} is not what was written", segment.path.display());
                if let Err(error) = damages.found(damage) {
                    return Ok(Err(error));
                }
            }
        }
        later = scan.begins;
    }
    Ok(Ok(()))
}

/// A segment read in full.
#[derive(Default)]
struct Scan {
    last: Option<Last>,
    begins: Option<SegmentBegins>,
    /// The hash of the record that was watched for.
    watched: Option<[u8; 32]>,
    damage: Option<String>,
}

impl Scan {
    fn of(segment: &Segment, watched: Option<u64>) -> io::Result<Scan> {
        // One good signature at the end vouches for all; only if it isn't good each is checked.
        match Scan::read(segment, watched, None, Chain::from_segment(segment.first))? {
            Some(scan) => Ok(scan),
            None => {
                let eager = Chain::from_segment(segment.first).eagerly();
                Ok(Scan::read(segment, watched, None, eager)?.unwrap_or_default())
            }
        }
    }

    /// Up to `end`, beyond which the next segment says there is nothing.
    fn until(segment: &Segment, end: Option<u64>) -> io::Result<Scan> {
        let chain = Chain::from_segment(segment.first);
        Ok(Scan::read(segment, None, end, chain)?.unwrap_or_default())
    }

    /// `None` if the last head's signature is not good.
    fn read(
        segment: &Segment,
        watched: Option<u64>,
        end: Option<u64>,
        mut chain: Chain,
    ) -> io::Result<Option<Scan>> {
        let mut scan = Scan::default();
        let mut sessions = Sessions::default();
        let mut lines = segment.lines()?;
        let mut line = Vec::new();
        let mut misfit = None;
        let mut clean = false;
        loop {
            if end.is_some_and(|end| lines.offset >= end) {
                break;
            }
            match next_line(segment, &mut lines, &mut line)? {
                Line::Whole => {}
                Line::Torn => {
                    misfit = Some(Misfit::NotARecord);
                    break;
                }
                Line::End => break,
            }
            let seen = match chain.take(&line) {
                Ok(seen) => seen,
                Err(error) => {
                    misfit = Some(error);
                    break;
                }
            };
            if watched == Some(seen.number) {
                scan.watched = Some(seen.hash);
            }
            match seen.event {
                "head" => {
                    sessions.settle();
                    let number = seen.number;
                    let hash = seen.hash;
                    scan.last = chain.head.clone().map(|head| Last {
                        segment: segment.clone(),
                        end: lines.offset,
                        head,
                        next: number + 1,
                        prev: hash,
                        key: chain.key.as_ref().map(|key| key.text.clone()).unwrap_or_default(),
                        open: BTreeSet::new(),
                        clean,
                    });
                }
                "segment_begins" => {
                    scan.begins = SegmentBegins::of(&line);
                    let begins = scan.begins.as_ref();
                    sessions.open =
                        begins.iter().flat_map(|b| &b.open).map(|id| id.as_str().into()).collect();
                }
                _ => sessions.see(&seen),
            }
            clean = seen.event == "stopped";
        }
        if chain.settle().is_err() {
            return Ok(None);
        }
        if let Some(last) = &mut scan.last {
            last.open = sessions.open;
        }
        if end.is_none() {
            scan.damage = damage_after(segment, &mut lines, &mut line, &chain, misfit)?;
        }
        Ok(Some(scan))
    }
}

/// A sealed file that can't be decompressed is damaged, which is not an error of reading.
fn next_line(segment: &Segment, lines: &mut Lines, line: &mut Vec<u8>) -> io::Result<Line> {
    match lines.next(line) {
        Err(_) if segment.sealed => Ok(Line::Torn),
        read => read,
    }
}

/// Whether what comes after the last good line can be the torn write of one last group, which
/// nobody was told of, or is damage to something that was acknowledged. Only one group is ever
/// under way: a good head whose group began later, or anything after the torn group's own head,
/// shows that it had been.
fn damage_after(
    segment: &Segment,
    lines: &mut Lines,
    line: &mut Vec<u8>,
    chain: &Chain,
    misfit: Option<Misfit>,
) -> io::Result<Option<String>> {
    let path = segment.path.display();
    let number = lines.number.max(1);
    let place = match &misfit {
        Some(misfit) => format!("{path}, line {number}, record {}: {misfit}", chain.next),
        None => format!("{path}, after line {number}: something follows the end"),
    };
    if segment.sealed {
        return Ok(misfit.map(|_| place));
    }
    let mut own_head = false;
    let mut first = misfit.is_some();
    loop {
        // The line that did not fit is still in the buffer.
        if !std::mem::take(&mut first) {
            match lines.next(line)? {
                Line::Whole | Line::Torn => {}
                Line::End => match lines.leftover()? {
                    Some(_) => continue,
                    None => return Ok(None),
                },
            }
        }
        if own_head {
            return Ok(Some(place));
        }
        let signed = Some(&*line).and_then(|line| {
            let note = string_of(line, "note")?;
            let head: Head = note.parse().ok()?;
            // Where not even the key can be read, what looks like a head is taken for one.
            chain.key.as_ref().is_none_or(|key| key.signed(&note)).then_some(head)
        });
        match signed {
            Some(head) if head.from > chain.group => return Ok(Some(place)),
            Some(_) => own_head = true,
            None => {}
        }
    }
}

#[derive(Default)]
struct Sessions {
    open: BTreeSet<Box<str>>,
    /// Since the last head: begun or ended.
    since: Vec<(Box<str>, bool)>,
}

impl Sessions {
    fn see(&mut self, seen: &Seen<'_>) {
        let begins = match seen.event {
            "session_begins" => true,
            "session_ends" => false,
            _ => return,
        };
        let session = string_of(seen.line, "session");
        self.since.extend(session.map(|session| (session.into(), begins)));
    }

    fn settle(&mut self) {
        for (session, begins) in self.since.drain(..) {
            if begins {
                self.open.insert(session);
            } else {
                self.open.remove(&session);
            }
        }
    }
}

/// Keeps what follows `end` in a file beside, and writes zeros over it.
fn cut(segment: &Segment, end: u64) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(&segment.path)?;
    let Some(used) = last_byte(&file, end)? else { return Ok(()) };
    let bytes = used - end;
    let mut copy = new_cut_file(&segment.path, end)?;
    let mut source = &file;
    source.seek(SeekFrom::Start(end))?;
    io::copy(&mut source.take(bytes), &mut copy)?;
    copy.flush()?;
    copy.sync_all()?;
    sync_directory_of(&segment.path)?;
    let zeros = vec![0; COPY_BYTES];
    let mut at = end;
    while at < used {
        let take = usize::try_from(used - at).unwrap_or(COPY_BYTES).min(COPY_BYTES);
        file.write_all_at(zeros.get(..take).unwrap_or(&zeros), at)?;
        at += take as u64;
    }
    file.sync_all()
}

/// One past the last byte after `from` that is not zero.
fn last_byte(file: &File, from: u64) -> io::Result<Option<u64>> {
    let mut last = None;
    let mut at = from;
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let read = file.read_at(&mut buffer, at)?;
        if read == 0 {
            return Ok(last);
        }
        let used = buffer.get(..read).unwrap_or_default().iter().rposition(|byte| *byte != 0);
        if let Some(used) = used {
            last = Some(at + used as u64 + 1);
        }
        at += read as u64;
    }
}

fn new_cut_file(segment: &Path, end: u64) -> io::Result<File> {
    let name = segment.file_name().unwrap_or_default().to_string_lossy();
    for again in 0..CUTS_PER_PLACE_MAX {
        let kept = match again {
            0 => format!("{name}.{end}.cut"),
            again => format!("{name}.{end}.{again}.cut"),
        };
        let mut options = OpenOptions::new();
        match options.write(true).create_new(true).mode(0o600).open(segment.with_file_name(kept)) {
            Ok(file) => return Ok(file),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("there are too many files of cut bytes"))
}
