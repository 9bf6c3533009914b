//! Reading records back, for `show` and `tail`: every record of a directory that a filter lets
//! through, oldest first, or those that come. Nothing is proven here; that is `verify`'s business.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::note::Head;
use crate::segment::{Line, Segment, in_directory};

/// How much of a segment is taken at once, unless a group is longer.
const TAIL_BYTES: u64 = 8 << 20;

/// Stands in every head, and hardly in anything else.
const HEAD_MARK: &[u8] = b"\"event\":\"head\"";

/// A record as it stands, and taken apart.
#[derive(Clone, Debug)]
pub struct Record {
    /// Without its newline.
    pub line: String,
    pub value: Value,
}

impl Record {
    fn of(line: &[u8]) -> Option<Record> {
        let line = std::str::from_utf8(line).ok()?.trim_end_matches('\n').to_owned();
        let value = serde_json::from_str(&line).ok()?;
        Some(Record { line, value })
    }

    pub fn number(&self) -> u64 {
        self.value.get("n").and_then(Value::as_u64).unwrap_or_default()
    }

    pub fn event(&self) -> &str {
        self.text("event").unwrap_or_default()
    }

    pub fn text(&self, field: &str) -> Option<&str> {
        self.value.get(field)?.as_str()
    }
}

/// All that is set has to hold.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// A subject, or `issuer|subject`.
    pub identity: Option<String>,
    pub connection: Option<String>,
    pub session: Option<String>,
    pub verdict: Option<String>,
    /// From this time on, and before that one; as records write it, or the beginning of it.
    pub since: Option<String>,
    pub until: Option<String>,
    /// Also the signed heads, which say nothing of what happened.
    pub heads: bool,
}

impl Filter {
    pub fn admits(&self, record: &Record) -> bool {
        let is = |field: &str, wanted: &Option<String>| {
            wanted.as_deref().is_none_or(|wanted| record.text(field) == Some(wanted))
        };
        let time = record.text("t").unwrap_or_default();
        (self.heads || record.event() != "head")
            && is("connection", &self.connection)
            && is("session", &self.session)
            && is("verdict", &self.verdict)
            && self.since.as_deref().is_none_or(|since| time >= since)
            && self.until.as_deref().is_none_or(|until| time < until)
            && self.identity.as_deref().is_none_or(|identity| is_of(record, identity))
    }
}

fn is_of(record: &Record, wanted: &str) -> bool {
    let text = |field: &str| record.value.get("identity")?.get(field)?.as_str();
    let Some(subject) = text("subject") else { return false };
    match (wanted.split_once('|'), text("issuer")) {
        _ if subject == wanted => true,
        (Some((issuer, named)), Some(of)) => issuer == of && named == subject,
        _ => false,
    }
}

/// Hands every record that the filter lets through to `each`, until that says to stop. Blocks. A
/// line that can't be read ends its segment: what is wrong with it is for `verify` to say.
pub fn records(
    directory: &Path,
    filter: &Filter,
    mut each: impl FnMut(Record) -> ControlFlow<()>,
) -> io::Result<()> {
    for segment in in_directory(directory)? {
        if read_segment(&segment, filter, &mut each)?.is_break() {
            break;
        }
    }
    Ok(())
}

/// The newest head in a directory, which is what is known to be durable there. Blocks. Whether the
/// signature is good is another question.
pub fn newest_head(directory: &Path) -> io::Result<Option<Head>> {
    for segment in in_directory(directory)?.iter().rev() {
        let (mut lines, mut line) = (segment.lines()?, Vec::new());
        let mut newest = None;
        while let Line::Whole = lines.next(&mut line)? {
            // Taking every line apart would take seconds.
            if !line.windows(HEAD_MARK.len()).any(|bytes| bytes == HEAD_MARK) {
                continue;
            }
            let head = Record::of(&line).filter(|record| record.event() == "head");
            newest = head.and_then(|head| head.text("note")?.parse().ok()).or(newest);
        }
        if newest.is_some() {
            return Ok(newest);
        }
    }
    Ok(None)
}

fn read_segment(
    segment: &Segment,
    filter: &Filter,
    each: &mut impl FnMut(Record) -> ControlFlow<()>,
) -> io::Result<ControlFlow<()>> {
    let mut lines = segment.lines()?;
    let mut line = Vec::new();
    while let Line::Whole = lines.next(&mut line)? {
        let Some(record) = Record::of(&line) else { break };
        if filter.until.as_deref().is_some_and(|until| record.text("t") >= Some(until)) {
            return Ok(ControlFlow::Break(()));
        }
        if filter.admits(&record) && each(record).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// Follows a journal that is being written. Each `poll` gives what has come since the last one.
#[derive(Debug)]
pub struct Tail {
    directory: PathBuf,
    first: u64,
    offset: u64,
}

impl Tail {
    /// From the end as it is now.
    pub fn at_end(directory: &Path) -> io::Result<Tail> {
        let mut tail = Tail { directory: directory.to_owned(), first: 0, offset: 0 };
        if let Some(segment) = in_directory(directory)?.pop() {
            tail.first = segment.first;
            let mut lines = segment.lines()?;
            let mut line = Vec::new();
            while let Line::Whole = lines.next(&mut line)? {
                tail.offset = lines.offset;
            }
        }
        Ok(tail)
    }

    /// Blocks for no longer than reading takes. Only whole groups are given: what follows the last
    /// head may still be taken back.
    pub fn poll(&mut self, filter: &Filter) -> io::Result<Vec<Record>> {
        let mut given = Vec::new();
        for segment in in_directory(&self.directory)? {
            if segment.first < self.first {
                continue;
            }
            if segment.first > self.first {
                self.first = segment.first;
                self.offset = 0;
            }
            // All of it: what is left behind in a segment that has ended is never looked at again.
            let mut window = TAIL_BYTES;
            loop {
                let (groups, length, was_filled) = self.read_new(&segment, window)?;
                self.offset += length;
                given.extend(groups.into_iter().filter(|record| filter.admits(record)));
                if !was_filled {
                    break;
                }
                if length == 0 {
                    window *= 2;
                }
            }
        }
        Ok(given)
    }

    /// The whole groups in the next `window` bytes, how long they are, and whether there was so
    /// much to read.
    fn read_new(&self, segment: &Segment, window: u64) -> io::Result<(Vec<Record>, u64, bool)> {
        let mut bytes = Vec::new();
        if segment.sealed {
            // It was sealed since; what is left of it is read once more.
            let mut decoder = zstd::Decoder::new(File::open(&segment.path)?)?;
            io::copy(&mut decoder.by_ref().take(self.offset), &mut io::sink())?;
            decoder.take(window).read_to_end(&mut bytes)?;
        } else {
            let mut file = File::open(&segment.path)?;
            file.seek(SeekFrom::Start(self.offset))?;
            file.take(window).read_to_end(&mut bytes)?;
        }
        // Zeros are what has not been written yet.
        let was_filled = bytes.len() as u64 == window && !bytes.ends_with(&[0]);
        let (mut whole, mut group, mut length, mut read) = (Vec::new(), Vec::new(), 0, 0);
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let Some(record) = line.ends_with(b"\n").then(|| Record::of(line)).flatten() else {
                break;
            };
            read += line.len() as u64;
            let is_head = record.event() == "head";
            group.push(record);
            if is_head {
                whole.append(&mut group);
                length = read;
            }
        }
        Ok((whole, length, was_filled))
    }
}
