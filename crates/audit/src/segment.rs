//! The journal's files: their names, what is in a directory, and reading their lines, plain or
//! compressed. What the lines say is the business of others.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::chain::LINE_BYTES_MAX;

const READ_BYTES: usize = 256 << 10;

/// One segment. The name is the number of its first record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) first: u64,
    pub(crate) path: PathBuf,
    pub(crate) sealed: bool,
}

/// `FIRST.jsonl`, preallocated with zeros; `FIRST.jsonl.zst` once it is sealed.
pub(crate) fn plain_name(first: u64) -> String {
    format!("{first:020}.jsonl")
}

pub(crate) fn sealed_name(first: u64) -> String {
    format!("{first:020}.jsonl.zst")
}

impl Segment {
    /// `None` if that is not a segment's name.
    pub(crate) fn named(path: &Path) -> Option<Segment> {
        let name = path.file_name()?.to_str()?;
        let (plain, sealed) = match name.strip_suffix(".zst") {
            Some(plain) => (plain, true),
            None => (name, false),
        };
        let digits = plain.strip_suffix(".jsonl")?;
        if digits.len() != 20 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Some(Segment { first: digits.parse().ok()?, path: path.to_owned(), sealed })
    }

    /// The gateway that writes it may have sealed it since we looked.
    fn open(&self) -> io::Result<(File, bool)> {
        match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.sealed => {
                Ok((File::open(self.path.with_file_name(sealed_name(self.first)))?, true))
            }
            opened => Ok((opened?, self.sealed)),
        }
    }

    /// Of the file.
    pub(crate) fn size(&self) -> io::Result<u64> {
        Ok(self.open()?.0.metadata()?.len())
    }

    pub(crate) fn lines(&self) -> io::Result<Lines> {
        let (file, sealed) = self.open()?;
        let read = Arc::new(AtomicU64::new(0));
        let file = Counting { file, read: Arc::clone(&read) };
        let reader: Box<dyn BufRead> = if sealed {
            Box::new(BufReader::with_capacity(READ_BYTES, zstd::Decoder::new(file)?))
        } else {
            Box::new(BufReader::with_capacity(READ_BYTES, file))
        };
        Ok(Lines { reader, offset: 0, number: 0, read })
    }
}

/// The segments in a directory, in order. A listing is no snapshot: one that was sealed meanwhile
/// may be missing under either name, so it is taken until two agree.
pub(crate) fn in_directory(directory: &Path) -> io::Result<Vec<Segment>> {
    let mut before = list(directory)?;
    loop {
        let segments = list(directory)?;
        if segments == before {
            return Ok(segments);
        }
        before = segments;
    }
}

/// Where a segment is there both plain and sealed, because the power went between the two, it is
/// listed as sealed: that name appears only when the file is whole.
fn list(directory: &Path) -> io::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(directory)? {
        segments.extend(Segment::named(&entry?.path()));
    }
    segments.sort_by_key(|segment| (segment.first, !segment.sealed));
    segments.dedup_by_key(|segment| segment.first);
    Ok(segments)
}

pub(crate) fn sync_directory_of(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// The lines of a segment, one after another.
pub(crate) struct Lines {
    reader: Box<dyn BufRead>,
    /// Where the next line begins, in what the file holds when it isn't compressed.
    pub(crate) offset: u64,
    /// Of the line read last, from 1.
    pub(crate) number: u64,
    /// Bytes of the file read so far.
    read: Arc<AtomicU64>,
}

pub(crate) enum Line {
    /// In the buffer, its newline included.
    Whole,
    /// In the buffer: what the file ends with, without a newline.
    Torn,
    /// Zeros that nothing was written into yet, or the end of the file.
    End,
}

impl Lines {
    pub(crate) fn next(&mut self, line: &mut Vec<u8>) -> io::Result<Line> {
        line.clear();
        match self.reader.fill_buf()?.first() {
            None | Some(0) => return Ok(Line::End),
            Some(_) => {}
        }
        self.number += 1;
        let max = LINE_BYTES_MAX as u64;
        let read = self.reader.by_ref().take(max).read_until(b'\n', line)?;
        self.offset += read as u64;
        Ok(if line.ends_with(b"\n") { Line::Whole } else { Line::Torn })
    }

    /// After `Line::End`: where something follows the zeros, if anything does. The next line begins
    /// there.
    pub(crate) fn leftover(&mut self) -> io::Result<Option<u64>> {
        loop {
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() {
                return Ok(None);
            }
            let found = buffer.iter().position(|byte| *byte != 0);
            let zeros = found.unwrap_or(buffer.len());
            self.reader.consume(zeros);
            self.offset += zeros as u64;
            if found.is_some() {
                return Ok(Some(self.offset));
            }
        }
    }

    pub(crate) fn file_bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }
}

struct Counting {
    file: File,
    read: Arc<AtomicU64>,
}

impl Read for Counting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}
