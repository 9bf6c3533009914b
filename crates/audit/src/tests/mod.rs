//! The journal as a whole, from outside: what is in its directory after this and that, and what a
//! start and a proof say of it.

mod bench;
pub(crate) mod faults;
mod format;
mod kill;
mod proof;
mod restart;
mod trouble;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::event::{
    Batch, Context, Event, Outcome, SessionBegins, SessionEnds, Statement, Text, Who,
};
use crate::outside::Outside;
use crate::verify::{Failure, Fault, Report, verify};
use crate::{Durability, Head, Journal, OpenError, OpenReport, Options, Unrecorded};

/// A directory that goes away with the test.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("gatepost-audit-{}-{count}", std::process::id());
        // Thousands of starts: in memory, where there is such a place, for no power is lost here.
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let path = parent.join(name);
        fs::create_dir(&path).unwrap();
        Directory(path)
    }

    /// With everything in it but the lock, as a crash would leave it: all of one moment.
    fn copy(&self) -> Self {
        loop {
            let copy = Directory::new();
            let names = self.names();
            let copied =
                names.iter().all(|name| fs::copy(self.0.join(name), copy.0.join(name)).is_ok());
            let half = names.iter().any(|name| name.ends_with(".tmp"));
            if copied && !half && self.names() == names {
                return copy;
            }
        }
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name != "spare.tmp" && name != "lock");
        names.sort();
        names
    }

    fn segments(&self) -> Vec<PathBuf> {
        let names = self.names().into_iter().filter(|name| name.contains(".jsonl"));
        names.filter(|name| !name.ends_with(".cut")).map(|name| self.0.join(name)).collect()
    }

    fn last(&self) -> PathBuf {
        self.segments().pop().unwrap()
    }

    fn options(&self) -> Options {
        Options { segment_bytes: 64 << 10, ..Options::new(&self.0, "gate-1") }
    }

    fn open(&self) -> (Journal, OpenReport) {
        self.try_open(None).unwrap()
    }

    fn try_open(&self, anchored: Option<&Head>) -> Result<(Journal, OpenReport), OpenError> {
        Journal::open(self.options(), anchored)
    }

    fn open_with(&self, outside: &Outside) -> Journal {
        Journal::open_with(self.options(), None, outside.clone()).unwrap().0
    }

    fn verify(&self) -> Result<Report, Fault> {
        self.verify_against(None)
    }

    fn verify_against(&self, checkpoint: Option<&Head>) -> Result<Report, Fault> {
        let journal = crate::verify::Journal::in_directory(&self.0).unwrap();
        match verify(&journal, checkpoint, None, &mut |_| {}) {
            Ok(report) => Ok(report),
            Err(Failure::Fault(fault)) => Err(fault),
            Err(other) => panic!("{other}"),
        }
    }

    /// Every record but heads, taken apart.
    fn records(&self) -> Vec<crate::read::Record> {
        let mut records = Vec::new();
        crate::read::records(&self.0, &Default::default(), |record| {
            records.push(record);
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
        records
    }

    fn events(&self) -> Vec<String> {
        self.records().iter().map(|record| record.event().to_owned()).collect()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // A journal that the test left open may still put a file there.
        for _ in 0..1000 {
            if fs::remove_dir_all(&self.0).is_ok() || !self.0.exists() {
                return;
            }
        }
    }
}

/// The lines in a plain segment.
fn content(path: &Path) -> Vec<u8> {
    let mut bytes = fs::read(path).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    bytes.truncate(used);
    bytes
}

fn lines(path: &Path) -> Vec<Vec<u8>> {
    content(path).split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
}

fn context(session: &str) -> Context {
    Context::new(&Who {
        session: Some(session),
        identity: Some(crate::event::Identity {
            issuer: "local",
            subject: "agent-7",
            ..Default::default()
        }),
        client: Some("127.0.0.1:50412"),
        application: Some("psql"),
        connection: Some("orders"),
        role: Some("gatepost"),
        ..Default::default()
    })
}

fn attempt(id: u64, sql: &str) -> Batch {
    let mut batch = Batch::new();
    push_attempt(&mut batch, &context("s-1"), id, sql);
    batch
}

fn push_attempt(batch: &mut Batch, context: &Context, id: u64, sql: &str) {
    batch.push(
        context,
        &Event::Statement(Statement {
            id,
            kind: "query",
            text: Some(Text::Sql { bytes: sql.as_bytes(), redacted: 0 }),
            verdict: "allow",
            ..Default::default()
        }),
    );
}

fn push_outcome(batch: &mut Batch, context: &Context, id: u64) {
    batch.push(
        context,
        &Event::Outcome(Outcome {
            id,
            tag: Some("SELECT 1"),
            rows: Some(1),
            bytes: Some(96),
            duration_us: Some(210),
            ..Default::default()
        }),
    );
}

fn begins(session: &str) -> Batch {
    let mut batch = Batch::new();
    let event = SessionBegins { login: "scram", ..Default::default() };
    batch.push(&context(session), &Event::SessionBegins(event));
    batch
}

fn ends(session: &str) -> Batch {
    let mut batch = Batch::new();
    let event = SessionEnds { reason: "terminated", ..Default::default() };
    batch.push(&context(session), &Event::SessionEnds(event));
    batch
}

async fn record(journal: &Journal, batch: &Batch) -> Result<(), Unrecorded> {
    journal.append(batch, Durability::Strict).await?.durable().await
}

/// A closed journal of `count` statements, each its own group.
async fn journal_of(directory: &Directory, count: u64) -> Head {
    let (journal, _) = directory.open();
    for id in 0..count {
        record(&journal, &attempt(id, "SELECT 1")).await.unwrap();
    }
    journal.close().await.unwrap()
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("no deadlock")
}
