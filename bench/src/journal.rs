//! What the journal costs, as far as throughput and CPU time don't show it: how much is written,
//! what a statement waits at a lone client beside a flush of the same disk, and how fast the whole
//! is proven. Reads the journal's files by their documented format, not by Gatepost's own code.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client::Client;
use crate::contender::Contender;
use crate::report::median;
use crate::workload::ROWS_OF_ACCOUNTS;

/// In a round the three kinds take turns this often, this many of a kind at a time.
const BLOCKS: usize = 10;
const BLOCK: usize = 50;

const PAGE_BYTES: usize = 4096;

/// How long the files are looked at until they hold still.
const SETTLES_WITHIN: Duration = Duration::from_secs(30);

/// Medians of one round, in µs.
#[derive(Clone, Copy, Debug)]
pub struct Latency {
    /// fdatasync of a preallocated block of 4 KiB that was written before.
    pub flush: f64,
    pub relaxed: f64,
    pub strict: f64,
}

impl Latency {
    /// Gatepost's part by one client that does nothing else, the flush by ourselves on the same
    /// disk. Block by block, so that all three meet the machine in the same moods, and not one by
    /// one, because relaxed records are flushed behind a timer and would often get in the way.
    pub fn measure(
        relaxed: &Contender,
        strict: &Contender,
        disk: &Path,
    ) -> Result<Latency, String> {
        let flushing = |error| format!("flushing: {error}");
        let mut relaxed = Statements::new(relaxed)?;
        let mut strict = Statements::new(strict)?;
        let mut flushes = Flushes::new(&disk.join("flushed")).map_err(flushing)?;
        for _ in 0..BLOCKS {
            relaxed.block()?;
            strict.block()?;
            flushes.block().map_err(flushing)?;
        }
        Ok(Latency {
            flush: median(flushes.each),
            relaxed: median(relaxed.each),
            strict: median(strict.each),
        })
    }

    /// What a strict statement waits longer than a relaxed one.
    pub fn in_flushes(&self) -> f64 {
        (self.strict - self.relaxed) / self.flush
    }
}

/// How much is in a journal. Sealed segments are there compressed, and `plain` has them as they
/// were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    pub plain: u64,
    pub sealed: u64,
    pub plain_of_sealed: u64,
}

impl Extent {
    pub fn of(directory: &Path) -> Extent {
        // Segments are renamed and compressed behind our back.
        let deadline = Instant::now() + SETTLES_WITHIN;
        loop {
            match extent(directory) {
                Ok(extent) => return extent,
                Err(error) => assert!(Instant::now() < deadline, "the journal: {error}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What is left by compression.
    pub fn sealed_part(&self) -> f64 {
        self.sealed as f64 / self.plain_of_sealed as f64
    }
}

/// That `gatepost audit verify` proved the whole journal, which is a single thread's work.
#[derive(Clone, Copy, Debug)]
pub struct Proof {
    /// Of lines, which is more than is read where they are compressed.
    pub bytes: u64,
    pub took: Duration,
}

impl Proof {
    pub fn measure(gatepost: &Path, journal: &Path) -> Proof {
        let mut command = Command::new(gatepost);
        command.args(["audit", "verify"]).arg(journal);
        let begin = Instant::now();
        let output = command.output().unwrap_or_else(|e| panic!("starting gatepost: {e}"));
        let took = begin.elapsed();
        let said = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "the journal of the run is not proven: {said}{errors}");
        let words: Vec<&str> = said.split_whitespace().collect();
        let bytes = words.windows(2).find(|pair| pair[1] == "bytes").map(|pair| pair[0].parse());
        let Some(Ok(bytes)) = bytes else { panic!("gatepost audit verify said: {said}") };
        Proof { bytes, took }
    }

    pub fn megabytes_per_second(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.took.as_secs_f64()
    }
}

struct Statements<'a> {
    contender: &'a Contender,
    client: Client,
    each: Vec<f64>,
}

impl<'a> Statements<'a> {
    fn new(contender: &'a Contender) -> Result<Statements<'a>, String> {
        let client = Client::connect(contender).map_err(|e| format!("{}: {e}", contender.name))?;
        Ok(Statements { contender, client, each: Vec::new() })
    }

    fn block(&mut self) -> Result<(), String> {
        let named = |error| format!("{}: {error}", self.contender.name);
        for _ in 0..BLOCK {
            // As pgbench -S has it, here and there in the table.
            let account = 1 + self.each.len() as u64 * 7919 % ROWS_OF_ACCOUNTS;
            let sql = format!("SELECT abalance FROM pgbench_accounts WHERE aid = {account};");
            let begin = Instant::now();
            let rows = self.client.count_rows(&sql).map_err(named)?;
            self.each.push(begin.elapsed().as_secs_f64() * 1e6);
            if rows != 1 {
                return Err(named(format!("{rows} rows of one account")));
            }
        }
        Ok(())
    }
}

struct Flushes {
    file: File,
    each: Vec<f64>,
}

impl Flushes {
    fn new(path: &Path) -> std::io::Result<Flushes> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
        file.write_all(&[0; PAGE_BYTES])?;
        file.sync_all()?;
        Ok(Flushes { file, each: Vec::new() })
    }

    fn block(&mut self) -> std::io::Result<()> {
        for _ in 0..BLOCK {
            let page = [self.each.len() as u8; PAGE_BYTES];
            let begin = Instant::now();
            self.file.write_all_at(&page, 0)?;
            self.file.sync_data()?;
            self.each.push(begin.elapsed().as_secs_f64() * 1e6);
        }
        Ok(())
    }
}

/// Each segment says in its first record where the one before it ends; only the last one's end has
/// to be looked for.
fn extent(directory: &Path) -> Result<Extent, String> {
    let segments = segments(directory)?;
    let mut extent = Extent::default();
    let mut add = |path: &Path, bytes: u64| -> Result<(), String> {
        extent.plain += bytes;
        if is_sealed(path) {
            extent.plain_of_sealed += bytes;
            extent.sealed += fs::metadata(path).map_err(|e| e.to_string())?.len();
        }
        Ok(())
    };
    for pair in segments.windows(2) {
        add(&pair[0], previous_bytes(&pair[1])?)?;
    }
    let last = segments.last().ok_or("no segment")?;
    if is_sealed(last) {
        return Err("the last segment is sealed".to_owned());
    }
    add(last, end_of_lines(last).map_err(|e| e.to_string())?)?;
    Ok(extent)
}

/// In order. One that is compressed right now is there twice.
fn segments(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let mut segments = BTreeMap::new();
    for entry in fs::read_dir(directory).map_err(|e| e.to_string())? {
        let path = entry.map_err(|e| e.to_string())?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match name.split_once('.') {
            Some((number, "jsonl.zst")) => segments.insert(number.to_owned(), path),
            Some((number, "jsonl")) => {
                Some(segments.entry(number.to_owned()).or_insert(path).clone())
            }
            _ => None,
        };
    }
    Ok(segments.into_values().collect())
}

fn is_sealed(segment: &Path) -> bool {
    segment.extension().is_some_and(|extension| extension == "zst")
}

fn previous_bytes(segment: &Path) -> Result<u64, String> {
    let line = first_line(segment).map_err(|e| e.to_string())?;
    let record: Value = serde_json::from_str(&line).map_err(|e| e.to_string())?;
    record["previous_bytes"].as_u64().ok_or_else(|| format!("not the first of a segment: {line}"))
}

fn first_line(segment: &Path) -> std::io::Result<String> {
    let file = File::open(segment)?;
    let source: Box<dyn Read> =
        if is_sealed(segment) { Box::new(zstd::Decoder::new(file)?) } else { Box::new(file) };
    let mut line = String::new();
    BufReader::new(source).read_line(&mut line)?;
    Ok(line)
}

/// Lines have no zeros, and after them there is nothing else.
fn end_of_lines(segment: &Path) -> std::io::Result<u64> {
    let file = File::open(segment)?;
    let (mut end, mut zeros) = (0, file.metadata()?.len());
    while end < zeros {
        let middle = end + (zeros - end) / 2;
        let mut byte = [0];
        file.read_exact_at(&mut byte, middle)?;
        if byte == [0] { zeros = middle } else { end = middle + 1 }
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with these files, gone when it is dropped.
    struct Files(PathBuf);

    impl Files {
        fn new(test: &str, files: &[(&str, &[u8])]) -> Files {
            let name = format!("gatepost-bench-test-{test}-{}", std::process::id());
            let directory = std::env::temp_dir().join(name);
            fs::create_dir(&directory).unwrap();
            for (name, bytes) in files {
                fs::write(directory.join(name), bytes).unwrap();
            }
            Files(directory)
        }
    }

    impl Drop for Files {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn a_journal_is_as_long_as_its_lines() {
        let second = "{\"previous_bytes\":1000}\n{}\n";
        let sealed = zstd::encode_all(second.as_bytes(), 1).unwrap();
        let files = Files::new(
            "extent",
            &[
                ("01.jsonl.zst", &[1; 70]),
                ("02.jsonl.zst", &sealed),
                // Being removed, and not yet gone.
                ("02.jsonl", second.as_bytes()),
                ("03.jsonl", b"{\"previous_bytes\":27}\n\0\0\0\0\0\0\0"),
                ("spare.tmp", &[0; 100]),
                ("journal.key", b"-----BEGIN"),
            ],
        );
        let sealed = 70 + sealed.len() as u64;
        let whole = Extent { plain: 1000 + 27 + 22, sealed, plain_of_sealed: 1027 };
        assert_eq!(extent(&files.0), Ok(whole));
    }

    #[test]
    fn a_journal_that_changes_is_looked_at_again() {
        // The new segment is there and has no record yet.
        let files = Files::new("changing", &[("01.jsonl", b"{}\n\0"), ("02.jsonl", &[0; 64])]);
        assert!(extent(&files.0).is_err());
        fs::write(files.0.join("02.jsonl"), b"{\"previous_bytes\":3}\n\0").unwrap();
        assert_eq!(extent(&files.0), Ok(Extent { plain: 3 + 21, ..Extent::default() }));
    }

    #[test]
    fn a_wait_is_counted_in_flushes() {
        let latency = Latency { flush: 200.0, relaxed: 100.0, strict: 320.0 };
        assert_eq!(latency.in_flushes(), 1.1);
    }
}
